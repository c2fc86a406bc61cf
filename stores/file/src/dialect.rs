//! [`Dialect`]: how values are written, and how one row is split into its columns.
//!
//! Splitting is our own and not a CSV library's, because a damaged row must not take the rows
//! after it along, every row's own bytes have to be kept, and the line ends of six SDKs occur in
//! one file.

use std::{borrow::Cow, fmt, ops::Range, str::FromStr};

use tokenkeep_core::{Field, FieldError, StoreError, StoreErrorKind};

/// How values are written to the file. Both dialects read everything that any official SDK writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dialect {
    /// For files that any official SDK may share: values are never quoted. A value that some SDK
    /// would read differently is refused, see [the crate's docs](crate#what-is-refused).
    #[default]
    Shared,
    /// Quotes values where RFC 4180 needs it. The Python, PHP, Ruby and Java SDKs can read that
    /// (PHP no line breaks, Java no backslashes); the Node.js, TypeScript and C# ones cannot.
    Quoted,
}

impl Dialect {
    /// Its name in a store's URL: `shared` or `quoted`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Quoted => "quoted",
        }
    }

    /// Appends `value` as it stands in a row.
    pub(crate) fn write(
        self,
        out: &mut Vec<u8>,
        field: Field,
        value: &str,
    ) -> Result<(), FieldError> {
        if value.contains('\0') {
            return Err(FieldError::new(
                field,
                "a token file cannot hold a NUL character",
                "use a SQLite store for such a value",
            ));
        }
        if field == Field::Id && is_header_id(value) {
            return Err(FieldError::new(
                field,
                "`id` is how the header of a token file begins",
                "choose another id",
            ));
        }
        match self {
            Self::Shared => {
                if let Some(refused) = value.chars().find_map(refused_when_shared) {
                    return Err(FieldError::new(
                        field,
                        format!(
                            "a token file that is shared with the official SDKs cannot hold {refused}"
                        ),
                        "open it with ?dialect=quoted if no Node.js, TypeScript or C# program \
                         shares it, or use a SQLite store",
                    ));
                }
                out.extend_from_slice(value.as_bytes());
            }
            Self::Quoted if needs_quotes(value) => {
                out.push(b'"');
                for (at, part) in value.split('"').enumerate() {
                    if at > 0 {
                        out.extend_from_slice(b"\"\"");
                    }
                    out.extend_from_slice(part.as_bytes());
                }
                out.push(b'"');
            }
            Self::Quoted => out.extend_from_slice(value.as_bytes()),
        }
        Ok(())
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Dialect {
    type Err = StoreError;

    fn from_str(name: &str) -> Result<Self, StoreError> {
        match name {
            "shared" => Ok(Self::Shared),
            "quoted" => Ok(Self::Quoted),
            _ => Err(StoreError::new(StoreErrorKind::Invalid, "there is no such dialect")
                .with_hint("the dialects of a token file are `shared` and `quoted`")),
        }
    }
}

/// Whether a row that begins with this value is the header.
pub(crate) fn is_header_id(value: &str) -> bool {
    value.trim().eq_ignore_ascii_case("id")
}

/// The fewest columns of a row: the files of the version 2 SDKs have no `api_domain`.
pub(crate) const FEWEST_COLUMNS: usize = 9;

fn refused_when_shared(c: char) -> Option<&'static str> {
    match c {
        ',' => Some("a comma"),
        '"' => Some("a quotation mark"),
        '\\' => Some("a backslash"),
        '\r' | '\n' => Some("a line break"),
        _ => None,
    }
}

fn needs_quotes(value: &str) -> bool {
    value.contains([',', '"', '\r', '\n']) || value.starts_with(BLANK) || value.ends_with(BLANK)
}

const BLANK: [char; 2] = [' ', '\t'];

/// Where a column stands in the file, without the quotes around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    /// What stands between the commas, quotes included.
    pub(crate) raw: Range<usize>,
    pub(crate) quoted: bool,
}

impl Column {
    /// The value, with doubled quotes made single.
    pub(crate) fn value<'a>(&self, bytes: &'a [u8]) -> Result<Cow<'a, str>, Damage> {
        let inner =
            if self.quoted { self.raw.start + 1..self.raw.end - 1 } else { self.raw.clone() };
        let text = str::from_utf8(&bytes[inner]).map_err(|_bytes| Damage::NotUtf8)?;
        Ok(if self.quoted && text.contains('"') {
            Cow::Owned(text.replace("\"\"", "\""))
        } else {
            Cow::Borrowed(text)
        })
    }
}

/// Why a row cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    BinaryZeros,
    CarriageReturn,
    HeaderId,
    NoId,
    NotUtf8,
    Quotes,
    TooFewColumns(usize),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BinaryZeros => f.write_str("binary zeros"),
            Self::CarriageReturn => f.write_str("a carriage return inside the row"),
            Self::HeaderId => f.write_str("`id` in the place of an id"),
            Self::NoId => f.write_str("no id"),
            Self::NotUtf8 => f.write_str("not UTF-8"),
            Self::Quotes => f.write_str("unbalanced quotes"),
            Self::TooFewColumns(n) => write!(f, "{n} of 10 columns"),
        }
    }
}

