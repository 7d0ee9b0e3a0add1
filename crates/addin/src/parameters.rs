//! Licence parameters from templates: what counts when the server has no value.
//!
//! The text object `Параметры` or `Parameters` of a template that the session has loaded is opened
//! like any object, with the session's seat. Which value counts is decided by
//! [`licence_core::parameters`]; templates are asked in the order of their aliases.

use std::collections::BTreeMap;

use licence_client::{ClientError, Link};
use licence_core::datafile::ObjectKind;
use licence_core::key::KeyNo;
use licence_core::parameters::{ParameterFile, ParameterKeys, resolve};
use licence_core::protocol::manager::KeyChoice;

use crate::component::Component;
use crate::objects::Scope;
use crate::protected::{Found, Source, fetch};
use crate::templates;

/// `KeyType` of a main key.
const MAIN_KEY: u8 = 3;

/// Names of the object that holds parameters.
const NAMES: [&str; 2] = ["Параметры", "Parameters"];

impl Component {
    /// The value that a loaded template has for a key; nothing when none has one.
    pub(crate) fn template_parameter(
        &self,
        link: &Link,
        chosen: KeyChoice,
        name: &str,
        use_main: bool,
    ) -> Result<Option<String>, ClientError> {
        let (scope, caller) = (Scope::of(link)?, self.caller());
        let mut main_keys = None;
        for template in templates::all(scope, &caller.owner) {
            let named = NAMES.iter().find_map(|name| template.catalogue.find(name));
            let Some(entry) = named.filter(|entry| entry.object.kind == ObjectKind::Text) else {
                continue;
            };
            let admitted = self.admit(link, &caller, &entry)?;
            let found = Found { entry, source: Source::Template(template) };
            let session = admitted.as_ref().map(|(session, _)| session.as_ref());
            let bytes = fetch(link, &found, session, &caller.wish)?;
            let file = read(bytes.as_slice())?;
            if use_main && main_keys.is_none() {
                main_keys = Some(main_keys_of(link)?);
            }
            let current = admitted.and_then(|(_, seat)| seat.used_licence);
            let keys = ParameterKeys {
                key: chosen.or(current),
                main_keys: main_keys.as_deref().unwrap_or_default(),
                own: &BTreeMap::new(),
            };
            if let Some(value) = resolve(&file, &keys, name, use_main) {
                return Ok(Some(value.to_owned()));
            }
        }
        Ok(None)
    }
}

/// Main keys of the series at the server that may be used.
fn main_keys_of(link: &Link) -> Result<Vec<KeyNo>, ClientError> {
    let licences = link.licences(false, true)?;
    let main = licences.iter().filter(|licence| licence.key_type == Some(MAIN_KEY));
    Ok(main.filter_map(|licence| licence.key_no).collect())
}

fn read(bytes: &[u8]) -> Result<ParameterFile, ClientError> {
    let wrong = |why: &dyn std::fmt::Display| {
        ClientError::new(
            "EObject",
            format!("Файл параметров в макете не принят: {why}"),
            format!("the template's file of parameters was not accepted: {why}"),
        )
    };
    let text = std::str::from_utf8(bytes).map_err(|why| wrong(&why))?;
    ParameterFile::parse(text).map_err(|why| wrong(&why))
}
