//! A server as a node of a cluster, without its own network side: driver, database and node's task; and
//! the people who come and go at it.
//!
//! People see what components see: a seat is theirs from the answer that grants it until they give it
//! back or are told that it is gone, also while the server is dead.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use licence_core::activation::{ActivationCode, CodeKind};
use licence_core::binding::Match;
use licence_core::cluster::record::Member;
use licence_core::cluster::{ClusterId, NodeConfig, NodeId, Standing};
use licence_core::key::{Flags, KeyKind, KeyNo, KeySeries};
use licence_core::licence_file::{LICENCE_FORMAT, LicenceClaims, LicenceFields};
use licence_core::protocol::{
    Connect, ConnectionInfo, Heartbeat, OpenSession, SESSION_SECS, SessionInfo, TouchSession, Wish,
};
use licence_core::seal::{Jwk, SigningKey};
use licence_core::series::SeriesDescriptor;
use licence_core::time::Utc;
use licence_core::wrap::WrapKey;

use super::draw::Draw;
use super::gateway::Members;
use super::{client_below, pass};
use crate::binding::Changes;
use crate::clock;
use crate::cluster::alive;
use crate::cluster::known_codes::KnownCodes;
use crate::cluster::node::{self, NodeSetup};
use crate::driver::{self, DriverError, Handle, Setup};
use crate::metrics::Metrics;
use crate::store::Retention;

pub(super) const CLUSTER: ClusterId = ClusterId::from_bytes([7; 16]);
pub(super) const KEY: KeyNo = KeyNo(1);

/// Seats of the key.
pub(super) const SEATS: usize = 10;

const SERIES: KeySeries = KeySeries::from_u16(0x672B);

/// What people do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Mood {
    /// Come and go.
    Restless,
    /// Go, and do not come.
    Leaving,
    /// Everybody comes to this node and stays.
    AllAt(usize),
}

/// What all people together have.
pub(super) struct Hall {
    pub(super) mood: Mood,
    /// Sessions with a seat, and at which node.
    pub(super) seats: BTreeMap<String, usize>,
    pub(super) standings: BTreeMap<usize, Standing>,
    pub(super) counts: BTreeMap<&'static str, u32>,
    number: u32,
}

impl Hall {
    pub(super) fn new() -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            mood: Mood::Restless,
            seats: BTreeMap::new(),
            standings: BTreeMap::new(),
            counts: BTreeMap::new(),
            number: 0,
        }))
    }

    fn of(&self, me: usize) -> Vec<String> {
        self.seats.iter().filter(|(_, at)| **at == me).map(|(id, _)| id.clone()).collect()
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }
}

fn series_key() -> SigningKey {
    SigningKey::from_seed(&[1; 32])
}

fn identity(me: usize) -> SigningKey {
    SigningKey::from_seed(&[10 + u8::try_from(me).unwrap(); 32])
}

/// Where a node says that it lives.
fn alive_key(me: usize) -> String {
    format!("{}alive/{}", CLUSTER.prefix(), NodeId::of(&identity(me).public()))
}

/// The files of a server.
pub(super) fn furnish(folder: &Path, me: usize) {
    let object = Jwk { crv: "X25519".into(), ..series_key().public().jwk() };
    let descriptor =
        SeriesDescriptor::new(SERIES, "Серия".into(), None, series_key().public(), object);
    std::fs::create_dir_all(folder.join("data")).unwrap();
    let text = serde_json::to_string(&descriptor).unwrap();
    std::fs::write(folder.join("licence.series"), text).unwrap();
    let activated = Utc::from_unix_millis(1_522_443_600_414);
    let fields = LicenceFields {
        version: LICENCE_FORMAT.into(),
        key_no: KEY,
        key_id: SERIES,
        reg_no: None,
        key_type: KeyKind::Main.code(),
        service_type: 0,
        licence_count: u32::try_from(SEATS).unwrap(),
        product_version: 0,
        blank_key_no: None,
        activation_code: ActivationCode::encode(CodeKind::Activation, SERIES, 1),
        activation_date: activated,
        start_date: None,
        period: 0,
        expire_date: None,
        flags: Flags(0),
        itn: None,
        iec: None,
        product_name: "Серия".into(),
        article: None,
        article_name: None,
        parameters: Default::default(),
        support: Default::default(),
    };
    let claims = LicenceClaims::new("a".into(), activated, identity(me).public(), fields);
    let claims = LicenceClaims { cluster: Some(CLUSTER), ..claims };
    let document = claims.sign(&series_key()).unwrap();
    std::fs::write(folder.join("data/672B.1.licence"), document).unwrap();
}

