//! The PIV card application (NIST SP 800-73-4, with the Yubico extensions that tokens share) as far as
//! licences need it: slot 9E, which signs without a PIN, and two objects.
//!
//! Short APDUs only: command chaining and GET RESPONSE work at every reader. Nothing here trusts the
//! token: every answer has a size, every loop an end. What is signed and stored its callers decide.

use licence_core::holder::{POINT_BYTES, TokenKey};

use crate::apdu::{ANSWER_BYTES_MAX, Exchange, TokenError};
use crate::tlv::{self, TlvError};

pub mod management;

use management::{Algorithm, ManagementKey};

/// AID of the PIV application, with version: some firmwares do not answer to a shorter one.
const AID: [u8; 9] = [0xA0, 0x00, 0x00, 0x03, 0x08, 0x00, 0x00, 0x10, 0x00];

/// Slot of card authentication: signs without a PIN.
const SLOT: u8 = 0x9E;

/// Slot of the management key.
const MANAGEMENT: u8 = 0x9B;

/// Algorithm ECDSA on P-256.
const P256: u8 = 0x11;

/// Bytes of data in one command of short form.
const CHUNK_BYTES: usize = 255;

/// Largest data of one command, all chunks together: an object of 3 KiB and its frame.
const COMMAND_BYTES_MAX: usize = 4096;

/// Parts of one answer: [`ANSWER_BYTES_MAX`] in parts of 256 bytes, and as many again for tokens that
/// send smaller ones.
const PARTS_MAX: usize = 64;

/// Largest object that is written: the least that PIV grants a certificate's container (1905 bytes)
/// with room for its frame.
pub const OBJECT_BYTES_MAX: usize = 1800;

/// Largest certificate that is read.
const CERTIFICATE_BYTES_MAX: usize = 4096;

/// The status word for "done".
const DONE: u16 = 0x9000;

/// A data object of the application.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Object {
    /// The maker's certificate above those of attestation (Yubico).
    Attestation,
    /// Certificate of slot 9E.
    CardAuthentication,
    /// Who the card says it is.
    Chuid,
    /// Retired certificate 20: first part of what licences keep.
    First,
    /// Retired certificate 19: second part.
    Second,
}

impl Object {
    const fn tag(self) -> [u8; 3] {
        match self {
            Self::Attestation => [0x5F, 0xFF, 0x01],
            Self::CardAuthentication => [0x5F, 0xC1, 0x01],
            Self::Chuid => [0x5F, 0xC1, 0x02],
            Self::First => [0x5F, 0xC1, 0x20],
            Self::Second => [0x5F, 0xC1, 0x1F],
        }
    }
}

/// What a token says of its slot 9E.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SlotKey {
    /// There is none.
    Absent,
    /// There is one, of which the token tells neither the kind nor the public part.
    Hidden,
    /// There is one; its public part where it is on P-256 and the token tells it.
    Present(Option<TokenKey>),
    /// The token does not say.
    Unknown,
}

/// The application of one token, selected.
pub struct Piv<'a> {
    card: &'a mut dyn Exchange,
}

impl<'a> Piv<'a> {
    /// Selects the application.
    ///
    /// # Errors
    ///
    /// [`TokenError::Unsupported`] when the token does not have it.
    pub fn select(card: &'a mut dyn Exchange) -> Result<Self, TokenError> {
        let mut piv = Self { card };
        match piv.transmit(0xA4, 0x04, 0x00, &AID)? {
            (_, DONE) => Ok(piv),
            (_, 0x6A82 | 0x6A86 | 0x6D00 | 0x6E00 | 0x6999) => {
                Err(TokenError::Unsupported("it has no PIV application"))
            }
            (_, status) => Err(TokenError::Refused(status)),
        }
    }

    /// What the token says of slot 9E, by the metadata of the Yubico extensions.
    ///
    /// # Errors
    ///
    /// See [`TokenError`]; a token without the extension says [`SlotKey::Unknown`].
    pub fn slot_key(&mut self) -> Result<SlotKey, TokenError> {
        let (answer, status) = self.transmit(0xF7, 0x00, SLOT, &[])?;
        match status {
            DONE if answer.is_empty() => Ok(SlotKey::Absent),
            DONE => {
                let algorithm = find(&answer, 0x01)?;
                let public = find(&answer, 0x04)?;
                match (algorithm, public) {
                    (None, None) => Ok(SlotKey::Hidden),
                    (None | Some([P256]), Some(public)) => {
                        Ok(SlotKey::Present(Some(public_key(public)?)))
                    }
                    (Some(_), _) => Ok(SlotKey::Present(None)),
                }
            }
            0x6A88 | 0x6A82 => Ok(SlotKey::Absent),
            _ => Ok(SlotKey::Unknown),
        }
    }

