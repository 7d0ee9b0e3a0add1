//! The REST API as a customer's script calls it: JSON over plain HTTP with Basic authentication.

use std::time::Duration;

use serde_json::Value;

use super::StageError;

/// Bound of one call. The longest is an activation, which the server bounds at 30 s itself.
const CALL_SECS_MAX: u64 = 40;

/// `admin:admin`, the manual's default, as Basic credentials.
const BASIC: &str = "Basic YWRtaW46YWRtaW4=";

/// A server's REST API.
#[derive(Clone, Debug)]
pub struct Rest {
    agent: ureq::Agent,
    base: String,
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
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(CALL_SECS_MAX)))
            .http_status_as_error(false)
            .proxy(None)
            .build()
            .new_agent();
        Self { agent, base: format!("http://127.0.0.1:{port}") }
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
        let sent = self.agent.get(&url).header("Authorization", BASIC).call();
        self.answer("GET", path, sent)
    }

    /// Posts JSON to `path` and gives the answer whatever its status.
    ///
    /// # Errors
    ///
    /// When no answer came.
    pub fn try_post(&self, path: &str, body: &Value) -> Result<Answer, StageError> {
        let url = format!("{}{path}", self.base);
        let sent = self.agent.post(&url).header("Authorization", BASIC).send_json(body);
        self.answer("POST", path, sent)
    }

    /// Puts JSON to `path` and gives the answer whatever its status.
    ///
    /// # Errors
    ///
    /// When no answer came.
    pub fn try_put(&self, path: &str, body: &Value) -> Result<Answer, StageError> {
        let url = format!("{}{path}", self.base);
        let sent = self.agent.put(&url).header("Authorization", BASIC).send_json(body);
        self.answer("PUT", path, sent)
    }

    /// Deletes what is at `path` and gives the answer whatever its status.
    ///
    /// # Errors
    ///
    /// When no answer came.
    pub fn try_delete(&self, path: &str) -> Result<Answer, StageError> {
        let url = format!("{}{path}", self.base);
        let sent = self.agent.delete(&url).header("Authorization", BASIC).call();
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

    /// The connections.
    ///
    /// # Errors
    ///
    /// As [`Self::get`].
    pub fn connections(&self) -> Result<Vec<Value>, StageError> {
        self.list("/api/connections", "Connections")
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
        let failed = |why| StageError::failed(format!("{method} {}{path}: {why}", self.base));
        let mut response = sent.map_err(failed)?;
        let text = response.body_mut().read_to_string().map_err(failed)?;
        let body = serde_json::from_str(&text).unwrap_or_default();
        Ok(Answer { status: response.status().as_u16(), body })
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
