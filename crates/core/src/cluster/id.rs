//! Names of nodes and clusters, read once and then right for good.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::seal::{PublicKey, hex_upper};

/// Names a node: the thumbprint (RFC 7638) of its identity's key, 43 characters of base64url; with it
/// ends the issuer of the leases that the node signs.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NodeId([u8; 32]);

/// The text is no thumbprint.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the id of a node is a key's thumbprint: 43 characters of base64url")]
pub struct ParseNodeIdError;

impl NodeId {
    /// The node whose identity has this key.
    pub fn of(identity: &PublicKey) -> Self {
        // A thumbprint is SHA-256 in base64url, which is what is read here.
        identity.thumbprint().parse().unwrap_or(Self([0; 32]))
    }

    /// The node whose thumbprint has these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({self})")
    }
}

impl FromStr for NodeId {
    type Err = ParseNodeIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() != 43 {
            return Err(ParseNodeIdError);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| ParseNodeIdError)?;
        bytes.try_into().map(Self).map_err(|_| ParseNodeIdError)
    }
}

/// Names a cluster: 16 bytes drawn when it is made, shown as 32 hex digits. Licences name it.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ClusterId([u8; 16]);

/// The text is not 32 hex digits.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the id of a cluster is 32 hex digits")]
pub struct ParseClusterIdError;

impl ClusterId {
    /// The cluster with these bytes, drawn by the caller.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// What all its keys in etcd begin with.
    pub fn prefix(&self) -> String {
        format!("/licence/{self}/")
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex_upper(&self.0))
    }
}

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClusterId({self})")
    }
}

impl FromStr for ClusterId {
    type Err = ParseClusterIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // `from_str_radix` alone would take `+`.
        if text.len() != 32 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(ParseClusterIdError);
        }
        let number = u128::from_str_radix(text, 16).map_err(|_| ParseClusterIdError)?;
        Ok(Self(number.to_be_bytes()))
    }
}

macro_rules! as_text {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

as_text!(NodeId);
as_text!(ClusterId);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::lease_token::issuer;
    use crate::seal::SigningKey;

    #[test]
    fn node_is_named_as_the_issuer_of_its_leases() {
        let identity = SigningKey::from_seed(&[7; 32]).public();
        let id = NodeId::of(&identity);
        assert_eq!(id.to_string(), identity.thumbprint());
        assert!(issuer(&identity).ends_with(&format!(":{id}")));
    }

    #[test]
    fn text_that_is_no_id_is_refused() {
        for text in ["", "A", &"A".repeat(42), &"=".repeat(43), &"A".repeat(44), &"я".repeat(43)] {
            assert_eq!(text.parse::<NodeId>(), Err(ParseNodeIdError), "{text}");
        }
        for text in ["", "+1234567890123456789012345678901", &"G".repeat(32), &"0".repeat(33)] {
            assert_eq!(text.parse::<ClusterId>(), Err(ParseClusterIdError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn shown_id_is_read_back(node: [u8; 32], cluster: [u8; 16]) {
            let (node, cluster) = (NodeId::from_bytes(node), ClusterId::from_bytes(cluster));
            prop_assert_eq!(node.to_string().parse::<NodeId>(), Ok(node));
            prop_assert_eq!(cluster.to_string().parse::<ClusterId>(), Ok(cluster));
            prop_assert_eq!(cluster.to_string().to_lowercase().parse::<ClusterId>(), Ok(cluster));
        }
    }
}
