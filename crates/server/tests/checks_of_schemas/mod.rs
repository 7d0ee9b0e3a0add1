//! The part of JSON Schema 2020-12 that `docs/openapi.yaml` uses, read from YAML.
//!
//! A keyword that is not known here fails the test, so that nothing is left unchecked by accident.
//! `pattern` is known and not checked: schemathesis does that.

use serde_json::{Map, Value};
use yaml_rust2::{Yaml, YamlLoader};

/// Keywords that say nothing of a value.
const ANNOTATIONS: [&str; 5] =
    ["contentMediaType", "default", "description", "examples", "pattern"];

/// Keywords that are checked.
const CHECKED: [&str; 14] = [
    "$ref",
    "additionalProperties",
    "anyOf",
    "enum",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maximum",
    "minLength",
    "minimum",
    "properties",
    "required",
    "type",
];

const METHODS: [&str; 4] = ["get", "post", "put", "delete"];

/// `docs/openapi.yaml`.
pub(crate) struct Document(Value);

impl Document {
    pub(crate) fn read() -> Self {
        let text = include_str!("../../../../docs/openapi.yaml");
        let documents = YamlLoader::load_from_str(text).unwrap();
        assert_eq!(documents.len(), 1);
        Self(json(&documents[0]))
    }

    /// Path, method and operation, of all.
    pub(crate) fn operations(&self) -> impl Iterator<Item = (&str, &str, &Value)> {
        let paths = self.0["paths"].as_object().unwrap();
        paths.iter().flat_map(|(path, methods)| {
            methods.as_object().unwrap().iter().map(move |(method, operation)| {
                assert!(METHODS.contains(&method.as_str()), "{method} {path}");
                (path.as_str(), method.as_str(), operation)
            })
        })
    }

    /// The documented path that fits an address; one without braces first.
    pub(crate) fn pattern(&self, address: &str) -> Option<&str> {
        let paths = self.0["paths"].as_object().unwrap();
        if let Some((path, _)) = paths.get_key_value(address) {
            return Some(path);
        }
        let fits = |path: &str| {
            let (own, asked): (Vec<_>, Vec<_>) =
                (path.split('/').collect(), address.split('/').collect());
            own.len() == asked.len()
                && own.iter().zip(&asked).all(|(own, asked)| own.starts_with('{') || own == asked)
        };
        paths.keys().map(String::as_str).find(|path| fits(path))
    }

    pub(crate) fn operation(&self, path: &str, method: &str) -> &Value {
        let operation = &self.0["paths"][path][method.to_lowercase()];
        assert!(operation.is_object(), "{method} {path} is not documented");
        operation
    }

    pub(crate) fn schema(&self, name: &str) -> &Value {
        let schema = &self.0["components"]["schemas"][name];
        assert!(schema.is_object(), "no schema {name}");
        schema
    }

    /// All schemas of the document, those inside of others too, with their places.
    pub(crate) fn all_schemas(&self) -> Vec<(String, &Value)> {
        let mut found = Vec::new();
        for (name, schema) in self.0["components"]["schemas"].as_object().unwrap() {
            collect(name, schema, &mut found);
        }
        for (name, parameter) in self.0["components"]["parameters"].as_object().unwrap() {
            collect(name, &parameter["schema"], &mut found);
        }
        found
    }

    /// What `$ref` leads to, or the value itself.
    pub(crate) fn resolved<'a>(&'a self, value: &'a Value) -> &'a Value {
        let Some(reference) = value["$ref"].as_str() else { return value };
        let found = reference.strip_prefix('#').and_then(|pointer| self.0.pointer(pointer));
        self.resolved(found.unwrap_or_else(|| panic!("{reference} leads nowhere")))
    }

    /// Every keyword of a schema is known, and its references lead somewhere.
    pub(crate) fn check_keywords(&self, place: &str, schema: &Value) {
        for keyword in schema.as_object().unwrap_or_else(|| panic!("{place} is no schema")).keys() {
            let keyword = keyword.as_str();
            assert!(
                CHECKED.contains(&keyword) || ANNOTATIONS.contains(&keyword),
                "{place}: {keyword} is not checked"
            );
        }
        self.resolved(schema);
        let named = schema["properties"].as_object();
        for required in schema["required"].as_array().into_iter().flatten() {
            let required = required.as_str().unwrap();
            assert!(named.is_some_and(|named| named.contains_key(required)), "{place}: {required}");
        }
    }

    /// What is wrong with a value; nothing when it fits. A member that its schema does not name is
    /// wrong: what the server sends is documented, member by member.
    pub(crate) fn faults(&self, schema: &Value, value: &Value) -> Vec<String> {
        let mut faults = Vec::new();
        self.collect_faults("$", schema, value, &mut faults);
        faults
    }

