//! Where the built programs lie.
//!
//! Looks only; building them is the business of `cargo xtask`.

use std::path::{Path, PathBuf};

use super::StageError;

/// Environment variable that names the folder of the programs.
pub const BIN_DIR_VARIABLE: &str = "LICENCE_BIN_DIR";

/// The folder of the built programs.
#[derive(Clone, Debug)]
pub struct Bins(PathBuf);

impl Bins {
    /// The folder that [`BIN_DIR_VARIABLE`] names, or else the one that this program was built
    /// into.
    ///
    /// # Errors
    ///
    /// When the system does not say where this program lies.
    pub fn find() -> Result<Self, StageError> {
        if let Some(folder) = std::env::var_os(BIN_DIR_VARIABLE) {
            return Ok(Self(folder.into()));
        }
        let own = std::env::current_exe()
            .map_err(|why| StageError::io(Path::new("this program"), why))?;
        let folder = own.parent().unwrap_or_else(|| Path::new("."));
        // Test programs lie in `deps`, one level below.
        let folder = match folder.file_name() {
            Some(name) if name == "deps" => folder.parent().unwrap_or(folder),
            Some(_) | None => folder,
        };
        Ok(Self(folder.to_owned()))
    }

    /// The programs in this folder.
    pub fn at(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// The folder itself.
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// Cargo's target folder, to which the folder of programs belongs.
    pub fn target(&self) -> &Path {
        match self.0.parent() {
            Some(parent) => parent,
            None => &self.0,
        }
    }

    /// A program or library in it.
    ///
    /// # Errors
    ///
    /// When it is not there.
    pub fn file(&self, name: &str) -> Result<PathBuf, StageError> {
        let path = self.0.join(name);
        if path.is_file() { Ok(path) } else { Err(StageError::NotBuilt(path)) }
    }

    /// The component.
    ///
    /// # Errors
    ///
    /// When it is not there.
    pub fn component(&self) -> Result<PathBuf, StageError> {
        self.file("liblicenceaddin.so")
    }

    /// The host that plays the platform.
    ///
    /// # Errors
    ///
    /// When it is not there.
    pub fn host(&self) -> Result<PathBuf, StageError> {
        self.file("licencehost")
    }
}
