//! Templates: the zip that a configuration carries in a common template, and the series pinned in it.
//!
//! `licencekit template pin` puts a vendor's series behind the image of every library of a bundle, and
//! gives the libraries other file names, because the platform keeps unpacked libraries by their name.
//! `template show` says what a bundle or a library carries. Building bundles is the business of
//! `cargo xtask dist`, which shares the parts below.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use licence_core::template_pin::{Descriptors, PinError, overlay, read_tail};

use crate::commands::{Failure, Surroundings, read_series};
use crate::files::{self, Readers};
use crate::text::Language;

pub mod archive;
pub mod image;
pub mod manifest;

use archive::{ARCHIVE_BYTES_MAX, ArchiveError, Entry};
use image::{Image, ImageError};
use manifest::{MANIFEST_BYTES_MAX, MANIFEST_NAME, ManifestError};

/// Commands about templates.
#[derive(Debug, Subcommand)]
pub enum TemplateCommand {
    /// Pin series in every library of a template; takes the place of an older pin.
    Pin(TemplatePin),
    /// Show the libraries of a template, and the series pinned in them.
    Show {
        /// The template (zip) or one library.
        file: PathBuf,
    },
}

/// Arguments of `template pin`.
#[derive(Args, Debug)]
pub struct TemplatePin {
    /// XXXX.series; may be given several times.
    #[arg(long, required = true)]
    pub series: Vec<PathBuf>,
    /// The template: licenceaddin-…-template.zip.
    pub template: PathBuf,
    /// Where to save the pinned one; a file that exists is not replaced.
    #[arg(short, long)]
    pub out: PathBuf,
}

/// Why a template was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// Not the archive of a template.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A library that is none.
    #[error("{name}: {source}")]
    Image {
        /// Its name.
        name: String,
        /// What is wrong.
        source: ImageError,
    },
    /// The manifest names a file that is not there.
    #[error("{0} is named by {MANIFEST_NAME} and is not in the template")]
    Missing(String),
    /// A manifest that is none.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// No manifest.
    #[error("the template has no {MANIFEST_NAME}")]
    NoManifest,
    /// A pin that is damaged or too long.
    #[error("{name}: {source}")]
    Pin {
        /// The library.
        name: String,
        /// What is wrong.
        source: PinError,
    },
    /// Two files describe one series differently.
    #[error("two of the series files describe series {0} differently")]
    SeriesTwice(licence_core::key::KeySeries),
    /// A signed library.
    #[error("{0} is signed, and a pin would break the signature: pin first, then sign")]
    Signed(String),
}

impl TemplateError {
    /// The same in Russian.
    pub fn russian(&self) -> String {
        match self {
            Self::Archive(ArchiveError::Name(name)) => {
                format!("{name:?}: в макете файлы лежат только в корне архива")
            }
            Self::Archive(ArchiveError::TooLarge) => "архив больше, чем бывает макет".into(),
            Self::Archive(ArchiveError::Twice(name)) => format!("{name}: файл встречается дважды"),
            Self::Archive(ArchiveError::Zip(why)) => format!("архив повреждён: {why}"),
            Self::Image { name, source } => {
                let why = match source {
                    ImageError::Format(why) => format!("это не библиотека: {why}"),
                    ImageError::NotDynamic => "это программа, а не библиотека".into(),
                    ImageError::Processor => "неизвестная архитектура процессора".into(),
                };
                format!("{name}: {why}")
            }
            Self::Missing(name) => format!("{name} есть в {MANIFEST_NAME}, но не в архиве"),
            Self::Manifest(error) => match error {
                ManifestError::Attribute { number, attribute } => {
                    format!("{MANIFEST_NAME}: у компоненты {number} нет атрибута {attribute}")
                }
                ManifestError::Empty => format!("{MANIFEST_NAME}: нет ни одной компоненты"),
                ManifestError::Syntax(why) => format!("{MANIFEST_NAME}: это не XML: {why}"),
                ManifestError::NotABundle => format!("{MANIFEST_NAME}: это не описание макета"),
            },
            Self::NoManifest => format!("в архиве нет {MANIFEST_NAME}"),
            Self::Pin { name, source } => {
                let why = if *source == PinError::TooLarge {
                    "описания серий слишком велики".to_owned()
                } else {
                    format!("вложенное описание серий повреждено ({source})")
                };
                format!("{name}: {why}")
            }
            Self::SeriesTwice(series) => {
                format!("два файла описывают серию {series} по-разному")
            }
            Self::Signed(name) => format!(
                "{name}: библиотека подписана, вложение нарушит подпись; сначала вложите серию, потом подписывайте"
            ),
        }
    }
}

