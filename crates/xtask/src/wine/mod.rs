//! Wine for tests: Windows programs on this computer, each test with a Windows of its own.
//!
//! [`prepare`] makes a Debian root with Wine and, in it, one Windows as Wine makes it. [`Wine::start`]
//! takes a copy of that and a view of the system in which it runs: its own mounts and its own process
//! numbers, so that nothing outlives it, not even a test that is killed. The network is this computer's:
//! what listens on 127.0.0.1 in Wine is reached from Linux, and the other way round.
//!
//! What a program does is never judged here.

mod copy;
mod root;
mod view;

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::build::{say, succeed};
use crate::made::is_made;
use crate::stage::{StageError, make_folder, write_file};

use view::View;

/// Environment variable that names a Debian root with Wine, used instead of making one.
pub const ROOT_VARIABLE: &str = "LICENCE_WINE_ROOT";

/// Seconds that one program may run. The longest, an installer with everything, takes below a minute.
const PROGRAM_SECS_MAX: &str = "600";

/// Makes the root and its Windows below the target folder unless they are there, saying what it does.
///
/// # Errors
///
/// When packages cannot be had, this process may not make a root, or Wine does not start.
pub fn prepare(target: &Path, out: &mut dyn Write) -> Result<(), StageError> {
    let target = std::path::absolute(target).map_err(|why| StageError::io(target, why))?;
    let root = root::prepare(&target, out)?;
    let places = Places::of(&target);
    let wanted = places.stamp_of(&root);
    if is_made(&places.stamp, &wanted) {
        return say(out, "Wine: there");
    }
    say(out, "Wine: making a Windows in target/wine by wineboot")?;
    if places.folder.exists() {
        std::fs::remove_dir_all(&places.folder)
            .map_err(|why| StageError::io(&places.folder, why))?;
    }
    make_folder(&places.template)?;
    let home = tempfile::Builder::new()
        .prefix("home-")
        .tempdir_in(&places.folder)
        .map_err(|why| StageError::io(&places.folder, why))?;
    let view = View::open(&root, home.path(), &folders(&target)?)?;
    // Standard error tells of missing displays and sound cards only.
    for (program, argument) in [("wineboot", "-i"), ("wineserver", "-w")] {
        let mut command = inside(&view, home.path(), &places.template);
        command.arg(program).arg(argument).stdout(Stdio::null()).stderr(Stdio::null());
        succeed(command)?;
    }
    drop(view);
    write_file(&places.stamp, &wanted)
}

/// Where things of Wine lie below the target folder.
#[derive(Debug)]
struct Places {
    folder: PathBuf,
    template: PathBuf,
    stamp: PathBuf,
}

impl Places {
    fn of(target: &Path) -> Self {
        let folder = target.join("wine");
        Self { template: folder.join("template"), stamp: folder.join("made.txt"), folder }
    }

    /// What the template is made by; a Windows of another Wine is made again.
    fn stamp_of(&self, root: &Path) -> String {
        format!("{}\n{}\n", root.display(), root::version(root))
    }
}

/// Folders that are seen inside at the same paths.
fn folders(target: &Path) -> Result<Vec<PathBuf>, StageError> {
    let mut folders = vec![std::env::temp_dir(), target.to_owned()];
    folders.extend(crate::build::workspace());
    for folder in &mut folders {
        *folder = folder.canonicalize().map_err(|why| StageError::io(folder, why))?;
    }
    Ok(folders)
}

/// A call that enters a view, with the environment of Wine; the program is added by the caller.
fn inside(view: &View, home: &Path, prefix: &Path) -> Command {
    let mut command = view.enter(home);
    command.arg("timeout").args(["--kill-after=5", PROGRAM_SECS_MAX]);
    command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C.UTF-8");
    command.env("HOME", home).env("USER", "root").env("WINEPREFIX", prefix);
    command.env("WINEARCH", "win64").env("WINEDEBUG", "-all");
    // No offers to install Mono and Gecko, no menu files on Linux.
    command.env("WINEDLLOVERRIDES", "mscoree=;mshtml=;winemenubuilder.exe=d");
    command.stdin(Stdio::null());
    command
}

/// A running Windows. It ends, with everything in it, when this is dropped.
#[derive(Debug)]
pub struct Wine {
    prefix: PathBuf,
    display: Option<String>,
    // The view ends before its folder is removed: fields are dropped in this order.
    view: View,
    folder: TempDir,
}

