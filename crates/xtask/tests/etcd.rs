//! The server's transport to etcd against a real etcd of three members: what is believed of an answer
//! when members die, fall silent or are cut off.
//!
//! Members run in network namespaces, so this takes root. Nothing asserts on speed; bounds only catch a
//! hang.

#![expect(clippy::unwrap_used, reason = "a step that fails ends the test")]

use std::collections::BTreeSet;
use std::future::Future;
use std::time::Duration;

use licence_core::cluster::{Change, Compare, Entry, Op, Txn, TxnOutcome};
use licence_core::language::Language;
use licenceserver::cluster::etcd::{
    Etcd, EtcdConfig, EtcdError, KeptAlive, MemberStatus, TIMEOUT_DEFAULT, Watch, Watched,
};
use licenceserver::config::Hidden;
use tokio::runtime::Runtime;
use xtask::clock;
use xtask::stage::{EtcdCluster, EtcdOptions, Stage};

const ROOT: &str = "/licence/0123456789abcdef0123456789abcdef/";

/// Bound of whatever takes an election and some calls, with room for a busy machine.
const BOUND: Duration = Duration::from_secs(60);

struct Site {
    cluster: EtcdCluster,
    runtime: Runtime,
    _stage: Stage,
}

fn site(options: EtcdOptions) -> Site {
    let stage = Stage::temporary().unwrap();
    let cluster = EtcdCluster::start_with(&stage, options).unwrap();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    Site { cluster, runtime, _stage: stage }
}

fn three() -> Site {
    site(EtcdOptions::default())
}

impl Site {
    fn config(&self) -> EtcdConfig {
        let endpoints = self.cluster.endpoints();
        let files = self.cluster.files();
        EtcdConfig {
            endpoints: endpoints.iter().map(|endpoint| endpoint.parse().unwrap()).collect(),
            ca: files.map(|files| files.authority.clone()),
            certificate: files.map(|files| files.certificate.clone()),
            key: files.map(|files| files.key.clone()),
            user: None,
            password: None,
            timeout: TIMEOUT_DEFAULT,
        }
    }

    fn etcd(&self) -> Etcd {
        Etcd::new(&self.config(), ROOT).unwrap()
    }

    /// A client of these members alone, in this order.
    fn etcd_at(&self, places: &[u8]) -> Etcd {
        let all = self.config();
        let endpoints = places.iter().map(|place| all.endpoints[usize::from(*place)].clone());
        Etcd::new(&EtcdConfig { endpoints: endpoints.collect(), ..all }, ROOT).unwrap()
    }

    fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// The member that leads, as most members see it.
    fn leader(&self) -> u8 {
        let etcd = self.etcd();
        self.run(until("a leader", async || {
            let answers: Vec<Option<MemberStatus>> =
                etcd.status().await.into_iter().map(|status| status.answer.ok()).collect();
            let leaders: Vec<u64> = answers.iter().flatten().map(|status| status.leader).collect();
            let most = *leaders.iter().max_by_key(|leader| count(&leaders, **leader))?;
            let is_most = most != 0 && count(&leaders, most) * 2 > answers.len();
            let place = answers
                .iter()
                .position(|status| status.as_ref().is_some_and(|status| status.member == most));
            place.filter(|_| is_most).and_then(|place| u8::try_from(place).ok())
        }))
    }
}

fn count(all: &[u64], one: u64) -> usize {
    all.iter().filter(|other| **other == one).count()
}

/// Asks again until there is something, at most [`BOUND`].
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let start = clock::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(clock::now().duration_since(start) < BOUND, "{what} did not come");
        // The next look is a call of its own; this only keeps it from spinning.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn put(key: &str, value: &str) -> Op {
    Op::Put { key: key.to_owned(), value: value.as_bytes().to_vec(), lease: None }
}

fn put_under(lease: i64, key: &str) -> Op {
    Op::Put { key: key.to_owned(), value: b"alive".to_vec(), lease: Some(lease) }
}

fn delete(key: &str) -> Op {
    Op::Delete { key: key.to_owned() }
}

fn created(key: &str, revision: i64) -> Compare {
    Compare::Created { key: key.to_owned(), revision }
}

fn modified(key: &str, revision: i64) -> Compare {
    Compare::Modified { key: key.to_owned(), revision }
}

async fn carry_out(etcd: &Etcd, compare: Vec<Compare>, then: Vec<Op>) -> TxnOutcome {
    etcd.txn(&Txn { compare, then }).await.unwrap()
}

