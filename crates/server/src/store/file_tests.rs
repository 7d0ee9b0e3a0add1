//! What only a file can show: old versions, what is kept how long, damage, and a disk or folder
//! that does not do its part.

use std::path::Path;
use std::time::Duration;

use licence_core::journal::{Record, SavedConnection, SavedSession};
use licence_core::key::{KeyNo, KeySeries};
use licence_core::key_memory::{KeyMemory, Passwords, SALT_BYTES};
use licence_core::protocol::{ConnectionInfo, SessionInfo, Wish};
use licence_core::session::{ConnectionId, EndReason, SessionId};
use licence_core::time::{DAY_MILLIS, Utc};

use super::sqlite::SqliteJournal;
use super::{Journal, Retention, StoreError, quarantine};

const SERIES: KeySeries = KeySeries::from_u16(0x672B);
const AT: i64 = 1_522_701_673_272;

/// The database of the first release, word for word.
const RELEASE_1: &str = r#"
CREATE TABLE connection (
  id BLOB PRIMARY KEY, series INTEGER NOT NULL, peer TEXT NOT NULL, info TEXT NOT NULL,
  created INTEGER NOT NULL
) WITHOUT ROWID, STRICT;
CREATE TABLE session (
  id BLOB PRIMARY KEY, series INTEGER NOT NULL, connection BLOB NOT NULL, info TEXT NOT NULL,
  wish TEXT NOT NULL, key_no INTEGER, opened INTEGER NOT NULL
) WITHOUT ROWID, STRICT;
CREATE TABLE mark (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID, STRICT;
CREATE TABLE history (
  no INTEGER PRIMARY KEY, at INTEGER NOT NULL, event TEXT NOT NULL, subject TEXT,
  key_no INTEGER, series INTEGER, reason TEXT, detail TEXT
) STRICT;
CREATE INDEX history_at ON history (at);
PRAGMA user_version = 1;
INSERT INTO connection VALUES (x'01010101010101010101010101010101', 26411, '10.0.0.1',
  '{"OSVersion":"","ComputerName":"PC","PID":"8236"}', 1522701673272);
INSERT INTO session VALUES (x'02020202020202020202020202020202', 26411,
  x'01010101010101010101010101010101',
  '{"SessionNumber":"1","IsServer":true,"InfoBaseConnectionStr":"Srvr=\"s\";"}', '{}', 5,
  1522701673272);
INSERT INTO mark VALUES ('utc_seen', 1522701673272);
INSERT INTO history VALUES (7, 1522701673272, 'session_closed',
  '03030303030303030303030303030303', NULL, NULL, 'expired', NULL);
"#;

fn open(path: &Path) -> Result<SqliteJournal, StoreError> {
    SqliteJournal::open(path, Retention::default())
}

fn raw(path: &Path) -> rusqlite::Connection {
    rusqlite::Connection::open(path).unwrap()
}

fn number(path: &Path, sql: &str) -> i64 {
    raw(path).query_row(sql, [], |row| row.get(0)).unwrap()
}

fn text(path: &Path, sql: &str) -> String {
    raw(path).query_row(sql, [], |row| row.get(0)).unwrap()
}

fn utc(millis: i64) -> Utc {
    Utc::from_unix_millis(millis)
}

fn session_opened(id: u8, at: i64) -> Record {
    let session = SavedSession {
        series: SERIES,
        connection: ConnectionId::from_bytes([1; 16]),
        info: SessionInfo {
            session_number: id.to_string(),
            user_name: Some("Иванов \"И\"".into()),
            ..SessionInfo::default()
        }
        .into(),
        wish: Wish::default().into(),
        key_no: Some(KeyNo(5)),
        opened: utc(at),
    };
    Record::SessionOpened { id: SessionId::from_bytes([id; 16]), session }
}

fn session_closed(id: u8, at: i64) -> Record {
    let id = SessionId::from_bytes([id; 16]);
    Record::SessionClosed { id, reason: EndReason::Released, at: utc(at) }
}

fn connection_opened(at: i64) -> Record {
    let connection = SavedConnection {
        series: SERIES,
        peer: "10.0.0.\"1\"".into(),
        info: ConnectionInfo::default().into(),
        created: utc(at),
    };
    Record::ConnectionOpened { id: ConnectionId::from_bytes([1; 16]), connection }
}

fn key_arrived(at: i64) -> Record {
    Record::KeyArrived { key_no: KeyNo(5), series: SERIES, at: utc(at) }
}

fn key_memory(data: &str) -> Record {
    let none = Passwords { read: "", write: "" };
    let memory = KeyMemory::default().written("", data.to_owned()).unwrap();
    let memory = memory
        .with_passwords(none, Passwords { read: "secret", write: "" }, [9; SALT_BYTES])
        .unwrap();
    Record::KeyMemory { series: SERIES, key_no: KeyNo(5), memory, at: utc(AT) }
}

fn peak(span: i64, held: u64) -> Record {
    Record::Peak { series: SERIES, span: utc(span), held, seats: 10 }
}

#[test]
fn database_of_the_first_release_is_brought_to_this_version_with_all_it_holds() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j.db");
    raw(&path).execute_batch(RELEASE_1).unwrap();
    for _ in 0..2 {
        let snapshot = open(&path).unwrap().load().unwrap();
        assert_eq!(snapshot.connections.len(), 1);
        let session = &snapshot.sessions[&SessionId::from_bytes([2; 16])];
        assert_eq!(session.info.info_base_connection_str, "Srvr=\"s\";");
        assert_eq!(session.key_no, Some(KeyNo(5)));
        assert_eq!(snapshot.utc_seen, Some(utc(AT)));
    }
    assert_eq!(number(&path, "PRAGMA user_version"), 3);
    assert_eq!(number(&path, "SELECT no FROM history"), 7);
    let mut journal = open(&path).unwrap();
    journal.commit(&[session_closed(2, AT + 5000), peak(0, 3)]).unwrap();
    assert_eq!(number(&path, "SELECT held FROM peak"), 3);
    assert_eq!(number(&path, "SELECT count(*) FROM session"), 0);
    assert_eq!(
        number(&path, "SELECT json_extract(detail, '$.opened') FROM history WHERE no = 8"),
        AT
    );
}

