//! The licensing of seats, written down a second time and as plainly as possible: what the service
//! is compared with. It shares no code with the service.

use std::collections::{BTreeMap, BTreeSet};

use licence_core::key::{KeyKind, ProtectionKey};
use licence_core::protocol::SessionInfo;
use licence_core::refusal::Refusal;
use licence_core::rules::RuleEffect;
use licence_core::session::{ConnectionId, SessionId};
use licence_core::time::Utc;

use crate::node::ModelNode;

pub(crate) const CONNECTION_MILLIS: u64 = 20_000;
pub(crate) const SESSION_MILLIS: u64 = 1_000_000;
pub(crate) const RECOVERY_MILLIS: u64 = 30_000;

/// A session as the model sees it.
#[derive(Clone, Debug)]
pub(crate) struct ModelSession {
    pub(crate) info: SessionInfo,
    pub(crate) presence_only: bool,
    pub(crate) touched: u64,
    pub(crate) connection: ConnectionId,
    pub(crate) opened: Utc,
    /// Rules that it falls under, by their place.
    pub(crate) under: Vec<usize>,
    /// The key whose seat it holds: which one is the service's choice.
    pub(crate) key_no: Option<u32>,
}

/// A rule as the model sees it: no patterns, no prefixes, only names that are the same or not.
#[derive(Clone, Debug)]
pub(crate) struct ModelRule {
    pub(crate) effect: RuleEffect,
    pub(crate) seats: u64,
    pub(crate) is_in_force: bool,
    pub(crate) user: Option<u64>,
    pub(crate) computer: Option<u64>,
    pub(crate) subnet: Option<u64>,
}

impl ModelRule {
    pub(crate) fn is_about(&self, info: &SessionInfo, peer: Option<&str>) -> bool {
        let user = self.user.map(|number| format!("User{number}"));
        let computer = self.computer.map(|number| format!("PC{number}"));
        self.is_in_force
            && (user.is_none() || user == info.user_name)
            && computer.is_none_or(|computer| computer == info.computer_name)
            && self.subnet.is_none_or(|number| peer == Some(&*address(number)))
    }
}

pub(crate) fn address(number: u64) -> String {
    format!("10.0.{number}.5")
}

/// What comes of asking for a seat.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    Denied,
    Full,
    Granted,
    Limited,
    NoKey,
    Recovering,
    Reserved,
    Settling,
    Unavailable,
    Wants,
    WrongCode,
}

impl Outcome {
    pub(crate) fn of(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::DeniedByRule { .. } => Self::Denied,
            Refusal::NoSeatFree { reserved: 0, .. } => Self::Full,
            Refusal::NoSeatFree { .. } => Self::Reserved,
            Refusal::LimitByRule { .. } => Self::Limited,
            Refusal::NoKey { .. } | Refusal::KeyUnusable { .. } => Self::NoKey,
            Refusal::Recovering { .. } => Self::Recovering,
            Refusal::ClusterSettling { .. } => Self::Settling,
            Refusal::ClusterUnavailable { .. } => Self::Unavailable,
            Refusal::WishUnmet { .. } => Self::WrongCode,
            Refusal::ConnectionNotFound | Refusal::SessionNotFound | _ => panic!("{refusal:?}"),
        }
    }
}

/// A session that asks.
pub(crate) struct Asking<'a> {
    pub(crate) id: SessionId,
    pub(crate) info: &'a SessionInfo,
    pub(crate) peer: Option<&'a str>,
    pub(crate) presence_only: bool,
    pub(crate) has_lease: bool,
    /// The session of the same name that it takes the place of.
    pub(crate) known: Option<SessionId>,
    /// Session and key of the lease, if it shows one.
    pub(crate) lease: Option<(SessionId, u32)>,
    /// Whether another node may hold the seat of that lease.
    pub(crate) is_elsewhere: bool,
    pub(crate) may_wait: bool,
}

