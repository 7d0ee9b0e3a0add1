//! The pages of customers: the list, one with a form, and its orders by a link.
//!
//! Reads forms; limits are those of [`CustomerCall::check`].

use askama::Template;
use hyper::StatusCode;
use licencekit::vendor::{CustomerCall, CustomerView};

use super::form::Form;
use super::frame::{Frame, encoded, see_done};
use super::{Call, Page, texts, told};
use crate::api::refusal_of;
use crate::refusal::Refusal;

#[derive(Template)]
#[template(path = "vendor_customers.html")]
struct List {
    frame: Frame,
    rows: Vec<CustomerView>,
    next: Option<String>,
    query: String,
    typed: Typed,
}

/// What stands in the fields.
struct Typed {
    name: String,
    itn: String,
    iec: String,
    mail: String,
    note: String,
}

impl Typed {
    fn of_form(form: &Form) -> Self {
        let own = |name| form.raw(name).unwrap_or_default().to_owned();
        Self {
            name: own("name"),
            itn: own("itn"),
            iec: own("iec"),
            mail: own("mail"),
            note: own("note"),
        }
    }

    fn of_view(view: &CustomerView) -> Self {
        let customer = &view.customer;
        let own = |text: &Option<String>| text.clone().unwrap_or_default();
        Self {
            name: customer.name.clone(),
            itn: own(&customer.itn),
            iec: own(&customer.iec),
            mail: own(&customer.mail),
            note: own(&customer.note),
        }
    }
}

fn read(form: &Form) -> CustomerCall {
    let own = |name| form.text(name).map(str::to_owned);
    CustomerCall {
        name: own("name").unwrap_or_default(),
        itn: own("itn"),
        iec: own("iec"),
        mail: own("mail"),
        note: own("note"),
    }
}

/// `GET /vendor/customers`, and the same with what is wrong with the form.
pub(super) async fn list(
    call: &Call<'_>,
    status: StatusCode,
    error: Option<String>,
) -> Result<Page, Refusal> {
    let query = call.query.text("query").map(str::to_owned);
    let before = call.query.number("before");
    let found = call.centre.books.customers(query.clone(), before).await.map_err(refusal_of)?;
    let query = query.unwrap_or_default();
    let mut frame = Frame::for_staff(call);
    frame.error = error;
    let page = List {
        frame,
        next: found
            .next
            .map(|next| format!("/vendor/customers?query={}&before={next}", encoded(&query))),
        rows: found.items,
        query,
        typed: Typed::of_form(&call.form),
    };
    page.frame.answer(status, &page)
}

/// `POST /vendor/customers`.
pub(super) async fn add(call: &Call<'_>) -> Result<Page, Refusal> {
    let customer = read(&call.form);
    if let Err(error) = customer.check() {
        let text = texts::vendor(call.language, &error);
        return list(call, StatusCode::BAD_REQUEST, Some(text)).await;
    }
    match call.centre.books.add_customer(customer, call.actor()?, call.now).await {
        Ok(view) => {
            let address = format!("/vendor/customers/{}", view.customer_id);
            Ok(see_done(&address, "customer_added"))
        }
        Err(error) => {
            let (status, text) = told(call, error)?;
            list(call, status, Some(text)).await
        }
    }
}

#[derive(Template)]
#[template(path = "vendor_customer.html")]
struct One {
    frame: Frame,
    view: CustomerView,
    typed: Typed,
}

/// `GET /vendor/customers/{id}`, and the same with what is wrong with the form.
pub(super) async fn one(
    call: &Call<'_>,
    status: StatusCode,
    error: Option<String>,
) -> Result<Page, Refusal> {
    let view = call.centre.books.customer(call.number()?).await.map_err(refusal_of)?;
    let typed = if error.is_some() { Typed::of_form(&call.form) } else { Typed::of_view(&view) };
    let mut frame = Frame::for_staff(call);
    frame.error = error;
    let page = One { frame, view, typed };
    page.frame.answer(status, &page)
}

/// `POST /vendor/customers/{id}`.
pub(super) async fn change(call: &Call<'_>) -> Result<Page, Refusal> {
    let (id, actor, now) = (call.number()?, call.actor()?, call.now);
    let books = &call.centre.books;
    let (done, address, code) = if call.form.text("action") == Some("remove") {
        let done = books.remove_customer(id, actor, now).await;
        (done, "/vendor/customers".to_owned(), "customer_removed")
    } else {
        let customer = read(&call.form);
        if let Err(error) = customer.check() {
            let text = texts::vendor(call.language, &error);
            return one(call, StatusCode::BAD_REQUEST, Some(text)).await;
        }
        let done = books.change_customer(id, customer, actor, now).await.map(drop);
        (done, format!("/vendor/customers/{id}"), "customer_changed")
    };
    match done {
        Ok(()) => Ok(see_done(&address, code)),
        Err(error) => {
            let (status, text) = told(call, error)?;
            one(call, status, Some(text)).await
        }
    }
}
