//! A server that answers and grants nothing, because it is cut off from its cluster: what it refuses
//! is asked of another one.
//!
//! [`licence_core::detour`] decides whom to ask and when. The *spare* is a server that answers and was
//! asked because of that; the first session that it grants makes it the server in use. The one that is
//! left is the *former*: it goes on renewing its sessions for as long as it will, so that a move throws
//! nobody out and carries no seat about that nobody asked for. A session that it lets go of is opened
//! again at the server in use with its lease. Without a grant nothing is left and nothing moves.

use std::sync::Arc;
use std::time::Duration;

use licence_core::failover::TRY_BOUND;
use licence_core::protocol::{
    CONNECTION_SECS, HEARTBEAT_SESSIONS_MAX, Heartbeat, HeartbeatAnswer, OpenSession, SessionOpened,
};
use licence_core::time::MonoTime;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::answer::Answered;
use crate::clock::system_now;
use crate::error::ClientError;
use crate::heart::RETRY_PAUSE;
use crate::http::CallError;
use crate::net::Budget;
use crate::state::{Held, SessionKey, Standing, TargetId};
use crate::worker::{
    CLUSTER_CUT_OFF, Connection, DISCONNECT_BOUND, Line, RECOVERING, Trouble, Worker, cannot_serve,
    connect,
};

/// A spare that nobody asked for so long is let go of: its server forgets the connection after
/// [`CONNECTION_SECS`].
const SPARE_HOLDS: Duration = Duration::from_secs(15);

/// How long after it gave a ticket for a change a server is not left: a caller that still waits
/// shows the ticket sooner, and another server would not know it.
const TICKET_HOLDS: Duration = Duration::from_secs(5);

/// Class of the refusal of a server that has forgotten the connection.
const UNKNOWN: &str = "EConnectionNotFound";

/// A server that may grant what the one in use does not.
pub(crate) struct Spare {
    pub(crate) connection: Connection,
    /// When it was last asked, by the client's clock.
    used_at: MonoTime,
}

/// What asking elsewhere brought.
pub(crate) enum Elsewhere {
    /// The spare granted it and is in use from here on.
    Granted(SessionOpened),
    /// There is nobody to ask, or it is too early to look again.
    Nowhere,
    /// The spare is in touch with its cluster, and refused.
    Refused(ClientError),
    /// A server is being looked for.
    Sought,
}

impl Line {
    /// Whether somebody waits for a change that the server in use has begun.
    fn has_begun_change(&self, system: MonoTime) -> bool {
        self.ticket_at.is_some_and(|at| system.since(at) < TICKET_HOLDS)
    }
}

