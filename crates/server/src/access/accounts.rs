//! Users, passwords and tokens: who there is, and how they come and go.
//!
//! The REST API and the console call the same functions. All of it lives in `licenceserver.conf`,
//! so a change is a change of settings; each leaves a line in the audit trail. No password and no
//! token is ever in either but as a hash.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::StatusCode;
use licence_core::seal::hex_upper;
use licence_core::time::Utc;

use crate::access::auth::{self, TOKEN_PREFIX, token_digest};
use crate::access::{Actor, Role, Via, passwords};
use crate::api::App;
use crate::api::errors::ApiError;
use crate::clock;
use crate::config::{Config, Password, Scope};
use crate::driver::AuditNote;
use crate::random;
use crate::settings::Edit;

/// Most characters of a name.
pub const NAME_CHARS_MAX: usize = 64;

/// Users beside the administrator of `[Console]`: a file of them stays readable.
pub const USERS_MAX: usize = 200;

/// Tokens at one time; each request with one is compared with all of them.
pub const TOKENS_MAX: usize = 100;

/// Days that a token lives when nobody says how long.
pub const TOKEN_DAYS: u32 = 90;

/// Most days that a token lives.
pub const TOKEN_DAYS_MAX: u32 = 366;

/// Random bytes of a token: more than anyone can guess.
const TOKEN_BYTES: usize = 32;

/// A user as it is shown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UserLine {
    /// The name.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// Whether their password is the one of the manual.
    pub has_default_password: bool,
}

/// A token as it is shown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TokenLine {
    /// Public id.
    pub id: String,
    /// What the administrator calls it.
    pub name: String,
    /// What it may be used for.
    pub scope: Scope,
    /// The end of its life.
    pub expires: Utc,
    /// Whether that is over.
    pub is_expired: bool,
}

/// A token that was made; the secret is shown once. Its `Debug` form does not show it.
#[derive(Clone, Eq, PartialEq)]
pub struct Made {
    /// Public id.
    pub id: String,
    /// What a caller sends.
    pub secret: String,
    /// The end of its life.
    pub expires: Utc,
}

impl std::fmt::Debug for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Made({}, ***, {})", self.id, self.expires)
    }
}

/// All users; the administrator of `[Console]` is the first.
pub fn users(app: &App) -> Vec<UserLine> {
    let config = app.settings.get();
    let first = UserLine {
        name: config.console.user_name.clone(),
        role: Role::Administrator,
        has_default_password: config.has_default_password(),
    };
    let others = config.parts.users.iter().map(|user| UserLine {
        name: user.name.clone(),
        role: user.role,
        has_default_password: false,
    });
    // A line of [Users] with the administrator's name counts for nothing.
    let others = others.filter(|user| user.name != first.name);
    std::iter::once(first.clone()).chain(others).collect()
}

/// All tokens.
pub fn tokens(app: &App) -> Vec<TokenLine> {
    let now = clock::utc();
    let config = app.settings.get();
    let line = |token: &crate::config::Token| TokenLine {
        id: token.id.clone(),
        name: token.name.clone(),
        scope: token.scope,
        expires: token.expires,
        is_expired: token.expires <= now,
    };
    config.parts.tokens.iter().map(line).collect()
}

/// The published name of a scope.
pub const fn scope_name(scope: Scope) -> &'static str {
    match scope {
        Scope::Ismp => "ismp",
        Scope::Metrics => "metrics",
        Scope::Role(role) => role.name(),
    }
}

/// Reads the published name of a scope.
pub fn scope_named(name: &str) -> Option<Scope> {
    match name {
        "ismp" => Some(Scope::Ismp),
        "metrics" => Some(Scope::Metrics),
        role => role.parse().ok().map(Scope::Role),
    }
}

