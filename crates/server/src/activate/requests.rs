//! The signed requests of this server, as they go to a centre or into a file.
//!
//! Nothing is asked of anybody here; a request to take a key back puts the key aside before it is
//! handed out.

use std::collections::BTreeSet;

use licence_core::activation_request::{ActivationRequest, audience};
use licence_core::centre_request::{LicencesRequest, NOTE_CHARS_MAX, ReturnRequest};
use licence_core::key::{KeyNo, KeySeries};
use licence_core::licence_file::Confirmation;
use licence_core::seal::hex_upper;

use super::{Activator, Order, key_not_found};
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
        self.request(order, centre.as_deref())
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
        self.question(all.first().filter(|_| all.len() == 1).map(String::as_str))
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
        note: String,
        actor: &Actor,
    ) -> Result<(String, KeySeries), ApiError> {
        let _turn = self.turn().await?;
        let held = self.returnable(handle, key_no).await?;
        let series = held.series;
        let centre = self.known_centre(handle, series).await?;
        let token = self.giving_back(held, key_no, note.clone(), centre.as_deref())?;
        handle.begin_return(key_no, note, actor).await?.ok_or_else(|| key_not_found(key_no))?;
        Ok((token, series))
    }

    /// The name that a request file of this moment should have: `672B.20261121-120000.request`, or
    /// `licences.…` when it is about all series.
    pub fn file_name(series: Option<KeySeries>) -> String {
        let subject = series.map_or_else(|| "licences".to_owned(), |series| series.to_string());
        format!("{subject}.{}.request", stamp(clock::utc()))
    }

    pub(super) fn question(&self, centre: Option<&str>) -> Result<String, ApiError> {
        let mut request = LicencesRequest::new(
            request_id()?,
            clock::utc(),
            self.identity.key(),
            self.computer_id.clone(),
            VERSION.to_owned(),
        );
        request.aud = centre.and_then(audience);
        request.enc = Some(self.identity.wrap_key().jwk());
        request.sign(self.identity.key()).map_err(|error| internal(&error))
    }

    pub(super) fn request(&self, order: Order, centre: Option<&str>) -> Result<String, ApiError> {
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
        request.itn = order.itn;
        request.iec = order.iec;
        request.sign(self.identity.key()).map_err(|error| internal(&error))
    }

    pub(super) fn giving_back(
        &self,
        held: Held,
        key_no: KeyNo,
        note: String,
        centre: Option<&str>,
    ) -> Result<String, ApiError> {
        let note: String = note.chars().take(NOTE_CHARS_MAX).collect();
        let request = ReturnRequest {
            jti: request_id()?,
            iat: clock::utc().unix_seconds(),
            aud: centre.and_then(audience),
            cnf: Confirmation { jwk: self.identity.public().jwk() },
            key_no,
            key_id: held.series,
            activation: held.activation,
            note: (!note.is_empty()).then_some(note),
            computer_id: self.computer_id.clone(),
            server_version: VERSION.to_owned(),
        };
        request.sign(self.identity.key()).map_err(|error| internal(&error))
    }
}

fn request_id() -> Result<String, ApiError> {
    random::id_bytes().map(|bytes| hex_upper(&bytes)).map_err(|error| internal(&error))
}

fn internal(error: &dyn std::fmt::Display) -> ApiError {
    log::error!("no request to an activation centre could be made: {error}");
    ApiError::internal()
}
