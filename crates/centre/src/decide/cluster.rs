//! The rules of keys that several servers share as nodes of one cluster: who joins, who is alone
//! again, how many there may be.
//!
//! Pure, as all of `decide`. A key is in one place at a time: on one server, or on the nodes of one
//! cluster, never on both and never in two clusters. That its seats are counted once within a cluster
//! is the servers' matter.

use std::fmt;

use licence_core::cluster::ClusterId;
use licencekit::order::CLUSTER_NODES_MAX;

use super::{Asked, CodeFacts, Decision, Denial};

/// What a request says of the cluster of its server.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Membership {
    /// The server stands alone.
    #[default]
    Alone,
    /// It is a node of this cluster.
    Node(ClusterId),
    /// The request was read out, which leaves no room for it.
    Untold,
}

impl Membership {
    /// What a signed request says.
    pub fn of(cluster: Option<ClusterId>) -> Self {
        cluster.map_or(Self::Alone, Self::Node)
    }
}

/// A server that has the key at this moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Other {
    /// The cluster that it is a node of.
    pub cluster: Option<ClusterId>,
    /// The first digits of its computer's id.
    pub computer: Short,
}

/// The first eight digits of a computer's id, as consoles and pages show them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Short(u32);

impl Short {
    /// Of a whole id; what is none is shown as zeros.
    pub fn of(computer_id: &str) -> Self {
        let digits = computer_id.get(..computer_id.len().min(8)).unwrap_or_default();
        Self(u32::from_str_radix(digits, 16).unwrap_or_default())
    }
}

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08X}…", self.0)
    }
}

/// Servers that a refusal names: all nodes that a key may have.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Nodes([Option<Short>; CLUSTER_NODES_MAX as usize]);

impl FromIterator<Short> for Nodes {
    /// Those beyond the most that there may be are left out.
    fn from_iter<I: IntoIterator<Item = Short>>(all: I) -> Self {
        let mut nodes = Self::default();
        for (place, node) in nodes.0.iter_mut().zip(all) {
            *place = Some(node);
        }
        nodes
    }
}

impl fmt::Display for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, node) in self.0.iter().flatten().enumerate() {
            let gap = if at > 0 { ", " } else { "" };
            write!(f, "{gap}{node}")?;
        }
        Ok(())
    }
}

/// How a code was used before.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Used {
    /// By another server.
    Elsewhere,
    /// By the asker, whose activation has ended since.
    Here,
}

/// The cluster of the licence that is issued to a server which has not got the key.
///
/// The code that activated the first node serves for the others, too. Where no other server has the
/// key, a used code is worth nothing: what was given back has its reserve code.
pub(super) fn place(asked: &Asked, facts: &CodeFacts) -> Result<Option<ClusterId>, Denial> {
    let used = facts.used.map(|used| match used {
        Used::Elsewhere => Denial::Used,
        Used::Here => Denial::Returned,
    });
    let Some(first) = facts.others.first() else {
        return match (used, asked.membership) {
            (Some(denial), _) => Err(denial),
            (None, Membership::Node(own)) if facts.cluster_nodes > 0 => Ok(Some(own)),
            (None, _) => Ok(None),
        };
    };
    match (asked.membership, first.cluster) {
        (Membership::Node(own), Some(theirs)) if own == theirs => {
            if facts.others.len() < facts.cluster_nodes as usize {
                Ok(Some(own))
            } else {
                Err(Denial::ClusterFull(facts.cluster_nodes))
            }
        }
        (Membership::Untold, Some(_)) => Err(Denial::ClusterUntold),
        (_, Some(_)) => Err(Denial::ClusterOther),
        (Membership::Node(_), None) if facts.used != Some(Used::Here) => Err(Denial::ClusterNone),
        (_, None) => Err(used.unwrap_or(Denial::Used)),
    }
}

