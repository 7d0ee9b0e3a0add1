//! Opening a session: finding it again, choosing the key whose seat it takes, refusing it.

use std::sync::Arc;

use super::cluster::LeasedSeat;
use super::connections::too_long;
use super::holders::Holder;
use super::ruling::{Objection, Under};
use super::{Effect, Grant, LicenceService, SESSIONS_MAX, TEXT_BYTES_TOTAL_MAX};
use crate::journal::{Record, SavedSession};
use crate::key::{KeyNo, KeySeries};
use crate::lease_token::LeaseClaims;
use crate::pool::{PoolRefusal, PooledKey};
use crate::protocol::{CODE_BYTES_MAX, NAME_BYTES_MAX, SessionInfo, TEXT_BYTES_MAX, Wish};
use crate::refusal::{HolderName, Refusal};
use crate::rules::{QuotaId, Subject};
use crate::session::{ConnectionId, EndReason, Session, SessionId, SessionKey};
use crate::time::Now;

pub(super) struct Asked {
    pub(super) id: SessionId,
    pub(super) connection: ConnectionId,
    pub(super) info: SessionInfo,
    pub(super) wish: Wish,
    pub(super) lease: Option<LeaseClaims>,
    pub(super) seat: LeasedSeat,
    pub(super) may_wait: bool,
}

/// Why a session was not opened.
pub(super) enum NotOpened {
    /// It is refused.
    Refused(Refusal),
    /// The cluster may have a seat of one of these keys.
    Wants(Vec<KeyNo>),
    /// Other nodes may have something left of one of these quotas.
    WantsQuotas(Vec<QuotaId>),
}

