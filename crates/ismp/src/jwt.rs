//! The one thing that is read in a JWT (RFC 7519) of the service: when it ends.
//!
//! The signature is the service's own affair and is not verified; no other claim is relied on.

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::GeneralPurposeConfig;
use base64::{alphabet::URL_SAFE, engine::GeneralPurpose};
use licence_core::time::Utc;
use serde::Deserialize;

use crate::key::Inn;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What the middle part says.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Claims {
    /// `exp`.
    pub expires: Option<Utc>,
    /// `inn`, where there is one: to be compared, never to be relied on.
    pub inn: Option<Inn>,
}

#[derive(Deserialize)]
struct Raw {
    exp: Option<serde_json::Number>,
    inn: Option<serde_json::Value>,
}

/// Reads the claims of a text of three parts; nothing for any other text.
pub fn claims(text: &str) -> Option<Claims> {
    let mut parts = text.split('.');
    let (_, middle, _) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let raw: Raw = serde_json::from_slice(&BASE64.decode(middle).ok()?).ok()?;
    let seconds = raw.exp.and_then(|exp| {
        // A fraction of a second is dropped; what is no moment is as if it were not there.
        exp.as_i64().or_else(|| exp.as_f64().filter(|exp| exp.is_finite()).map(|exp| exp as i64))
    });
    let expires = seconds.map(|seconds| Utc::from_unix_millis(seconds.saturating_mul(1000)));
    let inn = match raw.inn {
        Some(serde_json::Value::String(text)) => text.parse().ok(),
        Some(serde_json::Value::Number(number)) => number.to_string().parse().ok(),
        _ => None,
    };
    Some(Claims { expires, inn })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(middle: &str) -> String {
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;
        format!("eyJhbGciOiJub25lIn0.{}.c2ln", URL_SAFE_NO_PAD.encode(middle))
    }

    #[test]
    fn only_exp_is_needed_and_it_may_be_a_fraction() {
        for (middle, wanted) in [
            (r#"{"exp":1700000000}"#, Some("2023-11-14T22:13:20.000Z")),
            (r#"{"exp":1700000000.9,"inn":"7707083893"}"#, Some("2023-11-14T22:13:20.000Z")),
            (r#"{"iat":1}"#, None),
        ] {
            let claims = claims(&token(middle)).unwrap();
            assert_eq!(claims.expires.map(|at| at.to_string()).as_deref(), wanted, "{middle}");
        }
        assert_eq!(
            claims(&token(r#"{"exp":1,"inn":7707083893}"#)).unwrap().inn.unwrap().as_str(),
            "7707083893"
        );
    }

    #[test]
    fn padding_may_stand_or_not_and_other_texts_are_no_jwt() {
        let padded =
            format!("a.{}.b", base64::engine::general_purpose::URL_SAFE.encode(r#"{"exp": 1}"#));
        assert!(padded.contains('='));
        assert_eq!(claims(&padded).unwrap().expires, Some(Utc::from_unix_millis(1000)));
        for bad in [
            "",
            "a.b",
            "a.b.c",
            "a.e30",
            "a.e30.b.c",
            "0b6ac9a8-7f2c-4a0d-9f0e-3d8f8f0f9f10",
            &token("[]"),
            &token(r#"{"exp":"1"}"#),
        ] {
            assert!(claims(bad).is_none(), "{bad}");
        }
    }
}
