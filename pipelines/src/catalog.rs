//! Statements that come and go while a pipeline runs: what a text declares, what is left without some of it, who reads it.

use crate::bind::order::references;
use crate::parse::syntax::declared_name;
use crate::parse::{Words, byte_of, parse_all, split};
use crate::program::{Environment, SqlText};
use std::collections::{BTreeMap, BTreeSet};

/// The names that `text` declares, each with its statement.
pub fn declared(text: &SqlText) -> BTreeMap<String, String> {
    let pieces = split(text, &mut Vec::new());
    let statement = |tokens: &Vec<_>| Some((declared_name(tokens)?, Words::of(text, tokens).text_in(&text.text)));
    pieces.iter().filter_map(statement).collect()
}

/// `text` without the statements that `gone` names; everything else stays at its place. A statement that says something
/// else than `gone` knows is another one, and stays.
pub fn without(text: &SqlText, gone: &BTreeMap<String, String>) -> SqlText {
    let mut left = text.text.to_string();
    for tokens in split(text, &mut Vec::new()) {
        let statement = Words::of(text, &tokens).text_in(&text.text);
        let is_gone = declared_name(&tokens).is_some_and(|name| gone.get(&name) == Some(&statement));
        if let (true, Some(first), Some(last)) = (is_gone, tokens.first(), tokens.last()) {
            let range = byte_of(&text.text, first.span.start)..byte_of(&text.text, last.span.end);
            let blank: String =
                statement.chars().map(|c| if c == '\n' { "\n".into() } else { " ".repeat(c.len_utf8()) }).collect();
            left.replace_range(range, &blank);
        }
    }
    SqlText { file: text.file.clone(), text: left.into() }
}

/// Everything in `texts` that reads `name`, directly or through others, in the order of the texts.
pub fn readers(texts: &[SqlText], environment: &Environment, name: &str) -> Vec<String> {
    let statements = parse_all(texts, environment).statements;
    let mut read = BTreeSet::from([name.to_string()]);
    loop {
        let before = read.len();
        for statement in &statements {
            if references(&statement.ddl).iter().any(|name| read.contains(name)) {
                read.insert(statement.ddl.name().value.clone());
            }
        }
        if read.len() == before {
            break;
        }
    }
    let names = statements.iter().map(|statement| statement.ddl.name().value.clone());
    names.filter(|reader| reader != name && read.contains(reader)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> SqlText {
        SqlText { file: "p.sql".into(), text: text.into() }
    }

    #[test]
    fn what_is_left_out_leaves_its_place() {
        let whole = text("CREATE VIEW a AS SELECT 'é;',\n 1 FROM t;\nCREATE VIEW b AS SELECT 2 FROM t;");
        let gone = declared(&whole).into_iter().filter(|(name, _)| name == "a").collect();
        let left = without(&whole, &gone);
        assert_eq!(left.text.len(), whole.text.len());
        assert_eq!(left.text.trim_start(), ";\nCREATE VIEW b AS SELECT 2 FROM t;");
        assert_eq!(declared(&left).keys().collect::<Vec<_>>(), ["b"]);
        let other = BTreeMap::from([("b".to_string(), "CREATE VIEW b AS SELECT 3 FROM t".to_string())]);
        assert_eq!(without(&whole, &other).text, whole.text);
    }
}
