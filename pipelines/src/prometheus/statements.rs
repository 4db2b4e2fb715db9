//! Rules as statements: a recording rule as a view, an alerting rule as an alert, several severities of one as one alert.

use super::binary::comparison;
use super::rules::{Rule, RuleKind};
use super::sql::{interval, number, quoted, text};
use super::templates::{labels_in, translate};
use super::vector::{Recorded, Translator, Vector, bare, column};
use super::{ImportOptions, Imported};
use promql_parser::parser::{Expr, LabelModifier, VectorSelector, token};
use std::collections::{BTreeMap, BTreeSet};
use thalweg_schemas::error::{Error, Result};

/// Severities whose order everybody knows: rules that differ in these and in the threshold are one alert.
const ORDERED: [&str; 8] = ["info", "notice", "minor", "warning", "major", "error", "critical", "emergency"];

/// The statements of all rules so far.
pub(super) struct Statements<'a> {
    options: &'a ImportOptions,
    recorded: BTreeMap<String, Recorded>,
    /// The names that are taken.
    names: BTreeSet<String>,
    statements: Vec<Statement>,
    labels: BTreeSet<String>,
    imported: Imported,
}

/// What came of all rules, and the labels that they name.
pub(super) struct Finished {
    pub imported: Imported,
    pub labels: BTreeSet<String>,
}

enum Statement {
    View { from: String, name: String, select: String },
    Alert(Box<Alert>),
}

/// An alert that may still get more severities.
struct Alert {
    /// Which rules it comes from, for the comment above it.
    from: Vec<String>,
    rule: String,
    name: String,
    over: Over,
    by: Vec<String>,
    filter: Option<String>,
    /// Names, conditions and `FOR`.
    severities: Vec<(String, String, i64)>,
    keep_ms: i64,
    absent_ms: Option<i64>,
    labels: Vec<(String, String)>,
    annotations: Vec<(String, String)>,
}

/// What an alert reads.
#[derive(PartialEq, Eq)]
enum Over {
    Relation(String),
    /// A view of its own, and its query.
    View(String, String),
}

/// What an alert judges.
struct Judged {
    over: Over,
    by: Vec<String>,
    filter: Option<String>,
    condition: String,
    absent_ms: Option<i64>,
}

impl<'a> Statements<'a> {
    pub fn new(options: &'a ImportOptions) -> Statements<'a> {
        let names = BTreeSet::from([options.metrics.relation.clone()]);
        Statements {
            options,
            recorded: BTreeMap::new(),
            names,
            statements: Vec::new(),
            labels: options.labels.iter().cloned().collect(),
            imported: Imported::default(),
        }
    }

    /// Translates a rule, or notes why not.
    pub fn add(&mut self, rule: &Rule) {
        let added = match rule.kind {
            RuleKind::Record => self.record(rule),
            RuleKind::Alert => self.alert(rule),
        };
        match added {
            Ok(()) => self.imported.translated += 1,
            Err(error) => {
                let kind = match rule.kind {
                    RuleKind::Alert => "alert",
                    RuleKind::Record => "record",
                };
                let message = format!("{kind} \"{}\" is left out: {}", rule.name, error.message);
                self.imported.refused.push(Error { message, ..error }.at(rule.position.clone()));
            }
        }
    }

    pub fn finish(self) -> Finished {
        let mut imported = self.imported;
        for statement in &self.statements {
            imported.sql.push_str(&statement.text(self.options));
        }
        imported.sql.truncate(imported.sql.trim_end().len() + usize::from(!imported.sql.is_empty()));
        Finished { imported, labels: self.labels }
    }

    fn record(&mut self, rule: &Rule) -> Result<()> {
        if self.recorded.contains_key(&rule.name) {
            return Err(Error::user("the series is recorded twice").with_hint("Join the two by UNION ALL by hand."));
        }
        let expr = parse(rule)?;
        let translator = self.translator(rule, &expr);
        let mut vector = translator.vector(&expr)?;
        for (name, value) in &rule.labels {
            vector = vector.with_label(name, value);
        }
        let named = translator.labels.clone();
        let name = self.free_name(&rule.name, None);
        let recorded = Recorded { view: quoted(&name), labels: vector.labels(), step_ms: vector.step_ms };
        self.labels.extend(named);
        self.recorded.insert(rule.name.clone(), recorded);
        self.statements.push(Statement::View { from: place(rule), name, select: vector.select() });
        Ok(())
    }

    fn translator(&self, rule: &Rule, expr: &Expr) -> Translator<'_> {
        let mut labels = self.options.labels.clone();
        let mut add = |label: String| {
            if !labels.contains(&label) && label != "__name__" {
                labels.push(label);
            }
        };
        mentioned(expr, &mut add);
        let templates = rule.labels.iter().chain(&rule.annotations);
        templates.flat_map(|(_, template)| labels_in(template)).for_each(add);
        Translator {
            metrics: &self.options.metrics,
            recorded: &self.recorded,
            labels,
            step_ms: rule.interval_ms.unwrap_or(self.options.interval_ms).max(1),
        }
    }

