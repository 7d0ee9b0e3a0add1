//! Whether a code may be activated, a key given back, a licence sent again: the rules, without I/O.
//!
//! Facts from the books and the asker's words go in, a decision comes out. Reading and writing
//! the books is the store's work, making the licence is `issue`'s.

use licence_core::activation::ActivationCode;
use licence_core::key::{KeyKind, KeyNo, KeySeries};
use licence_core::seal::{KEY_BYTES, PublicKey};
use licence_core::time::Utc;

/// What a genuine request asks for. That it is genuine (signed by `holder`) is checked before.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Asked {
    /// The key to bind the licence to.
    pub holder: PublicKey,
    /// The X25519 key for which the object key of the series shall be wrapped, if the asker opens
    /// protected objects.
    pub enc: Option<[u8; KEY_BYTES]>,
    /// Owner's ИНН as the buyer gave it.
    pub itn: Option<String>,
    /// Owner's КПП as the buyer gave it.
    pub iec: Option<String>,
    /// The token to put the key on, if any.
    pub blank_key_no: Option<u32>,
}

/// What the books say of the code.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CodeFacts {
    /// Kind of the ordered key.
    pub kind: KeyKind,
    /// Owner's ИНН, when the order is for a certain owner.
    pub itn: Option<String>,
    /// Owner's КПП, when the order is for a certain owner.
    pub iec: Option<String>,
    /// End of the order's term; for a reserve code the end of the key's own, which began with its
    /// first activation.
    pub expire: Option<Utc>,
    /// Whether the order was revoked.
    pub revoked: bool,
    /// The licence issued for it, if any.
    pub issued: Option<Issued>,
    /// Whether the asking computer has had a demo of this series by another code.
    pub demo_used: bool,
}

/// A licence that was issued for a code.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Issued {
    /// The key it is bound to.
    pub holder: [u8; KEY_BYTES],
    /// The document.
    pub licence: String,
    /// Whether the key was given back since.
    pub returned: bool,
}

/// What to do with a request that is not refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Decision {
    /// Make a licence and keep it.
    Issue,
    /// Send the licence that was issued before: the first answer was lost.
    Repeat(String),
}

/// Why a code may not be activated.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Denial {
    /// Keys on tokens are not issued by this version.
    #[error("keys on tokens are not issued")]
    BlankNotSupported,
    /// A demo is for one computer and does not move.
    #[error("a demonstration key is not taken back")]
    DemoKept,
    /// The computer has had its demo of the series.
    #[error("this computer has already had a demo of the series")]
    DemoUsed,
    /// The term of the order has ended.
    #[error("the term of the order has ended")]
    Expired,
    /// No key of this number and activation is bound to the asking server.
    #[error("no such key is bound to this server")]
    KeyNotFound,
    /// The buyer's ИНН or КПП is not the order's.
    #[error("the order belongs to another owner")]
    OwnerMismatch,
    /// The key was given back: only its reserve code installs it again.
    #[error("the key was given back")]
    Returned,
    /// The order was revoked.
    #[error("the order was revoked")]
    Revoked,
    /// The code was never issued.
    #[error("the code was never issued")]
    Unknown,
    /// Another server has activated the code.
    #[error("the code was activated by another server")]
    Used,
}

/// Decides on a request at the moment `now`.
///
/// The order of the rules matters: who cannot name the owner learns nothing about the code's use,
/// and a server that lost its answer gets it again even when the order's term has ended since,
/// because the licence itself carries that term.
///
/// # Errors
///
/// The first [`Denial`] that holds.
pub fn decide(asked: &Asked, facts: Option<&CodeFacts>, now: Utc) -> Result<Decision, Denial> {
    if asked.blank_key_no.is_some() {
        return Err(Denial::BlankNotSupported);
    }
    let facts = facts.ok_or(Denial::Unknown)?;
    if facts.revoked {
        return Err(Denial::Revoked);
    }
    if !owner_fits(&facts.itn, &asked.itn) || !owner_fits(&facts.iec, &asked.iec) {
        return Err(Denial::OwnerMismatch);
    }
    match &facts.issued {
        Some(issued) if issued.holder == *asked.holder.as_bytes() => {
            if issued.returned {
                return Err(Denial::Returned);
            }
            return Ok(Decision::Repeat(issued.licence.clone()));
        }
        Some(_) => return Err(Denial::Used),
        None => {}
    }
    if facts.expire.is_some_and(|end| end <= now) {
        return Err(Denial::Expired);
    }
    if facts.kind == KeyKind::Demo && facts.demo_used {
        return Err(Denial::DemoUsed);
    }
    Ok(Decision::Issue)
}

