//! Operators that let rows wait, and so hold the watermark of whoever reads what they give.
//!
//! What follows of a view's operators is held by all that were built for it before, and by those of the views that it
//! reads: more than need be where only a branch of a plan has rows that wait, and never less.

use crate::rows::Rows;
use crate::watermark::WatermarkUpdate;
use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use thalweg_schemas::epoch::Watermark;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Operator;
use timely::dataflow::operators::vec::Broadcast;
use timely::dataflow::{Scope, Stream, StreamVec};

type Updates<'scope> = StreamVec<'scope, u64, WatermarkUpdate>;

/// Who lets rows wait, by the views that read what they give.
#[derive(Clone, Default)]
pub struct Holds<'scope> {
    by_view: RefCell<BTreeMap<String, BTreeMap<u32, Updates<'scope>>>>,
    built: Cell<u32>,
}

impl<'scope> Holds<'scope> {
    /// An operator of `view` says by `rows` of one column, on each worker, since which watermark its rows wait: NULL where
    /// none do. To those who listen it is a source that is idle while none do, under a number that no source has.
    pub(super) fn add(&self, scope: Scope<'scope, u64>, view: &str, rows: Stream<'scope, u64, Rows>) {
        let id = u32::MAX - self.built.replace(self.built.get() + 1);
        let worker = scope.index() as u32;
        let said = rows.unary::<CapacityContainerBuilder<Vec<WatermarkUpdate>>, _, _, _>(Pipeline, "Holds", |_, _| {
            move |input, output| {
                input.for_each(|time, rows: &mut Rows| {
                    let Some(batch) = std::mem::take(rows).into_batch() else { return };
                    let since = batch.rows.column(0).as_primitive::<Int64Type>();
                    let updates = since.iter().map(|since| WatermarkUpdate {
                        source: id,
                        worker,
                        watermark_ns: since.unwrap_or(Watermark::MIN.0),
                        idle: since.is_none(),
                    });
                    output.session(&time).give_iterator(updates);
                });
            }
        });
        self.by_view.borrow_mut().entry(view.to_string()).or_default().insert(id, said.broadcast());
    }

    /// What `view` reads of `read` may wait there.
    pub(super) fn inherit(&self, view: &str, read: &str) {
        let mut by_view = self.by_view.borrow_mut();
        if let Some(holds) = by_view.get(read).filter(|_| view != read).cloned() {
            by_view.entry(view.to_string()).or_default().extend(holds);
        }
    }

    /// The numbers of those who let rows of `view` wait, and what they say.
    pub(super) fn of(&self, view: &str) -> Option<(Vec<u32>, Vec<Updates<'scope>>)> {
        self.by_view.borrow().get(view).map(|holds| holds.iter().map(|(id, said)| (*id, said.clone())).unzip())
    }
}
