//! RPM packages, by `rpmbuild` from ready files.
//!
//! rpmbuild finds out what the programs need and writes what every rpm reads; cargo-generate-rpm would ask
//! for a description of its own and writes no such conditions. The same inputs and moment give the same bytes.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::contents::{self, Family, description, maintainer, package_version, rpm_date};
use super::target::{Built, Job, Platform, Product};
use super::tree::{Tree, empty, output};
use crate::build::say;
use crate::stage::{StageError, copy_file, make_folder, write_file};

/// Scripts that a package may have: what rpm calls them, and the text.
const SCRIPTS: [(&str, &str); 5] = [
    ("%pre", "rpm-pre"),
    ("%post", "rpm-post"),
    ("%preun", "rpm-preun"),
    ("%postun", "rpm-postun"),
    ("%posttrans", "rpm-posttrans"),
];

/// What is said to rpmbuild whatever the package.
const DEFINES: [&str; 11] = [
    // The files are ready: nothing is stripped, compressed or taken out of them.
    "debug_package %{nil}",
    "__os_install_post %{nil}",
    "_build_id_links none",
    // rpm of CentOS 7 reads neither zstd nor digests of files beyond SHA-256.
    "_binary_payload w6.xzdio",
    "_source_filedigest_algorithm 8",
    "_binary_filedigest_algorithm 8",
    // Nothing of who builds, and when.
    "_buildhost licence",
    "use_source_date_epoch_as_buildtime 1",
    "source_date_epoch_from_changelog 0",
    "clamp_mtime_to_source_date_epoch 1",
    // Texts stay what they are, whoever installs.
    "_build_name_fmt %%{NAME}.%%{ARCH}.rpm",
];

/// Makes the packages of server and component for one system; none for Windows.
///
/// # Errors
///
/// When something is not built or rpmbuild fails.
pub fn packages(
    job: &Job<'_>,
    built: &Built,
    out: &mut dyn Write,
) -> Result<Vec<PathBuf>, StageError> {
    let mut made = Vec::new();
    for product in Product::ALL {
        if let Some(path) = package(job, built, product)? {
            say(out, &path.display().to_string())?;
            made.push(path);
        }
    }
    Ok(made)
}

/// File name of a package (manual, «Установочные пакеты»).
pub fn file_name(product: Product, version: &str, platform: Platform) -> String {
    let arch = Arch::of(platform).map_or("none", |arch| arch.published);
    format!("{}-{version}.{arch}.rpm", product.name())
}

/// Names of an architecture.
#[derive(Clone, Copy)]
struct Arch {
    /// In the file name.
    published: &'static str,
    /// Of rpm.
    own: &'static str,
}

impl Arch {
    const fn of(platform: Platform) -> Option<Self> {
        match platform {
            // The manual calls i386 what rpm calls i686.
            Platform::Linux32 => Some(Self { published: "i386", own: "i686" }),
            Platform::Linux64 => Some(Self { published: "x86_64", own: "x86_64" }),
            Platform::Windows32 | Platform::Windows64 => None,
        }
    }
}

/// Makes the package of one product; none for Windows.
///
/// # Errors
///
/// As [`packages`].
pub fn package(
    job: &Job<'_>,
    built: &Built,
    product: Product,
) -> Result<Option<PathBuf>, StageError> {
    let Some(arch) = Arch::of(built.platform) else { return Ok(None) };
    make_folder(job.out)?;
    let path = job.out.join(file_name(product, job.version, built.platform));
    let work = job.work.join(format!("rpm-{}-{}", product.name(), arch.own));
    empty(&work)?;
    let mut tree = Tree::new(&work.join("files"))?;
    contents::fill(job, built, product, Family::RedHat, &mut tree)?;
    tree.date(job.moment)?;
    let spec = work.join("package.spec");
    write_file(&spec, &describe(job, product, &tree)?)?;
    let mut build = Command::new("rpmbuild");
    // Its own words in the package must not follow the language of who builds.
    build.env("LC_ALL", "C.UTF-8").env("SOURCE_DATE_EPOCH", job.moment.to_string());
    build.args(["-bb", "--quiet", "--target", &format!("{}-redhat-linux", arch.own)]);
    for define in DEFINES {
        build.args(["--define", define]);
    }
    build.arg("--define").arg(format!("_topdir {}", work.join("top").display()));
    build.arg("--define").arg(format!("_rpmdir {}", work.display()));
    build.arg("--buildroot").arg(work.join("root")).arg(&spec);
    output(build)?;
    copy_file(&work.join(format!("{}.{}.rpm", product.name(), arch.own)), &path)?;
    Ok(Some(path))
}

