//! A client of tokens that walks through given steps and says what came of each: the part of the token
//! tests that stands on our side, in a guest and on the host.
//!
//! `token_check [--tokens LIST] [--unplug COMMAND] [--plug COMMAND] STEP...`; the steps are those of
//! [`Check::step`]. Signatures are verified by an implementation of P-256 that the product does not
//! use. It prepares tokens: never run it where a token of value is plugged in.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use licence_core::holder::TokenKey;
use licence_token::apdu::{Place, TokenError, Transport, Via};
use licence_token::licence::{DOCUMENT_BYTES_MAX, Document, TokenInfo};
use licence_token::list::TokenList;
use licence_token::pcsc::Pcsc;
use licence_token::piv::Piv;
use licence_token::piv::management::ManagementKey;
use licence_token::tokens::Tokens;
use licence_token::usb::Usb;
use p256::ecdsa::signature::Verifier;
use p256::ecdsa::{Signature, VerifyingKey};

/// How long a token may take to appear or to go: a guest without acceleration needs some seconds.
const CHANGE_BOUND: Duration = Duration::from_secs(40);

/// Pause between two looks at the bus.
const LOOK: Duration = Duration::from_millis(20);

/// How many commands a token that is being unplugged may still answer.
const LAST_WORDS_MAX: usize = 500;

type Failure = Box<dyn Error>;

fn main() -> ExitCode {
    match run(std::env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            say(&format!("failed: {why}"));
            ExitCode::FAILURE
        }
    }
}

fn run(mut words: impl Iterator<Item = String>) -> Result<(), Failure> {
    let mut tokens = String::new();
    let mut unplug = None;
    let mut plug = None;
    let mut steps = Vec::new();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        match word.as_str() {
            "--tokens" => tokens = value()?,
            "--unplug" => unplug = Some(value()?),
            "--plug" => plug = Some(value()?),
            _ => steps.push(word),
        }
    }
    let list = TokenList::with_extra(&tokens)?;
    let tokens = Tokens::new(list.clone());
    let mut check = Check { list, tokens, unplug, plug, expected: BTreeMap::new() };
    for step in &steps {
        let (name, value) = step.split_once('=').unwrap_or((step, ""));
        check.step(name, value).map_err(|why| format!("{step}: {why}"))?;
        say(&format!("step {step} ok"));
    }
    say("done");
    Ok(())
}

/// Prints one line. A reader that is gone leaves nobody to tell.
fn say(line: &str) {
    let mut out = std::io::stdout();
    drop(writeln!(out, "{line}").and_then(|()| out.flush()));
}

/// The tokens, and what must be on them.
struct Check {
    list: TokenList,
    tokens: Tokens,
    unplug: Option<String>,
    plug: Option<String>,
    /// By public key: the document that was stored.
    expected: BTreeMap<[u8; 65], Option<String>>,
}

impl Check {
    /// One step.
    fn step(&mut self, name: &str, value: &str) -> Result<(), Failure> {
        match name {
            // So many tokens are there, in time.
            "list" => {
                for place in self.wait_for(value.parse()?)? {
                    say(&format!("place {:?} {} {}", place.via, place.id, place.name));
                }
                Ok(())
            }
            // They have neither key nor document.
            "fresh" => self.fresh(),
            // Each makes its key; no two are equal.
            "prepare" => self.prepare(),
            // None makes a second key.
            "again" => self.again(),
            // Each signs fresh messages, and none in place of another.
            "prove" => self.prove(),
            // Each takes a document of so many bytes, another one each.
            "store" => self.store(value.parse()?),
            // Each has its key and its document.
            "read" => self.read(),
            // None takes a document that is too large, and what was there stays.
            "large" => self.large(),
            // A wrong management key changes nothing.
            "locked" => self.locked(),
            // A second claim of the same device is refused.
            "busy" => self.busy(),
            // Another program holds the device, and yet the token answers, through the service.
            "held" => self.held(),
            // The token is unplugged while it is spoken to.
            "gone" => self.gone(value.parse()?),
            // It is plugged in.
            "back" => {
                let command = self.plug.as_ref().ok_or("back needs --plug")?;
                shell(command, "")?;
                self.wait_for(value.parse()?).map(drop)
            }
            // Keeps what is expected, for a later process.
            "save" => self.save(value),
            // What an earlier process expected.
            "load" => self.load(value),
            _ => Err("no such step".into()),
        }
    }

    fn wait_for(&self, count: usize) -> Result<Vec<Place>, Failure> {
        let deadline = deadline();
        loop {
            let places = self.tokens.places()?;
            if places.len() == count {
                return Ok(places);
            }
            if is_over(deadline) {
                return Err(format!("{} tokens and not {count}: {places:?}", places.len()).into());
            }
            std::thread::park_timeout(LOOK);
        }
    }

