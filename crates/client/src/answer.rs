//! Answering the jobs of callers.
//!
//! A job whose target has no server takes one step of the walk per turn and goes back into the
//! queue, so that heartbeats of other targets are not late. Every job ends: with its answer, with
//! the error of a fruitless walk, or because its caller stopped waiting.

use licence_core::failover::Failover;
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
use crate::pin::pinned_key;
use crate::state::{
    Held, Job, Question, Reply, SessionKey, Standing, TARGETS_MAX, Target, TargetId, TargetKey,
    Work,
};
use crate::worker::{Line, Trouble, Walked, Worker};

/// Most turns of one job that were spoilt by a server that was lost or had forgotten the
/// connection. More than this many in ten seconds is no network but a fault.
const ROUNDS_MAX: u32 = 50;

/// What a question brought.
enum Answered {
    /// Ask again: another server, or another connection, is there or sought.
    Again,
    Reply(Result<Reply, ClientError>),
}

impl Worker<'_> {
    /// Works on a job for one turn.
    pub(crate) fn answer(&mut self, mut job: Job) {
        if job.deadline <= system_now() {
            self.abandon(&job);
            return;
        }
        job.rounds += 1;
        if let Work::Start(options) = &job.work {
            match self.prepare(options) {
                Ok(target) => {
                    if let Some(line) = self.lines.get_mut(&target) {
                        // A person is waiting: do not sit a pause out.
                        line.failover.hurry();
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
        let reply = match &job.work {
            Work::Start(_) => return,
            Work::Connect { target } => self.connect_turn(*target),
            Work::Ask { target, question } => self.ask_turn(*target, question, job.deadline),
        };
        match reply {
            Answered::Again if job.rounds < ROUNDS_MAX => {
                self.shared.lock().jobs.push_back(job);
            }
            Answered::Again => {
                self.abandon(&job);
                job.slot.deliver(Err(ClientError::execute(
                    "Сервер не удерживает соединение",
                    "the server does not keep the connection",
                )));
            }
            Answered::Reply(reply) => {
                let failed = reply.is_err();
                let delivered = job.slot.deliver(reply);
                if failed || !delivered {
                    self.abandon(&job);
                }
            }
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
        let failover =
            state.parked.remove(&key).unwrap_or_else(|| Failover::new(key.servers.clone()));
        self.lines.insert(id, Line::new(key, options.info.clone(), failover));
        Ok(id)
    }

    fn is_connected(&self, id: TargetId) -> bool {
        self.lines.get(&id).is_some_and(|line| line.link.is_some())
    }

    fn connect_turn(&mut self, id: TargetId) -> Answered {
        if self.is_connected(id) {
            return Answered::Reply(Ok(Reply::Started(id)));
        }
        match self.walk(id) {
            Walked::Connected => Answered::Reply(Ok(Reply::Started(id))),
            Walked::Fruitless(error) => Answered::Reply(Err(error)),
            Walked::Trying => Answered::Again,
        }
    }

    fn ask_turn(&mut self, id: TargetId, question: &Question, deadline: MonoTime) -> Answered {
        if let Question::Release { key } = question {
            return Answered::Reply(self.release(id, key, deadline));
        }
        if !self.is_connected(id) {
            // A session that has a lease lives on it; only others wait for a server.
            if let Question::Seat { session, wish, .. } = question
                && let Some(seat) = self.seat_on_lease(id, session, wish)
            {
                return Answered::Reply(Ok(seat));
            }
            return match self.walk(id) {
                Walked::Fruitless(error) => Answered::Reply(Err(error)),
                Walked::Connected | Walked::Trying => Answered::Again,
            };
        }
        let query = |connection: &str| ConnectionQuery { connection: connection.to_owned() };
        let result = match question {
            Question::Seat { session, wish, language } => {
                return self.open(id, session, wish, *language, deadline);
            }
            Question::Counters => {
                self.request::<_, Counters>(id, "counters", query, deadline).map(Reply::Counters)
            }
            Question::Server => self
                .request::<_, ServerSummary>(id, "serverinfo", query, deadline)
                .map(Reply::Server),
            Question::Licences { all_series, only_available } => {
                let query = |connection: &str| LicencesQuery {
                    connection: connection.to_owned(),
                    all_series: *all_series,
                    only_available: *only_available,
                };
                self.request::<_, LicencesView>(id, "licences", query, deadline)
                    .map(|view| Reply::Licences(view.licences))
            }
            Question::Release { .. } => return Answered::Again,
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
        let held = state.targets.get_mut(&id)?.seats.get_mut(&SessionKey::of(session))?;
        if held.wish != *wish || !held.is_alive(now) || held.standing == Standing::Ended {
            return None;
        }
        held.touched = true;
        Some(Reply::Seat(held.seat(now)))
    }

    /// Takes a seat: renews one that the server holds, else opens the session.
    fn open(
        &mut self,
        id: TargetId,
        session: &SessionInfo,
        wish: &Wish,
        language: Language,
        deadline: MonoTime,
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
            match self.request::<_, SessionOpened>(id, "touch", body, deadline) {
                Ok(answer) => return self.opened(id, key, held.clone(), answer, asked_at),
                Err(Trouble::Lost | Trouble::Reconnected) => return Answered::Again,
                // It has ended there: open it again, below.
                Err(Trouble::Refused { status: 404, .. }) => {}
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
        match self.request::<_, SessionOpened>(id, "open", body, deadline) {
            Ok(answer) => {
                let held = Held {
                    session: session.clone(),
                    wish: wish.clone(),
                    language,
                    id: String::new(),
                    used_licence: None,
                    lease,
                    expires: asked_at,
                    touched: false,
                    standing: Standing::Open,
                    server: String::new(),
                };
                self.opened(id, key, held, answer, asked_at)
            }
            Err(Trouble::Lost | Trouble::Reconnected) => Answered::Again,
            Err(Trouble::Refused { error, .. }) => {
                Answered::Reply(self.refused(id, &key, wish, asked_at, error))
            }
        }
    }

    fn opened(
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
    fn refused(
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
            Standing::Lost | Standing::Refused if held.wish == *wish && held.is_alive(now) => {
                held.standing = Standing::Refused;
                held.touched = true;
                Ok(Reply::Seat(held.seat(now)))
            }
            Standing::Lost | Standing::Refused => Err(error),
            // Asked with another wish, or found to have ended: what the server says holds.
            Standing::Open if held.wish != *wish => Err(error),
            Standing::Ended | Standing::Open => {
                target.seats.remove(key);
                Err(error)
            }
        }
    }

    fn release(
        &mut self,
        id: TargetId,
        key: &SessionKey,
        deadline: MonoTime,
    ) -> Result<Reply, ClientError> {
        let removed = {
            let mut state = self.shared.lock();
            state.targets.get_mut(&id).and_then(|target| target.seats.remove(key))
        };
        let Some(held) = removed else { return Ok(Reply::Released(false)) };
        if held.standing != Standing::Open {
            // No server in use holds it; where it may still be held it expires.
            return Ok(Reply::Released(true));
        }
        let body = |connection: &str| TouchSession {
            connection: connection.to_owned(),
            session: held.id.clone(),
        };
        match self.request::<_, IgnoredAny>(id, "close", body, deadline) {
            Ok(IgnoredAny) | Err(Trouble::Lost | Trouble::Reconnected) => {}
            Err(Trouble::Refused { status: 404, .. }) => {}
            Err(Trouble::Refused { error, .. }) => return Err(error),
        }
        Ok(Reply::Released(true))
    }
}
