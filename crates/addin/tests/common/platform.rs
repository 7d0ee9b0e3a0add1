//! Plays the platform: an object of the built library behind virtual tables made by hand.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::{c_int, c_long, c_ulong, c_void};
use std::ptr;

use libloading::{Library, Symbol};
use licenceaddin::abi::{
    ByteText, InitDoneVtable, LanguageExtenderVtable, LanguageVtable, MemoryManagerVtable, Payload,
    TVariant, Tm, WideText, vt,
};

use crate::common::library;

/// A host's memory manager that counts what it gave out.
#[repr(C)]
pub(crate) struct Manager {
    table: *const MemoryManagerVtable,
    pub(crate) living: RefCell<BTreeSet<usize>>,
}

unsafe extern "system" fn alloc(
    this: *mut c_void,
    memory: *mut *mut c_void,
    bytes: c_ulong,
) -> bool {
    // SAFETY: the component passes back the pointer that it got.
    let manager = unsafe { &*this.cast::<Manager>() };
    // SAFETY: `malloc` of the C library, freed by its `free` below.
    let block = unsafe { libc::malloc(usize::try_from(bytes).unwrap()) };
    manager.living.borrow_mut().insert(block.addr());
    // SAFETY: the component passes a place for the answer.
    unsafe { *memory = block };
    true
}

unsafe extern "system" fn free(this: *mut c_void, memory: *mut *mut c_void) {
    // SAFETY: the component passes back the pointer that it got.
    let manager = unsafe { &*this.cast::<Manager>() };
    // SAFETY: the component passes the place of a pointer.
    let block = unsafe { std::mem::replace(&mut *memory, ptr::null_mut()) };
    assert!(manager.living.borrow_mut().remove(&block.addr()), "freed what was never given");
    // SAFETY: the block came from `malloc`.
    unsafe { libc::free(block) };
}

static MANAGER: MemoryManagerVtable = MemoryManagerVtable { destroy: [None; 2], alloc, free };

pub(crate) type Create = unsafe extern "C" fn(*const u16, *mut *mut c_void) -> c_long;
pub(crate) type Destroy = unsafe extern "C" fn(*mut *mut c_void) -> c_long;

pub(crate) fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain(std::iter::once(0)).collect()
}

pub(crate) fn blank() -> TVariant {
    TVariant { payload: Payload { long_long: 0 }, elements: 0, vt: vt::EMPTY }
}

/// An argument; texts keep their units beside the variant.
pub(crate) struct Argument {
    pub(crate) variant: TVariant,
    _units: Vec<u16>,
    _bytes: Vec<u8>,
}

pub(crate) fn text(value: &str) -> Argument {
    // Without a terminator: the platform promises none.
    let mut units: Vec<u16> = value.encode_utf16().collect();
    let wide = WideText { units: units.as_mut_ptr(), len: u32::try_from(units.len()).unwrap() };
    let variant = TVariant { payload: Payload { wide }, elements: 0, vt: vt::PWSTR };
    Argument { variant, _units: units, _bytes: Vec::new() }
}

pub(crate) fn truth(value: bool) -> Argument {
    let payload = Payload { boolean: u8::from(value) };
    Argument {
        variant: TVariant { payload, elements: 0, vt: vt::BOOL },
        _units: Vec::new(),
        _bytes: Vec::new(),
    }
}

pub(crate) fn number(value: f64) -> Argument {
    let payload = Payload { double: value };
    Argument {
        variant: TVariant { payload, elements: 0, vt: vt::R8 },
        _units: Vec::new(),
        _bytes: Vec::new(),
    }
}

/// A date as the platform passes it, a `struct tm`: second, minute, hour, day, month, year.
pub(crate) fn date([second, minute, hour, day, month, year]: [c_int; 6]) -> Argument {
    // SAFETY: numbers and a pointer, for which zero is a value.
    let mut tm: Tm = unsafe { std::mem::zeroed() };
    tm.fields = [second, minute, hour, day, month - 1, year - 1900, 0, 0, 0];
    let variant = TVariant { payload: Payload { tm }, elements: 0, vt: vt::TM };
    Argument { variant, _units: Vec::new(), _bytes: Vec::new() }
}

