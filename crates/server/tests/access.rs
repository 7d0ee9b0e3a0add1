//! Who may do what: every address of the table against everybody who may ask, and the attacks
//! that the gate is there for.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod support;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use argon2::{Argon2, PasswordHasher};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::header::HeaderMap;
use licence_core::time::MonoTime;
use licenceserver::access::Role;
use licenceserver::api::routes::{Access, ROUTES, Route};
use licenceserver::api::{self, Peer};
use licenceserver::clock;
use support::{Answered, LOCAL, Server, basic, start};

const SECRETS: [&str; 6] =
    ["lic_metrics", "lic_reader", "lic_operator", "lic_all", "lic_old", "lic_ismp"];

/// A server with a user of each role and a token of each scope, none of them the manual's.
fn everybody(more: &str) -> Server {
    let token = |id: usize, scope: &str, year: &str| {
        let digest = licence_core::seal::sha256(SECRETS[id].as_bytes());
        let digest = licence_core::seal::hex_upper(&digest);
        format!("{id}={scope};{year}-01-01T00:00:00.000Z;{digest};{scope}\n")
    };
    // A hash that costs nothing: some hundred wrong passwords follow.
    let cheap = argon2::Params::new(64, 1, 1, None).unwrap();
    let hasher = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, cheap);
    let hash = hasher.hash_password(b"root password").unwrap();
    let conf = format!(
        "[Console]\nUserName=root\nPassword={hash}\n{more}\n\
         [Users]\nolga=operator;olga password\nivan=reader;ivan password\n[Tokens]\n{}{}{}{}{}{}",
        token(0, "metrics", "2100"),
        token(1, "reader", "2100"),
        token(2, "operator", "2100"),
        token(3, "administrator", "2100"),
        token(4, "administrator", "2020"),
        token(5, "ismp", "2100"),
    );
    let server = start(&conf);
    // Some addresses read the file again.
    std::fs::write(server.app.settings.path(), conf).unwrap();
    server
}

/// Who asks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Who {
    Nobody,
    Wrong,
    User(Role),
    IsmpToken,
    MetricsToken,
    Token(Role),
    ExpiredToken,
    MadeUpToken,
}

const ALL: [Who; 12] = [
    Who::Nobody,
    Who::Wrong,
    Who::User(Role::Reader),
    Who::User(Role::Operator),
    Who::User(Role::Administrator),
    Who::IsmpToken,
    Who::MetricsToken,
    Who::Token(Role::Reader),
    Who::Token(Role::Operator),
    Who::Token(Role::Administrator),
    Who::ExpiredToken,
    Who::MadeUpToken,
];

impl Who {
    fn authorization(self) -> Option<String> {
        let bearer = |number: usize| format!("Bearer {}", SECRETS[number]);
        Some(match self {
            Self::Nobody => return None,
            Self::Wrong => basic("root:wrong password"),
            Self::User(Role::Reader) => basic("ivan:ivan password"),
            Self::User(Role::Operator) => basic("olga:olga password"),
            Self::User(Role::Administrator) => basic("root:root password"),
            Self::MetricsToken => bearer(0),
            Self::Token(Role::Reader) => bearer(1),
            Self::Token(Role::Operator) => bearer(2),
            Self::Token(Role::Administrator) => bearer(3),
            Self::ExpiredToken => bearer(4),
            Self::IsmpToken => bearer(5),
            Self::MadeUpToken => "Bearer lic_made_up".to_owned(),
        })
    }
}

/// What the gate says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Said {
    ComeIn,
    /// 401.
    WhoAreYou,
    /// 403 `ERole`.
    NotYou,
    /// 403, a component without TLS.
    NotThisWay,
}

