//! The compilers of other systems: Debian's Rust that brings the sources of its standard library, a
//! standard library for each target built out of them, mingw, and zig for old glibc versions. Where the
//! system's packages have no such Rust, as Ubuntu's, rustup gets ready libraries for the one that runs us.
//!
//! Installs what is missing where this process may, and says so. Everything that is made lies below the
//! target folder, so that the system's own Rust stays as its packages left it. What is built with all
//! this is decided in `super::cross`.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::target::Platform;
use crate::build::{forget_own_package, say, shown, succeed};
use crate::check::setup;
use crate::made::{is_made, python_packages_once};
use crate::stage::{StageError, copy_file, make_folder, write_file};

/// Packages for every target.
const COMMON: [&str; 2] = ["g++", "python3-venv"];

/// Debian's Rust with its sources.
const RUST: [&str; 3] = ["cargo-web", "rust-web-src", "rustc-web"];

/// Debian's compiler, wherever PATH has another.
const RUSTC: &str = "/usr/bin/rustc";
/// Its cargo, which matches it.
const CARGO: &str = "/usr/bin/cargo";
/// Its documentation tool, asked for by cargo when a target is tested.
const RUSTDOC: &str = "/usr/bin/rustdoc";

/// Changes when a standard library is made in another way, so that old ones are made again.
const RECIPE: &str = "recipe 2";

/// What cargo puts between two flags in `CARGO_ENCODED_RUSTFLAGS`.
pub(super) const SEPARATOR: &str = "\u{1f}";

/// Where the sources of the standard library are said to lie, in the texts of panics.
const SOURCES_NAME: &str = "rust";

/// Variables of the cargo that runs us: they would lead Debian's to another compiler.
const FOREIGN: [&str; 12] = [
    "CARGO",
    "CARGO_BUILD_RUSTC",
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTFLAGS",
    "LD_LIBRARY_PATH",
    "RUSTC",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTDOC",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
    "RUST_RECURSION_COUNT",
];

/// Whose Rust it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Source {
    /// Debian's: libraries for other systems are built.
    Debian,
    /// The one that runs us: rustup gets libraries for other systems.
    Rustup,
}

impl Source {
    /// Debian's wherever the system's packages have it.
    fn find(out: &mut dyn Write) -> Result<Self, StageError> {
        let is_offered = || setup::succeeds(&["apt-cache", "show", RUST[1]]);
        if setup::missing_packages(&RUST)?.is_empty() || is_offered() {
            return Ok(Self::Debian);
        }
        // A fresh system has no list of packages yet.
        setup::update(out)?;
        Ok(if is_offered() { Self::Debian } else { Self::Rustup })
    }
}

/// Compilers that are ready for some platforms.
#[derive(Clone, Debug)]
pub struct Toolchain {
    source: Source,
    /// What it says of itself.
    version: String,
    /// The folder of its own libraries and sources.
    rustlib: PathBuf,
    /// Where cargo keeps crates of the registry.
    cargo_home: PathBuf,
    /// Everything that is made here.
    folder: PathBuf,
}

impl Toolchain {
    /// Makes everything that these platforms need, unless it is there.
    ///
    /// # Errors
    ///
    /// When packages cannot be had or a standard library cannot be built.
    pub fn prepare(
        root: &Path,
        target: &Path,
        platforms: &[Platform],
        out: &mut dyn Write,
    ) -> Result<Self, StageError> {
        let source = Source::find(out)?;
        install(source, platforms, &[], out)?;
        let rustc = match source {
            Source::Debian => RUSTC,
            Source::Rustup => "rustc",
        };
        let version = printed(Command::new(rustc).arg("-V").current_dir(root))?;
        let sysroot = printed(Command::new(rustc).args(["--print", "sysroot"]).current_dir(root))?;
        let absolute =
            |path: &Path| std::path::absolute(path).map_err(|why| StageError::io(path, why));
        let toolchain = Self {
            source,
            version,
            rustlib: Path::new(&sysroot).join("lib").join("rustlib"),
            cargo_home: absolute(&cargo_home()?)?,
            folder: absolute(&target.join("cross"))?,
        };
        make_folder(&toolchain.folder)?;
        for platform in platforms.iter().filter(|platform| !toolchain.has_library(**platform)) {
            match source {
                Source::Debian => toolchain.build_library(*platform, out)?,
                Source::Rustup => load_library(root, *platform, out)?,
            }
        }
        if platforms.iter().any(|platform| !platform.is_windows()) {
            toolchain.zig(root, out)?;
        }
        Ok(toolchain)
    }

