//! Installers for Windows, made by NSIS on Linux: `licenceserver-4.0.0.win.exe`, `licenceaddin-4.0.0.win.exe`.
//!
//! Decides what is packed and what the scripts in `installers/windows` are told; what an installer does
//! is decided there. One installer serves Windows of 32 and 64 bits. The same files give the same bytes,
//! unless a signature carries a time of its own.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use semver::Version;

use super::target::{Built, Job, Platform, Product};
use crate::build::{say, shown};
use crate::stage::{StageError, copy_file, make_folder, write_file};

/// Environment variable that names the certificate with its key, in PKCS #12.
pub const CERTIFICATE_VARIABLE: &str = "LICENCE_SIGN_PFX";

/// Environment variable that names the file with the password of the certificate's key.
pub const PASSWORD_VARIABLE: &str = "LICENCE_SIGN_PASSWORD_FILE";

/// Environment variable with the address of a time stamp service (RFC 3161). With it a signature
/// outlives its certificate, and two builds differ; it may be absent.
pub const STAMP_VARIABLE: &str = "LICENCE_SIGN_STAMP_URL";

/// Lines of a failed program that are shown.
const SHOWN_LINES_MAX: usize = 20;

/// Who signs programs and installers (Authenticode, by osslsigncode).
#[derive(Clone, Debug)]
pub struct Signer {
    /// Certificate and key in PKCS #12.
    pub certificate: PathBuf,
    /// The file with the password of the key.
    pub password: PathBuf,
    /// Address of a time stamp service.
    pub stamps: Option<String>,
}

impl Signer {
    /// The one that the environment names; nothing when it names none.
    ///
    /// # Errors
    ///
    /// When only one of certificate and password is named, or a file is not there.
    pub fn from_environment() -> Result<Option<Self>, StageError> {
        let named = |name| std::env::var_os(name).map(PathBuf::from);
        let (certificate, password) = match (named(CERTIFICATE_VARIABLE), named(PASSWORD_VARIABLE))
        {
            (None, None) => return Ok(None),
            (Some(certificate), Some(password)) => (certificate, password),
            (Some(_), None) | (None, Some(_)) => {
                return Err(StageError::failed(format!(
                    "{CERTIFICATE_VARIABLE} and {PASSWORD_VARIABLE} are needed both"
                )));
            }
        };
        let absolute =
            |path: PathBuf| path.canonicalize().map_err(|why| StageError::io(&path, why));
        Ok(Some(Self {
            certificate: absolute(certificate)?,
            password: absolute(password)?,
            stamps: std::env::var(STAMP_VARIABLE).ok(),
        }))
    }

    /// A shell script that signs the file it is given, in place.
    fn script(&self, version: &str, moment: u64) -> Result<String, StageError> {
        let certificate = quoted(&self.certificate)?;
        let password = quoted(&self.password)?;
        let stamp = match &self.stamps {
            Some(address) => format!(" -ts {}", quoted(Path::new(address))?),
            // Else the time of signing would be that of this run.
            None => format!(" -time {moment}"),
        };
        Ok(format!(
            "set -eu\n\
             osslsigncode sign -h sha256 -pkcs12 {certificate} -readpass {password} \\\n  \
             -n 'licenceserver {version}'{stamp} -in \"$1\" -out \"$1.signed\" >&2\n\
             mv \"$1.signed\" \"$1\"\n"
        ))
    }
}

/// Makes the installers of what was built for Windows, signed if the environment names a certificate.
///
/// A product that was built for no Windows gets none, and that is said.
///
/// # Errors
///
/// When NSIS is missing or refuses, a file cannot be read or written, or signing fails.
pub fn installers(
    job: &Job<'_>,
    built: &[Built],
    out: &mut dyn Write,
) -> Result<Vec<PathBuf>, StageError> {
    let signer = Signer::from_environment()?;
    if signer.is_none() && built.iter().any(|built| built.platform.is_windows()) {
        say(out, &format!("Windows: {CERTIFICATE_VARIABLE} is not set, nothing is signed"))?;
    }
    pack(job, built, signer.as_ref(), out)
}

/// The same with a signer of the caller's choice.
///
/// # Errors
///
/// As [`installers`].
pub fn pack(
    job: &Job<'_>,
    built: &[Built],
    signer: Option<&Signer>,
    out: &mut dyn Write,
) -> Result<Vec<PathBuf>, StageError> {
    let mut made = Vec::new();
    if !built.iter().any(|built| built.platform.is_windows()) {
        return Ok(made);
    }
    for product in Product::ALL {
        let folder = job.work.join("windows").join(product.name());
        let definitions = gather(job, product, built, &folder, out)?;
        if definitions.is_empty() {
            say(out, &format!("{}: built for no Windows, no installer", product.name()))?;
            continue;
        }
        made.push(compile(job, product, &folder, &definitions, signer)?);
    }
    Ok(made)
}

