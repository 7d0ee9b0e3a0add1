//! What the component asks of Windows itself: how it stays loaded under its own threads, where its
//! file lies, whether the process ends, who sits at a remote session.
//!
//! Declarations of the system's functions and the safe faces of them. Nothing is decided here: what a
//! thread does is [`crate::thread`]'s, what an unloading brings [`crate::exports`]'s.

use std::ffi::{OsString, c_void};
use std::io;
use std::os::windows::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::ptr;

/// Of `GetModuleHandleExW`: the second argument is an address.
const FROM_ADDRESS: u32 = 4;

/// Of `GetModuleHandleExW`: the module is not counted as used.
const UNCHANGED: u32 = 2;

/// Of `CreateThread`: the size is that of the reservation. Without it the whole stack would be taken
/// from memory at once.
const STACK_SIZE_IS_RESERVATION: u32 = 0x0001_0000;

/// Units of the longest file name that the system knows, with its terminator.
const PATH_UNITS_MAX: usize = 32_768;

/// Units of a file name that is tried first: the usual limit of the system.
const PATH_UNITS: usize = 260;

/// Of `WTSQuerySessionInformationW`: the session of this process.
const CURRENT_SESSION: u32 = u32::MAX;

/// Of `WTSQuerySessionInformationW`: the name of the client's computer.
const CLIENT_NAME: i32 = 10;

/// Units of that name that are read; names of computers have at most 63, and the protocol 31.
const CLIENT_NAME_UNITS_MAX: usize = 256;

type ThreadMain = unsafe extern "system" fn(*mut c_void) -> u32;

type SetThreadDescription = unsafe extern "system" fn(*mut c_void, *const u16) -> i32;

#[link(name = "kernel32")]
unsafe extern "system" {
    fn CloseHandle(handle: *mut c_void) -> i32;
    fn CreateThread(
        attributes: *mut c_void,
        stack_bytes: usize,
        main: ThreadMain,
        argument: *mut c_void,
        flags: u32,
        id: *mut u32,
    ) -> *mut c_void;
    fn FreeLibrary(module: *mut c_void) -> i32;
    fn FreeLibraryAndExitThread(module: *mut c_void, code: u32) -> !;
    fn GetModuleFileNameW(module: *mut c_void, name: *mut u16, units: u32) -> u32;
    fn GetModuleHandleExW(flags: u32, address: *const c_void, module: *mut *mut c_void) -> i32;
    fn GetModuleHandleW(name: *const u16) -> *mut c_void;
    fn GetProcAddress(module: *mut c_void, name: *const u8) -> *mut c_void;
}

#[link(name = "ntdll")]
unsafe extern "system" {
    fn RtlDllShutdownInProgress() -> u8;
}

#[link(name = "wtsapi32")]
unsafe extern "system" {
    fn WTSFreeMemory(memory: *mut c_void);
    fn WTSQuerySessionInformationW(
        server: *mut c_void,
        session: u32,
        class: i32,
        buffer: *mut *mut u16,
        bytes: *mut u32,
    ) -> i32;
}

/// The module that an address lies in; by default it is counted as used once more.
fn module_of(address: *const c_void, flags: u32) -> Option<*mut c_void> {
    let mut module = ptr::null_mut();
    // SAFETY: any address may be asked about, and the place for the answer is writable.
    let found = unsafe { GetModuleHandleExW(FROM_ADDRESS | flags, address, &raw mut module) };
    (found != 0).then_some(module)
}

fn own_address() -> *const c_void {
    own_address as fn() -> *const c_void as *const c_void
}

/// Whether an address lies in this library, and not in another of the process.
pub(crate) fn contains(address: *const c_void) -> bool {
    let asked = module_of(address, UNCHANGED);
    asked.is_some() && asked == module_of(own_address(), UNCHANGED)
}

/// Full file name of this library; nothing when the system does not say.
pub(crate) fn library_path() -> Option<PathBuf> {
    let module = module_of(own_address(), UNCHANGED)?;
    let mut name = vec![0u16; PATH_UNITS];
    loop {
        let room = u32::try_from(name.len()).ok()?;
        // SAFETY: the buffer has the stated size.
        let count = unsafe { GetModuleFileNameW(module, name.as_mut_ptr(), room) };
        let count = usize::try_from(count).ok()?;
        // As many units as there is room for: the name was cut.
        if count < name.len() {
            let units = name.get(..count).filter(|units| !units.is_empty())?;
            return Some(PathBuf::from(OsString::from_wide(units)));
        }
        if name.len() >= PATH_UNITS_MAX {
            return None;
        }
        name.resize((name.len() * 4).min(PATH_UNITS_MAX), 0);
    }
}

/// One use of this library, given back when it goes: so long the system unmaps it for nobody.
#[derive(Debug)]
struct Use(*mut c_void);

// SAFETY: a module belongs to the process; any thread may give a use of it back.
unsafe impl Send for Use {}

impl Use {
    fn of_this_library() -> io::Result<Self> {
        module_of(own_address(), 0).map(Self).ok_or_else(io::Error::last_os_error)
    }

