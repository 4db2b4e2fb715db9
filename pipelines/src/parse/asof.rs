//! `ASOF JOIN t ON ..`, as most systems and this one write it, in the form that the parser knows: with a MATCH_CONDITION.
//!
//! Which join is meant travels in that condition as a function that no query can name, [`INNER`] or [`LEFT`], around what
//! was compared in it.

use super::syntax::is_word;
use datafusion::sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan, Word};

/// Rows without a match are left out.
pub(crate) const INNER: &str = "\u{0}asof";
/// Rows without a match are given with NULLs.
pub(crate) const LEFT: &str = "\u{0}left asof";

/// All ASOF JOINs of a statement with the condition that the parser wants.
pub(super) fn with_match_condition(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut rest = tokens.into_iter().peekable();
    while let Some(token) = rest.next() {
        let says = |next: Option<&TokenWithSpan>, word: &str| next.is_some_and(|t| is_word(&t.token, word));
        let begins = ["JOIN", "LEFT", "INNER"].iter().any(|word| says(rest.peek(), word));
        if !is_word(&token.token, "ASOF") || !begins {
            out.push(token);
            continue;
        }
        // LEFT [OUTER] before ASOF or behind it.
        let outer_before = says(out.last(), "OUTER");
        let before = if outer_before { out.len().checked_sub(2).and_then(|at| out.get(at)) } else { out.last() };
        let mut left = says(before, "LEFT");
        if left {
            out.truncate(out.len() - 1 - usize::from(outer_before));
        } else if says(out.last(), "INNER") {
            out.pop();
        }
        out.push(token);
        while let Some(word) = rest.next_if(|t| ["LEFT", "OUTER", "INNER"].iter().any(|word| is_word(&t.token, word))) {
            left |= is_word(&word.token, "LEFT");
        }
        condition(if left { LEFT } else { INNER }, &mut rest, &mut out);
    }
    out
}

/// Copies the joined table, and puts the condition behind it or into the one that is there.
fn condition(name: &str, rest: &mut impl Iterator<Item = TokenWithSpan>, out: &mut Vec<TokenWithSpan>) {
    let mut depth = 0;
    while let Some(token) = rest.next() {
        depth += i32::from(token.token == Token::LParen) - i32::from(token.token == Token::RParen);
        let (span, at_top) = (token.span, depth == 0);
        if at_top && (is_word(&token.token, "ON") || is_word(&token.token, "USING")) {
            out.extend([word("MATCH_CONDITION", None, span), bare(Token::LParen, span)]);
            out.extend([word(name, Some('"'), span), bare(Token::LParen, span)]);
            out.extend([word("TRUE", None, span), bare(Token::RParen, span), bare(Token::RParen, span), token]);
            return;
        }
        let written = is_word(&token.token, "MATCH_CONDITION");
        out.push(token);
        if at_top && written {
            // The parenthesis of the condition becomes that of the function: (a) is (name(a)).
            out.extend([bare(Token::LParen, span), word(name, Some('"'), span)]);
            let mut depth = 0;
            for token in rest.by_ref() {
                depth += i32::from(token.token == Token::LParen) - i32::from(token.token == Token::RParen);
                let (closes, span) = (depth == 0, token.span);
                out.push(token);
                if closes {
                    out.push(bare(Token::RParen, span));
                    return;
                }
            }
        }
    }
}

pub(super) fn bare(token: Token, span: Span) -> TokenWithSpan {
    TokenWithSpan { token, span }
}

pub(super) fn word(value: &str, quote_style: Option<char>, span: Span) -> TokenWithSpan {
    let token = match quote_style {
        Some(_) => Token::Word(Word {
            value: value.to_string(),
            quote_style,
            keyword: datafusion::sql::sqlparser::keywords::Keyword::NoKeyword,
        }),
        None => Token::make_keyword(value),
    };
    TokenWithSpan { token, span }
}
