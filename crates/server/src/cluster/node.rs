//! The task that is this server's node: it owns [`licence_core::cluster::Node`], carries out what that
//! decides, and tells it what came of it.
//!
//! Calls of etcd run beside each other and come back as events; what concerns the driver is done one
//! after another, in the order in which it was decided. Nothing is decided here but how long is waited.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use licence_core::cluster::record::Member;
use licence_core::cluster::{
    Asked, ClaimOutcome, ClusterId, Effect, Event, Node, NodeConfig, NodeId, Op, Standing, Txn,
    TxnOutcome,
};
use licence_core::key::KeyNo;
use licence_core::rules::{QuotaId, QuotaNeed};
use licence_core::service::{ClusterKey, EndedHere};
use licence_core::session::SessionId;
use licence_core::time::{MonoTime, Utc};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::etcd::{Etcd, EtcdError, KeptAlive, Watched};
use super::known_codes::KnownCodes;
use super::memory::{Memory, Remembered};
use super::orders::{Carried, Order, carry_out};
use super::picture::Contents;
use super::port::{ClusterPort, Known, KnownNode, Question};
use super::put_down;
use super::shared::{self, Sharing, SharingSetup};
use super::waiting::Waiting;
use crate::clock;
use crate::driver::{AuditNote, ClusterEnds, Handle};

/// Questions of openings that wait for the task. Each is one 1C session that finds no seat here; a
/// longer queue than this means that the task stands still, and whoever comes then is refused.
const QUESTIONS_MAX: usize = 4096;

/// Answers of etcd and of the driver that wait for the task: one call of each kind is under way at a
/// time, and a watch that tells faster than the task reads must wait.
const ANSWERS_MAX: usize = 256;

/// The task looks at the clock at least this often: its timer stands still while the machine sleeps,
/// and leases do not.
const NAP_MAX: Duration = Duration::from_secs(1);

/// How often it is written down until when sessions may go on without etcd, for the next start.
const REMEMBER_EVERY: Duration = Duration::from_secs(30);

/// How the node stands, for people, metrics and checks.
#[derive(Clone, Debug)]
pub struct State {
    /// The cluster.
    pub cluster: ClusterId,
    /// This node.
    pub me: NodeId,
    /// How it stands.
    pub standing: Standing,
    /// What lies in etcd, as this node saw it last.
    pub contents: Arc<Contents>,
    /// When etcd answered last.
    pub answered: Option<Utc>,
    /// How long the last renewal took, in milliseconds.
    pub renewal_millis: Option<u64>,
    /// Why the last call failed; nothing when it did not.
    pub problem: Option<String>,
}

/// What the task needs.
#[derive(Debug)]
pub struct NodeSetup {
    /// The node.
    pub config: NodeConfig,
    /// What this node says of itself to the others.
    pub member: Member,
    /// Below the prefix of the cluster.
    pub etcd: Etcd,
    /// The driver.
    pub driver: Handle,
    /// What the driver tells of its own accord.
    pub ends: ClusterEnds,
    /// Where it is remembered until when sessions may go on without etcd.
    pub memory: PathBuf,
    /// The file of the rules.
    pub rules: PathBuf,
    /// Where the access codes of the cluster are remembered.
    pub codes: KnownCodes,
}

/// The node of this server. Clones are the same node.
#[derive(Clone, Debug)]
pub struct Cluster {
    stop: mpsc::Sender<oneshot::Sender<()>>,
    state: watch::Receiver<Arc<State>>,
    etcd: Etcd,
    sharing: Sharing,
}

impl Cluster {
    /// How the node stands.
    pub fn state(&self) -> Arc<State> {
        self.state.borrow().clone()
    }

    /// Tells whenever that changes.
    pub fn watch(&self) -> watch::Receiver<Arc<State>> {
        self.state.clone()
    }

    /// Rules and access codes, which are those of all nodes.
    pub const fn sharing(&self) -> &Sharing {
        &self.sharing
    }

