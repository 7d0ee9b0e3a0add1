//! Keys of the books: found, shown with their history, taken from where they are.

use licence_core::activation::{ActivationCode, CodeKind};
use licence_core::centre_request::{ReturnReason, ReturnReceipt};
use licence_core::holder::TokenKey;
use licence_core::key::{KeyNo, KeySeries};
use licence_core::seal::PublicKey;
use licence_core::time::Utc;
use licencekit::random;
use licencekit::vendor::{
    ActivationView, EndedBy, KeyRow, KeyState, KeyView, Page, ReleaseAnswer, ReleaseCall,
    SeriesSettings, SpareCall,
};

use super::places::{LATEST, chosen};
use super::rows::{cluster_of, moment, order_of, reserve_code, term};
use super::sql::{Row, SqlError, Value, Work, values};
use super::unsigned::About;
use super::{
    MovesFilter, Note, PAGE_ENTRIES, Returned, Returning, SpareAsked, Store, StoreError, customers,
    holders, masked, note, settings, unsigned,
};
use crate::access::Actor;
use crate::decide::moves::{
    ActivationFacts, AskedReturn, Ended, Moves, ReturnDecision, decide_release, decide_return,
    decide_spare,
};
use crate::decide::{Denial, owner_fits};
use crate::series::SeriesSet;

impl Store {
    /// Takes a key back from the server that holds it, for a reserve code; the same code again when
    /// it was given back before.
    ///
    /// # Errors
    ///
    /// [`StoreError::Denied`] by the rules; nothing is kept then. [`StoreError::SignaturePending`]
    /// while the vendor has not signed the receipt; the key is given back then.
    pub fn take_back(
        &mut self,
        set: &SeriesSet,
        returning: &Returning,
        actor: &Actor,
        now: Utc,
    ) -> Result<Returned, StoreError> {
        let mut work = self.begin()?;
        let facts = activation_facts(&mut work, &returning.activation_id, now)?;
        let AskedReturn { key_no, series, .. } = returning.asked;
        let served = set.get(&series).ok_or(StoreError::NoSeries)?;
        let (at, reserve_code, first) = match decide_return(&returning.asked, facts.as_ref())? {
            ReturnDecision::Repeat(at, reserve_code) => (at, reserve_code, false),
            ReturnDecision::Take => {
                let reserve_code = draw(series)?;
                let end = End {
                    by: EndedBy::Server,
                    code: Some(reserve_code),
                    reason: returning.reason,
                    note: returning.note.as_deref(),
                };
                self::end(&mut work, &returning.activation_id, key_no, &end, actor, now)?;
                (now, reserve_code, true)
            }
        };
        let activation_id = returning.activation_id.clone();
        let promise = ReturnReceipt::new(activation_id, at, key_no, series, reserve_code);
        let activation_id = returning.activation_id.as_str();
        let about = About { series: served, activation_id, key_no, cluster: None };
        let receipt = unsigned::receipt(&mut work, about, &promise, actor, now)?;
        work.commit()?;
        let receipt = receipt.ok_or(StoreError::SignaturePending)?;
        Ok(Returned { reserve_code, receipt, at, first })
    }

    /// The spare code of a key for the server that holds it: the one that was drawn before, or
    /// another.
    ///
    /// # Errors
    ///
    /// [`StoreError::Denied`] by the rules.
    pub fn spare_for_server(
        &mut self,
        spare: &SpareAsked,
        actor: &Actor,
        now: Utc,
    ) -> Result<ActivationCode, StoreError> {
        let mut work = self.begin()?;
        let facts = activation_facts(&mut work, &spare.activation_id, now)?;
        decide_spare(&spare.asked, facts.as_ref())?;
        let (key_no, series) = (spare.asked.key_no, spare.asked.series);
        let code = draw_spare(&mut work, &spare.activation_id, key_no, series, actor, now)?;
        work.commit()?;
        Ok(code)
    }

    /// The spare code of a key for the vendor, or for a customer on their page. It takes the place of
    /// one server: of several nodes of a cluster one is named.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoKey`], or [`StoreError::Denied`] by the rules.
    pub fn spare(
        &mut self,
        key_no: KeyNo,
        call: &SpareCall,
        actor: &Actor,
        now: Utc,
    ) -> Result<ActivationCode, StoreError> {
        let mut work = self.begin()?;
        let series = series_of(&mut work, key_no)?;
        let activation_id = chosen(&mut work, key_no, call.activation_id.as_deref())?;
        let facts = activation_facts(&mut work, &activation_id, now)?.ok_or(StoreError::NoKey)?;
        if facts.ended.is_some() {
            return Err(Denial::NotInstalled.into());
        }
        decide_spare(&facts.asked_by_its_server()?, Some(&facts))?;
        if call.renew {
            void_spares(&mut work, &activation_id, now)?;
        }
        let code = draw_spare(&mut work, &activation_id, key_no, series, actor, now)?;
        work.commit()?;
        Ok(code)
    }

