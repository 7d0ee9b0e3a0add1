//! Whether a code may be activated, a key given back, a licence sent again: the rules, without I/O.
//!
//! Facts from the books and the asker's words go in, a decision comes out. Reading and writing
//! the books is the store's work, making the licence is `issue`'s.

use licence_core::activation_request::Protection;
use licence_core::binding::BindingLevel;
use licence_core::cluster::ClusterId;
use licence_core::holder::Holder;
use licence_core::key::KeyKind;
use licence_core::seal::{KEY_BYTES, PublicKey};
use licence_core::time::Utc;

pub mod clones;
pub mod cluster;
pub mod moves;

use self::cluster::{Membership, Nodes, Other, Used};

/// What a genuine request asks for. That it is genuine (signed by `server`, the token's word given)
/// is checked before.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Asked {
    /// What to bind the licence to: the asking server, or a token that is plugged into it.
    pub holder: Holder,
    /// The key of the asking server.
    pub server: PublicKey,
    /// Whether the certificate of the token's maker says that its key was made inside it.
    pub attested: bool,
    /// How the identity of the server is kept, as it says.
    pub protection: Option<Protection>,
    /// The cluster that the server is a node of, as it says.
    pub membership: Membership,
    /// The X25519 key for which the object key of the series shall be wrapped, if the asker opens
    /// protected objects.
    pub enc: Option<[u8; KEY_BYTES]>,
    /// Owner's ИНН as the buyer gave it.
    pub itn: Option<String>,
    /// Owner's КПП as the buyer gave it.
    pub iec: Option<String>,
}

impl Asked {
    /// What the licence is bound to, as the books keep it.
    pub fn holder_bytes(&self) -> &[u8] {
        match &self.holder {
            Holder::Server(key) => key.as_bytes(),
            Holder::Token(key) => key.as_bytes(),
        }
    }
}

/// What the books say of a token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BlankStanding {
    /// The vendor has blocked it.
    Blocked,
    /// It is on the list.
    Registered,
    /// It is not.
    Unknown,
}

/// Keys of the series that are current on the asking computer, server or token, beside the one that
/// is asked for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Beside {
    /// A main key.
    pub main: bool,
    /// A main or additional key.
    pub paid: bool,
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
    /// How many servers may have the key as nodes of one cluster; 0 when it is for one server.
    pub cluster_nodes: u32,
    /// What the asker has of the key at this moment, by whatever code of it; without what a spare code
    /// takes the place of.
    pub own: Option<Own>,
    /// How the code was used before, if it was, when the asker has not got the key.
    pub used: Option<Used>,
    /// Other servers that have the key; without the one whose place a spare code takes.
    pub others: Vec<Other>,
    /// Whether the asking computer, or its server, has had a demo of this series by another code.
    pub demo_used: bool,
    /// What else is on the asking computer.
    pub beside: Beside,
    /// How strictly the licence will be bound to its computer.
    pub level: BindingLevel,
    /// The token, if the licence shall be bound to one.
    pub blank: Option<BlankStanding>,
    /// Whether the vendor refuses everything to the asking server.
    pub holder_blocked: bool,
    /// Of a spare code: the move that it would be.
    pub spare: Option<Spare>,
}

/// What the books say of a spare code that nobody has used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Spare {
    /// Whether the activation that it was drawn for goes on, and it has not been replaced.
    pub living: bool,
    /// The moves of its key.
    pub moves: moves::Moves,
}

/// The licence of a key that the asker has.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Own {
    /// The document.
    pub licence: String,
    /// The cluster that it is for.
    pub cluster: Option<ClusterId>,
}

/// What to do with a request that is not refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Decision {
    /// Make a licence, for a node of this cluster or for one server, and keep it.
    Issue(Option<ClusterId>),
    /// Send the licence that was issued before: the first answer was lost, or the server has come to a
    /// cluster or left it.
    Repeat {
        /// The document as it was issued.
        licence: String,
        /// The cluster that it is for from here on.
        cluster: Option<ClusterId>,
    },
}

