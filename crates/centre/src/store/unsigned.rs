//! What the vendor signs by hand: drafts of series whose secret is not here, and what comes back.
//!
//! A draft is kept in the transaction that makes it necessary; the activation or return is final with
//! it. Nothing is given out that the key of the series has not signed.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use licence_core::causes::with_causes;
use licence_core::centre_request::{RECEIPT_TYP, ReturnReceipt};
use licence_core::cluster::ClusterId;
use licence_core::jws;
use licence_core::key::{KeyNo, KeySeries};
use licence_core::licence_file::{LICENCE_TYP, Licence, LicenceClaims};
use licence_core::seal::KEY_BYTES;
use licence_core::time::Utc;
use licencekit::order::OrderCall;
use licencekit::vendor::{Page, SignedAnswer, UnsignedKind, UnsignedView};
use serde::Serialize;
use serde_json::Value as Json;

use super::sql::{Row, Work, values};
use super::{Note, PAGE_ENTRIES, Store, StoreError, note, or_as_it_was};
use crate::access::Actor;
use crate::issue;
use crate::series::{Series, SeriesSet};
use crate::short::spoken;

/// Most characters of a claim's name that a refusal repeats.
const NAME_CHARS_MAX: usize = 64;

/// Drafts that somebody waits for: of activations that go on and orders that were not revoked, and
/// all receipts.
const WAITING: &str = "document IS NULL AND (unsigned.kind = 'receipt' OR (returned IS NULL \
     AND revoked IS NULL))";

const FROM: &str = "FROM unsigned JOIN activations USING (activation_id) JOIN codes USING (key_no) \
     JOIN orders USING (order_id)";

impl Store {
    /// A page of what waits for a signature, the oldest first; those after a number, where one is
    /// named. Entries of series that are not served any more are among them.
    ///
    /// # Errors
    ///
    /// See [`StoreError`].
    pub fn unsigned(&mut self, after: Option<i64>) -> Result<Page<UnsignedView>, StoreError> {
        let mut work = self.begin()?;
        let rows = work.rows(
            &format!(
                "SELECT unsigned_id, unsigned.kind AS draft, unsigned.series AS series, \
                 activation_id, codes.key_no AS key_no, computer_id, claims, enc, \
                 unsigned.created AS since {FROM} WHERE {WAITING} AND unsigned_id > ?1 \
                 ORDER BY unsigned_id LIMIT {PAGE_ENTRIES}"
            ),
            values![after.unwrap_or(0)],
        )?;
        let items: Vec<_> = rows.iter().map(view_of).collect::<Result<_, _>>()?;
        let is_full = items.len() as i64 == PAGE_ENTRIES;
        let next = items.last().filter(|_| is_full).map(|last| last.unsigned_id);
        Ok(Page { items, next })
    }

    /// Takes a signed document. The same again is taken again.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoUnsigned`] when nothing of this number waits, [`StoreError::Signature`] when
    /// the document is not the draft, signed by the key of its series.
    pub fn take_signature(
        &mut self,
        set: &SeriesSet,
        unsigned_id: i64,
        document: &str,
        actor: &Actor,
        now: Utc,
    ) -> Result<SignedAnswer, StoreError> {
        let document = document.trim_ascii();
        let mut work = self.begin()?;
        let row = work.row(
            &format!(
                "SELECT unsigned_id, unsigned.kind AS draft, unsigned.series AS series, \
                 activation_id, codes.key_no AS key_no, claims, enc, document {FROM} \
                 WHERE unsigned_id = ?1 AND (document IS NOT NULL OR ({WAITING}))"
            ),
            values![unsigned_id],
        )?;
        let row = row.ok_or(StoreError::NoUnsigned)?;
        let draft = Draft::of(&row)?;
        let series: KeySeries = series_in(&row)?;
        let served = set.get(&series).ok_or(StoreError::NoSeries)?;
        draft.check(document, served)?;
        let key_no = KeyNo(row.get("key_no")?);
        if row.get::<Option<String>>("document")?.is_none() {
            let activation_id: String = row.get("activation_id")?;
            settle(&mut work, &draft, &activation_id, document, now)?;
            let detail = format!("{} {unsigned_id}", draft.kind.word());
            let line = Note {
                action: "signature",
                key_no: Some(key_no),
                detail: Some(&detail),
                ..Note::default()
            };
            note(&mut work, actor, now, line)?;
            work.commit()?;
        }
        Ok(SignedAnswer { unsigned_id, key_no })
    }
}

