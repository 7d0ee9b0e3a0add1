//! The licence files and series of this server: which keys there are, and whether they work here.
//!
//! A licence file counts when its series is known, its signature is the series' and it is bound to
//! this server's identity, or to a token that is there. Anything else is shown with its reason and grants nothing. How seats
//! are counted is the core's business.

mod giving_back;
mod kinds;
mod news;
mod object_keys;
mod on_token;
mod remove;
mod returned;
mod standing;
mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::api::errors::ApiError;
use crate::atomic_file::{self, Readers};
pub use giving_back::Begun;
use licence_core::access_code::{AccessCode, CodeDigest};
use licence_core::causes::with_causes;
use licence_core::cluster::ClusterId;
use licence_core::holder::TokenKey;
use licence_core::jws::JwsError;
use licence_core::key::{KeyNo, KeySeries, Obstacle, ProtectionKey};
use licence_core::licence_file::{Licence, LicenceError};
use licence_core::pool::{KeyStatus, PooledKey};
use licence_core::protocol::LicenceView;
use licence_core::seal::PublicKey;
use licence_core::series::{
    SERIES_FILE_BYTES_MAX, SeriesDescriptor, SeriesError, parse_series_file,
};
use licence_core::time::Utc;
use licence_core::wrap::WrapKey;
use object_keys::ObjectKey;
use on_token::Tokens;
pub use on_token::{Bound, Plugged, Presence, Word};
pub(crate) use remove::stamp;
use returned::Returned;
use standing::Computer;
use view::{Said, blank_view, licence_view, unusable_view};

/// Largest licence file that is read: a token of the largest size and some white space.
const LICENCE_FILE_BYTES_MAX: u64 = 20 * 1024;

/// Licence files that are read at most: a vendor's largest customers have some dozens.
const LICENCE_FILES_MAX: usize = 10_000;

/// Why a licence was not installed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// Bound to the identity of another server.
    #[error("key {0} is bound to another server")]
    BoundElsewhere(KeyNo),
    /// A demo key stands alone (manual, «Ключи защиты»).
    #[error("series {0} has other keys; a demonstration key cannot be installed beside them")]
    DemoBesideOthers(KeySeries),
    /// The series already has a demo key, which stands alone.
    #[error("series {0} already has a demonstration key, which stands alone")]
    DemoKeyPresent(KeySeries),
    /// The activation was given back, or is about to be.
    #[error("key {0} was given back from this server; its reserve code installs it again")]
    KeyReturned(KeyNo),
    /// A return of it is under way.
    #[error(
        "a centre was asked to take key {0} back; fetch the licences from the centre to go on with \
         it, or install the answer"
    )]
    ReturnPending(KeyNo),
    /// Not a genuine licence.
    #[error("the licence cannot be accepted")]
    Licence(#[from] LicenceError),
    /// Issued earlier than the licence of the key that works here.
    #[error("a later licence of key {0} is installed")]
    Older(KeyNo),
    /// A key of another series has the number: numbers are unique within a vendor only.
    #[error("number {0} is taken by a key of series {1}")]
    NumberTaken(KeyNo, KeySeries),
    /// What a centre says of a returned key is not signed by the series.
    #[error("the receipt of the returned key is not genuine")]
    Receipt(#[source] JwsError),
    /// The descriptor that came with it is damaged or of another series.
    #[error("the description of series {0} that came with the licence cannot be used")]
    SeriesDescriptor(KeySeries),
    /// More keys were given back than are kept.
    #[error("too many keys are being given back, or have been")]
    TooManyReturns,
    /// Its series is not known here.
    #[error("series {0} is not known to this server")]
    UnknownSeries(KeySeries),
    /// The file could not be written or renamed.
    #[error("writing {path}")]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Why the keyring could not be read at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// The folder or the series file could not be read.
    #[error("reading {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The series file is not what it should be.
    #[error("the series file {path}")]
    Series {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: SeriesError,
    },
}

/// A licence file that was read and verified.
#[derive(Clone, Debug)]
struct Installed {
    licence: Licence,
    file: PathBuf,
    /// Whether it is bound to this server, or to a token; whether that is there is another matter.
    is_workable: bool,
    /// The object key of the series, when the licence brought it.
    object_key: Option<Arc<ObjectKey>>,
}

impl Installed {
    /// Which of two licences of one key counts: one that works here, and of these the later.
    fn rank(&self) -> (bool, i64) {
        (self.is_workable, self.licence.claims.iat)
    }
}

/// A file that is not a licence of a known series.
#[derive(Clone, Debug)]
struct Unusable {
    file: PathBuf,
    reason: Said,
    /// The key, when the file is a second licence of one that is read already.
    second_of: Option<KeyNo>,
}

/// What a centre must be told of an installed licence.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Held {
    /// The series.
    pub series: KeySeries,
    /// Id of the activation.
    pub activation: String,
    /// The token that the licence is bound to, if it is.
    pub token: Option<TokenKey>,
}

