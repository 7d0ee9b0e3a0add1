//! A Debian system that really boots, for tests of packages: a minimal root with systemd as process 1.
//!
//! [`prepare`] makes the root once, below cargo's target folder; [`Booted`] runs it by systemd-nspawn with
//! a network of its own. What a run writes is kept in memory and gone with it, so that any number of
//! runs may share the root at once. Nothing is installed on this computer. Needs root, as debootstrap does.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::build::say;
use crate::debian;
use crate::dist::target::Platform;
use crate::dist::tree::empty;
use crate::made::is_made;
use crate::stage::{Bins, Process, StageError, make_folder, wait_until, write_file};

/// Environment variable that names another architecture than [`DEFAULT_PLATFORM`]: `amd64` or `i386`.
pub const ARCH_VARIABLE: &str = "LICENCE_PACKAGE_ARCH";

/// The system whose packages tests install: its programs run on both architectures.
pub const DEFAULT_PLATFORM: Platform = Platform::Linux32;

/// The release of Debian.
const SUITE: &str = "bookworm";

/// What is in the root beside the least: process 1, and what tests call. With rpm it also serves as a
/// stand-in for a system of RPM.
const PACKAGES: &str = "systemd-sysv,dbus,curl,procps,rpm";

/// What this computer must have for all that is here, and for packing.
pub const NEEDS: [&str; 5] = ["binutils", "debootstrap", "rpm", "systemd-container", "util-linux"];

/// Bound of a start, which takes 1 s on an idle machine.
const BOOT_BOUND: Duration = Duration::from_secs(120);

/// Bound of an orderly end; a service may take 30 s for its own.
const POWEROFF_BOUND: Duration = Duration::from_secs(90);

/// A root that is ready to be booted.
#[derive(Clone, Debug)]
pub struct Root {
    folder: PathBuf,
}

impl Root {
    /// What [`prepare`] has made.
    ///
    /// # Errors
    ///
    /// When it has not.
    pub fn find(bins: &Bins, platform: Platform) -> Result<Self, StageError> {
        let folder = place(bins.target(), platform)?;
        if is_complete(&folder) {
            return Ok(Self { folder });
        }
        Err(StageError::failed(format!(
            "{} is no root for tests of packages; `cargo xtask test` makes it",
            folder.display()
        )))
    }

    /// systemd-nspawn on this root; what it writes is gone afterwards. `files` is seen as `/stage`.
    fn nspawn(&self, files: &Path) -> Command {
        let mut nspawn = Command::new("systemd-nspawn");
        nspawn.args(["--quiet", "--keep-unit", "--register=no", "--private-network"]);
        // Read-only, so that several may use it; the overlay is of the memory.
        nspawn.args(["--read-only", "--volatile=overlay", "--console=pipe"]);
        nspawn.arg("--directory").arg(&self.folder);
        nspawn.arg(format!("--bind={}:/stage", files.display()));
        nspawn
    }

    /// Runs a script in the root without booting it, as those do who make images of systems: nothing is
    /// process 1, no service can be started.
    ///
    /// # Errors
    ///
    /// When systemd-nspawn cannot be started.
    pub fn run(&self, files: &Path, script: &str) -> Result<Ran, StageError> {
        let mut nspawn = self.nspawn(files);
        nspawn.arg(format!("--machine={}", name())).args(["--as-pid2", "--pipe"]);
        nspawn.args(["--setenv=PATH=/usr/sbin:/usr/bin:/sbin:/bin", "sh", "-c", script]);
        Ran::of(nspawn)
    }
}

