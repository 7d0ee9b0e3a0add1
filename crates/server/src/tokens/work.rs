//! The thread of tokens: carries out what [`Roll`] decides, and what the server asks.
//!
//! Between two steps a token may be pulled: then the step fails, and the next look says so.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};

use licence_core::delegation::{Delegation, Unsigned};
use licence_core::holder::TokenKey;
use licence_core::seal::{PublicKey, hex_upper, sha256};
use licence_core::time::MonoTime;
use licence_token::apdu::{Place, TokenError};
use tokio::runtime::Handle as Runtime;
use tokio::sync::{oneshot, watch};

use super::port::TokenPort;
use super::roll::{Pace, Roll, Step};
use super::{CallError, Trouble, texts};
use crate::driver::{DriverError, Handle};
use crate::keyring::{InstallError, Word};
use crate::{clock, random};

/// Licences that one token vouches for at each proof: each costs a signature of some tens of
/// milliseconds. A main key and some additional ones lie on one token; more are left out, with a line
/// in the log.
const LICENCES_PER_TOKEN_MAX: usize = 16;

/// Subject of the word of a token that has no licence to vouch for.
const PRESENCE: &str = "presence";

/// Longest licence on a token that is looked at: no licence file may be longer.
const DOCUMENT_BYTES_MAX: usize = 20 * 1024;

/// Most characters of a token's name: it says of itself what it likes.
const NAME_CHARS_MAX: usize = 100;

type Reply<T> = oneshot::Sender<Result<T, CallError>>;

/// What the thread is asked.
pub(super) enum Command {
    /// Look at what is plugged in.
    Look(Option<Reply<()>>),
    /// Have a token say that it is there, about a subject.
    Prove { key: TokenKey, subject: String, reply: Reply<(String, Vec<Vec<u8>>)> },
    /// End.
    Stop,
    /// Put a licence onto a token, or take it off.
    Store { key: TokenKey, document: Option<String>, reply: Reply<()> },
    /// Have a token vouch for its licences.
    Vouch { key: TokenKey, reply: Reply<()> },
}

/// The server has stopped, and the thread ends.
struct Stopped;

impl From<DriverError> for Stopped {
    fn from(_: DriverError) -> Self {
        Self
    }
}

/// What is known of a token beside its place.
#[derive(Debug, Default)]
struct Known {
    name: String,
    /// The licence that lies on it and was not looked at yet.
    news: Option<String>,
    /// SHA-256 of the licence that lies on it.
    stored: Option<[u8; 32]>,
}

pub(super) struct Worker {
    port: Box<dyn TokenPort>,
    roll: Roll,
    handle: Handle,
    server: PublicKey,
    runtime: Runtime,
    tell: watch::Sender<Vec<Trouble>>,
    known: BTreeMap<TokenKey, Known>,
    /// By place; nothing for what is wrong with all of them.
    troubles: BTreeMap<Option<Place>, Trouble>,
    /// Until when those are waited for that did not answer at the first look.
    awaited_until: Option<MonoTime>,
    /// Who waits for the next look.
    looks: Vec<Reply<()>>,
}

impl Worker {
    pub(super) fn new(
        port: Box<dyn TokenPort>,
        pace: Pace,
        handle: Handle,
        server: PublicKey,
        runtime: Runtime,
        tell: watch::Sender<Vec<Trouble>>,
    ) -> Self {
        Self {
            port,
            roll: Roll::new(pace),
            handle,
            server,
            runtime,
            tell,
            known: BTreeMap::new(),
            troubles: BTreeMap::new(),
            awaited_until: Some(clock::mono().after(pace.retry)),
            looks: Vec::new(),
        }
    }

