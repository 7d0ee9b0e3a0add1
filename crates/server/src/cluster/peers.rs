//! What the nodes of a cluster ask one another: who is let in by which pass, and calls of other nodes,
//! bounded in time and size.
//!
//! Who is a node, where it listens and which key it has, etcd alone says, as this node saw it last;
//! whether the node lives does not matter here. What is asked and what is answered stands elsewhere;
//! seats are never spoken of between nodes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use hyper::body::Bytes;
use licence_core::cluster::pass::{self, Pass, PassError};
use licence_core::cluster::record::Member;
use licence_core::cluster::{ClusterId, NodeId};
use licence_core::language::Language;
use licence_core::protocol::ErrorBody;
use licence_core::seal::SigningKey;
use licence_core::time::Utc;
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::node::State;
use crate::certificate::pin_of;
use crate::clock;
use crate::link::{self, LinkError, Remote};

/// How long the other nodes may take together when all of them are asked: whoever looks waits two
/// seconds in all.
pub(crate) const ALL_BOUND: Duration = Duration::from_millis(1800);

/// How long one node may take for what one asks it to do.
pub(crate) const ONE_BOUND: Duration = Duration::from_secs(5);

/// Bytes of the answers of all nodes together, when all of them are asked.
const ALL_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of the answer of one of them: some 25 000 sessions.
pub(crate) const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What an answer may have beside the bytes that are asked for.
const MARGIN_BYTES: usize = 4096;

/// Times that all nodes are asked at one moment; together with [`ALL_BYTES_MAX`] it bounds the memory.
/// Whoever comes then waits for a turn, within the same two seconds.
const TURNS: usize = 2;

/// Addresses of one node that are tried.
const ADDRESSES_MAX: usize = 4;

/// Reaches the other nodes. Clones are the same.
#[derive(Clone, Debug)]
pub struct Peers {
    key: Arc<SigningKey>,
    seen: watch::Receiver<Arc<State>>,
    turns: Arc<Semaphore>,
}

/// A node that is asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    /// Its name; its id if it has none.
    pub(crate) name: String,
    member: Member,
}

/// What is asked of one node or of all.
#[derive(Clone, Debug)]
pub(crate) struct Question<'a> {
    pub(crate) method: &'static str,
    /// Without the query.
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    /// JSON, or nothing.
    pub(crate) body: Vec<u8>,
    /// Who asks this node.
    pub(crate) user: &'a str,
    /// For texts of the answer.
    pub(crate) language: Language,
}

/// Why a node has given no answer that can be used.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    /// It was not asked: this node is asking all others for too many already.
    Busy,
    /// It answers something else.
    Garbled,
    /// The call failed.
    Link(LinkError),
    /// It names no address, or no key, in etcd.
    NoAddress,
    /// It refuses.
    Refused(StatusCode, Option<ErrorBody>),
    /// It takes too long.
    Silent,
}

impl From<LinkError> for NoAnswer {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::Connect(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                Self::Silent
            }
            LinkError::TimedOut => Self::Silent,
            error @ (LinkError::Body
            | LinkError::Connect(_)
            | LinkError::Http(_)
            | LinkError::Request(_)
            | LinkError::Tls(_)) => Self::Link(error),
        }
    }
}

impl NoAnswer {
    /// Whether the node cannot have done what it was asked for.
    pub(crate) const fn is_undone(&self) -> bool {
        match self {
            Self::Link(error) => error.is_unsent(),
            Self::Busy | Self::NoAddress | Self::Refused(..) => true,
            Self::Garbled | Self::Silent => false,
        }
    }

    /// For people.
    pub(crate) fn text(&self, language: Language) -> String {
        match self {
            Self::Busy => language
                .pick(
                    "не спрошен: слишком много запросов ко всем узлам сразу",
                    "it was not asked: too many ask for all nodes at once",
                )
                .to_owned(),
            Self::Garbled => {
                language.pick("отвечает непонятно", "its answer cannot be read").to_owned()
            }
            Self::Link(LinkError::Tls(_)) => language
                .pick(
                    "защищённого соединения нет, или ключ узла не тот, что записан в etcd",
                    "TLS with it does not come about, or its key is not the one in etcd",
                )
                .to_owned(),
            Self::Link(LinkError::Body) => language
                .pick("ответ слишком длинный или оборвался", "its answer is too long or breaks off")
                .to_owned(),
            Self::Link(error) => match language {
                Language::English => error.told(),
                Language::Russian => format!("недоступен ({})", error.told()),
            },
            Self::NoAddress => language
                .pick("в etcd нет его адреса или ключа", "etcd has no address or key of it")
                .to_owned(),
            Self::Refused(_, Some(body)) => body.message.clone(),
            Self::Refused(status, None) => match language {
                Language::English => format!("it answers {status}"),
                Language::Russian => format!("отвечает {status}"),
            },
            Self::Silent => {
                language.pick("не ответил вовремя", "it does not answer in time").to_owned()
            }
        }
    }
}

