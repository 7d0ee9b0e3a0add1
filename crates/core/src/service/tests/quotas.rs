//! Limits and reservations that nodes of a cluster keep together, as the service of one of them
//! counts them.

use super::*;
use crate::cluster::ClusterId;
use crate::rules::{QuotaId, QuotaNeed, QuotaTotal, RuleSet};
use crate::service::LeasedSeat;

fn shared(seats: u32) -> ProtectionKey {
    ProtectionKey { cluster: Some(ClusterId::from_bytes([7; 16])), ..key(1, KeyKind::Main, seats) }
}

fn of(user: &str, number: u32) -> SessionInfo {
    SessionInfo { user_name: Some(user.to_owned()), ..server_session(number) }
}

fn guests() -> QuotaId {
    QuotaId::limit("guests")
}

fn chiefs() -> QuotaId {
    QuotaId::reserve(SERIES, "chiefs")
}

impl Bench {
    /// A node with all 10 seats of a key, a limit of 3 for guests and 2 seats reserved for chiefs.
    fn with_quotas() -> (Self, ConnectionId) {
        let mut bench = Self::with_keys(&[shared(10)]);
        let rules: RuleSet = serde_json::from_str(
            r#"{"Rules":[{"Name":"Guests","Effect":"limit","Seats":3,"User":"guest"},
                {"Name":"Chiefs","Effect":"reserve","Seats":2,"User":"chief"}]}"#,
        )
        .unwrap();
        bench.feed(Event::RulesChanged(rules.check().unwrap()));
        bench.feed(Event::QuotasClosed);
        bench.feed(Event::GrantUntil(Some(bench.now.mono.after(Duration::from_secs(3600)))));
        let (request, _) = bench.request();
        bench.feed(Event::SeatLimits { limits: vec![(KeyNo(1), 10, false)], request });
        let connection = bench.connect();
        (bench, connection)
    }

    fn quotas(&mut self, limits: &[(QuotaId, u32)]) -> Vec<u32> {
        let (request, _) = self.request();
        match self.feed(Event::QuotaLimits { limits: limits.to_vec(), request }) {
            Some(Reply::QuotaLimits(told)) => told.into_iter().map(|(held, ..)| held).collect(),
            other => panic!("{other:?}"),
        }
    }

    fn ask(
        &mut self,
        connection: ConnectionId,
        session: SessionInfo,
        moved: Option<SessionId>,
        may_wait: bool,
    ) -> Reply {
        let (request, bytes) = self.request();
        let lease = moved.map(|session| LeaseClaims {
            iss: "urn:licence-server:test".into(),
            sub: session.to_string(),
            iat: 0,
            exp: 1000,
            key_id: SERIES,
            key_no: KeyNo(1),
        });
        let seat =
            if moved.is_some() { LeasedSeat::Elsewhere("node-2".into()) } else { LeasedSeat::Own };
        let (id, wish) = (SessionId::from_bytes(bytes), Wish::default());
        let asked = Event::Open { request, id, connection, session, wish, lease, seat, may_wait };
        self.feed(asked).unwrap()
    }

    fn is_open(&mut self, connection: ConnectionId, user: &str, number: u32) -> bool {
        self.pass(1);
        matches!(self.ask(connection, of(user, number), None, false), Reply::Opened(_))
    }

    fn needs(&mut self) -> Vec<(QuotaId, QuotaNeed)> {
        self.service.take_quota_needs().unwrap_or_default().into_iter().collect()
    }
}

#[test]
fn nothing_of_a_quota_is_given_out_before_the_node_says_how_much() {
    let (mut bench, connection) = Bench::with_quotas();
    assert_eq!(
        bench.ask(connection, of("guest", 1), None, true),
        Reply::WantsQuotas(vec![guests()])
    );
    let Reply::Refused(refusal) = bench.ask(connection, of("guest", 1), None, false) else {
        panic!("a guest was let in")
    };
    assert_eq!(refusal.class(), "ELimitByRule");
    assert_eq!(bench.quotas(&[(guests(), 1), (QuotaId::Others(SERIES), 8)]), [0, 0]);
    assert!(bench.is_open(connection, "guest", 1));
    assert!(!bench.is_open(connection, "guest", 2));
    assert!(bench.is_open(connection, "guest", 1), "who is in may open again");
}

