//! The identity of what a pipeline computes: state belongs to it and to no other.
//!
//! Each source, view and sink has a fingerprint of its own definition and of all that it reads. However files are cut,
//! ordered, indented or commented, it stays the same. Secrets are left out: a new password is not a new pipeline.

use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write;
use thalweg_operators::deployed::{Object, ObjectKind};
use thalweg_operators::horizon::Horizon;
use thalweg_operators::plan::{Dataflow, Plan, SourcePlan};
use thalweg_operators::render::repeats;
use thalweg_schemas::options::Options;

/// Sixteen hexadecimal digits for all of it.
pub fn fingerprint(dataflow: &Dataflow) -> String {
    digest(|out| {
        objects(dataflow).iter().try_for_each(|(name, object)| {
            writeln!(out, "{:?} {name} {} {}", object.kind, object.fingerprint, object.settings)
        })
    })
}

/// That of one object.
pub fn fingerprint_of(dataflow: &Dataflow, name: &str) -> Option<String> {
    objects(dataflow).remove(name).map(|object| object.fingerprint)
}

/// The objects of `dataflow`, each with the fingerprint of what it computes.
pub(crate) fn objects(dataflow: &Dataflow) -> BTreeMap<String, Object> {
    let mut objects: BTreeMap<String, Object> = BTreeMap::new();
    for source in &dataflow.sources {
        let fingerprint = digest(|out| describe_source(source, out));
        let connector = source.connector.clone();
        objects
            .insert(source.name.clone(), Object { connector, ..object(ObjectKind::Source, &source.name, fingerprint) });
    }
    for view in &dataflow.views {
        let fingerprint = digest(|out| {
            writeln!(out, "view {:?}", view.emit)?;
            describe_plan(&view.plan, &objects, out)?;
            if repeats(&view.plan) { writeln!(out, "its parts once each") } else { Ok(()) }
        });
        let settings = match &view.plan {
            Plan::Alert(spec) => {
                digest(|out| writeln!(out, "{:?} {:?} {:?}", spec.labels, spec.annotations, spec.mute_older_than_ns))
            }
            _ => String::new(),
        };
        objects.insert(view.name.clone(), Object { settings, ..object(ObjectKind::View, &view.name, fingerprint) });
    }
    for sink in &dataflow.sinks {
        let fingerprint = digest(|out| {
            writeln!(out, "sink {:?} {}", sink.read, sink.changelog)?;
            describe_plan(&sink.plan, &objects, out)
        });
        let settings = digest(|out| {
            writeln!(out, "{}", sink.connector)?;
            describe_options(&sink.options, out)
        });
        let connector = sink.connector.clone();
        let sink_object = object(ObjectKind::Sink, &sink.name, fingerprint);
        objects.insert(sink.name.clone(), Object { connector, settings, ..sink_object });
    }
    objects
}

fn object(kind: ObjectKind, name: &str, fingerprint: String) -> Object {
    Object {
        kind,
        declared: name.to_string(),
        fingerprint,
        connector: String::new(),
        settings: String::new(),
        reads: BTreeMap::new(),
    }
}

fn digest(describe: impl FnOnce(&mut String) -> std::fmt::Result) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = describe(&mut text);
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(8).fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

fn describe_source(source: &SourcePlan, out: &mut String) -> std::fmt::Result {
    writeln!(out, "source {} {:?}", source.connector, source.format)?;
    describe_options(&source.options, out)?;
    describe_options(&source.format_options, out)?;
    for column in &source.columns {
        writeln!(out, "  {column:?}")?;
    }
    for (position, expr) in &source.generated {
        writeln!(out, "  {position} = {expr}")?;
    }
    writeln!(out, "  {:?} {:?} {:?}", source.watermark, source.on_bad, source.key)
}

/// Whether the value of an option of this name is nobody else's business.
pub(crate) fn is_secret(option: &str) -> bool {
    ["password", "secret", "token", "auth", "credential"].iter().any(|secret| option.contains(secret))
}

fn describe_options(options: &Options, out: &mut String) -> std::fmt::Result {
    for (name, value) in options.with_prefix("") {
        if !is_secret(name) {
            writeln!(out, "  {name} = {value}")?;
        }
    }
    Ok(())
}