    /// Works until it is told to stop, the driver has stopped, or nobody can ask any more.
    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        while self.round(commands).is_ok() {
            if !self.looks.is_empty() {
                continue;
            }
            let now = clock::mono();
            let next = self.roll.next(now);
            let until = self.awaited_until.map_or(next, |at| at.min(next));
            match commands.recv_timeout(until.since(now)) {
                Ok(command) => {
                    if self.serve(command).is_err() {
                        break;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        log::debug!("the thread of tokens ends");
    }

    /// One look, and all that follows from it.
    fn round(&mut self, commands: &Receiver<Command>) -> Result<(), Stopped> {
        let waiting = std::mem::take(&mut self.looks);
        let places = match self.port.places() {
            Ok(places) => {
                self.settled(None);
                places
            }
            Err(error) => {
                self.trouble(None, &error);
                Vec::new()
            }
        };
        self.roll.look(clock::mono(), &places);
        let gone: Vec<_> = self
            .troubles
            .keys()
            .filter(|place| place.as_ref().is_some_and(|place| !self.roll.has_place(place)))
            .cloned()
            .collect();
        for place in gone {
            self.settled(place);
        }
        while let Some(step) = self.roll.step(clock::mono()) {
            self.take(step)?;
            // Somebody may wait for one token while another does not answer.
            match commands.try_recv() {
                Ok(command) => self.serve(command)?,
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::Disconnected) => return Err(Stopped),
            }
        }
        if self.awaited_until.is_some_and(|until| until <= clock::mono()) {
            self.awaited_until = None;
            self.runtime.block_on(self.handle.tokens_looked_for())?;
        }
        for reply in waiting {
            drop(reply.send(Ok(())));
        }
        Ok(())
    }

    fn take(&mut self, step: Step) -> Result<(), Stopped> {
        match step {
            Step::Read(place) => self.read(&place),
            // What is wrong is taken down already.
            Step::Prove(place, key) => drop(self.prove(&place, key)?),
            Step::Doubt(key) => {
                log::warn!("token {} does not answer; it is asked again", key.short_id());
                self.runtime.block_on(self.handle.token_in_doubt(key))?;
            }
            Step::Gone(key) => {
                log::warn!("token {} is gone", key.short_id());
                self.known.remove(&key);
                self.runtime.block_on(self.handle.token_absent(key))?;
            }
        }
        Ok(())
    }

    fn read(&mut self, place: &Place) {
        let found = self.port.read(place);
        let now = clock::mono();
        let found = found.and_then(|found| match found.key {
            Some(key) => Ok((key, found)),
            None => Err(TokenError::NoKey),
        });
        match found {
            Ok((key, found)) => {
                if !self.roll.found(place, key, now) {
                    self.trouble(
                        Some(place),
                        &TokenError::Unsupported("its key is at another place, too"),
                    );
                    return;
                }
                let document = found
                    .document
                    .filter(|document| !document.is_empty())
                    .filter(|document| document.len() <= DOCUMENT_BYTES_MAX);
                let plain = found.name.chars().filter(|c| !c.is_control());
                let known = self.known.entry(key).or_default();
                known.name = plain.take(NAME_CHARS_MAX).collect();
                known.stored = document.as_ref().map(|text| sha256(text.trim_ascii().as_bytes()));
                known.news = document;
            }
            Err(error) => {
                self.roll.failed_to_read(place, now);
                self.trouble(Some(place), &error);
            }
        }
    }

    /// Has a token vouch for every licence that is bound to it, and takes in what lies on it.
    fn prove(&mut self, place: &Place, key: TokenKey) -> Result<Result<(), TokenError>, Stopped> {
        let mut subjects = self.runtime.block_on(self.handle.activations_on(key))?;
        if subjects.len() > LICENCES_PER_TOKEN_MAX {
            log::warn!(
                "token {}: more than {LICENCES_PER_TOKEN_MAX} licences, the rest is left out",
                key.short_id()
            );
            subjects.truncate(LICENCES_PER_TOKEN_MAX);
        }
        if subjects.is_empty() {
            subjects.push(PRESENCE.to_owned());
        }
        let words = match self.words(place, key, subjects) {
            Ok(words) => words,
            Err(error) => {
                self.roll.failed_to_prove(key, clock::mono());
                self.trouble(Some(place), &error);
                return Ok(Err(error));
            }
        };
        self.roll.proved(key, clock::mono());
        let known = self.known.entry(key).or_default();
        let (name, news) = (known.name.clone(), known.news.take());
        let now = clock::utc();
        let words = words
            .into_iter()
            .filter_map(|text| Word::verified(text, key, &self.server, now))
            .collect();
        self.runtime.block_on(self.handle.token_present(key, name, words))?;
        let Some(document) = news else {
            self.settled(Some(place.clone()));
            return Ok(Ok(()));
        };
        match self.runtime.block_on(self.handle.install_from_token(key, document.clone())) {
            Ok(Some(view)) => {
                self.settled(Some(place.clone()));
                let key_no = view.key_no.unwrap_or(licence_core::key::KeyNo(0));
                log::info!("took key {key_no} from token {}", key.short_id());
                self.roll.prove_again(key, clock::mono());
            }
            Ok(None) => self.settled(Some(place.clone())),
            Err(DriverError::Install(error)) => {
                let why = licence_core::causes::with_causes(&error);
                let trouble = texts::licence_refused(place, &error);
                if self.troubles.get(&Some(place.clone())) != Some(&trouble) {
                    log::warn!("the licence on token {} is not used: {why}", key.short_id());
                }
                self.put(Some(place.clone()), trouble);
                // Looked at again with the next proof: its series may become known.
                if let Some(known) = self.known.get_mut(&key) {
                    known.news = Some(document);
                }
                if matches!(error, InstallError::KeyReturned(_)) {
                    self.take_off(place, key);
                }
            }
            Err(error) => return Err(error.into()),
        }
        Ok(Ok(()))
    }

    /// Takes a licence off a token whose key was given back: at another server, which does not know
    /// of that, it would count.
    fn take_off(&mut self, place: &Place, key: TokenKey) {
        match self.port.store(place, None) {
            Ok(()) => {
                log::info!("took the licence of a returned key off token {}", key.short_id());
                if let Some(known) = self.known.get_mut(&key) {
                    (known.stored, known.news) = (None, None);
                }
                self.settled(Some(place.clone()));
            }
            Err(error) => log::warn!(
                "the licence of a returned key cannot be taken off token {}: {error}",
                key.short_id()
            ),
        }
    }

    /// The token's words about some subjects.
    fn words(
        &self,
        place: &Place,
        key: TokenKey,
        subjects: Vec<String>,
    ) -> Result<Vec<String>, TokenError> {
        let failed = |why: &dyn std::fmt::Display| TokenError::System(why.to_string());
        let now = clock::utc();
        let mut unsigned = Vec::with_capacity(subjects.len());
        for subject in subjects {
            let nonce = random::id_bytes().map_err(|error| failed(&error))?;
            let word = Delegation::new(subject, &self.server, hex_upper(&nonce), now);
            unsigned.push(word.unsigned(&key).map_err(|error| failed(&error))?);
        }
        let messages: Vec<&[u8]> = unsigned.iter().map(Unsigned::message).collect();
        let signatures = self.port.sign(place, &key, &messages)?;
        if signatures.len() != unsigned.len() {
            return Err(TokenError::Malformed("not as many signatures as asked for"));
        }
        let mut words = Vec::with_capacity(unsigned.len());
        for (unsigned, signature) in unsigned.into_iter().zip(&signatures) {
            let text = unsigned.with_signature(signature);
            // Whatever the port has looked at: this is what others will look at.
            Delegation::verify(&text, &key).map_err(|_| TokenError::Foreign)?;
            words.push(text);
        }
        Ok(words)
    }

    fn serve(&mut self, command: Command) -> Result<(), Stopped> {
        match command {
            Command::Look(reply) => self.looks.extend(reply),
            Command::Stop => return Err(Stopped),
            Command::Prove { key, subject, reply } => {
                let proved = self.place(&key).and_then(|place| {
                    let word = self.words(&place, key, vec![subject])?.pop();
                    let word = word.ok_or(TokenError::Malformed("it said nothing"))?;
                    // One without attestation may be on the vendor's list of blanks.
                    let attestation = self.port.attestation(&place).unwrap_or_else(|error| {
                        log::debug!("token {}: no attestation: {error}", key.short_id());
                        Vec::new()
                    });
                    Ok((word, attestation))
                });
                self.ask_again_after(&key, proved.as_ref().err());
                // Whoever asked may have gone.
                drop(reply.send(proved));
            }
            Command::Store { key, document, reply } => {
                let digest = document.as_ref().map(|text| sha256(text.trim_ascii().as_bytes()));
                let is_there = self.known.get(&key).is_some_and(|known| known.stored == digest);
                let stored = self.place(&key).and_then(|place| {
                    if is_there {
                        return Ok(());
                    }
                    Ok(self.port.store(&place, document.as_deref())?)
                });
                if let (Ok(()), Some(known)) = (&stored, self.known.get_mut(&key)) {
                    (known.stored, known.news) = (digest, None);
                }
                drop(reply.send(stored));
            }
            Command::Vouch { key, reply } => {
                let vouched = match self.place(&key) {
                    Ok(place) => self.prove(&place, key)?.map_err(CallError::Token),
                    Err(error) => Err(error),
                };
                drop(reply.send(vouched));
            }
        }
        Ok(())
    }

    fn place(&self, key: &TokenKey) -> Result<Place, CallError> {
        self.roll.place_of(key).cloned().ok_or(CallError::Absent)
    }

    /// A token that has failed a call is asked at once whether it is there at all.
    fn ask_again_after(&mut self, key: &TokenKey, error: Option<&CallError>) {
        if matches!(error, Some(CallError::Token(_))) {
            self.roll.prove_again(*key, clock::mono());
        }
    }

    /// Takes down what is wrong with a place; logged when it was something else before.
    fn trouble(&mut self, place: Option<&Place>, error: &TokenError) {
        let trouble = texts::trouble(place, error);
        if self.troubles.get(&place.cloned()) != Some(&trouble) {
            let name = place.map_or("all", |place| &place.name);
            log::warn!("tokens, place={name:?}: {error}");
        }
        self.put(place.cloned(), trouble);
    }

    fn put(&mut self, place: Option<Place>, trouble: Trouble) {
        self.troubles.insert(place, trouble);
        self.publish();
    }

    fn settled(&mut self, place: Option<Place>) {
        if self.troubles.remove(&place).is_some() {
            self.publish();
        }
    }

    fn publish(&self) {
        let troubles = self.troubles.values().cloned().collect();
        self.tell.send_replace(troubles);
    }
}
