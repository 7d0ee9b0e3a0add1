//! `licencekit sign`: the vendor's machine signs what waits at a centre that has not the secret.
//!
//! Shows each document as its claims read, never as the centre describes it, asks, and signs. Over the
//! network in one go, or by files for a machine without one: `export`, `file`, `import`. How a document
//! is signed is [`crate::signing`]'s.

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Args, Subcommand};
use licence_core::causes::with_causes;
use licence_core::centre_request::ReturnReceipt;
use licence_core::key::{KeyKind, KeySeries};
use licence_core::licence_file::LicenceClaims;
use licence_core::seal::KEY_BYTES;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::calls::{CallError, Centre};
use crate::cli::CentreArgs;
use crate::commands::{Failure, Surroundings, connect, open_secret};
use crate::files::{self, Readers};
use crate::signing::{Signer, SigningError};
use crate::text::Language;
use crate::vendor::{
    Page, SignedAnswer, SignedCall, SignedDocument, SignedFile, UnsignedFile, UnsignedKind,
    UnsignedView,
};

/// Largest file between the machines: ten thousand licences of some 1.5 KiB each.
const FILE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Longest answer to a question that is read: a word.
const WORD_BYTES_MAX: u64 = 64;

/// Arguments of `sign`. Those of the signing over the network are asked for unless a command follows.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct SignArgs {
    /// By files, for a machine without a network.
    #[command(subcommand)]
    pub command: Option<SignCommand>,
    /// Address of the activation centre.
    #[arg(long, required = true)]
    pub centre: Option<String>,
    /// The centre's admin.token.
    #[arg(long, required = true)]
    pub token_file: Option<PathBuf>,
    /// XXXX.cryptkey.
    #[arg(long, required = true)]
    pub cryptkey: Option<PathBuf>,
    /// File with the passphrase; without it LICENCE_PASSPHRASE is used.
    #[arg(long)]
    pub passphrase_file: Option<PathBuf>,
    /// Sign all without a question.
    #[arg(long)]
    pub yes: bool,
}

/// What signs over the network.
struct Online {
    centre: CentreArgs,
    cryptkey: PathBuf,
    passphrase_file: Option<PathBuf>,
    yes: bool,
}

impl SignArgs {
    /// The command, or what signs over the network; neither only if the command line let that through.
    fn split(self) -> (Option<SignCommand>, Option<Online>) {
        let Self { command, centre, token_file, cryptkey, passphrase_file, yes } = self;
        let online = match (centre, token_file, cryptkey) {
            (Some(centre), Some(token_file), Some(cryptkey)) => Some(Online {
                centre: CentreArgs { centre, token_file },
                cryptkey,
                passphrase_file,
                yes,
            }),
            _ => None,
        };
        (command, online)
    }
}

/// What signs.
#[derive(Args, Debug)]
pub struct KeyArgs {
    /// XXXX.cryptkey.
    #[arg(long)]
    pub cryptkey: PathBuf,
    /// File with the passphrase; without it LICENCE_PASSPHRASE is used.
    #[arg(long)]
    pub passphrase_file: Option<PathBuf>,
    /// Sign all without a question.
    #[arg(long)]
    pub yes: bool,
}

/// Signing by files.
#[derive(Debug, Subcommand)]
pub enum SignCommand {
    /// Save what waits for a signature; needs no secret.
    Export {
        /// Which centre.
        #[command(flatten)]
        centre: CentreArgs,
        /// Where to save it; a file that exists is not replaced.
        #[arg(short, long)]
        out: PathBuf,
    },
    /// Sign what was saved; needs no network.
    File {
        /// What signs.
        #[command(flatten)]
        key: KeyArgs,
        /// What `export` has saved.
        file: PathBuf,
        /// Where to save what was signed; a file that exists is not replaced.
        #[arg(short, long)]
        out: PathBuf,
    },
    /// Give the centre what was signed; needs no secret.
    Import {
        /// Which centre.
        #[command(flatten)]
        centre: CentreArgs,
        /// What `file` has saved.
        file: PathBuf,
    },
}

