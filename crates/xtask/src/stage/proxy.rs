//! A company's HTTP proxy (`CONNECT`, RFC 9110, section 9.3.6) with a name and a password, which can
//! lose an answer: what was asked has been done, and nobody hears of it.
//!
//! Passes bytes on and judges nothing but the credentials.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::StageError;

/// Credentials in an address of the proxy, and as HTTP says them.
const USER: &str = "clerk:of-a-stage";
const BASIC: &str = "basic Y2xlcms6b2YtYS1zdGFnZQ==";

/// Longest head of a `CONNECT`.
const HEAD_BYTES_MAX: u64 = 8192;

/// Bytes passed on at a time.
const CHUNK_BYTES: usize = 4096;

#[derive(Debug, Default)]
struct Counts {
    to_lose: AtomicUsize,
    lost: AtomicUsize,
    through: AtomicUsize,
    turned_away: AtomicUsize,
}

/// The proxy. It ends with the process.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    counts: Arc<Counts>,
}

impl Proxy {
    /// Listens on a free port.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn start() -> Result<Self, StageError> {
        let failed = |why| StageError::io(Path::new("127.0.0.1"), why);
        let listener = TcpListener::bind(("127.0.0.1", 0)).map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        let counts = Arc::new(Counts::default());
        let shared = Arc::clone(&counts);
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let counts = Arc::clone(&shared);
                // Who hangs up in the middle is no concern of the others.
                std::thread::spawn(move || drop(serve(near, &counts)));
            }
        });
        Ok(Self { port, counts })
    }

    /// Its address with name and password.
    pub fn url(&self) -> String {
        format!("http://{USER}@127.0.0.1:{}", self.port)
    }

    /// Its address without them: it lets nobody in so.
    pub fn url_without_password(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Loses the answers on the next so many connections.
    pub fn lose(&self, answers: usize) {
        self.counts.to_lose.store(answers, Ordering::SeqCst);
    }

    /// Answers that were lost.
    pub fn lost(&self) -> usize {
        self.counts.lost.load(Ordering::SeqCst)
    }

    /// Connections that were let through.
    pub fn through(&self) -> usize {
        self.counts.through.load(Ordering::SeqCst)
    }

    /// Connections without the right password.
    pub fn turned_away(&self) -> usize {
        self.counts.turned_away.load(Ordering::SeqCst)
    }
}

fn serve(near: TcpStream, counts: &Counts) -> io::Result<()> {
    let mut reader = BufReader::new(near.try_clone()?);
    let mut head = Vec::new();
    let mut limited = (&mut reader).take(HEAD_BYTES_MAX);
    while limited.read_until(b'\n', &mut head)? > 2 {}
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let is_known = head.lines().filter_map(|line| line.split_once(": ")).any(|(name, value)| {
        let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
        name.eq_ignore_ascii_case("proxy-authorization")
            && format!("{} {rest}", scheme.to_ascii_lowercase()) == BASIC
    });
    let mut answer = near;
    if method != "CONNECT" || !is_known {
        counts.turned_away.fetch_add(1, Ordering::SeqCst);
        return answer.write_all(
            b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\
              Content-Length: 0\r\nConnection: close\r\n\r\n",
        );
    }
    let mut far = TcpStream::connect(target)?;
    counts.through.fetch_add(1, Ordering::SeqCst);
    answer.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    let is_lost = counts
        .to_lose
        .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
        .is_ok();
    let mut onward = far.try_clone()?;
    std::thread::spawn(move || {
        drop(io::copy(&mut reader, &mut onward));
        drop(onward.shutdown(Shutdown::Write));
    });
    if is_lost {
        // The other side answers when it has done what it was asked.
        let _ = far.read(&mut [0; CHUNK_BYTES])?;
        counts.lost.fetch_add(1, Ordering::SeqCst);
    } else {
        drop(io::copy(&mut far, &mut answer));
    }
    drop(far.shutdown(Shutdown::Both));
    answer.shutdown(Shutdown::Both)
}
