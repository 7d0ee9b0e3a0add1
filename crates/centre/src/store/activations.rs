//! Activations: what the books know of a code and of its asker, and what they keep of the outcome.

use licence_core::activation::ActivationCode;
use licence_core::key::{KeyKind, KeyNo, KeySeries};
use licence_core::seal::{PublicKey, hex_upper};
use licence_core::time::Utc;
use licencekit::order::{OrderCall, OrderKind};
use licencekit::random;
use licencekit::vendor::{EndedBy, SeriesSettings, UnsignedKind};

use super::places::{change_cluster, how_used, places};
use super::rows::{moment, order_of, term};
use super::sql::{Work, values};
use super::unsigned::About;
use super::{
    Activated, Activation, DemoAsked, Note, Store, StoreError, blanks, holders, keys, masked, note,
    orders, settings, unsigned,
};
use crate::access::Actor;
use crate::decide::{Asked, Beside, CodeFacts, Decision, Denial, Spare, decide, is_current};
use crate::issue::{self, Before, Granted};
use crate::series::{Series, SeriesSet};

impl Store {
    /// Carries out an activation: decides on the facts in the books, makes the licence and keeps
    /// it. A licence that was issued before is brought up to date: the term of its order, the cluster
    /// and the object key of the asker. A spare code ends the activation that it was drawn for, a paid key
    /// the demonstration key beside it.
    ///
    /// # Errors
    ///
    /// [`StoreError::Denied`] by the rules; nothing is kept then. [`StoreError::SignaturePending`] when
    /// all is done and kept but the vendor's signature, for series that are signed by hand.
    pub fn activate(
        &mut self,
        set: &SeriesSet,
        activation: &Activation,
        actor: &Actor,
        now: Utc,
    ) -> Result<Activated, StoreError> {
        self.activate_as(set, activation, actor, now, |_, _, done| Ok(done))
    }

    /// Carries out an activation whose request was read out: as [`Self::activate`], but the licence
    /// is in the form in which it is read out.
    ///
    /// # Errors
    ///
    /// As [`Self::activate`].
    pub fn activate_short(
        &mut self,
        set: &SeriesSet,
        activation: &Activation,
        actor: &Actor,
        now: Utc,
    ) -> Result<Activated, StoreError> {
        self.activate_as(set, activation, actor, now, |work, about, done| {
            let short = unsigned::short(work, about, &done.licence, actor, now)?;
            Ok(Activated { licence: short.unwrap_or_default(), ..done })
        })
    }

    /// Carries out an activation and gives what `form` makes of it, in one transaction.
    fn activate_as(
        &mut self,
        set: &SeriesSet,
        activation: &Activation,
        actor: &Actor,
        now: Utc,
        form: impl FnOnce(&mut Work<'_>, About<'_>, Activated) -> Result<Activated, StoreError>,
    ) -> Result<Activated, StoreError> {
        let series = set
            .get(&activation.code.series())
            .ok_or(StoreError::Damaged("a code of a series that is not served"))?;
        let mut work = self.begin()?;
        let (done, activation_id) = activate(&mut work, series, activation, actor, now)?;
        // What is read out is of no cluster.
        let about =
            About { series, activation_id: &activation_id, key_no: done.key_no, cluster: None };
        let done = form(&mut work, about, done)?;
        work.commit()?;
        done.signed()
    }

    /// Gives a demonstration key without a code, where the vendor offers it: once for a computer
    /// and a series. Asked again by the same server, it is the same licence.
    ///
    /// # Errors
    ///
    /// [`StoreError::Denied`] by the rules; nothing is kept then. [`StoreError::SignaturePending`] when
    /// all is done and kept but the vendor's signature, for series that are signed by hand.
    pub fn demo(
        &mut self,
        set: &SeriesSet,
        demo: &DemoAsked,
        actor: &Actor,
        now: Utc,
    ) -> Result<Activated, StoreError> {
        let series = set.get(&demo.series).ok_or(StoreError::NoSeries)?;
        let mut work = self.begin()?;
        let had = work.row(
            "SELECT codes.code AS code, server, returned FROM activations \
             JOIN codes USING (key_no) JOIN orders USING (order_id) \
             WHERE orders.series = ?1 AND orders.kind = 5 AND (server = ?2 OR computer_id = ?3) \
             ORDER BY activation_no DESC LIMIT 1",
            values![
                demo.series.to_string(),
                demo.asked.server.as_bytes().as_slice(),
                &demo.asker.computer_id,
            ],
        )?;
        let code = match had {
            Some(row) => {
                let is_theirs = row.get::<Vec<u8>>("server")? == demo.asked.server.as_bytes();
                if !is_theirs || moment(&row, "returned")?.is_some() {
                    return Err(Denial::DemoUsed.into());
                }
                let code: String = row.get("code")?;
                code.parse().map_err(|_| StoreError::Damaged("a code"))?
            }
            None => {
                let offer = settings::of_series(&mut work, demo.series)?.demo;
                let offer = offer.ok_or(Denial::DemoNotOffered)?;
                let order = offered(demo.series, offer.seats, offer.days);
                let answer = orders::insert(&mut work, &order, true, now)?;
                answer.codes.first().ok_or(StoreError::NoNumbers)?.code
            }
        };
        let (asked, asker) = (demo.asked.clone(), demo.asker.clone());
        let activation = Activation { code, asked, asker };
        let (done, _) = activate(&mut work, series, &activation, actor, now)?;
        work.commit()?;
        done.signed()
    }
}

