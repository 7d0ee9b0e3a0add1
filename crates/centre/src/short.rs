//! Activation over a telephone: a request that was read out, and the lines to be read out in answer.
//!
//! A request that is read out is not signed: who has the code names the key to bind the licence to,
//! and gets nothing that works without that key. The rules are those of every activation. What is kept
//! in the books is the whole licence; the short one follows from it, so that asked again the same lines
//! come, and the server's next update brings what the lines leave out.

use std::net::IpAddr;

use licence_core::holder::Holder;
use licence_core::licence_file::{Licence, LicenceClaims, LicenceError};
use licence_core::short_text::{ShortAnswer, ShortRequest, ShortTextError, short_form};
use serde::{Deserialize, Serialize};

use crate::api::Centre;
use crate::decide::Asked;
use crate::decide::cluster::Membership;
use crate::refusal::Refusal;
use crate::requests::{Done, actor, check_owner};
use crate::series::Series;
use crate::store::{Activation, Asker, masked};

/// What stands for the version of a server whose request was read out.
const SERVER_VERSION: &str = "telephone";

/// Body of `POST /api/short`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ShortCall {
    /// The lines of the request.
    pub(crate) request: String,
}

/// Its answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ShortReply {
    /// The lines to be read out.
    pub(crate) answer: String,
}

/// Why a licence has no lines.
#[derive(Debug, thiserror::Error)]
enum ShortError {
    #[error("licence")]
    Licence(#[from] LicenceError),
    #[error("the short form")]
    Text(#[from] ShortTextError),
}

impl Centre {
    /// Activates the code of a request that was read out.
    pub(crate) async fn short(
        &self,
        text: &str,
        from: Option<IpAddr>,
    ) -> Result<Done<ShortReply>, Refusal> {
        let request = ShortRequest::decode(text).map_err(Refusal::Short)?;
        check_owner(&request.itn, &request.iec)?;
        let code = request.code;
        let series = self.series.get(&code.series()).ok_or(Refusal::CodeWrong)?;
        let computer = request.computer_id.clone();
        let asked = Asked {
            holder: Holder::Server(request.holder),
            server: request.holder,
            attested: false,
            protection: None,
            membership: Membership::Untold,
            enc: None,
            itn: request.itn,
            iec: request.iec,
        };
        let asker = Asker {
            computer_id: request.computer_id,
            server_version: SERVER_VERSION.to_owned(),
            mark: None,
            is_read_out: true,
        };
        let activation = Activation { code, asked, asker };
        let done =
            self.books.activate_short(activation, actor(&request.holder, from), (self.now)()).await;
        let what = format!("telephone: code {}", masked(code));
        let done = self.activated(done, &what, &computer, code.series())?;
        let answer = lines(series, &done.answer.licence).map_err(|error| {
            log::error!(
                "a licence cannot be read out: {}",
                licence_core::causes::with_causes(&error)
            );
            Refusal::Internal
        })?;
        Ok(Done { answer: ShortReply { answer }, first: done.first })
    }
}

/// The claims of a licence in the form that is read out.
pub(crate) fn spoken(claims: LicenceClaims, series: &Series) -> LicenceClaims {
    let mut claims = short_form(claims);
    // The name that the server knows: the series may have been renamed since the licence was made.
    claims.fields.product_name.clone_from(&series.descriptor.product_name);
    claims
}

/// A licence in its short form as lines.
fn lines(series: &Series, document: &str) -> Result<String, ShortError> {
    let short = Licence::verify(document, &series.public_key)?;
    Ok(ShortAnswer::of(&short, &series.descriptor)?.encode()?)
}

#[cfg(test)]
mod tests {
    use licence_core::activation::{ActivationCode, CodeKind};
    use licence_core::key::{Flags, KeyNo, KeySeries};
    use licence_core::licence_file::{LICENCE_FORMAT, LicenceFields};
    use licence_core::seal::SigningKey;
    use licence_core::time::Utc;
    use licencekit::secret::SeriesSecret;

    use super::*;

    #[test]
    fn lines_give_the_licence_without_what_cannot_be_read_out_under_the_name_of_today() {
        let number = KeySeries::from_u16(0x672B);
        let secret = SeriesSecret::from_bytes(number, [1; 32], [2; 32]);
        let series = Series::new(&secret, secret.descriptor("Новое имя".into(), None));
        let fields = LicenceFields {
            version: LICENCE_FORMAT.into(),
            key_no: KeyNo(7),
            key_id: number,
            reg_no: None,
            key_type: 3,
            service_type: 0,
            licence_count: 5,
            product_version: 0,
            blank_key_no: None,
            activation_code: ActivationCode::encode(CodeKind::Activation, number, 5),
            activation_date: Utc::from_unix_millis(1_800_000_000_123),
            start_date: None,
            period: 0,
            expire_date: None,
            flags: Flags(0),
            itn: None,
            iec: None,
            product_name: "Старое имя".into(),
            article: Some("1".into()),
            article_name: None,
            parameters: [("Регион".to_owned(), "77".to_owned())].into(),
            support: Default::default(),
        };
        let holder = SigningKey::from_seed(&[5; 32]).public();
        let issued = fields.activation_date;
        let mut claims = LicenceClaims::new("AB".repeat(16), issued, holder, fields);
        claims.object_key = Some("A".repeat(107));
        let spoken = spoken(claims.clone(), &series);
        let document = spoken.sign(&secret.signing_key()).unwrap();
        let text = lines(&series, &document).unwrap();
        assert_eq!(text, lines(&series, &document).unwrap(), "the same lines each time");
        let short = ShortAnswer::decode(&text).unwrap();
        let rebuilt = short.rebuild(&series.descriptor, &holder).unwrap();
        let read = Licence::verify(&rebuilt, &series.public_key).unwrap().claims;
        assert_eq!(read.fields.product_name, "Новое имя");
        assert!(read.fields.parameters.is_empty() && read.object_key.is_none());
        assert_eq!((read.jti, read.fields.licence_count), (claims.jti, 5));
    }
}
