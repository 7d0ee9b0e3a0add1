//! The component object as C++ sees it: four virtual tables laid out by hand, and the slots.
//!
//! By hand, and not by a C++ shim: on `*-windows-gnu` targets C++ classes follow the Itanium
//! rules (two destructor slots), while the platform is built by Microsoft's rules (one slot), and
//! a host then calls the wrong slots. Tables of `#[repr(C)]` functions are right on every target,
//! and there is one code for all of them.
//!
//! An object begins with four pointers to tables, one for each base class; a host calls the
//! methods of base `K` with `this` moved by `K` pointers, and [`object()`] moves it back. Slots
//! translate and guard; what a member does is decided in [`crate::component`]. Any order of calls
//! is legal, before `Init` and without it.

use std::ffi::{c_long, c_void};
use std::mem::ManuallyDrop;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use crate::abi::{
    Destructors, InitDoneVtable, LanguageExtenderVtable, LanguageVtable, SLOT_BYTES, TVariant,
    Wchar,
};
use crate::class::{self, METHODS, Method, PROPERTIES, Parameter, Property};
use crate::component::Component;
use crate::guard::guard;
use crate::platform_info;
use crate::value::{self, Memory, Value};

/// Version of the component technology: 2000 says that objects are made one by one.
const TECHNOLOGY: c_long = 2000;

/// A component object. The tables come first and in this order: that is the contract.
#[repr(C)]
pub(crate) struct Object {
    init_done: &'static InitDoneVtable,
    language_extender: &'static LanguageExtenderVtable,
    locale: &'static LanguageVtable,
    user_language: &'static LanguageVtable,
    /// Whether [`Self::component`] has not been dropped: the destructor without freeing leaves
    /// the memory to the host, and no later call may touch what is gone.
    alive: AtomicBool,
    memory: AtomicPtr<c_void>,
    /// Name of the class that the host asked for.
    class: &'static str,
    component: ManuallyDrop<Component>,
}

/// Checks that base `K` begins `K` pointers behind the start of an object.
macro_rules! assert_bases {
    ($($base:ident at $index:literal),+) => {
        $(const _: () = assert!(
            std::mem::offset_of!(Object, $base) == $index * SLOT_BYTES,
            concat!("place of base ", stringify!($base)),
        );)+
    };
}

assert_bases!(init_done at 0, language_extender at 1, locale at 2, user_language at 3);

impl Object {
    /// Makes an object of a class for the host, to be destroyed by [`destroy`] or a destructor slot.
    pub(crate) fn create(class: &'static str) -> *mut c_void {
        let object = Box::new(Self {
            init_done: &INIT_DONE,
            language_extender: &LANGUAGE_EXTENDER,
            locale: &LOCALE,
            user_language: &USER_LANGUAGE,
            alive: AtomicBool::new(true),
            memory: AtomicPtr::new(ptr::null_mut()),
            class,
            component: ManuallyDrop::new(Component::new()),
        });
        Box::into_raw(object).cast()
    }

    fn memory(&self) -> Option<Memory> {
        Memory::new(self.memory.load(Ordering::Acquire))
    }
}

/// Destroys the object and frees its memory.
///
/// # Safety
/// `this` came from [`Object::create`] and is not used afterwards.
pub(crate) unsafe fn destroy(this: *mut c_void) {
    // SAFETY: the caller promises an object of ours, once.
    guard((), || unsafe { drop_component(this.cast()) });
    // SAFETY: `create` made it as a box, and the component inside is dropped already.
    drop(unsafe { Box::from_raw(this.cast::<Object>()) });
}

/// # Safety
/// `this` is an object whose memory is still there.
unsafe fn drop_component(this: *mut Object) {
    // SAFETY: the caller promises memory of an object.
    let alive = unsafe { &(*this).alive };
    if alive.swap(false, Ordering::AcqRel) {
        // SAFETY: the memory is there, and the swap lets exactly one caller through.
        let component = unsafe { &mut (*this).component };
        // SAFETY: for the same reason nobody drops or uses it again.
        unsafe { ManuallyDrop::drop(component) };
    }
}

