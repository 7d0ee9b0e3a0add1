//! What the forms of the page of session keys do: organisations, installations, rules, keys.
//!
//! A form carries one change, which is made to what the book holds at that moment. A rule or an
//! organisation that cannot be is refused by `licence_ismp`; here it is told in both languages.

use licence_core::time::Utc;
use licence_ismp::directory::{Directory, Installation, Organization};
use licence_ismp::key::{Inn, KeyError, OBJECT_CHARS_MAX, ProductionObject};
use licence_ismp::responsible::{Person, RULES_MAX, Rule};
use licence_ismp::{StoreKey, TokenKind};

use crate::api::Call;
use crate::api::errors::ApiError;
use crate::api::form::Form;
use crate::api::ismp::{directory_error, rule_error};
use crate::ismp::replica::relay::refuse_on_reserve;

/// How long before the end a person is reminded whose line names no time, in minutes.
const MINUTES: u32 = 30;

/// Makes the change of a form. Gives the code of what was done.
pub(super) async fn make(call: &Call<'_>, form: &Form) -> Result<&'static str, ApiError> {
    refuse_on_reserve(call.app)?;
    match form.text("action").unwrap_or("") {
        "organization" => {
            let organization = organization(form)?;
            let subject = organization.inn.to_string();
            directory(call, subject, move |directory| put(directory, organization)).await
        }
        "organization_remove" => {
            let inn: Inn = read(form, "inn")?;
            let subject = inn.to_string();
            directory(call, subject, move |directory| {
                directory.organizations.retain(|other| other.inn != inn);
            })
            .await
        }
        "installation" => {
            let installation = installation(form)?;
            let subject = installation.oms_connection.to_string();
            directory(call, subject, move |directory| directory.installations.push(installation))
                .await
        }
        "installation_remove" => {
            let object: ProductionObject = read(form, "oms_connection")?;
            let subject = object.to_string();
            directory(call, subject, move |directory| {
                directory.installations.retain(|other| other.oms_connection != object);
            })
            .await
        }
        "retail_end" => {
            let end = day(form)?;
            directory(call, "RetailEnd".to_owned(), move |directory| directory.retail_end = end)
                .await
        }
        "rule" => put_rule(call, rule(form)?).await,
        "rule_remove" => {
            let id = form.text("id").and_then(|id| id.parse().ok()).ok_or_else(no_rule)?;
            if !call.app.ismp.change(move |book, _| book.remove_rule(id)).await? {
                return Err(no_rule());
            }
            call.app
                .ismp
                .audit("ismp_rules", id.to_string(), "removed".to_owned(), &call.actor)
                .await;
            Ok("ismp_saved")
        }
        "key_remove" => remove_key(call, form).await,
        _ => Err(ApiError::bad_request(
            "The field action of the form is not known.",
            "Поле action формы неизвестно.",
        )),
    }
}

/// Changes organisations and installations.
async fn directory(
    call: &Call<'_>,
    subject: String,
    edit: impl FnOnce(&mut Directory) + Send + 'static,
) -> Result<&'static str, ApiError> {
    let changed = call.app.ismp.change(move |book, _| {
        let mut directory = book.directory().clone();
        edit(&mut directory);
        book.set_directory(directory)
    });
    changed.await?.map_err(|error| directory_error(&error))?;
    call.app.ismp.audit("ismp_settings", subject, String::new(), &call.actor).await;
    Ok("ismp_saved")
}

fn put(directory: &mut Directory, organization: Organization) {
    let same = |other: &&mut Organization| other.inn == organization.inn;
    match directory.organizations.iter_mut().find(same) {
        Some(place) => *place = organization,
        None => directory.organizations.push(organization),
    }
}

