//! Session keys of ИС МП through the whole component: real libraries in hosts that play 1C, a real
//! licence server, a played marking service, signatures by GOST.

use licence_core::protocol::SessionInfo;
use serde_json::{Value, json};
use xtask::demo::server_session;
use xtask::stage::{
    Crpt, HostProcess, Launch, Order, Rest, SERIES, Said, Server, Signatory, Stage, Vendor,
    wait_until, word,
};

use crate::site::{self, LINE, More, ROMASHKA, ROOT, SECRET};

const MAIN: Order = Order { kind: "main", seats: 5 };

const REMINDERS: &str = "ПолучитьНапоминанияОтветственномуЗаАктуализациюТокеновАвторизации";
const SETTINGS: &str = "НастройкиОтветственногоЗаАктуализациюТокеновАвторизации";

struct Scene {
    server: Server,
    crpt: Crpt,
    vendor: Vendor,
    stage: Stage,
}

impl Scene {
    /// A server with a licence of five seats that keeps session keys.
    fn new(ismp: &str) -> Self {
        let stage = Stage::temporary().unwrap();
        let vendor = Vendor::start(&stage).unwrap();
        let crpt = Crpt::start(&stage).unwrap();
        let conf = site::conf(&crpt, More { ismp, ..More::default() });
        let server = server(&stage, "server", &vendor, &conf);
        Self { server, crpt, vendor, stage }
    }

    fn root(&self) -> Rest {
        Rest::bearing(self.server.port(), ROOT)
    }

    fn signatory(&self) -> Signatory {
        self.crpt.gost().issue(ROMASHKA).unwrap()
    }

    /// A 1C process of its own computer, with an object whose session is set.
    fn host(&self, name: &str, session: &SessionInfo) -> HostProcess {
        host(&self.stage, &self.vendor, name, &[self.server.port()], session)
    }
}

fn server(stage: &Stage, name: &str, vendor: &Vendor, conf: &str) -> Server {
    let server = Server::start_as(stage, name, vendor, 0, conf, Launch::default()).unwrap();
    let code = vendor.order(stage, MAIN).unwrap();
    Rest::bearing(server.port(), ROOT).activate(&code).unwrap();
    server
}

fn host(
    stage: &Stage,
    vendor: &Vendor,
    name: &str,
    ports: &[u16],
    session: &SessionInfo,
) -> HostProcess {
    let computer = stage.computer(name, vendor, ports).unwrap();
    let mut host = HostProcess::start(stage, name, &computer).unwrap();
    host.create().unwrap();
    host.call_truth("Запуск", &[word(SERIES)]).unwrap().unwrap();
    let session = serde_json::to_string(session).unwrap();
    host.call_truth("УстановитьСеанс", &[word(&session)]).unwrap().unwrap();
    host
}

fn session(number: u32, user: &str, infobase: &str) -> SessionInfo {
    SessionInfo {
        user_name: Some(user.to_owned()),
        info_base_connection_str: format!("Srvr=\"srv\";Ref=\"{infobase}\";"),
        ..server_session(number)
    }
}

/// `ПараметрыЗапроса` as a configuration has them.
fn request() -> String {
    word(
        &json!({"ИмяПараметраСеанса": "ДанныеКлючаСессииСУЗ", "Организация": ROMASHKA,
            "ПроизводственныйОбъект": LINE, "Сервер": "suzgrid.crpt.ru", "Порт": 443})
        .to_string(),
    )
}

fn current(host: &mut HostProcess) -> Option<String> {
    match host.call("ТекущийКлючСессии", &[request()]).unwrap() {
        Said::Text(key) => Some(key),
        Said::Empty => {
            assert_eq!(host.get("КлассОшибки").unwrap(), Said::Text(String::new()));
            None
        }
        said @ (Said::Blob(_) | Said::Number(_) | Said::Truth(_)) => panic!("{said:?}"),
    }
}

fn required(host: &mut HostProcess) -> bool {
    let said = host.call("ТребуетсяОбновлениеКлючаСессии", &[request()]).unwrap();
    let Said::Truth(required) = said else { panic!("{said:?}: {:?}", host.refusal()) };
    required
}

fn challenge(host: &mut HostProcess) -> Value {
    host.call_json("ЗапроситьПараметрыАвторизации", &[request()]).unwrap().unwrap()
}

fn complete(host: &mut HostProcess, challenged: &Value, signature: &str) -> Value {
    let request: Value = json!({"ИмяПараметраСеанса": "ДанныеКлючаСессииСУЗ",
        "Организация": ROMASHKA, "ПроизводственныйОбъект": LINE});
    let asks = json!({"ПараметрыЗапроса": request,
        "ПараметрыАвторизации": challenged["ПараметрыАвторизации"],
        "СвойстваПодписи": {"Подпись": signature}});
    host.call_json("ЗапроситьКлючСессии", &[word(&asks.to_string())]).unwrap().unwrap()
}

