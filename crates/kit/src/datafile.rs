//! Data files for vendors: sealing objects, looking at a file, opening it again.
//!
//! The commands `datafile`, `c` (the original editor's words) and `parameters`. The format is
//! `licence_core::datafile`'s matter. Nothing here asks a person: what may not be replaced is an
//! error, and results go to the writer that the caller gives.

pub mod args;
pub mod encoding;
pub mod failure;
pub mod hook;
pub mod sources;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use licence_core::datafile::{
    Datafile, DatafileBuilder, DatafileError, LIST_BYTES_MAX, MAGIC, OBJECT_BYTES_MAX,
    ObjectAccess, ObjectEntry, ObjectKind, ObjectList, PARAMETERS_NAMES, open_object,
    unwrap_object_key,
};
use licence_core::key::KeySeries;
use licence_core::parameters::ParameterFile;
use licence_core::seal::PublicKey;
use licence_core::wrap::WrapKey;
use zeroize::Zeroizing;

use self::args::{AccessRule, DatafileCommand, Encoding, OriginalPack, Pack, ParametersCommand};
use self::failure::{DatafileFailure, NotAnObject};
use self::sources::Source;
use crate::commands::{Failure, Surroundings, open_secret, read_series};
use crate::files::{self, FileError, Readers};
use crate::secret::{AGE_HEADER, SeriesSecret};
use crate::text::Language;

/// How every container of the platform begins; 8.3.15 and later also write the longer form.
const CONTAINER_STARTS: [&[u8]; 2] =
    [&[0xFF, 0xFF, 0xFF, 0x7F], &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F]];

/// Carries out a command about data files.
///
/// # Errors
///
/// See [`Failure`].
pub fn run(command: DatafileCommand, around: Surroundings<'_>) -> Result<(), Failure> {
    match command {
        DatafileCommand::Pack(args) => pack(&args, around),
        DatafileCommand::List { file, series, json } => list(&file, &series, json, around),
        DatafileCommand::Verify { file, series, cryptkey, passphrase_file } => {
            let passphrase = passphrase_file.as_deref();
            verify(&file, series.as_deref(), cryptkey.as_deref(), passphrase, around)
        }
        DatafileCommand::Unpack { file, cryptkey, out, passphrase_file, yes } => {
            unpack(&file, &cryptkey, passphrase_file.as_deref(), &out, yes, around)
        }
    }
}

/// Carries out `c`, the original editor's command.
///
/// # Errors
///
/// See [`Failure`].
pub fn run_original(args: OriginalPack, around: Surroundings<'_>) -> Result<(), Failure> {
    let OriginalPack { out, sources, serie, cryptkey, encoding, passphrase_file, yes } = args;
    let cryptkey = match (cryptkey, serie) {
        (Some(path), _) => path,
        (None, Some(series)) => find_cryptkey(&out, series)?,
        (None, None) => return Err(DatafileFailure::SeriesMissing.into()),
    };
    let access = Vec::new();
    let series = serie;
    pack(&Pack { out, sources, cryptkey, series, encoding, access, passphrase_file, yes }, around)
}

/// `XXXX.cryptkey` beside the data file, else in the current folder.
fn find_cryptkey(out: &Path, series: KeySeries) -> Result<PathBuf, DatafileFailure> {
    let name = format!("{series}.cryptkey");
    [out.with_file_name(&name), PathBuf::from(&name)]
        .into_iter()
        .find(|path| path.is_file())
        .ok_or(DatafileFailure::CryptkeyMissing { series })
}

/// Carries out a command about licence parameters.
///
/// # Errors
///
/// See [`Failure`].
pub fn run_parameters(command: ParametersCommand, around: Surroundings<'_>) -> Result<(), Failure> {
    let ParametersCommand::Check { file, encoding } = command;
    let text = read_text(&file, encoding)?;
    let parameters = ParameterFile::parse(&text)
        .map_err(|source| DatafileFailure::Parameters { path: file.clone(), source })?;
    let language = around.language;
    writeln!(
        around.out,
        "{}: {}: {}, {}: {}",
        file.display(),
        language.pick("values", "значений"),
        parameters.len(),
        language.pick("keys with values of their own", "ключей со своими значениями"),
        parameters.keys().count(),
    )?;
    if let Some(key) = parameters.main_key() {
        writeln!(around.out, "{}: {key}", language.pick("main key", "основной ключ"))?;
    }
    Ok(())
}

