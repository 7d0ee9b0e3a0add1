//! The functions by their names: one dispatcher for REST and for components.
//!
//! Reads parameters in either language and answers with English names. The service's failures are a
//! normal answer with `ErrorText`; errors are only those of this server and of its caller. How a key
//! is got stands in [`super::refresh`].

mod read;

use std::time::Duration;

use hyper::StatusCode;
use licence_core::language::Language;
use licence_ismp::book::{FullError, Given, Outcome, RECORDS_MAX, Stale};
use licence_ismp::exchange::plain_signature;
use licence_ismp::record::Who;
use licence_ismp::reminder::{SNOOZE_SECS, SNOOZE_SECS_MAX};
use licence_ismp::responsible::{Known, Setting, settings};
use licence_ismp::validity::{LIFE_MAX, default_deadline, end_of_typed};
use licence_ismp::{Inn, SessionKey, Source, StoreKey, TokenFormat, TokenKind, Wish, jwt, names};
use serde_json::{Value, json};

pub use self::read::Parameters;
use self::read::{TypedDate, key_error, required, wish_error, wrong};
use super::Ismp;
use super::refresh::{Challenged, Required, WAIT_SECS_MAX};
use super::{replica, texts};
use crate::access::Actor;
use crate::api::App;
use crate::api::errors::ApiError;

/// Most rows of settings in one question: every kind for every organisation and installation.
const SETTINGS_MAX: usize = 2500;

/// Who calls a function.
#[derive(Clone, Debug)]
pub struct Caller {
    /// For the audit trail.
    pub actor: Actor,
    /// For the lease, and for whoever waits for it: user and infobase by the caller's word, the
    /// session with a seat where there is one.
    pub who: Who,
}

/// Calls a function by its English name. May take as long as `WaitSeconds` says, and 60 s and more
/// where the service is asked.
///
/// # Errors
///
/// 400 for parameters that cannot be and for a function that is none, 503.
pub async fn call(
    app: &App,
    caller: &Caller,
    function: &str,
    parameters: Value,
    language: Language,
) -> Result<Value, ApiError> {
    let elsewhere = replica::relay::instead(app, caller, function, &parameters, language);
    if let Some(answer) = Box::pin(elsewhere).await? {
        return Ok(answer);
    }
    let parameters = Parameters::of(parameters)?;
    let desk = Desk { ismp: &app.ismp, app, caller, language };
    match function {
        "CancelRefresh" => desk.cancel(&parameters).await,
        "CurrentSessionKey" => desk.current(&parameters).await,
        "RefreshRequired" => desk.required(&parameters).await,
        "RejectSessionKey" => desk.reject(&parameters).await,
        "Reminders" => desk.reminders(&parameters).await,
        "RequestAuthorizationParameters" => desk.challenge(&parameters).await,
        "RequestSessionKey" => desk.complete(&parameters).await,
        "ResponsibleSettings" => desk.settings(&parameters).await,
        "SetSessionKey" => desk.set(&parameters).await,
        "Snooze" => desk.snooze(&parameters).await,
        _ => Err(unknown(function)),
    }
}

/// Whether a key that is kept answers `RefreshRequired` with these parameters at once.
///
/// # Errors
///
/// As [`call`].
pub(super) async fn is_fresh(app: &App, parameters: &Value) -> Result<bool, ApiError> {
    let parameters = Parameters::of(parameters.clone())?;
    let (key, deadline) = (key_of(&app.ismp, &parameters).await?, parameters.deadline()?);
    let answered = app.ismp.pass(move |book, now| {
        let deadline = deadline.unwrap_or_else(|| default_deadline(now.utc));
        book.need(&key, deadline, now.mono)
    });
    Ok(answered.await? == licence_ismp::book::Need::Fresh)
}

/// One call of a function.
struct Desk<'a> {
    ismp: &'a Ismp,
    app: &'a App,
    caller: &'a Caller,
    language: Language,
}