impl Wine {
    /// A Windows as it is after its installation, of 32 and 64 bits.
    ///
    /// # Errors
    ///
    /// When [`prepare`] has not been run, or this process may not make views.
    pub fn start(target: &Path) -> Result<Self, StageError> {
        let target = std::path::absolute(target).map_err(|why| StageError::io(target, why))?;
        let places = Places::of(&target);
        let root = root::find(&target)?;
        if !is_made(&places.stamp, &places.stamp_of(&root)) {
            return Err(StageError::failed(format!(
                "{} has no Windows; run `cargo xtask wine` first",
                places.folder.display()
            )));
        }
        let folder = tempfile::Builder::new()
            .prefix("run-")
            .tempdir_in(&places.folder)
            .map_err(|why| StageError::io(&places.folder, why))?;
        let prefix = folder.path().join("prefix");
        copy::windows(&places.template, &prefix)?;
        let view = View::open(&root, folder.path(), &folders(&target)?)?;
        Ok(Self { prefix, display: None, view, folder })
    }

    /// A call of a Windows program: a Linux path of one (`/tmp/…/setup.exe`), or a name that Windows
    /// finds (`sc`, `reg`, `cmd`). Its exit code is Windows' modulo 256.
    ///
    /// Standard input is empty; the working folder is a fresh one of this Windows. Variables that the
    /// caller adds reach the program. It is ended after ten minutes. Dropping or killing the child does
    /// not end the program; dropping the `Wine` does.
    pub fn command<S: AsRef<OsStr>>(
        &self,
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = S>,
    ) -> Command {
        let program = program.as_ref();
        let mut command = self.linux_command("wine");
        match Path::new(program).is_absolute() {
            true => command.arg(Self::windows_path(Path::new(program))),
            false => command.arg(program),
        };
        command.args(arguments);
        command
    }

    /// A call whose exit code is to be judged: through `cmd`, which asks Windows for it. What Linux is told
    /// of a program with several threads is 0 or a signal now and then, when it ends while this Windows
    /// is still starting (some 3 of 25 times; through `cmd` none of 40). Arguments must be such as `cmd`
    /// leaves alone: no `&`, `|`, `<`, `>`, `^`, `%` in them.
    pub fn judged<S: AsRef<OsStr>>(
        &self,
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = S>,
    ) -> Command {
        let program = program.as_ref();
        let mut command = self.command("cmd", ["/c"]);
        match Path::new(program).is_absolute() {
            true => command.arg(Self::windows_path(Path::new(program))),
            false => command.arg(program),
        };
        command.args(arguments);
        command
    }

    /// A call of a Linux program inside the same view: `wineserver`, `wineboot`, `xdotool`.
    pub fn linux_command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = inside(&self.view, self.folder.path(), &self.prefix);
        if let Some(display) = &self.display {
            command.env("DISPLAY", display);
        }
        command.arg(program);
        command
    }

    /// How Windows names a file of Linux: `Z:\tmp\setup.exe`.
    pub fn windows_path(path: &Path) -> String {
        format!("Z:{}", path.display()).replace('/', "\\")
    }

    /// Where a file of drive C: lies: `Program Files/licenceaddin`, with either slash and the case that it
    /// was made with, below [`Self::drive_c`]. A leading `C:\` is left away.
    pub fn linux_path(&self, windows: &str) -> PathBuf {
        let rest = windows.strip_prefix("C:\\").or_else(|| windows.strip_prefix("c:\\"));
        self.drive_c().join(rest.unwrap_or(windows).replace('\\', "/"))
    }

    /// The folder behind `C:\`.
    pub fn drive_c(&self) -> PathBuf {
        self.prefix.join("drive_c")
    }

    /// A screen of 1280 by 800 for programs with windows; commands that are made later see it.
    ///
    /// # Errors
    ///
    /// When Xvfb does not start.
    pub fn show(&mut self) -> Result<(), StageError> {
        if self.display.is_some() {
            return Ok(());
        }
        let mut xvfb = inside(&self.view, self.folder.path(), &self.prefix);
        // The number of the first free screen comes on standard output.
        xvfb.args([
            "Xvfb",
            "-displayfd",
            "1",
            "-screen",
            "0",
            "1280x800x24",
            "-nolisten",
            "tcp",
            "-nolisten",
            "unix",
        ]);
        let number = self.view.start(xvfb)?;
        self.display = Some(format!(":{number}"));
        Ok(())
    }

    /// Ends all programs of this Windows, services too, and writes its registry down; the next command
    /// starts it again, as a computer that was switched off and on.
    ///
    /// # Errors
    ///
    /// When it does not end.
    pub fn shut_down(&self) -> Result<(), StageError> {
        for argument in ["-k", "-w"] {
            let mut server = self.linux_command("wineserver");
            server.arg(argument).stdout(Stdio::null()).stderr(Stdio::null());
            let status =
                server.status().map_err(|why| StageError::io(Path::new("wineserver"), why))?;
            // `-k` without a server ends with 1: it leaves by itself when nobody needs it.
            if !matches!(status.code(), Some(0 | 1)) {
                return Err(StageError::failed(format!(
                    "wineserver {argument} ended with {status}"
                )));
            }
        }
        Ok(())
    }
}
