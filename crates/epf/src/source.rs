//! An external object as text files, and the checks on it.
//!
//! ```text
//! object.json            kind, name and, where wanted, synonym, comment, UUIDs, see [`Descriptor`]
//! Ext/ObjectModule.bsl   the module, UTF-8
//! Templates/Имя.txt      a text template, UTF-8
//! Templates/Имя.bin      a template of binary data
//! ```
//!
//! A map from relative names (`/` between the parts) to bytes comes in; no folder is read here.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ids;

/// Name of the descriptor.
pub const DESCRIPTOR: &str = "object.json";
/// Name of the module.
pub const MODULE: &str = "Ext/ObjectModule.bsl";
/// Folder of templates.
pub const TEMPLATES: &str = "Templates/";
/// Most characters of an object's name: the platform's own limit on names of metadata.
pub const NAME_CHARS_MAX: usize = 80;
/// Most characters of a synonym or comment.
pub const WORDS_CHARS_MAX: usize = 1024;

/// What is built.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Kind {
    /// An external data processor.
    #[serde(rename = "epf")]
    Processor,
    /// An external report.
    #[serde(rename = "erf")]
    Report,
}

impl Kind {
    /// The ending of its files, without the dot.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Processor => "epf",
            Self::Report => "erf",
        }
    }
}

/// Names in one or several languages.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(untagged)]
enum Synonym {
    Russian(String),
    ByLanguage(BTreeMap<String, String>),
}

impl Synonym {
    fn into_map(self) -> BTreeMap<String, String> {
        match self {
            Self::Russian(words) => BTreeMap::from([("ru".to_owned(), words)]),
            Self::ByLanguage(map) => map,
        }
    }

    fn of(map: &BTreeMap<String, String>) -> Option<Self> {
        match (map.len(), map.get("ru")) {
            (0, _) => None,
            (1, Some(words)) => Some(Self::Russian(words.clone())),
            _ => Some(Self::ByLanguage(map.clone())),
        }
    }
}

/// `object.json`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Descriptor {
    kind: Kind,
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    synonym: Option<Synonym>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    comment: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uuid: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file_uuid: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    type_uuid: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    value_uuid: Option<Uuid>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    templates: BTreeMap<String, TemplateDescriptor>,
}

#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct TemplateDescriptor {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    synonym: Option<Synonym>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    comment: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uuid: Option<Uuid>,
}

/// Why files are not the sources of an external object.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// No descriptor.
    #[error("{DESCRIPTOR} is missing")]
    NoDescriptor,
    /// The descriptor is not what it should be.
    #[error("{DESCRIPTOR}: {0}")]
    Descriptor(serde_json::Error),
    /// A file that is not part of the layout.
    #[error("{0} is not part of the layout")]
    File(String),
    /// Forms are not modelled.
    #[error("{0}: forms are not supported")]
    Form(String),
    /// Not a name as 1C knows them.
    #[error(
        "{0:?} is not a name: a letter or _, then letters, digits and _, up to {NAME_CHARS_MAX}"
    )]
    Name(String),
    /// A template that the descriptor describes has no file.
    #[error("template {0:?} has no file")]
    NoTemplate(String),
    /// Two files for one template; the platform's names have no case.
    #[error("template {0:?} has two files, or two templates differ in case only")]
    TwoTemplates(String),
    /// Two UUIDs that must differ do not, or one is empty.
    #[error("uuid {0} is empty or stands for two things")]
    Uuid(Uuid),
    /// Not UTF-8.
    #[error("{0} is not UTF-8 text")]
    NotText(String),
    /// A synonym, comment or language that cannot be written.
    #[error("{0}: up to {WORDS_CHARS_MAX} characters, none of control")]
    Words(&'static str),
}

/// What a template holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TemplateData {
    /// Binary data.
    Binary(Vec<u8>),
    /// A text document.
    Text(String),
}

/// A template.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Template {
    /// Its UUID.
    pub uuid: Uuid,
    /// Names by language tag; may be empty.
    pub synonym: BTreeMap<String, String>,
    /// For the developer's eyes.
    pub comment: String,
    /// What it holds.
    pub data: TemplateData,
}

