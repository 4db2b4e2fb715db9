//! Readers that come later to a view: they are handed its rows as they were, once, before any change.

use crate::driver::RowsInput;
use crate::durability::manifest::Manifest;
use crate::holdings::Holdings;
use std::collections::{BTreeMap, BTreeSet};
use thalweg_operators::plan::Plan;
use thalweg_operators::render::{Demand, Rendered, Renderer};
use thalweg_operators::rows::Rows;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::Epoch;
use thalweg_schemas::error::Result;
use timely::dataflow::operators::Input;
use timely::dataflow::{InputHandle, Scope, Stream};

/// The rows of views for those that begin with them.
pub(crate) struct Seeds<'scope> {
    scope: Scope<'scope, u64>,
    /// For each reader the views with whose rows it begins.
    readers: BTreeMap<String, BTreeSet<String>>,
    rows: BTreeMap<String, Stream<'scope, u64, Rows>>,
}

impl<'scope> Seeds<'scope> {
    /// What `manifest` says of it, with an input in `inputs` for each view that hands over its rows.
    pub fn new(
        scope: Scope<'scope, u64>,
        manifest: Option<&Manifest>,
        inputs: &mut BTreeMap<String, RowsInput>,
    ) -> Seeds<'scope> {
        let readers = manifest.map(|manifest| manifest.seeds.clone()).unwrap_or_default();
        let mut rows = BTreeMap::new();
        for view in readers.values().flatten().cloned().collect::<BTreeSet<_>>() {
            let input = inputs.entry(view.clone()).or_insert_with(InputHandle::new_with_builder);
            rows.insert(view, scope.input_from(input));
        }
        Seeds { scope, readers, rows }
    }

    /// Builds `plan` for `name`, which begins with the rows of some of the views that it reads.
    pub fn render(
        &self,
        renderer: &mut Renderer<'scope>,
        name: &str,
        plan: &Plan,
        demand: Demand,
    ) -> Result<Rendered<'scope>> {
        let mut plain = BTreeMap::new();
        for view in self.readers.get(name).into_iter().flatten() {
            if let (Some(known), Some(rows)) = (renderer.views.get_mut(view), self.rows.get(view)) {
                let after = known.clone().after(self.scope, rows.clone());
                plain.insert(view.clone(), std::mem::replace(known, after));
            }
        }
        let rendered = renderer.render(name, plan, demand);
        renderer.views.extend(plain);
        rendered
    }
}

/// Hands over this worker's rows of the views as `epoch` left them in the next one, and closes the inputs. That is before or
/// with the first watermark that is said: none of the rows is late.
pub(crate) fn sow(inputs: BTreeMap<String, RowsInput>, holdings: &Holdings, epoch: Epoch) -> Result<()> {
    for (view, mut input) in inputs {
        input.advance_to(epoch.0 + 1);
        for rows in holdings.rows_of(&view, epoch)?.into_iter().filter(|rows| rows.num_rows() > 0) {
            input.send_batch(&mut Rows::unbounded(Batch::append(rows)));
        }
    }
    Ok(())
}
