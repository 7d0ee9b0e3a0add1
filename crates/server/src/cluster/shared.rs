//! Rules and access codes that all nodes of a cluster share: how a change gets into etcd, how what
//! lies there comes into force here, and the file from which a node knows the codes that starts
//! without etcd.
//!
//! Which version counts, and what a change compares, is decided by `licence_core::cluster::shared`;
//! what rules and codes do is the service's business.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use licence_core::access_code::CodeDigest;
use licence_core::causes::with_causes;
use licence_core::cluster::shared::{
    Changed, Latest, Shared, SharedCodes, SharedRules, SharedValue, Written, change,
};
use licence_core::cluster::{ClusterId, Standing};
use licence_core::key::KeyNo;
use licence_core::rules::{RuleSet, RulesError};
use tokio::sync::watch;

use super::etcd::Etcd;
use super::known_codes::{KnownCodes, Remembered};
use super::{DRIVER_BUSY, State};
use crate::access::Actor;
use crate::driver::{DriverError, Handle, TakenFrom};
use crate::random::{self, RandomError};
use crate::{clock, rules_file};

/// How long a change waits until it is in force at this node: the watch tells it within
/// milliseconds, and a driver that is busy takes some more. It is in etcd all the same.
const IN_FORCE_BOUND: Duration = Duration::from_secs(5);

/// How often the change of one code is made anew because another key's code was changed meanwhile.
const CODE_TRIES: usize = 5;

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// Somebody else was faster.
    #[error("it was changed meanwhile")]
    Changed,
    /// No salt.
    #[error("no salt could be drawn")]
    Random(#[from] RandomError),
    /// The rules cannot be put in force.
    #[error("the rules cannot be put in force")]
    Rules(#[source] RulesError),
    /// Longer than nodes may share.
    #[error("longer than what nodes share may be")]
    TooLong,
    /// etcd does not answer; nothing was sent, or it was surely not carried out.
    #[error("etcd does not answer")]
    Unavailable,
    /// etcd has not said what became of it.
    #[error("etcd does not confirm it")]
    Unconfirmed,
}

/// What is in force at this node: the revisions that wrote it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct InForce {
    rules: i64,
    codes: i64,
}

/// Those who change something at this node, until it is in force: its line in the audit trail is
/// theirs.
type Changing = Arc<Mutex<Vec<(Written, Actor)>>>;

/// Changes what nodes share. Clones do the same.
#[derive(Clone, Debug)]
pub struct Sharing {
    /// Name of this node.
    name: String,
    etcd: Etcd,
    state: watch::Receiver<Arc<State>>,
    in_force: watch::Receiver<InForce>,
    changing: Changing,
}

/// What [`start`] needs.
#[derive(Debug)]
pub(super) struct SharingSetup {
    pub(super) cluster: ClusterId,
    /// Name of this node.
    pub(super) name: String,
    pub(super) etcd: Etcd,
    pub(super) driver: Handle,
    pub(super) state: watch::Receiver<Arc<State>>,
    /// The file of the rules: the driver's copy of what lies in etcd.
    pub(super) rules: PathBuf,
    /// The file of the access codes.
    pub(super) codes: KnownCodes,
}

/// Starts the task that puts in force what lies in etcd; it ends with the node's.
pub(super) fn start(setup: SharingSetup) -> Sharing {
    let (told, in_force) = watch::channel(InForce::default());
    let changing = Changing::default();
    let sharing = Sharing {
        name: setup.name.clone(),
        etcd: setup.etcd.clone(),
        state: setup.state.clone(),
        in_force,
        changing: Arc::clone(&changing),
    };
    let taker = Taker {
        cluster: setup.cluster,
        name: setup.name,
        driver: setup.driver,
        rules: setup.rules,
        codes: setup.codes,
        changing,
    };
    tokio::spawn(taker.run(setup.state, told));
    sharing
}

impl Sharing {
    /// What nodes share, as this one saw it last.
    pub fn shared(&self) -> Shared {
        self.state.borrow().contents.shared.clone()
    }

    /// Puts rules in force at all nodes. `from` is the revision that the change was made from. When
    /// this returns they are in etcd, and as a rule in force at this node.
    ///
    /// # Errors
    ///
    /// See [`ChangeError`].
    pub async fn set_rules(
        &self,
        rules: RuleSet,
        from: i64,
        actor: &Actor,
    ) -> Result<(), ChangeError> {
        let rules = rules.check().map_err(ChangeError::Rules)?;
        let (written, _changing) = self.begin(actor);
        let revision = self.write(&SharedRules { written, rules }, from).await?;
        self.wait(|in_force| in_force.rules >= revision).await;
        Ok(())
    }

