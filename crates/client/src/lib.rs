//! What any program needs to take a seat at a licence server: settings, list of servers, pinned
//! TLS, heartbeat, leases.
//!
//! Blocking, with one worker thread per [`Client`] and no runtime. It never prints, never looks at
//! the environment, never guesses whom to trust, and no call takes longer than its stated bound:
//! [`START_BOUND`], [`CALL_BOUND`] or the bound that [`Client::shutdown`] is given. The protocol is
//! described in `docs/protocol.md`.
//!
//! | module | subject |
//! | --- | --- |
//! | `client` | the calls: start, take a seat, release, look |
//! | `objects` | data files and protected objects |
//! | `operations`, `errand` | licence service, parameters, key memory, session keys; the first key of a series |
//! | `conf`, `pin` | `licenceaddin.conf`, the connection string, the pinned series key |
//! | `access_token` | what the server asks for with the session keys of ИС МП |
//! | `state`, `jobs`, `queue` | the book of seats, jobs, the queue and who waits at it |
//! | `worker`, `turns` | the thread: walking over servers, which work is next |
//! | `heart`, `answer` | keeping connections, answering jobs |
//! | `http`, `tls` | requests, trust |
//! | `net`, `names`, `readiness` | sockets with deadlines, look-ups of host names, waiting on Windows |
//! | `clock`, `spawn` | where time and threads come from |
//!
//! ```no_run
//! use licence_client::{Client, ConfPaths, Language, StartOptions, StdSpawn};
//! use licence_core::protocol::{ConnectionInfo, SessionInfo, Wish};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new(Box::new(StdSpawn));
//! let link = client.start(StartOptions {
//!     series: "672B".parse()?,
//!     presence_only: false,
//!     connection_string: Some("ServerAddr=srv".to_owned()),
//!     descriptor: Some(std::fs::read_to_string("672B.series")?),
//!     info: ConnectionInfo::default(),
//!     paths: ConfPaths { user: None, common: "licenceaddin.conf".into() },
//!     language: Language::English,
//! })?;
//! let session = SessionInfo { session_number: "7".to_owned(), ..SessionInfo::default() };
//! let seat = link.take_seat(session, Wish::default())?;
//! assert!(seat.confirmed);
//! # Ok(())
//! # }
//! ```

// The test server in `tests/common` names this crate as every program does.
#[cfg(test)]
extern crate self as licence_client;

mod access_token;
mod answer;
mod client;
mod clock;
mod conf;
mod elsewhere;
mod errand;
mod error;
mod heart;
mod http;
mod jobs;
mod names;
mod net;
mod objects;
mod operations;
mod pin;
mod queue;
#[cfg(windows)]
mod readiness;
mod spawn;
mod state;
#[cfg(test)]
mod tests;
mod tls;
mod turns;
mod worker;

pub use access_token::{ACCESS_TOKEN_BYTES_MAX, AccessToken, AccessTokenError};
pub use client::{CALL_BOUND, Client, DROP_BOUND, Link, START_BOUND, Seat, StartOptions};
pub use clock::{Clock, SystemClock};
pub use conf::{
    CONF_BYTES_MAX, Conf, ConfPaths, ConnectionString, DEFAULT_HOST, Settings, resolve,
};
pub use error::ClientError;
pub use http::{BODY_BYTES_MAX, HEAD_BYTES_MAX};
pub use licence_core::language::Language;
pub use objects::{DataFile, OBJECT_BOUND, ObjectKey};
pub use operations::{OPERATION_BOUND, SESSION_KEYS_BOUND, SESSION_KEYS_BYTES_MAX};
pub use spawn::{Joinable, Spawn, StdSpawn};
