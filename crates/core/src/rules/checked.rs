//! Rules that were checked: patterns and prefixes are parsed, rules that are switched off are left
//! out, and nothing in them can be wrong any more.

use std::collections::BTreeSet;

use super::pattern::{Pattern, Subject, Subnet};
use super::{
    NAME_CHARS_MAX, RULES_MAX, Rule, RuleEffect, RuleSet, RulesError, RulesProblem, TEXT_BYTES_MAX,
};
use crate::key::KeySeries;

/// Place of a rule among those in force.
pub(crate) type RuleNo = u16;

/// Rules that may be put in force.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CheckedRules {
    set: RuleSet,
    in_force: Vec<CheckedRule>,
}

impl CheckedRules {
    pub(super) fn new(set: RuleSet) -> Result<Self, RulesError> {
        if set.rules.len() > RULES_MAX {
            return Err(RulesError::new("", "Rules", RulesProblem::TooMany));
        }
        let mut names = BTreeSet::new();
        let mut in_force = Vec::new();
        for (at, rule) in set.rules.iter().enumerate() {
            // A rule that is switched off must be right as well: one click puts it in force.
            let checked = CheckedRule::new(at, rule)?;
            if !names.insert(rule.name.trim().to_lowercase()) {
                return Err(RulesError::new(&rule.name, "Name", RulesProblem::Twice));
            }
            if rule.enabled {
                in_force.push(checked);
            }
        }
        Ok(Self { set, in_force })
    }

    /// The rules as they were written, with those that are switched off.
    pub const fn set(&self) -> &RuleSet {
        &self.set
    }

    /// Whether no rule is in force.
    pub const fn is_empty(&self) -> bool {
        self.in_force.is_empty()
    }

    pub(crate) const fn len(&self) -> usize {
        self.in_force.len()
    }

    /// The rules in force, in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (RuleNo, &CheckedRule)> {
        (0..).zip(&self.in_force)
    }

    pub(crate) fn get(&self, no: RuleNo) -> Option<&CheckedRule> {
        self.in_force.get(usize::from(no))
    }
}

/// A rule in force.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct CheckedRule {
    pub(crate) name: String,
    pub(crate) effect: RuleEffect,
    /// 0 for a refusal.
    pub(crate) seats: u64,
    series: Option<KeySeries>,
    user: Option<Pattern>,
    computer: Option<Pattern>,
    application: Option<Pattern>,
    infobase: Option<Pattern>,
    subnet: Option<Subnet>,
}

impl CheckedRule {
    fn new(at: usize, rule: &Rule) -> Result<Self, RulesError> {
        let shown = if rule.name.trim().is_empty() {
            format!("No. {}", at + 1)
        } else {
            rule.name.chars().filter(|c| !c.is_control()).take(NAME_CHARS_MAX).collect()
        };
        let wrong = |field: &str, problem| RulesError::new(&shown, field, problem);
        if rule.name.trim().is_empty() {
            return Err(wrong("Name", RulesProblem::Empty));
        }
        if rule.name.chars().count() > NAME_CHARS_MAX {
            return Err(wrong("Name", RulesProblem::TooLong));
        }
        if rule.name.contains(char::is_control) {
            return Err(wrong("Name", RulesProblem::Control));
        }
        if rule.comment.len() > TEXT_BYTES_MAX {
            return Err(wrong("Comment", RulesProblem::TooLong));
        }
        let seats = match (rule.effect, rule.seats) {
            (RuleEffect::Deny, None) => 0,
            (RuleEffect::Deny, Some(_)) => return Err(wrong("Seats", RulesProblem::SeatsOfDeny)),
            (RuleEffect::Limit | RuleEffect::Reserve, None) => {
                return Err(wrong("Seats", RulesProblem::Missing));
            }
            (RuleEffect::Limit | RuleEffect::Reserve, Some(0)) => {
                return Err(wrong("Seats", RulesProblem::Zero));
            }
            (RuleEffect::Limit | RuleEffect::Reserve, Some(seats)) => u64::from(seats),
        };
        let text = |field: &str, text: &Option<String>| -> Result<Option<String>, RulesError> {
            match text {
                None => Ok(None),
                Some(text) if text.trim().is_empty() => Err(wrong(field, RulesProblem::Empty)),
                Some(text) if text.len() > TEXT_BYTES_MAX => {
                    Err(wrong(field, RulesProblem::TooLong))
                }
                Some(text) if text.contains(char::is_control) => {
                    Err(wrong(field, RulesProblem::Control))
                }
                Some(text) => Ok(Some(text.trim().to_owned())),
            }
        };
        let pattern = |field: &str, value: &Option<String>| {
            text(field, value).map(|text| text.as_deref().map(Pattern::new))
        };
        let subnet = match text("Subnet", &rule.subnet)? {
            None => None,
            Some(text) => match Subnet::parse(&text) {
                Some(subnet) => Some(subnet),
                None => return Err(wrong("Subnet", RulesProblem::Subnet)),
            },
        };
        Ok(Self {
            name: rule.name.trim().to_owned(),
            effect: rule.effect,
            seats,
            series: rule.key_id,
            user: pattern("User", &rule.user)?,
            computer: pattern("Computer", &rule.computer)?,
            application: pattern("Application", &rule.application)?,
            infobase: pattern("Infobase", &rule.infobase)?,
            subnet,
        })
    }

    /// Whether it has a say in a series.
    pub(crate) fn is_of(&self, series: KeySeries) -> bool {
        self.series.is_none_or(|own| own == series)
    }

