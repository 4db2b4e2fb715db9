//! An operator at the end of a stream that acts once for each complete epoch, in order.

use std::collections::BTreeMap;
use thalweg_operators::rows::Rows;
use thalweg_operators::watermark::WatermarkUpdate;
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::Epoch;
use timely::dataflow::channels::pact::{ParallelizationContract, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::operators::probe::{Handle, Probe};
use timely::dataflow::{Scope, Stream, StreamVec};
use timely::progress::frontier::MutableAntichain;

/// Calls `act` with all batches of each epoch that had rows, when the epoch is complete, in epoch order. With `moves` it is
/// also called, without batches, for epochs in which a watermark moved.
///
/// `probe` passes an epoch only after `act` has returned for it, on every worker.
pub(crate) fn for_each_epoch<'scope, P>(
    scope: Scope<'scope, u64>,
    name: &str,
    rows: Stream<'scope, u64, Rows>,
    pact: P,
    moves: Option<StreamVec<'scope, u64, WatermarkUpdate>>,
    probe: &Handle<u64>,
    mut act: impl FnMut(Epoch, Vec<Batch>) + 'static,
) where
    P: ParallelizationContract<u64, Rows>,
{
    let mut builder = OperatorBuilder::new(name.to_string(), scope);
    let mut input = builder.new_input(rows, pact);
    let mut moves = moves.map(|moves| builder.new_input(moves, Pipeline));
    let (_output, done): (_, StreamVec<'scope, u64, ()>) = builder.new_output();
    let mut pending: BTreeMap<u64, (Capability<u64>, Vec<Batch>)> = BTreeMap::new();
    builder.build(move |_capabilities| {
        move |frontiers: &[MutableAntichain<u64>]| {
            input.for_each(|capability, rows: &mut Rows| {
                let entry = pending.entry(*capability.time());
                let (_, batches) = entry.or_insert_with(|| (capability.retain(0), Vec::new()));
                batches.extend(std::mem::take(rows).into_batch());
            });
            if let Some(moves) = &mut moves {
                moves.for_each(|capability, _| {
                    pending.entry(*capability.time()).or_insert_with(|| (capability.retain(0), Vec::new()));
                });
            }
            while let Some(entry) = pending.first_entry() {
                if frontiers.iter().any(|frontier| frontier.less_equal(entry.key())) {
                    break;
                }
                let (time, (_capability, batches)) = entry.remove_entry();
                act(Epoch(time), batches);
            }
        }
    });
    done.probe_with(probe);
}
