//! The choice of a server against a simulated network: N servers that answer, refuse or are
//! silent, and a clock that jumps to the next thing that happens. Nothing here waits.

#![expect(clippy::unwrap_used, reason = "the fixed hosts and ports of the simulation are valid")]

use std::time::Duration;

use licence_core::failover::{BACKOFF_LAST, Failover, Server, Step, TRY_BOUND};
use licence_core::time::MonoTime;

/// What a simulated server does with an attempt.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mood {
    Answers,
    Refuses,
    Silent,
}

use Mood::{Answers, Refuses, Silent};

struct Network {
    moods: Vec<Mood>,
    failover: Failover,
    now: MonoTime,
    tried: Vec<u16>,
}

/// Servers are told apart by their ports 1, 2, 3, …
fn server(number: u16) -> Server {
    Server::new("host", number).unwrap()
}

impl Network {
    fn new(moods: &[Mood]) -> Self {
        let servers = (1..=u16::try_from(moods.len()).unwrap()).map(server).collect();
        Self {
            moods: moods.to_vec(),
            failover: Failover::new(servers),
            now: MonoTime::from_millis(1000),
            tried: Vec::new(),
        }
    }

    /// One step; true while something is going on that a caller of 1C would wait for.
    fn step(&mut self) -> bool {
        match self.failover.poll(self.now) {
            Step::Stay(_) | Step::Wait(_) => false,
            Step::Try { server, give_up_at } => {
                self.tried.push(server.port);
                match self.moods[usize::from(server.port) - 1] {
                    Answers => self.failover.handle_answer(&server),
                    Refuses => self.failover.handle_failure(&server, self.now),
                    Silent => {
                        self.now = give_up_at;
                        self.failover.handle_failure(&server, self.now);
                    }
                }
                true
            }
        }
    }

    fn settle(&mut self) {
        let mut steps = 0;
        while self.step() {
            steps += 1;
            assert!(steps <= self.moods.len(), "a walk tries each server once: {:?}", self.tried);
        }
    }

    fn fail(&mut self, number: u16) {
        self.moods[usize::from(number) - 1] = Refuses;
        self.failover.handle_failure(&server(number), self.now);
    }

    fn kept(&self) -> Option<u16> {
        self.failover.kept().map(|server| server.port)
    }

    fn since(&self, start: MonoTime) -> Duration {
        self.now.since(start)
    }
}

#[test]
fn list_is_walked_in_order_until_one_answers_and_that_one_is_kept() {
    let mut network = Network::new(&[Refuses, Refuses, Answers, Answers]);
    network.settle();
    assert_eq!(network.tried, [1, 2, 3]);
    assert_eq!(network.kept(), Some(3));
    network.moods[0] = Answers;
    network.now = network.now.after(Duration::from_secs(3600));
    network.settle();
    assert_eq!(network.kept(), Some(3), "a server that works is not left for an earlier one");
}

#[test]
fn refusing_servers_cost_no_time_and_a_silent_one_costs_three_seconds() {
    let mut network = Network::new(&[Refuses, Silent, Refuses, Answers]);
    let start = network.now;
    network.settle();
    assert_eq!(network.kept(), Some(4));
    assert_eq!(network.since(start), Duration::from_secs(3));
}

#[test]
fn when_the_kept_server_fails_the_walk_begins_at_the_top_with_it_last() {
    let mut network = Network::new(&[Refuses, Answers, Refuses, Refuses]);
    network.settle();
    network.tried.clear();
    network.fail(2);
    network.settle();
    assert_eq!(network.tried, [1, 3, 4, 2]);
    assert_eq!(network.kept(), None);
}

#[test]
fn restarted_single_server_is_found_again_at_once() {
    let mut network = Network::new(&[Answers]);
    network.settle();
    network.failover.handle_failure(&server(1), network.now);
    let start = network.now;
    network.settle();
    assert_eq!((network.kept(), network.since(start)), (Some(1), Duration::ZERO));
}

#[test]
fn fruitless_walks_pause_one_second_doubling_to_ten() {
    let mut network = Network::new(&[Refuses, Refuses]);
    for pause in [1, 2, 4, 8, 10, 10, 10] {
        network.settle();
        let Step::Wait(until) = network.failover.poll(network.now) else { panic!("no pause") };
        assert_eq!(until.since(network.now), Duration::from_secs(pause));
        let just_before = MonoTime::from_millis(until.as_millis() - 1);
        assert_eq!(network.failover.poll(just_before), Step::Wait(until));
        network.now = until;
    }
    network.moods[1] = Answers;
    network.settle();
    network.fail(2);
    network.settle();
    let Step::Wait(until) = network.failover.poll(network.now) else { panic!("no pause") };
    assert_eq!(until.since(network.now), Duration::from_secs(1), "an answer resets the pause");
}

