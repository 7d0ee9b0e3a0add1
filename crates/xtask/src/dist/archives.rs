//! Archives of the vendor's programs: `licencekit-4.0.0-linux64.tar.gz`, `licencecentre-4.0.0-windows32.zip`.
//!
//! The same programs give the same bytes.

use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::{Compression, GzBuilder};
use licencekit::template::archive::{self, Entry};

use super::target::{Built, Job};
use crate::build::say;
use crate::stage::StageError;

/// The programs that come as archives.
pub const PROGRAMS: [&str; 2] = ["licencekit", "licencecentre"];

/// Texts beside each program.
const TEXTS: [&str; 2] = ["LICENSE-MIT", "LICENSE-APACHE"];

/// Packs the programs of one system.
///
/// # Errors
///
/// When one is not built or a file cannot be read or written.
pub fn archives(
    job: &Job<'_>,
    built: &Built,
    out: &mut dyn Write,
) -> Result<Vec<PathBuf>, StageError> {
    let mut made = Vec::new();
    for program in PROGRAMS {
        let stem = format!("{program}-{}-{}", job.version, built.platform.name());
        let mut files = vec![(built.platform.program(program), built.program(program)?, 0o755)];
        files.extend(TEXTS.map(|name| (name.to_owned(), job.root.join(name), 0o644)));
        let mut contents = Vec::new();
        for (name, path, mode) in files {
            let bytes = std::fs::read(&path).map_err(|why| StageError::io(&path, why))?;
            // An archive for Windows is unpacked into a folder of its own by Explorer.
            let is_windows = built.platform.is_windows();
            let name = if is_windows { name } else { format!("{stem}/{name}") };
            contents.push((name, bytes, mode));
        }
        let (ending, bytes) = if built.platform.is_windows() {
            ("zip", zip(contents)?)
        } else {
            ("tar.gz", tar(&contents, job.moment)?)
        };
        let path = job.out.join(format!("{stem}.{ending}"));
        std::fs::write(&path, bytes).map_err(|why| StageError::io(&path, why))?;
        say(out, &path.display().to_string())?;
        made.push(path);
    }
    Ok(made)
}

/// A file of an archive: its name, its bytes, its rights.
type Content = (String, Vec<u8>, u32);

fn zip(contents: Vec<Content>) -> Result<Vec<u8>, StageError> {
    let entries: Vec<_> =
        contents.into_iter().map(|(name, bytes, _)| Entry { name, bytes }).collect();
    archive::write(&entries).map_err(|why| StageError::failed(why.to_string()))
}

fn tar(contents: &[Content], moment: u64) -> Result<Vec<u8>, StageError> {
    let failed = |why| StageError::io(Path::new("archive"), why);
    // Neither name nor time in the head of the stream.
    let gzip = GzBuilder::new().mtime(0).write(Vec::new(), Compression::best());
    let mut tar = tar::Builder::new(gzip);
    for (name, bytes, mode) in contents {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(*mode);
        header.set_mtime(moment);
        header.set_uid(0);
        header.set_gid(0);
        tar.append_data(&mut header, name, bytes.as_slice()).map_err(failed)?;
    }
    tar.into_inner().and_then(flate2::write::GzEncoder::finish).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dist::target::Platform;

    #[test]
    fn archives_hold_program_and_licences_and_are_the_same_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for name in TEXTS {
            std::fs::write(root.join(name), "text").unwrap();
        }
        for platform in Platform::ALL {
            for name in PROGRAMS {
                std::fs::write(root.join(platform.program(name)), "program").unwrap();
            }
            let mut runs = Vec::new();
            for _ in 0..2 {
                let job = Job { root, work: root, out: root, version: "4.0.0", moment: 7 };
                let built = Built { platform, folder: root.to_owned() };
                let made = archives(&job, &built, &mut Vec::new()).unwrap();
                assert_eq!(made.len(), PROGRAMS.len());
                runs.push(made.iter().map(|path| std::fs::read(path).unwrap()).collect::<Vec<_>>());
            }
            assert_eq!(runs[0], runs[1], "{}", platform.name());
        }
        let packed = std::fs::File::open(root.join("licencekit-4.0.0-linux32.tar.gz")).unwrap();
        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(packed));
        let found: Vec<_> = tar
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let header = entry.header();
                let path = entry.path().unwrap().display().to_string();
                (path, header.mode().unwrap(), header.mtime().unwrap())
            })
            .collect();
        assert_eq!(found[0], ("licencekit-4.0.0-linux32/licencekit".to_owned(), 0o755, 7));
        assert_eq!(found.len(), 3);
    }
}
