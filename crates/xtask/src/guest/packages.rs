//! Debian packages for the guest and for PC/SC, unpacked below cargo's target folder.
//!
//! Installing them would do harm: a kernel package runs initramfs hooks, QEMU of one release removes
//! tools of another, and vpcd's reader opens a port on every start of the system's own pcscd. What is
//! installed already is used from where it is.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::build::{say, shown, succeed};
use crate::check::setup;
use crate::made::is_made;
use crate::stage::{Bins, StageError, make_folder, write_file};

/// The packages; what they depend on is found out.
const WANTED: [&str; 6] =
    ["busybox-static", "libccid", "opensc", "pcscd", "qemu-system-x86", "vsmartcard-vpcd"];

/// Depends on the kernel's package, whose real name changes with each security update.
const KERNEL: &str = "linux-image-amd64";

/// What is taken out of the kernel's package: the kernel and the modules of USB, of 400 MB.
const KERNEL_PARTS: [&str; 2] = ["./boot/vmlinuz-*", "./lib/modules/*/kernel/drivers/usb/*"];

/// Says in the folder of the unpacked packages that all are there; changes when the lists here do.
const STAMP: &str = "unpacked";

/// The libraries of this architecture, below a root.
const LIBRARIES: [&str; 2] = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"];

/// Unpacked packages, and behind them what the system has.
#[derive(Clone, Debug)]
pub struct Packages {
    root: PathBuf,
}

impl Packages {
    /// What [`prepare`] has unpacked.
    ///
    /// # Errors
    ///
    /// When it has not.
    pub fn find(bins: &Bins) -> Result<Self, StageError> {
        let folder = folder(bins.target());
        if is_complete(&folder) {
            return Ok(Self { root: folder.join("root") });
        }
        Err(StageError::failed(format!(
            "{} has no unpacked packages; run `cargo xtask guest`",
            folder.display()
        )))
    }

    /// A file of a package, by its path below the root of a system.
    ///
    /// # Errors
    ///
    /// When neither the unpacked packages nor the system has it.
    pub fn file(&self, path: &str) -> Result<PathBuf, StageError> {
        self.places(path).next().ok_or_else(|| {
            StageError::failed(format!("no package and no part of the system has /{path}"))
        })
    }

    /// Every place that has this path: unpacked first, then the system.
    fn places(&self, path: &str) -> impl Iterator<Item = PathBuf> {
        [self.root.join(path), Path::new("/").join(path)].into_iter().filter(|path| path.exists())
    }

    /// The folders of the unpacked libraries, as `LD_LIBRARY_PATH` wants them.
    pub fn library_path(&self) -> String {
        LIBRARIES.map(|folder| self.root.join(folder).display().to_string()).join(":")
    }

    /// A program of a package, which finds its libraries.
    ///
    /// # Errors
    ///
    /// As [`Self::file`].
    pub fn program(&self, path: &str) -> Result<Command, StageError> {
        let mut command = Command::new(self.file(path)?);
        command.env("LD_LIBRARY_PATH", self.library_path()).env("LC_ALL", "C.UTF-8");
        Ok(command)
    }

    /// QEMU for this architecture, with its firmware found and no device yet.
    ///
    /// # Errors
    ///
    /// As [`Self::file`].
    pub fn qemu(&self) -> Result<Command, StageError> {
        let mut qemu = self.program("usr/bin/qemu-system-x86_64")?;
        for folder in ["usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu"] {
            for place in self.places(folder) {
                qemu.arg("-L").arg(place);
            }
        }
        let modules = self.root.join(LIBRARIES[0]).join("qemu");
        if modules.is_dir() {
            qemu.env("QEMU_MODULE_DIR", modules);
        }
        Ok(qemu)
    }

    /// The unpacked kernel.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn kernel(&self) -> Result<Kernel, StageError> {
        let folder = self.root.join("lib").join("modules");
        let release = entries(&folder)?
            .pop()
            .ok_or_else(|| StageError::failed(format!("{} is empty", folder.display())))?;
        let image = self.root.join("boot").join(format!("vmlinuz-{release}"));
        if !image.is_file() {
            return Err(StageError::failed(format!("{} is missing", image.display())));
        }
        Ok(Kernel { image, modules: folder.join(release).join("kernel") })
    }
}

/// A kernel and its modules.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// What QEMU starts.
    pub image: PathBuf,
    /// The folder `kernel` of its modules.
    pub modules: PathBuf,
}

fn folder(target: &Path) -> PathBuf {
    target.join("guest")
}

fn stamp() -> String {
    format!("{}\n{KERNEL}\n{}\n", WANTED.join("\n"), KERNEL_PARTS.join("\n"))
}

fn is_complete(folder: &Path) -> bool {
    is_made(&folder.join(STAMP), &stamp())
}

