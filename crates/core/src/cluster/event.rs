//! What happens to a node and what it wants done: values only.

use std::collections::BTreeMap;
use std::time::Duration;

use super::record::Alive;
use super::store::{Change, Entry, Txn, TxnOutcome};
use super::{ClusterId, NodeId};
use crate::key::{KeyNo, KeySeries};
use crate::rules::{QuotaId, QuotaNeed};
use crate::session::SessionId;
use crate::time::MonoTime;

/// What a node is and what it is told by its settings.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// This node.
    pub me: NodeId,
    /// Its cluster.
    pub cluster: ClusterId,
    /// How long a session lives past its last touch; the same on all nodes.
    pub session_life: Duration,
    /// Version and start of the process; the rest is filled in.
    pub alive: Alive,
}

/// What happened outside.
#[derive(Clone, Debug)]
pub enum Event {
    /// Changes that the watch told, whole revisions in order.
    Changed {
        /// The changes.
        changes: Vec<Change>,
        /// The revision up to which all is told.
        revision: i64,
    },
    /// A session shows a lease of another node, or its own of a seat that has moved away.
    Claim {
        /// The session.
        session: SessionId,
        /// The key of its lease.
        key_no: KeyNo,
        /// Who signed the lease.
        from: NodeId,
    },
    /// What the service needs of a key of the cluster.
    Demand {
        /// The key.
        key_no: KeyNo,
        /// Seats that are held, those of expected sessions among them.
        held: u32,
        /// Openings that wait for a seat.
        waiting: u32,
    },
    /// A session of a key of the cluster has ended here, or an expected one did not come. Not told of
    /// sessions that [`Effect::TakeAway`] or [`Effect::EndAll`] has ended: they may go on elsewhere.
    Ended {
        /// The session.
        session: SessionId,
        /// Whether somebody ended it: its holder let go, an administrator took it back, its key is
        /// gone. Not when it merely was not renewed: then its component may be with a node that is
        /// cut off, and go on there.
        released: bool,
    },
    /// A call to etcd brought no answer.
    Failed(Asked),
    /// An administrator says that a node is down for good: its blocks are everybody's at once.
    Forget(NodeId),
    /// The lease in etcd was renewed.
    KeptAlive {
        /// The lease.
        lease: i64,
        /// The moment before the question was sent.
        sent: MonoTime,
    },
    /// The keys of this cluster for which this node has a licence, with series and seats; all of them.
    Keys(BTreeMap<KeyNo, (KeySeries, u32)>),
    /// A lease was granted by etcd.
    LeaseGranted {
        /// The lease.
        lease: i64,
        /// The moment before the question was sent.
        sent: MonoTime,
    },
    /// etcd says that there is no such lease.
    LeaseLost {
        /// The lease.
        lease: i64,
    },
    /// The service has a limit.
    Limited {
        /// The key.
        key_no: KeyNo,
        /// The limit: what was asked, or what is held if that is more and nothing was to be ended.
        seats: u32,
        /// Seats that are held.
        held: u32,
    },
    /// All that lies below the cluster's prefix.
    Loaded {
        /// The entries.
        entries: Vec<Entry>,
        /// The revision at which it was read.
        revision: i64,
    },
    /// The quotas of the rules in force, what is held of them here, and how many openings wait for
    /// one; all of them.
    QuotaNeeds(BTreeMap<QuotaId, (QuotaNeed, u32)>),
    /// The service has its shares of quotas; the answer to [`Effect::QuotaLimits`].
    QuotasLimited {
        /// The number of the effect.
        no: u64,
        /// The quotas, how much may be held, and how much is held.
        limits: Vec<(QuotaId, u32, u32)>,
    },
    /// The server stops.
    Stop,
    /// The service has let a session go, or never had it. Its limit is one lower if it had it.
    TakenAway {
        /// The session.
        session: SessionId,
        /// Whether it held a seat here.
        held: bool,
        /// What it used of quotas: the service's shares of these are one lower.
        quotas: Vec<QuotaId>,
    },
    /// Time passed.
    Tick,
    /// A transaction ended.
    TxnDone {
        /// Its number.
        no: u64,
        /// How.
        outcome: TxnOutcome,
    },
    /// The watch broke off or what it should tell is gone.
    WatchLost,
}

/// A call to etcd.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Asked {
    /// [`Effect::GrantLease`].
    Grant,
    /// [`Effect::KeepAlive`].
    KeepAlive,
    /// [`Effect::Load`].
    Load,
}

