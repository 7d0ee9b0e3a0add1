//! Hostile and idle sockets against the real server: it goes on answering, in bounded memory.

#![expect(clippy::unwrap_used, reason = "a step that fails ends the test")]
#![expect(clippy::print_stdout, reason = "figures are for the reader of the log")]

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use xtask::clock;
use xtask::random::{Random, seed};
use xtask::stage::{Server, Stage, Vendor, wait_until};

const IDLE_SOCKETS: usize = 10_000;

/// Files that the test process has open beside the sockets, generously.
const OTHER_FILES: u64 = 500;

/// What the server may occupy under all of this, unoptimised: some 40 MiB of its own, and 16 KiB
/// for each idle socket.
const RSS_KIB_MAX: u64 = 200 * 1024;

/// Bound of an answer while others misbehave.
const ANSWER_BOUND: Duration = Duration::from_secs(15);

/// `admin:admin`.
const AUTH: &str = "Authorization: Basic YWRtaW46YWRtaW4=\r\n";

fn server(stage: &Stage) -> Server {
    let vendor = Vendor::start(stage).unwrap();
    Server::start(stage, "server", &vendor, 0).unwrap()
}

fn rss_kib(server: &mut Server) -> u64 {
    let path = format!("/proc/{}/status", server.process().pid());
    let status = std::fs::read_to_string(path).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn check_well(server: &mut Server, after: &str) {
    let (answer, took) = clock::timed(|| server.rest().try_get("/api"));
    let answer = answer.unwrap_or_else(|why| panic!("after {after}: {why}"));
    assert_eq!(answer.status, 200, "after {after}: {answer:?}");
    let rss = rss_kib(server);
    println!("after {after}: /api in {} ms, RSS {rss} KiB", took.as_millis());
    assert!(rss < RSS_KIB_MAX, "after {after}: {rss} KiB");
    assert!(took < ANSWER_BOUND, "after {after}: {took:?}");
}

fn connect(server: &Server) -> TcpStream {
    let socket = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
    socket.set_read_timeout(Some(ANSWER_BOUND)).unwrap();
    socket.set_write_timeout(Some(ANSWER_BOUND)).unwrap();
    socket
}

/// The status of the answer; nothing when the server only closed.
fn status(socket: &mut TcpStream) -> Option<u16> {
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    while !head.windows(2).any(|pair| pair == b"\r\n") {
        match socket.read(&mut buffer) {
            Ok(0) => return None,
            Ok(count) => head.extend_from_slice(&buffer[..count]),
            Err(why) if why.kind() == ErrorKind::ConnectionReset => return None,
            Err(why) => panic!("no answer and no end: {why}"),
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let status = head.strip_prefix("HTTP/1.1 ").or_else(|| head.strip_prefix("HTTP/1.0 "));
    Some(status.unwrap_or_else(|| panic!("not HTTP: {head}"))[..3].parse().unwrap())
}

/// Lets this process open many files.
fn raise_file_limit(files: u64) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writes into the structure passed.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }, 0);
    limit.rlim_cur = limit.rlim_cur.max(files);
    limit.rlim_max = limit.rlim_max.max(files);
    // SAFETY: reads the structure passed.
    let set = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    assert_eq!(set, 0, "this machine does not allow {files} open files (ulimit -Hn)");
}

#[test]
fn ten_thousand_idle_sockets_cost_little_and_stop_nobody() {
    raise_file_limit(IDLE_SOCKETS as u64 + OTHER_FILES);
    let stage = Stage::temporary().unwrap();
    let mut server = server(&stage);
    check_well(&mut server, "start");
    let mut sockets = Vec::with_capacity(IDLE_SOCKETS);
    for number in 0..IDLE_SOCKETS {
        let mut socket = connect(&server);
        // A third says nothing, a third begins a request, a third begins TLS.
        let begun: &[u8] = [&b""[..], b"GET /api HTTP/1.1\r\nHost:", b"\x16\x03\x01"][number % 3];
        socket.write_all(begun).unwrap();
        sockets.push(socket);
    }
    let held = std::fs::read_dir(format!("/proc/{}/fd", server.process().pid())).unwrap().count();
    println!("the server holds {held} files");
    // It may close the silent ones after its bounds, and a busy machine opens slowly. Where fewer wait to be
    // accepted than come at once, each of the others costs a second, and most are closed before the last.
    assert!(held >= IDLE_SOCKETS / 2, "only {held} sockets were held at once");
    check_well(&mut server, "10000 idle sockets");
    drop(sockets);
    check_well(&mut server, "their end");
    server.stop().unwrap();
}

