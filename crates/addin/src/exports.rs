//! The five functions that the platform looks up by name, and the farewell at unloading.
//!
//! Plain C functions without decoration on every system. Each checks its pointers and is guarded.

use std::ffi::{c_int, c_long, c_void};

use crate::abi::Wchar;
use crate::class;
use crate::guard::{guard, quiet_panics};
use crate::object::{self, Object};
use crate::{platform_info, process, value};

/// The newest interface that this component speaks: objects with four tables.
const CAPABILITIES: c_int = 3;

/// Any way of attaching: in the platform's process or in one of its own.
const ATTACH_ANY: c_int = 3;

/// Names of the classes and their terminator, in UTF-16. Static: the host never frees it.
static CLASS_NAMES: [Wchar; class::CLASS_NAMES.len() + 1] = {
    let name = class::CLASS_NAMES.as_bytes();
    let mut units = [0; class::CLASS_NAMES.len() + 1];
    let mut index = 0;
    while index < name.len() {
        units[index] = name[index] as Wchar;
        index += 1;
    }
    units
};

/// Names of the classes, separated by `|`.
#[unsafe(no_mangle)]
pub extern "C" fn GetClassNames() -> *const Wchar {
    CLASS_NAMES.as_ptr()
}

/// Makes an object of a class: 1, or 0 when there is no such class.
///
/// # Safety
/// `name` is null or ends with a zero unit; `object` is null or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn GetClassObject(name: *const Wchar, object: *mut *mut c_void) -> c_long {
    guard(0, || {
        quiet_panics();
        // SAFETY: promise of the caller.
        let Some(object) = (unsafe { object.as_mut() }) else { return 0 };
        // SAFETY: promise of the caller.
        let Some(name) = (unsafe { value::read_name(name) }) else { return 0 };
        let Some(class) = class::find_class(&name) else { return 0 };
        *object = Object::create(class);
        1
    })
}

/// Destroys an object and clears the pointer: 0, or −1 when there was none.
///
/// # Safety
/// `object` is null or points to a pointer that is null or came from [`GetClassObject`].
#[unsafe(no_mangle)]
pub unsafe extern "C" fn DestroyObject(object: *mut *mut c_void) -> c_long {
    guard(-1, || {
        // SAFETY: promise of the caller.
        let Some(place) = (unsafe { object.as_mut() }) else { return -1 };
        let object = std::mem::replace(place, std::ptr::null_mut());
        if object.is_null() {
            return -1;
        }
        // SAFETY: promise of the caller, and the pointer is cleared above.
        unsafe { object::destroy(object) };
        0
    })
}

/// Agrees on the interface: the host says what it can, the component what it uses of that.
#[unsafe(no_mangle)]
pub extern "C" fn SetPlatformCapabilities(capabilities: c_int) -> c_int {
    platform_info::note_capabilities(capabilities);
    capabilities.clamp(1, CAPABILITIES)
}

/// How the component may be attached.
#[unsafe(no_mangle)]
pub extern "C" fn GetAttachType() -> c_int {
    ATTACH_ANY
}

/// Runs before the library's pages go away, and at the exit of the process: seats are released
/// and the thread ends (see [`process::unload`] for the bounds).
#[cfg(all(unix, not(target_vendor = "apple")))]
#[used]
#[unsafe(link_section = ".fini_array")]
static FAREWELL: extern "C" fn() = {
    extern "C" fn farewell() {
        guard((), process::unload);
    }
    farewell
};