    /// The compiler's name and version.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Cargo's target folder for other systems; another compiler's is of no use to this one.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Folders of this machine that no file for others names: they would make two builds differ, and tell
    /// who has built.
    pub(super) fn hidden<'a>(&'a self, root: &'a Path) -> [&'a Path; 3] {
        [&self.cargo_home, root, &self.folder]
    }

    /// A call of cargo that builds for a platform, in this workspace; the arguments behind `--target` are
    /// added by the caller.
    pub(super) fn cargo(&self, root: &Path, platform: Platform) -> Command {
        let triple = platform.triple();
        let mut command;
        if platform.is_windows() {
            command = self.plain(self.cargo_program(), root);
            command.args(["build", "--target", triple]);
            let tool = |name: &str| format!("{}-w64-mingw32-{name}", processor(platform));
            let upper = triple.to_uppercase().replace('-', "_");
            command.env(format!("CARGO_TARGET_{upper}_LINKER"), tool("gcc-posix"));
            for (variable, name) in
                [("CC", "gcc-posix"), ("CXX", "g++-posix"), ("AR", "ar"), ("RANLIB", "ranlib")]
            {
                command.env(for_target(variable, triple), tool(name));
            }
        } else {
            let zig = self.folder.join("zig").join("bin");
            command = self.plain(zig.join("cargo-zigbuild"), root);
            command.args(["zigbuild", "--target"]);
            command.arg(format!("{triple}.{}", super::image::GLIBC_MAX));
            // Its calls of cargo and of the wrappers that it writes.
            let mut path = OsString::from(&zig);
            path.push(":/usr/bin:");
            path.push(std::env::var_os("PATH").unwrap_or_default());
            command.env("PATH", path).env("CARGO_ZIGBUILD_ZIG_PATH", zig.join("python-zig"));
            let cache = self.folder.join("zig-cache");
            command.env("ZIG_GLOBAL_CACHE_DIR", cache.join("zig")).env("XDG_CACHE_HOME", cache);
        }
        let maps =
            [(&self.cargo_home, "cargo"), (&root.to_owned(), "licence"), (&self.folder, "target")]
                .map(|(path, name)| format!("{}={name}", path.display()));
        let mut flags: Vec<String> =
            maps.iter().map(|map| format!("--remap-path-prefix={map}")).collect();
        if !self.has_library(platform) {
            flags.push(format!("--sysroot={}", self.sysroot().display()));
        }
        if platform.is_windows() {
            // The linker's clock would be in the file.
            flags.push("-Clink-arg=-Wl,--no-insert-timestamp".to_owned());
        }
        command.env("CARGO_ENCODED_RUSTFLAGS", flags.join(SEPARATOR));
        let maps = maps.map(|map| format!("-ffile-prefix-map={map}")).join(" ");
        for variable in ["CFLAGS", "CXXFLAGS"] {
            command.env(for_target(variable, triple), &maps);
        }
        command
    }

    fn cargo_program(&self) -> OsString {
        match self.source {
            Source::Debian => CARGO.into(),
            Source::Rustup => std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()),
        }
    }

    /// A call of a tool, without what the cargo that runs us told us.
    fn plain(&self, program: impl AsRef<std::ffi::OsStr>, folder: &Path) -> Command {
        let mut command = Command::new(program);
        for name in FOREIGN {
            command.env_remove(name);
        }
        forget_own_package(&mut command);
        command.env("CARGO", self.cargo_program());
        if self.source == Source::Debian {
            command.env("RUSTC", RUSTC).env("RUSTDOC", RUSTDOC);
        }
        command.env("CARGO_TARGET_DIR", &self.folder).env("CARGO_TERM_COLOR", "never");
        command.current_dir(folder).stdin(Stdio::null());
        command
    }

    /// A folder like the compiler's, with the standard libraries that were made here.
    fn sysroot(&self) -> PathBuf {
        self.folder.join("std")
    }

    fn libraries(&self, platform: Platform) -> PathBuf {
        self.sysroot().join("lib").join("rustlib").join(platform.triple()).join("lib")
    }

    /// Whether the compiler itself has the standard library of a platform.
    fn has_library(&self, platform: Platform) -> bool {
        // One that a person has put beside Debian's compiler is not taken: it may name their folders.
        let may_have = self.source == Source::Rustup || platform == Platform::Linux64;
        let folder = self.rustlib.join(platform.triple()).join("lib");
        let Ok(entries) = std::fs::read_dir(folder) else { return false };
        let mut names = entries.flatten().map(|entry| entry.file_name());
        may_have && names.any(|name| name.to_string_lossy().starts_with("libstd-"))
    }

    /// Builds the standard library of a platform unless that was done before.
    fn build_library(&self, platform: Platform, out: &mut dyn Write) -> Result<(), StageError> {
        let triple = platform.triple();
        let stamp = self.sysroot().join(format!("{triple}.txt"));
        let wanted = format!("{}\n{RECIPE}\n", self.version);
        if is_made(&stamp, &wanted) {
            return say(out, &format!("standard library of {triple}: there"));
        }
        say(
            out,
            &format!("standard library of {triple}: building it; this takes a minute or two"),
        )?;
        let libraries = self.libraries(platform);
        let work = self.folder.join("std-work").join(triple);
        // What was built with another library does not fit this one, and cargo cannot know.
        let built = self.folder.join(triple);
        for folder in [&libraries, &work, &built] {
            if folder.exists() {
                std::fs::remove_dir_all(folder).map_err(|why| StageError::io(folder, why))?;
            }
        }
        make_folder(&libraries)?;
        make_folder(&work)?;
        // Cargo builds it on the way to a crate that needs none of it.
        let manifest = "[package]\nname = \"nothing\"\nversion = \"0.0.0\"\nedition = \"2021\"\n\
                        [workspace]\n";
        write_file(&work.join("Cargo.toml"), manifest)?;
        make_folder(&work.join("src"))?;
        write_file(&work.join("src").join("lib.rs"), "#![no_std]\n")?;
        let mut build = self.plain(CARGO, &work);
        build.args(["build", "--quiet", "--release", "--target", triple]);
        build.arg("-Zbuild-std=std,panic_unwind,panic_abort,proc_macro,test");
        build.env("CARGO_TARGET_DIR", work.join("target")).env("RUSTC_BOOTSTRAP", "1");
        let mut flags = self.remapped_sources()?;
        // Cargo leaves the bitcode out where it sees no optimisation at the link; the profile of what is
        // given to others has one, and it goes through the standard library.
        flags.push("-Cembed-bitcode=yes".to_owned());
        build.env("CARGO_ENCODED_RUSTFLAGS", flags.join(SEPARATOR));
        say(out, &format!("$ {}", shown(&build)))?;
        succeed(build)?;
        let deps = work.join("target").join(triple).join("release").join("deps");
        let failed = |why| StageError::io(&deps, why);
        for entry in std::fs::read_dir(&deps).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(".rlib") && !name.starts_with("libnothing-") {
                copy_file(&entry.path(), &libraries.join(&name))?;
            }
        }
        if platform == Platform::Windows32 {
            self.startup_objects(&libraries)?;
        }
        std::fs::remove_dir_all(&work).map_err(|why| StageError::io(&work, why))?;
        write_file(&stamp, &wanted)
    }

    /// Objects that stand first and last in programs of 32-bit Windows. Their sources are of the edition
    /// of 2015, which only the compiler itself takes by default.
    fn startup_objects(&self, libraries: &Path) -> Result<(), StageError> {
        let sources = self.rustlib.join("src/rust/library/rtstartup");
        for name in ["rsbegin", "rsend"] {
            let mut compile = self.plain(RUSTC, libraries);
            compile.env("RUSTC_BOOTSTRAP", "1");
            compile.args(["--target", Platform::Windows32.triple(), "--emit=obj", "-o"]);
            compile.arg(libraries.join(format!("{name}.o")));
            compile.arg(sources.join(format!("{name}.rs")));
            succeed(compile)?;
        }
        Ok(())
    }

    /// Flags that keep folders of this machine out of the standard library.
    fn remapped_sources(&self) -> Result<Vec<String>, StageError> {
        let sources = self.rustlib.join("src").join("rust");
        let real = sources.canonicalize().map_err(|why| StageError::io(&sources, why))?;
        let map =
            |path: &Path, name: &str| format!("--remap-path-prefix={}={name}", path.display());
        Ok(vec![
            map(&self.cargo_home, "cargo"),
            map(&sources, SOURCES_NAME),
            map(&real, SOURCES_NAME),
        ])
    }

    /// zig and the tool that puts it in the place of cargo's linker, in an environment of their own.
    fn zig(&self, root: &Path, out: &mut dyn Write) -> Result<(), StageError> {
        let requirements = root.join("crates").join("xtask").join("requirements-zig.txt");
        let folder = self.folder.join("zig");
        let pinned = ["--only-binary=:all:", "--require-hashes"];
        python_packages_once("zig", &folder, &requirements, &pinned, out)
    }
}

