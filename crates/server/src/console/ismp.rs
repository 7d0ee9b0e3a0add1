//! The page of session keys: what there is and who refreshes it, whom to remind, how it is set up.
//!
//! Shows and asks; no key of the service ever stands on it. What an organisation or a rule may be is
//! decided by `licence_ismp`, and what the forms do stands in [`mod@change`].

mod change;

use askama::Template;
use hyper::StatusCode;
use licence_core::language::Language;
use licence_core::time::Utc;
use licence_ismp::directory::FormatWish;
use licence_ismp::responsible::Rule;
use licence_ismp::{Inn, Source, State, StoreKey, TokenKind};

use super::frame::{Frame, see_done};
use super::parts::{Choice, told};
use super::shown::iso_day;
use super::texts::{Texts, seconds_between};
use crate::access::Role;
use crate::access::csrf::check_form;
use crate::api::errors::ApiError;
use crate::api::form::Form;
use crate::api::params::Params;
use crate::api::routes::Page;
use crate::api::{Answer, Call};
use crate::clock;
use crate::config::{ComponentAccess, Config, IsmpSettings};
use crate::ismp::replica::Standing;
use crate::ismp::{Look, RecordView};

/// From how many seconds before its end a key is shown as ending: a person has time to sign.
const ENDING_SECS: u64 = 1800;

/// `GET /ismp`.
pub(super) async fn answer(call: &Call<'_>) -> Result<Answer, ApiError> {
    let params = Params::read(call.query, b"")?;
    let wanted = |name| params.text(name).map(|text| text.unwrap_or_default().to_owned());
    let asked = Asked { rule: wanted("rule")?, organization: wanted("organization")? };
    show(call, StatusCode::OK, asked, None).await
}

/// `POST /ismp`.
pub(super) async fn change(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let form = Form::read(body)?;
    check_form(call, &form)?;
    match change::make(call, &form).await {
        Ok(done) => see_done(call, "/ismp", done),
        Err(error) => show(call, error.status, Asked::default(), Some((&form, &error))).await,
    }
}

/// What the forms are to begin with.
#[derive(Default)]
struct Asked {
    /// Id of the rule that is to be changed.
    rule: String,
    /// ИНН of the organisation that is to be changed.
    organization: String,
}

async fn show(
    call: &Call<'_>,
    status: StatusCode,
    asked: Asked,
    refused: Option<(&Form, &ApiError)>,
) -> Result<Answer, ApiError> {
    let t = call.language;
    let look = call.app.ismp.look().await?;
    let config = call.app.settings.get();
    let replica = &call.app.ismp_replica;
    let standing = replica.standing(&config);
    let form = refused.map(|(form, _)| form);
    let page = IsmpPage {
        may_change: call.actor.role >= Role::Administrator && standing == Standing::Main,
        is_enabled: config.ismp.enabled,
        problem: look.problem.as_ref().map(|text| t.pick(&text.russian, &text.english).to_owned()),
        standing: standing_text(t, &standing, replica.failure()),
        keys: keys(t, &look, clock::utc()),
        refreshing: refreshing(t, &look),
        organizations: organizations(t, &look),
        installations: installations(&look),
        retail_end: look.directory.retail_end.map(iso_day).unwrap_or_default(),
        rules: look.rules.iter().map(|rule| rule_row(t, &look, rule)).collect(),
        organization: EnteredOrganization::new(t, &look, &asked, form),
        installation: EnteredInstallation::new(&look, form),
        rule: EnteredRule::new(t, &look, &asked, form),
        facts: facts(t, &config),
        pin: call.app.certificates.pin().unwrap_or_default(),
        error: refused.map(|(_, error)| told(t, error)),
        action: form.and_then(|form| form.text("action")).unwrap_or("").to_owned(),
        frame: Frame::new(call, Page::Ismp).await?,
        t,
    };
    page.frame.answer(status, &page)
}

