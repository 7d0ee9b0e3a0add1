//! Packages that lie ready, for tests: those of `cargo xtask dist --test`, and later versions of them made
//! of the same programs.
//!
//! Finds, unpacks and packs; judges nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::target::{Built, Job, Platform, Product};
use super::tree::{empty, output};
use super::{deb, rpm};
use crate::build::workspace;
use crate::stage::{Bins, StageError, copy_file, make_folder};

/// Environment variable with a folder of programs for the platform under test, from which packages are
/// made on the spot: for those who work on packages and have built only what they need.
pub const PROGRAMS_VARIABLE: &str = "LICENCE_PACKAGE_PROGRAMS";

/// Moment of all files in packages that tests make: 2026-01-31.
const MOMENT: u64 = 1_769_817_600;

/// The version of the workspace.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Packages for one system.
#[derive(Debug)]
pub struct Packed {
    root: PathBuf,
    platform: Platform,
    /// The packages.
    folder: PathBuf,
    /// A folder for what is made on the way.
    work: PathBuf,
}

impl Packed {
    /// The packages for a system; `work` is a folder of the caller.
    ///
    /// # Errors
    ///
    /// When they have not been made.
    pub fn find(bins: &Bins, platform: Platform, work: &Path) -> Result<Self, StageError> {
        let root = workspace()?;
        make_folder(work)?;
        let folder = bins.target().join("packages");
        let packed = Self { root, platform, folder, work: work.to_owned() };
        match std::env::var_os(PROGRAMS_VARIABLE) {
            Some(programs) => packed.made_of(PathBuf::from(programs)),
            None => Ok(packed),
        }
    }

    fn made_of(mut self, programs: PathBuf) -> Result<Self, StageError> {
        self.folder = self.work.join("packages");
        let built = Built { platform: self.platform, folder: programs };
        let job = self.job(VERSION, &self.folder);
        for product in Product::ALL {
            deb::package(&job, &built, product)?;
            rpm::package(&job, &built, product)?;
        }
        Ok(self)
    }

    fn job<'a>(&'a self, version: &'a str, out: &'a Path) -> Job<'a> {
        Job { root: &self.root, work: &self.work, out, version, moment: MOMENT }
    }

    /// The Debian package of a product.
    ///
    /// # Errors
    ///
    /// When it is not there.
    pub fn deb(&self, product: Product) -> Result<PathBuf, StageError> {
        self.file(&deb::file_name(product, VERSION, self.platform))
    }

    /// The RPM package of a product.
    ///
    /// # Errors
    ///
    /// When it is not there.
    pub fn rpm(&self, product: Product) -> Result<PathBuf, StageError> {
        self.file(&rpm::file_name(product, VERSION, self.platform))
    }

    fn file(&self, name: &str) -> Result<PathBuf, StageError> {
        let path = self.folder.join(name);
        if path.is_file() {
            return Ok(path);
        }
        let path = path.display();
        Err(StageError::failed(format!("{path} is not there; run `cargo xtask dist --test` first")))
    }

    /// Makes the Debian package of a product anew in `out`, of this version, from the same program.
    ///
    /// # Errors
    ///
    /// When the packages are not there or it cannot be made.
    pub fn deb_again(
        &self,
        product: Product,
        version: &str,
        out: &Path,
    ) -> Result<PathBuf, StageError> {
        made(deb::package(&self.job(version, out), &self.programs()?, product)?)
    }

    /// Makes the RPM package of a product anew in `out`, of this version, from the same program.
    ///
    /// # Errors
    ///
    /// When the packages are not there or it cannot be made.
    pub fn rpm_again(
        &self,
        product: Product,
        version: &str,
        out: &Path,
    ) -> Result<PathBuf, StageError> {
        made(rpm::package(&self.job(version, out), &self.programs()?, product)?)
    }

    /// What the packages hold, as it was built.
    fn programs(&self) -> Result<Built, StageError> {
        let unpacked = self.work.join("unpacked");
        empty(&unpacked)?;
        for product in Product::ALL {
            let mut unpack = Command::new("dpkg-deb");
            unpack.arg("--extract").arg(self.deb(product)?).arg(&unpacked);
            output(unpack)?;
        }
        let installed = unpacked.join("opt/1C/licence/3.0");
        let folder = self.work.join("programs");
        make_folder(&folder)?;
        copy_file(&installed.join("licenceserver"), &folder.join("licenceserver"))?;
        let component = ["licenceaddin.so", "licenceaddin-x86_64.so"]
            .map(|name| installed.join(name))
            .into_iter()
            .find(|path| path.is_file())
            .ok_or_else(|| StageError::failed("the package has no component"))?;
        copy_file(&component, &folder.join(self.platform.component()))?;
        Ok(Built { platform: self.platform, folder })
    }
}

fn made(path: Option<PathBuf>) -> Result<PathBuf, StageError> {
    path.ok_or_else(|| StageError::failed("no package is made for this system"))
}
