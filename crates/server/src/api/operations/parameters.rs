//! What the vendor has written for a key: its licence parameters.
//!
//! Which value counts is the core's word ([`licence_core::parameters`]); the file of parameters is
//! an object of the series' main data file, opened here with the object key of the series.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper::StatusCode;
use licence_core::datafile::{ObjectEntry, open_object, unwrap_object_key};
use licence_core::key::KeySeries;
use licence_core::parameters::{
    PARAMETERS_BYTES_MAX, ParameterFile, ParameterFileError, ParameterKeys, resolve,
};
use licence_core::wrap::WrapKey;

use crate::api::errors::ApiError;
use crate::api::{App, objects};
use crate::driver::{KeyAsked, ParameterSources};

/// The files of parameters that were read, one a series, by the version of the data file that they
/// come from. There are no more of them than data files are read.
#[derive(Debug, Default)]
pub struct ParameterFiles(Mutex<BTreeMap<KeySeries, Kept>>);

#[derive(Clone, Debug)]
struct Kept {
    version: String,
    read: Result<Arc<ParameterFile>, ParameterFileError>,
}

impl ParameterFiles {
    fn get(
        &self,
        series: KeySeries,
        version: &str,
    ) -> Option<Result<Arc<ParameterFile>, ParameterFileError>> {
        self.kept()
            .get(&series)
            .filter(|kept| kept.version == version)
            .map(|kept| kept.read.clone())
    }

    fn kept(&self) -> MutexGuard<'_, BTreeMap<KeySeries, Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Value of a parameter; nothing when neither a key nor a default has one.
///
/// # Errors
///
/// For a key that may not be used; for a file of parameters that is there and cannot be used.
pub(super) async fn value(
    app: &App,
    asked: KeyAsked,
    name: &str,
    use_main: bool,
) -> Result<Option<String>, ApiError> {
    let series = asked.series;
    let ParameterSources { key, main_keys, own } = app.handle.parameter_sources(asked).await??;
    let keys = ParameterKeys { key: Some(key), main_keys: &main_keys, own: &own };
    // What the key's own licence says comes first, so the file need not be there for it.
    let nothing = ParameterFile::default();
    if let Some(value) = resolve(&nothing, &keys, name, false) {
        return Ok(Some(value.to_owned()));
    }
    let file = file(app, series).await?;
    Ok(resolve(&file, &keys, name, use_main).map(str::to_owned))
}

/// The file of parameters of a series; an empty one when its data file has none.
async fn file(app: &App, series: KeySeries) -> Result<Arc<ParameterFile>, ApiError> {
    let listing = objects::look(app).await?;
    let Some(known) = listing.find(series, None) else { return Ok(Arc::default()) };
    let contents = objects::contents(known)?;
    let Some(entry) = contents.list.parameters() else { return Ok(Arc::default()) };
    if let Some(read) = app.parameter_files.get(series, &contents.version) {
        return read.map_err(|error| wrong_file(&known.file_name, &error));
    }
    let read = if entry.size > PARAMETERS_BYTES_MAX as u64 {
        Err(ParameterFileError::TooLarge)
    } else {
        let key = app.handle.series_key(series).await?.ok_or_else(|| no_object_key(series))?;
        let length = usize::try_from(entry.sealed_bytes());
        let length = length.map_err(|error| ApiError::broken(&error))?;
        let part = app.datafiles.part(known, entry.offset, length).await?;
        let (entry, file_name) = (entry.clone(), known.file_name.clone());
        let opened = tokio::task::spawn_blocking(move || {
            open(&key, series, &entry, &part.bytes).ok_or_else(|| not_opened(&file_name))
        });
        let text = opened.await.map_err(|error| ApiError::broken(&error))??;
        ParameterFile::parse(&text).map(Arc::new)
    };
    if let Err(error) = &read {
        log::warn!("the parameters in {} cannot be used: {error}", known.file_name);
    }
    let kept = Kept { version: contents.version.clone(), read: read.clone() };
    app.parameter_files.kept().insert(series, kept);
    read.map_err(|error| wrong_file(&known.file_name, &error))
}

fn open(key: &WrapKey, series: KeySeries, entry: &ObjectEntry, sealed: &[u8]) -> Option<String> {
    let object_key = unwrap_object_key(entry, series, key).ok()?;
    let plain = open_object(&object_key, series, entry, sealed).ok()?;
    String::from_utf8(plain).ok()
}

fn no_object_key(series: KeySeries) -> ApiError {
    ApiError::new(
        StatusCode::CONFLICT,
        "EObjectKey",
        format!(
            "No licence of series {series} on this server has the object key of the series: update \
             the licences."
        ),
        format!(
            "Ни в одной лицензии серии {series} на этом сервере нет ключа объектов серии: обновите \
             лицензии."
        ),
    )
}

fn not_opened(file_name: &str) -> ApiError {
    log::warn!("the parameters in {file_name} do not open with the object key of its series");
    ApiError::new(
        StatusCode::CONFLICT,
        "EDataFileInvalid",
        format!("The parameters in the data file {file_name} cannot be opened."),
        format!("Параметры в файле данных {file_name} не открываются."),
    )
}

fn wrong_file(file_name: &str, error: &ParameterFileError) -> ApiError {
    ApiError::new(
        StatusCode::CONFLICT,
        "EDataFileInvalid",
        format!("The parameters in the data file {file_name} are wrong: {error}."),
        format!("В параметрах файла данных {file_name} ошибка: {error}."),
    )
}
