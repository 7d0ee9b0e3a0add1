//! Licences that a centre has given: installed, put on their token, written down.
//!
//! Whether a document is genuine, the driver decides.

use hyper::StatusCode;
use licence_core::activation_request::ActivationAnswer;
use licence_core::key::KeySeries;
use licence_core::language::Language;
use licence_core::protocol::LicenceView;
use licence_core::series::SeriesDescriptor;

use super::{Activator, Stage, Turn};
use crate::access::Actor;
use crate::api::errors::ApiError;
use crate::driver::{AuditNote, DriverError, Handle};
use crate::keyring::InstallError;

impl Activator {
    pub(super) async fn take_document(
        &self,
        turn: &Turn<'_>,
        handle: &Handle,
        document: String,
        series: Option<SeriesDescriptor>,
    ) -> Result<LicenceView, ApiError> {
        turn.stage.set(Some(Stage::Writing));
        let view = handle.install(document, series).await?;
        self.put_on_token(handle, view.key_no).await;
        Ok(view)
    }

    pub(super) async fn take_licence(
        &self,
        turn: &Turn<'_>,
        handle: &Handle,
        answer: ActivationAnswer,
        note: String,
        actor: &Actor,
    ) -> Result<LicenceView, ApiError> {
        let ActivationAnswer { licence, series, mark } = answer;
        let named = series.series;
        let (view, refused) = self.take_given(turn, handle, licence, Some(series)).await?;
        note_key(handle, "key_install", &view, note, actor).await?;
        if let Some(centre) = self.known_centre(handle, named).await? {
            self.heard(&centre, Some(mark)).await;
        }
        refused.map_or(Ok(view), Err)
    }

    /// Takes a licence that its centre has given to this server for a code: the code is spent, so the
    /// licence is kept also where its kind must not stand beside what is here. A key that was bought
    /// works then, and a demonstration beside it gives out no more seats; a demonstration beside others
    /// lies idle, and the refusal says so.
    pub(super) async fn take_given(
        &self,
        turn: &Turn<'_>,
        handle: &Handle,
        document: String,
        series: Option<SeriesDescriptor>,
    ) -> Result<(LicenceView, Option<ApiError>), ApiError> {
        turn.stage.set(Some(Stage::Writing));
        let (view, refused) = match handle.install(document.clone(), series.clone()).await {
            Ok(view) => (view, None),
            Err(DriverError::Install(why)) if why.is_of_kinds() => {
                let view = handle.install_listed(document, series).await?;
                let is_bought = matches!(why, InstallError::DemoKeyPresent(_));
                (view, (!is_bought).then(|| kept_idle(&why)))
            }
            Err(error) => return Err(error.into()),
        };
        self.put_on_token(handle, view.key_no).await;
        Ok((view, refused))
    }

    /// A key that was paid for has ended the demonstration at the centre, whose word about that is
    /// asked for. Without it the demonstration lies idle until the next update.
    pub(super) async fn hear_of_demo(
        &self,
        turn: &Turn<'_>,
        handle: &Handle,
        series: KeySeries,
        actor: &Actor,
        language: Language,
    ) {
        let heard = async {
            let known = handle.centres().await?;
            let known = known.into_iter().filter(|(one, _)| *one == series).collect();
            self.update_of(turn, handle, known, actor, language).await
        };
        if let Err(error) = heard.await {
            log::info!("the demonstration key of series {series} stays for now: {error}");
        }
    }
}

pub(super) async fn note_key(
    handle: &Handle,
    action: &'static str,
    view: &LicenceView,
    note: String,
    actor: &Actor,
) -> Result<(), ApiError> {
    let subject = view.key_no.map(|key_no| key_no.to_string()).unwrap_or_default();
    let note = AuditNote { action, subject, key_no: view.key_no, series: view.key_id, note };
    Ok(handle.audit(note, actor).await?)
}

pub(super) fn other_series(series: KeySeries) -> ApiError {
    ApiError::new(
        StatusCode::BAD_REQUEST,
        "ELicenceInvalid",
        format!("The activation centre's licence is not of series {series}."),
        format!("Лицензия, полученная от центра, не относится к серии {series}."),
    )
}

/// The refusal of a demonstration key that its centre has given to this server all the same.
fn kept_idle(why: &InstallError) -> ApiError {
    let mut error = ApiError::from(why);
    error.english.push_str(
        ". The key is kept on this server and gives out no seats while others of the series are here: \
         remove it, or them.",
    );
    error.russian.push_str(
        " Ключ сохранён на этом сервере, но не выдаёт лицензий, пока здесь есть другие ключи серии: \
         удалите его или их.",
    );
    error
}