/// What the second release added to the first one's database, word for word.
const RELEASE_2: &str = r#"
CREATE TABLE peak (
  series INTEGER NOT NULL, at INTEGER NOT NULL, held INTEGER NOT NULL, seats INTEGER NOT NULL,
  PRIMARY KEY (series, at)
) WITHOUT ROWID, STRICT;
DROP INDEX history_at;
CREATE INDEX history_at ON history (at, event, series);
CREATE INDEX history_rare ON history (event) WHERE event NOT IN
  ('connection_closed', 'connection_opened', 'session_closed', 'session_opened');
PRAGMA user_version = 2;
INSERT INTO peak VALUES (26411, 0, 3, 5);
"#;

#[test]
fn database_of_the_second_release_gets_room_for_memories_of_keys_and_keeps_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j.db");
    raw(&path).execute_batch(RELEASE_1).unwrap();
    raw(&path).execute_batch(RELEASE_2).unwrap();
    let mut journal = open(&path).unwrap();
    assert_eq!(number(&path, "PRAGMA user_version"), 3);
    assert_eq!(number(&path, "SELECT held FROM peak"), 3);
    let snapshot = journal.load().unwrap();
    assert_eq!((snapshot.sessions.len(), snapshot.key_memories.len()), (1, 0));
    journal.commit(&[key_memory("kept")]).unwrap();
    assert_eq!(text(&path, "SELECT data FROM key_memory"), "kept");
    drop(journal);
    let snapshot = open(&path).unwrap().load().unwrap();
    let memory = &snapshot.key_memories[&(SERIES, KeyNo(5))];
    assert_eq!(memory.data, "kept");
    assert!(memory.read("").is_err() && memory.read("secret").is_ok());
    let mut journal = open(&path).unwrap();
    let wiped = KeyMemory::default();
    let wiped = Record::KeyMemory { series: SERIES, key_no: KeyNo(5), memory: wiped, at: utc(AT) };
    journal.commit(&[wiped]).unwrap();
    assert_eq!(number(&path, "SELECT count(*) FROM key_memory"), 0);
}

