//! What the tests need beside Rust: g++, openssl with its GOST engine, valgrind, a Python with PyJWT and one
//! with clients of the marking service, Chromium with the packages
//! that drive it, PostgreSQL, systemd's checker of units, faketime, a TPM in software, cargo-deny, etcd
//! and the tools of its networks, for
//! USB tokens libclang, unpacked packages and the peer's programs, and for packages the compilers of other
//! systems, what packs and judges packages, Wine, and
//! a Debian that boots.
//!
//! Whatever is missing is installed where this process may do so, and it says so; otherwise the
//! set-up fails with the command that a person would run.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Context;
use super::runner::Outcome;
use crate::booted;
use crate::build::{say, shown, succeed};
use crate::dist::toolchain;
use crate::etcd;
use crate::guest;
use crate::made::{is_made, python_packages_once};
use crate::stage::{StageError, copy_file, make_folder};
use crate::wine;

/// The cargo-deny that `deny.toml` is written for.
const DENY_VERSION: &str = "0.20.2";

/// A program that tests need, and the Debian packages that bring it.
struct Need {
    /// A call that succeeds when it is there.
    probe: &'static [&'static str],
    packages: &'static [&'static str],
    quick: bool,
}

impl Need {
    /// What a person knows it by.
    fn name(&self) -> &'static str {
        if self.probe[0] == "sh" { self.packages[0] } else { self.probe[0] }
    }
}

const NEEDS: [Need; 13] = [
    Need { probe: &["g++", "--version"], packages: &["g++"], quick: true },
    // Signatures as the marking service takes them.
    Need {
        probe: &["sh", "-c", "openssl version && ls /usr/lib/*/engines-3/gost.so"],
        packages: &["libengine-gost-openssl", "openssl"],
        quick: true,
    },
    // Debian keeps it beside the path, in a folder for each version.
    Need {
        probe: &["sh", "-c", "command -v initdb || ls /usr/lib/postgresql/*/bin/initdb"],
        packages: &["postgresql"],
        quick: true,
    },
    Need { probe: &["valgrind", "--version"], packages: &["valgrind", "libc6-dbg"], quick: false },
    Need {
        probe: &["python3", "-c", "import venv, ensurepip"],
        packages: &["python3", "python3-venv"],
        quick: false,
    },
    Need {
        probe: &["chromium", "--version"],
        packages: &["chromium", "fonts-dejavu-core"],
        quick: false,
    },
    Need { probe: &["node", "--version"], packages: &["nodejs"], quick: false },
    Need { probe: &["npm", "--version"], packages: &["npm"], quick: false },
    Need { probe: &["faketime", "--version"], packages: &["faketime"], quick: false },
    Need { probe: &["swtpm", "--version"], packages: &["swtpm"], quick: true },
    Need { probe: &["systemd-analyze", "--version"], packages: &["systemd"], quick: false },
    // Networks of namespaces, on which servers and etcd are cut off from each other.
    Need { probe: &["ip", "-Version"], packages: &["iproute2"], quick: false },
    // The file system of the tokens' firmware is C, whose headers a build script reads by libclang.
    Need {
        probe: &["sh", "-c", "ls /usr/lib/llvm-*/lib/libclang*.so*"],
        packages: &["libclang-dev"],
        quick: false,
    },
];

/// Packages that make and test packages, beside those of the compilers for other systems. None has one
/// program to ask for, or one that tells it from another package's.
const PACKING: [&str; 12] = [
    "clang",
    "debian-archive-keyring",
    "debootstrap",
    "g++-multilib",
    "lintian",
    "minisign",
    "nsis",
    "openssl",
    "osslsigncode",
    "rpm",
    "rpmlint",
    "systemd-container",
];

/// What the browser tests are installed from: the packages and their lock.
const BROWSER: [&str; 2] = ["package.json", "package-lock.json"];

pub(super) fn run(context: &Context, out: &mut dyn Write) -> Result<Outcome, StageError> {
    let mut missing = Vec::new();
    for need in NEEDS.iter().filter(|need| need.quick || !context.quick) {
        let there = succeeds(need.probe);
        let name = need.name();
        say(out, &format!("{name}: {}", if there { "there" } else { "missing" }))?;
        if !there {
            missing.extend(need.packages);
        }
    }
    if !missing.is_empty() {
        install(&missing, out)?;
        for need in NEEDS.iter().filter(|need| need.quick || !context.quick) {
            if !succeeds(need.probe) {
                return Err(StageError::failed(format!("{} is still missing", need.name())));
            }
        }
    }
    if !context.quick {
        toolchain::install_for_all(&PACKING, out)?;
        for environment in &ENVIRONMENTS {
            python(context, environment, out)?;
        }
        super::bsl::set_up(context, out)?;
        browser(context, out)?;
        etcd::prepare(&context.target, out)?;
        guest::prepare(&context.root, &context.bins, out)?;
        wine::prepare(&context.target, out)?;
        booted::prepare(&context.target, booted::DEFAULT_PLATFORM, out)?;
    }
    Ok(Outcome::passed())
}

