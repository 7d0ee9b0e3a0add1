//! What each command of `licencekit` does.
//!
//! Results go to the writer that the caller gives, failures come back as values. Nothing here
//! ends the process or looks at the command line.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use licence_core::activation::{ActivationCode, CodeKind, ParseCodeError};
use licence_core::centre_request::{CentreAnswer, RequestKind};
use licence_core::developer_password::developer_password;
use licence_core::jws::TOKEN_BYTES_MAX;
use licence_core::key::KeySeries;
use licence_core::licence_file::{Licence, LicenceError};
use licence_core::series::{
    SERIES_FILE_BYTES_MAX, SeriesDescriptor, SeriesError, parse_series_file,
};
use zeroize::Zeroizing;

use crate::calls::{self, CallError, Centre};
use crate::cli::{
    CentreArgs, CodeCommand, Command, LicenceCommand, OrderAdd, OrderCommand, RequestCommand,
    SeriesCommand, SeriesCreate,
};
use crate::datafile;
use crate::datafile::failure::DatafileFailure;
use crate::epf::EpfFailure;
use crate::files::{self, FileError, Readers};
use crate::order::{CodeState, OrderError, OrderList};
use crate::passphrase::{Passphrase, PassphraseError};
use crate::secret::{CRYPTKEY_BYTES_MAX, SecretError, SeriesSecret};
use crate::template::{self, TemplateError};
use crate::text::Language;
use crate::vendor_commands;

