//! How the licences stand with the computer: looked at every hour, told before anything stops.
//!
//! What a licence bears is decided in `core::binding`, whether the key of the installation opens in
//! [`crate::identity`], what becomes of the seats in the driver. Here it is remembered since when
//! too many parts have changed, and told in the log.

pub mod changes;
pub mod seal;
pub mod words;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use licence_core::binding::{Binding, Match, Standing};
use licence_core::key::{KeyNo, KeySeries};
use licence_core::language::Language;
use licence_core::time::{MonoTime, Utc};
use tokio::sync::Mutex;

pub use changes::Changes;
pub use seal::Seal;

use crate::access::Actor;
use crate::api::App;
use crate::clock;
use crate::driver::{AuditNote, DriverError, Handle};
use crate::identity::SealState;

/// How often the parts are read: hardware does not change while a computer runs, but disks and
/// network cards may, and reading them costs some milliseconds.
const LOOK_EVERY: Duration = Duration::from_secs(3600);

/// How often it is judged whether days of grace are over.
const JUDGE_EVERY: Duration = Duration::from_secs(60);

/// A key and its computer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KeyStanding {
    /// The key.
    pub key_no: KeyNo,
    /// Its series.
    pub series: KeySeries,
    /// What it asks of the computer.
    pub binding: Binding,
    /// When too few parts matched for its level first.
    pub changed_at: Option<Utc>,
    /// Where it stands.
    pub standing: Standing,
}

/// All keys that are bound to this computer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Judged {
    /// The moment by which it was judged.
    pub utc: Utc,
    /// Since when too few parts match.
    pub changes: Changes,
    /// The keys, by number.
    pub keys: Vec<KeyStanding>,
}

impl Judged {
    /// How many more parts may change before the first key stops; nothing when parts do not count,
    /// when there is no key, or when one has too few already.
    pub fn more(&self) -> Option<usize> {
        let mut fewest = None;
        for key in &self.keys {
            match key.standing {
                Standing::Fits { more: Some(more) } => {
                    fewest = Some(fewest.map_or(more, |fewest: usize| fewest.min(more)));
                }
                Standing::Fits { more: None } => {}
                Standing::Grace { .. } | Standing::Over { .. } | Standing::NeedsTpm => return None,
            }
        }
        fewest
    }
}

/// What was told last, so that each thing is told once.
#[derive(Debug, Default)]
struct Told {
    changes: Changes,
    found: Option<Match>,
    keys: BTreeMap<KeyNo, Standing>,
}

/// Watches the seal of one identity.
#[derive(Debug)]
pub struct BindingWatch {
    seal: Arc<dyn Seal>,
    file: PathBuf,
    told: Mutex<Told>,
}

impl BindingWatch {
    /// Watches this seal; `file` is where the dates are kept.
    pub fn new(seal: Arc<dyn Seal>, file: PathBuf) -> Self {
        let changes = Changes::read(&file);
        Self { seal, file, told: Mutex::new(Told { changes, ..Told::default() }) }
    }

    /// How the seal fits, as of the last look.
    pub fn state(&self) -> Arc<SealState> {
        self.seal.state()
    }

    /// Reads the parts again and judges the keys.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn look(&self, handle: &Handle) -> Result<Judged, DriverError> {
        let seal = Arc::clone(&self.seal);
        if let Err(error) = tokio::task::spawn_blocking(move || seal.look_again()).await {
            log::error!("the parts of the computer could not be looked at: {error}");
        }
        self.judge(handle).await
    }

    /// Judges the keys by what was found last; remembers and tells what is new.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn judge(&self, handle: &Handle) -> Result<Judged, DriverError> {
        // Held to the end: two at a time would tell and write the same twice.
        let mut told = self.told.lock().await;
        let state = self.seal.state();
        let judged = handle.judge_binding(state.found).await?;
        if judged.changes != told.changes {
            self.keep(judged.changes.clone()).await;
            told.changes = judged.changes.clone();
        }
        tell(&state, &judged, &mut told);
        Ok(judged)
    }

    async fn keep(&self, changes: Changes) {
        let file = self.file.clone();
        let written = tokio::task::spawn_blocking(move || changes.write(&file)).await;
        match written {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                log::error!("{} cannot be written: {error}", self.file.display());
            }
            Err(error) => log::error!("the file of the binding could not be written: {error}"),
        }
    }

    /// A centre has listed this server's licences just so: it knows the computer and bears its
    /// changes. Seals the key to the computer as it is; true when something had changed.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn confirmed(&self, handle: &Handle, actor: &Actor) -> Result<bool, DriverError> {
        let Match::Parts { matching, total } = self.seal.state().found else { return Ok(false) };
        if matching == total {
            return Ok(false);
        }
        let seal = Arc::clone(&self.seal);
        match tokio::task::spawn_blocking(move || seal.reseal()).await {
            Ok(Ok(())) => {}
            Ok(Err(why)) => {
                log::error!("the identity could not be sealed to the computer as it is: {why}");
                return Ok(false);
            }
            Err(error) => {
                log::error!("sealing the identity broke down: {error}");
                return Ok(false);
            }
        }
        let changed = total.saturating_sub(matching);
        log::info!("bound again to the computer as it is, {changed} of {total} parts had changed");
        let note = AuditNote {
            action: "rebind",
            subject: "identity".to_owned(),
            note: format!("{changed} of {total} parts had changed"),
            ..AuditNote::default()
        };
        handle.audit(note, actor).await?;
        self.look(handle).await?;
        Ok(true)
    }
}

/// Writes into the log what has come about since the last time.
fn tell(state: &SealState, judged: &Judged, told: &mut Told) {
    let before = told.found.replace(state.found);
    if before != Some(state.found)
        && let Match::Parts { matching, total } = state.found
    {
        let text = words::computer(state, judged.more(), Language::English);
        if matching < total {
            log::warn!("{text}");
        } else if before.is_some() {
            log::info!("{text}");
        }
    }
    let keys: BTreeMap<_, _> = judged.keys.iter().map(|key| (key.key_no, key.standing)).collect();
    for (key_no, standing) in &keys {
        let before = told.keys.get(key_no);
        if before.is_some_and(|before| {
            std::mem::discriminant(before) == std::mem::discriminant(standing)
        }) {
            continue;
        }
        let text = words::key(*standing, judged.utc, Language::English);
        match standing {
            Standing::Fits { .. } if before.is_none() => {}
            Standing::Fits { .. } => log::info!("key {key_no}: {text}"),
            Standing::Grace { .. } => log::warn!("key {key_no}: {text}"),
            Standing::Over { .. } | Standing::NeedsTpm => log::error!("key {key_no}: {text}"),
        }
    }
    told.keys = keys;
}

/// Looks and judges until the server stops.
pub async fn run(app: Arc<App>) {
    let mut looked: Option<MonoTime> = None;
    let mut ticks = tokio::time::interval(JUDGE_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = clock::mono();
        // Opening the identity has just read the parts, so the first look can wait.
        let due = looked.is_some_and(|at| now.since(at) >= LOOK_EVERY);
        let judged = if due {
            app.binding.look(&app.handle).await
        } else {
            app.binding.judge(&app.handle).await
        };
        if due || looked.is_none() {
            looked = Some(now);
        }
        match judged {
            Err(DriverError::Stopped) => break,
            Err(error) => log::warn!("the binding could not be judged: {error}"),
            Ok(_) => {}
        }
    }
}
