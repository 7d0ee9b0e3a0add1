//! Who cannot open a protected object: nobody without a seat, nobody with a seat of another series,
//! nobody at a server without the key, nobody after one byte was changed, nobody who listens.
//!
//! Through the real component against a real server. Where an attacker is given more than they
//! have (the vendor's signature, another vendor's secret), the test says so.

#![expect(clippy::unwrap_used, reason = "a step that fails ends the test")]

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use licence_core::datafile::{Datafile, MAGIC, ObjectEntry};
use licence_core::jws;
use licence_core::key::KeySeries;
use licence_core::licence_file::LICENCE_TYP;
use licencekit::passphrase::Passphrase;
use licencekit::secret::SeriesSecret;
use serde_json::{Map, Value, json};
use xtask::demo::server_session;
use xtask::stage::{
    Computer, HostProcess, Order, Recorder, Refused, SERIES, Said, Server, Stage, Vendor, player,
    wait_until, word,
};

/// The other vendor's series, or the vendor's other one.
const OTHER: &str = "7F31";

/// A line that stands in every protected object here, and nowhere else.
const MARK: &str = "Процедура ТайнаяФормула() Экспорт // 5f1e0c3a";

const NAME: &str = "Формула";

/// A heartbeat (10 s) tells the component that its session is over; room for a busy machine.
const TOLD_BOUND: Duration = Duration::from_secs(40);

struct Site {
    stage: Stage,
    vendor: Vendor,
    server: Server,
    computer: Computer,
    packed: Vec<u8>,
    /// Opened at most once: the passphrase costs seconds, by intention.
    secrets: [OnceLock<SeriesSecret>; 2],
}

/// A server with a main key and the vendor's data file.
fn site(seats: u32) -> Site {
    let stage = Stage::temporary().unwrap();
    let vendor = Vendor::start_with(&stage, &[(OTHER, "Другой продукт")]).unwrap();
    let server = Server::start(&stage, "server", &vendor, 0).unwrap();
    server.activate(&stage, &vendor, Order { kind: "main", seats }).unwrap();
    let computer = stage.computer("computer", &vendor, &[server.port()]).unwrap();
    let packed = packed(&stage, &vendor, SERIES);
    server.put_datafile(None, &packed).unwrap();
    Site { stage, vendor, server, computer, packed, secrets: Default::default() }
}

/// A data file with one object for each access: `Формула`, `ФормулаПросмотра`, `ФормулаКлюча`.
fn packed(stage: &Stage, vendor: &Vendor, series: &str) -> Vec<u8> {
    let mut sources = Vec::new();
    for name in [NAME, "ФормулаПросмотра", "ФормулаКлюча"] {
        let path = stage.root().join(format!("{name}.epf"));
        std::fs::write(&path, content(name)).unwrap();
        sources.push(path);
    }
    let sources: Vec<_> = sources.iter().map(PathBuf::as_path).collect();
    let access = ["--access", "ФормулаПросмотра=presence", "--access", "ФормулаКлюча=key"];
    vendor.pack(stage, series, &sources, &access).unwrap()
}

fn content(name: &str) -> Vec<u8> {
    format!("{name}\n{MARK}\n").repeat(50).into_bytes()
}

impl Site {
    fn process(&self, name: &str, computer: &Computer) -> HostProcess {
        let mut host = HostProcess::start(&self.stage, name, computer).unwrap();
        host.create().unwrap();
        host
    }

    /// A 1C process that has started the series for this session.
    fn session(&self, name: &str, number: u32) -> HostProcess {
        let mut host = self.process(name, &self.computer);
        host.start_series().unwrap().unwrap();
        set_session(&mut host, number);
        host
    }

    fn open(&self, host: &mut HostProcess, name: &str) -> Result<Vec<u8>, Refused> {
        host.object_data(name, &self.stage.root().join("scratch")).unwrap()
    }