/// The object behind the `this` of base `K`; nothing for null or a destroyed object.
///
/// # Safety
/// `this` is null or the pointer of base `K` of an object that outlives `'a`.
unsafe fn object<'a, const K: usize>(this: *mut c_void) -> Option<&'a Object> {
    if this.is_null() {
        return None;
    }
    let start = this.wrapping_byte_sub(K * size_of::<*const c_void>()).cast::<Object>();
    // SAFETY: base `K` lies `K` pointers behind the start of the object.
    let object = unsafe { &*start };
    object.alive.load(Ordering::Acquire).then_some(object)
}

#[cfg(unix)]
unsafe extern "C" fn destroy_complete<const K: usize>(this: *mut c_void) {
    if !this.is_null() {
        let start = this.wrapping_byte_sub(K * size_of::<*const c_void>()).cast::<Object>();
        // SAFETY: base `K` lies `K` pointers behind the start of the object.
        guard((), || unsafe { drop_component(start) });
    }
}

#[cfg(unix)]
unsafe extern "C" fn destroy_deleting<const K: usize>(this: *mut c_void) {
    if !this.is_null() {
        let start = this.wrapping_byte_sub(K * size_of::<*const c_void>());
        // SAFETY: base `K` lies `K` pointers behind the start; `delete` is the last use.
        guard((), || unsafe { destroy(start) });
    }
}

#[cfg(unix)]
const fn destructors<const K: usize>() -> Destructors {
    Destructors { complete: destroy_complete::<K>, deleting: destroy_deleting::<K> }
}

#[cfg(windows)]
macro_rules! scalar_destructor {
    ($abi:literal) => {
        unsafe extern $abi fn destroy_scalar<const K: usize>(
            this: *mut c_void,
            flags: std::ffi::c_uint,
        ) -> *mut c_void {
            if this.is_null() {
                return this;
            }
            let start = this.wrapping_byte_sub(K * size_of::<*const c_void>());
            if flags & 1 == 0 {
                // SAFETY: base `K` lies `K` pointers behind the start of the object.
                guard((), || unsafe { drop_component(start.cast()) });
            } else {
                // SAFETY: as above; `delete` is the last use.
                guard((), || unsafe { destroy(start) });
            }
            start
        }
    };
}
#[cfg(all(windows, target_arch = "x86"))]
scalar_destructor!("thiscall");
#[cfg(all(windows, not(target_arch = "x86")))]
scalar_destructor!("system");

#[cfg(windows)]
const fn destructors<const K: usize>() -> Destructors {
    Destructors { scalar: destroy_scalar::<K> }
}

static INIT_DONE: InitDoneVtable =
    InitDoneVtable { destroy: destructors::<0>(), init, set_mem_manager, get_info, done };

static LANGUAGE_EXTENDER: LanguageExtenderVtable = LanguageExtenderVtable {
    destroy: destructors::<1>(),
    register_extension_as,
    get_n_props,
    find_prop,
    get_prop_name,
    get_prop_val,
    set_prop_val,
    is_prop_readable,
    is_prop_writable,
    get_n_methods,
    find_method,
    get_method_name,
    get_n_params,
    get_param_def_value,
    has_ret_val,
    call_as_proc,
    call_as_func,
};

static LOCALE: LanguageVtable =
    LanguageVtable { destroy: destructors::<2>(), set: set_language::<2> };

static USER_LANGUAGE: LanguageVtable =
    LanguageVtable { destroy: destructors::<3>(), set: set_language::<3> };

// In all slots below: `this` is what the host got from `GetClassObject`, moved to the base whose
// table the slot stands in; the other pointers are null or valid for the call. These are the
// promises of the Native API, and every `SAFETY` comment leans on them.

unsafe extern "system" fn init(this: *mut c_void, connection: *mut c_void) -> bool {
    guard(false, || {
        // SAFETY: promise of the API.
        let Some(object) = (unsafe { object::<0>(this) }) else { return false };
        // SAFETY: promise of the API.
        if let Some(is_server) = unsafe { platform_info::is_server(connection) } {
            object.component.set_server(is_server);
        }
        !connection.is_null()
    })
}

unsafe extern "system" fn set_mem_manager(this: *mut c_void, manager: *mut c_void) -> bool {
    guard(false, || {
        // SAFETY: promise of the API.
        let Some(object) = (unsafe { object::<0>(this) }) else { return false };
        object.memory.store(manager, Ordering::Release);
        !manager.is_null()
    })
}

unsafe extern "system" fn get_info(_this: *mut c_void) -> c_long {
    TECHNOLOGY
}