/// What a genuine request to take a key back says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AskedReturn {
    /// The key that signed it.
    pub holder: PublicKey,
    /// Serial number of the key.
    pub key_no: KeyNo,
    /// Its series.
    pub series: KeySeries,
}

/// What the books say of the activation that the request names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ActivationFacts {
    /// The key it is bound to.
    pub holder: [u8; KEY_BYTES],
    /// Serial number of the key.
    pub key_no: KeyNo,
    /// Its series.
    pub series: KeySeries,
    /// Kind of the key.
    pub kind: KeyKind,
    /// Whether the order was revoked.
    pub revoked: bool,
    /// When it was given back, and for which code.
    pub returned: Option<(Utc, ActivationCode)>,
}

/// What to do with a return that is not refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReturnDecision {
    /// The key was given back by this activation before: the same code again.
    Repeat(Utc, ActivationCode),
    /// Draw a reserve code and end the activation.
    Take,
}

/// Decides on a request to take a key back.
///
/// What was promised once is repeated, whatever became of the order since; whether the code still
/// installs anything is decided when it is used.
///
/// # Errors
///
/// The first [`Denial`] that holds. A key of somebody else is as unknown as one that never was.
pub fn decide_return(
    asked: &AskedReturn,
    facts: Option<&ActivationFacts>,
) -> Result<ReturnDecision, Denial> {
    let is_theirs = |facts: &&ActivationFacts| {
        facts.holder == *asked.holder.as_bytes()
            && facts.key_no == asked.key_no
            && facts.series == asked.series
    };
    let facts = facts.filter(is_theirs).ok_or(Denial::KeyNotFound)?;
    if let Some((at, code)) = facts.returned {
        return Ok(ReturnDecision::Repeat(at, code));
    }
    if facts.revoked {
        return Err(Denial::Revoked);
    }
    if facts.kind == KeyKind::Demo {
        return Err(Denial::DemoKept);
    }
    Ok(ReturnDecision::Take)
}

/// Whether a licence is sent to its holder again: not when its order was revoked or its term
/// (until `end`) is over.
pub fn is_current(revoked: bool, end: Option<Utc>, now: Utc) -> bool {
    !revoked && end.is_none_or(|end| end > now)
}

