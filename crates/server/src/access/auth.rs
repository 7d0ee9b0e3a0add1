//! Who somebody is: users, tokens and logins of the console, checked against the settings of the
//! moment.
//!
//! Remembers wrong passwords by address, logins, and digests of passwords that a slow check has
//! accepted. What whoever it is may do is decided by [`super::gate`]. Client endpoints are not its
//! business: they need no password.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::HeaderValue;
use licence_core::seal::{hex_upper, sha256};
use subtle::ConstantTimeEq;

use crate::access::credentials::{Presented, cookie, presented};
use crate::access::csrf;
use crate::access::gate;
use crate::access::lockout::Lockout;
use crate::access::logins::{self, Digest, Login, Logins};
use crate::access::origin;
use crate::access::passwords::{Passwords, same};
use crate::access::{Actor, Role, Via};
use crate::api::errors::ApiError;
use crate::api::{App, Call};
use crate::clock;
use crate::config::{Config, Password, Scope, Token};
use crate::driver::AuditNote;
use crate::random::RandomError;
use crate::settings::Settings;

/// Cookie of a login. The name of the product keeps it apart from other programs of the computer:
/// cookies do not know ports.
const COOKIE: &str = "licence_session";

/// What a token begins with, so that a scanner of leaked secrets knows one.
pub(super) const TOKEN_PREFIX: &str = "lic_";

/// Checks user names, passwords, tokens and logins.
#[derive(Debug)]
pub struct Auth {
    computer_name: String,
    pub(super) passwords: Passwords,
    lockout: Mutex<Lockout>,
    logins: Arc<Mutex<Logins>>,
}

/// Somebody who has logged in at the console.
#[derive(Clone, Debug)]
pub struct LoggedIn {
    /// Who.
    pub actor: Actor,
    /// Cookie that the answer must set.
    pub set_cookie: HeaderValue,
}

/// A line of the settings that says who may come in.
#[derive(Debug)]
pub(super) struct Account<'a> {
    pub(super) name: &'a str,
    pub(super) role: Role,
    pub(super) password: &'a Password,
    pub(super) has_default_password: bool,
}

/// The account with this name: the administrator of `[Console]`, or one of `[Users]`.
pub(super) fn account<'a>(config: &'a Config, name: &str) -> Option<Account<'a>> {
    let console = &config.console;
    if same(console.user_name.as_bytes(), name.as_bytes()) {
        return Some(Account {
            name: &console.user_name,
            role: Role::Administrator,
            password: &console.password,
            has_default_password: config.has_default_password(),
        });
    }
    let user = config.parts.users.iter().find(|user| user.name == name)?;
    Some(Account {
        name: &user.name,
        role: user.role,
        password: &user.password,
        has_default_password: false,
    })
}

/// Who a request is from, and what they may do.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) actor: Actor,
    pub(super) scope: Scope,
}

impl Auth {
    /// Nobody is logged in and no password was wrong yet.
    ///
    /// # Errors
    ///
    /// When there are no random bytes to salt the remembered digests with.
    pub fn new(computer_name: &str) -> Result<Self, RandomError> {
        Ok(Self {
            computer_name: computer_name.to_ascii_lowercase(),
            passwords: Passwords::new()?,
            lockout: Mutex::default(),
            logins: Arc::default(),
        })
    }

    /// Wrong passwords by address. Held only as long as it takes to look.
    pub fn lockout(&self) -> MutexGuard<'_, Lockout> {
        self.lockout.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a session of the console.
    ///
    /// # Errors
    ///
    /// 401 for a wrong name or password, 403 where the default password does not count, 429 after
    /// too many wrong ones, 503 when too many are being checked.
    pub(crate) async fn login(
        &self,
        call: &Call<'_>,
        name: &str,
        password: &str,
    ) -> Result<LoggedIn, ApiError> {
        let config = call.app.settings.get();
        let account = self.check_password(call, &config, name, password.into()).await?;
        let random = |_| ApiError::internal();
        let (id, csrf) = (csrf::secret().map_err(random)?, csrf::secret().map_err(random)?);
        let now = clock::mono();
        let login = Login {
            user: account.name.to_owned(),
            password: call.app.settings.mark(account.password),
            csrf: csrf.clone(),
            begun: now,
            used: now,
        };
        self.logins().begin(sha256(id.as_bytes()), login);
        log::info!("{} logged in from {}", account.name, call.peer.ip);
        let actor = actor(call, &account, Via::Login { csrf });
        let set_cookie = HeaderValue::from_str(&session_cookie(call, &id, ""));
        Ok(LoggedIn { actor, set_cookie: set_cookie.map_err(|_| ApiError::internal())? })
    }