/// Why something was not signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The claims are not those of their kind, or contradict what is said about them.
    #[error("document {0}: the claims are not those of a {1}")]
    Claims(i64, &'static str),
    /// Not the JSON that a command has written.
    #[error("{}: not a file of licencekit sign: {what}", .path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Neither a command nor all that signing over the network needs; the command line lets no such
    /// call through.
    #[error("--centre, --token-file and --cryptkey are needed")]
    Nothing,
    /// Some documents were not taken; the reasons were printed.
    #[error("{0} documents were not taken")]
    Refused(usize),
    /// A licence could not be made.
    #[error("document {id}")]
    Signing {
        /// Which document.
        id: i64,
        /// What is wrong.
        #[source]
        source: SigningError,
    },
}

impl SignError {
    /// The same in Russian.
    pub fn russian(&self) -> String {
        match self {
            Self::Claims(id, _) => format!("документ {id}: содержимое не соответствует его виду"),
            Self::File { path, what } => {
                format!("{}: это не файл licencekit sign: {what}", path.display())
            }
            Self::Nothing => "нужны --centre, --token-file и --cryptkey".to_owned(),
            Self::Refused(count) => format!("не принято документов: {count}"),
            Self::Signing { id, source } => format!("документ {id}: {}", with_causes(source)),
        }
    }
}

/// Carries `sign` out; answers to its questions are read from `input`.
///
/// # Errors
///
/// See [`Failure`]. What was signed and taken before stays so.
pub fn run(
    args: SignArgs,
    around: Surroundings<'_>,
    input: &mut dyn BufRead,
) -> Result<(), Failure> {
    match args.split() {
        (Some(SignCommand::Export { centre, out }), _) => {
            let waiting = fetch(&connect(&centre, around.language)?)?;
            let count = waiting.len();
            save(&out, &UnsignedFile { unsigned: waiting })?;
            Ok(writeln!(around.out, "{}: {count}", waits(around.language))?)
        }
        (Some(SignCommand::File { key, file, out }), _) => {
            let UnsignedFile { unsigned } = load(&file)?;
            let Surroundings { language, passphrase, out: shown } = around;
            let secret = open_secret(&key.cryptkey, key.passphrase_file.as_deref(), passphrase)?;
            let signer = Signer::new(&secret);
            let mut signed = Vec::new();
            let mut desk = Desk { signer: &signer, yes: key.yes, language, out: shown, input };
            desk.go_through(&unsigned, |document, _| {
                signed.push(document);
                Ok(())
            })?;
            save(&out, &SignedFile { signed })
        }
        (Some(SignCommand::Import { centre, file }), _) => {
            let SignedFile { signed } = load(&file)?;
            let centre = connect(&centre, around.language)?;
            let mut refused = 0;
            for document in signed {
                let id = document.unsigned_id;
                match give(&centre, document) {
                    Ok(answer) => writeln!(around.out, "{id}: {}", answer.key_no)?,
                    // Others may be good: one that was given back meanwhile must not hold them up.
                    Err(error @ CallError::Refused { .. }) => {
                        refused += 1;
                        let text = match around.language {
                            Language::English => with_causes(&error),
                            Language::Russian => crate::text::russian_call(&error),
                        };
                        writeln!(around.out, "{id}: {text}")?;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            if refused > 0 { Err(SignError::Refused(refused).into()) } else { Ok(()) }
        }
        (None, Some(online)) => {
            let centre = connect(&online.centre, around.language)?;
            let Surroundings { language, passphrase, out } = around;
            let (file, yes) = (online.passphrase_file.as_deref(), online.yes);
            let secret = open_secret(&online.cryptkey, file, passphrase)?;
            let signer = Signer::new(&secret);
            let waiting = fetch(&centre)?;
            let mut desk = Desk { signer: &signer, yes, language, out, input };
            desk.go_through(&waiting, |document, _| Ok(give(&centre, document).map(|_| ())?))
        }
        (None, None) => Err(SignError::Nothing.into()),
    }
}

const fn waits(language: Language) -> &'static str {
    language.pick("waiting for a signature", "ожидают подписи")
}

/// All that waits, page by page.
fn fetch(centre: &Centre) -> Result<Vec<UnsignedView>, CallError> {
    let mut all = Vec::new();
    let mut after = 0;
    loop {
        let page: Page<UnsignedView> = centre.fetch(&format!("/api/unsigned?after={after}"))?;
        all.extend(page.items);
        // Numbers grow from page to page, or a confused centre would keep us for ever.
        match page.next.filter(|next| *next > after) {
            Some(next) => after = next,
            None => return Ok(all),
        }
    }
}

fn give(centre: &Centre, document: SignedDocument) -> Result<SignedAnswer, CallError> {
    let path = format!("/api/unsigned/{}", document.unsigned_id);
    centre.post(&path, &SignedCall { document: document.document })
}

fn save<T: Serialize>(path: &Path, value: &T) -> Result<(), Failure> {
    let mut text = serde_json::to_vec_pretty(value).map_err(std::io::Error::from)?;
    text.push(b'\n');
    // Claims hold activation codes.
    Ok(files::create(path, &text, Readers::Owner)?)
}

fn load<T: DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    let bytes = files::read(path, FILE_BYTES_MAX)?;
    let wrong = |error: serde_json::Error| SignError::File {
        path: path.to_owned(),
        what: error.to_string(),
    };
    Ok(serde_json::from_slice(&bytes).map_err(wrong)?)
}

/// Where documents are looked at and signed.
struct Desk<'a> {
    signer: &'a Signer,
    yes: bool,
    language: Language,
    out: &'a mut dyn Write,
    input: &'a mut dyn BufRead,
}