/// What all other nodes have answered.
#[derive(Debug)]
pub(crate) struct Gathered<T> {
    pub(crate) answers: Vec<(Node, T)>,
    pub(crate) missing: Vec<(Node, NoAnswer)>,
}

impl Peers {
    /// Reaches the nodes that `seen` tells, by passes that this key signs.
    pub fn new(key: Arc<SigningKey>, seen: watch::Receiver<Arc<State>>) -> Self {
        Self { key, seen, turns: Arc::new(Semaphore::new(TURNS)) }
    }

    fn state(&self) -> Arc<State> {
        self.seen.borrow().clone()
    }

    /// This node.
    pub(crate) fn me(&self) -> NodeId {
        self.state().me
    }

    /// What people call a node.
    pub(crate) fn name(&self, id: &NodeId) -> String {
        name_in(&self.state().contents.members, id)
    }

    /// The node with this name or id, unless there is none or more than one.
    pub(crate) fn named(&self, name: &str) -> Option<Node> {
        let state = self.state();
        let id = state.contents.named(name)?;
        state.contents.members.get(&id).map(|member| node(id, member))
    }

    /// The nodes but this one, by name.
    fn others(&self) -> Vec<Node> {
        let state = self.state();
        let others = state.contents.members.iter().filter(|(id, _)| **id != state.me);
        let mut others: Vec<Node> = others.map(|(id, member)| node(*id, member)).collect();
        others.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        others
    }

    /// Bytes that one node may answer when all are asked.
    pub(crate) fn share(&self) -> usize {
        let members = self.state().contents.members.len().max(1);
        ANSWER_BYTES_MAX.min(ALL_BYTES_MAX / members)
    }

    /// Whoever shows this pass for this request: the user at the other node, and that node.
    ///
    /// # Errors
    ///
    /// See [`PassError`].
    pub(crate) fn admit(
        &self,
        token: &str,
        method: &str,
        path: &str,
        now: Utc,
    ) -> Result<String, PassError> {
        let State { me, cluster, contents, .. } = &*self.state();
        let asked = pass::Asked { me: *me, cluster: *cluster, method, path, now };
        let pass = Pass::verify(token, &contents.members, asked)?;
        Ok(format!("{}@{}", pass.user, name_in(&contents.members, &pass.iss)))
    }

    /// Asks all other nodes at once, for [`ALL_BOUND`] at most. The answers are in the order of the
    /// nodes' names.
    pub(crate) async fn ask_all<T: DeserializeOwned + Send + 'static>(
        &self,
        question: &Question<'_>,
    ) -> Gathered<T> {
        let began = clock::mono();
        let others = self.others();
        let mut missing: BTreeMap<usize, NoAnswer> =
            (0..others.len()).map(|at| (at, NoAnswer::Busy)).collect();
        let mut answers = BTreeMap::new();
        // The semaphore is never closed; whoever gets no turn in time asks nobody.
        let turn = tokio::time::timeout(ALL_BOUND, Arc::clone(&self.turns).acquire_owned()).await;
        if let Ok(Ok(_turn)) = turn {
            let left = ALL_BOUND.saturating_sub(clock::mono().since(began));
            let (me, bytes_max) = (self.state(), self.share() + MARGIN_BYTES);
            let mut asking = JoinSet::new();
            for (at, node) in others.iter().enumerate() {
                let call = Call::new(&self.key, &me, node, question, left, bytes_max);
                asking.spawn(async move {
                    let asked = async { read(call.ask().await?).await };
                    let answer = tokio::time::timeout(left, asked).await;
                    (at, answer.unwrap_or(Err(NoAnswer::Silent)))
                });
            }
            while let Some(answered) = asking.join_next().await {
                match answered {
                    Ok((at, Ok(answer))) => {
                        missing.remove(&at);
                        answers.insert(at, answer);
                    }
                    Ok((at, Err(why))) => {
                        missing.insert(at, why);
                    }
                    Err(error) => log::error!("a node could not be asked: {error}"),
                }
            }
        }
        let node = |at: usize| others.get(at).cloned();
        Gathered {
            answers: answers.into_iter().filter_map(|(at, it)| Some((node(at)?, it))).collect(),
            missing: missing.into_iter().filter_map(|(at, it)| Some((node(at)?, it))).collect(),
        }
    }

    /// Asks one node, for [`ONE_BOUND`] at most.
    pub(crate) async fn ask_one<T: DeserializeOwned + Send + 'static>(
        &self,
        node: &Node,
        question: &Question<'_>,
    ) -> Result<T, NoAnswer> {
        let bytes_max = ANSWER_BYTES_MAX;
        let call = Call::new(&self.key, &self.state(), node, question, ONE_BOUND, bytes_max);
        let asked = async { read(call.ask().await?).await };
        tokio::time::timeout(ONE_BOUND, asked).await.unwrap_or(Err(NoAnswer::Silent))
    }
}

