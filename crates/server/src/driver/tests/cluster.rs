//! The driver of a node of a cluster, with a played node that answers what the handle asks.

use std::sync::Arc;

use licence_core::cluster::{ClaimOutcome, ClusterId, NodeId, WANT_SECS};
use licence_core::lease_token::{LeaseClaims, issuer};
use licence_core::service::EndedHere;
use licence_core::time::MonoTime;
use tokio::sync::{mpsc, oneshot, watch};

use super::*;
use crate::cluster::port::{ClusterPort, Known, KnownNode, Question};

const CLUSTER: ClusterId = ClusterId::from_bytes([7; 16]);
const KEY: KeyNo = KeyNo(1);

/// A driver with a key of a cluster, and the other end of its port.
struct Node {
    driver: Driver,
    handle: Handle,
    questions: mpsc::Receiver<Question>,
    /// Kept, or the port would know of no other nodes.
    _known: watch::Sender<Arc<Known>>,
    connection: String,
}

fn other_node() -> Arc<SigningKey> {
    identity(9)
}

fn shared_licence(number: u32, seats: u32, holder: PublicKey) -> String {
    let document = licence(number, KeyKind::Main, seats, holder);
    let known = licence_core::licence_file::Licence::verify(&document, &series_key().public());
    let claims = LicenceClaims { cluster: Some(CLUSTER), ..known.unwrap().claims };
    claims.sign(&series_key()).unwrap()
}

fn cluster_setup(folder: &Path) -> Setup {
    let own = identity(2);
    put_licence(folder, 1, &shared_licence(1, 10, own.public()));
    Setup { cluster: Some(CLUSTER), ..setup(folder, own) }
}

impl Node {
    /// With a block of so many seats.
    async fn start(folder: &Path, block: u32) -> Self {
        let driver = start(cluster_setup(folder)).unwrap();
        let (questions, asked) = mpsc::channel(16);
        let other = other_node().public();
        let node = KnownNode { name: "node-2".into(), key: other };
        let nodes = BTreeMap::from([(NodeId::of(&other), node)]);
        let (known, members) = watch::channel(Arc::new(Known { nodes }));
        let handle = driver.handle.clone().with_cluster(ClusterPort::new(questions, members));
        let hour = clock::mono().after(Duration::from_secs(3600));
        handle.grant_until(Some(hour)).await.unwrap();
        handle.hold_until(Some(hour)).await.unwrap();
        let told = handle.seat_limits(vec![(KEY, block, false)]).await.unwrap();
        assert_eq!(told, [(KEY, block, 0)]);
        let connection = connect(&handle).await;
        Self { driver, handle, questions: asked, _known: known, connection }
    }

    async fn open(&self, number: u32) -> Result<SessionOpened, DriverError> {
        open(&self.handle, &self.connection, number).await
    }

    /// A session that shows the lease of the other node.
    fn coming(&self, number: u32) -> OpenSession {
        OpenSession { lease: Some(foreign_lease()), ..session(&self.connection, number) }
    }

    async fn want(&mut self) -> oneshot::Sender<bool> {
        match self.questions.recv().await {
            Some(Question::Want { keys, answer }) => {
                assert_eq!(keys, [KEY]);
                answer
            }
            other => panic!("{other:?}"),
        }
    }

    async fn claim(&mut self) -> Option<oneshot::Sender<ClaimOutcome>> {
        match self.questions.recv().await {
            Some(Question::Claim { session, key_no, from, answer }) => {
                assert_eq!((session, key_no), (moving(), KEY));
                assert_eq!(from, NodeId::of(&other_node().public()));
                answer
            }
            other => panic!("{other:?}"),
        }
    }

    async fn stop(self) {
        stop(self.driver).await;
    }
}

fn moving() -> SessionId {
    SessionId::from_bytes([0x77; 16])
}

/// The lease of a session at the other node.
fn foreign_lease() -> String {
    let now = clock::utc();
    let claims = LeaseClaims {
        iss: issuer(&other_node().public()),
        sub: moving().to_string(),
        iat: now.unix_seconds(),
        exp: now.unix_seconds() + 900,
        key_id: SERIES,
        key_no: KEY,
    };
    claims.sign(&other_node()).unwrap()
}

