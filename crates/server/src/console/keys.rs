//! Keys: their state and facts, and what an administrator does with them.
//!
//! Reads forms and shows answers; what is done is done by the activator, the driver and the
//! settings.

use askama::Template;
use hyper::StatusCode;
use hyper::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderValue};
use licence_core::activation::ActivationCode;
use licence_core::key::KeyNo;

use crate::access::csrf;
use crate::activate::{Activator, Installed, Order, key_not_found};
use crate::api::errors::ApiError;
use crate::api::form::Form;
use crate::api::keys::set_access_code;
use crate::api::params::Params;
use crate::api::routes::Page;
use crate::api::views::LicenceView;
use crate::api::{Answer, Call, rest};
use crate::console::frame::{self, Frame};
use crate::driver::NOTE_CHARS_MAX;

/// Why a key is given back, as a form says it: code, Russian, English.
const REASONS: &[(&str, &str, &str)] = &[
    ("move", "Перенос на другой компьютер", "Moving to another computer"),
    ("hardware", "Замена оборудования", "Change of hardware"),
    ("system", "Переустановка системы", "New installation of the system"),
    ("other", "Другое", "Other"),
];

/// A key of the list.
struct Row {
    key: LicenceView,
    used: u32,
}

/// `GET /keys`.
pub(super) async fn list(call: &Call<'_>) -> Result<Answer, ApiError> {
    let frame = Frame::new(call, Page::Keys).await?;
    list_with(frame, call, StatusCode::OK, None).await
}

async fn list_with(
    frame: Frame,
    call: &Call<'_>,
    status: StatusCode,
    wrong: Option<String>,
) -> Result<Answer, ApiError> {
    let used = call.app.handle.seats_held().await?;
    let row = |key: LicenceView| Row {
        used: key.key_no.and_then(|key_no| used.get(&key_no).copied()).unwrap_or(0),
        key,
    };
    let rows = call.app.handle.licences(None, false).await?.into_iter().map(row).collect();
    let page = KeysPage { frame, rows, wrong };
    page.frame.answer(status, &page)
}

/// `GET /keys/{KeyNo}`.
pub(super) async fn one(call: &Call<'_>) -> Result<Answer, ApiError> {
    shown(call, key_no(call)?, StatusCode::OK, Wrong::default()).await
}

/// What is wrong with one of the forms of a key's page.
#[derive(Debug, Default)]
struct Wrong {
    access_code: Option<String>,
    reserve: Option<String>,
    remove: Option<String>,
    /// What was typed, to be kept.
    comment: String,
    reason: String,
}

async fn shown(
    call: &Call<'_>,
    key_no: KeyNo,
    status: StatusCode,
    wrong: Wrong,
) -> Result<Answer, ApiError> {
    let frame = Frame::new(call, Page::Key).await?;
    let handle = &call.app.handle;
    let key = handle.licence(key_no).await?.ok_or_else(|| key_not_found(key_no))?;
    let used = handle.seats_held().await?.get(&key_no).copied().unwrap_or(0);
    let config = call.app.settings.get();
    let page = KeyPage {
        no: key_no,
        used,
        has_access_code: config.access_codes.contains_key(&key_no),
        access_codes_count: config.console.enable_access_codes,
        reasons: REASONS
            .iter()
            .map(|(code, russian, english)| {
                (*code, frame.t.0.pick(russian, english), *code == wrong.reason)
            })
            .collect(),
        key: &key,
        wrong,
        frame,
    };
    page.frame.answer(status, &page)
}

fn key_no(call: &Call<'_>) -> Result<KeyNo, ApiError> {
    // What is not a number is no key's number: not found, like any other unknown key.
    call.argument.parse().map_err(|_| ApiError::not_found(call.path))
}

/// The fields of the installation form, as they were typed.
#[derive(Debug, Default)]
struct Typed {
    code: String,
    itn: String,
    iec: String,
}

/// `GET /keys/install`.
pub(super) async fn install_form(call: &Call<'_>) -> Result<Answer, ApiError> {
    install_page(call, StatusCode::OK, Typed::default(), None, None).await
}

async fn install_page(
    call: &Call<'_>,
    status: StatusCode,
    typed: Typed,
    wrong: Option<&ApiError>,
    wrong_answer: Option<&ApiError>,
) -> Result<Answer, ApiError> {
    let frame = Frame::new(call, Page::InstallForm).await?;
    let text = |error: &ApiError| call.language.pick(&error.russian, &error.english).to_owned();
    let field = match wrong {
        Some(error) if error.english.starts_with("ITN") => "itn",
        Some(error) if error.english.starts_with("IEC") => "iec",
        Some(error) if error.class == "EParams" => "code",
        _ => "",
    };
    let page = InstallPage {
        frame,
        typed,
        field,
        wrong: wrong.map(text),
        is_centre_away: wrong.is_some_and(|error| error.class == "ELicenceCentreUnavailable"),
        wrong_answer: wrong_answer.map(text),
        computer_id: &call.app.host.computer_id,
    };
    page.frame.answer(status, &page)
}

