//! Who has the seat of a session by its claim, and who has to let it go, as tables.

use super::*;

const A: NodeId = NodeId::from_bytes([1; 32]);
const B: NodeId = NodeId::from_bytes([2; 32]);
const C: NodeId = NodeId::from_bytes([3; 32]);

fn claim(state: ClaimState, holder: NodeId, to: NodeId, left: &[NodeId]) -> Claim {
    Claim { key_no: KeyNo(1), holder, to, state, left: left.to_vec() }
}

#[test]
fn seat_is_where_the_claim_says_and_without_one_where_the_lease_is_from() {
    use ClaimState::{Asked, Ended, Given};
    assert_eq!(holder(None, A), Some(A));
    for (state, left, from, expected) in [
        // A has it as long as B only asks.
        (Asked, vec![], A, Some(A)),
        (Asked, vec![], C, Some(A)),
        (Given, vec![], A, Some(B)),
        (Given, vec![], C, Some(B)),
        // It has ended; a lease of before says nothing, a younger one does.
        (Ended, vec![], A, None),
        (Ended, vec![C], C, None),
        (Ended, vec![], C, Some(C)),
        (Ended, vec![], B, Some(B)),
    ] {
        let claim = claim(state, A, B, &left);
        assert_eq!(holder(Some(&claim), from), expected, "{claim:?} from {from}");
    }
}

#[test]
fn a_node_lets_go_what_it_is_asked_for_and_what_was_drawn_from_it() {
    use ClaimState::{Asked, Ended, Given};
    let asked = Some(Take::Asked { to: B, is_late: false });
    for (state, left, me, expected) in [
        (Asked, vec![], A, asked),
        (Asked, vec![], B, None),
        (Asked, vec![C], C, Some(Take::Moved { to: B })),
        (Given, vec![], A, None),
        (Given, vec![A], A, Some(Take::Moved { to: B })),
        // It has come back to a node that was left once.
        (Given, vec![B], B, None),
        (Ended, vec![A], A, Some(Take::Moved { to: B })),
        (Ended, vec![], A, None),
    ] {
        let claim = claim(state, A, B, &left);
        assert_eq!(take_of(&claim, &me, false), expected, "{claim:?} at {me}");
    }
}
