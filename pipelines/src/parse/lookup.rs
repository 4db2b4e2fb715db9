//! `JOIN t FOR SYSTEM_TIME AS OF time AS s ON ..`, as Flink and RisingWave write lookup joins, in a form that the parser
//! knows: an ASOF JOIN whose MATCH_CONDITION is a function that no query can name, [`INNER`] or [`LEFT`], of the time.

use super::Words;
use super::asof::{bare, word};
use super::syntax::is_word;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use thalweg_schemas::error::{Error, Result};

/// Rows that nothing is found for are left out.
pub(crate) const INNER: &str = "\u{0}lookup";
/// Rows that nothing is found for are given with NULLs.
pub(crate) const LEFT: &str = "\u{0}left lookup";

/// How a lookup join is written.
pub(crate) const EXAMPLE: &str =
    "Write FROM stream AS t LEFT JOIN table FOR SYSTEM_TIME AS OF t.ts AS s ON s.key = t.key.";

/// All lookup joins of a statement as ASOF JOINs.
pub(super) fn as_asof(tokens: Vec<TokenWithSpan>, words: &Words) -> Result<Vec<TokenWithSpan>> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut rest = tokens.as_slice();
    while let Some((token, behind)) = rest.split_first() {
        let begins = |rest: &[TokenWithSpan]| {
            let clause = ["FOR", "SYSTEM_TIME", "AS", "OF"];
            rest.len() > clause.len() && clause.iter().zip(rest).all(|(word, token)| is_word(&token.token, word))
        };
        if !begins(rest) {
            out.push(token.clone());
            rest = behind;
            continue;
        }
        rest = lookup(&mut out, rest)
            .map_err(|error| words.find("SYSTEM_TIME").into_iter().fold(error.with_hint(EXAMPLE), Error::at))?;
    }
    Ok(out)
}

/// Puts the join whose table is the end of `out` and whose clause `rest` begins with into its new form; gives what follows.
fn lookup<'a>(out: &mut Vec<TokenWithSpan>, rest: &'a [TokenWithSpan]) -> Result<&'a [TokenWithSpan]> {
    let span = rest[0].span;
    let (time, rest) = time(&rest[4..]).ok_or_else(|| {
        Error::user("FOR SYSTEM_TIME AS OF takes a column of the left side that is its time, or PROCTIME()")
    })?;
    let name =
        out.iter().rev().take_while(|t| matches!(&t.token, Token::Word(_) | Token::Period) && !is_join(t)).count();
    let table = out.split_off(out.len() - name);
    if table.is_empty() || out.pop().is_none_or(|token| !is_join(&token)) {
        return Err(Error::user("FOR SYSTEM_TIME AS OF stands behind the table that a JOIN looks up"));
    }
    let mut left = false;
    while let Some(kind) = out.pop_if(|t| KINDS.iter().any(|kind| is_word(&t.token, kind))) {
        left |= is_word(&kind.token, "LEFT");
        if !["LEFT", "OUTER", "INNER"].iter().any(|kind_| is_word(&kind.token, kind_)) {
            return Err(Error::user(
                "a lookup join is a JOIN or a LEFT JOIN: rows of the table alone come from no stream",
            ));
        }
    }
    let alias = rest.iter().position(|token| is_word(&token.token, "ON")).filter(|length| *length <= 2);
    let alias = alias.ok_or_else(|| Error::user("a lookup join says by ON which rows of the table it finds"))?;
    out.extend([word("ASOF", None, span), word("JOIN", None, span)]);
    out.extend(table);
    out.extend_from_slice(&rest[..alias]);
    out.extend([word("MATCH_CONDITION", None, span), bare(Token::LParen, span)]);
    out.extend([word(if left { LEFT } else { INNER }, Some('"'), span), bare(Token::LParen, span)]);
    out.extend(time.unwrap_or_else(|| vec![word("TRUE", None, span)]));
    out.extend([bare(Token::RParen, span), bare(Token::RParen, span)]);
    Ok(&rest[alias..])
}

const KINDS: [&str; 9] = ["LEFT", "OUTER", "INNER", "RIGHT", "FULL", "CROSS", "NATURAL", "SEMI", "ANTI"];

fn is_join(token: &TokenWithSpan) -> bool {
    is_word(&token.token, "JOIN")
}

/// The column that `rest` begins with, `None` for the time of processing; and what follows.
fn time(rest: &[TokenWithSpan]) -> Option<(Option<Vec<TokenWithSpan>>, &[TokenWithSpan])> {
    let first = rest.first()?;
    if is_word(&first.token, "CURRENT_TIMESTAMP") {
        return Some((None, &rest[1..]));
    }
    if ["PROCTIME", "NOW"].iter().any(|name| is_word(&first.token, name)) && rest.get(1)?.token == Token::LParen {
        return (rest.get(2)?.token == Token::RParen).then(|| (None, &rest[3..]));
    }
    let mut length = 0;
    while matches!(rest.get(length)?.token, Token::Word(_)) {
        length += 1;
        if rest.get(length)?.token != Token::Period {
            return Some((Some(rest[..length].to_vec()), &rest[length..]));
        }
        length += 1;
    }
    None
}
