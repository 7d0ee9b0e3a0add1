//! The words of a key that leaves its place: why it does, and the request for a code that is kept for
//! the day when its computer dies.
//!
//! Forms only: what a code is worth, and to whom, the centre decides.

use serde::{Deserialize, Serialize};

use crate::activation::ActivationCode;
use crate::activation_request::{RequestError, proved};
use crate::jws;
use crate::key::{KeyNo, KeySeries};
use crate::licence_file::Confirmation;
use crate::seal::{PublicKey, SigningKey};

/// `typ` of a [`SpareRequest`].
pub const SPARE_TYP: &str = "licence-spare+jwt";

/// Why a key leaves its place.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ReturnReason {
    /// The computer is broken, or parts of it were replaced.
    Hardware,
    /// None of the others; the note says which.
    Other,
    /// The operating system is installed afresh.
    Reinstall,
    /// The key goes to a token.
    Token,
    /// The work moves to another computer.
    Upgrade,
}

impl ReturnReason {
    /// All of them, in the order in which people are asked.
    pub const ALL: [Self; 5] =
        [Self::Upgrade, Self::Hardware, Self::Reinstall, Self::Token, Self::Other];

    /// The word that messages and books have for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Hardware => "hardware",
            Self::Other => "other",
            Self::Reinstall => "reinstall",
            Self::Token => "token",
            Self::Upgrade => "upgrade",
        }
    }

    /// The reason that a word means.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.word() == word)
    }
}

/// Claims of a request for a spare code: a reserve code that is drawn while the key works, to be kept
/// for the day when its computer does not. Asked again, the same code is given as long as it is
/// worth anything. Used elsewhere, it ends the activation that it was drawn for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SpareRequest {
    /// Id of the request, drawn by the server: names it in both logs.
    pub jti: String,
    /// When it was made, in Unix seconds by the server's clock; at most [`RETURN_DAYS_MAX`](super::RETURN_DAYS_MAX) days old
    /// when it arrives, for whoever has the code can take the key.
    pub iat: i64,
    /// The centre that it is for, when the server knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aud: Option<String>,
    /// The key of the asking server; it also signs the request. Of a licence on a token the server
    /// through which it was activated.
    pub cnf: Confirmation,
    /// Serial number of the key.
    #[serde(rename = "KeyNo")]
    pub key_no: KeyNo,
    /// Its series.
    #[serde(rename = "KeyID")]
    pub key_id: KeySeries,
    /// Id of the activation: `jti` of the licence.
    #[serde(rename = "Activation")]
    pub activation: String,
    /// Hardware fingerprint of the server, 40 hex digits.
    #[serde(rename = "ComputerID")]
    pub computer_id: String,
    /// Version of the server.
    #[serde(rename = "ServerVersion")]
    pub server_version: String,
}

impl SpareRequest {
    /// Signs the request with the key it names.
    ///
    /// # Errors
    ///
    /// When it cannot be written as JSON.
    pub fn sign(&self, key: &SigningKey) -> Result<String, serde_json::Error> {
        jws::sign(SPARE_TYP, self, key)
    }

    /// Reads a request and checks that the key it names has signed it.
    ///
    /// # Errors
    ///
    /// See [`RequestError`].
    pub fn verify(token: &str) -> Result<(Self, PublicKey), RequestError> {
        proved(SPARE_TYP, token, |request: &Self| &request.cnf)
    }
}

/// Answer to a [`SpareRequest`].
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SpareAnswer {
    /// The key.
    pub key_no: KeyNo,
    /// The code that installs it elsewhere, once.
    pub spare_code: ActivationCode,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_for_a_spare_code_is_proved_by_its_key() {
        let key = SigningKey::from_seed(&[5; 32]);
        let request = SpareRequest {
            jti: "s1".into(),
            iat: 1_800_000_000,
            aud: None,
            cnf: Confirmation { jwk: key.public().jwk() },
            key_no: KeyNo(5),
            key_id: KeySeries::from_u16(0x672B),
            activation: "A1".into(),
            computer_id: "D3".repeat(20),
            server_version: "4.0.0".into(),
        };
        let token = request.sign(&key).unwrap();
        assert_eq!(SpareRequest::verify(&token), Ok((request.clone(), key.public())));
        let other = request.sign(&SigningKey::from_seed(&[6; 32])).unwrap();
        assert!(SpareRequest::verify(&other).is_err());
    }

    #[test]
    fn reasons_are_written_as_their_words() {
        for reason in ReturnReason::ALL {
            let text = format!("\"{}\"", reason.word());
            assert_eq!(serde_json::to_string(&reason).unwrap(), text);
            assert_eq!(ReturnReason::of_word(reason.word()), Some(reason));
        }
        assert_eq!(ReturnReason::of_word("theft"), None);
    }
}
