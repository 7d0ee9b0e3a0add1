//! One refresh at a time: the lease on a key, from the challenge to its exchange.
//!
//! A lease is fenced by the id of its challenge (the service's `uuid`, or one of our own for a united
//! token): whoever comes with an older one is turned away before the service hears of it, because a
//! second sign-in for an installation of СУЗ kills the token of the first. Leases are not kept over a
//! restart. Time is monotonic here.

use std::time::Duration;

use licence_core::time::MonoTime;

use crate::record::Who;

/// How long a lease lives: a person looks for the token with the certificate and types its PIN.
pub const LEASE_LIFE: Duration = Duration::from_secs(120);

/// How long an exchange holds its lease at most: the service is given 60 s, and reading its answer,
/// connecting and a busy computer take some more.
pub const EXCHANGE_LIFE: Duration = Duration::from_secs(90);

/// How long the outcome of an exchange is told again to whoever repeats the question.
pub const OUTCOME_LIFE: Duration = Duration::from_secs(600);

/// Longest id of a challenge, in characters: the service's are UUIDs of 36.
pub const ID_CHARS_MAX: usize = 128;

/// Names one taking of a lease before its challenge has come, never twice in a process.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Ticket(pub(crate) u64);

/// How far a refresh has come.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Stage {
    /// The challenge is being asked for.
    Asking,
    /// It is out to be signed.
    Signing { id: String },
    /// The signature is being exchanged.
    Exchanging { id: String },
}

/// A refresh under way.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    pub(crate) ticket: Ticket,
    pub(crate) who: Who,
    pub(crate) stage: Stage,
    pub(crate) expires: MonoTime,
}

impl Lease {
    pub(crate) fn is_live(&self, now: MonoTime) -> bool {
        now < self.expires
    }

    /// The id that must be shown; nothing while the challenge has not come.
    pub(crate) fn id(&self) -> Option<&str> {
        match &self.stage {
            Stage::Asking => None,
            Stage::Signing { id } | Stage::Exchanging { id } => Some(id),
        }
    }

    pub(crate) fn view(&self, now: MonoTime) -> Refreshing {
        Refreshing {
            who: self.who.clone(),
            id: self.id().map(str::to_owned),
            is_exchanging: matches!(self.stage, Stage::Exchanging { .. }),
            left: self.expires.since(now),
        }
    }
}

/// Who refreshes a key, for those who wait or look.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refreshing {
    /// Who.
    pub who: Who,
    /// Id of the challenge, once it has come.
    pub id: Option<String>,
    /// Whether the service has the signature already: it is then a matter of seconds.
    pub is_exchanging: bool,
    /// After which time somebody else may begin.
    pub left: Duration,
}
