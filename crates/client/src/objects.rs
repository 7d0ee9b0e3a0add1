//! Protected objects: lists of data files, bytes, keys.
//!
//! A list is believed only under the key that the series is pinned to, and an object only as its
//! list describes it. Who may have the key of an object is decided by the server; what is kept of
//! an object, and for how long, by the caller. Parts are asked for one by one, so that heartbeats
//! and other calls go on between them.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use licence_core::datafile::{self, DatafileError, ObjectEntry, ObjectList};
use licence_core::protocol::manager::{
    DATAPART_BYTES_MAX, DatafileAnswer, DatafileQuery, Datapart, DatapartQuery, ObjectKeyAnswer,
    ObjectKeyQuery,
};
use licence_core::protocol::{SessionInfo, Wish};
use licence_core::seal::KEY_BYTES;
use licence_core::time::MonoTime;
use zeroize::Zeroizing;

use crate::client::{CALL_BOUND, Link, mixed_up};
use crate::clock::system_now;
use crate::error::ClientError;
use crate::jobs::{Question, Reply};
use crate::state::{SessionKey, TargetId};
use crate::worker::{Trouble, Worker};

/// Fetching one object blocks its caller at most this long: the largest one, over a line of some
/// six megabits a second.
pub const OBJECT_BOUND: Duration = Duration::from_secs(60);

/// Bytes of the first part that is asked for: within one request's time even over a line of a
/// megabit a second.
const PART_BYTES_FIRST: u32 = 128 * 1024;

/// A part that came within this is followed by one of twice the size: then even the doubled one
/// stays far within the time of one request.
const PART_IS_FAST: Duration = Duration::from_millis(500);

/// Refusal of a part of a file that is another by now.
const CHANGED: &str = "EDataFileChanged";

/// A data file of the server whose list was verified.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DataFile {
    /// Of `XXXX.Alias.datafile`; nothing for `XXXX.datafile`.
    pub alias: Option<String>,
    /// Names this version of the file.
    pub version: String,
    /// The objects.
    pub list: ObjectList,
}

/// The key of one object, cleared from memory when it is dropped.
#[derive(Clone)]
pub struct ObjectKey(Zeroizing<[u8; KEY_BYTES]>);

impl std::fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectKey").finish_non_exhaustive()
    }
}

impl Link {
    /// The list of the server's data file. Blocks at most [`CALL_BOUND`].
    ///
    /// # Errors
    ///
    /// `EServerResult.EDataFileNotFound` when the server has no such file, `EObject` when its list
    /// is not genuine; see [`ClientError::class`] for the rest.
    pub fn datafile(&self, alias: Option<&str>) -> Result<DataFile, ClientError> {
        self.datafile_within(alias, CALL_BOUND)
    }

