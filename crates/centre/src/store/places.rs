//! Where keys are: on one server, or on the nodes of one cluster.
//!
//! Facts are fetched and kept here; which places a key may have is decided in `decide::cluster`.

use licence_core::activation::ActivationCode;
use licence_core::cluster::ClusterId;
use licence_core::key::KeyNo;
use licence_core::time::Utc;

use super::rows::cluster_of;
use super::sql::{SqlError, Work, values};
use super::{Note, StoreError, note};
use crate::access::Actor;
use crate::decide::cluster::{Other, Short, Used};
use crate::decide::{Asked, Denial, Own};

/// The number of the activation that tells where a key is: the latest that goes on, else the latest.
pub(super) const LATEST: &str = "(SELECT every.activation_no FROM activations AS every \
     WHERE every.key_no = codes.key_no \
     ORDER BY (every.returned IS NULL) DESC, every.activation_no DESC LIMIT 1)";

/// Where a key is at this moment.
#[derive(Default)]
pub(super) struct Places {
    /// What the asker has.
    pub(super) own: Option<Own>,
    /// Id of the asker's activation.
    pub(super) made: Option<String>,
    /// Who else has it.
    pub(super) others: Vec<Other>,
}

/// Where a key is, as it concerns an asker. What its spare code takes the place of does not count.
pub(super) fn places(
    work: &mut Work<'_>,
    key_no: KeyNo,
    asked: &Asked,
    spare_of: Option<&str>,
) -> Result<Places, StoreError> {
    let rows = work.rows(
        "SELECT activation_id, holder, licence, cluster, computer_id FROM activations \
         WHERE key_no = ?1 AND returned IS NULL ORDER BY activation_no",
        values![key_no.0],
    )?;
    let mut places = Places::default();
    for row in rows {
        let activation_id: String = row.get("activation_id")?;
        if spare_of == Some(activation_id.as_str()) {
            continue;
        }
        let cluster = cluster_of(&row)?;
        if row.get::<Vec<u8>>("holder")? == asked.holder_bytes() {
            places.own = Some(Own { licence: row.get("licence")?, cluster });
            places.made = Some(activation_id);
        } else {
            let computer = Short::of(&row.get::<String>("computer_id")?);
            places.others.push(Other { cluster, computer });
        }
    }
    Ok(places)
}

/// How a code was used before.
pub(super) fn how_used(
    work: &mut Work<'_>,
    code: ActivationCode,
    asked: &Asked,
) -> Result<Option<Used>, StoreError> {
    let row = work.row(
        "SELECT count(*) AS times, count(CASE WHEN holder = ?2 THEN 1 END) AS here \
         FROM activations WHERE code = ?1",
        values![code.to_string(), asked.holder_bytes()],
    )?;
    let row = row.ok_or(StoreError::Damaged("a code that is not counted"))?;
    Ok(match (row.get::<i64>("times")?, row.get::<i64>("here")?) {
        (0, _) => None,
        (_, 0) => Some(Used::Elsewhere),
        _ => Some(Used::Here),
    })
}

/// Notes that a server which goes on having a key has come to a cluster, or has left it.
pub(super) fn change_cluster(
    work: &mut Work<'_>,
    activation_id: &str,
    key_no: KeyNo,
    cluster: Option<ClusterId>,
    actor: &Actor,
    now: Utc,
) -> Result<(), StoreError> {
    let text = cluster.map(|cluster| cluster.to_string());
    work.execute(
        "UPDATE activations SET cluster = ?2 WHERE activation_id = ?1",
        values![activation_id, &text],
    )?;
    let detail = text.map_or_else(|| "none".to_owned(), |cluster| format!("cluster {cluster}"));
    let line =
        Note { action: "cluster", key_no: Some(key_no), detail: Some(&detail), ..Note::default() };
    Ok(note(work, actor, now, line)?)
}

/// Id of the activation of a key that is meant: the named one, if it goes on; the only one that does;
/// the latest, when none does.
pub(super) fn chosen(
    work: &mut Work<'_>,
    key_no: KeyNo,
    named: Option<&str>,
) -> Result<String, StoreError> {
    let living = work.rows(
        "SELECT activation_id, computer_id FROM activations \
         WHERE key_no = ?1 AND returned IS NULL ORDER BY activation_no",
        values![key_no.0],
    )?;
    if let Some(named) = named {
        for row in &living {
            if row.get::<String>("activation_id")? == named {
                return Ok(named.to_owned());
            }
        }
        return Err(Denial::NotInstalled.into());
    }
    match living.as_slice() {
        [] => {
            let row = work.row(
                "SELECT activation_id FROM activations WHERE key_no = ?1 \
                 ORDER BY activation_no DESC LIMIT 1",
                values![key_no.0],
            )?;
            Ok(row.ok_or(Denial::NotInstalled)?.get("activation_id")?)
        }
        [one] => Ok(one.get("activation_id")?),
        several => {
            let computers: Vec<String> = several
                .iter()
                .map(|row| row.get("computer_id"))
                .collect::<Result<_, SqlError>>()?;
            let nodes = computers.iter().map(|computer| Short::of(computer)).collect();
            Err(Denial::NodeUnnamed(nodes).into())
        }
    }
}
