//! What tokens have to do with keys and their centres: their word goes into requests, and licences
//! that are bound to them go onto them.
//!
//! A licence lies on the disk before it goes onto its token, and stays there: it must be known at a
//! start before the token has answered, and not every token has room or lets itself be written.

use hyper::StatusCode;
use licence_core::activation_request::TokenProof;
use licence_core::holder::TokenKey;
use licence_core::key::KeyNo;
use licence_core::language::Language;

use super::Activator;
use crate::api::errors::ApiError;
use crate::driver::Handle;
use crate::keyring::Presence;
use crate::tokens::CallError;

/// Tokens that vouch in one request for the list of licences: as many as a computer has ports, and a
/// request with more would be too long for a centre.
const TOKENS_PER_REQUEST_MAX: usize = 8;

impl Activator {
    /// The word of a blank about a request, by the blank's number.
    pub(super) async fn blank_proof(
        &self,
        handle: &Handle,
        number: u32,
        request: &str,
    ) -> Result<TokenProof, ApiError> {
        if let Err(error) = self.tokens.look().await {
            log::info!("tokens are not looked at anew: {error}");
        }
        let plugged = handle.tokens().await?;
        let mut of_number = plugged.iter().filter(|token| token.key.blank_no() == number);
        let Some(token) = of_number.next().filter(|token| token.presence == Presence::Present)
        else {
            return Err(blank_not_found(number));
        };
        if !token.is_blank() {
            return Err(blank_in_use(number));
        }
        self.tokens.proof(token.key, request).await.map_err(|error| token_failed(&error))
    }

    /// The word of the token that a key is bound to about a request to take the key back; nothing for
    /// a key that is bound to this server.
    pub(super) async fn return_proof(
        &self,
        token: Option<TokenKey>,
        key_no: KeyNo,
        request: &str,
    ) -> Result<Option<TokenProof>, ApiError> {
        let Some(token) = token else { return Ok(None) };
        match self.tokens.proof(token, request).await {
            Ok(proof) => Ok(Some(proof)),
            Err(CallError::Absent | CallError::Off) => Err(token_absent(key_no)),
            Err(error) => Err(token_failed(&error)),
        }
    }

    /// The words of all tokens that are plugged in. One that does not answer is left out.
    pub(super) async fn token_proofs(
        &self,
        handle: &Handle,
        request: &str,
    ) -> Result<Vec<TokenProof>, ApiError> {
        let mut proofs = Vec::new();
        let plugged = handle.tokens().await?;
        // Those with keys first: a blank has nothing to be listed.
        let bound = plugged.iter().filter(|token| !token.keys.is_empty());
        let blank = plugged.iter().filter(|token| token.keys.is_empty());
        for token in bound.chain(blank) {
            if token.presence != Presence::Present || proofs.len() >= TOKENS_PER_REQUEST_MAX {
                continue;
            }
            match self.tokens.proof(token.key, request).await {
                Ok(proof) => proofs.push(proof),
                Err(error) => {
                    log::warn!("token {} is left out: {error}", token.key.short_id());
                }
            }
        }
        Ok(proofs)
    }

    /// Puts the licence of a key onto its token, if it is bound to one. What keeps that from being
    /// done is logged: the licence on the disk works as well.
    pub(super) async fn put_on_token(&self, handle: &Handle, key_no: Option<KeyNo>) {
        let Some(key_no) = key_no else { return };
        let Ok(Some(bound)) = handle.bound(key_no).await else { return };
        match self.tokens.store(bound.token, Some(bound.document)).await {
            Ok(()) => log::info!("key {key_no}: its licence lies on its token"),
            Err(error) => {
                log::info!("key {key_no}: its licence lies on the disk alone: {error}");
            }
        }
        // The token vouches for it at once, not at its next turn: who asks for a seat after this must
        // find a server that can prove itself.
        if let Err(error) = self.tokens.vouch(bound.token).await {
            log::info!("key {key_no}: its token does not vouch for it: {error}");
        }
    }

    /// Takes the licence of a key that was given back off its token: plugged in at another server it
    /// must not bring the key back there.
    pub(super) async fn take_off_token(&self, token: Option<TokenKey>, key_no: KeyNo) {
        let Some(token) = token else { return };
        if let Err(error) = self.tokens.store(token, None).await {
            log::warn!("key {key_no}: its licence cannot be taken off its token: {error}");
        }
    }
}

/// 404: no such blank is plugged in.
fn blank_not_found(number: u32) -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "EBlankNotFound",
        format!("Blank {number} is not plugged into this server."),
        format!("Неактивированный носитель {number} не подключён к этому серверу."),
    )
}

/// 409: the token has a licence.
fn blank_in_use(number: u32) -> ApiError {
    ApiError::new(
        StatusCode::CONFLICT,
        "EBlankInUse",
        format!("Token {number} has a licence already; give its key back first."),
        format!("На носителе {number} уже есть лицензия; сначала получите резервный код её ключа."),
    )
}

/// 409: what is asked needs the token of the key.
fn token_absent(key_no: KeyNo) -> ApiError {
    ApiError::new(
        StatusCode::CONFLICT,
        "ETokenAbsent",
        format!("Key {key_no} is bound to a token that is not plugged in: plug it in and repeat."),
        format!("Ключ {key_no} привязан к носителю, который не подключён: подключите и повторите."),
    )
}

/// 503: the token has not done what it was asked.
fn token_failed(error: &CallError) -> ApiError {
    ApiError::unavailable(error.text(Language::English), error.text(Language::Russian))
}
