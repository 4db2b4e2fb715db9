//! The examples of the documents, as tests take them from there.

use crate::in_process::compile;
use thalweg_pipelines::{SqlText, render_errors, testfile};
use thalweg_server::test_run;

/// The first block of the document in the language `language`.
pub fn block<'a>(document: &'a str, language: &str) -> &'a str {
    let (_, rest) = document.split_once(&format!("```{language}\n")).unwrap();
    rest.split_once("```").unwrap().0
}

/// Runs the steps of `test` over `pipeline` in virtual time, with several numbers of workers.
pub fn holds(pipeline: &str, test: &str) {
    let program = compile(pipeline, std::path::Path::new("."));
    let text = SqlText { file: "example.test.sql".into(), text: test.into() };
    let steps = testfile::parse(&text).unwrap();
    for workers in [1, 2, 4] {
        let failures = test_run::run(&program, &steps, workers).unwrap();
        assert!(failures.is_empty(), "{workers} workers\n{}", render_errors(&failures, std::slice::from_ref(&text)));
    }
}
