//! A watch over a prefix that survives the endpoint at which it began.
//!
//! It tells every change after a revision once and in order, as long as some endpoint answers; when
//! none does, or the revision is compacted away, it says so and ends. What to load then is decided by
//! who listens.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::Incoming;
use licence_core::cluster::Change;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::calls::{Calls, encoded};
use super::link::Bounds;
use super::wire::{Stream, WatchAnswer, WatchRequest};
use super::{ANSWER_BYTES_MAX, EtcdError};
use crate::clock;

/// Answers that wait for the listener. More stay in the socket, and then in etcd.
const WAITING_MAX: usize = 64;

/// How often the endpoint of a silent watch is asked how it is. Silence is the rule (renewals of leases
/// change nothing), so it says nothing about the endpoint.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// A watch that ends sooner is followed by [`PAUSE`], so that an endpoint that takes watches and drops
/// them is not asked without end.
const STEADY: Duration = Duration::from_secs(5);

/// Short beside the seconds after which others notice that a node hears nothing.
const PAUSE: Duration = Duration::from_millis(200);

/// What a watch tells.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Watched {
    /// What changed.
    Changes {
        /// In order, whole revisions; keys without the root.
        changes: Vec<Change>,
        /// Revision of the last of them.
        revision: i64,
    },
    /// What happened after the revision is no longer kept: everything must be loaded. The watch ends.
    Compacted,
    /// No endpoint carries it on. The watch ends.
    Lost,
}

/// A watch. Dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    told: mpsc::Receiver<Watched>,
    _task: JoinSet<()>,
}

impl Watch {
    pub(super) fn start(calls: Arc<Calls>, root: Arc<str>, prefix: Vec<u8>, after: i64) -> Self {
        let (teller, told) = mpsc::channel(WAITING_MAX);
        let mut task = JoinSet::new();
        let next = after.saturating_add(1);
        task.spawn(async move {
            Course { calls, root, prefix, next, has_begun: false, teller }.run().await
        });
        Self { told, _task: task }
    }

    /// What comes next; [`Watched::Lost`] for ever after the end.
    pub async fn next(&mut self) -> Watched {
        self.told.recv().await.unwrap_or(Watched::Lost)
    }
}

/// Why a watch at one endpoint is over.
#[derive(Debug)]
enum End {
    /// Nobody listens.
    Unheard,
    Compacted,
    Failed(EtcdError),
}

impl From<EtcdError> for End {
    fn from(error: EtcdError) -> Self {
        Self::Failed(error)
    }
}

struct Course {
    calls: Arc<Calls>,
    root: Arc<str>,
    prefix: Vec<u8>,
    /// First revision that was not told yet.
    next: i64,
    /// Whether etcd has taken the watch at the endpoint of the moment.
    has_begun: bool,
    teller: mpsc::Sender<Watched>,
}

impl Course {
    async fn run(mut self) {
        let mut failures = 0;
        let mut index = self.calls.preferred();
        loop {
            let began = clock::mono();
            let error = match self.follow(index).await {
                End::Unheard => return,
                End::Compacted => {
                    self.tell(Watched::Compacted).await.ok();
                    return;
                }
                End::Failed(error) => error,
            };
            log::info!("a watch in etcd is interrupted: {}", error.told());
            if self.has_begun {
                failures = 0;
                if clock::mono().since(began) < STEADY {
                    tokio::time::sleep(PAUSE).await;
                }
            }
            failures += 1;
            // Each once, and the one at which it had begun once more.
            if failures > self.calls.count() {
                self.tell(Watched::Lost).await.ok();
                return;
            }
            let is_of_user = matches!(error, EtcdError::Denied | EtcdError::Unknown { .. });
            if is_of_user && self.calls.has_user() {
                // Some versions say the same of a missing right and of a token that has run out; the next
                // try says which it is.
                if let Err(error) = self.calls.sign_in_anew().await {
                    log::info!("signing in to etcd: {}", error.told());
                }
            }
            index = (index + 1) % self.calls.count().max(1);
        }
    }