    /// Whether slot 9E has a key, as far as can be found out without changing anything. When it
    /// cannot, the answer is yes: a key is never written over.
    ///
    /// # Errors
    ///
    /// See [`TokenError`].
    pub fn has_key(&mut self) -> Result<bool, TokenError> {
        if matches!(self.slot_key()?, SlotKey::Hidden | SlotKey::Present(_))
            || self.read_object(Object::CardAuthentication)?.is_some_and(|it| !it.is_empty())
        {
            return Ok(true);
        }
        // A slot without a key refuses to sign; in which words, each maker has decided anew.
        match self.sign(&[0; 32]) {
            Ok(_) => Ok(true),
            Err(TokenError::Refused(0x6A80 | 0x6A82 | 0x6A86 | 0x6A88 | 0x6985)) => Ok(false),
            Err(TokenError::Refused(_) | TokenError::Malformed(_)) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Whether the key in slot 9E is one that the firmware made for itself: Nitrokeys make one when
    /// their PIV application is first used. The token tells it to nobody, and neither a certificate
    /// nor a record of ours names it, so nobody can rely on it; without this a blank could never be
    /// made of such a token.
    fn has_key_of_nobody(&mut self) -> Result<bool, TokenError> {
        Ok(self.slot_key()? == SlotKey::Hidden
            && self.read_object(Object::CardAuthentication)?.is_none()
            && self.read_object(Object::First)?.is_none())
    }

    /// Shows the token that its management key is known; needed before anything is changed.
    ///
    /// # Errors
    ///
    /// [`TokenError::ManagementKey`] when the token takes it in none of the algorithms that fit its
    /// length.
    pub fn authenticate_management(&mut self, key: &ManagementKey) -> Result<(), TokenError> {
        let told = match self.transmit(0xF7, 0x00, MANAGEMENT, &[])? {
            (answer, DONE) => match find(&answer, 0x01)? {
                Some([number]) => Algorithm::of(*number),
                _ => None,
            },
            _ => None,
        };
        let fitting = Algorithm::ALL.into_iter().filter(|it| it.key_bytes() == key.len());
        let candidates: Vec<_> = match told {
            Some(told) if told.key_bytes() == key.len() => vec![told],
            Some(_) => return Err(TokenError::ManagementKey),
            None => fitting.collect(),
        };
        for algorithm in candidates {
            match self.answer_challenge(algorithm, key) {
                // Refused: perhaps the token's key is for another algorithm.
                Err(TokenError::Refused(_)) => {}
                other => return other,
            }
        }
        Err(TokenError::ManagementKey)
    }

    fn answer_challenge(
        &mut self,
        algorithm: Algorithm,
        key: &ManagementKey,
    ) -> Result<(), TokenError> {
        let ask = [0x7C, 0x02, 0x81, 0x00];
        let answer = self.run(0x87, algorithm.number(), MANAGEMENT, &ask)?;
        let template = find(&answer, 0x7C)?.ok_or(TokenError::Malformed("no template"))?;
        let challenge = find(template, 0x81)?.ok_or(TokenError::Malformed("no challenge"))?;
        let Some(response) = algorithm.encrypt(key, challenge) else {
            return Err(TokenError::Malformed("the challenge is not one block"));
        };
        let response = tlv::element(0x7C, &tlv::element(0x82, &response));
        self.run(0x87, algorithm.number(), MANAGEMENT, &response).map(|_| ())
    }

    /// Has the token make a key in slot 9E.
    ///
    /// # Errors
    ///
    /// [`TokenError::KeyPresent`] when there is one that anybody may rely on; management
    /// authentication must have been shown.
    pub fn generate_9e(&mut self) -> Result<TokenKey, TokenError> {
        if self.has_key()? && !self.has_key_of_nobody()? {
            return Err(TokenError::KeyPresent);
        }
        let answer = self.run(0x47, 0x00, SLOT, &[0xAC, 0x03, 0x80, 0x01, P256])?;
        let template = find(&answer, 0x7F49)?.ok_or(TokenError::Malformed("no public key"))?;
        public_key(template)
    }

    /// The signature (r and s) of slot 9E over a digest.
    ///
    /// # Errors
    ///
    /// [`TokenError::NoKey`] when the slot has none.
    pub fn sign_9e(&mut self, digest: &[u8; 32]) -> Result<[u8; 64], TokenError> {
        match self.sign(digest) {
            Err(TokenError::Refused(0x6A80 | 0x6A82 | 0x6A86 | 0x6A88 | 0x6985)) => {
                Err(TokenError::NoKey)
            }
            other => other,
        }
    }

    fn sign(&mut self, digest: &[u8; 32]) -> Result<[u8; 64], TokenError> {
        let mut template = vec![0x82, 0x00];
        tlv::push(&mut template, 0x81, digest);
        let answer = self.run(0x87, P256, SLOT, &tlv::element(0x7C, &template))?;
        let template = find(&answer, 0x7C)?.ok_or(TokenError::Malformed("no template"))?;
        let der = find(template, 0x82)?.ok_or(TokenError::Malformed("no signature"))?;
        fixed_signature(der).ok_or(TokenError::Malformed("not an ECDSA signature on P-256"))
    }

    /// The content of an object; nothing when there is none.
    ///
    /// # Errors
    ///
    /// See [`TokenError`].
    pub fn read_object(&mut self, object: Object) -> Result<Option<Vec<u8>>, TokenError> {
        let name = tlv::element(0x5C, &object.tag());
        let (answer, status) = self.transmit(0xCB, 0x3F, 0xFF, &name)?;
        match status {
            DONE if answer.is_empty() => Ok(None),
            DONE => {
                let value = find(&answer, 0x53)?.ok_or(TokenError::Malformed("no object"))?;
                Ok((!value.is_empty()).then(|| value.to_vec()))
            }
            0x6A82 | 0x6A88 => Ok(None),
            status => Err(TokenError::Refused(status)),
        }
    }

    /// Writes an object of at most [`OBJECT_BYTES_MAX`]; management authentication must have been
    /// shown.
    ///
    /// # Errors
    ///
    /// [`TokenError::TooLarge`] without asking the token.
    pub fn write_object(&mut self, object: Object, value: &[u8]) -> Result<(), TokenError> {
        if value.len() > OBJECT_BYTES_MAX {
            return Err(TokenError::TooLarge { bytes: value.len(), bytes_max: OBJECT_BYTES_MAX });
        }
        let mut data = tlv::element(0x5C, &object.tag());
        tlv::push(&mut data, 0x53, value);
        self.run(0xDB, 0x3F, 0xFF, &data).map(|_| ())
    }

    /// The certificates by which the maker attests that the key in slot 9E was made inside the token:
    /// the key's first. None where the token cannot attest.
    ///
    /// # Errors
    ///
    /// See [`TokenError`].
    pub fn attestation(&mut self) -> Result<Vec<Vec<u8>>, TokenError> {
        let (certificate, status) = self.transmit(0xF9, SLOT, 0x00, &[])?;
        if status != DONE || certificate.is_empty() {
            return Ok(Vec::new());
        }
        let mut chain = vec![checked_certificate(&certificate)?];
        if let Some(object) = self.read_object(Object::Attestation)?
            && let Some(certificate) = find(&object, 0x70)?
        {
            chain.push(checked_certificate(certificate)?);
        }
        Ok(chain)
    }

    /// The serial number that the token shows, for display only: some firmwares show a constant.
    ///
    /// # Errors
    ///
    /// See [`TokenError`]; nothing for tokens that show none.
    pub fn serial(&mut self) -> Result<Option<u32>, TokenError> {
        let (answer, status) = self.transmit(0xF8, 0x00, 0x00, &[])?;
        let number = <[u8; 4]>::try_from(answer.as_slice()).ok();
        Ok(number.filter(|_| status == DONE).map(u32::from_be_bytes))
    }

    /// The GUID of the card holder's identifier, for display only: anyone with the management key may
    /// change it.
    ///
    /// # Errors
    ///
    /// See [`TokenError`]; nothing for tokens without one.
    pub fn guid(&mut self) -> Result<Option<[u8; 16]>, TokenError> {
        let Some(chuid) = self.read_object(Object::Chuid)? else { return Ok(None) };
        Ok(find(&chuid, 0x34)?.and_then(|guid| guid.try_into().ok()))
    }

    /// A command that has to succeed.
    fn run(&mut self, ins: u8, p1: u8, p2: u8, data: &[u8]) -> Result<Vec<u8>, TokenError> {
        match self.transmit(ins, p1, p2, data)? {
            (answer, DONE) => Ok(answer),
            (_, status) => Err(TokenError::Refused(status)),
        }
    }

    /// Sends one command, in chunks where it must be, and puts its answer together.
    fn transmit(
        &mut self,
        ins: u8,
        p1: u8,
        p2: u8,
        data: &[u8],
    ) -> Result<(Vec<u8>, u16), TokenError> {
        if data.len() > COMMAND_BYTES_MAX {
            return Err(TokenError::TooLarge { bytes: data.len(), bytes_max: COMMAND_BYTES_MAX });
        }
        let mut chunks = data.chunks(CHUNK_BYTES).peekable();
        loop {
            let chunk = chunks.next().unwrap_or_default();
            let is_last = chunks.peek().is_none();
            let mut command = vec![if is_last { 0x00 } else { 0x10 }, ins, p1, p2];
            if !chunk.is_empty() {
                // A chunk has at most 255 bytes.
                command.push(u8::try_from(chunk.len()).unwrap_or(u8::MAX));
                command.extend_from_slice(chunk);
            }
            if is_last {
                command.push(0x00);
                return self.collect(command);
            }
            let (_, status) = self.exchange(&command)?;
            if status != DONE {
                return Ok((Vec::new(), status));
            }
        }
    }

    /// The whole answer to `command`, whose last byte is the length expected.
    fn collect(&mut self, mut command: Vec<u8>) -> Result<(Vec<u8>, u16), TokenError> {
        let mut whole = Vec::new();
        let mut corrected = false;
        for _ in 0..PARTS_MAX {
            let (part, status) = self.exchange(&command)?;
            whole.extend_from_slice(&part);
            if whole.len() > ANSWER_BYTES_MAX {
                return Err(TokenError::Malformed("the answer is too long"));
            }
            match status.to_be_bytes() {
                [0x61, more] => {
                    command = vec![0x00, 0xC0, 0x00, 0x00, more];
                    corrected = false;
                }
                [0x6C, right] if !corrected => {
                    corrected = true;
                    if let Some(expected) = command.last_mut() {
                        *expected = right;
                    }
                }
                _ => return Ok((whole, status)),
            }
        }
        Err(TokenError::Malformed("the answer has too many parts"))
    }

    fn exchange(&mut self, command: &[u8]) -> Result<(Vec<u8>, u16), TokenError> {
        let mut answer = self.card.exchange(command)?;
        if answer.len() > ANSWER_BYTES_MAX {
            return Err(TokenError::Malformed("the answer is too long"));
        }
        let (Some(low), Some(high)) = (answer.pop(), answer.pop()) else {
            return Err(TokenError::Malformed("the answer has no status word"));
        };
        Ok((answer, u16::from_be_bytes([high, low])))
    }
}

fn find(bytes: &[u8], tag: u32) -> Result<Option<&[u8]>, TokenError> {
    tlv::find(bytes, tag).map_err(|TlvError| TokenError::Malformed("not well-formed TLV"))
}

/// The key in a public key template.
fn public_key(template: &[u8]) -> Result<TokenKey, TokenError> {
    let point = find(template, 0x86)?.filter(|point| point.len() == POINT_BYTES);
    point
        .and_then(TokenKey::from_point)
        .ok_or(TokenError::Malformed("the public key is not a point on P-256"))
}

/// A certificate without what some tokens append to it.
fn checked_certificate(bytes: &[u8]) -> Result<Vec<u8>, TokenError> {
    let mut rest = bytes;
    let element = tlv::next(&mut rest).ok().flatten().filter(|element| element.tag == 0x30);
    if element.is_none() || bytes.len() > CERTIFICATE_BYTES_MAX {
        return Err(TokenError::Malformed("not a certificate"));
    }
    Ok(bytes[..bytes.len() - rest.len()].to_vec())
}

/// The fixed form (r and s, 32 bytes each) of a signature in DER (RFC 3279, section 2.2.3).
pub fn fixed_signature(der: &[u8]) -> Option<[u8; 64]> {
    let mut outer = der;
    let sequence = tlv::next(&mut outer).ok()?.filter(|it| it.tag == 0x30)?;
    if !outer.is_empty() {
        return None;
    }
    let mut numbers = sequence.value;
    let mut fixed = [0; 64];
    for half in fixed.chunks_exact_mut(32) {
        let number = tlv::next(&mut numbers).ok()?.filter(|it| it.tag == 0x02)?.value;
        let number = match number {
            // Negative in DER, which neither half can be; or nothing at all.
            [] | [0x80..=0xFF, ..] => return None,
            [0, rest @ ..] => rest,
            number => number,
        };
        let start = half.len().checked_sub(number.len())?;
        half[start..].copy_from_slice(number);
    }
    numbers.is_empty().then_some(fixed)
}

#[cfg(test)]
mod tests;
