//! The settings in force, and how they change while the server runs.
//!
//! Readers take the checked [`Config`] of the moment. A change is written to `licenceserver.conf`,
//! with the administrator's comments, order and unknown keys kept, before it is in force. A file
//! that cannot be used changes nothing: the settings read last stay in force. What a setting does
//! is decided where it is used.

pub mod apply;
pub mod catalogue;
pub mod document;
pub mod file;
pub mod ini_edit;
pub mod passwords;
pub mod watch;

mod errors;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use licence_core::language::Language;
use tokio::sync::watch::{Receiver, Sender};

use self::catalogue::{ENTRIES, Entry};
use self::file::Stamp;
use self::passwords::{Marks, Replaced};
use crate::access::Actor;
use crate::access::passwords::HashError;
use crate::api::errors::ApiError;
use crate::config::{self, Config, ConfigError, IniSource, Password, Source};

/// What a file begins with that the server makes itself.
const HEADER: &str = "; Settings of the licence server, made by itself. All keys and their \
                      meanings: docs/settings.md.\n; Text in UTF-8; lines that begin with ; or # \
                      are comments.\n\n";

/// How often a change is tried again because somebody else wrote the file at the same moment.
const TRIES_MAX: usize = 3;

/// One change of the conf file. Its `Debug` form does not show the value, which may be a secret.
#[derive(Clone, Eq, PartialEq)]
pub struct Edit {
    /// The section, without brackets.
    pub section: String,
    /// The key.
    pub key: String,
    /// Its value; nothing takes the key out of the file.
    pub value: Option<String>,
}

impl std::fmt::Debug for Edit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = if self.value.is_some() { "set" } else { "remove" };
        write!(f, "{what} [{}] {}", self.section, self.key)
    }
}

impl Edit {
    /// Sets a key.
    pub fn set(section: &str, key: &str, value: impl Into<String>) -> Self {
        Self { section: section.to_owned(), key: key.to_owned(), value: Some(value.into()) }
    }

    /// Takes a key out.
    pub fn remove(section: &str, key: &str) -> Self {
        Self { section: section.to_owned(), key: key.to_owned(), value: None }
    }
}

/// What came of a change.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Changed {
    /// Keys that differ, as `[Section] Key`.
    pub keys: Vec<String>,
    /// Those of them that are in force only after a restart.
    pub needs_restart: Vec<String>,
}

/// Texts of keys by section and key.
type Texts = BTreeMap<(String, String), String>;

/// Why the file on disk is not the one in force.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Problem {
    english: String,
    russian: String,
}

/// The file in force.
#[derive(Debug, Default)]
struct InForce {
    /// Its text; nothing when there is no file.
    text: Option<String>,
    texts: Texts,
    problem: Option<Problem>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    current: Sender<Arc<Config>>,
    in_force: RwLock<InForce>,
    marks: RwLock<Marks>,
    /// What the keys held at the start that are looked at only then.
    at_start: Vec<(&'static Entry, String)>,
    /// Whoever reads or writes the file; one at a time.
    writer: Mutex<()>,
}

/// The settings in force. Clones are the same settings.
#[derive(Clone, Debug)]
pub struct Settings {
    inner: Arc<Inner>,
}

/// A file that was read and checked.
struct Checked {
    text: Option<String>,
    source: IniSource,
    config: Config,
    /// Passwords whose hashes are already in the text.
    replaced: Vec<Replaced>,
}

impl Settings {
    /// Reads the conf file; a missing one is all defaults. Plain passwords in it are replaced by
    /// their hashes. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// See [`ConfigError`].
    pub fn load(path: PathBuf) -> Result<Self, ConfigError> {
        let stamp = Stamp::of(&path);
        let checked = with_hashes(&path, read(&path)?, &stamp);
        config::warn_of_unknown(&checked.source);
        let Checked { text, source, config, replaced } = checked;
        let kept = text.clone().unwrap_or_default();
        let settings = Self::with(path, config, text, texts(&source));
        // Whoever writes the same password into the file again ends no login.
        settings.note_replaced(replaced, &kept);
        Ok(settings)
    }

