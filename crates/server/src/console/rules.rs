//! The page of rules: the list, one change at a time, and what a change would do before it is made.
//!
//! A form carries one change and the mark of the rules that it was made from; the new rules are
//! worked out here from those in force, and a form made from others is refused. What a rule may be
//! and whom it would refuse is decided by the core.

use askama::Template;
use hyper::StatusCode;
use licence_core::language::Language;
use licence_core::rules::{Rule, RuleEffect, RuleSet};

use super::frame::{Frame, see_done};
use super::parts::{Choice, known_series, last_change, series_choices, told};
use crate::access::Role;
use crate::access::csrf::check_form;
use crate::api::errors::ApiError;
use crate::api::form::Form;
use crate::api::params::Params;
use crate::api::routes::Page;
use crate::api::rules::{in_force, mark, set};
use crate::api::{Answer, Call};
use crate::cluster::picture::WrittenView;
use crate::driver::{DryRun, RefusedSession};

/// Refused sessions that a dry run lists; the number beside the list counts them all.
const REFUSED_SHOWN_MAX: usize = 100;

/// Fields of a form that the second step sends again.
const FIELDS: &[&str] = &[
    "op",
    "at",
    "base",
    "name",
    "effect",
    "seats",
    "enabled",
    "series",
    "user",
    "computer",
    "subnet",
    "infobase",
    "application",
    "comment",
    "json",
];

/// `GET /rules`.
pub(super) async fn answer(call: &Call<'_>) -> Result<Answer, ApiError> {
    let params = Params::read(call.query, b"")?;
    let (rules, _) = in_force(call).await?;
    let edited = params
        .text("edit")?
        .and_then(|text| text.parse::<usize>().ok())
        .and_then(|at| Some((at, rules.rules.get(at)?)))
        .map(|(at, rule)| Entered::of_rule(at, rule));
    show(call, StatusCode::OK, &rules, edited.unwrap_or_default(), None).await
}

/// `POST /rules`: shows what a change would do, or makes it.
pub(super) async fn change(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let form = Form::read(body)?;
    check_form(call, &form)?;
    let (now, from) = in_force(call).await?;
    if form.text("base") != Some(mark(&now)?.as_str()) {
        let error = ApiError::bad_request(
            "The rules were changed by somebody else meanwhile; look at them and try again.",
            "Правила тем временем изменил кто-то другой; посмотрите их и повторите.",
        );
        return refused(call, &now, &form, error).await;
    }
    let wanted = match changed(&now, &form) {
        Ok(wanted) => wanted,
        Err(error) => return refused(call, &now, &form, error).await,
    };
    let dry_run = match call.app.handle.check_rules(wanted.clone()).await {
        Ok(dry_run) => dry_run,
        Err(error) => return refused(call, &now, &form, error.into()).await,
    };
    if form.text("action") != Some("apply") {
        return show_check(call, &form, &wanted, &dry_run).await;
    }
    match set(call, wanted, from).await {
        Ok(()) => see_done(call, "/rules", "rules_saved"),
        Err(error) => refused(call, &now, &form, error).await,
    }
}

/// The page again with what was entered and why it was refused.
async fn refused(
    call: &Call<'_>,
    now: &RuleSet,
    form: &Form,
    error: ApiError,
) -> Result<Answer, ApiError> {
    show(call, error.status, now, Entered::of_form(form), Some(&error)).await
}

/// Rules as the file has them.
fn written(rules: &RuleSet) -> Result<String, ApiError> {
    serde_json::to_string_pretty(rules).map_err(|error| ApiError::broken(&error))
}

/// The rules with the one change that a form asks for.
fn changed(now: &RuleSet, form: &Form) -> Result<RuleSet, ApiError> {
    let mut wanted = now.clone();
    let rules = &mut wanted.rules;
    let op = form.text("op").unwrap_or("");
    let at = || {
        let at = form.text("at").and_then(|text| text.parse::<usize>().ok());
        at.filter(|at| *at < now.rules.len())
            .ok_or_else(|| ApiError::bad_request("There is no such rule.", "Такого правила нет."))
    };
    match op {
        "add" => rules.push(rule(form)?),
        "edit" => {
            let at = at()?;
            if let Some(old) = rules.get_mut(at) {
                *old = rule(form)?;
            }
        }
        "remove" => {
            rules.remove(at()?);
        }
        "toggle" => {
            let at = at()?;
            if let Some(rule) = rules.get_mut(at) {
                rule.enabled = !rule.enabled;
            }
        }
        "up" => {
            let at = at()?;
            rules.swap(at, at.saturating_sub(1));
        }
        "down" => {
            let at = at()?;
            rules.swap(at, (at + 1).min(now.rules.len() - 1));
        }
        "set" => {
            return Ok(RuleSet::from_json(form.text("json").unwrap_or(""))?);
        }
        _ => {
            return Err(ApiError::bad_request(
                "The field op of the form is not known.",
                "Поле op формы неизвестно.",
            ));
        }
    }
    Ok(wanted)
}

