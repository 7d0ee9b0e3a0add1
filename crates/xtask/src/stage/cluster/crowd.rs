//! All processes of 1C of a test together: which session is where, what each was told last, and the
//! book of what they believe.
//!
//! Asks no server anything.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::{StageError, wait_until};
use super::{Broken, Ledger, Peak, Users};
use crate::component::{self, Told, What};

/// Lines of a process are read this late at the most, in milliseconds: what is older than that is known
/// of all of them.
const LATE_MILLIS: u64 = 500;

/// How long is waited for lines that would show that a count was wrong.
const SECOND_LOOK: Duration = Duration::from_secs(3);

/// How long what has ended is remembered, in milliseconds.
const KEPT_MILLIS: u64 = 60_000;

/// The processes of a test.
#[derive(Debug, Default)]
pub struct Crowd {
    processes: Vec<Option<Users>>,
    /// The process of each session that is open.
    homes: BTreeMap<u32, usize>,
    /// Sessions whose process was killed.
    dead: BTreeSet<u32>,
    last: BTreeMap<u32, Told>,
    /// The sessions of the ids that servers gave.
    ids: BTreeMap<String, u32>,
    ledger: Ledger,
    judged: u64,
}

impl Crowd {
    /// Nobody.
    pub fn new() -> Self {
        Self { judged: component::now(), ..Self::default() }
    }

    /// Takes a process in; gives its place.
    pub fn add(&mut self, users: Users) -> usize {
        self.processes.push(Some(users));
        self.processes.len() - 1
    }

    fn process(&mut self, place: usize) -> Result<&mut Users, StageError> {
        let process = self.processes.get_mut(place).and_then(Option::as_mut);
        process.ok_or_else(|| StageError::failed(format!("process {place} does not run")))
    }

