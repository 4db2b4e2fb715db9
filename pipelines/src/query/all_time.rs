//! `FROM view FOR ALL TIME`: a live view and its Parquet history as one relation, in which no row is there twice.
//!
//! History holds what is final, also of earlier runs; the view holds what this run has seen, also what is not final. Where
//! both have a row, the view's is taken: by the view's key, or, where it has none, by the whole row as often as it is there.

use super::{Pinned, plan, session};
use crate::parse::split;
use crate::parse::syntax::is_word;
use crate::program::SqlText;
use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::ViewTable;
use datafusion::sql::sqlparser::ast::Ident;
use datafusion::sql::sqlparser::tokenizer::Token;
use std::borrow::Cow;
use std::sync::Arc;
use thalweg_schemas::error::Error;

/// The schema in which the relations for all time are found; it lists none.
pub(super) const ALL_TIME: &str = "all_time";

/// What `FOR ALL TIME` reads of a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllTime {
    /// The sink that holds the history.
    pub sink: String,
    /// The columns that are unique together, if such are known.
    pub key: Option<Vec<String>>,
}

/// `text` with each `name FOR ALL TIME` as a name of the schema for it, of the same length.
pub fn with_all_time(text: &str) -> Cow<'_, str> {
    if !text.to_ascii_uppercase().contains("TIME") {
        return Cow::Borrowed(text);
    }
    let whole = SqlText { file: "".into(), text: text.into() };
    let tokens: Vec<_> = split(&whole, &mut Vec::new()).into_iter().flatten().collect();
    let mut rewritten = text.to_string();
    for at in (1..tokens.len().saturating_sub(2)).rev() {
        let phrase = tokens[at..].iter().zip(["FOR", "ALL", "TIME"]).all(|(token, word)| is_word(&token.token, word));
        if !phrase || !matches!(tokens[at - 1].token, Token::Word(_)) {
            continue;
        }
        let qualified = at >= 3 && tokens[at - 2].token == Token::Period;
        let begin = if qualified { at - 3 } else { at - 1 };
        let byte = |location| crate::parse::byte_of(text, location);
        let (start, name, end) =
            (byte(tokens[begin].span.start), byte(tokens[at - 1].span.start), byte(tokens[at + 2].span.end));
        let instead = format!("{ALL_TIME}.{}", &text[name..byte(tokens[at - 1].span.end)]);
        rewritten.replace_range(start..end, &format!("{instead:<width$}", width = end - start));
    }
    Cow::Owned(rewritten)
}

/// Views with their histories.
#[derive(Debug)]
pub(super) struct AllTimeSchema {
    pub(super) pinned: Arc<dyn Pinned>,
}

#[async_trait]
impl SchemaProvider for AllTimeSchema {
    fn table_names(&self) -> Vec<String> {
        Vec::new()
    }

    fn table_exist(&self, name: &str) -> bool {
        self.pinned.schema_of(super::PUBLIC, name).is_some()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let Some(schema) = self.pinned.schema_of(super::PUBLIC, name) else { return Ok(None) };
        let Some(all) = self.pinned.all_time(name) else {
            let error = Error::user(format!("\"{name}\" has no history to be read FOR ALL TIME")).with_hint(
                "Give the materialized view one: CREATE SINK .. FROM view WITH (connector = 'parquet', ..).",
            );
            return Err(DataFusionError::External(Box::new(error)));
        };
        let columns: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        let query = query_of(name, &all, &columns);
        let plan = plan(&session(self.pinned.clone()).state(), &query).await?;
        Ok(Some(Arc::new(ViewTable::new(plan, Some(query)))))
    }
}

fn query_of(view: &str, all: &AllTime, columns: &[String]) -> String {
    let quoted = |name: &str| Ident::with_quote('"', name).to_string();
    let list = |names: &[String]| names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
    let (view, sink, shown) = (quoted(view), quoted(&all.sink), list(columns));
    let same = |names: &[String]| {
        let each = names.iter().map(|name| format!("(h.{0} IS NOT DISTINCT FROM l.{0})", quoted(name)));
        each.collect::<Vec<_>>().join(" AND ")
    };
    let live = format!("SELECT {shown} FROM {view}");
    match all.key.as_deref() {
        // One row: the view's.
        Some([]) => live,
        Some(key) => format!(
            "{live} UNION ALL SELECT {shown} FROM (SELECT DISTINCT {shown} FROM {sink}) h LEFT ANTI JOIN {view} l ON {}",
            same(key)
        ),
        None => {
            let numbered =
                |from: &str| format!("(SELECT {shown}, row_number() OVER (PARTITION BY {shown}) AS __nth FROM {from})");
            format!(
                "{live} UNION ALL SELECT {shown} FROM {} h LEFT ANTI JOIN {} l ON {} AND h.__nth = l.__nth",
                numbered(&sink),
                numbered(&view),
                same(columns)
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_phrase_becomes_a_name_of_the_same_length() {
        let text = "SELECT v.n FROM v FOR ALL TIME WHERE 'x FOR ALL TIME' = n";
        assert_eq!(with_all_time(text), "SELECT v.n FROM all_time.v     WHERE 'x FOR ALL TIME' = n");
        let text = "select * from public.\"V\" for all time w join t for all time on true";
        let found = with_all_time(text);
        assert_eq!(found, "select * from all_time.\"V\"            w join all_time.t     on true");
        assert_eq!(found.len(), text.len());
        assert_eq!(with_all_time("SELECT time FROM t"), "SELECT time FROM t");
    }
}
