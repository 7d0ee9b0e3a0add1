//! The transport to etcd: its v3 JSON API over HTTP/1.1, with failover, bounds and sign-in.
//!
//! It carries what `licence_core::cluster` asks for and says what became of it. It decides nothing
//! about seats, keeps nothing of what it reads, and never carries a transaction out twice: where an
//! answer is lost, the outcome is [`TxnOutcome::Unknown`].
//!
//! | module | subject |
//! | --- | --- |
//! | `endpoint` | an address of the settings |
//! | `dial` | how a connection is opened |
//! | `tls` | whom we trust, what we show |
//! | `link` | connections of one endpoint, one call over them |
//! | `calls` | which endpoint is asked, in what order; sign-in |
//! | `wire` | the JSON of etcd's gateway |
//! | `watch` | a watch that goes on at another endpoint |
//! | `error` | why a call failed, in both languages |
//!
//! etcd's own gateway of its gRPC API (`/v3/...`, etcd 3.4 or later, on by default) is spoken to
//! instead of gRPC: the crate `etcd-client` would add some 98 crates to the lock file and ask everybody
//! who builds for `protoc`, while hyper, rustls and `serde_json` are here already. The price is the
//! decimal strings and base64 of `wire`, and that one HTTP/1.1 connection carries one call at a time.

mod calls;
pub(super) mod dial;
mod endpoint;
mod error;
mod link;
mod tls;
mod watch;
mod wire;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use licence_core::cluster::{Entry, Txn, TxnOutcome};
use licence_core::time::MonoTime;

use self::calls::Calls;
use self::dial::Dial;
pub use self::endpoint::{Endpoint, ParseEndpointError};
pub use self::error::EtcdError;
pub use self::tls::TlsError;
pub use self::watch::{Watch, Watched};
use self::wire::{
    GrantAnswer, GrantRequest, KeepAliveAnswer, LeaseRequest, Nothing, RangeAnswer, RangeRequest,
    StatusAnswer, Stream, TxnAnswer, TxnRequest,
};
use crate::config::Hidden;

/// How long a call may take when the settings do not say: a healthy etcd answers in milliseconds, one
/// that elects a leader in about a second.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);

/// Entries of one answer to a range; longer ranges are read in pages of one revision. With the largest
/// values that nodes write, some kilobytes, a page stays well below [`ANSWER_BYTES_MAX`].
const PAGE_ENTRIES: i64 = 4096;

/// Entries of a range in all: a claim for each of a million sessions and what else there is. More is not
/// a cluster of ours, and would only fill the memory.
const RANGE_ENTRIES_MAX: usize = 1 << 21;

/// Bytes of one answer: a page of 4096 values of 8 KiB as base64, with room. etcd refuses requests above
/// 1.5 MiB, so no single value comes near.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of an answer without keys: a header and some numbers.
const SHORT_BYTES_MAX: usize = 64 * 1024;

/// How often a range begins anew because its revision was compacted between two pages.
const RANGE_TRIES: usize = 3;

/// How often a renewal is tried again because the leader changed under it.
const RENEWAL_TRIES: usize = 2;

/// Where etcd is and how it is entered. The `Debug` form shows no password.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EtcdConfig {
    /// In the order in which they are preferred.
    pub endpoints: Vec<Endpoint>,
    /// PEM file of the authorities that are trusted instead of those of the system.
    pub ca: Option<PathBuf>,
    /// PEM file of the certificate that we show, with its chain.
    pub certificate: Option<PathBuf>,
    /// PEM file of its key.
    pub key: Option<PathBuf>,
    /// Name in etcd's list of users.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<Hidden>,
    /// Bound of one call.
    pub timeout: Duration,
}

/// What a range has read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Loaded {
    /// In the order of their keys, all of one moment; keys without the root.
    pub entries: Vec<Entry>,
    /// That moment.
    pub revision: i64,
}

/// An etcd lease.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Granted {
    /// Its id.
    pub lease: i64,
    /// How long it lives without a renewal, in seconds; etcd may give more than was asked for.
    pub ttl_secs: i64,
    /// When the request was sent that brought it: it lives until `sent` + `ttl_secs` at least.
    pub sent: MonoTime,
}

/// What became of a renewal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeptAlive {
    /// The etcd lease lives for its whole time from this moment at least.
    Renewed {
        /// When the request was sent that renewed it.
        sent: MonoTime,
    },
    /// There is no such etcd lease any more.
    Lost,
}