/// The rule that a form describes.
fn rule(form: &Form) -> Result<Rule, ApiError> {
    let text = |name| form.text(name).map(str::to_owned);
    let effect = match form.text("effect").unwrap_or("") {
        "deny" => RuleEffect::Deny,
        "limit" => RuleEffect::Limit,
        "reserve" => RuleEffect::Reserve,
        _ => {
            return Err(wrong("Effect", "deny, limit or reserve", "deny, limit или reserve"));
        }
    };
    let seats = form
        .text("seats")
        .map(|text| text.parse().map_err(|_| wrong("Seats", "a whole number", "целым числом")))
        .transpose()?;
    let key_id = form
        .text("series")
        .map(|text| {
            text.parse().map_err(|_| wrong("KeyID", "four hex digits", "из четырёх цифр 0–F"))
        })
        .transpose()?;
    Ok(Rule {
        name: text("name").ok_or_else(|| wrong("Name", "a name", "указано"))?,
        effect,
        seats,
        enabled: form.flag("enabled"),
        key_id,
        user: text("user"),
        computer: text("computer"),
        subnet: text("subnet"),
        infobase: text("infobase"),
        application: text("application"),
        comment: text("comment").unwrap_or_default(),
    })
}

fn wrong(field: &str, english: &str, russian: &str) -> ApiError {
    ApiError::bad_request(
        format!("{field} must be {english}."),
        format!("Поле {field} должно быть {russian}."),
    )
}

async fn show(
    call: &Call<'_>,
    status: StatusCode,
    rules: &RuleSet,
    entered: Entered,
    error: Option<&ApiError>,
) -> Result<Answer, ApiError> {
    let t = call.language;
    let series = entered.series.parse().ok();
    let page = RulesPage {
        frame: Frame::new(call, Page::Rules).await?,
        t,
        may_change: call.actor.role >= Role::Administrator,
        rows: rows(t, rules),
        base: mark(rules)?,
        json: if entered.op == "set" { entered.json.clone() } else { written(rules)? },
        series: series_choices(&known_series(call).await?, series),
        problem: call.app.handle.rules_problem().await?,
        is_of_cluster: call.app.cluster.is_some(),
        written: call.app.cluster.as_ref().and_then(|cluster| {
            let written = WrittenView::of(&cluster.sharing().shared().rules)?;
            Some(last_change(t, written))
        }),
        wrong: error.and_then(|error| wrong_field(&error.english)).unwrap_or(""),
        error: error.map(|error| told(t, error)),
        effects: [RuleEffect::Deny, RuleEffect::Limit, RuleEffect::Reserve]
            .into_iter()
            .map(|effect| Choice {
                value: effect_name(effect).to_owned(),
                text: effect_text(t, effect).to_owned(),
                is_chosen: entered.effect == effect_name(effect),
            })
            .collect(),
        entered,
    };
    page.frame.answer(status, &page)
}

async fn show_check(
    call: &Call<'_>,
    form: &Form,
    wanted: &RuleSet,
    dry_run: &DryRun,
) -> Result<Answer, ApiError> {
    let t = call.language;
    let page = CheckPage {
        frame: Frame::new(call, Page::Rules).await?,
        t,
        may_change: false,
        is_of_cluster: call.app.cluster.is_some(),
        base: String::new(),
        rows: rows(t, wanted),
        sessions: dry_run.sessions,
        refused_count: dry_run.refused_count,
        refused: dry_run.refused.iter().take(REFUSED_SHOWN_MAX).map(refused_row).collect(),
        fields: FIELDS
            .iter()
            .filter_map(|name| Some((*name, form.raw(name)?.to_owned())))
            .collect(),
    };
    page.frame.answer(StatusCode::OK, &page)
}

/// The field of a rule that a refusal names.
fn wrong_field(english: &str) -> Option<&'static str> {
    const NAMES: &[(&str, &str)] = &[
        ("Name", "name"),
        ("Effect", "effect"),
        ("Seats", "seats"),
        ("KeyID", "series"),
        ("User", "user"),
        ("Computer", "computer"),
        ("Subnet", "subnet"),
        ("Infobase", "infobase"),
        ("Application", "application"),
        ("Comment", "comment"),
    ];
    // The name of the rule comes first and may be any word.
    let text = english.rsplit_once("\": ").map_or(english, |(_, text)| text);
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric());
    words.find_map(|word| NAMES.iter().find(|(name, _)| *name == word).map(|(_, field)| *field))
}

