//! UUIDs of what has none given: UUIDv5 (RFC 9562) of what it is called, so that the same sources
//! give the same file.
//!
//! An object's own UUID comes from its kind and name under [`ROOT`]; everything inside it comes
//! from a word under the object's UUID.

use uuid::Uuid;

use crate::source::Kind;

/// The namespace of all of ours; made once, at random.
const ROOT: Uuid = Uuid::from_u128(0x8d0b_7f4e_51c2_4c0e_9a5d_2f6b_c1e7_3a94);

/// The UUID of an object of this kind and name.
pub(crate) fn object(kind: Kind, name: &str) -> Uuid {
    Uuid::new_v5(&ROOT, format!("{}/{name}", kind.extension()).as_bytes())
}

/// Something within an object: `file`, `type`, `value`, `template/Имя`.
pub(crate) fn within(object: Uuid, what: &str) -> Uuid {
    Uuid::new_v5(&object, what.as_bytes())
}

/// The version of an element: another one as soon as its bytes differ.
pub(crate) fn version(object: Uuid, element: &str, bytes: &[u8]) -> Uuid {
    let mut words = format!("version/{element}\0").into_bytes();
    words.extend(bytes);
    Uuid::new_v5(&object, &words)
}