    fn infos(&self) -> Result<Vec<TokenInfo>, Failure> {
        let places = self.tokens.places()?;
        places.iter().map(|place| Ok(self.tokens.read(place)?)).collect()
    }

    /// Every token that is expected, with its key.
    fn found(&self) -> Result<Vec<(TokenInfo, TokenKey)>, Failure> {
        let mut found = Vec::new();
        for info in self.infos()? {
            let key = info.key.ok_or_else(|| format!("{} has no key", info.place.id))?;
            if self.expected.contains_key(key.as_bytes()) {
                found.push((info, key));
            }
        }
        if found.len() == self.expected.len() {
            return Ok(found);
        }
        Err(format!("{} of {} tokens are there", found.len(), self.expected.len()).into())
    }

    fn fresh(&self) -> Result<(), Failure> {
        for info in self.infos()? {
            if info.key.is_some() || info.document != Document::Absent || info.is_blank() {
                return Err(format!("not fresh: {info:?}").into());
            }
        }
        Ok(())
    }

    fn prepare(&mut self) -> Result<(), Failure> {
        for place in self.tokens.places()? {
            let key = self.tokens.prepare(&place, &ManagementKey::factory())?;
            say(&format!("key {} {}", place.id, key.short_id()));
            if self.expected.insert(*key.as_bytes(), None).is_some() {
                return Err("two tokens made the same key".into());
            }
            let info = self.tokens.read(&place)?;
            if info.key != Some(key) || !info.is_blank() {
                return Err(format!("not a blank: {info:?}").into());
            }
        }
        Ok(())
    }

    fn again(&self) -> Result<(), Failure> {
        for (info, _) in self.found()? {
            let made = self.tokens.prepare(&info.place, &ManagementKey::factory());
            expect(made.map(drop), |error| *error == TokenError::KeyPresent)?;
        }
        self.read()
    }

    fn prove(&self) -> Result<(), Failure> {
        let found = self.found()?;
        for (info, key) in &found {
            let point = VerifyingKey::from_sec1_bytes(key.as_bytes()).map_err(not_p256)?;
            let messages = [draw(64)?, draw(1)?];
            for message in &messages {
                let bytes = self.tokens.prove(&info.place, key, message.as_bytes())?;
                let signature = Signature::from_slice(&bytes).map_err(not_p256)?;
                point.verify(message.as_bytes(), &signature).map_err(not_p256)?;
                if point.verify(b"another message", &signature).is_ok() {
                    return Err("the signature verifies for another message".into());
                }
            }
            for (_, other) in found.iter().filter(|(_, other)| other != key) {
                let forged = self.tokens.prove(&info.place, other, b"message");
                expect(forged.map(drop), |error| *error == TokenError::Foreign)?;
            }
            say(&format!("proved {} {}", info.place.id, key.short_id()));
        }
        Ok(())
    }

    fn store(&mut self, bytes: usize) -> Result<(), Failure> {
        for (info, key) in self.found()? {
            let document = draw(bytes)?;
            self.tokens.store_licence(&info.place, &document, &ManagementKey::factory())?;
            self.expected.insert(*key.as_bytes(), Some(document));
        }
        Ok(())
    }

    fn read(&self) -> Result<(), Failure> {
        for (info, key) in self.found()? {
            let expected = match self.expected.get(key.as_bytes()) {
                Some(Some(text)) => Document::Present(text.clone()),
                Some(None) | None => Document::Absent,
            };
            if info.document != expected {
                return Err(format!("{:?} and not {expected:?}", info.document).into());
            }
            if info.is_blank() == info.has_document() {
                return Err("a blank with a document".into());
            }
        }
        Ok(())
    }

    fn large(&self) -> Result<(), Failure> {
        let document = draw(DOCUMENT_BYTES_MAX + 1)?;
        for (info, _) in self.found()? {
            let stored =
                self.tokens.store_licence(&info.place, &document, &ManagementKey::factory());
            expect(stored, |error| matches!(error, TokenError::TooLarge { .. }))?;
        }
        self.read()
    }

    fn locked(&self) -> Result<(), Failure> {
        let wrong = ManagementKey::from_hex(&"0F".repeat(24))?;
        for (info, _) in self.found()? {
            let stored = self.tokens.store_licence(&info.place, "another document", &wrong);
            expect(stored, |error| *error == TokenError::ManagementKey)?;
        }
        self.read()
    }

