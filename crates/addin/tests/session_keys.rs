//! Session keys of ИС МП through the built library: what the eleven functions and their companions
//! ask of the server, and what 1C gets.
//!
//! The server is the stand-in of the client's tests: what it is asked is looked at, what it answers
//! is written here.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "helpers of tests panic like tests")]

#[path = "common/at_home.rs"]
mod at_home;
mod common;
#[expect(dead_code, reason = "each test program uses a part of this")]
#[path = "common/platform.rs"]
mod fake;
#[path = "../../client/tests/common/mod.rs"]
mod stand_in;

use at_home::{class, is_at_home, started};
use fake::{Answer, Argument, date, nothing, number, text, truth};
use serde_json::{Value, json};
use stand_in::{Server, Setup, http, refusal};

const OPERATION: &str = "/client/v1/operation";

const CURRENT: &str = "ТекущийКлючСессии";
const REQUIRED: &str = "ТребуетсяОбновлениеКлючаСессии";
const SETTINGS: &str = "НастройкиОтветственногоЗаАктуализациюТокеновАвторизации";
const REMINDERS: &str = "ПолучитьНапоминанияОтветственномуЗаАктуализациюТокеновАвторизации";

/// `ПараметрыЗапроса` as a configuration has them, and as they travel.
fn request() -> (Value, Value) {
    let own = json!({"ИмяПараметраСеанса": "ДанныеКлючаСессииСУЗ", "Организация": "7707083893",
        "ПроизводственныйОбъект": "AA-1", "Сервер": "suzgrid.crpt.ru", "Порт": 443});
    let sent = json!({"TokenType": "SUZ", "Organization": "7707083893",
        "ProductionObject": "AA-1"});
    (own, sent)
}

/// The same with who asks, as it travels where a key is got.
fn by_whom(mut sent: Value) -> Value {
    sent["User"] = "Анна".into();
    sent["Infobase"] = "Srvr=\"s\";Ref=\"b\";".into();
    sent
}

fn json_text(value: &Value) -> Argument {
    text(&value.to_string())
}

/// What the server answers from here on.
fn answer(server: &Server, answer: &Value) {
    server.books().operations = [http(200, &json!({"Result": {"SessionKeys": answer}}))].into();
}

/// The last function that was asked for, and its parameters.
fn asked(server: &Server) -> (String, Value) {
    let books = server.books();
    let asked = &books.last(OPERATION)["Operation"]["SessionKeys"];
    (asked["Function"].as_str().unwrap().to_owned(), asked["Parameters"].clone())
}

fn read(answer: &str) -> Value {
    serde_json::from_str(answer).unwrap()
}

#[test]
fn current_key_is_a_text_or_nothing_and_its_deadline_goes_along() {
    if !is_at_home("current_key_is_a_text_or_nothing_and_its_deadline_goes_along") {
        return;
    }
    let server = Server::start(Setup::default());
    let platform = started(&server, "LicenceExtension", 1);
    let (own, sent) = request();
    answer(&server, &json!({"SessionKey": "KEY", "ValidUntil": "2026-11-22T21:00:00.000Z"}));
    for (deadline, expected) in [
        (vec![], None),
        (vec![nothing()], None),
        (vec![text("")], None),
        (vec![date([0, 0, 0, 1, 1, 1])], None),
        (vec![date([5, 4, 3, 22, 11, 2026])], Some("2026-11-22T03:04:05.000Z")),
        (vec![text("2026-11-22T03:04:05")], Some("2026-11-22T03:04:05.000Z")),
        (vec![text("2026-11-22T06:04:05+03:00")], Some("2026-11-22T03:04:05.000Z")),
    ] {
        let mut arguments = vec![json_text(&own)];
        arguments.extend(deadline);
        assert_eq!(platform.ask(CURRENT, arguments), "KEY");
        let mut sent = sent.clone();
        if let Some(expected) = expected {
            sent["Deadline"] = expected.into();
        }
        assert_eq!(asked(&server), ("CurrentSessionKey".to_owned(), sent));
    }
    for none in [json!({"SessionKey": null}), json!({}), json!({"SessionKey": ""})] {
        answer(&server, &none);
        assert_eq!(platform.call("CurrentSessionKey", vec![json_text(&own)]), Answer::Empty);
        assert_eq!(class(&platform), "", "no key is no error: {none}");
    }
    server.books().operations = [refusal(503, "EIsmpDisabled", "Выключено")].into();
    assert_eq!(platform.call(CURRENT, vec![json_text(&own)]), Answer::Empty);
    assert_eq!(class(&platform), "EServerResult.EIsmpDisabled");
}