impl Activated {
    /// What was done, if there is a signed licence to show for it.
    fn signed(self) -> Result<Self, StoreError> {
        if self.licence.is_empty() { Err(StoreError::SignaturePending) } else { Ok(self) }
    }
}

/// What the offer of a demonstration key would be as an order.
fn offered(series: KeySeries, seats: u32, days: u32) -> OrderCall {
    OrderCall {
        series,
        kind: OrderKind::Demo,
        seats,
        count: 1,
        period: days,
        start_date: None,
        expire_date: None,
        flags: licence_core::key::Flags(0),
        product_version: 0,
        service_type: 0,
        reg_no: None,
        article: None,
        article_name: None,
        itn: None,
        iec: None,
        note: None,
        product_version_name: None,
        support_date: None,
        support_period: None,
        industry_support_date: None,
        industry_support_period: None,
        parameters: std::collections::BTreeMap::new(),
        customer_id: None,
        binding: None,
        cluster_nodes: None,
    }
}

/// What was done, with the id of the activation; the licence is empty while none is signed.
fn activate(
    work: &mut Work<'_>,
    series: &Series,
    activation: &Activation,
    actor: &Actor,
    now: Utc,
) -> Result<(Activated, String), StoreError> {
    let Activation { code, asked, asker } = activation;
    let found = find(work, series, activation, now)?;
    let decision = decide(asked, found.as_ref().map(|found| &found.facts), now)?;
    let Some(found) = found else {
        return Err(Denial::Unknown.into());
    };
    let mark = holders::see(work, &asked.server, asker, asked.protection, actor, now)?;
    let (order, key_no) = (&found.order, found.key_no);
    let cluster = match decision {
        Decision::Issue(cluster) => cluster,
        Decision::Repeat { licence, cluster } => {
            let activation_id =
                found.made.ok_or(StoreError::Damaged("an activation without its id"))?;
            if found.facts.own.is_some_and(|own| own.cluster != cluster) {
                change_cluster(work, &activation_id, key_no, cluster, actor, now)?;
            }
            let about = About { series, activation_id: &activation_id, key_no, cluster };
            let enc = asked.enc.as_ref();
            let licence = unsigned::up_to_date(work, about, licence, order, enc, actor, now)?;
            let licence = licence.unwrap_or_default();
            return Ok((Activated { licence, first: false, key_no, mark }, activation_id));
        }
    };
    make_room(work, &found, *code, actor, now)?;
    blanks::keep_attested(work, asked, actor, now)?;
    let activation_id = hex_upper(&random::id_bytes()?);
    let granted = Granted {
        order,
        key_no,
        activation_id: &activation_id,
        before: found.before.as_ref(),
        binding: order.binding.or(found.settings.binding).or(series.descriptor.binding),
        cluster,
    };
    let claims = issue::claims(&series.descriptor, granted, *code, asked, now);
    let licence = match &series.signer {
        Some(signer) => signer.licence(&claims, asked.enc.as_ref())?,
        None => String::new(),
    };
    work.execute(
        "INSERT INTO activations (key_no, activation_id, code, activated, holder, server, \
         computer_id, server_version, itn, iec, licence, cluster) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        values![
            key_no.0,
            &activation_id,
            code.to_string(),
            now,
            asked.holder_bytes(),
            asked.server.as_bytes().as_slice(),
            &asker.computer_id,
            &asker.server_version,
            &asked.itn,
            &asked.iec,
            &licence,
            cluster.map(|cluster| cluster.to_string()),
        ],
    )?;
    if order.kind == OrderKind::Demo {
        work.execute(
            "INSERT INTO demos (series, computer_id, key_no) VALUES (?1, ?2, ?3)",
            values![order.series.to_string(), &asker.computer_id, key_no.0],
        )?;
    }
    let of_cluster = cluster.map_or_else(String::new, |cluster| format!(", cluster {cluster}"));
    let detail = format!("code {}, computer {}{of_cluster}", masked(*code), asker.computer_id);
    let line = Note {
        action: "activation",
        key_no: Some(key_no),
        detail: Some(&detail),
        ..Note::default()
    };
    note(work, actor, now, line)?;
    if series.signer.is_none() {
        let about = About { series, activation_id: &activation_id, key_no, cluster };
        let (kind, enc) = (UnsignedKind::Licence, asked.enc.as_ref());
        unsigned::keep(work, about, kind, &claims, enc, actor, now)?;
    }
    Ok((Activated { licence, first: true, key_no, mark }, activation_id))
}

