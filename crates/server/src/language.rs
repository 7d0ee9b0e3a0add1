//! Which language an answer is written in.
//!
//! The texts themselves stand where they are used, in both languages side by side.

pub use licence_core::language::Language;

/// Reads the value of an `Accept-Language` header: the known language with the highest weight,
/// the first of equals. Nothing when it names neither Russian nor English.
pub fn accepted(header: &str) -> Option<Language> {
    let mut best: Option<(u32, Language)> = None;
    for entry in header.split(',') {
        let mut parts = entry.split(';');
        let tag = parts.next().unwrap_or("").trim();
        let Some(language) = named(tag.split('-').next().unwrap_or("")) else { continue };
        let weight = parts
            .find_map(|part| part.trim().strip_prefix("q="))
            .map_or(Some(1000), thousandths)
            .unwrap_or(0);
        if weight > 0 && best.is_none_or(|(before, _)| weight > before) {
            best = Some((weight, language));
        }
    }
    best.map(|(_, language)| language)
}

/// The language with this two-letter name, in any case.
pub fn named(tag: &str) -> Option<Language> {
    if tag.eq_ignore_ascii_case("ru") {
        Some(Language::Russian)
    } else if tag.eq_ignore_ascii_case("en") {
        Some(Language::English)
    } else {
        None
    }
}

fn thousandths(text: &str) -> Option<u32> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if part.len() > 3 || !part.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    match whole {
        "1" => Some(1000),
        "0" => format!("{part:0<3}").parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heaviest_known_language_wins() {
        for (header, expected) in [
            ("ru", Some(Language::Russian)),
            ("ru-RU,ru;q=0.9,en;q=0.8", Some(Language::Russian)),
            ("en-GB", Some(Language::English)),
            ("en;q=0.5, ru;q=0.7", Some(Language::Russian)),
            ("de, en;q=0.1", Some(Language::English)),
            ("ru;q=0, en;q=0.001", Some(Language::English)),
            ("RU", Some(Language::Russian)),
            ("ru;q=abc", None),
            ("de", None),
            ("*", None),
            ("", None),
        ] {
            assert_eq!(accepted(header), expected, "{header}");
        }
    }
}
