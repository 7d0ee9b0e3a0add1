//! The functions of the smart card service's library, made safe: `libpcsclite.so.1` on Unix,
//! `winscard.dll` on Windows.
//!
//! Types and constants are those of PC/SC part 5 in both implementations. Whom to speak to is decided
//! in [`super`].

#![expect(unsafe_code, reason = "the library is C and loaded while the program runs")]

use std::ffi::{CString, c_char, c_void};
use std::fmt;
use std::ptr;
use std::sync::OnceLock;

use libloading::Library;

use crate::apdu::ANSWER_BYTES_MAX;

#[cfg(windows)]
mod types {
    pub(super) const LIBRARIES: &[&str] = &["winscard.dll"];
    pub(super) const ATR_BYTES: usize = 36;
    pub(super) type Long = i32;
    pub(super) type Dword = u32;
    pub(super) type Handle = usize;
}

#[cfg(not(windows))]
mod types {
    use std::ffi::{c_long, c_ulong};

    pub(super) const LIBRARIES: &[&str] = &["libpcsclite.so.1"];
    pub(super) const ATR_BYTES: usize = 33;
    pub(super) type Long = c_long;
    pub(super) type Dword = c_ulong;
    pub(super) type Handle = c_long;
}

use types::{ATR_BYTES, Dword, Handle, LIBRARIES, Long};

const SCOPE_SYSTEM: Dword = 2;
const SHARE_SHARED: Dword = 2;
const SHARE_DIRECT: Dword = 3;
const PROTOCOL_T0: Dword = 1;
const PROTOCOLS_T0_T1: Dword = 3;
const LEAVE_CARD: Dword = 0;
const RESET_CARD: Dword = 1;
const STATE_PRESENT: Dword = 0x20;
const ATTRIBUTE_CHANNEL: Dword = 0x2_0110;

/// Longest list of readers that is taken: 16 readers of 128 characters are 2 KiB.
const READERS_BYTES_MAX: usize = 64 * 1024;

/// A result of the service.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Code(pub(super) u32);

impl Code {
    const DONE: Self = Self(0);
    /// There is no library; not a code of the service, and of no facility of it.
    pub(super) const NO_LIBRARY: Self = Self(0xFFFF_FFFF);
    pub(super) const INVALID_PARAMETER: Self = Self(0x8010_0004);
    pub(super) const INSUFFICIENT_BUFFER: Self = Self(0x8010_0008);
    pub(super) const UNKNOWN_READER: Self = Self(0x8010_0009);
    pub(super) const TIMEOUT: Self = Self(0x8010_000A);
    pub(super) const SHARING_VIOLATION: Self = Self(0x8010_000B);
    pub(super) const NO_CARD: Self = Self(0x8010_000C);
    pub(super) const PROTO_MISMATCH: Self = Self(0x8010_000F);
    pub(super) const READER_UNAVAILABLE: Self = Self(0x8010_0017);
    pub(super) const NO_SERVICE: Self = Self(0x8010_001D);
    pub(super) const SERVICE_STOPPED: Self = Self(0x8010_001E);
    pub(super) const NO_ACCESS: Self = Self(0x8010_0027);
    pub(super) const NO_READERS: Self = Self(0x8010_002E);
    pub(super) const UNRESPONSIVE_CARD: Self = Self(0x8010_0066);
    pub(super) const UNPOWERED_CARD: Self = Self(0x8010_0067);
    pub(super) const RESET_CARD: Self = Self(0x8010_0068);
    pub(super) const REMOVED_CARD: Self = Self(0x8010_0069);
    pub(super) const SECURITY_VIOLATION: Self = Self(0x8010_006A);

    /// A result is a code of 32 bits; the upper half of a wider type repeats its sign or is zero.
    fn check(result: Long) -> Result<(), Self> {
        let code = Self(result as u32);
        if code == Self::DONE { Ok(()) } else { Err(code) }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the smart card service reports {:08X}", self.0)
    }
}

#[repr(C)]
struct IoRequest {
    protocol: Dword,
    bytes: Dword,
}

#[repr(C)]
struct ReaderState {
    reader: *const c_char,
    user: *mut c_void,
    known: Dword,
    found: Dword,
    atr_bytes: Dword,
    atr: [u8; ATR_BYTES],
}

type Establish =
    unsafe extern "system" fn(Dword, *const c_void, *const c_void, *mut Handle) -> Long;
type Release = unsafe extern "system" fn(Handle) -> Long;
type ListReaders =
    unsafe extern "system" fn(Handle, *const c_char, *mut c_char, *mut Dword) -> Long;
type StatusChange = unsafe extern "system" fn(Handle, Dword, *mut ReaderState, Dword) -> Long;
type Connect =
    unsafe extern "system" fn(Handle, *const c_char, Dword, Dword, *mut Handle, *mut Dword) -> Long;
