//! What the driver's handle asks the node of a cluster: a seat for a session that finds none here, and
//! the seat of a session that comes from another node; and whose leases are believed.
//!
//! Decides how long is waited and nothing else. Who gets a seat is decided by the core, where the
//! node's task asks it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use licence_core::cluster::{ClaimOutcome, NodeId, WANT_SECS};
use licence_core::key::KeyNo;
use licence_core::lease_token::LeaseClaims;
use licence_core::rules::QuotaId;
use licence_core::seal::PublicKey;
use licence_core::session::SessionId;
use licence_core::time::Utc;
use tokio::sync::{mpsc, oneshot, watch};

/// A question to the node's task. Who asked may have gone: then `answer` is closed.
#[derive(Debug)]
pub enum Question {
    /// The seat of a session that shows a lease shall come here.
    Claim {
        /// The session.
        session: SessionId,
        /// The key of its lease.
        key_no: KeyNo,
        /// Who signed the lease.
        from: NodeId,
        /// Where the answer goes; nowhere when the session has a seat here already and the other one
        /// shall only become free.
        answer: Option<oneshot::Sender<ClaimOutcome>>,
    },
    /// A session waits for a seat of one of these keys.
    Want {
        /// The keys.
        keys: Vec<KeyNo>,
        /// True when there may be one by now, false when nobody has one.
        answer: oneshot::Sender<bool>,
    },
    /// A session waits because of a rule, until there is more of one of these quotas.
    WantQuotas {
        /// The quotas.
        quotas: Vec<QuotaId>,
        /// True when there may be more by now, false when nobody has any left.
        answer: oneshot::Sender<bool>,
    },
}

/// A node of the cluster, as far as leases go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KnownNode {
    /// Its name, for people.
    pub name: String,
    /// The key with which it signs leases.
    pub key: PublicKey,
}

/// The nodes of the cluster.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Known {
    /// By their ids.
    pub nodes: BTreeMap<NodeId, KnownNode>,
}

/// Reaches the node's task. Clones reach the same.
#[derive(Clone, Debug)]
pub struct ClusterPort {
    questions: mpsc::Sender<Question>,
    known: watch::Receiver<Arc<Known>>,
}

impl ClusterPort {
    /// A port whose questions go to `questions`; `known` are the nodes of the cluster.
    pub const fn new(
        questions: mpsc::Sender<Question>,
        known: watch::Receiver<Arc<Known>>,
    ) -> Self {
        Self { questions, known }
    }

    /// Waits for a seat of one of these keys, at most [`WANT_SECS`]. True when it is worth asking the
    /// driver again; someone else may be faster.
    pub async fn want(&self, keys: Vec<KeyNo>) -> bool {
        let (answer, answered) = oneshot::channel();
        self.ask(Question::Want { keys, answer }) && bounded(answered).await.unwrap_or(false)
    }

    /// Waits for more of one of these quotas, at most [`WANT_SECS`]. True when it is worth asking the
    /// driver again; someone else may be faster.
    pub async fn want_quotas(&self, quotas: Vec<QuotaId>) -> bool {
        let (answer, answered) = oneshot::channel();
        self.ask(Question::WantQuotas { quotas, answer })
            && bounded(answered).await.unwrap_or(false)
    }

    /// Waits for the seat of a session that another node may hold, at most [`WANT_SECS`]; nothing when
    /// it is not decided by then.
    pub async fn claim(
        &self,
        session: SessionId,
        key_no: KeyNo,
        from: NodeId,
    ) -> Option<ClaimOutcome> {
        let (answer, answered) = oneshot::channel();
        let question = Question::Claim { session, key_no, from, answer: Some(answer) };
        if self.ask(question) { bounded(answered).await } else { None }
    }

    /// Asks for the seat of a session that has one here by now, so that the other one becomes free.
    /// Nobody waits for it: if it is not asked, the other seat ends by its time.
    pub fn claim_quietly(&self, session: SessionId, key_no: KeyNo, from: NodeId) {
        self.ask(Question::Claim { session, key_no, from, answer: None });
    }

    /// Reads a lease that another node of the cluster has granted and that has not ended.
    pub fn verify_lease(&self, token: &str, now: Utc) -> Option<(LeaseClaims, NodeId)> {
        let known = self.known.borrow().clone();
        let from = LeaseClaims::peek_issuer(token)?;
        let node = known.nodes.get(&from)?;
        LeaseClaims::verify(token, &node.key, now).ok().map(|claims| (claims, from))
    }

    /// The name of a node, for people.
    pub fn name(&self, node: &NodeId) -> Option<String> {
        self.known.borrow().nodes.get(node).map(|node| node.name.clone())
    }

    /// False when the task is gone or so far behind that it would not answer in time.
    fn ask(&self, question: Question) -> bool {
        self.questions
            .try_send(question)
            .inspect_err(|error| log::warn!("the node of the cluster does not answer: {error}"))
            .is_ok()
    }
}

/// The answer, if it comes in time.
async fn bounded<T>(answered: oneshot::Receiver<T>) -> Option<T> {
    tokio::time::timeout(Duration::from_secs(WANT_SECS), answered).await.ok()?.ok()
}
