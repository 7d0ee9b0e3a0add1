//! A licence server that keeps session keys, the marking service that gives them, and people who sign.

use std::path::{Path, PathBuf};
use std::time::Duration;

use licence_core::seal::{hex_upper, sha256};
use serde_json::{Value, json};
use xtask::stage::{Crpt, Launch, Rest, Server, Signatory, Stage, wait_until};

/// An organisation.
pub(crate) const ROMASHKA: &str = "7707083893";

/// A connection of its installation of СУЗ.
pub(crate) const LINE: &str = "b8e61c2a-1b8a-4b1f-8c2e-3c9b2a7f0d11";

/// What every program of the organisation shows.
pub(crate) const SECRET: &str = "lic_of_the_marking_on_a_stage";

/// The same for who does everything.
pub(crate) const ROOT: &str = "lic_of_the_administrator_on_a_stage";

/// Bound of what takes a call of the service and somebody who waits for it.
pub(crate) const BOUND: Duration = Duration::from_secs(60);

/// All of it.
pub(crate) struct Site {
    pub(crate) server: Server,
    pub(crate) crpt: Crpt,
    pub(crate) stage: Stage,
}

/// Lines of a conf beside those that every server here has.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct More<'a> {
    /// Of `[ISMP]`.
    pub(crate) ismp: &'a str,
    /// Of `[Users]`.
    pub(crate) users: &'a str,
    /// `[ISMPContours]` keeps the addresses that are built in.
    pub(crate) is_genuine: bool,
}

/// The settings of a server whose tokens and password are those of the stage.
pub(crate) fn conf(crpt: &Crpt, more: More<'_>) -> String {
    let token = |secret: &str| hex_upper(&sha256(secret.as_bytes()));
    let base = crpt.base();
    let contours = if more.is_genuine {
        String::new()
    } else {
        format!("[ISMPContours]\nproduction={base};{base}\n")
    };
    format!(
        "[Console]\nUserName=admin\nPassword=of a stage\n\
         [Users]\n{}\n\
         [Tokens]\n1=ismp;2100-01-01T00:00:00.000Z;{};1C\n\
         2=administrator;2100-01-01T00:00:00.000Z;{};root\n\
         [ISMP]\nEnabled=1\n{}\n{contours}",
        more.users,
        token(SECRET),
        token(ROOT),
        more.ismp,
    )
}

/// Starts a server that needs no licence: session keys want none.
pub(crate) fn server(stage: &Stage, name: &str, conf: &str, launch: Launch) -> Server {
    let data = stage.root().join(name);
    let settings = data.join("3.0");
    std::fs::create_dir_all(&settings).unwrap();
    std::fs::write(settings.join("licenceserver.conf"), conf).unwrap();
    Server::start_in_as(stage, name, data, 0, launch).unwrap()
}

impl Site {
    pub(crate) fn new() -> Self {
        Self::with(More::default())
    }

    pub(crate) fn with(more: More<'_>) -> Self {
        let stage = Stage::temporary().unwrap();
        let crpt = Crpt::start(&stage).unwrap();
        let server = server(&stage, "server", &conf(&crpt, more), Launch::default());
        Self { server, crpt, stage }
    }

    /// What a program of the organisation may call.
    pub(crate) fn rest(&self) -> Rest {
        Rest::bearing(self.server.port(), SECRET)
    }

    /// What an administrator may call.
    pub(crate) fn root(&self) -> Rest {
        Rest::bearing(self.server.port(), ROOT)
    }

    pub(crate) fn signatory(&self) -> Signatory {
        self.crpt.gost().issue(ROMASHKA).unwrap()
    }
}

/// `ПараметрыЗапроса` of each kind.
pub(crate) fn suz() -> Value {
    json!({ "TokenType": "SUZ", "Organization": ROMASHKA, "ProductionObject": LINE })
}

pub(crate) fn ismp() -> Value {
    json!({ "TokenType": "ISMP", "Organization": ROMASHKA })
}

pub(crate) fn retail() -> Value {
    json!({ "TokenType": "ISMPRetail", "Organization": ROMASHKA })
}

