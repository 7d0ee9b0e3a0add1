//! BER-TLV (ISO 7816-4, section 5.2.2; ISO 8825-1) as PIV uses it: elements are taken apart and put
//! together.
//!
//! Lengths are those that tokens send: definite, at most three bytes. What tags mean is not known
//! here.

/// Elements that are looked at on one level; PIV templates have fewer than ten.
const ELEMENTS_MAX: usize = 64;

/// Not a sequence of elements: a length leads beyond the end, or a form that PIV does not use.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not well-formed TLV")]
pub struct TlvError;

/// One element.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Element<'a> {
    /// Its tag, as written: `0x53`, `0x7F49`.
    pub tag: u32,
    /// Its value.
    pub value: &'a [u8],
}

/// Takes the first element off `bytes`; nothing when they are at their end.
///
/// # Errors
///
/// [`TlvError`].
pub fn next<'a>(bytes: &mut &'a [u8]) -> Result<Option<Element<'a>>, TlvError> {
    let mut rest = *bytes;
    let Some(first) = take(&mut rest) else { return Ok(None) };
    let mut tag = u32::from(first);
    if first & 0x1F == 0x1F {
        // The tag goes on as long as bit 8 is set; two more bytes are what interindustry tags have.
        for at in 0.. {
            let more = take(&mut rest).ok_or(TlvError)?;
            tag = (tag << 8) | u32::from(more);
            if more & 0x80 == 0 {
                break;
            }
            if at == 1 {
                return Err(TlvError);
            }
        }
    }
    let length = match take(&mut rest).ok_or(TlvError)? {
        short @ 0..=0x7F => usize::from(short),
        long @ 0x81..=0x83 => {
            let mut length = 0;
            for _ in 0..long & 0x0F {
                length = (length << 8) | usize::from(take(&mut rest).ok_or(TlvError)?);
            }
            length
        }
        // 80 is the indefinite form; longer ones cannot come through an exchange.
        _ => return Err(TlvError),
    };
    let (value, rest) = rest.split_at_checked(length).ok_or(TlvError)?;
    *bytes = rest;
    Ok(Some(Element { tag, value }))
}

/// The value of the first element with this tag on the top level.
///
/// # Errors
///
/// [`TlvError`]: the elements in front of it and itself must be well-formed.
pub fn find(mut bytes: &[u8], tag: u32) -> Result<Option<&[u8]>, TlvError> {
    for _ in 0..ELEMENTS_MAX {
        match next(&mut bytes)? {
            None => return Ok(None),
            Some(element) if element.tag == tag => return Ok(Some(element.value)),
            Some(_) => {}
        }
    }
    Err(TlvError)
}

/// Appends an element. Tags of more than three bytes and values of 16 MiB and more do not occur.
pub fn push(out: &mut Vec<u8>, tag: u32, value: &[u8]) {
    push_number(out, tag);
    if value.len() <= 0x7F {
        push_number(out, u32::try_from(value.len()).unwrap_or_default());
    } else {
        let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
        let bytes = 4 - length.leading_zeros() / 8;
        push_number(out, 0x80 | bytes);
        push_number(out, length);
    }
    out.extend_from_slice(value);
}

/// The element as bytes of its own.
pub fn element(tag: u32, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len() + 8);
    push(&mut out, tag, value);
    out
}

/// A number, big-endian, without zero bytes in front (one for zero).
fn push_number(out: &mut Vec<u8>, number: u32) {
    let bytes = number.to_be_bytes();
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count().min(3);
    out.extend_from_slice(&bytes[zeros..]);
}

fn take(bytes: &mut &[u8]) -> Option<u8> {
    let (first, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(*first)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn elements_of_each_length_form_are_read() {
        let check = |bytes: &[u8], tag: u32, length: usize| {
            let mut rest = bytes;
            let element = next(&mut rest).unwrap().unwrap();
            assert_eq!((element.tag, element.value.len(), rest.len()), (tag, length, 0));
        };
        check(&[0x53, 0], 0x53, 0);
        check(&[0x53, 2, 1, 2], 0x53, 2);
        check(&[0x7F, 0x49, 1, 9], 0x7F49, 1);
        check(&[0x5F, 0xC1, 0x20, 1, 9], 0x5F_C120, 1);
        check(&[&[0x86, 0x81, 0x80][..], &[7; 128]].concat(), 0x86, 128);
        check(&[&[0x86, 0x82, 1, 0][..], &[7; 256]].concat(), 0x86, 256);
        check(&[&[0x86, 0x83, 0, 1, 0][..], &[7; 256]].concat(), 0x86, 256);
    }

    #[test]
    fn what_is_cut_off_or_of_another_form_is_refused() {
        for bad in [
            &[0x53][..],
            &[0x53, 1],
            &[0x53, 0x81],
            &[0x53, 0x82, 1],
            &[0x53, 0x83, 0xFF, 0xFF, 0xFF, 0],
            &[0x53, 0x80, 0, 0],
            &[0x53, 0x84, 0, 0, 0, 0],
            &[0x7F],
            &[0x7F, 0xC9, 0xC9, 0xC9, 0],
        ] {
            assert_eq!(next(&mut &*bad), Err(TlvError), "{bad:02X?}");
        }
        assert_eq!(next(&mut &[][..]), Ok(None));
    }

    #[test]
    fn element_is_found_behind_others_and_too_many_are_refused() {
        let bytes = [0x01, 1, 0x11, 0x02, 2, 1, 1, 0x04, 1, 9];
        assert_eq!(find(&bytes, 0x04), Ok(Some(&[9][..])));
        assert_eq!(find(&bytes, 0x05), Ok(None));
        assert_eq!(find(&bytes[..9], 0x04), Err(TlvError));
        assert_eq!(find(&[1, 0].repeat(ELEMENTS_MAX), 2), Err(TlvError));
    }

    proptest! {
        #[test]
        fn written_elements_are_read_back(
            tag in prop_oneof![Just(0x53_u32), Just(0x7F49), Just(0x5F_C120)],
            value in proptest::collection::vec(any::<u8>(), 0..70_000),
        ) {
            let bytes = element(tag, &value);
            let mut rest = &bytes[..];
            prop_assert_eq!(next(&mut rest), Ok(Some(Element { tag, value: &value })));
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut rest = &bytes[..];
            while let Ok(Some(element)) = next(&mut rest) {
                prop_assert!(element.value.len() < bytes.len());
            }
            let _ = find(&bytes, 0x53);
        }
    }
}
