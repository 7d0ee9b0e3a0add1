//! Requests of licence servers: what each signed token asks for, and the answer of the books to it.
//!
//! A token is checked here (who signed it, how old it is, whether its members are within their
//! limits); the rules are in `decide`, HTTP is `api`'s.

use std::collections::BTreeSet;

use licence_core::activation::ActivationCode;
use licence_core::activation_request::{ActivationAnswer, ActivationRequest, REQUEST_TYP};
use licence_core::centre_request::{
    CentreAnswer, LicencesAnswer, LicencesRequest, NOTE_CHARS_MAX, REQUEST_DAYS_MAX,
    RETURN_DAYS_MAX, RequestKind, ReturnAnswer, ReturnReceipt, ReturnRequest, is_fresh,
};
use licence_core::jws;
use licence_core::seal::{Jwk, KEY_BYTES};
use licencekit::order::is_owner_number;
use serde::Deserialize;

use crate::api::{Centre, refusal_of};
use crate::books::BooksError;
use crate::decide::{Asked, AskedReturn, Denial};
use crate::refusal::Refusal;
use crate::store::{Activation, Returning, StoreError};

/// Longest server version that is kept.
const VERSION_CHARS_MAX: usize = 50;

/// Longest id of an activation: ours have 32 hex digits.
const ACTIVATION_CHARS_MAX: usize = 64;

/// An answer, and whether what it says was done by this very request.
#[derive(Debug)]
pub(crate) struct Done<T> {
    pub(crate) answer: T,
    pub(crate) first: bool,
}

impl Centre {
    /// Answers a request of whichever kind it is.
    pub(crate) async fn any_request(&self, token: &str) -> Result<Done<CentreAnswer>, Refusal> {
        Ok(match RequestKind::of(token).ok_or(Refusal::NotGenuine)? {
            RequestKind::Activation => {
                let Done { answer, first } = self.activation(token).await?;
                Done { answer: CentreAnswer::Activation(answer), first }
            }
            RequestKind::Demo => return Err(Refusal::NotFound),
            RequestKind::Return => {
                let Done { answer, first } = self.giving_back(token).await?;
                Done { answer: CentreAnswer::Return(answer), first }
            }
            RequestKind::Update => {
                Done { answer: CentreAnswer::Update(self.licences(token).await?), first: false }
            }
        })
    }

    /// A request for another centre is none for this one, whoever brings it. One that names no
    /// centre is taken, and a centre that does not know its own address cannot tell.
    fn check_audience(&self, aud: Option<&str>) -> Result<(), Refusal> {
        match (aud, &self.audience) {
            (Some(aud), Some(own)) if aud != own => Err(Refusal::Elsewhere),
            _ => Ok(()),
        }
    }

    /// Activates a code.
    pub(crate) async fn activation(&self, token: &str) -> Result<Done<ActivationAnswer>, Refusal> {
        let (activation, request_id, aud) = activation_of(token)?;
        self.check_audience(aud.as_deref())?;
        let code = activation.code;
        let series = self.series.get(&code.series()).ok_or(Refusal::CodeWrong)?;
        let computer = activation.computer_id.clone();
        match self.books.activate(activation, (self.now)()).await {
            Ok(done) => {
                let what = if done.first { "activated" } else { "activation repeated" };
                log::info!(
                    "request {request_id}: code {} {what}, key {}, computer {computer}",
                    masked(code),
                    done.key_no
                );
                let series = series.descriptor.clone();
                let answer = ActivationAnswer { licence: done.licence, series, mark: None };
                Ok(Done { answer, first: done.first })
            }
            Err(error) => {
                if let Some(denial) = denial(&error) {
                    log::warn!(
                        "request {request_id}: code {} refused, computer {computer}: {denial}",
                        masked(code)
                    );
                }
                Err(refusal_of(error))
            }
        }
    }

    /// The licences of the asking server.
    pub(crate) async fn licences(&self, token: &str) -> Result<LicencesAnswer, Refusal> {
        let (request, holder) = LicencesRequest::verify(token).map_err(|_| Refusal::NotGenuine)?;
        let now = (self.now)();
        self.check_audience(request.aud.as_deref())?;
        if !is_fresh(request.iat, REQUEST_DAYS_MAX, now) {
            return Err(Refusal::Stale);
        }
        let computer = computer_of(&request.computer_id, &request.server_version)?;
        let enc = enc_of(request.enc.as_ref())?;
        let held = self.books.licences(holder, enc, now).await.map_err(refusal_of)?;
        log::info!(
            "request {}: {} licences for computer {computer}",
            request_id(&request.jti),
            held.len()
        );
        let named: BTreeSet<_> = held.iter().map(|held| held.series).collect();
        let series = named
            .iter()
            .filter_map(|series| self.series.get(series))
            .map(|series| series.descriptor.clone())
            .collect();
        let licences = held.into_iter().map(|held| held.licence).collect();
        Ok(LicencesAnswer { licences, series, ..LicencesAnswer::default() })
    }

