//! The built library in the C++ host, which plays the platform in a process of its own.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "helpers of tests panic like tests")]

mod alone;
#[path = "../common/mod.rs"]
mod common;
mod host;
mod live;
mod pinned;
mod unified;
