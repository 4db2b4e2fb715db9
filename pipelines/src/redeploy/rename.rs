//! Another name for a source, a table, a view or a sink: what that makes of the state.

use crate::bind::table::rows_of;
use crate::fingerprint::objects;
use arrow::datatypes::SchemaRef;
use std::collections::BTreeMap;
use thalweg_operators::deployed::{Object, Renaming};
use thalweg_operators::plan::{Dataflow, SourcePlan};

/// What it takes to give `from` the name `to` in the state of `before`, which then is that of `after`: the same statements
/// with one name in place of the other. `None` where a column has lost its name by that.
pub fn renaming(before: &Dataflow, after: &Dataflow, from: &str, to: &str) -> Option<Renaming> {
    let fingerprint = |(name, object): (String, Object)| (name, object.fingerprint);
    let fingerprints = objects(after).into_iter().map(fingerprint).collect();
    // The source of a table's rows is called after it.
    let family = |name: &str| [name.to_string(), rows_of(name)];
    let names = family(from).into_iter().zip(family(to)).collect();
    let renaming = Renaming { names, fingerprints };
    (renaming.keys(columns(before)) == columns(after)).then_some(renaming)
}

/// The names of the columns of all that has any, by its name.
fn columns(dataflow: &Dataflow) -> BTreeMap<String, Vec<String>> {
    let of_schema = |schema: SchemaRef| schema.fields().iter().map(|field| field.name().clone()).collect();
    let of_source = |source: &SourcePlan| source.columns.iter().map(|column| column.name.clone()).collect();
    let sources = dataflow.sources.iter().map(|source| (source.name.clone(), of_source(source)));
    let views = dataflow.views.iter().map(|view| (view.name.clone(), of_schema(view.plan.schema())));
    let sinks = dataflow.sinks.iter().map(|sink| (sink.name.clone(), of_schema(sink.plan.schema())));
    sources.chain(views).chain(sinks).collect()
}
