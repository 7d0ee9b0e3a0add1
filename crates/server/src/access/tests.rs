//! Tests of [`super`] that need a server and what no address shows: logins, forms, passwords that
//! change under a login.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::HeaderMap;
use hyper::header::{HeaderName, SET_COOKIE};
use licence_core::language::Language;

use super::*;
use crate::api::errors::ApiError;
use crate::api::form::Form;
use crate::api::routes::Access;
use crate::api::{App, Call, Control, Peer};
use crate::identity::Identity;
use crate::paths::Paths;
use crate::settings::Settings;

struct Server {
    app: Arc<App>,
    _dir: tempfile::TempDir,
}

/// A server with this conf file.
fn start(conf: &str) -> Server {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::new(dir.path());
    std::fs::create_dir_all(paths.settings()).unwrap();
    std::fs::create_dir_all(paths.keys()).unwrap();
    std::fs::write(paths.conf(), conf).unwrap();
    let settings = Settings::load(paths.conf()).unwrap();
    let identity = Arc::new(Identity::from_seed([3; 32]));
    let opened = crate::app::open(&paths, settings, identity, Control::default(), None);
    let mut app = opened.unwrap().app;
    app.auth = auth::Auth::new("mora-hp").unwrap();
    Server { app: Arc::new(app), _dir: dir }
}

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let line = |(name, value): &(&'static str, &str)| {
        (HeaderName::from_static(name), value.parse().unwrap())
    };
    lines.iter().map(line).collect()
}

fn call<'a>(app: &'a Arc<App>, ip: &str, method: &'a str, headers: &'a HeaderMap) -> Call<'a> {
    let peer = Peer { ip: ip.parse::<IpAddr>().unwrap(), is_tls: false };
    Call {
        app,
        peer,
        headers,
        query: None,
        method,
        path: "/api/x",
        argument: String::new(),
        language: Language::English,
        actor: gate::anonymous(peer.ip),
    }
}

/// The cookie that a browser sends back.
fn kept(set_cookie: &hyper::header::HeaderValue) -> String {
    set_cookie.to_str().unwrap().split(';').next().unwrap().to_owned()
}

/// Who a request with this cookie is, for the API.
async fn who(server: &Server, cookie: &str, method: &str) -> Result<Actor, ApiError> {
    let headers = headers(&[("cookie", cookie), ("sec-fetch-site", "same-origin")]);
    let mut call = call(&server.app, "192.168.1.5", method, &headers);
    gate::admit(&mut call, Access::Api(Role::Reader)).await.map(|_| call.actor)
}

async fn login(server: &Server, ip: &str, name: &str, password: &str) -> Result<String, ApiError> {
    let none = HeaderMap::new();
    let call = call(&server.app, ip, "POST", &none);
    let logged_in = server.app.auth.login(&call, name, password).await?;
    assert_eq!(logged_in.actor.name, name);
    Ok(kept(&logged_in.set_cookie))
}

const USERS: &str = "[Console]\nUserName=root\nPassword=root password\n\
    [Users]\nivan=operator;ivan password\n";
const FAR: &str = "192.168.1.5";

#[tokio::test]
async fn login_names_its_user_until_it_is_ended() {
    let server = start(USERS);
    let cookie = login(&server, FAR, "ivan", "ivan password").await.unwrap();
    let actor = who(&server, &cookie, "GET").await.unwrap();
    assert_eq!((actor.name.as_str(), actor.role), ("ivan", Role::Operator));
    assert!(matches!(&actor.via, Via::Login { csrf } if csrf.len() == 43));

    let sent = headers(&[("cookie", &cookie)]);
    let cleared = server.app.auth.logout(&call(&server.app, FAR, "POST", &sent));
    assert!(cleared.to_str().unwrap().contains("Max-Age=0"), "{cleared:?}");
    assert_eq!(who(&server, &cookie, "GET").await.unwrap_err().status, 401);
}