/// Whether keys are forgotten is part of what is computed: state that lacks some is not that of a view that keeps all. After
/// how long is not: state goes on, and from then on keys go after another time.
fn forgets<'a>(state_ttl_ns: Option<i64>, horizons: impl IntoIterator<Item = &'a Option<Horizon>>) -> String {
    let ttl = if state_ttl_ns.is_some() { " forgets" } else { "" };
    let by = horizons.into_iter().flatten().map(|horizon| format!(" until {}", names_of(horizon)));
    by.fold(ttl.to_string(), |text, one| text + &one)
}

fn names_of(horizon: &Horizon) -> String {
    let clock: Vec<&str> = horizon.origin.sources.iter().map(|(name, _)| name.as_str()).collect();
    format!("{} by {}", horizon.column, clock.join(" "))
}

fn describe_plan(plan: &Plan, read: &BTreeMap<String, Object>, out: &mut String) -> std::fmt::Result {
    let of = |name: &str| read.get(name).map(|object| object.fingerprint.as_str()).unwrap_or_default();
    match plan {
        Plan::Source { name, .. } => writeln!(out, "  source {name} {}", of(name))?,
        Plan::View { name, .. } => writeln!(out, "  view {name} {}", of(name))?,
        Plan::Filter(spec) => writeln!(out, "  {spec}")?,
        Plan::Project(spec) => writeln!(out, "  {spec}")?,
        // How far the horizon is back is not part of it, as with `state_ttl`.
        Plan::Within(spec) => writeln!(out, "  {spec} {}", names_of(&spec.horizon))?,
        Plan::Union { .. } => writeln!(out, "  union")?,
        Plan::AssignWindows(spec) => writeln!(out, "  {spec}")?,
        Plan::WindowAggregate(spec) => writeln!(out, "  {spec} {:?} {:?}", spec.on_late, spec.time_origin)?,
        Plan::SessionAggregate(spec) => writeln!(out, "  {spec} {:?} {:?}", spec.on_late, spec.time_origin)?,
        Plan::TopN(spec) => {
            let forgets = forgets(spec.state_ttl_ns, [&spec.horizon]);
            writeln!(out, "  {spec} {} {:?}{forgets}", spec.numbered, spec.closes)?
        }
        Plan::Over(spec) => {
            let frames = spec.functions.iter().map(|function| function.get_window_frame().to_string());
            let (frames, forgets) = (frames.collect::<Vec<_>>(), forgets(spec.state_ttl_ns, [&spec.horizon]));
            writeln!(out, "  {spec} {frames:?} {:?} {:?}{forgets}", spec.closes, spec.in_order)?;
        }
        Plan::Series(spec) => writeln!(out, "  {spec} {:?} {:?}", spec.task, spec.origin)?,
        Plan::Expand(spec) => writeln!(out, "  {spec}")?,
        Plan::Repeat(spec) => writeln!(out, "  {spec}")?,
        Plan::Envelope(spec) => writeln!(out, "  {spec}")?,
        Plan::Unnest(spec) => writeln!(out, "  {spec}")?,
        Plan::Recursion(spec) => writeln!(out, "  {spec}")?,
        Plan::Recursive { .. } => writeln!(out, "  recursive")?,
        Plan::Reduce(spec) => writeln!(out, "  {spec}{}", forgets(spec.state_ttl_ns, [&spec.horizon]))?,
        Plan::Join(spec) => writeln!(out, "  {spec}{}", forgets(spec.state_ttl_ns, &spec.horizons))?,
        Plan::AsofJoin(spec) => writeln!(out, "  {spec}{}", forgets(spec.state_ttl_ns, [&spec.horizon]))?,
        Plan::LookupJoin(spec) => writeln!(out, "  {spec} {:?}", spec.waits_for)?,
        Plan::Alert(spec) => {
            // What it says of an incident is no part of it: with other texts the incidents go on.
            writeln!(out, "  {} {spec} {:?} {:?} {:?}", spec.name, spec.rule, spec.time, spec.read)?;
        }
    }
    for field in plan.schema().fields() {
        writeln!(out, "    {} {} {}", field.name(), field.data_type(), field.is_nullable())?;
    }
    plan.inputs().into_iter().try_for_each(|input| describe_plan(input, read, out))
}
