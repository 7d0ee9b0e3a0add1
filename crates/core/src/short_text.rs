//! Requests and licences short enough to be read out over a telephone: what is in them, and how a
//! licence document is made again from its short form, byte for byte.
//!
//! How the bytes become lines of symbols is [`lines`]' matter, how values become bytes [`packed`]'s.
//! A text names no series key and proves nothing by itself: a request is bound to its asker by the
//! licence that comes of it, and an answer is worth what the signature of the series in it is worth.
//! Who may have a licence, and whether one is taken, is not decided here.

mod lines;
mod packed;

use crate::activation::ActivationCode;
use crate::binding::{Binding, BindingLevel};
use crate::jws;
use crate::key::{Flags, KeyKind, KeyNo, KeySeries};
use crate::licence_file::{
    LICENCE_FORMAT, LICENCE_TYP, Licence, LicenceClaims, LicenceError, LicenceFields, SupportFields,
};
use crate::seal::{KEY_BYTES, PublicKey};
use crate::series::{SeriesDescriptor, SeriesError};
use crate::time::Utc;
pub use lines::{LINE_SYMBOLS, LINES_MAX, TEXT_BYTES_MAX, looks_like_short_text};
use packed::{Reader, Writer};

/// First byte of a request: what it is, and the version of its form.
const REQUEST: u8 = 0x11;
/// First byte of an answer.
const ANSWER: u8 = 0x21;

/// Bytes of a hardware fingerprint.
const COMPUTER_BYTES: usize = 20;
/// Bytes of the id of an activation.
const ACTIVATION_BYTES: usize = 16;
/// Bytes of a signature.
const SIGNATURE_BYTES: usize = 64;
/// Digits of an owner's number: those of the longest ИНН.
const OWNER_DIGITS_MAX: usize = 12;

/// Why a text is not the one that was read out, or a licence has no short form.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ShortTextError {
    /// A character that no line contains.
    #[error("line {line}: {found:?} does not occur in the text")]
    Character {
        /// Which line, from 1.
        line: usize,
        /// What stands there.
        found: char,
    },
    /// The check symbol of a line does not fit: a mistake in this line.
    #[error("line {line}: one of the characters is wrong")]
    Check {
        /// Which line, from 1.
        line: usize,
    },
    /// Every line fits and the text does not: two mistakes in one line, or a line of another text.
    #[error("the lines do not belong to one text; read it out once more")]
    Digest,
    /// A request where an answer is expected, or the other way round.
    #[error("it is {0}")]
    Kind(&'static str),
    /// A line has too few or too many characters.
    #[error("line {line}: it has {found} characters instead of {LINE_SYMBOLS}")]
    Length {
        /// Which line, from 1.
        line: usize,
        /// How many it has.
        found: usize,
    },
    /// The last lines are missing, or there are more than there should be.
    #[error("the text has {found} lines instead of {wanted}")]
    Lines {
        /// How many there are.
        found: usize,
        /// How many there should be.
        wanted: usize,
    },
    /// The first symbol of a line is not its number: a line is missing, doubled or out of place.
    #[error("line {line}: another line stands in its place")]
    Order {
        /// Which line, from 1.
        line: usize,
    },
    /// Longer than any text of this kind.
    #[error("longer than {TEXT_BYTES_MAX} bytes")]
    TooLong,
    /// Genuine to look at, and something in it is outside its limits.
    #[error("{0} is outside its limits")]
    Value(&'static str),
    /// A version of the form that this program does not know.
    #[error("another version of the form; a newer program is needed")]
    Version,
}

impl ShortTextError {
    /// The line that is wrong, from 1, when it is known to be one.
    pub const fn line(&self) -> Option<usize> {
        match self {
            Self::Character { line, .. }
            | Self::Check { line }
            | Self::Length { line, .. }
            | Self::Order { line } => Some(*line),
            Self::Digest
            | Self::Kind(_)
            | Self::Lines { .. }
            | Self::TooLong
            | Self::Value(_)
            | Self::Version => None,
        }
    }
}

/// Why a licence document was not made of a short one.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RebuildError {
    /// Made, and not genuine: meant for another server, or the description of the series here is
    /// another than the centre's.
    #[error(
        "the licence is not genuine here: it is meant for another server, or the description of the \
         series here is another than the centre's"
    )]
    Licence(#[source] LicenceError),
    /// The description has no usable key.
    #[error("the description of the series")]
    Series(#[source] SeriesError),
    /// The description is of another series.
    #[error("the licence is of series {0}")]
    SeriesOther(KeySeries),
}

/// A request for a licence by code, read out by a person. It is not signed: whoever has the code
/// may name the key that the licence shall be bound to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ShortRequest {
    /// The code; it names the series.
    pub code: ActivationCode,
    /// The identity of the server that the licence shall be bound to.
    pub holder: PublicKey,
    /// Hardware fingerprint of the server, 40 hex digits in capitals.
    pub computer_id: String,
    /// Owner's ИНН, digits.
    pub itn: Option<String>,
    /// Owner's КПП, digits.
    pub iec: Option<String>,
}