/// Who is in, by rules written down a second time: no keys chosen, no indexes, no lazy timers.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) keys: BTreeMap<u32, ProtectionKey>,
    pub(crate) connections: BTreeMap<ConnectionId, u64>,
    pub(crate) sessions: BTreeMap<SessionId, ModelSession>,
    pub(crate) peers: BTreeMap<ConnectionId, String>,
    pub(crate) rules: Vec<ModelRule>,
    /// Until when, by the monotonic clock, those without a lease wait.
    pub(crate) recover_until: u64,
    /// Latest moment of the calendar, and when by the monotonic clock it was seen.
    pub(crate) utc_high: i64,
    pub(crate) utc_at: u64,
    /// How far the clock is ahead of that without being believed, and for how long, in
    /// milliseconds.
    pub(crate) ahead: Option<(i64, i64)>,
    pub(crate) node: ModelNode,
}

impl Model {
    pub(crate) fn usable(&self) -> Vec<&ProtectionKey> {
        let utc = Utc::from_unix_millis(self.utc_high);
        let good = |key: &&ProtectionKey| key.obstacle.is_none() && !key.term.is_expired(utc);
        let has_main = self.keys.values().filter(good).any(|key| key.kind == KeyKind::Main);
        self.keys
            .values()
            .filter(good)
            .filter(|key| match key.kind {
                KeyKind::Main => true,
                KeyKind::Additional => has_main,
                KeyKind::Demo => self.keys.len() == 1,
            })
            .collect()
    }

    pub(crate) fn granted(&self) -> u64 {
        self.usable().iter().map(|key| u64::from(key.seats)).sum()
    }

    /// Everyone who holds a seat of their own: sessions on a server, computers in file mode.
    pub(crate) fn holders(&self) -> BTreeSet<String> {
        self.sessions
            .iter()
            .filter(|(_, session)| !session.presence_only)
            .map(|(id, session)| holder(*id, &session.info))
            .collect()
    }

    /// Holders with a session under a rule, without one session.
    pub(crate) fn holders_under(
        &self,
        rule: usize,
        without: Option<SessionId>,
    ) -> BTreeSet<String> {
        self.sessions
            .iter()
            .filter(|(id, session)| {
                Some(**id) != without && !session.presence_only && session.under.contains(&rule)
            })
            .map(|(id, session)| holder(*id, &session.info))
            .collect()
    }

    pub(crate) fn under(&self, info: &SessionInfo, peer: Option<&str>) -> Vec<usize> {
        (0..self.rules.len()).filter(|at| self.rules[*at].is_about(info, peer)).collect()
    }

    /// The address of a connection that is still there.
    pub(crate) fn peer(&self, connection: ConnectionId) -> Option<&str> {
        self.connections.contains_key(&connection).then(|| &*self.peers[&connection])
    }

    pub(crate) fn set_rules(&mut self, rules: Vec<ModelRule>) {
        self.rules = rules;
        let all: Vec<_> = self
            .sessions
            .iter()
            .map(|(id, session)| (*id, self.under(&session.info, self.peer(session.connection))))
            .collect();
        for (id, under) in all {
            if let Some(session) = self.sessions.get_mut(&id) {
                session.under = under;
            }
        }
    }

