//! Rules from JSON, with errors that a person can act on: serde alone would name neither the rule
//! nor, for a value of another type, the field.

use serde_json::{Map, Value, json};

use super::{Rule, RuleSet, RulesError, RulesProblem};

/// The fields of the whole, to tell a misspelt one.
const RULES: &str = "Rules";

pub(super) fn rules(text: &str) -> Result<RuleSet, RulesError> {
    let form = |field: &str, reason: String| RulesError::new("", field, RulesProblem::Form(reason));
    // Windows editors put a byte-order mark before the text.
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let value: Value = serde_json::from_str(text).map_err(|error| form("", error.to_string()))?;
    let Value::Object(mut whole) = value else {
        return Err(form("", "expected a JSON object with Rules".to_owned()));
    };
    // Whoever leaves the rules out by mistake must not switch all of them off.
    let list =
        whole.remove(RULES).ok_or_else(|| RulesError::new("", RULES, RulesProblem::Missing))?;
    if let Some(unknown) = whole.keys().next() {
        return Err(form(unknown, "unknown field".to_owned()));
    }
    let Value::Array(list) = list else {
        return Err(form(RULES, "expected an array".to_owned()));
    };
    let rules = list.into_iter().enumerate().map(|(at, value)| rule(at, value));
    Ok(RuleSet { rules: rules.collect::<Result<_, _>>()? })
}

fn rule(at: usize, value: Value) -> Result<Rule, RulesError> {
    let name = match value.get("Name") {
        Some(Value::String(name)) if !name.is_empty() => name.clone(),
        _ => format!("No. {}", at + 1),
    };
    let Value::Object(fields) = value else {
        let problem = RulesProblem::Form("expected an object".to_owned());
        return Err(RulesError::new(&name, "", problem));
    };
    for required in ["Name", "Effect"] {
        if !fields.contains_key(required) {
            return Err(RulesError::new(&name, required, RulesProblem::Missing));
        }
    }
    // Each field by itself beside the two required ones: the one that fails is the one at fault.
    let mut checked = Map::new();
    checked.insert("Name".to_owned(), json!("x"));
    checked.insert("Effect".to_owned(), json!("deny"));
    for (field, value) in &fields {
        let mut alone = checked.clone();
        alone.insert(field.clone(), value.clone());
        if let Err(error) = serde_json::from_value::<Rule>(Value::Object(alone)) {
            return Err(RulesError::new(&name, field, RulesProblem::Form(error.to_string())));
        }
    }
    serde_json::from_value(Value::Object(fields))
        .map_err(|error| RulesError::new(&name, "", RulesProblem::Form(error.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::RuleEffect;

    #[test]
    fn shape_that_is_not_the_published_one_is_told_by_rule_and_field() {
        let whole = |rules: &str| format!(r#"{{"Rules":[{rules}]}}"#);
        let good = r#"{"Name":"a","Effect":"deny"}"#;
        for (text, rule, field) in [
            ("".to_owned(), "", ""),
            ("[]".to_owned(), "", ""),
            ("{}".to_owned(), "", "Rules"),
            (r#"{"rules":[]}"#.to_owned(), "", "Rules"),
            (r#"{"Rules":[],"Rule":1}"#.to_owned(), "", "Rule"),
            (r#"{"Rules":{}}"#.to_owned(), "", "Rules"),
            (whole("1"), "No. 1", ""),
            (whole(r#"{"Effect":"deny"}"#), "No. 1", "Name"),
            (whole(r#"{"Name":"a"}"#), "a", "Effect"),
            (whole(&format!(r#"{good},{{"Name":"b","Effect":"ban"}}"#)), "b", "Effect"),
            (whole(r#"{"Name":"b","Effect":"limit","Seats":-1}"#), "b", "Seats"),
            (whole(r#"{"Name":"b","Effect":"limit","Seats":"5"}"#), "b", "Seats"),
            (whole(r#"{"Name":"b","Effect":"deny","KeyID":"67"}"#), "b", "KeyID"),
            (whole(r#"{"Name":"b","Effect":"deny","Users":"x"}"#), "b", "Users"),
            (whole(r#"{"Name":"b","Effect":"deny","User":5}"#), "b", "User"),
            (whole(r#"{"Name":"b","Effect":"deny","Enabled":"yes"}"#), "b", "Enabled"),
            (whole(r#"{"Name":7,"Effect":"deny"}"#), "No. 1", "Name"),
        ] {
            let error = rules(&text).unwrap_err();
            assert_eq!((&*error.rule, &*error.field), (rule, field), "{text}: {error}");
        }
    }

    #[test]
    fn short_rule_is_read_with_its_defaults_and_a_byte_order_mark_is_no_harm() {
        let text = "\u{FEFF}{\"Rules\":[{\"Name\":\"Гости\",\"Effect\":\"limit\",\"Seats\":2}]}";
        let set = rules(text).unwrap();
        let rule = &set.rules[0];
        assert_eq!((rule.effect, rule.seats, rule.enabled), (RuleEffect::Limit, Some(2), true));
        let again = serde_json::to_string(&set).unwrap();
        assert_eq!(rules(&again), Ok(set));
    }
}