#[test]
fn each_question_for_a_refresh_names_its_kind_and_waits() {
    if !is_at_home("each_question_for_a_refresh_names_its_kind_and_waits") {
        return;
    }
    let server = Server::start(Setup::default());
    let platform = started(&server, "LicenceExtension", 1);
    let (own, sent) = request();
    let organization = json!({"Организация": "7707083893", "ПроизводственныйОбъект": "AA-1"});
    let of_kind = |kind: &str| json!({"TokenType": kind, "Organization": "7707083893"});
    let until = || date([0, 0, 12, 22, 11, 2026]);
    let with_deadline = |mut sent: Value| {
        sent["Deadline"] = "2026-11-22T12:00:00.000Z".into();
        sent
    };
    let by_kind = "ТребуетсяОбновлениеКлючаСессииСУчетомВидаТокена";
    for (method, arguments, sent) in [
        (REQUIRED, vec![json_text(&own)], sent.clone()),
        ("RefreshRequired", vec![json_text(&own), until()], with_deadline(sent)),
        ("ТребуетсяОбновлениеКлючаСессииРозница", vec![json_text(&own)], of_kind("ISMPRetail")),
        (
            "RefreshRequiredRetail",
            vec![json_text(&organization), until()],
            with_deadline(of_kind("ISMPRetail")),
        ),
        (by_kind, vec![json_text(&organization)], of_kind("ISMP")),
        (by_kind, vec![json_text(&organization), nothing()], of_kind("ISMP")),
        (
            "RefreshRequiredByTokenKind",
            vec![json_text(&organization), truth(true)],
            of_kind("ISMPRetail"),
        ),
    ] {
        let mut sent = sent;
        sent["WaitSeconds"] = 20.into();
        let required = sent["TokenType"] != "ISMP";
        answer(&server, &json!({"Required": required, "Reason": "missing"}));
        assert_eq!(platform.call(method, arguments), Answer::Truth(required), "{method}");
        assert_eq!(asked(&server), ("RefreshRequired".to_owned(), sent), "{method}");
    }
    // An answer that says nothing is not taken for "no".
    answer(&server, &json!({}));
    assert_eq!(platform.call(REQUIRED, vec![json_text(&own)]), Answer::Empty);
    assert_eq!(class(&platform), "EExecuteError");
}

#[test]
fn key_is_got_in_two_steps_with_russian_names_on_the_side_of_1c() {
    if !is_at_home("key_is_got_in_two_steps_with_russian_names_on_the_side_of_1c") {
        return;
    }
    let server = Server::start(Setup::default());
    let platform = started(&server, "LicenceExtension20", 1);
    let (own, sent) = request();
    let authorization = json!({"Id": "U-1", "Data": "WLYDSMYD", "INN": null,
        "UnitedToken": false});
    let challenge = json!({"AuthorizationParameters": authorization, "ErrorText": "",
        "LeaseSecs": 120});
    answer(&server, &challenge);
    let given = read(&platform.ask("ЗапроситьПараметрыАвторизации", vec![json_text(&own)]));
    let expected = json!({"ПараметрыАвторизации": {"Идентификатор": "U-1", "Данные": "WLYDSMYD",
        "ИНН": null, "UnitedToken": false}, "ТекстОшибки": "", "LeaseSecs": 120});
    assert_eq!(given, expected);
    let expected = ("RequestAuthorizationParameters".to_owned(), by_whom(sent.clone()));
    assert_eq!(asked(&server), expected);

    let parameters = json!({"SessionKey": "KEY", "ValidUntil": "2026-11-22T21:00:00.000Z",
        "INN": "7707083893"});
    let answered = json!({"SessionKeyParameters": parameters, "Result": parameters,
        "ErrorText": ""});
    answer(&server, &answered);
    let asks = json!({"ПараметрыЗапроса": own,
        "ПараметрыАвторизации": given["ПараметрыАвторизации"],
        "СвойстваПодписи": {"Подпись": "QUJD\r\nREVG", "УстановившийПодпись": "Анна"}});
    let given = read(&platform.ask("ЗапроситьКлючСессии", vec![json_text(&asks)]));
    let key = json!({"КлючСессии": "KEY", "ДействуетДо": "2026-11-22T21:00:00.000Z",
        "ИНН": "7707083893"});
    assert_eq!(given, json!({"ПараметрыКлючаСессии": key, "Результат": key, "ТекстОшибки": ""}));
    let expected = json!({"RequestParameters": sent,
        "AuthorizationParameters": {"Id": "U-1", "Data": "WLYDSMYD", "UnitedToken": false},
        "SignatureProperties": {"Signature": "QUJD\r\nREVG"}});
    assert_eq!(asked(&server), ("RequestSessionKey".to_owned(), by_whom(expected)));

    // A refusal of the service is an answer.
    let refused = json!({"SessionKeyParameters": null, "Result": null, "ErrorText": "Ошибка"});
    answer(&server, &refused);
    let given = read(&platform.ask("RequestSessionKey", vec![json_text(&asks)]));
    assert_eq!((&given["Результат"], &given["ТекстОшибки"]), (&Value::Null, &"Ошибка".into()));
    for left_out in ["ПараметрыЗапроса", "ПараметрыАвторизации", "СвойстваПодписи"]
    {
        let mut asks = asks.clone();
        asks.as_object_mut().unwrap().remove(left_out);
        assert_eq!(platform.call("RequestSessionKey", vec![json_text(&asks)]), Answer::Empty);
        assert_eq!(class(&platform), "EParams");
        assert!(platform.error().contains(left_out), "{}", platform.error());
    }
}