/// One endpoint, as it describes itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MemberStatus {
    /// Version of etcd.
    pub version: String,
    /// Id of the member that answers.
    pub member: u64,
    /// Id of the member that leads; 0 when nobody does.
    pub leader: u64,
    /// The cluster's id; the same at all endpoints, or they are not one etcd.
    pub cluster: u64,
    /// Revision of the keys.
    pub revision: i64,
    /// Last entry of its log.
    pub raft_index: u64,
    /// Last entry that it has carried out.
    pub raft_applied: u64,
    /// Term of the election.
    pub raft_term: u64,
    /// Bytes of its database on the disk.
    pub db_bytes: u64,
    /// Bytes of that which are in use; the rest is for `etcdctl defrag` to give back.
    pub db_used_bytes: u64,
    /// Whether it only learns and has no vote.
    pub is_learner: bool,
    /// What it complains of, in its own words: alarms such as `NOSPACE`, no leader.
    pub errors: Vec<String>,
}

/// How one endpoint is.
#[derive(Debug)]
pub struct EndpointStatus {
    /// Its address.
    pub endpoint: Endpoint,
    /// What it says, or why nothing.
    pub answer: Result<MemberStatus, EtcdError>,
    /// How long that took, in seconds.
    pub seconds: f64,
}

/// A client of one etcd, below one root. Clones share connections and the sign-in.
#[derive(Clone, Debug)]
pub struct Etcd {
    calls: Arc<Calls>,
    root: Arc<str>,
}

impl Etcd {
    /// A client whose keys all lie below `root` (for example `/licence/<ClusterId>/`). Nothing is
    /// connected before the first call.
    ///
    /// # Errors
    ///
    /// When the files of TLS cannot be used.
    pub fn new(config: &EtcdConfig, root: &str) -> Result<Self, TlsError> {
        Self::over(dial::tcp, config, root)
    }

    /// The same over connections that `dial` opens.
    pub(super) fn over(dial: Dial, config: &EtcdConfig, root: &str) -> Result<Self, TlsError> {
        Ok(Self { calls: Arc::new(Calls::new(config, dial)?), root: root.into() })
    }

    /// The same client below another root.
    #[must_use]
    pub fn below(&self, root: &str) -> Self {
        Self { calls: Arc::clone(&self.calls), root: root.into() }
    }

    /// Everything whose key begins with the root and `prefix`, of one moment.
    ///
    /// # Errors
    ///
    /// When no endpoint answers in time, or etcd refuses.
    pub async fn range(&self, prefix: &str) -> Result<Loaded, EtcdError> {
        let mut tries = 1;
        loop {
            match self.pages(prefix).await {
                Err(EtcdError::Compacted) if tries < RANGE_TRIES => tries += 1,
                done => return done,
            }
        }
    }

    async fn pages(&self, prefix: &str) -> Result<Loaded, EtcdError> {
        let mut request = RangeRequest::page(&self.key(prefix), PAGE_ENTRIES);
        let mut entries = Vec::new();
        let mut revision = 0;
        loop {
            let answer: RangeAnswer =
                self.calls.repeat("/v3/kv/range", &request, ANSWER_BYTES_MAX).await?.body;
            if revision == 0 {
                revision = answer.header.revision;
            }
            if let Some(last) = answer.kvs.last() {
                request.go_on_after(last);
            }
            let has_more = answer.more && !answer.kvs.is_empty();
            entries.extend(answer.kvs.into_iter().filter_map(|pair| pair.entry(&self.root)));
            if !has_more {
                return Ok(Loaded { entries, revision });
            }
            if entries.len() >= RANGE_ENTRIES_MAX {
                return Err(EtcdError::TooMuch { entries_max: RANGE_ENTRIES_MAX });
            }
            request.at(revision);
        }
    }

    /// Carries out a transaction, at most once.
    ///
    /// # Errors
    ///
    /// When it was surely not carried out and no comparison is the reason: nobody was reached, or etcd
    /// refused. Whether it was where an answer is lost is [`TxnOutcome::Unknown`], which is no error.
    pub async fn txn(&self, txn: &Txn) -> Result<TxnOutcome, EtcdError> {
        let request = TxnRequest::new(txn, &self.root);
        match self.calls.once::<_, TxnAnswer>("/v3/kv/txn", &request).await {
            Ok(reply) if reply.body.succeeded => {
                Ok(TxnOutcome::Succeeded { revision: reply.body.header.revision })
            }
            Ok(_) => Ok(TxnOutcome::Failed),
            Err(error) if error.may_be_done() => {
                log::warn!("what became of a transaction in etcd is not known: {}", error.told());
                Ok(TxnOutcome::Unknown)
            }
            Err(error) => Err(error),
        }
    }

