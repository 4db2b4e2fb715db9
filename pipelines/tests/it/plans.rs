//! Plans: each `plans/x.sql` compiles to what stands in `plans/x.plan`. `UPDATE=1` rewrites them.

use crate::surroundings::{compiled, golden, text};
use thalweg_pipelines::{explain, render_errors, render_warnings};

#[test]
fn each_pipeline_compiles_to_its_plan() {
    golden("plans", "plan", |file, sql| {
        let texts = [text(file, sql)];
        match compiled(&texts) {
            Err(errors) => format!("{file} does not compile\n{}", render_errors(&errors, &texts)),
            Ok(program) => explain(&program, None).unwrap() + &render_warnings(&program.warnings, &texts),
        }
    });
}

#[test]
fn every_operator_occurs_in_some_plan() {
    let plans: String = std::fs::read_dir("tests/plans")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "plan"))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    for operator in [
        "Source ",
        "View ",
        "Filter: ",
        "Project: ",
        "Union of ",
        "AssignWindows: ",
        "WindowAggregate: ",
        "SessionAggregate: ",
        "Repeat: ",
        "Envelope ",
        "Unnest: ",
        "TopN: ",
        "Over: ",
        "DetectAnomalies: ",
        "Forecast: ",
        "Expand: ",
        "Reduce over ",
        "Join ",
        "AsofJoin ",
        "Alert ",
    ] {
        assert!(plans.lines().any(|line| line.trim_start().starts_with(operator)), "{operator}is in no plan");
    }
}
