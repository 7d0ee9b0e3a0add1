//! The real Debian packages on a Debian system that really boots: installed, upgraded with a seat held,
//! removed, purged; refused and in a system that is not booted; and what lintian says of them.
//!
//! `LICENCE_PACKAGE_ARCH=amd64` takes those of 64 bits. The root must have been made, and packages by
//! `cargo xtask dist --test`.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a step that fails ends the test")]

#[path = "packages/life.rs"]
mod life;

use std::path::{Path, PathBuf};
use std::process::Command;

use life::{LATER, Manager, Site, differences, play};
use xtask::booted::{Root, platform};
use xtask::dist::deb;
use xtask::dist::packed::Packed;
use xtask::dist::target::Product;
use xtask::stage::Bins;

const DPKG: Manager = Manager {
    install: "DEBIAN_FRONTEND=noninteractive dpkg --install",
    upgrade: "DEBIAN_FRONTEND=noninteractive dpkg --install",
    remove: "dpkg --remove",
    package: Packed::deb,
    again: Packed::deb_again,
};

#[test]
fn package_is_installed_upgraded_with_a_seat_held_removed_and_purged() {
    let (site, system) = Site::boot(&DPKG);
    // The first useradd of a system makes files of its own, and dpkg removes /opt when it is empty.
    site.must("useradd --system --user-group other && userdel other && touch /opt/other");
    let before = site.files_of_the_system();

    play(&site, &DPKG);

    // A database of a server that is newer than the package: refused, and the service is as before.
    let shown = site.must("dpkg-query --show licenceserver");
    assert!(shown.contains(LATER), "{shown}");
    let database = "/var/1C/licence/3.0/licenceserver.db";
    site.must("systemctl stop licenceserver");
    let schema = site.must(&format!("od -An -tu1 -j60 -N4 {database}"));
    site.must(&format!("printf '\\143' | dd of={database} bs=1 seek=63 conv=notrunc 2>/dev/null"));
    let refused = site.inside.run("LC_ALL=ru_RU.UTF-8 dpkg --install /stage/server").unwrap();
    assert!(!refused.is_fine() && refused.said.contains("схема 99"), "{}", refused.said);
    let refused = site.inside.run("LC_ALL=C dpkg --install /stage/server").unwrap();
    assert!(!refused.is_fine() && refused.said.contains("schema 99"), "{}", refused.said);
    let shown = site.must("dpkg-query --show --showformat '${Version} ${Status}' licenceserver");
    assert_eq!(shown, format!("{LATER} install ok installed"));
    let last: u32 = schema.split_whitespace().last().unwrap().parse().unwrap();
    site.must(&format!(
        "printf '\\{last:o}' | dd of={database} bs=1 seek=63 conv=notrunc 2>/dev/null"
    ));
    // An older one with data that it knows goes over it.
    site.must("dpkg --force-downgrade --install /stage/server && systemctl restart licenceserver");
    site.check_service_is_well("an older version");

    site.must("dpkg --purge licenceserver");
    assert_eq!(differences(&before, &site.files_of_the_system()), [""; 0]);
    assert!(!site.inside.run("id licence").unwrap().is_fine(), "the user is gone");
    let left = site.inside.run("systemctl status licenceserver").unwrap();
    assert!(left.said.contains("could not be found"), "{}", left.said);
    system.power_off().unwrap();
}

#[test]
fn component_is_installed_beside_running_processes_and_purged() {
    let (site, system) = Site::boot(&DPKG);
    site.must("useradd --system --user-group other && userdel other && touch /opt/other");
    let before = site.files_of_the_system();
    site.must("cp /bin/sleep /tmp/rphost && (setsid /tmp/rphost 600 >/dev/null 2>&1 </dev/null &)");
    let said = site.must("LC_ALL=ru_RU.UTF-8 dpkg --install /stage/addin");
    assert!(said.contains("работают процессы 1С: rphost("), "{said}");
    let said = site.must("dpkg --install /stage/addin");
    assert!(said.contains("processes of 1C are running: rphost("), "{said}");
    let found =
        site.must("stat -c '%U %a' /opt/1C/licence/3.0/licenceaddin*.so /opt/1C/licence/3.0");
    assert_eq!(found, "root 644\nroot 755\n");
    assert_eq!(site.must("stat -c '%U %a' /var/1C/licence/3.0"), "root 755\n");

    // With the server: its purge leaves the component its settings.
    site.must("dpkg --install /stage/server");
    site.check_service_is_well("beside the component");
    site.must("touch /var/1C/licence/3.0/licenceaddin.conf && dpkg --purge licenceserver");
    assert_eq!(site.must("ls -A /var/1C/licence/3.0"), "licenceaddin.conf\n");
    site.must("dpkg --purge licenceaddin");
    assert_eq!(differences(&before, &site.files_of_the_system()), [""; 0]);
    system.power_off().unwrap();
}

