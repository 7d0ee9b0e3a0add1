//! Calls of etcd while the network fails: how long each takes, who is asked, and what is told of a
//! transaction.

use std::time::Duration;

use licence_core::cluster::TxnOutcome;

use super::*;
use crate::clock;
use crate::cluster::etcd::{EtcdError, KeptAlive};

const NODE: &str = "node";

/// How long one of three endpoints is waited for before the next one is asked.
const STEP: Duration = Duration::from_millis(500);

/// Runs one node to its end.
fn run(seed: u64, seconds: u64, members: &Members, node: impl Future<Output = ()> + 'static) {
    let mut sim = sim(seed, seconds, members);
    sim.client(NODE, async move {
        node.await;
        Ok(())
    });
    sim.run().unwrap();
}

/// Host that is asked first.
fn first(etcd: &Etcd) -> String {
    etcd.asked_first().unwrap().host().to_owned()
}

fn all_members() -> impl Iterator<Item = &'static str> {
    (0..MEMBERS).map(member)
}

#[test]
fn endpoint_that_is_silent_costs_a_step_once_and_is_first_again_when_it_is_well() {
    for seed in 0..4 {
        run(seed, 120, &Members::new(), async {
            let etcd = client();
            assert!(matches!(etcd.txn(&put("a", "1")).await, Ok(TxnOutcome::Succeeded { .. })));
            assert_eq!(first(&etcd), member(0));
            turmoil::hold(NODE, member(0));
            let (read, took) = timed(etcd.range("")).await;
            assert_eq!(read.unwrap().entries.len(), 1);
            assert!(took >= STEP && took <= STEP + SOON, "{took:?}");
            assert_eq!(first(&etcd), member(1));
            let (told, took) = timed(etcd.txn(&put("a", "2"))).await;
            assert!(matches!(told, Ok(TxnOutcome::Succeeded { .. })) && took <= SOON, "{took:?}");
            turmoil::release(NODE, member(0));
            // Half a minute and a call later it is looked for.
            let (_, took) = timed(async {
                while first(&etcd) != member(0) {
                    etcd.range("").await.unwrap();
                    pass(Duration::from_millis(500)).await;
                }
            })
            .await;
            assert!(took <= Duration::from_secs(32), "{took:?}");
        });
    }
}

#[test]
fn endpoint_that_refuses_connections_costs_nothing_and_one_that_is_off_costs_a_step() {
    for (is_off, wanted) in [(false, Duration::ZERO), (true, STEP)] {
        let members = Members::new();
        let mut sim = sim(1, 60, &members);
        if is_off {
            sim.crash(member(0));
        }
        sim.client(NODE, async move {
            if !is_off {
                turmoil::partition(NODE, member(0));
            }
            let etcd = client();
            let (told, took) = timed(etcd.txn(&put("a", "1"))).await;
            assert!(matches!(told, Ok(TxnOutcome::Succeeded { .. })), "{told:?}");
            assert!(took >= wanted && took <= wanted + SOON, "{took:?}");
            assert_eq!(first(&etcd), member(1));
            Ok(())
        });
        sim.run().unwrap();
    }
}

#[test]
fn every_call_ends_in_time_while_nobody_answers_and_works_soon_after() {
    for (seed, is_connected) in [(1, false), (2, true), (3, false), (4, true)] {
        let members = Members::new();
        let seen = members.clone();
        run(seed, 120, &members, async move {
            let etcd = client();
            let lease = etcd.grant(10).await.unwrap().lease;
            let etcd = if is_connected { etcd } else { client() };
            if is_connected {
                assert!(etcd.status().await.iter().all(|status| status.answer.is_ok()));
            }
            for host in all_members() {
                turmoil::hold(NODE, host);
            }
            let bound = TIMEOUT_DEFAULT + Duration::from_millis(5);
            let in_time = |what: &str, took: Duration| assert!(took <= bound, "{what}: {took:?}");
            let (range, took) = timed(etcd.range("")).await;
            in_time("range", took);
            assert!(matches!(range, Err(EtcdError::TimedOut { .. })), "{range:?}");
            let (grant, took) = timed(etcd.grant(10)).await;
            in_time("grant", took);
            grant.unwrap_err();
            let (kept, took) = timed(etcd.keep_alive(lease)).await;
            in_time("renewal", took);
            kept.unwrap_err();
            let (revoked, took) = timed(etcd.revoke(lease)).await;
            in_time("revocation", took);
            revoked.unwrap_err();
            let (told, took) = timed(etcd.txn(&put("a", "1"))).await;
            in_time("transaction", took);
            // Over connections that are there it is on its way; without any it never was.
            assert!(told.is_err() || is_connected, "{told:?}");
            let (status, took) = timed(etcd.status()).await;
            in_time("status", took);
            assert!(status.iter().all(|status| status.answer.is_err()));
            for host in all_members() {
                turmoil::release(NODE, host);
            }
            let (told, took) = timed(etcd.txn(&put("b", "1"))).await;
            assert!(
                matches!(told, Ok(TxnOutcome::Succeeded { .. })) && took <= 2 * SOON,
                "{took:?}"
            );
            assert!(seen.with(|shared| shared.txns.values().all(|count| *count == 1)));
        });
    }
}