    /// Ends the session of the console that the request belongs to; returns the cookie that the
    /// answer must set.
    pub(crate) fn logout(&self, call: &Call<'_>) -> HeaderValue {
        if let Some(id) = cookie(call.headers, COOKIE) {
            self.logins().end(&sha256(id.as_bytes()));
        }
        HeaderValue::from_str(&session_cookie(call, "", "; Max-Age=0"))
            .unwrap_or(HeaderValue::from_static("licence_session=; Path=/; Max-Age=0"))
    }

    /// Whether the request belongs, or belonged, to a session of the console.
    pub(super) fn has_session_cookie(&self, call: &Call<'_>) -> bool {
        cookie(call.headers, COOKIE).is_some()
    }

    /// Who a request is from; nothing when it does not say.
    ///
    /// # Errors
    ///
    /// 401 for what it says and is not so, and as [`Self::login`].
    pub(super) async fn identify(
        &self,
        call: &Call<'_>,
        config: &Config,
    ) -> Result<Option<Known>, ApiError> {
        match presented(call.headers) {
            Presented::Basic { password, .. } if is_token(config, &password) => {
                let secret = String::from_utf8(password).unwrap_or_default();
                self.check_token(call, config, &secret).await.map(Some)
            }
            Presented::Basic { user, password } => {
                let account = self.check_password(call, config, &user, password).await?;
                let scope = Scope::Role(account.role);
                Ok(Some(Known { actor: actor(call, &account, Via::Basic), scope }))
            }
            Presented::Bearer(secret) => self.check_token(call, config, &secret).await.map(Some),
            Presented::Unreadable => Err(ApiError::unauthorized()),
            Presented::Nothing => self.check_login(call, config),
        }
    }

    /// What this call says of who sends it, to be asked again while its answer lasts.
    pub(crate) fn still_known(&self, call: &Call<'_>) -> StillKnown {
        let settings = call.app.settings.clone();
        let user = |name: String| {
            let password = account(&settings.get(), &name).map(|account| account.password.clone());
            (name, password)
        };
        let by = match presented(call.headers) {
            Presented::Basic { password, .. } if is_token(&settings.get(), &password) => {
                By::Token(token_digest(&password))
            }
            Presented::Basic { user: name, .. } => By::User(user(name)),
            Presented::Bearer(secret) => By::Token(token_digest(secret.as_bytes())),
            Presented::Unreadable => By::Nothing,
            Presented::Nothing => match cookie(call.headers, COOKIE) {
                Some(id) => By::Login(sha256(id.as_bytes()), user(call.actor.name.clone())),
                None => By::Nothing,
            },
        };
        StillKnown { settings, logins: Arc::clone(&self.logins), by }
    }

    /// Whether requests of this call's address to the host it names may come in at all.
    ///
    /// # Errors
    ///
    /// 403 that names the setting.
    pub(super) fn check_origin(&self, call: &Call<'_>, config: &Config) -> Result<(), ApiError> {
        origin::check(&config.console, &self.computer_name, call.peer.ip, call.headers)
    }

    /// Whether the host that is asked for is this server, whatever the setting says.
    ///
    /// # Errors
    ///
    /// 403 that names the setting.
    pub(super) fn check_host(&self, call: &Call<'_>, config: &Config) -> Result<(), ApiError> {
        origin::check_host(&config.console, &self.computer_name, call.headers)
    }

    /// Whether `peer` may try a password.
    ///
    /// # Errors
    ///
    /// 429 that says how long it must wait.
    pub(super) fn may_try(&self, peer: IpAddr) -> Result<(), ApiError> {
        match self.lockout().wait(peer, clock::mono()) {
            None => Ok(()),
            Some(wait) => Err(too_many(wait)),
        }
    }

    /// Takes down a wrong password; the begin of a lock is logged and goes to the audit trail.
    pub(super) async fn wrong(&self, app: &App, peer: IpAddr) {
        let locked = self.lockout().wrong(peer, clock::mono());
        let Some(lock) = locked else { return };
        let address = peer.to_canonical().to_string();
        let secs = lock.as_secs();
        log::warn!("locked {address} for {secs} s: too many wrong passwords or tokens");
        let note = AuditNote {
            action: "login_locked",
            subject: address,
            note: format!("{secs} s"),
            ..AuditNote::default()
        };
        let nobody = Actor { peer, role: Role::Reader, ..Actor::server() };
        if let Err(error) = app.handle.audit(note, &nobody).await {
            log::warn!("the audit trail does not take a lock: {error}");
        }
    }