/// Makes the root of one architecture if it is not there, saying what it does.
///
/// # Errors
///
/// When this process may not, or a mirror is not reached.
pub fn prepare(target: &Path, platform: Platform, out: &mut dyn Write) -> Result<(), StageError> {
    let folder = place(target, platform)?;
    if is_complete(&folder) {
        return say(out, &format!("root {}: there", folder.display()));
    }
    say(out, &format!("root {}: making it by debootstrap", folder.display()))?;
    make_folder(folder.parent().unwrap_or(target))?;
    let arch = format!("--arch={}", arch(platform)?);
    debian::make(&folder, SUITE, &[&arch, &format!("--include={PACKAGES}")], out)?;
    // Packages that were loaded are installed, and tests say what the system is called.
    let archives = folder.join("var/cache/apt/archives");
    empty(&archives)?;
    write_file(&folder.join("etc/hostname"), "booted\n")?;
    write_file(&stamp_of(&folder), &stamp())
}

fn place(target: &Path, platform: Platform) -> Result<PathBuf, StageError> {
    Ok(target.join("roots").join(format!("{SUITE}-{}", arch(platform)?)))
}

fn arch(platform: Platform) -> Result<&'static str, StageError> {
    match platform {
        Platform::Linux32 => Ok("i386"),
        Platform::Linux64 => Ok("amd64"),
        Platform::Windows32 | Platform::Windows64 => {
            Err(StageError::failed("Windows has no root of Debian"))
        }
    }
}

/// The system whose packages tests install.
///
/// # Errors
///
/// When [`ARCH_VARIABLE`] names none.
pub fn platform() -> Result<Platform, StageError> {
    match std::env::var(ARCH_VARIABLE).ok().as_deref() {
        None | Some("") => Ok(DEFAULT_PLATFORM),
        Some("i386") => Ok(Platform::Linux32),
        Some("amd64") => Ok(Platform::Linux64),
        Some(other) => {
            Err(StageError::failed(format!("{ARCH_VARIABLE}={other}: expected amd64 or i386")))
        }
    }
}

fn stamp() -> String {
    format!("{SUITE} {PACKAGES}\n")
}

/// Beside the root, which must stay as debootstrap has made it.
fn stamp_of(folder: &Path) -> PathBuf {
    folder.with_extension("made")
}

fn is_complete(folder: &Path) -> bool {
    folder.is_dir() && is_made(&stamp_of(folder), &stamp())
}

/// How a command ended, and all that it said.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Exit code; nothing when a signal ended it.
    pub code: Option<i32>,
    /// Standard output, then standard error.
    pub said: String,
}

impl Ran {
    fn of(mut command: Command) -> Result<Self, StageError> {
        let output = command
            .stdin(Stdio::null())
            .output()
            .map_err(|why| StageError::io(Path::new(command.get_program()), why))?;
        let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
        said.push_str(&String::from_utf8_lossy(&output.stderr));
        Ok(Self { code: output.status.code(), said })
    }

    /// Whether it ended with 0.
    pub fn is_fine(&self) -> bool {
        self.code == Some(0)
    }
}

/// A running system.
#[derive(Debug)]
pub struct Booted {
    name: String,
    process: Process,
    inside: Inside,
}

/// The way into a running system.
#[derive(Clone, Copy, Debug)]
pub struct Inside {
    /// Process 1 of the system, as this computer counts.
    leader: u32,
}

impl Booted {
    /// Boots a root; `files` is a folder that it sees as `/stage`, `logs` takes what it says.
    ///
    /// # Errors
    ///
    /// When it does not come up within a bound.
    pub fn start(root: &Root, files: &Path, logs: &Path) -> Result<Self, StageError> {
        make_folder(logs)?;
        let name = name();
        let mut nspawn = root.nspawn(files);
        nspawn.arg(format!("--machine={name}")).arg("--boot");
        let mut process = Process::start(&name, nspawn, logs)?;
        // The first child of systemd-nspawn makes the system and ends; the one after it is process 1.
        let leader = wait_until(BOOT_BOUND, "the booted system", || {
            if let Some(status) = process.ended()? {
                return Err(process.failed(&format!("ended with {status}")));
            }
            let Some(leader) = child_of(process.pid()) else { return Ok(None) };
            let ran = Inside { leader }.run("systemctl is-system-running")?;
            Ok(matches!(ran.said.trim(), "running" | "degraded").then_some(leader))
        })?;
        Ok(Self { name, process, inside: Inside { leader } })
    }