    /// Watches at one endpoint until that ends.
    async fn follow(&mut self, index: usize) -> End {
        match self.told_at(index).await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn told_at(&mut self, index: usize) -> Result<std::convert::Infallible, End> {
        self.has_begun = false;
        let body = encoded(&WatchRequest::new(&self.prefix, self.next))?;
        let response = tokio::select! {
            opened = self.calls.open(index, "/v3/watch", body) => opened?,
            () = self.teller.closed() => return Err(End::Unheard),
        };
        let status = response.status().as_u16();
        let mut probes = JoinSet::new();
        probes.spawn(probe(Arc::clone(&self.calls), index));
        let begun_by = tokio::time::sleep(self.calls.timeout());
        tokio::pin!(begun_by);
        let mut lines = Lines::new(response);
        let mut part = Vec::new();
        loop {
            let line = tokio::select! {
                line = lines.next() => line,
                Some(failed) = probes.join_next() => {
                    return Err(End::Failed(failed.unwrap_or_else(|_| self.calls.silent(index))));
                }
                () = self.teller.closed() => return Err(End::Unheard),
                () = &mut begun_by, if !self.has_begun => {
                    return Err(End::Failed(self.calls.silent(index)));
                }
            };
            let line = match line {
                Ok(Some(line)) => line,
                Ok(None) => return Err(End::Failed(self.calls.silent(index))),
                Err(fault) => return Err(End::Failed(self.calls.broken(index, fault))),
            };
            let answer: Stream<WatchAnswer> =
                serde_json::from_slice(&line).map_err(|_| self.calls.no_gateway(index, status))?;
            let answer = answer.into_result()?;
            self.calls.check_cluster(index, answer.header.cluster_id)?;
            if answer.canceled {
                return Err(cancelled(&answer));
            }
            self.has_begun |= answer.created;
            self.take(answer, &mut part).await?;
        }
    }

    /// Tells what an answer brings, once it is whole.
    async fn take(&mut self, answer: WatchAnswer, part: &mut Vec<Change>) -> Result<(), End> {
        let is_progress = answer.events.is_empty() && !answer.created && !answer.fragment;
        if is_progress && part.is_empty() {
            // All changes up to here have been told, so a later watch may begin here.
            self.next = self.next.max(answer.header.revision.saturating_add(1));
            return Ok(());
        }
        let last = answer.events.iter().map(super::wire::EventWire::revision).max();
        let next = self.next;
        let fresh = answer.events.into_iter().filter(|event| event.revision() >= next);
        part.extend(fresh.filter_map(|event| event.change(&self.root)));
        let Some(last) = last.filter(|_| !answer.fragment) else { return Ok(()) };
        self.next = self.next.max(last.saturating_add(1));
        let changes = std::mem::take(part);
        if changes.is_empty() {
            return Ok(());
        }
        self.tell(Watched::Changes { changes, revision: last }).await
    }

    async fn tell(&self, watched: Watched) -> Result<(), End> {
        self.teller.send(watched).await.map_err(|_| End::Unheard)
    }
}

fn cancelled(answer: &WatchAnswer) -> End {
    if answer.compact_revision > 0 {
        return End::Compacted;
    }
    let said = answer.cancel_reason.as_str();
    if said.contains("compacted") {
        return End::Compacted;
    }
    End::Failed(if said.contains("permission denied") {
        EtcdError::Denied
    } else {
        // Code 14: of the member, not of the question.
        EtcdError::refused(14, if said.is_empty() { "the watch was cancelled" } else { said })
    })
}

/// Asks the endpoint how it is until it is not well.
async fn probe(calls: Arc<Calls>, index: usize) -> EtcdError {
    loop {
        tokio::time::sleep(PROBE_EVERY).await;
        let bounds = Bounds { connect: calls.timeout(), whole: calls.timeout() };
        match calls.status_of(index, bounds).await {
            Ok(status) if status.leader == 0 => return calls.leaderless(index),
            Ok(_) => {}
            Err(error) if error.is_of_the_endpoint() => return error,
            // It answers; that this user may not ask it is no fault of the watch.
            Err(_) => {}
        }
    }
}

/// What is wrong with a stream of lines.
#[derive(Debug)]
pub(super) enum Fault {
    TooLong,
    Broken(hyper::Error),
}

/// The lines of an answer that does not end. Cancel safe: what was read stays.
struct Lines {
    body: Incoming,
    kept: BytesMut,
    /// How much of it holds no end of a line.
    looked: usize,
    has_ended: bool,
}

impl Lines {
    fn new(response: Response<Incoming>) -> Self {
        Self { body: response.into_body(), kept: BytesMut::new(), looked: 0, has_ended: false }
    }

    /// The next line; nothing at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            if let Some(line) = cut(&mut self.kept, &mut self.looked) {
                return Ok(Some(line));
            }
            if self.has_ended {
                let rest = self.kept.split().freeze();
                self.looked = 0;
                return Ok(Some(rest).filter(|rest| !rest.trim_ascii().is_empty()));
            }
            match self.body.frame().await {
                None => self.has_ended = true,
                Some(Err(error)) => return Err(Fault::Broken(error)),
                Some(Ok(frame)) => {
                    let Ok(more) = frame.into_data() else { continue };
                    if self.kept.len() + more.len() > ANSWER_BYTES_MAX {
                        return Err(Fault::TooLong);
                    }
                    self.kept.extend_from_slice(&more);
                }
            }
        }
    }
}

