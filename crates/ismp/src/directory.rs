//! The organisations and installations that an administrator names, and how their keys are got.
//!
//! Addresses of the service are no part of it: they come from the server's settings alone.

use licence_core::time::Utc;
use serde::{Deserialize, Serialize};

use crate::key::{Inn, KeyError, ProductionObject};

/// Most organisations: a holding has some dozens.
pub const ORGANIZATIONS_MAX: usize = 500;

/// Most installations of СУЗ.
pub const INSTALLATIONS_MAX: usize = 1000;

/// Longest name of either, in characters.
pub const NAME_CHARS_MAX: usize = 128;

/// In which form keys of ИС МП are asked for.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FormatWish {
    /// As the service gives it: nothing is said of the form, and either is taken.
    #[default]
    Auto,
    /// JWT.
    Jwt,
    /// A united token, after a challenge.
    Uuid,
    /// A united token for the signed ИНН, without a challenge.
    UuidByInn,
}

/// An organisation.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Organization {
    /// ИНН.
    #[serde(rename = "INN")]
    pub inn: Inn,
    /// What people call it.
    #[serde(default)]
    pub name: String,
    /// The form of its keys.
    #[serde(default)]
    pub token_format: FormatWish,
}

/// An installation of СУЗ.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Installation {
    /// Whose.
    pub organization: Inn,
    /// `omsConnection`.
    pub oms_connection: ProductionObject,
    /// What people and infobases call it.
    #[serde(default)]
    pub name: String,
}

/// All of it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
pub struct Directory {
    /// Organisations. A key may be kept for one that does not stand here; reminders are only about
    /// those that do.
    pub organizations: Vec<Organization>,
    /// Installations.
    pub installations: Vec<Installation>,
    /// The moment at which all keys for cash desks end, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retail_end: Option<Utc>,
}

/// Why a directory is not taken.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// Too many entries.
    #[error("there may be {ORGANIZATIONS_MAX} organizations and {INSTALLATIONS_MAX} installations")]
    TooMany,
    /// A name that cannot be.
    #[error("a name has at most {NAME_CHARS_MAX} visible characters: {0}")]
    Name(String),
    /// Two of one.
    #[error("stands twice: {0}")]
    Twice(String),
    /// An installation of an organisation that does not stand there.
    #[error("installation of an organization that is not listed: {0}")]
    Stray(Inn),
}

impl Directory {
    /// Whether it can be.
    ///
    /// # Errors
    ///
    /// The first thing that cannot.
    pub fn check(&self) -> Result<(), DirectoryError> {
        let too_many = self.organizations.len() > ORGANIZATIONS_MAX
            || self.installations.len() > INSTALLATIONS_MAX;
        if too_many {
            return Err(DirectoryError::TooMany);
        }
        for (n, organization) in self.organizations.iter().enumerate() {
            check_name(&organization.name)?;
            if self.organizations[..n].iter().any(|other| other.inn == organization.inn) {
                return Err(DirectoryError::Twice(organization.inn.to_string()));
            }
        }
        for (n, installation) in self.installations.iter().enumerate() {
            check_name(&installation.name)?;
            if self.organization(&installation.organization).is_none() {
                return Err(DirectoryError::Stray(installation.organization.clone()));
            }
            let before = &self.installations[..n];
            // One name in one organisation must mean one installation.
            let is_same = |other: &&Installation| {
                other.oms_connection == installation.oms_connection
                    || other.organization == installation.organization
                        && !installation.name.is_empty()
                        && same(&other.name, &installation.name)
            };
            if before.iter().any(|other| is_same(&other)) {
                return Err(DirectoryError::Twice(installation.oms_connection.to_string()));
            }
        }
        Ok(())
    }

    /// The organisation with this ИНН.
    pub fn organization(&self, inn: &Inn) -> Option<&Organization> {
        self.organizations.iter().find(|organization| organization.inn == *inn)
    }

