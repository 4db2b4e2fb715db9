//! `thalweg import`: rules from elsewhere as statements; what is not translated is told on stderr.

use crate::cli::{ImportArgs, ImportFrom, PrometheusArgs};
use crate::compile::count;
use crate::failure::{Failure, Outcome};
use thalweg_pipelines::prometheus::{ImportOptions, Imported, Metrics, import as translate};
use thalweg_pipelines::{SqlText, render_errors, render_warnings};
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::options::parse_duration;
use thalweg_schemas::suggest::closest;

/// Prints the statements, or writes them to `--out`.
pub fn import(args: &ImportArgs) -> Outcome {
    let ImportFrom::Prometheus(args) = &args.from;
    let options = options(args)?;
    let mut files = Vec::new();
    for path in &args.rules {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Error::user(format!("rules \"{}\": {error}", path.display())))?;
        files.push(SqlText { file: path.display().to_string().into(), text: text.into() });
    }
    let imported = translate(&files, &options).map_err(|errors| {
        let laid_out = render_errors(&errors, &files);
        Failure::Mistakes(format!("{laid_out}{}\n", count(errors.len(), "error")))
    })?;
    match &args.out {
        Some(path) => std::fs::write(path, &imported.sql)
            .map_err(|error| Error::user(format!("file \"{}\": {error}", path.display())))?,
        None => print!("{}", imported.sql),
    }
    tell(&imported, &files);
    Ok(())
}

fn tell(imported: &Imported, files: &[SqlText]) {
    let untold: Vec<Error> = imported.refused.iter().chain(&imported.notes).cloned().collect();
    eprint!("{}", render_warnings(&untold, files));
    let all = imported.translated + imported.refused.len();
    eprintln!("{} of {}", imported.translated, count(all, "rule") + " translated");
}

fn options(args: &PrometheusArgs) -> Result<ImportOptions> {
    let millis = |name: &str, value: &str| {
        let length = parse_duration(value).filter(|length| !length.is_zero());
        let length = length.ok_or_else(|| {
            Error::user(format!("--{name} \"{value}\" is no length of time")).with_hint("Write 30s or 5m.")
        })?;
        Ok::<i64, Error>(i64::try_from(length.as_millis()).unwrap_or(i64::MAX))
    };
    let mut metrics = Metrics { lookback_ms: millis("lookback", &args.lookback)?, ..Metrics::default() };
    for given in &args.columns {
        let (what, column) = given.split_once('=').unwrap_or((given, ""));
        let column = column.trim().to_string();
        match what.trim() {
            "time" => metrics.time = column,
            "name" => metrics.name = column,
            "value" => metrics.value = column,
            "labels" => metrics.labels = Some(column).filter(|column| !column.is_empty()),
            other => {
                let error = Error::user(format!("--columns knows no \"{other}\""));
                return Err(match closest(other, ["time", "name", "labels", "value"]) {
                    Some(near) => error.with_hint(format!("Did you mean \"{near}\"?")),
                    None => error.with_hint("Write time=ts,name=name,labels=labels,value=value."),
                });
            }
        }
    }
    if let Some(relation) = &args.from {
        metrics.relation.clone_from(relation);
    }
    Ok(ImportOptions {
        metrics,
        declare: args.from.is_none().then(|| args.source.clone()),
        labels: args.labels.iter().filter(|label| !label.is_empty()).cloned().collect(),
        interval_ms: millis("interval", &args.interval)?,
        notify: args.notify.clone(),
    })
}
