//! What time brings about: expired connections and sessions, terms that begin and end, and the
//! high-water mark of the calendar.

use super::{Effect, LicenceService, UTC_RECORD_MILLIS};
use crate::journal::Record;
use crate::session::EndReason;
use crate::time::{MonoTime, Now, Utc};

impl LicenceService {
    /// The moment by which terms are judged: the calendar, but never before the latest moment ever
    /// seen and the time that has passed since by the monotonic clock. A clock set back neither
    /// prolongs a term nor stops it.
    pub fn utc(&self, now: Now) -> Utc {
        self.utc_high.map_or(now.utc, |(high, at)| high.after(now.mono.since(at)).max(now.utc))
    }

    /// How far the calendar lies behind the latest moment seen, in milliseconds; 0 when it does
    /// not.
    pub fn clock_set_back_millis(&self, now: Now) -> i64 {
        self.utc(now).unix_millis() - now.utc.unix_millis()
    }

    pub(super) fn advance(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.note_utc(now, effects);
        let utc = self.utc(now);
        if self.pool.next_change().is_some_and(|at| at <= utc) {
            self.pool.refresh(utc);
            self.settle(now, effects);
        }
        self.expire_connections(now, effects);
        self.expire_sessions(now, effects);
        self.note_standing_use(now, effects);
    }

    pub(super) fn note_utc(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let utc = self.utc(now);
        self.utc_high = Some((utc, now.mono));
        let due = self
            .utc_recorded
            .is_none_or(|recorded| utc.unix_millis() - recorded.unix_millis() >= UTC_RECORD_MILLIS);
        if due {
            self.utc_recorded = Some(utc);
            effects.push(Effect::Persist(Record::UtcSeen(utc)));
        }
    }

    fn expire_connections(&mut self, now: Now, effects: &mut Vec<Effect>) {
        while let Some(&(at, id)) = self.connection_expiry.first() {
            if at > now.mono {
                break;
            }
            let life = self.config.connection_life;
            match self.connections.get_mut(&id) {
                Some(connection) if connection.last_used_mono.after(life) > now.mono => {
                    self.connection_expiry.remove(&(at, id));
                    connection.looked_at = connection.last_used_mono.after(life);
                    self.connection_expiry.insert((connection.looked_at, id));
                }
                _ => self.end_connection(id, EndReason::Expired, now, effects),
            }
            debug_assert!(!self.connection_expiry.contains(&(at, id)), "an entry was not moved");
        }
    }

    fn expire_sessions(&mut self, now: Now, effects: &mut Vec<Effect>) {
        while let Some(&(at, id)) = self.session_expiry.first() {
            if at > now.mono {
                break;
            }
            let life = self.config.session_life;
            match self.sessions.get_mut(&id) {
                Some(session) if session.touched.after(life) > now.mono => {
                    self.session_expiry.remove(&(at, id));
                    session.looked_at = session.touched.after(life);
                    self.session_expiry.insert((session.looked_at, id));
                }
                _ => {
                    self.end_session(id, EndReason::Expired, now, effects);
                }
            }
            debug_assert!(!self.session_expiry.contains(&(at, id)), "an entry was not moved");
        }
    }

    /// When a session ends unless it is touched.
    pub fn session_ends(&self, touched: MonoTime) -> MonoTime {
        touched.after(self.config.session_life)
    }

    /// When a connection ends unless it is used.
    pub fn connection_ends(&self, last_used: MonoTime) -> MonoTime {
        last_used.after(self.config.connection_life)
    }
}