    /// etcd, below the prefix of the cluster.
    pub const fn etcd(&self) -> &Etcd {
        &self.etcd
    }

    /// Gives back what is free and keeps the rest for the sessions; ends the task. Waits no longer
    /// than `bound`.
    pub async fn stop(&self, bound: Duration) {
        let (sender, stopped) = oneshot::channel();
        if self.stop.send(sender).await.is_ok()
            && tokio::time::timeout(bound, stopped).await.is_err()
        {
            log::warn!(
                "the seats of this node could not be given back in time; the others see its end"
            );
        }
    }
}

/// A port for the driver's handle, and what answers it once [`start`] has it.
pub fn port() -> (ClusterPort, Questions) {
    let (questions, asked) = mpsc::channel(QUESTIONS_MAX);
    let (known, members) = watch::channel(Arc::default());
    (ClusterPort::new(questions, members), Questions { asked, known })
}

/// The other side of the port.
#[derive(Debug)]
pub struct Questions {
    asked: mpsc::Receiver<Question>,
    known: watch::Sender<Arc<Known>>,
}

/// Starts the task, which ends when it is stopped.
pub fn start(setup: NodeSetup, questions: Questions) -> Cluster {
    let NodeSetup { config, member, etcd, driver, ends, memory, rules, codes } = setup;
    let state = State {
        cluster: config.cluster,
        me: config.me,
        standing: Standing::Starting,
        contents: Arc::default(),
        answered: None,
        renewal_millis: None,
        problem: None,
    };
    let (state, looked_at) = watch::channel(Arc::new(state));
    let (stop, stops) = mpsc::channel(1);
    let (answers, answered) = mpsc::channel(ANSWERS_MAX);
    // What may wait is bounded by what the node decides: a limit for each key, and an order or two for
    // each claim, of which the core takes at most a hundred thousand.
    let (orders, ordered) = mpsc::unbounded_channel();
    let carried = answers.clone();
    let carrying = tokio::spawn(carry_out(driver.clone(), ordered, move |what| {
        let answers = carried.clone();
        let answer = match what {
            Carried::Claimed(session, outcome) => Answer::Claimed(session, outcome),
            Carried::Event(event) => Answer::Event(event),
        };
        async move { answers.send(answer).await.is_ok() }
    }));
    let sharing = shared::start(SharingSetup {
        cluster: config.cluster,
        name: member.name.clone(),
        etcd: etcd.clone(),
        driver: driver.clone(),
        state: looked_at.clone(),
        rules,
        codes,
    });
    let cluster = Cluster { stop, state: looked_at, etcd: etcd.clone(), sharing };
    let (me, id) = (config.me, config.cluster);
    let mut node = Node::new(config);
    let memory = Memory::new(memory);
    if let Some(last) = memory.read(id, clock::now()) {
        node.hold_until(last);
    }
    let task = Task {
        node,
        me,
        member,
        etcd,
        driver,
        questions,
        answers,
        orders,
        state,
        memory,
        remembered: None,
        wants: Waiting::new(),
        quota_wants: Waiting::new(),
        claims: BTreeMap::new(),
        watching: None,
        keys: BTreeMap::new(),
        quotas: BTreeMap::new(),
        stopping: None,
        is_member_told: false,
        is_ended: false,
    };
    tokio::spawn(async move {
        task.run(ends, stops, answered).await;
        carrying.abort();
    });
    cluster
}

/// What comes back to the task.
#[derive(Debug)]
enum Answer {
    Claimed(SessionId, ClaimOutcome),
    Event(Event),
    /// A call to etcd worked, or why it did not.
    Told(Result<(), String>),
    Renewed {
        millis: u64,
    },
    MemberTold(bool),
}

