//! The seats of installed keys: which keys may give out seats, and which one serves a wish.
//!
//! Rules of the manual's chapter «Ключи защиты»: an additional key counts only beside a usable
//! main key of its series on the same server; a demo key stands alone and never adds. The pool
//! knows how many seats of a key are held, not by whom; holders are the service's business.

use std::collections::BTreeMap;

use crate::key::{KeyKind, KeyNo, KeySeries, Obstacle, ProtectionKey};
use crate::protocol::Wish;
use crate::refusal::UnmetWish;
use crate::time::Utc;

/// Whether a key may give out seats, and if not, why.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyStatus {
    /// It stands beside other keys of its series.
    DemoNotAlone,
    /// It may.
    Enabled,
    /// Its term is over.
    Expired,
    /// An additional key without a usable main key.
    NoMainKey,
    /// Its term has not begun.
    NotStarted,
    /// Something keeps it from working on this server.
    Kept(Obstacle),
}

/// A key and what is held of it.
#[derive(Clone, Debug)]
pub struct PooledKey {
    /// The key.
    pub key: ProtectionKey,
    /// Whether it gives out seats.
    pub status: KeyStatus,
    /// Seats held.
    pub held: u32,
    /// Of a key of a cluster: how many of its seats this node may give out; nothing when it has not
    /// been told yet. Never less than are held.
    pub limit: Option<u32>,
    /// Of a key of a cluster: seats kept, as if they were held, for sessions that are about to open
    /// here with the seats that they had at another node.
    pub expected: u32,
    /// Of a key of a cluster: whether this node may give out seats at this moment.
    pub may_grant: bool,
}

impl KeyStatus {
    /// Whether the seats that are held of such a key go on.
    pub const fn keeps_seats(self) -> bool {
        matches!(self, Self::Enabled | Self::Kept(Obstacle::TokenInDoubt))
    }
}

impl PooledKey {
    /// Seats free at this server: none unless the key is enabled.
    pub fn free(&self) -> u32 {
        if self.status == KeyStatus::Enabled {
            self.own_seats().saturating_sub(self.spoken_for())
        } else {
            0
        }
    }

    /// Seats that this server may give out by itself, held or not.
    fn own_seats(&self) -> u32 {
        if self.key.cluster.is_none() {
            self.key.seats
        } else if self.may_grant {
            self.key.seats.min(self.limit.unwrap_or(0))
        } else {
            0
        }
    }

    /// Seats that are with other nodes, or nobody's yet: those that this server would have to ask
    /// its cluster for.
    pub fn elsewhere(&self) -> u32 {
        if self.key.cluster.is_none() {
            return 0;
        }
        self.key.seats.saturating_sub(self.limit.unwrap_or(0).max(self.spoken_for()))
    }

    /// Seats that are held or kept.
    pub const fn spoken_for(&self) -> u32 {
        self.held.saturating_add(self.expected)
    }

    /// Whether the cluster might give a seat more at a later moment.
    pub(crate) fn may_grow(&self) -> bool {
        self.status == KeyStatus::Enabled
            && self.key.cluster.is_some()
            && (!self.may_grant || self.limit.unwrap_or(0) < self.key.seats)
    }

    /// Whether it is a key of a cluster that gives out nothing at this moment, whatever is free.
    pub(crate) fn is_out_of_touch(&self) -> bool {
        self.status == KeyStatus::Enabled
            && self.key.cluster.is_some()
            && (!self.may_grant || self.limit.is_none())
    }
}

/// Why no key serves a wish.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PoolRefusal {
    /// All seats of the fitting keys are held: this many.
    Full {
        /// Seats of all fitting keys.
        total: u64,
    },
    /// There is no key of the series.
    NoKey,
    /// No seat is free, and a key of a cluster gives out none because this node is not in touch with
    /// it.
    OutOfTouch,
    /// Keys there are, but none may be used; the first one's reason.
    Unusable {
        /// The key.
        key_no: KeyNo,
        /// Why it may not be used.
        status: KeyStatus,
    },
    /// Usable keys there are, but none is what the session asks for.
    Unmet(UnmetWish),
}

