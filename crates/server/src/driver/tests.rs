//! The driver over real files and a real database: what is answered when, and what survives.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use licence_core::activation::{ActivationCode, CodeKind};
use licence_core::datafile::ObjectAccess;
use licence_core::journal::Record;
use licence_core::key::{Flags, KeyKind};
use licence_core::licence_file::{LICENCE_FORMAT, LICENCE_TYP, LicenceClaims, LicenceFields};
use licence_core::protocol::{
    Connect, ConnectionInfo, Disconnect, Heartbeat, OpenSession, SessionInfo, SessionOpened,
    TouchSession, Wish,
};
use licence_core::rules::RuleSet;
use licence_core::seal::{Jwk, PublicKey};
use licence_core::series::SeriesDescriptor;

use super::*;
use crate::access::Actor;
use crate::store::Retention;
use crate::store::memory::MemoryJournal;

mod binding;
mod cluster;

const SERIES: KeySeries = KeySeries::from_u16(0x672B);

fn series_key() -> SigningKey {
    SigningKey::from_seed(&[1; 32])
}

fn identity(number: u8) -> Arc<SigningKey> {
    Arc::new(SigningKey::from_seed(&[number; 32]))
}

fn descriptor() -> SeriesDescriptor {
    let object = Jwk { crv: "X25519".into(), ..series_key().public().jwk() };
    SeriesDescriptor::new(SERIES, "Тестовая серия".into(), None, series_key().public(), object)
}

fn licence(number: u32, kind: KeyKind, seats: u32, holder: PublicKey) -> String {
    let activated = Utc::from_unix_millis(1_522_443_600_414);
    let fields = LicenceFields {
        version: LICENCE_FORMAT.into(),
        key_no: KeyNo(number),
        key_id: SERIES,
        reg_no: None,
        key_type: kind.code(),
        service_type: 0,
        licence_count: seats,
        product_version: 0,
        blank_key_no: None,
        activation_code: ActivationCode::encode(CodeKind::Activation, SERIES, 1),
        activation_date: activated,
        start_date: None,
        period: 0,
        expire_date: None,
        flags: Flags(0),
        itn: None,
        iec: None,
        product_name: "Тестовая серия".into(),
        article: None,
        article_name: None,
        parameters: Default::default(),
        support: Default::default(),
    };
    LicenceClaims::new("a".into(), activated, holder, fields).sign(&series_key()).unwrap()
}

fn metrics() -> Arc<Metrics> {
    Arc::new(Metrics::new(clock::utc()))
}

fn setup(folder: &Path, identity: Arc<SigningKey>) -> Setup {
    let series_file = folder.join("licence.series");
    std::fs::write(&series_file, serde_json::to_string(&descriptor()).unwrap()).unwrap();
    Setup {
        has_tokens: false,
        cluster: None,
        shared_codes: None,
        metrics: metrics(),
        database: folder.join("licenceserver.db"),
        licences: folder.join("data"),
        series_file,
        rules: folder.join("licence.rules"),
        identity,
        wrap_key: Arc::new(WrapKey::from_secret(&[3; 32])),
        access_codes: BTreeMap::new(),
        keep: Retention::default(),
        computer: (Match::Secret, Changes::default()),
        service: ServiceConfig::default(),
    }
}

fn put_licence(folder: &Path, number: u32, document: &str) {
    std::fs::create_dir_all(folder.join("data")).unwrap();
    let name = format!("672B.{number}.licence");
    std::fs::write(folder.join("data").join(name), document).unwrap();
}

async fn connect(handle: &Handle) -> String {
    let message = Connect { key_id: SERIES, info: ConnectionInfo::default() };
    handle.connect(IpAddr::V4(Ipv4Addr::LOCALHOST), message).await.unwrap().id
}

fn session(connection: &str, number: u32) -> OpenSession {
    OpenSession {
        connection: connection.to_owned(),
        session: SessionInfo {
            session_number: number.to_string(),
            is_server: true,
            info_base_connection_str: "Srvr=\"s\";Ref=\"b\";".into(),
            computer_name: "PC".into(),
            ..SessionInfo::default()
        },
        wish: Wish::default(),
        lease: None,
        language: None,
    }
}

async fn open(
    handle: &Handle,
    connection: &str,
    number: u32,
) -> Result<SessionOpened, DriverError> {
    handle.open(session(connection, number)).await
}

