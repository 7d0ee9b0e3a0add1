//! The customer's page: what has become of their key, and what to do when its server is dead.
//!
//! No account: who names a code of the key, and the ИНН where the order has one, is its customer.
//! Which moves a key may make is decided in `decide`; a wrong pair tells nothing of what is wrong
//! with it.

use askama::Template;
use hyper::StatusCode;
use licence_core::activation::ActivationCode;
use licence_core::centre_request::ReturnReason;
use licence_core::key::KeyNo;
use licence_core::time::Utc;
use licencekit::order::is_owner_number;
use licencekit::vendor::{ActivationView, EndedBy, KeyState, KeyView, ReleaseCall, SpareCall};

use super::frame::{Frame, see, see_done, set_cookie};
use super::{Call, Page, keys, texts, told};
use crate::access::gate::{CUSTOMER_COOKIE, Customer};
use crate::api::refusal_of;
use crate::books::BooksError;
use crate::refusal::Refusal;
use crate::store::StoreError;

#[derive(Template)]
#[template(path = "my.html")]
struct Ask {
    frame: Frame,
    itn: String,
}

/// `GET /my`, and the same with what is wrong with the form.
pub(super) fn ask(
    call: &Call<'_>,
    status: StatusCode,
    error: Option<String>,
) -> Result<Page, Refusal> {
    let mut frame = Frame::for_visitor(call)?;
    frame.error = error;
    // The code is not written back into the page: it may be seen over a shoulder.
    let itn = call.form.text("itn").unwrap_or_default().to_owned();
    let page = Ask { frame, itn };
    page.frame.answer(status, &page)
}

/// `POST /my`: by a code and an ИНН to the page of the key.
pub(super) async fn come_in(call: &Call<'_>) -> Result<Page, Refusal> {
    call.check_visitor_form()?;
    let code = call.form.text("code").unwrap_or_default().parse::<ActivationCode>();
    let itn = call.form.text("itn").map(str::to_owned);
    // One text for every mistake but a slip of the finger, which the check symbols of a code show
    // to anybody.
    let Ok(code) = code else {
        let text = call.pick(
            "The code is mistyped: compare it once more, group by group.",
            "Код введён с ошибкой: сверьте его ещё раз, группу за группой.",
        );
        return ask(call, StatusCode::BAD_REQUEST, Some(text.to_owned()));
    };
    let wrong = || {
        let text = call.pick(
            "No key was found by this code and ITN. If the key was sold to an organisation, its ITN \
             is needed.",
            "По этому коду и ИНН ключ не найден. Если ключ продан организации, нужен её ИНН.",
        );
        ask(call, StatusCode::NOT_FOUND, Some(text.to_owned()))
    };
    if itn.as_deref().is_some_and(|itn| !is_owner_number(itn)) {
        return wrong();
    }
    let view = match call.centre.books.customer_key(code, itn, call.now).await {
        Ok(view) => view,
        Err(BooksError::Store(StoreError::NoKey)) => return wrong(),
        Err(error) => return Err(refusal_of(error)),
    };
    let key_no = view.key.key_no;
    log::info!("customer's page of key {key_no} opened from {}", call.from);
    let id = call.centre.gate.let_customer_in(Customer { key_no }).map_err(|error| {
        log::error!("{error}");
        Refusal::Internal
    })?;
    let mut page = see("/my/key");
    let cookie =
        format!("{CUSTOMER_COOKIE}={id}; Path=/my; HttpOnly; SameSite=Strict{}", call.secure());
    set_cookie(&mut page, &cookie);
    Ok(page)
}

#[derive(Template)]
#[template(path = "my_key.html")]
struct Key {
    frame: Frame,
    view: KeyView,
    product: String,
    may_release: bool,
    reasons: [ReturnReason; 5],
    now: Utc,
}

impl Key {
    fn is_installed(&self) -> bool {
        self.view.key.state == KeyState::Activated
    }

    fn moves_left(&self) -> u32 {
        self.view.moves_max.saturating_sub(self.view.moves)
    }

    fn is_over(&self) -> bool {
        self.view.key.expire_date.is_some_and(|end| end <= self.now)
    }

