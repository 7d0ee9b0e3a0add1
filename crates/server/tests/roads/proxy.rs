//! A small HTTP proxy (`CONNECT`, RFC 9110, section 9.3.6) with a name and a password, which can lose
//! the answer to what went through it: the request has arrived and was answered, and nobody hears.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

pub(crate) struct Proxy {
    /// `host:port`.
    pub(crate) address: String,
    lose: Arc<AtomicUsize>,
    lost: Arc<AtomicUsize>,
    through: Arc<AtomicUsize>,
}

impl Proxy {
    /// One that lets in `user` with `password` alone.
    pub(crate) fn open(user: &str, password: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let wanted = format!("basic {}", STANDARD.encode(format!("{user}:{password}")));
        let (lose, lost, through) = (Arc::default(), Arc::default(), Arc::default());
        let proxy = Self {
            address,
            lose: Arc::clone(&lose),
            lost: Arc::clone(&lost),
            through: Arc::clone(&through),
        };
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (wanted, lose) = (wanted.clone(), Arc::clone(&lose));
                let (lost, through) = (Arc::clone(&lost), Arc::clone(&through));
                std::thread::spawn(move || serve(stream, &wanted, &lose, &lost, &through));
            }
        });
        proxy
    }

    /// Loses the answers to the next so many requests that change something.
    pub(crate) fn lose(&self, answers: usize) {
        self.lose.store(answers, Ordering::SeqCst);
    }

    /// Answers that were lost.
    pub(crate) fn lost(&self) -> usize {
        self.lost.load(Ordering::SeqCst)
    }

    /// Connections that were let through.
    pub(crate) fn through(&self) -> usize {
        self.through.load(Ordering::SeqCst)
    }
}

fn serve(
    stream: TcpStream,
    wanted: &str,
    lose: &AtomicUsize,
    lost: &AtomicUsize,
    through: &AtomicUsize,
) {
    let mut near = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if near.read_line(&mut head).unwrap_or(0) == 0 {
            return;
        }
    }
    let is_known = head.lines().any(|line| {
        line.split_once(": ").is_some_and(|(name, value)| {
            let scheme = value.get(..6).unwrap_or_default().to_ascii_lowercase();
            name.eq_ignore_ascii_case("proxy-authorization")
                && format!("{scheme}{}", value.get(6..).unwrap_or_default()) == wanted
        })
    });
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap().to_owned());
    if method != "CONNECT" || !is_known {
        let _ = near
            .get_mut()
            .write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n");
        return;
    }
    let Ok(far) = TcpStream::connect(&target) else { return };
    through.fetch_add(1, Ordering::SeqCst);
    near.get_mut().write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
    let mut first = [0; 4096];
    let length = near.read(&mut first).unwrap_or(0);
    if (&far).write_all(&first[..length]).is_err() {
        return;
    }
    let is_change = first[..length].starts_with(b"POST ");
    let is_lost = is_change
        && lose
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
            .is_ok();
    let (mut out, mut back) = (near, far.try_clone().unwrap());
    let mut answer_to = out.get_ref().try_clone().unwrap();
    let onward = std::thread::spawn(move || {
        let _ = std::io::copy(&mut out, &mut &far);
    });
    if is_lost {
        // The other side answers when it has done what it was asked.
        let _ = back.read(&mut first);
        lost.fetch_add(1, Ordering::SeqCst);
    } else {
        let _ = std::io::copy(&mut back, &mut answer_to);
    }
    let _ = answer_to.shutdown(Shutdown::Both);
    let _ = back.shutdown(Shutdown::Both);
    let _ = onward.join();
}
