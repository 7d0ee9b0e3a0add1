//! What a 1C process on the stage is: a host and a component built for some platform, and what they run
//! in; and what the component finds on its computer.
//!
//! Programs of this computer's own kind are built by `cargo xtask build`, components of other platforms
//! by `cargo xtask dist --test`; the C++ host of another platform is built here, when it is first asked
//! for.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use licence_core::seal::{hex_upper, sha256};

use super::{Stage, StageError, Vendor, make_folder, program, write_file};
use crate::build::workspace;
use crate::dist::cross;
use crate::dist::target::{Built, Platform};
use crate::wine::Wine;

/// Folders of the host's sources, below `addin-native-api`.
const SOURCES: [&str; 4] = ["", "host", "host/bare", "include"];

/// What the component finds on a computer: home, common folder, and no installed component, so that
/// one of the real computer never serves in its place.
#[derive(Clone, Debug)]
pub struct Computer {
    home: PathBuf,
    common: PathBuf,
    installed: PathBuf,
}

impl Computer {
    pub(super) fn make(folder: &Path, vendor: &Vendor, ports: &[u16]) -> Result<Self, StageError> {
        let computer = Self {
            home: folder.join("home"),
            common: folder.join("common"),
            installed: folder.join("installed"),
        };
        make_folder(&computer.home)?;
        make_folder(&computer.common)?;
        make_folder(&computer.installed)?;
        vendor.publish_series(&computer.common.join("licence.series"))?;
        let (first, reserves) =
            ports.split_first().ok_or_else(|| StageError::failed("no server is named"))?;
        let reserves: Vec<_> = reserves.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let conf = format!(
            "[Common]\nServerAddr=127.0.0.1\nServerPort={first}\nReservedServers={}\n",
            reserves.join(",")
        );
        write_file(&computer.common.join("licenceaddin.conf"), &conf)?;
        Ok(computer)
    }

    /// A command for the host with the component of this computer, through `wrapper` (such as
    /// valgrind) when there is one.
    ///
    /// # Errors
    ///
    /// When a program is not built.
    pub fn host_command(&self, stage: &Stage, wrapper: &[&str]) -> Result<Command, StageError> {
        Ok(self.command_of(&HostKind::native(stage)?, wrapper))
    }

    /// The same for a host of a certain kind; in Wine there is no wrapper.
    pub fn command_of(&self, kind: &HostKind<'_>, wrapper: &[&str]) -> Command {
        let mut command = match (kind.wine, wrapper.split_first()) {
            (Some(wine), _) => wine.command(&kind.host, [Wine::windows_path(&kind.component)]),
            (None, Some((wrapper, arguments))) => {
                let mut command = program(Path::new(wrapper));
                command.args(arguments).arg(&kind.host).arg(&kind.component);
                command
            }
            (None, None) => {
                let mut command = program(&kind.host);
                command.arg(&kind.component);
                command
            }
        };
        if kind.is_in_wine() {
            command.env("LICENCEADDIN_COMMON_DIR", Wine::windows_path(&self.common));
            command.env("LICENCEADDIN_INSTALLED_DIR", Wine::windows_path(&self.installed));
        } else {
            command.env("HOME", &self.home);
            command.env("LICENCEADDIN_COMMON_DIR", &self.common);
            command.env("LICENCEADDIN_INSTALLED_DIR", &self.installed);
        }
        command
    }

    /// The folder in which an installed component of this computer would lie.
    pub fn installed(&self) -> &Path {
        &self.installed
    }
}

/// A host, a component, and what they run in.
#[derive(Debug)]
pub struct HostKind<'a> {
    host: PathBuf,
    component: PathBuf,
    wine: Option<&'a Wine>,
}

impl HostKind<'static> {
    /// This computer's own kind.
    ///
    /// # Errors
    ///
    /// When the host or the component is not built.
    pub fn native(stage: &Stage) -> Result<Self, StageError> {
        let (host, component) = (stage.bins().host()?, stage.bins().component()?);
        Ok(Self { host, component, wine: None })
    }

    /// The component of another Linux that this computer runs as well, with a host of its kind.
    ///
    /// # Errors
    ///
    /// When the component is not built, or the host cannot be.
    pub fn linux(stage: &Stage, platform: Platform) -> Result<Self, StageError> {
        let component = built(stage, platform)?.component()?;
        Ok(Self { host: host(stage.bins().target(), platform)?, component, wine: None })
    }
}

impl<'a> HostKind<'a> {
    /// The component of a Windows with a host of its kind, in Wine.
    ///
    /// # Errors
    ///
    /// As [`Self::linux`].
    pub fn windows(stage: &Stage, platform: Platform, wine: &'a Wine) -> Result<Self, StageError> {
        let component = built(stage, platform)?.component()?;
        Ok(Self { host: host(stage.bins().target(), platform)?, component, wine: Some(wine) })
    }

    /// The component itself.
    pub fn component(&self) -> &Path {
        &self.component
    }

    /// Whether names of files are Windows' there.
    pub const fn is_in_wine(&self) -> bool {
        self.wine.is_some()
    }
}

/// What tests install on a platform.
///
/// # Errors
///
/// When it is not built.
pub fn built(stage: &Stage, platform: Platform) -> Result<Built, StageError> {
    let folder = cross::folder(stage.bins().target(), platform, cross::TEST_PROFILE);
    if folder.is_dir() {
        return Ok(Built { platform, folder });
    }
    Err(StageError::failed(format!(
        "{} is not built for {}; run `cargo xtask dist --test` first",
        cross::COMPONENT,
        platform.name()
    )))
}

/// The C++ host of a platform, built when its sources are not those of the one that lies there. Tests
/// that ask for it at one time wait for the first, in whatever processes they run.
///
/// # Errors
///
/// When a compiler is missing or refuses.
fn host(target: &Path, platform: Platform) -> Result<PathBuf, StageError> {
    let sources = workspace()?.join("addin-native-api");
    let folder = target.join("hosts");
    make_folder(&folder)?;
    let name = format!("licencehost-{}-{}", platform.name(), digest(&sources)?);
    let done = folder.join(platform.program(&name));
    if done.is_file() {
        return Ok(done);
    }
    let lock = folder.join("lock");
    let failed = |why| StageError::io(&lock, why);
    let locked = File::create(&lock).map_err(failed)?;
    // Given back when the file is closed, at the latest with this process.
    locked.lock().map_err(failed)?;
    if done.is_file() {
        return Ok(done);
    }
    let fresh = folder.join(platform.program(&format!("{name}-fresh")));
    let mut build = Command::new("sh");
    build.arg(sources.join("build-host.sh")).arg(&fresh).arg(platform.name());
    let output = build.output().map_err(|why| StageError::io(Path::new("sh"), why))?;
    if !output.status.success() {
        return Err(StageError::failed(format!(
            "the host for {} was not built: {}",
            platform.name(),
            String::from_utf8_lossy(&output.stderr).trim()
        )));
    }
    std::fs::rename(&fresh, &done).map_err(|why| StageError::io(&done, why))?;
    Ok(done)
}

/// A name for the state of the sources.
fn digest(sources: &Path) -> Result<String, StageError> {
    let mut all = Vec::new();
    for folder in SOURCES {
        let folder = sources.join(folder);
        let failed = |why| StageError::io(&folder, why);
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.is_file() {
                files.push(path);
            }
        }
        files.sort();
        for file in files {
            all.extend(std::fs::read(&file).map_err(|why| StageError::io(&file, why))?);
        }
    }
    let mut digest = hex_upper(&sha256(&all));
    digest.truncate(16);
    Ok(digest)
}
