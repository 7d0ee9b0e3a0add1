//! The licence server: one port for components, the REST API and the console.
//!
//! | module | subject |
//! | --- | --- |
//! | [`run`] | order of start and stop |
//! | [`net`], [`stall`] | one port, plain HTTP and TLS, bounded |
//! | [`api`] | REST, the client protocol, errors |
//! | [`access`] | who may do what |
//! | [`console`] | pages |
//! | [`history`] | what happened and how seats were used |
//! | [`settings`] | settings in force, changes of the conf file |
//! | [`activate`] | activation by code |
//! | [`driver`] | the one task that owns the state |
//! | [`store`] | what survives a restart |
//! | [`notify`] | notices by webhook and mail |
//! | [`metrics`] | what is counted for Prometheus |
//! | [`keyring`] | licence files and series |
//! | [`identity`], [`tls`] | the key that licences are bound to |
//! | [`config`], [`cli`], [`paths`], [`host`], [`logfile`], [`language`] | the surroundings |
//! | [`clock`], [`random`] | the only places that read clocks and draw random bytes |
//!
//! Requests reach the driver over its handle; nothing outside of it decides on seats.

#![deny(unsafe_code)]

pub mod access;
pub mod activate;
pub mod api;
pub mod cli;
pub mod clock;
pub mod config;
pub mod console;
pub mod driver;
pub mod history;
pub mod host;
pub mod identity;
pub mod keyring;
pub mod language;
pub mod logfile;
pub mod metrics;
pub mod net;
pub mod notify;
pub mod paths;
pub mod random;
pub mod run;
pub mod settings;
pub mod stall;
pub mod store;
pub mod tls;
