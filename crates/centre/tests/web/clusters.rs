//! Pages about keys that the nodes of a cluster share: the settings, the vendor's button and the
//! customer's page, each for one node.

use licence_core::activation::ActivationCode;
use serde_json::json;

use super::*;

/// The id of the computer of a node.
fn computer(node: u8) -> String {
    format!("{node:X}").repeat(40)
}

/// Activates a code as a node of a cluster; the id of the activation.
fn join(centre: &Running, code: ActivationCode, node: u8) -> Result<String, String> {
    let key = server(node);
    let mut asked = request(&key, code);
    asked.cluster = "AB".repeat(16).parse().ok();
    asked.computer_id = computer(node);
    let answer = centre.activate(&asked, &key);
    if answer.status != 201 {
        return Err(answer.exception());
    }
    let document = answer.body["Licence"].as_str().unwrap();
    let read = licence_core::licence_file::Licence::verify(document, &support::series_key());
    Ok(read.unwrap().claims.jti)
}

#[test]
fn vendor_allows_clusters_releases_one_node_and_the_customer_draws_a_code_for_another() {
    let site = site();
    let centre = &site.centre;
    let mut ada = Browser::new(centre);
    ada.log_in("ada");
    let settle = |ada: &mut Browser<'_>, nodes: &str| {
        let form = [("moves_max", "4"), ("cluster_nodes", nodes)];
        ada.send("/vendor/series/672B", "/vendor/series/672B", &form)
    };
    let page = settle(&mut ada, "6");
    assert_eq!(page.status, 400);
    page.has("ClusterNodes");
    assert_eq!(settle(&mut ada, "2").location, "/vendor/series/672B?done=series_saved");
    ada.get("/vendor/series/672B")
        .has("name=\"cluster_nodes\" type=\"number\" min=\"0\" max=\"5\" required value=\"2\"");

    // An order says otherwise than its series.
    let form = [
        ("series", "672B"),
        ("kind", "main"),
        ("seats", "5"),
        ("count", "1"),
        ("cluster_nodes", "3"),
    ];
    let page = ada.send("/vendor/orders/new", "/vendor/orders", &form);
    assert_eq!(page.status, 303, "{}", page.body);
    let order = page.location.split('?').next().unwrap().to_owned();
    let csv = ada.get(&format!("{order}/codes.csv"));
    let code: ActivationCode = between(&csv.body, "\r\n", ";").parse().unwrap();
    let nodes: Vec<_> = (1..=3).map(|node| join(centre, code, node).unwrap()).collect();
    assert_eq!(join(centre, code, 4), Err("EClusterFull".to_owned()));

    // The vendor names the node.
    let found = ada.get(&format!("/vendor/keys?query={code}"));
    let number = between(&found.body, "href=\"/vendor/keys/", "\"").to_owned();
    let path = format!("/vendor/keys/{number}");
    ada.get(&path).has("3 / 3").has(&"AB".repeat(16)).has(&nodes[1]);
    let page = ada.send(&path, &path, &[("action", "release"), ("reason", "hardware")]);
    assert_eq!(page.status, 409, "{}", page.body);
    page.has("11111111…, 22222222…, 33333333…");
    let form = [("action", "release"), ("reason", "hardware"), ("activation", &nodes[1])];
    let page = ada.send(&path, &path, &form);
    assert_eq!(page.location, format!("{path}?done=released"), "{}", page.body);
    ada.get(&path).has("2 / 3").has("reserve code");

    // The customer draws a code for one of those that are left.
    let mut browser = Browser::new(centre);
    let page = browser.send("/my", "/my", &[("code", &code.to_string())]);
    assert_eq!(page.location, "/my/key", "{}", page.body);
    browser.get("/my/key").has("Nodes of the cluster").has("Reserve code of a node that has left");
    let page = browser.send("/my/key", "/my/key", &[("action", "spare")]);
    assert_eq!(page.status, 409, "which node is not said");
    let form = [("action", "spare"), ("activation", nodes[2].as_str())];
    let page = browser.send("/my/key", "/my/key", &form);
    assert_eq!(page.location, "/my/key?done=spare_drawn", "{}", page.body);
    browser.get("/my/key").has("Spare code of the node");

    // Programs are told the same.
    let view = centre.send("GET", &format!("/api/keys/{number}"), "", "");
    assert_eq!(view.status, 401);
    let release = json!({"ActivationID": nodes[0]}).to_string();
    let token = std::fs::read_to_string(site.data.path().join("admin.token")).unwrap();
    let answer =
        centre.send("POST", &format!("/api/keys/{number}/release"), token.trim(), &release);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let view = centre.send("GET", &format!("/api/keys/{number}"), token.trim(), "");
    let view = view.body;
    assert_eq!(
        (&view["Nodes"], &view["NodesMax"], &view["State"]),
        (&json!(1), &json!(3), &json!("Activated"))
    );
}
