//! The REST API against the manual: every sample, every field, every JSON type, every status.

#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

mod support;

use licence_core::key::{Flags, KeyNo, KeySeries};
use licence_core::protocol::{ErrorBody, LicenceView};
use licenceserver::api::routes::URNS;
use licenceserver::api::views::{
    ApiView, ConnectionView, ExpiredText, ServerInfoView, SessionView,
};
use serde_json::Value;
use support::{LOCAL, Server, basic, request, start};

const SERIES: KeySeries = KeySeries::from_u16(0x672B);

/// The views with the values of the manual's samples, by the manual's headings.
fn samples() -> Vec<(&'static str, &'static str, Value, String)> {
    let mut samples = Vec::new();
    let mut add = |heading, name, text: String| {
        let value = serde_json::from_str(&text).unwrap();
        samples.push((heading, name, value, text));
    };
    let shown = |view: &dyn erased::Shown| view.pretty();
    add(
        "Коды ответа",
        "error",
        shown(&ErrorBody {
            code: 404,
            text: "Not found".into(),
            message: "(EHTTPNotFound) The requested URL \"/api/someurl\" was not found.".into(),
            exception: "EHTTPNotFound".into(),
        }),
    );
    add("Получение данных о API", "api", shown(&ApiView { version: "3.0.15.7528", urns: URNS }));
    add(
        "Получение информации о сервере",
        "serverinfo",
        shown(&ServerInfoView {
            computer_name: "MORA-HP".into(),
            local_ip: "192.168.56.1,192.168.1.38".into(),
            os_type: "Windows".into(),
            os_version: "Windows 10 10.0.16299 (x86_64)".into(),
            module_name: r"C:\Program Files (x86)\1C\Licence\v3.0\licenceserver.exe".into(),
            pid: 5736,
            cpu: "i386".into(),
            version: "3.0.15.7528".into(),
            started: "2018-04-02T20:41:13.272Z".parse().unwrap(),
            computer_id: "D365ACC38180015CD3A30E62BF1072392D4DD5C1".into(),
        }),
    );
    add("Получение информации о конкретном ключе / лицензии", "licence", shown(&licence()));
    add(
        "Получение информации о конкретном соединении",
        "connection",
        shown(&ConnectionView {
            id: "AF72CC4124DD4B588AA9039D31035A5C".into(),
            peer_ip: "127.0.0.1".into(),
            created: "2018-04-03T14:06:59.317Z".parse().unwrap(),
            last_used: "2018-04-03T14:07:09.320Z".parse().unwrap(),
            os_version: "Windows 10 10.0.16299 (x86_64)".into(),
            computer_name: "MORA-HP".into(),
            local_ip: "192.168.56.1,192.168.1.38".into(),
            process: r"C:\Program Files (x86)\1cv8\8.3.11.2954\bin\1cv8c.exe".into(),
            cpu: "i386".into(),
            pid: "8236".into(),
            is_server: false,
            platform_version: "8.3.11.2954".into(),
            module_name: r"C:\Users\MORA\AppData\Local\Temp\v8_3F2F_d.tmp".into(),
            version: "3.0.15.7522".into(),
            key_id: SERIES,
            expire_time: "2018-04-03T14:07:29.320Z".parse().unwrap(),
            expired: ExpiredText(false),
        }),
    );
    add(
        "Получение информации о конкретном сеансе",
        "session",
        shown(&SessionView {
            id: "DB4AC14978FA4B5815A813550A031424B".into(),
            session_number: "2".into(),
            is_server: false,
            info_base_connection_str: r#"File="D:\Projects\Licence\v3.0\DB\DemoDb";"#.into(),
            app_name: "1CV8C".into(),
            computer_name: "MORA-HP".into(),
            user_name: None,
            session_started: Some("2018-04-03T14:06:58.000Z".parse().unwrap()),
            session_connection: Some("AF72CC4124DD4B588AA9039D31035A5C".into()),
            access_code: None,
            expire_time: "2018-04-03T14:23:43.787Z".parse().unwrap(),
            expired: ExpiredText(false),
            key_id: SERIES,
            used_licence: Some(KeyNo(7_131_766)),
        }),
    );
    samples
}

