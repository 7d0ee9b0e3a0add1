//! The way around a server that answers and grants nothing, against a simulated cluster: nodes that
//! grant, are cut off, refuse connections or are silent, and many callers behind one component.
//! Nothing here waits.

#![expect(clippy::unwrap_used, reason = "the fixed hosts and ports of the simulation are valid")]

use std::time::Duration;

use licence_core::detour::{Detour, MOVE_REST};
use licence_core::failover::{BACKOFF_LAST, Failover, Server, TRY_BOUND};
use licence_core::time::MonoTime;

/// What a node does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mood {
    Grants,
    /// Answers, and grants nothing.
    Cut,
    Refuses,
    Silent,
}

use Mood::{Cut, Grants, Refuses, Silent};

struct Cluster {
    moods: Vec<Mood>,
    failover: Failover,
    detour: Detour,
    now: MonoTime,
    /// Servers that were tried on the way around, by their ports 1, 2, 3, …
    tried: Vec<u16>,
    /// Servers that were left for another one, and when.
    moves: Vec<(u16, MonoTime)>,
}

fn server(number: u16) -> Server {
    Server::new("host", number).unwrap()
}

impl Cluster {
    /// A component that uses the first server.
    fn new(moods: &[Mood]) -> Self {
        let servers = (1..=u16::try_from(moods.len()).unwrap()).map(server).collect();
        let mut failover = Failover::new(servers);
        failover.handle_answer(&server(1));
        Self {
            moods: moods.to_vec(),
            failover,
            detour: Detour::default(),
            now: MonoTime::from_millis(1000),
            tried: Vec::new(),
            moves: Vec::new(),
        }
    }

    fn mood(&self, number: u16) -> Mood {
        self.moods[usize::from(number) - 1]
    }

    fn kept(&self) -> u16 {
        self.failover.kept().unwrap().port
    }

    /// A caller asks for a new session; whether some server grants it.
    fn ask(&mut self) -> bool {
        if self.mood(self.kept()) == Grants {
            return true;
        }
        while self.detour.begin(&self.failover, self.now) {
            let Some((server, give_up_at)) = self.detour.poll(self.now) else { continue };
            self.tried.push(server.port);
            match self.mood(server.port) {
                Grants => {
                    self.detour.handle_answer(&server);
                    assert!(!self.detour.is_searching());
                    self.moves.push((self.kept(), self.now));
                    self.failover.handle_answer(&server);
                    self.detour.handle_move(self.now);
                    return true;
                }
                Cut => {
                    self.detour.handle_answer(&server);
                    self.detour.handle_failure(&server, self.now);
                }
                Refuses => self.detour.handle_failure(&server, self.now),
                Silent => {
                    self.now = give_up_at;
                    self.detour.handle_failure(&server, self.now);
                }
            }
        }
        false
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.after(time);
    }
}

#[test]
fn list_is_gone_through_behind_the_server_in_use_until_one_grants() {
    let mut cluster = Cluster::new(&[Cut, Cut, Refuses, Grants]);
    assert!(cluster.ask());
    assert_eq!((cluster.tried.as_slice(), cluster.kept()), ([2, 3, 4].as_slice(), 4));
    cluster.pass(MOVE_REST);
    cluster.moods = vec![Cut, Grants, Grants, Cut];
    cluster.tried.clear();
    assert!(cluster.ask());
    assert_eq!(cluster.tried, [1, 2], "behind the last one comes the first");
}

#[test]
fn server_in_use_is_kept_while_nobody_else_grants() {
    let mut cluster = Cluster::new(&[Cut, Cut, Refuses]);
    assert!(!cluster.ask());
    assert_eq!((cluster.kept(), cluster.moves.len()), (1, 0));
    let mut alone = Cluster::new(&[Cut]);
    assert!(!alone.ask());
    assert!(alone.tried.is_empty());
}

#[test]
fn hundreds_of_callers_cost_one_search_and_searches_come_ever_more_seldom() {
    let mut cluster = Cluster::new(&[Cut, Cut, Cut]);
    for pause in [1, 2, 4, 8, 10, 10] {
        cluster.tried.clear();
        for _ in 0..500 {
            assert!(!cluster.ask());
        }
        assert_eq!(cluster.tried, [2, 3]);
        cluster.pass(Duration::from_secs(pause) - Duration::from_millis(1));
        assert!(!cluster.ask());
        assert_eq!(cluster.tried, [2, 3], "too early after {pause} s less a moment");
        cluster.pass(Duration::from_millis(1));
    }
    // Another trouble, much later, is looked into as the first was.
    cluster.pass(Duration::from_secs(120));
    assert!(!cluster.ask());
    cluster.tried.clear();
    cluster.pass(Duration::from_secs(1));
    assert!(!cluster.ask());
    assert_eq!(cluster.tried, [2, 3]);
}

