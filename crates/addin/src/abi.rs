//! The binary contract with the platform: variants, virtual tables of the host, their layout.
//!
//! Types and constants only. Nothing here dereferences a pointer or knows a class; the layout is
//! checked by constant assertions for each target, so that a wrong one does not compile.

use std::ffi::{c_int, c_long, c_ulong, c_void};

/// A UTF-16 unit: `WCHAR_T` is 16 bits wide on every system, unlike `wchar_t` of Linux.
pub type Wchar = u16;

/// Type codes of [`TVariant::vt`]. Read as plain numbers: a Rust enum with an unknown value is
/// undefined behaviour, and hosts do send flags (vector, array, by reference) in the same field.
pub mod vt {
    /// No value (`Неопределено`).
    pub const EMPTY: u16 = 0;
    /// Null of a database.
    pub const NULL: u16 = 1;
    /// 16-bit integer.
    pub const I2: u16 = 2;
    /// 32-bit integer.
    pub const I4: u16 = 3;
    /// Number; travels in the 64-bit floating field, as type [`R8`] does.
    pub const R4: u16 = 4;
    /// Floating number.
    pub const R8: u16 = 5;
    /// Date as floating number.
    pub const DATE: u16 = 6;
    /// Date as calendar fields.
    pub const TM: u16 = 7;
    /// Text of bytes.
    pub const PSTR: u16 = 8;
    /// Boolean.
    pub const BOOL: u16 = 11;
    /// 8-bit signed integer.
    pub const I1: u16 = 13;
    /// 8-bit unsigned integer.
    pub const UI1: u16 = 14;
    /// 16-bit unsigned integer.
    pub const UI2: u16 = 15;
    /// 32-bit unsigned integer.
    pub const UI4: u16 = 16;
    /// 64-bit signed integer.
    pub const I8: u16 = 17;
    /// 64-bit unsigned integer.
    pub const UI8: u16 = 18;
    /// `int`.
    pub const INT: u16 = 19;
    /// `unsigned int`.
    pub const UINT: u16 = 20;
    /// Text of UTF-16 units.
    pub const PWSTR: u16 = 22;
    /// Bytes.
    pub const BLOB: u16 = 23;
}

/// Pointer and length of a text of UTF-16 units, without the terminator.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WideText {
    /// First unit; may be null when the length is 0, and need not be terminated.
    pub units: *mut Wchar,
    /// Number of units.
    pub len: u32,
}

/// Pointer and length of a text or blob of bytes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ByteText {
    /// First byte; may be null when the length is 0.
    pub bytes: *mut u8,
    /// Number of bytes.
    pub len: u32,
}

/// `struct tm` of the target's C library: it sets the size of the union.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Tm {
    /// Seconds, minutes, hours, day, month, year, weekday, day of the year, summer time.
    pub fields: [c_int; 9],
    /// Offset from UTC, in seconds.
    #[cfg(unix)]
    pub offset: c_long,
    /// Name of the time zone.
    #[cfg(unix)]
    pub zone: *const std::ffi::c_char,
}

/// The value of a variant; which field is valid follows from [`TVariant::vt`].
#[repr(C)]
#[derive(Clone, Copy)]
pub union Payload {
    /// For integer types up to 32 bits.
    pub long_value: i32,
    /// For [`vt::I8`].
    pub long_long: i64,
    /// For [`vt::UI8`].
    pub unsigned_long_long: u64,
    /// For [`vt::R4`], [`vt::R8`] and [`vt::DATE`].
    pub double: f64,
    /// For [`vt::BOOL`]: a byte, any value but 0 is true.
    pub boolean: u8,
    /// For [`vt::PWSTR`].
    pub wide: WideText,
    /// For [`vt::PSTR`] and [`vt::BLOB`].
    pub narrow: ByteText,
    /// For [`vt::TM`].
    pub tm: Tm,
}

/// `tVariant`: one value that crosses the border.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct TVariant {
    /// The value.
    pub payload: Payload,
    /// Length of an array; not used by this component.
    pub elements: u32,
    /// The type, one of [`vt`].
    pub vt: u16,
}

#[cfg(all(unix, target_pointer_width = "64"))]
const LAYOUT: [usize; 3] = [64, 60, 56];
#[cfg(all(unix, target_pointer_width = "32"))]
const LAYOUT: [usize; 3] = [52, 48, 44];
#[cfg(windows)]
const LAYOUT: [usize; 3] = [48, 44, 40];

const _: () = assert!(size_of::<TVariant>() == LAYOUT[0], "size of tVariant");
const _: () = assert!(std::mem::offset_of!(TVariant, vt) == LAYOUT[1], "offset of vt");
const _: () = assert!(std::mem::offset_of!(TVariant, elements) == LAYOUT[2], "cbElements");
const _: () = assert!(size_of::<*const c_void>() == std::mem::offset_of!(WideText, len));

