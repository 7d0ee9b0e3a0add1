//! The worker: one thread that does all work with sockets, and decides what comes next.
//!
//! Heartbeats that are due go first, because a server forgets a connection after 20 s. Then jobs
//! of callers and the re-opening of sessions take turns, so that neither starves. No single step
//! takes longer than one attempt at one server. What keeps connections alive is in
//! [`crate::heart`], how jobs are answered in [`crate::answer`].

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use licence_core::failover::{Failover, Server, Step, TRY_BOUND};
use licence_core::language::Language;
use licence_core::protocol::{Connect, Connected, ConnectionInfo, Disconnect};
use licence_core::time::MonoTime;
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::clock::system_now;
use crate::error::ClientError;
use crate::http::{CallError, Channel};
use crate::net::Budget;
use crate::state::{
    Farewell, Job, PARKED_MAX, Phase, SessionKey, Shared, State, TargetId, TargetKey,
};

/// Longest that the worker waits without looking around.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// What ending one connection nobody needs may cost.
const DISCONNECT_BOUND: Duration = Duration::from_secs(1);

/// Intervals that a server may ask for, in seconds: a wrong answer must neither make the worker
/// spin nor let connections expire.
const BEAT_SECS: std::ops::RangeInclusive<u64> = 1..=60;

/// Lives of a session that a server may name, in seconds.
const SESSION_SECS: std::ops::RangeInclusive<u64> = 10..=86_400;

/// The body of the thread. Ends when nothing is held or the client is stopped.
pub(crate) fn run(shared: &Arc<Shared>) {
    let mut worker = Worker { shared, lines: BTreeMap::new(), job_was_last: false };
    if catch_unwind(AssertUnwindSafe(|| worker.work())).is_err() {
        log::error!("the worker thread failed; callers are told and the next call starts another");
        let mut state = shared.lock();
        for target in state.targets.values_mut() {
            target.lose_server();
        }
        end(shared, &mut state, &ClientError::execute("Внутренняя ошибка", "internal error"));
    }
}

/// Says, under the lock, that the worker is past its last statement.
fn end(shared: &Shared, state: &mut State, to_callers: &ClientError) {
    for job in state.jobs.drain(..) {
        job.slot.deliver(Err(to_callers.clone()));
    }
    state.farewell = None;
    state.phase = Phase::Idle;
    shared.phase_changed.notify_all();
}

/// The worker's own side of a target.
pub(crate) struct Line {
    pub(crate) key: TargetKey,
    pub(crate) connection: ConnectionInfo,
    /// Of refusals: that of the last start.
    pub(crate) language: Language,
    pub(crate) failover: Failover,
    pub(crate) link: Option<Connection>,
    /// What the servers of the walk in progress answered.
    walk_errors: Vec<ClientError>,
    /// What the last fruitless walk came to.
    fruitless: Option<ClientError>,
    /// Sessions to open again at the server in use.
    pub(crate) reopen: VecDeque<SessionKey>,
}

/// A connection that a server knows.
pub(crate) struct Connection {
    pub(crate) channel: Channel,
    pub(crate) id: String,
    /// How often to beat.
    pub(crate) beat: Duration,
    /// How long a session lives past its last touch.
    pub(crate) lives: Duration,
    /// By the client's clock.
    pub(crate) next_beat: MonoTime,
    /// When the server last answered a heartbeat, by the client's clock.
    pub(crate) beaten_at: MonoTime,
}

/// What came of one step of a walk.
pub(crate) enum Walked {
    Connected,
    Fruitless(ClientError),
    Trying,
}

/// Why a request to the server in use brought no answer.
pub(crate) enum Trouble {
    /// The server is lost; the walk goes on with the next step.
    Lost,
    /// The server did not know the connection any more. There is another one; ask again.
    Reconnected,
    /// The server refused.
    Refused { status: u16, error: ClientError },
}

enum Task {
    Beat(TargetId),
    End(TargetId),
    Farewell(Farewell),
    Job(Job),
    Over,
    Reopen(TargetId),
    Walk(TargetId),
}