struct Task {
    node: Node,
    me: NodeId,
    member: Member,
    etcd: Etcd,
    driver: Handle,
    questions: Questions,
    answers: mpsc::Sender<Answer>,
    orders: mpsc::UnboundedSender<Order>,
    state: watch::Sender<Arc<State>>,
    memory: Memory,
    remembered: Option<MonoTime>,
    /// Openings that wait for a seat.
    wants: Waiting<KeyNo>,
    /// Openings that wait for a part of a quota.
    quota_wants: Waiting<QuotaId>,
    /// Openings that wait for the seat of their session.
    claims: BTreeMap<SessionId, Vec<oneshot::Sender<ClaimOutcome>>>,
    watching: Option<JoinHandle<()>>,
    /// Keys of the cluster as the driver told them last.
    keys: BTreeMap<KeyNo, ClusterKey>,
    /// Quotas as the driver told them last.
    quotas: BTreeMap<QuotaId, QuotaNeed>,
    stopping: Option<oneshot::Sender<()>>,
    /// Whether what this node says of itself lies in etcd.
    is_member_told: bool,
    /// Everything is given back.
    is_ended: bool,
}

impl Task {
    async fn run(
        mut self,
        ends: ClusterEnds,
        mut stops: mpsc::Receiver<oneshot::Sender<()>>,
        mut answered: mpsc::Receiver<Answer>,
    ) {
        let ClusterEnds { mut keys, mut quotas, mut ended } = ends;
        let found = keys.borrow_and_update().clone();
        self.keys_changed(found);
        self.feed(Event::Tick);
        loop {
            let now = clock::mono();
            let nap = self.node.poll_timeout().map_or(NAP_MAX, |at| at.since(now));
            let nap = nap.clamp(Duration::from_millis(1), NAP_MAX);
            tokio::select! {
                Some(stopped) = stops.recv() => {
                    self.stopping = Some(stopped);
                    self.feed(Event::Stop);
                }
                Some(answer) = answered.recv() => self.hear(answer),
                Some(question) = self.questions.asked.recv() => self.ask(question),
                changed = keys.changed() => {
                    if changed.is_err() {
                        // The driver has ended, and with it whatever this node was for.
                        break;
                    }
                    let found = keys.borrow_and_update().clone();
                    self.keys_changed(found);
                }
                Ok(()) = quotas.changed() => {
                    self.quotas = quotas.borrow_and_update().clone();
                    self.tell_quotas();
                }
                Some(EndedHere { session, is_released }) = ended.recv() => {
                    self.feed(Event::Ended { session, released: is_released });
                }
                () = tokio::time::sleep(nap) => self.feed(Event::Tick),
            }
            self.forget_gone();
            if self.stopping.as_ref().is_some_and(oneshot::Sender::is_closed) {
                break;
            }
            if self.is_ended {
                break;
            }
        }
        if let Some(stopped) = self.stopping.take() {
            let _ = stopped.send(());
        }
    }

    /// The driver's keys of the cluster, and what is held of them.
    fn keys_changed(&mut self, keys: BTreeMap<KeyNo, ClusterKey>) {
        let seats = |keys: &BTreeMap<KeyNo, ClusterKey>| -> BTreeMap<_, _> {
            keys.iter().map(|(key_no, key)| (*key_no, (key.series, key.seats))).collect()
        };
        let before = std::mem::replace(&mut self.keys, keys);
        if seats(&before) != seats(&self.keys) {
            self.feed(Event::Keys(seats(&self.keys)));
        }
        let changed: Vec<KeyNo> = self
            .keys
            .iter()
            .filter(|(key_no, key)| before.get(key_no).is_none_or(|was| was.held != key.held))
            .map(|(key_no, _)| *key_no)
            .collect();
        for key_no in changed {
            self.demand(key_no);
        }
    }

    fn demand(&mut self, key_no: KeyNo) {
        let held = self.keys.get(&key_no).map_or(0, |key| key.held);
        let waiting = self.wants.count(&key_no);
        self.feed(Event::Demand { key_no, held, waiting });
    }

    fn tell_quotas(&mut self) {
        let needs = self.quotas.iter();
        let needs =
            needs.map(|(id, need)| (id.clone(), (*need, self.quota_wants.count(id)))).collect();
        self.feed(Event::QuotaNeeds(needs));
    }

