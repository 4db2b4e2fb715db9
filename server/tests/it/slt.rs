//! SQL by files: `sql/NAME.sql` is a pipeline over `sql/data`, `sql/NAME.slt` what it must answer, whatever the number
//! of workers. `UPDATE=1` writes the answers.

use crate::in_process::{self, Ended};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use sqllogictest::{DBOutput, DefaultColumnType, default_column_validator, default_normalizer, default_validator};
use std::fmt;
use std::path::Path;

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

#[test]
fn files_hold_with_any_number_of_workers() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/sql");
    let mut cases: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| path.extension().is_some_and(|extension| extension == "slt"));
    assert!(!cases.is_empty());
    for case in cases {
        let pipeline = std::fs::read_to_string(case.with_extension("sql")).unwrap();
        for workers in [1, 2, 4] {
            let data = folder.join("data");
            let mut runner = sqllogictest::Runner::new(|| {
                let ended = in_process::run(&pipeline, &data, workers);
                async { Ok(Database(ended)) }
            });
            if std::env::var_os("UPDATE").is_some() {
                let (same, plain, columns) = (default_validator, default_normalizer, default_column_validator);
                futures::executor::block_on(runner.update_test_file(&case, " ", same, plain, columns)).unwrap();
            }
            if let Err(error) = runner.run_file(&case) {
                panic!("{} with {workers} workers:\n{}", case.display(), error.display(false));
            }
        }
    }
}
