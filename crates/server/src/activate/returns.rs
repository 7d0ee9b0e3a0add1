//! Keys that are given back online, and receipts of keys that were.
//!
//! The key is put aside before its centre is asked; whether it has been taken, the receipt says.

use licence_core::activation::ActivationCode;
use licence_core::centre_request::ReturnAnswer;
use licence_core::key::KeyNo;
use licence_core::language::Language;

use super::centre::{Failed, Round};
use super::{Activator, Installed, Stage, Turn, Why, key_not_found};
use crate::access::Actor;
use crate::api::errors::ApiError;
use crate::driver::{AuditNote, Handle};
use crate::keyring::Held;

impl Activator {
    /// Gives a key back to its centre and gets a reserve code for it; the key is gone here.
    ///
    /// The key is put aside before the centre is asked, and comes back when the centre has surely
    /// not taken it. When it is not known what the centre has done, the key stays aside: asked
    /// again, the centre gives the same code, and [`Self::update`] brings back a key that is still
    /// this server's.
    ///
    /// # Errors
    ///
    /// 404 for a key that is not here; the centre's refusal; `ELicenceCentreUnavailable`.
    pub async fn reserve_code(
        &self,
        handle: &Handle,
        key_no: KeyNo,
        why: Why,
        actor: &Actor,
        language: Language,
    ) -> Result<ActivationCode, ApiError> {
        let turn = self.turn().await?;
        if let Some(receipt) = handle.given_back(key_no).await? {
            // The centre's answer was taken, ours may not have arrived. Who sees the code could take
            // the key: that leaves a line.
            let note = AuditNote {
                action: "key_return",
                subject: key_no.to_string(),
                key_no: Some(key_no),
                series: Some(receipt.key_id),
                note: "the reserve code once more".to_owned(),
            };
            handle.audit(note, actor).await?;
            return Ok(receipt.reserve_code);
        }
        let held = self.returnable(handle, key_no).await?;
        let centre = self.centre_of(handle, held.series).await?;
        let note = why.audited();
        let token = self.giving_back(held, key_no, why, Some(&centre)).await?;
        let round = Round::start();
        self.reach(&turn, round, &centre).await?;
        let begun = handle.begin_return(key_no, note.clone(), actor).await?;
        let begun = begun.ok_or_else(|| key_not_found(key_no))?;
        let answer: Result<ReturnAnswer, Failed> =
            self.ask(&turn, round, &centre, "/api/returns", token, language).await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(Failed { error, is_undone: true }) if begun.was_installed => {
                handle.call_off_return(key_no, error.class.to_string(), actor).await?;
                return Err(*error);
            }
            Err(failed) => return Err(left_open(*failed.error)),
        };
        let given_back = self.take_receipt(&turn, handle, answer, note, actor).await?;
        if given_back.removed != Some(key_no) {
            log::error!("the receipt from {centre} is not for key {key_no}");
            return Err(ApiError::internal());
        }
        self.heard(&centre, None).await;
        log::info!("gave key {key_no} back to {centre}");
        given_back.reserve_code.ok_or_else(ApiError::internal)
    }

    /// The licence of a key that can be given back: it works here, or its return is under way.
    pub(super) async fn returnable(
        &self,
        handle: &Handle,
        key_no: KeyNo,
    ) -> Result<Held, ApiError> {
        handle.returnable(key_no).await?.ok_or_else(|| key_not_found(key_no))
    }

    pub(super) async fn take_receipt(
        &self,
        turn: &Turn<'_>,
        handle: &Handle,
        answer: ReturnAnswer,
        note: String,
        actor: &Actor,
    ) -> Result<Installed, ApiError> {
        turn.stage.set(Some(Stage::Writing));
        let given_back = handle.give_up(answer.receipt, "key_return", note, actor).await?;
        let receipt = given_back.receipt;
        if given_back.removed && receipt.key_no == answer.key_no {
            self.take_off_token(given_back.token, receipt.key_no).await;
        }
        Ok(Installed {
            licences: Vec::new(),
            reserve_code: Some(receipt.reserve_code),
            removed: given_back.removed.then_some(receipt.key_no),
            ..Installed::default()
        })
    }
}

/// Class of a centre's refusal: what was asked is done, and its document waits for the signature of
/// a person.
const SIGNATURE_PENDING: &str = "ESignaturePending";

/// The error of a return that is not over: nobody knows whether the centre has taken the key, or it
/// has, and the receipt is to come.
fn left_open(mut error: ApiError) -> ApiError {
    if error.class == SIGNATURE_PENDING {
        error.english.push_str(
            " The key stays aside here. The reserve code comes with the signed receipt: repeat the \
             return once the vendor has signed it. Updating the licences brings neither.",
        );
        error.russian.push_str(
            " Здесь ключ отложен. Резервный код придёт с подписанной квитанцией: повторите возврат, \
             когда поставщик её подпишет. Обновление лицензий их не принесёт.",
        );
        return error;
    }
    error.english.push_str(
        " The key stays aside until the centre has answered: repeat the return, or update the \
         licences to put the key in force again if it is still this server's.",
    );
    error.russian.push_str(
        " Ключ отложен до ответа центра: повторите возврат или обновите лицензии — если ключ \
         остался за этим сервером, он снова заработает.",
    );
    error
}