fn name_in(members: &BTreeMap<NodeId, Member>, id: &NodeId) -> String {
    let name = members.get(id).map(|member| member.name.as_str()).filter(|name| !name.is_empty());
    name.map_or_else(|| id.to_string(), str::to_owned)
}

fn node(id: NodeId, member: &Member) -> Node {
    let name = if member.name.is_empty() { id.to_string() } else { member.name.clone() };
    Node { id, name, member: member.clone() }
}

/// One call of one node, with all that it takes.
struct Call {
    key: Arc<SigningKey>,
    pass: Pass,
    user: String,
    node: Node,
    method: &'static str,
    path: String,
    body: Vec<u8>,
    language: Language,
    bound: Duration,
    bytes_max: usize,
}

impl Call {
    fn new(
        key: &Arc<SigningKey>,
        state: &State,
        node: &Node,
        question: &Question<'_>,
        bound: Duration,
        bytes_max: usize,
    ) -> Self {
        let Question { method, path, query, body, user, language } = question;
        let cluster: ClusterId = state.cluster;
        Self {
            key: Arc::clone(key),
            pass: Pass::new(state.me, node.id, cluster, (method, path)),
            user: (*user).to_owned(),
            node: node.clone(),
            method,
            path: query.as_ref().map_or_else(|| path.clone(), |query| format!("{path}?{query}")),
            body: body.clone(),
            language: *language,
            bound,
            bytes_max,
        }
    }

    /// Tries the node's addresses one after another, until one has heard of the call.
    async fn ask(self) -> Result<(StatusCode, Bytes), NoAnswer> {
        let key = self.node.member.key.ed25519().map_err(|_| NoAnswer::NoAddress)?;
        let pin = pin_of(&key);
        let remotes = self.node.member.addresses.iter().take(ADDRESSES_MAX);
        let remotes: Vec<Remote> = remotes.filter_map(|text| remote(text, pin)).collect();
        let began = clock::mono();
        let mut last = NoAnswer::NoAddress;
        for (at, remote) in remotes.iter().enumerate() {
            let left = self.bound.saturating_sub(clock::mono().since(began));
            // What is left is shared by the addresses that are left.
            let more = u32::try_from(remotes.len() - at).unwrap_or(u32::MAX);
            let asked = link::Asked {
                method: self.method,
                path: self.path.clone(),
                body: self.body.clone(),
                connect: left / more,
                bound: left,
                bytes_max: self.bytes_max,
                language: self.language,
            };
            let pass = self.pass.clone().by(&self.user, clock::utc()).sign(&self.key);
            let Ok(pass) = pass.inspect_err(|error| log::error!("a pass: {error}")) else { break };
            match link::ask(remote, &pass, asked).await {
                Ok(answer) => return Ok(answer),
                Err(error) if error.is_unsent() => last = error.into(),
                Err(error) => return Err(error.into()),
            }
        }
        Err(last)
    }
}

/// `host:port` as it lies in etcd.
fn remote(text: &str, pin: [u8; 32]) -> Option<Remote> {
    let (host, port) = text.rsplit_once(':')?;
    let (host, port) = (host.to_owned(), port.parse().ok()?);
    (!host.is_empty()).then_some(Remote { host, port, pin })
}

/// What a node has answered, unless it refuses. Long answers are read on a thread of their own.
async fn read<T: DeserializeOwned + Send + 'static>(
    (status, body): (StatusCode, Bytes),
) -> Result<T, NoAnswer> {
    if !status.is_success() {
        return Err(NoAnswer::Refused(status, serde_json::from_slice(&body).ok()));
    }
    let reading = tokio::task::spawn_blocking(move || serde_json::from_slice(&body).ok());
    reading.await.ok().flatten().ok_or(NoAnswer::Garbled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_of_a_node_is_a_host_and_a_port() {
        let address = |text| remote(text, [0; 32]).map(|remote| remote.address());
        for text in ["lic.example:9099", "10.0.0.7:1", "[::1]:9099"] {
            assert_eq!(address(text).as_deref(), Some(text));
        }
        for text in ["lic.example", ":9099", "lic.example:", "lic.example:99999", ""] {
            assert_eq!(address(text), None, "{text}");
        }
    }

    #[test]
    fn what_may_have_been_done_is_never_told_as_undone() {
        let timed_out = || std::io::Error::from(std::io::ErrorKind::TimedOut);
        assert!(!NoAnswer::from(LinkError::TimedOut).is_undone());
        assert!(!NoAnswer::from(LinkError::Body).is_undone());
        assert!(!NoAnswer::Garbled.is_undone());
        assert!(NoAnswer::Refused(StatusCode::FORBIDDEN, None).is_undone());
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        assert!(NoAnswer::from(LinkError::Connect(refused)).is_undone());
        assert!(matches!(NoAnswer::from(LinkError::Connect(timed_out())), NoAnswer::Silent));
    }
}
