//! Tests of the seal: who opens it, who does not, and what a damaged file does.

use proptest::prelude::*;

use super::*;
use crate::binding::BindingLevel;

const SEED: [u8; KEY_BYTES] = [0x5e; KEY_BYTES];

fn at() -> Utc {
    Utc::from_unix_millis(1_800_000_000_000)
}

/// Bytes that look random and are the same in each run.
fn random(of: u8) -> [u8; RANDOM_BYTES] {
    let mut bytes = [0; RANDOM_BYTES];
    for (index, block) in bytes.chunks_mut(32).enumerate() {
        block.copy_from_slice(&seal::sha256(&[of, u8::try_from(index).unwrap()]));
    }
    bytes
}

/// Parts of a computer, one of each kind first, then more disks and cards.
fn parts(count: usize, of: &str) -> Vec<Part> {
    const KINDS: [PartKind; 8] = [
        PartKind::System,
        PartKind::MachineId,
        PartKind::Disk,
        PartKind::NetworkCard,
        PartKind::Cpu,
        PartKind::Board,
        PartKind::FileSystem,
        PartKind::Chassis,
    ];
    let kind = |index: usize| match KINDS.get(index) {
        Some(kind) => *kind,
        None if index.is_multiple_of(2) => PartKind::Disk,
        None => PartKind::NetworkCard,
    };
    (0..count).map(|index| Part::new(kind(index), &format!("{of} part {index}"))).collect()
}

fn sealed(parts: &[Part]) -> SealedIdentity {
    SealedIdentity::to_parts(&SEED, parts, &random(1), at()).unwrap()
}

#[test]
fn exactly_those_computers_open_it_of_which_enough_parts_match() {
    // Every subset of parts that are still there, the others being replaced by other ones.
    for count in 1..=11 {
        let (own, others) = (parts(count, "own"), parts(count, "other"));
        let sealed = sealed(&own);
        for subset in 0_u32..1 << count {
            let is_kept = |index: &usize| subset >> index & 1 == 1;
            let now: Vec<_> = (0..count)
                .map(|index| if is_kept(&index) { &own[index] } else { &others[index] })
                .cloned()
                .collect();
            let kept = usize::try_from(subset.count_ones()).unwrap();
            let opened = sealed.open_with_parts(&now);
            assert_eq!(opened.is_some(), kept >= opening_min(count), "{count} {subset:b}");
            let Some(opened) = opened else { continue };
            assert_eq!(*opened.seed, SEED);
            let states = opened.comparer.unwrap().compare(&now);
            let expected: Vec<_> = (0..count).map(|index| is_kept(&index)).collect();
            let found: Vec<_> = states.iter().map(|part| part.matches).collect();
            assert_eq!(found, expected, "{count} {subset:b}");
        }
    }
}

#[test]
fn computers_bought_together_share_the_processor_and_do_not_open_each_other() {
    for count in 2..=PARTS_MAX {
        let cpu = Part::new(PartKind::Cpu, "model name=AMD EPYC");
        let of = |name: &str| {
            let mut parts = parts(count, name);
            parts.retain(|part| part.kind != PartKind::Cpu);
            parts.insert(0, cpu.clone());
            parts
        };
        let sealed = sealed(&of("one"));
        assert!(sealed.open_with_parts(&of("one")).is_some(), "{count}");
        assert!(sealed.open_with_parts(&of("two")).is_none(), "{count}");
    }
}

#[test]
fn processor_alone_and_a_second_processor_are_nothing_to_seal_to() {
    let cpu = |model: &str| Part::new(PartKind::Cpu, model);
    for parts in [vec![], vec![cpu("a")], vec![cpu("a"), cpu("b")]] {
        let refused = SealedIdentity::to_parts(&SEED, &parts, &random(1), at());
        assert_eq!(refused.unwrap_err(), SealError::NoParts, "{parts:?}");
    }
    let disk = Part::new(PartKind::Disk, "wwn-1");
    let sealed = sealed(&[cpu("a"), disk.clone(), cpu("b"), disk]);
    assert_eq!(sealed.resemblance(&[]).len(), 2);
}

