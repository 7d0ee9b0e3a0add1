//! Criterion benchmarks of the core: what one turn of the state machine costs in memory, and what
//! signatures and codes cost. Disk, TLS and HTTP are not in here; `cargo xtask bench` measures
//! those. Each operation of the service is measured with 10,000 and with 1,000,000 sessions held.
//! No time is asserted.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use licence_core::activation::{ActivationCode, CodeKind};
use licence_core::journal::Snapshot;
use licence_core::key::{Flags, KeyKind, KeyNo, KeySeries, ProtectionKey, Term};
use licence_core::lease_token::{LeaseClaims, issuer};
use licence_core::licence_file::{LICENCE_FORMAT, Licence, LicenceClaims, LicenceFields};
use licence_core::protocol::{ConnectionInfo, SessionInfo, Wish};
use licence_core::seal::SigningKey;
use licence_core::service::{
    Effect, Event, Grant, LeasedSeat, LicenceService, Reply, RequestId, ServiceConfig,
};
use licence_core::session::{ConnectionId, SessionId};
use licence_core::time::{MonoTime, Now, Utc};

/// The series of everything here.
const SERIES: KeySeries = KeySeries::from_u16(0x672B);

/// The series without a free seat.
const FULL_SERIES: KeySeries = KeySeries::from_u16(0x4BFE);

/// Sessions that one heartbeat names: a working process of an application server on a quiet day.
const SESSIONS_PER_HEARTBEAT: usize = 10;

/// Sessions per connection while the service is filled.
const SESSIONS_PER_CONNECTION: u64 = 100;

/// The service under test and the ids drawn for it.
struct Bed {
    service: LicenceService,
    now: Now,
    drawn: u64,
    connections: Vec<ConnectionId>,
    full: ConnectionId,
    sessions: Vec<SessionId>,
}

impl Bed {
    fn with_sessions(count: u64) -> Self {
        let now = Now {
            mono: MonoTime::from_millis(1_000_000),
            utc: Utc::from_unix_millis(1_800_000_000_000),
        };
        // Everything stays alive while criterion measures: time stands still but in `tick`.
        let (mut service, _) = LicenceService::restore(
            ServiceConfig::default(),
            vec![key(1, SERIES, 2_000_000), key(2, FULL_SERIES, 1)],
            Snapshot::default(),
            now,
        );
        let full = ConnectionId::from_bytes([0xFF; 16]);
        drop(service.handle(connect(full, FULL_SERIES), now));
        let mut bed =
            Self { service, now, drawn: 0, connections: Vec::new(), full, sessions: Vec::new() };
        bed.open(full, 0);
        bed.sessions.clear();
        for at in 0..count {
            if at % SESSIONS_PER_CONNECTION == 0 {
                let id = ConnectionId::from_bytes(bed.draw());
                drop(bed.service.handle(connect(id, SERIES), now));
                bed.connections.push(id);
            }
            let connection = bed.connections[bed.connections.len() - 1];
            bed.open(connection, at);
        }
        bed
    }

    fn draw(&mut self) -> [u8; 16] {
        self.drawn += 1;
        // Spread like the random ids of the server, and the same in every run.
        let mixed = self.drawn.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
        (u128::from(mixed) << 64 | u128::from(self.drawn)).to_be_bytes()
    }

    fn open(&mut self, connection: ConnectionId, number: u64) -> SessionId {
        let grant = granted(self.try_open(connection, number));
        self.sessions.push(grant.session);
        grant.session
    }

    fn try_open(&mut self, connection: ConnectionId, number: u64) -> Vec<Effect> {
        let event = Event::Open {
            request: RequestId(1),
            id: SessionId::from_bytes(self.draw()),
            connection,
            session: session(number),
            wish: Wish::default(),
            lease: None,
            seat: LeasedSeat::Own,
            may_wait: false,
        };
        self.service.handle(event, self.now)
    }
}

fn granted(effects: Vec<Effect>) -> Grant {
    match effects.last() {
        Some(Effect::Reply(_, Reply::Opened(grant))) => *grant,
        other => panic!("no seat was granted: {other:?}"),
    }
}

