//! The book under the cases of the interface, and under random interleavings.

use proptest::prelude::*;

use super::*;
use crate::refresh::LEASE_LIFE;

const A: &str = "7707083893";

fn key(kind: TokenKind) -> StoreKey {
    StoreKey {
        contour: Default::default(),
        kind,
        organization: A.parse().unwrap(),
        production_object: (kind == TokenKind::Suz).then(|| "one".parse().unwrap()),
    }
}

fn who(session: &str) -> Who {
    Who {
        user: format!("user of {session}"),
        infobase: "ERP".into(),
        session: Some(session.into()),
    }
}

fn noon() -> Utc {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

fn at(secs: u64) -> MonoTime {
    MonoTime::from_millis(secs * 1000)
}

fn given(token: &str, asked: Utc, life_secs: i64) -> Given {
    Given {
        token: SessionKey::new(token).unwrap(),
        valid_until: asked.plus_millis(life_secs * 1000),
        inn: None,
        format: TokenFormat::Uuid,
        source: Source::Exchange,
        who: who("s1"),
        asked,
        warning: None,
    }
}

fn text(russian: &str) -> Text {
    Text { russian: russian.into(), english: "e".into() }
}

/// A lease whose challenge `id` is out to be signed.
fn signing(book: &mut Book, key: &StoreKey, session: &str, id: &str, now: MonoTime) -> Ticket {
    let ticket = book.begin(key, who(session), now).unwrap();
    assert!(book.challenged(key, ticket, id, now));
    ticket
}

#[test]
fn current_key_is_the_one_beyond_the_deadline() {
    let (mut book, key) = (Book::default(), key(TokenKind::Ismp));
    book.put(&key, given("a", noon(), 100)).unwrap();
    let wish = Wish {
        contour: Default::default(),
        kind: TokenKind::Ismp,
        organization: Some(key.organization.clone()),
        production_object: None,
    };
    for (ahead, found) in [(99, true), (100, false), (101, false)] {
        let deadline = noon().plus_millis(ahead * 1000);
        assert_eq!(book.current(&wish, deadline).is_some(), found, "{ahead}");
    }
    let suz = Wish { kind: TokenKind::Suz, ..wish };
    assert!(book.current(&suz, noon()).is_none(), "another kind");
}

#[test]
fn without_an_organisation_the_key_that_lives_longest_is_given() {
    let mut book = Book::default();
    for (inn, token, life) in
        [(A, "short", 100), ("500100732259", "long", 300), ("7707083894", "middle", 200)]
    {
        let key = StoreKey { organization: inn.parse().unwrap(), ..key(TokenKind::Ismp) };
        book.put(&key, given(token, noon(), life)).unwrap();
    }
    let wish = Wish {
        contour: Default::default(),
        kind: TokenKind::Ismp,
        organization: None,
        production_object: None,
    };
    assert_eq!(book.current(&wish, noon()).unwrap().1.token.reveal(), "long");
}

#[test]
fn whoever_comes_second_is_told_who_refreshes() {
    let (mut book, key) = (Book::default(), key(TokenKind::Suz));
    assert_eq!(book.need(&key, noon(), at(0)), Need::Stale(Stale::Missing));
    signing(&mut book, &key, "s1", "c1", at(0));
    let Err(held) = book.begin(&key, who("s2"), at(30)) else {
        panic!("the lease was taken twice")
    };
    assert_eq!(held.who.user, "user of s1");
    assert_eq!(held.left, LEASE_LIFE - std::time::Duration::from_secs(30));
    assert!(matches!(book.need(&key, noon(), at(30)), Need::Busy(_)));
    // Nobody holds a lease for longer than a person needs.
    assert_eq!(book.need(&key, noon(), at(120)), Need::Stale(Stale::Missing));
    book.begin(&key, who("s2"), at(120)).unwrap();
}

#[test]
fn who_closed_the_dialogue_may_begin_again_until_the_signature_is_handed_in() {
    let (mut book, key) = (Book::default(), key(TokenKind::Suz));
    signing(&mut book, &key, "s1", "c1", at(0));
    signing(&mut book, &key, "s1", "c2", at(5));
    assert_eq!(book.complete(&key, "c1", at(6)), Completion::Refused(Refused::Newer));
    assert!(matches!(book.complete(&key, "c2", at(6)), Completion::Exchange(_)));
    assert!(book.begin(&key, who("s1"), at(7)).is_err(), "the service has the signature");
    // Nobody in particular is never taken for the same.
    let mut other = Book::default();
    other.begin(&key, Who::default(), at(0)).unwrap();
    assert!(other.begin(&key, Who::default(), at(1)).is_err());
}

#[test]
fn signature_is_exchanged_once_and_its_outcome_told_again() {
    let (mut book, key) = (Book::default(), key(TokenKind::Suz));
    signing(&mut book, &key, "s1", "c1", at(0));
    let Completion::Exchange(ticket) = book.complete(&key, "c1", at(10)) else { panic!("refused") };
    assert_eq!(book.complete(&key, "c1", at(11)), Completion::UnderWay);
    book.exchanged(&key, ticket, "c1", Exchanged::Given(given("new", noon(), 3600)), at(12))
        .unwrap();
    assert_eq!(book.need(&key, noon(), at(12)), Need::Fresh);
    for again in [13, 300] {
        let Completion::Done(Outcome::Given { token, .. }) = book.complete(&key, "c1", at(again))
        else {
            panic!("asked again after {again} s")
        };
        assert_eq!(token.reveal(), "new");
    }
    assert_eq!(book.complete(&key, "c1", at(700)), Completion::Refused(Refused::Unknown));
}

#[test]
fn late_signature_counts_until_somebody_has_a_newer_challenge() {
    let (mut book, key) = (Book::default(), key(TokenKind::Suz));
    signing(&mut book, &key, "s1", "c1", at(0));
    let mut late = book.clone();
    assert!(matches!(late.complete(&key, "c1", at(300)), Completion::Exchange(_)));
    signing(&mut book, &key, "s2", "c2", at(200));
    assert_eq!(book.complete(&key, "c1", at(201)), Completion::Refused(Refused::Newer));
    assert!(matches!(book.complete(&key, "c2", at(202)), Completion::Exchange(_)));
}

#[test]
fn unknown_end_leaves_a_key_of_suz_in_doubt_and_the_others_as_they_are() {
    for (kind, state) in [(TokenKind::Suz, State::Doubtful), (TokenKind::Ismp, State::Valid)] {
        let (mut book, key) = (Book::default(), key(kind));
        book.put(&key, given("old", noon(), 30)).unwrap();
        signing(&mut book, &key, "s1", "c1", at(0));
        let Completion::Exchange(ticket) = book.complete(&key, "c1", at(1)) else {
            panic!("refused")
        };
        book.exchanged(&key, ticket, "c1", Exchanged::Unknown(text("нет ответа")), at(61)).unwrap();
        let record = book.record(&key).unwrap();
        assert_eq!((record.state, record.token.reveal()), (state, "old"), "{kind}");
        assert!(book.refreshing(&key, at(61)).is_none(), "the next may begin");
        assert_eq!(
            book.complete(&key, "c1", at(62)),
            Completion::Done(Outcome::Failed(text("нет ответа")))
        );
    }
}

#[test]
fn refusal_changes_nothing_and_frees_the_lease() {
    let (mut book, key) = (Book::default(), key(TokenKind::Suz));
    book.put(&key, given("old", noon(), 30)).unwrap();
    let before = book.generation();
    signing(&mut book, &key, "s1", "c1", at(0));
    let Completion::Exchange(ticket) = book.complete(&key, "c1", at(1)) else { panic!("refused") };
    book.exchanged(&key, ticket, "c1", Exchanged::Refused(text("нет")), at(2)).unwrap();
    assert_eq!((book.generation(), book.record(&key).unwrap().state), (before, State::Valid));
    book.begin(&key, who("s2"), at(2)).unwrap();
}

#[test]
fn rejected_key_is_deleted_only_if_it_is_the_one_that_is_kept() {
    let (mut book, key) = (Book::default(), key(TokenKind::Suz));
    book.put(&key, given("new", noon(), 3600)).unwrap();
    let token = |text| SessionKey::new(text).unwrap();
    assert!(!book.reject(&key, &token("old")));
    assert!(book.reject(&key, &token("new")));
    assert!(!book.reject(&key, &token("new")), "ten sessions say so of one key");
    assert!(book.record(&key).is_none());
}

#[test]
fn lease_goes_with_its_session_its_cancel_or_a_challenge_that_did_not_come() {
    let key = key(TokenKind::Suz);
    let is_free = |book: &Book| book.refreshing(&key, at(1)).is_none();
    let mut fresh = Book::default();
    let ticket = signing(&mut fresh, &key, "s1", "c1", at(0));
    let mut book = fresh.clone();
    book.session_ended("s2");
    assert!(!is_free(&book));
    book.session_ended("s1");
    assert!(is_free(&book));
    let mut book = fresh.clone();
    assert!(!book.cancel("c2"));
    assert!(book.cancel("c1") && is_free(&book));
    let mut book = fresh.clone();
    book.abandon(&key, ticket);
    assert!(is_free(&book));
    // None of it takes the signature back from the service.
    let mut book = fresh;
    assert!(matches!(book.complete(&key, "c1", at(1)), Completion::Exchange(_)));
    book.session_ended("s1");
    book.cancel("c1");
    book.abandon(&key, ticket);
    assert!(!is_free(&book));
}

#[test]
fn key_that_was_asked_for_earlier_does_not_replace_a_later_one() {
    let (mut book, key) = (Book::default(), key(TokenKind::Suz));
    book.put(&key, given("later", noon().plus_millis(5), 3600)).unwrap();
    book.put(&key, given("earlier", noon(), 3600)).unwrap();
    assert_eq!(book.record(&key).unwrap().token.reveal(), "later");
}

#[test]
fn key_of_the_lease_holder_counts_although_another_server_s_clock_runs_ahead() {
    let (mut book, key) = (Book::default(), key(TokenKind::Suz));
    book.put(&key, given("from-ahead", noon().plus_millis(60_000), 3600)).unwrap();
    signing(&mut book, &key, "s1", "c1", at(0));
    let Completion::Exchange(ticket) = book.complete(&key, "c1", at(1)) else { panic!("refused") };
    book.exchanged(&key, ticket, "c1", Exchanged::Given(given("own", noon(), 3600)), at(2))
        .unwrap();
    let record = book.record(&key).unwrap();
    assert_eq!(record.token.reveal(), "own");
    assert!(record.obtained > noon().plus_millis(60_000), "the other server takes it too");
    book.set(&key, given("typed", noon(), 3600)).unwrap();
    assert_eq!(book.record(&key).unwrap().token.reveal(), "typed");
}

#[test]
fn key_that_somebody_else_brought_a_moment_ago_is_not_ended() {
    let (mut book, key) = (Book::default(), key(TokenKind::Suz));
    let after = |secs: i64| noon().plus_millis(secs * 1000);
    assert!(!book.has_just_come(&key, &who("s2"), after(0)), "there is none");
    book.put(&key, given("a", noon(), 3600)).unwrap();
    for (session, secs, wanted) in [
        ("s2", 1, true),
        ("s2", 119, true),
        ("s2", 120, false),
        // Who brought it may have a reason.
        ("s1", 1, false),
    ] {
        let found = book.has_just_come(&key, &who(session), after(secs));
        assert_eq!(found, wanted, "{session} after {secs} s");
    }
    book.put(&key, given("short", after(1), 70)).unwrap();
    assert!(book.has_just_come(&key, &who("s2"), after(5)));
    assert!(!book.has_just_come(&key, &who("s2"), after(30)), "it ends soon");
    book.put(&key, Given { source: Source::Manual, ..given("typed", after(2), 3600) }).unwrap();
    assert!(!book.has_just_come(&key, &who("s2"), after(3)), "nobody has signed for it");
}

#[test]
fn two_servers_that_tell_each_other_agree_whoever_begins() {
    let key = key(TokenKind::Suz);
    let (mut one, mut other) = (Book::default(), Book::default());
    one.put(&key, given("first", noon(), 3600)).unwrap();
    other.put(&key, given("second", noon().plus_millis(1), 3600)).unwrap();
    let tell =
        |from: &Book, to: &mut Book| to.merge(key.clone(), from.record(&key).unwrap().clone());
    assert!(!tell(&one, &mut other));
    assert!(tell(&other, &mut one));
    assert!(!tell(&other, &mut one), "nothing more to tell");
    assert_eq!(one.record(&key).unwrap().token.reveal(), "second");
}

#[test]
fn full_book_gives_the_key_to_whoever_asked_and_keeps_those_it_has() {
    let mut book = Book::default();
    for n in 0..RECORDS_MAX {
        let key =
            StoreKey { organization: format!("{n:010}").parse().unwrap(), ..key(TokenKind::Ismp) };
        book.put(&key, given("x", noon(), 10)).unwrap();
    }
    let one_more = key(TokenKind::Suz);
    assert_eq!(book.put(&one_more, given("y", noon(), 10)), Err(FullError));
    signing(&mut book, &one_more, "s1", "c1", at(0));
    let Completion::Exchange(ticket) = book.complete(&one_more, "c1", at(1)) else {
        panic!("refused")
    };
    let kept =
        book.exchanged(&one_more, ticket, "c1", Exchanged::Given(given("y", noon(), 10)), at(2));
    assert_eq!(kept, Err(FullError));
    assert!(matches!(
        book.complete(&one_more, "c1", at(3)),
        Completion::Done(Outcome::Given { .. })
    ));
}

#[test]
fn rules_are_numbered_and_reminders_put_off_by_person() {
    let mut book = Book::default();
    let rule: Rule =
        serde_json::from_str(r#"{"People":[{"User":"Анна","NotifySecs":600}]}"#).unwrap();
    assert_eq!(book.put_rule(rule.clone()), Ok(Some(1)));
    assert_eq!(book.put_rule(rule.clone()), Ok(Some(2)));
    assert_eq!(book.put_rule(Rule { id: 9, ..rule.clone() }), Ok(None));
    assert_eq!(book.put_rule(Rule { people: Vec::new(), ..rule }), Err(RuleError::People));
    assert!(book.remove_rule(1) && !book.remove_rule(1));
    book.put(&key(TokenKind::Ismp), given("x", noon(), 300)).unwrap();
    let settings = [Setting {
        kind: TokenKind::Ismp,
        organization: A.parse().unwrap(),
        production_object: None,
        notify_secs: 600,
    }];
    book.snooze(" Анна", Some(noon().plus_millis(180_000)), noon());
    let mine = book.reminders(&Default::default(), "АННА", &settings, noon());
    assert_eq!((mine[0].remind_in_secs, mine[0].needs_refresh), (180, false));
    let others = book.reminders(&Default::default(), "Борис", &settings, noon());
    assert_eq!((others[0].remind_in_secs, others[0].needs_refresh), (0, true));
    book.snooze("анна", None, noon());
    assert!(book.reminders(&Default::default(), "Анна", &settings, noon())[0].needs_refresh);
}

/// What a session does next in a random run.
#[derive(Clone, Copy, Debug)]
enum Step {
    Begin(u8),
    Sign(u8),
    Complete(u8),
    Answer { given: bool },
    Unknown,
    Cancel(u8),
    End(u8),
    Wait(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let session = 0_u8..4;
    prop_oneof![
        session.clone().prop_map(Step::Begin),
        session.clone().prop_map(Step::Sign),
        session.clone().prop_map(Step::Complete),
        any::<bool>().prop_map(|given| Step::Answer { given }),
        Just(Step::Unknown),
        session.clone().prop_map(Step::Cancel),
        session.prop_map(Step::End),
        (0_u8..200).prop_map(Step::Wait),
    ]
}

proptest! {
    /// A played service that knows one live token, as СУЗ does: whatever sessions do, it is never asked
    /// with two signatures at once within the life of an exchange, and the key that is kept is the live
    /// one unless the end of an exchange was unknown.
    #[test]
    fn service_is_asked_by_one_at_a_time(steps in proptest::collection::vec(step(), 1..80)) {
        let (mut book, key) = (Book::default(), key(TokenKind::Suz));
        let mut now = 0_u64;
        let mut challenges = 0;
        // Ticket and id that each session believes to hold.
        let mut held: [Option<(Ticket, String)>; 4] = Default::default();
        // The exchange under way: ticket, id, moment. No two begin in one millisecond.
        let mut under_way: Option<(Ticket, String, u64)> = None;
        let mut exchanges = 0;
        let mut live: Option<String> = None;
        let mut is_doubtful = false;
        for step in steps {
            match step {
                Step::Begin(n) => {
                    if let Ok(ticket) = book.begin(&key, who(&n.to_string()), at(now)) {
                        if let Some((_, _, since)) = &under_way {
                            prop_assert!(now >= since + EXCHANGE_LIFE.as_secs(), "begun beside an exchange");
                        }
                        challenges += 1;
                        held[usize::from(n)] = Some((ticket, format!("c{challenges}")));
                    }
                }
                Step::Sign(n) => {
                    if let Some((ticket, id)) = &held[usize::from(n)] {
                        let _is_ours = book.challenged(&key, *ticket, id, at(now));
                    }
                }
                Step::Complete(n) => {
                    if let Some((_, id)) = &held[usize::from(n)]
                        && let Completion::Exchange(ticket) = book.complete(&key, id, at(now))
                    {
                        if let Some((_, _, since)) = &under_way {
                            prop_assert!(now >= since + EXCHANGE_LIFE.as_secs(), "two exchanges at once");
                        }
                        under_way = Some((ticket, id.clone(), now));
                        exchanges += 2;
                    }
                }
                Step::Answer { given: is_given } => {
                    if let Some((ticket, id, since)) = under_way.take() {
                        let asked = noon().plus_millis(i64::try_from(since).unwrap() * 1000 + exchanges);
                        let result = if is_given {
                            live = Some(id.clone());
                            is_doubtful = false;
                            Exchanged::Given(given(&id, asked, 36_000))
                        } else {
                            Exchanged::Refused(text("нет"))
                        };
                        book.exchanged(&key, ticket, &id, result, at(now)).unwrap();
                    }
                }
                Step::Unknown => {
                    if let Some((ticket, id, _)) = under_way.take() {
                        is_doubtful = true;
                        book.exchanged(&key, ticket, &id, Exchanged::Unknown(text("?")), at(now)).unwrap();
                    }
                }
                Step::Cancel(n) => {
                    if let Some((_, id)) = &held[usize::from(n)] {
                        book.cancel(id);
                    }
                }
                Step::End(n) => book.session_ended(&n.to_string()),
                Step::Wait(secs) => now += u64::from(secs),
            }
            let kept = book.record(&key).map(|record| record.token.reveal().to_owned());
            prop_assert_eq!(&kept, &live);
            let state = book.record(&key).map(|record| record.state);
            if live.is_some() {
                prop_assert_eq!(state == Some(State::Doubtful), is_doubtful);
            }
        }
    }
}