/// Unpacks what is missing, saying what it does.
///
/// # Errors
///
/// When the packages cannot be had; what a person would do is said.
pub(super) fn prepare(target: &Path, out: &mut dyn Write) -> Result<(), StageError> {
    let folder = folder(target);
    if is_complete(&folder) {
        return say(out, "packages of the guest: there");
    }
    say(out, "packages of the guest: unpacking them below target/guest by apt-get and dpkg-deb")?;
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(|why| StageError::io(&folder, why))?;
    }
    let root = folder.join("root");
    make_folder(&root)?;
    let debs = folder.join("debs");
    make_folder(&debs)?;
    // Lists that are missing or older than the last update of a mirror name files that are gone.
    let kernel = match download(&debs, out) {
        Ok(kernel) => kernel,
        Err(why) => {
            say(out, &format!("{why}; reading the package lists anew"))?;
            setup::update(out)?;
            download(&debs, out)?
        }
    };
    for name in entries(&debs)? {
        let deb = debs.join(&name);
        if name.starts_with(&format!("{kernel}_")) {
            unpack_kernel(&deb, &root)?;
        } else {
            let mut dpkg = Command::new("dpkg-deb");
            dpkg.arg("-x").arg(&deb).arg(&root);
            succeed(dpkg)?;
        }
    }
    std::fs::remove_dir_all(&debs).map_err(|why| StageError::io(&debs, why))?;
    write_file(&folder.join(STAMP), &stamp())
}

/// Loads the packages into `folder` and gives the name of the kernel's.
fn download(folder: &Path, out: &mut dyn Write) -> Result<String, StageError> {
    let kernel = kernel_package(&output(apt("apt-cache", &["depends", KERNEL]))?)
        .ok_or_else(|| StageError::failed(format!("{KERNEL} depends on no kernel")))?;
    let mut simulated = apt("apt-get", &["install", "--simulate", "--no-install-recommends"]);
    simulated.args(WANTED);
    let mut names = missing(&output(simulated)?);
    names.insert(kernel.clone());
    let mut load = apt("apt-get", &["download", "--quiet=2"]);
    load.current_dir(folder).args(&names);
    say(out, &format!("$ {}", shown(&load)))?;
    succeed(load)?;
    Ok(kernel)
}

fn apt(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.env("LC_ALL", "C.UTF-8").env("DEBIAN_FRONTEND", "noninteractive").args(arguments);
    command
}

fn output(mut command: Command) -> Result<String, StageError> {
    let name = shown(&command);
    let output = command.stdin(Stdio::null()).output().map_err(|why| {
        StageError::failed(format!(
            "`{name}`: {why}; the guest needs a Debian system and its packages {}",
            WANTED.join(" ")
        ))
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(StageError::failed(format!("`{name}` ended with {}: {}", output.status, errors.trim())))
}

/// The kernel's package among the lines of `apt-cache depends`.
fn kernel_package(listed: &str) -> Option<String> {
    listed
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with("linux-image-"))
        .map(str::to_owned)
}

/// The packages that a simulated installation would add.
fn missing(simulated: &str) -> BTreeSet<String> {
    simulated
        .lines()
        .filter_map(|line| line.strip_prefix("Inst "))
        .filter_map(|rest| rest.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

fn unpack_kernel(deb: &Path, root: &Path) -> Result<(), StageError> {
    let mut dpkg = Command::new("dpkg-deb");
    dpkg.arg("--fsys-tarfile").arg(deb).stdout(Stdio::piped());
    let mut dpkg = dpkg.spawn().map_err(|why| StageError::io(deb, why))?;
    let mut tar = Command::new("tar");
    tar.arg("-x").arg("-C").arg(root).args(["--no-same-owner", "--wildcards"]).args(KERNEL_PARTS);
    if let Some(archive) = dpkg.stdout.take() {
        tar.stdin(archive);
    }
    let taken = succeed(tar);
    let unpacked = dpkg.wait().map_err(|why| StageError::io(deb, why))?;
    if unpacked.success() {
        return taken;
    }
    Err(StageError::failed(format!("unpacking {} ended with {unpacked}", deb.display())))
}

/// The names in a folder, in order.
fn entries(folder: &Path) -> Result<Vec<String>, StageError> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|why| StageError::io(folder, why))? {
        let entry = entry.map_err(|why| StageError::io(folder, why))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_name_of_the_kernel_is_read_from_what_the_general_package_depends_on() {
        let listed = "linux-image-amd64\n  Depends: linux-image-6.1.0-56-amd64\n";
        assert_eq!(kernel_package(listed).as_deref(), Some("linux-image-6.1.0-56-amd64"));
        assert_eq!(kernel_package("linux-image-amd64\n  Suggests: linux-image-x\n"), None);
    }

    #[test]
    fn packages_to_load_are_those_that_an_installation_would_add() {
        let simulated = "Reading package lists...\nRemv qemu-utils [1:10]\n\
                         Inst pcscd (1.9.9-2 Debian:12.15/oldstable [amd64])\n\
                         Inst libccid (1.5.2-1 Debian:12.15/oldstable [amd64])\n\
                         Conf libccid (1.5.2-1 Debian:12.15/oldstable [amd64])\n";
        let names = missing(simulated);
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["libccid", "pcscd"]);
    }

    #[test]
    fn folder_without_its_stamp_is_not_complete() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_complete(folder.path()));
        std::fs::write(folder.path().join(STAMP), "of another list").unwrap();
        assert!(!is_complete(folder.path()));
        std::fs::write(folder.path().join(STAMP), stamp()).unwrap();
        assert!(is_complete(folder.path()));
    }
}