/// What the holder of a key gets when it asks again: the same licence or, when it has become a node of
/// a cluster or is alone again, the same for its new standing. From a cluster a key goes elsewhere
/// only when no other node has it: their licences would count the seats a second time.
pub(super) fn again(asked: &Asked, facts: &CodeFacts) -> Result<Option<Decision>, Denial> {
    let Some(own) = &facts.own else { return Ok(None) };
    let repeat = |cluster| Ok(Some(Decision::Repeat { licence: own.licence.clone(), cluster }));
    let wanted = match asked.membership {
        Membership::Alone => None,
        Membership::Node(cluster) => Some(cluster),
        Membership::Untold if own.cluster.is_some() => return Err(Denial::ClusterUntold),
        Membership::Untold => None,
    };
    match (own.cluster, wanted) {
        (had, wanted) if had == wanted => repeat(had),
        // The vendor lets no cluster have the key: it stays what it is, on this server alone.
        (None, Some(_)) if facts.cluster_nodes == 0 => repeat(None),
        (Some(_), _) if !facts.others.is_empty() => {
            Err(Denial::ClusterShared(facts.others.iter().map(|other| other.computer).collect()))
        }
        (_, wanted) => repeat(wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{asked, check_as, facts, now};
    use super::super::{Own, decide};
    use super::*;

    fn cluster(digit: char) -> ClusterId {
        digit.to_string().repeat(32).parse().unwrap()
    }

    fn node(digit: char) -> Membership {
        Membership::Node(cluster(digit))
    }

    fn others(count: u32, cluster: Option<ClusterId>) -> Vec<Other> {
        (1..=count).map(|at| Other { cluster, computer: Short(at) }).collect()
    }

    fn of(membership: Membership, facts: CodeFacts, wanted: Result<Decision, Denial>) {
        check_as(&Asked { membership, ..asked() }, facts, wanted);
    }

    #[test]
    fn free_code_gives_a_node_a_licence_of_its_cluster_where_the_vendor_allows_clusters() {
        let base = |cluster_nodes| CodeFacts { cluster_nodes, ..facts() };
        of(node('a'), base(3), Ok(Decision::Issue(Some(cluster('a')))));
        of(node('a'), base(0), Ok(Decision::Issue(None)));
        of(Membership::Alone, base(3), Ok(Decision::Issue(None)));
        of(Membership::Untold, base(3), Ok(Decision::Issue(None)));
    }

    #[test]
    fn code_of_the_first_node_serves_for_the_others_up_to_the_limit() {
        let base = |count, cluster_nodes, cluster, used| CodeFacts {
            others: others(count, cluster),
            cluster_nodes,
            used,
            ..facts()
        };
        let (a, elsewhere) = (Some(cluster('a')), Some(Used::Elsewhere));
        of(node('a'), base(1, 3, a, elsewhere), Ok(Decision::Issue(a)));
        of(node('a'), base(2, 3, a, elsewhere), Ok(Decision::Issue(a)));
        of(node('a'), base(3, 3, a, elsewhere), Err(Denial::ClusterFull(3)));
        // The vendor has lowered the limit since: who has the key keeps it, nobody joins.
        of(node('a'), base(3, 2, a, elsewhere), Err(Denial::ClusterFull(2)));
        // A reserve code of a node that is gone, and the node that comes back by the first code.
        of(node('a'), base(2, 3, a, None), Ok(Decision::Issue(a)));
        of(node('a'), base(2, 3, a, Some(Used::Here)), Ok(Decision::Issue(a)));
        for membership in [node('b'), Membership::Alone] {
            for used in [elsewhere, None, Some(Used::Here)] {
                of(membership, base(1, 3, a, used), Err(Denial::ClusterOther));
            }
        }
        of(Membership::Untold, base(1, 3, a, elsewhere), Err(Denial::ClusterUntold));
    }

    #[test]
    fn key_of_a_single_server_is_joined_by_nobody() {
        let base = |used| CodeFacts { others: others(1, None), cluster_nodes: 3, used, ..facts() };
        of(node('a'), base(Some(Used::Elsewhere)), Err(Denial::ClusterNone));
        of(node('a'), base(None), Err(Denial::ClusterNone));
        of(node('a'), base(Some(Used::Here)), Err(Denial::Returned));
        of(Membership::Alone, base(Some(Used::Elsewhere)), Err(Denial::Used));
        of(Membership::Alone, base(Some(Used::Here)), Err(Denial::Returned));
        // Two nodes have given it back, and the code of one has installed it elsewhere.
        of(Membership::Alone, base(None), Err(Denial::Used));
    }

    #[test]
    fn code_that_was_used_is_worth_nothing_once_nobody_has_the_key() {
        let base = |used| CodeFacts { cluster_nodes: 3, used, ..facts() };
        for membership in [node('a'), Membership::Alone, Membership::Untold] {
            of(membership, base(Some(Used::Elsewhere)), Err(Denial::Used));
            of(membership, base(Some(Used::Here)), Err(Denial::Returned));
        }
    }

    #[test]
    fn holder_becomes_a_node_and_is_alone_again_when_no_other_node_has_the_key() {
        let base = |own, count, cluster_nodes| CodeFacts {
            own: Some(Own { licence: "doc".into(), cluster: own }),
            others: others(count, own),
            cluster_nodes,
            used: Some(Used::Elsewhere),
            ..facts()
        };
        let repeat = |cluster| Ok(Decision::Repeat { licence: "doc".into(), cluster });
        let (a, b) = (Some(cluster('a')), Some(cluster('b')));
        let shared = Err(Denial::ClusterShared([Short(1), Short(2)].into_iter().collect()));
        for (membership, facts, wanted) in [
            (node('a'), base(None, 0, 3), repeat(a)),
            (node('a'), base(None, 0, 0), repeat(None)),
            (node('a'), base(a, 2, 3), repeat(a)),
            (node('a'), base(a, 2, 0), repeat(a)),
            (Membership::Alone, base(a, 0, 3), repeat(None)),
            (Membership::Alone, base(a, 2, 3), shared.clone()),
            (node('b'), base(a, 0, 3), repeat(b)),
            (node('b'), base(a, 2, 3), shared),
            (Membership::Untold, base(None, 0, 3), repeat(None)),
            (Membership::Untold, base(a, 0, 3), Err(Denial::ClusterUntold)),
        ] {
            of(membership, facts, wanted);
        }
    }

    #[test]
    fn who_cannot_name_the_owner_learns_nothing_of_the_cluster() {
        let itn = Some("7707083893".to_owned());
        let facts =
            CodeFacts { itn, others: others(1, Some(cluster('a'))), cluster_nodes: 3, ..facts() };
        of(node('b'), facts, Err(Denial::OwnerMismatch));
    }

    #[test]
    fn nodes_are_named_by_the_first_digits_of_their_computers() {
        let all = ["3F2A91B0FFFF", "7", "no hex", ""].map(Short::of);
        let nodes: Nodes = all.into_iter().collect();
        assert_eq!(nodes.to_string(), "3F2A91B0…, 00000007…, 00000000…, 00000000…");
        assert_eq!(Nodes::default().to_string(), "");
        assert!(decide(&asked(), None, now()).is_err());
    }
}
