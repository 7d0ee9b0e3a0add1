//! Lists that are searched, filtered, sorted and shown page by page, by the address alone.
//!
//! Decides which rows are shown and in which order. Every link and form of a list is a plain
//! address, so that it works without script and can be kept.

use std::cmp::Ordering;

use licence_core::key::{KeyNo, KeySeries};

use crate::api::errors::ApiError;
use crate::api::params::Params;
use crate::console::frame::{Frame, encoded};

/// Rows of one page.
pub(super) const PAGE_ROWS: usize = 100;

/// Longest search text in characters: names that are searched for are shorter.
const QUERY_CHARS_MAX: usize = 200;

/// Digits of a number in the address: those of the largest 32-bit number.
const DIGITS_MAX: usize = 10;

/// A column.
pub(super) struct Column<R> {
    /// Name in the address.
    pub(super) name: &'static str,
    /// Head in Russian.
    pub(super) russian: &'static str,
    /// Head in English.
    pub(super) english: &'static str,
    /// Its order.
    pub(super) compare: fn(&R, &R) -> Ordering,
}

impl<R> Column<R> {
    pub(super) const fn new(
        name: &'static str,
        russian: &'static str,
        english: &'static str,
        compare: fn(&R, &R) -> Ordering,
    ) -> Self {
        Self { name, russian, english, compare }
    }
}

/// A head of a column as it is shown.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) text: &'static str,
    /// Sorts by this column; the other way round when it is the one already.
    pub(super) href: String,
    /// `aria-sort`.
    pub(super) sort: &'static str,
}

/// What the address asks for.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    path: &'static str,
    /// Text to search for.
    pub(super) query: String,
    /// Only of this series.
    pub(super) series: Option<KeySeries>,
    /// Only of this key.
    pub(super) key: Option<KeyNo>,
    sort: String,
    page: usize,
}

/// The rows of one page of a list.
#[derive(Debug)]
pub(super) struct Listing<R> {
    pub(super) heads: Vec<Head>,
    pub(super) rows: Vec<R>,
    /// Rows that fit, on all pages.
    pub(super) found: usize,
    /// Rows that there are.
    pub(super) all: usize,
    /// Number of this page, from 1.
    pub(super) page: usize,
    pub(super) pages: usize,
    /// Address of the page before.
    pub(super) before: Option<String>,
    /// Address of the next page.
    pub(super) after: Option<String>,
}

/// The rows of one page and how many there are.
#[derive(Debug)]
pub(super) struct Picked<R> {
    rows: Vec<R>,
    found: usize,
    all: usize,
    page: usize,
    pages: usize,
}

impl<R> Picked<R> {
    /// What is shown of the rows; made of those on the page alone.
    pub(super) fn map<V>(self, view: impl FnMut(R) -> V) -> Picked<V> {
        let Self { rows, found, all, page, pages } = self;
        Picked { rows: rows.into_iter().map(view).collect(), found, all, page, pages }
    }
}

impl Wanted {
    /// Reads `q`, `series`, `key`, `sort` and `page`.
    ///
    /// # Errors
    ///
    /// 400 that names what is wrong.
    pub(super) fn read(path: &'static str, query: Option<&str>) -> Result<Self, ApiError> {
        let params = Params::read(query, b"")?;
        let text = params.text("q")?.unwrap_or_default();
        let series = params.text("series")?.map(str::parse).transpose().map_err(|error| {
            ApiError::bad_request(
                format!("series: {error}."),
                "series: серия ключей состоит из четырёх шестнадцатеричных цифр, например 672B.",
            )
        })?;
        let key = params.digits("key", DIGITS_MAX)?.map(|key| key.parse()).transpose();
        let key = key.map_err(|error| {
            ApiError::bad_request(
                format!("key: {error}."),
                "key: ожидается серийный номер ключа, например 7131766.",
            )
        })?;
        let page = params.digits("page", DIGITS_MAX)?.and_then(|page| page.parse().ok());
        Ok(Self {
            path,
            query: text.chars().take(QUERY_CHARS_MAX).collect(),
            series,
            key,
            sort: params.text("sort")?.unwrap_or_default().to_owned(),
            page: page.unwrap_or(1).max(1),
        })
    }

    /// What the search looks for: each word must be somewhere in a row.
    fn words(&self) -> Vec<String> {
        self.query.to_lowercase().split_whitespace().map(str::to_owned).collect()
    }

    /// The name of the order in force, for a hidden field of the search form.
    pub(super) fn sort(&self) -> &str {
        &self.sort
    }

