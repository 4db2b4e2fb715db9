//! The loop as a dataflow: the base enters it, the rows of each iteration go through the chains of the step and come back
//! one iteration later, and what an epoch changed leaves it.

use super::RecursionSpec;
use super::iterate::{Each, Time, iterated};
use super::levels::{Levels, RESULT};
use super::links::{Chain, Link, chains};
use crate::exchange::by_key;
use crate::filter::Filter;
use crate::join::Join;
use crate::observer::Observer;
use crate::plan::Read;
use crate::project::Project;
use crate::render::{Rendered, Renderer};
use crate::rows::Rows;
use std::rc::Rc;
use thalweg_schemas::error::{Error, Result};
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::{Concatenate, ConnectLoop, Enter, Feedback, Leave};
use timely::dataflow::{Scope, Stream};
use timely::order::Product;

/// An operator of a chain, ready to run.
enum Ready<'outer> {
    Filter(Filter),
    Project(Project),
    Join {
        join: Box<Join>,
        /// The side that is no part of the recursion.
        beside: Stream<'outer, u64, Rows>,
        left: bool,
        key: Vec<usize>,
        iteration: usize,
    },
}

impl<'outer> Renderer<'outer> {
    /// The rows of a recursion.
    pub(crate) fn recursion(&self, view: &str, spec: &RecursionSpec) -> Result<Rendered<'outer>> {
        let base = self.input(view, &spec.base, Read::Changes)?;
        let levels = Levels::new(spec)?;
        let chains = chains(&spec.step)?;
        let ready = |chain: &Chain| -> Result<Vec<Ready<'outer>>> {
            chain.links.iter().map(|link| self.ready(view, spec, link)).collect()
        };
        let chains = chains.iter().map(ready).collect::<Result<Vec<_>>>()?;
        let all: Vec<usize> = (0..spec.schema.fields().len()).collect();
        let (outer, observer) = (self.scope, &self.observer);
        let result = self.scope.scoped::<Time, _, _>(&format!("Recursion {}", spec.name), |inner| {
            let (handle, made) = inner.feedback(Product::new(0, 1));
            let rows = inner.concatenate([base.enter(inner), made]);
            let inputs = vec![(rows, by_key(all))];
            let mut found =
                iterated(inner, (view, "Recursion"), levels, inputs, RESULT + 1, observer.clone()).into_iter();
            let (found, result) = (found.next()?, found.next()?);
            let run = |chain: Vec<Ready<'outer>>| {
                chain.into_iter().try_fold(found.clone(), |rows, ready| linked(inner, view, ready, rows, observer))
            };
            let chains: Vec<_> = chains.into_iter().map(run).collect::<Option<_>>()?;
            inner.concatenate(chains).connect_loop(handle);
            Some(result.leave(outer))
        });
        let result = result.ok_or_else(|| Error::bug("an operator of a recursion was hosted without an output"))?;
        Ok(match spec.retracts {
            true => Rendered::changes(result),
            false => Rendered::append(result),
        })
    }

    fn ready(&self, view: &str, recursion: &RecursionSpec, link: &Link) -> Result<Ready<'outer>> {
        Ok(match link {
            Link::Filter(spec) => Ready::Filter(Filter::new(spec)?),
            Link::Project(spec) => Ready::Project(Project::new(spec)?),
            Link::Join { spec, left, iteration } => {
                let beside = if *left { &spec.right } else { &spec.left };
                if spec.within.is_some() {
                    return Err(Error::bug(format!("the rows of recursion \"{}\" have no event time", recursion.name)));
                }
                Ready::Join {
                    join: Box::new(Join::new(spec, Read::Changes, true)?),
                    beside: self.input(view, beside, Read::Changes)?,
                    left: *left,
                    key: spec.exchanged_by(),
                    iteration: *iteration,
                }
            }
        })
    }
}

/// Runs an operator of a chain over `rows`.
fn linked<'inner>(
    scope: Scope<'inner, Time>,
    view: &str,
    ready: Ready<'_>,
    rows: Stream<'inner, Time, Rows>,
    observer: &Rc<dyn Observer>,
) -> Option<Stream<'inner, Time, Rows>> {
    let streams = match ready {
        Ready::Filter(operator) => {
            let each = Each { operator, iteration: None };
            iterated(scope, (view, "Filter"), each, vec![(rows, Pipeline)], 1, observer.clone())
        }
        Ready::Project(operator) => {
            let each = Each { operator, iteration: None };
            iterated(scope, (view, "Project"), each, vec![(rows, Pipeline)], 1, observer.clone())
        }
        Ready::Join { join, beside, left, key, iteration } => {
            let beside = beside.enter(scope);
            let sides = if left { [rows, beside] } else { [beside, rows] };
            let inputs = sides.into_iter().map(|side| (side, by_key(key.clone()))).collect();
            let each = Each { operator: *join, iteration: Some(iteration) };
            iterated(scope, (view, "Join"), each, inputs, 1, observer.clone())
        }
    };
    streams.into_iter().next()
}
