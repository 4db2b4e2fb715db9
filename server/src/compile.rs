//! From paths on the command line to a program, with every error laid out.

use crate::failure::{Failure, Outcome};
use crate::pipeline_files::{SourceText, read_pipelines};
use std::path::PathBuf;
use thalweg_pipelines::{Environment, Program, SqlText, render_errors};

/// A compiled program and the texts that it came from.
pub struct Compiled {
    /// What the texts say.
    pub program: Program,
    /// The texts, for showing places in them.
    pub texts: Vec<SqlText>,
}

/// Compiles the pipelines below `paths`.
pub fn compile_paths(paths: &[PathBuf]) -> Outcome<Compiled> {
    compile_texts(&read_pipelines(paths)?)
}

/// Compiles `texts`; its errors are laid out for the user.
pub fn compile_texts(texts: &[SourceText]) -> Outcome<Compiled> {
    compile_with(texts, &|name| std::env::var(name).ok())
}

/// Compiles `texts` with these values for `${NAME}`.
pub fn compile_with(texts: &[SourceText], variables: &dyn Fn(&str) -> Option<String>) -> Outcome<Compiled> {
    let texts: Vec<SqlText> =
        texts.iter().map(|text| SqlText { file: text.file.as_str().into(), text: text.text.as_str().into() }).collect();
    let environment = Environment { connectors: thalweg_connectors::ALL, variables };
    match thalweg_pipelines::compile(&texts, &environment) {
        Ok(program) => Ok(Compiled { program, texts }),
        Err(errors) => {
            let laid_out = render_errors(&errors, &texts);
            Err(Failure::Mistakes(format!("{laid_out}{}\n", count(errors.len(), "error"))))
        }
    }
}

/// `1 error`, `2 errors`.
pub fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}
