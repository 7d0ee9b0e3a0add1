//! The JSON of etcd's gateway: 64-bit numbers are decimal strings, bytes are base64, and what is zero,
//! empty or false is left out.
//!
//! Types of the wire alone; what they mean to the rest is said by `licence_core::cluster`.

use std::fmt::Display;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use licence_core::cluster::{Change, Compare, Entry, Op, Txn};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::EtcdError;

/// Bytes as base64.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Base64(pub(super) Vec<u8>);

impl Serialize for Base64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        STANDARD.decode(text.as_bytes()).map(Self).map_err(D::Error::custom)
    }
}

/// A number, as a string of digits or as itself.
fn number<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Raw {
        Text(String),
        Number(serde_json::Number),
    }
    let read = match Raw::deserialize(deserializer)? {
        Raw::Text(text) => text.parse(),
        Raw::Number(number) => number.to_string().parse(),
    };
    read.map_err(D::Error::custom)
}

/// A number as a string of digits.
fn digits<S: Serializer>(number: &i64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
}

const fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// The first key behind all that begin with `prefix`.
pub(super) fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    // By etcd's convention: to the end of all keys.
    vec![0]
}

/// Of every answer.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Header {
    #[serde(deserialize_with = "number")]
    pub(super) cluster_id: u64,
    #[serde(deserialize_with = "number")]
    pub(super) member_id: u64,
    #[serde(deserialize_with = "number")]
    pub(super) revision: i64,
    #[serde(deserialize_with = "number")]
    pub(super) raft_term: u64,
}

/// An answer that names the cluster from which it comes.
pub(super) trait Answer: serde::de::DeserializeOwned + Send + 'static {
    /// The cluster's id; 0 when the answer says none; nothing when it is a refusal.
    fn cluster(&self) -> Option<u64>;
}

macro_rules! answers {
    ($($name:ident),+) => { $(
        impl Answer for $name {
            fn cluster(&self) -> Option<u64> {
                Some(self.header.cluster_id)
            }
        }
    )+ };
}

answers!(
    RangeAnswer,
    TxnAnswer,
    GrantAnswer,
    KeepAliveAnswer,
    Nothing,
    StatusAnswer,
    TokenAnswer,
    WatchAnswer
);

/// A question without fields.
#[derive(Debug, Serialize)]
pub(super) struct Empty {}

/// An answer of which only the header matters.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Nothing {
    header: Header,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct RangeRequest {
    key: Base64,
    range_end: Base64,
    #[serde(serialize_with = "digits", skip_serializing_if = "is_zero")]
    limit: i64,
    #[serde(serialize_with = "digits", skip_serializing_if = "is_zero")]
    revision: i64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    count_only: bool,
}

impl RangeRequest {
    /// The first page of what begins with `prefix`.
    pub(super) fn page(prefix: &[u8], limit: i64) -> Self {
        Self {
            key: Base64(prefix.to_vec()),
            range_end: Base64(end_of(prefix)),
            limit,
            revision: 0,
            count_only: false,
        }
    }

    /// A read of this key that answers without content.
    pub(super) fn count(key: &[u8]) -> Self {
        Self {
            key: Base64(key.to_vec()),
            range_end: Base64(Vec::new()),
            limit: 0,
            revision: 0,
            count_only: true,
        }
    }

    /// The page after this pair.
    pub(super) fn go_on_after(&mut self, last: &Pair) {
        self.key.0.clone_from(&last.key.0);
        self.key.0.push(0);
    }

    /// As of this revision.
    pub(super) const fn at(&mut self, revision: i64) {
        self.revision = revision;
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RangeAnswer {
    pub(super) header: Header,
    pub(super) kvs: Vec<Pair>,
    pub(super) more: bool,
}

/// A key with its value.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Pair {
    key: Base64,
    value: Base64,
    #[serde(deserialize_with = "number")]
    create_revision: i64,
    #[serde(deserialize_with = "number")]
    mod_revision: i64,
    #[serde(deserialize_with = "number")]
    lease: i64,
}

impl Pair {
    /// The key below the root. One that is no text is nobody's of ours.
    fn relative(&self, root: &str) -> Option<String> {
        let relative = self.key.0.strip_prefix(root.as_bytes());
        let text = relative.and_then(|key| std::str::from_utf8(key).ok());
        if text.is_none() {
            log::warn!("a key in etcd below {root} is no text and is left alone");
        }
        text.map(str::to_owned)
    }

