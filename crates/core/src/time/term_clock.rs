//! The clock by which terms are judged: which moment of the calendar is believed.
//!
//! Both faces of time and what was believed before go in, the believed moment comes out. It never
//! goes back, so a clock set back prolongs no term; and it does not follow a jump forward at once,
//! so a clock set to a wrong year ends no term by mistake. Reads no clock and writes nothing.
//!
//! A jump forward is *doubted*: from then on the believed moment goes on as fast as the clock does,
//! and stays behind it by the length of the jump. The doubt ends when the clock is set right, when
//! it has stood at its new time for [`CONFIRMED_AFTER`] of running, or when a centre has signed a
//! moment near it.

use std::time::Duration;

use super::{DAY_MILLIS, MonoTime, Now, Utc};

/// How far the clock may run ahead of what the monotonic clock explains while the server runs.
/// Corrections by a time service and wrong time zones are smaller; who sets a date wrong by less
/// than a day loses less than a day.
pub const JUMP_MAX: Duration = Duration::from_secs(86_400);

/// How far ahead of the last believed moment the clock may be at a start: the longest time for
/// which a server that is in use is switched off without anybody wondering.
pub const STILL_MAX: Duration = Duration::from_secs(31 * 86_400);

/// How long a server must run with a doubted clock before it is believed: longer than a weekend or
/// a short holiday, after which somebody sees the warning.
pub const CONFIRMED_AFTER: Duration = Duration::from_secs(7 * 86_400);

/// Steps back that are still the same doubted clock: what a time service corrects.
const CORRECTION_MAX_MILLIS: i64 = 3_600_000;

/// A jump of the clock that is not believed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Doubt {
    /// The believed moment at which the jump was seen.
    pub since: Utc,
    /// What the clock showed then.
    pub showed: Utc,
    /// How far the clock is ahead of the believed moment, in milliseconds.
    pub ahead_millis: i64,
    /// How long the server has run with it.
    pub stood: Duration,
}

impl Doubt {
    /// Whether it is about the same jump.
    pub fn is_same(&self, other: &Self) -> bool {
        (self.since, self.showed) == (other.since, other.showed)
    }

    /// How long the server must go on running until the clock is believed.
    pub const fn left(&self) -> Duration {
        CONFIRMED_AFTER.saturating_sub(self.stood)
    }
}

/// The state. Cheap to copy: looking at a moment without taking note of it is [`Self::at`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TermClock {
    /// The believed moment, and when by the monotonic clock.
    believed: Option<(Utc, MonoTime)>,
    doubt: Option<Doubt>,
    /// Whether a moment was taken note of since the start.
    is_running: bool,
}

impl TermClock {
    /// The clock as it was kept; `mono` is the moment of the start.
    pub const fn restored(seen: Option<Utc>, doubt: Option<Doubt>, mono: MonoTime) -> Self {
        let believed = match seen {
            Some(seen) => Some((seen, mono)),
            None => None,
        };
        Self { believed, doubt, is_running: false }
    }

    /// The moment that is believed; takes note of it.
    pub fn see(&mut self, now: Now) -> Utc {
        let is_running = std::mem::replace(&mut self.is_running, true);
        let Some((seen, at)) = self.believed else {
            self.believed = Some((now.utc, now.mono));
            return now.utc;
        };
        let passed = now.mono.since(at);
        let expected = seen.after(passed);
        let ahead = millis_between(expected, now.utc);
        let ahead_max = millis(if is_running { JUMP_MAX } else { STILL_MAX });
        let doubted = self.doubt.map(|doubt| (doubt, ahead - doubt.ahead_millis));
        let mut believed = expected;
        self.doubt = match doubted {
            // The clock goes on from the doubted time, so what it says of the passing of time is
            // believed: a server that is off at night does not get its nights for nothing.
            Some((doubt, further)) if (-CORRECTION_MAX_MILLIS..=ahead_max).contains(&further) => {
                believed = expected.plus_millis(further.max(0));
                let stood = doubt.stood.saturating_add(passed);
                let ahead_millis = millis_between(believed, now.utc);
                if stood >= CONFIRMED_AFTER {
                    believed = now.utc.max(believed);
                    None
                } else {
                    Some(Doubt { ahead_millis, stood, ..doubt })
                }
            }
            _ if ahead <= ahead_max => {
                believed = expected.max(now.utc);
                None
            }
            _ => Some(Doubt {
                since: expected,
                showed: now.utc,
                ahead_millis: ahead,
                stood: Duration::ZERO,
            }),
        };
        self.believed = Some((believed, now.mono));
        believed
    }