    /// Ends the activation of a key without its server, for a reserve code; the same code again
    /// while the key waits for it. Of several nodes of a cluster one is named, and the others go on.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoKey`], or [`StoreError::Denied`] by the rules.
    pub fn release(
        &mut self,
        key_no: KeyNo,
        call: &ReleaseCall,
        by: EndedBy,
        actor: &Actor,
        now: Utc,
    ) -> Result<ReleaseAnswer, StoreError> {
        call.check()?;
        let mut work = self.begin()?;
        let series = series_of(&mut work, key_no)?;
        let activation_id = chosen(&mut work, key_no, call.activation_id.as_deref())?;
        let facts = activation_facts(&mut work, &activation_id, now)?;
        let reserve_code = match decide_release(facts.as_ref(), by)? {
            ReturnDecision::Repeat(_, code) => code,
            ReturnDecision::Take => {
                let code = draw(series)?;
                let note = call.comment.as_deref();
                let end = End { by, code: Some(code), reason: call.reason, note };
                self::end(&mut work, &activation_id, key_no, &end, actor, now)?;
                work.commit()?;
                code
            }
        };
        Ok(ReleaseAnswer { key_no, reserve_code })
    }

    /// A page of keys that fit a search, newest first; see
    /// [`Books::keys`](crate::books::Books::keys).
    ///
    /// # Errors
    ///
    /// See [`StoreError`].
    pub fn keys(
        &mut self,
        query: Option<&str>,
        before: Option<i64>,
        now: Utc,
    ) -> Result<Page<KeyRow>, StoreError> {
        let mut work = self.begin()?;
        let mut given = vec![Value::from(before.unwrap_or(i64::MAX))];
        let condition = match query.map(str::trim).filter(|query| !query.is_empty()) {
            None => String::new(),
            Some(query) => format!(" AND {}", condition(query, &mut given)),
        };
        let sql = format!(
            "{KEYS}{LATEST} WHERE codes.key_no < ?1{condition} ORDER BY codes.key_no DESC \
             LIMIT {PAGE_ENTRIES}"
        );
        let rows = work.rows(&sql, &given)?;
        let items: Vec<_> = rows.iter().map(|row| key_row(row, now)).collect::<Result<_, _>>()?;
        let is_full = items.len() as i64 == PAGE_ENTRIES;
        let next = items.last().filter(|_| is_full).map(|key| i64::from(key.key_no.0));
        Ok(Page { items, next })
    }

    /// A key with its whole history.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoKey`] when there is none of this number.
    pub fn key(&mut self, key_no: KeyNo, now: Utc) -> Result<KeyView, StoreError> {
        let mut work = self.begin()?;
        view(&mut work, key_no, now)
    }

    /// The key that a code of it names, for whoever names its owner, too.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoKey`], whatever of both is wrong.
    pub fn customer_key(
        &mut self,
        code: ActivationCode,
        itn: Option<&str>,
        now: Utc,
    ) -> Result<KeyView, StoreError> {
        let mut work = self.begin()?;
        let row = work.row(
            "SELECT wanted.key_no AS key_no, orders.itn AS itn FROM (\
             SELECT key_no FROM codes WHERE code = ?1 \
             UNION SELECT key_no FROM activations WHERE reserve_code = ?1 \
             UNION SELECT key_no FROM spare_codes WHERE code = ?1) AS wanted \
             JOIN codes ON codes.key_no = wanted.key_no \
             JOIN orders ON orders.order_id = codes.order_id",
            values![code.to_string()],
        )?;
        let row = row.ok_or(StoreError::NoKey)?;
        if !owner_fits(&row.get("itn")?, &itn.map(str::to_owned)) {
            return Err(StoreError::NoKey);
        }
        view(&mut work, KeyNo(row.get("key_no")?), now)
    }

