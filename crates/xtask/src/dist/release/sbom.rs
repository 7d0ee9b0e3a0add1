//! Lists of components (SBOM): CycloneDX 1.6 as JSON, one for each thing that is delivered.
//!
//! What is in a program decides `cargo tree`: dependencies that are linked on at least one of the
//! platforms, neither those of build scripts nor of tests, no macros. Licences and origins come from
//! `cargo metadata`, digests from Cargo.lock. The same lock file gives the same bytes. The Rust standard
//! library and what a compiler adds of its own are not listed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::super::target::{Job, Platform};
use crate::build::{cargo, shown};
use crate::stage::StageError;

/// What is delivered: package, and how CycloneDX calls such a thing.
pub const PRODUCTS: [(&str, &str); 4] = [
    ("licenceserver", "application"),
    ("licenceaddin", "library"),
    ("licencecentre", "application"),
    ("licencekit", "application"),
];

/// The crate that brings SQLite's source, which has a version and reports of its own.
const SQLITE_CRATE: &str = "libsqlite3-sys";

/// Name space of the documents' serial numbers, for UUIDs by name (RFC 9562, version 5). Drawn once.
const SERIALS: Uuid = Uuid::from_u128(0x2b1f_6c0e_9a54_4f0f_8d3a_61c7_55e0_94b2);

/// Registry of crates as Cargo.lock and `cargo metadata` name it.
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Name and version of a package: no two in one lock file are alike.
type Id = (String, String);

/// A package as `cargo metadata` tells of it.
#[derive(Clone, Debug, Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    description: Option<String>,
    repository: Option<String>,
    source: Option<String>,
    manifest_path: PathBuf,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

/// What a product is linked of.
#[derive(Debug, Default)]
struct Linked {
    /// On which platforms each package is linked.
    platforms: BTreeMap<Id, BTreeSet<Platform>>,
    /// Who asks for whom.
    edges: BTreeMap<Id, BTreeSet<Id>>,
    /// The product itself.
    root: Option<Id>,
}

/// Everything that is known of packages.
struct Facts {
    packages: BTreeMap<Id, Package>,
    checksums: BTreeMap<Id, String>,
}

/// Writes the list of each product into `job.out`; gives the files.
///
/// # Errors
///
/// When cargo fails or tells something unexpected.
pub fn write_all(job: &Job<'_>) -> Result<Vec<PathBuf>, StageError> {
    let facts = Facts::read(job.root)?;
    let mut written = Vec::new();
    for (product, kind) in PRODUCTS {
        let linked = Linked::read(job.root, product)?;
        let document = document(&facts, &linked, (product, kind), job)?;
        let path = job.out.join(format!("{product}-{}.cdx.json", job.version));
        let mut text = serde_json::to_string_pretty(&document)
            .map_err(|why| StageError::failed(why.to_string()))?;
        text.push('\n');
        std::fs::write(&path, text).map_err(|why| StageError::io(&path, why))?;
        written.push(path);
    }
    Ok(written)
}

/// What a call of cargo prints.
fn ask(root: &Path, arguments: &[&str]) -> Result<String, StageError> {
    let mut call: Command = cargo();
    call.current_dir(root).args(arguments);
    let output = call.output().map_err(|why| StageError::io(Path::new(call.get_program()), why))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(StageError::failed(format!("`{}` failed: {said}", shown(&call))));
    }
    String::from_utf8(output.stdout)
        .map_err(|_| StageError::failed(format!("`{}` printed no UTF-8", shown(&call))))
}

impl Facts {
    fn read(root: &Path) -> Result<Self, StageError> {
        let mut arguments = vec!["metadata", "--locked", "--format-version", "1"];
        for platform in Platform::ALL {
            arguments.extend(["--filter-platform", platform.triple()]);
        }
        let metadata: Metadata = serde_json::from_str(&ask(root, &arguments)?)
            .map_err(|why| StageError::failed(format!("cargo metadata: {why}")))?;
        let packages = metadata
            .packages
            .into_iter()
            .map(|package| ((package.name.clone(), package.version.clone()), package))
            .collect();
        let lock = root.join("Cargo.lock");
        let text = std::fs::read_to_string(&lock).map_err(|why| StageError::io(&lock, why))?;
        Ok(Self { packages, checksums: checksums(&text) })
    }

    fn package(&self, id: &Id) -> Result<&Package, StageError> {
        self.packages.get(id).ok_or_else(|| {
            StageError::failed(format!("cargo metadata does not know {} {}", id.0, id.1))
        })
    }
}

