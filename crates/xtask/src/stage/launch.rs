//! How a program of ours is started, where that matters: what is in its environment, and through what.
//!
//! Which program it is its owner knows.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Machine, Netns, Stage, StageError, program};

/// Where Debian and others keep libfaketime.
const FAKETIME_FOLDERS: [&str; 4] =
    ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"];

/// Its library for programs with threads first.
const FAKETIME_NAMES: [&str; 2] = ["faketime/libfaketimeMT.so.1", "faketime/libfaketime.so.1"];

/// How a program is started; plainly, unless told otherwise.
#[derive(Clone, Debug, Default)]
pub struct Launch {
    environment: Vec<(String, OsString)>,
    wrapper: Vec<String>,
}

impl Launch {
    /// With a variable in its environment.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// On another computer.
    #[must_use]
    pub fn on(mut self, machine: &Machine) -> Self {
        self.wrapper.extend(machine.entrance());
        self
    }

    /// On a computer of this network, which may be another [`Machine`] too.
    #[must_use]
    pub fn within(mut self, network: &Netns, place: u8) -> Self {
        self.wrapper.splice(0..0, network.entrance(place));
        self
    }

    /// With a UTC that is shifted as the file says (`+30d`), which may change while the program runs;
    /// nothing when this computer has no libfaketime. The clock that nobody sets stays real.
    #[must_use]
    pub fn shifted_by(self, file: &Path) -> Option<Self> {
        Some(self.lived_through(file)?.with("FAKETIME_DONT_FAKE_MONOTONIC", "1"))
    }

    /// The same with all clocks, as if the time had passed.
    #[must_use]
    pub fn lived_through(self, file: &Path) -> Option<Self> {
        let faked = self
            .with("LD_PRELOAD", faketime()?)
            .with("FAKETIME_TIMESTAMP_FILE", file)
            .with("FAKETIME_NO_CACHE", "1");
        Some(faked)
    }

    /// A call of one of our programs.
    ///
    /// # Errors
    ///
    /// When it is not built.
    pub fn program(&self, stage: &Stage, name: &str) -> Result<Command, StageError> {
        Ok(self.command(&stage.bins().file(name)?))
    }

    /// The command for a program of ours.
    pub(super) fn command(&self, path: &Path) -> Command {
        let mut command = match self.wrapper.split_first() {
            Some((wrapper, arguments)) => {
                let mut command = program(Path::new(wrapper));
                command.args(arguments).arg(path);
                command
            }
            None => program(path),
        };
        for (name, value) in &self.environment {
            command.env(name, value);
        }
        command
    }
}

fn faketime() -> Option<PathBuf> {
    let places = FAKETIME_FOLDERS
        .iter()
        .flat_map(|folder| FAKETIME_NAMES.iter().map(|name| Path::new(folder).join(name)));
    places.into_iter().find(|path| path.exists())
}
