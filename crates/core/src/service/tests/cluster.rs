//! What the seats of a node of a cluster do: blocks, sessions that come and go, isolation.

use super::*;
use crate::cluster::ClusterId;
use crate::key::Obstacle;
use crate::language::Language;
use crate::rules::{Rule, RuleEffect, RuleSet};

const KEY: KeyNo = KeyNo(1);
const CLUSTER: ClusterId = ClusterId::from_bytes([7; 16]);

/// A key of a cluster.
fn shared(number: u32, seats: u32) -> ProtectionKey {
    ProtectionKey { cluster: Some(CLUSTER), ..key(number, KeyKind::Main, seats) }
}

fn lease_of(session: SessionId, key_no: KeyNo) -> LeaseClaims {
    LeaseClaims {
        iss: "urn:licence-server:test".into(),
        sub: session.to_string(),
        iat: 0,
        exp: 1000,
        key_id: SERIES,
        key_no,
    }
}

fn session_id(number: u8) -> SessionId {
    SessionId::from_bytes([number; 16])
}

fn elsewhere() -> LeasedSeat {
    LeasedSeat::Elsewhere("node-2".into())
}

fn refused(reply: Option<Reply>) -> Refusal {
    match reply {
        Some(Reply::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

fn opened(reply: Option<Reply>) -> Grant {
    match reply {
        Some(Reply::Opened(grant)) => grant,
        other => panic!("{other:?}"),
    }
}

impl Bench {
    /// A node that has a key of 10 seats, a block of it, and the right to grant for an hour.
    fn node(block: u32) -> (Self, ConnectionId) {
        let mut bench = Self::with_keys(&[shared(1, 10)]);
        let until = bench.now.mono.after(Duration::from_secs(3600));
        bench.feed(Event::GrantUntil(Some(until)));
        assert_eq!(bench.limit(1, block, false), (block, 0));
        let connection = bench.connect();
        (bench, connection)
    }

    fn limit(&mut self, key: u32, seats: u32, force: bool) -> (u32, u32) {
        let (request, _) = self.request();
        let limits = vec![(KeyNo(key), seats, force)];
        match self.feed(Event::SeatLimits { limits, request }) {
            Some(Reply::SeatLimits(told)) => {
                assert_eq!((told.len(), told[0].0), (1, KeyNo(key)));
                (told[0].1, told[0].2)
            }
            other => panic!("{other:?}"),
        }
    }

    fn take_away(&mut self, session: SessionId) -> bool {
        let (request, _) = self.request();
        match self.feed(Event::TakeAway { session, request }) {
            Some(Reply::TakenAway { was_held, .. }) => was_held,
            other => panic!("{other:?}"),
        }
    }

    fn open_with(
        &mut self,
        connection: ConnectionId,
        session: SessionInfo,
        lease: Option<LeaseClaims>,
        seat: LeasedSeat,
        may_wait: bool,
    ) -> Option<Reply> {
        let (request, bytes) = self.request();
        let (id, wish) = (SessionId::from_bytes(bytes), Wish::default());
        self.feed(Event::Open { request, id, connection, session, wish, lease, seat, may_wait })
    }

    fn sessions(
        &mut self,
        connection: ConnectionId,
        numbers: std::ops::Range<u32>,
    ) -> Vec<SessionId> {
        numbers
            .map(|n| {
                self.pass(1);
                self.open(connection, server_session(n), Wish::default()).unwrap().session
            })
            .collect()
    }
}

#[test]
fn key_of_a_cluster_gives_out_nothing_before_the_node_says_how_many() {
    let mut bench = Bench::with_keys(&[shared(1, 10)]);
    let connection = bench.connect();
    let refusal = bench.open(connection, server_session(1), Wish::default()).unwrap_err();
    assert_eq!(refusal, Refusal::ClusterUnavailable { series: SERIES });
    let until = bench.now.mono.after(Duration::from_secs(5));
    bench.feed(Event::GrantUntil(Some(until)));
    let refusal = bench.open(connection, server_session(1), Wish::default()).unwrap_err();
    assert_eq!(refusal, Refusal::ClusterUnavailable { series: SERIES }, "no block yet");
    bench.limit(1, 1, false);
    bench.open(connection, server_session(1), Wish::default()).unwrap();
    assert_eq!(bench.service.totals(SERIES).free, 0);
}

#[test]
fn key_of_one_server_needs_no_cluster() {
    let mut bench = Bench::with_keys(&[key(1, KeyKind::Main, 1)]);
    bench.limit(1, 0, true);
    bench.feed(Event::EndCluster);
    let connection = bench.connect();
    bench.open(connection, server_session(1), Wish::default()).unwrap();
    bench.feed(Event::EndCluster);
    assert!(!bench.take_away(session_id(1)));
    assert_eq!(bench.held(), 1);
    assert_eq!(bench.service.take_cluster_change(), Some(BTreeMap::new()), "the limit was told");
    assert_eq!(bench.service.take_cluster_change(), None);
    assert_eq!(bench.service.take_ended_here(), []);
}

#[test]
fn right_to_grant_ends_by_itself_and_what_is_held_goes_on() {
    let (mut bench, connection) = Bench::node(3);
    let held = bench.sessions(connection, 1..3);
    let until = bench.now.mono.after(Duration::from_secs(5));
    bench.feed(Event::GrantUntil(Some(until)));
    bench.pass(3);
    bench.sessions(connection, 3..4);
    assert!(bench.service.poll_timeout(bench.now).unwrap() <= until);
    bench.limit(1, 5, false);
    bench.now.mono = until;
    let refusal =
        refused(bench.open_with(connection, server_session(9), None, LeasedSeat::Own, false));
    assert_eq!(refusal, Refusal::ClusterUnavailable { series: SERIES }, "the second is over");
    assert_eq!(bench.beat(connection, &held), Ok(vec![]));
    assert_eq!(bench.held(), 3);
    bench.feed(Event::GrantUntil(Some(until.after(Duration::from_secs(9)))));
    bench.sessions(connection, 4..6);
    bench.feed(Event::GrantUntil(None));
    assert_eq!(bench.service.totals(SERIES).free, 0);
}

#[test]
fn who_finds_the_block_full_may_wait_for_the_cluster_and_leaves_no_denial() {
    let (mut bench, connection) = Bench::node(1);
    bench.sessions(connection, 1..2);
    let reply = bench.open_with(connection, server_session(2), None, LeasedSeat::Own, true);
    assert_eq!(reply, Some(Reply::Wants(vec![KEY])));
    assert_eq!(bench.last.len(), 1, "no denial: {:?}", bench.last);
    let refusal =
        refused(bench.open_with(connection, server_session(2), None, LeasedSeat::Own, false));
    let Refusal::NoSeatFree { total: 10, elsewhere: 9, more: 0, .. } = &refusal else {
        panic!("{refusal:?}")
    };
    assert_eq!(refusal.holders().len(), 1);
    assert!(
        refusal
            .to_string()
            .contains("1 of 10 are in use at this server, 9 are with other servers of the cluster"),
        "{refusal}"
    );
    assert!(refusal.text(Language::Russian).contains("у других серверов кластера: 9"));
    bench.limit(1, 10, false);
    bench.sessions(connection, 2..11);
    let reply = bench.open_with(connection, server_session(11), None, LeasedSeat::Own, true);
    assert!(
        matches!(refused(reply), Refusal::NoSeatFree { elsewhere: 0, .. }),
        "all seats are here, so there is nothing to wait for"
    );
}

#[test]
fn limit_without_force_stops_at_what_is_held_and_with_force_ends_those_that_came_last() {
    let (mut bench, connection) = Bench::node(5);
    let held = bench.sessions(connection, 1..5);
    assert_eq!(bench.limit(1, 2, false), (4, 4));
    assert_eq!(bench.service.totals(SERIES).free, 0);
    assert_eq!(bench.limit(1, 2, true), (2, 2));
    let gone = bench.beat(connection, &held).unwrap();
    assert_eq!(gone, [(held[2], EndReason::Isolated), (held[3], EndReason::Isolated)]);
    assert_eq!(bench.limit(1, 6, false), (6, 2));
    assert_eq!(bench.service.totals(SERIES).free, 4);
    assert_eq!(bench.limit(9, 3, false), (3, 0), "a key that is not here");
}

#[test]
fn session_that_loses_its_seat_by_force_moves_to_a_key_of_this_server_alone() {
    let (mut bench, connection) = Bench::node(1);
    bench.sessions(connection, 1..2);
    bench.feed(Event::KeyArrived(key(2, KeyKind::Main, 1)));
    bench.limit(1, 0, true);
    assert_eq!(bench.service.key(KeyNo(2)).unwrap().held, 1);
    assert_eq!(bench.held(), 1);
}

#[test]
fn changed_replaced_and_returning_key_keeps_its_limit() {
    let (mut bench, connection) = Bench::node(2);
    bench.sessions(connection, 1..2);
    let coded = ProtectionKey { access_code: Some("x".into()), ..shared(1, 10) };
    for event in [Event::KeyChanged(coded), Event::KeyArrived(shared(1, 20))] {
        bench.feed(event);
        assert_eq!(bench.service.key(KEY).unwrap().limit, Some(2));
    }
    assert_eq!(bench.service.totals(SERIES).free, 1);
    bench.feed(Event::KeyRemoved(KEY));
    bench.feed(Event::KeyArrived(shared(1, 20)));
    assert_eq!(bench.service.key(KEY).unwrap().limit, Some(2));
    let alone = key(1, KeyKind::Main, 20);
    bench.feed(Event::KeyArrived(alone));
    bench.sessions(connection, 5..9);
    bench.feed(Event::KeyArrived(shared(1, 20)));
    let pooled = bench.service.key(KEY).unwrap();
    assert_eq!((pooled.limit, pooled.held, pooled.free()), (None, 4, 0), "more than it has");
}

#[test]
fn restored_sessions_keep_their_seats_until_a_limit_with_force() {
    let (mut bench, connection) = Bench::node(5);
    let held = bench.sessions(connection, 1..4);
    bench.restart();
    bench.pass(1);
    assert_eq!(bench.held(), 3);
    let pooled = bench.service.key(KEY).unwrap();
    assert_eq!((pooled.limit, pooled.free()), (None, 0));
    assert_eq!(bench.limit(1, 2, false), (3, 3));
    assert_eq!(bench.limit(1, 2, true), (2, 2));
    assert_eq!(bench.beat(connection, &held), Ok(vec![(held[2], EndReason::Isolated)]));
}

#[test]
fn session_of_another_node_goes_on_with_its_id_from_a_free_seat() {
    let (mut bench, connection) = Bench::node(2);
    let lease = lease_of(session_id(7), KEY);
    let grant =
        opened(bench.open_with(connection, server_session(1), Some(lease), elsewhere(), true));
    assert_eq!(grant.session, session_id(7));
    assert!(grant.with_token && grant.is_elsewhere);
    let lease = lease_of(session_id(8), KeyNo(5));
    let grant =
        opened(bench.open_with(connection, server_session(2), Some(lease), elsewhere(), true));
    assert!(!grant.is_elsewhere, "nobody is asked for a seat of a key that is not here");
}

#[test]
fn session_of_another_node_waits_for_its_seat_and_is_no_denial_meanwhile() {
    let (mut bench, connection) = Bench::node(1);
    bench.sessions(connection, 1..2);
    let lease = || Some(lease_of(session_id(7), KEY));
    let session = || server_session(2);
    let reply = bench.open_with(connection, session(), lease(), elsewhere(), true);
    assert_eq!(reply, Some(Reply::Wants(vec![KEY])));
    let asked = LeasedSeat::Asked(Some("node-2".into()));
    let refusal = refused(bench.open_with(connection, session(), lease(), asked, false));
    assert_eq!(refusal, Refusal::ClusterSettling { series: SERIES, from: Some("node-2".into()) });
    assert_eq!(bench.last.len(), 1, "no denial: {:?}", bench.last);
    assert!(refusal.text(Language::Russian).contains("с сервера node-2"));
    let gone = bench.open_with(connection, session(), lease(), LeasedSeat::Gone, false);
    assert!(matches!(refused(gone), Refusal::NoSeatFree { .. }));
    bench.feed(Event::Expect { session: session_id(7), key_no: KEY });
    assert_eq!(bench.service.key(KEY).unwrap().limit, Some(2));
    let grant = opened(bench.open_with(connection, session(), lease(), LeasedSeat::Here, true));
    assert_eq!((grant.session, grant.is_elsewhere), (session_id(7), false));
    assert_eq!(bench.limit(1, 2, false), (2, 2));
}

#[test]
fn kept_seat_is_for_nobody_else_and_counts_as_held_until_one_life_has_passed() {
    let (mut bench, connection) = Bench::node(2);
    bench.feed(Event::Expect { session: session_id(7), key_no: KEY });
    assert_eq!(bench.limit(1, 0, false), (1, 1));
    let refusal =
        refused(bench.open_with(connection, server_session(1), None, LeasedSeat::Own, false));
    assert!(matches!(refusal, Refusal::NoSeatFree { .. }), "{refusal}");
    bench.pass(999);
    assert_eq!(bench.service.key(KEY).unwrap().expected, 1);
    let connection = bench.connect();
    bench.feed(Event::GrantUntil(None));
    let lease = Some(lease_of(session_id(7), KEY));
    let reply = bench.open_with(connection, server_session(1), lease, elsewhere(), false);
    assert_eq!(opened(reply).session, session_id(7), "its own seat needs no right to grant");
    bench.feed(Event::Expect { session: session_id(7), key_no: KEY });
    assert_eq!(bench.service.key(KEY).unwrap().expected, 0, "it is here");
    bench.feed(Event::Expect { session: session_id(8), key_no: KEY });
    bench.feed(Event::Expect { session: session_id(8), key_no: KEY });
    bench.pass(1000);
    let ended = bench.service.take_ended_here();
    let ends: Vec<_> = ended.iter().map(|ended| (ended.session, ended.is_released)).collect();
    assert_eq!(ends, [(session_id(8), false), (session_id(7), false)]);
}

#[test]
fn lease_that_a_node_renewed_while_it_was_cut_off_keeps_its_seat_here_for_another_life() {
    let (mut bench, connection) = Bench::node(2);
    let grant =
        opened(bench.open_with(connection, server_session(1), None, LeasedSeat::Own, false));
    bench.feed(Event::Expect { session: session_id(8), key_no: KEY });
    bench.pass(999);
    for session in [grant.session, session_id(8), session_id(9)] {
        bench.feed(Event::Keep { session });
    }
    bench.pass(999);
    let key = bench.service.key(KEY).unwrap();
    assert_eq!((key.held, key.expected), (1, 1));
    bench.pass(2);
    let key = bench.service.key(KEY).unwrap();
    assert_eq!((key.held, key.expected), (0, 0));
}

#[test]
fn reservation_of_a_rule_does_not_keep_out_who_brings_a_seat() {
    let (mut bench, connection) = Bench::node(1);
    let rule = Rule {
        name: "accountants".into(),
        effect: RuleEffect::Reserve,
        seats: Some(1),
        enabled: true,
        key_id: None,
        user: Some("chief".into()),
        computer: None,
        subnet: None,
        infobase: None,
        application: None,
        comment: String::new(),
    };
    bench.feed(Event::RulesChanged(RuleSet { rules: vec![rule] }.check().unwrap()));
    let lease = || Some(lease_of(session_id(7), KEY));
    let reply = bench.open_with(connection, server_session(1), lease(), elsewhere(), true);
    assert_eq!(reply, Some(Reply::Wants(vec![KEY])), "its own seat is asked for");
    let reply = bench.open_with(connection, server_session(1), lease(), elsewhere(), false);
    assert!(matches!(refused(reply), Refusal::ClusterSettling { .. }));
    bench.feed(Event::Expect { session: session_id(7), key_no: KEY });
    opened(bench.open_with(connection, server_session(1), lease(), LeasedSeat::Here, true));
}

#[test]
fn seat_kept_for_a_session_is_free_when_that_is_let_go_instead_of_opened() {
    let (mut bench, connection) = Bench::node(1);
    bench.sessions(connection, 1..2);
    bench.feed(Event::Expect { session: session_id(7), key_no: KEY });
    let (request, _) = bench.request();
    let reply = bench.feed(Event::Close { session: session_id(7), request });
    assert_eq!(reply, Some(Reply::Done));
    assert_eq!(bench.service.key(KEY).unwrap().expected, 0);
    let ended = EndedHere { session: session_id(7), is_released: true };
    assert_eq!(bench.service.take_ended_here(), [ended]);
    bench.open(connection, server_session(2), Wish::default()).unwrap();
    let reply = bench.feed(Event::Close { session: session_id(7), request });
    assert_eq!(reply, Some(Reply::Refused(Refusal::SessionNotFound)));
}

#[test]
fn seat_that_comes_for_a_session_that_has_said_goodbye_is_not_kept() {
    let ended = |n| EndedHere { session: session_id(n), is_released: true };
    let kept = |bench: &Bench| bench.service.key(KEY).unwrap().expected;
    let (mut bench, connection) = Bench::node(3);
    let lease = |n| Some(lease_of(session_id(n), KEY));
    // Let go while its seat is on the way.
    let (request, _) = bench.request();
    bench.feed(Event::Close { session: session_id(7), request });
    bench.feed(Event::Expect { session: session_id(7), key_no: KEY });
    assert_eq!((kept(&bench), bench.service.take_ended_here()), (0, vec![ended(7)]));
    // Opened with a free seat, and let go before the other one came.
    let reply = bench.open_with(connection, server_session(1), lease(8), elsewhere(), true);
    let grant = opened(reply);
    assert_eq!((grant.session, grant.is_elsewhere), (session_id(8), true));
    bench.feed(Event::Close { session: session_id(8), request });
    assert_eq!(bench.service.take_ended_here(), [ended(8)]);
    bench.feed(Event::Expect { session: session_id(8), key_no: KEY });
    assert_eq!((kept(&bench), bench.service.take_ended_here()), (0, vec![ended(8)]));
    // Known here under another id when the seat comes.
    let known = opened(bench.open_with(connection, server_session(2), None, LeasedSeat::Own, true));
    let reply = bench.open_with(connection, server_session(2), lease(9), elsewhere(), true);
    assert_eq!(opened(reply).session, known.session);
    bench.feed(Event::Expect { session: session_id(9), key_no: KEY });
    assert_eq!((kept(&bench), bench.service.take_ended_here()), (0, vec![ended(9)]));
    // Who has thought better of it is kept a seat again.
    bench.sessions(connection, 3..5);
    let reply = bench.open_with(connection, server_session(6), lease(7), elsewhere(), false);
    assert!(matches!(refused(reply), Refusal::ClusterSettling { .. }));
    bench.feed(Event::Expect { session: session_id(7), key_no: KEY });
    assert_eq!((kept(&bench), bench.service.take_ended_here()), (1, Vec::new()));
}

#[test]
fn session_taken_away_leaves_with_its_seat_and_may_come_back() {
    let (mut bench, connection) = Bench::node(3);
    let held = bench.sessions(connection, 1..3);
    assert!(bench.take_away(held[0]));
    assert!(!bench.take_away(held[0]), "it is gone already");
    let pooled = bench.service.key(KEY).unwrap();
    assert_eq!((pooled.limit, pooled.held), (Some(2), 1));
    assert_eq!(bench.beat(connection, &held), Ok(vec![(held[0], EndReason::Moved)]));
    assert_eq!(EndReason::Moved.told(), "unknown", "components open what is unknown again");
    assert_eq!(bench.service.take_ended_here(), [], "it has not ended");
    let lease = lease_of(held[0], KEY);
    let reply = bench.open_with(connection, server_session(1), Some(lease), LeasedSeat::Own, true);
    let grant = opened(reply);
    assert_eq!((grant.session, grant.is_elsewhere), (held[0], true), "others may hold it");
    bench.feed(Event::Expect { session: session_id(7), key_no: KEY });
    assert!(bench.take_away(session_id(7)), "what is kept goes as well");
}

#[test]
fn seat_that_sessions_of_a_computer_share_stays_with_those_who_stay() {
    let (mut bench, connection) = Bench::node(1);
    let mut open =
        |n| bench.open(connection, file_session(n, "PC", None), Wish::default()).unwrap().session;
    let (first, second) = (open(1), open(2));
    assert!(!bench.take_away(first));
    assert!(bench.service.session(first).is_none());
    assert_eq!(bench.service.key(KEY).unwrap().limit, Some(1));
    assert!(bench.take_away(second));
    assert_eq!(bench.service.key(KEY).unwrap().limit, Some(0));
}

#[test]
fn end_of_isolation_ends_what_holds_seats_of_the_cluster_and_nothing_else() {
    let (mut bench, connection) = Bench::node(3);
    let held = bench.sessions(connection, 1..3);
    let wish = Wish { presence_only: true, ..Wish::default() };
    let present = bench.open(connection, server_session(3), wish).unwrap().session;
    bench.feed(Event::Expect { session: session_id(7), key_no: KEY });
    bench.feed(Event::EndCluster);
    let gone = bench.beat(connection, &[held[0], held[1], present]).unwrap();
    assert_eq!(gone, [(held[0], EndReason::Isolated), (held[1], EndReason::Isolated)]);
    let pooled = bench.service.key(KEY).unwrap();
    assert_eq!((pooled.limit, pooled.spoken_for(), pooled.free()), (Some(0), 0, 0));
    assert_eq!(bench.service.take_ended_here(), [], "the cluster's node knows");
}

#[test]
fn node_that_is_cut_off_for_too_long_renews_nobody_but_keeps_the_seats_until_leases_end() {
    let (mut bench, connection) = Bench::node(4);
    let held = bench.sessions(connection, 1..3);
    let of_computer =
        bench.open(connection, file_session(9, "PC", None), Wish::default()).unwrap().session;
    let wish = Wish { presence_only: true, ..Wish::default() };
    let present = bench.open(connection, server_session(3), wish.clone()).unwrap().session;
    bench.feed(Event::Expect { session: session_id(7), key_no: KEY });
    let until = bench.now.mono.after(Duration::from_secs(7));
    bench.feed(Event::HoldUntil(Some(until)));
    bench.pass(6);
    assert_eq!(bench.beat(connection, &held), Ok(vec![]));
    bench.pass(1);
    let gone = bench.beat(connection, &[held[0], of_computer, present]).unwrap();
    assert_eq!(gone, [(held[0], EndReason::Isolated), (of_computer, EndReason::Isolated)]);

    let (request, _) = bench.request();
    let reply = bench.feed(Event::Touch { request, connection, session: held[0] });
    assert!(matches!(refused(reply), Refusal::ClusterUnavailable { .. }));
    for session in [server_session(1), file_session(10, "PC", None), server_session(4)] {
        let refusal = bench.open(connection, session, Wish::default()).unwrap_err();
        assert!(matches!(refusal, Refusal::ClusterUnavailable { .. }), "{refusal}");
    }
    let lease = Some(lease_of(session_id(7), KEY));
    let reply = bench.open_with(connection, server_session(7), lease, LeasedSeat::Here, false);
    assert!(matches!(refused(reply), Refusal::ClusterUnavailable { .. }), "its seat is kept");
    bench.open(connection, server_session(5), wish).unwrap();
    assert_eq!(bench.service.key(KEY).unwrap().spoken_for(), 4, "nothing is free");

    // 6 s after the others, for the lease of each is valid until then.
    bench.pass(1000 - 7);
    assert_eq!(bench.service.key(KEY).unwrap().spoken_for(), 2);
    bench.pass(6);
    assert_eq!(bench.service.key(KEY).unwrap().spoken_for(), 0);
    let ended = bench.service.take_ended_here();
    assert_eq!(ended.len(), 4);
    assert!(ended.iter().all(|ended| !ended.is_released));
}

#[test]
fn node_that_is_back_in_time_renews_again() {
    let (mut bench, connection) = Bench::node(3);
    let held = bench.sessions(connection, 1..3);
    let later = |bench: &Bench, secs| Some(bench.now.mono.after(Duration::from_secs(secs)));
    let until = later(&bench, 5);
    bench.feed(Event::HoldUntil(until));
    bench.pass(6);
    assert_eq!(bench.beat(connection, &held).unwrap().len(), 2);
    let until = later(&bench, 3600);
    bench.feed(Event::HoldUntil(until));
    assert_eq!(bench.beat(connection, &held), Ok(vec![]));
}

#[test]
fn node_learns_what_is_held_and_what_has_ended_after_each_change() {
    let (mut bench, connection) = Bench::node(3);
    let of = |held| BTreeMap::from([(KEY, ClusterKey { series: SERIES, seats: 10, held })]);
    assert_eq!(bench.service.take_cluster_change(), Some(of(0)));
    let held = bench.sessions(connection, 1..4);
    assert_eq!(bench.service.take_cluster_change(), Some(of(3)));
    bench.beat(connection, &held).unwrap();
    assert_eq!(bench.service.take_cluster_change(), None);
    let (request, _) = bench.request();
    bench.feed(Event::Close { request, session: held[0] });
    assert_eq!(bench.service.take_cluster_change(), Some(of(2)));
    bench.pass(1000);
    let ended = bench.service.take_ended_here();
    let ends: Vec<_> = ended.iter().map(|ended| (ended.session, ended.is_released)).collect();
    assert_eq!(ends, [(held[0], true), (held[1], false), (held[2], false)]);
    let kept = ProtectionKey { obstacle: Some(Obstacle::NoCluster), ..shared(1, 10) };
    bench.feed(Event::KeyChanged(kept));
    assert_eq!(bench.service.take_cluster_change(), Some(BTreeMap::new()), "not a usable key");
    let connection = bench.connect();
    let refusal = bench.open(connection, server_session(1), Wish::default()).unwrap_err();
    assert!(refusal.to_string().contains("no member of that cluster"), "{refusal}");
}
