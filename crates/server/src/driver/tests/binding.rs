//! Keys and their computer over restarts: days of grace that ended while the server was off, and a
//! clock that is doubted.

use licence_core::binding::Standing;
use licence_core::journal::Record;
use licence_core::key::Obstacle;
use licence_core::pool::KeyStatus;
use licence_core::time::term_clock::Doubt;

use super::*;
use crate::store::sqlite::SqliteJournal;

const fn parts(matching: usize) -> Match {
    Match::Parts { matching, total: 7 }
}

/// As seen so many days ago for the first time.
fn changed(matching: usize, days_ago: i64) -> (Match, Changes) {
    let mut changes = Changes::default();
    changes.see(parts(matching), clock::utc().plus_millis(-days_ago * 86_400_000));
    (parts(matching), changes)
}

#[tokio::test]
async fn days_of_grace_go_on_over_a_restart_and_end_as_a_term_does() {
    let folder = tempfile::tempdir().unwrap();
    let own = identity(2);
    put_licence(folder.path(), 1, &licence(1, KeyKind::Main, 2, own.public()));
    let with = |computer| Setup { computer, ..setup(folder.path(), own.clone()) };
    let driver = start(with((parts(7), Changes::default()))).unwrap();
    let connection = connect(&driver.handle).await;
    let session = open(&driver.handle, &connection, 1).await.unwrap().id;
    stop(driver).await;

    let driver = start(with(changed(4, 13))).unwrap();
    let judged = driver.handle.standings().await.unwrap();
    assert!(matches!(judged.keys[0].standing, Standing::Grace { .. }), "{judged:?}");
    assert!(driver.handle.session(session.clone()).await.unwrap().is_some());
    stop(driver).await;

    let driver = start(with(changed(4, 15))).unwrap();
    let judged = driver.handle.standings().await.unwrap();
    assert!(matches!(judged.keys[0].standing, Standing::Over { .. }), "{judged:?}");
    assert!(driver.handle.session(session).await.unwrap().is_none(), "its seat is no more");
    let connection = connect(&driver.handle).await;
    let refused = open(&driver.handle, &connection, 1).await;
    let Err(DriverError::Refused(Refusal::KeyUnusable { status, .. })) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(status, KeyStatus::Kept(Obstacle::HardwareChanged));

    // The part is put back while the server runs.
    let judged = driver.handle.judge_binding(parts(5)).await.unwrap();
    assert_eq!(judged.keys[0].standing, Standing::Fits { more: Some(0) });
    assert_eq!(judged.changes.at(judged.keys[0].binding.level), None);
    open(&driver.handle, &connection, 1).await.unwrap();
    stop(driver).await;
}

#[tokio::test]
async fn additional_key_stops_with_a_main_key_whose_computer_has_changed() {
    let folder = tempfile::tempdir().unwrap();
    let own = identity(2);
    let binding = |document: String, grace_days| {
        let mut claims: LicenceClaims = licence_core::jws::peek(LICENCE_TYP, &document).unwrap();
        claims.binding =
            Some(licence_core::binding::Binding { level: Default::default(), grace_days });
        claims.sign(&series_key()).unwrap()
    };
    let main = binding(licence(1, KeyKind::Main, 1, own.public()), 0);
    let additional = binding(licence(2, KeyKind::Additional, 5, own.public()), 30);
    put_licence(folder.path(), 1, &main);
    put_licence(folder.path(), 2, &additional);
    let driver = start(setup(folder.path(), own.clone())).unwrap();
    assert_eq!(driver.handle.overview().await.unwrap()[0].total, 6);
    driver.handle.judge_binding(parts(4)).await.unwrap();
    assert_eq!(driver.handle.overview().await.unwrap()[0].total, 0);
    let view = driver.handle.licence(KeyNo(2)).await.unwrap().unwrap();
    let why = view.open_error.unwrap();
    assert!(view.workable && why.contains("needs a main key"), "{why}");
    stop(driver).await;
}

#[tokio::test]
async fn doubted_clock_is_found_again_after_a_restart_and_a_fresh_licence_ends_the_doubt() {
    let folder = tempfile::tempdir().unwrap();
    let own = identity(2);
    let now = clock::utc();
    let before = now.plus_millis(-100 * 86_400_000);
    let doubt = Doubt {
        since: before,
        showed: now,
        ahead_millis: 100 * 86_400_000,
        stood: Duration::from_secs(3600),
    };
    let database = folder.path().join("licenceserver.db");
    let mut journal = SqliteJournal::open(&database, Retention::default()).unwrap();
    journal.commit(&[Record::UtcSeen(before), Record::ClockDoubted(Some(doubt))]).unwrap();
    drop(journal);
    let driver = start(setup(folder.path(), own.clone())).unwrap();
    let (believed, found) = driver.handle.believed_time().await.unwrap();
    assert!(believed < now.plus_millis(-99 * 86_400_000), "{believed}");
    assert!(found.unwrap().is_same(&doubt));
    assert!(driver.handle.alive().await.unwrap().clock_doubt.is_some());

    // A licence that was issued long ago says nothing of today; one of just now does.
    let old = licence(1, KeyKind::Main, 1, own.public());
    driver.handle.install(old.clone(), Some(descriptor())).await.unwrap();
    assert!(driver.handle.believed_time().await.unwrap().1.is_some());
    let mut claims: LicenceClaims = licence_core::jws::peek(LICENCE_TYP, &old).unwrap();
    claims.iat = now.unix_seconds();
    let fresh = claims.sign(&series_key()).unwrap();
    driver.handle.install(fresh, None).await.unwrap();
    let (believed, found) = driver.handle.believed_time().await.unwrap();
    assert!(found.is_none() && believed >= now, "{believed}");
    stop(driver).await;
    let driver = start(setup(folder.path(), own)).unwrap();
    assert!(driver.handle.believed_time().await.unwrap().1.is_none());
    stop(driver).await;
}