#[tokio::test]
async fn cookie_of_a_login_is_kept_from_scripts_and_from_other_sites() {
    let server = start(USERS);
    for (is_tls, secure) in [(false, false), (true, true)] {
        let none = HeaderMap::new();
        let mut call = call(&server.app, FAR, "POST", &none);
        call.peer.is_tls = is_tls;
        let logged_in = server.app.auth.login(&call, "root", "root password").await.unwrap();
        let cookie = logged_in.set_cookie.to_str().unwrap().to_owned();
        for part in ["licence_session=", "; HttpOnly", "; SameSite=Strict", "; Path=/"] {
            assert!(cookie.contains(part), "{cookie}");
        }
        assert_eq!(cookie.contains("; Secure"), secure, "{cookie}");
    }
}

#[tokio::test]
async fn wrong_name_or_password_begins_no_login() {
    let server = start(USERS);
    for (name, password) in [("ivan", "root password"), ("nobody", "ivan password"), ("", "")] {
        let error = login(&server, FAR, name, password).await.unwrap_err();
        assert_eq!(error.status, 401, "{name}");
    }
    assert_eq!(who(&server, "licence_session=made up", "GET").await.unwrap_err().status, 401);
}

#[tokio::test]
async fn another_password_or_no_user_any_more_ends_the_login() {
    // Hashes, because plain passwords may become such whenever the file is read.
    let hash = |password| passwords::hash(password).unwrap();
    let root = format!("[Console]\nUserName=root\nPassword={}\n", hash("root password"));
    let server = start(&format!("{root}[Users]\nivan=operator;{}\n", hash("ivan password")));
    let changed = format!("{root}[Users]\nivan=operator;{}\n", hash("other password"));
    let root_login = login(&server, FAR, "root", "root password").await.unwrap();
    let first = login(&server, FAR, "ivan", "ivan password").await.unwrap();
    assert!(who(&server, &first, "GET").await.is_ok());
    for (conf, root_goes_on) in [(changed, true), (root, true), (String::new(), false)] {
        std::fs::write(server.app.settings.path(), &conf).unwrap();
        server.app.settings.reload().unwrap();
        assert_eq!(who(&server, &first, "GET").await.unwrap_err().status, 401, "{conf}");
        assert_eq!(who(&server, &root_login, "GET").await.is_ok(), root_goes_on, "{conf}");
    }
}

#[tokio::test]
async fn changed_password_ends_all_logins_of_the_user_but_the_one_that_changed_it() {
    let server = start(USERS);
    let own = login(&server, FAR, "ivan", "ivan password").await.unwrap();
    let other = login(&server, FAR, "ivan", "ivan password").await.unwrap();
    let actor = who(&server, &own, "GET").await.unwrap();
    std::fs::write(server.app.settings.path(), "[Users]\nivan=operator;new password\n").unwrap();
    server.app.settings.reload().unwrap();
    server.app.auth.password_changed(&server.app.settings, "ivan", &actor);
    assert!(who(&server, &own, "GET").await.is_ok());
    assert_eq!(who(&server, &other, "GET").await.unwrap_err().status, 401);
}

#[tokio::test]
async fn hash_written_over_a_plain_password_ends_no_login() {
    let server = start(USERS);
    std::fs::write(server.app.settings.path(), USERS).unwrap();
    let cookie = login(&server, FAR, "ivan", "ivan password").await.unwrap();
    server.app.settings.reload().unwrap();
    let text = std::fs::read_to_string(server.app.settings.path()).unwrap();
    assert!(!text.contains("ivan password"), "{text}");
    assert!(who(&server, &cookie, "GET").await.is_ok());
    let fresh = login(&server, FAR, "ivan", "ivan password").await.unwrap();
    std::fs::write(server.app.settings.path(), "[Users]\nivan=operator;new password\n").unwrap();
    server.app.settings.reload().unwrap();
    for cookie in [&cookie, &fresh] {
        assert_eq!(who(&server, cookie, "GET").await.unwrap_err().status, 401);
    }
}

#[tokio::test]
async fn login_by_the_default_password_counts_at_the_server_alone() {
    let server = start("");
    let cookie = login(&server, "127.0.0.1", "admin", "admin").await.unwrap();
    let error = login(&server, FAR, "admin", "admin").await.unwrap_err();
    assert_eq!((error.status.as_u16(), &*error.class), (403, "EDefaultPassword"));
    // The cookie does not carry it elsewhere.
    assert_eq!(who(&server, &cookie, "GET").await.unwrap_err().class, "EDefaultPassword");
}