    /// These settings, read from `path`.
    pub fn new(path: PathBuf, config: Config) -> Self {
        let (text, texts) = match read(&path) {
            Ok(checked) => (checked.text, texts(&checked.source)),
            Err(_) => Default::default(),
        };
        Self::with(path, config, text, texts)
    }

    fn with(path: PathBuf, config: Config, text: Option<String>, texts: Texts) -> Self {
        let at_start = ENTRIES
            .iter()
            .filter(|entry| entry.needs_restart)
            .map(|entry| (entry, effective(&texts, entry).to_owned()))
            .collect();
        let inner = Inner {
            path,
            current: Sender::new(Arc::new(config)),
            in_force: RwLock::new(InForce { text, texts, problem: None }),
            marks: RwLock::new(Marks::new()),
            at_start,
            writer: Mutex::new(()),
        };
        Self { inner: Arc::new(inner) }
    }

    /// The settings of the moment.
    pub fn get(&self) -> Arc<Config> {
        Arc::clone(&self.inner.current.borrow())
    }

    /// Tells of each change.
    pub fn subscribe(&self) -> Receiver<Arc<Config>> {
        self.inner.current.subscribe()
    }

    /// The conf file.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Writes changes to the conf file and puts them in force. Begins with the file as it is on
    /// disk, which an administrator may have edited meanwhile. Blocks on the disk, and on a hash
    /// when a plain password is among the changes.
    ///
    /// # Errors
    ///
    /// 400 for a value that its key does not take, or when the file on disk has an error of its
    /// own; 500 when it cannot be written. Then nothing has changed.
    pub fn change(&self, edits: &[Edit], actor: &Actor) -> Result<Changed, ApiError> {
        self.change_with(|_| Ok(edits.to_vec()), actor)
    }

    /// The same where nobody waits behind the disk: for async callers.
    ///
    /// # Errors
    ///
    /// As [`Self::change`].
    pub async fn change_off_thread(
        &self,
        edits: Vec<Edit>,
        actor: &Actor,
    ) -> Result<Changed, ApiError> {
        self.change_off_thread_with(move |_| Ok(edits.clone()), actor).await
    }

    /// The same with edits that follow from the settings as they are at that moment: between looking
    /// and writing nobody else writes. `make` may be called more than once.
    ///
    /// # Errors
    ///
    /// As [`Self::change`], and those of `make`.
    pub async fn change_off_thread_with(
        &self,
        make: impl Fn(&Config) -> Result<Vec<Edit>, ApiError> + Send + 'static,
        actor: &Actor,
    ) -> Result<Changed, ApiError> {
        let (settings, actor) = (self.clone(), actor.clone());
        let changing = tokio::task::spawn_blocking(move || settings.change_with(make, &actor));
        changing.await.map_err(|error| ApiError::broken(&error))?
    }

