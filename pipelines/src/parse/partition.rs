//! `PARTITION BY k`, `START WHEN condition` and `END WHEN condition` inside `SESSION(..)`, which no grammar of functions has:
//! made into arguments before parsing.
//!
//! Both spellings are taken: `SESSION(t, ts, gap, PARTITION BY a, b)`, where the columns go on to the end, and Flink's
//! `SESSION(TABLE t PARTITION BY a, DESCRIPTOR(ts), gap)`, where they end before the next argument (several stand in
//! parentheses).

use super::syntax::is_word;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Word};

/// The name of the function that stands for the clause; nobody else can write it.
pub(crate) const PARTITION_BY: &str = "PARTITION BY";
/// The same for what a row that begins a session is like.
pub(crate) const START_WHEN: &str = "START WHEN";
/// And for the last row of a session.
pub(crate) const END_WHEN: &str = "END WHEN";

/// The tokens with each such clause in the form of an argument; `tokens` may have blanks among them.
pub(crate) fn as_arguments(mut tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    marks_as_arguments(&mut tokens);
    let mut from = 0;
    while let Some(clause) = Clause::find(&tokens, from) {
        from = clause.partition + 1;
        clause.rewrite(&mut tokens);
    }
    tokens
}

/// `text` with each such clause in the form of an argument; as it is where it has none or cannot be tokenized.
pub(crate) fn rewritten(text: &str) -> String {
    let tokens = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location().unwrap_or_default();
    if !tokens.iter().any(|token| is_word(&token.token, "SESSION")) {
        return text.to_string();
    }
    as_arguments(tokens).iter().map(|token| token.token.to_string()).collect()
}

/// Where a clause stands, by positions of tokens.
struct Clause {
    partition: usize,
    by: usize,
    /// Whether a comma stands before it.
    separate: bool,
    /// Whether its columns are in parentheses.
    enclosed: bool,
    /// The token behind its last column.
    end: usize,
}

/// Makes arguments of what rows begin and end sessions.
fn marks_as_arguments(tokens: &mut Vec<TokenWithSpan>) {
    let mut from = 0;
    while let Some((at, when, name)) = (from..tokens.len()).find_map(|at| mark_at(tokens, at)) {
        from = at + 1;
        let span = tokens[at].span;
        let token = |token| TokenWithSpan { token, span };
        let end = end_of_condition(tokens, when + 1);
        tokens.insert(end, token(Token::RParen));
        let word = Word { value: name.into(), quote_style: Some('"'), keyword: Keyword::NoKeyword };
        let mut clause = vec![token(Token::Word(word)), token(Token::LParen)];
        let before = (0..at).rev().find(|before| !is_blank(&tokens[*before]));
        if before.is_some_and(|before| tokens[before].token != Token::Comma) {
            clause.insert(0, token(Token::Comma));
        }
        tokens.splice(at..=when, clause);
    }
}

/// Whether such a clause begins at `at`: where its WHEN stands, and what it is called.
fn mark_at(tokens: &[TokenWithSpan], at: usize) -> Option<(usize, usize, &'static str)> {
    let name = match &tokens[at].token {
        token if is_word(token, "START") => START_WHEN,
        token if is_word(token, "END") => END_WHEN,
        _ => return None,
    };
    let when = (at + 1..tokens.len()).find(|next| !is_blank(&tokens[*next]))?;
    let (open, _) = call_around(tokens, at).filter(|_| is_word(&tokens[when].token, "WHEN"))?;
    let function = (0..open).rev().find(|before| !is_blank(&tokens[*before]))?;
    let of_session = is_word(&tokens[function].token, "SESSION") && cases_open(&tokens[open..at]) == 0;
    of_session.then_some((at, when, name))
}

/// How many CASE have no END yet.
fn cases_open(tokens: &[TokenWithSpan]) -> usize {
    tokens.iter().fold(0, |open, token| match &token.token {
        word if is_word(word, "CASE") => open + 1,
        word if is_word(word, "END") => open.max(1) - 1,
        _ => open,
    })
}