    fn collect_faults(&self, at: &str, schema: &Value, value: &Value, faults: &mut Vec<String>) {
        let schema = self.resolved(schema);
        if let Some(parts) = schema["anyOf"].as_array() {
            let fits = |part: &Value| {
                let mut own = Vec::new();
                self.collect_faults(at, part, value, &mut own);
                own.is_empty()
            };
            if !parts.iter().any(fits) {
                faults.push(format!("{at}: fits none of {} schemas: {value}", parts.len()));
            }
        }
        if !has_type(&schema["type"], value) {
            faults.push(format!("{at}: {value} is no {}", schema["type"]));
            return;
        }
        if let Some(words) = schema["enum"].as_array()
            && !words.contains(value)
        {
            faults.push(format!("{at}: {value} is none of {words:?}"));
        }
        match value {
            Value::Object(members) => self.object(at, schema, members, faults),
            Value::Array(items) => {
                if schema["maxItems"].as_u64().is_some_and(|most| items.len() as u64 > most) {
                    faults.push(format!("{at}: has {} items", items.len()));
                }
                for (index, item) in items.iter().enumerate() {
                    if schema["items"].is_object() {
                        self.collect_faults(
                            &format!("{at}[{index}]"),
                            &schema["items"],
                            item,
                            faults,
                        );
                    }
                }
            }
            Value::Number(number) => {
                let number = number.as_f64().unwrap();
                let is_small = schema["minimum"].as_f64().is_some_and(|least| number < least);
                if is_small || schema["maximum"].as_f64().is_some_and(|most| number > most) {
                    faults.push(format!("{at}: {number} is out of bounds"));
                }
            }
            Value::String(text) => check_text(at, schema, text, faults),
            Value::Bool(_) | Value::Null => {}
        }
    }

    fn object(
        &self,
        at: &str,
        schema: &Value,
        members: &Map<String, Value>,
        faults: &mut Vec<String>,
    ) {
        for required in schema["required"].as_array().into_iter().flatten() {
            let required = required.as_str().unwrap();
            if !members.contains_key(required) {
                faults.push(format!("{at}: no {required}"));
            }
        }
        for (name, value) in members {
            let at = format!("{at}.{name}");
            match (&schema["properties"][name], &schema["additionalProperties"]) {
                (own @ Value::Object(_), _) => self.collect_faults(&at, own, value, faults),
                (_, any @ Value::Object(_)) => self.collect_faults(&at, any, value, faults),
                _ if schema["properties"].is_object() => {
                    faults.push(format!("{at}: is not documented"));
                }
                _ => {}
            }
        }
    }
}

fn check_text(at: &str, schema: &Value, text: &str, faults: &mut Vec<String>) {
    let chars = text.chars().count() as u64;
    let is_short = schema["minLength"].as_u64().is_some_and(|least| chars < least);
    if is_short || schema["maxLength"].as_u64().is_some_and(|most| chars > most) {
        faults.push(format!("{at}: has {chars} characters"));
    }
    let is_good = match schema["format"].as_str() {
        None => true,
        Some("date-time") => text.parse::<licence_core::time::Utc>().is_ok(),
        Some("date") => format!("{text}T00:00:00Z").parse::<licence_core::time::Utc>().is_ok(),
        Some(other) => panic!("{at}: the format {other} is not known"),
    };
    if !is_good {
        faults.push(format!("{at}: {text:?} is no {}", schema["format"]));
    }
}

fn has_type(expected: &Value, value: &Value) -> bool {
    let fits = |name: &str| match name {
        "array" => value.is_array(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "null" => value.is_null(),
        "object" => value.is_object(),
        "string" => value.is_string(),
        other => panic!("the type {other} is not known"),
    };
    match expected {
        Value::Null => true,
        Value::String(name) => fits(name),
        Value::Array(names) => names.iter().any(|name| fits(name.as_str().unwrap())),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => panic!("{expected} is no type"),
    }
}

fn collect<'a>(place: &str, schema: &'a Value, found: &mut Vec<(String, &'a Value)>) {
    found.push((place.to_owned(), schema));
    for (name, part) in schema["properties"].as_object().into_iter().flatten() {
        collect(&format!("{place}.{name}"), part, found);
    }
    for (index, part) in schema["anyOf"].as_array().into_iter().flatten().enumerate() {
        collect(&format!("{place}|{index}"), part, found);
    }
    for keyword in ["items", "additionalProperties"] {
        if schema[keyword].is_object() {
            collect(&format!("{place}[]"), &schema[keyword], found);
        }
    }
}

fn json(yaml: &Yaml) -> Value {
    match yaml {
        Yaml::Array(items) => items.iter().map(json).collect(),
        Yaml::Boolean(flag) => Value::Bool(*flag),
        Yaml::Hash(members) => {
            let member =
                |(name, value): (&Yaml, &Yaml)| (name.as_str().unwrap().to_owned(), json(value));
            Value::Object(members.iter().map(member).collect())
        }
        Yaml::Integer(number) => Value::from(*number),
        Yaml::Null => Value::Null,
        Yaml::String(text) => Value::String(text.clone()),
        Yaml::Alias(_) | Yaml::BadValue | Yaml::Real(_) => panic!("{yaml:?} has no place there"),
    }
}
