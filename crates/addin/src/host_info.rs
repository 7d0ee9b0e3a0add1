//! What the component knows of the process it lives in: for the server's list of connections, for
//! the places of settings and log.
//!
//! Reads files and asks the system, never the network, and starts no program: the host is a
//! server process, and a child of it would be seen by its own supervision.

use std::env;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use licence_client::ConfPaths;
use licence_core::protocol::ConnectionInfo;

use crate::module;

/// Names another folder for the common settings file: tests and containers.
const COMMON_DIR_VARIABLE: &str = "LICENCEADDIN_COMMON_DIR";

/// Names another folder for the installed component: tests and containers.
const INSTALLED_DIR_VARIABLE: &str = "LICENCEADDIN_INSTALLED_DIR";

/// Largest file of users that is looked through: directories of ten thousands are not kept in it.
#[cfg(unix)]
const PASSWD_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Processes, without `.exe`, in which sessions of others run: the platform's server and the web
/// servers that publish infobases. They read the common settings file only.
///
/// Only asked where the platform does not say by itself what it is ([`crate::platform_info`]).
const SERVER_PROCESSES: [&str; 8] =
    ["rphost", "ibsrv", "httpd", "apache2", "apache", "httpd-prefork", "httpd.worker", "w3wp"];

/// Whether a platform in this process has said that it is a server.
static SERVER_SAID: AtomicBool = AtomicBool::new(false);

/// Everything about this process that does not change while it runs. Whether it is a server is
/// guessed by its name: an object whose platform says so knows better.
pub(crate) fn gather() -> ConnectionInfo {
    let process = process_path();
    let is_server = is_server_name(&process);
    ConnectionInfo {
        os_version: format!("{} ({})", os_name(), cpu()),
        computer_name: gethostname::gethostname().to_string_lossy().into_owned(),
        local_ip: local_addresses(),
        process: process.to_string_lossy().into_owned(),
        cpu: cpu().to_owned(),
        pid: std::process::id().to_string(),
        is_server,
        platform_version: platform_version(&process).unwrap_or_default(),
        module_name: module::path()
            .and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
            .unwrap_or_default(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        terminal_client: terminal_client(),
    }
}

/// Whether this process serves sessions of others.
pub(crate) fn is_server_process() -> bool {
    SERVER_SAID.load(Ordering::Relaxed) || is_server_name(&process_path())
}

/// Keeps what a platform has said of itself.
pub(crate) fn note_server(is_server: bool) {
    if is_server {
        SERVER_SAID.store(true, Ordering::Relaxed);
    }
}

fn process_path() -> PathBuf {
    env::current_exe().unwrap_or_default()
}

fn is_server_name(process: &Path) -> bool {
    let name = process.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    let name = name.strip_suffix(".exe").unwrap_or(&name);
    SERVER_PROCESSES.contains(&name)
}

/// Whether a process of this name is the platform's own server, and not a web server.
fn is_platform_server_name(process: &Path) -> bool {
    let name = process.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    ["rphost", "ibsrv"].contains(&name.strip_suffix(".exe").unwrap_or(&name))
}

const fn cpu() -> &'static str {
    if cfg!(target_arch = "x86_64") {
        "x86_64"
    } else if cfg!(target_arch = "x86") {
        "i386"
    } else {
        env::consts::ARCH
    }
}

/// Name and version of the system. From the file, because the usual library starts `lsb_release`.
#[cfg(target_os = "linux")]
fn os_name() -> String {
    ["/etc/os-release", "/usr/lib/os-release"]
        .iter()
        .find_map(|path| std::fs::read_to_string(path).ok())
        .and_then(|text| os_release(&text))
        .unwrap_or_else(|| "Linux".to_owned())
}

/// Name and version of the system: `Windows 10 Pro 10.0.19045`.
#[cfg(not(target_os = "linux"))]
fn os_name() -> String {
    let info = os_info::get();
    match info.edition() {
        Some(edition) => format!("{edition} {}", info.version()),
        None => format!("{} {}", info.os_type(), info.version()),
    }
}

#[cfg(target_os = "linux")]
fn os_release(text: &str) -> Option<String> {
    let value = |key: &str| {
        text.lines().find_map(|line| {
            let (name, value) = line.split_once('=')?;
            let value = value.trim().trim_matches(['"', '\'']);
            (name.trim() == key && !value.is_empty()).then(|| value.to_owned())
        })
    };
    let name = value("NAME")?;
    let name = name.strip_suffix(" GNU/Linux").unwrap_or(&name);
    Some(value("VERSION_ID").map_or_else(|| name.to_owned(), |version| format!("{name} {version}")))
}

