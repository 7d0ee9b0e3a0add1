//! Bytes as numbered lines that a person reads out and another types.
//!
//! A line has 20 symbols of the alphabet of activation codes, in five groups of four. The first is
//! the number of the line, the last its check symbol, which catches every single wrong symbol and
//! every swap of two in the line: the one of activation codes, a sum over GF(32). ISO 7064 has no
//! pure system of 32 symbols; its hybrid ones miss some swaps of symbols that are not neighbours.
//! Between them are 90 bits. What several mistakes in one line leave unnoticed, the digest at the
//! end of the bytes catches, which is the readers' of the bytes.

use super::ShortTextError;
use crate::activation::{ALPHABET, check_symbol};

/// Symbols of a line.
pub const LINE_SYMBOLS: usize = 20;

/// Lines of a text: as many as one symbol numbers, from 1.
pub const LINES_MAX: usize = 31;

/// Longest text that is looked at: 31 lines of 24 characters, each Cyrillic or with blanks around it.
pub const TEXT_BYTES_MAX: usize = 4096;

/// Bits of the bytes in a line.
const LINE_BITS: usize = (LINE_SYMBOLS - 2) * 5;

/// Largest number of bytes in one text.
pub(super) const BYTES_MAX: usize = LINES_MAX * LINE_BITS / 8;

/// Lines that so many bytes take.
pub(super) const fn lines_of(bytes: usize) -> usize {
    (bytes * 8).div_ceil(LINE_BITS)
}

/// Writes the lines.
pub(super) fn write(bytes: &[u8]) -> Result<String, ShortTextError> {
    let count = lines_of(bytes.len());
    if count > LINES_MAX {
        return Err(ShortTextError::TooLong);
    }
    let bit = |at: usize| bytes.get(at / 8).is_some_and(|byte| byte >> (7 - at % 8) & 1 == 1);
    let mut text = String::with_capacity(count * (LINE_SYMBOLS + LINE_SYMBOLS / 4));
    for line in 0..count {
        let mut symbols = [0; LINE_SYMBOLS];
        symbols[0] = line as u8 + 1;
        for (place, symbol) in symbols[1..LINE_SYMBOLS - 1].iter_mut().enumerate() {
            let from = line * LINE_BITS + place * 5;
            *symbol = (from..from + 5).fold(0, |value, at| value << 1 | u8::from(bit(at)));
        }
        symbols[LINE_SYMBOLS - 1] = check_symbol(&symbols[..LINE_SYMBOLS - 1]);
        if line > 0 {
            text.push('\n');
        }
        for (at, symbol) in symbols.into_iter().enumerate() {
            if at > 0 && at % 4 == 0 {
                text.push('-');
            }
            text.push(char::from(ALPHABET[usize::from(symbol)]));
        }
    }
    Ok(text)
}

/// Reads the lines: the bytes, with what fills up the last line.
///
/// Each line of the text is one line, or several whole ones: whoever pastes into a field of one line
/// loses the ends of lines.
pub(super) fn read(text: &str) -> Result<Vec<u8>, ShortTextError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(ShortTextError::TooLong);
    }
    let mut count = 0;
    let mut bytes = Vec::new();
    let (mut held, mut bits) = (0u32, 0);
    for written in text.lines() {
        let mut symbols = Vec::with_capacity(LINE_SYMBOLS);
        for character in written.chars().filter(|character| !is_between(*character)) {
            let line = count + symbols.len() / LINE_SYMBOLS + 1;
            let found = || ShortTextError::Character { line, found: character };
            symbols.push(symbol_of(character).ok_or_else(found)?);
        }
        for symbols in symbols.chunks(LINE_SYMBOLS) {
            let line = count + 1;
            if symbols.len() != LINE_SYMBOLS {
                return Err(ShortTextError::Length { line, found: symbols.len() });
            }
            let (last, first) = symbols.split_last().ok_or(ShortTextError::Digest)?;
            if check_symbol(first) != *last {
                return Err(ShortTextError::Check { line });
            }
            if line > LINES_MAX || usize::from(first[0]) != line {
                return Err(ShortTextError::Order { line });
            }
            for symbol in &first[1..] {
                held = held << 5 | u32::from(*symbol);
                bits += 5;
                if bits >= 8 {
                    bits -= 8;
                    bytes.push((held >> bits & 0xFF) as u8);
                    held &= (1 << bits) - 1;
                }
            }
            count = line;
        }
    }
    if held != 0 {
        // Bits beyond the last whole byte fill up the line.
        return Err(ShortTextError::Digest);
    }
    if count == 0 {
        return Err(ShortTextError::Length { line: 1, found: 0 });
    }
    Ok(bytes)
}

/// What stands between symbols and means nothing.
fn is_between(character: char) -> bool {
    character.is_whitespace() || matches!(character, '-' | '–' | '—' | '_' | '.' | '\u{feff}')
}

/// The symbol that a character stands for: in any case; letters that look like digits as those, and
/// Cyrillic letters that look like Latin ones as these, because nobody hears the difference.
fn symbol_of(character: char) -> Option<u8> {
    let latin = match character.to_uppercase().next()? {
        'O' | 'О' => '0',
        'I' | 'L' | 'І' => '1',
        'А' => 'A',
        'В' => 'B',
        'Е' | 'Ё' => 'E',
        'К' => 'K',
        'М' => 'M',
        'Н' => 'H',
        'Р' => 'P',
        'С' => 'C',
        'Т' => 'T',
        'У' => 'Y',
        'Х' => 'X',
        other => other,
    };
    ALPHABET.iter().position(|&known| char::from(known) == latin).map(|value| value as u8)
}

/// Whether somebody means this to be such a text, with mistakes or without: nothing but symbols, and
/// one line of them at least. Tells how a refusal is worded and decides nothing.
pub fn looks_like_short_text(text: &str) -> bool {
    let mut symbols = 0;
    for character in text.chars().take(TEXT_BYTES_MAX).filter(|found| !is_between(*found)) {
        if !character.is_alphanumeric() {
            return false;
        }
        symbols += 1;
    }
    symbols >= LINE_SYMBOLS / 2 && text.len() <= TEXT_BYTES_MAX
}
