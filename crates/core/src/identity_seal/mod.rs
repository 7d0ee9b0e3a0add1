//! The identity of a server, sealed to its computer: the file `identity.seal` and how it opens.
//!
//! A key drawn for the seal alone encrypts the seed of the identity. That key comes from any
//! [`opening_min`] of the computer's parts, from a mounted secret, or from a TPM. Parts go in as
//! values, randomness as bytes: what the parts are and where they are read is not decided here, nor
//! what a server does when its seal stays shut.
//!
//! How parts open it: the key is shared (Shamir, [`opening_min`] of n), and each share is added to
//! bytes that are derived from the value of its part. A share has no tag of its own, so nobody can
//! try values of one part alone: only `opening_min` right ones together show that they were right.
//! A hint of eight bits beside each share says which value of a kind may belong to it (two network
//! cards, three disks); it spares tries and tells an attacker next to nothing.

mod document;
mod sharing;

use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use self::document::Document;
pub use self::document::FILE_BYTES_MAX;
use self::sharing::{SHARE_BYTES, Share};
use crate::binding::{PartKind, PartState, opening_min};
use crate::seal::{self, KEY_BYTES, PublicKey, SigningKey};
use crate::time::Utc;

/// Most parts that a key is sealed to. With 16 parts six open it, so that at worst 8,008 choices of
/// shares are tried: some milliseconds.
pub const PARTS_MAX: usize = 16;

/// Bytes of randomness that a seal takes: salt, key, and the coefficients of the sharing.
pub const RANDOM_BYTES: usize = SALT_BYTES + KEY_BYTES * (1 + COEFFICIENTS_MAX);

/// Fewest bytes of a mounted secret: as much as the key that it stands for.
pub const SECRET_BYTES_MIN: usize = 32;

/// Most bytes of a mounted secret; what is longer is not a key.
pub const SECRET_BYTES_MAX: usize = 4096;

/// Most bytes of one of the two blobs in which a TPM keeps the key. Those of a key of 32 bytes have
/// some 200; the specification's own limit for a structure is some kilobytes.
pub const TPM_BLOB_BYTES_MAX: usize = 2048;

const SALT_BYTES: usize = 32;
/// The sharing needs one coefficient less than shares.
const COEFFICIENTS_MAX: usize = opening_min(PARTS_MAX) - 1;

/// Values of parts that are looked at; a computer with more disks and cards shows the first ones.
const VALUES_MAX: usize = 64;

/// Choices of shares that are tried: those of 16 parts twice over, for two values with one hint, and
/// a bound for a file that was made to take long.
const TRIES_MAX: usize = 20_000;

/// The key of the seal encrypts one message in its life, so the nonce need not change.
const NONCE: [u8; 12] = [0; 12];

const HINT: &[u8] = b"licence identity seal 1 hint";
const SHARE: &[u8] = b"licence identity seal 1 share";
const SECRET: &[u8] = b"licence identity seal 1 secret";

/// What opens a seal.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protection {
    /// Parts of the computer, k of n.
    Parts,
    /// A secret that is mounted into a container.
    Secret,
    /// The TPM 2.0 of the computer.
    Tpm,
}

/// A part of the computer as it shows itself.
#[derive(Clone, Eq, Ord, PartialEq, PartialOrd)]
pub struct Part {
    /// What it is.
    pub kind: PartKind,
    value: String,
}

impl Part {
    /// A part with this value; white space and case do not count.
    pub fn new(kind: PartKind, value: &str) -> Self {
        let words: Vec<_> = value.split_whitespace().map(str::to_lowercase).collect();
        Self { kind, value: words.join(" ") }
    }
}

/// Its value opens the seal, so it is shown to nobody.
impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Part({:?})", self.kind)
    }
}

/// Why there is no seal.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// A blob of a TPM that is no key of ours.
    #[error("the TPM made a key of {0} bytes, more than can be kept")]
    Blob(usize),
    /// The file is none, or has been changed.
    #[error("not a sealed identity: {0}")]
    Malformed(&'static str),
    /// A later program wrote it.
    #[error("format {found} of the sealed identity is not known (known: {known})")]
    Newer {
        /// The number in the file.
        found: u32,
        /// The number this program writes.
        known: u32,
    },
    /// No part is this computer's alone.
    #[error("the computer shows no part of its own to which a key could be sealed")]
    NoParts,
    /// A mounted secret that is too short or too long.
    #[error("the secret has {0} bytes; it must have {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX}")]
    Secret(usize),
}

