//! [`Document`]: the text of a token file row by row, and the next text after a change.
//!
//! A row that is not changed keeps its own bytes, whatever dialect they are in, and so does what
//! cannot be read; only line ends are made alike.

use std::{borrow::Cow, collections::HashMap, ops::Range};

use tokenkeep_core::{Field, OAuthToken, StoreError, StoreErrorKind, TokenId, TokenTable};
use zeroize::Zeroizing;

use crate::dialect::{
    Column, Damage, Dialect, FEWEST_COLUMNS, is_header_id, line_end, split_plain, split_quoted,
};

/// The header of a new file.
const HEADER: &str = "id,user_name,client_id,client_secret,refresh_token,access_token,grant_token,\
                      expiry_time,redirect_url,api_domain";

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// The bytes of a token file and where its rows stand in them.
#[derive(Default)]
pub(crate) struct Document {
    bytes: Zeroizing<Vec<u8>>,
    header: Option<Range<usize>>,
    /// How many columns the header names, at least ten.
    columns: usize,
    lines: Vec<Line>,
    damaged: usize,
}

/// A row, without its line end.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) raw: Range<usize>,
    pub(crate) kind: LineKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineKind {
    /// A token in at least ten columns.
    Row,
    /// A token in nine columns, without `api_domain`.
    ShortRow,
    /// What cannot be read.
    Damaged(Damage),
}

/// What to change in a document.
#[derive(Debug, Default)]
pub(crate) struct Edits<'a> {
    /// Rows to replace or to add, and the rows as they were.
    pub(crate) put: Vec<(&'a OAuthToken, Option<&'a OAuthToken>)>,
    /// Rows to remove.
    pub(crate) remove: &'a [TokenId],
    /// Everything but the header goes.
    pub(crate) clear: bool,
}

/// What becomes of the row of one id.
#[derive(Clone, Copy, Debug)]
enum Edit {
    Remove,
    /// Which of the rows to put.
    Put(usize),
}

impl Edits<'_> {
    /// What becomes of which id, in the order of their bytes.
    fn by_id(&self) -> Vec<(&[u8], Edit)> {
        let removed = self.remove.iter().map(|id| (id.as_str().as_bytes(), Edit::Remove));
        let put = self.put.iter().enumerate();
        let put = put.filter_map(|(at, (token, _))| {
            token.id().map(|id| (id.as_str().as_bytes(), Edit::Put(at)))
        });
        let mut edits: Vec<_> = removed.chain(put).collect();
        edits.sort_by_key(|(id, _)| *id);
        edits
    }
}

