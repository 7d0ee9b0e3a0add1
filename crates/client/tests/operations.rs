//! Operations: tickets, whose session, what happens when the server is lost, and the first key of
//! a series.

#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene fails")]

mod common;

use common::bench::Bench;
use common::{Server, Setup, http, licence, nobody, refusal, series_key, session};
use licence_client::{ClientError, SESSION_KEYS_BYTES_MAX};
use licence_core::protocol::Wish;
use licence_core::protocol::manager::{
    FILE_TEXT_BYTES_MAX, HiddenValue, Operation, OperationResult,
};
use licence_core::seal::SigningKey;
use serde_json::{Value, json};

const OPERATION: &str = "/client/v1/operation";
const HELLO: &str = "/client/hello";

fn install() -> Operation {
    Operation::Install {
        activation_code: "CODE".to_owned(),
        itn: Some("7701234567".to_owned()),
        iec: None,
        blank_key_no: None,
    }
}

fn parameter() -> Operation {
    Operation::Parameter {
        key_no: None,
        session: None,
        name: "ТипПриложения".to_owned(),
        use_main_key: false,
    }
}

fn session_keys(function: &str, parameters: Value) -> Operation {
    Operation::SessionKeys {
        function: function.to_owned(),
        parameters,
        access_token: Some("ACCESS".to_owned()),
        session: None,
    }
}

fn class<T: std::fmt::Debug>(result: Result<T, ClientError>) -> String {
    result.unwrap_err().class().to_owned()
}

fn bodies(server: &Server) -> Vec<Value> {
    let books = server.books();
    let asked = books.requests.iter().filter(|(path, _)| path == OPERATION);
    asked.map(|(_, body)| body.clone()).collect()
}

#[test]
fn operation_that_takes_long_is_asked_for_by_its_ticket() {
    let (bench, server) = (Bench::new(), Server::start(Setup::default()));
    let link = bench.start(&[server.address]);
    server.books().operations.extend([
        http(200, &json!({"Ticket": "T1"})),
        http(200, &json!({"Ticket": "T2"})),
        http(200, &json!({"Result": {"Licences": []}})),
    ]);
    let result = link.operation(None, install()).unwrap();
    assert_eq!(result, OperationResult::Licences(Vec::new()));
    let bodies = bodies(&server);
    assert_eq!(bodies[0]["Operation"]["Install"]["ActivationCode"], "CODE");
    assert_eq!(bodies[0]["Operation"]["Install"]["ITN"], "7701234567");
    assert_eq!((&bodies[0]["KeyID"], &bodies[0]["Language"]), (&"672B".into(), &"ru".into()));
    assert_eq!(bodies.len(), 3);
    for (body, ticket) in bodies[1..].iter().zip(["T1", "T2"]) {
        assert_eq!(body["Ticket"], ticket);
        assert!(body["Operation"].is_null(), "the code travels once: {body}");
    }
}

#[test]
fn refused_ticket_means_that_the_outcome_is_not_known() {
    let (bench, server) = (Bench::new(), Server::start(Setup::default()));
    let link = bench.start(&[server.address]);
    server.books().operations.extend([
        http(200, &json!({"Ticket": "T1"})),
        refusal(404, "ETicketNotFound", "Нет такого билета"),
    ]);
    let error = link.operation(None, install()).unwrap_err();
    assert_eq!(error.class(), "EExecuteError");
    assert!(error.to_string().contains("whether it was done is not known"), "{error}");
    assert_eq!(server.books().count(OPERATION), 2, "it is not begun again");
}

#[test]
fn other_calls_go_on_while_an_operation_is_at_work() {
    let (bench, server) = (Bench::new(), Server::start(Setup::default()));
    let link = bench.start(&[server.address]);
    server.books().operations.push_back(http(200, &json!({"Ticket": "T"})));
    let waiting = {
        let link = link.clone();
        std::thread::spawn(move || link.operation(None, install()))
    };
    server.wait_for("the ticket", |books| books.count(OPERATION) > 1);
    link.counters().unwrap();
    server.books().operations = [http(200, &json!({"Result": "Done"}))].into();
    assert_eq!(waiting.join().unwrap().unwrap(), OperationResult::Done);
}

#[test]
fn id_of_the_seat_goes_along_and_no_seat_is_taken_for_it() {
    let (bench, server) = (Bench::new(), Server::start(Setup::default()));
    let link = bench.start(&[server.address]);
    let value = http(200, &json!({"Result": {"Parameter": "Профи"}}));
    server.books().operations.push_back(value);
    let who = session(1);
    let result = link.operation(Some(&who), parameter()).unwrap();
    assert_eq!(result, OperationResult::Parameter(Some("Профи".to_owned())));
    assert!(bodies(&server)[0]["Operation"]["Parameter"]["Session"].is_null());
    assert_eq!(server.books().count("/client/v1/open"), 0);
    link.take_seat(session(1), Wish::default()).unwrap();
    link.operation(Some(&who), parameter()).unwrap();
    assert_eq!(bodies(&server)[1]["Operation"]["Parameter"]["Session"], "s2");
}

