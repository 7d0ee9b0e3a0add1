//! Debian packages, by `dpkg-deb` from a folder.
//!
//! dpkg-deb makes the format by its own definition, without a build; cargo-deb would bring a description
//! of its own in Cargo.toml and build again. The same inputs and moment give the same bytes.

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use super::contents::{self, Family, Needs, SCRIPT, description, maintainer, package_version};
use super::target::{Built, Job, Platform, Product};
use super::tree::{Tree, output};
use crate::build::say;
use crate::stage::{StageError, make_folder};

/// Scripts that a Debian package may have.
const SCRIPTS: [&str; 4] = ["preinst", "postinst", "prerm", "postrm"];

/// The oldest glibc that is named as a condition, whatever less is needed.
const GLIBC_MIN: &str = "2.17";

/// Makes the packages of server and component for one system; none for Windows.
///
/// # Errors
///
/// When something is not built or dpkg-deb fails.
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
    format!("{}-{version}.{}.deb", product.name(), arch(platform).unwrap_or("none"))
}

const fn arch(platform: Platform) -> Option<&'static str> {
    match platform {
        Platform::Linux32 => Some("i386"),
        Platform::Linux64 => Some("amd64"),
        Platform::Windows32 | Platform::Windows64 => None,
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
    let Some(arch) = arch(built.platform) else { return Ok(None) };
    make_folder(job.out)?;
    let path = job.out.join(file_name(product, job.version, built.platform));
    let mut tree = Tree::new(&job.work.join(format!("deb-{}-{arch}", product.name())))?;
    contents::fill(job, built, product, Family::Debian, &mut tree)?;
    let overrides = job.root.join("installers/linux/lintian").join(product.name());
    tree.file(&format!("/usr/share/lintian/overrides/{}", product.name()), &overrides, 0o644)?;
    let bytes = tree.bytes()?;
    let sums = sums(&tree)?;
    let needs = Needs::of(&match product {
        Product::Server => vec![built.program("licenceserver")?],
        Product::Addin => vec![built.component()?],
    })?;
    tree.text("/DEBIAN/md5sums", &sums, 0o644)?;
    tree.text("/DEBIAN/control", &control(job, product, arch, bytes, &needs), 0o644)?;
    if product == Product::Server {
        tree.text("/DEBIAN/conffiles", &format!("{SCRIPT}\n"), 0o644)?;
    }
    for name in SCRIPTS {
        if let Some(text) = contents::script(job, product, name)? {
            tree.text(&format!("/DEBIAN/{name}"), &text, 0o755)?;
        }
    }
    tree.date(job.moment)?;
    let mut build = Command::new("dpkg-deb");
    build.env("SOURCE_DATE_EPOCH", job.moment.to_string());
    // xz, which dpkg of old systems reads too.
    build.args(["--root-owner-group", "-Zxz", "--build"]).arg(tree.root()).arg(&path);
    output(build)?;
    Ok(Some(path))
}

/// Sums of the files, as dpkg verifies them; conffiles are the administrator's.
fn sums(tree: &Tree) -> Result<String, StageError> {
    let mut sum = Command::new("md5sum");
    sum.current_dir(tree.root());
    for name in tree.names() {
        let name = name.trim_start_matches('/');
        if name != SCRIPT.trim_start_matches('/') && !tree.root().join(name).is_symlink() {
            sum.arg(name);
        }
    }
    output(sum)
}

fn control(job: &Job<'_>, product: Product, arch: &str, bytes: u64, needs: &Needs) -> String {
    let (short, long) = description(product);
    let mut depends = vec![format!("libc6 (>= {})", newer(&needs.glibc, GLIBC_MIN))];
    if needs.libraries.iter().any(|library| library.starts_with("libgcc_s")) {
        depends.push("libgcc-s1 | libgcc1".to_owned());
    }
    let more = match product {
        Product::Server => {
            // useradd makes the service's user.
            depends.push("passwd".to_owned());
            "Recommends: acl\nSuggests: pcscd, xdg-utils\n"
        }
        // Processes of 32 and 64 bits of one computer have each their own.
        Product::Addin => "Multi-Arch: same\n",
    };
    let mut text = format!(
        "Package: {}\nVersion: {}\nArchitecture: {arch}\nMaintainer: {}\nInstalled-Size: {}\n\
         Depends: {}\n{more}Section: admin\nPriority: optional\nDescription: {short}\n",
        product.name(),
        package_version(job.version),
        maintainer(),
        bytes.div_ceil(1024),
        depends.join(", "),
    );
    for line in long {
        text.push_str(&format!(" {line}\n"));
    }
    text
}

/// The higher of two versions of glibc.
fn newer<'a>(one: &'a str, other: &'a str) -> &'a str {
    let parts = |text: &str| text.split('.').filter_map(|p| p.parse().ok()).collect::<Vec<u32>>();
    if parts(one) > parts(other) { one } else { other }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_those_of_the_manual() {
        for (product, platform, expected) in [
            (Product::Server, Platform::Linux64, "licenceserver-4.0.0.amd64.deb"),
            (Product::Server, Platform::Linux32, "licenceserver-4.0.0.i386.deb"),
            (Product::Addin, Platform::Linux64, "licenceaddin-4.0.0.amd64.deb"),
            (Product::Addin, Platform::Linux32, "licenceaddin-4.0.0.i386.deb"),
        ] {
            assert_eq!(file_name(product, "4.0.0", platform), expected);
        }
        assert_eq!((arch(Platform::Windows32), arch(Platform::Windows64)), (None, None));
    }

    #[test]
    fn glibc_is_named_as_old_as_it_may_be_and_no_older_than_ours() {
        for (needed, expected) in
            [("2.4", "2.17"), ("2.17", "2.17"), ("2.34", "2.34"), ("", "2.17")]
        {
            assert_eq!(newer(needed, GLIBC_MIN), expected, "{needed}");
        }
    }
}
