//! The worker: one thread that does all work with sockets, walks over servers and keeps to one.
//!
//! What comes next is decided in [`crate::turns`]. No single step takes longer than one attempt at
//! one server. What keeps connections alive is in [`crate::heart`], how jobs are answered in
//! [`crate::answer`].

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use licence_core::detour::Detour;
use licence_core::failover::{Failover, Server, Step, TRY_BOUND};
use licence_core::language::Language;
use licence_core::protocol::{Connect, Connected, ConnectionInfo, Disconnect, TouchSession};
use licence_core::time::MonoTime;
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::clock::system_now;
use crate::elsewhere::{Spare, brief};
use crate::error::ClientError;
use crate::heart::BeatInHand;
use crate::http::{CallError, Channel};
use crate::net::Budget;
use crate::state::{
    Farewell, Fruitless, PARKED_MAX, Parked, Phase, SessionKey, Shared, Standing, State, Target,
    TargetId, TargetKey,
};
use crate::turns::{Task, Turns};

/// How long a fruitless walk speaks for the next: a start within this is answered the same at
/// once, because servers that were silent a moment ago would only be waited for again.
const FRUITLESS_HOLDS: Duration = Duration::from_secs(3);

/// What ending one connection nobody needs may cost. A stop does not interrupt it, because a goodbye
/// that is cut off is none and the connection would live on for its 20 s; so it must fit into what
/// a stop may take.
pub(crate) const DISCONNECT_BOUND: Duration = Duration::from_millis(300);

/// Intervals that a server may ask for, in seconds: a wrong answer must neither make the worker
/// spin nor let connections expire.
const BEAT_SECS: std::ops::RangeInclusive<u64> = 1..=60;

/// Class of a refusal that passes by itself: the server gives those with a lease the first choice.
pub(crate) const RECOVERING: &str = "ERecovering";

/// Class of the refusal of a node that is cut off from its cluster: another node may grant what it
/// cannot.
pub(crate) const CLUSTER_CUT_OFF: &str = "EClusterUnavailable";

/// Classes of refusals that pass by themselves: the seat of the session is on its way from another
/// node of a cluster, or the node is not in touch with the cluster. The session lives on its lease
/// then, whatever was known of it.
pub(crate) const CLUSTER_PASSING: [&str; 2] = ["EClusterSettling", CLUSTER_CUT_OFF];

/// How classes of refusals begin, behind the `E` of all, that are about the session keys of ИС МП alone.
const SESSION_KEYS: &str = "Ismp";

/// Lives of a session that a server may name, in seconds.
const SESSION_SECS: std::ops::RangeInclusive<u64> = 10..=86_400;

/// The body of the thread. Ends when nothing is held or the client is stopped.
pub(crate) fn run(shared: &Arc<Shared>) {
    let mut worker = Worker { shared, lines: BTreeMap::new(), turns: Turns::default() };
    if catch_unwind(AssertUnwindSafe(|| worker.work())).is_err() {
        log::error!("the worker thread failed; callers are told and the next call starts another");
        let mut state = shared.lock();
        for target in state.targets.values_mut() {
            target.lose_server();
            target.lose_former();
        }
        end(shared, &mut state, &ClientError::execute("Внутренняя ошибка", "internal error"));
    }
}

/// Says, under the lock, that the worker is past its last statement.
pub(crate) fn end(shared: &Shared, state: &mut State, to_callers: &ClientError) {
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
    pub(crate) fruitless: Option<Fruitless>,
    /// When the last step of a walk was made, by the system's clock.
    pub(crate) walked_at: MonoTime,
    /// A heartbeat of which a part is still to be sent.
    pub(crate) in_hand: Option<BeatInHand>,
    /// Sessions to open again at the server in use.
    pub(crate) reopen: VecDeque<SessionKey>,
    /// Whom to ask while the server in use grants nothing.
    pub(crate) detour: Detour,
    /// A server that may grant then.
    pub(crate) spare: Option<Spare>,
    /// The server that was left for such a one, while it holds sessions of this process.
    pub(crate) former: Option<Connection>,
    /// When the server in use last gave a ticket for a change, by the system's clock.
    pub(crate) ticket_at: Option<MonoTime>,
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

/// Why a request to the server in use brought no answer.
pub(crate) enum Trouble {
    /// The server is lost; the walk goes on with the next step.
    Lost,
    /// The server did not know the connection any more. There is another one; ask again.
    Reconnected,
    /// The server refused.
    Refused {
        /// HTTP status.
        status: u16,
        /// When to ask again, if the server says so.
        retry_after: Option<Duration>,
        /// For the caller.
        error: ClientError,
    },
}

pub(crate) struct Worker<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) lines: BTreeMap<TargetId, Line>,
    pub(crate) turns: Turns,
}

