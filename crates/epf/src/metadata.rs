//! The platform's own words: class ids, layouts of the texts that describe an external object.
//!
//! The layouts are those of files saved by platforms 8.3.15 to 8.3.27. Values are built and
//! looked into here; which elements a file has is decided in `pack` and `unpack`.

use std::collections::BTreeMap;

use uuid::{Uuid, uuid};

use crate::brace::{Value, atom, list, text};
use crate::source::Kind;

/// Compatibility mode that is written: 8.3.15, the oldest whose layout is known from its own files.
pub const COMPATIBILITY: u32 = 80_315;
/// Version of the storage, the same in every 8.2 and 8.3 file.
const STORAGE: u32 = 216;

pub(crate) const TEMPLATES: Uuid = uuid!("3daea016-69b7-4ed4-9453-127911372fe6");
const PROCESSOR_TABLES: Uuid = uuid!("2bcef0d1-0981-11d6-b9b8-0050bae0a95d");
const PROCESSOR_FORMS: Uuid = uuid!("d5b0e5ed-256d-401c-9c36-f630cafd8a62");
const PROCESSOR_ATTRIBUTES: Uuid = uuid!("ec6bb5e5-b7a8-4d75-bec9-658107a699cf");
const REPORT_ATTRIBUTES: Uuid = uuid!("7e7123e0-29e2-11d6-a3c7-0050bae0a776");
const REPORT_FORMS: Uuid = uuid!("a3b368c0-29e2-11d6-a3c7-0050bae0a776");
const REPORT_TABLES: Uuid = uuid!("b077d780-29e2-11d6-a3c7-0050bae0a776");

/// What kind of children a collection holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Children {
    Attributes,
    Forms,
    Tables,
    Templates,
}

impl Kind {
    pub(crate) const fn class(self) -> Uuid {
        match self {
            Self::Processor => uuid!("c3831ec8-d8d5-4f93-8a22-f9bfae07327f"),
            Self::Report => uuid!("e41aff26-25cf-4bb6-b6c1-3f478a75f374"),
        }
    }

    /// The collections of children in the order in which the platform writes them.
    pub(crate) const fn collections(self) -> [(Uuid, Children); 4] {
        match self {
            Self::Processor => [
                (PROCESSOR_TABLES, Children::Tables),
                (TEMPLATES, Children::Templates),
                (PROCESSOR_FORMS, Children::Forms),
                (PROCESSOR_ATTRIBUTES, Children::Attributes),
            ],
            Self::Report => [
                (TEMPLATES, Children::Templates),
                (REPORT_ATTRIBUTES, Children::Attributes),
                (REPORT_FORMS, Children::Forms),
                (REPORT_TABLES, Children::Tables),
            ],
        }
    }

    /// What follows the names in an object's head: references to forms and a schema, none of which
    /// our objects have.
    fn references(self) -> Vec<Value> {
        let nil = || atom(Uuid::nil());
        match self {
            Self::Processor => vec![nil(), text(""), nil()],
            Self::Report => {
                let mut references: Vec<_> = std::iter::repeat_with(nil).take(6).collect();
                references.extend([text(""), nil(), nil()]);
                references
            }
        }
    }
}

/// Names of an object or template.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Names {
    pub(crate) uuid: Uuid,
    pub(crate) name: String,
    pub(crate) synonym: BTreeMap<String, String>,
    pub(crate) comment: String,
}

impl Names {
    fn to_value(&self) -> Value {
        let mut synonym = vec![atom(self.synonym.len())];
        for (language, words) in &self.synonym {
            synonym.extend([text(language), text(words)]);
        }
        list([
            atom(3),
            list([atom(1), atom(0), atom(self.uuid)]),
            text(&self.name),
            Value::List(synonym),
            text(&self.comment),
            atom(0),
            atom(0),
            atom(Uuid::nil()),
            atom(0),
        ])
    }

