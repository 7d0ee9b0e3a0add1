//! Answering the jobs of callers.
//!
//! A job whose target has no server stays in the queue until a walk has found one or come to
//! nothing, so that it holds up neither heartbeats nor jobs of other targets. Every job ends: with
//! its answer, with the error of a fruitless walk, or because its caller stopped waiting.

use std::collections::VecDeque;
use std::time::Duration;

use licence_core::language::Language;
use licence_core::protocol::{
    ConnectionQuery, Counters, LicencesQuery, LicencesView, OpenSession, ServerSummary,
    SessionInfo, SessionOpened, TouchSession, Wish,
};
use licence_core::time::MonoTime;
use serde::de::IgnoredAny;

use crate::client::StartOptions;
use crate::clock::system_now;
use crate::conf::{Conf, resolve};
use crate::error::{ClientError, code};
use crate::jobs::{Job, Question, Reply, Work};
use crate::pin::pinned_key;
use crate::state::{Held, Parked, SessionKey, Standing, TARGETS_MAX, Target, TargetId, TargetKey};
use crate::turns::SEARCH_MARGIN;
use crate::worker::{CLUSTER_CUT_OFF, CLUSTER_PASSING, Line, RECOVERING, Trouble, Worker};

/// Most turns of one job that were spoilt by a server that was lost or had forgotten the
/// connection. More than this many in ten seconds is no network but a fault.
const ROUNDS_MAX: u32 = 50;

/// Pause before a server that recovers is asked again when it does not say for how long it will.
const RECOVERING_PAUSE: Duration = Duration::from_secs(2);

/// What must be left of a caller's patience after a pause, so that the answer still finds it.
const ANSWER_MARGIN: Duration = Duration::from_secs(1);

/// What a question brought.
pub(crate) enum Answered {
    /// Ask again: another server, or another connection, is there or sought.
    Again,
    /// Refused so by a server that is cut off from its cluster: ask again when another one is found,
    /// or none is.
    Elsewhere(ClientError),
    /// Ask again after a pause, if the caller is still there then; else this is the reply.
    Later(Duration, ClientError),
    /// It is under way: ask again after a pause, however often; this is the reply when its caller
    /// will not wait that long.
    Wait(Duration, ClientError),
    Reply(Result<Reply, ClientError>),
}

