//! The conversation with a CCID reader: power, commands, time extensions, split answers.
//!
//! How messages travel is a [`Pipe`]'s matter. Each loop has an end, and everything together the time
//! of one transaction.

use crate::apdu::{self, ANSWER_BYTES_MAX, Exchange, TRANSACTION_TIME_MAX, TokenError};
use crate::ccid::{Answer, COMMAND_BYTES_MAX, Card, Command, Descriptor, Level, Outcome};
use crate::clock::Deadline;
use std::time::Duration;

/// Time extensions of one command: a token that makes a key asks some ten times a second, and all of it
/// ends with the transaction's time anyway.
const EXTENSIONS_MAX: usize = 200;

/// Answers to commands of somebody before us that are thrown away when a conversation begins.
const STALE_MAX: usize = 4;

/// Parts of one split answer: a reader with the shortest messages needs 32 for the longest answer.
const PARTS_MAX: usize = 64;

/// Asks for the next part of a split answer.
const NEXT_PART: u16 = 0x0010;

/// Carries messages to and from a reader.
pub trait Pipe {
    /// Sends one message.
    ///
    /// # Errors
    ///
    /// See [`TokenError`].
    fn send(&mut self, message: &[u8], most: Duration) -> Result<(), TokenError>;

    /// Receives one message, of at most [`MESSAGE_BYTES_MAX`](super::MESSAGE_BYTES_MAX).
    ///
    /// # Errors
    ///
    /// See [`TokenError`].
    fn receive(&mut self, most: Duration) -> Result<Vec<u8>, TokenError>;
}

/// A reader with a card that has power.
pub struct Reader<'a> {
    pipe: &'a mut dyn Pipe,
    descriptor: Descriptor,
    sequence: u8,
    deadline: Deadline,
}

impl<'a> Reader<'a> {
    /// Powers the card.
    ///
    /// # Errors
    ///
    /// [`TokenError::Unsupported`] for readers that want a protocol which this program does not speak;
    /// [`TokenError::Gone`] when there is no card.
    pub fn open(pipe: &'a mut dyn Pipe, descriptor: Descriptor) -> Result<Self, TokenError> {
        if descriptor.level == Level::Character
            || (descriptor.level == Level::Tpdu && !descriptor.settles_parameters)
        {
            return Err(TokenError::Unsupported("its reader takes no APDUs; use PC/SC"));
        }
        let deadline = Deadline::after(TRANSACTION_TIME_MAX);
        let mut reader = Self { pipe, descriptor, sequence: 0, deadline };
        reader.greet()?;
        let atr = reader.power_on()?;
        if descriptor.level == Level::Tpdu && apdu::first_protocol(&atr) != Some(0) {
            reader.close();
            return Err(TokenError::Unsupported("its card speaks T=1; use PC/SC"));
        }
        Ok(reader)
    }

    /// Takes the card's power away, so that nothing it was shown counts any longer. A reader that
    /// does not answer is left as it is.
    pub fn close(&mut self) {
        if let Err(error) = self.round(&Command::PowerOff, 0) {
            log::debug!("a card keeps its power: {error}");
        }
    }

    fn greet(&mut self) -> Result<(), TokenError> {
        let (card, ..) = self.round(&Command::SlotStatus, STALE_MAX)?;
        if card == Card::Absent { Err(TokenError::Gone) } else { Ok(()) }
    }

    fn power_on(&mut self) -> Result<Vec<u8>, TokenError> {
        let voltages = if self.descriptor.chooses_voltage {
            [Some(0), None, None]
        } else {
            self.descriptor.voltages
        };
        let mut failure = TokenError::Unsupported("its reader gives no voltage; use PC/SC");
        for voltage in voltages.into_iter().flatten() {
            match self.round(&Command::PowerOn(voltage), 0) {
                Ok((_, _, atr)) => return Ok(atr),
                Err(error @ TokenError::System(_)) => failure = error,
                Err(error) => return Err(error),
            }
        }
        Err(failure)
    }

    /// One command and its answer: the card's state, how the answer is split, the data. Up to `stale`
    /// answers to other commands are thrown away.
    fn round(
        &mut self,
        command: &Command<'_>,
        mut stale: usize,
    ) -> Result<(Card, u8, Vec<u8>), TokenError> {
        let sequence = self.sequence;
        self.sequence = self.sequence.wrapping_add(1);
        let left = self.deadline.left().ok_or(TokenError::Slow)?;
        self.pipe.send(&command.encode(sequence), left)?;
        let mut extensions = 0;
        loop {
            let left = self.deadline.left().ok_or(TokenError::Slow)?;
            let message = self.pipe.receive(left)?;
            let answer = Answer::decode(&message)?;
            if answer.sequence != sequence || answer.kind != command.answer() {
                if stale == 0 {
                    return Err(TokenError::Malformed("it answers another command"));
                }
                stale -= 1;
                continue;
            }
            match answer.outcome {
                Outcome::Done => return Ok((answer.card, answer.chain, answer.data.to_vec())),
                Outcome::Failed(_) if answer.card == Card::Absent => return Err(TokenError::Gone),
                Outcome::Failed(code) => {
                    return Err(TokenError::System(format!("the reader reports {code:02X}")));
                }
                Outcome::MoreTime if extensions == EXTENSIONS_MAX => return Err(TokenError::Slow),
                Outcome::MoreTime => extensions += 1,
            }
        }
    }
}

impl Exchange for Reader<'_> {
    fn exchange(&mut self, command: &[u8]) -> Result<Vec<u8>, TokenError> {
        if command.len() > COMMAND_BYTES_MAX {
            return Err(TokenError::TooLarge {
                bytes: command.len(),
                bytes_max: COMMAND_BYTES_MAX,
            });
        }
        let unit;
        let command = if self.descriptor.level == Level::Tpdu {
            unit = apdu::t0_unit(command);
            &unit
        } else {
            command
        };
        let (_, mut chain, mut whole) = self.round(&Command::Transfer(command, 0), 0)?;
        let mut parts = 1;
        // Only readers that take extended APDUs split answers.
        while self.descriptor.level == Level::ExtendedApdu && matches!(chain, 1 | 3) {
            if parts == PARTS_MAX {
                return Err(TokenError::Malformed("the answer has too many parts"));
            }
            let part;
            (_, chain, part) = self.round(&Command::Transfer(&[], NEXT_PART), 0)?;
            whole.extend(part);
            parts += 1;
            if whole.len() > ANSWER_BYTES_MAX {
                return Err(TokenError::Malformed("the answer is too long"));
            }
        }
        Ok(whole)
    }
}
