//! Keeping connections and their sessions alive: heartbeats, and opening sessions again at a
//! server that does not know them.
//!
//! One heartbeat carries all sessions of a connection that have a live object or were asked for
//! since the last one. What a failed heartbeat leads to is decided here; callers never see it
//! other than by a seat that is not confirmed.

use std::time::Duration;

use licence_core::failover::TRY_BOUND;
use licence_core::protocol::{
    CONNECTION_SECS, HEARTBEAT_SESSIONS_MAX, Heartbeat, HeartbeatAnswer, OpenSession, SessionOpened,
};

use crate::clock::system_now;
use crate::error::code;
use crate::state::{SessionKey, Standing, TargetId};
use crate::worker::{Trouble, Worker};

/// Pause before a heartbeat is repeated that the server answered with an error.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Sessions opened again in one turn: some milliseconds' work, after which heartbeats and callers
/// have their turn.
const REOPEN_BATCH: usize = 32;

impl Worker<'_> {
    /// Beats once for all sessions of a target.
    pub(crate) fn beat(&mut self, id: TargetId) {
        let sent_at = self.shared.clock.now();
        let sessions = {
            let mut state = self.shared.lock();
            let Some(target) = state.targets.get_mut(&id) else { return };
            target.take_touched()
        };
        // A heartbeat without sessions still renews the connection.
        let parts = sessions
            .chunks(HEARTBEAT_SESSIONS_MAX)
            .chain(sessions.is_empty().then_some(&[] as &[(SessionKey, String)]));
        for part in parts {
            let ids: Vec<String> = part.iter().map(|(_, id)| id.clone()).collect();
            let body = |connection: &str| Heartbeat {
                connection: connection.to_owned(),
                sessions: ids.clone(),
            };
            let deadline = system_now().after(TRY_BOUND);
            let answer: HeartbeatAnswer = match self.request(id, "heartbeat", body, deadline) {
                Ok(answer) => answer,
                Err(trouble) => return self.missed(id, &sessions, trouble),
            };
            let Some(link) = self.lines.get_mut(&id).and_then(|line| line.link.as_mut()) else {
                return;
            };
            link.next_beat = sent_at.after(link.beat);
            link.beaten_at = sent_at;
            let lives = link.lives;
            if let Some(target) = self.shared.lock().targets.get_mut(&id) {
                target.renewed(part, sent_at, lives, answer);
            }
        }
        self.retry_refused(id);
    }

    /// A heartbeat did not get through.
    fn missed(&mut self, id: TargetId, sessions: &[(SessionKey, String)], trouble: Trouble) {
        let now = self.shared.clock.now();
        let mut state = self.shared.lock();
        let Some(target) = state.targets.get_mut(&id) else { return };
        target.mark_touched(sessions);
        let Some(line) = self.lines.get_mut(&id) else { return };
        match trouble {
            Trouble::Lost => {}
            // Those of this heartbeat count as touched again, so they are opened again too.
            Trouble::Reconnected => line.reopen = target.to_reopen(now),
            Trouble::Refused { error, .. } => {
                drop(state);
                let Some(link) = line.link.as_mut() else { return };
                log::warn!("series {}: heartbeat refused: {error}", line.key.series);
                link.next_beat = now.after(RETRY_PAUSE.min(link.beat));
                if now.since(link.beaten_at) >= Duration::from_secs(CONNECTION_SECS) {
                    // By its own rules the server has forgotten this connection.
                    self.lose(id);
                }
            }
        }
    }

    fn retry_refused(&mut self, id: TargetId) {
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
        for _ in 0..REOPEN_BATCH {
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
            let deadline = system_now().after(TRY_BOUND);
            let result: Result<SessionOpened, Trouble> = self.request(id, "open", body, deadline);
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