    /// What comes of a session that is not found again, by the rules written down a second time.
    pub(crate) fn decide(&self, asking: &Asking<'_>, mono: u64) -> Outcome {
        let under = self.under(asking.info, asking.peer);
        if under.iter().any(|at| self.rules[*at].effect == RuleEffect::Deny) {
            return Outcome::Denied;
        }
        if asking.presence_only {
            return Outcome::Granted;
        }
        let own = holder(asking.id, asking.info);
        let all = self.holders();
        let shares = !asking.info.is_server && all.contains(&own);
        if !shares && mono < self.recover_until && !asking.has_lease {
            return Outcome::Recovering;
        }
        let brings = self.brings_seat(asking);
        let free = self.free(mono);
        if !shares && !brings && free == 0 {
            return self.without_seat(asking, mono, Outcome::Full);
        }
        for at in &under {
            let held = self.holders_under(*at, asking.known);
            let rule = &self.rules[*at];
            if rule.effect == RuleEffect::Limit
                && !held.contains(&own)
                && held.len() as u64 >= rule.seats
            {
                return Outcome::Limited;
            }
        }
        let open = |at: usize| {
            let rule = &self.rules[at];
            let held = self.holders_under(at, asking.known).len() as u64;
            let counts = rule.is_in_force && rule.effect == RuleEffect::Reserve;
            if counts { rule.seats.saturating_sub(held) } else { 0 }
        };
        if shares || brings || under.iter().any(|at| open(*at) > 0) {
            return Outcome::Granted;
        }
        let kept: u64 = (0..self.rules.len()).map(open).sum();
        if kept > 0 && free <= kept {
            self.without_seat(asking, mono, Outcome::Reserved)
        } else {
            Outcome::Granted
        }
    }

    /// Who would be refused if all opened again in their order, by which outcome.
    pub(crate) fn dry_run(&self, rules: Vec<ModelRule>, mono: u64) -> Vec<(SessionId, Outcome)> {
        let mut order: Vec<_> = self.sessions.iter().collect();
        order.sort_by_key(|(id, session)| (session.opened, **id));
        let mut fresh = Self { keys: self.keys_as_alone(mono), rules, ..Self::default() };
        fresh.utc_high = self.utc_high;
        let mut refused = Vec::new();
        for (id, session) in order {
            let (info, presence_only) = (&session.info, session.presence_only);
            let peer = self.peer(session.connection);
            let (has_lease, known) = (false, None);
            let (lease, is_elsewhere, may_wait) = (None, false, false);
            let asking = Asking {
                id: *id,
                info,
                peer,
                presence_only,
                has_lease,
                known,
                lease,
                is_elsewhere,
                may_wait,
            };
            let outcome = fresh.decide(&asking, 0);
            if outcome == Outcome::Granted {
                let under = fresh.under(info, peer);
                // Any key will do: all that counts is how many are free together.
                fresh.sessions.insert(*id, ModelSession { under, ..session.clone() });
            } else {
                refused.push((*id, outcome));
            }
        }
        refused
    }

    pub(crate) fn see(&mut self, utc: i64, mono: u64, is_start: bool) {
        const DAY: i64 = 86_400_000;
        let most = if is_start { 31 * DAY } else { DAY };
        let passed = i64::try_from(mono - self.utc_at).unwrap_or(0);
        let expected = self.utc_high.saturating_add(passed);
        self.utc_at = mono;
        if self.utc_high == i64::MIN {
            self.utc_high = utc;
            return;
        }
        if let Some((ahead, stood)) = self.ahead {
            let doubted = expected + ahead;
            if utc - doubted >= -3_600_000 && utc - doubted <= most {
                self.utc_high = if stood + passed >= 7 * DAY {
                    self.ahead = None;
                    utc
                } else {
                    let high = expected.max(utc - ahead);
                    self.ahead = Some((utc - high, stood + passed));
                    high
                };
                return;
            }
        }
        if utc - expected > most {
            self.ahead = Some((utc - expected, 0));
            self.utc_high = expected;
        } else {
            self.ahead = None;
            self.utc_high = utc.max(expected);
        }
    }

    pub(crate) fn expire(&mut self, now: u64) {
        self.connections.retain(|_, used| *used + CONNECTION_MILLIS > now);
        self.sessions.retain(|_, session| session.touched + SESSION_MILLIS > now);
        self.expire_node(now);
    }
}

pub(crate) fn holder(id: SessionId, info: &SessionInfo) -> String {
    if info.is_server { id.to_string() } else { format!("computer {}", info.computer_name) }
}

pub(crate) fn same_session(a: &SessionInfo, b: &SessionInfo) -> bool {
    (&a.session_number, &a.computer_name, &a.info_base_connection_str)
        == (&b.session_number, &b.computer_name, &b.info_base_connection_str)
}
