//! The built library, loaded as the platform loads it: every member with right, wrong and null
//! arguments, through virtual tables made by hand.
//!
//! Plays the platform; the C++ host (`tests/host.rs`) does the same with a real compiler's tables.
//! No test here starts a series, so that no file outside the test is written.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "helpers of tests panic like tests")]
#![expect(clippy::multiple_unsafe_ops_per_block, reason = "rows of calls under one promise")]

mod common;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::{c_int, c_long, c_ulong, c_void};
use std::ptr;

use libloading::{Library, Symbol};
use licenceaddin::abi::{
    InitDoneVtable, LanguageExtenderVtable, LanguageVtable, MemoryManagerVtable, Payload, TVariant,
    WideText, vt,
};

/// A host's memory manager that counts what it gave out.
#[repr(C)]
struct Manager {
    table: *const MemoryManagerVtable,
    living: RefCell<BTreeSet<usize>>,
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

type Create = unsafe extern "C" fn(*const u16, *mut *mut c_void) -> c_long;
type Destroy = unsafe extern "C" fn(*mut *mut c_void) -> c_long;

fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain(std::iter::once(0)).collect()
}

fn blank() -> TVariant {
    TVariant { payload: Payload { long_long: 0 }, elements: 0, vt: vt::EMPTY }
}

/// An argument; texts keep their units beside the variant.
struct Argument {
    variant: TVariant,
    _units: Vec<u16>,
}

fn text(value: &str) -> Argument {
    // Without a terminator: the platform promises none.
    let mut units: Vec<u16> = value.encode_utf16().collect();
    let wide = WideText { units: units.as_mut_ptr(), len: u32::try_from(units.len()).unwrap() };
    let variant = TVariant { payload: Payload { wide }, elements: 0, vt: vt::PWSTR };
    Argument { variant, _units: units }
}

fn truth(value: bool) -> Argument {
    let payload = Payload { boolean: u8::from(value) };
    Argument { variant: TVariant { payload, elements: 0, vt: vt::BOOL }, _units: Vec::new() }
}

fn number(value: f64) -> Argument {
    let payload = Payload { double: value };
    Argument { variant: TVariant { payload, elements: 0, vt: vt::R8 }, _units: Vec::new() }
}

fn nothing() -> Argument {
    Argument { variant: blank(), _units: Vec::new() }
}

/// What a call gave, for comparison.
#[derive(Debug, PartialEq)]
enum Answer {
    Refused,
    Empty,
    Truth(bool),
    Text(String),
}

/// One object of the component and the platform around it.
struct Platform {
    object: *mut c_void,
    destroy: Destroy,
    manager: Box<Manager>,
    _library: Library,
}

impl Platform {
    /// Loads the library and makes an object that knows nothing of the platform.
    fn bare() -> Self {
        // SAFETY: the library of this build; its start runs no code.
        let library = unsafe { Library::new(common::library()) }.unwrap();
        // SAFETY: the signature is the interface's.
        let create: Symbol<'_, Create> = unsafe { library.get(b"GetClassObject") }.unwrap();
        // SAFETY: the signature is the interface's.
        let destroy: Symbol<'_, Destroy> = unsafe { library.get(b"DestroyObject") }.unwrap();
        let mut object = ptr::null_mut();
        // SAFETY: a terminated name and a place for the answer.
        let made = unsafe { create(wide("LicenceExtension").as_ptr(), &raw mut object) };
        assert_ne!(made, 0);
        assert!(!object.is_null());
        let destroy = *destroy;
        let manager =
            Box::new(Manager { table: &raw const MANAGER, living: RefCell::new(BTreeSet::new()) });
        Self { object, destroy, manager, _library: library }
    }

    /// An object after `Init` and `setMemManager`.
    fn new() -> Self {
        let platform = Self::bare();
        let mut connection = 0usize;
        // SAFETY: the component keeps neither pointer beyond its own life.
        assert!(unsafe { (platform.life().init)(platform.object, (&raw mut connection).cast()) });
        let manager = (&raw const *platform.manager).cast_mut().cast();
        // SAFETY: the manager lives as long as the object.
        assert!(unsafe { (platform.life().set_mem_manager)(platform.object, manager) });
        platform
    }

    fn base(&self, index: usize) -> *mut c_void {
        self.object.wrapping_byte_add(index * size_of::<*const c_void>())
    }

