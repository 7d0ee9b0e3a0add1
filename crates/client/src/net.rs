//! Sockets that never outstay a deadline and let go at once when the client is stopped.
//!
//! A time limit on a socket alone is not enough: a peer that drips one byte every two seconds
//! renews it each time. So every read and write asks what is left of the whole budget. Nothing of
//! TLS or HTTP is known here.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use licence_core::failover::Server;
use licence_core::time::MonoTime;

use crate::clock::system_now;
use crate::names::Names;
#[cfg(windows)]
use crate::readiness;

/// How long a socket is waited for before the stop flag is looked at again. A waiting worker
/// wakes 40 times a second, only while a server owes it an answer, and a stop takes no longer.
const STOP_SLICE: Duration = Duration::from_millis(25);

/// Until when a piece of work may take, and what else ends it.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    deadline: MonoTime,
    stop: Option<Arc<AtomicBool>>,
}

impl Budget {
    /// Until `deadline` of the system's clock, or until `stop` is raised.
    pub(crate) const fn new(deadline: MonoTime, stop: Option<Arc<AtomicBool>>) -> Self {
        Self { deadline, stop }
    }

    /// The same, ending at `deadline` if that is earlier.
    pub(crate) fn until(&self, deadline: MonoTime) -> Self {
        Self { deadline: self.deadline.min(deadline), stop: self.stop.clone() }
    }

    /// What is left.
    ///
    /// # Errors
    ///
    /// `TimedOut` when nothing is left, `ConnectionAborted` when the client is being stopped.
    fn left(&self) -> io::Result<Duration> {
        if self.stop.as_ref().is_some_and(|stop| stop.load(Ordering::Relaxed)) {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the client is stopping"));
        }
        let left = self.deadline.since(system_now());
        if left.is_zero() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"));
        }
        Ok(left)
    }

    /// What is left, but no more than until the stop flag should be looked at again.
    ///
    /// # Errors
    ///
    /// As [`Self::left`].
    pub(crate) fn slice(&self) -> io::Result<Duration> {
        self.left().map(|left| left.min(STOP_SLICE))
    }
}

/// A TCP connection under a budget. `read` and `write` fail as [`Budget::left`] does.
#[derive(Debug)]
pub(crate) struct Timed {
    stream: TcpStream,
    /// The budget of the piece of work in hand.
    pub(crate) budget: Budget,
}

#[cfg(not(windows))]
impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.stream.set_read_timeout(Some(self.budget.slice()?))?;
            match self.stream.read(buffer) {
                Err(why) if is_slice_over(&why) => {}
                result => return result,
            }
        }
    }
}

#[cfg(not(windows))]
impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            self.stream.set_write_timeout(Some(self.budget.slice()?))?;
            match self.stream.write(bytes) {
                Err(why) if is_slice_over(&why) => {}
                result => return result,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// On Windows a socket whose own time limit has passed in the middle of a call may have lost bytes (so
/// its documentation), and that limit is rounded up to half a second. There the socket never blocks, and
/// it is waited for apart from reading and writing.
#[cfg(windows)]
impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let slice = self.budget.slice()?;
            match self.stream.read(buffer) {
                Err(why) if is_slice_over(&why) => readiness::readable(&self.stream, slice)?,
                result => return result,
            }
        }
    }
}

#[cfg(windows)]
impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            let slice = self.budget.slice()?;
            match self.stream.write(bytes) {
                Err(why) if is_slice_over(&why) => readiness::writable(&self.stream, slice)?,
                result => return result,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

fn is_slice_over(why: &io::Error) -> bool {
    matches!(
        why.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

/// Connects to the first address of `server` that answers.
///
/// Literal addresses and `localhost` are known without the resolver; other names are looked up
/// within the same budget, see [`Names::addresses`].
///
/// # Errors
///
/// Of the last address that was tried.
pub(crate) fn connect(server: &Server, budget: &Budget, names: &Names) -> io::Result<Timed> {
    let addresses = resolve(server, budget, names)?;
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host name has no address");
    let count = addresses.len();
    for (index, address) in addresses.into_iter().enumerate() {
        let shares = u32::try_from(count - index).unwrap_or(1);
        let share = budget.until(system_now().after(budget.left()? / shares));
        match connect_to(&address, &share) {
            Ok(stream) => {
                // A request is one write, so waiting for more bytes only costs time.
                stream.set_nodelay(true)?;
                return Ok(Timed { stream, budget: budget.clone() });
            }
            Err(why) => failure = why,
        }
    }
    Err(failure)
}

fn resolve(server: &Server, budget: &Budget, names: &Names) -> io::Result<Vec<SocketAddr>> {
    let (host, port) = (server.host.as_str(), server.port);
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    if host.eq_ignore_ascii_case("localhost") {
        let ips = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        return Ok(ips.map(|ip| SocketAddr::new(ip, port)).to_vec());
    }
    let ips = names.addresses(host, budget)?;
    Ok(ips.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
}

/// Connects without blocking in the system, so that a stop is noticed meanwhile.
#[cfg(target_os = "linux")]
fn connect_to(address: &SocketAddr, budget: &Budget) -> io::Result<TcpStream> {
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: a plain system call on integers.
    let fd = unsafe { libc::socket(family, kind, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fd` was just opened and nobody else owns it.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    let result = match address {
        SocketAddr::V4(v4) => {
            let raw = libc::sockaddr_in {
                sin_family: libc::AF_INET as libc::sa_family_t,
                sin_port: v4.port().to_be(),
                sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                sin_zero: [0; 8],
            };
            let len = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            // SAFETY: `raw` is an IPv4 socket address of `len` bytes that outlives the call.
            unsafe { libc::connect(socket.as_raw_fd(), (&raw const raw).cast(), len) }
        }
        SocketAddr::V6(v6) => {
            let raw = libc::sockaddr_in6 {
                sin6_family: libc::AF_INET6 as libc::sa_family_t,
                sin6_port: v6.port().to_be(),
                sin6_flowinfo: v6.flowinfo(),
                sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                sin6_scope_id: v6.scope_id(),
            };
            let len = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
            // SAFETY: `raw` is an IPv6 socket address of `len` bytes that outlives the call.
            unsafe { libc::connect(socket.as_raw_fd(), (&raw const raw).cast(), len) }
        }
    };
    if result != 0 {
        let why = io::Error::last_os_error();
        if why.raw_os_error() != Some(libc::EINPROGRESS) {
            return Err(why);
        }
        loop {
            let millis = budget.slice()?.as_millis().clamp(1, 1000);
            let mut poll =
                libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
            // SAFETY: `poll` is one valid pollfd and outlives the call.
            let ready = unsafe { libc::poll(&raw mut poll, 1, millis as libc::c_int) };
            if ready > 0 {
                break;
            }
            if ready < 0 {
                let why = io::Error::last_os_error();
                if why.kind() != io::ErrorKind::Interrupted {
                    return Err(why);
                }
            }
        }
    }
    let stream = TcpStream::from(socket);
    if let Some(why) = stream.take_error()? {
        return Err(why);
    }
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// Connects; a stop is noticed only once the system has answered or the budget is used up.
#[cfg(not(target_os = "linux"))]
fn connect_to(address: &SocketAddr, budget: &Budget) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(address, budget.left()?)?;
    stream.set_nonblocking(cfg!(windows))?;
    Ok(stream)
}