async fn write(etcd: &Etcd, key: &str, value: &str) -> i64 {
    match carry_out(etcd, Vec::new(), vec![put(key, value)]).await {
        TxnOutcome::Succeeded { revision } => revision,
        other @ (TxnOutcome::Failed | TxnOutcome::Unknown) => panic!("{key}: {other:?}"),
    }
}

async fn entries(etcd: &Etcd, prefix: &str) -> Vec<Entry> {
    etcd.range(prefix).await.unwrap().entries
}

async fn one(etcd: &Etcd, key: &str) -> Option<Entry> {
    entries(etcd, key).await.into_iter().find(|entry| entry.key == key)
}

async fn next(watch: &mut Watch) -> Watched {
    tokio::time::timeout(BOUND, watch.next()).await.expect("the watch is silent")
}

/// The changes that come until this key has changed.
async fn changes_until(watch: &mut Watch, key: &str) -> Vec<Change> {
    let mut all = Vec::new();
    loop {
        match next(watch).await {
            Watched::Changes { changes, revision } => {
                assert_eq!(changes.last().map(Change::revision), Some(revision));
                let is_there = changes.iter().any(|change| change.key() == key);
                all.extend(changes);
                if is_there {
                    return all;
                }
            }
            other @ (Watched::Compacted | Watched::Lost) => panic!("{other:?} before {key}"),
        }
    }
}

#[test]
fn range_reads_a_prefix_of_one_moment_however_long_it_is() {
    let site = three();
    let etcd = site.etcd();
    site.run(async {
        assert_eq!(etcd.range("").await.unwrap().entries, []);
        let beside = etcd.below("/licence/another/");
        write(&beside, "claims/0", "x").await;
        // More than two pages.
        for hundred in 0..90 {
            let ops = (0..100).map(|n| put(&format!("claims/{:05}", hundred * 100 + n), "value"));
            carry_out(&etcd, Vec::new(), ops.collect()).await;
        }
        let last = write(&etcd, "settings", "{}").await;
        let claims = etcd.range("claims/").await.unwrap();
        assert_eq!(claims.revision, last);
        let wanted: Vec<_> = (0..9000).map(|n| format!("claims/{n:05}")).collect();
        let read: Vec<_> = claims.entries.iter().map(|entry| entry.key.clone()).collect();
        assert_eq!(read, wanted);
        assert!(claims.entries.iter().all(|entry| entry.value == b"value" && entry.lease == 0));
        assert_eq!(entries(&etcd, "").await.len(), 9001);
        assert_eq!(entries(&beside, "").await.len(), 1);
    });
}

#[test]
fn transaction_is_done_whole_or_not_at_all_by_what_it_compares() {
    let site = three();
    let etcd = site.etcd();
    site.run(async {
        let TxnOutcome::Succeeded { revision: first } =
            carry_out(&etcd, vec![created("a", 0), modified("a", 0)], vec![put("a", "1")]).await
        else {
            panic!("a key that is absent has the revision 0");
        };
        let second = write(&etcd, "a", "2").await;
        let entry = one(&etcd, "a").await.unwrap();
        assert_eq!((entry.create_revision, entry.mod_revision), (first, second));
        assert_eq!(entry.value, b"2");
        for (compare, holds) in [
            (vec![created("a", 0)], false),
            (vec![modified("a", 0)], false),
            (vec![modified("a", first)], false),
            (vec![created("a", second)], false),
            (vec![created("a", first), modified("a", first)], false),
            (vec![created("b", 1)], false),
            (vec![modified("b", 1)], false),
            (vec![created("a", first)], true),
        ] {
            let outcome =
                carry_out(&etcd, compare.clone(), vec![put("b", "x"), put("c", "x")]).await;
            assert_eq!(matches!(outcome, TxnOutcome::Succeeded { .. }), holds, "{compare:?}");
            for key in ["b", "c"] {
                assert_eq!(one(&etcd, key).await.is_some(), holds, "{compare:?}");
            }
        }
        carry_out(&etcd, Vec::new(), vec![delete("b"), delete("c"), delete("d")]).await;
        assert_eq!(entries(&etcd, "").await.len(), 1);
        // Two changes of one key in one transaction are no transaction to etcd.
        let txn = Txn { compare: Vec::new(), then: vec![put("b", "x"), delete("b")] };
        assert!(etcd.txn(&txn).await.is_err_and(|error| !error.may_be_done()));
    });
}

