//! What a browser's form sends: `application/x-www-form-urlencoded`, read once.
//!
//! Unknown fields are left alone. Whether the form may do what it asks for is decided by
//! [`crate::access::csrf`] and by the page.

use std::fmt;

use percent_encoding::percent_decode_str;

use crate::api::errors::ApiError;

/// Most fields of one form: the settings page has some sixty, the rules page some hundred.
const FIELDS_MAX: usize = 1024;

/// The fields of one form. Its `Debug` form does not show values: one may be a password.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Form(Vec<(String, String)>);

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl Form {
    /// Reads a body. An empty one is a form without fields.
    ///
    /// # Errors
    ///
    /// 400 when it is not UTF-8 or has too many fields.
    pub fn read(body: &[u8]) -> Result<Self, ApiError> {
        let not_utf8 =
            || ApiError::bad_request("The form is not UTF-8.", "Форма не в кодировке UTF-8.");
        let text = std::str::from_utf8(body).map_err(|_| not_utf8())?;
        let decode = |text: &str| {
            let spaced = text.replace('+', " ");
            percent_decode_str(&spaced).decode_utf8().map(|text| text.into_owned())
        };
        let mut fields = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            if fields.len() == FIELDS_MAX {
                return Err(ApiError::bad_request(
                    format!("The form has more than {FIELDS_MAX} fields."),
                    format!("В форме больше {FIELDS_MAX} полей."),
                ));
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name).map_err(|_| not_utf8())?;
            fields.push((name, decode(value).map_err(|_| not_utf8())?));
        }
        Ok(Self(fields))
    }

    /// The value of a field as it was sent; of a repeated one the last.
    pub fn raw(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The value of a field without blanks around it; nothing when nothing is left.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.raw(name).map(str::trim).filter(|text| !text.is_empty())
    }

    /// Whether a box is ticked: browsers send `on`, or the value of the box, or nothing at all.
    pub fn flag(&self, name: &str) -> bool {
        self.text(name).is_some_and(|text| !matches!(text, "0" | "false" | "off"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fields_are_decoded_and_the_last_of_equals_counts() {
        let form = Form::read(b"name=%D0%96+x&a=1&a=2&empty=&box=on&off=0&pass=+p%26w+").unwrap();
        assert_eq!(form.text("name"), Some("Ж x"));
        assert_eq!(form.text("a"), Some("2"));
        assert_eq!((form.raw("empty"), form.text("empty")), (Some(""), None));
        assert_eq!((form.raw("pass"), form.text("pass")), (Some(" p&w "), Some("p&w")));
        assert!(form.flag("box") && !form.flag("off") && !form.flag("none"));
    }

    #[test]
    fn form_that_is_not_utf_8_or_too_long_is_refused() {
        let many = "a=1&".repeat(FIELDS_MAX + 1);
        for body in [&b"a=%FF"[..], b"\xff", many.as_bytes()] {
            assert_eq!(Form::read(body).unwrap_err().status, 400);
        }
        assert!(Form::read(b"").unwrap().raw("a").is_none());
    }

    #[test]
    fn values_are_shown_in_no_debug_output() {
        let form = Form::read(b"Password=hunter2").unwrap();
        assert_eq!(format!("{form:?}"), "[\"Password\"]");
    }

    proptest! {
        #[test]
        fn any_form_is_read_or_refused(body: Vec<u8>) {
            if let Err(error) = Form::read(&body) {
                prop_assert_eq!(error.status, 400);
            }
        }
    }
}