/// Carries out a command about templates.
///
/// # Errors
///
/// See [`Failure`].
pub fn run(command: &TemplateCommand, around: Surroundings<'_>) -> Result<(), Failure> {
    match command {
        TemplateCommand::Pin(pin) => pin_file(pin, around),
        TemplateCommand::Show { file } => show(file, around),
    }
}

fn pin_file(args: &TemplatePin, around: Surroundings<'_>) -> Result<(), Failure> {
    let mut descriptors = Descriptors::new();
    for path in &args.series {
        for (series, descriptor) in read_series(path)? {
            if let Some(other) = descriptors.insert(series, descriptor.clone())
                && other != descriptor
            {
                return Err(TemplateError::SeriesTwice(series).into());
            }
        }
    }
    let template = files::read(&args.template, ARCHIVE_BYTES_MAX)?;
    let pinned = pin(&template, &descriptors)?;
    files::create(&args.out, &pinned.archive, Readers::Everybody)?;
    for name in &pinned.libraries {
        writeln!(around.out, "{name}")?;
    }
    let series: Vec<_> = descriptors.keys().map(ToString::to_string).collect();
    let said = around.language.pick("series pinned", "вложены серии");
    writeln!(around.out, "{}: {said}: {}", args.out.display(), series.join(", "))?;
    Ok(())
}

/// A template whose libraries carry a pin.
#[derive(Clone, Debug)]
pub struct Pinned {
    /// The archive.
    pub archive: Vec<u8>,
    /// File names of its libraries.
    pub libraries: Vec<String>,
}

/// Pins series in every library of a template. The same template and series give the same bytes.
///
/// # Errors
///
/// See [`TemplateError`]. A signed library is refused, and so is one whose pin is damaged.
pub fn pin(template: &[u8], descriptors: &Descriptors) -> Result<Pinned, TemplateError> {
    let mut entries = archive::read(template)?;
    let components = manifest::read(manifest_of(&entries)?)?;
    let mut names = BTreeMap::new();
    for component in components {
        // One file may serve two lines of the manifest.
        if names.contains_key(&component.path) {
            continue;
        }
        let entry = entries
            .iter_mut()
            .find(|entry| entry.name == component.path)
            .ok_or_else(|| TemplateError::Missing(component.path.clone()))?;
        let tag = pin_library(&entry.name, &mut entry.bytes, descriptors)?;
        let name = pinned_name(&entry.name, &tag);
        entry.name.clone_from(&name);
        names.insert(component.path, name);
    }
    for entry in &mut entries {
        if entry.name == MANIFEST_NAME {
            entry.bytes = manifest::rename(&entry.bytes, |name| names.get(name).cloned())?;
        }
    }
    Ok(Pinned { archive: archive::write(&entries)?, libraries: names.into_values().collect() })
}