/// What the gate should say, from the table alone.
fn expected(route: &Route, authorization: u8, who: Who) -> Said {
    let by_role = |needed: Role| match who {
        Who::Nobody | Who::Wrong | Who::ExpiredToken | Who::MadeUpToken => Said::WhoAreYou,
        Who::IsmpToken | Who::MetricsToken => Said::NotYou,
        Who::User(role) | Who::Token(role) if role >= needed => Said::ComeIn,
        Who::User(_) | Who::Token(_) => Said::NotYou,
    };
    match route.access {
        Access::Open => Said::ComeIn,
        Access::Client => Said::NotThisWay,
        // A server that is no node says so to everybody; what a node says: nodes.rs.
        Access::Node => Said::ComeIn,
        Access::Metrics if who == Who::MetricsToken => Said::ComeIn,
        Access::Metrics => by_role(Role::Reader),
        Access::Api(role) => by_role(role),
        Access::Ismp if who == Who::IsmpToken => Said::ComeIn,
        Access::Ismp => by_role(Role::Administrator),
        Access::Console(_) if authorization == 2 => Said::ComeIn,
        Access::Console(Role::Reader)
            if authorization == 0
                && who == Who::Nobody
                && !["/events", "/password", "/reports"].contains(&route.path)
                && !route.path.starts_with("/cluster/sessions")
                && route.path != "/cluster/events" =>
        {
            Said::ComeIn
        }
        Access::Console(role) => by_role(role),
    }
}

async fn answer(
    server: &Server,
    peer: Peer,
    request: Request<Full<hyper::body::Bytes>>,
) -> Answered {
    let (head, body) = api::serve(&server.app, peer, request).await.into_parts();
    let status = head.status.as_u16();
    // A stream of events has no end; what refuses has.
    let text =
        if status >= 400 { body.collect().await.unwrap().to_bytes() } else { Default::default() };
    let body = String::from_utf8_lossy(&text).into_owned();
    Answered { status, headers: head.headers, body }
}

fn asked(method: &str, path: &str, lines: &[(&str, &str)]) -> Request<Full<hyper::body::Bytes>> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in lines {
        request = request.header(*name, *value);
    }
    request.body(Full::default()).unwrap()
}

/// A peer that has never tried a password before.
fn stranger(number: u32) -> Peer {
    Peer { ip: IpAddr::V4(Ipv4Addr::from(0x0A00_0000 + number)), is_tls: false }
}

#[tokio::test]
async fn every_address_lets_in_whom_the_table_lets_in() {
    let mut number = 0;
    for authorization in 0..=2 {
        let server = everybody(&format!("Authorization={authorization}"));
        for route in ROUTES {
            if (route.method, route.path) == ("POST", "/login") {
                // Open to all, and answers 401 by itself.
                continue;
            }
            let path: String = route.path.replace("{KeyNo}", "1").replace("{Kind}", "use");
            let path = path.replace("{ID}", "AB").replace("{Id}", "1").replace("{Name}", "nobody");
            let path = path.replace("{Node}", "north");
            for who in ALL {
                number += 1;
                let authorization_line = who.authorization();
                let lines: Vec<_> =
                    authorization_line.iter().map(|value| ("Authorization", &**value)).collect();
                let request = asked(route.method, &path, &lines);
                let answer = answer(&server, stranger(number), request).await;
                let said = match answer.status {
                    401 => Said::WhoAreYou,
                    403 if answer.body.contains("\"ERole\"") => Said::NotYou,
                    403 if answer.body.contains("TLS only") => Said::NotThisWay,
                    _ => Said::ComeIn,
                };
                let case = format!("{} {path} {who:?} {authorization}", route.method);
                assert_eq!(said, expected(route, authorization, who), "{case}: {answer:?}");
                if said == Said::WhoAreYou {
                    assert!(answer.headers.contains_key("www-authenticate"), "{case}");
                }
            }
        }
    }
}

