//! `thalweg test`: the `.test.sql` files beside the pipelines, in virtual time.

use crate::cli::TestArgs;
use crate::compile::{Compiled, compile_paths, count};
use crate::config::parse_workers;
use crate::failure::{Failure, Outcome, USERS_MISTAKE};
use crate::pipeline_files::{SourceText, read_tests};
use crate::test_run;
use thalweg_pipelines::{SqlText, render_errors, testfile};
use thalweg_schemas::error::Error;

/// How many workers a test has: more than one, so that it would show if their number mattered.
const WORKERS: &str = "2";

/// Runs them all; a line for each, and what differs below it.
pub fn test(args: &TestArgs) -> Outcome {
    let workers = parse_workers(Some(args.workers.as_deref().unwrap_or(WORKERS)))?;
    let (mut passed, mut failed) = (0, 0);
    for path in &args.pipelines {
        let tests = read_tests(path)?;
        let compiled = compile_paths(std::slice::from_ref(path))?;
        for test in &tests {
            match outcome(&compiled, test, workers) {
                Ok(()) => {
                    println!("ok      {}", test.file);
                    passed += 1;
                }
                Err(told) => {
                    println!("FAILED  {}\n{told}", test.file);
                    failed += 1;
                }
            }
        }
    }
    println!("{} passed, {failed} failed", count(passed, "test"));
    if failed > 0 { Err(Failure::Told(USERS_MISTAKE)) } else { Ok(()) }
}

/// What to tell of a test that failed.
fn outcome(compiled: &Compiled, test: &SourceText, workers: usize) -> Result<(), String> {
    let text = SqlText { file: test.file.as_str().into(), text: test.text.as_str().into() };
    let tell = |errors: &[Error]| render_errors(errors, std::slice::from_ref(&text));
    let steps = testfile::parse(&text).map_err(|errors| tell(&errors))?;
    match test_run::run(&compiled.program, &steps, workers) {
        Ok(failures) if failures.is_empty() => Ok(()),
        Ok(failures) => Err(tell(&failures)),
        Err(error) => Err(tell(&[error])),
    }
}