impl Desk<'_> {
    /// `ТекущийКлючСессии`.
    async fn current(&self, parameters: &Parameters) -> Result<Value, ApiError> {
        let wish = wish_of(self.ismp, parameters).await?;
        // СУЗ keeps no key for an organisation as a whole.
        if wish.kind == TokenKind::Suz {
            wish.key().map_err(|error| key_error(&error))?;
        }
        let deadline = parameters.deadline()?;
        let found = self.ismp.pass(move |book, now| {
            let deadline = deadline.unwrap_or_else(|| default_deadline(now.utc));
            book.current(&wish, deadline).map(|(key, record)| (key.clone(), record.clone()))
        });
        Ok(match found.await? {
            None => json!({"SessionKey": null}),
            Some((key, record)) => json!({
                "SessionKey": record.token.reveal(),
                "ValidUntil": record.valid_until,
                "INN": record.inn.unwrap_or(key.organization),
                "State": record.state,
            }),
        })
    }

    /// The three `ТребуетсяОбновлениеКлючаСессии…`.
    async fn required(&self, parameters: &Parameters) -> Result<Value, ApiError> {
        let key = key_of(self.ismp, parameters).await?;
        let deadline = parameters.deadline()?;
        let deadline = deadline.unwrap_or_else(|| default_deadline(crate::clock::utc()));
        let wait = parameters.number("WaitSeconds", WAIT_SECS_MAX)?.unwrap_or(0);
        let required = self.ismp.required(&key, deadline, Duration::from_secs(wait)).await?;
        Ok(match required {
            Required::Fresh => json!({"Required": false, "Reason": "fresh"}),
            Required::Stale(Stale::Ending) => json!({"Required": true, "Reason": "ending"}),
            Required::Stale(Stale::Missing) => json!({"Required": true, "Reason": "missing"}),
            Required::Busy(refreshing) => json!({
                "Required": true,
                "Reason": "busy",
                "Refreshing": {
                    "User": refreshing.who.user,
                    "Infobase": refreshing.who.infobase,
                    "LeftSecs": texts::secs_up(refreshing.left),
                },
            }),
        })
    }

    /// `ЗапроситьПараметрыАвторизации`; with a deadline only when no key lives beyond it.
    async fn challenge(&self, parameters: &Parameters) -> Result<Value, ApiError> {
        let key = key_of(self.ismp, parameters).await?;
        let who = self.who(parameters)?;
        let deadline = parameters.deadline()?;
        Ok(match self.ismp.challenge(&key, who, deadline).await? {
            Challenged::Given { challenge, is_united, lease } => json!({
                "AuthorizationParameters": {
                    "Id": challenge.id,
                    "Data": challenge.data,
                    "INN": key.organization,
                    "UnitedToken": is_united,
                },
                "ErrorText": "",
                "LeaseSecs": lease.as_secs(),
            }),
            Challenged::Failed(text) => json!({
                "AuthorizationParameters": null,
                "ErrorText": texts::pick(&text, self.language),
                "LeaseSecs": 0,
            }),
        })
    }

    /// `ЗапроситьКлючСессии`.
    async fn complete(&self, parameters: &Parameters) -> Result<Value, ApiError> {
        let key = key_of(self.ismp, parameters).await?;
        let who = self.who(parameters)?;
        let authorization = parameters.object("AuthorizationParameters")?;
        let id = authorization.as_ref().map(|of| of.text("Id")).transpose()?.flatten();
        let id = id.ok_or_else(|| required("AuthorizationParameters.Id"))?;
        let signature = parameters.signature()?;
        let signature = plain_signature(&signature).ok_or_else(|| {
            wrong(
                "SignatureProperties.Signature must be base64 of at most 256 KiB.",
                "SignatureProperties.Signature: ожидается base64 не длиннее 256 КиБ.",
            )
        })?;
        let outcome = self.ismp.complete(&key, &id, signature, who, &self.caller.actor).await?;
        let (given, text) = match outcome {
            Outcome::Given { token, valid_until, inn, warning } => {
                let given = json!({
                    "SessionKey": token.reveal(),
                    "ValidUntil": valid_until,
                    "INN": inn.unwrap_or(key.organization),
                });
                (given, warning.unwrap_or_default())
            }
            Outcome::Failed(text) => (Value::Null, text),
        };
        // The source document names the field both ways.
        Ok(json!({
            "SessionKeyParameters": given,
            "Result": given,
            "ErrorText": texts::pick(&text, self.language),
        }))
    }

    async fn cancel(&self, parameters: &Parameters) -> Result<Value, ApiError> {
        let id = parameters.text("Id")?.ok_or_else(|| required("Id"))?;
        let is_cancelled = self.ismp.step(move |book, _| book.cancel(&id)).await?;
        Ok(json!({"Cancelled": is_cancelled}))
    }

    /// `УстановитьКлючСессии`.
    async fn set(&self, parameters: &Parameters) -> Result<Value, ApiError> {
        let key = key_of(self.ismp, parameters).await?;
        let given = parameters.object("SessionKeyParameters")?;
        let given = given.as_ref().unwrap_or(parameters);
        // An empty key deletes; one that was forgotten does not.
        if !given.has("SessionKey") {
            return Err(required("SessionKeyParameters.SessionKey"));
        }
        let token = given.text("SessionKey")?;
        let typed = given.date("ValidUntil")?;
        let Some(token) = token.filter(|_| typed != TypedDate::Empty) else {
            return self.delete(key).await;
        };
        let token = SessionKey::new(&token).map_err(|error| {
            wrong(
                format!("SessionKey: {error}."),
                "SessionKey: ожидается непустой текст из видимых символов ASCII, не длиннее 16 КиБ.",
            )
        })?;
        let inn = match given.text("INN")? {
            Some(text) => Some(text.parse::<Inn>().map_err(|error| key_error(&error))?),
            None => None,
        };
        let who = self.who(parameters)?;
        let own = key.clone();
        let stored = self.ismp.change(move |book, now| {
            let retail_end = book.directory().retail_end;
            let named = match typed {
                TypedDate::At(at) => Some(at),
                TypedDate::Absent | TypedDate::Empty => {
                    end_of_typed(own.kind, token.reveal(), retail_end)
                }
            };
            let named = named.ok_or(SetError::NoDate)?;
            let valid_until = match own.kind {
                TokenKind::Ismp | TokenKind::Suz => named.min(now.utc.after(LIFE_MAX)),
                TokenKind::IsmpRetail => retail_end.map_or(named, |last| named.min(last)),
            };
            let is_jwt = own.kind != TokenKind::Suz && jwt::claims(token.reveal()).is_some();
            let fingerprint = token.fingerprint();
            let given = Given {
                token,
                valid_until,
                inn: Some(inn.unwrap_or_else(|| own.organization.clone())),
                format: if is_jwt { TokenFormat::Jwt } else { TokenFormat::Uuid },
                source: Source::Manual,
                who,
                asked: now.utc,
                warning: None,
            };
            book.set(&own, given)?;
            Ok::<_, SetError>((fingerprint, valid_until))
        });
        let (fingerprint, valid_until) = stored.await??;
        let note = format!("{fingerprint}, until {valid_until}");
        self.ismp.audit("ismp_set", key.to_string(), note, &self.caller.actor).await;
        Ok(json!({
            "Stored": true,
            "ValidUntil": valid_until,
            "Fingerprint": fingerprint.to_string(),
        }))
    }

    async fn delete(&self, key: StoreKey) -> Result<Value, ApiError> {
        let own = key.clone();
        let is_removed = self.ismp.change(move |book, _| book.remove(&own)).await?;
        if is_removed {
            let actor = &self.caller.actor;
            self.ismp.audit("ismp_delete", key.to_string(), String::new(), actor).await;
        }
        Ok(json!({"Stored": false, "Removed": is_removed}))
    }

    /// The service has answered 401 to a key.
    async fn reject(&self, parameters: &Parameters) -> Result<Value, ApiError> {
        let key = key_of(self.ismp, parameters).await?;
        let token = parameters.text("SessionKey")?.ok_or_else(|| required("SessionKey"))?;
        // What cannot be a key is none that is kept.
        let Ok(token) = SessionKey::new(&token) else { return Ok(json!({"Removed": false})) };
        let (own, fingerprint) = (key.clone(), token.fingerprint());
        let is_removed = self.ismp.change(move |book, _| book.reject(&own, &token)).await?;
        if is_removed {
            self.ismp.may_renew_again(&key);
            let (note, actor) = (fingerprint.to_string(), &self.caller.actor);
            self.ismp.audit("ismp_reject", key.to_string(), note, actor).await;
        }
        Ok(json!({"Removed": is_removed}))
    }

    /// `НастройкиОтветственногоЗаАктуализациюТокеновАвторизации`.
    async fn settings(&self, parameters: &Parameters) -> Result<Value, ApiError> {
        let user = self.user(parameters)?;
        let for_view = parameters.flag("ForView")?;
        let certified = parameters.texts("Organizations")?;
        let rows = self.rows(user, for_view, certified).await?;
        serde_json::to_value(rows).map_err(|error| ApiError::broken(&error))
    }

    async fn rows(
        &self,
        user: String,
        for_view: bool,
        certified: Option<Vec<String>>,
    ) -> Result<Vec<Setting>, ApiError> {
        let ismp = self.app.settings.get().ismp.clone();
        self.ismp
            .pass(move |book, _| {
                let directory = book.directory();
                let organizations: Vec<Inn> =
                    directory.organizations.iter().map(|of| of.inn.clone()).collect();
                let installations: Vec<_> = directory
                    .installations
                    .iter()
                    .map(|of| (of.organization.clone(), of.oms_connection.clone()))
                    .collect();
                // An organisation that nobody knows here has no rows anyway.
                let certified: Option<Vec<Inn>> = certified.map(|names| {
                    names.iter().filter_map(|name| directory.inn_of(name).ok()).collect()
                });
                let signed: Vec<Inn> =
                    organizations.iter().filter(|inn| ismp.signs_for(inn)).cloned().collect();
                let known = Known {
                    organizations: &organizations,
                    with_certificate: certified.as_deref(),
                    installations: &installations,
                    signed_by_server: &signed,
                };
                settings(book.rules(), &user, for_view, known)
            })
            .await
    }

    /// `ПолучитьНапоминанияОтветственномуЗаАктуализациюТокеновАвторизации`.
    async fn reminders(&self, parameters: &Parameters) -> Result<Value, ApiError> {
        let user = self.user(parameters)?;
        let contour = parameters.text("Contour")?.map_or_else(
            || Ok(Default::default()),
            |text| text.parse().map_err(|error| key_error(&error)),
        )?;
        let rows: Vec<Setting> = match parameters.value("Settings") {
            None => self.rows(user.clone(), false, None).await?,
            Some(value) => serde_json::from_value(value.clone()).map_err(|error| {
                wrong(
                    format!("Settings must be the rows of ResponsibleSettings: {error}."),
                    format!("Settings: ожидаются строки ResponsibleSettings: {error}."),
                )
            })?,
        };
        if rows.len() > SETTINGS_MAX {
            return Err(wrong(
                format!("Settings has more than {SETTINGS_MAX} rows."),
                format!("В Settings больше {SETTINGS_MAX} строк."),
            ));
        }
        let found =
            self.ismp.pass(move |book, now| book.reminders(&contour, &user, &rows, now.utc));
        serde_json::to_value(found.await?).map_err(|error| ApiError::broken(&error))
    }

    async fn snooze(&self, parameters: &Parameters) -> Result<Value, ApiError> {
        let user = self.user(parameters)?;
        let secs = parameters.number("Secs", u64::from(SNOOZE_SECS_MAX))?;
        let secs = secs.unwrap_or_else(|| u64::from(SNOOZE_SECS));
        let until = self.ismp.change(move |book, now| {
            let until = (secs > 0).then(|| now.utc.after(Duration::from_secs(secs)));
            book.snooze(&user, until, now.utc);
            until
        });
        Ok(json!({"Until": until.await?}))
    }

    /// The user that is meant: by the caller's word, else the caller.
    fn user(&self, parameters: &Parameters) -> Result<String, ApiError> {
        Ok(self.who(parameters)?.user)
    }

    fn who(&self, parameters: &Parameters) -> Result<Who, ApiError> {
        let Who { user, infobase, session } = self.caller.who.clone();
        let named = |name| parameters.short_text(name);
        Ok(Who {
            user: named("User")?.unwrap_or(user),
            infobase: named("Infobase")?.unwrap_or(infobase),
            session,
        })
    }
}

