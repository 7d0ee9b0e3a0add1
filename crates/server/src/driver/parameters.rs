//! Where licence parameters of a key may stand: in its own licence, and in those of the main keys.
//!
//! Which of them counts is decided in the core.

use std::collections::BTreeMap;

use licence_core::key::{KeyKind, KeyNo};
use licence_core::pool::KeyStatus;
use licence_core::refusal::Refusal;

use super::{DriverError, Handle, KeyAsked, KeyChoiceError};

/// What is known of a key's parameters without the vendor's file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ParameterSources {
    /// The key that is meant.
    pub key: KeyNo,
    /// The main keys of its series that may be used, in the order in which their seats are taken.
    pub main_keys: Vec<KeyNo>,
    /// What the licences of the series' usable keys say themselves.
    pub own: BTreeMap<KeyNo, BTreeMap<String, String>>,
}

impl Handle {
    /// Which key is meant, and what the licences say. A key that may not be used has no parameters:
    /// else one that has expired would go on unlocking what it was bought for.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn parameter_sources(
        &self,
        asked: KeyAsked,
    ) -> Result<Result<ParameterSources, KeyChoiceError>, DriverError> {
        let asked = asked.read()?;
        self.look(move |service, keyring, _| {
            let key_no = asked.choose(service, keyring)?;
            let status = service.key(key_no).map_or(KeyStatus::Expired, |key| key.status);
            if status != KeyStatus::Enabled {
                let series = asked.series;
                return Err(Refusal::KeyUnusable { series, key_no, status }.into());
            }
            let usable =
                || service.keys_of(asked.series).filter(|k| k.status == KeyStatus::Enabled);
            let main = usable().filter(|pooled| pooled.key.kind == KeyKind::Main);
            Ok(ParameterSources {
                key: key_no,
                main_keys: main.map(|pooled| pooled.key.key_no).collect(),
                own: usable()
                    .filter_map(|pooled| {
                        let key_no = pooled.key.key_no;
                        Some((key_no, keyring.parameters(key_no)?))
                    })
                    .collect(),
            })
        })
        .await
    }
}
