//! Calls on their way from a caller to the worker and back.
//!
//! Values and the place where a caller waits, nothing else: what a question leads to is decided in
//! [`crate::answer`], which job is next in [`crate::turns`].

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use licence_core::datafile::ObjectEntry;
use licence_core::language::Language;
use licence_core::protocol::manager::{
    DatafileAnswer, Datapart, DatapartQuery, ObjectKeyAnswer, Operation, OperationAnswer,
};
use licence_core::protocol::{Counters, LicenceView, ServerSummary, SessionInfo, Wish};
use licence_core::time::MonoTime;

use crate::client::{Seat, StartOptions};
use crate::clock::system_now;
use crate::errand::Errand;
use crate::error::ClientError;
use crate::state::{SessionKey, TargetId};

/// A question to the server that serves a target.
#[derive(Clone, Debug)]
pub(crate) enum Question {
    Counters,
    /// The list of a data file of the server.
    Datafile {
        alias: Option<String>,
    },
    /// Bytes of a data file; the connection is filled in by the worker.
    Datapart(Box<DatapartQuery>),
    Licences {
        all_series: bool,
        only_available: bool,
    },
    /// The key of an object, for the session with this id.
    ObjectKey {
        session: Option<String>,
        object: Box<ObjectEntry>,
    },
    /// An operation, or one that was begun, by its ticket.
    Operation(Box<OperationAsked>),
    Release {
        key: SessionKey,
    },
    Seat {
        session: Box<SessionInfo>,
        wish: Box<Wish>,
        language: Language,
    },
    Server,
}

/// An operation as it stands in the queue.
#[derive(Clone, Debug)]
pub(crate) struct OperationAsked {
    /// To be begun; nothing when `ticket` is there.
    pub(crate) operation: Option<Operation>,
    pub(crate) ticket: Option<String>,
    pub(crate) language: Language,
    /// Whether it may be asked of another server when the one in use is lost in the middle.
    pub(crate) is_repeatable: bool,
}

/// What a job is about.
#[derive(Debug)]
pub(crate) enum Work {
    Ask {
        target: TargetId,
        question: Question,
    },
    Start(Box<StartOptions>),
    /// A start whose target is known and counts its link already.
    Connect {
        target: TargetId,
    },
    /// An operation for a series of which no server has a key yet.
    Errand(Box<Errand>),
}

impl Work {
    /// The target, once it is known.
    pub(crate) fn target(&self) -> Option<TargetId> {
        match self {
            Self::Ask { target, .. } | Self::Connect { target } => Some(*target),
            Self::Start(_) | Self::Errand(_) => None,
        }
    }
}

/// What a job brought.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Counters(Counters),
    Datafile(DatafileAnswer),
    Datapart(Datapart),
    Licences(Vec<LicenceView>),
    ObjectKey(ObjectKeyAnswer),
    Operation(OperationAnswer),
    Released(bool),
    Seat(Seat),
    Server(ServerSummary),
    Started(TargetId),
}

/// A caller's wish in the queue.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) work: Work,
    /// When its caller stops waiting, by the system's clock.
    pub(crate) deadline: MonoTime,
    pub(crate) slot: Arc<Slot>,
    /// How often it was begun; the worker gives up after a few.
    pub(crate) rounds: u32,
    /// Not to be begun before this, by the system's clock; the server asked for patience.
    pub(crate) not_before: MonoTime,
    /// What the server in use, cut off from its cluster, answered; another server is looked for.
    pub(crate) refused: Option<ClientError>,
}

/// Where a caller waits for its reply.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    outcome: Mutex<Outcome>,
    arrived: Condvar,
}

#[derive(Debug, Default)]
enum Outcome {
    #[default]
    Awaited,
    Abandoned,
    Here(Result<Reply, ClientError>),
}

impl Slot {
    /// Hands the reply over; false when the caller has gone.
    pub(crate) fn deliver(&self, reply: Result<Reply, ClientError>) -> bool {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*outcome, Outcome::Abandoned) {
            return false;
        }
        *outcome = Outcome::Here(reply);
        self.arrived.notify_all();
        true
    }

    /// Waits until `deadline` of the system's clock; nothing when no reply came.
    pub(crate) fn wait(&self, deadline: MonoTime) -> Option<Result<Reply, ClientError>> {
        let mut outcome = self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match std::mem::replace(&mut *outcome, Outcome::Awaited) {
                Outcome::Here(reply) => return Some(reply),
                other @ (Outcome::Awaited | Outcome::Abandoned) => *outcome = other,
            }
            let left = deadline.since(system_now());
            if left.is_zero() {
                *outcome = Outcome::Abandoned;
                return None;
            }
            outcome =
                self.arrived.wait_timeout(outcome, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
