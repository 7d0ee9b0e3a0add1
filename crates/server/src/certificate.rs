//! When a certificate ends, the one field of X.509 that this server needs and `rustls` does not
//! show, and the digest that its key is pinned by.
//!
//! Reads DER as far as `validity` (RFC 5280, section 4.1) and nothing else; whether anybody should
//! trust the certificate is the browser's business.

use licence_core::seal::{PublicKey, sha256};
use licence_core::time::Utc;
use rustls::pki_types::CertificateDer;
use rustls::server::ParsedCertificate;

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xA0;

/// SHA-256 of the `SubjectPublicKeyInfo` of a certificate (RFC 7469, section 2.4); nothing when it
/// cannot be read.
pub fn spki_digest(certificate: &CertificateDer<'_>) -> Option<[u8; 32]> {
    let spki = ParsedCertificate::try_from(certificate).ok()?.subject_public_key_info();
    Some(sha256(spki.as_ref()))
}

/// What a `SubjectPublicKeyInfo` of Ed25519 has before the 32 bytes of the key (RFC 8410, section 4).
const ED25519_SPKI_HEAD: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// What [`spki_digest`] gives for a certificate of the identity with this key.
pub fn pin_of(identity: &PublicKey) -> [u8; 32] {
    sha256(&[&ED25519_SPKI_HEAD[..], identity.as_bytes()].concat())
}

/// The last moment of a certificate's term; nothing when it cannot be read.
pub fn not_after(der: &[u8]) -> Option<Utc> {
    let (certificate, _) = element(der, SEQUENCE)?;
    let (signed, _) = element(certificate, SEQUENCE)?;
    // The version is left out of the oldest certificates.
    let rest = element(signed, VERSION).map_or(signed, |(_, rest)| rest);
    let (_serial, rest) = element(rest, INTEGER)?;
    let (_algorithm, rest) = element(rest, SEQUENCE)?;
    let (_issuer, rest) = element(rest, SEQUENCE)?;
    let (validity, _) = element(rest, SEQUENCE)?;
    let (_, rest) = moment(validity)?;
    moment(rest).map(|(end, _)| end)
}

/// The content of an element with this tag, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[own, first], rest) = der.split_first_chunk::<2>()?;
    if own != tag {
        return None;
    }
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        // Two bytes of length are 64 KiB, more than any certificate of a server has.
        let count = usize::from(first & 0x7F);
        let (bytes, rest) = rest.split_at_checked(count).filter(|_| (1..=2).contains(&count))?;
        (bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
    };
    rest.split_at_checked(length)
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`.
fn moment(der: &[u8]) -> Option<(Utc, &[u8])> {
    let short = element(der, UTC_TIME);
    let (text, rest) = short.or_else(|| element(der, GENERALIZED_TIME))?;
    let digits = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let whole = match (short.is_some(), digits.len()) {
        // Years from 50 on are of the century before (RFC 5280, section 4.1.2.5.1).
        (true, 12) => format!("{}{digits}", if digits < "50" { "20" } else { "19" }),
        (false, 14) => digits.to_owned(),
        _ => return None,
    };
    let part = |from: usize, to: usize| whole.get(from..to).unwrap_or_default();
    let text = format!(
        "{}-{}-{}T{}:{}:{}Z",
        part(0, 4),
        part(4, 6),
        part(6, 8),
        part(8, 10),
        part(10, 12),
        part(12, 14)
    );
    text.parse().ok().map(|at| (at, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn certificate(year: i32) -> Vec<u8> {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["x".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 2, 3);
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn end_of_a_certificate_is_read_in_both_forms() {
        for (year, expected) in [
            (1999, "1999-02-03T00:00:00.000Z"),
            (2031, "2031-02-03T00:00:00.000Z"),
            (2075, "2075-02-03T00:00:00.000Z"),
        ] {
            let end = not_after(&certificate(year)).map(|end| end.to_string());
            assert_eq!(end.as_deref(), Some(expected));
        }
    }

    #[test]
    fn certificate_that_is_cut_short_has_no_end() {
        let whole = certificate(2031);
        for length in 0..100 {
            assert_eq!(not_after(&whole[..length]), None, "{length}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_not(bytes: Vec<u8>, at in 0_usize..200, byte: u8) {
            let _read_or_not = not_after(&bytes);
            let mut changed = certificate(2031);
            changed[at] = byte;
            let _read_or_not = not_after(&changed);
        }
    }
}