/// How many documents wait for a signature.
pub(super) fn count(work: &mut Work<'_>) -> Result<u32, StoreError> {
    Ok(work.value("waiting", &format!("SELECT count(*) AS waiting {FROM} WHERE {WAITING}"), &[])?)
}

fn series_in(row: &Row) -> Result<KeySeries, StoreError> {
    row.get::<String>("series")?.parse().map_err(|_| StoreError::Damaged("a series"))
}

fn enc_in(row: &Row) -> Result<Option<[u8; KEY_BYTES]>, StoreError> {
    row.get::<Option<Vec<u8>>>("enc")?
        .map(|bytes| bytes.try_into().map_err(|_| StoreError::Damaged("a key for object keys")))
        .transpose()
}

fn view_of(row: &Row) -> Result<UnsignedView, StoreError> {
    let Draft { unsigned_id, kind, claims, enc } = Draft::of(row)?;
    Ok(UnsignedView {
        unsigned_id,
        kind,
        series: series_in(row)?,
        key_no: KeyNo(row.get("key_no")?),
        activation_id: row.get("activation_id")?,
        computer_id: row.get("computer_id")?,
        claims,
        enc: enc.map(|key| URL_SAFE_NO_PAD.encode(key)),
        created: row.get("since")?,
    })
}

/// A document as it shall be signed.
struct Draft {
    unsigned_id: i64,
    kind: UnsignedKind,
    claims: Json,
    enc: Option<[u8; KEY_BYTES]>,
}

impl Draft {
    fn of(row: &Row) -> Result<Self, StoreError> {
        let text: String = row.get("claims")?;
        Ok(Self {
            unsigned_id: row.get("unsigned_id")?,
            kind: UnsignedKind::of_word(&row.get::<String>("draft")?)
                .ok_or(StoreError::Damaged("a kind of draft"))?,
            claims: serde_json::from_str(&text).map_err(|_| StoreError::Damaged("claims"))?,
            enc: enc_in(row)?,
        })
    }

    fn licence(&self) -> Result<LicenceClaims, StoreError> {
        serde_json::from_value(self.claims.clone())
            .map_err(|_| StoreError::Damaged("claims of a licence"))
    }

    /// Whether a document is this draft, signed by the key of the series. All that it says is
    /// compared, not only what is known: what is signed is what was asked for.
    fn check(&self, document: &str, series: &Series) -> Result<(), StoreError> {
        let not_signed = |_| StoreError::Signature(None);
        let typ = match self.kind {
            UnsignedKind::Licence | UnsignedKind::Short => LICENCE_TYP,
            UnsignedKind::Receipt => RECEIPT_TYP,
        };
        let key = &series.public_key;
        let mut said: serde_json::Map<String, Json> =
            jws::verify(typ, document, key).map_err(not_signed)?;
        let differs = |name: &str| {
            let name = name.chars().filter(|c| !c.is_control()).take(NAME_CHARS_MAX).collect();
            Err(StoreError::Signature(Some(name)))
        };
        let has_key = said.remove("ObjectKey").is_some();
        if has_key != self.enc.is_some() {
            return differs("ObjectKey");
        }
        let kept = self.claims.as_object().ok_or(StoreError::Damaged("claims"))?;
        let names = kept.keys().chain(said.keys());
        if let Some(name) = names.into_iter().find(|name| kept.get(*name) != said.get(*name)) {
            return differs(name);
        }
        // The members are the draft's; that they make a document is looked at all the same.
        match self.kind {
            UnsignedKind::Licence | UnsignedKind::Short => {
                Licence::verify(document, key).map_err(|_| StoreError::Signature(None))?;
            }
            UnsignedKind::Receipt => {
                ReturnReceipt::verify(document, key).map_err(not_signed)?;
            }
        }
        Ok(())
    }
}

/// Keeps a signed document, and gives it to its activation if it is the licence.
fn settle(
    work: &mut Work<'_>,
    draft: &Draft,
    activation_id: &str,
    document: &str,
    now: Utc,
) -> Result<(), StoreError> {
    work.execute(
        "UPDATE unsigned SET document = ?2, signed = ?3 WHERE unsigned_id = ?1",
        values![draft.unsigned_id, document, now],
    )?;
    if draft.kind == UnsignedKind::Licence {
        work.execute(
            "UPDATE activations SET licence = ?2 WHERE activation_id = ?1",
            values![activation_id, document],
        )?;
    }
    Ok(())
}