#[test]
fn failed_step_to_a_later_version_leaves_the_file_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j.db");
    raw(&path).execute_batch(RELEASE_1).unwrap();
    raw(&path).execute_batch("CREATE TABLE history_rare (x)").unwrap();
    assert!(matches!(open(&path).map(drop), Err(StoreError::Sqlite(_))));
    assert_eq!(number(&path, "PRAGMA user_version"), 1);
    raw(&path).execute_batch("DROP TABLE history_rare").unwrap();
    drop(open(&path).unwrap());
    assert_eq!(number(&path, "PRAGMA user_version"), 3);
}

#[test]
fn end_of_a_session_tells_the_whole_session() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j.db");
    let mut journal = open(&path).unwrap();
    let records = [
        connection_opened(AT),
        session_opened(2, AT),
        session_closed(2, AT + 9),
        session_closed(3, AT),
    ];
    journal.commit(&records).unwrap();
    let detail: serde_json::Value = serde_json::from_str(&text(
        &path,
        "SELECT detail FROM history WHERE event = 'session_closed' AND subject LIKE '0202%'",
    ))
    .unwrap();
    assert_eq!(detail["opened"], AT);
    assert_eq!(detail["peer"], "10.0.0.\"1\"");
    assert_eq!(detail["info"]["UserName"], "Иванов \"И\"");
    assert_eq!(number(&path, "SELECT key_no FROM history WHERE reason = 'released'"), 5);
    assert_eq!(number(&path, "SELECT series FROM history WHERE reason = 'released'"), 0x672B);
    let unknown = "SELECT count(*) FROM history WHERE subject LIKE '0303%' AND detail IS NULL";
    assert_eq!(number(&path, unknown), 1, "the end of an unknown session is kept too");
}

#[test]
fn peak_of_a_span_only_rises() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j.db");
    let mut journal = open(&path).unwrap();
    journal.commit(&[peak(0, 1), peak(0, 3), peak(300_000, 2), peak(0, 2)]).unwrap();
    journal.commit(&[peak(0, 2)]).unwrap();
    assert_eq!(number(&path, "SELECT held FROM peak WHERE at = 0"), 3);
    assert_eq!(number(&path, "SELECT held FROM peak WHERE at = 300000"), 2);
    assert_eq!(number(&path, "SELECT count(*) FROM peak"), 2);
}

/// The service's hourly word, in a batch with something that happened at that moment.
fn hour(at: i64) -> [Record; 2] {
    [key_arrived(at), Record::UtcSeen(utc(at))]
}

#[test]
fn clock_that_jumps_ahead_and_is_not_believed_makes_no_history_old() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j.db");
    let day = |day: i64| AT + day * 86_400_000;
    let mut journal = SqliteJournal::open(&path, Retention::default()).unwrap();
    journal.commit(&hour(day(0))).unwrap();
    journal.commit(&hour(day(1))).unwrap();
    journal.commit(&[key_arrived(day(20_000)), Record::UtcSeen(utc(day(2)))]).unwrap();
    assert_eq!(number(&path, "SELECT count(*) FROM history"), 3);
}