#[test]
fn key_goes_with_its_lease_and_a_renewal_says_whether_there_is_one() {
    let site = three();
    let etcd = site.etcd();
    site.run(async {
        let granted = etcd.grant(2).await.unwrap();
        assert!(granted.lease != 0 && granted.ttl_secs >= 2);
        carry_out(&etcd, vec![created("alive/x", 0)], vec![put_under(granted.lease, "alive/x")])
            .await;
        let loaded = etcd.range("alive/").await.unwrap();
        assert_eq!(loaded.entries[0].lease, granted.lease);
        let mut watch = etcd.watch("alive/", loaded.revision);
        let KeptAlive::Renewed { sent } = etcd.keep_alive(granted.lease).await.unwrap() else {
            panic!("the lease is gone");
        };
        assert!(sent >= granted.sent);
        // Nobody renews it further.
        let gone = changes_until(&mut watch, "alive/x").await;
        assert!(matches!(gone[..], [Change::Delete { .. }]), "{gone:?}");
        assert_eq!(etcd.keep_alive(granted.lease).await.unwrap(), KeptAlive::Lost);
        let txn = Txn { compare: Vec::new(), then: vec![put_under(granted.lease, "alive/x")] };
        assert!(matches!(etcd.txn(&txn).await, Err(EtcdError::NoLease)));

        let granted = etcd.grant(600).await.unwrap();
        carry_out(&etcd, Vec::new(), vec![put_under(granted.lease, "alive/y")]).await;
        etcd.revoke(granted.lease).await.unwrap();
        assert_eq!(one(&etcd, "alive/y").await, None);
        etcd.revoke(granted.lease).await.unwrap();
    });
}

#[test]
fn watch_tells_each_change_once_though_its_endpoint_dies_or_falls_silent() {
    let mut site = three();
    let etcd = site.etcd();
    let mut watch = site.run(async {
        let start = write(&etcd, "before", "x").await;
        etcd.watch("", start)
    });
    let mut told = Vec::new();
    let check = |site: &Site, watch: &mut Watch, told: &mut Vec<String>, names: &[&str]| {
        site.run(async {
            for name in names {
                // What became of it is seen by the watch; a member may die under it.
                until("a write", async || {
                    let txn = Txn { compare: vec![created(name, 0)], then: vec![put(name, "x")] };
                    match etcd.txn(&txn).await {
                        Ok(TxnOutcome::Succeeded { .. } | TxnOutcome::Failed) => Some(()),
                        Ok(TxnOutcome::Unknown) | Err(_) => None,
                    }
                })
                .await;
                let changes = changes_until(watch, name).await;
                told.extend(changes.iter().map(|change| change.key().to_owned()));
            }
        });
    };
    check(&site, &mut watch, &mut told, &["a", "b"]);
    // The watch began at the first.
    site.cluster.kill(0).unwrap();
    check(&site, &mut watch, &mut told, &["c", "d"]);
    site.cluster.start_member(0).unwrap();
    site.cluster.wait_ready(0).unwrap();
    site.cluster.pause(1).unwrap();
    check(&site, &mut watch, &mut told, &["e", "f"]);
    site.cluster.resume(1).unwrap();
    site.cluster.cut(2).unwrap();
    check(&site, &mut watch, &mut told, &["g", "h"]);
    site.cluster.heal(2).unwrap();
    assert_eq!(told, ["a", "b", "c", "d", "e", "f", "g", "h"]);
}

#[test]
fn compaction_is_told_and_a_watch_that_nobody_carries_is_lost() {
    let mut site = three();
    let etcd = site.etcd();
    let (first, last) = site.run(async {
        let first = write(&etcd, "a", "1").await;
        write(&etcd, "a", "2").await;
        (first, write(&etcd, "a", "3").await)
    });
    site.cluster.control(&["compaction", &last.to_string()]).unwrap();
    site.run(async {
        let mut watch = etcd.watch("", first - 1);
        assert_eq!(next(&mut watch).await, Watched::Compacted);
        assert_eq!(next(&mut watch).await, Watched::Lost);
    });
    let mut watch = etcd_watch(&site, &etcd, last);
    for place in 0..3 {
        site.cluster.kill(place).unwrap();
    }
    site.run(async { assert_eq!(next(&mut watch).await, Watched::Lost) });
}

fn etcd_watch(site: &Site, etcd: &Etcd, after: i64) -> Watch {
    site.run(async { etcd.watch("", after) })
}

