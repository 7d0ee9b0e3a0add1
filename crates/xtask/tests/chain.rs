//! The whole chain, as the demo shows it: series, centre, two servers, activation, sessions
//! through the real component, a refusal, a failover, a restart. Twice on one folder.

#![expect(clippy::unwrap_used, reason = "a step that fails ends the test")]

use xtask::demo::{play, prepare};

fn run(folder: &std::path::Path) {
    let stage = prepare(folder).unwrap();
    let mut shown = Vec::new();
    let mut console = None;
    let played = play(&stage, 0, &mut shown, |_, address| {
        console = Some(address.to_owned());
        Ok(())
    });
    let shown = String::from_utf8_lossy(&shown);
    if let Err(why) = played {
        panic!("{why}\n{shown}");
    }
    assert!(console.is_some(), "the console was never up");
    assert!(shown.contains("session 8: refused, EServerResult."), "{shown}");
}

#[test]
fn main_job_from_nothing_holds_twice_in_a_row_on_one_folder() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path());
    run(folder.path());
}