    fn ask(&mut self, question: Question) {
        match question {
            Question::Claim { session, key_no, from, answer } => {
                if let Some(answer) = answer {
                    self.claims.entry(session).or_default().push(answer);
                }
                self.feed(Event::Claim { session, key_no, from });
            }
            Question::Want { keys, answer } => {
                self.wants.add(keys.clone(), clock::mono(), answer);
                for key_no in keys {
                    self.demand(key_no);
                }
            }
            Question::WantQuotas { quotas, answer } => {
                self.quota_wants.add(quotas, clock::mono(), answer);
                self.tell_quotas();
            }
        }
    }

    /// Those who no longer wait count no longer.
    fn forget_gone(&mut self) {
        let now = clock::mono();
        for key_no in self.wants.forget_gone(now) {
            self.demand(key_no);
        }
        if !self.quota_wants.forget_gone(now).is_empty() {
            self.tell_quotas();
        }
        self.claims.retain(|_, waiting| {
            waiting.retain(|answer| !answer.is_closed());
            !waiting.is_empty()
        });
    }

    fn hear(&mut self, answer: Answer) {
        match answer {
            Answer::Claimed(session, outcome) => {
                for answer in self.claims.remove(&session).into_iter().flatten() {
                    // Whoever asked may have gone.
                    let _ = answer.send(outcome);
                }
            }
            Answer::Event(event) => {
                if let Event::Limited { key_no, seats, held } = event {
                    let free = seats.saturating_sub(held) as usize;
                    // What lies here may be older than this answer.
                    if let Some(key) = self.keys.get_mut(&key_no) {
                        key.held = held;
                    }
                    self.wants.tell(&key_no, true, free);
                    self.feed(event);
                    self.demand(key_no);
                } else if let Event::QuotasLimited { limits, .. } = &event {
                    for (id, seats, held) in limits {
                        let free = seats.saturating_sub(*held) as usize;
                        if let Some(need) = self.quotas.get_mut(id) {
                            need.held = *held;
                        }
                        self.quota_wants.tell(id, true, free);
                    }
                    self.feed(event);
                    self.tell_quotas();
                } else {
                    self.feed(event);
                }
            }
            Answer::MemberTold(is_told) => self.is_member_told = is_told,
            Answer::Renewed { millis } => {
                self.change_state(|state| state.renewal_millis = Some(millis));
            }
            Answer::Told(Ok(())) => {
                let now = clock::utc();
                self.change_state(|state| {
                    state.answered = Some(now);
                    state.problem = None;
                });
            }
            Answer::Told(Err(problem)) => {
                if self.state.borrow().problem.is_none() {
                    log::warn!("cluster: etcd: {problem}");
                }
                self.change_state(|state| state.problem = Some(problem));
            }
        }
    }

    fn change_state(&self, change: impl FnOnce(&mut State)) {
        self.state.send_modify(|state| change(Arc::make_mut(state)));
    }

    /// Tells the node what happened and does what it decides.
    fn feed(&mut self, event: Event) {
        let is_of_view = matches!(event, Event::Loaded { .. } | Event::Changed { .. });
        let effects = self.node.handle(event, clock::mono());
        let is_refused = effects.iter().any(|effect| matches!(effect, Effect::NoQuota { .. }));
        for effect in effects {
            self.carry(effect);
        }
        if is_refused {
            // Who waited has heard it and waits no longer.
            self.tell_quotas();
        }
        if is_of_view {
            self.view_changed();
        }
    }

    /// Writes down until when sessions may go on, for a start without etcd.
    fn remember(&mut self, until: MonoTime) {
        if self.remembered.is_some_and(|last| until.since(last) < REMEMBER_EVERY) {
            return;
        }
        self.remembered = Some(until);
        let cluster = self.state.borrow().cluster;
        let now = clock::now();
        let hold_until = now.utc.after(until.since(now.mono));
        let memory = self.memory.clone();
        let remembered = Remembered { cluster, hold_until, written: now.utc };
        tokio::task::spawn_blocking(move || memory.write(remembered));
    }