#[test]
fn transaction_whose_answer_is_lost_is_unknown_and_is_never_sent_again() {
    for seed in 0..4 {
        let members = Members::new();
        let seen = members.clone();
        run(seed, 60, &members, async move {
            let etcd = client();
            assert!(matches!(etcd.txn(&put("a", "1")).await, Ok(TxnOutcome::Succeeded { .. })));
            seen.with(|shared| shared.loses_answers_to = Some(NODE));
            let (told, took) = timed(etcd.txn(&put("a", "2"))).await;
            assert_eq!(told.unwrap(), TxnOutcome::Unknown);
            assert!(took <= TIMEOUT_DEFAULT + Duration::from_millis(5), "{took:?}");
            // The next one goes elsewhere, at once.
            assert_eq!(first(&etcd), member(1));
            let (told, took) = timed(etcd.txn(&put("b", "1"))).await;
            assert!(matches!(told, Ok(TxnOutcome::Succeeded { .. })) && took <= SOON, "{took:?}");
            turmoil::repair_oneway(member(0), NODE);
            pass(Duration::from_secs(10)).await;
            let entries = etcd.range("").await.unwrap().entries;
            let a = entries.iter().find(|entry| entry.key == "a").unwrap();
            assert_eq!(a.value, b"2", "it was carried out");
            seen.with(|shared| {
                assert_eq!(shared.txns.len(), 3);
                assert!(shared.txns.values().all(|count| *count == 1), "sent twice");
                assert_eq!(shared.store.writes, 3);
            });
        });
    }
}

#[test]
fn transaction_that_is_held_on_its_way_is_unknown_and_may_come_late_but_once() {
    let members = Members::new();
    let seen = members.clone();
    run(5, 60, &members, async move {
        let etcd = client();
        assert!(matches!(etcd.txn(&put("a", "1")).await, Ok(TxnOutcome::Succeeded { .. })));
        turmoil::hold(NODE, member(0));
        assert_eq!(etcd.txn(&put("a", "2")).await.unwrap(), TxnOutcome::Unknown);
        assert_eq!(seen.with(|shared| shared.store.writes), 1);
        turmoil::release(NODE, member(0));
        pass(Duration::from_secs(1)).await;
        seen.with(|shared| {
            assert!(shared.store.writes <= 2);
            assert!(shared.txns.values().all(|count| *count == 1));
        });
    });
}

#[test]
fn member_without_a_leader_is_passed_over() {
    let members = Members::new();
    let seen = members.clone();
    run(6, 60, &members, async move {
        let etcd = client();
        etcd.range("").await.unwrap();
        seen.with(|shared| shared.leaderless.insert(0));
        let (read, took) = timed(etcd.range("")).await;
        assert!(read.is_ok() && took <= 2 * SOON, "{took:?}");
        assert_eq!(first(&etcd), member(1));
        seen.with(|shared| shared.leaderless.extend([1, 2]));
        let said = etcd.range("").await.unwrap_err().to_string();
        assert!(said.contains("no leader"), "{said}");
    });
}

#[test]
fn lease_is_never_believed_longer_than_etcd_keeps_it() {
    const TTL: u64 = 10;
    for seed in 0..4 {
        let members = Members::new();
        let seen = members.clone();
        let mut sim = sim(seed, 120, &members);
        // A slow network: what the way costs must be taken from the lease, not from etcd.
        sim.set_max_message_latency(Duration::from_millis(400));
        sim.client(NODE, async move {
            let etcd = client();
            let granted = etcd.grant(u32::try_from(TTL).unwrap()).await?;
            let lease = granted.lease;
            let is_kept_so_long = |sent: licence_core::time::MonoTime| {
                let ends = seen.with(|shared| shared.store.next_end().unwrap());
                assert!(sent.after(Duration::from_secs(TTL)).as_millis() <= ends, "seed {seed}");
            };
            is_kept_so_long(granted.sent);
            let mut renewed = 0;
            for _ in 0..15 {
                // Slower than the bound allows is no renewal, and nothing is believed.
                if let Ok(KeptAlive::Renewed { sent }) = etcd.keep_alive(lease).await {
                    is_kept_so_long(sent);
                    assert!(clock::mono().since(sent) <= TIMEOUT_DEFAULT);
                    renewed += 1;
                }
                pass(Duration::from_secs(1)).await;
            }
            assert!(renewed > 5, "seed {seed}: {renewed}");
            for host in all_members() {
                turmoil::hold(NODE, host);
            }
            let begun = turmoil::sim_elapsed().unwrap();
            while turmoil::sim_elapsed().unwrap() - begun <= Duration::from_secs(TTL) {
                assert!(!matches!(etcd.keep_alive(lease).await, Ok(KeptAlive::Renewed { .. })));
            }
            for host in all_members() {
                turmoil::release(NODE, host);
            }
            // What was held on its way comes late, to a lease that is over.
            pass(Duration::from_secs(3)).await;
            let after = etcd.keep_alive(lease).await;
            assert!(matches!(after, Ok(KeptAlive::Lost) | Err(_)), "seed {seed}: {after:?}");
            Ok(())
        });
        sim.run().unwrap();
    }
}
