//! Tests of data files: what is read, what is refused.
//!
//! Files are made with fixed keys, so that a failure can be looked at.

use proptest::prelude::*;

use super::*;
use crate::seal::SigningKey;

const SERIES: KeySeries = KeySeries::from_u16(0x672B);

fn signing() -> SigningKey {
    SigningKey::from_seed(&[1; 32])
}

fn entry(name: &str, plain: &[u8], offset: u64) -> ObjectEntry {
    ObjectEntry {
        name: name.to_owned(),
        kind: ObjectKind::Text,
        access: ObjectAccess::Seat,
        size: plain.len() as u64,
        offset,
        digest: hex_upper(&sha256(plain)),
        key: "AAAA".to_owned(),
    }
}

fn list(objects: Vec<ObjectEntry>) -> ObjectList {
    ObjectList::new(SERIES, objects)
}

/// A list signed without looking whether a reader takes it.
fn signed(list: &ObjectList) -> String {
    jws::sign(DATAFILE_TYP, list, &signing()).unwrap()
}

fn verify(list: &ObjectList) -> Result<ObjectList, DatafileError> {
    ObjectList::verify(&signed(list), SERIES, &signing().public())
}

#[test]
fn list_is_read_back_and_finds_objects_whatever_their_case() {
    let wanted = list(vec![entry("Цены", b"a", 0), entry("Prices", b"bc", 17)]);
    let token = wanted.sign(&signing()).unwrap();
    let read = ObjectList::verify(&token, SERIES, &signing().public()).unwrap();
    assert_eq!(read, wanted);
    assert_eq!(read.find("ЦЕНЫ").map(|o| o.offset), Some(0));
    assert_eq!(read.find("prices").map(|o| o.offset), Some(17));
    assert_eq!(read.find("price"), None);
    assert_eq!(read.body_bytes(), 35);
    assert_eq!(ObjectList::version(&token).len(), 64);
}

#[test]
fn list_that_contradicts_itself_is_refused_with_the_reason() {
    let check = |list: ObjectList, wanted: &str| {
        let error = verify(&list).expect_err(wanted);
        assert!(error.to_string().contains(wanted), "{error}");
        assert!(list.sign(&signing()).is_err(), "{wanted}: it was signed");
    };
    let good = || entry("a", b"a", 0);
    let mut other = list(vec![]);
    other.iss = "urn:licence-series:4BFE".to_owned();
    check(other, "iss names another series");
    check(list(vec![good(), entry("A", b"a", 17)]), "two objects have one name");
    check(list(vec![good(), entry("b", b"b", 16)]), "does not follow");
    check(list(vec![good(), entry("b", b"b", 18)]), "does not follow");
    check(list(vec![ObjectEntry { offset: 1, ..good() }]), "does not follow");
    for digest in ["", "AB", &"g".repeat(64), &good().digest.to_lowercase()] {
        check(list(vec![ObjectEntry { digest: digest.to_owned(), ..good() }]), "digest");
    }
    for key in [String::new(), "A".repeat(WRAPPED_KEY_CHARS_MAX + 1)] {
        check(list(vec![ObjectEntry { key, ..good() }]), "wrapped key");
    }
    for name in ["", "a.b", "a/b", "a\\b", "a:b", "a\nb", " a", "a ", &"я".repeat(256)] {
        check(list(vec![entry(name, b"", 0)]), "a name");
    }
    let huge = ObjectEntry { size: OBJECT_BYTES_MAX + 1, ..good() };
    check(list(vec![huge]), "an object is larger");
    let mut many = vec![];
    for at in 0..5 {
        let offset = at * (OBJECT_BYTES_MAX + TAG_BYTES);
        many.push(ObjectEntry { size: OBJECT_BYTES_MAX, offset, ..entry(&at.to_string(), b"", 0) });
    }
    check(list(many), "the file is larger");
    let crowd = (0..=OBJECTS_MAX as u64).map(|at| entry(&at.to_string(), b"", at * TAG_BYTES));
    check(list(crowd.collect()), "too many objects");
}

