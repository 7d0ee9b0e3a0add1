//! CCID (USB device class 0B, revision 1.1): messages and the class descriptor, as bytes.
//!
//! A codec without any input or output of its own; the conversation is in [`reader`].

use crate::apdu::{ANSWER_BYTES_MAX, TokenError};

pub mod reader;

/// Class of the interface.
pub const INTERFACE_CLASS: u8 = 0x0B;

/// Type of the class descriptor.
pub const DESCRIPTOR_TYPE: u8 = 0x21;

/// Bytes of the class descriptor.
pub const DESCRIPTOR_BYTES: usize = 54;

/// Bytes in front of the data of each message.
pub const HEADER_BYTES: usize = 10;

/// Largest message that is received, whatever the device says of itself.
pub const MESSAGE_BYTES_MAX: usize = HEADER_BYTES + ANSWER_BYTES_MAX;

/// Largest APDU of short form: header, length, 255 bytes and the length expected.
pub const COMMAND_BYTES_MAX: usize = 261;

/// At what level a reader takes commands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Level {
    /// Single characters.
    Character,
    /// APDUs of short and of extended form.
    ExtendedApdu,
    /// APDUs of short form.
    ShortApdu,
    /// Units of the card's transport protocol.
    Tpdu,
}

/// What a reader says of itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Descriptor {
    /// At what level it takes commands.
    pub level: Level,
    /// Whether it chooses the card's voltage.
    pub chooses_voltage: bool,
    /// Whether it settles the parameters of the card's protocol.
    pub settles_parameters: bool,
    /// Voltages that it can give, lowest first, as IccPowerOn names them.
    pub voltages: [Option<u8>; 3],
    /// Its largest message in bytes, at most [`MESSAGE_BYTES_MAX`].
    pub message_bytes_max: usize,
}

impl Descriptor {
    /// Reads the class descriptor.
    ///
    /// # Errors
    ///
    /// [`TokenError::Malformed`] when it is not one; [`TokenError::Unsupported`] when its messages
    /// have no room for a command.
    pub fn parse(bytes: &[u8]) -> Result<Self, TokenError> {
        let bytes: &[u8; DESCRIPTOR_BYTES] = bytes
            .first_chunk()
            .filter(|it| usize::from(it[0]) == DESCRIPTOR_BYTES && it[1] == DESCRIPTOR_TYPE)
            .ok_or(TokenError::Malformed("not a CCID class descriptor"))?;
        let number = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let features = number(40);
        let level = match features & 0x7_0000 {
            0x1_0000 => Level::Tpdu,
            0x2_0000 => Level::ShortApdu,
            0x4_0000 => Level::ExtendedApdu,
            0 => Level::Character,
            _ => return Err(TokenError::Malformed("the reader names two levels")),
        };
        let message_bytes_max =
            usize::try_from(number(44)).unwrap_or(usize::MAX).min(MESSAGE_BYTES_MAX);
        if message_bytes_max < HEADER_BYTES + COMMAND_BYTES_MAX {
            return Err(TokenError::Unsupported("its messages are too short; use PC/SC"));
        }
        let gives = |bit: u8, name: u8| (bytes[5] & bit != 0).then_some(name);
        Ok(Self {
            level,
            chooses_voltage: features & 0x08 != 0,
            settles_parameters: features & 0xC2 != 0,
            voltages: [gives(4, 3), gives(2, 2), gives(1, 1)],
            message_bytes_max,
        })
    }
}

/// A message to the reader.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Command<'a> {
    /// Takes the card's power away.
    PowerOff,
    /// Powers the card; 0 leaves the voltage to the reader.
    PowerOn(u8),
    /// Asks for the slot's state.
    SlotStatus,
    /// Sends bytes to the card; the number says how a long exchange is split (0: it is not).
    Transfer(&'a [u8], u16),
}

