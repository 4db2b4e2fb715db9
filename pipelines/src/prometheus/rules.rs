//! A file of Prometheus rules, as text: groups and their rules, each with the place where its expression stands.
//!
//! Only what is needed to translate a rule is read; other keys of the format (`limit`, `query_offset`) say how Prometheus
//! evaluates, which has no counterpart here.

use crate::program::SqlText;
use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};
use std::sync::Arc;
use thalweg_schemas::error::{Error, Position, Result};

/// What a rule defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RuleKind {
    /// `alert: Name`
    Alert,
    /// `record: name`
    Record,
}

/// One rule of a group.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub kind: RuleKind,
    pub name: String,
    pub expr: String,
    /// Where the expression stands.
    pub position: Position,
    /// `for`, in milliseconds.
    pub for_ms: i64,
    /// `keep_firing_for`, in milliseconds.
    pub keep_ms: i64,
    pub labels: Vec<(String, String)>,
    pub annotations: Vec<(String, String)>,
    /// How often its group is evaluated, in milliseconds; `None`: as the server is configured.
    pub interval_ms: Option<i64>,
}

/// All rules of a file in their order; what is no rule file is an error, and so is each rule that cannot be read.
pub(super) fn read(text: &SqlText) -> Result<Vec<Rule>, Vec<Error>> {
    let file = File(text.file.clone());
    let documents = MarkedYaml::load_from_str(&text.text).map_err(|error| {
        let marker = error.marker();
        let error = Error::user(format!("this is no YAML: {}", error.info()));
        vec![error.at(file.place(marker.line(), marker.col(), 1))]
    })?;
    let (mut rules, mut errors) = (Vec::new(), Vec::new());
    for document in &documents {
        let Some(groups) = get(document, "groups").and_then(items) else {
            let error = Error::user("this is no file of Prometheus rules").with_detail("It has no list \"groups\".");
            return Err(vec![error.at(file.position(document))]);
        };
        for group in groups {
            match file.duration(group, "interval") {
                Ok(interval_ms) => {
                    for node in get(group, "rules").and_then(items).into_iter().flatten() {
                        match file.rule(node, interval_ms) {
                            Ok(rule) => rules.push(rule),
                            Err(error) => errors.push(error),
                        }
                    }
                }
                Err(error) => errors.push(error),
            }
        }
    }
    if errors.is_empty() { Ok(rules) } else { Err(errors) }
}

struct File(Arc<str>);

impl File {
    fn place(&self, line: usize, column: usize, width: usize) -> Position {
        let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        Position { file: self.0.clone(), line: number(line.max(1)), column: number(column + 1), width: number(width) }
    }

    fn position(&self, node: &MarkedYaml<'_>) -> Position {
        let (start, end) = (node.span.start, node.span.end);
        let width = if start.line() == end.line() { end.col().saturating_sub(start.col()).max(1) } else { 1 };
        self.place(start.line(), start.col(), width)
    }

    fn rule(&self, node: &MarkedYaml<'_>, interval_ms: Option<i64>) -> Result<Rule> {
        let text = |key: &str| get(node, key).and_then(text);
        let (kind, name) = match (text("alert"), text("record")) {
            (Some(name), None) => (RuleKind::Alert, name),
            (None, Some(name)) => (RuleKind::Record, name),
            _ => {
                return Err(Error::user("a rule has either \"alert\" or \"record\"").at(self.position(node)));
            }
        };
        let Some(expr) = get(node, "expr") else {
            return Err(Error::user(format!("rule \"{name}\" has no \"expr\"")).at(self.position(node)));
        };
        let position = self.position(expr);
        let expr = self::text(expr).unwrap_or_default();
        Ok(Rule {
            kind,
            name,
            expr,
            position,
            for_ms: self.duration(node, "for")?.unwrap_or_default(),
            keep_ms: self.duration(node, "keep_firing_for")?.unwrap_or_default(),
            labels: texts(node, "labels"),
            annotations: texts(node, "annotations"),
            interval_ms,
        })
    }

