//! `cargo xtask dist`: what is given to others.
//!
//! Without a subcommand it makes everything: [`toolchain`] gets the compilers, [`cross`] builds for each
//! system and [`image`] checks what came out, then packages ([`deb`], [`rpm`]), installers ([`nsis`]), the
//! template ([`bundle`], [`check`]) and archives ([`archives`]) are packed, and [`release`] adds what a
//! release consists of beside them. Nothing here uploads.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::{Args, Subcommand};

use crate::build::{say, workspace};
use crate::clock;
use crate::stage::{Bins, StageError, make_folder};

use target::{Built, Job, Platform};
use toolchain::Toolchain;

pub mod archives;
pub mod bundle;
pub mod check;
pub mod contents;
pub mod cross;
pub mod deb;
pub mod image;
pub mod nsis;
pub mod packed;
pub mod release;
pub mod rpm;
pub mod target;
pub mod toolchain;
pub mod tree;

/// Environment variable with the moment that packed files carry, in seconds since 1970.
const MOMENT_VARIABLE: &str = "SOURCE_DATE_EPOCH";

/// The programs that packages and archives are made of, and the component.
const PACKAGES: [&str; 4] = ["licenceserver", "licencecentre", "licencekit", cross::COMPONENT];

/// What tests install, for which systems. The others are built by every release.
const TESTED: [(Platform, &[&str]); 3] = [
    (Platform::Linux32, &["licenceserver", cross::COMPONENT]),
    (Platform::Windows32, &["licenceserver", cross::COMPONENT]),
    (Platform::Windows64, &[cross::COMPONENT]),
];

/// Arguments of `dist`.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct DistArgs {
    #[command(flatten)]
    all: AllArgs,
    #[command(subcommand)]
    command: Option<DistCommand>,
}

/// Arguments of `dist` without a subcommand: everything that is given to others.
#[derive(Args, Clone, Debug, Default)]
pub struct AllArgs {
    /// What tests install: quickly built, for 32-bit Linux and Windows, without the vendor's programs.
    #[arg(long)]
    pub test: bool,
    /// For this system only; may be given several times.
    #[arg(long, value_name = "NAME", value_parser = platform)]
    pub platform: Vec<Platform>,
    /// Folder for what is made, which must be empty; `packages` in the target folder, emptied before, if
    /// it is not given.
    #[arg(long)]
    pub out: Option<PathBuf>,
}

fn platform(name: &str) -> Result<Platform, String> {
    Platform::ALL.into_iter().find(|platform| platform.name() == name).ok_or_else(|| {
        let names = Platform::ALL.map(Platform::name).join(", ");
        format!("no system that we build for; one of {names}")
    })
}

/// Commands.
#[derive(Debug, Subcommand)]
pub enum DistCommand {
    /// Build the component for every system and pack the template.
    Bundle(BundleArgs),
    /// Check a template: manifest, headers, exports, names.
    Check {
        /// licenceaddin-…-template.zip.
        file: PathBuf,
    },
    /// Checks of finished packages.
    #[command(flatten)]
    Release(release::ReleaseCommand),
}

/// Arguments of `dist bundle`.
#[derive(Args, Debug)]
pub struct BundleArgs {
    /// Folder for the template; `bundle` in the target folder if it is not given.
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Pack debug builds of the targets that this machine's own compiler has: quick, for tests.
    #[arg(long)]
    pub debug: bool,
    /// Build for this target only, by this machine's own compiler; may be given several times.
    #[arg(long)]
    pub target: Vec<String>,
}

/// Carries out what was asked for.
///
/// # Errors
///
/// When a build fails or something that was made has a fault.
pub fn run(args: &DistArgs, out: &mut dyn Write) -> Result<(), StageError> {
    match &args.command {
        None => all(&args.all, out).map(drop),
        Some(DistCommand::Bundle(args)) => bundle::run(args, out),
        Some(DistCommand::Check { file }) => check::run(file, out),
        Some(DistCommand::Release(command)) => release::run(command, out),
    }
}

/// The folder of finished packages below a target folder.
pub fn packages_folder(target: &Path) -> PathBuf {
    target.join("packages")
}

