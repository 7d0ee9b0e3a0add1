//! Looking into a signature before it is spent: what CMS (RFC 5652) says of itself.
//!
//! The mathematics of GOST is left to the service. Told here: whether it is attached, what it signs,
//! whose certificate it carries and until when that is valid. Only what the service refuses for
//! certain is a [`Fault`]; everything else is a [`Warning`], because a representative signs with
//! another ИНН by right and the parser here is stricter than the standard.

use std::time::Duration;

use cms::cert::CertificateChoices;
use cms::content_info::ContentInfo;
use cms::signed_data::{SignedData, SignerIdentifier, SignerInfo};
use der::asn1::{Any, ObjectIdentifier};
use der::{Decode, Tag, Tagged};
use licence_core::time::Utc;
use x509_cert::Certificate;
use x509_cert::ext::pkix::SubjectKeyIdentifier;

use crate::book::Text;
use crate::exchange::SIGNATURE_BYTES_MAX;
use crate::key::Inn;

/// Longest signature that is looked into, in bytes: what [`SIGNATURE_BYTES_MAX`] of base64 hold.
pub const DER_BYTES_MAX: usize = SIGNATURE_BYTES_MAX / 4 * 3;

/// Most ИНН that are read from one certificate: of the person and of the organisation.
const INNS_MAX: usize = 4;

/// `id-signedData` (RFC 5652, section 5.1).
const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");

/// `ИНН` in the subject of a certificate: of the person; in older certificates of organisations the
/// organisation's with two noughts in front.
const INN: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.643.3.131.1.1");

/// `ИННЮЛ`: of the organisation.
const INN_OF_ORGANISATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.643.100.4");

/// GOST R 34.10-2012 with keys of 256 and 512 bits, and each together with its digest.
const GOST: [ObjectIdentifier; 4] = [
    ObjectIdentifier::new_unwrap("1.2.643.7.1.1.1.1"),
    ObjectIdentifier::new_unwrap("1.2.643.7.1.1.1.2"),
    ObjectIdentifier::new_unwrap("1.2.643.7.1.1.3.2"),
    ObjectIdentifier::new_unwrap("1.2.643.7.1.1.3.3"),
];

/// Why a signature is not worth sending: the service would refuse it, and the challenge be lost.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Longer than [`DER_BYTES_MAX`].
    #[error("the signature is longer than {DER_BYTES_MAX} bytes")]
    TooLong,
    /// No container of CMS at all, or one that signs nothing.
    #[error("this is no signature in the form of CMS")]
    NotSignature,
    /// The signed text is not in it.
    #[error("the signature is detached; an attached one is needed")]
    Detached,
    /// Not the challenge is signed.
    #[error("the signature signs something else than the challenge: {0}")]
    OtherContent(Content),
}

/// What is signed instead of the challenge.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Content {
    /// Nothing of zero length.
    #[error("an empty text")]
    Empty,
    /// The challenge and a line break or blank around it.
    #[error("the challenge with blanks or line breaks around it")]
    Blanks,
    /// The challenge behind a byte-order mark, or in UTF-16.
    #[error("the challenge in another encoding than UTF-8 without a mark")]
    Encoding,
    /// The challenge in base64.
    #[error("the challenge in base64")]
    Base64,
    /// Another text: as a rule an earlier challenge, or a digest.
    #[error("another text")]
    Other,
}

impl Fault {
    /// For people, in both languages.
    pub fn text(self) -> Text {
        let russian = match self {
            Self::TooLong => format!("Подпись длиннее {DER_BYTES_MAX} байт."),
            Self::NotSignature => {
                "Это не подпись в формате CMS (CAdES-BES). Подпишите данные ещё раз.".to_owned()
            }
            Self::Detached => {
                "Подпись откреплённая. Нужна присоединённая подпись (Открепленная = Ложь)."
                    .to_owned()
            }
            Self::OtherContent(content) => {
                let what = match content {
                    Content::Empty => "пустой текст",
                    Content::Blanks => "данные с пробелами или переводами строк",
                    Content::Encoding => "данные в другой кодировке: нужна UTF-8 без метки",
                    Content::Base64 => "данные в base64",
                    Content::Other => "другой текст",
                };
                format!("Подписаны не данные запроса, а {what}. Подпишите данные без изменений.")
            }
        };
        let english = match self {
            Self::TooLong => format!("The signature is longer than {DER_BYTES_MAX} bytes."),
            Self::NotSignature => {
                "This is no signature in the form of CMS (CAdES-BES). Sign the data again."
                    .to_owned()
            }
            Self::Detached => {
                "The signature is detached. An attached one is needed (Detached = False)."
                    .to_owned()
            }
            Self::OtherContent(content) => {
                format!(
                    "Not the data of the request are signed, but {content}. Sign them unchanged."
                )
            }
        };
        Text { russian, english }
    }
}

