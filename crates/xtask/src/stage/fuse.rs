//! A fuse for a program: `kill -9` before the n-th step in which it changes the disk, whichever thread
//! makes it.
//!
//! The library in front of the C library is `fuse.cpp`; which step a test cuts the test decides.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Launch, Stage, StageError, write_file};

/// The library's source.
const SOURCE: &str = include_str!("fuse.cpp");

/// Bytes of the shared file: calls that are left, calls that there have been.
const BYTES: usize = 8;

/// A fuse, shared with the program that was started with [`Fuse::launch`].
#[derive(Debug)]
pub struct Fuse {
    library: PathBuf,
    file: PathBuf,
    shared: NonNull<AtomicU32>,
}

impl Fuse {
    /// Builds the library, if no fuse of the stage has yet, and makes a fuse that lets everything pass.
    ///
    /// # Errors
    ///
    /// When g++ is missing or refuses, or the system does not share the file.
    pub fn make(stage: &Stage, name: &str) -> Result<Self, StageError> {
        let library = stage.root().join("fuse.so");
        if !library.exists() {
            let source = stage.root().join("fuse.cpp");
            write_file(&source, SOURCE)?;
            let mut build = Command::new("g++");
            build.args(["-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC", "-o"]);
            build.arg(&library).arg(&source).arg("-ldl");
            stage.run("g++", build)?;
        }
        let file = stage.root().join(format!("{name}.fuse"));
        let shared = share(&file)?;
        Ok(Self { library, file, shared })
    }

    /// A program with this fuse in front of it.
    pub fn launch(&self) -> Launch {
        Launch::default().with("LD_PRELOAD", &self.library).with("LICENCE_FUSE", &self.file)
    }

    /// From here on, the program dies instead of its `step`-th step; the first one is 1.
    pub fn cut_at(&self, step: u32) {
        self.left().store(step, Ordering::SeqCst);
    }

    /// Lets everything pass again. Whether the program has died meanwhile, or is about to.
    pub fn disarm(&self) -> bool {
        self.left().swap(0, Ordering::SeqCst) == 0
    }

    fn left(&self) -> &AtomicU32 {
        // SAFETY: mapped by `share` and unmapped by `drop` alone; every access on both sides is atomic.
        unsafe { self.shared.as_ref() }
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        // SAFETY: the mapping of `share`, of this length, which nobody has beside us.
        unsafe { libc::munmap(self.shared.as_ptr().cast(), BYTES) };
    }
}

/// Makes the file and maps it.
fn share(path: &Path) -> Result<NonNull<AtomicU32>, StageError> {
    write_file(path, "\0\0\0\0\0\0\0\0")?;
    let failed = |why| StageError::io(path, why);
    let file = File::options().read(true).write(true).open(path).map_err(failed)?;
    // SAFETY: a new mapping at a place that the system chooses, of a file of this length.
    let memory = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            BYTES,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        )
    };
    match NonNull::new(memory.cast()) {
        Some(shared) if memory != libc::MAP_FAILED => Ok(shared),
        Some(_) | None => Err(failed(std::io::Error::last_os_error())),
    }
}
