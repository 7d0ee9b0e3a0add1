//! Protected objects of the process: lists of the server's data files, decrypted objects.
//!
//! Kept for the process and not for an object of the component, because `rphost` destroys that
//! between two calls of one session. What is kept says nothing of who may have it: whoever asks is
//! checked by [`crate::protected`] each time. Nothing here asks the server under a lock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use licence_client::{CALL_BOUND, ClientError, DataFile, Link};
use licence_core::datafile::{ObjectAccess, ObjectEntry, ObjectKind, ObjectList};
use licence_core::key::KeySeries;
use licence_core::seal::{PublicKey, hex_upper, sha256};
use licence_core::time::MonoTime;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::clock;
use crate::guard::try_lock;
use crate::value::Bytes;

/// Most bytes of decrypted objects that a process keeps; the least recently used ones go first.
/// Products have some 125 objects of up to 1 MiB; a 32-bit client has 2 GiB for everything.
const PLAIN_BYTES_MAX: usize =
    if cfg!(target_pointer_width = "32") { 64 * 1024 * 1024 } else { 256 * 1024 * 1024 };

/// How long the list of a data file serves without the server being asked whether it is still the
/// same, and the permission for an object that needs no seat.
pub(crate) const FRESH: Duration = Duration::from_secs(60);

/// Asking whether a known list is still the same blocks its caller at most this long: the list in
/// hand serves as well.
const RECHECK_BOUND: Duration = Duration::from_secs(2);

/// Most lists that a process keeps: some aliases of some series. Each may have 4 MiB.
const LISTS_MAX: usize = 64;

/// What lists and objects belong to: a series, and the key it is pinned to. Two infobases may pin
/// one series differently, and neither may see what the other's key has signed.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Scope {
    pub(crate) series: KeySeries,
    pub(crate) pinned: PublicKey,
}

impl Scope {
    pub(crate) fn of(link: &Link) -> Result<Self, ClientError> {
        Ok(Self { series: link.series()?, pinned: link.pinned_key()? })
    }
}

/// An object of a list, ready to be shown.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The same as long as the content, the kind and the access are.
    pub(crate) id: String,
    pub(crate) object: ObjectEntry,
    /// What `ПодготовитьОбъект` answers.
    pub(crate) shown: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Shown<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    name: &'a str,
    kind: ObjectKind,
    access: ObjectAccess,
    size: u64,
}

/// The objects of a list by their names in lower case: 1C's names have none.
#[derive(Debug)]
pub(crate) struct Catalogue(BTreeMap<String, Arc<Entry>>);

impl Catalogue {
    pub(crate) fn new(scope: Scope, list: &ObjectList) -> Self {
        let entries = list.objects.iter().map(|object| {
            let mut named = scope.pinned.as_bytes().to_vec();
            named.extend_from_slice(&object.context(scope.series));
            let id = hex_upper(&sha256(&named)[..16]);
            let ObjectEntry { ref name, kind, access, size, .. } = *object;
            let shown = Shown { id: &id, name, kind, access, size };
            // Texts, numbers and names of variants always have a JSON form.
            let shown = serde_json::to_string(&shown).unwrap_or_default();
            (name.to_lowercase(), Arc::new(Entry { id, object: object.clone(), shown }))
        });
        Self(entries.collect())
    }

    pub(crate) fn find(&self, name: &str) -> Option<Arc<Entry>> {
        self.0.get(&name.to_lowercase()).map(Arc::clone)
    }
}

/// A data file of the server.
#[derive(Debug)]
pub(crate) struct ServerList {
    pub(crate) file: DataFile,
    pub(crate) catalogue: Catalogue,
}

type ListKey = (Scope, Option<String>);

struct Known {
    list: Arc<ServerList>,
    /// The server that was asked last.
    server: Option<String>,
    asked_at: MonoTime,
}

struct Plain {
    bytes: Bytes,
    used: u64,
    granted_at: MonoTime,
}

