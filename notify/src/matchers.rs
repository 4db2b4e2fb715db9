//! Matchers of labels, with Alertmanager's meaning: `=` and `!=` compare, `=~` and `!~` match a regular expression that
//! is anchored at both ends, and a label that is not there is an empty one.

use crate::alert::Labels;
use regex::Regex;
use serde::{Deserialize, Serialize};
use std::fmt;
use thalweg_schemas::error::{Error, Result};

/// How a label is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Match,
    /// `!~`
    NotMatch,
}

/// A condition on one label.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Matcher {
    /// The label.
    pub name: String,
    /// How it is compared.
    pub op: Op,
    /// With what.
    pub value: String,
    regex: Option<Regex>,
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Matcher) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

/// A matcher as Alertmanager's API writes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    name: String,
    value: String,
    #[serde(default)]
    is_regex: bool,
    #[serde(default = "yes")]
    is_equal: bool,
}

fn yes() -> bool {
    true
}

impl From<Matcher> for Written {
    fn from(matcher: Matcher) -> Written {
        let is_regex = matches!(matcher.op, Op::Match | Op::NotMatch);
        let is_equal = matches!(matcher.op, Op::Equal | Op::Match);
        Written { name: matcher.name, value: matcher.value, is_regex, is_equal }
    }
}

impl TryFrom<Written> for Matcher {
    type Error = Error;

    fn try_from(written: Written) -> Result<Matcher> {
        let op = match (written.is_regex, written.is_equal) {
            (false, true) => Op::Equal,
            (false, false) => Op::NotEqual,
            (true, true) => Op::Match,
            (true, false) => Op::NotMatch,
        };
        Matcher::new(&written.name, op, &written.value)
    }
}

impl Matcher {
    /// A matcher; an error if the expression is none.
    pub fn new(name: &str, op: Op, value: &str) -> Result<Matcher> {
        if name.is_empty() {
            return Err(Error::user("a matcher names no label").with_hint(HOW));
        }
        let regex = match op {
            Op::Match | Op::NotMatch => Some(Regex::new(&format!("^(?:{value})$")).map_err(|error| {
                let reason = error.to_string();
                let reason = reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_string();
                Error::user(format!("'{value}' is not a regular expression")).with_detail(reason)
            })?),
            Op::Equal | Op::NotEqual => None,
        };
        Ok(Matcher { name: name.to_string(), op, value: value.to_string(), regex })
    }

    /// Whether the labels are as it says.
    pub fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.name).unwrap_or_default();
        let found = self.regex.as_ref().is_some_and(|regex| regex.is_match(value));
        match self.op {
            Op::Equal => value == self.value,
            Op::NotEqual => value != self.value,
            Op::Match => found,
            Op::NotMatch => !found,
        }
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = match self.op {
            Op::Equal => "=",
            Op::NotEqual => "!=",
            Op::Match => "=~",
            Op::NotMatch => "!~",
        };
        write!(f, "{}{op}{:?}", self.name, self.value)
    }
}

/// Whether all matchers hold.
pub fn all_match(matchers: &[Matcher], labels: &Labels) -> bool {
    matchers.iter().all(|matcher| matcher.matches(labels))
}

const HOW: &str = "Write matchers as 'severity=\"critical\", team=~\"core|infra\"', with =, !=, =~ or !~.";

/// Reads matchers as Alertmanager's configuration writes them, with commas between, in braces or not.
pub fn parse(text: &str) -> Result<Vec<Matcher>> {
    let wrong = || Error::user(format!("'{text}' is not a list of matchers")).with_hint(HOW);
    let inner = text.trim();
    let inner = inner.strip_prefix('{').map_or(Some(inner), |rest| rest.strip_suffix('}')).ok_or_else(wrong)?;
    let mut rest = inner.trim();
    let mut matchers = Vec::new();
    while !rest.is_empty() {
        let end = rest.find(|c: char| !(c.is_alphanumeric() || "_.:".contains(c))).ok_or_else(wrong)?;
        let name = &rest[..end];
        let after = rest[end..].trim_start();
        let ops = [("=~", Op::Match), ("!~", Op::NotMatch), ("!=", Op::NotEqual), ("=", Op::Equal)];
        let (sign, op) = ops.into_iter().find(|(sign, _)| after.starts_with(sign)).ok_or_else(wrong)?;
        let (value, left) = value(after[sign.len()..].trim_start()).ok_or_else(wrong)?;
        matchers.push(Matcher::new(name, op, &value)?);
        let left = left.trim_start();
        rest = match left.strip_prefix(',') {
            Some(more) => more.trim_start(),
            None if left.is_empty() => "",
            None => return Err(wrong()),
        };
    }
    Ok(matchers)
}

/// A value, quoted or up to the next comma, and what is behind it.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find(',').unwrap_or(text.len());
        return Some((text[..end].trim_end().to_string(), &text[end..]));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                // Only what a quoted text needs is taken off: the others belong to the regular expression.
                c @ ('"' | '\\') => value.push(c),
                c => value.extend(['\\', c]),
            },
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::tests::labels;

    fn shown(text: &str) -> String {
        parse(text).unwrap().iter().map(Matcher::to_string).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_four_comparisons() {
        let found = labels(&[("severity", "critical"), ("team", "core")]);
        let holds = |text: &str| all_match(&parse(text).unwrap(), &found);
        assert!(holds("severity=critical, team=~\"core|infra\""));
        assert!(!holds("team=~\"cor\""), "an expression is anchored");
        assert!(holds("team!~cor") && holds("team != web") && !holds("team!=core"));
        assert!(holds("region=\"\"") && holds("region!=eu"), "a label that is not there is empty");
        assert!(holds(""), "nothing is asked");
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(shown("{a = \"x, y\", b=~'z'}"), r#"a="x, y" b=~"'z'""#);
        assert_eq!(shown(r#"a="say \"hi\"", b=~"\d+""#), r#"a="say \"hi\"" b=~"\\d+""#);
        for wrong in ["a", "a=\"open", "=x", "{a=b", "a=\"b\" c=d", "a ~ b"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        let error = parse("a=~\"(\"").unwrap_err();
        assert_eq!(
            (error.message.as_str(), error.detail.as_deref()),
            ("'(' is not a regular expression", Some("unclosed group"))
        );
    }

    #[test]
    fn the_form_of_alertmanagers_api() {
        let json = r#"{"name":"team","value":"core|infra","isRegex":true,"isEqual":false}"#;
        let matcher: Matcher = serde_json::from_str(json).unwrap();
        assert_eq!(matcher, Matcher::new("team", Op::NotMatch, "core|infra").unwrap());
        assert_eq!(serde_json::to_string(&matcher).unwrap(), json);
        let short: Matcher = serde_json::from_str(r#"{"name":"a","value":"b","isRegex":false}"#).unwrap();
        assert_eq!(short.op, Op::Equal, "isEqual is true where it is left out");
    }
}
