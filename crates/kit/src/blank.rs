//! Blanks: USB tokens that the vendor prepares for licences, lists, and registers at the centre.
//!
//! The key is made inside the token and never leaves it; only its public part is written down. Whether
//! a licence may be bound to a token the centre decides.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use licence_token::apdu::{Place, TokenError, Transport as _};
use licence_token::licence::{Document, TokenInfo};
use licence_token::list::{ListError, TokenList};
use licence_token::piv::management::{ManagementKey, ManagementKeyError};
use licence_token::text as token_text;
use licence_token::tokens::Tokens;
use zeroize::Zeroizing;

use crate::calls::Centre;
use crate::cli::CentreArgs;
use crate::clock;
use crate::commands::{Failure, Surroundings};
use crate::files::{self, FileError};
use crate::text::{Language, russian_file};

pub mod list;

use list::{Blank, BlankList, CALL_BLANKS_MAX, TEXT_CHARS_MAX};

/// Largest file of a management key: 64 hex digits and what editors put around them.
const MANAGEMENT_FILE_BYTES_MAX: usize = 256;

/// Commands about blanks.
#[derive(Debug, Subcommand)]
pub enum BlankCommand {
    /// Have a token make its key, and write the public part into the list of blanks.
    Prepare(PrepareArgs),
    /// List the tokens that are plugged in.
    List {
        /// Which tokens.
        #[command(flatten)]
        which: WhichArgs,
        /// Print those that have a key as a list of blanks.
        #[arg(long)]
        json: bool,
    },
    /// Register the tokens of a list at the centre, which binds licences to no others.
    Register {
        /// Which centre.
        #[command(flatten)]
        centre: CentreArgs,
        /// The list of blanks.
        file: PathBuf,
    },
}

/// Arguments of `blank prepare`.
#[derive(Args, Debug)]
pub struct PrepareArgs {
    /// Which tokens.
    #[command(flatten)]
    pub which: WhichArgs,
    /// Place of the token, or part of its name; needed when several are plugged in.
    #[arg(long)]
    pub place: Option<String>,
    /// File with the token's management key in hex; without it the factory's key is used.
    #[arg(long, value_name = "FILE")]
    pub management_key_file: Option<PathBuf>,
    /// What is written on the token; for your own eyes and the centre's books.
    #[arg(long, value_name = "TEXT", value_parser = parse_note)]
    pub note: Option<String>,
    /// The list of blanks; made when missing.
    #[arg(long, value_name = "FILE", default_value = "blanks.json")]
    pub file: PathBuf,
}

/// Which tokens are spoken to besides those that are known.
#[derive(Args, Debug)]
pub struct WhichArgs {
    /// More tokens, separated by commas: VVVV:PPPP or part of a reader's name.
    #[arg(long, value_name = "LIST", default_value = "")]
    pub tokens: String,
}

fn parse_note(text: &str) -> Result<String, String> {
    if (1..=TEXT_CHARS_MAX).contains(&text.chars().count()) && !text.chars().any(char::is_control) {
        Ok(text.to_owned())
    } else {
        Err(format!("a note has 1 to {TEXT_CHARS_MAX} characters, none of control"))
    }
}

