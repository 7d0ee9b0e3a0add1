//! A guest: Debian's stock kernel in QEMU, in which tests have USB whatever the machine below.
//!
//! The kernel under a test run often has no USB and no loadable modules, so USB tests run in a guest:
//! [`prepare`] unpacks QEMU, a kernel and what else is not installed below cargo's target folder,
//! [`Image`] is the file system of a run, [`Guest`] runs it and reads its console. Nothing is
//! installed on the system and no device of it is touched. What a run proves is said by the tests
//! `token_guest` and `token_pcsc`.

mod image;
mod packages;
mod run;

use std::io::Write;
use std::path::{Path, PathBuf};

pub use image::Image;
pub use packages::{Kernel, Packages};
pub use run::{Guest, Report};

use crate::build::{self, say, succeed};
use crate::stage::{Bins, StageError};

/// The programs of the token tests: the peer, and the client under test.
#[derive(Clone, Debug)]
pub struct Programs {
    /// `token-peer`: a maker's PIV firmware behind VSC, vpcd and USB/IP.
    pub peer: PathBuf,
    /// `token_check`, the example of `licence-token`.
    pub check: PathBuf,
}

impl Programs {
    /// The programs that [`prepare`] has built.
    ///
    /// # Errors
    ///
    /// When one is not built.
    pub fn find(bins: &Bins) -> Result<Self, StageError> {
        let there = |path: PathBuf| {
            if path.is_file() {
                return Ok(path);
            }
            Err(StageError::failed(format!(
                "{} is not built; run `cargo xtask guest`",
                path.display()
            )))
        };
        Ok(Self {
            peer: there(peer_target(bins.target()).join("debug").join("token-peer"))?,
            check: there(bins.folder().join("examples").join("token_check"))?,
        })
    }
}

/// The target folder of the peer's workspace, below that of ours.
fn peer_target(target: &Path) -> PathBuf {
    target.join("token-peer")
}

/// Unpacks the packages and builds the programs, saying what it does.
///
/// # Errors
///
/// When packages cannot be had, or a compiler is missing or refuses.
pub fn prepare(root: &Path, bins: &Bins, out: &mut dyn Write) -> Result<(), StageError> {
    packages::prepare(bins.target(), out)?;
    say(out, "building token-peer and token_check; from nothing this takes some minutes")?;
    let mut peer = build::cargo();
    peer.current_dir(root.join("token-peer")).args(["build", "--quiet", "--locked"]);
    peer.arg("--target-dir").arg(peer_target(bins.target()));
    succeed(peer)?;
    let mut check = build::cargo();
    check.current_dir(root).args(["build", "--quiet", "--locked", "--package", "licence-token"]);
    check.args(["--example", "token_check", "--target-dir"]).arg(bins.target());
    if bins.folder().file_name().is_some_and(|profile| profile == "release") {
        check.arg("--release");
    }
    succeed(check)
}
