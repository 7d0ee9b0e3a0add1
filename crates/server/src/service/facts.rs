//! What a service is made of: its program, folder, user and devices, checked before they stand in a unit
//! or script.

use std::path::{Component, PathBuf};

use super::ServiceError;
use crate::config::Config;

/// Folders that a service does not see or loses at a restart of the machine.
const PASSING: [&str; 3] = ["/tmp", "/var/tmp", "/run"];

/// The group of `/dev/tpmrm0` in Debian, Red Hat and SUSE.
const TPM_GROUP: &str = "tss";

/// Names that the data folder's has at least: `/var` alone would give the system away. On Windows a folder
/// right below a drive may be the server's own; one that holds something else is refused anyhow.
const DEPTH_MIN: usize = if cfg!(windows) { 1 } else { 2 };

/// What the unit and the script are made of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Facts {
    /// The program's file, absolute.
    pub program: PathBuf,
    /// The base folder, absolute.
    pub base: PathBuf,
    /// The user.
    pub user: String,
    /// The devices that the service needs.
    pub devices: Devices,
}

/// Devices that a service may use; none of the others exist for it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Devices {
    /// Tokens on USB.
    pub usb: bool,
    /// The device of the TPM that keeps the identity.
    pub tpm: Option<PathBuf>,
    /// The group that the system lets use its TPM.
    pub tpm_group: Option<&'static str>,
}

impl Devices {
    /// What the settings ask for; `groups` is the system's `/etc/group`.
    pub fn of(config: &Config, groups: &str) -> Self {
        let device = &config.identity.tpm_device;
        // The socket of a TPM in software is no device.
        let tpm = (config.identity.use_tpm && device.starts_with("/dev")).then(|| device.clone());
        let has_group = groups.lines().any(|line| line.split(':').next() == Some(TPM_GROUP));
        let tpm_group = (tpm.is_some() && has_group).then_some(TPM_GROUP);
        Self { usb: config.usb.enabled, tpm, tpm_group }
    }
}

impl Facts {
    /// Checks what was asked for.
    ///
    /// # Errors
    ///
    /// [`ServiceError::Name`] for what cannot stand in a unit or script.
    pub fn new(program: PathBuf, base: PathBuf, user: String) -> Result<Self, ServiceError> {
        let name = |what: String, why| ServiceError::Name { what, why };
        for path in [&program, &base] {
            let shown = path.display().to_string();
            let is_text = path.to_str().is_some_and(|text| !text.chars().any(char::is_control));
            if !is_text {
                return Err(name(shown, "the name has characters that are no text"));
            }
            if !path.is_absolute() {
                return Err(name(shown, "the name must be absolute"));
            }
        }
        if PASSING.iter().any(|folder| base.starts_with(folder)) {
            let shown = format!("--data {}", base.display());
            return Err(name(shown, "the folder does not outlive a restart of the machine"));
        }
        // The service's user gets everything below it.
        let parts = base.components().filter(|part| matches!(part, Component::Normal(_)));
        let is_plain = !base.components().any(|part| matches!(part, Component::ParentDir));
        if parts.count() < DEPTH_MIN || !is_plain {
            let shown = format!("--data {}", base.display());
            return Err(name(shown, "expected a folder of its own below another one, without .."));
        }
        // As useradd(8) has it.
        let mut letters = user.chars();
        let is_user = letters
            .next()
            .is_some_and(|first| first.is_ascii_lowercase() || first == '_')
            && letters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c))
            && user.len() <= 32;
        if !is_user {
            let shown = format!("--user {user}");
            return Err(name(shown, "expected up to 32 lower-case letters, digits, _ and -"));
        }
        Ok(Self { program, base, user, devices: Devices::default() })
    }

    /// The same with devices. Their names are checked as the others are.
    ///
    /// # Errors
    ///
    /// [`ServiceError::Name`].
    pub fn with_devices(self, devices: Devices) -> Result<Self, ServiceError> {
        if let Some(device) = &devices.tpm {
            let shown = device.to_str().unwrap_or_default();
            let is_plain = shown.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
            if shown.is_empty() || !is_plain {
                return Err(ServiceError::Name {
                    what: format!("TpmDevice {}", device.display()),
                    why: "expected letters, digits and /._-",
                });
            }
        }
        Ok(Self { devices, ..self })
    }
}

// Names of Windows look otherwise: there is no user, and a drive makes a path absolute.
#[cfg(all(test, unix))]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::IniSource;

    #[test]
    fn names_that_would_break_a_unit_or_a_script_are_refused() {
        for (program, base, user, is_fine) in [
            ("/usr/bin/licenceserver", "/var/1C/licence", "licence", true),
            ("/opt/with space/licenceserver", "/srv/данные", "_licence-1", true),
            ("licenceserver", "/var/1C/licence", "licence", false),
            ("/usr/bin/licenceserver", "data", "licence", false),
            ("/usr/bin/licenceserver", "/tmp/data", "licence", false),
            ("/usr/bin/licenceserver", "/", "licence", false),
            ("/usr/bin/licenceserver", "/var", "licence", false),
            ("/usr/bin/licenceserver", "/srv/x/../..", "licence", false),
            ("/usr/bin/licenceserver", "/var/1C\nUser=root", "licence", false),
            ("/usr/bin/licenceserver", "/var/1C/licence", "Licence", false),
            ("/usr/bin/licenceserver", "/var/1C/licence", "a;b", false),
            ("/usr/bin/licenceserver", "/var/1C/licence", "", false),
        ] {
            let facts = Facts::new(program.into(), base.into(), user.to_owned());
            assert_eq!(facts.is_ok(), is_fine, "{program} {base:?} {user}");
        }
    }

    #[test]
    fn devices_follow_the_settings_and_a_group_is_named_where_there_is_one() {
        let groups = "root:x:0:\ntss:x:101:\n";
        for (conf, groups, usb, tpm, group) in [
            ("", groups, true, None, None),
            ("[UPKey]\nEnabled=0\n", groups, false, None, None),
            ("[Common]\nIdentityTpm=on\n", groups, true, Some("/dev/tpmrm0"), Some("tss")),
            ("[Common]\nIdentityTpm=on\n", "tssx:x:1:\n", true, Some("/dev/tpmrm0"), None),
            ("[Common]\nIdentityTpm=on\nTpmDevice=/run/swtpm\n", groups, true, None, None),
        ] {
            let source = IniSource::parse(Path::new("x"), conf.as_bytes().to_vec()).unwrap();
            let devices = Devices::of(&Config::from_source(&source).unwrap(), groups);
            let wanted = Devices { usb, tpm: tpm.map(PathBuf::from), tpm_group: group };
            assert_eq!(devices, wanted, "{conf:?} {groups:?}");
        }
        let facts = Facts::new("/usr/bin/x".into(), "/var/1C/licence".into(), "licence".into());
        let odd = Devices { tpm: Some("/dev/a\nUser=root".into()), ..Devices::default() };
        assert!(facts.unwrap().with_devices(odd).is_err());
    }
}
