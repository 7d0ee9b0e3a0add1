//! Clients of etcd in seeded weather: what they are told of transactions, leases and changes is held
//! against what happened in etcd.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use licence_core::cluster::{Change, Compare, TxnOutcome};

use super::weather::Weather;
use super::*;
use crate::cluster::etcd::{KeptAlive, Watched};

const NODES: &[&str] = &["node-0", "node-1"];

/// How long the weather is bad.
const TROUBLE: Duration = Duration::from_secs(60);

/// Until each client has its lease, its transactions and all changes again: calls and probes that had
/// begun before, each with its bound, and a lease of a member that another one must end.
const WELL_WITHIN: Duration = Duration::from_secs(15);

/// Life of a lease.
const TTL_SECS: u32 = 5;

/// What a client was told.
#[derive(Default)]
struct Told {
    /// By what was written.
    txns: BTreeMap<String, TxnOutcome>,
    refused: BTreeSet<String>,
    /// After which revision each watch began, and what it told.
    watches: Vec<(i64, Vec<(String, i64)>)>,
    renewals: u32,
    slowest: Duration,
}

type Ear = Arc<Mutex<Told>>;

/// Writes one key, each time with a value of its own, if nobody else has.
async fn write(name: &'static str, etcd: Etcd, ear: Ear) {
    let mut revision = None;
    for number in 0_u32.. {
        let value = format!("{name}-{number}");
        let mut txn = put("shared", &value);
        let key = "shared".to_owned();
        txn.compare.extend(revision.map(|revision| Compare::Modified { key, revision }));
        let (told, took) = timed(etcd.txn(&txn)).await;
        {
            let mut ear = ear.lock().unwrap();
            ear.slowest = ear.slowest.max(took);
            match &told {
                Ok(outcome) => drop(ear.txns.insert(value, *outcome)),
                Err(_) => drop(ear.refused.insert(value)),
            }
        }
        if let Ok(TxnOutcome::Succeeded { revision: made }) = told {
            revision = Some(made);
        } else {
            let (read, took) = timed(etcd.range("shared")).await;
            ear.lock().unwrap().slowest.max_with(took);
            if let Ok(read) = read {
                revision = read.entries.first().map(|entry| entry.mod_revision);
            }
        }
        pass(Duration::from_millis(150)).await;
    }
}

/// Hears all changes, from the beginning or from what was loaded.
async fn listen(etcd: Etcd, ear: Ear) {
    let mut after = 0;
    loop {
        ear.lock().unwrap().watches.push((after, Vec::new()));
        let mut watch = etcd.watch("", after);
        while let Watched::Changes { changes, .. } = watch.next().await {
            let mut ear = ear.lock().unwrap();
            let heard = changes.iter().map(|change| (change.key().to_owned(), change.revision()));
            ear.watches.last_mut().unwrap().1.extend(heard);
        }
        after = loop {
            match etcd.range("").await {
                Ok(loaded) => break loaded.revision,
                Err(_) => pass(Duration::from_millis(300)).await,
            }
        };
    }
}

/// Keeps a lease, and says until when it is believed.
async fn keep(name: &'static str, etcd: Etcd, members: Members, ear: Ear) {
    let life = Duration::from_secs(u64::from(TTL_SECS));
    loop {
        let Ok(granted) = etcd.grant(TTL_SECS).await else {
            pass(Duration::from_millis(300)).await;
            continue;
        };
        let key = format!("alive/{name}");
        let put = Op::Put { key, value: Vec::new(), lease: Some(granted.lease) };
        let txn = Txn { compare: Vec::new(), then: vec![put] };
        if !matches!(etcd.txn(&txn).await, Ok(TxnOutcome::Succeeded { .. })) {
            continue;
        }
        let mut sent = granted.sent;
        loop {
            let until = sent.after(life).as_millis();
            members.with(|shared| shared.believed.insert(name, (granted.lease, until)));
            pass(Duration::from_secs(1)).await;
            match timed(etcd.keep_alive(granted.lease)).await {
                (Ok(KeptAlive::Renewed { sent: renewed }), took) => {
                    let mut ear = ear.lock().unwrap();
                    ear.renewals += 1;
                    ear.slowest.max_with(took);
                    sent = renewed;
                }
                (Ok(KeptAlive::Lost), _) => break,
                (Err(_), took) => ear.lock().unwrap().slowest.max_with(took),
            }
        }
    }
}

trait MaxWith {
    fn max_with(&mut self, other: Self);
}

impl MaxWith for Duration {
    fn max_with(&mut self, other: Self) {
        *self = (*self).max(other);
    }
}

/// What etcd carried out, by value, with the revision.
fn written(history: &[Change]) -> BTreeMap<String, Vec<i64>> {
    let mut written: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for change in history {
        if let Change::Put(entry) = change
            && entry.key.ends_with("/shared")
        {
            let value = String::from_utf8(entry.value.clone()).unwrap();
            written.entry(value).or_default().push(entry.mod_revision);
        }
    }
    written
}

