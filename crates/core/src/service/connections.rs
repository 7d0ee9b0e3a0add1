//! Connections: they come, beat and go. Sessions outlive them.

use std::sync::Arc;

use super::{CONNECTIONS_MAX, Effect, LicenceService, Reply, RequestId, TEXT_BYTES_TOTAL_MAX};
use crate::journal::{Record, SavedConnection};
use crate::key::KeySeries;
use crate::protocol::{
    CODE_BYTES_MAX, ConnectionInfo, HEARTBEAT_SESSIONS_MAX, NAME_BYTES_MAX, TEXT_BYTES_MAX,
};
use crate::refusal::Refusal;
use crate::session::{Connection, ConnectionId, EndReason, SessionId};
use crate::time::Now;

impl LicenceService {
    pub(super) fn handle_connect(
        &mut self,
        request: RequestId,
        id: ConnectionId,
        saved: SavedConnection,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let refusal = if self.connections.len() >= CONNECTIONS_MAX {
            Some(Refusal::Limit { max: CONNECTIONS_MAX })
        } else if self.text_bytes + connection_bytes(&saved.info) > TEXT_BYTES_TOTAL_MAX {
            Some(Refusal::Limit { max: TEXT_BYTES_TOTAL_MAX })
        } else {
            invalid_connection(&saved.info)
        };
        if let Some(refusal) = refusal {
            effects.push(Effect::Reply(request, Reply::Refused(refusal)));
            return;
        }
        self.add_connection(id, saved.clone(), now);
        effects.push(Effect::Persist(Record::ConnectionOpened { id, connection: saved }));
        effects.push(Effect::Reply(request, Reply::Connected(id)));
    }

    pub(super) fn add_connection(&mut self, id: ConnectionId, saved: SavedConnection, now: Now) {
        let connection = Connection {
            series: saved.series,
            peer: saved.peer,
            info: saved.info,
            created: saved.created,
            last_used: now.utc,
            last_used_mono: now.mono,
            looked_at: self.connection_ends(now.mono),
        };
        self.text_bytes += connection_bytes(&connection.info);
        self.counts.entry(connection.series).or_default().connections += 1;
        self.connection_expiry.insert((connection.looked_at, id));
        self.connections.insert(id, connection);
    }

    pub(super) fn heartbeat(
        &mut self,
        id: ConnectionId,
        sessions: &[SessionId],
        now: Now,
        effects: &mut Vec<Effect>,
    ) -> Reply {
        if sessions.len() > HEARTBEAT_SESSIONS_MAX {
            return Reply::Refused(Refusal::Limit { max: HEARTBEAT_SESSIONS_MAX });
        }
        let Some(connection) = self.connections.get_mut(&id) else {
            return Reply::Refused(Refusal::ConnectionNotFound);
        };
        connection.last_used = now.utc;
        connection.last_used_mono = now.mono;
        let series = connection.series;
        let half = self.config.session_life / 2;
        let is_held_up = self.is_held_up(now);
        let mut gone = Vec::new();
        let mut renewed = Vec::new();
        for session_id in sessions {
            if is_held_up && self.is_session_paused(session_id, now) {
                gone.push((*session_id, EndReason::Isolated));
                continue;
            }
            match self.sessions.get_mut(session_id).filter(|session| session.series == series) {
                Some(session) => {
                    session.touched = now.mono;
                    let is_due =
                        session.key_no.is_some() && now.mono.since(session.lease_issued) >= half;
                    if is_due {
                        session.lease_issued = now.mono;
                    }
                    if session.connection != id {
                        // 1C moved the session to another process: it must not end with the old
                        // one's exit.
                        self.by_connection.remove(&(session.connection, *session_id));
                        self.by_connection.insert((id, *session_id));
                        session.connection = id;
                        effects.push(Effect::Persist(Record::SessionMoved {
                            id: *session_id,
                            connection: id,
                            key_no: session.key_no,
                            wish: Arc::clone(&session.wish),
                            at: now.utc,
                        }));
                    }
                    if is_due {
                        renewed.push(self.grant(*session_id, true));
                    }
                }
                None => gone.push((*session_id, self.end_reason(session_id))),
            }
        }
        Reply::Heartbeat { gone, renewed: renewed.into_iter().flatten().collect() }
    }