    /// Takes down that a password was right.
    pub(super) fn right(&self, peer: IpAddr) {
        self.lockout().right(peer);
    }

    /// The password of `user` has changed: their logins end, but for the one of `actor`.
    pub(super) fn password_changed(&self, settings: &Settings, user: &str, actor: &Actor) {
        let config = settings.get();
        let Some(account) = account(&config, user) else { return };
        let kept = match &actor.via {
            Via::Login { csrf } if actor.name == user => Some(csrf.as_str()),
            Via::Basic
            | Via::Component
            | Via::Login { .. }
            | Via::Node
            | Via::Nothing
            | Via::Server
            | Via::Token => None,
        };
        self.logins().password_changed(user, kept, settings.mark(account.password));
    }

    /// The administrator by whose name and password a component's message comes.
    ///
    /// # Errors
    ///
    /// As [`Self::login`]; 403 where the API does not answer to the address, and for a lesser role.
    pub(crate) async fn administrator(
        &self,
        call: &Call<'_>,
        name: &str,
        password: &str,
    ) -> Result<Actor, ApiError> {
        let config = call.app.settings.get();
        self.check_origin(call, &config)?;
        let quiet = |error| ApiError { is_quiet: true, ..error };
        let checked = self.check_password(call, &config, name, password.into()).await;
        let account = checked.map_err(quiet)?;
        gate::check_role(Scope::Role(account.role), Role::Administrator)?;
        Ok(actor(call, &account, Via::Component))
    }

    /// Who an access token is that a component's message brings.
    ///
    /// # Errors
    ///
    /// 401 for a wrong or expired one, 403 for one of another scope, 429 after too many wrong ones.
    pub(crate) async fn ismp_token(
        &self,
        call: &Call<'_>,
        secret: &str,
    ) -> Result<Actor, ApiError> {
        let config = call.app.settings.get();
        let quiet = |error| ApiError { is_quiet: true, ..error };
        let known = self.check_token(call, &config, secret).await.map_err(quiet)?;
        gate::check_ismp_scope(known.scope)?;
        Ok(known.actor)
    }

    async fn check_password<'a>(
        &self,
        call: &Call<'_>,
        config: &'a Config,
        name: &str,
        password: Vec<u8>,
    ) -> Result<Account<'a>, ApiError> {
        let peer = call.peer.ip;
        self.may_try(peer)?;
        let account = account(config, name);
        let expected = account.as_ref().map(|account| account.password);
        let checked = self.passwords.check(expected, password, || self.may_try(peer)).await?;
        let Some(account) = account.filter(|_| checked.is_right) else {
            self.wrong(call.app, peer).await;
            return Err(ApiError::unauthorized());
        };
        self.check_default_password(call, config, &account)?;
        // Whoever has a lesser account must not wipe out their guesses at a greater one with it.
        if account.role == Role::Administrator {
            self.right(peer);
        }
        Ok(account)
    }

    fn check_default_password(
        &self,
        call: &Call<'_>,
        config: &Config,
        account: &Account<'_>,
    ) -> Result<(), ApiError> {
        let console = &config.console;
        if !account.has_default_password
            || origin::is_from_here(console, &self.computer_name, call.peer.ip, call.headers)
        {
            return Ok(());
        }
        let port = config.server_port;
        Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "EDefaultPassword",
            format!(
                "The default password works only at the server itself. Set another one there: in \
                 the console at http://localhost:{port}/password, or by `licenceserver password`."
            ),
            format!(
                "Пароль по умолчанию действует только на самом сервере. Задайте там другой: в \
                 консоли по адресу http://localhost:{port}/password или командой `licenceserver \
                 password`."
            ),
        ))
    }

    async fn check_token(
        &self,
        call: &Call<'_>,
        config: &Config,
        secret: &str,
    ) -> Result<Known, ApiError> {
        let peer = call.peer.ip;
        let Some(token) = token_of(config, secret.as_bytes()) else {
            // A right token is let in whatever others try from its address; nobody guesses 256 bits.
            self.may_try(peer)?;
            self.wrong(call.app, peer).await;
            return Err(ApiError::unauthorized());
        };
        if token.expires <= clock::utc() {
            return Err(ApiError::new(
                StatusCode::UNAUTHORIZED,
                "ETokenExpired",
                format!("The token {} has expired at {}.", token.id, token.expires),
                format!("Срок действия токена {} истёк {}.", token.id, token.expires),
            ));
        }
        let role = match token.scope {
            Scope::Ismp | Scope::Metrics => Role::Reader,
            Scope::Role(role) => role,
        };
        let actor = Actor {
            name: if token.name.is_empty() { token.id.clone() } else { token.name.clone() },
            role,
            via: Via::Token,
            peer,
            has_default_password: false,
        };
        Ok(Known { actor, scope: token.scope })
    }

    fn check_login(&self, call: &Call<'_>, config: &Config) -> Result<Option<Known>, ApiError> {
        let Some(id) = cookie(call.headers, COOKIE) else { return Ok(None) };
        let id = sha256(id.as_bytes());
        let asked = if call.is_refresh() { logins::By::Page } else { logins::By::Person };
        let Some(login) = self.logins().find(&id, clock::mono(), asked) else { return Ok(None) };
        let account = account(config, &login.user)
            .filter(|account| call.app.settings.mark(account.password) == login.password);
        let Some(account) = account else {
            // The user is gone, or has another password since.
            self.logins().end(&id);
            return Ok(None);
        };
        self.check_default_password(call, config, &account)?;
        let actor = actor(call, &account, Via::Login { csrf: login.csrf });
        Ok(Some(Known { actor, scope: Scope::Role(account.role) }))
    }

    fn logins(&self) -> MutexGuard<'_, Logins> {
        self.logins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody who was let in, for answers that last: a token may be revoked, a user removed or given
