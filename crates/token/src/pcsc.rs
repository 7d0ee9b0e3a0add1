//! Tokens behind the smart card service of the operating system (PC/SC).
//!
//! The service's library is loaded while the program runs, so that a computer without it runs the
//! program all the same: no library or no service is no readers. Each conversation is one short
//! transaction in shared mode on a thread of its own, because the service may keep a caller waiting as
//! long as another program likes; a thread that is kept is left behind, and its reader is busy until
//! it returns. Readers that are not on the list are not connected to.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::apdu::{self, Exchange, Place, TRANSACTION_TIME_MAX, TokenError, Transport, Via};
use crate::clock::Deadline;
use crate::list::TokenList;
use crate::tokens::Readers;

mod service;

use service::{Card, Code, Context};

/// Readers that are looked at; PC/SC-lite itself ends at 16.
const READERS_MAX: usize = 64;

/// Tokens behind the smart card service.
pub struct Pcsc {
    list: TokenList,
    /// Readers whose conversation has not come to its end.
    held: Arc<Mutex<BTreeSet<String>>>,
}

impl fmt::Debug for Pcsc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pcsc").field("list", &self.list).finish_non_exhaustive()
    }
}

impl Pcsc {
    /// The readers on `list`.
    pub fn new(list: TokenList) -> Self {
        Self { list, held: Arc::default() }
    }
}

/// The places of these names; a computer without the service has none.
fn names(
    choose: impl FnOnce(&Context) -> Result<Vec<String>, Code>,
) -> Result<Vec<Place>, TokenError> {
    let names = match Context::establish().and_then(|context| choose(&context)) {
        Err(Code::NO_LIBRARY | Code::NO_SERVICE | Code::SERVICE_STOPPED | Code::NO_READERS) => {
            Vec::new()
        }
        other => other.map_err(failed)?,
    };
    let place = |name: String| Place { via: Via::Pcsc, id: name.clone(), name };
    Ok(names.into_iter().map(place).collect())
}

impl Readers for Pcsc {
    fn all(&self) -> Result<Vec<Place>, TokenError> {
        names(|context| {
            let mut names = context.readers()?;
            names.truncate(READERS_MAX);
            Ok(names)
        })
    }

    fn usb_address(&self, place: &Place) -> Option<(u8, u8)> {
        let context = Context::establish().ok()?;
        let channel = context.channel(&place.id).ok()?;
        let [kind_high, kind_low, bus, address] = channel.to_be_bytes();
        // 0020 is USB; the rest is as libccid counts.
        ((kind_high, kind_low) == (0x00, 0x20)).then_some((bus, address))
    }
}

impl Transport for Pcsc {
    fn places(&self) -> Result<Vec<Place>, TokenError> {
        names(|context| {
            let mut names = context.readers()?;
            names.retain(|name| self.list.has_reader(name));
            names.truncate(READERS_MAX);
            // A reader without a card is no token.
            names.retain(|name| context.has_card(name).unwrap_or(false));
            Ok(names)
        })
    }

    fn transact(
        &self,
        place: &Place,
        talk: &mut dyn FnMut(&mut dyn Exchange) -> Result<(), TokenError>,
    ) -> Result<(), TokenError> {
        let hold = Hold::take(&self.held, &place.id)?;
        let deadline = Deadline::after(TRANSACTION_TIME_MAX);
        // One message each way is under way at a time.
        let (commands, received) = sync_channel(1);
        let (sent, answers) = sync_channel(1);
        let reader = place.id.clone();
        thread::Builder::new()
            .name("pcsc".to_owned())
            .spawn(move || serve(&reader, &received, &sent, hold))
            .map_err(|error| TokenError::System(error.to_string()))?;
        let mut line = Line { commands: Some(commands), answers, deadline };
        // The first answer says that the transaction has begun.
        line.answer()?;
        let result = talk(&mut line);
        line.end();
        result
    }
}

/// A conversation from the caller's side.
struct Line {
    commands: Option<SyncSender<Vec<u8>>>,
    answers: Receiver<Result<Vec<u8>, TokenError>>,
    deadline: Deadline,
}

impl Line {
    fn answer(&self) -> Result<Vec<u8>, TokenError> {
        let left = self.deadline.left().ok_or(TokenError::Slow)?;
        self.answers.recv_timeout(left).unwrap_or_else(|error| match error {
            RecvTimeoutError::Timeout => Err(TokenError::Slow),
            RecvTimeoutError::Disconnected => Err(TokenError::Gone),
        })
    }

    /// Waits until the token was let go, so that the next conversation finds it free.
    fn end(&mut self) {
        self.commands = None;
        if let Err(TokenError::Slow) = self.answer() {
            log::debug!("the smart card service takes long to let a token go");
        }
    }
}

impl Exchange for Line {
    fn exchange(&mut self, command: &[u8]) -> Result<Vec<u8>, TokenError> {
        let commands = self.commands.as_ref().ok_or(TokenError::Gone)?;
        commands.send(command.to_vec()).map_err(|_| TokenError::Gone)?;
        self.answer()
    }
}

