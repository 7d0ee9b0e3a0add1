//! The real RPM packages on a system that really boots, and what rpmlint says of them.
//!
//! The system is Debian with rpm: a stand-in, whose libraries rpm does not know (`--nodeps`). What is proven
//! are the scripts, the order in which rpm calls them, and the files.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a step that fails ends the test")]

#[path = "packages/life.rs"]
mod life;

use std::process::Command;

use life::{LATER, Manager, Site, differences, play};
use xtask::booted::platform;
use xtask::build::workspace;
use xtask::dist::packed::Packed;
use xtask::dist::target::Product;
use xtask::stage::Bins;

const RPM: Manager = Manager {
    install: "rpm --install --nodeps --force-debian",
    upgrade: "rpm --upgrade --nodeps --force-debian",
    remove: "rpm --erase",
    package: Packed::rpm,
    again: Packed::rpm_again,
};

#[test]
fn package_is_installed_upgraded_with_a_seat_held_verified_and_removed() {
    let (site, system) = Site::boot(&RPM);
    site.must("useradd --system --user-group other && userdel other && touch /opt/other");
    // Folders that other packages of a system with a desktop bring.
    site.must("mkdir -p /usr/share/applications /usr/share/icons/hicolor/scalable/apps");
    let before = site.files_of_the_system();

    play(&site, &RPM);

    let shown = site.must("rpm --query licenceserver");
    assert!(shown.contains(LATER), "{shown}");
    let verified = site.inside.run("rpm --verify --nodeps licenceserver").unwrap();
    assert!(verified.is_fine(), "{}", verified.said);

    // The manual's way out where another package's scripts have taken the service away.
    site.must("systemctl disable --now licenceserver && systemctl mask licenceserver");
    site.must("cd /opt/1C/licence/3.0 && ./installdaemon.sh");
    site.check_service_is_well("installed by force");

    // An older package refuses data of a newer server before anything is changed.
    site.must("systemctl stop licenceserver");
    site.must(
        "printf '\\143' | dd of=/var/1C/licence/3.0/licenceserver.db bs=1 seek=63 conv=notrunc \
         2>/dev/null",
    );
    let refused = site
        .inside
        .run("rpm --upgrade --oldpackage --nodeps --force-debian /stage/server")
        .unwrap();
    assert!(!refused.is_fine() && refused.said.contains("schema 99"), "{}", refused.said);
    assert_eq!(site.must("rpm --query licenceserver"), shown);

    // rpm knows no purge: data and user stay.
    site.must("rpm --erase licenceserver && rm -r /var/1C && userdel licence");
    assert_eq!(differences(&before, &site.files_of_the_system()), [""; 0]);
    system.power_off().unwrap();
}

#[test]
fn component_is_installed_and_removed() {
    let (site, system) = Site::boot(&RPM);
    site.must("touch /opt/other");
    let before = site.files_of_the_system();
    site.must("rpm --install --nodeps --force-debian /stage/addin");
    let found =
        site.must("stat -c '%U %a' /opt/1C/licence/3.0/licenceaddin*.so /opt/1C/licence/3.0");
    assert_eq!(found, "root 644\nroot 755\n");
    assert_eq!(site.must("stat -c '%U %a' /var/1C/licence/3.0"), "root 755\n");
    site.must("rpm --verify --nodeps licenceaddin && rpm --erase licenceaddin");
    site.must("rmdir /var/1C/licence/3.0 /var/1C/licence /var/1C");
    assert_eq!(differences(&before, &site.files_of_the_system()), [""; 0]);
    system.power_off().unwrap();
}

#[test]
fn packages_ask_for_glibc_and_a_shell_and_for_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let bins = Bins::find().unwrap();
    let packed = Packed::find(&bins, platform().unwrap(), &folder.path().join("pack")).unwrap();
    for product in Product::ALL {
        let mut query = Command::new("rpm");
        query.args(["--query", "--requires", "--package"]).arg(packed.rpm(product).unwrap());
        let output = query.output().expect("rpm is needed");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("glibc >= 2.17"), "{said}");
        for line in said.lines() {
            let known = [
                "libc.so.6",
                "libdl.so.2",
                "libm.so.6",
                "libpthread.so.0",
                "librt.so.1",
                "libgcc_s.so.1",
                "libutil.so.1",
                "rtld(",
                "rpmlib(",
                "glibc >= 2.17",
                "/bin/sh",
                "ld-linux",
            ];
            assert!(known.iter().any(|begin| line.starts_with(begin)), "{line}");
        }
    }
}

#[test]
fn rpmlint_finds_nothing_that_is_not_explained() {
    let folder = tempfile::tempdir().unwrap();
    let bins = Bins::find().unwrap();
    let packed = Packed::find(&bins, platform().unwrap(), &folder.path().join("pack")).unwrap();
    let explained = workspace().unwrap().join("installers/linux/rpmlintrc.toml");
    for product in Product::ALL {
        let output = Command::new("rpmlint")
            .arg("--config")
            .arg(&explained)
            .arg("--strict")
            .arg(packed.rpm(product).unwrap())
            .output()
            .expect("rpmlint is needed");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}: {said}", product.name());
        assert!(said.contains("0 errors, 0 warnings"), "{}: {said}", product.name());
    }
}