struct Store {
    lists: BTreeMap<ListKey, Known>,
    plain: BTreeMap<String, Plain>,
    plain_bytes: usize,
    /// Counts uses: the order in which objects were used last.
    uses: u64,
    /// Counts how often everything was let go.
    era: u64,
}

static STORE: Mutex<Store> = Mutex::new(Store {
    lists: BTreeMap::new(),
    plain: BTreeMap::new(),
    plain_bytes: 0,
    uses: 0,
    era: 0,
});

fn lock() -> MutexGuard<'static, Store> {
    STORE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is kept, for the debug text.
pub(crate) struct Figures {
    pub(crate) lists: usize,
    pub(crate) objects: usize,
    pub(crate) bytes: usize,
}

pub(crate) fn figures() -> Figures {
    let store = lock();
    Figures { lists: store.lists.len(), objects: store.plain.len(), bytes: store.plain_bytes }
}

/// Whether the server is known to have a data file of this alias.
pub(crate) fn is_alias_of_server(scope: Scope, alias: &str) -> bool {
    lock().lists.contains_key(&(scope, Some(alias.to_lowercase())))
}

/// The server's data file: the list in hand, unless the server is another or was not asked for
/// [`FRESH`]. When asking fails, the list in hand serves, except when the server says that it has
/// no such file. Threads that have none in hand each ask for it: a list has some hundred bytes per
/// object and is asked for once a process, so that nobody need wait for another's question.
pub(crate) fn server_list(
    link: &Link,
    scope: Scope,
    alias: Option<&str>,
) -> Result<Arc<ServerList>, ClientError> {
    let key: ListKey = (scope, alias.map(str::to_lowercase));
    let server = link.server_addr();
    let now = clock::mono();
    let in_hand = match lock().lists.get_mut(&key) {
        Some(known) => {
            let is_fresh = known.server == server && now.since(known.asked_at) < FRESH;
            if is_fresh || server.is_none() {
                return Ok(Arc::clone(&known.list));
            }
            // The others go on with the list in hand meanwhile.
            known.asked_at = now;
            known.server.clone_from(&server);
            Some(Arc::clone(&known.list))
        }
        None => None,
    };
    let bound = if in_hand.is_some() { RECHECK_BOUND } else { CALL_BOUND };
    let list = match (link.datafile_within(alias, bound), in_hand) {
        (Ok(file), Some(list)) if list.file.version == file.version => list,
        (Ok(file), _) => {
            let catalogue = Catalogue::new(scope, &file.list);
            Arc::new(ServerList { file, catalogue })
        }
        (Err(error), Some(list)) if !error.is_refusal("EDataFileNotFound") => {
            log::warn!("series {}: the list in hand serves: {error}", scope.series);
            return Ok(list);
        }
        (Err(error), _) => {
            lock().lists.remove(&key);
            return Err(error);
        }
    };
    let mut store = lock();
    let known = Known { list: Arc::clone(&list), server: link_server(link, server), asked_at: now };
    store.lists.insert(key, known);
    while store.lists.len() > LISTS_MAX {
        let oldest = store.lists.iter().min_by_key(|(_, known)| known.asked_at);
        let Some(oldest) = oldest.map(|(key, _)| key.clone()) else { break };
        store.lists.remove(&oldest);
    }
    Ok(list)
}

/// The server that answered: the one in use before, or the one that was found for the question.
fn link_server(link: &Link, before: Option<String>) -> Option<String> {
    before.or_else(|| link.server_addr())
}

/// The server said that its file is another by now.
pub(crate) fn forget_list(scope: Scope, alias: Option<&str>) {
    lock().lists.remove(&(scope, alias.map(str::to_lowercase)));
}

/// A decrypted object and whether its permission is fresh.
pub(crate) fn cached(id: &str) -> Option<(Bytes, bool)> {
    let now = clock::mono();
    let mut store = lock();
    store.uses += 1;
    let uses = store.uses;
    let plain = store.plain.get_mut(id)?;
    plain.used = uses;
    Some((plain.bytes.clone(), now.since(plain.granted_at) < FRESH))
}

