//! The library itself: its file name in this process, what lies in it, and keeping it in memory.

#[cfg(unix)]
use std::path::PathBuf;

/// Full file name of the library this code lies in; nothing when the system does not say.
#[cfg(unix)]
pub(crate) fn path() -> Option<PathBuf> {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let name = file_name()?;
    Some(PathBuf::from(OsStr::from_bytes(name.to_bytes())))
}

/// What the loader knows of the library that an address lies in.
#[cfg(unix)]
fn library_of(address: *const libc::c_void) -> Option<libc::Dl_info> {
    use std::mem::MaybeUninit;

    let mut info = MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: any address may be asked about, and the place for the answer is writable.
    if unsafe { libc::dladdr(address, info.as_mut_ptr()) } == 0 {
        return None;
    }
    // SAFETY: all-zero is a valid value, and the call has filled it.
    Some(unsafe { info.assume_init() })
}

/// An address inside this library.
#[cfg(unix)]
fn own_address() -> *const libc::c_void {
    (path as fn() -> Option<PathBuf>) as *const libc::c_void
}

/// Whether an address lies in this library, and not in another of the process.
#[cfg(unix)]
pub(crate) fn contains(address: *const std::ffi::c_void) -> bool {
    match (library_of(address), library_of(own_address())) {
        (Some(asked), Some(own)) => asked.dli_fbase == own.dli_fbase,
        _ => false,
    }
}

#[cfg(unix)]
fn file_name() -> Option<std::ffi::CString> {
    use std::ffi::CStr;

    let info = library_of(own_address())?;
    if info.dli_fname.is_null() {
        return None;
    }
    // SAFETY: the loader's name of a loaded library, which this one is, ends with a zero byte.
    Some(unsafe { CStr::from_ptr(info.dli_fname) }.to_owned())
}

/// Keeps the library in memory until the process exits.
///
/// Called on the worker before the system's resolver, which may wait for name servers without a
/// way to stop it and may load libraries itself: a host that unloads the component meanwhile
/// would otherwise either wait for it or take the code away from under it. The worker then goes
/// on until the process exits. Addresses in figures never come here.
///
/// False when the unloading has begun: it cannot be stopped any more, and the caller must let the
/// code go. Between that question and the mark lie some microseconds; a host that begins to unload
/// right then takes the code away under this very call. The first lookup happens while the host
/// waits in `Запуск` as a rule, and a host inside the library does not unload it.
#[cfg(unix)]
pub(crate) fn pin() -> bool {
    use std::sync::atomic::{AtomicBool, Ordering};

    static PINNED: AtomicBool = AtomicBool::new(false);
    if PINNED.load(Ordering::Acquire) {
        return true;
    }
    if crate::process::is_unloading() {
        return false;
    }
    let flags = libc::RTLD_LAZY | libc::RTLD_NOLOAD | libc::RTLD_NODELETE;
    let marked = file_name().is_some_and(|name| {
        // SAFETY: the library is loaded, so nothing is loaded or run; only its mark changes.
        !unsafe { libc::dlopen(name.as_ptr(), flags) }.is_null()
    });
    if marked {
        PINNED.store(true, Ordering::Release);
        log::info!("a host name is looked up: the component stays loaded until the process exits");
    } else {
        log::warn!("the component could not be kept loaded: do not unload it while it runs");
    }
    true
}

#[cfg(windows)]
pub(crate) use crate::windows::{contains, library_path as path};
