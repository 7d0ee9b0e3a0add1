//! The card in this process: command APDUs go in, answers come out.
//!
//! Routing, command chaining and GET RESPONSE are the firmware's (crate `apdu-dispatch`).

use std::path::Path;

use apdu_dispatch::App;
use apdu_dispatch::dispatch::ApduDispatch;
use apdu_dispatch::interchanges::{Channel, Data, Requester};
use piv_authenticator::{Authenticator, Options};
use trussed::pipe::TrussedChannel;
use trussed::virt::{Client, Runner};

use crate::Failure;
use crate::dispatch::{BACKENDS, Dispatch};
use crate::platform::with_platform;

/// Names the application's part of the card's memory.
pub(crate) const CLIENT: &str = "piv";

/// Status of a command whose length is wrong.
const WRONG_LENGTH: [u8; 2] = [0x67, 0x00];

/// Status of a card that gave no answer.
const NO_DIAGNOSIS: [u8; 2] = [0x6F, 0x00];

/// A card with power.
pub(crate) struct Card<'a> {
    application: &'a mut dyn App,
    dispatch: ApduDispatch<'a>,
    contact: Requester<'a>,
}

impl Card<'_> {
    /// Sends a command and gives the answer with its status word.
    pub(crate) fn exchange(&mut self, command: &[u8]) -> Vec<u8> {
        let Ok(command) = Data::from_slice(command) else { return WRONG_LENGTH.to_vec() };
        if self.contact.request(command).is_err() {
            return NO_DIAGNOSIS.to_vec();
        }
        self.dispatch.poll(&mut [&mut *self.application]);
        match self.contact.take_response() {
            Some(answer) => answer.as_slice().to_vec(),
            None => NO_DIAGNOSIS.to_vec(),
        }
    }
}

/// Lets `talk` speak to a card with this memory.
///
/// # Errors
///
/// When the memory cannot be used; those of `talk`.
pub(crate) fn with_card(
    state: Option<&Path>,
    talk: impl FnOnce(&mut Card<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    with_platform(state, |platform| {
        let service = TrussedChannel::new();
        let (requester, responder) = service.split().ok_or("the service's channel is taken")?;
        let mut runner = Runner::new();
        runner.add_endpoint(responder, CLIENT, BACKENDS);
        let client: Client<'_, Dispatch> = Client::new(requester, runner.syscall(), None);
        runner.run(platform, Dispatch::new(), || {
            let mut application = Authenticator::new(client, Options::new());
            let contact = Channel::new();
            let contactless = Channel::new();
            let (contact, answers) = contact.split().ok_or("the card's channel is taken")?;
            let (_, unused) = contactless.split().ok_or("the card's channel is taken")?;
            let dispatch = ApduDispatch::new(answers, unused);
            talk(&mut Card { application: &mut application, dispatch, contact })
        })
    })?
}
