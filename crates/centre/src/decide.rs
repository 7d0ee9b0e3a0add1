//! Whether a code may be activated: the rules, without I/O.
//!
//! Facts from the books and the asker's words go in, a decision comes out. Reading and writing
//! the books is the store's work, making the licence is `issue`'s.

use licence_core::key::KeyKind;
use licence_core::seal::{KEY_BYTES, PublicKey};
use licence_core::time::Utc;

/// What a genuine request asks for. That it is genuine (signed by `holder`) is checked before.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Asked {
    /// The key to bind the licence to.
    pub holder: PublicKey,
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
    /// End of the order's term.
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
    /// The computer has had its demo of the series.
    #[error("this computer has already had a demo of the series")]
    DemoUsed,
    /// The term of the order has ended.
    #[error("the term of the order has ended")]
    Expired,
    /// The buyer's ИНН or КПП is not the order's.
    #[error("the order belongs to another owner")]
    OwnerMismatch,
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
        Asked { holder: PublicKey::from_bytes(HOLDER), itn: None, iec: None, blank_key_no: None }
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
        Some(Issued { holder: [holder; KEY_BYTES], licence: "doc".into() })
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
