//! `docs/openapi.yaml` and the table of routes name the same addresses and methods.

use std::collections::BTreeSet;

use licenceserver::api::routes::{Access, ROUTES};

/// Path and method pairs below `paths:`; the document is indented by two spaces.
fn documented(yaml: &str) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    let mut is_in_paths = false;
    let mut path = String::new();
    for line in yaml.lines() {
        let indent = line.len() - line.trim_start().len();
        let Some(key) = line.trim().strip_suffix(':') else { continue };
        match indent {
            0 => is_in_paths = key == "paths",
            2 if is_in_paths => path = key.trim_matches('"').to_owned(),
            4 if is_in_paths && ["get", "post", "put", "delete", "patch"].contains(&key) => {
                found.insert((path.clone(), key.to_uppercase()));
            }
            _ => {}
        }
    }
    found
}

/// Pages and forms are for people.
fn is_page(path: &str, access: Access) -> bool {
    match access {
        Access::Console(_) => true,
        Access::Open => !path.starts_with("/health"),
        Access::Api(_) | Access::Client | Access::Metrics => false,
    }
}

#[test]
fn every_route_is_documented_and_every_documented_address_is_a_route() {
    let yaml = include_str!("../../../docs/openapi.yaml");
    let routes: BTreeSet<_> = ROUTES
        .iter()
        .filter(|route| !is_page(route.path, route.access) || route.path == "/systeminfo")
        .map(|route| (route.path.to_owned(), route.method.to_owned()))
        .collect();
    assert_eq!(documented(yaml), routes);
}
