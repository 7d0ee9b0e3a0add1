//! The components of Windows, 32 and 64 bits, under Wine, in a host whose virtual tables are laid out by
//! Microsoft's rules, as the platform's are.

#![expect(clippy::unwrap_used, reason = "a step that fails ends the test")]

mod component;

use std::path::{Path, PathBuf};
use std::time::Duration;

use component::{SETTLE_BOUND, Site};
use licence_core::protocol::CONNECTION_SECS;
use xtask::demo::server_session;
use xtask::dist::target::Platform;
use xtask::stage::{HostKind, HostProcess, Stage, wait_until};
use xtask::wine::Wine;

/// Destructor slots of a virtual table by Microsoft's rules. By mingw's there would be two: a host that
/// says so proves nothing.
const DESTRUCTOR_SLOTS: u32 = 1;

/// Both Windows, the name of the installed component in each.
const KINDS: [(Platform, &str); 2] =
    [(Platform::Windows32, "licenceaddin.dll"), (Platform::Windows64, "licenceaddin-x86_64.dll")];

/// The server forgets a connection that is silent for so long; and room for a busy machine.
const FORGET_BOUND: Duration = Duration::from_secs(CONNECTION_SECS + 40);

/// Where the manual says that the log of a client application lies.
const LOGS: &str = "AppData/Local/1C/licence/3.0/logs";

fn wine(stage: &Stage) -> Wine {
    Wine::start(stage.bins().target()).unwrap()
}

/// Logs of the component in the folder of the only user.
fn logs(wine: &Wine) -> Vec<PathBuf> {
    let mut logs = Vec::new();
    for user in std::fs::read_dir(wine.drive_c().join("users")).unwrap() {
        let folder = user.unwrap().path().join(LOGS);
        if folder.is_dir() {
            logs.extend(std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    logs
}

#[test]
fn process_of_either_width_takes_a_seat_opens_an_object_and_gives_the_seat_back() {
    let site = Site::new();
    let wine = wine(&site.stage);
    for (platform, _) in KINDS {
        let kind = HostKind::windows(&site.stage, platform, &wine).unwrap();
        site.play(&kind, DESTRUCTOR_SLOTS, platform.name());
        let logs = logs(&wine);
        let [log] = logs.as_slice() else { panic!("{}: logs {logs:?}", platform.name()) };
        let name = log.file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with("licenceaddin.") && name.ends_with(".licenceaddin.log"), "{name}");
        let text = std::fs::read_to_string(log).unwrap();
        assert!(text.contains(&format!("licenceaddin {}", env!("CARGO_PKG_VERSION"))), "{text}");
        std::fs::remove_file(log).unwrap();
    }
}

#[test]
fn misuse_of_every_kind_is_survived_under_microsofts_layout() {
    let site = Site::new();
    let wine = wine(&site.stage);
    for (platform, _) in KINDS {
        let kind = HostKind::windows(&site.stage, platform, &wine).unwrap();
        site.misuse(&kind, platform.name());
    }
}

/// Windows unloads a library under a lock that its threads need to end. So with a seat the library stays
/// and beats on, whatever the host does. A process that ends so is to the server one that was killed: the
/// connection expires, and the session is found again by whoever comes back with it.
#[test]
fn library_with_a_seat_stays_loaded_and_the_server_forgets_the_connection_of_an_ended_process() {
    let site = Site::new();
    let wine = wine(&site.stage);
    let mut seats = Vec::new();
    for (platform, _) in KINDS {
        let what = platform.name();
        let kind = HostKind::windows(&site.stage, platform, &wine).unwrap();
        let mut host = site.started(&format!("held-{what}"), &kind);
        let seat = host.must_take(&server_session(1)).unwrap();
        host.destroy().unwrap();
        assert!(host.command("unload").unwrap().ends_with("mapped=1"), "{what}");
        host.command("load").unwrap();
        host.create().unwrap();
        host.start_series().unwrap().unwrap();
        let again = host.must_take(&server_session(1)).unwrap();
        assert_eq!(again.id, seat.id, "{what}: the seat was held all the time");
        host.quit().unwrap();
        wait_until(FORGET_BOUND, "the end of the connection", || {
            Ok(site.server.rest().connections()?.is_empty().then_some(()))
        })
        .unwrap();
        assert_eq!(site.server.rest().sessions().unwrap().len(), 1, "{what}: the seat is kept");
        seats.push(seat.id);
    }
    assert_eq!(seats[0], seats[1], "the session that came back found its seat");
}

#[test]
fn unloading_and_loading_again_leave_nothing_behind() {
    let site = Site::new();
    let wine = wine(&site.stage);
    for (platform, _) in KINDS {
        let what = platform.name();
        let kind = HostKind::windows(&site.stage, platform, &wine).unwrap();
        let mut host = HostProcess::start_as(&site.stage, what, &site.computer, &kind).unwrap();
        host.command("unload").unwrap();
        // A port where nobody listens.
        let place = "\"ServerAddr=127.0.0.1;ServerPort=1\"";
        // Every round ends with a check that the library is gone and no thread is left.
        let answer = host.command(&format!("loop 8 {place}")).unwrap();
        assert!(answer.contains("mapped=0 outstanding=0 string"), "{what}: {answer}");
        host.quit().unwrap();
    }
}

#[test]
fn installed_component_serves_in_place_of_the_one_from_the_template() {
    let site = Site::new();
    let wine = wine(&site.stage);
    for (platform, name) in KINDS {
        let what = platform.name();
        let kind = HostKind::windows(&site.stage, platform, &wine).unwrap();
        let installed = site.computer.installed().join(name);
        std::fs::write(&installed, other_image(kind.component())).unwrap();
        let mut host = site.started(&format!("unified-{what}"), &kind);
        host.must_take(&server_session(1)).unwrap();
        let text = wait_until(SETTLE_BOUND, "the line of the hand-over", || {
            let mut texts =
                logs(&wine).into_iter().filter_map(|log| std::fs::read_to_string(log).ok());
            Ok(texts.find(|text| text.contains("takes over the work of")))
        })
        .unwrap();
        assert!(text.contains("licenceaddin.dll"), "{what}: {text}");
        host.release(&server_session(1)).unwrap();
        host.quit().unwrap();
        std::fs::remove_file(&installed).unwrap();
        for log in logs(&wine) {
            std::fs::remove_file(log).unwrap();
        }
    }
}

/// The bytes of a library, with another moment of its making in the headers: an image of its own.
fn other_image(library: &Path) -> Vec<u8> {
    /// Where a file of Windows says at what place its headers begin.
    const HEADERS_AT: usize = 0x3c;
    /// The moment, from there.
    const MOMENT: usize = 8;
    let mut bytes = std::fs::read(library).unwrap();
    let at = u32::from_le_bytes(bytes[HEADERS_AT..HEADERS_AT + 4].try_into().unwrap());
    bytes[usize::try_from(at).unwrap() + MOMENT] ^= 0xff;
    bytes
}
