//! `POST /client/v1/datafile` and `/datapart`: what lies in the data files of the server, as it
//! lies there; and `GET /api/datafiles`, which files there are. Ciphertexts are no secret; their keys
//! are given out elsewhere.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use licence_core::datafile::check_name;
use licence_core::key::KeySeries;
use licence_core::language::Language;
use licence_core::protocol::manager::{
    DATAPART_BYTES_MAX, DatafileAnswer, DatafileQuery, Datapart, DatapartQuery,
};
use std::sync::Arc;

use crate::api::errors::ApiError;
use crate::api::params::Params;
use crate::api::views::{DatafileView, DatafilesView};
use crate::api::{Answer, App, Call, json, json_body, rest};
use crate::datafiles::{Contents, DatafilesError, Known, Listing, Part, Problem, Room};

pub(crate) async fn datafile(call: &Call<'_>, query: DatafileQuery) -> Result<Answer, ApiError> {
    let app = call.app;
    let series = app.handle.series_of(query.connection).await?;
    let known = find(app, series, query.alias.as_deref()).await?;
    contents(&known)?;
    // Lists have megabytes too; so many are in memory as parts may be.
    let room = app.datafiles.room().await?;
    send(room, move || {
        let contents = contents(&known)?;
        let (list, version) = (contents.token.clone(), contents.version.clone());
        json_body(&DatafileAnswer { list, version })
    })
    .await
}

pub(crate) async fn datapart(call: &Call<'_>, query: DatapartQuery) -> Result<Answer, ApiError> {
    let app = call.app;
    let series = app.handle.series_of(query.connection).await?;
    let known = find(app, series, query.alias.as_deref()).await?;
    let contents = contents(&known)?;
    if contents.version != query.version {
        return Err(changed());
    }
    let end = query.offset.saturating_add(u64::from(query.length));
    if query.length == 0 || query.length > DATAPART_BYTES_MAX || end > contents.body_bytes() {
        let bytes = contents.body_bytes();
        return Err(params(
            format!(
                "Offset and Length must name 1 to {DATAPART_BYTES_MAX} bytes within the {bytes} of \
                 the file."
            ),
            format!(
                "Offset и Length должны указывать от 1 до {DATAPART_BYTES_MAX} байт в пределах \
                 {bytes} байт файла."
            ),
        ));
    }
    let length = usize::try_from(query.length).map_err(|error| ApiError::broken(&error))?;
    let part = app.datafiles.part(&known, query.offset, length).await?;
    let Part { bytes, room } = part;
    send(room, move || json_body(&Datapart { data: STANDARD.encode(&bytes) })).await
}

/// An answer of megabytes; the room is given back when it has been sent.
async fn send(
    room: Room,
    write: impl FnOnce() -> Result<Vec<u8>, ApiError> + Send + 'static,
) -> Result<Answer, ApiError> {
    // Writing so much is nothing for the thread that serves the others.
    let written = tokio::task::spawn_blocking(move || Ok::<_, ApiError>(room.into_body(write()?)));
    let body = written.await.map_err(|error| ApiError::broken(&error))??;
    Ok(crate::api::json_answer(StatusCode::OK, body))
}

/// `GET /api/datafiles`, optionally with `KeyID`.
pub(crate) async fn list(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let series = rest::series(&Params::read(call.query, body)?)?;
    let listing = look(call.app).await?;
    let wanted = |known: &&Known| series.is_none() || known.series == series;
    let views = listing.all().filter(wanted).map(|known| view(known, call.language));
    json(StatusCode::OK, &DatafilesView { datafiles: views.collect() })
}

fn view(known: &Known, language: Language) -> DatafileView {
    let contents = known.contents.as_ref();
    DatafileView {
        key_id: known.series,
        alias: known.alias.clone(),
        file_name: known.file_name.clone(),
        objects: contents.ok().map(|contents| contents.list.objects.len()),
        size: known.bytes,
        date: known.changed,
        version: contents.ok().map(|contents| contents.version.clone()),
        problem: contents.err().map(|problem| problem.text(language)),
    }
}

/// The folder of the data files as it is at this moment, or was a second ago.
///
/// # Errors
///
/// 503 when the disk or the driver does not answer, 500 when the folder cannot be listed.
pub(crate) async fn look(app: &App) -> Result<Arc<Listing>, ApiError> {
    let keys = app.handle.series_signing_keys().await?;
    Ok(app.datafiles.look(keys).await?)
}

/// A data file by its series and alias.
///
/// # Errors
///
/// 404 `EDataFileNotFound`; 400 for what is no alias; those of [`look`].
pub(crate) async fn find(
    app: &App,
    series: KeySeries,
    alias: Option<&str>,
) -> Result<Arc<Known>, ApiError> {
    if let Some(alias) = alias
        && let Err(why) = check_name(alias)
    {
        return Err(params(
            format!("Alias: {why}."),
            "Alias: псевдоним не должен быть пустым, длиннее 255 символов или содержать точку, косую \
             черту, двоеточие.",
        ));
    }
    let listing = look(app).await?;
    listing.find(series, alias).cloned().ok_or_else(|| not_found(series, alias))
}

/// What is in a data file that can be used.
///
/// # Errors
///
/// 409 `EDataFileInvalid`.
pub(crate) fn contents(known: &Known) -> Result<&Contents, ApiError> {
    known.contents.as_ref().map_err(|problem| invalid(&known.file_name, problem))
}

impl From<DatafilesError> for ApiError {
    fn from(error: DatafilesError) -> Self {
        match error {
            DatafilesError::Busy => Self::unavailable(
                "The disk does not answer in time; try again.",
                "Диск не отвечает вовремя; повторите запрос.",
            ),
            DatafilesError::Changed => changed(),
            DatafilesError::Folder(_) => Self::broken(&error),
            DatafilesError::Read(_) => {
                log::warn!("{error}");
                Self::new(
                    StatusCode::CONFLICT,
                    "EDataFileInvalid",
                    "The data file cannot be read; see the log of the server.",
                    "Файл данных не читается; подробности в логе сервера.",
                )
            }
        }
    }
}

/// 409 and not 503: the server serves all others well, and another one has other files.
fn invalid(file_name: &str, problem: &Problem) -> ApiError {
    let (english, russian) = (problem.text(Language::English), problem.text(Language::Russian));
    ApiError::new(
        StatusCode::CONFLICT,
        "EDataFileInvalid",
        format!("The data file {file_name} cannot be used: {english}."),
        format!("Файл данных {file_name} не может быть использован: {russian}."),
    )
}

fn changed() -> ApiError {
    ApiError::new(
        StatusCode::CONFLICT,
        "EDataFileChanged",
        "The data file has changed; ask for its list again.",
        "Файл данных изменился; запросите список объектов заново.",
    )
}

fn not_found(series: KeySeries, alias: Option<&str>) -> ApiError {
    let name = match alias {
        Some(alias) => format!("{series}.{alias}.datafile"),
        None => format!("{series}.datafile"),
    };
    ApiError::new(
        StatusCode::NOT_FOUND,
        "EDataFileNotFound",
        format!("The server has no data file {name}."),
        format!("На сервере нет файла данных {name}."),
    )
}

fn params(english: impl Into<String>, russian: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "EParams", english, russian)
}