fn key(key_no: u32, series: KeySeries, seats: u32) -> ProtectionKey {
    ProtectionKey {
        key_no: KeyNo(key_no),
        series,
        kind: KeyKind::Main,
        seats,
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

fn connect(id: ConnectionId, series: KeySeries) -> Event {
    let info = ConnectionInfo {
        os_version: "Debian GNU/Linux 12".to_owned(),
        computer_name: "app-server-01".to_owned(),
        local_ip: "10.0.0.7".to_owned(),
        process: "rphost".to_owned(),
        cpu: "x86_64".to_owned(),
        pid: "4242".to_owned(),
        is_server: true,
        platform_version: "8.3.24.1467".to_owned(),
        module_name: "licenceaddin.so".to_owned(),
        version: "4.0.0".to_owned(),
        terminal_client: None,
    };
    Event::Connect { request: RequestId(0), id, series, peer: "10.0.0.7".to_owned(), info }
}

fn session(number: u64) -> SessionInfo {
    SessionInfo {
        session_number: number.to_string(),
        is_server: true,
        info_base_connection_str: "Srvr=\"app-server-01\";Ref=\"accounting\";".to_owned(),
        app_name: "1CV8C".to_owned(),
        computer_name: "workplace-17".to_owned(),
        user_name: Some("Иванов Иван Иванович".to_owned()),
        session_started: Some(Utc::from_unix_millis(1_799_990_000_000)),
        terminal_client: None,
    }
}

fn service(criterion: &mut Criterion, held: u64) {
    let mut bed = Bed::with_sessions(held);
    let mut group = criterion.benchmark_group(format!("service, {held} sessions held"));
    group.throughput(Throughput::Elements(1));
    let connection = bed.connections[bed.connections.len() / 2];

    // A seat is claimed and given back in one go, so that the pool stays as it is; the release
    // alone cannot be repeated, so the pair is measured and the claim of a known session beside it.
    let mut number = held;
    group.bench_function("claim and release", |bencher| {
        bencher.iter(|| {
            number += 1;
            let grant = granted(bed.try_open(connection, number));
            let event = Event::Close { request: RequestId(2), session: grant.session };
            black_box(bed.service.handle(event, bed.now));
        });
    });
    group.bench_function("claim of a session that is known", |bencher| {
        bencher.iter(|| black_box(bed.try_open(connection, held / 2)));
    });

    let of_connection = bed.sessions[..SESSIONS_PER_HEARTBEAT].to_vec();
    group.bench_function("heartbeat of 10 sessions", |bencher| {
        bencher.iter(|| {
            let event = Event::Heartbeat {
                request: RequestId(3),
                connection,
                sessions: of_connection.clone(),
            };
            black_box(bed.service.handle(event, bed.now))
        });
    });

    let full = bed.full;
    group.bench_function("refusal, no seat free", |bencher| {
        bencher.iter(|| {
            number += 1;
            black_box(bed.try_open(full, number))
        });
    });

    group.bench_function("tick with nothing due", |bencher| {
        bencher.iter(|| black_box(bed.service.handle(Event::Tick, bed.now)));
    });
    group.finish();
}

fn documents(criterion: &mut Criterion) {
    let (series, server) = (SigningKey::from_seed(&[1; 32]), SigningKey::from_seed(&[2; 32]));
    let code = ActivationCode::encode(CodeKind::Activation, SERIES, 0x1234_5678_9ABC_DEF0_1234);
    let issued = Utc::from_unix_millis(1_800_000_000_000);
    let fields = LicenceFields {
        version: LICENCE_FORMAT.to_owned(),
        key_no: KeyNo(7_131_766),
        key_id: SERIES,
        reg_no: Some(12_345),
        key_type: KeyKind::Main.code(),
        service_type: 0,
        licence_count: 100,
        product_version: 0,
        blank_key_no: None,
        activation_code: code,
        activation_date: issued,
        start_date: None,
        period: 365,
        expire_date: None,
        flags: Flags(5),
        itn: Some("7701234567".to_owned()),
        iec: Some("770101001".to_owned()),
        product_name: "Тестовая серия".to_owned(),
        article: Some("4601546000000".to_owned()),
        article_name: Some("Клиентская лицензия на 100 рабочих мест".to_owned()),
        parameters: Default::default(),
        support: Default::default(),
    };
    let document = LicenceClaims::new("1".to_owned(), issued, server.public(), fields)
        .sign(&series)
        .unwrap_or_else(|error| panic!("the licence could not be signed: {error}"));
    let lease = LeaseClaims {
        iss: issuer(&server.public()),
        sub: SessionId::from_bytes([7; 16]).to_string(),
        iat: 1_800_000_000,
        exp: 1_800_001_000,
        key_id: SERIES,
        key_no: KeyNo(7_131_766),
    };
    let token =
        lease.sign(&server).unwrap_or_else(|error| panic!("the lease was not signed: {error}"));
    let shown = code.to_string();

    let mut group = criterion.benchmark_group("documents");
    group.bench_function("licence: verify", |bencher| {
        bencher.iter(|| black_box(Licence::verify(black_box(&document), &series.public())));
    });
    group.bench_function("lease token: sign", |bencher| {
        bencher.iter(|| black_box(black_box(&lease).sign(&server)));
    });
    group.bench_function("lease token: verify", |bencher| {
        bencher
            .iter(|| black_box(LeaseClaims::verify(black_box(&token), &server.public(), issued)));
    });
    group.bench_function("activation code: parse", |bencher| {
        bencher.iter(|| black_box(black_box(shown.as_str()).parse::<ActivationCode>()));
    });
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(1))
        .sample_size(30)
        .configure_from_args();
    documents(&mut criterion);
    service(&mut criterion, 10_000);
    service(&mut criterion, 1_000_000);
    criterion.final_summary();
}
