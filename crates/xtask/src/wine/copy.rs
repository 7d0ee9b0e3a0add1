//! A Windows of one's own out of the prepared one.
//!
//! Libraries and programs of Windows are the bulk (1.4 GB) and nobody writes into them: they are linked.
//! Everything else is copied, so that no test sees another's registry or files.

use std::path::Path;

use crate::stage::{StageError, copy_file, make_folder};

/// What is smaller is copied: settings and logs of Windows are, and are written in place.
const LINKED_BYTES_MIN: u64 = 16 * 1024;

/// Endings of files that Windows loads and never writes.
const LOADED: [&str; 8] = ["cpl", "dll", "drv", "exe", "nls", "ocx", "sys", "ttf"];

/// Deepest folder that is copied; Wine's own go nine deep.
const DEPTH_MAX: usize = 32;

/// Copies a whole Windows.
///
/// # Errors
///
/// When a file cannot be read or written.
pub(super) fn windows(from: &Path, to: &Path) -> Result<(), StageError> {
    folder(from, to, DEPTH_MAX)
}

fn folder(from: &Path, to: &Path, depth: usize) -> Result<(), StageError> {
    if depth == 0 {
        return Err(StageError::failed(format!("{}: folders too deep", from.display())));
    }
    make_folder(to)?;
    let failed = |why| StageError::io(from, why);
    for entry in std::fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (source, copy) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() {
            folder(&source, &copy, depth - 1)?;
        } else if kind.is_symlink() {
            let goal = std::fs::read_link(&source).map_err(|why| StageError::io(&source, why))?;
            std::os::unix::fs::symlink(goal, &copy).map_err(|why| StageError::io(&copy, why))?;
        } else {
            let bytes = entry.metadata().map_err(failed)?.len();
            let is_loaded = source.extension().is_some_and(|ending| {
                LOADED.iter().any(|loaded| ending.eq_ignore_ascii_case(loaded))
            });
            if is_loaded && bytes >= LINKED_BYTES_MIN {
                std::fs::hard_link(&source, &copy).map_err(|why| StageError::io(&copy, why))?;
            } else {
                copy_file(&source, &copy)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_linked_and_everything_else_is_copied() {
        use std::os::unix::fs::MetadataExt;

        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        std::fs::create_dir_all(from.join("drive_c/windows")).unwrap();
        let large = vec![0; LINKED_BYTES_MIN as usize];
        for name in ["system.reg", "drive_c/windows/large.DLL", "drive_c/windows/data.bin"] {
            std::fs::write(from.join(name), &large).unwrap();
        }
        std::fs::write(from.join("drive_c/windows/small.dll"), b"text").unwrap();
        std::os::unix::fs::symlink("../drive_c", from.join("c:")).unwrap();
        windows(&from, &to).unwrap();
        let is_linked = |name: &str| {
            let inode = |root: &Path| std::fs::metadata(root.join(name)).unwrap().ino();
            inode(&from) == inode(&to)
        };
        assert!(is_linked("drive_c/windows/large.DLL"));
        assert!(!is_linked("drive_c/windows/data.bin"));
        assert!(!is_linked("drive_c/windows/small.dll"));
        assert!(!is_linked("system.reg"));
        assert_eq!(std::fs::read_link(to.join("c:")).unwrap(), Path::new("../drive_c"));
    }
}