impl Desk<'_> {
    /// Shows each document of the signer's series, asks, signs, and hands it on.
    fn go_through(
        &mut self,
        waiting: &[UnsignedView],
        mut hand_on: impl FnMut(SignedDocument, &UnsignedView) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let (own, others): (Vec<_>, Vec<_>) =
            waiting.iter().partition(|view| view.series == self.signer.series());
        if !others.is_empty() {
            let text = self.language.pick("of other series, left alone", "других серий, пропущены");
            writeln!(self.out, "{text}: {}", others.len())?;
        }
        let mut signed = 0;
        for view in own {
            let draft = Draft::read(view, self.signer.series())?;
            writeln!(self.out, "{}", draft.shown(view, self.language))?;
            if !self.yes && !self.ask()? {
                continue;
            }
            let document = draft.sign(view, self.signer)?;
            hand_on(SignedDocument { unsigned_id: view.unsigned_id, document }, view)?;
            signed += 1;
        }
        let text = self.language.pick("signed", "подписано");
        Ok(writeln!(self.out, "{text}: {signed}")?)
    }

    /// Whether to sign. Silence and the end of the input are a no.
    fn ask(&mut self) -> Result<bool, Failure> {
        write!(self.out, "{} ", self.language.pick("Sign? [y/N]", "Подписать? [д/Н]"))?;
        self.out.flush()?;
        let mut word = String::new();
        std::io::Read::take(&mut *self.input, WORD_BYTES_MAX).read_line(&mut word)?;
        Ok(matches!(word.trim().to_lowercase().as_str(), "y" | "yes" | "д" | "да"))
    }
}

/// What is to be signed, as its claims read.
enum Draft {
    Licence(Box<LicenceClaims>),
    Receipt(Box<ReturnReceipt>),
}

