use proptest::prelude::*;

use super::*;
use crate::apdu::{Exchange, Via};
use crate::piv::management::Algorithm;
use crate::soft_card::SoftCard;

const DOCUMENT: &str = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiI2NzJCIn0.c2lnbmF0dXJl";

fn place() -> Place {
    Place { via: Via::Usb, id: "1".to_owned(), name: "Token".to_owned() }
}

fn read_card(card: &mut SoftCard) -> Result<TokenInfo, TokenError> {
    read(&mut Piv::select(card)?, &place())
}

fn prepare_card(card: &mut SoftCard) -> Result<TokenKey, TokenError> {
    let management = card.management.clone();
    prepare(&mut Piv::select(card)?, &management)
}

fn store_card(card: &mut SoftCard, document: &str) -> Result<(), TokenError> {
    let management = card.management.clone();
    store(&mut Piv::select(card)?, document, &management)
}

fn cards() -> [SoftCard; 4] {
    let mut cards = [SoftCard::new(1), SoftCard::silent(2), SoftCard::new(3), SoftCard::silent(4)];
    cards[2].algorithm = Algorithm::Aes192;
    cards[3].algorithm = Algorithm::Aes192;
    cards
}

#[test]
fn token_is_prepared_takes_a_licence_and_gives_it_back() {
    for mut card in cards() {
        let unprepared = read_card(&mut card).unwrap();
        assert_eq!((unprepared.key, unprepared.is_blank()), (None, false));
        assert_eq!(store_card(&mut card, DOCUMENT), Err(TokenError::NoKey));

        let key = prepare_card(&mut card).unwrap();
        assert_eq!(key, card.public());
        let info = read_card(&mut card).unwrap();
        assert_eq!((info.key, info.is_blank(), info.has_document()), (Some(key), true, false));

        for bytes in [1, 1500, 1632, 1633, 1634, 3000, DOCUMENT_BYTES_MAX] {
            let document = "x".repeat(bytes);
            store_card(&mut card, &document).unwrap();
            let info = read_card(&mut card).unwrap();
            assert_eq!((info.key, info.is_blank()), (Some(key), false));
            assert_eq!(info.document, Document::Present(document));
        }
        store_card(&mut card, "").unwrap();
        assert!(read_card(&mut card).unwrap().is_blank());
    }
}

#[test]
fn document_that_is_there_is_not_written_again() {
    let mut card = SoftCard::new(1);
    prepare_card(&mut card).unwrap();
    store_card(&mut card, DOCUMENT).unwrap();
    let writes = card.writes;
    store_card(&mut card, DOCUMENT).unwrap();
    assert_eq!(card.writes, writes);
}

#[test]
fn key_that_is_there_is_never_written_over() {
    for mut card in cards() {
        let key = prepare_card(&mut card).unwrap();
        assert_eq!(prepare_card(&mut card), Err(TokenError::KeyPresent));
        assert_eq!(card.public(), key);
        // Nor one of somebody else, that a certificate names.
        card.objects.clear();
        card.objects.insert(vec![0x5F, 0xC1, 0x01], vec![0x70, 1, 0]);
        assert_eq!(prepare_card(&mut card), Err(TokenError::KeyPresent));
        assert_eq!(card.public(), key);
    }
}

#[test]
fn only_a_key_that_nobody_can_know_gives_way() {
    let other = || p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
    // A key that the token tells may be in use, whatever else lies on it.
    let mut card = SoftCard::new(1);
    card.key = Some(other());
    assert_eq!(prepare_card(&mut card), Err(TokenError::KeyPresent));
    // Firmwares that make a key for themselves tell it to nobody.
    let mut card = SoftCard::silent(1);
    card.key = Some(other());
    let unprepared = read_card(&mut card).unwrap();
    assert_eq!((unprepared.key, unprepared.is_blank()), (None, false));
    let key = prepare_card(&mut card).unwrap();
    assert_eq!(read_card(&mut card).unwrap().key, Some(key));
    assert_eq!(prepare_card(&mut card), Err(TokenError::KeyPresent));
}

#[test]
fn objects_of_somebody_else_stay() {
    for name in [[0x5F, 0xC1, 0x20], [0x5F, 0xC1, 0x1F]] {
        let mut card = SoftCard::new(1);
        card.objects.insert(name.to_vec(), vec![0x70, 1, 0]);
        assert_eq!(prepare_card(&mut card), Err(TokenError::Occupied));
        assert_eq!((card.writes, card.key.is_some()), (0, false));
        let mut card = SoftCard::new(1);
        prepare_card(&mut card).unwrap();
        card.objects.insert(name.to_vec(), vec![0x70, 1, 0]);
        assert_eq!(store_card(&mut card, DOCUMENT), Err(TokenError::Occupied));
        assert_eq!(card.objects[&name.to_vec()], [0x70, 1, 0]);
    }
}

#[test]
fn management_key_that_is_not_the_tokens_changes_nothing() {
    for mut card in cards() {
        let wrong = ManagementKey::from_hex(&"ab".repeat(24)).unwrap();
        let short = ManagementKey::from_hex(&"ab".repeat(16)).unwrap();
        for key in [wrong, short] {
            let result = prepare(&mut Piv::select(&mut card).unwrap(), &key);
            assert_eq!(result, Err(TokenError::ManagementKey));
            assert!(card.key.is_none());
        }
    }
}