pub(crate) fn blob(bytes: &[u8]) -> Argument {
    let mut bytes = bytes.to_vec();
    let narrow = ByteText { bytes: bytes.as_mut_ptr(), len: u32::try_from(bytes.len()).unwrap() };
    let variant = TVariant { payload: Payload { narrow }, elements: 0, vt: vt::BLOB };
    Argument { variant, _units: Vec::new(), _bytes: bytes }
}

pub(crate) fn nothing() -> Argument {
    Argument { variant: blank(), _units: Vec::new(), _bytes: Vec::new() }
}

/// What a call gave, for comparison.
#[derive(Debug, PartialEq)]
pub(crate) enum Answer {
    Refused,
    Empty,
    Truth(bool),
    Text(String),
    Blob(Vec<u8>),
}

/// One object of the component and the platform around it.
pub(crate) struct Platform {
    pub(crate) object: *mut c_void,
    destroy: Destroy,
    pub(crate) manager: Box<Manager>,
    _library: Library,
}

impl Platform {
    /// Loads the library and makes an object that knows nothing of the platform.
    pub(crate) fn bare() -> Self {
        Self::bare_of("LicenceExtension")
    }

    pub(crate) fn bare_of(class: &str) -> Self {
        // SAFETY: the library of this build; its start runs no code.
        let library = unsafe { Library::new(library()) }.unwrap();
        // SAFETY: the signature is the interface's.
        let create: Symbol<'_, Create> = unsafe { library.get(b"GetClassObject") }.unwrap();
        // SAFETY: the signature is the interface's.
        let destroy: Symbol<'_, Destroy> = unsafe { library.get(b"DestroyObject") }.unwrap();
        let mut object = ptr::null_mut();
        // SAFETY: a terminated name and a place for the answer.
        let made = unsafe { create(wide(class).as_ptr(), &raw mut object) };
        assert_ne!(made, 0);
        assert!(!object.is_null());
        let destroy = *destroy;
        let manager =
            Box::new(Manager { table: &raw const MANAGER, living: RefCell::new(BTreeSet::new()) });
        Self { object, destroy, manager, _library: library }
    }

    /// An object after `Init` and `setMemManager`.
    pub(crate) fn new() -> Self {
        Self::of("LicenceExtension")
    }

    /// An object of a class after `Init` and `setMemManager`.
    pub(crate) fn of(class: &str) -> Self {
        let platform = Self::bare_of(class);
        let mut connection = 0usize;
        // SAFETY: the component keeps neither pointer beyond its own life.
        assert!(unsafe { (platform.life().init)(platform.object, (&raw mut connection).cast()) });
        let manager = (&raw const *platform.manager).cast_mut().cast();
        // SAFETY: the manager lives as long as the object.
        assert!(unsafe { (platform.life().set_mem_manager)(platform.object, manager) });
        platform
    }

    pub(crate) fn base(&self, index: usize) -> *mut c_void {
        self.object.wrapping_byte_add(index * size_of::<*const c_void>())
    }

    pub(crate) fn life(&self) -> &'static InitDoneVtable {
        // SAFETY: the object begins with the pointer to this table, which is static.
        unsafe { *self.base(0).cast::<&'static InitDoneVtable>() }
    }

    pub(crate) fn members(&self) -> &'static LanguageExtenderVtable {
        // SAFETY: the second pointer of the object is that of this table.
        unsafe { *self.base(1).cast::<&'static LanguageExtenderVtable>() }
    }

    pub(crate) fn property(&self, name: &str) -> c_long {
        // SAFETY: a terminated name.
        unsafe { (self.members().find_prop)(self.base(1), wide(name).as_ptr()) }
    }

    pub(crate) fn method(&self, name: &str) -> c_long {
        // SAFETY: a terminated name.
        unsafe { (self.members().find_method)(self.base(1), wide(name).as_ptr()) }
    }