/// The draft of a kind that waits.
fn open(
    work: &mut Work<'_>,
    activation_id: &str,
    kind: UnsignedKind,
) -> Result<Option<Draft>, StoreError> {
    let row = work.row(
        "SELECT unsigned_id, kind AS draft, claims, enc FROM unsigned \
         WHERE activation_id = ?1 AND kind = ?2 AND document IS NULL",
        values![activation_id, kind.word()],
    )?;
    row.as_ref().map(Draft::of).transpose()
}

/// A document that the vendor has signed.
struct Signed {
    document: String,
    /// The key that its object key is for.
    enc: Option<[u8; KEY_BYTES]>,
}

/// The document of a kind that was signed last.
fn signed(
    work: &mut Work<'_>,
    activation_id: &str,
    kind: UnsignedKind,
) -> Result<Option<Signed>, StoreError> {
    let row = work.row(
        "SELECT document, enc FROM unsigned WHERE activation_id = ?1 AND kind = ?2 \
         AND document IS NOT NULL ORDER BY unsigned_id DESC LIMIT 1",
        values![activation_id, kind.word()],
    )?;
    row.map(|row| Ok(Signed { document: row.get("document")?, enc: enc_in(&row)? })).transpose()
}

/// The activation that a document is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct About<'a> {
    pub(super) series: &'a Series,
    pub(super) activation_id: &'a str,
    pub(super) key_no: KeyNo,
    /// The cluster that its licence is for; receipts say nothing of it.
    pub(super) cluster: Option<ClusterId>,
}

/// Keeps a draft in the place of the one of its kind that waits.
pub(super) fn keep<T: Serialize>(
    work: &mut Work<'_>,
    about: About<'_>,
    kind: UnsignedKind,
    claims: &T,
    enc: Option<&[u8; KEY_BYTES]>,
    actor: &Actor,
    now: Utc,
) -> Result<(), StoreError> {
    let text = serde_json::to_string(claims)
        .map_err(|_| StoreError::Damaged("claims that cannot be written as JSON"))?;
    let enc = enc.map(<[u8; KEY_BYTES]>::as_slice);
    // Another number: who signs what the draft was before learns that it waits no longer.
    forget(work, about.activation_id, kind)?;
    work.execute(
        "INSERT INTO unsigned (kind, series, activation_id, claims, enc, created) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        values![
            kind.word(),
            about.series.descriptor.series.to_string(),
            about.activation_id,
            text,
            enc,
            now,
        ],
    )?;
    let line = Note {
        action: "unsigned",
        key_no: Some(about.key_no),
        detail: Some(kind.word()),
        ..Note::default()
    };
    Ok(note(work, actor, now, line)?)
}

/// Drops the draft of a kind that waits: nobody needs it any more.
fn forget(work: &mut Work<'_>, activation_id: &str, kind: UnsignedKind) -> Result<(), StoreError> {
    work.execute(
        "DELETE FROM unsigned WHERE activation_id = ?1 AND kind = ?2 AND document IS NULL",
        values![activation_id, kind.word()],
    )?;
    Ok(())
}

/// The document of a current activation as it would be issued at this moment: with the term of its
/// order, its cluster and the object key for `enc`. Where that waits for a signature, the one before
/// goes on until its term is over; then, before the first one is signed, and when the one before is
/// for another cluster or none, there is nothing.
pub(super) fn up_to_date(
    work: &mut Work<'_>,
    about: About<'_>,
    document: String,
    order: &OrderCall,
    enc: Option<&[u8; KEY_BYTES]>,
    actor: &Actor,
    now: Utc,
) -> Result<Option<String>, StoreError> {
    let About { series, activation_id, key_no, cluster } = about;
    let Some(signer) = &series.signer else {
        return by_hand(work, about, document, order, enc, actor, now);
    };
    let draft = open(work, activation_id, UnsignedKind::Licence)?;
    let document = match draft {
        // The secret came here while it waited.
        Some(draft) if document.is_empty() => {
            let signed = signer.licence(&draft.licence()?, draft.enc.as_ref())?;
            settle(work, &draft, activation_id, &signed, now)?;
            signed
        }
        _ if document.is_empty() => {
            return Err(StoreError::Damaged("an activation without a licence"));
        }
        Some(_) => {
            forget(work, activation_id, UnsignedKind::Licence)?;
            document
        }
        None => document,
    };
    let Some(renewed) = or_as_it_was(issue::again(signer, &document, order, cluster, enc, now))?
    else {
        return Ok(Some(document));
    };
    work.execute(
        "UPDATE activations SET licence = ?2 WHERE activation_id = ?1",
        values![activation_id, &renewed],
    )?;
    note(work, actor, now, Note { action: "renewal", key_no: Some(key_no), ..Note::default() })?;
    Ok(Some(renewed))
}

