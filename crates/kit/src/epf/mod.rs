//! `licencekit epf` and `licencekit stub`: external processors and reports between files and text.
//!
//! Reads and writes files and says what was done; formats and modules are the business of the
//! crate `licence-epf`. Nothing is asked: a file that exists is an error unless `--yes` is given.

pub(crate) mod text;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use licence_core::seal::hex_upper;
use licence_epf::container::TOTAL_BYTES_MAX;
use licence_epf::stub::{self, StubError};
use licence_epf::unpack::raw_elements;
use licence_epf::{PackError, Source, UnpackError};

use crate::commands::{Failure, Surroundings};
use crate::files::{self, FileError, Readers};
use crate::random;

/// Most files of an external object's sources: a descriptor, a module, templates.
pub const FILES_MAX: usize = 4096;
/// Most levels of folders in sources; our layout has two.
pub const FOLDERS_DEPTH_MAX: usize = 8;

/// Commands about external processors and reports.
#[derive(Debug, Subcommand)]
pub enum EpfCommand {
    /// Build an epf or erf from a folder of sources.
    Pack {
        /// Folder with object.json, Ext/ObjectModule.bsl and Templates.
        source: PathBuf,
        /// The file to make.
        #[arg(short, long)]
        out: PathBuf,
        /// Replace the file if it exists.
        #[arg(short, long)]
        yes: bool,
    },
    /// Take an epf or erf apart into a folder of sources.
    Unpack {
        /// The epf or erf.
        file: PathBuf,
        /// Folder to fill; made when missing.
        #[arg(short, long)]
        out: PathBuf,
        /// Write the elements as they are stored; for objects with forms and the like.
        #[arg(long)]
        raw: bool,
        /// Replace files that exist.
        #[arg(short, long)]
        yes: bool,
    },
}

/// Arguments of `stub`.
#[derive(Args, Debug)]
pub struct StubArgs {
    /// The common module's text.
    #[arg(long)]
    pub module: PathBuf,
    /// Name of the protected object as the stubs ask for it: Name, or Alias.Name when it comes
    /// from a data file with an alias or from a template.
    #[arg(long)]
    pub object: String,
    /// Folder for the processor's sources (a folder of the object's name) and the open module (a
    /// file of the module's name); made when missing.
    #[arg(long)]
    pub out: PathBuf,
    /// Function of the configuration that makes a protected object from its name.
    #[arg(long, default_value = stub::CALL)]
    pub call: String,
    /// Replace files that exist.
    #[arg(short, long)]
    pub yes: bool,
}

/// Why an external object was not built or taken apart.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EpfFailure {
    /// Not an external object, or one that is not modelled.
    #[error("{}: {source}", .path.display())]
    Unpack {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: UnpackError,
    },
    /// The sources are wrong or do not fit.
    #[error("{}: {source}", .path.display())]
    Pack {
        /// The folder of the sources.
        path: PathBuf,
        /// What is wrong.
        source: PackError,
    },
    /// A module cannot be turned into stubs.
    #[error("{}: {source}", .path.display())]
    Stub {
        /// The module's file.
        path: PathBuf,
        /// What is wrong.
        source: StubError,
    },
    /// The ending of the file to make is not that of the object's kind.
    #[error("{}: the object's kind asks for a file that ends in .{wanted}", .path.display())]
    Ending {
        /// The file to make.
        path: PathBuf,
        /// The ending.
        wanted: &'static str,
    },
    /// A folder that is too large for sources, or has a name that is no text.
    #[error("{}: not a folder of sources: too many files or levels, or a name that is no text", .0.display())]
    Folder(PathBuf),
    /// A file or folder could not be read or made.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Carries out `epf`.
///
/// # Errors
///
/// What is wrong with the files, see [`EpfFailure`].
pub fn run(command: EpfCommand, around: Surroundings<'_>) -> Result<(), Failure> {
    match command {
        EpfCommand::Pack { source, out, yes } => pack(&source, &out, yes, around),
        EpfCommand::Unpack { file, out, raw, yes } => unpack(&file, &out, raw, yes, around),
    }
}

fn pack(folder: &Path, out: &Path, replace: bool, around: Surroundings<'_>) -> Result<(), Failure> {
    let failed = |source| EpfFailure::Pack { path: folder.to_owned(), source };
    let files = read_folder(folder)?;
    let source = Source::from_files(&files).map_err(PackError::from).map_err(failed)?;
    let wanted = source.kind.extension();
    if !out.extension().is_some_and(|ending| ending.eq_ignore_ascii_case(wanted)) {
        return Err(EpfFailure::Ending { path: out.to_owned(), wanted }.into());
    }
    let bytes = licence_epf::pack_processor(&source).map_err(failed)?;
    write(out, &bytes, replace)?;
    writeln!(around.out, "{}: {} ({})", out.display(), source.name, size(&bytes, &around))?;
    Ok(())
}

fn unpack(
    file: &Path,
    out: &Path,
    raw: bool,
    replace: bool,
    around: Surroundings<'_>,
) -> Result<(), Failure> {
    let failed = |source| EpfFailure::Unpack { path: file.to_owned(), source };
    let bytes = read(file, TOTAL_BYTES_MAX)?;
    let made = if raw {
        raw_elements(&bytes).map_err(failed)?
    } else {
        let source = licence_epf::unpack_processor(&bytes).map_err(failed)?;
        source.to_files().map_err(UnpackError::from).map_err(failed)?
    };
    write_all(out, &made, replace)?;
    let word = around.language.pick("files", "файлов");
    writeln!(around.out, "{}: {word} {}", out.display(), made.len())?;
    Ok(())
}

