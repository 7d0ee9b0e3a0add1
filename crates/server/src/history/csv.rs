//! CSV (RFC 4180) that the spreadsheets of administrators open: UTF-8 with a byte-order mark, and
//! no cell that a spreadsheet takes for a formula.

/// What a file begins with, so that Excel reads it as UTF-8.
pub const BYTE_ORDER_MARK: &str = "\u{feff}";

/// Writes lines with one separator.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Csv {
    separator: char,
}

impl Csv {
    /// The separators that can be asked for: that of the standard, the one that Excel expects where
    /// the comma is the decimal sign, and the tab.
    pub const SEPARATORS: [char; 3] = [',', ';', '\t'];

    /// Lines with this separator; nothing when it is none of [`Self::SEPARATORS`].
    pub fn new(separator: char) -> Option<Self> {
        Self::SEPARATORS.contains(&separator).then_some(Self { separator })
    }

    /// Adds a line.
    pub fn line<S: AsRef<str>>(self, out: &mut String, cells: &[S]) {
        for (index, cell) in cells.iter().enumerate() {
            if index > 0 {
                out.push(self.separator);
            }
            self.cell(out, cell.as_ref());
        }
        out.push_str("\r\n");
    }

    fn cell(self, out: &mut String, cell: &str) {
        let is_quoted = cell.contains([self.separator, '"', '\n', '\r']);
        if is_quoted {
            out.push('"');
        }
        // A user who calls itself `=cmd|…` must not run anything at who opens the file. A spreadsheet
        // that is set to another separator cuts there, so what follows any of them begins a cell too.
        let mut begins = true;
        for c in cell.chars() {
            if begins && matches!(c, '=' | '+' | '-' | '@' | '\t' | '\r') {
                out.push('\'');
            }
            if c == '"' {
                out.push('"');
            }
            out.push(c);
            begins = c == '\n' || Self::SEPARATORS.contains(&c);
        }
        if is_quoted {
            out.push('"');
        }
    }
}

impl Default for Csv {
    fn default() -> Self {
        Self { separator: ',' }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_where_they_must_be_and_no_formula_gets_through() {
        for (separator, cells, expected) in [
            (',', &["a", "b"][..], "a,b\r\n"),
            (';', &["a,b", "c;d"], "a,b;\"c;d\"\r\n"),
            (',', &["a,b", "c;d"], "\"a,b\",c;d\r\n"),
            ('\t', &["a\tb", ""], "\"a\tb\"\t\r\n"),
            (',', &["Srvr=\"s\";Ref=\"b\";"], "\"Srvr=\"\"s\"\";Ref=\"\"b\"\";\"\r\n"),
            (',', &["two\r\nlines"], "\"two\r\nlines\"\r\n"),
            (',', &["=1+1", "+7", "-5", "@x", "a=b"], "'=1+1,'+7,'-5,'@x,a=b\r\n"),
            (',', &["=HYPERLINK(\"x\",\"y\")"], "\"'=HYPERLINK(\"\"x\"\",\"\"y\"\")\"\r\n"),
            (',', &["\t=1"], "'\t'=1\r\n"),
            (',', &["x;=1+1"], "x;'=1+1\r\n"),
            (';', &["x,@y\n-z"], "\"x,'@y\n'-z\"\r\n"),
            (',', &["Иванов"], "Иванов\r\n"),
        ] {
            let mut out = String::new();
            Csv::new(separator).unwrap().line(&mut out, cells);
            assert_eq!(out, expected, "{cells:?}");
        }
        assert_eq!(Csv::new('a'), None);
    }
}
