//! Ad-hoc SQL over relations that are pinned as of one epoch.

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use arrow::util::pretty::pretty_format_batches;
use datafusion::prelude::SessionContext;
use std::path::PathBuf;
use std::sync::Arc;
use thalweg_pipelines::query::{AllTime, Pieces, Pinned, session};
use thalweg_schemas::error::Result;

#[derive(Debug)]
struct Fixed {
    history: PathBuf,
}

fn rows(names: &[&str], counts: &[i64]) -> RecordBatch {
    let names: ArrayRef = Arc::new(StringArray::from(names.to_vec()));
    RecordBatch::try_from_iter([("host", names), ("n", Arc::new(Int64Array::from(counts.to_vec())) as ArrayRef)])
        .unwrap()
}

impl Pinned for Fixed {
    fn schemas(&self) -> Vec<String> {
        vec!["public".into(), "thalweg".into()]
    }

    fn tables(&self, schema: &str) -> Vec<String> {
        match schema {
            "public" => vec!["hosts".into(), "big".into(), "history".into()],
            _ => vec!["views".into(), "letters".into()],
        }
    }

    fn schema_of(&self, schema: &str, table: &str) -> Option<SchemaRef> {
        self.tables(schema).contains(&table.to_string()).then(|| rows(&[], &[]).schema())
    }

    fn streams(&self, _schema: &str, table: &str) -> bool {
        table == "letters"
    }

    fn stream(&self, _schema: &str, _table: &str) -> Result<Pieces> {
        Ok(Box::new((0..).map(|n| Ok(rows(&["a", "b"], &[n, -n])))))
    }

    fn scan(&self, schema: &str, _table: &str) -> Result<Vec<RecordBatch>> {
        match schema {
            "public" => Ok(vec![rows(&["a", "b"], &[1, 2]), rows(&["c"], &[30])]),
            _ => Ok(vec![]),
        }
    }

    fn history(&self, _schema: &str, table: &str) -> Option<String> {
        (table == "history").then(|| self.history.display().to_string())
    }

    fn all_time(&self, _view: &str) -> Option<AllTime> {
        None
    }

    fn query_of(&self, _schema: &str, table: &str) -> Option<String> {
        (table == "big").then(|| "SELECT host, n FROM hosts WHERE n > 1".into())
    }
}

pub(crate) fn context(history: &std::path::Path) -> SessionContext {
    session(Arc::new(Fixed { history: history.to_path_buf() }))
}

fn answer(context: &SessionContext, sql: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let batches = runtime.block_on(async { context.sql(sql).await.unwrap().collect().await.unwrap() });
    pretty_format_batches(&batches).unwrap().to_string()
}

#[test]
fn a_table_that_is_larger_than_memory_is_read_as_far_as_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let found = answer(&context(folder.path()), "SELECT n FROM thalweg.letters WHERE host = 'b' LIMIT 3");
    // Which three is not said: parts of the query may read different pieces.
    let rows: Vec<&str> = found.lines().skip(3).take_while(|line| line.starts_with("| ")).collect();
    assert!(rows.len() == 3 && rows.iter().all(|row| row.starts_with("| 0") || row.starts_with("| -")), "{found}");
}

#[test]
fn views_plain_views_and_system_tables_answer() {
    let folder = tempfile::tempdir().unwrap();
    let context = context(folder.path());
    let found = answer(
        &context,
        "SELECT h.host, b.n, (SELECT count(*) FROM thalweg.views) AS views \
         FROM hosts h JOIN public.big b ON h.host = b.host WHERE b.n < 100 ORDER BY h.host",
    );
    assert_eq!(
        found,
        "+------+----+-------+\n| host | n  | views |\n+------+----+-------+\n| b    | 2  | 0     |\n| c    | 30 | 0     |\n+------+----+-------+"
    );
}

#[test]
fn percentiles_are_those_of_the_views() {
    let folder = tempfile::tempdir().unwrap();
    let found = answer(&context(folder.path()), "SELECT approx_percentile_cont(n, 1.0) AS p FROM hosts");
    assert!(found.contains("| 30.0 |"), "{found}");
}

#[test]
fn history_is_read_with_its_folders_as_columns() {
    let folder = tempfile::tempdir().unwrap();
    let none = answer(&context(folder.path()), "SELECT count(*) AS n FROM history");
    assert!(none.contains("| 0 |"), "{none}");
    for (host, n) in [("a", 1), ("__HIVE_DEFAULT_PARTITION__", 2), ("a%2Fb%20%C3%BC", 3)] {
        let into = folder.path().join("day=2026-11-21").join(format!("host={host}"));
        std::fs::create_dir_all(&into).unwrap();
        let rows = rows(&[host], &[n]).project(&[1]).unwrap();
        let file = std::fs::File::create(into.join("1.parquet")).unwrap();
        let mut writer = datafusion::parquet::arrow::ArrowWriter::try_new(file, rows.schema(), None).unwrap();
        writer.write(&rows).unwrap();
        writer.close().unwrap();
    }
    let found = answer(&context(folder.path()), "SELECT * FROM history WHERE day = '2026-11-21' ORDER BY n");
    assert_eq!(
        found,
        "+-------+---+------------+\n| host  | n | day        |\n+-------+---+------------+\n| a     | 1 | 2026-11-21 |\n|       | 2 | 2026-11-21 |\n| a/b ü | 3 | 2026-11-21 |\n+-------+---+------------+"
    );
    let joined = answer(
        &context(folder.path()),
        "SELECT v.host, v.n AS live, h.n AS past FROM hosts v JOIN history h ON h.host = v.host WHERE h.host = 'a'",
    );
    assert!(joined.contains("| a    | 1    | 1    |"), "{joined}");
}

#[test]
fn history_that_is_no_folder_yet_is_empty() {
    let folder = tempfile::tempdir().unwrap();
    let found = answer(&context(&folder.path().join("later/on")), "SELECT host, n FROM history");
    assert!(!found.contains('|') || found.lines().count() <= 4, "{found}");
}