    /// The moment that would be believed; takes no note of it.
    pub fn at(&self, now: Now) -> Utc {
        let mut looked = *self;
        looked.see(now)
    }

    /// Takes note that the calendar has reached `at` for certain: somebody who knows has signed it,
    /// and it was made after the last believed moment or says nothing. A moment that lies ahead of
    /// the clock as well is left aside: then it is the signer's clock that is wrong.
    pub fn prove(&mut self, at: Utc, now: Now) -> Utc {
        let believed = self.see(now);
        if at <= believed || millis_between(now.utc, at) > millis(JUMP_MAX) {
            return believed;
        }
        let ahead_millis = millis_between(at, now.utc);
        let is_near = ahead_millis <= millis(JUMP_MAX);
        let proved = if is_near { at.max(now.utc) } else { at };
        self.doubt = self.doubt.filter(|_| !is_near).map(|doubt| Doubt { ahead_millis, ..doubt });
        self.believed = Some((proved, now.mono));
        proved
    }

    /// The jump that is not believed, if there is one.
    pub const fn doubt(&self) -> Option<Doubt> {
        self.doubt
    }
}

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

const fn millis_between(from: Utc, to: Utc) -> i64 {
    to.unix_millis() - from.unix_millis()
}

/// Whole days, for people: a begun one counts.
pub fn days_of(span: Duration) -> u64 {
    let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    millis.div_ceil(DAY_MILLIS.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: i64 = 3_600_000;
    const DAY: i64 = DAY_MILLIS;
    const FAR: i64 = 73 * 365 * DAY;

    /// A machine with a clock that may be wrong: milliseconds from an arbitrary moment.
    struct Machine {
        clock: TermClock,
        real: i64,
        wrong_by: i64,
        mono: i64,
    }

    impl Machine {
        fn new() -> Self {
            let mut machine =
                Self { clock: TermClock::default(), real: 0, wrong_by: 0, mono: 1000 };
            machine.see();
            machine
        }

        fn now(&self) -> Now {
            let utc = Utc::from_unix_millis(1_800_000_000_000 + self.real + self.wrong_by);
            Now { mono: MonoTime::from_millis(self.mono as u64), utc }
        }

        /// The believed moment, against the real one.
        fn see(&mut self) -> i64 {
            let believed = self.clock.see(self.now());
            believed.unix_millis() - 1_800_000_000_000 - self.real
        }

        /// Runs for so long, looking every hour.
        fn run(&mut self, mut span: i64) -> i64 {
            while span > 0 {
                let step = span.min(HOUR);
                (self.real, self.mono, span) = (self.real + step, self.mono + step, span - step);
                self.see();
            }
            self.see()
        }

        /// Is switched off for so long; what was noted at the end is kept.
        fn off(&mut self, span: i64) -> i64 {
            let (seen, _) = self.clock.believed.unwrap();
            self.real += span;
            self.mono = 7;
            let mono = MonoTime::from_millis(7);
            self.clock = TermClock::restored(Some(seen), self.clock.doubt, mono);
            self.see()
        }
    }

    #[test]
    fn clock_that_goes_right_is_believed_over_running_and_standing_still() {
        let mut machine = Machine::new();
        assert_eq!(machine.run(10 * DAY), 0);
        assert_eq!(machine.off(31 * DAY), 0);
        assert_eq!(machine.run(DAY), 0);
        assert_eq!(machine.clock.doubt(), None);
    }

    #[test]
    fn clock_set_back_gains_nothing() {
        let mut machine = Machine::new();
        machine.run(DAY);
        for back in [HOUR, DAY, 365 * DAY] {
            machine.wrong_by = -back;
            assert_eq!(machine.run(3 * DAY), 0, "{back}");
            assert_eq!(machine.clock.doubt(), None, "{back}");
        }
        machine.wrong_by = 0;
        assert_eq!(machine.run(HOUR), 0);
    }

    #[test]
    fn jump_forward_is_followed_up_to_a_day_and_doubted_beyond() {
        for (jump, wanted) in [(HOUR, HOUR), (DAY, DAY), (DAY + 1, 0), (30 * DAY, 0), (FAR, 0)] {
            let mut machine = Machine::new();
            machine.run(DAY);
            machine.wrong_by = jump;
            assert_eq!(machine.see(), wanted, "{jump}");
            assert_eq!(machine.clock.doubt().is_some(), wanted == 0, "{jump}");
            assert_eq!(machine.run(6 * DAY), wanted, "{jump}");
        }
    }

    #[test]
    fn start_much_later_than_the_last_moment_is_doubted() {
        for (off, wrong_by, wanted) in
            [(31 * DAY, 0, 0), (0, 31 * DAY, 31 * DAY), (DAY, FAR, -DAY), (40 * DAY, 0, -40 * DAY)]
        {
            let mut machine = Machine::new();
            machine.run(DAY);
            machine.wrong_by = wrong_by;
            assert_eq!(machine.off(off), wanted, "{off} {wrong_by}");
        }
    }

    #[test]
    fn clock_in_2099_for_a_weekend_leaves_no_trace_once_it_is_set_right() {
        let mut machine = Machine::new();
        machine.run(DAY);
        machine.wrong_by = FAR;
        assert_eq!(machine.see(), 0);
        assert_eq!(machine.run(2 * DAY), 0);
        assert_eq!(machine.clock.doubt().unwrap().stood, Duration::from_secs(2 * 86_400));
        assert_eq!(machine.off(8 * HOUR), 0, "the doubted clock still tells how long it was off");
        assert_eq!(machine.run(HOUR), 0);
        machine.wrong_by = 0;
        assert_eq!(machine.see(), 0);
        assert_eq!(machine.clock.doubt(), None);
        assert_eq!(machine.off(8 * HOUR), 0);
    }

    #[test]
    fn doubted_clock_is_believed_after_a_week_of_running_also_over_restarts() {
        let mut machine = Machine::new();
        machine.off(100 * DAY);
        for _ in 0..6 {
            assert_eq!(machine.run(DAY), -100 * DAY);
            assert_eq!(machine.off(HOUR), -100 * DAY);
        }
        assert!(machine.clock.doubt().is_some());
        assert_eq!(machine.run(DAY), 0);
        assert_eq!(machine.clock.doubt(), None);
    }

    #[test]
    fn week_begins_again_when_the_doubted_clock_is_moved_and_terms_run_on_all_the_same() {
        let mut machine = Machine::new();
        for jump in [FAR, 2 * FAR, FAR, 100 * DAY, 2 * FAR] {
            machine.wrong_by = jump;
            assert_eq!(machine.run(6 * DAY), 0, "{jump}");
            assert!(machine.clock.doubt().is_some());
        }
    }

    #[test]
    fn small_corrections_leave_a_doubt_as_it_is() {
        let mut machine = Machine::new();
        machine.wrong_by = 100 * DAY;
        machine.see();
        let first = machine.clock.doubt().unwrap();
        for correction in [-2, -HOUR / 2, HOUR / 2, 5] {
            machine.wrong_by += correction;
            machine.run(HOUR);
            assert!(machine.clock.doubt().unwrap().is_same(&first), "{correction}");
        }
        assert_eq!(
            machine.clock.doubt().unwrap().left(),
            CONFIRMED_AFTER - Duration::from_secs(4 * 3600)
        );
    }

    #[test]
    fn signed_moment_near_the_clock_ends_the_doubt_and_a_far_one_ends_none() {
        let real = |machine: &Machine, more: i64| {
            Utc::from_unix_millis(1_800_000_000_000 + machine.real + more)
        };
        // Off for long, then a centre answers.
        let mut machine = Machine::new();
        machine.off(100 * DAY);
        machine.clock.prove(real(&machine, -5), machine.now());
        assert_eq!((machine.see(), machine.clock.doubt()), (0, None));
        // A clock that is wrong stays doubted, whatever was signed at the real time.
        let mut machine = Machine::new();
        machine.wrong_by = FAR;
        machine.clock.prove(real(&machine, 2), machine.now());
        assert_eq!(machine.see(), 2);
        assert!(machine.clock.doubt().is_some());
        // What was signed long ago, or by a clock that is ahead of ours, proves nothing.
        let mut machine = Machine::new();
        machine.run(DAY);
        for more in [-DAY, FAR] {
            machine.clock.prove(real(&machine, more), machine.now());
            assert_eq!(machine.see(), 0, "{more}");
        }
    }

    #[test]
    fn first_moment_ever_is_believed() {
        let mut clock = TermClock::restored(None, None, MonoTime::from_millis(5));
        let now = Now { mono: MonoTime::from_millis(5), utc: Utc::MAX };
        assert_eq!(clock.see(now), Utc::MAX);
        assert_eq!(clock.doubt(), None);
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Off(i64),
        Prove(i64),
        Run(i64),
        Set(i64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..60 * DAY).prop_map(Step::Off),
            (-10 * DAY..10 * DAY).prop_map(Step::Prove),
            (0..10 * DAY).prop_map(Step::Run),
            prop_oneof![Just(0), -FAR..FAR, -3 * DAY..3 * DAY].prop_map(Step::Set),
        ]
    }

    proptest! {
        #[test]
        fn believed_moment_never_goes_back_nor_slower_than_the_monotonic_clock(
            steps in prop::collection::vec(step(), 0..40)
        ) {
            let mut machine = Machine::new();
            let mut before = machine.see() + machine.real;
            for step in steps {
                let ran = if let Step::Run(span) = step { span } else { 0 };
                match step {
                    Step::Off(span) => drop(machine.off(span)),
                    Step::Run(span) => drop(machine.run(span)),
                    Step::Set(wrong_by) => machine.wrong_by = wrong_by,
                    Step::Prove(more) => {
                        let at = machine.now().utc.plus_millis(more - machine.wrong_by);
                        machine.clock.prove(at, machine.now());
                    }
                }
                let after = machine.see() + machine.real;
                prop_assert!(after >= before + ran, "{step:?}");
                before = after;
            }
        }

        #[test]
        fn one_wrong_jump_of_less_than_a_week_costs_at_most_a_day(
            jump in -FAR..FAR, stood in 0..7 * DAY - 2 * HOUR
        ) {
            let mut machine = Machine::new();
            machine.run(DAY);
            machine.wrong_by = jump;
            machine.run(stood);
            machine.wrong_by = 0;
            let against = machine.see();
            prop_assert!((0..=DAY).contains(&against), "{against}");
        }

        #[test]
        fn looking_changes_nothing(jump in -FAR..FAR) {
            let mut machine = Machine::new();
            machine.wrong_by = jump;
            let clock = machine.clock;
            let looked = clock.at(machine.now());
            prop_assert_eq!(clock, machine.clock);
            prop_assert_eq!(looked, machine.clock.see(machine.now()));
        }
    }
}
