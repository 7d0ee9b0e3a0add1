//! REST: session keys of ИС МП, address by address.
//!
//! Most addresses are functions of [`crate::ismp::functions`] under another name; here is what of an
//! address becomes a parameter, and which status an answer gets. Lists never hold a key.

use hyper::StatusCode;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use licence_core::time::Utc;
use licence_ismp::directory::{Directory, DirectoryError, Installation, Organization};
use licence_ismp::record::{Source, State, Who};
use licence_ismp::refresh::Refreshing;
use licence_ismp::responsible::{Rule, RuleError};
use licence_ismp::{Inn, StoreKey, TokenFormat, TokenKind, names};
use serde::Serialize;
use serde_json::{Value, json};

use crate::api::errors::ApiError;
use crate::api::params::Params;
use crate::api::routes::Ismp;
use crate::api::{Answer, Call, ismp_replica, json as answer_json};
use crate::config::ComponentAccess;
use crate::ismp::functions::{self, Caller};
use crate::ismp::replica::relay::refuse_on_reserve;
use crate::ismp::{Look, RecordView};

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ListView {
    tokens: Vec<TokenView>,
    refreshing: Vec<RefreshingView>,
    generation: u64,
    problem: Option<String>,
}

/// A key without the key.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct TokenView {
    #[serde(flatten)]
    key: StoreKey,
    valid_until: Utc,
    state: State,
    source: Source,
    format: TokenFormat,
    #[serde(rename = "INN")]
    inn: Option<Inn>,
    user: String,
    infobase: String,
    obtained: Utc,
    fingerprint: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RefreshingView {
    #[serde(flatten)]
    key: StoreKey,
    user: String,
    infobase: String,
    exchanging: bool,
    left_secs: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SettingsView {
    enabled: bool,
    allow_plain_http: bool,
    component_access: &'static str,
    contours: Vec<ContourView>,
    signs_by_command: bool,
    sign_organizations: Vec<Inn>,
    main: Option<String>,
    /// What a reserve of this server takes as `MainPin`.
    pin: Option<String>,
    organizations: Vec<Organization>,
    installations: Vec<Installation>,
    retail_end: Option<Utc>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ContourView {
    name: String,
    true_api: String,
    retail: String,
}

impl From<RecordView> for TokenView {
    fn from(record: RecordView) -> Self {
        let Who { user, infobase, .. } = record.who;
        Self {
            key: record.key,
            valid_until: record.valid_until,
            state: record.state,
            source: record.source,
            format: record.format,
            inn: record.inn,
            user,
            infobase,
            obtained: record.obtained,
            fingerprint: record.fingerprint.to_string(),
        }
    }
}

impl From<(StoreKey, Refreshing)> for RefreshingView {
    fn from((key, refreshing): (StoreKey, Refreshing)) -> Self {
        let Who { user, infobase, .. } = refreshing.who;
        let (exchanging, left_secs) = (refreshing.is_exchanging, refreshing.left.as_secs());
        Self { key, user, infobase, exchanging, left_secs }
    }
}

/// Answers one of these addresses.
pub(crate) async fn answer(call: &Call<'_>, what: Ismp, body: &[u8]) -> Result<Answer, ApiError> {
    match what {
        Ismp::Cancel => cancel(call).await,
        Ismp::Challenge => {
            function(call, body, "RequestAuthorizationParameters", StatusCode::OK).await
        }
        Ismp::ChangeSettings => change_settings(call, body).await,
        Ismp::Complete => function(call, body, "RequestSessionKey", StatusCode::OK).await,
        Ismp::DeleteToken => delete_token(call, body).await,
        Ismp::List => list(call, body).await,
        Ismp::MakeRule => put_rule(call, body, 0).await,
        Ismp::PutRule => put_rule(call, body, rule_id(call)?).await,
        Ismp::PutToken => function(call, body, "SetSessionKey", StatusCode::ACCEPTED).await,
        Ismp::Reject => function(call, body, "RejectSessionKey", StatusCode::OK).await,
        Ismp::Reminders => function(call, body, "Reminders", StatusCode::OK).await,
        Ismp::RemoveRule => remove_rule(call).await,
        Ismp::Replica => ismp_replica::book(call, body).await,
        Ismp::ReplicaGive => ismp_replica::give(call, body).await,
        Ismp::ReplicaRelay => ismp_replica::relay(call, body).await,
        Ismp::Required => function(call, body, "RefreshRequired", StatusCode::OK).await,
        Ismp::Rules => {
            let rules = call.app.ismp.pass(|book, _| book.rules().to_vec()).await?;
            answer_json(StatusCode::OK, &json!({"Rules": rules}))
        }
        Ismp::Settings => settings(call).await,
        Ismp::SettingsOfPerson => function(call, body, "ResponsibleSettings", StatusCode::OK).await,
        Ismp::Snooze => function(call, body, "Snooze", StatusCode::ACCEPTED).await,
        Ismp::Token => token(call, body).await,
        Ismp::Unsnooze => {
            let mut parameters = parameters(call, body)?;
            parameters["Secs"] = 0.into();
            let answered = by_name(call, "Snooze", parameters).await?;
            answer_json(StatusCode::ACCEPTED, &answered)
        }
    }
}

/// Address and body as the parameters of a function. `Type` is short for `TokenType`.
fn parameters(call: &Call<'_>, body: &[u8]) -> Result<Value, ApiError> {
    let mut values = Params::read(call.query, body)?.into_values();
    if let (Some(kind), None) = (values.get("Type").cloned(), values.get("TokenType")) {
        values.insert("TokenType".to_owned(), kind);
    }
    Ok(Value::Object(values))
}

async fn by_name(call: &Call<'_>, name: &str, parameters: Value) -> Result<Value, ApiError> {
    let user = call.actor.name.clone();
    let caller = Caller { actor: call.actor.clone(), who: Who { user, ..Who::default() } };
    Box::pin(functions::call(call.app, &caller, name, parameters, call.language)).await
}

async fn function(
    call: &Call<'_>,
    body: &[u8],
    name: &str,
    status: StatusCode,
) -> Result<Answer, ApiError> {
    let answered = by_name(call, name, parameters(call, body)?).await?;
    answer_json(status, &answered)
}

/// `GET /api/ismp/token`: in an address the deadline is called `ValidUntil`.
async fn token(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let mut parameters = parameters(call, body)?;
    if let Some(deadline) = parameters.get("ValidUntil").cloned() {
        parameters["Deadline"] = deadline;
    }
    let is_text =
        parameters.get("Format").and_then(Value::as_str) == Some("text") || wants_text(call);
    let answered = by_name(call, "CurrentSessionKey", parameters).await?;
    let Some(key) = answered["SessionKey"].as_str() else { return Err(no_key()) };
    if !is_text {
        return answer_json(StatusCode::OK, &answered);
    }
    let mut answer = Answer::new(key.as_bytes().to_vec().into());
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    answer.headers_mut().insert(CONTENT_TYPE, plain);
    Ok(answer)
}

fn wants_text(call: &Call<'_>) -> bool {
    call.headers.get_all(ACCEPT).iter().any(|value| {
        value.to_str().is_ok_and(|value| value.to_ascii_lowercase().starts_with("text/plain"))
    })
}

async fn delete_token(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let request = parameters(call, body)?;
    let request = match request.get("RequestParameters") {
        Some(inner @ Value::Object(_)) => inner.clone(),
        _ => request,
    };
    let parameters =
        json!({"RequestParameters": request, "SessionKeyParameters": {"SessionKey": ""}});
    let answered = by_name(call, "SetSessionKey", parameters).await?;
    if answered["Removed"] != true {
        return Err(no_key());
    }
    answer_json(StatusCode::ACCEPTED, &json!({"Removed": true}))
}

async fn cancel(call: &Call<'_>) -> Result<Answer, ApiError> {
    let answered = by_name(call, "CancelRefresh", json!({"Id": call.argument})).await?;
    if answered["Cancelled"] != true {
        return Err(ApiError::not_found(call.path));
    }
    answer_json(StatusCode::ACCEPTED, &answered)
}

async fn list(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let wanted = parameters(call, body)?;
    let kind = match wanted.get("TokenType").and_then(Value::as_str) {
        None | Some("") => None,
        Some(text) => Some(text.parse::<TokenKind>().map_err(|error| {
            wrong(
                format!("TokenType: {error}."),
                "TokenType: ожидается SUZ, ISMP или ISMPRetail (СУЗ, ИСМП, ИСМПРозница).",
            )
        })?),
    };
    let Look { records, refreshing, directory, generation, problem, .. } =
        call.app.ismp.look().await?;
    let inn = match wanted.get("Organization").and_then(Value::as_str) {
        None | Some("") => None,
        Some(text) => Some(directory.inn_of(text).map_err(|error| {
            wrong(
                format!("Organization: {error}."),
                "Organization: ожидается ИНН из 10 или 12 цифр или имя организации из настроек.",
            )
        })?),
    };
    let fits = |key: &StoreKey| {
        kind.is_none_or(|kind| kind == key.kind)
            && inn.as_ref().is_none_or(|inn| *inn == key.organization)
    };
    let view = ListView {
        tokens: records.into_iter().filter(|one| fits(&one.key)).map(TokenView::from).collect(),
        refreshing: refreshing
            .into_iter()
            .filter(|(key, _)| fits(key))
            .map(RefreshingView::from)
            .collect(),
        generation,
        problem: problem.map(|text| call.language.pick(&text.russian, &text.english).to_owned()),
    };
    answer_json(StatusCode::OK, &view)
}

async fn settings(call: &Call<'_>) -> Result<Answer, ApiError> {
    let directory = call.app.ismp.pass(|book, _| book.directory().clone()).await?;
    answer_json(StatusCode::OK, &settings_view(call, directory))
}

fn settings_view(call: &Call<'_>, directory: Directory) -> SettingsView {
    let ismp = &call.app.settings.get().ismp;
    let Directory { organizations, installations, retail_end } = directory;
    SettingsView {
        enabled: ismp.enabled,
        allow_plain_http: ismp.allow_plain_http,
        component_access: match ismp.component_access {
            ComponentAccess::Seat => "seat",
            ComponentAccess::Token => "token",
        },
        contours: ismp
            .contours
            .iter()
            .map(|(name, addresses)| ContourView {
                name: name.to_string(),
                true_api: addresses.true_api.clone(),
                retail: addresses.retail.clone(),
            })
            .collect(),
        signs_by_command: !ismp.sign_command.is_empty(),
        sign_organizations: ismp.sign_organizations.clone(),
        main: ismp.main.clone(),
        pin: call.app.certificates.pin(),
        organizations,
        installations,
        retail_end,
    }
}

/// Organisations, installations and the end of keys for cash desks; what does not stand in the body
/// stays as it is, and what the conf file says is not changed here.
async fn change_settings(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    refuse_on_reserve(call.app)?;
    let Value::Object(values) = names::english(parameters(call, body)?) else {
        return Err(ApiError::internal());
    };
    let named: serde_json::Map<String, Value> = values
        .into_iter()
        .filter(|(name, _)| {
            matches!(name.as_str(), "Installations" | "Organizations" | "RetailEnd")
        })
        .collect();
    let given: Directory =
        serde_json::from_value(Value::Object(named.clone())).map_err(wrong_form)?;
    let changed = call.app.ismp.change(move |book, _| {
        let mut directory = book.directory().clone();
        if named.contains_key("Organizations") {
            directory.organizations = given.organizations;
        }
        if named.contains_key("Installations") {
            directory.installations = given.installations;
        }
        if named.contains_key("RetailEnd") {
            directory.retail_end = given.retail_end;
        }
        book.set_directory(directory).map(|()| book.directory().clone())
    });
    let directory = changed.await?.map_err(|error| directory_error(&error))?;
    let said = format!(
        "{} organizations, {} installations",
        directory.organizations.len(),
        directory.installations.len()
    );
    call.app.ismp.audit("ismp_settings", String::new(), said, &call.actor).await;
    answer_json(StatusCode::ACCEPTED, &settings_view(call, directory))
}

fn rule_id(call: &Call<'_>) -> Result<u32, ApiError> {
    // What is no number is no rule's: not found, like any other unknown one.
    let id = call.argument.parse().ok().filter(|id| *id > 0);
    id.ok_or_else(|| ApiError::not_found(call.path))
}

/// Makes a rule (`id` 0) or changes one.
async fn put_rule(call: &Call<'_>, body: &[u8], id: u32) -> Result<Answer, ApiError> {
    refuse_on_reserve(call.app)?;
    let rule: Rule =
        serde_json::from_value(names::english(parameters(call, body)?)).map_err(wrong_form)?;
    let rule = Rule { id, ..rule };
    let put = rule.clone();
    let stored = call.app.ismp.change(move |book, _| book.put_rule(put)).await?;
    let Some(own) = stored.map_err(rule_error)? else {
        return Err(if id == 0 { too_many_rules() } else { ApiError::not_found(call.path) });
    };
    let people: Vec<_> = rule.people.iter().map(|person| person.user.as_str()).collect();
    call.app.ismp.audit("ismp_rules", own.to_string(), people.join(", "), &call.actor).await;
    let status = if id == 0 { StatusCode::CREATED } else { StatusCode::ACCEPTED };
    answer_json(status, &Rule { id: own, ..rule })
}

async fn remove_rule(call: &Call<'_>) -> Result<Answer, ApiError> {
    refuse_on_reserve(call.app)?;
    let id = rule_id(call)?;
    if !call.app.ismp.change(move |book, _| book.remove_rule(id)).await? {
        return Err(ApiError::not_found(call.path));
    }
    call.app.ismp.audit("ismp_rules", id.to_string(), "removed".to_owned(), &call.actor).await;
    answer_json(StatusCode::ACCEPTED, &json!({"Id": id}))
}

fn no_key() -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "EIsmpNoSessionKey",
        "There is no session key that lives so long.",
        "Нет ключа сессии, который действует до этого срока.",
    )
}

