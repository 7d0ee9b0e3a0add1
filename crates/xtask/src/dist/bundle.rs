//! Building the template bundle: one library for each target, a manifest, a zip.
//!
//! What users get is built by the compilers of [`super::cross`] for every system of ours. A debug bundle,
//! for tests, takes the targets that are installed for this machine's own compiler, leaves out the others
//! and names them. The same libraries give the same bytes, and the libraries name no folder of the machine
//! that built them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use licencekit::template::archive::{self, Entry};
use licencekit::template::image::{Arch, Os};
use licencekit::template::manifest::{self, Component, MANIFEST_NAME};

use super::target::{Built, Job, Platform};
use super::toolchain::Toolchain;
use super::{BundleArgs, check, cross};
use crate::build::{PACKAGES, cargo, say, succeed, workspace};
use crate::dist::toolchain::{SEPARATOR, cargo_home};
use crate::stage::{Bins, StageError};

/// Name of the component, in file names and in the manifest.
const NAME: &str = "licenceaddin";

/// A system that the component is built for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct System {
    /// Ending of file names: `lin64`.
    pub tag: &'static str,
    /// As the manifest names it.
    pub os: Os,
    /// As the manifest names it.
    pub arch: Arch,
    /// Targets that make a library for it, the best first.
    pub targets: &'static [&'static str],
}

/// The systems, in the order of the manifest. The libraries of both Windows targets have one layout.
pub static SYSTEMS: [System; 5] = [
    System {
        tag: "win32",
        os: Os::Windows,
        arch: Arch::I386,
        targets: &["i686-pc-windows-msvc", "i686-pc-windows-gnu"],
    },
    System {
        tag: "win64",
        os: Os::Windows,
        arch: Arch::X86_64,
        targets: &["x86_64-pc-windows-msvc", "x86_64-pc-windows-gnu"],
    },
    System { tag: "lin32", os: Os::Linux, arch: Arch::I386, targets: &["i686-unknown-linux-gnu"] },
    System {
        tag: "lin64",
        os: Os::Linux,
        arch: Arch::X86_64,
        targets: &["x86_64-unknown-linux-gnu"],
    },
    System {
        tag: "linarm64",
        os: Os::Linux,
        arch: Arch::Arm64,
        targets: &["aarch64-unknown-linux-gnu"],
    },
];

impl System {
    /// File name of the library: with the version, because clients keep unpacked libraries by name.
    pub fn file_name(&self, version: &str) -> String {
        let ending = match self.os {
            Os::Linux => "so",
            Os::Windows => "dll",
        };
        format!("{NAME}_{}_{}.{ending}", version.replace(['.', '-', '+'], "_"), self.tag)
    }

    /// File name of what cargo builds.
    const fn built_name(&self) -> &'static str {
        match self.os {
            Os::Linux => "liblicenceaddin.so",
            Os::Windows => "licenceaddin.dll",
        }
    }
}

/// Builds and packs, saying what it does.
///
/// # Errors
///
/// When a build fails, nothing could be built, or the template fails its check.
pub fn run(args: &BundleArgs, out: &mut dyn Write) -> Result<(), StageError> {
    let root = workspace()?;
    let target_folder = Bins::find()?.target().to_owned();
    let host = host_target()?;
    let unknown = args
        .target
        .iter()
        .find(|asked| !SYSTEMS.iter().any(|system| system.targets.contains(&asked.as_str())));
    if let Some(unknown) = unknown {
        return Err(StageError::failed(format!("no system of a template is built by {unknown}")));
    }
    let folder = args.out.clone().unwrap_or_else(|| target_folder.join("bundle"));
    std::fs::create_dir_all(&folder).map_err(|why| StageError::io(&folder, why))?;
    let version = env!("CARGO_PKG_VERSION");
    if !args.debug && args.target.is_empty() {
        let toolchain = Toolchain::prepare(&root, &target_folder, &Platform::ALL, out)?;
        let packages = [cross::COMPONENT];
        let build = |platform| {
            cross::build(&toolchain, &root, platform, cross::PROFILE, &packages, &mut *out)
        };
        let builds: Vec<_> = Platform::ALL.into_iter().map(build).collect::<Result<_, _>>()?;
        return write(&folder, version, libraries_of(&builds)?, out).map(drop);
    }
    let mut libraries = Vec::new();
    for system in &SYSTEMS {
        match choose(system, args, &host)? {
            Choice::Build(target) => {
                say(out, &format!("building {} by {target}", system.tag))?;
                let built = build(&root, &target_folder, system, target, &host, args.debug)?;
                let bytes = std::fs::read(&built).map_err(|why| StageError::io(&built, why))?;
                libraries.push((*system, bytes));
            }
            Choice::LeaveOut(why) => say(out, &format!("left out {}: {why}", system.tag))?,
        }
    }
    write(&folder, version, libraries, out).map(drop)
}

/// Packs the template of what was built, into the folder of packages.
///
/// # Errors
///
/// When a component was not built, or the template fails its check.
pub fn of_builds(
    job: &Job<'_>,
    builds: &[Built],
    out: &mut dyn Write,
) -> Result<PathBuf, StageError> {
    write(job.out, job.version, libraries_of(builds)?, out)
}

/// The components of some builds, in the order of the manifest.
fn libraries_of(builds: &[Built]) -> Result<Vec<(System, Vec<u8>)>, StageError> {
    let mut libraries = Vec::new();
    for system in SYSTEMS {
        let is_its = |built: &&Built| system.targets.contains(&built.platform.triple());
        if let Some(built) = builds.iter().find(is_its) {
            let path = built.component()?;
            let bytes = std::fs::read(&path).map_err(|why| StageError::io(&path, why))?;
            libraries.push((system, bytes));
        }
    }
    Ok(libraries)
}

