//! One child process: its lines, its end, and that it never outlives us.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use super::{StageError, wait_until};
use crate::clock;

/// Lines of a child that wait to be read. Ours print one line per command or one at start; more
/// blocks the child, and then the bound of the wait reports it.
const LINES_WAITING_MAX: usize = 1024;

/// How much of a child's standard error an error message shows, in bytes from its end.
const TAIL_BYTES_MAX: usize = 2000;

/// A running child. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    stderr: PathBuf,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts `command`. Its standard error goes to `NAME.stderr` in `logs`.
    ///
    /// # Errors
    ///
    /// When the file cannot be made or the program cannot be started.
    pub fn start(name: &str, mut command: Command, logs: &Path) -> Result<Self, StageError> {
        let stderr = logs.join(format!("{name}.stderr"));
        let errors = File::options()
            .create(true)
            .append(true)
            .open(&stderr)
            .map_err(|why| StageError::io(&stderr, why))?;
        // Of a group of its own, so that Ctrl-C reaches us alone and we end it in order.
        command.process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors);
        let prepare = || {
            // A child of a test that was itself killed must not stay behind.
            // SAFETY: plain system call with constant arguments.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            Ok(())
        };
        // SAFETY: between fork and exec only `prctl` is called, which is async-signal-safe.
        unsafe { command.pre_exec(prepare) };
        let mut child =
            command.spawn().map_err(|why| StageError::io(Path::new(command.get_program()), why))?;
        let stdin = child.stdin.take();
        let (sender, lines) = sync_channel(LINES_WAITING_MAX);
        if let Some(stdout) = child.stdout.take() {
            // Ends with the child: at the end of its output, or when nobody listens.
            std::thread::spawn(move || {
                for line in BufReader::new(stdout).lines() {
                    let Ok(line) = line else { break };
                    if sender.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        Ok(Self { name: name.to_owned(), child, stdin, lines, stderr, ended: None })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The file with its standard error.
    pub fn stderr(&self) -> &Path {
        &self.stderr
    }

    /// The next line of its standard output.
    ///
    /// # Errors
    ///
    /// When none comes within `bound` or its output has ended; the message shows the end of its
    /// standard error.
    pub fn line(&self, bound: Duration) -> Result<String, StageError> {
        self.lines.recv_timeout(bound).map_err(|why| match why {
            RecvTimeoutError::Timeout => self.failed(&format!("printed no line in {bound:?}")),
            RecvTimeoutError::Disconnected => self.failed("ended its output"),
        })
    }

    /// The next line of its standard output, if there is one already.
    pub fn line_at_hand(&self) -> Option<String> {
        self.lines.try_recv().ok()
    }

    /// The next line that contains `part`.
    ///
    /// # Errors
    ///
    /// As [`Self::line`].
    pub fn line_with(&self, part: &str, bound: Duration) -> Result<String, StageError> {
        let start = clock::now();
        loop {
            let left = bound.saturating_sub(clock::now().duration_since(start));
            let line = self.line(left)?;
            if line.contains(part) {
                return Ok(line);
            }
        }
    }

    /// Writes one line to its standard input.
    ///
    /// # Errors
    ///
    /// When it has none any more.
    pub fn write_line(&mut self, line: &str) -> Result<(), StageError> {
        let written = match &mut self.stdin {
            Some(stdin) => stdin
                .write_all(line.as_bytes())
                .and_then(|()| stdin.write_all(b"\n"))
                .and_then(|()| stdin.flush()),
            None => Err(std::io::ErrorKind::BrokenPipe.into()),
        };
        written.map_err(|why| self.failed(&format!("does not read: {why}")))
    }

    /// Closes its standard input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Whether it has ended.
    ///
    /// # Errors
    ///
    /// When the system does not say.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, StageError> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().map_err(|why| StageError::io(&self.stderr, why))?;
        }
        Ok(self.ended)
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// When it has not ended within `bound`.
    pub fn wait(&mut self, bound: Duration) -> Result<ExitStatus, StageError> {
        let what = format!("the end of {}", self.name);
        wait_until(bound, &what, || self.ended())
    }

    /// Sends a signal.
    ///
    /// # Errors
    ///
    /// When it has ended already.
    pub fn signal(&mut self, signal: i32) -> Result<(), StageError> {
        if self.ended()?.is_some() {
            return Err(self.failed("has ended already"));
        }
        let pid = libc::pid_t::try_from(self.child.id()).unwrap_or(libc::pid_t::MAX);
        // SAFETY: plain system call; the child has not been waited for, so the id is still its.
        if unsafe { libc::kill(pid, signal) } == 0 {
            Ok(())
        } else {
            Err(StageError::io(Path::new(&self.name), std::io::Error::last_os_error()))
        }
    }

    /// `kill -9`, and waits for the end.
    ///
    /// # Errors
    ///
    /// When it had ended already.
    pub fn kill(&mut self) -> Result<(), StageError> {
        self.signal(libc::SIGKILL)?;
        self.ended = Some(self.child.wait().map_err(|why| StageError::io(&self.stderr, why))?);
        Ok(())
    }

    /// Asks it to end (SIGTERM) and checks that it does, with exit code 0.
    ///
    /// # Errors
    ///
    /// When it does not end within `bound`, or otherwise than with 0.
    pub fn stop(&mut self, bound: Duration) -> Result<(), StageError> {
        self.signal(libc::SIGTERM)?;
        let status = self.wait(bound)?;
        if status.success() {
            Ok(())
        } else {
            Err(self.failed(&match (status.code(), status.signal()) {
                (Some(code), _) => format!("ended with exit code {code}"),
                (None, signal) => format!("ended by signal {signal:?}"),
            }))
        }
    }

    /// An error about this process, with the end of its standard error.
    pub fn failed(&self, what: &str) -> StageError {
        let bytes = std::fs::read(&self.stderr).unwrap_or_default();
        let tail = bytes.len().saturating_sub(TAIL_BYTES_MAX);
        let tail = String::from_utf8_lossy(&bytes[tail..]).trim().to_owned();
        StageError::Process { name: self.name.clone(), what: what.to_owned(), stderr: tail }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.ended(), Ok(Some(_))) {
            return;
        }
        // Nothing can be done about a failure here; the death signal remains.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_secs(20);

    fn shell(script: &str, logs: &Path) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::start("shell", command, logs).unwrap()
    }

    #[test]
    fn lines_go_in_and_out_and_the_end_is_seen() {
        let logs = tempfile::tempdir().unwrap();
        let mut process = shell("read a; echo noise; echo got $a", logs.path());
        process.write_line("it").unwrap();
        assert_eq!(process.line_with("got", BOUND).unwrap(), "got it");
        assert!(process.wait(BOUND).unwrap().success());
        assert!(process.line(BOUND).unwrap_err().to_string().contains("ended its output"));
    }

    #[test]
    fn stop_tells_an_orderly_end_from_another_and_shows_what_was_said() {
        let logs = tempfile::tempdir().unwrap();
        let mut orderly =
            shell("trap 'exit 0' TERM; echo up; while :; do read a; done", logs.path());
        orderly.line(BOUND).unwrap();
        orderly.close_stdin();
        orderly.stop(BOUND).unwrap();
        let mut other = shell("echo broken >&2; echo up; read a", logs.path());
        other.line(BOUND).unwrap();
        let error = other.stop(BOUND).unwrap_err().to_string();
        assert!(error.contains("signal") && error.contains("broken"), "{error}");
    }
}
