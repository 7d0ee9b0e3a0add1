//! The word of a token that a licence server may serve the licence bound to it, for a while.
//!
//! A JWS with ES256 (RFC 7518, section 3.4): the token signs SHA-256 of the signing input, so one
//! signature proves that the token is there and lets a component trust the server's TLS key. Nothing
//! is sent to a token here, and what time it is the caller says.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::holder::TokenKey;
use crate::jws::{self, JwsError};
use crate::licence_file::Confirmation;
use crate::seal::{PublicKey, sha256};
use crate::time::Utc;

/// `typ` of a delegation: it keeps the signature from meaning anything else.
pub const DELEGATION_TYP: &str = "licence-delegation+jwt";

/// How long a delegation counts, in seconds: a day bridges clocks that differ between a server and
/// the computers of its users. That the token is there *now* the server asks far more often.
pub const DELEGATION_SECS: i64 = 86_400;

/// How far the clock of a reader may be behind or ahead, in seconds.
pub const CLOCK_SKEW_SECS: i64 = 86_400;

/// Largest delegation, in bytes: it has some 600.
pub const DELEGATION_BYTES_MAX: usize = 2048;

/// Claims of a delegation.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Delegation {
    /// Subject: what it is about: `jti` of the licence, or of the request that it proves presence for.
    pub sub: String,
    /// When it was made, in Unix seconds.
    pub iat: i64,
    /// Until when it counts, in Unix seconds.
    pub exp: i64,
    /// Drawn for this delegation, 32 hex digits: no two are alike.
    pub nonce: String,
    /// The server that may serve the licence.
    pub cnf: Confirmation,
}

/// A delegation that waits for the token's signature.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unsigned(String);

impl Unsigned {
    /// The signing input: the token signs SHA-256 of it.
    pub fn message(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// What the token signs: SHA-256 of the signing input.
    pub fn digest(&self) -> [u8; 32] {
        sha256(self.0.as_bytes())
    }

    /// The delegation with the token's signature (r and s, 64 bytes).
    pub fn with_signature(self, signature: &[u8; 64]) -> String {
        let Self(mut text) = self;
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut text);
        text
    }
}

impl Delegation {
    /// The delegation of `subject` to a server.
    pub fn new(subject: String, server: &PublicKey, nonce: String, now: Utc) -> Self {
        let iat = now.unix_seconds();
        Self {
            sub: subject,
            iat,
            exp: iat.saturating_add(DELEGATION_SECS),
            nonce,
            cnf: Confirmation { jwk: server.jwk() },
        }
    }

    /// The text to be signed by the token.
    ///
    /// # Errors
    ///
    /// When the claims cannot be written as JSON.
    pub fn unsigned(&self, token: &TokenKey) -> Result<Unsigned, serde_json::Error> {
        jws::es256_input(DELEGATION_TYP, self, token).map(Unsigned)
    }

    /// Reads a delegation and checks that the token has signed it.
    ///
    /// # Errors
    ///
    /// See [`JwsError`].
    pub fn verify(text: &str, token: &TokenKey) -> Result<Self, JwsError> {
        jws::es256_verify(DELEGATION_TYP, text.trim_ascii(), token, DELEGATION_BYTES_MAX)
    }

    /// What a delegation is about, its signature unchecked: for choosing what to verify, never to
    /// decide by. Nothing when it is none.
    pub fn peek_subject(text: &str) -> Option<String> {
        #[derive(Deserialize)]
        struct Peek {
            sub: String,
        }
        let peek: Result<Peek, _> =
            jws::es256_peek(DELEGATION_TYP, text.trim_ascii(), DELEGATION_BYTES_MAX);
        peek.ok().map(|peek| peek.sub)
    }

    /// Whether it lets `server` serve `subject` at this moment, clocks allowed for.
    pub fn allows(&self, subject: &str, server: &PublicKey, now: Utc) -> bool {
        let now = now.unix_seconds();
        self.sub == subject
            && self.cnf.jwk.ed25519().is_ok_and(|key| key == *server)
            && self.iat <= now.saturating_add(CLOCK_SKEW_SECS)
            && now < self.exp.saturating_add(CLOCK_SKEW_SECS)
    }
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};

    use super::*;
    use crate::seal::SigningKey;

    /// A key in memory: what it signs is what a token would sign.
    struct SoftToken(EcdsaKeyPair);

    impl SoftToken {
        fn new() -> Self {
            let random = SystemRandom::new();
            let kind = &ECDSA_P256_SHA256_FIXED_SIGNING;
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
            Self(EcdsaKeyPair::from_pkcs8(kind, pkcs8.as_ref(), &random).unwrap())
        }

        fn key(&self) -> TokenKey {
            TokenKey::from_point(self.0.public_key().as_ref()).unwrap()
        }

        fn sign(&self, delegation: &Delegation) -> String {
            let unsigned = delegation.unsigned(&self.key()).unwrap();
            let signature = self.0.sign(&SystemRandom::new(), unsigned.0.as_bytes()).unwrap();
            unsigned.with_signature(signature.as_ref().try_into().unwrap())
        }
    }

    fn now() -> Utc {
        Utc::from_unix_millis(1_800_000_000_000)
    }

    fn server(seed: u8) -> PublicKey {
        SigningKey::from_seed(&[seed; 32]).public()
    }

    fn delegation() -> Delegation {
        Delegation::new("a1".into(), &server(5), "0123456789ABCDEF".repeat(2), now())
    }

    #[test]
    fn word_of_a_token_is_read_back_and_of_another_token_refused() {
        let (own, other) = (SoftToken::new(), SoftToken::new());
        let text = own.sign(&delegation());
        assert_eq!(Delegation::verify(&format!(" {text}\n"), &own.key()), Ok(delegation()));
        assert_eq!(Delegation::verify(&text, &other.key()), Err(JwsError::Signature));
        let longer = format!("{text}{}", "A".repeat(DELEGATION_BYTES_MAX));
        assert_eq!(
            Delegation::verify(&longer, &own.key()),
            Err(JwsError::TooLong(DELEGATION_BYTES_MAX))
        );
    }

    #[test]
    fn delegation_counts_for_its_server_and_licence_and_for_its_day_with_clocks_that_differ() {
        let check = |subject: &str, seed: u8, later_secs: i64, wanted: bool| {
            let at = now().plus_millis(later_secs * 1000);
            let allows = delegation().allows(subject, &server(seed), at);
            assert_eq!(allows, wanted, "{subject} {seed} {later_secs}");
        };
        let end = DELEGATION_SECS + CLOCK_SKEW_SECS;
        for (later_secs, wanted) in [
            (0, true),
            (end - 1, true),
            (end, false),
            (-CLOCK_SKEW_SECS, true),
            (-CLOCK_SKEW_SECS - 1, false),
        ] {
            check("a1", 5, later_secs, wanted);
        }
        check("a2", 5, 0, false);
        check("a1", 6, 0, false);
    }

    #[test]
    fn token_of_the_other_algorithm_is_no_delegation() {
        let own = SoftToken::new();
        let signed = jws::sign(DELEGATION_TYP, &delegation(), &SigningKey::from_seed(&[5; 32]));
        assert_eq!(
            Delegation::verify(&signed.unwrap(), &own.key()),
            Err(JwsError::Header(DELEGATION_TYP))
        );
        assert!(jws::peek::<Delegation>(DELEGATION_TYP, &own.sign(&delegation())).is_err());
    }
}
