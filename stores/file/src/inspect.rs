//! [`Inspection`]: what a person should know of a token file, and which SDKs cannot live with it.

use std::{collections::HashMap, fmt, path::PathBuf};

use tokenkeep_core::{MAX_ID, Operation, StoreError, TokenId};

use crate::{
    FileStore,
    cache::Purpose,
    dialect::column_values,
    document::{Document, LineKind},
    side_file::Condition,
    store::Inner,
};

/// One of the official Zoho CRM SDKs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Sdk {
    /// C#
    CSharp,
    /// Java
    Java,
    /// Node.js
    Node,
    /// PHP
    Php,
    /// Python
    Python,
    /// Ruby
    Ruby,
    /// TypeScript
    TypeScript,
}

impl fmt::Display for Sdk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CSharp => "C#",
            Self::Java => "Java",
            Self::Node => "Node.js",
            Self::Php => "PHP",
            Self::Python => "Python",
            Self::Ruby => "Ruby",
            Self::TypeScript => "TypeScript",
        })
    }
}

/// What is wrong, or may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProblemKind {
    /// A value has a backslash.
    Backslash,
    /// A blank line.
    BlankLine,
    /// Rows that cannot be read.
    DamagedRow,
    /// Two rows have one id.
    DuplicateId,
    /// Two rows have one user, client and API domain.
    DuplicateUser,
    /// An id is larger than some SDKs can count.
    LargeId,
    /// A value has a line break.
    LineBreak,
    /// Lines end in other than LF.
    LineEnds,
    /// There is no header.
    MissingHeader,
    /// There is no `api_domain` column.
    NineColumns,
    /// Others than the owner can read or write the file.
    OpenToOthers,
    /// Values are quoted.
    Quotes,
    /// The side file is damaged or was written by a newer version.
    SideFile,
    /// An id is not a number.
    TextId,
    /// An expiry time is not a number.
    UnreadableExpiry,
}

/// Something wrong with a token file, where, and for whom. It contains no value of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// What it is.
    pub kind: ProblemKind,
    /// The lines it is on, from 1; none where it is about the whole file.
    pub lines: Vec<usize>,
    /// The SDKs that cannot read the file, or misread it, because of this.
    pub affects: Vec<Sdk>,
    /// Whether this store cannot use all of the file because of this.
    pub affects_us: bool,
    /// What it leads to and what to do, in a sentence.
    pub advice: &'static str,
}

/// How the lines of a file end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LineEnds {
    /// There are none.
    #[default]
    None,
    /// LF, as we write it.
    Lf,
    /// CRLF, as the Python SDK writes it.
    CrLf,
    /// Some of each, or CR CR LF.
    Mixed,
}

/// The state of a token file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspection {
    /// The file.
    pub path: PathBuf,
    /// Whether it is there.
    pub exists: bool,
    /// Its permission bits, on Unix.
    pub mode: Option<u32>,
    /// Its size in bytes.
    pub size: u64,
    /// How many tokens can be read.
    pub tokens: usize,
    /// How many columns the header names, or rows have without one.
    pub columns: usize,
    /// How its lines end.
    pub line_ends: LineEnds,
    /// Whether it begins with a byte order mark. Every SDK can read that; the next save drops it.
    pub byte_order_mark: bool,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

impl FileStore {
    /// Looks the token file over. Nothing is changed.
    ///
    /// # Errors
    ///
    /// What keeps the file from being read; what is wrong inside it is no error here.
    pub async fn inspect(&self) -> Result<Inspection, StoreError> {
        self.run(Operation::Open, inspect).await
    }
}

const JAVA_PYTHON_CSHARP: [Sdk; 3] = [Sdk::Java, Sdk::Python, Sdk::CSharp];
const NEVER_UNQUOTE: [Sdk; 3] = [Sdk::Node, Sdk::TypeScript, Sdk::CSharp];