    /// Sets the access code of a key at all nodes, or takes it away. `own` are the codes of this
    /// server's settings: where the cluster has none yet, they become the cluster's.
    ///
    /// # Errors
    ///
    /// See [`ChangeError`]; [`ChangeError::Changed`] when the code of the same key was changed
    /// meanwhile.
    pub async fn set_access_code(
        &self,
        key_no: KeyNo,
        code: Option<&str>,
        own: &BTreeMap<KeyNo, String>,
        actor: &Actor,
    ) -> Result<(), ChangeError> {
        let digest = code.map(digest_of).transpose()?;
        let (written, _changing) = self.begin(actor);
        let mut latest = self.shared().codes;
        let own = match latest.counting() {
            Some(_) => BTreeMap::new(),
            None => digests_of(own)?,
        };
        let known = |latest: &Latest<SharedCodes>| {
            latest.counting().map_or_else(|| own.clone(), |(value, _)| value.codes.clone())
        };
        let before = known(&latest).get(&key_no).copied();
        for _ in 0..CODE_TRIES {
            let mut codes = known(&latest);
            if codes.get(&key_no) != before.as_ref() {
                return Err(ChangeError::Changed);
            }
            match digest {
                Some(digest) => codes.insert(key_no, digest),
                None => codes.remove(&key_no),
            };
            let value = SharedCodes { written: written.clone(), codes };
            match self.write(&value, latest.revision()).await {
                Ok(revision) => {
                    self.wait(|in_force| in_force.codes >= revision).await;
                    return Ok(());
                }
                // Perhaps that of another key.
                Err(ChangeError::Changed) => latest = self.look_again(latest).await?,
                Err(error) => return Err(error),
            }
        }
        Err(ChangeError::Changed)
    }

    fn begin(&self, actor: &Actor) -> (Written, ChangingGuard) {
        let written = Written::new(&self.name, &actor.name, clock::utc());
        let mut changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        changing.push((written.clone(), actor.clone()));
        (written.clone(), ChangingGuard { changing: Arc::clone(&self.changing), written })
    }

    /// Writes a value; the revision that it has got.
    async fn write<T: SharedValue>(&self, value: &T, from: i64) -> Result<i64, ChangeError> {
        if self.state.borrow().standing != Standing::Joined {
            return Err(ChangeError::Unavailable);
        }
        let value = value.write().ok_or(ChangeError::TooLong)?;
        let outcome = self.etcd.txn(&change(T::NAME, from, value.clone())).await;
        let outcome = outcome.map_err(|error| {
            log::warn!("cluster: {} was not changed: {}", T::NAME.key(), error.told());
            ChangeError::Unavailable
        })?;
        let changed = match Changed::of(outcome) {
            Some(changed) => changed,
            None => {
                let found = self.etcd.range(T::NAME.key()).await;
                let found = found.map_err(|_| ChangeError::Unconfirmed)?;
                let there = found.entries.iter().find(|entry| entry.key == T::NAME.key());
                Changed::found(from, &value, there)
            }
        };
        match changed {
            Changed::Done { revision } => Ok(revision),
            Changed::Lost => Err(ChangeError::Changed),
            Changed::Unconfirmed => Err(ChangeError::Unconfirmed),
        }
    }

    /// What lies in etcd, read anew.
    async fn look_again<T: SharedValue>(
        &self,
        mut latest: Latest<T>,
    ) -> Result<Latest<T>, ChangeError> {
        let found = self.etcd.range(T::NAME.key()).await;
        let found = found.map_err(|_| ChangeError::Unavailable)?;
        match found.entries.iter().find(|entry| entry.key == T::NAME.key()) {
            Some(entry) => latest.put(entry).map_err(|_| ChangeError::Changed)?,
            None => latest.delete(),
        }
        Ok(latest)
    }

    async fn wait(&self, is_there: impl Fn(&InForce) -> bool) {
        let mut in_force = self.in_force.clone();
        let waited = tokio::time::timeout(IN_FORCE_BOUND, in_force.wait_for(is_there));
        if waited.await.is_err() {
            log::warn!("cluster: a change lies in etcd and is not yet in force at this node");
        }
    }
}

/// Takes a change off the list of those under way.
struct ChangingGuard {
    changing: Changing,
    written: Written,
}

impl Drop for ChangingGuard {
    fn drop(&mut self) {
        let mut changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = changing.iter().position(|(written, _)| *written == self.written) {
            changing.remove(at);
        }
    }
}

/// The digest of a code under a fresh salt.
pub(super) fn digest_of(code: &str) -> Result<CodeDigest, RandomError> {
    Ok(CodeDigest::new(code, random::id_bytes()?))
}

