//! Opening a session: finding it again, choosing the key whose seat it takes, refusing it.

use super::connections::too_long;
use super::holders::Holder;
use super::{Effect, Grant, LicenceService, SESSIONS_MAX, TEXT_BYTES_TOTAL_MAX};
use crate::journal::{Record, SavedSession};
use crate::key::{KeyNo, KeySeries};
use crate::lease_token::LeaseClaims;
use crate::pool::PoolRefusal;
use crate::protocol::{CODE_BYTES_MAX, NAME_BYTES_MAX, SessionInfo, TEXT_BYTES_MAX, Wish};
use crate::refusal::Refusal;
use crate::session::{ConnectionId, EndReason, Session, SessionId, SessionKey};
use crate::time::Now;

pub(super) struct Asked {
    pub(super) id: SessionId,
    pub(super) connection: ConnectionId,
    pub(super) info: SessionInfo,
    pub(super) wish: Wish,
    pub(super) lease: Option<LeaseClaims>,
}

impl LicenceService {
    pub(super) fn open(
        &mut self,
        mut asked: Asked,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<Grant, Refusal> {
        let series =
            self.use_connection(asked.connection, now).ok_or(Refusal::ConnectionNotFound)?;
        if !self.config.access_codes {
            asked.wish.access_code = None;
        }
        if asked.info.computer_name.trim().is_empty()
            && let Some(connection) = self.connections.get(&asked.connection)
        {
            // In file mode the computer decides who shares a seat; a session that does not name
            // it runs where its component runs.
            asked.info.computer_name.clone_from(&connection.info.computer_name);
        }
        if let Some(refusal) = invalid_session(&asked.info, &asked.wish) {
            return Err(refusal);
        }
        let key = SessionKey::new(series, &asked.info);
        let fitting = match self.pool.fitting(series, &asked.wish) {
            Ok(fitting) => fitting,
            Err(refusal) => {
                return Err(self.deny(series, asked.info, refusal, &[], now, effects));
            }
        };
        if let Some(&known) = self.by_key.get(&key) {
            let keeps = self.sessions.get(&known).is_some_and(|session| {
                session.wish.presence_only == asked.wish.presence_only
                    && session.key_no.is_none_or(|key_no| fitting.contains(&key_no))
            });
            if keeps
                && let Some(grant) =
                    self.renew(known, asked.connection, Some(asked.wish.clone()), now, effects)
            {
                // Whoever opens again has lost its token: it gets one.
                return Ok(Grant { with_token: grant.key_no.is_some(), ..grant });
            }
        }
        if self.sessions.len() >= SESSIONS_MAX {
            return Err(Refusal::Limit { max: SESSIONS_MAX });
        }
        if self.text_bytes + session_bytes(&asked.info, &asked.wish) > TEXT_BYTES_TOTAL_MAX {
            return Err(Refusal::Limit { max: TEXT_BYTES_TOTAL_MAX });
        }
        let id = self.id_for(&asked, series);
        let key_no = if asked.wish.presence_only {
            None
        } else {
            match self.seat_for(&asked, series, &fitting) {
                Ok(key_no) => Some(key_no),
                Err(refusal) => {
                    return Err(self.deny(series, asked.info, refusal, &fitting, now, effects));
                }
            }
        };
        if let Some(&known) = self.by_key.get(&key) {
            // The session asks for another key than it holds, and gets one: the old seat goes.
            self.end_session(known, EndReason::Released, now, effects);
        }
        let saved = SavedSession {
            series,
            connection: asked.connection,
            info: asked.info,
            wish: asked.wish,
            key_no,
            opened: now.utc,
        };
        self.add_session(id, saved.clone(), now);
        effects.push(Effect::Persist(Record::SessionOpened { id, session: saved }));
        self.note_peak(series, now, effects);
        self.grant(id, true).ok_or(Refusal::SessionNotFound)
    }

    /// A session that shows a lease gets its old id back, so that who watches it sees one session.
    fn id_for(&self, asked: &Asked, series: KeySeries) -> SessionId {
        asked
            .lease
            .as_ref()
            .filter(|lease| lease.key_id == series)
            .and_then(LeaseClaims::session)
            .filter(|id| !self.sessions.contains_key(id))
            .unwrap_or(asked.id)
    }

    /// The key whose seat the session takes: one it shares, the one of its lease, or the first
    /// with a free seat.
    fn seat_for(
        &self,
        asked: &Asked,
        series: KeySeries,
        fitting: &[KeyNo],
    ) -> Result<KeyNo, PoolRefusal> {
        if let Some(&shared) = fitting.iter().find(|key_no| {
            Holder::shared(series, &asked.info, **key_no)
                .is_some_and(|holder| self.holders.contains_key(&holder))
        }) {
            return Ok(shared);
        }
        let leased = asked.lease.as_ref().map(|lease| lease.key_no).filter(|key_no| {
            fitting.contains(key_no) && self.pool.key(*key_no).is_some_and(|key| key.free() > 0)
        });
        leased.map_or_else(|| self.pool.choose(fitting), Ok)
    }

    /// Takes a session in, opened or restored at this moment: it has its full life before it.
    pub(super) fn add_session(&mut self, id: SessionId, saved: SavedSession, now: Now) {
        let holder = Holder::of(&saved, id);
        let session = Session {
            series: saved.series,
            connection: saved.connection,
            info: saved.info,
            wish: saved.wish,
            key_no: saved.key_no,
            opened: saved.opened,
            touched: now.mono,
            lease_issued: now.mono,
            looked_at: self.session_ends(now.mono),
        };
        self.text_bytes += session_bytes(&session.info, &session.wish);
        self.counts.entry(session.series).or_default().sessions += 1;
        self.by_key.insert(SessionKey::new(session.series, &session.info), id);
        self.by_connection.insert((session.connection, id));
        self.session_expiry.insert((session.looked_at, id));
        self.sessions.insert(id, session);
        if let Some(holder) = holder {
            self.hold(holder, id);
        }
        self.ended.remove(&id);
    }

    fn deny(
        &self,
        series: KeySeries,
        session: SessionInfo,
        refusal: PoolRefusal,
        fitting: &[KeyNo],
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Refusal {
        let refusal = match refusal {
            PoolRefusal::Full { total } => {
                let (holders, more) = if self.config.name_holders {
                    self.named_holders(fitting, total)
                } else {
                    (Vec::new(), 0)
                };
                Refusal::NoSeatFree { series, total, holders, more }
            }
            PoolRefusal::NoKey => Refusal::NoKey { series },
            PoolRefusal::Unusable { key_no, status } => {
                Refusal::KeyUnusable { series, key_no, status }
            }
            PoolRefusal::Unmet(wish) => Refusal::WishUnmet { series, wish },
        };
        effects.push(Effect::Persist(Record::Denied {
            series,
            session,
            class: refusal.class(),
            text: refusal.to_string(),
            at: now.utc,
        }));
        refusal
    }
}

/// Bytes of text that a session holds.
pub(super) fn session_bytes(info: &SessionInfo, wish: &Wish) -> usize {
    let optional = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    info.session_number.len()
        + info.info_base_connection_str.len()
        + info.app_name.len()
        + info.computer_name.len()
        + optional(&info.user_name)
        + optional(&info.terminal_client)
        + optional(&wish.access_code)
        + optional(&wish.itn)
        + optional(&wish.iec)
}

fn invalid_session(info: &SessionInfo, wish: &Wish) -> Option<Refusal> {
    let empty = |field, text: &str| {
        text.trim().is_empty().then_some(Refusal::Invalid { field, bytes_max: 0 })
    };
    let optional = |field, text: &Option<String>, bytes_max| {
        too_long(field, text.as_deref().unwrap_or(""), bytes_max)
    };
    let computer = if info.is_server { "-" } else { &info.computer_name };
    empty("SessionNumber", &info.session_number)
        .or_else(|| empty("InfoBaseConnectionStr", &info.info_base_connection_str))
        .or_else(|| empty("ComputerName", computer))
        .or_else(|| too_long("SessionNumber", &info.session_number, CODE_BYTES_MAX))
        .or_else(|| {
            let text = &info.info_base_connection_str;
            too_long("InfoBaseConnectionStr", text, TEXT_BYTES_MAX)
        })
        .or_else(|| too_long("AppName", &info.app_name, NAME_BYTES_MAX))
        .or_else(|| too_long("ComputerName", &info.computer_name, NAME_BYTES_MAX))
        .or_else(|| optional("UserName", &info.user_name, NAME_BYTES_MAX))
        .or_else(|| optional("TerminalClient", &info.terminal_client, NAME_BYTES_MAX))
        .or_else(|| optional("AccessCode", &wish.access_code, NAME_BYTES_MAX))
        .or_else(|| optional("ITN", &wish.itn, CODE_BYTES_MAX))
        .or_else(|| optional("IEC", &wish.iec, CODE_BYTES_MAX))
}
