//! SQL's own prepared statements: `PREPARE name [(types)] AS query`, `EXECUTE name [(values)]`, `DEALLOCATE`.

use super::statement::{Statement, Words, strip_word};
use crate::prepared::Prepared;
use crate::session::{Request, Session};
use crate::sql_error::{BAD_PARAMETER, NOT_SUPPORTED, SYNTAX, SqlError, SqlResult};
use datafusion::scalar::ScalarValue;
use futures::TryStreamExt;
use std::sync::Arc;

/// `PREPARE name [(types)] AS query`. The types follow from the query; what is said of them is not needed.
pub async fn prepare(session: &Session, mut words: Words<'_>) -> SqlResult<Statement> {
    const HOW: &str = "Write PREPARE name AS SELECT .. WHERE column = $1.";
    let name = words.name().ok_or_else(|| SqlError::user(SYNTAX, "PREPARE is given no name").with_hint(HOW))?;
    let rest = words.rest.trim_start();
    let rest = if rest.starts_with('(') { &rest[closing(rest)..] } else { rest };
    let query = strip_word(rest.trim_start(), "as")
        .ok_or_else(|| SqlError::user(SYNTAX, format!("\"{name}\" is prepared without AS")).with_hint(HOW))?;
    match session.request(query.trim()).await? {
        Request::Query(prepared) => Ok(Statement::Prepare(name, prepared)),
        Request::Change(_) => Err(SqlError::user(NOT_SUPPORTED, "only queries can be prepared")),
        Request::Subscribe(_) => Err(SqlError::user(NOT_SUPPORTED, "a subscription cannot be prepared")
            .with_hint("Write DECLARE name CURSOR FOR SUBSCRIBE TO view.")),
    }
}

/// `EXECUTE name [(value, ..)]`: the values are constant expressions.
pub async fn execute(session: &Session, mut words: Words<'_>) -> SqlResult<Statement> {
    let name = words.name().ok_or_else(|| SqlError::user(SYNTAX, "EXECUTE is given no name"))?;
    let prepared = session.named(&name).ok_or_else(|| {
        SqlError::user("26000", format!("prepared statement \"{name}\" does not exist"))
            .with_hint("PREPARE it first; it lives until DEALLOCATE, or the end of the connection.")
    })?;
    let rest = words.rest.trim();
    let given = rest.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).map_or("", str::trim);
    let values = if given.is_empty() { Vec::new() } else { constants(session, given).await? };
    if values.len() != prepared.parameters.len() {
        let message =
            format!("prepared statement \"{name}\" takes {} values, not {}", prepared.parameters.len(), values.len());
        return Err(SqlError::user(SYNTAX, message));
    }
    let typed = values.into_iter().zip(&prepared.parameters).map(|(value, wanted)| match wanted {
        Some(wanted) => value.cast_to(wanted).map_err(|_| {
            SqlError::user(BAD_PARAMETER, format!("a value of prepared statement \"{name}\" is not of type {wanted}"))
        }),
        None => Ok(value),
    });
    let values = typed.collect::<SqlResult<Vec<_>>>()?;
    Ok(Statement::Execute(prepared, values))
}

async fn constants(session: &Session, given: &str) -> SqlResult<Vec<ScalarValue>> {
    let text = format!("SELECT {given}");
    let explain = |error| session.explain(&error, &text);
    let prepared: Arc<Prepared> = session.prepare(&text).await?;
    let rows: Vec<_> = session.execute(&prepared, vec![]).await?.rows.try_collect().await.map_err(explain)?;
    let row = rows.iter().find(|batch| batch.num_rows() > 0);
    let columns = row.map_or(&[][..], |row| row.columns());
    columns.iter().map(|column| ScalarValue::try_from_array(column, 0)).collect::<Result<_, _>>().map_err(explain)
}

/// The byte after the parenthesis that closes the one `text` begins with.
fn closing(text: &str) -> usize {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        depth += i32::from(c == '(') - i32::from(c == ')');
        if depth == 0 {
            return at + 1;
        }
    }
    text.len()
}
