//! `/metrics` of a live server, and the examples that rest on its names.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod support;

use std::collections::BTreeSet;

use support::start;

/// Names of our metrics in a text: of the scrape, an alert rule or a dashboard.
fn names(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c| !is_part(c))
        .filter(|word| word.starts_with("licence_") || word.starts_with("process_"))
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn every_metric_of_the_examples_and_of_the_manual_page_is_in_a_scrape() {
    let server = start("");
    let connection = server.connect().await;
    let mut ids = Vec::new();
    for number in 1..=6 {
        ids.push(server.open(&connection, number).await.json()["ID"].clone());
    }
    let path = format!("/api/sessions/{}", ids[0].as_str().unwrap());
    assert_eq!(server.call("DELETE", &path, r#"{"Reason":"test"}"#).await.status, 202);
    let message = serde_json::json!({"Connection": connection, "Sessions": []});
    assert_eq!(server.message("/client/v1/heartbeat", &message).await.status, 200);
    server.app.metrics.notice("use", "sent");
    let scrape = server.call("GET", "/metrics", "").await;
    assert_eq!(scrape.status, 200, "{scrape:?}");
    let mut there = names(&scrape.body);
    // This key's term has no end.
    assert!(there.insert("licence_key_expiry_days".to_owned()));
    // This server's identity is sealed to nothing that could change.
    // No session key is kept, and this is no reserve.
    for name in ["key_left_seconds", "replica_age_seconds"] {
        there.insert(format!("licence_ismp_{name}"));
    }
    for name in ["parts", "parts_allowed", "grace_days_left"] {
        there.insert(format!("licence_binding_{name}"));
    }
    for (file, text) in [
        ("alerts.yml", include_str!("../../../examples/prometheus/alerts.yml")),
        ("licenceserver.json", include_str!("../../../examples/grafana/licenceserver.json")),
        ("monitoring.md", include_str!("../../../docs/monitoring.md")),
    ] {
        let wanted = names(text);
        assert!(wanted.len() > 5, "{file}");
        // This server is no node of a cluster, whose gauges have a test of their own.
        for name in wanted.into_iter().filter(|name| !name.starts_with("licence_cluster_")) {
            assert!(there.contains(&name), "{file} names {name}");
        }
    }
    for line in [
        "licence_seats{series=\"672B\",state=\"used\"} 4",
        "licence_denials_total{series=\"672B\",reason=\"ENoFreeLicence\"} 1",
        "licence_sessions_opened_total 5",
        "licence_sessions_ended_total{reason=\"revoked\"} 1",
        "licence_heartbeat_seconds_count 1",
        "licence_open_seconds_count 6",
        "licence_key_usable{series=\"672B\",key_no=\"7131766\"} 1",
    ] {
        assert!(scrape.body.lines().any(|found| found == line), "{line}\n{}", scrape.body);
    }
}

#[test]
fn dashboard_is_json_with_a_query_in_every_panel() {
    let text = include_str!("../../../examples/grafana/licenceserver.json");
    let dashboard: serde_json::Value = serde_json::from_str(text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() > 5);
    for panel in panels {
        assert!(panel["targets"][0]["expr"].as_str().is_some_and(|e| !e.is_empty()), "{panel}");
    }
}