    /// Opens a session at a process.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn open(&mut self, place: usize, session: u32) -> Result<(), StageError> {
        self.process(place)?.open(session)?;
        self.homes.insert(session, place);
        Ok(())
    }

    /// Ends a session.
    ///
    /// # Errors
    ///
    /// When it is not open.
    pub fn close(&mut self, session: u32) -> Result<(), StageError> {
        let place = self.homes.remove(&session);
        let place =
            place.ok_or_else(|| StageError::failed(format!("session {session} is not open")))?;
        self.process(place)?.close(session)
    }

    /// Kills a process; its sessions say no word any more.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn kill(&mut self, place: usize) -> Result<(), StageError> {
        for told in self.process(place)?.kill()? {
            self.hear(told);
        }
        self.processes[place] = None;
        let homes = std::mem::take(&mut self.homes);
        for (session, home) in homes {
            if home == place {
                self.dead.insert(session);
            } else {
                self.homes.insert(session, home);
            }
        }
        Ok(())
    }

    /// Puts another process where one was killed.
    pub fn replace(&mut self, place: usize, users: Users) {
        if let Some(slot) = self.processes.get_mut(place) {
            *slot = Some(users);
        }
    }

    /// Sessions that are open, whether they have a seat or wait for one.
    pub fn open_sessions(&self) -> Vec<u32> {
        self.homes.keys().copied().collect()
    }

    /// Whether a session is open.
    pub fn is_open(&self, session: u32) -> bool {
        self.homes.contains_key(&session)
    }

    /// Sessions of killed processes.
    pub const fn dead(&self) -> &BTreeSet<u32> {
        &self.dead
    }

    /// The session of a killed process was ended at the servers, which were asked at `at`.
    pub fn bury(&mut self, session: u32, at: u64) {
        self.dead.remove(&session);
        self.ledger.end(session, at);
    }

    /// Reads what all of them have told.
    ///
    /// # Errors
    ///
    /// When something is none of their lines.
    pub fn pump(&mut self) -> Result<(), StageError> {
        let mut all = Vec::new();
        for process in self.processes.iter().flatten() {
            all.extend(process.told()?);
        }
        for told in all {
            self.hear(told);
        }
        Ok(())
    }

    fn hear(&mut self, told: Told) {
        self.ledger.hear(&told);
        if let What::Seat { id, .. } = &told.what
            && !self.ids.contains_key(id)
        {
            self.ids.insert(id.clone(), told.session);
        }
        if told.session != 0 {
            self.last.insert(told.session, told);
        }
    }

    /// The session to which servers gave this id.
    pub fn session_of(&self, id: &str) -> Option<u32> {
        self.ids.get(id).copied()
    }

    /// What a session was told last.
    pub fn last(&self, session: u32) -> Option<&What> {
        self.last.get(&session).map(|told| &told.what)
    }

    /// The same with its moment.
    pub fn told(&self, session: u32) -> Option<&Told> {
        self.last.get(&session)
    }

    /// Whether a session has a seat behind which a server stands.
    pub fn is_seated(&self, session: u32) -> bool {
        matches!(self.last(session), Some(What::Seat { confirmed: true, .. }))
    }

    /// Whether a session has a seat behind which this server stands.
    pub fn is_seated_at(&self, session: u32, place: &str) -> bool {
        match self.last(session) {
            Some(What::Seat { confirmed, server, .. }) => *confirmed && server == place,
            _ => false,
        }
    }

    /// The end of a session's lease.
    pub fn until_of(&self, session: u32) -> Option<u64> {
        match self.last(session) {
            Some(What::Seat { until, .. }) => Some(*until),
            _ => None,
        }
    }

    /// Waits until `look` is content.
    ///
    /// # Errors
    ///
    /// When it is not in time; the message shows what every session was told last.
    pub fn until(
        &mut self,
        bound: Duration,
        what: &str,
        mut look: impl FnMut(&Self) -> bool,
    ) -> Result<(), StageError> {
        let waited = wait_until(bound, what, || {
            self.pump()?;
            Ok(look(self).then_some(()))
        });
        waited.map_err(|why| {
            let last: Vec<String> = self
                .last
                .values()
                .map(|told| format!("{} {:?}", told.session, told.what))
                .collect();
            StageError::failed(format!("{why}; told last:\n{}", last.join("\n")))
        })
    }

    /// The most seats that were held at one moment since this was asked last.
    ///
    /// # Errors
    ///
    /// When it was more than there are; when a session with a lease was told that it has no seat.
    pub fn judge(&mut self, seats: u32) -> Result<Peak, StageError> {
        self.pump()?;
        let before = component::now().saturating_sub(LATE_MILLIS);
        let since = self.judged;
        let mut peak = self.ledger.peak(since, before);
        if peak.seats > seats as usize {
            // A line may be on its way that says that a seat was let go of before.
            let mut left = true;
            drop(wait_until(SECOND_LOOK, "late lines", || {
                self.pump()?;
                left = self.ledger.peak(since, before).seats > seats as usize;
                Ok((!left).then_some(()))
            }));
            peak = self.ledger.peak(since, before);
            if left {
                return Err(StageError::failed(format!(
                    "{} sessions believed at {} to hold one of {seats} seats: {:?}",
                    peak.seats, peak.at, peak.sessions
                )));
            }
        }
        self.judged = before;
        self.ledger.forget_before(before.saturating_sub(KEPT_MILLIS));
        let broken = self.ledger.take_broken();
        if broken.is_empty() {
            return Ok(peak);
        }
        let told: Vec<String> = broken.iter().map(told_of).collect();
        Err(StageError::failed(format!(
            "sessions with a lease were told that they have no seat:\n{}",
            told.join("\n")
        )))
    }

    /// The sessions that believe at this moment to hold a seat.
    pub fn holding(&self) -> Vec<u32> {
        self.ledger.holding(component::now())
    }
}

fn told_of(broken: &Broken) -> String {
    let Broken { session, at, left, class, text } = broken;
    format!("session {session} at {at}, {left} ms before the end of its lease: [{class}] {text}")
}
