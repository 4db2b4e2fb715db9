//! `FOR ALL TIME`: what an earlier run left in Parquet and what this run has seen, each row as often as there is one.

use crate::in_process::{Ended, run};
use arrow::util::display::array_value_to_string;
use std::path::Path;

const PIPELINE: &str = "
CREATE SOURCE readings (ts TIMESTAMP, k TEXT, v BIGINT, WATERMARK FOR ts AS ts)
  WITH (connector = 'file', path = '${DATA}/FILE.ndjson', format = 'json');
CREATE MATERIALIZED VIEW per_minute AS SELECT window_start, k, count(*) AS n
  FROM TUMBLE(readings, ts, INTERVAL '1 minute') GROUP BY window_start, window_end, k;
CREATE SINK minutes FROM per_minute WITH (connector = 'parquet', path = '${DATA}/minutes', partition_by = 'k');
CREATE MATERIALIZED VIEW rows AS SELECT ts, k, v FROM readings;
CREATE SINK rows_kept FROM rows WITH (connector = 'parquet', path = '${DATA}/rows');
CREATE MATERIALIZED VIEW total AS SELECT count(*) AS n FROM readings;
";

fn run_over(folder: &Path, name: &str, rows: &str) -> Ended {
    std::fs::write(folder.join(format!("{name}.ndjson")), rows).unwrap();
    run(&PIPELINE.replace("FILE", name), folder, 2)
}

fn lines(ended: &Ended, query: &str) -> Vec<String> {
    let batches = ended.ask(query).unwrap_or_else(|error| panic!("{query}: {}", error.error));
    let row = |batch: &arrow::array::RecordBatch, row| {
        let cells = batch.columns().iter().map(|column| array_value_to_string(column, row).unwrap());
        cells.collect::<Vec<_>>().join(" ")
    };
    batches.iter().flat_map(|batch| (0..batch.num_rows()).map(|at| row(batch, at)).collect::<Vec<_>>()).collect()
}

#[test]
fn a_view_and_its_history_are_one_and_no_row_is_there_twice() {
    let folder = tempfile::tempdir().unwrap();
    let first = r#"{"ts":"2026-01-01T00:00:01","k":"a","v":1}
{"ts":"2026-01-01T00:00:02","k":"a","v":2}
{"ts":"2026-01-01T00:01:03","k":"b","v":3}
"#;
    let ended = run_over(folder.path(), "first", first);
    let by_minute = "SELECT window_start, k, n FROM per_minute FOR ALL TIME ORDER BY 1, 2";
    assert_eq!(lines(&ended, by_minute), ["2026-01-01T00:00:00 a 2", "2026-01-01T00:01:00 b 1"]);
    assert_eq!(lines(&ended, "SELECT count(*) FROM rows FOR ALL TIME"), ["3"]);
    drop(ended);

    let second = r#"{"ts":"2026-01-01T00:01:03","k":"b","v":3}
{"ts":"2026-01-01T00:01:03","k":"b","v":3}
{"ts":"2026-01-01T00:05:00","k":"c","v":4}
"#;
    let ended = run_over(folder.path(), "second", second);
    // The window that both runs have is the view's.
    let expected = ["2026-01-01T00:00:00 a 2", "2026-01-01T00:01:00 b 2", "2026-01-01T00:05:00 c 1"];
    assert_eq!(lines(&ended, by_minute), expected);
    assert_eq!(lines(&ended, "SELECT count(*) FROM per_minute"), ["2"]);
    // Rows without a key are there as often as they came.
    let rows = "SELECT r.k, count(*) FROM public.rows FOR ALL TIME AS r GROUP BY r.k ORDER BY r.k";
    assert_eq!(lines(&ended, rows), ["a 2", "b 3", "c 1"]);
    assert_eq!(
        lines(&ended, "SELECT sum(n) FROM TUMBLE((SELECT * FROM per_minute FOR ALL TIME), window_start, '1 hour')"),
        ["5"]
    );
    let error = ended.ask("SELECT * FROM total FOR ALL TIME").unwrap_err().error;
    assert_eq!(error.message, "\"total\" has no history to be read FOR ALL TIME");
    assert!(error.hint.is_some());
}