/// File name of an installer (the manual, «Установочные пакеты»).
pub fn file_name(product: Product, version: &str) -> String {
    format!("{}-{version}.win.exe", product.name())
}

/// Puts the files of an installer into a folder, under the names and with the times that they are packed
/// with; answers which programs are there, as the script knows them.
fn gather(
    job: &Job<'_>,
    product: Product,
    built: &[Built],
    folder: &Path,
    out: &mut dyn Write,
) -> Result<Vec<&'static str>, StageError> {
    if folder.exists() {
        std::fs::remove_dir_all(folder).map_err(|why| StageError::io(folder, why))?;
    }
    make_folder(folder)?;
    let mut definitions = Vec::new();
    for built in built {
        let Some((definition, name)) = packed_as(product, built.platform) else { continue };
        let found = match product {
            Product::Server => built.program(product.name()),
            Product::Addin => built.component(),
        };
        match found {
            Ok(file) => {
                copy_file(&file, &folder.join(name))?;
                definitions.push(definition);
            }
            // Tests build the component alone for 64 bits.
            Err(StageError::NotBuilt(_)) => {
                say(out, &format!("{}: not built for {}", product.name(), built.platform.name()))?;
            }
            Err(other) => return Err(other),
        }
    }
    let sample = format!("{}.conf", product.name());
    copy_text(&job.root.join("examples").join(&sample), &folder.join(&sample))?;
    for licence in ["LICENSE-MIT", "LICENSE-APACHE"] {
        copy_text(&job.root.join(licence), &folder.join(format!("{licence}.txt")))?;
    }
    Ok(definitions)
}

/// What a script calls a program or library, and how the file is packed.
const fn packed_as(product: Product, platform: Platform) -> Option<(&'static str, &'static str)> {
    match (product, platform) {
        (Product::Server, Platform::Windows32) => Some(("PROGRAM32", "licenceserver-x86.exe")),
        (Product::Server, Platform::Windows64) => Some(("PROGRAM64", "licenceserver-x64.exe")),
        (Product::Addin, Platform::Windows32) => Some(("LIBRARY32", "licenceaddin.dll")),
        (Product::Addin, Platform::Windows64) => Some(("LIBRARY64", "licenceaddin-x86_64.dll")),
        (_, Platform::Linux32 | Platform::Linux64) => None,
    }
}

/// Copies a text with the ends of lines that Notepad of every Windows understands.
fn copy_text(from: &Path, to: &Path) -> Result<(), StageError> {
    let text = std::fs::read_to_string(from).map_err(|why| StageError::io(from, why))?;
    write_file(to, &text.replace("\r\n", "\n").replace('\n', "\r\n"))
}

fn compile(
    job: &Job<'_>,
    product: Product,
    folder: &Path,
    definitions: &[&'static str],
    signer: Option<&Signer>,
) -> Result<PathBuf, StageError> {
    let version = Version::parse(job.version)
        .map_err(|why| StageError::failed(format!("version {:?}: {why}", job.version)))?;
    let numbers = numbers(&version)?;
    make_folder(job.out)?;
    let absolute = |path: &Path| std::path::absolute(path).map_err(|why| StageError::io(path, why));
    let folder = absolute(folder)?;
    let installer = absolute(&job.out.join(file_name(product, job.version)))?;
    let signing = match signer {
        Some(signer) => {
            let script = folder.join("sign.sh");
            write_file(&script, &signer.script(job.version, job.moment)?)?;
            Some(script)
        }
        None => None,
    };
    for entry in std::fs::read_dir(&folder).map_err(|why| StageError::io(&folder, why))? {
        let path = entry.map_err(|why| StageError::io(&folder, why))?.path();
        let is_code = path.extension().is_some_and(|ending| ending == "exe" || ending == "dll");
        if let (Some(script), true) = (&signing, is_code) {
            sign(script, &path)?;
        }
        // Installed files carry the time of what they are packed from.
        let moment = SystemTime::UNIX_EPOCH + Duration::from_secs(job.moment);
        std::fs::File::options()
            .write(true)
            .open(&path)
            .and_then(|file| file.set_modified(moment))
            .map_err(|why| StageError::io(&path, why))?;
    }
    let mut makensis = Command::new("makensis");
    makensis.args(["-V2", "-WX", "-NOCD", "-INPUTCHARSET", "UTF8"]);
    let mut define = |name: &str, value: &Path| {
        let mut definition = OsString::from(format!("-D{name}="));
        definition.push(value);
        makensis.arg(definition);
    };
    define("PRODUCT", Path::new(product.name()));
    define("VERSION", Path::new(job.version));
    define("VERSION_KEY", Path::new(&key(&version)));
    define("VERSION_NUMBERS", Path::new(&numbers));
    define("SOURCE", &folder);
    define("OUT", &installer);
    if let Some(script) = &signing {
        define("SIGN_SCRIPT", script);
    }
    makensis.args(definitions.iter().map(|name| format!("-D{name}")));
    makensis.arg(format!("{}.nsi", product.name()));
    makensis.current_dir(job.root.join("installers").join("windows"));
    // Times of files would be those of this computer's zone.
    makensis.env("TZ", "UTC").env("SOURCE_DATE_EPOCH", job.moment.to_string());
    quietly(makensis)?;
    if let Some(script) = &signing {
        sign(script, &installer)?;
    }
    Ok(installer)
}

fn sign(script: &Path, file: &Path) -> Result<(), StageError> {
    let mut command = Command::new("sh");
    command.arg(script).arg(file);
    quietly(command)
}

/// Runs a program that is heard only when it fails.
fn quietly(mut command: Command) -> Result<(), StageError> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|why| StageError::io(Path::new(command.get_program()), why))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<_> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    let end = &lines[lines.len().saturating_sub(SHOWN_LINES_MAX)..];
    Err(StageError::failed(format!(
        "`{}` ended with {}:\n{}",
        shown(&command),
        output.status,
        end.join("\n")
    )))
}

