//! Who keeps which keys fresh: rules of responsible persons, and the settings that follow from them
//! (`НастройкиОтветственногоЗаАктуализациюТокеновАвторизации`).
//!
//! Which organisations and installations there are comes from the caller.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::key::{Inn, ProductionObject};
use crate::kind::TokenKind;

/// Most rules: the list stays readable and is gone through for every reminder.
pub const RULES_MAX: usize = 1000;

/// Most people in one rule.
pub const PEOPLE_MAX: usize = 100;

/// Longest name of a person, in characters.
pub const PERSON_CHARS_MAX: usize = 128;

/// How long before the end a person may be reminded, in seconds: nine hours.
pub const NOTIFY_SECS_MAX: u32 = 9 * 3600;

/// A person of a rule.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Person {
    /// `Ответственный`: the name of the 1C user, compared without regard to case.
    pub user: String,
    /// `ВремяВСекундах`: how long before the end to remind; 0 for not at all.
    #[serde(default)]
    pub notify_secs: u32,
}

/// A rule: these people keep these keys fresh.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
pub struct Rule {
    /// Names the rule; given by the server.
    pub id: u32,
    /// Nothing for all organisations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization: Option<Inn>,
    /// Nothing for ИСМП and СУЗ. Keys for cash desks have no reminders.
    #[serde(rename = "TokenType", skip_serializing_if = "Option::is_none")]
    pub kind: Option<TokenKind>,
    /// Nothing for all installations of СУЗ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub production_object: Option<ProductionObject>,
    /// Who.
    pub people: Vec<Person>,
}

/// Why a rule is not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// Nobody, or too many.
    #[error("a rule has 1 to {PEOPLE_MAX} people")]
    People,
    /// A name that cannot be.
    #[error("a person's name has 1 to {PERSON_CHARS_MAX} visible characters")]
    Person,
    /// Reminded too early.
    #[error("a person is reminded at most {NOTIFY_SECS_MAX} s before the end")]
    NotifySecs,
    /// Nobody is reminded of keys for cash desks.
    #[error("keys for cash desks have no reminders")]
    Retail,
    /// An installation of something that is not СУЗ.
    #[error("only keys of SUZ have a production object")]
    ProductionObject,
}

impl Rule {
    /// Whether it can be.
    ///
    /// # Errors
    ///
    /// The first thing that cannot.
    pub fn check(&self) -> Result<(), RuleError> {
        if self.people.is_empty() || self.people.len() > PEOPLE_MAX {
            return Err(RuleError::People);
        }
        for person in &self.people {
            let name = person.user.trim();
            let chars = name.chars().count();
            if chars == 0 || chars > PERSON_CHARS_MAX || name.chars().any(char::is_control) {
                return Err(RuleError::Person);
            }
            if person.notify_secs > NOTIFY_SECS_MAX {
                return Err(RuleError::NotifySecs);
            }
        }
        match self.kind {
            Some(TokenKind::IsmpRetail) => Err(RuleError::Retail),
            Some(TokenKind::Ismp) if self.production_object.is_some() => {
                Err(RuleError::ProductionObject)
            }
            Some(TokenKind::Ismp | TokenKind::Suz) | None => Ok(()),
        }
    }

    /// How long before the end the rule reminds a person; nothing when it does not name them.
    fn notify_secs_of(&self, user: &str) -> Option<u32> {
        let is_same = |person: &&Person| same_person(&person.user, user);
        self.people.iter().filter(is_same).map(|person| person.notify_secs).max()
    }

    fn is_about(&self, kind: TokenKind) -> bool {
        match self.kind {
            Some(named) => named == kind,
            None => kind != TokenKind::IsmpRetail,
        }
    }
}

/// Whether two names are the same person's: 1C does not tell case apart either.
pub fn same_person(one: &str, other: &str) -> bool {
    one.trim().to_lowercase() == other.trim().to_lowercase()
}

/// One row of the settings.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Setting {
    /// `ТипТокенаАвторизации`.
    #[serde(rename = "TokenType")]
    pub kind: TokenKind,
    /// `Организация`.
    pub organization: Inn,
    /// `ПроизводственныйОбъект`.
    #[serde(default)]
    pub production_object: Option<ProductionObject>,
    /// `ВремяОповещения`, in seconds.
    #[serde(default)]
    pub notify_secs: u32,
}