    /// Takes a key back.
    pub(crate) async fn giving_back(&self, token: &str) -> Result<Done<ReturnAnswer>, Refusal> {
        let (request, holder) = ReturnRequest::verify(token).map_err(|_| Refusal::NotGenuine)?;
        let now = (self.now)();
        self.check_audience(request.aud.as_deref())?;
        if !is_fresh(request.iat, RETURN_DAYS_MAX, now) {
            return Err(Refusal::Stale);
        }
        let computer = computer_of(&request.computer_id, &request.server_version)?;
        let note = request.note.filter(|note| !note.trim().is_empty());
        if note.as_ref().is_some_and(|note| note.chars().count() > NOTE_CHARS_MAX) {
            return Err(Refusal::BadMember("Note"));
        }
        if request.activation.chars().count() > ACTIVATION_CHARS_MAX {
            return Err(Refusal::BadMember("Activation"));
        }
        let (id, key_no, key_id) = (request_id(&request.jti), request.key_no, request.key_id);
        let series = self.series.get(&key_id).ok_or(Refusal::Denied(Denial::KeyNotFound))?;
        let returning = Returning {
            asked: AskedReturn { holder, key_no, series: key_id },
            activation_id: request.activation.clone(),
            note,
        };
        match self.books.take_back(returning, now).await {
            Ok(returned) => {
                let what = if returned.first { "given back" } else { "return repeated" };
                log::info!("request {id}: key {key_no} {what}, computer {computer}");
                let reserve_code = returned.reserve_code;
                let receipt = ReturnReceipt::new(
                    request.activation,
                    returned.at,
                    key_no,
                    key_id,
                    reserve_code,
                );
                let receipt = receipt.sign(&series.signing_key).map_err(|error| {
                    log::error!("a receipt cannot be signed: {error}");
                    Refusal::Internal
                })?;
                let answer = ReturnAnswer { key_no, reserve_code, receipt };
                Ok(Done { answer, first: returned.first })
            }
            Err(error) => {
                if let Some(denial) = denial(&error) {
                    log::warn!(
                        "request {id}: key {key_no} not taken back, computer {computer}: {denial}"
                    );
                }
                Err(refusal_of(error))
            }
        }
    }
}

const fn denial(error: &BooksError) -> Option<Denial> {
    if let BooksError::Store(StoreError::Denied(denial)) = error { Some(*denial) } else { None }
}

/// What a token asks for, once its signature has proved genuine; with the id of the request as it
/// may stand in a log, and the centre that it is for.
fn activation_of(token: &str) -> Result<(Activation, String, Option<String>), Refusal> {
    #[derive(Deserialize)]
    struct Peek {
        #[serde(rename = "ActivationCode")]
        code: String,
    }
    // A mistyped code must be told apart from a forged request, so it is looked at first.
    let peek: Peek = jws::peek(REQUEST_TYP, token.trim_ascii()).map_err(|_| Refusal::NotGenuine)?;
    peek.code.parse::<ActivationCode>().map_err(|_| Refusal::CodeWrong)?;
    let (request, holder) = ActivationRequest::verify(token).map_err(|_| Refusal::NotGenuine)?;
    let computer_id = computer_of(&request.computer_id, &request.server_version)?;
    for (name, number) in [("ITN", &request.itn), ("IEC", &request.iec)] {
        if number.as_ref().is_some_and(|digits| !is_owner_number(digits)) {
            return Err(Refusal::BadMember(name));
        }
    }
    let id = request_id(&request.jti);
    let asked = Asked {
        holder,
        enc: enc_of(request.enc.as_ref())?,
        itn: request.itn,
        iec: request.iec,
        blank_key_no: request.blank_key_no,
    };
    let server_version = request.server_version;
    Ok((Activation { code: request.code, asked, computer_id, server_version }, id, request.aud))
}

/// The X25519 key for which a request wants the object key of its series.
fn enc_of(jwk: Option<&Jwk>) -> Result<Option<[u8; KEY_BYTES]>, Refusal> {
    jwk.map(|jwk| jwk.okp_bytes("X25519").map_err(|_| Refusal::BadMember("enc"))).transpose()
}

/// The fingerprint of the asking computer in capitals, once it and the version are what they
/// should be.
fn computer_of(computer_id: &str, version: &str) -> Result<String, Refusal> {
    let computer = computer_id.to_ascii_uppercase();
    if computer.len() != 40 || !computer.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Refusal::BadMember("ComputerID"));
    }
    if version.chars().count() > VERSION_CHARS_MAX || version.chars().any(char::is_control) {
        return Err(Refusal::BadMember("ServerVersion"));
    }
    Ok(computer)
}

/// The id of a request as a log may show it.
fn request_id(jti: &str) -> String {
    jti.chars().filter(char::is_ascii_alphanumeric).take(40).collect()
}

/// A code as logs may show it: who reads a log must not be able to activate.
fn masked(code: ActivationCode) -> String {
    let text = code.to_string();
    format!("…{}", text.get(text.len() - 5..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use licence_core::activation::CodeKind;
    use licence_core::key::KeySeries;

    use super::*;

    #[test]
    fn code_in_a_log_shows_its_last_group_only() {
        let code = ActivationCode::encode(CodeKind::Activation, KeySeries::from_u16(0x672B), 77);
        let text = code.to_string();
        assert_eq!(masked(code), format!("…{}", &text[text.len() - 5..]));
    }
}
