//! Requests of licence servers: what each signed token asks for, and the answer of the books to it.
//!
//! A token is checked here (who signed it, how old it is, whether its members are within their
//! limits); the rules are in `decide`, HTTP is `api`'s.

use std::collections::BTreeSet;
use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use licence_core::activation::ActivationCode;
use licence_core::activation_request::{
    ActivationAnswer, ActivationRequest, REQUEST_TYP, TokenProof,
};
use licence_core::centre_request::{
    CentreAnswer, DemoRequest, LicencesAnswer, LicencesRequest, NOTE_CHARS_MAX, REQUEST_DAYS_MAX,
    RETURN_DAYS_MAX, RequestKind, ReturnAnswer, ReturnRequest, SpareAnswer, SpareRequest, is_fresh,
};
use licence_core::delegation::Delegation;
use licence_core::holder::{Holder, TokenKey};
use licence_core::jws;
use licence_core::key::KeySeries;
use licence_core::seal::{Jwk, KEY_BYTES, PublicKey};
use licence_core::time::Utc;
use licencekit::order::is_owner_number;
use serde::Deserialize;

use crate::access::Actor;
use crate::api::{Centre, refusal_of};
use crate::attestation::CERTIFICATE_BYTES_MAX;
use crate::books::BooksError;
use crate::decide::cluster::Membership;
use crate::decide::moves::AskedReturn;
use crate::decide::{Asked, Denial};
use crate::refusal::Refusal;
use crate::store::{
    Activated, Activation, Asker, DemoAsked, Listing, Returning, SpareAsked, StoreError, masked,
};

/// Longest server version that is kept.
const VERSION_CHARS_MAX: usize = 50;

/// Longest id of an activation: ours have 32 hex digits.
const ACTIVATION_CHARS_MAX: usize = 64;

/// Longest mark: ours have 32 hex digits.
const MARK_CHARS_MAX: usize = 64;

/// Tokens in one question for licences: a server has a handful of sockets.
const TOKENS_MAX: usize = 16;

/// Certificates in one attestation.
const CERTIFICATES_MAX: usize = 4;

/// An answer, and whether what it says was done by this very request.
#[derive(Debug)]
pub(crate) struct Done<T> {
    pub(crate) answer: T,
    pub(crate) first: bool,
}