fn pack(args: &Pack, around: Surroundings<'_>) -> Result<(), Failure> {
    let language = around.language;
    // Before the passphrase is worked on, which takes a second: what can fail early does.
    if !args.yes && args.out.symlink_metadata().is_ok() {
        return Err(DatafileFailure::OutputExists(args.out.clone()).into());
    }
    let sources = sources::find(&args.sources)?;
    check_sources(&sources, args)?;
    let mut rules = access_rules(&args.access, &sources)?;
    let secret = open_secret(&args.cryptkey, args.passphrase_file.as_deref(), around.passphrase)?;
    check_series(&secret, &args.cryptkey, args.series)?;
    let signing = secret.signing_key();
    let mut builder = DatafileBuilder::new(secret.series(), &signing, secret.object_secret());
    for source in &sources {
        let plain = content(source, args.encoding)?;
        let access = match rules.remove(&source.name.to_lowercase()) {
            Some(access) => access,
            None => default_access(source, &plain, language, around.out)?,
        };
        warn_of_foreign(source, &plain, language, around.out)?;
        builder.add(&source.name, source.kind, access, &plain).map_err(refused(&source.path))?;
    }
    let built = builder.finish().map_err(refused(&args.out))?;
    let parts = [built.head.as_slice(), built.body.as_slice()];
    if args.yes {
        files::replace(&args.out, &parts, Readers::Everybody)?;
    } else {
        match files::create_from(&args.out, &parts, Readers::Everybody) {
            Err(FileError::Exists(path)) => return Err(DatafileFailure::OutputExists(path).into()),
            done => done?,
        }
    }
    write_table(&built.list, language, around.out)?;
    let bytes = built.head.len() + built.body.len();
    let version = ObjectList::version(token_of(&built.head));
    let (series, objects) = (secret.series(), built.list.objects.len());
    writeln!(
        around.out,
        "{}: {} {series}, {}: {objects}, {}: {bytes}, {} {version}",
        args.out.display(),
        language.pick("series", "серия"),
        language.pick("objects", "объектов"),
        language.pick("bytes", "байт"),
        language.pick("version", "версия"),
    )?;
    Ok(())
}

/// The list's token within the head of a file that was just made.
fn token_of(head: &[u8]) -> &str {
    let token = head.get(MAGIC.len()..head.len().saturating_sub(1)).unwrap_or_default();
    std::str::from_utf8(token).unwrap_or_default()
}

/// Secrets and data files that a wide pattern catches are no objects: a text that holds the secret
/// of the series would go to every customer.
fn check_sources(sources: &[Source], args: &Pack) -> Result<(), Failure> {
    let secrets = [Some(&args.cryptkey), args.passphrase_file.as_ref()];
    for source in sources {
        let refuse = |what| Err(DatafileFailure::Secret { path: source.path.clone(), what }.into());
        if sources::is_same(&source.path, &args.out) {
            return refuse(NotAnObject::Output);
        }
        if secrets.iter().flatten().any(|secret| sources::is_same(&source.path, secret)) {
            return refuse(NotAnObject::Secret);
        }
        let start = read_start(&source.path, 64)?;
        if start.starts_with(AGE_HEADER.as_bytes()) {
            return refuse(NotAnObject::Secret);
        }
        if start.starts_with(MAGIC) {
            return refuse(NotAnObject::Datafile);
        }
    }
    let named = |name: &str| {
        let name = name.to_lowercase();
        sources.iter().any(|s| s.kind == ObjectKind::Text && s.name.to_lowercase() == name)
    };
    if PARAMETERS_NAMES.into_iter().all(named) {
        return Err(DatafileFailure::ParametersTwice.into());
    }
    Ok(())
}

fn access_rules(
    rules: &[AccessRule],
    sources: &[Source],
) -> Result<BTreeMap<String, ObjectAccess>, DatafileFailure> {
    let mut by_name = BTreeMap::new();
    for rule in rules {
        let name = rule.name.to_lowercase();
        if !sources.iter().any(|source| source.name.to_lowercase() == name) {
            return Err(DatafileFailure::AccessUnknown(rule.name.clone()));
        }
        if by_name.insert(name, rule.access).is_some() {
            return Err(DatafileFailure::AccessTwice(rule.name.clone()));
        }
    }
    Ok(by_name)
}

fn check_series(
    secret: &SeriesSecret,
    path: &Path,
    wanted: Option<KeySeries>,
) -> Result<(), DatafileFailure> {
    match wanted {
        Some(wanted) if wanted != secret.series() => Err(DatafileFailure::OtherSeries {
            path: path.to_owned(),
            wanted,
            found: secret.series(),
        }),
        _ => Ok(()),
    }
}

/// What is sealed: a processor's bytes as they are, a text in UTF-8. Texts of parameters are read
/// once here, so that a wrong line is found before customers have it.
fn content(source: &Source, encoding: Encoding) -> Result<Zeroizing<Vec<u8>>, Failure> {
    if source.kind != ObjectKind::Text {
        return Ok(read_object(&source.path)?);
    }
    let text = read_text(&source.path, encoding)?;
    let name = source.name.to_lowercase();
    if PARAMETERS_NAMES.iter().any(|parameters| parameters.to_lowercase() == name) {
        ParameterFile::parse(&text).map_err(|error| DatafileFailure::Parameters {
            path: source.path.clone(),
            source: error,
        })?;
    }
    Ok(Zeroizing::new(text.into_bytes()))
}

