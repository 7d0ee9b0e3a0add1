//! Connections and sessions: what identifies them, what they carry, why they end.
//!
//! A connection is one component in one process. A session is one 1C session; inside an
//! application server it outlives the component's object and even the process, and is found again
//! by infobase, number and start. How long they live is decided in [`crate::service`].

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::key::{KeyNo, KeySeries};
use crate::protocol::{ConnectionInfo, SessionInfo, Wish};
use crate::seal::hex_upper;
use crate::time::{MonoTime, Utc};

/// The text is not an id of ours; to callers ids are opaque, so such an id is simply unknown.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not an id of this server")]
pub struct ParseIdError;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name([u8; 16]);

        impl $name {
            /// The id with these random bytes, drawn by the caller.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The bytes.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex_upper(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                parse_id(text).map(Self)
            }
        }
    };
}

id! {
    /// Names a connection; 32 hex digits in the API.
    ConnectionId
}
id! {
    /// Names a session; 32 hex digits in the API.
    SessionId
}

fn parse_id(text: &str) -> Result<[u8; 16], ParseIdError> {
    let digits = text.as_bytes();
    if digits.len() != 32 {
        return Err(ParseIdError);
    }
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = (hex_digit(pair[0])? << 4) | hex_digit(pair[1])?;
    }
    Ok(bytes)
}

const fn hex_digit(digit: u8) -> Result<u8, ParseIdError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(ParseIdError),
    }
}

/// Why a connection or session ended. The codes are published in the history, and in `gone` of a
/// heartbeat's answer as far as components know them.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// Nobody renewed it in time.
    Expired,
    /// The server was cut off from its cluster for so long that the other nodes may have given the
    /// seat to somebody else, or the cluster has taken back what the server held of the key.
    Isolated,
    /// Its key was removed, expired, lost its main key or shrank, and no other key had a seat.
    KeyGone,
    /// It goes on at another node of the cluster, with its seat.
    Moved,
    /// The process that held it exits.
    ProcessExit,
    /// The holder let go.
    Released,
    /// An administrator took it back.
    Revoked,
    /// The server does not know it (any more).
    Unknown,
}

impl EndReason {
    /// All reasons.
    pub const ALL: [Self; 8] = [
        Self::Expired,
        Self::Isolated,
        Self::KeyGone,
        Self::Moved,
        Self::ProcessExit,
        Self::Released,
        Self::Revoked,
        Self::Unknown,
    ];

    /// The published code.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Isolated => "isolated",
            Self::KeyGone => "key_gone",
            Self::Moved => "moved",
            Self::ProcessExit => "process_exit",
            Self::Released => "released",
            Self::Revoked => "revoked",
            Self::Unknown => "unknown",
        }
    }

    /// The reason behind a published code.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }

    /// The code that components are told in `gone`. A session that this node let go of because of
    /// the cluster goes on elsewhere, or shall try: components of every age open one that the server
    /// does not know again with their lease at once, and would take a code that they do not know
    /// for the end of the session.
    pub const fn told(self) -> &'static str {
        match self {
            Self::Isolated | Self::Moved => Self::Unknown.code(),
            Self::Expired
            | Self::KeyGone
            | Self::ProcessExit
            | Self::Released
            | Self::Revoked
            | Self::Unknown => self.code(),
        }
    }
}

/// One component in one process that talks to us. Its texts are shared, so that whoever looks at all
/// connections copies pointers only.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Connection {
    /// The series it uses.
    pub series: KeySeries,
    /// Address it came from.
    pub peer: Arc<str>,
    /// What it told of itself.
    pub info: Arc<ConnectionInfo>,
    /// When it came.
    pub created: Utc,
    /// Its last heartbeat, for people.
    pub last_used: Utc,
    /// Its last heartbeat, for expiry.
    pub last_used_mono: MonoTime,
    /// Its place in the index of deadlines: when to look whether it has expired.
    pub looked_at: MonoTime,
}

/// One 1C session. Its texts are shared, so that whoever looks at all sessions, of which there may be
/// a million, copies pointers only.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Session {
    /// Its series.
    pub series: KeySeries,
    /// The connection that opened it or touched it last.
    pub connection: ConnectionId,
    /// What it told of itself.
    pub info: Arc<SessionInfo>,
    /// What it asked of the key.
    pub wish: Arc<Wish>,
    /// The key whose seat it holds; nothing for presence only.
    pub key_no: Option<KeyNo>,
    /// When it was opened.
    pub opened: Utc,
    /// Its last touch.
    pub touched: MonoTime,
    /// When its lease token was last renewed.
    pub lease_issued: MonoTime,
    /// Its place in the index of deadlines: when to look whether it has expired.
    pub looked_at: MonoTime,
}

/// By what a session is found again: infobase, number and start, and the computer, because two
/// computers may each have a file infobase of the same name.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SessionKey {
    series: KeySeries,
    infobase: String,
    number: String,
    started: Option<Utc>,
    computer: String,
}

impl SessionKey {
    /// The key of a session.
    pub fn new(series: KeySeries, info: &SessionInfo) -> Self {
        Self {
            series,
            infobase: info.info_base_connection_str.clone(),
            number: info.session_number.clone(),
            started: info.session_started,
            computer: info.computer_name.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn id_of_another_form_is_unknown() {
        for text in ["", "AF72", "2F72DD41489D4B558AA9039D36035BF01", &"G".repeat(32)] {
            assert_eq!(text.parse::<SessionId>(), Err(ParseIdError), "{text}");
        }
    }

    #[test]
    fn every_reason_has_a_code_of_its_own() {
        for reason in EndReason::ALL {
            assert_eq!(EndReason::from_code(reason.code()), Some(reason));
        }
        assert_eq!(EndReason::from_code("x"), None);
    }

    proptest! {
        #[test]
        fn shown_id_is_read_back(bytes: [u8; 16]) {
            let id = ConnectionId::from_bytes(bytes);
            prop_assert_eq!(id.to_string().parse::<ConnectionId>(), Ok(id));
            prop_assert_eq!(id.to_string().to_lowercase().parse::<ConnectionId>(), Ok(id));
        }
    }
}