impl Centre {
    /// Answers a request of whichever kind it is; `from` is where it came from.
    pub(crate) async fn any_request(
        &self,
        token: &str,
        from: Option<IpAddr>,
    ) -> Result<Done<CentreAnswer>, Refusal> {
        Ok(match RequestKind::of(token).ok_or(Refusal::NotGenuine)? {
            RequestKind::Activation => {
                let Done { answer, first } = self.activation(token, from).await?;
                Done { answer: CentreAnswer::Activation(answer), first }
            }
            RequestKind::Demo => {
                let Done { answer, first } = self.demo(token, from).await?;
                Done { answer: CentreAnswer::Activation(answer), first }
            }
            RequestKind::Return => {
                let Done { answer, first } = self.giving_back(token, from).await?;
                Done { answer: CentreAnswer::Return(answer), first }
            }
            RequestKind::Spare => {
                let answer = self.spare(token, from).await?;
                Done { answer: CentreAnswer::Spare(answer), first: false }
            }
            RequestKind::Update => {
                let answer = self.licences(token, from).await?;
                Done { answer: CentreAnswer::Update(answer), first: false }
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

    /// The token of a request, once its word is good: that it is there, for this request, at this
    /// server. Whether its maker vouches for it, too. Its word counts for the moment of the
    /// request: a file may travel longer than a day.
    fn token_of(
        &self,
        proof: &TokenProof,
        jti: &str,
        iat: i64,
        server: &PublicKey,
    ) -> Result<(TokenKey, bool), Refusal> {
        let unproved = Refusal::Denied(Denial::BlankUnproved);
        let key = TokenKey::from_jwk(&proof.jwk).map_err(|_| Refusal::BadMember("Token"))?;
        let made = Utc::from_unix_millis(iat.saturating_mul(1000));
        let word = Delegation::verify(&proof.delegation, &key).map_err(|_| unproved.clone())?;
        if !word.allows(jti, server, made) {
            return Err(unproved);
        }
        if proof.attestation.len() > CERTIFICATES_MAX {
            return Err(Refusal::BadMember("Token"));
        }
        let mut chain = Vec::new();
        for text in &proof.attestation {
            let der = Some(text)
                .filter(|text| text.len() <= 2 * CERTIFICATE_BYTES_MAX)
                .and_then(|text| STANDARD.decode(text).ok());
            chain.push(der.ok_or(Refusal::BadMember("Token"))?);
        }
        Ok((key, self.roots.vouch(&chain, &key, (self.now)())))
    }

    /// Activates a code.
    pub(crate) async fn activation(
        &self,
        token: &str,
        from: Option<IpAddr>,
    ) -> Result<Done<ActivationAnswer>, Refusal> {
        let (request, server) = genuine_activation(token)?;
        self.check_audience(request.aud.as_deref())?;
        let asker = asker_of(&request.computer_id, &request.server_version, request.mark)?;
        check_owner(&request.itn, &request.iec)?;
        let (holder, attested) = match &request.token {
            Some(proof) => {
                let (key, attested) = self.token_of(proof, &request.jti, request.iat, &server)?;
                if request.blank_key_no.is_some_and(|number| number != key.blank_no()) {
                    return Err(Refusal::BadMember("BlankKeyNo"));
                }
                (Holder::Token(key), attested)
            }
            // Without a token that proves itself there is nothing to bind the licence to.
            None if request.blank_key_no.is_some() => {
                return Err(Refusal::Denied(Denial::BlankUnproved));
            }
            None => (Holder::Server(server), false),
        };
        let asked = Asked {
            holder,
            server,
            attested,
            protection: request.protection,
            membership: Membership::of(request.cluster),
            enc: enc_of(request.enc.as_ref())?,
            itn: request.itn,
            iec: request.iec,
        };
        let code = request.code;
        if !self.series.contains_key(&code.series()) {
            return Err(Refusal::CodeWrong);
        }
        let (id, computer) = (request_id(&request.jti), asker.computer_id.clone());
        let activation = Activation { code, asked, asker };
        let done = self.books.activate(activation, actor(&server, from), (self.now)()).await;
        self.activated(
            done,
            &format!("request {id}: code {}", masked(code)),
            &computer,
            code.series(),
        )
    }

    /// Gives a demonstration key without a code.
    pub(crate) async fn demo(
        &self,
        token: &str,
        from: Option<IpAddr>,
    ) -> Result<Done<ActivationAnswer>, Refusal> {
        let (request, server) = DemoRequest::verify(token).map_err(|_| Refusal::NotGenuine)?;
        self.check_audience(request.aud.as_deref())?;
        let asker = asker_of(&request.computer_id, &request.server_version, request.mark)?;
        check_owner(&request.itn, &request.iec)?;
        let series = request.key_id;
        if !self.series.contains_key(&series) {
            return Err(Refusal::Denied(Denial::DemoNotOffered));
        }
        let asked = Asked {
            holder: Holder::Server(server),
            server,
            attested: false,
            protection: request.protection,
            membership: Membership::Alone,
            enc: enc_of(request.enc.as_ref())?,
            itn: request.itn,
            iec: request.iec,
        };
        let (id, computer) = (request_id(&request.jti), asker.computer_id.clone());
        let demo = DemoAsked { series, asked, asker };
        let done = self.books.demo(demo, actor(&server, from), (self.now)()).await;
        self.activated(done, &format!("request {id}: demo"), &computer, series)
    }

    /// The answer to an activation, and its line in the log.
    pub(crate) fn activated(
        &self,
        done: Result<Activated, BooksError>,
        what: &str,
        computer: &str,
        series: KeySeries,
    ) -> Result<Done<ActivationAnswer>, Refusal> {
        match done {
            Ok(done) => {
                let how = if done.first { "activated" } else { "activation repeated" };
                log::info!("{what} {how}, key {}, computer {computer}", done.key_no);
                let series = self.series.get(&series).ok_or(Refusal::CodeWrong)?;
                let series = series.descriptor.clone();
                let answer = ActivationAnswer { licence: done.licence, series, mark: done.mark };
                Ok(Done { answer, first: done.first })
            }
            Err(error) => {
                if let Some(denial) = denial(&error) {
                    log::warn!("{what} refused, computer {computer}: {denial}");
                } else if is_pending(&error) {
                    log::info!("{what} waits for the vendor's signature, computer {computer}");
                }
                Err(refusal_of(error))
            }
        }
    }

    /// The licences of the asking server.
    pub(crate) async fn licences(
        &self,
        token: &str,
        from: Option<IpAddr>,
    ) -> Result<LicencesAnswer, Refusal> {
        let (request, server) = LicencesRequest::verify(token).map_err(|_| Refusal::NotGenuine)?;
        let now = (self.now)();
        self.check_audience(request.aud.as_deref())?;
        if !is_fresh(request.iat, REQUEST_DAYS_MAX, now) {
            return Err(Refusal::Stale);
        }
        let asker = asker_of(&request.computer_id, &request.server_version, request.mark)?;
        if request.tokens.len() > TOKENS_MAX {
            return Err(Refusal::BadMember("Tokens"));
        }
        let mut tokens = Vec::new();
        for proof in &request.tokens {
            let (key, _) = self.token_of(proof, &request.jti, request.iat, &server)?;
            if !tokens.contains(&key) {
                tokens.push(key);
            }
        }
        let computer = asker.computer_id.clone();
        let enc = enc_of(request.enc.as_ref())?;
        let listing = Listing { server, tokens, enc, protection: request.protection, asker };
        let listed =
            self.books.licences(listing, actor(&server, from), now).await.map_err(refusal_of)?;
        log::info!(
            "request {}: {} licences and {} receipts for computer {computer}",
            request_id(&request.jti),
            listed.licences.len(),
            listed.ended.len()
        );
        let named: BTreeSet<_> = listed.licences.iter().map(|held| held.series).collect();
        let series = named
            .iter()
            .filter_map(|series| self.series.get(series))
            .map(|series| series.descriptor.clone())
            .collect();
        let licences = listed.licences.into_iter().map(|held| held.licence).collect();
        Ok(LicencesAnswer { licences, series, mark: listed.mark, ended: listed.ended })
    }

    /// Takes a key back.
    pub(crate) async fn giving_back(
        &self,
        token: &str,
        from: Option<IpAddr>,
    ) -> Result<Done<ReturnAnswer>, Refusal> {
        let (request, server) = ReturnRequest::verify(token).map_err(|_| Refusal::NotGenuine)?;
        let now = (self.now)();
        self.check_audience(request.aud.as_deref())?;
        if !is_fresh(request.iat, RETURN_DAYS_MAX, now) {
            return Err(Refusal::Stale);
        }
        let computer = asker_of(&request.computer_id, &request.server_version, None)?.computer_id;
        let note = request.note.filter(|note| !note.trim().is_empty());
        if note.as_ref().is_some_and(|note| note.chars().count() > NOTE_CHARS_MAX) {
            return Err(Refusal::BadMember("Note"));
        }
        if request.activation.chars().count() > ACTIVATION_CHARS_MAX {
            return Err(Refusal::BadMember("Activation"));
        }
        let (id, key_no, key_id) = (request_id(&request.jti), request.key_no, request.key_id);
        if !self.series.contains_key(&key_id) {
            return Err(Refusal::Denied(Denial::KeyNotFound));
        }
        let returning = Returning {
            asked: AskedReturn { server, key_no, series: key_id },
            activation_id: request.activation.clone(),
            reason: request.reason,
            note,
        };
        match self.books.take_back(returning, actor(&server, from), now).await {
            Ok(returned) => {
                let what = if returned.first { "given back" } else { "return repeated" };
                log::info!("request {id}: key {key_no} {what}, computer {computer}");
                let reserve_code = returned.reserve_code;
                let answer = ReturnAnswer { key_no, reserve_code, receipt: returned.receipt };
                Ok(Done { answer, first: returned.first })
            }
            Err(error) => {
                if let Some(denial) = denial(&error) {
                    log::warn!(
                        "request {id}: key {key_no} not taken back, computer {computer}: {denial}"
                    );
                } else if is_pending(&error) {
                    log::info!(
                        "request {id}: key {key_no} given back, its receipt waits for the vendor's \
                         signature, computer {computer}"
                    );
                    return Err(Refusal::ReceiptPending);
                }
                Err(refusal_of(error))
            }
        }
    }

    /// Draws a spare code for a key of the asking server.
    pub(crate) async fn spare(
        &self,
        token: &str,
        from: Option<IpAddr>,
    ) -> Result<SpareAnswer, Refusal> {
        let (request, server) = SpareRequest::verify(token).map_err(|_| Refusal::NotGenuine)?;
        let now = (self.now)();
        self.check_audience(request.aud.as_deref())?;
        if !is_fresh(request.iat, RETURN_DAYS_MAX, now) {
            return Err(Refusal::Stale);
        }
        let computer = asker_of(&request.computer_id, &request.server_version, None)?.computer_id;
        if request.activation.chars().count() > ACTIVATION_CHARS_MAX {
            return Err(Refusal::BadMember("Activation"));
        }
        let (id, key_no) = (request_id(&request.jti), request.key_no);
        let asked = AskedReturn { server, key_no, series: request.key_id };
        let asked = SpareAsked { asked, activation_id: request.activation };
        match self.books.spare_for_server(asked, actor(&server, from), now).await {
            Ok(spare_code) => {
                log::info!("request {id}: spare code for key {key_no}, computer {computer}");
                Ok(SpareAnswer { key_no, spare_code })
            }
            Err(error) => {
                if let Some(denial) = denial(&error) {
                    log::warn!(
                        "request {id}: no spare code for key {key_no}, computer {computer}: {denial}"
                    );
                }
                Err(refusal_of(error))
            }
        }
    }
}

/// A licence server as the audit trail names it.
pub(crate) fn actor(server: &PublicKey, from: Option<IpAddr>) -> Actor {
    Actor { name: server.thumbprint(), role: None, from }
}

const fn denial(error: &BooksError) -> Option<Denial> {
    if let BooksError::Store(StoreError::Denied(denial)) = error { Some(*denial) } else { None }
}

const fn is_pending(error: &BooksError) -> bool {
    matches!(error, BooksError::Store(StoreError::SignaturePending))
}

/// An activation request whose signature has proved genuine.
fn genuine_activation(token: &str) -> Result<(ActivationRequest, PublicKey), Refusal> {
    #[derive(Deserialize)]
    struct Peek {
        #[serde(rename = "ActivationCode")]
        code: String,
    }
    // A mistyped code must be told apart from a forged request, so it is looked at first.
    let peek: Peek = jws::peek(REQUEST_TYP, token.trim_ascii()).map_err(|_| Refusal::NotGenuine)?;
    peek.code.parse::<ActivationCode>().map_err(|_| Refusal::CodeWrong)?;
    ActivationRequest::verify(token).map_err(|_| Refusal::NotGenuine)
}

pub(crate) fn check_owner(itn: &Option<String>, iec: &Option<String>) -> Result<(), Refusal> {
    for (name, number) in [("ITN", itn), ("IEC", iec)] {
        if number.as_ref().is_some_and(|digits| !is_owner_number(digits)) {
            return Err(Refusal::BadMember(name));
        }
    }
    Ok(())
}

/// The X25519 key for which a request wants the object key of its series.
fn enc_of(jwk: Option<&Jwk>) -> Result<Option<[u8; KEY_BYTES]>, Refusal> {
    jwk.map(|jwk| jwk.okp_bytes("X25519").map_err(|_| Refusal::BadMember("enc"))).transpose()
}

/// What a server says of itself, once it is what it should be; the fingerprint in capitals.
fn asker_of(computer_id: &str, version: &str, mark: Option<String>) -> Result<Asker, Refusal> {
    let computer_id = computer_id.to_ascii_uppercase();
    if computer_id.len() != 40 || !computer_id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Refusal::BadMember("ComputerID"));
    }
    if version.chars().count() > VERSION_CHARS_MAX || version.chars().any(char::is_control) {
        return Err(Refusal::BadMember("ServerVersion"));
    }
    let is_mark = |mark: &String| mark.len() <= MARK_CHARS_MAX && mark.is_ascii();
    if !mark.as_ref().is_none_or(is_mark) {
        return Err(Refusal::BadMember("Mark"));
    }
    Ok(Asker { computer_id, server_version: version.to_owned(), mark, is_read_out: false })
}

/// The id of a request as a log may show it.
fn request_id(jti: &str) -> String {
    jti.chars().filter(char::is_ascii_alphanumeric).take(40).collect()
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
