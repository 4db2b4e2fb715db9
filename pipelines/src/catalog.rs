//! Statements that come and go while a pipeline runs: what a text declares, what is left without some of it, who reads it.

use crate::bind::order::{functions, reads};
use crate::fingerprint::is_secret;
use crate::parse::syntax::{declared_name, fold, is_word, without_or_replace};
use crate::parse::{Parsed, Words, byte_of, parse_all, slo, split};
use crate::program::{Environment, SqlText};
use datafusion::sql::sqlparser::ast::Ident;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use std::collections::{BTreeMap, BTreeSet};

/// The names that `text` declares, each with its statement.
pub fn declared(text: &SqlText) -> BTreeMap<String, String> {
    let pieces = split(text, &mut Vec::new());
    let statement = |tokens: &Vec<_>| Some((declared_name(tokens)?, Words::of(text, tokens).text_in(&text.text)));
    pieces.iter().filter_map(statement).collect()
}

/// A statement for everybody's eyes: secrets that it says, and does not take from the environment, are three stars.
pub fn without_secrets(statement: &str) -> String {
    let text = SqlText { file: "".into(), text: statement.into() };
    let tokens: Vec<TokenWithSpan> = split(&text, &mut Vec::new()).into_iter().flatten().collect();
    let mut shown = statement.to_string();
    for three in tokens.windows(3).rev() {
        let (Token::SingleQuotedString(value), Token::Eq) = (&three[2].token, &three[1].token) else { continue };
        let name = three[0].token.to_string();
        if let Some(value) = masked(name.trim_matches(['\'', '"']), value) {
            let range = byte_of(statement, three[2].span.start)..byte_of(statement, three[2].span.end);
            shown.replace_range(range, &format!("'{}'", value.replace('\'', "''")));
        }
    }
    shown
}

/// What is shown in place of the value of an option; `None` where it says no secret.
fn masked(name: &str, value: &str) -> Option<String> {
    const STARS: &str = "***";
    if is_secret(&name.to_lowercase()) {
        return (!value.contains("${")).then(|| STARS.to_string());
    }
    // The password in postgres://user:password@host
    let (scheme, rest) = value.split_once("://")?;
    let (account, host) = rest.split_once('@')?;
    let (user, password) = account.split_once(':')?;
    (!password.contains("${")).then(|| format!("{scheme}://{user}:{STARS}@{host}"))
}

/// Whether a statement is `CREATE SLO`, which stands for several relations.
pub fn is_slo(statement: &str) -> bool {
    let text = SqlText { file: "".into(), text: statement.into() };
    let tokens: Vec<TokenWithSpan> = split(&text, &mut Vec::new()).into_iter().flatten().collect();
    let words = Words::of(&text, &tokens);
    without_or_replace(tokens, &words).is_ok_and(|tokens| slo::is_slo(&tokens))
}