fn inspect(inner: &Inner) -> Result<Inspection, StoreError> {
    let snapshot = inner.cache.load(Purpose::Read)?;
    let document = &snapshot.document;
    let bytes = document.bytes();
    let mut inspection = Inspection {
        path: inner.path.clone(),
        exists: snapshot.version.is_some(),
        mode: mode(inner),
        size: bytes.len() as u64,
        tokens: snapshot.table.len(),
        columns: document.columns(),
        line_ends: line_ends(bytes),
        byte_order_mark: document.has_byte_order_mark(),
        problems: Vec::new(),
    };
    let mut problems = Problems::default();
    if inspection.mode.is_some_and(|mode| mode & 0o077 != 0) {
        problems.add(ProblemKind::OpenToOthers, None);
    }
    if matches!(inspection.line_ends, LineEnds::CrLf | LineEnds::Mixed) {
        problems.add(ProblemKind::LineEnds, None);
    }
    if inspection.exists && document.header().is_none() && !document.lines().is_empty() {
        problems.add(ProblemKind::MissingHeader, None);
    }
    if inner.side.load()?.condition != Condition::Readable {
        problems.add(ProblemKind::SideFile, None);
    }
    for line in blank_lines(bytes) {
        problems.add(ProblemKind::BlankLine, Some(line));
    }
    inspect_rows(document, &mut problems);
    inspection.problems = problems.list(inspection.line_ends);
    Ok(inspection)
}

fn inspect_rows(document: &Document, problems: &mut Problems) {
    let mut ids = HashMap::new();
    let mut users = HashMap::new();
    for (number, line) in document.numbered_lines() {
        let raw = &document.bytes()[line.raw.clone()];
        if matches!(line.kind, LineKind::Damaged(_)) {
            problems.add(ProblemKind::DamagedRow, Some(number));
            continue;
        }
        if line.kind == LineKind::ShortRow {
            problems.add(ProblemKind::NineColumns, Some(number));
        }
        let values = column_values(raw);
        for (found, kind) in [
            (raw.contains(&b'"'), ProblemKind::Quotes),
            (raw.contains(&b'\\'), ProblemKind::Backslash),
            (raw.contains(&b'\n'), ProblemKind::LineBreak),
        ] {
            if found {
                problems.add(kind, Some(number));
            }
        }
        let value = |at: usize| values.get(at).map(AsRef::as_ref).unwrap_or_default();
        match TokenId::new(value(0)).ok().and_then(|id| id.number()) {
            None => problems.add(ProblemKind::TextId, Some(number)),
            Some(id) if id > MAX_ID => problems.add(ProblemKind::LargeId, Some(number)),
            Some(_) => {}
        }
        if !value(7).is_empty() && value(7).trim().parse::<i64>().is_err() {
            problems.add(ProblemKind::UnreadableExpiry, Some(number));
        }
        if let Some(first) = ids.insert(value(0).to_owned(), number) {
            problems.add_pair(ProblemKind::DuplicateId, first, number);
        }
        let user = [1, 2, 9].map(|at| value(at).to_owned());
        if !user[0].is_empty()
            && let Some(first) = users.insert(user, number)
        {
            problems.add_pair(ProblemKind::DuplicateUser, first, number);
        }
    }
}

#[derive(Default)]
struct Problems(HashMap<ProblemKind, Vec<usize>>);

impl Problems {
    fn add(&mut self, kind: ProblemKind, line: Option<usize>) {
        self.0.entry(kind).or_default().extend(line);
    }

    fn add_pair(&mut self, kind: ProblemKind, first: usize, second: usize) {
        let lines = self.0.entry(kind).or_default();
        if !lines.contains(&first) {
            lines.push(first);
        }
        lines.push(second);
    }

    /// What is worst for us first, then by name.
    fn list(self, line_ends: LineEnds) -> Vec<Problem> {
        let mut list: Vec<_> =
            self.0.into_iter().map(|(kind, lines)| problem(kind, lines, line_ends)).collect();
        list.sort_by_key(|problem| (!problem.affects_us, format!("{:?}", problem.kind)));
        list
    }
}

