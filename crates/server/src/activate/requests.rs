//! The signed requests of this server, as they go to a centre or into a file.
//!
//! Nothing is asked of anybody here.

use licence_core::activation_request::ActivationRequest;
use licence_core::centre_request::{LicencesRequest, NOTE_CHARS_MAX, ReturnRequest};
use licence_core::key::{KeyNo, KeySeries};
use licence_core::licence_file::Confirmation;
use licence_core::seal::hex_upper;

use super::{Activator, Order};
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
    pub fn file_request(&self, order: Order) -> Result<String, ApiError> {
        self.request(order)
    }

    /// The question which licences a centre has for this server, as a file.
    ///
    /// # Errors
    ///
    /// 500 when none can be made.
    pub fn update_request(&self) -> Result<String, ApiError> {
        let request = LicencesRequest::new(
            request_id()?,
            clock::utc(),
            self.identity.key(),
            self.computer_id.clone(),
            VERSION.to_owned(),
        );
        request.sign(self.identity.key()).map_err(|error| internal(&error))
    }

    /// A request to take a key back, as a file, with the series of the key. The key stays until
    /// the centre's answer is here.
    ///
    /// # Errors
    ///
    /// 404 for a key that is not here; 500 when none can be made.
    pub async fn return_request(
        &self,
        handle: &Handle,
        key_no: KeyNo,
        note: String,
    ) -> Result<(String, KeySeries), ApiError> {
        let held = self.held(handle, key_no).await?;
        let series = held.series;
        Ok((self.giving_back(held, key_no, note)?, series))
    }

    /// The name that a request file of this moment should have: `672B.20261121-120000.request`, or
    /// `licences.…` when it is about all series.
    pub fn file_name(series: Option<KeySeries>) -> String {
        let subject = series.map_or_else(|| "licences".to_owned(), |series| series.to_string());
        format!("{subject}.{}.request", stamp(clock::utc()))
    }

    pub(super) fn request(&self, order: Order) -> Result<String, ApiError> {
        let mut request = ActivationRequest::new(
            request_id()?,
            clock::utc(),
            self.identity.key(),
            order.code,
            self.computer_id.clone(),
            VERSION.to_owned(),
        );
        request.itn = order.itn;
        request.iec = order.iec;
        request.sign(self.identity.key()).map_err(|error| internal(&error))
    }

    pub(super) fn giving_back(
        &self,
        held: Held,
        key_no: KeyNo,
        note: String,
    ) -> Result<String, ApiError> {
        let note: String = note.chars().take(NOTE_CHARS_MAX).collect();
        let request = ReturnRequest {
            jti: request_id()?,
            iat: clock::utc().unix_seconds(),
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