fn refusal(result: Result<SessionOpened, DriverError>) -> Refusal {
    match result {
        Err(DriverError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn licence_of_a_cluster_grants_nothing_on_a_server_that_is_none_of_its_nodes() {
    for cluster in [None, Some(ClusterId::from_bytes([8; 16]))] {
        let folder = tempfile::tempdir().unwrap();
        let driver = start(Setup { cluster, ..cluster_setup(folder.path()) }).unwrap();
        let connection = connect(&driver.handle).await;
        let refusal = refusal(open(&driver.handle, &connection, 1).await);
        assert!(refusal.to_string().contains("no member of that cluster"), "{refusal}");
        stop(driver).await;
    }
}

#[tokio::test]
async fn opening_that_finds_the_block_full_gets_the_seat_that_the_cluster_brings() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::start(folder.path(), 1).await;
    node.open(1).await.unwrap();
    let handle = node.handle.clone();
    let waiting = tokio::spawn({
        let message = session(&node.connection, 2);
        async move { handle.open(message).await }
    });
    let answer = node.want().await;
    let told = node.handle.seat_limits(vec![(KEY, 3, false)]).await.unwrap();
    assert_eq!(told, [(KEY, 3, 1)]);
    answer.send(true).unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().used_licence, Some(KEY));
    let counters = node.handle.counters(node.connection.clone()).await.unwrap();
    assert_eq!(
        (counters.total_licence_count, counters.use_licence_count, counters.free_licence_count),
        (10, 2, 1)
    );
    node.stop().await;
}

#[tokio::test]
async fn opening_is_refused_when_nobody_has_a_seat_and_when_others_are_faster_three_times() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::start(folder.path(), 1).await;
    node.open(1).await.unwrap();
    for answers in [&[false][..], &[true, true, true]] {
        let handle = node.handle.clone();
        let message = session(&node.connection, 2);
        let waiting = tokio::spawn(async move { handle.open(message).await });
        for there_is_one in answers {
            node.want().await.send(*there_is_one).unwrap();
        }
        let refusal = refusal(waiting.await.unwrap());
        assert!(matches!(refusal, Refusal::NoSeatFree { elsewhere: 9, .. }), "{refusal:?}");
    }
    assert!(node.questions.try_recv().is_err(), "nothing more is asked");
    node.stop().await;
}

#[tokio::test(start_paused = true)]
async fn opening_waits_no_longer_than_it_may_for_a_node_that_does_not_answer() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::start(folder.path(), 1).await;
    node.open(1).await.unwrap();
    let before = tokio::time::Instant::now();
    let refused = refusal(node.open(2).await);
    assert!(matches!(refused, Refusal::NoSeatFree { .. }), "{refused:?}");
    let refused = refusal(node.handle.open(node.coming(3)).await);
    assert_eq!(refused, Refusal::ClusterSettling { series: SERIES, from: Some("node-2".into()) });
    assert!(before.elapsed() >= Duration::from_secs(2 * WANT_SECS));
    assert!(node.want().await.is_closed(), "the node sees that nobody waits");
    assert!(node.claim().await.unwrap().is_closed());
    node.questions.close();
    let refused = refusal(node.open(2).await);
    assert!(matches!(refused, Refusal::NoSeatFree { .. }), "nobody answers at all: {refused:?}");
    node.stop().await;
}

#[tokio::test]
async fn session_of_another_node_comes_with_its_seat_and_gets_a_lease_of_this_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::start(folder.path(), 1).await;
    node.open(1).await.unwrap();
    let (handle, message) = (node.handle.clone(), node.coming(2));
    let waiting = tokio::spawn(async move { handle.open(message).await });
    let answer = node.claim().await.unwrap();
    node.handle.expect(moving(), KEY).await.unwrap();
    answer.send(ClaimOutcome::Moved).unwrap();
    let opened = waiting.await.unwrap().unwrap();
    assert_eq!(opened.id, moving().to_string());
    let lease = opened.lease.unwrap();
    let own = identity(2).public();
    assert_eq!(LeaseClaims::peek_issuer(&lease), Some(NodeId::of(&own)));
    assert_eq!(LeaseClaims::verify(&lease, &own, clock::utc()).unwrap().session(), Some(moving()));
    node.stop().await;
}

#[tokio::test]
async fn session_whose_seat_nobody_holds_waits_as_everybody_does() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::start(folder.path(), 1).await;
    node.open(1).await.unwrap();
    let (handle, message) = (node.handle.clone(), node.coming(2));
    let waiting = tokio::spawn(async move { handle.open(message).await });
    node.claim().await.unwrap().send(ClaimOutcome::NotHeld).unwrap();
    node.want().await.send(false).unwrap();
    assert!(matches!(refusal(waiting.await.unwrap()), Refusal::NoSeatFree { .. }));
    node.stop().await;
}

#[tokio::test]
async fn session_of_another_node_takes_a_free_seat_and_its_old_one_is_asked_for_quietly() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::start(folder.path(), 2).await;
    let opened = node.handle.open(node.coming(1)).await.unwrap();
    assert_eq!(opened.id, moving().to_string());
    assert!(node.claim().await.is_none(), "nobody waits for it");
    let again = node.handle.open(node.coming(1)).await.unwrap();
    assert_eq!(again.id, opened.id);
    node.open(2).await.unwrap();
    let forged = OpenSession {
        lease: Some(foreign_lease().replace('.', "A.")),
        ..session(&node.connection, 2)
    };
    assert_ne!(node.handle.open(forged).await.unwrap().id, moving().to_string());
    assert!(node.questions.try_recv().is_err(), "it is here, and a lease that is none counts not");
    node.stop().await;
}