/// The key in the keeping of a TPM, as the TPM wrote it: only that TPM can read it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TpmBlobs {
    /// `TPM2B_PUBLIC`, without its size.
    pub public: Vec<u8>,
    /// `TPM2B_PRIVATE`, without its size.
    pub private: Vec<u8>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct SealedPart {
    kind: PartKind,
    hint: u8,
    share: Share,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Lock {
    Parts(Vec<SealedPart>),
    Secret,
    Tpm(TpmBlobs),
}

/// A seed that is sealed: the content of `identity.seal`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SealedIdentity {
    identity: PublicKey,
    lock: Lock,
    salt: [u8; SALT_BYTES],
    sealed: Vec<u8>,
    sealed_at: Utc,
}

/// What came out of a seal.
pub struct Opened {
    /// The seed of the identity.
    pub seed: Zeroizing<[u8; KEY_BYTES]>,
    /// Compares a computer with the parts of the seal; nothing when it is sealed to none.
    pub comparer: Option<Comparer>,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("comparer", &self.comparer).finish_non_exhaustive()
    }
}

/// Tells for each part of a seal whether a computer has it. Knows it for certain, and keeps no seed.
pub struct Comparer {
    salt: [u8; SALT_BYTES],
    /// What the value of each part must give.
    pads: Vec<(PartKind, Zeroizing<Share>)>,
}

impl fmt::Debug for Comparer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.pads.iter().map(|(kind, _)| kind)).finish()
    }
}

impl Protection {
    /// Its name in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Parts => "parts",
            Self::Secret => "secret",
            Self::Tpm => "tpm",
        }
    }
}

impl Comparer {
    /// The parts of the seal in their order, each with whether it is among these.
    pub fn compare(&self, parts: &[Part]) -> Vec<PartState> {
        let state = |(index, (kind, pad)): (usize, &(PartKind, Zeroizing<Share>))| {
            let matches = of_kind(parts, *kind)
                .any(|part| pad_of(&self.salt, part, point_of(index)) == **pad);
            PartState { kind: *kind, matches }
        };
        self.pads.iter().enumerate().map(state).collect()
    }
}

impl SealedIdentity {
    /// Seals a seed to parts of the computer: the first [`PARTS_MAX`], each value once, and one
    /// processor at most, for only that is not the computer's own.
    ///
    /// # Errors
    ///
    /// [`SealError::NoParts`] when there is no part but the processor.
    pub fn to_parts(
        seed: &[u8; KEY_BYTES],
        parts: &[Part],
        random: &[u8; RANDOM_BYTES],
        at: Utc,
    ) -> Result<Self, SealError> {
        let mut chosen: Vec<&Part> = Vec::new();
        for part in parts {
            let is_second_cpu =
                part.kind == PartKind::Cpu && chosen.iter().any(|one| one.kind == PartKind::Cpu);
            if chosen.len() < PARTS_MAX && !chosen.contains(&part) && !is_second_cpu {
                chosen.push(part);
            }
        }
        if chosen.iter().all(|part| part.kind == PartKind::Cpu) {
            return Err(SealError::NoParts);
        }
        let Random { salt, key, coefficients } = Random::split(random);
        let coefficients = &coefficients[..opening_min(chosen.len()) - 1];
        let sealed_part = |(index, part): (usize, &&Part)| {
            let point = point_of(index);
            let mut share = *sharing::share_at(point, &key, coefficients);
            add(&mut share, &pad_of(&salt, part, point));
            SealedPart { kind: part.kind, hint: hint_of(&salt, part), share }
        };
        let lock = Lock::Parts(chosen.iter().enumerate().map(sealed_part).collect());
        Self::new(seed, &key, salt, lock, at)
    }

    /// Seals a seed to a mounted secret.
    ///
    /// # Errors
    ///
    /// [`SealError::Secret`] when it is too short or too long.
    pub fn to_secret(
        seed: &[u8; KEY_BYTES],
        secret: &[u8],
        random: &[u8; RANDOM_BYTES],
        at: Utc,
    ) -> Result<Self, SealError> {
        let salt = Random::split(random).salt;
        let key = secret_key(&salt, secret)?;
        Self::new(seed, &key, salt, Lock::Secret, at)
    }

    /// Seals a seed to a key that a TPM keeps in these blobs. The key is for this seal alone.
    ///
    /// # Errors
    ///
    /// [`SealError::Blob`] for blobs that are no such key.
    pub fn to_tpm(
        seed: &[u8; KEY_BYTES],
        key: &[u8; KEY_BYTES],
        blobs: TpmBlobs,
        random: &[u8; RANDOM_BYTES],
        at: Utc,
    ) -> Result<Self, SealError> {
        for blob in [&blobs.public, &blobs.private] {
            if blob.is_empty() || blob.len() > TPM_BLOB_BYTES_MAX {
                return Err(SealError::Blob(blob.len()));
            }
        }
        Self::new(seed, key, Random::split(random).salt, Lock::Tpm(blobs), at)
    }