/// When an object is asked for, as [`keep`] wants to know it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Era(u64);

/// The present one.
pub(crate) fn era() -> Era {
    Era(lock().era)
}

/// Keeps a decrypted object to which access was granted this moment; the bytes to hand out. They are
/// not kept when everything was let go since the object was asked for.
pub(crate) fn keep(id: &str, bytes: Zeroizing<Vec<u8>>, era: Era) -> Bytes {
    let bytes = Bytes::new(bytes);
    let granted_at = clock::mono();
    let mut gone = Vec::new();
    let mut store = lock();
    if store.era != era.0 {
        return bytes;
    }
    store.uses += 1;
    let plain = Plain { bytes: bytes.clone(), used: store.uses, granted_at };
    store.plain_bytes = store.plain_bytes.saturating_add(bytes.len());
    if let Some(old) = store.plain.insert(id.to_owned(), plain) {
        store.plain_bytes = store.plain_bytes.saturating_sub(old.bytes.len());
        gone.push(old);
    }
    while store.plain_bytes > PLAIN_BYTES_MAX && store.plain.len() > 1 {
        let oldest = store.plain.iter().min_by_key(|(_, plain)| plain.used);
        let Some(oldest) = oldest.map(|(id, _)| id.clone()) else { break };
        if let Some(old) = store.plain.remove(&oldest) {
            store.plain_bytes = store.plain_bytes.saturating_sub(old.bytes.len());
            gone.push(old);
        }
    }
    drop(store);
    // Clearing megabytes is not for the time under the lock.
    drop(gone);
    bytes
}

/// Access to a kept object was granted again; false when it has gone meanwhile.
pub(crate) fn granted(id: &str) -> bool {
    let now = clock::mono();
    lock().plain.get_mut(id).map(|plain| plain.granted_at = now).is_some()
}

/// What was kept. Dropping it clears up to [`PLAIN_BYTES_MAX`], which takes tens of milliseconds:
/// not for the time under a lock.
pub(crate) struct Gone {
    _lists: BTreeMap<ListKey, Known>,
    _plain: BTreeMap<String, Plain>,
}

impl Store {
    fn let_go(&mut self) -> Gone {
        self.era += 1;
        self.plain_bytes = 0;
        Gone { _lists: std::mem::take(&mut self.lists), _plain: std::mem::take(&mut self.plain) }
    }
}

/// Lets go of everything: nobody is left who may have it. A lock that another thread holds, while
/// the process exits or in the parent of a `fork`, is not waited for.
pub(crate) fn let_go() -> Option<Gone> {
    try_lock(&STORE).map(|mut store| store.let_go())
}

/// The same while others go on, waiting for the lock, which is held for moments only.
pub(crate) fn clear() {
    let gone = lock().let_go();
    drop(gone);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn least_recently_used_objects_make_room_and_no_byte_is_forgotten() {
        // Ids of this test alone: the store is the process's.
        let bytes = |len: usize| Zeroizing::new(vec![7; len]);
        let third = PLAIN_BYTES_MAX / 3;
        for name in ["lru-a", "lru-b", "lru-c"] {
            keep(name, bytes(third), era());
        }
        assert!(cached("lru-a").is_some(), "used again, so b is the oldest");
        keep("lru-d", bytes(third), era());
        assert!(cached("lru-b").is_none());
        for name in ["lru-a", "lru-c", "lru-d"] {
            assert_eq!(cached(name).unwrap().0.len(), third, "{name}");
        }
        assert!(lock().plain_bytes <= PLAIN_BYTES_MAX);
        let asked = era();
        clear();
        assert_eq!(lock().plain_bytes, 0);
        assert!(!granted("lru-a"));
        // What was on its way while everything was let go is handed out and not kept.
        assert_eq!(keep("lru-a", bytes(5), asked).len(), 5);
        assert!(cached("lru-a").is_none());
        keep("lru-a", bytes(5), era());
        assert!(let_go().is_some());
        assert!(cached("lru-a").is_none());
    }
}
