//! Texts to statements: split, variables put in, parsed; every statement remembers where each of its words stands.

mod alert;
pub(crate) mod asof;
pub(crate) mod ddl;
mod foreign;
mod function;
pub(crate) mod lookup;
pub(crate) mod partition;
pub(crate) mod slo;
mod source;
pub(crate) mod syntax;
mod table;
mod types;
mod variables;

use crate::program::{Environment, SqlText};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer};
use ddl::Ddl;
use std::sync::Arc;
use thalweg_schemas::error::{Error, Position};

/// A statement and the words it is made of.
#[derive(Clone, Debug)]
pub(crate) struct Parsed {
    pub ddl: Ddl,
    /// As it was written, without the semicolon.
    pub text: String,
    pub words: Words,
}

/// The tokens of one statement, to find the place of a name that an error speaks of.
#[derive(Clone, Debug)]
pub(crate) struct Words {
    file: Arc<str>,
    tokens: Arc<[TokenWithSpan]>,
}

/// What became of all texts.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub statements: Vec<Parsed>,
    pub errors: Vec<Error>,
    /// The names that statements declare which could not be parsed.
    pub unparsed: Vec<String>,
}

/// Parses all statements of all texts; those that cannot be parsed become errors, the others are still returned.
pub(crate) fn parse_all(texts: &[SqlText], environment: &Environment) -> Outcome {
    let mut outcome = Outcome::default();
    let mut objectives = Vec::new();
    for text in texts {
        for piece in split(text, &mut outcome.errors) {
            let (name, words) = (syntax::declared_name(&piece), Words::of(text, &piece));
            let tokens = syntax::without_or_replace(piece, &words).map_err(|error| vec![error]);
            let parsed = tokens.and_then(|tokens| match slo::is_slo(&tokens) {
                true => parse_slo(text, tokens, words, environment).map(|slo| objectives.push((slo, name.clone()))),
                false => parse_one(text, tokens, words, environment).map(|parsed| outcome.statements.push(parsed)),
            });
            outcome.note(parsed, name);
        }
    }
    // What an SLO stands for depends on the statement that it reads.
    for ((slo, words, text), name) in objectives {
        let expanded = slo.expand(&outcome.statements, &words, &text);
        let expanded = expanded.map(|mut statements| outcome.statements.append(&mut statements));
        outcome.note(expanded.map_err(|error| vec![error.at(words.start())]), name);
    }
    outcome
}

impl Outcome {
    fn note(&mut self, parsed: Result<(), Vec<Error>>, name: Option<String>) {
        if let Err(mut found) = parsed {
            self.errors.append(&mut found);
            self.unparsed.extend(name);
        }
    }
}

fn parse_slo(
    text: &SqlText,
    tokens: Vec<TokenWithSpan>,
    words: Words,
    environment: &Environment,
) -> Result<(slo::CreateSlo, Words, String), Vec<Error>> {
    let tokens = variables::substitute(tokens, &words, environment.variables)?;
    let slo = slo::parse(tokens, &words).map_err(|error| vec![error.at(words.start())])?;
    let text = words.text_in(&text.text);
    Ok((slo, words, text))
}

fn parse_one(
    text: &SqlText,
    tokens: Vec<TokenWithSpan>,
    words: Words,
    environment: &Environment,
) -> Result<Parsed, Vec<Error>> {
    let tokens = variables::substitute(tokens, &words, environment.variables)?;
    let tokens = lookup::as_asof(asof::with_match_condition(tokens), &words).map_err(|error| vec![error])?;
    let ddl = syntax::statement(tokens, &words).map_err(|error| vec![error.at(words.start())])?;
    Ok(Parsed { ddl, text: words.text_in(&text.text), words })
}