/// Makes a user, or changes one: without a password theirs stays. True when it is a new one.
///
/// # Errors
///
/// 400 for a name or password that cannot be, 403 for a smaller role of oneself or of the
/// administrator of `[Console]`, 500 when it cannot be written.
pub async fn put_user(
    app: &App,
    name: &str,
    role: Role,
    password: Option<&str>,
    actor: &Actor,
) -> Result<bool, ApiError> {
    let config = app.settings.get();
    if password.is_some() && is_own(actor, name) {
        return Err(ApiError::forbidden(
            "Password: change your own with PUT /api/password or at /password, where the present one \
             is asked for.",
            "Password: свой пароль меняется через PUT /api/password или на странице /password, где \
             спрашивается текущий.",
        ));
    }
    let is_new = match auth::account(&config, name) {
        Some(account) => {
            let is_first = name == config.console.user_name;
            if role < account.role && (is_first || is_own(actor, name)) {
                return Err(stays(name));
            }
            false
        }
        None => {
            check_name(&config, name)?;
            true
        }
    };
    let hash = match password {
        Some(password) => {
            passwords::check_rules(name, password)?;
            Some(app.auth.passwords.hash(password).await?)
        }
        None if is_new => {
            return Err(ApiError::bad_request(
                "Password: a new user needs one.",
                "Password: новому пользователю нужен пароль.",
            ));
        }
        None => None,
    };
    let (user, own, given) = (name.to_owned(), is_own(actor, name), hash.clone());
    // By the settings at that moment: hashing has taken a while, and a password or a role that was
    // changed meanwhile must not come back.
    let make = move |config: &Config| {
        let account = auth::account(config, &user);
        match &account {
            Some(_) if is_new => return Err(name_taken()),
            Some(account) => {
                let is_first = user == config.console.user_name;
                if role < account.role && (is_first || own) {
                    return Err(stays(&user));
                }
            }
            None if is_new => check_name(config, &user)?,
            None => return Err(not_there(&user)),
        }
        if user == config.console.user_name {
            let password = given.iter().map(|hash| Edit::set("Console", "Password", hash));
            return Ok(password.collect());
        }
        let kept = || config.parts.users.iter().find(|other| other.name == user).map(stored);
        let stored = given.clone().or_else(kept).ok_or_else(|| not_there(&user))?;
        Ok(vec![Edit::set("Users", &user, format!("{role};{stored}"))])
    };
    app.settings.change_off_thread_with(make, actor).await?;
    if hash.is_some() {
        app.auth.password_changed(&app.settings, name, actor);
    }
    let and_password = if hash.is_some() { ", password" } else { "" };
    note(app, "user_put", name, format!("{role}{and_password}"), actor).await;
    Ok(is_new)
}

/// Takes a user out.
///
/// # Errors
///
/// 404 for nobody, 403 for oneself and for the administrator of `[Console]`.
pub async fn remove_user(app: &App, name: &str, actor: &Actor) -> Result<(), ApiError> {
    let config = app.settings.get();
    let account = auth::account(&config, name).ok_or_else(|| not_there(name))?;
    if is_own(actor, name) || name == config.console.user_name {
        return Err(stays(name));
    }
    let role = account.role;
    app.settings.change_off_thread(vec![Edit::remove("Users", name)], actor).await?;
    note(app, "user_remove", name, role.to_string(), actor).await;
    Ok(())
}

/// Changes the password of whoever asks; their other logins end. Where the console asks nobody who
/// they are, it is the password of the administrator of `[Console]`.
///
/// # Errors
///
/// 400 for a password that cannot be, 403 when the old one is wrong or for a token, 429 after too
/// many wrong ones.
pub async fn change_password(
    app: &App,
    actor: &Actor,
    old: &str,
    new: &str,
) -> Result<(), ApiError> {
    let config = app.settings.get();
    let name = match actor.via {
        Via::Token => {
            return Err(ApiError::forbidden(
                "A token has no password to change.",
                "У токена нет пароля.",
            ));
        }
        Via::Nothing if actor.role == Role::Administrator => config.console.user_name.as_str(),
        Via::Node | Via::Nothing => return Err(ApiError::unauthorized()),
        Via::Basic | Via::Component | Via::Login { .. } | Via::Server => actor.name.as_str(),
    };
    let account = auth::account(&config, name).ok_or_else(|| not_there(name))?;
    let may_try = || app.auth.may_try(actor.peer);
    may_try()?;
    let old = old.as_bytes().to_vec();
    let checked = app.auth.passwords.check(Some(account.password), old, may_try).await?;
    if !checked.is_right {
        app.auth.wrong(app, actor.peer).await;
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "EPasswordWrong",
            "The present password is wrong.",
            "Текущий пароль неверен.",
        ));
    }
    // The hash below needs a turn as well.
    drop(checked);
    passwords::check_rules(name, new)?;
    let hash = app.auth.passwords.hash(new).await?;
    let user = name.to_owned();
    // A role that was taken away meanwhile stays so.
    let make = move |config: &Config| {
        if user == config.console.user_name {
            return Ok(vec![Edit::set("Console", "Password", &hash)]);
        }
        let account = auth::account(config, &user).ok_or_else(|| not_there(&user))?;
        Ok(vec![Edit::set("Users", &user, format!("{};{hash}", account.role))])
    };
    app.settings.change_off_thread_with(make, actor).await?;
    app.auth.password_changed(&app.settings, name, actor);
    note(app, "password_change", name, String::new(), actor).await;
    Ok(())
}

