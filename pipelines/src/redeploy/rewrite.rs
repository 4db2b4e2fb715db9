//! The dataflow that a run needs: the program's, with its instances of sources and what is computed from those.

use std::collections::{BTreeMap, BTreeSet};
use thalweg_operators::deployed::{Deployed, Object, ObjectKind};
use thalweg_operators::plan::{Dataflow, Plan, SourcePlan, TimeOrigin, ViewPlan};

/// The declared sources that an object's time comes from, each with the objects that it is read by.
type Origins = BTreeMap<String, BTreeSet<String>>;

/// The dataflow of `deployed`, whose declarations are those of `program`.
///
/// Sources are in the order of their names, so that their positions, by which the epoch log knows them, do not depend on
/// the order of the statements.
pub fn dataflow_of(program: &Dataflow, deployed: &Deployed) -> Dataflow {
    let of_kind = |kind| deployed.objects.iter().filter(move |(_, object)| object.kind == kind);
    let source = |(name, object): (&String, &Object)| {
        let plan = program.sources.iter().find(|source| source.name == object.declared)?;
        Some(SourcePlan { name: name.clone(), ..plan.clone() })
    };
    let mut origins: BTreeMap<String, Origins> = BTreeMap::new();
    let mut dataflow = Dataflow {
        sources: of_kind(ObjectKind::Source).filter_map(source).collect(),
        views: Vec::new(),
        sinks: program.sinks.clone(),
    };
    for view in &program.views {
        // What is computed a second time reads what was computed a second time before it.
        for (name, object) in of_kind(ObjectKind::View).filter(|(_, object)| object.declared == view.name) {
            let mut copy = ViewPlan { name: name.clone(), ..view.clone() };
            let of_view = origins_of(&copy.plan, object, &origins);
            rewrite(&mut copy.plan, object, &of_view);
            copy.retain.iter_mut().for_each(|retain| rewrite_origin(&mut retain.origin, &of_view));
            origins.insert(name.clone(), of_view);
            dataflow.views.push(copy);
        }
    }
    for sink in &mut dataflow.sinks {
        if let Some(object) = deployed.objects.get(&sink.name) {
            let of_sink = origins_of(&sink.plan, object, &origins);
            rewrite(&mut sink.plan, object, &of_sink);
        }
    }
    dataflow
}

fn origins_of(plan: &Plan, object: &Object, views: &BTreeMap<String, Origins>) -> Origins {
    let mut origins = Origins::new();
    match plan {
        Plan::Source { name, .. } => {
            origins.entry(name.clone()).or_default().insert(object.reads_as(name).to_string());
        }
        Plan::View { name, .. } => origins.extend(views.get(object.reads_as(name)).cloned().unwrap_or_default()),
        _ => {}
    }
    for input in plan.inputs() {
        for (declared, read) in origins_of(input, object, views) {
            origins.entry(declared).or_default().extend(read);
        }
    }
    origins
}

/// Puts the names of objects in the place of those that were declared.
fn rewrite(plan: &mut Plan, object: &Object, origins: &Origins) {
    if let Plan::Source { name, .. } | Plan::View { name, .. } = plan {
        *name = object.reads_as(name).to_string();
    }
    plan.time_origins_mut().into_iter().for_each(|origin| rewrite_origin(origin, origins));
    plan.inputs_mut().into_iter().for_each(|input| rewrite(input, object, origins));
}

fn rewrite_origin(origin: &mut TimeOrigin, origins: &Origins) {
    let known = std::mem::take(&mut origin.sources).into_iter();
    let read = known.flat_map(|(declared, delay)| {
        let read = origins.get(&declared).cloned().unwrap_or_else(|| BTreeSet::from([declared]));
        read.into_iter().map(move |name| (name, delay))
    });
    origin.sources = read.collect();
}