/// Installs what building for every platform takes, and these packages, unless they are there.
///
/// # Errors
///
/// When this process may not, or there is no such package.
pub(crate) fn install_for_all(
    more: &[&'static str],
    out: &mut dyn Write,
) -> Result<(), StageError> {
    install(Source::find(out)?, &Platform::ALL, more, out)
}

fn install(
    source: Source,
    platforms: &[Platform],
    more: &[&'static str],
    out: &mut dyn Write,
) -> Result<(), StageError> {
    let mut names = packages(source, platforms);
    names.extend(more);
    let missing = setup::missing_packages(&names)?;
    if missing.is_empty() { Ok(()) } else { setup::install(&missing, out) }
}

/// The Debian packages that building for these platforms takes.
fn packages(source: Source, platforms: &[Platform]) -> Vec<&'static str> {
    let mut names = COMMON.to_vec();
    if source == Source::Debian {
        names.extend(RUST);
    }
    for platform in platforms {
        match platform {
            Platform::Windows64 => names.push("g++-mingw-w64-x86-64-posix"),
            Platform::Windows32 => names.push("g++-mingw-w64-i686-posix"),
            Platform::Linux64 | Platform::Linux32 => {}
        }
    }
    names
}

/// Has rustup load the standard library of a platform.
fn load_library(root: &Path, platform: Platform, out: &mut dyn Write) -> Result<(), StageError> {
    let mut rustup = Command::new("rustup");
    rustup.current_dir(root).args(["target", "add", platform.triple()]);
    say(out, &format!("$ {}", shown(&rustup)))?;
    succeed(rustup)
}

/// `CC_i686_pc_windows_gnu`, as build scripts look for it.
fn for_target(variable: &str, triple: &str) -> String {
    format!("{variable}_{}", triple.replace('-', "_"))
}

fn processor(platform: Platform) -> &'static str {
    match platform {
        Platform::Linux64 | Platform::Windows64 => "x86_64",
        Platform::Linux32 | Platform::Windows32 => "i686",
    }
}

