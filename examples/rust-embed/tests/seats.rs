//! The program counts as its licence says, and believes no licence that the vendor did not sign.

#![expect(clippy::unwrap_used, reason = "a step that fails ends the test")]

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use licence_core::activation::{ActivationCode, CodeKind};
use licence_core::key::{Flags, KeyNo, KeySeries};
use licence_core::licence_file::{LICENCE_FORMAT, LicenceClaims, LicenceFields};
use licence_core::seal::{Jwk, SigningKey};
use licence_core::series::SeriesDescriptor;
use licence_core::time::Utc;

const SERIES: KeySeries = KeySeries::from_u16(0x672B);

fn licence(seats: u32, signer: &SigningKey) -> String {
    let now = Utc::from_unix_millis(1_522_443_600_414);
    let fields = LicenceFields {
        version: LICENCE_FORMAT.to_owned(),
        key_no: KeyNo(7_131_766),
        key_id: SERIES,
        reg_no: None,
        key_type: 3,
        service_type: 0,
        licence_count: seats,
        product_version: 0,
        blank_key_no: None,
        activation_code: ActivationCode::encode(CodeKind::Activation, SERIES, 7),
        activation_date: now,
        start_date: None,
        period: 0,
        expire_date: None,
        flags: Flags(0),
        itn: None,
        iec: None,
        product_name: "Test".to_owned(),
        article: None,
        article_name: None,
        parameters: Default::default(),
        support: Default::default(),
    };
    let holder = SigningKey::from_seed(&[9; 32]).public();
    LicenceClaims::new("a1".to_owned(), now, holder, fields).sign(signer).unwrap()
}

fn run(licence: &str, commands: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let key = SigningKey::from_seed(&[1; 32]).public();
    let object = Jwk { crv: "X25519".to_owned(), ..key.jwk() };
    let descriptor = SeriesDescriptor::new(SERIES, "Test".to_owned(), None, key, object);
    let (series, file) = (folder.path().join("672B.series"), folder.path().join("a.licence"));
    std::fs::write(&series, serde_json::to_string(&descriptor).unwrap()).unwrap();
    std::fs::write(&file, licence).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_example-embed"))
        .args([&series, &file])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that refuses the licence does not read.
    drop(child.stdin.take().unwrap().write_all(commands.as_bytes()));
    child.wait_with_output().unwrap()
}

#[test]
fn seats_are_granted_refused_and_given_back() {
    let licence = licence(2, &SigningKey::from_seed(&[1; 32]));
    let output = run(
        &licence,
        "take Anna\ntake Boris\ntake Anna\ntake Vera\nrelease Anna\nrelease Anna\ntake Vera\nlist\n",
    );
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines[..3],
        ["granted key=7131766"; 3],
        "Anna holds one seat however often she asks"
    );
    assert!(
        lines[3].starts_with("refused No licence of series 672B is free: 2 of 2 are in use"),
        "{text}"
    );
    assert_eq!(lines[4..7], ["released", "Anna holds no seat", "granted key=7131766"]);
    assert_eq!(lines[7], "2 of 2 (key 7131766): Boris, Vera");
}

#[test]
fn licence_of_another_signer_is_not_believed() {
    let output = run(&licence(2, &SigningKey::from_seed(&[2; 32])), "take Anna\n");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{output:?}");
}