fn licence() -> LicenceView {
    LicenceView {
        medium: "Virtual".into(),
        file_name: r"C:\ProgramData\1C\Licence\Data\672B.7131766.licence".into(),
        enabled: true,
        is_blank: false,
        workable: true,
        open_error: None,
        open_error_russian: None,
        version: "6".into(),
        key_no: Some(KeyNo(7_131_766)),
        key_id: Some(SERIES),
        reg_no: Some(202),
        key_type: Some(3),
        service_type: 0,
        licence_count: 5,
        product_version: 0,
        blank_key_no: None,
        activation_code: Some("4345-9320-2035-7421-5361".into()),
        activation_date: Some("2018-03-30T21:00:00.414Z".parse().unwrap()),
        start_date: None,
        period: 0,
        expire_date: None,
        days_left: None,
        expired: false,
        flags: Flags(0),
        itn: Some(1_234_567_890),
        iec: None,
        product_name: Some("Тестовая серия".into()),
        article: Some("1111111111111".into()),
        article_name: Some("Тестовая номенклатура".into()),
        product_version_name: None,
        recovered: false,
        support_date: None,
        support_period: 0,
        industry_support_date: None,
        industry_support_period: 0,
        update_date: None,
        cluster: None,
    }
}

/// Serialisation behind a pointer, so that the table can hold views of all types.
mod erased {
    pub(crate) trait Shown {
        fn pretty(&self) -> String;
    }

    impl<T: serde::Serialize> Shown for T {
        fn pretty(&self) -> String {
            serde_json::to_string_pretty(self).unwrap()
        }
    }
}

/// Field names in the order of a text, and their values' JSON types.
fn shape(text: &str) -> Vec<(String, &'static str)> {
    let value: Value = serde_json::from_str(text).unwrap();
    let object = value.as_object().unwrap();
    let mut fields: Vec<_> = object
        .iter()
        .map(|(name, value)| {
            let kind = match value {
                Value::Null => "null",
                Value::Bool(_) => "boolean",
                Value::Number(_) => "number",
                Value::String(_) => "string",
                Value::Array(_) => "array",
                Value::Object(_) => "object",
            };
            (text.find(&format!("\"{name}\":")).unwrap(), name.clone(), kind)
        })
        .collect();
    fields.sort();
    fields.into_iter().map(|(_, name, kind)| (name, kind)).collect()
}

#[test]
fn every_sample_of_the_manual_is_reproduced() {
    for (heading, name, _, text) in samples() {
        insta::with_settings!({ description => heading, omit_expression => true, prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!(format!("manual_{name}"), text);
        });
    }
}

/// A live answer has the fields of the sample, in its order and of its types; where either is
/// null, any type will do.
fn check_shape(sample: &str, live: &str) {
    let (sample, live) = (shape(sample), shape(live));
    let names = |fields: &[(String, &str)]| -> Vec<String> {
        fields.iter().map(|(name, _)| name.clone()).collect()
    };
    assert_eq!(names(&sample), names(&live));
    for ((name, expected), (_, found)) in sample.iter().zip(&live) {
        let fits = expected == found || *expected == "null" || *found == "null";
        assert!(fits, "{name}: {expected} in the sample, {found} in the answer");
    }
}

fn sample(name: &str) -> String {
    samples().into_iter().find(|(_, found, ..)| *found == name).unwrap().3
}

async fn get(server: &Server, path: &str) -> String {
    let answer = server.call("GET", path, "").await;
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    assert_eq!(answer.headers["content-type"], "application/json; charset=utf-8");
    answer.body
}

#[tokio::test]
async fn live_answers_have_the_fields_order_and_types_of_the_samples() {
    let server = start("");
    let connection = server.connect().await;
    let session = server.open(&connection, 2).await.json()["ID"].as_str().unwrap().to_owned();
    for (name, path) in [
        ("api", "/api".to_owned()),
        ("serverinfo", "/api/serverinfo".to_owned()),
        ("licence", "/api/licences/7131766".to_owned()),
        ("connection", format!("/api/connections/{connection}")),
        ("session", format!("/api/sessions/{session}")),
    ] {
        check_shape(&sample(name), &get(&server, &path).await);
    }
}