fn read_object(path: &Path) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let limit = usize::try_from(OBJECT_BYTES_MAX).unwrap_or(usize::MAX - 1);
    files::read(path, limit).map(Zeroizing::new)
}

fn read_text(path: &Path, encoding: Encoding) -> Result<String, Failure> {
    let bytes = read_object(path)?;
    let text = encoding::decode(&bytes, encoding)
        .map_err(|source| DatafileFailure::Encoding { path: path.to_owned(), source })?;
    Ok(text)
}

/// A seat is needed, unless the object itself decides about the control of licences.
fn default_access(
    source: &Source,
    plain: &[u8],
    language: Language,
    out: &mut dyn Write,
) -> io::Result<ObjectAccess> {
    if source.kind == ObjectKind::Text || hook::exports_hook(plain) != Some(true) {
        return Ok(ObjectAccess::Seat);
    }
    writeln!(
        out,
        "{}: {}",
        source.name,
        language.pick(
            "access key, because its module exports ПередКонтролемЛицензии",
            "доступ key, потому что модуль экспортирует ПередКонтролемЛицензии"
        )
    )?;
    Ok(ObjectAccess::Key)
}

/// The platform's formats are not ours to judge, so an unknown beginning is only told.
fn warn_of_foreign(
    source: &Source,
    plain: &[u8],
    language: Language,
    out: &mut dyn Write,
) -> io::Result<()> {
    if source.kind == ObjectKind::Text || CONTAINER_STARTS.iter().any(|s| plain.starts_with(s)) {
        return Ok(());
    }
    writeln!(
        out,
        "{}: {}",
        source.path.display(),
        language.pick(
            "does not begin as a processor or report of 1C:Enterprise",
            "не похоже на внешнюю обработку или отчёт 1С:Предприятия"
        )
    )
}

fn list(file: &Path, series: &Path, json: bool, around: Surroundings<'_>) -> Result<(), Failure> {
    let (_, opened) = open_by_series_file(file, series)?;
    if json {
        let objects = opened.list.objects.iter().map(|object| {
            serde_json::json!({
                "Name": object.name, "Kind": object.kind, "Access": object.access,
                "Size": object.size, "Digest": object.digest,
            })
        });
        let view = serde_json::json!({
            "Series": opened.list.key_id, "Version": ObjectList::version(&opened.token),
            "Objects": objects.collect::<Vec<_>>(),
        });
        serde_json::to_writer_pretty(&mut *around.out, &view).map_err(io::Error::from)?;
        writeln!(around.out)?;
        return Ok(());
    }
    write_table(&opened.list, around.language, around.out)?;
    let (series, version) = (opened.list.key_id, ObjectList::version(&opened.token));
    let language = around.language;
    writeln!(
        around.out,
        "{} {series}, {} {version}",
        language.pick("series", "серия"),
        language.pick("version", "версия")
    )?;
    Ok(())
}

fn verify(
    file: &Path,
    series: Option<&Path>,
    cryptkey: Option<&Path>,
    passphrase_file: Option<&Path>,
    around: Surroundings<'_>,
) -> Result<(), Failure> {
    let language = around.language;
    if let Some(series) = series {
        open_by_series_file(file, series)?;
    }
    let Some(cryptkey) = cryptkey else {
        let said = language.pick(
            "the list is genuine; objects are opened only with --cryptkey",
            "список подлинный; объекты проверяются только с --cryptkey",
        );
        writeln!(around.out, "{}: {said}", file.display())?;
        return Ok(());
    };
    let secret = open_secret(cryptkey, passphrase_file, around.passphrase)?;
    let count = each_object(file, &secret, |_, _| Ok(()))?;
    let said = language.pick("genuine, objects opened", "подлинный, открыто объектов");
    writeln!(around.out, "{}: {said}: {count}", file.display())?;
    Ok(())
}

