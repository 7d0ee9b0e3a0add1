//! Short texts: what is read out is read in, every mistake is told with its line, and nothing but
//! the licence that the centre has signed comes of it.

use proptest::prelude::*;

use super::*;
use crate::activation::{ALPHABET, CodeKind};
use crate::seal::{Jwk, SigningKey};

const SERIES: KeySeries = KeySeries::from_u16(0x672B);

fn series_key() -> SigningKey {
    SigningKey::from_seed(&[1; 32])
}

fn identity() -> PublicKey {
    SigningKey::from_seed(&[2; 32]).public()
}

fn descriptor() -> SeriesDescriptor {
    let object = Jwk { crv: "X25519".into(), ..series_key().public().jwk() };
    let (name, key) = ("Тестовая серия".to_owned(), series_key().public());
    SeriesDescriptor::new(SERIES, name, None, key, object)
}

fn request() -> ShortRequest {
    ShortRequest {
        code: ActivationCode::encode(CodeKind::Reserve, SERIES, 0x1234_5678_9ABC_DEF0),
        holder: identity(),
        computer_id: "D365ACC38180015CD3A30E62BF1072392D4DD5C1".to_owned(),
        itn: Some("0123456789".to_owned()),
        iec: None,
    }
}

fn fields() -> LicenceFields {
    LicenceFields {
        activation_code: request().code,
        reg_no: Some(202),
        flags: Flags(5),
        start_date: Some("2026-01-01T00:00:00.000Z".parse().unwrap()),
        expire_date: Some("2027-01-01T00:00:00.000Z".parse().unwrap()),
        iec: Some("000000001".into()),
        article: None,
        ..crate::licence_file::tests::fields()
    }
}

fn claims(fields: LicenceFields) -> LicenceClaims {
    let jti = "0123456789ABCDEF0123456789ABCDEF".to_owned();
    let mut claims = LicenceClaims::new(jti, fields.activation_date, identity(), fields);
    claims.iat += 86_400;
    claims.binding = Some(Binding { level: BindingLevel::Strict, grace_days: 30 });
    claims
}

fn licence(claims: LicenceClaims) -> Licence {
    let document = claims.sign(&series_key()).unwrap();
    Licence::verify(&document, &series_key().public()).unwrap()
}

fn answer() -> ShortAnswer {
    ShortAnswer::of(&licence(claims(fields())), &descriptor()).unwrap()
}

#[test]
fn request_has_numbered_lines_of_five_groups_and_is_read_back() {
    let text = request().encode().unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 7, "{text}");
    for (at, line) in lines.iter().enumerate() {
        assert_eq!(line.split('-').map(str::len).collect::<Vec<_>>(), [4; 5]);
        assert!(line.starts_with(&(at + 1).to_string()), "{line}");
    }
    assert_eq!(ShortRequest::decode(&text), Ok(request()));
}

#[test]
fn answer_fits_into_fifteen_lines_and_gives_the_document_byte_for_byte() {
    let licence = licence(claims(fields()));
    let text = ShortAnswer::of(&licence, &descriptor()).unwrap().encode().unwrap();
    assert!(text.lines().count() <= 15, "{text}");
    let read = ShortAnswer::decode(&text).unwrap();
    assert_eq!(read.series(), SERIES);
    assert_eq!(read.rebuild(&descriptor(), &identity()).as_ref(), Ok(&licence.document));
}

#[test]
fn text_may_be_typed_in_any_case_with_any_gaps_and_in_one_line() {
    let text = request().encode().unwrap();
    for typed in [
        text.to_lowercase(),
        text.replace('-', " "),
        text.replace('-', "").replace('\n', "\r\n\r\n"),
        text.replace('\n', " "),
        text.replace('0', "o").replace('1', "l"),
        text.replace('A', "А").replace('C', "с").replace('H', "Н"),
        format!("\u{feff}  {text}\n"),
    ] {
        assert_eq!(ShortRequest::decode(&typed), Ok(request()), "{typed}");
    }
}

