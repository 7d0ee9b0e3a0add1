//! `/api/ismp/replica`: what a main server tells and does for its reserves.
//!
//! The only address whose answer holds all session keys at once; who may ask is the gate's. Which
//! record counts is decided by [`licence_ismp::Book`].

use hyper::StatusCode;
use licence_ismp::SessionKey;
use licence_ismp::record::Who;
use licence_ismp::saved::SavedRecord;
use serde_json::json;

use super::errors::ApiError;
use super::params::{self, Params};
use super::{Answer, Call, json};
use crate::ismp::functions::{self, Caller};
use crate::ismp::replica::relay::{FOREIGN_SESSION, RelayedCall, refuse_on_reserve};
use crate::ismp::replica::{BookAnswer, GIVEN_MAX, Given};

/// `GET`: the whole book, or nothing of it when `Instance` and `Since` say that the caller has it.
pub(crate) async fn book(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    refuse_on_reserve(call.app)?;
    let params = Params::read(call.query, body)?;
    let is_ours = params.text("Instance")? == Some(call.app.ismp_replica.instance());
    let since = params.digits("Since", 20)?.and_then(|digits| digits.parse::<u64>().ok());
    let seen = since.filter(|_| is_ours);
    let (generation, book) = call
        .app
        .ismp
        .pass(move |book, _| {
            let open = |_: &_, token: &SessionKey| {
                Ok::<_, std::convert::Infallible>(token.reveal().to_owned())
            };
            let generation = book.generation();
            let saved = (seen != Some(generation)).then(|| book.save(open));
            (generation, saved.and_then(Result::ok))
        })
        .await?;
    let instance = call.app.ismp_replica.instance().to_owned();
    json(StatusCode::OK, &BookAnswer { instance, generation, book })
}

/// `PUT`: keys that a reserve has got while this server did not answer.
pub(crate) async fn give(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    refuse_on_reserve(call.app)?;
    let given: Given = params::message(body)?;
    if given.records.len() > GIVEN_MAX {
        return Err(ApiError::bad_request(
            format!("Records: at most {GIVEN_MAX} at a time."),
            format!("Records: не больше {GIVEN_MAX} за раз."),
        ));
    }
    let opened = given.records.into_iter().map(opened).collect::<Result<Vec<_>, _>>()?;
    let taken = call.app.ismp.change(move |book, now| {
        let mut taken = Vec::new();
        for (key, mut record) in opened {
            // A reserve whose clock is ahead must not win for ever.
            record.obtained = record.obtained.min(now.utc);
            let fingerprint = record.token.fingerprint();
            if book.merge(key.clone(), record) {
                taken.push((key, fingerprint));
            }
        }
        taken
    });
    let taken = taken.await?;
    for (key, fingerprint) in &taken {
        let note = fingerprint.to_string();
        call.app.ismp.audit("ismp_replica", key.to_string(), note, &call.actor).await;
    }
    json(StatusCode::ACCEPTED, &json!({"Taken": taken.len()}))
}

fn opened(
    record: SavedRecord,
) -> Result<(licence_ismp::StoreKey, licence_ismp::TokenRecord), ApiError> {
    let token = SessionKey::new(&record.sealed).map_err(|error| {
        ApiError::bad_request(format!("Sealed: {error}."), "Sealed: не ключ сессии.")
    })?;
    Ok(record.opened(token))
}

/// `POST`: a function that somebody has called at a reserve.
pub(crate) async fn relay(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    refuse_on_reserve(call.app)?;
    let RelayedCall { function, parameters, who } = params::message(body)?;
    // A session of this server is nobody's to name from elsewhere.
    let session = who.session.filter(|id| id.starts_with(FOREIGN_SESSION));
    let who = Who { session, ..who };
    let caller = Caller { actor: call.actor.clone(), who };
    let answer = functions::call(call.app, &caller, &function, parameters, call.language).await?;
    json(StatusCode::OK, &answer)
}
