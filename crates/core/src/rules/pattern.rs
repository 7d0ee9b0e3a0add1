//! What a rule compares: texts with `*`, prefixes of addresses, and a session made ready for them.
//!
//! Both sides are brought to small letters once: the pattern when the rules are checked, the
//! session when it opens.

use std::net::IpAddr;

use crate::key::KeySeries;
use crate::protocol::SessionInfo;

/// A text in which `*` stands for any text, also none. Case does not matter, in any script.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Pattern {
    /// What stands between the stars, in small letters; one part is a text without stars.
    parts: Vec<String>,
}

impl Pattern {
    pub(crate) fn new(text: &str) -> Self {
        Self { parts: text.to_lowercase().split('*').map(str::to_owned).collect() }
    }

    /// Whether a text in small letters fits. Each part is looked for once, from left to right, so
    /// no pattern takes longer than its length times the text's.
    pub(crate) fn fits(&self, text: &str) -> bool {
        let [first, middle @ .., last] = self.parts.as_slice() else {
            return self.parts.first().is_some_and(|whole| whole == text);
        };
        let Some(mut rest) = text.strip_prefix(first.as_str()) else {
            return false;
        };
        for part in middle {
            match rest.find(part.as_str()) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        rest.ends_with(last.as_str())
    }
}

/// All addresses that begin with the same bits. An IPv4 address inside an IPv6 one is the IPv4
/// address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Subnet {
    address: IpAddr,
    bits: u8,
}

impl Subnet {
    /// Reads `192.168.1.0/24`, `2001:db8::/32` or a single address. Bits behind the prefix are
    /// left aside.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let bits_max: u8 = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse::<u8>().ok().filter(|bits| *bits <= bits_max)?
            }
            Some(_) => return None,
            None => bits_max,
        };
        // `::ffff:10.0.0.0/104` is `10.0.0.0/8`; a shorter prefix reaches beyond IPv4.
        match address.to_canonical() {
            IpAddr::V4(v4) if address.is_ipv6() => {
                bits.checked_sub(96).map(|bits| Self { address: IpAddr::V4(v4), bits })
            }
            IpAddr::V4(_) | IpAddr::V6(_) => Some(Self { address, bits }),
        }
    }

    pub(crate) fn holds(&self, address: IpAddr) -> bool {
        let (own, other, width) = match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (u128::from(own.to_bits()), u128::from(other.to_bits()), 32)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => (own.to_bits(), other.to_bits(), 128),
            _ => return false,
        };
        // A shift by all 128 bits would overflow, and a prefix of no bits holds every address.
        self.bits == 0 || (own ^ other) >> (width - u32::from(self.bits)) == 0
    }
}

/// A session as rules look at it.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(super) series: KeySeries,
    pub(super) user: String,
    pub(super) computer: String,
    pub(super) application: String,
    pub(super) infobase: String,
    /// `Ref` or `File` of the connection string: what people call the infobase.
    pub(super) infobase_name: Option<String>,
    pub(super) peer: Option<IpAddr>,
}

impl Subject {
    /// Makes a session ready to be looked at; `peer` is the address of its connection, as far as
    /// it is known.
    pub(crate) fn new(series: KeySeries, info: &SessionInfo, peer: Option<&str>) -> Self {
        let infobase = info.info_base_connection_str.to_lowercase();
        Self {
            series,
            user: info.user_name.as_deref().unwrap_or_default().to_lowercase(),
            computer: info.computer_name.to_lowercase(),
            application: info.app_name.to_lowercase(),
            infobase_name: ["ref", "file"].iter().find_map(|name| parameter(&infobase, name)),
            infobase,
            peer: peer.and_then(|peer| peer.parse().ok()),
        }
    }

    pub(crate) const fn series(&self) -> KeySeries {
        self.series
    }
}

/// The value of a parameter of a connection string such as `Srvr="s";Ref="b";`, which is in small
/// letters already. A quote inside quotes is doubled.
fn parameter(connection: &str, wanted: &str) -> Option<String> {
    let mut rest = connection;
    loop {
        let (name, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => quoted_value(quoted),
            None => {
                let (value, next) = after.split_once(';').unwrap_or((after, ""));
                (value.trim().to_owned(), next)
            }
        };
        if name.trim() == wanted {
            return Some(value);
        }
        rest = next;
    }
}

