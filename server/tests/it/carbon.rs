//! The shipped carbon pipeline: its own tests with any number of workers, and its ledger after a stop with others.

use crate::in_process;
use arrow::util::pretty::pretty_format_batches;
use std::path::{Path, PathBuf};
use thalweg_pipelines::{Environment, Program, SqlText, compile, render_errors, testfile};
use thalweg_server::test_run;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../pipelines/library/carbon").canonicalize().unwrap()
}

/// The files of the folder that end so, in order of their names.
fn texts(ending: &str) -> Vec<(String, String)> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let named = paths.into_iter().filter_map(|path| {
        let name = path.file_name()?.to_str()?.to_string();
        name.ends_with(ending).then(|| (name, std::fs::read_to_string(&path).unwrap()))
    });
    named.collect()
}

fn pipeline() -> Vec<(String, String)> {
    texts(".sql").into_iter().filter(|(name, _)| !name.ends_with(".test.sql")).collect()
}

fn program() -> Program {
    let texts = pipeline().into_iter().map(|(name, text)| SqlText { file: name.into(), text: text.into() });
    let texts: Vec<SqlText> = texts.collect();
    let environment = Environment {
        connectors: thalweg_connectors::ALL,
        notification: &thalweg_notify::statements::SPEC,
        variables: &|_| None,
    };
    compile(&texts, &environment).unwrap_or_else(|errors| panic!("{}", render_errors(&errors, &texts)))
}

#[test]
fn its_worked_examples_hold_with_any_number_of_workers() {
    let program = program();
    let tests = texts(".test.sql");
    assert!(tests.len() >= 3);
    for (name, text) in tests {
        let text = SqlText { file: name.into(), text: text.into() };
        let steps = testfile::parse(&text).unwrap();
        for workers in [1, 3] {
            let failures = test_run::run(&program, &steps, workers).unwrap();
            assert!(
                failures.is_empty(),
                "{workers} workers\n{}",
                render_errors(&failures, std::slice::from_ref(&text))
            );
        }
    }
}

const LEDGER: &str = "SELECT slot_start, machine, zone, round(energy_kwh, 12) AS kwh, round(operational_g, 9) AS g, \
     round(embodied_g, 9) AS embodied_g, quality, round(coverage, 9) AS coverage, intensity_kind, revision \
     FROM ledger ORDER BY slot_start, machine";

/// The pipeline over its sample data.
fn over_the_sample() -> String {
    let at = |name: &str| folder().join(name).display().to_string();
    let text: String = pipeline().into_iter().map(|(_, text)| text + "\n").collect();
    let text = text.replace("${CARBON_DATA:-pipelines/library/carbon/sample}", &at("sample"));
    text.replace("${CARBON_FACTORS:-pipelines/library/carbon/factors}", &at("factors"))
}

#[test]
fn its_ledger_is_the_same_when_two_workers_are_stopped_and_three_go_on() {
    let text = over_the_sample();
    let shown = |ended: &in_process::Ended| pretty_format_batches(&ended.ask(LEDGER).unwrap()).unwrap().to_string();
    let straight = shown(&in_process::run(&text, Path::new("."), 1));
    assert!(straight.lines().count() > 25, "{straight}");
    assert_eq!(shown(&in_process::run_in_two_lives(&text, Path::new("."), [2, 3])), straight);
}

/// The report is a file of queries over the pipeline: each answers.
#[test]
fn its_report_can_be_asked() {
    let text = over_the_sample();
    let ended = in_process::run(&text, Path::new("."), 2);
    let report = std::fs::read_to_string(folder().join("report.txt")).unwrap();
    let mut rows = 0;
    for statement in thalweg_server::statements::split(&report) {
        let answer = ended.ask(statement.text).unwrap_or_else(|error| panic!("{}: {}", statement.text, error.error));
        rows += answer.iter().map(|batch| batch.num_rows()).sum::<usize>();
    }
    assert!(rows > 20, "{rows}");
}