impl Document {
    /// Reads a file. What cannot be read is remembered as damage and does not keep the rest from
    /// being read.
    pub(crate) fn parse(bytes: Zeroizing<Vec<u8>>) -> (Self, TokenTable) {
        let mut document = Self { bytes, columns: 10, ..Self::default() };
        let mut table = TokenTable::new();
        let bytes = &document.bytes[..];
        let mut columns = Vec::with_capacity(10);
        let mut at = if bytes.starts_with(BOM) { BOM.len() } else { 0 };
        let mut first = true;
        while at < bytes.len() {
            let (end, next) = line_end(bytes, at);
            let line = &bytes[at..end];
            let start = std::mem::replace(&mut at, next);
            if is_blank(line) {
                continue;
            }
            let expected = document.columns;
            let (raw, row) = match split(bytes, start..end, next, expected, &mut columns) {
                Ok((raw, next)) => {
                    at = next;
                    let header = is_header(bytes, &columns);
                    if header && std::mem::take(&mut first) {
                        document.columns = columns.len().max(10);
                        document.header = Some(raw);
                        continue;
                    }
                    if header && repeats_header(bytes, &columns) {
                        continue;
                    }
                    let row =
                        if header { Err(Damage::HeaderId) } else { read_row(bytes, &columns) };
                    (raw, row)
                }
                Err(damage) => (start..end, Err(damage)),
            };
            first = false;
            let kind = match row.and_then(|token| table.load(token).map_err(|_no_id| Damage::NoId))
            {
                Ok(()) if columns.len() == FEWEST_COLUMNS => LineKind::ShortRow,
                Ok(()) => LineKind::Row,
                Err(damage) => {
                    document.damaged += 1;
                    if let Some(number) = leading_number(&bytes[raw.clone()]) {
                        table.reserve_ids(number);
                    }
                    LineKind::Damaged(damage)
                }
            };
            document.lines.push(Line { raw, kind });
        }
        (document, table)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The rows with the numbers of the lines they begin on, from 1.
    pub(crate) fn numbered_lines(&self) -> impl Iterator<Item = (usize, &Line)> {
        let (mut counted, mut number) = (0, 1);
        self.lines.iter().map(move |line| {
            let passed = &self.bytes[counted..line.raw.start];
            number += passed.iter().filter(|byte| **byte == b'\n').count();
            counted = line.raw.start;
            (number, line)
        })
    }

    /// How many columns the header names, or the rows have.
    pub(crate) fn columns(&self) -> usize {
        match self.header() {
            Some(header) => column_count(header),
            None if self.lines.iter().any(|line| line.kind == LineKind::ShortRow) => FEWEST_COLUMNS,
            None => self.columns,
        }
    }

    pub(crate) fn has_byte_order_mark(&self) -> bool {
        self.bytes.starts_with(BOM)
    }

    pub(crate) fn header(&self) -> Option<&[u8]> {
        self.header.clone().map(|header| &self.bytes[header])
    }

    pub(crate) fn is_damaged(&self) -> bool {
        self.damaged > 0
    }

    /// Whether there is content, but none that a token file has.
    pub(crate) fn is_foreign(&self) -> bool {
        self.header.is_none() && self.damaged > 0 && self.damaged == self.lines.len()
    }

    /// What cannot be read, with the numbers of the lines.
    pub(crate) fn damage(&self) -> Vec<String> {
        self.numbered_lines()
            .filter_map(|(number, line)| match line.kind {
                LineKind::Damaged(damage) => Some(format!("line {number}: {damage}")),
                LineKind::Row | LineKind::ShortRow => None,
            })
            .collect()
    }

    /// The document after `edits`.
    ///
    /// # Errors
    ///
    /// Invalid if the dialect cannot hold a new value.
    pub(crate) fn rewrite(&self, edits: &Edits<'_>, dialect: Dialect) -> Result<Self, StoreError> {
        let mut next = Self { columns: self.columns, ..Self::default() };
        // Room for everything, so that no copy of a secret is left behind when it grows: each
        // line may get a comma, each quotation mark of a new value may be doubled.
        let room = |value: &Cow<'_, str>| 2 * value.len() + 3;
        let added: usize = edits
            .put
            .iter()
            .map(|(token, _)| {
                let values: usize = token.expose_columns().iter().flatten().map(room).sum();
                values + self.columns
            })
            .sum();
        let header = HEADER.len() + self.columns;
        let mut out = Vec::with_capacity(self.bytes.len() + 2 * self.lines.len() + added + header);
        next.header = Some(self.write_header(&mut out));
        out.push(b'\n');
        let by_id = edits.by_id();
        let edit_of = |id: &[u8]| {
            let at = by_id.binary_search_by(|(other, _)| (*other).cmp(id)).ok()?;
            Some(by_id[at].1)
        };
        let mut done = vec![false; edits.put.len()];
        let lines = if edits.clear { &[][..] } else { &self.lines[..] };
        for line in lines {
            let raw = &self.bytes[line.raw.clone()];
            let start = out.len();
            let mut kind = line.kind;
            if let LineKind::Damaged(_) = kind {
                next.damaged += 1;
                out.extend_from_slice(raw);
            } else {
                match edit_of(&row_id(raw)) {
                    Some(Edit::Remove) => continue,
                    Some(Edit::Put(at)) => {
                        done[at] = true;
                        let (token, stored) = edits.put[at];
                        self.write_put(&mut out, Some(raw), token, stored, dialect)?;
                    }
                    None => {
                        out.extend_from_slice(raw);
                        if kind == LineKind::ShortRow {
                            out.push(b',');
                        }
                    }
                }
                kind = LineKind::Row;
            }
            next.lines.push(Line { raw: start..out.len(), kind });
            out.push(b'\n');
        }
        for ((token, stored), done) in edits.put.iter().zip(done) {
            if !done {
                let start = out.len();
                self.write_put(&mut out, None, token, *stored, dialect)?;
                next.lines.push(Line { raw: start..out.len(), kind: LineKind::Row });
                out.push(b'\n');
            }
        }
        next.bytes = Zeroizing::new(out);
        next.read_again_if_damaged()
    }

    /// The rows that can be read, by their ids.
    pub(crate) fn rows(&self) -> HashMap<Cow<'_, [u8]>, &[u8]> {
        let readable = self.lines.iter().filter(|line| !matches!(line.kind, LineKind::Damaged(_)));
        readable.map(|line| &self.bytes[line.raw.clone()]).map(|raw| (row_id(raw), raw)).collect()
    }