/// Destructor slots at the head of every virtual table.
///
/// The Itanium C++ rules (Linux, macOS) keep two: one that destroys and one that destroys and
/// frees. Each must be a valid function, because open hosts do `delete` the component.
#[cfg(unix)]
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Destructors {
    /// Destroys the object and leaves its memory alone.
    pub complete: unsafe extern "C" fn(*mut c_void),
    /// Destroys the object and frees its memory.
    pub deleting: unsafe extern "C" fn(*mut c_void),
}

/// Destructor slot at the head of every virtual table: Microsoft's rules keep one, which takes
/// flags (bit 0: free the memory as well) and answers the object.
#[cfg(all(windows, not(target_arch = "x86")))]
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Destructors {
    /// The scalar deleting destructor.
    pub scalar: unsafe extern "system" fn(*mut c_void, std::ffi::c_uint) -> *mut c_void,
}

/// Destructor slot at the head of every virtual table: Microsoft's rules keep one, which takes
/// flags (bit 0: free the memory as well), answers the object, and on 32 bits is a `thiscall`
/// although the methods beside it are not.
#[cfg(all(windows, target_arch = "x86"))]
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Destructors {
    /// The scalar deleting destructor.
    pub scalar: unsafe extern "thiscall" fn(*mut c_void, std::ffi::c_uint) -> *mut c_void,
}

/// Base 0 of a component: its life.
#[repr(C)]
pub struct InitDoneVtable {
    /// Destructor slots.
    pub destroy: Destructors,
    /// Takes the connection object; false refuses to work.
    pub init: unsafe extern "system" fn(*mut c_void, *mut c_void) -> bool,
    /// Takes the memory manager.
    pub set_mem_manager: unsafe extern "system" fn(*mut c_void, *mut c_void) -> bool,
    /// Version of the technology, in thousandths: 2000.
    pub get_info: unsafe extern "system" fn(*mut c_void) -> c_long,
    /// The last call before destruction.
    pub done: unsafe extern "system" fn(*mut c_void),
}

/// Base 1 of a component: its members.
#[repr(C)]
pub struct LanguageExtenderVtable {
    /// Destructor slots.
    pub destroy: Destructors,
    /// Name of the class, allocated by the host's memory manager.
    pub register_extension_as: unsafe extern "system" fn(*mut c_void, *mut *mut Wchar) -> bool,
    /// Number of properties.
    pub get_n_props: unsafe extern "system" fn(*mut c_void) -> c_long,
    /// Index of a property, −1 when there is none.
    pub find_prop: unsafe extern "system" fn(*mut c_void, *const Wchar) -> c_long,
    /// Name of a property in English (0) or Russian (1).
    pub get_prop_name: unsafe extern "system" fn(*mut c_void, c_long, c_long) -> *const Wchar,
    /// Reads a property.
    pub get_prop_val: unsafe extern "system" fn(*mut c_void, c_long, *mut TVariant) -> bool,
    /// Writes a property.
    pub set_prop_val: unsafe extern "system" fn(*mut c_void, c_long, *mut TVariant) -> bool,
    /// Whether it can be read.
    pub is_prop_readable: unsafe extern "system" fn(*mut c_void, c_long) -> bool,
    /// Whether it can be written.
    pub is_prop_writable: unsafe extern "system" fn(*mut c_void, c_long) -> bool,
    /// Number of methods.
    pub get_n_methods: unsafe extern "system" fn(*mut c_void) -> c_long,
    /// Index of a method, −1 when there is none.
    pub find_method: unsafe extern "system" fn(*mut c_void, *const Wchar) -> c_long,
    /// Name of a method in English (0) or Russian (1).
    pub get_method_name: unsafe extern "system" fn(*mut c_void, c_long, c_long) -> *const Wchar,
    /// Number of parameters of a method.
    pub get_n_params: unsafe extern "system" fn(*mut c_void, c_long) -> c_long,
    /// Default value of a parameter.
    pub get_param_def_value:
        unsafe extern "system" fn(*mut c_void, c_long, c_long, *mut TVariant) -> bool,
    /// Whether a method answers a value.
    pub has_ret_val: unsafe extern "system" fn(*mut c_void, c_long) -> bool,
    /// Calls a method and drops its answer.
    pub call_as_proc: unsafe extern "system" fn(*mut c_void, c_long, *mut TVariant, c_long) -> bool,
    /// Calls a method.
    pub call_as_func: unsafe extern "system" fn(
        *mut c_void,
        c_long,
        *mut TVariant,
        *mut TVariant,
        c_long,
    ) -> bool,
}

