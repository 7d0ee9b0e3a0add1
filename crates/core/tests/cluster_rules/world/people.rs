//! Components: they open sessions, renew them, let them go, and go elsewhere with their leases; and the
//! counter that looks at nothing but these.

use licence_core::cluster::{Event, Standing, WANT_SECS};
use licence_core::lease_token::LeaseClaims;
use licence_core::protocol::{SessionInfo, Wish};
use licence_core::refusal::Refusal;
use licence_core::rules::CheckedRules;
use licence_core::service::{Event as ServiceEvent, LeasedSeat, Reply, RequestId};
use licence_core::session::SessionId;

use super::{Comp, HEARTBEAT_MILLIS, Kind, Msg, Opening, SETTLED_MILLIS, Waits, World};
use crate::host::{KEY, LIFE_MILLIS, series};

impl World {
    pub(super) fn component(&mut self, comp: usize) {
        let next = HEARTBEAT_MILLIS / 2 + self.draw.below(HEARTBEAT_MILLIS);
        self.after(next, Msg::Component { comp });
        if self.comps[comp].opening.is_some() || self.comps[comp].is_idle {
            return;
        }
        if self.comps[comp].lease.is_some_and(|(_, ends)| ends <= self.t) {
            self.count("lease over");
            self.comps[comp].lease = None;
            self.comps[comp].session = None;
        }
        let hosts = self.hosts.len() as u64;
        let Some(session) = self.comps[comp].session else {
            if !self.healed && self.draw.chance(35) {
                let host = self.draw.below(hosts) as usize;
                self.open(comp, host);
            }
            return;
        };
        if !self.healed && self.draw.chance(8) {
            return self.release(comp);
        }
        let host = self.comps[comp].at;
        let is_there = self.hosts[host].node.is_some();
        if is_there && !(self.stormy && !self.healed && self.draw.chance(4)) {
            let (request, connection) = (RequestId(4), self.hosts[host].connection);
            let t = self.t;
            let touch = ServiceEvent::Touch { request, connection, session };
            match self.hosts[host].serve(touch, t) {
                Some(Reply::Opened(_) | Reply::Done) => {
                    self.comps[comp].lease = Some((host, self.t + LIFE_MILLIS - 10));
                    return;
                }
                other => {
                    self.note(|| format!("comp {comp}: {other:?}"));
                    self.count("gone");
                }
            }
        }
        if self.stormy || !is_there {
            let other = self.draw.below(hosts) as usize;
            self.open(comp, other);
        }
    }

    pub(crate) fn release(&mut self, comp: usize) {
        let host = self.comps[comp].at;
        let Some(session) = self.comps[comp].session.take() else { return };
        self.comps[comp].lease = None;
        let t = self.t;
        if self.hosts[host].node.is_some() {
            let close = ServiceEvent::Close { request: RequestId(5), session };
            self.hosts[host].serve(close, t);
            self.tell(host);
        }
    }

    /// Begins to open a session at a host.
    fn open(&mut self, comp: usize, host: usize) {
        if self.hosts[host].node.is_none() {
            return;
        }
        let lease = self.comps[comp].lease.filter(|(_, ends)| *ends > self.t);
        let seat = match lease {
            Some((from, _)) if from != host => LeasedSeat::Elsewhere(format!("node{from}")),
            _ => LeasedSeat::Own,
        };
        self.seq += 1;
        let no = self.seq;
        let (is_claimed, tries, waits) = (false, 3, Waits::Claim);
        self.comps[comp].opening = Some(Opening { host, no, seat, is_claimed, tries, waits });
        self.after(WANT_SECS * 1000, Msg::Over { comp, no });
        self.again(comp, true);
    }

    /// Asks the service (again).
    pub(super) fn again(&mut self, comp: usize, may_wait: bool) {
        let Some(mut opening) = self.comps[comp].opening.take() else { return };
        let (t, host) = (self.t, opening.host);
        let lease = self.comps[comp].lease.filter(|(_, ends)| *ends > t);
        let old = self.comps[comp].session;
        let claims = old.zip(lease).map(|(session, (_, ends))| LeaseClaims {
            iss: "urn:licence-server:test".into(),
            sub: session.to_string(),
            iat: 0,
            exp: i64::try_from(ends / 1000).unwrap() + 1,
            key_id: series(),
            key_no: KEY,
        });
        let kind = self.comps[comp].kind;
        let info = SessionInfo {
            session_number: comp.to_string(),
            is_server: true,
            info_base_connection_str: "Srvr=\"a\";Ref=\"b\";".into(),
            app_name: "1CV8C".into(),
            computer_name: format!("pc{comp}"),
            user_name: Some(format!("{kind:?} {comp}").to_lowercase()),
            ..SessionInfo::default()
        };
        let connection = self.hosts[host].connection;
        let reply = self.hosts[host].serve(
            ServiceEvent::Open {
                request: RequestId(3),
                id: SessionId::from_bytes(self.draw.id()),
                connection,
                session: info,
                wish: Wish::default(),
                lease: claims,
                seat: opening.seat.clone(),
                may_wait: may_wait && opening.tries > 0,
            },
            t,
        );
        self.note(|| format!("comp {comp} {kind:?} at {host}: {reply:?}"));
        opening.tries = opening.tries.saturating_sub(1);
        let from = lease.map(|(from, _)| self.hosts[from].id);
        match reply.unwrap() {
            Reply::Opened(grant) => {
                self.count("opened");
                if opening.tries < 2 {
                    self.count("waited for a quota");
                }
                if lease.is_some_and(|(from, _)| from != host) {
                    self.count("moved");
                    self.moved.push(t);
                }
                self.comps[comp].session = Some(grant.session);
                self.comps[comp].lease = Some((host, t + LIFE_MILLIS - 10));
                self.comps[comp].at = host;
                if grant.is_elsewhere
                    && !opening.is_claimed
                    && let (Some(session), Some(from)) = (old, from)
                {
                    self.feed(host, Event::Claim { session, key_no: KEY, from });
                }
                self.judge();
            }
            Reply::Refused(refusal) => {
                match &refusal {
                    Refusal::LimitByRule { .. } => self.count("refused by a limit"),
                    Refusal::NoSeatFree { reserved, .. } if *reserved > 0 => {
                        self.count("refused by a reservation");
                    }
                    _ => self.count("refused"),
                }
                // Whose lease has run out while it waited comes as anybody does.
                let is_elsewhere =
                    lease.is_some() && matches!(opening.seat, LeasedSeat::Elsewhere(_));
                if is_elsewhere && matches!(refusal, Refusal::LimitByRule { .. }) {
                    self.fail(&format!("comp {comp} moves and is refused: {refusal}"));
                }
            }
            Reply::Wants(keys) => {
                opening.waits = Waits::Keys(keys);
                if let (Some(session), Some(from), false) = (old, from, opening.is_claimed) {
                    opening.is_claimed = true;
                    opening.waits = Waits::Claim;
                    self.comps[comp].opening = Some(opening);
                    self.feed(host, Event::Claim { session, key_no: KEY, from });
                } else {
                    self.comps[comp].opening = Some(opening);
                }
            }
            Reply::WantsQuotas(quotas) => {
                opening.waits = Waits::Quotas(quotas);
                self.comps[comp].opening = Some(opening);
            }
            other => panic!("{other:?}"),
        }
        self.tell_all(host);
    }

