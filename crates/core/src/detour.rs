//! Where to go on when the server in use answers and grants nothing: a node cut off from its cluster.
//!
//! Decides which other servers of the list are asked then, in which order, and how often: those
//! behind the one in use, each once, and after a search in which nobody granted anything none for a
//! while. The server in use is left only for one that has granted a session, so that a cluster
//! without etcd moves nobody; and not again for [`MOVE_REST`], so that two nodes that are cut off by
//! turns are not run to and fro. What is no refusal of that kind never leads here: that server is
//! lost, or right, which is decided in [`crate::failover`] and by the caller. As there, sockets and
//! clocks are the caller's.

use std::time::Duration;

use crate::failover::{BACKOFF_FIRST, BACKOFF_LAST, Failover, Server, TRY_BOUND};
use crate::time::MonoTime;

/// How long after a move no other server is looked for: three heartbeats, in which every session has
/// been heard of at its new server.
pub const MOVE_REST: Duration = Duration::from_secs(30);

/// After so long without a search the pause is the first one again: it is another trouble.
const CALM: Duration = Duration::from_secs(60);

#[derive(Clone, Debug)]
enum State {
    /// Nobody is looked for.
    Idle,
    /// `left` holds the servers still to try, the next one last.
    Searching { left: Vec<Server>, give_up_at: Option<MonoTime> },
    /// `server` can be asked; `left` as before.
    Found { server: Server, left: Vec<Server> },
}

/// The search for a server that grants what the one in use cannot.
#[derive(Clone, Debug)]
pub struct Detour {
    state: State,
    /// When the last search began.
    begun_at: MonoTime,
    /// No search begins before.
    not_before: MonoTime,
    pause: Duration,
}

impl Default for Detour {
    fn default() -> Self {
        let never = MonoTime::from_millis(0);
        Self { state: State::Idle, begun_at: never, not_before: never, pause: BACKOFF_FIRST }
    }
}

impl Detour {
    /// The server that `failover` keeps grants a session nothing: a search begins, unless it is too
    /// early for one or there is no other server. True while there is somebody to wait for or to ask.
    pub fn begin(&mut self, failover: &Failover, now: MonoTime) -> bool {
        if !matches!(self.state, State::Idle) {
            return true;
        }
        if now < self.not_before {
            return false;
        }
        let mut left = failover.others();
        if left.is_empty() {
            return false;
        }
        left.reverse();
        if now.since(self.not_before) >= CALM {
            self.pause = BACKOFF_FIRST;
        }
        self.begun_at = now;
        self.state = State::Searching { left, give_up_at: None };
        true
    }

    /// Whether a server is to be tried.
    pub const fn is_searching(&self) -> bool {
        matches!(self.state, State::Searching { .. })
    }

    /// The server to try at `now`, and when to give it up; nothing when none is to be tried. Asking
    /// again before the outcome is told gives the same server; a try whose time is over has failed.
    pub fn poll(&mut self, now: MonoTime) -> Option<(Server, MonoTime)> {
        loop {
            let State::Searching { left, give_up_at } = &mut self.state else { return None };
            let Some(server) = left.last() else {
                self.pause_from(now);
                return None;
            };
            let at = *give_up_at.get_or_insert(now.after(TRY_BOUND));
            if now < at {
                return Some((server.clone(), at));
            }
            left.pop();
            *give_up_at = None;
        }
    }

    /// `server` answers and can be asked for sessions.
    pub fn handle_answer(&mut self, server: &Server) {
        if let State::Searching { left, .. } = &mut self.state
            && left.last() == Some(server)
        {
            left.pop();
            self.state = State::Found { server: server.clone(), left: std::mem::take(left) };
        }
    }

    /// `server` cannot be reached, or grants nothing either. News of one that is neither tried nor
    /// found is old and changes nothing.
    pub fn handle_failure(&mut self, server: &Server, now: MonoTime) {
        let left = match &mut self.state {
            State::Searching { left, .. } if left.last() == Some(server) => {
                left.pop();
                std::mem::take(left)
            }
            State::Found { server: found, left } if found == server => std::mem::take(left),
            State::Idle | State::Searching { .. } | State::Found { .. } => return,
        };
        if left.is_empty() {
            self.pause_from(now);
        } else {
            self.state = State::Searching { left, give_up_at: None };
        }
    }

    /// The server that was found has granted a session, and is in use from here on.
    pub fn handle_move(&mut self, now: MonoTime) {
        self.state = State::Idle;
        self.not_before = now.after(MOVE_REST);
        self.pause = BACKOFF_FIRST;
    }

    /// Nobody is looked for any more: the server in use is lost, or nobody asked the one that was
    /// found. When a search may begin is not forgotten.
    pub fn cancel(&mut self) {
        self.state = State::Idle;
    }

    /// As long as the search took at least: silent servers never take more than half of the time.
    fn pause_from(&mut self, now: MonoTime) {
        self.state = State::Idle;
        self.not_before = now.after(self.pause.max(now.since(self.begun_at)));
        self.pause = (self.pause * 2).min(BACKOFF_LAST);
    }
}
