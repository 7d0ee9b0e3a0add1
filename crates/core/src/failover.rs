//! Which server of a list to talk to, and when to try again.
//!
//! The list is walked in order until one server answers; that one is then kept. When it fails, the
//! walk begins at the top of the list with the failed server last. After a walk in which nobody
//! answered the next one waits, longer each time up to a bound. Sockets, clocks and the meaning of
//! "answers" are the caller's: it asks [`Failover::poll`] what to do and tells what came of it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::time::MonoTime;

/// Port of a server where none is named (manual, `ServerPort`).
pub const DEFAULT_PORT: u16 = 9099;

/// All that one attempt may cost, from the look-up of the name to the answer: a silent server, or
/// a resolver that does not answer, delays the next one by no more than this.
pub const TRY_BOUND: Duration = Duration::from_secs(3);

/// Pause after the first fruitless walk; doubles with each further one.
pub const BACKOFF_FIRST: Duration = Duration::from_secs(1);

/// Longest pause between two fruitless walks: an administrator who started the server should not
/// wonder for longer whether the component noticed.
pub const BACKOFF_LAST: Duration = Duration::from_secs(10);

/// Most servers in a list. A walk over more silent servers than this takes minutes, and nobody
/// runs as many for one company.
pub const SERVERS_MAX: usize = 32;

/// Longest host name in bytes (RFC 1035, section 2.3.4).
const HOST_BYTES_MAX: usize = 253;

/// Where a licence server listens.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Server {
    /// Host name or IP address; an IPv6 address without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// The text is not `host[:port]`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a server is host[:port], an IPv6 address with a port in brackets")]
pub struct ParseServerError;

impl Server {
    /// A server by its parts.
    ///
    /// # Errors
    ///
    /// When the host is empty, too long or holds blanks, slashes or control characters, or the
    /// port is 0.
    pub fn new(host: &str, port: u16) -> Result<Self, ParseServerError> {
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let odd = |c: char| c.is_whitespace() || c.is_control() || "/\\@,;=[]".contains(c);
        if host.is_empty() || host.len() > HOST_BYTES_MAX || host.contains(odd) || port == 0 {
            return Err(ParseServerError);
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for Server {
    type Err = ParseServerError;

    /// Reads `host`, `host:port`, `[IPv6]`, `[IPv6]:port` or a bare IPv6 address; without a port
    /// it is [`DEFAULT_PORT`].
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let (host, port) = if text.starts_with('[') {
            let (host, rest) = text.split_once(']').ok_or(ParseServerError)?;
            let port = match rest.strip_prefix(':') {
                Some(port) => Some(port),
                None if rest.is_empty() => None,
                None => return Err(ParseServerError),
            };
            (host.trim_start_matches('['), port)
        } else if text.matches(':').count() > 1 {
            (text, None)
        } else {
            match text.split_once(':') {
                Some((host, port)) => (host.trim(), Some(port.trim())),
                None => (text, None),
            }
        };
        let port = match port {
            None => DEFAULT_PORT,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().map_err(|_| ParseServerError)?
            }
            Some(_) => return Err(ParseServerError),
        };
        Self::new(host, port)
    }
}

/// What to do at a moment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// A server answers: keep to it.
    Stay(Server),
    /// Try this server; an attempt that is not over by `give_up_at` has failed.
    Try {
        /// The server.
        server: Server,
        /// When to give it up.
        give_up_at: MonoTime,
    },
    /// Nobody answered: do nothing before this moment.
    Wait(MonoTime),
}

#[derive(Clone, Debug)]
enum State {
    Kept {
        server: usize,
    },
    Pausing {
        until: MonoTime,
    },
    /// Walking; `left` holds the servers still to try, the next one last.
    Walking {
        left: Vec<usize>,
        give_up_at: Option<MonoTime>,
    },
}

/// The choice of a server.
#[derive(Clone, Debug)]
pub struct Failover {
    servers: Vec<Server>,
    state: State,
    pause: Duration,
}

impl Failover {
    /// A walk that begins at the top of `servers`. A server named twice counts once, and servers
    /// past [`SERVERS_MAX`] are left out.
    pub fn new(servers: Vec<Server>) -> Self {
        let mut unique: Vec<Server> = Vec::new();
        for server in servers {
            if unique.len() < SERVERS_MAX && !unique.contains(&server) {
                unique.push(server);
            }
        }
        let left = (0..unique.len()).rev().collect();
        Self {
            servers: unique,
            state: State::Walking { left, give_up_at: None },
            pause: BACKOFF_FIRST,
        }
    }

    /// The servers, in order.
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// The server that answers, if one does.
    pub fn kept(&self) -> Option<&Server> {
        match &self.state {
            State::Kept { server } => self.servers.get(*server),
            State::Pausing { .. } | State::Walking { .. } => None,
        }
    }

