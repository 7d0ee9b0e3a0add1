//! Which key a session means, and the memory of that key: read, written, guarded, wiped.
//!
//! What a password opens is the core's word. A change is on disk before its answer leaves; guarding
//! and wiping leave a line in the audit trail, which never has any contents.

use licence_core::developer_password::is_developer_password;
use licence_core::journal::Record;
use licence_core::key::{KeyNo, KeySeries};
use licence_core::key_memory::{KeyMemory, KeyMemoryError, Passwords, SALT_BYTES};
use licence_core::pool::KeyStatus;
use licence_core::refusal::Refusal;
use licence_core::service::LicenceService;
use licence_core::session::SessionId;
use licence_core::time::Now;

use super::handle::session_id;
use super::task::{Outcome, Task};
use super::{AuditNote, DriverError, Handle};
use crate::access::Actor;
use crate::key_memory::MemoryError;
use crate::keyring::Keyring;
use crate::random;

/// Which key a caller means.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeyAsked {
    /// The series that the caller works with.
    pub series: KeySeries,
    /// The key by its number; nothing for the session's or, without one, the first that may be used.
    pub key_no: Option<KeyNo>,
    /// Id of the session, when the caller has one.
    pub session: Option<String>,
}

/// Why there is no such key for the caller.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyChoiceError {
    /// No key of this number is installed.
    #[error("key {0} is not installed")]
    NotInstalled(KeyNo),
    /// The key belongs to another product.
    #[error("key {0} belongs to series {1}")]
    OtherSeries(KeyNo, KeySeries),
    /// The session is not known, or no key may be used.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// What came of a wish about a key's memory.
pub type OfMemory<T> = Result<Result<T, MemoryError>, KeyChoiceError>;

/// What is asked of a memory, owned, because it travels to the driver's task.
#[derive(Clone, Default)]
pub struct OwnPasswords {
    /// For reading; empty for none.
    pub read: String,
    /// For writing; empty for none.
    pub write: String,
}

impl std::fmt::Debug for OwnPasswords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OwnPasswords").finish_non_exhaustive()
    }
}

impl OwnPasswords {
    fn named(&self) -> Passwords<'_> {
        Passwords { read: &self.read, write: &self.write }
    }
}

/// A [`KeyAsked`] whose session was read.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    pub(super) series: KeySeries,
    pub(super) key_no: Option<KeyNo>,
    pub(super) session: Option<SessionId>,
}

impl KeyAsked {
    pub(super) fn read(self) -> Result<Asked, DriverError> {
        let session = self.session.as_deref().map(session_id).transpose()?;
        Ok(Asked { series: self.series, key_no: self.key_no, session })
    }
}

impl Asked {
    /// The key that is meant: the one of the number, whether it may be used or not, because what is
    /// kept with it is its owner's; or the one that serves the session; or the first that may be
    /// used, in the order in which seats are taken.
    pub(super) fn choose(
        self,
        service: &LicenceService,
        keyring: &Keyring,
    ) -> Result<KeyNo, KeyChoiceError> {
        let used = match self.session {
            None => None,
            Some(session) => {
                service
                    .session(session)
                    .filter(|session| session.series == self.series)
                    .ok_or(Refusal::SessionNotFound)?
                    .key_no
            }
        };
        if let Some(key_no) = self.key_no {
            let held = keyring.held(key_no).ok_or(KeyChoiceError::NotInstalled(key_no))?;
            return if held.series == self.series {
                Ok(key_no)
            } else {
                Err(KeyChoiceError::OtherSeries(key_no, held.series))
            };
        }
        if let Some(key_no) = used {
            return Ok(key_no);
        }
        let mut unusable = Refusal::NoKey { series: self.series };
        for pooled in service.keys_of(self.series) {
            let key_no = pooled.key.key_no;
            if pooled.status == KeyStatus::Enabled {
                return Ok(key_no);
            }
            if matches!(unusable, Refusal::NoKey { .. }) {
                let (series, status) = (self.series, pooled.status);
                unusable = Refusal::KeyUnusable { series, key_no, status };
            }
        }
        Err(unusable.into())
    }
}

