//! The vendor's calls: orders, keys, customers, tokens, series, suspicions, figures, the audit trail.
//!
//! Reads a call, asks the books, writes the answer. Who may call is decided before.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use licence_core::key::{KeyNo, KeySeries};
use licencekit::order::{CodeState, OrderCall, OrderList, OrderView};
use licencekit::vendor::{
    BlanksCall, CustomerCall, EndedBy, ProlongCall, ReleaseCall, SeriesSettings, SignedCall,
    SpareCall,
};
use percent_encoding::percent_decode_str;
use serde::Serialize;

use super::{CallBody, Centre, json, read, read_bytes, refusal_of};
use crate::access::Actor;
use crate::refusal::Refusal;
use crate::store::{MovesFilter, OrdersFilter};

/// Longest text that is searched for.
const QUERY_CHARS_MAX: usize = 200;

/// Where a call of the vendor goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum VendorRoute {
    Audit,
    BlankBlock(i64, bool),
    Blanks,
    Codes(i64),
    Customer(i64),
    Customers,
    Key(KeyNo),
    Keys,
    Moves,
    Order(i64),
    Orders,
    Prolong(i64),
    Release(KeyNo),
    Revoke(i64),
    SeriesList,
    Settings(KeySeries),
    Spare(KeyNo),
    Stats,
    SuspicionBlock(i64, bool),
    SuspicionClear(i64),
    Suspicions,
    Unsigned,
    UnsignedOne(i64),
}

/// Route and methods of a path below `/api`.
pub(super) fn route(path: &str) -> Option<(VendorRoute, &'static str)> {
    let parts: Vec<&str> = path.strip_prefix("/api/")?.split('/').collect();
    Some(match parts.as_slice() {
        ["audit"] => (VendorRoute::Audit, "GET"),
        ["blanks"] => (VendorRoute::Blanks, "GET, POST"),
        ["blanks", id, "block"] => (VendorRoute::BlankBlock(number(id)?, true), "POST"),
        ["blanks", id, "unblock"] => (VendorRoute::BlankBlock(number(id)?, false), "POST"),
        ["customers"] => (VendorRoute::Customers, "GET, POST"),
        ["customers", id] => (VendorRoute::Customer(number(id)?), "GET, PUT, DELETE"),
        ["keys"] => (VendorRoute::Keys, "GET"),
        ["keys", no] => (VendorRoute::Key(key_no(no)?), "GET"),
        ["keys", no, "release"] => (VendorRoute::Release(key_no(no)?), "POST"),
        ["keys", no, "spare"] => (VendorRoute::Spare(key_no(no)?), "POST"),
        ["moves"] => (VendorRoute::Moves, "GET"),
        ["orders"] => (VendorRoute::Orders, "GET, POST"),
        ["orders", id] => (VendorRoute::Order(number(id)?), "GET"),
        ["orders", id, "codes.csv"] => (VendorRoute::Codes(number(id)?), "GET"),
        ["orders", id, "prolong"] => (VendorRoute::Prolong(number(id)?), "POST"),
        ["orders", id, "revoke"] => (VendorRoute::Revoke(number(id)?), "POST"),
        ["series", series] => (VendorRoute::Settings(series.parse().ok()?), "PUT"),
        ["series-settings"] => (VendorRoute::SeriesList, "GET"),
        ["stats"] => (VendorRoute::Stats, "GET"),
        ["suspicions"] => (VendorRoute::Suspicions, "GET"),
        ["suspicions", id, "block"] => (VendorRoute::SuspicionBlock(number(id)?, true), "POST"),
        ["suspicions", id, "clear"] => (VendorRoute::SuspicionClear(number(id)?), "POST"),
        ["suspicions", id, "unblock"] => (VendorRoute::SuspicionBlock(number(id)?, false), "POST"),
        ["unsigned"] => (VendorRoute::Unsigned, "GET"),
        ["unsigned", id] => (VendorRoute::UnsignedOne(number(id)?), "POST"),
        _ => return None,
    })
}