/// Licence files and series.
#[derive(Clone, Debug)]
pub struct Keyring {
    folder: PathBuf,
    series_file: PathBuf,
    identity: PublicKey,
    access_codes: BTreeMap<KeyNo, String>,
    /// Those of the cluster, which count instead.
    shared_codes: Option<BTreeMap<KeyNo, CodeDigest>>,
    /// Whether any of them count.
    codes_count: bool,
    series: BTreeMap<KeySeries, SeriesDescriptor>,
    installed: BTreeMap<KeyNo, Installed>,
    unusable: Vec<Unusable>,
    returned: Returned,
    /// For which centres wrap the object keys of series; nothing where none are opened.
    wrap_key: Option<Arc<WrapKey>>,
    tokens: Tokens,
    /// How the computer compares to what the identity is sealed to, once somebody has looked.
    computer: Option<Computer>,
    /// The cluster that this server is a node of.
    cluster: Option<ClusterId>,
}

impl Keyring {
    /// Reads the series file and all `*.licence` files of a folder, which is made if missing.
    ///
    /// # Errors
    ///
    /// See [`KeyringError`]. A bad licence file is not an error: it is shown as unusable.
    pub fn load(
        folder: PathBuf,
        series_file: PathBuf,
        identity: PublicKey,
        access_codes: BTreeMap<KeyNo, String>,
    ) -> Result<Self, KeyringError> {
        let read = |path: &Path, source| KeyringError::Read { path: path.to_owned(), source };
        fs::create_dir_all(&folder).map_err(|source| read(&folder, source))?;
        let series = match read_text(&series_file, SERIES_FILE_BYTES_MAX as u64) {
            Ok(text) => parse_series_file(&text)
                .map_err(|source| KeyringError::Series { path: series_file.clone(), source })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(source) => return Err(read(&series_file, source)),
        };
        let mut files = Vec::new();
        for entry in fs::read_dir(&folder).map_err(|source| read(&folder, source))? {
            let path = entry.map_err(|source| read(&folder, source))?.path();
            if path.extension().is_some_and(|extension| extension == "licence") {
                files.push(path);
            }
        }
        files.sort();
        if files.len() > LICENCE_FILES_MAX {
            log::warn!("more than {LICENCE_FILES_MAX} licence files, the rest is not read");
            files.truncate(LICENCE_FILES_MAX);
        }
        let returned = Returned::load(&folder)?;
        let mut keyring = Self {
            folder,
            series_file,
            identity,
            access_codes,
            shared_codes: None,
            codes_count: true,
            series,
            installed: BTreeMap::new(),
            unusable: Vec::new(),
            returned,
            wrap_key: None,
            tokens: Tokens::default(),
            computer: None,
            cluster: None,
        };
        for file in files {
            keyring.read_file(file);
        }
        Ok(keyring)
    }

    /// The same on a node of this cluster.
    #[must_use]
    pub const fn with_cluster(mut self, cluster: Option<ClusterId>) -> Self {
        self.cluster = cluster;
        self
    }

    /// The same with the access codes of the cluster, if they are known, and whether codes count.
    #[must_use]
    pub fn with_shared_codes(
        mut self,
        codes: Option<BTreeMap<KeyNo, CodeDigest>>,
        do_count: bool,
    ) -> Self {
        self.shared_codes = codes;
        self.codes_count = do_count;
        self
    }

