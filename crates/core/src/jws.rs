//! Compact JWS (RFC 7515) with exactly one algorithm for each kind of key: EdDSA over Ed25519
//! (RFC 8037), and ES256 (RFC 7518) for the keys of tokens.
//!
//! The header is held to what we issue: `alg` must be what the caller's key is for, `typ` what the caller expects, and
//! no critical extension may be named. There is no list of algorithms to choose from, because
//! the choice is where verifiers have gone wrong (RFC 8725, section 3.1). Terms are not looked at
//! here: a token says what was signed, its reader knows the time.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::holder::TokenKey;
use crate::seal::{PublicKey, SigningKey};

/// Longest token that is looked at. A licence has some 1.5 KiB; texts in it are bounded by the
/// centre, and a file larger than this is not a licence.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Ed25519 (RFC 8037): servers, series, the centre.
const EDDSA: &str = "EdDSA";

/// ECDSA over P-256 with SHA-256 (RFC 7518): keys of tokens.
const ES256: &str = "ES256";

/// Why a token was not accepted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum JwsError {
    /// The header names another algorithm, type or a critical extension.
    #[error("the header is not that of a {0}")]
    Header(&'static str),
    /// Not three base64url parts, or one of them is not the JSON it should be.
    #[error("not a compact JWS: {0}")]
    Malformed(&'static str),
    /// The signature is not the key's.
    #[error("the signature does not belong to the expected key")]
    Signature,
    /// Longer than its type allows: [`TOKEN_BYTES_MAX`] for most.
    #[error("longer than {0} bytes")]
    TooLong(usize),
}

#[derive(Deserialize, Serialize)]
struct Header {
    alg: String,
    typ: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kid: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crit: Option<serde_json::Value>,
}

/// Signs `claims` as a token of type `typ`.
///
/// # Errors
///
/// When the claims cannot be written as JSON.
pub fn sign<C: Serialize>(
    typ: &'static str,
    claims: &C,
    key: &SigningKey,
) -> Result<String, serde_json::Error> {
    let input = input(EDDSA, typ, claims, key.thumbprint())?;
    let signature = key.sign(input.as_bytes());
    Ok(with_signature(input, &signature))
}

fn input<C: Serialize>(
    alg: &'static str,
    typ: &'static str,
    claims: &C,
    kid: &str,
) -> Result<String, serde_json::Error> {
    let header = Header {
        alg: alg.to_owned(),
        typ: Some(typ.to_owned()),
        kid: Some(kid.to_owned()),
        crit: None,
    };
    let mut input = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&header)?);
    input.push('.');
    URL_SAFE_NO_PAD.encode_string(serde_json::to_vec(claims)?, &mut input);
    Ok(input)
}

/// The token that [`sign`] gives for these claims when the key's signature is this one; whether it
/// is, nobody has checked.
pub(crate) fn joined<C: Serialize>(
    typ: &'static str,
    claims: &C,
    key: &PublicKey,
    signature: &[u8],
) -> Result<String, serde_json::Error> {
    Ok(with_signature(input(EDDSA, typ, claims, &key.thumbprint())?, signature))
}

fn with_signature(mut input: String, signature: &[u8]) -> String {
    input.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut input);
    input
}

/// The bytes of a token's signature, which nobody has checked.
pub(crate) fn signature_of(token: &str) -> Option<Vec<u8>> {
    let (_, signature) = token.rsplit_once('.')?;
    URL_SAFE_NO_PAD.decode(signature).ok()
}

/// The claims of a token of type `typ`, once its signature has proved to be `key`'s.
///
/// # Errors
///
/// See [`JwsError`]; the signature is checked before the claims are read.
pub fn verify<C: DeserializeOwned>(
    typ: &'static str,
    token: &str,
    key: &PublicKey,
) -> Result<C, JwsError> {
    verify_within(typ, token, key, TOKEN_BYTES_MAX)
}

/// [`verify`] for tokens of a type that may be longer than [`TOKEN_BYTES_MAX`].
///
/// # Errors
///
/// See [`JwsError`].
pub fn verify_within<C: DeserializeOwned>(
    typ: &'static str,
    token: &str,
    key: &PublicKey,
    bytes_max: usize,
) -> Result<C, JwsError> {
    let parts = split(EDDSA, typ, token, bytes_max)?;
    verified(&parts, |signed, signature| key.verifies(signed, signature))
}

/// The claims of a token whose signature nobody has checked: to show what a file says of itself,
/// never to decide by.
///
/// # Errors
///
/// See [`JwsError`].
pub fn peek<C: DeserializeOwned>(typ: &'static str, token: &str) -> Result<C, JwsError> {
    claims(split(EDDSA, typ, token, TOKEN_BYTES_MAX)?.payload)
}

struct Parts<'a> {
    signed: &'a str,
    payload: &'a str,
    signature: &'a str,
}

/// The signing input of a token of type `typ` that a token's key shall sign.
pub(crate) fn es256_input<C: Serialize>(
    typ: &'static str,
    claims: &C,
    key: &TokenKey,
) -> Result<String, serde_json::Error> {
    input(ES256, typ, claims, &key.thumbprint())
}

