//! The five functions that the platform looks up by name, one by which a component from a template
//! hands its work over, and the farewell at unloading.
//!
//! Plain C functions without decoration on every system. Each checks its pointers and is guarded.
//! Where another component is installed, the five pass the call on ([`crate::unify`]).

use std::ffi::{c_int, c_long, c_void};

use crate::abi::Wchar;
use crate::class;
use crate::guard::{guard, quiet_panics};
use crate::object::{self, Object};
use crate::unify::Maker;
use crate::{logfile, pin, platform_info, process, unify, value};

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

/// Names of the classes of this library, separated by `|`.
pub(crate) fn own_class_names() -> String {
    let (_terminator, units) = CLASS_NAMES.split_last().unwrap_or((&0, &[]));
    String::from_utf16_lossy(units)
}

/// Names of the classes, separated by `|`.
#[unsafe(no_mangle)]
pub extern "C" fn GetClassNames() -> *const Wchar {
    guard(CLASS_NAMES.as_ptr(), || {
        quiet_panics();
        unify::installed().map_or(CLASS_NAMES.as_ptr(), |installed| installed.class_names())
    })
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
        let Some(asked) = (unsafe { value::read_name(name) }) else { return 0 };
        pin::load();
        if let Some(installed) = unify::installed().filter(|installed| installed.has(&asked)) {
            // SAFETY: promise of the caller, passed on.
            let made = unsafe { installed.create(name, object) };
            if made != 0 && !object.is_null() {
                return made;
            }
            let note = format!("the installed component made no object of class {asked}");
            logfile::note(log::Level::Warn, &note);
        }
        let Some(class) = class::find_class(&asked) else { return 0 };
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
        if place.is_null() {
            return -1;
        }
        // SAFETY: promise of the caller: an object of this library or of the installed one.
        match unsafe { unify::maker(*place) } {
            // SAFETY: promise of the caller, and the object is one of its own.
            Maker::Installed(installed) => return unsafe { installed.destroy(place) },
            Maker::Gone => *place = std::ptr::null_mut(),
            Maker::Own => {
                let object = std::mem::replace(place, std::ptr::null_mut());
                // SAFETY: promise of the caller, and the pointer is cleared above.
                unsafe { object::destroy(object) };
            }
        }
        0
    })
}

/// Agrees on the interface: the host says what it can, the component what it uses of that.
#[unsafe(no_mangle)]
pub extern "C" fn SetPlatformCapabilities(capabilities: c_int) -> c_int {
    guard(1, || {
        quiet_panics();
        // In any case, since a class that only this library has is made here.
        platform_info::note_capabilities(capabilities);
        unify::installed().map_or_else(
            || capabilities.clamp(1, CAPABILITIES),
            |installed| installed.set_capabilities(capabilities),
        )
    })
}

/// How the component may be attached.
#[unsafe(no_mangle)]
pub extern "C" fn GetAttachType() -> c_int {
    guard(ATTACH_ANY, || {
        quiet_panics();
        unify::installed().map_or(ATTACH_ANY, |installed| installed.attach_type())
    })
}

/// Takes the work of a component from a template: 1, or 0 when the message is not understood and the
/// other one has to serve itself. `message` is JSON in UTF-8; its members are in `docs/component.md`,
/// «Unification».
///
/// # Safety
/// `message` is null or points to `length` readable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn LicenceAddinTakeOver(message: *const u8, length: usize) -> c_int {
    guard(0, || {
        quiet_panics();
        if message.is_null() || isize::try_from(length).is_err() {
            return 0;
        }
        // SAFETY: promise of the caller, not null, and no longer than memory can be.
        let message = unsafe { std::slice::from_raw_parts(message, length) };
        c_int::from(unify::take_over(message))
    })
}

/// Runs before the library's pages go away, and at the exit of the process: seats are released
/// and the thread ends (see [`process::unload`] for the bounds).
#[cfg(all(unix, not(target_vendor = "apple")))]
#[used]
#[unsafe(link_section = ".fini_array")]
static FAREWELL: extern "C" fn() = {
    extern "C" fn farewell() {
        guard((), || {
            process::unload();
            unify::unload();
            pin::forget();
        });
    }
    farewell
};

/// Runs when the library is unloaded and no thread of it is left, because each keeps it loaded: gives
/// back all memory and closes the log. At the exit of a process nothing is done, since its threads were
/// ended wherever they stood; its sessions expire at the server, as those of a killed process.
///
/// A callback of thread-local storage is the one way to be told of that without exporting a name. It
/// stands before that of the standard library, which takes thread-locals down.
#[cfg(windows)]
#[used]
#[unsafe(link_section = ".CRT$XLAB")]
static FAREWELL: extern "system" fn(*mut c_void, u32, *mut c_void) = {
    extern "system" fn farewell(_module: *mut c_void, reason: u32, _reserved: *mut c_void) {
        /// The library goes away, or the process.
        const PROCESS_DETACH: u32 = 0;
        if reason == PROCESS_DETACH && !crate::windows::is_process_ending() {
            guard((), || {
                process::unload();
                unify::unload();
                pin::forget();
            });
        }
    }
    farewell
};
