use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::thread;

use clap::Parser;
use licence_core::holder::TokenKey;
use licence_token::apdu::Via;

use super::*;
use crate::cli::{Cli, Command};
use crate::commands;

fn key(seed: u8) -> TokenKey {
    let mut point = [seed; 65];
    point[0] = 4;
    TokenKey::from_point(&point).unwrap()
}

fn blank(seed: u8) -> Blank {
    Blank::new(&key(seed), "Nitrokey 3", None, Some("2026-11-22T00:00:00Z".parse().unwrap()))
}

fn place(id: &str, name: &str) -> Place {
    Place { via: Via::Usb, id: id.to_owned(), name: name.to_owned() }
}

fn parsed(line: &str) -> BlankCommand {
    let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
    let Command::Blank(command) = cli.command else { panic!("another command") };
    command
}

fn done(command: BlankCommand, language: Language) -> Result<String, Failure> {
    let mut out = Vec::new();
    let around = Surroundings { language, passphrase: None, out: &mut out };
    commands::run(Command::Blank(command), around)?;
    Ok(String::from_utf8(out).unwrap())
}

#[test]
fn token_is_chosen_by_its_place_its_name_or_because_it_is_alone() {
    let places = [
        place("001-004/1050:0407/", "Yubico YubiKey"),
        place("001-005/20A0:42B2/7", "Nitrokey 3"),
        place("001-006/20A0:42B2/8", "Nitrokey 3"),
    ];
    let chosen = |wanted| choose(&places, wanted).map(|place| place.id.clone());
    assert_eq!(chosen(Some("yubikey")).unwrap(), places[0].id);
    assert_eq!(chosen(Some("001-006/20A0:42B2/8")).unwrap(), places[2].id);
    assert_eq!(chosen(Some("001-005")).unwrap(), places[1].id);
    assert!(matches!(chosen(Some("Solo")), Err(BlankFailure::None)));
    for ambiguous in [None, Some("nitrokey")] {
        assert!(matches!(chosen(ambiguous), Err(BlankFailure::Ambiguous(_))), "{ambiguous:?}");
    }
    assert_eq!(choose(&places[..1], None).unwrap().id, places[0].id);
    assert!(matches!(choose(&[], None), Err(BlankFailure::None)));
}

#[test]
fn list_grows_by_tokens_and_names_each_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("blanks.json");
    let mut list = BlankList::read_or_new(&path).unwrap();
    assert_eq!(list, BlankList::default());
    list.add(blank(1));
    list.add(blank(2));
    list.add(Blank { note: Some("box 7".to_owned()), ..blank(1) });
    list.write(&path).unwrap();
    let read = BlankList::read(&path).unwrap();
    assert_eq!(read, list);
    assert_eq!(read.blanks.len(), 2);
    assert_eq!(read.blanks[0].note.as_deref(), Some("box 7"));
    let text = std::fs::read_to_string(&path).unwrap();
    for member in ["\"Blanks\"", "\"Jwk\"", "\"ShortID\"", "\"BlankKeyNo\"", "\"MadeAt\""] {
        assert!(text.contains(member), "{member}");
    }
}

#[test]
fn list_that_was_changed_by_hand_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("blanks.json");
    let check = |list: &BlankList| {
        list.write(&path).unwrap();
        let error = BlankList::read(&path).unwrap_err();
        assert!(matches!(error, BlankFailure::List { .. }), "{error}");
        assert!(error.russian().contains("список болванок"));
    };
    check(&BlankList { blanks: vec![blank(1), blank(1)] });
    check(&BlankList { blanks: vec![Blank { jwk: key(2).jwk(), ..blank(1) }] });
    check(&BlankList { blanks: vec![Blank { blank_key_no: 7, ..blank(1) }] });
    let mut other = blank(1);
    other.jwk.crv = "P-384".to_owned();
    check(&BlankList { blanks: vec![other] });
    std::fs::write(&path, "[]").unwrap();
    assert!(matches!(BlankList::read(&path), Err(BlankFailure::List { .. })));
    let missing = BlankList::read(&folder.path().join("none"));
    assert!(matches!(missing, Err(BlankFailure::File(_))));
}

#[test]
fn blanks_are_registered_at_the_centre_with_the_vendors_token() {
    let folder = tempfile::tempdir().unwrap();
    let (file, token) = (folder.path().join("blanks.json"), folder.path().join("token"));
    BlankList { blanks: vec![blank(1), blank(2)] }.write(&file).unwrap();
    std::fs::write(&token, "vendor-token\n").unwrap();
    // A stand-in for the centre: one connection, one answer.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let centre = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut reader = BufReader::new(stream);
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
            head.push_str(&line);
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).unwrap();
        let answer = "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\n\
            Content-Length: 21\r\nConnection: close\r\n\r\n{\"Added\":1,\"Known\":1}";
        reader.get_mut().write_all(answer.as_bytes()).unwrap();
        (head, serde_json::from_slice::<serde_json::Value>(&body).unwrap())
    });
    let command = parsed(&format!(
        "licencekit blank register --centre http://{address} --token-file {} {}",
        token.display(),
        file.display()
    ));
    let said = done(command, Language::English).unwrap();
    assert_eq!(said, "registered: 1, known already: 1\n");
    let (head, body) = centre.join().unwrap();
    assert!(head.starts_with("POST /api/blanks HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("Bearer vendor-token"), "{head}");
    assert_eq!(body["Blanks"][0]["Jwk"], serde_json::to_value(key(1).jwk()).unwrap());
    assert_eq!(body["Blanks"][1]["Name"], "Nitrokey 3");
    assert_eq!(body["Blanks"].as_array().unwrap().len(), 2);
}

#[test]
fn nothing_is_prepared_without_a_token_a_key_file_or_a_list_that_can_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("short"), "0102").unwrap();
    std::fs::write(path("broken.json"), "{").unwrap();
    let failure = |line: &str| match done(parsed(line), Language::Russian) {
        Err(Failure::Blank(failure)) => failure,
        other => panic!("{other:?}"),
    };
    let short = format!("licencekit blank prepare --management-key-file {}", path("short"));
    let short = failure(&short);
    assert!(matches!(short, BlankFailure::ManagementKey { .. }));
    assert!(!short.to_string().contains("0102"), "{short}");
    assert!(!short.russian().contains("0102"));
    let broken = format!("licencekit blank prepare --file {}", path("broken.json"));
    assert!(matches!(failure(&broken), BlankFailure::List { .. }));
    let tokens = failure("licencekit blank list --tokens 08E");
    assert!(matches!(tokens, BlankFailure::Tokens(_)), "{tokens}");
}