    /// Reads what a caller names an organisation by: its ИНН, or its name here.
    ///
    /// # Errors
    ///
    /// When it is neither.
    pub fn inn_of(&self, text: &str) -> Result<Inn, KeyError> {
        let named = || {
            let mut fitting = self.organizations.iter().filter(|other| same(&other.name, text));
            let first = fitting.next().filter(|_| !text.trim().is_empty())?;
            // Two of one name are told apart by their numbers alone.
            fitting.next().is_none().then(|| first.inn.clone())
        };
        text.parse().or_else(|why| named().ok_or(why))
    }

    /// Reads what a caller names an installation by: its name here, or its connection id.
    ///
    /// # Errors
    ///
    /// When it is neither.
    pub fn object_of(&self, inn: Option<&Inn>, text: &str) -> Result<ProductionObject, KeyError> {
        let is_named = |other: &&Installation| {
            !text.trim().is_empty()
                && same(&other.name, text)
                && inn.is_none_or(|inn| *inn == other.organization)
        };
        match self.installations.iter().find(is_named) {
            Some(installation) => Ok(installation.oms_connection.clone()),
            None => text.parse(),
        }
    }

    /// The form in which keys of an organisation are asked for.
    pub fn format_of(&self, inn: &Inn) -> FormatWish {
        self.organization(inn).map(|organization| organization.token_format).unwrap_or_default()
    }
}

fn same(one: &str, other: &str) -> bool {
    one.trim().to_lowercase() == other.trim().to_lowercase()
}

fn check_name(name: &str) -> Result<(), DirectoryError> {
    let fits = name.chars().count() <= NAME_CHARS_MAX && !name.chars().any(char::is_control);
    if fits { Ok(()) } else { Err(DirectoryError::Name(name.chars().take(20).collect())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "7707083893";

    fn directory() -> Directory {
        serde_json::from_value(serde_json::json!({
            "Organizations": [
                {"INN": A, "Name": "Ромашка"},
                {"INN": "500100732259", "Name": "ИП Иванов", "TokenFormat": "uuid-by-inn"},
            ],
            "Installations": [
                {"Organization": A, "OmsConnection": "11111111-aaaa", "Name": "Цех 1"},
                {"Organization": "500100732259", "OmsConnection": "22222222-bbbb", "Name": "цех 1"},
            ],
        }))
        .unwrap()
    }

    #[test]
    fn organisation_and_installation_are_found_by_name_and_by_number() {
        let directory = directory();
        assert_eq!(directory.check(), Ok(()));
        assert_eq!(directory.inn_of("РОМАШКА ").unwrap().as_str(), A);
        assert_eq!(directory.inn_of(A).unwrap().as_str(), A);
        assert_eq!(directory.inn_of("Лютик"), Err(KeyError::Inn));
        assert_eq!(directory.inn_of(""), Err(KeyError::Inn));
        let inn: Inn = "500100732259".parse().unwrap();
        assert_eq!(directory.object_of(Some(&inn), "Цех 1").unwrap().as_str(), "22222222-bbbb");
        assert_eq!(directory.object_of(Some(&inn), "X-9").unwrap().as_str(), "x-9");
        assert_eq!(directory.object_of(None, "Цех 9"), Err(KeyError::ProductionObject));
        assert_eq!(directory.format_of(&inn), FormatWish::UuidByInn);
    }

    #[test]
    fn directory_that_would_mean_two_things_is_refused() {
        let mut twice = directory();
        twice.organizations.push(twice.organizations[0].clone());
        assert_eq!(twice.check(), Err(DirectoryError::Twice(A.into())));
        let mut same_name = directory();
        same_name.installations[1].organization = A.parse().unwrap();
        assert_eq!(same_name.check(), Err(DirectoryError::Twice("22222222-bbbb".into())));
        let mut stray = directory();
        stray.organizations.remove(1);
        assert_eq!(stray.check(), Err(DirectoryError::Stray("500100732259".parse().unwrap())));
        let mut long = directory();
        long.organizations[0].name = "x".repeat(NAME_CHARS_MAX + 1);
        assert!(matches!(long.check(), Err(DirectoryError::Name(_))));
    }
}
