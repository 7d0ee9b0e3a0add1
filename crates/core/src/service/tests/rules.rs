//! Rules of who gets a seat, changes of the settings, and recovery after the books were lost.

use super::*;
use crate::language::Language;
use crate::rules::{CheckedRules, RuleSet};

const OTHER: KeySeries = KeySeries::from_u16(0x4BFE);

fn rules(json: &str) -> CheckedRules {
    RuleSet::from_json(&format!(r#"{{"Rules":[{json}]}}"#)).unwrap().check().unwrap()
}

fn named(number: u32, user: &str) -> SessionInfo {
    SessionInfo { user_name: Some(user.into()), ..server_session(number) }
}

fn at_pc(number: u32, user: &str, computer: &str) -> SessionInfo {
    SessionInfo { user_name: Some(user.into()), ..file_session(number, computer, None) }
}

impl Bench {
    fn with_rules(seats: u32, json: &str) -> (Self, ConnectionId) {
        let mut bench = Self::with_keys(&[key(1, KeyKind::Main, seats)]);
        bench.feed(Event::RulesChanged(rules(json)));
        let connection = bench.connect();
        (bench, connection)
    }

    fn open_plain(
        &mut self,
        connection: ConnectionId,
        session: SessionInfo,
    ) -> Result<Grant, Refusal> {
        self.open(connection, session, Wish::default())
    }

    fn close(&mut self, session: SessionId) {
        let (request, _) = self.request();
        assert_eq!(self.feed(Event::Close { request, session }), Some(Reply::Done));
    }

    fn connect_from(&mut self, peer: &str, series: KeySeries) -> ConnectionId {
        let (request, bytes) = self.request();
        let id = ConnectionId::from_bytes(bytes);
        let (peer, info) = (peer.to_owned(), ConnectionInfo::default());
        self.feed(Event::Connect { request, id, series, peer, info });
        id
    }

    /// Opens sessions one after another, `user` or `user@computer` in file mode, and shows what came
    /// of each: `+` granted, `d` denied, `l` limit, `n` no seat free.
    fn outcome(&mut self, connection: ConnectionId, sessions: &[&str]) -> String {
        let mut shown = String::new();
        for session in sessions {
            self.next += 1;
            let number = u32::try_from(self.next).unwrap();
            let session = match session.split_once('@') {
                Some((user, computer)) => at_pc(number, user, computer),
                None => named(number, session),
            };
            shown.push(match self.open_plain(connection, session) {
                Ok(_) => '+',
                Err(Refusal::DeniedByRule { .. }) => 'd',
                Err(Refusal::LimitByRule { .. }) => 'l',
                Err(Refusal::NoSeatFree { .. }) => 'n',
                Err(other) => panic!("{other:?}"),
            });
        }
        shown
    }
}

const NO_GUESTS: &str = r#"{"Name":"no guests","Effect":"deny","User":"guest*"}"#;
const TWO_GUESTS: &str = r#"{"Name":"guests","Effect":"limit","Seats":2,"User":"guest*"}"#;
const TWO_BOSSES: &str = r#"{"Name":"bosses","Effect":"reserve","Seats":2,"User":"boss*"}"#;

#[test]
fn rules_decide_who_gets_a_seat() {
    let check = |seats: u32, json: &str, sessions: &[&str], expected: &str| {
        let (mut bench, connection) = Bench::with_rules(seats, json);
        assert_eq!(bench.outcome(connection, sessions), expected, "{json} {sessions:?}");
    };
    check(5, "", &["guest1", "a"], "++");
    check(5, NO_GUESTS, &["guest1", "a", "GUEST2"], "d+d");
    check(5, &NO_GUESTS.replace("}", r#","Enabled":false}"#), &["guest1"], "+");
    check(5, &NO_GUESTS.replace("}", r#","KeyID":"4BFE"}"#), &["guest1"], "+");
    check(5, TWO_GUESTS, &["guest1", "guest2", "guest3", "a"], "++l+");
    // Sessions that share a seat count once, and a rule counts a seat when one of them is under it.
    check(5, TWO_GUESTS, &["guest1@pc", "guest2@pc", "guest3@pc", "guest4"], "++++");
    check(5, TWO_GUESTS, &["guest1", "guest2", "a@pc", "guest3@pc"], "+++l");
    check(5, TWO_GUESTS, &["guest1", "guest2@pc", "a@pc", "guest3@pc", "guest4"], "++++l");
    check(5, TWO_BOSSES, &["a", "b", "c", "d", "boss1", "boss2", "boss3"], "+++n++n");
    check(5, TWO_BOSSES, &["boss1", "a", "b", "c", "d", "boss2", "boss3"], "++++n+n");
    check(5, TWO_BOSSES, &["boss1", "boss2", "a", "b", "c", "d"], "+++++n");
    check(5, TWO_BOSSES, &["boss1", "boss2", "boss3", "boss4", "boss5", "a"], "+++++n");
    check(2, TWO_BOSSES, &["boss1@pc", "a@pc", "a@other", "boss2@pc", "boss@x"], "++n++");
    check(5, &TWO_BOSSES.replace("}", r#","KeyID":"4BFE"}"#), &["a", "b", "c", "d", "e"], "+++++");
    // More is reserved than there is: whoever is under a reservation comes first, nobody waits for
    // ever.
    let crowd = r#"{"Name":"x","Effect":"reserve","Seats":5,"User":"x*"},
        {"Name":"y","Effect":"reserve","Seats":5,"User":"y*"}"#;
    check(3, crowd, &["a", "x1", "y1", "x2", "y2"], "n+++n");
    // The first refusal in the order of the rules is the one that is told; limits come before
    // reservations.
    check(3, &format!("{TWO_BOSSES},{TWO_GUESTS},{NO_GUESTS}"), &["guest1"], "d");
    let both = format!("{TWO_BOSSES},{}", TWO_GUESTS.replace('2', "1"));
    check(4, &both, &["guest1", "guest2", "a", "b"], "+l+n");
}

#[test]
fn refusal_by_a_rule_names_the_rule_and_is_recorded_with_it() {
    let (mut bench, connection) = Bench::with_rules(5, NO_GUESTS);
    let refusal = bench.open_plain(connection, named(1, "guest")).unwrap_err();
    assert_eq!(refusal.class(), "EDeniedByRule");
    for language in [Language::English, Language::Russian] {
        assert!(refusal.text(language).contains("no guests"), "{}", refusal.text(language));
    }
    let Effect::Persist(Record::Denied { class, rule, peer, holders, .. }) = &bench.last[0] else {
        panic!("{:?}", bench.last);
    };
    assert_eq!(
        (*class, rule.as_deref(), &**peer),
        ("EDeniedByRule", Some("no guests"), "127.0.0.1")
    );
    assert!(holders.is_empty());
}

#[test]
fn refusal_by_a_limit_names_those_under_it_and_only_them() {
    let (mut bench, connection) = Bench::with_rules(9, TWO_GUESTS);
    bench.outcome(connection, &["other", "guest-a@pc", "guest-b@pc", "guest-c"]);
    let refusal = bench.open_plain(connection, named(99, "guest-d")).unwrap_err();
    assert_eq!(refusal.class(), "ELimitByRule");
    let Refusal::LimitByRule { max: 2, holders, more: 0, .. } = &refusal else {
        panic!("{refusal:?}");
    };
    assert_eq!(holders.len(), 2, "one for each seat: {holders:?}");
    assert!(!refusal.to_string().contains("other"), "{refusal}");
    for (language, word) in [(Language::English, "In use by"), (Language::Russian, "занимают")]
    {
        assert!(refusal.text(language).contains(word), "{}", refusal.text(language));
    }
}

#[test]
fn refusal_for_a_reservation_says_how_many_seats_are_reserved() {
    let (mut bench, connection) = Bench::with_rules(3, TWO_BOSSES);
    bench.outcome(connection, &["a"]);
    let refusal = bench.open_plain(connection, named(99, "b")).unwrap_err();
    assert!(matches!(refusal, Refusal::NoSeatFree { total: 3, reserved: 2, .. }), "{refusal:?}");
    assert!(refusal.to_string().contains("1 of 3 are in use, 2 are reserved"), "{refusal}");
    let russian = refusal.text(Language::Russian);
    assert!(russian.contains("занято 1 из 3, зарезервировано для других: 2"), "{russian}");
    let recorded = bench.last.iter().any(|effect| {
        matches!(effect, Effect::Persist(Record::Denied { rule: Some(rule), .. }) if rule == "bosses")
    });
    assert!(recorded, "{:?}", bench.last);
}

#[test]
fn names_that_people_may_not_know_are_recorded_all_the_same() {
    let (mut bench, connection) = Bench::with_rules(2, TWO_GUESTS);
    bench.feed(Event::Configure { name_holders: false, access_codes: true });
    bench.outcome(connection, &["guest1", "guest2"]);
    for session in [named(98, "guest3"), named(99, "a")] {
        let refusal = bench.open_plain(connection, session).unwrap_err();
        assert!(
            refusal.holders().is_empty() && !refusal.to_string().contains("guest1"),
            "{refusal}"
        );
        let Effect::Persist(Record::Denied { holders, text, .. }) = &bench.last[0] else {
            panic!("{:?}", bench.last);
        };
        assert_eq!(holders.len(), 2);
        assert!(!text.contains("guest1"), "{text}");
    }
    bench.feed(Event::Configure { name_holders: true, access_codes: true });
    let refusal = bench.open_plain(connection, named(97, "b")).unwrap_err();
    assert!(refusal.to_string().contains("guest1"), "{refusal}");
}

#[test]
fn session_that_is_found_again_is_never_refused_by_a_rule() {
    let mut bench = Bench::with_keys(&[key(1, KeyKind::Main, 2)]);
    let connection = bench.connect();
    let granted = bench.open_plain(connection, named(1, "guest")).unwrap();
    let strict = TWO_BOSSES.replace('2', "9");
    bench.feed(Event::RulesChanged(rules(&format!("{NO_GUESTS},{strict}"))));
    assert_eq!(bench.held(), 1, "a rule ends no session");
    let again = bench.open_plain(connection, named(1, "guest")).unwrap();
    assert_eq!(again.session, granted.session);
    bench.close(again.session);
    let refusal = bench.open_plain(connection, named(1, "guest")).unwrap_err();
    assert_eq!(refusal.class(), "EDeniedByRule");
}

#[test]
fn presence_only_is_denied_but_neither_limited_nor_kept_out_by_reservations() {
    let limit = TWO_GUESTS.replace('2', "1");
    let reserve = TWO_BOSSES.replace('2', "9");
    let deny = r#"{"Name":"no robots","Effect":"deny","User":"robot"}"#;
    let (mut bench, connection) = Bench::with_rules(3, &format!("{limit},{reserve},{deny}"));
    let wish = Wish { presence_only: true, ..Wish::default() };
    for number in 1..4 {
        bench.open(connection, named(number, "guest"), wish.clone()).unwrap();
    }
    let refusal = bench.open(connection, named(9, "robot"), wish).unwrap_err();
    assert_eq!(refusal.class(), "EDeniedByRule");
}

#[test]
fn limit_without_a_series_counts_all_series_and_a_reservation_each() {
    let mut bench = Bench::with_keys(&[
        key(1, KeyKind::Main, 3),
        ProtectionKey { series: OTHER, ..key(2, KeyKind::Main, 3) },
    ]);
    let (here, there) = (bench.connect(), bench.connect_from("127.0.0.1", OTHER));
    bench.feed(Event::RulesChanged(rules(&format!("{TWO_GUESTS},{TWO_BOSSES}"))));
    assert_eq!(bench.outcome(here, &["guest1"]), "+");
    assert_eq!(bench.outcome(there, &["guest2", "guest3"]), "+l");
    assert_eq!(bench.outcome(here, &["guest4", "a"]), "ln");
    assert_eq!(bench.outcome(here, &["boss1", "boss2"]), "++");
    assert_eq!(bench.outcome(there, &["a", "boss1"]), "n+", "each series keeps its own");
    let only_there = TWO_GUESTS.replace("}", r#","KeyID":"4BFE"}"#);
    bench.feed(Event::RulesChanged(rules(&only_there)));
    assert_eq!(bench.outcome(there, &["guest5", "guest6"]), "+n");
}

#[test]
fn subnet_is_that_of_the_connection() {
    let deny = r#"{"Name":"branch","Effect":"deny","Subnet":"10.7.0.0/16"}"#;
    let (mut bench, local) = Bench::with_rules(5, deny);
    let branch = bench.connect_from("10.7.3.4", SERIES);
    let peerless = bench.connect_from("", SERIES);
    assert_eq!(bench.outcome(local, &["a"]), "+");
    assert_eq!(bench.outcome(branch, &["b"]), "d");
    assert_eq!(bench.outcome(peerless, &["c"]), "+");
}

#[test]
fn seat_that_is_given_back_counts_no_longer() {
    let (mut bench, connection) = Bench::with_rules(5, TWO_GUESTS);
    let first = bench.open_plain(connection, named(1, "guest1")).unwrap();
    let shared = bench.open_plain(connection, at_pc(2, "guest2", "pc")).unwrap();
    let second = bench.open_plain(connection, at_pc(3, "guest3", "pc")).unwrap();
    bench.close(shared.session);
    assert_eq!(bench.outcome(connection, &["guest4"]), "l", "the seat is still held");
    bench.close(second.session);
    assert_eq!(bench.outcome(connection, &["guest5", "guest6"]), "+l");
    bench.close(first.session);
    assert_eq!(bench.outcome(connection, &["guest7", "guest8"]), "+l");
}

#[test]
fn session_that_asks_for_another_key_is_not_counted_twice() {
    let mut bench = Bench::with_keys(&[key(1, KeyKind::Main, 1), key(2, KeyKind::Main, 1)]);
    let connection = bench.connect();
    let one = TWO_GUESTS.replace('2', "1");
    let boss = TWO_BOSSES.replace('2', "1");
    bench.feed(Event::RulesChanged(rules(&format!("{one},{boss}"))));
    let wish = |no: u32| Wish { key_no: Some(KeyNo(no)), ..Wish::default() };
    bench.open(connection, named(1, "guest"), wish(1)).unwrap();
    let moved = bench.open(connection, named(1, "guest"), wish(2)).unwrap();
    assert_eq!((moved.key_no, bench.held()), (Some(KeyNo(2)), 1));
}

#[test]
fn settling_after_a_key_is_lost_asks_no_rule_and_counts_go_on() {
    let mut bench = Bench::with_keys(&[key(1, KeyKind::Main, 3), key(2, KeyKind::Main, 3)]);
    let connection = bench.connect();
    bench.outcome(connection, &["guest1", "guest2@pc", "guest3@pc", "guest4"]);
    bench.feed(Event::RulesChanged(rules(&format!("{TWO_GUESTS},{NO_GUESTS}"))));
    bench.feed(Event::KeyRemoved(KeyNo(1)));
    assert_eq!(bench.held(), 3, "they keep what they have");
    bench.feed(Event::RulesChanged(rules(TWO_GUESTS)));
    assert_eq!(bench.outcome(connection, &["guest5"]), "n");
    bench.feed(Event::KeyArrived(key(1, KeyKind::Main, 3)));
    assert_eq!(bench.outcome(connection, &["guest6", "a"]), "l+");
}

#[test]
fn dry_run_tells_who_would_be_refused_and_changes_nothing() {
    let mut bench = Bench::with_keys(&[key(1, KeyKind::Main, 6)]);
    let connection = bench.connect();
    let mut opened = Vec::new();
    for (number, user) in (1..).zip(["guest1", "a", "guest2", "boss", "guest3"]) {
        bench.pass(1);
        opened.push(bench.open_plain(connection, named(number, user)).unwrap().session);
    }
    let wish = Wish { presence_only: true, ..Wish::default() };
    let watching = bench.open(connection, named(9, "guest9"), wish).unwrap().session;
    let before = bench.service.snapshot();
    let check = |json: &str, expected: &[(SessionId, &str)]| {
        let found = bench.service.check_rules(&rules(json));
        let found: Vec<_> = found.iter().map(|(id, rule)| (*id, rule.as_str())).collect();
        assert_eq!(found, expected, "{json}");
    };
    check("", &[]);
    check(TWO_GUESTS, &[(opened[4], "guests")]);
    check(
        NO_GUESTS,
        &[
            (opened[0], "no guests"),
            (opened[2], "no guests"),
            (opened[4], "no guests"),
            (watching, "no guests"),
        ],
    );
    let four = TWO_BOSSES.replace('2', "4");
    check(&four, &[(opened[2], "bosses"), (opened[4], "bosses")]);
    assert_eq!(bench.service.snapshot(), before);
    assert!(bench.service.rules().is_empty());
}

#[test]
fn same_refusal_is_recorded_once_a_minute_and_told_each_time() {
    let (mut bench, connection) = Bench::with_rules(1, NO_GUESTS);
    let mut recorded = 0;
    for _ in 0..13 {
        let (request, _) = bench.request();
        bench.feed(Event::Heartbeat { request, connection, sessions: Vec::new() });
        bench.open_plain(connection, named(1, "guest")).unwrap_err();
        recorded += bench
            .last
            .iter()
            .filter(|effect| matches!(effect, Effect::Persist(Record::Denied { .. })))
            .count();
        bench.pass(10);
    }
    assert_eq!(recorded, 3, "at 0, 60 and 120 seconds");
}

#[test]
fn session_keeps_its_seat_when_the_access_code_of_its_key_changes() {
    let coded =
        |code: &str| ProtectionKey { access_code: Some(code.into()), ..key(1, KeyKind::Main, 3) };
    let mut bench = Bench::with_keys(&[coded("old")]);
    let connection = bench.connect();
    let with = |code: &str| Wish { access_code: Some(code.into()), ..Wish::default() };
    let seat = bench.open(connection, server_session(1), with("old")).unwrap().session;
    let present = Wish { presence_only: true, ..with("old") };
    let watching = bench.open(connection, server_session(2), present).unwrap().session;
    bench.feed(Event::KeyArrived(coded("new")));
    assert_eq!(bench.beat(connection, &[seat, watching]), Ok(vec![]));
    assert_eq!(bench.held(), 1);
    let refusal = bench.open(connection, server_session(3), with("old")).unwrap_err();
    assert!(matches!(refusal, Refusal::WishUnmet { .. }), "{refusal:?}");
    bench.open(connection, server_session(4), with("new")).unwrap();
}

#[test]
fn access_codes_are_switched_while_the_server_runs() {
    let mut bench = Bench::with_keys(&[key(1, KeyKind::Main, 3)]);
    let connection = bench.connect();
    let wish = Wish { access_code: Some("x7".into()), ..Wish::default() };
    bench.open(connection, server_session(1), wish.clone()).unwrap_err();
    bench.feed(Event::Configure { name_holders: true, access_codes: false });
    bench.open(connection, server_session(1), wish).unwrap();
}

#[test]
fn server_that_lost_its_books_gives_seats_to_leases_first() {
    let config = ServiceConfig { recovering: true, ..ServiceConfig::default() };
    let mut bench = Bench::with_keys(&[key(1, KeyKind::Main, 2)]);
    bench.journal = Snapshot::default();
    let keys = vec![key(1, KeyKind::Main, 2)];
    let (service, effects) = LicenceService::restore(config, keys, Snapshot::default(), bench.now);
    for effect in &effects {
        if let Effect::Persist(record) = effect {
            bench.journal.apply(record);
        }
    }
    bench.service = service;
    let connection = bench.connect();
    let stranger = |bench: &mut Bench, session| bench.open_plain(connection, session);
    let refusal = stranger(&mut bench, named(1, "a")).unwrap_err();
    assert_eq!(refusal, Refusal::Recovering { secs: RECOVERY_SECS });
    assert_eq!(refusal.class(), "ERecovering");
    assert!(bench.last.len() == 1, "nothing to report: {:?}", bench.last);
    bench.pass(10);
    let with_lease = |bench: &mut Bench, session, key_id| {
        let (request, bytes) = bench.request();
        let lease = LeaseClaims {
            iss: "urn:licence-server:test".into(),
            sub: SessionId::from_bytes([7; 16]).to_string(),
            iat: 0,
            exp: 1000,
            key_id,
            key_no: KeyNo(1),
        };
        let id = SessionId::from_bytes(bytes);
        let (wish, lease) = (Wish::default(), Some(lease));
        let (seat, may_wait) = (LeasedSeat::Own, false);
        bench.feed(Event::Open { request, id, connection, session, wish, lease, seat, may_wait })
    };
    let reply = with_lease(&mut bench, named(2, "b"), OTHER);
    let waits = Refusal::Recovering { secs: RECOVERY_SECS - 10 };
    assert_eq!(reply, Some(Reply::Refused(waits)), "a lease of another product");
    let reply = with_lease(&mut bench, at_pc(3, "c", "pc"), SERIES);
    assert!(matches!(reply, Some(Reply::Opened(_))), "{reply:?}");
    stranger(&mut bench, at_pc(4, "d", "pc")).unwrap();
    let wish = Wish { presence_only: true, ..Wish::default() };
    bench.open(connection, named(5, "e"), wish).unwrap();
    assert_eq!(bench.held(), 1);
    bench.beat(connection, &[]).unwrap();
    bench.pass(19);
    assert_eq!(bench.service.recovering_secs(bench.now), Some(1));
    bench.pass(1);
    assert_eq!(bench.service.recovering_secs(bench.now), None);
    let connection = bench.connect();
    bench.open_plain(connection, named(1, "a")).unwrap();
}

#[test]
fn reservation_keeps_seats_of_the_series_whatever_access_codes_they_ask_for() {
    let coded = ProtectionKey { access_code: Some("x7".into()), ..key(2, KeyKind::Main, 1) };
    let mut bench = Bench::with_keys(&[key(1, KeyKind::Main, 2), coded]);
    bench.feed(Event::RulesChanged(rules(TWO_BOSSES)));
    let connection = bench.connect();
    let code = Wish { access_code: Some("x7".into()), ..Wish::default() };
    // Two of three seats are kept, so one goes to anybody: of the keys that fit.
    assert_eq!(bench.outcome(connection, &["a", "b"]), "+n");
    let refused = bench.open(connection, named(50, "c"), code.clone()).unwrap_err();
    assert!(matches!(refused, Refusal::NoSeatFree { total: 1, reserved: 1, .. }), "{refused:?}");
    // The two that are left are of different keys.
    assert_eq!(bench.outcome(connection, &["boss1", "boss2"]), "+n");
    bench.open(connection, named(51, "boss2"), code).unwrap();
}
