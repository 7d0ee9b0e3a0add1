//! A PostgreSQL of the test's own: made in a fresh folder, reached through a socket there, gone with
//! the test.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use tempfile::TempDir;

use super::Place;

/// How long the server may take to be ready on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// User and group that have nothing: PostgreSQL does not run as root.
const NOBODY: u32 = 65_534;

pub(super) struct Server {
    folder: TempDir,
    child: Child,
}

/// A program of PostgreSQL: on the path, or where Debian keeps it.
fn program(name: &str) -> PathBuf {
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&on_path).collect();
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        folders.extend(versions.flatten().map(|version| version.path().join("bin")));
    }
    let found = folders.into_iter().map(|folder| folder.join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{name} is missing: install the package postgresql"))
}

fn is_root(folder: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(folder).unwrap().uid() == 0
}

fn command(name: &str, drop_rights: bool) -> Command {
    let program = program(name);
    if !drop_rights {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command
        .arg(format!("--reuid={NOBODY}"))
        .arg(format!("--regid={NOBODY}"))
        .arg("--clear-groups")
        .arg(program);
    command
}

impl Server {
    pub(super) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = is_root(folder.path());
        if root {
            std::os::unix::fs::chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let data = folder.path().join("data");
        let made = command("initdb", root)
            .args(["--auth=trust", "--username=centre", "--no-sync", "--locale=C"])
            .args(["--encoding=UTF8", "-D"])
            .arg(&data)
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut child = command("postgres", root)
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(folder.path())
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=20"])
            .current_dir(folder.path())
            .env("LC_ALL", "C")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = child.stderr.take().unwrap();
        let (tell, ready) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(log).lines().map_while(Result::ok) {
                if line.contains("ready to accept connections") {
                    let _ = tell.send(());
                }
            }
        });
        let server = Self { folder, child };
        ready.recv_timeout(LIMIT).expect("PostgreSQL is not ready");
        server
    }

    pub(super) fn url(&self, database: &str) -> String {
        format!("postgres:///{database}?user=centre&host={}", self.folder.path().display())
    }

    /// An empty database.
    pub(super) fn database(&self, name: &str) -> Place {
        self.run(&format!("CREATE DATABASE {name}"));
        Place::Postgres { url: self.url(name), ca: None }
    }

    pub(super) fn run(&self, sql: &str) {
        let mut client = postgres::Client::connect(&self.url("postgres"), postgres::NoTls).unwrap();
        client.batch_execute(sql).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // `setpriv` became the server itself. Killed: nothing of it is kept.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
