//! Data files that came from templates of the configuration.
//!
//! They belong to a session, because two infobases, or an old and an updated session of one, may
//! load different files under one alias in one `rphost`. The bytes are kept once however many
//! sessions load them. What is kept is ciphertext: the keys are the server's to give.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use licence_client::ClientError;
use licence_core::datafile::{DATAFILE_BYTES_MAX, Datafile, ObjectEntry, check_name};
use licence_core::protocol::SessionInfo;
use licence_core::seal::sha256;
use licence_core::time::{MonoTime, Utc};

use crate::clock;
use crate::guard::try_lock;
use crate::objects::{Catalogue, Scope};
use crate::value::Bytes;

/// Most aliases of one series that a session may load.
const ALIASES_MAX: usize = 16;

/// Most sessions whose aliases are remembered; those used longest ago go first. An application
/// server process has some hundreds.
const SESSIONS_MAX: usize = 4096;

/// A session that has not used its templates for this long has ended without a word.
const UNUSED_MAX: Duration = Duration::from_secs(24 * 3600);

/// Most bytes of templates in one process: four of the largest, or two where memory is short.
const BYTES_MAX: u64 =
    if cfg!(target_pointer_width = "32") { DATAFILE_BYTES_MAX * 2 } else { DATAFILE_BYTES_MAX * 4 };

/// What the platform's sessions are told apart by: the same as in the client's book of seats.
#[derive(Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Owner {
    infobase: String,
    number: String,
    started: Option<Utc>,
    computer: String,
}

impl Owner {
    pub(crate) fn of(session: &SessionInfo) -> Arc<Self> {
        Arc::new(Self {
            infobase: session.info_base_connection_str.clone(),
            number: session.session_number.clone(),
            started: session.session_started,
            computer: session.computer_name.clone(),
        })
    }
}

/// Nothing for callers that have not named their session.
pub(crate) type OwnerKey = Option<Arc<Owner>>;

/// A loaded data file.
pub(crate) struct Template {
    bytes: Bytes,
    file: Datafile,
    pub(crate) catalogue: Catalogue,
}

impl Template {
    /// The ciphertext of one of its objects.
    pub(crate) fn sealed(&self, object: &ObjectEntry) -> &[u8] {
        let range = self.file.range(object);
        let start = usize::try_from(range.start).unwrap_or(usize::MAX);
        let end = usize::try_from(range.end).unwrap_or(usize::MAX);
        // The file's length was checked against its list.
        self.bytes.as_slice().get(start..end).unwrap_or_default()
    }
}

struct Shelf {
    by_alias: BTreeMap<String, Arc<Template>>,
    used_at: MonoTime,
}

struct Shelves {
    by_owner: BTreeMap<(Scope, OwnerKey), Shelf>,
    /// Those that somebody has, by their digest.
    known: BTreeMap<(Scope, [u8; 32]), Weak<Template>>,
}

static SHELVES: Mutex<Shelves> =
    Mutex::new(Shelves { by_owner: BTreeMap::new(), known: BTreeMap::new() });

fn lock() -> MutexGuard<'static, Shelves> {
    SHELVES.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shelves {
    fn bytes(&self) -> u64 {
        let living = self.known.values().filter_map(Weak::upgrade);
        living.map(|template| template.bytes.len() as u64).fold(0, u64::saturating_add)
    }

    /// Lets go of what nobody uses any more.
    fn prune(&mut self, now: MonoTime) {
        self.by_owner.retain(|_, shelf| now.since(shelf.used_at) < UNUSED_MAX);
        while self.by_owner.len() > SESSIONS_MAX {
            let oldest = self.by_owner.iter().min_by_key(|(_, shelf)| shelf.used_at);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else { break };
            self.by_owner.remove(&oldest);
        }
        self.known.retain(|_, template| template.strong_count() > 0);
    }
}

/// The template that a session has loaded under an alias.
pub(crate) fn find(scope: Scope, owner: &OwnerKey, alias: &str) -> Option<Arc<Template>> {
    let now = clock::mono();
    let mut shelves = lock();
    let shelf = shelves.by_owner.get_mut(&(scope, owner.clone()))?;
    shelf.used_at = now;
    shelf.by_alias.get(&alias.to_lowercase()).map(Arc::clone)
}

/// All templates that a session has loaded, in the order of their aliases.
pub(crate) fn all(scope: Scope, owner: &OwnerKey) -> Vec<Arc<Template>> {
    let shelves = lock();
    let shelf = shelves.by_owner.get(&(scope, owner.clone()));
    shelf.map(|shelf| shelf.by_alias.values().map(Arc::clone).collect()).unwrap_or_default()
}

/// Loads a data file under an alias. One that is there already stays, unless `replace`.
///
/// # Errors
///
/// `EParams` for an alias that none may have or one too many, `EObject` for a file that the series
/// has not signed.
pub(crate) fn load(
    scope: Scope,
    owner: &OwnerKey,
    alias: &str,
    bytes: &Bytes,
    replace: bool,
) -> Result<(), ClientError> {
    check_name(alias).map_err(|_| ClientError::bad_name(alias))?;
    let is_loaded = find(scope, owner, alias).is_some();
    if is_loaded && !replace {
        return Ok(());
    }
    let digest = sha256(bytes.as_slice());
    let known = lock().known.get(&(scope, digest)).and_then(Weak::upgrade);
    let template = match known {
        Some(template) => template,
        None => Arc::new(read(scope, bytes)?),
    };
    let now = clock::mono();
    let mut shelves = lock();
    shelves.prune(now);
    // Another thread may have been faster with the same file.
    let known = shelves.known.get(&(scope, digest)).and_then(Weak::upgrade);
    let template = match known {
        Some(template) => template,
        None => {
            if shelves.bytes().saturating_add(bytes.len() as u64) > BYTES_MAX {
                return Err(params(
                    format!("Загруженные макеты занимают больше {BYTES_MAX} байт"),
                    format!("loaded templates take more than {BYTES_MAX} bytes"),
                ));
            }
            shelves.known.insert((scope, digest), Arc::downgrade(&template));
            template
        }
    };
    let key = (scope, owner.clone());
    let shelf = shelves
        .by_owner
        .entry(key)
        .or_insert_with(|| Shelf { by_alias: BTreeMap::new(), used_at: now });
    shelf.used_at = now;
    let alias = alias.to_lowercase();
    if shelf.by_alias.len() >= ALIASES_MAX && !shelf.by_alias.contains_key(&alias) {
        return Err(params(
            format!("Загружено больше {ALIASES_MAX} макетов"),
            format!("more than {ALIASES_MAX} templates are loaded"),
        ));
    }
    shelf.by_alias.insert(alias, template);
    Ok(())
}

