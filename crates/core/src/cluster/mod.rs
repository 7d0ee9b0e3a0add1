//! Seats of one key shared by several servers over etcd: what one node of the cluster does.
//!
//! Events and the node's own monotonic time (which counts suspension) go in, ordered effects come
//! out. It decides how many seats the node's own service may give out, what is written to etcd, and
//! whose seat a session that has moved is. It never counts sessions (that is [`crate::service`]) and
//! never talks to etcd itself.
//!
//! What keeps a seat from being counted twice:
//!
//! * **One key in etcd for all blocks of a licence key.** Every change is a transaction that compares
//!   the pool's last revision, so the blocks never add up to more than the key has, and the
//!   incarnation of the node that writes, so a node that has lost its lease writes nothing.
//! * **Smaller at home first.** A block shrinks in etcd after the service has agreed to a lower limit,
//!   and the limit rises after etcd has agreed to a larger block. While nobody knows whether a
//!   transaction was done, it may be done later; the limit rises only when the pool has been written
//!   since, because then the late one fails.
//! * **A lease of etcd, judged by the own clock.** A node grants until [`GUARD_SECS`] before the end of
//!   its lease, counted from the moment before the last renewal was sent.
//! * **A dead node's block stays reserved** for its sessions. They draw their seats from it one by one
//!   as they arrive elsewhere; the rest is the node's again when it returns, or everybody's when no
//!   lease of it can still be valid.
//!
//! Where a session could have been counted twice or thrown out, and what is done about it:
//!
//! * *A stranger takes the seat that was moved for a session before that opens*: the service expects
//!   the session ([`Effect::Expect`]) before its limit rises.
//! * *A component goes back to a node that is cut off*, after its seat was drawn from that node's
//!   block: the other node's session ends for want of renewal, but its seat does not become free; it
//!   goes back into the orphaned block ([`Event::Ended`], `released: false`).
//! * *The same, and the node that was cut off comes back* just before the session ends elsewhere: it
//!   has renewed the lease meanwhile. Before its block is its own again it writes the claims of all
//!   sessions that it lets go, and whoever has their seats keeps them for one more life
//!   ([`Effect::Keep`]).
//! * *A node comes back to etcd when its isolation has just lasted too long*: had it ended its
//!   sessions, it would give out their seats while their leases are valid. It only ceases to renew
//!   them ([`Effect::HoldUntil`]), so they keep their seats for one more life, which is also how long
//!   the others wait. A frozen process that wakes has the moment at hand before it is told anything.
//! * *A node is restarted while it is cut off* and does not know since when: [`Node::hold_until`].
//! * *A node dies between letting a session go and writing so*, or a seat is given to it and asked back
//!   while it hears nothing: it gives the seat although its books do not know the session.
//! * *A node that returns must know which sessions were drawn from it*, also when they have moved on:
//!   [`record::Claim::left`].
//! * *Limits and reservations*: [`quota_book`]. A rule throws nobody out, so who moves is let in and the
//!   shares follow; for that long a quota may be exceeded by those who move.
//! * *Nodes with different licences of a key*: the smallest counts ([`record::Alive::keys`]).

mod blocks;
mod claims;
mod event;
mod id;
mod life;
mod node;
pub mod pass;
mod plan;
pub mod quota_book;
mod quota_plan;
mod quotas;
pub mod record;
pub mod shared;
mod store;
mod txns;
mod view;

pub use event::{Asked, ClaimOutcome, Effect, Event, NodeConfig, Standing};
pub use id::{ClusterId, NodeId, ParseClusterIdError, ParseNodeIdError};
pub use node::Node;
pub use store::{Change, Compare, Entry, Op, Txn, TxnOutcome};
pub use view::{CLAIMS_MAX, POOLS_MAX, Seen, View};

/// How long somebody waits for a seat or a claim, in seconds.
pub const WANT_SECS: u64 = 2;

/// How long before the end of its lease in etcd a node stops granting, in seconds: far more than two
/// clocks drift apart during one lease.
pub const GUARD_SECS: u64 = 1;

/// What is added to isolation and a session's life before a dead node's block is everybody's, in
/// seconds: far more than clocks drift apart meanwhile.
pub const RECLAIM_MARGIN_SECS: u64 = 60;