fn read_order(call: &Call<'_>, body: &[u8]) -> Result<(Typed, Result<Order, ApiError>), ApiError> {
    let form = Form::read(body)?;
    csrf::check_form(call, &form)?;
    let text = |name| form.text(name).unwrap_or_default().to_owned();
    let typed = Typed { code: text("code"), itn: text("itn"), iec: text("iec") };
    // The same reading as the REST API's, so that both refuse the same in the same words.
    let fields = serde_json::json!({
        "ActivationCodeString": typed.code, "ITN": typed.itn, "IEC": typed.iec,
    });
    let order =
        Params::read(None, fields.to_string().as_bytes()).and_then(|params| rest::order(&params));
    Ok((typed, order))
}

/// `POST /keys/install`.
pub(super) async fn install(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let (typed, order) = read_order(call, body)?;
    let app = call.app;
    let installed = match order {
        Ok(order) => app.activator.install(&app.handle, order, &call.actor, call.language).await,
        Err(error) => Err(error),
    };
    match installed {
        Ok(licence) => installed_page(call, &licence).await,
        Err(error) => install_page(call, error.status, typed, Some(&error), None).await,
    }
}

async fn installed_page(call: &Call<'_>, licence: &LicenceView) -> Result<Answer, ApiError> {
    call.app.forget_looks().await;
    match licence.key_no {
        Some(key_no) => frame::see_done(call, &format!("/keys/{key_no}"), "key_installed"),
        None => frame::see_done(call, "/keys", "key_installed"),
    }
}

/// `POST /keys/request`: the request as a file.
pub(super) async fn request(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let (typed, order) = read_order(call, body)?;
    let made = match order {
        Ok(order) => {
            let name = Activator::file_name(Some(order.code.series()));
            let made = call.app.activator.file_request(&call.app.handle, order).await;
            made.map(|text| (name, text))
        }
        Err(error) => Err(error),
    };
    let (name, text) = match made {
        Ok(made) => made,
        Err(error) => return install_page(call, error.status, typed, Some(&error), None).await,
    };
    let mut answer = hyper::Response::new(text.into());
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
        headers.insert(CONTENT_DISPOSITION, value);
    }
    Ok(answer)
}

/// `POST /keys/answer`: the centre's answer to a request in a file.
pub(super) async fn install_answer(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let form = Form::read(body)?;
    csrf::check_form(call, &form)?;
    let app = call.app;
    let installed = match form.text("answer") {
        Some(text) => app.activator.file_answer(&app.handle, text, &call.actor).await,
        None => Err(ApiError::bad_request(
            "Paste the centre's answer.",
            "Вставьте текст ответа центра лицензирования.",
        )),
    };
    match installed {
        Ok(Installed { reserve_code: Some(code), .. }) => reserve_page(call, code).await,
        Ok(Installed { licences, .. }) => match licences.as_slice() {
            [licence] => installed_page(call, licence).await,
            _ => {
                app.forget_looks().await;
                frame::see_done(call, "/keys", "keys_updated")
            }
        },
        // The answer is not repeated: whoever pasted it still has the file.
        Err(error) => install_page(call, error.status, Typed::default(), None, Some(&error)).await,
    }
}

/// `POST /keys/{KeyNo}/accesscode`: sets the code, or removes it when none is given.
pub(super) async fn access_code(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let form = Form::read(body)?;
    csrf::check_form(call, &form)?;
    let key_no = key_no(call)?;
    let code = form.text("code");
    match set_access_code(call, key_no, code).await {
        Ok(_) => {
            let done = if code.is_some() { "access_code_set" } else { "access_code_removed" };
            frame::see_done(call, &format!("/keys/{key_no}"), done)
        }
        Err(error) if error.status == StatusCode::NOT_FOUND => Err(error),
        Err(error) => {
            let text = call.language.pick(&error.russian, &error.english).to_owned();
            let wrong = Wrong { access_code: Some(text), ..Wrong::default() };
            shown(call, key_no, error.status, wrong).await
        }
    }
}

/// `POST /keys/{KeyNo}/remove`.
pub(super) async fn remove(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let form = Form::read(body)?;
    csrf::check_form(call, &form)?;
    let key_no = key_no(call)?;
    if !form.flag("sure") {
        let wrong = Wrong { remove: Some(unsure(call)), ..Wrong::default() };
        return shown(call, key_no, StatusCode::BAD_REQUEST, wrong).await;
    }
    if call.app.handle.remove_key(key_no, String::new(), &call.actor).await?.is_none() {
        return Err(key_not_found(key_no));
    }
    call.app.forget_looks().await;
    frame::see_done(call, "/keys", "key_removed")
}

