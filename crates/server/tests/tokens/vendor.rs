//! A centre that knows nothing but tokens: a stand-in for `licencecentre`, which has tests of its own.
//! It holds every request to what a centre must ask: that the server has signed it and the token has
//! vouched for it.

use std::sync::{Arc, Mutex};

use licence_core::activation::{ActivationCode, CodeKind};
use licence_core::activation_request::{ActivationAnswer, ActivationRequest, TokenProof};
use licence_core::centre_request::{
    AnswerFile, CentreAnswer, LicencesAnswer, LicencesRequest, ReturnAnswer, ReturnReceipt,
    ReturnRequest,
};
use licence_core::delegation::Delegation;
use licence_core::holder::TokenKey;
use licence_core::key::KeySeries;
use licence_core::licence_file::Licence;
use licence_core::seal::PublicKey;
use licence_core::time::Utc;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::{SERIES, descriptor, licence, series_key};

pub(crate) const KEY_NO: u32 = 7_140_001;

#[derive(Clone)]
pub(crate) struct Vendor {
    pub(crate) url: String,
    /// Tokens that vouched in the last question for licences.
    pub(crate) vouched: Arc<Mutex<Vec<TokenKey>>>,
}

/// The token of a proof, once it has vouched for the request.
fn check(proof: &TokenProof, request: &str, server: &PublicKey) -> TokenKey {
    let token = TokenKey::from_jwk(&proof.jwk).unwrap();
    let word = Delegation::verify(&proof.delegation, &token).unwrap();
    let now = Utc::from_unix_millis(word.iat * 1000);
    assert!(word.allows(request, server, now), "{word:?}");
    assert!(!proof.attestation.is_empty());
    token
}

impl Vendor {
    pub(crate) async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let vendor = Self { url, vouched: Arc::default() };
        let serving = vendor.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut asked = Vec::new();
                let mut part = [0; 4096];
                let (path, body) = loop {
                    let count = stream.read(&mut part).await.unwrap_or(0);
                    asked.extend_from_slice(&part[..count]);
                    let text = String::from_utf8_lossy(&asked).into_owned();
                    if let Some((head, body)) = text.split_once("\r\n\r\n")
                        && (head.starts_with("GET") || body.ends_with('}') || count == 0)
                    {
                        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                        break (path, body.to_owned());
                    }
                    assert_ne!(count, 0, "{text}");
                };
                let body = match serde_json::from_str::<Value>(&body) {
                    Ok(body) => serving.answer(&path, body["Request"].as_str().unwrap()),
                    Err(_) => "{}".to_owned(),
                };
                let length = body.len();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
                stream.write_all((head + &body).as_bytes()).await.unwrap();
            }
        });
        vendor
    }

    /// The answer file to a request file for an activation.
    pub(crate) fn carry(&self, request: &str) -> String {
        let answer = serde_json::from_str(&self.answer("/api/activations", request)).unwrap();
        let file = AnswerFile { answer: CentreAnswer::Activation(answer) };
        serde_json::to_string(&file).unwrap()
    }

    fn answer(&self, path: &str, request: &str) -> String {
        match path {
            "/api/activations" => {
                let (asked, server) = ActivationRequest::verify(request).unwrap();
                let token = check(asked.token.as_ref().unwrap(), &asked.jti, &server);
                assert_eq!(asked.blank_key_no, Some(token.blank_no()));
                let answer = ActivationAnswer {
                    licence: licence(token, KEY_NO, 2),
                    series: descriptor(Some(self.url.clone())),
                    mark: None,
                };
                serde_json::to_string(&answer).unwrap()
            }
            "/api/licences" => {
                let (asked, server) = LicencesRequest::verify(request).unwrap();
                let tokens = asked.tokens.iter().map(|proof| check(proof, &asked.jti, &server));
                *self.vouched.lock().unwrap() = tokens.collect();
                serde_json::to_string(&LicencesAnswer::default()).unwrap()
            }
            "/api/returns" => {
                let (asked, server) = ReturnRequest::verify(request).unwrap();
                check(asked.token.as_ref().unwrap(), &asked.jti, &server);
                let code =
                    ActivationCode::encode(CodeKind::Reserve, KeySeries::from_u16(SERIES), 5);
                let receipt = ReturnReceipt::new(
                    asked.activation,
                    Utc::from_unix_millis(asked.iat * 1000),
                    asked.key_no,
                    asked.key_id,
                    code,
                );
                let receipt = receipt.sign(&series_key()).unwrap();
                let answer = ReturnAnswer { key_no: asked.key_no, reserve_code: code, receipt };
                serde_json::to_string(&answer).unwrap()
            }
            _ => json!({}).to_string(),
        }
    }

    /// Whether a document is bound to this token.
    pub(crate) fn is_bound(document: &str, token: TokenKey) -> bool {
        let licence = Licence::verify(document, &series_key().public()).unwrap();
        licence.holder.token() == Some(&token)
    }
}
