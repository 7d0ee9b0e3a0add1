//! The life of the server's package on a system that really boots, whatever the package manager: data of
//! an earlier installation, installed, a seat taken by the real component, upgraded, removed, back again.

use std::path::{Path, PathBuf};
use std::time::Duration;

use xtask::booted::{Booted, Inside, Root, platform};
use xtask::demo::server_session;
use xtask::dist::packed::Packed;
use xtask::dist::target::Product;
use xtask::stage::{HostProcess, Order, Rest, Seat, Stage, StageError, Vendor, wait_until};

/// The port that the server takes without a conf file. The system has a network of its own.
const PORT: u16 = 9099;

/// A start of the server, and a heartbeat of the component (10 s) after it, with room.
const SETTLE_BOUND: Duration = Duration::from_secs(120);

/// A version that comes after that of the workspace.
pub(crate) const LATER: &str = "99.0.0";

/// Commands of a package manager, and how its packages are had.
pub(crate) struct Manager {
    pub(crate) install: &'static str,
    pub(crate) upgrade: &'static str,
    pub(crate) remove: &'static str,
    pub(crate) package: fn(&Packed, Product) -> Result<PathBuf, StageError>,
    pub(crate) again: fn(&Packed, Product, &str, &Path) -> Result<PathBuf, StageError>,
}

/// A running system with the packages in `/stage`.
pub(crate) struct Site {
    pub(crate) inside: Inside,
    files: PathBuf,
    packed: Packed,
    stage: Stage,
}

impl Site {
    pub(crate) fn boot(manager: &Manager) -> (Self, Booted) {
        let stage = Stage::temporary().unwrap();
        let files = stage.root().join("files");
        let platform = platform().unwrap();
        let packed = Packed::find(stage.bins(), platform, &stage.root().join("pack")).unwrap();
        std::fs::create_dir_all(&files).unwrap();
        for (product, to) in [(Product::Server, "server"), (Product::Addin, "addin")] {
            std::fs::copy((manager.package)(&packed, product).unwrap(), files.join(to)).unwrap();
        }
        let root = Root::find(stage.bins(), platform).unwrap();
        let system = Booted::start(&root, &files, &stage.root().join("booted")).unwrap();
        (Self { inside: system.inside(), files, packed, stage }, system)
    }

    /// The server's package of the version [`LATER`], as `/stage/later`.
    fn make_later(&self, manager: &Manager) {
        let folder = self.stage.root().join("later");
        let made = (manager.again)(&self.packed, Product::Server, LATER, &folder).unwrap();
        std::fs::copy(made, self.files.join("later")).unwrap();
    }

    pub(crate) fn must(&self, script: &str) -> String {
        self.inside.must(script).unwrap()
    }

    /// Every file and link of the system but what is not of this disk, and what package managers and
    /// systemd keep of their own work.
    pub(crate) fn files_of_the_system(&self) -> Vec<String> {
        let found = self.must(
            "find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp \
             -o -path /stage -o -path /var/tmp -o -path /var/log -o -path /var/cache \
             -o -path /var/lib/dpkg -o -path /var/lib/rpm -o -path /root \
             -o -path /var/lib/systemd/timers -o -path /etc/passwd- -o -path /etc/group- \
             -o -path /etc/shadow- -o -path /etc/gshadow- -o -path /etc/subuid- \
             -o -path /etc/subgid- \\) -prune -o -print | LC_ALL=C sort",
        );
        found.lines().map(str::to_owned).collect()
    }

    /// The service is enabled and active, answers, is found well by the doctor and is not root's.
    pub(crate) fn check_service_is_well(&self, when: &str) {
        assert_eq!(self.must("systemctl is-enabled licenceserver").trim(), "enabled", "{when}");
        assert_eq!(self.must("systemctl is-active licenceserver").trim(), "active", "{when}");
        let user = self
            .must("stat -c %U /proc/$(systemctl show --property=MainPID --value licenceserver)");
        assert_eq!(user.trim(), "licence", "{when}");
        let api = self.must(&format!("curl -sS -u admin:admin http://127.0.0.1:{PORT}/api"));
        assert!(api.contains("Version"), "{when}: {api}");
        let doctor = self.inside.run("licenceserver doctor --lang en").unwrap();
        assert!(doctor.is_fine(), "{when}: {}", doctor.said);
        let status = self.inside.run("service licenceserver status").unwrap();
        assert!(status.is_fine(), "{when}: {}", status.said);
    }
}

