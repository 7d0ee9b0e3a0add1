//! Tests of [`super`]: conf files as administrators write them.

use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Result<Config, ConfigError> {
    let source = IniSource::parse(Path::new("licenceserver.conf"), text.as_bytes().to_vec())?;
    Config::from_source(&source)
}

#[test]
fn empty_file_is_all_defaults_of_the_manual() {
    let config = read("").unwrap();
    assert_eq!(config.server_port, 9099);
    assert_eq!(config.console.user_name, "admin");
    assert_eq!(config.console.authorization, Authorization::Changes);
    assert!(config.api_enabled && config.has_default_password());
    assert!(read("[Console]\nUserName=ivan").unwrap().has_default_password());
    assert!(!config.keep_previous_logs && !config.console.local_access_only);
}

#[test]
fn missing_file_is_all_defaults() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(Config::load(&dir.path().join("none.conf")).unwrap(), read("").unwrap());
}

#[test]
fn every_known_key_is_read() {
    let text = "\u{feff}; comment\n[Common]\nServerAddr=127.0.0.1\nServerPort=0\nLang=ru\n\
        LicenceCenterUrl=https://centre.example/\nLicenceCenterUseProxy=1\nComponentService=0\nSeriesFile=my.series\n\
        # another\nKeepPreviousLogs=1\nKeepCurrentDateLogs=1\n[UPKey]\nEnabled=0\n[Console]\n\
        LocalAccessOnly=1\nAllowedAddresses=192.168.1.0/24, ::1\nAuthorization=1\nCheckCaptcha=1\n\
        EnableAccessCodes=0\nHideFullStorages=1\nHideUnistalled=1\nCheckDNSRebinding=1\n\
        HostNames=Lic.Example,other\nUserName=root\nPassword=ad;m#in=x y\n[API]\nEnabled=0\n\
        [AccessCodes]\n7131766=secret\n[LicenceUpdate]\nLastUpdate=2019-11-11\n[Strange]\nA=1\n";
    let config = read(text).unwrap();
    assert_eq!(config.server_addr, IpAddr::V4(Ipv4Addr::LOCALHOST));
    assert_eq!((config.server_port, config.lang), (0, Language::Russian));
    assert_eq!(config.licence_center_url.as_deref(), Some("https://centre.example"));
    assert_eq!(config.series_file, "my.series");
    assert!(config.licence_center_use_proxy && config.keep_previous_logs);
    assert!(!config.component_service);
    assert!(config.keep_current_date_logs && !config.usb.enabled && !config.api_enabled);
    let console = config.console;
    assert!(console.local_access_only && console.check_captcha && !console.enable_access_codes);
    assert!(console.hide_full_storages && console.hide_uninstalled && console.check_dns_rebinding);
    assert_eq!(console.allowed_addresses.len(), 2);
    assert_eq!(console.authorization, Authorization::Always);
    assert_eq!(console.host_names, ["lic.example", "other"]);
    assert_eq!(console.user_name, "root");
    assert_eq!(console.password, Password::Plain("ad;m#in=x y".to_owned()));
    assert_eq!(config.access_codes, BTreeMap::from([(KeyNo(7_131_766), "secret".to_owned())]));
}

#[test]
fn wrong_value_is_named_with_its_file_section_key_and_what_is_expected() {
    for (text, expected) in [
        ("[Common]\nServerPort=x", "licenceserver.conf:2: [Common] ServerPort=x: expected a port"),
        ("[Common]\nServerAddr=host", "[Common] ServerAddr=host: expected an IP address"),
        ("[Common]\nLang=de", "[Common] Lang=de: expected ru or en"),
        ("[Common]\nLicenceCenterUrl=ftp://x", "expected an address that begins with http://"),
        ("[Common]\nLicenceCenterUrl=http://", "expected an address that begins with http://"),
        ("[Console]\nAuthorization=3", "[Console] Authorization=3: expected 0, 1 or 2"),
        ("[Console]\nLocalAccessOnly=yes", "expected 0 or 1"),
        ("[Console]\nAllowedAddresses=1.2.3.4/33", "expected addresses or prefixes"),
        ("[Console]\nPassword=$argon2id$nonsense", "[Console] Password=***: expected"),
        ("[AccessCodes]\nx=secret", "conf:2: [AccessCodes] ***=***: expected a key number"),
    ] {
        let error = read(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn password_is_shown_in_no_debug_output() {
    let config = read("[Console]\nPassword=hunter2").unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn file_that_is_not_utf_8_is_refused() {
    let bytes = vec![b'[', 0xCF, 0xF0];
    assert!(IniSource::parse(Path::new("x"), bytes).is_err());
}

#[test]
fn address_range_takes_what_it_covers() {
    for (range, address, inside) in [
        ("192.168.1.0/24", "192.168.1.200", true),
        ("192.168.1.0/24", "192.168.2.1", false),
        ("192.168.1.0/24", "::ffff:192.168.1.3", true),
        ("10.0.0.1", "10.0.0.1", true),
        ("10.0.0.1", "10.0.0.2", false),
        ("0.0.0.0/0", "8.8.8.8", true),
        ("0.0.0.0/0", "::1", false),
        ("::/0", "::1", true),
        ("fd00::/8", "fd12::1", true),
        ("fd00::/8", "fe80::1", false),
    ] {
        let range = AddressRange::parse(range).unwrap();
        assert_eq!(range.contains(address.parse().unwrap()), inside, "{range:?} {address}");
    }
}

proptest! {
    #[test]
    fn any_conf_is_read_or_refused(bytes: Vec<u8>, text in "(\\[[A-Za-z]{0,8}\\]|[A-Za-z]{0,6}=?.{0,9}|\n){0,20}") {
        if let Ok(source) = IniSource::parse(Path::new("x"), bytes) {
            let _read_or_refused = Config::from_source(&source).is_ok();
        }
        let _read_or_refused = read(&text).is_ok();
    }
}