fn local_addresses() -> String {
    let mut addresses: Vec<String> = if_addrs::get_if_addrs()
        .unwrap_or_default()
        .iter()
        .filter(|interface| !interface.is_loopback())
        .filter_map(|interface| match interface.ip() {
            IpAddr::V4(address) => Some(address.to_string()),
            IpAddr::V6(_) => None,
        })
        .collect();
    addresses.sort();
    addresses.dedup();
    addresses.join(",")
}

/// The platform installs itself into a folder named by its version, `/opt/1cv8/x86_64/8.3.24.1234`
/// or `C:\Program Files\1cv8\8.3.24.1234\bin`.
fn platform_version(process: &Path) -> Option<String> {
    process
        .parent()?
        .iter()
        .rev()
        .filter_map(|part| part.to_str())
        .find(|part| {
            let mut count = 0;
            part.split('.').all(|number| {
                count += 1;
                !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
            }) && count == 4
        })
        .map(str::to_owned)
}

/// The computer that a remote session is seen from: on Windows the client of Remote Desktop, on
/// Unix the address that the secure shell names.
#[cfg(unix)]
fn terminal_client() -> Option<String> {
    let text = env::var("SSH_CLIENT").ok()?;
    text.split_whitespace().next().map(str::to_owned)
}

/// The computer that a remote session is seen from. Asked of the system: the environment names the one
/// from which the session was begun, and a session may be taken over from another.
#[cfg(windows)]
fn terminal_client() -> Option<String> {
    crate::windows::remote_client()
}

fn variable_dir(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The folder for all users.
fn common_dir() -> PathBuf {
    if let Some(dir) = variable_dir(COMMON_DIR_VARIABLE) {
        return dir;
    }
    if cfg!(windows) {
        variable_dir("ProgramData")
            .unwrap_or_else(|| PathBuf::from(r"C:\ProgramData"))
            .join(r"1C\licence\3.0")
    } else {
        PathBuf::from("/var/1C/licence/3.0")
    }
}

/// The folder of the user that the process runs as; nothing when it has no home.
fn user_dir() -> Option<PathBuf> {
    if cfg!(windows) {
        // Services that are started without a profile lack the first of the two.
        let local = variable_dir("LocalAppData")
            .or_else(|| Some(variable_dir("USERPROFILE")?.join(r"AppData\Local")))?;
        Some(local.join(r"1C\licence\3.0"))
    } else {
        Some(home_dir()?.join(".1C/licence/3.0"))
    }
}

/// The home folder: as the environment has it, else as the file of users does. A service may be
/// started without the variable. The file is read as it is: asking the system's user database can wait
/// for a directory server, on a thread of the host.
#[cfg(unix)]
fn home_dir() -> Option<PathBuf> {
    use std::io::Read as _;

    variable_dir("HOME").or_else(|| {
        let mut text = String::new();
        let file = std::fs::File::open("/etc/passwd").ok()?;
        file.take(PASSWD_BYTES_MAX).read_to_string(&mut text).ok()?;
        // SAFETY: a plain system call without arguments.
        let user = unsafe { libc::geteuid() };
        home_in_passwd(&text, user)
    })
}

#[cfg(windows)]
fn home_dir() -> Option<PathBuf> {
    None
}

/// The home of a user in a file of users (passwd(5)). A home at the root is that of a service without
/// one.
#[cfg(unix)]
fn home_in_passwd(text: &str, user: u32) -> Option<PathBuf> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':').skip(2);
        let is_user = fields.next()?.parse() == Ok(user);
        let home = fields.nth(2)?;
        (is_user && home.starts_with('/') && home != "/").then(|| PathBuf::from(home))
    })
}

/// Where an installed component of this architecture may lie, the likeliest first.
pub(crate) fn installed_components() -> Vec<PathBuf> {
    let name = installed_name();
    installed_dirs().into_iter().map(|dir| dir.join(&name)).collect()
}

fn installed_dirs() -> Vec<PathBuf> {
    if let Some(dir) = variable_dir(INSTALLED_DIR_VARIABLE) {
        return vec![dir];
    }
    if cfg!(windows) {
        // One package for both architectures installs into the folder of 32-bit programs.
        let mut dirs: Vec<PathBuf> = Vec::new();
        for variable in ["ProgramFiles", "ProgramFiles(x86)", "ProgramW6432"] {
            let dir = variable_dir(variable).map(|dir| dir.join(r"1C\Licence\v3.0"));
            dirs.extend(dir.filter(|dir| !dirs.contains(dir)));
        }
        dirs
    } else {
        vec![PathBuf::from("/opt/1C/licence/3.0")]
    }
}

