use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::apdu::Exchange;
use crate::ccid::reader::{Pipe, Reader};

/// A class descriptor with these features and this largest message.
fn descriptor(features: u32, message_bytes: u32) -> Vec<u8> {
    let mut bytes = vec![0; DESCRIPTOR_BYTES];
    (bytes[0], bytes[1], bytes[5]) = (54, DESCRIPTOR_TYPE, 0x07);
    bytes[40..44].copy_from_slice(&features.to_le_bytes());
    bytes[44..48].copy_from_slice(&message_bytes.to_le_bytes());
    bytes
}

#[test]
fn descriptors_of_real_readers_are_read() {
    let check = |features, message_bytes, level, chooses_voltage| {
        let read = Descriptor::parse(&descriptor(features, message_bytes)).unwrap();
        assert_eq!((read.level, read.chooses_voltage), (level, chooses_voltage));
        assert_eq!(read.message_bytes_max, message_bytes as usize);
        assert_eq!(read.voltages, [Some(3), Some(2), Some(1)]);
    };
    check(0x0004_00FE, 3072, Level::ExtendedApdu, true);
    check(0x0004_0840, 3072, Level::ExtendedApdu, false);
    check(0x0002_0840, 271, Level::ShortApdu, false);
    check(0x0001_04FE, 271, Level::Tpdu, true);
    check(0, 271, Level::Character, false);
    let huge = Descriptor::parse(&descriptor(0x0004_00FE, u32::MAX)).unwrap();
    assert_eq!(huge.message_bytes_max, MESSAGE_BYTES_MAX);
}

#[test]
fn descriptor_that_is_none_is_refused() {
    let good = descriptor(0x0004_00FE, 3072);
    for at in 0..good.len() {
        assert!(Descriptor::parse(&good[..at]).is_err(), "{at} bytes");
    }
    let other = [&[54, 0x22][..], &good[2..]].concat();
    assert!(matches!(Descriptor::parse(&other), Err(TokenError::Malformed(_))));
    let two = descriptor(0x0006_0000, 3072);
    assert!(matches!(Descriptor::parse(&two), Err(TokenError::Malformed(_))));
    let short = descriptor(0x0004_00FE, 270);
    assert!(matches!(Descriptor::parse(&short), Err(TokenError::Unsupported(_))));
}

#[test]
fn commands_are_written_as_the_class_has_them() {
    let check = |command: Command<'_>, bytes: &[u8]| assert_eq!(command.encode(5), bytes);
    check(Command::PowerOn(1), &[0x62, 0, 0, 0, 0, 0, 5, 1, 0, 0]);
    check(Command::PowerOff, &[0x63, 0, 0, 0, 0, 0, 5, 0, 0, 0]);
    check(Command::SlotStatus, &[0x65, 0, 0, 0, 0, 0, 5, 0, 0, 0]);
    check(Command::Transfer(&[1, 2], 0), &[0x6F, 2, 0, 0, 0, 0, 5, 0, 0, 0, 1, 2]);
    check(Command::Transfer(&[], 0x10), &[0x6F, 0, 0, 0, 0, 0, 5, 0, 0x10, 0]);
}

#[test]
fn answers_are_read_and_those_of_no_sense_are_refused() {
    let good = [0x80, 2, 0, 0, 0, 0, 7, 0x41, 0xFE, 3, 8, 9];
    let answer = Answer::decode(&good).unwrap();
    assert_eq!(
        (answer.kind, answer.sequence, answer.chain, answer.data),
        (0x80, 7, 3, &[8, 9][..])
    );
    assert_eq!((answer.card, answer.outcome), (Card::Inactive, Outcome::Failed(0xFE)));
    let with = |at: usize, byte: u8| {
        let mut changed = good;
        changed[at] = byte;
        Answer::decode(&changed).map(|it| it.outcome)
    };
    assert_eq!(with(7, 0x80), Ok(Outcome::MoreTime));
    assert_eq!(with(7, 0x02), Ok(Outcome::Done));
    for (at, byte) in [(1, 1), (1, 3), (3, 1), (4, 0xFF), (5, 1), (7, 0x03), (7, 0xC0)] {
        assert!(matches!(with(at, byte), Err(TokenError::Malformed(_))), "{at} {byte}");
    }
    for bytes in 0..good.len() {
        assert!(Answer::decode(&good[..bytes]).is_err(), "{bytes} bytes");
    }
}

/// A reader that answers by a rule: the command's bytes and how often it was asked.
struct Scripted<F> {
    answer: F,
    asked: usize,
    received: usize,
    last: Vec<u8>,
}

