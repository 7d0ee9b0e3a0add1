//! The node's life in etcd: its lease, loading and watching, how it stands, how it stops.

use std::time::Duration;

use super::GUARD_SECS;
use super::event::{Asked, Effect, Standing};
use super::node::Node;
use super::record::write;
use super::store::{Compare, Op, Txn};
use super::view::Name;
use crate::time::MonoTime;

/// How long after a call that brought nothing it is made again.
const RETRY: Duration = Duration::from_millis(300);

/// How often the seats that are held are told in `alive`, which costs a write.
const ALIVE_EVERY: Duration = Duration::from_secs(15);

/// How long a stop may take: longer, and whoever stops the process would kill it.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// The node's life in etcd.
#[derive(Debug, Default)]
pub(super) struct Life {
    pub(super) loaded: bool,
    loading: bool,
    load_at: MonoTime,
    /// Nobody told what happened since the last load.
    gap: bool,
    pub(super) lease: Option<i64>,
    granting: bool,
    grant_at: MonoTime,
    keeping: bool,
    keep_at: MonoTime,
    /// When the last renewal that succeeded was sent.
    renewed: Option<MonoTime>,
    /// Revision that made `alive/<me>` under the lease.
    pub(super) incarnation: Option<i64>,
    /// The keys are being closed and what has moved away is taken from the service.
    pub(super) entering: bool,
    /// That is done for every key.
    pub(super) entered: bool,
    pub(super) hold_until: Option<MonoTime>,
    has_ended_all: bool,
    alive_at: MonoTime,
    /// What the node's licences grant has changed since `alive` was written.
    pub(super) is_alive_stale: bool,
    stop_by: Option<MonoTime>,
    has_stopped: bool,
    has_told_settings: bool,
}

impl Node {
    fn ttl(&self) -> Duration {
        Duration::from_secs(u64::from(self.view.settings().map_or(5, |s| s.lease_ttl_secs)))
    }

    pub(super) fn isolation(&self) -> Duration {
        Duration::from_secs(u64::from(self.view.settings().map_or(3600, |s| s.isolation_secs)))
    }

    /// Until when this node may grant.
    fn valid_until(&self) -> Option<MonoTime> {
        self.life.lease?;
        let span = self.ttl().saturating_sub(Duration::from_secs(GUARD_SECS));
        self.life.renewed.map(|renewed| renewed.after(span))
    }

    fn is_fresh(&self) -> bool {
        self.valid_until().is_some_and(|until| self.now < until)
    }

    /// When no session that was held can have a valid lease any more.
    fn end_all_at(&self) -> Option<MonoTime> {
        self.life.hold_until.map(|until| until.after(self.config.session_life))
    }

    /// Whether what it decides may be written.
    pub(super) fn may_write(&self) -> bool {
        self.life.loaded && self.life.entering && self.is_fresh()
    }

    /// Whether the next transaction would be sent at once. Timers that want one wait for it.
    pub(super) fn may_send(&self) -> bool {
        self.may_write() && !self.txns.is_busy() && self.txns.stalled.is_none()
    }

