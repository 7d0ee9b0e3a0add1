//! The calls of Windows that the standard library has no safe function for, made safe.
//!
//! One function per question or wish; what is asked and what follows from the answer is decided by those
//! who call.

#![expect(unsafe_code, reason = "Windows is called here and nowhere else in this crate")]

use std::ffi::OsStr;
use std::io;
use std::os::windows::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use windows_sys::Win32::Foundation::{HANDLE, LocalFree};
use windows_sys::Win32::Globalization::GetUserDefaultUILanguage;
use windows_sys::Win32::Security::Authorization::{
    ConvertStringSecurityDescriptorToSecurityDescriptorW, SDDL_REVISION_1, SE_FILE_OBJECT,
    SetNamedSecurityInfoW,
};
use windows_sys::Win32::Security::{
    ACL, DACL_SECURITY_INFORMATION, GetSecurityDescriptorDacl, GetSecurityDescriptorOwner,
    OWNER_SECURITY_INFORMATION, PROTECTED_DACL_SECURITY_INFORMATION, PSECURITY_DESCRIPTOR, PSID,
    UNPROTECTED_DACL_SECURITY_INFORMATION,
};
use windows_sys::Win32::Storage::FileSystem::{
    GetDiskFreeSpaceExW, GetVolumeInformationW, GetVolumePathNameW,
};
use windows_sys::Win32::System::EventLog::{
    DeregisterEventSource, REPORT_EVENT_TYPE, RegisterEventSourceW, ReportEventW,
};

/// `FILE_READ_ONLY_VOLUME` among the flags of a volume.
const READ_ONLY_VOLUME: u32 = 0x0008_0000;

/// Primary language of Russian in a language identifier, whose low ten bits it is.
const RUSSIAN: u16 = 0x19;

/// Longest name of the folder that a volume is mounted at, in UTF-16 units: that of any path.
const VOLUME_PATH_UNITS_MAX: usize = 32 * 1024;

/// Text as Windows takes it: UTF-16 with a zero at its end. What comes behind a zero in it is cut off.
fn wide(text: impl AsRef<OsStr>) -> Vec<u16> {
    text.as_ref().encode_wide().take_while(|unit| *unit != 0).chain([0]).collect()
}

/// A security descriptor that the system has made and that is given back to it.
struct Descriptor(PSECURITY_DESCRIPTOR);

impl Descriptor {
    fn parse(sddl: &str) -> io::Result<Self> {
        let text = wide(sddl);
        let mut made: PSECURITY_DESCRIPTOR = ptr::null_mut();
        // SAFETY: the text ends with a zero and outlives the call, as does the place of the result; the
        // size is not asked for.
        let done = unsafe {
            ConvertStringSecurityDescriptorToSecurityDescriptorW(
                text.as_ptr(),
                SDDL_REVISION_1,
                &raw mut made,
                ptr::null_mut(),
            )
        };
        if done == 0 { Err(io::Error::last_os_error()) } else { Ok(Self(made)) }
    }

    /// The list of who may do what, inside the descriptor.
    fn dacl(&self) -> io::Result<*const ACL> {
        let (mut is_there, mut is_default) = (0, 0);
        let mut found: *mut ACL = ptr::null_mut();
        // SAFETY: the descriptor is valid as long as `self`; the three results outlive the call.
        let done = unsafe {
            GetSecurityDescriptorDacl(
                self.0,
                &raw mut is_there,
                &raw mut found,
                &raw mut is_default,
            )
        };
        if done == 0 {
            return Err(io::Error::last_os_error());
        }
        // Without a list everybody may do everything: never by mistake.
        if is_there == 0 || found.is_null() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(found)
    }

    /// The owner inside the descriptor; null when it names none.
    fn owner(&self) -> io::Result<PSID> {
        let mut is_default = 0;
        let mut found: PSID = ptr::null_mut();
        // SAFETY: the descriptor is valid as long as `self`; both results outlive the call.
        let done =
            unsafe { GetSecurityDescriptorOwner(self.0, &raw mut found, &raw mut is_default) };
        if done == 0 { Err(io::Error::last_os_error()) } else { Ok(found) }
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: the system made it by LocalAlloc and nobody uses it after this.
        let _ = unsafe { LocalFree(self.0) };
    }
}

