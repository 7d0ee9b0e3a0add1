//! Tests of the container: round trips, chained pages of other writers, damage, limits.

use proptest::prelude::*;

use super::*;

fn bytes(text: &str) -> Content {
    Content::Bytes(text.as_bytes().to_vec())
}

fn sample() -> Container {
    let mut inner = Container::default();
    inner.push("info", bytes("{3,1,0,\"\",0}")).unwrap();
    inner.push("text", bytes("Процедура А() КонецПроцедуры")).unwrap();
    let mut outer = Container::default();
    outer.push("root", bytes("{2,x,}")).unwrap();
    outer.push("модуль.0", Content::Nested(inner)).unwrap();
    outer.push("empty", bytes("")).unwrap();
    outer
}

#[test]
fn what_is_written_is_read_back_and_is_the_same_each_time() {
    let written = sample().write().unwrap();
    assert_eq!(Container::parse(&written).unwrap(), sample());
    assert_eq!(sample().write().unwrap(), written);
}

#[test]
fn table_of_more_elements_than_a_page_holds_is_read_back() {
    let mut container = Container::default();
    for number in 0..100 {
        container.push(&format!("element{number}"), bytes(&number.to_string())).unwrap();
    }
    assert_eq!(Container::parse(&container.write().unwrap()).unwrap(), container);
}

#[test]
fn document_in_chained_pages_is_put_together() {
    let mut out = vec![0_u8; 4];
    out.extend(b"\r\n00000006 00000004 00000028 \r\nabcd");
    assert_eq!(out.len(), 39);
    out.push(0);
    out.extend(b"\r\n00000000 00000004 7fffffff \r\nefXX");
    assert_eq!(document(&out, 4, &mut 100).unwrap(), b"abcdef");
    assert_eq!(document(&out, 4, &mut 5), Err(ContainerError::TooLarge));
}

#[test]
fn loop_of_pages_is_noticed() {
    let page = b"\r\n00000010 00000004 00000000 \r\nabcd".to_vec();
    assert_eq!(document(&page, 0, &mut 100), Err(ContainerError::Page(0)));
    let empty = b"\r\n00000010 00000000 00000000 \r\n____________________".to_vec();
    assert_eq!(document(&empty, 0, &mut 100), Err(ContainerError::Page(0)));
}

#[test]
fn what_is_no_container_is_refused_by_its_reason() {
    let check = |bytes: &[u8], wanted| assert_eq!(Container::parse(bytes), Err(wanted));
    check(b"", ContainerError::Magic);
    check(b"PK\x03\x04 a zip", ContainerError::Magic);
    check(&[0xff; 40], ContainerError::Wide);
    check(&[0xff, 0xff, 0xff, 0x7f], ContainerError::Magic);
    let mut cut = sample().write().unwrap();
    cut.truncate(600);
    assert!(matches!(Container::parse(&cut), Err(ContainerError::Page(_))));
}

#[test]
fn element_that_is_no_compressed_data_is_named() {
    let mut written = sample().write().unwrap();
    let at = written.windows(8).position(|w| w == b"r\0o\0o\0t\0").unwrap() + 12 + PAGE_HEAD;
    written[at] = 0xff;
    assert_eq!(Container::parse(&written), Err(ContainerError::Compressed("root".into())));
}

#[test]
fn names_are_text_and_stand_once() {
    let mut container = sample();
    assert_eq!(container.push("root", bytes("")), Err(ContainerError::Duplicate("root".into())));
    for name in ["", "a\0b", &"n".repeat(NAME_CHARS_MAX + 1)] {
        assert_eq!(container.push(name, bytes("")), Err(ContainerError::Name), "{name:?}");
    }
}

#[test]
fn nesting_is_limited_both_ways() {
    let mut container = sample();
    for _ in 0..DEPTH_MAX {
        let mut outer = Container::default();
        outer.push("inner", Content::Nested(container)).unwrap();
        container = outer;
    }
    assert_eq!(container.write(), Err(ContainerError::Depth));
}

#[test]
fn small_file_that_unpacks_to_much_is_refused() {
    let mut container = Container::default();
    for name in ["a", "b", "c"] {
        container.push(name, Content::Bytes(vec![0; ELEMENT_BYTES_MAX])).unwrap();
    }
    let written = container.write().unwrap();
    assert!(written.len() < 1 << 20);
    assert_eq!(Container::parse(&written), Err(ContainerError::TooLarge));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(tail in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = NONE.to_le_bytes().to_vec();
        bytes.extend(tail);
        let _ = Container::parse(&bytes);
    }

    #[test]
    fn damaged_container_is_read_or_refused(
        places in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = sample().write().unwrap();
        for (place, value) in places {
            let at = place.index(bytes.len());
            bytes[at] = value;
        }
        let _ = Container::parse(&bytes);
    }

    #[test]
    fn any_elements_come_back(
        elements in proptest::collection::btree_map(
            "[a-zа-я0-9.-]{1,40}", proptest::collection::vec(any::<u8>(), 0..2000), 0..20),
    ) {
        let mut container = Container::default();
        for (name, data) in elements {
            container.push(&name, Content::Bytes(data)).unwrap();
        }
        prop_assert_eq!(Container::parse(&container.write().unwrap()).unwrap(), container);
    }
}
