//! Whether reserve servers answer: one question to each, all at the same time, each bounded.
//!
//! What follows from an answer is [`super::rules`]' business.

use std::time::Duration;

use tokio::task::JoinSet;

/// How long a reserve server may take: as long as a component waits for a silent one.
const LOOK_SECS_MAX: u64 = 3;

/// Asks each server whether it is ready.
pub(super) async fn look(servers: Vec<String>) -> Vec<(String, bool)> {
    let mut looks = JoinSet::new();
    for (place, server) in servers.iter().cloned().enumerate() {
        looks.spawn_blocking(move || (place, answers(&server)));
    }
    let mut found: Vec<_> = servers.into_iter().map(|server| (server, false)).collect();
    while let Some(outcome) = looks.join_next().await {
        if let Ok((place, is_ready)) = outcome
            && let Some(entry) = found.get_mut(place)
        {
            entry.1 = is_ready;
        }
    }
    found
}

/// Whether `host:port` says that it is ready.
fn answers(server: &str) -> bool {
    let agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(LOOK_SECS_MAX)))
        .max_redirects(0)
        .max_idle_connections(0)
        .proxy(None)
        .build()
        .new_agent();
    agent.get(format!("http://{server}/health/ready")).call().is_ok()
}