async fn stop(driver: Driver) {
    driver.handle.stop().await;
    assert!(driver.task.await.unwrap());
}

#[tokio::test]
async fn granted_seats_survive_a_restart_and_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let own = identity(2);
    put_licence(folder.path(), 1, &licence(1, KeyKind::Main, 2, own.public()));
    let driver = start(setup(folder.path(), own.clone())).unwrap();
    let connection = connect(&driver.handle).await;
    let first = open(&driver.handle, &connection, 1).await.unwrap();
    let second = open(&driver.handle, &connection, 2).await.unwrap();
    assert!(first.lease.is_some());
    stop(driver).await;

    let driver = start(setup(folder.path(), own)).unwrap();
    let message = Heartbeat {
        connection: connection.clone(),
        sessions: vec![first.id.clone(), second.id, "x".into()],
    };
    let answer = driver.handle.heartbeat(message).await.unwrap();
    assert_eq!(answer.gone.len(), 1);
    assert_eq!(answer.gone[0].reason, "unknown");
    let again = open(&driver.handle, &connection, 1).await.unwrap();
    assert_eq!(again.id, first.id);
    let refused = open(&driver.handle, &connection, 3).await;
    assert!(matches!(refused, Err(DriverError::Refused(Refusal::NoSeatFree { .. }))));
    stop(driver).await;
}

#[tokio::test]
async fn lease_token_gives_a_session_its_id_back_when_the_books_are_lost() {
    let folder = tempfile::tempdir().unwrap();
    let own = identity(2);
    put_licence(folder.path(), 1, &licence(1, KeyKind::Main, 2, own.public()));
    let driver = start(setup(folder.path(), own.clone())).unwrap();
    let connection = connect(&driver.handle).await;
    let granted = open(&driver.handle, &connection, 1).await.unwrap();
    stop(driver).await;
    for name in ["licenceserver.db", "licenceserver.db-wal", "licenceserver.db-shm"] {
        drop(std::fs::remove_file(folder.path().join(name)));
    }

    let driver = start(setup(folder.path(), own)).unwrap();
    let connection = connect(&driver.handle).await;
    let message = OpenSession { lease: granted.lease, ..session(&connection, 1) };
    assert_eq!(driver.handle.open(message).await.unwrap().id, granted.id);
    let forged = OpenSession { lease: Some("a.b.c".into()), ..session(&connection, 2) };
    assert_ne!(driver.handle.open(forged).await.unwrap().id, granted.id);
    stop(driver).await;
}

#[tokio::test]
async fn licence_copied_to_a_server_with_another_identity_is_not_workable() {
    let folder = tempfile::tempdir().unwrap();
    put_licence(folder.path(), 1, &licence(1, KeyKind::Main, 2, identity(2).public()));
    let driver = start(setup(folder.path(), identity(3))).unwrap();
    let view = driver.handle.licence(KeyNo(1)).await.unwrap().unwrap();
    assert!(!view.workable && !view.enabled);
    assert_eq!(driver.handle.documents(SERIES).await.unwrap(), Vec::<String>::new());
    let connection = connect(&driver.handle).await;
    let refused = open(&driver.handle, &connection, 1).await;
    assert!(matches!(refused, Err(DriverError::Refused(Refusal::KeyUnusable { .. }))));
    stop(driver).await;
}

#[tokio::test]
async fn damaged_and_foreign_files_are_shown_with_their_reason() {
    let folder = tempfile::tempdir().unwrap();
    let own = identity(2);
    let good = licence(1, KeyKind::Main, 2, own.public());
    put_licence(folder.path(), 1, &good);
    put_licence(folder.path(), 2, &good.replacen('e', "f", 1));
    put_licence(folder.path(), 3, &good);
    put_licence(folder.path(), 4, &"x".repeat(30_000));
    let driver = start(setup(folder.path(), own)).unwrap();
    let views = driver.handle.licences(None, false).await.unwrap();
    let errors: Vec<_> = views.iter().filter_map(|view| view.open_error.as_deref()).collect();
    assert_eq!(views.len(), 4);
    assert_eq!(errors.len(), 3, "{errors:?}");
    assert!(errors[1].contains("already read"), "{errors:?}");
    assert!(errors[2].contains("larger than"), "{errors:?}");
    assert_eq!(driver.handle.licences(Some(SERIES), true).await.unwrap().len(), 1);
    stop(driver).await;
}

