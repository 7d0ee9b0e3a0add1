//! Keeping connections and their sessions alive: heartbeats, and opening sessions again at a
//! server that does not know them.
//!
//! One heartbeat carries all sessions of a connection that have a live object or were asked for
//! since the last one, in parts of [`HEARTBEAT_SESSIONS_MAX`]. Many parts, and many sessions to open
//! again, are worked on in turns of [`TURN_BOUND`]; a turn is longer only by its last request. What
//! a failed heartbeat leads to is decided here; callers never see it other than by a seat that is
//! not confirmed.

use std::time::Duration;

use licence_core::protocol::{
    CONNECTION_SECS, HEARTBEAT_SESSIONS_MAX, Heartbeat, HeartbeatAnswer, OpenSession, SessionOpened,
};

use crate::clock::system_now;
use crate::elsewhere::Elsewhere;
use crate::error::code;
use crate::state::{SessionKey, Standing, TargetId};
use crate::worker::{CLUSTER_CUT_OFF, Trouble, Worker};

/// Pause before a heartbeat is repeated that the server answered with an error.
pub(crate) const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// How long one turn goes on beginning requests: heartbeats of other targets and callers, who
/// wait for the same thread, hardly notice it.
const TURN_BOUND: Duration = Duration::from_millis(100);

/// Sessions opened again in one turn, however fast the server is.
const REOPEN_BATCH: usize = 32;

/// A heartbeat of which not every part has been sent.
#[derive(Debug)]
pub(crate) struct BeatInHand {
    /// All sessions of the heartbeat.
    pub(crate) sessions: Vec<(SessionKey, String)>,
    /// How many of them the server has answered.
    sent: usize,
}

impl Worker<'_> {
    /// Beats for the sessions of a target, or goes on with a heartbeat that took more than its turn.
    pub(crate) fn beat(&mut self, id: TargetId) {
        let Some(line) = self.lines.get_mut(&id) else { return };
        if line.in_hand.is_none() {
            let mut state = self.shared.lock();
            let Some(target) = state.targets.get_mut(&id) else { return };
            line.in_hand =
                Some(BeatInHand { sessions: target.take_touched(Standing::Open), sent: 0 });
        }
        let turn_ends = system_now().after(TURN_BOUND);
        while self.beat_part(id) {
            if system_now() >= turn_ends {
                return;
            }
        }
    }

    /// Sends one part; true when another is to be sent. A heartbeat without sessions has one part:
    /// it still renews the connection.
    fn beat_part(&mut self, id: TargetId) -> bool {
        let sent_at = self.shared.clock.now();
        let Some(in_hand) = self.lines.get(&id).and_then(|line| line.in_hand.as_ref()) else {
            return false;
        };
        let left = in_hand.sessions.get(in_hand.sent..).unwrap_or_default();
        let part = left.get(..HEARTBEAT_SESSIONS_MAX).unwrap_or(left).to_vec();
        let ids: Vec<String> = part.iter().map(|(_, id)| id.clone()).collect();
        let body = |connection: &str| Heartbeat {
            connection: connection.to_owned(),
            sessions: ids.clone(),
        };
        let answer: HeartbeatAnswer = match self.request(id, "heartbeat", body) {
            Ok(answer) => answer,
            Err(trouble) => {
                self.missed(id, trouble);
                return false;
            }
        };
        let Some(line) = self.lines.get_mut(&id) else { return false };
        let Some(link) = line.link.as_mut() else { return false };
        link.next_beat = sent_at.after(link.beat);
        link.beaten_at = sent_at;
        if let Some(target) = self.shared.lock().targets.get_mut(&id) {
            target.renewed(&part, sent_at, link.lives, answer);
        }
        if let Some(in_hand) = &mut line.in_hand {
            in_hand.sent = in_hand.sent.saturating_add(part.len());
            if in_hand.sent < in_hand.sessions.len() {
                return true;
            }
        }
        line.in_hand = None;
        self.drop_idle_spare(id);
        self.retry_refused(id);
        false
    }

    /// A heartbeat did not get through. When the server was lost or the connection is another, the
    /// sessions count as touched again already.
    fn missed(&mut self, id: TargetId, trouble: Trouble) {
        let Trouble::Refused { error, .. } = trouble else { return };
        let now = self.shared.clock.now();
        let Some(line) = self.lines.get_mut(&id) else { return };
        let in_hand = line.in_hand.take();
        if let Some(target) = self.shared.lock().targets.get_mut(&id) {
            target.put_back(in_hand);
        }
        let Some(link) = line.link.as_mut() else { return };
        log::warn!("series {}: heartbeat refused: {error}", line.key.series);
        link.next_beat = now.after(RETRY_PAUSE.min(link.beat));
        if now.since(link.beaten_at) >= Duration::from_secs(CONNECTION_SECS) {
            // By its own rules the server has forgotten this connection.
            self.lose(id);
        }
    }

    /// Has sessions that no server holds asked for again.
    pub(crate) fn retry_refused(&mut self, id: TargetId) {
        let now = self.shared.clock.now();
        let state = self.shared.lock();
        if let (Some(target), Some(line)) = (state.targets.get(&id), self.lines.get_mut(&id))
            && line.reopen.is_empty()
        {
            line.reopen = target.to_reopen(now);
        }
    }

    /// Opens some sessions again at the server in use, with their leases.
    pub(crate) fn reopen(&mut self, id: TargetId) {
        let turn_ends = system_now().after(TURN_BOUND);
        for begun in 0..REOPEN_BATCH {
            if begun > 0 && system_now() >= turn_ends {
                return;
            }
            let Some(line) = self.lines.get_mut(&id) else { return };
            let Some(key) = line.reopen.pop_front() else { return };
            let asked_at = self.shared.clock.now();
            let held = {
                let state = self.shared.lock();
                let Some(target) = state.targets.get(&id) else { return };
                target.seats.get(&key).cloned()
            };
            let Some(held) = held.filter(|held| {
                matches!(held.standing, Standing::Lost | Standing::Refused)
                    && held.is_alive(asked_at)
            }) else {
                continue;
            };
            let body = |connection: &str| OpenSession {
                connection: connection.to_owned(),
                session: held.session.clone(),
                wish: held.wish.clone(),
                lease: held.lease.clone(),
                language: Some(code(held.language).to_owned()),
            };
            let mut result: Result<SessionOpened, Trouble> = self.request(id, "open", body);
            if let Err(Trouble::Refused { error, .. }) = &result
                && error.is_refusal(CLUSTER_CUT_OFF)
                && let Elsewhere::Granted(answer) = self.open_elsewhere(id, body)
            {
                result = Ok(answer);
            }
            let Some(link) = self.lines.get(&id).and_then(|line| line.link.as_ref()) else {
                return;
            };
            let mut state = self.shared.lock();
            let Some(target) = state.targets.get_mut(&id) else { return };
            let Some(held) = target.seats.get_mut(&key) else { continue };
            match result {
                Ok(answer) => held.renew(answer, asked_at, link.channel.server()),
                Err(Trouble::Refused { error, .. }) => {
                    log::warn!("session {}: lives on its lease: {error}", held.id);
                    held.standing = Standing::Refused;
                }
                // The list was made anew.
                Err(Trouble::Lost | Trouble::Reconnected) => return,
            }
        }
    }
}