/// Cuts the first whole line that is not blank off.
fn cut(kept: &mut BytesMut, looked: &mut usize) -> Option<Bytes> {
    loop {
        let unseen = kept.get(*looked..).unwrap_or_default();
        let Some(end) = unseen.iter().position(|byte| *byte == b'\n') else {
            *looked = kept.len();
            return None;
        };
        let line = kept.split_to(*looked + end + 1).freeze();
        *looked = 0;
        if !line.trim_ascii().is_empty() {
            return Some(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_wherever_the_parts_of_an_answer_end() {
        let whole = b"{\"a\":1}\n\n{\"b\":2}\n{\"c\"";
        for size in 1..=whole.len() {
            let (mut kept, mut looked) = (BytesMut::new(), 0);
            let mut lines = Vec::new();
            for part in whole.chunks(size) {
                kept.extend_from_slice(part);
                while let Some(line) = cut(&mut kept, &mut looked) {
                    lines.push(String::from_utf8(line.trim_ascii().to_vec()).unwrap());
                }
            }
            assert_eq!(lines, ["{\"a\":1}", "{\"b\":2}"], "parts of {size}");
            assert_eq!(&kept[..], b"{\"c\"");
        }
    }

    fn course() -> (Course, mpsc::Receiver<Watched>) {
        let config = crate::cluster::etcd::EtcdConfig {
            endpoints: vec!["http://127.0.0.1:1".parse().unwrap()],
            ca: None,
            certificate: None,
            key: None,
            user: None,
            password: None,
            timeout: Duration::from_secs(1),
        };
        let (teller, told) = mpsc::channel(WAITING_MAX);
        let calls = Arc::new(Calls::new(&config, crate::cluster::etcd::dial::tcp).unwrap());
        let prefix = b"/".to_vec();
        let (root, has_begun) = ("/".into(), false);
        (Course { calls, root, prefix, next: 5, has_begun, teller }, told)
    }

    fn answer(text: &str) -> WatchAnswer {
        serde_json::from_str(text).unwrap()
    }

    #[tokio::test]
    async fn parts_of_one_answer_are_told_as_one_and_progress_moves_the_start() {
        let (mut course, mut told) = course();
        let mut part = Vec::new();
        for text in [
            r#"{"header":{"revision":"9"},"created":true}"#,
            r#"{"header":{"revision":"9"},"fragment":true,"events":[
                {"kv":{"key":"L2E=","mod_revision":"4"}},{"kv":{"key":"L2E=","mod_revision":"7"}}]}"#,
            r#"{"header":{"revision":"9"},"events":[{"type":"DELETE","kv":{"key":"L2I=","mod_revision":"7"}}]}"#,
        ] {
            assert!(told.try_recv().is_err(), "told before it was whole");
            course.take(answer(text), &mut part).await.unwrap();
        }
        let Watched::Changes { changes, revision } = told.try_recv().unwrap() else {
            panic!("no changes");
        };
        // The one of revision 4 had been told before.
        assert_eq!(changes.iter().map(Change::key).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((revision, course.next), (7, 8));
        course.take(answer(r#"{"header":{"revision":"20"}}"#), &mut part).await.unwrap();
        assert_eq!(course.next, 21);
        assert!(told.try_recv().is_err());
    }

    #[test]
    fn reasons_of_an_end_are_told_apart() {
        for (text, wanted) in [
            (r#"{"canceled":true,"compact_revision":"3"}"#, "Compacted"),
            (r#"{"canceled":true,"cancel_reason":"etcdserver: permission denied"}"#, "Denied"),
            (
                r#"{"canceled":true,"cancel_reason":"rpc error: code = Unauthenticated desc = etcdserver: invalid auth token"}"#,
                "Unknown",
            ),
            (r#"{"canceled":true}"#, "the watch was cancelled"),
        ] {
            let end = format!("{:?}", cancelled(&answer(text)));
            assert!(end.contains(wanted), "{text}: {end}");
        }
    }

    #[tokio::test]
    async fn watch_that_no_endpoint_carries_is_lost() {
        let (course, mut told) = course();
        course.run().await;
        assert_eq!(told.recv().await, Some(Watched::Lost));
        assert_eq!(told.recv().await, None);
    }
}