/// The query in the statement of a view: what stands behind its `AS`.
pub fn query_in(statement: &str) -> Option<String> {
    let text = SqlText { file: "".into(), text: statement.into() };
    let tokens: Vec<TokenWithSpan> = split(&text, &mut Vec::new()).into_iter().flatten().collect();
    let mut depth = 0;
    let at = tokens.iter().position(|token| {
        depth += i32::from(token.token == Token::LParen) - i32::from(token.token == Token::RParen);
        depth == 0 && is_word(&token.token, "AS")
    })?;
    let query = tokens.get(at + 1..).filter(|query| !query.is_empty())?;
    Some(Words::of(&text, query).text_in(statement))
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
    let functions = functions(&statements);
    let mut read = BTreeSet::from([name.to_string()]);
    loop {
        let before = read.len();
        for statement in &statements {
            if reads(&statement.ddl, &read, &functions) {
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

/// The statements in `texts` that declare or read `from`, by what they declare, with `to` in its place wherever it stands
/// for a relation.
pub fn renamed(texts: &[SqlText], environment: &Environment, from: &str, to: &str) -> Vec<(String, String)> {
    let statements = parse_all(texts, environment).statements;
    let (from_it, functions) = (BTreeSet::from([from.to_string()]), functions(&statements));
    let reading = |statement: &&Parsed| reads(&statement.ddl, &from_it, &functions);
    let mut touched: BTreeSet<String> =
        statements.iter().filter(reading).filter_map(|statement| statement.words.declares()).collect();
    touched.insert(from.to_string());
    let mut renamed = Vec::new();
    for text in texts {
        for tokens in split(text, &mut Vec::new()) {
            if let Some(name) = declared_name(&tokens).filter(|name| touched.contains(name)) {
                renamed.push((name, replaced(text, &tokens, from, to)));
            }
        }
    }
    renamed
}

/// A statement with another name in place of one.
fn replaced(text: &SqlText, tokens: &[TokenWithSpan], from: &str, to: &str) -> String {
    let quoted = Ident::with_quote('"', to).to_string();
    let (mut statement, mut at) = (String::new(), None);
    for (number, token) in tokens.iter().enumerate() {
        let (start, end) = (byte_of(&text.text, token.span.start), byte_of(&text.text, token.span.end));
        statement.push_str(&text.text[at.unwrap_or(start)..start]);
        match &token.token {
            Token::Word(word) if fold(&word.to_ident(token.span)) == from && is_relation(tokens, number) => {
                statement.push_str(&quoted);
            }
            _ => statement.push_str(&text.text[start..end]),
        }
        at = Some(end);
    }
    statement
}

/// Whether a word stands where only a relation can, or before the point of `relation.column`.
fn is_relation(tokens: &[TokenWithSpan], mut at: usize) -> bool {
    const BEFORE: [&str; 10] =
        ["SOURCE", "TABLE", "VIEW", "SINK", "ALERT", "EXISTS", "FROM", "JOIN", "INTO", "LATERAL"];
    if tokens.get(at + 1).is_some_and(|token| token.token == Token::Period) {
        return true;
    }
    // The schema before it.
    if at >= 2 && tokens[at - 1].token == Token::Period {
        at -= 2;
    }
    let Some(before) = at.checked_sub(1).map(|before| &tokens[before].token) else { return false };
    let follows = |token: &Token| BEFORE.iter().any(|word| is_word(token, word));
    // The first argument of a function in FROM: a window's, for one.
    let is_first = |open: usize| tokens[open].token == Token::LParen && open >= 2 && follows(&tokens[open - 2].token);
    let is_data = *before == Token::RArrow && at >= 3 && is_word(&tokens[at - 2].token, "DATA");
    follows(before) || is_first(at - 1) || is_data
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg_schemas::notification::NotificationSpec;

    fn text(text: &str) -> SqlText {
        SqlText { file: "p.sql".into(), text: text.into() }
    }

    fn environment() -> Environment<'static> {
        const NOTIFICATION: &NotificationSpec =
            &NotificationSpec { options: |_, _| Vec::new(), check: |_| Ok(()), names: |_| Vec::new() };
        Environment { connectors: &[], notification: NOTIFICATION, variables: &|_| None }
    }

    #[test]
    fn a_call_is_of_a_function_and_never_of_a_view_of_its_name() {
        let whole = text(
            "CREATE VIEW count AS SELECT count(*) AS n FROM t; CREATE VIEW b AS SELECT count(*) AS n FROM u;\
             CREATE VIEW c AS SELECT n FROM count; CREATE FUNCTION twice(x BIGINT) RETURNS BIGINT RETURN 2 * x;\
             CREATE VIEW d AS SELECT twice(x) AS x FROM t",
        );
        assert_eq!(readers(std::slice::from_ref(&whole), &environment(), "count"), ["c"]);
        assert_eq!(readers(std::slice::from_ref(&whole), &environment(), "twice"), ["d"]);
        let statements = parse_all(&[whole], &environment()).statements;
        let (order, cyclic, errors) = crate::bind::order::sort(&statements);
        assert!(cyclic.is_empty() && errors.is_empty(), "{errors:?}");
        let place = |name: &str| order.iter().position(|s| statements[*s].ddl.name().value == name).unwrap();
        assert!(place("count") < place("c") && place("twice") < place("d"));
    }

    #[test]
    fn secrets_are_not_shown_where_they_are_written() {
        let whole = "CREATE NOTIFIER n WITH (type = 'webhook', url = 'http://a:b@c/d', 'secret' = 'it''s', kafka.sasl.password = 'x', \
                     token = '${TOKEN}')";
        let shown = "CREATE NOTIFIER n WITH (type = 'webhook', url = 'http://a:***@c/d', 'secret' = '***', kafka.sasl.password = '***', \
                     token = '${TOKEN}')";
        assert_eq!(without_secrets(whole), shown);
    }

    #[test]
    fn the_query_of_a_view_stands_behind_its_as() {
        let query = "SELECT (x AS y) FROM t -- and so on\n WHERE x > 1";
        for head in ["CREATE VIEW a AS ", "create materialized view a (b) WITH (retain = '1 day') as\n"] {
            assert_eq!(query_in(&format!("{head}{query}")).as_deref(), Some(query));
        }
        assert_eq!(query_in("CREATE SOURCE s WITH (connector = 'host')"), None);
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

    #[test]
    fn a_name_is_replaced_where_it_is_declared_and_read() {
        let whole = text(
            "CREATE VIEW a AS SELECT x FROM t; -- a\nCREATE VIEW b AS\n SELECT A.x, 'a' AS a FROM public.a;\
             CREATE VIEW c AS SELECT x AS a FROM t; CREATE VIEW d AS SELECT a FROM TUMBLE(a, ts, INTERVAL '1 hour');\
             CREATE SLO s FROM a GOOD WHEN x > 1 OBJECTIVE 0.9",
        );
        let found = renamed(&[whole], &environment(), "a", "new a");
        let expected = [
            ("a", "CREATE VIEW \"new a\" AS SELECT x FROM t"),
            ("b", "CREATE VIEW b AS\n SELECT \"new a\".x, 'a' AS a FROM public.\"new a\""),
            ("d", "CREATE VIEW d AS SELECT a FROM TUMBLE(\"new a\", ts, INTERVAL '1 hour')"),
            ("s", "CREATE SLO s FROM \"new a\" GOOD WHEN x > 1 OBJECTIVE 0.9"),
        ];
        assert_eq!(found, expected.map(|(name, text)| (name.to_string(), text.to_string())));
    }
}
