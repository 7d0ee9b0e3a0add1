//! What makes finished packages a release: checksums, lists of components, a signature, and the checks
//! that a receiver and a releaser make.
//!
//! Builds and packs nothing, uploads nothing, and makes no key: it works on folders of finished files.
//! [`finish`] adds to such a folder, [`verify`] and [`compare`] only read.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::target::Job;
use crate::build::{say, workspace};
use crate::stage::StageError;

pub mod changelog;
pub mod compare;
pub mod sbom;
pub mod signature;
pub mod sums;
pub mod twice;

/// Commands about finished packages.
#[derive(Debug, Subcommand)]
pub enum ReleaseCommand {
    /// Compare two folders of packages, down to what lies inside; fails when they differ.
    Compare {
        /// A folder.
        one: PathBuf,
        /// The same, made elsewhere.
        other: PathBuf,
    },
    /// Check that a tag fits the version, and that CHANGELOG.md says when it came out.
    Tag {
        /// For example v4.0.0.
        tag: String,
        /// Write the version's section of CHANGELOG.md to this file.
        #[arg(long, value_name = "FILE")]
        notes: Option<PathBuf>,
    },
    /// Build twice, here and in a copy of the last commit elsewhere, and compare.
    Twice(twice::TwiceArgs),
    /// Check the sums of a folder of packages, and its signature when a key is given.
    Verify(VerifyArgs),
}

/// Arguments of `dist verify`.
#[derive(Args, Debug)]
pub struct VerifyArgs {
    /// Folder with SHA256SUMS.
    pub folder: PathBuf,
    /// The public key of the releases: a file as minisign writes it, or the 56 letters themselves.
    #[arg(long, value_name = "FILE|KEY")]
    pub public_key: Option<String>,
}

/// Carries out a command.
///
/// # Errors
///
/// When something is not as it must be.
pub fn run(command: &ReleaseCommand, out: &mut dyn Write) -> Result<(), StageError> {
    match command {
        ReleaseCommand::Compare { one, other } => compare::run(one, other, out),
        ReleaseCommand::Tag { tag, notes } => {
            let section = changelog::tag(&workspace()?, tag)?;
            if let Some(file) = notes {
                std::fs::write(file, &section.text).map_err(|why| StageError::io(file, why))?;
            }
            say(
                out,
                &format!("{tag} is the version of the workspace, its section {}", section.state),
            )
        }
        ReleaseCommand::Twice(args) => twice::run(args, out),
        ReleaseCommand::Verify(args) => verify(&args.folder, args.public_key.as_deref(), out),
    }
}

/// Adds lists of components, `SHA256SUMS` and its signature to finished packages, which lie in
/// `job.out`. Gives the files that it wrote.
///
/// Without a key (see [`signature::Key::from_environment`]) nothing is signed, and it says so.
///
/// # Errors
///
/// When a package does not lie in `job.out`, cargo does not name the components, or the key cannot
/// be used.
pub fn finish(
    job: &Job<'_>,
    packages: &[PathBuf],
    out: &mut dyn Write,
) -> Result<Vec<PathBuf>, StageError> {
    finish_with(job, packages, signature::Key::from_environment()?.as_ref(), out)
}

/// The same with this key.
///
/// # Errors
///
/// As [`finish`].
pub fn finish_with(
    job: &Job<'_>,
    packages: &[PathBuf],
    key: Option<&signature::Key>,
    out: &mut dyn Write,
) -> Result<Vec<PathBuf>, StageError> {
    let mut written = sbom::write_all(job)?;
    for file in &written {
        say(out, &file.display().to_string())?;
    }
    let all: Vec<_> = packages.iter().chain(&written).map(PathBuf::as_path).collect();
    let sums = sums::write(job.out, &all)?;
    say(out, &sums.display().to_string())?;
    // A signature of another day's sums would only confuse.
    let signature = job.out.join(signature::NAME);
    match std::fs::remove_file(&signature) {
        Err(why) if why.kind() != std::io::ErrorKind::NotFound => {
            return Err(StageError::io(&signature, why));
        }
        _ => {}
    }
    written.push(sums.clone());
    match key {
        Some(key) => {
            key.sign(&sums, job, &signature)?;
            say(out, &signature.display().to_string())?;
            written.push(signature);
        }
        None => say(
            out,
            &format!("not signed: {} names no secret key (docs/release.md)", signature::KEY_FILE),
        )?,
    }
    Ok(written)
}

/// Checks a folder of packages, telling all faults.
///
/// # Errors
///
/// When a file is missing, changed or not listed, or the signature is not by this key.
pub fn verify(
    folder: &Path,
    public_key: Option<&str>,
    out: &mut dyn Write,
) -> Result<(), StageError> {
    let sums = folder.join(sums::NAME);
    let signature = folder.join(signature::NAME);
    match public_key {
        Some(key) => {
            let comment = signature::verify(&sums, &signature, key)?;
            say(out, &format!("{}: signed, {comment}", sums::NAME))?;
        }
        None => {
            let what = if signature.exists() { "signature not checked" } else { "not signed" };
            say(out, &format!("{}: {what}, no public key was given", sums::NAME))?;
        }
    }
    let report = sums::check(folder)?;
    for name in &report.fine {
        say(out, &format!("{name}: as listed"))?;
    }
    for fault in &report.faults {
        say(out, fault)?;
    }
    if report.faults.is_empty() {
        Ok(())
    } else {
        Err(StageError::failed(format!(
            "{}: {} of {} files are not as listed",
            folder.display(),
            report.faults.len(),
            report.faults.len() + report.fine.len()
        )))
    }
}
