//! Building twice: here and in a copy of the same commit in another folder, with another target folder.
//!
//! Only calls `cargo xtask dist` and compares what it made. What a build needs is `dist`'s own business.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;

use super::compare;
use crate::build::{cargo, say, shown, succeed, workspace};
use crate::stage::{Bins, StageError};

/// Arguments of `dist twice`.
#[derive(Args, Debug)]
pub struct TwiceArgs {
    /// What `cargo xtask dist` is called with both times, after `--`: for example `-- --test`.
    #[arg(last = true)]
    pub dist: Vec<String>,
    /// A folder for both; `twice` in the target folder if it is not given. Emptied before.
    #[arg(long)]
    pub work: Option<PathBuf>,
}

/// Builds twice and compares.
///
/// # Errors
///
/// When the tree has changes that are not committed, a build fails or the packages differ.
pub fn run(args: &TwiceArgs, out: &mut dyn Write) -> Result<(), StageError> {
    let root = workspace()?;
    let work = args.work.clone().unwrap_or_else(|| match Bins::find() {
        Ok(bins) => bins.target().join("twice"),
        Err(_) => root.join("target").join("twice"),
    });
    if is_dirty(&root)? {
        return Err(StageError::failed(
            "the tree has changes that are not committed: the copy would not have them",
        ));
    }
    if work.exists() {
        std::fs::remove_dir_all(&work).map_err(|why| StageError::io(&work, why))?;
    }
    std::fs::create_dir_all(&work).map_err(|why| StageError::io(&work, why))?;
    // Of another length, so that a path that got into a file moves what comes after it.
    let copy = work.join("a-copy-of-the-workspace");
    let mut clone = Command::new("git");
    clone.args(["clone", "--quiet", "--no-hardlinks"]).arg(&root).arg(&copy);
    say(out, &format!("$ {}", shown(&clone)))?;
    succeed(clone)?;
    let (here, there) = (work.join("here"), work.join("there"));
    dist(&root, None, args, &here, out)?;
    dist(&copy, Some(&work.join("target")), args, &there, out)?;
    compare::run(&here, &there, out)
}

fn is_dirty(root: &Path) -> Result<bool, StageError> {
    let mut git = Command::new("git");
    git.current_dir(root).args(["status", "--porcelain", "--untracked-files=normal"]);
    let output = git.output().map_err(|why| StageError::io(Path::new("git"), why))?;
    if output.status.success() {
        Ok(!output.stdout.is_empty())
    } else {
        Err(StageError::failed(format!("`{}` ended with {}", shown(&git), output.status)))
    }
}

fn dist(
    root: &Path,
    target: Option<&Path>,
    args: &TwiceArgs,
    to: &Path,
    out: &mut dyn Write,
) -> Result<(), StageError> {
    let mut dist = cargo();
    dist.current_dir(root).args(["xtask", "dist"]).args(&args.dist).arg("--out").arg(to);
    if let Some(target) = target {
        dist.env("CARGO_TARGET_DIR", target);
    }
    say(out, &format!("$ {} (in {})", shown(&dist), root.display()))?;
    succeed(dist)
}
