//! What the platform says of itself through the connection object that `Init` brings.
//!
//! Asks only platforms that have announced capabilities: older ones and foreign hosts give an
//! object whose table ends before the question. Nothing of the connection is kept.

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicI32, Ordering};

use crate::abi::{ConnectionVtable, PLATFORM_INFO, PlatformInfoVtable, application};

/// The least capabilities with which a platform answers for itself.
const CAPABILITIES_MIN: c_int = 1;

/// What the platform of this process has announced; 0 before.
static CAPABILITIES: AtomicI32 = AtomicI32::new(0);

/// Keeps what the platform has announced.
pub(crate) fn note_capabilities(capabilities: c_int) {
    CAPABILITIES.store(capabilities, Ordering::Release);
}

/// Whether the platform is a server; nothing when it does not say.
///
/// # Safety
/// `connection` is null or the connection object of `Init`; if capabilities were announced, one
/// with `GetInterface`.
pub(crate) unsafe fn is_server(connection: *mut c_void) -> Option<bool> {
    if CAPABILITIES.load(Ordering::Acquire) < CAPABILITIES_MIN {
        return None;
    }
    // SAFETY: promise of the caller.
    match unsafe { application_of(connection) }? {
        application::SERVER => Some(true),
        application::FIRST..=application::LAST => Some(false),
        _ => None,
    }
}

/// The number of the application.
///
/// # Safety
/// `connection` is null or a connection object with `GetInterface`.
unsafe fn application_of(connection: *mut c_void) -> Option<c_int> {
    // SAFETY: an object of C++ begins with the pointer to its table.
    let table = unsafe { connection.cast::<*const ConnectionVtable>().as_ref() }?;
    // SAFETY: the table is that of a connection object, or null.
    let get_interface = unsafe { table.as_ref() }?.get_interface?;
    // SAFETY: promise of the interface.
    let interface = unsafe { get_interface(connection, PLATFORM_INFO) };
    if interface.is_null() {
        return None;
    }
    let platform = object_of(interface);
    // SAFETY: as above.
    let table = unsafe { platform.cast::<*const PlatformInfoVtable>().as_ref() }?;
    // SAFETY: the table is that of the interface that was asked for, or null.
    let get_platform_info = unsafe { table.as_ref() }?.get_platform_info?;
    // SAFETY: promise of the interface.
    let answer = unsafe { get_platform_info(platform) };
    // SAFETY: null, or an answer that lives as long as the platform.
    Some(unsafe { answer.as_ref() }?.application)
}

/// The object behind a pointer to its empty base class. Microsoft's rules put the table of an
/// interface before its empty base, so that `GetInterface` answers a pointer past the table.
fn object_of(interface: *mut c_void) -> *mut c_void {
    if cfg!(windows) { interface.wrapping_byte_sub(size_of::<*const c_void>()) } else { interface }
}