pub(crate) struct Worker<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) lines: BTreeMap<TargetId, Line>,
    job_was_last: bool,
}

impl Worker<'_> {
    fn work(&mut self) {
        loop {
            match self.next_task() {
                Task::Beat(id) => self.beat(id),
                Task::End(id) => self.end_target(id),
                Task::Farewell(farewell) => return self.say_farewell(farewell),
                Task::Job(job) => self.answer(job),
                Task::Over => return,
                Task::Reopen(id) => self.reopen(id),
                Task::Walk(id) => {
                    self.walk(id);
                }
            }
        }
    }

    fn next_task(&mut self) -> Task {
        let mut state = self.shared.lock();
        loop {
            if let Some(farewell) = state.farewell {
                return Task::Farewell(farewell);
            }
            let now = self.shared.clock.now();
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
                    let failover = Failover::new(target.key.servers.clone());
                    Line::new(target.key.clone(), target.connection.clone(), failover)
                });
            }
            if let Some(task) = self.next_of_lines_or_jobs(&mut state, now) {
                return task;
            }
            if state.targets.is_empty() {
                end(self.shared, &mut state, &ClientError::stopping());
                return Task::Over;
            }
            let pause = self.pause(now);
            state = self
                .shared
                .work
                .wait_timeout(state, pause)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn next_of_lines_or_jobs(&mut self, state: &mut State, now: MonoTime) -> Option<Task> {
        let due = |line: &Line| line.link.as_ref().is_some_and(|link| link.next_beat <= now);
        if let Some((id, _)) = self.lines.iter().find(|(_, line)| due(line)) {
            return Some(Task::Beat(*id));
        }
        if !self.job_was_last
            && let Some(job) = state.jobs.pop_front()
        {
            self.job_was_last = true;
            return Some(Task::Job(job));
        }
        self.job_was_last = false;
        let reopens = |line: &Line| line.link.is_some() && !line.reopen.is_empty();
        if let Some((id, _)) = self.lines.iter().find(|(_, line)| reopens(line)) {
            return Some(Task::Reopen(*id));
        }
        let system = system_now();
        for (id, line) in &mut self.lines {
            if line.link.is_none() && !matches!(line.failover.poll(system), Step::Wait(_)) {
                return Some(Task::Walk(*id));
            }
        }
        state.jobs.pop_front().map(Task::Job)
    }

    /// How long nothing will be due.
    fn pause(&mut self, now: MonoTime) -> Duration {
        let system = system_now();
        let due_in = |line: &mut Line| match &line.link {
            Some(link) => link.next_beat.since(now),
            None => match line.failover.poll(system) {
                Step::Wait(until) => until.since(system),
                Step::Stay(_) | Step::Try { .. } => Duration::ZERO,
            },
        };
        self.lines.values_mut().map(due_in).fold(IDLE_MAX, Duration::min)
    }

    /// One step towards a connection: at most one attempt at one server.
    pub(crate) fn walk(&mut self, id: TargetId) -> Walked {
        let Some(line) = self.lines.get_mut(&id) else {
            return Walked::Fruitless(ClientError::stopping());
        };
        match line.failover.poll(system_now()) {
            Step::Stay(server) => {
                line.failover.handle_failure(&server, system_now());
                Walked::Trying
            }
            Step::Wait(_) => Walked::Fruitless(line.fruitless()),
            Step::Try { server, give_up_at } => {
                let budget = Budget::new(give_up_at, Some(Arc::clone(&self.shared.stop)));
                let now = self.shared.clock.now();
                match connect(self.shared, line, &server, &budget, now) {
                    Ok(connection) => {
                        log::info!("series {}: connected to {server}", line.key.series);
                        line.failover.handle_answer(&server);
                        line.walk_errors.clear();
                        line.link = Some(connection);
                        if let Some(target) = self.shared.lock().targets.get_mut(&id) {
                            target.server = Some(server);
                            line.reopen = target.to_reopen(now);
                        }
                        Walked::Connected
                    }
                    Err(error) => {
                        log::warn!("series {}: {error}", line.key.series);
                        line.walk_errors.push(error);
                        let system = system_now();
                        line.failover.handle_failure(&server, system);
                        if matches!(line.failover.poll(system), Step::Wait(_)) {
                            line.fruitless = ClientError::of_walk(&line.walk_errors);
                            line.walk_errors.clear();
                            return Walked::Fruitless(line.fruitless());
                        }
                        Walked::Trying
                    }
                }
            }
        }
    }

    /// Asks the server in use of a target; `body` is given the id of the connection. A channel
    /// that the server closed while it was idle is opened again once.
    pub(crate) fn request<B: Serialize, A: DeserializeOwned>(
        &mut self,
        id: TargetId,
        name: &str,
        body: impl Fn(&str) -> B,
        deadline: MonoTime,
    ) -> Result<A, Trouble> {
        let Some(line) = self.lines.get_mut(&id) else { return Err(Trouble::Lost) };
        let Some(link) = line.link.as_mut() else { return Err(Trouble::Lost) };
        let until = deadline.min(system_now().after(TRY_BOUND));
        let budget = Budget::new(until, Some(Arc::clone(&self.shared.stop)));
        link.channel.language = line.language;
        let mut result = link.channel.post(name, &body(&link.id), &budget);
        if let Err(CallError::Broken { maybe_idle: true, .. }) = &result {
            let server = link.channel.server().clone();
            let spawn = &*self.shared.spawn;
            let (series, pinned) = (line.key.series, &line.key.pinned);
            if let Ok(channel) =
                Channel::open(&server, series, pinned, line.language, &budget, spawn)
            {
                link.channel = channel;
                result = link.channel.post(name, &body(&link.id), &budget);
            }
        }
        match result {
            Ok(answer) => Ok(answer),
            Err(CallError::Refused { exception, .. }) if exception == "EConnectionNotFound" => {
                Err(self.connect_again(id, &budget))
            }
            Err(CallError::Refused { status, error, .. }) => {
                Err(Trouble::Refused { status, error })
            }
            Err(CallError::Broken { why, .. }) => {
                log::warn!("series {}: server lost: {why}", line.key.series);
                self.lose(id);
                Err(Trouble::Lost)
            }
        }
    }

    /// The server answers and does not know the connection: it was restarted, or this process
    /// slept. Its sessions are opened again with their leases.
    fn connect_again(&mut self, id: TargetId, budget: &Budget) -> Trouble {
        let now = self.shared.clock.now();
        let Some(line) = self.lines.get_mut(&id) else { return Trouble::Lost };
        let Some(link) = line.link.as_mut() else { return Trouble::Lost };
        let connect = Connect { key_id: line.key.series, info: line.connection.clone() };
        match link.channel.post::<_, Connected>("connect", &connect, budget) {
            Ok(connected) => {
                log::info!("series {}: the server had forgotten the connection", line.key.series);
                link.take_in(connected, now);
                if let Some(target) = self.shared.lock().targets.get_mut(&id) {
                    let server = target.server.take();
                    target.lose_server();
                    target.server = server;
                    line.reopen = target.to_reopen(now);
                }
                Trouble::Reconnected
            }
            Err(_) => {
                self.lose(id);
                Trouble::Lost
            }
        }
    }

    /// Gives the server in use up.
    pub(crate) fn lose(&mut self, id: TargetId) {
        let Some(line) = self.lines.get_mut(&id) else { return };
        if let Some(link) = line.link.take() {
            line.failover.handle_failure(link.channel.server(), system_now());
        }
        line.reopen.clear();
        if let Some(target) = self.shared.lock().targets.get_mut(&id) {
            target.lose_server();
        }
    }

    /// Ends the connection of a target that nobody needs, unless somebody does meanwhile.
    fn end_target(&mut self, id: TargetId) {
        let mut state = self.shared.lock();
        if state.targets.get(&id).is_none_or(|target| target.is_needed()) {
            return;
        }
        state.targets.remove(&id);
        let Some(line) = self.lines.remove(&id) else { return };
        let Some(mut link) = line.link else {
            state.parked.insert(line.key, line.failover);
            if state.parked.len() > PARKED_MAX {
                state.parked.pop_first();
            }
            return;
        };
        drop(state);
        let until = system_now().after(DISCONNECT_BOUND);
        link.say_goodbye(false, &Budget::new(until, Some(Arc::clone(&self.shared.stop))));
    }

    fn say_farewell(&mut self, farewell: Farewell) {
        let without_sessions: Vec<TargetId> = {
            let state = self.shared.lock();
            let empty = state.targets.iter().filter(|(_, target)| target.seats.is_empty());
            empty.map(|(id, _)| *id).collect()
        };
        // The stop flag has done its work; from here on only the bound counts.
        let budget = Budget::new(farewell.until, None);
        for (id, line) in &mut self.lines {
            if let Some(link) = &mut line.link
                && (farewell.end_sessions || without_sessions.contains(id))
            {
                link.say_goodbye(farewell.end_sessions, &budget);
            }
        }
        self.lines.clear();
        let mut state = self.shared.lock();
        state.targets.clear();
        end(self.shared, &mut state, &ClientError::stopping());
    }
}