#[test]
fn hurry_ends_a_pause_without_forgetting_its_length() {
    let mut network = Network::new(&[Refuses]);
    network.settle();
    network.tried.clear();
    network.failover.hurry();
    network.settle();
    assert_eq!(network.tried, [1]);
    let Step::Wait(until) = network.failover.poll(network.now) else { panic!("no pause") };
    assert_eq!(until.since(network.now), Duration::from_secs(2));
}

#[test]
fn try_nobody_reports_on_is_given_up_when_its_time_is_over() {
    let mut network = Network::new(&[Silent, Silent]);
    let Step::Try { server: first, give_up_at } = network.failover.poll(network.now) else {
        panic!("no try")
    };
    let asked_again = network.failover.poll(network.now.after(Duration::from_secs(1)));
    assert_eq!(asked_again, Step::Try { server: first, give_up_at });
    assert!(matches!(
        network.failover.poll(give_up_at),
        Step::Try { server, .. } if server.port == 2
    ));
}

#[test]
fn planning_starts_no_time_and_skips_no_server() {
    let mut network = Network::new(&[Refuses, Answers]);
    assert_eq!(network.failover.waits_until(network.now), None);
    network.step();
    for _ in 0..5 {
        assert_eq!(network.failover.waits_until(network.now), None, "a server is to be tried");
        network.now = network.now.after(TRY_BOUND);
    }
    network.settle();
    assert_eq!((network.tried.as_slice(), network.kept()), ([1, 2].as_slice(), Some(2)));
    assert_eq!(network.failover.waits_until(network.now), None, "a server is kept");
    network.fail(2);
    network.settle();
    let Step::Wait(until) = network.failover.poll(network.now) else { panic!("no pause") };
    assert_eq!(network.failover.waits_until(network.now), Some(until));
    assert_eq!(network.failover.waits_until(until), None, "the pause is over");
}

#[test]
fn old_news_of_another_server_changes_nothing() {
    let mut network = Network::new(&[Answers, Answers]);
    network.settle();
    network.failover.handle_failure(&server(2), network.now);
    network.failover.handle_failure(&server(9), network.now);
    network.failover.handle_answer(&server(9));
    assert_eq!(network.kept(), Some(1));
}

#[test]
fn empty_list_waits_and_a_server_named_twice_counts_once() {
    let mut failover = Failover::new(Vec::new());
    assert!(matches!(failover.poll(MonoTime::from_millis(0)), Step::Wait(_)));
    let failover = Failover::new(vec![server(1), server(2), server(1)]);
    assert_eq!(failover.servers(), [server(1), server(2)]);
}

/// A small generator of its own, so that a failure is replayed from the seed in its message.
fn draw(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn whatever_the_servers_do_a_working_one_is_found_within_one_walk() {
    for seed in 1..=500_u64 {
        let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let count = usize::try_from(draw(&mut random) % 6).unwrap() + 1;
        let mut network = Network::new(&vec![Answers; count]);
        for event in 0..60 {
            for mood in &mut network.moods {
                *mood = [Answers, Refuses, Silent][usize::try_from(draw(&mut random) % 3).unwrap()];
            }
            if let Some(kept) = network.kept()
                && network.moods[usize::from(kept) - 1] != Answers
            {
                network.failover.handle_failure(&server(kept), network.now);
            }
            network.tried.clear();
            if let Some(until) = network.failover.waits_until(network.now) {
                assert!(until.since(network.now) <= BACKOFF_LAST, "seed {seed} event {event}");
                network.now = until;
            }
            // Other work takes as long as an attempt may: nobody's turn is lost by that.
            if draw(&mut random).is_multiple_of(2) {
                network.now = network.now.after(TRY_BOUND);
            }
            let start = network.now;
            network.settle();
            let silent =
                u32::try_from(network.moods.iter().filter(|mood| **mood == Silent).count())
                    .unwrap();
            assert!(network.since(start) <= TRY_BOUND * silent, "seed {seed} event {event}");
            let anyone = network.moods.contains(&Answers);
            assert_eq!(network.kept().is_some(), anyone, "seed {seed} event {event}");
        }
    }
}