#[test]
fn needs_of_a_node_name_every_quota_and_what_is_held() {
    let (mut bench, connection) = Bench::with_quotas();
    let seats = |total, held| QuotaNeed { total: QuotaTotal::Seats(total), held };
    let others = |held| {
        let total = QuotaTotal::AllBut(SERIES, 2);
        (QuotaId::Others(SERIES), QuotaNeed { total, held })
    };
    assert_eq!(bench.needs(), [(guests(), seats(3, 0)), others(0), (chiefs(), seats(2, 0))]);
    assert_eq!(bench.needs(), [], "it is told once");
    bench.quotas(&[(guests(), 3), (QuotaId::Others(SERIES), 8), (chiefs(), 1)]);
    assert!(bench.is_open(connection, "guest", 1));
    assert!(bench.is_open(connection, "chief", 2));
    assert!(bench.is_open(connection, "chief", 3), "of the seats for anybody");
    assert_eq!(bench.needs(), [(guests(), seats(3, 1)), others(2), (chiefs(), seats(2, 2))]);
    bench.quotas(&[(chiefs(), 2)]);
    assert_eq!(bench.needs(), [(guests(), seats(3, 1)), others(1), (chiefs(), seats(2, 2))]);
}

#[test]
fn others_take_no_more_than_their_part_and_those_reserved_for_take_both() {
    let (mut bench, connection) = Bench::with_quotas();
    bench.quotas(&[(QuotaId::Others(SERIES), 2), (chiefs(), 1)]);
    assert!(bench.is_open(connection, "other", 1));
    assert!(bench.is_open(connection, "other", 2));
    let wanted = Reply::WantsQuotas(vec![QuotaId::Others(SERIES)]);
    assert_eq!(bench.ask(connection, of("other", 3), None, true), wanted);
    assert!(bench.is_open(connection, "chief", 4));
    let wanted = Reply::WantsQuotas(vec![chiefs(), QuotaId::Others(SERIES)]);
    assert_eq!(bench.ask(connection, of("chief", 5), None, true), wanted);
    bench.quotas(&[(QuotaId::Others(SERIES), 3)]);
    assert!(bench.is_open(connection, "chief", 5));
    let Reply::Refused(refusal) = bench.ask(connection, of("other", 3), None, false) else {
        panic!("a seat that is kept was given out")
    };
    assert_eq!(refusal.class(), "ENoFreeLicence");
}

#[test]
fn who_comes_from_another_node_is_let_in_and_who_goes_takes_the_quota_along() {
    let (mut bench, connection) = Bench::with_quotas();
    bench.quotas(&[(guests(), 1), (QuotaId::Others(SERIES), 8)]);
    assert!(bench.is_open(connection, "guest", 1));
    let moved = SessionId::from_bytes([9; 16]);
    let reply = bench.ask(connection, of("guest", 2), Some(moved), true);
    assert!(matches!(reply, Reply::Opened(_)), "{reply:?}");
    let held = |bench: &mut Bench| {
        let needs = bench.needs();
        needs.into_iter().find(|(id, _)| *id == guests()).map(|(_, need)| need.held)
    };
    assert_eq!(held(&mut bench), Some(2), "one more than the share");
    let (request, _) = bench.request();
    let Some(Reply::TakenAway { was_held, quotas }) =
        bench.feed(Event::TakeAway { session: moved, request })
    else {
        panic!("not taken away")
    };
    assert!(was_held);
    assert_eq!(quotas, [guests(), QuotaId::Others(SERIES)]);
    assert_eq!(held(&mut bench), Some(1));
    assert!(!bench.is_open(connection, "guest", 3), "the share is none now, and one is held");
}

#[test]
fn server_of_its_own_counts_by_itself() {
    let mut bench = Bench::with_keys(&[key(1, KeyKind::Main, 10)]);
    let rules: RuleSet =
        serde_json::from_str(r#"{"Rules":[{"Name":"r","Effect":"limit","Seats":1}]}"#).unwrap();
    bench.feed(Event::RulesChanged(rules.check().unwrap()));
    let connection = bench.connect();
    assert!(bench.is_open(connection, "a", 1));
    assert!(!bench.is_open(connection, "a", 2));
    assert_eq!(bench.service.take_quota_needs(), None);
}

#[test]
fn sessions_that_end_with_their_seats_are_told_to_be_held_no_longer() {
    let (mut bench, connection) = Bench::with_quotas();
    bench.quotas(&[(guests(), 3), (QuotaId::Others(SERIES), 8)]);
    for number in 1..=3 {
        let reply = bench.ask(connection, of("guest", number), None, true);
        assert!(matches!(reply, Reply::Opened(_)), "{reply:?}");
    }
    let told = bench.service.take_quota_needs().unwrap();
    assert_eq!(told[&guests()].held, 3);
    let (request, _) = bench.request();
    bench.feed(Event::SeatLimits { limits: vec![(KeyNo(1), 1, true)], request });
    let told = bench.service.take_quota_needs().expect("two have ended");
    assert_eq!(told[&guests()].held, 1);
}
