//! Coming in: who sends a request, logging in and out, the operations on accounts.
//!
//! Asks the books and the gate; which words a person reads is the callers' matter.

use std::net::IpAddr;

use hyper::HeaderMap;
use licence_core::seal::sha256;
use licence_core::time::Utc;
use licencekit::random::RandomError;

use super::accounts::{Account, TOKEN_PREFIX, Token, is_label, is_name};
use super::gate::{Gate, Staff, Stopped, mark_of, secret};
use super::headers::bearer;
use super::limits::Kind;
use super::passwords::{PasswordError, Weak, check_rules};
use super::{Actor, Role, accounts};
use crate::books::{Books, BooksError};
use crate::folder::AdminToken;

/// Why somebody does not come in, or an account is not what it should become.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// The books.
    #[error(transparent)]
    Books(#[from] BooksError),
    /// What a token is for.
    #[error(
        "a token needs 1 to {} printable characters that say what it is for",
        accounts::LABEL_CHARS_MAX
    )]
    Label,
    /// The name of an account.
    #[error(
        "a name is one word of letters, digits and .-_@, at most {} characters",
        accounts::NAME_CHARS_MAX
    )]
    Name,
    /// A new password, or the check of one.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// Too many wrong passwords: so long to wait, in seconds.
    #[error("too many wrong passwords")]
    TooMany(u64),
    /// Name or password is wrong.
    #[error("wrong name or password")]
    Wrong,
}

impl From<Weak> for EntryError {
    fn from(weak: Weak) -> Self {
        Self::Password(PasswordError::Weak(weak))
    }
}

/// Who sends a request of a program: the vendor's token or that of an account.
pub(crate) async fn program(
    books: &Books,
    admin: &AdminToken,
    headers: &HeaderMap,
    from: IpAddr,
    now: Utc,
) -> Result<Option<Actor>, BooksError> {
    let Some(offered) = bearer(headers) else { return Ok(None) };
    if admin.fits(offered) {
        let name = accounts::ADMIN_TOKEN.to_owned();
        return Ok(Some(Actor { name, role: Some(Role::Admin), from: Some(from) }));
    }
    if !offered.starts_with(TOKEN_PREFIX.as_bytes()) {
        return Ok(None);
    }
    // Looked up by its digest: the time of the look-up tells nothing of the token.
    let digest = sha256(offered);
    let account = books.run(move |store, _| store.account_by_token(&digest, now)).await?;
    Ok(account.map(|account| actor_of(account, from)))
}

/// Who sends a request of a browser: the account of its login, with the secret of its forms, while
/// the account is there and has the password with which the login began.
pub(crate) async fn person(
    books: &Books,
    gate: &Gate,
    headers: &HeaderMap,
    from: IpAddr,
) -> Result<Option<(Actor, String)>, BooksError> {
    let Some(session) = gate.staff(headers) else { return Ok(None) };
    let account = account(books, &session.who.name).await?;
    let Some(account) = account.filter(|account| mark_of(&account.password) == session.who.mark)
    else {
        gate.let_account_go(&session.who.name);
        return Ok(None);
    };
    Ok(Some((actor_of(account, from), session.csrf)))
}

fn actor_of(account: Account, from: IpAddr) -> Actor {
    Actor { name: account.name, role: Some(account.role), from: Some(from) }
}

async fn account(books: &Books, name: &str) -> Result<Option<Account>, BooksError> {
    let name = name.to_owned();
    books.run(move |store, _| store.account(&name)).await
}