/// Why a blank could not be prepared or registered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BlankFailure {
    /// More than one token may be meant.
    #[error("several tokens are plugged in, name one with --place: {}", .0.join("; "))]
    Ambiguous(Vec<String>),
    /// A file could not be read or made.
    #[error(transparent)]
    File(#[from] FileError),
    /// Not a list of blanks.
    #[error("{}: not a list of blanks: {what}", .path.display())]
    List {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Not a management key.
    #[error("{}: {source}", .path.display())]
    ManagementKey {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        source: ManagementKeyError,
    },
    /// No token is there, or none at the place that was named.
    #[error("no token is plugged in that could be meant")]
    None,
    /// The token failed.
    #[error("{place}: {source}")]
    Token {
        /// Its name.
        place: String,
        /// What happened.
        source: TokenError,
    },
    /// The list of tokens on the command line is wrong.
    #[error("--tokens: {0}")]
    Tokens(ListError),
}

impl BlankFailure {
    /// The failure on one line, in Russian.
    pub fn russian(&self) -> String {
        match self {
            Self::Ambiguous(names) => format!(
                "подключено несколько токенов, назовите один ключом --place: {}",
                names.join("; ")
            ),
            Self::File(error) => russian_file(error),
            Self::List { path, what } => {
                format!("{}: это не список болванок: {what}", path.display())
            }
            Self::ManagementKey { path, .. } => format!(
                "{}: ключ управления — это 32, 48 или 64 шестнадцатеричные цифры",
                path.display()
            ),
            Self::None => "подходящего токена нет среди подключённых".to_owned(),
            Self::Token { place, source } => format!("{place}: {}", token_text::russian(source)),
            Self::Tokens(error) => format!("--tokens: {}", token_text::russian_list(error)),
        }
    }
}

/// Carries out a command about blanks.
///
/// # Errors
///
/// See [`BlankFailure`]; and what the centre says.
pub fn run(command: BlankCommand, around: Surroundings<'_>) -> Result<(), Failure> {
    match command {
        BlankCommand::Prepare(args) => {
            let tokens = connect(&args.which)?;
            prepare(&tokens, &args, around)
        }
        BlankCommand::List { which, json } => show(&connect(&which)?, json, around),
        BlankCommand::Register { centre, file } => register(&centre, &file, around),
    }
}

fn connect(which: &WhichArgs) -> Result<Tokens, BlankFailure> {
    Ok(Tokens::new(TokenList::with_extra(&which.tokens).map_err(BlankFailure::Tokens)?))
}

fn prepare(tokens: &Tokens, args: &PrepareArgs, around: Surroundings<'_>) -> Result<(), Failure> {
    let management = match &args.management_key_file {
        Some(path) => read_management_key(path)?,
        None => ManagementKey::factory(),
    };
    // Read before the token is changed: a key whose public part is lost is a token lost.
    let mut list = BlankList::read_or_new(&args.file)?;
    let places = tokens.places().map_err(|source| {
        let place = around.language.pick("tokens", "токены").to_owned();
        BlankFailure::Token { place, source }
    })?;
    let place = choose(&places, args.place.as_deref())?;
    let key = tokens
        .prepare(place, &management)
        .map_err(|source| BlankFailure::Token { place: place.name.clone(), source })?;
    let blank = Blank::new(&key, &place.name, args.note.clone(), Some(clock::utc()));
    // Said before the file is written: `blank list --json` brings it back should that fail.
    describe(&blank, around.language, around.out)?;
    list.add(blank);
    list.write(&args.file)?;
    let plug = around.language.pick(
        "plug the token out and in again before you hand it on",
        "перед передачей выньте токен и вставьте снова",
    );
    writeln!(around.out, "{}: {} {plug}", args.file.display(), list.blanks.len())?;
    Ok(())
}

fn read_management_key(path: &Path) -> Result<ManagementKey, BlankFailure> {
    let bytes = Zeroizing::new(files::read(path, MANAGEMENT_FILE_BYTES_MAX)?);
    std::str::from_utf8(&bytes)
        .map_err(|_| ManagementKeyError)
        .and_then(ManagementKey::from_hex)
        .map_err(|source| BlankFailure::ManagementKey { path: path.to_owned(), source })
}

/// The token that is meant: the one at the place, the one whose name has these words, or the only one.
fn choose<'a>(places: &'a [Place], wanted: Option<&str>) -> Result<&'a Place, BlankFailure> {
    if let Some(exact) = places.iter().find(|place| Some(place.id.as_str()) == wanted) {
        return Ok(exact);
    }
    let words = wanted.unwrap_or_default().to_lowercase();
    let is_meant = |place: &&Place| {
        place.name.to_lowercase().contains(&words) || place.id.to_lowercase().contains(&words)
    };
    let meant: Vec<&Place> = places.iter().filter(is_meant).collect();
    match meant.as_slice() {
        [] => Err(BlankFailure::None),
        [one] => Ok(one),
        several => {
            let name = |place: &&Place| format!("{} ({})", place.id, place.name);
            Err(BlankFailure::Ambiguous(several.iter().map(name).collect()))
        }
    }
}

fn show(tokens: &Tokens, json: bool, around: Surroundings<'_>) -> Result<(), Failure> {
    let language = around.language;
    let places = tokens.places().map_err(|source| {
        let place = language.pick("tokens", "токены").to_owned();
        BlankFailure::Token { place, source }
    })?;
    let mut list = BlankList::default();
    for place in places {
        let info = match tokens.read(&place) {
            Ok(info) => info,
            Err(source) if json => {
                return Err(BlankFailure::Token { place: place.name, source }.into());
            }
            Err(source) => {
                let said = match language {
                    Language::English => source.to_string(),
                    Language::Russian => token_text::russian(&source),
                };
                writeln!(around.out, "{} ({}): {said}", place.id, place.name)?;
                continue;
            }
        };
        if let Some(key) = info.key {
            list.add(Blank::new(&key, &info.name, None, None));
        }
        if !json {
            writeln!(around.out, "{} ({}): {}", place.id, place.name, state(&info, language))?;
            if let Some(blank) = info.key.map(|key| Blank::new(&key, &info.name, None, None)) {
                describe(&blank, language, around.out)?;
            }
        }
    }
    if json {
        serde_json::to_writer_pretty(&mut *around.out, &list).map_err(std::io::Error::from)?;
        writeln!(around.out)?;
    }
    Ok(())
}

fn state(info: &TokenInfo, language: Language) -> &'static str {
    match (&info.key, &info.document) {
        (None, _) => language.pick("not prepared", "не подготовлен"),
        (Some(_), Document::Absent) => language.pick("blank", "болванка"),
        (Some(_), Document::Present(_)) => language.pick("with a licence", "с лицензией"),
        (Some(_), Document::Damaged) => {
            language.pick("with a licence that is cut off", "с оборванной лицензией")
        }
    }
}

fn describe(
    blank: &Blank,
    language: Language,
    out: &mut dyn std::io::Write,
) -> Result<(), std::io::Error> {
    writeln!(
        out,
        "{}: {}\n{}: {}",
        language.pick("key", "ключ"),
        blank.short_id,
        language.pick("blank number", "номер болванки"),
        blank.blank_key_no
    )
}

fn register(centre: &CentreArgs, file: &Path, around: Surroundings<'_>) -> Result<(), Failure> {
    let list = BlankList::read(file)?;
    let connection = Centre::new(&centre.centre, &centre.token_file, around.language)?;
    let (mut added, mut known) = (0_u32, 0_u32);
    // A portion that was registered is known when the call is repeated after a failure.
    for portion in list.blanks.chunks(CALL_BLANKS_MAX) {
        let answer = connection.register_blanks(&list::call(portion))?;
        added = added.saturating_add(answer.added);
        known = known.saturating_add(answer.known);
    }
    let language = around.language;
    writeln!(
        around.out,
        "{}: {added}, {}: {known}",
        language.pick("registered", "зарегистрировано"),
        language.pick("known already", "уже известно")
    )?;
    Ok(())
}

#[cfg(test)]
mod tests;
