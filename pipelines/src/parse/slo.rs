//! `CREATE SLO`: a service level objective as the statements that it stands for, three views and an alert.
//!
//! The windows and factors are those of multi-window, multi-burn-rate alerts in Google's SRE Workbook, chapter 5
//! ("Alerting on SLOs"), approach 6: a burn rate is how many times faster than allowed errors come, and each pair of windows
//! fires when a given share of the budget of the whole period has gone, and goes on going. Nothing else in the compiler
//! knows of SLOs: the words of the statement are put into SQL, at their places, so that errors point at them.

use super::ddl::{Ddl, Name};
use super::syntax::{self, Grammar, is_word};
use super::{Parsed, Words};
use crate::bind::{Scope, query};
use datafusion::sql::sqlparser::ast::Expr;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan, Tokenizer};
use std::fmt::Write;
use thalweg_schemas::error::{Error, Result};

/// A pair of windows, and the share of the period's budget that is gone when both burn so fast.
struct Pair {
    severity: &'static str,
    share: f64,
    long: &'static str,
    long_hours: f64,
    short: &'static str,
}

/// The workbook's recommendation, with the pair of a day that belongs to the same series of shares.
const PAIRS: [Pair; 4] = [
    Pair { severity: "page", share: 0.02, long: "1h", long_hours: 1.0, short: "5m" },
    Pair { severity: "page", share: 0.05, long: "6h", long_hours: 6.0, short: "30m" },
    Pair { severity: "ticket", share: 0.1, long: "1d", long_hours: 24.0, short: "2h" },
    Pair { severity: "ticket", share: 0.1, long: "3d", long_hours: 72.0, short: "6h" },
];

/// The windows of all pairs, shortest first.
const WINDOWS: [(&str, &str); 7] = [
    ("5m", "5 minutes"),
    ("30m", "30 minutes"),
    ("1h", "1 hour"),
    ("2h", "2 hours"),
    ("6h", "6 hours"),
    ("1d", "1 day"),
    ("3d", "3 days"),
];

const MINUTE_NS: i64 = 60_000_000_000;
/// Steps divide this, the shortest window.
const SHORTEST_NS: i64 = 5 * MINUTE_NS;
const HOUR_NS: i64 = 60 * MINUTE_NS;

/// An SLO as it was written.
pub(super) struct CreateSlo {
    name: Name,
    if_not_exists: bool,
    over: Name,
    time: Option<Name>,
    by: Vec<Name>,
    filter: Option<Placed>,
    good: Good,
    objective: f64,
    period_ns: i64,
    step_ns: i64,
    /// The clauses of the alert.
    rest: Vec<TokenWithSpan>,
}

/// An expression, and where it begins.
struct Placed {
    expr: Box<Expr>,
    span: Span,
}

enum Good {
    /// Each row is an event.
    Rows(Placed),
    /// Each row counts events.
    Counts { good: Placed, total: Placed },
}

/// Whether the statement is one of an SLO.
pub(crate) fn is_slo(tokens: &[TokenWithSpan]) -> bool {
    let is = |at: usize, word: &str| tokens.get(at).is_some_and(|t| is_word(&t.token, word));
    is(0, "CREATE") && is(1, "SLO")
}

/// Reads `CREATE SLO ..`.
pub(super) fn parse(tokens: Vec<TokenWithSpan>, words: &Words) -> Result<CreateSlo> {
    let dialect = GenericDialect {};
    let parser = Parser::new(&dialect).with_tokens_with_locations(tokens);
    Grammar { parser, words }.slo()
}

