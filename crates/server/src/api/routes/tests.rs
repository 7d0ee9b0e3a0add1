//! Addresses and who may use them.

use super::*;

const READER: Access = Access::Api(Role::Reader);

fn check(method: &str, path: &str, expected: Found) {
    assert_eq!(find(method, path), expected, "{method} {path}");
}

#[test]
fn addresses_of_the_manual_are_found() {
    check("GET", "/api", Found::Endpoint(Endpoint::Api, READER, String::new()));
    check("HEAD", "/api", Found::Endpoint(Endpoint::Api, READER, String::new()));
    check("GET", "/api/licences", Found::Endpoint(Endpoint::Licences, READER, String::new()));
    check(
        "GET",
        "/api/licences/7131766",
        Found::Endpoint(Endpoint::Licence, READER, "7131766".into()),
    );
    check("GET", "/api/sessions/%41B", Found::Endpoint(Endpoint::Session, READER, "AB".into()));
    let administrator = Access::Api(Role::Administrator);
    let install = Found::Endpoint(Endpoint::InstallLicence, administrator, String::new());
    check("POST", "/api/licences", install);
    let reserve = Endpoint::Keys(Keys::ReserveCode);
    let found = Found::Endpoint(reserve, administrator, "7".into());
    check("POST", "/api/licences/7/reservecode", found);
}

#[test]
fn two_arguments_stand_side_by_side() {
    let session = Endpoint::Nodes(Nodes::Session);
    for (path, argument) in [("n/AB", "n/AB"), ("a%2Fb/AB", "a/b/AB")] {
        let path = format!("/api/cluster/sessions/{path}");
        check("GET", &path, Found::Endpoint(session, READER, argument.into()));
    }
    let ended = Endpoint::Console(Page::ClusterSessionEnd);
    let operator = Access::Console(Role::Operator);
    let found = Found::Endpoint(ended, operator, "n/AB".into());
    check("POST", "/cluster/sessions/n/AB/end", found);
    for path in ["n", "n/", "/AB", "n/AB/", "n/a/AB"] {
        check("GET", &format!("/api/cluster/sessions/{path}"), Found::Nothing);
    }
}

#[test]
fn other_addresses_are_not() {
    for path in [
        "/api/",
        "/api/someurl",
        "/api/licences/",
        "/api/licences/1/2",
        "/API",
        "/api/sessions/%FF",
        "//",
        "/client",
        "",
    ] {
        check("GET", path, Found::Nothing);
    }
}

#[test]
fn other_methods_are_told_which_are_allowed() {
    check("PATCH", "/api/licences", Found::OtherMethods("GET, HEAD, POST".into()));
    check("DELETE", "/api", Found::OtherMethods("GET, HEAD".into()));
    check("GET", "/client/hello", Found::OtherMethods("POST".into()));
    check("PUT", "/api/licences/request", Found::OtherMethods("POST".into()));
    check("POST", "/api/licences/7", Found::OtherMethods("GET, HEAD, PUT, DELETE".into()));
}

#[test]
fn every_line_below_api_asks_for_a_role_and_every_change_for_more_than_a_reader() {
    for route in ROUTES {
        let own_password = route.path == "/api/password";
        match (access(route.path), route.access) {
            (Access::Api(_), Access::Api(role)) => {
                assert!(route.method == "GET" || role > Role::Reader || own_password, "{route:?}");
            }
            // Whoever may have session keys may also change them.
            (Access::Api(_), Access::Ismp) => {}
            // Another node changes what its own user may change there.
            (Access::Api(_), Access::Node) => {}
            (Access::Client, Access::Client) => {}
            (Access::Console(_), Access::Console(_) | Access::Metrics | Access::Open) => {}
            (fallback, own) => panic!("{}: {fallback:?} {own:?}", route.path),
        }
    }
    assert_eq!(access("/apix"), Access::Console(Role::Reader));
}