#[test]
fn what_is_older_than_is_kept_goes_within_the_hour() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j.db");
    let keep = Retention::default();
    let mut journal = SqliteJournal::open(&path, keep.clone()).unwrap();
    let day = |days: i64| AT + days * DAY_MILLIS;
    let old = [key_arrived(day(0)), key_arrived(day(5)), peak(day(0), 1), peak(day(5), 1)];
    journal.commit(&old).unwrap();
    let rows = || number(&path, "SELECT count(*) FROM history");
    let peaks = || number(&path, "SELECT count(*) FROM peak");
    journal.commit(&hour(day(100))).unwrap();
    assert_eq!((rows(), peaks()), (3, 2), "400 days are kept");
    keep.set_days(96);
    assert_eq!((rows(), peaks()), (3, 2));
    journal.commit(&[Record::UtcSeen(utc(day(100)))]).unwrap();
    assert_eq!((rows(), peaks()), (3, 2), "the latest moment ever seen is not the clock");
    journal.commit(&hour(day(100))).unwrap();
    assert_eq!((rows(), peaks()), (3, 1), "the setting is in force at once");
    assert_eq!(number(&path, "SELECT max(no) FROM history"), 4);
}

#[test]
fn clock_that_is_years_ahead_for_an_hour_takes_a_day_away_at_most() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j.db");
    let keep = Retention::default();
    keep.set_days(30);
    let mut journal = SqliteJournal::open(&path, keep.clone()).unwrap();
    let day = |days: i64| AT + days * DAY_MILLIS;
    for days in 0..30 {
        journal.commit(&[key_arrived(day(days))]).unwrap();
    }
    let old = || number(&path, &format!("SELECT count(*) FROM history WHERE at < {}", day(31)));
    journal.commit(&hour(day(30))).unwrap();
    assert_eq!(old(), 31);
    journal.commit(&hour(day(5000))).unwrap();
    assert_eq!(old(), 30, "one step");
    journal.commit(&hour(day(30))).unwrap();
    assert_eq!(old(), 31, "back in time, nothing more goes");
    drop(journal);
    drop(SqliteJournal::open(&path, keep).unwrap());
    assert_eq!(old(), 31, "nor at a start");
}

#[test]
fn damage_met_while_running_is_looked_for_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j.db");
    drop(open(&path).unwrap());
    super::schema::suspect(&path);
    let suspicion = path.with_extension("suspect");
    assert!(suspicion.exists());
    // Not closed in good order, or nothing would be looked at.
    let db = rusqlite::Connection::open(&path).unwrap();
    super::schema::set_clean(&db, false).unwrap();
    drop(db);
    drop(open(&path).unwrap());
    assert!(!suspicion.exists());
}

/// Damages a copy of a good database and says what opening it gives.
fn damaged(damage: impl FnOnce(&mut Vec<u8>)) -> StoreError {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j.db");
    let mut journal = open(&path).unwrap();
    for id in 0..=255 {
        journal.commit(&[session_opened(id, AT)]).unwrap();
    }
    drop(journal);
    // As if the machine had lost power.
    raw(&path).execute("UPDATE mark SET value = 0 WHERE name = 'clean'", []).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    assert!(bytes.len() > 100_000);
    damage(&mut bytes);
    std::fs::write(&path, bytes).unwrap();
    let outcome = open(&path).and_then(|mut journal| journal.load());
    outcome.expect_err("a damaged database was opened")
}

#[test]
fn damage_is_found_when_the_database_is_opened() {
    let half = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() / 2);
    let page = |bytes: &mut Vec<u8>| bytes[40_960..45_056].fill(0xA5);
    let all = |bytes: &mut Vec<u8>| bytes.fill(b'x');
    let head = |bytes: &mut Vec<u8>| bytes.truncate(50);
    for (what, error) in [
        ("cut in half", damaged(half)),
        ("a page overwritten", damaged(page)),
        ("overwritten", damaged(all)),
        ("cut in its head", damaged(head)),
    ] {
        assert!(matches!(error, StoreError::Damaged(_)), "{what}: {error:?}");
        assert!(error.to_string().starts_with("the database is damaged: "), "{what}: {error}");
    }
}

#[test]
fn run_that_ended_in_good_order_is_told_from_one_that_did_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j.db");
    let journal = open(&path).unwrap();
    let clean = || number(&path, "SELECT value FROM mark WHERE name = 'clean'");
    assert_eq!(clean(), 0);
    drop(journal);
    assert_eq!(clean(), 1);
    let mut journal = open(&path).unwrap();
    raw(&path).execute_batch("DROP TABLE peak").unwrap();
    assert!(journal.commit(&[peak(0, 1)]).is_err());
    drop(journal);
    assert_eq!(clean(), 0, "a commit failed");
}