    /// The object is refused, and with a class.
    fn must_not_open(&self, host: &mut HostProcess, name: &str, why: &str) -> Refused {
        let scratch = self.stage.root().join("scratch");
        drop(std::fs::remove_file(&scratch));
        let refused = self.open(host, name).expect_err(why);
        assert!(!scratch.exists(), "{why}");
        assert!(!refused.class.is_empty(), "{why}: {refused:?}");
        assert!(refused.text.starts_with(&format!("({})", refused.class)), "{why}: {refused:?}");
        refused
    }

    /// As [`Self::must_not_open`], and the object is not even prepared: a session that has no right
    /// to it must not go on with what 1C has created of it before.
    fn must_not_prepare(&self, host: &mut HostProcess, name: &str, why: &str) -> Refused {
        let prepared = host.call("ПодготовитьОбъект", &[word(name)]).unwrap();
        assert_eq!(prepared, Said::Empty, "{why}");
        self.must_not_open(host, name, why)
    }

    fn secret(&self, series: &str) -> &SeriesSecret {
        self.secrets[usize::from(series == OTHER)].get_or_init(|| {
            let passphrase = Passphrase::find(Some(&self.vendor.passphrase_file()), None).unwrap();
            let sealed = std::fs::read(self.vendor.cryptkey_of(series)).unwrap();
            SeriesSecret::open(&sealed, &passphrase).unwrap()
        })
    }

    fn read(&self, series: &str, file: &[u8]) -> Datafile {
        let key = self.secret(series).signing_key().public();
        Datafile::read(file, file.len() as u64, number(series), &key).unwrap()
    }

    /// The data file with its list changed and signed anew by `signer`, which only the vendor of
    /// that series can do.
    fn signed_anew(
        &self,
        file: &[u8],
        signer: &str,
        change: impl FnOnce(&mut ObjectEntry),
    ) -> Vec<u8> {
        let Datafile { mut list, body_offset, .. } = self.read(SERIES, file);
        change(&mut list.objects[0]);
        list.key_id = number(signer);
        list.iss = format!("urn:licence-series:{signer}");
        let token = list.sign(&self.secret(signer).signing_key()).unwrap();
        let body = &file[usize::try_from(body_offset).unwrap()..];
        [MAGIC, token.as_bytes(), b"\n", body].concat()
    }

    fn load(&self, host: &mut HostProcess, alias: &str, file: &[u8]) -> Result<(), Refused> {
        let path = self.stage.root().join("template.datafile");
        std::fs::write(&path, file).unwrap();
        let values = [format!("f:{}", path.display()), word(alias), "b:1".to_owned()];
        host.call_truth("ЗагрузитьМакет", &values).unwrap()
    }
}

fn number(series: &str) -> KeySeries {
    series.parse().unwrap()
}

fn set_session(host: &mut HostProcess, number: u32) {
    let session = word(&serde_json::to_string(&server_session(number)).unwrap());
    host.call_truth("УстановитьСеанс", &[session]).unwrap().unwrap();
}

fn set_wish(host: &mut HostProcess, wish: &Value) {
    host.call_truth("УстановитьУсловия", &[word(&wish.to_string())]).unwrap().unwrap();
}

/// Another letter of base64url in the place of one in the middle.
fn other_letter(text: &mut String) {
    let middle = text.len() / 2;
    let other = if text.as_bytes()[middle] == b'A' { "B" } else { "A" };
    text.replace_range(middle..=middle, other);
}