    fn address(&self, frame: &Frame, sort: &str, page: usize) -> String {
        let mut pairs = Vec::new();
        if !self.query.is_empty() {
            pairs.push(format!("q={}", encoded(&self.query)));
        }
        if let Some(series) = self.series {
            pairs.push(format!("series={series}"));
        }
        if let Some(key) = self.key {
            pairs.push(format!("key={key}"));
        }
        if !sort.is_empty() {
            pairs.push(format!("sort={}", encoded(sort)));
        }
        if page > 1 {
            pairs.push(format!("page={page}"));
        }
        if pairs.is_empty() {
            return frame.link(self.path);
        }
        frame.link(format!("{}?{}", self.path, pairs.join("&")))
    }

    /// The rows of the page that is wanted. `texts` adds to a text what of a row is searched, each
    /// on a line of its own. An unknown order is that of the first column, a page past the end the
    /// last one. Needs nothing of the request, so that long lists are picked from on another thread.
    pub(super) fn pick<R>(
        &self,
        columns: &[Column<R>],
        mut rows: Vec<R>,
        texts: impl Fn(&R, &mut String),
    ) -> Picked<R> {
        let all = rows.len();
        let words = self.words();
        if !words.is_empty() {
            let mut text = String::new();
            rows.retain(|row| {
                text.clear();
                texts(row, &mut text);
                let text = text.to_lowercase();
                words.iter().all(|word| text.contains(word))
            });
        }
        let (known, is_descending) = self.order(columns);
        if let Some(column) = known {
            // Stable, so that rows that are equal here keep the order of the server.
            if is_descending {
                rows.sort_by(|a, b| (column.compare)(b, a));
            } else {
                rows.sort_by(column.compare);
            }
        }
        let found = rows.len();
        let pages = found.div_ceil(PAGE_ROWS).max(1);
        let page = self.page.min(pages);
        let rows = rows.into_iter().skip((page - 1) * PAGE_ROWS).take(PAGE_ROWS).collect();
        Picked { rows, found, all, page, pages }
    }

    /// The column of the order in force, and whether it is turned round.
    fn order<'a, R>(&self, columns: &'a [Column<R>]) -> (Option<&'a Column<R>>, bool) {
        let (name, is_descending) = match self.sort.strip_prefix('-') {
            Some(name) => (name, true),
            None => (self.sort.as_str(), false),
        };
        let known = columns.iter().find(|column| column.name == name);
        (known.or_else(|| columns.first()), is_descending)
    }

    /// The page of a list as it is shown.
    pub(super) fn listing<R, V>(
        &self,
        frame: &Frame,
        columns: &[Column<R>],
        picked: Picked<V>,
    ) -> Listing<V> {
        let (known, is_descending) = self.order(columns);
        let current = known.map_or("", |column| column.name);
        let head = |column: &Column<R>| {
            let is_current = column.name == current;
            let sort = match (is_current, is_descending) {
                (false, _) => "none",
                (true, false) => "ascending",
                (true, true) => "descending",
            };
            let minus = if sort == "ascending" { "-" } else { "" };
            Head {
                text: frame.t.0.pick(column.russian, column.english),
                href: self.address(frame, &format!("{minus}{}", column.name), 1),
                sort,
            }
        };
        let Picked { rows, found, all, page, pages } = picked;
        Listing {
            heads: columns.iter().map(head).collect(),
            rows,
            found,
            all,
            page,
            pages,
            before: (page > 1).then(|| self.address(frame, &self.sort, page - 1)),
            after: (page < pages).then(|| self.address(frame, &self.sort, page + 1)),
        }
    }
}

/// The order of texts for people: numbers by their value and before all else, the rest without
/// regard to case.
pub(super) fn by_text(a: &str, b: &str) -> Ordering {
    match (a.parse::<u64>(), b.parse::<u64>()) {
        (Ok(a), Ok(b)) => a.cmp(&b),
        // Compared as texts, these would go in a circle: 9, 10, 1a, 9.
        (Ok(_), Err(_)) => Ordering::Less,
        (Err(_), Ok(_)) => Ordering::Greater,
        (Err(_), Err(_)) => {
            let lower = |text| str::chars(text).flat_map(char::to_lowercase);
            lower(a).cmp(lower(b))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_ordered_without_case_and_numbers_by_value() {
        for (a, b, order) in [
            ("9", "10", Ordering::Less),
            ("иванов", "Петров", Ordering::Less),
            ("ABC", "abc", Ordering::Equal),
            ("b", "A", Ordering::Greater),
            ("10", "1a", Ordering::Less),
            ("1a", "9", Ordering::Greater),
        ] {
            assert_eq!(by_text(a, b), order, "{a} {b}");
        }
    }

    #[test]
    fn wrong_filter_is_refused_by_name() {
        for query in ["series=x", "key=x", "key=99999999999", "page=x"] {
            let name = query.split('=').next().unwrap();
            let error = Wanted::read("/sessions", Some(query)).unwrap_err();
            assert!(error.status == 400 && error.english.contains(name), "{query}: {error}");
        }
    }
}
