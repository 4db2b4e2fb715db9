//! The identity of what a pipeline computes: state belongs to it and to no other.
//!
//! Two pipelines have one fingerprint if they read the same sources and compute the same views and sinks in the same
//! way, however their files are cut, ordered, indented or commented. Secrets are left out: a new password is not a new
//! pipeline.

use sha2::{Digest, Sha256};
use std::fmt::Write;
use thalweg_operators::plan::{Dataflow, Plan};
use thalweg_schemas::options::Options;

/// Sixteen hexadecimal digits.
pub fn fingerprint(dataflow: &Dataflow) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = describe(dataflow, &mut text);
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(8).fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn describe(dataflow: &Dataflow, out: &mut String) -> std::fmt::Result {
    for source in &dataflow.sources {
        writeln!(out, "source {} {} {:?}", source.name, source.connector, source.format)?;
        describe_options(&source.options, out)?;
        describe_options(&source.format_options, out)?;
        for column in &source.columns {
            writeln!(out, "  {column:?}")?;
        }
        for (position, expr) in &source.generated {
            writeln!(out, "  {position} = {expr}")?;
        }
        writeln!(out, "  {:?} {:?} {:?}", source.watermark, source.on_bad, source.key)?;
    }
    for view in &dataflow.views {
        writeln!(out, "view {} {:?}", view.name, view.emit)?;
        describe_plan(&view.plan, out)?;
    }
    for sink in &dataflow.sinks {
        writeln!(out, "sink {} {} {:?} {}", sink.name, sink.connector, sink.read, sink.changelog)?;
        describe_options(&sink.options, out)?;
        describe_plan(&sink.plan, out)?;
    }
    Ok(())
}

fn describe_options(options: &Options, out: &mut String) -> std::fmt::Result {
    const SECRET: [&str; 5] = ["password", "secret", "token", "auth", "credential"];
    for (name, value) in options.with_prefix("") {
        if !SECRET.iter().any(|secret| name.contains(secret)) {
            writeln!(out, "  {name} = {value}")?;
        }
    }
    Ok(())
}

fn describe_plan(plan: &Plan, out: &mut String) -> std::fmt::Result {
    match plan {
        Plan::Source { name, .. } => writeln!(out, "  source {name}")?,
        Plan::View { name, .. } => writeln!(out, "  view {name}")?,
        Plan::Filter(spec) => writeln!(out, "  {spec}")?,
        Plan::Project(spec) => writeln!(out, "  {spec}")?,
        Plan::Union { .. } => writeln!(out, "  union")?,
        Plan::AssignWindows(spec) => writeln!(out, "  {spec}")?,
        Plan::WindowAggregate(spec) => writeln!(out, "  {spec} {:?} {:?}", spec.on_late, spec.time_origin)?,
        Plan::SessionAggregate(spec) => writeln!(out, "  {spec} {:?} {:?}", spec.on_late, spec.time_origin)?,
        Plan::TopN(spec) => writeln!(out, "  {spec} {} {:?}", spec.numbered, spec.closes)?,
        Plan::Over(spec) => {
            let frames = spec.functions.iter().map(|function| function.get_window_frame().to_string());
            writeln!(out, "  {spec} {:?} {:?}", frames.collect::<Vec<_>>(), spec.closes)?;
        }
        Plan::Expand(spec) => writeln!(out, "  {spec}")?,
        Plan::Repeat(spec) => writeln!(out, "  {spec}")?,
        Plan::Reduce(spec) => writeln!(out, "  {spec}")?,
        Plan::Join(spec) => writeln!(out, "  {spec}")?,
        Plan::AsofJoin(spec) => writeln!(out, "  {spec}")?,
    }
    for field in plan.schema().fields() {
        writeln!(out, "    {} {} {}", field.name(), field.data_type(), field.is_nullable())?;
    }
    plan.inputs().into_iter().try_for_each(|input| describe_plan(input, out))
}