/// The digests of the codes that settings hold.
pub(super) fn digests_of(
    codes: &BTreeMap<KeyNo, String>,
) -> Result<BTreeMap<KeyNo, CodeDigest>, RandomError> {
    codes.iter().map(|(key_no, code)| Ok((*key_no, digest_of(code)?))).collect()
}

/// Puts in force what lies in etcd.
struct Taker {
    cluster: ClusterId,
    name: String,
    driver: Handle,
    rules: PathBuf,
    codes: KnownCodes,
    changing: Changing,
}

impl Taker {
    async fn run(self, mut state: watch::Receiver<Arc<State>>, told: watch::Sender<InForce>) {
        let mut in_force = InForce::default();
        loop {
            let contents = Arc::clone(&state.borrow_and_update().contents);
            let shared = &contents.shared;
            if let Some((rules, revision)) = shared.rules.counting()
                && revision != in_force.rules
            {
                if !self.take_rules(rules).await {
                    return;
                }
                in_force.rules = revision;
            }
            if let Some((codes, revision)) = shared.codes.counting()
                && revision != in_force.codes
            {
                if !self.take_codes(codes).await {
                    return;
                }
                in_force.codes = revision;
            }
            told.send_if_modified(|told| std::mem::replace(told, in_force) != in_force);
            if state.changed().await.is_err() {
                return;
            }
        }
    }

    /// False when the driver has ended.
    async fn take_rules(&self, shared: &SharedRules) -> bool {
        self.keep_former(shared).await;
        let from = self.from(&shared.written);
        self.tell(|| self.driver.take_rules(shared.rules.clone(), from.clone())).await
    }

    /// False when the driver has ended.
    async fn take_codes(&self, shared: &SharedCodes) -> bool {
        // Before they are in force: a code that a restart forgets would open the key to all.
        self.remember(shared.codes.clone()).await;
        let from = self.from(&shared.written);
        self.tell(|| self.driver.take_access_codes(shared.codes.clone(), from.clone())).await
    }

    /// Before the first rules of a cluster take the place of the node's own.
    async fn keep_former(&self, shared: &SharedRules) {
        let (path, codes, cluster) = (self.rules.clone(), self.codes.clone(), self.cluster);
        let rules = shared.rules.set().clone();
        let kept = tokio::task::spawn_blocking(move || {
            if codes.has_rules(cluster) {
                return Ok(None);
            }
            let kept = if rules_file::holds(&path, &rules) {
                None
            } else {
                rules_file::keep_former(&path)?
            };
            codes.write(&Remembered { cluster, has_rules: true, codes: codes.codes(cluster) });
            Ok::<_, std::io::Error>(kept)
        });
        match kept.await {
            Ok(Ok(None)) => {}
            Ok(Ok(Some(kept))) => log::warn!(
                "the rules of the cluster take the place of this node's; its own are kept as {}",
                kept.display()
            ),
            Ok(Err(error)) => log::error!("the node's own rules could not be kept: {error}"),
            Err(error) => log::error!("keeping the node's own rules broke down: {error}"),
        }
    }

    async fn remember(&self, codes: BTreeMap<KeyNo, CodeDigest>) {
        let (file, cluster) = (self.codes.clone(), self.cluster);
        let written = tokio::task::spawn_blocking(move || {
            let has_rules = file.has_rules(cluster);
            file.write(&Remembered { cluster, has_rules, codes: Some(codes) });
        });
        if let Err(error) = written.await {
            log::error!("remembering access codes broke down: {error}");
        }
    }

    /// Who stands in the audit trail: whoever changed it here, or who did elsewhere by name.
    fn from(&self, written: &Written) -> TakenFrom {
        let changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let here = changing.iter().find(|(own, _)| own == written);
        match here {
            Some((_, actor)) => TakenFrom { actor: actor.clone(), node: None },
            None => TakenFrom {
                actor: Actor { name: written.user.clone(), ..Actor::server() },
                node: (written.node != self.name).then(|| written.node.clone()),
            },
        }
    }

    /// A driver that is busy is told again. False when it has ended.
    async fn tell<F>(&self, tell: impl Fn() -> F) -> bool
    where
        F: Future<Output = Result<(), DriverError>>,
    {
        loop {
            match tell().await {
                Ok(()) => return true,
                Err(DriverError::Busy) => tokio::time::sleep(DRIVER_BUSY).await,
                Err(error) => {
                    log::warn!(
                        "what the cluster shares does not reach the driver: {}",
                        with_causes(&error)
                    );
                    return false;
                }
            }
        }
    }
}
