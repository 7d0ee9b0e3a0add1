//! What this computer is: name, addresses, system, hardware fingerprint, limits.
//!
//! Reads the operating system and decides nothing but the form of what it shows. Whether a
//! changed computer may use its licences is decided by their `cnf` key, never by the fingerprint.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use licence_core::seal::{hex_upper, sha256};

/// Bytes of a `ComputerID`; shown as 40 hex digits (the manual's sample).
const COMPUTER_ID_BYTES: usize = 20;

/// What is known of the computer at start.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HostFacts {
    /// Name of the computer.
    pub computer_name: String,
    /// `Windows` or `Linux`.
    pub os_type: String,
    /// For example `Debian GNU/Linux 12 (bookworm) 6.1.0-18-amd64 (x86_64)`.
    pub os_version: String,
    /// `i386` or `x86_64` (or what else the program was built for).
    pub cpu: String,
    /// The program's file.
    pub module_name: String,
    /// Process id.
    pub pid: u32,
    /// Hardware fingerprint, 40 hex digits.
    pub computer_id: String,
}

impl HostFacts {
    /// Reads them. `fallback` stands in for the fingerprint of a computer that shows none, as in
    /// some containers.
    pub fn read(fallback: &[u8]) -> Self {
        Self {
            computer_name: gethostname::gethostname().to_string_lossy().into_owned(),
            os_type: os_type(std::env::consts::OS),
            os_version: os_version(),
            cpu: cpu(std::env::consts::ARCH).to_owned(),
            module_name: std::env::current_exe()
                .map(|path| path.display().to_string())
                .unwrap_or_default(),
            pid: std::process::id(),
            computer_id: computer_id(&fingerprint_parts(), fallback),
        }
    }
}

/// Local IPv4 addresses, separated by commas, without the loopback.
pub fn local_ipv4() -> String {
    let addresses = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        log::warn!("network addresses cannot be read: {error}");
        Vec::new()
    });
    let shown: BTreeSet<_> = addresses
        .into_iter()
        .filter_map(|interface| match interface.ip() {
            IpAddr::V4(address) if !address.is_loopback() => Some(address),
            IpAddr::V4(_) | IpAddr::V6(_) => None,
        })
        .collect();
    shown.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// The manual's `OSType`: `Windows` or `Linux`.
fn os_type(os: &str) -> String {
    match os {
        "windows" => "Windows".to_owned(),
        "linux" => "Linux".to_owned(),
        other => other.to_owned(),
    }
}

/// The manual's `CPU`.
fn cpu(arch: &str) -> &str {
    if arch == "x86" { "i386" } else { arch }
}

fn os_version() -> String {
    let arch = cpu(std::env::consts::ARCH);
    // On Windows such a path would be one on the current drive, that anybody may have made.
    let release = if cfg!(windows) { None } else { read_line("/etc/os-release") };
    let release = release.and_then(|text| pretty_name(&text));
    match release {
        Some(name) => match read_line("/proc/sys/kernel/osrelease") {
            Some(kernel) => format!("{name} {kernel} ({arch})"),
            None => format!("{name} ({arch})"),
        },
        None => {
            let found = os_info::get();
            format!("{} {} ({arch})", found.os_type(), found.version())
        }
    }
}

fn read_line(path: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let text = text.trim().to_owned();
    (!text.is_empty()).then_some(text)
}

fn pretty_name(os_release: &str) -> Option<String> {
    let line = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    let name = line.trim().trim_matches(['"', '\'']).to_owned();
    (!name.is_empty()).then_some(name)
}

/// The parts of this computer that stay when software changes, each with its kind. Only such that
/// every user may read: a server started by hand, as root, and the service under a user of its own
/// are on the same computer. So not the number of the board, which the system shows to root alone.
fn fingerprint_parts() -> BTreeSet<(&'static str, String)> {
    let mut parts = BTreeSet::new();
    if let Ok(id) = machine_uid::get() {
        parts.insert(("machine-id", id));
    }
    for mac in physical_macs() {
        parts.insert(("mac", mac));
    }
    parts
}