    /// Reads an answer and frees what the component allocated for it.
    pub(crate) fn take(&self, mut variant: TVariant) -> Answer {
        match variant.vt {
            vt::EMPTY => Answer::Empty,
            // SAFETY: the type says which field is valid.
            vt::BOOL => Answer::Truth(unsafe { variant.payload.boolean } != 0),
            vt::PWSTR => {
                // SAFETY: the type says which field is valid.
                let place = unsafe { &mut variant.payload.wide };
                let len = place.len as usize;
                // SAFETY: the component promises so many units and a terminator.
                let units = unsafe { std::slice::from_raw_parts(place.units, len + 1) };
                assert_eq!(units[len], 0, "a text must be terminated");
                let text = String::from_utf16(&units[..len]).unwrap();
                self.free_units(place.units);
                Answer::Text(text)
            }
            vt::BLOB => {
                // SAFETY: the type says which field is valid.
                let place = unsafe { variant.payload.narrow };
                if place.bytes.is_null() {
                    assert_eq!(place.len, 0);
                    return Answer::Blob(Vec::new());
                }
                // SAFETY: the component promises so many bytes.
                let bytes = unsafe { std::slice::from_raw_parts(place.bytes, place.len as usize) };
                let bytes = bytes.to_vec();
                self.free_units(place.bytes.cast());
                Answer::Blob(bytes)
            }
            other => panic!("type {other}"),
        }
    }

    pub(crate) fn free_units(&self, units: *mut u16) {
        let mut block: *mut c_void = units.cast();
        // SAFETY: the block came from this manager.
        unsafe { free((&raw const *self.manager).cast_mut().cast(), &raw mut block) };
    }

    pub(crate) fn get(&self, name: &str) -> Answer {
        let mut variant = blank();
        // SAFETY: the variant is writable.
        let read = unsafe {
            (self.members().get_prop_val)(self.base(1), self.property(name), &raw mut variant)
        };
        if read { self.take(variant) } else { Answer::Refused }
    }

    pub(crate) fn set(&self, name: &str, mut value: Argument) -> bool {
        let index = self.property(name);
        // SAFETY: the variant and its text live through the call.
        unsafe { (self.members().set_prop_val)(self.base(1), index, &raw mut value.variant) }
    }

    pub(crate) fn call(&self, name: &str, arguments: Vec<Argument>) -> Answer {
        let index = self.method(name);
        assert!(index >= 0, "{name}");
        let mut variants: Vec<TVariant> = arguments.iter().map(|each| each.variant).collect();
        let count = c_long::try_from(variants.len()).unwrap();
        let mut answer = blank();
        // SAFETY: as many variants as stated, and a place for the answer.
        let called = unsafe {
            (self.members().call_as_func)(
                self.base(1),
                index,
                &raw mut answer,
                variants.as_mut_ptr(),
                count,
            )
        };
        if called { self.take(answer) } else { Answer::Refused }
    }

    /// Calls a method as a procedure: whether the platform would go on.
    pub(crate) fn proceed(&self, name: &str, arguments: Vec<Argument>) -> bool {
        let index = self.method(name);
        assert!(index >= 0, "{name}");
        let mut variants: Vec<TVariant> = arguments.iter().map(|each| each.variant).collect();
        let count = c_long::try_from(variants.len()).unwrap();
        // SAFETY: as many variants as stated.
        unsafe { (self.members().call_as_proc)(self.base(1), index, variants.as_mut_ptr(), count) }
    }

    pub(crate) fn speak(&self, base: usize, language: &str) {
        // SAFETY: the third and fourth pointers of the object are those of language tables.
        let table = unsafe { *self.base(base).cast::<&'static LanguageVtable>() };
        // SAFETY: a terminated text.
        unsafe { (table.set)(self.base(base), wide(language).as_ptr()) };
    }

    /// The text that a method must answer.
    pub(crate) fn ask(&self, name: &str, arguments: Vec<Argument>) -> String {
        match self.call(name, arguments) {
            Answer::Text(text) => text,
            other @ (Answer::Blob(_) | Answer::Empty | Answer::Refused | Answer::Truth(_)) => {
                panic!("{name}: {other:?}: {}", self.error())
            }
        }
    }

    pub(crate) fn error(&self) -> String {
        match self.call("GetErrorDescription", vec![]) {
            Answer::Text(text) => text,
            other @ (Answer::Blob(_) | Answer::Empty | Answer::Refused | Answer::Truth(_)) => {
                panic!("{other:?}")
            }
        }
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        let mut object = self.object;
        // SAFETY: the object came from the same library and is not used again.
        assert_eq!(unsafe { (self.destroy)(&raw mut object) }, 0);
        assert!(object.is_null());
        assert!(self.manager.living.borrow().is_empty(), "texts were leaked");
    }
}

pub(crate) fn string(text: &str) -> Answer {
    Answer::Text(text.to_owned())
}
