//! `licenceserver identity`: shows what the key of the server is bound to, binds it to the computer
//! of now, or puts a locked one aside for a fresh one.
//!
//! Says in plain words what it did and what has to follow. How a seal opens is decided beside.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use licence_core::causes::with_causes;
use licence_core::language::Language;

use super::{Identity, IdentityError, LockedSeal, SealOptions, public_in, words};
use crate::backup::pending;
use crate::cli::{self, IdentityAction, IdentityOptions};
use crate::clock;
use crate::config::{Config, ConfigError};
use crate::paths::Paths;
use crate::store::lock::{DataLock, LockError};

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error("the settings cannot be used")]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("{0}")]
    Lock(#[from] LockError),
    #[error("moving {path} aside")]
    Move {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Said in the language of the command.
    #[error("{0}")]
    Refused(String),
}

/// Runs the command. 0 when it was done, and for `show` when the key opens; else 1.
pub fn main(options: &IdentityOptions) -> ExitCode {
    let language = cli::language(options.lang);
    let base = std::path::absolute(&options.base).unwrap_or_else(|_| options.base.clone());
    let paths = Paths::new(base);
    let outcome = Config::load(&paths.conf()).map_err(CommandError::from).and_then(|config| {
        let seal = SealOptions::of(&paths, &config);
        match options.action {
            IdentityAction::Show => show(seal, language),
            IdentityAction::Renew => renew(&paths, seal, options, language),
            IdentityAction::Reseal => reseal(&paths, seal, language),
        }
    });
    match outcome {
        Ok(text) => {
            let written = io::stdout().write_all(text.as_bytes());
            if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            // Standard error may be closed; the exit code tells all the same.
            drop(writeln!(io::stderr(), "licenceserver: {}", told(&error, language)));
            ExitCode::FAILURE
        }
    }
}

fn told(error: &CommandError, language: Language) -> String {
    let CommandError::Identity(IdentityError::Locked(locked)) = error else {
        return with_causes(error);
    };
    locked_text(locked, language)
}

/// A locked seal, with its parts and what to do.
fn locked_text(locked: &LockedSeal, language: Language) -> String {
    let why = words::locked(locked, language);
    let cause = words::cause(locked).map(|cause| format!(" ({cause})")).unwrap_or_default();
    let parts = words::parts(&locked.parts, &locked.unreadable, language);
    format!("{why}{cause}.\n{parts}{}", words::locked_advice(locked, language))
}

fn show(seal: SealOptions, language: Language) -> Result<String, CommandError> {
    let is_plain = !seal.file.exists() && seal.plain.exists();
    let file = if is_plain { seal.plain.clone() } else { seal.file.clone() };
    if !file.exists() {
        return Err(CommandError::Refused(match language {
            Language::Russian => {
                format!("нет файла {}: ключ появится при первом запуске сервера", file.display())
            }
            Language::English => {
                format!("there is no {}: the first start of the server makes it", file.display())
            }
        }));
    }
    let thumbprint = public_in(&file)?.thumbprint();
    let head = match language {
        Language::Russian => format!("Ключ сервера {thumbprint}, файл {}.\n", file.display()),
        Language::English => format!("Key of the server {thumbprint}, file {}.\n", file.display()),
    };
    if is_plain {
        let text = language.pick(
            "Он не запечатан: это сделает следующий запуск сервера.\n",
            "It is not sealed: the next start of the server does that.\n",
        );
        return Ok(head + text);
    }
    let identity = Identity::open(seal)?;
    Ok(head + &words::state(&identity.seal_state(), language))
}

fn reseal(paths: &Paths, seal: SealOptions, language: Language) -> Result<String, CommandError> {
    let _lock = DataLock::take(&paths.database())?;
    let identity = Identity::open_or_take_over(seal)?;
    identity.reseal()?;
    let head = language.pick(
        "Ключ сервера запечатан заново, лицензии остаются в силе.\n",
        "The key of the server is sealed anew; the licences stay in force.\n",
    );
    Ok(head.to_owned() + &words::state(&identity.seal_state(), language))
}

fn renew(
    paths: &Paths,
    seal: SealOptions,
    options: &IdentityOptions,
    language: Language,
) -> Result<String, CommandError> {
    let refuse = |russian: &str, english: &str| {
        Err(CommandError::Refused(language.pick(russian, english).to_owned()))
    };
    if !options.yes {
        return refuse(
            "новый ключ делает все установленные лицензии недействительными на этом сервере: их \
             нужно будет установить резервными или запасными кодами; если это и \
             требуется, добавьте --yes",
            "a fresh key makes every installed licence void on this server: they are then \
             installed by reserve or spare codes; if that is wanted, add --yes",
        );
    }
    let _lock = DataLock::take(&paths.database())?;
    if Identity::open(seal.clone()).is_ok() && !options.force {
        return refuse(
            "ключ сервера открывается, заменять его незачем; если он всё же нужен новый, добавьте \
             --force",
            "the key of the server opens, so there is no need for another; if a fresh one is \
             wanted all the same, add --force",
        );
    }
    let ending = format!("locked-{}", pending::stamp(clock::utc()));
    let sealed = put_aside(&seal.file, &ending)?;
    let plain = put_aside(&seal.plain, &ending)?;
    let identity = match Identity::open_or_make(seal) {
        Ok(identity) => identity,
        Err(error) => {
            put_back(sealed.as_ref());
            put_back(plain.as_ref());
            return Err(error.into());
        }
    };
    let thumbprint = identity.public().thumbprint();
    let mut text = String::new();
    for (_, aside) in [sealed, plain].into_iter().flatten() {
        text += &match language {
            Language::Russian => format!("Прежний ключ отложен: {}.\n", aside.display()),
            Language::English => format!("The former key is put aside: {}.\n", aside.display()),
        };
    }
    text += &match language {
        Language::Russian => format!(
            "Новый ключ сервера: {thumbprint}.\nЛицензии прежнего ключа здесь не работают. \
             Установите их резервными или запасными кодами: их даёт центр или поставщик.\n"
        ),
        Language::English => format!(
            "The fresh key of the server: {thumbprint}.\nLicences of the former key do not work \
             here. Install them by reserve or spare codes: the centre or the vendor gives them.\n"
        ),
    };
    Ok(text)
}

/// Gives a file another name beside it: where it was, and where it is. Nothing when there is none.
fn put_aside(path: &Path, ending: &str) -> Result<Option<(PathBuf, PathBuf)>, CommandError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut aside = path.with_file_name(format!("{name}.{ending}"));
    let mut number = 0_u32;
    while aside.exists() {
        number += 1;
        aside = path.with_file_name(format!("{name}.{ending}.{number}"));
    }
    match fs::rename(path, &aside) {
        Ok(()) => Ok(Some((path.to_owned(), aside))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CommandError::Move { path: path.to_owned(), source }),
    }
}

fn put_back(moved: Option<&(PathBuf, PathBuf)>) {
    if let Some((from, aside)) = moved
        && let Err(error) = fs::rename(aside, from)
    {
        log::error!("{} is now {}: {error}", from.display(), aside.display());
    }
}
