//! The REST API as a customer's script calls it: JSON over plain HTTP with Basic authentication.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use serde_json::Value;

use super::StageError;

/// Bound of one call. The longest is an activation, which the server bounds at 30 s itself.
const CALL_SECS_MAX: u64 = 40;

/// `admin:admin`, the manual's default, as Basic credentials.
const BASIC: &str = "Basic YWRtaW46YWRtaW4=";

/// What a server is told by its conf whose administrator calls from another computer, which the default
/// password may not.
pub(super) const PASSWORD: &str = "word of the stage";

/// `admin` with [`PASSWORD`], as Basic credentials.
const BASIC_FROM_AFAR: &str = "Basic YWRtaW46d29yZCBvZiB0aGUgc3RhZ2U=";

/// Length of the secret in a form: 32 bytes in base64.
const FORM_SECRET_CHARS: usize = 43;

/// A server's REST API.
#[derive(Clone, Debug)]
pub struct Rest {
    agent: ureq::Agent,
    base: String,
    authorization: Option<String>,
    language: Option<&'static str>,
}

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status code.
    pub status: u16,
    /// The body; null when it is not JSON.
    pub body: Value,
}

impl Rest {
    /// The API on this port of this computer.
    pub fn new(port: u16) -> Self {
        Self::at(Ipv4Addr::LOCALHOST.into(), port)
    }

    /// The API on this port of this computer or of one of the stage's networks.
    pub fn at(address: IpAddr, port: u16) -> Self {
        Self::hurried(address, port, CALL_SECS_MAX)
    }

    /// The same, giving up after so many seconds: of a server that may be cut off.
    pub fn hurried(address: IpAddr, port: u16, secs: u64) -> Self {
        let basic = if address.is_loopback() { BASIC } else { BASIC_FROM_AFAR };
        Self::of(address, port, Some(basic.to_owned()), secs)
    }

    /// The API on this port of this computer for who shows a token.
    pub fn bearing(port: u16, token: &str) -> Self {
        let token = Some(format!("Bearer {token}"));
        Self::of(Ipv4Addr::LOCALHOST.into(), port, token, CALL_SECS_MAX)
    }

    /// What is on this port of this computer for who has no account there.
    pub fn visiting(port: u16) -> Self {
        Self::of(Ipv4Addr::LOCALHOST.into(), port, None, CALL_SECS_MAX)
    }

