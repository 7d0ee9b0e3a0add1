//! What a library's headers say: system, processor, exported names, what it asks of the C library.
//!
//! Reads ELF and PE as bytes and loads nothing. Whether it fits somewhere is decided by callers.

use std::collections::BTreeSet;
use std::fmt;

use object::read::elf::{ElfFile, FileHeader, SectionHeader};
use object::read::pe::{ImageNtHeaders, PeFile};
use object::read::{Object as _, ReadRef};
use object::{Architecture, File, ObjectKind};

/// The exports that the platform looks up.
pub const PLATFORM_EXPORTS: [&str; 5] = [
    "GetClassNames",
    "GetClassObject",
    "DestroyObject",
    "SetPlatformCapabilities",
    "GetAttachType",
];

/// Processors as headers name them, and as the manifest does.
const ARCHITECTURES: [(Architecture, Arch); 3] = [
    (Architecture::Aarch64, Arch::Arm64),
    (Architecture::I386, Arch::I386),
    (Architecture::X86_64, Arch::X86_64),
];

/// The system that a library is for, as the platform's manifest names it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Os {
    /// ELF.
    Linux,
    /// PE.
    Windows,
}

/// The processor, as the platform's manifest names it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Arch {
    /// 64-bit ARM.
    Arm64,
    /// 32-bit x86.
    I386,
    /// 64-bit x86.
    X86_64,
}

impl Arch {
    /// Whether its addresses have 64 bits.
    pub const fn is_64(self) -> bool {
        match self {
            Self::I386 => false,
            Self::Arm64 | Self::X86_64 => true,
        }
    }
}

impl fmt::Display for Os {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Linux => "Linux",
            Self::Windows => "Windows",
        })
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Arm64 => "ARM64",
            Self::I386 => "i386",
            Self::X86_64 => "x86_64",
        })
    }
}

/// Why bytes are no library of ours.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// Neither ELF nor PE, or damaged.
    #[error("not a library: {0}")]
    Format(String),
    /// An executable, an object file or the like.
    #[error("a program or an object file, not a library that is loaded")]
    NotDynamic,
    /// A processor that the product is not built for.
    #[error("for a processor that is not known here")]
    Processor,
}

impl From<object::Error> for ImageError {
    fn from(error: object::Error) -> Self {
        Self::Format(error.to_string())
    }
}

/// A library, by its headers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Image {
    /// Its system.
    pub os: Os,
    /// Its processor.
    pub arch: Arch,
    /// Names that it exports.
    pub exports: BTreeSet<String>,
    /// Whether it carries a signature (Authenticode), which any change of the file breaks.
    pub signed: bool,
    /// The newest version of glibc whose symbols it uses; nothing when it names none.
    pub glibc: Option<GlibcVersion>,
}

/// A version such as 2.17 of the GNU C library.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct GlibcVersion {
    /// 2.
    pub major: u32,
    /// 17.
    pub minor: u32,
}

impl fmt::Display for GlibcVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl Image {
    /// Reads the headers.
    ///
    /// # Errors
    ///
    /// See [`ImageError`].
    pub fn read(bytes: &[u8]) -> Result<Self, ImageError> {
        let file = File::parse(bytes)?;
        // A program that may lie anywhere in memory is of the same kind; the exports tell it apart.
        if file.kind() != ObjectKind::Dynamic {
            return Err(ImageError::NotDynamic);
        }
        let processor = file.architecture();
        let arch = ARCHITECTURES
            .into_iter()
            .find(|(theirs, arch)| *theirs == processor && file.is_64() == arch.is_64())
            .map(|(_, arch)| arch)
            .ok_or(ImageError::Processor)?;
        let mut exports = BTreeSet::new();
        for export in file.exports()? {
            if let Some(name) = export?.name().name() {
                exports.insert(String::from_utf8_lossy(name).into_owned());
            }
        }
        let (os, signed, glibc) = if let File::Elf32(file) = &file {
            (Os::Linux, false, newest_glibc(file)?)
        } else if let File::Elf64(file) = &file {
            (Os::Linux, false, newest_glibc(file)?)
        } else if let File::Pe32(file) = &file {
            (Os::Windows, is_signed(file), None)
        } else if let File::Pe64(file) = &file {
            (Os::Windows, is_signed(file), None)
        } else {
            return Err(ImageError::Format("of another system".to_owned()));
        };
        Ok(Self { os, arch, exports, signed, glibc })
    }

    /// Those of [`PLATFORM_EXPORTS`] that are missing.
    pub fn missing_exports(&self) -> Vec<&'static str> {
        PLATFORM_EXPORTS.into_iter().filter(|name| !self.exports.contains(*name)).collect()
    }
}

fn is_signed<'data, Pe: ImageNtHeaders, R: ReadRef<'data>>(file: &PeFile<'data, Pe, R>) -> bool {
    file.data_directory(object::pe::IMAGE_DIRECTORY_ENTRY_SECURITY)
        .is_some_and(|directory| directory.size.get(object::LittleEndian) != 0)
}

/// The newest `GLIBC_x.y` among the versions that the library needs of others.
fn newest_glibc<'data, Elf: FileHeader, R: ReadRef<'data>>(
    file: &ElfFile<'data, Elf, R>,
) -> Result<Option<GlibcVersion>, ImageError> {
    let (endian, data) = (file.endian(), file.data());
    let sections = file.elf_section_table();
    let Some((mut needs, link)) = sections.gnu_verneed(endian, data)? else { return Ok(None) };
    let strings = sections.section(link)?;
    let (start, size) = strings.file_range(endian).unwrap_or_default();
    let end = start.saturating_add(size);
    let mut newest = None;
    while let Some((_, mut versions)) = needs.next()? {
        while let Some(version) = versions.next()? {
            let offset = start.saturating_add(u64::from(version.vna_name.get(endian)));
            let name = data.read_bytes_at_until(offset..end, 0).unwrap_or_default();
            newest = newest.max(glibc_version(name));
        }
    }
    Ok(newest)
}

fn glibc_version(name: &[u8]) -> Option<GlibcVersion> {
    let text = std::str::from_utf8(name).ok()?.strip_prefix("GLIBC_")?;
    let mut parts = text.split('.').map(str::parse);
    let (Some(Ok(major)), Some(Ok(minor))) = (parts.next(), parts.next()) else { return None };
    Some(GlibcVersion { major, minor })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_library_is_refused() {
        for bytes in [&b""[..], b"text", b"\x7fELF", b"MZ", &[0; 4096]] {
            assert!(matches!(Image::read(bytes), Err(ImageError::Format(_))), "{bytes:?}");
        }
    }

    #[test]
    fn versions_of_glibc_are_compared_as_numbers() {
        let version = |text: &str| glibc_version(text.as_bytes());
        assert!(version("GLIBC_2.4") < version("GLIBC_2.17"));
        assert_eq!(version("GLIBC_2.2.5"), Some(GlibcVersion { major: 2, minor: 2 }));
        assert_eq!(version("GLIBC_PRIVATE"), None);
        assert_eq!(version("GCC_3.0"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn own_program_is_read_by_its_headers() {
        let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let image = Image::read(&bytes).unwrap();
        assert_eq!(image.os, Os::Linux);
        assert_eq!(image.missing_exports(), PLATFORM_EXPORTS);
        assert!(image.glibc.is_some_and(|version| version.major == 2));
        assert!(!image.signed);
    }
}
