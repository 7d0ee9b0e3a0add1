//! The command of the settings that signs for people (`[ISMP] SignCommand`).
//!
//! A program and its arguments, without a shell: the challenge goes to its standard input, the
//! signature (DER, base64 or PEM) comes from its standard output. What it signs with is its own
//! affair. One that fails is not run again for a while, because a wrong PIN that is tried three times
//! locks a token.

use std::collections::BTreeMap;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use licence_core::time::MonoTime;
use licence_ismp::exchange::{SIGNATURE_BYTES_MAX, plain_signature};
use licence_ismp::{Inn, StoreKey};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;

use crate::config::INN_PLACE;

/// How long a signature may take: a token answers within seconds, and nobody types a PIN.
const SIGN_SECS_MAX: u64 = 30;

/// Signatures at one time: each is a process, and a token makes one after the other anyway.
const SIGNING_MAX: usize = 4;

/// How long a command that has failed is left alone for an organisation.
pub const FAILED_PAUSE: Duration = Duration::from_secs(10 * 60);

/// How long the command is left alone for a key for which it was run, and nothing came of it.
pub const SERVICE_PAUSE: Duration = Duration::from_secs(60);

/// Why there is no signature. What the program has printed is in none of these: it may be a PIN.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The program does not run.
    #[error("the signing command cannot be run: {0}")]
    Run(io::Error),
    /// It has failed.
    #[error("the signing command has failed: {0}")]
    Failed(ExitStatus),
    /// It has not ended in time.
    #[error("the signing command has not ended within {SIGN_SECS_MAX} s")]
    Slow,
    /// It has printed something else.
    #[error("the signing command has printed no signature")]
    NoSignature,
    /// The server stops.
    #[error("the server stops")]
    Stopped,
}

/// Until when the command is left alone.
#[derive(Debug, Default)]
struct Rests {
    /// It has failed for these.
    organizations: BTreeMap<Inn, MonoTime>,
    /// It has been run for these.
    keys: BTreeMap<StoreKey, MonoTime>,
}

/// Runs the command, and remembers for whom it has failed.
#[derive(Debug)]
pub struct Signer {
    turns: Semaphore,
    rests: Mutex<Rests>,
    bound: Duration,
}

impl Default for Signer {
    fn default() -> Self {
        Self {
            turns: Semaphore::new(SIGNING_MAX),
            rests: Mutex::default(),
            bound: Duration::from_secs(SIGN_SECS_MAX),
        }
    }
}

impl Signer {
    /// Whether the command may be run for a key at this moment.
    pub fn is_ready(&self, key: &StoreKey, now: MonoTime) -> bool {
        let rests = self.rests();
        let is_over = |until: Option<&MonoTime>| until.is_none_or(|until| now >= *until);
        is_over(rests.organizations.get(&key.organization)) && is_over(rests.keys.get(key))
    }

    /// Leaves the command alone for an organisation until a moment.
    pub fn rest(&self, inn: &Inn, until: MonoTime, now: MonoTime) {
        let mut rests = self.rests();
        rests.organizations.retain(|_, until| now < *until);
        rests.organizations.insert(inn.clone(), until);
    }

    /// Leaves the command alone for a key until a moment.
    pub fn rest_key(&self, key: &StoreKey, until: MonoTime, now: MonoTime) {
        let mut rests = self.rests();
        rests.keys.retain(|_, until| now < *until);
        rests.keys.insert(key.clone(), until);
    }

    /// The service has refused a key: another one may be had at once.
    pub fn forget_key(&self, key: &StoreKey) {
        self.rests().keys.remove(key);
    }

    /// Has a challenge signed; gives base64 without line breaks.
    ///
    /// # Errors
    ///
    /// See [`SignError`]. The program and whatever it has started is gone by then.
    pub async fn sign(
        &self,
        command: &[String],
        inn: &Inn,
        data: &str,
    ) -> Result<String, SignError> {
        let _turn = self.turns.acquire().await.map_err(|_| SignError::Stopped)?;
        let words: Vec<_> =
            command.iter().map(|word| word.replace(INN_PLACE, inn.as_str())).collect();
        let Some((program, arguments)) = words.split_first() else {
            return Err(SignError::Run(io::ErrorKind::NotFound.into()));
        };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        // Its own group, so that what it starts can be ended with it.
        #[cfg(unix)]
        command.process_group(0);
        let child = command.spawn().map_err(SignError::Run)?;
        let mut child = Group(child);
        let outcome = tokio::time::timeout(self.bound, converse(&mut child.0, data)).await;
        let (status, printed) = outcome.map_err(|_| SignError::Slow)?.map_err(SignError::Run)?;
        if !status.success() {
            return Err(SignError::Failed(status));
        }
        signature(&printed).ok_or(SignError::NoSignature)
    }

    fn rests(&self) -> MutexGuard<'_, Rests> {
        self.rests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A program that is ended, with all that it has started, when this goes.
struct Group(Child);

impl Drop for Group {
    #[cfg(unix)]
    #[expect(unsafe_code, reason = "no safe function ends a group of processes")]
    fn drop(&mut self) {
        // Of a program that has ended and was waited for, no id is left: the group may be another's.
        let Some(id) = self.0.id().and_then(|id| i32::try_from(id).ok()) else { return };
        // SAFETY: `kill` takes numbers alone; the group is of our own child, which was not waited for.
        unsafe { libc::kill(-id, libc::SIGKILL) };
    }

