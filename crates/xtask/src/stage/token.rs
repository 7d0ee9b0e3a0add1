//! Tokens without hardware for programs on this computer: a pcscd of our own, vpcd's readers in it,
//! and cards of a maker's firmware (`token-peer`), which come and go as processes.
//!
//! Nothing of the system is touched: this pcscd lives in a mount namespace with a `/run` of its own,
//! sees no real reader, and is reached by its socket's name in [`TokenPeer::environment`]. What a
//! token is used for its callers decide.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{
    Process, START_BOUND, Stage, StageError, copy_file, make_folder, program, wait_until,
    write_file,
};
use crate::guest::{Packages, Programs};

/// Readers of one vpcd, at ports that follow each other; its build fixes them.
pub const READERS: usize = 2;

/// How readers of vpcd are called, as a setting that lists tokens wants it.
pub const READER_NAME: &str = "Virtual PCD";

/// How often a pair of free ports is looked for, should somebody take the second one.
const PORTS_TRIED_MAX: usize = 20;

/// Starts pcscd in a mount namespace. `/run` is our own, and the socket in it lies in a folder that
/// the rest of the system sees too; the drivers of USB readers are hidden. Arguments: that folder,
/// the program, the folder of the readers' description.
const PCSCD: &str = "set -e
mount -t tmpfs none /run
mkdir /run/pcscd
mount --bind \"$1\" /run/pcscd
if [ -d /usr/lib/pcsc/drivers ]; then mount -t tmpfs none /usr/lib/pcsc/drivers; fi
exec \"$2\" --foreground --config \"$3\"";

/// A smart card service with two readers and the cards in them.
///
/// ```no_run
/// use xtask::stage::{Stage, TokenPeer};
///
/// let stage = Stage::temporary().unwrap();
/// let mut peer = TokenPeer::start(&stage).unwrap();
/// peer.plug(0, "first").unwrap();
/// // Programs that are started with `peer.environment()` find the token `first`.
/// peer.unplug(0).unwrap();
/// // The same token in the other reader: its memory lies below the stage by its name.
/// peer.plug(1, "first").unwrap();
/// ```
#[derive(Debug)]
pub struct TokenPeer {
    packages: Packages,
    programs: Programs,
    // Before the service, so that cards are ended first.
    cards: [Option<Process>; READERS],
    service: Option<Process>,
    folder: PathBuf,
    port: u16,
}

impl TokenPeer {
    /// Starts the service with empty readers.
    ///
    /// # Errors
    ///
    /// When a program is missing (`cargo xtask guest` makes them) or this process may not make a mount
    /// namespace.
    pub fn start(stage: &Stage) -> Result<Self, StageError> {
        let packages = Packages::find(stage.bins())?;
        let programs = Programs::find(stage.bins())?;
        let folder = stage.root().join("tokens");
        let mut peer =
            Self { packages, programs, cards: [None, None], service: None, folder, port: 0 };
        for name in ["socket", "readers", "state", "output"] {
            make_folder(&peer.folder.join(name))?;
        }
        // Its own place may be hidden from the service.
        let driver = peer.folder.join("libifdvpcd.so");
        copy_file(&peer.packages.file("usr/lib/pcsc/drivers/serial/libifdvpcd.so")?, &driver)?;
        peer.port = free_ports()?;
        let port = peer.port;
        let description = format!(
            "FRIENDLYNAME \"{READER_NAME}\"\nDEVICENAME /dev/null:0x{port:X}\nLIBPATH {}\n\
             CHANNELID 0x{port:X}\n",
            driver.display()
        );
        write_file(&peer.folder.join("readers").join("vpcd"), &description)?;
        peer.start_service()?;
        Ok(peer)
    }

    /// Starts the service, after [`Self::stop_service`].
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub fn start_service(&mut self) -> Result<(), StageError> {
        // SAFETY: a plain system call without arguments.
        let root = unsafe { libc::geteuid() } == 0;
        let mut command = Command::new("unshare");
        if !root {
            // The right to mount, over a view of the system that only this process has.
            command.args(["--user", "--map-root-user"]);
        }
        command.args(["--mount", "sh", "-c", PCSCD, "sh"]);
        command.arg(self.folder.join("socket")).arg(self.packages.file("usr/sbin/pcscd")?);
        command.arg(self.folder.join("readers"));
        command.env("LD_LIBRARY_PATH", self.packages.library_path());
        let mut service = Process::start("pcscd", command, &self.folder.join("output"))?;
        let socket = self.socket();
        wait_until(START_BOUND, "pcscd's socket", || {
            if let Some(status) = service.ended()? {
                return Err(service.failed(&format!("ended with {status}")));
            }
            Ok(std::os::unix::net::UnixStream::connect(&socket).ok())
        })?;
        self.service = Some(service);
        Ok(())
    }