    fn change_with(
        &self,
        make: impl Fn(&Config) -> Result<Vec<Edit>, ApiError>,
        actor: &Actor,
    ) -> Result<Changed, ApiError> {
        let _one_at_a_time = self.inner.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let path = &self.inner.path;
        for _ in 0..TRIES_MAX {
            let stamp = Stamp::of(path);
            let on_disk = self.text_to_edit().map_err(|error| errors::broken(&error))?;
            // A file with an error in it can be mended by a change, which is made by what is in force.
            let present = check(path, on_disk.clone()).ok().map(|checked| checked.config);
            let edits = &make(&present.unwrap_or_else(|| Config::clone(&self.get())))?;
            if edits.is_empty() && on_disk.is_none() {
                return Ok(Changed::default());
            }
            let mut text = on_disk.clone().unwrap_or_else(|| HEADER.to_owned());
            for edit in edits {
                let Edit { section, key, value } = edit;
                text = match value {
                    Some(value) => ini_edit::set(&text, section, key, value)
                        .map_err(|error| errors::unwritable(section, key, error))?,
                    None => ini_edit::remove(&text, section, key),
                };
            }
            if text.len() as u64 > config::CONF_BYTES_MAX {
                return Err(errors::too_large(config::CONF_BYTES_MAX));
            }
            let mut checked = check(path, Some(text)).map_err(|e| errors::of_change(&e, edits))?;
            match hashed(path, &checked) {
                Ok(Some(better)) => checked = better,
                Ok(None) => {}
                Err(error) => return Err(ApiError::broken(&error)),
            }
            let is_same = on_disk == checked.text;
            let text = checked.text.as_deref().unwrap_or_default();
            // Nothing to be written: the file may be read-only.
            if is_same && stamp != Stamp::default()
                || file::replace(path, text, &stamp).map_err(|e| errors::write(path, &e))?
            {
                let changed = self.put_in_force(checked);
                if !changed.keys.is_empty() {
                    log::info!("{:?} changed settings: {}", actor.name, changed.keys.join(", "));
                }
                return Ok(changed);
            }
        }
        Err(ApiError::unavailable(
            "The settings file is being written by somebody else; try again.",
            "Файл настроек изменяется кем-то ещё; повторите запрос.",
        ))
    }

    /// What would be in force after these edits of the file; nothing is written.
    ///
    /// # Errors
    ///
    /// As [`Self::change`].
    pub fn preview(&self, edits: &[Edit]) -> Result<Config, ApiError> {
        let mut text =
            self.text_to_edit().map_err(|error| errors::broken(&error))?.unwrap_or_default();
        for Edit { section, key, value } in edits {
            text = match value {
                Some(value) => ini_edit::set(&text, section, key, value)
                    .map_err(|error| errors::unwritable(section, key, error))?,
                None => ini_edit::remove(&text, section, key),
            };
        }
        let checked = check(&self.inner.path, Some(text));
        checked.map(|checked| checked.config).map_err(|error| errors::of_change(&error, edits))
    }

    /// The text on disk; where a file has vanished, the one in force, so that a change of one key
    /// does not undo the others.
    fn text_to_edit(&self) -> Result<Option<String>, ConfigError> {
        match config::read_file(&self.inner.path)? {
            None => Ok(self.in_force(|in_force| in_force.text.clone())),
            // Whatever is wrong with the encoding is told as the reader tells it.
            Some(bytes) => IniSource::text(&self.inner.path, bytes).map(Some),
        }
    }

    /// Reads the conf file again and puts it in force. Blocks on the disk, and on a hash when it
    /// holds a plain password.
    ///
    /// # Errors
    ///
    /// See [`ConfigError`]; then the settings stay as they are and [`Self::problem`] tells why.
    pub fn reload(&self) -> Result<Changed, ConfigError> {
        let _one_at_a_time = self.inner.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let path = &self.inner.path;
        let stamp = Stamp::of(path);
        let read = read(path).and_then(|checked| {
            let is_gone = checked.text.is_none() && self.in_force(|old| old.text.is_some());
            if is_gone { Err(ConfigError::Gone { path: path.clone() }) } else { Ok(checked) }
        });
        let checked = match read {
            Ok(checked) => checked,
            Err(error) => {
                self.tell_problem(&error);
                return Err(error);
            }
        };
        // Also of a file that is in force already: it may not have been writable before.
        let checked = with_hashes(path, checked, &stamp);
        if self.in_force(|old| old.text == checked.text) {
            self.clear_problem();
            return Ok(Changed::default());
        }
        config::warn_of_unknown(&checked.source);
        let changed = self.put_in_force(checked);
        log::info!("read the settings again; changed: {}", listed(&changed.keys));
        if !changed.needs_restart.is_empty() {
            log::warn!("in force after a restart only: {}", listed(&changed.needs_restart));
        }
        Ok(changed)
    }

