//! Fields of a form or a query, read from their encoded text.
//!
//! What a field must hold is each page's own.

/// Most fields that are read: the largest form has some thirty.
const FIELDS_MAX: usize = 200;

/// Fields with their values, in their order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Form(Vec<(String, String)>);

impl Form {
    /// Reads `name=value&name=value`; what is not UTF-8 becomes replacement characters, which no
    /// field takes.
    pub(crate) fn read(text: &[u8]) -> Self {
        let fields = form_urlencoded::parse(text).take(FIELDS_MAX);
        Self(fields.map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    /// The value of a field as it was typed.
    pub(crate) fn raw(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The value of a field without blanks around it; nothing for an empty one.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.raw(name).map(str::trim).filter(|value| !value.is_empty())
    }

    /// The value of a field as a number.
    pub(crate) fn number(&self, name: &str) -> Option<i64> {
        self.text(name)?.parse().ok()
    }

    /// Whether a box is ticked.
    pub(crate) fn is_ticked(&self, name: &str) -> bool {
        self.raw(name).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_a_browser_sends_them() {
        let form = Form::read("name=+%D0%96+x+&box=on&empty=&n=17&n=18&bad=%FF".as_bytes());
        assert_eq!(form.raw("name"), Some(" Ж x "));
        assert_eq!(form.text("name"), Some("Ж x"));
        assert_eq!((form.text("empty"), form.text("none")), (None, None));
        assert_eq!(form.number("n"), Some(17));
        assert!(form.is_ticked("box") && !form.is_ticked("other"));
        assert_eq!(form.raw("bad"), Some("\u{FFFD}"));
    }
}
