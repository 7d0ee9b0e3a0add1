//! Openings that wait for something of which other nodes may have more: seats of a key, or a part of
//! a quota.
//!
//! Keeps who waits for what and until when. Whether there is something is decided by the core.

use std::collections::BTreeSet;
use std::time::Duration;

use licence_core::cluster::WANT_SECS;
use licence_core::time::MonoTime;
use tokio::sync::oneshot;

/// Those who wait, in the order in which they came. `K` is what for.
#[derive(Debug)]
pub(super) struct Waiting<K> {
    wants: Vec<Want<K>>,
}

/// Somebody who waits for one of these.
#[derive(Debug)]
struct Want<K> {
    of: Vec<K>,
    until: MonoTime,
    answer: oneshot::Sender<bool>,
}

impl<K: Clone + Ord> Waiting<K> {
    pub(super) const fn new() -> Self {
        Self { wants: Vec::new() }
    }

    pub(super) fn add(&mut self, of: Vec<K>, now: MonoTime, answer: oneshot::Sender<bool>) {
        let until = now.after(Duration::from_secs(WANT_SECS));
        self.wants.push(Want { of, until, answer });
    }

    /// How many wait for it.
    pub(super) fn count(&self, of: &K) -> u32 {
        let waiting = self.wants.iter().filter(|want| want.of.contains(of)).count();
        u32::try_from(waiting).unwrap_or(u32::MAX)
    }

    /// Those who no longer wait count no longer. Returns what they waited for.
    pub(super) fn forget_gone(&mut self, now: MonoTime) -> BTreeSet<K> {
        let is_over = |want: &Want<K>| now >= want.until || want.answer.is_closed();
        let over = self.wants.iter().filter(|want| is_over(want));
        let of: BTreeSet<K> = over.flat_map(|want| want.of.iter().cloned()).collect();
        if !of.is_empty() {
            self.wants.retain(|want| !is_over(want));
        }
        of
    }

    /// Tells some of those who wait for it; the rest goes on waiting.
    pub(super) fn tell(&mut self, of: &K, there_is_one: bool, count: usize) {
        let mut told = 0;
        let mut left = Vec::with_capacity(self.wants.len());
        for mut want in std::mem::take(&mut self.wants) {
            if told >= count || !want.of.contains(of) {
                left.push(want);
                continue;
            }
            if !there_is_one && want.of.len() > 1 {
                // There may still be something of another one.
                want.of.retain(|other| other != of);
                left.push(want);
                continue;
            }
            told += 1;
            // Whoever asked may have gone.
            let _ = want.answer.send(there_is_one);
        }
        self.wants = left;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> MonoTime {
        MonoTime::from_millis(millis)
    }

    #[test]
    fn first_who_came_is_told_first_and_others_wait_on() {
        let mut waiting = Waiting::new();
        let (first, mut told_first) = oneshot::channel();
        let (second, mut told_second) = oneshot::channel();
        waiting.add(vec![1, 2], at(0), first);
        waiting.add(vec![2], at(1), second);
        assert_eq!((waiting.count(&1), waiting.count(&2)), (1, 2));
        waiting.tell(&2, true, 1);
        assert_eq!(told_first.try_recv(), Ok(true));
        assert!(told_second.try_recv().is_err());
        waiting.tell(&2, false, usize::MAX);
        assert_eq!(told_second.try_recv(), Ok(false));
    }

    #[test]
    fn who_waits_for_two_is_refused_when_neither_has_anything() {
        let mut waiting = Waiting::new();
        let (answer, mut told) = oneshot::channel();
        waiting.add(vec![1, 2], at(0), answer);
        waiting.tell(&1, false, usize::MAX);
        assert!(told.try_recv().is_err());
        waiting.tell(&2, false, usize::MAX);
        assert_eq!(told.try_recv(), Ok(false));
    }

    #[test]
    fn who_went_away_or_waited_long_enough_counts_no_longer() {
        let mut waiting = Waiting::new();
        let (late, _kept) = oneshot::channel();
        let (gone, dropped) = oneshot::channel();
        waiting.add(vec![1], at(0), late);
        waiting.add(vec![2], at(1000), gone);
        assert_eq!(waiting.forget_gone(at(1500)), BTreeSet::new());
        drop(dropped);
        assert_eq!(waiting.forget_gone(at(1500)), BTreeSet::from([2]));
        assert_eq!(waiting.forget_gone(at(WANT_SECS * 1000)), BTreeSet::from([1]));
        assert_eq!(waiting.count(&1), 0);
    }
}
