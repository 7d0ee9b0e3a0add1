//! MANIFEST.XML of a template: which library is for which system.
//!
//! Reads what the platform accepts, which is lenient (a byte-order mark, `type="Native"`, empty
//! attributes), and writes one plain form. Whether the libraries are there is not its business.

use roxmltree::{Document, Node};

use super::image::{Arch, Os};

/// Name of the file, in the root of the archive.
pub const MANIFEST_NAME: &str = "MANIFEST.XML";

/// Largest manifest that is read: that of a component for all systems has 1 KiB.
pub const MANIFEST_BYTES_MAX: usize = 64 * 1024;

const NAMESPACE: &str = "http://v8.1c.ru/8.2/addin/bundle";

/// Why a manifest was refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// A component lacks an attribute.
    #[error("component {number} of {MANIFEST_NAME} has no {attribute}")]
    Attribute {
        /// Which component, from 1.
        number: usize,
        /// What is missing.
        attribute: &'static str,
    },
    /// No component at all.
    #[error("{MANIFEST_NAME} names no component")]
    Empty,
    /// Not XML, or not in UTF-8.
    #[error("{MANIFEST_NAME} is no XML: {0}")]
    Syntax(String),
    /// Another root element.
    #[error("{MANIFEST_NAME} describes no bundle")]
    NotABundle,
}

/// One library of a bundle.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Component {
    /// `Windows`, `Linux`, `MacOS` …, as it stands there.
    pub os: String,
    /// `i386`, `x86_64` …, as it stands there.
    pub arch: String,
    /// `native`, as it stands there.
    pub kind: String,
    /// Name of its file.
    pub path: String,
}

impl Component {
    /// A library of the Native API.
    pub fn native(os: Os, arch: Arch, path: String) -> Self {
        Self { os: os.to_string(), arch: arch.to_string(), kind: "native".to_owned(), path }
    }
}

/// Reads the components, in the order in which they stand.
///
/// # Errors
///
/// See [`ManifestError`].
pub fn read(bytes: &[u8]) -> Result<Vec<Component>, ManifestError> {
    let text = text_of(bytes)?;
    let document = parse(text)?;
    let components: Vec<_> = components_of(&document)?
        .enumerate()
        .map(|(index, node)| {
            let attribute = |attribute: &'static str| {
                node.attribute(attribute)
                    .filter(|value| !value.is_empty())
                    .map(str::to_owned)
                    .ok_or(ManifestError::Attribute { number: index + 1, attribute })
            };
            Ok(Component {
                os: attribute("os")?,
                arch: attribute("arch")?,
                kind: attribute("type")?,
                path: attribute("path")?,
            })
        })
        .collect::<Result<_, _>>()?;
    if components.is_empty() { Err(ManifestError::Empty) } else { Ok(components) }
}

/// The manifest with other file names and everything else as it was. `rename` gives the name that
/// takes the place of one.
///
/// # Errors
///
/// See [`ManifestError`].
pub fn rename(
    bytes: &[u8],
    mut rename: impl FnMut(&str) -> Option<String>,
) -> Result<Vec<u8>, ManifestError> {
    let text = text_of(bytes)?;
    let document = parse(text)?;
    let mut changed = String::with_capacity(text.len() + 64);
    let mut done = 0;
    for node in components_of(&document)? {
        let Some(path) = node.attribute_node("path") else { continue };
        let Some(name) = rename(path.value()) else { continue };
        let place = path.range_value();
        changed.push_str(text.get(done..place.start).unwrap_or_default());
        changed.push_str(&escaped(&name));
        done = place.end;
    }
    changed.push_str(text.get(done..).unwrap_or_default());
    Ok(changed.into_bytes())
}

/// Writes a manifest. The same components give the same bytes.
pub fn write(name: &str, components: &[Component]) -> Vec<u8> {
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<bundle xmlns=\"{NAMESPACE}\" name=\"{}\">\n",
        escaped(name)
    );
    for component in components {
        text.push_str(&format!(
            "  <component os=\"{}\" path=\"{}\" type=\"{}\" arch=\"{}\"/>\n",
            escaped(&component.os),
            escaped(&component.path),
            escaped(&component.kind),
            escaped(&component.arch)
        ));
    }
    text.push_str("</bundle>\n");
    text.into_bytes()
}

fn text_of(bytes: &[u8]) -> Result<&str, ManifestError> {
    let text = std::str::from_utf8(bytes).map_err(|why| ManifestError::Syntax(why.to_string()))?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

fn parse(text: &str) -> Result<Document<'_>, ManifestError> {
    Document::parse(text).map_err(|why| ManifestError::Syntax(why.to_string()))
}

fn components_of<'a>(
    document: &'a Document<'_>,
) -> Result<impl Iterator<Item = Node<'a, 'a>>, ManifestError> {
    let root = document.root_element();
    if root.tag_name().name() != "bundle" {
        return Err(ManifestError::NotABundle);
    }
    Ok(root.children().filter(|node| node.tag_name().name() == "component"))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In the manner of 1C's own: mark, other case, `xmlns=""`, empty attributes.
    const LENIENT: &str = "\u{feff}<?xml version='1.0' encoding='UTF-8'?>\r\n\
        <bundle xmlns='http://v8.1c.ru/8.2/addin/bundle' name='X'>\r\n\
        <component xmlns='' os='Windows' path='a.dll' type='Native' arch='i386' object=''/>\r\n\
        <component xmlns='' os='Linux' type='native' arch='x86_64' path=\"b.so\" client=''/></bundle>";

    #[test]
    fn written_manifest_is_read_back() {
        let components = [
            Component::native(Os::Windows, Arch::I386, "x_win32.dll".to_owned()),
            Component::native(Os::Linux, Arch::X86_64, "x&\"<_lin64.so".to_owned()),
        ];
        assert_eq!(read(&write("licence", &components)), Ok(components.to_vec()));
    }

    #[test]
    fn lenient_form_is_read_and_keeps_everything_but_the_names() {
        let read_ones = read(LENIENT.as_bytes()).unwrap();
        let paths: Vec<_> = read_ones.iter().map(|component| component.path.as_str()).collect();
        assert_eq!(paths, ["a.dll", "b.so"]);
        let renamed = rename(LENIENT.as_bytes(), |name| (name == "b.so").then(|| "c.so".into()));
        let expected = LENIENT.trim_start_matches('\u{feff}').replace("b.so", "c.so");
        assert_eq!(String::from_utf8(renamed.unwrap()).unwrap(), expected);
    }

    #[test]
    fn other_files_are_refused_with_the_place() {
        for (text, error) in [
            ("<bundle/>", ManifestError::Empty),
            ("<other/>", ManifestError::NotABundle),
            (
                "<bundle><component os='Linux' path='a'/></bundle>",
                ManifestError::Attribute { number: 1, attribute: "arch" },
            ),
        ] {
            assert_eq!(read(text.as_bytes()), Err(error), "{text}");
        }
        assert!(matches!(read(b"<bundle>"), Err(ManifestError::Syntax(_))));
        assert!(matches!(read(b"\xff"), Err(ManifestError::Syntax(_))));
    }
}