impl<F: FnMut(&[u8], usize) -> Vec<u8>> Pipe for Scripted<F> {
    fn send(&mut self, message: &[u8], _most: Duration) -> Result<(), TokenError> {
        self.last = message.to_vec();
        self.asked += 1;
        self.received = 0;
        Ok(())
    }

    fn receive(&mut self, _most: Duration) -> Result<Vec<u8>, TokenError> {
        self.received += 1;
        assert!(self.received < 1000, "a conversation without an end");
        Ok((self.answer)(&self.last, self.received))
    }
}

fn scripted<F: FnMut(&[u8], usize) -> Vec<u8>>(answer: F) -> Scripted<F> {
    Scripted { answer, asked: 0, received: 0, last: Vec::new() }
}

fn message(kind: u8, sequence: u8, status: u8, chain: u8, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).unwrap().to_le_bytes();
    [&[kind][..], &length, &[0, sequence, status, 0, chain], data].concat()
}

/// What a reader in order answers: a card is there, its ATR offers T=0, and it says 9000.
fn orderly(command: &[u8]) -> Vec<u8> {
    match command[0] {
        0x62 => message(0x80, command[6], 0, 0, &[0x3B, 0x00]),
        0x6F => message(0x80, command[6], 0, 0, &[0x90, 0x00]),
        _ => message(0x81, command[6], 1, 0, &[]),
    }
}

fn features(features: u32) -> Descriptor {
    Descriptor::parse(&descriptor(features, 3072)).unwrap()
}

/// The answer to one command after a beginning in order.
fn exchange(
    descriptor: Descriptor,
    answer: impl Fn(&[u8], usize) -> Vec<u8>,
) -> Result<Vec<u8>, TokenError> {
    let mut pipe =
        scripted(
            |command: &[u8], received| {
                if command[0] == 0x6F { answer(command, received) } else { orderly(command) }
            },
        );
    Reader::open(&mut pipe, descriptor)?.exchange(&[0, 0xCB, 0x3F, 0xFF, 1, 7, 0])
}

const EXTENDED: u32 = 0x0004_00FE;

#[test]
fn command_is_answered_after_time_extensions_and_in_parts() {
    let slow = exchange(features(EXTENDED), |command, received| {
        let status = if received < 50 { 0x80 } else { 0 };
        message(0x80, command[6], status, 0, &[0x90, 0])
    });
    assert_eq!(slow, Ok(vec![0x90, 0]));
    let parts = exchange(features(EXTENDED), |command, _| {
        let chain = if command[8] == 0x10 { 2 } else { 1 };
        message(0x80, command[6], 0, chain, &[chain])
    });
    assert_eq!(parts, Ok(vec![1, 2]));
    // At the level of short APDUs the byte means nothing.
    let short =
        exchange(features(0x0002_0048), |command, _| message(0x80, command[6], 0, 1, &[0x90, 0]));
    assert_eq!(short, Ok(vec![0x90, 0]));
}

#[test]
fn hostile_reader_ends_in_an_error() {
    let check = |answer: &dyn Fn(&[u8], usize) -> Vec<u8>, wanted: TokenError| {
        assert_eq!(exchange(features(EXTENDED), answer), Err(wanted));
    };
    let other = TokenError::Malformed("it answers another command");
    check(&|command, _| message(0x80, command[6].wrapping_add(1), 0, 0, &[0x90, 0]), other.clone());
    check(&|command, _| message(0x81, command[6], 0, 0, &[]), other);
    check(&|command, _| message(0x80, command[6], 0x80, 0, &[]), TokenError::Slow);
    let many = TokenError::Malformed("the answer has too many parts");
    check(&|command, _| message(0x80, command[6], 0, 3, &[]), many);
    let long = TokenError::Malformed("the answer is too long");
    check(&|command, _| message(0x80, command[6], 0, 3, &[7; 3000]), long);
    let length = TokenError::Malformed("the message's length is not what it says");
    check(&|command, _| message(0x80, command[6], 0, 0, &[7; 20])[..25].to_vec(), length);
    let cut = TokenError::Malformed("the message's header is cut off");
    check(&|_, _| Vec::new(), cut);
    let removed = |command: &[u8], _| message(0x80, command[6], 0x42, 0, &[]);
    check(&removed, TokenError::Gone);
    let failed = |command: &[u8], _| message(0x80, command[6], 0x40, 0, &[]);
    check(&failed, TokenError::System("the reader reports 00".to_owned()));
}

