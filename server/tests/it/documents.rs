//! The examples of the documents, as tests take them from there.

use crate::in_process::compile;
use std::path::{Path, PathBuf};
use thalweg_pipelines::{SqlText, render_errors, testfile};
use thalweg_server::test_run;

/// The first block of the document in the language `language`.
pub fn block<'a>(document: &'a str, language: &str) -> &'a str {
    let (_, rest) = document.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("```").unwrap().0
}

/// All blocks of the document in the language `language`.
fn all_blocks<'a>(document: &'a str, language: &str) -> Vec<&'a str> {
    let opening = format!("```{language}\n");
    document.split(&opening).skip(1).map(|rest| rest.split_once("```").unwrap().0).collect()
}

/// The pages of a folder and of those in it, with their texts.
fn pages(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let of = |path: PathBuf| match path.is_dir() {
        true => pages(&path),
        false => vec![(path.clone(), std::fs::read_to_string(&path).unwrap())],
    };
    paths.into_iter().flat_map(of).collect()
}

#[test]
fn the_worked_examples_of_operators_go_as_they_say() {
    let mut examples = 0;
    for (path, document) in pages(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operators")) {
        let pipeline: Vec<&str> =
            all_blocks(&document, "sql").into_iter().filter(|block| !block.starts_with("SELECT")).collect();
        for test in all_blocks(&document, "test") {
            println!("{}", path.display());
            holds_with(&[1, 3], &pipeline.join("\n"), test);
            examples += 1;
        }
    }
    assert!(examples > 12, "{examples}");
}

/// Runs the steps of `test` over `pipeline` in virtual time, with several numbers of workers.
pub fn holds(pipeline: &str, test: &str) {
    holds_with(&[1, 2, 4], pipeline, test);
}

fn holds_with(workers: &[usize], pipeline: &str, test: &str) {
    let program = compile(pipeline, Path::new("."));
    let text = SqlText { file: "example.test.sql".into(), text: test.into() };
    let steps = testfile::parse(&text).unwrap();
    for workers in workers.iter().copied() {
        let failures = test_run::run(&program, &steps, workers).unwrap();
        assert!(failures.is_empty(), "{workers} workers\n{}", render_errors(&failures, std::slice::from_ref(&text)));
    }
}
