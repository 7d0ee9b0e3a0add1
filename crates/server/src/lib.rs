//! The licence server: one port for components, the REST API and the console.
//!
//! | module | subject |
//! | --- | --- |
//! | [`run`] | order of start and stop |
//! | [`service`] | the server as a service of the operating system |
//! | [`rights`], [`eventlog`] | on Windows: who may read the data; what the event log is told |
//! | [`app`] | a server with everything open but its port |
//! | [`net`], [`stall`] | one port, plain HTTP and TLS, bounded |
//! | `link` | calls to another licence server over TLS that trusts one key |
//! | [`closed`] | what is answered while the data cannot be used |
//! | [`api`] | REST, the client protocol, errors |
//! | [`access`] | who may do what |
//! | [`console`] | pages |
//! | [`health`], [`doctor`] | how the server is, from inside and from outside |
//! | [`history`] | what happened and how seats were used |
//! | [`settings`] | settings in force, changes of the conf file |
//! | [`activate`] | activation by code |
//! | [`binding`] | how the licences stand with the computer |
//! | [`driver`] | the one task that owns the state |
//! | [`store`] | what survives a restart |
//! | [`notify`] | notices by webhook and mail |
//! | [`backup`] | one file that holds everything a server is |
//! | [`metrics`] | what is counted for Prometheus |
//! | [`keyring`] | licence files and series |
//! | [`tokens`] | keys inside USB tokens: who is there, and what is asked of it |
//! | [`datafiles`], [`key_memory`] | vendors' data files; texts that are kept with keys |
//! | [`ismp`] | shared session keys of ИС МП |
//! | [`identity`], [`tls`], [`certificate`] | the key that licences are bound to, and what TLS shows |
//! | [`cluster`] | this server as a node of a cluster over etcd |
//! | [`config`], [`cli`], [`set_password`], [`paths`], [`host`], [`ports`], [`logfile`], [`language`], [`signals`] | the surroundings |
//! | [`clock`], [`random`] | the only places that read clocks and draw random bytes |
//!
//! Requests reach the driver over its handle; nothing outside of it decides on seats.

#![deny(unsafe_code)]

pub mod access;
pub mod activate;
pub mod api;
pub mod app;
pub mod atomic_file;
pub mod backup;
pub mod binding;
pub mod certificate;
pub mod cli;
pub mod clock;
pub mod closed;
pub mod cluster;
pub mod config;
pub mod console;
pub mod datafiles;
pub mod doctor;
pub mod driver;
pub mod eventlog;
pub mod health;
pub mod history;
pub mod host;
pub mod identity;
pub mod ismp;
pub mod key_memory;
pub mod keyring;
pub mod language;
mod link;
pub mod logfile;
pub mod looks;
pub mod metrics;
pub mod net;
pub mod notify;
pub mod paths;
pub mod ports;
pub mod random;
pub mod rights;
pub mod rules_file;
pub mod run;
pub mod service;
pub mod set_password;
pub mod settings;
pub mod signals;
pub mod stall;
pub mod store;
pub mod tls;
pub mod tokens;
#[cfg(windows)]
pub mod win32;