#[tokio::test]
async fn lists_hold_what_the_single_addresses_show() {
    let server = start("");
    let connection = server.connect().await;
    let opened = server.open(&connection, 2).await.json();
    let session = opened["ID"].as_str().unwrap();
    for (list, member, one) in [
        ("/api/licences", "Licences", "/api/licences/7131766".to_owned()),
        ("/api/connections", "Connections", format!("/api/connections/{connection}")),
        ("/api/sessions", "Sessions", format!("/api/sessions/{session}")),
    ] {
        let all: Value = serde_json::from_str(&get(&server, list).await).unwrap();
        assert_eq!(all.as_object().unwrap().len(), 1, "{list}");
        let items = all[member].as_array().unwrap();
        assert_eq!(items.len(), 1, "{list}");
        let alone: Value = serde_json::from_str(&get(&server, &one).await).unwrap();
        let ids = |value: &Value| (value["ID"].clone(), value["KeyNo"].clone());
        assert_eq!(ids(&items[0]), ids(&alone), "{list}");
    }
}

#[tokio::test]
async fn values_of_a_session_and_its_connection_are_what_the_component_told() {
    let server = start("");
    let connection = server.connect().await;
    let opened = server.open(&connection, 2).await.json();
    let path = format!("/api/sessions/{}", opened["ID"].as_str().unwrap());
    let session: Value = serde_json::from_str(&get(&server, &path).await).unwrap();
    for (name, expected) in [
        ("SessionNumber", Value::from("2")),
        ("SessionStarted", Value::from("2018-04-03T14:06:58.000Z")),
        ("SessionConnection", Value::from(connection.clone())),
        ("Expired", Value::from("False")),
        ("KeyID", Value::from("672B")),
        ("UsedLicence", Value::from(7_131_766)),
        ("UserName", Value::Null),
    ] {
        assert_eq!(session[name], expected, "{name}");
    }
    let path = format!("/api/connections/{connection}");
    let shown: Value = serde_json::from_str(&get(&server, &path).await).unwrap();
    for (name, expected) in [
        ("PeerIP", "127.0.0.1"),
        ("PID", "8236"),
        ("CPU", "i386"),
        ("Version", "3.0.15.7522"),
        ("Expired", "False"),
    ] {
        assert_eq!(shown[name], expected, "{name}");
    }
}

