//! Tokens on USB, in a guest: QEMU's own CCID reader, and a USB device over USB/IP. The card in both is
//! a maker's PIV firmware, so that nothing of the token is ours.
//!
//! The client is `token_check`; each of its steps is a line on the guest's console, and a line that is
//! missing is a failure. `cargo xtask guest` makes what this needs.

#![expect(clippy::unwrap_used, reason = "a step that fails ends the test")]
#![expect(clippy::print_stdout, reason = "the guest's console belongs to what a test says")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use xtask::guest::{Guest, Image, Packages, Programs, Report};
use xtask::stage::{Process, Stage};

/// Bound of a card's start.
const CARD_BOUND: Duration = Duration::from_secs(30);

/// QEMU's reader as a setting that lists tokens wants it: on the bus, and in the service.
const READER: &str = "08E6:4433,SmartCard Reader";

/// What a client walks through with tokens that nobody has used yet. The steps of plugging follow.
const WALK: [&str; 11] = [
    "fresh",
    "prepare",
    "again",
    "prove",
    "store=1850",
    "read",
    "store=3100",
    "read",
    "large",
    "busy",
    "prove",
];

/// Takes the token at `TOKEN_ID` off the bus, as pulling it out does.
const UNPLUG: &str = r#"id=${TOKEN_ID%%/*}
for device in /sys/bus/usb/devices/*; do
    [ -f $device/devnum ] || continue
    at=$(printf '%03d-%03d' $(cat $device/busnum) $(cat $device/devnum))
    if [ $at = $id ]; then echo 1 > $device/remove; exit 0; fi
done
echo "unplug: no device at $id"
exit 1
"#;

/// Lets the controller find all that is plugged into it.
const PLUG: &str = "driver=/sys/bus/pci/drivers/xhci_hcd
for controller in $(cd $driver; ls -d 0000:*); do
    echo $controller > $driver/unbind
    echo $controller > $driver/bind
done
";

/// Lets the kernel take the USB/IP device, in time: the peer says that it is up before its port is open.
const ATTACH: &str = "i=0
until token-peer attach; do
    i=$((i + 1))
    [ $i -lt 50 ] || exit 1
    usleep 100000
done
";

/// Waits until the smart card service of the guest listens.
const SERVICE: &str = "i=0
until [ -S /run/pcscd/pcscd.comm ]; do
    i=$((i + 1))
    [ $i -lt 100 ] || exit 1
    usleep 100000
done
";

struct Site {
    stage: Stage,
    packages: Packages,
    programs: Programs,
    image: Image,
}

impl Site {
    fn new() -> Self {
        let stage = Stage::temporary().unwrap();
        let packages = Packages::find(stage.bins()).unwrap();
        let programs = Programs::find(stage.bins()).unwrap();
        let mut image = Image::new(&packages, stage.root()).unwrap();
        image.program(&programs.check).unwrap();
        // The client looks for the smart card service's library while it runs.
        image.library("usr/lib/x86_64-linux-gnu/libpcsclite.so.1").unwrap();
        Self { stage, packages, programs, image }
    }

    fn card(&self, name: &str) -> (Process, PathBuf) {
        let socket = self.stage.root().join(name);
        let mut command = Command::new(&self.programs.peer);
        command.arg("vsc").arg("--socket").arg(&socket);
        let card = self.stage.start(name, command).unwrap();
        card.line_with("ready", CARD_BOUND).unwrap();
        (card, socket)
    }

    fn run(&self, cards: &[&Path], test: &str) -> Report {
        let mut guest = Guest::new(&self.packages, &self.image, test).unwrap();
        if !cards.is_empty() {
            guest.usb();
        }
        for (at, card) in cards.iter().enumerate() {
            guest.reader(&at.to_string(), card);
        }
        let report = guest.run("qemu", &self.stage.root().join("output")).unwrap();
        // Shown when the test fails, and when somebody asks for the output.
        println!("{report}");
        report
    }
}

/// Every step was said to be well, in this order, and the test ended well.
fn assert_walked(report: &Report, steps: &[&str]) {
    let expected: Vec<_> = steps.iter().map(|step| format!("{step} ok")).collect();
    let walked: Vec<_> = report.values("step ").collect();
    assert_eq!(walked, expected, "{report}");
    assert_eq!(report.exit_code(), Some(0), "{report}");
}

#[test]
fn two_tokens_in_qemu_s_reader_walk_the_whole_way_and_survive_being_unplugged() {
    let mut site = Site::new();
    for module in ["host/xhci-hcd.ko", "host/xhci-pci.ko"] {
        site.image.module(module).unwrap();
    }
    site.image.text("unplug", UNPLUG).unwrap();
    site.image.text("plug", PLUG).unwrap();
    let (_first, first) = site.card("first");
    let (_second, second) = site.card("second");
    let plugging = ["gone=1", "back=2", "read", "prove"];
    let steps = [&["list=2"][..], &WALK[..], &plugging[..]].concat();
    let test = format!(
        "token_check --tokens '{READER}' --unplug 'sh /unplug' --plug 'sh /plug' {}",
        steps.join(" ")
    );
    let report = site.run(&[&first, &second], &test);
    assert_walked(&report, &steps);
    assert_eq!(report.values("place Usb ").count(), 2, "{report}");
}

#[test]
fn token_over_usb_ip_walks_the_whole_way_and_survives_being_unplugged() {
    let mut site = Site::new();
    for module in ["usbip/usbip-core.ko", "usbip/vhci-hcd.ko"] {
        site.image.module(module).unwrap();
    }
    let peer = site.programs.peer.clone();
    site.image.program(&peer).unwrap();
    site.image.text("plug", ATTACH).unwrap();
    let plugging = ["gone=0", "back=1", "read", "prove", "gone=0", "back=1", "store=40", "read"];
    let steps = [&["list=1"][..], &WALK[..], &plugging[..]].concat();
    let test = format!(
        "token-peer usbip &\nsh /plug\ntoken_check --unplug 'token-peer detach --port 0' --plug \
         'sh /plug' {}",
        steps.join(" ")
    );
    let report = site.run(&[], &test);
    assert_walked(&report, &steps);
    assert!(report.values("place Usb ").all(|place| place.contains("20A0:42B2")), "{report}");
}

#[test]
fn token_that_the_smart_card_service_holds_is_reached_through_it_and_afterwards_by_ourselves() {
    let mut site = Site::new();
    for module in ["host/xhci-hcd.ko", "host/xhci-pci.ko"] {
        site.image.module(module).unwrap();
    }
    let service = site.packages.file("usr/sbin/pcscd").unwrap();
    site.image.program(&service).unwrap();
    let bundle = "usr/lib/pcsc/drivers/ifd-ccid.bundle/Contents";
    let driver = site.packages.file(&format!("{bundle}/Linux/libccid.so")).unwrap();
    site.image.file(&driver, &format!("{bundle}/Linux/libccid.so")).unwrap();
    site.image.libraries_of(&driver).unwrap();
    // In the bundle this is a link into /etc.
    let list = site.packages.file("etc/libccid_Info.plist").unwrap();
    site.image.file(&list, &format!("{bundle}/Info.plist")).unwrap();
    site.image.text("service", SERVICE).unwrap();
    let (_card, card) = site.card("card");
    // Without udev the service sees only what is there before it starts.
    let found = ["list=1", "fresh"];
    let held =
        ["list=1", "held", "fresh", "prepare", "prove", "store=1850", "read", "save=/expected"];
    let free = ["list=1", "load=/expected", "read", "prove", "busy"];
    let check = format!("token_check --tokens '{READER}'");
    let test = format!(
        "{check} {} || exit 1\nmkdir -p /run/pcscd\npcscd --foreground & service=$!\n\
         sh /service || exit 9\n\
         {check} {} || exit 1\n\
         kill $service; wait $service\n\
         {check} {}",
        found.join(" "),
        held.join(" "),
        free.join(" ")
    );
    let report = site.run(&[&card], &test);
    assert_walked(&report, &[&found[..], &held[..], &free[..]].concat());
}