/// That a reader is ours to speak to, among the threads of this program.
struct Hold {
    held: Arc<Mutex<BTreeSet<String>>>,
    reader: String,
}

impl Hold {
    fn take(held: &Arc<Mutex<BTreeSet<String>>>, reader: &str) -> Result<Self, TokenError> {
        let mut readers = held.lock().unwrap_or_else(PoisonError::into_inner);
        if !readers.insert(reader.to_owned()) {
            return Err(TokenError::Busy);
        }
        Ok(Self { held: Arc::clone(held), reader: reader.to_owned() })
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut readers = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        readers.remove(&self.reader);
    }
}

/// A conversation from the service's side: ends when the caller's ends.
fn serve(
    reader: &str,
    commands: &Receiver<Vec<u8>>,
    answers: &SyncSender<Result<Vec<u8>, TokenError>>,
    hold: Hold,
) {
    let result = converse(reader, commands, answers);
    // Before the caller hears of the end: it may come again at once.
    drop(hold);
    // A caller that has stopped waiting hears nothing.
    let _ = answers.send(result.map(|()| Vec::new()).map_err(failed));
}

fn converse(
    reader: &str,
    commands: &Receiver<Vec<u8>>,
    answers: &SyncSender<Result<Vec<u8>, TokenError>>,
) -> Result<(), Code> {
    let context = Context::establish()?;
    let mut card = context.connect(reader)?;
    card.begin()?;
    if answers.send(Ok(Vec::new())).is_err() {
        return Ok(());
    }
    for command in commands {
        let answer = transmit(&mut card, &command).map_err(failed);
        if answers.send(answer).is_err() {
            break;
        }
    }
    Ok(())
}

fn transmit(card: &mut Card<'_>, command: &[u8]) -> Result<Vec<u8>, Code> {
    // What was shown the management key is reset at the end, or others could write after us.
    if matches!(command, [_, 0x87, _, 0x9B, ..]) {
        card.reset_at_end();
    }
    if card.speaks_t0() { card.transmit(&apdu::t0_unit(command)) } else { card.transmit(command) }
}

fn failed(code: Code) -> TokenError {
    match code {
        Code::SHARING_VIOLATION | Code::RESET_CARD => TokenError::Busy,
        Code::UNKNOWN_READER
        | Code::READER_UNAVAILABLE
        | Code::NO_CARD
        | Code::REMOVED_CARD
        | Code::NO_LIBRARY
        | Code::NO_SERVICE
        | Code::SERVICE_STOPPED
        | Code::NO_READERS
        | Code::UNPOWERED_CARD => TokenError::Gone,
        Code::TIMEOUT => TokenError::Slow,
        Code::NO_ACCESS | Code::SECURITY_VIOLATION => TokenError::NotAllowed(code.to_string()),
        Code::INSUFFICIENT_BUFFER => TokenError::Malformed("the answer is too long"),
        Code::UNRESPONSIVE_CARD => TokenError::Malformed("it does not answer to a reset"),
        Code::PROTO_MISMATCH => TokenError::Unsupported("its card speaks neither T=0 nor T=1"),
        code => TokenError::System(code.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reader_is_busy_while_a_conversation_has_not_ended() {
        let held = Arc::default();
        let first = Hold::take(&held, "a").unwrap();
        assert_eq!(Hold::take(&held, "a").err(), Some(TokenError::Busy));
        assert!(Hold::take(&held, "b").is_ok());
        drop(first);
        assert!(Hold::take(&held, "a").is_ok());
    }

    #[test]
    fn codes_of_the_service_are_told_apart() {
        assert_eq!(failed(Code::SHARING_VIOLATION), TokenError::Busy);
        assert_eq!(failed(Code::REMOVED_CARD), TokenError::Gone);
        assert_eq!(failed(Code::NO_SERVICE), TokenError::Gone);
        assert!(matches!(failed(Code::SECURITY_VIOLATION), TokenError::NotAllowed(_)));
        assert!(
            matches!(failed(Code(0x8010_0013)), TokenError::System(text) if text.contains("80100013"))
        );
    }

    #[test]
    fn computer_without_the_service_has_no_readers_and_no_failure() {
        // Whether the library is installed or not, no reader of this name is plugged in.
        let list = TokenList::with_extra("no reader has this name").unwrap();
        let pcsc = Pcsc::new(list);
        assert_eq!(pcsc.places(), Ok(Vec::new()));
        let name = "no reader has this name 00 00".to_owned();
        let place = Place { via: Via::Pcsc, id: name.clone(), name };
        assert_eq!(pcsc.transact(&place, &mut |_| Ok(())), Err(TokenError::Gone));
        // The reader is free again.
        assert_eq!(pcsc.transact(&place, &mut |_| Ok(())), Err(TokenError::Gone));
    }
}