#[test]
fn document_that_does_not_fit_is_refused_before_anything_is_written() {
    let mut card = SoftCard::new(1);
    prepare_card(&mut card).unwrap();
    let writes = card.writes;
    let document = "x".repeat(DOCUMENT_BYTES_MAX + 1);
    let wanted =
        TokenError::TooLarge { bytes: DOCUMENT_BYTES_MAX + 1, bytes_max: DOCUMENT_BYTES_MAX };
    assert_eq!(store_card(&mut card, &document), Err(wanted));
    assert_eq!(card.writes, writes);
}

#[test]
fn token_pulled_between_two_writes_has_the_old_document_or_a_damaged_one() {
    let (old, new) = ("o".repeat(3000), "n".repeat(3000));
    for written in 0..=2 {
        let mut card = SoftCard::silent(1);
        let key = prepare_card(&mut card).unwrap();
        store_card(&mut card, &old).unwrap();
        card.writes_left = card.writes + written;
        let result = store_card(&mut card, &new);
        card.writes_left = usize::MAX;
        let info = read_card(&mut card).unwrap();
        assert_eq!(info.key, Some(key));
        let (wanted, document) = match written {
            0 => (Err(TokenError::Gone), Document::Present(old.clone())),
            1 => (Err(TokenError::Gone), Document::Damaged),
            _ => (Ok(()), Document::Present(new.clone())),
        };
        assert_eq!((result, info.document), (wanted, document), "{written}");
        // Whatever was left, the next attempt heals it.
        store_card(&mut card, &new).unwrap();
        assert_eq!(read_card(&mut card).unwrap().document, Document::Present(new.clone()));
    }
}

#[test]
fn proof_of_another_token_is_not_given_on() {
    let mut first = SoftCard::new(1);
    let mut second = SoftCard::new(2);
    let key = prepare_card(&mut first).unwrap();
    prepare_card(&mut second).unwrap();
    let mut piv = Piv::select(&mut second).unwrap();
    assert_eq!(prove(&mut piv, &key, b"message"), Err(TokenError::Foreign));
    // A record copied from one token to another shows a key that does not sign there.
    let mut copy = SoftCard::silent(3);
    prepare_card(&mut copy).unwrap();
    copy.objects = first.objects.clone();
    assert_eq!(read_card(&mut copy).err(), Some(TokenError::Foreign));
}

#[test]
fn document_of_a_key_that_was_replaced_does_not_count() {
    let mut card = SoftCard::new(1);
    prepare_card(&mut card).unwrap();
    store_card(&mut card, DOCUMENT).unwrap();
    card.key = Some(p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap());
    let info = read_card(&mut card).unwrap();
    assert_eq!((info.key, info.is_blank()), (Some(card.public()), true));
    store_card(&mut card, DOCUMENT).unwrap();
    assert!(read_card(&mut card).unwrap().has_document());
}

#[test]
fn every_changed_byte_of_the_record_is_noticed() {
    let mut card = SoftCard::silent(1);
    let key = prepare_card(&mut card).unwrap();
    store_card(&mut card, DOCUMENT).unwrap();
    let name = vec![0x5F, 0xC1, 0x20];
    let whole = card.objects[&name].clone();
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        let found = match First::parse(&changed) {
            record::Parsed::Whole(first) => {
                assert_eq!(first.key, key, "byte {at}");
                first.document(None)
            }
            record::Parsed::Absent | record::Parsed::Foreign | record::Parsed::Torn => None,
        };
        assert_eq!(found, None, "byte {at}");
        assert!(!matches!(First::parse(&whole[..at]), record::Parsed::Whole(_)), "{at} bytes");
    }
}

/// A token that answers with what it is given, then with the last of it for ever.
struct Scripted {
    answers: Vec<Vec<u8>>,
    asked: usize,
}

impl Exchange for Scripted {
    fn exchange(&mut self, _command: &[u8]) -> Result<Vec<u8>, TokenError> {
        let answer = self.answers.get(self.asked).or_else(|| self.answers.last());
        self.asked += 1;
        assert!(self.asked < 2000, "a conversation without an end");
        Ok(answer.cloned().unwrap_or_default())
    }
}

proptest! {
    #[test]
    fn token_of_garbage_does_no_harm(
        answers in proptest::collection::vec(
            prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..40),
                proptest::collection::vec(any::<u8>(), 0..40).prop_map(|it| [&it[..], &[0x90, 0]].concat()),
                Just(vec![0x90, 0]),
                Just(vec![0x61, 0x10]),
            ],
            1..12,
        ),
    ) {
        let mut card = Scripted { answers, asked: 0 };
        if let Ok(mut piv) = Piv::select(&mut card) {
            let _ = read(&mut piv, &place());
            let _ = prepare(&mut piv, &ManagementKey::factory());
            let _ = store(&mut piv, DOCUMENT, &ManagementKey::factory());
            let _ = piv.attestation();
            let _ = piv.guid();
        }
    }

    #[test]
    fn any_object_is_parsed_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = First::parse(&bytes);
        let ours = [&b"LTK1"[..], &bytes].concat();
        prop_assert!(!matches!(First::parse(&ours), record::Parsed::Foreign));
    }
}
