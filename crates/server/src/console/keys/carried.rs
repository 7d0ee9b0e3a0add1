//! Requests that a person carries to the centre: as a file, a picture, or lines to be read out.
//!
//! What stands in them is made by the activator.

use askama::Template;
use hyper::StatusCode;
use hyper::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderValue};
use licence_core::key::KeySeries;

use super::{Typed, Wrong, install_page, read_demo, read_order, read_why, shown};
use crate::access::csrf;
use crate::activate::{Activator, Order};
use crate::api::errors::ApiError;
use crate::api::form::Form;
use crate::api::routes::Page;
use crate::api::{Answer, Call};
use crate::console::frame::Frame;
use crate::console::picture;

/// A request to be carried to the centre.
struct Carried {
    token: String,
    series: Option<KeySeries>,
    kind: Kind,
}

/// Which request a form asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Activation,
    Demo,
    Phone,
    Return,
    Update,
}

impl Kind {
    fn of(form: &Form) -> Self {
        match form.text("kind").unwrap_or_default() {
            "demo" => Self::Demo,
            "phone" => Self::Phone,
            "return" => Self::Return,
            "update" => Self::Update,
            _ => Self::Activation,
        }
    }
}

/// `POST /keys/request`: the request as a file, or as a page with a picture of it.
pub(in crate::console) async fn request(call: &Call<'_>, body: &[u8]) -> Result<Answer, ApiError> {
    let form = Form::read(body)?;
    csrf::check_form(call, &form)?;
    let kind = Kind::of(&form);
    let made = match kind {
        Kind::Activation | Kind::Phone => {
            let (typed, order) = read_order(call, body)?;
            let made = match order {
                Ok(order) => carried_order(call, kind, order).await,
                Err(error) => Err(error),
            };
            match made {
                Ok(made) => made,
                Err(error) => {
                    return install_page(call, error.status, typed, Some(&error), None).await;
                }
            }
        }
        Kind::Demo => match carried_demo(call, &form).await {
            Ok(made) => made,
            Err(error) => {
                let typed = Typed::default();
                return install_page(call, error.status, typed, Some(&error), None).await;
            }
        },
        Kind::Return => {
            let key_no = form.text("key").and_then(|text| text.parse().ok());
            let key_no = key_no.ok_or_else(|| ApiError::not_found(call.path))?;
            let (why, wrong) = read_why(call, &form);
            if let Some(text) = wrong {
                let wrong = Wrong::of_reserve(text, &form);
                return shown(call, key_no, StatusCode::BAD_REQUEST, wrong).await;
            }
            let app = call.app;
            let made = app.activator.return_request(&app.handle, key_no, why, &call.actor).await;
            let (token, series) = made?;
            app.forget_looks().await;
            Carried { token, series: Some(series), kind }
        }
        Kind::Update => {
            let token = call.app.activator.update_request(&call.app.handle).await?;
            Carried { token, series: None, kind }
        }
    };
    if form.flag("show") || kind != Kind::Activation {
        return carried_page(call, made).await;
    }
    let mut answer = hyper::Response::new(made.token.into());
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    let name = Activator::file_name(made.series);
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
        headers.insert(CONTENT_DISPOSITION, value);
    }
    Ok(answer)
}

async fn carried_demo(call: &Call<'_>, form: &Form) -> Result<Carried, ApiError> {
    let demo = read_demo(form)?;
    let series = Some(demo.series);
    let token = call.app.activator.demo_request(&call.app.handle, demo).await?;
    Ok(Carried { token, series, kind: Kind::Demo })
}

async fn carried_order(call: &Call<'_>, kind: Kind, order: Order) -> Result<Carried, ApiError> {
    let (activator, handle) = (&call.app.activator, &call.app.handle);
    let series = Some(order.code.series());
    let token = if kind == Kind::Phone {
        activator.short_request(handle, order).await?
    } else {
        activator.file_request(handle, order).await?
    };
    Ok(Carried { token, series, kind })
}

/// The request as a page: for a telephone's camera, to be copied, and as a file.
async fn carried_page(call: &Call<'_>, made: Carried) -> Result<Answer, ApiError> {
    let frame = Frame::new(call, Page::InstallRequest).await?;
    let centre = call.app.activator.page_of(&call.app.handle, made.series).await?;
    let by_phone = made.kind == Kind::Phone;
    let address = centre.map(|centre| centre.trim_end_matches('/').to_owned());
    let picture = if by_phone {
        None
    } else {
        // Every symbol of a token may stand in a query as it is.
        let content = match &address {
            Some(centre) => format!("{centre}/r?request={}", made.token),
            None => made.token.clone(),
        };
        picture::qr(&content)
    };
    let page = RequestPage {
        by_phone,
        is_return: made.kind == Kind::Return,
        picture,
        address,
        name: Activator::file_name(made.series),
        file: picture::data_url(&made.token),
        text: made.token,
        frame,
    };
    page.frame.answer(StatusCode::CREATED, &page)
}

/// A request to be carried to the centre.
#[derive(Template)]
#[template(path = "request.html")]
struct RequestPage {
    frame: Frame,
    by_phone: bool,
    /// Whether a key has just been put aside for it.
    is_return: bool,
    /// SVG; nothing for what is longer than a picture can be.
    picture: Option<String>,
    /// The centre, when it is known.
    address: Option<String>,
    name: String,
    /// The file as an address.
    file: String,
    text: String,
}