/// Builds and packs everything, saying what it does and how long each part took. Gives the files.
///
/// # Errors
///
/// When compilers cannot be had, a build fails or something that was made has a fault.
pub fn all(args: &AllArgs, out: &mut dyn Write) -> Result<Vec<PathBuf>, StageError> {
    let root = workspace()?;
    let target = std::path::absolute(Bins::find()?.target())
        .map_err(|why| StageError::io(Path::new("target"), why))?;
    let moment = moment(&root)?;
    let version = env!("CARGO_PKG_VERSION");
    if !args.test {
        // A release that says nothing of itself is refused before it is built.
        release::changelog::of_workspace(&root, version)?;
    }
    let folder = out_folder(args, &target)?;
    let wanted: Vec<(Platform, &[&str])> = if args.test {
        TESTED.to_vec()
    } else {
        Platform::ALL.map(|platform| (platform, &PACKAGES[..])).to_vec()
    };
    let is_asked =
        |platform: &Platform| args.platform.is_empty() || args.platform.contains(platform);
    let wanted: Vec<_> = wanted.into_iter().filter(|(platform, _)| is_asked(platform)).collect();
    if wanted.is_empty() {
        return Err(StageError::failed("nothing of these systems is made for tests"));
    }
    let profile = if args.test { cross::TEST_PROFILE } else { cross::PROFILE };
    let platforms: Vec<_> = wanted.iter().map(|(platform, _)| *platform).collect();
    let (toolchain, took) = clock::timed(|| Toolchain::prepare(&root, &target, &platforms, out));
    let toolchain = toolchain?;
    say(out, &format!("compilers: {:.0} s ({})", took.as_secs_f64(), toolchain.version()))?;
    let mut builds = Vec::new();
    for (platform, packages) in &wanted {
        let (built, took) =
            clock::timed(|| cross::build(&toolchain, &root, *platform, profile, packages, out));
        builds.push(built?);
        say(out, &format!("{}: {:.0} s", platform.name(), took.as_secs_f64()))?;
    }
    let work = toolchain.folder().join("packing");
    make_folder(&work)?;
    let job = Job { root: &root, work: &work, out: &folder, version, moment };
    let (made, took) = clock::timed(|| pack(&job, &builds, args.test, out));
    let made = made?;
    say(out, &format!("packing: {:.0} s", took.as_secs_f64()))?;
    Ok(made)
}

/// The folder for what is made, empty: what an older version or another profile has left there must
/// not pass for ours.
fn out_folder(args: &AllArgs, target: &Path) -> Result<PathBuf, StageError> {
    let folder = match &args.out {
        Some(folder) => std::path::absolute(folder).map_err(|why| StageError::io(folder, why))?,
        None => packages_folder(target),
    };
    let failed = |why| StageError::io(&folder, why);
    if args.out.is_none() && folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(failed)?;
    }
    make_folder(&folder)?;
    if std::fs::read_dir(&folder).map_err(failed)?.next().is_some() {
        return Err(StageError::failed(format!("{} is not empty", folder.display())));
    }
    Ok(folder)
}

/// Packs what was built.
fn pack(
    job: &Job<'_>,
    builds: &[Built],
    is_test: bool,
    out: &mut dyn Write,
) -> Result<Vec<PathBuf>, StageError> {
    let mut made = Vec::new();
    for built in builds.iter().filter(|built| !built.platform.is_windows()) {
        made.extend(deb::packages(job, built, out)?);
        made.extend(rpm::packages(job, built, out)?);
    }
    let windows: Vec<_> =
        builds.iter().filter(|built| built.platform.is_windows()).cloned().collect();
    if !windows.is_empty() {
        made.extend(nsis::installers(job, &windows, out)?);
    }
    made.push(bundle::of_builds(job, builds, out)?);
    if !is_test {
        for built in builds {
            made.extend(archives::archives(job, built, out)?);
        }
    }
    made.extend(release::finish(job, &made, out)?);
    Ok(made)
}

/// The moment of the last commit, so that two builds of it are the same.
fn moment(root: &Path) -> Result<u64, StageError> {
    let no_number = |text: &str| StageError::failed(format!("{text:?} is no moment in seconds"));
    if let Ok(text) = std::env::var(MOMENT_VARIABLE) {
        return text.trim().parse().map_err(|_| no_number(&text));
    }
    let output = Command::new("git")
        .arg("-C")
        .arg(root)
        .args(["log", "-1", "--format=%ct"])
        .stdin(Stdio::null())
        .output();
    match output {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            text.parse().map_err(|_| no_number(&text))
        }
        Ok(_) | Err(_) => Err(StageError::failed(format!(
            "neither git nor {MOMENT_VARIABLE} says when these sources were last changed"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Cli {
        #[command(flatten)]
        dist: DistArgs,
    }

    #[test]
    fn only_the_own_folder_of_packages_is_emptied() {
        let target = tempfile::tempdir().unwrap();
        let own = packages_folder(target.path());
        for folder in [own.clone(), target.path().join("theirs")] {
            std::fs::create_dir(&folder).unwrap();
            std::fs::write(folder.join("old"), "text").unwrap();
        }
        assert_eq!(out_folder(&AllArgs::default(), target.path()).unwrap(), own);
        assert!(!own.join("old").exists());
        let theirs = AllArgs { out: Some(target.path().join("theirs")), ..AllArgs::default() };
        let refused = out_folder(&theirs, target.path()).unwrap_err().to_string();
        assert!(refused.ends_with("is not empty"), "{refused}");
        assert!(target.path().join("theirs").join("old").exists());
    }

    #[test]
    fn command_line_tells_everything_from_one_step() {
        let parsed = |words: &[&str]| Cli::try_parse_from([&["dist"], words].concat());
        let all = parsed(&["--test", "--platform", "linux32"]).unwrap().dist;
        assert!(all.all.test && all.command.is_none());
        assert_eq!(all.all.platform, [Platform::Linux32]);
        assert!(parsed(&["bundle", "--debug"]).unwrap().dist.command.is_some());
        let refused = parsed(&["--platform", "beos"]).unwrap_err().to_string();
        assert!(refused.contains("windows32"), "{refused}");
        assert!(parsed(&["--test", "bundle"]).is_err());
    }
}
