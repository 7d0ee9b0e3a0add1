//! What the books tell about themselves: figures by month, the audit trail.

use std::collections::{BTreeMap, BTreeSet};

use licence_core::key::{KeyKind, KeyNo};
use licence_core::time::Utc;
use licencekit::vendor::{AuditView, MonthFigures, Page, Statistics};

use super::sql::{Row, SqlError, Value, values};
use super::{PAGE_ENTRIES, Store, StoreError, unsigned};

/// Rows that are read at one time while figures are counted.
const CHUNK: i64 = 10_000;

impl Store {
    /// Figures by month and series, from all activations there were. Months are those of UTC.
    ///
    /// # Errors
    ///
    /// See [`StoreError`].
    pub fn statistics(&mut self) -> Result<Statistics, StoreError> {
        let mut work = self.begin()?;
        let mut counted = Counted::default();
        let mut after = 0i64;
        loop {
            let rows = work.rows(
                &format!(
                    "SELECT orders.series AS series, orders.kind AS kind, activation_no, \
                     activations.activated AS activated, computer_id, EXISTS (SELECT 1 \
                     FROM activations AS earlier WHERE earlier.key_no = activations.key_no \
                     AND earlier.activation_no < activations.activation_no) AS is_later, \
                     EXISTS (SELECT 1 FROM activations AS earlier \
                     WHERE earlier.key_no = activations.key_no \
                     AND earlier.activation_no < activations.activation_no \
                     AND earlier.returned <= activations.activated) AS is_move \
                     FROM activations JOIN codes USING (key_no) JOIN orders USING (order_id) \
                     WHERE activation_no > ?1 ORDER BY activation_no LIMIT {CHUNK}"
                ),
                values![after],
            )?;
            for row in &rows {
                counted.take(row)?;
                after = row.get("activation_no")?;
            }
            if (rows.len() as i64) < CHUNK {
                break;
            }
        }
        let mut statistics = Statistics {
            months: counted.months.into_values().rev().collect(),
            unsigned: unsigned::count(&mut work)?,
            suspicions: work.value(
                "open",
                "SELECT count(*) AS open FROM suspicions WHERE cleared IS NULL",
                &[],
            )?,
            ..Statistics::default()
        };
        for row in work.rows(
            "SELECT orders.series AS series, count(DISTINCT codes.key_no) AS keys FROM activations \
             JOIN codes USING (key_no) JOIN orders USING (order_id) \
             WHERE returned IS NULL GROUP BY orders.series",
            &[],
        )? {
            statistics.installed.insert(row.get("series")?, row.get("keys")?);
        }
        for row in work.rows(
            "SELECT orders.series AS series, count(*) AS keys FROM codes \
             JOIN orders USING (order_id) WHERE revoked IS NULL AND NOT EXISTS (SELECT 1 \
             FROM activations WHERE activations.key_no = codes.key_no) GROUP BY orders.series",
            &[],
        )? {
            statistics.free.insert(row.get("series")?, row.get("keys")?);
        }
        Ok(statistics)
    }

    /// A page of the audit trail, newest first; of one key or order only, where one is named.
    ///
    /// # Errors
    ///
    /// See [`StoreError`].
    pub fn audit(
        &mut self,
        key_no: Option<KeyNo>,
        order_id: Option<i64>,
        before: Option<i64>,
    ) -> Result<Page<AuditView>, StoreError> {
        let mut work = self.begin()?;
        let mut sql = "SELECT * FROM audit WHERE audit_id < ?1".to_owned();
        let mut given = vec![Value::from(before.unwrap_or(i64::MAX))];
        for (column, value) in
            [("key_no", key_no.map(|key| i64::from(key.0))), ("order_id", order_id)]
        {
            if let Some(value) = value {
                given.push(Value::from(value));
                sql += &format!(" AND {column} = ?{}", given.len());
            }
        }
        sql += &format!(" ORDER BY audit_id DESC LIMIT {PAGE_ENTRIES}");
        let rows = work.rows(&sql, &given)?;
        let items: Vec<_> = rows.iter().map(line).collect::<Result<_, _>>()?;
        let is_full = items.len() as i64 == PAGE_ENTRIES;
        let next = items.last().filter(|_| is_full).map(|last| last.audit_id);
        Ok(Page { items, next })
    }
}

fn line(row: &Row) -> Result<AuditView, SqlError> {
    Ok(AuditView {
        audit_id: row.get("audit_id")?,
        at: row.get("at")?,
        who: row.get("who")?,
        role: row.get("role")?,
        address: row.get("address")?,
        action: row.get("action")?,
        key_no: row.get::<Option<u32>>("key_no")?.map(KeyNo),
        order_id: row.get("order_id")?,
        detail: row.get("detail")?,
    })
}

/// Figures while they are counted.
#[derive(Default)]
struct Counted {
    months: BTreeMap<(String, String), MonthFigures>,
    /// Series and computers that have had a demonstration key.
    demos: BTreeSet<(String, String)>,
    /// Those of them that have a paid key since.
    paid: BTreeSet<(String, String)>,
}

impl Counted {
    /// Takes one activation; they come in their order.
    fn take(&mut self, row: &Row) -> Result<(), StoreError> {
        let series: String = row.get("series")?;
        let kind = KeyKind::from_code(row.get("kind")?)
            .ok_or(StoreError::Damaged("the kind of an order"))?;
        let activated: Utc = row.get("activated")?;
        // `2026-01` of `2026-01-31T…`.
        let month: String = activated.to_string().chars().take(7).collect();
        let figures = self.months.entry((month.clone(), series.clone())).or_insert_with(|| {
            MonthFigures { month, series: series.clone(), ..MonthFigures::default() }
        });
        let place = (series, row.get("computer_id")?);
        if row.get("is_move")? {
            figures.moves += 1;
        } else if row.get("is_later")? {
            // A further node of a cluster: neither sold nor moved.
            return Ok(());
        } else if kind == KeyKind::Demo {
            figures.demos += 1;
            self.demos.insert(place);
            return Ok(());
        } else {
            figures.activations += 1;
        }
        if self.demos.contains(&place) && self.paid.insert(place) {
            figures.demos_to_paid += 1;
        }
        Ok(())
    }
}
