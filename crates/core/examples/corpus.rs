//! Writes the seed corpus of the fuzz targets: genuine documents under a fixed test key, and the
//! same ones damaged. `cargo run -p licence-core --example corpus -- FOLDER`.

use std::path::Path;
use std::{env, fs, io};

use licence_core::activation::{ActivationCode, CodeKind};
use licence_core::activation_request::ActivationRequest;
use licence_core::datafile::{
    MAGIC, ObjectAccess, ObjectEntry, ObjectKind, ObjectList, seal_object,
};
use licence_core::key::{Flags, KeyNo, KeySeries};
use licence_core::lease_token::{LeaseClaims, issuer};
use licence_core::licence_file::{LICENCE_FORMAT, Licence, LicenceClaims, LicenceFields};
use licence_core::seal::{Jwk, SigningKey, hex_upper, sha256};
use licence_core::series::SeriesDescriptor;
use licence_core::short_text::{ShortAnswer, ShortRequest, short_form};
use licence_core::time::Utc;

fn main() -> io::Result<()> {
    let folder = env::args().nth(1).unwrap_or_else(|| "crates/core/fuzz/corpus".to_owned());
    let folder = Path::new(&folder);
    let (series_key, holder) = (SigningKey::from_seed(&[1; 32]), SigningKey::from_seed(&[2; 32]));
    let series = KeySeries::from_u16(0x672B);
    let code = ActivationCode::encode(CodeKind::Activation, series, 0x1234_5678_9ABC_DEF0);
    let now = Utc::from_unix_millis(1_522_443_600_414);
    let fields = LicenceFields {
        version: LICENCE_FORMAT.to_owned(),
        key_no: KeyNo(7_131_766),
        key_id: series,
        reg_no: Some(202),
        key_type: 3,
        service_type: 0,
        licence_count: 5,
        product_version: 0,
        blank_key_no: None,
        activation_code: code,
        activation_date: now,
        start_date: None,
        period: 30,
        expire_date: None,
        flags: Flags(5),
        itn: Some("0123456789".to_owned()),
        iec: None,
        product_name: "Тестовая серия".to_owned(),
        article: None,
        article_name: None,
        parameters: Default::default(),
        support: Default::default(),
    };
    let short_claims = short_form(LicenceClaims::new(
        "0123456789ABCDEF0123456789ABCDEF".to_owned(),
        now,
        holder.public(),
        fields.clone(),
    ));
    let licence = LicenceClaims::new("a1".to_owned(), now, holder.public(), fields)
        .sign(&series_key)
        .map_err(io::Error::other)?;
    let request = ActivationRequest::new(
        "r1".to_owned(),
        now,
        &holder,
        code,
        "D365ACC38180015CD3A30E62BF1072392D4DD5C1".to_owned(),
        "4.0.0".to_owned(),
    )
    .sign(&holder)?;
    let lease = LeaseClaims {
        iss: issuer(&series_key.public()),
        sub: "AF72CC4124DD4B588AA9039D31035A5C".to_owned(),
        iat: 0,
        exp: 1000,
        key_id: series,
        key_no: KeyNo(7_131_766),
    }
    .sign(&series_key)?;
    let object = Jwk { crv: "X25519".to_owned(), ..holder.public().jwk() };
    let descriptor = SeriesDescriptor::new(
        series,
        "Тестовая серия".to_owned(),
        Some("http://localhost:9100".to_owned()),
        series_key.public(),
        object,
    );
    let (short_request, short_answer) =
        short_texts(&descriptor, &series_key, &holder, &short_claims)?;
    let descriptor = serde_json::to_string(&descriptor)?;
    write(folder, "licence_file", &[&licence, &request])?;
    write(folder, "activation_code", &[&code.to_string(), &code.to_string().replace('-', " ")])?;
    write(folder, "short_text", &[&short_request, &short_answer])?;
    write(folder, "series_file", &[&descriptor, &format!("[{descriptor}]"), "[]"])?;
    let rules = concat!(
        r#"{"Rules":[{"Name":"Гости","Effect":"limit","Seats":2,"User":"гость*","KeyID":"672B"},"#,
        r#"{"Name":"Филиал","Effect":"deny","Subnet":"10.7.0.0/16","Comment":"по заявке"},"#,
        r#"{"Name":"Касса","Effect":"reserve","Seats":1,"Application":"1CV8C","Enabled":false}]}"#
    );
    write(folder, "rules_file", &[rules, r#"{"Rules":[]}"#])?;
    write(folder, "lease_token", &[&lease])?;
    let parameters =
        "[Default]\nТипПриложения=Базовая\n[7131766]\nТипПриложения=КОРП\n[Main]\nKey=7131766\n";
    let full = datafile(
        series,
        &series_key,
        &[
            ("Цены", ObjectKind::Epf, b"\xFF\xFF\xFF\x7F processor"),
            ("Параметры", ObjectKind::Text, parameters.as_bytes()),
        ],
    )?;
    let empty = datafile(series, &series_key, &[])?;
    write_bytes(folder, "datafile", &[&full, &empty, parameters.as_bytes()])
}

/// A request and an answer that can be read out.
fn short_texts(
    series: &SeriesDescriptor,
    series_key: &SigningKey,
    holder: &SigningKey,
    claims: &LicenceClaims,
) -> io::Result<(String, String)> {
    let request = ShortRequest {
        code: claims.fields.activation_code,
        holder: holder.public(),
        computer_id: "D365ACC38180015CD3A30E62BF1072392D4DD5C1".to_owned(),
        itn: claims.fields.itn.clone(),
        iec: None,
    };
    let document = claims.sign(series_key).map_err(io::Error::other)?;
    let licence = Licence::verify(&document, &series_key.public()).map_err(io::Error::other)?;
    let answer = ShortAnswer::of(&licence, series).map_err(io::Error::other)?;
    let text = |text: Result<String, _>| text.map_err(io::Error::other);
    Ok((text(request.encode())?, text(answer.encode())?))
}

/// A data file whose objects all have one key, which nobody wrapped: the reader does not mind.
fn datafile(
    series: KeySeries,
    series_key: &SigningKey,
    objects: &[(&str, ObjectKind, &[u8])],
) -> io::Result<Vec<u8>> {
    let (mut entries, mut body) = (Vec::new(), Vec::new());
    for (name, kind, plain) in objects {
        let entry = ObjectEntry {
            name: (*name).to_owned(),
            kind: *kind,
            access: ObjectAccess::Seat,
            size: plain.len() as u64,
            offset: body.len() as u64,
            digest: hex_upper(&sha256(plain)),
            key: "AAAA".to_owned(),
        };
        let sealed = seal_object(&[3; 32], &entry.context(series), plain);
        body.extend(sealed.map_err(io::Error::other)?);
        entries.push(entry);
    }
    let token = ObjectList::new(series, entries).sign(series_key).map_err(io::Error::other)?;
    Ok([MAGIC, token.as_bytes(), b"\n", &body].concat())
}

/// As [`write`], for files that are not text.
fn write_bytes(folder: &Path, target: &str, files: &[&[u8]]) -> io::Result<()> {
    let folder = folder.join(target);
    fs::create_dir_all(&folder)?;
    for (at, bytes) in files.iter().enumerate() {
        let mut changed = bytes.to_vec();
        if let Some(byte) = changed.last_mut() {
            *byte ^= 1;
        }
        fs::write(folder.join(format!("{at}-good")), bytes)?;
        fs::write(folder.join(format!("{at}-cut")), &bytes[..bytes.len() / 2])?;
        fs::write(folder.join(format!("{at}-changed")), changed)?;
    }
    Ok(())
}

/// Writes each text, and each with one character changed and cut short.
fn write(folder: &Path, target: &str, texts: &[&str]) -> io::Result<()> {
    let folder = folder.join(target);
    fs::create_dir_all(&folder)?;
    for (at, text) in texts.iter().enumerate() {
        let half = (0..=text.len() / 2).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        fs::write(folder.join(format!("{at}-good")), text)?;
        fs::write(folder.join(format!("{at}-cut")), &text[..half])?;
        fs::write(folder.join(format!("{at}-changed")), text.replacen('e', "f", 1) + "x")?;
    }
    Ok(())
}