    fn tell_problem(&self, error: &ConfigError) {
        let problem = Problem {
            english: error.text(Language::English),
            russian: error.text(Language::Russian),
        };
        let mut in_force = self.inner.in_force.write().unwrap_or_else(PoisonError::into_inner);
        // Once for each content: the file is looked at again and again.
        if in_force.problem.as_ref() != Some(&problem) {
            log::error!("the settings stay as they were: {}", problem.english);
        }
        in_force.problem = Some(problem);
    }

    fn clear_problem(&self) {
        self.inner.in_force.write().unwrap_or_else(PoisonError::into_inner).problem = None;
    }

    fn put_in_force(&self, checked: Checked) -> Changed {
        let Checked { text, source, config, replaced } = checked;
        // Before the hashes are in force, so that nobody takes one for another password.
        self.note_replaced(replaced, text.as_deref().unwrap_or_default());
        let texts = texts(&source);
        let mut in_force = self.inner.in_force.write().unwrap_or_else(PoisonError::into_inner);
        let changed = difference(&in_force.texts, &texts);
        *in_force = InForce { text, texts, problem: None };
        drop(in_force);
        self.inner.current.send_replace(Arc::new(config));
        changed
    }

    fn note_replaced(&self, replaced: Vec<Replaced>, text: &str) {
        let mut marks = self.inner.marks.write().unwrap_or_else(PoisonError::into_inner);
        marks.replaced(replaced, text);
    }

    /// What a password of these settings is recognised by as the same one: when the server writes
    /// its hash over it, the mark stays.
    pub fn mark(&self, password: &Password) -> [u8; 32] {
        self.inner.marks.read().unwrap_or_else(PoisonError::into_inner).of(password)
    }