/// A word for the shell.
fn quoted(path: &Path) -> Result<String, StageError> {
    match path.to_str() {
        Some(text) if !text.contains(['\'', '\n']) => Ok(format!("'{text}'")),
        _ => Err(StageError::failed(format!("{path:?} cannot be named to the shell"))),
    }
}

/// A text whose ordinal order is the order of versions: the installer compares it with that of the
/// installed one. Numbers are filled up with zeros; a release stands behind all that came before it.
fn key(version: &Version) -> String {
    let mut key = format!("{:020}.{:020}.{:020}", version.major, version.minor, version.patch);
    if version.pre.is_empty() {
        key.push('~');
        return key;
    }
    key.push('-');
    for part in version.pre.split('.') {
        match part.parse::<u64>() {
            Ok(number) => key.push_str(&format!("0{number:020}")),
            Err(_) => key.push_str(&format!("1{part}")),
        }
        // Below everything that can stand in a part: `rc` comes before `rc1`.
        key.push('!');
    }
    key
}

/// The version for the resource of the file, which has four numbers of 16 bits.
fn numbers(version: &Version) -> Result<String, StageError> {
    let numbers = [version.major, version.minor, version.patch];
    if let Some(number) = numbers.iter().find(|number| **number > u64::from(u16::MAX)) {
        return Err(StageError::failed(format!("Windows has no version with the number {number}")));
    }
    let [major, minor, patch] = numbers;
    Ok(format!("{major}.{minor}.{patch}.0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_of_the_keys_is_the_order_of_versions() {
        let ascending = [
            "3.0.23",
            "4.0.0-1",
            "4.0.0-2",
            "4.0.0-10",
            "4.0.0-alpha",
            "4.0.0-alpha.1",
            "4.0.0-alpha.beta",
            "4.0.0-beta-2",
            "4.0.0-rc",
            "4.0.0-rc.2",
            "4.0.0-rc.11",
            "4.0.0-rc1",
            "4.0.0",
            "4.0.1-rc.1",
            "4.0.1",
            "4.0.10",
            "4.10.0",
            "10.0.0",
        ];
        let versions = ascending.map(|text| Version::parse(text).unwrap());
        assert!(versions.is_sorted(), "the table is not in order");
        let keys = versions.each_ref().map(key);
        for (pair, names) in keys.windows(2).zip(ascending.windows(2)) {
            assert!(pair[0] < pair[1], "{names:?}");
        }
    }

    #[test]
    fn key_is_what_a_command_line_and_a_registry_carry() {
        let longest = Version::parse("18446744073709551615.1.1-rc.18446744073709551615").unwrap();
        let key = key(&longest);
        // NSIS handles texts of 1023 characters.
        assert!(key.len() < 200);
        assert!(key.bytes().all(|b| b.is_ascii_graphic() && !b"\"$`\\".contains(&b)));
    }

    #[test]
    fn version_that_windows_cannot_show_is_refused() {
        assert_eq!(numbers(&Version::parse("4.0.1-rc.2").unwrap()).unwrap(), "4.0.1.0");
        assert!(numbers(&Version::parse("4.65536.0").unwrap()).is_err());
    }

    #[test]
    fn names_are_those_of_the_manual() {
        assert_eq!(file_name(Product::Server, "4.0.0"), "licenceserver-4.0.0.win.exe");
        assert_eq!(file_name(Product::Addin, "4.0.1-rc.1"), "licenceaddin-4.0.1-rc.1.win.exe");
    }

    #[test]
    fn path_that_ends_a_word_of_the_shell_is_refused() {
        assert_eq!(quoted(Path::new("/a b/c")).unwrap(), "'/a b/c'");
        assert!(quoted(Path::new("/a'b")).is_err());
    }
}