/// Where the line that begins at `start` ends: before its line end, and after it.
pub(crate) fn line_end(bytes: &[u8], start: usize) -> (usize, usize) {
    let rest = &bytes[start..];
    let (length, next) = match rest.iter().position(|byte| *byte == b'\n') {
        Some(at) => (at, start + at + 1),
        None => (rest.len(), bytes.len()),
    };
    let trimmed = rest[..length].iter().rposition(|byte| *byte != b'\r').map_or(0, |at| at + 1);
    (start + trimmed, next)
}

/// Splits a line without quotes.
pub(crate) fn split_plain(bytes: &[u8], line: Range<usize>, columns: &mut Vec<Column>) {
    columns.clear();
    let mut start = line.start;
    for (at, byte) in bytes[line.clone()].iter().enumerate() {
        if *byte == b',' {
            columns.push(Column { raw: start..line.start + at, quoted: false });
            start = line.start + at + 1;
        }
    }
    columns.push(Column { raw: start..line.end, quoted: false });
}

/// In a row with quotes longer than this, one of them is taken for never closed.
const LONGEST_ROW: usize = 1 << 20;

/// Splits the row that begins at `start` and may have quoted values, with line breaks in them too.
///
/// Answers where the row ends, before and after its line end; `None` if its quotes do not balance.
pub(crate) fn split_quoted(
    bytes: &[u8],
    start: usize,
    columns: &mut Vec<Column>,
) -> Option<(usize, usize)> {
    columns.clear();
    let bytes = &bytes[..bytes.len().min(start + LONGEST_ROW)];
    let (first_end, _) = line_end(bytes, start);
    let mut literal_quotes = false;
    let mut at = start;
    loop {
        let from = at;
        let quoted = bytes.get(at) == Some(&b'"');
        if quoted {
            at = closing_quote(bytes, at + 1)? + 1;
        } else {
            let length = bytes[at..].iter().position(|byte| matches!(byte, b',' | b'\n'));
            at = length.map_or(bytes.len(), |length| at + length);
            literal_quotes |= bytes[from..at].contains(&b'"');
        }
        if bytes.get(at) == Some(&b',') {
            columns.push(Column { raw: from..at, quoted });
            at += 1;
            continue;
        }
        let (end, next) = if quoted { line_end(bytes, at) } else { line_end(bytes, from) };
        if quoted && end != at {
            return None;
        }
        columns.push(Column { raw: from..end, quoted });
        // A quote left open in one row may seem to be closed by a quote of a later one, but the
        // rest of that row then has a quote where a well-formed row has none.
        return (end <= first_end || !literal_quotes).then_some((end, next));
    }
}

fn closing_quote(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += bytes[at..].iter().position(|byte| *byte == b'"')?;
        if bytes.get(at + 1) != Some(&b'"') {
            return Some(at);
        }
        at += 2;
    }
}

/// The values of one row that is known to be readable.
pub(crate) fn column_values(raw: &[u8]) -> Vec<Cow<'_, str>> {
    let mut columns = Vec::new();
    if !raw.contains(&b'"') {
        split_plain(raw, 0..raw.len(), &mut columns);
    } else if split_quoted(raw, 0, &mut columns).is_none() {
        return Vec::new();
    }
    columns.iter().map(|column| column.value(raw).unwrap_or_default()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Option<(Vec<String>, usize)> {
        let mut columns = Vec::new();
        let (_, next) = split_quoted(text.as_bytes(), 0, &mut columns)?;
        let values = columns.iter().map(|column| column.value(text.as_bytes()).unwrap().into());
        Some((values.collect(), next))
    }

    #[test]
    fn quoted_values_are_read_as_rfc_4180_says() {
        let (values, next) = split("1,\"a, \"\"b\"\"\",\"x\r\ny\",\r\r\nrest").unwrap();
        assert_eq!(values, ["1", "a, \"b\"", "x\r\ny", ""]);
        assert_eq!(next, 23);
        assert_eq!(split("\"\",a\"b\"c").unwrap().0, ["", "a\"b\"c"]);
    }

    #[test]
    fn unbalanced_quotes_are_not_a_row() {
        for text in ["1,\"abc", "1,\"abc\n2,x", "1,\"a\"b,c", "1,\"a\n2,\", b\",c", "\""] {
            assert_eq!(split(text), None, "{text:?}");
        }
    }

    #[test]
    fn what_is_written_is_read_by_us_and_by_a_csv_library() {
        for value in ["a", "a,b", "\"", "\"\"", "a\r\nb", "\n", " a ", "\\", "\u{1f600}"] {
            let mut out = Vec::new();
            Dialect::Quoted.write(&mut out, Field::UserName, value).unwrap();
            let (values, _) = split(str::from_utf8(&out).unwrap()).unwrap();
            assert_eq!(values, [value]);
            let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(&out[..]);
            assert_eq!(&reader.records().next().unwrap().unwrap()[0], value);
        }
    }

    #[test]
    fn the_shared_dialect_names_what_it_refuses_and_not_the_value() {
        for value in ["a,b", "a\"b", "a\\b", "a\rb", "a\nb", "a\0b"] {
            let mut out = Vec::new();
            let error = Dialect::Shared.write(&mut out, Field::RefreshToken, value).unwrap_err();
            assert_eq!(error.field(), Field::RefreshToken);
            assert!(!error.to_string().contains(value));
            assert!(out.is_empty());
        }
    }
}
