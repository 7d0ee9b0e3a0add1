//! `cargo xtask dist`: what is given to others.
//!
//! So far the template bundle of the component: [`bundle`] builds and packs it, [`check`] reads one
//! that exists. Nothing here signs or uploads.

use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::stage::StageError;

pub mod bundle;
pub mod check;

/// Commands.
#[derive(Debug, Subcommand)]
pub enum DistCommand {
    /// Build the component for every target that is installed, and pack the template.
    Bundle(BundleArgs),
    /// Check a template: manifest, headers, exports, names.
    Check {
        /// licenceaddin-…-template.zip.
        file: PathBuf,
    },
}

/// Arguments of `dist bundle`.
#[derive(Args, Debug)]
pub struct BundleArgs {
    /// Folder for the template; `bundle` in the target folder if it is not given.
    #[arg(long)]
    pub out: Option<PathBuf>,
    /// Pack debug builds: quick, for tests.
    #[arg(long)]
    pub debug: bool,
    /// Build for this target only; may be given several times.
    #[arg(long)]
    pub target: Vec<String>,
}

/// Carries out a command.
///
/// # Errors
///
/// When a build fails or a template has a fault.
pub fn run(command: &DistCommand, out: &mut dyn Write) -> Result<(), StageError> {
    match command {
        DistCommand::Bundle(args) => bundle::run(args, out),
        DistCommand::Check { file } => check::run(file, out),
    }
}
