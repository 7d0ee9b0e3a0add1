//! A notice as it leaves: the JSON of a webhook with its signature, and a mail.
//!
//! Form only. The webhook's headers follow the Standard Webhooks specification 1.0.0: the id,
//! Unix seconds and the body are signed together, so that neither can be changed or sent again
//! later. Sending is [`super::deliver`]'s.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lettre::Message;
use lettre::message::header::ContentType;
use licence_core::language::Language;
use licence_core::seal::hmac_sha256;
use licence_core::time::Utc;
use serde_json::json;

use super::rules::Notice;
use crate::config::NotifySettings;

/// A notice with what makes it one message.
#[derive(Clone, Debug, PartialEq)]
pub struct Letter {
    /// Names the message; the same at each try.
    pub id: String,
    /// When it was made.
    pub at: Utc,
    /// The computer that tells it.
    pub server: String,
    /// What it tells.
    pub notice: Notice,
}

impl Letter {
    /// The body of a webhook.
    pub fn json(&self) -> String {
        let Notice { kind, series, key_no, russian, english, details } = &self.notice;
        json!({
            "Kind": kind.code(),
            "Time": self.at,
            "Server": self.server,
            "KeyID": series,
            "KeyNo": key_no,
            "Text": {"ru": russian, "en": english},
            "Details": details,
        })
        .to_string()
    }

    /// The value of `webhook-signature` for a body sent at these Unix seconds.
    pub fn signature(&self, secret: &str, seconds: i64, body: &str) -> String {
        let signed = format!("{}.{seconds}.{body}", self.id);
        let mac = hmac_sha256(&secret_bytes(secret), signed.as_bytes());
        format!("v1,{}", STANDARD.encode(mac))
    }

    /// The mail, in the server's language.
    ///
    /// # Errors
    ///
    /// A text that says which address is none.
    pub fn mail(&self, settings: &NotifySettings, language: Language) -> Result<Message, String> {
        let text = language.pick(&self.notice.russian, &self.notice.english);
        let from = settings.mail_from.as_deref().unwrap_or_default();
        let address = |text: &str| {
            text.parse().map_err(|error| format!("{text:?} is no mail address: {error}"))
        };
        let mut builder = Message::builder()
            .from(address(from)?)
            .subject(format!("[licenceserver {}] {text}", self.server))
            .message_id(Some(format!("<{}@licenceserver>", self.id)))
            .header(ContentType::TEXT_PLAIN);
        for to in &settings.mail_to {
            builder = builder.to(address(to)?);
        }
        let time = language.pick("Время", "Time");
        let server = language.pick("Сервер", "Server");
        let body = format!("{text}\n\n{server}: {}\n{time}: {} (UTC)\n", self.server, self.at);
        builder.body(body).map_err(|error| error.to_string())
    }
}

/// A secret of the form `whsec_BASE64` stands for its bytes, any other for itself.
fn secret_bytes(secret: &str) -> Vec<u8> {
    secret
        .strip_prefix("whsec_")
        .and_then(|encoded| STANDARD.decode(encoded).ok())
        .unwrap_or_else(|| secret.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::super::rules::Kind;
    use super::*;

    fn letter() -> Letter {
        let notice = Notice {
            kind: Kind::Use,
            series: Some(licence_core::key::KeySeries::from_u16(0x672B)),
            key_no: None,
            russian: "Серия 672B: занято 9 из 10 лицензий (90 %).".into(),
            english: "Series 672B: 9 of 10 seats are held (90 %).".into(),
            details: json!({"Percent": 90}),
        };
        let at = "2026-11-21T12:00:00Z".parse().unwrap();
        Letter { id: "msg_p5jXN8AQM9LWM0D4loKWxJek".into(), at, server: "MORA-HP".into(), notice }
    }

    #[test]
    fn signature_is_the_one_of_the_specification() {
        // The example of the specification's reference libraries.
        let body = r#"{"test": 2432232314}"#;
        assert_eq!(
            letter().signature("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", 1_614_265_330, body),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    #[test]
    fn body_of_a_webhook_has_both_languages_and_the_numbers() {
        insta::assert_snapshot!(letter().json(), @r#"{"Details":{"Percent":90},"KeyID":"672B","KeyNo":null,"Kind":"use","Server":"MORA-HP","Text":{"en":"Series 672B: 9 of 10 seats are held (90 %).","ru":"Серия 672B: занято 9 из 10 лицензий (90 %)."},"Time":"2026-11-21T12:00:00.000Z"}"#);
    }

    #[test]
    fn mail_to_what_is_no_address_is_refused_by_name() {
        let source = crate::config::IniSource::parse(
            "x".as_ref(),
            b"[Notify]\nMailFrom=server@example.org\nMailTo=admin@example.org, nobody\n".to_vec(),
        )
        .unwrap();
        let config = crate::config::Config::from_source(&source).unwrap();
        let error = letter().mail(&config.parts.notify, Language::Russian).unwrap_err();
        assert!(error.contains("nobody"), "{error}");
    }
}