/// Where the condition that begins at `first` ends: at a comma, at the next clause, or at the end of the call.
fn end_of_condition(tokens: &[TokenWithSpan], first: usize) -> usize {
    let mut depth = 0;
    for at in first..tokens.len() {
        match tokens[at].token {
            Token::LParen => depth += 1,
            Token::RParen | Token::Comma if depth == 0 => return at,
            Token::RParen => depth -= 1,
            _ if depth == 0 && mark_at(tokens, at).is_some() => return at,
            _ if depth == 0 && is_word(&tokens[at].token, "PARTITION") => return at,
            _ => {}
        }
    }
    tokens.len()
}

fn is_mark(token: &Token) -> bool {
    matches!(token, Token::Word(word) if word.quote_style.is_some() && [START_WHEN, END_WHEN].contains(&word.value.as_str()))
}

fn is_blank(token: &TokenWithSpan) -> bool {
    matches!(token.token, Token::Whitespace(_))
}

impl Clause {
    /// The first clause at or behind `from`.
    fn find(tokens: &[TokenWithSpan], from: usize) -> Option<Clause> {
        (from..tokens.len()).find_map(|at| Clause::at(tokens, at))
    }

    fn at(tokens: &[TokenWithSpan], partition: usize) -> Option<Clause> {
        let solid = |mut range: std::ops::Range<usize>| range.find(|at| !is_blank(&tokens[*at]));
        if !is_word(&tokens[partition].token, "PARTITION") {
            return None;
        }
        let by = solid(partition + 1..tokens.len()).filter(|by| is_word(&tokens[*by].token, "BY"))?;
        let (open, commas) = call_around(tokens, partition)?;
        let function = (0..open).rev().find(|at| !is_blank(&tokens[*at]))?;
        if !is_word(&tokens[function].token, "SESSION") {
            return None;
        }
        let before = (0..partition).rev().find(|at| !is_blank(&tokens[*at]))?;
        let separate = tokens[before].token == Token::Comma;
        let first = solid(by + 1..tokens.len())?;
        let enclosed = tokens[first].token == Token::LParen;
        Some(Clause { partition, by, separate, enclosed, end: end_of(tokens, first, separate || commas > 0)? })
    }

    fn rewrite(self, tokens: &mut Vec<TokenWithSpan>) {
        let span = tokens[self.partition].span;
        let token = |token| TokenWithSpan { token, span };
        if !self.enclosed {
            tokens.insert(self.end, token(Token::RParen));
        }
        let mut clause = Vec::new();
        if !self.separate {
            clause.push(token(Token::Comma));
        }
        let word = Word { value: PARTITION_BY.into(), quote_style: Some('"'), keyword: Keyword::NoKeyword };
        clause.push(token(Token::Word(word)));
        if !self.enclosed {
            clause.push(token(Token::LParen));
        }
        tokens.splice(self.partition..=self.by, clause);
    }
}

/// The parenthesis that opens the call around `at`, and the commas between its arguments up to there.
fn call_around(tokens: &[TokenWithSpan], at: usize) -> Option<(usize, usize)> {
    let (mut depth, mut commas) = (0, 0);
    for position in (0..at).rev() {
        match tokens[position].token {
            Token::RParen => depth += 1,
            Token::LParen if depth == 0 => return Some((position, commas)),
            Token::LParen => depth -= 1,
            Token::Comma if depth == 0 => commas += 1,
            _ => {}
        }
    }
    None
}

