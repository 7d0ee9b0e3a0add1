//! What is kept of one session key.
//!
//! Data and small words only; who may change it is decided by [`crate::book`].

use licence_core::time::Utc;
use serde::{Deserialize, Serialize};

use crate::key::Inn;
use crate::secret::SessionKey;

/// Form of a key of ИС МП.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenFormat {
    /// JWT.
    Jwt,
    /// UUID: the united token (единый токен).
    Uuid,
}

/// How a key came.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A person signed, the server exchanged.
    Exchange,
    /// Somebody gave it as it is.
    Manual,
    /// The server had it signed by the command of the settings.
    Signer,
}

/// How a key stands.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As it was given.
    #[default]
    Valid,
    /// A sign-in for the same installation came to an unknown end, which may have killed it. It is
    /// served until the service refuses it.
    Doubtful,
}

/// Who did something, as the audit trail names them. No secret.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Who {
    /// User: of 1C, by the component's word, or of this server.
    pub user: String,
    /// Infobase, by the component's word.
    pub infobase: String,
    /// Id of the session with a seat, where there is one: a lease ends with it.
    pub session: Option<String>,
}

/// What is kept of a key. Its `Debug` form does not show the key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TokenRecord {
    /// `КлючСессии`.
    pub token: SessionKey,
    /// `ДействуетДо`.
    pub valid_until: Utc,
    /// For which organisation it was given, where that is known.
    pub inn: Option<Inn>,
    /// Its form.
    pub format: TokenFormat,
    /// How it came.
    pub source: Source,
    /// How it stands.
    pub state: State,
    /// Who brought it.
    pub who: Who,
    /// When it came. Of two records of one key, kept by two servers, the later one counts.
    pub obtained: Utc,
    /// Grows with every change of the book: who has seen one number has seen all below it.
    pub generation: u64,
}