    fn new(
        seed: &[u8; KEY_BYTES],
        key: &[u8; KEY_BYTES],
        salt: [u8; SALT_BYTES],
        lock: Lock,
        sealed_at: Utc,
    ) -> Result<Self, SealError> {
        let identity = SigningKey::from_seed(seed).public();
        let mut made = Self { identity, lock, salt, sealed: Vec::new(), sealed_at };
        made.sealed = seal::aead_seal(key, NONCE, &made.context(), seed)
            .ok_or(SealError::Malformed("the seed cannot be encrypted"))?;
        Ok(made)
    }

    /// Reads the text of `identity.seal`.
    ///
    /// # Errors
    ///
    /// [`SealError::Malformed`], [`SealError::Newer`].
    pub fn from_json(text: &str) -> Result<Self, SealError> {
        Document::read(text)
    }

    /// The text of `identity.seal`.
    pub fn to_json(&self) -> String {
        Document::text(self)
    }

    /// Whose seed it is.
    pub const fn identity(&self) -> PublicKey {
        self.identity
    }

    /// What opens it.
    pub const fn protection(&self) -> Protection {
        match self.lock {
            Lock::Parts(_) => Protection::Parts,
            Lock::Secret => Protection::Secret,
            Lock::Tpm(_) => Protection::Tpm,
        }
    }

    /// When it was sealed.
    pub const fn sealed_at(&self) -> Utc {
        self.sealed_at
    }

    /// The key in the keeping of the TPM.
    pub const fn tpm_blobs(&self) -> Option<&TpmBlobs> {
        match &self.lock {
            Lock::Tpm(blobs) => Some(blobs),
            Lock::Parts(_) | Lock::Secret => None,
        }
    }

    /// How many parts must match for it to open; 0 when it is sealed to none.
    pub fn opening_min(&self) -> usize {
        opening_min(self.parts().len())
    }

    fn parts(&self) -> &[SealedPart] {
        match &self.lock {
            Lock::Parts(parts) => parts,
            Lock::Secret | Lock::Tpm(_) => &[],
        }
    }

    /// What the encrypted seed is bound to. Shares and hints are not in it: a damaged one must not
    /// keep the others from opening the seal.
    fn context(&self) -> Vec<u8> {
        let kinds: Vec<_> = self.parts().iter().map(|part| word(part.kind)).collect();
        let head = format!(
            "licence identity seal 1\n{}\n{}\n{}\n",
            self.protection().name(),
            self.sealed_at,
            kinds.join(",")
        );
        [head.as_bytes(), &self.salt, self.identity.as_bytes()].concat()
    }

    /// Opens it with the parts of a computer; nothing when too few of them match.
    pub fn open_with_parts(&self, parts: &[Part]) -> Option<Opened> {
        let sealed = self.parts();
        let wanted = self.opening_min();
        let mut shares: Vec<(u8, Zeroizing<Share>)> = Vec::new();
        for (index, (one, part)) in self.resembling(parts) {
            let mut share = Zeroizing::new(one.share);
            add(&mut share, &pad_of(&self.salt, part, point_of(index)));
            shares.push((point_of(index), share));
        }
        if sealed.is_empty() || shares.len() < wanted {
            return None;
        }
        let mut choice: Vec<usize> = (0..wanted).collect();
        for _ in 0..TRIES_MAX {
            let chosen: Vec<_> =
                choice.iter().map(|index| (shares[*index].0, &*shares[*index].1)).collect();
            // Two values of one kind may have the hint of one share: they are not used together.
            if chosen.windows(2).all(|pair| pair[0].0 != pair[1].0)
                && let Some(seed) = self.decrypt(&sharing::through(&chosen, 0))
            {
                let comparer = Some(self.comparer(&chosen));
                return Some(Opened { seed, comparer });
            }
            if !next_choice(&mut choice, shares.len()) {
                break;
            }
        }
        None
    }

    /// Opens it with the mounted secret; nothing when it is another one.
    pub fn open_with_secret(&self, secret: &[u8]) -> Option<Opened> {
        if self.lock != Lock::Secret {
            return None;
        }
        let key = secret_key(&self.salt, secret).ok()?;
        Some(Opened { seed: self.decrypt(&key)?, comparer: None })
    }

    /// Opens it with the key that the TPM gave back; nothing when it is another one.
    pub fn open_with_tpm_key(&self, key: &[u8; KEY_BYTES]) -> Option<Opened> {
        self.tpm_blobs()?;
        Some(Opened { seed: self.decrypt(key)?, comparer: None })
    }

