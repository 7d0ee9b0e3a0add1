//! Keys: their state and facts, and what an administrator does with them.
//!
//! Reads forms and shows answers; what is done is done by the activator, the driver and the
//! settings.

mod carried;

use askama::Template;
use hyper::StatusCode;
use licence_core::activation::ActivationCode;
use licence_core::centre_request::ReturnReason;
use licence_core::key::{KeyNo, KeySeries};

use crate::access::csrf;
use crate::activate::{Demo, Installed, Order, Updated, Why, key_not_found, reason_text};
use crate::api::errors::ApiError;
use crate::api::form::Form;
use crate::api::keys::{demo, has_access_code, set_access_code};
use crate::api::params::Params;
use crate::api::routes::Page;
use crate::api::views::LicenceView;
use crate::api::{Answer, Call, rest};
use crate::cluster::picture::WrittenView;
use crate::console::frame::{self, Frame};
use crate::console::parts::last_change;
use crate::keyring::Plugged;

pub(super) use carried::request;

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
    let troubles = call.app.tokens.troubles();
    let troubles = troubles
        .into_iter()
        .map(|trouble| {
            let text = call.language.pick(&trouble.russian, &trouble.english).to_owned();
            (trouble.place, text)
        })
        .collect();
    let page = KeysPage { frame, rows, wrong, troubles };
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
    spare: Option<String>,
    /// What was typed, to be kept.
    comment: String,
    reason: String,
}

impl Wrong {
    fn of_reserve(text: String, form: &Form) -> Self {
        let typed = |name| form.text(name).unwrap_or_default().to_owned();
        Self {
            reserve: Some(text),
            comment: typed("comment"),
            reason: typed("reason"),
            ..Self::default()
        }
    }
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
        has_access_code: has_access_code(call.app, key_no),
        codes_written: written(call),
        is_of_cluster: call.app.cluster.is_some(),
        access_codes_count: config.console.enable_access_codes,
        reasons: ReturnReason::ALL
            .into_iter()
            .map(|reason| {
                (reason.word(), reason_text(reason, call.language), reason.word() == wrong.reason)
            })
            .collect(),
        key: &key,
        is_object_key_closed: handle
            .bound(key_no)
            .await?
            .is_some_and(|bound| bound.is_object_key_closed),
        wrong,
        frame,
    };
    page.frame.answer(status, &page)
}

/// Who changed the access codes of the cluster last.
fn written(call: &Call<'_>) -> Option<String> {
    let cluster = call.app.cluster.as_ref()?;
    let written = WrittenView::of(&cluster.sharing().shared().codes)?;
    Some(last_change(call.language, written))
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
    blank: String,
}

/// `GET /keys/install`.
pub(super) async fn install_form(call: &Call<'_>) -> Result<Answer, ApiError> {
    // The list of keys leads here from a blank.
    let blank = Params::read(call.query, b"")?.digits("blank", rest::KEY_NO_DIGITS_MAX)?;
    let typed = Typed { blank: blank.unwrap_or_default(), ..Typed::default() };
    install_page(call, StatusCode::OK, typed, None, None).await
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
        blanks: blanks(call).await?,
        field,
        wrong: wrong.map(text),
        is_centre_away: wrong.is_some_and(|error| error.class == "ELicenceCentreUnavailable"),
        wrong_answer: wrong_answer.map(text),
        computer_id: &call.app.host.computer_id,
        series: call.app.handle.centres().await?.into_keys().collect(),
    };
    page.frame.answer(status, &page)
}

/// The blanks that are plugged in: number and name.
async fn blanks(call: &Call<'_>) -> Result<Vec<(u32, String)>, ApiError> {
    let mut plugged = call.app.handle.tokens().await?;
    plugged.retain(Plugged::is_blank);
    Ok(plugged.into_iter().map(|token| (token.key.blank_no(), token.name)).collect())
}

