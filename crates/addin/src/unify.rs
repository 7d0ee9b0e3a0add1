//! Unification: a component from a template hands its work to an installed one.
//!
//! Several configurations of one computer carry components of several versions. Where a component is
//! installed, it serves them all, whatever its version (the manual, «Внешняя компонента»). This module
//! decides whether a usable one is installed, loads it once per process, and says who made an object.
//! It makes no object itself and never stands between the platform and an object: that comes from the
//! installed library and is called directly.
//!
//! What lies at the place is checked before any code of it runs ([`crate::installed_file`]). The installed component
//! is told of the hand-over by the export `LicenceAddinTakeOver`, which also carries the pins of the
//! template; so a library of another maker is never taken for ours, and one that was handed the work
//! never hands it on.

use std::ffi::{c_int, c_long, c_void};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use libloading::Library;
use licence_core::series::{SeriesDescriptor, parse_series_file};
use licence_core::template_pin::OVERLAY_BYTES_MAX;
use log::Level;
use serde::{Deserialize, Serialize};

use crate::abi::Wchar;
use crate::guard::try_lock;
use crate::installed_file::{Unfit, checked};
use crate::{class, exports, host_info, logfile, module, pin, value};

/// Version of the message that hands the work over. One that is not known is refused, and the
/// component from the template serves itself.
const CONTRACT: u32 = 1;

/// Most bytes of that message: the pins of a template and some words.
const MESSAGE_BYTES_MAX: usize = 2 * OVERLAY_BYTES_MAX;

type GetClassNames = unsafe extern "C" fn() -> *const Wchar;
type GetClassObject = unsafe extern "C" fn(*const Wchar, *mut *mut c_void) -> c_long;
type DestroyObject = unsafe extern "C" fn(*mut *mut c_void) -> c_long;
type SetCapabilities = unsafe extern "C" fn(c_int) -> c_int;
type GetAttachType = unsafe extern "C" fn() -> c_int;
type TakeOver = unsafe extern "C" fn(*const u8, usize) -> c_int;

/// What is handed over with the work.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Message {
    contract: u32,
    /// File name of the component from the template.
    from: String,
    /// Its version.
    version: String,
    /// Series that it pins.
    pins: Vec<SeriesDescriptor>,
}

/// The installed component, loaded.
pub(crate) struct Installed {
    get_class_object: GetClassObject,
    destroy_object: DestroyObject,
    set_capabilities: SetCapabilities,
    get_attach_type: GetAttachType,
    /// Its classes, and those of ours that it does not have.
    names: Vec<Wchar>,
    classes: Vec<String>,
    /// Last, so that the pointers above never outlive the code.
    _library: Library,
}

enum State {
    /// Nobody has looked.
    Unknown,
    /// This library serves.
    Own,
    Installed(Arc<Installed>),
}

static STATE: Mutex<State> = Mutex::new(State::Unknown);

/// Whether [`STATE`] ever was [`State::Installed`]: without that, destroying an object asks nobody.
static HANDED_OVER: AtomicBool = AtomicBool::new(false);

fn lock() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The installed component that serves in place of this one. Looks for it at the first call, which
/// costs one look at the file system where none is installed.
pub(crate) fn installed() -> Option<Arc<Installed>> {
    let mut state = lock();
    if matches!(*state, State::Unknown) {
        *state = host_info::installed_components()
            .iter()
            .find_map(|path| look(path))
            .map_or(State::Own, |installed| State::Installed(Arc::new(installed)));
        HANDED_OVER.store(matches!(*state, State::Installed(_)), Ordering::Release);
    }
    match &*state {
        State::Installed(installed) => Some(Arc::clone(installed)),
        State::Unknown | State::Own => None,
    }
}

/// Who made an object.
pub(crate) enum Maker {
    /// This library.
    Own,
    Installed(Arc<Installed>),
    /// The installed component, which was let go: the process is about to end, and the object with it.
    Gone,
}

/// Who made an object.
///
/// # Safety
/// `object` is a living object of this library or of the installed one.
pub(crate) unsafe fn maker(object: *const c_void) -> Maker {
    if !HANDED_OVER.load(Ordering::Acquire) {
        return Maker::Own;
    }
    // SAFETY: every object begins with the pointer to its first table.
    let table = unsafe { *object.cast::<*const c_void>() };
    // The tables tell: a host may destroy objects without us, so that an address alone says nothing.
    if module::contains(table) {
        return Maker::Own;
    }
    installed().map_or(Maker::Gone, Maker::Installed)
}

/// Lets the installed component go: this library is about to be unmapped. The loader runs its
/// farewell then, unless another template of the process uses it too. Windows forbids that where a
/// library is told of its own unloading, so that the installed one stays loaded there.
pub(crate) fn unload() {
    // At exit another thread of the host may stand inside; the process ends without it.
    if let Some(mut state) = try_lock(&STATE) {
        let installed = std::mem::replace(&mut *state, State::Own);
        drop(state);
        if cfg!(windows) {
            std::mem::forget(installed);
        } else {
            drop(installed);
        }
    }
}

