//! `SUBSCRIBE TO view ..` and `REPLAY DEAD LETTERS FROM source ..`: a name, and a condition that stays text.

use crate::parse::Words;
use crate::parse::syntax::{fold, is_word, syntax_error};
use crate::program::SqlText;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use thalweg_schemas::error::{Error, Result};

/// `SUBSCRIBE TO view [WHERE ..] [AS OF epoch] [WITH (snapshot = true, progress = true)]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    /// The view's name.
    pub view: String,
    /// The text of the condition over the view's columns.
    pub filter: Option<String>,
    /// The epoch after which changes are wanted.
    pub as_of: Option<u64>,
    /// Whether the rows as they are (or were, `as_of`) come first.
    pub snapshot: bool,
    /// Whether each epoch that is complete is told, with or without changes.
    pub progress: bool,
}

/// `REPLAY DEAD LETTERS FROM source | notifier [WHERE ..]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// The name of the source, or of the notifier.
    pub source: String,
    /// The text of the condition over the columns of `thalweg.dead_letters`, or of `thalweg.deliveries`.
    pub filter: Option<String>,
}

fn accept(parser: &mut Parser, word: &str) -> bool {
    let found = is_word(&parser.peek_token().token, word);
    if found {
        parser.next_token();
    }
    found
}

/// Something else than `what` comes next in a statement that has this form.
fn not_found(parser: &Parser, words: &Words, what: &str, form: &str) -> Error {
    let at = words.at(parser.peek_token().span).unwrap_or_else(|| words.end());
    Error::user(format!("expected {what}")).with_hint(format!("Write {form}.")).at(at)
}

pub(super) fn replay(text: &SqlText, tokens: Vec<TokenWithSpan>) -> Result<Replay> {
    let words = Words::of(text, &tokens);
    let dialect = GenericDialect {};
    let mut parser = Parser::new(&dialect).with_tokens_with_locations(tokens);
    let form =
        "REPLAY DEAD LETTERS FROM source | notifier [WHERE condition over thalweg.dead_letters | thalweg.deliveries]";
    let expected = |parser: &Parser, what: &str| not_found(parser, &words, what, form);
    for word in ["REPLAY", "DEAD", "LETTERS", "FROM"] {
        if !accept(&mut parser, word) {
            return Err(expected(&parser, word));
        }
    }
    let object = parser.parse_object_name(false).map_err(|e| syntax_error(&e, &words))?;
    let Some(source) = object.0.last().and_then(|part| part.as_ident()).map(fold) else {
        return Err(expected(&parser, "the name of a source or a notifier"));
    };
    let mut filter = None;
    if accept(&mut parser, "WHERE") {
        filter = Some(parser.parse_expr().map_err(|e| syntax_error(&e, &words))?.to_string());
    }
    if parser.peek_token().token != Token::EOF {
        return Err(expected(&parser, if filter.is_some() { "the end of the statement" } else { "WHERE" }));
    }
    Ok(Replay { source, filter })
}

pub(super) fn subscribe(text: &SqlText, tokens: Vec<TokenWithSpan>) -> Result<Subscribe> {
    let words = Words::of(text, &tokens);
    let dialect = GenericDialect {};
    let mut parser = Parser::new(&dialect).with_tokens_with_locations(tokens);
    let form = "SUBSCRIBE TO view [WHERE ..] [AS OF epoch] [WITH (snapshot = true, progress = true)]";
    let expected = |parser: &Parser, what: &str| not_found(parser, &words, what, form);
    parser.next_token();
    if !accept(&mut parser, "TO") {
        return Err(expected(&parser, "TO"));
    }
    let object = parser.parse_object_name(false).map_err(|e| syntax_error(&e, &words))?;
    let Some(view) = object.0.last().and_then(|part| part.as_ident()).map(fold) else {
        return Err(expected(&parser, "the name of a view"));
    };
    let mut out = Subscribe { view, filter: None, as_of: None, snapshot: false, progress: false };
    if accept(&mut parser, "WHERE") {
        out.filter = Some(parser.parse_expr().map_err(|e| syntax_error(&e, &words))?.to_string());
    }
    if accept(&mut parser, "AS") {
        let epoch = accept(&mut parser, "OF").then(|| parser.next_token().token);
        let Some(Token::Number(epoch, _)) = epoch else { return Err(expected(&parser, "OF and an epoch")) };
        out.as_of = Some(epoch.parse().map_err(|_| expected(&parser, "an epoch, a whole number"))?);
    }
    if accept(&mut parser, "WITH") {
        let mut separator = parser.next_token().token == Token::LParen;
        while separator {
            let (option, equals, value) =
                (parser.next_token().token, parser.next_token().token, parser.next_token().token);
            let value = match value.to_string().trim_matches('\'').to_lowercase().as_str() {
                "true" if equals == Token::Eq => true,
                "false" if equals == Token::Eq => false,
                _ => return Err(expected(&parser, "an option = true or false")),
            };
            match &option {
                option if is_word(option, "SNAPSHOT") => out.snapshot = value,
                option if is_word(option, "PROGRESS") => out.progress = value,
                _ => return Err(expected(&parser, "snapshot or progress")),
            }
            separator = parser.peek_token().token == Token::Comma;
            if separator {
                parser.next_token();
            }
        }
        if parser.next_token().token != Token::RParen {
            return Err(expected(&parser, "(snapshot = true)"));
        }
    }
    if parser.peek_token().token != Token::EOF {
        return Err(expected(&parser, "the end of the statement"));
    }
    Ok(out)
}
