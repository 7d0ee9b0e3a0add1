//! The pages of the centre over loopback as a browser without script uses them: logging in, roles,
//! forms and their secrets, the vendor's tasks, the customer's page, limits per address.

#![expect(clippy::unwrap_used, reason = "a step that fails ends the test")]

#[path = "web/clusters.rs"]
mod clusters;
#[expect(dead_code, reason = "this file uses a part of it")]
mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use support::{Running, request, server};

/// A browser without script: keeps cookies, follows no redirections by itself.
struct Browser<'a> {
    centre: &'a Running,
    agent: ureq::Agent,
    cookies: BTreeMap<String, String>,
    address: &'static str,
}

struct Page {
    status: u16,
    body: String,
    location: String,
    headers: ureq::http::HeaderMap,
}

impl Page {
    fn csrf(&self) -> String {
        let (_, rest) = self.body.split_once("name=\"csrf\" value=\"").expect("a form");
        rest.split('"').next().unwrap().to_owned()
    }

    #[track_caller]
    fn has(&self, text: &str) -> &Self {
        assert!(self.body.contains(text), "{} {text}\n{}", self.status, self.body);
        self
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .timeout_global(Some(std::time::Duration::from_secs(60)))
        .build()
        .new_agent()
}

impl<'a> Browser<'a> {
    fn new(centre: &'a Running) -> Self {
        Self { centre, agent: agent(), cookies: BTreeMap::new(), address: "127.0.0.1" }
    }

