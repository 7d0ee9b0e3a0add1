//! The platform's container: named elements in chained pages, containers within containers.
//!
//! Reads what the platform and other tools write, within limits; writes one layout only, so that
//! the same elements always give the same bytes. Whether an element's bytes are compressed is a
//! matter of its place: those of the outermost container are (DEFLATE without a header), those of
//! inner ones are not. The 64-bit variant of newer configuration files is refused by name.

use std::io::Read;

use flate2::Compression;
use flate2::read::{DeflateDecoder, DeflateEncoder};

/// First word of a container, and the address that means "none".
const NONE: u32 = 0x7fff_ffff;
/// Bytes of a container's head.
const HEAD: usize = 16;
/// Bytes of a page's head: line break, three hex numbers of eight digits each followed by a space,
/// line break.
const PAGE_HEAD: usize = 31;
/// Smallest page for tables and data, as the platform makes them.
const PAGE_MIN: usize = 512;
/// Two addresses and a closing mark.
const ROW: usize = 12;
/// Creation and change time and a word of flags stand before an element's name.
const NAME_AT: usize = 20;

/// Most elements of a container. The largest external objects have some hundred.
pub const ELEMENTS_MAX: usize = 16_384;
/// Most bytes of one element, unpacked; a processor with large templates stays below.
pub const ELEMENT_BYTES_MAX: usize = 128 << 20;
/// Most bytes of all elements together, unpacked: a small file must not fill the memory.
pub const TOTAL_BYTES_MAX: usize = 256 << 20;
/// Most levels of containers within containers; external objects have two.
pub const DEPTH_MAX: usize = 4;
/// Most characters of an element's name; the platform's are UUIDs with a suffix.
pub const NAME_CHARS_MAX: usize = 255;
/// Time that is written for every element, in units of 100 µs since the year 1: midnight of
/// 2020-01-01. A true time would make each build differ.
const TIME: u64 = 637_134_336_000_000;

/// Why bytes are not a container, or elements do not fit into one.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ContainerError {
    /// The 64-bit variant.
    #[error("a 64-bit container is not supported")]
    Wide,
    /// An element's bytes are not compressed data.
    #[error("element {0:?} is not compressed data")]
    Compressed(String),
    /// Containers nested too deeply.
    #[error("containers are nested deeper than {DEPTH_MAX}")]
    Depth,
    /// Two elements of one name.
    #[error("there are two elements {0:?}")]
    Duplicate(String),
    /// Not a container at all.
    #[error("the bytes do not begin like a container")]
    Magic,
    /// A name that cannot stand in a container.
    #[error("an element's name is not 1 to {NAME_CHARS_MAX} characters of text")]
    Name,
    /// An address or a page outside the bytes, or a loop of pages.
    #[error("the page at {0} is damaged")]
    Page(usize),
    /// A table that is not one.
    #[error("the table of elements is damaged")]
    Table,
    /// More than is read or written.
    #[error("the container is larger than is allowed")]
    TooLarge,
}

/// What an element holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Content {
    /// Bytes, uncompressed.
    Bytes(Vec<u8>),
    /// A container of its own.
    Nested(Container),
}

impl Content {
    /// The bytes, unless it is a container.
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Nested(_) => None,
        }
    }
}

/// Named elements in their order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Container {
    elements: Vec<(String, Content)>,
}

impl Container {
    /// The elements in their order.
    pub fn elements(&self) -> &[(String, Content)] {
        &self.elements
    }

    /// What stands under a name.
    pub fn get(&self, name: &str) -> Option<&Content> {
        self.elements.iter().find(|(known, _)| known == name).map(|(_, content)| content)
    }

    /// Adds an element at the end.
    ///
    /// # Errors
    ///
    /// When the name is taken or is none.
    pub fn push(&mut self, name: &str, content: Content) -> Result<(), ContainerError> {
        check_name(name)?;
        if self.get(name).is_some() {
            return Err(ContainerError::Duplicate(name.to_owned()));
        }
        if self.elements.len() == ELEMENTS_MAX {
            return Err(ContainerError::TooLarge);
        }
        self.elements.push((name.to_owned(), content));
        Ok(())
    }