/// What must be done, in this order.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Effect {
    /// Whoever waits for this claim is told.
    Claimed {
        /// The session.
        session: SessionId,
        /// How it ended.
        outcome: ClaimOutcome,
    },
    /// The service gives out nothing of any quota until [`Effect::QuotaLimits`] says how much.
    CloseQuotas,
    /// A value in etcd does not count; told once for each damage.
    Damaged {
        /// The key in etcd.
        key: String,
        /// What is wrong with it, for the log.
        why: String,
    },
    /// The service ends all sessions of keys of the cluster: none of them was renewed for one life of
    /// a session, see [`Effect::HoldUntil`], and others may give out their seats.
    EndAll,
    /// The seat of a session has moved here: the service's limit is one higher from this moment on.
    /// It keeps the seat for the session as if that held it, for one life of a session and whatever
    /// the limit, unless the session holds one already, or was let go at this node a moment ago: then
    /// [`Event::Ended`] follows. It remembers that the session has come so
    /// until it ends: when it ends for want of renewal, or has not opened, its seat does not become
    /// free; the limit is one lower again, and [`Event::Ended`] says so.
    Expect {
        /// The session.
        session: SessionId,
        /// The key.
        key_no: KeyNo,
    },
    /// A lease is to be granted by etcd.
    GrantLease {
        /// Its life in seconds.
        ttl_secs: u32,
    },
    /// Sessions of keys of the cluster must not be renewed from this moment on, unless another one is
    /// told later: heartbeats hear that they are gone (isolated), openings that they cannot be served
    /// now. Their seats stay taken until one life after their last renewal, because their leases are
    /// valid so long and they may come back. The caller keeps the moment over a restart, see
    /// [`Node::hold_until`](super::Node::hold_until).
    HoldUntil(Option<MonoTime>),
    /// The life of a session begins anew, as if it was renewed, or the time for which it is expected;
    /// nothing if the service knows neither. A node that was cut off had renewed its lease.
    Keep {
        /// The session.
        session: SessionId,
    },
    /// The lease in etcd is to be renewed.
    KeepAlive {
        /// The lease.
        lease: i64,
    },
    /// The service may have no more seats held of a key than this; [`Event::Limited`] answers.
    Limit {
        /// The key.
        key_no: KeyNo,
        /// The limit.
        seats: u32,
        /// Whether sessions above the limit are ended: first those that are expected, in the order in
        /// which they were told, because a session that has ended while this node died may still be
        /// among them; then the newest.
        force: bool,
    },
    /// All below the prefix is to be read, from a majority of etcd.
    Load,
    /// Nobody has anything left of this quota: whoever waits for it is refused.
    NoQuota {
        /// The quota.
        id: QuotaId,
    },
    /// Nobody has a free seat of this key: whoever waits is refused.
    NoSeats {
        /// The key.
        key_no: KeyNo,
    },
    /// The service may have no more of these quotas held; sessions that hold more keep it.
    /// [`Event::QuotasLimited`] answers.
    QuotaLimits {
        /// Its number.
        no: u64,
        /// The quotas, and how much.
        limits: Vec<(QuotaId, u32)>,
    },
    /// The lease in etcd is to be given up.
    RevokeLease {
        /// The lease.
        lease: i64,
    },
    /// How this node stands has changed.
    Standing(Standing),
    /// All is given back: the process may end.
    Stopped,
    /// The service lets a session go without freeing its seat: its limit is one lower then.
    /// [`Event::TakenAway`] answers.
    TakeAway {
        /// The session.
        session: SessionId,
        /// Its key.
        key_no: KeyNo,
        /// Who gets it.
        to: NodeId,
    },
    /// A transaction is to be carried out, once; [`Event::TxnDone`] answers.
    Txn {
        /// Its number.
        no: u64,
        /// What.
        txn: Txn,
    },
    /// Seats of keys of the cluster may be given out before this moment; not at all without one.
    ValidUntil(Option<MonoTime>),
    /// Changes are to be told, those of the revisions after this one, in place of a watch before.
    Watch {
        /// The revision.
        after: i64,
    },
}

/// How a claim ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClaimOutcome {
    /// The seat is here.
    Moved,
    /// Nobody holds a seat for this session.
    NotHeld,
}

/// How a node stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// Not able to renew its lease: seats that are held go on, none are given out.
    Isolated {
        /// When the last renewal that succeeded was sent.
        since: MonoTime,
    },
    /// Part of the cluster.
    Joined,
    /// Not yet part of it.
    Starting,
    /// Giving back what it has.
    Stopping,
}