    fn seated(&self, kind: Option<Kind>) -> u32 {
        let living = self.comps.iter().filter(|comp| {
            comp.lease.is_some_and(|(_, ends)| ends > self.t)
                && kind.is_none_or(|kind| kind == comp.kind)
        });
        living.count() as u32
    }

    /// The counter.
    fn judge(&mut self) {
        let (guests, chiefs, all) =
            (self.seated(Some(Kind::Guest)), self.seated(Some(Kind::Chief)), self.seated(None));
        if all > self.seats {
            self.fail(&format!("{all} have a seat of {}", self.seats));
        }
        let over_limit = guests.saturating_sub(self.limit);
        let others = all - chiefs.min(self.reserved);
        let over_reserve = others.saturating_sub(self.seats - self.reserved);
        if over_limit > 0 || over_reserve > 0 {
            self.count("over");
        }
        let now = self.t;
        self.moved.retain(|at| at + SETTLED_MILLIS > now);
        let moved = self.moved.len() as u32;
        if over_limit.max(over_reserve) > moved {
            for (no, comp) in self.comps.iter().enumerate() {
                if let Some((at, ends)) = comp.lease.filter(|(_, ends)| *ends > self.t) {
                    self.note(|| format!("comp {no} {:?} at {at} until {ends}", comp.kind));
                }
            }
            self.fail(&format!(
                "{guests} guests of {}, {others} others of {} and {} reserved; {} have moved",
                self.limit, self.seats, self.reserved, moved
            ));
        }
    }

    /// Opens a session of a new component and waits for what becomes of it.
    pub(crate) fn open_at(&mut self, host: usize, kind: Kind) -> Option<usize> {
        let comp = self.comps.len();
        self.comps.push(Comp {
            kind,
            session: None,
            lease: None,
            at: host,
            opening: None,
            is_idle: false,
        });
        self.open(comp, host);
        let end = self.t + WANT_SECS * 1000 + 500;
        while self.comps[comp].opening.is_some() && self.t < end {
            self.run_until(self.t + 10);
        }
        self.comps[comp].lease?;
        self.after(500, Msg::Component { comp });
        Some(comp)
    }

    /// All nodes have these rules from now on.
    pub(crate) fn set_rules(&mut self, rules: &CheckedRules) {
        let t = self.t;
        for host in 0..self.hosts.len() {
            self.hosts[host].serve(ServiceEvent::RulesChanged(rules.clone()), t);
            self.tell_all(host);
        }
    }

    /// Everybody goes home, and whoever has died is forgotten.
    pub(crate) fn release_all(&mut self) {
        for comp in 0..self.comps.len() {
            self.release(comp);
            self.comps[comp].is_idle = true;
        }
        self.run_until(self.t + LIFE_MILLIS + 8_000);
    }

    /// After everything works again.
    pub(crate) fn exactly_what_the_rules_allow_can_be_had(&mut self) {
        self.release_all();
        let is_joined = self
            .hosts
            .iter()
            .all(|h| h.node.as_ref().is_some_and(|n| n.standing() == Standing::Joined));
        if !is_joined {
            self.fail("not all nodes are back");
        }
        for (kind, most) in [
            (Kind::Guest, self.limit.min(self.seats - self.reserved)),
            (Kind::Other, (self.seats - self.reserved).saturating_sub(self.limit)),
            (Kind::Chief, self.reserved),
        ] {
            let mut had = 0;
            for host in 0..self.hosts.len() {
                let mut refusals = 0;
                while refusals < 2 {
                    match self.open_at(host, kind) {
                        Some(_) => had += 1,
                        None => refusals += 1,
                    }
                    if had > most {
                        self.fail(&format!("{had} of {kind:?} at {host}, and {most} are allowed"));
                    }
                }
            }
            if had != most {
                self.fail(&format!("{had} of {kind:?} instead of {most}"));
            }
        }
    }
}