    /// Reads an outermost container, whose elements are compressed.
    ///
    /// # Errors
    ///
    /// See [`ContainerError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ContainerError> {
        let mut budget = TOTAL_BYTES_MAX;
        let mut container = Self::default();
        for (name, packed) in read_elements(bytes, &mut budget)? {
            let plain = inflate(&packed, &mut budget).map_err(|failure| failure.named(&name))?;
            let content = content_of(plain, 1, &mut budget)?;
            container.push(&name, content)?;
        }
        Ok(container)
    }

    /// Writes an outermost container.
    ///
    /// # Errors
    ///
    /// [`ContainerError::TooLarge`] beyond the limits of reading.
    pub fn write(&self) -> Result<Vec<u8>, ContainerError> {
        self.write_level(0)
    }

    fn write_level(&self, depth: usize) -> Result<Vec<u8>, ContainerError> {
        if depth == DEPTH_MAX {
            return Err(ContainerError::Depth);
        }
        let table_bytes = (self.elements.len() * ROW).max(PAGE_MIN);
        let mut out = Vec::new();
        out.extend(NONE.to_le_bytes());
        out.extend(address(PAGE_MIN)?.to_le_bytes());
        out.extend(address(self.elements.len())?.to_le_bytes());
        out.extend(0_u32.to_le_bytes());
        let table_at = out.len();
        out.resize(table_at + PAGE_HEAD + table_bytes, 0);
        let mut table = Vec::with_capacity(self.elements.len() * ROW);
        for (name, content) in &self.elements {
            let plain = match content {
                Content::Bytes(bytes) => bytes.clone(),
                Content::Nested(inner) => inner.write_level(depth + 1)?,
            };
            if plain.len() > ELEMENT_BYTES_MAX {
                return Err(ContainerError::TooLarge);
            }
            let stored = if depth == 0 { deflate(&plain)? } else { plain };
            table.extend(address(out.len())?.to_le_bytes());
            let head = element_head(name);
            write_page(&mut out, &head, head.len())?;
            table.extend(address(out.len())?.to_le_bytes());
            write_page(&mut out, &stored, PAGE_MIN)?;
            table.extend(NONE.to_le_bytes());
        }
        let head = page_head(table.len(), table_bytes)?;
        out[table_at..table_at + PAGE_HEAD].copy_from_slice(&head);
        out[table_at + PAGE_HEAD..table_at + PAGE_HEAD + table.len()].copy_from_slice(&table);
        if out.len() > TOTAL_BYTES_MAX {
            return Err(ContainerError::TooLarge);
        }
        Ok(out)
    }
}

fn check_name(name: &str) -> Result<(), ContainerError> {
    let chars = name.chars().count();
    if (1..=NAME_CHARS_MAX).contains(&chars) && !name.chars().any(char::is_control) {
        Ok(())
    } else {
        Err(ContainerError::Name)
    }
}

/// A number as a container writes it.
fn address(value: usize) -> Result<u32, ContainerError> {
    u32::try_from(value).ok().filter(|&value| value < NONE).ok_or(ContainerError::TooLarge)
}

fn element_head(name: &str) -> Vec<u8> {
    let mut head = Vec::new();
    head.extend(TIME.to_le_bytes());
    head.extend(TIME.to_le_bytes());
    head.extend(0_u32.to_le_bytes());
    head.extend(name.encode_utf16().flat_map(u16::to_le_bytes));
    head.extend([0; 4]);
    head
}

fn page_head(document: usize, page: usize) -> Result<[u8; PAGE_HEAD], ContainerError> {
    let text = format!("\r\n{:08x} {:08x} {NONE:08x} \r\n", address(document)?, address(page)?);
    text.into_bytes().try_into().map_err(|_| ContainerError::TooLarge)
}

fn write_page(out: &mut Vec<u8>, document: &[u8], least: usize) -> Result<(), ContainerError> {
    let page = document.len().max(least);
    out.extend(page_head(document.len(), page)?);
    out.extend(document);
    out.resize(out.len() + page - document.len(), 0);
    Ok(())
}

fn deflate(plain: &[u8]) -> Result<Vec<u8>, ContainerError> {
    let mut packed = Vec::new();
    DeflateEncoder::new(plain, Compression::default())
        .read_to_end(&mut packed)
        .map_err(|_| ContainerError::TooLarge)?;
    Ok(packed)
}

enum InflateError {
    Data,
    TooLarge,
}

impl InflateError {
    fn named(self, name: &str) -> ContainerError {
        match self {
            Self::Data => ContainerError::Compressed(name.to_owned()),
            Self::TooLarge => ContainerError::TooLarge,
        }
    }
}

fn inflate(packed: &[u8], budget: &mut usize) -> Result<Vec<u8>, InflateError> {
    if packed.is_empty() {
        return Ok(Vec::new());
    }
    let limit = ELEMENT_BYTES_MAX.min(*budget);
    let mut plain = Vec::new();
    DeflateDecoder::new(packed)
        .take(limit as u64 + 1)
        .read_to_end(&mut plain)
        .map_err(|_| InflateError::Data)?;
    if plain.len() > limit {
        return Err(InflateError::TooLarge);
    }
    *budget -= plain.len();
    Ok(plain)
}