#[tokio::test]
async fn session_taken_away_is_unknown_to_its_component_and_may_be_asked_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::start(folder.path(), 2).await;
    let opened = node.open(1).await.unwrap();
    let id: SessionId = opened.id.parse().unwrap();
    assert!(node.handle.take_away(id).await.unwrap().0);
    assert!(!node.handle.take_away(id).await.unwrap().0);
    let message =
        Heartbeat { connection: node.connection.clone(), sessions: vec![opened.id.clone()] };
    let answer = node.handle.heartbeat(message).await.unwrap();
    assert_eq!(answer.gone[0].reason, "unknown");
    let message = OpenSession { lease: opened.lease, ..session(&node.connection, 1) };
    let again = node.handle.open(message).await.unwrap();
    assert_eq!(again.id, opened.id);
    match node.questions.try_recv() {
        Ok(Question::Claim { session, from, answer: None, .. }) => {
            assert_eq!((session, from), (id, NodeId::of(&identity(2).public())));
        }
        other => panic!("{other:?}"),
    }
    node.stop().await;
}

#[tokio::test]
async fn node_is_told_after_each_turn_what_is_held_and_what_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::start(folder.path(), 3).await;
    let held = |node: &mut Node| {
        let keys = node.driver.cluster.keys.borrow_and_update().clone();
        (keys[&KEY].series, keys[&KEY].seats, keys[&KEY].held)
    };
    let opened = node.open(1).await.unwrap();
    assert_eq!(held(&mut node), (SERIES, 10, 1));
    let message = Heartbeat { connection: node.connection.clone(), sessions: vec![] };
    node.handle.heartbeat(message).await.unwrap();
    assert!(!node.driver.cluster.keys.has_changed().unwrap(), "a heartbeat changes nothing");
    let message = TouchSession { connection: node.connection.clone(), session: opened.id.clone() };
    node.handle.close(message).await.unwrap();
    assert_eq!(held(&mut node).2, 0);
    let ended = node.driver.cluster.ended.try_recv().unwrap();
    let session: SessionId = opened.id.parse().unwrap();
    assert_eq!(ended, EndedHere { session, is_released: true });
    node.open(2).await.unwrap();
    node.handle.end_cluster().await.unwrap();
    assert!(node.driver.cluster.ended.try_recv().is_err(), "the node said so itself");
    assert_eq!(held(&mut node).2, 0);
    node.stop().await;
}

#[tokio::test]
async fn restored_sessions_go_on_until_a_limit_by_force_and_the_right_to_grant_starts_anew() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(folder.path(), 3).await;
    let first = node.open(1).await.unwrap();
    node.open(2).await.unwrap();
    node.stop().await;

    let driver = start(cluster_setup(folder.path())).unwrap();
    let connection = connect(&driver.handle).await;
    let keys = driver.cluster.keys.borrow().clone();
    assert_eq!(keys[&KEY].held, 2);
    let refused = refusal(open(&driver.handle, &connection, 3).await);
    assert_eq!(refused, Refusal::ClusterUnavailable { series: SERIES });
    let told = driver.handle.seat_limits(vec![(KEY, 1, false)]).await.unwrap();
    assert_eq!(told, [(KEY, 2, 2)]);
    let opened: BTreeMap<_, _> = driver
        .handle
        .sessions()
        .await
        .unwrap()
        .into_iter()
        .map(|state| (state.id.to_string(), state.session.opened))
        .collect();
    let told = driver.handle.seat_limits(vec![(KEY, 1, true)]).await.unwrap();
    assert_eq!(told, [(KEY, 1, 1)]);
    // Who came last goes; of the same millisecond, either.
    let left = driver.handle.sessions().await.unwrap().remove(0);
    assert_eq!(left.session.opened, opened[&first.id]);
    let first = left.id.to_string();
    driver.handle.hold_until(Some(MonoTime::from_millis(0))).await.unwrap();
    let message = Heartbeat { connection: connection.clone(), sessions: vec![first.clone()] };
    let answer = driver.handle.heartbeat(message).await.unwrap();
    let gone: Vec<&str> = answer.gone.iter().map(|gone| gone.session.as_str()).collect();
    assert_eq!(gone, [first.as_str()], "it is not renewed");
    assert_eq!(driver.handle.sessions().await.unwrap().len(), 1, "its lease is valid");
    driver.handle.end_cluster().await.unwrap();
    assert_eq!(driver.handle.sessions().await.unwrap(), []);
    stop(driver).await;
}
