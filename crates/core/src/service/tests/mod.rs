//! Every rule of the manual, as a script of events and what must come out: who gets a seat in
//! `counting`, what a node of a cluster does in `cluster`, how long things live in `life`, what administrators rule in `rules`, what is recorded
//! of use in `usage`. The bench that all use stands here.

mod cluster;
mod counting;
mod life;
mod quotas;
mod rules;
mod usage;

use super::*;
use crate::key::{KeyKind, Term};
use crate::pool::KeyStatus;
use crate::protocol::{CODE_BYTES_MAX, TEXT_BYTES_MAX};
use crate::refusal::UnmetWish;
use crate::time::DAY_MILLIS;

const SERIES: KeySeries = KeySeries::from_u16(0x672B);
const DAY: i64 = DAY_MILLIS;

/// A service under a hand-moved clock.
struct Bench {
    service: LicenceService,
    journal: Snapshot,
    now: Now,
    next: u64,
    last: Vec<Effect>,
}

impl Bench {
    fn new() -> Self {
        let service = LicenceService::new(ServiceConfig::default());
        let now = Now { mono: MonoTime::from_millis(0), utc: Utc::from_unix_millis(0) };
        Self { service, journal: Snapshot::default(), now, next: 1, last: Vec::new() }
    }

    fn with_keys(keys: &[ProtectionKey]) -> Self {
        let mut bench = Self::new();
        for key in keys {
            bench.feed(Event::KeyArrived(key.clone()));
        }
        bench
    }

    fn feed(&mut self, event: Event) -> Option<Reply> {
        self.last = self.service.handle(event, self.now);
        let mut reply = None;
        for effect in &self.last {
            match effect {
                Effect::Persist(record) => self.journal.apply(record),
                Effect::Reply(_, answer) => reply = Some(answer.clone()),
            }
        }
        assert_eq!(self.journal, self.service.snapshot(), "the journal and the state differ");
        reply
    }

    fn request(&mut self) -> (RequestId, [u8; 16]) {
        self.next += 1;
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.next.to_be_bytes());
        (RequestId(self.next), bytes)
    }

    fn connect(&mut self) -> ConnectionId {
        let (request, bytes) = self.request();
        let id = ConnectionId::from_bytes(bytes);
        let peer = "127.0.0.1".to_owned();
        let info = ConnectionInfo::default();
        let reply = self.feed(Event::Connect { request, id, series: SERIES, peer, info });
        assert_eq!(reply, Some(Reply::Connected(id)));
        id
    }

    fn open(
        &mut self,
        connection: ConnectionId,
        session: SessionInfo,
        wish: Wish,
    ) -> Result<Grant, Refusal> {
        let (request, bytes) = self.request();
        let id = SessionId::from_bytes(bytes);
        let (lease, seat, may_wait) = (None, LeasedSeat::Own, false);
        let event = Event::Open { request, id, connection, session, wish, lease, seat, may_wait };
        match self.feed(event) {
            Some(Reply::Opened(grant)) => Ok(grant),
            Some(Reply::Refused(refusal)) => Err(refusal),
            other => panic!("{other:?}"),
        }
    }

    fn pass(&mut self, seconds: u64) {
        let span = Duration::from_secs(seconds);
        self.now = Now { mono: self.now.mono.after(span), utc: self.now.utc.after(span) };
        assert_eq!(self.feed(Event::Tick), None);
    }

    fn beat(
        &mut self,
        connection: ConnectionId,
        sessions: &[SessionId],
    ) -> Result<Vec<(SessionId, EndReason)>, Refusal> {
        let (request, _) = self.request();
        let sessions = sessions.to_vec();
        match self.feed(Event::Heartbeat { request, connection, sessions }) {
            Some(Reply::Heartbeat { gone, .. }) => Ok(gone),
            Some(Reply::Refused(refusal)) => Err(refusal),
            other => panic!("{other:?}"),
        }
    }

    fn held(&self) -> u64 {
        self.service.totals(SERIES).held
    }

    fn restart(&mut self) {
        let keys = self.service.keys().map(|key| key.key.clone()).collect();
        let (service, effects) =
            LicenceService::restore(ServiceConfig::default(), keys, self.journal.clone(), self.now);
        for effect in &effects {
            if let Effect::Persist(record) = effect {
                self.journal.apply(record);
            }
        }
        self.service = service;
    }
}

fn key(number: u32, kind: KeyKind, seats: u32) -> ProtectionKey {
    let activated = Utc::from_unix_millis(0);
    ProtectionKey {
        key_no: KeyNo(number),
        series: SERIES,
        kind,
        seats,
        term: Term { activated, start: None, period_days: 0, expire: None },
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

fn server_session(number: u32) -> SessionInfo {
    SessionInfo {
        session_number: number.to_string(),
        is_server: true,
        info_base_connection_str: "Srvr=\"s\";Ref=\"b\";".into(),
        computer_name: format!("PC{number}"),
        user_name: Some(format!("User{number}")),
        ..SessionInfo::default()
    }
}

fn file_session(number: u32, computer: &str, terminal: Option<&str>) -> SessionInfo {
    SessionInfo {
        session_number: number.to_string(),
        info_base_connection_str: "File=\"D:\\Db\";".into(),
        computer_name: computer.into(),
        terminal_client: terminal.map(str::to_owned),
        ..SessionInfo::default()
    }
}