#[test]
fn no_transaction_is_done_twice_or_called_wrongly_when_leaders_die_under_it() {
    let mut site = three();
    let etcd = site.etcd();
    // Succeeded, failed, unknown.
    let mut outcomes: [BTreeSet<String>; 3] = Default::default();
    let mut number = 0;
    for round in 0..4 {
        let leader = site.leader();
        let writer = {
            let etcd = etcd.clone();
            site.runtime.spawn(async move {
                let mut done = Vec::new();
                for n in number..number + 120 {
                    let attempt = format!("attempt/{n:05}");
                    let Ok(loaded) = etcd.range("counter").await else {
                        done.push((attempt, None));
                        continue;
                    };
                    let seen = loaded.entries.first().map_or(0, |entry| entry.mod_revision);
                    let txn = Txn {
                        compare: vec![modified("counter", seen)],
                        then: vec![put("counter", &attempt), put(&attempt, "x")],
                    };
                    let outcome = etcd.txn(&txn).await.ok();
                    done.push((attempt, outcome));
                }
                done
            })
        };
        // In the midst of its work, however fast that is.
        site.run(until("the first attempts", async || {
            let near = format!("attempt/{:05}", number + 20);
            etcd.range("attempt/")
                .await
                .ok()?
                .entries
                .last()
                .filter(|last| last.key >= near)
                .map(drop)
        }));
        match round % 3 {
            0 => site.cluster.kill(leader).unwrap(),
            1 => site.cluster.pause(leader).unwrap(),
            _ => site.cluster.cut(leader).unwrap(),
        }
        for (attempt, outcome) in site.run(writer).unwrap() {
            let kind = match outcome {
                Some(TxnOutcome::Succeeded { .. }) => 0,
                Some(TxnOutcome::Failed) | None => 1,
                Some(TxnOutcome::Unknown) => 2,
            };
            outcomes[kind].insert(attempt);
        }
        number += 120;
        match round % 3 {
            0 => site.cluster.start_member(leader).unwrap(),
            1 => site.cluster.resume(leader).unwrap(),
            _ => site.cluster.heal(leader).unwrap(),
        }
        site.cluster.wait_ready(leader).unwrap();
    }
    let written: BTreeSet<String> = site
        .run(async { until("a last read", async || etcd.range("attempt/").await.ok()).await })
        .entries
        .into_iter()
        .inspect(|entry| assert_eq!(entry.create_revision, entry.mod_revision, "{}", entry.key))
        .map(|entry| entry.key)
        .collect();
    let [succeeded, failed, unknown] = outcomes;
    println!("{} done, {} not, {} unknown", succeeded.len(), failed.len(), unknown.len());
    assert!(succeeded.is_subset(&written), "called done, and is not there");
    assert!(failed.is_disjoint(&written), "called not done, and is there");
    assert!(written.difference(&succeeded).all(|attempt| unknown.contains(attempt)));
    assert!(succeeded.len() > 100);
}

#[test]
fn calls_go_on_while_a_majority_is_there_and_say_why_when_none_is() {
    let mut site = three();
    let etcd = site.etcd();
    let lease = site.run(etcd.grant(600)).unwrap().lease;
    site.run(write(&etcd, "a", "1"));
    site.cluster.pause(0).unwrap();
    site.run(until("a renewal past the silent member", async || {
        matches!(etcd.keep_alive(lease).await, Ok(KeptAlive::Renewed { .. })).then_some(())
    }));
    assert_eq!(site.run(entries(&etcd, "a")).len(), 1);
    site.cluster.cut(1).unwrap();
    // One member of three answers and has no majority.
    let error = site.run(until("a refusal", async || etcd.range("").await.err()));
    assert!(error.is_told(), "{error}");
    let txn = Txn { compare: Vec::new(), then: vec![put("a", "2")] };
    let outcome = site.run(etcd.txn(&txn));
    assert!(matches!(outcome, Ok(TxnOutcome::Unknown) | Err(_)), "{outcome:?}");
    site.cluster.heal(1).unwrap();
    site.cluster.resume(0).unwrap();
    let read = site.run(until("a read after healing", async || etcd.range("a").await.ok()));
    // What was not known may have been done, once.
    assert!(matches!(&*read.entries[0].value, b"1" | b"2"));
    assert!(matches!(site.run(etcd.keep_alive(lease)), Ok(KeptAlive::Renewed { .. })));
}