impl Handle {
    /// The text that is kept with a key.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn read_memory(
        &self,
        asked: KeyAsked,
        password: String,
    ) -> Result<OfMemory<String>, DriverError> {
        let asked = asked.read()?;
        self.change(move |task, now, _| {
            let of = (asked.series, asked.choose(&task.service, &task.keyring)?);
            let read = |memory: &KeyMemory| memory.read(&password).map(str::to_owned);
            Ok(task.key_memories.apply(of, !password.is_empty(), now.mono, read))
        })
        .await
    }

    /// Keeps another text with a key; it is on disk when this returns.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn write_memory(
        &self,
        asked: KeyAsked,
        password: String,
        data: String,
    ) -> Result<OfMemory<()>, DriverError> {
        let asked = asked.read()?;
        self.change(move |task, now, outcome| {
            let of = (asked.series, asked.choose(&task.service, &task.keyring)?);
            let names_password = !password.is_empty();
            let written = |memory: &KeyMemory| memory.written(&password, data);
            Ok(keep(task, of, names_password, now, outcome, written).map(drop))
        })
        .await
    }

    /// Guards the memory of a key by other passwords.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn set_memory_passwords(
        &self,
        asked: KeyAsked,
        in_force: OwnPasswords,
        next: OwnPasswords,
        actor: &Actor,
    ) -> Result<OfMemory<()>, DriverError> {
        let asked = asked.read()?;
        let salt: [u8; SALT_BYTES] = random::id_bytes().map_err(|_| DriverError::Random)?;
        let actor = actor.clone();
        self.change(move |task, now, outcome| {
            let of = (asked.series, asked.choose(&task.service, &task.keyring)?);
            let names_password = !in_force.read.is_empty() || !in_force.write.is_empty();
            let guarded =
                |memory: &KeyMemory| memory.with_passwords(in_force.named(), next.named(), salt);
            let kept = keep(task, of, names_password, now, outcome, guarded);
            if kept == Ok(true) {
                let note = AuditNote { action: "memory_passwords", ..note(of) };
                outcome.records.push(note.record(&actor, now.utc));
            }
            Ok(kept.map(drop))
        })
        .await
    }

    /// Empties the memory of a key and takes its passwords away.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn wipe_memory(
        &self,
        asked: KeyAsked,
        password: String,
        actor: &Actor,
    ) -> Result<OfMemory<()>, DriverError> {
        let asked = asked.read()?;
        let actor = actor.clone();
        self.change(move |task, now, outcome| {
            let of = (asked.series, asked.choose(&task.service, &task.keyring)?);
            let is_developer = is_developer(&task.keyring, asked.series, &password);
            let wiped = |memory: &KeyMemory| {
                memory.check_wipe(&password, is_developer)?;
                Ok(KeyMemory::default())
            };
            let kept = keep(task, of, !password.is_empty(), now, outcome, wiped);
            if kept == Ok(true) {
                let note = AuditNote { action: "memory_wipe", ..note(of) };
                outcome.records.push(note.record(&actor, now.utc));
            }
            Ok(kept.map(drop))
        })
        .await
    }
}

/// Applies a rule that makes another memory, keeps it and adds what must be written; whether there
/// was anything to write.
fn keep(
    task: &mut Task,
    of: (KeySeries, KeyNo),
    names_password: bool,
    now: Now,
    outcome: &mut Outcome,
    rule: impl FnOnce(&KeyMemory) -> Result<KeyMemory, KeyMemoryError>,
) -> Result<bool, MemoryError> {
    let memory = task.key_memories.apply(of, names_password, now.mono, rule)?;
    let is_another = task.key_memories.keep(of, memory.clone());
    if is_another {
        let (series, key_no) = of;
        outcome.records.push(Record::KeyMemory { series, key_no, memory, at: now.utc });
    }
    Ok(is_another)
}

/// Whether a password is the vendor's. None is as long as no licence brought the series' secret.
fn is_developer(keyring: &Keyring, series: KeySeries, password: &str) -> bool {
    keyring.object_secret(series).is_some_and(|secret| is_developer_password(secret, password))
}

fn note((series, key_no): (KeySeries, KeyNo)) -> AuditNote {
    let subject = key_no.to_string();
    AuditNote { subject, key_no: Some(key_no), series: Some(series), ..AuditNote::default() }
}