    /// A page of moves: activations that ended, and those that followed another.
    ///
    /// # Errors
    ///
    /// See [`StoreError`].
    pub fn moves(&mut self, filter: &MovesFilter) -> Result<Page<ActivationView>, StoreError> {
        let mut work = self.begin()?;
        let mut given = vec![Value::from(filter.before.unwrap_or(i64::MAX))];
        let of_key = filter.key_no.map_or_else(String::new, |key_no| {
            given.push(Value::from(key_no.0));
            " AND activations.key_no = ?2".to_owned()
        });
        let rows = work.rows(
            &format!(
                "SELECT * FROM activations WHERE activation_no < ?1{of_key} \
                 AND (returned IS NOT NULL OR EXISTS (SELECT 1 FROM activations AS other \
                 WHERE other.key_no = activations.key_no \
                 AND other.activation_no < activations.activation_no \
                 AND other.returned <= activations.activated)) \
                 ORDER BY activation_no DESC LIMIT {PAGE_ENTRIES}"
            ),
            &given,
        )?;
        let items: Vec<_> = rows.iter().map(activation_of).collect::<Result<_, _>>()?;
        let is_full = items.len() as i64 == PAGE_ENTRIES;
        let next = items.last().filter(|_| is_full).map(|last| last.activation_no);
        Ok(Page { items, next })
    }
}

/// Keys with their orders, customers and latest activations; after them comes [`LATEST`].
const KEYS: &str = "SELECT orders.*, codes.key_no AS key_no, codes.code AS code, \
     customers.name AS customer, latest.activated AS activated, \
     latest.computer_id AS computer_id, latest.returned AS returned, \
     latest.reserve_code AS reserve_code, (SELECT min(activated) FROM activations AS every \
     WHERE every.key_no = codes.key_no) AS first_activated \
     FROM codes JOIN orders ON orders.order_id = codes.order_id \
     LEFT JOIN customers ON customers.customer_id = orders.customer_id \
     LEFT JOIN activations AS latest ON latest.activation_no = ";

/// What a search means: its values go to `given`.
fn condition(query: &str, given: &mut Vec<Value>) -> String {
    let mut place = |value: Value| {
        given.push(value);
        given.len()
    };
    if let Ok(code) = query.parse::<ActivationCode>() {
        let at = place(Value::from(code.to_string()));
        return format!(
            "codes.key_no IN (SELECT key_no FROM codes WHERE code = ?{at} \
             UNION SELECT key_no FROM activations WHERE code = ?{at} OR reserve_code = ?{at} \
             UNION SELECT key_no FROM spare_codes WHERE code = ?{at})"
        );
    }
    if query.bytes().all(|byte| byte.is_ascii_digit()) {
        let number = place(Value::Int(query.parse().unwrap_or(-1)));
        let digits = place(Value::from(query));
        return format!("(codes.key_no = ?{number} OR orders.itn = ?{digits})");
    }
    let name = place(Value::from(customers::pattern(query)));
    let computer = place(Value::from(format!("{}%", customers::escaped(query).to_uppercase())));
    format!(
        "(customers.folded LIKE ?{name} ESCAPE '!' OR latest.computer_id LIKE ?{computer} ESCAPE '!')"
    )
}

fn key_row(row: &Row, now: Utc) -> Result<KeyRow, StoreError> {
    let order = order_of(row)?;
    let first = moment(row, "first_activated")?;
    // Before the first activation a term in days has not begun.
    let expire_date = match first {
        Some(first) => term(&order, first).end(),
        None => order.expire_date,
    };
    let activated = moment(row, "activated")?;
    let state = if moment(row, "revoked")?.is_some() {
        KeyState::Revoked
    } else if expire_date.is_some_and(|end| end <= now) {
        KeyState::Expired
    } else if activated.is_none() {
        KeyState::Free
    } else if moment(row, "returned")?.is_some() {
        KeyState::Returned
    } else {
        KeyState::Activated
    };
    Ok(KeyRow {
        key_no: KeyNo(row.get("key_no")?),
        series: order.series,
        kind: order.kind,
        seats: order.seats,
        order_id: row.get("order_id")?,
        customer_id: order.customer_id,
        customer: row.get("customer")?,
        state,
        expire_date,
        activated,
        computer_id: row.get("computer_id")?,
    })
}