#[test]
fn object_is_not_opened_without_a_seat() {
    let site = site(1);
    let mut holder = site.session("holder", 1);
    assert_eq!(site.open(&mut holder, NAME).unwrap(), content(NAME));

    let mut late = site.session("late", 2);
    let refused = site.must_not_prepare(&mut late, NAME, "there is one seat, and it is taken");
    assert!(refused.class.starts_with("EServerResult."), "{refused:?}");
    // What asks for a seat's presence only, or for a key alone, needs no seat.
    let key = site.open(&mut late, "ФормулаКлюча").unwrap();
    assert_eq!(key, content("ФормулаКлюча"));
    set_wish(&mut late, &json!({ "PresenceOnly": true }));
    let presence = site.open(&mut late, "ФормулаПросмотра").unwrap();
    assert_eq!(presence, content("ФормулаПросмотра"));
    site.must_not_prepare(&mut late, NAME, "a session for presence only holds no seat");

    // No session at all.
    let mut nobody = site.process("nobody", &site.computer);
    nobody.start_series().unwrap().unwrap();
    site.must_not_prepare(&mut nobody, NAME, "nobody said whose session it is");

    // The seat that is given back opens nothing any more here, and everything there.
    holder.call_truth("ОсвободитьЛицензию", &[]).unwrap().unwrap();
    set_wish(&mut late, &json!({}));
    assert_eq!(site.open(&mut late, NAME).unwrap(), content(NAME));
    site.must_not_prepare(&mut holder, NAME, "its seat is another's by now");
    for host in [holder, late, nobody] {
        host.quit().unwrap();
    }
}

#[test]
fn session_that_an_administrator_ends_opens_nothing_any_more() {
    let site = site(1);
    let mut first = site.session("first", 1);
    assert_eq!(site.open(&mut first, NAME).unwrap(), content(NAME));
    let id = site.server.rest().sessions().unwrap()[0]["ID"].as_str().unwrap().to_owned();
    let ended = site.server.rest().try_delete(&format!("/api/sessions/{id}")).unwrap();
    assert_eq!(ended.status, 202, "{ended:?}");
    let mut second = site.session("second", 2);
    second.must_take(&server_session(2)).unwrap();
    wait_until(TOLD_BOUND, "the end of the session at the component", || {
        Ok(site.open(&mut first, NAME).is_err().then_some(()))
    })
    .unwrap();
    site.must_not_prepare(&mut first, NAME, "the session was ended, its seat is another's");
    for host in [first, second] {
        host.quit().unwrap();
    }
}

/// The vendor of series 7F31 has the data file of 672B, as everybody has, and their own key.
#[test]
fn seat_of_another_series_opens_nothing() {
    let mut site = site(2);
    // The server and the computer know both series, and the server has a key of each.
    let both = json!([
        serde_json::from_slice::<Value>(&std::fs::read(site.vendor.series_file()).unwrap())
            .unwrap(),
        serde_json::from_slice::<Value>(&std::fs::read(site.vendor.series_file_of(OTHER)).unwrap())
            .unwrap(),
    ])
    .to_string();
    std::fs::write(site.server.data().join("3.0/licence.series"), &both).unwrap();
    std::fs::write(site.stage.root().join("computer/common/licence.series"), &both).unwrap();
    site.server.stop().unwrap();
    site.server.restart(&site.stage).unwrap();
    let order = Order { kind: "main", seats: 2 };
    let code = site.vendor.order_of(&site.stage, OTHER, order, &[]).unwrap();
    site.server.rest().activate(&code).unwrap();

    let mut host = site.process("host", &site.computer);
    host.call_truth("Запуск", &[word(OTHER)]).unwrap().unwrap();
    set_session(&mut host, 1);
    host.call_json("ЗанятьЛицензию", &[]).unwrap().unwrap();
    site.must_not_open(&mut host, NAME, "the server's data file is of series 672B");

    let refused = site
        .load(&mut host, "Чужие", &site.packed)
        .and_then(|()| site.open(&mut host, &format!("Чужие.{NAME}")).map(drop));
    assert!(refused.is_err(), "the list of 672B counts as one of {OTHER}");

    // The vendor of 7F31 signs the wrapped keys and ciphertexts of 672B as their own.
    let stolen = site.signed_anew(&site.packed, OTHER, |_| ());
    let refused = site
        .load(&mut host, "Краденые", &stolen)
        .and_then(|()| site.open(&mut host, &format!("Краденые.{NAME}")).map(drop));
    assert!(refused.is_err(), "the server unwrapped a key of 672B for a seat of {OTHER}");
    // The other series' own objects open all the same.
    let own = packed(&site.stage, &site.vendor, OTHER);
    site.load(&mut host, "Свои", &own).unwrap();
    assert_eq!(site.open(&mut host, &format!("Свои.{NAME}")).unwrap(), content(NAME));
    host.quit().unwrap();
}