    fn end_reason(&self, session: &SessionId) -> EndReason {
        self.ended.get(session).copied().unwrap_or(EndReason::Unknown)
    }

    /// Marks a connection as used and tells its series.
    pub(super) fn use_connection(&mut self, id: ConnectionId, now: Now) -> Option<KeySeries> {
        let connection = self.connections.get_mut(&id)?;
        connection.last_used = now.utc;
        connection.last_used_mono = now.mono;
        Some(connection.series)
    }

    pub(super) fn handle_disconnect(
        &mut self,
        request: RequestId,
        id: ConnectionId,
        end_sessions: bool,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        if !self.connections.contains_key(&id) {
            effects.push(Effect::Reply(request, Reply::Refused(Refusal::ConnectionNotFound)));
            return;
        }
        if end_sessions {
            let first = SessionId::from_bytes([0; 16]);
            let last = SessionId::from_bytes([0xFF; 16]);
            let of_connection: Vec<_> = self
                .by_connection
                .range((id, first)..=(id, last))
                .map(|&(_, session)| session)
                .collect();
            for session in of_connection {
                self.end_session(session, EndReason::ProcessExit, now, effects);
            }
        }
        let reason = if end_sessions { EndReason::ProcessExit } else { EndReason::Released };
        self.end_connection(id, reason, now, effects);
        effects.push(Effect::Reply(request, Reply::Done));
    }

    pub(super) fn end_connection(
        &mut self,
        id: ConnectionId,
        reason: EndReason,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(connection) = self.connections.remove(&id) {
            self.connection_expiry.remove(&(connection.looked_at, id));
            self.text_bytes -= connection_bytes(&connection.info);
            if let Some(counts) = self.counts.get_mut(&connection.series) {
                counts.connections -= 1;
            }
            effects.push(Effect::Persist(Record::ConnectionClosed { id, reason, at: now.utc }));
        }
    }
}

pub(super) fn too_long(field: &'static str, text: &str, bytes_max: usize) -> Option<Refusal> {
    (text.len() > bytes_max).then_some(Refusal::Invalid { field, bytes_max })
}

/// Bytes of text that a connection holds.
pub(super) fn connection_bytes(info: &ConnectionInfo) -> usize {
    [
        &info.os_version,
        &info.computer_name,
        &info.local_ip,
        &info.process,
        &info.cpu,
        &info.pid,
        &info.platform_version,
        &info.module_name,
        &info.version,
    ]
    .into_iter()
    .map(String::len)
    .sum::<usize>()
        + info.terminal_client.as_ref().map_or(0, String::len)
}

fn invalid_connection(info: &ConnectionInfo) -> Option<Refusal> {
    let terminal = info.terminal_client.as_deref().unwrap_or_default();
    [
        ("OSVersion", info.os_version.as_str(), NAME_BYTES_MAX),
        ("ComputerName", &info.computer_name, NAME_BYTES_MAX),
        ("LocalIP", &info.local_ip, TEXT_BYTES_MAX),
        ("Process", &info.process, TEXT_BYTES_MAX),
        ("CPU", &info.cpu, CODE_BYTES_MAX),
        ("PID", &info.pid, CODE_BYTES_MAX),
        ("PlatformVersion", &info.platform_version, NAME_BYTES_MAX),
        ("ModuleName", &info.module_name, TEXT_BYTES_MAX),
        ("Version", &info.version, NAME_BYTES_MAX),
        ("TerminalClient", terminal, NAME_BYTES_MAX),
    ]
    .into_iter()
    .find_map(|(field, text, bytes_max)| too_long(field, text, bytes_max))
}