    /// Ends the service as an administrator does who stops it; cards fall out of their readers.
    ///
    /// # Errors
    ///
    /// When it had ended already.
    pub fn stop_service(&mut self) -> Result<(), StageError> {
        for reader in 0..READERS {
            self.unplug(reader)?;
        }
        match self.service.take() {
            Some(mut service) => service.kill(),
            None => Ok(()),
        }
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("socket").join("pcscd.comm")
    }

    /// What a program needs in its environment to find this service and its library.
    pub fn environment(&self) -> [(&'static str, String); 2] {
        [
            ("LD_LIBRARY_PATH", self.packages.library_path()),
            ("PCSCLITE_CSOCK_NAME", self.socket().display().to_string()),
        ]
    }

    /// Puts the token of this name into a reader (0 or 1) and waits until it is up. A name that was
    /// not used before is a fresh token, as it leaves its factory.
    ///
    /// # Errors
    ///
    /// When there is a card in the reader or the card does not come up.
    pub fn plug(&mut self, reader: usize, token: &str) -> Result<(), StageError> {
        let state = self.folder.join("state").join(token);
        let place = self.cards.get_mut(reader).ok_or_else(|| no_reader(reader))?;
        if place.is_some() {
            return Err(StageError::failed(format!("reader {reader} has a card")));
        }
        let port = usize::from(self.port) + reader;
        let mut command = program(&self.programs.peer);
        command.args(["vpcd", "--port", &port.to_string(), "--state"]).arg(state);
        let card = Process::start(token, command, &self.folder.join("output"))?;
        card.line_with("ready", START_BOUND)?;
        *place = Some(card);
        Ok(())
    }

    /// Pulls the token out of a reader, without a warning to anybody; an empty one stays so.
    ///
    /// # Errors
    ///
    /// When the card had ended by itself.
    pub fn unplug(&mut self, reader: usize) -> Result<(), StageError> {
        let place = self.cards.get_mut(reader).ok_or_else(|| no_reader(reader))?;
        match place.take() {
            Some(mut card) => card.kill(),
            None => Ok(()),
        }
    }

    /// The client under test, with these arguments, so that it finds this service.
    pub fn check(&self, steps: &[&str]) -> Command {
        let mut command = program(&self.programs.check);
        command.envs(self.environment()).args(["--tokens", READER_NAME]).args(steps);
        command
    }

    /// A tool of OpenSC, which knows this service.
    ///
    /// # Errors
    ///
    /// When the package is not there.
    pub fn tool(&self, name: &str) -> Result<Command, StageError> {
        let mut command = program(&self.packages.file(&format!("usr/bin/{name}"))?);
        command.envs(self.environment());
        // A person's own settings of OpenSC have no part in a test.
        command.env("OPENSC_CONF", "/dev/null");
        Ok(command)
    }

    /// OpenSC as a PKCS#11 module.
    ///
    /// # Errors
    ///
    /// When the package is not there.
    pub fn module(&self) -> Result<PathBuf, StageError> {
        self.packages.file("usr/lib/x86_64-linux-gnu/opensc-pkcs11.so")
    }

    /// The memory of the token of this name, all of it: what a thief who opens a token copies.
    pub fn memory(&self, token: &str) -> [PathBuf; 2] {
        let state = self.folder.join("state").join(token);
        ["internal", "external"].map(|ending| with_ending(&state, ending))
    }
}

impl Drop for TokenPeer {
    fn drop(&mut self) {
        // Each is killed when it is dropped; cards first, so that the service frees its readers.
        self.cards = [None, None];
        self.service = None;
    }
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    path.with_extension(ending)
}

fn no_reader(reader: usize) -> StageError {
    StageError::failed(format!("there is no reader {reader}"))
}

/// A port that is free, and the one after it too. vpcd cannot be told to take any, so they are looked
/// for and let go; should another program be quicker, the service does not come up and says so.
fn free_ports() -> Result<u16, StageError> {
    for _ in 0..PORTS_TRIED_MAX {
        let open = |port| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port));
        let Ok(first) = open(0) else { break };
        let Ok(address) = first.local_addr() else { break };
        if let Some(next) = address.port().checked_add(1)
            && open(next).is_ok()
        {
            return Ok(address.port());
        }
    }
    Err(StageError::failed("no two free ports that follow each other"))
}
