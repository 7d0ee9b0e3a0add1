//! What the Linux packages of server and component hold, and what their scripts do.
//!
//! Texts lie in `installers/linux` with `@NAME@` where something is filled in; unit and System V script
//! are what the packed server itself writes, so that a package and `licenceserver service install` never
//! differ. How files become a package is decided in `super::deb` and `super::rpm`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use time::OffsetDateTime;
use time::macros::format_description;

use super::target::{Built, Job, Product};
use super::tree::{Tree, empty, output};
use crate::stage::StageError;

/// Folder of program and component (manual, «Установка в ОС Linux»).
pub const FOLDER: &str = "/opt/1C/licence/3.0";

/// Base folder of settings and data (manual, «Конфигурационный файл»).
const BASE: &str = "/var/1C/licence";

/// The System V script.
pub const SCRIPT: &str = "/etc/init.d/licenceserver";

/// User of the service, as `licenceserver service install` makes it.
const USER: &str = "licence";

/// Who is named as responsible when [`MAINTAINER_VARIABLE`] names nobody.
const MAINTAINER: &str = "The licenceserver authors <packages@licenceserver.invalid>";

/// Environment variable with name and address of who publishes the packages.
pub const MAINTAINER_VARIABLE: &str = "LICENCE_PACKAGE_MAINTAINER";

/// Columns of a line in a changelog that people read in a terminal.
const CHANGELOG_COLUMNS: usize = 76;

/// What a package manager expects where.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Family {
    /// Debian and Ubuntu.
    Debian,
    /// CentOS, Fedora and their relatives.
    RedHat,
}

impl Family {
    /// Units and udev rules: Debian 12 and older look below `/lib`, of which `/usr/lib` is no other name
    /// on systems that were not merged.
    const fn lib(self) -> &'static str {
        match self {
            Self::Debian => "/lib",
            Self::RedHat => "/usr/lib",
        }
    }
}

/// Who is responsible for the package: a name and an address.
pub fn maintainer() -> String {
    std::env::var(MAINTAINER_VARIABLE).unwrap_or_else(|_| MAINTAINER.to_owned())
}

