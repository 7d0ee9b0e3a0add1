//! The margin of a block, as a table.

use super::*;
use crate::cluster::NodeId;
use crate::cluster::record::Block;

/// A key of so many seats, of which this node holds some and others have some.
fn margin(seats: u32, held: u32, others: u32, nodes: u32) -> u32 {
    let series = KeySeries::from_u16(0x672B);
    let block =
        |byte: u8, seats| (NodeId::from_bytes([byte; 32]), Block { seats, ..Block::default() });
    let blocks = BTreeMap::from([block(1, held), block(2, others)]);
    let pool = Pool { series, seats, blocks, wanting: BTreeMap::new() };
    let local = Local { held, ..Local::new(series, seats) };
    local.margin(&pool, held, nodes)
}

#[test]
fn margin_is_an_eighth_of_what_is_held_and_less_of_a_large_block() {
    // As much is free as matters: more would be a reserve for itself.
    for (free, held, expected) in [
        (760, 0, 2),
        (760, 15, 2),
        (760, 16, 2),
        (760, 24, 3),
        (760, 400, 50),
        (760, 512, 64),
        (760, 2_079, 64),
        (760, 2_080, 65),
        (2_000, 32_000, 1_000),
    ] {
        assert_eq!(margin(held + free, held, 0, 1), expected, "{held}");
    }
}

#[test]
fn margin_is_never_more_than_a_fair_part_of_what_is_free() {
    for (free, nodes, expected) in
        [(0, 2, 0), (3, 2, 0), (4, 2, 1), (200, 2, 50), (200, 5, 20), (2_000, 30, 33)]
    {
        assert_eq!(margin(32_000 + free, 32_000, 0, nodes), expected, "{free} of {nodes}");
    }
}

#[test]
fn an_empty_block_of_a_large_key_begins_with_more() {
    for (free, nodes, expected) in
        [(767, 1, 2), (768, 1, 3), (1_535, 2, 2), (1_536, 2, 3), (1_050_000, 30, 136)]
    {
        assert_eq!(margin(free + 10, 0, 10, nodes), expected, "{free} for {nodes}");
    }
}

#[test]
fn keys_of_some_hundred_seats_have_the_margin_of_always() {
    for nodes in 1..=5 {
        for seats in 1..768 {
            for held in 0..=seats {
                let fair = (seats - held) / (2 * nodes);
                let expected = (held / 8).clamp(2, 64).min(fair);
                assert_eq!(margin(seats, held, 0, nodes), expected, "{held} of {seats}");
            }
        }
    }
}