    fn of(value: &Value) -> Option<Self> {
        let words = value.at(&[3])?.items()?;
        let count: usize = words.first()?.atom()?.parse().ok()?;
        let pairs = words.get(1..)?;
        if pairs.len() != count.checked_mul(2)? {
            return None;
        }
        let mut synonym = BTreeMap::new();
        for pair in pairs.chunks_exact(2) {
            synonym.insert(pair[0].text()?.to_owned(), pair[1].text()?.to_owned());
        }
        Some(Self {
            uuid: uuid_at(value, &[1, 2])?,
            name: value.at(&[2])?.text()?.to_owned(),
            synonym,
            comment: value.at(&[4])?.text()?.to_owned(),
        })
    }
}

fn uuid_at(value: &Value, path: &[usize]) -> Option<Uuid> {
    value.at(path)?.atom()?.parse().ok()
}

/// The element that everything else hangs on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Head {
    pub(crate) kind: Kind,
    pub(crate) file: Uuid,
    pub(crate) type_id: Uuid,
    pub(crate) value_id: Uuid,
    pub(crate) names: Names,
    pub(crate) templates: Vec<Uuid>,
}

impl Head {
    pub(crate) fn to_value(&self) -> Value {
        let mut head = vec![
            atom(4),
            atom(self.type_id),
            atom(self.value_id),
            list([atom(0), self.names.to_value()]),
        ];
        head.extend(self.kind.references());
        let collections = self.kind.collections();
        let mut body = vec![atom(1), Value::List(head), atom(collections.len())];
        body.extend(collections.map(|(class, children)| {
            let own: &[Uuid] = if children == Children::Templates { &self.templates } else { &[] };
            list([atom(class), atom(own.len())].into_iter().chain(own.iter().map(atom)))
        }));
        list([
            atom(1),
            list([atom(self.file)]),
            atom(1),
            list([atom(self.kind.class()), Value::List(body)]),
        ])
    }

    /// The kind, the names and the templates; and the children that are not modelled, if any.
    pub(crate) fn of(value: &Value) -> Option<(Self, Option<Children>)> {
        let class = uuid_at(value, &[3, 0])?;
        let kind =
            [Kind::Processor, Kind::Report].into_iter().find(|kind| kind.class() == class)?;
        let body = value.at(&[3, 1])?;
        let mut templates = Vec::new();
        let mut unknown = None;
        for collection in body.items()?.get(3..)? {
            let class = uuid_at(collection, &[0])?;
            let items = collection.items()?.get(2..)?;
            let children = kind
                .collections()
                .into_iter()
                .find_map(|(known, children)| (known == class).then_some(children));
            match children {
                Some(Children::Templates) => {
                    templates = items
                        .iter()
                        .map(|item| item.atom()?.parse().ok())
                        .collect::<Option<_>>()?;
                }
                _ if items.is_empty() => {}
                Some(other) => unknown = unknown.or(Some(other)),
                None => return None,
            }
        }
        let head = Self {
            kind,
            file: uuid_at(value, &[1, 0])?,
            type_id: uuid_at(body, &[1, 1])?,
            value_id: uuid_at(body, &[1, 2])?,
            names: Names::of(body.at(&[1, 3, 1])?)?,
            templates,
        };
        Some((head, unknown))
    }
}

/// Kinds of templates that are modelled.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum TemplateKind {
    Binary,
    Text,
}

impl TemplateKind {
    const fn number(self) -> u8 {
        match self {
            Self::Binary => 1,
            Self::Text => 4,
        }
    }
}

pub(crate) fn template_head(kind: TemplateKind, names: &Names) -> Value {
    list([atom(1), list([atom(2), atom(kind.number()), names.to_value()]), atom(0)])
}

pub(crate) fn template_of(value: &Value) -> Option<(TemplateKind, Names)> {
    let number: u8 = value.at(&[1, 1])?.atom()?.parse().ok()?;
    let kind = [TemplateKind::Binary, TemplateKind::Text]
        .into_iter()
        .find(|kind| kind.number() == number)?;
    Some((kind, Names::of(value.at(&[1, 2])?)?))
}