impl Grammar<'_> {
    fn slo(&mut self) -> Result<CreateSlo> {
        self.expect("CREATE")?;
        self.expect("SLO")?;
        let if_not_exists = self.if_not_exists()?;
        let name = self.name()?;
        if !self.accept("FROM") && !self.accept("ON") {
            return Err(self.expected("FROM"));
        }
        let over = self.name()?;
        let time = if self.accept("TIME") { Some(self.name()?) } else { None };
        let by = if self.accept("BY") { self.key_columns()? } else { Vec::new() };
        let filter = if self.accept("WHERE") { Some(self.placed()?) } else { None };
        let good = self.good()?;
        let objective = self.objective()?;
        let period_ns = self.length_after("OVER", 30 * 24 * HOUR_NS)?;
        let step = self.position();
        let step_ns = self.length_after("EVERY", MINUTE_NS)?;
        if step_ns <= 0 || SHORTEST_NS % step_ns != 0 {
            return Err(Error::user("burn rates are computed in steps that divide five minutes")
                .with_hint("Write EVERY INTERVAL '1 minute', or '5 minutes' where there are many keys.")
                .at(step));
        }
        if period_ns < 72 * HOUR_NS || period_ns % HOUR_NS != 0 {
            return Err(Error::user("the period of an objective is at least three days, in whole hours")
                .with_hint("Write OVER INTERVAL '30 days'.")
                .at(name.position));
        }
        let mut rest = Vec::new();
        while self.parser.peek_token().token != Token::EOF {
            rest.push(self.parser.next_token());
        }
        Ok(CreateSlo { name, if_not_exists, over, time, by, filter, good, objective, period_ns, step_ns, rest })
    }

    fn placed(&mut self) -> Result<Placed> {
        let span = self.parser.peek_token().span;
        Ok(Placed { expr: Box::new(self.sql(Parser::parse_expr)?), span })
    }

    fn good(&mut self) -> Result<Good> {
        self.expect("GOOD")?;
        if self.accept("WHEN") {
            return Ok(Good::Rows(self.placed()?));
        }
        let good = self.placed()?;
        if !self.accept("TOTAL") {
            let error = self.expected("TOTAL");
            return Err(error.with_hint("Write GOOD WHEN status < 500, or GOOD good_requests TOTAL requests."));
        }
        Ok(Good::Counts { good, total: self.placed()? })
    }

    /// `OBJECTIVE 0.999` or `OBJECTIVE 99.9%`
    fn objective(&mut self) -> Result<f64> {
        self.expect("OBJECTIVE")?;
        let position = self.position();
        let Token::Number(number, _) = self.parser.peek_token().token else {
            return Err(self.expected("a number such as 0.999"));
        };
        self.parser.next_token();
        let percent = self.parser.consume_token(&Token::Mod);
        let objective = number.parse::<f64>().unwrap_or(f64::NAN) / if percent { 100.0 } else { 1.0 };
        // 99.9 by 100 is not quite 0.999.
        let objective = (objective * 1e9).round() / 1e9;
        match objective > 0.0 && objective < 1.0 {
            true => Ok(objective),
            false => Err(Error::user("an objective lies between 0 and 1")
                .with_hint("Write OBJECTIVE 0.999 or OBJECTIVE 99.9%.")
                .at(position)),
        }
    }

    fn length_after(&mut self, word: &str, otherwise: i64) -> Result<i64> {
        if !self.accept(word) {
            return Ok(otherwise);
        }
        let position = self.position();
        let length = self.sql(Parser::parse_expr)?;
        query::interval_ns(&length, &Scope::default(), self.words).map_err(|error| error.at(position))
    }
}

impl CreateSlo {
    /// The statements that it stands for. Where no `TIME` is given it is that of the source among `statements` which it reads,
    /// or the windows of a view.
    pub(super) fn expand(&self, statements: &[Parsed], words: &Words, text: &str) -> Result<Vec<Parsed>> {
        let time = self.time.clone().unwrap_or_else(|| self.time_of(statements));
        let texts = [self.events(&time)?, self.burn_rates()?, self.error_budget()?, self.alert()?];
        let parsed = |tokens: Vec<TokenWithSpan>| -> Result<Parsed> {
            let tokens_shown = tokens.iter().map(|token| token.token.to_string()).collect::<Vec<_>>();
            let ddl = syntax::statement(tokens, words)?;
            // The alert is what has the statement's name, and its text.
            let own = matches!(ddl, Ddl::Alert(_));
            let text = if own { text.to_string() } else { tokens_shown.join(" ") };
            Ok(Parsed { ddl, text, words: words.clone() })
        };
        texts.into_iter().map(parsed).collect()
    }

