//! What a run of the plan counts, and how it is told.

use std::collections::BTreeMap;

use licence_core::cluster::Txn;

use super::site::SECOND;

/// What a write to etcd is about.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Kind {
    /// A node says that it lives and what it holds.
    Alive,
    /// Claims, without their pool.
    Claims,
    /// A lease of a node.
    Lease,
    /// Claims together with their pool: seats that are drawn.
    Draws,
    /// Blocks that grow and shrink.
    Pool,
}

impl Kind {
    pub(super) fn of(txn: &Txn) -> Self {
        let has = |kind: &str| txn.then.iter().any(|op| op.key().starts_with(kind));
        match (has("pools/"), has("claims/")) {
            (true, true) => Self::Draws,
            (true, false) => Self::Pool,
            (false, true) => Self::Claims,
            (false, false) => Self::Alive,
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Second {
    written: u64,
    lost: u64,
    kept: u64,
}

/// What etcd had to do, by the second; and how newcomers fared.
#[derive(Default)]
pub(super) struct Tally {
    seconds: BTreeMap<u64, Second>,
    kinds: BTreeMap<Kind, u64>,
    bytes: u64,
    opened: u64,
    waits: Vec<u64>,
}

impl Tally {
    pub(super) fn wrote(&mut self, second: u64, kind: Kind, bytes: u64) {
        self.seconds.entry(second).or_default().written += 1;
        *self.kinds.entry(kind).or_default() += 1;
        self.bytes += bytes;
    }

    /// A transaction whose comparison did not hold: it costs a majority's disk all the same.
    pub(super) fn lost(&mut self, second: u64) {
        self.seconds.entry(second).or_default().lost += 1;
    }

    pub(super) fn kept(&mut self, second: u64) {
        self.seconds.entry(second).or_default().kept += 1;
    }

    /// A newcomer found a free seat in its node's block.
    pub(super) const fn opened(&mut self) {
        self.opened += 1;
    }

    /// A newcomer waited for the block to grow.
    pub(super) fn waited(&mut self, micros: u64) {
        self.waits.push(micros);
    }

    fn sum(&self, of: impl Fn(&Second) -> u64) -> u64 {
        self.seconds.values().map(of).sum()
    }

    /// Transactions done, and those that lost.
    pub(super) fn txns(&self) -> (u64, u64) {
        (self.sum(|second| second.written), self.sum(|second| second.lost))
    }

    /// The most that a second had of both.
    pub(super) fn peak(&self) -> u64 {
        self.seconds.values().map(|second| second.written + second.lost).max().unwrap_or(0)
    }

    /// One line of the report; what was counted is forgotten.
    pub(super) fn told(&mut self, what: &str, micros: u64) -> String {
        let (written, lost) = self.txns();
        let secs = (micros as f64 / SECOND as f64).max(1.0);
        let per = |count: u64| count as f64 / secs;
        let mut line = format!(
            "{what}: {secs:.0} s; written {written} ({:.1}/s), lost {lost} ({:.1}/s), peak {}/s, {:.0} KiB/s; \
             renewals {:.1}/s",
            per(written),
            per(lost),
            self.peak(),
            per(self.bytes) / 1024.0,
            per(self.sum(|second| second.kept)),
        );
        for (kind, count) in &self.kinds {
            line += &format!("; {kind:?} {count}");
        }
        if self.opened > 0 || !self.waits.is_empty() {
            let waits = std::mem::take(&mut self.waits);
            line += &format!(
                "; newcomers at once {}, after a wait {}{}",
                self.opened,
                waits.len(),
                spread(waits)
            );
        }
        *self = Self::default();
        line
    }
}

/// How those fared whose node died.
#[derive(Default)]
pub(super) struct Moved {
    after_death: Vec<u64>,
    after_asking: Vec<u64>,
    put_off: u32,
}

impl Moved {
    pub(super) fn record(&mut self, after_death: u64, after_asking: u64) {
        self.after_death.push(after_death);
        self.after_asking.push(after_asking);
    }

    pub(super) const fn put_off(&mut self) {
        self.put_off += 1;
    }

    pub(super) const fn count(&self) -> usize {
        self.after_death.len()
    }

    /// When the last one had its seat.
    pub(super) fn last(&self) -> u64 {
        self.after_death.iter().copied().max().unwrap_or(0)
    }

    pub(super) fn told(&self) -> String {
        format!(
            "moved {}: after the death{}; after asking{}; put off {} times",
            self.count(),
            spread(self.after_death.clone()),
            spread(self.after_asking.clone()),
            self.put_off
        )
    }
}

/// The blocks of living nodes at one moment.
#[derive(Clone, Copy)]
pub(super) struct Blocks {
    pub(super) least: u32,
    pub(super) most: u32,
    /// Seats in blocks of the living that nobody holds.
    pub(super) idle: u32,
    pub(super) unallocated: u32,
    /// Size of the pool's record.
    pub(super) bytes: usize,
}

impl std::fmt::Display for Blocks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { least, most, idle, unallocated, bytes } = self;
        write!(
            f,
            "blocks of {least} to {most} seats, {idle} of them idle; {unallocated} in nobody's; \
             the pool's record {bytes} bytes"
        )
    }
}

fn spread(mut micros: Vec<u64>) -> String {
    micros.sort_unstable();
    let at = |per_mille: usize| {
        let place = (micros.len() * per_mille / 1000).min(micros.len().saturating_sub(1));
        micros.get(place).map_or(0.0, |micros| *micros as f64 / 1000.0)
    };
    format!(" p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms", at(500), at(990), at(1000))
}