    /// Whether `token` can be put in the place of the row `raw`, which is `stored`, or be added.
    ///
    /// # Errors
    ///
    /// Invalid if the dialect cannot hold a value.
    pub(crate) fn check_put(
        &self,
        raw: Option<&[u8]>,
        token: &OAuthToken,
        stored: Option<&OAuthToken>,
        dialect: Dialect,
    ) -> Result<(), StoreError> {
        let columns = token.expose_columns();
        let room: usize = columns.iter().flatten().map(|value| 2 * value.len() + 3).sum();
        let room = room + self.columns + raw.map_or(0, <[u8]>::len);
        let mut row = Zeroizing::new(Vec::with_capacity(room));
        self.write_put(&mut row, raw, token, stored, dialect)
    }

    /// Appends the row of `token`, which was `raw` and held `stored`, or is new.
    fn write_put(
        &self,
        out: &mut Vec<u8>,
        raw: Option<&[u8]>,
        token: &OAuthToken,
        stored: Option<&OAuthToken>,
        dialect: Dialect,
    ) -> Result<(), StoreError> {
        let start = out.len();
        if let Some(raw) = raw {
            self.write_updated(out, raw, token, stored, dialect)?;
        } else {
            write_row(out, token, dialect)?;
            out.extend(std::iter::repeat_n(b',', self.columns.saturating_sub(10)));
        }
        self.check_row(&out[start..], token)
    }

    fn write_header(&self, out: &mut Vec<u8>) -> Range<usize> {
        match self.header() {
            Some(header) if column_count(header) >= FEWEST_COLUMNS => {
                out.extend_from_slice(header);
                if column_count(header) == FEWEST_COLUMNS {
                    out.extend_from_slice(b",api_domain");
                }
            }
            _ => out.extend_from_slice(HEADER.as_bytes()),
        }
        0..out.len()
    }

    /// A changed row: columns that have the value they had keep their bytes, and so do those that
    /// we know nothing of.
    fn write_updated(
        &self,
        out: &mut Vec<u8>,
        raw: &[u8],
        token: &OAuthToken,
        stored: Option<&OAuthToken>,
        dialect: Dialect,
    ) -> Result<(), StoreError> {
        let mut columns = Vec::with_capacity(self.columns);
        if split(raw, 0..raw.len(), raw.len(), self.columns, &mut columns).is_err() {
            columns.clear();
        }
        let new = token.expose_columns();
        let old = stored.map(OAuthToken::expose_columns).unwrap_or_default();
        for (at, field) in Field::ALL.into_iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            match columns.get(at) {
                Some(column) if stored.is_some() && new[at] == old[at] => {
                    out.extend_from_slice(&raw[column.raw.clone()]);
                }
                _ => dialect.write(out, field, new[at].as_deref().unwrap_or_default())?,
            }
        }
        for column in columns.iter().skip(10) {
            out.push(b',');
            out.extend_from_slice(&raw[column.raw.clone()]);
        }
        Ok(())
    }

    /// Whoever reads `row` gets `token`: otherwise it is not written.
    fn check_row(&self, row: &[u8], token: &OAuthToken) -> Result<(), StoreError> {
        let mut columns = Vec::with_capacity(self.columns);
        let (end, next) = line_end(row, 0);
        let whole = split(row, 0..end, next, self.columns, &mut columns)
            .is_ok_and(|(read, _)| read == (0..row.len()));
        let same = whole
            && !is_blank(&row[..end])
            && !is_header(row, &columns)
            && read_row(row, &columns)
                .is_ok_and(|read| read.expose_columns() == token.expose_columns());
        if same {
            return Ok(());
        }
        Err(StoreError::new(
            StoreErrorKind::Invalid,
            "in a token file this token would be read as something else",
        )
        .with_hint(
            "all its values are blank, or too long to be quoted, or stand beside a quotation mark \
             that another program left: change them, or use a SQLite store",
        ))
    }

    /// A row that cannot be read might, beside a new neighbour, read as something else: then
    /// nothing is written.
    fn read_again_if_damaged(self) -> Result<Self, StoreError> {
        if !self.is_damaged() {
            return Ok(self);
        }
        let (again, _) = Self::parse(self.bytes.clone());
        let same = |ours: &Line, read: &Line| ours.raw == read.raw && ours.kind == read.kind;
        if self.lines.len() == again.lines.len()
            && self.lines.iter().zip(&again.lines).all(|(ours, read)| same(ours, read))
        {
            return Ok(self);
        }
        Err(StoreError::new(
            StoreErrorKind::Corrupt,
            "a row that cannot be read would run into the one that is saved",
        )
        .with_hint("repair or remove the damaged lines first"))
    }
}

/// Appends `token` as a row of ten columns.
fn write_row(out: &mut Vec<u8>, token: &OAuthToken, dialect: Dialect) -> Result<(), StoreError> {
    let columns = token.expose_columns();
    for (field, value) in Field::ALL.into_iter().zip(&columns) {
        if field != Field::Id {
            out.push(b',');
        }
        dialect.write(out, field, value.as_deref().unwrap_or_default())?;
    }
    Ok(())
}