    /// What a licence of a cluster lacks on a server that is not one of its nodes: nobody there counts
    /// the seats once.
    fn cluster_obstacle(&self, licence: &Licence) -> Option<Obstacle> {
        let wanted = licence.claims.cluster?;
        (self.cluster != Some(wanted)).then_some(Obstacle::NoCluster)
    }

    fn read_file(&mut self, file: PathBuf) {
        let told =
            |error: &InstallError| Said::new(ApiError::from(error).russian, with_causes(error));
        let licence = read_text(&file, LICENCE_FILE_BYTES_MAX)
            .map_err(|error| Said::new(format!("Файл не читается: {error}"), error.to_string()))
            .and_then(|text| {
                let licence = self.verify(&text, None).map_err(|error| told(&error))?;
                self.check_returned(&licence, false).map_err(|error| told(&error))?;
                Ok(licence)
            });
        let licence = match licence {
            Ok(licence) => licence,
            Err(reason) => {
                let why = &reason.english;
                log::warn!("licence file not used, file={}, reason={why}", file.display());
                self.unusable.push(Unusable { file, reason, second_of: None });
                return;
            }
        };
        let key_no = licence.fields().key_no;
        let is_workable = self.is_for_here(&licence);
        let mut found = Installed { licence, file, is_workable, object_key: None };
        if let Some(other) = self.installed.get_mut(&key_no) {
            // An old copy that lies beside the licence must not win by its name.
            if found.rank() > other.rank() {
                std::mem::swap(&mut found, other);
            }
            let from = other.file.file_name().unwrap_or_default().display();
            let reason = Said::new(
                format!("Ключ {key_no} уже прочитан из файла {from}"),
                format!("key {key_no} is already read from {from}"),
            );
            let file = found.file;
            self.unusable.push(Unusable { file, reason, second_of: Some(key_no) });
            return;
        }
        self.installed.insert(key_no, found);
    }

    /// Refuses a licence whose activation this server has given back. One whose return is under way
    /// is let in when the centre has listed it since.
    fn check_returned(&self, licence: &Licence, is_listed: bool) -> Result<(), InstallError> {
        let key_no = licence.fields().key_no;
        match self.returned.get(&licence.claims.jti) {
            Some(entry) if !entry.is_pending() => Err(InstallError::KeyReturned(key_no)),
            Some(_) if !is_listed => Err(InstallError::ReturnPending(key_no)),
            _ => Ok(()),
        }
    }

    /// Verifies a document under the key of its series: the one known here, else the offered one.
    fn verify(
        &self,
        document: &str,
        offered: Option<&SeriesDescriptor>,
    ) -> Result<Licence, InstallError> {
        let series = Licence::peek_series(document)?;
        if let Some(offered) = offered
            && (offered.series != series || offered.signing_key().is_err())
        {
            return Err(InstallError::SeriesDescriptor(series));
        }
        let descriptor =
            self.series.get(&series).or(offered).ok_or(InstallError::UnknownSeries(series))?;
        let key = descriptor.signing_key().map_err(|_| InstallError::UnknownSeries(series))?;
        Ok(Licence::verify(document, &key)?)
    }

    /// Sets or takes away the access code of a key; returns the key for counting, or nothing when
    /// there is no such key. The code is kept nowhere: the settings are the place for that.
    pub fn set_access_code(
        &mut self,
        key_no: KeyNo,
        code: Option<String>,
    ) -> Option<ProtectionKey> {
        if !self.installed.contains_key(&key_no) {
            return None;
        }
        match code {
            Some(code) => self.access_codes.insert(key_no, code),
            None => self.access_codes.remove(&key_no),
        };
        self.installed.get(&key_no).map(|installed| self.protection_key(installed))
    }

    /// The keys for counting.
    pub fn protection_keys(&self) -> Vec<ProtectionKey> {
        self.installed.values().map(|installed| self.protection_key(installed)).collect()
    }

    fn protection_key(&self, installed: &Installed) -> ProtectionKey {
        let code = self.access_code(installed.licence.fields().key_no);
        let obstacle = self.holder_obstacle(&installed.licence);
        let obstacle = obstacle
            .or_else(|| self.cluster_obstacle(&installed.licence))
            .or_else(|| self.kept_by_computer(installed));
        installed.licence.protection_key(obstacle, code)
    }