/// What is odd about a signature that may be good all the same.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Warning {
    /// It could not be looked into: the parser takes only DER, and BER is legal.
    Unreadable,
    /// The signer's certificate is not in it.
    NoCertificate,
    /// The certificate has ended.
    CertificateEnded(Utc),
    /// The certificate begins later.
    CertificateNotYet(Utc),
    /// The certificate is another organisation's. A representative with a machine-readable power of
    /// attorney (МЧД) signs so by right.
    OtherOrganisation(Vec<Inn>),
    /// Not signed by GOST R 34.10-2012.
    NotGost,
}

impl Warning {
    /// For people, in both languages.
    pub fn text(&self) -> Text {
        let text = |russian: &str, english: &str| Text {
            russian: russian.to_owned(),
            english: english.to_owned(),
        };
        match self {
            Self::Unreadable => text(
                "Подпись не удалось проверить до отправки: её формат отличается от DER.",
                "The signature could not be checked before it was sent: its form is not DER.",
            ),
            Self::NoCertificate => text(
                "В подписи нет сертификата подписавшего.",
                "The signer's certificate is not in the signature.",
            ),
            Self::CertificateEnded(at) => text(
                &format!("Срок действия сертификата закончился {at}."),
                &format!("The certificate ended at {at}."),
            ),
            Self::CertificateNotYet(from) => text(
                &format!("Срок действия сертификата начинается {from}."),
                &format!("The certificate begins at {from}."),
            ),
            Self::OtherOrganisation(inns) => {
                let inns = inns.iter().map(Inn::as_str).collect::<Vec<_>>().join(", ");
                text(
                    &format!(
                        "Сертификат выдан на другой ИНН ({inns}): это верно только при подписи по МЧД."
                    ),
                    &format!(
                        "The certificate is of another INN ({inns}), which is right only with a power of attorney (МЧД)."
                    ),
                )
            }
            Self::NotGost => text(
                "Подпись сделана не по ГОСТ Р 34.10-2012.",
                "The signature is not by GOST R 34.10-2012.",
            ),
        }
    }
}

/// Who signed, as the certificate says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Signer {
    /// Every ИНН in the subject, the organisation's first, without the noughts that older
    /// certificates put in front.
    pub inns: Vec<Inn>,
    /// First moment of the certificate.
    pub not_before: Utc,
    /// Last moment of the certificate.
    pub not_after: Utc,
}

/// What was found in a signature that may be sent.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Inspection {
    /// The first signer whose certificate is in it.
    pub signer: Option<Signer>,
    warnings: Vec<Warning>,
}

impl Inspection {
    /// What is odd, when it is to sign in for this organisation.
    pub fn warnings(&self, organisation: &Inn) -> Vec<Warning> {
        let mut warnings = self.warnings.clone();
        let inns = self.signer.as_ref().map_or(&[][..], |signer| &signer.inns);
        if !inns.is_empty() && !inns.contains(organisation) {
            warnings.push(Warning::OtherOrganisation(inns.to_vec()));
        }
        warnings
    }

    /// The same in one text; nothing when nothing is odd.
    pub fn text(&self, organisation: &Inn) -> Option<Text> {
        let texts: Vec<Text> = self.warnings(organisation).iter().map(Warning::text).collect();
        let joined = |part: fn(&Text) -> &str| texts.iter().map(part).collect::<Vec<_>>().join(" ");
        let text =
            Text { russian: joined(|text| &text.russian), english: joined(|text| &text.english) };
        (!texts.is_empty()).then_some(text)
    }
}