    fn alert(&mut self, rule: &Rule) -> Result<()> {
        let expr = parse(rule)?;
        let translator = self.translator(rule, &expr);
        let judged = judged(&translator, &expr, rule)?;
        let named = translator.labels.clone();
        let is_raw = judged.over == Over::Relation(self.options.metrics.relation.clone());
        let value = if is_raw { &self.options.metrics.value } else { "value" };
        let mut labels = Vec::new();
        let mut severity = "warning".to_string();
        for (name, template) in &rule.labels {
            match self.template(rule, name, template, &judged.by, value) {
                Some(text) if name == "severity" && !text.contains("{{") => severity = text,
                translated => labels.extend(translated.map(|text| (name.clone(), text))),
            }
        }
        let mut annotations = Vec::new();
        for (name, template) in &rule.annotations {
            let translated = self.template(rule, name, template, &judged.by, value);
            annotations.extend(translated.map(|text| (name.clone(), text)));
        }
        let Judged { over, by, filter, condition, absent_ms } = judged;
        let mut alert = Alert {
            from: vec![place(rule)],
            rule: rule.name.clone(),
            name: String::new(),
            over,
            by,
            filter,
            severities: vec![(severity, condition, rule.for_ms)],
            keep_ms: rule.keep_ms,
            absent_ms,
            labels,
            annotations,
        };
        self.labels.extend(named);
        let same = self.statements.iter_mut().find_map(|statement| match statement {
            Statement::Alert(other) if other.takes(&alert) => Some(other),
            _ => None,
        });
        if let Some(other) = same {
            other.from.append(&mut alert.from);
            other.severities.append(&mut alert.severities);
            return Ok(());
        }
        alert.name = self.free_name(&rule.name, Some(&alert.severities[0].0));
        if let Over::View(name, _) = &mut alert.over {
            *name = self.free_name(&format!("{}_value", snake(&rule.name)), None);
        }
        self.statements.push(Statement::Alert(Box::new(alert)));
        Ok(())
    }

    /// A label's or annotation's text; what cannot be said is left out, with a note.
    fn template(&mut self, rule: &Rule, name: &str, template: &str, by: &[String], value: &str) -> Option<String> {
        let told = translate(template, by, value).map_err(|what| {
            let message = format!("\"{name}\" of alert \"{}\" is left out: it says {what}", rule.name);
            self.imported.notes.push(Error::user(message).at(rule.position.clone()));
        });
        told.ok()
    }

    /// A name that nothing else has: with the severity behind it, or a number.
    fn free_name(&mut self, wanted: &str, severity: Option<&str>) -> String {
        let numbered = (2..).map(|n: u32| format!("{wanted}_{n}"));
        let names =
            std::iter::once(wanted.to_string()).chain(severity.map(|s| format!("{wanted}_{s}"))).chain(numbered);
        let free = names.into_iter().find(|name| !self.names.contains(name)).unwrap_or_default();
        self.names.insert(free.clone());
        free
    }
}

fn parse(rule: &Rule) -> Result<Expr> {
    promql_parser::parser::parse(&rule.expr)
        .map_err(|error| Error::user(format!("its expression is no PromQL: {error}")))
}

/// `rules.yml:12: up == 0`
fn place(rule: &Rule) -> String {
    let expr = rule.expr.split_whitespace().collect::<Vec<_>>().join(" ");
    format!("{}:{}: {expr}", rule.position.file, rule.position.line)
}

/// `HighErrorRate` as `high_error_rate`.
fn snake(name: &str) -> String {
    let mut out = String::new();
    let mut lower_before = false;
    for letter in name.chars() {
        let letter_is_upper = letter.is_ascii_uppercase();
        if letter_is_upper && lower_before {
            out.push('_');
        }
        out.push(if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '_' });
        lower_before = letter.is_ascii_lowercase() || letter.is_ascii_digit();
    }
    out
}