    pub(super) fn life_timeout(&self) -> Option<MonoTime> {
        let life = &self.life;
        if life.has_stopped {
            return None;
        }
        [
            (!life.loaded && !life.loading).then_some(life.load_at),
            self.wants_lease().then_some(life.grant_at),
            (life.lease.is_some() && !life.keeping).then_some(life.keep_at),
            (self.standing == Standing::Joined).then(|| self.valid_until()).flatten(),
            (!life.has_ended_all).then(|| self.end_all_at()).flatten(),
            life.stop_by,
            life.incarnation
                .filter(|_| self.may_send() && life.stop_by.is_none())
                .map(|_| life.alive_at),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn wants_lease(&self) -> bool {
        let life = &self.life;
        life.loaded
            && life.lease.is_none()
            && !life.granting
            && life.stop_by.is_none()
            && self.view.settings().is_some()
            && self.member(&self.config.me).is_some()
    }

    pub(super) fn life_step(&mut self) {
        let now = self.now;
        if self.life.has_stopped {
            return;
        }
        if self.life.hold_until.is_none() {
            self.life.hold_until = Some(now);
            self.out.push(Effect::HoldUntil(Some(now)));
        }
        if !self.life.has_ended_all && self.end_all_at().is_some_and(|at| at <= now) {
            self.life.has_ended_all = true;
            self.out.push(Effect::EndAll);
        }
        if !self.life.loaded && !self.life.loading && self.life.load_at <= now {
            self.life.loading = true;
            self.out.push(Effect::Load);
        }
        if self.wants_lease() && self.life.grant_at <= now {
            self.life.granting = true;
            let ttl_secs = self.view.settings().map_or(5, |settings| settings.lease_ttl_secs);
            self.out.push(Effect::GrantLease { ttl_secs });
        }
        if let Some(lease) = self.life.lease
            && !self.life.keeping
            && self.life.keep_at <= now
        {
            self.life.keeping = true;
            self.out.push(Effect::KeepAlive { lease });
        }
        self.adopt();
        self.enter();
        self.stand();
        self.stop_step();
    }

    /// `alive/<me>` under our lease is there: this is our incarnation.
    fn adopt(&mut self) {
        if self.life.incarnation.is_none()
            && let Some(lease) = self.life.lease
            && let Some(seen) = self.view.alive.get(&self.config.me)
            && seen.lease == lease
        {
            self.life.incarnation = Some(seen.create_revision);
            self.life.alive_at = self.now.after(ALIVE_EVERY);
        }
    }

    /// Begins to take part: no key grants until what has moved away is known.
    fn enter(&mut self) {
        let life = &mut self.life;
        if life.entering || life.incarnation.is_none() || !life.loaded || life.stop_by.is_some() {
            return;
        }
        life.entering = true;
        for local in self.locals.values_mut() {
            local.close();
        }
        self.sessions_enter();
        self.quotas_enter();
        self.touch_all();
    }

    fn stand(&mut self) {
        if self.standing == Standing::Stopping {
            return;
        }
        if self.life.entering && !self.life.entered {
            self.life.entered = self.locals.values().all(|local| local.closed);
        }
        let is_joined = self.life.entered && self.is_fresh();
        match (self.standing, is_joined) {
            (Standing::Joined, false) => {
                let since = self.life.renewed.unwrap_or(self.now);
                self.set_standing(Standing::Isolated { since });
            }
            (Standing::Isolated { .. } | Standing::Starting, true) => {
                self.life.has_ended_all = false;
                self.life.hold_until = self.life.renewed.map(|at| at.after(self.isolation()));
                self.out.push(Effect::HoldUntil(self.life.hold_until));
                self.out.push(Effect::ValidUntil(self.valid_until()));
                self.set_standing(Standing::Joined);
                self.touch_all();
            }
            _ => {}
        }
    }

    fn set_standing(&mut self, standing: Standing) {
        self.standing = standing;
        self.out.push(Effect::Standing(standing));
    }

    pub(super) fn failed(&mut self, asked: Asked) {
        let at = self.now.after(RETRY);
        match asked {
            Asked::Grant => (self.life.granting, self.life.grant_at) = (false, at),
            Asked::KeepAlive => (self.life.keeping, self.life.keep_at) = (false, at),
            Asked::Load => (self.life.loading, self.life.load_at) = (false, at),
        }
    }

    pub(super) fn lease_granted(&mut self, lease: i64, sent: MonoTime) {
        self.life.granting = false;
        if self.life.lease.is_some() || self.life.stop_by.is_some() {
            // Nobody needs it: an answer came after we had given up waiting for it.
            self.out.push(Effect::RevokeLease { lease });
            return;
        }
        self.life.lease = Some(lease);
        self.life.keeping = false;
        self.renewed(sent);
    }

    pub(super) fn kept_alive(&mut self, lease: i64, sent: MonoTime) {
        if self.life.lease == Some(lease) {
            self.life.keeping = false;
            self.renewed(sent);
        }
    }

    fn renewed(&mut self, sent: MonoTime) {
        if self.life.renewed.is_some_and(|renewed| renewed > sent) {
            return;
        }
        self.life.renewed = Some(sent);
        self.life.keep_at = sent.after(self.ttl() / 3).max(self.now);
        let hold = sent.after(self.isolation());
        if self.life.entered {
            self.life.hold_until = Some(hold);
            self.out.push(Effect::HoldUntil(Some(hold)));
            if self.standing == Standing::Joined {
                self.out.push(Effect::ValidUntil(self.valid_until()));
            }
        }
    }

    pub(super) fn lease_lost(&mut self, lease: i64) {
        if self.life.lease != Some(lease) {
            return;
        }
        self.life.lease = None;
        self.life.keeping = false;
        self.life.incarnation = None;
        self.life.entering = false;
        self.life.entered = false;
        self.life.grant_at = self.now;
        if self.standing == Standing::Joined {
            self.out.push(Effect::ValidUntil(None));
            let since = self.life.renewed.unwrap_or(self.now);
            self.set_standing(Standing::Isolated { since });
        }
    }

    pub(super) fn watch_lost(&mut self) {
        self.life.gap = true;
        self.reload();
    }

    /// What is known may be wrong: all is read again.
    pub(super) fn reload(&mut self) {
        self.life.loaded = false;
        self.life.load_at = self.now;
    }

    pub(super) fn loaded(&mut self, revision: i64) {
        self.life.loading = false;
        self.life.loaded = true;
        if self.life.gap {
            self.life.gap = false;
            self.view.restart_orphans(None, self.now);
            self.quotas.restart_absent(self.now);
        }
        self.txns.stalled = None;
        self.out.push(Effect::Watch { after: revision });
        if self.view.settings().is_none() && !self.view.damaged().contains_key("settings") {
            if !self.life.has_told_settings {
                let why = "there is no such key: the cluster has not been made".to_owned();
                self.out.push(Effect::Damaged { key: Name::Settings.key(), why });
            }
            self.life.has_told_settings = true;
        }
    }

    /// What is to be written about this node's life, if anything.
    pub(super) fn alive_txn(&mut self) -> Option<Txn> {
        let lease = self.life.lease?;
        if !self.life.loaded || !self.is_fresh() || self.life.stop_by.is_some() {
            return None;
        }
        let key = Name::Alive(self.config.me).key();
        let mut alive = self.config.alive.clone();
        alive.held = self.locals.iter().map(|(key_no, local)| (*key_no, local.held)).collect();
        alive.keys = self
            .locals
            .iter()
            .filter(|(_, local)| local.seats > 0)
            .map(|(key_no, local)| (*key_no, local.seats))
            .collect();
        let put = |alive| Op::Put { key: key.clone(), value: write(&alive), lease: Some(lease) };
        match (self.view.alive.get(&self.config.me), self.life.incarnation) {
            (None, None) => Some(Txn {
                compare: vec![Compare::Created { key: key.clone(), revision: 0 }],
                then: vec![put(alive)],
            }),
            (Some(seen), None) => {
                // Of this very process, under a lease that it has lost: it need not wait for its
                // end. Of another one it waits: two processes with one identity must not both work.
                let is_own = seen.value.as_ref().is_some_and(|old| old.started == alive.started);
                is_own.then(|| Txn {
                    compare: vec![Compare::Modified {
                        key: key.clone(),
                        revision: seen.mod_revision,
                    }],
                    then: vec![Op::Delete { key: key.clone() }],
                })
            }
            (Some(seen), Some(incarnation)) => {
                if !self.life.is_alive_stale && self.now < self.life.alive_at {
                    return None;
                }
                self.life.alive_at = self.now.after(ALIVE_EVERY);
                self.life.is_alive_stale = false;
                (seen.value.as_ref() != Some(&alive)).then(|| Txn {
                    compare: vec![Compare::Created { key: key.clone(), revision: incarnation }],
                    then: vec![put(alive)],
                })
            }
            (None, Some(_)) => None,
        }
    }

    pub(super) fn stop(&mut self) {
        if self.life.stop_by.is_some() {
            return;
        }
        self.life.stop_by = Some(self.now.after(STOP_WITHIN));
        self.set_standing(Standing::Stopping);
        self.out.push(Effect::ValidUntil(None));
        self.quotas.touch();
        self.touch_all();
    }

    fn stop_step(&mut self) {
        let Some(by) = self.life.stop_by else { return };
        let has_more = self.may_write()
            && (self.txns.is_busy()
                || self.has_quotas_to_write()
                || self.locals.keys().any(|key_no| !self.is_given_back(*key_no)));
        if has_more && self.now < by {
            return;
        }
        self.life.has_stopped = true;
        if let Some(lease) = self.life.lease {
            self.out.push(Effect::RevokeLease { lease });
        }
        self.out.push(Effect::Stopped);
    }
}
