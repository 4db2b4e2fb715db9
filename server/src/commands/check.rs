//! `thalweg check`: every error of the pipelines at once, or what they declare.

use crate::cli::CheckArgs;
use crate::compile::{compile_paths, count};
use crate::failure::Outcome;
use thalweg_pipelines::{Declaration, DeclarationKind, render_warnings};

/// Checks; what is declared goes to stdout, warnings and errors to stderr.
pub fn check(args: &CheckArgs) -> Outcome {
    let compiled = compile_paths(&args.pipelines)?;
    let program = &compiled.program;
    eprint!("{}", render_warnings(&program.warnings, &compiled.texts));
    let width = program.declarations.iter().map(|d| d.name.len()).max().unwrap_or(0);
    for declaration in &program.declarations {
        println!("{:width$}  {}", declaration.name, summary(declaration));
    }
    println!(
        "ok: {} in {}, {}",
        count(program.declarations.len(), "statement"),
        count(compiled.texts.len(), "file"),
        count(program.warnings.len(), "warning")
    );
    Ok(())
}

fn summary(declaration: &Declaration) -> String {
    let columns = count(declaration.schema.fields().len(), "column");
    match &declaration.kind {
        DeclarationKind::Source { connector, bounded } => {
            format!("source, {connector}, {}, {columns}", if *bounded { "bounded" } else { "unbounded" })
        }
        DeclarationKind::Function => "function".to_string(),
        DeclarationKind::Table { .. } => format!("table, {columns}"),
        DeclarationKind::View { .. } => format!("view, {columns}"),
        DeclarationKind::MaterializedView => format!("materialized view, {columns}"),
        DeclarationKind::Alert { over, .. } => format!("alert over {over}"),
        DeclarationKind::Sink { connector, .. } => format!("sink, {connector}, {columns}"),
        DeclarationKind::Notification(kind) => kind.noun().to_string(),
    }
}