/// Carries out `stub`.
///
/// # Errors
///
/// What is wrong with the module or the files, see [`EpfFailure`].
pub fn stub(args: &StubArgs, around: Surroundings<'_>) -> Result<(), Failure> {
    let failed = |source| EpfFailure::Stub { path: args.module.clone(), source };
    let bytes = read(&args.module, licence_epf::bsl::MODULE_BYTES_MAX)?;
    let text = String::from_utf8(bytes).map_err(|_| Failure::NotText(args.module.clone()))?;
    let made = stub::generate(&text, &args.object, &args.call).map_err(failed)?;
    let name = args
        .module
        .file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(|| EpfFailure::Folder(args.module.clone()))?;
    let object = made.processor.name.clone();
    let processor = made
        .processor
        .to_files()
        .map_err(|source| EpfFailure::Pack { path: args.module.clone(), source: source.into() })?;
    let mut written: BTreeMap<String, Vec<u8>> =
        processor.into_iter().map(|(file, bytes)| (format!("{object}/{file}"), bytes)).collect();
    written.insert(name.to_owned(), like(&text, &made.open_module).into_bytes());
    write_all(&args.out, &written, args.yes)?;
    let language = around.language;
    writeln!(
        around.out,
        "{}: {}\n{}: {} {}",
        language.pick("protected processor", "защищённая обработка"),
        args.out.join(&object).display(),
        language.pick("open module", "открытый модуль"),
        args.out.join(name).display(),
        language.pick(
            &format!("(methods forwarded: {})", made.forwarded),
            &format!("(методов-заглушек: {})", made.forwarded)
        ),
    )?;
    Ok(())
}

/// A text with the byte order mark and line ends of another, so that a configuration's own file
/// keeps its shape.
fn like(model: &str, text: &str) -> String {
    let mark = if model.starts_with('\u{feff}') { "\u{feff}" } else { "" };
    let text = if model.contains("\r\n") { text.replace('\n', "\r\n") } else { text.to_owned() };
    format!("{mark}{text}")
}

fn size(bytes: &[u8], around: &Surroundings<'_>) -> String {
    format!("{} {}", bytes.len(), around.language.pick("bytes", "байт"))
}

/// The files of a folder by their names relative to it; hidden ones are passed over.
///
/// # Errors
///
/// What the system said, or that it is too large.
pub fn read_folder(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>, EpfFailure> {
    let mut files = BTreeMap::new();
    let mut left = TOTAL_BYTES_MAX;
    walk(folder, "", 0, &mut left, &mut files)?;
    Ok(files)
}

fn walk(
    folder: &Path,
    prefix: &str,
    depth: usize,
    left: &mut usize,
    files: &mut BTreeMap<String, Vec<u8>>,
) -> Result<(), EpfFailure> {
    let too_much = || EpfFailure::Folder(folder.to_owned());
    let io = |source| FileError::Io { path: folder.to_owned(), source };
    if depth == FOLDERS_DEPTH_MAX {
        return Err(too_much());
    }
    for entry in fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        let name = entry.file_name().into_string().map_err(|_| too_much())?;
        if name.starts_with('.') {
            continue;
        }
        let path = entry.path();
        let kind =
            fs::metadata(&path).map_err(|source| FileError::Io { path: path.clone(), source })?;
        if kind.is_dir() {
            walk(&path, &format!("{prefix}{name}/"), depth + 1, left, files)?;
            continue;
        }
        if files.len() == FILES_MAX {
            return Err(too_much());
        }
        let bytes = read(&path, *left)?;
        *left -= bytes.len();
        files.insert(format!("{prefix}{name}"), bytes);
    }
    Ok(())
}

/// A whole file. Its size is asked first, because `files::read` sets aside all of its limit.
fn read(path: &Path, limit: usize) -> Result<Vec<u8>, FileError> {
    let meta =
        fs::metadata(path).map_err(|source| FileError::Io { path: path.to_owned(), source })?;
    let size = usize::try_from(meta.len()).unwrap_or(usize::MAX);
    if size > limit {
        return Err(FileError::TooLarge { path: path.to_owned(), limit });
    }
    files::read(path, size)
}

/// All files below a folder; none is written while one stands in the way.
fn write_all(
    folder: &Path,
    made: &BTreeMap<String, Vec<u8>>,
    replace: bool,
) -> Result<(), EpfFailure> {
    files::check_names(made.keys().map(String::as_str))?;
    for name in made.keys() {
        let path = folder.join(name);
        if !replace && path.symlink_metadata().is_ok() {
            return Err(FileError::Exists(path).into());
        }
    }
    for (name, bytes) in made {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)
                .map_err(|source| FileError::Io { path: parent.to_owned(), source })?;
        }
        write(&path, bytes, replace)?;
    }
    Ok(())
}

/// A file that appears whole; over another one only when that is wanted.
fn write(path: &Path, bytes: &[u8], replace: bool) -> Result<(), EpfFailure> {
    if !replace || path.symlink_metadata().is_err() {
        return Ok(files::create(path, bytes, Readers::Everybody)?);
    }
    let mark = hex_upper(&random::id_bytes().map_err(FileError::from)?);
    let beside = path.with_file_name(format!(".{mark}.new"));
    files::create(&beside, bytes, Readers::Everybody)?;
    fs::rename(&beside, path).map_err(|source| {
        // What could not take its place must not stay behind.
        let _ = fs::remove_file(&beside);
        FileError::Io { path: path.to_owned(), source }.into()
    })
}

#[cfg(test)]
mod tests;
