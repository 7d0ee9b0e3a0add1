//! The two languages in which people are told things. Which one a person gets is decided by the
//! caller; stable codes and exception classes are never translated.

/// A language of user-facing text.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Language {
    /// English.
    English,
    /// Russian, the language of most users.
    #[default]
    Russian,
}

impl Language {
    /// The language behind a tag such as `ru`, `ru_RU.UTF-8`, `rus_RUS` or `en-GB`: Russian for
    /// tags that begin with `ru`, English for all others.
    pub fn from_tag(tag: &str) -> Self {
        let tag = tag.trim_start();
        let is_russian =
            tag.as_bytes().get(..2).is_some_and(|head| head.eq_ignore_ascii_case(b"ru"));
        if is_russian { Self::Russian } else { Self::English }
    }

    /// Chooses between two texts.
    pub const fn pick<'a>(self, russian: &'a str, english: &'a str) -> &'a str {
        match self {
            Self::English => english,
            Self::Russian => russian,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn language_is_read_from_the_tags_of_1c_http_and_posix() {
        for (tag, language) in [
            ("ru", Language::Russian),
            ("rus_RUS", Language::Russian),
            ("ru_RU.UTF-8", Language::Russian),
            ("RU-ru", Language::Russian),
            ("en", Language::English),
            ("", Language::English),
            ("р", Language::English),
        ] {
            assert_eq!(Language::from_tag(tag), language, "{tag}");
        }
    }
}
