use super::*;
use crate::soft_card::{SoftCard, SoftPort};

const YUBIKEY: &str = "001-004/1050:0407/";

fn blank(seed: u8) -> (SoftCard, TokenKey) {
    let mut card = SoftCard::new(seed);
    let mut piv = Piv::select(&mut card).unwrap();
    let key = licence::prepare(&mut piv, &ManagementKey::factory()).unwrap();
    (card, key)
}

fn tokens(list: &str, usb: SoftPort, readers: SoftPort) -> Tokens {
    let list = TokenList::with_extra(list).unwrap();
    Tokens::over(list, Some(Arc::new(usb)), Arc::new(readers))
}

fn ids(tokens: &Tokens) -> Vec<String> {
    tokens.places().unwrap().into_iter().map(|place| place.id).collect()
}

#[test]
fn token_that_the_service_holds_is_reached_through_it() {
    let (card, key) = blank(1);
    let (other, _) = blank(2);
    let held =
        |cards| SoftPort { refusal: Some(TokenError::Busy), ..SoftPort::with(Via::Usb, cards) };
    let usb = held(vec![(YUBIKEY, SoftCard::new(9))]);
    let readers = SoftPort::with(
        Via::Pcsc,
        vec![("Aktiv Rutoken ECP 00 00", other), ("Yubico YubiKey OTP+FIDO+CCID 00 00", card)],
    );
    let tokens = tokens("", usb, readers);
    assert_eq!(ids(&tokens), [YUBIKEY]);
    let place = &tokens.places().unwrap()[0];
    assert_eq!(tokens.read(place).unwrap().key, Some(key));
    let signature = tokens.prove(place, &key, b"message").unwrap();
    assert!(key.verifies(b"message", &signature));
}

#[test]
fn token_that_somebody_else_holds_is_busy() {
    let usb = SoftPort {
        refusal: Some(TokenError::Busy),
        ..SoftPort::with(Via::Usb, vec![(YUBIKEY, SoftCard::new(1))])
    };
    let readers = SoftPort::with(Via::Pcsc, vec![("Aktiv Rutoken ECP 00 00", SoftCard::new(2))]);
    let tokens = tokens("", usb, readers);
    let place = &tokens.places().unwrap()[0];
    assert_eq!(tokens.read(place).err(), Some(TokenError::Busy));
}

#[test]
fn two_tokens_of_a_kind_are_told_apart_by_their_address_or_serial() {
    let (first, first_key) = blank(1);
    let (second, second_key) = blank(2);
    let devices = vec![
        ("001-004/1050:0407/", SoftCard::new(9)),
        ("001-005/1050:0407/", SoftCard::new(9)),
        ("002-001/08E6:4433/1-0000", SoftCard::new(9)),
    ];
    let (third, third_key) = blank(3);
    let usb = SoftPort { refusal: Some(TokenError::Busy), ..SoftPort::with(Via::Usb, devices) };
    let mut readers = SoftPort::with(
        Via::Pcsc,
        vec![
            ("Yubico YubiKey CCID 00 00", second),
            ("Yubico YubiKey CCID 01 00", first),
            ("Gemalto GemPC (1-0000) 02 00", third),
        ],
    );
    readers.addresses.insert("Yubico YubiKey CCID 00 00".to_owned(), (1, 5));
    readers.addresses.insert("Yubico YubiKey CCID 01 00".to_owned(), (1, 4));
    let tokens = tokens("08E6:4433", usb, readers);
    let keys: Vec<_> = tokens
        .places()
        .unwrap()
        .iter()
        .map(|place| tokens.read(place).unwrap().key.unwrap())
        .collect();
    assert_eq!(keys, [first_key, second_key, third_key]);
}

#[test]
fn readers_are_listed_where_they_were_named_or_the_bus_cannot_be_seen() {
    let usb = || SoftPort::with(Via::Usb, vec![(YUBIKEY, SoftCard::new(1))]);
    let readers = || {
        SoftPort::with(
            Via::Pcsc,
            vec![
                ("Virtual PCD 00 00", SoftCard::new(2)),
                ("Yubico YubiKey CCID", SoftCard::new(3)),
            ],
        )
    };
    assert_eq!(ids(&tokens("", usb(), readers())), [YUBIKEY]);
    let both = tokens("Virtual PCD", usb(), readers());
    assert_eq!(ids(&both), [YUBIKEY, "Virtual PCD 00 00"]);
    let place = &both.places().unwrap()[1];
    assert_eq!(both.read(place).unwrap().serial, Some(0x0102));
    let blind = SoftPort { blind: true, ..usb() };
    let all = ["Virtual PCD 00 00", "Yubico YubiKey CCID"];
    assert_eq!(ids(&tokens("", blind, readers())), all);
    let deaf = SoftPort { blind: true, ..readers() };
    assert_eq!(ids(&tokens("Virtual PCD", usb(), deaf)), [YUBIKEY]);
    let none = Tokens::over(TokenList::known(), None, Arc::new(readers()));
    assert_eq!(ids(&none), all);
}

#[test]
fn transaction_ends_with_its_time() {
    let mut card = SoftCard::new(1);
    let deadline = Deadline::after(std::time::Duration::ZERO);
    let mut timed = Timed { card: &mut card, deadline };
    assert_eq!(timed.exchange(&[0, 0xA4, 4, 0]), Err(TokenError::Slow));
}

#[test]
fn token_that_is_pulled_out_is_gone() {
    let usb = SoftPort::with(Via::Usb, vec![(YUBIKEY, SoftCard::new(1))]);
    let cards = Arc::clone(&usb.cards);
    let tokens = tokens("", usb, SoftPort::default());
    let place = tokens.places().unwrap().remove(0);
    cards.lock().unwrap().clear();
    assert_eq!(tokens.read(&place).err(), Some(TokenError::Gone));
    assert_eq!(ids(&tokens), Vec::<String>::new());
}

#[test]
fn computer_of_the_test_is_listed_without_a_failure_of_the_program() {
    // What is plugged in there is not known; that asking does no harm is.
    let tokens = Tokens::new(TokenList::known());
    if let Err(error) = tokens.places() {
        assert!(matches!(error, TokenError::System(_) | TokenError::NotAllowed(_)), "{error}");
    }
    let place = Place { via: Via::Usb, id: YUBIKEY.to_owned(), name: String::new() };
    assert!(tokens.read(&place).is_err());
}
