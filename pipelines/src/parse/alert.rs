//! `CREATE ALERT`: its clauses in the order in which they stand.

use super::ddl::{CreateAlert, DeclaredAbsence, DeclaredEscalation, DeclaredSeverity, DeclaredText, Length, Name};
use super::syntax::{Grammar, is_word};
use datafusion::sql::sqlparser::ast::{Expr, Interval, Value};
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Token;
use thalweg_schemas::error::{Error, Result};

/// What can follow the severities.
const CLAUSES: &str = "FOR, KEEP FIRING FOR, ABSENT FOR, EXPECT KEYS FROM, LABELS, ANNOTATIONS, NOTIFY or WITH";

impl Grammar<'_> {
    pub(super) fn alert(&mut self) -> Result<CreateAlert> {
        let if_not_exists = self.if_not_exists()?;
        let name = self.name()?;
        self.expect("FROM")?;
        let over = self.name()?;
        let by = if self.accept("BY") { Some(self.key_columns()?) } else { None };
        let filter = if self.accept("WHERE") { Some(self.sql(Parser::parse_expr)?) } else { None };
        let mut alert = CreateAlert {
            name,
            if_not_exists,
            over,
            by,
            filter,
            severities: Vec::new(),
            for_: None,
            keep: None,
            absent: None,
            expected: None,
            labels: Vec::new(),
            annotations: Vec::new(),
            notify: Vec::new(),
            escalations: Vec::new(),
            options: Vec::new(),
        };
        self.severities(&mut alert)?;
        while self.parser.peek_token().token != Token::EOF {
            self.clause(&mut alert)?;
        }
        Ok(alert)
    }

    pub(super) fn key_columns(&mut self) -> Result<Vec<Name>> {
        let enclosed = self.parser.consume_token(&Token::LParen);
        let columns = self.names()?;
        if enclosed {
            self.expect_token(Token::RParen, "\")\"")?;
        }
        Ok(columns)
    }

    fn names(&mut self) -> Result<Vec<Name>> {
        let mut names = vec![self.name()?];
        while self.parser.consume_token(&Token::Comma) {
            names.push(self.name()?);
        }
        Ok(names)
    }

    /// One severity after the other. A `FOR` before another severity is for the one before it; the last is for all.
    fn severities(&mut self, alert: &mut CreateAlert) -> Result<()> {
        while self.severity_follows() {
            let name = self.name()?;
            self.expect("WHEN")?;
            let when_position = self.position();
            let when = self.sql(Parser::parse_expr)?;
            let mut clear = None;
            if self.accept("CLEAR") {
                self.expect("WHEN")?;
                let position = self.position();
                clear = Some((self.sql(Parser::parse_expr)?, position));
            }
            let mut severity = DeclaredSeverity { name, when, when_position, clear, for_: None };
            if self.accept("FOR") {
                let length = self.length()?;
                if self.severity_follows() {
                    severity.for_ = Some(length);
                } else {
                    alert.for_ = Some(length);
                }
            }
            alert.severities.push(severity);
        }
        if alert.severities.is_empty() {
            let error = self.expected("a severity and its condition");
            return Err(error.with_hint("Write WARNING WHEN p99 > 250, or CRITICAL WHEN .., or any name of yours."));
        }
        Ok(())
    }

    fn severity_follows(&self) -> bool {
        let word = matches!(self.parser.peek_token().token, Token::Word(_));
        word && !self.peek("CLEAR") && is_word(&self.parser.peek_nth_token(1).token, "WHEN")
    }

    fn clause(&mut self, alert: &mut CreateAlert) -> Result<()> {
        if self.peek("FOR") {
            self.once(alert.for_.is_some(), "FOR")?;
            self.expect("FOR")?;
            alert.for_ = Some(self.length()?);
        } else if self.peek("KEEP") {
            self.once(alert.keep.is_some(), "KEEP FIRING FOR")?;
            ["KEEP", "FIRING", "FOR"].into_iter().try_for_each(|word| self.expect(word))?;
            alert.keep = Some(self.length()?);
        } else if self.peek("ABSENT") {
            self.once(alert.absent.is_some(), "ABSENT FOR")?;
            ["ABSENT", "FOR"].into_iter().try_for_each(|word| self.expect(word))?;
            let after = self.length()?;
            let then = if self.accept("THEN") { Some(self.name()?) } else { None };
            alert.absent = Some(DeclaredAbsence { after, then });
        } else if self.peek("EXPECT") {
            self.once(alert.expected.is_some(), "EXPECT KEYS FROM")?;
            let position = self.position();
            ["EXPECT", "KEYS", "FROM"].into_iter().try_for_each(|word| self.expect(word))?;
            alert.expected = Some(self.name()?);
            if alert.absent.is_none() {
                return Err(Error::user("keys are expected, and it is not said for how long they may be silent")
                    .with_hint("Write ABSENT FOR INTERVAL '2 minutes' before it.")
                    .at(position));
            }
        } else if self.peek("LABELS") {
            self.once(!alert.labels.is_empty(), "LABELS")?;
            self.expect("LABELS")?;
            alert.labels = self.texts()?;
        } else if self.peek("ANNOTATIONS") {
            self.once(!alert.annotations.is_empty(), "ANNOTATIONS")?;
            self.expect("ANNOTATIONS")?;
            alert.annotations = self.texts()?;
        } else if self.peek("NOTIFY") {
            self.once(!alert.notify.is_empty(), "NOTIFY")?;
            self.expect("NOTIFY")?;
            alert.notify = self.names()?;
            while self.accept("ESCALATE") {
                self.expect("AFTER")?;
                let after = self.length_before_to()?;
                self.expect("TO")?;
                alert.escalations.push(DeclaredEscalation { after, to: self.names()? });
            }
        } else if self.peek("WITH") {
            self.once(!alert.options.is_empty(), "WITH")?;
            alert.options = self.options()?;
        } else if self.severity_follows() {
            let error = Error::user("the severities of an alert stand together, before its other clauses");
            return Err(self.here(error).with_hint("Move it up, behind the other severities."));
        } else {
            return Err(self.expected(CLAUSES));
        }
        Ok(())
    }

    fn once(&self, given: bool, clause: &str) -> Result<()> {
        match given {
            true => Err(self.here(Error::user(format!("{clause} is given twice"))).with_hint("Leave one of them out.")),
            false => Ok(()),
        }
    }

    fn length(&mut self) -> Result<Length> {
        let position = self.position();
        Ok(Length { value: self.sql(Parser::parse_expr)?, position })
    }

    /// A length with a `TO` behind it, which would be taken for a part of it: `INTERVAL '1-2' YEAR TO MONTH` is a length too.
    fn length_before_to(&mut self) -> Result<Length> {
        let position = self.position();
        self.expect("INTERVAL")?;
        let value = match self.parser.next_token().token {
            Token::SingleQuotedString(text) => Value::SingleQuotedString(text),
            _ => {
                self.parser.prev_token();
                return Err(self.expected("a length in single quotes"));
            }
        };
        // What else stands there would be taken for a unit, of a name that nobody knows.
        let has_unit = is_word(&self.parser.peek_nth_token(1).token, "TO");
        let unit = if has_unit { Some(self.sql(Parser::parse_date_time_field)?) } else { None };
        let value = Box::new(Expr::value(value));
        let (leading_precision, last_field, fractional_seconds_precision) = (None, None, None);
        let interval =
            Interval { value, leading_field: unit, leading_precision, last_field, fractional_seconds_precision };
        Ok(Length { value: Expr::Interval(interval), position })
    }

    /// `(name = 'text', ..)`
    fn texts(&mut self) -> Result<Vec<DeclaredText>> {
        let mut texts = Vec::new();
        self.expect_token(Token::LParen, "\"(\"")?;
        while !self.parser.consume_token(&Token::RParen) {
            let name = self.name()?;
            self.expect_token(Token::Eq, "\"=\"")?;
            let position = self.position();
            let Token::SingleQuotedString(text) = self.parser.peek_token().token else {
                return Err(self.expected("a text in single quotes"));
            };
            self.parser.next_token();
            texts.push(DeclaredText { name, text, position });
            if !self.parser.consume_token(&Token::Comma) {
                self.expect_token(Token::RParen, "\",\" or \")\"")?;
                break;
            }
        }
        Ok(texts)
    }
}