#[tokio::test]
async fn change_by_a_login_needs_the_page_that_asks() {
    let server = start(USERS);
    let cookie = login(&server, FAR, "ivan", "ivan password").await.unwrap();
    for (line, comes_in) in [
        (("sec-fetch-site", "same-origin"), true),
        (("sec-fetch-site", "cross-site"), false),
        (("origin", "http://lic:9099"), true),
        (("origin", "http://evil.example"), false),
        (("accept", "*/*"), false),
    ] {
        let headers = headers(&[("cookie", &cookie), ("host", "lic:9099"), line]);
        let mut call = call(&server.app, FAR, "DELETE", &headers);
        let admitted = gate::admit(&mut call, Access::Api(Role::Operator)).await;
        assert_eq!(admitted.is_ok(), comes_in, "{line:?}");
        if let Err(error) = admitted {
            assert_eq!(error.class, "ECrossSite", "{line:?}");
        }
    }
}

fn form(csrf: &str) -> Form {
    Form::read(format!("csrf={csrf}&a=1").as_bytes()).unwrap()
}

#[tokio::test]
async fn form_of_a_login_carries_the_secret_of_that_login() {
    let server = start(USERS);
    let mut csrf = Vec::new();
    for (name, password) in [("root", "root password"), ("ivan", "ivan password")] {
        let cookie = login(&server, FAR, name, password).await.unwrap();
        let actor = who(&server, &cookie, "GET").await.unwrap();
        let none = HeaderMap::new();
        let mut call = call(&server.app, FAR, "POST", &none);
        call.actor = actor;
        let token = csrf::form_token(&call);
        assert!(token.set_cookie.is_none());
        assert!(csrf::check_form(&call, &form(&token.value)).is_ok());
        for wrong in ["", "x", csrf.first().map_or("y", String::as_str)] {
            assert_eq!(csrf::check_form(&call, &form(wrong)).unwrap_err().class, "ECrossSite");
        }
        csrf.push(token.value);
    }
}

#[tokio::test]
async fn form_without_a_login_repeats_the_cookie_that_came_with_it() {
    let server = start("");
    let none = HeaderMap::new();
    let asking = call(&server.app, FAR, "GET", &none);
    let token = csrf::form_token(&asking);
    let cookie = kept(&token.set_cookie.unwrap());
    assert!(csrf::check_form(&asking, &form(&token.value)).is_err(), "the cookie is missing");

    let sent = headers(&[("cookie", &cookie)]);
    let sending = call(&server.app, FAR, "POST", &sent);
    assert!(csrf::check_form(&sending, &form(&token.value)).is_ok());
    assert!(csrf::check_form(&sending, &form("")).is_err());
    let again = csrf::form_token(&sending);
    assert_eq!((again.value, again.set_cookie), (token.value, None));

    // An empty cookie and an empty field are no pair.
    let empty = headers(&[("cookie", "licence_csrf=")]);
    assert!(csrf::check_form(&call(&server.app, FAR, "POST", &empty), &form("")).is_err());
}

#[tokio::test]
async fn language_is_switched_and_the_page_kept() {
    let server = start("");
    let none = HeaderMap::new();
    let mut call = call(&server.app, FAR, "GET", &none);
    call.query = Some("to=ru&next=%2Fkeys%3Fq%3D1");
    let answer = language_switch(&call).unwrap();
    assert_eq!(answer.status(), 303);
    assert_eq!(answer.headers()["location"], "/keys?q=1");
    let cookie = kept(&answer.headers()[SET_COOKIE]);
    assert_eq!(cookie, "licence_language=ru");
    assert_eq!(chosen_language(&headers(&[("cookie", &cookie)])), Some(Language::Russian));
    for query in ["to=de", "", "next=/"] {
        call.query = Some(query);
        assert_eq!(language_switch(&call).unwrap_err().status, 400, "{query}");
    }
}

#[test]
fn name_of_every_role_is_read_back_and_each_may_more_than_the_one_before() {
    for role in [Role::Reader, Role::Operator, Role::Administrator] {
        assert_eq!(role.to_string().parse(), Ok(role));
    }
    assert_eq!("admin".parse::<Role>(), Err(ParseRoleError));
    assert!(Role::Reader < Role::Operator && Role::Operator < Role::Administrator);
}