fn read_order(call: &Call<'_>, body: &[u8]) -> Result<(Typed, Result<Order, ApiError>), ApiError> {
    let form = Form::read(body)?;
    csrf::check_form(call, &form)?;
    let text = |name| form.text(name).unwrap_or_default().to_owned();
    let typed =
        Typed { code: text("code"), itn: text("itn"), iec: text("iec"), blank: text("blank") };
    // The same reading as the REST API's, so that both refuse the same in the same words.
    let fields = serde_json::json!({
        "ActivationCodeString": typed.code, "ITN": typed.itn, "IEC": typed.iec,
        "BlankKeyNo": typed.blank,
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

/// The reason and comment of a form that gives a key back; and what is wrong with it.
fn read_why(call: &Call<'_>, form: &Form) -> (Why, Option<String>) {
    let reason = form.text("reason").unwrap_or_default();
    let why = Why::of(reason, form.text("comment").unwrap_or_default());
    let wrong = if why.reason.is_none() {
        Some(call.language.pick("Выберите причину.", "Choose the reason.").to_owned())
    } else {
        (!form.flag("sure")).then(|| unsure(call))
    };
    (why, wrong)
}

fn read_demo(form: &Form) -> Result<Demo, ApiError> {
    let text = |name| form.text(name).unwrap_or_default();
    let fields = serde_json::json!({
        "KeyID": text("series"), "ITN": text("itn"), "IEC": text("iec"),
    });
    Params::read(None, fields.to_string().as_bytes()).and_then(|params| demo(&params))
}

/// `POST /keys/demo`: a demonstration key without a code.
pub(super) async fn install_demo(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let form = Form::read(body)?;
    csrf::check_form(call, &form)?;
    let app = call.app;
    let installed = match read_demo(&form) {
        Ok(demo) => app.activator.demo(&app.handle, demo, &call.actor, call.language).await,
        Err(error) => Err(error),
    };
    match installed {
        Ok(licence) => installed_page(call, &licence).await,
        Err(error) => {
            let typed = Typed::default();
            install_page(call, error.status, typed, Some(&error), None).await
        }
    }
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
        Ok(Installed { reserve_code: Some(code), .. }) => reserve_page(call, None, code).await,
        Ok(Installed { spare_code: Some(code), .. }) => spare_page(call, None, code).await,
        Ok(Installed { ended, .. }) if !ended.is_empty() => {
            app.forget_looks().await;
            frame::see_done(call, "/keys", "keys_ended")
        }
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
    let (why, mut wrong) = read_why(call, &form);
    let mut status = StatusCode::BAD_REQUEST;
    if wrong.is_none() {
        let app = call.app;
        let made = app.activator.reserve_code(&app.handle, key_no, why, &call.actor, call.language);
        match made.await {
            Ok(code) => return reserve_page(call, Some(key_no), code).await,
            Err(error) if error.status == StatusCode::NOT_FOUND => return Err(error),
            Err(error) => {
                status = error.status;
                wrong = Some(call.language.pick(&error.russian, &error.english).to_owned());
            }
        }
    }
    let wrong = Wrong::of_reserve(wrong.unwrap_or_default(), &form);
    shown(call, key_no, status, wrong).await
}

/// `POST /keys/{KeyNo}/spare`: a code for the day when this server is no more.
pub(super) async fn spare_code(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let form = Form::read(body)?;
    csrf::check_form(call, &form)?;
    let (app, key_no) = (call.app, key_no(call)?);
    match app.activator.spare_code(&app.handle, key_no, &call.actor, call.language).await {
        Ok(code) => spare_page(call, Some(key_no), code).await,
        Err(error) if error.status == StatusCode::NOT_FOUND => Err(error),
        Err(error) => {
            let text = call.language.pick(&error.russian, &error.english).to_owned();
            let wrong = Wrong { spare: Some(text), ..Wrong::default() };
            shown(call, key_no, error.status, wrong).await
        }
    }
}

async fn reserve_page(
    call: &Call<'_>,
    key_no: Option<KeyNo>,
    code: ActivationCode,
) -> Result<Answer, ApiError> {
    call.app.forget_looks().await;
    let frame = Frame::new(call, Page::KeyReserveCode).await?;
    let page = MessagePage {
        title: frame.t.0.pick("Резервный код", "Reserve code"),
        text: frame.t.0.pick(
            "Ключ снят с этого сервера. Запишите или распечатайте код: он показывается только один \
             раз и нужен, чтобы установить ключ на другом компьютере.",
            "The key is gone from this server. Write the code down or print it: it is shown only this \
             once and is needed to install the key on another computer.",
        ),
        key_no,
        series: code.series(),
        secret: Some(code.to_string()),
        back: "/keys".to_owned(),
        frame,
    };
    page.frame.answer(StatusCode::CREATED, &page)
}

async fn spare_page(
    call: &Call<'_>,
    key_no: Option<KeyNo>,
    code: ActivationCode,
) -> Result<Answer, ApiError> {
    let frame = Frame::new(call, Page::KeySpareCode).await?;
    let page = MessagePage {
        title: frame.t.0.pick("Запасной код", "Spare code"),
        text: frame.t.0.pick(
            "Ключ работает как прежде. Распечатайте код и храните его не на этом компьютере: если \
             сервер выйдет из строя, по нему ключ устанавливается на другом, а здесь прекращает \
             действовать. Кто знает код, может забрать ключ.",
            "The key goes on working. Print the code and keep it elsewhere than on this computer: should \
             the server die, it installs the key on another one and ends it here. Whoever knows the code \
             can take the key.",
        ),
        key_no,
        series: code.series(),
        secret: Some(code.to_string()),
        back: key_no.map_or_else(|| "/keys".to_owned(), |key_no| format!("/keys/{key_no}")),
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
            let done = match updated {
                Updated { ended, .. } if !ended.is_empty() => "keys_ended",
                updated if updated.is_empty() => "keys_current",
                _ => "keys_updated",
            };
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
    /// What is wrong with tokens: the place and what.
    troubles: Vec<(String, String)>,
}

#[derive(Template)]
#[template(path = "key.html")]
struct KeyPage<'a> {
    frame: Frame,
    no: KeyNo,
    key: &'a LicenceView,
    used: u32,
    has_access_code: bool,
    /// Whether codes are those of all nodes of a cluster, and who changed them last.
    is_of_cluster: bool,
    codes_written: Option<String>,
    access_codes_count: bool,
    reasons: Vec<(&'static str, &'static str, bool)>,
    /// Whether protected objects cannot be opened by this licence, because it lies on a token and
    /// was made for another server.
    is_object_key_closed: bool,
    wrong: Wrong,
}

#[derive(Template)]
#[template(path = "install.html")]
struct InstallPage<'a> {
    frame: Frame,
    typed: Typed,
    /// Blanks that are plugged in: number and name.
    blanks: Vec<(u32, String)>,
    /// Which field is wrong; empty when it is none of them.
    field: &'static str,
    wrong: Option<String>,
    is_centre_away: bool,
    wrong_answer: Option<String>,
    computer_id: &'a str,
    /// The series that are known: for a demonstration key.
    series: Vec<KeySeries>,
}

impl InstallPage<'_> {
    fn is_wrong(&self, field: &str) -> bool {
        self.field == field
    }

    fn is_chosen(&self, blank: &u32) -> bool {
        self.typed.blank == blank.to_string()
    }
}

/// A page that says one thing and is not come back to.
#[derive(Template)]
#[template(path = "message.html")]
struct MessagePage {
    frame: Frame,
    title: &'static str,
    text: &'static str,
    /// The key that the secret is for, when it is known.
    key_no: Option<KeyNo>,
    series: KeySeries,
    secret: Option<String>,
    back: String,
}
