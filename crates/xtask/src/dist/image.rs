//! What a built file may ask of the system that it is installed on, by its headers.
//!
//! Reads ELF and PE as bytes and runs nothing. All faults are told, not only the first.

use std::collections::BTreeSet;

use licencekit::template::image::{GlibcVersion, Image};
use object::read::elf::{ElfFile, FileHeader, SectionHeader};
use object::read::{Object as _, ReadRef};
use object::{Architecture, BinaryFormat, File};

use super::target::Platform;

/// The newest glibc whose symbols are used: that of the oldest systems that we install on.
pub const GLIBC_MAX: GlibcVersion = GlibcVersion { major: 2, minor: 17 };

/// Parts of glibc 2.17, the only libraries that a file for Linux is linked with. No C++ runtime: an
/// older one may lie in the 1C process that loads the component.
const LINUX_LIBRARIES: [&str; 7] = [
    "ld-linux-x86-64.so.2",
    "ld-linux.so.2",
    "libc.so.6",
    "libdl.so.2",
    "libm.so.6",
    "libpthread.so.0",
    "librt.so.1",
];

/// Libraries that every Windows from 10 on has in its system folder. Compilers' runtimes are not there.
const WINDOWS_LIBRARIES: [&str; 26] = [
    "advapi32.dll",
    "bcrypt.dll",
    "bcryptprimitives.dll",
    "cfgmgr32.dll",
    "combase.dll",
    "crypt32.dll",
    "iphlpapi.dll",
    "kernel32.dll",
    "ktmw32.dll",
    "msvcrt.dll",
    "ncrypt.dll",
    "netapi32.dll",
    "ntdll.dll",
    "ole32.dll",
    "oleaut32.dll",
    "powrprof.dll",
    "psapi.dll",
    "secur32.dll",
    "setupapi.dll",
    "shell32.dll",
    "user32.dll",
    "userenv.dll",
    "winscard.dll",
    "winusb.dll",
    "ws2_32.dll",
    "wtsapi32.dll",
];

/// Beginnings of such libraries: sets of functions that system libraries provide under these names.
const WINDOWS_SETS: &str = "api-ms-win-core-";

/// The exports of the component beside the five that the platform looks up.
const COMPONENT_EXPORT: &str = "LicenceAddinTakeOver";

/// What a file is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// A program.
    Program,
    /// The library that 1C loads.
    Component,
}

/// Why a file would not run, or not everywhere; nothing when it would.
pub fn faults(bytes: &[u8], platform: Platform, kind: Kind) -> Vec<String> {
    let mut found = Vec::new();
    if let Err(fault) = look(bytes, platform, kind, &mut found) {
        found.push(fault.to_string());
    }
    found
}

/// Fails where nothing more can be said.
fn look(
    bytes: &[u8],
    platform: Platform,
    kind: Kind,
    found: &mut Vec<String>,
) -> Result<(), object::Error> {
    let file = File::parse(bytes)?;
    let format = if platform.is_windows() { BinaryFormat::Pe } else { BinaryFormat::Elf };
    let architecture = match platform {
        Platform::Linux64 | Platform::Windows64 => Architecture::X86_64,
        Platform::Linux32 | Platform::Windows32 => Architecture::I386,
    };
    if (file.format(), file.architecture()) != (format, architecture) {
        found.push(format!("not made for {}", platform.name()));
        return Ok(());
    }
    let needs = if let File::Elf32(file) = &file {
        let needs = needs(file)?;
        glibc(&needs, found);
        needs.libraries
    } else if let File::Elf64(file) = &file {
        let needs = needs(file)?;
        glibc(&needs, found);
        needs.libraries
    } else {
        let mut libraries = BTreeSet::new();
        for import in file.imports()? {
            let library = import?.library().to_ascii_lowercase();
            libraries.insert(String::from_utf8_lossy(&library).into_owned());
        }
        libraries
    };
    for library in &needs {
        let name = library.as_str();
        let is_known = if platform.is_windows() {
            WINDOWS_LIBRARIES.contains(&name) || name.starts_with(WINDOWS_SETS)
        } else {
            LINUX_LIBRARIES.contains(&name)
        };
        if !is_known {
            found.push(format!("needs {library}"));
        }
    }
    if kind == Kind::Component {
        component(bytes, found);
    }
    Ok(())
}

fn component(bytes: &[u8], found: &mut Vec<String>) {
    match Image::read(bytes) {
        Ok(image) => {
            let missing = image.missing_exports();
            found.extend(missing.iter().map(|name| format!("does not export {name}")));
            if !image.exports.contains(COMPONENT_EXPORT) {
                found.push(format!("does not export {COMPONENT_EXPORT}"));
            }
        }
        Err(why) => found.push(why.to_string()),
    }
}

/// What a file for Linux needs of others.
#[derive(Debug, Default)]
struct Needs {
    libraries: BTreeSet<String>,
    versions: BTreeSet<String>,
}

fn glibc(needs: &Needs, found: &mut Vec<String>) {
    for version in &needs.versions {
        let Some(rest) = version.strip_prefix("GLIBC_") else { continue };
        let mut parts = rest.split('.').map(str::parse);
        match (parts.next(), parts.next()) {
            (Some(Ok(major)), Some(Ok(minor))) if (GlibcVersion { major, minor }) <= GLIBC_MAX => {}
            // Symbols without a number are for glibc's own libraries.
            _ => found.push(format!("needs {version}, newer than {GLIBC_MAX}")),
        }
    }
}

/// Libraries and versions of symbols, as the dynamic linker reads them.
fn needs<'data, Elf: FileHeader, R: ReadRef<'data>>(
    file: &ElfFile<'data, Elf, R>,
) -> Result<Needs, object::Error> {
    use object::read::elf::Dyn;

    let (endian, data) = (file.endian(), file.data());
    let sections = file.elf_section_table();
    let mut needs = Needs::default();
    let text = |section, offset: u64| -> Result<String, object::Error> {
        let (start, size) = sections.section(section)?.file_range(endian).unwrap_or_default();
        let end = start.saturating_add(size);
        let bytes = data.read_bytes_at_until(start.saturating_add(offset)..end, 0);
        Ok(String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned())
    };
    if let Some((entries, link)) = sections.dynamic(endian, data)? {
        for entry in entries {
            if entry.d_tag(endian) == object::elf::DT_NEEDED {
                needs.libraries.insert(text(link, entry.d_val(endian).into())?);
            }
        }
    }
    if let Some((mut wanted, link)) = sections.gnu_verneed(endian, data)? {
        while let Some((_, mut versions)) = wanted.next()? {
            while let Some(version) = versions.next()? {
                needs.versions.insert(text(link, u64::from(version.vna_name.get(endian)))?);
            }
        }
    }
    Ok(needs)
}