/// Digests in the text of Cargo.lock, whose form is a list of tables of plain strings.
fn checksums(lock: &str) -> BTreeMap<Id, String> {
    let value = |block: &str, key: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""))?;
        line.strip_suffix('"').map(str::to_owned)
    };
    lock.split("[[package]]")
        .filter_map(|block| {
            let id = (value(block, "name")?, value(block, "version")?);
            Some((id, value(block, "checksum")?))
        })
        .collect()
}

impl Linked {
    fn read(root: &Path, product: &str) -> Result<Self, StageError> {
        let mut linked = Self::default();
        for platform in Platform::ALL {
            let tree = ask(
                root,
                &[
                    "tree",
                    "--locked",
                    "--package",
                    product,
                    "--target",
                    platform.triple(),
                    "--edges",
                    "normal,no-proc-macro",
                    "--prefix",
                    "depth",
                    "--format",
                    " {p}",
                ],
            )?;
            linked.add(platform, &tree)?;
        }
        Ok(linked)
    }

    /// Adds the tree of a platform: lines of depth, name and version.
    fn add(&mut self, platform: Platform, tree: &str) -> Result<(), StageError> {
        let mut above: Vec<Id> = Vec::new();
        for line in tree.lines().filter(|line| !line.is_empty()) {
            let mut words = line.split(' ');
            let depth = words.next().and_then(|word| word.parse::<usize>().ok());
            let name = words.next().filter(|word| !word.is_empty());
            let version = words.next().and_then(|word| word.strip_prefix('v'));
            let (Some(depth), Some(name), Some(version)) = (depth, name, version) else {
                return Err(StageError::failed(format!("cargo tree: unexpected line {line:?}")));
            };
            if depth > above.len() {
                return Err(StageError::failed(format!("cargo tree: {line:?} hangs in the air")));
            }
            let id = (name.to_owned(), version.to_owned());
            above.truncate(depth);
            match above.last() {
                Some(parent) => {
                    self.edges.entry(parent.clone()).or_default().insert(id.clone());
                }
                None => self.root = Some(id.clone()),
            }
            self.platforms.entry(id.clone()).or_default().insert(platform);
            above.push(id);
        }
        Ok(())
    }
}

/// The document of a product.
fn document(
    facts: &Facts,
    linked: &Linked,
    (product, kind): (&str, &str),
    job: &Job<'_>,
) -> Result<Value, StageError> {
    let root = linked
        .root
        .as_ref()
        .ok_or_else(|| StageError::failed(format!("cargo tree does not know {product}")))?;
    let mut components = Vec::new();
    let mut dependencies = Vec::new();
    for (id, platforms) in &linked.platforms {
        let package = facts.package(id)?;
        let mut needs: Vec<_> = linked
            .edges
            .get(id)
            .into_iter()
            .flatten()
            .map(|id| facts.package(id).map(|package| Value::from(reference(package))))
            .collect::<Result<_, _>>()?;
        if package.name == SQLITE_CRATE {
            let sqlite = sqlite(package)?;
            needs.push(sqlite["bom-ref"].clone());
            dependencies.push(json!({ "ref": sqlite["bom-ref"], "dependsOn": [] }));
            components.push(sqlite);
        }
        dependencies.push(json!({ "ref": reference(package), "dependsOn": needs }));
        if id != root {
            components.push(component(facts, package, platforms)?);
        }
    }
    let own = facts.package(root)?;
    let moment = i64::try_from(job.moment)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|moment| moment.format(&Rfc3339).ok())
        .ok_or_else(|| StageError::failed(format!("{} is no moment", job.moment)))?;
    let mut document = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": moment,
            "tools": { "components": [{
                "type": "application", "name": "cargo xtask dist", "version": env!("CARGO_PKG_VERSION"),
            }]},
            "component": {
                "type": kind,
                "bom-ref": reference(own),
                "name": product,
                "version": job.version,
                "description": own.description,
                "licenses": licences(own)?,
            },
        },
        "components": components,
        "dependencies": dependencies,
    });
    // The same content has the same number, another content another one.
    let serial = Uuid::new_v5(&SERIALS, document.to_string().as_bytes());
    document["serialNumber"] = Value::from(format!("urn:uuid:{serial}"));
    Ok(document)
}

/// The name of a package within a document: its package URL, or ours.
fn reference(package: &Package) -> String {
    let Package { name, version, .. } = package;
    match &package.source {
        Some(_) => format!("pkg:cargo/{name}@{version}"),
        None => format!("workspace/{name}@{version}"),
    }
}