type Disconnect = unsafe extern "system" fn(Handle, Dword) -> Long;
type Begin = unsafe extern "system" fn(Handle) -> Long;
type End = unsafe extern "system" fn(Handle, Dword) -> Long;
type Transmit = unsafe extern "system" fn(
    Handle,
    *const IoRequest,
    *const u8,
    Dword,
    *mut IoRequest,
    *mut u8,
    *mut Dword,
) -> Long;
type Attribute = unsafe extern "system" fn(Handle, Dword, *mut u8, *mut Dword) -> Long;

struct Functions {
    establish: Establish,
    release: Release,
    list_readers: ListReaders,
    status_change: StatusChange,
    connect: Connect,
    disconnect: Disconnect,
    begin: Begin,
    end: End,
    transmit: Transmit,
    attribute: Attribute,
    /// Kept loaded as long as the functions may be called.
    _library: Library,
}

impl Functions {
    fn load() -> Option<Self> {
        LIBRARIES.iter().find_map(|name| {
            let library = open(name).ok()?;
            Self::of(library)
        })
    }

    fn of(library: Library) -> Option<Self> {
        #[cfg(windows)]
        const TEXT: &str = "A";
        #[cfg(not(windows))]
        const TEXT: &str = "";
        let text = |name: &str| format!("{name}{TEXT}\0");
        Some(Self {
            establish: symbol(&library, "SCardEstablishContext\0")?,
            release: symbol(&library, "SCardReleaseContext\0")?,
            list_readers: symbol(&library, &text("SCardListReaders"))?,
            status_change: symbol(&library, &text("SCardGetStatusChange"))?,
            connect: symbol(&library, &text("SCardConnect"))?,
            disconnect: symbol(&library, "SCardDisconnect\0")?,
            begin: symbol(&library, "SCardBeginTransaction\0")?,
            end: symbol(&library, "SCardEndTransaction\0")?,
            transmit: symbol(&library, "SCardTransmit\0")?,
            attribute: symbol(&library, "SCardGetAttrib\0")?,
            _library: library,
        })
    }

    /// The library of this process, loaded at the first call.
    fn get() -> Result<&'static Self, Code> {
        static LOADED: OnceLock<Option<Functions>> = OnceLock::new();
        LOADED.get_or_init(Self::load).as_ref().ok_or(Code::NO_LIBRARY)
    }
}

#[cfg(not(windows))]
fn open(name: &str) -> Result<Library, libloading::Error> {
    // SAFETY: the system's own library, by its versioned name; loading it runs no more than its
    // initialisers.
    unsafe { Library::new(name) }
}

/// From the system's folder alone: a file of this name beside the program is not the service.
#[cfg(windows)]
fn open(name: &str) -> Result<Library, libloading::Error> {
    use libloading::os::windows;
    // SAFETY: the system's own library; loading it runs no more than its initialisers.
    unsafe { windows::Library::load_with_flags(name, windows::LOAD_LIBRARY_SEARCH_SYSTEM32) }
        .map(Library::from)
}

/// A function of the library. Only called by [`Functions::of`], where the field gives each name its
/// type.
fn symbol<F: Copy>(library: &Library, name: &str) -> Option<F> {
    // SAFETY: the types above are those of PC/SC part 5 for the names they are asked with, and the
    // library is kept as long as the functions.
    unsafe { library.get::<F>(name.as_bytes()) }.ok().map(|function| *function)
}

/// A conversation with the service.
pub(super) struct Context {
    functions: &'static Functions,
    handle: Handle,
}

impl Context {
    pub(super) fn establish() -> Result<Self, Code> {
        let functions = Functions::get()?;
        let mut handle = 0;
        // SAFETY: both reserved arguments may be null, and the handle outlives the call.
        let result = unsafe {
            (functions.establish)(SCOPE_SYSTEM, ptr::null(), ptr::null(), &raw mut handle)
        };
        Code::check(result)?;
        Ok(Self { functions, handle })
    }

    /// Names of all readers.
    pub(super) fn readers(&self) -> Result<Vec<String>, Code> {
        let mut bytes: Dword = 0;
        // SAFETY: without a buffer the function tells the size that it needs.
        let result = unsafe {
            (self.functions.list_readers)(self.handle, ptr::null(), ptr::null_mut(), &raw mut bytes)
        };
        Code::check(result)?;
        let wanted = size(bytes).filter(|bytes| *bytes <= READERS_BYTES_MAX);
        let mut names = vec![0_u8; wanted.ok_or(Code::INSUFFICIENT_BUFFER)?];
        // SAFETY: the buffer has the size that is told with it.
        let result = unsafe {
            (self.functions.list_readers)(
                self.handle,
                ptr::null(),
                names.as_mut_ptr().cast(),
                &raw mut bytes,
            )
        };
        Code::check(result)?;
        names.truncate(size(bytes).unwrap_or_default());
        Ok(names
            .split(|byte| *byte == 0)
            .filter(|name| !name.is_empty())
            // A name that is no text is on no list.
            .filter_map(|name| String::from_utf8(name.to_vec()).ok())
            .collect())
    }