#[test]
fn package_is_installed_where_nothing_boots_and_its_script_works_by_hand() {
    let folder = tempfile::tempdir().unwrap();
    let (bins, platform) = (Bins::find().unwrap(), platform().unwrap());
    let packed = Packed::find(&bins, platform, &folder.path().join("pack")).unwrap();
    let files = folder.path().join("files");
    std::fs::create_dir(&files).unwrap();
    std::fs::copy(packed.deb(Product::Server).unwrap(), files.join("server")).unwrap();
    let script = "
        set -e
        # As images of systems are made: nothing may be started.
        printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d
        chmod +x /usr/sbin/policy-rc.d
        # A script of an installation without a package is not asked about.
        printf '#!/bin/sh\\n' >/etc/init.d/licenceserver
        dpkg --install /stage/server
        ! pgrep licenceserver
        test -L /etc/systemd/system/multi-user.target.wants/licenceserver.service
        ls /etc/rc2.d/*licenceserver
        test -f /etc/init.d/licenceserver.dpkg-old
        rm /usr/sbin/policy-rc.d
        service licenceserver start
        service licenceserver status
        curl -sS -u admin:admin http://127.0.0.1:9099/api >/dev/null
        test \"$(stat -c %U /proc/$(cat /var/run/licenceserver.pid))\" = licence
        service licenceserver restart
        service licenceserver stop
        ! service licenceserver status
        dpkg --purge licenceserver
        test ! -e /var/1C
        test ! -e /etc/init.d/licenceserver.dpkg-old
        ! ls /etc/rc2.d/*licenceserver
        echo played to the end
    ";
    let ran = Root::find(&bins, platform).unwrap().run(&files, script).unwrap();
    assert!(ran.is_fine() && ran.said.contains("played to the end"), "{}", ran.said);
}

#[test]
fn packages_made_again_are_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (bins, platform) = (Bins::find().unwrap(), platform().unwrap());
    let packed = Packed::find(&bins, platform, &folder.path().join("pack")).unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let check = |one: PathBuf, two: PathBuf| {
        assert!(std::fs::read(&one).unwrap() == std::fs::read(two).unwrap(), "{one:?}");
    };
    for product in Product::ALL {
        let deb = |out: &Path| packed.deb_again(product, LATER, out).unwrap();
        check(deb(&one), deb(&two));
    }
    // The smaller one: how rpmbuild packs is the same for both, and it takes half a minute for the other.
    let rpm = |out: &Path| packed.rpm_again(Product::Addin, LATER, out).unwrap();
    check(rpm(&one), rpm(&two));
}

#[test]
fn lintian_finds_nothing_that_is_not_explained() {
    let folder = tempfile::tempdir().unwrap();
    let (bins, platform) = (Bins::find().unwrap(), platform().unwrap());
    let packed = Packed::find(&bins, platform, &folder.path().join("pack")).unwrap();
    for product in Product::ALL {
        let path = packed.deb(product).unwrap();
        // The name of the manual is not that of Debian, which lintian reads the architecture from.
        let arch = if deb::file_name(product, "1", platform).ends_with("i386.deb") {
            "i386"
        } else {
            "amd64"
        };
        let named = folder.path().join(format!("{}_1_{arch}.deb", product.name()));
        std::fs::copy(path, &named).unwrap();
        let output = Command::new("lintian")
            .args(["--allow-root", "--no-cfg", "--tag-display-limit", "0"])
            // What a compiler puts into a program differs between builds, and is not the packages' matter:
            // letters of neighbouring words, and C without glibc's wrappers.
            .args(["--suppress-tags", "spelling-error-in-binary,hardening-no-fortify-functions"])
            .args(["--display-info", "--fail-on", "error,warning,info"])
            .arg(&named)
            .output()
            .expect("lintian is needed");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}: {said}", product.name());
    }
}
