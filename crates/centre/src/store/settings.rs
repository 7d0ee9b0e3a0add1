//! What the vendor has settled for a series.

use licence_core::key::KeySeries;
use licence_core::time::Utc;
use licencekit::vendor::{DemoOffer, SeriesSettings, SeriesView};

use super::rows::{binding_of, binding_text};
use super::sql::{Work, values};
use super::{Note, Store, StoreError, note};
use crate::access::Actor;
use crate::series::SeriesSet;

impl Store {
    /// All series that are served, with their settings.
    ///
    /// # Errors
    ///
    /// See [`StoreError`].
    pub fn series(&mut self, set: &SeriesSet) -> Result<Vec<SeriesView>, StoreError> {
        let mut work = self.begin()?;
        set.values()
            .map(|series| {
                Ok(SeriesView {
                    series: series.descriptor.series,
                    product_name: series.descriptor.product_name.clone(),
                    settings: of_series(&mut work, series.descriptor.series)?,
                })
            })
            .collect()
    }

    /// Settles what holds for a series from here on.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoSeries`] when the centre does not serve it.
    pub fn settle_series(
        &mut self,
        set: &SeriesSet,
        series: KeySeries,
        settings: &SeriesSettings,
        actor: &Actor,
        now: Utc,
    ) -> Result<SeriesView, StoreError> {
        settings.check()?;
        let served = set.get(&series).ok_or(StoreError::NoSeries)?;
        let product_name = served.descriptor.product_name.clone();
        let mut work = self.begin()?;
        work.execute("DELETE FROM series_settings WHERE series = ?1", values![series.to_string()])?;
        work.execute(
            "INSERT INTO series_settings (series, demo_seats, demo_days, binding, moves_max, \
             self_release, cluster_nodes) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            values![
                series.to_string(),
                settings.demo.map(|demo| demo.seats),
                settings.demo.map(|demo| demo.days),
                binding_text(settings.binding)?,
                settings.moves_max,
                settings.self_release,
                settings.cluster_nodes,
            ],
        )?;
        let detail = serde_json::to_string(settings)
            .map_err(|_| StoreError::Damaged("settings that cannot be written as JSON"))?;
        let detail = format!("series {series}: {detail}");
        let line = Note { action: "series", detail: Some(&detail), ..Note::default() };
        note(&mut work, actor, now, line)?;
        work.commit()?;
        Ok(SeriesView { series, product_name, settings: *settings })
    }
}

/// What holds for a series.
pub(super) fn of_series(
    work: &mut Work<'_>,
    series: KeySeries,
) -> Result<SeriesSettings, StoreError> {
    let sql = "SELECT * FROM series_settings WHERE series = ?1";
    let Some(row) = work.row(sql, values![series.to_string()])? else {
        return Ok(SeriesSettings::default());
    };
    let demo = match (row.get("demo_seats")?, row.get("demo_days")?) {
        (Some(seats), Some(days)) => Some(DemoOffer { seats, days }),
        _ => None,
    };
    Ok(SeriesSettings {
        demo,
        binding: binding_of(&row)?,
        moves_max: row.get("moves_max")?,
        self_release: row.get("self_release")?,
        cluster_nodes: row.get("cluster_nodes")?,
    })
}
