//! One run of a guest: QEMU is started, its console read line by line, its end awaited.
//!
//! QEMU's own exit code says nothing about the test; what the console says does, and a line that does
//! not come is a failure.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::image::Image;
use super::packages::Packages;
use crate::clock;
use crate::stage::{Process, StageError};

/// Bound of one run. A guest takes 7 to 20 s; a busy machine without acceleration takes some times that.
const RUN_BOUND: Duration = Duration::from_secs(150);

/// Memory of a guest in MiB: the kernel and the largest file system, with room.
const MEMORY_MIB: &str = "192";

/// The kernel's words: console on the serial line, silent so that its messages do not cut through
/// lines of the test, and a panic ends the guest at once.
const KERNEL_WORDS: &str = "console=ttyS0 quiet loglevel=0 panic=-1";

/// How many lines of the console an error shows.
const CONSOLE_LINES_SHOWN: usize = 40;

/// A guest that is set up and not yet started.
#[derive(Debug)]
pub struct Guest {
    command: Command,
}

impl Guest {
    /// A guest with this file system, which runs this script.
    ///
    /// # Errors
    ///
    /// When QEMU is missing or the file system cannot be packed.
    pub fn new(packages: &Packages, image: &Image, test: &str) -> Result<Self, StageError> {
        let mut command = packages.qemu()?;
        // Hardware acceleration that seems to be there may hang (a guest within a guest). A processor
        // without its own random numbers would make the guest wait for entropy for ever.
        command.args(["-M", "q35", "-accel", "tcg", "-cpu", "max", "-m", MEMORY_MIB]);
        command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
        command.args(["-serial", "stdio", "-kernel"]).arg(&image.kernel().image);
        command.arg("-initrd").arg(image.pack(test)?).args(["-append", KERNEL_WORDS]);
        Ok(Self { command })
    }

    /// Adds a USB 3 controller.
    pub fn usb(&mut self) {
        self.command.args(["-device", "qemu-xhci,id=usb"]);
    }

    /// Adds QEMU's CCID reader with the card that listens on this socket; `name` is of letters and
    /// digits and names it among the devices.
    pub fn reader(&mut self, name: &str, socket: &Path) {
        self.command.arg("-chardev").arg(format!("socket,id=card{name},path={}", socket.display()));
        self.command.arg("-device").arg(format!("usb-ccid,id=reader{name},bus=usb.0"));
        self.command
            .arg("-device")
            .arg(format!("ccid-card-passthru,chardev=card{name},bus=reader{name}.0"));
    }

    /// Runs it to its end; QEMU's errors go to `logs`.
    ///
    /// # Errors
    ///
    /// When it does not end by itself within the bound or its test did not run to its end.
    pub fn run(self, name: &str, logs: &Path) -> Result<Report, StageError> {
        let mut qemu = Process::start(name, self.command, logs)?;
        let start = clock::now();
        let mut report = Report::default();
        loop {
            let left = RUN_BOUND.saturating_sub(clock::now().duration_since(start));
            match qemu.line(left) {
                Ok(line) => {
                    report.came.push(clock::now().duration_since(start));
                    report.lines.push(line.trim_end().to_owned());
                }
                Err(why) => {
                    let waited = qemu.wait(left);
                    return match report.exit_code() {
                        Some(_) if waited.is_ok() => Ok(report),
                        Some(_) | None => Err(StageError::failed(format!("{why}; {report}"))),
                    };
                }
            }
        }
    }
}

/// What the console of a guest said.
#[derive(Clone, Debug, Default)]
pub struct Report {
    lines: Vec<String>,
    /// How long after the start each line came; for people who look for what takes so long.
    came: Vec<Duration>,
}

impl Report {
    /// The lines.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// How the test ended.
    pub fn exit_code(&self) -> Option<i32> {
        self.values("guest: exit ").last().and_then(|code| code.parse().ok())
    }

    /// What stands behind this word on the lines that begin with it.
    pub fn values(&self, word: &str) -> impl Iterator<Item = &str> {
        self.lines.iter().filter_map(move |line| line.strip_prefix(word))
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "the console ends (seconds from QEMU's start):")?;
        let from = self.lines.len().saturating_sub(CONSOLE_LINES_SHOWN);
        for (line, came) in self.lines.iter().zip(&self.came).skip(from) {
            writeln!(f, "{:6.2} {line}", came.as_secs_f64())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(text: &str) -> Report {
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        let came = vec![Duration::ZERO; lines.len()];
        Report { lines, came }
    }

    #[test]
    fn exit_code_is_that_of_the_last_line_that_tells_one() {
        assert_eq!(report("guest: up\nguest: exit 3").exit_code(), Some(3));
        assert_eq!(report("guest: up\nstep x ok").exit_code(), None);
        assert_eq!(report("guest: exit x").exit_code(), None);
    }

    #[test]
    fn values_of_a_word_come_in_order() {
        let report = report("step a ok\nnoise step\nstep b ok");
        assert_eq!(report.values("step ").collect::<Vec<_>>(), ["a ok", "b ok"]);
    }
}