#[test]
fn long_sign_in_is_waited_for_by_its_ticket_and_never_repeated() {
    if !is_at_home("long_sign_in_is_waited_for_by_its_ticket_and_never_repeated") {
        return;
    }
    let server = Server::start(Setup::default());
    let platform = started(&server, "LicenceExtension", 1);
    let asks = json!({"ПараметрыЗапроса": request().0, "ПараметрыАвторизации": {"Id": "U"},
        "СвойстваПодписи": "QUJD"});
    let done = json!({"SessionKeyParameters": {"SessionKey": "KEY"}, "ErrorText": ""});
    server.books().operations.extend([
        http(200, &json!({"Ticket": "T"})),
        http(200, &json!({"Ticket": "T"})),
        http(200, &json!({"Result": {"SessionKeys": done}})),
    ]);
    let given = read(&platform.ask("ЗапроситьКлючСессии", vec![json_text(&asks)]));
    assert_eq!(given["ПараметрыКлючаСессии"]["КлючСессии"], "KEY");
    let signatures = {
        let books = server.books();
        let with_signature =
            books.requests.iter().filter(|(_, body)| body.to_string().contains("QUJD"));
        with_signature.count()
    };
    assert_eq!(signatures, 1);
    let lost = refusal(404, "ETicketNotFound", "Нет такого билета");
    server.books().operations = [http(200, &json!({"Ticket": "T"})), lost].into();
    assert_eq!(platform.call("ЗапроситьКлючСессии", vec![json_text(&asks)]), Answer::Empty);
    assert_eq!(class(&platform), "EExecuteError");
}