fn wait_ready(rest: &Rest) {
    wait_until(SETTLE_BOUND, "the server", || {
        let answer = rest.try_get("/health/ready");
        Ok(answer.is_ok_and(|answer| answer.status == 200).then_some(()))
    })
    .unwrap();
}

/// The session of the seat goes on under its id, with its key; nobody else gets the only seat.
fn check_seat_stays(host: &mut HostProcess, rest: &Rest, seat: &Seat, when: &str) {
    wait_ready(rest);
    let shown = rest.sessions().unwrap();
    let ids: Vec<_> = shown.iter().filter_map(|session| session["ID"].as_str()).collect();
    assert_eq!(ids, [seat.id.as_str()], "{when}");
    let again = host.must_take(&server_session(1)).unwrap();
    assert_eq!((&again.id, again.used_licence), (&seat.id, seat.used_licence), "{when}");
    assert!(host.take(&server_session(2)).unwrap().is_err(), "{when}: the key has one seat");
}

/// Plays it; at the end the package is installed and its service runs.
pub(crate) fn play(site: &Site, manager: &Manager) {
    let Manager { install, upgrade, remove, .. } = manager;
    site.make_later(manager);
    site.inside
        .within(|| {
            let vendor = Vendor::start(&site.stage)?;
            let rest = Rest::new(PORT);

            // What a server run by root by hand has left.
            vendor.publish_series(&site.files.join("licence.series"))?;
            let conf = format!("[Common]\nLicenceCenterUrl={}\n", vendor.centre_url());
            write(&site.files.join("licenceserver.conf"), &conf);
            site.must(
                "mkdir -p /var/1C/licence/3.0; cd /var/1C/licence/3.0; umask 077; \
                 cp /stage/licenceserver.conf /stage/licence.series .",
            );

            site.must(&format!("{install} /stage/server"));
            site.check_service_is_well("installed");
            let owners = site.must("cd /var/1C/licence; stat -c '%U %a %n' 3.0 data 3.0/licence*");
            let all: Vec<_> = owners.lines().collect();
            assert!(all.contains(&"licence 750 data"), "{owners}");
            assert!(all.contains(&"licence 644 3.0/licenceserver.conf.sample"), "{owners}");
            assert!(all.contains(&"licence 600 3.0/licenceserver.db"), "{owners}");
            assert!(all.iter().all(|line| line.starts_with("licence ")), "{owners}");

            let code = vendor.order(&site.stage, Order { kind: "main", seats: 1 })?;
            rest.activate(&code)?;
            let computer = site.stage.computer("computer", &vendor, &[PORT])?;
            let mut host = HostProcess::started(&site.stage, "host", &computer)?;
            let seat = host.must_take(&server_session(1))?;

            let before = pid(site);
            site.must(&format!("{upgrade} /stage/later"));
            assert_ne!(pid(site), before, "the upgraded program runs");
            check_seat_stays(&mut host, &rest, &seat, "upgraded");
            site.check_service_is_well("upgraded");

            site.must(&format!("{remove} licenceserver"));
            let gone = site.inside.run("systemctl is-active licenceserver")?;
            assert!(!gone.is_fine() && !gone.said.contains("failed"), "{}", gone.said);
            let left = site.must("ls /var/1C/licence/3.0 /var/1C/licence/data; ! ls /opt/1C");
            for kept in ["licenceserver.conf", "licenceserver.db", "identity.seal", ".licence"] {
                assert!(left.contains(kept), "{kept}: {left}");
            }
            assert!(!left.contains(".sample"), "{left}");

            site.must(&format!("{install} /stage/later"));
            check_seat_stays(&mut host, &rest, &seat, "installed again");
            site.check_service_is_well("installed again");
            assert_eq!(rest.licences()?.len(), 1);
            host.quit()
        })
        .unwrap();
}

fn pid(site: &Site) -> String {
    site.must("systemctl show --property=MainPID --value licenceserver")
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}

/// The lines that are in one list alone.
pub(crate) fn differences(before: &[String], after: &[String]) -> Vec<String> {
    let only = |these: &[String], those: &[String], sign: &str| -> Vec<String> {
        let lines = these.iter().filter(|line| !those.contains(line));
        lines.map(|line| format!("{sign}{line}")).collect()
    };
    [only(before, after, "-"), only(after, before, "+")].concat()
}
