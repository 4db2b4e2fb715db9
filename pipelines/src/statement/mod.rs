//! What a reader may say over the wire: queries, and the few statements about views that are ours.

mod change;
mod show;
mod subscribe;
#[cfg(test)]
mod tests;

pub use change::Change;
pub use show::Shown;
pub use subscribe::{Replay, Subscribe};

use crate::insert::{Insert, insert};
use crate::parse::ddl::Ddl;
use crate::parse::syntax::{declared_name, fold, is_word, statement};
use crate::parse::{Words, byte_of, split};
use crate::program::SqlText;
use crate::rewrite::{Rewrite, rewrite};
use change::change;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use show::show;
use subscribe::{replay, subscribe};
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::options::GivenOption;

/// A statement of a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// A query for DataFusion, or anything else that is not ours.
    Query(String),
    /// `SUBSCRIBE TO view ..`
    Subscribe(Subscribe),
    /// `SHOW SOURCES | VIEWS | SINKS | ALERTS`
    Show(Shown),
    /// `EXPLAIN [ANALYZE] name`, the dataflow of a view.
    ExplainView {
        /// The view's name.
        view: String,
        /// Whether what its operators have done so far is asked for too.
        analyze: bool,
    },
    /// `EXPLAIN CREATE ..`: the dataflow that the statement would make.
    ExplainCreate {
        /// What it declares.
        name: String,
        /// The statement, at the place that it has in the text.
        text: String,
    },
    /// `SHOW CREATE [kind] name`: how it was declared.
    ShowCreate {
        /// What it is to be, where that is said: `SOURCE`, `MATERIALIZED VIEW` ..
        kind: Option<&'static str>,
        /// Its name.
        name: String,
    },
    /// `CREATE ..` and `DROP ..` of sources, views and sinks.
    Change(Change),
    /// `INSERT INTO table ..`
    Insert(Insert),
    /// `UPDATE table SET ..` or `DELETE FROM table ..`
    Rewrite(Rewrite),
    /// `REPLAY DEAD LETTERS FROM source ..`
    Replay(Replay),
    /// `DESCRIBE name`, the columns of a relation: the schema, if one was written, and the name.
    Describe(Option<String>, String),
    /// `CREATE SILENCE name WITH (..)`
    CreateSilence(String, Vec<GivenOption>),
    /// `DROP SILENCE name`
    DropSilence(String),
    /// `ACKNOWLEDGE INCIDENT 'id' [BY 'author'] [COMMENT 'text']`
    Acknowledge(Acknowledge),
}

/// `ACKNOWLEDGE INCIDENT 'id' [BY 'author'] [COMMENT 'text']`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acknowledge {
    /// The incident's id.
    pub incident: String,
    /// Who takes care of it.
    pub author: String,
    /// What is to be said about it.
    pub comment: String,
}