    fn view_changed(&mut self) {
        let contents = Arc::new(Contents::of_view(self.node.view()));
        let known = |(id, member): (&NodeId, &Member)| {
            let key = member.key.ed25519().ok()?;
            Some((*id, KnownNode { name: member.name.clone(), key }))
        };
        let mut nodes: BTreeMap<NodeId, KnownNode> =
            contents.members.iter().filter_map(known).collect();
        // Leases of one that has left count as long as seats are kept for its sessions.
        let told = self.questions.known.borrow().clone();
        let former = told.nodes.iter().filter(|(id, _)| contents.has_block(id));
        for (id, node) in former {
            nodes.entry(*id).or_insert_with(|| node.clone());
        }
        self.questions.known.send_if_modified(|told| {
            let known = Known { nodes };
            let has_changed = **told != known;
            if has_changed {
                *told = Arc::new(known);
            }
            has_changed
        });
        let is_told = contents.members.get(&self.me).is_some_and(|told| {
            (&told.name, &told.addresses) == (&self.member.name, &self.member.addresses)
        });
        self.change_state(|state| state.contents = contents);
        let is_made = self.node.view().settings().is_some();
        if !is_told && !self.is_member_told && is_made {
            self.tell_member();
        }
    }

    /// Says who this node is.
    fn tell_member(&mut self) {
        self.is_member_told = true;
        let key = format!("members/{}", self.me);
        let joined = self.state.borrow().contents.members.get(&self.me).map(|told| told.joined);
        let member = Member { joined: joined.unwrap_or(self.member.joined), ..self.member.clone() };
        let txn = Txn {
            compare: Vec::new(),
            then: vec![Op::Put { key, value: member.write(), lease: None }],
        };
        let (etcd, answers) = (self.etcd.clone(), self.answers.clone());
        tokio::spawn(async move {
            let is_told = matches!(etcd.txn(&txn).await, Ok(TxnOutcome::Succeeded { .. }));
            drop(answers.send(Answer::MemberTold(is_told)).await);
        });
    }

    fn order(&self, order: Order) {
        // It ends with this task.
        drop(self.orders.send(order));
    }

    fn carry(&mut self, effect: Effect) {
        match effect {
            // After what was decided before it: who is told that the seat is here opens at once.
            Effect::Claimed { session, outcome } => self.order(Order::Claimed(session, outcome)),
            Effect::CloseQuotas => self.order(Order::CloseQuotas),
            Effect::Damaged { key, why } => {
                log::error!("cluster: {key} in etcd does not count: {why}");
            }
            Effect::EndAll => self.order(Order::EndAll),
            Effect::Expect { session, key_no } => self.order(Order::Expect(session, key_no)),
            Effect::GrantLease { ttl_secs } => self.call(move |etcd| async move {
                match etcd.grant(ttl_secs).await {
                    Ok(granted) => {
                        let (lease, sent) = (granted.lease, granted.sent);
                        (Event::LeaseGranted { lease, sent }, Ok(()))
                    }
                    Err(error) => (Event::Failed(Asked::Grant), Err(error)),
                }
            }),
            Effect::HoldUntil(until) => {
                if let Some(until) = until {
                    self.remember(until);
                }
                self.order(Order::HoldUntil(until));
            }
            Effect::Keep { session } => self.order(Order::Keep(session)),
            Effect::KeepAlive { lease } => self.keep_alive(lease),
            Effect::Limit { key_no, seats, force } => {
                self.order(Order::Limit(key_no, seats, force))
            }
            Effect::Load => self.call(|etcd| async move {
                match etcd.range("").await {
                    Ok(loaded) => {
                        let (entries, revision) = (loaded.entries, loaded.revision);
                        (Event::Loaded { entries, revision }, Ok(()))
                    }
                    Err(error) => (Event::Failed(Asked::Load), Err(error)),
                }
            }),
            Effect::NoQuota { id } => self.quota_wants.tell(&id, false, usize::MAX),
            Effect::NoSeats { key_no } => self.wants.tell(&key_no, false, usize::MAX),
            Effect::QuotaLimits { no, limits } => self.order(Order::QuotaLimits(no, limits)),
            Effect::RevokeLease { lease } => {
                let etcd = self.etcd.clone();
                tokio::spawn(async move {
                    if let Err(error) = etcd.revoke(lease).await {
                        log::debug!("cluster: the lease ends by itself: {}", error.told());
                    }
                });
            }
            Effect::Standing(standing) => self.stands(standing),
            Effect::Stopped => self.is_ended = true,
            Effect::TakeAway { session, .. } => self.order(Order::TakeAway(session)),
            Effect::Txn { no, txn } => self.call(move |etcd| async move {
                match etcd.txn(&txn).await {
                    Ok(outcome) => (Event::TxnDone { no, outcome }, Ok(())),
                    // Surely not carried out: as good as one that lost.
                    Err(error) => (Event::TxnDone { no, outcome: TxnOutcome::Failed }, Err(error)),
                }
            }),
            Effect::ValidUntil(until) => self.order(Order::GrantUntil(until)),
            Effect::Watch { after } => self.watch(after),
        }
    }