/// The organisations and installations that there are.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Organisations that the caller may see.
    pub organizations: &'a [Inn],
    /// Of these: those for which the person has a certificate, by the caller's word; nothing when
    /// that is not known, which counts as all.
    pub with_certificate: Option<&'a [Inn]>,
    /// Installations of СУЗ.
    pub installations: &'a [(Inn, ProductionObject)],
    /// Organisations whose keys the server renews by itself: nobody is reminded of them.
    pub signed_by_server: &'a [Inn],
}

/// The settings of a person.
///
/// `for_view` (`ДляПросмотра`) gives the rows also to somebody whom no rule names.
pub fn settings(rules: &[Rule], user: &str, for_view: bool, known: Known<'_>) -> Vec<Setting> {
    let own: Vec<(&Rule, u32)> =
        rules.iter().filter_map(|rule| Some((rule, rule.notify_secs_of(user)?))).collect();
    if own.is_empty() && !for_view {
        return Vec::new();
    }
    let mut rows = Vec::new();
    for inn in known.organizations {
        if known.with_certificate.is_none_or(|certified| certified.contains(inn)) {
            let notify_secs = ismp_secs(&own, inn);
            rows.push(row(known, TokenKind::Ismp, inn, None, notify_secs));
        }
    }
    for inn in known.organizations {
        rows.push(row(known, TokenKind::IsmpRetail, inn, None, 0));
    }
    let seen: BTreeSet<&Inn> = known.organizations.iter().collect();
    for (inn, object) in known.installations.iter().filter(|(inn, _)| seen.contains(inn)) {
        let notify_secs = suz_secs(&own, inn, object);
        rows.push(row(known, TokenKind::Suz, inn, Some(object.clone()), notify_secs));
    }
    rows
}

fn row(
    known: Known<'_>,
    kind: TokenKind,
    inn: &Inn,
    production_object: Option<ProductionObject>,
    notify_secs: u32,
) -> Setting {
    let renews_itself = known.signed_by_server.contains(inn);
    let notify_secs = if renews_itself { 0 } else { notify_secs };
    Setting { kind, organization: inn.clone(), production_object, notify_secs }
}

/// The largest of the organisation's own rules, else of those for all.
fn ismp_secs(own: &[(&Rule, u32)], inn: &Inn) -> u32 {
    let of = |organization: Option<&Inn>| {
        let about = own.iter().filter(|(rule, _)| {
            rule.is_about(TokenKind::Ismp) && rule.organization.as_ref() == organization
        });
        about.map(|(_, secs)| *secs).max()
    };
    of(Some(inn)).or_else(|| of(None)).unwrap_or(0)
}