/// Why a key that somebody gave is not kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum SetError {
    NoDate,
    Full,
}

impl From<FullError> for SetError {
    fn from(_: FullError) -> Self {
        Self::Full
    }
}

impl From<SetError> for ApiError {
    fn from(error: SetError) -> Self {
        match error {
            SetError::NoDate => wrong(
                "ValidUntil is required: this key does not say when it ends.",
                "Укажите срок действия (ValidUntil): в самом ключе его нет.",
            ),
            SetError::Full => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "ELimit",
                format!("There are {RECORDS_MAX} session keys already."),
                format!("Уже хранится {RECORDS_MAX} ключей сессии."),
            ),
        }
    }
}

async fn wish_of(ismp: &Ismp, parameters: &Parameters) -> Result<Wish, ApiError> {
    let request = parameters.request();
    let wish = ismp.pass(move |book, _| names::wish(&request, book.directory())).await?;
    wish.map_err(|error| wish_error(&error))
}

/// The one key that is meant.
async fn key_of(ismp: &Ismp, parameters: &Parameters) -> Result<StoreKey, ApiError> {
    wish_of(ismp, parameters).await?.key().map_err(|error| key_error(&error))
}

fn unknown(function: &str) -> ApiError {
    // A name that is too long is nobody's function.
    let shown: String = function.chars().filter(|c| !c.is_control()).take(40).collect();
    ApiError::new(
        StatusCode::BAD_REQUEST,
        "EIsmpNoFunction",
        format!("There is no function {shown} of session keys."),
        format!("Функции {shown} для ключей сессии нет."),
    )
}
