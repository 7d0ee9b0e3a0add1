//! Whether the file at the place of the installed component may be loaded: what it is, and who could
//! have put it there.
//!
//! Looks at one open file and at the folders above it; runs no code of it and loads nothing, which
//! [`crate::unify`] does.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek as _};
use std::path::{Path, PathBuf};

use licence_core::template_pin::read_tail;
use object::read::{Object as _, ReadCache};
use object::{Architecture, BinaryFormat, ObjectKind};

use crate::{module, pin};

/// Largest library that is looked at. Ours has some MiB, with all that a debugger wants some hundred.
const LIBRARY_BYTES_MAX: u64 = 512 * 1024 * 1024;

/// Most exported names that are looked at; ours has six.
const EXPORTS_MAX: usize = 65_536;

/// What an installed component must export.
const EXPORTS: [&str; 6] = [
    "GetClassNames",
    "GetClassObject",
    "DestroyObject",
    "SetPlatformCapabilities",
    "GetAttachType",
    "LicenceAddinTakeOver",
];

/// Why a file at the place of the installed component is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unfit {
    #[error("it does not export {0}")]
    Export(&'static str),
    #[error("it is no library that this system loads")]
    Format,
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("the system does not load it: {0}")]
    Load(#[from] libloading::Error),
    #[error("it is of another processor architecture")]
    Machine,
    #[error("it names no classes")]
    NoClasses,
    #[error("it is not a regular file")]
    NotAFile,
    #[cfg_attr(not(unix), expect(dead_code, reason = "Windows keeps no owner in the metadata"))]
    #[error("{0} belongs neither to the administrator nor to the user of this process")]
    Owner(&'static str),
    #[error("it does not take the work over")]
    Refused,
    #[cfg_attr(not(unix), expect(dead_code, reason = "Windows keeps no number of the file"))]
    #[error("it was replaced while it was looked at")]
    Replaced,
    #[error("it is larger than {LIBRARY_BYTES_MAX} bytes")]
    TooLarge,
    #[cfg_attr(not(unix), expect(dead_code, reason = "Windows keeps no mode in the metadata"))]
    #[error("everybody may write to {0}")]
    Writable(&'static str),
}

/// The file at a place, by its name without links; nothing when there is none, or it is this library.
///
/// # Errors
///
/// When it must not be loaded.
pub(crate) fn checked(path: &Path) -> Result<Option<PathBuf>, Unfit> {
    let path = match std::fs::canonicalize(path) {
        Ok(path) => plain(path),
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(why) => return Err(why.into()),
    };
    let own = module::path().and_then(|own| std::fs::canonicalize(own).ok()).map(plain);
    // Also when the file was replaced by an update since: what is mapped is the installed one.
    if own.as_ref() == Some(&path) {
        return Ok(None);
    }
    let metadata = path.metadata()?;
    if !metadata.is_file() {
        // Opening a pipe or a device could wait, or do something.
        return Err(Unfit::NotAFile);
    }
    #[cfg(unix)]
    check_folders(&path)?;
    // Everything below looks at this one file, whatever is put at its place meanwhile.
    let file = open(&path)?;
    let metadata = file.metadata()?;
    check_file(&metadata)?;
    if let Some(own) = own
        && same_library(&file, &metadata, &own)?
    {
        return Ok(None);
    }
    check_image(&file)?;
    // The loader wants a name, and the library finds its own file by it. Between this look and the
    // loader's only the owner of one of these folders can put another file there, and that is the
    // administrator or the user of this process, who need not go this way to run their code in it.
    #[cfg(unix)]
    if !same_file(&path.metadata()?, &metadata) {
        return Err(Unfit::Replaced);
    }
    Ok(Some(path))
}

/// A name as programs write it. The standard library's canonical name begins with `\\?\` on Windows;
/// the loader would keep that in the name of the library, and not every reader of that name knows it.
/// Where only that form reaches the file, because the name is long, it stays.
fn plain(path: PathBuf) -> PathBuf {
    /// Letters of a name that every function of Windows takes.
    const SHORT_MAX: usize = 240;
    if !cfg!(windows) {
        return path;
    }
    match path.to_str().and_then(|text| text.strip_prefix(r"\\?\")) {
        Some(rest) if rest.get(1..3) == Some(r":\") && rest.chars().count() <= SHORT_MAX => {
            PathBuf::from(rest)
        }
        Some(_) | None => path,
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true);
    // Should it have become a pipe meanwhile.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    options.open(path)
}

fn check_file(metadata: &Metadata) -> Result<(), Unfit> {
    if !metadata.is_file() {
        return Err(Unfit::NotAFile);
    }
    if metadata.len() > LIBRARY_BYTES_MAX {
        return Err(Unfit::TooLarge);
    }
    #[cfg(unix)]
    check_rights(metadata, "it", false)?;
    Ok(())
}

/// Who may write to a folder on the way may put another file, or another folder, at the place.
#[cfg(unix)]
fn check_folders(path: &Path) -> Result<(), Unfit> {
    let mut folders = path.ancestors().skip(1);
    if let Some(folder) = folders.next() {
        check_rights(&folder.metadata()?, "its folder", false)?;
    }
    for folder in folders {
        // In a folder like `/tmp` everybody may write, but nobody may move what is another's.
        check_rights(&folder.metadata()?, "a folder above it", true)?;
    }
    Ok(())
}

#[cfg(unix)]
fn same_file(a: &Metadata, b: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

#[cfg(unix)]
fn check_rights(
    metadata: &Metadata,
    what: &'static str,
    sticky_is_enough: bool,
) -> Result<(), Unfit> {
    use std::os::unix::fs::MetadataExt as _;

    const OTHERS_WRITE: u32 = 0o002;
    const STICKY: u32 = 0o1000;
    // SAFETY: a plain system call without arguments.
    let user = unsafe { libc::geteuid() };
    if metadata.uid() != 0 && metadata.uid() != user {
        return Err(Unfit::Owner(what));
    }
    let is_sticky = sticky_is_enough && metadata.mode() & STICKY != 0;
    if metadata.mode() & OTHERS_WRITE != 0 && !is_sticky {
        return Err(Unfit::Writable(what));
    }
    Ok(())
}

/// Whether two files are one library: the same file, or the same image with another pin or none.
fn same_library(mut file: &File, metadata: &Metadata, own: &Path) -> Result<bool, Unfit> {
    let own = File::open(own)?;
    let own_metadata = own.metadata()?;
    #[cfg(unix)]
    if same_file(metadata, &own_metadata) {
        return Ok(true);
    }
    let lengths = (image_bytes(file, metadata.len())?, image_bytes(&own, own_metadata.len())?);
    if lengths.0 != lengths.1 {
        return Ok(false);
    }
    file.rewind()?;
    (&own).rewind()?;
    same_start(file.take(lengths.0), (&own).take(lengths.0)).map_err(Unfit::Io)
}

/// Bytes of a library without the pin at its end.
fn image_bytes(file: &File, length: u64) -> io::Result<u64> {
    let pin = read_tail(&pin::tail(file)?).ok().flatten();
    Ok(length.saturating_sub(pin.map_or(0, |pin| pin.overlay_bytes as u64)))
}

fn same_start(mut a: impl Read, mut b: impl Read) -> io::Result<bool> {
    /// Two of these lie on the heap: a stack of the host may be small.
    const CHUNK_BYTES: u64 = 256 * 1024;
    let (mut left, mut right) = (Vec::new(), Vec::new());
    loop {
        left.clear();
        right.clear();
        let count = a.by_ref().take(CHUNK_BYTES).read_to_end(&mut left)?;
        b.by_ref().take(CHUNK_BYTES).read_to_end(&mut right)?;
        if left != right {
            return Ok(false);
        }
        if count == 0 {
            return Ok(true);
        }
    }
}

/// Reads the headers, so that a file of another system, machine or maker is never loaded.
fn check_image(file: &File) -> Result<(), Unfit> {
    let cache = ReadCache::new(file);
    let image = object::File::parse(&cache).map_err(|_| Unfit::Format)?;
    let format = if cfg!(windows) { BinaryFormat::Pe } else { BinaryFormat::Elf };
    if image.format() != format || image.kind() != ObjectKind::Dynamic {
        return Err(Unfit::Format);
    }
    if Some(image.architecture()) != own_architecture()
        || image.is_64() != cfg!(target_pointer_width = "64")
    {
        return Err(Unfit::Machine);
    }
    let mut missing = EXPORTS.to_vec();
    for export in image.exports().map_err(|_| Unfit::Format)?.take(EXPORTS_MAX) {
        let export = export.map_err(|_| Unfit::Format)?;
        missing.retain(|name| export.name().name() != Some(name.as_bytes()));
    }
    missing.first().map_or(Ok(()), |name| Err(Unfit::Export(name)))
}

/// The processor that this library is built for; nothing for one that installed components are not
/// looked for on.
const fn own_architecture() -> Option<Architecture> {
    if cfg!(target_arch = "x86_64") {
        Some(Architecture::X86_64)
    } else if cfg!(target_arch = "x86") {
        Some(Architecture::I386)
    } else if cfg!(target_arch = "aarch64") {
        Some(Architecture::Aarch64)
    } else {
        None
    }
}
