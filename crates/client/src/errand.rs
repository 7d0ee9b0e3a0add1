//! An operation for a series of which no server has a key yet: the first activation.
//!
//! A server without a licence of the series can prove nothing, so this goes over TLS to a server
//! that is not known to be genuine: a foreign one would learn the activation code. Only what brings
//! the first key is asked this way ([`Operation::is_for_anybody`]), only of servers that the
//! settings name, and the log says so. What such a server answers is no proof either: the next
//! start holds it to the licence that was installed.

use std::collections::VecDeque;
use std::sync::Arc;

use licence_core::failover::{Server, TRY_BOUND};
use licence_core::protocol::manager::{
    Operation, OperationAnswer, OperationQuery, OperationResult,
};
use licence_core::seal::PublicKey;

use crate::answer::Answered;
use crate::client::{Client, StartOptions, mixed_up};
use crate::clock::system_now;
use crate::conf::{Conf, resolve};
use crate::error::{ClientError, code};
use crate::http::{CallError, Channel};
use crate::jobs::{Reply, Work};
use crate::net::Budget;
use crate::operations::{
    Outcome, TICKET_PAUSE, bound_of, check, of_ticket, outcome, unknown_outcome,
};
use crate::pin::pinned_key;
use crate::queue::ask;
use crate::worker::Worker;

/// An operation on its walk over the servers.
#[derive(Debug)]
pub(crate) struct Errand {
    options: StartOptions,
    operation: Operation,
    /// What the settings say, once they are read.
    walk: Option<Walk>,
    /// The server that took it up, and its ticket.
    begun: Option<(Channel, String)>,
}

#[derive(Debug)]
struct Walk {
    servers: VecDeque<Server>,
    pinned: PublicKey,
    /// What the servers so far answered.
    errors: Vec<ClientError>,
}

impl Client {
    /// Has the first server of the settings that can be reached carry out an operation although it
    /// has no key of the series and so cannot prove itself: see the threat model. Blocks at most
    /// [`crate::OPERATION_BOUND`] for what needs the centre, else [`crate::CALL_BOUND`].
    ///
    /// # Errors
    ///
    /// `EExecuteError` for an operation that is not for anybody; `EServerNotTrusted` from a server
    /// that shows licences that are not its own; those of [`Client::start`], refusals of the server.
    pub fn operation_unproven(
        &self,
        options: StartOptions,
        operation: Operation,
    ) -> Result<OperationResult, ClientError> {
        if !operation.is_for_anybody() {
            return Err(ClientError::execute(
                format!("Операция {} возможна только после запуска серии", operation.name()),
                format!("operation {} needs a started series", operation.name()),
            ));
        }
        check(&operation)?;
        let bound = bound_of(&operation);
        let errand = Errand { options, operation, walk: None, begun: None };
        let work = Work::Errand(Box::new(errand));
        let reply = ask(self.shared(), work, system_now().after(bound), bound)?;
        let Reply::Operation(OperationAnswer { result: Some(result), .. }) = reply else {
            return Err(mixed_up());
        };
        Ok(result)
    }
}

impl Worker<'_> {
    /// One step: at most one attempt at one server.
    pub(crate) fn errand_turn(&mut self, errand: &mut Errand) -> Answered {
        let walk = match errand.walk.as_mut() {
            Some(walk) => walk,
            None => match begin(&errand.options) {
                Ok(walk) => errand.walk.insert(walk),
                Err(error) => return Answered::Reply(Err(error)),
            },
        };
        let budget =
            Budget::new(system_now().after(TRY_BOUND), Some(Arc::clone(&self.shared.stop)));
        let mut query = OperationQuery {
            connection: None,
            key_id: errand.options.series,
            language: Some(code(errand.options.language).to_owned()),
            ticket: None,
            operation: None,
        };
        let mut channel = match errand.begun.take() {
            Some((channel, ticket)) => {
                query.ticket = Some(ticket);
                channel
            }
            None => {
                let Some(server) = walk.servers.pop_front() else {
                    let error = ClientError::of_walk(&walk.errors);
                    return Answered::Reply(Err(error.unwrap_or_else(ClientError::stopping)));
                };
                let opened = Channel::open_for_anybody(
                    &server,
                    errand.options.series,
                    &walk.pinned,
                    errand.options.language,
                    &budget,
                    &self.shared.names,
                );
                match opened {
                    Ok((channel, is_proven)) => {
                        if !is_proven {
                            log::warn!(
                                "series {}: {} at {server}, which has no key and proves nothing",
                                errand.options.series,
                                errand.operation.name()
                            );
                        }
                        query.operation = Some(errand.operation.clone());
                        channel
                    }
                    Err(error) => {
                        walk.errors.push(error);
                        return Answered::Again;
                    }
                }
            }
        };
        match channel.post::<_, OperationAnswer>("operation", &query, &budget) {
            Ok(answer) => match outcome(answer) {
                Ok(Outcome::Done(result)) => {
                    self.forget_fruitless(errand);
                    let answer = OperationAnswer { ticket: None, result: Some(result) };
                    Answered::Reply(Ok(Reply::Operation(answer)))
                }
                Ok(Outcome::Ticket(ticket)) => {
                    errand.begun = Some((channel, ticket));
                    let too_slow = ClientError::too_slow(bound_of(&errand.operation).as_secs());
                    Answered::Wait(TICKET_PAUSE, too_slow)
                }
                Err(error) => Answered::Reply(Err(error)),
            },
            Err(CallError::Refused { error, .. }) => Answered::Reply(Err(of_ticket(error))),
            Err(CallError::Broken { why, .. }) => {
                log::warn!("series {}: server lost: {why}", errand.options.series);
                Answered::Reply(Err(unknown_outcome()))
            }
        }
    }

    /// Something has changed at a server: that a walk came to nothing a moment ago says nothing of
    /// the next start.
    fn forget_fruitless(&mut self, errand: &Errand) {
        let series = errand.options.series;
        self.shared.lock().parked.retain(|key, _| key.series != series);
        for line in self.lines.values_mut().filter(|line| line.key.series == series) {
            line.fruitless = None;
        }
    }
}

/// Reads the settings, as a start does.
fn begin(options: &StartOptions) -> Result<Walk, ClientError> {
    let conf = Conf::find(&options.paths, options.info.is_server)?;
    let settings = resolve(options.series, options.connection_string.as_deref(), conf.as_ref())?;
    let pinned = pinned_key(options.series, options.descriptor.as_deref(), &options.paths)?;
    Ok(Walk { servers: settings.servers.into(), pinned, errors: Vec::new() })
}
