//! Tokens with keys: a thread that looks for them, has them prove that they are there, and does on
//! them what the server asks.
//!
//! A token is spoken to on that one thread alone, one call at a time, so that nothing async waits for
//! hardware. What a token means to keys is decided by the driver, and which licence goes onto which by
//! the activator.

mod port;
mod roll;
mod texts;
mod work;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use licence_core::activation_request::TokenProof;
use licence_core::holder::TokenKey;
use licence_core::seal::PublicKey;
use licence_token::apdu::TokenError;
use licence_token::watch::Watch;
use tokio::sync::{oneshot, watch};

pub use port::{Device, Found, TokenPort};
pub use roll::Pace;

use crate::driver::Handle;
use work::{Command, Worker};

/// Calls that wait for the thread. An administrator makes some at a time; each takes seconds at worst,
/// so that more than these would not be answered in time anyway.
const COMMANDS_MAX: usize = 64;

/// How long a call waits for the thread: a transaction with a token, behind one with each of two
/// others that do not answer.
const CALL_BOUND: Duration = Duration::from_secs(30);

/// How long the watch waits before it sees whether anybody still wants to know.
const WATCH_TURN: Duration = Duration::from_secs(5);

/// Certificates of an attestation that are passed on: a key's, one between, and one spare.
const ATTESTATION_MAX: usize = 3;

/// What is wrong with a token that is plugged in, for people.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Trouble {
    /// Name of the place; empty when it is about all of them.
    pub place: String,
    /// In Russian.
    pub russian: String,
    /// In English.
    pub english: String,
}

/// Why a token did not do what was asked.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// It is not plugged in, or in doubt.
    #[error("the token is not plugged in")]
    Absent,
    /// Too many calls wait, or the thread has not come to it in time.
    #[error("the tokens are busy")]
    Busy,
    /// Tokens are switched off.
    #[error("tokens are switched off")]
    Off,
    /// The token.
    #[error(transparent)]
    Token(#[from] TokenError),
}

/// Sends calls to the thread of tokens.
#[derive(Clone, Debug, Default)]
pub struct Tokens(Option<Arc<Running>>);

#[derive(Debug)]
struct Running {
    commands: SyncSender<Command>,
    troubles: watch::Receiver<Vec<Trouble>>,
}

impl Tokens {
    /// No tokens: every one is absent.
    pub fn off() -> Self {
        Self::default()
    }

    /// Starts the thread. It ends when the driver has, or when nobody holds this any more.
    ///
    /// # Errors
    ///
    /// When the system gives no thread.
    pub fn start(
        port: Box<dyn TokenPort>,
        pace: Pace,
        handle: Handle,
        server: PublicKey,
        runtime: tokio::runtime::Handle,
    ) -> io::Result<Self> {
        let (commands, received) = sync_channel(COMMANDS_MAX);
        let (tell, troubles) = watch::channel(Vec::new());
        let worker = Worker::new(port, pace, handle, server, runtime, tell);
        std::thread::Builder::new()
            .name("tokens".to_owned())
            .spawn(move || worker.run(&received))?;
        Ok(Self(Some(Arc::new(Running { commands, troubles }))))
    }

    /// Looks at once whenever something is plugged into this computer or out of it, where the system
    /// tells. Without that, looking from time to time has to do.
    pub fn watch(&self) {
        let Some(running) = &self.0 else { return };
        let mut watch = match Watch::start() {
            Ok(watch) => watch,
            Err(error) => {
                log::info!("no notice of USB devices that come and go: {error}");
                return;
            }
        };
        // It holds the tokens only while it tells them something, so that they can end.
        let running = Arc::downgrade(running);
        let watching = move || {
            loop {
                let has_changed = watch.wait(WATCH_TURN);
                let Some(running) = running.upgrade() else { break };
                if has_changed
                    && let Err(TrySendError::Disconnected(_)) =
                        running.commands.try_send(Command::Look(None))
                {
                    break;
                }
            }
        };
        let spawned = std::thread::Builder::new().name("tokens-watch".to_owned()).spawn(watching);
        if let Err(error) = spawned {
            log::warn!("no thread to watch USB devices: {error}");
        }
    }

    /// Whether tokens are looked for.
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Looks at what is plugged in, and at all that follows from it: a person who has just plugged a
    /// token in need not wait for the next look.
    ///
    /// # Errors
    ///
    /// See [`CallError`].
    pub async fn look(&self) -> Result<(), CallError> {
        self.call(|reply| Command::Look(Some(reply))).await
    }

    /// Lets the thread end.
    pub fn stop(&self) {
        if let Some(running) = &self.0 {
            drop(running.commands.try_send(Command::Stop));
        }
    }

    /// What is wrong with tokens that are plugged in.
    pub fn troubles(&self) -> Vec<Trouble> {
        self.0.as_ref().map(|running| running.troubles.borrow().clone()).unwrap_or_default()
    }

    /// The word of a token that it is there, about a request with this id, for the centre; with the
    /// attestation of its maker when it has one.
    ///
    /// # Errors
    ///
    /// See [`CallError`].
    pub async fn proof(&self, key: TokenKey, request: &str) -> Result<TokenProof, CallError> {
        let subject = request.to_owned();
        let (delegation, attestation) =
            self.call(|reply| Command::Prove { key, subject, reply }).await?;
        let attestation = attestation.iter().take(ATTESTATION_MAX);
        let attestation = attestation.map(|der| STANDARD.encode(der)).collect();
        Ok(TokenProof { jwk: key.jwk(), delegation, attestation })
    }

    /// Has a token prove that it is there, and vouch for all licences that are bound to it, at once.
    ///
    /// # Errors
    ///
    /// See [`CallError`].
    pub async fn vouch(&self, key: TokenKey) -> Result<(), CallError> {
        self.call(|reply| Command::Vouch { key, reply }).await
    }

    /// Puts a licence onto its token; nothing takes off the one that is there.
    ///
    /// # Errors
    ///
    /// See [`CallError`]; the licence on disk counts all the same.
    pub async fn store(&self, key: TokenKey, document: Option<String>) -> Result<(), CallError> {
        self.call(|reply| Command::Store { key, document, reply }).await
    }

    async fn call<T>(
        &self,
        make: impl FnOnce(oneshot::Sender<Result<T, CallError>>) -> Command,
    ) -> Result<T, CallError> {
        let running = self.0.as_ref().ok_or(CallError::Off)?;
        let (reply, answer) = oneshot::channel();
        running.commands.try_send(make(reply)).map_err(|error| match error {
            TrySendError::Full(_) => CallError::Busy,
            TrySendError::Disconnected(_) => CallError::Off,
        })?;
        match tokio::time::timeout(CALL_BOUND, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(CallError::Off),
            Err(_) => Err(CallError::Busy),
        }
    }
}
