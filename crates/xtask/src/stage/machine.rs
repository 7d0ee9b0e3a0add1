//! Another computer, as far as a licence server looks at one: number of the system, processor,
//! network cards and disks are files of ours, bound over those of this computer in a mount namespace.
//!
//! The volume of the data stays the real one. Firmware numbers, where this computer has them, are
//! hidden: no file can be made where there is none.

use std::path::{Path, PathBuf};

use licence_core::seal::{hex_upper, sha256};

use super::{Launch, Stage, StageError, make_folder, write_file};

/// Network cards of a machine.
pub const CARDS: usize = 3;

/// Disks of a machine.
pub const DISKS: usize = 3;

/// Binds the parts over the system's, then becomes the program. Arguments: the folder of the parts,
/// the program and its arguments.
const ENTER: &str = "set -e
parts=$1
shift
mount --bind \"$parts/machine-id\" /etc/machine-id
if [ -e /var/lib/dbus/machine-id ]; then
  mount --bind \"$parts/machine-id\" /var/lib/dbus/machine-id
fi
if [ -d /sys/class/dmi/id ]; then mount --bind \"$parts/firmware\" /sys/class/dmi/id; fi
mount --bind \"$parts/cpuinfo\" /proc/cpuinfo
mount --bind \"$parts/net\" /sys/class/net
mount --bind \"$parts/block\" /sys/block
exec \"$@\"";

/// A computer with parts of its own.
#[derive(Clone, Debug)]
pub struct Machine {
    folder: PathBuf,
    name: String,
}

impl Machine {
    /// A computer whose parts follow from its name.
    ///
    /// # Errors
    ///
    /// When its files cannot be written.
    pub fn make(stage: &Stage, name: &str) -> Result<Self, StageError> {
        let machine =
            Self { folder: stage.root().join("machines").join(name), name: name.to_owned() };
        make_folder(&machine.folder.join("firmware"))?;
        write_file(&machine.folder.join("cpuinfo"), "")?;
        write_file(&machine.folder.join("machine-id"), "")?;
        machine.set_processor("as bought")?;
        machine.set_system("as bought")?;
        for card in 0..CARDS {
            machine.set_card(card, "as bought")?;
        }
        for disk in 0..DISKS {
            machine.set_disk(disk, "as bought")?;
        }
        Ok(machine)
    }

    /// A program on this computer.
    pub fn launch(&self) -> Launch {
        Launch::default().on(self)
    }

    /// Another operating system: its number follows from the text.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn set_system(&self, which: &str) -> Result<(), StageError> {
        let id = self.number("system", which, 32).to_lowercase();
        write_file(&self.folder.join("machine-id"), &format!("{id}\n"))
    }

    /// Another processor.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn set_processor(&self, which: &str) -> Result<(), StageError> {
        let model = self.number("processor", which, 8);
        let text = format!("processor\t: 0\nvendor_id\t: Stage\nmodel name\t: Stage {model}\n\n");
        write_file(&self.folder.join("cpuinfo"), &text)
    }

    /// Another network card in one of the places.
    ///
    /// # Errors
    ///
    /// When the files cannot be written.
    pub fn set_card(&self, place: usize, which: &str) -> Result<(), StageError> {
        let device = self.folder.join("net").join(format!("eth{place}"));
        let digits = self.number(&format!("card {place}"), which, 10).to_lowercase();
        // The two bits of the first byte say: of one card, given by its maker.
        let address = digits
            .as_bytes()
            .chunks(2)
            .fold("00".to_owned(), |all, pair| format!("{all}:{}", String::from_utf8_lossy(pair)));
        make_folder(&device.join("device"))?;
        write_file(&device.join("addr_assign_type"), "0\n")?;
        write_file(&device.join("address"), &format!("{address}\n"))
    }

    /// Another disk in one of the places.
    ///
    /// # Errors
    ///
    /// When the files cannot be written.
    pub fn set_disk(&self, place: usize, which: &str) -> Result<(), StageError> {
        let device = self.folder.join("block").join(format!("sd{place}"));
        let number = self.number(&format!("disk {place}"), which, 16).to_lowercase();
        make_folder(&device.join("device"))?;
        write_file(&device.join("removable"), "0\n")?;
        write_file(&device.join("wwid"), &format!("naa.{number}\n"))
    }

    /// Where its parts lie.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What enters it.
    pub(super) fn entrance(&self) -> Vec<String> {
        let mut enter = vec!["unshare".to_owned()];
        // SAFETY: a plain system call without arguments.
        if unsafe { libc::geteuid() } != 0 {
            // The right to mount, over a view of the system that only this process has.
            enter.extend(["--user", "--map-root-user"].map(str::to_owned));
        }
        enter.extend(["--mount", "sh", "-c", ENTER, "sh"].map(str::to_owned));
        enter.push(self.folder.display().to_string());
        enter
    }

    fn number(&self, part: &str, which: &str, digits: usize) -> String {
        let text = format!("{}\n{part}\n{which}", self.name);
        let mut number = hex_upper(&sha256(text.as_bytes()));
        number.truncate(digits);
        number
    }
}
