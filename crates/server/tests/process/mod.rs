//! The program itself as a child process: started, asked over plain HTTP, signalled, stopped.

#![expect(dead_code, reason = "each test file uses its part")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// Bound of everything that is waited for. A start takes well below a second; the longest pause
/// between two attempts in these tests is 5 s.
pub(crate) const BOUND: Duration = Duration::from_secs(60);

/// What the ready line begins with.
const READY: &str = "listens on ";

/// `admin:admin` as Basic credentials.
const BASIC: &str = "Basic YWRtaW46YWRtaW4=";

/// The program on this data, on any free port of this computer.
pub(crate) fn program(base: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_licenceserver"));
    command.args(arguments).arg("--data").arg(base);
    command.args(["--address", "127.0.0.1", "--port", "0"]);
    command
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Receives until a message holds `word`; gives all lines that came.
pub(crate) fn hear(socket: &UnixDatagram, word: &str) -> Vec<String> {
    socket.set_read_timeout(Some(BOUND)).unwrap();
    let mut heard = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let length = socket
            .recv(&mut buffer)
            .unwrap_or_else(|error| panic!("{word} did not come: {error}; {heard:?}"));
        let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let is_it = message.lines().any(|line| line == word);
        heard.extend(message.lines().map(str::to_owned));
        if is_it {
            return heard;
        }
    }
}

/// How a child ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) log: String,
}

#[derive(Default)]
struct Log {
    lines: Mutex<String>,
    grown: Condvar,
}

/// A running server. Dropping it kills it.
pub(crate) struct Running {
    child: Child,
    ready: Receiver<String>,
    log: Arc<Log>,
    address: SocketAddr,
}

impl Running {
    /// Starts it and waits for its ready line.
    pub(crate) fn start(command: Command) -> Self {
        let mut running = Self::launch(command);
        running.next_ready_line();
        running
    }

    /// Starts it.
    pub(crate) fn launch(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (sender, ready) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let log = Arc::new(Log::default());
        let (stderr, kept) = (BufReader::new(child.stderr.take().unwrap()), Arc::clone(&log));
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let mut lines = kept.lines.lock().unwrap();
                lines.push_str(&line);
                lines.push('\n');
                kept.grown.notify_all();
            }
        });
        Self { child, ready, log, address: ([127, 0, 0, 1], 0).into() }
    }

    /// Waits for the next line by which the server says that it listens.
    pub(crate) fn next_ready_line(&mut self) {
        let line = self.ready.recv_timeout(BOUND).unwrap_or_else(|error| {
            panic!("no ready line: {error}; {}", self.log.lines.lock().unwrap())
        });
        let (_, address) = line.rsplit_once(READY).unwrap_or_else(|| panic!("{line:?}"));
        self.address = address.trim().parse().unwrap();
    }

    /// Waits until a server that cannot open its data says where it answers 503.
    pub(crate) fn wait_closed(&mut self) {
        const CLOSED: &str = "answering 503 on ";
        self.wait_log(CLOSED);
        let log = self.log();
        let (_, after) = log.split_once(CLOSED).unwrap();
        let address: String = after.chars().take_while(|c| !c.is_whitespace()).collect();
        self.address = address.parse().unwrap_or_else(|error| panic!("{address}: {error}"));
    }

    /// Waits until the log holds a part.
    pub(crate) fn wait_log(&self, part: &str) {
        let lines = self.log.lines.lock().unwrap();
        let waited =
            self.log.grown.wait_timeout_while(lines, BOUND, |lines| !lines.contains(part)).unwrap();
        assert!(waited.0.contains(part), "no {part:?} in the log: {}", waited.0);
    }

    pub(crate) fn log(&self) -> String {
        self.log.lines.lock().unwrap().clone()
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let name = format!("-{name}");
        assert!(Command::new("kill").args([&name, &pid]).status().unwrap().success());
    }

    /// Status and body of an answer; nothing when none came.
    pub(crate) fn try_call(&self, method: &str, path: &str) -> Option<(u16, String)> {
        self.try_call_as(BASIC, method, path, "")
    }

    /// The same with these credentials and this body.
    pub(crate) fn try_call_as(
        &self,
        credentials: &str,
        method: &str,
        path: &str,
        body: &str,
    ) -> Option<(u16, String)> {
        let mut stream = self.send(credentials, method, path, body)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let status = answer.split_whitespace().nth(1)?.parse().ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        Some((status, body.to_owned()))
    }

    /// Sends a request and reads nothing.
    pub(crate) fn send(
        &self,
        credentials: &str,
        method: &str,
        path: &str,
        body: &str,
    ) -> Option<TcpStream> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream.set_read_timeout(Some(BOUND)).ok()?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {credentials}\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
        .ok()?;
        Some(stream)
    }

    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        self.try_call("GET", path).unwrap_or_else(|| panic!("no answer: {}", self.log()))
    }

    pub(crate) fn post(&self, path: &str) -> (u16, String) {
        self.try_call("POST", path).unwrap_or_else(|| panic!("no answer: {}", self.log()))
    }

    /// Asks again and again, at most [`BOUND`], until the answer has this status.
    pub(crate) fn wait_status(&self, path: &str, status: u16) -> String {
        let start = licenceserver::clock::mono();
        loop {
            let answer = self.try_call("GET", path);
            if let Some((got, body)) = &answer
                && *got == status
            {
                return body.clone();
            }
            let spent = licenceserver::clock::mono().since(start);
            assert!(spent < BOUND, "{path}: {answer:?} instead of {status}: {}", self.log());
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// Waits for its end.
    pub(crate) fn ended(mut self) -> Ended {
        let code = self.child.wait().unwrap().code();
        // The reader ends with the child's end of the pipe.
        let start = licenceserver::clock::mono();
        while Arc::strong_count(&self.log) > 1 && licenceserver::clock::mono().since(start) < BOUND
        {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        Ended { code, log: self.log() }
    }

    /// SIGTERM, and waits for the end.
    pub(crate) fn stop(self) -> Ended {
        self.signal("TERM");
        self.ended()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