/// The text up to the closing quote, and what follows the next semicolon.
fn quoted_value(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut rest = text;
    while let Some((part, after)) = rest.split_once('"') {
        value.push_str(part);
        match after.strip_prefix('"') {
            Some(after) => {
                value.push('"');
                rest = after;
            }
            None => return (value, after.split_once(';').map_or("", |(_, next)| next)),
        }
    }
    // The closing quote is missing: all the rest is the value.
    value.push_str(rest);
    (value, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn star_stands_for_any_text_and_case_does_not_matter() {
        for (pattern, text, fits) in [
            ("Иванов*", "иванов иван", true),
            ("ИВАНОВ", "Иванов", true),
            ("Иванов", "Иванова", false),
            ("*бух*", "Главный Бухгалтер", true),
            ("*", "", true),
            ("**", "x", true),
            ("", "", true),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("PC-0*", "pc-07", true),
            ("*.local", "host.local", true),
            ("*.local", "host.locals", false),
        ] {
            assert_eq!(Pattern::new(pattern).fits(&text.to_lowercase()), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn subnet_holds_the_addresses_that_begin_with_its_bits() {
        for (subnet, address, holds) in [
            ("192.168.1.0/24", "192.168.1.255", true),
            ("192.168.1.7/24", "192.168.1.9", true),
            ("192.168.1.0/24", "192.168.2.0", false),
            ("10.0.0.5", "10.0.0.5", true),
            ("10.0.0.5", "10.0.0.4", false),
            ("10.0.0.5/32", "::ffff:10.0.0.5", true),
            ("::ffff:10.0.0.0/104", "10.9.9.9", true),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("2001:db8::/32", "2001:db8:7::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
        ] {
            let parsed = Subnet::parse(subnet).unwrap();
            assert_eq!(parsed.holds(address.parse().unwrap()), holds, "{subnet} {address}");
        }
        for bad in [
            "",
            "10.0.0",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0.0/-1",
            "10.0.0.0/8/8",
            "::ffff:10.0.0.0/8",
            "pc7",
        ] {
            assert_eq!(Subnet::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn name_of_an_infobase_is_read_from_its_connection_string() {
        for (connection, name) in [
            (r#"Srvr="s";Ref="Бухгалтерия";"#, Some("бухгалтерия")),
            (r#"File="D:\Мои базы\Db";"#, Some(r"d:\мои базы\db")),
            (r#"ref=b ; Srvr=s"#, Some("b")),
            (r#"Srvr="s;Ref=x";Ref="a""b;c";"#, Some("a\"b;c")),
            (r#"File="D:\Db"#, Some(r"d:\db")),
            (r#"ws="http://s/base";"#, None),
            ("", None),
            ("Ref", None),
        ] {
            let info = SessionInfo {
                info_base_connection_str: connection.to_owned(),
                ..SessionInfo::default()
            };
            let subject = Subject::new(KeySeries::from_u16(1), &info, None);
            assert_eq!(subject.infobase_name.as_deref(), name, "{connection}");
        }
    }

    /// The same by the definition: a star eats nothing, or one more letter.
    fn fits_slowly(pattern: &[char], text: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some(('*', pattern_rest)), _) => {
                fits_slowly(pattern_rest, text)
                    || text.split_first().is_some_and(|(_, rest)| fits_slowly(pattern, rest))
            }
            (Some((a, pattern_rest)), Some((b, text_rest))) => {
                a == b && fits_slowly(pattern_rest, text_rest)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn pattern_agrees_with_its_definition(pattern in "[аb*]{0,7}", text in "[аb]{0,9}") {
            let slow = fits_slowly(
                &pattern.chars().collect::<Vec<_>>(),
                &text.chars().collect::<Vec<_>>(),
            );
            prop_assert_eq!(Pattern::new(&pattern).fits(&text), slow);
        }

        #[test]
        fn no_connection_string_is_too_odd(text in ".{0,60}") {
            let info = SessionInfo { info_base_connection_str: text, ..SessionInfo::default() };
            Subject::new(KeySeries::from_u16(1), &info, Some("x"));
        }
    }
}
