//! Waiting on Windows until a socket that never blocks can be read or written.
//!
//! One call of the system for one socket and one bounded wait; what the wait is for is decided in
//! [`crate::net`].

use std::ffi::c_int;
use std::io;
use std::net::TcpStream;
use std::os::windows::io::{AsRawSocket as _, RawSocket};
use std::ptr;
use std::time::Duration;

/// Sockets in a set of `select`, by its declaration; one is used here.
const SET_SOCKETS: usize = 64;

/// `fd_set`.
#[repr(C)]
struct Set {
    count: u32,
    sockets: [RawSocket; SET_SOCKETS],
}

/// `timeval`, whose fields have 32 bits on every Windows.
#[repr(C)]
struct TimeVal {
    seconds: i32,
    micros: i32,
}

#[link(name = "ws2_32")]
unsafe extern "system" {
    fn select(
        ignored: c_int,
        readable: *mut Set,
        writable: *mut Set,
        failed: *mut Set,
        bound: *const TimeVal,
    ) -> c_int;
}

/// Waits at most `bound` for bytes, the end or a failure of the connection. Whoever reads then learns
/// which; nothing is said when the time is over.
///
/// # Errors
///
/// When the system refuses to wait.
pub(crate) fn readable(stream: &TcpStream, bound: Duration) -> io::Result<()> {
    let mut set = one(stream);
    wait(&raw mut set, ptr::null_mut(), bound)
}

/// Waits at most `bound` until bytes are taken or the connection has failed.
///
/// # Errors
///
/// When the system refuses to wait.
pub(crate) fn writable(stream: &TcpStream, bound: Duration) -> io::Result<()> {
    let mut set = one(stream);
    wait(ptr::null_mut(), &raw mut set, bound)
}

fn one(stream: &TcpStream) -> Set {
    let mut sockets = [0; SET_SOCKETS];
    sockets[0] = stream.as_raw_socket();
    Set { count: 1, sockets }
}

fn wait(readable: *mut Set, writable: *mut Set, bound: Duration) -> io::Result<()> {
    let bound = TimeVal {
        seconds: i32::try_from(bound.as_secs()).unwrap_or(i32::MAX),
        micros: i32::try_from(bound.subsec_micros()).unwrap_or(0),
    };
    // SAFETY: sets are null or hold one open socket, and everything outlives the call.
    let ready = unsafe { select(0, readable, writable, ptr::null_mut(), &raw const bound) };
    if ready < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn bytes_end_a_wait_and_silence_does_not_fail_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut other, _) = listener.accept().unwrap();
        writable(&stream, Duration::from_secs(20)).unwrap();
        readable(&stream, Duration::from_millis(1)).unwrap();
        other.write_all(b"x").unwrap();
        readable(&stream, Duration::from_secs(20)).unwrap();
        stream.set_nonblocking(true).unwrap();
        assert_eq!(stream.peek(&mut [0]).unwrap(), 1);
    }
}
