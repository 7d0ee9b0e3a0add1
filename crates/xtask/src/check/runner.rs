//! Runs a command, shows its output as it comes, and counts tests in it.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};

use crate::build::{say, shown};
use crate::stage::StageError;

/// Lines that wait to be shown; a full channel slows the command down, nothing is lost.
const LINES_WAITING_MAX: usize = 1024;

/// How many passed and failed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Counts {
    pub(super) passed: u64,
    pub(super) failed: u64,
}

impl Counts {
    pub(super) const fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// What came of a check.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Outcome {
    pub(super) counts: Counts,
    pub(super) failure: Option<String>,
}

impl Outcome {
    pub(super) const fn passed() -> Self {
        Self { counts: Counts { passed: 1, failed: 0 }, failure: None }
    }

    pub(super) const fn failed(why: String) -> Self {
        Self { counts: Counts { passed: 0, failed: 1 }, failure: Some(why) }
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.counts.add(other.counts);
        self.failure = self.failure.take().or(other.failure);
    }
}

/// Runs a command that passes as a whole.
pub(super) fn check(command: Command, out: &mut dyn Write) -> Result<Outcome, StageError> {
    let name = shown(&command);
    let (_, success) = run(command, out)?;
    Ok(if success { Outcome::passed() } else { Outcome::failed(format!("`{name}`")) })
}

/// Runs a command that runs tests, and counts them.
pub(super) fn tests(command: Command, out: &mut dyn Write) -> Result<Outcome, StageError> {
    let name = shown(&command);
    let (counts, success) = run(command, out)?;
    Ok(judge(&name, counts, success))
}

fn judge(name: &str, mut counts: Counts, success: bool) -> Outcome {
    let failure = if !success || counts.failed > 0 {
        // A failure that is no test, such as a compiler's, must not vanish from the sum.
        counts.failed = counts.failed.max(1);
        Some(format!("`{name}`"))
    } else {
        None
    };
    Outcome { counts, failure }
}

fn run(mut command: Command, out: &mut dyn Write) -> Result<(Counts, bool), StageError> {
    say(out, &format!("$ {}", shown(&command)))?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|why| StageError::io(Path::new(command.get_program()), why))?;
    let (sender, lines) = sync_channel(LINES_WAITING_MAX);
    if let Some(stdout) = child.stdout.take() {
        forward(stdout, sender.clone());
    }
    if let Some(stderr) = child.stderr.take() {
        forward(stderr, sender);
    } else {
        drop(sender);
    }
    let mut counts = Counts::default();
    for line in lines {
        say(out, &line)?;
        if let Some(found) = counted(&line) {
            counts.add(found);
        }
    }
    let status =
        child.wait().map_err(|why| StageError::io(Path::new(command.get_program()), why))?;
    Ok((counts, status.success()))
}

fn forward(stream: impl Read + Send + 'static, lines: SyncSender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
            if lines.send(line).is_err() {
                break;
            }
        }
    });
}

/// The counts in a summary of `cargo nextest` (`Summary [ 3.2s] 9 tests run: 8 passed, 1 failed,
/// 2 skipped`) or of `cargo test` (`test result: ok. 8 passed; 1 failed; 0 ignored; …`).
fn counted(line: &str) -> Option<Counts> {
    // What a test printed is shown further to the right, its own result among it.
    let summary = match line.strip_prefix("test result:") {
        Some(rest) => rest,
        None if line.trim_start().starts_with("Summary [") => line.split_once(" run:")?.1,
        None => return None,
    };
    let mut counts = Counts::default();
    let words: Vec<_> =
        summary.split([' ', ',', ';', '(', ')']).filter(|w| !w.is_empty()).collect();
    for pair in words.windows(2) {
        let Ok(number) = pair[0].parse::<u64>() else { continue };
        match pair[1] {
            "passed" => counts.passed += number,
            // nextest tells failures, aborts and time-outs apart.
            "failed" | "exec" => counts.failed += number,
            "timed" => counts.failed += number,
            _ => {}
        }
    }
    Some(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_of_both_runners_are_counted() {
        for (line, passed, failed) in [
            ("     Summary [   3.210s] 9 tests run: 9 passed, 2 skipped", 9, 0),
            (
                "     Summary [   3.210s] 9 tests run: 7 passed (1 slow), 1 failed, 1 timed out",
                7,
                2,
            ),
            ("test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 3 filtered out", 12, 0),
            ("test result: FAILED. 1 passed; 2 failed; 0 ignored", 1, 2),
        ] {
            assert_eq!(counted(line), Some(Counts { passed, failed }), "{line}");
        }
        assert_eq!(counted("running 9 tests"), None);
        assert_eq!(
            counted("    test result: FAILED. 0 passed; 1 failed"),
            None,
            "it is in the summary"
        );
    }

    #[test]
    fn compiler_that_fails_before_any_test_counts_as_a_failure() {
        let outcome = judge("cargo", Counts::default(), false);
        assert_eq!(outcome.counts.failed, 1);
        assert!(outcome.failure.is_some());
    }

    #[test]
    fn output_of_both_streams_is_shown_and_counted() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo 'test result: ok. 2 passed; 0 failed'; echo oops >&2; exit 3"]);
        let mut out = Vec::new();
        let outcome = tests(command, &mut out).unwrap();
        assert_eq!(outcome.counts, Counts { passed: 2, failed: 1 });
        assert!(String::from_utf8(out).unwrap().contains("oops"));
    }
}
