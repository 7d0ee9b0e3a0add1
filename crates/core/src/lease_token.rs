//! The signed lease: what a session shows after the server restarted or lost its books.
//!
//! A JWT signed by the identity of the server that granted the seat. It names the session, the key
//! and the end of the lease. It grants nothing by itself: the server that reads it still counts.

use serde::{Deserialize, Serialize};

use crate::cluster::NodeId;
use crate::jws::{self, JwsError};
use crate::key::{KeyNo, KeySeries};
use crate::seal::{PublicKey, SigningKey};
use crate::session::SessionId;
use crate::time::Utc;

/// `typ` of a lease token.
pub const LEASE_TYP: &str = "licence-lease+jwt";

/// What the issuer of every lease begins with; the thumbprint follows.
const ISSUER_PREFIX: &str = "urn:licence-server:";

/// Claims of a lease token.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LeaseClaims {
    /// Issuer: `urn:licence-server:` and the thumbprint of the server's identity key.
    pub iss: String,
    /// The session's id, 32 hex digits.
    pub sub: String,
    /// When it was granted or renewed, in Unix seconds.
    pub iat: i64,
    /// When it ends unless it is renewed, in Unix seconds.
    pub exp: i64,
    /// Series.
    #[serde(rename = "KeyID")]
    pub key_id: KeySeries,
    /// Key whose seat is held.
    #[serde(rename = "KeyNo")]
    pub key_no: KeyNo,
}

/// Why a lease token was not accepted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseTokenError {
    /// Its end has come.
    #[error("the lease has ended")]
    Ended,
    /// Another server granted it.
    #[error("the lease was granted by another server")]
    Issuer,
    /// Not a genuine token.
    #[error("the lease is not genuine")]
    Jws(#[source] JwsError),
}

/// What a lease of a server with this identity names as its issuer.
pub fn issuer(identity: &PublicKey) -> String {
    format!("{ISSUER_PREFIX}{}", identity.thumbprint())
}

impl LeaseClaims {
    /// Signs the lease.
    ///
    /// # Errors
    ///
    /// When it cannot be written as JSON.
    pub fn sign(&self, key: &SigningKey) -> Result<String, serde_json::Error> {
        jws::sign(LEASE_TYP, self, key)
    }

    /// Reads a lease granted by the server with this identity and not yet ended at `now`.
    ///
    /// # Errors
    ///
    /// See [`LeaseTokenError`].
    pub fn verify(token: &str, identity: &PublicKey, now: Utc) -> Result<Self, LeaseTokenError> {
        let claims: Self = jws::verify(LEASE_TYP, token, identity).map_err(LeaseTokenError::Jws)?;
        if claims.iss != issuer(identity) {
            return Err(LeaseTokenError::Issuer);
        }
        if claims.exp <= now.unix_seconds() {
            return Err(LeaseTokenError::Ended);
        }
        Ok(claims)
    }

    /// The server that a token says it is from, whose key then must prove it.
    pub fn peek_issuer(token: &str) -> Option<NodeId> {
        #[derive(Deserialize)]
        struct Peek {
            iss: String,
        }
        let peek: Peek = jws::peek(LEASE_TYP, token).ok()?;
        peek.iss.strip_prefix(ISSUER_PREFIX)?.parse().ok()
    }

    /// The session it was granted to, if the token names one.
    pub fn session(&self) -> Option<SessionId> {
        self.sub.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lease_is_accepted_from_its_own_server_until_its_end() {
        let (own, other) = (SigningKey::from_seed(&[1; 32]), SigningKey::from_seed(&[2; 32]));
        let claims = LeaseClaims {
            iss: issuer(&own.public()),
            sub: SessionId::from_bytes([7; 16]).to_string(),
            iat: 100,
            exp: 1100,
            key_id: KeySeries::from_u16(0x672B),
            key_no: KeyNo(1),
        };
        let token = claims.sign(&own).unwrap();
        let at = |seconds: i64| Utc::from_unix_millis(seconds * 1000);
        let read = LeaseClaims::verify(&token, &own.public(), at(1099)).unwrap();
        assert_eq!(read.session(), Some(SessionId::from_bytes([7; 16])));
        assert_eq!(
            LeaseClaims::verify(&token, &own.public(), at(1100)),
            Err(LeaseTokenError::Ended)
        );
        assert!(LeaseClaims::verify(&token, &other.public(), at(200)).is_err());
        assert_eq!(LeaseClaims::peek_issuer(&token), Some(NodeId::of(&own.public())));
        assert_eq!(LeaseClaims::peek_issuer("a.b.c"), None);
        let foreign = claims.sign(&other).unwrap();
        assert_eq!(
            LeaseClaims::verify(&foreign, &other.public(), at(200)),
            Err(LeaseTokenError::Issuer)
        );
    }
}
