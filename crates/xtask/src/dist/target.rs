//! The systems that programs and packages are made for, and where what was built for one lies.
//!
//! Names and places only: building is decided in `super::cross`, packing beside it.

use std::path::{Path, PathBuf};

use crate::stage::StageError;

/// A system that programs are built for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Platform {
    /// Linux on x86_64.
    Linux64,
    /// Linux on i686.
    Linux32,
    /// Windows on x86_64.
    Windows64,
    /// Windows on i686; its programs run on both.
    Windows32,
}

impl Platform {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Linux64, Self::Linux32, Self::Windows64, Self::Windows32];

    /// As the command line and folders name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Linux64 => "linux64",
            Self::Linux32 => "linux32",
            Self::Windows64 => "windows64",
            Self::Windows32 => "windows32",
        }
    }

    /// As the compiler names it.
    pub const fn triple(self) -> &'static str {
        match self {
            Self::Linux64 => "x86_64-unknown-linux-gnu",
            Self::Linux32 => "i686-unknown-linux-gnu",
            Self::Windows64 => "x86_64-pc-windows-gnu",
            Self::Windows32 => "i686-pc-windows-gnu",
        }
    }

    /// Whether it is a Windows.
    pub const fn is_windows(self) -> bool {
        matches!(self, Self::Windows32 | Self::Windows64)
    }

    /// File name of a program.
    pub fn program(self, name: &str) -> String {
        if self.is_windows() { format!("{name}.exe") } else { name.to_owned() }
    }

    /// File name of the component as cargo builds it.
    pub const fn component(self) -> &'static str {
        if self.is_windows() { "licenceaddin.dll" } else { "liblicenceaddin.so" }
    }
}

/// What was built for one system: one folder with programs and component.
#[derive(Clone, Debug)]
pub struct Built {
    /// The system.
    pub platform: Platform,
    /// The folder.
    pub folder: PathBuf,
}

impl Built {
    /// A program.
    ///
    /// # Errors
    ///
    /// When it is not there.
    pub fn program(&self, name: &str) -> Result<PathBuf, StageError> {
        self.file(&self.platform.program(name))
    }

    /// The component.
    ///
    /// # Errors
    ///
    /// When it is not there.
    pub fn component(&self) -> Result<PathBuf, StageError> {
        self.file(self.platform.component())
    }

    fn file(&self, name: &str) -> Result<PathBuf, StageError> {
        let path = self.folder.join(name);
        if path.is_file() { Ok(path) } else { Err(StageError::NotBuilt(path)) }
    }
}

/// What is packed with one product's name: `licenceserver-…` or `licenceaddin-…`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Product {
    /// The server.
    Server,
    /// The component.
    Addin,
}

impl Product {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Server, Self::Addin];

    /// Its name in file names, packages and services.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Server => "licenceserver",
            Self::Addin => "licenceaddin",
        }
    }
}

/// What a packer works with.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// Root of the workspace.
    pub root: &'a Path,
    /// A folder for what is made on the way; emptied by whoever uses a part of it.
    pub work: &'a Path,
    /// The folder for finished packages.
    pub out: &'a Path,
    /// The version, from the workspace: `4.0.0`.
    pub version: &'a str,
    /// Seconds since 1970 that all files in packages carry, so that two builds are the same.
    pub moment: u64,
}