    fn busy(&self) -> Result<(), Failure> {
        for (info, _) in self.found()? {
            if info.place.via != Via::Usb {
                return Err("only a device on the bus can be claimed".into());
            }
            let [first, second] = [(); 2].map(|()| Usb::new(self.list.clone()));
            let mut inner = None;
            first.transact(&info.place, &mut |_| {
                inner = Some(second.transact(&info.place, &mut |_| Ok(())));
                Ok(())
            })?;
            let inner = inner.ok_or("nothing was said")?;
            expect(inner, |error| *error == TokenError::Busy)?;
        }
        self.read()
    }

    fn held(&self) -> Result<(), Failure> {
        let usb = Usb::new(self.list.clone());
        let places = usb.places()?;
        if places.is_empty() {
            return Err("no device on the bus".into());
        }
        for place in &places {
            // The service answers before it has claimed its readers.
            let deadline = deadline();
            while usb.transact(place, &mut |_| Ok(())).is_ok() && !is_over(deadline) {
                std::thread::park_timeout(LOOK);
            }
            expect(usb.transact(place, &mut |_| Ok(())), |error| *error == TokenError::Busy)?;
            self.tokens.read(place)?;
        }
        let readers = Pcsc::new(self.list.clone()).places()?;
        if readers.len() != places.len() {
            return Err(format!("{readers:?} for {places:?}").into());
        }
        Ok(())
    }

    /// Unplugs the first token between two commands; `count` tokens are left.
    fn gone(&self, count: usize) -> Result<(), Failure> {
        let command = self.unplug.as_ref().ok_or("gone needs --unplug")?;
        let place = self.tokens.places()?.into_iter().next().ok_or("no token")?;
        let deadline = deadline();
        let mut failure = None;
        let said = self.tokens.transact(&place, &mut |card| {
            let mut piv = Piv::select(card)?;
            piv.serial()?;
            if let Err(why) = shell(command, &place.id) {
                failure = Some(why);
                return Ok(());
            }
            // The system may take a moment to see it; then a command fails.
            for _ in 0..LAST_WORDS_MAX {
                piv.serial()?;
                if is_over(deadline) {
                    break;
                }
            }
            Ok(())
        });
        if let Some(why) = failure {
            return Err(why);
        }
        expect(said, |error| *error == TokenError::Gone)?;
        let left = self.wait_for(count)?;
        if left.contains(&place) {
            return Err("its place is still there".into());
        }
        expect(self.tokens.read(&place).map(drop), |error| *error == TokenError::Gone)
    }

    fn save(&self, path: &str) -> Result<(), Failure> {
        let mut text = String::new();
        for (key, document) in &self.expected {
            let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
            text += &format!("{key} {}\n", document.as_deref().unwrap_or_default());
        }
        Ok(std::fs::write(path, text)?)
    }

    fn load(&mut self, path: &str) -> Result<(), Failure> {
        for line in std::fs::read_to_string(path)?.lines() {
            let (key, document) = line.split_once(' ').ok_or("a line without a document")?;
            let mut point = [0; 65];
            for (at, byte) in point.iter_mut().enumerate() {
                let digits = key.get(2 * at..2 * at + 2).ok_or("a key that is cut off")?;
                *byte = u8::from_str_radix(digits, 16)?;
            }
            let document = (!document.is_empty()).then(|| document.to_owned());
            self.expected.insert(point, document);
        }
        Ok(())
    }
}

/// Without its `std` feature the crate's error is none of the standard library's.
fn not_p256(error: p256::ecdsa::Error) -> Failure {
    format!("the other implementation of P-256: {error}").into()
}

/// That something was refused, and in this way.
fn expect(
    result: Result<(), TokenError>,
    fits: impl FnOnce(&TokenError) -> bool,
) -> Result<(), Failure> {
    match result {
        Err(error) if fits(&error) => Ok(()),
        Err(error) => Err(format!("refused otherwise: {error} ({error:?})").into()),
        Ok(()) => Err("not refused".into()),
    }
}

/// Random text without spaces, as a signed document is.
fn draw(bytes: usize) -> Result<String, Failure> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut random = vec![0; bytes];
    getrandom::fill(&mut random)?;
    Ok(random.iter().map(|byte| char::from(LETTERS[usize::from(byte % 64)])).collect())
}

/// Runs a command, which finds the place of the token concerned in `TOKEN_ID`.
fn shell(command: &str, place: &str) -> Result<(), Failure> {
    let status = Command::new("sh").args(["-c", command]).env("TOKEN_ID", place).status()?;
    if status.success() { Ok(()) } else { Err(format!("`{command}` ended with {status}").into()) }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a check by hand and by tests, with bounds of its own"
)]
fn deadline() -> Instant {
    Instant::now() + CHANGE_BOUND
}

#[expect(clippy::disallowed_methods, reason = "as above")]
fn is_over(deadline: Instant) -> bool {
    Instant::now() > deadline
}
