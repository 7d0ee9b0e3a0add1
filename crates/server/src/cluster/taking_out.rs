//! What is written in etcd when a node leaves its cluster or an administrator says that it is gone.
//!
//! One transaction, which fails when the node lives or somebody has written the same meanwhile. Whether
//! that may be done is decided by who asks.

use licence_core::cluster::record::Pool;
use licence_core::cluster::{Compare, NodeId, Op, Txn};
use licence_core::key::KeyNo;

use super::picture::Contents;

/// What takes a node out, and how many seats stay with its sessions.
pub(super) fn taking_out(contents: &Contents, node: NodeId, at_once: bool) -> (Txn, u64) {
    let member = format!("members/{node}");
    let mut txn = Txn {
        compare: vec![Compare::Created { key: format!("alive/{node}"), revision: 0 }],
        then: vec![Op::Delete { key: member }],
    };
    let mut kept = 0;
    for (key_no, (pool, revision)) in &contents.pools {
        let Some(changed) = without(pool, node, at_once) else { continue };
        kept += u64::from(changed.block_seats(&node));
        let key = pool_key(*key_no);
        txn.compare.push(Compare::Modified { key: key.clone(), revision: *revision });
        txn.then.push(Op::Put { key, value: changed.write(), lease: None });
    }
    let (book, revision) = &contents.quotas;
    if at_once && book.nodes.contains_key(&node) {
        let mut book = book.clone();
        book.nodes.remove(&node);
        let key = "quotas".to_owned();
        txn.compare.push(Compare::Modified { key: key.clone(), revision: *revision });
        txn.then.push(Op::Put { key, value: book.write(), lease: None });
    }
    (txn, kept)
}

fn pool_key(key_no: KeyNo) -> String {
    format!("pools/{key_no}")
}

/// A pool without the block of a node, or with one that is kept for its sessions.
fn without(pool: &Pool, node: NodeId, at_once: bool) -> Option<Pool> {
    let mut changed = pool.clone();
    changed.wanting.remove(&node);
    if at_once {
        changed.blocks.remove(&node);
    } else if let Some(block) = changed.blocks.get_mut(&node) {
        block.orphaned = true;
    }
    (changed != *pool || pool.blocks.contains_key(&node)).then_some(changed)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use licence_core::cluster::quota_book::{NodeQuotas, QuotaBook, QuotaShare};
    use licence_core::cluster::record::Block;
    use licence_core::key::KeySeries;
    use licence_core::rules::QuotaId;

    use super::*;

    fn node(byte: u8) -> NodeId {
        NodeId::from_bytes([byte; 32])
    }

    fn contents() -> Contents {
        let block = |seats| Block { seats, ..Block::default() };
        let pool = Pool {
            series: KeySeries::from_u16(0x672B),
            seats: 50,
            blocks: BTreeMap::from([(node(1), block(12)), (node(2), block(30))]),
            wanting: BTreeMap::from([(node(1), 3)]),
        };
        let mut contents = Contents::default();
        contents.pools.insert(KeyNo(7), (pool, 41));
        contents
    }

    fn written(txn: &Txn) -> Pool {
        let put = txn.then.iter().find_map(|op| match op {
            Op::Put { key, value, .. } => (key == "pools/7").then_some(value),
            Op::Delete { .. } => None,
        });
        Pool::read(put.unwrap()).unwrap()
    }

    #[test]
    fn seats_of_a_leaving_node_stay_with_its_sessions_unless_they_are_given_back_at_once() {
        let (txn, kept) = taking_out(&contents(), node(1), false);
        let pool = written(&txn);
        assert_eq!((kept, pool.block_seats(&node(1)), pool.is_orphaned(&node(1))), (12, 12, true));
        assert!(pool.wanting.is_empty());
        let (txn, kept) = taking_out(&contents(), node(1), true);
        let pool = written(&txn);
        assert_eq!((kept, pool.unallocated(), pool.block_seats(&node(2))), (0, 20, 30));
    }

    #[test]
    fn part_of_the_quotas_of_a_forgotten_node_is_everybodys_at_once() {
        let mut contents = contents();
        let share = QuotaShare { seats: 2, ..QuotaShare::default() };
        let quotas = NodeQuotas { life: 1, shares: [(QuotaId::limit("a"), share)].into() };
        let nodes = BTreeMap::from([(node(1), quotas.clone()), (node(2), quotas)]);
        contents.quotas = (QuotaBook { nodes }, 43);
        let book = |at_once| {
            let (txn, _) = taking_out(&contents, node(1), at_once);
            let put = txn.then.iter().find_map(|op| match op {
                Op::Put { key, value, .. } => (key == "quotas").then(|| QuotaBook::read(value)),
                Op::Delete { .. } => None,
            });
            let same = Compare::Modified { key: "quotas".into(), revision: 43 };
            assert_eq!(put.is_some(), txn.compare.contains(&same));
            put.map(|book| book.unwrap().nodes.into_keys().collect::<Vec<_>>())
        };
        assert_eq!(book(true), Some(vec![node(2)]));
        assert_eq!(book(false), None, "its sessions pay for themselves with it elsewhere");
    }

    #[test]
    fn nothing_is_taken_from_a_node_that_lives_or_from_a_pool_that_has_changed() {
        let (txn, _) = taking_out(&contents(), node(1), true);
        let lives = Compare::Created { key: format!("alive/{}", node(1)), revision: 0 };
        let same = Compare::Modified { key: "pools/7".into(), revision: 41 };
        assert_eq!(txn.compare, [lives, same]);
        assert!(txn.then.contains(&Op::Delete { key: format!("members/{}", node(1)) }));
    }

    #[test]
    fn pool_without_the_node_is_left_alone() {
        let (txn, kept) = taking_out(&contents(), node(9), true);
        assert_eq!((txn.then.len(), txn.compare.len(), kept), (1, 1, 0));
    }
}