fn by_hand(
    work: &mut Work<'_>,
    about: About<'_>,
    document: String,
    order: &OrderCall,
    enc: Option<&[u8; KEY_BYTES]>,
    actor: &Actor,
    now: Utc,
) -> Result<Option<String>, StoreError> {
    let kind = UnsignedKind::Licence;
    let issued = if document.is_empty() {
        None
    } else {
        match Licence::verify(&document, &about.series.public_key) {
            Ok(licence) => Some(licence.claims),
            Err(error) => {
                log::error!("a licence cannot be issued again: {}", with_causes(&error));
                return Ok(Some(document));
            }
        }
    };
    let draft = open(work, about.activation_id, kind)?;
    let (mut kept, known) = match (&draft, &issued) {
        (Some(draft), _) => (draft.licence()?, draft.enc),
        (None, Some(claims)) => {
            // For whom a key was wrapped that was not wrapped by hand only the secret could tell.
            let last = signed(work, about.activation_id, kind)?;
            (claims.clone(), last.and_then(|last| last.enc))
        }
        (None, None) => return Err(StoreError::Damaged("an activation without a licence")),
    };
    kept.object_key = None;
    let mut wanted = kept.clone();
    issue::set_term(&mut wanted, order);
    wanted.cluster = about.cluster;
    let enc = enc.copied().or(known);
    if wanted != kept || enc != known {
        wanted.iat = now.unix_seconds().max(kept.iat.saturating_add(1));
        keep(work, about, kind, &wanted, enc.as_ref(), actor, now)?;
    }
    let goes_on = |claims: &LicenceClaims| {
        claims.exp.is_none_or(|end| end > now.unix_seconds()) && claims.cluster == about.cluster
    };
    Ok(issued.filter(goes_on).map(|_| document))
}

/// The form of a licence for a telephone; nothing while it waits for a signature. `document` is
/// empty while the licence itself waits.
pub(super) fn short(
    work: &mut Work<'_>,
    about: About<'_>,
    document: &str,
    actor: &Actor,
    now: Utc,
) -> Result<Option<String>, StoreError> {
    let kind = UnsignedKind::Short;
    let claims = match open(work, about.activation_id, UnsignedKind::Licence)? {
        Some(draft) => draft.licence()?,
        None => {
            Licence::verify(document, &about.series.public_key)
                .map_err(issue::IssueError::Licence)?
                .claims
        }
    };
    let wanted = spoken(claims, about.series);
    if let Some(signer) = &about.series.signer {
        forget(work, about.activation_id, kind)?;
        return Ok(Some(signer.licence(&wanted, None)?));
    }
    if let Some(Signed { document, .. }) = signed(work, about.activation_id, kind)? {
        let said = Licence::verify(&document, &about.series.public_key);
        if said.is_ok_and(|licence| licence.claims == wanted) {
            return Ok(Some(document));
        }
    }
    let is_kept = match open(work, about.activation_id, kind)? {
        Some(draft) => draft.licence()? == wanted,
        None => false,
    };
    if !is_kept {
        keep(work, about, kind, &wanted, None, actor, now)?;
    }
    Ok(None)
}

/// The signed receipt of a return; nothing while it waits for a signature.
pub(super) fn receipt(
    work: &mut Work<'_>,
    about: About<'_>,
    receipt: &ReturnReceipt,
    actor: &Actor,
    now: Utc,
) -> Result<Option<String>, StoreError> {
    let kind = UnsignedKind::Receipt;
    if let Some(signer) = &about.series.signer {
        forget(work, about.activation_id, kind)?;
        return signer.receipt(receipt).map(Some).map_err(StoreError::Receipt);
    }
    if let Some(Signed { document, .. }) = signed(work, about.activation_id, kind)? {
        return Ok(Some(document));
    }
    if open(work, about.activation_id, kind)?.is_none() {
        keep(work, about, kind, receipt, None, actor, now)?;
    }
    Ok(None)
}