fn unsure(call: &Call<'_>) -> String {
    let text = call
        .language
        .pick("Отметьте, что понимаете последствия.", "Tick the box that you know what follows.");
    text.to_owned()
}

/// `POST /keys/{KeyNo}/reservecode`: the page with the code is the only one that ever shows it.
pub(super) async fn reserve_code(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let form = Form::read(body)?;
    csrf::check_form(call, &form)?;
    let key_no = key_no(call)?;
    let reason = form.text("reason").unwrap_or_default();
    let comment = form.text("comment").unwrap_or_default();
    let known = REASONS.iter().find(|(code, ..)| *code == reason);
    let mut wrong = match known {
        None => Some(call.language.pick("Выберите причину.", "Choose the reason.").to_owned()),
        Some(_) if !form.flag("sure") => Some(unsure(call)),
        Some(_) => None,
    };
    let mut status = StatusCode::BAD_REQUEST;
    if let (None, Some((_, russian, english))) = (&wrong, known) {
        let reason = call.language.pick(russian, english);
        let note =
            if comment.is_empty() { reason.to_owned() } else { format!("{reason}: {comment}") };
        let plain = note.chars().map(|c| if c.is_control() { ' ' } else { c });
        let note = plain.take(NOTE_CHARS_MAX).collect();
        let app = call.app;
        let made =
            app.activator.reserve_code(&app.handle, key_no, note, &call.actor, call.language);
        match made.await {
            Ok(code) => return reserve_page(call, code).await,
            Err(error) if error.status == StatusCode::NOT_FOUND => return Err(error),
            Err(error) => {
                status = error.status;
                wrong = Some(call.language.pick(&error.russian, &error.english).to_owned());
            }
        }
    }
    let wrong = Wrong {
        reserve: wrong,
        comment: comment.to_owned(),
        reason: reason.to_owned(),
        ..Wrong::default()
    };
    shown(call, key_no, status, wrong).await
}

async fn reserve_page(call: &Call<'_>, code: ActivationCode) -> Result<Answer, ApiError> {
    call.app.forget_looks().await;
    let frame = Frame::new(call, Page::KeyReserveCode).await?;
    let page = MessagePage {
        title: frame.t.0.pick("Резервный код", "Reserve code"),
        text: frame.t.0.pick(
            "Ключ снят с этого сервера. Запишите код: он показывается только один раз и нужен, \
             чтобы установить ключ на другом компьютере.",
            "The key is gone from this server. Write the code down: it is shown only this once \
             and is needed to install the key on another computer.",
        ),
        secret: Some(code.to_string()),
        back: "/keys",
        frame,
    };
    page.frame.answer(StatusCode::CREATED, &page)
}

/// `POST /keys/update`: all licences of this server, as the centres have them.
pub(super) async fn update(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let form = Form::read(body)?;
    csrf::check_form(call, &form)?;
    let app = call.app;
    match app.activator.update(&app.handle, &call.actor, call.language).await {
        Ok(updated) => {
            app.forget_looks().await;
            let done = if updated.is_empty() { "keys_current" } else { "keys_updated" };
            frame::see_done(call, "/keys", done)
        }
        Err(error) => {
            let text = call.language.pick(&error.russian, &error.english).to_owned();
            let frame = Frame::new(call, Page::Keys).await?;
            list_with(frame, call, error.status, Some(text)).await
        }
    }
}

#[derive(Template)]
#[template(path = "keys.html")]
struct KeysPage {
    frame: Frame,
    rows: Vec<Row>,
    wrong: Option<String>,
}

#[derive(Template)]
#[template(path = "key.html")]
struct KeyPage<'a> {
    frame: Frame,
    no: KeyNo,
    key: &'a LicenceView,
    used: u32,
    has_access_code: bool,
    access_codes_count: bool,
    reasons: Vec<(&'static str, &'static str, bool)>,
    wrong: Wrong,
}

#[derive(Template)]
#[template(path = "install.html")]
struct InstallPage<'a> {
    frame: Frame,
    typed: Typed,
    /// Which field is wrong; empty when it is none of them.
    field: &'static str,
    wrong: Option<String>,
    is_centre_away: bool,
    wrong_answer: Option<String>,
    computer_id: &'a str,
}

impl InstallPage<'_> {
    fn is_wrong(&self, field: &str) -> bool {
        self.field == field
    }
}

/// A page that says one thing and is not come back to.
#[derive(Template)]
#[template(path = "message.html")]
struct MessagePage {
    frame: Frame,
    title: &'static str,
    text: &'static str,
    secret: Option<String>,
    back: &'static str,
}