/// 400 `EParams`.
fn wrong(english: impl Into<String>, russian: impl Into<String>) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "EParams", english, russian)
}

fn wrong_form(error: serde_json::Error) -> ApiError {
    wrong(
        format!("The request body is not of the form: {error}."),
        format!("Тело запроса неверной формы: {error}."),
    )
}

fn too_many_rules() -> ApiError {
    ApiError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "ELimit",
        "There are too many rules; remove one.",
        "Правил слишком много; удалите лишние.",
    )
}

pub(crate) fn rule_error(error: RuleError) -> ApiError {
    let russian = match error {
        RuleError::NotifySecs => "NotifySecs: напоминать можно не раньше чем за 9 часов",
        RuleError::People => "People: в правиле от 1 до 100 человек",
        RuleError::Person => "User: имя — от 1 до 128 видимых символов",
        RuleError::ProductionObject => "ProductionObject бывает только у ключей СУЗ",
        RuleError::Retail => "TokenType: о ключах для розницы напоминаний нет",
        _ => "правило не принято",
    };
    wrong(format!("The rule is not taken: {error}."), format!("Правило не принято. {russian}."))
}

pub(crate) fn directory_error(error: &DirectoryError) -> ApiError {
    let russian = match error {
        DirectoryError::Name(name) => {
            format!("Name: не более 128 видимых символов: {name}")
        }
        DirectoryError::Stray(inn) => {
            format!("Installations: организации {inn} нет в Organizations")
        }
        DirectoryError::TooMany => "не более 500 организаций и 1000 установок".to_owned(),
        DirectoryError::Twice(name) => format!("указано дважды: {name}"),
        _ => "неверное значение".to_owned(),
    };
    wrong(
        format!("The organizations are not taken: {error}."),
        format!("Организации не приняты: {russian}."),
    )
}
