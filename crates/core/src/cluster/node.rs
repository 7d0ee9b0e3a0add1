//! A node: its parts, and which of them an event is for.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::mem;

use super::NodeId;
use super::blocks::Local;
use super::claims::Sessions;
use super::event::{Asked, Effect, Event, NodeConfig, Standing};
use super::life::Life;
use super::quotas::Quotas;
use super::record::Member;
use super::store::Change;
use super::txns::Txns;
use super::view::{Absorbed, Name, View};
use crate::key::KeyNo;
use crate::time::MonoTime;

/// One node of a cluster.
#[derive(Debug)]
pub struct Node {
    pub(super) config: NodeConfig,
    pub(super) view: View,
    pub(super) standing: Standing,
    pub(super) life: Life,
    pub(super) locals: BTreeMap<KeyNo, Local>,
    pub(super) sessions: Sessions,
    pub(super) quotas: Quotas,
    pub(super) txns: Txns,
    /// Keys whose limits are to be looked at.
    pub(super) look: BTreeSet<KeyNo>,
    /// Keys whose pools are to be looked at.
    pub(super) due: BTreeSet<KeyNo>,
    /// When to look at keys again.
    pub(super) wakes: BTreeSet<(MonoTime, KeyNo)>,
    /// Nodes that are down for good, as an administrator says.
    pub(super) forgotten: BTreeSet<NodeId>,
    pub(super) now: MonoTime,
    pub(super) out: Vec<Effect>,
}

impl Node {
    /// A node that knows nothing yet. Handle [`Event::Tick`] first.
    pub fn new(config: NodeConfig) -> Self {
        Self {
            config,
            view: View::default(),
            standing: Standing::Starting,
            life: Life::default(),
            locals: BTreeMap::new(),
            sessions: Sessions::default(),
            quotas: Quotas::default(),
            txns: Txns::default(),
            look: BTreeSet::new(),
            due: BTreeSet::new(),
            wakes: BTreeSet::new(),
            forgotten: BTreeSet::new(),
            now: MonoTime::default(),
            out: Vec::new(),
        }
    }

    /// Carries on after a restart: the moment of the last [`Effect::HoldUntil`] of the process before,
    /// on the clock of this one. Without it, sessions that were restored are not renewed before etcd
    /// is reached, because others may believe that they have ended long ago.
    pub const fn hold_until(&mut self, at: MonoTime) {
        self.life.hold_until = Some(at);
    }

    /// Handles what happened.
    #[must_use = "the effects are the whole result: a dropped one is a lost answer"]
    pub fn handle(&mut self, event: Event, now: MonoTime) -> Vec<Effect> {
        self.now = self.now.max(now);
        match event {
            Event::Changed { changes, revision } => self.changed(changes, revision),
            Event::Claim { session, key_no, from } => self.claim(session, key_no, from),
            Event::Demand { key_no, held, waiting } => self.demand(key_no, held, waiting),
            Event::Ended { session, released } => self.ended(session, released),
            Event::Failed(asked) => self.failed(asked),
            Event::Forget(node) => self.forget(node),
            Event::KeptAlive { lease, sent } => self.kept_alive(lease, sent),
            Event::Keys(keys) => self.keys(keys),
            Event::LeaseGranted { lease, sent } => self.lease_granted(lease, sent),
            Event::LeaseLost { lease } => self.lease_lost(lease),
            Event::Limited { key_no, seats, held } => self.limited(key_no, seats, held),
            Event::Loaded { entries, revision } => {
                // A transaction of ours was done after this was read: it is read once more.
                if revision < self.txns.last_revision {
                    self.failed(Asked::Load);
                } else {
                    let absorbed = self.view.load(entries, revision, self.now);
                    self.loaded(revision);
                    self.absorbed(absorbed, true);
                }
            }
            Event::QuotaNeeds(needs) => self.quota_needs(needs),
            Event::QuotasLimited { no, limits } => self.quotas_limited(no, limits),
            Event::Stop => self.stop(),
            Event::TakenAway { session, held, quotas } => self.taken_away(session, held, quotas),
            Event::Tick => {}
            Event::TxnDone { no, outcome } => self.txn_done(no, outcome),
            Event::WatchLost => self.watch_lost(),
        }
        self.advance();
        self.check_invariants();
        mem::take(&mut self.out)
    }

    /// When to come back with [`Event::Tick`] at the latest.
    pub fn poll_timeout(&self) -> Option<MonoTime> {
        let wake = self.wakes.first().map(|(at, _)| *at);
        let quotas = self.quotas_timeout();
        [self.life_timeout(), self.txn_timeout(), self.claims_timeout(), quotas, wake]
            .into_iter()
            .flatten()
            .min()
    }

    /// What etcd says.
    pub const fn view(&self) -> &View {
        &self.view
    }

    /// How this node stands.
    pub const fn standing(&self) -> Standing {
        self.standing
    }

    /// A member of the cluster.
    pub fn member(&self, id: &NodeId) -> Option<&Member> {
        self.view.members().get(id)
    }

    /// Who does what only one needs to do: the smallest of the living.
    pub fn leader(&self) -> Option<&NodeId> {
        self.view.alive().keys().next()
    }

    pub(super) fn leads(&self) -> bool {
        self.leader() == Some(&self.config.me)
    }