fn standing_text(t: Language, standing: &Standing, failure: Option<String>) -> Option<String> {
    let text = match standing {
        Standing::Main => return None,
        Standing::Following => t
            .pick("Резервный сервер: главный отвечает.", "A reserve: the main server answers.")
            .to_owned(),
        Standing::Waiting(left) => {
            let secs = left.as_secs();
            let russian = format!(
                "Резервный сервер: главный не отвечает, через {secs} с этот начнёт действовать сам."
            );
            let english = format!(
                "A reserve: the main server is silent; this one acts on its own in {secs} s."
            );
            t.pick(&russian, &english).to_owned()
        }
        Standing::Alone => t
            .pick(
                "Резервный сервер: главный не отвечает, этот действует сам.",
                "A reserve: the main server is silent; this one acts on its own.",
            )
            .to_owned(),
        Standing::Misset(text) => t.pick(&text.russian, &text.english).to_owned(),
    };
    let why = failure.map(|why| format!(" ({why})")).unwrap_or_default();
    let advice = t.pick(
        "Организации и правила меняют на главном сервере.",
        "Organisations and rules are changed at the main server.",
    );
    Some(format!("{text}{why} {advice}"))
}

/// The name of an organisation with its number.
fn named(look: &Look, inn: &Inn) -> String {
    match look.directory.organization(inn).map(|organization| organization.name.trim()) {
        Some(name) if !name.is_empty() => format!("{name} ({inn})"),
        _ => inn.to_string(),
    }
}

/// The name of an installation; its id where it has none.
fn place(look: &Look, key: &StoreKey) -> String {
    let Some(object) = &key.production_object else { return String::new() };
    let found = look.directory.installations.iter().find(|one| one.oms_connection == *object);
    match found.map(|found| found.name.trim()) {
        Some(name) if !name.is_empty() => name.to_owned(),
        _ => object.to_string(),
    }
}

struct KeyRow {
    kind: &'static str,
    contour: String,
    organization: String,
    place: String,
    /// As the form sends it.
    key: String,
    iso: String,
    until: String,
    left: String,
    state: &'static str,
    is_bad: bool,
    source: &'static str,
    who: String,
    fingerprint: String,
}

fn keys(t: Language, look: &Look, now: Utc) -> Vec<KeyRow> {
    let row = |record: &RecordView| {
        let left = seconds_between(now, record.valid_until);
        let (state, is_bad) = match record.state {
            _ if left == 0 => (t.pick("истёк", "ended"), true),
            State::Doubtful => (t.pick("сомнителен", "doubtful"), true),
            State::Valid if left < ENDING_SECS => (t.pick("истекает", "ends soon"), true),
            State::Valid => (t.pick("действует", "valid"), false),
        };
        KeyRow {
            kind: record.key.kind.title(),
            contour: record.key.contour.to_string(),
            organization: named(look, &record.key.organization),
            place: place(look, &record.key),
            key: serde_json::to_string(&record.key).unwrap_or_default(),
            iso: record.valid_until.to_string(),
            until: Texts(t).moment(&record.valid_until),
            left: if left == 0 { String::new() } else { Texts(t).span(left) },
            state,
            is_bad,
            source: match record.source {
                Source::Exchange => t.pick("подпись", "signed"),
                Source::Manual => t.pick("вручную", "by hand"),
                Source::Signer => t.pick("команда сервера", "the server's command"),
            },
            who: [&record.who.user, &record.who.infobase]
                .into_iter()
                .filter(|text| !text.is_empty())
                .cloned()
                .collect::<Vec<_>>()
                .join(", "),
            fingerprint: record.fingerprint.to_string(),
        }
    };
    look.records.iter().map(row).collect()
}

struct RefreshRow {
    kind: &'static str,
    organization: String,
    place: String,
    who: String,
    stage: &'static str,
    left: String,
}

fn refreshing(t: Language, look: &Look) -> Vec<RefreshRow> {
    let row = |(key, refreshing): &(StoreKey, licence_ismp::refresh::Refreshing)| RefreshRow {
        kind: key.kind.title(),
        organization: named(look, &key.organization),
        place: place(look, key),
        who: match (refreshing.who.user.as_str(), refreshing.who.infobase.as_str()) {
            ("", "") => "—".to_owned(),
            (user, "") => user.to_owned(),
            (user, infobase) => format!("{user}, {infobase}"),
        },
        stage: if refreshing.is_exchanging {
            t.pick("служба проверяет подпись", "the service looks at the signature")
        } else {
            t.pick("подписывает", "is signing")
        },
        left: Texts(t).span(refreshing.left.as_secs()),
    };
    look.refreshing.iter().map(row).collect()
}

struct OrganizationRow {
    inn: String,
    name: String,
    format: &'static str,
    edit: String,
}

fn organizations(t: Language, look: &Look) -> Vec<OrganizationRow> {
    let row = |organization: &licence_ismp::directory::Organization| OrganizationRow {
        inn: organization.inn.to_string(),
        name: organization.name.clone(),
        format: format_text(t, organization.token_format),
        edit: format!("/ismp?organization={}", organization.inn),
    };
    look.directory.organizations.iter().map(row).collect()
}