#[tokio::test]
async fn installed_licence_is_on_disk_and_counts_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let own = identity(2);
    let driver = start(setup(folder.path(), own.clone())).unwrap();
    let handle = &driver.handle;
    let main = licence(1, KeyKind::Main, 1, own.public());
    let view = handle.install(main.clone(), Some(descriptor())).await.unwrap();
    assert!(view.enabled && view.workable);
    assert_eq!(std::fs::read_to_string(folder.path().join("data/672B.1.licence")).unwrap(), main);
    let connection = connect(handle).await;
    open(handle, &connection, 1).await.unwrap();
    let counters = handle.counters(connection).await.unwrap();
    assert_eq!((counters.use_licence_count, counters.free_licence_count), (1, 0));

    let elsewhere = licence(2, KeyKind::Main, 1, identity(9).public());
    let refused = handle.install(elsewhere, None).await;
    assert!(matches!(refused, Err(DriverError::Install(InstallError::BoundElsewhere(KeyNo(2))))));
    let demo = licence(3, KeyKind::Demo, 1, own.public());
    let refused = handle.install(demo, None).await;
    assert!(matches!(refused, Err(DriverError::Install(InstallError::DemoBesideOthers(_)))));
    let forged = main.replacen('e', "f", 1);
    assert!(matches!(handle.install(forged, None).await, Err(DriverError::Install(_))));
    stop(driver).await;
}

#[tokio::test]
async fn descriptor_of_another_or_a_damaged_series_is_never_learned() {
    let folder = tempfile::tempdir().unwrap();
    let own = identity(2);
    let setup = setup(folder.path(), own.clone());
    std::fs::remove_file(&setup.series_file).unwrap();
    let series_file = setup.series_file.clone();
    let driver = start(setup).unwrap();
    let handle = &driver.handle;
    let genuine = licence(1, KeyKind::Main, 1, own.public());
    let other = SeriesDescriptor { series: KeySeries::from_u16(0x4BFE), ..descriptor() };
    let mut keyless = descriptor();
    keyless.keys.keys.clear();
    for offered in [other, keyless] {
        let refused = handle.install(genuine.clone(), Some(offered)).await;
        let error = InstallError::SeriesDescriptor(SERIES).to_string();
        assert!(
            matches!(&refused, Err(DriverError::Install(found)) if found.to_string() == error),
            "{refused:?}"
        );
    }
    let forged = genuine.replacen('e', "f", 1);
    assert!(handle.install(forged, Some(descriptor())).await.is_err());
    assert!(!series_file.exists(), "a refused licence taught the server its series");
    handle.install(genuine, Some(descriptor())).await.unwrap();
    assert!(series_file.exists());
    stop(driver).await;
}

#[tokio::test]
async fn key_number_of_another_series_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let own = identity(2);
    put_licence(folder.path(), 1, &licence(1, KeyKind::Main, 2, own.public()));
    let driver = start(setup(folder.path(), own.clone())).unwrap();
    let vendor = SigningKey::from_seed(&[8; 32]);
    let mut claims: LicenceClaims =
        licence_core::jws::peek(LICENCE_TYP, &licence(1, KeyKind::Main, 9, own.public())).unwrap();
    claims.fields.key_id = KeySeries::from_u16(0x4BFE);
    let issued = claims.fields.activation_date;
    let other =
        LicenceClaims::new("b".into(), issued, own.public(), claims.fields).sign(&vendor).unwrap();
    let object = Jwk { crv: "X25519".into(), ..vendor.public().jwk() };
    let offered = SeriesDescriptor::new(
        KeySeries::from_u16(0x4BFE),
        "Другой продукт".into(),
        None,
        vendor.public(),
        object,
    );
    let refused = driver.handle.install(other, Some(offered)).await;
    assert!(
        matches!(refused, Err(DriverError::Install(InstallError::NumberTaken(KeyNo(1), SERIES)))),
        "{refused:?}"
    );
    let kept = driver.handle.licence(KeyNo(1)).await.unwrap().unwrap();
    assert_eq!((kept.key_id, kept.licence_count), (Some(SERIES), 2));
    stop(driver).await;
}

