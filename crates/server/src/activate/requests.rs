//! The signed requests of this server, as they go to a centre or into a file.
//!
//! Nothing is asked of anybody here; a request to take a key back puts the key aside before it is
//! handed out.

use std::collections::BTreeSet;

use licence_core::activation_request::{ActivationRequest, Protection, audience};
use licence_core::centre_request::{
    DemoRequest, LicencesRequest, NOTE_CHARS_MAX, ReturnRequest, SpareRequest,
};
use licence_core::key::{KeyNo, KeySeries};
use licence_core::licence_file::Confirmation;
use licence_core::seal::hex_upper;

use super::{Activator, Demo, Order, Why, key_not_found};
use crate::access::Actor;
use crate::api::VERSION;
use crate::api::errors::ApiError;
use crate::driver::Handle;
use crate::keyring::{Held, stamp};
use crate::{clock, random};

impl Activator {
    /// A request that a person carries to the centre in a file: the signed token that
    /// [`Self::install`] would send.
    ///
    /// # Errors
    ///
    /// 500 when none can be made.
    pub async fn file_request(&self, handle: &Handle, order: Order) -> Result<String, ApiError> {
        let centre = self.known_centre(handle, order.code.series()).await?;
        self.request(handle, order, centre.as_deref()).await
    }

    /// The question which licences a centre has for this server, as a file. It names the centre when
    /// only one is known.
    ///
    /// # Errors
    ///
    /// 500 when none can be made.
    pub async fn update_request(&self, handle: &Handle) -> Result<String, ApiError> {
        let known = handle.centres().await?.into_values().flatten();
        let all: BTreeSet<_> = known.chain(self.default_centre()).collect();
        self.question(handle, all.first().filter(|_| all.len() == 1).map(String::as_str)).await
    }

    /// A request to take a key back, as a file, with the series of the key. From this moment the key
    /// does not work here: whoever brings the file to the centre can install it elsewhere.
    ///
    /// # Errors
    ///
    /// 404 for a key that is not here; 500 when none can be made or the key cannot be put aside.
    pub async fn return_request(
        &self,
        handle: &Handle,
        key_no: KeyNo,
        why: Why,
        actor: &Actor,
    ) -> Result<(String, KeySeries), ApiError> {
        let _turn = self.turn().await?;
        let held = self.returnable(handle, key_no).await?;
        let series = held.series;
        let centre = self.known_centre(handle, series).await?;
        let note = why.audited();
        let token = self.giving_back(held, key_no, why, centre.as_deref()).await?;
        handle.begin_return(key_no, note, actor).await?.ok_or_else(|| key_not_found(key_no))?;
        Ok((token, series))
    }

    /// The name that a request file of this moment should have: `672B.20261121-120000.request`, or
    /// `licences.…` when it is about all series.
    pub fn file_name(series: Option<KeySeries>) -> String {
        let subject = series.map_or_else(|| "licences".to_owned(), |series| series.to_string());
        format!("{subject}.{}.request", stamp(clock::utc()))
    }

    pub(super) async fn question(
        &self,
        handle: &Handle,
        centre: Option<&str>,
    ) -> Result<String, ApiError> {
        let mut request = LicencesRequest::new(
            request_id()?,
            clock::utc(),
            self.identity.key(),
            self.computer_id.clone(),
            VERSION.to_owned(),
        );
        request.aud = centre.and_then(audience);
        request.enc = Some(self.identity.wrap_key().jwk());
        request.mark = self.mark(centre);
        request.protection = self.protection();
        request.tokens = self.token_proofs(handle, &request.jti).await?;
        request.sign(self.identity.key()).map_err(|error| internal(&error))
    }