    /// An etcd lease that lives for `ttl_secs` without a renewal.
    ///
    /// # Errors
    ///
    /// As [`Self::range`]. One that was granted without an answer ends by itself.
    pub async fn grant(&self, ttl_secs: u32) -> Result<Granted, EtcdError> {
        let request = GrantRequest { ttl: i64::from(ttl_secs) };
        let reply = self
            .calls
            .repeat::<_, GrantAnswer>("/v3/lease/grant", &request, SHORT_BYTES_MAX)
            .await?;
        Ok(Granted { lease: reply.body.id, ttl_secs: reply.body.ttl, sent: reply.sent })
    }

    /// Renews an etcd lease.
    ///
    /// A member that was paused or cut off may believe that it still leads and renew what the others
    /// have ended. So the renewal counts only when a read that a majority confirmed *after* it was
    /// answered in the same term: a term has one leader.
    ///
    /// # Errors
    ///
    /// As [`Self::range`]; [`EtcdError::LeaderChanged`] when the terms keep differing. Both calls together
    /// have the bound of one.
    pub async fn keep_alive(&self, lease: i64) -> Result<KeptAlive, EtcdError> {
        let renewing = tokio::time::timeout(self.calls.timeout(), self.renew(lease)).await;
        renewing.unwrap_or_else(|_| Err(self.calls.silent(self.calls.preferred())))
    }

    async fn renew(&self, lease: i64) -> Result<KeptAlive, EtcdError> {
        let request = LeaseRequest { id: lease };
        let confirmation = RangeRequest::count(self.root.as_bytes());
        for _ in 0..RENEWAL_TRIES {
            let renewed = self
                .calls
                .repeat::<_, Stream<KeepAliveAnswer>>(
                    "/v3/lease/keepalive",
                    &request,
                    SHORT_BYTES_MAX,
                )
                .await?;
            let sent = renewed.sent;
            let answer = renewed.body.into_result()?;
            if answer.ttl <= 0 {
                return Ok(KeptAlive::Lost);
            }
            let read = self
                .calls
                .repeat::<_, RangeAnswer>("/v3/kv/range", &confirmation, SHORT_BYTES_MAX)
                .await?;
            if read.body.header.raft_term == answer.header.raft_term {
                return Ok(KeptAlive::Renewed { sent });
            }
        }
        Err(EtcdError::LeaderChanged)
    }

    /// Ends an etcd lease and deletes the keys that are bound to it. One that is gone is no error.
    ///
    /// # Errors
    ///
    /// As [`Self::range`].
    pub async fn revoke(&self, lease: i64) -> Result<(), EtcdError> {
        let request = LeaseRequest { id: lease };
        match self.calls.repeat::<_, Nothing>("/v3/lease/revoke", &request, SHORT_BYTES_MAX).await {
            Ok(_) | Err(EtcdError::NoLease) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Changes of everything whose key begins with the root and `prefix`, after this revision.
    ///
    /// It goes on at another endpoint by itself when one dies, is silent or has no leader.
    pub fn watch(&self, prefix: &str, after: i64) -> Watch {
        Watch::start(Arc::clone(&self.calls), Arc::clone(&self.root), self.key(prefix), after)
    }

    /// The endpoint that is asked first at the moment: the first of the settings that is well, as far as
    /// calls have shown. Nothing when there is none at all.
    pub fn asked_first(&self) -> Option<Endpoint> {
        self.calls.endpoint(self.calls.preferred()).cloned()
    }

    /// How each endpoint is, in the order of the settings.
    pub async fn status(&self) -> Vec<EndpointStatus> {
        self.calls.status_of_all().await
    }

    fn key(&self, relative: &str) -> Vec<u8> {
        [self.root.as_bytes(), relative.as_bytes()].concat()
    }
}

impl From<StatusAnswer> for MemberStatus {
    fn from(answer: StatusAnswer) -> Self {
        Self {
            version: answer.version,
            member: answer.header.member_id,
            leader: answer.leader,
            cluster: answer.header.cluster_id,
            revision: answer.header.revision,
            raft_index: answer.raft_index,
            raft_applied: answer.raft_applied_index,
            raft_term: answer.raft_term,
            db_bytes: answer.db_size,
            db_used_bytes: answer.db_size_in_use,
            is_learner: answer.is_learner,
            errors: answer.errors,
        }
    }
}
