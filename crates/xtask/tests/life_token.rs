//! A key on a USB token from the vendor's desk to the customer's second server: a blank is prepared and
//! registered, the key of a computer moves onto it by its reserve code, a component takes seats of it,
//! the token is pulled and plugged in, here and elsewhere; a copy of its licence is worth nothing.
//!
//! The token is a maker's firmware behind a smart card service of our own (`cargo xtask guest`).

#![expect(clippy::unwrap_used, reason = "a step that fails ends the test")]

use std::time::Duration;

use serde_json::{Value, json};
use xtask::demo::server_session;
use xtask::stage::{
    Answer, HostProcess, Launch, Order, READER_NAME, Server, Stage, StageError, TokenPeer, Vendor,
    wait_until,
};

/// Bound of what a server notices by its looks at tokens (3 s), a second attempt (5 s) and a proof
/// (some seconds), with room for a busy machine.
const TOKEN_BOUND: Duration = Duration::from_secs(60);

fn server(stage: &Stage, name: &str, vendor: &Vendor, peer: &TokenPeer) -> Server {
    let conf = format!("[UPKey]\nEnabled=1\nTokens={READER_NAME}\n");
    let launch = peer
        .environment()
        .into_iter()
        .fold(Launch::default(), |launch, (name, value)| launch.with(name, value));
    Server::start_as(stage, name, vendor, 0, &conf, launch).unwrap()
}

/// The only licence of a server, once it is as wanted.
fn wait_licence(server: &Server, what: &str, is_wanted: impl Fn(&Value) -> bool) -> Value {
    wait_until(TOKEN_BOUND, what, || {
        let all = server.rest().licences()?;
        match &all[..] {
            [one] if is_wanted(one) => Ok(Some(one.clone())),
            _ => Ok(None),
        }
    })
    .unwrap()
}

fn install(server: &Server, body: &Value) -> Answer {
    server.rest().try_post("/api/licences", body).unwrap()
}

fn give_back(server: &Server, key_no: &Value) -> String {
    let path = format!("/api/licences/{key_no}/reservecode");
    let why = json!({ "Reason": "hardware", "Comment": "на носитель" });
    let answer = server.rest().try_post(&path, &why).unwrap();
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.body["ReserveCode"].as_str().unwrap().to_owned()
}

fn kit(stage: &Stage, vendor: &Vendor, peer: &TokenPeer, arguments: &[&str]) -> String {
    let mut command = vendor.kit(&["--lang", "en"]);
    command.args(arguments).envs(peer.environment());
    stage.run("licencekit blank", command).unwrap()
}

/// Waits until a session is refused in these words.
fn wait_refused(host: &mut HostProcess, number: u32, words: &str) {
    let session = server_session(number);
    wait_until(TOKEN_BOUND, words, || match host.take(&session)? {
        Err(refused) if refused.text.contains(words) => Ok(Some(())),
        Err(_) => Ok(None),
        Ok(_) => {
            host.release(&session)?;
            Ok(None)
        }
    })
    .unwrap();
}

fn wait_sessions(server: &Server, count: usize) {
    wait_until(TOKEN_BOUND, &format!("{count} sessions"), || {
        Ok((server.rest().sessions()?.len() == count).then_some(()))
    })
    .unwrap();
}