/// The labels that an expression names.
fn mentioned(expr: &Expr, add: &mut impl FnMut(String)) {
    let selector = |selector: &VectorSelector, add: &mut dyn FnMut(String)| {
        selector.matchers.matchers.iter().for_each(|matcher| add(matcher.name.clone()));
    };
    match expr {
        Expr::VectorSelector(own) => selector(own, add),
        Expr::MatrixSelector(range) => selector(&range.vs, add),
        Expr::Paren(paren) => mentioned(&paren.expr, add),
        Expr::Unary(unary) => mentioned(&unary.expr, add),
        Expr::Call(call) => call.args.args.iter().for_each(|argument| mentioned(argument, add)),
        Expr::Aggregate(aggregate) => {
            if let Some(LabelModifier::Include(labels)) = &aggregate.modifier {
                labels.labels.iter().cloned().for_each(&mut *add);
            }
            mentioned(&aggregate.expr, add);
        }
        Expr::Binary(binary) => {
            if let Some(modifier) = &binary.modifier {
                let on = modifier.matching.as_ref().map(LabelModifier::labels);
                let included = modifier.card.labels();
                on.into_iter().chain(included).flat_map(|labels| labels.labels.clone()).for_each(&mut *add);
            }
            mentioned(&binary.lhs, add);
            mentioned(&binary.rhs, add);
        }
        Expr::Subquery(_) | Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => {}
    }
}

/// What an alert with this expression judges.
fn judged(translator: &Translator<'_>, expr: &Expr, rule: &Rule) -> Result<Judged> {
    if let Expr::Call(call) = bare(expr)
        && call.func.name.starts_with("absent")
    {
        return absent(translator, call.args.args.first().map(|argument| bare(argument)), rule);
    }
    let alternatives = alternatives(expr);
    if let [one] = alternatives.as_slice()
        && let Some(judged) = threshold(translator, one)?
    {
        return Ok(judged);
    }
    let vectors = alternatives.iter().map(|one| translator.vector(one)).collect::<Result<Vec<Vector>>>()?;
    let by = vectors[0].labels();
    if vectors.iter().any(|other| other.labels() != by) {
        return Err(Error::user("the conditions that \"or\" joins are of series with different labels")
            .with_hint("Make an alert of each."));
    }
    let select = vectors.iter().map(Vector::select).collect::<Vec<_>>().join("\nUNION ALL\n");
    let condition = "value IS NOT NULL".to_string();
    Ok(Judged { over: Over::View(String::new(), select), by, filter: None, condition, absent_ms: None })
}

/// The conditions that are joined by `or` as a whole: of several elements for a key any raises the alert.
fn alternatives(expr: &Expr) -> Vec<&Expr> {
    match bare(expr) {
        Expr::Binary(binary) if binary.op.id() == token::T_LOR => {
            alternatives(&binary.lhs).into_iter().chain(alternatives(&binary.rhs)).collect()
        }
        expr => vec![expr],
    }
}

/// A vector compared with a number: the number stays in the alert.
fn threshold(translator: &Translator<'_>, expr: &Expr) -> Result<Option<Judged>> {
    let Expr::Binary(binary) = bare(expr) else { return Ok(None) };
    let returns_bool = binary.modifier.as_ref().is_some_and(|modifier| modifier.return_bool);
    let Some(sign) = comparison(binary.op.id()).filter(|_| !returns_bool) else { return Ok(None) };
    let constant = |side: &Expr| match bare(side) {
        Expr::NumberLiteral(literal) => Some(number(literal.val)),
        Expr::Unary(unary) => match bare(&unary.expr) {
            Expr::NumberLiteral(literal) => Some(number(-literal.val)),
            _ => None,
        },
        _ => None,
    };
    let (side, sign, limit) = match (constant(&binary.lhs), constant(&binary.rhs)) {
        (None, Some(limit)) => (&binary.lhs, sign, limit),
        (Some(limit), None) => (&binary.rhs, mirrored(sign), limit),
        _ => return Ok(None),
    };
    if let Expr::VectorSelector(selector) = bare(side) {
        let recorded = translator.recorded(selector)?;
        let (relation, by, filter, condition) = match recorded {
            Some((recorded, conditions)) => {
                let filter = (!conditions.is_empty()).then(|| conditions.join(" AND "));
                // A value that is NULL is no element of the vector.
                let condition = format!("coalesce(value {sign} {limit}, false)");
                (recorded.view.clone(), recorded.labels.clone(), filter, condition)
            }
            None => {
                let metrics = translator.metrics;
                let filter = Some(translator.conditions(selector)?);
                let condition = format!("{} {sign} {limit}", metrics.value);
                (metrics.relation.clone(), translator.labels.clone(), filter, condition)
            }
        };
        return Ok(Some(Judged { over: Over::Relation(relation), by, filter, condition, absent_ms: None }));
    }
    let vector = translator.vector(side)?;
    let condition = format!("coalesce(value {sign} {limit}, false)");
    let over = Over::View(String::new(), vector.select());
    Ok(Some(Judged { over, by: vector.labels(), filter: None, condition, absent_ms: None }))
}