    /// Whether a card is in the reader.
    pub(super) fn has_card(&self, reader: &str) -> Result<bool, Code> {
        let name = CString::new(reader).map_err(|_| Code::UNKNOWN_READER)?;
        let mut state = ReaderState {
            reader: name.as_ptr(),
            user: ptr::null_mut(),
            known: 0,
            found: 0,
            atr_bytes: 0,
            atr: [0; ATR_BYTES],
        };
        // SAFETY: one state, whose name outlives the call; a time of zero returns at once.
        let result = unsafe { (self.functions.status_change)(self.handle, 0, &raw mut state, 1) };
        Code::check(result)?;
        Ok(state.found & STATE_PRESENT != 0)
    }

    /// A card in shared mode.
    pub(super) fn connect(&self, reader: &str) -> Result<Card<'_>, Code> {
        self.open(reader, SHARE_SHARED, PROTOCOLS_T0_T1)
    }

    /// Where the reader is plugged in, as the service counts (PC/SC part 3, tag 0110).
    pub(super) fn channel(&self, reader: &str) -> Result<u32, Code> {
        let direct = self.open(reader, SHARE_DIRECT, 0)?;
        let mut value = [0_u8; 8];
        let mut bytes: Dword = value.len() as Dword;
        // SAFETY: the buffer has the size that is told with it.
        let result = unsafe {
            (self.functions.attribute)(
                direct.handle,
                ATTRIBUTE_CHANNEL,
                value.as_mut_ptr(),
                &raw mut bytes,
            )
        };
        Code::check(result)?;
        match (size(bytes), value) {
            (Some(4..), [a, b, c, d, ..]) => Ok(u32::from_ne_bytes([a, b, c, d])),
            _ => Err(Code::INVALID_PARAMETER),
        }
    }

    fn open(&self, reader: &str, share: Dword, protocols: Dword) -> Result<Card<'_>, Code> {
        let name = CString::new(reader).map_err(|_| Code::UNKNOWN_READER)?;
        let mut handle = 0;
        let mut protocol = 0;
        // SAFETY: the name ends with a zero and outlives the call, as do both results.
        let result = unsafe {
            (self.functions.connect)(
                self.handle,
                name.as_ptr(),
                share,
                protocols,
                &raw mut handle,
                &raw mut protocol,
            )
        };
        Code::check(result)?;
        Ok(Card { context: self, handle, protocol, begun: false, at_end: LEAVE_CARD })
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: the handle is of this context and not used again.
        let _ = unsafe { (self.functions.release)(self.handle) };
    }
}

/// A connection to a card.
pub(super) struct Card<'a> {
    context: &'a Context,
    handle: Handle,
    protocol: Dword,
    begun: bool,
    at_end: Dword,
}

impl Card<'_> {
    /// Begins a transaction: waits as long as another program has one.
    pub(super) fn begin(&mut self) -> Result<(), Code> {
        // SAFETY: the handle is of this connection.
        Code::check(unsafe { (self.context.functions.begin)(self.handle) })?;
        self.begun = true;
        Ok(())
    }

    /// Has the card forget what it was shown when the connection ends.
    pub(super) fn reset_at_end(&mut self) {
        self.at_end = RESET_CARD;
    }

    pub(super) fn speaks_t0(&self) -> bool {
        self.protocol == PROTOCOL_T0
    }

    /// One command and its answer.
    pub(super) fn transmit(&mut self, command: &[u8]) -> Result<Vec<u8>, Code> {
        let request = IoRequest { protocol: self.protocol, bytes: size_of::<IoRequest>() as Dword };
        let mut answer = vec![0_u8; ANSWER_BYTES_MAX];
        let mut bytes = answer.len() as Dword;
        // SAFETY: command and answer have the sizes that are told with them; where the answer's
        // protocol would go may be null.
        let result = unsafe {
            (self.context.functions.transmit)(
                self.handle,
                &raw const request,
                command.as_ptr(),
                command.len() as Dword,
                ptr::null_mut(),
                answer.as_mut_ptr(),
                &raw mut bytes,
            )
        };
        Code::check(result)?;
        answer.truncate(size(bytes).unwrap_or_default());
        Ok(answer)
    }
}

impl Drop for Card<'_> {
    fn drop(&mut self) {
        if self.begun {
            // SAFETY: the handle is of this connection, and a transaction was begun on it.
            let _ = unsafe { (self.context.functions.end)(self.handle, self.at_end) };
        }
        // SAFETY: the handle is not used again.
        let _ = unsafe { (self.context.functions.disconnect)(self.handle, LEAVE_CARD) };
    }
}

fn size(bytes: Dword) -> Option<usize> {
    usize::try_from(bytes).ok()
}
