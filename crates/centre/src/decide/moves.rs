//! The rules of moves: who may take a key from where it is, and how often.
//!
//! Pure, as all of `decide`: facts from the books go in, a decision comes out.

use licence_core::activation::ActivationCode;
use licence_core::key::{KeyKind, KeyNo, KeySeries};
use licence_core::seal::PublicKey;
use licence_core::time::Utc;
use licencekit::vendor::EndedBy;

use super::Denial;

/// Days for which a move counts.
pub const MOVE_DAYS: u32 = 365;

/// The moves of a key within the last [`MOVE_DAYS`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Moves {
    /// How many count.
    pub made: u32,
    /// When the next one is possible; nothing when it is at once.
    pub next: Option<Utc>,
}

impl Moves {
    /// The moves of a key whose activations ended at `ends`, where `allowed` are possible a year.
    /// What the vendor did does not count.
    pub fn of(ends: &[(Utc, EndedBy)], allowed: u32, now: Utc) -> Self {
        let counts = |by: EndedBy| match by {
            EndedBy::Customer | EndedBy::Server | EndedBy::Spare => true,
            EndedBy::Paid | EndedBy::Vendor => false,
        };
        let mut free_again: Vec<Utc> = ends
            .iter()
            .filter(|(_, by)| counts(*by))
            .map(|(at, _)| at.plus_days(MOVE_DAYS))
            .filter(|again| *again > now)
            .collect();
        free_again.sort_unstable();
        let made = u32::try_from(free_again.len()).unwrap_or(u32::MAX);
        // The one whose end leaves fewer than `allowed`; where none is allowed, never.
        let next = match made.checked_sub(allowed) {
            None => None,
            Some(_) if allowed == 0 => Some(Utc::MAX),
            Some(over) => free_again.get(over as usize).copied(),
        };
        Self { made, next }
    }

    /// Whether one more is possible.
    ///
    /// # Errors
    ///
    /// [`Denial::MoveLimit`] with the moment from which it is.
    pub const fn check(&self) -> Result<(), Denial> {
        match self.next {
            Some(next) => Err(Denial::MoveLimit(next)),
            None => Ok(()),
        }
    }
}

/// What a genuine request about an installed key says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AskedReturn {
    /// The key that signed it.
    pub server: PublicKey,
    /// Serial number of the key.
    pub key_no: KeyNo,
    /// Its series.
    pub series: KeySeries,
}

/// How an activation ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ended {
    /// When.
    pub at: Utc,
    /// By whom.
    pub by: EndedBy,
    /// The code that installs the key again, if one was given.
    pub code: Option<ActivationCode>,
}

/// What the books say of an activation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ActivationFacts {
    /// The server that asked for it, 32 bytes.
    pub server: Vec<u8>,
    /// Serial number of the key.
    pub key_no: KeyNo,
    /// Its series.
    pub series: KeySeries,
    /// Kind of the key.
    pub kind: KeyKind,
    /// Whether the order was revoked.
    pub revoked: bool,
    /// Whether the vendor refuses everything to that server.
    pub holder_blocked: bool,
    /// How it ended, if it did.
    pub ended: Option<Ended>,
    /// The moves of the key.
    pub moves: Moves,
    /// Whether customers may release keys of the series by themselves.
    pub self_release: bool,
}

impl ActivationFacts {
    /// The request as the server that holds the key would make it, for what is decided alike
    /// whoever asks.
    ///
    /// # Errors
    ///
    /// [`Denial::KeyNotFound`] when the books name no server.
    pub fn asked_by_its_server(&self) -> Result<AskedReturn, Denial> {
        let server = self.server.as_slice().try_into().map_err(|_| Denial::KeyNotFound)?;
        let server = PublicKey::from_bytes(server);
        Ok(AskedReturn { server, key_no: self.key_no, series: self.series })
    }
}

/// What to do with a return that is not refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReturnDecision {
    /// The key was given back by this activation before: the same code again.
    Repeat(Utc, ActivationCode),
    /// Draw a reserve code and end the activation.
    Take,
}

fn theirs<'a>(
    asked: &AskedReturn,
    facts: Option<&'a ActivationFacts>,
) -> Result<&'a ActivationFacts, Denial> {
    let is_theirs = |facts: &&ActivationFacts| {
        facts.server == asked.server.as_bytes()
            && facts.key_no == asked.key_no
            && facts.series == asked.series
    };
    let facts = facts.filter(is_theirs).ok_or(Denial::KeyNotFound)?;
    if facts.holder_blocked { Err(Denial::HolderBlocked) } else { Ok(facts) }
}

