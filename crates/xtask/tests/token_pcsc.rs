//! Tokens behind the smart card service of this computer: pcscd and vpcd with a card that is a maker's
//! PIV firmware, and OpenSC as a second reader of what we wrote.
//!
//! `cargo xtask guest` makes what this needs. To test a server with tokens, start it with
//! [`TokenPeer::environment`] and `[UPKey] Tokens=Virtual PCD`, then plug and unplug.

#![expect(clippy::unwrap_used, reason = "a step that fails ends the test")]

use std::process::Command;
use std::time::Duration;

use xtask::stage::{Stage, TokenPeer, wait_until};

/// A check takes some seconds; room for a busy machine.
const BOUND: Duration = Duration::from_secs(60);

fn peer() -> (Stage, TokenPeer) {
    let stage = Stage::temporary().unwrap();
    let peer = TokenPeer::start(&stage).unwrap();
    (stage, peer)
}

/// Runs the client to its end; every step must have been said to be well.
fn check(stage: &Stage, peer: &TokenPeer, steps: &[&str]) {
    let mut process = stage.start("token_check", peer.check(steps)).unwrap();
    for step in steps.iter().filter(|step| !step.starts_with("--")) {
        let said = process.line_with(" ", BOUND);
        let mut said = said.unwrap();
        while !said.starts_with("step ") {
            assert!(!said.starts_with("failed"), "{said}");
            said = process.line(BOUND).unwrap();
        }
        assert_eq!(said, format!("step {step} ok"));
    }
    assert_eq!(process.line(BOUND).unwrap(), "done");
    assert!(process.wait(BOUND).unwrap().success());
}

fn run(mut command: Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    text + &errors
}

#[test]
fn blank_is_prepared_proves_itself_and_keeps_its_licence_over_a_restart() {
    let (stage, mut peer) = peer();
    peer.plug(0, "first").unwrap();
    let file = stage.root().join("expected").display().to_string();
    let walk = [
        "list=1",
        "fresh",
        "prepare",
        "again",
        "prove",
        "store=1850",
        "read",
        "store=3100",
        "read",
        "store=40",
        "read",
        "store=2400",
        "large",
        "read",
        "prove",
    ];
    check(&stage, &peer, &[&walk[..], &[&format!("save={file}")]].concat());
    peer.unplug(0).unwrap();
    check(&stage, &peer, &["list=0"]);
    peer.plug(1, "first").unwrap();
    let load = format!("load={file}");
    // A card that has just been started has no management session, so a wrong key must fail.
    check(&stage, &peer, &["list=1", &load, "read", "prove", "locked", "read"]);
}

#[test]
fn two_tokens_have_two_keys_and_neither_signs_for_the_other() {
    let (stage, mut peer) = peer();
    peer.plug(0, "first").unwrap();
    peer.plug(1, "second").unwrap();
    check(&stage, &peer, &["list=2", "fresh", "prepare", "prove", "store=1500", "read", "prove"]);
}

#[test]
fn service_that_is_stopped_has_no_tokens_and_has_them_again_when_it_is_started() {
    let (stage, mut peer) = peer();
    peer.plug(0, "first").unwrap();
    let file = stage.root().join("expected").display().to_string();
    check(&stage, &peer, &["list=1", "prepare", "store=100", &format!("save={file}")]);
    peer.stop_service().unwrap();
    check(&stage, &peer, &["list=0"]);
    peer.start_service().unwrap();
    peer.plug(0, "first").unwrap();
    check(&stage, &peer, &["list=1", &format!("load={file}"), "read", "prove"]);
}

#[test]
fn opensc_sees_a_piv_card_and_reads_the_object_that_we_wrote() {
    let (stage, mut peer) = peer();
    peer.plug(0, "first").unwrap();
    check(&stage, &peer, &["list=1", "prepare", "store=1000"]);
    let mut name = peer.tool("piv-tool").unwrap();
    name.arg("--name");
    assert!(run(name).contains("Personal Identity Verification Card"));
    let mut slots = peer.tool("pkcs11-tool").unwrap();
    slots.arg("--module").arg(peer.module().unwrap()).arg("--list-token-slots");
    assert!(run(slots).contains("PIV_II"));
    // SELECT, then GET DATA of 5FC120 by hand.
    let mut raw = peer.tool("opensc-tool").unwrap();
    raw.args(["--send-apdu", "00A404000BA000000308000010000100"]);
    raw.args(["--send-apdu", "00CB3FFF055C035FC12000"]);
    let said = run(raw);
    assert!(said.contains("LTK1"), "{said}");
}

#[test]
fn reader_without_a_card_is_no_token() {
    let (stage, mut peer) = peer();
    check(&stage, &peer, &["list=0"]);
    peer.plug(1, "late").unwrap();
    let found = wait_until(BOUND, "the token", || {
        let output = stage.run("token_check", peer.check(&["list=1"]))?;
        Ok(output.contains("place Pcsc").then_some(()))
    });
    found.unwrap();
}
