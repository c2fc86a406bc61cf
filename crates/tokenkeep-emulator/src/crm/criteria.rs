//! Search criteria: `((Last_Name:equals:Byron)and(City:starts_with:Lon))`.

use serde_json::Value;

use super::Record;

/// How deep criteria may be nested.
const DEPTH: usize = 20;

/// What records a search wants.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Criteria {
    All(Vec<Self>),
    Any(Vec<Self>),
    Compare { field: String, comparison: Comparison, value: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equals,
    NotEqual,
    StartsWith,
    Contains,
    In,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

impl Criteria {
    /// `None` if the text is no criteria.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (criteria, rest) = parse_any(text.trim(), DEPTH)?;
        rest.trim().is_empty().then_some(criteria)
    }

    pub(super) fn matches(&self, record: &Record) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.matches(record)),
            Self::Any(parts) => parts.iter().any(|part| part.matches(record)),
            Self::Compare { field, comparison, value } => {
                comparison.holds(record.get(field), value)
            }
        }
    }
}

/// Terms with `and` or with `or` between them. `and` binds closer.
fn parse_any(text: &str, depth: usize) -> Option<(Criteria, &str)> {
    let (first, mut rest) = parse_all(text, depth)?;
    let mut parts = vec![first];
    while let Some(after) = word(rest, "or") {
        let (part, left) = parse_all(after, depth)?;
        parts.push(part);
        rest = left;
    }
    Some((one_or(parts, Criteria::Any), rest))
}

fn parse_all(text: &str, depth: usize) -> Option<(Criteria, &str)> {
    let (first, mut rest) = parse_term(text, depth)?;
    let mut parts = vec![first];
    while let Some(after) = word(rest, "and") {
        let (part, left) = parse_term(after, depth)?;
        parts.push(part);
        rest = left;
    }
    Some((one_or(parts, Criteria::All), rest))
}

fn one_or(mut parts: Vec<Criteria>, many: fn(Vec<Criteria>) -> Criteria) -> Criteria {
    match parts.pop() {
        Some(only) if parts.is_empty() => only,
        Some(last) => {
            parts.push(last);
            many(parts)
        }
        None => many(parts),
    }
}

fn word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let text = text.trim_start();
    let head = text.get(..word.len())?;
    let tail = text.get(word.len()..)?;
    (head.eq_ignore_ascii_case(word) && tail.trim_start().starts_with('(')).then_some(tail)
}

fn parse_term(text: &str, depth: usize) -> Option<(Criteria, &str)> {
    let depth = depth.checked_sub(1)?;
    let inner = text.trim_start().strip_prefix('(')?;
    if inner.trim_start().starts_with('(') {
        let (criteria, rest) = parse_any(inner, depth)?;
        return Some((criteria, rest.trim_start().strip_prefix(')')?));
    }
    // A bracket or comma of a value is written with a backslash.
    let mut plain = String::new();
    let mut characters = inner.char_indices();
    let end = loop {
        match characters.next()? {
            (_, '\\') => plain.push(characters.next()?.1),
            (at, ')') => break at,
            (_, other) => plain.push(other),
        }
    };
    let mut parts = plain.splitn(3, ':');
    let (field, comparison, value) = (parts.next()?, parts.next()?, parts.next()?);
    let compare = Criteria::Compare {
        field: field.trim().to_owned(),
        comparison: Comparison::parse(comparison.trim())?,
        value: value.trim().to_owned(),
    };
    Some((compare, inner.get(end + 1..)?))
}

impl Comparison {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "equals" => Self::Equals,
            "not_equal" => Self::NotEqual,
            "starts_with" => Self::StartsWith,
            "contains" => Self::Contains,
            "in" => Self::In,
            "less_than" => Self::Less,
            "less_equal" => Self::LessEqual,
            "greater_than" => Self::Greater,
            "greater_equal" => Self::GreaterEqual,
            _ => return None,
        })
    }

    fn holds(self, found: Option<&Value>, wanted: &str) -> bool {
        let found = text_of(found);
        let (low, wanted_low) = (found.to_lowercase(), wanted.to_lowercase());
        let ordering = || match (found.parse::<f64>(), wanted.parse::<f64>()) {
            (Ok(a), Ok(b)) => a.partial_cmp(&b),
            _ if found.is_empty() => None,
            _ => Some(low.cmp(&wanted_low)),
        };
        match self {
            Self::Equals => low == wanted_low,
            Self::NotEqual => low != wanted_low,
            Self::StartsWith => low.starts_with(&wanted_low),
            Self::Contains => low.contains(&wanted_low),
            Self::In => wanted_low.split(',').any(|one| one.trim() == low),
            Self::Less => ordering().is_some_and(std::cmp::Ordering::is_lt),
            Self::LessEqual => ordering().is_some_and(std::cmp::Ordering::is_le),
            Self::Greater => ordering().is_some_and(std::cmp::Ordering::is_gt),
            Self::GreaterEqual => ordering().is_some_and(std::cmp::Ordering::is_ge),
        }
    }
}

/// What a field reads as: `${EMPTY}` is the empty text, a lookup is its id.
pub(super) fn text_of(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "${EMPTY}".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Object(object)) => text_of(object.get("id")),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn matches(criteria: &str) -> bool {
        let record = json!({
            "Last_Name": "Byron (Lovelace)", "City": "London", "Annual_Revenue": 900, "Phone": null,
        });
        Criteria::parse(criteria).unwrap().matches(record.as_object().unwrap())
    }

    #[test]
    fn terms_compare() {
        assert!(matches("(City:equals:london)"));
        assert!(matches("(City:starts_with:Lon)"));
        assert!(matches("(City:in:Paris,London)"));
        assert!(!matches("(City:not_equal:London)"));
        assert!(matches("(Annual_Revenue:less_than:1000)"));
        assert!(!matches("(Annual_Revenue:greater_equal:1000)"));
        assert!(matches("(Last_Name:equals:Byron \\(Lovelace\\))"));
        assert!(matches("(Phone:equals:${EMPTY})"));
    }

    #[test]
    fn terms_combine() {
        assert!(matches("((City:equals:London)and(Annual_Revenue:equals:900))"));
        assert!(!matches("((City:equals:London)and(Annual_Revenue:equals:1))"));
        assert!(matches("(City:equals:Paris)or(City:equals:London)"));
        assert!(matches("(((City:equals:Paris)or(City:equals:London))and(City:contains:don))"));
    }

    #[test]
    fn what_is_no_criteria_is_refused() {
        for text in ["", "City:equals:x", "(City:equals)", "(City:like:x)", "(City:equals:x", "((("]
        {
            assert_eq!(Criteria::parse(text), None, "{text}");
        }
        assert_eq!(Criteria::parse(&"(".repeat(100_000)), None);
    }
}