    /// The other servers, as the list goes on behind the one that is kept; none while none is kept.
    pub fn others(&self) -> Vec<Server> {
        let State::Kept { server: kept } = &self.state else { return Vec::new() };
        let behind = self.servers.iter().skip(kept + 1);
        behind.chain(self.servers.iter().take(*kept)).cloned().collect()
    }

    /// Until when there is nothing to do, if that is later than `now`; nothing when a server is
    /// kept or one is to be tried. Unlike [`Self::poll`] this starts no attempt's time, so whoever
    /// only plans its work may ask as often as it likes.
    pub fn waits_until(&self, now: MonoTime) -> Option<MonoTime> {
        match &self.state {
            State::Pausing { until } if now < *until => Some(*until),
            State::Kept { .. } | State::Pausing { .. } | State::Walking { .. } => None,
        }
    }

    /// What to do at `now`. The time of an attempt begins when it is first answered here. Asking
    /// again before the outcome is told gives the same step; a try whose time is over counts as
    /// failed.
    pub fn poll(&mut self, now: MonoTime) -> Step {
        loop {
            match &mut self.state {
                State::Kept { server } => match self.servers.get(*server) {
                    Some(server) => return Step::Stay(server.clone()),
                    None => self.walk(None),
                },
                State::Pausing { until } if now < *until => return Step::Wait(*until),
                State::Pausing { .. } => self.walk(None),
                State::Walking { left, give_up_at } => {
                    let Some(server) = left.last().and_then(|next| self.servers.get(*next)) else {
                        self.pause_from(now);
                        continue;
                    };
                    let at = *give_up_at.get_or_insert(now.after(TRY_BOUND));
                    if now < at {
                        return Step::Try { server: server.clone(), give_up_at: at };
                    }
                    left.pop();
                    *give_up_at = None;
                }
            }
        }
    }

    /// `server` answered and is kept from here on.
    pub fn handle_answer(&mut self, server: &Server) {
        if let Some(index) = self.servers.iter().position(|known| known == server) {
            self.state = State::Kept { server: index };
            self.pause = BACKOFF_FIRST;
        }
    }

    /// `server` failed: refused, fell silent, or did not prove itself. News of a server that is
    /// neither kept nor being tried is old and changes nothing.
    pub fn handle_failure(&mut self, server: &Server, now: MonoTime) {
        let Some(index) = self.servers.iter().position(|known| known == server) else { return };
        match &mut self.state {
            State::Kept { server: kept } if *kept == index => self.walk(Some(index)),
            State::Walking { left, give_up_at } if left.last() == Some(&index) => {
                left.pop();
                *give_up_at = None;
                if left.is_empty() {
                    self.pause_from(now);
                }
            }
            State::Kept { .. } | State::Pausing { .. } | State::Walking { .. } => {}
        }
    }

    /// Somebody is waiting for an answer: ends a pause, and a walk begins at the next
    /// [`Self::poll`]. The length of the next pause is not forgotten.
    pub fn hurry(&mut self) {
        if matches!(self.state, State::Pausing { .. }) {
            self.walk(None);
        }
    }

    fn walk(&mut self, last: Option<usize>) {
        let mut left: Vec<usize> =
            (0..self.servers.len()).rev().filter(|index| Some(*index) != last).collect();
        if let Some(last) = last {
            left.insert(0, last);
        }
        self.state = State::Walking { left, give_up_at: None };
    }

    fn pause_from(&mut self, now: MonoTime) {
        self.state = State::Pausing { until: now.after(self.pause) };
        self.pause = (self.pause * 2).min(BACKOFF_LAST);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn server_is_read_with_and_without_a_port() {
        for (text, host, port, shown) in [
            ("srv", "srv", 9099, "srv:9099"),
            (" srv : 9100 ", "srv", 9100, "srv:9100"),
            ("10.0.0.1:80", "10.0.0.1", 80, "10.0.0.1:80"),
            ("[::1]:9100", "::1", 9100, "[::1]:9100"),
            ("[::1]", "::1", 9099, "[::1]:9099"),
            ("fe80::1", "fe80::1", 9099, "[fe80::1]:9099"),
            ("сервер", "сервер", 9099, "сервер:9099"),
        ] {
            let server: Server = text.parse().unwrap();
            assert_eq!((server.host.as_str(), server.port), (host, port), "{text}");
            assert_eq!(server.to_string(), shown, "{text}");
        }
        for bad in
            ["", ":9099", "srv:", "srv:0", "srv:65536", "srv:+1", "a b", "http://srv", "[::1"]
        {
            // An empty port is refused too: it is a slip of the pen more often than a wish.
            assert!(bad.parse::<Server>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_server_or_refused(text in ".{0,40}") {
            if let Ok(server) = text.parse::<Server>() {
                prop_assert_eq!(server.to_string().parse::<Server>(), Ok(server));
            }
        }
    }
}
