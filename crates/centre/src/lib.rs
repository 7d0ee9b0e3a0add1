//! The vendor's activation centre: keeps the books of orders and codes, and answers a licence
//! server that names a valid code with a signed licence bound to that server.
//!
//! One thread owns the database ([`books`]); what may be activated is decided without I/O in
//! [`decide`]; the routes are in [`api`]. The centre never counts seats, never talks to 1C and
//! never sends a secret key anywhere.

#![forbid(unsafe_code)]

pub mod access;
pub mod api;
pub mod attestation;
pub mod books;
pub mod cli;
pub mod clock;
pub mod decide;
pub mod folder;
pub mod http;
pub mod issue;
pub mod page;
pub mod refusal;
mod requests;
pub mod series;
mod short;
pub mod stall;
pub mod store;
mod web;
