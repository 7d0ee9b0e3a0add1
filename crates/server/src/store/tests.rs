//! One suite over both journals, and what only the file can show.

use licence_core::journal::{Record, SavedConnection, SavedSession, Snapshot};
use licence_core::key::{KeyNo, KeySeries};
use licence_core::key_memory::KeyMemory;
use licence_core::protocol::{ConnectionInfo, SessionInfo, Wish};
use licence_core::refusal::HolderName;
use licence_core::session::{ConnectionId, EndReason, SessionId};
use licence_core::time::Utc;
use licence_core::time::term_clock::Doubt;

use super::memory::MemoryJournal;
use super::sqlite::SqliteJournal;
use super::{Journal, Retention, StoreError};
use crate::history::Feed;

fn records() -> Vec<Record> {
    let series = KeySeries::from_u16(0x672B);
    let at = Utc::from_unix_millis(1_522_701_673_272);
    let connection = ConnectionId::from_bytes([1; 16]);
    let session = |number: &str, key_no: Option<u32>| SavedSession {
        series,
        connection,
        info: SessionInfo {
            session_number: number.into(),
            info_base_connection_str: "Srvr=\"s\";Ref=\"Бухгалтерия\";".into(),
            session_started: Some(at),
            ..SessionInfo::default()
        }
        .into(),
        wish: Wish { product_version: Some(3), ..Wish::default() }.into(),
        key_no: key_no.map(KeyNo),
        opened: at,
    };
    let id = |n: u8| SessionId::from_bytes([n; 16]);
    vec![
        Record::UtcSeen(at),
        Record::KeyArrived { key_no: KeyNo(5), series, at },
        Record::ConnectionOpened {
            id: connection,
            connection: SavedConnection {
                series,
                peer: "127.0.0.1".into(),
                info: ConnectionInfo { pid: "8236".into(), ..ConnectionInfo::default() }.into(),
                created: at,
            },
        },
        Record::SessionOpened { id: id(1), session: session("1", Some(5)) },
        Record::SessionOpened { id: id(2), session: session("2", None) },
        Record::SessionMoved {
            id: id(1),
            connection: ConnectionId::from_bytes([9; 16]),
            key_no: Some(KeyNo(6)),
            wish: Wish::default().into(),
            at,
        },
        Record::Denied {
            series,
            session: SessionInfo::default(),
            class: "ENoFreeLicence",
            text: "all in use".into(),
            holders: vec![HolderName {
                session_number: "7".into(),
                user_name: Some("Иванов".into()),
                computer_name: "PC7".into(),
            }],
            peer: "10.0.0.7".into(),
            rule: Some("Гости".into()),
            at,
        },
        Record::SessionClosed { id: id(2), reason: EndReason::Released, at },
        Record::SessionClosed { id: id(7), reason: EndReason::Expired, at },
        Record::UtcSeen(Utc::from_unix_millis(0)),
        Record::ClockDoubted(Some(doubt(1))),
        Record::ClockDoubted(None),
        Record::ClockDoubted(Some(doubt(2))),
        Record::KeyMemory { series, key_no: KeyNo(5), memory: memory("kept"), at },
        Record::KeyMemory { series, key_no: KeyNo(6), memory: memory("wiped"), at },
        Record::KeyMemory { series, key_no: KeyNo(6), memory: KeyMemory::default(), at },
        Record::KeyRemoved { key_no: KeyNo(5), at },
    ]
}

fn doubt(days: u32) -> Doubt {
    let since = Utc::from_unix_millis(1_522_701_673_272);
    Doubt {
        since,
        showed: since.plus_days(days * 100),
        ahead_millis: i64::from(days) * 8_640_000_000,
        stood: std::time::Duration::from_millis(u64::from(days)),
    }
}

fn memory(data: &str) -> KeyMemory {
    KeyMemory { salt: [4; 16], write: Some([5; 32]), data: data.into(), read: None }
}

fn expected() -> Snapshot {
    let mut snapshot = Snapshot::default();
    for record in records() {
        snapshot.apply(&record);
    }
    snapshot
}

fn check(journal: &mut dyn Journal) {
    assert_eq!(journal.load().unwrap(), Snapshot::default());
    let all = records();
    let (first, second) = all.split_at(4);
    journal.commit(first).unwrap();
    journal.commit(second).unwrap();
    assert_eq!(journal.load().unwrap(), expected());
    assert_eq!(expected().sessions.len(), 1);
    // Of a key that was removed too.
    assert_eq!(expected().key_memories.len(), 1);
}

#[test]
fn memory_keeps_what_the_records_add_up_to() {
    check(&mut MemoryJournal::default());
}

