//! Whether the reserve servers answer.
//!
//! Asks each for a sign of life, all at the same time and within a bound. Any answer in HTTP will
//! do: a server of another version may not know the address, and one that wants TLS refuses.

use std::time::Duration;

use licence_core::time::MonoTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Check;
use crate::clock;
use crate::config::DEFAULT_PORT;

/// How long one server may take: a server in the next room answers in milliseconds.
pub const ANSWER_BOUND: Duration = Duration::from_secs(2);

/// How long an answer is good for.
const FRESH_FOR: Duration = Duration::from_secs(10);

/// Servers that are asked at most; a component knows a handful.
const SERVERS_MAX: usize = 32;

/// How an answer in HTTP begins.
const PREFIX: &[u8] = b"HTTP/1.";

/// The check of these servers, each `host` or `host:port`.
pub async fn check(servers: &[String]) -> Check {
    if servers.is_empty() {
        return Check::ok("reserve", "Резервные серверы не заданы.", "No reserve servers are set.");
    }
    let looked = look(servers).await;
    let silent: Vec<_> =
        looked.into_iter().filter(|(_, answers)| !answers).map(|(server, _)| server).collect();
    if silent.is_empty() {
        return Check::ok(
            "reserve",
            format!("Резервные серверы отвечают: {}.", servers.len()),
            format!("Reserve servers that answer: {}.", servers.len()),
        );
    }
    let names = silent.join(", ");
    Check::warning(
        "reserve",
        format!("Не отвечают резервные серверы: {names}."),
        format!("Reserve servers do not answer: {names}."),
    )
    .advise(
        "Проверьте эти серверы, их порт и сетевой экран.",
        "Check those servers, their port and the firewall.",
    )
}

/// What the reserve servers answered last. The report may be asked for as often as anybody likes;
/// other servers are not to feel that.
#[derive(Debug, Default)]
pub struct ReserveCache {
    last: tokio::sync::Mutex<Option<(MonoTime, Vec<String>, Check)>>,
}

impl ReserveCache {
    /// The check of these servers, asked at most once in [`FRESH_FOR`]; who comes meanwhile waits for
    /// the same answers.
    pub async fn check(&self, servers: &[String]) -> Check {
        let mut last = self.last.lock().await;
        if let Some((at, asked, found)) = &*last
            && clock::mono().since(*at) < FRESH_FOR
            && asked == servers
        {
            return found.clone();
        }
        let found = check(servers).await;
        *last = Some((clock::mono(), servers.to_vec(), found.clone()));
        found
    }
}

/// Whether each of these servers answers, all asked at the same time.
pub async fn look(servers: &[String]) -> Vec<(String, bool)> {
    let asked: Vec<_> = servers
        .iter()
        .take(SERVERS_MAX)
        .map(|server| (server.clone(), tokio::spawn(answers(address(server)))))
        .collect();
    let mut looked = Vec::with_capacity(asked.len());
    for (server, answer) in asked {
        looked.push((server, answer.await.unwrap_or(false)));
    }
    looked
}

/// Whether something at `host:port` answers in HTTP within [`ANSWER_BOUND`].
pub async fn answers(address: String) -> bool {
    tokio::time::timeout(ANSWER_BOUND, ask(&address)).await.is_ok_and(|answer| {
        answer.inspect_err(|error| log::debug!("reserve server {address}: {error}")).is_ok()
    })
}

async fn ask(address: &str) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let request = format!("GET /health/live HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut prefix = [0; PREFIX.len()];
    stream.read_exact(&mut prefix).await?;
    if prefix == PREFIX { Ok(()) } else { Err(std::io::ErrorKind::InvalidData.into()) }
}

/// `host:port`, with the manual's port when none is named.
fn address(server: &str) -> String {
    let has_port = match server.rsplit_once(':') {
        // Colons without brackets are an IPv6 address without a port.
        Some((host, port)) => {
            port.parse::<u16>().is_ok() && (!host.contains(':') || host.ends_with(']'))
        }
        None => false,
    };
    if has_port {
        server.to_owned()
    } else if server.contains(':') && !server.starts_with('[') {
        format!("[{server}]:{DEFAULT_PORT}")
    } else {
        format!("{server}:{DEFAULT_PORT}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn server_without_a_port_has_the_one_of_the_manual() {
        for (server, expected) in [
            ("mora", "mora:9099"),
            ("mora:80", "mora:80"),
            ("192.168.1.2", "192.168.1.2:9099"),
            ("::1", "[::1]:9099"),
            ("[::1]", "[::1]:9099"),
            ("[::1]:80", "[::1]:80"),
        ] {
            assert_eq!(address(server), expected);
        }
    }

    #[tokio::test]
    async fn server_that_answers_is_told_from_one_that_speaks_something_else_and_one_that_is_gone()
    {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let name = |listener: &tokio::net::TcpListener| listener.local_addr().unwrap().to_string();
        let (good, bad, lost) = (name(&listener), name(&other), name(&gone));
        drop(gone);
        for (listener, answer) in
            [(listener, "HTTP/1.1 403 Forbidden\r\n\r\n"), (other, "220 mail.example ESMTP\r\n")]
        {
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    drop(stream.write_all(answer.as_bytes()).await);
                    // Until the other side has read it.
                    drop(stream.read_to_end(&mut Vec::new()).await);
                }
            });
        }
        assert_eq!(check(&[]).await.state, State::Ok);
        assert_eq!(check(std::slice::from_ref(&good)).await.state, State::Ok);
        let mixed = check(&[good.clone(), bad.clone(), lost.clone()]).await;
        assert_eq!(mixed.state, State::Warning);
        assert!(mixed.english.contains(&bad) && mixed.english.contains(&lost));
        assert!(!mixed.english.contains(&good), "{}", mixed.english);
    }

    #[tokio::test]
    async fn servers_are_asked_once_for_reports_that_follow_each_other() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let servers = [listener.local_addr().unwrap().to_string()];
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            drop(stream.read_to_end(&mut Vec::new()).await);
            // Gone: whoever asks again is refused.
            drop(listener);
        });
        let cache = ReserveCache::default();
        assert_eq!(cache.check(&servers).await.state, State::Ok);
        asked.await.unwrap();
        assert_eq!(cache.check(&servers).await.state, State::Ok);
        assert_eq!(check(&servers).await.state, State::Warning);
    }
}
