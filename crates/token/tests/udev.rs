//! The udev rules of the packages name exactly the tokens of the list.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use licence_token::list::KNOWN;

#[test]
fn rules_give_access_to_the_known_tokens_and_change_no_group() {
    let path = "../../installers/udev/70-licence-token.rules";
    let rules = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let lines: Vec<_> = rules.lines().filter(|line| !line.starts_with('#')).collect();
    let value = |line: &str, name: &str| {
        let (_, rest) = line.split_once(&format!("ATTR{{{name}}}==\""))?;
        u16::from_str_radix(rest.get(..4)?, 16).ok()
    };
    let named: BTreeSet<_> = lines
        .iter()
        .filter_map(|line| Some((value(line, "idVendor")?, value(line, "idProduct")?)))
        .collect();
    let known: BTreeSet<_> = KNOWN.iter().map(|it| (it.vendor, it.product)).collect();
    assert_eq!(named, known);
    for line in lines {
        assert!(!line.contains("GROUP") && !line.contains("MODE"), "{line}");
    }
}