fn weather_of(seed: u64, counts: &mut BTreeMap<&'static str, u32>) {
    let members = Members::new();
    let mut sim = sim(seed, 600, &members);
    let ears: Vec<Ear> = NODES.iter().map(|_| Ear::default()).collect();
    for (name, ear) in NODES.iter().zip(&ears) {
        let (ear, members) = (Arc::clone(ear), members.clone());
        sim.client(*name, async move {
            let etcd = client();
            tokio::spawn(listen(etcd.clone(), Arc::clone(&ear)));
            tokio::spawn(keep(name, etcd.clone(), members, Arc::clone(&ear)));
            write(name, etcd, ear).await;
            Ok(())
        });
    }
    let mut weather = Weather::new(seed, NODES);
    while sim.elapsed() < TROUBLE {
        weather.blow(&mut sim, &members);
        sim.step().unwrap();
        members.with(|shared| assert_eq!(shared.broken, [""; 0], "LICENCE_STORM_SEED={seed}"));
    }
    weather.clear(&mut sim, &members);
    let renewals: Vec<u32> = ears.iter().map(|ear| ear.lock().unwrap().renewals).collect();
    let end = sim.elapsed() + WELL_WITHIN;
    while sim.elapsed() < end {
        sim.step().unwrap();
    }
    let last = members.with(|shared| shared.store.revision);
    for _ in 0..500 {
        sim.step().unwrap();
    }
    let (history, txns) = members.with(|shared| {
        assert_eq!(shared.broken, [""; 0], "LICENCE_STORM_SEED={seed}");
        (shared.history.clone(), shared.txns.clone())
    });
    let written = written(&history);
    // Of those that write a value of its own; a lease's key may be written alike after a lost answer.
    for (txn, count) in txns {
        assert!(count == 1 || !String::from_utf8_lossy(&txn).contains("shared"), "sent twice");
    }
    for (ear, before) in ears.iter().zip(renewals) {
        let ear = ear.lock().unwrap();
        let bound = TIMEOUT_DEFAULT + Duration::from_millis(5);
        assert!(ear.slowest <= bound, "LICENCE_STORM_SEED={seed}: {:?}", ear.slowest);
        assert!(ear.renewals > before, "LICENCE_STORM_SEED={seed}: no lease again");
        for (value, outcome) in &ear.txns {
            let made = written.get(value).map_or(&[][..], Vec::as_slice);
            let (is_so, what) = match outcome {
                TxnOutcome::Succeeded { revision } => (made == [*revision], "carried out"),
                TxnOutcome::Failed => (made.is_empty(), "lost"),
                TxnOutcome::Unknown => (made.len() <= 1, "nobody knows"),
            };
            assert!(is_so, "LICENCE_STORM_SEED={seed}: {value} is {outcome:?}, but: {made:?}");
            *counts.entry(what).or_default() += 1;
        }
        let refused = ear.refused.iter().filter(|value| written.contains_key(*value));
        assert_eq!(refused.count(), 0, "LICENCE_STORM_SEED={seed}: refused, and yet carried out");
        *counts.entry("watch begun anew").or_default() += ear.watches.len() as u32 - 1;
        for (after, heard) in &ear.watches {
            let up_to = heard.last().map_or(*after, |(_, revision)| *revision);
            let was: Vec<(String, i64)> = history
                .iter()
                .filter(|change| (after + 1..=up_to).contains(&change.revision()))
                .map(|change| {
                    let key = change.key().trim_start_matches("/licence/test/").to_owned();
                    (key, change.revision())
                })
                .collect();
            assert_eq!(heard, &was, "LICENCE_STORM_SEED={seed}: a watch after {after}");
        }
        let heard = ear.watches.last().and_then(|(_, heard)| heard.last());
        let is_up = heard.is_some_and(|(_, revision)| *revision >= last);
        assert!(is_up, "LICENCE_STORM_SEED={seed}: {heard:?} of {last}");
    }
    for (what, count) in weather.counts {
        *counts.entry(what).or_default() += count;
    }
}

#[test]
fn what_clients_of_etcd_are_told_is_true_in_any_weather() {
    let mut counts = BTreeMap::new();
    let seeds = seeds(4);
    let is_sweep = seeds.end - seeds.start >= 4;
    for seed in seeds {
        weather_of(seed, &mut counts);
    }
    println!("{counts:?}");
    for what in [
        "a leader again",
        "another leader",
        "answers are lost",
        "carried out",
        "compaction",
        "link holds",
        "link is cut",
        "link is well",
        "lost",
        "member dies",
        "member is back",
        "no leader",
        "nobody knows",
        "node is cut off",
        "questions are lost",
        "watch begun anew",
    ] {
        assert!(!is_sweep || counts.contains_key(what), "never happened: {what}: {counts:?}");
    }
}