const fn effect_name(effect: RuleEffect) -> &'static str {
    match effect {
        RuleEffect::Deny => "deny",
        RuleEffect::Limit => "limit",
        RuleEffect::Reserve => "reserve",
    }
}

const fn effect_text(t: Language, effect: RuleEffect) -> &'static str {
    match effect {
        RuleEffect::Deny => t.pick("запретить", "deny"),
        RuleEffect::Limit => t.pick("ограничить", "limit"),
        RuleEffect::Reserve => t.pick("зарезервировать", "reserve"),
    }
}

#[derive(Template)]
#[template(path = "rules.html")]
struct RulesPage {
    frame: Frame,
    t: Language,
    may_change: bool,
    rows: Vec<Row>,
    base: String,
    json: String,
    series: Vec<Choice>,
    effects: Vec<Choice>,
    entered: Entered,
    /// Whether they are those of all nodes of a cluster, and who changed them last.
    is_of_cluster: bool,
    written: Option<String>,
    /// What is wrong with the file of the rules.
    problem: Option<String>,
    wrong: &'static str,
    error: Option<String>,
}

#[derive(Template)]
#[template(path = "rules_check.html")]
struct CheckPage {
    frame: Frame,
    t: Language,
    /// The table of the rules is that of the page, without its buttons.
    may_change: bool,
    is_of_cluster: bool,
    base: String,
    rows: Vec<Row>,
    sessions: usize,
    refused_count: usize,
    refused: Vec<RefusedRow>,
    fields: Vec<(&'static str, String)>,
}

/// A rule as it stands in the table.
struct Row {
    at: usize,
    /// Where it is changed.
    edit: String,
    name: String,
    effect: &'static str,
    seats: String,
    is_enabled: bool,
    is_last: bool,
    about: Vec<(&'static str, String)>,
    comment: String,
}

fn rows(t: Language, rules: &RuleSet) -> Vec<Row> {
    let count = rules.rules.len();
    let row = |(at, rule): (usize, &Rule)| Row {
        at,
        edit: format!("/rules?edit={at}"),
        name: rule.name.clone(),
        effect: effect_text(t, rule.effect),
        seats: rule.seats.map(|seats| seats.to_string()).unwrap_or_default(),
        is_enabled: rule.enabled,
        is_last: at + 1 == count,
        about: about(t, rule),
        comment: rule.comment.clone(),
    };
    rules.rules.iter().enumerate().map(row).collect()
}

/// Whom a rule is about.
fn about(t: Language, rule: &Rule) -> Vec<(&'static str, String)> {
    let all = [
        (t.pick("Серия", "Series"), rule.key_id.map(|series| series.to_string())),
        (t.pick("Пользователь", "User"), rule.user.clone()),
        (t.pick("Компьютер", "Computer"), rule.computer.clone()),
        (t.pick("Адрес", "Address"), rule.subnet.clone()),
        (t.pick("Информационная база", "Infobase"), rule.infobase.clone()),
        (t.pick("Приложение", "Application"), rule.application.clone()),
    ];
    all.into_iter().filter_map(|(label, text)| Some((label, text?))).collect()
}

struct RefusedRow {
    link: String,
    number: String,
    who: String,
    infobase: String,
    application: String,
    rule: String,
}

fn refused_row(refused: &RefusedSession) -> RefusedRow {
    let info = &refused.session.session.info;
    let who = match &info.user_name {
        Some(user) => format!("{user} ({})", info.computer_name),
        None => info.computer_name.clone(),
    };
    RefusedRow {
        link: format!("/sessions/{}", refused.session.id),
        number: info.session_number.clone(),
        who,
        infobase: info.info_base_connection_str.clone(),
        application: info.app_name.clone(),
        rule: refused.rule.clone(),
    }
}

/// What stands in the form of one rule.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Entered {
    op: String,
    at: String,
    name: String,
    effect: String,
    seats: String,
    is_enabled: bool,
    series: String,
    user: String,
    computer: String,
    subnet: String,
    infobase: String,
    application: String,
    comment: String,
    json: String,
}

impl Default for Entered {
    fn default() -> Self {
        Self { op: "add".to_owned(), is_enabled: true, ..Self::of_form(&Form::default()) }
    }
}

impl Entered {
    fn of_form(form: &Form) -> Self {
        let text = |name| form.text(name).unwrap_or("").to_owned();
        let op = text("op");
        // A button beside a rule has no fields to be kept.
        if ["remove", "toggle", "up", "down"].contains(&op.as_str()) {
            return Self::default();
        }
        Self {
            at: text("at"),
            name: text("name"),
            effect: text("effect"),
            seats: text("seats"),
            is_enabled: form.flag("enabled") || op == "set",
            series: text("series"),
            user: text("user"),
            computer: text("computer"),
            subnet: text("subnet"),
            infobase: text("infobase"),
            application: text("application"),
            comment: text("comment"),
            json: text("json"),
            op,
        }
    }

