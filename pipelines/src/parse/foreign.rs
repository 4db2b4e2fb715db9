//! What users of other systems write, and what later versions will have: named, instead of left to the parser.

use super::Words;
use super::syntax::is_word;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};
use thalweg_schemas::error::Error;

const IN_A_QUERY: &str = "A query that reads the view can do it; what a view keeps up to date is filters, projections, \
                          joins, set operations, DISTINCT, GROUP BY, window functions and LIMIT.";
const EMIT: &str = "There are EMIT CHANGES and EMIT ON WINDOW CLOSE, at the end of the statement.";

/// A phrase in a statement: its words, what it is called, and what to do instead.
struct Phrase(&'static [&'static str], &'static str, &'static str);

/// What is not supported in the query of a view or a sink.
const IN_QUERIES: &[Phrase] = &[
    Phrase(
        &["FOR", "ALL", "TIME"],
        "FOR ALL TIME belongs to queries that read a view",
        "A view that reads another one already gets all of its rows: leave it out.",
    ),
    Phrase(&["MATCH_RECOGNIZE", "("], "MATCH_RECOGNIZE is not supported", IN_A_QUERY),
    Phrase(&["TABLESAMPLE"], "TABLESAMPLE is not supported in a materialized view", "Filter by a column instead."),
    Phrase(&["PIVOT", "("], "PIVOT is not supported", "Write count(*) FILTER (WHERE region = 'eu') for each column."),
    Phrase(&["UNPIVOT", "("], "UNPIVOT is not supported", "Write a UNION ALL of the columns."),
    Phrase(&["FOR", "UPDATE"], "FOR UPDATE has no meaning in a view", "Leave it out: nothing here is locked."),
    Phrase(&["FOR", "SHARE"], "FOR SHARE has no meaning in a view", "Leave it out: nothing here is locked."),
    Phrase(
        &["WITH", "NO", "DATA"],
        "WITH NO DATA is not supported",
        "Leave it out: a view fills as its sources are read.",
    ),
    Phrase(&["EMIT", "FINAL"], "EMIT FINAL is not supported", EMIT),
    Phrase(&["EMIT", "ON"], "this EMIT is not understood", EMIT),
    Phrase(&["EMIT", "AFTER"], "EMIT AFTER is not supported", EMIT),
    Phrase(&["EMIT", "WITH"], "EMIT WITH is not supported", EMIT),
];

/// What is not supported elsewhere in the statement of a source or a sink.
const IN_DECLARATIONS: &[Phrase] = &[
    Phrase(
        &["FORMAT", "*", "ENCODE"],
        "FORMAT .. ENCODE is not how a format is given",
        "It is an option: WITH (connector = '...', format = 'json').",
    ),
    Phrase(
        &["PROCTIME", "("],
        "PROCTIME() is not supported",
        "Declare the metadata column _ingest_time TIMESTAMP: it is when the row came in.",
    ),
    Phrase(
        &["METADATA", "FROM"],
        "METADATA FROM is not supported",
        "Metadata columns go by name: _source, _partition, _offset, _ingest_time, _key, _headers.",
    ),
    Phrase(
        &["SINK", "*", "INTO"],
        "CREATE SINK .. INTO is not supported",
        "Write CREATE SINK name FROM view WITH (..).",
    ),
    Phrase(
        &["FROM", "KAFKA"],
        "FROM KAFKA is not how a connector is given",
        "Write CREATE SOURCE name (columns) WITH (connector = 'kafka', ...).",
    ),
];

/// The construct of another system, or of a later version, that a statement holds.
pub(super) fn construct(tokens: &[TokenWithSpan], words: &Words) -> Option<Error> {
    let is = |at: usize, word: &str| tokens.get(at).is_some_and(|token| is_word(&token.token, word));
    let declares = is(1, "SOURCE") || is(1, "SINK");
    let phrases = if is(1, "SOURCE") { &[] } else { IN_QUERIES };
    let declarations = if declares { IN_DECLARATIONS } else { &[] };
    phrases.iter().chain(declarations).find_map(|Phrase(phrase, message, hint)| {
        let at = (0..tokens.len()).find(|at| says(&tokens[*at..], phrase))?;
        let error = Error::user(*message).with_hint(*hint);
        Some(words.at(tokens[at].span).into_iter().fold(error, Error::at))
    })
}

/// Whether `tokens` begin with `phrase`, in which `*` is any word.
fn says(tokens: &[TokenWithSpan], phrase: &[&str]) -> bool {
    tokens.len() >= phrase.len()
        && tokens.iter().zip(phrase).all(|(token, word)| match *word {
            "(" => token.token == Token::LParen,
            "*" => matches!(token.token, Token::Word(_)),
            word => is_word(&token.token, word),
        })
}

/// What to do instead of a statement that no pipeline has, by its first word.
pub(super) fn instead_of(word: &str) -> Option<&'static str> {
    const ASKED: &str = "It is for a running engine: send it with thalweg sql or psql. To give a query a name, write \
                         CREATE VIEW name AS SELECT ..";
    const WHOLE: &str = "A pipeline is deployed as a whole: change or take out the statement that declares it.";
    const ROWS: &str = "Rows come in through CREATE SOURCE, and go out through CREATE SINK name FROM view.";
    const NEVER: &str = "Views are kept up to date by themselves: nothing needs to be refreshed or analyzed.";
    const AS_IT_RUNS: &str = "There are no transactions or settings in a pipeline: leave it out.";
    Some(match word {
        "SELECT" | "WITH" | "VALUES" | "SUBSCRIBE" | "EXPLAIN" | "SHOW" | "DESCRIBE" | "DESC" | "COPY" | "DECLARE"
        | "FETCH" | "PREPARE" | "REPLAY" => ASKED,
        "DROP" | "ALTER" | "COMMENT" | "GRANT" | "REVOKE" => WHOLE,
        "INSERT" | "UPDATE" | "DELETE" | "TRUNCATE" | "MERGE" | "UPSERT" => ROWS,
        "REFRESH" | "ANALYZE" | "VACUUM" | "REINDEX" => NEVER,
        "SET" | "RESET" | "USE" | "BEGIN" | "START" | "COMMIT" | "ROLLBACK" | "END" | "EXECUTE" => AS_IT_RUNS,
        _ => return None,
    })
}

/// A constraint of a column that sources do not have, and what to do instead.
pub(super) fn constraint(word: &str) -> Option<&'static str> {
    Some(match word {
        "CHECK" => "Filter in a view: CREATE VIEW .. AS SELECT .. WHERE ..",
        "UNIQUE" | "REFERENCES" | "CONSTRAINT" => "Rows of a source are taken as they come; leave it out.",
        "COLLATE" => "Text is compared byte by byte; leave it out.",
        "COMMENT" => "Write it as an SQL comment, behind two hyphens.",
        _ => return None,
    })
}
