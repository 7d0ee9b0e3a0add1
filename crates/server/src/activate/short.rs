//! Activation by telephone: a request that a person reads out, and the answer that is typed in.
//!
//! What the lines hold is decided in the core; here they are made for this server, and a mistake in
//! them is told in words.

use hyper::StatusCode;
use licence_core::key::KeySeries;
use licence_core::protocol::LicenceView;
use licence_core::short_text::{
    LINE_SYMBOLS, RebuildError, ShortAnswer, ShortRequest, ShortTextError,
};

use super::{Activator, Order, Turn, not_an_answer, note_key};
use crate::access::Actor;
use crate::api::errors::ApiError;
use crate::driver::Handle;

impl Activator {
    /// The lines by which a person asks the vendor for this licence over a telephone.
    ///
    /// # Errors
    ///
    /// `EUnknownSeries` when the series is not described here: the answer could not be taken then.
    pub async fn short_request(&self, handle: &Handle, order: Order) -> Result<String, ApiError> {
        let series = order.code.series();
        if handle.descriptor(series).await?.is_none() {
            return Err(not_described(series));
        }
        let request = ShortRequest {
            code: order.code,
            holder: self.identity.public(),
            computer_id: self.computer_id.to_ascii_uppercase(),
            itn: order.itn,
            iec: order.iec,
        };
        request.encode().map_err(|error| {
            log::error!("a request to be read out cannot be made: {error}");
            ApiError::internal()
        })
    }

    /// Takes the lines that were read out in answer.
    ///
    /// # Errors
    ///
    /// `EAnswerInvalid`, naming the line that is wrong; `EUnknownSeries`; the driver's refusal.
    pub async fn short_answer(
        &self,
        handle: &Handle,
        text: &str,
        actor: &Actor,
    ) -> Result<LicenceView, ApiError> {
        let turn = self.turn().await?;
        self.take_short(&turn, handle, text, actor).await
    }

    pub(super) async fn take_short(
        &self,
        turn: &Turn<'_>,
        handle: &Handle,
        text: &str,
        actor: &Actor,
    ) -> Result<LicenceView, ApiError> {
        let answer = ShortAnswer::decode(text).map_err(|error| wrong_text(&error))?;
        let series = answer.series();
        let descriptor = handle.descriptor(series).await?.ok_or_else(|| not_described(series))?;
        let document = answer
            .rebuild(&descriptor, &self.identity.public())
            .map_err(|error| not_genuine(series, &error))?;
        let (view, refused) = self.take_given(turn, handle, document, None).await?;
        note_key(handle, "key_install", &view, "by telephone".to_owned(), actor).await?;
        refused.map_or(Ok(view), Err)
    }
}

/// 400: which line is wrong, and how.
fn wrong_text(error: &ShortTextError) -> ApiError {
    let russian = match error {
        ShortTextError::Character { line, found } => {
            format!("строка {line}: символ {found:?} в ответах не встречается")
        }
        ShortTextError::Check { line } => {
            format!("строка {line}: один из символов введён неверно")
        }
        ShortTextError::Digest => {
            "строки не составляют одного ответа, запишите его ещё раз".to_owned()
        }
        ShortTextError::Kind(_) => "это запрос, а нужен ответ центра лицензирования".to_owned(),
        ShortTextError::Length { line, found } => {
            format!("строка {line}: символов {found}, а должно быть {LINE_SYMBOLS}")
        }
        ShortTextError::Lines { found, wanted } => {
            format!("строк {found}, а должно быть {wanted}")
        }
        ShortTextError::Order { line } => {
            format!("на месте строки {line} другая: строка пропущена, повторена или переставлена")
        }
        ShortTextError::TooLong => "текст длиннее любого ответа".to_owned(),
        ShortTextError::Version => "нужна более новая версия сервера лицензий".to_owned(),
        ShortTextError::Value(_) | _ => return not_an_answer(),
    };
    let english = format!("Answer is not what was read out: {error}.");
    let russian = format!("Answer введён неверно: {russian}.");
    ApiError::new(StatusCode::BAD_REQUEST, "EAnswerInvalid", english, russian)
}

fn not_genuine(series: KeySeries, error: &RebuildError) -> ApiError {
    log::warn!(
        "a licence that was read out was not made: {}",
        licence_core::causes::with_causes(error)
    );
    ApiError::new(
        StatusCode::BAD_REQUEST,
        "EAnswerInvalid",
        format!(
            "Answer was typed in well and gives no licence here: it is meant for another server, or \
             the description of series {series} on this server is another than the centre's. Take a \
             file with the answer instead."
        ),
        format!(
            "Ответ введён без ошибок, но лицензии для этого сервера не даёт: он выдан другому серверу, \
             или описание серии {series} на этом сервере не такое, как в центре. Получите ответ файлом."
        ),
    )
}

/// 400: what is read out does not describe its series.
fn not_described(series: KeySeries) -> ApiError {
    ApiError::new(
        StatusCode::BAD_REQUEST,
        "EUnknownSeries",
        format!(
            "Series {series} is not known to this server: for an activation by telephone put the \
             vendor's series file into the settings folder (SeriesFile), or use a request file."
        ),
        format!(
            "Серия {series} неизвестна этому серверу: для активации по телефону положите файл серии \
             от разработчика в папку настроек (SeriesFile) или используйте файловый запрос."
        ),
    )
}