    fn advance(&mut self) {
        self.life_step();
        while let Some(&(at, key_no)) = self.wakes.first() {
            if at > self.now {
                break;
            }
            self.wakes.remove(&(at, key_no));
            self.touch(key_no);
        }
        for key_no in mem::take(&mut self.look) {
            self.limits(key_no);
        }
        // A key that has got its first limit may have made the node a part of the cluster.
        self.life_step();
        self.resolve();
        self.quotas_step();
        self.next_txn();
    }

    /// Something about a key has changed: its limit and its pool are to be looked at.
    pub(super) fn touch(&mut self, key_no: KeyNo) {
        self.look.insert(key_no);
        self.due.insert(key_no);
    }

    pub(super) fn touch_all(&mut self) {
        let keys: Vec<KeyNo> = self.locals.keys().chain(self.view.pools.keys()).copied().collect();
        self.look.extend(&keys);
        self.due.extend(keys);
    }

    fn forget(&mut self, node: NodeId) {
        if node != self.config.me && !self.view.lives(&node) {
            self.forgotten.insert(node);
            self.quotas.touch();
            self.touch_all();
        }
    }

    fn changed(&mut self, changes: Vec<Change>, revision: i64) {
        let known = self.view.revision;
        let now = self.now;
        let news = changes.into_iter().filter(|change| change.revision() > known);
        let absorbed = news.filter_map(|change| self.view.absorb(change, now)).collect();
        self.view.reached(revision);
        self.absorbed(absorbed, false);
    }

    /// Follows up what has changed in the view, after all of it is there.
    pub(super) fn absorbed(&mut self, absorbed: Vec<Absorbed>, is_load: bool) {
        let mut pools = BTreeSet::new();
        let mut claims = BTreeMap::new();
        for Absorbed { name, claim_before, damage } in absorbed {
            if let Some((key, why)) = damage {
                self.out.push(Effect::Damaged { key, why });
            }
            match name {
                Name::Alive(node) => self.alive_changed(node),
                // What was before all of this: steps in between were never acted upon.
                Name::Claim(session) => {
                    claims.entry(session).or_insert(claim_before);
                }
                Name::Member(_) | Name::Settings | Name::Shared(_) => {}
                Name::Quotas => self.quotas.touch(),
                Name::Pool(key_no) => {
                    pools.insert(key_no);
                }
            }
        }
        for (session, before) in claims {
            self.claim_changed(session, before.as_ref(), is_load);
        }
        // After the claims: with a claim that is given goes the seat that is owed for it.
        for key_no in pools {
            self.pool_changed(key_no);
        }
    }

    fn alive_changed(&mut self, node: NodeId) {
        let is_gone = !self.view.lives(&node);
        if !is_gone {
            self.forgotten.remove(&node);
        }
        self.quotas.alive_changed(node, !is_gone, self.now);
        if node == self.config.me && is_gone && self.life.incarnation.is_some() {
            // etcd has ended the lease before it told so.
            if let Some(lease) = self.life.lease {
                self.lease_lost(lease);
            }
        }
        let keys: Vec<KeyNo> = self
            .view
            .pools
            .iter()
            .filter(|(_, seen)| {
                let pool = seen.value.as_ref();
                pool.is_some_and(|p| p.blocks.contains_key(&node) || p.wanting.contains_key(&node))
            })
            .map(|(key_no, _)| *key_no)
            .collect();
        for key_no in keys {
            self.holders_changed(key_no);
            self.touch(key_no);
            if is_gone {
                // Whoever is to mark its blocks may be about to die as well.
                self.wakes.insert((self.now.after(super::plan::OTHERS_MARK), key_no));
            }
        }
    }

    fn pool_changed(&mut self, key_no: KeyNo) {
        let is_mine =
            self.view.pool(key_no).is_some_and(|pool| pool.blocks.contains_key(&self.config.me));
        if is_mine && !self.locals.contains_key(&key_no) {
            let series = self.view.pool(key_no).map(|pool| pool.series);
            if let Some(series) = series {
                // A block of a key that this node has no licence for is given back.
                self.locals.insert(key_no, Local::new(series, 0));
            }
        }
        let usable = self.view.pool(key_no).map_or(0, |pool| pool.block_seats(&self.config.me));
        if let Some(local) = self.locals.get_mut(&key_no)
            && local.open
            && local.limit.saturating_add(local.owed) > usable
        {
            // Somebody else has written our block: it is found out anew what is ours.
            local.close();
        }
        self.holders_changed(key_no);
        self.touch(key_no);
        // Its seats may be others than before.
        self.quotas.touch();
    }

    fn check_invariants(&self) {
        for (key_no, local) in &self.locals {
            if let Some(pool) = self.view.pool(*key_no)
                && local.open
            {
                let block = pool.block_seats(&self.config.me);
                debug_assert!(
                    local.limit.saturating_add(local.owed) <= block,
                    "key {key_no}: limit {} and owed {} are more than the block {block}",
                    local.limit,
                    local.owed
                );
            }
            let owed = self.sessions.owed.values().filter(|owed| owed.0 == *key_no).count();
            debug_assert_eq!(owed, local.owed as usize, "key {key_no}: owed");
        }
    }
}