    /// The way into it.
    pub const fn inside(&self) -> Inside {
        self.inside
    }

    /// Shuts it down in good order.
    ///
    /// # Errors
    ///
    /// When it does not end within a bound.
    pub fn power_off(mut self) -> Result<(), StageError> {
        // The connection may go before the answer.
        drop(self.inside.run("systemctl poweroff")?);
        self.process.wait(POWEROFF_BOUND).map(drop)
    }
}

impl Inside {
    /// Runs a script of the shell in it, as root.
    ///
    /// # Errors
    ///
    /// When it cannot be entered.
    pub fn run(&self, script: &str) -> Result<Ran, StageError> {
        let mut enter = Command::new("nsenter");
        enter.args(["--target", &self.leader.to_string()]);
        enter.args(["--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup"]);
        enter.args(["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"]);
        enter.args(["sh", "-c", script]);
        Ran::of(enter)
    }

    /// The same, and it must succeed; gives what it said.
    ///
    /// # Errors
    ///
    /// When it does not; all that was said is told.
    pub fn must(&self, script: &str) -> Result<String, StageError> {
        let ran = self.run(script)?;
        if ran.is_fine() {
            return Ok(ran.said);
        }
        Err(StageError::failed(format!("`{script}` ended with {:?}: {}", ran.code, ran.said)))
    }

    /// Does something in the network of the system: what it starts and calls there are neighbours of the
    /// system's own services, with the same 127.0.0.1. Processes that it starts end with it.
    ///
    /// # Errors
    ///
    /// When the network cannot be entered or `body` fails.
    pub fn within<T: Send>(
        &self,
        body: impl FnOnce() -> Result<T, StageError> + Send,
    ) -> Result<T, StageError> {
        let path = PathBuf::from(format!("/proc/{}/ns/net", self.leader));
        let network = File::open(&path).map_err(|why| StageError::io(&path, why))?;
        // A network belongs to a thread and to all that it starts: one of its own leaves the others alone.
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                // SAFETY: a plain system call on a descriptor that lives until it returns.
                let entered = unsafe { libc::setns(network.as_raw_fd(), libc::CLONE_NEWNET) };
                if entered != 0 {
                    return Err(StageError::io(&path, std::io::Error::last_os_error()));
                }
                body()
            });
            match inside.join() {
                Ok(done) => done,
                // A test that failed inside fails outside, with its own words.
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }
}

impl Drop for Booted {
    fn drop(&mut self) {
        drop(self.process.kill());
        // systemd-nspawn leaves this empty folder where no systemd runs outside.
        drop(std::fs::remove_dir(Path::new("/run/systemd/nspawn/propagate").join(&self.name)));
    }
}

/// A name that no other system of this computer has while we run.
fn name() -> String {
    static STARTED: AtomicU32 = AtomicU32::new(0);
    format!("licence-{}-{}", std::process::id(), STARTED.fetch_add(1, Ordering::Relaxed))
}

/// The first child of a process.
fn child_of(process: u32) -> Option<u32> {
    let children =
        std::fs::read_to_string(format!("/proc/{process}/task/{process}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_without_its_stamp_is_not_complete() {
        let folder = tempfile::tempdir().unwrap();
        let root = place(folder.path(), Platform::Linux32).unwrap();
        assert!(root.ends_with("roots/bookworm-i386"));
        std::fs::create_dir_all(&root).unwrap();
        assert!(!is_complete(&root));
        std::fs::write(stamp_of(&root), stamp()).unwrap();
        assert!(is_complete(&root));
        let missing = Root::find(&Bins::at(&folder.path().join("debug")), Platform::Linux64);
        assert!(missing.unwrap_err().to_string().contains("cargo xtask"));
        assert!(place(folder.path(), Platform::Windows32).is_err());
    }
}