/// Most characters of a product name: it travels in every licence.
pub const PRODUCT_NAME_CHARS_MAX: usize = 100;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// A token, or the list of blanks.
    #[error(transparent)]
    Blank(#[from] crate::blank::BlankFailure),
    /// The centre was not reached or refused.
    #[error(transparent)]
    Call(#[from] CallError),
    /// Not an activation code.
    #[error("not an activation code")]
    Code(#[from] ParseCodeError),
    /// A data file or a file of licence parameters.
    #[error(transparent)]
    Datafile(#[from] DatafileFailure),
    /// An external object could not be built or taken apart.
    #[error(transparent)]
    Epf(#[from] EpfFailure),
    /// A file could not be read or made.
    #[error(transparent)]
    File(#[from] FileError),
    /// The licence document was refused.
    #[error("licence refused")]
    Licence(#[from] LicenceError),
    /// The order is outside its limits.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// The result could not be written.
    #[error("output")]
    Output(#[from] io::Error),
    /// No usable passphrase.
    #[error(transparent)]
    Passphrase(#[from] PassphraseError),
    /// The product has no name, or a long one.
    #[error("the product name must be 1 to {PRODUCT_NAME_CHARS_MAX} characters, none of control")]
    ProductName,
    /// Not a request file.
    #[error("{} is not a request of a licence server", .0.display())]
    Request(PathBuf),
    /// The secret of a series could not be sealed or opened.
    #[error("{}", .path.display())]
    Secret {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: SecretError,
    },
    /// Nothing could be signed.
    #[error(transparent)]
    Sign(#[from] crate::sign::SignError),
    /// Not a file of series descriptors.
    #[error("{}", .path.display())]
    SeriesFile {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: SeriesError,
    },
    /// The template was refused.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The series file does not describe the series of the licence.
    #[error("the file does not describe series {0}")]
    UnknownSeries(KeySeries),
    /// Not an address.
    #[error("{0:?} is not an http:// or https:// address")]
    Url(String),
    /// Not UTF-8.
    #[error("{} is not UTF-8 text", .0.display())]
    NotText(PathBuf),
}

impl Failure {
    /// The program's exit code: 3 when a file exists that may not be replaced and `-y` would replace
    /// it, else 1. Wrong usage is 2, from the command line itself.
    pub const fn exit_code(&self) -> u8 {
        let exists = matches!(
            self,
            Self::Datafile(DatafileFailure::OutputExists(_))
                | Self::Epf(EpfFailure::File(FileError::Exists(_)))
        );
        if exists { 3 } else { 1 }
    }
}

/// What a command finds around it.
pub struct Surroundings<'a> {
    /// Language of results.
    pub language: Language,
    /// Value of the passphrase's environment variable.
    pub passphrase: Option<Zeroizing<String>>,
    /// Where results go.
    pub out: &'a mut dyn Write,
}

/// Carries out one command.
///
/// # Errors
///
/// See [`Failure`].
pub fn run(command: Command, around: Surroundings<'_>) -> Result<(), Failure> {
    match command {
        Command::Audit(args) => vendor_commands::audit(&args, around),
        Command::Blank(command) => crate::blank::run(command, around),
        Command::C(original) => datafile::run_original(original, around),
        Command::Code(CodeCommand::Check { code }) => check_code(&code, around),
        Command::Customer(command) => vendor_commands::customer(&command, around),
        Command::Datafile(command) => datafile::run(command, around),
        Command::Epf(command) => crate::epf::run(command, around),
        Command::Key(command) => vendor_commands::key(&command, around),
        Command::Licence(LicenceCommand::Verify { series, licence }) => {
            verify_licence(&series, &licence, around)
        }
        Command::Order(OrderCommand::Add(order)) => add_order(&order, around),
        Command::Order(OrderCommand::List { centre, json }) => list_orders(&centre, json, around),
        Command::Order(OrderCommand::Prolong(args)) => vendor_commands::prolong(&args, around),
        Command::Order(OrderCommand::Revoke { centre, order_id }) => {
            revoke_order(&centre, order_id, around)
        }
        Command::Parameters(command) => datafile::run_parameters(command, around),
        Command::Request(RequestCommand::Answer { centre, file, out }) => {
            answer_request(&centre, &file, &out, around)
        }
        Command::Request(RequestCommand::Short { centre, lines }) => {
            let answer = calls::answer_short(&centre, lines.join("\n"), around.language)?;
            writeln!(around.out, "{answer}")?;
            Ok(())
        }
        Command::Series(SeriesCommand::Create(create)) => create_series(create, around),
        Command::Series(SeriesCommand::DeveloperPassword { cryptkey, passphrase_file }) => {
            let secret = open_secret(&cryptkey, passphrase_file.as_deref(), around.passphrase)?;
            writeln!(around.out, "{}", developer_password(secret.object_secret()))?;
            Ok(())
        }
        Command::Series(SeriesCommand::Show { file }) => show_series(&file, around),
        Command::Sign(args) => crate::sign::run(*args, around, &mut io::stdin().lock()),
        Command::Stats(args) => vendor_commands::stats(&args, around),
        Command::Stub(args) => crate::epf::stub(&args, around),
        Command::Template(command) => template::run(&command, around),
    }
}

fn create_series(create: SeriesCreate, around: Surroundings<'_>) -> Result<(), Failure> {
    let chars = create.name.chars().count();
    if !(1..=PRODUCT_NAME_CHARS_MAX).contains(&chars) || create.name.chars().any(char::is_control) {
        return Err(Failure::ProductName);
    }
    if let Some(url) = &create.centre_url {
        let parsed = url.parse::<ureq::http::Uri>().ok();
        let web = parsed.is_some_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()
        });
        if !web {
            return Err(Failure::Url(url.clone()));
        }
    }
    let key_path = create.out.join(format!("{}.cryptkey", create.series));
    let series_path = create.out.join(format!("{}.series", create.series));
    // Both are looked at before the first is made: half a series is worse than none.
    for path in [&key_path, &series_path] {
        if path.symlink_metadata().is_ok() {
            return Err(FileError::Exists(path.clone()).into());
        }
    }
    let passphrase = Passphrase::find(create.passphrase_file.as_deref(), around.passphrase)?;
    let failed = |source| Failure::Secret { path: key_path.clone(), source };
    let secret = SeriesSecret::generate(create.series).map_err(failed)?;
    let sealed = secret.seal(&passphrase).map_err(failed)?;
    // Opened again before it is relied on: a series whose key cannot be opened would be found
    // out only after codes were sold.
    SeriesSecret::open(&sealed, &passphrase).map_err(failed)?;
    let centre_url = create.centre_url.map(|url| url.trim_end_matches('/').to_owned());
    let descriptor = secret.descriptor(create.name, centre_url);
    let mut text = serde_json::to_vec_pretty(&descriptor).map_err(io::Error::from)?;
    text.push(b'\n');
    files::make_private_folder(&create.out)?;
    files::create(&key_path, &sealed, Readers::Owner)?;
    files::create(&series_path, &text, Readers::Everybody)?;
    let language = around.language;
    writeln!(
        around.out,
        "{}: {}\n{}: {}",
        language.pick(
            "secret part, keep it and its passphrase safe",
            "секретная часть, храните её и парольную фразу надёжно"
        ),
        key_path.display(),
        language.pick("public part, for servers", "открытая часть, для серверов"),
        series_path.display()
    )?;
    Ok(())
}

/// Opens the secret of a series.
///
/// # Errors
///
/// When there is no passphrase, or it is not the file's.
pub fn open_secret(
    path: &Path,
    passphrase_file: Option<&Path>,
    variable: Option<Zeroizing<String>>,
) -> Result<SeriesSecret, Failure> {
    let bytes = files::read(path, CRYPTKEY_BYTES_MAX)?;
    let passphrase = Passphrase::find(passphrase_file, variable)?;
    SeriesSecret::open(&bytes, &passphrase)
        .map_err(|source| Failure::Secret { path: path.to_owned(), source })
}

/// Reads a file of series descriptors.
///
/// # Errors
///
/// When it cannot be read or is not one.
pub fn read_series(
    path: &Path,
) -> Result<std::collections::BTreeMap<KeySeries, SeriesDescriptor>, Failure> {
    let text = read_text(path, SERIES_FILE_BYTES_MAX)?;
    parse_series_file(&text).map_err(|source| Failure::SeriesFile { path: path.to_owned(), source })
}

fn read_text(path: &Path, limit: usize) -> Result<String, Failure> {
    String::from_utf8(files::read(path, limit)?).map_err(|_| Failure::NotText(path.to_owned()))
}

fn show_series(file: &Path, around: Surroundings<'_>) -> Result<(), Failure> {
    let language = around.language;
    for (series, descriptor) in read_series(file)? {
        let key = descriptor
            .signing_key()
            .map_err(|source| Failure::SeriesFile { path: file.to_owned(), source })?;
        let none = language.pick("none", "нет");
        writeln!(
            around.out,
            "{}: {series}\n{}: {}\n{}: {}\n{}: {}\n{}: {}",
            language.pick("series", "серия"),
            language.pick("product", "продукт"),
            descriptor.product_name,
            language.pick("activation centre", "центр активации"),
            descriptor.centre_url.as_deref().unwrap_or(none),
            language.pick("signing key", "ключ подписи"),
            key.thumbprint(),
            language.pick("object key", "ключ объектов"),
            if descriptor.object_key().is_some() { "X25519" } else { none },
        )?;
    }
    Ok(())
}

fn check_code(text: &str, around: Surroundings<'_>) -> Result<(), Failure> {
    let code: ActivationCode = text.parse()?;
    let language = around.language;
    let kind = match code.kind() {
        CodeKind::Activation => language.pick("activation code", "код активации"),
        CodeKind::Reserve => language.pick("reserve code", "резервный код"),
    };
    let (series, word) = (code.series(), language.pick("series", "серия"));
    writeln!(around.out, "{code}: {kind}, {word} {series}")?;
    Ok(())
}

fn verify_licence(
    series_path: &Path,
    licence_path: &Path,
    around: Surroundings<'_>,
) -> Result<(), Failure> {
    let known = read_series(series_path)?;
    // Room for line ends around the token.
    let document = read_text(licence_path, TOKEN_BYTES_MAX + 16)?;
    let series = Licence::peek_series(&document)?;
    let descriptor = known.get(&series).ok_or(Failure::UnknownSeries(series))?;
    let key = descriptor
        .signing_key()
        .map_err(|source| Failure::SeriesFile { path: series_path.to_owned(), source })?;
    let licence = Licence::verify(&document, &key)?;
    writeln!(around.out, "{}", around.language.pick("genuine", "лицензия подлинная"))?;
    serde_json::to_writer_pretty(&mut *around.out, &licence.claims).map_err(io::Error::from)?;
    writeln!(around.out)?;
    Ok(())
}

fn add_order(order: &OrderAdd, around: Surroundings<'_>) -> Result<(), Failure> {
    let centre = connect(&order.centre, around.language)?;
    let answer = centre.add_order(&order.call()?)?;
    if order.json {
        return print_json(&answer, around.out);
    }
    for issued in answer.codes {
        writeln!(around.out, "{}", issued.code)?;
    }
    Ok(())
}

fn list_orders(centre: &CentreArgs, json: bool, around: Surroundings<'_>) -> Result<(), Failure> {
    let list = connect(centre, around.language)?.orders()?;
    if json {
        return print_json(&list, around.out);
    }
    write_list(&list, around)
}

fn write_list(list: &OrderList, around: Surroundings<'_>) -> Result<(), Failure> {
    let language = around.language;
    for view in &list.orders {
        let order = &view.order;
        write!(
            around.out,
            "{} {} {}: {} {}, {} {}",
            language.pick("order", "заказ"),
            view.order_id,
            view.created,
            language.pick("series", "серия"),
            order.series,
            language.pick("seats", "лицензий"),
            order.seats
        )?;
        if view.revoked.is_some() {
            write!(around.out, ", {}", language.pick("revoked", "отозван"))?;
        }
        writeln!(around.out)?;
        for code in &view.codes {
            let state = match code.state {
                CodeState::Activated => language.pick("activated", "активирован"),
                CodeState::Free => language.pick("free", "свободен"),
                CodeState::Returned => language.pick("returned", "возвращён"),
            };
            write!(around.out, "  {} {} {state}", code.code, code.key_no)?;
            if let Some(reserve) = &code.reserve_code {
                write!(around.out, " {reserve}")?;
            }
            writeln!(around.out)?;
        }
    }
    Ok(())
}

fn revoke_order(
    centre: &CentreArgs,
    order_id: i64,
    around: Surroundings<'_>,
) -> Result<(), Failure> {
    connect(centre, around.language)?.revoke_order(order_id)?;
    let said = around.language.pick("revoked", "отозван");
    writeln!(around.out, "{order_id}: {said}")?;
    Ok(())
}

fn answer_request(
    centre: &str,
    file: &Path,
    out: &Path,
    around: Surroundings<'_>,
) -> Result<(), Failure> {
    // Looked at before the centre is asked: what it does to a key is done then.
    if out.symlink_metadata().is_ok() {
        return Err(FileError::Exists(out.to_owned()).into());
    }
    // Room for line ends around the token.
    let request = read_text(file, TOKEN_BYTES_MAX + 16)?.trim().to_owned();
    if RequestKind::of(&request).is_none() {
        return Err(Failure::Request(file.to_owned()));
    }
    let language = around.language;
    let answer = calls::answer_request(centre, request, language)?;
    let mut text = serde_json::to_vec_pretty(&answer).map_err(io::Error::from)?;
    text.push(b'\n');
    // The answer may hold a reserve code, so it is its owner's alone.
    files::create(out, &text, Readers::Owner)?;
    let what = match answer.answer {
        CentreAnswer::Activation(_) => language.pick("a licence", "лицензия"),
        CentreAnswer::Return(_) => language.pick("a reserve code", "резервный код"),
        CentreAnswer::Spare(_) => language.pick("a spare code", "запасной код"),
        CentreAnswer::Update(_) => language.pick("the server's licences", "лицензии сервера"),
    };
    writeln!(around.out, "{}: {what}", out.display())?;
    Ok(())
}

pub(crate) fn connect(args: &CentreArgs, language: Language) -> Result<Centre, Failure> {
    Ok(Centre::new(&args.centre, &args.token_file, language)?)
}

pub(crate) fn print_json<T: serde::Serialize>(
    value: &T,
    out: &mut dyn Write,
) -> Result<(), Failure> {
    serde_json::to_writer_pretty(&mut *out, value).map_err(io::Error::from)?;
    writeln!(out)?;
    Ok(())
}
