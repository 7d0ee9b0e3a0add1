//! The developer password of a series: the vendor's word for wiping the memory of its keys.
//!
//! It follows from the series' X25519 secret, so the vendor's tool can print it and a server that
//! holds the secret (by a licence) can compare it, without storing or sending anything. Whoever
//! learns the password learns nothing of the secret. What it permits is decided elsewhere.

use crate::seal::{KEY_BYTES, derive, sha256};

/// What the derivation is for; another number would be another password.
const LABEL: &[u8] = b"developer password 1";

/// Crockford's alphabet: no I, L, O, U, so it can be read out over the telephone.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Symbols of a password, without dashes: 80 bits, beyond guessing.
const SYMBOLS: usize = 16;

/// Longest text that is looked at, in bytes: a password with a blank or dash beside every symbol.
const TYPED_BYTES_MAX: usize = 64;

/// The developer password: four groups of four symbols, `XXXX-XXXX-XXXX-XXXX`. `object_secret` is the
/// X25519 secret of the series.
pub fn developer_password(object_secret: &[u8; KEY_BYTES]) -> String {
    let mut text = String::with_capacity(SYMBOLS + 3);
    for (at, symbol) in symbols(object_secret).into_iter().enumerate() {
        if at > 0 && at % 4 == 0 {
            text.push('-');
        }
        text.push(char::from(symbol));
    }
    text
}

/// Whether a text is the developer password. Case, dashes and spaces do not count, I and L are read
/// as 1, O as 0; a text of more than 64 bytes is none. Takes as long for every wrong text of the right length.
pub fn is_developer_password(object_secret: &[u8; KEY_BYTES], text: &str) -> bool {
    if text.len() > TYPED_BYTES_MAX {
        return false;
    }
    let mut typed = [0; SYMBOLS];
    let mut count = 0;
    for character in text.chars().filter(|c| !matches!(c, '-' | ' ')) {
        let Ok(byte) = u8::try_from(character) else { return false };
        if count == SYMBOLS {
            return false;
        }
        typed[count] = match byte.to_ascii_uppercase() {
            b'I' | b'L' => b'1',
            b'O' => b'0',
            other => other,
        };
        count += 1;
    }
    // Digests are compared, not texts: where they begin to differ tells nothing of the password.
    count == SYMBOLS && sha256(&typed) == sha256(&symbols(object_secret))
}

fn symbols(object_secret: &[u8; KEY_BYTES]) -> [u8; SYMBOLS] {
    let derived = derive(object_secret, LABEL);
    let bits =
        derived[..SYMBOLS * 5 / 8].iter().fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte));
    std::array::from_fn(|at| {
        let five = bits >> (5 * (SYMBOLS - 1 - at)) & 31;
        ALPHABET[usize::try_from(five).unwrap_or_default()]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_is_four_groups_of_the_alphabet_and_the_same_every_time() {
        let password = developer_password(&[2; 32]);
        assert_eq!(password, developer_password(&[2; 32]));
        assert_eq!(password.split('-').map(str::len).collect::<Vec<_>>(), [4; 4]);
        assert!(password.bytes().all(|b| b == b'-' || ALPHABET.contains(&b)), "{password}");
        assert_ne!(password, developer_password(&[3; 32]));
    }

    #[test]
    fn password_is_base32_of_the_first_ten_derived_bytes() {
        // The eight symbols of five bytes, worked out group by group.
        let bytes = derive(&[2; 32], LABEL);
        let number =
            u64::from_be_bytes([0, 0, 0, bytes[0], bytes[1], bytes[2], bytes[3], bytes[4]]);
        let wanted: String = (0..8)
            .map(|at| char::from(ALPHABET[usize::try_from(number >> (35 - 5 * at) & 31).unwrap()]))
            .collect();
        assert_eq!(developer_password(&[2; 32]).replace('-', "")[..8], wanted);
    }

    #[test]
    fn password_is_recognised_however_it_is_typed_and_another_is_not() {
        let right = developer_password(&[2; 32]);
        let check = |text: &str, wanted: bool| {
            assert_eq!(is_developer_password(&[2; 32], text), wanted, "{text}");
        };
        check(&right, true);
        check(&right.to_lowercase(), true);
        check(&right.replace('-', " "), true);
        check(&right.replace('1', "l").replace('0', "o"), true);
        check(&developer_password(&[3; 32]), false);
        check(&format!("{right}0"), false);
        check(&right[1..], false);
        check(&format!("{}{right}", " ".repeat(64 - right.len())), true);
        check(&format!("{}{right}", " ".repeat(65 - right.len())), false);
        for bad in ["", "----", "я", "пароль пароль 12"] {
            check(bad, false);
        }
        let mut changed = right.replace('-', "").into_bytes();
        for at in 0..changed.len() {
            let kept = changed[at];
            changed[at] = if kept == b'Z' { b'Y' } else { b'Z' };
            check(std::str::from_utf8(&changed).unwrap(), false);
            changed[at] = kept;
        }
    }
}