    fn of_rule(at: usize, rule: &Rule) -> Self {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        Self {
            op: "edit".to_owned(),
            at: at.to_string(),
            name: rule.name.clone(),
            effect: effect_name(rule.effect).to_owned(),
            seats: rule.seats.map(|seats| seats.to_string()).unwrap_or_default(),
            is_enabled: rule.enabled,
            series: rule.key_id.map(|series| series.to_string()).unwrap_or_default(),
            user: text(&rule.user),
            computer: text(&rule.computer),
            subnet: text(&rule.subnet),
            infobase: text(&rule.infobase),
            application: text(&rule.application),
            comment: rule.comment.clone(),
            json: String::new(),
        }
    }

    /// Whether the form changes a rule that is there.
    fn is_edit(&self) -> bool {
        self.op == "edit"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(body: &str) -> Form {
        Form::read(body.as_bytes()).unwrap()
    }

    fn rules(names: &[&str]) -> RuleSet {
        let rules = names
            .iter()
            .map(|name| rule(&form(&format!("name={name}&effect=deny&enabled=1&user=x"))).unwrap());
        RuleSet { rules: rules.collect() }
    }

    fn check(body: &str, expected: &[&str]) {
        let wanted = changed(&rules(&["a", "b", "c"]), &form(body)).unwrap();
        let names: Vec<_> = wanted.rules.iter().map(|rule| rule.name.as_str()).collect();
        assert_eq!(names, expected, "{body}");
    }

    #[test]
    fn one_change_is_made_to_the_rules_in_force() {
        check("op=add&name=d&effect=limit&seats=3", &["a", "b", "c", "d"]);
        check("op=edit&at=1&name=B&effect=deny", &["a", "B", "c"]);
        check("op=remove&at=0", &["b", "c"]);
        check("op=up&at=2", &["a", "c", "b"]);
        check("op=up&at=0", &["a", "b", "c"]);
        check("op=down&at=0", &["b", "a", "c"]);
        check("op=down&at=2", &["a", "b", "c"]);
        check("op=set&json={\"Rules\":[]}", &[]);
        let toggled = changed(&rules(&["a"]), &form("op=toggle&at=0")).unwrap();
        assert!(!toggled.rules[0].enabled);
    }

    #[test]
    fn change_that_cannot_be_made_names_what_is_wrong() {
        for (body, named) in [
            ("op=remove&at=3", "no such rule"),
            ("op=remove", "no such rule"),
            ("op=", "op"),
            ("op=add&effect=deny", "Name"),
            ("op=add&name=x", "Effect"),
            ("op=add&name=x&effect=limit&seats=many", "Seats"),
            ("op=add&name=x&effect=deny&series=12", "KeyID"),
            ("op=set&json={", "line 1"),
            ("op=set&json={\"Rules\":[{\"Name\":\"x\",\"Effect\":\"deny\",\"Usr\":\"\"}]}", "Usr"),
        ] {
            let error = changed(&rules(&["a", "b", "c"]), &form(body)).unwrap_err();
            assert_eq!(error.status, 400, "{body}");
            assert!(error.english.contains(named), "{body}: {}", error.english);
        }
    }

    #[test]
    fn field_that_a_refusal_names_is_found() {
        assert_eq!(wrong_field("Seats must be a whole number."), Some("seats"));
        assert_eq!(wrong_field("rule \"night\": Subnet must be a prefix"), Some("subnet"));
        assert_eq!(wrong_field("rule \"User\": Seats is missing"), Some("seats"));
        assert_eq!(wrong_field("something else"), None);
    }

    #[test]
    fn mark_tells_one_set_from_another() {
        assert_eq!(mark(&rules(&["a"])).unwrap(), mark(&rules(&["a"])).unwrap());
        assert_ne!(mark(&rules(&["a", "b"])).unwrap(), mark(&rules(&["b", "a"])).unwrap());
    }

    #[test]
    fn form_of_a_rule_gives_the_rule_back() {
        let all = form(
            "name=n&effect=reserve&seats=2&enabled=1&series=672B&user=u*&computer=c&\
             subnet=10.0.0.0/8&infobase=i&application=1CV8C&comment=x",
        );
        let rule = rule(&all).unwrap();
        let entered = Entered::of_rule(0, &rule);
        assert_eq!(entered.effect, "reserve");
        assert_eq!(
            Entered { op: String::new(), at: String::new(), ..entered },
            Entered::of_form(&all)
        );
        assert_eq!(about(Language::English, &rule).len(), 6);
    }
}