#[test]
fn garbage_is_answered_or_closed_and_never_kills() {
    let seed = seed().unwrap();
    println!("LICENCE_SEED={seed}");
    let mut random = Random::new(seed);
    let stage = Stage::temporary().unwrap();
    let mut server = server(&stage);
    for round in 0..300 {
        let mut socket = connect(&server);
        let count = 1 + random.below(2000);
        let mut bytes: Vec<u8> = (0..count).map(|_| random.draw().to_le_bytes()[0]).collect();
        match round % 4 {
            0 => bytes[0] = 0x16,
            1 => bytes.splice(0..0, *b"POST /api/licences HTTP/1.1\r\n").for_each(drop),
            2 => bytes.splice(0..0, *b"GET / HTTP/1.1\r\nHost: x\r\nX: ").for_each(drop),
            _ => {}
        }
        // The server may hang up in the middle.
        drop(socket.write_all(&bytes));
        drop(socket.shutdown(std::net::Shutdown::Write));
        if round % 4 != 0
            && let Some(status) = status(&mut socket)
        {
            assert!((400..500).contains(&status), "LICENCE_SEED={seed}, round {round}: {status}");
        }
    }
    check_well(&mut server, "garbage");
}

#[test]
fn announced_gibibyte_is_refused_without_being_read() {
    let stage = Stage::temporary().unwrap();
    let mut server = server(&stage);
    for _ in 0..20 {
        let mut socket = connect(&server);
        let head = format!(
            "POST /api/licences HTTP/1.1\r\nHost: localhost\r\n{AUTH}Content-Type: application/json\r\n\
             Content-Length: 1073741824\r\n\r\n{{"
        );
        socket.write_all(head.as_bytes()).unwrap();
        assert_eq!(status(&mut socket), Some(413));
    }
    check_well(&mut server, "announced bodies");
}

#[test]
fn endless_chunked_body_is_cut_off() {
    let stage = Stage::temporary().unwrap();
    let mut server = server(&stage);
    let mut socket = connect(&server);
    let head = format!(
        "POST /api/licences HTTP/1.1\r\nHost: localhost\r\n{AUTH}Transfer-Encoding: chunked\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).unwrap();
    let chunk = [&b"10000\r\n"[..], &vec![b' '; 0x10000], b"\r\n"].concat();
    // Sixteen thousand chunks are a gibibyte; the server must end this long before.
    let sent = (0..16_384).take_while(|_| socket.write_all(&chunk).is_ok()).count();
    println!("{sent} chunks of 64 KiB were taken");
    assert!(sent < 1000, "{sent} chunks of 64 KiB were taken");
    check_well(&mut server, "an endless body");
}

#[test]
fn slow_clients_do_not_hold_up_others() {
    let stage = Stage::temporary().unwrap();
    let mut server = server(&stage);
    let mut slow: Vec<_> = (0..200).map(|_| connect(&server)).collect();
    let head = format!(
        "POST /api/licences HTTP/1.1\r\nHost: localhost\r\n{AUTH}Content-Length: 100\r\n\r\n"
    );
    for byte in head.as_bytes() {
        for socket in &mut slow {
            socket.write_all(&[*byte]).unwrap();
        }
    }
    for letter in b"{\"Activ" {
        for socket in &mut slow {
            socket.write_all(&[*letter]).unwrap();
        }
        check_well(&mut server, "another byte of 200 slow bodies");
    }
    for socket in slow {
        drop(socket);
    }
    wait_until(ANSWER_BOUND, "the server after slow clients", || {
        Ok((server.rest().get("/api/serverinfo")?["Version"] == "4.0.0").then_some(()))
    })
    .unwrap();
}
