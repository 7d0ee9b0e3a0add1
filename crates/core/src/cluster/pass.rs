//! The pass with which one node of a cluster asks another: a JWT of the asking node's identity.
//!
//! Decides whether a pass counts at this node, for this request, at this moment. Who is a node etcd
//! alone says ([`Member`]); what is answered is decided elsewhere. A pass is sent over TLS to the node
//! that it names and to nobody else, so whoever could show it again is the one that was asked.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::record::Member;
use super::{ClusterId, NodeId};
use crate::jws::{self, JwsError};
use crate::seal::SigningKey;
use crate::time::Utc;

/// `typ` of a pass: it keeps a lease or a licence from being one.
pub const PASS_TYP: &str = "licence-node+jwt";

/// How long a pass counts, in seconds: it is made for one request, which takes two.
pub const PASS_SECS: i64 = 60;

/// How far the clocks of two nodes may differ, in seconds: as far as a pass counts.
pub const PASS_SKEW_SECS: i64 = 60;

/// Largest pass, in bytes: ids, a path and the name of a user stay below, and a header of credentials is
/// read up to 2048.
pub const PASS_BYTES_MAX: usize = 2000;

/// Most characters of a user's name that a pass carries.
pub const PASS_USER_CHARS_MAX: usize = 100;

/// Claims of a pass.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Pass {
    /// The node that asks.
    pub iss: NodeId,
    /// The node that is asked.
    pub aud: NodeId,
    /// The cluster of both.
    pub cluster: ClusterId,
    /// What it is for, as in RFC 9449: the method of the request.
    pub htm: String,
    /// The path of the request.
    pub htu: String,
    /// Who asks by way of that node; empty for nobody in particular.
    #[serde(default)]
    pub user: String,
    /// When it was made, in Unix seconds.
    pub iat: i64,
    /// Until when it counts, in Unix seconds.
    pub exp: i64,
}

/// Why a pass does not count.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PassError {
    /// It is for another node.
    #[error("it is for another node")]
    Audience,
    /// It is of another cluster.
    #[error("it is of another cluster")]
    Cluster,
    /// Not genuine.
    #[error("it is not genuine")]
    Jws(#[source] JwsError),
    /// For another request.
    #[error("it is for another request")]
    Purpose,
    /// No member of the cluster, as far as this node knows.
    #[error("its node is no member of this cluster")]
    Stranger,
    /// Over, or not yet begun, or for longer than passes are made.
    #[error("its term is over or has not begun; do the clocks of the nodes differ?")]
    Term,
}

impl PassError {
    /// The same in Russian.
    pub const fn russian(&self) -> &'static str {
        match self {
            Self::Audience => "он для другого узла",
            Self::Cluster => "он другого кластера",
            Self::Jws(_) => "он не подлинный",
            Self::Purpose => "он для другого запроса",
            Self::Stranger => "его узел не входит в этот кластер",
            Self::Term => "его срок истёк или не наступил; не расходятся ли часы узлов?",
        }
    }

    /// Whether the pass says nothing of who asks, as opposed to one that asks what it may not.
    pub const fn is_nobody(&self) -> bool {
        matches!(self, Self::Jws(_) | Self::Stranger | Self::Term)
    }
}

/// A request at the node that is asked.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The node.
    pub me: NodeId,
    /// Its cluster.
    pub cluster: ClusterId,
    /// Method of the request.
    pub method: &'a str,
    /// Path of the request.
    pub path: &'a str,
    /// When it came.
    pub now: Utc,
}

impl Pass {
    /// The pass for one request to the node `to`.
    pub fn new(from: NodeId, to: NodeId, cluster: ClusterId, request: (&str, &str)) -> Self {
        let (htm, htu) = (request.0.to_owned(), request.1.to_owned());
        Self { iss: from, aud: to, cluster, htm, htu, user: String::new(), iat: 0, exp: 0 }
    }

    /// The same at the word of a user, for [`PASS_SECS`] from now on.
    #[must_use]
    pub fn by(self, user: &str, now: Utc) -> Self {
        let user = user.chars().take(PASS_USER_CHARS_MAX).collect();
        let iat = now.unix_seconds();
        Self { user, iat, exp: iat.saturating_add(PASS_SECS), ..self }
    }

    /// Signs it.
    ///
    /// # Errors
    ///
    /// When it cannot be written as JSON.
    pub fn sign(&self, key: &SigningKey) -> Result<String, serde_json::Error> {
        jws::sign(PASS_TYP, self, key)
    }

