//! From the bytes of an `epf` or `erf` back to sources.
//!
//! Only what the layout of `source` can carry is taken apart; anything else is refused with its
//! name, never left out in silence.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use uuid::Uuid;

use crate::brace::Value;
use crate::container::{Container, ContainerError, Content};
use crate::metadata::{self, Children, Head, TemplateKind};
use crate::source::{Source, SourceError, Template, TemplateData, plain_lines};

/// Why bytes are not turned into sources.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// It has attributes.
    #[error("the object has attributes, which are not supported")]
    Attributes,
    /// Not a container.
    #[error(transparent)]
    Container(#[from] ContainerError),
    /// An element that is not understood.
    #[error("element {0:?} is not understood")]
    Element(String),
    /// It has forms.
    #[error("the object has forms, which are not supported")]
    Forms,
    /// An element that the others refer to is missing.
    #[error("element {0:?} is missing")]
    Missing(String),
    /// A module without readable text.
    #[error("the module is protected by a password or stored without its text")]
    Module,
    /// What came out is not valid.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// It has tabular sections.
    #[error("the object has tabular sections, which are not supported")]
    Tables,
    /// A template of another kind than text and binary data.
    #[error("template {0} is neither text nor binary data")]
    Template(Uuid),
}

/// The sources of an external processor or report.
///
/// # Errors
///
/// See [`UnpackError`].
pub fn unpack_processor(bytes: &[u8]) -> Result<Source, UnpackError> {
    let container = Container::parse(bytes)?;
    let (head, unknown) = head(&container)?;
    match unknown {
        Some(Children::Attributes) => return Err(UnpackError::Attributes),
        Some(Children::Forms) => return Err(UnpackError::Forms),
        Some(Children::Tables) => return Err(UnpackError::Tables),
        Some(Children::Templates) | None => {}
    }
    let mut source = Source::new(head.kind, &head.names.name, "");
    source.uuid = head.names.uuid;
    source.file_uuid = head.file;
    source.type_uuid = head.type_id;
    source.value_uuid = head.value_id;
    source.synonym = head.names.synonym;
    source.comment = head.names.comment;
    let mut known: BTreeSet<String> =
        ["root", "version", "versions", "copyinfo"].map(str::to_owned).into();
    known.insert(head.file.to_string());
    let module_name = format!("{}.0", head.names.uuid);
    if let Some(content) = container.get(&module_name) {
        source.module = module(content).ok_or(UnpackError::Module)?;
        known.insert(module_name);
    }
    for uuid in head.templates {
        let (name, template) = template(&container, uuid)?;
        known.insert(uuid.to_string());
        known.insert(format!("{uuid}.0"));
        source.templates.insert(name, template);
    }
    if let Some((name, _)) = container.elements().iter().find(|(name, _)| !known.contains(name)) {
        return Err(UnpackError::Element(name.clone()));
    }
    source.check()?;
    Ok(source)
}

/// The text of the object's module with plain line feeds; `None` when there is none, or when the
/// bytes are no external object or its module has no readable text.
pub fn object_module(bytes: &[u8]) -> Option<String> {
    let container = Container::parse(bytes).ok()?;
    let (head, _) = head(&container).ok()?;
    module(container.get(&format!("{}.0", head.names.uuid))?)
}

fn head(container: &Container) -> Result<(Head, Option<Children>), UnpackError> {
    let file = metadata::root_of(&value(container, "root")?)
        .ok_or_else(|| UnpackError::Element("root".into()))?
        .to_string();
    Head::of(&value(container, &file)?).ok_or(UnpackError::Element(file))
}

fn value(container: &Container, name: &str) -> Result<Value, UnpackError> {
    let content = container.get(name).ok_or_else(|| UnpackError::Missing(name.to_owned()))?;
    content
        .bytes()
        .and_then(|bytes| std::str::from_utf8(bytes).ok())
        .and_then(|text| Value::parse(text).ok())
        .ok_or_else(|| UnpackError::Element(name.to_owned()))
}

fn module(content: &Content) -> Option<String> {
    let text = match content {
        // Platforms before 8.3 keep the bare text.
        Content::Bytes(bytes) => bytes,
        Content::Nested(inner) => inner.get("text")?.bytes()?,
    };
    std::str::from_utf8(text).ok().map(plain_lines)
}

fn template(container: &Container, uuid: Uuid) -> Result<(String, Template), UnpackError> {
    let (kind, names) = metadata::template_of(&value(container, &uuid.to_string())?)
        .ok_or(UnpackError::Template(uuid))?;
    let data_name = format!("{uuid}.0");
    let data = match kind {
        TemplateKind::Binary => {
            let data = value(container, &data_name)?;
            TemplateData::Binary(
                binary(&data).ok_or_else(|| UnpackError::Element(data_name.clone()))?,
            )
        }
        TemplateKind::Text => {
            let bytes = match container.get(&data_name) {
                Some(Content::Bytes(bytes)) => bytes.as_slice(),
                // An empty template has no data.
                None => &[],
                Some(Content::Nested(_)) => return Err(UnpackError::Element(data_name)),
            };
            let text =
                std::str::from_utf8(bytes).map_err(|_| UnpackError::Element(data_name.clone()))?;
            TemplateData::Text(text.trim_start_matches('\u{feff}').to_owned())
        }
    };
    let template =
        Template { uuid: names.uuid, synonym: names.synonym, comment: names.comment, data };
    Ok((names.name, template))
}

