//! Which public key a series is trusted by.
//!
//! The strong pin is the descriptor that the configuration itself carries: whoever replaces it
//! changes the configuration. The weak one is the file `licence.series` beside the common
//! `licenceaddin.conf`: it protects against a foreign server on the network, and not against an
//! administrator of this computer, who can put a file of their own there.

use licence_core::key::KeySeries;
use licence_core::seal::PublicKey;
use licence_core::series::{SERIES_FILE_BYTES_MAX, SeriesDescriptor, parse_series_file};

use crate::conf::{Conf, ConfPaths, read_bounded, unreadable};
use crate::error::ClientError;

/// Name of the file of descriptors where `SeriesFile` names no other.
const SERIES_FILE: &str = "licence.series";

/// The key that signs licences of `series`.
///
/// # Errors
///
/// `EParams` when a descriptor is damaged or describes another series; `ESeriesNotPinned` when
/// there is none.
pub(crate) fn pinned_key(
    series: KeySeries,
    descriptor: Option<&str>,
    paths: &ConfPaths,
) -> Result<PublicKey, ClientError> {
    if let Some(text) = descriptor.map(str::trim).filter(|text| !text.is_empty()) {
        return from_descriptor(series, text);
    }
    let common = Conf::load(&paths.common)?;
    let name = common
        .and_then(|conf| conf.get("Common", "SeriesFile"))
        .filter(|name| !name.trim().is_empty())
        .unwrap_or_else(|| SERIES_FILE.to_owned());
    let path = match paths.common.parent() {
        Some(folder) => folder.join(name.trim()),
        None => name.trim().into(),
    };
    let bytes =
        read_bounded(&path, SERIES_FILE_BYTES_MAX).map_err(|why| unreadable(&path, &why))?;
    let shown = path.display();
    if let Some(bytes) = bytes {
        let text = String::from_utf8_lossy(&bytes);
        let described = parse_series_file(&text).map_err(|why| {
            ClientError::params(
                format!("Файл {shown} не является файлом описаний серий: {why}"),
                format!("{shown} is not a file of series descriptors: {why}"),
            )
        })?;
        if let Some(descriptor) = described.get(&series) {
            return descriptor.signing_key().map_err(|why| damaged(&why));
        }
    }
    Err(ClientError::new(
        "ESeriesNotPinned",
        format!(
            "Неизвестен открытый ключ серии {series}, поэтому сервер нельзя проверить: передайте \
             описание серии из конфигурации (свойство ОписаниеСерии) или поместите файл \
             {series}.series, полученный от разработчика, в {shown}"
        ),
        format!(
            "The public key of series {series} is not known, so that no server can be verified: \
             pass the series descriptor from the configuration (property SeriesDescriptor), or put \
             the vendor's file {series}.series at {shown}"
        ),
    ))
}

fn from_descriptor(series: KeySeries, text: &str) -> Result<PublicKey, ClientError> {
    if text.len() > SERIES_FILE_BYTES_MAX {
        return Err(damaged(&"too long"));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let descriptor: SeriesDescriptor = serde_json::from_str(text).map_err(|why| damaged(&why))?;
    if descriptor.series != series {
        let other = descriptor.series;
        return Err(ClientError::params(
            format!("Описание серии относится к серии {other}, а запускается серия {series}"),
            format!("the series descriptor is of series {other}, but series {series} is started"),
        ));
    }
    descriptor.signing_key().map_err(|why| damaged(&why))
}

fn damaged(why: &dyn std::fmt::Display) -> ClientError {
    ClientError::params(
        format!("Описание серии повреждено: {why}"),
        format!("the series descriptor is damaged: {why}"),
    )
}

#[cfg(test)]
mod tests {
    use licence_core::seal::{Jwk, SigningKey};

    use super::*;

    const SERIES: KeySeries = KeySeries::from_u16(0x672B);

    fn descriptor(series: KeySeries, seed: u8) -> String {
        let key = SigningKey::from_seed(&[seed; 32]).public();
        let object = Jwk { crv: "X25519".into(), ..key.jwk() };
        let descriptor = SeriesDescriptor::new(series, "Тест".into(), None, key, object);
        serde_json::to_string(&descriptor).unwrap()
    }

    fn key(seed: u8) -> PublicKey {
        SigningKey::from_seed(&[seed; 32]).public()
    }

    #[test]
    fn descriptor_of_the_configuration_wins_over_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ConfPaths { user: None, common: folder.path().join("licenceaddin.conf") };
        let pinned = |text: Option<&str>| pinned_key(SERIES, text, &paths);
        assert_eq!(pinned(None).unwrap_err().class(), "ESeriesNotPinned");
        std::fs::write(folder.path().join("licence.series"), descriptor(SERIES, 2)).unwrap();
        assert_eq!(pinned(None), Ok(key(2)));
        assert_eq!(pinned(Some(" ")), Ok(key(2)));
        assert_eq!(pinned(Some(&descriptor(SERIES, 1))), Ok(key(1)));
        assert_eq!(pinned(Some("{}")).unwrap_err().class(), "EParams");
        let other = descriptor(KeySeries::from_u16(1), 1);
        assert_eq!(pinned(Some(&other)).unwrap_err().class(), "EParams");
    }

    #[test]
    fn series_file_may_be_named_in_the_common_conf() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ConfPaths { user: None, common: folder.path().join("licenceaddin.conf") };
        std::fs::write(&paths.common, "[Common]\nSeriesFile=ours.series\n").unwrap();
        std::fs::write(folder.path().join("ours.series"), descriptor(SERIES, 3)).unwrap();
        assert_eq!(pinned_key(SERIES, None, &paths), Ok(key(3)));
        std::fs::write(folder.path().join("ours.series"), "nonsense").unwrap();
        assert_eq!(pinned_key(SERIES, None, &paths).unwrap_err().class(), "EParams");
    }
}