/// The sources of an external object. Made by [`Source::new`] or [`Source::from_files`]; checked
/// when it is packed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Source {
    /// Processor or report.
    pub kind: Kind,
    /// Its name, an identifier.
    pub name: String,
    /// Names for people by language tag; may be empty.
    pub synonym: BTreeMap<String, String>,
    /// For the developer's eyes.
    pub comment: String,
    /// The object's UUID.
    pub uuid: Uuid,
    /// UUID of the file's first element.
    pub file_uuid: Uuid,
    /// UUID of the object's type.
    pub type_uuid: Uuid,
    /// UUID of the object's value.
    pub value_uuid: Uuid,
    /// The module's text with plain line feeds; an empty one is written as none.
    pub module: String,
    /// Templates by name.
    pub templates: BTreeMap<String, Template>,
}

impl Source {
    /// An object with a module, and UUIDs that come from its kind and name.
    pub fn new(kind: Kind, name: &str, module: &str) -> Self {
        Self::with_uuid(kind, name, module, ids::object(kind, name))
    }

    fn with_uuid(kind: Kind, name: &str, module: &str, uuid: Uuid) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            synonym: BTreeMap::new(),
            comment: String::new(),
            uuid,
            file_uuid: ids::within(uuid, "file"),
            type_uuid: ids::within(uuid, "type"),
            value_uuid: ids::within(uuid, "value"),
            module: plain_lines(module),
            templates: BTreeMap::new(),
        }
    }

    /// Reads sources from a map of relative names and bytes.
    ///
    /// # Errors
    ///
    /// See [`SourceError`].
    pub fn from_files(files: &BTreeMap<String, Vec<u8>>) -> Result<Self, SourceError> {
        let descriptor = files.get(DESCRIPTOR).ok_or(SourceError::NoDescriptor)?;
        let descriptor = descriptor.strip_prefix("\u{feff}".as_bytes()).unwrap_or(descriptor);
        let descriptor: Descriptor =
            serde_json::from_slice(descriptor).map_err(SourceError::Descriptor)?;
        let uuid =
            descriptor.uuid.unwrap_or_else(|| ids::object(descriptor.kind, &descriptor.name));
        let mut source = Self::with_uuid(descriptor.kind, &descriptor.name, "", uuid);
        source.synonym = descriptor.synonym.map(Synonym::into_map).unwrap_or_default();
        source.comment = descriptor.comment;
        source.file_uuid = descriptor.file_uuid.unwrap_or(source.file_uuid);
        source.type_uuid = descriptor.type_uuid.unwrap_or(source.type_uuid);
        source.value_uuid = descriptor.value_uuid.unwrap_or(source.value_uuid);
        let mut described = descriptor.templates;
        for (path, bytes) in files {
            if path == DESCRIPTOR {
                continue;
            }
            if path == MODULE {
                source.module = module_text(path, bytes)?;
                continue;
            }
            if path.split('/').next() == Some("Forms") {
                return Err(SourceError::Form(path.clone()));
            }
            let (name, data) = template_file(path, bytes)?;
            let described = described.remove(&name).unwrap_or_default();
            let template = Template {
                uuid: described
                    .uuid
                    .unwrap_or_else(|| ids::within(uuid, &format!("template/{name}"))),
                synonym: described.synonym.map(Synonym::into_map).unwrap_or_default(),
                comment: described.comment,
                data,
            };
            if source.templates.insert(name.clone(), template).is_some() {
                return Err(SourceError::TwoTemplates(name));
            }
        }
        if let Some((name, _)) = described.pop_first() {
            return Err(SourceError::NoTemplate(name));
        }
        source.check()?;
        Ok(source)
    }

    /// The same as files: what [`Self::from_files`] reads. UUIDs that come from the name are left
    /// out.
    ///
    /// # Errors
    ///
    /// What [`Self::check`] finds.
    pub fn to_files(&self) -> Result<BTreeMap<String, Vec<u8>>, SourceError> {
        self.check()?;
        let differing = |own: Uuid, derived: Uuid| (own != derived).then_some(own);
        let mut files = BTreeMap::new();
        let mut templates = BTreeMap::new();
        for (name, template) in &self.templates {
            let described = TemplateDescriptor {
                synonym: Synonym::of(&template.synonym),
                comment: template.comment.clone(),
                uuid: differing(template.uuid, ids::within(self.uuid, &format!("template/{name}"))),
            };
            if described != TemplateDescriptor::default() {
                templates.insert(name.clone(), described);
            }
            let (ending, bytes) = match &template.data {
                TemplateData::Binary(bytes) => ("bin", bytes.clone()),
                TemplateData::Text(text) => ("txt", text.clone().into_bytes()),
            };
            files.insert(format!("{TEMPLATES}{name}.{ending}"), bytes);
        }
        let descriptor = Descriptor {
            kind: self.kind,
            name: self.name.clone(),
            synonym: Synonym::of(&self.synonym),
            comment: self.comment.clone(),
            uuid: differing(self.uuid, ids::object(self.kind, &self.name)),
            file_uuid: differing(self.file_uuid, ids::within(self.uuid, "file")),
            type_uuid: differing(self.type_uuid, ids::within(self.uuid, "type")),
            value_uuid: differing(self.value_uuid, ids::within(self.uuid, "value")),
            templates,
        };
        let mut text = serde_json::to_vec_pretty(&descriptor).map_err(SourceError::Descriptor)?;
        text.push(b'\n');
        files.insert(DESCRIPTOR.to_owned(), text);
        if !self.module.is_empty() {
            files.insert(MODULE.to_owned(), self.module.clone().into_bytes());
        }
        Ok(files)
    }

    /// Whether it can be packed.
    ///
    /// # Errors
    ///
    /// A name, text or UUID that the format cannot carry.
    pub fn check(&self) -> Result<(), SourceError> {
        check_name(&self.name)?;
        check_words("Synonym", &self.synonym)?;
        check_text("Comment", &self.comment)?;
        let mut known = vec![Uuid::nil()];
        let mut fresh = |uuid: Uuid| {
            let is_fresh = !known.contains(&uuid);
            known.push(uuid);
            if is_fresh { Ok(()) } else { Err(SourceError::Uuid(uuid)) }
        };
        for uuid in [self.uuid, self.file_uuid, self.type_uuid, self.value_uuid] {
            fresh(uuid)?;
        }
        let mut folded = BTreeSet::new();
        for (name, template) in &self.templates {
            check_name(name)?;
            if !folded.insert(name.to_lowercase()) {
                return Err(SourceError::TwoTemplates(name.clone()));
            }
            check_words("Synonym", &template.synonym)?;
            check_text("Comment", &template.comment)?;
            fresh(template.uuid)?;
        }
        Ok(())
    }
}

