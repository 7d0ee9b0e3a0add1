//! The book of session keys: which there are, who refreshes which, what is done with an answer.
//!
//! One owner, no clock, no I/O: each call is given its moments, and whoever calls writes the book to
//! the disk when [`Book::generation`] has grown. What the service is asked stands in
//! [`crate::exchange`].

use std::collections::{BTreeMap, VecDeque};

use licence_core::time::{MonoTime, Utc};

use crate::directory::{Directory, DirectoryError};
use crate::key::{Inn, StoreKey, Wish};
use crate::kind::TokenKind;
use crate::record::{Source, State, TokenFormat, TokenRecord, Who};
use crate::refresh::{EXCHANGE_LIFE, LEASE_LIFE, Lease, OUTCOME_LIFE, Refreshing, Stage, Ticket};
use crate::reminder::{Reminder, reminder};
use crate::responsible::{RULES_MAX, Rule, RuleError, Setting};
use crate::secret::SessionKey;
use crate::validity::{default_deadline, is_valid};

/// Most keys: a holding of 500 organisations with two keys each and 1000 installations.
pub const RECORDS_MAX: usize = 2000;

/// Most outcomes that are remembered for repeated questions; the oldest goes first.
const OUTCOMES_MAX: usize = 1000;

/// Most people whose reminders are put off at one time.
const SNOOZES_MAX: usize = 10_000;

/// What is asked before somebody signs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Need {
    /// There is a key that lives beyond the deadline.
    Fresh,
    /// There is none, and somebody is about to get one.
    Busy(Refreshing),
    /// There is none: somebody must sign.
    Stale(Stale),
}

/// Why somebody must sign.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stale {
    /// No key is kept.
    Missing,
    /// Its end has come, or comes before the deadline.
    Ending,
}

/// How an exchange ended, for the service of whoever repeats the question.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// A key came.
    Given {
        /// `КлючСессии`.
        token: SessionKey,
        /// `ДействуетДо`.
        valid_until: Utc,
        /// For which organisation.
        inn: Option<Inn>,
        /// What is odd about it, for people.
        warning: Option<Text>,
    },
    /// None came.
    Failed(Text),
}

/// A text in both languages.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Text {
    /// Russian.
    pub russian: String,
    /// English.
    pub english: String,
}

/// What becomes of a signature that somebody brings.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Completion {
    /// The service is to be asked; [`Book::exchanged`] must be told how it ended.
    Exchange(Ticket),
    /// It is being asked with this signature already.
    UnderWay,
    /// It was asked: this came of it.
    Done(Outcome),
    /// The service is not to be asked.
    Refused(Refused),
}

/// Why the service is not asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refused {
    /// Somebody has got a newer challenge since.
    Newer,
    /// No such challenge is known: it is too old, or of before a restart.
    Unknown,
}

/// What an exchange brought.
#[derive(Clone, Debug)]
pub enum Exchanged {
    /// A key.
    Given(Given),
    /// The service has refused: nothing has changed there.
    Refused(Text),
    /// Nobody knows what the service has done.
    Unknown(Text),
}

/// A key that came, not yet in the book.
#[derive(Clone, Debug)]
pub struct Given {
    /// `КлючСессии`.
    pub token: SessionKey,
    /// `ДействуетДо`.
    pub valid_until: Utc,
    /// For which organisation.
    pub inn: Option<Inn>,
    /// Its form.
    pub format: TokenFormat,
    /// How it came.
    pub source: Source,
    /// Who brought it.
    pub who: Who,
    /// The moment before the service was asked; of a typed key, of the typing.
    pub asked: Utc,
    /// What is odd about it.
    pub warning: Option<Text>,
}

/// The book is full.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("there are {RECORDS_MAX} session keys already")]
pub struct FullError;

#[derive(Clone, Debug)]
pub(crate) struct Remembered {
    key: StoreKey,
    id: String,
    outcome: Outcome,
    until: MonoTime,
}

impl Remembered {
    pub(crate) fn is_of(&self, id: &str) -> bool {
        self.id == id
    }
}

/// The book.
#[derive(Clone, Debug, Default)]
pub struct Book {
    pub(crate) records: BTreeMap<StoreKey, TokenRecord>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) snoozes: BTreeMap<String, Utc>,
    pub(crate) directory: Directory,
    pub(crate) generation: u64,
    pub(crate) leases: BTreeMap<StoreKey, Lease>,
    pub(crate) outcomes: VecDeque<Remembered>,
    tickets: u64,
}

impl Book {
    /// Grows with everything that must be written to the disk.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// Organisations and installations.
    pub const fn directory(&self) -> &Directory {
        &self.directory
    }

    /// All keys with what is kept of them.
    pub fn records(&self) -> impl Iterator<Item = (&StoreKey, &TokenRecord)> {
        self.records.iter()
    }

