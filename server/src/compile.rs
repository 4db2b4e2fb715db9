//! From paths on the command line to a program, with every error laid out.

use crate::failure::{Failure, Outcome};
use crate::pipeline_files::{SourceText, read_pipelines};
use std::path::PathBuf;
use std::sync::Arc;
use thalweg_operators::deployed::Text;
use thalweg_operators::plan::Dataflow;
use thalweg_pipelines::{Environment, Program, SqlText, render_errors};
use thalweg_schemas::error::{Error, Result};

/// A compiled program and the texts that it came from.
pub struct Compiled {
    /// What the texts say.
    pub program: Program,
    /// The texts, for showing places in them.
    pub texts: Vec<SqlText>,
}

/// What is to run, as texts.
#[derive(Clone)]
pub struct Pipeline {
    /// What to call it.
    pub name: String,
    /// Where its texts were found, whole paths; for those that come with the program a name.
    pub paths: Vec<String>,
    /// Its texts.
    pub texts: Vec<SourceText>,
    /// The values of `${NAME}` in them.
    pub variables: Arc<dyn Fn(&str) -> Option<String> + Send + Sync>,
}

impl Pipeline {
    /// The pipelines below `paths`.
    pub fn read(paths: &[PathBuf]) -> Outcome<Pipeline> {
        let texts = read_pipelines(paths)?;
        let whole = |path: &PathBuf| path.canonicalize().unwrap_or_else(|_| path.clone()).display().to_string();
        Ok(Pipeline {
            name: paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" "),
            paths: paths.iter().map(whole).collect(),
            texts,
            variables: Arc::new(|name| std::env::var(name).ok()),
        })
    }

    /// Compiles it.
    pub fn compile(&self) -> Outcome<Compiled> {
        compile_with(&self.texts, self.variables.as_ref())
    }

    /// Its texts, as they are kept with the state.
    pub fn kept_texts(&self) -> Vec<Text> {
        self.texts.iter().map(|text| Text { file: text.file.clone(), text: text.text.clone() }).collect()
    }

    /// The dataflow of texts that were kept with the state, read as its own are.
    pub fn compile_kept(&self, texts: &[Text]) -> Result<Dataflow> {
        let text = |text: &Text| SourceText { file: text.file.clone(), text: text.text.clone() };
        let texts: Vec<SourceText> = texts.iter().map(text).collect();
        match compile_with(&texts, self.variables.as_ref()) {
            Ok(compiled) => Ok(compiled.program.dataflow),
            Err(Failure::Error(error)) => Err(*error),
            Err(Failure::Mistakes(text)) => Err(Error::user(text)),
            Err(Failure::Told(_)) => Err(Error::user("it does not compile any more")),
        }
    }
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
    let environment =
        Environment { connectors: thalweg_connectors::ALL, notification: &thalweg_notify::statements::SPEC, variables };
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