/// Method, path, `Authorization` of the console, who, status; written by hand.
#[tokio::test]
async fn spot_checks_of_the_table() {
    use Role::{Administrator, Operator, Reader};
    let servers = [0, 1, 2].map(|mode| everybody(&format!("Authorization={mode}")));
    for (number, (line, mode, who, status)) in (0_u32..).zip([
        ("GET /", 0, Who::Nobody, 200),
        ("GET /", 1, Who::Nobody, 401),
        ("GET /", 1, Who::User(Reader), 200),
        ("GET /", 2, Who::Nobody, 200),
        ("GET /", 2, Who::Wrong, 200),
        ("GET /", 0, Who::Wrong, 401),
        ("GET /systeminfo", 1, Who::Token(Reader), 200),
        ("GET /systeminfo", 1, Who::MetricsToken, 403),
        ("GET /console.css", 1, Who::Nobody, 200),
        ("GET /settings", 0, Who::Nobody, 401),
        ("GET /settings", 0, Who::User(Operator), 403),
        ("GET /password", 0, Who::Nobody, 401),
        ("GET /events", 0, Who::Nobody, 401),
        ("GET /reports", 0, Who::Nobody, 401),
        ("GET /events", 0, Who::User(Reader), 200),
        ("GET /events", 2, Who::Nobody, 200),
        ("GET /sessions", 0, Who::Nobody, 200),
        ("GET /keys", 0, Who::Nobody, 200),
        ("GET /nowhere", 0, Who::Nobody, 404),
        ("GET /nowhere", 1, Who::Nobody, 401),
        ("GET /api", 0, Who::Nobody, 401),
        ("GET /api", 2, Who::Nobody, 401),
        ("GET /api", 2, Who::User(Reader), 200),
        ("GET /api", 0, Who::MetricsToken, 403),
        ("GET /api", 0, Who::ExpiredToken, 401),
        ("GET /api/nowhere", 0, Who::Nobody, 401),
        ("GET /api/nowhere", 0, Who::User(Reader), 404),
        ("GET /api/sessions", 0, Who::Token(Reader), 200),
        ("DELETE /api/sessions/AB", 0, Who::User(Reader), 403),
        ("DELETE /api/sessions/AB", 0, Who::User(Operator), 404),
        ("DELETE /api/sessions/AB", 0, Who::Token(Administrator), 404),
        ("POST /api/licences", 0, Who::User(Operator), 403),
        ("POST /api/licences", 0, Who::User(Administrator), 400),
        ("GET /api/users", 0, Who::Token(Operator), 403),
        ("GET /api/users", 0, Who::Token(Administrator), 200),
        ("GET /api/ismp/tokens", 0, Who::IsmpToken, 503),
        ("GET /api/ismp/tokens", 0, Who::User(Operator), 403),
        ("GET /api/ismp/tokens", 2, Who::Nobody, 401),
        ("GET /api", 0, Who::IsmpToken, 403),
        ("GET /metrics", 0, Who::IsmpToken, 403),
        ("GET /ismp", 0, Who::IsmpToken, 403),
        ("GET /ismp", 0, Who::Nobody, 401),
        ("GET /ismp", 0, Who::User(Operator), 200),
        ("POST /ismp", 0, Who::User(Operator), 403),
        ("GET /metrics", 2, Who::Nobody, 401),
        ("GET /metrics", 0, Who::MadeUpToken, 401),
        ("POST /sessions/AB/end", 0, Who::Nobody, 401),
        ("POST /sessions/AB/end", 0, Who::User(Reader), 403),
        ("POST /client/hello", 0, Who::User(Administrator), 403),
    ]) {
        let (method, path) = line.split_once(' ').unwrap();
        let value = who.authorization();
        let lines: Vec<_> = value.iter().map(|value| ("Authorization", &**value)).collect();
        let request = asked(method, path, &lines);
        let answer = answer(&servers[mode], stranger(number), request).await;
        assert_eq!(answer.status, status, "{line} {mode} {who:?}: {answer:?}");
    }
}