    /// What is kept under a key, valid or not.
    pub fn record(&self, key: &StoreKey) -> Option<&TokenRecord> {
        self.records.get(key)
    }

    /// `ТекущийКлючСессии`: a key that lives beyond the deadline. Where no organisation is named, the
    /// one that lives longest.
    pub fn current(&self, wish: &Wish, deadline: Utc) -> Option<(&StoreKey, &TokenRecord)> {
        let fits = |(key, record): &(&StoreKey, &TokenRecord)| {
            wish.fits(key) && is_valid(record.valid_until, deadline)
        };
        self.records.iter().filter(fits).max_by_key(|(_, record)| record.valid_until)
    }

    /// Whether somebody must sign.
    pub fn need(&self, key: &StoreKey, deadline: Utc, now: MonoTime) -> Need {
        let record = self.records.get(key);
        if record.is_some_and(|record| is_valid(record.valid_until, deadline)) {
            return Need::Fresh;
        }
        match self.refreshing(key, now) {
            Some(refreshing) => Need::Busy(refreshing),
            None if record.is_none() => Need::Stale(Stale::Missing),
            None => Need::Stale(Stale::Ending),
        }
    }

    /// Whether somebody else has signed in for this key a moment ago. Whoever was told before that a key
    /// is needed, and names no deadline now, must not end it: for СУЗ a second sign-in does.
    pub fn has_just_come(&self, key: &StoreKey, who: &Who, now: Utc) -> bool {
        self.records.get(key).is_some_and(|record| {
            record.source != Source::Manual
                && record.state == State::Valid
                && record.who != *who
                && now < record.obtained.after(LEASE_LIFE)
                && is_valid(record.valid_until, default_deadline(now))
        })
    }

    /// Who refreshes a key at the moment.
    pub fn refreshing(&self, key: &StoreKey, now: MonoTime) -> Option<Refreshing> {
        self.leases.get(key).filter(|lease| lease.is_live(now)).map(|lease| lease.view(now))
    }

    /// All refreshes under way.
    pub fn all_refreshing(&self, now: MonoTime) -> impl Iterator<Item = (&StoreKey, Refreshing)> {
        let live = self.leases.iter().filter(move |(_, lease)| lease.is_live(now));
        live.map(move |(key, lease)| (key, lease.view(now)))
    }

    /// Takes the lease on a key, before the challenge is asked for. Whoever holds it and has not
    /// handed in a signature may begin again: they have closed the dialogue.
    ///
    /// # Errors
    ///
    /// Who holds it.
    pub fn begin(&mut self, key: &StoreKey, who: Who, now: MonoTime) -> Result<Ticket, Refreshing> {
        self.forget_old(now);
        if let Some(lease) = self.leases.get(key).filter(|lease| lease.is_live(now)) {
            let is_same = lease.who.session.is_some() && lease.who == who;
            if !is_same || matches!(lease.stage, Stage::Exchanging { .. }) {
                return Err(lease.view(now));
            }
        }
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let lease = Lease { ticket, who, stage: Stage::Asking, expires: now.after(LEASE_LIFE) };
        self.leases.insert(key.clone(), lease);
        Ok(ticket)
    }

    /// The challenge has come; it is out to be signed from here on. False when the lease is somebody
    /// else's by now, or the id is one that was used: the challenge is then of no use.
    pub fn challenged(&mut self, key: &StoreKey, ticket: Ticket, id: &str, now: MonoTime) -> bool {
        if self.outcomes.iter().any(|other| other.id == id) {
            return false;
        }
        match self.lease_of(key, ticket).filter(|lease| lease.stage == Stage::Asking) {
            Some(lease) => {
                lease.stage = Stage::Signing { id: id.to_owned() };
                lease.expires = now.after(LEASE_LIFE);
                true
            }
            None => false,
        }
    }

    /// Lets a lease go that came to nothing, unless the service has the signature.
    pub fn abandon(&mut self, key: &StoreKey, ticket: Ticket) {
        let exchanging = |lease: &&mut Lease| matches!(lease.stage, Stage::Exchanging { .. });
        if self.lease_of(key, ticket).is_some_and(|lease| !exchanging(&lease)) {
            self.leases.remove(key);
        }
    }

    /// Lets the lease of this challenge go (the person has closed the dialogue). True when there was
    /// one.
    pub fn cancel(&mut self, id: &str) -> bool {
        let before = self.leases.len();
        let is_meant =
            |lease: &Lease| matches!(&lease.stage, Stage::Signing { id: own } if own == id);
        self.leases.retain(|_, lease| !is_meant(lease));
        self.leases.len() < before
    }