#[test]
fn order_spelling_and_further_parts_do_not_matter() {
    let own = [
        Part::new(PartKind::Disk, "WWN-5000 A"),
        Part::new(PartKind::Disk, "wwn-5001"),
        Part::new(PartKind::NetworkCard, "52:54:00:AA:bb:01"),
        Part::new(PartKind::MachineId, "3d1219c7c4c5404aaa1f6d2a48adfda4"),
    ];
    let sealed = sealed(&own);
    let now = [
        Part::new(PartKind::NetworkCard, "52:54:00:aa:bb:09"),
        Part::new(PartKind::NetworkCard, "52:54:00:aa:BB:01\n"),
        Part::new(PartKind::Disk, "wwn-5001"),
        Part::new(PartKind::Disk, "wwn-7777"),
        Part::new(PartKind::Disk, "wwn-5000   a "),
    ];
    let opened = sealed.open_with_parts(&now).unwrap();
    let found = opened.comparer.unwrap().compare(&now);
    let matching: Vec<_> = found.iter().map(|part| (part.kind, part.matches)).collect();
    let expected = [
        (PartKind::Disk, true),
        (PartKind::Disk, true),
        (PartKind::NetworkCard, true),
        (PartKind::MachineId, false),
    ];
    assert_eq!(matching, expected);
    // The value of a part is no value of another kind.
    let moved: Vec<_> =
        now.iter().map(|part| Part { kind: PartKind::Board, ..part.clone() }).collect();
    assert!(sealed.open_with_parts(&moved).is_none());
}

#[test]
fn values_that_share_a_hint_do_not_keep_it_shut() {
    // Forty other disks: with eight bits some of them have the hint of a disk of the seal.
    let own = parts(PARTS_MAX, "own");
    let sealed = sealed(&own);
    let disks = (0..40).map(|index| Part::new(PartKind::Disk, &format!("stranger {index}")));
    let kept = own.iter().rev().take(sealed.opening_min()).cloned();
    let now: Vec<_> = disks.chain(kept).collect();
    assert_eq!(*sealed.open_with_parts(&now).unwrap().seed, SEED);
}

#[test]
fn longest_search_comes_to_its_end() {
    // Every hint right and every share wrong: all choices of six of sixteen are tried.
    let own = parts(PARTS_MAX, "own");
    let mut sealed = sealed(&own);
    let Lock::Parts(parts) = &mut sealed.lock else { panic!("not sealed to parts") };
    for part in parts {
        part.share[0] ^= 1;
    }
    assert!(sealed.open_with_parts(&own).is_none());
    assert!(sealed.resemblance(&own).iter().all(|part| part.matches));
}

#[test]
fn every_level_that_counts_parts_asks_for_at_least_what_opens() {
    for count in 4..=PARTS_MAX {
        let opens = sealed(&parts(count, "own")).opening_min();
        assert!(opens <= BindingLevel::Loose.matching_min(count), "{count}");
    }
}

#[test]
fn secret_opens_what_it_sealed_and_another_one_does_not() {
    let secret = [0x21; SECRET_BYTES_MIN];
    let sealed = SealedIdentity::to_secret(&SEED, &secret, &random(2), at()).unwrap();
    assert_eq!(*sealed.open_with_secret(&secret).unwrap().seed, SEED);
    for other in [&[0x22; SECRET_BYTES_MIN][..], &[0x21; SECRET_BYTES_MIN + 1], &[]] {
        assert!(sealed.open_with_secret(other).is_none());
    }
    assert!(sealed.open_with_parts(&parts(7, "own")).is_none());
    assert!(sealed.open_with_tpm_key(&[0x21; 32]).is_none());
    for len in [0, SECRET_BYTES_MIN - 1, SECRET_BYTES_MAX + 1] {
        let refused = SealedIdentity::to_secret(&SEED, &vec![1; len], &random(2), at());
        assert_eq!(refused.unwrap_err(), SealError::Secret(len));
    }
}

#[test]
fn key_of_a_tpm_opens_what_it_sealed() {
    let blobs = TpmBlobs { public: vec![1; 60], private: vec![2; 150] };
    let sealed = SealedIdentity::to_tpm(&SEED, &[3; 32], blobs.clone(), &random(3), at()).unwrap();
    assert_eq!(sealed.tpm_blobs(), Some(&blobs));
    assert_eq!(*sealed.open_with_tpm_key(&[3; 32]).unwrap().seed, SEED);
    assert!(sealed.open_with_tpm_key(&[4; 32]).is_none());
    let long = TpmBlobs { public: vec![1; TPM_BLOB_BYTES_MAX + 1], private: vec![2] };
    let refused = SealedIdentity::to_tpm(&SEED, &[3; 32], long, &random(3), at());
    assert_eq!(refused.unwrap_err(), SealError::Blob(TPM_BLOB_BYTES_MAX + 1));
}