/// Decides on a server's request to take a key back.
///
/// What was promised once is repeated, whatever became of the order since; whether the code still
/// installs anything is decided when it is used. What ended without the server brings it no code.
///
/// # Errors
///
/// The first [`Denial`] that holds. A key of somebody else is as unknown as one that never was.
pub fn decide_return(
    asked: &AskedReturn,
    facts: Option<&ActivationFacts>,
) -> Result<ReturnDecision, Denial> {
    let facts = theirs(asked, facts)?;
    match facts.ended {
        Some(Ended { at, by: EndedBy::Server, code: Some(code) }) => {
            return Ok(ReturnDecision::Repeat(at, code));
        }
        Some(_) => return Err(Denial::Returned),
        None => {}
    }
    may_move(facts)?;
    facts.moves.check()?;
    Ok(ReturnDecision::Take)
}

/// Decides whether a server gets a spare code for a key that it holds. That its moves are used up
/// does not matter yet: the code is for another day.
///
/// # Errors
///
/// The first [`Denial`] that holds.
pub fn decide_spare(asked: &AskedReturn, facts: Option<&ActivationFacts>) -> Result<(), Denial> {
    let facts = theirs(asked, facts)?;
    if facts.ended.is_some() {
        return Err(Denial::Returned);
    }
    may_move(facts)
}

/// Decides whether the vendor, or a customer on their page, ends the latest activation of a key.
///
/// # Errors
///
/// The first [`Denial`] that holds.
pub fn decide_release(
    facts: Option<&ActivationFacts>,
    by: EndedBy,
) -> Result<ReturnDecision, Denial> {
    let facts = facts.ok_or(Denial::NotInstalled)?;
    let is_vendor = by == EndedBy::Vendor;
    match facts.ended {
        Some(Ended { at, code: Some(code), .. }) if is_vendor || facts.self_release => {
            return Ok(ReturnDecision::Repeat(at, code));
        }
        Some(_) => return Err(Denial::NotInstalled),
        None => {}
    }
    may_move(facts)?;
    if !is_vendor {
        if facts.holder_blocked {
            return Err(Denial::HolderBlocked);
        }
        if !facts.self_release {
            return Err(Denial::SelfReleaseOff);
        }
        facts.moves.check()?;
    }
    Ok(ReturnDecision::Take)
}

