//! Shamir's secret sharing over GF(2^8): a secret of 32 bytes from any `k` of its shares.
//!
//! Written here, because the crates that are kept (blahaj, vsss-rs) bring a random source of their
//! own or generic curve arithmetic, and this crate may have neither; the field and the numbering of
//! shares are those of draft-mcgrew-tss, whose test vector is below. Shares carry nothing by which a
//! wrong one could be told: whether `k` of them fit shows only in what the secret opens.

use zeroize::Zeroizing;

/// Bytes of a secret and of a share.
pub(super) const SHARE_BYTES: usize = 32;

/// A secret or a share.
pub(super) type Share = [u8; SHARE_BYTES];

/// The polynomial of AES: x^8 + x^4 + x^3 + x + 1.
const POLYNOMIAL: u16 = 0x11b;

/// Powers of the generator 3 and their logarithms.
const TABLES: ([u8; 255], [u8; 256]) = {
    let mut powers = [0; 255];
    let mut logarithms = [0; 256];
    let mut value: u16 = 1;
    let mut exponent: u8 = 0;
    while exponent < 255 {
        powers[exponent as usize] = value as u8;
        logarithms[value as usize] = exponent;
        // Times 3 is times 2 and once more.
        value ^= value << 1;
        if value & 0x100 != 0 {
            value ^= POLYNOMIAL;
        }
        exponent += 1;
    }
    (powers, logarithms)
};

fn times(a: u8, b: u8) -> u8 {
    if a == 0 || b == 0 {
        return 0;
    }
    let sum = usize::from(TABLES.1[usize::from(a)]) + usize::from(TABLES.1[usize::from(b)]);
    TABLES.0[sum % 255]
}

/// `a / b`; the points of shares are different and never zero, so `b` is not zero.
fn over(a: u8, b: u8) -> u8 {
    if a == 0 {
        return 0;
    }
    let gap = 255 + usize::from(TABLES.1[usize::from(a)]) - usize::from(TABLES.1[usize::from(b)]);
    TABLES.0[gap % 255]
}

/// The share at a point that is not zero: the polynomial with the secret as its constant and these
/// further coefficients.
pub(super) fn share_at(point: u8, secret: &Share, coefficients: &[Share]) -> Zeroizing<Share> {
    // Horner's rule, from the highest coefficient down.
    let mut value = Zeroizing::new([0; SHARE_BYTES]);
    for coefficient in coefficients.iter().rev().chain(std::iter::once(secret)) {
        for (byte, add) in value.iter_mut().zip(coefficient) {
            *byte = times(*byte, point) ^ add;
        }
    }
    value
}

/// The polynomial through these points, at another one; at zero it is the secret. The points are
/// different from each other.
pub(super) fn through(shares: &[(u8, &Share)], at: u8) -> Zeroizing<Share> {
    let mut value = Zeroizing::new([0; SHARE_BYTES]);
    for (own, share) in shares {
        let mut weight = 1;
        for (other, _) in shares.iter().filter(|(other, _)| other != own) {
            weight = times(weight, over(at ^ other, own ^ other));
        }
        for (byte, part) in value.iter_mut().zip(share.iter()) {
            *byte ^= times(weight, *part);
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn padded(bytes: &[u8]) -> Share {
        let mut share = [0; SHARE_BYTES];
        share[..bytes.len()].copy_from_slice(bytes);
        share
    }

    #[test]
    fn field_is_that_of_fips_197() {
        for (a, b, product) in
            [(0x57, 0x83, 0xc1), (0x57, 0x13, 0xfe), (0x53, 0xca, 0x01), (0, 7, 0), (1, 9, 9)]
        {
            assert_eq!((times(a, b), times(b, a)), (product, product), "{a:x} {b:x}");
        }
        for a in 1..=255 {
            for b in 1..=255 {
                assert_eq!(over(times(a, b), b), a, "{a} {b}");
            }
        }
    }

    #[test]
    fn test_vector_of_draft_mcgrew_tss() {
        // Section 5: the secret "test" and a zero byte, two shares needed.
        let one = padded(&[0xb9, 0xfa, 0x07, 0xe1, 0x85]);
        let two = padded(&[0xf5, 0x40, 0x9b, 0x45, 0x11]);
        assert_eq!(*through(&[(1, &one), (2, &two)], 0), padded(b"test\0"));
        let coefficient = through(&[(1, &one), (2, &two)], 0).map(|_| 0);
        let mut slope = coefficient;
        for (byte, (share, secret)) in slope.iter_mut().zip(one.iter().zip(padded(b"test\0"))) {
            *byte = share ^ secret;
        }
        assert_eq!(*share_at(2, &padded(b"test\0"), &[slope]), two);
    }

    proptest! {
        #[test]
        fn any_k_shares_give_the_secret_and_every_other_share(
            secret in any::<[u8; SHARE_BYTES]>(),
            coefficients in prop::collection::vec(any::<[u8; SHARE_BYTES]>(), 0..6),
            first in 1_u8..=10,
        ) {
            let points: Vec<u8> = (first..).take(coefficients.len() + 1).collect();
            let shares: Vec<_> =
                points.iter().map(|point| (*point, *share_at(*point, &secret, &coefficients))).collect();
            let shares: Vec<_> = shares.iter().map(|(point, share)| (*point, share)).collect();
            prop_assert_eq!(*through(&shares, 0), secret);
            prop_assert_eq!(through(&shares, 200), share_at(200, &secret, &coefficients));
        }
    }
}