    /// The code that counts for a key: that of the cluster, or of the settings where the cluster has
    /// none of its own.
    fn access_code(&self, key_no: KeyNo) -> Option<AccessCode> {
        if !self.codes_count {
            return None;
        }
        match &self.shared_codes {
            Some(shared) => shared.get(&key_no).copied().map(AccessCode::from),
            None => self.access_codes.get(&key_no).cloned().map(AccessCode::from),
        }
    }

    /// The keys that have another access code by these of the cluster than by those known so far.
    pub fn other_codes(&self, codes: &BTreeMap<KeyNo, CodeDigest>) -> BTreeSet<KeyNo> {
        let is_same = |key_no: &KeyNo| {
            let code = codes.get(key_no);
            match (&self.shared_codes, self.access_codes.get(key_no)) {
                (Some(shared), _) => shared.get(key_no) == code,
                (None, Some(own)) => code.is_some_and(|code| code.is_of(own)),
                (None, None) => code.is_none(),
            }
        };
        let known = self.shared_codes.iter().flat_map(BTreeMap::keys);
        let own = self.access_codes.keys().filter(|_| self.shared_codes.is_none());
        let all = known.chain(own).chain(codes.keys()).copied();
        all.filter(|key_no| !is_same(key_no)).collect()
    }

    /// Takes other access codes of the settings, and whether codes count; returns the keys whose code
    /// has changed.
    pub fn replace_access_codes(
        &mut self,
        codes: BTreeMap<KeyNo, String>,
        do_count: bool,
    ) -> Vec<ProtectionKey> {
        self.with_other_codes(|keyring| {
            keyring.access_codes = codes;
            keyring.codes_count = do_count;
        })
    }

    /// Takes the access codes of the cluster; returns the keys whose code has changed.
    pub fn share_codes(&mut self, codes: BTreeMap<KeyNo, CodeDigest>) -> Vec<ProtectionKey> {
        self.with_other_codes(|keyring| keyring.shared_codes = Some(codes))
    }

    fn with_other_codes(&mut self, change: impl FnOnce(&mut Self)) -> Vec<ProtectionKey> {
        let codes = |keyring: &Self| -> BTreeMap<KeyNo, Option<AccessCode>> {
            let all = keyring.installed.keys();
            all.map(|key_no| (*key_no, keyring.access_code(*key_no))).collect()
        };
        let before = codes(self);
        change(self);
        let after = codes(self);
        self.installed
            .iter()
            .filter(|(key_no, _)| before.get(key_no) != after.get(key_no))
            .map(|(_, installed)| self.protection_key(installed))
            .collect()
    }

    /// What is known of a series.
    pub fn series(&self, series: KeySeries) -> Option<&SeriesDescriptor> {
        self.series.get(&series)
    }