pub(crate) fn succeeds(call: &[&str]) -> bool {
    let Some((program, arguments)) = call.split_first() else { return false };
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

pub(crate) fn install(packages: &[&str], out: &mut dyn Write) -> Result<(), StageError> {
    let list = packages.join(" ");
    let Some(mut command) = apt_get() else {
        return Err(StageError::failed(format!(
            "these packages are missing and cannot be installed from here: {list}; on Debian: \
             apt-get install {list}"
        )));
    };
    update(out)?;
    say(out, &format!("installing {list} by apt-get"))?;
    command.args(["install", "--yes", "--quiet", "--no-install-recommends"]).args(packages);
    succeed(command)
}

/// Those of these Debian packages that are not installed.
///
/// # Errors
///
/// When this is no Debian system.
pub(crate) fn missing_packages<'a>(names: &[&'a str]) -> Result<Vec<&'a str>, StageError> {
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat", "${Package} ${db:Status-Status}\n"]).args(names);
    let output = query.stdin(Stdio::null()).output().map_err(|why| {
        StageError::failed(format!(
            "dpkg-query: {why}; building for other systems needs a Debian system with these packages: {}",
            names.join(" ")
        ))
    })?;
    // It fails when one of them was never there, and tells of the others all the same.
    Ok(not_installed(names, &String::from_utf8_lossy(&output.stdout)))
}

/// The names without a line that says `installed`.
fn not_installed<'a>(names: &[&'a str], listed: &str) -> Vec<&'a str> {
    let is_installed =
        |name: &str| listed.lines().any(|line| line.split_once(' ') == Some((name, "installed")));
    names.iter().copied().filter(|name| !is_installed(name)).collect()
}

/// Reads the package lists anew.
///
/// # Errors
///
/// When this process may not, or a mirror is not reached.
pub(crate) fn update(out: &mut dyn Write) -> Result<(), StageError> {
    let Some(mut command) = apt_get() else {
        return Err(StageError::failed(
            "the package lists cannot be read anew from here; on Debian: apt-get update",
        ));
    };
    say(out, "reading the package lists by apt-get")?;
    command.args(["update", "--quiet"]);
    succeed(command)
}

/// A call of apt-get that may change the system, if this process may do that.
fn apt_get() -> Option<Command> {
    if !succeeds(&["apt-get", "--version"]) {
        return None;
    }
    let mut command = superuser("apt-get")?;
    command.env("DEBIAN_FRONTEND", "noninteractive");
    Some(command)
}

/// A call as the superuser, if this process may make one without a person's password.
pub(crate) fn superuser(program: &str) -> Option<Command> {
    // SAFETY: a plain system call without arguments.
    if unsafe { libc::geteuid() } == 0 {
        return Some(Command::new(program));
    }
    succeeds(&["sudo", "-n", "true"]).then(|| {
        let mut command = Command::new("sudo");
        command.args(["-n", program]);
        command
    })
}

/// The Python of the chain tests, below cargo's target folder.
pub(super) fn venv(context: &Context) -> PathBuf {
    context.target.join("venv")
}

/// A Python environment below cargo's target folder.
struct Environment {
    folder: &'static str,
    requirements: &'static str,
    /// What a person knows it by.
    what: &'static str,
    /// Options of pip.
    options: &'static [&'static str],
}

const ENVIRONMENTS: [Environment; 2] = [
    Environment { folder: "venv", requirements: "requirements.txt", what: "PyJWT", options: &[] },
    // Every package is listed: one of them asks for packages that exist on Windows alone.
    Environment {
        folder: "ismp-venv",
        requirements: "requirements-ismp.txt",
        what: "clients of the marking service",
        options: &["--no-deps"],
    },
];

fn python(
    context: &Context,
    environment: &Environment,
    out: &mut dyn Write,
) -> Result<(), StageError> {
    let Environment { folder: name, requirements, what, options } = environment;
    let folder = context.target.join(name);
    let requirements = context.root.join("crates").join("xtask").join(requirements);
    python_packages_once(what, &folder, &requirements, options, out)
}

/// The packages of the browser tests, below cargo's target folder. The browser itself is the
/// system's; nothing here downloads one.
fn browser(context: &Context, out: &mut dyn Write) -> Result<(), StageError> {
    let from = context.root.join("crates").join("xtask").join("browser");
    let folder = context.target.join("browser");
    // Written last, so that an installation that was broken off is made again.
    let stamp = folder.join("installed");
    let mut wanted = String::new();
    for name in BROWSER {
        let file = from.join(name);
        wanted += &std::fs::read_to_string(&file).map_err(|why| StageError::io(&file, why))?;
    }
    if is_made(&stamp, &wanted) {
        return say(out, "packages of the browser tests: there");
    }
    say(out, "packages of the browser tests: making target/browser by npm ci")?;
    make_folder(&folder)?;
    for name in BROWSER {
        copy_file(&from.join(name), &folder.join(name))?;
    }
    let mut npm = Command::new("npm");
    npm.current_dir(&folder).args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]);
    say(out, &format!("$ {}", shown(&npm)))?;
    succeed(npm)?;
    std::fs::write(&stamp, wanted).map_err(|why| StageError::io(&stamp, why))
}

/// Makes sure that cargo-deny is there.
pub(super) fn cargo_deny(context: &Context, out: &mut dyn Write) -> Result<(), StageError> {
    let there = context
        .cargo(&["deny", "--version"])
        .output()
        .map_err(|why| StageError::io(Path::new("cargo"), why))?
        .status
        .success();
    if there {
        return Ok(());
    }
    say(out, &format!("installing cargo-deny {DENY_VERSION}; this takes some minutes"))?;
    let mut command = context.cargo(&["install", "cargo-deny", "--locked", "--version"]);
    command.arg(DENY_VERSION);
    succeed(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_that_is_only_configured_or_unknown_counts_as_missing() {
        let listed = "g++ installed\nrpm config-files\nclang not-installed\n";
        assert_eq!(
            not_installed(&["g++", "rpm", "clang", "nsis"], listed),
            ["rpm", "clang", "nsis"]
        );
    }
}