impl ShortRequest {
    /// The text: numbered lines of five groups of four symbols.
    ///
    /// # Errors
    ///
    /// [`ShortTextError::Value`] for a fingerprint or an owner's number that is none.
    pub fn encode(&self) -> Result<String, ShortTextError> {
        let mut writer = Writer::new(REQUEST);
        writer.code(self.code);
        writer.bytes(self.holder.as_bytes());
        let computer = unhex::<COMPUTER_BYTES>(&self.computer_id);
        writer.bytes(&computer.ok_or(ShortTextError::Value("ComputerID"))?);
        writer.byte(u8::from(self.itn.is_some()) | (u8::from(self.iec.is_some()) << 1));
        for (name, digits) in [("ITN", &self.itn), ("IEC", &self.iec)] {
            if let Some(digits) = digits {
                writer.digits(digits).ok_or(ShortTextError::Value(name))?;
            }
        }
        lines::write(&writer.finish().ok_or(ShortTextError::TooLong)?)
    }

    /// Reads the text.
    ///
    /// # Errors
    ///
    /// See [`ShortTextError`]; it names the line that is wrong.
    pub fn decode(text: &str) -> Result<Self, ShortTextError> {
        let bytes = lines::read(text)?;
        let mut reader = Reader::open(&bytes, REQUEST)?;
        let code = reader.code()?;
        let holder = PublicKey::from_bytes(reader.array::<KEY_BYTES>("the key")?);
        let computer_id = hex(&reader.array::<COMPUTER_BYTES>("ComputerID")?);
        let given = reader.byte("the owner")?;
        if given > 3 {
            return Err(ShortTextError::Value("the owner"));
        }
        let itn = (given & 1 != 0).then(|| reader.digits("ITN")).transpose()?;
        let iec = (given & 2 != 0).then(|| reader.digits("IEC")).transpose()?;
        reader.end()?;
        Ok(Self { code, holder, computer_id, itn, iec })
    }
}

/// Which optional members an answer has.
mod given {
    pub(super) const REG_NO: u16 = 1;
    pub(super) const START: u16 = 1 << 1;
    pub(super) const EXPIRE: u16 = 1 << 2;
    pub(super) const FLAGS: u16 = 1 << 3;
    pub(super) const ITN: u16 = 1 << 4;
    pub(super) const IEC: u16 = 1 << 5;
    pub(super) const RECOVERED: u16 = 1 << 6;
    pub(super) const BINDING: u16 = 1 << 7;
    pub(super) const ALL: u16 = (1 << 8) - 1;
}

/// A licence in its short form: exactly what its server cannot know, and the signature.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ShortAnswer {
    code: ActivationCode,
    key_no: KeyNo,
    kind: KeyKind,
    activation: [u8; ACTIVATION_BYTES],
    activated: Utc,
    /// Seconds from the activation to the issue.
    issued_after: u64,
    seats: u32,
    service_type: u8,
    product_version: u32,
    period: u32,
    reg_no: Option<u32>,
    start: Option<Utc>,
    expire: Option<Utc>,
    flags: Flags,
    itn: Option<String>,
    iec: Option<String>,
    recovered: bool,
    binding: Option<Binding>,
    signature: [u8; SIGNATURE_BYTES],
}

/// A licence without what a telephone cannot carry: object key, parameters, long names, support.
/// Everything that decides about seats stays.
#[must_use]
pub fn short_form(mut claims: LicenceClaims) -> LicenceClaims {
    claims.object_key = None;
    claims.fields.article = None;
    claims.fields.article_name = None;
    claims.fields.parameters.clear();
    let recovered = claims.fields.support.recovered;
    claims.fields.support = SupportFields { recovered, ..SupportFields::default() };
    claims
}

