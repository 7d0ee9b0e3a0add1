//! What time brings about: expired connections and sessions, terms that begin and end, and the
//! record of the calendar.

use super::{Effect, LicenceService, UTC_RECORD_MILLIS};
use crate::journal::Record;
use crate::session::EndReason;
use crate::time::term_clock::Doubt;
use crate::time::{MonoTime, Now, Utc};

impl LicenceService {
    /// The moment by which terms are judged; see [`term_clock`](crate::time::term_clock). A clock set
    /// back neither prolongs a term nor stops it, and one that has jumped ahead does not end it.
    pub fn utc(&self, now: Now) -> Utc {
        self.term_clock.at(now)
    }

    /// The jump of the clock that is not believed, if there is one.
    pub fn clock_doubt(&self, now: Now) -> Option<Doubt> {
        let mut looked = self.term_clock;
        looked.see(now);
        looked.doubt()
    }

    /// How far the clock lies behind the moment by which terms are judged, in milliseconds; 0 when
    /// it is that moment, and less when the clock has jumped ahead and is doubted.
    pub fn clock_set_back_millis(&self, now: Now) -> i64 {
        self.utc(now).unix_millis() - now.utc.unix_millis()
    }

    pub(super) fn advance(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.note_utc(now, effects);
        // Before anything that may give out a seat.
        self.advance_cluster(now);
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
        let utc = self.term_clock.see(now);
        let doubt = self.term_clock.doubt();
        let is_other_doubt = match (doubt, self.doubt_recorded) {
            (Some(doubt), Some(recorded)) => !doubt.is_same(&recorded),
            (doubt, recorded) => doubt.is_some() != recorded.is_some(),
        };
        let due = self
            .utc_recorded
            .is_none_or(|recorded| utc.unix_millis() - recorded.unix_millis() >= UTC_RECORD_MILLIS);
        // A doubt is about the moment that is believed, so the two are recorded together.
        if due || is_other_doubt {
            self.utc_recorded = Some(utc);
            effects.push(Effect::Persist(Record::UtcSeen(utc)));
            if doubt != self.doubt_recorded {
                self.doubt_recorded = doubt;
                effects.push(Effect::Persist(Record::ClockDoubted(doubt)));
            }
        }
    }

    /// Somebody whose signature counts has said that the calendar has reached `at`.
    pub(super) fn prove_utc(&mut self, at: Utc, now: Now, effects: &mut Vec<Effect>) {
        self.term_clock.prove(at, now);
        self.advance(now, effects);
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