/// From the challenge to the key.
fn sign_in(host: &mut HostProcess, signatory: &Signatory) -> String {
    let challenged = challenge(host);
    let data = challenged["ПараметрыАвторизации"]["Данные"].as_str();
    let data = data.unwrap_or_else(|| panic!("no challenge: {challenged}"));
    let completed = complete(host, &challenged, &signatory.sign(data).unwrap());
    assert_eq!(completed["ТекстОшибки"], "", "{completed}");
    assert_eq!(completed["Результат"], completed["ПараметрыКлючаСессии"]);
    completed["Результат"]["КлючСессии"].as_str().unwrap().to_owned()
}

#[test]
fn key_that_one_component_signs_for_is_every_components_key() {
    let scene = Scene::new("");
    let settings = json!({
        "Organizations": [{"INN": ROMASHKA, "Name": "Ромашка"}],
        "Installations": [{"Organization": ROMASHKA, "OmsConnection": LINE, "Name": "Линия"}],
    });
    assert!(scene.root().try_put("/api/ismp/settings", &settings).unwrap().status < 300);
    let rule = json!({"People": [{"User": "Анна", "NotifySecs": 600}]});
    assert!(scene.root().try_post("/api/ismp/responsible", &rule).unwrap().status < 300);

    let mut anna = scene.host("anna", &session(1, "Анна", "trade"));
    let mut boris = scene.host("boris", &session(2, "Борис", "warehouse"));
    // Without a token of the server nobody gets anything.
    assert_eq!(anna.call("ТекущийКлючСессии", &[request()]).unwrap(), Said::Empty);
    assert!(anna.refusal().unwrap().class.starts_with("EServerResult."));
    for host in [&mut anna, &mut boris] {
        host.set("ТокенДоступа", &word(SECRET)).unwrap();
        assert_eq!(current(host), None);
    }
    assert!(required(&mut anna));

    let settings = anna.call_json(SETTINGS, &[]).unwrap().unwrap();
    let suz = settings.as_array().unwrap().iter();
    let suz: Vec<_> = suz.filter(|row| row["ТипТокенаАвторизации"] == "СУЗ").collect();
    assert_eq!(suz.len(), 1, "{settings}");
    assert_eq!(
        (&suz[0]["ПроизводственныйОбъект"], &suz[0]["ВремяОповещения"]),
        (&LINE.into(), &600.into())
    );
    let remind = |host: &mut HostProcess| {
        let rows = host.call_json(REMINDERS, &[word(&json!(suz).to_string())]).unwrap().unwrap();
        rows[0].clone()
    };
    let row = remind(&mut anna);
    assert_eq!((&row["Отсутствует"], &row["ТребуетсяАктуализация"]), (&true.into(), &true.into()));
    assert_eq!(row["ДатаДействия"], "0001-01-01T00:00:00");
    assert_eq!(row.as_object().unwrap().len(), 11, "{row}");
    assert_eq!(boris.call_json(SETTINGS, &[]).unwrap().unwrap(), json!([]), "he has no rule");

    // While Anna types her PIN, others are told who it is, and wait.
    let challenged = challenge(&mut anna);
    let data = challenged["ПараметрыАвторизации"]["Данные"].as_str().unwrap();
    let refused = challenge(&mut boris);
    assert!(refused["ПараметрыАвторизации"].is_null(), "{refused}");
    assert!(refused["ТекстОшибки"].as_str().unwrap().contains("Анна"), "{refused}");
    boris.command(&format!("begin L ТребуетсяОбновлениеКлючаСессии {}", request())).unwrap();
    let signature = scene.signatory().sign(data).unwrap();
    let completed = complete(&mut anna, &challenged, &signature);
    let key = completed["ПараметрыКлючаСессии"]["КлючСессии"].as_str().unwrap().to_owned();
    assert_eq!(completed["Результат"], completed["ПараметрыКлючаСессии"], "{completed}");
    assert_eq!(boris.command("end").unwrap(), "bool 0", "whoever waited need not sign");
    for host in [&mut anna, &mut boris] {
        assert_eq!(current(host), Some(key.clone()));
        assert!(!required(host));
    }
    assert!(scene.crpt.is_live(&key));
    assert_eq!(scene.crpt.sign_ins(Some(LINE)), 1);
    // The same signature once more is told the same.
    assert_eq!(complete(&mut anna, &challenged, &signature)["Результат"]["КлючСессии"], key);
    assert_eq!(scene.crpt.sign_ins(Some(LINE)), 1);
    // Nine hours are left, but nobody counts on more.
    let later = "t:2100-01-01T00:00:00".to_owned();
    assert_eq!(boris.call("ТекущийКлючСессии", &[request(), later]).unwrap(), Said::Empty);
    let row = remind(&mut anna);
    assert_eq!(row["Отсутствует"], false);
    assert!(row["ОповеститьЧерез"].as_u64().unwrap() > 8 * 3600, "{row}");

    // The service answers 401 to it: the first one to say so deletes it.
    let reject = |host: &mut HostProcess| {
        host.call("ОтклонитьКлючСессии", &[request(), word(&key)]).unwrap()
    };
    assert_eq!(reject(&mut boris), Said::Truth(true));
    assert_eq!(reject(&mut anna), Said::Truth(false));
    assert_eq!(current(&mut anna), None);
    let second = sign_in(&mut boris, &scene.signatory());
    assert_eq!(current(&mut anna), Some(second.clone()));

    // What is set by hand, and what is taken back.
    let set = |host: &mut HostProcess, key: &Value| {
        host.command(&format!(
            "proc L УстановитьКлючСессии {} {}",
            request(),
            word(&key.to_string())
        ))
    };
    let typed = json!({"КлючСессии": "c0ffee00-0000-4000-8000-000000000000",
        "ДействуетДо": "2100-01-01T00:00:00"});
    assert_eq!(set(&mut anna, &typed).unwrap(), "ok");
    assert_eq!(current(&mut boris).as_deref(), typed["КлючСессии"].as_str());
    set(&mut anna, &json!({"КлючСессии": "", "ДействуетДо": "0001-01-01T00:00:00"})).unwrap();
    assert_eq!(current(&mut boris), None);

    anna.quit().unwrap();
    boris.quit().unwrap();
    // Neither side has written a key or a token down.
    for file in site::files(scene.stage.root()) {
        let Ok(bytes) = std::fs::read(&file) else { continue };
        for secret in [key.as_str(), second.as_str(), SECRET] {
            let found = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
            assert!(!found, "{} holds a secret", file.display());
        }
    }
}