#[test]
fn largest_list_fits_into_its_limit() {
    let name = |at: u64| format!("{at:04}{}", "я".repeat((OBJECT_NAME_BYTES_MAX - 4) / 2));
    let longest = |count: u64| {
        let key = "A".repeat(WRAPPED_KEY_CHARS_MAX);
        let make = |at| ObjectEntry { key: key.clone(), ..entry(&name(at), b"", at * TAG_BYTES) };
        list((0..count).map(make).collect())
    };
    // Names of ordinary length for the full count, the longest names for two thousand.
    assert!(verify(&longest(2000)).is_ok());
    let plain = (0..OBJECTS_MAX as u64).map(|at| entry(&at.to_string(), b"", at * TAG_BYTES));
    assert!(verify(&list(plain.collect())).is_ok());
    let error = verify(&longest(OBJECTS_MAX as u64)).unwrap_err();
    assert_eq!(error, DatafileError::List(JwsError::TooLong(LIST_BYTES_MAX)));
}

#[test]
fn list_of_another_series_or_another_key_is_refused() {
    let token = list(vec![]).sign(&signing()).unwrap();
    let other = KeySeries::from_u16(0x4BFE);
    assert_eq!(
        ObjectList::verify(&token, other, &signing().public()),
        Err(DatafileError::Series(SERIES))
    );
    let stranger = SigningKey::from_seed(&[9; 32]).public();
    assert_eq!(
        ObjectList::verify(&token, SERIES, &stranger),
        Err(DatafileError::List(JwsError::Signature))
    );
}

#[test]
fn parameters_are_a_text_of_either_name() {
    let text = |name: &str| entry(name, b"", 0);
    let epf = ObjectEntry { kind: ObjectKind::Epf, ..text("Параметры") };
    let second = ObjectEntry { offset: 16, ..text("PARAMETERS") };
    assert_eq!(list(vec![text("параметры")]).parameters().unwrap().name, "параметры");
    assert_eq!(list(vec![epf, second]).parameters().unwrap().name, "PARAMETERS");
    assert_eq!(list(vec![text("Other")]).parameters(), None);
}

#[test]
fn name_of_an_object_is_split_at_the_first_dot() {
    for (text, alias, name) in [
        ("Цены", None, "Цены"),
        (" Цены ", None, "Цены"),
        ("Extension.Цены", Some("Extension"), "Цены"),
        ("a . b.c", Some("a"), "b.c"),
        (".b", Some(""), "b"),
    ] {
        assert_eq!(split_object_name(text), (alias, name), "{text}");
    }
}

#[test]
fn what_is_no_data_file_is_refused() {
    let read =
        |bytes: &[u8]| Datafile::read(bytes, bytes.len() as u64, SERIES, &signing().public());
    for bad in [&b""[..], b"licence-datafile", b"licence-datafile 2\nx\n", MAGIC, b"\xFF\xFE"] {
        assert_eq!(read(bad), Err(DatafileError::Format), "{bad:?}");
    }
    let endless = [MAGIC, &vec![b'A'; LIST_BYTES_MAX + 2]].concat();
    assert_eq!(read(&endless), Err(DatafileError::Format));
    let large = Datafile::read(MAGIC, DATAFILE_BYTES_MAX + 1, SERIES, &signing().public());
    assert!(matches!(large, Err(DatafileError::TooLarge { .. })));
}

#[test]
fn object_opens_only_with_its_key_entry_and_bytes() {
    let entry = entry("a", b"plain text", 0);
    let sealed = seal_object(&[5; 32], &entry.context(SERIES), b"plain text").unwrap();
    let open = |key: [u8; 32], series, entry: &ObjectEntry, sealed: &[u8]| {
        open_object(&key, series, entry, sealed)
    };
    assert_eq!(open([5; 32], SERIES, &entry, &sealed).unwrap(), b"plain text");
    let refused = Err(DatafileError::Object);
    assert_eq!(open([6; 32], SERIES, &entry, &sealed), refused);
    assert_eq!(open([5; 32], KeySeries::from_u16(1), &entry, &sealed), refused);
    let weaker = ObjectEntry { access: ObjectAccess::Key, ..entry.clone() };
    assert_eq!(open([5; 32], SERIES, &weaker, &sealed), refused);
    assert_eq!(open([5; 32], SERIES, &entry, &sealed[..sealed.len() - 1]), refused);
    // Sealed by who holds the key, but not what the list promises.
    let lying = ObjectEntry { size: 11, ..entry };
    assert_eq!(open([5; 32], SERIES, &lying, &sealed), refused);
    let large = vec![0; usize::try_from(OBJECT_BYTES_MAX).unwrap() + 1];
    assert!(matches!(seal_object(&[5; 32], b"", &large), Err(DatafileError::TooLarge { .. })));
}