/// File name of the installed component: the names under which it is known since version 2, with the
/// architecture where there are several.
fn installed_name() -> String {
    let ending = env::consts::DLL_EXTENSION;
    if cfg!(target_arch = "x86") {
        format!("licenceaddin.{ending}")
    } else {
        format!("licenceaddin-{}.{ending}", env::consts::ARCH)
    }
}

/// The settings files that this process reads.
pub(crate) fn conf_paths(is_server: bool) -> ConfPaths {
    const NAME: &str = "licenceaddin.conf";
    ConfPaths {
        user: user_dir().filter(|_| !is_server).map(|dir| dir.join(NAME)),
        common: common_dir().join(NAME),
    }
}

/// The folders that the log may be written to, the best first: the user's, but for a web server the
/// common one (manual, «Расположение системных логов»). The other of the two stands in for one that
/// cannot be written.
pub(crate) fn log_dirs() -> Vec<PathBuf> {
    let process = process_path();
    let web_server = is_server_name(&process) && !is_platform_server_name(&process);
    let user = user_dir();
    let mut dirs: Vec<PathBuf> = if web_server {
        std::iter::once(common_dir()).chain(user).collect()
    } else {
        user.into_iter().chain(std::iter::once(common_dir())).collect()
    };
    for dir in &mut dirs {
        dir.push("logs");
    }
    dirs
}

/// Whether a process may still be there.
#[cfg(unix)]
pub(crate) fn is_alive(pid: u32) -> bool {
    let Some(pid) = libc::pid_t::try_from(pid).ok().filter(|pid| *pid > 0) else { return false };
    // SAFETY: a plain system call on integers; signal 0 is sent to nobody.
    let code = unsafe { libc::kill(pid, 0) };
    // A process of another user may not be signalled, but it is there.
    code == 0 || std::io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

/// Whether a process may still be there. Never asked here: the log of a living one is open in a
/// way that forbids removing it.
#[cfg(windows)]
pub(crate) const fn is_alive(_pid: u32) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_of_the_platform_is_read_from_its_folder() {
        for (path, version) in [
            ("/opt/1cv8/x86_64/8.3.24.1234/rphost", Some("8.3.24.1234")),
            ("/opt/1C/v8.3/x86_64/rphost", None),
            ("/usr/sbin/apache2", None),
            ("rphost", None),
        ] {
            assert_eq!(platform_version(Path::new(path)).as_deref(), version, "{path}");
        }
    }

    #[test]
    fn server_processes_are_known_by_name() {
        for (path, is_server) in [
            ("/opt/1cv8/x86_64/8.3.24.1234/rphost", true),
            ("/usr/sbin/apache2", true),
            ("/opt/1cv8/x86_64/8.3.24.1234/1cv8c", false),
            ("W3WP.EXE", true),
            ("/opt/1cv8/x86_64/8.3.24.1234/ibsrv", true),
            ("", false),
        ] {
            assert_eq!(is_server_name(Path::new(path)), is_server, "{path}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn home_of_a_user_is_found_in_the_file_of_users() {
        let text = "root:x:0:0:root:/root:/bin/bash\nbroken\n\
                    usr1cv8:x:123:456::/home/usr1cv8:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n";
        for (user, home) in
            [(0, Some("/root")), (123, Some("/home/usr1cv8")), (65534, None), (5, None)]
        {
            assert_eq!(home_in_passwd(text, user).as_deref(), home.map(Path::new), "{user}");
        }
    }

    #[test]
    fn installed_component_is_looked_for_at_its_known_name() {
        let places = installed_components();
        assert!(!places.is_empty());
        let ending = env::consts::DLL_EXTENSION;
        for place in places {
            let name = place.file_name().unwrap().to_str().unwrap();
            assert!(name.starts_with("licenceaddin") && name.ends_with(ending), "{name}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn processes_that_are_there_are_told_from_those_that_are_not() {
        assert!(is_alive(std::process::id()));
        assert!(is_alive(1), "the first process is there, whoever owns it");
        assert!(!is_alive(0));
        assert!(!is_alive(u32::MAX));
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        ended.wait().unwrap();
        assert!(!is_alive(ended.id()));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_system_is_named_by_its_release_file() {
        let debian = "PRETTY_NAME=\"x\"\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\n";
        assert_eq!(os_release(debian).as_deref(), Some("Debian 12"));
        assert_eq!(os_release("NAME=Arch\n").as_deref(), Some("Arch"));
        assert_eq!(os_release(""), None);
    }
}