/// All installed keys.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    keys: BTreeMap<KeyNo, PooledKey>,
    by_series: BTreeMap<KeySeries, Vec<KeyNo>>,
    next_change: Option<Utc>,
    /// Limits of keys of a cluster, also of keys that are not here at this moment: the node counts
    /// on them until it says otherwise.
    limits: BTreeMap<KeyNo, u32>,
    /// Whether keys of a cluster may give out seats.
    may_grant: bool,
    /// Whether what the cluster's node must know of its keys has changed since it was asked for.
    is_cluster_changed: bool,
}

impl Pool {
    /// All keys, by serial number.
    pub fn keys(&self) -> impl Iterator<Item = &PooledKey> {
        self.keys.values()
    }

    /// One key.
    pub fn key(&self, key_no: KeyNo) -> Option<&PooledKey> {
        self.keys.get(&key_no)
    }

    /// The keys of a series: main before additional before demo, then by serial number.
    pub fn of_series(&self, series: KeySeries) -> impl Iterator<Item = &PooledKey> {
        self.by_series.get(&series).into_iter().flatten().filter_map(|no| self.keys.get(no))
    }

    /// The next moment at which a key's term begins or ends.
    pub const fn next_change(&self) -> Option<Utc> {
        self.next_change
    }

    /// Adds a key or replaces the one with its number; what is held of it stays held.
    pub fn insert(&mut self, key: ProtectionKey, utc: Utc) {
        let (held, expected) =
            self.keys.get(&key.key_no).map_or((0, 0), |old| (old.held, old.expected));
        // A key that worked alone before may have more seats held than this node has of it as a key
        // of a cluster: it gives out none until the node says what is what.
        let limit = self.limits.get(&key.key_no).copied();
        let limit = limit.filter(|limit| key.cluster.is_some() && held + expected <= *limit);
        let may_grant = self.may_grant;
        let status = KeyStatus::Expired;
        let pooled = PooledKey { status, held, limit, expected, may_grant, key };
        self.keys.insert(pooled.key.key_no, pooled);
        self.refresh(utc);
    }

    /// Takes a key away. What was held of it is the caller's to move or to end.
    pub fn remove(&mut self, key_no: KeyNo, utc: Utc) -> Option<PooledKey> {
        let removed = self.keys.remove(&key_no);
        self.is_cluster_changed |= removed.as_ref().is_some_and(|old| old.key.cluster.is_some());
        self.refresh(utc);
        removed
    }

    /// Works out again which keys are usable at `utc`.
    pub fn refresh(&mut self, utc: Utc) {
        let mut by_series: BTreeMap<KeySeries, Vec<(KeyKind, KeyNo)>> = BTreeMap::new();
        for (key_no, pooled) in &self.keys {
            by_series.entry(pooled.key.series).or_default().push((pooled.key.kind, *key_no));
        }
        self.by_series.clear();
        for (series, mut keys) in by_series {
            keys.sort_unstable();
            let alone = keys.len() == 1;
            // Of several main keys the best counts: one that works, then one whose token is in doubt.
            let main = keys
                .iter()
                .filter(|(kind, _)| *kind == KeyKind::Main)
                .filter_map(|(_, key_no)| self.keys.get(key_no))
                .map(|main| own_status(&main.key, utc).unwrap_or(KeyStatus::Enabled))
                .filter(|status| status.keeps_seats())
                .min_by_key(|status| *status != KeyStatus::Enabled);
            for (kind, key_no) in &keys {
                if let Some(pooled) = self.keys.get_mut(key_no) {
                    pooled.status = own_status(&pooled.key, utc).unwrap_or_else(|| match kind {
                        KeyKind::Additional => main.unwrap_or(KeyStatus::NoMainKey),
                        KeyKind::Demo if !alone => KeyStatus::DemoNotAlone,
                        KeyKind::Main | KeyKind::Demo => KeyStatus::Enabled,
                    });
                }
            }
            self.by_series.insert(series, keys.into_iter().map(|(_, key_no)| key_no).collect());
        }
        self.next_change =
            self.keys.values().filter_map(|pooled| pooled.key.term.next_change(utc)).min();
        self.is_cluster_changed |= self.keys.values().any(|pooled| pooled.key.cluster.is_some());
    }