    /// Reads a pass of one of these members for this request.
    ///
    /// # Errors
    ///
    /// See [`PassError`].
    pub fn verify(
        token: &str,
        members: &BTreeMap<NodeId, Member>,
        asked: Asked<'_>,
    ) -> Result<Self, PassError> {
        #[derive(Deserialize)]
        struct Peek {
            iss: NodeId,
        }
        if token.len() > PASS_BYTES_MAX {
            return Err(PassError::Jws(JwsError::TooLong(PASS_BYTES_MAX)));
        }
        let Peek { iss } = jws::peek(PASS_TYP, token).map_err(PassError::Jws)?;
        let member = members.get(&iss).ok_or(PassError::Stranger)?;
        let key = member.key.ed25519().map_err(|_| PassError::Stranger)?;
        let pass: Self =
            jws::verify_within(PASS_TYP, token, &key, PASS_BYTES_MAX).map_err(PassError::Jws)?;
        if pass.cluster != asked.cluster {
            return Err(PassError::Cluster);
        }
        if pass.aud != asked.me {
            return Err(PassError::Audience);
        }
        if pass.htm != asked.method || pass.htu != asked.path {
            return Err(PassError::Purpose);
        }
        let now = asked.now.unix_seconds();
        let is_begun = pass.iat <= now.saturating_add(PASS_SKEW_SECS);
        let is_short = pass.exp.saturating_sub(pass.iat) <= PASS_SECS;
        if !is_begun || !is_short || now >= pass.exp.saturating_add(PASS_SKEW_SECS) {
            return Err(PassError::Term);
        }
        Ok(pass)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_SECS: i64 = 1_800_000_000;
    const PATH: &str = "/api/cluster/peer/sessions/00";
    const CLUSTER: ClusterId = ClusterId::from_bytes([5; 16]);

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32])
    }

    fn node(seed: u8) -> NodeId {
        NodeId::of(&key(seed).public())
    }

    fn members() -> BTreeMap<NodeId, Member> {
        let member = |seed: u8| Member {
            name: format!("n{seed}"),
            key: key(seed).public().jwk(),
            addresses: Vec::new(),
            joined: Utc::from_unix_millis(0),
        };
        [1, 2, 3].map(|seed| (node(seed), member(seed))).into()
    }

    fn at(later_secs: i64) -> Utc {
        Utc::from_unix_millis((NOW_SECS + later_secs) * 1000)
    }

    fn pass() -> Pass {
        Pass::new(node(1), node(2), CLUSTER, ("DELETE", PATH)).by("анна", at(0))
    }

    fn asked(later_secs: i64) -> Asked<'static> {
        Asked { me: node(2), cluster: CLUSTER, method: "DELETE", path: PATH, now: at(later_secs) }
    }

    fn verified(token: &str, asked: Asked<'_>) -> Result<Pass, PassError> {
        Pass::verify(token, &members(), asked)
    }

    #[test]
    fn pass_counts_for_its_request_at_its_node_and_names_who_asks() {
        let token = pass().sign(&key(1)).unwrap();
        assert_eq!(verified(&token, asked(0)), Ok(pass()));
        let me = node(3);
        assert_eq!(verified(&token, Asked { me, ..asked(0) }), Err(PassError::Audience));
        let cluster = ClusterId::from_bytes([6; 16]);
        assert_eq!(verified(&token, Asked { cluster, ..asked(0) }), Err(PassError::Cluster));
        for (method, path) in [("GET", PATH), ("DELETE", "/api/cluster/peer/sessions/01")] {
            let other = Asked { method, path, ..asked(0) };
            assert_eq!(verified(&token, other), Err(PassError::Purpose), "{method} {path}");
        }
    }

    #[test]
    fn pass_of_a_stranger_or_by_another_key_is_refused() {
        let strange = Pass { iss: node(9), ..pass() };
        let token = strange.sign(&key(9)).unwrap();
        assert_eq!(verified(&token, asked(0)), Err(PassError::Stranger));
        // Another member, or a stranger, in the name of the first.
        for seed in [3, 9] {
            let token = pass().sign(&key(seed)).unwrap();
            assert_eq!(verified(&token, asked(0)), Err(PassError::Jws(JwsError::Signature)));
        }
    }

    #[test]
    fn pass_ends_with_its_minute_and_clocks_may_differ_by_another_one() {
        let token = pass().sign(&key(1)).unwrap();
        let end = PASS_SECS + PASS_SKEW_SECS;
        for (later_secs, counts) in
            [(end - 1, true), (end, false), (-PASS_SKEW_SECS, true), (-PASS_SKEW_SECS - 1, false)]
        {
            assert_eq!(verified(&token, asked(later_secs)).is_ok(), counts, "{later_secs}");
        }
        // Nobody makes one that lasts.
        let lasting = Pass { exp: pass().exp + 1, ..pass() }.sign(&key(1)).unwrap();
        assert_eq!(verified(&lasting, asked(0)), Err(PassError::Term));
    }

    #[test]
    fn what_is_no_pass_is_refused_whatever_it_is() {
        let of_another_type = jws::sign("licence-lease+jwt", &pass(), &key(1)).unwrap();
        for token in ["", "a.b.c", "lic_token", &of_another_type, &"A".repeat(PASS_BYTES_MAX + 1)] {
            let error = verified(token, asked(0)).unwrap_err();
            assert!(matches!(error, PassError::Jws(_)) && error.is_nobody(), "{token}: {error:?}");
        }
    }
}