/// Where cargo keeps what it has downloaded.
pub(super) fn cargo_home() -> Result<PathBuf, StageError> {
    std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))
        .ok_or_else(|| {
            StageError::failed("neither CARGO_HOME nor HOME says where cargo's folder is")
        })
}

/// The line that a program prints.
fn printed(command: &mut Command) -> Result<String, StageError> {
    command.env_remove("LD_LIBRARY_PATH").stdin(Stdio::null());
    let output =
        command.output().map_err(|why| StageError::io(Path::new(command.get_program()), why))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned());
    }
    Err(StageError::failed(format!("`{}` ended with {}", shown(command), output.status)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_those_of_the_platforms_asked_for() {
        let linux = packages(Source::Debian, &[Platform::Linux32]);
        assert!(linux.contains(&"rust-web-src"));
        assert!(!linux.iter().any(|name| name.contains("mingw")), "{linux:?}");
        let all = packages(Source::Rustup, &Platform::ALL);
        assert!(!all.contains(&"rust-web-src"), "{all:?}");
        assert_eq!(all.iter().filter(|name| name.contains("mingw")).count(), 2, "{all:?}");
    }

    #[test]
    fn variables_for_build_scripts_carry_the_target_in_their_spelling() {
        assert_eq!(for_target("CC", "i686-pc-windows-gnu"), "CC_i686_pc_windows_gnu");
    }
}