/// A journal that commits when it is told to, and fails when told so.
struct Gate {
    inner: MemoryJournal,
    reached: mpsc::SyncSender<()>,
    open: mpsc::Receiver<bool>,
}

impl Journal for Gate {
    fn load(&mut self) -> Result<Snapshot, StoreError> {
        self.inner.load()
    }

    fn commit(&mut self, records: &[Record]) -> Result<(), StoreError> {
        self.reached.send(()).unwrap();
        match self.open.recv_timeout(Duration::from_secs(60)) {
            Ok(true) => self.inner.commit(records),
            _ => Err(StoreError::Damaged("the test says so".into())),
        }
    }
}

#[tokio::test]
async fn session_or_connection_that_is_over_has_no_access_to_objects_even_before_it_is_swept_away()
{
    for (session_life, connection_life, wanted) in [
        (Duration::ZERO, Duration::from_secs(20), Refusal::SessionNotFound),
        (Duration::from_secs(1000), Duration::ZERO, Refusal::ConnectionNotFound),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let own = identity(2);
        put_licence(folder.path(), 1, &licence(1, KeyKind::Main, 2, own.public()));
        let service = ServiceConfig { session_life, connection_life, ..ServiceConfig::default() };
        let driver = start(Setup { service, ..setup(folder.path(), own) }).unwrap();
        let connection = connect(&driver.handle).await;
        // Whatever has expired already is refused for the same reason.
        let session = open(&driver.handle, &connection, 1).await.map(|opened| opened.id);
        let asked = session.as_deref().unwrap_or("00000000000000000000000000000000");
        let refused = driver
            .handle
            .object_key(&connection, Some(asked), ObjectAccess::Seat)
            .await
            .unwrap_err();
        let DriverError::Refused(refusal) = refused else { panic!("{refused:?}") };
        assert_eq!(refusal, wanted);
        stop(driver).await;
    }
}

fn gated(folder: &Path) -> (Driver, mpsc::Receiver<()>, mpsc::SyncSender<bool>) {
    let own = identity(2);
    put_licence(folder, 1, &licence(1, KeyKind::Main, 2, own.public()));
    let setup = setup(folder, own.clone());
    let keyring =
        Keyring::load(setup.licences, setup.series_file, own.public(), BTreeMap::new()).unwrap();
    let (reached, on_reached) = mpsc::sync_channel(16);
    let (gate, open) = mpsc::sync_channel(16);
    let journal = Box::new(Gate { inner: MemoryJournal::default(), reached, open });
    let driver = start_with(
        Opened {
            keyring,
            journal,
            snapshot: Snapshot::default(),
            rules: RulesFile::open(setup.rules),
        },
        own,
        ServiceConfig::default(),
        metrics(),
        (Match::Secret, Changes::default()),
        None,
    )
    .unwrap();
    (driver, on_reached, gate)
}

#[tokio::test]
async fn answer_leaves_only_after_the_commit() {
    let folder = tempfile::tempdir().unwrap();
    let (driver, reached, gate) = gated(folder.path());
    // The first commit is the calendar's mark.
    gate.send(true).unwrap();
    reached.recv_timeout(Duration::from_secs(60)).unwrap();
    let handle = driver.handle.clone();
    let opening = tokio::spawn(async move { connect(&handle).await });
    tokio::task::spawn_blocking(move || {
        reached.recv_timeout(Duration::from_secs(60)).unwrap();
        reached
    })
    .await
    .unwrap();
    // The commit has begun and hangs: there can be no answer.
    assert!(!opening.is_finished());
    gate.send(true).unwrap();
    assert_eq!(opening.await.unwrap().len(), 32);
    drop(gate);
    driver.handle.stop().await;
    assert!(driver.task.await.unwrap());
}

