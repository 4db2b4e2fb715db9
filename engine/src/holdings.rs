//! What one worker holds of a run's state: its operators and its rows of the views, as checkpoints and restarts see them.

use crate::durability::barrier::Part;
use crate::durability::manifest::{Manifest, SectionRef, operator_id};
use crate::durability::read_ahead::{SectionReader, files_of, read_ahead};
use crate::durability::storage::Storage;
use crate::view::published::PublishedView;
use crate::view::rows::ViewRows;
use crate::view::store::{CHUNK, MASK, ViewStore};
use arrow::array::AsArray;
use arrow::compute::filter_record_batch;
use arrow::record_batch::RecordBatch;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use thalweg_operators::placement::Placement;
use thalweg_operators::state::{Checkpointed, Restored, owned};
use thalweg_schemas::epoch::{Epoch, Watermark, WorkerId};
use thalweg_schemas::error::{Error, Result};

/// One worker's operators and views.
#[derive(Default)]
pub(crate) struct Holdings {
    operators: Vec<(String, Rc<RefCell<dyn Checkpointed>>)>,
    views: Vec<(String, Placement, Rc<RefCell<ViewRows>>)>,
}

impl Holdings {
    /// Notes an operator; those of one view and name are told apart by the order in which they are built.
    pub fn add_operator(&mut self, view: &str, name: &str, operator: Rc<RefCell<dyn Checkpointed>>) {
        let like = |number| operator_id(view, name, number);
        let before = (0..).take_while(|number| self.operators.iter().any(|(id, _)| *id == like(*number)));
        let id = like(before.count());
        self.operators.push((id, operator));
    }

    pub fn add_view(&mut self, view: &str, placement: Placement, rows: Rc<RefCell<ViewRows>>) {
        self.views.push((view.to_string(), placement, rows));
    }

    /// The state between two epochs; `None` if something of a later epoch has come already.
    pub fn snapshot(&self) -> Result<Option<Part>> {
        let mut part = Part::default();
        for (id, operator) in &self.operators {
            let mut operator = operator.borrow_mut();
            let Some(sections) = operator.snapshot()? else { return Ok(None) };
            part.operators.push((id.clone(), operator.watermark().0, sections));
        }
        for (view, _, rows) in &self.views {
            part.views.push((view.clone(), rows.borrow_mut().sections()));
        }
        Ok(Some(part))
    }

    /// Publishes the views as they are, as of `epoch`.
    pub fn publish(&self, targets: &BTreeMap<String, Arc<PublishedView>>, worker: usize, epoch: Epoch) {
        for (view, _, rows) in &self.views {
            if let Some(target) = targets.get(view) {
                target.publish(worker, epoch, rows.borrow_mut().version(epoch), &[]);
            }
        }
    }

    /// The rows of a view on this worker, as `epoch` left them.
    pub fn rows_of(&self, view: &str, epoch: Epoch) -> Result<Vec<RecordBatch>> {
        let rows = self.views.iter().find(|(name, _, _)| name == view).map(|(_, _, rows)| rows);
        rows.map_or_else(|| Ok(Vec::new()), |rows| rows.borrow_mut().version(epoch).batches())
    }

    /// Takes on this worker's share of a checkpoint; gives a bound on all watermarks as of then. What the checkpoint does
    /// not know is new in this program and begins empty.
    pub fn restore(&self, manifest: &Manifest, storage: &dyn Storage, worker: WorkerId) -> Result<Watermark> {
        let operators = self.operators.iter().filter_map(|(id, _)| manifest.operators.get(id)).flatten();
        let own = self.views.iter().filter(|(_, _, rows)| rows.borrow_mut().own().is_some());
        let views = own.filter_map(|(view, _, _)| manifest.views.get(view)).flatten().flatten();
        let files = files_of(operators.flat_map(|state| &state.sections).chain(views));
        read_ahead(storage, files, worker.peers, |ahead| {
            let mut reader = SectionReader::new(ahead);
            let floor = self.restore_operators(manifest, &mut reader, worker)?;
            for (view, placement, rows) in &self.views {
                let mut rows = rows.borrow_mut();
                let Some(store) = rows.own() else { continue };
                for sections in manifest.views.get(view).into_iter().flatten() {
                    restore_view(sections, &mut reader, placement, store, worker)?;
                }
            }
            Ok(floor)
        })
    }

    fn restore_operators(
        &self,
        manifest: &Manifest,
        reader: &mut SectionReader<'_>,
        worker: WorkerId,
    ) -> Result<Watermark> {
        let mut floor = Watermark::MIN;
        for (id, operator) in &self.operators {
            let Some(states) = manifest.operators.get(id) else { continue };
            let mut watermark = Watermark::MIN;
            let mut sections = Vec::new();
            for state in states {
                watermark = watermark.max(Watermark(state.watermark_ns));
                for section in &state.sections {
                    let rows = reader.rows(section)?;
                    let rows = owned(&rows, &(0..section.keys).collect::<Vec<_>>(), worker)?;
                    sections.push(Restored { label: section.label.clone(), rows });
                }
            }
            floor = floor.max(watermark);
            operator.borrow_mut().restore(watermark, sections)?;
        }
        Ok(floor)
    }
}

fn restore_view(
    sections: &[SectionRef],
    reader: &mut SectionReader<'_>,
    placement: &Placement,
    store: &mut ViewStore,
    worker: WorkerId,
) -> Result<()> {
    let mut sections = sections.iter().peekable();
    while let Some(section) = sections.next() {
        if section.label != CHUNK {
            return Err(Error::bug(format!("a view's state holds \"{}\" where its rows should be", section.label)));
        }
        let mut rows: RecordBatch = reader.rows(section)?;
        if let Some(mask) = sections.next_if(|next| next.label == MASK) {
            let mask = reader.rows(mask)?;
            rows = filter_record_batch(&rows, mask.column(0).as_boolean())?;
        }
        let keys = match placement {
            Placement::By(keys) => keys.clone(),
            Placement::Any | Placement::Scattered => (0..rows.num_columns()).collect(),
        };
        store.restore(owned(&rows, &keys, worker)?)?;
    }
    Ok(())
}
