//! `thalweg test`: the `.test.sql` files beside the pipelines, in virtual time.

use crate::backtest::{self, Answer, Firing, Question};
use crate::cli::TestArgs;
use crate::compile::{Compiled, compile_paths, count};
use crate::config::parse_workers;
use crate::failure::{Failure, Outcome, USERS_MISTAKE};
use crate::pipeline_files::{SourceText, read_tests};
use crate::test_run;
use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use arrow::temporal_conversions::timestamp_ns_to_datetime;
use thalweg_operators::window::Nanos;
use thalweg_pipelines::{SqlText, render_errors, testfile};
use thalweg_schemas::error::Error;

/// How many workers a test has: more than one, so that it would show if their number mattered.
const WORKERS: &str = "2";

/// Runs them all; a line for each, and what differs below it.
pub fn test(args: &TestArgs) -> Outcome {
    let workers = parse_workers(Some(args.workers.as_deref().unwrap_or(WORKERS)))?;
    if let Some(alert) = &args.backtest {
        return backtest(args, alert, workers);
    }
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

fn backtest(args: &TestArgs, alert: &str, workers: usize) -> Outcome {
    let compiled = compile_paths(&args.pipelines)?;
    let question =
        Question { alert: alert.to_string(), from_ns: time(args.from.as_deref())?, to_ns: time(args.to.as_deref())? };
    if let (Some(from), Some(to)) = (question.from_ns, question.to_ns)
        && from >= to
    {
        return Err(Error::user("--from is not before --to").with_hint("Say the earlier time first.").into());
    }
    let answer = backtest::run(&compiled.program, &question, workers)?;
    print!("{}", shown(&question, &answer));
    Ok(())
}

fn time(given: Option<&str>) -> Result<Option<i64>, Error> {
    let Some(text) = given else { return Ok(None) };
    let ns = string_to_timestamp_nanos(text);
    ns.map(Some).map_err(|_| {
        Error::user(format!("\"{text}\" is no time")).with_hint("Write 2026-01-01 or 2026-01-01T12:00:00Z.")
    })
}

/// A line for each firing: when it would have been, and when it was.
fn shown(question: &Question, answer: &Answer) -> String {
    let pairs = answer.pairs();
    let lines = |pair: &(Option<&Firing>, Option<&Firing>)| {
        let key = pair.0.or(pair.1).map(|firing| firing.key.clone()).unwrap_or_default();
        let [would, did] = [pair.0, pair.1].map(|firing| firing.map_or_else(|| "-".to_string(), one));
        [key, would, if answer.did.is_some() { did } else { "?".to_string() }]
    };
    let mut rows = vec![["key".to_string(), "would have fired".to_string(), "fired".to_string()]];
    rows.extend(pairs.iter().map(lines));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let (key, would) = (width(0), width(1));
    let mut text = format!(
        "alert {} over {}, {}\n",
        question.alert,
        answer.read,
        count(usize::try_from(answer.rows).unwrap_or(usize::MAX), "row")
    );
    for row in &rows {
        let line = format!("{:key$}  {:would$}  {}", row[0], row[1], row[2]);
        text.push_str(line.trim_end());
        text.push('\n');
    }
    let count_of = |is: fn(&(Option<&Firing>, Option<&Firing>)) -> bool| pairs.iter().filter(|pair| is(pair)).count();
    let outcome = match answer.did {
        Some(_) => format!(
            "{} that fired too, {} new, {} no longer",
            count_of(|pair| pair.0.is_some() && pair.1.is_some()),
            count_of(|pair| pair.1.is_none()),
            count_of(|pair| pair.0.is_none())
        ),
        None => format!("what fired is not known: no Parquet sink keeps the events of {}", question.alert),
    };
    text + &count(answer.would.len(), "firing") + ": " + &outcome + "\n"
}

/// `2026-01-01 00:03:00 for 10m, critical`
fn one(firing: &Firing) -> String {
    let at = timestamp_ns_to_datetime(firing.from_ns).map(|at| at.to_string()).unwrap_or_default();
    let length = match firing.length() {
        Some(length) => format!("for {}", Nanos(i64::try_from(length.as_nanos()).unwrap_or(i64::MAX))),
        None => "still".to_string(),
    };
    format!("{at} {length}, {}", firing.severities.join(" > "))
}