/// Splits the row that begins with `line`: where it stands, and where the next one begins.
fn split(
    bytes: &[u8],
    line: Range<usize>,
    next: usize,
    expected: usize,
    columns: &mut Vec<Column>,
) -> Result<(Range<usize>, usize), Damage> {
    let (mut quotes, mut zeros, mut returns) = (false, false, false);
    for byte in &bytes[line.clone()] {
        quotes |= *byte == b'"';
        zeros |= *byte == 0;
        returns |= *byte == b'\r';
    }
    if zeros {
        return Err(Damage::BinaryZeros);
    }
    if !quotes {
        if returns {
            return Err(Damage::CarriageReturn);
        }
        split_plain(bytes, line.clone(), columns);
        return Ok((line, next));
    }
    let (end, after) = split_quoted(bytes, line.start, columns).ok_or(Damage::Quotes)?;
    // A row with line breaks in it cannot have more columns than the header: otherwise it is a
    // quote that was never closed, and the lines after it are rows.
    if end > line.end {
        if !(FEWEST_COLUMNS..=expected).contains(&columns.len()) {
            return Err(Damage::Quotes);
        }
        if bytes[line.end..end].contains(&0) {
            return Err(Damage::BinaryZeros);
        }
    }
    let bare = |column: &Column| !column.quoted && bytes[column.raw.clone()].contains(&b'\r');
    if columns.iter().any(bare) {
        return Err(Damage::CarriageReturn);
    }
    Ok((line.start..end, after))
}

fn read_row(bytes: &[u8], columns: &[Column]) -> Result<OAuthToken, Damage> {
    if columns.len() < FEWEST_COLUMNS {
        return Err(Damage::TooFewColumns(columns.len()));
    }
    let mut values: [Option<String>; 10] = Default::default();
    for (value, column) in values.iter_mut().zip(columns) {
        if !column.raw.is_empty() {
            *value = Some(column.value(bytes)?.into_owned());
        }
    }
    let expiry = &mut values[Field::ExpiryTime as usize];
    if expiry.as_deref().is_some_and(|text| text.trim().parse::<i64>().is_err()) {
        *expiry = None;
    }
    // Only an expiry that is not a number is refused, and there is none.
    OAuthToken::from_columns(values).map_err(|_no_id| Damage::NoId)
}

/// Whether a line is passed over.
fn is_blank(line: &[u8]) -> bool {
    line.iter().all(|byte| matches!(byte, b',' | b' ' | b'\t'))
}

fn first_value<'a>(bytes: &'a [u8], columns: &[Column]) -> Option<Cow<'a, str>> {
    columns.first()?.value(bytes).ok()
}

fn is_header(bytes: &[u8], columns: &[Column]) -> bool {
    first_value(bytes, columns).is_some_and(|value| is_header_id(&value))
}

/// Whether a later line is the header once more, as files put one after the other have it.
fn repeats_header(bytes: &[u8], columns: &[Column]) -> bool {
    columns
        .get(1)
        .and_then(|column| column.value(bytes).ok())
        .is_some_and(|name| matches!(name.trim(), "user_name" | "user_mail"))
}

fn column_count(line: &[u8]) -> usize {
    let mut columns = Vec::new();
    match split(line, 0..line.len(), line.len(), 10, &mut columns) {
        Ok(_) => columns.len(),
        Err(_) => 0,
    }
}

/// The id of a row that could be read.
fn row_id(raw: &[u8]) -> Cow<'_, [u8]> {
    if raw.first() == Some(&b'"') {
        let mut columns = Vec::new();
        if split_quoted(raw, 0, &mut columns).is_some()
            && let Some(Cow::Owned(id)) = first_value(raw, &columns)
        {
            return Cow::Owned(id.into_bytes());
        }
        return match columns.first() {
            Some(column) => Cow::Borrowed(&raw[column.raw.start + 1..column.raw.end - 1]),
            None => Cow::Borrowed(&[]),
        };
    }
    let end = raw.iter().position(|byte| *byte == b',').unwrap_or(raw.len());
    Cow::Borrowed(&raw[..end])
}

/// The number a damaged row begins with: an id not to be given again.
fn leading_number(raw: &[u8]) -> Option<u64> {
    let raw = raw.strip_prefix(b"\"").unwrap_or(raw);
    let digits = raw.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let ends = raw.get(digits).is_none_or(|byte| matches!(byte, b',' | b'"'));
    let number = str::from_utf8(&raw[..digits]).ok()?.parse().ok()?;
    (ends && number <= tokenkeep_core::MAX_ID).then_some(number)
}

#[cfg(test)]
mod tests;