/// Reads one statement. What is not ours is a query, whose mistakes DataFusion will find.
pub fn parse_statement(text: &str) -> Result<Statement> {
    let query = || Statement::Query(text.to_string());
    let whole = SqlText { file: "".into(), text: text.into() };
    let mut pieces = split(&whole, &mut Vec::new());
    if pieces.len() != 1 {
        return Ok(query());
    }
    let tokens = pieces.remove(0);
    let is = |at: usize, word: &str| tokens.get(at).is_some_and(|t| is_word(&t.token, word));
    if is(0, "SUBSCRIBE") {
        return subscribe(&whole, tokens).map(Statement::Subscribe);
    }
    if let Some(change) = change(&whole, &tokens)? {
        return Ok(Statement::Change(change));
    }
    if is(0, "INSERT") {
        return insert(&whole, &tokens).map(Statement::Insert);
    }
    if is(0, "UPDATE") || is(0, "DELETE") {
        return rewrite(&whole, &tokens).map(Statement::Rewrite);
    }
    if is(0, "REPLAY") {
        return replay(&whole, tokens).map(Statement::Replay);
    }
    if is(0, "SHOW") {
        return show(&whole, &tokens).map(|shown| shown.unwrap_or_else(query));
    }
    if is(0, "CREATE") && is(1, "SILENCE") {
        let words = Words::of(&whole, &tokens);
        return match statement(tokens, &words)? {
            Ddl::Notification(silence) => Ok(Statement::CreateSilence(silence.name.value, silence.options)),
            _ => Ok(query()),
        };
    }
    if is(0, "DROP") && is(1, "SILENCE") && tokens.len() == 3 {
        return Ok(name(&tokens[2]).map_or_else(query, Statement::DropSilence));
    }
    if is(0, "ACKNOWLEDGE") {
        return acknowledge(Rest { text: &whole, tokens: &tokens, at: 1 }).map(Statement::Acknowledge);
    }
    if is(0, "EXPLAIN")
        && is(1, "CREATE")
        && let Some(name) = declared_name(&tokens[1..])
    {
        let start = byte_of(text, tokens[1].span.start);
        let blank = |c: char| if c == '\n' { "\n".to_string() } else { " ".repeat(c.len_utf8()) };
        let text = text[..start].chars().map(blank).chain([text[start..].to_string()]).collect();
        return Ok(Statement::ExplainCreate { name, text });
    }
    // EXPLAIN of a name; EXPLAIN of a query is DataFusion's.
    let analyze = is(0, "EXPLAIN") && is(1, "ANALYZE");
    let words = &tokens[usize::from(analyze)..];
    let names: Vec<String> = words.iter().skip(1).step_by(2).filter_map(name).collect();
    let dotted = words.iter().skip(2).step_by(2).all(|t| t.token == Token::Period);
    let is_name = dotted && !names.is_empty() && 2 * names.len() == words.len();
    if is(0, "EXPLAIN") && is_name {
        let view = names.into_iter().last();
        return Ok(view.map_or_else(query, |view| Statement::ExplainView { view, analyze }));
    }
    if (is(0, "DESCRIBE") || is(0, "DESC")) && is_name {
        let mut names = names.into_iter().rev();
        let last = names.next();
        return Ok(last.map_or_else(query, |name| Statement::Describe(names.next(), name)));
    }
    Ok(query())
}

fn name(token: &TokenWithSpan) -> Option<String> {
    match &token.token {
        Token::Word(word) => Some(fold(&word.to_ident(token.span))),
        _ => None,
    }
}

/// What follows the first words of a statement.
struct Rest<'a> {
    text: &'a SqlText,
    tokens: &'a [TokenWithSpan],
    at: usize,
}

impl Rest<'_> {
    fn accept(&mut self, word: &str) -> bool {
        let found = self.tokens.get(self.at).is_some_and(|t| is_word(&t.token, word));
        self.at += usize::from(found);
        found
    }

    fn accept_token(&mut self, token: &Token) -> bool {
        let found = self.tokens.get(self.at).is_some_and(|t| t.token == *token);
        self.at += usize::from(found);
        found
    }

    /// A text in quotes.
    fn text(&mut self) -> Option<String> {
        match &self.tokens.get(self.at)?.token {
            Token::SingleQuotedString(text) => {
                self.at += 1;
                Some(text.clone())
            }
            _ => None,
        }
    }

    /// One part of a name.
    fn word(&mut self) -> Option<String> {
        let word = self.tokens.get(self.at).and_then(name)?;
        self.at += 1;
        Some(word)
    }

    /// The last part of a name.
    fn name(&mut self) -> Option<String> {
        loop {
            let last = self.word()?;
            if !self.accept_token(&Token::Period) {
                return Some(last);
            }
        }
    }

    /// An error unless the statement ends here.
    fn end(&self, form: &str) -> Result<()> {
        if self.at < self.tokens.len() { Err(self.expected("the end of the statement", form)) } else { Ok(()) }
    }

    fn expected(&self, what: &str, form: &str) -> Error {
        let words = Words::of(self.text, self.tokens);
        let place = self.tokens.get(self.at).and_then(|token| words.at(token.span)).unwrap_or_else(|| words.end());
        Error::user(format!("expected {what}")).with_hint(format!("Write {form}.")).at(place)
    }
}

fn acknowledge(mut rest: Rest) -> Result<Acknowledge> {
    const FORM: &str = "ACKNOWLEDGE INCIDENT 'id' [BY 'author'] [COMMENT 'text']";
    if !rest.accept("INCIDENT") {
        return Err(rest.expected("INCIDENT", FORM));
    }
    let incident = rest.text().ok_or_else(|| rest.expected("the incident_id in quotes", FORM))?;
    let mut said = |word: &str| -> Result<String> {
        if !rest.accept(word) {
            return Ok(String::new());
        }
        rest.text().ok_or_else(|| rest.expected("a text in quotes", FORM))
    };
    let (author, comment) = (said("BY")?, said("COMMENT")?);
    rest.end(FORM)?;
    Ok(Acknowledge { incident, author, comment })
}
