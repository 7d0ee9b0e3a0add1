//! `cargo xtask demo`: the main job from nothing, with the real programs.
//!
//! This file prepares the stage and ends the show; the acts are in [`play()`].

mod play;

use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use crate::build::{self, say};
use crate::stage::{Stage, StageError, write_file};

pub use play::{file_session, play, server_session};

/// The manual's port.
const DEFAULT_PORT: u16 = 9099;

/// Marks a folder as made by the demo, so that a later run may empty it.
const MARKER: &str = ".licence-demo";

/// What the demo makes in its folder, and all that it ever removes from one.
const MADE: [&str; 5] = ["computer", "output", "primary", "reserve", "vendor"];

/// Arguments of `cargo xtask demo`.
#[derive(clap::Args, Clone, Debug)]
pub struct DemoArgs {
    /// End after the last act; the exit code is 0 only if all of it held.
    #[arg(long)]
    pub once: bool,
    /// Folder to play in; without it a temporary one.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Port of the primary server.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_PORT,
        value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,
}

/// Builds, plays and ends.
///
/// # Errors
///
/// When a step does not hold; the message names it.
pub fn run(args: &DemoArgs, out: &mut dyn Write) -> Result<(), StageError> {
    build::run(out)?;
    check_port(args.port)?;
    let stage = match &args.data {
        Some(folder) => prepare(folder)?,
        None => Stage::temporary()?,
    };
    play(&stage, args.port, out, |out, console| {
        if args.once {
            return Ok(());
        }
        say(out, &format!("\nThe console is at {console} (admin, admin). Ctrl-C ends the demo."))?;
        wait_for_ctrl_c()
    })
}

/// A stage in a folder of the user's choice: a missing or empty one, or one of an earlier demo,
/// of which only what the demo made is removed.
///
/// # Errors
///
/// When the folder holds something else, or cannot be written.
pub fn prepare(folder: &Path) -> Result<Stage, StageError> {
    let marker = folder.join(MARKER);
    if marker.is_file() {
        for name in MADE {
            let path = folder.join(name);
            if path.exists() {
                std::fs::remove_dir_all(&path).map_err(|why| StageError::io(&path, why))?;
            }
        }
    } else if folder.exists() {
        let mut entries = std::fs::read_dir(folder).map_err(|why| StageError::io(folder, why))?;
        if entries.next().is_some() {
            return Err(StageError::failed(format!(
                "{} is not empty and was not made by the demo; choose another folder",
                folder.display()
            )));
        }
    }
    let stage = Stage::at(folder)?;
    write_file(&marker, "made by `cargo xtask demo`, which may empty this folder\n")?;
    Ok(stage)
}

fn check_port(port: u16) -> Result<(), StageError> {
    // The standard library sets SO_REUSEADDR, so a run just before this one is no obstacle.
    TcpListener::bind(("127.0.0.1", port)).map(drop).map_err(|why| {
        StageError::failed(format!("port {port} cannot be used ({why}); name another by --port"))
    })
}

fn wait_for_ctrl_c() -> Result<(), StageError> {
    let failed = |why| StageError::io(Path::new("Ctrl-C"), why);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    runtime
        .block_on(async {
            let mut term =
                tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
            tokio::select! {
                pressed = tokio::signal::ctrl_c() => pressed,
                _ = term.recv() => Ok(()),
            }
        })
        .map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_folder_is_refused_and_untouched() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("primary");
        std::fs::write(&file, "mine").unwrap();
        assert!(prepare(folder.path()).unwrap_err().to_string().contains("not empty"));
        assert_eq!(std::fs::read(&file).unwrap(), b"mine");
    }

    #[test]
    fn folder_of_an_earlier_run_is_emptied_of_what_the_demo_made_only() {
        let folder = tempfile::tempdir().unwrap();
        drop(prepare(folder.path()).unwrap());
        let (made, mine) = (folder.path().join("primary"), folder.path().join("mine"));
        std::fs::create_dir(&made).unwrap();
        std::fs::write(&mine, "mine").unwrap();
        drop(prepare(folder.path()).unwrap());
        assert!(!made.exists() && mine.exists());
    }

    #[test]
    fn taken_port_is_named_together_with_the_way_out() {
        let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let error = check_port(taken.local_addr().unwrap().port()).unwrap_err().to_string();
        assert!(error.contains("--port"), "{error}");
    }
}