fn view(work: &mut Work<'_>, key_no: KeyNo, now: Utc) -> Result<KeyView, StoreError> {
    let row = work.row(&format!("{KEYS}{LATEST} WHERE codes.key_no = ?1"), values![key_no.0])?;
    let row = row.ok_or(StoreError::NoKey)?;
    let key = key_row(&row, now)?;
    let code: String = row.get("code")?;
    let rows = work.rows(
        "SELECT activations.*, (SELECT spare_codes.code FROM spare_codes \
         WHERE spare_codes.activation_id = activations.activation_id AND spent IS NULL \
         AND void IS NULL) AS spare_code, EXISTS (SELECT 1 FROM activations AS later \
         WHERE later.code = activations.reserve_code) AS is_spent FROM activations \
         WHERE key_no = ?1 ORDER BY activation_no",
        values![key_no.0],
    )?;
    let activations: Vec<_> =
        rows.iter().map(activation_with_codes).collect::<Result<_, StoreError>>()?;
    let living: Vec<_> = activations.iter().filter(|one| one.ended.is_none()).collect();
    let first_itn = match rows.first() {
        Some(first) => first.get::<Option<String>>("itn")?,
        None => None,
    };
    let settings = settings::of_series(work, key.series)?;
    let moves = moves_of(work, key_no, &settings, now)?;
    let order = order_of(&row)?;
    Ok(KeyView {
        key,
        code: code.parse().map_err(|_| StoreError::Damaged("a code"))?,
        reserve_code: reserve_code(&row)?,
        spare_code: match living.as_slice() {
            [one] => one.spare_code,
            _ => None,
        },
        cluster: living.iter().find_map(|one| one.cluster),
        nodes: u32::try_from(living.len()).unwrap_or(u32::MAX),
        nodes_max: order.cluster_nodes.unwrap_or(settings.cluster_nodes),
        itn: row.get::<Option<String>>("itn")?.or(first_itn),
        moves: moves.made,
        moves_max: settings.moves_max,
        next_move: moves.next,
        activations,
    })
}

fn activation_of(row: &Row) -> Result<ActivationView, StoreError> {
    let server: Vec<u8> = row.get("server")?;
    let server: [u8; 32] = server.try_into().map_err(|_| StoreError::Damaged("a server"))?;
    let holder: Vec<u8> = row.get("holder")?;
    let word = |column: &str| row.get::<Option<String>>(column);
    Ok(ActivationView {
        activation_no: row.get("activation_no")?,
        activation_id: row.get("activation_id")?,
        key_no: KeyNo(row.get("key_no")?),
        activated: row.get("activated")?,
        computer_id: row.get("computer_id")?,
        holder: PublicKey::from_bytes(server).thumbprint(),
        server_version: row.get("server_version")?,
        blank_key_no: TokenKey::from_point(&holder).map(|token| token.blank_no()),
        cluster: cluster_of(row)?,
        spare_code: None,
        reserve_code: None,
        ended: moment(row, "returned")?,
        ended_by: word("ended_by")?.and_then(|word| EndedBy::of_word(&word)),
        reason: word("return_reason")?.and_then(|word| ReturnReason::of_word(&word)),
        note: word("return_note")?,
    })
}

/// The same with the codes that are worth something.
fn activation_with_codes(row: &Row) -> Result<ActivationView, StoreError> {
    let spare: Option<String> = row.get("spare_code")?;
    let spare = spare.map(|text| text.parse().map_err(|_| StoreError::Damaged("a spare code")));
    let is_spent: bool = row.get("is_spent")?;
    Ok(ActivationView {
        spare_code: spare.transpose()?,
        reserve_code: reserve_code(row)?.filter(|_| !is_spent),
        ..activation_of(row)?
    })
}

fn code_in(row: &Row) -> Result<ActivationCode, StoreError> {
    row.get::<String>("code")?.parse().map_err(|_| StoreError::Damaged("a code"))
}

fn series_of(work: &mut Work<'_>, key_no: KeyNo) -> Result<KeySeries, StoreError> {
    let sql = "SELECT series FROM codes JOIN orders USING (order_id) WHERE key_no = ?1";
    let row = work.row(sql, values![key_no.0])?.ok_or(StoreError::NoKey)?;
    row.get::<String>("series")?.parse().map_err(|_| StoreError::Damaged("a series"))
}

/// A reserve code that nobody knows yet.
fn draw(series: KeySeries) -> Result<ActivationCode, StoreError> {
    let secret = u128::from_le_bytes(random::id_bytes()?);
    Ok(ActivationCode::encode(CodeKind::Reserve, series, secret))
}