#[test]
fn seat_opens_the_keys_where_the_server_lets_it_and_a_refresh_ends_with_its_session() {
    let scene = Scene::new("ComponentAccess=seat");
    let mut anna = scene.host("anna", &session(1, "Анна", "trade"));
    let mut boris = scene.host("boris", &session(2, "Борис", "warehouse"));
    assert_eq!(anna.call("ТекущийКлючСессии", &[request()]).unwrap(), Said::Empty);
    assert!(anna.refusal().unwrap().class.starts_with("EServerResult."), "no seat, no key");
    for host in [&mut anna, &mut boris] {
        host.call_json("ЗанятьЛицензию", &[]).unwrap().unwrap();
        assert_eq!(current(host), None);
    }
    assert!(challenge(&mut anna)["ПараметрыАвторизации"].is_object());
    let refused = challenge(&mut boris);
    assert!(refused["ПараметрыАвторизации"].is_null(), "{refused}");
    anna.call_truth("ОсвободитьЛицензию", &[]).unwrap().unwrap();
    wait_until(site::BOUND, "the end of a refresh whose session has ended", || {
        Ok(challenge(&mut boris)["ПараметрыАвторизации"].is_object().then_some(()))
    })
    .unwrap();
    anna.quit().unwrap();
    boris.quit().unwrap();
}

#[test]
fn component_finds_the_key_at_the_reserve_server_when_the_main_one_is_lost() {
    let stage = Stage::temporary().unwrap();
    let vendor = Vendor::start(&stage).unwrap();
    let crpt = Crpt::start(&stage).unwrap();
    let main_conf = site::conf(&crpt, More::default());
    let mut main = server(&stage, "main", &vendor, &main_conf);
    let more = format!(
        "Main=https://127.0.0.1:{0}\nMainPin={1}\nMainToken={SECRET}",
        main.port(),
        Rest::bearing(main.port(), ROOT).get("/api/ismp/settings").unwrap()["Pin"]
            .as_str()
            .unwrap(),
    );
    let reserve_conf = site::conf(&crpt, More { ismp: &more, ..More::default() });
    let reserve = server(&stage, "reserve", &vendor, &reserve_conf);
    let ports = [main.port(), reserve.port()];
    let mut anna = host(&stage, &vendor, "anna", &ports, &session(1, "Анна", "trade"));
    anna.set("ТокенДоступа", &word(SECRET)).unwrap();
    let key = sign_in(&mut anna, &crpt.gost().issue(ROMASHKA).unwrap());
    let rest = Rest::bearing(reserve.port(), SECRET);
    wait_until(site::BOUND, "the key at the reserve server", || {
        Ok((site::current(&rest, &site::suz()).as_ref() == Some(&key)).then_some(()))
    })
    .unwrap();
    main.kill().unwrap();
    // The question goes on at the other server; a change says that its outcome is not known.
    assert_eq!(current(&mut anna), Some(key));
    assert!(!required(&mut anna));
    assert_eq!(crpt.sign_ins(Some(LINE)), 1);
    anna.quit().unwrap();
}