#[test]
fn sqlite_keeps_what_the_records_add_up_to() {
    let folder = tempfile::tempdir().unwrap();
    check(&mut SqliteJournal::open(&folder.path().join("j.db"), Retention::default()).unwrap());
}

#[test]
fn reopened_database_gives_the_same_state_and_its_pragmas() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j.db");
    SqliteJournal::open(&path, Retention::default()).unwrap().commit(&records()).unwrap();
    assert_eq!(
        SqliteJournal::open(&path, Retention::default()).unwrap().load().unwrap(),
        expected()
    );
    let db = rusqlite::Connection::open(&path).unwrap();
    let mode: String = db.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
    let denied: i64 = db
        .query_row("SELECT count(*) FROM history WHERE event = 'denied'", [], |row| row.get(0))
        .unwrap();
    assert_eq!(denied, 1);
    let detail: String = db
        .query_row("SELECT detail FROM history WHERE event = 'denied'", [], |row| row.get(0))
        .unwrap();
    let detail: serde_json::Value = serde_json::from_str(&detail).unwrap();
    let holder = serde_json::json!(
        {"SessionNumber": "7", "UserName": "Иванов", "ComputerName": "PC7"}
    );
    assert_eq!(detail["holders"], serde_json::json!([holder]));
    assert_eq!((&detail["peer"], &detail["rule"]), (&"10.0.0.7".into(), &"Гости".into()));
}

#[test]
fn history_beyond_its_bound_goes_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j.db");
    SqliteJournal::open(&path, Retention::default()).unwrap().commit(&records()).unwrap();
    let db = rusqlite::Connection::open(&path).unwrap();
    let rows =
        || -> i64 { db.query_row("SELECT count(*) FROM history", [], |row| row.get(0)).unwrap() };
    let before = rows();
    assert!(before > 1);
    db.execute("INSERT INTO history (no, at, event) VALUES (1000001, 0, 'late')", []).unwrap();
    drop(SqliteJournal::open(&path, Retention::default()).unwrap());
    assert_eq!(rows(), before, "the oldest row gave way to the latest");
}

#[test]
fn database_of_a_later_program_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j.db");
    drop(SqliteJournal::open(&path, Retention::default()).unwrap());
    let db = rusqlite::Connection::open(&path).unwrap();
    db.pragma_update(None, "user_version", 99).unwrap();
    drop(db);
    let result = SqliteJournal::open(&path, Retention::default()).map(|_| ());
    assert!(matches!(result, Err(StoreError::Newer { found: 99, known: 3 })), "{result:?}");
}

#[test]
fn failed_commit_adds_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j.db");
    let mut journal = SqliteJournal::open(&path, Retention::default()).unwrap();
    journal.commit(&records()[..3]).unwrap();
    let before = journal.load().unwrap();
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch(
        "CREATE TRIGGER full BEFORE INSERT ON session BEGIN SELECT RAISE(ABORT, 'disk full'); END",
    )
    .unwrap();
    assert!(journal.commit(&records()).is_err());
    assert_eq!(journal.load().unwrap(), before);
}

/// A journal that hangs until it is told to go on.
struct Hanging {
    go_on: std::sync::mpsc::Receiver<()>,
}

impl Journal for Hanging {
    fn load(&mut self) -> Result<Snapshot, StoreError> {
        Ok(Snapshot::default())
    }

    fn commit(&mut self, _: &[Record]) -> Result<(), StoreError> {
        // Told, or nobody is left to tell: either way the disk goes on.
        let told = self.go_on.recv_timeout(std::time::Duration::from_secs(60));
        assert_ne!(told, Err(std::sync::mpsc::RecvTimeoutError::Timeout));
        Ok(())
    }
}

#[tokio::test]
async fn writer_whose_disk_hangs_is_full_and_takes_turns_again_when_it_goes_on() {
    let (go_on, hanging) = std::sync::mpsc::channel();
    let journal = Box::new(Hanging { go_on: hanging });
    let writer = super::writer::Writer::start(journal, Box::new(|| ()), Feed::default()).unwrap();
    let (sender, answers) = std::sync::mpsc::channel();
    let mut sent = 0;
    while writer.has_room() {
        let sender = sender.clone();
        let release = Box::new(move |is_written| sender.send(is_written).unwrap());
        writer.write(super::writer::Turn { records: records(), release });
        sent += 1;
    }
    assert!(writer.is_busy());
    assert!(answers.try_recv().is_err(), "a reply left before its records were written");
    drop(go_on);
    while !writer.has_room() {
        writer.wait_written().await;
    }
    for _ in 0..sent {
        assert!(answers.recv_timeout(std::time::Duration::from_secs(60)).unwrap());
    }
}
