//! What a licence server asks of the vendor's activation centre, and what it gets back.
//!
//! The request is a JWT signed by the key that the licence shall be bound to, so that the centre
//! knows the asker holds it; the same token serves on the wire and as a file. Nothing is decided
//! here: the centre decides.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::activation::ActivationCode;
use crate::cluster::ClusterId;
pub use crate::identity_seal::Protection;
use crate::jws::{self, JwsError};
use crate::licence_file::Confirmation;
use crate::seal::{Jwk, PublicKey, SigningKey};
use crate::series::SeriesDescriptor;
use crate::time::Utc;

/// `typ` of a request token.
pub const REQUEST_TYP: &str = "licence-activation+jwt";

/// A token that a licence shall be bound to.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TokenProof {
    /// The public key inside the token.
    pub jwk: Jwk,
    /// A [`Delegation`](crate::delegation::Delegation) whose subject is the `jti` of the request and
    /// whose server is the one that asks.
    pub delegation: String,
    /// The certificate by which the maker of the token attests that the key was made inside it, and
    /// those above it, DER in base64; the first is the key's. Empty where the token has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attestation: Vec<String>,
}

/// Claims of an activation request.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ActivationRequest {
    /// Id of the request, drawn by the server: names it in both logs.
    pub jti: String,
    /// When it was made, in Unix seconds by the server's clock.
    pub iat: i64,
    /// The centre that it is for, when the server knows: see [`audience`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aud: Option<String>,
    /// The key to bind the licence to; it also signs the request.
    pub cnf: Confirmation,
    /// The X25519 key for which the object key of a series shall be wrapped; nothing from servers
    /// that open no protected objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enc: Option<Jwk>,
    /// How the identity of the server is kept, for series that ask for a TPM.
    #[serde(rename = "Protection", default, skip_serializing_if = "Option::is_none")]
    pub protection: Option<Protection>,
    /// The last mark that this centre gave to this server: see [`ActivationAnswer::mark`].
    #[serde(rename = "Mark", default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<String>,
    /// The cluster that the server is a node of, for licences that its nodes share; nothing from a
    /// server that stands alone.
    #[serde(rename = "Cluster", default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterId>,
    /// The token to bind the licence to, and its word that it is there.
    #[serde(rename = "Token", default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenProof>,
    /// The code.
    #[serde(rename = "ActivationCode")]
    pub code: ActivationCode,
    /// Owner's ИНН, digits.
    #[serde(rename = "ITN", default)]
    pub itn: Option<String>,
    /// Owner's КПП, digits.
    #[serde(rename = "IEC", default)]
    pub iec: Option<String>,
    /// The token to put the key on, if any.
    #[serde(rename = "BlankKeyNo", default)]
    pub blank_key_no: Option<u32>,
    /// Hardware fingerprint of the server, 40 hex digits.
    #[serde(rename = "ComputerID")]
    pub computer_id: String,
    /// Version of the server.
    #[serde(rename = "ServerVersion")]
    pub server_version: String,
}

/// Why a request was refused before the centre looked into its books.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The confirmation key is not an Ed25519 key.
    #[error("the request names no Ed25519 key to bind the licence to")]
    Confirmation,
    /// Not a token, or not signed by the key that it names.
    #[error("the request is not genuine")]
    Jws(#[source] JwsError),
}

impl ActivationRequest {
    /// A request for a licence bound to `key`.
    pub fn new(
        jti: String,
        now: Utc,
        key: &SigningKey,
        code: ActivationCode,
        computer_id: String,
        server_version: String,
    ) -> Self {
        Self {
            jti,
            iat: now.unix_seconds(),
            aud: None,
            cnf: Confirmation { jwk: key.public().jwk() },
            enc: None,
            protection: None,
            mark: None,
            cluster: None,
            token: None,
            code,
            itn: None,
            iec: None,
            blank_key_no: None,
            computer_id,
            server_version,
        }
    }

    /// Signs the request with the key it names.
    ///
    /// # Errors
    ///
    /// When it cannot be written as JSON.
    pub fn sign(&self, key: &SigningKey) -> Result<String, serde_json::Error> {
        jws::sign(REQUEST_TYP, self, key)
    }

    /// Reads a request and checks that the key it names has signed it.
    ///
    /// # Errors
    ///
    /// See [`RequestError`].
    pub fn verify(token: &str) -> Result<(Self, PublicKey), RequestError> {
        proved(REQUEST_TYP, token, |request: &Self| &request.cnf)
    }
}

