//! The cluster for Prometheus, made at each scrape of what the node saw last.
//!
//! Names are published in `docs/monitoring.md`.

use licence_core::cluster::Standing;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::State;
use crate::clock;

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Node {
    node: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Block {
    key_no: String,
    node: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Key {
    key_no: String,
}

/// The gauges of this moment.
pub(crate) fn registry(state: &State) -> Registry {
    let joined = Gauge::<i64>::default();
    let isolated = Gauge::<i64>::default();
    let renewal = Gauge::<f64, std::sync::atomic::AtomicU64>::default();
    let up = Family::<Node, Gauge>::default();
    let blocks = Family::<Block, Gauge>::default();
    let unallocated = Family::<Key, Gauge>::default();
    joined.set(i64::from(state.standing == Standing::Joined));
    if let Standing::Isolated { since } = state.standing {
        let secs = clock::mono().since(since).as_secs();
        isolated.set(i64::try_from(secs).unwrap_or(i64::MAX));
    }
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of a call are few")]
    renewal.set(state.renewal_millis.unwrap_or(0) as f64 / 1000.0);
    let contents = &state.contents;
    let name = |id| {
        let member = contents.members.get(id);
        member.map_or_else(|| id.to_string(), |member| member.name.clone())
    };
    for id in contents.members.keys() {
        let is_up = contents.alive.contains_key(id);
        up.get_or_create(&Node { node: name(id) }).set(i64::from(is_up));
    }
    for (key_no, (pool, _)) in &contents.pools {
        let key_no = key_no.to_string();
        unallocated
            .get_or_create(&Key { key_no: key_no.clone() })
            .set(i64::from(pool.unallocated()));
        for (id, block) in &pool.blocks {
            let label = Block { key_no: key_no.clone(), node: name(id) };
            blocks.get_or_create(&label).set(i64::from(block.seats));
        }
    }
    let mut registry = Registry::default();
    registry.register("licence_cluster_joined", "1 while this node is in touch with etcd", joined);
    let help = "Seconds since the lease of this node was last renewed, while it is cut off";
    registry.register("licence_cluster_isolated_seconds", help, isolated);
    let help = "How long the last renewal of the node's lease in etcd took";
    registry.register("licence_cluster_renewal_seconds", help, renewal);
    registry.register("licence_cluster_node_up", "1 for a node whose lease in etcd lives", up);
    registry.register("licence_cluster_block_seats", "Seats that a node may give out", blocks);
    let help = "Seats that are in nobody's block";
    registry.register("licence_cluster_unallocated_seats", help, unallocated);
    registry
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use licence_core::cluster::record::{Block, Member, Pool};
    use licence_core::cluster::{ClusterId, NodeId};
    use licence_core::key::{KeyNo, KeySeries};
    use licence_core::seal::SigningKey;
    use licence_core::time::{MonoTime, Utc};
    use prometheus_client::encoding::text::encode_registry;

    use super::*;
    use crate::cluster::picture::Contents;

    #[test]
    fn every_gauge_of_the_manual_page_is_there_and_nodes_have_their_names() {
        let key = SigningKey::from_seed(&[1; 32]).public();
        let me = NodeId::of(&key);
        let mut contents = Contents::default();
        let joined = Utc::from_unix_millis(0);
        let member = Member { name: "north".into(), key: key.jwk(), addresses: Vec::new(), joined };
        contents.members.insert(me, member);
        let pool = Pool {
            series: KeySeries::from_u16(0x672B),
            seats: 50,
            blocks: BTreeMap::from([(me, Block { seats: 12, ..Block::default() })]),
            wanting: BTreeMap::new(),
        };
        contents.pools.insert(KeyNo(7), (pool, 1));
        let state = State {
            cluster: ClusterId::from_bytes([1; 16]),
            me,
            standing: Standing::Isolated { since: MonoTime::default() },
            contents: Arc::new(contents),
            answered: None,
            renewal_millis: Some(4),
            problem: None,
        };
        let mut text = String::new();
        encode_registry(&mut text, &registry(&state)).unwrap();
        for line in [
            "licence_cluster_joined 0",
            "licence_cluster_node_up{node=\"north\"} 0",
            "licence_cluster_block_seats{key_no=\"7\",node=\"north\"} 12",
            "licence_cluster_unallocated_seats{key_no=\"7\"} 38",
            "licence_cluster_renewal_seconds 0.004",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        let page = include_str!("../../../../docs/monitoring.md");
        let named = page.split('`').filter(|word| word.starts_with("licence_cluster_"));
        for name in named.filter(|name| !name.contains('*')) {
            assert!(
                text.contains(&format!("{name} ")) || text.contains(&format!("{name}{{")),
                "{name}"
            );
        }
    }
}
