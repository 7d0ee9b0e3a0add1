//! The workspace's own tools: demo, tests, bench. Started as `cargo xtask`.
//!
//! Nothing here is shipped. The stage is a library so that the chain tests play on the same one
//! as the demo.

pub mod bench;
pub mod booted;
pub mod build;
pub mod check;
pub mod clock;
pub mod component;
mod debian;
pub mod demo;
pub mod dist;
pub mod etcd;
pub mod guest;
mod made;
pub mod random;
pub mod stage;
pub mod wine;