#[test]
fn server_without_the_key_of_the_series_opens_nothing() {
    let mut site = site(2);
    let file = site.server.licence_file().unwrap();
    site.server.stop().unwrap();
    // As a licence from before there were object keys: the vendor's signature over the same claims
    // but one.
    let key = site.secret(SERIES).signing_key();
    let document = std::fs::read_to_string(&file).unwrap();
    let mut claims: Map<String, Value> =
        jws::verify(LICENCE_TYP, document.trim(), &key.public()).unwrap();
    assert!(claims.remove("ObjectKey").is_some(), "the licence has no object key: {claims:?}");
    std::fs::write(&file, jws::sign(LICENCE_TYP, &claims, &key).unwrap()).unwrap();
    site.server.restart(&site.stage).unwrap();

    let mut host = site.session("host", 1);
    host.call_json("ЗанятьЛицензию", &[]).unwrap().unwrap();
    let refused = site.must_not_open(&mut host, NAME, "the server has no object key");
    assert_eq!(refused.class, "EServerResult.EObjectKey", "{refused:?}");
    site.load(&mut host, "Макет", &site.packed).unwrap();
    site.must_not_open(&mut host, &format!("Макет.{NAME}"), "the same from a template");
    // The seat is none the worse for it.
    assert!(host.must_take(&server_session(1)).unwrap().confirmed);

    // With the licence as the centre gave it, the same process opens the object.
    site.server.stop().unwrap();
    std::fs::write(&file, &document).unwrap();
    site.server.restart(&site.stage).unwrap();
    host.start_series().unwrap().unwrap();
    assert_eq!(site.open(&mut host, NAME).unwrap(), content(NAME));
    host.quit().unwrap();
}

#[test]
fn one_changed_byte_anywhere_closes_the_object() {
    let site = site(2);
    let genuine = site.read(SERIES, &site.packed);
    let ciphertext = usize::try_from(genuine.range(&genuine.list.objects[0]).start).unwrap();
    let flipped = |at: usize| {
        let mut file = site.packed.clone();
        file[at] ^= 1;
        file
    };
    let list = MAGIC.len() + genuine.token.len() / 2;
    let signature = MAGIC.len() + genuine.token.rfind('.').unwrap() + 10;
    let last = site.packed.len() - 1;
    let changed = [
        ("the first line", flipped(3)),
        ("the list", flipped(list)),
        ("the signature of the list", flipped(signature)),
        ("the first byte of the ciphertext", flipped(ciphertext)),
        ("the middle of the ciphertext", flipped(ciphertext + content(NAME).len() / 2)),
        ("the tag", flipped(ciphertext + content(NAME).len() + 3)),
        ("the end, cut off", site.packed[..last].to_vec()),
        ("the end, with more behind it", [&site.packed[..], b"x"].concat()),
        // From here on with the vendor's own signature over the changed list.
        (
            "the wrapped key",
            site.signed_anew(&site.packed, SERIES, |object| other_letter(&mut object.key)),
        ),
        (
            "the name",
            site.signed_anew(&site.packed, SERIES, |object| object.name = "Формулы".to_owned()),
        ),
        (
            "the access",
            site.signed_anew(&site.packed, SERIES, |object| {
                object.access = licence_core::datafile::ObjectAccess::Key;
            }),
        ),
        (
            "the digest",
            site.signed_anew(&site.packed, SERIES, |object| {
                let other = if object.digest.starts_with('0') { "1" } else { "0" };
                object.digest.replace_range(..1, other);
            }),
        ),
    ];
    // On the server's disk, where the attacker writes: each under an alias of its own, before anybody
    // asks for any.
    for (at, (_, file)) in changed.iter().enumerate() {
        site.server.put_datafile(Some(&format!("Копия{at}")), file).unwrap();
    }
    site.server.put_datafile(Some("Целая"), &site.packed).unwrap();

    let mut host = site.session("host", 1);
    host.call_json("ЗанятьЛицензию", &[]).unwrap().unwrap();
    for (at, (what, file)) in changed.iter().enumerate() {
        let name = if *what == "the name" { "Формулы" } else { NAME };
        let refused = site.must_not_open(&mut host, &format!("Копия{at}.{name}"), what);
        assert_ne!(refused.class, "EObjectNotFound", "{what}: nobody looked: {refused:?}");
        // In a template, which the attacker hands to the component.
        let refused = site
            .load(&mut host, "Макет", file)
            .and_then(|()| site.open(&mut host, &format!("Макет.{name}")).map(drop));
        let refused = refused.expect_err(what);
        assert_ne!(refused.class, "EObjectNotFound", "{what}: nobody looked: {refused:?}");
    }
    // The genuine file serves after all of it.
    assert_eq!(site.open(&mut host, &format!("Целая.{NAME}")).unwrap(), content(NAME));
    host.quit().unwrap();
}