/// The same in an address.
pub(crate) fn query(parameters: &Value) -> String {
    let names = ["TokenType", "Organization", "ProductionObject"];
    let pair = |name| Some(format!("{name}={}", parameters[name].as_str()?));
    names.into_iter().filter_map(pair).collect::<Vec<_>>().join("&")
}

/// The key that is kept, as a program without JSON asks for it.
pub(crate) fn current(rest: &Rest, parameters: &Value) -> Option<String> {
    let path = format!("/api/ismp/token?{}&Format=text", query(parameters));
    let (status, text) = rest.page(&path).unwrap();
    match status {
        200 => Some(text.trim().to_owned()),
        404 => None,
        other => panic!("{other}: {text}"),
    }
}

/// How the key stands, as lists show it.
pub(crate) fn listed(rest: &Rest, parameters: &Value) -> Value {
    let list = rest.get("/api/ismp/tokens").unwrap();
    let rows = list["Tokens"].as_array().cloned().unwrap_or_default();
    let is_meant = |row: &Value| {
        ["TokenType", "Organization", "ProductionObject"]
            .iter()
            .all(|name| row[*name] == parameters[*name])
    };
    rows.into_iter().find(is_meant).unwrap_or(Value::Null)
}

/// `ТребуетсяОбновлениеКлючаСессии`.
pub(crate) fn required(rest: &Rest, parameters: &Value, wait_secs: u64) -> Value {
    let mut body = parameters.clone();
    body["WaitSeconds"] = wait_secs.into();
    ok(rest, "/api/ismp/refresh/required", &body)
}

/// `ЗапроситьПараметрыАвторизации`.
pub(crate) fn challenge(rest: &Rest, parameters: &Value) -> Value {
    ok(rest, "/api/ismp/refresh/challenge", parameters)
}

/// Body of `ЗапроситьКлючСессии` for a challenge that somebody has signed.
pub(crate) fn completion(parameters: &Value, challenged: &Value, signature: &str) -> Value {
    json!({
        "RequestParameters": parameters,
        "AuthorizationParameters": challenged["AuthorizationParameters"],
        "SignatureProperties": { "Signature": signature },
    })
}

/// `ЗапроситьКлючСессии`.
pub(crate) fn complete(
    rest: &Rest,
    parameters: &Value,
    challenged: &Value,
    signature: &str,
) -> Value {
    let body = completion(parameters, challenged, signature);
    ok(rest, "/api/ismp/refresh/complete", &body)
}

/// A successful call.
pub(crate) fn ok(rest: &Rest, path: &str, body: &Value) -> Value {
    let answer = rest.try_post(path, body).unwrap();
    assert!((200..300).contains(&answer.status), "{path} {body}: {answer:?}");
    answer.body
}

/// The text that a person is to sign.
pub(crate) fn data(challenged: &Value) -> String {
    let parameters = &challenged["AuthorizationParameters"];
    assert!(parameters.is_object(), "no challenge: {challenged}");
    parameters["Data"].as_str().unwrap().to_owned()
}

/// From the challenge to the key.
pub(crate) fn sign_in(rest: &Rest, signatory: &Signatory, parameters: &Value) -> Value {
    let challenged = challenge(rest, parameters);
    let signature = signatory.sign(&data(&challenged)).unwrap();
    complete(rest, parameters, &challenged, &signature)
}

/// The key in an answer of `ЗапроситьКлючСессии`, under both names that it has.
pub(crate) fn key_of(completed: &Value) -> String {
    let key = completed["SessionKeyParameters"]["SessionKey"].as_str();
    let key = key.unwrap_or_else(|| panic!("no key: {completed}"));
    assert_eq!(completed["Result"], completed["SessionKeyParameters"], "{completed}");
    key.to_owned()
}

/// Waits until the service has a sign-in and holds its answer back.
pub(crate) fn wait_held(crpt: &Crpt) {
    wait_until(BOUND, "the sign-in at the service", || Ok((crpt.held() == 1).then_some(())))
        .unwrap();
}

/// Every file below a folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.is_file() {
                found.push(path);
            }
        }
    }
    found
}