/// Hardware addresses of network cards that are devices and not bridges or tunnels.
fn physical_macs() -> Vec<String> {
    let Ok(interfaces) = std::fs::read_dir("/sys/class/net") else { return Vec::new() };
    interfaces
        .flatten()
        .map(|interface| interface.path())
        .filter(|path| path.join("device").exists())
        .filter_map(|path| read_line(&path.join("address").to_string_lossy()))
        .filter(|mac| mac.bytes().any(|b| b != b'0' && b != b':'))
        .collect()
}

/// Number of the way in which the fingerprint is computed. One more whenever a computer gets
/// another fingerprint by it, so that nobody is told of a change of hardware that was none.
pub const COMPUTER_ID_FORMAT: u32 = 2;

/// The first 20 bytes of SHA-256 over the parts in order, in hex.
fn computer_id(parts: &BTreeSet<(&'static str, String)>, fallback: &[u8]) -> String {
    let mut message = format!("licenceserver computer id {COMPUTER_ID_FORMAT}\n").into_bytes();
    for (kind, value) in parts {
        let value = value.trim().to_ascii_lowercase();
        message.extend_from_slice(format!("{kind}={value}\n").as_bytes());
    }
    if parts.is_empty() {
        message.extend_from_slice(fallback);
    }
    hex_upper(&sha256(&message)[..COMPUTER_ID_BYTES])
}

/// Raises the soft limit of open files to the hard one, so that the limit of connections is the
/// one that counts. Returns the limit in force, if it can be read.
#[cfg(unix)]
#[expect(unsafe_code, reason = "no safe function of the standard library reads or sets limits")]
pub fn raise_open_files_limit() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid `rlimit` that outlives the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return None;
    }
    let before = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` is a valid `rlimit` that outlives the call.
    let raised = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } == 0;
    let in_force = if raised { limit.rlim_cur } else { before };
    #[expect(clippy::allow_attributes, reason = "the cast is needless on some systems only")]
    #[allow(
        clippy::unnecessary_cast,
        clippy::cast_lossless,
        reason = "`rlim_t` is as wide as a pointer"
    )]
    Some(in_force as u64)
}

/// Windows has no such limit for sockets.
#[cfg(not(unix))]
pub fn raise_open_files_limit() -> Option<u64> {
    None
}

/// The file system that a file or folder lies on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Volume {
    /// Bytes that this process may still write.
    pub free_bytes: u64,
    /// Whether it is mounted read-only.
    pub is_read_only: bool,
}

/// The file system that `path` lies on.
///
/// # Errors
///
/// When the system does not say.
#[cfg(unix)]
pub fn volume(path: &Path) -> io::Result<Volume> {
    let found = statvfs(path)?;
    // The widths differ between systems and are never wider than 64 bits.
    #[expect(clippy::allow_attributes, reason = "the casts are needless on some systems only")]
    #[allow(clippy::unnecessary_cast, clippy::cast_lossless, reason = "see above")]
    let (blocks, size) = (found.f_bavail as u64, found.f_frsize as u64);
    Ok(Volume {
        free_bytes: blocks.saturating_mul(size),
        is_read_only: found.f_flag & libc::ST_RDONLY != 0,
    })
}

/// What the kernel calls the file system that `path` lies on; nothing when it has no name for it.
#[cfg(unix)]
pub fn volume_id(path: &Path) -> Option<u64> {
    #[expect(clippy::allow_attributes, reason = "the cast is needless on some systems only")]
    #[allow(clippy::unnecessary_cast, clippy::cast_lossless, reason = "see above")]
    let id = statvfs(path).ok()?.f_fsid as u64;
    (id != 0).then_some(id)
}

#[cfg(unix)]
#[expect(unsafe_code, reason = "no safe function of the standard library asks a file system")]
fn statvfs(path: &Path) -> io::Result<libc::statvfs> {
    let name = c_path(path)?;
    let mut found = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: `name` ends with a zero byte, `found` has room for one answer; both outlive the call.
    if unsafe { libc::statvfs(name.as_ptr(), found.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all fields are integers, for which zero is a value, and the call has filled them.
    Ok(unsafe { found.assume_init() })
}

/// The volume that `path` lies on.
///
/// # Errors
///
/// When the system does not say.
#[cfg(windows)]
pub fn volume(path: &Path) -> io::Result<Volume> {
    let (free_bytes, is_read_only) = crate::win32::volume(path)?;
    Ok(Volume { free_bytes, is_read_only })
}

/// Whether this process may write a file, or files into a folder, as far as the system says
/// without trying.
///
/// # Errors
///
/// Why not.
#[cfg(unix)]
#[expect(unsafe_code, reason = "no safe function of the standard library asks for access")]
pub fn check_writable(path: &Path) -> io::Result<()> {
    let name = c_path(path)?;
    // SAFETY: `name` ends with a zero byte and outlives the call.
    let refused =
        unsafe { libc::faccessat(libc::AT_FDCWD, name.as_ptr(), libc::W_OK, libc::AT_EACCESS) }
            != 0;
    if refused { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Whether this process may write a file, as far as its attributes say.
///
/// # Errors
///
/// Why not.
#[cfg(not(unix))]
pub fn check_writable(path: &Path) -> io::Result<()> {
    if std::fs::metadata(path)?.permissions().readonly() && path.is_file() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(())
}

#[cfg(unix)]
fn c_path(path: &Path) -> io::Result<std::ffi::CString> {
    use std::os::unix::ffi::OsStrExt;
    Ok(std::ffi::CString::new(path.as_os_str().as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn computer_id_is_40_hex_digits_and_depends_on_every_part() {
        let part = |kind, value: &str| (kind, value.to_owned());
        let one = BTreeSet::from([part("machine-id", "ab"), part("mac", "02:00:00:00:00:01")]);
        let id = computer_id(&one, b"x");
        assert_eq!(id.len(), 40);
        assert!(id.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b)));
        assert_eq!(id, computer_id(&one, b"y"), "the fallback counts only without parts");
        let upper = BTreeSet::from([part("machine-id", "AB\n"), part("mac", "02:00:00:00:00:01")]);
        assert_eq!(id, computer_id(&upper, b"x"), "spelling does not count");
        let other = BTreeSet::from([part("machine-id", "ab"), part("mac", "02:00:00:00:00:02")]);
        assert_ne!(id, computer_id(&other, b"x"));
        assert_ne!(computer_id(&BTreeSet::new(), b"x"), computer_id(&BTreeSet::new(), b"y"));
    }

    #[cfg(unix)]
    #[test]
    fn volume_and_access_of_a_fresh_folder_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let found = volume(dir.path()).unwrap();
        assert!(found.free_bytes > 0 && !found.is_read_only, "{found:?}");
        assert!(check_writable(dir.path()).is_ok());
        let missing = dir.path().join("missing");
        assert_eq!(check_writable(&missing).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(volume(&missing).is_err());
    }

    #[test]
    fn names_are_those_of_the_manual() {
        assert_eq!((cpu("x86"), cpu("x86_64")), ("i386", "x86_64"));
        assert_eq!((os_type("windows"), os_type("linux")), ("Windows".into(), "Linux".into()));
        let release = "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n";
        assert_eq!(pretty_name(release).as_deref(), Some("Debian GNU/Linux 12 (bookworm)"));
        assert_eq!(pretty_name("ID=x"), None);
    }

    #[test]
    fn fingerprint_is_made_of_what_every_user_may_read() {
        let kinds: BTreeSet<_> = fingerprint_parts().into_iter().map(|(kind, _)| kind).collect();
        let readable = BTreeSet::from(["machine-id", "mac"]);
        assert!(kinds.is_subset(&readable), "{kinds:?}");
    }

    #[test]
    fn facts_of_this_computer_are_stable() {
        let facts = HostFacts::read(b"x");
        assert_eq!(facts, HostFacts::read(b"x"));
        assert!(!facts.os_version.is_empty() && facts.pid > 0);
    }
}