#[test]
fn session_that_the_server_forgot_is_opened_again_once() {
    let (bench, server) = (Bench::new(), Server::start(Setup::default()));
    let link = bench.start(&[server.address]);
    link.take_seat(session(1), Wish::default()).unwrap();
    let gone = refusal(404, "ESessionNotFound", "Сеанс неизвестен");
    server.books().operations.extend([gone.clone(), http(200, &json!({"Result": "Done"}))]);
    link.operation(Some(&session(1)), parameter()).unwrap();
    assert_eq!(server.books().count("/client/v1/open"), 2);
    server.books().operations = [gone].into();
    let refused = link.operation(Some(&session(1)), parameter());
    assert_eq!(class(refused), "EServerResult.ESessionNotFound");
    assert_eq!(server.books().count("/client/v1/open"), 3);
}

#[test]
fn change_is_not_repeated_elsewhere_when_its_server_is_lost_and_a_question_is() {
    for (operation, answered_by_second) in [(install(), false), (parameter(), true)] {
        let (bench, second) = (Bench::new(), Server::start(Setup::default()));
        let broken = Some((OPERATION, b"no HTTP\r\n\r\n".to_vec()));
        let first = Server::start(Setup { instead: broken, ..Setup::default() });
        let link = bench.start(&[first.address, second.address]);
        let result = link.operation(None, operation);
        assert_eq!(result.is_ok(), answered_by_second);
        if let Err(error) = result {
            assert_eq!(error.class(), "EExecuteError");
            assert!(error.to_string().contains("not known"), "{error}");
        }
        assert_eq!(bodies(&first).len(), 1);
        assert_eq!(bodies(&second).len(), usize::from(answered_by_second));
    }
}

#[test]
fn text_longer_than_any_server_takes_does_not_travel() {
    let (bench, server) = (Bench::new(), Server::start(Setup::default()));
    let link = bench.start(&[server.address]);
    let answer = Operation::InstallAnswer { answer: "x".repeat(FILE_TEXT_BYTES_MAX + 1) };
    assert_eq!(class(link.operation(None, answer)), "EParams");
    let (key_no, session, use_main_key) = (None, None, false);
    let name = "ж".repeat(256);
    let parameter = Operation::Parameter { key_no, session, name, use_main_key };
    assert_eq!(class(link.operation(None, parameter)), "EParams");
    assert_eq!(server.books().count(OPERATION), 0);
}

#[test]
fn server_without_a_key_installs_the_first_one() {
    for says_so_with_a_refusal in [false, true] {
        let bench = Bench::new();
        let server = Server::start(Setup { licences: Some(vec![]), ..Setup::default() });
        if says_so_with_a_refusal {
            let refused = refusal(404, "ELicenceNotFound", "Нет ключа");
            server.books().instead.insert(HELLO, refused);
        }
        let options = bench.options(&[nobody(), server.address]);
        let class_of_start = bench.client.start(options.clone()).unwrap_err();
        assert_eq!(class_of_start.class(), "EServerResult.ELicenceNotFound");
        server.books().operations.extend([
            http(200, &json!({"Ticket": "T1"})),
            http(200, &json!({"Result": {"Licences": []}})),
        ]);
        let result = bench.client.operation_unproven(options.clone(), install()).unwrap();
        assert_eq!(result, OperationResult::Licences(Vec::new()));
        let bodies = bodies(&server);
        assert!(bodies.iter().all(|body| body["Connection"].is_null()));
        assert_eq!(bodies[1]["Ticket"], "T1");
        // The fruitless walk of a moment ago says nothing of the start that follows.
        let holder = SigningKey::from_seed(&[2; 32]).public();
        let hello = json!({"Version": 1, "ServerVersion": "9.9.9",
            "Licences": [licence(&series_key(), holder)]});
        server.books().instead.insert(HELLO, http(200, &hello));
        bench.client.start(options).unwrap();
    }
}

#[test]
fn refusal_of_a_server_without_a_key_is_reported() {
    let bench = Bench::new();
    let server = Server::start(Setup { licences: Some(vec![]), ..Setup::default() });
    server.books().operations.push_back(refusal(400, "EParams", "Неверный код"));
    let options = bench.options(&[server.address]);
    let refused = bench.client.operation_unproven(options.clone(), install());
    assert_eq!(class(refused), "EServerResult.EParams");
    server.books().operations = [b"no HTTP\r\n\r\n".to_vec()].into();
    let lost = bench.client.operation_unproven(options, install());
    assert_eq!(class(lost), "EExecuteError");
    let silent = bench.options(&[nobody()]);
    let none = bench.client.operation_unproven(silent, install());
    assert_eq!(class(none), "ELocalServerNotFound");
}