impl From<Refusal> for NotOpened {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Why a session gets no seat: the pool's reason, or a rule's.
enum NoSeat {
    Pool(PoolRefusal),
    /// With the quotas of which a larger share would help.
    Rule(Objection, Vec<QuotaId>),
}

impl LicenceService {
    pub(super) fn open(
        &mut self,
        mut asked: Asked,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Result<Grant, NotOpened> {
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
            return Err(refusal.into());
        }
        if let Some(leased) = asked.lease.as_ref().and_then(LeaseClaims::session) {
            self.cluster.farewells.forget(&leased);
        }
        let key = SessionKey::new(series, &asked.info);
        let fitting = match self.pool.fitting(series, &asked.wish) {
            Ok(fitting) => fitting,
            Err(refusal) => {
                let (refusal, holders) = self.unserved(series, refusal, &[]);
                return Err(self.deny(&asked, refusal, holders, None, now, effects).into());
            }
        };
        let known = self.by_key.get(&key).copied();
        if !asked.wish.presence_only && self.asks_for_paused(&asked, series, known, &fitting, now) {
            let refusal = Refusal::ClusterUnavailable { series };
            return Err(self.deny(&asked, refusal, Vec::new(), None, now, effects).into());
        }
        let elsewhere = self.is_elsewhere(&asked, series);
        if let Some(known) = known {
            let keeps = self.sessions.get(&known).is_some_and(|session| {
                session.wish.presence_only == asked.wish.presence_only
                    && session.key_no.is_none_or(|key_no| fitting.contains(&key_no))
            });
            if keeps
                && let Some(grant) =
                    self.renew(known, asked.connection, Some(&asked.wish), now, effects)
            {
                // Whoever opens again has lost its token: it gets one.
                let is_elsewhere = elsewhere.is_some_and(|(id, _)| id != known);
                if let Some(leased) = asked.lease.as_ref().and_then(LeaseClaims::session) {
                    self.say_goodbye(leased, now);
                }
                return Ok(Grant { with_token: grant.key_no.is_some(), is_elsewhere, ..grant });
            }
        }
        if self.sessions.len() >= SESSIONS_MAX {
            return Err(Refusal::Limit { max: SESSIONS_MAX }.into());
        }
        if self.text_bytes + session_bytes(&asked.info, &asked.wish) > TEXT_BYTES_TOTAL_MAX {
            return Err(Refusal::Limit { max: TEXT_BYTES_TOTAL_MAX }.into());
        }
        let subject = self.subject(&asked, series);
        if let Some(rule) = subject.as_ref().and_then(|subject| self.ruling.denied_by(subject)) {
            let rule = rule.name.clone();
            let refusal = Refusal::DeniedByRule { series, rule: rule.clone() };
            return Err(self.deny(&asked, refusal, Vec::new(), Some(rule), now, effects).into());
        }
        let id = self.id_for(&asked, series);
        let under = subject.map(|subject| self.ruling.under(&subject));
        let key_no = if asked.wish.presence_only {
            None
        } else {
            let shared = self.shared_key(&asked, series, &fitting, now);
            if shared.is_none()
                && let Some(secs) = self.recovering_secs(now)
                && asked.lease.as_ref().is_none_or(|lease| lease.key_id != series)
            {
                return Err(Refusal::Recovering { secs }.into());
            }
            let seat = match shared {
                Some(key_no) => Ok(key_no),
                None => self.free_key(&asked, &fitting),
            };
            let brings_seat = || self.expected_key(&asked, &fitting).is_some();
            let objection = under.as_ref().zip(seat.as_ref().ok()).and_then(|(under, key_no)| {
                // A rule has let it in elsewhere, and what it uses comes with it or behind it.
                if self.quotas.are_shared() && (elsewhere.is_some() || brings_seat()) {
                    return None;
                }
                let joins = shared.and_then(|no| Holder::shared(series, &asked.info, no));
                self.objection(under, joins.as_ref(), known, *key_no)
            });
            // Whose seat has come with it takes none of the free ones.
            let objection = objection.filter(|(objection, _)| {
                !matches!(objection, Objection::Reserved(_)) || !brings_seat()
            });
            let allowed = match objection {
                Some((objection, quotas)) => Err(NoSeat::Rule(objection, quotas)),
                None => seat.map_err(NoSeat::Pool),
            };
            match allowed {
                Ok(key_no) => Some(key_no),
                Err(no_seat) => {
                    return Err(
                        self.not_seated(&asked, series, &fitting, no_seat, elsewhere, now, effects)
                    );
                }
            }
        };
        if let Some(leased) = asked.lease.as_ref().and_then(LeaseClaims::session) {
            if leased == id && key_no.is_some() {
                self.expect_no_more(leased);
            } else {
                self.say_goodbye(leased, now);
            }
        }
        if let Some(known) = known {
            // The session asks for another key than it holds, and gets one: the old seat goes.
            self.end_session(known, EndReason::Released, now, effects);
        }
        let saved = SavedSession {
            series,
            connection: asked.connection,
            info: Arc::new(asked.info),
            wish: Arc::new(asked.wish),
            key_no,
            opened: now.utc,
        };
        if let Some(under) = under {
            self.ruling.note(id, under);
        }
        self.add_session(id, saved.clone(), now);
        effects.push(Effect::Persist(Record::SessionOpened { id, session: saved }));
        self.note_peak(series, now, effects);
        let grant = self.grant(id, true).ok_or(Refusal::SessionNotFound)?;
        Ok(Grant { is_elsewhere: elsewhere.is_some() && key_no.is_some(), ..grant })
    }