impl Command<'_> {
    /// The message's bytes. Slot 0 is the only one that tokens have.
    pub fn encode(&self, sequence: u8) -> Vec<u8> {
        let (kind, special, data): (u8, [u8; 3], &[u8]) = match self {
            Self::PowerOff => (0x63, [0; 3], &[]),
            Self::PowerOn(voltage) => (0x62, [*voltage, 0, 0], &[]),
            Self::SlotStatus => (0x65, [0; 3], &[]),
            Self::Transfer(data, level) => {
                let [low, high] = level.to_le_bytes();
                (0x6F, [0, low, high], data)
            }
        };
        let mut message = Vec::with_capacity(HEADER_BYTES + data.len());
        message.push(kind);
        message.extend(u32::try_from(data.len()).unwrap_or(u32::MAX).to_le_bytes());
        message.extend([0, sequence]);
        message.extend(special);
        message.extend(data);
        message
    }

    /// The type of its answer: DataBlock or SlotStatus.
    const fn answer(&self) -> u8 {
        match self {
            Self::PowerOn(_) | Self::Transfer(..) => 0x80,
            Self::PowerOff | Self::SlotStatus => 0x81,
        }
    }
}

/// The state of a card.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Card {
    /// There is none.
    Absent,
    /// With power.
    Active,
    /// Without power.
    Inactive,
}

/// What became of a command.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// Done.
    Done,
    /// Failed, with the reader's error code.
    Failed(u8),
    /// The card needs more time: another answer follows.
    MoreTime,
}

/// A message from the reader.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Answer<'a> {
    /// Its type.
    pub kind: u8,
    /// The number of the command that it answers.
    pub sequence: u8,
    /// The card's state.
    pub card: Card,
    /// What became of the command.
    pub outcome: Outcome,
    /// How a long answer is split: 0 not at all, 1 begins, 3 goes on, 2 ends, 16 an empty answer that
    /// asks for more of the command.
    pub chain: u8,
    /// The data.
    pub data: &'a [u8],
}

impl<'a> Answer<'a> {
    /// Reads a message.
    ///
    /// # Errors
    ///
    /// [`TokenError::Malformed`] when it is not one, or its length is not what it says.
    pub fn decode(message: &'a [u8]) -> Result<Self, TokenError> {
        let total = message_bytes(message)?;
        let (header, data) = message
            .split_first_chunk::<HEADER_BYTES>()
            .filter(|_| total == message.len())
            .ok_or(TokenError::Malformed("the message's length is not what it says"))?;
        let [kind, _, _, _, _, slot, sequence, status, error, chain] = *header;
        if slot != 0 {
            return Err(TokenError::Malformed("the message is of another slot"));
        }
        let card = match status & 0x03 {
            0 => Card::Active,
            1 => Card::Inactive,
            2 => Card::Absent,
            _ => return Err(TokenError::Malformed("the card's state is none")),
        };
        let outcome = match status >> 6 {
            0 => Outcome::Done,
            1 => Outcome::Failed(error),
            2 => Outcome::MoreTime,
            _ => return Err(TokenError::Malformed("the command's state is none")),
        };
        Ok(Self { kind, sequence, card, outcome, chain, data })
    }
}

/// How long the message is that begins with these bytes, header included.
///
/// # Errors
///
/// [`TokenError::Malformed`] when the header is cut off or names more than [`MESSAGE_BYTES_MAX`].
pub fn message_bytes(start: &[u8]) -> Result<usize, TokenError> {
    let header: &[u8; HEADER_BYTES] =
        start.first_chunk().ok_or(TokenError::Malformed("the message's header is cut off"))?;
    let length = u32::from_le_bytes([header[1], header[2], header[3], header[4]]);
    usize::try_from(length)
        .ok()
        .and_then(|length| length.checked_add(HEADER_BYTES))
        .filter(|total| *total <= MESSAGE_BYTES_MAX)
        .ok_or(TokenError::Malformed("the message is too long"))
}

#[cfg(test)]
mod tests;
