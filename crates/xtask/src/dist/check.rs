//! Checking a template: what its manifest promises against what the headers of its libraries say.
//!
//! All faults are told, not only the first. No library is loaded.

use std::io::Write;
use std::path::Path;

use licence_core::template_pin::read_tail;
use licencekit::template::archive::{self, Entry};
use licencekit::template::image::Image;
use licencekit::template::manifest::{self, Component, MANIFEST_NAME};
use licencekit::template::manifest_of;

use super::bundle::SYSTEMS;
use crate::build::say;
use crate::stage::StageError;

/// What a check has found.
#[derive(Debug, Default)]
pub struct Report {
    /// A line for each library.
    pub libraries: Vec<String>,
    /// What is wrong.
    pub faults: Vec<String>,
}

impl Report {
    /// Prints what was found.
    ///
    /// # Errors
    ///
    /// When nobody reads it any more.
    pub fn print(&self, out: &mut dyn Write) -> Result<(), StageError> {
        for line in &self.libraries {
            say(out, line)?;
        }
        for fault in &self.faults {
            say(out, &format!("fault: {fault}"))?;
        }
        Ok(())
    }

    /// Whether the template may be used.
    ///
    /// # Errors
    ///
    /// When there are faults.
    pub fn result(&self) -> Result<(), StageError> {
        match self.faults.len() {
            0 => Ok(()),
            count => Err(StageError::failed(format!("the template has faults: {count}"))),
        }
    }
}

/// Checks a file.
///
/// # Errors
///
/// When it cannot be read or has faults.
pub fn run(file: &Path, out: &mut dyn Write) -> Result<(), StageError> {
    let bytes = std::fs::read(file).map_err(|why| StageError::io(file, why))?;
    let report = check(&bytes);
    report.print(out)?;
    report.result()
}

/// Checks a template.
pub fn check(bytes: &[u8]) -> Report {
    let mut report = Report::default();
    if let Err(fault) = check_all(bytes, &mut report) {
        report.faults.push(fault);
    }
    report
}

/// Fails where nothing more can be said.
fn check_all(bytes: &[u8], report: &mut Report) -> Result<(), String> {
    let entries = archive::read(bytes).map_err(|why| why.to_string())?;
    let manifest = manifest_of(&entries).map_err(|why| why.to_string())?;
    let components = manifest::read(manifest).map_err(|why| why.to_string())?;
    for (index, component) in components.iter().enumerate() {
        let same = |other: &Component| (&other.os, &other.arch) == (&component.os, &component.arch);
        if components.iter().take(index).any(same) {
            let (os, arch) = (&component.os, &component.arch);
            report.faults.push(format!("two libraries for {os} {arch}"));
        }
        match entries.iter().find(|entry| entry.name == component.path) {
            Some(entry) => check_library(component, &entry.bytes, report),
            None => report.faults.push(format!("{} is not there", component.path)),
        }
    }
    check_versions(&components, report);
    let unnamed = |entry: &&Entry| {
        entry.name != MANIFEST_NAME
            && Image::read(&entry.bytes).is_ok()
            && !components.iter().any(|component| component.path == entry.name)
    };
    for entry in entries.iter().filter(unnamed) {
        report.faults.push(format!("{} is not named by {MANIFEST_NAME}", entry.name));
    }
    Ok(())
}

fn check_library(component: &Component, bytes: &[u8], report: &mut Report) {
    let name = &component.path;
    let image = match Image::read(bytes) {
        Ok(image) => image,
        Err(why) => return report.faults.push(format!("{name}: {why}")),
    };
    let mut fault = |what: String| report.faults.push(format!("{name}: {what}"));
    let (os, arch) = (image.os.to_string(), image.arch.to_string());
    if component.os != os || component.arch != arch {
        fault(format!(
            "{MANIFEST_NAME} says {} {}, its headers {os} {arch}",
            component.os, component.arch
        ));
    }
    if !component.kind.eq_ignore_ascii_case("native") {
        fault(format!("of type {:?} and not native", component.kind));
    }
    for export in image.missing_exports() {
        fault(format!("does not export {export}"));
    }
    let system = SYSTEMS.iter().find(|system| (system.os, system.arch) == (image.os, image.arch));
    if system.is_none_or(|system| !base_name(name).ends_with(&format!("_{}", system.tag))) {
        fault(format!("the name does not say {os} {arch}"));
    }
    let pins = match read_tail(bytes) {
        Ok(Some(pin)) => {
            let series: Vec<_> = pin.descriptors.keys().map(ToString::to_string).collect();
            format!(", pins {}", series.join(" "))
        }
        Ok(None) => String::new(),
        Err(why) => {
            fault(why.to_string());
            String::new()
        }
    };
    let glibc = image.glibc.map(|version| format!(", glibc {version}")).unwrap_or_default();
    let signed = if image.signed { ", signed" } else { "" };
    report.libraries.push(format!("{name}: {os} {arch}{glibc}{signed}{pins}"));
}

/// The name without ending and without the tag of a pin.
fn base_name(name: &str) -> &str {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    match stem.rsplit_once("_p") {
        Some((base, tag)) if tag.len() == 8 && tag.bytes().all(|b| b.is_ascii_hexdigit()) => base,
        _ => stem,
    }
}

/// All libraries of a template are of one version, and their names say which.
fn check_versions(components: &[Component], report: &mut Report) {
    let version_of = |component: &Component| {
        let (version, _system) = base_name(&component.path).rsplit_once('_')?;
        version.bytes().any(|b| b.is_ascii_digit()).then(|| version.to_owned())
    };
    let mut known: Option<String> = None;
    for component in components {
        match (version_of(component), &known) {
            (None, _) => {
                report.faults.push(format!("{}: the name has no version", component.path));
            }
            (Some(version), Some(known)) if version != *known => {
                report.faults.push(format!("{}: of another version", component.path));
            }
            (Some(version), _) => known = Some(version),
        }
    }
}