/// Where the columns that begin at `first` end: at the comma before `DESCRIPTOR` or another clause, or else, where the clause is the last
/// argument, at the end of the call; where it follows the first argument, at the next comma.
fn end_of(tokens: &[TokenWithSpan], first: usize, last_argument: bool) -> Option<usize> {
    let (mut depth, mut comma) = (0, None);
    for position in first..tokens.len() {
        match tokens[position].token {
            Token::LParen => depth += 1,
            Token::RParen if depth == 0 => {
                return Some(comma.filter(|_| !last_argument).unwrap_or(position));
            }
            Token::RParen => depth -= 1,
            Token::Comma if depth == 0 => {
                let next = (position + 1..tokens.len()).find(|at| !is_blank(&tokens[*at]))?;
                if is_word(&tokens[next].token, "DESCRIPTOR") || is_mark(&tokens[next].token) {
                    return Some(position);
                }
                comma = comma.or(Some(position));
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn both_spellings_become_an_argument() {
        for (text, expected) in [
            ("SESSION(t, ts, 5, PARTITION BY a)", "SESSION(t, ts, 5, \"PARTITION BY\"( a))"),
            ("SESSION(t, ts, 5, PARTITION BY a, b)", "SESSION(t, ts, 5, \"PARTITION BY\"( a, b))"),
            ("SESSION(t, ts, 5 PARTITION BY a, b)", "SESSION(t, ts, 5 ,\"PARTITION BY\"( a, b))"),
            ("SESSION(t, ts, f(1, 2), PARTITION BY (a, b))", "SESSION(t, ts, f(1, 2), \"PARTITION BY\" (a, b))"),
            ("SESSION(t PARTITION BY a, DESCRIPTOR(ts), 5)", "SESSION(t ,\"PARTITION BY\"( a), DESCRIPTOR(ts), 5)"),
            (
                "SESSION(t PARTITION BY a, b, DESCRIPTOR(ts), 5)",
                "SESSION(t ,\"PARTITION BY\"( a, b), DESCRIPTOR(ts), 5)",
            ),
            ("SESSION(t PARTITION BY (a, b), ts, 5)", "SESSION(t ,\"PARTITION BY\" (a, b), ts, 5)"),
            ("SESSION(t PARTITION BY a, ts, 5)", "SESSION(t ,\"PARTITION BY\"( a), ts, 5)"),
            ("SESSION((SELECT f(1)), ts, 5, PARTITION BY a)", "SESSION((SELECT f(1)), ts, 5, \"PARTITION BY\"( a))"),
        ] {
            assert_eq!(rewritten(text), expected);
        }
    }

    #[test]
    fn conditions_of_rows_become_arguments() {
        for (text, expected) in [
            (
                "SESSION(t, ts, 5, PARTITION BY a, b START WHEN e = 'in' END WHEN e IN ('out', 'off'))",
                "SESSION(t, ts, 5, \"PARTITION BY\"( a, b ),\"START WHEN\"( e = 'in' ),\"END WHEN\"( e IN ('out', 'off')))",
            ),
            ("SESSION(t, ts, 5 START WHEN a)", "SESSION(t, ts, 5 ,\"START WHEN\"( a))"),
            (
                "session(t, ts, 5, end when CASE WHEN a THEN b END, PARTITION BY k)",
                "session(t, ts, 5, \"END WHEN\"( CASE WHEN a THEN b END), \"PARTITION BY\"( k))",
            ),
            (
                "SESSION(TABLE t PARTITION BY a START WHEN f(a, b), DESCRIPTOR(ts), 5)",
                "SESSION(TABLE t ,\"PARTITION BY\"( a ),\"START WHEN\"( f(a, b)), DESCRIPTOR(ts), 5)",
            ),
        ] {
            assert_eq!(rewritten(text), expected);
        }
        for text in ["SESSION(CASE WHEN a THEN b END WHEN", "f(START WHEN a)", "SESSION(t START"] {
            assert_eq!(rewritten(text), text);
        }
    }

    #[test]
    fn the_clause_of_a_window_function_stays_what_it_is() {
        for text in ["row_number() OVER (PARTITION BY a ORDER BY b)", "SESSION(t, ts", "PARTITION BY"] {
            assert_eq!(rewritten(text), text);
        }
    }
}
