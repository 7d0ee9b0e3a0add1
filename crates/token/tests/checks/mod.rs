//! What must hold for any bytes from a token, shared by the fuzz targets and the replay of their
//! corpus.

// Each user of this module takes some of the checks.
#![allow(dead_code, reason = "each user of this module takes some of the checks")]

use std::time::Duration;

use licence_token::apdu::{Exchange, Place, TokenError, Via};
use licence_token::ccid::reader::{Pipe, Reader};
use licence_token::ccid::{Answer, DESCRIPTOR_BYTES, Descriptor, HEADER_BYTES, MESSAGE_BYTES_MAX};
use licence_token::licence::record::First;
use licence_token::licence::{self, DOCUMENT_BYTES_MAX};
use licence_token::piv::management::ManagementKey;
use licence_token::piv::{Piv, fixed_signature};
use licence_token::tlv;

/// Commands that one conversation may take: reading, preparing and storing have some fifty of them,
/// each with at most 64 parts.
const COMMANDS_MAX: usize = 10_000;

/// The input as answers: a length in two bytes in front of each. The last is repeated for ever.
fn answers(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = bytes;
    let mut answers = Vec::new();
    while let Some((length, behind)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length)).min(behind.len());
        let (answer, behind) = behind.split_at(length);
        answers.push(answer.to_vec());
        rest = behind;
    }
    answers
}

struct Script {
    answers: Vec<Vec<u8>>,
    asked: usize,
}

impl Script {
    fn next(&mut self) -> Vec<u8> {
        let answer = self.answers.get(self.asked).or_else(|| self.answers.last()).cloned();
        self.asked += 1;
        assert!(self.asked < COMMANDS_MAX, "a conversation without an end");
        answer.unwrap_or_default()
    }
}

impl Exchange for Script {
    fn exchange(&mut self, command: &[u8]) -> Result<Vec<u8>, TokenError> {
        assert!(command.len() <= 261, "a command of short form");
        Ok(self.next())
    }
}

impl Pipe for Script {
    fn send(&mut self, message: &[u8], _most: Duration) -> Result<(), TokenError> {
        assert!(message.len() <= MESSAGE_BYTES_MAX, "a message that readers take");
        Ok(())
    }

    fn receive(&mut self, _most: Duration) -> Result<Vec<u8>, TokenError> {
        Ok(self.next())
    }
}

/// Messages are read whole or refused; a reader that sends them comes to an end.
pub(crate) fn ccid(bytes: &[u8]) {
    if let Ok(answer) = Answer::decode(bytes) {
        assert_eq!(answer.data.len() + HEADER_BYTES, bytes.len(), "the data is all of it");
    }
    let Some((descriptor, rest)) = bytes.split_at_checked(DESCRIPTOR_BYTES) else { return };
    let Ok(descriptor) = Descriptor::parse(descriptor) else { return };
    assert!(descriptor.message_bytes_max <= MESSAGE_BYTES_MAX, "no device decides our memory");
    let mut script = Script { answers: answers(rest), asked: 0 };
    if let Ok(mut reader) = Reader::open(&mut script, descriptor) {
        let _ =
            reader.exchange(&[0x00, 0xCB, 0x3F, 0xFF, 0x05, 0x5C, 0x03, 0x5F, 0xC1, 0x20, 0x00]);
        reader.close();
    }
}

/// Elements lie within the bytes; those that are well-formed are written again as they can be read.
pub(crate) fn tlv(bytes: &[u8]) {
    let mut rest = bytes;
    while let Ok(Some(element)) = tlv::next(&mut rest) {
        let again = tlv::element(element.tag, element.value);
        // A tag may be written with a zero byte in front, which is dropped and makes another tag.
        if element.tag != 0 {
            assert_eq!(tlv::next(&mut &again[..]), Ok(Some(element)));
        }
        assert!(element.value.len() < bytes.len(), "a value lies within the bytes");
    }
    for tag in [0x53, 0x5C, 0x7C, 0x82, 0x7F49] {
        if let Ok(Some(value)) = tlv::find(bytes, tag) {
            assert!(value.len() < bytes.len(), "a value lies within the bytes");
        }
    }
    let _ = fixed_signature(bytes);
    let _ = First::parse(bytes);
}

/// A conversation with a token that answers so comes to an end, and gives no key that did not sign.
pub(crate) fn token_answer(bytes: &[u8]) {
    let place = Place { via: Via::Usb, id: String::new(), name: String::new() };
    let mut script = Script { answers: answers(bytes), asked: 0 };
    let Ok(mut piv) = Piv::select(&mut script) else { return };
    if let Ok(info) = licence::read(&mut piv, &place) {
        assert_eq!(info.key, None, "nobody can have signed a fresh challenge");
    }
    let _ = piv.attestation();
    let _ = piv.guid();
    assert!(licence::prepare(&mut piv, &ManagementKey::factory()).is_err());
    let document = "x".repeat(DOCUMENT_BYTES_MAX);
    assert!(licence::store(&mut piv, &document, &ManagementKey::factory()).is_err());
}

/// Whether the answers select the application and give an object.
pub(crate) fn has_object(bytes: &[u8]) -> bool {
    let mut script = Script { answers: answers(bytes), asked: 0 };
    Piv::select(&mut script)
        .and_then(|mut piv| piv.read_object(licence_token::piv::Object::First))
        .is_ok_and(|object| object.is_some())
}

/// Whether the reader powers a card and carries a command.
pub(crate) fn carries(bytes: &[u8]) -> bool {
    let Some((descriptor, rest)) = bytes.split_at_checked(DESCRIPTOR_BYTES) else { return false };
    let Ok(descriptor) = Descriptor::parse(descriptor) else { return false };
    let mut script = Script { answers: answers(rest), asked: 0 };
    Reader::open(&mut script, descriptor)
        .and_then(|mut reader| reader.exchange(&[0x00, 0xA4, 0x04, 0x00]))
        .is_ok()
}