#[test]
fn each_mistake_is_told_with_its_line() {
    let text = request().encode().unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let check = |lines: &[&str], expected: ShortTextError| {
        assert_eq!(ShortRequest::decode(&lines.join("\n")), Err(expected));
    };
    let changed = lines[2].replacen(lines[2].chars().nth(5).unwrap(), "", 1);
    let with = |at: usize, line: &str| {
        let mut lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
        lines[at] = line.to_owned();
        ShortRequest::decode(&lines.join("\n"))
    };
    assert_eq!(with(2, &changed), Err(ShortTextError::Length { line: 3, found: 19 }));
    let strange = lines[3].replacen('-', "Ж", 1);
    assert_eq!(with(3, &strange), Err(ShortTextError::Character { line: 4, found: 'Ж' }));
    assert_eq!(with(4, lines[3]), Err(ShortTextError::Order { line: 5 }));
    check(&lines[1..], ShortTextError::Order { line: 1 });
    check(&lines[..6], ShortTextError::Lines { found: 6, wanted: 7 });
    check(&[], ShortTextError::Length { line: 1, found: 0 });
    let other = ShortRequest { holder: series_key().public(), ..request() }.encode().unwrap();
    assert_eq!(with(2, other.lines().nth(2).unwrap()), Err(ShortTextError::Digest));
    assert_eq!(ShortRequest::decode(&"A".repeat(5000)), Err(ShortTextError::TooLong));
}

#[test]
fn every_single_mistake_and_every_swap_is_told_with_its_line() {
    let text = answer().encode().unwrap();
    for (at, line) in text.lines().enumerate() {
        let symbols: Vec<char> = line.chars().filter(|symbol| *symbol != '-').collect();
        let refused = |symbols: &[char]| {
            let line: String = symbols.iter().collect();
            let mut lines: Vec<&str> = text.lines().collect();
            lines[at] = &line;
            ShortAnswer::decode(&lines.join("\n"))
        };
        for place in 0..symbols.len() {
            for wrong in ALPHABET.iter().map(|symbol| char::from(*symbol)) {
                let mut changed = symbols.clone();
                changed[place] = wrong;
                if changed != symbols {
                    assert_eq!(refused(&changed), Err(ShortTextError::Check { line: at + 1 }));
                }
            }
            for other in place + 1..symbols.len() {
                let mut changed = symbols.clone();
                changed.swap(place, other);
                if changed != symbols {
                    assert_eq!(refused(&changed), Err(ShortTextError::Check { line: at + 1 }));
                }
            }
        }
    }
}

#[test]
fn request_is_no_answer_and_the_other_way_round() {
    let (request, answer) = (request().encode().unwrap(), answer().encode().unwrap());
    assert!(matches!(ShortAnswer::decode(&request), Err(ShortTextError::Kind(_))));
    assert!(matches!(ShortRequest::decode(&answer), Err(ShortTextError::Kind(_))));
}

#[test]
fn answer_for_another_server_series_or_description_gives_no_licence() {
    let answer = answer();
    let other = SigningKey::from_seed(&[9; 32]).public();
    let result = answer.rebuild(&descriptor(), &other);
    assert!(matches!(result, Err(RebuildError::Licence(LicenceError::Jws(_)))), "{result:?}");
    let renamed = SeriesDescriptor { product_name: "Другое".into(), ..descriptor() };
    let result = answer.rebuild(&renamed, &identity());
    assert!(matches!(result, Err(RebuildError::Licence(_))), "{result:?}");
    let another = SeriesDescriptor { series: KeySeries::from_u16(0x4BFE), ..descriptor() };
    assert_eq!(answer.rebuild(&another, &identity()), Err(RebuildError::SeriesOther(SERIES)));
    let mut bare = descriptor();
    bare.keys.keys.clear();
    assert!(matches!(answer.rebuild(&bare, &identity()), Err(RebuildError::Series(_))));
}

#[test]
fn licence_beyond_its_short_form_is_refused_and_has_one_once_it_is_shortened() {
    let parameters = std::collections::BTreeMap::from([("Регион".to_owned(), "77".to_owned())]);
    let long = LicenceFields {
        article: Some("1111111111111".into()),
        article_name: Some("Имя".into()),
        parameters,
        support: SupportFields { recovered: true, support_period: Some(5), ..Default::default() },
        ..fields()
    };
    let full = LicenceClaims { object_key: Some("Ab-_9".into()), ..claims(long) };
    let refused = ShortAnswer::of(&licence(full.clone()), &descriptor());
    assert_eq!(refused, Err(ShortTextError::Value("the licence")));
    let short = licence(short_form(full));
    assert!(short.fields().support.recovered);
    let text = ShortAnswer::of(&short, &descriptor()).unwrap().encode().unwrap();
    let rebuilt = ShortAnswer::decode(&text).unwrap().rebuild(&descriptor(), &identity());
    assert_eq!(rebuilt, Ok(short.document));
}

#[test]
fn licence_with_another_kind_of_activation_id_or_issued_before_it_has_no_short_form() {
    for change in [
        |claims: &mut LicenceClaims| claims.jti = "a1".into(),
        |claims: &mut LicenceClaims| claims.jti = claims.jti.to_lowercase(),
        |claims: &mut LicenceClaims| claims.iat -= 172_800,
    ] {
        let mut claims = claims(fields());
        change(&mut claims);
        let refused = ShortAnswer::of(&licence(claims), &descriptor());
        assert!(matches!(refused, Err(ShortTextError::Value(_))), "{refused:?}");
    }
}

