//! Signatures that openssl makes with its GOST engine, good and spoilt, and what is said of them.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;

const DATA: &str = "WLYDSMYDAXNHBEFOBGKJFSZNMORQTY";

/// `id-INNLE` has no name in openssl 3.0.
const CONF: &str = "openssl_conf = main
[main]
engines = engines
oid_section = oids
[oids]
INNLE = 1.2.643.100.4
[engines]
gost = gost
[gost]
engine_id = gost
default_algorithms = ALL
[req]
distinguished_name = name
prompt = no
string_mask = utf8only
[name]
CN = unused
[v3]
subjectKeyIdentifier = hash
";

/// Somebody with a key and a certificate of their own.
struct Signatory {
    folder: tempfile::TempDir,
}

impl Signatory {
    fn new(algorithm: &[&str], subject: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("openssl.cnf"), CONF).unwrap();
        let own = Self { folder };
        let mut call = vec!["req", "-new", "-x509", "-nodes", "-utf8", "-extensions", "v3"];
        call.extend(["-subj", subject, "-days", "30", "-keyout", "key", "-out", "crt"]);
        call.extend(algorithm);
        own.openssl(&call, b"");
        own
    }

    fn gost(subject: &str) -> Self {
        let algorithm = ["-newkey", "gost2012_256", "-pkeyopt", "paramset:A", "-md_gost12_256"];
        Self::new(&algorithm, subject)
    }

    fn openssl(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let mut command = Command::new("openssl");
        command.args(arguments).current_dir(self.folder.path());
        command.env("OPENSSL_CONF", self.folder.path().join("openssl.cnf"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("openssl is not installed");
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "openssl {}: {said}\nthe GOST engine is in Debian's libengine-gost-openssl",
            arguments.join(" ")
        );
        output.stdout
    }

    /// `openssl cms -sign` with these options beside.
    fn sign(&self, text: &[u8], options: &[&str]) -> Vec<u8> {
        let mut call = vec!["cms", "-sign", "-binary", "-signer", "crt", "-inkey", "key"];
        call.extend(["-outform", "DER"]);
        call.extend(options);
        self.openssl(&call, text)
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}

const ATTACHED: [&str; 4] = ["-nodetach", "-cades", "-md", "md_gost12_256"];

static ROMASHKA: LazyLock<Signatory> = LazyLock::new(|| {
    Signatory::gost("/C=RU/O=ООО Ромашка/CN=Иванов/INN=500100732259/INNLE=7707083893")
});

static SIGNED: LazyLock<Vec<u8>> = LazyLock::new(|| ROMASHKA.sign(DATA.as_bytes(), &ATTACHED));

fn inn(text: &str) -> Inn {
    text.parse().unwrap()
}

/// A moment at which the certificate of ROMASHKA is valid.
fn meanwhile() -> Utc {
    let signer = inspect(&SIGNED, DATA.as_bytes(), Utc::MIN).unwrap().signer.unwrap();
    signer.not_before
}

fn look(der: &[u8]) -> Result<Inspection, Fault> {
    inspect(der, DATA.as_bytes(), meanwhile())
}

#[test]
fn attached_signature_of_the_challenge_is_in_order_and_says_whose_it_is() {
    let found = look(&SIGNED).unwrap();
    let signer = found.signer.clone().unwrap();
    assert_eq!(signer.inns, [inn("7707083893"), inn("500100732259")]);
    assert!(signer.not_before < signer.not_after);
    for own in &signer.inns {
        assert_eq!(found.warnings(own), []);
        assert_eq!(found.text(own), None);
    }
}

#[test]
fn end_and_beginning_of_the_certificate_are_told_to_the_moment() {
    let signer = look(&SIGNED).unwrap().signer.unwrap();
    let second = |by: i64, at: Utc| Utc::from_unix_millis(at.unix_millis() + by);
    for (now, wanted) in [
        (second(-1, signer.not_before), Some(Warning::CertificateNotYet(signer.not_before))),
        (signer.not_before, None),
        (signer.not_after, None),
        (second(1, signer.not_after), Some(Warning::CertificateEnded(signer.not_after))),
    ] {
        let found = inspect(&SIGNED, DATA.as_bytes(), now).unwrap();
        assert_eq!(found.warnings(&inn("7707083893")), Vec::from_iter(wanted), "{now}");
    }
}

#[test]
fn what_the_service_would_refuse_for_certain_is_refused() {
    let sign = |text: &[u8]| ROMASHKA.sign(text, &ATTACHED);
    let wide =
        |bytes: fn(u16) -> [u8; 2]| -> Vec<u8> { DATA.encode_utf16().flat_map(bytes).collect() };
    let with = |mark: &[u8], text: Vec<u8>| [mark, &text].concat();
    let other = |content| Fault::OtherContent(content);
    for (what, der, wanted) in [
        ("nothing", Vec::new(), Fault::NotSignature),
        ("text", b"signature".to_vec(), Fault::NotSignature),
        ("too long", vec![0x30; DER_BYTES_MAX + 1], Fault::TooLong),
        (
            "data that nobody signed",
            ROMASHKA.openssl(&["cms", "-data_create", "-outform", "DER"], DATA.as_bytes()),
            Fault::NotSignature,
        ),
        (
            "certificates alone",
            ROMASHKA.openssl(&["crl2pkcs7", "-nocrl", "-certfile", "crt", "-outform", "DER"], b""),
            Fault::NotSignature,
        ),
        (
            "detached",
            ROMASHKA.sign(DATA.as_bytes(), &["-cades", "-md", "md_gost12_256"]),
            Fault::Detached,
        ),
        ("an empty text", sign(b""), other(Content::Empty)),
        ("a line break", sign(format!("{DATA}\r\n").as_bytes()), other(Content::Blanks)),
        ("UTF-16", sign(&wide(u16::to_le_bytes)), other(Content::Encoding)),
        (
            "UTF-16 with a mark",
            sign(&with(b"\xfe\xff", wide(u16::to_be_bytes))),
            other(Content::Encoding),
        ),
        ("UTF-8 with a mark", sign(&with(b"\xef\xbb\xbf", DATA.into())), other(Content::Encoding)),
        ("base64", sign(b"V0xZRFNNWURBWE5IQkVGT0JHS0pGU1pOTU9SUVRZ"), other(Content::Base64)),
        ("the challenge before", sign(b"ANOTHERONE"), other(Content::Other)),
    ] {
        assert_eq!(look(&der), Err(wanted), "{what}");
        let Text { russian, english } = wanted.text();
        assert!(russian.ends_with('.') && english.ends_with('.'), "{wanted:?}");
        assert!(russian.contains(|c: char| ('а'..='я').contains(&c)), "{russian}");
        assert!(!english.contains(|c: char| ('а'..='я').contains(&c)), "{english}");
    }
}

#[test]
fn what_may_be_good_all_the_same_is_only_warned_of() {
    let text = DATA.as_bytes();
    let own = inn("7707083893");
    let old = Signatory::gost("/CN=Сидоров/INN=007707083893");
    let other = Signatory::gost("/CN=Петров/INN=7801234564");
    let nameless = Signatory::gost("/CN=Никто");
    let rsa = Signatory::new(&["-newkey", "rsa:2048"], "/CN=RSA/INNLE=7707083893");
    let [nodetach, cades, md, digest] = ATTACHED;
    for (what, der, wanted) in [
        ("noughts in front", old.sign(text, &ATTACHED), vec![]),
        ("no ИНН", nameless.sign(text, &ATTACHED), vec![]),
        (
            "another's",
            other.sign(text, &ATTACHED),
            vec![Warning::OtherOrganisation(vec![inn("7801234564")])],
        ),
        (
            "no certificate",
            ROMASHKA.sign(text, &[nodetach, cades, md, digest, "-nocerts"]),
            vec![Warning::NoCertificate],
        ),
        (
            "BER",
            ROMASHKA.sign(text, &[nodetach, md, digest, "-stream", "-indef"]),
            vec![Warning::Unreadable],
        ),
        ("RSA", rsa.sign(text, &[nodetach]), vec![Warning::NotGost]),
        ("no attributes", ROMASHKA.sign(text, &[nodetach, md, digest, "-noattr"]), vec![]),
    ] {
        let found = inspect(&der, text, meanwhile_of(&der)).unwrap();
        assert_eq!(found.warnings(&own), wanted, "{what}");
        assert_eq!(found.text(&own).is_some(), !wanted.is_empty(), "{what}");
    }
}

/// A moment at which the certificate in a signature is valid, if there is one.
fn meanwhile_of(der: &[u8]) -> Utc {
    let found = inspect(der, DATA.as_bytes(), Utc::MIN).unwrap();
    found.signer.map_or(Utc::MIN, |signer| signer.not_before)
}

#[test]
fn signer_that_is_named_by_its_key_is_found_too() {
    let der = ROMASHKA.sign(DATA.as_bytes(), &["-nodetach", "-keyid", "-md", "md_gost12_256"]);
    let found = look(&der).unwrap();
    assert_eq!(found.warnings(&inn("7707083893")), []);
    assert_eq!(found.signer.unwrap().inns[0], inn("7707083893"));
}

#[test]
fn certificate_of_the_issuer_beside_the_signers_is_not_taken_for_it() {
    let issuer = Signatory::gost("/CN=Удостоверяющий центр/INNLE=7710474375");
    let more = issuer.path().join("crt");
    let more = more.to_str().unwrap();
    let [nodetach, cades, md, digest] = ATTACHED;
    let der = ROMASHKA.sign(DATA.as_bytes(), &[nodetach, cades, md, digest, "-certfile", more]);
    let found = look(&der).unwrap();
    assert_eq!(found.signer.unwrap().inns[0], inn("7707083893"));
}

#[test]
fn every_warning_has_a_text_in_both_languages_that_ends() {
    let at = Utc::from_unix_millis(0);
    for warning in [
        Warning::Unreadable,
        Warning::NoCertificate,
        Warning::CertificateEnded(at),
        Warning::CertificateNotYet(at),
        Warning::OtherOrganisation(vec![inn("7801234564")]),
        Warning::NotGost,
    ] {
        let Text { russian, english } = warning.text();
        assert!(russian.ends_with('.') && english.ends_with('.') && russian != english);
    }
}

#[test]
fn signature_that_breaks_off_is_unreadable_and_never_refused() {
    for length in 1..SIGNED.len() {
        let found = look(&SIGNED[..length]).unwrap();
        assert_eq!(found.warnings(&inn("7707083893")), [Warning::Unreadable], "{length}");
    }
}

proptest! {
    #[test]
    fn no_bytes_are_a_reason_to_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        drop(inspect(&bytes, DATA.as_bytes(), Utc::MAX));
        drop(inspect(&[&[0x30][..], &bytes].concat(), &bytes, Utc::MIN));
    }

    #[test]
    fn spoilt_signature_is_no_reason_to_panic(
        spoils in proptest::collection::vec((any::<Index>(), any::<u8>()), 1..4),
        cut in any::<Index>(),
    ) {
        let mut bytes = SIGNED.clone();
        for (place, byte) in spoils {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        drop(inspect(&bytes, DATA.as_bytes(), Utc::MAX));
        bytes.truncate(cut.index(bytes.len()));
        drop(inspect(&bytes, DATA.as_bytes(), Utc::MAX));
    }
}