/// Gives a file or folder the rights, and the owner if one is named, of a descriptor in the security
/// descriptor definition language. Where `is_protected`, nothing is inherited from the folder above; what
/// lies below a folder inherits anew. A link is not followed by whoever calls.
///
/// # Errors
///
/// What the system said, or that the text is no descriptor with a list.
pub fn set_rights(path: &Path, sddl: &str, is_protected: bool) -> io::Result<()> {
    let descriptor = Descriptor::parse(sddl)?;
    let (dacl, owner) = (descriptor.dacl()?, descriptor.owner()?);
    let mut what = DACL_SECURITY_INFORMATION;
    what |= if is_protected {
        PROTECTED_DACL_SECURITY_INFORMATION
    } else {
        UNPROTECTED_DACL_SECURITY_INFORMATION
    };
    if !owner.is_null() {
        what |= OWNER_SECURITY_INFORMATION;
    }
    let name = wide(path);
    // SAFETY: the name ends with a zero; list and owner lie in the descriptor, which outlives the call.
    let code = unsafe {
        SetNamedSecurityInfoW(
            name.as_ptr(),
            SE_FILE_OBJECT,
            what,
            owner,
            ptr::null_mut(),
            dacl,
            ptr::null(),
        )
    };
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code.cast_signed())) }
}

/// A source of the event log, open for writing.
struct Source(HANDLE);

impl Drop for Source {
    fn drop(&mut self) {
        // SAFETY: the handle is this source's and is not used after this.
        let _ = unsafe { DeregisterEventSource(self.0) };
    }
}

/// Writes one entry of one text to the event log "Application" of this computer.
///
/// # Errors
///
/// What the system said.
pub fn report_event(source: &str, kind: REPORT_EVENT_TYPE, id: u32, text: &str) -> io::Result<()> {
    let (source, text) = (wide(source), wide(text));
    // SAFETY: the name ends with a zero and outlives the call; no computer named is this one.
    let handle = unsafe { RegisterEventSourceW(ptr::null(), source.as_ptr()) };
    if handle.is_null() {
        return Err(io::Error::last_os_error());
    }
    let source = Source(handle);
    let texts = [text.as_ptr()];
    // SAFETY: one text is announced and given, it ends with a zero and outlives the call; no user and no
    // data are given.
    let done = unsafe {
        ReportEventW(source.0, kind, 0, id, ptr::null_mut(), 1, 0, texts.as_ptr(), ptr::null())
    };
    if done == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Bytes that this process may still write to the volume of a folder or file, and whether the volume is
/// read-only.
///
/// # Errors
///
/// What the system said.
pub fn volume(path: &Path) -> io::Result<(u64, bool)> {
    let mut root = vec![0_u16; VOLUME_PATH_UNITS_MAX];
    let name = wide(path);
    // SAFETY: the name ends with a zero, the buffer has the size that is told with it.
    let done = unsafe {
        GetVolumePathNameW(name.as_ptr(), root.as_mut_ptr(), VOLUME_PATH_UNITS_MAX as u32)
    };
    if done == 0 {
        return Err(io::Error::last_os_error());
    }
    let mut free_bytes = 0;
    // The folder and not the volume: a quota counts.
    let folder = if path.is_dir() { &name } else { &root };
    // SAFETY: both names end with a zero; of the results only the first is asked for, and it outlives the
    // call.
    let done = unsafe {
        GetDiskFreeSpaceExW(folder.as_ptr(), &raw mut free_bytes, ptr::null_mut(), ptr::null_mut())
    };
    if done == 0 {
        return Err(io::Error::last_os_error());
    }
    let mut flags = 0;
    // SAFETY: the root ends with a zero; only the flags are asked for, and they outlive the call.
    let done = unsafe {
        GetVolumeInformationW(
            root.as_ptr(),
            ptr::null_mut(),
            0,
            ptr::null_mut(),
            ptr::null_mut(),
            &raw mut flags,
            ptr::null_mut(),
            0,
        )
    };
    if done == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((free_bytes, flags & READ_ONLY_VOLUME != 0))
}

/// Whether the user of this process has Windows speak Russian.
pub fn speaks_russian() -> bool {
    // SAFETY: the function takes nothing and cannot fail.
    let language = unsafe { GetUserDefaultUILanguage() };
    language & 0x3FF == RUSSIAN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volume_of_a_fresh_folder_is_told_and_of_a_missing_drive_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (free_bytes, is_read_only) = volume(dir.path()).unwrap();
        assert!(free_bytes > 0 && !is_read_only);
        assert!(volume(Path::new(r"\\.\no such device\x")).is_err());
    }

    #[test]
    fn rights_that_are_no_list_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        for sddl in ["", "O:BA", "nonsense", "D:NO_ACCESS_CONTROL"] {
            assert!(set_rights(dir.path(), sddl, true).is_err(), "{sddl}");
        }
    }

    #[test]
    fn text_ends_with_a_zero_and_at_the_first_zero_in_it() {
        assert_eq!(wide("ab"), [0x61, 0x62, 0]);
        assert_eq!(wide("a\0b"), [0x61, 0]);
        assert_eq!(wide("Ж"), [0x416, 0]);
    }
}
