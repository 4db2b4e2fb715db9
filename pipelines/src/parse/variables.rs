//! `${NAME}` and `${NAME:-default}` in string literals.

use super::Words;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use thalweg_schemas::error::Error;

/// The tokens with variables put into string literals; an error for each that has no value and no default.
pub(super) fn substitute(
    tokens: Vec<TokenWithSpan>,
    words: &Words,
    variables: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<TokenWithSpan>, Vec<Error>> {
    let mut errors = Vec::new();
    let replaced = tokens
        .into_iter()
        .map(|mut token| {
            if let Token::SingleQuotedString(text) = &mut token.token
                && text.contains("${")
            {
                match put_in(text, variables) {
                    Ok(new) => *text = new,
                    Err(error) => errors.push(words.at(token.span).into_iter().fold(error, Error::at)),
                }
            }
            token
        })
        .collect();
    if errors.is_empty() { Ok(replaced) } else { Err(errors) }
}

fn put_in(text: &str, variables: &dyn Fn(&str) -> Option<String>) -> Result<String, Error> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        out.push_str(&rest[..at]);
        let Some(length) = rest[at..].find('}') else {
            return Err(Error::user(format!("variable in '{text}' has no closing brace"))
                .with_hint("Write ${NAME} or ${NAME:-default}."));
        };
        let inside = &rest[at + 2..at + length];
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        match variables(name).filter(|value| !value.is_empty()).or_else(|| default.map(str::to_string)) {
            Some(value) => out.push_str(&value),
            None => {
                return Err(Error::user(format!("environment variable \"{name}\" is not set"))
                    .with_hint(format!("Set it, or give a default: ${{{name}:-default}}.")));
            }
        }
        rest = &rest[at + length + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::put_in;

    #[test]
    fn variables_take_their_value_or_their_default() {
        let variables = |name: &str| (name == "DIR").then(|| "/data".to_string());
        assert_eq!(put_in("${DIR}/in/${X:-a b}.json", &variables).unwrap(), "/data/in/a b.json");
        assert_eq!(put_in("no $variable {here}", &variables).unwrap(), "no $variable {here}");
        assert_eq!(put_in("${X}", &variables).unwrap_err().message, "environment variable \"X\" is not set");
        assert!(put_in("${X", &variables).is_err());
    }
}