impl Worker<'_> {
    /// Works on a job for one turn.
    pub(crate) fn answer(&mut self, mut job: Job) {
        let now = system_now();
        if job.deadline <= now {
            self.abandon(&job);
            return;
        }
        job.rounds += 1;
        let is_late = job.deadline <= now.after(SEARCH_MARGIN) && self.is_searching(&job.work);
        if let Some(error) = job.refused.take_if(|_| is_late) {
            self.hand_over(&job, Err(error));
            return;
        }
        if let Work::Start(options) = &job.work {
            match self.prepare(options) {
                Ok(target) => {
                    if let Some(line) = self.lines.get_mut(&target) {
                        // A person is waiting.
                        line.hurry(now);
                        line.language = options.language;
                    }
                    job.work = Work::Connect { target };
                }
                Err(error) => {
                    job.slot.deliver(Err(error));
                    return;
                }
            }
        }
        let reply = match &mut job.work {
            Work::Start(_) => return,
            Work::Errand(errand) => self.errand_turn(errand),
            Work::Connect { target } if self.is_connected(*target) => {
                Answered::Reply(Ok(Reply::Started(*target)))
            }
            Work::Ask { target, question } if self.is_connected(*target) => {
                self.ask_turn(*target, question)
            }
            work @ (Work::Connect { .. } | Work::Ask { .. }) => match work.target() {
                Some(target) => self.offline_turn(target, work),
                None => return,
            },
        };
        match reply {
            Answered::Again if job.rounds < ROUNDS_MAX => {
                self.shared.lock().jobs.push_back(job);
            }
            Answered::Again => {
                let error = ClientError::execute(
                    "Сервер не удерживает соединение",
                    "the server does not keep the connection",
                );
                self.hand_over(&job, Err(error));
            }
            Answered::Elsewhere(error) if job.rounds < ROUNDS_MAX => {
                job.refused = Some(error);
                self.shared.lock().jobs.push_back(job);
            }
            Answered::Elsewhere(error) => self.hand_over(&job, Err(error)),
            Answered::Later(pause, error) => {
                let not_before = system_now().after(pause);
                if job.rounds < ROUNDS_MAX && not_before.after(ANSWER_MARGIN) <= job.deadline {
                    job.not_before = not_before;
                    self.shared.lock().jobs.push_back(job);
                } else {
                    self.hand_over(&job, Err(error));
                }
            }
            Answered::Wait(pause, error) => {
                // Bounded by its caller's patience, so these turns are not counted.
                job.rounds = 0;
                job.not_before = system_now().after(pause);
                if job.not_before < job.deadline {
                    self.shared.lock().jobs.push_back(job);
                } else {
                    self.hand_over(&job, Err(error));
                }
            }
            Answered::Reply(reply) => self.hand_over(&job, reply),
        }
    }

    /// A walk over the servers of a target came to nothing: answers all who wait for it.
    pub(crate) fn answer_without_server(&mut self, id: TargetId, error: &ClientError) {
        let waiting: VecDeque<Job> = {
            let mut state = self.shared.lock();
            let jobs = std::mem::take(&mut state.jobs);
            let (waiting, others) = jobs.into_iter().partition(|job| job.work.target() == Some(id));
            state.jobs = others;
            waiting
        };
        for job in waiting {
            let reply = self.answered_offline(id, &job.work).unwrap_or_else(|| Err(error.clone()));
            self.hand_over(&job, reply);
        }
    }

    /// The caller may have gone meanwhile.
    fn hand_over(&self, job: &Job, reply: Result<Reply, ClientError>) {
        let failed = reply.is_err();
        let delivered = job.slot.deliver(reply);
        if failed || !delivered {
            self.abandon(job);
        }
    }

    /// Nobody will hold the link that a start counted in advance.
    fn abandon(&self, job: &Job) {
        if let Work::Connect { target } = &job.work
            && let Some(target) = self.shared.lock().targets.get_mut(target)
        {
            target.links = target.links.saturating_sub(1);
        }
    }

    /// Finds or makes the target of a start and counts a link for it.
    fn prepare(&mut self, options: &StartOptions) -> Result<TargetId, ClientError> {
        let conf = Conf::find(&options.paths, options.info.is_server)?;
        let settings =
            resolve(options.series, options.connection_string.as_deref(), conf.as_ref())?;
        let pinned = pinned_key(options.series, options.descriptor.as_deref(), &options.paths)?;
        let key = TargetKey { series: options.series, servers: settings.servers, pinned };
        let mut state = self.shared.lock();
        let known = state.targets.iter_mut().find(|(_, target)| target.key == key);
        if let Some((id, target)) = known {
            target.links += 1;
            return Ok(*id);
        }
        if state.targets.len() >= TARGETS_MAX {
            return Err(ClientError::execute(
                format!("Запущено больше {TARGETS_MAX} серий"),
                format!("more than {TARGETS_MAX} series are started"),
            ));
        }
        let id = state.next_target;
        state.next_target += 1;
        let mut target = Target::new(key.clone(), options.info.clone());
        target.links = 1;
        state.targets.insert(id, target);
        let parked = state.parked.remove(&key).unwrap_or_else(|| Parked::at_the_top(&key.servers));
        self.lines.insert(id, Line::new(key, options.info.clone(), parked));
        Ok(id)
    }

    fn is_connected(&self, id: TargetId) -> bool {
        self.lines.get(&id).is_some_and(|line| line.link.is_some())
    }

    /// Whether another server is looked for, because the one in use grants nothing.
    fn is_searching(&self, work: &Work) -> bool {
        let line = work.target().and_then(|id| self.lines.get(&id));
        line.is_some_and(|line| line.link.is_some() && line.detour.is_searching())
    }

    /// No server is in use: what needs none is answered, the rest waits for the walk.
    fn offline_turn(&mut self, id: TargetId, work: &Work) -> Answered {
        if let Some(reply) = self.answered_offline(id, work) {
            return Answered::Reply(reply);
        }
        match self.lines.get(&id) {
            None => Answered::Reply(Err(ClientError::stopping())),
            Some(line) if line.failover.waits_until(system_now()).is_some() => {
                Answered::Reply(Err(line.fruitless_error()))
            }
            Some(_) => Answered::Again,
        }
    }

    /// What can be answered without a server.
    fn answered_offline(
        &mut self,
        id: TargetId,
        work: &Work,
    ) -> Option<Result<Reply, ClientError>> {
        match work {
            Work::Start(_) | Work::Errand(_) => None,
            // Sessions that live on their leases go on working, so the series is started.
            Work::Connect { .. } => {
                let now = self.shared.clock.now();
                let state = self.shared.lock();
                let is_alive = state.targets.get(&id)?.has_live_seat(now);
                is_alive.then_some(Ok(Reply::Started(id)))
            }
            Work::Ask { question: Question::Release { key }, .. } => Some(self.release(id, key)),
            Work::Ask { question: Question::Seat { session, wish, .. }, .. } => {
                self.seat_on_lease(id, session, wish).map(Ok)
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
            } => None,
        }
    }

    fn ask_turn(&mut self, id: TargetId, question: &Question) -> Answered {
        let query = |connection: &str| ConnectionQuery { connection: connection.to_owned() };
        let result = match question {
            Question::Seat { session, wish, language } => {
                return self.open(id, session, wish, *language);
            }
            Question::Counters => {
                self.request::<_, Counters>(id, "counters", query).map(Reply::Counters)
            }
            Question::Server => {
                self.request::<_, ServerSummary>(id, "serverinfo", query).map(Reply::Server)
            }
            Question::Licences { all_series, only_available } => {
                let query = |connection: &str| LicencesQuery {
                    connection: connection.to_owned(),
                    all_series: *all_series,
                    only_available: *only_available,
                };
                self.request::<_, LicencesView>(id, "licences", query)
                    .map(|view| Reply::Licences(view.licences))
            }
            Question::Release { key } => return Answered::Reply(self.release(id, key)),
            Question::Datafile { alias } => self.ask_datafile(id, alias.as_deref()),
            Question::Datapart(query) => self.ask_datapart(id, query),
            Question::ObjectKey { session, object } => {
                self.ask_object_key(id, session.as_deref(), object)
            }
            Question::Operation(asked) => return self.operation_turn(id, asked),
        };
        Answered::Reply(match result {
            Ok(reply) => Ok(reply),
            Err(Trouble::Refused { error, .. }) => Err(error),
            Err(Trouble::Lost | Trouble::Reconnected) => return Answered::Again,
        })
    }

    fn seat_on_lease(&self, id: TargetId, session: &SessionInfo, wish: &Wish) -> Option<Reply> {
        let now = self.shared.clock.now();
        let mut state = self.shared.lock();
        let target = state.targets.get_mut(&id)?;
        let key = SessionKey::of(session);
        let seat = target.live_seat(&key, wish, now)?.seat(now);
        if let Some(held) = target.seats.get_mut(&key) {
            held.touched = true;
        }
        Some(Reply::Seat(seat))
    }

    /// Takes a seat: renews one that the server holds, else opens the session.
    fn open(
        &mut self,
        id: TargetId,
        session: &SessionInfo,
        wish: &Wish,
        language: Language,
    ) -> Answered {
        let key = SessionKey::of(session);
        let asked_at = self.shared.clock.now();
        let known = {
            let state = self.shared.lock();
            let target = state.targets.get(&id);
            target.and_then(|target| target.seats.get(&key)).cloned()
        };
        let is_open = known.as_ref().filter(|held| {
            held.standing == Standing::Open && held.wish == *wish && held.is_alive(asked_at)
        });
        if let Some(held) = is_open {
            let body = |connection: &str| TouchSession {
                connection: connection.to_owned(),
                session: held.id.clone(),
            };
            match self.request::<_, SessionOpened>(id, "touch", body) {
                Ok(answer) => return self.opened(id, key, held.clone(), answer, asked_at),
                Err(Trouble::Lost | Trouble::Reconnected) => return Answered::Again,
                // It has ended there: open it again, below.
                Err(Trouble::Refused { status: 404, .. }) => {}
                Err(Trouble::Refused { error, .. }) if is_passing(&error) => {
                    return Answered::Reply(self.refused(id, &key, wish, asked_at, error));
                }
                Err(Trouble::Refused { error, .. }) => return Answered::Reply(Err(error)),
            }
        }
        let lease = known.as_ref().and_then(|held| held.lease.clone());
        let body = |connection: &str| OpenSession {
            connection: connection.to_owned(),
            session: session.clone(),
            wish: wish.clone(),
            lease: lease.clone(),
            language: Some(code(language).to_owned()),
        };
        let held = || Held {
            session: session.clone(),
            wish: wish.clone(),
            language,
            id: String::new(),
            used_licence: None,
            lease: lease.clone(),
            expires: asked_at,
            touched: false,
            standing: Standing::Open,
            server: String::new(),
        };
        match self.request::<_, SessionOpened>(id, "open", &body) {
            Ok(answer) => self.opened(id, key, held(), answer, asked_at),
            Err(Trouble::Refused { error, .. }) if error.is_refusal(CLUSTER_CUT_OFF) => {
                self.cut_off(id, key, held(), body, asked_at, error)
            }
            Err(Trouble::Lost | Trouble::Reconnected) => Answered::Again,
            // Passes by itself: what is known of the session stays for when it is asked again.
            Err(Trouble::Refused { error, retry_after, .. })
                if error.is_refusal(RECOVERING)
                    && !lives_on_lease(known.as_ref(), wish, asked_at) =>
            {
                Answered::Later(retry_after.unwrap_or(RECOVERING_PAUSE), error)
            }
            Err(Trouble::Refused { error, .. }) => {
                Answered::Reply(self.refused(id, &key, wish, asked_at, error))
            }
        }
    }

    pub(crate) fn opened(
        &self,
        id: TargetId,
        key: SessionKey,
        mut held: Held,
        answer: SessionOpened,
        asked_at: MonoTime,
    ) -> Answered {
        let mut state = self.shared.lock();
        let link = self.lines.get(&id).and_then(|line| line.link.as_ref());
        let (Some(target), Some(link)) = (state.targets.get_mut(&id), link) else {
            return Answered::Reply(Err(ClientError::stopping()));
        };
        held.renew(answer, asked_at, link.channel.server());
        // Renewed this moment: the next heartbeat need not carry it unless it is asked for again.
        held.touched = false;
        let seat = held.seat(self.shared.clock.now());
        target.seats.insert(key, held);
        Answered::Reply(Ok(Reply::Seat(seat)))
    }

    /// The server in use has no seat: a lease from before it was in use is still good.
    pub(crate) fn refused(
        &self,
        id: TargetId,
        key: &SessionKey,
        wish: &Wish,
        now: MonoTime,
        error: ClientError,
    ) -> Result<Reply, ClientError> {
        let mut state = self.shared.lock();
        let Some(target) = state.targets.get_mut(&id) else { return Err(error) };
        let Some(held) = target.seats.get_mut(key) else { return Err(error) };
        match held.standing {
            standing
                if held.wish == *wish
                    && held.is_alive(now)
                    && (is_passing(&error)
                        || matches!(
                            standing,
                            Standing::Former | Standing::Lost | Standing::Refused
                        )) =>
            {
                if standing != Standing::Former {
                    held.standing = Standing::Refused;
                }
                held.touched = true;
                Ok(Reply::Seat(held.seat(now)))
            }
            Standing::Lost | Standing::Refused => Err(error),
            // Asked with another wish, or found to have ended: what the server says holds.
            Standing::Former | Standing::Open if held.wish != *wish => Err(error),
            Standing::Ended | Standing::Former | Standing::Open => {
                target.seats.remove(key);
                Err(error)
            }
        }
    }

    fn release(&mut self, id: TargetId, key: &SessionKey) -> Result<Reply, ClientError> {
        let removed = {
            let mut state = self.shared.lock();
            state.targets.get_mut(&id).and_then(|target| target.seats.remove(key))
        };
        let Some(held) = removed else { return Ok(Reply::Released(false)) };
        let body = |connection: &str| TouchSession {
            connection: connection.to_owned(),
            session: held.id.clone(),
        };
        let result = match held.standing {
            Standing::Open => self.request::<_, IgnoredAny>(id, "close", body),
            Standing::Former => match self.ask_former::<_, IgnoredAny>(id, "close", body) {
                Some(result) => result,
                None => return Ok(Reply::Released(true)),
            },
            // A node of a cluster refuses what is still on its way to it: then it need not keep the seat.
            // Where another server holds it, it expires; so nothing depends on the answer.
            Standing::Refused => {
                self.close_at_spare(id, &held.id);
                drop(self.request::<_, IgnoredAny>(id, "close", body));
                return Ok(Reply::Released(true));
            }
            // No server in use holds it; where it may still be held it expires.
            Standing::Ended | Standing::Lost => return Ok(Reply::Released(true)),
        };
        match result {
            Ok(IgnoredAny) | Err(Trouble::Lost | Trouble::Reconnected) => {}
            Err(Trouble::Refused { status: 404, .. }) => {}
            Err(Trouble::Refused { error, .. }) => return Err(error),
        }
        Ok(Reply::Released(true))
    }
}

/// Whether a node of a cluster refuses what it or another node grants later.
fn is_passing(error: &ClientError) -> bool {
    CLUSTER_PASSING.iter().any(|class| error.is_refusal(class))
}

/// Whether a seat that the server in use does not hold is still good for a wish.
fn lives_on_lease(known: Option<&Held>, wish: &Wish, now: MonoTime) -> bool {
    known.is_some_and(|held| {
        matches!(held.standing, Standing::Former | Standing::Lost | Standing::Refused)
            && held.wish == *wish
            && held.is_alive(now)
    })
}