    /// Lets the leases of a session go that is no more, unless the service has the signature.
    pub fn session_ended(&mut self, session: &str) {
        self.leases.retain(|_, lease| {
            lease.who.session.as_deref() != Some(session)
                || matches!(lease.stage, Stage::Exchanging { .. })
        });
    }

    /// A signature came for the challenge with this id. A lease that has run out still counts as long
    /// as nobody has taken a newer one.
    pub fn complete(&mut self, key: &StoreKey, id: &str, now: MonoTime) -> Completion {
        self.forget_old(now);
        if let Some(done) = self.outcomes.iter().find(|done| done.id == id && done.key == *key) {
            return Completion::Done(done.outcome.clone());
        }
        let Some(lease) = self.leases.get_mut(key) else {
            return Completion::Refused(Refused::Unknown);
        };
        match &lease.stage {
            Stage::Signing { id: own } if own == id => {
                lease.stage = Stage::Exchanging { id: id.to_owned() };
                lease.expires = now.after(EXCHANGE_LIFE);
                Completion::Exchange(lease.ticket)
            }
            Stage::Exchanging { id: own } if own == id => Completion::UnderWay,
            Stage::Asking | Stage::Signing { .. } | Stage::Exchanging { .. } => {
                Completion::Refused(Refused::Newer)
            }
        }
    }

    /// The outcome of the challenge with this id, if it is known.
    pub fn outcome(&self, key: &StoreKey, id: &str) -> Option<&Outcome> {
        let is_meant = |done: &&Remembered| done.id == id && done.key == *key;
        self.outcomes.iter().find(is_meant).map(|done| &done.outcome)
    }

    /// An exchange has ended.
    ///
    /// # Errors
    ///
    /// When there is no room for one more key: it is given to whoever asked, and not kept.
    pub fn exchanged(
        &mut self,
        key: &StoreKey,
        ticket: Ticket,
        id: &str,
        result: Exchanged,
        now: MonoTime,
    ) -> Result<(), FullError> {
        let is_holder = self.lease_of(key, ticket).is_some();
        if is_holder {
            self.leases.remove(key);
        }
        let mut kept = Ok(());
        let outcome = match result {
            Exchanged::Given(given) => {
                let outcome = Outcome::Given {
                    token: given.token.clone(),
                    valid_until: given.valid_until,
                    inn: given.inn.clone(),
                    warning: given.warning.clone(),
                };
                // Nobody can have signed in after whoever holds the lease.
                kept = if is_holder { self.set(key, given) } else { self.put(key, given) };
                outcome
            }
            Exchanged::Refused(text) => Outcome::Failed(text),
            Exchanged::Unknown(text) => {
                self.doubt(key);
                Outcome::Failed(text)
            }
        };
        if self.outcomes.len() >= OUTCOMES_MAX {
            self.outcomes.pop_front();
        }
        let until = now.after(OUTCOME_LIFE);
        self.outcomes.push_back(Remembered { key: key.clone(), id: id.to_owned(), outcome, until });
        kept
    }

    /// `УстановитьКлючСессии`, and what the holder of the lease brings: it takes the place of what is
    /// kept, also of a record that came from a server whose clock runs ahead of this one's.
    ///
    /// # Errors
    ///
    /// When there is no room for one more.
    pub fn set(&mut self, key: &StoreKey, given: Given) -> Result<(), FullError> {
        let after_old = self.records.get(key).map(|old| old.obtained.plus_millis(1));
        let asked = after_old.map_or(given.asked, |after| after.max(given.asked));
        self.put(key, Given { asked, ..given })
    }

    /// What an exchange brings whose lease somebody else has taken since. An older key than the one
    /// that is kept is dropped: it came late.
    ///
    /// # Errors
    ///
    /// When there is no room for one more.
    pub fn put(&mut self, key: &StoreKey, given: Given) -> Result<(), FullError> {
        let old = self.records.get(key);
        if old.is_none() && self.records.len() >= RECORDS_MAX {
            return Err(FullError);
        }
        if old.is_some_and(|old| old.obtained > given.asked) {
            return Ok(());
        }
        self.generation += 1;
        let record = TokenRecord {
            token: given.token,
            valid_until: given.valid_until,
            inn: given.inn,
            format: given.format,
            source: given.source,
            state: State::Valid,
            who: given.who,
            obtained: given.asked,
            generation: self.generation,
        };
        self.records.insert(key.clone(), record);
        Ok(())
    }

    /// Takes over what another server keeps: of two records the later one counts. True when
    /// something has changed.
    pub fn merge(&mut self, key: StoreKey, record: TokenRecord) -> bool {
        let is_late = match self.records.get(&key) {
            Some(own) => {
                let order = |record: &TokenRecord| {
                    (
                        record.obtained,
                        record.state == State::Doubtful,
                        record.token.reveal().to_owned(),
                    )
                };
                order(own) >= order(&record)
            }
            None => self.records.len() >= RECORDS_MAX,
        };
        if is_late {
            return false;
        }
        self.generation += 1;
        self.records.insert(key, TokenRecord { generation: self.generation, ..record });
        true
    }