/// Why a code may not be activated.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Denial {
    /// The vendor has blocked the token.
    #[error("the token is blocked")]
    BlankBlocked,
    /// The token is not the vendor's, and no maker vouches for it.
    #[error("the token is not registered")]
    BlankUnknown,
    /// A token is asked for, and nothing proves that it is there.
    #[error("the token has not proved that it is there")]
    BlankUnproved,
    /// As many nodes of the cluster as may have the key have it.
    #[error("{0} nodes of the cluster have the key, and no more may")]
    ClusterFull(u32),
    /// Another server has the key, outside any cluster.
    #[error("the key is on a single server outside a cluster")]
    ClusterNone,
    /// The key is shared by a cluster that the asking server is no node of.
    #[error("the key is shared by the nodes of another cluster")]
    ClusterOther,
    /// Other nodes of the asker's cluster have the key.
    #[error("other nodes of the cluster have the key: {0}")]
    ClusterShared(Nodes),
    /// A licence of a cluster has no form that is read out.
    #[error("a licence of a cluster is not read out")]
    ClusterUntold,
    /// A demo stands alone: the computer has a paid key of the series.
    #[error("a demonstration key is not installed beside others")]
    DemoBesideOthers,
    /// A demo is for one computer and does not move.
    #[error("a demonstration key is not taken back")]
    DemoKept,
    /// The vendor gives no demos of the series without a code.
    #[error("no demonstration keys without a code are offered")]
    DemoNotOffered,
    /// The computer has had its demo of the series.
    #[error("this computer has already had a demo of the series")]
    DemoUsed,
    /// The term of the order has ended.
    #[error("the term of the order has ended")]
    Expired,
    /// The vendor refuses everything to this server.
    #[error("the server is blocked")]
    HolderBlocked,
    /// No key of this number and activation is bound to the asking server.
    #[error("no such key is bound to this server")]
    KeyNotFound,
    /// The key has made its moves of the year; the next is possible then.
    #[error("the key has made its moves of the year; the next is possible from {0}")]
    MoveLimit(Utc),
    /// The series wants servers with a TPM.
    #[error("the series wants a server whose identity is kept by a TPM")]
    NeedsTpm,
    /// An additional key counts only beside a main one.
    #[error("the computer has no main key of the series")]
    NoMainKey,
    /// Several servers have the key, and nobody has said which of them is meant.
    #[error("several servers have the key: {0}")]
    NodeUnnamed(Nodes),
    /// The key is nowhere, so it cannot be taken from there.
    #[error("the key is not installed")]
    NotInstalled,
    /// The buyer's ИНН or КПП is not the order's.
    #[error("the order belongs to another owner")]
    OwnerMismatch,
    /// The key was given back: only its reserve code installs it again.
    #[error("the key was given back")]
    Returned,
    /// The order was revoked.
    #[error("the order was revoked")]
    Revoked,
    /// Customers of the series do not release keys by themselves.
    #[error("customers do not release keys of the series by themselves")]
    SelfReleaseOff,
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
    let facts = facts.ok_or(Denial::Unknown)?;
    if facts.holder_blocked {
        return Err(Denial::HolderBlocked);
    }
    if facts.revoked {
        return Err(Denial::Revoked);
    }
    if !owner_fits(&facts.itn, &asked.itn) || !owner_fits(&facts.iec, &asked.iec) {
        return Err(Denial::OwnerMismatch);
    }
    if let Some(decision) = cluster::again(asked, facts)? {
        return Ok(decision);
    }
    let cluster = cluster::place(asked, facts)?;
    if facts.expire.is_some_and(|end| end <= now) {
        return Err(Denial::Expired);
    }
    if let Some(spare) = &facts.spare {
        if !spare.living {
            return Err(Denial::Returned);
        }
        spare.moves.check()?;
    }
    fits_its_place(asked, facts)?;
    fits_its_kind(facts)?;
    Ok(Decision::Issue(cluster))
}

/// Whether what the licence is bound to may hold it: a token of the vendor's or one that its maker
/// vouches for, or a server that is kept as strictly as the series wants.
fn fits_its_place(asked: &Asked, facts: &CodeFacts) -> Result<(), Denial> {
    match facts.blank {
        Some(BlankStanding::Blocked) => Err(Denial::BlankBlocked),
        Some(BlankStanding::Unknown) if !asked.attested => Err(Denial::BlankUnknown),
        Some(BlankStanding::Registered | BlankStanding::Unknown) => Ok(()),
        None if facts.level == BindingLevel::Tpm && asked.protection != Some(Protection::Tpm) => {
            Err(Denial::NeedsTpm)
        }
        None => Ok(()),
    }
}