#[test]
fn key_that_is_set_goes_to_the_server_or_counts_for_its_object_alone() {
    if !is_at_home("key_that_is_set_goes_to_the_server_or_counts_for_its_object_alone") {
        return;
    }
    let server = Server::start(Setup::default());
    let platform = started(&server, "LicenceExtension", 1);
    let (own, sent) = request();
    let set = |key: &Value, more: Vec<Argument>| {
        let mut arguments = vec![json_text(&own), json_text(key)];
        arguments.extend(more);
        platform.proceed("УстановитьКлючСессии", arguments)
    };
    let key = json!({"КлючСессии": "KEY", "ДействуетДо": "2100-01-01T00:00:00"});
    // For this object alone: nobody is asked, and another object knows nothing of it.
    answer(&server, &json!({"SessionKey": null}));
    assert!(set(&key, vec![truth(false)]));
    assert_eq!(server.books().count(OPERATION), 0);
    assert_eq!(platform.ask(CURRENT, vec![json_text(&own)]), "KEY");
    assert_eq!(platform.call(REQUIRED, vec![json_text(&own)]), Answer::Truth(false));
    assert_eq!(server.books().count(OPERATION), 0);
    let other = started(&server, "LicenceExtension", 2);
    assert_eq!(other.call(CURRENT, vec![json_text(&own)]), Answer::Empty);
    // To the server: from there on its answer counts.
    for (key, more, expected) in [
        (
            key.clone(),
            vec![],
            json!({"SessionKey": "KEY",
            "ValidUntil": "2100-01-01T00:00:00.000Z"}),
        ),
        (
            key,
            vec![truth(true)],
            json!({"SessionKey": "KEY",
            "ValidUntil": "2100-01-01T00:00:00.000Z"}),
        ),
        (
            json!({"КлючСессии": "", "ДействуетДо": "0001-01-01T00:00:00"}),
            vec![nothing()],
            json!({"SessionKey": "", "ValidUntil": "0001-01-01T00:00:00"}),
        ),
        (json!({"КлючСессии": "A.B.C"}), vec![], json!({"SessionKey": "A.B.C"})),
    ] {
        answer(&server, &json!({}));
        assert!(set(&key, more), "{}", platform.error());
        let expected = json!({"RequestParameters": sent, "SessionKeyParameters": expected});
        assert_eq!(asked(&server), ("SetSessionKey".to_owned(), by_whom(expected)));
    }
    assert_eq!(platform.call(CURRENT, vec![json_text(&own)]), Answer::Empty);
    server.books().operations = [refusal(403, "EIsmpInsecure", "Небезопасно")].into();
    assert!(!set(&json!({"КлючСессии": "KEY"}), vec![]), "an exception of 1C");
    assert_eq!(class(&platform), "EServerResult.EIsmpInsecure");
    assert!(platform.error().contains("Небезопасно"));
    for (key, part) in [
        (json!({"КлючСессии": "KEY", "ДействуетДо": "завтра"}), "ДействуетДо"),
        (json!({"КлючСессии": "два слова"}), "КлючСессии"),
        (json!({"КлючСессии": 5}), "КлючСессии"),
        (json!([]), "ПараметрыКлючаСессии"),
    ] {
        assert!(!set(&key, vec![]));
        assert_eq!(class(&platform), "EParams");
        let error = platform.error();
        assert!(error.contains(part) && !error.contains("два слова"), "{error}");
    }
}