/// The statements of a text as tokens, white space and comments left out. A text whose end cannot be tokenized gives
/// an error and the statements before it.
pub(crate) fn split(text: &SqlText, errors: &mut Vec<Error>) -> Vec<Vec<TokenWithSpan>> {
    let mut tokens = Vec::new();
    let outcome = Tokenizer::new(&GenericDialect {}, &text.text).tokenize_with_location_into_buf(&mut tokens);
    let complete = outcome.is_ok();
    if let Err(error) = outcome {
        let at = position(&text.file, Span::new(error.location, error.location));
        errors.push(Error::user(lower_first(&error.message)).at(at));
    }
    let mut pieces = vec![Vec::new()];
    for token in tokens {
        match token.token {
            Token::SemiColon => pieces.push(Vec::new()),
            Token::Whitespace(_) | Token::EOF => {}
            _ => pieces.last_mut().into_iter().for_each(|piece| piece.push(token.clone())),
        }
    }
    if !complete {
        pieces.pop();
    }
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

impl Words {
    /// The words of a text that is one statement.
    pub(crate) fn of(text: &SqlText, tokens: &[TokenWithSpan]) -> Words {
        Words { file: text.file.clone(), tokens: tokens.to_vec().into() }
    }

    /// The words of a text that has been parsed already.
    pub(crate) fn of_text(text: &str) -> Words {
        let whole = SqlText { file: "".into(), text: text.into() };
        let tokens: Vec<_> = split(&whole, &mut Vec::new()).into_iter().flatten().collect();
        Words::of(&whole, &tokens)
    }

    /// What the statement as it was written declares: of an SLO one name, though it stands for several statements.
    pub(crate) fn declares(&self) -> Option<String> {
        syntax::declared_name(&self.tokens)
    }

    /// Where the statement starts.
    pub(crate) fn start(&self) -> Position {
        match self.tokens.first() {
            Some(token) => position(&self.file, token.span),
            None => Position { file: self.file.clone(), line: 1, column: 1, width: 1 },
        }
    }

    /// The place of `span`; `None` for the empty span.
    pub(crate) fn at(&self, span: Span) -> Option<Position> {
        (span.start.line > 0).then(|| position(&self.file, span))
    }

    /// The place of a location, with the width of the token that starts there.
    pub(crate) fn at_location(&self, line: u64, column: u64) -> Position {
        let start = Location { line, column };
        match self.tokens.iter().find(|t| t.span.start == start) {
            Some(token) => position(&self.file, token.span),
            None => position(&self.file, Span::new(start, start)),
        }
    }

    /// The place just behind the last word.
    pub(crate) fn end(&self) -> Position {
        match self.tokens.last() {
            Some(token) => position(&self.file, Span::new(token.span.end, token.span.end)),
            None => self.start(),
        }
    }

    /// The first place where the statement says `name`: the last part of a dotted name, quoted or not.
    pub(crate) fn find(&self, name: &str) -> Option<Position> {
        let says = Self::says(name);
        // The statement's own name comes third or so (CREATE VIEW name): a name is meant where it is used.
        let mut found = self.tokens.iter().filter(|t| says(t));
        let first = found.next()?;
        let used = found.next().filter(|_| self.tokens.iter().take(5).any(|t| t == first));
        Some(position(&self.file, used.unwrap_or(first).span))
    }

    /// The first place at or behind `from` where the statement says `name`.
    pub(crate) fn find_from(&self, name: &str, from: Option<&Position>) -> Option<Position> {
        let Some(from) = from else { return self.find(name) };
        let from = Location { line: from.line, column: from.column };
        let says = Self::says(name);
        let token = self.tokens.iter().find(|t| t.span.start >= from && says(t))?;
        Some(position(&self.file, token.span))
    }

    /// The first place where the statement says the text `text`.
    pub(crate) fn find_text(&self, text: &str) -> Option<Position> {
        let says = |token: &&TokenWithSpan| matches!(&token.token, Token::SingleQuotedString(said) if said == text);
        self.tokens.iter().find(says).map(|token| position(&self.file, token.span))
    }

    fn says(name: &str) -> impl Fn(&TokenWithSpan) -> bool + '_ {
        move |t: &TokenWithSpan| matches!(&t.token, Token::Word(w) if w.value == name || w.quote_style.is_none() && w.value.eq_ignore_ascii_case(name))
    }

    pub(crate) fn text_in(&self, text: &str) -> String {
        let (Some(first), Some(last)) = (self.tokens.first(), self.tokens.last()) else { return String::new() };
        let (start, end) = (byte_of(text, first.span.start), byte_of(text, last.span.end));
        text.get(start..end).unwrap_or_default().to_string()
    }
}

/// A message as we begin them: in lower case, unless it begins with a keyword.
pub(crate) fn lower_first(message: &str) -> String {
    let mut characters = message.chars();
    match (characters.next(), message.chars().nth(1)) {
        (Some(_), Some(second)) if second.is_uppercase() => message.to_string(),
        (Some(first), _) => first.to_lowercase().chain(characters).collect(),
        (None, _) => String::new(),
    }
}

fn position(file: &Arc<str>, span: Span) -> Position {
    let width = if span.start.line == span.end.line { span.end.column.saturating_sub(span.start.column) } else { 1 };
    Position { file: file.clone(), line: span.start.line.max(1), column: span.start.column.max(1), width: width.max(1) }
}

pub(crate) fn byte_of(text: &str, location: Location) -> usize {
    let line_index = usize::try_from(location.line.saturating_sub(1)).unwrap_or(usize::MAX);
    let start: usize = text.split_inclusive('\n').take(line_index).map(str::len).sum();
    let column = usize::try_from(location.column.saturating_sub(1)).unwrap_or(usize::MAX);
    let line = text.get(start..).unwrap_or_default();
    start + line.char_indices().nth(column).map_or(line.len(), |(at, _)| at)
}