fn unpack(
    file: &Path,
    cryptkey: &Path,
    passphrase_file: Option<&Path>,
    out: &Path,
    yes: bool,
    around: Surroundings<'_>,
) -> Result<(), Failure> {
    let secret = open_secret(cryptkey, passphrase_file, around.passphrase)?;
    let (_, opened) = open_file(file, secret.series(), &secret.signing_key().public())?;
    let names: Vec<String> = opened.list.objects.iter().map(file_name).collect();
    files::check_names(names.iter().map(String::as_str))?;
    if !yes
        && let Some(path) =
            names.iter().map(|name| out.join(name)).find(|path| path.symlink_metadata().is_ok())
    {
        return Err(DatafileFailure::OutputExists(path).into());
    }
    files::make_private_folder(out)?;
    let written = around.out;
    each_object(file, &secret, |object, plain| {
        let path = out.join(file_name(object));
        if yes {
            files::replace(&path, &[plain], Readers::Owner)?;
        } else {
            match files::create(&path, plain, Readers::Owner) {
                Err(FileError::Exists(path)) => {
                    return Err(DatafileFailure::OutputExists(path).into());
                }
                done => done?,
            }
        }
        writeln!(written, "{}", path.display())?;
        Ok(())
    })?;
    Ok(())
}

/// The file that an object is written to.
fn file_name(object: &ObjectEntry) -> String {
    let extension = match object.kind {
        ObjectKind::Epf => "epf",
        ObjectKind::Erf => "erf",
        ObjectKind::Text => "txt",
    };
    format!("{}.{extension}", object.name)
}

/// Opens every object of a file, one after the other; gives their number.
fn each_object(
    path: &Path,
    secret: &SeriesSecret,
    mut take: impl FnMut(&ObjectEntry, &[u8]) -> Result<(), Failure>,
) -> Result<usize, Failure> {
    let (mut file, opened) = open_file(path, secret.series(), &secret.signing_key().public())?;
    let series_key = WrapKey::from_secret(secret.object_secret());
    let failed = |source| FileError::Io { path: path.to_owned(), source };
    for object in &opened.list.objects {
        let key = unwrap_object_key(object, secret.series(), &series_key).map_err(refused(path))?;
        file.seek(SeekFrom::Start(opened.range(object).start)).map_err(failed)?;
        let mut sealed = Vec::new();
        let mut part = Read::by_ref(&mut file).take(object.sealed_bytes());
        part.read_to_end(&mut sealed).map_err(failed)?;
        let plain = open_object(&key, secret.series(), object, &sealed).map_err(refused(path))?;
        take(object, &Zeroizing::new(plain))?;
    }
    Ok(opened.list.objects.len())
}

/// Opens a data file of whichever series in the series file signed its list.
fn open_by_series_file(path: &Path, series: &Path) -> Result<(File, Datafile), Failure> {
    let known = read_series(series)?;
    let is_one = known.len() == 1;
    for (id, descriptor) in known {
        let key = descriptor
            .signing_key()
            .map_err(|source| Failure::SeriesFile { path: series.to_owned(), source })?;
        match open_file(path, id, &key) {
            // Of several series each may be the one; what else is wrong is the same for all.
            Err(Failure::Datafile(DatafileFailure::Refused {
                source: DatafileError::List(_) | DatafileError::Series(_),
                ..
            })) if !is_one => {}
            done => return done,
        }
    }
    let (file, series) = (path.to_owned(), series.to_owned());
    Err(DatafileFailure::NoSeries { file, series }.into())
}

fn open_file(path: &Path, series: KeySeries, key: &PublicKey) -> Result<(File, Datafile), Failure> {
    let failed = |source| FileError::Io { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.len();
    let mut start = Vec::new();
    let limit = (MAGIC.len() + LIST_BYTES_MAX + 1) as u64;
    Read::by_ref(&mut file).take(limit).read_to_end(&mut start).map_err(failed)?;
    let opened = Datafile::read(&start, bytes, series, key).map_err(refused(path))?;
    Ok((file, opened))
}

fn read_start(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let failed = |source| FileError::Io { path: path.to_owned(), source };
    let mut start = Vec::new();
    File::open(path).map_err(failed)?.take(limit).read_to_end(&mut start).map_err(failed)?;
    Ok(start)
}

fn refused(path: &Path) -> impl Fn(DatafileError) -> Failure {
    |source| DatafileFailure::Refused { path: path.to_owned(), source }.into()
}

/// The objects, one a line, in columns.
fn write_table(list: &ObjectList, language: Language, out: &mut dyn Write) -> io::Result<()> {
    let titles = [
        language.pick("name", "имя"),
        language.pick("kind", "вид"),
        language.pick("access", "доступ"),
        language.pick("bytes", "байт"),
    ];
    let width = list.objects.iter().map(|object| object.name.chars().count());
    let width = width.chain([titles[0].chars().count()]).max().unwrap_or_default();
    let [name, kind, access, bytes] = titles;
    writeln!(out, "{name:width$}  {kind:4}  {access:8}  {bytes:>8}")?;
    for object in &list.objects {
        let (kind, access) = (object.kind.name(), object.access.name());
        writeln!(out, "{:width$}  {kind:4}  {access:8}  {:>8}", object.name, object.size)?;
    }
    Ok(())
}