fn component(
    facts: &Facts,
    package: &Package,
    platforms: &BTreeSet<Platform>,
) -> Result<Value, StageError> {
    let id = (package.name.clone(), package.version.clone());
    let mut component = json!({
        "type": "library",
        "bom-ref": reference(package),
        "name": package.name,
        "version": package.version,
        "scope": "required",
        "licenses": licences(package)?,
    });
    match package.source.as_deref() {
        None => {}
        Some(CRATES_IO) => {
            let sum = facts.checksums.get(&id).ok_or_else(|| {
                StageError::failed(format!("Cargo.lock has no checksum of {} {}", id.0, id.1))
            })?;
            component["purl"] = Value::from(reference(package));
            component["hashes"] = json!([{ "alg": "SHA-256", "content": sum }]);
        }
        // deny.toml lets nothing else in; a list that passed over one in silence would be wrong.
        Some(other) => {
            return Err(StageError::failed(format!("{} {} comes from {other}", id.0, id.1)));
        }
    }
    if let Some(repository) = &package.repository {
        component["externalReferences"] = json!([{ "type": "vcs", "url": repository }]);
    }
    if platforms.len() < Platform::ALL.len() {
        let names: Vec<_> = platforms.iter().map(|platform| platform.name()).collect();
        component["properties"] =
            json!([{ "name": "licenceserver:platforms", "value": names.join(" ") }]);
    }
    Ok(component)
}

/// The licence expression. Some old crates separate alternatives by a slash.
fn licences(package: &Package) -> Result<Value, StageError> {
    let Some(licence) = &package.license else {
        return Err(StageError::failed(format!("{} names no licence", package.name)));
    };
    let words: Vec<_> = licence.split('/').map(str::trim).collect();
    Ok(json!([{ "expression": words.join(" OR ") }]))
}

/// SQLite itself, whose version its header names.
fn sqlite(package: &Package) -> Result<Value, StageError> {
    let header = package.manifest_path.with_file_name("sqlite3").join("sqlite3.h");
    let text = std::fs::read_to_string(&header).map_err(|why| StageError::io(&header, why))?;
    let version = text
        .lines()
        .find_map(|line| line.strip_prefix("#define SQLITE_VERSION "))
        .and_then(|rest| rest.trim().strip_prefix('"')?.strip_suffix('"'))
        .ok_or_else(|| StageError::failed(format!("{} names no version", header.display())))?;
    Ok(json!({
        "type": "library",
        "bom-ref": format!("pkg:generic/sqlite@{version}"),
        "name": "sqlite",
        "version": version,
        "description": "SQLite, compiled from the source that libsqlite3-sys brings",
        "scope": "required",
        "licenses": [{ "expression": "blessing" }],
        "purl": format!("pkg:generic/sqlite@{version}"),
        "cpe": format!("cpe:2.3:a:sqlite:sqlite:{version}:*:*:*:*:*:*:*"),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tree_gives_packages_platforms_and_edges() {
        let mut linked = Linked::default();
        let tree = "0 a v1.0.0 (/x)\n1 b v2.0.0\n2 c v3.0.0-rc.1\n1 c v3.0.0-rc.1 (*)\n";
        linked.add(Platform::Linux64, tree).unwrap();
        linked.add(Platform::Windows32, "0 a v1.0.0 (/x)\n1 d v4.0.0\n").unwrap();
        let id = |name: &str, version: &str| (name.to_owned(), version.to_owned());
        assert_eq!(linked.root, Some(id("a", "1.0.0")));
        assert_eq!(linked.platforms[&id("a", "1.0.0")].len(), 2);
        assert_eq!(
            linked.platforms[&id("d", "4.0.0")].iter().collect::<Vec<_>>(),
            [&Platform::Windows32]
        );
        let of_a: Vec<_> =
            linked.edges[&id("a", "1.0.0")].iter().map(|(n, _)| n.as_str()).collect();
        assert_eq!(of_a, ["b", "c", "d"]);
        assert_eq!(linked.edges[&id("b", "2.0.0")].len(), 1);
        for odd in ["a v1.0.0", "0 a 1.0.0", "1 a v1.0.0", "0 a v1\n2 b v1"] {
            assert!(Linked::default().add(Platform::Linux64, odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn lock_file_gives_digests_of_what_has_one() {
        let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nchecksum = \"ab\"\n\
                    \n[[package]]\nname = \"own\"\nversion = \"4.0.0\"\n";
        let sums = checksums(lock);
        assert_eq!(sums.len(), 1);
        assert_eq!(sums[&("a".to_owned(), "1.0.0".to_owned())], "ab");
    }
}