/// Ends what an activation takes the place of: the one that its spare code was drawn for, and the
/// demonstration keys beside a paid key.
fn make_room(
    work: &mut Work<'_>,
    found: &Found,
    code: ActivationCode,
    actor: &Actor,
    now: Utc,
) -> Result<(), StoreError> {
    if let Some(activation_id) = &found.spare_of {
        work.execute(
            "UPDATE spare_codes SET spent = ?2 WHERE code = ?1",
            values![code.to_string(), now],
        )?;
        let end = keys::End { by: EndedBy::Spare, code: Some(code), reason: None, note: None };
        keys::end(work, activation_id, found.key_no, &end, actor, now)?;
    }
    if found.facts.kind != KeyKind::Demo {
        for (activation_id, key_no) in &found.demos {
            let end = keys::End { by: EndedBy::Paid, code: None, reason: None, note: None };
            keys::end(work, activation_id, *key_no, &end, actor, now)?;
        }
    }
    Ok(())
}

/// What the books know of a code.
struct Found {
    order: OrderCall,
    key_no: KeyNo,
    settings: SeriesSettings,
    /// First activation of the key, if it is not the first.
    before: Option<Before>,
    /// The activation of the key that the asker has.
    made: Option<String>,
    /// The activation that a spare code was drawn for.
    spare_of: Option<String>,
    /// Current demonstration keys of the series at the asker.
    demos: Vec<(String, KeyNo)>,
    facts: CodeFacts,
}

fn find(
    work: &mut Work<'_>,
    series: &Series,
    activation: &Activation,
    now: Utc,
) -> Result<Option<Found>, StoreError> {
    let Activation { code, asked, asker } = activation;
    let holder_blocked = holders::is_blocked(work, &asked.server)?;
    // An activation code is in `codes`, a reserve code with the activation that it ended, a spare
    // code among its kind; one that was used is in two places.
    let row = work.row(
        "SELECT orders.*, wanted.key_no AS key_no, initial.activated AS first_activated, \
         initial.itn AS first_itn, initial.iec AS first_iec \
         FROM (SELECT key_no FROM codes WHERE code = ?1 \
         UNION SELECT key_no FROM activations WHERE reserve_code = ?1 \
         UNION SELECT key_no FROM spare_codes WHERE code = ?1) AS wanted \
         JOIN codes ON codes.key_no = wanted.key_no \
         JOIN orders ON orders.order_id = codes.order_id \
         LEFT JOIN activations AS initial ON initial.activation_no = (SELECT min(activation_no) \
         FROM activations AS every WHERE every.key_no = wanted.key_no)",
        values![code.to_string()],
    )?;
    let Some(row) = row else {
        return Ok(None);
    };
    let order = order_of(&row)?;
    let key_no = KeyNo(row.get("key_no")?);
    let settings = settings::of_series(work, order.series)?;
    let before = match moment(&row, "first_activated")? {
        Some(activated) => {
            Some(Before { activated, itn: row.get("first_itn")?, iec: row.get("first_iec")? })
        }
        None => None,
    };
    let expire = match &before {
        Some(before) => term(&order, before.activated).end(),
        None => order.expire_date,
    };
    let spare = spare_facts(work, *code, key_no, &settings, now)?;
    let spare_of = spare.as_ref().map(|(activation_id, _)| activation_id.as_str());
    let places = places(work, key_no, asked, spare_of)?;
    let used = if places.own.is_none() { how_used(work, *code, asked)? } else { None };
    let (beside, demos) =
        beside(work, asked, asker.computer_id.as_str(), order.series, key_no, now)?;
    let binding = order.binding.or(settings.binding).or(series.descriptor.binding);
    let facts = CodeFacts {
        kind: order.kind.into(),
        itn: order.itn.clone(),
        iec: order.iec.clone(),
        expire,
        revoked: moment(&row, "revoked")?.is_some(),
        cluster_nodes: match order.kind {
            // A token is in one place, a demonstration for one computer.
            OrderKind::Main | OrderKind::Additional if asked.holder.token().is_none() => {
                order.cluster_nodes.unwrap_or(settings.cluster_nodes)
            }
            OrderKind::Main | OrderKind::Additional | OrderKind::Demo => 0,
        },
        own: places.own,
        used,
        others: places.others,
        demo_used: demo_used(work, &asked.server, &asker.computer_id, order.series, key_no)?,
        beside,
        level: binding.unwrap_or_default().level,
        blank: match asked.holder.token() {
            Some(token) => Some(blanks::standing(work, token)?),
            None => None,
        },
        holder_blocked,
        spare: spare.as_ref().map(|(_, spare)| spare.clone()),
    };
    let spare_of = spare.map(|(activation_id, _)| activation_id);
    let made = places.made;
    Ok(Some(Found { order, key_no, settings, before, made, spare_of, demos, facts }))
}

