//! Answers of the service, in the forms that recordings and clients of it show.

use serde_json::{Value, json};

/// What the body of an answer is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) body: String,
}

/// More than anybody reads.
const FLOOD_BYTES: usize = 4 << 20;

impl Reply {
    /// A success.
    pub(super) fn ok(body: &Value) -> Self {
        Self { status: 200, content_type: "application/json;charset=UTF-8", body: body.to_string() }
    }

    /// A refusal. Its code is a number in one recording and a text in others.
    pub(super) fn refused(status: u16, text: &str, code_is_text: bool) -> Self {
        let code = if code_is_text { Value::from(status.to_string()) } else { Value::from(status) };
        let body = json!({ "code": code, "error_message": text, "description": text });
        Self { status, ..Self::ok(&body) }
    }

    /// What the service said after 30.5 seconds when it did not reach СУЗ.
    pub(super) fn failed() -> Self {
        let text = "HystrixRuntimeException: SuzServiceProxy#getTokenFromSuz(String,String) \
                    timed-out and no fallback available.";
        Self::refused(500, text, false)
    }

    /// A page for people.
    pub(super) fn garbage() -> Self {
        Self {
            status: 200,
            content_type: "text/html",
            body: "<html><body><h1>502 Bad Gateway</h1></body></html>".to_owned(),
        }
    }

    /// A success without what it is for.
    pub(super) fn empty() -> Self {
        Self::ok(&json!({}))
    }

    /// Too much.
    pub(super) fn flood() -> Self {
        Self::ok(&json!({ "token": "A".repeat(FLOOD_BYTES) }))
    }
}