/// The rules of kinds. A paid key may come to a demo: the demo ends then.
const fn fits_its_kind(facts: &CodeFacts) -> Result<(), Denial> {
    match facts.kind {
        KeyKind::Demo if facts.demo_used => Err(Denial::DemoUsed),
        KeyKind::Demo if facts.beside.paid => Err(Denial::DemoBesideOthers),
        KeyKind::Additional if !facts.beside.main => Err(Denial::NoMainKey),
        KeyKind::Additional | KeyKind::Demo | KeyKind::Main => Ok(()),
    }
}

/// Whether a licence is sent to its holder again: not when its order was revoked or its term
/// (until `end`) is over.
pub fn is_current(revoked: bool, end: Option<Utc>, now: Utc) -> bool {
    !revoked && end.is_none_or(|end| end > now)
}

/// An order for nobody in particular fits everybody; else the buyer must name its owner. Leading
/// zeros do not count: the manual's API carries these numbers as JSON numbers.
pub fn owner_fits(ordered: &Option<String>, asked: &Option<String>) -> bool {
    match (ordered, asked) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(ordered), Some(asked)) => {
            ordered.trim_start_matches('0') == asked.trim_start_matches('0')
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const HOLDER: [u8; KEY_BYTES] = [7; KEY_BYTES];

    pub(super) fn now() -> Utc {
        Utc::from_unix_millis(1_800_000_000_000)
    }

    pub(super) fn asked() -> Asked {
        let server = PublicKey::from_bytes(HOLDER);
        Asked {
            holder: server.into(),
            server,
            attested: false,
            protection: None,
            membership: Membership::Alone,
            enc: None,
            itn: None,
            iec: None,
        }
    }

    pub(super) fn facts() -> CodeFacts {
        CodeFacts {
            kind: KeyKind::Main,
            itn: None,
            iec: None,
            expire: None,
            revoked: false,
            cluster_nodes: 0,
            own: None,
            used: None,
            others: Vec::new(),
            demo_used: false,
            beside: Beside::default(),
            level: BindingLevel::Medium,
            blank: None,
            holder_blocked: false,
            spare: None,
        }
    }

    /// What the asker has of a key that is nowhere else.
    fn own() -> Option<Own> {
        Some(Own { licence: "doc".into(), cluster: None })
    }

    /// What another server has.
    fn elsewhere() -> CodeFacts {
        let other = Other { cluster: None, computer: cluster::Short::default() };
        CodeFacts { used: Some(Used::Elsewhere), others: vec![other], ..facts() }
    }

    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    pub(super) fn check_as(asked: &Asked, facts: CodeFacts, wanted: Result<Decision, Denial>) {
        assert_eq!(decide(asked, Some(&facts), now()), wanted, "{asked:?} {facts:?}");
    }

    fn check(facts: CodeFacts, wanted: Result<Decision, Denial>) {
        check_as(&asked(), facts, wanted);
    }

    #[test]
    fn code_that_was_never_issued_is_unknown() {
        assert_eq!(decide(&asked(), None, now()), Err(Denial::Unknown));
    }

    #[test]
    fn free_code_is_issued_once_and_repeated_to_its_holder_only() {
        let repeat = || Ok(Decision::Repeat { licence: "doc".into(), cluster: None });
        check(facts(), Ok(Decision::Issue(None)));
        check(CodeFacts { own: own(), ..facts() }, repeat());
        check(elsewhere(), Err(Denial::Used));
        let expire = Some(now());
        check(CodeFacts { own: own(), expire, ..facts() }, repeat());
        check(CodeFacts { own: own(), demo_used: true, ..facts() }, repeat());
    }

    #[test]
    fn key_that_was_given_back_needs_its_reserve_code() {
        check(CodeFacts { used: Some(Used::Here), ..facts() }, Err(Denial::Returned));
        check(CodeFacts { used: Some(Used::Elsewhere), ..facts() }, Err(Denial::Used));
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
        check(CodeFacts { revoked: true, own: own(), ..facts() }, Err(Denial::Revoked));
    }

    #[test]
    fn order_ends_at_its_moment_and_not_before() {
        check(CodeFacts { expire: Some(now()), ..facts() }, Err(Denial::Expired));
        check(
            CodeFacts { expire: Some(now().plus_millis(1)), ..facts() },
            Ok(Decision::Issue(None)),
        );
    }

    #[test]
    fn demo_rule_holds_for_demo_keys_only() {
        let kind = KeyKind::Demo;
        check(CodeFacts { kind, ..facts() }, Ok(Decision::Issue(None)));
        check(CodeFacts { kind, demo_used: true, ..facts() }, Err(Denial::DemoUsed));
        check(CodeFacts { demo_used: true, ..facts() }, Ok(Decision::Issue(None)));
    }

    #[test]
    fn owner_of_the_order_must_be_named_and_others_learn_nothing() {
        let check = |ordered: Option<&str>, given: Option<&str>, fits: bool| {
            let asked = Asked { itn: given.map(str::to_owned), ..asked() };
            let facts = CodeFacts { itn: ordered.map(str::to_owned), ..elsewhere() };
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
    fn additional_key_needs_a_main_one_beside_it() {
        let kind = KeyKind::Additional;
        check(CodeFacts { kind, ..facts() }, Err(Denial::NoMainKey));
        let beside = Beside { main: false, paid: true };
        check(CodeFacts { kind, beside, ..facts() }, Err(Denial::NoMainKey));
        let beside = Beside { main: true, paid: true };
        check(CodeFacts { kind, beside, ..facts() }, Ok(Decision::Issue(None)));
        let repeat = Ok(Decision::Repeat { licence: "doc".into(), cluster: None });
        check(CodeFacts { kind, own: own(), ..facts() }, repeat);
    }

    #[test]
    fn demo_stands_alone_and_others_may_come_to_it() {
        let beside = Beside { main: false, paid: true };
        let kind = KeyKind::Demo;
        check(CodeFacts { kind, beside, ..facts() }, Err(Denial::DemoBesideOthers));
        check(CodeFacts { beside, ..facts() }, Ok(Decision::Issue(None)));
    }

    #[test]
    fn series_for_a_tpm_is_issued_to_servers_that_have_one() {
        let level = BindingLevel::Tpm;
        let wants = CodeFacts { level, ..facts() };
        for (protection, fits) in [
            (None, false),
            (Some(Protection::Parts), false),
            (Some(Protection::Secret), false),
            (Some(Protection::Tpm), true),
        ] {
            let asked = Asked { protection, ..asked() };
            let wanted = if fits { Ok(Decision::Issue(None)) } else { Err(Denial::NeedsTpm) };
            assert_eq!(decide(&asked, Some(&wants), now()), wanted, "{protection:?}");
        }
        // A token is no computer: what it is bound to is itself.
        let blank = Some(BlankStanding::Registered);
        check(CodeFacts { level, blank, ..facts() }, Ok(Decision::Issue(None)));
    }

    #[test]
    fn token_is_the_vendors_or_vouched_for_by_its_maker() {
        for (blank, attested, wanted) in [
            (BlankStanding::Registered, false, Ok(Decision::Issue(None))),
            (BlankStanding::Unknown, false, Err(Denial::BlankUnknown)),
            (BlankStanding::Unknown, true, Ok(Decision::Issue(None))),
            (BlankStanding::Blocked, true, Err(Denial::BlankBlocked)),
        ] {
            let asked = Asked { attested, ..asked() };
            let facts = CodeFacts { blank: Some(blank), ..facts() };
            assert_eq!(decide(&asked, Some(&facts), now()), wanted, "{blank:?} {attested}");
        }
    }

    #[test]
    fn blocked_server_gets_nothing_and_learns_nothing() {
        let holder_blocked = true;
        check(CodeFacts { holder_blocked, ..facts() }, Err(Denial::HolderBlocked));
        let facts = CodeFacts { holder_blocked, own: own(), revoked: true, ..facts() };
        check(facts, Err(Denial::HolderBlocked));
    }

    #[test]
    fn spare_code_is_worth_something_while_its_activation_goes_on_and_moves_are_left() {
        let spare = |living, next| {
            let moves = moves::Moves { made: 4, next };
            CodeFacts { spare: Some(Spare { living, moves }), ..facts() }
        };
        check(spare(true, None), Ok(Decision::Issue(None)));
        check(spare(false, None), Err(Denial::Returned));
        check(spare(true, Some(now())), Err(Denial::MoveLimit(now())));
    }
}