impl Worker<'_> {
    fn work(&mut self) {
        loop {
            match self.next_task() {
                Task::Beat(id) => self.beat(id),
                Task::BeatFormer(id) => self.beat_former(id),
                Task::End(id) => self.end_target(id),
                Task::Farewell(farewell) => return self.say_farewell(farewell),
                Task::Job(job) => self.answer(job),
                Task::Over => return,
                Task::Reopen(id) => self.reopen(id),
                Task::Walk(id) => self.walk(id),
            }
        }
    }

    /// One step towards a connection: at most one attempt at one server. The end of a fruitless
    /// walk answers everybody who waits for it.
    fn walk(&mut self, id: TargetId) {
        if self.lines.get(&id).is_some_and(|line| line.link.is_some()) {
            return self.search(id);
        }
        let Some(line) = self.lines.get_mut(&id) else { return };
        let begun_at = system_now();
        line.walked_at = begun_at;
        let (server, give_up_at) = match line.failover.poll(begun_at) {
            Step::Stay(server) => return line.failover.handle_failure(&server, begun_at),
            Step::Wait(_) => {
                let error = line.fruitless_error();
                return self.answer_without_server(id, &error);
            }
            Step::Try { server, give_up_at } => (server, give_up_at),
        };
        let budget = Budget::new(give_up_at, Some(Arc::clone(&self.shared.stop)));
        let now = self.shared.clock.now();
        match connect(self.shared, line, &server, &budget, now) {
            Ok(connection) => {
                log::info!("series {}: connected to {server}", line.key.series);
                line.failover.handle_answer(&server);
                line.walk_errors.clear();
                line.fruitless = None;
                line.link = Some(connection);
                if let Some(target) = self.shared.lock().targets.get_mut(&id) {
                    target.server = Some(server);
                    line.reopen = target.to_reopen(now);
                }
            }
            Err(error) => {
                log::warn!("series {}: {error}", line.key.series);
                line.walk_errors.push(error);
                let ended_at = system_now();
                line.failover.handle_failure(&server, ended_at);
                if line.failover.waits_until(ended_at).is_some() {
                    let error = ClientError::of_walk(&line.walk_errors)
                        .unwrap_or_else(|| line.fruitless_error());
                    line.walk_errors.clear();
                    line.fruitless = Some(Fruitless { error: error.clone(), ended_at });
                    self.answer_without_server(id, &error);
                }
            }
        }
    }

    /// Asks the server in use of a target; `body` is given the id of the connection. A channel
    /// that the server closed while it was idle is opened again once. The server always has
    /// [`TRY_BOUND`]: a caller with less patience leaves, and that says nothing of the server.
    pub(crate) fn request<B: Serialize, A: DeserializeOwned>(
        &mut self,
        id: TargetId,
        name: &str,
        body: impl Fn(&str) -> B,
    ) -> Result<A, Trouble> {
        let Some(line) = self.lines.get_mut(&id) else { return Err(Trouble::Lost) };
        let Some(link) = line.link.as_mut() else { return Err(Trouble::Lost) };
        let budget =
            Budget::new(system_now().after(TRY_BOUND), Some(Arc::clone(&self.shared.stop)));
        link.channel.language = line.language;
        let mut result = link.channel.post(name, &body(&link.id), &budget);
        if let Err(CallError::Broken { maybe_idle: true, .. }) = &result {
            let server = link.channel.server().clone();
            let names = &self.shared.names;
            let (series, pinned) = (line.key.series, &line.key.pinned);
            if let Ok(channel) =
                Channel::open(&server, series, pinned, line.language, &budget, names)
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
            Err(CallError::Refused { status, exception, error, .. })
                if cannot_serve(status, &exception) =>
            {
                log::warn!("series {}: server lost: {error}", line.key.series);
                self.lose(id);
                Err(Trouble::Lost)
            }
            Err(CallError::Refused { status, retry_after, error, .. }) => {
                Err(Trouble::Refused { status, retry_after, error })
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
                let in_hand = line.in_hand.take();
                if let Some(target) = self.shared.lock().targets.get_mut(&id) {
                    target.put_back(in_hand);
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
        line.detour.cancel();
        line.spare = None;
        line.reopen.clear();
        let in_hand = line.in_hand.take();
        if let Some(target) = self.shared.lock().targets.get_mut(&id) {
            target.put_back(in_hand);
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
        let Some(mut line) = self.lines.remove(&id) else { return };
        let former = line.former.take();
        let Some(mut link) = line.link else {
            let parked = Parked { failover: line.failover, fruitless: line.fruitless };
            state.parked.insert(line.key, parked);
            if state.parked.len() > PARKED_MAX {
                state.parked.pop_first();
            }
            return;
        };
        drop(state);
        link.say_goodbye(false, &brief());
        if let Some(mut former) = former {
            former.say_goodbye(false, &brief());
        }
    }

    fn say_farewell(&mut self, farewell: Farewell) {
        let (without_sessions, on_the_way) = {
            let state = self.shared.lock();
            let empty = state.targets.iter().filter(|(_, target)| target.seats.is_empty());
            let empty: Vec<TargetId> = empty.map(|(id, _)| *id).collect();
            let refused = |target: &Target| {
                let seats = target.seats.values();
                let refused = seats.filter(|held| held.standing == Standing::Refused);
                refused.map(|held| held.id.clone()).collect()
            };
            let all = state.targets.iter().map(|(id, target)| (*id, refused(target)));
            (empty, all.collect::<BTreeMap<TargetId, Vec<String>>>())
        };
        // The stop flag has done its work; from here on only the bound counts.
        let budget = Budget::new(farewell.until, None);
        for (id, line) in &mut self.lines {
            if let Some(link) = &mut line.link
                && (farewell.end_sessions || without_sessions.contains(id))
            {
                link.say_goodbye(farewell.end_sessions, &budget);
            }
            if let Some(former) = line.former.as_mut().filter(|_| farewell.end_sessions) {
                former.say_goodbye(true, &budget);
            }
        }
        // What the bound leaves is for those whose seats may be on their way to a node of a cluster that
        // has refused them: it does not know that they are of this connection.
        for (id, line) in self.lines.iter_mut().filter(|_| farewell.end_sessions) {
            let spare = line.spare.as_mut().map(|spare| &mut spare.connection);
            for connection in line.link.iter_mut().chain(spare) {
                for session in on_the_way.get(id).into_iter().flatten() {
                    connection.close(session, &budget);
                }
            }
        }
        self.lines.clear();
        let mut state = self.shared.lock();
        state.targets.clear();
        end(self.shared, &mut state, &ClientError::stopping());
    }
}

impl Line {
    /// A line whose walk goes on where it stood.
    pub(crate) fn new(key: TargetKey, connection: ConnectionInfo, parked: Parked) -> Self {
        Self {
            key,
            connection,
            language: Language::Russian,
            failover: parked.failover,
            link: None,
            walk_errors: Vec::new(),
            fruitless: parked.fruitless,
            walked_at: MonoTime::from_millis(0),
            in_hand: None,
            reopen: VecDeque::new(),
            detour: Detour::default(),
            spare: None,
            former: None,
            ticket_at: None,
        }
    }

    /// Somebody waits for a start at `now`: a pause is not sat out, unless the servers were found
    /// not to answer a moment ago.
    pub(crate) fn hurry(&mut self, now: MonoTime) {
        let holds = |walk: &Fruitless| now.since(walk.ended_at) <= FRUITLESS_HOLDS;
        if !self.fruitless.as_ref().is_some_and(holds) {
            self.failover.hurry();
        }
    }

    /// What the last walk came to.
    pub(crate) fn fruitless_error(&self) -> ClientError {
        self.fruitless.as_ref().map_or_else(
            || {
                let shown: Vec<_> = self.key.servers.iter().map(ToString::to_string).collect();
                let reason = ("сервер не отвечает".to_owned(), "no answer".to_owned());
                ClientError::not_found(&shown.join(", "), &reason)
            },
            |walk| walk.error.clone(),
        )
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

    /// Says that a session is not needed that this server may know nothing of; nothing depends on it.
    pub(crate) fn close(&mut self, session: &str, budget: &Budget) {
        let body = TouchSession { connection: self.id.clone(), session: session.to_owned() };
        drop(self.channel.post::<_, IgnoredAny>("close", &body, budget));
    }

    pub(crate) fn say_goodbye(&mut self, end_sessions: bool, budget: &Budget) {
        let body = Disconnect { connection: self.id.clone(), end_sessions };
        if let Err(CallError::Broken { why, .. }) =
            self.channel.post::<_, IgnoredAny>("disconnect", &body, budget)
        {
            log::debug!("a connection is left to expire: {why}");
        }
    }
}

/// Whether an answer says nothing of what was asked but that this server can serve nobody: its
/// disk is full or its database locked, and another server of the list may well serve. What a
/// working server says with 503 is told apart by its class; that session keys of ИС МП are switched
/// off or cannot be written says nothing of licences.
pub(crate) fn cannot_serve(status: u16, exception: &str) -> bool {
    let is_working = ["EHTTPServiceUnavailable", "ELimit", RECOVERING].contains(&exception)
        || exception.strip_prefix('E').is_some_and(|name| name.starts_with(SESSION_KEYS));
    status == 503 && !is_working
}

fn clamped(secs: u64, range: &std::ops::RangeInclusive<u64>) -> Duration {
    Duration::from_secs(secs.clamp(*range.start(), *range.end()))
}

/// Connects to one server, has it prove itself, and makes this process known to it.
pub(crate) fn connect(
    shared: &Shared,
    line: &Line,
    server: &Server,
    budget: &Budget,
    now: MonoTime,
) -> Result<Connection, ClientError> {
    let (key, names) = (&line.key, &shared.names);
    let mut channel = Channel::open(server, key.series, &key.pinned, line.language, budget, names)?;
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