/// An element whose bytes are a whole container is one; a template that merely begins alike stays
/// bytes.
fn content_of(plain: Vec<u8>, depth: usize, budget: &mut usize) -> Result<Content, ContainerError> {
    if !plain.starts_with(&NONE.to_le_bytes()) {
        return Ok(Content::Bytes(plain));
    }
    let elements = match read_elements(&plain, budget) {
        Ok(elements) => elements,
        Err(ContainerError::TooLarge) => return Err(ContainerError::TooLarge),
        Err(_) => return Ok(Content::Bytes(plain)),
    };
    if depth == DEPTH_MAX {
        return Err(ContainerError::Depth);
    }
    let mut container = Container::default();
    for (name, bytes) in elements {
        let content = content_of(bytes, depth + 1, budget)?;
        container.push(&name, content)?;
    }
    Ok(Content::Nested(container))
}

fn read_elements(
    bytes: &[u8],
    budget: &mut usize,
) -> Result<Vec<(String, Vec<u8>)>, ContainerError> {
    if bytes.starts_with(&[0xff; 8]) {
        return Err(ContainerError::Wide);
    }
    if bytes.len() < HEAD || !bytes.starts_with(&NONE.to_le_bytes()) {
        return Err(ContainerError::Magic);
    }
    let table = document(bytes, HEAD, budget)?;
    if table.len() % ROW != 0 || table.len() / ROW > ELEMENTS_MAX {
        return Err(ContainerError::Table);
    }
    let mut elements = Vec::new();
    for row in table.chunks_exact(ROW) {
        let word = |at: usize| u32::from_le_bytes([row[at], row[at + 1], row[at + 2], row[at + 3]]);
        if word(8) != NONE {
            return Err(ContainerError::Table);
        }
        let head = document(bytes, word(0) as usize, budget)?;
        let name = name_of(&head)?;
        let data = match word(4) {
            NONE => Vec::new(),
            at => document(bytes, at as usize, budget)?,
        };
        elements.push((name, data));
    }
    Ok(elements)
}

/// The name ends at its first zero: behind it some writers leave what was in memory.
fn name_of(head: &[u8]) -> Result<String, ContainerError> {
    let units: Vec<u16> = head
        .get(NAME_AT..)
        .ok_or(ContainerError::Name)?
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .take_while(|&unit| unit != 0)
        .collect();
    let name = String::from_utf16(&units).map_err(|_| ContainerError::Name)?;
    check_name(&name)?;
    Ok(name)
}

/// The bytes of a document, from the chain of its pages.
fn document(bytes: &[u8], first: usize, budget: &mut usize) -> Result<Vec<u8>, ContainerError> {
    let mut at = first;
    let mut left = None;
    let mut out = Vec::new();
    // Pages do not overlap, so a longer chain is a loop.
    for _ in 0..=bytes.len() / PAGE_HEAD {
        let damaged = || ContainerError::Page(at);
        let head =
            at.checked_add(PAGE_HEAD).and_then(|end| bytes.get(at..end)).ok_or_else(damaged)?;
        let [size, page, next] = page_numbers(head).ok_or_else(damaged)?;
        let wanted = *left.get_or_insert(size as usize);
        if out.is_empty() {
            if wanted > ELEMENT_BYTES_MAX || wanted > *budget {
                return Err(ContainerError::TooLarge);
            }
            // A document cannot be longer than what it stands in.
            if wanted > bytes.len() {
                return Err(damaged());
            }
        }
        let take = (page as usize).min(wanted);
        let start = at + PAGE_HEAD;
        out.extend(bytes.get(start..start + take).ok_or_else(damaged)?);
        let rest = wanted - take;
        left = Some(rest);
        if rest == 0 {
            *budget -= out.len();
            return Ok(out);
        }
        if next == NONE || take == 0 {
            return Err(damaged());
        }
        at = next as usize;
    }
    Err(ContainerError::Page(first))
}

fn page_numbers(head: &[u8]) -> Option<[u32; 3]> {
    let spaced = head.starts_with(b"\r\n")
        && head.ends_with(b"\r\n")
        && [10, 19, 28].iter().all(|&at| head[at] == b' ');
    let number = |at: usize| {
        let digits = &head[at..at + 8];
        // `from_str_radix` would take a sign.
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    spaced.then(|| Some([number(2)?, number(11)?, number(20)?])).flatten()
}

#[cfg(test)]
mod tests;