#[test]
fn answers_to_commands_of_somebody_before_are_thrown_away_but_not_for_ever() {
    let begin = |stale: usize| {
        let mut pipe = scripted(move |command: &[u8], received| {
            if command[0] == 0x65 && received <= stale {
                message(0x80, 77, 0, 0, &[0x90, 0])
            } else {
                orderly(command)
            }
        });
        Reader::open(&mut pipe, features(EXTENDED)).map(|_| ())
    };
    assert_eq!(begin(4), Ok(()));
    assert_eq!(begin(5), Err(TokenError::Malformed("it answers another command")));
}

#[test]
fn reader_without_a_card_or_of_another_level_is_refused() {
    let open = |features: Descriptor, status: u8, atr: &'static [u8]| {
        let mut pipe = scripted(move |command: &[u8], _| match command[0] {
            0x62 => message(0x80, command[6], 0, 0, atr),
            _ => message(0x81, command[6], status, 0, &[]),
        });
        Reader::open(&mut pipe, features).map(|_| ())
    };
    assert_eq!(open(features(EXTENDED), 2, &[]), Err(TokenError::Gone));
    assert_eq!(open(features(EXTENDED), 1, &[]), Ok(()));
    assert_eq!(open(features(0x0001_04FE), 1, &[0x3B, 0x00]), Ok(()));
    for (features, atr) in [
        (features(0x0001_04FE), &[0x3B, 0x80, 0x01][..]),
        (features(0x0001_04FE), &[]),
        (features(0x0001_0408), &[0x3B, 0x00]),
        (features(0), &[0x3B, 0x00]),
    ] {
        let result = open(features, 1, atr);
        assert!(matches!(result, Err(TokenError::Unsupported(text)) if text.contains("PC/SC")));
    }
}

#[test]
fn voltages_are_tried_from_the_lowest_when_the_reader_does_not_choose() {
    let mut tried = Vec::new();
    let mut pipe = scripted(|command: &[u8], _| {
        if command[0] == 0x62 {
            tried.push(command[7]);
            let status = if command[7] == 1 { 0 } else { 0x41 };
            return message(0x80, command[6], status, 0, &[0x3B, 0x00]);
        }
        orderly(command)
    });
    assert!(Reader::open(&mut pipe, features(0x0004_0840)).is_ok());
    assert_eq!(tried, [3, 2, 1]);
}

#[test]
fn units_of_t0_leave_out_the_length_that_is_expected() {
    let echoed = |descriptor| {
        exchange(descriptor, |command, _| message(0x80, command[6], 0, 0, &command[10..]))
    };
    assert_eq!(echoed(features(0x0001_04FE)), Ok(vec![0, 0xCB, 0x3F, 0xFF, 1, 7]));
    assert_eq!(echoed(features(EXTENDED)), Ok(vec![0, 0xCB, 0x3F, 0xFF, 1, 7, 0]));
}

#[test]
fn command_longer_than_short_form_is_not_sent() {
    let mut pipe = scripted(|command: &[u8], _| orderly(command));
    let mut reader = Reader::open(&mut pipe, features(EXTENDED)).unwrap();
    assert!(matches!(reader.exchange(&[0; 262]), Err(TokenError::TooLarge { .. })));
}

proptest! {
    #[test]
    fn any_bytes_from_a_reader_do_no_harm(
        answers in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..30), 1..8),
        level in prop_oneof![Just(EXTENDED), Just(0x0001_04FE_u32), Just(0x0002_0840)],
        follow in any::<bool>(),
    ) {
        let mut next = answers.iter().cycle();
        let mut pipe = scripted(|command: &[u8], _| {
            let mut answer = next.next().cloned().unwrap_or_default();
            // With the header in order the rest is reached.
            if follow && answer.len() >= HEADER_BYTES {
                let length = u32::try_from(answer.len() - HEADER_BYTES).unwrap().to_le_bytes();
                answer[0] = if matches!(command[0], 0x62 | 0x6F) { 0x80 } else { 0x81 };
                answer[1..5].copy_from_slice(&length);
                (answer[5], answer[6]) = (0, command[6]);
            }
            answer
        });
        if let Ok(mut reader) = Reader::open(&mut pipe, features(level)) {
            let _ = reader.exchange(&[0, 0xA4, 4, 0]);
            reader.close();
        }
    }

    #[test]
    fn any_descriptor_is_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..70)) {
        let _ = Descriptor::parse(&bytes);
        let _ = message_bytes(&bytes);
    }
}