#[test]
fn key_of_a_computer_moves_onto_a_token_and_with_it_to_another_server() {
    let (stage, elsewhere) = (Stage::temporary().unwrap(), Stage::temporary().unwrap());
    let vendor = Vendor::start(&stage).unwrap();
    let mut peer = TokenPeer::start(&stage).unwrap();
    let one = server(&stage, "one", &vendor, &peer);
    let code = vendor.order(&stage, Order { kind: "main", seats: 2 }).unwrap();
    let key = one.rest().activate(&code).unwrap();
    assert_eq!(key["Type"], "Virtual");

    // The vendor's desk.
    peer.plug(0, "first").unwrap();
    let list = stage.root().join("blanks.json").display().to_string();
    let prepare = ["blank", "prepare", "--tokens", READER_NAME, "--note", "box 7", "--file", &list];
    // The service takes its time to see a card.
    wait_until(TOKEN_BOUND, "the token at the vendor's desk", || {
        Ok(kit(&stage, &vendor, &peer, &["blank", "list", "--tokens", READER_NAME])
            .contains("not prepared")
            .then_some(()))
    })
    .unwrap();
    kit(&stage, &vendor, &peer, &prepare);
    let blank = wait_licences(&one, 2, "the blank beside the key");
    let blank_no = blank.iter().find(|one| one["IsBlank"] == true).unwrap()["BlankKeyNo"].clone();

    // Not registered yet: the centre binds nothing to it, and the code is not used up.
    let reserve = give_back(&one, &key["KeyNo"]);
    let order = json!({ "ActivationCodeString": reserve, "BlankKeyNo": blank_no });
    let refused = install(&one, &order);
    assert_eq!(
        (refused.status, refused.body["Exception"].as_str()),
        (403, Some("EBlankUnknown")),
        "{refused:?}"
    );
    let (url, token) = (vendor.centre_url(), vendor.token_file().display().to_string());
    let register = ["blank", "register", "--centre", &url, "--token-file", &token, &list];
    kit(&stage, &vendor, &peer, &register);
    let moved = install(&one, &order);
    assert_eq!((moved.status, &moved.body["KeyNo"]), (201, &key["KeyNo"]), "{moved:?}");
    assert_eq!((&moved.body["Type"], &moved.body["BlankKeyNo"]), (&json!("USB"), &blank_no));
    wait_licence(&one, "the key in force", |one| one["Enabled"] == true && one["IsBlank"] == false);
    let copy = std::fs::read_to_string(one.licence_file().unwrap()).unwrap();

    // A component takes seats of it; pulled, it gives no more, and ends what is held after a retry.
    let computer = stage.computer("computer", &vendor, &[one.port()]).unwrap();
    let mut host = HostProcess::started(&stage, "rphost", &computer).unwrap();
    let seat = host.must_take(&server_session(1)).unwrap();
    assert!(seat.confirmed, "{seat:?}");
    assert_eq!(seat.used_licence, key["KeyNo"].as_u64());
    peer.unplug(0).unwrap();
    wait_refused(&mut host, 2, "ппаратный носитель");
    wait_refused(&mut host, 2, "Не подключён аппаратный носитель");
    wait_sessions(&one, 0);
    let gone = wait_licence(&one, "the key without its token", |one| one["Enabled"] == false);
    assert_eq!((&gone["Type"], &gone["KeyNo"]), (&json!("USB"), &key["KeyNo"]));

    // In the other reader it is the same token.
    peer.plug(1, "first").unwrap();
    wait_licence(&one, "the key in the other reader", |one| one["Enabled"] == true);
    let seat = wait_until(TOKEN_BOUND, "a seat", || Ok(host.take(&server_session(2))?.ok()));
    assert_eq!(seat.unwrap().used_licence, key["KeyNo"].as_u64());
    host.quit().unwrap();

    // The licence file alone is worth nothing at another server; with the token the key works there.
    peer.unplug(1).unwrap();
    let mut other_peer = TokenPeer::start(&elsewhere).unwrap();
    let two = server(&elsewhere, "two", &vendor, &other_peer);
    let taken = two.rest().try_post("/api/licences/answer", &json!({ "Answer": copy })).unwrap();
    assert_eq!(taken.status, 201, "{taken:?}");
    wait_licence(&two, "the copy without its token", |one| {
        let why = one["OpenError"].as_str().unwrap_or_default();
        one["Enabled"] == false && why == "its token is not plugged in"
    });
    let computer = elsewhere.computer("computer", &vendor, &[two.port()]).unwrap();
    let mut host = HostProcess::start(&elsewhere, "rphost", &computer).unwrap();
    host.create().unwrap();
    let refused = host.start_series().unwrap().unwrap_err();
    assert!(refused.text.contains("Не подключён аппаратный носитель"), "{refused:?}");
    carry(&peer, &other_peer, "first");
    other_peer.plug(0, "first").unwrap();
    wait_licence(&two, "the key at the second server", |one| one["Enabled"] == true);
    wait_until(TOKEN_BOUND, "the start of the series", || Ok(host.start_series()?.ok())).unwrap();
    let seat = host.must_take(&server_session(1)).unwrap();
    assert_eq!(seat.used_licence, key["KeyNo"].as_u64());
    host.quit().unwrap();
    wait_licence(&one, "the key gone from the first", |one| one["Enabled"] == false);

    // The centre has it as moved once, onto this token, and as one key.
    let path = format!("/api/keys/{}", key["KeyNo"]);
    let view = vendor.rest().unwrap().get(&path).unwrap();
    let activations = view["Activations"].as_array().unwrap();
    assert_eq!(activations.len(), 2, "{view}");
    assert_eq!(
        (&activations[0]["EndedBy"], &activations[1]["Ended"]),
        (&json!("server"), &Value::Null)
    );
    assert_eq!(activations[1]["BlankKeyNo"], blank_no);
}

/// The licences of a server, once there are so many.
fn wait_licences(server: &Server, count: usize, what: &str) -> Vec<Value> {
    wait_until(TOKEN_BOUND, what, || {
        let all = server.rest().licences()?;
        Ok((all.len() == count).then_some(all))
    })
    .unwrap()
}

/// Carries a token that is in no reader to the other service.
fn carry(from: &TokenPeer, to: &TokenPeer, token: &str) {
    for (from, to) in from.memory(token).iter().zip(to.memory(token)) {
        std::fs::rename(from, &to)
            .or_else(|_| std::fs::copy(from, &to).map(drop))
            .map_err(|why| StageError::io(from, why))
            .unwrap();
    }
}