    /// As [`Self::datafile`], for a caller with another patience.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn datafile_within(
        &self,
        alias: Option<&str>,
        bound: Duration,
    ) -> Result<DataFile, ClientError> {
        if let Some(alias) = alias {
            datafile::check_name(alias).map_err(|_| ClientError::bad_name(alias))?;
        }
        let question = Question::Datafile { alias: alias.map(str::to_owned) };
        let deadline = system_now().after(bound);
        let Reply::Datafile(answer) = self.ask_until(question, deadline, bound)? else {
            return Err(mixed_up());
        };
        let (series, pinned) = self.with_target(|target| (target.key.series, target.key.pinned))?;
        let list =
            ObjectList::verify(&answer.list, series, &pinned).map_err(|why| not_genuine(&why))?;
        // The version is worked out here: what the server says of it decides nothing.
        Ok(DataFile {
            alias: alias.map(str::to_owned),
            version: ObjectList::version(&answer.list),
            list,
        })
    }

    /// The key of an object of the server's data file or of a template, for a session that takes
    /// its seat first if it holds none; without a session only for
    /// [`licence_core::datafile::ObjectAccess::Key`]. A session that the server has forgotten is
    /// opened again with its lease, once. Blocks at most [`CALL_BOUND`].
    ///
    /// # Errors
    ///
    /// Those of [`Link::take_seat`]; `EServerResult.ENoSeat`, `EServerResult.EObjectKey`,
    /// `EServerResult.EObject`.
    pub fn object_key(
        &self,
        session: Option<(&SessionInfo, &Wish)>,
        object: &ObjectEntry,
    ) -> Result<ObjectKey, ClientError> {
        let deadline = system_now().after(CALL_BOUND);
        let mut may_open_again = true;
        loop {
            let seat = session
                .map(|(session, wish)| self.seat_until(session, wish, deadline, CALL_BOUND))
                .transpose()?;
            let id = seat.map(|seat| seat.id);
            let question =
                Question::ObjectKey { session: id.clone(), object: Box::new(object.clone()) };
            match self.ask_until(question, deadline, CALL_BOUND) {
                Ok(Reply::ObjectKey(answer)) => return read_key(answer),
                Ok(_) => return Err(mixed_up()),
                Err(error) if may_open_again && error.is_refusal("ESessionNotFound") => {
                    may_open_again = false;
                    let (Some((session, _)), Some(id)) = (session, id) else { return Err(error) };
                    let key = SessionKey::of(session);
                    self.with_target(|target| target.disown(&key, &id))?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Fetches an object of the server's data file and opens it. Blocks at most [`OBJECT_BOUND`].
    ///
    /// # Errors
    ///
    /// `EServerResult.EDataFileChanged` when the server has another file by now: ask for its list
    /// again; `EObject` when the object is not what its list says.
    pub fn fetch_object(
        &self,
        file: &DataFile,
        object: &ObjectEntry,
        key: &ObjectKey,
    ) -> Result<Zeroizing<Vec<u8>>, ClientError> {
        let sealed = self.sealed(file, object, system_now().after(OBJECT_BOUND))?;
        key.open(file.list.key_id, object, &sealed)
    }

    /// All of it in one call: the list, the key, the bytes; once more from the beginning when the
    /// file changes meanwhile. `name` is the object's, whatever its case. Blocks at most twice
    /// [`OBJECT_BOUND`] and four times [`CALL_BOUND`].
    ///
    /// # Errors
    ///
    /// `EObjectNotFound` when the file has no such object, and those of the single steps.
    pub fn object(
        &self,
        session: Option<(&SessionInfo, &Wish)>,
        alias: Option<&str>,
        name: &str,
    ) -> Result<Zeroizing<Vec<u8>>, ClientError> {
        let mut may_begin_again = true;
        loop {
            let file = self.datafile(alias)?;
            let object = file.list.find(name).ok_or_else(|| ClientError::no_object(name))?;
            let key = self.object_key(session, object)?;
            match self.fetch_object(&file, object, &key) {
                Err(error) if may_begin_again && error.is_refusal(CHANGED) => {
                    may_begin_again = false;
                }
                result => return result,
            }
        }
    }

    fn sealed(
        &self,
        file: &DataFile,
        object: &ObjectEntry,
        deadline: MonoTime,
    ) -> Result<Vec<u8>, ClientError> {
        let whole = object.sealed_bytes();
        let mut sealed = Vec::new();
        let room = usize::try_from(whole).map(|whole| sealed.try_reserve_exact(whole));
        if !matches!(room, Ok(Ok(()))) {
            // A client of 32 bits may have no room left, which is no reason to take it down.
            return Err(ClientError::execute(
                format!("Не хватает памяти для объекта «{}»", object.name),
                format!("not enough memory for the object \"{}\"", object.name),
            ));
        }
        let mut part_bytes = PART_BYTES_FIRST;
        loop {
            let got = u64::try_from(sealed.len()).unwrap_or(u64::MAX);
            let left = whole.saturating_sub(got);
            if left == 0 {
                return Ok(sealed);
            }
            let length = u32::try_from(left).unwrap_or(u32::MAX).min(part_bytes);
            let query = DatapartQuery {
                connection: String::new(),
                alias: file.alias.clone(),
                version: file.version.clone(),
                offset: object.offset.saturating_add(got),
                length,
            };
            let begun_at = system_now();
            let question = Question::Datapart(Box::new(query));
            let Reply::Datapart(part) = self.ask_until(question, deadline, OBJECT_BOUND)? else {
                return Err(mixed_up());
            };
            let bytes = STANDARD.decode(&part.data).map_err(|_| broken_part())?;
            if u32::try_from(bytes.len()) != Ok(length) {
                return Err(broken_part());
            }
            sealed.extend_from_slice(&bytes);
            if system_now().since(begun_at) < PART_IS_FAST {
                part_bytes = part_bytes.saturating_mul(2).min(DATAPART_BYTES_MAX);
            }
        }
    }
}

impl ObjectKey {
    /// Opens an object with its key.
    ///
    /// # Errors
    ///
    /// `EObject` when anything was changed or the key is another's.
    pub fn open(
        &self,
        series: licence_core::key::KeySeries,
        object: &ObjectEntry,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, ClientError> {
        datafile::open_object(&self.0, series, object, sealed)
            .map(Zeroizing::new)
            .map_err(|why| ClientError::object(&object.name, &why))
    }
}

fn read_key(answer: ObjectKeyAnswer) -> Result<ObjectKey, ClientError> {
    let text = Zeroizing::new(answer.key);
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    let written = URL_SAFE_NO_PAD.decode_slice(text.as_bytes(), key.as_mut_slice());
    if written == Ok(KEY_BYTES) {
        return Ok(ObjectKey(key));
    }
    Err(ClientError::execute(
        "Сервер прислал неверный ключ объекта",
        "the server sent a malformed object key",
    ))
}

fn broken_part() -> ClientError {
    ClientError::execute(
        "Сервер прислал другую часть файла данных, чем просили",
        "the server sent another part of the data file than was asked for",
    )
}

fn not_genuine(why: &DatafileError) -> ClientError {
    ClientError::new(
        "EObject",
        format!("Файл данных на сервере не принят: {why}"),
        format!("the server's data file was not accepted: {why}"),
    )
}

/// What the worker does about objects: one request per turn.
impl Worker<'_> {
    pub(crate) fn ask_datafile(
        &mut self,
        id: TargetId,
        alias: Option<&str>,
    ) -> Result<Reply, Trouble> {
        let query = |connection: &str| DatafileQuery {
            connection: connection.to_owned(),
            alias: alias.map(str::to_owned),
        };
        self.request::<_, DatafileAnswer>(id, "datafile", query).map(Reply::Datafile)
    }

    pub(crate) fn ask_datapart(
        &mut self,
        id: TargetId,
        query: &DatapartQuery,
    ) -> Result<Reply, Trouble> {
        let query =
            |connection: &str| DatapartQuery { connection: connection.to_owned(), ..query.clone() };
        self.request::<_, Datapart>(id, "datapart", query).map(Reply::Datapart)
    }

    pub(crate) fn ask_object_key(
        &mut self,
        id: TargetId,
        session: Option<&str>,
        object: &ObjectEntry,
    ) -> Result<Reply, Trouble> {
        let query = |connection: &str| ObjectKeyQuery {
            connection: connection.to_owned(),
            session: session.map(str::to_owned),
            object: object.clone(),
        };
        let answer = match session {
            Some(session) if self.is_at_former(id, session) => {
                self.ask_former(id, "objectkey", query)
            }
            Some(_) | None => None,
        };
        let answer = answer.unwrap_or_else(|| self.request(id, "objectkey", query));
        answer.map(|answer: ObjectKeyAnswer| Reply::ObjectKey(answer))
    }
}
