//! What is asked of the series that this server knows.
//!
//! Looks only; which key may give out seats is the core's word.

use std::collections::{BTreeMap, BTreeSet};

use licence_core::key::KeySeries;
use licence_core::seal::PublicKey;
use licence_core::series::SeriesDescriptor;

use super::{DriverError, Handle};

impl Handle {
    /// What is known of a series.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn descriptor(
        &self,
        series: KeySeries,
    ) -> Result<Option<SeriesDescriptor>, DriverError> {
        self.look(move |_, keyring, _| keyring.series(series).cloned()).await
    }

    /// The signing keys of all known series. One whose key is damaged is left out.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn series_signing_keys(&self) -> Result<BTreeMap<KeySeries, PublicKey>, DriverError> {
        self.look(|_, keyring, _| {
            let known = keyring.all_series().into_iter();
            let key = |series| Some((series, keyring.series(series)?.signing_key().ok()?));
            known.filter_map(key).collect()
        })
        .await
    }

    /// The series that have keys here, none of whose licences brought their object key: their
    /// protected objects open for nobody.
    ///
    /// # Errors
    ///
    /// See [`DriverError`].
    pub async fn series_without_object_key(&self) -> Result<BTreeSet<KeySeries>, DriverError> {
        self.look(|service, keyring, _| {
            let with_keys: BTreeSet<_> = service.keys().map(|pooled| pooled.key.series).collect();
            with_keys.into_iter().filter(|series| keyring.object_key(*series).is_none()).collect()
        })
        .await
    }
}
