//! Which work of the worker is next.
//!
//! Heartbeats that are due go first, because a server forgets a connection after 20 s. Then what a
//! server in use answers in moments: jobs of callers, in the order in which they came, and the
//! re-opening of sessions take turns. Last come walks over servers, a step of which may take as long
//! as a silent server is waited for, so that a series without a server does not hold up another
//! that has one. No kind of work waits for ever. How work is done is decided elsewhere.

use std::sync::PoisonError;
use std::time::Duration;

use licence_core::failover::TRY_BOUND;
use licence_core::time::MonoTime;

use crate::clock::system_now;
use crate::error::ClientError;
use crate::jobs::{Job, Question, Work};
use crate::state::{Farewell, Parked, SessionKey, State, TargetId};
use crate::worker::{Line, Worker, end};

/// Longest that the worker waits without looking around.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// How long quick work may go before a walk that could be made: as long as a step of the walk may
/// take, so that under a load without pauses each gets half of the time.
const WALK_WAITS_MAX: Duration = TRY_BOUND;

/// What must be left of a caller's patience while another server is looked for: a step of the search,
/// and the time in which the answer still finds the caller.
pub(crate) const SEARCH_MARGIN: Duration = Duration::from_secs(TRY_BOUND.as_secs() + 1);

/// What the worker does next.
pub(crate) enum Task {
    Beat(TargetId),
    BeatFormer(TargetId),
    End(TargetId),
    Farewell(Farewell),
    Job(Job),
    Over,
    Reopen(TargetId),
    Walk(TargetId),
}

/// Whose turn it was.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    job_was_last: bool,
    /// The last step of a walk was one that callers wait for.
    walk_was_for_callers: bool,
    /// Since when a walk could be made and was not, by the system's clock.
    walk_waits_since: Option<MonoTime>,
}

