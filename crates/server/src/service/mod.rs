//! The server as a service of the operating system.

pub mod notify;