fn read(scope: Scope, bytes: &Bytes) -> Result<Template, ClientError> {
    let slice = bytes.as_slice();
    let file =
        Datafile::read(slice, slice.len() as u64, scope.series, &scope.pinned).map_err(|why| {
            ClientError::new(
                "EObject",
                format!("Макет с данными не принят: {why}"),
                format!("the template was not accepted: {why}"),
            )
        })?;
    let catalogue = Catalogue::new(scope, &file.list);
    Ok(Template { bytes: bytes.clone(), file, catalogue })
}

fn params(russian: String, english: String) -> ClientError {
    ClientError::new("EParams", russian, english)
}

/// Lets go of everything, as far as no other thread is at it while the process exits.
pub(crate) fn clear() {
    if let Some(mut shelves) = try_lock(&SHELVES) {
        shelves.by_owner = BTreeMap::new();
        shelves.known = BTreeMap::new();
    }
}

#[cfg(test)]
mod tests {
    use licence_core::datafile::{MAGIC, ObjectAccess, ObjectKind, ObjectList, seal_object};
    use licence_core::key::KeySeries;
    use licence_core::seal::{SigningKey, hex_upper};
    use zeroize::Zeroizing;

    use super::*;

    fn datafile(scope: Scope, key: &SigningKey, text: &str) -> Bytes {
        let mut object = ObjectEntry {
            name: "Параметры".to_owned(),
            kind: ObjectKind::Text,
            access: ObjectAccess::Seat,
            size: text.len() as u64,
            offset: 0,
            digest: hex_upper(&sha256(text.as_bytes())),
            key: String::new(),
        };
        object.key = "wrapped".to_owned();
        let sealed = seal_object(&[5; 32], &object.context(scope.series), text.as_bytes()).unwrap();
        let token = ObjectList::new(scope.series, vec![object]).sign(key).unwrap();
        let mut file = MAGIC.to_vec();
        file.extend_from_slice(token.as_bytes());
        file.push(b'\n');
        file.extend_from_slice(&sealed);
        Bytes::new(Zeroizing::new(file))
    }

    fn owner(number: &str) -> OwnerKey {
        let session = SessionInfo { session_number: number.to_owned(), ..SessionInfo::default() };
        Some(Owner::of(&session))
    }

    #[test]
    fn sessions_keep_their_own_aliases_and_share_equal_bytes() {
        let key = SigningKey::from_seed(&[41; 32]);
        let scope = Scope { series: KeySeries::from_u16(0x672B), pinned: key.public() };
        let (old, new) = (datafile(scope, &key, "1"), datafile(scope, &key, "2"));
        load(scope, &owner("1"), "Данные", &old, false).unwrap();
        load(scope, &owner("2"), "данные", &datafile(scope, &key, "1"), false).unwrap();
        let of = |number: &str| find(scope, &owner(number), "ДАННЫЕ").unwrap();
        assert!(Arc::ptr_eq(&of("1"), &of("2")), "equal bytes are kept once");
        load(scope, &owner("2"), "Данные", &new, false).unwrap();
        assert!(Arc::ptr_eq(&of("1"), &of("2")), "what is there stays");
        load(scope, &owner("2"), "Данные", &new, true).unwrap();
        assert!(!Arc::ptr_eq(&of("1"), &of("2")));
        let template = of("2");
        let entry = template.catalogue.find("параметры").unwrap();
        assert_eq!(template.sealed(&entry.object).len(), 17);
        assert!(find(scope, &owner("3"), "Данные").is_none());
        assert_eq!(all(scope, &owner("1")).len(), 1);
    }

    #[test]
    fn files_and_aliases_that_are_wrong_are_refused() {
        let (key, other) = (SigningKey::from_seed(&[42; 32]), SigningKey::from_seed(&[43; 32]));
        let scope = Scope { series: KeySeries::from_u16(0x672B), pinned: key.public() };
        let good = datafile(scope, &key, "1");
        let class = |alias: &str, bytes: &Bytes| {
            load(scope, &owner("9"), alias, bytes, false).unwrap_err().class().to_owned()
        };
        assert_eq!(class("А.Б", &good), "EParams");
        assert_eq!(class("", &good), "EParams");
        assert_eq!(class("А", &datafile(scope, &other, "1")), "EObject");
        let cut = good.as_slice()[..good.len() - 1].to_vec();
        assert_eq!(class("А", &Bytes::new(Zeroizing::new(cut))), "EObject");
        assert_eq!(class("А", &Bytes::new(Zeroizing::new(Vec::new()))), "EObject");
        for number in 0..ALIASES_MAX {
            load(scope, &owner("9"), &format!("А{number}"), &good, false).unwrap();
        }
        assert_eq!(class("Ещё", &good), "EParams");
        load(scope, &owner("9"), "а0", &good, true).unwrap();
    }
}
