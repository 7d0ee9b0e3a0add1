//! The pages of orders: the list, a new one, one with its codes, revoking and prolonging it.
//!
//! Reads forms; limits are those of [`OrderCall::check`], rules those of the books.

use askama::Template;
use hyper::StatusCode;
use licence_core::key::KeySeries;
use licence_core::time::Utc;
use licencekit::order::{CodeState, OrderCall, OrderKind, OrderView};
use licencekit::vendor::{CustomerView, ProlongCall, SeriesView};

use super::frame::{Frame, file, see_done};
use super::{Call, Page, codes, series, told};
use crate::api::refusal_of;
use crate::refusal::Refusal;
use crate::store::OrdersFilter;

#[derive(Template)]
#[template(path = "vendor_orders.html")]
struct List {
    frame: Frame,
    rows: Vec<OrderView>,
    next: Option<String>,
    series: Vec<SeriesView>,
    chosen: String,
    customer: String,
}

impl List {
    fn used(&self, row: &OrderView) -> usize {
        row.codes.iter().filter(|code| code.state != CodeState::Free).count()
    }
}

/// `GET /vendor/orders`.
pub(super) async fn list(call: &Call<'_>) -> Result<Page, Refusal> {
    let query = &call.query;
    let series = query.text("series").map(str::parse::<KeySeries>).transpose();
    let series = series.map_err(|_| Refusal::BadMember("series"))?;
    let filter = OrdersFilter {
        before: query.number("before"),
        order_id: query.number("order"),
        customer_id: query.number("customer"),
        series,
    };
    let books = &call.centre.books;
    let found = books.orders(filter).await.map_err(refusal_of)?;
    let chosen = series.map(|series| series.to_string()).unwrap_or_default();
    let customer = filter.customer_id.map(|id| id.to_string()).unwrap_or_default();
    let page = List {
        frame: Frame::for_staff(call),
        next: found.next.map(|next| {
            format!("/vendor/orders?series={chosen}&customer={customer}&before={next}")
        }),
        rows: found.orders,
        series: books.series().await.map_err(refusal_of)?,
        chosen,
        customer,
    };
    page.frame.answer(StatusCode::OK, &page)
}

