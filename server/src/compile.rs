//! From paths on the command line to a program, with every error laid out.

use crate::failure::{Failure, Outcome};
use crate::pipeline_files::{SourceText, read_pipelines};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use thalweg_operators::deployed::{Deployed, Text};
use thalweg_operators::plan::Dataflow;
use thalweg_pipelines::catalog::{declared, readers, renamed, without};
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
    /// The texts of its files.
    pub files: Vec<SourceText>,
    /// The statements that came while it ran, which have no file.
    pub created: Vec<SourceText>,
    /// The statements of its files that were dropped while it ran, see [`Deployed::dropped`].
    pub dropped: BTreeMap<String, String>,
    /// The values of `${NAME}` in them.
    pub variables: Arc<dyn Fn(&str) -> Option<String> + Send + Sync>,
}

impl Pipeline {
    /// The pipelines below `paths`.
    pub fn read(paths: &[PathBuf]) -> Outcome<Pipeline> {
        let files = read_pipelines(paths)?;
        let whole = |path: &PathBuf| path.canonicalize().unwrap_or_else(|_| path.clone()).display().to_string();
        Ok(Pipeline {
            name: paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" "),
            paths: paths.iter().map(whole).collect(),
            files,
            created: Vec::new(),
            dropped: BTreeMap::new(),
            variables: Arc::new(|name| std::env::var(name).ok()),
        })
    }

    /// The same with the changes that were made while it ran, as its state remembers them. What the files declare by now
    /// comes from there.
    pub fn changed_as(&self, deployed: &Deployed) -> Pipeline {
        let mut pipeline = Pipeline { dropped: deployed.dropped.clone(), ..self.clone() };
        let files: BTreeSet<String> = pipeline.sql_texts().iter().flat_map(|text| declared(text).into_keys()).collect();
        let came = deployed.texts.iter().filter(|text| text.file.is_empty());
        let text = |text: &Text| SourceText { file: String::new(), text: text.text.clone() };
        let is_new = |text: &SourceText| declared(&sql_text(text)).keys().all(|name| !files.contains(name));
        pipeline.created = came.map(text).filter(is_new).collect();
        pipeline
    }

    /// The same with one statement more.
    pub fn with_created(&self, statement: &str) -> Pipeline {
        let mut pipeline = self.clone();
        pipeline.created.push(SourceText { file: String::new(), text: statement.to_string() });
        pipeline
    }

    /// The same without the statements that declare `names`.
    pub fn with_dropped(&self, names: &[String]) -> Pipeline {
        let mut pipeline = self.clone();
        pipeline.created.retain(|text| !declared(&sql_text(text)).keys().any(|name| names.contains(name)));
        let files = self.files.iter().flat_map(|text| declared(&sql_text(text)));
        pipeline.dropped.extend(files.filter(|(name, _)| names.contains(name)));
        pipeline
    }

    /// The same with `to` for the name `from`, in its statement and in all that read it.
    pub fn with_renamed(&self, from: &str, to: &str) -> Pipeline {
        let statements = renamed(&self.sql_texts(), &self.environment(), from, to);
        let names: Vec<String> = statements.iter().map(|(name, _)| name.clone()).collect();
        let without = self.with_dropped(&names);
        statements.iter().fold(without, |pipeline, (_, statement)| pipeline.with_created(statement))
    }

    /// Everything that reads `name`, directly or through others.
    pub fn readers(&self, name: &str) -> Vec<String> {
        readers(&self.sql_texts(), &self.environment(), name)
    }

    /// All its statements.
    fn sql_texts(&self) -> Vec<SqlText> {
        let files = self.files.iter().map(|text| without(&sql_text(text), &self.dropped));
        files.chain(self.created.iter().map(sql_text)).collect()
    }

    fn environment(&self) -> Environment<'_> {
        environment(self.variables.as_ref())
    }

    /// Compiles it, for those who lay out errors by themselves.
    pub fn compile_errors(&self) -> Result<Program, Vec<Error>> {
        thalweg_pipelines::compile(&self.sql_texts(), &self.environment())
    }

    /// Compiles it.
    pub fn compile(&self) -> Outcome<Compiled> {
        compile_sql(self.sql_texts(), &self.environment())
    }

    /// Its texts, as they are kept with the state.
    pub fn kept_texts(&self) -> Vec<Text> {
        let text = |text: SqlText| Text { file: text.file.to_string(), text: text.text.to_string() };
        self.sql_texts().into_iter().map(text).collect()
    }

    /// The dataflow of texts that were kept with the state, read as its own are.
    pub fn compile_kept(&self, texts: &[Text]) -> Result<Dataflow> {
        let text = |text: &Text| SqlText { file: text.file.as_str().into(), text: text.text.as_str().into() };
        match compile_sql(texts.iter().map(text).collect(), &self.environment()) {
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
    let texts = texts.iter().map(sql_text).collect();
    compile_sql(texts, &environment(variables))
}

/// What statements may refer to, with these values for `${NAME}`.
fn environment<'a>(variables: &'a dyn Fn(&str) -> Option<String>) -> Environment<'a> {
    Environment { connectors: thalweg_connectors::ALL, notification: &thalweg_notify::statements::SPEC, variables }
}

fn sql_text(text: &SourceText) -> SqlText {
    SqlText { file: text.file.as_str().into(), text: text.text.as_str().into() }
}

fn compile_sql(texts: Vec<SqlText>, environment: &Environment<'_>) -> Outcome<Compiled> {
    match thalweg_pipelines::compile(&texts, environment) {
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
