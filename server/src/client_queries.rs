//! What psql and SQLAlchemy ask the catalogs in words that DataFusion does not plan, said in others.
//!
//! All of it is about things that do not exist here: defaults, identity columns, indexes, memberships, storage options.

/// Pieces that begin so, up to the parenthesis that closes them, and what stands for them.
const PIECES: &[(&str, &str)] = &[
    ("(SELECT json_build_object(", "NULL"),
    // Whether a type is a row's own and not that of a relation: of those there are none.
    ("(SELECT c.relkind = 'c' FROM pg_catalog.pg_class c", "false"),
    ("pg_catalog.array_to_string(n.nspacl,", "NULL"),
    ("(SELECT pg_catalog.pg_get_expr(pg_catalog.pg_attrdef", "NULL"),
    ("(SELECT pg_catalog.pg_type.typcollation", "NULL"),
    ("(SELECT pg_catalog.pg_collation.collname", "NULL"),
    ("unnest(pg_catalog.pg_index.indkey)", "CAST(NULL AS SMALLINT)"),
    ("unnest(pg_catalog.pg_index.indclass)", "CAST(NULL AS BIGINT)"),
    ("unnest(pg_catalog.pg_constraint.conkey)", "CAST(NULL AS SMALLINT)"),
    ("generate_subscripts(pg_catalog.pg_index.indkey", "CAST(NULL AS INTEGER)"),
    ("generate_subscripts(pg_catalog.pg_constraint.conkey", "CAST(NULL AS INTEGER)"),
];

/// Words, and what stands for them.
const WORDS: &[(&str, &str)] = &[
    (" ORDER BY attr.ord)", ")"),
    (" ORDER BY idx_attr.ord)", ")"),
    (" ORDER BY pg_catalog.pg_inherits.inhseqno)", ")"),
    ("pg_catalog.pg_class.reloptions", "NULL AS reloptions"),
    (
        "NOT LIKE $1::VARCHAR || '%' ESCAPE '/'",
        // DataFusion escapes with the backslash alone.
        "NOT LIKE replace($1::VARCHAR, '/', '\\') || '%'",
    ),
    (
        "pg_catalog.array_to_string(c.reloptions || array(select 'toast.' || x from pg_catalog.unnest(tc.reloptions) x), ', ')",
        "''",
    ),
];

/// `text` with what is known to be asked in vain said in other words.
pub fn rewrite(text: &str) -> String {
    let mut text = text.to_string();
    for (begin, instead) in PIECES {
        replace_pieces(&mut text, begin, instead);
    }
    WORDS.iter().fold(text, |text, (words, instead)| text.replace(words, instead))
}

/// `text` with every `ARRAY(SELECT ..)` empty: memberships, of which there are none.
pub fn without_arrays(text: &str) -> String {
    let mut text = text.to_string();
    for begin in ["ARRAY(SELECT", "array(select", "ARRAY(select", "array(SELECT"] {
        replace_pieces(&mut text, begin, "'{}'");
    }
    text
}

fn replace_pieces(text: &mut String, begin: &str, instead: &str) {
    let mut from = 0;
    while let Some(start) = text[from..].find(begin).map(|at| from + at) {
        let end = closing(text, start);
        text.replace_range(start..end, instead);
        from = start + instead.len();
    }
}

/// After the parenthesis that closes the first one from `start` on.
fn closing(text: &str, start: usize) -> usize {
    let mut depth = 0_usize;
    for (at, c) in text[start..].char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth <= 1 => return start + at + 1,
            ')' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_end_where_their_parentheses_do() {
        assert_eq!(
            rewrite("SELECT a, (SELECT json_build_object('x', f(1)) FROM t) AS b, generate_subscripts(c)"),
            "SELECT a, NULL AS b, generate_subscripts(c)"
        );
        assert_eq!(without_arrays("SELECT ARRAY(SELECT f(x) FROM t), 1"), "SELECT '{}', 1");
        assert_eq!(without_arrays("SELECT array(select"), "SELECT '{}'");
    }
}