impl Draft {
    /// Reads the claims; those of another series, of a wrapped key or of another kind are none.
    fn read(view: &UnsignedView, series: KeySeries) -> Result<Self, SignError> {
        let wrong = || SignError::Claims(view.unsigned_id, view.kind.word());
        let claims = view.claims.clone();
        match view.kind {
            UnsignedKind::Licence | UnsignedKind::Short => {
                let claims: LicenceClaims = serde_json::from_value(claims).map_err(|_| wrong())?;
                let is_bare = claims.object_key.is_none();
                let is_ours = claims.fields.key_id == series;
                let is_known = KeyKind::from_code(claims.fields.key_type).is_some();
                let draft = Self::Licence(Box::new(claims));
                if is_bare && is_ours && is_known { Ok(draft) } else { Err(wrong()) }
            }
            UnsignedKind::Receipt => {
                let receipt: ReturnReceipt = serde_json::from_value(claims).map_err(|_| wrong())?;
                let is_ours = receipt.key_id == series;
                let draft = Self::Receipt(Box::new(receipt));
                if is_ours { Ok(draft) } else { Err(wrong()) }
            }
        }
    }

    /// One line for the person who signs.
    fn shown(&self, view: &UnsignedView, language: Language) -> String {
        let computer = language.pick("computer", "компьютер");
        // The centre's own word: it may hold anything.
        let computer_id: String =
            view.computer_id.chars().filter(char::is_ascii_hexdigit).take(40).collect();
        match self {
            Self::Licence(claims) => {
                let fields = &claims.fields;
                let what = match view.kind {
                    UnsignedKind::Short => {
                        language.pick("licence by telephone", "лицензия для телефона")
                    }
                    UnsignedKind::Licence | UnsignedKind::Receipt => {
                        language.pick("licence", "лицензия")
                    }
                };
                let kind = match KeyKind::from_code(fields.key_type) {
                    Some(KeyKind::Additional) => language.pick("additional", "дополнительный"),
                    Some(KeyKind::Demo) => language.pick("demo", "демонстрационный"),
                    Some(KeyKind::Main) | None => language.pick("main", "основной"),
                };
                let term = fields.term().end().map_or_else(
                    || language.pick("without end", "бессрочно").to_owned(),
                    |end| format!("{} {end}", language.pick("until", "до")),
                );
                // Whoever holds the key that the draft names opens every object of the series.
                let objects = match &view.enc {
                    Some(_) => {
                        language.pick(", with the object key", ", с ключом защищённых объектов")
                    }
                    None => "",
                };
                format!(
                    "{}: {what} {}.{}, {kind}, {}: {}, {term}, {}: {}, {computer}: {computer_id}\
                     {objects}",
                    view.unsigned_id,
                    fields.key_id,
                    fields.key_no,
                    language.pick("seats", "мест"),
                    fields.licence_count,
                    language.pick("ITN", "ИНН"),
                    fields.itn.as_deref().unwrap_or("–"),
                )
            }
            Self::Receipt(receipt) => format!(
                "{}: {} {}.{}, {computer}: {computer_id}",
                view.unsigned_id,
                language.pick("receipt of a return", "квитанция о возврате"),
                receipt.key_id,
                receipt.key_no,
            ),
        }
    }

