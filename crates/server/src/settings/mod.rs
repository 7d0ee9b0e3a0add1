//! The settings in force, and how they change while the server runs.
//!
//! Readers take the checked [`Config`] of the moment. A change is written to `licenceserver.conf`,
//! with the administrator's comments, order and unknown keys kept, before it is in force.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use crate::access::Actor;
use crate::api::errors::ApiError;
use crate::config::{Config, ConfigError};

/// One change of the conf file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Edit {
    /// The section, without brackets.
    pub section: String,
    /// The key.
    pub key: String,
    /// Its value; nothing takes the key out of the file.
    pub value: Option<String>,
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

/// The settings in force.
#[derive(Debug)]
pub struct Settings {
    path: PathBuf,
    current: RwLock<Arc<Config>>,
}

impl Settings {
    /// These settings, read from `path`.
    pub fn new(path: PathBuf, config: Config) -> Self {
        Self { path, current: RwLock::new(Arc::new(config)) }
    }

    /// The settings of the moment.
    pub fn get(&self) -> Arc<Config> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The conf file.
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Writes changes to the conf file and puts them in force. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// 400 for a value that its key does not take; 500 when the file cannot be written. Then
    /// nothing has changed.
    pub fn change(&self, edits: &[Edit], actor: &Actor) -> Result<Changed, ApiError> {
        let _ = (edits, actor);
        Err(ApiError::unfinished())
    }

    /// Reads the conf file again and puts it in force. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// See [`ConfigError`]; then the settings stay as they are and [`Self::problem`] tells why.
    pub fn reload(&self) -> Result<Changed, ConfigError> {
        let config = Config::load(&self.path)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
        Ok(Changed::default())
    }

    /// Why the conf file on disk is not the one in force, if so: for the console's warning.
    pub fn problem(&self) -> Option<String> {
        None
    }

    /// Settings that were changed and wait for a restart, as `[Section] Key`.
    pub fn waiting_for_restart(&self) -> Vec<String> {
        Vec::new()
    }
}