    fn in_force<T>(&self, look: impl FnOnce(&InForce) -> T) -> T {
        look(&self.inner.in_force.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Why the conf file on disk is not the one in force, if so, in English.
    pub fn problem(&self) -> Option<String> {
        self.problem_in(Language::English)
    }

    /// Why the conf file on disk is not the one in force, if so: for the console's warning.
    pub fn problem_in(&self, language: Language) -> Option<String> {
        self.in_force(|in_force| {
            let problem = in_force.problem.as_ref()?;
            Some(language.pick(&problem.russian, &problem.english).to_owned())
        })
    }

    /// The text of a key in the settings in force, as the file has it; nothing when it is absent.
    /// That of a secret is a secret.
    pub fn text(&self, section: &str, key: &str) -> Option<String> {
        let name = (section.to_owned(), key.to_owned());
        self.in_force(|in_force| in_force.texts.get(&name).cloned())
    }

    /// Settings that were changed and wait for a restart, as `[Section] Key`.
    pub fn waiting_for_restart(&self) -> Vec<String> {
        self.in_force(|in_force| {
            let waits = |(entry, held): &&(&'static Entry, String)| {
                effective(&in_force.texts, entry) != *held
            };
            let waiting = self.inner.at_start.iter().filter(waits);
            waiting.map(|(entry, _)| shown(entry.section, entry.key)).collect()
        })
    }
}

/// These settings, with what another start had for the keys that are looked at only at a start.
pub fn with_start_keys(config: &Config, start: &Config) -> Config {
    let mut config = config.clone();
    config.server_addr = start.server_addr;
    config.server_port = start.server_port;
    config.series_file.clone_from(&start.series_file);
    config.usb.clone_from(&start.usb);
    config.identity.clone_from(&start.identity);
    config.parts.tls.certificate.clone_from(&start.parts.tls.certificate);
    config.parts.tls.key.clone_from(&start.parts.tls.key);
    config
}

fn listed(keys: &[String]) -> String {
    if keys.is_empty() { "nothing".to_owned() } else { keys.join(", ") }
}

fn shown(section: &str, key: &str) -> String {
    format!("[{section}] {key}")
}

/// What a key comes to: its text, or the default when it has none.
fn effective<'a>(texts: &'a Texts, entry: &Entry) -> &'a str {
    let name = (entry.section.to_owned(), entry.key.to_owned());
    let text = texts.get(&name).map_or("", |text| text.trim());
    if text.is_empty() { entry.default } else { text }
}

fn difference(before: &Texts, after: &Texts) -> Changed {
    let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let mut changed = Changed::default();
    for name in names {
        if before.get(name) == after.get(name) {
            continue;
        }
        let (section, key) = name;
        changed.keys.push(shown(section, key));
        if let Some(entry) = catalogue::find(section, key)
            && entry.needs_restart
            && effective(before, entry) != effective(after, entry)
        {
            changed.needs_restart.push(shown(section, key));
        }
    }
    changed
}

fn texts(source: &IniSource) -> Texts {
    let mut texts = Texts::new();
    for section in source.sections() {
        for key in source.keys(&section) {
            // A line without = has no value, and its text may be anybody's secret.
            if let Some(text) = source.get(&section, &key) {
                texts.insert((section.clone(), key), text);
            }
        }
    }
    texts
}

fn read(path: &Path) -> Result<Checked, ConfigError> {
    let text = match config::read_file(path)? {
        Some(bytes) => Some(IniSource::text(path, bytes)?),
        None => None,
    };
    check(path, text)
}

fn check(path: &Path, text: Option<String>) -> Result<Checked, ConfigError> {
    let source = IniSource::parse(path, text.clone().unwrap_or_default().into_bytes())?;
    let config = Config::from_source(&source)?;
    Ok(Checked { text, source, config, replaced: Vec::new() })
}

/// The same with hashes in place of plain passwords; nothing when it has none.
fn hashed(path: &Path, checked: &Checked) -> Result<Option<Checked>, HashError> {
    let Some(text) = &checked.text else { return Ok(None) };
    let Some((text, replaced)) = passwords::without_plain(text, &checked.config)? else {
        return Ok(None);
    };
    // A hash in place of a password cannot make the file wrong.
    Ok(check(path, Some(text)).ok().map(|better| Checked { replaced, ..better }))
}

/// Writes hashes over plain passwords. A file that cannot be written is no reason not to run.
fn with_hashes(path: &Path, checked: Checked, stamp: &Stamp) -> Checked {
    let better = match hashed(path, &checked) {
        Ok(Some(better)) => better,
        Ok(None) => return checked,
        Err(error) => {
            log::warn!("{}: a password stays in plain text: {error}", path.display());
            return checked;
        }
    };
    match file::replace(path, better.text.as_deref().unwrap_or_default(), stamp) {
        Ok(true) => {
            log::info!("{}: plain passwords were replaced by their hashes", path.display());
            better
        }
        // Somebody wrote the file at this moment: it is read again.
        Ok(false) => checked,
        Err(error) => {
            log::warn!("{}: a password stays in plain text: {error}", path.display());
            checked
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_need_a_restart_are_those_kept_of_the_start() {
        let config = |text: &str| {
            let source = IniSource::parse("x".as_ref(), text.as_bytes().to_vec()).unwrap();
            Config::from_source(&source).unwrap()
        };
        let other = |entry: &Entry| match entry.key {
            "ServerAddr" => "10.0.0.1",
            "ServerPort" => "9100",
            "Enabled" => "0",
            "IdentitySecretFile" | "TpmDevice" => "/other",
            "IdentityTpm" => "on",
            _ => "other.pem",
        };
        let mut text = String::new();
        for entry in ENTRIES.iter().filter(|entry| entry.needs_restart) {
            text.push_str(&format!("[{}]\n{}={}\n", entry.section, entry.key, other(entry)));
        }
        let start = config(&text);
        assert_ne!(start, config(""));
        assert_eq!(with_start_keys(&config(""), &start), start);
        let changed = config("[Console]\nPassword=secret12\n");
        assert_eq!(with_start_keys(&changed, &start).console, changed.console);
    }
}
