//! `SELECT .. AS OF epoch`: a query over views as they were.

use crate::parse::split;
use crate::parse::syntax::is_word;
use crate::program::SqlText;
use datafusion::sql::sqlparser::tokenizer::Token;

/// How far from its end a text is looked at before it is taken apart: `AS OF`, twenty digits and a semicolon fit in.
const TAIL: usize = 64;

/// The query, and the epoch that is named at its end.
pub fn split_as_of(text: &str) -> (&str, Option<u64>) {
    let tail = text.len().saturating_sub(TAIL);
    if !text.as_bytes()[tail..].windows(2).any(|pair| pair.eq_ignore_ascii_case(b"of")) {
        return (text, None);
    }
    let whole = SqlText { file: "".into(), text: text.into() };
    let pieces = split(&whole, &mut Vec::new());
    let [tokens] = pieces.as_slice() else { return (text, None) };
    let [.., before, of, epoch] = tokens.as_slice() else { return (text, None) };
    match &epoch.token {
        Token::Number(epoch, false) if is_word(&before.token, "AS") && is_word(&of.token, "OF") => {
            let start = crate::parse::byte_of(text, before.span.start);
            epoch.parse().map_or((text, None), |epoch| (&text[..start], Some(epoch)))
        }
        _ => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_named_at_the_end_and_nowhere_else() {
        assert_eq!(split_as_of("SELECT 1 AS OF 42;"), ("SELECT 1 ", Some(42)));
        assert_eq!(split_as_of("select * from v\nas of 7 -- then"), ("select * from v\n", Some(7)));
        for other in [
            "SELECT 1",
            "SELECT x AS of FROM v",
            "SELECT 'as of 3'",
            "SELECT 1 AS OF x",
            "SELECT 1 AS OF 99999999999999999999999",
            "SELECT 1 AS OF 3; SELECT 2",
            "SELECT * FROM (SELECT 1 AS OF 3)",
        ] {
            assert_eq!(split_as_of(other), (other, None));
        }
    }
}