/// Whether a text is a name as 1C knows them.
pub fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|first| first.is_alphabetic() || first == '_')
        && chars.all(|other| other.is_alphanumeric() || other == '_')
        && name.chars().count() <= NAME_CHARS_MAX
}

fn check_name(name: &str) -> Result<(), SourceError> {
    if is_name(name) { Ok(()) } else { Err(SourceError::Name(name.to_owned())) }
}

fn check_text(what: &'static str, words: &str) -> Result<(), SourceError> {
    if words.chars().count() <= WORDS_CHARS_MAX && !words.chars().any(char::is_control) {
        Ok(())
    } else {
        Err(SourceError::Words(what))
    }
}

fn check_words(what: &'static str, words: &BTreeMap<String, String>) -> Result<(), SourceError> {
    for (language, words) in words {
        if !is_name(language) {
            return Err(SourceError::Words(what));
        }
        check_text(what, words)?;
    }
    Ok(())
}

fn module_text(path: &str, bytes: &[u8]) -> Result<String, SourceError> {
    let text = std::str::from_utf8(bytes).map_err(|_| SourceError::NotText(path.to_owned()))?;
    Ok(plain_lines(text))
}

/// Without byte order mark and carriage returns.
pub(crate) fn plain_lines(text: &str) -> String {
    text.trim_start_matches('\u{feff}').replace("\r\n", "\n")
}