/// Puts a pin behind a library's image, in place of one that is there; answers its tag.
///
/// # Errors
///
/// See [`pin`].
pub fn pin_library(
    name: &str,
    bytes: &mut Vec<u8>,
    descriptors: &Descriptors,
) -> Result<String, TemplateError> {
    let failed = |source| TemplateError::Image { name: name.to_owned(), source };
    let image = Image::read(bytes).map_err(failed)?;
    if image.signed {
        return Err(TemplateError::Signed(name.to_owned()));
    }
    let failed = |source| TemplateError::Pin { name: name.to_owned(), source };
    let older = read_tail(bytes).map_err(failed)?;
    bytes.truncate(bytes.len().saturating_sub(older.map_or(0, |pin| pin.overlay_bytes)));
    let (pin, tag) = overlay(descriptors).map_err(failed)?;
    bytes.extend(pin);
    Ok(tag)
}

/// The name of a pinned library: the tag of the pin before the ending, in place of an older one. The
/// platform keeps unpacked libraries by their name, also of different configurations.
fn pinned_name(name: &str, tag: &str) -> String {
    let (stem, ending) = match name.rsplit_once('.') {
        Some((stem, ending)) => (stem, format!(".{ending}")),
        None => (name, String::new()),
    };
    let stem = match stem.rsplit_once("_p") {
        Some((stem, old)) if old.len() == 8 && old.bytes().all(|b| b.is_ascii_hexdigit()) => stem,
        _ => stem,
    };
    format!("{stem}_p{tag}{ending}")
}

/// The manifest among the files of a template.
///
/// # Errors
///
/// When there is none, or it is larger than one is.
pub fn manifest_of(entries: &[Entry]) -> Result<&[u8], TemplateError> {
    let entry = entries
        .iter()
        .find(|entry| entry.name == MANIFEST_NAME)
        .ok_or(TemplateError::NoManifest)?;
    if entry.bytes.len() > MANIFEST_BYTES_MAX {
        return Err(ManifestError::Syntax(format!("more than {MANIFEST_BYTES_MAX} bytes")).into());
    }
    Ok(&entry.bytes)
}

fn show(file: &Path, around: Surroundings<'_>) -> Result<(), Failure> {
    let bytes = files::read(file, ARCHIVE_BYTES_MAX)?;
    if !bytes.starts_with(b"PK") {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return show_library(&name, &bytes, around.language, around.out);
    }
    let entries = archive::read(&bytes).map_err(TemplateError::from)?;
    for component in manifest::read(manifest_of(&entries)?).map_err(TemplateError::from)? {
        let entry = entries
            .iter()
            .find(|entry| entry.name == component.path)
            .ok_or_else(|| TemplateError::Missing(component.path.clone()))?;
        show_library(&entry.name, &entry.bytes, around.language, around.out)?;
    }
    Ok(())
}

fn show_library(
    name: &str,
    bytes: &[u8],
    language: Language,
    out: &mut dyn std::io::Write,
) -> Result<(), Failure> {
    let failed = |source| TemplateError::Image { name: name.to_owned(), source };
    let image = Image::read(bytes).map_err(failed)?;
    let failed = |source| TemplateError::Pin { name: name.to_owned(), source };
    let pin = read_tail(bytes).map_err(failed)?;
    let series = match &pin {
        Some(pin) => {
            let series: Vec<_> = pin.descriptors.keys().map(ToString::to_string).collect();
            format!("{} {}", language.pick("pins", "вложены серии"), series.join(", "))
        }
        None => language.pick("pins no series", "серии не вложены").to_owned(),
    };
    writeln!(out, "{name}: {} {}, {series}", image.os, image.arch)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_of_a_pinned_library_carries_one_tag() {
        for (name, pinned) in [
            ("licenceaddin_4_0_0_lin64.so", "licenceaddin_4_0_0_lin64_p0a1b2c3d.so"),
            ("licenceaddin_4_0_0_lin64_pffffffff.so", "licenceaddin_4_0_0_lin64_p0a1b2c3d.so"),
            ("a_plain.dll", "a_plain_p0a1b2c3d.dll"),
            ("bare", "bare_p0a1b2c3d"),
        ] {
            assert_eq!(pinned_name(name, "0a1b2c3d"), pinned, "{name}");
        }
    }
}