/// Takes the work of a component from a template: true when this one serves it.
pub(crate) fn take_over(message: &[u8]) -> bool {
    if message.len() > MESSAGE_BYTES_MAX {
        return false;
    }
    let Ok(message) = serde_json::from_slice::<Message>(message) else { return false };
    if message.contract != CONTRACT {
        return false;
    }
    // Through the one reader of descriptors, which checks their keys.
    let Some(pins) =
        serde_json::to_string(&message.pins).ok().and_then(|text| parse_series_file(&text).ok())
    else {
        return false;
    };
    {
        let mut state = lock();
        if matches!(*state, State::Installed(_)) {
            // One that has handed its own work over is not the one that is installed.
            return false;
        }
        *state = State::Own;
    }
    let note = format!(
        "takes over the work of {:?}, version={:?}, pins={}",
        message.from,
        message.version,
        pins.len()
    );
    logfile::note(Level::Info, &note);
    pin::adopt(pins);
    true
}

/// Looks at one place; what is unfit there is noted and passed over.
fn look(path: &Path) -> Option<Installed> {
    match checked(path).and_then(|path| path.map(|path| load(&path)).transpose()) {
        Ok(installed) => installed,
        Err(why) => {
            let note = format!("{} is not used as the installed component: {why}", path.display());
            logfile::note(Level::Warn, &note);
            None
        }
    }
}

fn load(path: &Path) -> Result<Installed, Unfit> {
    // SAFETY: a file of the administrator or of this user, with the exports of our component; its
    // start runs no more than that of this library.
    let library = unsafe { Library::new(path) }?;
    // SAFETY: the signatures are the interface's.
    let get_class_names: GetClassNames = *unsafe { library.get(b"GetClassNames\0") }?;
    // SAFETY: as above.
    let get_class_object: GetClassObject = *unsafe { library.get(b"GetClassObject\0") }?;
    // SAFETY: as above.
    let destroy_object: DestroyObject = *unsafe { library.get(b"DestroyObject\0") }?;
    // SAFETY: as above.
    let set_capabilities: SetCapabilities = *unsafe { library.get(b"SetPlatformCapabilities\0") }?;
    // SAFETY: as above.
    let get_attach_type: GetAttachType = *unsafe { library.get(b"GetAttachType\0") }?;
    // SAFETY: as above.
    let take_over: TakeOver = *unsafe { library.get(b"LicenceAddinTakeOver\0") }?;

    let message = serde_json::to_vec(&Message {
        contract: CONTRACT,
        from: module::path()
            .and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
            .unwrap_or_default(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pins: pin::all(),
    })
    .map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))?;
    // SAFETY: so many bytes, which live through the call.
    if unsafe { take_over(message.as_ptr(), message.len()) } != 1 {
        return Err(Unfit::Refused);
    }
    // SAFETY: no arguments. It is asked after the hand-over, so that it does not look around itself.
    let names = unsafe { get_class_names() };
    // SAFETY: the interface promises null or a text that ends with a zero unit.
    let names = unsafe { value::read_name(names) }.unwrap_or_default();
    let classes: Vec<String> =
        names.split('|').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    if classes.is_empty() {
        return Err(Unfit::NoClasses);
    }
    let note = format!("the installed component {} serves: {names}", path.display());
    logfile::note(Level::Info, &note);
    Ok(Installed {
        get_class_object,
        destroy_object,
        set_capabilities,
        get_attach_type,
        names: joined(&classes),
        classes,
        _library: library,
    })
}

/// Names of classes as the platform reads them: those of the installed component and what only this
/// library has.
fn joined(classes: &[String]) -> Vec<Wchar> {
    let own = exports::own_class_names();
    let rest = own.split('|').filter(|own| !classes.iter().any(|name| class::same_name(own, name)));
    let all: Vec<&str> = classes.iter().map(String::as_str).chain(rest).collect();
    all.join("|").encode_utf16().chain(std::iter::once(0)).collect()
}

impl Installed {
    /// Names of the classes, with a zero unit at the end; lives as long as this library is loaded.
    pub(crate) fn class_names(&self) -> *const Wchar {
        self.names.as_ptr()
    }

    /// Whether it has this class.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.classes.iter().any(|own| class::same_name(own, name))
    }

    /// Its `GetClassObject`.
    ///
    /// # Safety
    /// As of the export.
    pub(crate) unsafe fn create(&self, name: *const Wchar, object: *mut *mut c_void) -> c_long {
        // SAFETY: the caller's promise is the one that is asked for.
        unsafe { (self.get_class_object)(name, object) }
    }

    /// Its `DestroyObject`.
    ///
    /// # Safety
    /// As of the export; the object is one of its own.
    pub(crate) unsafe fn destroy(&self, object: *mut *mut c_void) -> c_long {
        // SAFETY: the caller's promise is the one that is asked for.
        unsafe { (self.destroy_object)(object) }
    }

    /// Its `SetPlatformCapabilities`.
    pub(crate) fn set_capabilities(&self, capabilities: c_int) -> c_int {
        // SAFETY: an integer in, an integer out.
        unsafe { (self.set_capabilities)(capabilities) }
    }

    /// Its `GetAttachType`.
    pub(crate) fn attach_type(&self) -> c_int {
        // SAFETY: no arguments.
        unsafe { (self.get_attach_type)() }
    }
}