fn write(
    folder: &Path,
    version: &str,
    libraries: Vec<(System, Vec<u8>)>,
    out: &mut dyn Write,
) -> Result<PathBuf, StageError> {
    let template = pack(version, libraries)?;
    let report = check::check(&template);
    report.print(out)?;
    report.result()?;
    let path = folder.join(format!("{NAME}-{version}-template.zip"));
    std::fs::write(&path, template).map_err(|why| StageError::io(&path, why))?;
    say(out, &path.display().to_string())?;
    Ok(path)
}

/// The template of some libraries. The same libraries give the same bytes.
///
/// # Errors
///
/// When there is none.
pub fn pack(version: &str, libraries: Vec<(System, Vec<u8>)>) -> Result<Vec<u8>, StageError> {
    if libraries.is_empty() {
        return Err(StageError::failed("no target of a template is installed"));
    }
    let components: Vec<_> = libraries
        .iter()
        .map(|(system, _)| Component::native(system.os, system.arch, system.file_name(version)))
        .collect();
    let mut entries =
        vec![Entry { name: MANIFEST_NAME.to_owned(), bytes: manifest::write(NAME, &components) }];
    entries.extend(
        libraries
            .into_iter()
            .map(|(system, bytes)| Entry { name: system.file_name(version), bytes }),
    );
    archive::write(&entries).map_err(|why| StageError::failed(why.to_string()))
}

enum Choice<'a> {
    Build(&'a str),
    LeaveOut(String),
}

fn choose<'a>(system: &'a System, args: &BundleArgs, host: &str) -> Result<Choice<'a>, StageError> {
    let asked = |target: &str| args.target.is_empty() || args.target.iter().any(|t| t == target);
    let wanted: Vec<_> = system.targets.iter().copied().filter(|target| asked(target)).collect();
    if wanted.is_empty() {
        return Ok(Choice::LeaveOut("not asked for".to_owned()));
    }
    for target in &wanted {
        if *target == host || is_installed(target)? {
            return Ok(Choice::Build(target));
        }
    }
    let names = wanted.join(", ");
    if args.target.is_empty() {
        Ok(Choice::LeaveOut(format!("not installed: {names}")))
    } else {
        Err(StageError::failed(format!("not installed: {names}")))
    }
}

fn rustc(arguments: &[&str]) -> Result<String, StageError> {
    let program = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(&program)
        .args(arguments)
        .output()
        .map_err(|why| StageError::io(Path::new(&program), why))?;
    if !output.status.success() {
        return Ok(String::new());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn host_target() -> Result<String, StageError> {
    rustc(&["-vV"])?
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .ok_or_else(|| StageError::failed("rustc does not name its own target"))
}

/// Whether the standard library of a target is there.
fn is_installed(target: &str) -> Result<bool, StageError> {
    let folder = rustc(&["--print", "target-libdir", "--target", target])?;
    let folder = PathBuf::from(folder.trim_end());
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(false) };
    Ok(entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-")))
}

fn build(
    root: &Path,
    target_folder: &Path,
    system: &System,
    target: &str,
    host: &str,
    debug: bool,
) -> Result<PathBuf, StageError> {
    let mut build = cargo();
    build.current_dir(root).args(["build", "--quiet"]);
    // Together with the other programs a debug build is there already; alone, the component would have
    // crates of its own with fewer features.
    let alone = [NAME];
    let packages = if debug && target == host { &PACKAGES[..] } else { &alone[..] };
    for package in packages {
        build.args(["--package", package]);
    }
    let mut folder = target_folder.to_owned();
    // The host's own builds are shared with everything else that is built here.
    if target != host {
        build.args(["--target", target]);
        folder.push(target);
    }
    if debug {
        folder.push("debug");
    } else {
        build.args(["--profile", "dist"]).envs(flags(root)?);
        folder.push("dist");
    }
    build.arg("--target-dir").arg(target_folder);
    succeed(build)?;
    let built = folder.join(system.built_name());
    if built.is_file() { Ok(built) } else { Err(StageError::NotBuilt(built)) }
}

/// Flags that keep folders of this machine out of the texts of panics.
fn flags(root: &Path) -> Result<BTreeMap<&'static str, OsString>, StageError> {
    let mut flags: Vec<String> = std::env::var("RUSTFLAGS")
        .unwrap_or_default()
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    flags.push(format!("--remap-path-prefix={}=cargo", cargo_home()?.display()));
    flags.push(format!("--remap-path-prefix={}=licence", root.display()));
    Ok(BTreeMap::from([("CARGO_ENCODED_RUSTFLAGS", flags.join(SEPARATOR).into())]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_carry_version_and_system() {
        let names: Vec<_> = SYSTEMS.iter().map(|system| system.file_name("4.0.1-rc.1")).collect();
        assert_eq!(
            names,
            [
                "licenceaddin_4_0_1_rc_1_win32.dll",
                "licenceaddin_4_0_1_rc_1_win64.dll",
                "licenceaddin_4_0_1_rc_1_lin32.so",
                "licenceaddin_4_0_1_rc_1_lin64.so",
                "licenceaddin_4_0_1_rc_1_linarm64.so",
            ]
        );
    }

    #[test]
    fn target_that_is_not_installed_is_not_taken_for_one() {
        assert!(is_installed(&host_target().unwrap()).unwrap());
        assert!(!is_installed("no-such-target").unwrap());
    }

    #[test]
    fn template_of_nothing_is_an_error() {
        assert!(pack("4.0.0", Vec::new()).is_err());
    }
}