#[derive(Template)]
#[template(path = "vendor_order_new.html")]
struct New {
    frame: Frame,
    series: Vec<SeriesView>,
    customers: Vec<CustomerView>,
    /// Whether the books have more customers than are listed.
    has_more: bool,
    levels: [(&'static str, licence_core::binding::BindingLevel); 4],
    /// What was typed, by field.
    form: super::Form,
}

impl New {
    fn typed(&self, name: &str) -> &str {
        self.form.raw(name).unwrap_or_default()
    }

    fn typed_or<'a>(&'a self, name: &str, otherwise: &'a str) -> &'a str {
        self.form.raw(name).unwrap_or(otherwise)
    }

    fn is_chosen(&self, name: &str, value: impl ToString) -> bool {
        self.form.raw(name) == Some(value.to_string().as_str())
    }
}

/// `GET /vendor/orders/new`.
pub(super) async fn blank_form(call: &Call<'_>) -> Result<Page, Refusal> {
    form(call, StatusCode::OK, None).await
}

async fn form(call: &Call<'_>, status: StatusCode, error: Option<String>) -> Result<Page, Refusal> {
    let books = &call.centre.books;
    let mut frame = Frame::for_staff(call);
    frame.error = error;
    let form = if call.method == "POST" { call.form.clone() } else { call.query.clone() };
    let newest = books.customers(None, None).await.map_err(refusal_of)?;
    let has_more = newest.next.is_some();
    let mut customers = newest.items;
    // Chosen on a page of their own, or a moment ago: not to be lost because others are newer.
    if let Some(chosen) = form.number("customer")
        && customers.iter().all(|one| one.customer_id != chosen)
        && let Ok(one) = books.customer(chosen).await
    {
        customers.insert(0, one);
    }
    let page = New {
        frame,
        series: books.series().await.map_err(refusal_of)?,
        customers,
        has_more,
        levels: series::LEVELS,
        form,
    };
    page.frame.answer(status, &page)
}

/// `POST /vendor/orders`.
pub(super) async fn add(call: &Call<'_>) -> Result<Page, Refusal> {
    let checked = read(call).and_then(|order| {
        order.check(call.now).map_err(Refusal::Order)?;
        if !call.centre.series.contains_key(&order.series) {
            return Err(Refusal::OrderSeries);
        }
        Ok(order)
    });
    let order = match checked {
        Ok(order) => order,
        Err(refusal) => {
            let text = refusal.text(call.language);
            return form(call, StatusCode::BAD_REQUEST, Some(text)).await;
        }
    };
    match call.centre.books.add_order(order, call.actor()?, call.now).await {
        Ok(added) => Ok(see_done(&format!("/vendor/orders/{}", added.order_id), "order_added")),
        Err(error) => {
            let (status, text) = told(call, error)?;
            form(call, status, Some(text)).await
        }
    }
}

fn read(call: &Call<'_>) -> Result<OrderCall, Refusal> {
    let form = &call.form;
    let own = |name: &str| form.text(name).map(str::to_owned);
    let kind = match form.text("kind") {
        Some("main") => OrderKind::Main,
        Some("additional") => OrderKind::Additional,
        Some("demo") => OrderKind::Demo,
        _ => return Err(Refusal::BadMember("Kind")),
    };
    let mut order: OrderCall = serde_json::from_value(serde_json::json!({
        "Series": form.text("series").unwrap_or_default(), "Kind": "main", "Seats": 1,
    }))
    .map_err(|_| Refusal::BadMember("Series"))?;
    order.kind = kind;
    order.seats = number(call, "seats", "Seats")?.ok_or(Refusal::BadMember("Seats"))?;
    order.count = number(call, "count", "Count")?.unwrap_or(1);
    order.period = number(call, "period", "Period")?.unwrap_or(0);
    order.product_version = number(call, "product_version", "ProductVersion")?.unwrap_or(0);
    order.reg_no = number(call, "reg_no", "RegNo")?;
    order.start_date = day(call, "start", "StartDate")?;
    order.expire_date = day(call, "expire", "ExpireDate")?;
    order.article = own("article");
    order.article_name = own("article_name");
    order.itn = own("itn");
    order.iec = own("iec");
    order.note = own("note");
    order.customer_id = form
        .text("customer")
        .map(|text| text.parse().map_err(|_| Refusal::BadMember("CustomerID")))
        .transpose()?;
    order.binding = series::binding(call)?;
    order.cluster_nodes = number(call, "cluster_nodes", "ClusterNodes")?;
    Ok(order)
}

fn number(call: &Call<'_>, field: &str, name: &'static str) -> Result<Option<u32>, Refusal> {
    let text = call.form.text(field);
    text.map(|text| text.parse().map_err(|_| Refusal::BadMember(name))).transpose()
}

/// A day of a form, which is midnight UTC.
fn day(call: &Call<'_>, field: &str, name: &'static str) -> Result<Option<Utc>, Refusal> {
    let text = call.form.text(field);
    text.map(|text| format!("{text}T00:00:00Z").parse().map_err(|_| Refusal::BadMember(name)))
        .transpose()
}

#[derive(Template)]
#[template(path = "vendor_order.html")]
struct One {
    frame: Frame,
    view: OrderView,
    customer: Option<CustomerView>,
    codes: Vec<CodeRow>,
}

struct CodeRow {
    code: String,
    key_no: String,
    state: CodeState,
    activated: Option<Utc>,
    computer_id: Option<String>,
    reserve_code: Option<String>,
}

async fn find(call: &Call<'_>) -> Result<OrderView, Refusal> {
    let order_id = Some(call.number()?);
    let filter = OrdersFilter { order_id, ..OrdersFilter::default() };
    let found = call.centre.books.orders(filter).await.map_err(refusal_of)?;
    found.orders.into_iter().next().ok_or(Refusal::NotFound)
}

/// `GET /vendor/orders/{id}`, and the same with what is wrong with the form.
pub(super) async fn one(
    call: &Call<'_>,
    status: StatusCode,
    error: Option<String>,
) -> Result<Page, Refusal> {
    let view = find(call).await?;
    let customer = match view.order.customer_id {
        Some(id) => Some(call.centre.books.customer(id).await.map_err(refusal_of)?),
        None => None,
    };
    let mut frame = Frame::for_staff(call);
    frame.error = error;
    let codes = view.codes.iter().map(|row| CodeRow {
        code: codes::shown(call, row.code),
        key_no: row.key_no.to_string(),
        state: row.state,
        activated: row.activated,
        computer_id: row.computer_id.clone(),
        reserve_code: row.reserve_code.map(|code| codes::shown(call, code)),
    });
    let codes = codes.collect();
    let page = One { frame, view, customer, codes };
    page.frame.answer(status, &page)
}

/// `GET /vendor/orders/{id}/codes.csv`.
pub(super) async fn csv(call: &Call<'_>) -> Result<Page, Refusal> {
    let view = find(call).await?;
    let name = format!("order-{}.csv", view.order_id);
    Ok(file(&name, "text/csv; charset=utf-8", crate::api::codes_csv(&view)))
}

/// `POST /vendor/orders/{id}`.
pub(super) async fn change(call: &Call<'_>) -> Result<Page, Refusal> {
    let (id, actor, now) = (call.number()?, call.actor()?, call.now);
    let books = &call.centre.books;
    let (done, code) = match call.form.text("action") {
        Some("revoke") if call.form.is_ticked("sure") => {
            (books.revoke(id, actor, now).await, "revoked")
        }
        Some("revoke") => {
            let text = call.pick("Tick the box that you are sure.", "Отметьте, что вы уверены.");
            return one(call, StatusCode::BAD_REQUEST, Some(text.to_owned())).await;
        }
        Some("prolong") => {
            let asked = ProlongCall {
                expire_date: day(call, "expire", "ExpireDate")?,
                days: number(call, "days", "Days")?,
            };
            (books.prolong(id, asked, actor, now).await.map(drop), "prolonged")
        }
        _ => return Err(Refusal::BadMember("action")),
    };
    match done {
        Ok(()) => Ok(see_done(&format!("/vendor/orders/{id}"), code)),
        Err(error) => {
            let (status, text) = told(call, error)?;
            one(call, status, Some(text)).await
        }
    }
}
