//! A view of the system in which Wine runs: mounts and process numbers of its own.
//!
//! One small process holds it; commands enter it by name. When that process ends, which it does as soon
//! as its standard input is closed, the kernel ends everything that runs in the view and forgets its
//! mounts. So nothing is left when a test ends, in whatever way it does.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::build::shown;
use crate::stage::{StageError, make_folder};

/// Makes the view, then waits for the end of standard input. Arguments: Wine's root, the empty folder
/// that becomes the root of the view, `ro` or `rw` for the parts of Wine's root (a user's view may not
/// change how parts are mounted), the folders that are seen at the same paths.
const HOLD: &str = "set -e
root=$1 view=$2 part=$3
shift 3
mount -t tmpfs -o mode=0755 tmpfs \"$view\"
for name in usr etc var/lib var/cache; do
  mkdir -p \"$view/$name\"
  mount --bind \"$root/$name\" \"$view/$name\"
  if [ \"$part\" = ro ]; then mount -o remount,bind,ro \"$view/$name\"; fi
done
for name in bin lib lib64 sbin; do ln -s \"usr/$name\" \"$view/$name\"; done
mkdir \"$view/dev\" \"$view/proc\" \"$view/run\"
mkdir -m 1777 \"$view/tmp\"
mount --rbind /dev \"$view/dev\"
mount -t proc proc \"$view/proc\"
for folder in \"$@\"; do
  mkdir -p \"$view$folder\"
  mount --rbind \"$folder\" \"$view$folder\"
done
echo ready
read -r _ || exit 0";

/// An open view.
#[derive(Debug)]
pub(super) struct View {
    holder: Child,
    root: PathBuf,
    /// Linux programs that were started in it; they end with it.
    programs: Vec<Child>,
}

impl View {
    /// Opens a view of Wine's root with these folders in it. `home` gets the folder of its root.
    ///
    /// # Errors
    ///
    /// When this process may not make views, or a folder lies where Wine's own parts do.
    pub(super) fn open(wine: &Path, home: &Path, folders: &[PathBuf]) -> Result<Self, StageError> {
        let root = home.join("root");
        make_folder(&root)?;
        let is_superuser = is_superuser();
        let mut holder = Command::new("unshare");
        if !is_superuser {
            holder.args(["--user", "--map-root-user"]);
        }
        holder.args(["--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"]);
        holder.args(["sh", "-c", HOLD, "sh"]).arg(wine).arg(&root);
        holder.arg(if is_superuser { "ro" } else { "rw" }).args(outermost(folders));
        holder.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = holder.spawn().map_err(|why| StageError::io(Path::new("unshare"), why))?;
        let mut line = String::new();
        if let Some(output) = holder.stdout.take() {
            // Standard output ends when the holder does, so this wait ends too.
            BufReader::new(output)
                .read_line(&mut line)
                .map_err(|why| StageError::io(Path::new("unshare"), why))?;
        }
        let view = Self { holder, root, programs: Vec::new() };
        if line.trim_end() == "ready" {
            return Ok(view);
        }
        Err(StageError::failed(
            "Wine needs the right to make mount and process namespaces: root, or user namespaces",
        ))
    }

    /// A call that enters the view with this working folder; the program is added by the caller.
    pub(super) fn enter(&self, folder: &Path) -> Command {
        let mut command = Command::new("nsenter");
        let spaces = PathBuf::from(format!("/proc/{}/ns", self.holder.id()));
        let mut space = |option: &str, name: &str| {
            command.arg(format!("--{option}={}", spaces.join(name).display()));
        };
        if !is_superuser() {
            space("user", "user");
        }
        space("mount", "mnt");
        // The holder's parent keeps its own number; its children have the view's.
        space("pid", "pid_for_children");
        command.arg("chroot").arg(&self.root).arg("env").arg("-C").arg(folder);
        command
    }

    /// Starts a program that stays, and gives the first line that it prints.
    ///
    /// # Errors
    ///
    /// When it ends before it prints one.
    pub(super) fn start(&mut self, mut command: Command) -> Result<String, StageError> {
        let name = shown(&command);
        let failed = |why| StageError::io(Path::new("nsenter"), why);
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().map_err(failed)?;
        let output = child.stdout.take();
        self.programs.push(child);
        let mut line = String::new();
        if let Some(output) = output {
            BufReader::new(output).read_line(&mut line).map_err(failed)?;
        }
        let line = line.trim();
        if line.is_empty() {
            return Err(StageError::failed(format!("`{name}` ended before it was ready")));
        }
        Ok(line.to_owned())
    }
}

impl Drop for View {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        // Nothing better can be done here, and the kernel ends what is in the view in any case.
        drop(self.holder.wait());
        for program in &mut self.programs {
            drop(program.wait());
        }
    }
}

fn is_superuser() -> bool {
    // SAFETY: a plain system call without arguments.
    unsafe { libc::geteuid() == 0 }
}

/// Folders that lie in no other of them.
fn outermost(folders: &[PathBuf]) -> Vec<&Path> {
    let mut folders: Vec<&Path> = folders.iter().map(PathBuf::as_path).collect();
    folders.sort_unstable();
    let mut outer: Vec<&Path> = Vec::new();
    for folder in folders {
        if !outer.iter().any(|outer| folder.starts_with(outer)) {
            outer.push(folder);
        }
    }
    outer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_inside_another_is_not_mounted_again() {
        let folders = ["/tmp/target", "/work", "/tmp", "/tmp", "/work-b"].map(PathBuf::from);
        assert_eq!(outermost(&folders), ["/tmp", "/work", "/work-b"].map(Path::new));
    }
}