    pub(super) async fn request(
        &self,
        handle: &Handle,
        order: Order,
        centre: Option<&str>,
    ) -> Result<String, ApiError> {
        let mut request = ActivationRequest::new(
            request_id()?,
            clock::utc(),
            self.identity.key(),
            order.code,
            self.computer_id.clone(),
            VERSION.to_owned(),
        );
        request.aud = centre.and_then(audience);
        request.enc = Some(self.identity.wrap_key().jwk());
        request.mark = self.mark(centre);
        request.protection = self.protection();
        request.cluster = self.cluster;
        request.itn = order.itn;
        request.iec = order.iec;
        if let Some(number) = order.blank_key_no {
            request.blank_key_no = Some(number);
            request.token = Some(self.blank_proof(handle, number, &request.jti).await?);
        }
        request.sign(self.identity.key()).map_err(|error| internal(&error))
    }

    pub(super) async fn giving_back(
        &self,
        held: Held,
        key_no: KeyNo,
        why: Why,
        centre: Option<&str>,
    ) -> Result<String, ApiError> {
        let note: String = why.note.chars().take(NOTE_CHARS_MAX).collect();
        let jti = request_id()?;
        let token = self.return_proof(held.token, key_no, &jti).await?;
        let request = ReturnRequest {
            jti,
            iat: clock::utc().unix_seconds(),
            aud: centre.and_then(audience),
            cnf: Confirmation { jwk: self.identity.public().jwk() },
            key_no,
            key_id: held.series,
            activation: held.activation,
            reason: why.reason,
            note: (!note.is_empty()).then_some(note),
            token,
            computer_id: self.computer_id.clone(),
            server_version: VERSION.to_owned(),
        };
        request.sign(self.identity.key()).map_err(|error| internal(&error))
    }

    pub(super) fn demo_token(&self, demo: Demo, centre: Option<&str>) -> Result<String, ApiError> {
        let request = DemoRequest {
            jti: request_id()?,
            iat: clock::utc().unix_seconds(),
            aud: centre.and_then(audience),
            cnf: Confirmation { jwk: self.identity.public().jwk() },
            enc: Some(self.identity.wrap_key().jwk()),
            protection: self.protection(),
            mark: self.mark(centre),
            key_id: demo.series,
            itn: demo.itn,
            iec: demo.iec,
            computer_id: self.computer_id.clone(),
            server_version: VERSION.to_owned(),
        };
        request.sign(self.identity.key()).map_err(|error| internal(&error))
    }

    pub(super) fn spare_token(
        &self,
        held: Held,
        key_no: KeyNo,
        centre: Option<&str>,
    ) -> Result<String, ApiError> {
        let request = SpareRequest {
            jti: request_id()?,
            iat: clock::utc().unix_seconds(),
            aud: centre.and_then(audience),
            cnf: Confirmation { jwk: self.identity.public().jwk() },
            key_no,
            key_id: held.series,
            activation: held.activation,
            computer_id: self.computer_id.clone(),
            server_version: VERSION.to_owned(),
        };
        request.sign(self.identity.key()).map_err(|error| internal(&error))
    }

    /// The last mark of the centre that a request is for.
    fn mark(&self, centre: Option<&str>) -> Option<String> {
        centre.and_then(|centre| self.centres.mark(centre))
    }

    /// How the identity is kept, for series that ask for a TPM.
    fn protection(&self) -> Option<Protection> {
        Some(self.identity.seal_state().protection)
    }

    /// The centre of a request, as its address is opened by whoever reads the request as a picture.
    ///
    /// # Errors
    ///
    /// See [`crate::driver::DriverError`].
    pub async fn page_of(
        &self,
        handle: &Handle,
        series: Option<KeySeries>,
    ) -> Result<Option<String>, ApiError> {
        if let Some(series) = series {
            return self.known_centre(handle, series).await;
        }
        let known = handle.centres().await?.into_values().flatten();
        let mut all: BTreeSet<_> = known.chain(self.default_centre()).collect();
        Ok(if all.len() == 1 { all.pop_first() } else { None })
    }
}

fn request_id() -> Result<String, ApiError> {
    random::id_bytes().map(|bytes| hex_upper(&bytes)).map_err(|error| internal(&error))
}

fn internal(error: &dyn std::fmt::Display) -> ApiError {
    log::error!("no request to an activation centre could be made: {error}");
    ApiError::internal()
}