#[test]
fn settings_and_reminders_are_asked_for_the_user_of_the_session() {
    if !is_at_home("settings_and_reminders_are_asked_for_the_user_of_the_session") {
        return;
    }
    let server = Server::start(Setup::default());
    let platform = started(&server, "LicenceExtension", 1);
    let row = json!({"TokenType": "SUZ", "Organization": "7707083893", "ProductionObject": "aa-1",
        "NotifySecs": 600});
    let shown = json!([{"ТипТокенаАвторизации": "СУЗ", "Организация": "7707083893",
        "ПроизводственныйОбъект": "aa-1", "ВремяОповещения": 600}]);
    answer(&server, &json!([row]));
    for (arguments, expected) in [
        (vec![], json!({"User": "Анна", "ForView": false})),
        (vec![truth(true)], json!({"User": "Анна", "ForView": true})),
        (
            vec![truth(false), text(r#"["7707083893"]"#)],
            json!({"User": "Анна", "ForView": false, "Organizations": ["7707083893"]}),
        ),
    ] {
        assert_eq!(read(&platform.ask(SETTINGS, arguments)), shown);
        assert_eq!(asked(&server), ("ResponsibleSettings".to_owned(), expected));
    }
    let reminder = json!([{"TokenType": "SUZ", "Organization": "7707083893",
        "ProductionObject": "aa-1", "ExpiryDate": "0001-01-01T00:00:00", "RemainingSecs": 0,
        "IsMissing": true, "IsExpired": false, "NeedsRefresh": true, "UsesReminder": true,
        "RemindBeforeSecs": 600, "RemindInSecs": 300}]);
    answer(&server, &reminder);
    let rows = read(&platform.ask(REMINDERS, vec![json_text(&shown)]));
    let expected = json!([{"ТипТокенаАвторизации": "СУЗ", "Организация": "7707083893",
        "ПроизводственныйОбъект": "aa-1", "ДатаДействия": "0001-01-01T00:00:00",
        "ВремяДействия": 0, "Отсутствует": true, "Просрочен": false,
        "ТребуетсяАктуализация": true, "ОповещениеИспользуется": true, "ОповещатьЗа": 600,
        "ОповеститьЧерез": 300}]);
    assert_eq!(rows, expected);
    let mut sent = row;
    sent["TokenType"] = "СУЗ".into();
    let expected = json!({"User": "Анна", "Settings": [sent]});
    assert_eq!(asked(&server), ("Reminders".to_owned(), expected));

    answer(&server, &json!({}));
    for (arguments, secs) in
        [(vec![], 600), (vec![nothing()], 600), (vec![number(0.0)], 0), (vec![number(60.0)], 60)]
    {
        let snoozed = platform.call("ОтложитьНапоминанияОТокенахАвторизации", arguments);
        assert_eq!(snoozed, Answer::Truth(true));
        assert_eq!(asked(&server).1, json!({"User": "Анна", "Secs": secs}));
    }
    let nobody = json!({"SessionNumber": 1, "InfoBaseConnectionStr": "File=a;"});
    platform.call("УстановитьСеанс", vec![json_text(&nobody)]);
    assert_eq!(platform.call(SETTINGS, vec![]), Answer::Empty);
    assert_eq!(class(&platform), "EParams");
    assert!(platform.error().contains("UserName"), "{}", platform.error());
}

#[test]
fn rejected_key_and_cancelled_refresh_are_told_to_the_server() {
    if !is_at_home("rejected_key_and_cancelled_refresh_are_told_to_the_server") {
        return;
    }
    let server = Server::start(Setup::default());
    let platform = started(&server, "LicenceExtension", 1);
    let (own, sent) = request();
    for removed in [true, false] {
        answer(&server, &json!({"Removed": removed}));
        let rejected = platform.call("ОтклонитьКлючСессии", vec![json_text(&own), text("KEY")]);
        assert_eq!(rejected, Answer::Truth(removed));
        assert_eq!(class(&platform), "");
        let expected = json!({"RequestParameters": sent, "SessionKey": "KEY"});
        assert_eq!(asked(&server), ("RejectSessionKey".to_owned(), expected));
    }
    answer(&server, &json!({}));
    let cancelled = platform.call("CancelRefresh", vec![text(" U-1 ")]);
    assert_eq!(cancelled, Answer::Truth(true));
    assert_eq!(asked(&server), ("CancelRefresh".to_owned(), json!({"Id": "U-1"})));
}

#[test]
fn access_token_comes_from_code_or_from_the_settings_and_nobody_sees_it() {
    if !is_at_home("access_token_comes_from_code_or_from_the_settings_and_nobody_sees_it") {
        return;
    }
    let home = std::path::PathBuf::from(std::env::var_os("HOME").unwrap());
    let server = Server::start(Setup::default());
    let platform = started(&server, "LicenceExtension", 1);
    let (own, _) = request();
    let shown = || {
        answer(&server, &json!({"SessionKey": "KEY-OF-SESSION"}));
        assert_eq!(platform.ask(CURRENT, vec![json_text(&own)]), "KEY-OF-SESSION");
        let books = server.books();
        books.last(OPERATION)["Operation"]["SessionKeys"]["AccessToken"].clone()
    };
    assert_eq!(shown(), Value::Null);
    let common = home.join("common");
    std::fs::create_dir_all(&common).unwrap();
    let conf = common.join("licenceaddin.conf");
    std::fs::write(&conf, "[Common]\n[ISMP]\nAccessToken=SECRET-OF-CONF\n").unwrap();
    assert_eq!(shown(), "SECRET-OF-CONF");
    assert!(platform.set("ТокенДоступа", text("SECRET-OF-CODE")));
    assert_eq!(shown(), "SECRET-OF-CODE");
    assert!(platform.set("AccessToken", nothing()));
    std::fs::write(&conf, "[ISMP]\nAccessToken=SECRET ЭТОГО ФАЙЛА\n").unwrap();
    assert_eq!(platform.call(CURRENT, vec![json_text(&own)]), Answer::Empty);
    assert_eq!(class(&platform), "EParams");
    let error = platform.error();
    assert!(error.contains("AccessToken") && !error.contains("SECRET"), "{error}");
    // Neither tokens nor keys are in the log.
    let logs = home.join(".1C/licence/3.0/logs");
    let mut seen = 0;
    for entry in std::fs::read_dir(logs).unwrap() {
        let log = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!log.contains("SECRET") && !log.contains("KEY-OF-SESSION"), "{log}");
        seen += 1;
    }
    assert!(seen > 0, "no log was written");
}