    /// What a session is told for which there is no seat.
    #[expect(clippy::too_many_arguments, reason = "what `open` knows at this point")]
    fn not_seated(
        &mut self,
        asked: &Asked,
        series: KeySeries,
        fitting: &[KeyNo],
        no_seat: NoSeat,
        elsewhere: Option<(SessionId, KeyNo)>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> NotOpened {
        if let NoSeat::Rule(_, quotas) = &no_seat
            && asked.may_wait
            && !quotas.is_empty()
        {
            return NotOpened::WantsQuotas(quotas.clone());
        }
        // More seats of the key do not help where a quota is used up, nor against a limit.
        let is_rule = match &no_seat {
            NoSeat::Rule(Objection::Limit(_), _) => true,
            NoSeat::Rule(Objection::Reserved(_), quotas) => !quotas.is_empty(),
            NoSeat::Pool(_) => false,
        };
        let growing = || {
            let keys = fitting.iter().copied();
            keys.filter(|key_no| self.pool.key(*key_no).is_some_and(PooledKey::may_grow))
        };
        if asked.may_wait && !is_rule && growing().next().is_some() {
            return NotOpened::Wants(growing().collect());
        }
        // Its seat may be on its way here and it lives on its lease: no denial, it asks again.
        if let NoSeat::Pool(PoolRefusal::Full { .. }) | NoSeat::Rule(Objection::Reserved(_), _) =
            no_seat
            && elsewhere.is_some_and(|(_, key_no)| fitting.contains(&key_no))
        {
            let from = match &asked.seat {
                LeasedSeat::Elsewhere(from) => Some(from.clone()),
                LeasedSeat::Asked(from) => from.clone(),
                LeasedSeat::Own | LeasedSeat::Here | LeasedSeat::Gone => None,
            };
            return Refusal::ClusterSettling { series, from }.into();
        }
        let (refusal, holders, rule) = match no_seat {
            NoSeat::Pool(refusal) => {
                let (refusal, holders) = self.unserved(series, refusal, fitting);
                (refusal, holders, None)
            }
            NoSeat::Rule(objection, _) => self.objected(series, objection, fitting),
        };
        self.deny(asked, refusal, holders, rule, now, effects).into()
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

    /// The session as rules look at it; nothing without rules.
    fn subject(&self, asked: &Asked, series: KeySeries) -> Option<Subject> {
        if self.ruling.is_empty() {
            return None;
        }
        let connection = self.connections.get(&asked.connection);
        let peer = connection.map(|connection| &*connection.peer);
        Some(Subject::new(series, &asked.info, peer))
    }

    /// For how many more seconds only sessions with a lease get seats; nothing when the server is
    /// not recovering.
    pub fn recovering_secs(&self, now: Now) -> Option<u64> {
        let left = self.recover_until?.since(now.mono);
        (!left.is_zero()).then(|| u64::try_from(left.as_millis().div_ceil(1000)).unwrap_or(1))
    }

    /// Why a rule refuses the session a seat of a key, and of which quotas of the cluster a larger share
    /// would help; `known` is the session that it would replace.
    fn objection(
        &self,
        under: &Under,
        joins: Option<&Holder>,
        known: Option<SessionId>,
        key_no: KeyNo,
    ) -> Option<(Objection, Vec<QuotaId>)> {
        let leaving = known.and_then(|id| {
            let holder = Holder::of_session(self.sessions.get(&id)?, id)?;
            let is_alone = self.holders.get(&holder).is_some_and(|sessions| sessions.len() == 1);
            Some(self.ruling.leaving(&holder, id, is_alone))
        });
        let leaving = leaving.unwrap_or_default();
        if self.quotas.are_shared() {
            return self.quota_objection(under, joins, &leaving, key_no);
        }
        let free = self.pool.free(under.series());
        let objection = self.ruling.objection(under, joins, &leaving, free)?;
        Some((objection, Vec::new()))
    }

    /// The key whose seat the session shares with those that hold it, one that is renewed before one
    /// that is not.
    pub(super) fn shared_key(
        &self,
        asked: &Asked,
        series: KeySeries,
        fitting: &[KeyNo],
        now: Now,
    ) -> Option<KeyNo> {
        let shared = fitting.iter().copied().filter(|key_no| {
            Holder::shared(series, &asked.info, *key_no)
                .is_some_and(|holder| self.holders.contains_key(&holder))
        });
        // The first of the least; `false` is less.
        shared.min_by_key(|key_no| self.is_paused(Some(*key_no), now))
    }

    /// The key whose free seat the session takes: the one that is kept for it, the one of its lease, or
    /// the first that has one.
    fn free_key(&self, asked: &Asked, fitting: &[KeyNo]) -> Result<KeyNo, PoolRefusal> {
        if let Some(key_no) = self.expected_key(asked, fitting) {
            return Ok(key_no);
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

    /// The refusal for the pool's reason, and who holds the seats.
    fn unserved(
        &self,
        series: KeySeries,
        refusal: PoolRefusal,
        fitting: &[KeyNo],
    ) -> (Refusal, Vec<HolderName>) {
        match refusal {
            PoolRefusal::Full { total } => self.full(series, fitting, total, 0),
            PoolRefusal::NoKey => (Refusal::NoKey { series }, Vec::new()),
            PoolRefusal::OutOfTouch => (Refusal::ClusterUnavailable { series }, Vec::new()),
            PoolRefusal::Unusable { key_no, status } => {
                (Refusal::KeyUnusable { series, key_no, status }, Vec::new())
            }
            PoolRefusal::Unmet(wish) => (Refusal::WishUnmet { series, wish }, Vec::new()),
        }
    }

    fn full(
        &self,
        series: KeySeries,
        fitting: &[KeyNo],
        total: u64,
        reserved: u64,
    ) -> (Refusal, Vec<HolderName>) {
        let keys = fitting.iter().filter_map(|key_no| self.pool.key(*key_no));
        let elsewhere: u64 = keys.map(|pooled| u64::from(pooled.elsewhere())).sum();
        let here = total.saturating_sub(reserved).saturating_sub(elsewhere);
        let (holders, more) = self.named_holders(fitting, here);
        let named = holders.clone();
        (Refusal::NoSeatFree { series, total, reserved, elsewhere, holders, more }, named)
    }

    /// The refusal for a rule's reason, who holds the seats, and the rule's name.
    fn objected(
        &self,
        series: KeySeries,
        objection: Objection,
        fitting: &[KeyNo],
    ) -> (Refusal, Vec<HolderName>, Option<String>) {
        let (Objection::Limit(no) | Objection::Reserved(no)) = objection;
        let rule = self.ruling.rule(no);
        let name = rule.map(|rule| rule.name.clone()).unwrap_or_default();
        let (refusal, holders) = match objection {
            Objection::Limit(no) => {
                let (holders, more) = self.named_under(no);
                let max = rule.map_or(0, |rule| rule.seats);
                let (rule, named) = (name.clone(), holders.clone());
                (Refusal::LimitByRule { series, rule, max, holders, more }, named)
            }
            Objection::Reserved(_) => {
                let keys = || fitting.iter().filter_map(|key_no| self.pool.key(*key_no));
                let total = keys().map(|pooled| u64::from(pooled.key.seats)).sum();
                // Whatever is free of the keys that fit is what the rules keep.
                let reserved = keys().map(|pooled| u64::from(pooled.free())).sum();
                self.full(series, fitting, total, reserved)
            }
        };
        (refusal, holders, Some(name))
    }

    /// Records a refusal, unless the same was recorded a moment ago, and tells it as far as people
    /// may know.
    fn deny(
        &mut self,
        asked: &Asked,
        refusal: Refusal,
        holders: Vec<HolderName>,
        rule: Option<String>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Refusal {
        let refusal = if self.config.name_holders { refusal } else { refusal.without_names() };
        let Some(connection) = self.connections.get(&asked.connection) else {
            return refusal;
        };
        let series = connection.series;
        let key = SessionKey::new(series, &asked.info);
        if self.denials.is_first(key, refusal.class(), now.mono) {
            effects.push(Effect::Persist(Record::Denied {
                series,
                session: asked.info.clone(),
                class: refusal.class(),
                text: refusal.to_string(),
                holders,
                peer: connection.peer.as_ref().to_owned(),
                rule,
                at: now.utc,
            }));
        }
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
