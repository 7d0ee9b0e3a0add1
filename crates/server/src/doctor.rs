//! Checks from outside.