impl ShortAnswer {
    /// The short form of a licence document that was signed in its [`short_form`], for the server
    /// that it is bound to. What is given out is what was proved: the document is made again and
    /// compared.
    ///
    /// # Errors
    ///
    /// [`ShortTextError::Value`] for a licence that has no short form: it has members beyond it, is
    /// bound to a token, or was made by another version of the form.
    pub fn of(licence: &Licence, series: &SeriesDescriptor) -> Result<Self, ShortTextError> {
        let (claims, fields) = (&licence.claims, licence.fields());
        let crate::holder::Holder::Server(holder) = &licence.holder else {
            return Err(ShortTextError::Value("the holder"));
        };
        let activated = fields.activation_date;
        let issued_after = claims.iat.checked_sub(activated.unix_seconds());
        let answer = Self {
            code: fields.activation_code,
            key_no: fields.key_no,
            kind: licence.kind,
            activation: unhex(&claims.jti).ok_or(ShortTextError::Value("the activation"))?,
            activated,
            issued_after: issued_after
                .and_then(|seconds| u64::try_from(seconds).ok())
                .ok_or(ShortTextError::Value("the time of issue"))?,
            seats: fields.licence_count,
            service_type: fields.service_type,
            product_version: fields.product_version,
            period: fields.period,
            reg_no: fields.reg_no,
            start: fields.start_date,
            expire: fields.expire_date,
            flags: fields.flags,
            itn: fields.itn.clone(),
            iec: fields.iec.clone(),
            recovered: fields.support.recovered,
            binding: claims.binding,
            signature: jws::signature_of(&licence.document)
                .and_then(|bytes| bytes.try_into().ok())
                .ok_or(ShortTextError::Value("the signature"))?,
        };
        match answer.rebuild(series, holder) {
            Ok(document) if document == licence.document => Ok(answer),
            _ => Err(ShortTextError::Value("the licence")),
        }
    }

    /// The series of the licence, as it says itself.
    pub const fn series(&self) -> KeySeries {
        self.code.series()
    }

    /// The text: numbered lines of five groups of four symbols.
    ///
    /// # Errors
    ///
    /// [`ShortTextError::Value`] for what lies outside its limits.
    pub fn encode(&self) -> Result<String, ShortTextError> {
        let mut writer = Writer::new(ANSWER);
        writer.code(self.code);
        writer.number(self.key_no.0.into());
        let mut has = 0;
        for (bit, is_given) in [
            (given::REG_NO, self.reg_no.is_some()),
            (given::START, self.start.is_some()),
            (given::EXPIRE, self.expire.is_some()),
            (given::FLAGS, self.flags != Flags(0)),
            (given::ITN, self.itn.is_some()),
            (given::IEC, self.iec.is_some()),
            (given::RECOVERED, self.recovered),
            (given::BINDING, self.binding.is_some()),
        ] {
            if is_given {
                has |= bit;
            }
        }
        writer.number(has.into());
        writer.byte(self.kind.code());
        writer.bytes(&self.activation);
        writer.moment(self.activated).ok_or(ShortTextError::Value("ActivationDate"))?;
        writer.number(self.issued_after);
        writer.number(self.seats.into());
        writer.byte(self.service_type);
        writer.number(self.product_version.into());
        writer.number(self.period.into());
        if let Some(reg_no) = self.reg_no {
            writer.number(reg_no.into());
        }
        for (name, moment) in [("StartDate", self.start), ("ExpireDate", self.expire)] {
            if let Some(moment) = moment {
                writer.moment(moment).ok_or(ShortTextError::Value(name))?;
            }
        }
        if self.flags != Flags(0) {
            writer.bytes(&self.flags.0.to_be_bytes());
        }
        for (name, digits) in [("ITN", &self.itn), ("IEC", &self.iec)] {
            if let Some(digits) = digits {
                writer.digits(digits).ok_or(ShortTextError::Value(name))?;
            }
        }
        if let Some(binding) = self.binding {
            writer.byte(level_code(binding.level));
            writer.number(binding.grace_days.into());
        }
        writer.bytes(&self.signature);
        lines::write(&writer.finish().ok_or(ShortTextError::TooLong)?)
    }

