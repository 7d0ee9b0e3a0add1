//! The file system of a guest: busybox, modules, programs with their libraries, and `init`.
//!
//! Programs are the ordinary dynamic ones, so that the same binary is tested here and on the host, and
//! libraries that a program loads while it runs can be there too.

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::packages::{Kernel, Packages};
use crate::build::shown;
use crate::stage::{StageError, copy_file, make_folder, write_file};

/// Modules of every guest, in the order in which they must be loaded, below `drivers/usb`.
const MODULES: [&str; 2] = ["common/usb-common.ko", "core/usbcore.ko"];

/// Empty folders of the guest.
const FOLDERS: [&str; 10] =
    ["bin", "dev", "etc", "lib", "lib64", "modules", "proc", "run", "sys", "tmp"];

/// What every guest does around its test. The test is `/test`, a shell script.
const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin LD_LIBRARY_PATH=/lib
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
exec </dev/console >/dev/console 2>&1
ifconfig lo 127.0.0.1 up
for module in $(cat /modules/order); do
    insmod /modules/$module || echo "guest: module $module does not load"
done
echo "guest: up"
sh /test
echo "guest: exit $?"
poweroff -f
"#;

/// A guest's file system in the making.
#[derive(Debug)]
pub struct Image {
    packages: Packages,
    kernel: Kernel,
    folder: PathBuf,
    modules: Vec<String>,
    libraries: BTreeSet<PathBuf>,
}

impl Image {
    /// A file system with busybox alone, made in `folder`.
    ///
    /// # Errors
    ///
    /// When a package lacks a file or the folder cannot be written.
    pub fn new(packages: &Packages, folder: &Path) -> Result<Self, StageError> {
        let folder = folder.join("image");
        for name in FOLDERS {
            make_folder(&folder.join(name))?;
        }
        // Whoever made the folder may have kept it from others; in the guest it is the root folder.
        std::fs::set_permissions(&folder, Permissions::from_mode(0o755))
            .map_err(|why| StageError::io(&folder, why))?;
        let kernel = packages.kernel()?;
        let mut image = Self {
            packages: packages.clone(),
            kernel,
            folder,
            modules: Vec::new(),
            libraries: BTreeSet::new(),
        };
        copy_file(&packages.file("bin/busybox")?, &image.at("bin/busybox"))?;
        let shell = image.at("bin/sh");
        symlink("busybox", &shell).map_err(|why| StageError::io(&shell, why))?;
        for module in MODULES {
            image.module(module)?;
        }
        Ok(image)
    }

    /// The kernel that fits it.
    pub const fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    fn at(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// Adds a module, by its path below `drivers/usb`; loaded after those added before.
    ///
    /// # Errors
    ///
    /// When the kernel has none of this name.
    pub fn module(&mut self, path: &str) -> Result<(), StageError> {
        let name = path.rsplit('/').next().unwrap_or(path).to_owned();
        let from = self.kernel.modules.join("drivers").join("usb").join(path);
        copy_file(&from, &self.at("modules").join(&name))?;
        self.modules.push(name);
        Ok(())
    }

    /// Adds a file, by its path in the guest.
    ///
    /// # Errors
    ///
    /// When it cannot be copied.
    pub fn file(&self, from: &Path, path: &str) -> Result<(), StageError> {
        let to = self.at(path);
        if let Some(parent) = to.parent() {
            make_folder(parent)?;
        }
        copy_file(from, &to)
    }

    /// Adds a text file, by its path in the guest.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn text(&self, path: &str, text: &str) -> Result<(), StageError> {
        let to = self.at(path);
        if let Some(parent) = to.parent() {
            make_folder(parent)?;
        }
        write_file(&to, text)
    }

    /// Adds a program to `/bin`, without its debug information, and the libraries it is linked to.
    ///
    /// # Errors
    ///
    /// When it cannot be copied or a library is not found.
    pub fn program(&mut self, from: &Path) -> Result<(), StageError> {
        let name = from
            .file_name()
            .ok_or_else(|| StageError::failed(format!("{} is no program", from.display())))?;
        let mut strip = Command::new("strip");
        strip.arg("-o").arg(self.at("bin").join(name)).arg(from);
        run(strip)?;
        self.libraries_of(from)
    }

