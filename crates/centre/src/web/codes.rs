//! Codes on the pages: whole for those who sell, the last group for those who only look.
//!
//! Draws and checks no codes.

use licence_core::activation::ActivationCode;

use super::Call;
use crate::access::Role;
use crate::store::masked;

/// A code as this reader may see it.
pub(super) fn shown(call: &Call<'_>, code: ActivationCode) -> String {
    if call.may(Role::Clerk) { code.to_string() } else { masked(code) }
}