impl Line {
    pub(crate) const fn new(
        key: TargetKey,
        connection: ConnectionInfo,
        failover: Failover,
    ) -> Self {
        Self {
            key,
            connection,
            language: Language::Russian,
            failover,
            link: None,
            walk_errors: Vec::new(),
            fruitless: None,
            reopen: VecDeque::new(),
        }
    }

    /// What the last walk came to.
    fn fruitless(&self) -> ClientError {
        self.fruitless.clone().unwrap_or_else(|| {
            let shown: Vec<_> = self.key.servers.iter().map(ToString::to_string).collect();
            let reason = ("сервер не отвечает".to_owned(), "no answer".to_owned());
            ClientError::not_found(&shown.join(", "), &reason)
        })
    }
}

impl Connection {
    fn take_in(&mut self, connected: Connected, now: MonoTime) {
        self.id = connected.id;
        self.beat = clamped(connected.heartbeat_secs, &BEAT_SECS);
        self.lives = clamped(connected.session_secs, &SESSION_SECS);
        self.next_beat = now.after(self.beat);
        self.beaten_at = now;
    }

    fn say_goodbye(&mut self, end_sessions: bool, budget: &Budget) {
        let body = Disconnect { connection: self.id.clone(), end_sessions };
        if let Err(CallError::Broken { why, .. }) =
            self.channel.post::<_, IgnoredAny>("disconnect", &body, budget)
        {
            log::debug!("a connection is left to expire: {why}");
        }
    }
}

fn clamped(secs: u64, range: &std::ops::RangeInclusive<u64>) -> Duration {
    Duration::from_secs(secs.clamp(*range.start(), *range.end()))
}

/// Connects to one server, has it prove itself, and makes this process known to it.
fn connect(
    shared: &Shared,
    line: &Line,
    server: &Server,
    budget: &Budget,
    now: MonoTime,
) -> Result<Connection, ClientError> {
    let (key, spawn) = (&line.key, &*shared.spawn);
    let mut channel = Channel::open(server, key.series, &key.pinned, line.language, budget, spawn)?;
    let body = Connect { key_id: line.key.series, info: line.connection.clone() };
    let connected: Connected = channel.post("connect", &body, budget).map_err(|why| match why {
        CallError::Refused { error, .. } => error,
        CallError::Broken { why, .. } => {
            let reason = (why.to_string(), why.to_string());
            ClientError::not_found(&server.to_string(), &reason)
        }
    })?;
    let mut connection = Connection {
        channel,
        id: String::new(),
        beat: Duration::ZERO,
        lives: Duration::ZERO,
        next_beat: now,
        beaten_at: now,
    };
    connection.take_in(connected, now);
    Ok(connection)
}
