//! The 32-bit component of Linux in a 32-bit process: the same source, other sizes everywhere on the
//! border to the platform.

#![expect(clippy::unwrap_used, reason = "a step that fails ends the test")]

mod component;

use component::{SETTLE_BOUND, Site};
use xtask::demo::server_session;
use xtask::dist::target::Platform;
use xtask::stage::HostKind;

/// Destructor slots of a virtual table by the rules of g++.
const DESTRUCTOR_SLOTS: u32 = 2;

#[test]
fn thirty_two_bit_process_takes_a_seat_opens_an_object_and_gives_the_seat_back() {
    let site = Site::new();
    let kind = HostKind::linux(&site.stage, Platform::Linux32).unwrap();
    site.play(&kind, DESTRUCTOR_SLOTS, "linux32");
    site.misuse(&kind, "linux32");
}

#[test]
fn unloading_a_thirty_two_bit_component_releases_its_seat() {
    let site = Site::new();
    let kind = HostKind::linux(&site.stage, Platform::Linux32).unwrap();
    let mut host = site.started("host", &kind);
    host.must_take(&server_session(1)).unwrap();
    host.destroy().unwrap();
    assert_eq!(host.command("unload").unwrap(), "ok threads=1 mapped=0");
    site.must_become_free(SETTLE_BOUND).unwrap();
    host.quit().unwrap();
}