    fn of(address: IpAddr, port: u16, authorization: Option<String>, secs: u64) -> Self {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(secs)))
            .http_status_as_error(false)
            .proxy(None)
            .build()
            .new_agent();
        Self { agent, base: format!("http://{address}:{port}"), authorization, language: None }
    }

    /// The same for a caller of this language (`en`, `ru`); without it the other side chooses.
    #[must_use]
    pub fn speaking(mut self, language: &'static str) -> Self {
        self.language = Some(language);
        self
    }

    /// Reads `path`.
    ///
    /// # Errors
    ///
    /// When no answer came, or another than 200 with JSON.
    pub fn get(&self, path: &str) -> Result<Value, StageError> {
        self.expect("GET", path, 200, self.try_get(path)?)
    }

    /// Reads `path` and gives the answer whatever its status.
    ///
    /// # Errors
    ///
    /// When no answer came.
    pub fn try_get(&self, path: &str) -> Result<Answer, StageError> {
        let url = format!("{}{path}", self.base);
        let sent = self.head(self.agent.get(&url)).call();
        self.answer("GET", path, sent)
    }

    /// Posts JSON to `path` and gives the answer whatever its status.
    ///
    /// # Errors
    ///
    /// When no answer came.
    pub fn try_post(&self, path: &str, body: &Value) -> Result<Answer, StageError> {
        let url = format!("{}{path}", self.base);
        let sent = self.head(self.agent.post(&url)).send_json(body);
        self.answer("POST", path, sent)
    }

    /// Puts JSON to `path` and gives the answer whatever its status.
    ///
    /// # Errors
    ///
    /// When no answer came.
    pub fn try_put(&self, path: &str, body: &Value) -> Result<Answer, StageError> {
        let url = format!("{}{path}", self.base);
        let sent = self.head(self.agent.put(&url)).send_json(body);
        self.answer("PUT", path, sent)
    }

    /// The same if what is there is still what has this `ETag`.
    ///
    /// # Errors
    ///
    /// When no answer came.
    pub fn try_put_if(&self, path: &str, body: &Value, tag: &str) -> Result<Answer, StageError> {
        let url = format!("{}{path}", self.base);
        let sent = self.head(self.agent.put(&url)).header("If-Match", tag).send_json(body);
        self.answer("PUT", path, sent)
    }

    /// The `ETag` of what is at `path`.
    ///
    /// # Errors
    ///
    /// When no answer came, or one without.
    pub fn tag(&self, path: &str) -> Result<String, StageError> {
        let url = format!("{}{path}", self.base);
        let sent = self.head(self.agent.get(&url)).call();
        let answer = sent.map_err(|why| StageError::failed(format!("GET {url}: {why}")))?;
        let tag = answer.headers().get("etag").and_then(|tag| tag.to_str().ok());
        tag.map(str::to_owned).ok_or_else(|| StageError::failed(format!("GET {url}: no ETag")))
    }

    /// Deletes what is at `path` and gives the answer whatever its status.
    ///
    /// # Errors
    ///
    /// When no answer came.
    pub fn try_delete(&self, path: &str) -> Result<Answer, StageError> {
        let url = format!("{}{path}", self.base);
        let sent = self.head(self.agent.delete(&url)).call();
        self.answer("DELETE", path, sent)
    }

    /// Installs the licence of an activation code.
    ///
    /// # Errors
    ///
    /// When it does not answer 201 with the licence.
    pub fn activate(&self, code: &str) -> Result<Value, StageError> {
        let body = serde_json::json!({ "ActivationCodeString": code });
        self.expect("POST", "/api/licences", 201, self.try_post("/api/licences", &body)?)
    }

    /// The licences.
    ///
    /// # Errors
    ///
    /// As [`Self::get`].
    pub fn licences(&self) -> Result<Vec<Value>, StageError> {
        self.list("/api/licences", "Licences")
    }

    /// The sessions.
    ///
    /// # Errors
    ///
    /// As [`Self::get`].
    pub fn sessions(&self) -> Result<Vec<Value>, StageError> {
        self.list("/api/sessions", "Sessions")
    }

    /// Seats that a node of a cluster keeps for sessions which are moving to it.
    ///
    /// # Errors
    ///
    /// As [`Self::get`].
    pub fn kept_seats(&self) -> Result<Vec<Value>, StageError> {
        self.list("/api/cluster/kept", "Kept")
    }

    /// The connections.
    ///
    /// # Errors
    ///
    /// As [`Self::get`].
    pub fn connections(&self) -> Result<Vec<Value>, StageError> {
        self.list("/api/connections", "Connections")
    }

    /// Reads a page, as a browser of the same caller does; whatever its status.
    ///
    /// # Errors
    ///
    /// When no answer came.
    pub fn page(&self, path: &str) -> Result<(u16, String), StageError> {
        let url = format!("{}{path}", self.base);
        let sent = self.head(self.agent.get(&url)).call();
        self.text("GET", path, sent)
    }

    /// Sends a form, as a browser of the same caller does; whatever its status.
    ///
    /// # Errors
    ///
    /// When no answer came.
    pub fn form(&self, path: &str, fields: &[(&str, &str)]) -> Result<(u16, String), StageError> {
        let url = format!("{}{path}", self.base);
        // A page of the server gives its forms a secret and the browser the same as a cookie; whoever
        // sends both may be anybody, so any will do.
        let secret = "A".repeat(FORM_SECRET_CHARS);
        let request = self.head(self.agent.post(&url));
        let request = request.header("Cookie", format!("licence_csrf={secret}"));
        let fields = fields.iter().copied().chain([("csrf", secret.as_str())]);
        let sent = request.send_form(fields);
        self.text("POST", path, sent)
    }

    fn head<T>(&self, request: ureq::RequestBuilder<T>) -> ureq::RequestBuilder<T> {
        let request = match &self.authorization {
            Some(authorization) => request.header("Authorization", authorization),
            None => request,
        };
        match self.language {
            Some(language) => request.header("Accept-Language", language),
            None => request,
        }
    }

    fn text(
        &self,
        method: &str,
        path: &str,
        sent: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<(u16, String), StageError> {
        let failed = |why| StageError::failed(format!("{method} {}{path}: {why}", self.base));
        let mut response = sent.map_err(failed)?;
        let text = response.body_mut().read_to_string().map_err(failed)?;
        Ok((response.status().as_u16(), text))
    }

    fn list(&self, path: &str, member: &str) -> Result<Vec<Value>, StageError> {
        let body = self.get(path)?;
        body[member]
            .as_array()
            .cloned()
            .ok_or_else(|| StageError::failed(format!("GET {path}: no array {member} in {body}")))
    }

    fn answer(
        &self,
        method: &str,
        path: &str,
        sent: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<Answer, StageError> {
        let (status, text) = self.text(method, path, sent)?;
        Ok(Answer { status, body: serde_json::from_str(&text).unwrap_or_default() })
    }

    fn expect(
        &self,
        method: &str,
        path: &str,
        status: u16,
        answer: Answer,
    ) -> Result<Value, StageError> {
        if answer.status == status && !answer.body.is_null() {
            return Ok(answer.body);
        }
        let Answer { status: got, body } = answer;
        let base = &self.base;
        Err(StageError::failed(format!(
            "{method} {base}{path} answered {got} instead of {status}: {body}"
        )))
    }
}