unsafe extern "system" fn done(this: *mut c_void) {
    guard((), || {
        // SAFETY: promise of the API.
        if let Some(object) = unsafe { object::<0>(this) } {
            object.component.done();
        }
    });
}

unsafe extern "system" fn register_extension_as(this: *mut c_void, name: *mut *mut Wchar) -> bool {
    guard(false, || {
        // SAFETY: promise of the API.
        let Some(object) = (unsafe { object::<1>(this) }) else { return false };
        // SAFETY: promise of the API.
        let Some(name) = (unsafe { name.as_mut() }) else { return false };
        let Some(memory) = object.memory() else { return false };
        // SAFETY: the manager lives as long as the object uses it.
        let Some(copy) = (unsafe { memory.copy_text(object.class) }) else { return false };
        *name = copy.units;
        true
    })
}

/// The entry at an index that came from the host.
fn at<T>(table: &'static [T], index: c_long) -> Option<&'static T> {
    table.get(usize::try_from(index).ok()?)
}

fn index_of(found: Option<usize>) -> c_long {
    found.and_then(|index| c_long::try_from(index).ok()).unwrap_or(-1)
}

unsafe extern "system" fn get_n_props(_this: *mut c_void) -> c_long {
    PROPERTIES.len() as c_long
}

unsafe extern "system" fn find_prop(_this: *mut c_void, name: *const Wchar) -> c_long {
    // SAFETY: promise of the API.
    guard(-1, || index_of(unsafe { value::read_name(name) }.and_then(|n| class::find_property(&n))))
}

unsafe extern "system" fn get_prop_name(
    this: *mut c_void,
    index: c_long,
    alias: c_long,
) -> *const Wchar {
    guard(ptr::null(), || {
        let names = at(&PROPERTIES, index).map(|property| &property.names);
        // SAFETY: promise of the API.
        unsafe { name_for_host(this, names, alias) }
    })
}

/// A copy of a name in host memory, or null.
///
/// # Safety
/// As for the slots of base 1.
unsafe fn name_for_host(
    this: *mut c_void,
    names: Option<&'static [&'static str; 2]>,
    alias: c_long,
) -> *const Wchar {
    // SAFETY: promise of the caller.
    let Some(object) = (unsafe { object::<1>(this) }) else { return ptr::null() };
    let name = names.zip(usize::try_from(alias).ok()).and_then(|(names, alias)| names.get(alias));
    let Some((name, memory)) = name.zip(object.memory()) else { return ptr::null() };
    // SAFETY: the manager lives as long as the object uses it.
    unsafe { memory.copy_text(name) }.map_or(ptr::null(), |copy| copy.units.cast_const())
}

unsafe extern "system" fn get_prop_val(
    this: *mut c_void,
    index: c_long,
    variant: *mut TVariant,
) -> bool {
    guard(false, || {
        // SAFETY: promise of the API.
        let Some(object) = (unsafe { object::<1>(this) }) else { return false };
        let Some(property) = at(&PROPERTIES, index).filter(|property| property.readable) else {
            return false;
        };
        let value = object.component.get(property.id);
        // SAFETY: promise of the API.
        unsafe { value::write(variant, &value, object.memory()) }
    })
}

unsafe extern "system" fn set_prop_val(
    this: *mut c_void,
    index: c_long,
    variant: *mut TVariant,
) -> bool {
    guard(false, || {
        // SAFETY: promise of the API.
        let Some(object) = (unsafe { object::<1>(this) }) else { return false };
        let Some(property) = at(&PROPERTIES, index).filter(|property| property.writable) else {
            return false;
        };
        if variant.is_null() {
            return false;
        }
        // SAFETY: promise of the API.
        object.component.set(property.id, unsafe { value::read(variant) })
    })
}

unsafe extern "system" fn is_prop_readable(_this: *mut c_void, index: c_long) -> bool {
    at(&PROPERTIES, index).is_some_and(|property: &Property| property.readable)
}

unsafe extern "system" fn is_prop_writable(_this: *mut c_void, index: c_long) -> bool {
    at(&PROPERTIES, index).is_some_and(|property: &Property| property.writable)
}

unsafe extern "system" fn get_n_methods(_this: *mut c_void) -> c_long {
    METHODS.len() as c_long
}

unsafe extern "system" fn find_method(_this: *mut c_void, name: *const Wchar) -> c_long {
    // SAFETY: promise of the API.
    guard(-1, || index_of(unsafe { value::read_name(name) }.and_then(|n| class::find_method(&n))))
}

