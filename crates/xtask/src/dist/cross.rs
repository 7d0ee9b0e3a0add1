//! Building programs and component for other systems, and checking each file that comes out.
//!
//! Which compilers do it is decided in `super::toolchain`, what a file may be in `super::image`.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::image::{self, Kind};
use super::target::{Built, Platform};
use super::toolchain::Toolchain;
use crate::build::{say, shown, succeed};
use crate::stage::StageError;

/// Package of the component.
pub const COMPONENT: &str = "licenceaddin";

/// Profile of what users install.
pub const PROFILE: &str = "dist";

/// Profile of what tests pack and install: the same, sooner built.
pub const TEST_PROFILE: &str = "dist-test";

/// The folder of what was built for a platform, whether it is there or not.
pub fn folder(target: &Path, platform: Platform, profile: &str) -> PathBuf {
    target.join("cross").join(platform.triple()).join(profile)
}

/// Builds packages (`licenceserver`, `licenceaddin`, …) for a platform and checks what came out.
///
/// # Errors
///
/// When a compiler refuses, or a file would not run where it must.
pub fn build(
    toolchain: &Toolchain,
    root: &Path,
    platform: Platform,
    profile: &str,
    packages: &[&str],
    out: &mut dyn Write,
) -> Result<Built, StageError> {
    // In one call the component would get what only the programs ask of the crates that they share.
    let (component, programs): (Vec<&str>, Vec<&str>) =
        packages.iter().copied().partition(|package| *package == COMPONENT);
    for packages in [programs, component] {
        if packages.is_empty() {
            continue;
        }
        let mut cargo = toolchain.cargo(root, platform);
        cargo.args(["--quiet", "--locked", "--profile", profile]);
        for package in packages {
            cargo.args(["--package", package]);
        }
        say(out, &format!("$ {}", shown(&cargo)))?;
        succeed(cargo)?;
    }
    let folder = toolchain.folder().join(platform.triple()).join(profile);
    let built = Built { platform, folder };
    for package in packages {
        let (kind, path) = if *package == COMPONENT {
            (Kind::Component, built.component()?)
        } else {
            (Kind::Program, built.program(package)?)
        };
        let bytes = std::fs::read(&path).map_err(|why| StageError::io(&path, why))?;
        let mut faults = image::faults(&bytes, platform, kind);
        let named = toolchain.hidden(root).into_iter().filter(|folder| names(&bytes, folder));
        faults.extend(named.map(|folder| format!("names {}", folder.display())));
        if !faults.is_empty() {
            return Err(StageError::failed(format!("{}: {}", path.display(), faults.join("; "))));
        }
        let bytes = bytes.len();
        say(out, &format!("{} {package}: {bytes} bytes, checked", platform.name()))?;
    }
    Ok(built)
}

/// Whether a file names something in a folder of this machine. Names of one part are too common to say
/// anything: a container's `/src` is also a part of every crate's path.
fn names(bytes: &[u8], folder: &Path) -> bool {
    let wanted = format!("{}/", folder.display()).into_bytes();
    // Root, name, name.
    folder.components().count() > 2 && bytes.windows(wanted.len()).any(|part| part == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_of_this_machine_in_a_file_is_found() {
        let file = b"\0/home/builder/.cargo/registry/x.rs\0licence/src/lib.rs\0";
        assert!(names(file, Path::new("/home/builder/.cargo")));
        assert!(!names(file, Path::new("/home/build")));
        assert!(!names(file, Path::new("/src")));
        assert!(!names(b"", Path::new("/home/builder/.cargo")));
    }

    #[test]
    fn each_platform_and_profile_has_a_folder_of_its_own() {
        let target = Path::new("/target");
        assert_eq!(
            folder(target, Platform::Windows32, TEST_PROFILE),
            Path::new("/target/cross/i686-pc-windows-gnu/dist-test")
        );
        assert_ne!(
            folder(target, Platform::Linux32, PROFILE),
            folder(target, Platform::Linux64, PROFILE)
        );
    }
}