/// Keys that move at all.
fn may_move(facts: &ActivationFacts) -> Result<(), Denial> {
    if facts.revoked {
        return Err(Denial::Revoked);
    }
    if facts.kind == KeyKind::Demo {
        return Err(Denial::DemoKept);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use licence_core::activation::CodeKind;

    use super::*;

    const SERIES: KeySeries = KeySeries::from_u16(0x672B);

    fn now() -> Utc {
        Utc::from_unix_millis(1_800_000_000_000)
    }

    fn code() -> ActivationCode {
        ActivationCode::encode(CodeKind::Reserve, SERIES, 9)
    }

    fn asked() -> AskedReturn {
        AskedReturn { server: PublicKey::from_bytes([7; 32]), key_no: KeyNo(5), series: SERIES }
    }

    fn facts() -> ActivationFacts {
        ActivationFacts {
            server: vec![7; 32],
            key_no: KeyNo(5),
            series: SERIES,
            kind: KeyKind::Main,
            revoked: false,
            holder_blocked: false,
            ended: None,
            moves: Moves::default(),
            self_release: false,
        }
    }

    fn ended(by: EndedBy) -> Option<Ended> {
        Some(Ended { at: now(), by, code: Some(code()) })
    }

    fn used_up() -> Moves {
        Moves { made: 4, next: Some(now()) }
    }

    #[test]
    fn key_is_taken_back_from_its_holder_once_and_the_same_code_given_again() {
        let check = |facts: Option<ActivationFacts>, wanted: Result<ReturnDecision, Denial>| {
            assert_eq!(decide_return(&asked(), facts.as_ref()), wanted, "{facts:?}");
        };
        check(None, Err(Denial::KeyNotFound));
        check(Some(facts()), Ok(ReturnDecision::Take));
        let kind = KeyKind::Additional;
        check(Some(ActivationFacts { kind, ..facts() }), Ok(ReturnDecision::Take));
        for other in [
            ActivationFacts { server: vec![8; 32], ..facts() },
            ActivationFacts { key_no: KeyNo(6), ..facts() },
            ActivationFacts { series: KeySeries::from_u16(1), ..facts() },
        ] {
            check(Some(other), Err(Denial::KeyNotFound));
        }
        check(Some(ActivationFacts { kind: KeyKind::Demo, ..facts() }), Err(Denial::DemoKept));
        check(Some(ActivationFacts { revoked: true, ..facts() }), Err(Denial::Revoked));
        let blocked = ActivationFacts { holder_blocked: true, ..facts() };
        check(Some(blocked), Err(Denial::HolderBlocked));
        let moved = ActivationFacts { moves: used_up(), ..facts() };
        check(Some(moved), Err(Denial::MoveLimit(now())));
        let repeat = Ok(ReturnDecision::Repeat(now(), code()));
        let returned = ActivationFacts { ended: ended(EndedBy::Server), ..facts() };
        check(Some(returned.clone()), repeat);
        let moves = used_up();
        check(Some(ActivationFacts { revoked: true, moves, ..returned.clone() }), repeat);
        let stranger = ActivationFacts { server: vec![8; 32], ..returned };
        check(Some(stranger), Err(Denial::KeyNotFound));
    }

    #[test]
    fn what_ended_without_the_server_brings_it_no_code() {
        for by in [EndedBy::Customer, EndedBy::Paid, EndedBy::Spare, EndedBy::Vendor] {
            let facts = ActivationFacts { ended: ended(by), ..facts() };
            assert_eq!(decide_return(&asked(), Some(&facts)), Err(Denial::Returned), "{by:?}");
            assert_eq!(decide_spare(&asked(), Some(&facts)), Err(Denial::Returned), "{by:?}");
        }
    }

    #[test]
    fn spare_code_is_for_whoever_holds_a_key_that_can_move() {
        let check = |facts: ActivationFacts, wanted| {
            assert_eq!(decide_spare(&asked(), Some(&facts)), wanted, "{facts:?}");
        };
        check(facts(), Ok(()));
        check(ActivationFacts { moves: used_up(), ..facts() }, Ok(()));
        check(ActivationFacts { server: vec![8; 32], ..facts() }, Err(Denial::KeyNotFound));
        check(ActivationFacts { kind: KeyKind::Demo, ..facts() }, Err(Denial::DemoKept));
        check(ActivationFacts { revoked: true, ..facts() }, Err(Denial::Revoked));
        check(ActivationFacts { holder_blocked: true, ..facts() }, Err(Denial::HolderBlocked));
    }

    #[test]
    fn vendor_releases_without_limits_and_customers_where_they_may() {
        let check = |facts: ActivationFacts, by, wanted| {
            assert_eq!(decide_release(Some(&facts), by), wanted, "{by:?} {facts:?}");
        };
        assert_eq!(decide_release(None, EndedBy::Vendor), Err(Denial::NotInstalled));
        let (vendor, customer) = (EndedBy::Vendor, EndedBy::Customer);
        check(ActivationFacts { moves: used_up(), ..facts() }, vendor, Ok(ReturnDecision::Take));
        check(facts(), customer, Err(Denial::SelfReleaseOff));
        let open = ActivationFacts { self_release: true, ..facts() };
        check(open.clone(), customer, Ok(ReturnDecision::Take));
        let moved = ActivationFacts { moves: used_up(), ..open.clone() };
        check(moved, customer, Err(Denial::MoveLimit(now())));
        let blocked = ActivationFacts { holder_blocked: true, ..open.clone() };
        check(blocked.clone(), customer, Err(Denial::HolderBlocked));
        check(blocked, vendor, Ok(ReturnDecision::Take));
        let repeat = Ok(ReturnDecision::Repeat(now(), code()));
        check(ActivationFacts { ended: ended(EndedBy::Server), ..facts() }, vendor, repeat);
        check(ActivationFacts { ended: ended(vendor), ..open }, customer, repeat);
        check(ActivationFacts { kind: KeyKind::Demo, ..facts() }, vendor, Err(Denial::DemoKept));
    }

    #[test]
    fn moves_of_a_year_are_counted_and_the_oldest_makes_room_again() {
        let ago = |days: i64| now().plus_millis(-days * 86_400_000);
        let server = |days| (ago(days), EndedBy::Server);
        let check = |ends: &[(Utc, EndedBy)], allowed, made, next| {
            assert_eq!(Moves::of(ends, allowed, now()), Moves { made, next }, "{ends:?} {allowed}");
        };
        check(&[], 1, 0, None);
        check(&[server(1)], 1, 1, Some(ago(1).plus_days(365)));
        check(&[server(1)], 2, 1, None);
        check(&[server(365)], 1, 0, None);
        check(&[server(364)], 1, 1, Some(now().plus_days(1)));
        check(&[server(10), server(200)], 2, 2, Some(ago(200).plus_days(365)));
        check(&[server(10), server(200)], 1, 2, Some(ago(10).plus_days(365)));
        check(&[(ago(1), EndedBy::Vendor), (ago(2), EndedBy::Paid)], 1, 0, None);
        check(&[(ago(1), EndedBy::Spare), (ago(2), EndedBy::Customer)], 3, 2, None);
        check(&[], 0, 0, Some(Utc::MAX));
    }
}