impl Worker<'_> {
    /// The server in use, cut off from its cluster, refused to open `held` with `error`.
    pub(crate) fn cut_off(
        &mut self,
        id: TargetId,
        key: SessionKey,
        held: Held,
        body: impl Fn(&str) -> OpenSession,
        asked_at: MonoTime,
        error: ClientError,
    ) -> Answered {
        let elsewhere = self.open_elsewhere(id, body);
        if let Elsewhere::Granted(answer) = elsewhere {
            return self.opened(id, key, held, answer, asked_at);
        }
        let lives = {
            let state = self.shared.lock();
            let known = state.targets.get(&id).and_then(|target| target.seats.get(&key));
            known.is_some_and(|known| known.wish == held.wish && known.is_alive(asked_at))
        };
        match elsewhere {
            Elsewhere::Sought if !lives => Answered::Elsewhere(error),
            // Of two refusals the one by a server in touch with the cluster says more.
            Elsewhere::Refused(theirs) if !lives => Answered::Reply(Err(theirs)),
            Elsewhere::Granted(_)
            | Elsewhere::Nowhere
            | Elsewhere::Refused(_)
            | Elsewhere::Sought => {
                Answered::Reply(self.refused(id, &key, &held.wish, asked_at, error))
            }
        }
    }

    /// Asks the spare to open a session that the server in use, cut off, refused; without a spare
    /// has one looked for.
    pub(crate) fn open_elsewhere(
        &mut self,
        id: TargetId,
        body: impl Fn(&str) -> OpenSession,
    ) -> Elsewhere {
        let (now, system) = (self.shared.clock.now(), system_now());
        self.drop_idle_spare(id);
        let Some(line) = self.lines.get_mut(&id) else { return Elsewhere::Nowhere };
        if line.has_begun_change(system) || !line.detour.begin(&line.failover, system) {
            return Elsewhere::Nowhere;
        }
        let Some(Spare { connection, used_at }) = &mut line.spare else {
            return Elsewhere::Sought;
        };
        let budget = Budget::new(system.after(TRY_BOUND), Some(Arc::clone(&self.shared.stop)));
        connection.channel.language = line.language;
        let error = match connection.channel.post("open", &body(&connection.id), &budget) {
            Ok(answer) => {
                self.move_to_spare(id);
                return Elsewhere::Granted(answer);
            }
            Err(CallError::Refused { status, exception, error, .. })
                if !grants_nobody(status, &exception) =>
            {
                *used_at = now;
                return Elsewhere::Refused(error);
            }
            Err(CallError::Refused { error, .. }) => error.to_string(),
            Err(CallError::Broken { why, .. }) => why.to_string(),
        };
        let server = connection.channel.server().clone();
        log::warn!("series {}: {server} grants nothing either: {error}", line.key.series);
        line.spare = None;
        line.detour.handle_failure(&server, system_now());
        if line.detour.is_searching() { Elsewhere::Sought } else { Elsewhere::Nowhere }
    }

    /// One step of the search for a spare: at most one attempt at one server.
    pub(crate) fn search(&mut self, id: TargetId) {
        let Some(line) = self.lines.get_mut(&id) else { return };
        let begun_at = system_now();
        line.walked_at = begun_at;
        let Some((server, give_up_at)) = line.detour.poll(begun_at) else { return };
        let budget = Budget::new(give_up_at, Some(Arc::clone(&self.shared.stop)));
        let now = self.shared.clock.now();
        match connect(self.shared, line, &server, &budget, now) {
            Ok(connection) => {
                log::info!("series {}: {server} is asked instead", line.key.series);
                line.detour.handle_answer(&server);
                line.spare = Some(Spare { connection, used_at: now });
                self.retry_refused(id);
            }
            Err(error) => {
                log::warn!("series {}: {error}", line.key.series);
                line.detour.handle_failure(&server, system_now());
            }
        }
    }

    /// The spare may have refused a session whose seat is on its way there.
    pub(crate) fn close_at_spare(&mut self, id: TargetId, session: &str) {
        let spare = self.lines.get_mut(&id).and_then(|line| line.spare.as_mut());
        if let Some(spare) = spare {
            spare.connection.close(session, &brief());
        }
    }

    /// The spare is in use from here on, and the server that was is the former.
    fn move_to_spare(&mut self, id: TargetId) {
        self.lose_former(id);
        let now = self.shared.clock.now();
        let Some(line) = self.lines.get_mut(&id) else { return };
        let Some(Spare { mut connection, .. }) = line.spare.take() else { return };
        let server = connection.channel.server().clone();
        log::info!(
            "series {}: goes on at {server}, the server in use grants nothing",
            line.key.series
        );
        connection.beaten_at = now;
        line.detour.handle_move(system_now());
        line.failover.handle_answer(&server);
        line.former = line.link.replace(connection);
        let in_hand = line.in_hand.take();
        if let Some(target) = self.shared.lock().targets.get_mut(&id) {
            target.put_back(in_hand);
            target.leave_server(server);
            line.reopen = target.to_reopen(now);
        }
    }

    /// Lets go of a spare that nobody asked for a while.
    pub(crate) fn drop_idle_spare(&mut self, id: TargetId) {
        let now = self.shared.clock.now();
        let Some(line) = self.lines.get_mut(&id) else { return };
        let is_idle = |spare: &mut Spare| now.since(spare.used_at) >= SPARE_HOLDS;
        if let Some(Spare { mut connection, .. }) = line.spare.take_if(is_idle) {
            line.detour.cancel();
            connection.say_goodbye(false, &brief());
        }
    }

    /// Beats for the sessions that the former server holds; lets go of it when there are none.
    pub(crate) fn beat_former(&mut self, id: TargetId) {
        let sent_at = self.shared.clock.now();
        let Some(line) = self.lines.get_mut(&id) else { return };
        let Some(former) = line.former.as_mut() else { return };
        former.next_beat = sent_at.after(former.beat);
        let taken = {
            let mut state = self.shared.lock();
            let target = state.targets.get_mut(&id);
            target.and_then(|target| {
                target.has(Standing::Former).then(|| target.take_touched(Standing::Former))
            })
        };
        let Some(sessions) = taken else {
            if let Some(mut former) = line.former.take() {
                former.say_goodbye(false, &brief());
            }
            return;
        };
        // All parts in one turn: 5000 sessions go into one. Without sessions it still renews the
        // connection.
        let mut left = sessions.as_slice();
        loop {
            let (part, rest) = left.split_at(left.len().min(HEARTBEAT_SESSIONS_MAX));
            let body = Heartbeat {
                connection: former.id.clone(),
                sessions: part.iter().map(|(_, id)| id.clone()).collect(),
            };
            let until = system_now().after(TRY_BOUND);
            let budget = Budget::new(until, Some(Arc::clone(&self.shared.stop)));
            let result: Result<HeartbeatAnswer, _> =
                former.channel.post("heartbeat", &body, &budget);
            let mut state = self.shared.lock();
            let Some(target) = state.targets.get_mut(&id) else { return };
            match result {
                Ok(answer) => {
                    former.beaten_at = sent_at;
                    target.renewed(part, sent_at, former.lives, answer);
                }
                Err(CallError::Refused { status, exception, error, .. })
                    if exception != UNKNOWN
                        && !cannot_serve(status, &exception)
                        && sent_at.since(former.beaten_at)
                            < Duration::from_secs(CONNECTION_SECS) =>
                {
                    log::warn!("series {}: heartbeat refused: {error}", line.key.series);
                    target.mark_touched(left);
                    former.next_beat = sent_at.after(RETRY_PAUSE.min(former.beat));
                    return;
                }
                Err(_) => {
                    target.mark_touched(left);
                    drop(state);
                    log::warn!("series {}: the former server is lost", line.key.series);
                    self.lose_former(id);
                    break;
                }
            }
            if rest.is_empty() {
                break;
            }
            left = rest;
        }
        self.retry_refused(id);
    }

    /// Gives the former server up: its sessions live on their leases.
    pub(crate) fn lose_former(&mut self, id: TargetId) {
        let Some(line) = self.lines.get_mut(&id) else { return };
        line.former = None;
        if let Some(target) = self.shared.lock().targets.get_mut(&id) {
            target.lose_former();
        }
    }

    /// Whether the former server holds the session that has this id.
    pub(crate) fn is_at_former(&self, id: TargetId, session: &str) -> bool {
        self.shared.lock().targets.get(&id).is_some_and(|target| {
            let mut seats = target.seats.values();
            seats.any(|held| held.standing == Standing::Former && held.id == session)
        })
    }

    /// Asks the former server about a session that it holds. Nothing when it is lost: the server in
    /// use is to be asked, and knows the session once it was opened again.
    pub(crate) fn ask_former<B: Serialize, A: DeserializeOwned>(
        &mut self,
        id: TargetId,
        name: &str,
        body: impl Fn(&str) -> B,
    ) -> Option<Result<A, Trouble>> {
        let line = self.lines.get_mut(&id)?;
        let former = line.former.as_mut()?;
        let budget =
            Budget::new(system_now().after(TRY_BOUND), Some(Arc::clone(&self.shared.stop)));
        former.channel.language = line.language;
        match former.channel.post(name, &body(&former.id), &budget) {
            Ok(answer) => Some(Ok(answer)),
            Err(CallError::Refused { status, exception, retry_after, error })
                if exception != UNKNOWN && !cannot_serve(status, &exception) =>
            {
                Some(Err(Trouble::Refused { status, retry_after, error }))
            }
            Err(CallError::Refused { .. } | CallError::Broken { .. }) => {
                log::warn!("series {}: the former server is lost", line.key.series);
                self.lose_former(id);
                self.retry_refused(id);
                None
            }
        }
    }
}

/// Whether a refusal says that this server has nothing for anybody at present.
fn grants_nobody(status: u16, exception: &str) -> bool {
    [CLUSTER_CUT_OFF, UNKNOWN, "EHTTPServiceUnavailable", "ELimit", RECOVERING].contains(&exception)
        || cannot_serve(status, exception)
}

/// What a goodbye may cost.
pub(crate) fn brief() -> Budget {
    Budget::new(system_now().after(DISCONNECT_BOUND), None)
}