proptest! {
    #[test]
    fn any_bytes_are_no_data_file(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), with_magic: bool) {
        if with_magic {
            bytes.splice(0..0, MAGIC.iter().copied());
        }
        let read = Datafile::read(&bytes, bytes.len() as u64, SERIES, &signing().public());
        prop_assert!(read.is_err());
    }

    #[test]
    fn any_name_is_accepted_or_refused_and_accepted_ones_are_one_part(name in "\\PC{0,20}") {
        if check_name(&name).is_ok() {
            prop_assert_eq!(split_object_name(&name), (None, name.as_str()));
        }
    }
}

#[cfg(feature = "hpke")]
mod built {
    use super::*;
    use crate::wrap::WrapKey;

    const SECRET: [u8; 32] = [2; 32];

    fn build(objects: &[(&str, ObjectKind, ObjectAccess, &[u8])]) -> BuiltDatafile {
        let signing = signing();
        let mut builder = DatafileBuilder::new(SERIES, &signing, &SECRET);
        for (name, kind, access, plain) in objects {
            builder.add(name, *kind, *access, plain).unwrap();
        }
        builder.finish().unwrap()
    }

    fn two() -> BuiltDatafile {
        build(&[
            ("Цены", ObjectKind::Epf, ObjectAccess::Key, b"first"),
            ("Parameters", ObjectKind::Text, ObjectAccess::Seat, b"[Default]\na=1\n"),
        ])
    }

    /// All objects of a file, opened as the vendor opens them.
    fn open_all(bytes: &[u8], secret: &[u8; 32]) -> Result<Vec<Vec<u8>>, DatafileError> {
        let file = Datafile::read(bytes, bytes.len() as u64, SERIES, &signing().public())?;
        let series_key = WrapKey::from_secret(secret);
        let open = |object: &ObjectEntry| {
            let key = unwrap_object_key(object, SERIES, &series_key)?;
            let range = file.range(object);
            let sealed = &bytes[range.start as usize..range.end as usize];
            open_object(&key, SERIES, object, sealed)
        };
        file.list.objects.iter().map(open).collect()
    }

    #[test]
    fn built_file_opens_for_its_series_and_for_no_other() {
        let bytes = two().bytes();
        let wanted = vec![b"first".to_vec(), b"[Default]\na=1\n".to_vec()];
        assert_eq!(open_all(&bytes, &SECRET), Ok(wanted));
        assert_eq!(open_all(&bytes, &[3; 32]), Err(DatafileError::Object));
        assert_eq!(open_all(&build(&[]).bytes(), &SECRET), Ok(vec![]));
    }

    #[test]
    fn same_sources_give_the_same_bytes_and_every_difference_another_key() {
        assert_eq!(two().bytes(), two().bytes());
        let key = |name, kind, access, plain| {
            let built = build(&[(name, kind, access, plain)]);
            let entry = &built.list.objects[0];
            let series_key = WrapKey::from_secret(&SECRET);
            (entry.key.clone(), *unwrap_object_key(entry, SERIES, &series_key).unwrap())
        };
        let (wrapped, plain) = key("a", ObjectKind::Epf, ObjectAccess::Seat, b"x");
        for (other_wrapped, other) in [
            key("b", ObjectKind::Epf, ObjectAccess::Seat, b"x"),
            key("a", ObjectKind::Erf, ObjectAccess::Seat, b"x"),
            key("a", ObjectKind::Epf, ObjectAccess::Key, b"x"),
            key("a", ObjectKind::Epf, ObjectAccess::Seat, b"y"),
        ] {
            assert_ne!(plain, other);
            // The first 43 characters are the ephemeral key.
            assert_ne!(wrapped[..42], other_wrapped[..42]);
        }
    }