    /// Adds a library that programs load while they run, and those it is linked to.
    ///
    /// # Errors
    ///
    /// When one is not found.
    pub fn library(&mut self, path: &str) -> Result<(), StageError> {
        let from = self.packages.file(path)?;
        self.add_library(&from)?;
        self.libraries_of(&from)
    }

    /// Adds the libraries that a program or library is linked to.
    ///
    /// # Errors
    ///
    /// When one is not found.
    pub fn libraries_of(&mut self, path: &Path) -> Result<(), StageError> {
        let mut ldd = Command::new("ldd");
        ldd.env("LD_LIBRARY_PATH", self.packages.library_path()).arg(path);
        for library in linked(&run(ldd)?)? {
            self.add_library(&library)?;
        }
        Ok(())
    }

    fn add_library(&mut self, from: &Path) -> Result<(), StageError> {
        if !self.libraries.insert(from.to_owned()) {
            return Ok(());
        }
        let name = from.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        // Programs name the loader by its full path; all else is found by LD_LIBRARY_PATH.
        let folder = if name.starts_with("ld-linux") { "lib64" } else { "lib" };
        copy_file(from, &self.at(folder).join(name))
    }

    /// Makes the initial file system of a guest that runs this script.
    ///
    /// # Errors
    ///
    /// When it cannot be packed.
    pub fn pack(&self, test: &str) -> Result<PathBuf, StageError> {
        self.text("modules/order", &self.modules.join("\n"))?;
        self.text("test", test)?;
        self.text("init", INIT)?;
        let init = self.at("init");
        std::fs::set_permissions(&init, Permissions::from_mode(0o755))
            .map_err(|why| StageError::io(&init, why))?;
        let packed = self.folder.with_extension("gz");
        let mut pack = Command::new("sh");
        pack.current_dir(&self.folder).env("LD_LIBRARY_PATH", self.packages.library_path());
        pack.arg("-c").arg("set -e; find . | \"$1\" cpio -o -H newc | gzip -1 > \"$2\"").arg("sh");
        pack.arg(self.packages.file("bin/busybox")?).arg(&packed);
        run(pack)?;
        Ok(packed)
    }
}

/// Runs a command and gives what it printed.
fn run(mut command: Command) -> Result<String, StageError> {
    let name = shown(&command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|why| StageError::io(Path::new(command.get_program()), why))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(StageError::failed(format!("`{name}` ended with {}: {}", output.status, errors.trim())))
}

/// The libraries among the lines of `ldd`.
fn linked(listed: &str) -> Result<Vec<PathBuf>, StageError> {
    let mut found = Vec::new();
    for line in listed.lines().map(str::trim) {
        let path = match line.split_once(" => ") {
            Some((name, rest)) if rest.starts_with("not found") => {
                return Err(StageError::failed(format!("the library {name} is not found")));
            }
            Some((_, rest)) => rest,
            None => line,
        };
        if let Some(path) = path.split_whitespace().next().filter(|path| path.starts_with('/')) {
            found.push(PathBuf::from(path));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_and_the_loader_are_read_and_the_kernel_s_own_page_is_not() {
        let listed = "\tlinux-vdso.so.1 (0x00007f)\n\tlibc.so.6 => /lib/libc.so.6 (0x00007f)\n\
                      \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let found = linked(listed).unwrap();
        assert_eq!(
            found,
            [PathBuf::from("/lib/libc.so.6"), PathBuf::from("/lib64/ld-linux-x86-64.so.2")]
        );
        assert!(linked("\tstatically linked\n").unwrap().is_empty());
    }

    #[test]
    fn library_that_is_missing_is_named() {
        let error = linked("\tlibx.so.1 => not found\n").unwrap_err().to_string();
        assert!(error.contains("libx.so.1"), "{error}");
    }
}
