//! What a licence may be bound to: the identity of a licence server, or the key inside a token.
//!
//! Values and their forms. A key of a token is ECDSA on P-256 (FIPS 186-5), as PIV tokens have it.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::seal::{self, Jwk, JwkError, PublicKey, hex_upper, sha256};

/// Bytes of a point on P-256, uncompressed (SEC 1, section 2.3.3).
pub const POINT_BYTES: usize = 65;

/// The public key inside a token.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TokenKey([u8; POINT_BYTES]);

impl TokenKey {
    /// The key with these coordinates, uncompressed; nothing when it is not written so. Whether the
    /// point is on the curve shows when it verifies.
    pub fn from_point(point: &[u8]) -> Option<Self> {
        let point: [u8; POINT_BYTES] = point.try_into().ok()?;
        (point[0] == 4).then_some(Self(point))
    }

    /// The point, uncompressed.
    pub const fn as_bytes(&self) -> &[u8; POINT_BYTES] {
        &self.0
    }

    /// Whether `signature` (r and s, 64 bytes) is this key's over SHA-256 of `message`.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        seal::p256_verifies(&self.0, message, signature)
    }

    /// The key as a JWK (RFC 7518, section 6.2).
    pub fn jwk(&self) -> Jwk {
        Jwk {
            kty: "EC".to_owned(),
            crv: "P-256".to_owned(),
            x: URL_SAFE_NO_PAD.encode(&self.0[1..33]),
            y: Some(URL_SAFE_NO_PAD.encode(&self.0[33..])),
            usage: None,
            kid: None,
        }
    }

    /// The key in a JWK.
    ///
    /// # Errors
    ///
    /// When it is not an `EC` key on `P-256` with two coordinates of 32 bytes.
    pub fn from_jwk(jwk: &Jwk) -> Result<Self, JwkError> {
        let wrong = || JwkError("P-256");
        if jwk.kty != "EC" || jwk.crv != "P-256" {
            return Err(wrong());
        }
        let mut point = vec![4];
        for text in [Some(&jwk.x), jwk.y.as_ref()] {
            let text = text.filter(|text| text.len() <= 64).ok_or_else(wrong)?;
            point.extend(URL_SAFE_NO_PAD.decode(text).map_err(|_| wrong())?);
            if point.len() != 33 && point.len() != POINT_BYTES {
                return Err(wrong());
            }
        }
        Self::from_point(&point).ok_or_else(wrong)
    }

    /// The JWK thumbprint (RFC 7638).
    pub fn thumbprint(&self) -> String {
        let (x, y) =
            (URL_SAFE_NO_PAD.encode(&self.0[1..33]), URL_SAFE_NO_PAD.encode(&self.0[33..]));
        let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        URL_SAFE_NO_PAD.encode(sha256(canonical.as_bytes()))
    }

    /// How people name the token: the first 16 hex digits of SHA-256 of the point.
    pub fn short_id(&self) -> String {
        hex_upper(&sha256(&self.0)[..8])
    }

    /// The serial number by which the API names the token as a blank: 31 bits of the digest of its
    /// key, never 0. Two tokens of one vendor are told apart by their keys, not by this.
    pub fn blank_no(&self) -> u32 {
        let digest = sha256(&self.0);
        let number = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]) >> 1;
        number.max(1)
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenKey({})", self.short_id())
    }
}

/// What a licence is bound to.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Holder {
    /// The identity of a licence server.
    Server(PublicKey),
    /// The key inside a token.
    Token(TokenKey),
}

impl From<PublicKey> for Holder {
    fn from(identity: PublicKey) -> Self {
        Self::Server(identity)
    }
}

impl From<TokenKey> for Holder {
    fn from(token: TokenKey) -> Self {
        Self::Token(token)
    }
}

impl Holder {
    /// The holder that a JWK names.
    ///
    /// # Errors
    ///
    /// When it is neither an Ed25519 nor a P-256 key.
    pub fn from_jwk(jwk: &Jwk) -> Result<Self, JwkError> {
        if jwk.kty == "EC" {
            TokenKey::from_jwk(jwk).map(Self::Token)
        } else {
            jwk.ed25519().map(Self::Server)
        }
    }

    /// The holder as a JWK.
    pub fn jwk(&self) -> Jwk {
        match self {
            Self::Server(key) => key.jwk(),
            Self::Token(key) => key.jwk(),
        }
    }

    /// The JWK thumbprint of its key (RFC 7638).
    pub fn thumbprint(&self) -> String {
        match self {
            Self::Server(key) => key.thumbprint(),
            Self::Token(key) => key.thumbprint(),
        }
    }

    /// Whether it is this server.
    pub fn is_server(&self, identity: &PublicKey) -> bool {
        matches!(self, Self::Server(key) if key == identity)
    }

    /// The token, if it is one.
    pub const fn token(&self) -> Option<&TokenKey> {
        match self {
            Self::Server(_) => None,
            Self::Token(key) => Some(key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Key and signature of RFC 7515, appendix A.3.
    const JWK: &str = r#"{"kty":"EC","crv":"P-256",
        "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
    const SIGNED: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    const SIGNATURE: &str =
        "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

    fn key() -> TokenKey {
        TokenKey::from_jwk(&serde_json::from_str(JWK).unwrap()).unwrap()
    }

    #[test]
    fn rfc_7515_appendix_a3_verifies_and_a_changed_message_does_not() {
        let signature = URL_SAFE_NO_PAD.decode(SIGNATURE).unwrap();
        assert!(key().verifies(SIGNED.as_bytes(), &signature));
        assert!(!key().verifies(&SIGNED.as_bytes()[1..], &signature));
        assert!(!key().verifies(SIGNED.as_bytes(), &signature[1..]));
    }

    #[test]
    fn key_is_read_back_from_its_jwk_and_another_kind_is_refused() {
        assert_eq!(TokenKey::from_jwk(&key().jwk()), Ok(key()));
        assert_eq!(Holder::from_jwk(&key().jwk()), Ok(Holder::Token(key())));
        let server = PublicKey::from_bytes([7; 32]);
        assert_eq!(Holder::from_jwk(&server.jwk()), Ok(Holder::Server(server)));
        let good = key().jwk();
        for bad in [
            Jwk { y: None, ..good.clone() },
            Jwk { y: Some("AA".into()), ..good.clone() },
            Jwk { x: "AA".into(), ..good.clone() },
            Jwk { crv: "P-384".into(), ..good.clone() },
            Jwk { kty: "OKP".into(), ..good },
        ] {
            assert!(Holder::from_jwk(&bad).is_err(), "{bad:?}");
        }
        assert_eq!(TokenKey::from_point(&[4; 64]), None);
        assert_eq!(TokenKey::from_point(&[3; 65]), None);
    }
}