    /// The parts of the seal, each with whether the computer seems to have it: for a seal that
    /// does not open. One value in 256 is taken for the right one by mistake.
    pub fn resemblance(&self, parts: &[Part]) -> Vec<PartState> {
        let seems = |one: &SealedPart| {
            of_kind(parts, one.kind).any(|part| hint_of(&self.salt, part) == one.hint)
        };
        let state = |one: &SealedPart| PartState { kind: one.kind, matches: seems(one) };
        self.parts().iter().map(state).collect()
    }

    /// Each part of the seal with the values that may belong to it, in the order of the seal.
    fn resembling<'a>(
        &'a self,
        parts: &'a [Part],
    ) -> impl Iterator<Item = (usize, (&'a SealedPart, &'a Part))> {
        self.parts().iter().enumerate().flat_map(move |(index, one)| {
            of_kind(parts, one.kind)
                .filter(|part| hint_of(&self.salt, part) == one.hint)
                .map(move |part| (index, (one, part)))
        })
    }

    fn decrypt(&self, key: &[u8; KEY_BYTES]) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
        let plain = seal::aead_open(key, NONCE, &self.context(), &self.sealed)?;
        let plain = Zeroizing::new(plain);
        let seed = Zeroizing::new(<[u8; KEY_BYTES]>::try_from(plain.as_slice()).ok()?);
        (SigningKey::from_seed(&seed).public() == self.identity).then_some(seed)
    }

    /// With the right shares the whole polynomial is known, and so what every part must give.
    fn comparer(&self, right: &[(u8, &Share)]) -> Comparer {
        let pad = |(index, one): (usize, &SealedPart)| {
            let mut pad = sharing::through(right, point_of(index));
            add(&mut pad, &one.share);
            (one.kind, pad)
        };
        Comparer { salt: self.salt, pads: self.parts().iter().enumerate().map(pad).collect() }
    }
}

struct Random {
    salt: [u8; SALT_BYTES],
    key: Zeroizing<[u8; KEY_BYTES]>,
    coefficients: Zeroizing<[Share; COEFFICIENTS_MAX]>,
}

impl Random {
    fn split(bytes: &[u8; RANDOM_BYTES]) -> Self {
        let mut blocks = bytes.chunks_exact(SHARE_BYTES);
        let mut next = || {
            let mut block = [0; SHARE_BYTES];
            block.copy_from_slice(blocks.next().unwrap_or(&[0; SHARE_BYTES]));
            block
        };
        let (salt, key) = (next(), Zeroizing::new(next()));
        Self { salt, key, coefficients: Zeroizing::new(std::array::from_fn(|_| next())) }
    }
}

/// The kind in what is derived and bound: as it stands in the file, and for good.
const fn word(kind: PartKind) -> &'static str {
    match kind {
        PartKind::Board => "board",
        PartKind::Chassis => "chassis",
        PartKind::Cpu => "cpu",
        PartKind::Disk => "disk",
        PartKind::FileSystem => "file-system",
        PartKind::MachineId => "machine-id",
        PartKind::NetworkCard => "network-card",
        PartKind::System => "system",
    }
}

/// The point of a share: 1, 2, 3 …; the secret is at 0.
fn point_of(index: usize) -> u8 {
    u8::try_from(index + 1).unwrap_or(u8::MAX)
}

fn of_kind(parts: &[Part], kind: PartKind) -> impl Iterator<Item = &Part> {
    parts.iter().take(VALUES_MAX).filter(move |part| part.kind == kind)
}

fn derived(salt: &[u8], part: &Part, purpose: &[u8]) -> [u8; 32] {
    let named = Zeroizing::new(format!("{}={}", word(part.kind), part.value));
    seal::derive_salted(salt, named.as_bytes(), purpose)
}

fn hint_of(salt: &[u8], part: &Part) -> u8 {
    derived(salt, part, HINT)[0]
}

fn pad_of(salt: &[u8], part: &Part, point: u8) -> Share {
    derived(salt, part, &[SHARE, &[point]].concat())
}

fn secret_key(salt: &[u8], secret: &[u8]) -> Result<Zeroizing<[u8; KEY_BYTES]>, SealError> {
    if !(SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&secret.len()) {
        return Err(SealError::Secret(secret.len()));
    }
    Ok(Zeroizing::new(seal::derive_salted(salt, secret, SECRET)))
}

fn add(to: &mut Share, other: &Share) {
    for (byte, add) in to.iter_mut().zip(other) {
        *byte ^= add;
    }
}

/// The next choice of as many out of `count`, in order; false after the last one.
fn next_choice(choice: &mut [usize], count: usize) -> bool {
    let len = choice.len();
    let Some(turn) = (0..len).rev().find(|at| choice[*at] < count - len + at) else { return false };
    choice[turn] += 1;
    for at in turn + 1..len {
        choice[at] = choice[at - 1] + 1;
    }
    true
}

#[cfg(test)]
mod tests;