    fn life(&self) -> &'static InitDoneVtable {
        // SAFETY: the object begins with the pointer to this table, which is static.
        unsafe { *self.base(0).cast::<&'static InitDoneVtable>() }
    }

    fn members(&self) -> &'static LanguageExtenderVtable {
        // SAFETY: the second pointer of the object is that of this table.
        unsafe { *self.base(1).cast::<&'static LanguageExtenderVtable>() }
    }

    fn property(&self, name: &str) -> c_long {
        // SAFETY: a terminated name.
        unsafe { (self.members().find_prop)(self.base(1), wide(name).as_ptr()) }
    }

    fn method(&self, name: &str) -> c_long {
        // SAFETY: a terminated name.
        unsafe { (self.members().find_method)(self.base(1), wide(name).as_ptr()) }
    }

    /// Reads an answer and frees what the component allocated for it.
    fn take(&self, mut variant: TVariant) -> Answer {
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
            other => panic!("type {other}"),
        }
    }

    fn free_units(&self, units: *mut u16) {
        let mut block: *mut c_void = units.cast();
        // SAFETY: the block came from this manager.
        unsafe { free((&raw const *self.manager).cast_mut().cast(), &raw mut block) };
    }

    fn get(&self, name: &str) -> Answer {
        let mut variant = blank();
        // SAFETY: the variant is writable.
        let read = unsafe {
            (self.members().get_prop_val)(self.base(1), self.property(name), &raw mut variant)
        };
        if read { self.take(variant) } else { Answer::Refused }
    }

    fn set(&self, name: &str, mut value: Argument) -> bool {
        let index = self.property(name);
        // SAFETY: the variant and its text live through the call.
        unsafe { (self.members().set_prop_val)(self.base(1), index, &raw mut value.variant) }
    }

    fn call(&self, name: &str, arguments: Vec<Argument>) -> Answer {
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

    fn speak(&self, base: usize, language: &str) {
        // SAFETY: the third and fourth pointers of the object are those of language tables.
        let table = unsafe { *self.base(base).cast::<&'static LanguageVtable>() };
        // SAFETY: a terminated text.
        unsafe { (table.set)(self.base(base), wide(language).as_ptr()) };
    }

    fn error(&self) -> String {
        match self.call("GetErrorDescription", vec![]) {
            Answer::Text(text) => text,
            other @ (Answer::Refused | Answer::Empty | Answer::Truth(_)) => panic!("{other:?}"),
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

fn string(text: &str) -> Answer {
    Answer::Text(text.to_owned())
}

#[test]
fn the_class_is_announced_and_registered_under_one_name() {
    let platform = Platform::new();
    let mut name = ptr::null_mut();
    // SAFETY: a place for the answer.
    assert!(unsafe { (platform.members().register_extension_as)(platform.base(1), &raw mut name) });
    // SAFETY: sixteen units and a terminator.
    let registered = unsafe { std::slice::from_raw_parts(name, 17) }.to_vec();
    platform.free_units(name);
    assert_eq!(registered, wide("LicenceExtension"));
    // SAFETY: no argument.
    assert_eq!(unsafe { (platform.life().get_info)(platform.object) }, 2000);
}

#[test]
fn capabilities_are_agreed_on_between_one_and_three() {
    // SAFETY: the library of this build.
    let library = unsafe { Library::new(common::library()) }.unwrap();
    type Agree = extern "C" fn(c_int) -> c_int;
    // SAFETY: the signature is the interface's.
    let agree: Symbol<'_, Agree> = unsafe { library.get(b"SetPlatformCapabilities") }.unwrap();
    for (theirs, ours) in [(-1, 1), (0, 1), (1, 1), (2, 2), (3, 3), (4, 3), (c_int::MAX, 3)] {
        assert_eq!(agree(theirs), ours, "{theirs}");
    }
    // SAFETY: the signature is the interface's.
    let attach: Symbol<'_, extern "C" fn() -> c_int> =
        unsafe { library.get(b"GetAttachType") }.unwrap();
    assert_eq!(attach(), 3);
}

#[test]
fn every_member_is_found_under_both_of_its_names() {
    let platform = Platform::new();
    let members = platform.members();
    // SAFETY: no argument.
    let properties = unsafe { (members.get_n_props)(platform.base(1)) };
    // SAFETY: no argument.
    let methods = unsafe { (members.get_n_methods)(platform.base(1)) };
    assert_eq!((properties, methods), (4, 11));
    for (count, is_method) in [(properties, false), (methods, true)] {
        for index in 0..count {
            for alias in 0..2 {
                let name_of =
                    if is_method { members.get_method_name } else { members.get_prop_name };
                // SAFETY: any index and alias are allowed.
                let name = unsafe { name_of(platform.base(1), index, alias) };
                let find = if is_method { members.find_method } else { members.find_prop };
                // SAFETY: the component terminates its names.
                assert_eq!(unsafe { find(platform.base(1), name) }, index);
                platform.free_units(name.cast_mut());
            }
        }
    }
}

#[test]
fn names_and_defaults_beyond_the_tables_are_refused() {
    let platform = Platform::new();
    let (members, this) = (platform.members(), platform.base(1));
    for index in [-1, 11, 1_000_000, c_long::MIN, c_long::MAX] {
        let mut variant = blank();
        // SAFETY: any index is allowed.
        unsafe {
            assert!((members.get_prop_name)(this, index, 0).is_null());
            assert!((members.get_method_name)(this, index, 1).is_null());
            assert!((members.get_method_name)(this, 0, index).is_null());
            assert!(!(members.get_prop_val)(this, index, &raw mut variant));
            assert!(!(members.set_prop_val)(this, index, &raw mut variant));
            assert!(!(members.is_prop_readable)(this, index));
            assert!(!(members.is_prop_writable)(this, index));
            assert!(!(members.has_ret_val)(this, index));
            assert_eq!((members.get_n_params)(this, index), 0);
            assert!(!(members.get_param_def_value)(this, 1, index, &raw mut variant));
            assert!(!(members.call_as_proc)(this, index, &raw mut variant, 1));
        }
    }
}

#[test]
fn optional_parameters_have_their_default_and_required_ones_none() {
    let platform = Platform::new();
    for (method, parameter, expected) in [
        ("Запуск", 0, Answer::Empty),
        ("Запуск", 1, Answer::Truth(false)),
        ("ЗанятьЛицензию", 0, Answer::Empty),
        ("ЗанятьЛицензию", 1, string("")),
        ("ПолучитьЛицензии", 0, Answer::Truth(false)),
        ("ПолучитьЛицензии", 1, Answer::Truth(false)),
    ] {
        let mut variant = blank();
        let index = platform.method(method);
        // SAFETY: a place for the answer.
        let told = unsafe {
            (platform.members().get_param_def_value)(
                platform.base(1),
                index,
                parameter,
                &raw mut variant,
            )
        };
        assert!(told, "{method}");
        assert_eq!(platform.take(variant), expected, "{method} {parameter}");
    }
}

#[test]
fn properties_keep_what_is_written_and_refuse_other_types() {
    let platform = Platform::new();
    assert_eq!(platform.get("Версия"), string(env!("CARGO_PKG_VERSION")));
    assert!(!platform.set("Версия", text("9")));
    assert!(platform.set("ПараметрыСвязи", text("ServerAddr=сервер;ServerPort=9099")));
    assert_eq!(platform.get("connectionparameters"), string("ServerAddr=сервер;ServerPort=9099"));
    assert!(!platform.set("ПараметрыСвязи", number(9.0)));
    assert!(platform.set("ПараметрыСвязи", nothing()));
    assert_eq!(platform.get("ПараметрыСвязи"), string(""));
    assert!(platform.set("ОписаниеСерии", text("{}")));
    assert_eq!(platform.get("ОписаниеСерии"), Answer::Refused, "write only");
    assert_eq!(platform.get("КлассОшибки"), string(""));
}

#[test]
fn every_method_answers_wrong_arguments_with_a_class_and_a_text() {
    let session = r#"{"SessionNumber":"1","InfoBaseConnectionStr":"File=\"a\";"}"#;
    let platform = Platform::new();
    for (method, arguments, answer, class) in [
        ("ПроверитьВерсию", vec![text("3.0.14")], Answer::Truth(true), ""),
        ("ПроверитьВерсию", vec![text("99")], Answer::Truth(false), ""),
        ("ПроверитьВерсию", vec![text("3.x")], Answer::Empty, "EParams"),
        ("ПроверитьВерсию", vec![truth(true)], Answer::Empty, "EParams"),
        ("Запуск", vec![text("не серия")], Answer::Truth(false), "EParams"),
        ("Запуск", vec![number(672.0)], Answer::Truth(false), "EParams"),
        ("Запуск", vec![text("672B"), text("да")], Answer::Truth(false), "EParams"),
        ("ПолучитьМенеджерОбъектов", vec![], Answer::Empty, "ENotImplemented"),
        ("ЗанятьЛицензию", vec![text(session)], Answer::Empty, "EExecuteError"),
        ("ОсвободитьЛицензию", vec![text(session)], Answer::Truth(false), "EExecuteError"),
        ("ПолучитьЛицензии", vec![truth(true), truth(false)], Answer::Empty, "EExecuteError"),
        ("ПолучитьЛицензии", vec![text("все")], Answer::Empty, "EParams"),
        ("ПолучитьСчетчики", vec![], Answer::Empty, "EExecuteError"),
        ("ПолучитьИнформациюОСервере", vec![], Answer::Empty, "EExecuteError"),
        ("ОсвободитьВсе", vec![], Answer::Truth(true), ""),
    ] {
        assert_eq!(platform.call(method, arguments), answer, "{method}");
        assert_eq!(platform.get("КлассОшибки"), string(class), "{method}");
        let prefix = if class.is_empty() { String::new() } else { format!("({class}) ") };
        assert!(platform.error().starts_with(&prefix), "{method}");
        assert_eq!(platform.error().is_empty(), class.is_empty(), "{method}");
    }
}

#[test]
fn calls_with_too_many_arguments_or_without_them_are_refused() {
    let platform = Platform::new();
    assert_eq!(platform.call("ПроверитьВерсию", vec![text("1"), text("2")]), Answer::Refused);
    assert_eq!(platform.call("ПроверитьВерсию", vec![]), Answer::Empty);
    let mut answer = blank();
    let index = platform.method("ПроверитьВерсию");
    let (call, this) = (platform.members().call_as_func, platform.base(1));
    // SAFETY: null where the interface allows none: the component must survive it.
    unsafe {
        assert!(!call(this, index, &raw mut answer, ptr::null_mut(), 1));
        assert!(!call(this, index, ptr::null_mut(), ptr::null_mut(), 0));
        assert!(!call(this, index, &raw mut answer, ptr::null_mut(), -1));
        assert!(!call(ptr::null_mut(), index, &raw mut answer, ptr::null_mut(), 0));
    }
}

#[test]
fn errors_are_told_in_the_language_of_the_platform() {
    let platform = Platform::new();
    platform.call("ПолучитьСчетчики", vec![]);
    assert!(platform.error().contains("Не выполнен Запуск"), "Russian unless told otherwise");
    for (base, language, part) in [
        (2, "en_US", "call Start first"),
        (2, "rus_RUS", "Не выполнен Запуск"),
        (3, "en", "call Start first"),
        (3, "ru", "Не выполнен Запуск"),
    ] {
        platform.speak(base, language);
        assert!(platform.error().contains(part), "{language}: {}", platform.error());
    }
}

#[test]
fn an_error_of_the_platform_comes_back_described() {
    let platform = Platform::new();
    let answer = platform.call("ОшибкаСозданияОбъекта", vec![text("Недостаточно прав")]);
    assert_eq!(answer, string("(EExecuteError) Не удалось создать объект: Недостаточно прав"));
}

#[test]
fn an_object_without_init_and_memory_answers_and_gives_no_text() {
    let platform = Platform::bare();
    assert_eq!(platform.property("Версия"), 0);
    assert_eq!(platform.get("Версия"), Answer::Refused);
    assert_eq!(platform.call("ПроверитьВерсию", vec![text("3.0")]), Answer::Truth(true));
    assert_eq!(platform.call("ПолучитьОписаниеОшибки", vec![]), Answer::Refused);
    let life = platform.life();
    // SAFETY: null is what is tested.
    unsafe {
        assert!(!(life.init)(platform.object, ptr::null_mut()));
        assert!(!(life.set_mem_manager)(platform.object, ptr::null_mut()));
        (life.done)(platform.object);
    }
}

#[test]
fn the_destructor_slots_of_every_base_destroy_the_object() {
    for base in 0..4 {
        let platform = std::mem::ManuallyDrop::new(Platform::new());
        // SAFETY: every table of the object begins with its destructor slots.
        let table =
            unsafe { *platform.base(base).cast::<&'static licenceaddin::abi::Destructors>() };
        // SAFETY: the object is not used again, but by the freeing slot, as C++ does it.
        unsafe { (table.complete)(platform.base(base)) };
        // SAFETY: the memory is still there.
        unsafe { (table.deleting)(platform.base(base)) };
        assert!(platform.manager.living.borrow().is_empty());
    }
}