    /// Gives the use back and ends the calling thread, in one step of the system: the code after a
    /// `FreeLibrary` of our own might be gone already.
    fn end_thread(self) -> ! {
        let module = self.0;
        std::mem::forget(self);
        // SAFETY: the use is this value's own, and it is forgotten above.
        unsafe { FreeLibraryAndExitThread(module, 0) }
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        // SAFETY: the use is this value's own. The caller of our code has one too, so that this is not
        // the last.
        unsafe { FreeLibrary(self.0) };
    }
}

/// What a new thread takes with it.
struct Start {
    body: Box<dyn FnOnce() + Send + 'static>,
    library: Use,
}

/// Runs `body` on a thread of its own under which this library stays loaded, and which nobody needs
/// to wait for. The body must not unwind.
///
/// # Errors
///
/// When the system gives no thread.
pub(crate) fn spawn(
    name: &str,
    stack_bytes: usize,
    body: Box<dyn FnOnce() + Send + 'static>,
) -> io::Result<()> {
    unsafe extern "system" fn main(start: *mut c_void) -> u32 {
        // SAFETY: `spawn` passed a box, and the thread runs this once.
        let Start { body, library } = *unsafe { Box::from_raw(start.cast::<Start>()) };
        body();
        // Whatever the thread owned is gone here, because nothing after this line runs.
        library.end_thread()
    }

    let start = Box::into_raw(Box::new(Start { body, library: Use::of_this_library()? }));
    let flags = STACK_SIZE_IS_RESERVATION;
    let none = ptr::null_mut();
    // SAFETY: `main` has the signature and takes over what `start` points to.
    let thread =
        unsafe { CreateThread(none, stack_bytes, main, start.cast(), flags, ptr::null_mut()) };
    if thread.is_null() {
        let why = io::Error::last_os_error();
        // SAFETY: no thread took the box.
        drop(unsafe { Box::from_raw(start) });
        return Err(why);
    }
    describe(thread, name);
    // SAFETY: the handle is ours; the thread does not need it.
    unsafe { CloseHandle(thread) };
    Ok(())
}

/// A text with its terminator.
fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain(std::iter::once(0)).collect()
}

/// Names a thread for debuggers, where the system can (Windows 10 of 2016 and later).
fn describe(thread: *mut c_void, name: &str) {
    let library = wide("kernel32.dll");
    // SAFETY: a terminated name.
    let module = unsafe { GetModuleHandleW(library.as_ptr()) };
    if module.is_null() {
        return;
    }
    // SAFETY: a loaded module and a terminated name.
    let function = unsafe { GetProcAddress(module, c"SetThreadDescription".as_ptr().cast()) };
    if function.is_null() {
        return;
    }
    // SAFETY: the documented signature of the function.
    let function = unsafe { std::mem::transmute::<*mut c_void, SetThreadDescription>(function) };
    let name = wide(name);
    // SAFETY: a handle that is open, a terminated name.
    unsafe { function(thread, name.as_ptr()) };
}

/// Whether the process ends: its other threads are gone then, with whatever locks they had.
pub(crate) fn is_process_ending() -> bool {
    // SAFETY: no arguments.
    unsafe { RtlDllShutdownInProgress() != 0 }
}

/// Name of the computer from which the session of this process is used by Remote Desktop; nothing for
/// the session at the computer itself, or when the system does not say.
pub(crate) fn remote_client() -> Option<String> {
    let mut buffer = ptr::null_mut();
    let mut bytes = 0u32;
    // SAFETY: both places are writable; the null server is this computer.
    let known = unsafe {
        WTSQuerySessionInformationW(
            ptr::null_mut(),
            CURRENT_SESSION,
            CLIENT_NAME,
            &raw mut buffer,
            &raw mut bytes,
        )
    };
    if known == 0 || buffer.is_null() {
        return None;
    }
    let room = usize::try_from(bytes).unwrap_or(0) / size_of::<u16>();
    let mut name = Vec::new();
    for index in 0..room.min(CLIENT_NAME_UNITS_MAX) {
        // SAFETY: the system has written so many bytes.
        let unit = unsafe { buffer.wrapping_add(index).read_unaligned() };
        if unit == 0 {
            break;
        }
        name.push(unit);
    }
    // SAFETY: the buffer is the system's, and is not used any more.
    unsafe { WTSFreeMemory(buffer.cast()) };
    let name = String::from_utf16_lossy(&name).trim().to_owned();
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    #[test]
    fn own_file_is_found_and_addresses_of_others_are_told_apart() {
        let path = library_path().unwrap();
        assert!(path.is_file(), "{}", path.display());
        assert!(contains(own_address()));
        assert!(!contains(ptr::null()));
        // SAFETY: a terminated name of a library that is always there.
        assert!(!contains(unsafe { GetModuleHandleW(wide("kernel32.dll").as_ptr()) }));
    }

    #[test]
    fn body_runs_on_a_thread_of_its_own() {
        let (sender, receiver) = channel();
        let body = move || sender.send(std::thread::current().id()).unwrap();
        spawn("licenceaddin", 256 * 1024, Box::new(body)).unwrap();
        let id = receiver.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_ne!(id, std::thread::current().id());
    }

    #[test]
    fn a_running_process_is_not_ending() {
        assert!(!is_process_ending());
    }
}