fn number(text: &str) -> Option<i64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok())?
}

fn key_no(text: &str) -> Option<KeyNo> {
    number(text).and_then(|number| u32::try_from(number).ok()).map(KeyNo)
}

/// The parameters of an address.
struct Query(Vec<(String, String)>);

impl Query {
    fn of<B>(request: &Request<B>) -> Result<Self, Refusal> {
        let mut pairs = Vec::new();
        for pair in request.uri().query().unwrap_or_default().split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let spaced = value.replace('+', " ");
            let value = percent_decode_str(&spaced)
                .decode_utf8()
                .map_err(|_| Refusal::BadMember("query"))?;
            pairs.push((name.to_owned(), value.into_owned()));
        }
        Ok(Self(pairs))
    }

    /// The value of a parameter; an empty one is none.
    fn text(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    fn parsed<T: std::str::FromStr>(&self, name: &'static str) -> Result<Option<T>, Refusal> {
        let value = self.text(name).map(str::parse).transpose();
        value.map_err(|_| Refusal::BadMember(name))
    }

    fn key_no(&self, name: &'static str) -> Result<Option<KeyNo>, Refusal> {
        Ok(self.parsed::<u32>(name)?.map(KeyNo))
    }

    fn search(&self) -> Result<Option<String>, Refusal> {
        match self.text("query") {
            Some(text) if text.chars().count() > QUERY_CHARS_MAX => {
                Err(Refusal::BadMember("query"))
            }
            text => Ok(text.map(str::to_owned)),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Revoked {
    #[serde(rename = "OrderID")]
    order_id: i64,
    revoked: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Removed {
    #[serde(rename = "CustomerID")]
    customer_id: i64,
    removed: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SpareDrawn {
    key_no: KeyNo,
    spare_code: licence_core::activation::ActivationCode,
}

impl Centre {
    /// Answers a call of the vendor's.
    pub(super) async fn vendor<B: CallBody>(
        &self,
        route: VendorRoute,
        request: Request<B>,
        actor: Actor,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        let now = (self.now)();
        let is_get = request.method() == Method::GET;
        match route {
            VendorRoute::Audit => {
                let query = Query::of(&request)?;
                let (key_no, order) = (query.key_no("key")?, query.parsed("order")?);
                let before = query.parsed("before")?;
                ok(&self.books.audit(key_no, order, before).await.map_err(refusal_of)?)
            }
            VendorRoute::BlankBlock(id, blocked) => {
                ok(&self.books.block_blank(id, blocked, actor, now).await.map_err(refusal_of)?)
            }
            VendorRoute::Blanks if is_get => {
                let before = Query::of(&request)?.parsed("before")?;
                ok(&self.books.blanks(before).await.map_err(refusal_of)?)
            }
            VendorRoute::Blanks => {
                let call: BlanksCall = read(request).await?;
                let answer =
                    self.books.register_blanks(call, actor, now).await.map_err(refusal_of)?;
                Ok(json(StatusCode::CREATED, &answer))
            }
            VendorRoute::Codes(id) => self.codes(id).await,
            VendorRoute::Customer(id) => self.customer(id, request, actor).await,
            VendorRoute::Customers if is_get => {
                let query = Query::of(&request)?;
                let (search, before) = (query.search()?, query.parsed("before")?);
                ok(&self.books.customers(search, before).await.map_err(refusal_of)?)
            }
            VendorRoute::Customers => {
                let call: CustomerCall = read(request).await?;
                let view = self.books.add_customer(call, actor, now).await.map_err(refusal_of)?;
                Ok(json(StatusCode::CREATED, &view))
            }
            VendorRoute::Key(key_no) => {
                ok(&self.books.key(key_no, now).await.map_err(refusal_of)?)
            }
            VendorRoute::Keys => {
                let query = Query::of(&request)?;
                let (search, before) = (query.search()?, query.parsed("before")?);
                ok(&self.books.keys(search, before, now).await.map_err(refusal_of)?)
            }
            VendorRoute::Moves => {
                let query = Query::of(&request)?;
                let filter =
                    MovesFilter { before: query.parsed("before")?, key_no: query.key_no("key")? };
                ok(&self.books.moves(filter).await.map_err(refusal_of)?)
            }
            VendorRoute::Order(id) => ok(&self.order(id).await?),
            VendorRoute::Orders if is_get => {
                let query = Query::of(&request)?;
                let filter = OrdersFilter {
                    before: query.parsed("before")?,
                    order_id: None,
                    customer_id: query.parsed("customer")?,
                    series: query.parsed("series")?,
                };
                ok(&self.books.orders(filter).await.map_err(refusal_of)?)
            }
            VendorRoute::Orders => self.add_order(request, actor).await,
            VendorRoute::Prolong(id) => {
                let call: ProlongCall = read(request).await?;
                ok(&self.books.prolong(id, call, actor, now).await.map_err(refusal_of)?)
            }
            VendorRoute::Release(key_no) => {
                let call: ReleaseCall = read_or_default(request).await?;
                let by = EndedBy::Vendor;
                let answer =
                    self.books.release(key_no, call, by, actor, now).await.map_err(refusal_of)?;
                log::info!("key {key_no} released by the vendor");
                ok(&answer)
            }
            VendorRoute::Revoke(order_id) => {
                self.books.revoke(order_id, actor, now).await.map_err(refusal_of)?;
                log::info!("order {order_id} revoked");
                ok(&Revoked { order_id, revoked: true })
            }
            VendorRoute::SeriesList => ok(&self.books.series().await.map_err(refusal_of)?),
            VendorRoute::Settings(series) => {
                let call: SeriesSettings = read(request).await?;
                let done = self.books.settle_series(series, call, actor, now).await;
                ok(&done.map_err(refusal_of)?)
            }
            VendorRoute::Spare(key_no) => {
                let call: SpareCall = read_or_default(request).await?;
                let spare_code =
                    self.books.spare(key_no, call, actor, now).await.map_err(refusal_of)?;
                ok(&SpareDrawn { key_no, spare_code })
            }
            VendorRoute::Stats => ok(&self.books.statistics().await.map_err(refusal_of)?),
            VendorRoute::SuspicionBlock(id, blocked) => {
                ok(&self.books.block_holder(id, blocked, actor, now).await.map_err(refusal_of)?)
            }
            VendorRoute::SuspicionClear(id) => {
                ok(&self.books.clear_suspicion(id, actor, now).await.map_err(refusal_of)?)
            }
            VendorRoute::Suspicions => {
                let all = Query::of(&request)?.parsed("all")?.unwrap_or(false);
                ok(&self.books.suspicions(all).await.map_err(refusal_of)?)
            }
            VendorRoute::Unsigned => {
                let after = Query::of(&request)?.parsed("after")?;
                ok(&self.books.unsigned(after).await.map_err(refusal_of)?)
            }
            VendorRoute::UnsignedOne(id) => {
                let call: SignedCall = read(request).await?;
                let done = self.books.take_signature(id, call.document, actor, now).await;
                let done = done.map_err(refusal_of)?;
                log::info!("document {id} signed, key {}", done.key_no);
                ok(&done)
            }
        }
    }

    async fn customer<B: CallBody>(
        &self,
        id: i64,
        request: Request<B>,
        actor: Actor,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        // Named by the address: one that is not there is a wrong address.
        let refused = |error| {
            let refusal = refusal_of(error);
            if refusal == Refusal::BadMember("CustomerID") { Refusal::NotFound } else { refusal }
        };
        let now = (self.now)();
        if request.method() == Method::GET {
            return ok(&self.books.customer(id).await.map_err(refused)?);
        }
        if request.method() == Method::DELETE {
            self.books.remove_customer(id, actor, now).await.map_err(refused)?;
            return ok(&Removed { customer_id: id, removed: true });
        }
        let call: CustomerCall = read(request).await?;
        ok(&self.books.change_customer(id, call, actor, now).await.map_err(refused)?)
    }

    async fn order(&self, order_id: i64) -> Result<OrderView, Refusal> {
        let filter = OrdersFilter { order_id: Some(order_id), ..OrdersFilter::default() };
        let OrderList { orders, .. } = self.books.orders(filter).await.map_err(refusal_of)?;
        orders.into_iter().next().ok_or(Refusal::NotFound)
    }

    /// The codes of an order as a table that spreadsheets of Russian computers open by themselves.
    async fn codes(&self, order_id: i64) -> Result<Response<Full<Bytes>>, Refusal> {
        let view = self.order(order_id).await?;
        let mut response = Response::new(Full::new(Bytes::from(codes_csv(&view))));
        let name = format!("attachment; filename=\"codes-{order_id}.csv\"");
        let headers = response.headers_mut();
        let kind = HeaderValue::from_static("text/csv; charset=utf-8");
        headers.insert(header::CONTENT_TYPE, kind);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Ok(name) = HeaderValue::from_str(&name) {
            headers.insert(header::CONTENT_DISPOSITION, name);
        }
        Ok(response)
    }

    async fn add_order<B: CallBody>(
        &self,
        request: Request<B>,
        actor: Actor,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        let order: OrderCall = read(request).await?;
        let now = (self.now)();
        order.check(now).map_err(Refusal::Order)?;
        if !self.series.contains_key(&order.series) {
            return Err(Refusal::OrderSeries);
        }
        let (series, count) = (order.series, order.count);
        let answer = self.books.add_order(order, actor, now).await.map_err(refusal_of)?;
        log::info!("order {}: {count} codes of series {series}", answer.order_id);
        Ok(json(StatusCode::CREATED, &answer))
    }
}

/// The codes of an order as CSV (RFC 4180) with semicolons and a byte-order mark, as spreadsheets
/// take it in Russian regional settings.
pub(crate) fn codes_csv(view: &OrderView) -> String {
    let mut csv = "\u{feff}Code;KeyNo;Series;State;Activated;ComputerID;ReserveCode\r\n".to_owned();
    for code in &view.codes {
        let state = match code.state {
            CodeState::Activated => "Activated",
            CodeState::Free => "Free",
            CodeState::Returned => "Returned",
        };
        // No member holds a semicolon, a quotation mark or what a spreadsheet takes for a formula.
        csv += &format!(
            "{};{};{};{state};{};{};{}\r\n",
            code.code,
            code.key_no,
            view.order.series,
            code.activated.map_or_else(String::new, |at| at.to_string()),
            code.computer_id.as_deref().unwrap_or_default(),
            code.reserve_code.map_or_else(String::new, |code| code.to_string()),
        );
    }
    csv
}

fn ok<T: Serialize>(value: &T) -> Result<Response<Full<Bytes>>, Refusal> {
    Ok(json(StatusCode::OK, value))
}

/// The call in a body; the default call where there is no body.
async fn read_or_default<B: CallBody, T>(request: Request<B>) -> Result<T, Refusal>
where
    T: serde::de::DeserializeOwned + Default,
{
    let body = read_bytes(request).await?;
    if body.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(&body).map_err(|error| Refusal::BadJson(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_a_route_only_when_it_fits_wholly() {
        let check = |path: &str, wanted: Option<VendorRoute>| {
            assert_eq!(route(path).map(|(route, _)| route), wanted, "{path}");
        };
        check("/api/keys/7", Some(VendorRoute::Key(KeyNo(7))));
        check("/api/keys/7/release", Some(VendorRoute::Release(KeyNo(7))));
        check("/api/series/672B", Some(VendorRoute::Settings(KeySeries::from_u16(0x672B))));
        check("/api/suspicions/1/unblock", Some(VendorRoute::SuspicionBlock(1, false)));
        for path in [
            "/api/keys/4294967296",
            "/api/keys/",
            "/api/keys/7/",
            "/api/keys/-7",
            "/api/series/67",
            "/api/orders/1/codes.csv/2",
        ] {
            check(path, None);
        }
    }
}
