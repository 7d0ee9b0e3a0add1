//! Session keys of ИС МП through real servers, a played marking service, signatures by GOST and programs
//! of others.

#![expect(clippy::unwrap_used, reason = "a step that fails ends the test")]

mod clients;
mod component;
mod keep;
mod played;
mod refresh;
mod reserve;
mod site;