/// Logs somebody in: the value of their cookie.
pub(crate) async fn log_in(
    books: &Books,
    gate: &Gate,
    name: &str,
    password: &str,
    from: IpAddr,
    now: Utc,
) -> Result<String, EntryError> {
    if let Err(Stopped::TooMany(wait)) = gate.take(Kind::Password, from) {
        return Err(EntryError::TooMany(wait.as_secs().max(1)));
    }
    let known = if is_name(name) { account(books, name).await? } else { None };
    let hash = known.as_ref().map(|account| account.password.clone());
    let is_right = gate.passwords.check(hash, password.to_owned()).await?;
    // A name that no account has may be a password that slipped into the wrong field: it is
    // written down nowhere.
    let Some(account) = known else {
        log::warn!("login from {from} refused: no such account");
        return Err(EntryError::Wrong);
    };
    let staff = Staff { name: account.name.clone(), mark: mark_of(&account.password) };
    let actor = actor_of(account, from);
    let action = if is_right { "login" } else { "login refused" };
    log::info!("{action}: account {}, from {from}", actor.name);
    books.run(move |store, _| store.note_login(action, &actor, now)).await?;
    if !is_right {
        return Err(EntryError::Wrong);
    }
    gate.give_back(Kind::Password, from);
    Ok(gate.let_staff_in(staff)?)
}

/// Adds an account.
pub(crate) async fn add_account(
    books: &Books,
    gate: &Gate,
    name: &str,
    role: Role,
    password: &str,
    actor: Actor,
    now: Utc,
) -> Result<(), EntryError> {
    if !is_name(name) {
        return Err(EntryError::Name);
    }
    check_rules(name, password)?;
    let hash = gate.passwords.hash(password.to_owned()).await?;
    let name = name.to_owned();
    Ok(books.run(move |store, _| store.add_account(&name, role, &hash, &actor, now)).await?)
}

/// Gives an account another role or password; its logins end with either.
pub(crate) async fn change_account(
    books: &Books,
    gate: &Gate,
    name: &str,
    role: Option<Role>,
    password: Option<&str>,
    actor: Actor,
    now: Utc,
) -> Result<(), EntryError> {
    let hash = match password {
        Some(password) => {
            check_rules(name, password)?;
            Some(gate.passwords.hash(password.to_owned()).await?)
        }
        None => None,
    };
    let owned = name.to_owned();
    books
        .run(move |store, _| store.change_account(&owned, role, hash.as_deref(), &actor, now))
        .await?;
    gate.let_account_go(name);
    Ok(())
}

/// Changes one's own password, which must be shown once more; the value of a fresh cookie, because
/// all logins of the account end.
pub(crate) async fn change_own_password(
    books: &Books,
    gate: &Gate,
    old: &str,
    new: &str,
    actor: &Actor,
    now: Utc,
) -> Result<String, EntryError> {
    let from = actor.from.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));
    let name = actor.name.clone();
    // The same check and limit as at the door: a browser left alone must not be a place to guess.
    log_in(books, gate, &name, old, from, now).await?;
    change_account(books, gate, &name, None, Some(new), actor.clone(), now).await?;
    log_in(books, gate, &name, new, from, now).await
}

/// Removes an account.
pub(crate) async fn remove_account(
    books: &Books,
    gate: &Gate,
    name: &str,
    actor: Actor,
    now: Utc,
) -> Result<(), EntryError> {
    let owned = name.to_owned();
    books.run(move |store, _| store.remove_account(&owned, &actor, now)).await?;
    gate.let_account_go(name);
    Ok(())
}

/// Makes a token of an account: its secret, which is shown once.
pub(crate) async fn add_token(
    books: &Books,
    name: &str,
    label: &str,
    days: Option<u32>,
    actor: Actor,
    now: Utc,
) -> Result<String, EntryError> {
    if !is_label(label) {
        return Err(EntryError::Label);
    }
    let token = format!("{TOKEN_PREFIX}{}", secret()?);
    let digest = sha256(token.as_bytes());
    let (name, label) = (name.to_owned(), label.trim().to_owned());
    let expires = days.map(|days| now.plus_days(days));
    books
        .run(move |store, _| store.add_token(&name, &label, &digest, expires, &actor, now))
        .await?;
    Ok(token)
}

/// All accounts and their tokens.
pub(crate) async fn list(books: &Books) -> Result<(Vec<Account>, Vec<Token>), BooksError> {
    books.run(|store, _| Ok((store.accounts()?, store.tokens()?))).await
}

/// Removes a token.
pub(crate) async fn remove_token(
    books: &Books,
    token_id: i64,
    actor: Actor,
    now: Utc,
) -> Result<(), BooksError> {
    books.run(move |store, _| store.remove_token(token_id, &actor, now)).await
}