/// A centre as requests name it: scheme, host and port of its address in small letters, without the
/// port that the scheme implies. Nothing for what is no address of a centre.
pub fn audience(url: &str) -> Option<String> {
    let (scheme, rest) = url.trim().split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let implied = match scheme.as_str() {
        "http" => ":80",
        "https" => ":443",
        _ => return None,
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default().to_ascii_lowercase();
    let host = host.strip_suffix(implied).unwrap_or(&host);
    let is_sound = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c == '\\');
    is_sound.then(|| format!("{scheme}://{host}"))
}

/// The claims of a token of type `typ` that is signed by the key which they name at `cnf`, and
/// that key.
pub(crate) fn proved<C: DeserializeOwned>(
    typ: &'static str,
    token: &str,
    cnf: impl FnOnce(&C) -> &Confirmation,
) -> Result<(C, PublicKey), RequestError> {
    let token = token.trim_ascii();
    let named: C = jws::peek(typ, token).map_err(RequestError::Jws)?;
    let key = cnf(&named).jwk.ed25519().map_err(|_| RequestError::Confirmation)?;
    let claims = jws::verify(typ, token, &key).map_err(RequestError::Jws)?;
    Ok((claims, key))
}

/// Body of `POST {centre}/api/activations` and of every other call with a request.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ActivationCall {
    /// The signed request, such as an [`ActivationRequest`].
    pub request: String,
}

/// The centre's answer: 201 for a first activation, 200 when the same server asks again.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ActivationAnswer {
    /// The licence document.
    pub licence: String,
    /// The series it belongs to, for servers that do not know it yet.
    pub series: SeriesDescriptor,
    /// Drawn by the centre for this answer; the server shows it in its next request. Two machines
    /// with one identity show different ones sooner or later: so a centre finds clones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activation::CodeKind;
    use crate::key::KeySeries;

    fn request(key: &SigningKey) -> ActivationRequest {
        let code = ActivationCode::encode(CodeKind::Activation, KeySeries::from_u16(0x672B), 1);
        ActivationRequest::new(
            "r1".into(),
            Utc::from_unix_millis(0),
            key,
            code,
            "D365ACC38180015CD3A30E62BF1072392D4DD5C1".into(),
            "4.0.0".into(),
        )
    }

    #[test]
    fn request_proves_that_the_asker_holds_the_key() {
        let key = SigningKey::from_seed(&[5; 32]);
        let token = request(&key).sign(&key).unwrap();
        let (read, holder) = ActivationRequest::verify(&token).unwrap();
        assert_eq!(read, request(&key));
        assert_eq!(holder, key.public());
    }

    #[test]
    fn key_for_secrets_is_left_out_without_one_and_read_back_with_one() {
        let key = SigningKey::from_seed(&[5; 32]);
        assert!(serde_json::to_value(request(&key)).unwrap().get("enc").is_none());
        let jwk = Jwk { crv: "X25519".into(), ..key.public().jwk() };
        let asked = ActivationRequest { enc: Some(jwk), ..request(&key) };
        let (read, _) = ActivationRequest::verify(&asked.sign(&key).unwrap()).unwrap();
        assert_eq!(read, asked);
    }

    #[test]
    fn centre_is_named_by_scheme_host_and_port_alone() {
        for (url, wanted) in [
            ("https://Centre.Example/", Some("https://centre.example")),
            ("HTTPS://centre.example:443/path?x#y", Some("https://centre.example")),
            ("http://centre.example:80", Some("http://centre.example")),
            ("http://centre.example:443", Some("http://centre.example:443")),
            ("http://127.0.0.1:9100/", Some("http://127.0.0.1:9100")),
            ("http://[::1]:80/", Some("http://[::1]")),
            ("https://user:word@centre.example", Some("https://centre.example")),
            ("https://centre.example\\@other.example", Some("https://other.example")),
            ("ftp://centre.example", None),
            ("centre.example", None),
            ("https://", None),
            ("https:///path", None),
            ("https://a b", None),
        ] {
            assert_eq!(audience(url).as_deref(), wanted, "{url}");
        }
    }

    #[test]
    fn request_that_names_a_key_of_somebody_else_is_refused() {
        let (own, other) = (SigningKey::from_seed(&[5; 32]), SigningKey::from_seed(&[6; 32]));
        let token = request(&other).sign(&own).unwrap();
        let result = ActivationRequest::verify(&token).map(|_| ());
        assert_eq!(result, Err(RequestError::Jws(JwsError::Signature)));
    }
}