fn binary(value: &Value) -> Option<Vec<u8>> {
    let mut data = value.at(&[1, 0])?.atom()?.strip_prefix("#base64:")?.to_owned();
    data.retain(|letter| !letter.is_ascii_whitespace());
    STANDARD.decode(data).ok()
}

/// Every element as a file: those of an inner container stand in a folder of its name.
///
/// # Errors
///
/// When the bytes are no container, or a name cannot be that of a file.
pub fn raw_elements(bytes: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, UnpackError> {
    fn walk(
        container: &Container,
        folder: &str,
        files: &mut BTreeMap<String, Vec<u8>>,
    ) -> Result<(), UnpackError> {
        for (name, content) in container.elements() {
            // A name from a foreign file must not lead out of the folder.
            let harmless = !name.contains(['/', '\\', ':', '*', '?', '"', '<', '>', '|'])
                && !name.starts_with('.')
                && !name.ends_with(['.', ' ']);
            if !harmless {
                return Err(UnpackError::Element(name.clone()));
            }
            match content {
                Content::Bytes(bytes) => {
                    files.insert(format!("{folder}{name}"), bytes.clone());
                }
                Content::Nested(inner) => walk(inner, &format!("{folder}{name}/"), files)?,
            }
        }
        Ok(())
    }
    let mut files = BTreeMap::new();
    walk(&Container::parse(bytes)?, "", &mut files)?;
    Ok(files)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pack::pack_processor;
    use crate::source::Kind;

    fn sample(kind: Kind) -> Source {
        let mut source =
            Source::new(kind, "Защищённый", "// первая\nПроцедура А() Экспорт\nКонецПроцедуры\n");
        source.synonym.insert("ru".into(), "Защищённый \"объект\"".into());
        for (name, data) in [
            ("Данные", TemplateData::Binary((0..=255).collect())),
            ("Текст", TemplateData::Text("строка\r\n".into())),
        ] {
            let template = Template {
                uuid: Uuid::from_u128(name.len() as u128),
                synonym: BTreeMap::new(),
                comment: "для примера".into(),
                data,
            };
            source.templates.insert(name.into(), template);
        }
        source
    }

    #[test]
    fn sources_come_back_and_bytes_are_the_same_each_time() {
        for kind in [Kind::Processor, Kind::Report] {
            let source = sample(kind);
            let bytes = pack_processor(&source).unwrap();
            assert_eq!(pack_processor(&source).unwrap(), bytes);
            assert_eq!(unpack_processor(&bytes).unwrap(), source);
            assert_eq!(object_module(&bytes).as_deref(), Some(source.module.as_str()));
        }
    }

    #[test]
    fn object_without_module_has_none() {
        let bytes = pack_processor(&Source::new(Kind::Processor, "Пустая", "")).unwrap();
        assert_eq!(object_module(&bytes), None);
        assert_eq!(unpack_processor(&bytes).unwrap().module, "");
        assert_eq!(object_module(b"PK"), None);
    }

    #[test]
    fn what_is_not_modelled_is_refused_but_taken_apart_raw() {
        let bytes = pack_processor(&sample(Kind::Processor)).unwrap();
        let mut foreign = Container::parse(&bytes).unwrap();
        foreign.push("11111111-1111-1111-1111-111111111111.0", Content::Bytes(vec![1])).unwrap();
        let foreign = foreign.write().unwrap();
        assert!(matches!(unpack_processor(&foreign), Err(UnpackError::Element(_))));
        let files = raw_elements(&foreign).unwrap();
        assert_eq!(files["11111111-1111-1111-1111-111111111111.0"], [1]);
        let text = format!("{}.0/text", sample(Kind::Processor).uuid);
        assert!(files[&text].starts_with("\u{feff}// первая\r\n".as_bytes()));
        assert!(object_module(&foreign).is_some());
    }

    #[test]
    fn raw_names_never_leave_the_folder() {
        for name in ["../x", "a/b", "..", "c:x", "a\\b"] {
            let mut container = Container::default();
            container.push(name, Content::Bytes(Vec::new())).unwrap();
            let bytes = container.write().unwrap();
            assert!(matches!(raw_elements(&bytes), Err(UnpackError::Element(_))), "{name}");
        }
    }

    proptest! {
        #[test]
        fn damaged_file_is_read_or_refused(
            places in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let mut bytes = pack_processor(&sample(Kind::Report)).unwrap();
            for (place, value) in places {
                let at = place.index(bytes.len());
                bytes[at] = value;
            }
            let _ = unpack_processor(&bytes);
            let _ = object_module(&bytes);
            let _ = raw_elements(&bytes);
        }
    }
}
