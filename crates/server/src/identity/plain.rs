//! The identity as PKCS#8 (RFC 8410): the form that TLS wants, and the file `identity.key` of
//! earlier servers, as openssl reads it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use licence_core::seal::KEY_BYTES;
use zeroize::Zeroizing;

/// DER of a PKCS#8 version 1 key up to the seed (RFC 8410, section 7).
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];
const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";
/// A PEM file of one Ed25519 key has 119 bytes; more than this is no key of ours.
pub(super) const PEM_BYTES_MAX: u64 = 4096;

pub(super) fn der_of(seed: &[u8; KEY_BYTES]) -> Vec<u8> {
    [&PKCS8_PREFIX[..], &seed[..]].concat()
}

/// The seed in the text of an `identity.key`; nothing when it is none.
pub(super) fn seed_of(text: &str) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
    let inner = text.trim().strip_prefix(PEM_BEGIN)?.strip_suffix(PEM_END)?;
    let encoded: Zeroizing<String> = Zeroizing::new(inner.split_whitespace().collect());
    let der = Zeroizing::new(STANDARD.decode(encoded.as_bytes()).ok()?);
    der.strip_prefix(&PKCS8_PREFIX)?.try_into().ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_written_by_openssl_is_read() {
        // The key of RFC 8410, section 10.3.
        let pem = "-----BEGIN PRIVATE KEY-----\n\
            MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
            -----END PRIVATE KEY-----\n";
        let seed = seed_of(pem).unwrap();
        assert_eq!(seed[..2], [0xD4, 0xEE]);
        assert_eq!(der_of(&seed)[..16], PKCS8_PREFIX);
        for text in ["", "nonsense", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"]
        {
            assert!(seed_of(text).is_none(), "{text}");
        }
    }
}