    pub(super) fn entry(self, root: &str) -> Option<Entry> {
        Some(Entry {
            key: self.relative(root)?,
            value: self.value.0,
            create_revision: self.create_revision,
            mod_revision: self.mod_revision,
            lease: self.lease,
        })
    }
}

#[derive(Debug, Serialize)]
pub(super) struct TxnRequest {
    compare: Vec<CompareWire>,
    success: Vec<OpWire>,
}

#[derive(Debug, Serialize)]
struct CompareWire {
    key: Base64,
    result: &'static str,
    #[serde(flatten)]
    target: Target,
}

#[derive(Debug, Serialize)]
#[serde(tag = "target", rename_all = "UPPERCASE")]
enum Target {
    Create {
        #[serde(serialize_with = "digits")]
        create_revision: i64,
    },
    Mod {
        #[serde(serialize_with = "digits")]
        mod_revision: i64,
    },
}

#[derive(Debug, Serialize)]
enum OpWire {
    #[serde(rename = "request_put")]
    Put {
        key: Base64,
        value: Base64,
        #[serde(serialize_with = "digits", skip_serializing_if = "is_zero")]
        lease: i64,
    },
    #[serde(rename = "request_delete_range")]
    Delete { key: Base64 },
}

impl TxnRequest {
    pub(super) fn new(txn: &Txn, root: &str) -> Self {
        let key = |relative: &str| Base64([root.as_bytes(), relative.as_bytes()].concat());
        let compare = txn.compare.iter().map(|compare| {
            let (relative, target) = match compare {
                Compare::Created { key, revision } => {
                    (key, Target::Create { create_revision: *revision })
                }
                Compare::Modified { key, revision } => {
                    (key, Target::Mod { mod_revision: *revision })
                }
            };
            CompareWire { key: key(relative), result: "EQUAL", target }
        });
        let success = txn.then.iter().map(|op| match op {
            Op::Put { key: relative, value, lease } => OpWire::Put {
                key: key(relative),
                value: Base64(value.clone()),
                lease: lease.unwrap_or(0),
            },
            Op::Delete { key: relative } => OpWire::Delete { key: key(relative) },
        });
        Self { compare: compare.collect(), success: success.collect() }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TxnAnswer {
    pub(super) header: Header,
    pub(super) succeeded: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct GrantRequest {
    #[serde(rename = "TTL", serialize_with = "digits")]
    pub(super) ttl: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct GrantAnswer {
    header: Header,
    #[serde(rename = "ID", deserialize_with = "number")]
    pub(super) id: i64,
    #[serde(rename = "TTL", deserialize_with = "number")]
    pub(super) ttl: i64,
}

#[derive(Debug, Serialize)]
pub(super) struct LeaseRequest {
    #[serde(rename = "ID", serialize_with = "digits")]
    pub(super) id: i64,
}

/// A time to live of 0 is that of a lease that is gone.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct KeepAliveAnswer {
    pub(super) header: Header,
    #[serde(rename = "TTL", deserialize_with = "number")]
    pub(super) ttl: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct StatusAnswer {
    pub(super) header: Header,
    pub(super) version: String,
    #[serde(deserialize_with = "number")]
    pub(super) db_size: u64,
    #[serde(deserialize_with = "number")]
    pub(super) db_size_in_use: u64,
    #[serde(deserialize_with = "number")]
    pub(super) leader: u64,
    #[serde(deserialize_with = "number")]
    pub(super) raft_index: u64,
    #[serde(deserialize_with = "number")]
    pub(super) raft_applied_index: u64,
    #[serde(deserialize_with = "number")]
    pub(super) raft_term: u64,
    pub(super) is_learner: bool,
    pub(super) errors: Vec<String>,
}

/// Its `Debug` form would show the password; so it has none.
#[derive(Serialize)]
pub(super) struct SignIn<'a> {
    pub(super) name: &'a str,
    pub(super) password: &'a str,
}

/// The same with the token.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct TokenAnswer {
    header: Header,
    pub(super) token: String,
}

/// A refusal: `error` and `message` say the same; later gateways have `message` alone.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Refusal {
    message: String,
    error: String,
    #[serde(alias = "grpc_code")]
    code: u32,
}

impl Refusal {
    pub(super) fn into_error(self) -> EtcdError {
        let said = if self.message.is_empty() { &self.error } else { &self.message };
        EtcdError::refused(self.code, said)
    }