fn template_file(path: &str, bytes: &[u8]) -> Result<(String, TemplateData), SourceError> {
    let foreign = || SourceError::File(path.to_owned());
    let file = path.strip_prefix(TEMPLATES).ok_or_else(foreign)?;
    let (name, ending) = file.rsplit_once('.').ok_or_else(foreign)?;
    let data = match ending {
        "bin" => TemplateData::Binary(bytes.to_vec()),
        "txt" => TemplateData::Text(
            std::str::from_utf8(bytes)
                .map_err(|_| SourceError::NotText(path.to_owned()))?
                .trim_start_matches('\u{feff}')
                .to_owned(),
        ),
        _ => return Err(foreign()),
    };
    check_name(name)?;
    Ok((name.to_owned(), data))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
        list.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect()
    }

    const OBJECT: (&str, &str) = (DESCRIPTOR, r#"{"Kind":"epf","Name":"Тест"}"#);

    #[test]
    fn files_and_source_are_the_same_thing() {
        let source = Source::from_files(&files(&[
            (
                DESCRIPTOR,
                r#"{"Kind":"erf","Name":"Тест","Synonym":"Тест","Comment":"c",
                "Uuid":"8d0b7f4e-51c2-4c0e-9a5d-2f6bc1e73a95",
                "Templates":{"Схема":{"Synonym":{"ru":"Схема","en":"Schema"}}}}"#,
            ),
            (MODULE, "\u{feff}Процедура А()\r\nКонецПроцедуры\r\n"),
            ("Templates/Схема.txt", "текст"),
            ("Templates/Данные.bin", "\0\u{1}"),
        ]))
        .unwrap();
        assert_eq!(source.kind, Kind::Report);
        assert_eq!(source.module, "Процедура А()\nКонецПроцедуры\n");
        assert_eq!(Source::from_files(&source.to_files().unwrap()).unwrap(), source);
        let plain = Source::new(Kind::Processor, "Тест", "");
        let written = String::from_utf8(plain.to_files().unwrap().remove(DESCRIPTOR).unwrap());
        assert!(!written.unwrap().contains("Uuid"), "derived uuids need not be written");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |list: &[(&str, &str)], wanted: &str| {
            let error = Source::from_files(&files(list)).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error:?} does not say {wanted:?}");
        };
        check(&[(MODULE, "")], "object.json is missing");
        check(&[(DESCRIPTOR, "{}")], "Kind");
        check(&[(DESCRIPTOR, r#"{"Kind":"epf","Name":"Тест","Form":1}"#)], "Form");
        check(&[(DESCRIPTOR, r#"{"Kind":"cfe","Name":"Тест"}"#)], "cfe");
        check(&[(DESCRIPTOR, r#"{"Kind":"epf","Name":"1Тест"}"#)], "1Тест");
        check(&[(DESCRIPTOR, r#"{"Kind":"epf","Name":"Тест","Comment":"a\nb"}"#)], "Comment");
        check(&[OBJECT, ("Forms/Форма/Form.xml", "")], "forms are not supported");
        check(&[OBJECT, ("readme.md", "")], "readme.md");
        check(&[OBJECT, ("Templates/А.xml", "")], "Templates/А.xml");
        check(&[OBJECT, ("Templates/А Б.txt", "")], "А Б");
        check(&[OBJECT, ("Templates/А.txt", ""), ("Templates/А.bin", "")], "two files");
        check(&[OBJECT, ("Templates/Аб.txt", ""), ("Templates/аБ.bin", "")], "in case only");
        check(
            &[(DESCRIPTOR, r#"{"Kind":"epf","Name":"Тест","Templates":{"А":{}}}"#)],
            "has no file",
        );
        let same = "8d0b7f4e-51c2-4c0e-9a5d-2f6bc1e73a95";
        let twice =
            format!(r#"{{"Kind":"epf","Name":"Тест","Uuid":"{same}","TypeUuid":"{same}"}}"#);
        check(&[(DESCRIPTOR, &twice)], same);
        let mut bad = files(&[OBJECT]);
        bad.insert(MODULE.to_owned(), vec![0xff]);
        assert!(matches!(Source::from_files(&bad), Err(SourceError::NotText(_))));
    }
}