/// [`verify_within`] for what a token's key has signed.
pub(crate) fn es256_verify<C: DeserializeOwned>(
    typ: &'static str,
    token: &str,
    key: &TokenKey,
    bytes_max: usize,
) -> Result<C, JwsError> {
    let parts = split(ES256, typ, token, bytes_max)?;
    verified(&parts, |signed, signature| key.verifies(signed, signature))
}

/// [`peek`] for what a token's key has signed.
pub(crate) fn es256_peek<C: DeserializeOwned>(
    typ: &'static str,
    token: &str,
    bytes_max: usize,
) -> Result<C, JwsError> {
    claims(split(ES256, typ, token, bytes_max)?.payload)
}

/// The claims, once the signature has proved right by `is_by`, which gets the signed bytes and the
/// signature.
fn verified<C: DeserializeOwned>(
    parts: &Parts<'_>,
    is_by: impl FnOnce(&[u8], &[u8]) -> bool,
) -> Result<C, JwsError> {
    let signature = URL_SAFE_NO_PAD
        .decode(parts.signature)
        .map_err(|_| JwsError::Malformed("the signature is not base64url"))?;
    if !is_by(parts.signed.as_bytes(), &signature) {
        return Err(JwsError::Signature);
    }
    claims(parts.payload)
}

fn split<'a>(
    alg: &str,
    typ: &'static str,
    token: &'a str,
    bytes_max: usize,
) -> Result<Parts<'a>, JwsError> {
    if token.len() > bytes_max {
        return Err(JwsError::TooLong(bytes_max));
    }
    let malformed = JwsError::Malformed("not three parts");
    let (signed, signature) = token.rsplit_once('.').ok_or_else(|| malformed.clone())?;
    let (header, payload) = signed.split_once('.').ok_or(malformed)?;
    let header = URL_SAFE_NO_PAD
        .decode(header)
        .map_err(|_| JwsError::Malformed("the header is not base64url"))?;
    let header: Header = serde_json::from_slice(&header)
        .map_err(|_| JwsError::Malformed("the header is not a JSON object"))?;
    if header.alg != alg || header.typ.as_deref() != Some(typ) || header.crit.is_some() {
        return Err(JwsError::Header(typ));
    }
    Ok(Parts { signed, payload, signature })
}

fn claims<C: DeserializeOwned>(payload: &str) -> Result<C, JwsError> {
    let payload = URL_SAFE_NO_PAD
        .decode(payload)
        .map_err(|_| JwsError::Malformed("the claims are not base64url"))?;
    serde_json::from_slice(&payload)
        .map_err(|_| JwsError::Malformed("the claims are not the expected JSON"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const TYP: &str = "test+jwt";

    fn key() -> SigningKey {
        SigningKey::from_seed(&[3; 32])
    }

    fn token() -> String {
        sign(TYP, &json!({"sub": "672B.7131766", "KeyNo": 7131766}), &key()).unwrap()
    }

    fn with_header(header: &Value) -> String {
        let signed = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(header.to_string()),
            URL_SAFE_NO_PAD.encode("{}")
        );
        let signature = key().sign(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    #[test]
    fn signed_claims_are_read_back() {
        let claims: Value = verify(TYP, &token(), &key().public()).unwrap();
        assert_eq!(claims["KeyNo"], 7131766);
    }

    #[test]
    fn every_changed_character_is_noticed() {
        let token = token();
        for at in 0..token.len() {
            for with in ["A", "B", ".", "=", "-", "x"] {
                let mut changed = token.clone();
                changed.replace_range(at..=at, with);
                if changed != token {
                    let result = verify::<Value>(TYP, &changed, &key().public());
                    assert!(result.is_err(), "byte {at} as {with}");
                }
            }
        }
    }

    #[test]
    fn key_of_somebody_else_is_refused() {
        let other = SigningKey::from_seed(&[4; 32]);
        let result = verify::<Value>(TYP, &token(), &other.public());
        assert_eq!(result, Err(JwsError::Signature));
    }

    #[test]
    fn other_algorithm_type_or_critical_extension_is_refused() {
        for header in [
            json!({"alg": "none", "typ": TYP}),
            json!({"alg": "HS256", "typ": TYP}),
            json!({"alg": "EdDSA", "typ": "lease+jwt"}),
            json!({"alg": "EdDSA"}),
            json!({"alg": "EdDSA", "typ": TYP, "crit": ["exp"]}),
        ] {
            let result = verify::<Value>(TYP, &with_header(&header), &key().public());
            assert_eq!(result, Err(JwsError::Header(TYP)), "{header}");
        }
        let plain = with_header(&json!({"alg": "EdDSA", "typ": TYP, "x": 1}));
        assert!(verify::<Value>(TYP, &plain, &key().public()).is_ok());
    }

    #[test]
    fn oversized_token_is_refused_before_it_is_read() {
        let long = "A".repeat(TOKEN_BYTES_MAX + 1);
        assert_eq!(
            verify::<Value>(TYP, &long, &key().public()),
            Err(JwsError::TooLong(TOKEN_BYTES_MAX))
        );
    }

    proptest! {
        #[test]
        fn any_text_is_refused(text in ".{0,200}") {
            prop_assert!(verify::<Value>(TYP, &text, &key().public()).is_err());
        }
    }
}