    #[test]
    fn every_changed_byte_is_refused() {
        let good = two().bytes();
        assert!(open_all(&good, &SECRET).is_ok());
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            assert!(open_all(&bytes, &SECRET).is_err(), "byte {at} of {}", good.len());
        }
    }

    #[test]
    fn file_cut_short_or_made_longer_is_refused() {
        let good = two().bytes();
        for end in 0..good.len() {
            assert!(open_all(&good[..end], &SECRET).is_err(), "{end}");
        }
        assert_eq!(
            open_all(&[good.as_slice(), b"x"].concat(), &SECRET),
            Err(DatafileError::Contradiction("the file is longer or shorter than it says"))
        );
    }

    #[test]
    fn ciphertexts_that_changed_places_are_refused() {
        let signing = signing();
        let mut builder = DatafileBuilder::new(SERIES, &signing, &SECRET);
        for (name, plain) in [("a", b"11"), ("b", b"22")] {
            builder.add(name, ObjectKind::Text, ObjectAccess::Seat, plain).unwrap();
        }
        let BuiltDatafile { head, body, .. } = builder.finish().unwrap();
        let half = body.len() / 2;
        let swapped = [head.as_slice(), &body[half..], &body[..half]].concat();
        assert_eq!(open_all(&swapped, &SECRET), Err(DatafileError::Object));
    }

    #[test]
    fn list_signed_by_another_series_key_is_refused() {
        let stranger = SigningKey::from_seed(&[9; 32]);
        let mut builder = DatafileBuilder::new(SERIES, &stranger, &SECRET);
        builder.add("a", ObjectKind::Text, ObjectAccess::Seat, b"x").unwrap();
        let bytes = builder.finish().unwrap().bytes();
        assert_eq!(open_all(&bytes, &SECRET), Err(DatafileError::List(JwsError::Signature)));
    }

    #[test]
    fn object_that_cannot_be_added_leaves_the_file_as_it_was() {
        let signing = signing();
        let mut builder = DatafileBuilder::new(SERIES, &signing, &SECRET);
        let mut add = |name: &str, plain: &[u8]| {
            builder.add(name, ObjectKind::Text, ObjectAccess::Seat, plain)
        };
        add("a", b"1").unwrap();
        let large = vec![0; usize::try_from(OBJECT_BYTES_MAX).unwrap() + 1];
        assert!(matches!(add("b", &large), Err(DatafileError::TooLarge { .. })));
        assert!(matches!(add("A", b"2"), Err(DatafileError::Contradiction(_))));
        assert!(matches!(add("a.b", b"2"), Err(DatafileError::Contradiction(_))));
        assert_eq!(open_all(&builder.finish().unwrap().bytes(), &SECRET), Ok(vec![b"1".to_vec()]));
    }

    #[test]
    fn file_grows_to_its_limit_and_no_further() {
        let signing = signing();
        let mut builder = DatafileBuilder::new(SERIES, &signing, &SECRET);
        let plain = vec![0; usize::try_from(OBJECT_BYTES_MAX - 1024).unwrap()];
        for name in ["1", "2", "3", "4"] {
            builder.add(name, ObjectKind::Text, ObjectAccess::Seat, &plain).unwrap();
        }
        let fifth = builder.add("5", ObjectKind::Text, ObjectAccess::Seat, &plain);
        let wanted = DatafileError::TooLarge { what: "the file", max: DATAFILE_BYTES_MAX };
        assert_eq!(fifth, Err(wanted));
        assert!(builder.finish().is_ok());
    }

    proptest! {
        #[test]
        fn any_content_is_read_back(
            name in "[a-zа-яA-ZА-Я_][a-zа-я0-9_]{0,30}",
            plain in proptest::collection::vec(any::<u8>(), 0..500),
            secret: [u8; 32],
        ) {
            let signing = signing();
            let mut builder = DatafileBuilder::new(SERIES, &signing, &secret);
            builder.add(&name, ObjectKind::Erf, ObjectAccess::Presence, &plain).unwrap();
            let bytes = builder.finish().unwrap().bytes();
            prop_assert_eq!(open_all(&bytes, &secret).unwrap(), vec![plain]);
        }
    }
}
