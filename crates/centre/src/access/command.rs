//! `licencecentre account`: accounts from the machine of the centre, where the first one is made.
//!
//! Passwords come from a file or the terminal, never from the command line, which every user of
//! the machine can see.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use licencekit::files::{self, FileError};
use zeroize::Zeroizing;

use super::accounts::is_name;
use super::entry::EntryError;
use super::passwords::{PasswordError, check_rules, hash};
use super::{Actor, Role};
use crate::books::BooksError;
use crate::cli::{AccountArgs, AccountCommand};
use crate::clock;
use crate::store::{Place, Store, StoreError};

/// Longest password file, in bytes: the longest password in characters of four bytes, and a line
/// end.
const PASSWORD_BYTES_MAX: usize = 1024;

/// Under which name the command acts in the audit trail.
const ACTOR: &str = "command line";

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The password file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Neither a folder nor a database.
    #[error("give --data or --database")]
    NoPlace,
    /// Standard output or the terminal.
    #[error("terminal")]
    Terminal(#[from] io::Error),
    /// Two passwords that should be one.
    #[error("the passwords differ")]
    Differ,
    /// The password file is not text.
    #[error("{} holds no UTF-8 text", .0.display())]
    NotText(PathBuf),
    /// Name or password.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// There are no books in the folder.
    #[error("there are no books at {}: is this the data folder of a centre?", .0.display())]
    NoBooks(PathBuf),
}

impl From<StoreError> for CommandError {
    fn from(error: StoreError) -> Self {
        Self::Entry(EntryError::Books(BooksError::Store(error)))
    }
}

impl From<PasswordError> for CommandError {
    fn from(error: PasswordError) -> Self {
        Self::Entry(EntryError::Password(error))
    }
}

/// Carries the command out.
///
/// # Errors
///
/// See [`CommandError`].
pub fn run(args: &AccountArgs) -> Result<(), CommandError> {
    let actor = Actor { name: ACTOR.to_owned(), role: Some(Role::Admin), from: None };
    let now = clock::utc_now();
    match &args.command {
        AccountCommand::Add { name, role, password_file } => {
            if !is_name(name) {
                return Err(EntryError::Name.into());
            }
            let mut store = open(args)?;
            let hash = password(name, password_file.as_deref())?;
            store.add_account(name, *role, &hash, &actor, now)?;
        }
        AccountCommand::List => {
            let mut out = io::stdout().lock();
            for account in open(args)?.accounts()? {
                writeln!(out, "{}\t{}\t{}", account.name, account.role, account.created)?;
            }
        }
        AccountCommand::Passwd { name, password_file } => {
            let mut store = open(args)?;
            let hash = password(name, password_file.as_deref())?;
            store.change_account(name, None, Some(&hash), &actor, now)?;
        }
        AccountCommand::Remove { name } => open(args)?.remove_account(name, &actor, now)?,
    }
    Ok(())
}

/// The books, which a running centre may have open too: SQLite keeps the two apart.
fn open(args: &AccountArgs) -> Result<Store, CommandError> {
    let books = &args.books;
    if let Some(url) = books.database.clone() {
        return Ok(Store::at(&Place::Postgres { url, ca: books.database_ca.clone() })?);
    }
    let data = books.data.as_deref().ok_or(CommandError::NoPlace)?;
    let path = data.join("centre.db");
    // A mistyped folder must not become a centre.
    if !data.is_dir() {
        return Err(CommandError::NoBooks(path));
    }
    Ok(Store::open(&path)?)
}

/// The hash of the password for this account.
fn password(name: &str, file: Option<&Path>) -> Result<String, CommandError> {
    let password = match file {
        Some(path) => {
            let bytes = Zeroizing::new(files::read(path, PASSWORD_BYTES_MAX)?);
            let text = std::str::from_utf8(&bytes);
            let text = text.map_err(|_| CommandError::NotText(path.to_owned()))?;
            Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned())
        }
        None => {
            let first = Zeroizing::new(rpassword::prompt_password("Password: ")?);
            let second = Zeroizing::new(rpassword::prompt_password("Once more: ")?);
            if *first != *second {
                return Err(CommandError::Differ);
            }
            first
        }
    };
    check_rules(name, &password).map_err(EntryError::from)?;
    Ok(hash(&password)?)
}