/// The description that rpmbuild reads.
fn describe(job: &Job<'_>, product: Product, tree: &Tree) -> Result<String, StageError> {
    let name = product.name();
    let version = package_version(job.version);
    let (short, long) = description(product);
    // Debian has it the other way round.
    let (first, rest) = short.split_at(1);
    let short = first.to_uppercase() + rest;
    let mut text = format!(
        "Name: {name}\nVersion: {version}\nRelease: 1\nSummary: {short}\n\
         License: MIT OR Apache-2.0\nGroup: Applications/System\nPackager: {}\n\
         # No other package is linked with what this one brings.\nAutoProv: no\n\
         Requires: glibc >= 2.17\n",
        maintainer(),
    );
    text.push_str("\n%description\n");
    for line in long {
        text.push_str(line);
        text.push('\n');
    }
    // Times of files are those of the moment already.
    text.push_str("\n%install\nmkdir -p %{buildroot}\n");
    text.push_str(&format!("cp -a '{}/.' %{{buildroot}}\n", tree.root().display()));
    for (section, name) in SCRIPTS {
        if let Some(script) = contents::script(job, product, name)? {
            text.push_str(&format!("\n{section} -p /bin/sh\n{}", escaped(&script)));
        }
    }
    text.push_str("\n%files\n%defattr(-,root,root,-)\n");
    for folder in folders(tree.names()) {
        text.push_str(&format!("%dir {folder}\n"));
    }
    for name in tree.names() {
        let kind = match name {
            name if name.starts_with("/usr/share/man/") => "%doc ",
            name if name.ends_with("/copyright") => "%license ",
            name if name.starts_with("/usr/share/doc/") => "%doc ",
            _ => "",
        };
        text.push_str(&format!("{kind}{name}\n"));
    }
    let date = rpm_date(job)?;
    text.push_str(&format!("\n%changelog\n* {date} {} - {version}-1\n", maintainer()));
    text.push_str(&format!(
        "- Version {}; what has changed is in the package's changelog.\n",
        job.version
    ));
    Ok(text)
}

/// Folders that no other package brings.
fn folders(names: &[String]) -> Vec<&'static str> {
    const OURS: [&str; 7] = [
        "/opt/1C",
        "/opt/1C/licence",
        "/opt/1C/licence/3.0",
        "/usr/share/doc/licenceaddin",
        "/usr/share/doc/licenceaddin/examples",
        "/usr/share/doc/licenceserver",
        "/usr/share/doc/licenceserver/examples",
    ];
    let is_used = |folder: &&str| names.iter().any(|name| Path::new(name).starts_with(folder));
    OURS.into_iter().filter(is_used).collect()
}

/// A text in which rpmbuild replaces nothing.
fn escaped(text: &str) -> String {
    text.replace('%', "%%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_those_of_the_manual() {
        for (product, platform, expected) in [
            (Product::Server, Platform::Linux64, "licenceserver-4.0.0.x86_64.rpm"),
            (Product::Server, Platform::Linux32, "licenceserver-4.0.0.i386.rpm"),
            (Product::Addin, Platform::Linux64, "licenceaddin-4.0.0.x86_64.rpm"),
            (Product::Addin, Platform::Linux32, "licenceaddin-4.0.0.i386.rpm"),
        ] {
            assert_eq!(file_name(product, "4.0.0", platform), expected);
        }
    }

    #[test]
    fn signs_of_the_shell_are_not_taken_for_macros() {
        assert_eq!(escaped("${PROGRAM%/*}"), "${PROGRAM%%/*}");
    }

    #[test]
    fn folders_of_other_packages_are_not_claimed() {
        let names = ["/opt/1C/licence/3.0/x".to_owned(), "/usr/bin/x".to_owned()];
        assert_eq!(folders(&names), ["/opt/1C", "/opt/1C/licence", "/opt/1C/licence/3.0"]);
    }
}
