//! Licences, seats and leases as a pure state machine.
//!
//! Events and [`time::Now`] go in, ordered effects come out. There is no clock, socket, file,
//! random source, thread or `async` in this crate, and none may come: CI proves it on the
//! dependency tree.
//!
//! | module | subject |
//! | --- | --- |
//! | [`service`] | the state machine: who holds a seat |
//! | [`pool`] | which keys may give out seats |
//! | [`key`], [`session`] | values: keys, series, terms; connections, sessions |
//! | [`journal`] | records that must be on disk before an answer, and what they add up to |
//! | [`access_code`] | what a session names to use a key |
//! | [`refusal`], [`causes`] | why something was not granted or failed, for programs and for people |
//! | [`datafile`], [`parameters`] | protected objects of a vendor in one signed file; licence parameters |
//! | [`developer_password`] | the vendor's password for wiping key memory |
//! | [`key_memory`] | who may read and write the short text that is kept with a key |
//! | [`licence_file`], [`parameter_claims`], [`series`], [`activation`], [`activation_request`], [`lease_token`] | signed documents and codes |
//! | [`short_text`] | requests and licences that are read out over a telephone |
//! | [`binding`], [`holder`], [`delegation`] | computers and tokens that licences are bound to |
//! | [`identity_seal`] | the identity of a server, sealed to its computer |
//! | [`template_pin`] | series pinned inside a component's library |
//! | [`seal`], [`jws`] | signatures and ciphers |
//! | `wrap` (feature `hpke`) | secrets wrapped for an X25519 key |
//! | [`cluster`] | seats of one key shared by several servers |
//! | [`protocol`], [`failover`], [`detour`] | messages between component and server; which server next; where to go on when it grants nothing |

#![forbid(unsafe_code)]

pub mod access_code;
pub mod activation;
pub mod activation_request;
pub mod binding;
pub mod causes;
pub mod centre_request;
pub mod cluster;
pub mod datafile;
pub mod delegation;
pub mod detour;
pub mod developer_password;
pub mod failover;
pub mod holder;
pub mod identity_seal;
pub mod journal;
pub mod jws;
pub mod key;
pub mod key_memory;
pub mod language;
pub mod lease_token;
pub mod licence_file;
pub mod parameter_claims;
pub mod parameters;
pub mod pool;
pub mod protocol;
pub mod refusal;
pub mod rules;
pub mod seal;
pub mod series;
pub mod service;
pub mod session;
pub mod short_text;
pub mod template_pin;
pub mod time;
#[cfg(feature = "hpke")]
pub mod wrap;