fn problem(kind: ProblemKind, mut lines: Vec<usize>, line_ends: LineEnds) -> Problem {
    use ProblemKind as Kind;
    lines.sort_unstable();
    let (affects, affects_us, advice): (&[Sdk], bool, &'static str) = match kind {
        Kind::Backslash => (
            &[Sdk::Java],
            false,
            "the Java SDK drops backslashes, and its next save loses them for good",
        ),
        Kind::BlankLine => (
            &[Sdk::Ruby, Sdk::CSharp],
            false,
            "the Ruby and C# SDKs stumble over blank lines; the next save drops them",
        ),
        Kind::DamagedRow => (
            &[],
            true,
            "the row cannot be read and is kept as it is: repair it or remove it by hand",
        ),
        Kind::DuplicateId => {
            (&[], true, "neither row can be found or saved by its id: give one of them another id")
        }
        Kind::DuplicateUser => {
            (&[], true, "a find by this user is ambiguous: delete the row that is out of date")
        }
        Kind::LargeId => (
            &[Sdk::Java, Sdk::CSharp],
            false,
            "the Java and C# SDKs cannot save new users beside an id above 2147483647",
        ),
        Kind::LineBreak => (
            &[Sdk::Php, Sdk::Node, Sdk::TypeScript, Sdk::CSharp],
            false,
            "these SDKs take the line break for the end of the row",
        ),
        Kind::LineEnds if line_ends == LineEnds::CrLf => (
            &[Sdk::Node, Sdk::TypeScript],
            false,
            "these SDKs read a carriage return into api_domain; the next save writes LF",
        ),
        Kind::LineEnds => (
            &[Sdk::Ruby, Sdk::Node, Sdk::TypeScript],
            false,
            "the Ruby SDK refuses such a file, others read a carriage return into api_domain; \
             the next save writes LF",
        ),
        Kind::MissingHeader => (
            &[],
            false,
            "the SDKs take the first row for the header and miss its token; the next save writes \
             a header",
        ),
        Kind::NineColumns => {
            (&[Sdk::CSharp], false, "the C# SDK needs ten columns; the next save writes them")
        }
        Kind::OpenToOthers => {
            (&[], false, "other users can get at the secrets in it; the next save closes it")
        }
        Kind::Quotes => (
            &NEVER_UNQUOTE,
            false,
            "these SDKs take the quotation marks for part of the value, or split it at its commas",
        ),
        Kind::SideFile => (
            &[],
            true,
            "states and leases are unknown; a damaged side file is set aside by the next change, \
             a newer one needs a newer program",
        ),
        Kind::TextId => (
            &JAVA_PYTHON_CSHARP,
            false,
            "these SDKs read such a row, but cannot save a new user beside it",
        ),
        Kind::UnreadableExpiry => {
            (&[], false, "taken for absent: the token counts as expired until it is refreshed")
        }
    };
    Problem { kind, lines, affects: affects.to_vec(), affects_us, advice }
}

#[cfg(unix)]
fn mode(inner: &Inner) -> Option<u32> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(&inner.path).ok().map(|metadata| metadata.permissions().mode() & 0o7777)
}

#[cfg(not(unix))]
fn mode(_inner: &Inner) -> Option<u32> {
    None
}

fn line_ends(bytes: &[u8]) -> LineEnds {
    let (mut lf, mut crlf, mut other) = (false, false, false);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        if line.ends_with(b"\r\r\n") {
            other = true;
        } else if line.ends_with(b"\r\n") {
            crlf = true;
        } else if line.ends_with(b"\n") {
            lf = true;
        }
    }
    match (lf, crlf, other) {
        (false, false, false) => LineEnds::None,
        (true, false, false) => LineEnds::Lf,
        (false, true, false) => LineEnds::CrLf,
        _ => LineEnds::Mixed,
    }
}

fn blank_lines(bytes: &[u8]) -> Vec<usize> {
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    let blank = |line: &[u8]| line.iter().all(|byte| byte.is_ascii_whitespace() || *byte == b',');
    lines.enumerate().filter(|(_, line)| blank(line)).map(|(at, _)| at + 1).collect()
}
