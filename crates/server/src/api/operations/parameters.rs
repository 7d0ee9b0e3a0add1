//! What the vendor has written for a key: its licence parameters.
//!
//! Which value counts is the core's word ([`licence_core::parameters`]); the file of parameters is
//! an object of the series' main data file.

use licence_core::key::KeySeries;
use licence_core::parameters::{ParameterFile, ParameterKeys, resolve};

use crate::api::App;
use crate::api::errors::ApiError;
use crate::driver::{KeyAsked, ParameterSources};

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
    let ParameterSources { key, main_keys, own } = app.handle.parameter_sources(asked).await??;
    let file = ParameterFile::default();
    let keys = ParameterKeys { key: Some(key), main_keys: &main_keys, own: &own };
    Ok(resolve(&file, &keys, name, use_main).map(str::to_owned))
}

