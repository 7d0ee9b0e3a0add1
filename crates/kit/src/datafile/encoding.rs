//! From the bytes of a text file to text.
//!
//! Three encodings that 1C's developers meet: UTF-8, UTF-16 and windows-1251, which their tools
//! call ANSI. A byte-order mark says more than an option, so it comes first.

use super::args::Encoding;

/// Characters of windows-1251 from 0x80 to 0xBF; 0x98 has none. From 0xC0 on come the 64 letters
/// from А (U+0410) to я without a gap.
const WINDOWS_1251: [Option<char>; 64] = {
    const UPPER: [char; 64] = [
        'Ђ', 'Ѓ', '‚', 'ѓ', '„', '…', '†', '‡', '€', '‰', 'Љ', '‹', 'Њ', 'Ќ', 'Ћ', 'Џ', //
        'ђ', '‘', '’', '“', '”', '•', '–', '—', '\0', '™', 'љ', '›', 'њ', 'ќ', 'ћ', 'џ', //
        '\u{a0}', 'Ў', 'ў', 'Ј', '¤', 'Ґ', '¦', '§', 'Ё', '©', 'Є', '«', '¬', '\u{ad}', '®', 'Ї',
        '°', '±', 'І', 'і', 'ґ', 'µ', '¶', '·', 'ё', '№', 'є', '»', 'ј', 'Ѕ', 'ѕ', 'ї',
    ];
    let mut table = [None; 64];
    let mut at = 0;
    while at < 64 {
        table[at] = if UPPER[at] == '\0' { None } else { Some(UPPER[at]) };
        at += 1;
    }
    table
};

/// Why bytes are not the text that they should be.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodingError {
    /// A null character: the file is not text, or of another encoding.
    #[error("it has a null character: not a text, or --encoding is wrong")]
    Null,
    /// Not UTF-8.
    #[error("not UTF-8 from byte {0} on")]
    Utf8(usize),
    /// Not UTF-16.
    #[error("not UTF-16")]
    Utf16,
    /// A byte that windows-1251 has no character for.
    #[error("byte {0} is not a character of windows-1251")]
    Windows1251(usize),
}

/// The text of a file, without its byte-order mark; line ends stay as they are.
///
/// # Errors
///
/// See [`EncodingError`].
pub fn decode(bytes: &[u8], encoding: Encoding) -> Result<String, EncodingError> {
    let text = match bytes {
        [0xEF, 0xBB, 0xBF, rest @ ..] => utf8(rest),
        [0xFF, 0xFE, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xFE, 0xFF, rest @ ..] => utf16(rest, u16::from_be_bytes),
        _ => match encoding {
            Encoding::Auto => utf8(bytes).or_else(|_| windows_1251(bytes)),
            Encoding::Ansi => windows_1251(bytes),
            Encoding::Utf8 => utf8(bytes),
            Encoding::Utf16 => utf16(bytes, u16::from_le_bytes),
        },
    }?;
    if text.contains('\0') { Err(EncodingError::Null) } else { Ok(text) }
}

fn utf8(bytes: &[u8]) -> Result<String, EncodingError> {
    let text = std::str::from_utf8(bytes);
    text.map(str::to_owned).map_err(|error| EncodingError::Utf8(error.valid_up_to()))
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, EncodingError> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(EncodingError::Utf16);
    }
    char::decode_utf16(pairs.iter().map(|pair| unit(*pair)))
        .collect::<Result<String, _>>()
        .map_err(|_| EncodingError::Utf16)
}

fn windows_1251(bytes: &[u8]) -> Result<String, EncodingError> {
    let one = |(at, byte): (usize, &u8)| {
        let character = match *byte {
            low @ 0..0x80 => Some(char::from(low)),
            middle @ 0x80..0xC0 => WINDOWS_1251[usize::from(middle - 0x80)],
            letter => char::from_u32(0x410 + u32::from(letter - 0xC0)),
        };
        character.ok_or(EncodingError::Windows1251(at))
    };
    bytes.iter().enumerate().map(one).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(bytes: &[u8], encoding: Encoding, wanted: Result<&str, EncodingError>) {
        assert_eq!(decode(bytes, encoding).as_deref(), wanted.as_ref().copied(), "{bytes:?}");
    }

    #[test]
    fn text_is_read_in_each_encoding() {
        let ansi = [0xCF, 0xF0, 0xE8, 0xE2, 0xE5, 0xF2, b' ', 0xA8, 0xB8, 0xB9, 0x85, 0xFF];
        check(&ansi, Encoding::Ansi, Ok("Привет Ёё№…я"));
        check(&ansi, Encoding::Auto, Ok("Привет Ёё№…я"));
        check(&ansi, Encoding::Utf8, Err(EncodingError::Utf8(0)));
        check("Привет".as_bytes(), Encoding::Auto, Ok("Привет"));
        check("Привет".as_bytes(), Encoding::Utf8, Ok("Привет"));
        check("Пр".as_bytes(), Encoding::Ansi, Ok("РџСЂ"));
        check(&[0x1F, 0x04, b'a', 0], Encoding::Utf16, Ok("Пa"));
        check(b"", Encoding::Auto, Ok(""));
        check(b"a\r\nb", Encoding::Ansi, Ok("a\r\nb"));
    }

    #[test]
    fn byte_order_mark_comes_before_the_option_and_is_not_part_of_the_text() {
        for encoding in [Encoding::Auto, Encoding::Ansi, Encoding::Utf8, Encoding::Utf16] {
            check("\u{feff}Я".as_bytes(), encoding, Ok("Я"));
            check(&[0xFF, 0xFE, 0x2F, 0x04], encoding, Ok("Я"));
            check(&[0xFE, 0xFF, 0x04, 0x2F], encoding, Ok("Я"));
        }
    }

    #[test]
    fn what_is_no_text_is_refused() {
        check(b"a\0b", Encoding::Auto, Err(EncodingError::Null));
        check(b"a\0b", Encoding::Ansi, Err(EncodingError::Null));
        check(b"abc", Encoding::Utf16, Err(EncodingError::Utf16));
        check(&[0x00, 0xD8], Encoding::Utf16, Err(EncodingError::Utf16));
        check(&[b'a', 0x98], Encoding::Auto, Err(EncodingError::Windows1251(1)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..50)) {
            for encoding in [Encoding::Auto, Encoding::Ansi, Encoding::Utf8, Encoding::Utf16] {
                let _read_or_refused = decode(&bytes, encoding).is_ok();
            }
        }

        #[test]
        fn text_in_utf_8_and_utf_16_is_read_back(text in "[^\\x00\u{feff}]{0,30}") {
            prop_assert_eq!(decode(text.as_bytes(), Encoding::Auto), Ok(text.clone()));
            let units: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
            let marked = [&[0xFF, 0xFE], units.as_slice()].concat();
            prop_assert_eq!(decode(&marked, Encoding::Auto), Ok(text));
        }
    }
}