impl Worker<'_> {
    /// Waits until there is something to do.
    pub(crate) fn next_task(&mut self) -> Task {
        let shared = self.shared;
        let mut state = shared.lock();
        loop {
            if let Some(farewell) = state.farewell {
                return Task::Farewell(farewell);
            }
            let now = shared.clock.now();
            for target in state.targets.values_mut() {
                target.forget_expired(now);
            }
            let unneeded = state.targets.iter().find(|(_, target)| !target.is_needed());
            if let Some(id) = unneeded.map(|(id, _)| *id) {
                return Task::End(id);
            }
            // A worker that took over from a failed one has no lines yet.
            for (id, target) in &state.targets {
                self.lines.entry(*id).or_insert_with(|| {
                    let parked = Parked::at_the_top(&target.key.servers);
                    Line::new(target.key.clone(), target.connection.clone(), parked)
                });
            }
            if let Some(task) = self.next_of_lines_or_jobs(&mut state, now) {
                return task;
            }
            // A job without a target that waits for its time is still to be answered.
            if state.targets.is_empty() && state.jobs.is_empty() {
                end(shared, &mut state, &ClientError::stopping());
                return Task::Over;
            }
            let pause = self.pause(&state, now);
            state =
                shared.work.wait_timeout(state, pause).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn next_of_lines_or_jobs(&mut self, state: &mut State, now: MonoTime) -> Option<Task> {
        let due = |line: &Line| line.link.as_ref().is_some_and(|link| link.next_beat <= now);
        if let Some(id) = self.find(due) {
            return Some(Task::Beat(id));
        }
        if let Some(id) =
            self.find(|line| line.former.as_ref().is_some_and(|former| former.next_beat <= now))
        {
            return Some(Task::BeatFormer(id));
        }
        let system = system_now();
        let walk = self.next_walk(state, system);
        if walk.is_none() {
            self.turns.walk_waits_since = None;
        } else {
            let since = *self.turns.walk_waits_since.get_or_insert(system);
            if system.since(since) >= WALK_WAITS_MAX {
                return self.begin_walk(walk);
            }
        }
        let after_job = std::mem::take(&mut self.turns.job_was_last);
        if !after_job && let Some(task) = self.next_job(state, system, now) {
            return Some(task);
        }
        if let Some(id) = self.find(|line| line.link.is_some() && line.in_hand.is_some()) {
            return Some(Task::Beat(id));
        }
        if let Some(id) = self.find(|line| line.link.is_some() && !line.reopen.is_empty()) {
            return Some(Task::Reopen(id));
        }
        if after_job && let Some(task) = self.next_job(state, system, now) {
            return Some(task);
        }
        self.begin_walk(walk)
    }

    fn find(&self, wanted: impl Fn(&Line) -> bool) -> Option<TargetId> {
        self.lines.iter().find(|(_, line)| wanted(line)).map(|(id, _)| *id)
    }

    fn begin_walk(&mut self, walk: Option<(TargetId, bool)>) -> Option<Task> {
        let (id, is_for_callers) = walk?;
        self.turns.walk_waits_since = None;
        self.turns.walk_was_for_callers = is_for_callers;
        Some(Task::Walk(id))
    }

    /// The target whose walk is next, and whether callers wait for it: those that callers wait for
    /// and any take turns, in each case the one whose last step is longest ago.
    fn next_walk(&self, state: &State, system: MonoTime) -> Option<(TargetId, bool)> {
        let is_awaited = |id| state.jobs.iter().any(|job| job.work.target() == Some(id));
        self.lines
            .iter()
            .filter(|(_, line)| match line.link {
                Some(_) => line.detour.is_searching(),
                None => line.failover.waits_until(system).is_none(),
            })
            .map(|(id, line)| (*id, is_awaited(*id), line.walked_at))
            .min_by_key(|(_, is_awaited, walked_at)| {
                (!*is_awaited && !self.turns.walk_was_for_callers, *walked_at)
            })
            .map(|(id, is_awaited, _)| (id, is_awaited))
    }

    /// Takes the oldest job out of the queue that need not wait for a walk.
    fn next_job(&mut self, state: &mut State, system: MonoTime, now: MonoTime) -> Option<Task> {
        let ready = state.jobs.iter().position(|job| self.is_ready(state, job, system, now))?;
        let job = state.jobs.remove(ready)?;
        self.turns.job_was_last = true;
        Some(Task::Job(job))
    }

    fn is_ready(&self, state: &State, job: &Job, system: MonoTime, now: MonoTime) -> bool {
        // A caller that is gone is forgotten.
        if job.deadline <= system {
            return true;
        }
        if job.not_before > system {
            return false;
        }
        // A start reads its settings, and an errand has its servers itself.
        let Some(id) = job.work.target() else { return true };
        let (Some(line), Some(target)) = (self.lines.get(&id), state.targets.get(&id)) else {
            return true;
        };
        if line.link.is_some() && line.detour.is_searching() && job.refused.is_some() {
            // Whoever is found is asked; in time for its answer, what is known is told.
            return job.deadline <= system.after(SEARCH_MARGIN);
        }
        if line.link.is_some() || line.failover.waits_until(system).is_some() {
            return true;
        }
        match &job.work {
            Work::Start(_)
            | Work::Errand(_)
            | Work::Ask { question: Question::Release { .. }, .. } => true,
            Work::Connect { .. } => target.has_live_seat(now),
            Work::Ask { question: Question::Seat { session, wish, .. }, .. } => {
                target.live_seat(&SessionKey::of(session), wish, now).is_some()
            }
            Work::Ask {
                question:
                    Question::Counters
                    | Question::Datafile { .. }
                    | Question::Datapart(_)
                    | Question::Licences { .. }
                    | Question::ObjectKey { .. }
                    | Question::Operation(_)
                    | Question::Server,
                ..
            } => false,
        }
    }

    /// How long nothing will be due.
    fn pause(&self, state: &State, now: MonoTime) -> Duration {
        let system = system_now();
        // A job that is not ready waits for a walk, which is due by itself, or for its time.
        let patient = state.jobs.iter().filter(|job| job.not_before > system);
        let patient = patient.map(|job| job.not_before.since(system));
        let due_in = |line: &Line| match &line.link {
            Some(link) => link.next_beat.since(now),
            None => line.failover.waits_until(system).unwrap_or(system).since(system),
        };
        let formers = self.lines.values().filter_map(|line| line.former.as_ref());
        let formers = formers.map(|former| former.next_beat.since(now));
        self.lines.values().map(due_in).chain(formers).chain(patient).fold(IDLE_MAX, Duration::min)
    }
}