#[test]
fn earlier_endpoint_is_asked_first_again_when_it_is_back_and_two_members_may_be_parted() {
    let mut site = three();
    let etcd = site.etcd();
    let first = site.config().endpoints[0].clone();
    site.run(write(&etcd, "a", "1"));
    assert_eq!(etcd.asked_first(), Some(first.clone()));
    site.cluster.kill(0).unwrap();
    site.run(until("a read past the dead member", async || etcd.range("").await.ok()));
    assert_ne!(etcd.asked_first(), Some(first.clone()));
    site.cluster.start_member(0).unwrap();
    site.cluster.wait_ready(0).unwrap();
    // The calls of a node in its ordinary course are what brings it back.
    site.run(until("the way back", async || {
        etcd.range("").await.unwrap();
        (etcd.asked_first().as_ref() == Some(&first)).then_some(())
    }));
    // Who cannot see the leader is led by it through nobody; calls go elsewhere.
    site.cluster.network().cut_between(0, 1).unwrap();
    for n in 0..20 {
        site.run(until("a write with two members parted", async || {
            let key = format!("parted/{n}");
            let txn = Txn { compare: vec![created(&key, 0)], then: vec![put(&key, "x")] };
            match etcd.txn(&txn).await {
                Ok(TxnOutcome::Succeeded { .. } | TxnOutcome::Failed) => Some(()),
                Ok(TxnOutcome::Unknown) | Err(_) => None,
            }
        }));
    }
    site.cluster.network().heal_between(0, 1).unwrap();
    assert_eq!(site.run(entries(&etcd, "parted/")).len(), 20);
}

/// Whether an error says something in both languages.
trait Told {
    fn is_told(&self) -> bool;
}

impl Told for EtcdError {
    fn is_told(&self) -> bool {
        let (russian, english) = (self.text(Language::Russian), self.text(Language::English));
        !russian.is_empty() && !english.is_empty() && russian != english
    }
}

#[test]
fn leader_that_slept_renews_nothing_that_the_others_have_ended() {
    let mut site = three();
    for _ in 0..3 {
        let leader = site.leader();
        let others: Vec<u8> = (0..3).filter(|place| *place != leader).collect();
        let (sleeper, awake) = (site.etcd_at(&[leader]), site.etcd_at(&others));
        let lease = site.run(async {
            let granted = sleeper.grant(2).await.unwrap();
            carry_out(&sleeper, Vec::new(), vec![put_under(granted.lease, "alive/x")]).await;
            assert!(matches!(
                sleeper.keep_alive(granted.lease).await,
                Ok(KeptAlive::Renewed { .. })
            ));
            granted.lease
        });
        site.cluster.pause(leader).unwrap();
        site.run(until("the end of the lease", async || {
            let loaded = awake.range("alive/").await.ok()?;
            loaded.entries.is_empty().then_some(())
        }));
        site.cluster.resume(leader).unwrap();
        let outcome = site.run(until("an answer", async || {
            let answer = sleeper.keep_alive(lease).await;
            assert!(!matches!(answer, Ok(KeptAlive::Renewed { .. })), "{answer:?}");
            answer.ok()
        }));
        assert_eq!(outcome, KeptAlive::Lost);
        site.cluster.wait_ready(leader).unwrap();
    }
}

#[test]
fn etcd_with_tls_wants_our_certificate_and_is_known_by_its_authority() {
    let site = site(EtcdOptions { tls: true, ..EtcdOptions::default() });
    let good = site.config();
    site.run(async {
        let etcd = Etcd::new(&good, ROOT).unwrap();
        let revision = write(&etcd, "a", "1").await;
        let mut watch = etcd.watch("", revision - 1);
        assert_eq!(changes_until(&mut watch, "a").await.len(), 1);
        let lease = etcd.grant(60).await.unwrap().lease;
        assert!(matches!(etcd.keep_alive(lease).await, Ok(KeptAlive::Renewed { .. })));

        let files = site.cluster.files().unwrap();
        let stranger = EtcdConfig { ca: Some(files.stranger().unwrap()), ..good.clone() };
        let error = Etcd::new(&stranger, ROOT).unwrap().range("").await.unwrap_err();
        assert!(matches!(error, EtcdError::Tls { .. }) && error.is_told(), "{error}");
        assert!(!error.may_be_done());

        let nameless = EtcdConfig { certificate: None, key: None, ..good.clone() };
        let error = Etcd::new(&nameless, ROOT).unwrap().range("").await.unwrap_err();
        assert!(error.told().to_lowercase().contains("certificate"), "{}", error.told());
    });
}

