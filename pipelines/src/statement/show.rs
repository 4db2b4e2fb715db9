//! `SHOW ..`: what there is, how it was declared and what columns it has. What is none of that is a setting, which only a
//! connection knows.

use super::change::CHANGED;
use super::{Rest, Statement};
use crate::parse::syntax::is_word;
use crate::program::SqlText;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use thalweg_schemas::error::Result;

/// What `SHOW` lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// `SHOW SOURCES`
    Sources,
    /// `SHOW TABLES`: everything that can be queried.
    Tables,
    /// `SHOW VIEWS`
    Views,
    /// `SHOW MATERIALIZED VIEWS`
    MaterializedViews,
    /// `SHOW SINKS`
    Sinks,
    /// `SHOW ALERTS`
    Alerts,
    /// `SHOW NOTIFIERS`
    Notifiers,
    /// `SHOW SILENCES`
    Silences,
    /// `SHOW INHIBITIONS`
    Inhibitions,
    /// `SHOW CALENDARS`
    Calendars,
}

const LISTS: &[(&[&str], Shown)] = &[
    (&["SOURCES"], Shown::Sources),
    (&["TABLES"], Shown::Tables),
    (&["VIEWS"], Shown::Views),
    (&["MATERIALIZED", "VIEWS"], Shown::MaterializedViews),
    (&["SINKS"], Shown::Sinks),
    (&["ALERTS"], Shown::Alerts),
    (&["NOTIFIERS"], Shown::Notifiers),
    (&["SILENCES"], Shown::Silences),
    (&["INHIBITIONS"], Shown::Inhibitions),
    (&["CALENDARS"], Shown::Calendars),
];

/// Reads the statement that `tokens` are, the first of which is `SHOW`; `None` where it asks for a setting.
pub(super) fn show(text: &SqlText, tokens: &[TokenWithSpan]) -> Result<Option<Statement>> {
    let is = |at: usize, word: &str| tokens.get(at).is_some_and(|t| is_word(&t.token, word));
    let says = |words: &[&str], from: usize| words.iter().enumerate().all(|(at, word)| is(from + at, word));
    if is(1, "CREATE") {
        let kind = CHANGED.iter().find(|kind| says(kind.words, 2));
        let rest = Rest { text, tokens, at: 2 + kind.map_or(0, |kind| kind.words.len()) };
        let name = rest.last_name("SHOW CREATE [SOURCE | TABLE | MATERIALIZED VIEW | ..] name")?.1;
        return Ok(Some(Statement::ShowCreate {
            kind: kind.and_then(|kind| kind.create.strip_prefix("CREATE ")),
            name,
        }));
    }
    if is(1, "COLUMNS") {
        let mut rest = Rest { text, tokens, at: 2 };
        const FORM: &str = "SHOW COLUMNS FROM name";
        if !rest.accept("FROM") && !rest.accept("IN") {
            return Err(rest.expected("FROM", FORM));
        }
        let (schema, name) = rest.last_name(FORM)?;
        return Ok(Some(Statement::Describe(schema, name)));
    }
    let listed = LISTS.iter().find(|(words, _)| tokens.len() == 1 + words.len() && says(words, 1));
    Ok(listed.map(|(_, shown)| Statement::Show(*shown)))
}

impl Rest<'_> {
    /// The name that the statement ends with, and the schema before it.
    fn last_name(mut self, form: &str) -> Result<(Option<String>, String)> {
        let mut schema = None;
        let mut last = self.word().ok_or_else(|| self.expected("a name", form))?;
        while self.accept_token(&Token::Period) {
            schema = Some(last);
            last = self.word().ok_or_else(|| self.expected("a name", form))?;
        }
        self.end(form)?;
        Ok((schema, last))
    }
}