/// An order for nobody in particular fits everybody; else the buyer must name its owner. Leading
/// zeros do not count: the manual's API carries these numbers as JSON numbers.
fn owner_fits(ordered: &Option<String>, asked: &Option<String>) -> bool {
    match (ordered, asked) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(ordered), Some(asked)) => {
            ordered.trim_start_matches('0') == asked.trim_start_matches('0')
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLDER: [u8; KEY_BYTES] = [7; KEY_BYTES];

    fn now() -> Utc {
        Utc::from_unix_millis(1_800_000_000_000)
    }

    fn asked() -> Asked {
        Asked {
            holder: PublicKey::from_bytes(HOLDER),
            enc: None,
            itn: None,
            iec: None,
            blank_key_no: None,
        }
    }

    fn facts() -> CodeFacts {
        CodeFacts {
            kind: KeyKind::Main,
            itn: None,
            iec: None,
            expire: None,
            revoked: false,
            issued: None,
            demo_used: false,
        }
    }

    fn issued(holder: u8) -> Option<Issued> {
        Some(Issued { holder: [holder; KEY_BYTES], licence: "doc".into(), returned: false })
    }

    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    fn check(facts: CodeFacts, wanted: Result<Decision, Denial>) {
        assert_eq!(decide(&asked(), Some(&facts), now()), wanted, "{facts:?}");
    }

    #[test]
    fn code_that_was_never_issued_is_unknown() {
        assert_eq!(decide(&asked(), None, now()), Err(Denial::Unknown));
    }

    #[test]
    fn free_code_is_issued_once_and_repeated_to_its_holder_only() {
        let repeat = || Ok(Decision::Repeat("doc".into()));
        check(facts(), Ok(Decision::Issue));
        check(CodeFacts { issued: issued(7), ..facts() }, repeat());
        check(CodeFacts { issued: issued(8), ..facts() }, Err(Denial::Used));
        let expire = Some(now());
        check(CodeFacts { issued: issued(7), expire, ..facts() }, repeat());
        check(CodeFacts { issued: issued(7), demo_used: true, ..facts() }, repeat());
    }

    #[test]
    fn key_that_was_given_back_needs_its_reserve_code() {
        let returned = |holder| Some(Issued { returned: true, ..issued(holder).unwrap() });
        check(CodeFacts { issued: returned(7), ..facts() }, Err(Denial::Returned));
        check(CodeFacts { issued: returned(8), ..facts() }, Err(Denial::Used));
    }

    #[test]
    fn key_is_taken_back_from_its_holder_once_and_the_same_code_given_again() {
        let series = KeySeries::from_u16(0x672B);
        let code = ActivationCode::encode(licence_core::activation::CodeKind::Reserve, series, 9);
        let asked = AskedReturn { holder: PublicKey::from_bytes(HOLDER), key_no: KeyNo(5), series };
        let known = ActivationFacts {
            holder: HOLDER,
            key_no: KeyNo(5),
            series,
            kind: KeyKind::Main,
            revoked: false,
            returned: None,
        };
        let check = |facts: Option<ActivationFacts>, wanted: Result<ReturnDecision, Denial>| {
            assert_eq!(decide_return(&asked, facts.as_ref()), wanted, "{facts:?}");
        };
        let facts = || known.clone();
        check(None, Err(Denial::KeyNotFound));
        check(Some(facts()), Ok(ReturnDecision::Take));
        check(
            Some(ActivationFacts { kind: KeyKind::Additional, ..facts() }),
            Ok(ReturnDecision::Take),
        );
        for other in [
            ActivationFacts { holder: [8; KEY_BYTES], ..facts() },
            ActivationFacts { key_no: KeyNo(6), ..facts() },
            ActivationFacts { series: KeySeries::from_u16(1), ..facts() },
        ] {
            check(Some(other), Err(Denial::KeyNotFound));
        }
        check(Some(ActivationFacts { kind: KeyKind::Demo, ..facts() }), Err(Denial::DemoKept));
        check(Some(ActivationFacts { revoked: true, ..facts() }), Err(Denial::Revoked));
        let repeat = Ok(ReturnDecision::Repeat(now(), code));
        let returned = Some((now(), code));
        check(Some(ActivationFacts { returned, ..facts() }), repeat);
        check(Some(ActivationFacts { returned, revoked: true, ..facts() }), repeat);
        let stranger = ActivationFacts { returned, holder: [8; KEY_BYTES], ..facts() };
        check(Some(stranger), Err(Denial::KeyNotFound));
    }

    #[test]
    fn licence_is_sent_again_until_its_term_ends_or_its_order_is_revoked() {
        for (revoked, end, current) in [
            (false, None, true),
            (false, Some(now().plus_millis(1)), true),
            (false, Some(now()), false),
            (true, None, false),
        ] {
            assert_eq!(is_current(revoked, end, now()), current, "{revoked} {end:?}");
        }
    }

    #[test]
    fn revoked_order_gives_nothing_not_even_again() {
        check(CodeFacts { revoked: true, ..facts() }, Err(Denial::Revoked));
        check(CodeFacts { revoked: true, issued: issued(7), ..facts() }, Err(Denial::Revoked));
    }

    #[test]
    fn order_ends_at_its_moment_and_not_before() {
        check(CodeFacts { expire: Some(now()), ..facts() }, Err(Denial::Expired));
        check(CodeFacts { expire: Some(now().plus_millis(1)), ..facts() }, Ok(Decision::Issue));
    }

    #[test]
    fn demo_rule_holds_for_demo_keys_only() {
        let kind = KeyKind::Demo;
        check(CodeFacts { kind, ..facts() }, Ok(Decision::Issue));
        check(CodeFacts { kind, demo_used: true, ..facts() }, Err(Denial::DemoUsed));
        check(CodeFacts { demo_used: true, ..facts() }, Ok(Decision::Issue));
    }

    #[test]
    fn owner_of_the_order_must_be_named_and_others_learn_nothing() {
        let check = |ordered: Option<&str>, given: Option<&str>, fits: bool| {
            let asked = Asked { itn: given.map(str::to_owned), ..asked() };
            let facts = CodeFacts { itn: ordered.map(str::to_owned), issued: issued(8), ..facts() };
            let wanted = if fits { Denial::Used } else { Denial::OwnerMismatch };
            let result = decide(&asked, Some(&facts), now());
            assert_eq!(result, Err(wanted), "{ordered:?} {given:?}");
        };
        check(None, None, true);
        check(None, Some("7707083893"), true);
        check(Some("7707083893"), Some("7707083893"), true);
        check(Some("0123456789"), Some("123456789"), true);
        check(Some("7707083893"), Some("7707083894"), false);
        check(Some("7707083893"), None, false);
        let other = CodeFacts { iec: text("770701001"), ..facts() };
        assert_eq!(decide(&asked(), Some(&other), now()), Err(Denial::OwnerMismatch));
    }

    #[test]
    fn key_on_a_token_is_refused_before_the_books_are_opened() {
        let asked = Asked { blank_key_no: Some(5), ..asked() };
        assert_eq!(decide(&asked, None, now()), Err(Denial::BlankNotSupported));
    }
}