#[test]
fn node_that_heals_draws_nobody_back_and_two_cut_off_by_turns_move_nobody_to_and_fro() {
    let mut cluster = Cluster::new(&[Cut, Grants]);
    assert!(cluster.ask());
    cluster.moods[0] = Grants;
    for _ in 0..100 {
        cluster.pass(Duration::from_secs(1));
        assert!(cluster.ask());
    }
    assert_eq!((cluster.kept(), cluster.moves.len()), (2, 1), "the first one is well again");
    let begun = cluster.now;
    for second in 0..300 {
        cluster.moods = if second % 2 == 0 { vec![Grants, Cut] } else { vec![Cut, Grants] };
        cluster.ask();
        cluster.pass(Duration::from_secs(1));
    }
    let moves: Vec<_> = cluster.moves.iter().filter(|(_, at)| *at >= begun).collect();
    for pair in moves.windows(2) {
        assert!(pair[1].1.since(pair[0].1) >= MOVE_REST, "{moves:?}");
    }
    assert!(moves.len() <= 10, "{moves:?}");
}

#[test]
fn search_nobody_reports_on_goes_on_when_its_time_is_over() {
    let mut cluster = Cluster::new(&[Cut, Silent, Silent]);
    assert_eq!(cluster.detour.poll(cluster.now), None, "nobody is looked for");
    assert!(cluster.detour.begin(&cluster.failover, cluster.now));
    let (first, give_up_at) = cluster.detour.poll(cluster.now).unwrap();
    assert_eq!(cluster.detour.poll(cluster.now), Some((first, give_up_at)));
    let (second, last) = cluster.detour.poll(give_up_at).unwrap();
    assert_eq!(second, server(3));
    cluster.detour.handle_failure(&server(2), give_up_at);
    cluster.detour.handle_answer(&server(2));
    assert!(cluster.detour.is_searching(), "old news of another server");
    assert_eq!(cluster.detour.poll(last), None);
    assert!(!cluster.detour.begin(&cluster.failover, last));
}

#[test]
fn silent_servers_take_no_more_than_half_of_the_time() {
    let mut cluster = Cluster::new(&[Cut, Silent, Silent, Silent, Silent]);
    let mut waited = Duration::ZERO;
    let begun = cluster.now;
    for _ in 0..1000 {
        let asked = cluster.now;
        assert!(!cluster.ask());
        waited += cluster.now.since(asked);
        cluster.pass(Duration::from_millis(100));
    }
    assert!(waited * 2 <= cluster.now.since(begun) + TRY_BOUND * 4, "{waited:?}");
}

#[test]
fn search_ends_with_the_server_that_it_was_for_and_keeps_its_pauses() {
    let mut cluster = Cluster::new(&[Cut, Grants]);
    assert!(cluster.detour.begin(&cluster.failover, cluster.now));
    cluster.detour.cancel();
    assert_eq!(cluster.detour.poll(cluster.now), None);
    assert!(cluster.ask());
    cluster.moods = vec![Grants, Cut];
    assert!(!cluster.ask(), "it has just moved");
    cluster.detour.cancel();
    assert!(!cluster.ask());
    cluster.failover.handle_failure(&server(2), cluster.now);
    cluster.pass(MOVE_REST);
    let is_begun = cluster.detour.begin(&cluster.failover, cluster.now);
    assert!(!is_begun, "no server is in use, so this is the walk's");
}

/// A small generator of its own, so that a failure is replayed from the seed in its message.
fn draw(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn whatever_the_nodes_do_one_that_grants_is_found_soon_and_nobody_is_hammered() {
    for seed in 1..=500_u64 {
        let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let count = usize::try_from(draw(&mut random) % 5).unwrap() + 1;
        let mut cluster = Cluster::new(&vec![Cut; count]);
        for event in 0..60 {
            for mood in &mut cluster.moods {
                let moods = [Grants, Cut, Cut, Refuses, Silent];
                *mood = moods[usize::try_from(draw(&mut random) % 5).unwrap()];
            }
            // The server in use answers; one that does not is left by the walk.
            let kept = usize::from(cluster.kept()) - 1;
            if !matches!(cluster.moods[kept], Grants | Cut) {
                cluster.moods[kept] = Cut;
            }
            cluster.pass(Duration::from_millis(draw(&mut random) % 20_000));
            let (begun, moves) = (cluster.now, cluster.moves.len());
            cluster.tried.clear();
            for _ in 0..20 {
                cluster.ask();
            }
            let silent = cluster.moods.iter().filter(|mood| **mood == Silent).count();
            let most = TRY_BOUND * u32::try_from(silent).unwrap();
            let took = cluster.now.since(begun);
            // Waiting for silent ones may outlast a pause, so that another search begins.
            let searches = 1 + took.as_secs() / 2;
            assert!(took <= most * u32::try_from(searches).unwrap(), "seed {seed} event {event}");
            let tries = u64::try_from(cluster.tried.len()).unwrap();
            assert!(
                tries <= searches * u64::try_from(count - 1).unwrap(),
                "seed {seed} event {event}: {:?}",
                cluster.tried
            );
            for pair in cluster.moves[moves.saturating_sub(1)..].windows(2) {
                assert!(pair[1].1.since(pair[0].1) >= MOVE_REST, "seed {seed} event {event}");
            }
            // Nobody is left waiting for longer than the longest rest.
            if cluster.moods.contains(&Grants) {
                cluster.pass(MOVE_REST.max(BACKOFF_LAST).max(took));
                assert!(cluster.ask(), "seed {seed} event {event}");
            }
        }
    }
}