    /// The keys that fit a wish, in the order in which their seats are taken.
    ///
    /// # Errors
    ///
    /// Why none fits; never [`PoolRefusal::Full`].
    pub fn fitting(&self, series: KeySeries, wish: &Wish) -> Result<Vec<KeyNo>, PoolRefusal> {
        let mut unusable = None;
        let mut unmet = None;
        let mut fitting = Vec::new();
        for pooled in self.of_series(series) {
            if !pooled.status.keeps_seats() {
                unusable.get_or_insert(PoolRefusal::Unusable {
                    key_no: pooled.key.key_no,
                    status: pooled.status,
                });
                continue;
            }
            match unmet_wish(&pooled.key, wish) {
                None => fitting.push(pooled.key.key_no),
                Some(reason) => {
                    unmet.get_or_insert(PoolRefusal::Unmet(reason));
                }
            }
        }
        if fitting.is_empty() {
            return Err(unmet.or(unusable).unwrap_or(PoolRefusal::NoKey));
        }
        Ok(fitting)
    }

    /// Whether a usable key is what a session asks for that is there already and takes no seat. Access
    /// codes are for those who come: one that changed later sends nobody away.
    pub fn is_present(&self, series: KeySeries, wish: &Wish) -> bool {
        self.of_series(series)
            .filter(|pooled| pooled.status.keeps_seats())
            .any(|pooled| unmet_but_code(&pooled.key, wish).is_none())
    }

    /// Free seats of all keys of a series.
    pub fn free(&self, series: KeySeries) -> u64 {
        self.of_series(series).map(|pooled| u64::from(pooled.free())).sum()
    }

    /// The first of `fitting` with a free seat.
    ///
    /// # Errors
    ///
    /// [`PoolRefusal::OutOfTouch`] when a key of a cluster might serve if this node were in touch
    /// with it; [`PoolRefusal::Unusable`] when the token of one is in doubt; else
    /// [`PoolRefusal::Full`].
    pub fn choose(&self, fitting: &[KeyNo]) -> Result<KeyNo, PoolRefusal> {
        let keys = || fitting.iter().filter_map(|key_no| self.keys.get(key_no));
        if let Some(free) = keys().find(|pooled| pooled.free() > 0) {
            return Ok(free.key.key_no);
        }
        if let Some(doubted) = keys().find(|pooled| pooled.status != KeyStatus::Enabled) {
            let (key_no, status) = (doubted.key.key_no, doubted.status);
            return Err(PoolRefusal::Unusable { key_no, status });
        }
        if keys().any(PooledKey::is_out_of_touch) {
            return Err(PoolRefusal::OutOfTouch);
        }
        Err(PoolRefusal::Full { total: keys().map(|pooled| u64::from(pooled.key.seats)).sum() })
    }

    /// Counts one more seat of a key as held.
    pub(crate) fn take(&mut self, key_no: KeyNo) {
        if let Some(pooled) = self.keys.get_mut(&key_no) {
            pooled.held += 1;
            self.is_cluster_changed |= pooled.key.cluster.is_some();
        }
    }

    /// Counts one seat of a key as free again.
    pub(crate) fn give_back(&mut self, key_no: KeyNo) {
        if let Some(pooled) = self.keys.get_mut(&key_no) {
            debug_assert!(pooled.held > 0, "a seat was given back that nobody held");
            pooled.held = pooled.held.saturating_sub(1);
            self.is_cluster_changed |= pooled.key.cluster.is_some();
        }
    }

    /// Says how many seats of a key of a cluster this node may give out: as many as are spoken for
    /// at least, unless it is `forced`. Returns the limit in force and what is spoken for.
    pub(crate) fn set_limit(&mut self, key_no: KeyNo, seats: u32, is_forced: bool) -> (u32, u32) {
        self.is_cluster_changed = true;
        let Some(pooled) = self.keys.get_mut(&key_no).filter(|key| key.key.cluster.is_some())
        else {
            self.limits.insert(key_no, seats);
            return (seats, 0);
        };
        let limit = if is_forced { seats } else { seats.max(pooled.spoken_for()) };
        pooled.limit = Some(limit);
        self.limits.insert(key_no, limit);
        (limit, pooled.spoken_for())
    }