#[tokio::test]
async fn parameters_come_in_the_address_or_in_the_body_of_a_get() {
    let server = start("");
    for (path, body, count) in [
        ("/api/licences?KeyID=672B", "", 1),
        ("/api/licences?KeyID=4BFE", "", 0),
        ("/api/licences", r#"{"KeyID":"4BFE"}"#, 0),
        ("/api/licences?KeyID=4BFE", r#"{"KeyID":"672b","Unknown":[1]}"#, 1),
        ("/api/licences?OnlyAvailable=1&Other=x", "", 1),
    ] {
        let answer = server.call("GET", path, body).await;
        assert_eq!(answer.status, 200, "{path} {body}");
        assert_eq!(answer.json()["Licences"].as_array().unwrap().len(), count, "{path} {body}");
    }
}

/// One row: method, path, body, status, exception class.
async fn check_refused(server: &Server, row: (&str, &str, &str, u16, &str)) {
    let (method, path, body, status, class) = row;
    let answer = server.call(method, path, body).await;
    assert_eq!(answer.status, status, "{row:?}: {answer:?}");
    let error = answer.json();
    assert_eq!(error["Code"], status, "{row:?}");
    assert_eq!(error["Exception"], class, "{row:?}");
    let message = error["Message"].as_str().unwrap();
    assert!(message.starts_with(&format!("({class}) ")), "{row:?}: {message}");
    check_shape(&sample("error"), &answer.body);
}

#[tokio::test]
async fn every_refusal_has_its_status_and_the_error_body_of_the_manual() {
    let server = start("");
    let good = support::code(77).to_string();
    let blank = |no| {
        format!(r#"{{"Kind":"activation","ActivationCodeString":"{good}","BlankKeyNo":{no}}}"#)
    };
    let (blank, no_blank) = (blank("5"), blank("9999999999"));
    let unknown_centre = format!(r#"{{"ActivationCodeString":"{good}"}}"#);
    for row in [
        ("GET", "/api/someurl", "", 404, "EHTTPNotFound"),
        ("GET", "/api/licences/1", "", 404, "EHTTPNotFound"),
        ("GET", "/api/licences/abc", "", 404, "EHTTPNotFound"),
        ("GET", "/api/licences/99999999999999999999", "", 404, "EHTTPNotFound"),
        ("GET", "/api/connections/AF72", "", 404, "EHTTPNotFound"),
        ("GET", "/api/sessions/%F0%9F%98%80", "", 404, "EHTTPNotFound"),
        ("PUT", "/api/licences", "{}", 405, "EHTTPMethodNotAllowed"),
        ("PATCH", "/api/sessions/AB", "", 405, "EHTTPMethodNotAllowed"),
        ("BREW", "/api", "", 405, "EHTTPMethodNotAllowed"),
        ("GET", "/api/licences", "{", 400, "EHTTPBadRequest"),
        ("GET", "/api/licences?KeyID=XYZ", "", 400, "EHTTPBadRequest"),
        ("GET", "/api/licences?KeyID=%FF", "", 400, "EHTTPBadRequest"),
        ("POST", "/api/licences", "", 400, "EParams"),
        ("POST", "/api/licences", "[]", 400, "EHTTPBadRequest"),
        ("POST", "/api/licences", r#"{"ActivationCodeString":5}"#, 400, "EHTTPBadRequest"),
        ("POST", "/api/licences", r#"{"ActivationCodeString":"1-2"}"#, 400, "EParams"),
        ("POST", "/api/licences", &unknown_centre, 400, "ELicenceCentreUnknown"),
        ("POST", "/api/licences/request", &blank, 404, "EBlankNotFound"),
        ("POST", "/api/licences/request", &no_blank, 400, "EHTTPBadRequest"),
        ("POST", "/client/hello", "{}", 403, "EHTTPForbidden"),
    ] {
        check_refused(&server, row).await;
    }
}

#[tokio::test]
async fn settings_decide_who_comes_in() {
    let off = start("[API]\nEnabled=0\n");
    check_refused(&off, ("GET", "/api", "", 503, "EHTTPServiceUnavailable")).await;
    let local = start("[Console]\nLocalAccessOnly=1\n");
    let far = licenceserver::api::Peer { ip: "192.0.2.1".parse().unwrap(), is_tls: false };
    assert_eq!(local.send(far, request("GET", "/api", "")).await.status, 403);
    assert_eq!(local.send(LOCAL, request("GET", "/api", "")).await.status, 200);
}

#[tokio::test]
async fn wrong_password_is_asked_for_again() {
    let server = start("[Console]\nUserName=root\nPassword=secret\n");
    for (pair, status) in [("root:secret", 200), ("admin:admin", 401), ("root:", 401)] {
        let mut request = request("GET", "/api/unknown", "");
        request.headers_mut().insert("Authorization", basic(pair).parse().unwrap());
        let answer = server.send(LOCAL, request).await;
        // An unknown address tells nothing to those without the password.
        assert_eq!(answer.status, if status == 200 { 404 } else { 401 }, "{pair}");
        if status == 401 {
            let challenge = answer.headers["www-authenticate"].to_str().unwrap();
            assert!(challenge.starts_with("Basic realm="), "{challenge}");
        }
    }
}

#[tokio::test]
async fn other_methods_are_told_in_the_allow_header() {
    let server = start("");
    let answer = server.call("DELETE", "/api/licences", "").await;
    assert_eq!(answer.headers["allow"], "GET, HEAD, POST");
}

#[tokio::test]
async fn text_of_an_error_follows_the_language_of_the_request() {
    let server = start("");
    let russian = start("[Common]\nLang=ru\n");
    for (server, header, expected) in [
        (&server, None, "The requested URL \"/api/x\" was not found."),
        (&server, Some("ru-RU,ru;q=0.9"), "Запрошенный адрес \"/api/x\" не найден."),
        (&server, Some("de"), "The requested URL"),
        (&russian, None, "Запрошенный адрес"),
        (&russian, Some("en"), "The requested URL"),
    ] {
        let mut request = request("GET", "/api/x", "");
        if let Some(header) = header {
            request.headers_mut().insert("Accept-Language", header.parse().unwrap());
        }
        let message = server.send(LOCAL, request).await.json()["Message"].to_string();
        let expected = serde_json::to_string(expected).unwrap();
        assert!(message.contains(expected.trim_matches('"')), "{header:?}: {message}");
    }
}

#[tokio::test]
async fn head_is_answered_like_get() {
    let server = start("");
    assert_eq!(server.call("HEAD", "/api/licences", "").await.status, 200);
    assert_eq!(server.call("HEAD", "/api/licences/1", "").await.status, 404);
}