#[tokio::test]
async fn refusals_say_what_is_missing() {
    let server = everybody("");
    for (line, who, texts) in [
        ("GET /api/users", Who::User(Role::Reader), ["needs the role administrator", "is reader"]),
        ("GET /api/rules", Who::MetricsToken, ["needs the role operator", "/metrics alone"]),
        ("GET /api", Who::ExpiredToken, ["ETokenExpired", "2020-01-01"]),
    ] {
        let (method, path) = line.split_once(' ').unwrap();
        let value = who.authorization().unwrap();
        let answer =
            answer(&server, LOCAL, asked(method, path, &[("Authorization", &value)])).await;
        for text in texts {
            assert!(answer.body.contains(text), "{line}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn browser_is_sent_to_the_login_page_and_back_to_where_it_was() {
    let server = everybody("Authorization=1");
    let html = ("Accept", "text/html,application/xhtml+xml;q=0.9");
    for (line, location) in [
        ("GET /keys?q=1&menu=false", "/login?next=%2Fkeys%3Fq%3D1%26menu%3Dfalse"),
        ("GET /settings", "/login?next=%2Fsettings"),
        ("POST /settings", "/login?next=%2F"),
    ] {
        let (method, path) = line.split_once(' ').unwrap();
        let answer = answer(&server, LOCAL, asked(method, path, &[html])).await;
        assert_eq!(answer.status, 303, "{line}");
        assert_eq!(answer.headers["location"], location, "{line}");
    }
    // Whoever sent credentials, and whoever reads JSON, is told.
    let wrong = basic("root:x");
    for lines in [&[html, ("Authorization", &*wrong)][..], &[("Accept", "*/*")]] {
        let answer = answer(&server, LOCAL, asked("GET", "/keys", lines)).await;
        assert_eq!(answer.status, 401, "{lines:?}");
        let challenge = answer.headers["www-authenticate"].to_str().unwrap();
        assert!(challenge.starts_with("Basic "), "{challenge}");
    }
    // The script of a page whose login is over must not make the browser ask.
    let stale = [("Accept", "*/*"), ("Cookie", "licence_session=over")];
    let answer = answer(&server, LOCAL, asked("GET", "/keys", &stale)).await;
    assert_eq!(answer.status, 401);
    assert!(!answer.headers["www-authenticate"].to_str().unwrap().starts_with("Basic"));
}

async fn try_password(server: &Server, peer: Peer, pair: &str) -> Answered {
    answer(server, peer, asked("GET", "/api", &[("Authorization", &basic(pair))])).await
}

#[tokio::test]
async fn brute_force_runs_into_a_wait_and_then_into_a_lock() {
    let server = everybody("");
    let (peer, neighbour) = (stranger(1), stranger(2));
    let mut wrong = 0;
    let waiting = loop {
        let answer = try_password(&server, peer, "root:guess").await;
        if answer.status == 429 {
            break answer;
        }
        assert_eq!(answer.status, 401);
        wrong += 1;
        // The waits are short at first, and this machine may be slower still.
        assert!(wrong < 20, "nothing stops the guesses");
    };
    assert!(wrong >= 5, "{wrong}");
    assert!(waiting.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);

    // Nineteen wrong ones two minutes ago, and one more.
    let peer = stranger(3);
    let before = clock::mono().as_millis().saturating_sub(120_000);
    for _ in 0..19 {
        server.app.auth.lockout().wrong(peer.ip, MonoTime::from_millis(before));
    }
    assert_eq!(try_password(&server, peer, "root:guess").await.status, 401);
    // The right password is not even looked at, nor is a token that was made up; a right token is let
    // in, because nobody guesses one.
    let locked = try_password(&server, peer, "root:root password").await;
    assert_eq!(locked.status, 429, "{locked:?}");
    assert!(locked.body.contains("ETooManyAttempts"), "{locked:?}");
    let retry: u64 = locked.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((800..=901).contains(&retry), "{retry}");
    let bearer = format!("Bearer {}", SECRETS[3]);
    let token = answer(&server, peer, asked("GET", "/api", &[("Authorization", &bearer)])).await;
    assert_eq!(token.status, 200, "{token:?}");
    let made_up = [("Authorization", "Bearer lic_x")];
    assert_eq!(answer(&server, peer, asked("GET", "/api", &made_up)).await.status, 429);
    // Others go on, and so does whoever asks for nothing that needs a password.
    assert_eq!(try_password(&server, neighbour, "root:root password").await.status, 200);
    assert_eq!(answer(&server, peer, asked("GET", "/", &[])).await.status, 200);
    check_lock_is_audited(&server, peer);
    // Once it is over, the right password clears it.
    server.app.auth.lockout().right(peer.ip);
    assert_eq!(try_password(&server, peer, "root:root password").await.status, 200);
}

#[tokio::test]
async fn guesses_are_not_forgotten_for_a_lesser_account_of_the_same_address() {
    for own in [Who::MetricsToken, Who::Token(Role::Reader), Who::User(Role::Reader)] {
        let server = everybody("");
        let peer = stranger(1);
        let now = clock::mono();
        for _ in 0..4 {
            server.app.auth.lockout().wrong(peer.ip, now);
        }
        let authorization = own.authorization().unwrap();
        let metrics = asked("GET", "/metrics", &[("Authorization", &authorization)]);
        assert_eq!(answer(&server, peer, metrics).await.status, 200, "{own:?}");
        assert_eq!(try_password(&server, peer, "root:guess").await.status, 401, "{own:?}");
        assert_eq!(try_password(&server, peer, "root:guess").await.status, 429, "{own:?}");
    }
}

fn check_lock_is_audited(server: &Server, peer: Peer) {
    let database = rusqlite::Connection::open(server.app.paths.database()).unwrap();
    let sql = "SELECT subject, detail FROM history WHERE reason = 'login_locked'";
    let (subject, detail) = database
        .query_row(sql, [], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))
        .unwrap();
    assert_eq!(subject, peer.ip.to_string());
    assert!(!detail.contains("root"), "{detail}");
}

#[tokio::test]
async fn guesses_that_come_at_once_do_not_slip_through_together() {
    let hash = licenceserver::access::passwords::hash("root password").unwrap();
    let server = start(&format!("[Console]\nUserName=root\nPassword={hash}\n"));
    // One more wrong one begins a long wait.
    let peer = stranger(1);
    let before = clock::mono().as_millis().saturating_sub(120_000);
    for _ in 0..19 {
        server.app.auth.lockout().wrong(peer.ip, MonoTime::from_millis(before));
    }
    let mut guesses = tokio::task::JoinSet::new();
    for number in 0..12 {
        let app = std::sync::Arc::clone(&server.app);
        let pair = basic(&format!("root:guess {number}"));
        guesses.spawn(async move {
            let request = asked("GET", "/api", &[("Authorization", &pair)]);
            api::serve(&app, peer, request).await.status().as_u16()
        });
    }
    let statuses = tokio::time::timeout(Duration::from_secs(60), guesses.join_all()).await.unwrap();
    // Two may be under way at a time; the others find the lock when their turn comes.
    let looked_at = statuses.iter().filter(|status| **status == 401).count();
    assert!((1..=2).contains(&looked_at), "{statuses:?}");
}

#[tokio::test]
async fn change_from_a_page_of_another_site_is_refused() {
    let admin = basic("root:root password");
    let open = everybody("Authorization=2");
    let closed = everybody("");
    for (line, is_refused) in [
        (("Origin", "http://evil.example"), true),
        (("Origin", "null"), true),
        (("Sec-Fetch-Site", "cross-site"), true),
        (("Sec-Fetch-Site", "same-site"), true),
        (("Sec-Fetch-Site", "same-origin"), false),
        (("Origin", "http://localhost:9099"), false),
        (("Accept", "*/*"), false),
    ] {
        let host = ("Host", "localhost:9099");
        let by_password = [host, ("Authorization", admin.as_str()), line];
        let tried = [
            (&closed, "DELETE", "/api/sessions/AB", &by_password[..]),
            (&closed, "POST", "/login", &[host, line]),
            (&open, "POST", "/sessions/AB/end", &[host, line]),
        ];
        for (server, method, path, lines) in tried {
            let answer = answer(server, LOCAL, asked(method, path, lines)).await;
            let found = answer.body.contains("comes from a page of another site");
            assert_eq!(found, is_refused, "{method} {path} {line:?}: {answer:?}");
            assert_eq!(answer.status == 403 && found, is_refused, "{answer:?}");
        }
        let read = [host, ("Authorization", admin.as_str()), line];
        assert_eq!(answer(&closed, LOCAL, asked("GET", "/api", &read)).await.status, 200);
    }
}

#[tokio::test]
async fn strange_host_name_gets_nothing_where_no_password_stands_in_its_way() {
    let evil = ("Host", "evil.example:9099");
    let admin = basic("admin:admin");
    let checking = everybody("CheckDNSRebinding=1\nHostNames=lic.example");
    let open = everybody("Authorization=2");
    let fresh = start("");
    for (server, method, path, lines, status) in [
        (&checking, "GET", "/", &[evil][..], 403),
        (&checking, "GET", "/", &[("Host", "lic.example")], 200),
        (&checking, "GET", "/login", &[evil], 403),
        (&checking, "GET", "/health/live", &[evil], 0),
        (&checking, "GET", "/console.css", &[evil], 200),
        (&open, "GET", "/", &[evil], 403),
        (&open, "GET", "/", &[("Host", "localhost")], 200),
        (&open, "POST", "/sessions/AB/end", &[evil], 403),
        (&fresh, "GET", "/api", &[evil, ("Authorization", &admin)], 403),
        (&fresh, "GET", "/api", &[("Host", "localhost"), ("Authorization", &admin)], 200),
    ] {
        let answer = answer(server, LOCAL, asked(method, path, lines)).await;
        if status == 0 {
            assert_ne!(answer.status, 403, "{path} {answer:?}");
        } else {
            assert_eq!(answer.status, status, "{method} {path} {lines:?} {answer:?}");
        }
    }
}

#[tokio::test]
async fn default_password_works_at_the_server_alone() {
    let server = start("");
    let admin = basic("admin:admin");
    let far = stranger(1);
    for (peer, lines, status) in [
        (LOCAL, &[][..], 200),
        (LOCAL, &[("Host", "127.0.0.1:9099")], 200),
        (LOCAL, &[("X-Forwarded-For", "127.0.0.1")], 403),
        (LOCAL, &[("Forwarded", "for=127.0.0.1")], 403),
        (LOCAL, &[("X-Real-IP", "10.0.0.1")], 403),
        (far, &[], 403),
        (far, &[("Host", "localhost")], 403),
    ] {
        let lines = [lines, &[("Authorization", admin.as_str())]].concat();
        let answer = answer(&server, peer, asked("GET", "/api", &lines)).await;
        assert_eq!(answer.status, status, "{peer:?} {lines:?} {answer:?}");
        if status == 403 {
            assert!(answer.body.contains("EDefaultPassword"), "{answer:?}");
            assert!(answer.body.contains("licenceserver password"), "{answer:?}");
        }
    }
    // Any other password works from everywhere.
    let other = everybody("");
    assert_eq!(try_password(&other, far, "root:root password").await.status, 200);
}

#[tokio::test]
async fn address_that_may_not_come_in_is_stopped_at_the_login_page_too() {
    let server = everybody("LocalAccessOnly=1");
    for (path, status) in [("/login", 403), ("/", 403), ("/api", 403), ("/metrics", 403)] {
        let answer = answer(&server, stranger(1), asked("GET", path, &[])).await;
        assert_eq!(answer.status, status, "{path}");
    }
    for path in ["/health/live", "/health/ready", "/console.css"] {
        let answer = answer(&server, stranger(1), asked("GET", path, &[])).await;
        assert_ne!(answer.status, 403, "{path}");
    }
}

#[tokio::test]
async fn metrics_are_open_to_all_only_where_the_setting_says_so() {
    for (conf, status) in [
        ("[Metrics]\nEnabled=0\nAnonymous=1\n", Some(503)),
        ("[Metrics]\nAnonymous=0\n", Some(401)),
        ("[Metrics]\nAnonymous=1\n", None),
        ("[Metrics]\nAnonymous=1\n[API]\nEnabled=0\n", None),
    ] {
        let answer = answer(&start(conf), stranger(1), asked("GET", "/metrics", &[])).await;
        match status {
            Some(status) => assert_eq!(answer.status, status, "{conf}"),
            None => assert!(![401, 403, 503].contains(&answer.status), "{conf}: {answer:?}"),
        }
    }
}

#[tokio::test]
async fn plain_http_is_refused_or_sent_to_tls_where_the_setting_says_so() {
    let server = everybody("[TLS]\nRequireTLS=1");
    let admin = basic("root:root password");
    let html = ("Accept", "text/html");
    let host = ("Host", "lic.example:9099");
    for (line, lines, status, location) in [
        ("GET /keys?q=1", &[html, host][..], 307, "https://lic.example:9099/keys?q=1"),
        ("GET /keys", &[html], 403, ""),
        ("GET /keys", &[html, ("Host", "a/b")], 403, ""),
        ("GET /keys", &[html, host, ("Authorization", admin.as_str())], 403, ""),
        ("GET /api", &[("Authorization", admin.as_str())], 403, ""),
        ("POST /login", &[html, host], 403, ""),
    ] {
        let (method, path) = line.split_once(' ').unwrap();
        let answer = answer(&server, LOCAL, asked(method, path, lines)).await;
        assert_eq!(answer.status, status, "{line} {lines:?} {answer:?}");
        let found = answer.headers.get("location").map_or("", |value| value.to_str().unwrap());
        assert_eq!(found, location, "{line}");
        assert_eq!(status == 403, answer.body.contains("ETlsRequired"), "{answer:?}");
    }
    let health = answer(&server, LOCAL, asked("GET", "/health/live", &[])).await;
    assert!(![403, 307].contains(&health.status), "{health:?}");
    let over_tls = Peer { is_tls: true, ..LOCAL };
    let lines = [("Authorization", admin.as_str())];
    assert_eq!(answer(&server, over_tls, asked("GET", "/api", &lines)).await.status, 200);
}

#[tokio::test]
async fn chosen_language_wins_over_the_one_of_the_browser() {
    let server = everybody("");
    let switch = answer(&server, LOCAL, asked("GET", "/language?to=ru&next=/keys", &[])).await;
    assert_eq!(switch.status, 303);
    assert_eq!(switch.headers["location"], "/keys");
    let cookie = kept(&switch.headers);
    for (lines, text) in [
        (&[("Accept-Language", "en"), ("Cookie", &*cookie)][..], "не найден"),
        (&[("Accept-Language", "ru")], "не найден"),
        (&[("Accept-Language", "ru"), ("Cookie", "licence_language=en")], "was not found"),
        (&[("Accept-Language", "en"), ("Cookie", "licence_language=xx")], "was not found"),
    ] {
        let answer = answer(&server, LOCAL, asked("GET", "/nowhere", lines)).await;
        assert!(answer.body.contains(text), "{lines:?} {answer:?}");
    }
    for next in ["//evil.example", "https://evil.example", "/%5Cevil.example"] {
        let path = format!("/language?to=en&next={next}");
        let answer = answer(&server, LOCAL, asked("GET", &path, &[])).await;
        assert_eq!(answer.headers["location"], "/", "{next}");
    }
}

fn kept(headers: &HeaderMap) -> String {
    headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned()
}
