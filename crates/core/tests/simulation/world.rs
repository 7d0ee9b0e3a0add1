//! What happens to the service and the model alike, and the comparison after each step.

mod cluster;
mod compare;

use std::collections::BTreeMap;
use std::time::Duration;

use licence_core::cluster::ClusterId;
use licence_core::journal::Snapshot;
use licence_core::key::{KeyKind, KeyNo, KeySeries, Obstacle, ProtectionKey, Term};
use licence_core::lease_token::LeaseClaims;
use licence_core::protocol::{ConnectionInfo, SessionInfo, Wish};
use licence_core::refusal::Refusal;
use licence_core::rules::{CheckedRules, Rule, RuleEffect, RuleSet};
use licence_core::service::{
    Effect, Event, LeasedSeat, LicenceService, Reply, RequestId, ServiceConfig,
};
use licence_core::session::{ConnectionId, SessionId};
use licence_core::time::{MonoTime, Now, Utc};

use crate::draw::Draw;
use crate::model::{
    Asking, Model, ModelRule, ModelSession, Outcome, RECOVERY_MILLIS, address, same_session,
};
use crate::node::ModelNode;

const SERIES: KeySeries = KeySeries::from_u16(0x672B);

/// A service, the model of it, and what befalls both.
pub(crate) struct World {
    seed: u64,
    pub(crate) step: u32,
    draw: Draw,
    now: Now,
    service: LicenceService,
    journal: Snapshot,
    model: Model,
    /// Sessions that ended, so that heartbeats can name them.
    past: Vec<SessionId>,
    /// Seats that were held when the books were lost: their holders still have a lease.
    lost: Vec<(SessionId, SessionInfo)>,
    /// Sessions that went to other nodes of the cluster or come from there, with their leases.
    away: Vec<(SessionId, SessionInfo)>,
    config: ServiceConfig,
    rules: CheckedRules,
    /// How often each thing has happened.
    pub(crate) counts: BTreeMap<&'static str, u32>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let now = Now { mono: MonoTime::from_millis(1000), utc: Utc::from_unix_millis(0) };
        Self {
            seed,
            step: 0,
            draw: Draw(seed),
            now,
            service: LicenceService::new(ServiceConfig::default()),
            journal: Snapshot::default(),
            model: Model { utc_high: i64::MIN, ..Model::default() },
            past: Vec::new(),
            lost: Vec::new(),
            away: Vec::new(),
            config: ServiceConfig::default(),
            rules: CheckedRules::default(),
            counts: BTreeMap::new(),
        }
    }

    fn context(&self) -> String {
        format!("LICENCE_SIM_SEED={} step {}", self.seed, self.step)
    }

    fn mono(&self) -> u64 {
        self.now.mono.as_millis()
    }

    fn feed(&mut self, event: Event) -> Option<Reply> {
        let mono = self.mono();
        self.model.see(self.now.utc.unix_millis(), mono, false);
        self.model.expire(mono);
        let effects = self.service.handle(event, self.now);
        self.carry_out(effects)
    }

    fn carry_out(&mut self, effects: Vec<Effect>) -> Option<Reply> {
        let mut reply = None;
        for effect in effects {
            match effect {
                Effect::Persist(record) => {
                    assert!(reply.is_none(), "a record after its reply, {}", self.context());
                    self.journal.apply(&record);
                }
                Effect::Reply(_, answer) => reply = Some(answer),
            }
        }
        reply
    }

    fn pick<T: Copy>(&mut self, all: impl Iterator<Item = T>) -> Option<T> {
        let all: Vec<T> = all.collect();
        let at = self.draw.below(all.len().max(1) as u64) as usize;
        all.get(at).copied()
    }

    fn any_connection(&mut self) -> Option<ConnectionId> {
        let ids: Vec<_> = self.model.connections.keys().copied().collect();
        self.pick(ids.into_iter())
    }

    fn any_session(&mut self) -> Option<SessionId> {
        let ids: Vec<_> = self.model.sessions.keys().copied().collect();
        self.pick(ids.into_iter())
    }

    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// Lets one random thing happen to both and compares them.
    pub(crate) fn step(&mut self) {
        match self.draw.below(100) {
            0..12 => self.connect(),
            12..44 => self.open(),
            44..45 => self.change_rules(),
            45..47 => self.try_rules_or_configure(),
            47..56 => self.heartbeat(),
            56..60 => self.touch(),
            60..66 => self.close(),
            66..69 => self.disconnect(),
            69..73 => self.key_arrives(),
            73..74 => self.key_goes(),
            74..76 => self.restart(),
            76..77 => self.jump_calendar(),
            77..92 => self.cluster(),
            _ => self.pass(),
        }
        self.check();
    }

    fn connect(&mut self) {
        let id = ConnectionId::from_bytes(self.draw.id());
        let peer = address(self.draw.below(3));
        self.model.peers.insert(id, peer.clone());
        let info = ConnectionInfo::default();
        let request = RequestId(1);
        let reply = self.feed(Event::Connect { request, id, series: SERIES, peer, info });
        assert_eq!(reply, Some(Reply::Connected(id)), "{}", self.context());
        self.model.connections.insert(id, self.now.mono.as_millis());
        self.count("connect");
    }

    fn session_info(&mut self) -> SessionInfo {
        let is_server = self.draw.chance(60);
        SessionInfo {
            session_number: self.draw.below(9).to_string(),
            is_server,
            info_base_connection_str: if is_server { "Srvr" } else { "File" }.to_owned(),
            computer_name: format!("PC{}", self.draw.below(4)),
            user_name: self.draw.chance(80).then(|| format!("User{}", self.draw.below(4))),
            ..SessionInfo::default()
        }
    }

    fn open(&mut self) {
        self.adopt_what_time_moved();
        let Some(connection) = self.any_connection() else { return };
        let mut info = self.session_info();
        let mut presence_only = self.draw.chance(10);
        let access_code = self.draw.chance(4).then(|| "x7".to_owned());
        let mut lease = None;
        let mut seat = LeasedSeat::Own;
        let mut may_wait = self.draw.chance(30);
        if self.draw.chance(50)
            && let Some((id, lost)) = self.lost.pop()
        {
            (info, presence_only) = (lost, false);
            lease = Some(LeaseClaims {
                iss: String::new(),
                sub: id.to_string(),
                iat: 0,
                exp: 1,
                key_id: SERIES,
                key_no: KeyNo(1),
            });
        } else if self.draw.chance(65)
            && let Some((id, gone)) = self.away.pop()
        {
            if self.draw.chance(80) {
                // It asks again later.
                self.away.insert(0, (id, gone.clone()));
            }
            (info, presence_only) = (gone, false);
            seat = self.leased_seat();
            may_wait = self.draw.chance(10);
            lease = Some(LeaseClaims {
                iss: String::new(),
                sub: id.to_string(),
                iat: 0,
                exp: 1,
                key_id: SERIES,
                key_no: KeyNo(self.cluster_key()),
            });
        }
        let id = SessionId::from_bytes(self.draw.id());
        let shown = lease.as_ref().and_then(|lease| Some((lease.session()?, lease.key_no.0)));
        let leased = shown.map(|(id, _)| id);
        let wish = Wish { presence_only, access_code: access_code.clone(), ..Wish::default() };
        let event = Event::Open {
            request: RequestId(2),
            id,
            connection,
            session: info.clone(),
            wish,
            lease,
            seat: seat.clone(),
            may_wait,
        };
        let reply = self.feed(event);
        let mono = self.mono();
        let Some(used) = self.model.connections.get_mut(&connection) else {
            assert_eq!(reply, Some(Reply::Refused(Refusal::ConnectionNotFound)));
            return;
        };
        *used = mono;
        if let Some(leased) = leased {
            self.model.is_wanted(leased);
        }
        let known = self
            .model
            .sessions
            .iter()
            .find(|(_, session)| same_session(&session.info, &info))
            .map(|(id, session)| (*id, session.presence_only));
        let is_in = known.is_some_and(|(_, was_presence)| was_presence == presence_only);
        let asking = Asking {
            id,
            info: &info,
            peer: self.model.peer(connection),
            presence_only,
            has_lease: leased.is_some(),
            known: known.map(|(id, _)| id),
            lease: shown,
            is_elsewhere: self.model.is_elsewhere(shown, &seat),
            may_wait,
        };
        let is_elsewhere = asking.is_elsewhere;
        let brings = self.model.brings_seat(&asking);
        let expected = if self.model.usable().is_empty() {
            Outcome::NoKey
        } else if access_code.is_some() && self.config.access_codes {
            Outcome::WrongCode
        } else if self.model.asks_for_paused(&asking, mono) {
            Outcome::Unavailable
        } else if is_in {
            Outcome::Granted
        } else {
            self.model.decide(&asking, mono)
        };
        let under = self.model.under(&info, asking.peer);
        match reply {
            Some(Reply::Opened(grant)) => {
                assert_eq!(expected, Outcome::Granted, "{}", self.context());
                assert_eq!(grant.key_no.is_none(), presence_only, "{}", self.context());
                match known {
                    Some((known, _)) if is_in => {
                        assert_eq!(grant.session, known, "{}", self.context());
                        let is_other = is_elsewhere && leased != Some(known);
                        assert_eq!(grant.is_elsewhere, is_other, "{}", self.context());
                        if let Some(session) = self.model.sessions.get_mut(&known) {
                            (session.touched, session.connection) = (mono, connection);
                        }
                    }
                    _ => {
                        let is_taken =
                            leased.is_some_and(|id| self.model.sessions.contains_key(&id));
                        let wanted = leased.filter(|_| !is_taken).unwrap_or(id);
                        assert_eq!(grant.session, wanted, "{}", self.context());
                        let may_be = is_elsewhere && !presence_only;
                        assert_eq!(grant.is_elsewhere, may_be, "{}", self.context());
                        if let Some((known, _)) = known
                            && let Some(old) = self.model.sessions.remove(&known)
                        {
                            self.model.let_go(known, old.key_no, mono);
                            self.past.push(known);
                        }
                        let (touched, opened) = (mono, self.now.utc);
                        let session = ModelSession {
                            info,
                            presence_only,
                            touched,
                            connection,
                            opened,
                            under,
                            key_no: grant.key_no.map(|key_no| key_no.0),
                        };
                        self.model.sessions.insert(grant.session, session);
                        self.model.node.moved.remove(&grant.session);
                        self.count(if leased.is_some() { "granted to a lease" } else { "granted" });
                        if brings {
                            self.count("brings its seat");
                        } else if may_be {
                            self.count("goes on from another node");
                        }
                    }
                }
                match leased {
                    Some(leased) if !is_in && leased == grant.session && !presence_only => {
                        self.model.node.expected.remove(&leased);
                    }
                    Some(leased) => drop(self.model.needs_no_other(leased, mono)),
                    None => {}
                }
            }
            Some(Reply::Wants(keys)) => {
                assert_eq!(expected, Outcome::Wants, "{}", self.context());
                assert!(!keys.is_empty(), "{}", self.context());
                self.count("waits for the cluster");
            }
            Some(Reply::Refused(refusal)) => {
                assert_eq!(Outcome::of(&refusal), expected, "{refusal}, {}", self.context());
                self.check_names(&refusal);
                self.count(match expected {
                    Outcome::Denied => "denied",
                    Outcome::Full => "full",
                    Outcome::Limited => "limited",
                    Outcome::Recovering => "told to wait",
                    Outcome::Reserved => "reserved",
                    Outcome::WrongCode => "wrong code",
                    Outcome::Settling => "settling",
                    Outcome::Unavailable => "cluster unavailable",
                    Outcome::Granted | Outcome::NoKey | Outcome::Wants => "no key",
                });
            }
            other => panic!("{other:?}, {}", self.context()),
        }
    }

    /// A refusal names as many as hold seats, or nobody where people may not know.
    fn check_names(&self, refusal: &Refusal) {
        let held = if let Refusal::NoSeatFree { total, reserved, elsewhere, .. } = refusal {
            total.saturating_sub(*reserved).saturating_sub(*elsewhere)
        } else if let Refusal::LimitByRule { rule, max, .. } = refusal {
            let at = rule.parse().unwrap_or(usize::MAX);
            let held = self.model.holders_under(at, None).len() as u64;
            assert!(held >= *max, "{}", self.context());
            held
        } else {
            return;
        };
        let more = match refusal {
            Refusal::NoSeatFree { more, .. } | Refusal::LimitByRule { more, .. } => *more,
            Refusal::Recovering { .. } | _ => 0,
        };
        let named = refusal.holders().len() as u64 + more;
        let expected = if self.config.name_holders { held } else { 0 };
        assert_eq!(named, expected, "{refusal}, {}", self.context());
    }

    /// A few rules, as the model has them and as an administrator writes them.
    fn draw_rules(&mut self) -> (Vec<ModelRule>, CheckedRules) {
        let (mut model, mut rules) = (Vec::new(), Vec::new());
        for at in 0..self.draw.below(5) {
            let effect = match self.draw.below(3) {
                0 => RuleEffect::Deny,
                1 => RuleEffect::Limit,
                _ => RuleEffect::Reserve,
            };
            let seats = 1 + self.draw.below(4);
            let number = |draw: &mut Draw, percent: u64, end: u64| {
                draw.chance(percent).then(|| draw.below(end))
            };
            let is_wide = effect != RuleEffect::Deny;
            let user = number(&mut self.draw, if is_wide { 50 } else { 100 }, 4);
            let computer = number(&mut self.draw, 30, 4);
            let subnet = number(&mut self.draw, 20, 3);
            let enabled = self.draw.chance(90);
            let key_id = match self.draw.below(10) {
                0 => Some(KeySeries::from_u16(1)),
                1..4 => Some(SERIES),
                _ => None,
            };
            let is_in_force = enabled && key_id.is_none_or(|series| series == SERIES);
            model.push(ModelRule { effect, seats, is_in_force, user, computer, subnet });
            rules.push(Rule {
                name: at.to_string(),
                effect,
                seats: (effect != RuleEffect::Deny).then_some(seats as u32),
                enabled,
                key_id,
                user: user.map(|number| format!("uSER{number}")),
                computer: computer.map(|number| format!("*c{number}")),
                subnet: subnet.map(|number| format!("10.0.{number}.0/24")),
                infobase: None,
                application: None,
                comment: String::new(),
            });
        }
        (model, RuleSet { rules }.check().unwrap_or_default())
    }

    fn change_rules(&mut self) {
        let (model, rules) = self.draw_rules();
        self.rules = rules.clone();
        self.feed(Event::RulesChanged(rules));
        self.model.set_rules(model);
        self.count("rules change");
    }

    fn try_rules_or_configure(&mut self) {
        if self.draw.chance(30) {
            self.config.name_holders = self.draw.chance(50);
            self.config.access_codes = self.draw.chance(50);
            let ServiceConfig { name_holders, access_codes, .. } = self.config;
            self.feed(Event::Configure { name_holders, access_codes });
            return self.count("configure");
        }
        let (model, rules) = self.draw_rules();
        self.feed(Event::Tick);
        self.adopt_losses();
        let refused = self.service.check_rules(&rules);
        let mono = self.mono();
        let expected = self.model.dry_run(model, mono);
        assert_eq!(
            refused.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
            expected.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
            "{expected:?}, {}",
            self.context()
        );
        self.count("dry run");
        if !refused.is_empty() {
            self.count("dry run that refuses");
        }
    }

    fn heartbeat(&mut self) {
        self.adopt_what_time_moved();
        let Some(connection) = self.any_connection() else { return };
        let mut named: Vec<SessionId> = Vec::new();
        for _ in 0..self.draw.below(5) {
            named.extend(self.any_session());
        }
        named.extend(self.past.last());
        let event = Event::Heartbeat { request: RequestId(3), connection, sessions: named.clone() };
        let reply = self.feed(event);
        let mono = self.mono();
        match reply {
            Some(Reply::Heartbeat { gone, .. }) => {
                self.model.connections.insert(connection, mono);
                for id in named {
                    let is_gone = gone.iter().any(|(gone, _)| *gone == id);
                    let key_no = self.model.sessions.get(&id).and_then(|session| session.key_no);
                    if self.model.is_paused(key_no, mono) {
                        assert!(is_gone, "renewed in isolation, {}", self.context());
                        self.count("not renewed in isolation");
                        continue;
                    }
                    match self.model.sessions.get_mut(&id) {
                        Some(session) => {
                            session.touched = mono;
                            session.connection = connection;
                        }
                        None => assert!(is_gone, "{}", self.context()),
                    }
                    let is_known = self.model.sessions.contains_key(&id);
                    assert_eq!(is_gone, !is_known, "{}", self.context());
                }
                self.count("heartbeat");
            }
            Some(Reply::Refused(Refusal::ConnectionNotFound)) => {
                assert!(!self.model.connections.contains_key(&connection), "{}", self.context());
            }
            other => panic!("{other:?}, {}", self.context()),
        }
    }

    fn touch(&mut self) {
        self.adopt_what_time_moved();
        let (Some(connection), Some(session)) = (self.any_connection(), self.any_session()) else {
            return;
        };
        let reply = self.feed(Event::Touch { request: RequestId(4), connection, session });
        let mono = self.mono();
        let Some(used) = self.model.connections.get_mut(&connection) else {
            assert_eq!(reply, Some(Reply::Refused(Refusal::ConnectionNotFound)));
            return;
        };
        *used = mono;
        let key_no = self.model.sessions.get(&session).and_then(|session| session.key_no);
        if self.model.is_paused(key_no, mono) {
            let is_refused =
                matches!(reply, Some(Reply::Refused(Refusal::ClusterUnavailable { .. })));
            assert!(is_refused, "{reply:?}, {}", self.context());
            self.count("not renewed in isolation");
            return;
        }
        match self.model.sessions.get_mut(&session) {
            Some(known) => {
                assert!(matches!(reply, Some(Reply::Opened(_))), "{}", self.context());
                let known: &mut ModelSession = known;
                known.touched = mono;
                known.connection = connection;
            }
            None => assert_eq!(reply, Some(Reply::Refused(Refusal::SessionNotFound))),
        }
        self.count("touch");
    }

    fn close(&mut self) {
        let away = self.away.last().map(|(id, _)| *id).filter(|_| self.draw.chance(10));
        let Some(session) = away.or_else(|| self.any_session()) else { return };
        let request = RequestId(5);
        let event = if self.draw.chance(30) {
            Event::Revoke { request, session }
        } else {
            Event::Close { request, session }
        };
        let reply = self.feed(event);
        let mono = self.mono();
        let is_waited_for = self.model.node.expected.contains_key(&session);
        if is_waited_for || !self.model.sessions.contains_key(&session) {
            self.model.needs_no_other(session, mono);
            self.count("goodbye");
        }
        let was_here = self.model.sessions.remove(&session);
        if let Some(old) = &was_here {
            self.model.let_go(session, old.key_no, mono);
        }
        let expected = if was_here.is_some() || is_waited_for {
            Reply::Done
        } else {
            Reply::Refused(Refusal::SessionNotFound)
        };
        assert_eq!(reply, Some(expected), "{}", self.context());
        self.past.push(session);
        self.count("close");
    }

    fn disconnect(&mut self) {
        let Some(connection) = self.any_connection() else { return };
        let end_sessions = self.draw.chance(50);
        let request = RequestId(6);
        self.feed(Event::Disconnect { request, connection, end_sessions });
        if self.model.connections.remove(&connection).is_some() && end_sessions {
            let of_connection = self
                .model
                .sessions
                .iter()
                .filter(|(_, session)| session.connection == connection)
                .map(|(id, session)| (*id, session.key_no));
            let ended: Vec<_> = of_connection.collect();
            self.model.sessions.retain(|_, session| session.connection != connection);
            let mono = self.mono();
            for (id, key_no) in ended {
                self.model.let_go(id, key_no, mono);
            }
        }
        self.count("disconnect");
    }

    fn key_arrives(&mut self) {
        let number = 1 + self.draw.below(4) as u32;
        let kind = match self.draw.below(10) {
            0..6 => KeyKind::Main,
            6..9 => KeyKind::Additional,
            _ => KeyKind::Demo,
        };
        let period_days = if self.draw.chance(40) { 1 + self.draw.below(20) as u32 } else { 0 };
        let key = ProtectionKey {
            key_no: KeyNo(number),
            series: SERIES,
            kind,
            seats: self.draw.below(6) as u32,
            term: Term {
                activated: Utc::from_unix_millis(self.model.utc_high),
                start: None,
                period_days,
                expire: None,
            },
            product_version: 0,
            service_type: 0,
            reg_no: None,
            itn: None,
            iec: None,
            obstacle: (!self.draw.chance(90)).then_some(Obstacle::BoundElsewhere),
            access_code: None,
            cluster: self.draw.chance(40).then_some(ClusterId::from_bytes([7; 16])),
        };
        let was_here = self.model.keys.insert(number, key.clone()).is_some();
        let is_change = was_here && self.draw.chance(50);
        let event = if is_change { Event::KeyChanged(key) } else { Event::KeyArrived(key) };
        // The event reaches a service whose time has passed already.
        self.feed(event);
        self.model.key_came(number);
        self.adopt_losses();
        self.count("key arrives");
    }

    fn key_goes(&mut self) {
        let numbers: Vec<_> = self.model.keys.keys().copied().collect();
        let Some(number) = self.pick(numbers.into_iter()) else { return };
        self.model.keys.remove(&number);
        self.feed(Event::KeyRemoved(KeyNo(number)));
        self.model.key_went(number);
        self.adopt_losses();
        self.count("key goes");
    }

    fn restart(&mut self) {
        let gap = Duration::from_secs(self.draw.below(5000));
        let keys = self.model.keys.values().cloned().collect();
        let utc = self.now.utc.after(gap);
        // A monotonic clock may begin anew with the machine.
        let mono =
            if self.draw.chance(50) { MonoTime::from_millis(7) } else { self.now.mono.after(gap) };
        self.now = Now { mono, utc };
        self.config.recovering = self.draw.chance(20);
        self.model.recover_until = 0;
        self.model.node = ModelNode::default();
        if self.config.recovering {
            self.lose_books();
            self.model.recover_until = mono.as_millis() + RECOVERY_MILLIS;
        }
        // What was not recorded before the end of the process is lost, up to an hour of it.
        self.model.utc_high = self.journal.utc_seen.map_or(i64::MIN, Utc::unix_millis);
        self.model.utc_at = mono.as_millis();
        self.model.ahead = self.journal.doubt.map(|doubt| {
            (doubt.ahead_millis, i64::try_from(doubt.stood.as_millis()).unwrap_or(i64::MAX))
        });
        self.model.see(utc.unix_millis(), mono.as_millis(), true);
        let (service, effects) =
            LicenceService::restore(self.config, keys, self.journal.clone(), self.now);
        self.service = service;
        self.carry_out(effects);
        let effects = self.service.handle(Event::RulesChanged(self.rules.clone()), self.now);
        self.carry_out(effects);
        let mono = self.mono();
        for used in self.model.connections.values_mut() {
            *used = mono;
        }
        for session in self.model.sessions.values_mut() {
            session.touched = mono;
        }
        self.adopt_losses();
        self.model.set_rules(self.model.rules.clone());
        self.count("restart");
    }

    /// The database is gone; those who held seats still have their leases.
    fn lose_books(&mut self) {
        self.journal = Snapshot::default();
        self.model.connections.clear();
        let sessions = std::mem::take(&mut self.model.sessions);
        self.past.extend(sessions.keys());
        let seated = sessions.into_iter().filter(|(_, session)| !session.presence_only);
        self.lost = seated.map(|(id, session)| (id, session.info)).collect();
        self.count("books lost");
    }

    fn jump_calendar(&mut self) {
        let days = self.draw.below(9) as i64 - 3;
        self.now.utc = self.now.utc.plus_millis(days * 86_400_000);
        self.feed(Event::Tick);
        self.adopt_losses();
        self.count("calendar jump");
    }

    fn pass(&mut self) {
        let span = Duration::from_millis(self.draw.below(30_000) * (1 + self.draw.below(20)));
        self.now = Now { mono: self.now.mono.after(span), utc: self.now.utc.after(span) };
        self.feed(Event::Tick);
        self.adopt_losses();
        self.count("pass");
    }
}