fn mirrored(sign: &'static str) -> &'static str {
    match sign {
        ">" => "<",
        ">=" => "<=",
        "<" => ">",
        "<=" => ">=",
        same => same,
    }
}

/// `absent(selector)`: the alert is not of what comes but of its silence.
fn absent(translator: &Translator<'_>, argument: Option<&Expr>, rule: &Rule) -> Result<Judged> {
    use promql_parser::label::MatchOp;
    let (selector, silent_ms) = match argument {
        Some(Expr::VectorSelector(selector)) => (selector, translator.metrics.lookback_ms),
        Some(Expr::MatrixSelector(range)) => (&range.vs, i64::try_from(range.range.as_millis()).unwrap_or(i64::MAX)),
        _ => return Err(Error::user("absent is translated only over a selector").with_hint("Record its argument.")),
    };
    // The elements of absent() have the labels that the selector says by equality.
    let equal = selector.matchers.matchers.iter().filter(|m| m.op == MatchOp::Equal && m.name != "__name__");
    let by = equal.map(|matcher| matcher.name.clone()).collect();
    let (relation, filter) = match translator.recorded(selector)? {
        Some((recorded, conditions)) => {
            (recorded.view.clone(), (!conditions.is_empty()).then(|| conditions.join(" AND ")))
        }
        None => (translator.metrics.relation.clone(), Some(translator.conditions(selector)?)),
    };
    let absent_ms = Some(silent_ms.saturating_add(rule.for_ms));
    Ok(Judged { over: Over::Relation(relation), by, filter, condition: "false".to_string(), absent_ms })
}

impl Alert {
    /// Whether the other is the same alert at another severity.
    fn takes(&self, other: &Alert) -> bool {
        let ordered = |name: &str| ORDERED.contains(&name);
        let over = match (&self.over, &other.over) {
            (Over::View(_, mine), Over::View(_, theirs)) => mine == theirs,
            (mine, theirs) => mine == theirs,
        };
        over && (&self.rule, &self.by, &self.filter, self.keep_ms)
            == (&other.rule, &other.by, &other.filter, other.keep_ms)
            && (&self.labels, &self.annotations) == (&other.labels, &other.annotations)
            && self.absent_ms.or(other.absent_ms).is_none()
            && self.severities.iter().all(|(name, ..)| ordered(name) && *name != other.severities[0].0)
            && ordered(&other.severities[0].0)
    }

    fn text(&self, options: &ImportOptions) -> String {
        let mut lines: Vec<String> = self.from.iter().map(|from| format!("-- {from}")).collect();
        let over = match &self.over {
            Over::Relation(relation) => relation.clone(),
            Over::View(name, select) => {
                lines.push(format!("CREATE MATERIALIZED VIEW {} AS\n{select};", quoted(name)));
                quoted(name)
            }
        };
        let by = self.by.iter().map(|label| column(label)).collect::<Vec<_>>().join(", ");
        let by = if by.is_empty() { by } else { format!(" BY {by}") };
        lines.push(format!("CREATE ALERT {} FROM {over}{by}", quoted(&self.name)));
        lines.extend(self.filter.as_ref().map(|filter| format!("  WHERE {filter}")));
        for (severity, condition, for_ms) in &self.severities {
            let for_ = if self.absent_ms.is_none() { *for_ms } else { 0 };
            let for_ = if for_ > 0 { format!(" FOR {}", interval(for_)) } else { String::new() };
            lines.push(format!("  {} WHEN {condition}{for_}", severity_name(severity)));
        }
        if self.keep_ms > 0 {
            lines.push(format!("  KEEP FIRING FOR {}", interval(self.keep_ms)));
        }
        lines.extend(self.absent_ms.map(|ms| format!("  ABSENT FOR {}", interval(ms))));
        for (clause, texts) in [("LABELS", &self.labels), ("ANNOTATIONS", &self.annotations)] {
            let texts: Vec<String> =
                texts.iter().map(|(name, value)| format!("{} = {}", quoted(name), text(value))).collect();
            lines.extend((!texts.is_empty()).then(|| format!("  {clause} ({})", texts.join(", "))));
        }
        lines.extend(options.notify.as_ref().map(|notifier| format!("  NOTIFY {notifier}")));
        lines.join("\n") + ";\n\n"
    }
}

/// A severity as it is written: in capitals where that means the same.
fn severity_name(name: &str) -> String {
    if ORDERED.contains(&name) { name.to_uppercase() } else { quoted(name) }
}

impl Statement {
    fn text(&self, options: &ImportOptions) -> String {
        match self {
            Statement::View { from, name, select } => {
                format!("-- {from}\nCREATE MATERIALIZED VIEW {} AS\n{select};\n\n", quoted(name))
            }
            Statement::Alert(alert) => alert.text(options),
        }
    }
}