#[test]
fn user_may_do_what_is_below_the_prefix_and_a_wrong_password_is_named() {
    let mut site = site(EtcdOptions { tls: true, users: true, ..EtcdOptions::default() });
    let (user, password) = EtcdCluster::USER;
    let with = |user: Option<&str>, password: &str| EtcdConfig {
        user: user.map(str::to_owned),
        password: Some(Hidden(password.to_owned())),
        ..site.config()
    };
    let etcd = Etcd::new(&with(Some(user), password), ROOT).unwrap();
    assert!(!format!("{etcd:?}{:?}", with(Some(user), password)).contains(password));
    let files = site.cluster.files().unwrap();
    let by_name = EtcdConfig {
        certificate: Some(files.named_certificate.clone()),
        key: Some(files.named_key.clone()),
        ..with(Some(user), password)
    };
    let mut watch = site.run(async {
        for (config, named) in [
            (by_name, "no CN"),
            (with(Some(user), "wrong"), "User and Password"),
            (with(Some("nobody"), password), "User and Password"),
            (with(None, ""), "asks for a user"),
        ] {
            let error = Etcd::new(&config, ROOT).unwrap().range("").await.unwrap_err();
            assert!(error.to_string().contains(named), "{error}");
            assert!(error.is_told() && !error.may_be_done(), "{error}");
        }
        let revision = write(&etcd, "a", "1").await;
        let mut watch = etcd.watch("", revision - 1);
        assert_eq!(changes_until(&mut watch, "a").await.len(), 1);
        let lease = etcd.grant(600).await.unwrap().lease;
        carry_out(&etcd, Vec::new(), vec![put_under(lease, "alive/x")]).await;
        assert!(matches!(etcd.keep_alive(lease).await, Ok(KeptAlive::Renewed { .. })));
        etcd.revoke(lease).await.unwrap();
        changes_until(&mut watch, "alive/x").await;

        let beside = etcd.below("/other/");
        let error = beside.range("").await.unwrap_err();
        assert!(matches!(error, EtcdError::Denied), "{error}");
        let txn = Txn { compare: Vec::new(), then: vec![put("a", "1")] };
        assert!(matches!(beside.txn(&txn).await, Err(EtcdError::Denied)));
        assert!(etcd.status().await.iter().all(|status| status.answer.is_ok()));
        watch
    });
    // Members forget the tokens that they gave when they start.
    for place in 0..3 {
        site.cluster.stop(place).unwrap();
        site.cluster.start_member(place).unwrap();
        site.cluster.wait_ready(place).unwrap();
    }
    site.run(async {
        write(&etcd, "b", "1").await;
        changes_until(&mut watch, "b").await;
    });
}

#[test]
fn status_tells_versions_the_leader_and_who_is_down() {
    let mut site = three();
    let etcd = site.etcd();
    let told = site.run(etcd.status());
    let told: Vec<_> = told.into_iter().map(|status| status.answer.unwrap()).collect();
    assert_eq!(told.len(), 3);
    assert!(told.iter().all(|status| status.version.starts_with("3.")));
    assert!(told.iter().all(|status| status.cluster == told[0].cluster && status.db_bytes > 0));
    assert_eq!(told.iter().filter(|status| status.member == status.leader).count(), 1);
    site.cluster.kill(1).unwrap();
    let told = site.run(etcd.status());
    let down: Vec<_> = told.iter().map(|status| status.answer.is_err()).collect();
    assert_eq!(down, [false, true, false]);
    let error = told[1].answer.as_ref().unwrap_err();
    assert!(error.to_string().contains(&site.cluster.endpoints()[1]) && error.is_told());
}

#[test]
fn endpoints_of_two_etcds_are_never_taken_for_one() {
    let alone = || EtcdOptions { members: 1, ..EtcdOptions::default() };
    let (mut one, other) = (site(alone()), site(alone()));
    let mut config = one.config();
    config.endpoints.extend(other.config().endpoints);
    let etcd = Etcd::new(&config, ROOT).unwrap();
    one.run(write(&etcd, "a", "1"));
    one.cluster.kill(0).unwrap();
    let txn = Txn { compare: Vec::new(), then: vec![put("b", "1")] };
    let outcome = one.run(until("a refusal that is sure", async || etcd.txn(&txn).await.err()));
    assert!(!outcome.may_be_done(), "{outcome}");
    let error = one.run(until("a refusal", async || etcd.range("").await.err()));
    assert!(error.to_string().contains("another etcd"), "{error}");
    assert_eq!(other.run(entries(&other.etcd(), "")), []);
}
