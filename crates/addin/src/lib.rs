//! `licenceaddin`: the external component of 1C:Enterprise (Native API) over `licence-client`.
//!
//! | module | what it decides |
//! | --- | --- |
//! | [`abi`] | layout of what crosses the border |
//! | [`exports`] | the exported functions, the farewell at unloading |
//! | `unify`, `installed_file` | an installed component that serves instead |
//! | `pin` | series pinned inside the library's file |
//! | `object` | virtual tables and slots |
//! | `platform_info` | what the platform says of itself |
//! | `value` | reading and writing variants |
//! | `class` | names and parameters of the members |
//! | `component` | what the members do |
//! | `protected`, `objects`, `flights`, `templates` | protected objects: who may have them, what is kept |
//! | `seats` | sessions and seats |
//! | `execute`, `parameters` | operations of the licence server by name; parameters in templates |
//! | `session_keys`, `key_request`, `key_values`, `own_keys` | session keys of ИС МП: functions, parameters, keys of one object |
//! | `manager` | the object manager's file |
//! | `session_json` | sessions and wishes in JSON |
//! | `process` | the one client of the process, when it starts and stops |
//! | `thread` | the worker thread |
//! | `module`, `windows` | the library's own file, keeping it loaded; what is asked of Windows |
//! | `host_info` | the process it lives in, places of files |
//! | `logfile`, `clock`, `random`, `guard` | log, calendar, randomness, panics |
//!
//! # Unloading
//!
//! A host may unload the library at any time between calls, and it must then be gone from the
//! process. glibc keeps a library mapped while a thread-local destructor of it waits on a living
//! thread, so **code on host threads touches no thread-local with a destructor**: no
//! `std::thread::spawn`, no `thread::current`, no channels of `std`, no printing.
//!
//! Windows unloads a library under a lock that every ending thread needs, so that no thread can be
//! waited for then: there each thread keeps the library loaded until it is over (`thread`), and the
//! farewell only gives memory back.

pub mod abi;
mod class;
mod clock;
mod component;
mod execute;
pub mod exports;
mod flights;
mod guard;
mod host_info;
mod installed_file;
mod key_request;
mod key_values;
mod logfile;
mod manager;
mod module;
mod object;
mod objects;
mod own_keys;
mod parameters;
mod pin;
mod platform_info;
mod process;
mod protected;
mod random;
mod seats;
mod session_json;
mod session_keys;
mod templates;
mod thread;
mod unify;
mod value;
#[cfg(windows)]
mod windows;