/// Looks into a signature: `der` is the container without base64, `data` what should be signed.
///
/// # Errors
///
/// When it is certain that the service would refuse it.
pub fn inspect(der: &[u8], data: &[u8], now: Utc) -> Result<Inspection, Fault> {
    if der.len() > DER_BYTES_MAX {
        return Err(Fault::TooLong);
    }
    // A SEQUENCE is what every form of CMS begins with, BER's too.
    if der.first() != Some(&0x30) {
        return Err(Fault::NotSignature);
    }
    let unreadable = Inspection { signer: None, warnings: vec![Warning::Unreadable] };
    let Ok(outer) = ContentInfo::from_der(der) else { return Ok(unreadable) };
    if outer.content_type != SIGNED_DATA {
        return Err(Fault::NotSignature);
    }
    let Ok(signed) = outer.content.decode_as::<SignedData>() else { return Ok(unreadable) };
    let infos = signed.signer_infos.0.as_slice();
    if infos.is_empty() {
        return Err(Fault::NotSignature);
    }
    let Some(content) = &signed.encap_content_info.econtent else { return Err(Fault::Detached) };
    // The content of PKCS #7, which is older, may be anything.
    if content.tag() != Tag::OctetString {
        return Ok(unreadable);
    }
    if let Some(other) = difference(content.value(), data) {
        return Err(Fault::OtherContent(other));
    }
    let mut found = Inspection::default();
    if !infos.iter().any(|info| GOST.contains(&info.signature_algorithm.oid)) {
        found.warnings.push(Warning::NotGost);
    }
    match infos.iter().find_map(|info| certificate(&signed, info)) {
        Some(certificate) => {
            let signer = signer(certificate);
            if signer.not_after < now {
                found.warnings.push(Warning::CertificateEnded(signer.not_after));
            } else if signer.not_before > now {
                found.warnings.push(Warning::CertificateNotYet(signer.not_before));
            }
            found.signer = Some(signer);
        }
        None => found.warnings.push(Warning::NoCertificate),
    }
    Ok(found)
}

/// How what is signed differs from what should be.
fn difference(content: &[u8], data: &[u8]) -> Option<Content> {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    if content == data {
        return None;
    }
    let utf16 = |bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
        String::from_utf8_lossy(data).encode_utf16().flat_map(bytes).collect()
    };
    // 1C and Windows write a mark in front of either.
    let unmarked = [&b"\xef\xbb\xbf"[..], b"\xff\xfe", b"\xfe\xff"]
        .into_iter()
        .find_map(|mark| content.strip_prefix(mark))
        .unwrap_or(content);
    Some(if content.is_empty() {
        Content::Empty
    } else if content.trim_ascii() == data.trim_ascii() {
        Content::Blanks
    } else if unmarked == data
        || unmarked == utf16(u16::to_le_bytes)
        || unmarked == utf16(u16::to_be_bytes)
    {
        Content::Encoding
    } else if content.trim_ascii() == STANDARD.encode(data).as_bytes() {
        Content::Base64
    } else {
        Content::Other
    })
}

/// The signer's certificate, if the container carries it.
fn certificate<'a>(signed: &'a SignedData, info: &SignerInfo) -> Option<&'a Certificate> {
    let carried = signed.certificates.as_ref()?.0.iter().filter_map(|choice| match choice {
        CertificateChoices::Certificate(certificate) => Some(certificate),
        CertificateChoices::Other(_) => None,
    });
    let is_signers = |certificate: &&Certificate| {
        let tbs = &certificate.tbs_certificate;
        match &info.sid {
            SignerIdentifier::IssuerAndSerialNumber(id) => {
                tbs.issuer == id.issuer && tbs.serial_number == id.serial_number
            }
            SignerIdentifier::SubjectKeyIdentifier(id) => {
                matches!(tbs.get::<SubjectKeyIdentifier>(), Ok(Some((_, own))) if own == *id)
            }
        }
    };
    { carried }.find(is_signers)
}

/// What a certificate says of its holder.
fn signer(certificate: &Certificate) -> Signer {
    let tbs = &certificate.tbs_certificate;
    let mut inns = Vec::new();
    for wanted in [INN_OF_ORGANISATION, INN] {
        let parts = tbs.subject.0.iter().flat_map(|part| part.0.iter());
        for part in parts.filter(|part| part.oid == wanted) {
            if let Some(inn) = inn(&part.value).filter(|inn| !inns.contains(inn)) {
                inns.push(inn);
            }
        }
    }
    inns.truncate(INNS_MAX);
    let moment = |since: Duration| {
        Utc::from_unix_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    };
    Signer {
        inns,
        not_before: moment(tbs.validity.not_before.to_unix_duration()),
        not_after: moment(tbs.validity.not_after.to_unix_duration()),
    }
}

/// An ИНН, in whatever string of ASN.1 it stands.
fn inn(value: &Any) -> Option<Inn> {
    let text = std::str::from_utf8(value.value()).ok()?.trim();
    let text = if text.len() == 12 { text.strip_prefix("00").unwrap_or(text) } else { text };
    text.parse().ok()
}

#[cfg(test)]
mod tests;
