//! The parts of this computer that a seal may use, as they show themselves.
//!
//! Reads files of the system within limits and leaves out what manufacturers have not filled in.
//! Which parts are needed is decided by the seal, and what follows from a change by licences.

#[cfg(not(windows))]
mod linux;
mod unique;
#[cfg(windows)]
mod windows;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use licence_core::binding::PartKind;
use licence_core::identity_seal::Part;

/// Parts of one kind that a key is sealed to. A computer with twenty disks would else be nothing
/// but disks to the seal.
const PER_KIND_MAX: usize = 4;

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// The parts that can be read, in a lasting order.
    pub parts: Vec<Part>,
    /// Kinds that exist and may not be read by this user.
    pub unreadable: Vec<PartKind>,
    /// Kinds that the system shows to root alone.
    pub root_only: BTreeSet<PartKind>,
}

impl Found {
    /// The parts for a seal in this file: some of each kind. A seal in a folder of another user is
    /// for a service that runs as that user, so it is not sealed to what only root may read.
    pub(super) fn to_seal(&self, file: &Path) -> Vec<Part> {
        let is_shared = is_of_another(file);
        let mut chosen: Vec<Part> = Vec::new();
        for part in &self.parts {
            let hidden = is_shared && self.root_only.contains(&part.kind);
            let count = chosen.iter().filter(|one| one.kind == part.kind).count();
            if !hidden && count < PER_KIND_MAX && !chosen.contains(part) {
                chosen.push(part.clone());
            }
        }
        chosen
    }
}

/// Where the parts are read.
#[derive(Clone, Debug, Default)]
pub enum Computer {
    /// This computer.
    #[default]
    This,
    /// A computer that somebody describes, and may change while it is looked at.
    Told(Arc<RwLock<Found>>),
}

impl Computer {
    /// A computer with these parts.
    pub fn told(parts: Vec<Part>) -> Self {
        let found = Found { parts, ..Found::default() };
        Self::Told(Arc::new(RwLock::new(found)))
    }

    /// Reads its parts. `file` is the seal: its volume is one of them.
    pub(super) fn read(&self, file: &Path) -> Found {
        match self {
            #[cfg(not(windows))]
            Self::This => linux::read(Path::new("/"), file),
            #[cfg(windows)]
            Self::This => windows::read(file),
            Self::Told(found) => found.read().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

#[cfg(unix)]
fn is_of_another(file: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let folder = existing(file);
    let own = std::fs::metadata("/proc/self").map(|own| own.uid());
    let of_folder = std::fs::metadata(folder).map(|folder| folder.uid());
    matches!((own, of_folder), (Ok(own), Ok(of_folder)) if own != of_folder)
}

#[cfg(not(unix))]
const fn is_of_another(_: &Path) -> bool {
    false
}

/// The nearest folder above a file that is there.
#[cfg(unix)]
fn existing(file: &Path) -> &Path {
    file.ancestors().skip(1).find(|folder| folder.exists()).unwrap_or(file)
}