    /// Makes a call of etcd beside this task.
    fn call<F>(&self, make: impl FnOnce(Etcd) -> F)
    where
        F: Future<Output = (Event, Result<(), EtcdError>)> + Send + 'static,
    {
        let calling = make(self.etcd.clone());
        let answers = self.answers.clone();
        tokio::spawn(async move {
            let (event, told) = calling.await;
            drop(answers.send(Answer::Told(told.map_err(|error| error.told()))).await);
            drop(answers.send(Answer::Event(event)).await);
        });
    }

    fn keep_alive(&self, lease: i64) {
        let answers = self.answers.clone();
        self.call(move |etcd| async move {
            let begun = clock::mono();
            let answer = etcd.keep_alive(lease).await;
            let millis = u64::try_from(clock::mono().since(begun).as_millis()).unwrap_or(u64::MAX);
            match answer {
                Ok(KeptAlive::Renewed { sent }) => {
                    drop(answers.send(Answer::Renewed { millis }).await);
                    (Event::KeptAlive { lease, sent }, Ok(()))
                }
                Ok(KeptAlive::Lost) => (Event::LeaseLost { lease }, Ok(())),
                Err(error) => (Event::Failed(Asked::KeepAlive), Err(error)),
            }
        });
    }

    fn watch(&mut self, after: i64) {
        if let Some(before) = self.watching.take() {
            before.abort();
        }
        let mut watch = self.etcd.watch("", after);
        let answers = self.answers.clone();
        self.watching = Some(tokio::spawn(async move {
            loop {
                let event = match watch.next().await {
                    Watched::Changes { changes, revision } => Event::Changed { changes, revision },
                    Watched::Compacted | Watched::Lost => Event::WatchLost,
                };
                let is_over = matches!(event, Event::WatchLost);
                if answers.send(Answer::Event(event)).await.is_err() || is_over {
                    return;
                }
            }
        }));
    }

    fn stands(&self, standing: Standing) {
        let before = self.state.borrow().standing;
        self.change_state(|state| state.standing = standing);
        let note = match standing {
            Standing::Isolated { .. } => "cluster_isolated",
            Standing::Joined => "cluster_joined",
            Standing::Starting | Standing::Stopping => return,
        };
        if matches!(before, Standing::Isolated { .. })
            == matches!(standing, Standing::Isolated { .. })
            && before != Standing::Starting
        {
            return;
        }
        if matches!(standing, Standing::Isolated { .. }) {
            log::error!(
                "cluster: etcd does not answer: seats that are held go on, none are given out"
            );
        } else {
            log::info!("cluster: in touch with etcd");
        }
        let driver = self.driver.clone();
        let subject = self.me.to_string();
        tokio::spawn(async move {
            let note = AuditNote { action: note, subject, ..AuditNote::default() };
            put_down(&driver, note).await;
        });
    }
}