    /// Whether anything was said at all.
    pub(super) const fn is_said(&self) -> bool {
        self.code != 0 && !(self.message.is_empty() && self.error.is_empty())
    }
}

/// One message of an answer that is a stream.
#[derive(Debug, Deserialize)]
pub(super) struct Stream<T> {
    result: Option<T>,
    error: Option<Refusal>,
}

impl<T: Default> Stream<T> {
    pub(super) fn into_result(self) -> Result<T, EtcdError> {
        match self.error {
            Some(refusal) => Err(refusal.into_error()),
            None => Ok(self.result.unwrap_or_default()),
        }
    }
}

impl<T: Answer> Answer for Stream<T> {
    fn cluster(&self) -> Option<u64> {
        match (&self.error, &self.result) {
            (Some(_), _) => None,
            (None, Some(result)) => result.cluster(),
            (None, None) => Some(0),
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct WatchRequest {
    create_request: WatchCreate,
}

#[derive(Debug, Serialize)]
struct WatchCreate {
    key: Base64,
    range_end: Base64,
    #[serde(serialize_with = "digits")]
    start_revision: i64,
    progress_notify: bool,
    fragment: bool,
}

impl WatchRequest {
    pub(super) fn new(prefix: &[u8], start_revision: i64) -> Self {
        Self {
            create_request: WatchCreate {
                key: Base64(prefix.to_vec()),
                range_end: Base64(end_of(prefix)),
                start_revision,
                progress_notify: true,
                fragment: true,
            },
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WatchAnswer {
    pub(super) header: Header,
    pub(super) created: bool,
    pub(super) canceled: bool,
    #[serde(deserialize_with = "number")]
    pub(super) compact_revision: i64,
    pub(super) cancel_reason: String,
    /// More of the same answer follows.
    pub(super) fragment: bool,
    pub(super) events: Vec<EventWire>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct EventWire {
    #[serde(rename = "type")]
    kind: EventKind,
    kv: Pair,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "UPPERCASE")]
enum EventKind {
    #[default]
    Put,
    Delete,
}

impl EventWire {
    /// The revision of the change.
    pub(super) const fn revision(&self) -> i64 {
        self.kv.mod_revision
    }

    pub(super) fn change(self, root: &str) -> Option<Change> {
        match self.kind {
            EventKind::Put => self.kv.entry(root).map(Change::Put),
            EventKind::Delete => {
                let revision = self.kv.mod_revision;
                Some(Change::Delete { key: self.kv.relative(root)?, revision })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn range_of_a_prefix_ends_behind_all_that_begin_with_it() {
        for (prefix, end) in [
            (&b"/licence/"[..], &b"/licence0"[..]),
            (b"a\xff", b"b"),
            (b"\xff\xff", b"\0"),
            (b"", b"\0"),
        ] {
            assert_eq!(end_of(prefix), end);
        }
    }

    #[test]
    fn transaction_is_written_as_the_gateway_reads_it() {
        let txn = Txn {
            compare: vec![
                Compare::Created { key: "a".to_owned(), revision: 0 },
                Compare::Modified { key: "b".to_owned(), revision: i64::MAX },
            ],
            then: vec![
                Op::Put { key: "a".to_owned(), value: b"1".to_vec(), lease: Some(7) },
                Op::Put { key: "b".to_owned(), value: Vec::new(), lease: None },
                Op::Delete { key: "c".to_owned() },
            ],
        };
        let written = serde_json::to_value(TxnRequest::new(&txn, "/")).unwrap();
        let wanted = serde_json::json!({
            "compare": [
                { "key": "L2E=", "result": "EQUAL", "target": "CREATE", "create_revision": "0" },
                { "key": "L2I=", "result": "EQUAL", "target": "MOD",
                  "mod_revision": "9223372036854775807" },
            ],
            "success": [
                { "request_put": { "key": "L2E=", "value": "MQ==", "lease": "7" } },
                { "request_put": { "key": "L2I=", "value": "" } },
                { "request_delete_range": { "key": "L2M=" } },
            ],
        });
        assert_eq!(written, wanted);
    }

    #[test]
    fn what_an_answer_leaves_out_is_zero_empty_or_false() {
        let answer: RangeAnswer = serde_json::from_str(
            r#"{"header":{"cluster_id":"14841639068965178418","revision":"2","raft_term":3},
                "kvs":[{"key":"L2E=","create_revision":"2","mod_revision":"2","version":"1"}],"count":"1"}"#,
        )
        .unwrap();
        assert_eq!((answer.header.revision, answer.header.raft_term), (2, 3));
        assert_eq!(answer.cluster(), Some(14_841_639_068_965_178_418));
        let entry = answer.kvs.into_iter().next().and_then(|pair| pair.entry("/")).unwrap();
        assert_eq!((entry.key.as_str(), entry.value.len(), entry.lease), ("a", 0, 0));
        let txn: TxnAnswer = serde_json::from_str(r#"{"header":{}}"#).unwrap();
        assert!(!txn.succeeded);
        let kept: Stream<KeepAliveAnswer> =
            serde_json::from_str(r#"{"result":{"header":{"revision":"2"},"ID":"123"}}"#).unwrap();
        assert_eq!(kept.into_result().unwrap().ttl, 0);
    }

    #[test]
    fn changes_are_puts_and_deletions_below_the_root() {
        let answer: Stream<WatchAnswer> = serde_json::from_str(
            r#"{"result":{"header":{"revision":"9"},"events":[
                {"kv":{"key":"L2E=","create_revision":"2","mod_revision":"8","value":"MQ==","lease":"5"}},
                {"type":"DELETE","kv":{"key":"L2I=","mod_revision":"9"}},
                {"kv":{"key":"L/8=","mod_revision":"9"}}]}}"#,
        )
        .unwrap();
        let events = answer.into_result().unwrap().events;
        let changes: Vec<_> = events.into_iter().filter_map(|event| event.change("/")).collect();
        let put = Entry {
            key: "a".to_owned(),
            value: b"1".to_vec(),
            create_revision: 2,
            mod_revision: 8,
            lease: 5,
        };
        assert_eq!(
            changes,
            [Change::Put(put), Change::Delete { key: "b".to_owned(), revision: 9 }]
        );
    }

    #[test]
    fn refusals_of_calls_and_of_streams_are_read() {
        let refusal: Refusal = serde_json::from_str(
            r#"{"error":"etcdserver: permission denied","message":"etcdserver: permission denied","code":7}"#,
        )
        .unwrap();
        assert!(refusal.is_said() && matches!(refusal.into_error(), EtcdError::Denied));
        let stream: Stream<WatchAnswer> = serde_json::from_str(
            r#"{"error":{"grpc_code":14,"http_code":503,"message":"etcdserver: no leader","http_status":"x"}}"#,
        )
        .unwrap();
        let error = stream.into_result().unwrap_err();
        assert!(matches!(error, EtcdError::Refused { code: 14, .. }), "{error}");
        let other: Refusal = serde_json::from_str("{}").unwrap();
        assert!(!other.is_said());
    }
}
