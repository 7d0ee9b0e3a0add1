//! What the service knows: which challenges are out, which tokens it has issued and which are live.
//!
//! One live token for a connection of СУЗ; a challenge is good for one sign-in.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::FormatItem;
use time::macros::format_description;

use super::reply::Reply;
use crate::clock;
use crate::random;
use crate::stage::{Gost, StageError};

/// Life of a token.
const LIFE_SECS: i64 = 10 * 3600;

/// Letters of a challenge, as in a recorded one.
const DATA_CHARS: usize = 30;

/// `yyyy-MM-ddTHH:mm:ss.SSSZ`.
const MOMENT: &[FormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// What is asked of a sign-in, before the signature in it is checked.
#[derive(Clone, Debug)]
pub(super) struct SignIn {
    /// For cash desks.
    pub(super) is_retail: bool,
    /// Of СУЗ.
    pub(super) connection: Option<String>,
    /// The body.
    pub(super) body: Value,
}

/// Why nobody is signed in: status and text.
type Refusal = (u16, String);

/// A sign-in whose signature is right.
#[derive(Clone, Debug)]
pub(super) struct Signed {
    content: String,
    inns: Vec<String>,
}

#[derive(Clone, Debug)]
struct Issued {
    token: String,
    is_live: bool,
}

#[derive(Debug, Default)]
pub(super) struct Book {
    challenges: BTreeMap<String, String>,
    issued: Vec<Issued>,
    by_connection: BTreeMap<String, String>,
    sign_ins: BTreeMap<Option<String>, usize>,
    powers: BTreeSet<(String, String)>,
    refusals: usize,
}

/// Checks the signature in the body of a sign-in. Takes some milliseconds, so nothing is locked
/// meanwhile.
///
/// # Errors
///
/// What is refused, and nothing that [`Book::sign_in`] would look at first.
pub(super) fn verify(gost: &Gost, body: &Value) -> Result<Signed, Refusal> {
    let wrong = || (400, "Ошибка при проверке подписи".to_owned());
    let data = body["data"].as_str().unwrap_or_default();
    // The service takes no line breaks.
    let der = STANDARD.decode(data).map_err(|_| wrong())?;
    let verified = gost.verify(&der).map_err(|_| wrong())?;
    let content = String::from_utf8(verified.content).map_err(|_| wrong())?;
    Ok(Signed { content, inns: verified.inns })
}

impl Book {
    pub(super) fn empower(&mut self, inn: &str, organisation: &str) {
        self.powers.insert((inn.to_owned(), organisation.to_owned()));
    }

    pub(super) fn sign_ins(&self, connection: Option<&str>) -> usize {
        self.sign_ins.get(&connection.map(str::to_owned)).copied().unwrap_or_default()
    }

    pub(super) fn tokens(&self) -> Vec<String> {
        self.issued.iter().map(|issued| issued.token.clone()).collect()
    }

    pub(super) fn is_live(&self, token: &str) -> bool {
        self.issued.iter().any(|issued| issued.is_live && issued.token == token)
    }

    /// A new challenge.
    pub(super) fn challenge(&mut self) -> Result<Reply, StageError> {
        let id = uuid()?;
        let letters = random::bytes::<DATA_CHARS>()?;
        let data: String = letters.iter().map(|byte| char::from(b'A' + byte % 26)).collect();
        self.challenges.insert(id.clone(), data.clone());
        Ok(Reply::ok(&json!({ "uuid": id, "data": data })))
    }

    /// A refusal, its code as a number and as a text in turn.
    pub(super) fn refuse(&mut self, (status, text): (u16, String)) -> Reply {
        self.refusals += 1;
        Reply::refused(status, &text, self.refusals.is_multiple_of(2))
    }

    /// What a sign-in lacks, whoever signed it.
    pub(super) fn check(&self, asked: &SignIn) -> Result<(), Refusal> {
        let bad = |text: &str| (400, text.to_owned());
        let body = &asked.body;
        if body.as_object().is_none_or(|body| body.is_empty()) {
            return Err(bad("Тело запроса не может быть пустым"));
        }
        if body["data"].as_str().is_none_or(str::is_empty) {
            return Err(bad("В запросе отсутствует параметр data"));
        }
        let is_united = body["unitedToken"].as_bool().unwrap_or_default();
        match body["uuid"].as_str() {
            Some(id) if !self.challenges.contains_key(id) => {
                Err(bad(&format!("UUID не найден в хранилище ключей. UUID = {id}")))
            }
            None if !asked.is_retail && !is_united => {
                Err(bad("В запросе отсутствует идентификатор авторизации (UUID)"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Signs in, or says why not.
    ///
    /// # Errors
    ///
    /// When the system gives no random bytes.
    pub(super) fn sign_in(&mut self, asked: &SignIn, signed: &Signed) -> Result<Reply, StageError> {
        // Somebody else may have spent the challenge while this signature was checked.
        let organisation = self
            .check(asked)
            .and_then(|()| self.spend(asked, signed))
            .and_then(|()| self.organisation(&asked.body, signed));
        match organisation {
            Err(refusal) => Ok(self.refuse(refusal)),
            Ok(organisation) => self.issue(asked, &organisation),
        }
    }

    /// The challenge that was signed is good for nothing more.
    fn spend(&mut self, asked: &SignIn, signed: &Signed) -> Result<(), Refusal> {
        let wrong = || (400, "Ошибка при проверке подписи".to_owned());
        let is_united = asked.body["unitedToken"].as_bool().unwrap_or_default();
        let found = match asked.body["uuid"].as_str() {
            Some(id) => self.challenges.remove(id).filter(|data| *data == signed.content),
            // A united token may be had for the signed ИНН.
            None if is_united => signed.inns.iter().find(|inn| **inn == signed.content).cloned(),
            None => {
                let open = self.challenges.iter().find(|(_, data)| **data == signed.content);
                open.map(|(id, _)| id.clone()).and_then(|id| self.challenges.remove(&id))
            }
        };
        found.map(drop).ok_or_else(wrong)
    }

    /// For which organisation.
    fn organisation(&self, body: &Value, signed: &Signed) -> Result<String, Refusal> {
        let wanted = body["inn"].as_str();
        match wanted {
            Some(inn) => {
                let is_empowered = signed
                    .inns
                    .iter()
                    .any(|own| self.powers.contains(&(own.clone(), inn.to_owned())));
                if signed.inns.iter().any(|own| own == inn) || is_empowered {
                    Ok(inn.to_owned())
                } else {
                    Err((403, "Пользователь не зарегистрирован или не имеет доступа".to_owned()))
                }
            }
            // A person signs for somebody.
            None => signed.inns.iter().find(|inn| inn.len() == 10).cloned().ok_or_else(|| {
                let text = "В параметре inn должен быть передан ИНН организации, под которой \
                            планируется авторизация от МЧД";
                (400, text.to_owned())
            }),
        }
    }

    fn issue(&mut self, asked: &SignIn, organisation: &str) -> Result<Reply, StageError> {
        let end = clock::unix_millis() / 1000 + LIFE_SECS;
        *self.sign_ins.entry(asked.connection.clone()).or_default() += 1;
        let is_united = asked.body["unitedToken"].as_bool().unwrap_or_default();
        let is_jwt = asked.connection.is_none() && !is_united;
        let token = if is_jwt { jwt(organisation, end)? } else { uuid()? };
        if let Some(connection) = &asked.connection
            && let Some(old) = self.by_connection.insert(connection.clone(), token.clone())
        {
            let same = self.issued.iter_mut().filter(|issued| issued.token == old);
            same.for_each(|issued| issued.is_live = false);
        }
        self.issued.push(Issued { token: token.clone(), is_live: true });
        Ok(Reply::ok(&if asked.is_retail {
            let id_token = jwt(organisation, end)?;
            json!({ "access_token": token, "id_token": id_token, "expires_in": LIFE_SECS,
                "token_type": "Bearer" })
        } else if is_united {
            let moment = OffsetDateTime::from_unix_timestamp(end).ok();
            let moment = moment.and_then(|moment| moment.format(MOMENT).ok());
            json!({ "uuidToken": token, "expireDate": moment })
        } else {
            json!({ "token": token })
        }))
    }
}

/// A random one.
fn uuid() -> Result<String, StageError> {
    Ok(uuid::Builder::from_random_bytes(random::bytes()?).into_uuid().to_string())
}

/// A JWT as far as anybody looks into it: its signature is noise, as nobody has a key to check it.
fn jwt(inn: &str, end: i64) -> Result<String, StageError> {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = part(json!({ "typ": "JWT", "alg": "RS256" }));
    let claims = part(json!({ "exp": end, "inn": inn, "jti": uuid()? }));
    let noise = URL_SAFE_NO_PAD.encode(random::bytes::<64>()?);
    Ok(format!("{head}.{claims}.{noise}"))
}