#[tokio::test]
async fn failed_commit_grants_nothing_and_ends_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let (mut driver, reached, gate) = gated(folder.path());
    reached.recv_timeout(Duration::from_secs(60)).unwrap();
    gate.send(true).unwrap();
    gate.send(false).unwrap();
    let message = Connect { key_id: SERIES, info: ConnectionInfo::default() };
    let answer = driver.handle.connect(IpAddr::V4(Ipv4Addr::LOCALHOST), message).await;
    assert!(matches!(answer, Err(DriverError::Store)), "{answer:?}");
    driver.failed.wait_for(|failed| *failed).await.unwrap();
    // What is in memory is ahead of the disk: nothing that rests on it is granted either.
    let message = Connect { key_id: SERIES, info: ConnectionInfo::default() };
    let again = driver.handle.connect(IpAddr::V4(Ipv4Addr::LOCALHOST), message).await;
    assert!(matches!(again, Err(DriverError::Store)), "{again:?}");
    driver.handle.stop().await;
    assert!(!driver.task.await.unwrap());
    let late = driver.handle.documents(SERIES).await;
    assert!(matches!(late, Err(DriverError::Stopped)));
}

#[tokio::test]
async fn goodbye_and_release_give_the_seats_back() {
    let folder = tempfile::tempdir().unwrap();
    let own = identity(2);
    put_licence(folder.path(), 1, &licence(1, KeyKind::Main, 5, own.public()));
    let driver = start(setup(folder.path(), own)).unwrap();
    let handle = &driver.handle;
    let connection = connect(handle).await;
    let first = open(handle, &connection, 1).await.unwrap();
    open(handle, &connection, 2).await.unwrap();
    open(handle, &connection, 3).await.unwrap();
    let close = TouchSession { connection: connection.clone(), session: first.id.clone() };
    handle.close(close.clone()).await.unwrap();
    let twice = handle.close(close).await;
    assert!(matches!(twice, Err(DriverError::Refused(Refusal::SessionNotFound))));
    assert_eq!(handle.overview().await.unwrap()[0].used, 2);
    let goodbye = Disconnect { connection: connection.clone(), end_sessions: true };
    handle.disconnect(goodbye).await.unwrap();
    assert_eq!(handle.overview().await.unwrap()[0].used, 0);
    assert!(handle.connection(connection).await.unwrap().is_none());
    assert!(handle.session(first.id).await.unwrap().is_none());
    stop(driver).await;
}

#[tokio::test]
async fn second_server_on_the_same_data_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let driver = start(setup(folder.path(), identity(2))).unwrap();
    let second = start(setup(folder.path(), identity(2)));
    assert!(matches!(second, Err(StartError::Lock(LockError::InUse { .. }))), "{second:?}");
    stop(driver).await;
    stop(start(setup(folder.path(), identity(2))).unwrap()).await;
}

#[tokio::test]
async fn damaged_database_is_put_aside_and_leases_bring_the_sessions_back() {
    let folder = tempfile::tempdir().unwrap();
    let own = identity(2);
    put_licence(folder.path(), 1, &licence(1, KeyKind::Main, 2, own.public()));
    let driver = start(setup(folder.path(), own.clone())).unwrap();
    assert_eq!(driver.replaced_database, None);
    let connection = connect(&driver.handle).await;
    let first = open(&driver.handle, &connection, 1).await.unwrap();
    stop(driver).await;
    let database = folder.path().join("licenceserver.db");
    std::fs::write(&database, "not a database any more, whatever it was before").unwrap();

    let driver = start(setup(folder.path(), own.clone())).unwrap();
    let aside = driver.replaced_database.clone().unwrap();
    let name = aside.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with("licenceserver.db.damaged-"), "{name}");
    assert!(std::fs::read_to_string(&aside).unwrap().starts_with("not a database"));
    let connection = connect(&driver.handle).await;
    let message = OpenSession { lease: first.lease, ..session(&connection, 1) };
    assert_eq!(driver.handle.open(message).await.unwrap().id, first.id);
    stop(driver).await;

    let driver = start(setup(folder.path(), own)).unwrap();
    assert_eq!(driver.replaced_database, None);
    assert_eq!(driver.handle.sessions().await.unwrap().len(), 1);
}

#[tokio::test]
async fn clock_before_the_latest_licence_is_not_believed_by_empty_books() {
    let folder = tempfile::tempdir().unwrap();
    let own = identity(2);
    let issued = clock::utc().plus_days(400);
    let document = licence(1, KeyKind::Main, 2, own.public());
    let mut claims: LicenceClaims = licence_core::jws::peek(LICENCE_TYP, &document).unwrap();
    claims.iat = issued.unix_seconds();
    put_licence(folder.path(), 1, &claims.sign(&series_key()).unwrap());
    let driver = start(setup(folder.path(), own)).unwrap();
    let (believed, doubt) = driver.handle.believed_time().await.unwrap();
    assert!(believed.unix_seconds() >= issued.unix_seconds(), "{believed}");
    assert_eq!(doubt, None);
    stop(driver).await;
}