    /// All series that are described or have a key.
    pub fn all_series(&self) -> Vec<KeySeries> {
        let mut all: Vec<_> = self.series.keys().copied().collect();
        all.extend(self.installed.values().map(|installed| installed.licence.fields().key_id));
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Addresses of the activation centres of all known series; nothing for a series without one.
    pub fn centres(&self) -> BTreeMap<KeySeries, Option<String>> {
        let centre = |descriptor: &SeriesDescriptor| descriptor.centre_url.clone();
        self.series.iter().map(|(series, descriptor)| (*series, centre(descriptor))).collect()
    }

    /// The installed licence of a key.
    pub fn held(&self, key_no: KeyNo) -> Option<Held> {
        self.installed.get(&key_no).map(|installed| Held {
            series: installed.licence.fields().key_id,
            activation: installed.licence.claims.jti.clone(),
            token: installed.licence.holder.token().copied(),
        })
    }

    /// The licence parameters in the licence of a key.
    pub fn parameters(&self, key_no: KeyNo) -> Option<BTreeMap<String, String>> {
        let installed = self.installed.get(&key_no)?;
        Some(installed.licence.fields().parameters.clone())
    }

    /// Makes a series known; a series that is known already is left as it is.
    fn learn_series(&mut self, descriptor: &SeriesDescriptor) -> Result<(), InstallError> {
        if self.series.contains_key(&descriptor.series) {
            return Ok(());
        }
        let mut all: Vec<_> = self.series.values().collect();
        all.push(descriptor);
        let write = |source| InstallError::Write { path: self.series_file.clone(), source };
        let text = serde_json::to_string_pretty(&all).map_err(|error| write(error.into()))?;
        // What would not be read back at the next start must not be written.
        if parse_series_file(&text).is_err() {
            return Err(InstallError::SeriesDescriptor(descriptor.series));
        }
        atomic_file::replace(&self.series_file, text.as_bytes(), Readers::Anybody)
            .map_err(write)?;
        self.series.insert(descriptor.series, descriptor.clone());
        Ok(())
    }

    /// Verifies a licence, writes its file and takes it in; returns the key for counting. The
    /// file is on disk when this returns. A series that was not known becomes known by the offered
    /// descriptor, once the licence has proved genuine under it. `utc` tells which demo keys are
    /// over and so no longer in the way.
    ///
    /// # Errors
    ///
    /// See [`InstallError`]; then no key has changed.
    pub fn install(
        &mut self,
        document: &str,
        offered: Option<&SeriesDescriptor>,
        utc: Utc,
    ) -> Result<ProtectionKey, InstallError> {
        self.install_as(document, offered, utc, false)
    }

    fn install_as(
        &mut self,
        document: &str,
        offered: Option<&SeriesDescriptor>,
        utc: Utc,
        is_listed: bool,
    ) -> Result<ProtectionKey, InstallError> {
        let licence = self.verify(document, offered)?;
        let (key_no, series) = (licence.fields().key_no, licence.fields().key_id);
        if !self.is_for_here(&licence) {
            return Err(InstallError::BoundElsewhere(key_no));
        }
        self.check_returned(&licence, is_listed)?;
        if let Some(other) = self.installed.get(&key_no)
            && other.licence.fields().key_id != series
        {
            return Err(InstallError::NumberTaken(key_no, other.licence.fields().key_id));
        }
        if let Some(other) = self.installed.get(&key_no)
            && other.is_workable
            && licence.claims.iat < other.licence.claims.iat
        {
            return Err(InstallError::Older(key_no));
        }
        // What a centre lists has been given to this server: refused, it would be lost to whoever
        // has spent a code on it. It is shown, and gives no seat that the rule does not allow.
        if !is_listed {
            self.check_kinds(&licence, utc)?;
        }
        if let Some(offered) = offered {
            self.learn_series(offered)?;
        }
        let file = self.installed.get(&key_no).map_or_else(
            || self.folder.join(format!("{series}.{key_no}.licence")),
            |old| old.file.clone(),
        );
        atomic_file::replace(&file, licence.document.as_bytes(), Readers::Owner)
            .map_err(|source| InstallError::Write { path: file.clone(), source })?;
        self.unusable.retain(|unusable| unusable.file != file);
        let object_key = self.open_object_key(&licence);
        let installed = Installed { licence, file, is_workable: true, object_key };
        let key = self.protection_key(&installed);
        self.installed.insert(key_no, installed);
        Ok(key)
    }

    /// All licences as they are shown: the installed ones by number, then blanks, then the unusable
    /// files.
    pub fn views<'a>(
        &'a self,
        pooled: impl Fn(KeyNo) -> Option<&'a PooledKey>,
        utc: Utc,
    ) -> Vec<LicenceView> {
        let installed = self.installed.iter().map(|(key_no, installed)| {
            licence_view(installed, pooled(*key_no).map(|key| key.status), utc)
        });
        let plugged = self.plugged();
        let blanks = plugged.iter().filter(|token| token.is_blank()).map(blank_view);
        installed.chain(blanks).chain(self.unusable.iter().map(unusable_view)).collect()
    }

    /// One installed licence as it is shown.
    pub fn view(&self, key_no: KeyNo, status: Option<KeyStatus>, utc: Utc) -> Option<LicenceView> {
        self.installed.get(&key_no).map(|installed| licence_view(installed, status, utc))
    }
}

fn read_text(path: &Path, bytes_max: u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("larger than {bytes_max} bytes"),
        ));
    }
    String::from_utf8(bytes)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not UTF-8 text"))
}
