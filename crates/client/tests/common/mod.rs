//! A small real licence server for the tests of the client: real TLS by a real Ed25519 identity,
//! real licences signed by a test series key, a counting rule of its own that is only "so many
//! seats". A stand-in for `licenceserver`, which has tests of its own.
//!
//! Also raw servers that misbehave, a clock that tests move, and waits with a bound.

#![expect(dead_code, reason = "each test program uses a part of this")]

pub(crate) mod bench;
mod server;

use std::path::Path;
use std::sync::mpsc::channel;
use std::time::Duration;

use licence_core::activation::{ActivationCode, CodeKind};
use licence_core::datafile::{
    MAGIC, ObjectAccess, ObjectEntry, ObjectKind, ObjectList, seal_object,
};
use licence_core::key::{Flags, KeyNo, KeySeries};
use licence_core::licence_file::{LICENCE_FORMAT, LicenceClaims, LicenceFields};
use licence_core::protocol::SessionInfo;
use licence_core::seal::{Jwk, PublicKey, SigningKey, hex_upper, sha256};
use licence_core::series::SeriesDescriptor;
use licence_core::time::Utc;

pub(crate) use server::*;

pub(crate) const SERIES: KeySeries = KeySeries::from_u16(0x672B);

/// Every wait of these tests ends after this at the latest.
pub(crate) const BOUND: Duration = Duration::from_secs(20);

pub(crate) fn series_key() -> SigningKey {
    SigningKey::from_seed(&[1; 32])
}

pub(crate) fn descriptor() -> String {
    let key = series_key().public();
    let object = Jwk { crv: "X25519".into(), ..key.jwk() };
    let descriptor = SeriesDescriptor::new(SERIES, "Тестовая серия".into(), None, key, object);
    serde_json::to_string(&descriptor).unwrap()
}

/// A licence of the series, signed by `key` and bound to `holder`.
pub(crate) fn licence(key: &SigningKey, holder: PublicKey) -> String {
    let now = Utc::from_unix_millis(1_522_701_673_272);
    let fields = LicenceFields {
        version: LICENCE_FORMAT.into(),
        key_no: KeyNo(7_131_766),
        key_id: SERIES,
        reg_no: None,
        key_type: 3,
        service_type: 0,
        licence_count: 5,
        product_version: 0,
        blank_key_no: None,
        activation_code: ActivationCode::encode(CodeKind::Activation, SERIES, 77),
        activation_date: now,
        start_date: None,
        period: 0,
        expire_date: None,
        flags: Flags(0),
        itn: None,
        iec: None,
        product_name: "Тестовая серия".into(),
        article: None,
        article_name: None,
        parameters: Default::default(),
        support: Default::default(),
    };
    LicenceClaims::new("a1".into(), now, holder, fields).sign(key).unwrap()
}

/// A data file with objects of this name, kind, access and content, signed by `key`.
pub(crate) fn datafile(
    key: &SigningKey,
    objects: &[(&str, ObjectKind, ObjectAccess, &[u8])],
) -> Vec<u8> {
    let (mut entries, mut body) = (Vec::new(), Vec::new());
    for (name, kind, access, plain) in objects {
        let entry = ObjectEntry {
            name: (*name).to_owned(),
            kind: *kind,
            access: *access,
            size: plain.len() as u64,
            offset: body.len() as u64,
            digest: hex_upper(&sha256(plain)),
            key: format!("key of {name}"),
        };
        let object_key = sha256(entry.key.as_bytes());
        body.extend(seal_object(&object_key, &entry.context(SERIES), plain).unwrap());
        entries.push(entry);
    }
    let token = ObjectList::new(SERIES, entries).sign(key).unwrap();
    [MAGIC, token.as_bytes(), b"\n", &body].concat()
}

/// Waits for something that nobody announces.
pub(crate) fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let (_never, pause) = channel::<()>();
    for _ in 0..BOUND.as_millis() / 5 {
        if condition() {
            return;
        }
        let _timed_out = pause.recv_timeout(Duration::from_millis(5));
    }
    panic!("{what} did not happen");
}

pub(crate) fn session(number: u32) -> SessionInfo {
    SessionInfo {
        session_number: number.to_string(),
        is_server: true,
        info_base_connection_str: "Srvr=\"s\";Ref=\"b\";".into(),
        ..SessionInfo::default()
    }
}

/// For tests that write files.
pub(crate) fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
}