#[test]
fn damaged_database_is_put_aside_with_its_log_and_never_over_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("licenceserver.db");
    let at = "2026-03-04T05:06:07.890Z".parse().unwrap();
    for suffix in ["", "-1"] {
        for part in ["", "-wal"] {
            std::fs::write(folder.path().join(format!("licenceserver.db{part}")), suffix).unwrap();
        }
        let aside = quarantine(&path, at).unwrap();
        let name = format!("licenceserver.db.damaged-20260304-050607{suffix}");
        assert_eq!(aside, folder.path().join(&name));
        assert_eq!(std::fs::read_to_string(&aside).unwrap(), suffix);
        assert!(folder.path().join(format!("{name}-wal")).exists());
        assert!(!path.exists());
    }
}

#[test]
fn database_that_another_program_keeps_locked_is_said_to_be() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j.db");
    drop(open(&path).unwrap());
    let other = raw(&path);
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let outcome =
        SqliteJournal::open_within(&path, Retention::default(), Duration::from_millis(20));
    let error = outcome.map(drop).unwrap_err();
    assert!(matches!(error, StoreError::Locked(_)), "{error:?}");
    assert_eq!(error.to_string(), "another program keeps the database locked");
    other.execute_batch("ROLLBACK").unwrap();
    drop(open(&path).unwrap());
}

#[test]
fn place_that_cannot_be_written_is_said_to_be() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().to_owned(), folder.path().join("missing").join("j.db")] {
        let error = open(&path).map(drop).unwrap_err();
        assert!(matches!(error, StoreError::NotWritable(_)), "{error:?}");
    }
}

#[cfg(unix)]
#[test]
fn read_only_database_is_said_to_be() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j.db");
    drop(open(&path).unwrap());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o444)).unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o555)).unwrap();
    // The superuser may write all the same.
    let may_write = std::fs::write(folder.path().join("probe"), "").is_ok();
    let outcome = open(&path).map(drop);
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    match outcome {
        Ok(()) => assert!(may_write),
        Err(error) => assert!(matches!(error, StoreError::NotWritable(_)), "{error:?}"),
    }
}

#[test]
fn full_disk_refuses_a_batch_whole_and_the_next_one_is_written_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("j.db");
    let mut journal = open(&path).unwrap();
    journal.commit(&[session_opened(1, AT)]).unwrap();
    let before = journal.load().unwrap();
    journal.limit_pages(number(&path, "PRAGMA page_count")).unwrap();
    let many: Vec<Record> = (2..=255).map(|id| session_opened(id, AT)).collect();
    let error = journal.commit(&many).unwrap_err();
    assert!(matches!(error, StoreError::Full(_)), "{error:?}");
    assert_eq!(error.to_string(), "the disk is full, the database cannot grow");
    assert_eq!(journal.load().unwrap(), before);
    drop(journal);
    let mut journal = open(&path).unwrap();
    journal.commit(&many).unwrap();
    assert_eq!(journal.load().unwrap().sessions.len(), 255);
}

#[test]
fn every_failure_of_sqlite_has_its_own_text() {
    for (code, expected) in [
        (rusqlite::ffi::SQLITE_BUSY, "another program keeps the database locked"),
        (rusqlite::ffi::SQLITE_FULL, "the disk is full, the database cannot grow"),
        (rusqlite::ffi::SQLITE_READONLY, "the database or its folder cannot be opened for writing"),
        (rusqlite::ffi::SQLITE_CANTOPEN, "the database or its folder cannot be opened for writing"),
        (rusqlite::ffi::SQLITE_MISUSE, "the database cannot be used"),
    ] {
        let error = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
        assert_eq!(StoreError::from(error).to_string(), expected);
    }
}