/// Makes a token; `expires` of nothing is in [`TOKEN_DAYS`] days.
///
/// # Errors
///
/// 400 for a name or an end that cannot be, or when there are too many.
pub async fn make_token(
    app: &App,
    name: &str,
    scope: Scope,
    expires: Option<Utc>,
    actor: &Actor,
) -> Result<Made, ApiError> {
    check_text("Name", name)?;
    let now = clock::utc();
    let expires = expires.unwrap_or_else(|| now.plus_days(TOKEN_DAYS));
    if expires <= now || expires > now.plus_days(TOKEN_DAYS_MAX) {
        return Err(ApiError::bad_request(
            format!("Expires: a token lives for 1 to {TOKEN_DAYS_MAX} days."),
            format!("Expires: токен действует от 1 до {TOKEN_DAYS_MAX} дней."),
        ));
    }
    let config = app.settings.get();
    if config.parts.tokens.len() >= TOKENS_MAX {
        return Err(ApiError::bad_request(
            format!("There are {TOKENS_MAX} tokens; remove one."),
            format!("Уже есть {TOKENS_MAX} токенов; удалите лишние."),
        ));
    }
    let (mut id, mut secret) = ([0; 8], [0; TOKEN_BYTES]);
    random::fill(&mut id).and_then(|()| random::fill(&mut secret)).map_err(|error| {
        log::error!("no token could be made: {error}");
        ApiError::internal()
    })?;
    let id = hex_upper(&id).to_ascii_lowercase();
    let secret = format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(secret));
    let line =
        format!("{};{expires};{};{name}", scope_name(scope), token_digest(secret.as_bytes()));
    app.settings.change_off_thread(vec![Edit::set("Tokens", &id, line)], actor).await?;
    let said = format!("{name}, {}, until {expires}", scope_name(scope));
    note(app, "token_make", &id, said, actor).await;
    Ok(Made { id, secret, expires })
}

/// Takes a token out.
///
/// # Errors
///
/// 404 when there is none.
pub async fn remove_token(app: &App, id: &str, actor: &Actor) -> Result<(), ApiError> {
    let config = app.settings.get();
    let found = config.parts.tokens.iter().find(|token| token.id == id);
    let token = found.ok_or_else(|| {
        ApiError::new(
            StatusCode::NOT_FOUND,
            "ETokenNotFound",
            "There is no token with this id.",
            "Токена с таким идентификатором нет.",
        )
    })?;
    app.settings.change_off_thread(vec![Edit::remove("Tokens", id)], actor).await?;
    note(app, "token_remove", id, token.name.clone(), actor).await;
    Ok(())
}

/// The password of a user as the conf file has it.
fn stored(user: &crate::config::User) -> String {
    match &user.password {
        Password::Phc(text) | Password::Plain(text) => text.clone(),
    }
}

fn is_own(actor: &Actor, name: &str) -> bool {
    matches!(actor.via, Via::Basic | Via::Login { .. }) && actor.name == name
}

