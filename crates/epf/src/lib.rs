//! External data processors (`epf`) and reports (`erf`) of 1C:Enterprise: bytes in, bytes out.
//!
//! * [`container`]: the platform's container of named elements;
//! * [`brace`]: its text format of nested braces;
//! * [`source`]: our layout of an external object as text, a map of names and bytes;
//! * [`pack`] and [`unpack`]: from the one to the other;
//! * [`bsl`]: the heads of a module's procedures and functions;
//! * [`stub`]: turns a common module into a protected processor and a module of forwarding stubs.
//!
//! Nothing here touches a file, a clock or a random source: the same sources give the same bytes.
//! Forms, attributes and tabular sections are not modelled; an object that has them is refused by
//! name and can still be taken apart element by element ([`container::Container`]).

#![forbid(unsafe_code)]

pub mod brace;
pub mod bsl;
pub mod container;
mod ids;
pub mod metadata;
pub mod pack;
pub mod source;
pub mod stub;
pub mod unpack;

pub use pack::{PackError, pack_processor};
pub use source::{Kind, Source, SourceError};
pub use unpack::{UnpackError, object_module, unpack_processor};
pub use uuid::Uuid;
