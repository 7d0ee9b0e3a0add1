//! Backup and restore over REST: what is in an archive, and which archives are refused.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod support;

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt;
use licence_ismp::book::Given;
use licence_ismp::record::Who;
use licence_ismp::{SessionKey, StoreKey, TokenFormat};
use licenceserver::api;
use licenceserver::backup::archive::{self, Source};
use licenceserver::backup::{BackupError, pending};
use licenceserver::paths::Paths;
use support::{LOCAL, Server, basic, request, start};

async fn download(server: &Server) -> Vec<u8> {
    let answer = api::serve(&server.app, LOCAL, request("GET", "/api/backup", "")).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/x-tar");
    answer.into_body().collect().await.unwrap().to_bytes().to_vec()
}

async fn upload(server: &Server, archive: &[u8]) -> support::Answered {
    let request = hyper::Request::post("/api/restore")
        .header("Authorization", basic("admin:admin"))
        .header("Content-Type", "application/x-tar")
        .body(http_body_util::Full::from(archive.to_vec()))
        .unwrap();
    server.send(LOCAL, request).await
}

/// An archive with a manifest for these members.
fn forged(members: &[(&str, &[u8])]) -> Vec<u8> {
    let listed: Vec<_> = members
        .iter()
        .map(|(name, bytes)| {
            let digest = licence_core::seal::hex_upper(&licence_core::seal::sha256(bytes));
            serde_json::json!({"Name": name, "Bytes": bytes.len(), "SHA256": digest})
        })
        .collect();
    let manifest = serde_json::json!({
        "Format": 1, "Version": "4.0.0", "Made": "2026-11-21T12:00:00Z", "ComputerName": "x",
        "Members": listed
    });
    let mut tar = tar::Builder::new(Vec::new());
    let text = manifest.to_string();
    let parts = [("manifest.json", text.as_bytes())];
    for (name, bytes) in parts.iter().chain(members) {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        // Names that a builder would not take are what is tested here.
        let field = &mut header.as_old_mut().name;
        field[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        tar.append(&header, *bytes).unwrap();
    }
    tar.into_inner().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn backup_of_a_live_server_holds_its_keys_history_and_settings_but_no_session() {
    let server = start("[Common]\nLang=ru\n");
    // The in-process server has no identity file of its own.
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        STANDARD.encode(server.identity.pkcs8())
    );
    std::fs::write(server.app.paths.identity_plain(), pem).unwrap();
    let connection = server.connect().await;
    assert_eq!(server.open(&connection, 1).await.status, 200);
    keep_session_key(&server).await;
    let archive = download(&server).await;
    let holds = |text: &str| archive.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(holds("7707083893") && !holds(SESSION_KEY), "the session key is sealed");

    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::new(dir.path());
    let file = pending::upload(&paths);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, &archive).unwrap();
    let manifest = pending::stage(&paths, &file).unwrap();
    let names: Vec<_> = manifest.members.iter().map(|member| member.name.as_str()).collect();
    for name in [
        "3.0/licence.series",
        "3.0/identity.key",
        "3.0/licenceserver.db",
        "3.0/ismp.store",
        "data/672B.7131766.licence",
    ] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    pending::apply(&paths, "2026-11-21T12:00:00Z".parse().unwrap()).unwrap();
    let db = rusqlite::Connection::open(paths.database()).unwrap();
    let count = |from: &str| -> i64 {
        let sql = format!("SELECT count(*) FROM {from}");
        db.query_row(&sql, [], |row| row.get(0)).unwrap()
    };
    assert_eq!(count("history WHERE event = 'session_opened'"), 1);
    // Who was at work then has gone since, or comes back by a lease.
    assert_eq!((count("session"), count("connection")), (0, 0));
    assert_eq!(count("mark WHERE name = 'restored'"), 1);
    drop(db);
    assert!(paths.keys().join("672B.7131766.licence").is_file());
    // Nothing of the copy stays beside the live database.
    for entry in std::fs::read_dir(server.app.paths.settings()).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        assert!(!name.contains("backup"), "{name}");
    }
    let restored = support::start_in(dir);
    let kept = restored.app.ismp.look().await.unwrap().records;
    let fingerprint = SessionKey::new(SESSION_KEY).unwrap().fingerprint();
    assert_eq!(kept.iter().map(|key| &key.fingerprint).collect::<Vec<_>>(), [&fingerprint]);
    let connection = restored.connect().await;
    let answer = restored.open(&connection, 1).await;
    let class = answer.json()["Exception"].as_str().unwrap_or_default().to_owned();
    assert_eq!((answer.status, &*class), (503, "ERecovering"), "{answer:?}");
}

const SESSION_KEY: &str = "8c2e3c9b-2a7f-4d11-9b8e-61c2a1b8a4b1";

