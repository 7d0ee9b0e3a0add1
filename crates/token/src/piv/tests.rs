use super::*;
use crate::soft_card::SoftCard;

/// A token that answers every command in the same way, but for the selection.
struct Repeating {
    answer: Vec<u8>,
    asked: usize,
}

impl Exchange for Repeating {
    fn exchange(&mut self, command: &[u8]) -> Result<Vec<u8>, TokenError> {
        if command[1] == 0xA4 {
            return Ok(vec![0x90, 0x00]);
        }
        self.asked += 1;
        Ok(self.answer.clone())
    }
}

fn object(answer: &[u8]) -> (Result<Option<Vec<u8>>, TokenError>, usize) {
    let mut card = Repeating { answer: answer.to_vec(), asked: 0 };
    let result = Piv::select(&mut card).and_then(|mut piv| piv.read_object(Object::First));
    (result, card.asked)
}

#[test]
fn hostile_answers_end_in_an_error_after_a_bounded_number_of_commands() {
    let check = |answer: &[u8], wanted: TokenError, asked: usize| {
        assert_eq!(object(answer), (Err(wanted), asked), "{:02X?}", &answer[..answer.len().min(8)]);
    };
    let many = TokenError::Malformed("the answer has too many parts");
    check(&[0x61, 0x00], many.clone(), PARTS_MAX);
    check(&[7, 0x61, 0x01], many, PARTS_MAX);
    check(&[0x6C, 0x10], TokenError::Refused(0x6C10), 2);
    let long = TokenError::Malformed("the answer is too long");
    check(&[&[7; 256][..], &[0x61, 0]].concat(), long.clone(), ANSWER_BYTES_MAX / 256 + 1);
    check(&[0; ANSWER_BYTES_MAX + 1], long, 1);
    let none = TokenError::Malformed("the answer has no status word");
    check(&[], none.clone(), 1);
    check(&[0x90], none, 1);
    let torn = TokenError::Malformed("not well-formed TLV");
    check(&[0x53, 0x82, 0x90, 0x00], torn.clone(), 1);
    check(&[0x53, 5, 1, 0x90, 0x00], torn, 1);
    check(&[0x54, 1, 1, 0x90, 0x00], TokenError::Malformed("no object"), 1);
    check(&[0x69, 0x82], TokenError::Refused(0x6982), 1);
}

#[test]
fn wrong_length_is_corrected_once_and_parts_are_put_together() {
    struct Card(Vec<Vec<u8>>, Vec<Vec<u8>>);
    impl Exchange for Card {
        fn exchange(&mut self, command: &[u8]) -> Result<Vec<u8>, TokenError> {
            self.1.push(command.to_vec());
            Ok(self.0.remove(0))
        }
    }
    let answers = [
        &[0x90, 0x00][..],
        &[0x6C, 0x03],
        &[0x53, 0x04, 1, 0x61, 0x03],
        &[0x6C, 0x02],
        &[2, 3, 0x61, 0x01],
        &[4, 0x90, 0x00],
    ];
    let mut card = Card(answers.iter().map(|it| it.to_vec()).collect(), Vec::new());
    let object = Piv::select(&mut card).unwrap().read_object(Object::First);
    assert_eq!(object, Ok(Some(vec![1, 2, 3, 4])));
    assert_eq!(card.1[2].last(), Some(&0x03));
    assert_eq!(card.1[3], [0x00, 0xC0, 0x00, 0x00, 0x03]);
    assert_eq!(card.1[4], [0x00, 0xC0, 0x00, 0x00, 0x02]);
}

#[test]
fn token_without_the_application_is_not_supported() {
    struct Refusing(u16);
    impl Exchange for Refusing {
        fn exchange(&mut self, _command: &[u8]) -> Result<Vec<u8>, TokenError> {
            Ok(self.0.to_be_bytes().to_vec())
        }
    }
    let error = |status| Piv::select(&mut Refusing(status)).err();
    assert_eq!(error(0x6A82), Some(TokenError::Unsupported("it has no PIV application")));
    assert_eq!(error(0x6F00), Some(TokenError::Refused(0x6F00)));
    assert_eq!(error(0x9000), None);
}

#[test]
fn signatures_of_both_lengths_are_brought_into_the_fixed_form() {
    let der =
        |r: &[u8], s: &[u8]| tlv::element(0x30, &[tlv::element(2, r), tlv::element(2, s)].concat());
    let fixed = fixed_signature(&der(&[1], &[&[0, 0x80][..], &[5; 31]].concat())).unwrap();
    assert_eq!(fixed[..32], [&[0; 31][..], &[1]].concat());
    assert_eq!(fixed[32..], [&[0x80][..], &[5; 31]].concat());
    assert!(fixed_signature(&der(&[7; 32], &[7; 32])).is_some());
    for bad in [
        der(&[7; 33], &[1]),
        der(&[1], &[&[0][..], &[7; 33]].concat()),
        der(&[], &[1]),
        der(&[0x80], &[1]),
        [der(&[1], &[1]), vec![0]].concat(),
        tlv::element(0x30, &[tlv::element(2, &[1]), tlv::element(2, &[1]), vec![2, 1, 1]].concat()),
        tlv::element(0x30, &tlv::element(2, &[1])),
        tlv::element(0x31, &[]),
        vec![0x30],
        Vec::new(),
    ] {
        assert_eq!(fixed_signature(&bad), None, "{bad:02X?}");
    }
}

#[test]
fn public_key_is_told_only_when_it_is_a_point_on_p256() {
    let told = |answer: &[u8]| {
        let mut card = Repeating { answer: [answer, &[0x90, 0]].concat(), asked: 0 };
        Piv::select(&mut card).unwrap().slot_key()
    };
    let mut point = [9; POINT_BYTES];
    point[0] = 4;
    let key = tlv::element(4, &tlv::element(0x86, &point));
    let p256 = [tlv::element(1, &[0x11]), key].concat();
    assert_eq!(told(&p256), Ok(SlotKey::Present(TokenKey::from_point(&point))));
    let rsa = [tlv::element(1, &[7]), tlv::element(4, &[0x81, 1, 1])].concat();
    assert_eq!(told(&rsa), Ok(SlotKey::Present(None)));
    assert_eq!(told(&[]), Ok(SlotKey::Absent));
    assert_eq!(told(&tlv::element(2, &[1, 0])), Ok(SlotKey::Hidden));
    assert!(told(&tlv::element(4, &tlv::element(0x86, &point[1..]))).is_err());
}

#[test]
fn attestation_brings_the_chain_and_none_where_the_token_has_none() {
    let certificate = tlv::element(0x30, &[1; 700]);
    let above = tlv::element(0x30, &[2; 600]);
    let mut card = SoftCard::new(1);
    let chain = |card: &mut SoftCard| Piv::select(card).unwrap().attestation();
    assert_eq!(chain(&mut card), Ok(Vec::new()));
    card.attestation = Some(certificate.clone());
    assert_eq!(chain(&mut card), Ok(vec![certificate.clone()]));
    let object = [tlv::element(0x70, &above), vec![0x71, 1, 0]].concat();
    card.objects.insert(vec![0x5F, 0xFF, 0x01], object);
    assert_eq!(chain(&mut card), Ok(vec![certificate, above]));
    card.attestation = Some(vec![0x31, 0]);
    assert!(chain(&mut card).is_err());
}