/// Bases 2 and 3 of a component: the language of the platform and of its windows.
#[repr(C)]
pub struct LanguageVtable {
    /// Destructor slots.
    pub destroy: Destructors,
    /// Takes the name of a locale or the code of a language.
    pub set: unsafe extern "system" fn(*mut c_void, *const Wchar),
}

/// The host's memory manager, whose object begins with a pointer to this table.
#[repr(C)]
pub struct MemoryManagerVtable {
    /// Destructor slots: never called from here.
    #[cfg(unix)]
    pub destroy: [Option<unsafe extern "C" fn()>; 2],
    /// Destructor slot: never called from here.
    #[cfg(windows)]
    pub destroy: [Option<unsafe extern "C" fn()>; 1],
    /// Allocates a number of bytes.
    pub alloc: unsafe extern "system" fn(*mut c_void, *mut *mut c_void, c_ulong) -> bool,
    /// Frees what was allocated and clears the pointer.
    pub free: unsafe extern "system" fn(*mut c_void, *mut *mut c_void),
}

/// The connection object of `Init`, as platforms with capabilities give it: begins with a pointer
/// to this table.
#[repr(C)]
pub struct ConnectionVtable {
    /// Destructor slots: never called from here.
    #[cfg(unix)]
    pub destroy: [Option<unsafe extern "C" fn()>; 2],
    /// Destructor slot: never called from here.
    #[cfg(windows)]
    pub destroy: [Option<unsafe extern "C" fn()>; 1],
    /// Errors, settings, events and the status line: never called from here.
    pub unused: [Option<unsafe extern "C" fn()>; 10],
    /// Gives one of the further interfaces by its number; null when there is none.
    pub get_interface: Option<unsafe extern "system" fn(*mut c_void, c_int) -> *mut c_void>,
}

/// Size of a slot of a virtual table, and of the pointer to one in an object.
pub(crate) const SLOT_BYTES: usize = size_of::<*const c_void>();

/// Destructor slots before the methods of a table: two by the Itanium rules, one by Microsoft's.
const DESTRUCTOR_SLOTS: usize = if cfg!(windows) { 1 } else { 2 };

/// Checks that the slots of a table follow each other in this order, behind so many others, and that
/// the table ends with the last. The order is that of the Native API's headers; a slot that is moved,
/// missing or of another size does not compile.
macro_rules! assert_slots {
    ($table:ty, behind $first:expr, $($slot:ident),+) => {
        const _: () = {
            let mut slot = $first;
            $(
                assert!(
                    std::mem::offset_of!($table, $slot) == slot * SLOT_BYTES,
                    concat!("slot ", stringify!($slot), " of ", stringify!($table)),
                );
                slot += 1;
            )+
            assert!(size_of::<$table>() == slot * SLOT_BYTES, stringify!($table));
        };
    };
}

assert_slots!(InitDoneVtable, behind DESTRUCTOR_SLOTS, init, set_mem_manager, get_info, done);
assert_slots!(
    LanguageExtenderVtable, behind DESTRUCTOR_SLOTS,
    register_extension_as, get_n_props, find_prop, get_prop_name, get_prop_val, set_prop_val,
    is_prop_readable, is_prop_writable, get_n_methods, find_method, get_method_name, get_n_params,
    get_param_def_value, has_ret_val, call_as_proc, call_as_func
);
assert_slots!(LanguageVtable, behind DESTRUCTOR_SLOTS, set);
assert_slots!(MemoryManagerVtable, behind DESTRUCTOR_SLOTS, alloc, free);
// Ten methods of the connection object before the one that is called.
assert_slots!(ConnectionVtable, behind DESTRUCTOR_SLOTS + 10, get_interface);
assert_slots!(PlatformInfoVtable, behind 0, get_platform_info);
assert_slots!(AppInfo, behind 0, version, user_agent, application);

/// Number of the interface that tells of the platform.
pub const PLATFORM_INFO: c_int = 1;

/// The interface [`PLATFORM_INFO`]; it has no destructor slots.
#[repr(C)]
pub struct PlatformInfoVtable {
    /// Tells of the platform.
    pub get_platform_info: Option<unsafe extern "system" fn(*mut c_void) -> *const AppInfo>,
}

/// What the platform tells.
#[repr(C)]
pub struct AppInfo {
    /// Version of the platform.
    pub version: *const Wchar,
    /// Browser of the web client.
    pub user_agent: *const Wchar,
    /// One of [`application`].
    pub application: c_int,
}

/// Values of [`AppInfo::application`]: thin, thick and web client, server, external connection,
/// mobile client and mobile server; −1 is unknown.
pub mod application {
    use std::ffi::c_int;

    /// The first one, the thin client.
    pub const FIRST: c_int = 0;
    /// The server.
    pub const SERVER: c_int = 3;
    /// The last one, the mobile server, which serves the one user of its device.
    pub const LAST: c_int = 6;
}
