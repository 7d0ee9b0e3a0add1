//! The way of a call to the worker: into the bounded queue, with a worker that runs, and the wait.
//!
//! Decides when a worker thread is made and how long its end is waited for; what it does is decided
//! in [`crate::worker`].

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use licence_core::time::MonoTime;

use crate::clock::system_now;
use crate::error::ClientError;
use crate::jobs::{Job, Reply, Slot, Work};
use crate::state::{Farewell, JOBS_MAX, Phase, Shared, State};
use crate::worker;

/// For a worker that is past its last statement: only its thread's epilogue is waited for.
const EPILOGUE_BOUND: Duration = Duration::from_millis(500);

/// Puts a job into the queue, sees to a worker, waits.
pub(crate) fn ask(
    shared: &Arc<Shared>,
    work: Work,
    deadline: MonoTime,
    bound: Duration,
) -> Result<Reply, ClientError> {
    ask_at(shared, work, MonoTime::from_millis(0), deadline, bound)
}

/// The same, for a job that is not to be begun before `not_before` of the system's clock.
pub(crate) fn ask_at(
    shared: &Arc<Shared>,
    work: Work,
    not_before: MonoTime,
    deadline: MonoTime,
    bound: Duration,
) -> Result<Reply, ClientError> {
    let slot = Arc::new(Slot::default());
    let mut state = shared.lock();
    while state.phase == Phase::Stopping {
        let left = deadline.since(system_now());
        if left.is_zero() {
            return Err(ClientError::stopping());
        }
        state = shared
            .phase_changed
            .wait_timeout(state, left)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
    }
    if let Work::Ask { target, .. } = &work
        && !state.targets.contains_key(target)
    {
        return Err(ClientError::stopping());
    }
    if state.jobs.len() >= JOBS_MAX {
        return Err(ClientError::execute(
            "Слишком много одновременных вызовов",
            "too many calls at one time",
        ));
    }
    let job = Job { work, deadline, slot: Arc::clone(&slot), rounds: 0, not_before, refused: None };
    state.jobs.push_back(job);
    ensure_worker(shared, &mut state)?;
    drop(state);
    shared.work.notify_all();
    slot.wait(deadline).unwrap_or_else(|| Err(ClientError::too_slow(bound.as_secs())))
}

fn ensure_worker(shared: &Arc<Shared>, state: &mut State) -> Result<(), ClientError> {
    if state.phase == Phase::Running {
        return Ok(());
    }
    if let Some(ended) = state.thread.take() {
        // It said that it is over while holding the lock that is held here.
        ended.join(EPILOGUE_BOUND);
    }
    shared.stop.store(false, Ordering::Relaxed);
    let body = {
        let shared = Arc::clone(shared);
        Box::new(move || worker::run(&shared))
    };
    match shared.spawn.spawn(body) {
        Ok(thread) => {
            state.thread = Some(thread);
            state.phase = Phase::Running;
            Ok(())
        }
        Err(why) => {
            state.jobs.clear();
            Err(ClientError::execute(
                format!("Не удалось создать поток: {why}"),
                format!("cannot make a thread: {why}"),
            ))
        }
    }
}

/// Has the worker take its leave, and forgets all targets; true when its thread is gone within
/// `bound`.
pub(crate) fn stop(shared: &Shared, bound: Duration, end_sessions: bool) -> bool {
    let until = system_now().after(bound);
    let mut state = shared.lock();
    if state.phase == Phase::Running {
        state.phase = Phase::Stopping;
        state.farewell = Some(Farewell { until, end_sessions });
        shared.stop.store(true, Ordering::Relaxed);
        shared.work.notify_all();
    }
    while state.phase == Phase::Stopping {
        let left = until.since(system_now());
        if left.is_zero() {
            return false;
        }
        state = shared
            .phase_changed
            .wait_timeout(state, left)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
    }
    state.targets.clear();
    shared.names.reap();
    // Past its last statement and in no need of the lock: what is left is the system's epilogue.
    state.thread.take().is_none_or(|thread| thread.join(EPILOGUE_BOUND))
}