#[test]
fn unproven_server_is_asked_for_nothing_else_and_a_foreign_one_for_nothing() {
    let bench = Bench::new();
    let other = SigningKey::from_seed(&[77; 32]).public();
    for licences in [vec![licence(&series_key(), other)], vec!["no licence".to_owned()]] {
        let server = Server::start(Setup { licences: Some(licences), ..Setup::default() });
        let options = bench.options(&[server.address]);
        let refused = bench.client.operation_unproven(options.clone(), install());
        assert_eq!(class(refused), "EServerNotTrusted");
        let refused = bench.client.operation_unproven(options, parameter());
        assert_eq!(class(refused), "EExecuteError");
        assert_eq!(server.books().count(OPERATION), 0);
    }
}

#[test]
fn session_keys_are_asked_for_with_token_and_seat() {
    let (bench, server) = (Bench::new(), Server::start(Setup::default()));
    let link = bench.start(&[server.address]);
    link.take_seat(session(1), Wish::default()).unwrap();
    let answer = json!({"SessionKey": "KEY", "State": "Valid"});
    let told = http(200, &json!({"Result": {"SessionKeys": answer}}));
    server.books().operations.push_back(told);
    let parameters = json!({"TokenType": "ISMP", "Organization": "7707083893"});
    let operation = session_keys("CurrentSessionKey", parameters.clone());
    assert!(!format!("{operation:?}").contains("ACCESS"));
    let result = link.operation(Some(&session(1)), operation).unwrap();
    assert_eq!(result, OperationResult::SessionKeys(HiddenValue(answer)));
    assert!(!format!("{result:?}").contains("KEY"));
    let asked = &bodies(&server)[0]["Operation"]["SessionKeys"];
    assert_eq!(asked["Function"], "CurrentSessionKey");
    assert_eq!(asked["Parameters"], parameters);
    assert_eq!((&asked["AccessToken"], &asked["Session"]), (&"ACCESS".into(), &"s2".into()));
}

#[test]
fn question_about_session_keys_is_put_to_another_server_and_a_change_is_not() {
    for (function, answered_by_second) in [
        ("CurrentSessionKey", true),
        ("RefreshRequired", true),
        ("Reminders", true),
        ("ResponsibleSettings", true),
        ("CancelRefresh", false),
        ("RejectSessionKey", false),
        ("RequestAuthorizationParameters", false),
        ("RequestSessionKey", false),
        ("SetSessionKey", false),
        ("Snooze", false),
    ] {
        let (bench, second) = (Bench::new(), Server::start(Setup::default()));
        let broken = Some((OPERATION, b"no HTTP\r\n\r\n".to_vec()));
        let first = Server::start(Setup { instead: broken, ..Setup::default() });
        let link = bench.start(&[first.address, second.address]);
        let result = link.operation(None, session_keys(function, json!({})));
        assert_eq!(result.is_ok(), answered_by_second, "{function}: {result:?}");
        assert_eq!(bodies(&second).len(), usize::from(answered_by_second), "{function}");
    }
}

#[test]
fn question_whose_ticket_was_lost_is_begun_again_and_not_for_ever() {
    let no_ticket = || refusal(404, "ETicketNotFound", "Нет такого билета");
    let ticket = || http(200, &json!({"Ticket": "T"}));
    let answer = http(200, &json!({"Result": {"SessionKeys": {"Required": false}}}));
    for (answers, asked, is_answered) in [
        (vec![ticket(), no_ticket(), ticket(), answer], 4, true),
        (vec![ticket(), no_ticket(), ticket(), no_ticket(), ticket(), no_ticket()], 6, false),
    ] {
        let (bench, server) = (Bench::new(), Server::start(Setup::default()));
        let link = bench.start(&[server.address]);
        server.books().operations.extend(answers);
        let result = link.operation(None, session_keys("RefreshRequired", json!({})));
        assert_eq!(result.is_ok(), is_answered, "{result:?}");
        assert_eq!(bodies(&server).len(), asked);
    }
}

#[test]
fn server_without_session_keys_goes_on_serving_licences() {
    let (bench, server) = (Bench::new(), Server::start(Setup::default()));
    let reserve = Server::start(Setup::default());
    let link = bench.start(&[server.address, reserve.address]);
    link.take_seat(session(1), Wish::default()).unwrap();
    for refused in ["EIsmpDisabled", "EIsmpStorage"] {
        server.books().operations = [refusal(503, refused, "Нет ключей сессии")].into();
        let asked = link.operation(None, session_keys("CurrentSessionKey", json!({})));
        assert_eq!(class(asked), format!("EServerResult.{refused}"));
    }
    link.counters().unwrap();
    assert_eq!(reserve.books().requests.len(), 0);
}

#[test]
fn parameters_that_no_function_needs_do_not_travel() {
    let (bench, server) = (Bench::new(), Server::start(Setup::default()));
    let link = bench.start(&[server.address]);
    let operation = session_keys("Reminders", json!("x".repeat(SESSION_KEYS_BYTES_MAX)));
    assert_eq!(class(link.operation(None, operation)), "EParams");
    assert_eq!(server.books().count(OPERATION), 0);
}