    fn time_of(&self, statements: &[Parsed]) -> Name {
        let source = statements.iter().find_map(|statement| match &statement.ddl {
            Ddl::Source(source) | Ddl::Table(source) if source.name.value == self.over.value => {
                source.watermark.as_ref()
            }
            _ => None,
        });
        let value = source.map_or("window_start".to_string(), |watermark| watermark.column.value.clone());
        Name { value, position: self.over.position.clone() }
    }

    fn create(&self, what: &str) -> String {
        format!("CREATE {what}{}", if self.if_not_exists { " IF NOT EXISTS" } else { "" })
    }

    fn view(&self, part: &str) -> String {
        ident(&format!("{}_{part}", self.name.value))
    }

    /// `, service, region`
    fn keys(&self) -> String {
        self.by.iter().map(|name| format!(", {}", ident(&name.value))).collect()
    }

    fn span(&self) -> Span {
        let start = datafusion::sql::sqlparser::tokenizer::Location {
            line: self.name.position.line,
            column: self.name.position.column,
        };
        Span::new(
            start,
            datafusion::sql::sqlparser::tokenizer::Location {
                column: start.column + self.name.position.width,
                ..start
            },
        )
    }

    fn tokens(&self, text: &str) -> Result<Vec<TokenWithSpan>> {
        tokens(text, self.span())
    }

    /// Good events and all events, by step.
    fn events(&self, time: &Name) -> Result<Vec<TokenWithSpan>> {
        let keys = self.keys();
        let mut out = self.tokens(&format!(
            "{} {} AS SELECT window_start, window_end{keys},",
            self.create("MATERIALIZED VIEW"),
            self.view("events")
        ))?;
        match &self.good {
            Good::Rows(condition) => {
                out.extend(self.tokens("count(*) FILTER (WHERE")?);
                out.extend(condition.tokens()?);
                out.extend(self.tokens(") AS good, count(*) AS total")?);
            }
            Good::Counts { good, total } => {
                for (counted, alias) in [(good, ") AS good,"), (total, ") AS total")] {
                    out.extend(self.tokens("sum(")?);
                    out.extend(counted.tokens()?);
                    out.extend(self.tokens(alias)?);
                }
            }
        }
        let over = ident(&self.over.value);
        out.extend(self.tokens(&format!(
            "FROM TUMBLE({over}, {}, {})",
            ident(&time.value),
            nanoseconds(self.step_ns)
        ))?);
        if let Some(filter) = &self.filter {
            out.extend(self.tokens("WHERE (")?);
            out.extend(filter.tokens()?);
            out.extend(self.tokens(")")?);
        }
        out.extend(self.tokens(&format!("GROUP BY window_start, window_end{keys}"))?);
        Ok(out)
    }

    /// A row for each step: how fast each window burns. Where nothing happened nothing burns.
    fn burn_rates(&self) -> Result<Vec<TokenWithSpan>> {
        let (keys, events) = (self.keys(), self.view("events"));
        let step = nanoseconds(self.step_ns);
        let mut text = format!(
            "{} {} AS SELECT window_start AS at{keys}",
            self.create("MATERIALIZED VIEW"),
            self.view("burn_rates")
        );
        for (window, _) in WINDOWS {
            let _ = write!(text, ", coalesce(max(burn) FILTER (WHERE size = '{window}'), 0.0) AS burn_{window}");
        }
        let queries = WINDOWS.map(|(window, size)| {
            format!(
                "SELECT window_end AS at{keys}, '{window}' AS size, {} AS burn FROM HOP({events}, window_start, {step}, INTERVAL '{size}') \
                 GROUP BY window_start, window_end{keys}",
                self.burned()
            )
        });
        let _ = write!(
            text,
            " FROM TUMBLE(({}), at, INTERVAL '1 millisecond') GROUP BY window_start, window_end{keys} EMIT ON WINDOW CLOSE",
            queries.join(" UNION ALL ")
        );
        self.tokens(&text)
    }

