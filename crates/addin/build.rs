//! Packs the object manager, whose sources are text, into the file that the component hands out.
//!
//! The same sources give the same bytes: the packer takes neither dates nor random numbers, and the
//! files are read in the order of their names.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use licence_epf::{Source, pack_processor};

/// Folder of the sources.
const SOURCES: &str = "manager/МенеджерОбъектов";

/// Deepest folder that is looked into: module and templates lie one below the root.
const DEPTH_MAX: usize = 4;

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or("not run by cargo")?);
    let sources = root.join(SOURCES);
    println!("cargo::rerun-if-changed={}", sources.display());
    let mut files = BTreeMap::new();
    read_folder(&sources, "", DEPTH_MAX, &mut files)?;
    let source =
        Source::from_files(&files).map_err(|why| format!("{}: {why}", sources.display()))?;
    let packed = pack_processor(&source)?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("not run by cargo")?);
    fs::write(out.join("manager.epf"), packed)?;
    Ok(())
}

/// Reads files by their names relative to the root, with `/` on every system.
fn read_folder(
    folder: &Path,
    prefix: &str,
    depth: usize,
    files: &mut BTreeMap<String, Vec<u8>>,
) -> Result<(), Box<dyn Error>> {
    if depth == 0 {
        return Err(format!("{}: folders too deep", folder.display()).into());
    }
    let entries = fs::read_dir(folder).map_err(|why| format!("{}: {why}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_str().ok_or_else(|| format!("{name:?} is not UTF-8"))?;
        let name = format!("{prefix}{name}");
        if entry.file_type()?.is_dir() {
            read_folder(&entry.path(), &format!("{name}/"), depth - 1, files)?;
        } else {
            files.insert(name, fs::read(entry.path())?);
        }
    }
    Ok(())
}