/// The spare code that nobody has used, if the code is one, and the activation that it is of.
fn spare_facts(
    work: &mut Work<'_>,
    code: ActivationCode,
    key_no: KeyNo,
    settings: &SeriesSettings,
    now: Utc,
) -> Result<Option<(String, Spare)>, StoreError> {
    let row = work.row(
        "SELECT activation_id, void, returned FROM spare_codes \
         JOIN activations USING (activation_id) WHERE spare_codes.code = ?1 AND spent IS NULL",
        values![code.to_string()],
    )?;
    let Some(row) = row else {
        return Ok(None);
    };
    let living = moment(&row, "void")?.is_none() && moment(&row, "returned")?.is_none();
    let moves = keys::moves_of(work, key_no, settings, now)?;
    Ok(Some((row.get("activation_id")?, Spare { living, moves })))
}

fn demo_used(
    work: &mut Work<'_>,
    server: &PublicKey,
    computer_id: &str,
    series: KeySeries,
    key_no: KeyNo,
) -> Result<bool, StoreError> {
    // A computer whose parts have changed has another id, and is the same server still.
    Ok(work.value(
        "used",
        "SELECT EXISTS (SELECT 1 FROM demos WHERE series = ?1 AND computer_id = ?2 \
         AND key_no <> ?3) OR EXISTS (SELECT 1 FROM activations JOIN codes USING (key_no) \
         JOIN orders USING (order_id) WHERE orders.series = ?1 AND orders.kind = 5 \
         AND server = ?4 AND codes.key_no <> ?3) AS used",
        values![series.to_string(), computer_id, key_no.0, server.as_bytes().as_slice()],
    )?)
}

/// The current keys of a series at the asker, beside one: on its computer, at its server or on its
/// token. And the demonstration keys among them.
fn beside(
    work: &mut Work<'_>,
    asked: &Asked,
    computer_id: &str,
    series: KeySeries,
    key_no: KeyNo,
    now: Utc,
) -> Result<(Beside, Vec<(String, KeyNo)>), StoreError> {
    let rows = work.rows(
        "SELECT orders.*, codes.key_no AS held_no, activation_id, (SELECT min(activated) \
         FROM activations AS every WHERE every.key_no = codes.key_no) AS first_activated \
         FROM activations JOIN codes USING (key_no) JOIN orders USING (order_id) \
         WHERE orders.series = ?1 AND returned IS NULL AND codes.key_no <> ?2 \
         AND (server = ?3 OR holder = ?4 OR computer_id = ?5)",
        values![
            series.to_string(),
            key_no.0,
            asked.server.as_bytes().as_slice(),
            asked.holder_bytes(),
            computer_id,
        ],
    )?;
    let mut found = Beside::default();
    let mut demos = Vec::new();
    for row in rows {
        let order = order_of(&row)?;
        let end = term(&order, row.get("first_activated")?).end();
        if !is_current(moment(&row, "revoked")?.is_some(), end, now) {
            continue;
        }
        match order.kind {
            OrderKind::Main => (found.main, found.paid) = (true, true),
            OrderKind::Additional => found.paid = true,
            OrderKind::Demo => {
                demos.push((row.get("activation_id")?, KeyNo(row.get("held_no")?)));
            }
        }
    }
    Ok((found, demos))
}
