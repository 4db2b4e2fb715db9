//! Splitting a text into its statements, so that each is read, answered and blamed for itself.

/// A statement and where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Its text, without the semicolon.
    pub text: &'a str,
    /// The byte of the whole text where it begins.
    pub start: usize,
}

/// The statements of `text`; what is only white space and comments is none.
pub fn split(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut start = 0;
    let mut at = 0;
    let mut blank = true;
    let bytes = text.as_bytes();
    while at < bytes.len() {
        let (next, is_content) = match bytes[at] {
            b'\'' => (after_quoted(bytes, at, b'\''), true),
            b'"' => (after_quoted(bytes, at, b'"'), true),
            b'-' if bytes[at..].starts_with(b"--") => (after(text, at, "\n"), false),
            b'/' if bytes[at..].starts_with(b"/*") => (after(text, at + 2, "*/"), false),
            b'$' => (after_dollar_quoted(text, at), true),
            b';' => {
                push(&mut pieces, text, start, at, blank);
                start = at + 1;
                at += 1;
                blank = true;
                continue;
            }
            byte => (at + 1, !byte.is_ascii_whitespace()),
        };
        blank &= !is_content;
        at = next;
    }
    push(&mut pieces, text, start, text.len(), blank);
    pieces
}

fn push<'a>(pieces: &mut Vec<Piece<'a>>, text: &'a str, start: usize, end: usize, blank: bool) {
    if !blank {
        let piece = &text[start..end];
        let leading = piece.len() - piece.trim_start().len();
        pieces.push(Piece { text: piece.trim(), start: start + leading });
    }
}

/// After the closing quote; a doubled one is part of the text.
fn after_quoted(bytes: &[u8], open: usize, quote: u8) -> usize {
    let mut at = open + 1;
    while at < bytes.len() {
        if bytes[at] == quote {
            if bytes.get(at + 1) != Some(&quote) {
                return at + 1;
            }
            at += 1;
        }
        at += 1;
    }
    bytes.len()
}

fn after(text: &str, from: usize, end: &str) -> usize {
    text.get(from..).and_then(|rest| rest.find(end)).map_or(text.len(), |found| from + found + end.len())
}

/// After `$tag$ .. $tag$`; a `$1` is a parameter and no quote.
fn after_dollar_quoted(text: &str, open: usize) -> usize {
    let rest = &text[open + 1..];
    let Some(end) = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')) else { return text.len() };
    if !rest[end..].starts_with('$') || rest.starts_with(|c: char| c.is_ascii_digit()) {
        return open + 1;
    }
    let tag = &text[open..open + end + 2];
    after(text, open + tag.len(), tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<&str> {
        split(text).into_iter().map(|piece| piece.text).collect()
    }

    #[test]
    fn semicolons_in_quotes_and_comments_do_not_end_a_statement() {
        assert_eq!(texts("select 1; select 2"), ["select 1", "select 2"]);
        assert_eq!(texts("select ';', \"a;b\" -- no; end\n; x"), ["select ';', \"a;b\" -- no; end", "x"]);
        assert_eq!(texts("select 'it''s; one' /* ; */ + $1;"), ["select 'it''s; one' /* ; */ + $1"]);
        assert_eq!(texts("select $a$ ; $a$, $1; y"), ["select $a$ ; $a$, $1", "y"]);
        assert_eq!(texts(" ;; -- nothing\n /* nor here */ ; "), Vec::<&str>::new());
        assert_eq!(texts("select 'open; ended"), ["select 'open; ended"]);
    }

    #[test]
    fn each_knows_where_it_begins() {
        assert_eq!(split("a;\n  b").into_iter().map(|piece| piece.start).collect::<Vec<_>>(), [0, 5]);
    }
}