    /// The share of errors by the share that is allowed.
    fn burned(&self) -> String {
        format!("CAST(sum(total) - sum(good) AS DOUBLE) / nullif(sum(total), 0) / {:?}", self.budget())
    }

    /// Which share of events may be bad: to nine digits, so that 1 - 0.999 is 0.001.
    fn budget(&self) -> f64 {
        ((1.0 - self.objective) * 1e9).round() / 1e9
    }

    /// A row for each hour: what is left of the period's budget.
    fn error_budget(&self) -> Result<Vec<TokenWithSpan>> {
        let (keys, burned) = (self.keys(), self.burned());
        let hours = self.period_ns / HOUR_NS;
        self.tokens(&format!(
            "{} {} AS SELECT window_end AS at{keys}, sum(good) AS good, sum(total) AS total, {:?} AS objective, \
             coalesce({burned}, 0.0) AS budget_spent, 1.0 - coalesce({burned}, 0.0) AS budget_left \
             FROM HOP({}, window_start, INTERVAL '1 hour', INTERVAL '{hours} hours') \
             GROUP BY window_start, window_end{keys} EMIT ON WINDOW CLOSE",
            self.create("MATERIALIZED VIEW"),
            self.view("error_budget"),
            self.objective,
            self.view("events"),
        ))
    }

    fn alert(&self) -> Result<Vec<TokenWithSpan>> {
        let by = self.keys();
        let by = by.strip_prefix(", ").map(|keys| format!(" BY {keys}")).unwrap_or_default();
        let mut text =
            format!("{} {} FROM {}{by}", self.create("ALERT"), ident(&self.name.value), self.view("burn_rates"));
        for severity in ["ticket", "page"] {
            let period_hours = self.period_ns as f64 / HOUR_NS as f64;
            let conditions = PAIRS.iter().filter(|pair| pair.severity == severity).map(|pair| {
                let factor = (pair.share * period_hours / pair.long_hours * 1e6).round() / 1e6;
                format!("burn_{} > {factor:?} AND burn_{} > {factor:?}", pair.long, pair.short)
            });
            let _ = write!(text, " {severity} WHEN {}", conditions.collect::<Vec<_>>().join(" OR "));
        }
        let mut out = self.tokens(&text)?;
        out.extend(self.rest.iter().cloned());
        if !self.rest.iter().any(|token| is_word(&token.token, "ANNOTATIONS")) {
            let summary = "error budget burns {{burn_1h | printf \"%.1f\"}} times as fast as allowed (last hour), \
                           {{burn_3d | printf \"%.1f\"}} times (three days)";
            out.extend(self.tokens(&format!("ANNOTATIONS (summary = '{summary}')"))?);
        }
        Ok(out)
    }
}

impl Placed {
    fn tokens(&self) -> Result<Vec<TokenWithSpan>> {
        tokens(&self.expr.to_string(), self.span)
    }
}

/// The words of `text`, all at one place.
fn tokens(text: &str, span: Span) -> Result<Vec<TokenWithSpan>> {
    let tokens = Tokenizer::new(&GenericDialect {}, text).tokenize();
    let tokens = tokens.map_err(|error| Error::bug(format!("the SQL of an SLO: {error}")))?;
    let shown = tokens.into_iter().filter(|token| !matches!(token, Token::Whitespace(_)));
    Ok(shown.map(|token| TokenWithSpan { token, span }).collect())
}

fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn nanoseconds(ns: i64) -> String {
    format!("INTERVAL '{} milliseconds'", ns / 1_000_000)
}