/// One line and some more about a product.
pub const fn description(product: Product) -> (&'static str, &'static [&'static str]) {
    match product {
        Product::Server => (
            "licence server of 1C:Enterprise configurations",
            &[
                "Keeps the licences of 1C:Enterprise configurations, counts who uses them and",
                "gives protected objects to components. The console in the browser and the REST",
                "API answer on port 9099.",
            ],
        ),
        Product::Addin => (
            "licence component of 1C:Enterprise, for all configurations",
            &[
                "Serves the configurations of this computer whatever version of the component",
                "their templates carry. It is needed where working processes of 1C run: on the",
                "application server, on the web server, beside client applications.",
            ],
        ),
    }
}

/// A version as dpkg and rpm order it: what comes before a release comes before it.
pub fn package_version(version: &str) -> String {
    version.replacen('-', "~", 1).replace('-', ".")
}

/// Puts the files of a product into the tree.
///
/// # Errors
///
/// When something is not built or cannot be written.
pub fn fill(
    job: &Job<'_>,
    built: &Built,
    product: Product,
    family: Family,
    tree: &mut Tree,
) -> Result<(), StageError> {
    match product {
        Product::Server => server(job, built, family, tree)?,
        Product::Addin => addin(job, built, tree)?,
    }
    let documents = format!("/usr/share/doc/{}", product.name());
    let licence = read(&job.root.join("LICENSE-MIT"))?;
    let licence: String = licence
        .lines()
        .skip_while(|line| !line.starts_with("Permission"))
        .map(|line| if line.is_empty() { " .\n".to_owned() } else { format!(" {line}\n") })
        .collect();
    let copyright = template(job, "copyright")?.replace("@MIT@\n", &licence);
    tree.text(&format!("{documents}/copyright"), &copyright, 0o644)?;
    tree.compressed(&format!("{documents}/changelog"), &changelog(job, product)?)
}

fn server(job: &Job<'_>, built: &Built, family: Family, tree: &mut Tree) -> Result<(), StageError> {
    let program = built.program("licenceserver")?;
    let installed = format!("{FOLDER}/licenceserver");
    tree.stripped(&installed, &program, 0o755)?;
    tree.text(
        &format!("{FOLDER}/installdaemon.sh"),
        &template(job, "server/installdaemon.sh")?,
        0o755,
    )?;
    let sample = format!("{FOLDER}/licenceserver.conf.sample");
    tree.file(&sample, &job.root.join("examples").join("licenceserver.conf"), 0o644)?;
    tree.link("/usr/share/doc/licenceserver/examples/licenceserver.conf", &sample)?;
    tree.link("/usr/bin/licenceserver", &installed)?;
    tree.compressed(
        "/usr/share/man/man8/licenceserver.8",
        &template(job, "licenceserver.8")?
            .replace("@DATE@", &date(job, Product::Server)?)
            .replace("@VERSION@", job.version),
    )?;
    for (from, to) in [
        ("licenceserver.desktop", "/usr/share/applications"),
        ("licenceserver.svg", "/usr/share/icons/hicolor/scalable/apps"),
    ] {
        tree.text(&format!("{to}/{from}"), &template(job, from)?, 0o644)?;
    }
    let lib = family.lib();
    let rule = job.root.join("installers").join("udev").join("70-licence-token.rules");
    tree.file(&format!("{lib}/udev/rules.d/70-licence-token.rules"), &rule, 0o644)?;
    let Service { unit, script } = service(job, &program, &installed)?;
    tree.text(&format!("{lib}/systemd/system/licenceserver.service"), &unit, 0o644)?;
    if family == Family::Debian {
        // Where rpm is used and glibc is as new as ours, systemd is process 1.
        tree.text(SCRIPT, &script, 0o755)?;
    }
    Ok(())
}

fn addin(job: &Job<'_>, built: &Built, tree: &mut Tree) -> Result<(), StageError> {
    let name = if built.platform.triple().starts_with("x86_64") {
        "licenceaddin-x86_64.so"
    } else {
        "licenceaddin.so"
    };
    tree.stripped(&format!("{FOLDER}/{name}"), &built.component()?, 0o644)?;
    let sample = job.root.join("examples").join("licenceaddin.conf");
    tree.file("/usr/share/doc/licenceaddin/examples/licenceaddin.conf", &sample, 0o644)
}

/// What the server says of its service.
struct Service {
    unit: String,
    script: String,
}

fn service(job: &Job<'_>, program: &Path, installed: &str) -> Result<Service, StageError> {
    let folder = job.work.join("service");
    empty(&folder)?;
    let mut write = Command::new(program);
    write.args(["service", "install", "--lang", "en", "--data", BASE, "--user", USER]);
    write.args(["--program", installed, "--root"]).arg(&folder);
    output(write)?;
    let unit = read(&folder.join("etc/systemd/system/licenceserver.service"))?;
    let document = "Documentation=man:systemd.exec(5)\n";
    if !unit.contains(document) {
        return Err(StageError::failed("the unit has no line of its documentation"));
    }
    let unit = unit.replace(document, "Documentation=man:licenceserver(8)\n");
    let script = read(&folder.join(SCRIPT.trim_start_matches('/')))?;
    Ok(Service { unit, script })
}

/// A script of the package: `preinst`, `rpm-post`; nothing when the product has none of this name.
///
/// # Errors
///
/// When a text cannot be read.
pub fn script(job: &Job<'_>, product: Product, name: &str) -> Result<Option<String>, StageError> {
    let folder = match product {
        Product::Server => "server",
        Product::Addin => "addin",
    };
    if !texts(job).join(folder).join(name).is_file() {
        return Ok(None);
    }
    let functions = template(job, &format!("{folder}/functions.sh"))?;
    let filled = template(job, &format!("{folder}/{name}"))?
        .replace("#@functions@\n", &functions)
        .replace("@SCHEMA@", &schema(job)?.to_string())
        .replace("@VERSION@", &package_version(job.version));
    Ok(Some(filled))
}

/// The version of the database that the server writes.
fn schema(job: &Job<'_>) -> Result<u32, StageError> {
    let path = job.root.join("crates/server/src/store/schema.rs");
    read(&path)?
        .lines()
        .find_map(|line| line.split_once("const SCHEMA_VERSION: i64 = "))
        .and_then(|(_, rest)| rest.trim_end_matches(';').parse().ok())
        .ok_or_else(|| StageError::failed(format!("{}: no SCHEMA_VERSION", path.display())))
}

/// The points of the version's section in CHANGELOG.md, or that it is a release.
fn changelog(job: &Job<'_>, product: Product) -> Result<String, StageError> {
    let text = read(&job.root.join("CHANGELOG.md"))?;
    let mut points: Vec<String> = Vec::new();
    let section = text
        .lines()
        .skip_while(|line| !is_section_of(line, job.version))
        .skip(1)
        .take_while(|line| !line.starts_with("## "));
    for line in section {
        match (line.strip_prefix("- "), points.last_mut()) {
            (Some(first), _) => points.push(first.to_owned()),
            (None, Some(point)) if line.starts_with("  ") => {
                point.push(' ');
                point.push_str(line.trim());
            }
            (None, _) => {}
        }
    }
    if points.is_empty() {
        points.push(format!("Version {}.", job.version));
    }
    let mut changes =
        format!("{} ({}) stable; urgency=medium\n\n", product.name(), package_version(job.version));
    for point in points {
        changes.push_str(&wrapped(&point, "  * ", "    "));
    }
    changes.push_str(&format!("\n -- {}  {}\n", maintainer(), mail_date(job)?));
    Ok(changes)
}

/// Whether a heading of CHANGELOG.md is that of a version: `## 4.0.0 – 2026-12-01`.
fn is_section_of(line: &str, version: &str) -> bool {
    line.strip_prefix("## ")
        .and_then(|rest| rest.split_whitespace().next())
        .is_some_and(|found| found == version)
}

fn wrapped(text: &str, first: &str, next: &str) -> String {
    let mut lines = String::new();
    let mut line = first.to_owned();
    let mut is_empty = true;
    for word in text.split_whitespace() {
        let room = line.chars().count() + word.chars().count() < CHANGELOG_COLUMNS;
        if !is_empty && !room {
            lines.push_str(&line);
            lines.push('\n');
            line = next.to_owned();
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line.push_str(word);
        is_empty = false;
    }
    lines + &line + "\n"
}

fn moment(job: &Job<'_>) -> Result<OffsetDateTime, StageError> {
    i64::try_from(job.moment)
        .ok()
        .and_then(|secs| OffsetDateTime::from_unix_timestamp(secs).ok())
        .ok_or_else(|| StageError::failed(format!("{} is no moment", job.moment)))
}

fn formatted(
    job: &Job<'_>,
    form: &[time::format_description::BorrowedFormatItem<'_>],
) -> Result<String, StageError> {
    moment(job)?.format(form).map_err(|why| StageError::failed(why.to_string()))
}

fn date(job: &Job<'_>, _: Product) -> Result<String, StageError> {
    formatted(job, format_description!("[year]-[month]-[day]"))
}

/// As mail and Debian write it: `Sun, 22 Nov 2026 10:00:00 +0000`.
fn mail_date(job: &Job<'_>) -> Result<String, StageError> {
    formatted(
        job,
        format_description!(
            "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] +0000"
        ),
    )
}

/// As rpm writes it in a changelog: `Sun Nov 22 2026`.
///
/// # Errors
///
/// When the moment is beyond the calendar.
pub fn rpm_date(job: &Job<'_>) -> Result<String, StageError> {
    formatted(job, format_description!("[weekday repr:short] [month repr:short] [day] [year]"))
}

/// What a program or library needs of the system.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Needs {
    /// Names of libraries: `libc.so.6`.
    pub libraries: Vec<String>,
    /// The newest version of glibc among its symbols: `2.17`.
    pub glibc: String,
}

impl Needs {
    /// Of these files together.
    ///
    /// # Errors
    ///
    /// When objdump (package binutils) cannot read one.
    pub fn of(files: &[PathBuf]) -> Result<Self, StageError> {
        let mut libraries = BTreeMap::new();
        let mut newest = Vec::new();
        for file in files {
            let mut dump = Command::new("objdump");
            dump.args(["-p", "-T"]).arg(file);
            let listed = output(dump)?;
            for line in listed.lines() {
                let mut words = line.split_whitespace();
                if let (Some("NEEDED"), Some(library)) = (words.next(), words.next()) {
                    libraries.insert(library.to_owned(), ());
                }
                newest = newest.max(glibc_of(line));
            }
        }
        let glibc = newest.iter().map(u32::to_string).collect::<Vec<_>>().join(".");
        Ok(Self { libraries: libraries.into_keys().collect(), glibc })
    }
}

/// The version in a line of the symbols: `GLIBC_2.17` is `[2, 17]`.
fn glibc_of(line: &str) -> Vec<u32> {
    let Some((_, rest)) = line.split_once("GLIBC_") else { return Vec::new() };
    let version: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    version.split('.').filter_map(|part| part.parse().ok()).collect()
}

fn texts(job: &Job<'_>) -> PathBuf {
    job.root.join("installers").join("linux")
}

fn template(job: &Job<'_>, name: &str) -> Result<String, StageError> {
    read(&texts(job).join(name))
}

fn read(path: &Path) -> Result<String, StageError> {
    std::fs::read_to_string(path).map_err(|why| StageError::io(path, why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::workspace;

    fn job(root: &Path) -> Job<'_> {
        Job { root, work: root, out: root, version: "4.0.0", moment: 1_795_000_000 }
    }

    #[test]
    fn version_before_a_release_comes_before_it_for_package_managers() {
        for (version, expected) in
            [("4.0.0", "4.0.0"), ("4.1.0-rc.1", "4.1.0~rc.1"), ("4.1.0-a-b", "4.1.0~a.b")]
        {
            assert_eq!(package_version(version), expected);
        }
    }

    #[test]
    fn scripts_have_everything_filled_in_and_are_accepted_by_the_shell() {
        let root = workspace().unwrap();
        let job = job(&root);
        let mut count = 0;
        for product in Product::ALL {
            for name in [
                "preinst",
                "postinst",
                "prerm",
                "postrm",
                "rpm-pre",
                "rpm-post",
                "rpm-preun",
                "rpm-postun",
                "rpm-posttrans",
            ] {
                let Some(text) = script(&job, product, name).unwrap() else { continue };
                count += 1;
                assert!(!text.contains('@') || !text.contains("@functions@"), "{name}: {text}");
                let left =
                    text.split('@').skip(1).step_by(2).any(|word| {
                        !word.is_empty() && word.chars().all(|c| c.is_ascii_uppercase())
                    });
                assert!(!left, "{name}: {text}");
                let mut shell = Command::new("sh");
                shell.args(["-n", "-c", &text]);
                output(shell).unwrap();
            }
        }
        assert_eq!(count, 12);
    }

    #[test]
    fn changelog_of_a_version_is_its_section_in_lines_for_a_terminal() {
        let folder = tempfile::tempdir().unwrap();
        let text = "# Changelog\n\n## 4.1.0\n\n- Not this.\n\n## 4.0.0 – not released\n\n### Added\n\n- A\n  \
                    point.\n- B.\n\n## 3.9.0\n\n- Nor this.\n";
        std::fs::write(folder.path().join("CHANGELOG.md"), text).unwrap();
        let made = changelog(&job(folder.path()), Product::Server).unwrap();
        assert!(
            made.starts_with(
                "licenceserver (4.0.0) stable; urgency=medium\n\n  * A point.\n  * B.\n"
            )
        );
        assert!(made.contains("  Wed, 18 Nov 2026 "), "{made}");
        assert!(!made.contains("this"), "{made}");
        let other = Job { version: "5.0.0", ..job(folder.path()) };
        assert!(changelog(&other, Product::Addin).unwrap().contains("  * Version 5.0.0.\n"));
    }

    #[test]
    fn long_points_are_wrapped_and_words_stay_whole() {
        let text = wrapped(&"word ".repeat(40), "  * ", "    ");
        assert!(text.lines().all(|line| line.chars().count() <= CHANGELOG_COLUMNS), "{text}");
        assert_eq!(text.matches("word").count(), 40);
    }

    #[test]
    fn version_of_glibc_is_read_from_a_symbol() {
        assert_eq!(glibc_of("0000 DF *UND* 0 (GLIBC_2.2.5) free"), [2, 2, 5]);
        assert!(glibc_of("x (GLIBC_2.17) y") > glibc_of("x (GLIBC_2.2.5) y"));
        assert!(glibc_of("x (GCC_3.0) y").is_empty());
    }

    #[test]
    fn version_of_the_database_is_found() {
        let root = workspace().unwrap();
        assert!(schema(&job(&root)).unwrap() >= 3);
    }
}