async fn put_rule(call: &Call<'_>, rule: Rule) -> Result<&'static str, ApiError> {
    let is_new = rule.id == 0;
    let people: Vec<_> = rule.people.iter().map(|person| person.user.clone()).collect();
    let put = call.app.ismp.change(move |book, _| book.put_rule(rule)).await?;
    let Some(id) = put.map_err(rule_error)? else {
        return Err(if is_new { no_room() } else { no_rule() });
    };
    call.app.ismp.audit("ismp_rules", id.to_string(), people.join(", "), &call.actor).await;
    Ok("ismp_saved")
}

async fn remove_key(call: &Call<'_>, form: &Form) -> Result<&'static str, ApiError> {
    let key = form.text("key").and_then(|text| serde_json::from_str::<StoreKey>(text).ok());
    let key = key.ok_or_else(no_key)?;
    let subject = key.to_string();
    let fingerprint = call.app.ismp.change(move |book, _| {
        let fingerprint = book.record(&key)?.token.fingerprint();
        book.remove(&key).then_some(fingerprint)
    });
    let fingerprint = fingerprint.await?.ok_or_else(no_key)?;
    call.app.ismp.audit("ismp_delete", subject, fingerprint.to_string(), &call.actor).await;
    Ok("ismp_key_removed")
}

/// A field that must be there.
fn read<T: std::str::FromStr<Err = KeyError>>(form: &Form, name: &str) -> Result<T, ApiError> {
    form.text(name).unwrap_or("").parse().map_err(|error| key_error(&error))
}

fn organization(form: &Form) -> Result<Organization, ApiError> {
    let token_format = match form.text("format").unwrap_or("auto") {
        "auto" => Some(licence_ismp::directory::FormatWish::Auto),
        "jwt" => Some(licence_ismp::directory::FormatWish::Jwt),
        "uuid" => Some(licence_ismp::directory::FormatWish::Uuid),
        "uuid-by-inn" => Some(licence_ismp::directory::FormatWish::UuidByInn),
        _ => None,
    };
    let token_format = token_format.ok_or_else(|| {
        ApiError::bad_request(
            "The format must be auto, jwt, uuid or uuid-by-inn.",
            "Формат должен быть auto, jwt, uuid или uuid-by-inn.",
        )
    })?;
    let name = form.text("name").unwrap_or("").to_owned();
    Ok(Organization { inn: read(form, "inn")?, name, token_format })
}

fn installation(form: &Form) -> Result<Installation, ApiError> {
    Ok(Installation {
        organization: read(form, "organization")?,
        oms_connection: read(form, "oms_connection")?,
        name: form.text("name").unwrap_or("").to_owned(),
    })
}

/// The end of the last day on which a key for cash desks is good.
fn day(form: &Form) -> Result<Option<Utc>, ApiError> {
    let Some(day) = form.text("retail_end") else { return Ok(None) };
    format!("{day}T00:00:00Z").parse().map(Some).map_err(|_| {
        ApiError::bad_request(
            "The end of keys for cash desks must be a day such as 2026-10-01.",
            "Конец розничных ключей должен быть датой, например 2026-10-01.",
        )
    })
}

fn rule(form: &Form) -> Result<Rule, ApiError> {
    let kind = form.text("kind").map(str::parse::<TokenKind>).transpose().map_err(|_| {
        ApiError::bad_request("The kind must be ISMP or SUZ.", "Тип должен быть ИС МП или СУЗ.")
    })?;
    let organization = form.text("organization").map(str::parse).transpose();
    let object = form.text("object").map(str::parse).transpose();
    Ok(Rule {
        id: match form.text("id") {
            Some(id) => id.parse().map_err(|_| no_rule())?,
            None => 0,
        },
        organization: organization.map_err(|error| key_error(&error))?,
        kind,
        production_object: object.map_err(|error| key_error(&error))?,
        people: people(form.raw("people").unwrap_or(""))?,
    })
}

/// One person in a line: a name, and behind a semicolon how many minutes before the end.
fn people(text: &str) -> Result<Vec<Person>, ApiError> {
    let mut people = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (user, minutes) = match line.rsplit_once(';') {
            Some((user, minutes)) => (user.trim(), minutes.trim().parse::<u32>().ok()),
            None => (line, Some(MINUTES)),
        };
        let secs = minutes.and_then(|minutes| minutes.checked_mul(60)).ok_or_else(|| {
            ApiError::bad_request(
                "People: a line is a name, a semicolon and minutes, such as “Иванова А.; 30”.",
                "Ответственные: в строке имя, точка с запятой и минуты, например «Иванова А.; 30».",
            )
        })?;
        people.push(Person { user: user.to_owned(), notify_secs: secs });
    }
    Ok(people)
}

/// The same as text of the form; seconds are shown as whole minutes, rounded up.
pub(super) fn people_text(people: &[Person]) -> String {
    let line = |person: &Person| format!("{}; {}", person.user, person.notify_secs.div_ceil(60));
    people.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn no_rule() -> ApiError {
    ApiError::bad_request("There is no such rule.", "Такого правила нет.")
}

fn no_room() -> ApiError {
    ApiError::bad_request(
        format!("There are {RULES_MAX} rules already."),
        format!("Правил уже {RULES_MAX}."),
    )
}

fn no_key() -> ApiError {
    ApiError::bad_request("There is no such session key.", "Такого ключа сессии нет.")
}

fn key_error(error: &KeyError) -> ApiError {
    let russian = match error {
        KeyError::Inn => "ИНН состоит из 10 или 12 цифр".to_owned(),
        KeyError::Contour => "контур — латинские буквы, цифры и дефис".to_owned(),
        KeyError::ProductionObject => format!(
            "производственный объект (omsConnection) — от 1 до {OBJECT_CHARS_MAX} символов без пробелов"
        ),
        KeyError::OrganisationMissing => "организация не указана".to_owned(),
        KeyError::ProductionObjectMissing => "для СУЗ нужен производственный объект".to_owned(),
        _ => "значение не подходит".to_owned(),
    };
    ApiError::bad_request(format!("{error}."), format!("{russian}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(body: &str) -> Form {
        Form::read(body.as_bytes()).unwrap()
    }

    #[test]
    fn people_are_lines_with_minutes() {
        let read = people(" Иванова А.; 30\n\nПетров\r\nA;B;0").unwrap();
        let found: Vec<_> =
            read.iter().map(|person| (person.user.as_str(), person.notify_secs)).collect();
        assert_eq!(found, [("Иванова А.", 1800), ("Петров", 60 * MINUTES), ("A;B", 0)]);
        assert_eq!(people(&people_text(&read)).unwrap(), read, "shown and read back");
        for bad in ["A;x", "A;-1", "A;4294967295"] {
            assert!(people(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn form_of_a_rule_may_leave_everything_open_but_people() {
        let open = rule(&form("people=x")).unwrap();
        assert_eq!((open.id, open.organization, open.kind), (0, None, None));
        let whole = "id=7&organization=7707083893&kind=SUZ&object=one&people=x";
        let whole = rule(&form(whole)).unwrap();
        assert_eq!((whole.id, whole.kind), (7, Some(TokenKind::Suz)));
        for (body, named) in [
            ("organization=77&people=x", "ИНН"),
            ("kind=MOTP&people=x", "Тип"),
            ("object=a+b&people=x", "omsConnection"),
            ("id=x&people=x", "правила"),
        ] {
            let error = rule(&form(body)).unwrap_err();
            assert!(error.russian.contains(named), "{body}: {}", error.russian);
        }
    }

    #[test]
    fn day_is_a_moment_or_nothing() {
        assert_eq!(day(&form("retail_end=")).unwrap(), None);
        let end = day(&form("retail_end=2026-10-01")).unwrap().unwrap();
        assert_eq!(end.to_string(), "2026-10-01T00:00:00.000Z");
        assert!(day(&form("retail_end=tomorrow")).is_err());
    }
}
