//! Prometheus' alerting and recording rules as statements: those whose PromQL falls in a subset that can be said in SQL.
//!
//! A recording rule is a view, an alerting rule an alert, over one relation of samples. What cannot be translated is
//! listed with the reason and its place, and never translated in part: a rule that means something else is worse than none.

mod binary;
mod rules;
mod sql;
mod statements;
mod templates;
mod vector;

#[cfg(test)]
mod tests;

use crate::program::SqlText;
use statements::Statements;
use std::collections::BTreeSet;
use std::fmt::Write;
use thalweg_schemas::error::Error;

/// The relation of samples that rules are translated over: a row a sample.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Its name, as it is written in SQL.
    pub relation: String,
    /// The column of the sample's time, an event time.
    pub time: String,
    /// The column of the series' name.
    pub name: String,
    /// The column that holds all labels, as text; without it the labels that are known tell series apart.
    pub labels: Option<String>,
    /// The column of the sample's value.
    pub value: String,
    /// For how long a sample stands for its series, in milliseconds: Prometheus' `--query.lookback-delta`.
    pub lookback_ms: i64,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            relation: "metrics".to_string(),
            time: "ts".to_string(),
            name: "name".to_string(),
            labels: Some("labels".to_string()),
            value: "value".to_string(),
            lookback_ms: 300_000,
        }
    }
}

/// How rules are translated.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// Where samples are.
    pub metrics: Metrics,
    /// The options of the source that is declared for them; `None`: the relation is there already.
    pub declare: Option<String>,
    /// Labels that series have, besides those that a rule names.
    pub labels: Vec<String>,
    /// The interval of evaluation of groups that say none, in milliseconds.
    pub interval_ms: i64,
    /// The notifier that alerts go to.
    pub notify: Option<String>,
}

impl Default for ImportOptions {
    fn default() -> ImportOptions {
        ImportOptions {
            metrics: Metrics::default(),
            declare: Some("connector = 'http', listen = '127.0.0.1:9201', path = '/metrics'".to_string()),
            labels: vec!["job".to_string(), "instance".to_string()],
            interval_ms: 60_000,
            notify: None,
        }
    }
}

/// What rules came to.
#[derive(Clone, Debug, Default)]
pub struct Imported {
    /// The statements, a pipeline.
    pub sql: String,
    /// How many rules are in it.
    pub translated: usize,
    /// The rules that are not, each with the reason and where it stands.
    pub refused: Vec<Error>,
    /// What is not quite the same in those that are.
    pub notes: Vec<Error>,
}

/// Translates all rules of the files; an error where one cannot be read.
pub fn import(files: &[SqlText], options: &ImportOptions) -> Result<Imported, Vec<Error>> {
    let (mut rules, mut errors) = (Vec::new(), Vec::new());
    for file in files {
        match rules::read(file) {
            Ok(read) => rules.extend(read),
            Err(found) => errors.extend(found),
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut statements = Statements::new(options);
    for rule in &rules {
        statements.add(rule);
    }
    let mut imported = statements.finish();
    if let Some(source) = &options.declare {
        let source = declared(options, source, &imported.labels);
        imported.imported.sql.insert_str(0, &source);
    }
    Ok(imported.imported)
}

/// The source of the samples: the labels that rules name are columns.
fn declared(options: &ImportOptions, source: &str, labels: &BTreeSet<String>) -> String {
    let Metrics { relation, time, name, value, .. } = &options.metrics;
    let mut text = format!("CREATE SOURCE {relation} (\n  {time} TIMESTAMP NOT NULL,\n  {name} TEXT NOT NULL,\n");
    if let Some(all) = &options.metrics.labels {
        let _ = writeln!(text, "  {all} TEXT NOT NULL, -- a JSON object");
    }
    let _ = writeln!(text, "  {value} DOUBLE,");
    for label in labels {
        let column = vector::column(label);
        let _ = match &options.metrics.labels {
            // To Prometheus a label that is missing is one that is empty.
            Some(all) => writeln!(text, "  {column} TEXT AS (coalesce(json_text({all}, {}), '')),", sql::text(label)),
            None => writeln!(text, "  {column} TEXT,"),
        };
    }
    let _ = write!(text, "  WATERMARK FOR {time} AS {time} - INTERVAL '5 seconds'\n) WITH ({source});\n\n");
    text
}