/// The organisation's set of rules replaces the set for all; inside of a set the installation's own
/// rule counts, else the one for all installations.
fn suz_secs(own: &[(&Rule, u32)], inn: &Inn, object: &ProductionObject) -> u32 {
    let set = |organization: Option<&Inn>| {
        let mut found: BTreeMap<Option<&ProductionObject>, u32> = BTreeMap::new();
        for (rule, secs) in own {
            if rule.is_about(TokenKind::Suz) && rule.organization.as_ref() == organization {
                let most = found.entry(rule.production_object.as_ref()).or_default();
                *most = (*most).max(*secs);
            }
        }
        (!found.is_empty()).then_some(found)
    };
    let set = set(Some(inn)).or_else(|| set(None)).unwrap_or_default();
    set.get(&Some(object)).or_else(|| set.get(&None)).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inn(text: &str) -> Inn {
        text.parse().unwrap()
    }

    fn object(text: &str) -> ProductionObject {
        text.parse().unwrap()
    }

    fn rule(
        kind: Option<TokenKind>,
        organization: Option<&str>,
        place: Option<&str>,
        people: &[(&str, u32)],
    ) -> Rule {
        Rule {
            id: 1,
            organization: organization.map(inn),
            kind,
            production_object: place.map(object),
            people: people
                .iter()
                .map(|(user, notify_secs)| Person {
                    user: (*user).into(),
                    notify_secs: *notify_secs,
                })
                .collect(),
        }
    }

    const A: &str = "7707083893";
    const B: &str = "500100732259";

    /// Rows as `kind organisation object seconds`.
    fn shown(
        rules: &[Rule],
        for_view: bool,
        signed: &[Inn],
        certified: Option<&[Inn]>,
    ) -> Vec<String> {
        let organizations = [inn(A), inn(B)];
        let installations =
            [(inn(A), object("one")), (inn(A), object("two")), (inn(B), object("three"))];
        let known = Known {
            organizations: &organizations,
            with_certificate: certified,
            installations: &installations,
            signed_by_server: signed,
        };
        let rows = settings(rules, "анна", for_view, known);
        let text = |row: &Setting| {
            let place = row.production_object.as_ref().map_or("-", ProductionObject::as_str);
            format!("{} {} {place} {}", row.kind, row.organization, row.notify_secs)
        };
        rows.iter().map(text).filter(|row| !row.starts_with("ISMPRetail")).collect()
    }

    #[test]
    fn nobody_without_rules_has_rows_unless_they_only_look() {
        let others = [rule(None, None, None, &[("Борис", 600)])];
        assert_eq!(shown(&others, false, &[], None), Vec::<String>::new());
        let seen = shown(&others, true, &[], None);
        assert_eq!(seen.len(), 5, "two of ИСМП, three of СУЗ");
        assert!(seen.iter().all(|row| row.ends_with(" 0")), "{seen:?}");
    }

    #[test]
    fn rule_without_a_kind_is_for_both_and_the_largest_time_counts() {
        let rules = [
            rule(None, None, None, &[("Анна", 600), ("анна ", 900)]),
            rule(Some(TokenKind::Ismp), None, None, &[("АННА", 300)]),
        ];
        assert_eq!(
            shown(&rules, false, &[], None),
            [
                format!("ISMP {A} - 900"),
                format!("ISMP {B} - 900"),
                format!("SUZ {A} one 900"),
                format!("SUZ {A} two 900"),
                format!("SUZ {B} three 900"),
            ]
        );
    }

    #[test]
    fn set_of_an_organisation_replaces_the_set_for_all() {
        let rules = [
            rule(Some(TokenKind::Suz), None, None, &[("Анна", 3600)]),
            rule(Some(TokenKind::Suz), Some(A), Some("one"), &[("Анна", 60)]),
            rule(Some(TokenKind::Ismp), Some(A), None, &[("Анна", 120)]),
        ];
        assert_eq!(
            shown(&rules, false, &[], None),
            [
                format!("ISMP {A} - 120"),
                format!("ISMP {B} - 0"),
                format!("SUZ {A} one 60"),
                // The set for all would give 3600; it was replaced.
                format!("SUZ {A} two 0"),
                format!("SUZ {B} three 3600"),
            ]
        );
    }

    #[test]
    fn server_that_signs_reminds_nobody_and_ismp_needs_a_certificate() {
        let rules = [rule(None, None, None, &[("Анна", 600)])];
        assert_eq!(
            shown(&rules, false, &[inn(A)], Some(&[inn(A)])),
            [
                format!("ISMP {A} - 0"),
                format!("SUZ {A} one 0"),
                format!("SUZ {A} two 0"),
                format!("SUZ {B} three 600"),
            ]
        );
    }

    #[test]
    fn every_organisation_has_a_row_for_cash_desks_that_never_reminds() {
        let organizations = [inn(A)];
        let known = Known {
            organizations: &organizations,
            with_certificate: None,
            installations: &[],
            signed_by_server: &[],
        };
        let rules = [rule(None, None, None, &[("Анна", 600)])];
        let rows = settings(&rules, "Анна", false, known);
        let retail: Vec<_> = rows.iter().filter(|row| row.kind == TokenKind::IsmpRetail).collect();
        assert_eq!(retail.len(), 1);
        assert_eq!(retail[0].notify_secs, 0);
    }

    #[test]
    fn rules_that_cannot_be_are_told_apart() {
        let people: &[(&str, u32)] = &[("Анна", 600)];
        for (rule, wanted) in [
            (rule(None, None, None, &[]), RuleError::People),
            (rule(None, None, None, &[(" ", 1)]), RuleError::Person),
            (rule(None, None, None, &[("a\nb", 1)]), RuleError::Person),
            (rule(None, None, None, &[("Анна", NOTIFY_SECS_MAX + 1)]), RuleError::NotifySecs),
            (rule(Some(TokenKind::IsmpRetail), None, None, people), RuleError::Retail),
            (rule(Some(TokenKind::Ismp), None, Some("one"), people), RuleError::ProductionObject),
        ] {
            assert_eq!(rule.check(), Err(wanted), "{rule:?}");
        }
        assert_eq!(rule(Some(TokenKind::Suz), None, Some("one"), people).check(), Ok(()));
    }
}
