//! A million sessions in one process: the state machine alone, its memory and its times.
//!
//! Runs as a process of its own, so that the memory is that of the sessions and of nothing else.

use std::time::Duration;

use licence_core::journal::Snapshot;
use licence_core::key::{KeyKind, KeyNo, KeySeries, ProtectionKey, Term};
use licence_core::protocol::{ConnectionInfo, SessionInfo, Wish};
use licence_core::service::{
    Effect, Event, LeasedSeat, LicenceService, Reply, RequestId, ServiceConfig,
};
use licence_core::session::{ConnectionId, SessionId};
use licence_core::time::{MonoTime, Now, Utc};
use serde::{Deserialize, Serialize};

use super::proc;
use crate::clock;
use crate::stage::StageError;

/// How many sessions.
pub(super) const SESSIONS: u32 = 1_000_000;

/// Sessions of one connection.
const SESSIONS_PER_CONNECTION: u32 = 100;

const SERIES: KeySeries = KeySeries::from_u16(0x672B);

/// What it came to.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(super) struct MillionResult {
    /// Sessions with a seat at the end.
    pub(super) held: u32,
    /// Resident memory before the first and after the last, in KiB.
    pub(super) resident_kib: (u64, u64),
    /// Mean of opening one, in nanoseconds.
    pub(super) open_nanos: u64,
    /// Mean of a heartbeat of 100 of them, in nanoseconds.
    pub(super) heartbeat_nanos: u64,
    /// Taking them all up again as after a restart, in milliseconds; reading the disk is not in it.
    pub(super) restore_millis: u64,
}

/// Opens [`SESSIONS`] sessions in this process.
///
/// # Errors
///
/// When one of them gets no seat, or the kernel does not tell the memory.
pub(super) fn run() -> Result<MillionResult, StageError> {
    let before = proc::resident_kib(std::process::id())?;
    let (mut service, _) = LicenceService::restore(
        ServiceConfig::default(),
        vec![million_seats()],
        Snapshot::default(),
        now(),
    );
    let (opened, opening) = clock::timed(|| open_all(&mut service));
    opened?;
    let after = proc::resident_kib(std::process::id())?;
    let held = service.key(KeyNo(1)).map_or(0, |key| key.held);
    let (beaten, beating) = clock::timed(|| beat_all(&mut service));
    beaten?;
    let snapshot = service.snapshot();
    drop(service);
    let (_restored, restoring) = clock::timed(|| {
        LicenceService::restore(ServiceConfig::default(), vec![million_seats()], snapshot, now())
    });
    Ok(MillionResult {
        held,
        resident_kib: (before, after),
        open_nanos: mean_nanos(opening, SESSIONS),
        heartbeat_nanos: mean_nanos(beating, SESSIONS / SESSIONS_PER_CONNECTION),
        restore_millis: u64::try_from(restoring.as_millis()).unwrap_or(u64::MAX),
    })
}

fn mean_nanos(whole: Duration, count: u32) -> u64 {
    u64::try_from((whole / count).as_nanos()).unwrap_or(u64::MAX)
}

/// Time stands still: nothing expires while it is filled.
const fn now() -> Now {
    Now { mono: MonoTime::from_millis(1000), utc: Utc::from_unix_millis(1_800_000_000_000) }
}

fn million_seats() -> ProtectionKey {
    ProtectionKey {
        key_no: KeyNo(1),
        series: SERIES,
        kind: KeyKind::Main,
        seats: SESSIONS,
        term: Term { activated: Utc::MIN, start: None, period_days: 0, expire: None },
        product_version: 0,
        service_type: 0,
        reg_no: None,
        itn: None,
        iec: None,
        obstacle: None,
        access_code: None,
        cluster: None,
    }
}

/// Ids spread over the range like random ones, and the same in every run.
fn id(number: u32) -> [u8; 16] {
    let mixed = u64::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
    ((u128::from(mixed) << 64) | u128::from(number)).to_be_bytes()
}

fn connection(number: u32) -> ConnectionId {
    ConnectionId::from_bytes(id(number / SESSIONS_PER_CONNECTION))
}

fn open_all(service: &mut LicenceService) -> Result<(), StageError> {
    for number in 0..SESSIONS {
        if number % SESSIONS_PER_CONNECTION == 0 {
            let connect = Event::Connect {
                request: RequestId(0),
                id: connection(number),
                series: SERIES,
                peer: "10.0.0.7".to_owned(),
                info: ConnectionInfo {
                    computer_name: "app-server-01".to_owned(),
                    process: "rphost".to_owned(),
                    is_server: true,
                    ..ConnectionInfo::default()
                },
            };
            drop(service.handle(connect, now()));
        }
        let open = Event::Open {
            request: RequestId(1),
            id: SessionId::from_bytes(id(number)),
            connection: connection(number),
            session: SessionInfo {
                session_number: number.to_string(),
                is_server: true,
                info_base_connection_str: "Srvr=\"app-server-01\";Ref=\"accounting\";".to_owned(),
                app_name: "1CV8C".to_owned(),
                computer_name: "workplace-17".to_owned(),
                user_name: Some("Иванов Иван Иванович".to_owned()),
                session_started: None,
                terminal_client: None,
            },
            wish: Wish::default(),
            lease: None,
            seat: LeasedSeat::Own,
            may_wait: false,
        };
        let effects = service.handle(open, now());
        if !matches!(effects.last(), Some(Effect::Reply(_, Reply::Opened(_)))) {
            return Err(StageError::failed(format!("session {number} got no seat: {effects:?}")));
        }
    }
    Ok(())
}

fn beat_all(service: &mut LicenceService) -> Result<(), StageError> {
    for first in (0..SESSIONS).step_by(SESSIONS_PER_CONNECTION as usize) {
        let heartbeat = Event::Heartbeat {
            request: RequestId(2),
            connection: connection(first),
            sessions: (first..first + SESSIONS_PER_CONNECTION)
                .map(|number| SessionId::from_bytes(id(number)))
                .collect(),
        };
        let effects = service.handle(heartbeat, now());
        let is_whole = matches!(
            effects.last(),
            Some(Effect::Reply(_, Reply::Heartbeat { gone, .. })) if gone.is_empty()
        );
        if !is_whole {
            return Err(StageError::failed(format!("a heartbeat was not whole: {effects:?}")));
        }
    }
    Ok(())
}