/// another password, a login may end meanwhile.
pub(crate) struct StillKnown {
    settings: Settings,
    logins: Arc<Mutex<Logins>>,
    by: By,
}

/// A user and the password that let them in.
type WithPassword = (String, Option<Password>);

enum By {
    Login(Digest, WithPassword),
    Nothing,
    Token(String),
    User(WithPassword),
}

impl StillKnown {
    /// Whether they would be let in again. No sign of a person: it keeps no login alive.
    pub(crate) fn holds(&self) -> bool {
        let config = self.settings.get();
        let has_password = |(name, password): &WithPassword| {
            let account = account(&config, name);
            account.is_some_and(|account| Some(account.password) == password.as_ref())
        };
        match &self.by {
            By::Login(id, user) => {
                let mut logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
                logins.find(id, clock::mono(), logins::By::Page).is_some() && has_password(user)
            }
            By::Nothing => false,
            By::Token(digest) => {
                let mut tokens = config.parts.tokens.iter();
                tokens.any(|token| token.digest == *digest && token.expires > clock::utc())
            }
            By::User(user) => has_password(user),
        }
    }
}

/// What the settings know of a token: the SHA-256 of all its text, in small hex digits.
pub(super) fn token_digest(secret: &[u8]) -> String {
    hex_upper(&sha256(secret)).to_ascii_lowercase()
}

/// The token with this secret, whether it still counts or not.
fn token_of<'a>(config: &'a Config, secret: &[u8]) -> Option<&'a Token> {
    let digest = token_digest(secret);
    let mut found = None;
    for token in &config.parts.tokens {
        // All are looked at, so that time does not tell which one it is.
        if token.digest.as_bytes().ct_eq(digest.as_bytes()).into() {
            found = Some(token);
        }
    }
    found
}

/// Whether a password is a token: programs that know only names and passwords send it as one, with
/// any name. What only looks like a token is a password like others, and wrong ones count.
fn is_token(config: &Config, password: &[u8]) -> bool {
    password.starts_with(TOKEN_PREFIX.as_bytes()) && token_of(config, password).is_some()
}

fn actor(call: &Call<'_>, account: &Account<'_>, via: Via) -> Actor {
    Actor {
        name: account.name.to_owned(),
        role: account.role,
        via,
        peer: call.peer.ip,
        has_default_password: account.has_default_password,
    }
}

fn session_cookie(call: &Call<'_>, id: &str, more: &str) -> String {
    let secure = if call.peer.is_tls { "; Secure" } else { "" };
    format!("{COOKIE}={id}; Path=/; HttpOnly; SameSite=Strict{secure}{more}")
}

fn too_many(wait: Duration) -> ApiError {
    // A moment more than it takes, so that whoever waits as told is let in.
    let secs = wait.as_secs() + 1;
    let mut error = ApiError::new(
        StatusCode::TOO_MANY_REQUESTS,
        "ETooManyAttempts",
        format!("Too many wrong passwords from this address; try again in {secs} s."),
        format!("С этого адреса слишком много неверных паролей; повторите через {secs} с."),
    );
    error.retry_after_secs = Some(secs);
    error
}