    fn ask(
        &mut self,
        method: &str,
        path: &str,
        form: &[(&str, &str)],
        more: &[(&str, &str)],
    ) -> Page {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let mut asked = ureq::http::Request::builder()
            .method(method)
            .uri(self.centre.url(path))
            .header("Accept-Language", "en")
            .header("X-Forwarded-For", self.address)
            .header("Content-Type", "application/x-www-form-urlencoded");
        if !self.cookies.is_empty() {
            let line: Vec<_> = self.cookies.iter().map(|(k, v)| format!("{k}={v}")).collect();
            asked = asked.header("Cookie", line.join("; "));
        }
        for (name, value) in more {
            asked = asked.header(*name, *value);
        }
        let mut answer = self.agent.run(asked.body(body).unwrap()).unwrap();
        for cookie in answer.headers().get_all("set-cookie") {
            let cookie = cookie.to_str().unwrap();
            let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
            if cookie.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        let headers = answer.headers().clone();
        let location = headers.get("location").map(|v| v.to_str().unwrap().to_owned());
        Page {
            status: answer.status().as_u16(),
            body: answer.body_mut().read_to_string().unwrap(),
            location: location.unwrap_or_default(),
            headers,
        }
    }

    fn get(&mut self, path: &str) -> Page {
        self.ask("GET", path, &[], &[])
    }

    /// Opens a page and sends a form with its secret.
    fn send(&mut self, page: &str, path: &str, form: &[(&str, &str)]) -> Page {
        let csrf = self.get(page).csrf();
        let mut fields = vec![("csrf", csrf.as_str())];
        fields.extend_from_slice(form);
        self.ask("POST", path, &fields, &[])
    }

    #[track_caller]
    fn log_in(&mut self, name: &str) {
        let form = [("name", name), ("password", PASSWORD), ("next", "/vendor")];
        let page = self.send("/login", "/login", &form);
        assert_eq!((page.status, page.location.as_str()), (303, "/vendor"), "{}", page.body);
    }
}

const PASSWORD: &str = "a long password";

/// Adds an account while the centre runs, as the vendor does on its machine.
fn account(data: &Path, name: &str, role: &str) {
    let file = data.join("password");
    std::fs::File::create(&file).unwrap().write_all(format!("{PASSWORD}\n").as_bytes()).unwrap();
    let done = Command::new(env!("CARGO_BIN_EXE_licencecentre"))
        .args(["account", "add", name, "--role", role, "--password-file"])
        .arg(&file)
        .arg("--data")
        .arg(data)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

struct Site {
    data: tempfile::TempDir,
    centre: Running,
}

fn site() -> Site {
    let data = tempfile::tempdir().unwrap();
    let centre = Running::start(data.path());
    for (name, role) in [("rita", "reader"), ("clara", "clerk"), ("ada", "admin")] {
        account(data.path(), name, role);
    }
    Site { data, centre }
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    let (_, rest) = text.split_once(start).unwrap_or_else(|| panic!("{start}\n{text}"));
    rest.split_once(end).unwrap().0
}

#[test]
fn person_logs_in_by_name_and_password_and_out_again() {
    let site = site();
    let mut browser = Browser::new(&site.centre);
    let page = browser.get("/vendor/keys");
    assert_eq!((page.status, page.location.as_str()), (303, "/login?next=/vendor/keys"));
    let form = [("name", "ada"), ("password", "wrong password")];
    let page = browser.send("/login", "/login", &form);
    assert_eq!(page.status, 401);
    page.has("Wrong name or password.");
    // A name that nobody has reads the same.
    let page = browser.send("/login", "/login", &[("name", "eve"), ("password", PASSWORD)]);
    page.has("Wrong name or password.");
    browser.log_in("ada");
    browser.get("/vendor").has("ada (administrator)");
    // The trail knows who, and not what was typed for a name that nobody has.
    let page = browser.get("/vendor/audit");
    page.has("login refused").has("ada");
    assert!(!page.body.contains("eve"), "{}", page.body);
    let page = browser.send("/vendor", "/logout", &[]);
    assert_eq!(page.status, 303);
    assert_eq!(browser.get("/vendor").status, 303);
}

#[test]
fn every_address_asks_for_the_role_that_the_table_names() {
    use licencecentre::access::Role;
    use licencecentre::access::table::{Needs, TABLE};
    let site = site();
    let centre = &site.centre;
    let people = [("rita", Role::Reader), ("clara", Role::Clerk), ("ada", Role::Admin)];
    let mut logged = people.map(|(name, role)| {
        let mut browser = Browser::new(centre);
        browser.log_in(name);
        let token = token(&site, name);
        (browser, token, role)
    });
    for (method, pattern, needs) in TABLE {
        let path = pattern.replace("{}", "4711");
        match needs {
            Needs::Person(least) => {
                let page = Browser::new(centre).ask(method, &path, &[], &[]);
                assert_eq!(page.status, 303, "{method} {path}");
                assert!(page.location.starts_with("/login?next="), "{method} {path}");
                for (browser, _, role) in &mut logged {
                    // Without the secret of the form a change is refused, which is another text.
                    let page = browser.ask(method, &path, &[], &[]);
                    let refused = page.body.contains("The role of this account is not enough");
                    assert_eq!(refused, *role < *least, "{method} {path} {role}");
                }
            }
            Needs::Program(least) => {
                assert_eq!(centre.send(method, &path, "", "").status, 401, "{method} {path}");
                for (_, token, role) in &logged {
                    let answer = plain(centre, method, &path, token);
                    assert_eq!(answer == 403, *role < *least, "{method} {path} {role}");
                }
            }
            Needs::Anyone | Needs::Free | Needs::Guess => {
                let page = Browser::new(centre).ask(method, &path, &[], &[]);
                assert_ne!(page.status, 401, "{method} {path}");
            }
        }
    }
}

/// Status of a call whose answer may be anything.
fn plain(centre: &Running, method: &str, path: &str, token: &str) -> u16 {
    let asked = ureq::http::Request::builder()
        .method(method)
        .uri(centre.url(path))
        .header("Authorization", format!("Bearer {token}"))
        .body(String::new())
        .unwrap();
    agent().run(asked).unwrap().status().as_u16()
}

/// A token of an account, made by an administrator's browser.
fn token(site: &Site, name: &str) -> String {
    let mut browser = Browser::new(&site.centre);
    browser.log_in("ada");
    let form = [("action", "token"), ("name", name), ("label", "tests"), ("days", "30")];
    let page = browser.send("/vendor/accounts", "/vendor/accounts", &form);
    let token = between(&page.body, "<p class=\"id\">", "</p>").to_owned();
    assert!(token.starts_with("lcc_"), "{token}");
    assert!(!browser.get("/vendor/accounts").body.contains(&token), "shown once");
    token
}

#[test]
fn form_of_a_strange_page_or_without_its_secret_changes_nothing() {
    let site = site();
    let mut browser = Browser::new(&site.centre);
    browser.log_in("ada");
    let csrf = browser.get("/vendor").csrf();
    let form = [("csrf", csrf.as_str()), ("name", "ООО Ромашка")];
    let page = browser.ask("POST", "/vendor/customers", &form[1..], &[]);
    assert_eq!(page.status, 403);
    for strange in [("Origin", "https://evil.example"), ("Sec-Fetch-Site", "cross-site")] {
        let page = browser.ask("POST", "/vendor/customers", &form, &[strange]);
        assert_eq!(page.status, 403, "{strange:?}");
    }
    assert!(!browser.get("/vendor/customers").body.contains("Ромашка"));
    let page =
        browser.ask("POST", "/vendor/customers", &form, &[("Sec-Fetch-Site", "same-origin")]);
    assert_eq!(page.status, 303, "{}", page.body);
    browser.get("/vendor/customers").has("ООО Ромашка");
}

#[test]
fn clerk_sells_and_reader_sees_the_last_group_of_a_code_only() {
    let site = site();
    let mut clara = Browser::new(&site.centre);
    clara.log_in("clara");
    let form = [("name", "ООО Ромашка"), ("itn", "7707083893")];
    let page = clara.send("/vendor/customers", "/vendor/customers", &form);
    assert_eq!(page.location, "/vendor/customers/1?done=customer_added");
    let order = [
        ("series", "672B"),
        ("kind", "main"),
        ("seats", "5"),
        ("count", "2"),
        ("period", "365"),
        ("customer", "1"),
        ("itn", "7707083893"),
        ("note", "<b>по телефону</b>"),
    ];
    let page = clara.send("/vendor/orders/new", "/vendor/orders", &order);
    assert_eq!(
        (page.status, page.location.as_str()),
        (303, "/vendor/orders/1?done=order_added"),
        "{}",
        page.body
    );
    let page = clara.get("/vendor/orders/1?done=order_added");
    page.has("The order has been taken.").has("ООО Ромашка").has("&#60;b&#62;по телефону");
    let code = between(&page.body, "data-label=\"Code\"><span class=\"id\">", "<").to_owned();
    assert_eq!(code.len(), 24, "{code}");
    let csv = clara.get("/vendor/orders/1/codes.csv");
    assert!(csv.body.starts_with('\u{feff}') && csv.body.contains(&code), "{}", csv.body);
    assert_eq!(csv.body.lines().count(), 3);
    clara.get("/vendor/keys?query=7707083893").has("not used");
    // Prolonging and revoking.
    let page = clara.send(
        "/vendor/orders/1",
        "/vendor/orders/1",
        &[("action", "prolong"), ("days", "30")],
    );
    assert_eq!(page.location, "/vendor/orders/1?done=prolonged", "{}", page.body);
    clara.get("/vendor/orders/1").has("395 days");
    let page = clara.send("/vendor/orders/1", "/vendor/orders/1", &[("action", "revoke")]);
    assert_eq!(page.status, 400);
    let mut rita = Browser::new(&site.centre);
    rita.log_in("rita");
    let page = rita.get("/vendor/orders/1");
    page.has(&format!("…{}", &code[code.len() - 5..]));
    assert!(!page.body.contains(&code) && !page.body.contains("Revoke"), "{}", page.body);
    let page =
        clara.send("/vendor/orders/1", "/vendor/orders/1", &[("action", "revoke"), ("sure", "1")]);
    assert_eq!(page.location, "/vendor/orders/1?done=revoked");
    clara.get("/vendor/orders/1").has("Revoked:");
    // A field out of its limits is named, and what was typed stays.
    let bad = [("series", "672B"), ("kind", "main"), ("seats", "0"), ("note", "kept")];
    let page = clara.send("/vendor/orders/new", "/vendor/orders", &bad);
    assert_eq!(page.status, 400);
    page.has("Seats must be 1 to 1000000").has("value=\"kept\"");
}

#[test]
fn order_form_keeps_a_customer_who_is_not_among_the_newest() {
    let site = site();
    for number in 1..=101 {
        let body = serde_json::json!({ "Name": format!("customer {number}") }).to_string();
        let answer = site.centre.send("POST", "/api/customers", &site.centre.token, &body);
        assert_eq!(answer.status, 201, "{answer:?}");
    }
    let mut clara = Browser::new(&site.centre);
    clara.log_in("clara");
    let page = clara.get("/vendor/orders/new");
    page.has("<option value=\"101\">").has("The newest are listed");
    assert!(!page.body.contains("<option value=\"1\">"), "{}", page.body);
    clara
        .get("/vendor/orders/new?customer=1")
        .has("<option value=\"1\" selected>customer 1</option>");
    let form = [("series", "672B"), ("kind", "main"), ("seats", "0"), ("customer", "1")];
    let page = clara.send("/vendor/orders/new", "/vendor/orders", &form);
    assert_eq!(page.status, 400);
    page.has("<option value=\"1\" selected>");
}

#[test]
fn administrator_settles_a_series_and_others_do_not() {
    let site = site();
    let mut ada = Browser::new(&site.centre);
    ada.log_in("ada");
    let form = [
        ("moves_max", "2"),
        ("self_release", "1"),
        ("level", "strict"),
        ("grace_days", "10"),
        ("demo_seats", "3"),
        ("demo_days", "14"),
    ];
    let page = ada.send("/vendor/series/672B", "/vendor/series/672B", &form);
    assert_eq!(page.location, "/vendor/series/672B?done=series_saved", "{}", page.body);
    ada.get("/vendor/series").has("3 × 14 days").has("strict: eight parts of ten, 10 days");
    let page = ada.send(
        "/vendor/series/672B",
        "/vendor/series/672B",
        &[("moves_max", "2"), ("demo_days", "1")],
    );
    assert_eq!(page.status, 400);
    page.has("Demo.Seats");
    assert_eq!(ada.get("/vendor/series/FFFF").status, 404);
}

#[test]
fn customer_sees_their_key_by_code_and_itn_and_moves_it_when_the_server_is_dead() {
    let site = site();
    let centre = &site.centre;
    let code = centre.code(serde_json::json!({"ITN": "7707083893"}));
    let key = server(1);
    let mut asked = request(&key, code);
    asked.itn = Some("7707083893".to_owned());
    assert_eq!(centre.activate(&asked, &key).status, 201);
    let mut browser = Browser::new(centre);
    assert_eq!(browser.get("/my/key").location, "/my");
    browser.get("/my").has("My server is dead. What now?");
    let code = code.to_string();
    // A wrong owner, no owner and a code that nobody has: one answer.
    let unknown = licence_core::activation::ActivationCode::encode(
        licence_core::activation::CodeKind::Activation,
        licence_core::key::KeySeries::from_u16(0x672B),
        77,
    )
    .to_string();
    let mut answers = Vec::new();
    for form in [
        [("code", code.as_str()), ("itn", "7707083894")],
        [("code", code.as_str()), ("itn", "")],
        [("code", unknown.as_str()), ("itn", "7707083893")],
    ] {
        let page = browser.send("/my", "/my", &form);
        assert_eq!(page.status, 404);
        answers.push(between(&page.body, "role=\"alert\">", "</p>").to_owned());
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    let page = browser.send("/my", "/my", &[("code", &code), ("itn", "7707083893")]);
    assert_eq!((page.status, page.location.as_str()), (303, "/my/key"), "{}", page.body);
    let page = browser.get("/my/key");
    page.has("installed").has("Draw the spare code").has("4 of 4");
    assert!(!page.body.contains("Release the key"), "the series does not allow it");
    // The spare code.
    let page = browser.send("/my/key", "/my/key", &[("action", "spare")]);
    assert_eq!(page.location, "/my/key?done=spare_drawn", "{}", page.body);
    let page = browser.get("/my/key");
    let spare = between(&page.body, "class=\"id secret\">", "<").to_owned();
    assert_eq!(browser.get("/my/key").body.matches(&spare).count(), 1, "the same again");
    // Released by themselves only where the series allows it.
    let release = [("action", "release"), ("sure", "1"), ("reason", "hardware")];
    let page = browser.send("/my/key", "/my/key", &release);
    assert_eq!(page.status, 403, "{}", page.body);
    let mut ada = Browser::new(centre);
    ada.log_in("ada");
    let form = [("moves_max", "4"), ("self_release", "1")];
    ada.send("/vendor/series/672B", "/vendor/series/672B", &form);
    let page = browser.send("/my/key", "/my/key", &release[..1]);
    assert_eq!(page.status, 400, "without the tick");
    let page = browser.send("/my/key", "/my/key", &release);
    assert_eq!(page.location, "/my/key?done=released", "{}", page.body);
    let page = browser.get("/my/key");
    page.has("Reserve code").has("given back");
    let reserve = between(&page.body, "class=\"id secret\">", "<").to_owned();
    assert_ne!(reserve, spare);
    // The reserve code installs the key on the new machine.
    let new = server(2);
    let mut asked = request(&new, reserve.parse().unwrap());
    asked.itn = Some("7707083893".to_owned());
    assert_eq!(centre.activate(&asked, &new).status, 201);
    browser.get("/my/key").has("installed").has("3 of 4");
    let page = browser.send("/my/key", "/my/leave", &[]);
    assert_eq!(page.location, "/my?done=left");
    assert_eq!(browser.get("/my/key").location, "/my");
    // The trail names the customer and no code.
    let page = ada.get("/vendor/audit");
    page.has("customer");
    assert!(!page.body.contains(&reserve) && !page.body.contains(&spare));
}

#[test]
fn guesses_from_one_address_are_limited_and_others_go_on() {
    let site = site();
    let mut browser = Browser::new(&site.centre);
    browser.address = "203.0.113.7";
    let code = site.centre.code(serde_json::json!({"ITN": "7707083893"})).to_string();
    let csrf = browser.get("/my").csrf();
    let wrong = [("csrf", csrf.as_str()), ("code", code.as_str()), ("itn", "1")];
    for _ in 0..10 {
        assert_eq!(browser.ask("POST", "/my", &wrong, &[]).status, 404);
    }
    // Also the right pair, and by every other door: no more guesses.
    let right = [("csrf", csrf.as_str()), ("code", code.as_str()), ("itn", "7707083893")];
    let page = browser.ask("POST", "/my", &right, &[]);
    assert_eq!(page.status, 429, "{}", page.body);
    let wait: u64 = page.headers.get("retry-after").unwrap().to_str().unwrap().parse().unwrap();
    assert!((1..=7).contains(&wait), "{wait}");
    let page = browser.ask("POST", "/api/activations", &[], &[]);
    assert_eq!(page.status, 429, "{}", page.body);
    browser.address = "203.0.113.8";
    assert_eq!(browser.ask("POST", "/my", &right, &[]).location, "/my/key");
    // Passwords have a limit of their own.
    let csrf = browser.get("/login").csrf();
    let form = [("csrf", csrf.as_str()), ("name", "ada"), ("password", "wrong password")];
    for _ in 0..5 {
        assert_eq!(browser.ask("POST", "/login", &form, &[]).status, 401);
    }
    let page = browser.ask("POST", "/login", &form, &[]);
    assert_eq!(page.status, 429, "{}", page.body);
    page.has("Too many tries");
}

#[test]
fn account_that_is_changed_or_removed_ends_its_logins_and_tokens() {
    let site = site();
    let mut clara = Browser::new(&site.centre);
    clara.log_in("clara");
    let token = token(&site, "clara");
    assert_eq!(plain(&site.centre, "GET", "/api/orders", &token), 200);
    let form = [("old", PASSWORD), ("new", "another password"), ("again", "another password")];
    let mut other = Browser::new(&site.centre);
    other.log_in("clara");
    let page = clara.send("/vendor/password", "/vendor/password", &form);
    assert_eq!(page.location, "/vendor/password?done=password_changed", "{}", page.body);
    assert_eq!(clara.get("/vendor").status, 200);
    assert_eq!(other.get("/vendor").status, 303, "the other login is over");
    let mut ada = Browser::new(&site.centre);
    ada.log_in("ada");
    let form = [("action", "remove"), ("name", "clara")];
    let page = ada.send("/vendor/accounts", "/vendor/accounts", &form);
    assert_eq!(page.location, "/vendor/accounts?done=account_removed", "{}", page.body);
    assert_eq!(clara.get("/vendor").status, 303);
    assert_eq!(plain(&site.centre, "GET", "/api/orders", &token), 401);
    let form = [("action", "add"), ("name", "dora"), ("role", "clerk"), ("password", "short")];
    let page = ada.send("/vendor/accounts", "/vendor/accounts", &form);
    assert_eq!(page.status, 400);
    page.has("at least 10").has("10 to 200 characters");
}

#[test]
fn request_of_a_qr_code_is_shown_and_answered_once() {
    let site = site();
    let centre = &site.centre;
    let code = centre.code(serde_json::json!({}));
    let key = server(3);
    let asked = request(&key, code);
    let token = asked.sign(&key).unwrap();
    let mut browser = Browser::new(centre);
    let page = browser.get(&format!("/r?request={token}"));
    page.has("Install a key").has(&asked.computer_id);
    assert!(!page.body.contains(&code.to_string()), "the code is shown by its last group");
    let page = browser.ask("POST", "/r", &[("request", &token)], &[]);
    assert_eq!(page.status, 200, "{}", page.body);
    page.has("Copy this text");
    let page = browser.ask("POST", "/requests", &[("request", &token)], &[]);
    assert_eq!(page.status, 200);
    assert!(page.headers.get("content-disposition").is_some());
    browser.get("/r?request=nonsense").has("This is not a request of a licence server.");
}

#[test]
fn pages_forbid_script_frames_and_caches_and_speak_both_languages() {
    let site = site();
    let mut browser = Browser::new(&site.centre);
    for path in ["/my", "/login", "/r", "/nothing-there"] {
        let page = browser.get(path);
        if page.status == 404 {
            continue;
        }
        let policy = page.headers.get("content-security-policy").unwrap().to_str().unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("script-src"), "{path}");
        assert_eq!(page.headers.get("cache-control").unwrap(), "no-store", "{path}");
        assert!(!page.body.contains("<script"), "{path}");
    }
    let page = browser.get("/language?to=ru&next=/my");
    assert_eq!((page.status, page.location.as_str()), (303, "/my"));
    browser.get("/my").has("<html lang=\"ru\">").has("Сервер сломался — что делать?");
    let page = browser.get("/language?to=en&next=//evil.example");
    assert_eq!(page.location, "/");
}

#[test]
fn command_line_lists_changes_and_removes_accounts() {
    let site = site();
    let run = |args: &[&str]| {
        let done = Command::new(env!("CARGO_BIN_EXE_licencecentre"))
            .arg("account")
            .args(args)
            .arg("--data")
            .arg(site.data.path())
            .output()
            .unwrap();
        (
            done.status.success(),
            String::from_utf8(done.stdout).unwrap(),
            String::from_utf8(done.stderr).unwrap(),
        )
    };
    let (_, out, _) = run(&["list"]);
    let names: Vec<_> = out.lines().map(|line| line.split('\t').next().unwrap()).collect();
    assert_eq!(names, ["ada", "clara", "rita"]);
    assert!(run(&["remove", "rita"]).0);
    let (is_done, _, error) = run(&["remove", "rita"]);
    assert!(!is_done && error.contains("there is no such account"), "{error}");
    let file = site.data.path().join("weak");
    std::fs::write(&file, "short").unwrap();
    let (is_done, _, error) = run(&["passwd", "ada", "--password-file", file.to_str().unwrap()]);
    assert!(!is_done && error.contains("10 to 200 characters"), "{error}");
    assert!(!error.contains("short"), "{error}");
}