struct InstallationRow {
    organization: String,
    oms_connection: String,
    name: String,
}

fn installations(look: &Look) -> Vec<InstallationRow> {
    let row = |installation: &licence_ismp::directory::Installation| InstallationRow {
        organization: named(look, &installation.organization),
        oms_connection: installation.oms_connection.to_string(),
        name: installation.name.clone(),
    };
    look.directory.installations.iter().map(row).collect()
}

struct RuleRow {
    id: u32,
    organization: String,
    kind: String,
    place: String,
    people: Vec<String>,
    edit: String,
}

fn rule_row(t: Language, look: &Look, rule: &Rule) -> RuleRow {
    let all = || t.pick("все", "all").to_owned();
    RuleRow {
        id: rule.id,
        organization: rule.organization.as_ref().map_or_else(all, |inn| named(look, inn)),
        kind: rule.kind.map_or_else(
            || format!("{}, {}", TokenKind::Ismp.title(), TokenKind::Suz.title()),
            |kind| kind.title().to_owned(),
        ),
        place: rule.production_object.as_ref().map_or_else(all, ToString::to_string),
        people: rule
            .people
            .iter()
            .map(|person| format!("{} — {}", person.user, Texts(t).span(person.notify_secs.into())))
            .collect(),
        edit: format!("/ismp?rule={}", rule.id),
    }
}

const fn format_name(format: FormatWish) -> &'static str {
    match format {
        FormatWish::Auto => "auto",
        FormatWish::Jwt => "jwt",
        FormatWish::Uuid => "uuid",
        FormatWish::UuidByInn => "uuid-by-inn",
    }
}

const fn format_text(t: Language, format: FormatWish) -> &'static str {
    match format {
        FormatWish::Auto => t.pick("как даст служба", "as the service gives it"),
        FormatWish::Jwt => "JWT",
        FormatWish::Uuid => t.pick("единый токен", "united token"),
        FormatWish::UuidByInn => {
            t.pick("единый токен за подписанный ИНН", "united token for the signed ИНН")
        }
    }
}

const FORMATS: [FormatWish; 4] =
    [FormatWish::Auto, FormatWish::Jwt, FormatWish::Uuid, FormatWish::UuidByInn];

/// The text of a field of the form that was refused, if it was this one.
fn entered<'a>(form: Option<&'a Form>, action: &str, name: &str) -> Option<&'a str> {
    let form = form.filter(|form| form.text("action") == Some(action))?;
    Some(form.raw(name).unwrap_or(""))
}

fn inn_choices(look: &Look, chosen: &str) -> Vec<Choice> {
    let choice = |organization: &licence_ismp::directory::Organization| Choice {
        value: organization.inn.to_string(),
        text: named(look, &organization.inn),
        is_chosen: organization.inn.as_str() == chosen,
    };
    look.directory.organizations.iter().map(choice).collect()
}

/// The form of one organisation.
struct EnteredOrganization {
    inn: String,
    name: String,
    formats: Vec<Choice>,
    is_edit: bool,
}

impl EnteredOrganization {
    fn new(t: Language, look: &Look, asked: &Asked, form: Option<&Form>) -> Self {
        let known = asked.organization.parse().ok();
        let known = known.and_then(|inn: Inn| look.directory.organization(&inn));
        let text = |name, own: Option<String>| {
            let entered = entered(form, "organization", name).map(str::to_owned);
            entered.or(own).unwrap_or_default()
        };
        let format = text("format", known.map(|known| format_name(known.token_format).to_owned()));
        let choice = |wish: FormatWish| Choice {
            value: format_name(wish).to_owned(),
            text: format_text(t, wish).to_owned(),
            is_chosen: format_name(wish) == format,
        };
        Self {
            inn: text("inn", known.map(|known| known.inn.to_string())),
            name: text("name", known.map(|known| known.name.clone())),
            formats: FORMATS.into_iter().map(choice).collect(),
            is_edit: known.is_some(),
        }
    }
}

/// The form of one installation.
struct EnteredInstallation {
    organizations: Vec<Choice>,
    oms_connection: String,
    name: String,
}

impl EnteredInstallation {
    fn new(look: &Look, form: Option<&Form>) -> Self {
        let text = |name| entered(form, "installation", name).unwrap_or("").to_owned();
        Self {
            organizations: inn_choices(look, &text("organization")),
            oms_connection: text("oms_connection"),
            name: text("name"),
        }
    }
}