    fn duration(&self, node: &MarkedYaml<'_>, key: &str) -> Result<Option<i64>> {
        let Some(value) = get(node, key) else { return Ok(None) };
        let written = text(value).unwrap_or_default();
        match promql_parser::util::parse_duration(&written) {
            Ok(length) => Ok(Some(i64::try_from(length.as_millis()).unwrap_or(i64::MAX))),
            Err(_) if written == "0" => Ok(Some(0)),
            Err(_) => Err(Error::user(format!("\"{written}\" is no duration of Prometheus"))
                .with_hint("Write 30s, 5m or 1h30m.")
                .at(self.position(value))),
        }
    }
}

fn get<'a, 'b>(node: &'a MarkedYaml<'b>, key: &str) -> Option<&'a MarkedYaml<'b>> {
    let YamlData::Mapping(pairs) = &node.data else { return None };
    let found = pairs.iter().find(|(name, _)| text(name).is_some_and(|name| name == key))?;
    Some(found.1)
}

fn items<'a, 'b>(node: &'a MarkedYaml<'b>) -> Option<&'a [MarkedYaml<'b>]> {
    match &node.data {
        YamlData::Sequence(items) => Some(items),
        _ => None,
    }
}

/// A scalar as it is meant: what YAML takes for a number is one for Prometheus only within an expression.
fn text(node: &MarkedYaml<'_>) -> Option<String> {
    match &node.data {
        YamlData::Value(Scalar::String(text)) => Some(text.trim().to_string()),
        YamlData::Value(Scalar::Integer(number)) => Some(number.to_string()),
        YamlData::Value(Scalar::FloatingPoint(number)) => Some(number.to_string()),
        YamlData::Value(Scalar::Boolean(truth)) => Some(truth.to_string()),
        _ => None,
    }
}

fn texts(node: &MarkedYaml<'_>, key: &str) -> Vec<(String, String)> {
    let Some(YamlData::Mapping(pairs)) = get(node, key).map(|node| &node.data) else { return Vec::new() };
    pairs.iter().filter_map(|(name, value)| Some((text(name)?, text(value)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Result<Vec<Rule>, Vec<Error>> {
        read(&SqlText { file: "rules.yml".into(), text: text.into() })
    }

    #[test]
    fn rules_have_their_texts_and_their_places() {
        let rules = rules(
            "groups:\n- name: g\n  interval: 30s\n  rules:\n  - alert: Down\n    expr: up == 0\n    for: 1h30m\n    \
             labels: {severity: page, tier: 1}\n  - record: a:b\n    expr: |\n      sum(up)\n",
        )
        .unwrap();
        let of = |rule: &Rule| (rule.kind, rule.name.clone(), rule.expr.clone(), rule.for_ms, rule.position.line);
        assert_eq!(of(&rules[0]), (RuleKind::Alert, "Down".into(), "up == 0".into(), 5_400_000, 6));
        assert_eq!(rules[0].labels, [("severity".into(), "page".into()), ("tier".into(), "1".into())]);
        assert_eq!(of(&rules[1]), (RuleKind::Record, "a:b".into(), "sum(up)".into(), 0, 11));
        assert_eq!(rules[1].interval_ms, Some(30_000));
    }

    #[test]
    fn what_is_no_rule_file_says_where() {
        let place = |text: &str| {
            let error = rules(text).unwrap_err().remove(0);
            let position = error.position.unwrap();
            (error.message, position.line, position.column)
        };
        assert_eq!(place("a: b\n"), ("this is no file of Prometheus rules".into(), 1, 1));
        assert!(place("groups: [\n").0.starts_with("this is no YAML: "));
        assert_eq!(
            place("groups:\n- rules:\n  - alert: A\n    expr: up\n    for: 5 parsecs\n"),
            ("\"5 parsecs\" is no duration of Prometheus".into(), 5, 10)
        );
        assert_eq!(
            place("groups:\n- rules:\n  - alert: A\n    record: B\n    expr: up\n"),
            ("a rule has either \"alert\" or \"record\"".into(), 3, 5)
        );
    }
}