#[test]
fn file_is_read_as_it_was_written_and_shows_neither_seed_nor_parts() {
    let blobs = TpmBlobs { public: vec![1; 60], private: vec![2; 150] };
    let own = parts(7, "own");
    for sealed in [
        sealed(&own),
        SealedIdentity::to_secret(&SEED, &[9; 32], &random(2), at()).unwrap(),
        SealedIdentity::to_tpm(&SEED, &[3; 32], blobs, &random(3), at()).unwrap(),
    ] {
        let text = sealed.to_json();
        assert!(text.len() < FILE_BYTES_MAX);
        assert_eq!(SealedIdentity::from_json(&text).unwrap(), sealed);
        assert_eq!(sealed.sealed_at(), at());
        assert_eq!(sealed.identity(), SigningKey::from_seed(&SEED).public());
        assert!(!text.contains("own part"));
        assert!(!text.contains("Xl5eXl5e"), "the seed in base64");
    }
    let debugged = format!("{:?}{:?}", own, sealed(&own).open_with_parts(&own));
    assert!(!debugged.contains("own part") && !debugged.contains("94, 94"), "{debugged}");
}

#[test]
fn words_that_are_bound_are_those_of_the_file() {
    for part in parts(8, "own") {
        assert_eq!(serde_json::to_string(&part.kind).unwrap(), format!("\"{}\"", word(part.kind)));
    }
    for protection in [Protection::Parts, Protection::Secret, Protection::Tpm] {
        let text = serde_json::to_string(&protection).unwrap();
        assert_eq!(text, format!("\"{}\"", protection.name()));
    }
}

#[test]
fn two_seals_of_one_seed_to_one_computer_have_nothing_in_common() {
    let own = parts(7, "own");
    let [one, two] =
        [4, 5].map(|of| SealedIdentity::to_parts(&SEED, &own, &random(of), at()).unwrap());
    assert_ne!(one.sealed, two.sealed);
    // A share of the one is none of the other.
    let (Lock::Parts(of_one), mut mixed) = (one.lock, two) else { panic!("not sealed to parts") };
    mixed.lock = Lock::Parts(of_one);
    assert!(mixed.open_with_parts(&own).is_none());
}

#[test]
fn file_that_is_none_is_refused_with_its_reason() {
    let good = sealed(&parts(3, "own")).to_json();
    let check = |text: &str, expected: SealError| {
        assert_eq!(SealedIdentity::from_json(text).unwrap_err(), expected, "{text}");
    };
    check("", SealError::Malformed("no member Format"));
    check("{}", SealError::Malformed("no member Format"));
    check(&" ".repeat(FILE_BYTES_MAX + 1), SealError::Malformed("it is too long"));
    let changed = |from: &str, to: &str| good.replacen(from, to, 1);
    check(&changed("\"Format\": 1", "\"Format\": 2"), SealError::Newer { found: 2, known: 1 });
    let member = SealError::Malformed("a member is missing, unknown or of another kind");
    check(&changed("\"Salt\"", "\"Salts\""), member);
    check(&changed("system", "moon"), member);
    let pairing = SealError::Malformed("Parts and Tpm do not go with Protection");
    check(&changed("\"parts\"", "\"secret\""), pairing);
    check(&changed("\"parts\"", "\"tpm\""), pairing);
    check(&changed("\"Identity\": \"", "\"Identity\": \"AA"), SealError::Malformed("Identity"));
    check(&changed("\"Share\": \"", "\"Share\": \"!"), SealError::Malformed("Share"));
}

proptest! {
    #[test]
    fn damaged_file_is_refused_or_stays_shut_or_gives_the_right_seed(
        index in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let own = parts(7, "own");
        let mut bytes = sealed(&own).to_json().into_bytes();
        let at = index.index(bytes.len());
        bytes[at] = byte;
        if let Ok(text) = std::str::from_utf8(&bytes)
            && let Ok(read) = SealedIdentity::from_json(text)
            && let Some(opened) = read.open_with_parts(&own)
        {
            prop_assert_eq!(*opened.seed, SEED);
        }
    }

    #[test]
    fn damaged_shares_count_as_changed_parts(damaged in 0_usize..=7) {
        let own = parts(7, "own");
        let mut sealed = sealed(&own);
        let needed = sealed.opening_min();
        let Lock::Parts(parts) = &mut sealed.lock else { panic!("not sealed to parts") };
        // Each in another byte: the same damage to two shares may cancel itself.
        for (index, part) in parts.iter_mut().enumerate().take(damaged) {
            part.share[index] ^= 0x80;
        }
        let opened = sealed.open_with_parts(&own);
        prop_assert_eq!(opened.is_some(), 7 - damaged >= needed);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,400}") {
        let _refused = SealedIdentity::from_json(&text);
    }
}