/// The form of one rule.
struct EnteredRule {
    id: String,
    organizations: Vec<Choice>,
    kinds: Vec<Choice>,
    object: String,
    /// One person in a line: name, semicolon, minutes.
    people: String,
    is_edit: bool,
}

impl EnteredRule {
    fn new(t: Language, look: &Look, asked: &Asked, form: Option<&Form>) -> Self {
        let id = asked.rule.parse::<u32>().ok();
        let known = id.and_then(|id| look.rules.iter().find(|rule| rule.id == id));
        let text = |name, own: Option<String>| {
            let entered = entered(form, "rule", name).map(str::to_owned);
            entered.or(own).unwrap_or_default()
        };
        let organization = text(
            "organization",
            known.and_then(|rule| Some(rule.organization.as_ref()?.to_string())),
        );
        let kind = text("kind", known.and_then(|rule| Some(rule.kind?.name().to_owned())));
        let choice = |value: &str, shown: &str| Choice {
            value: value.to_owned(),
            text: shown.to_owned(),
            is_chosen: value == kind,
        };
        let id = text("id", known.map(|rule| rule.id.to_string()));
        Self {
            organizations: inn_choices(look, &organization),
            kinds: vec![
                choice("", t.pick("ИС МП и СУЗ", "ИС МП and СУЗ")),
                choice(TokenKind::Ismp.name(), TokenKind::Ismp.title()),
                choice(TokenKind::Suz.name(), TokenKind::Suz.title()),
            ],
            object: text(
                "object",
                known.and_then(|rule| Some(rule.production_object.as_ref()?.to_string())),
            ),
            people: text("people", known.map(|rule| change::people_text(&rule.people))),
            is_edit: !id.is_empty(),
            id,
        }
    }
}

/// The settings in force, in words.
fn facts(t: Language, config: &Config) -> Vec<(&'static str, String)> {
    let ismp = &config.ismp;
    let yes = |is: bool| Texts(t).yes(is).to_owned();
    let access = match ismp.component_access {
        ComponentAccess::Seat => {
            t.pick("сеанс, занимающий лицензию", "a session that holds a seat")
        }
        ComponentAccess::Token => t.pick("токен области ismp", "a token of scope ismp"),
    };
    let mut facts = vec![
        (t.pick("Включено", "Switched on"), yes(ismp.enabled)),
        (t.pick("Компонента предъявляет", "A component shows"), access.to_owned()),
        (
            t.pick("По HTTP с других компьютеров", "Over plain HTTP from other computers"),
            yes(ismp.allow_plain_http),
        ),
        (t.pick("Подписывает команда сервера", "Signed by the server's command"), signer(t, ismp)),
        (t.pick("Прокси", "Proxy"), yes(ismp.proxy.is_some() || ismp.use_proxy)),
        (t.pick("Свой центр сертификации", "Authority of one's own"), yes(ismp.extra_ca.is_some())),
    ];
    if let Some(main) = &ismp.main {
        facts.push((t.pick("Главный сервер", "Main server"), main.clone()));
    }
    let contours = ismp.contours.iter().map(|(name, at)| format!("{name}: {}", at.true_api));
    facts.push((t.pick("Контуры", "Contours"), contours.collect::<Vec<_>>().join("; ")));
    facts
}

fn signer(t: Language, ismp: &IsmpSettings) -> String {
    if ismp.sign_command.is_empty() {
        return Texts(t).yes(false).to_owned();
    }
    if ismp.sign_organizations.is_empty() {
        return t.pick("за все организации", "for all organisations").to_owned();
    }
    ismp.sign_organizations.iter().map(Inn::to_string).collect::<Vec<_>>().join(", ")
}

#[derive(Template)]
#[template(path = "ismp.html")]
struct IsmpPage {
    frame: Frame,
    t: Language,
    may_change: bool,
    is_enabled: bool,
    /// What is wrong with the file.
    problem: Option<String>,
    standing: Option<String>,
    keys: Vec<KeyRow>,
    refreshing: Vec<RefreshRow>,
    organizations: Vec<OrganizationRow>,
    installations: Vec<InstallationRow>,
    retail_end: String,
    rules: Vec<RuleRow>,
    organization: EnteredOrganization,
    installation: EnteredInstallation,
    rule: EnteredRule,
    facts: Vec<(&'static str, String)>,
    pin: String,
    error: Option<String>,
    /// The form that was refused.
    action: String,
}
