//! SQL by files: `sql/NAME.sql` is a pipeline over `sql/data`, `sql/NAME.slt` what it must answer, whatever the number
//! of workers, and whether or not it was stopped in between. `UPDATE=1` writes the answers.

use crate::in_process::{self, Ended};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use sqllogictest::{DBOutput, DefaultColumnType, default_column_validator, default_normalizer, default_validator};
use std::fmt;
use std::path::{Path, PathBuf};

struct Database(Ended);

#[derive(Debug)]
struct Failed(String);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failed {}

impl sqllogictest::DB for Database {
    type Error = Failed;
    type ColumnType = DefaultColumnType;

    fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Failed> {
        let batches = self.0.ask(sql).map_err(|error| Failed(error.error.message))?;
        let options = FormatOptions::default().with_null("NULL");
        let mut rows = Vec::new();
        let mut columns = 0;
        for batch in &batches {
            columns = batch.num_columns();
            let formatters: Vec<_> =
                batch.columns().iter().map(|c| ArrayFormatter::try_new(c.as_ref(), &options).unwrap()).collect();
            for row in 0..batch.num_rows() {
                rows.push(formatters.iter().map(|column| column.value(row).to_string()).collect());
            }
        }
        Ok(DBOutput::Rows { types: vec![DefaultColumnType::Any; columns], rows })
    }
}

/// Each file with its pipeline.
fn cases() -> Vec<(PathBuf, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/sql");
    let mut cases: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| path.extension().is_some_and(|extension| extension == "slt"));
    assert!(!cases.is_empty());
    cases.sort();
    let pipeline = |case: &PathBuf| std::fs::read_to_string(case.with_extension("sql")).unwrap();
    cases.iter().map(|case| (case.clone(), pipeline(case))).collect()
}

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/sql/data")
}

/// Asks what the file asks of runs that `run` makes.
fn holds(case: &Path, how: &str, labels: &[&str], run: impl Fn() -> Ended) {
    let mut runner = sqllogictest::Runner::new(|| {
        let ended = run();
        async { Ok(Database(ended)) }
    });
    labels.iter().for_each(|label| runner.add_label(label));
    if std::env::var_os("UPDATE").is_some() {
        let (same, plain, columns) = (default_validator, default_normalizer, default_column_validator);
        futures::executor::block_on(runner.update_test_file(case, " ", same, plain, columns)).unwrap();
    }
    if let Err(error) = runner.run_file(case) {
        panic!("{} {how}:\n{}", case.display(), error.display(false));
    }
}

#[test]
fn files_hold_with_any_number_of_workers() {
    for (case, pipeline) in cases() {
        for workers in [1, 2, 4] {
            holds(&case, &format!("with {workers} workers"), &[], || in_process::run(&pipeline, &data(), workers));
        }
    }
}

#[test]
fn files_hold_when_two_workers_are_stopped_and_three_go_on() {
    for (case, pipeline) in cases() {
        let run = || in_process::run_in_two_lives(&pipeline, &data(), [2, 3]);
        holds(&case, "stopped with 2 workers, restored with 3", &["restored"], run);
    }
}