async fn keep_session_key(server: &Server) {
    let key: StoreKey = serde_json::from_value(serde_json::json!({
        "Contour": "production", "TokenType": "ISMP", "Organization": "7707083893",
    }))
    .unwrap();
    let now = licenceserver::clock::utc();
    let given = Given {
        token: SessionKey::new(SESSION_KEY).unwrap(),
        valid_until: now.plus_days(1),
        inn: None,
        format: TokenFormat::Uuid,
        source: licence_ismp::Source::Manual,
        who: Who::default(),
        asked: now,
        warning: None,
    };
    server.app.ismp.change(move |book, _| book.put(&key, given)).await.unwrap().unwrap();
}

fn rcgen_identity() -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("identity.seal");
    licenceserver::identity::Identity::load_or_make(&path).unwrap();
    std::fs::read_to_string(path).unwrap()
}

#[tokio::test]
async fn backup_without_its_series_is_refused() {
    let conf = "[Common]\nSeriesFile=/srv/other.series\n";
    let server = support::start_with(conf, None, &[]);
    let answer = server.call("GET", "/api/backup", "").await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.body.contains("EBackup") && answer.body.contains("SeriesFile"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn good_archive_is_staged_and_the_server_starts_again() {
    let server = start("");
    std::fs::write(server.app.paths.identity(), rcgen_identity()).unwrap();
    let archive = download(&server).await;
    let answer = upload(&server, &archive).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(answer.json()["Restarting"], true);
    assert!(pending::is_pending(&server.app.paths));
    server.app.control.restart_wanted().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn archive_that_is_not_good_is_refused_by_name_and_nothing_is_touched() {
    let server = start("");
    let identity = rcgen_identity();
    std::fs::write(server.app.paths.identity(), &identity).unwrap();
    let good = download(&server).await;
    let mut damaged = good.clone();
    let at = damaged.windows(6).rposition(|part| part == b"SQLite").unwrap();
    damaged[at + 200] ^= 1;
    let key = ("3.0/identity.seal", identity.as_bytes());
    for (what, archive, expected) in [
        ("empty", Vec::new(), "archive"),
        ("no tar", b"hello".repeat(500), "archive"),
        ("cut short", good[..good.len() / 2].to_vec(), "archive"),
        ("damaged", damaged, "licenceserver.db"),
        ("without identity", forged(&[]), "identity.seal"),
        ("no identity", forged(&[("3.0/identity.seal", b"x")]), "identity.seal"),
        ("no plain identity", forged(&[("3.0/identity.key", b"x")]), "identity.key"),
        ("elsewhere", forged(&[key, ("../x.licence", b"x")]), "../x.licence"),
        ("absolute", forged(&[key, ("/etc/x.licence", b"x")]), "x.licence"),
        ("foreign", forged(&[key, ("3.0/other", b"x")]), "3.0/other"),
        (
            "bad settings",
            forged(&[key, ("3.0/licenceserver.conf", b"[Common]\nServerPort=x\n")]),
            "licenceserver.conf",
        ),
        ("bad licence", forged(&[key, ("data/672B.1.licence", b"x")]), "data/672B.1.licence"),
        ("bad database", forged(&[key, ("3.0/licenceserver.db", b"x")]), "licenceserver.db"),
        ("bad session keys", forged(&[key, ("3.0/ismp.store", b"{}")]), "ismp.store"),
        ("bad series", forged(&[key, ("3.0/licence.series", b"x")]), "licence.series"),
        ("twice", forged(&[key, key]), "manifest.json"),
    ] {
        let answer = upload(&server, &archive).await;
        assert_eq!(answer.status, 400, "{what}: {answer:?}");
        assert_eq!(answer.json()["Exception"], "ERestore", "{what}");
        assert!(answer.body.contains(expected), "{what}: {answer:?}");
        assert!(!pending::is_pending(&server.app.paths), "{what}");
    }
    assert_eq!(upload(&server, &good).await.status, 202);
}

#[test]
fn archive_is_written_without_a_running_server_too() {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::new(dir.path());
    std::fs::create_dir_all(paths.settings()).unwrap();
    std::fs::write(paths.identity(), rcgen_identity()).unwrap();
    let source = Source {
        paths,
        series_file: "licence.series".into(),
        computer_name: "x".into(),
        at: "2026-11-21T12:00:00Z".parse().unwrap(),
    };
    let file = dir.path().join("backup.tar");
    archive::write(&source, std::fs::File::create(&file).unwrap()).unwrap();
    let into = dir.path().join("into");
    assert_eq!(archive::unpack(&file, &into).unwrap().members.len(), 1);
    let missing = archive::unpack(Path::new("no such file"), &into);
    assert!(matches!(missing, Err(BackupError::Io { .. })), "{missing:?}");
}