#[test]
fn request_outside_its_limits_is_not_written() {
    for request in [
        ShortRequest { computer_id: "xyz".into(), ..request() },
        ShortRequest { computer_id: "é".repeat(20), ..request() },
        ShortRequest { itn: Some(String::new()), ..request() },
        ShortRequest { itn: Some("1234567890123".into()), ..request() },
        ShortRequest { iec: Some("12a".into()), ..request() },
    ] {
        assert!(matches!(request.encode(), Err(ShortTextError::Value(_))), "{request:?}");
    }
}

#[test]
fn text_that_somebody_means_to_be_short_is_told_from_other_files() {
    let text = request().encode().unwrap();
    assert!(looks_like_short_text(&text));
    assert!(looks_like_short_text(&text[1..]));
    for other in ["", "{\"Answer\":1}", "a.b=c;d", "ABCD", &"A".repeat(TEXT_BYTES_MAX + 1)] {
        assert!(!looks_like_short_text(other), "{other}");
    }
}

proptest! {
    #[test]
    fn any_text_is_refused(text in "\\PC{0,300}") {
        prop_assert!(ShortAnswer::decode(&text).is_err());
        prop_assert!(ShortRequest::decode(&text).is_err());
    }

    #[test]
    fn any_bytes_with_right_checks_are_read_one_way_or_refused(
        kind in prop_oneof![Just(REQUEST), Just(ANSWER), any::<u8>()],
        bytes in proptest::collection::vec(any::<u8>(), 0..250),
    ) {
        let mut writer = Writer::new(kind);
        writer.bytes(&bytes);
        if let Some(text) = writer.finish().and_then(|bytes| lines::write(&bytes).ok()) {
            if let Ok(read) = ShortRequest::decode(&text) {
                prop_assert_eq!(read.encode(), Ok(text.clone()));
            }
            if let Ok(read) = ShortAnswer::decode(&text) {
                prop_assert_eq!(read.encode(), Ok(text));
                prop_assert!(read.rebuild(&descriptor(), &identity()).is_err());
            }
        }
    }

    #[test]
    fn any_request_is_read_back(
        secret: u128, seed: [u8; 32], computer: [u8; 20],
        itn in proptest::option::of("[0-9]{1,12}"), iec in proptest::option::of("[0-9]{1,9}"),
    ) {
        let code = ActivationCode::encode(CodeKind::Activation, SERIES, secret);
        let holder = PublicKey::from_bytes(seed);
        let request = ShortRequest { code, holder, computer_id: hex(&computer), itn, iec };
        prop_assert_eq!(ShortRequest::decode(&request.encode().unwrap()), Ok(request));
    }

    #[test]
    fn any_licence_in_short_form_comes_back_byte_for_byte(
        key_no: u32, kind in 3u8..=5, seats: u32, service_type: u8, product_version: u32,
        period: u32, flags: u32, reg_no: Option<u32>, jti: [u8; 16],
        activated in 0..Utc::MAX.unix_millis(), later in 0i64..10_000_000,
        start in proptest::option::of(0..Utc::MAX.unix_millis()),
        expire in proptest::option::of(0..Utc::MAX.unix_millis()),
        itn in proptest::option::of("[0-9]{1,12}"), iec in proptest::option::of("[0-9]{1,12}"),
        recovered: bool, grace in proptest::option::of(0u16..=365),
    ) {
        let fields = LicenceFields {
            key_no: KeyNo(key_no), key_type: kind, licence_count: seats, service_type,
            product_version, period, flags: Flags(flags), reg_no, itn, iec,
            activation_date: Utc::from_unix_millis(activated),
            start_date: start.map(Utc::from_unix_millis),
            expire_date: expire.map(Utc::from_unix_millis),
            support: SupportFields { recovered, ..SupportFields::default() },
            ..fields()
        };
        let mut claims = claims(fields);
        claims.jti = hex(&jti);
        claims.iat = Utc::from_unix_millis(activated).unix_seconds() + later;
        claims.binding =
            grace.map(|grace_days| Binding { level: BindingLevel::Tpm, grace_days });
        let licence = licence(claims);
        let text = ShortAnswer::of(&licence, &descriptor()).unwrap().encode().unwrap();
        let read = ShortAnswer::decode(&text).unwrap();
        prop_assert_eq!(read.rebuild(&descriptor(), &identity()), Ok(licence.document));
    }
}
