//! `CREATE`, `DROP` and `ALTER` over the wire: what they name and how they are answered. What they declare is read when the
//! changed pipeline is compiled.

use super::Rest;
use crate::parse::syntax::{declared_name, is_word};
use crate::program::SqlText;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use thalweg_schemas::error::Result;

/// A change of what runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// `CREATE [OR REPLACE] SOURCE | [MATERIALIZED] VIEW | SINK ..`
    Create {
        /// What it declares.
        name: String,
        /// `CREATE VIEW` and the like, for the answer.
        tag: &'static str,
        /// Whether nothing is to happen where the name is taken.
        if_not_exists: bool,
        /// Whether it takes the place of what has the name.
        or_replace: bool,
        /// The statement.
        text: String,
    },
    /// `DROP SOURCE | [MATERIALIZED] VIEW | SINK [IF EXISTS] name [, ..] [CASCADE | RESTRICT]`
    Drop {
        /// What is to go.
        names: Vec<String>,
        /// `DROP VIEW` and the like, for the answer.
        tag: &'static str,
        /// Whether nothing is to happen where there is no such name.
        if_exists: bool,
        /// Whether what reads it goes too.
        cascade: bool,
    },
    /// `ALTER SOURCE | TABLE | [MATERIALIZED] VIEW | SINK | ALERT [IF EXISTS] name RENAME TO name`
    Rename {
        /// What is to have another name.
        name: String,
        /// That name.
        to: String,
        /// `ALTER VIEW` and the like, for the answer.
        tag: &'static str,
        /// Whether nothing is to happen where there is no such name.
        if_exists: bool,
    },
}

/// A kind of thing that can be created, dropped and altered: its words, and how each is answered.
pub(super) struct Kind {
    pub(super) words: &'static [&'static str],
    pub(super) create: &'static str,
    drop: &'static str,
    alter: &'static str,
}

macro_rules! kind {
    ($words:expr, $noun:literal) => {
        Kind {
            words: $words,
            create: concat!("CREATE ", $noun),
            drop: concat!("DROP ", $noun),
            alter: concat!("ALTER ", $noun),
        }
    };
}

/// What can be created, dropped and altered.
pub(super) const CHANGED: &[Kind] = &[
    kind!(&["SOURCE"], "SOURCE"),
    kind!(&["TABLE"], "TABLE"),
    kind!(&["FUNCTION"], "FUNCTION"),
    kind!(&["MATERIALIZED", "VIEW"], "MATERIALIZED VIEW"),
    kind!(&["VIEW"], "VIEW"),
    kind!(&["SINK"], "SINK"),
    kind!(&["ALERT"], "ALERT"),
    kind!(&["SLO"], "SLO"),
    kind!(&["NOTIFIER"], "NOTIFIER"),
    kind!(&["INHIBITION"], "INHIBITION"),
    kind!(&["CALENDAR"], "CALENDAR"),
];

/// `CREATE`, `DROP` and `ALTER` of what a pipeline declares.
pub(super) fn change(text: &SqlText, tokens: &[TokenWithSpan]) -> Result<Option<Change>> {
    let is = |at: usize, word: &str| tokens.get(at).is_some_and(|t| is_word(&t.token, word));
    let or_replace = is(0, "CREATE") && is(1, "OR") && is(2, "REPLACE");
    let first = if or_replace { 3 } else { 1 };
    let kind = CHANGED.iter().find(|kind| kind.words.iter().enumerate().all(|(at, word)| is(first + at, word)));
    let Some(Kind { words, create, drop, alter }) = kind else { return Ok(None) };
    let at = first + words.len();
    if is(0, "CREATE") {
        let Some(name) = declared_name(tokens) else { return Ok(None) };
        let if_not_exists = is(at, "IF") && is(at + 1, "NOT") && is(at + 2, "EXISTS");
        let text = text.text.trim().to_string();
        return Ok(Some(Change::Create { name, tag: create, if_not_exists, or_replace, text }));
    }
    let if_exists = is(at, "IF") && is(at + 1, "EXISTS");
    let rest = Rest { text, tokens, at: at + if if_exists { 2 } else { 0 } };
    if is(0, "DROP") {
        return drop_names(rest, drop, if_exists).map(Some);
    }
    if is(0, "ALTER") {
        return rename(rest, alter, if_exists).map(Some);
    }
    Ok(None)
}

fn drop_names(mut rest: Rest, tag: &'static str, if_exists: bool) -> Result<Change> {
    let form = format!("{tag} [IF EXISTS] name [, ..] [CASCADE | RESTRICT]");
    let mut names = Vec::new();
    loop {
        names.push(rest.name().ok_or_else(|| rest.expected("a name", &form))?);
        if !rest.accept_token(&Token::Comma) {
            break;
        }
    }
    let cascade = rest.accept("CASCADE");
    if !cascade {
        rest.accept("RESTRICT");
    }
    rest.end(&form)?;
    Ok(Change::Drop { names, tag, if_exists, cascade })
}

fn rename(mut rest: Rest, tag: &'static str, if_exists: bool) -> Result<Change> {
    let form = format!("{tag} [IF EXISTS] name RENAME TO name");
    let name = rest.name().ok_or_else(|| rest.expected("a name", &form))?;
    for word in ["RENAME", "TO"] {
        if !rest.accept(word) {
            return Err(rest.expected(word, &form));
        }
    }
    let to = rest.name().ok_or_else(|| rest.expected("a name", &form))?;
    rest.end(&form)?;
    Ok(Change::Rename { name, to, tag, if_exists })
}