pub(crate) fn root(file: Uuid) -> Value {
    list([atom(2), atom(file), atom("")])
}

pub(crate) fn root_of(value: &Value) -> Option<Uuid> {
    uuid_at(value, &[1])
}

pub(crate) fn version() -> Value {
    list([list([atom(STORAGE), atom(0), list([atom(COMPATIBILITY), atom(0)])])])
}

/// Which objects of a configuration are referred to: none.
pub(crate) fn copy_info() -> Value {
    let none = || list([atom(0)]);
    list([atom(4), none(), none(), none(), list([atom(0), atom(0)]), none()])
}

/// The version of every element, and one for the whole under an empty name.
pub(crate) fn versions(of: &[(String, Uuid)]) -> Value {
    let mut items = vec![atom(1), atom(of.len())];
    for (name, version) in of {
        items.extend([text(name), atom(version)]);
    }
    Value::List(items)
}

/// What stands beside a module's text: an ordinary module without a password.
pub(crate) fn module_info() -> Value {
    list([atom(3), atom(1), atom(0), text(""), atom(0)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(kind: Kind) -> Head {
        Head {
            kind,
            file: Uuid::from_u128(1),
            type_id: Uuid::from_u128(2),
            value_id: Uuid::from_u128(3),
            names: Names {
                uuid: Uuid::from_u128(4),
                name: "Тест".into(),
                synonym: BTreeMap::from([("ru".into(), "Тест \"1\"".into())]),
                comment: String::new(),
            },
            templates: vec![Uuid::from_u128(5)],
        }
    }

    #[test]
    fn head_has_the_platforms_layout() {
        let layout = "{1,\r\n{00000000-0000-0000-0000-000000000001},1,\r\n\
            {c3831ec8-d8d5-4f93-8a22-f9bfae07327f,\r\n{1,\r\n\
            {4,00000000-0000-0000-0000-000000000002,00000000-0000-0000-0000-000000000003,\r\n\
            {0,\r\n{3,\r\n{1,0,00000000-0000-0000-0000-000000000004},\"Тест\",\r\n\
            {1,\"ru\",\"Тест \"\"1\"\"\"},\"\",0,0,00000000-0000-0000-0000-000000000000,0}\r\n},\
            00000000-0000-0000-0000-000000000000,\"\",00000000-0000-0000-0000-000000000000},4,\r\n\
            {2bcef0d1-0981-11d6-b9b8-0050bae0a95d,0},\r\n\
            {3daea016-69b7-4ed4-9453-127911372fe6,1,00000000-0000-0000-0000-000000000005},\r\n\
            {d5b0e5ed-256d-401c-9c36-f630cafd8a62,0},\r\n\
            {ec6bb5e5-b7a8-4d75-bec9-658107a699cf,0}\r\n}\r\n}\r\n}";
        assert_eq!(head(Kind::Processor).to_value().to_text(), layout);
        assert_eq!(version().to_text(), "{\r\n{216,0,\r\n{80315,0}\r\n}\r\n}");
        assert_eq!(module_info().to_text(), "{3,1,0,\"\",0}");
    }

    #[test]
    fn head_of_a_report_has_nine_references() {
        let value = head(Kind::Report).to_value();
        assert_eq!(value.at(&[3, 1, 1]).and_then(Value::items).map(<[_]>::len), Some(13));
    }

    #[test]
    fn head_is_read_back_and_children_are_noticed() {
        for kind in [Kind::Processor, Kind::Report] {
            let head = head(kind);
            let layout = head.to_value().to_text();
            let value = Value::parse(&layout).unwrap();
            assert_eq!(Head::of(&value), Some((head, None)));
            for (class, children) in kind.collections() {
                if children == Children::Templates {
                    continue;
                }
                let with = layout.replace(&format!("{class},0"), &format!("{class},1,{{0}}"));
                let found = Head::of(&Value::parse(&with).unwrap()).and_then(|(_, found)| found);
                assert_eq!(found, Some(children));
            }
        }
    }
}