    fn sign(&self, view: &UnsignedView, signer: &Signer) -> Result<String, SignError> {
        let id = view.unsigned_id;
        match self {
            Self::Licence(claims) => {
                let enc = match &view.enc {
                    Some(text) => Some(
                        URL_SAFE_NO_PAD
                            .decode(text)
                            .ok()
                            .and_then(|bytes| <[u8; KEY_BYTES]>::try_from(bytes).ok())
                            .ok_or_else(|| SignError::Claims(id, view.kind.word()))?,
                    ),
                    None => None,
                };
                signer
                    .licence(claims, enc.as_ref())
                    .map_err(|source| SignError::Signing { id, source })
            }
            Self::Receipt(receipt) => {
                signer.receipt(receipt).map_err(|_| SignError::Claims(id, view.kind.word()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};
    use crate::secret::SeriesSecret;

    fn parsed(words: &str) -> Result<SignArgs, clap::Error> {
        let cli = Cli::try_parse_from(format!("licencekit sign {words}").split_whitespace())?;
        let Command::Sign(args) = cli.command else { panic!("another command") };
        Ok(*args)
    }

    #[test]
    fn signing_is_called_over_the_network_or_by_files() {
        let online = parsed("--centre http://localhost:1 --token-file t --cryptkey k").unwrap();
        let online = online.split().1.unwrap();
        assert!(!online.yes);
        assert_eq!(online.centre.centre, "http://localhost:1");
        assert_eq!(online.cryptkey, PathBuf::from("k"));
        let export = parsed("export --centre http://localhost:1 --token-file t --out u").unwrap();
        assert!(matches!(export.command, Some(SignCommand::Export { .. })));
        let file = parsed("file --cryptkey k u.json --out s.json --yes").unwrap();
        assert!(matches!(file.command, Some(SignCommand::File { .. })));
        let import = parsed("import --centre http://localhost:1 --token-file t s.json").unwrap();
        assert!(matches!(import.command, Some(SignCommand::Import { .. })));
        for words in ["", "--cryptkey k", "--centre http://localhost:1 --token-file t", "file u"] {
            assert!(parsed(words).is_err(), "{words}");
        }
    }

    fn receipt(series: u16, id: i64) -> UnsignedView {
        let series = KeySeries::from_u16(series);
        let claims = ReturnReceipt::new(
            "a1".into(),
            licence_core::time::Utc::from_unix_millis(0),
            licence_core::key::KeyNo(7),
            series,
            ReturnReceipt::withheld(series),
        );
        UnsignedView {
            unsigned_id: id,
            kind: UnsignedKind::Receipt,
            series,
            key_no: licence_core::key::KeyNo(7),
            activation_id: "a1".into(),
            computer_id: "AB\u{1b}[2J".into(),
            claims: serde_json::to_value(claims).unwrap(),
            enc: None,
            created: licence_core::time::Utc::from_unix_millis(0),
        }
    }

    #[test]
    fn only_what_is_answered_with_yes_is_signed_and_other_series_are_left_alone() {
        let secret = SeriesSecret::from_bytes(KeySeries::from_u16(0x672B), [1; 32], [2; 32]);
        let signer = Signer::new(&secret);
        let waiting = [receipt(0x672B, 1), receipt(1, 2), receipt(0x672B, 3), receipt(0x672B, 4)];
        let (mut out, mut signed) = (Vec::new(), Vec::new());
        let mut desk = Desk {
            signer: &signer,
            yes: false,
            language: Language::English,
            out: &mut out,
            input: &mut "no\ny\n".as_bytes(),
        };
        desk.go_through(&waiting, |document, _| {
            signed.push(document);
            Ok(())
        })
        .unwrap();
        assert_eq!(signed.len(), 1);
        assert_eq!(signed[0].unsigned_id, 3);
        assert!(ReturnReceipt::verify(&signed[0].document, &signer.public()).is_ok());
        let shown = String::from_utf8(out).unwrap();
        assert!(shown.contains("of other series, left alone: 1"), "{shown}");
        assert!(shown.contains("receipt of a return 672B.7") && !shown.contains('\u{1b}'));
    }

    #[test]
    fn claims_that_belong_to_another_series_or_kind_are_not_signed() {
        let series = KeySeries::from_u16(0x672B);
        assert!(Draft::read(&receipt(0x672B, 1), series).is_ok());
        // The view says our series, its claims say another.
        let other = UnsignedView { series, ..receipt(1, 1) };
        assert!(matches!(Draft::read(&other, series), Err(SignError::Claims(1, "receipt"))));
        let kind = UnsignedView { kind: UnsignedKind::Licence, ..receipt(0x672B, 1) };
        assert!(matches!(Draft::read(&kind, series), Err(SignError::Claims(1, "licence"))));
    }
}