    /// Whether it is about a session. A rule of a subnet is not about a session whose address is
    /// not known.
    pub(crate) fn is_about(&self, session: &Subject) -> bool {
        let fits = |pattern: &Option<Pattern>, text: &str| {
            pattern.as_ref().is_none_or(|pattern| pattern.fits(text))
        };
        self.is_of(session.series)
            && fits(&self.user, &session.user)
            && fits(&self.computer, &session.computer)
            && fits(&self.application, &session.application)
            && (fits(&self.infobase, &session.infobase)
                || session.infobase_name.as_ref().is_some_and(|name| fits(&self.infobase, name)))
            && self.subnet.is_none_or(|subnet| session.peer.is_some_and(|peer| subnet.holds(peer)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::language::Language;
    use crate::protocol::SessionInfo;

    fn rule(fields: &str) -> Rule {
        serde_json::from_str(&format!(r#"{{"Name":"r","Effect":"deny"{fields}}}"#)).unwrap()
    }

    fn check(rules: Vec<Rule>) -> Result<CheckedRules, RulesError> {
        RuleSet { rules }.check()
    }

    #[test]
    fn wrong_rule_is_refused_by_its_name_and_field() {
        let limit = |seats| Rule { effect: RuleEffect::Limit, seats, ..rule("") };
        let reserve = |seats| Rule { effect: RuleEffect::Reserve, seats, ..rule("") };
        let named = |name: &str| Rule { name: name.to_owned(), ..rule("") };
        let long = "ж".repeat(251);
        let text = |field: &str, text: &str| {
            rule(&format!(",\"{field}\":{}", serde_json::to_string(text).unwrap()))
        };
        for (rules, name, field, problem) in [
            (vec![limit(None)], "r", "Seats", RulesProblem::Missing),
            (vec![reserve(None)], "r", "Seats", RulesProblem::Missing),
            (vec![limit(Some(0))], "r", "Seats", RulesProblem::Zero),
            (vec![rule(",\"Seats\":1")], "r", "Seats", RulesProblem::SeatsOfDeny),
            (vec![named("a"), named(" ")], "No. 2", "Name", RulesProblem::Empty),
            (vec![named("Гости"), named("ГОСТИ")], "ГОСТИ", "Name", RulesProblem::Twice),
            (vec![named("a\nb")], "ab", "Name", RulesProblem::Control),
            (vec![text("User", "")], "r", "User", RulesProblem::Empty),
            (vec![text("User", &long)], "r", "User", RulesProblem::TooLong),
            (vec![text("Computer", "a\u{7}")], "r", "Computer", RulesProblem::Control),
            (vec![text("Infobase", &long)], "r", "Infobase", RulesProblem::TooLong),
            (vec![text("Application", " ")], "r", "Application", RulesProblem::Empty),
            (vec![text("Comment", &long)], "r", "Comment", RulesProblem::TooLong),
            (vec![text("Subnet", "10.0.0.0/40")], "r", "Subnet", RulesProblem::Subnet),
            (vec![rule(""); RULES_MAX + 1], "", "Rules", RulesProblem::TooMany),
        ] {
            let error = check(rules).unwrap_err();
            assert_eq!(error, RulesError::new(name, field, problem));
            for language in [Language::English, Language::Russian] {
                let text = error.text(language);
                assert!(text.contains(field) && text.contains(name), "{text}");
            }
        }
        let too_long = check(vec![named(&"x".repeat(101))]).unwrap_err();
        assert_eq!((&*too_long.field, too_long.problem), ("Name", RulesProblem::TooLong));
    }

    #[test]
    fn rule_that_is_switched_off_is_checked_kept_and_not_in_force() {
        let rules = check(vec![rule(",\"Enabled\":false")]).unwrap();
        assert!(rules.is_empty());
        assert_eq!(rules.set().rules.len(), 1);
        assert!(check(vec![rule(",\"Enabled\":false,\"Subnet\":\"x\"")]).is_err());
        assert!(check(Vec::new()).unwrap().is_empty());
    }

    #[test]
    fn all_that_a_rule_names_must_fit() {
        let info = SessionInfo {
            user_name: Some("Иванов Иван".into()),
            computer_name: "MORA-HP".into(),
            app_name: "1CV8C".into(),
            info_base_connection_str: r#"Srvr="Main";Ref="Бухгалтерия";"#.into(),
            ..SessionInfo::default()
        };
        let session = Subject::new(KeySeries::from_u16(0x672B), &info, Some("192.168.1.38"));
        for (fields, fits) in [
            ("", true),
            (r#","User":"иванов*""#, true),
            (r#","User":"иванов*","Computer":"other""#, false),
            (r#","User":"иванов*","Computer":"mora-*""#, true),
            (r#","Application":"1cv8c""#, true),
            (r#","Application":"1CV8""#, false),
            (r#","Infobase":"бухгалтерия""#, true),
            (r#","Infobase":"*main*""#, true),
            (r#","Infobase":"main""#, false),
            (r#","Subnet":"192.168.1.0/24""#, true),
            (r#","Subnet":"192.168.2.0/24""#, false),
            (r#","KeyID":"672B""#, true),
            (r#","KeyID":"4BFE""#, false),
        ] {
            let rules = check(vec![rule(fields)]).unwrap();
            assert_eq!(rules.get(0).unwrap().is_about(&session), fits, "{fields}");
        }
        let nowhere = Subject::new(KeySeries::from_u16(0x672B), &info, None);
        let rules = check(vec![rule(r#","Subnet":"0.0.0.0/0""#)]).unwrap();
        assert!(!rules.get(0).unwrap().is_about(&nowhere));
    }
}