#[test]
fn recorded_exchange_opens_nothing_and_shows_nothing() {
    let site = site(2);
    let recorder = Recorder::start(site.server.port()).unwrap();
    let computer = site.stage.computer("witness", &site.vendor, &[recorder.port()]).unwrap();
    let mut witness = site.process("witness", &computer);
    witness.start_series().unwrap().unwrap();
    set_session(&mut witness, 1);
    assert_eq!(site.open(&mut witness, NAME).unwrap(), content(NAME));
    let tapes = recorder.tapes();
    let heard: usize = tapes.iter().map(|tape| tape.server.len()).sum();
    assert!(heard > content(NAME).len(), "the object did not come over the wire: {heard} bytes");
    for needle in [MARK, "ТайнаяФормула", "ObjectKey"] {
        for tape in &tapes {
            for said in [&tape.client, &tape.server] {
                assert!(
                    !said.windows(needle.len()).any(|window| window == needle.as_bytes()),
                    "{needle} can be read on the wire"
                );
            }
        }
    }

    // A server of recorded bytes.
    let tape = recorder.longest();
    let port = player(tape.server.clone()).unwrap();
    let computer = site.stage.computer("victim", &site.vendor, &[port]).unwrap();
    let mut victim = site.process("victim", &computer);
    victim.start_series().unwrap().expect_err("the recorded server was believed");
    set_session(&mut victim, 1);
    site.must_not_open(&mut victim, NAME, "the recorded server handed out an object");

    // A component of recorded bytes: the genuine server answers it with no more than an alert.
    let answer = replayed(site.server.port(), &tape.client);
    assert!(answer.len() < 4096, "the server answered {} bytes to a replay", answer.len());
    assert_eq!(site.server.rest().sessions().unwrap().len(), 1, "the witness' session alone");

    // The same bytes again while the witness' connection still lives change nothing for it.
    assert_eq!(site.open(&mut witness, NAME).unwrap(), content(NAME));
    for host in [witness, victim] {
        host.quit().unwrap();
    }
}

/// Says recorded bytes to a server and gives all that it answers until it hangs up.
fn replayed(port: u16, said: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket.set_read_timeout(Some(TOLD_BOUND)).unwrap();
    // The server may hang up before it has heard all.
    drop(socket.write_all(said));
    drop(socket.shutdown(Shutdown::Write));
    let mut answer = Vec::new();
    drop(socket.read_to_end(&mut answer));
    answer
}