/// The living spare code of an activation, drawn where there is none.
fn draw_spare(
    work: &mut Work<'_>,
    activation_id: &str,
    key_no: KeyNo,
    series: KeySeries,
    actor: &Actor,
    now: Utc,
) -> Result<ActivationCode, StoreError> {
    let living = work.row(
        "SELECT code FROM spare_codes WHERE activation_id = ?1 AND spent IS NULL AND void IS NULL",
        values![activation_id],
    )?;
    if let Some(row) = living {
        return code_in(&row);
    }
    let code = draw(series)?;
    work.execute(
        "INSERT INTO spare_codes (code, key_no, activation_id, drawn) VALUES (?1, ?2, ?3, ?4)",
        values![code.to_string(), key_no.0, activation_id, now],
    )?;
    let detail = format!("code {}", masked(code));
    let line =
        Note { action: "spare", key_no: Some(key_no), detail: Some(&detail), ..Note::default() };
    note(work, actor, now, line)?;
    Ok(code)
}

fn void_spares(work: &mut Work<'_>, activation_id: &str, now: Utc) -> Result<(), SqlError> {
    work.execute(
        "UPDATE spare_codes SET void = ?2 \
         WHERE activation_id = ?1 AND spent IS NULL AND void IS NULL",
        values![activation_id, now],
    )?;
    Ok(())
}

/// How an activation ends.
pub(super) struct End<'a> {
    pub(super) by: EndedBy,
    /// The code that installs the key again.
    pub(super) code: Option<ActivationCode>,
    pub(super) reason: Option<ReturnReason>,
    pub(super) note: Option<&'a str>,
}

/// Ends a current activation, and the worth of its spare codes with it.
pub(super) fn end(
    work: &mut Work<'_>,
    activation_id: &str,
    key_no: KeyNo,
    end: &End<'_>,
    actor: &Actor,
    now: Utc,
) -> Result<(), StoreError> {
    let ended = work.execute(
        "UPDATE activations SET returned = ?2, reserve_code = ?3, ended_by = ?4, \
         return_reason = ?5, return_note = ?6 WHERE activation_id = ?1 AND returned IS NULL",
        values![
            activation_id,
            now,
            end.code.map(|code| code.to_string()),
            end.by.word(),
            end.reason.map(ReturnReason::word),
            end.note,
        ],
    )?;
    if ended != 1 {
        return Err(StoreError::Damaged("an activation that ends twice"));
    }
    void_spares(work, activation_id, now)?;
    let code = end.code.map_or_else(String::new, |code| format!(", code {}", masked(code)));
    let reason = end.reason.map_or_else(String::new, |reason| format!(", {}", reason.word()));
    let detail = format!("by {}{code}{reason}", end.by.word());
    let line =
        Note { action: "return", key_no: Some(key_no), detail: Some(&detail), ..Note::default() };
    Ok(note(work, actor, now, line)?)
}

/// The moves of a key.
pub(super) fn moves_of(
    work: &mut Work<'_>,
    key_no: KeyNo,
    settings: &SeriesSettings,
    now: Utc,
) -> Result<Moves, StoreError> {
    let rows = work.rows(
        "SELECT returned, ended_by FROM activations \
         WHERE key_no = ?1 AND returned IS NOT NULL ORDER BY activation_no",
        values![key_no.0],
    )?;
    let mut ends = Vec::new();
    for row in rows {
        ends.push((row.get("returned")?, ended_by(&row)?));
    }
    Ok(Moves::of(&ends, settings.moves_max, now))
}

fn ended_by(row: &Row) -> Result<EndedBy, StoreError> {
    let word: String = row.get("ended_by")?;
    EndedBy::of_word(&word).ok_or(StoreError::Damaged("how an activation ended"))
}

fn activation_facts(
    work: &mut Work<'_>,
    activation_id: &str,
    now: Utc,
) -> Result<Option<ActivationFacts>, StoreError> {
    let row = work.row(
        "SELECT orders.*, server, codes.key_no AS key_no, returned, ended_by, reserve_code \
         FROM activations JOIN codes USING (key_no) JOIN orders USING (order_id) \
         WHERE activation_id = ?1",
        values![activation_id],
    )?;
    let Some(row) = row else {
        return Ok(None);
    };
    let order = order_of(&row)?;
    let key_no = KeyNo(row.get("key_no")?);
    let server: Vec<u8> = row.get("server")?;
    let ended = match moment(&row, "returned")? {
        Some(at) => Some(Ended { at, by: ended_by(&row)?, code: reserve_code(&row)? }),
        None => None,
    };
    let settings = settings::of_series(work, order.series)?;
    Ok(Some(ActivationFacts {
        holder_blocked: holders::is_blocked_bytes(work, &server)?,
        server,
        key_no,
        series: order.series,
        kind: order.kind.into(),
        revoked: moment(&row, "revoked")?.is_some(),
        ended,
        moves: moves_of(work, key_no, &settings, now)?,
        self_release: settings.self_release,
    }))
}