    #[cfg(not(unix))]
    fn drop(&mut self) {
        if let Err(error) = self.0.start_kill() {
            log::debug!("the signing command has ended by itself: {error}");
        }
    }
}

/// Gives the program the challenge and reads what it prints, as much as a signature may have.
async fn converse(child: &mut Child, data: &str) -> io::Result<(ExitStatus, Vec<u8>)> {
    let (input, output) = (child.stdin.take(), child.stdout.take());
    let write = async {
        if let Some(mut input) = input {
            match input.write_all(data.as_bytes()).await {
                // It need not read what it knows from elsewhere.
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
                _ => {}
            }
        }
        Ok(())
    };
    let read = async {
        let mut printed = Vec::new();
        if let Some(output) = output {
            output.take(SIGNATURE_BYTES_MAX as u64 + 1).read_to_end(&mut printed).await?;
        }
        Ok::<_, io::Error>(printed)
    };
    let (written, printed) = tokio::join!(write, read);
    written?;
    Ok((child.wait().await?, printed?))
}

/// What was printed as base64 without line breaks.
fn signature(printed: &[u8]) -> Option<String> {
    // A SEQUENCE, as every container begins with; no letter of base64 is one.
    const DER: u8 = 0x30;
    const LONG_FORM: u8 = 0x80;
    let is_der = printed.first() == Some(&DER) && printed.get(1).is_some_and(|b| *b >= LONG_FORM);
    if is_der {
        return (printed.len() <= SIGNATURE_BYTES_MAX / 4 * 3).then(|| STANDARD.encode(printed));
    }
    plain_signature(std::str::from_utf8(printed).ok()?)
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use crate::clock;

    fn inn() -> Inn {
        "7707083893".parse().unwrap()
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    async fn sign(script: &str) -> Result<String, SignError> {
        let command = words(&["/bin/sh", "-c", script, "sh", "{INN}", "a{INN}b"]);
        Signer::default().sign(&command, &inn(), "DATA").await
    }

    #[tokio::test]
    async fn challenge_goes_in_and_the_signature_comes_out_in_any_form() {
        for (script, wanted) in [
            ("cat", "DATA"),
            ("printf 'REFU\\nQQ==\\n'", "REFUQQ=="),
            ("printf -- '-----BEGIN CMS-----\\nREFU\\n-----END CMS-----\\n'", "REFU"),
            ("printf '\\060\\200abc'", "MIBhYmM="),
            // The ИНН takes its place, also within an argument.
            ("printf '%sAA' \"$1\"", "7707083893AA"),
            ("printf '%s' \"$2\"", "a7707083893b"),
        ] {
            assert_eq!(sign(script).await.unwrap(), wanted, "{script}");
        }
    }

    #[tokio::test]
    async fn every_failure_is_told_without_what_the_program_has_printed() {
        let failed = sign("echo hunter2; echo hunter2 >&2; exit 3").await.unwrap_err();
        assert!(matches!(failed, SignError::Failed(_)), "{failed}");
        assert!(!failed.to_string().contains("hunter2"));
        assert!(matches!(sign("true").await, Err(SignError::NoSignature)));
        assert!(matches!(sign("echo 'not base64!'").await, Err(SignError::NoSignature)));
        let long = "head -c 400000 /dev/zero | tr '\\0' A";
        assert!(matches!(sign(long).await, Err(SignError::NoSignature | SignError::Failed(_))));
        let missing = Signer::default().sign(&words(&["/nonexistent"]), &inn(), "x").await;
        assert!(matches!(missing, Err(SignError::Run(_))));
    }

    #[tokio::test]
    async fn program_that_does_not_end_is_ended_with_all_that_it_has_started() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("id");
        // The shell waits for a second process, which holds standard output open.
        let script = format!("sleep 600 & echo $! > '{}'; wait", file.display());
        let signer = Signer { bound: Duration::from_millis(500), ..Signer::default() };
        let command = words(&["/bin/sh", "-c", &script]);
        let slow = signer.sign(&command, &inn(), "x").await.unwrap_err();
        assert!(matches!(slow, SignError::Slow), "{slow}");
        let id = std::fs::read_to_string(&file).unwrap();
        let stat = format!("/proc/{}/stat", id.trim());
        let is_gone = || std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
        tokio::time::timeout(Duration::from_secs(10), async {
            while !is_gone() {
                tokio::task::yield_now().await;
            }
        })
        .await
        .unwrap();
    }

    fn key(kind: licence_ismp::TokenKind, inn: &str) -> StoreKey {
        let organization = inn.parse().unwrap();
        StoreKey { contour: Default::default(), kind, organization, production_object: None }
    }

    #[test]
    fn command_rests_for_one_organisation_or_key_and_only_for_a_while() {
        use licence_ismp::TokenKind::{Ismp, IsmpRetail};
        let now = clock::mono();
        let until = now.after(FAILED_PAUSE);
        let own = key(Ismp, "7707083893");
        let signer = Signer::default();
        signer.rest(&own.organization, until, now);
        assert!(
            !signer.is_ready(&own, now) && !signer.is_ready(&key(IsmpRetail, "7707083893"), now)
        );
        assert!(signer.is_ready(&own, until));
        assert!(signer.is_ready(&key(Ismp, "500100732259"), now));
        let signer = Signer::default();
        signer.rest_key(&own, until, now);
        assert!(
            !signer.is_ready(&own, now) && signer.is_ready(&key(IsmpRetail, "7707083893"), now)
        );
        signer.forget_key(&own);
        assert!(signer.is_ready(&own, now));
    }
}