    /// Reads the text. What it says is believed only once [`Self::rebuild`] has verified it.
    ///
    /// # Errors
    ///
    /// See [`ShortTextError`]; it names the line that is wrong.
    pub fn decode(text: &str) -> Result<Self, ShortTextError> {
        let bytes = lines::read(text)?;
        let mut reader = Reader::open(&bytes, ANSWER)?;
        let code = reader.code()?;
        let key_no = KeyNo(reader.number_32("KeyNo")?);
        let has = u16::try_from(reader.number("the members")?)
            .ok()
            .filter(|has| has & !given::ALL == 0)
            .ok_or(ShortTextError::Version)?;
        let is = |bit: u16| has & bit != 0;
        let kind = KeyKind::from_code(reader.byte("KeyType")?);
        let answer = Self {
            code,
            key_no,
            kind: kind.ok_or(ShortTextError::Value("KeyType"))?,
            activation: reader.array("the activation")?,
            activated: reader.moment("ActivationDate")?,
            issued_after: reader.number("the time of issue")?,
            seats: reader.number_32("LicenceCount")?,
            service_type: reader.byte("ServiceType")?,
            product_version: reader.number_32("ProductVersion")?,
            period: reader.number_32("Period")?,
            reg_no: is(given::REG_NO).then(|| reader.number_32("RegNo")).transpose()?,
            start: is(given::START).then(|| reader.moment("StartDate")).transpose()?,
            expire: is(given::EXPIRE).then(|| reader.moment("ExpireDate")).transpose()?,
            flags: if is(given::FLAGS) {
                Flags(u32::from_be_bytes(reader.array("Flags")?))
            } else {
                Flags(0)
            },
            itn: is(given::ITN).then(|| reader.digits("ITN")).transpose()?,
            iec: is(given::IEC).then(|| reader.digits("IEC")).transpose()?,
            recovered: is(given::RECOVERED),
            binding: is(given::BINDING).then(|| read_binding(&mut reader)).transpose()?,
            signature: reader.array("the signature")?,
        };
        reader.end()?;
        Ok(answer)
    }

    /// The licence document for the server with this identity, verified under the key of its series.
    ///
    /// # Errors
    ///
    /// See [`RebuildError`].
    pub fn rebuild(
        &self,
        series: &SeriesDescriptor,
        identity: &PublicKey,
    ) -> Result<String, RebuildError> {
        if series.series != self.series() {
            return Err(RebuildError::SeriesOther(self.series()));
        }
        let key = series.signing_key().map_err(RebuildError::Series)?;
        let unfit = || RebuildError::Licence(LicenceError::Claims("it cannot be written as JSON"));
        let document =
            jws::joined(LICENCE_TYP, &self.claims(series, identity), &key, &self.signature)
                .map_err(|_| unfit())?;
        Licence::verify(&document, &key).map_err(RebuildError::Licence)?;
        Ok(document)
    }

    fn claims(&self, series: &SeriesDescriptor, identity: &PublicKey) -> LicenceClaims {
        let fields = LicenceFields {
            version: LICENCE_FORMAT.to_owned(),
            key_no: self.key_no,
            key_id: self.series(),
            reg_no: self.reg_no,
            key_type: self.kind.code(),
            service_type: self.service_type,
            licence_count: self.seats,
            product_version: self.product_version,
            blank_key_no: None,
            activation_code: self.code,
            activation_date: self.activated,
            start_date: self.start,
            period: self.period,
            expire_date: self.expire,
            flags: self.flags,
            itn: self.itn.clone(),
            iec: self.iec.clone(),
            product_name: series.product_name.clone(),
            article: None,
            article_name: None,
            parameters: std::collections::BTreeMap::new(),
            support: SupportFields { recovered: self.recovered, ..SupportFields::default() },
        };
        let mut claims =
            LicenceClaims::new(hex(&self.activation), self.activated, *identity, fields);
        let after = i64::try_from(self.issued_after).unwrap_or(i64::MAX);
        claims.iat = self.activated.unix_seconds().saturating_add(after);
        claims.binding = self.binding;
        claims
    }
}

const fn level_code(level: BindingLevel) -> u8 {
    match level {
        BindingLevel::Loose => 1,
        BindingLevel::Medium => 2,
        BindingLevel::Strict => 3,
        BindingLevel::Tpm => 4,
    }
}

fn read_binding(reader: &mut Reader<'_>) -> Result<Binding, ShortTextError> {
    let level = match reader.byte("Binding")? {
        1 => BindingLevel::Loose,
        2 => BindingLevel::Medium,
        3 => BindingLevel::Strict,
        4 => BindingLevel::Tpm,
        _ => return Err(ShortTextError::Value("Binding")),
    };
    let grace_days = u16::try_from(reader.number("Binding")?);
    Ok(Binding { level, grace_days: grace_days.map_err(|_| ShortTextError::Value("Binding"))? })
}

fn hex(bytes: &[u8]) -> String {
    crate::seal::hex_upper(bytes)
}

/// The bytes behind hex digits in capitals; nothing for anything else.
fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digit = |symbol: u8| char::from(symbol).to_digit(16);
        *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests;