    /// A seat has left this node.
    pub(crate) fn lower_limit(&mut self, key_no: KeyNo) {
        if let Some(pooled) = self.keys.get_mut(&key_no)
            && let Some(limit) = pooled.limit
        {
            let limit = limit.saturating_sub(1).max(pooled.spoken_for());
            pooled.limit = Some(limit);
            self.limits.insert(key_no, limit);
            self.is_cluster_changed = true;
        }
    }

    /// Whether keys of a cluster may give out seats from this moment on.
    pub(crate) fn set_may_grant(&mut self, may_grant: bool) {
        if self.may_grant == may_grant {
            return;
        }
        self.may_grant = may_grant;
        for pooled in self.keys.values_mut() {
            pooled.may_grant = may_grant;
        }
    }

    /// Keeps a seat of a key of a cluster for a session that has it already, whatever the limit was.
    pub(crate) fn expect(&mut self, key_no: KeyNo) {
        if let Some(pooled) = self.keys.get_mut(&key_no) {
            pooled.expected += 1;
            if let Some(limit) = pooled.limit.filter(|limit| *limit < pooled.spoken_for()) {
                pooled.limit = Some(limit + 1);
                self.limits.insert(key_no, limit + 1);
            }
            self.is_cluster_changed = true;
        }
    }

    /// The session has come, or is not waited for any longer.
    pub(crate) fn expect_no_more(&mut self, key_no: KeyNo) {
        if let Some(pooled) = self.keys.get_mut(&key_no) {
            debug_assert!(pooled.expected > 0, "a seat was not kept");
            pooled.expected = pooled.expected.saturating_sub(1);
            self.is_cluster_changed = true;
        }
    }

    /// Whether anything that the cluster's node must know has changed since this was asked last.
    pub(crate) const fn take_cluster_changed(&mut self) -> bool {
        std::mem::replace(&mut self.is_cluster_changed, false)
    }
}

/// What keeps a key from use, whatever other keys there are.
fn own_status(key: &ProtectionKey, utc: Utc) -> Option<KeyStatus> {
    if let Some(obstacle) = key.obstacle {
        Some(KeyStatus::Kept(obstacle))
    } else if key.term.is_expired(utc) {
        Some(KeyStatus::Expired)
    } else if !key.term.has_started(utc) {
        Some(KeyStatus::NotStarted)
    } else {
        None
    }
}

fn unmet_wish(key: &ProtectionKey, wish: &Wish) -> Option<UnmetWish> {
    // A key with a code serves only those who name it; a code that no key has serves nobody.
    let is_named = match (&key.access_code, &wish.access_code) {
        (Some(code), Some(named)) => code.is(named),
        (code, named) => code.is_none() && named.is_none(),
    };
    if is_named { unmet_but_code(key, wish) } else { Some(UnmetWish::AccessCode) }
}

fn unmet_but_code(key: &ProtectionKey, wish: &Wish) -> Option<UnmetWish> {
    let differs = |wanted: &Option<String>, has: &Option<String>| wanted.is_some() && wanted != has;
    if wish.key_no.is_some_and(|wanted| wanted != key.key_no) {
        Some(UnmetWish::KeyNo)
    } else if wish.reg_no.is_some() && wish.reg_no != key.reg_no {
        Some(UnmetWish::RegNo)
    } else if differs(&wish.itn, &key.itn) {
        Some(UnmetWish::Itn)
    } else if differs(&wish.iec, &key.iec) {
        Some(UnmetWish::Iec)
    } else if key.product_version != 0
        && wish.product_version.is_some_and(|wanted| wanted > key.product_version)
    {
        Some(UnmetWish::ProductVersion)
    } else if wish.service_type.is_some_and(|wanted| wanted != key.service_type) {
        Some(UnmetWish::ServiceType)
    } else {
        None
    }
}
