//! One host: the real service and the real node, and what a driver does between them.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use licence_core::cluster::record::Alive;
use licence_core::cluster::{ClusterId, Effect, Event, Node, NodeConfig, NodeId};
use licence_core::key::{KeyKind, KeyNo, KeySeries, ProtectionKey, Term};
use licence_core::protocol::ConnectionInfo;
use licence_core::rules::{CheckedRules, QuotaId, QuotaNeed};
use licence_core::service::{
    ClusterKey, Effect as ServiceEffect, Event as ServiceEvent, LicenceService, Reply, RequestId,
    ServiceConfig,
};
use licence_core::session::ConnectionId;
use licence_core::time::{MonoTime, Now, Utc};

pub(crate) const KEY: KeyNo = KeyNo(1);
pub(crate) const CLUSTER: ClusterId = ClusterId::from_bytes([9; 16]);
pub(crate) const LIFE_MILLIS: u64 = 8_000;

pub(crate) fn series() -> KeySeries {
    KeySeries::from_u16(0x672B)
}

/// Something that was asked of etcd and has not been answered.
pub(crate) type CallNo = u64;

pub(crate) struct Host {
    pub(crate) id: NodeId,
    pub(crate) process: u64,
    pub(crate) node: Option<Node>,
    pub(crate) service: LicenceService,
    pub(crate) connection: ConnectionId,
    pub(crate) cut: bool,
    pub(crate) commands: VecDeque<Effect>,
    pub(crate) calls: BTreeMap<CallNo, Event>,
    pub(crate) watch: Option<i64>,
    pub(crate) is_pumping: bool,
    pub(crate) tick_at: Option<u64>,
    pub(crate) keys: BTreeMap<KeyNo, ClusterKey>,
    pub(crate) quotas: BTreeMap<QuotaId, QuotaNeed>,
}

impl Host {
    pub(crate) fn new(id: NodeId, number: u8, seats: u32, rules: &CheckedRules, t: u64) -> Self {
        let config = ServiceConfig {
            session_life: Duration::from_millis(LIFE_MILLIS),
            connection_life: Duration::from_secs(100_000),
            ..ServiceConfig::default()
        };
        let mut host = Self {
            id,
            process: 0,
            node: None,
            service: LicenceService::new(config),
            connection: ConnectionId::from_bytes([number; 16]),
            cut: false,
            commands: VecDeque::new(),
            calls: BTreeMap::new(),
            watch: None,
            is_pumping: false,
            tick_at: None,
            keys: BTreeMap::new(),
            quotas: BTreeMap::new(),
        };
        host.serve(ServiceEvent::KeyArrived(key(seats)), t);
        host.serve(ServiceEvent::RulesChanged(rules.clone()), t);
        let (request, id) = (RequestId(1), host.connection);
        let (peer, info) = ("10.0.0.1".to_owned(), ConnectionInfo::default());
        host.serve(ServiceEvent::Connect { request, id, series: series(), peer, info }, t);
        host
    }

    /// The process begins anew; the journal gives back all sessions.
    pub(crate) fn start(&mut self, t: u64) {
        self.process += 1;
        self.watch = None;
        self.is_pumping = false;
        self.commands.clear();
        self.calls.clear();
        self.tick_at = None;
        self.keys.clear();
        self.quotas.clear();
        self.serve(ServiceEvent::GrantUntil(None), t);
        self.serve(ServiceEvent::QuotasClosed, t);
        self.node = Some(Node::new(NodeConfig {
            me: self.id,
            cluster: CLUSTER,
            session_life: Duration::from_millis(LIFE_MILLIS),
            alive: Alive {
                version: "1".into(),
                started: Utc::from_unix_millis(i64::try_from(t).unwrap()),
                held: BTreeMap::new(),
                keys: BTreeMap::new(),
            },
        }));
    }

    /// Has the service handle what happened; what it replies, if it does.
    pub(crate) fn serve(&mut self, event: ServiceEvent, t: u64) -> Option<Reply> {
        let mut reply = None;
        for effect in self.service.handle(event, now(t)) {
            if let ServiceEffect::Reply(_, told) = effect {
                reply = Some(told);
            }
        }
        reply
    }

    /// Does what the node has decided; what the node is told of it.
    pub(crate) fn carry(&mut self, effect: Effect, t: u64) -> Option<Event> {
        let request = RequestId(2);
        let event = match effect {
            Effect::CloseQuotas => ServiceEvent::QuotasClosed,
            Effect::EndAll => ServiceEvent::EndCluster,
            Effect::Expect { session, key_no } => ServiceEvent::Expect { session, key_no },
            Effect::HoldUntil(until) => ServiceEvent::HoldUntil(until),
            Effect::Keep { session } => ServiceEvent::Keep { session },
            Effect::ValidUntil(until) => ServiceEvent::GrantUntil(until),
            Effect::Limit { key_no, seats, force } => {
                let limits = vec![(key_no, seats, force)];
                let told = self.serve(ServiceEvent::SeatLimits { limits, request }, t);
                let Some(Reply::SeatLimits(told)) = told else { panic!("{told:?}") };
                let (key_no, seats, held) = told[0];
                return Some(Event::Limited { key_no, seats, held });
            }
            Effect::QuotaLimits { no, limits } => {
                let told = self.serve(ServiceEvent::QuotaLimits { limits, request }, t);
                let Some(Reply::QuotaLimits(told)) = told else { panic!("{told:?}") };
                let limits = told.into_iter().map(|(held, id, seats)| (id, seats, held)).collect();
                return Some(Event::QuotasLimited { no, limits });
            }
            Effect::TakeAway { session, .. } => {
                let told = self.serve(ServiceEvent::TakeAway { session, request }, t);
                let Some(Reply::TakenAway { was_held, quotas }) = told else { panic!("{told:?}") };
                return Some(Event::TakenAway { session, held: was_held, quotas });
            }
            other => panic!("not for the service: {other:?}"),
        };
        self.serve(event, t);
        None
    }
}

pub(crate) fn mono(t: u64) -> MonoTime {
    MonoTime::from_millis(t)
}

fn now(t: u64) -> Now {
    Now { mono: mono(t), utc: Utc::from_unix_millis(i64::try_from(t).unwrap()) }
}

fn key(seats: u32) -> ProtectionKey {
    let activated = Utc::from_unix_millis(0);
    ProtectionKey {
        key_no: KEY,
        series: series(),
        kind: KeyKind::Main,
        seats,
        term: Term { activated, start: None, period_days: 0, expire: None },
        product_version: 0,
        service_type: 0,
        reg_no: None,
        itn: None,
        iec: None,
        obstacle: None,
        access_code: None,
        cluster: Some(CLUSTER),
    }
}