unsafe extern "system" fn get_method_name(
    this: *mut c_void,
    index: c_long,
    alias: c_long,
) -> *const Wchar {
    guard(ptr::null(), || {
        let names = at(&METHODS, index).map(|method| &method.names);
        // SAFETY: promise of the API.
        unsafe { name_for_host(this, names, alias) }
    })
}

unsafe extern "system" fn get_n_params(_this: *mut c_void, index: c_long) -> c_long {
    at(&METHODS, index).map_or(0, |method| method.parameters.len() as c_long)
}

unsafe extern "system" fn get_param_def_value(
    this: *mut c_void,
    method: c_long,
    parameter: c_long,
    variant: *mut TVariant,
) -> bool {
    guard(false, || {
        // SAFETY: promise of the API.
        let Some(object) = (unsafe { object::<1>(this) }) else { return false };
        let Some(parameter) = at(&METHODS, method)
            .zip(usize::try_from(parameter).ok())
            .and_then(|(method, parameter)| method.parameters.get(parameter))
        else {
            return false;
        };
        let value = match parameter {
            Parameter::Required => Value::Empty,
            Parameter::OrFalse => Value::Bool(false),
            Parameter::OrTrue => Value::Bool(true),
            Parameter::OrEmptyText => Value::Text(String::new()),
        };
        // SAFETY: promise of the API.
        unsafe { value::write(variant, &value, object.memory()) }
    })
}

unsafe extern "system" fn has_ret_val(_this: *mut c_void, index: c_long) -> bool {
    at(&METHODS, index).is_some_and(|method: &Method| !method.is_procedure())
}

unsafe extern "system" fn call_as_proc(
    this: *mut c_void,
    index: c_long,
    arguments: *mut TVariant,
    count: c_long,
) -> bool {
    // SAFETY: promise of the API.
    guard(false, || unsafe { call(this, index, arguments, count) }.is_some())
}

unsafe extern "system" fn call_as_func(
    this: *mut c_void,
    index: c_long,
    answer: *mut TVariant,
    arguments: *mut TVariant,
    count: c_long,
) -> bool {
    guard(false, || {
        if answer.is_null() {
            return false;
        }
        // SAFETY: promise of the API.
        let Some((object, value)) = (unsafe { call(this, index, arguments, count) }) else {
            return false;
        };
        // SAFETY: promise of the API.
        unsafe { value::write(answer, &value, object.memory()) }
    })
}

/// Calls a method; nothing, of which the host makes an exception, when the call itself is malformed
/// (no such method, too few or too many arguments) or a procedure has failed.
///
/// # Safety
/// As for the slots of base 1.
unsafe fn call<'a>(
    this: *mut c_void,
    index: c_long,
    arguments: *mut TVariant,
    count: c_long,
) -> Option<(&'a Object, Value)> {
    // SAFETY: promise of the caller.
    let object = unsafe { object::<1>(this) }?;
    let method: &Method = at(&METHODS, index)?;
    let count = usize::try_from(count).ok()?;
    if count > method.parameters.len() || (count > 0 && arguments.is_null()) {
        return None;
    }
    let mut values = Vec::with_capacity(method.parameters.len());
    for (position, parameter) in method.parameters.iter().enumerate() {
        let given = if position < count {
            // SAFETY: the host passed `count` variants, and this is one of them.
            unsafe { value::read(arguments.wrapping_add(position)) }
        } else {
            Value::Empty
        };
        values.push(match (given, parameter) {
            (Value::Empty, Parameter::OrFalse) => Value::Bool(false),
            (Value::Empty, Parameter::OrTrue) => Value::Bool(true),
            (Value::Empty, Parameter::OrEmptyText) => Value::Text(String::new()),
            (given, _) => given,
        });
    }
    let answer = object.component.call(method.id, &values);
    if !method.is_procedure() {
        return Some((object, answer));
    }
    (answer == Value::Bool(true)).then_some((object, Value::Empty))
}

unsafe extern "system" fn set_language<const K: usize>(this: *mut c_void, name: *const Wchar) {
    guard((), || {
        // SAFETY: promise of the API.
        let Some(object) = (unsafe { object::<K>(this) }) else { return };
        // SAFETY: promise of the API.
        if let Some(name) = unsafe { value::read_name(name) } {
            object.component.set_language(&name);
        }
    });
}