    /// Deletes a key. True when there was one.
    pub fn remove(&mut self, key: &StoreKey) -> bool {
        let was_there = self.records.remove(key).is_some();
        self.generation += u64::from(was_there);
        was_there
    }

    /// The service has refused this key: it is deleted if it is the one that is kept, so that ten
    /// sessions may say so of one key and a newer one stays. True when it was.
    pub fn reject(&mut self, key: &StoreKey, token: &SessionKey) -> bool {
        let is_same = self.records.get(key).is_some_and(|record| record.token == *token);
        is_same && self.remove(key)
    }

    /// Replaces organisations and installations.
    ///
    /// # Errors
    ///
    /// When they cannot be.
    pub fn set_directory(&mut self, directory: Directory) -> Result<(), DirectoryError> {
        directory.check()?;
        if self.directory != directory {
            self.directory = directory;
            self.generation += 1;
        }
        Ok(())
    }

    /// Rules of responsible persons.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Adds a rule (`id` 0) or changes the one with its id. Gives the id; nothing when there is no
    /// such rule or no room.
    ///
    /// # Errors
    ///
    /// When the rule cannot be.
    pub fn put_rule(&mut self, mut rule: Rule) -> Result<Option<u32>, RuleError> {
        rule.check()?;
        if rule.id == 0 {
            if self.rules.len() >= RULES_MAX {
                return Ok(None);
            }
            let last = self.rules.iter().map(|rule| rule.id).max().unwrap_or(0);
            rule.id = last.saturating_add(1);
            self.rules.push(rule.clone());
        } else {
            let Some(place) = self.rules.iter_mut().find(|other| other.id == rule.id) else {
                return Ok(None);
            };
            *place = rule.clone();
        }
        self.generation += 1;
        Ok(Some(rule.id))
    }

    /// Takes a rule out. True when there was one.
    pub fn remove_rule(&mut self, id: u32) -> bool {
        let before = self.rules.len();
        self.rules.retain(|rule| rule.id != id);
        let is_gone = self.rules.len() < before;
        self.generation += u64::from(is_gone);
        is_gone
    }

    /// Puts a person's reminders off until a moment, or takes that back.
    pub fn snooze(&mut self, user: &str, until: Option<Utc>, now: Utc) {
        self.snoozes.retain(|_, until| *until > now);
        let user = user.trim().to_lowercase();
        match until {
            Some(until) if self.snoozes.len() < SNOOZES_MAX || self.snoozes.contains_key(&user) => {
                self.snoozes.insert(user, until);
            }
            Some(_) => return,
            None => {
                self.snoozes.remove(&user);
            }
        }
        self.generation += 1;
    }

    /// `ПолучитьНапоминанияОтветственномуЗаАктуализациюТокеновАвторизации`.
    pub fn reminders(
        &self,
        contour: &crate::Contour,
        user: &str,
        settings: &[Setting],
        now: Utc,
    ) -> Vec<Reminder> {
        let snoozed = self.snoozes.get(&user.trim().to_lowercase()).copied();
        let row = |setting: &Setting| {
            let key = StoreKey {
                contour: contour.clone(),
                kind: setting.kind,
                organization: setting.organization.clone(),
                production_object: match setting.kind {
                    TokenKind::Suz => setting.production_object.clone(),
                    TokenKind::Ismp | TokenKind::IsmpRetail => None,
                },
            };
            let valid_until = self.records.get(&key).map(|record| record.valid_until);
            reminder(setting, valid_until, snoozed, now)
        };
        settings.iter().map(row).collect()
    }

    /// A sign-in for an installation came to an unknown end: the token of before may be dead.
    fn doubt(&mut self, key: &StoreKey) {
        if key.kind != TokenKind::Suz {
            return;
        }
        if let Some(record) =
            self.records.get_mut(key).filter(|record| record.state == State::Valid)
        {
            self.generation += 1;
            record.state = State::Doubtful;
            record.generation = self.generation;
        }
    }

    fn lease_of(&mut self, key: &StoreKey, ticket: Ticket) -> Option<&mut Lease> {
        self.leases.get_mut(key).filter(|lease| lease.ticket == ticket)
    }

    /// Leases that ran out long ago and outcomes that nobody will ask for again.
    fn forget_old(&mut self, now: MonoTime) {
        self.outcomes.retain(|done| now < done.until);
        self.leases.retain(|_, lease| now < lease.expires.after(OUTCOME_LIFE));
    }
}

#[cfg(test)]
mod tests;