/// Runs a server and its people until its host dies.
pub(super) async fn serve(
    me: usize,
    folder: PathBuf,
    members: Members,
    hall: Arc<Mutex<Hall>>,
) -> turmoil::Result {
    let own = Arc::new(identity(me));
    let driver = driver::start(Setup {
        has_tokens: false,
        cluster: Some(CLUSTER),
        shared_codes: None,
        metrics: Arc::new(Metrics::new(clock::utc())),
        database: folder.join("licenceserver.db"),
        licences: folder.join("data"),
        series_file: folder.join("licence.series"),
        rules: folder.join("licence.rules"),
        identity: Arc::clone(&own),
        wrap_key: Arc::new(WrapKey::from_secret(&[3; 32])),
        access_codes: BTreeMap::new(),
        keep: Retention::default(),
        computer: (Match::Secret, Changes::default()),
        service: Default::default(),
    })?;
    let (port, questions) = node::port();
    let handle = driver.handle.clone().with_cluster(port);
    let now = clock::utc();
    let member = Member {
        name: format!("node-{me}"),
        key: own.public().jwk(),
        addresses: vec![format!("node-{me}:9099")],
        joined: now,
    };
    let config = NodeConfig {
        me: NodeId::of(&own.public()),
        cluster: CLUSTER,
        session_life: Duration::from_secs(SESSION_SECS),
        alive: alive(now),
    };
    let setup = NodeSetup {
        config,
        member,
        etcd: client_below(&CLUSTER.prefix()),
        driver: driver.handle.clone(),
        ends: driver.cluster,
        memory: folder.join("cluster.json"),
        rules: folder.join("licence.rules"),
        codes: KnownCodes::new(folder.join("codes.json")),
    };
    let cluster = node::start(setup, questions);
    let (states, seen) = (cluster.watch(), Arc::clone(&hall));
    tokio::spawn(async move {
        let mut states = states;
        loop {
            let standing = states.borrow_and_update().standing;
            seen.lock().unwrap().standings.insert(me, standing);
            if states.changed().await.is_err() {
                return;
            }
        }
    });
    people(me, handle, &members, &hall).await;
    Ok(())
}

async fn people(me: usize, handle: Handle, members: &Members, hall: &Mutex<Hall>) {
    let mut draw = Draw(clock::mono().as_millis() ^ (me as u64) << 32);
    let mut connection = String::new();
    loop {
        let sessions = hall.lock().unwrap().of(me);
        match handle.heartbeat(Heartbeat { connection: connection.clone(), sessions }).await {
            Ok(answer) => {
                let mut hall = hall.lock().unwrap();
                for gone in answer.gone {
                    hall.seats.remove(&gone.session);
                    hall.count("told that it is gone");
                }
            }
            Err(_) => {
                let message = Connect { key_id: SERIES, info: ConnectionInfo::default() };
                let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
                connection = handle.connect(peer, message).await.unwrap().id;
            }
        }
        let (mood, held) = {
            let hall = hall.lock().unwrap();
            (hall.mood, hall.of(me))
        };
        let comes = match mood {
            Mood::Restless => draw.chance(65),
            Mood::Leaving => false,
            Mood::AllAt(node) => node == me && held.len() < SEATS,
        };
        if comes {
            open(me, &handle, &connection, members, hall).await;
        } else if let Some(session) = held.first().filter(|_| !matches!(mood, Mood::AllAt(_))) {
            // Theirs no more once they have said so.
            hall.lock().unwrap().seats.remove(session);
            let (connection, session) = (connection.clone(), session.clone());
            drop(handle.close(TouchSession { connection, session }).await);
        }
        pass(Duration::from_millis(100 + draw.below(500))).await;
    }
}

async fn open(me: usize, handle: &Handle, connection: &str, members: &Members, hall: &Mutex<Hall>) {
    let number = {
        let mut hall = hall.lock().unwrap();
        hall.number += 1;
        hall.number
    };
    let opened = handle
        .open(OpenSession {
            connection: connection.to_owned(),
            session: SessionInfo {
                session_number: number.to_string(),
                is_server: true,
                info_base_connection_str: "Srvr=\"s\";Ref=\"b\";".into(),
                computer_name: "PC".into(),
                ..SessionInfo::default()
            },
            wish: Wish::default(),
            lease: None,
            language: None,
        })
        .await;
    match opened {
        Ok(opened) => {
            // Whoever grants lives in etcd at that very moment.
            members.at_now(|shared, _| {
                if shared.store.get(&alive_key(me)).is_none() {
                    shared.broken.push(format!("node-{me} grants and is dead for the others"));
                }
            });
            let mut hall = hall.lock().unwrap();
            hall.seats.insert(opened.id, me);
            hall.count("seat");
        }
        Err(DriverError::Refused(_)) => {
            let mut hall = hall.lock().unwrap();
            let is_isolated = matches!(hall.standings.get(&me), Some(Standing::Isolated { .. }));
            hall.count(if is_isolated { "refused while cut off" } else { "refused" });
        }
        Err(error) => panic!("{error:?}"),
    }
}
