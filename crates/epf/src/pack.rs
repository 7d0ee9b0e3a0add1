//! From sources to the bytes of an `epf` or `erf`.
//!
//! The same sources give the same bytes: times are fixed, UUIDs given or derived, elements sorted.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::brace::Value;
use crate::container::{Container, ContainerError, Content};
use crate::ids;
use crate::metadata::{self, Head, Names, TemplateKind};
use crate::source::{Source, SourceError, TemplateData};

/// Letters of base64 data on a line, as the platform breaks them.
const BASE64_LINE: usize = 64;

/// Why sources cannot be packed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// The container does not take it.
    #[error(transparent)]
    Container(#[from] ContainerError),
    /// The sources are wrong.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// The bytes of the external processor or report.
///
/// # Errors
///
/// See [`PackError`].
pub fn pack_processor(source: &Source) -> Result<Vec<u8>, PackError> {
    source.check()?;
    let mut elements = Vec::new();
    let head = Head {
        kind: source.kind,
        file: source.file_uuid,
        type_id: source.type_uuid,
        value_id: source.value_uuid,
        names: Names {
            uuid: source.uuid,
            name: source.name.clone(),
            synonym: source.synonym.clone(),
            comment: source.comment.clone(),
        },
        templates: source.templates.values().map(|template| template.uuid).collect(),
    };
    elements.push(("root".to_owned(), marked(&metadata::root(source.file_uuid))));
    elements.push(("version".to_owned(), marked(&metadata::version())));
    elements.push(("copyinfo".to_owned(), marked(&metadata::copy_info())));
    elements.push((source.file_uuid.to_string(), marked(&head.to_value())));
    if !source.module.is_empty() {
        elements.push((format!("{}.0", source.uuid), module(&source.module)?));
    }
    for (name, template) in &source.templates {
        let names = Names {
            uuid: template.uuid,
            name: name.clone(),
            synonym: template.synonym.clone(),
            comment: template.comment.clone(),
        };
        let (kind, content) = match &template.data {
            TemplateData::Binary(bytes) => (TemplateKind::Binary, marked(&binary(bytes))),
            TemplateData::Text(text) => {
                (TemplateKind::Text, Content::Bytes(format!("\u{feff}{text}").into_bytes()))
            }
        };
        let head = metadata::template_head(kind, &names);
        elements.push((template.uuid.to_string(), marked(&head)));
        elements.push((format!("{}.0", template.uuid), content));
    }
    elements.push(("versions".to_owned(), versions(source, &elements)?));
    elements.sort_by(|one, other| one.0.cmp(&other.0));
    let mut container = Container::default();
    for (name, content) in elements {
        container.push(&name, content)?;
    }
    Ok(container.write()?)
}

/// A text as elements hold it: with a byte order mark.
fn marked(value: &Value) -> Content {
    Content::Bytes(format!("\u{feff}{}", value.to_text()).into_bytes())
}

fn module(text: &str) -> Result<Content, ContainerError> {
    let mut container = Container::default();
    container.push("info", marked(&metadata::module_info()))?;
    let text = format!("\u{feff}{}", text.replace('\n', "\r\n"));
    container.push("text", Content::Bytes(text.into_bytes()))?;
    Ok(Content::Nested(container))
}

fn binary(bytes: &[u8]) -> Value {
    let mut data = "#base64:".to_owned();
    let text = STANDARD.encode(bytes);
    let mut rest = text.as_str();
    while rest.len() > BASE64_LINE {
        let (line, more) = rest.split_at(BASE64_LINE);
        data.push_str(line);
        data.push_str("\r\n");
        rest = more;
    }
    data.push_str(rest);
    Value::List(vec![Value::Atom("1".into()), Value::List(vec![Value::Atom(data)])])
}

fn versions(source: &Source, elements: &[(String, Content)]) -> Result<Content, ContainerError> {
    let mut versions = Vec::new();
    let mut all = Vec::new();
    for (name, content) in elements {
        let bytes = match content {
            Content::Bytes(bytes) => bytes.clone(),
            Content::Nested(inner) => inner.write()?,
        };
        let version = ids::version(source.uuid, name, &bytes);
        all.extend(version.as_bytes());
        versions.push((name.clone(), version));
    }
    versions.push(("versions".to_owned(), ids::version(source.uuid, "versions", &all)));
    versions.sort_by(|one, other| one.0.cmp(&other.0));
    versions.insert(0, (String::new(), ids::version(source.uuid, "", &all)));
    Ok(marked(&metadata::versions(&versions)))
}