fn guests_only_one() -> RuleSet {
    let text = r#"{"Rules":[{"Name":"one","Effect":"limit","Seats":1,"Computer":"pc"}]}"#;
    RuleSet::from_json(text).unwrap()
}

#[tokio::test]
async fn rules_survive_a_restart_and_count_the_sessions_that_were_restored() {
    let folder = tempfile::tempdir().unwrap();
    let own = identity(2);
    put_licence(folder.path(), 1, &licence(1, KeyKind::Main, 5, own.public()));
    let driver = start(setup(folder.path(), own.clone())).unwrap();
    let connection = connect(&driver.handle).await;
    let first = open(&driver.handle, &connection, 1).await.unwrap();
    driver.handle.set_rules(guests_only_one(), &Actor::server()).await.unwrap();
    stop(driver).await;

    let driver = start(setup(folder.path(), own)).unwrap();
    assert_eq!(driver.handle.rules().await.unwrap(), guests_only_one());
    let refused = open(&driver.handle, &connection, 2).await;
    assert!(matches!(refused, Err(DriverError::Refused(Refusal::LimitByRule { .. }))));
    assert_eq!(open(&driver.handle, &connection, 1).await.unwrap().id, first.id);
    stop(driver).await;
}

#[tokio::test]
async fn broken_file_of_rules_stops_no_server_and_frees_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let own = identity(2);
    put_licence(folder.path(), 1, &licence(1, KeyKind::Main, 5, own.public()));
    let driver = start(setup(folder.path(), own.clone())).unwrap();
    driver.handle.set_rules(guests_only_one(), &Actor::server()).await.unwrap();
    stop(driver).await;
    std::fs::write(folder.path().join("licence.rules"), "{\"Rules\": [").unwrap();

    let driver = start(setup(folder.path(), own)).unwrap();
    let connection = connect(&driver.handle).await;
    open(&driver.handle, &connection, 1).await.unwrap();
    let refused = open(&driver.handle, &connection, 2).await;
    assert!(matches!(refused, Err(DriverError::Refused(Refusal::LimitByRule { .. }))));
    let problem = driver.handle.rules_problem().await.unwrap().unwrap();
    assert!(problem.contains("licence.rules.last"), "{problem}");
    stop(driver).await;
}

#[tokio::test]
async fn rules_that_cannot_be_written_are_not_in_force() {
    let folder = tempfile::tempdir().unwrap();
    let setup = setup(folder.path(), identity(2));
    // A folder in the file's place: nothing can be renamed over it.
    std::fs::create_dir_all(setup.rules.join("x")).unwrap();
    let driver = start(setup).unwrap();
    let refused = driver.handle.set_rules(guests_only_one(), &Actor::server()).await;
    assert!(matches!(refused, Err(DriverError::RulesFile(_))), "{refused:?}");
    assert_eq!(driver.handle.rules().await.unwrap(), RuleSet::default());
    stop(driver).await;
}

#[tokio::test]
async fn server_with_lost_books_makes_strangers_wait_and_takes_leases_back() {
    let folder = tempfile::tempdir().unwrap();
    let own = identity(2);
    put_licence(folder.path(), 1, &licence(1, KeyKind::Main, 1, own.public()));
    let driver = start(setup(folder.path(), own.clone())).unwrap();
    let connection = connect(&driver.handle).await;
    let granted = open(&driver.handle, &connection, 1).await.unwrap();
    stop(driver).await;
    std::fs::write(folder.path().join("licenceserver.db"), "no database at all ".repeat(500))
        .unwrap();

    let driver = start(setup(folder.path(), own)).unwrap();
    assert!(driver.replaced_database.is_some());
    let connection = connect(&driver.handle).await;
    let stranger = open(&driver.handle, &connection, 2).await;
    assert!(matches!(stranger, Err(DriverError::Refused(Refusal::Recovering { .. }))));
    let message = OpenSession { lease: granted.lease, ..session(&connection, 1) };
    assert_eq!(driver.handle.open(message).await.unwrap().id, granted.id);
    stop(driver).await;
}