    fn reserve(&self) -> Option<String> {
        self.view.reserve_code.map(|code| code.to_string())
    }

    /// The servers that have it, when they are several.
    fn nodes(&self) -> Vec<&ActivationView> {
        let living = self.view.activations.iter().filter(|one| one.ended.is_none());
        if self.view.nodes > 1 { living.collect() } else { Vec::new() }
    }

    /// Reserve codes of nodes that have left while others go on.
    fn left_behind(&self) -> Vec<String> {
        if self.view.nodes == 0 {
            return Vec::new();
        }
        let codes = self.view.activations.iter().filter_map(|one| one.reserve_code);
        codes.map(|code| code.to_string()).collect()
    }

    fn spare(&self) -> Option<String> {
        self.view.spare_code.map(|code| code.to_string())
    }
}

/// `GET /my/key`, and the same with what is wrong with the form.
pub(super) async fn key(
    call: &Call<'_>,
    status: StatusCode,
    error: Option<String>,
) -> Result<Page, Refusal> {
    let Some(session) = call.centre.gate.customer(call.headers) else { return Ok(see("/my")) };
    let books = &call.centre.books;
    let view = books.key(session.who.key_no, call.now).await.map_err(refusal_of)?;
    let series = books.series().await.map_err(refusal_of)?;
    let series = series.into_iter().find(|series| series.series == view.key.series);
    let mut frame = Frame::bare(call);
    frame.csrf = session.csrf;
    frame.error = error;
    let page = Key {
        frame,
        product: series
            .as_ref()
            .map_or_else(|| view.key.series.to_string(), |series| series.product_name.clone()),
        may_release: series.is_some_and(|series| series.settings.self_release),
        reasons: ReturnReason::ALL,
        now: call.now,
        view,
    };
    page.frame.answer(status, &page)
}

/// `POST /my/key`: draws the spare code or releases the key.
pub(super) async fn act(call: &Call<'_>) -> Result<Page, Refusal> {
    let Some(session) = call.centre.gate.customer(call.headers) else { return Ok(see("/my")) };
    call.check_form(Some(&session.csrf))?;
    let no: KeyNo = session.who.key_no;
    let (books, actor, now) = (&call.centre.books, call.customer(), call.now);
    let (done, code) = match call.form.text("action") {
        Some("spare") => {
            let renew = call.form.is_ticked("renew");
            let asked = SpareCall { renew, activation_id: keys::activation(call) };
            (books.spare(no, asked, actor, now).await.map(drop), "spare_drawn")
        }
        Some("release") if call.form.is_ticked("sure") => {
            let comment = call.form.text("comment").map(str::to_owned);
            let activation_id = keys::activation(call);
            let asked = ReleaseCall { reason: keys::reason(call), comment, activation_id };
            if let Err(error) = asked.check() {
                let text = texts::vendor(call.language, &error);
                return key(call, StatusCode::BAD_REQUEST, Some(text)).await;
            }
            let done = books.release(no, asked, EndedBy::Customer, actor, now).await;
            (done.map(drop), "released")
        }
        Some("release") => {
            let text = call.pick(
                "Tick the box: the licence on the old server ends with it.",
                "Отметьте согласие: лицензия на старом сервере перестанет действовать.",
            );
            return key(call, StatusCode::BAD_REQUEST, Some(text.to_owned())).await;
        }
        _ => return Err(Refusal::BadMember("action")),
    };
    match done {
        Ok(()) => Ok(see_done("/my/key", code)),
        Err(error) => {
            let (status, text) = told(call, error)?;
            key(call, status, Some(text)).await
        }
    }
}

/// `POST /my/leave`.
pub(super) fn leave(call: &Call<'_>) -> Result<Page, Refusal> {
    let session = call.centre.gate.customer(call.headers);
    call.check_form(session.as_ref().map(|session| session.csrf.as_str()))?;
    call.centre.gate.let_go(call.headers);
    let mut page = see_done("/my", "left");
    set_cookie(&mut page, &format!("{CUSTOMER_COOKIE}=; Path=/my; Max-Age=0"));
    Ok(page)
}