/// What may be the name of a new user: a key of the conf file, a half of the credentials of
/// RFC 7617, and not somebody else's name in other letters.
fn check_name(config: &Config, name: &str) -> Result<(), ApiError> {
    check_text("Name", name)?;
    let begins_a_comment = name.starts_with([';', '#', '[']);
    if begins_a_comment || name.contains([':', '=', ';']) {
        return Err(ApiError::bad_request(
            "Name: must not contain : = or ; nor begin with # or [.",
            "Name: не должно содержать : = и ; и начинаться с # или [.",
        ));
    }
    let lower = name.to_lowercase();
    let users = config.parts.users.iter().map(|user| &user.name);
    if users.chain([&config.console.user_name]).any(|other| other.to_lowercase() == lower) {
        return Err(ApiError::bad_request(
            "Name: differs from another user's in capital letters only.",
            "Name: отличается от имени другого пользователя только регистром букв.",
        ));
    }
    if config.parts.users.len() >= USERS_MAX {
        return Err(ApiError::bad_request(
            format!("There are {USERS_MAX} users; remove one."),
            format!("Уже есть {USERS_MAX} пользователей; удалите лишних."),
        ));
    }
    Ok(())
}

fn check_text(field: &str, text: &str) -> Result<(), ApiError> {
    let chars = text.chars().count();
    let is_good = (1..=NAME_CHARS_MAX).contains(&chars)
        && text.trim() == text
        && !text.chars().any(char::is_control);
    if is_good {
        return Ok(());
    }
    Err(ApiError::bad_request(
        format!("{field}: expected 1 to {NAME_CHARS_MAX} characters without blanks around them."),
        format!("{field}: ожидается от 1 до {NAME_CHARS_MAX} символов без пробелов по краям."),
    ))
}

fn not_there(name: &str) -> ApiError {
    let shown: String = name.chars().take(NAME_CHARS_MAX).collect();
    ApiError::new(
        StatusCode::NOT_FOUND,
        "EUserNotFound",
        format!("There is no user {shown}."),
        format!("Пользователя {shown} нет."),
    )
}

fn name_taken() -> ApiError {
    ApiError::unavailable(
        "A user of this name was made at the same moment; look and try again.",
        "Пользователь с этим именем был создан одновременно; проверьте и повторите.",
    )
}

fn stays(name: &str) -> ApiError {
    ApiError::new(
        StatusCode::FORBIDDEN,
        "EUserStays",
        format!("{name} stays: nobody takes away their own rights, nor those of the first user."),
        format!("{name} остаётся: нельзя лишить прав себя или первого пользователя."),
    )
}

/// What was done is done; an audit trail that cannot take it stops the server by itself.
async fn note(app: &App, action: &'static str, subject: &str, said: String, actor: &Actor) {
    let subject = subject.to_owned();
    let note = AuditNote { action, subject, note: said, ..AuditNote::default() };
    if let Err(error) = app.handle.audit(note, actor).await {
        log::warn!("the audit trail does not take {action}: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::IniSource;

    #[test]
    fn names_that_would_not_be_read_back_are_refused() {
        let source = IniSource::parse("x".as_ref(), b"[Users]\nivan=reader;x".to_vec()).unwrap();
        let config = Config::from_source(&source).unwrap();
        for (name, is_accepted) in [
            ("olga", true),
            ("Ольга Ивановна", true),
            ("a#b", true),
            ("Ivan", false),
            ("ADMIN", false),
            ("a:b", false),
            ("a=b", false),
            ("a;b", false),
            ("#a", false),
            ("[a", false),
            (" a", false),
            ("a\nb", false),
            ("", false),
        ] {
            assert_eq!(check_name(&config, name).is_ok(), is_accepted, "{name}");
        }
        assert!(check_name(&config, &"я".repeat(NAME_CHARS_MAX)).is_ok());
        assert!(check_name(&config, &"я".repeat(NAME_CHARS_MAX + 1)).is_err());
    }

    #[test]
    fn scope_is_read_back_by_its_name() {
        for scope in [
            Scope::Ismp,
            Scope::Metrics,
            Scope::Role(Role::Reader),
            Scope::Role(Role::Operator),
            Scope::Role(Role::Administrator),
        ] {
            assert_eq!(scope_named(scope_name(scope)), Some(scope));
        }
        assert_eq!(scope_named("all"), None);
    }
}
