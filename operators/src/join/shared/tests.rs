//! Joins that share a side in a real dataflow, against the same joins that share nothing: inputs that come at their own
//! pace, a join behind a join, restarts with other workers, in other company, and of a join that begins later.

use super::super::tests::taking_back;
use super::*;
use crate::observer::tests::Ear;
use crate::plan::{Emit, ViewPlan};
use crate::render::{Demand, Rendered, Renderer, Sharing};
use crate::state::{Restored, owned};
use crate::watermark::WatermarkUpdate;
use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion_expr::Operator as Comparison;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::BinaryExpr;
use proptest::prelude::*;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::{Watermark, WorkerId};
use timely::container::{CapacityContainerBuilder, NoopBuilder};
use timely::dataflow::InputHandle;
use timely::dataflow::operators::probe::Handle as Probe;
use timely::dataflow::operators::{Input, InspectCore, Probe as _};

/// A key and a value, and how often it comes.
type Change = ((Option<i64>, i64), i64);
/// What changes of each of the relations in an epoch.
type Changes = [Vec<Change>; 3];
const NAMES: [&str; 3] = ["a", "b", "c"];
const VIEWS: [&str; 3] = ["ab", "ab_b", "bc"];

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("k", DataType::Int64, true), Field::new("v", DataType::Int64, true)]))
}

fn join(kind: JoinKind, left: (&str, SchemaRef), right: &str, filtered: bool) -> Plan {
    let view = |name: &str, schema: SchemaRef| Box::new(Plan::View { name: name.to_string(), schema });
    let width = left.1.fields().len();
    let column = |at| Arc::new(Column::new("v", at)) as Arc<dyn PhysicalExpr>;
    let right_schema = schema();
    let fields =
        left.1.fields().iter().chain(right_schema.fields()).map(|field| field.as_ref().clone().with_nullable(true));
    Plan::Join(Box::new(JoinSpec {
        schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
        left: view(left.0, left.1),
        right: view(right, schema()),
        left_retracts: true,
        right_retracts: true,
        kind,
        keys: 1,
        nulls: NullKeys::MatchNothing,
        filter: filtered.then(|| Arc::new(BinaryExpr::new(column(1), Comparison::LtEq, column(width + 1))) as _),
        within: None,
        horizons: [None, None],
        state_ttl_ns: None,
    }))
}

/// `a JOIN b`, that `LEFT JOIN b`, and `b JOIN c`.
fn dataflow(filtered: bool) -> Dataflow {
    let first = join(JoinKind::Inner, ("a", schema()), "b", false);
    let second = join(JoinKind::Left, ("ab", first.schema()), "b", filtered);
    let third = join(JoinKind::Right, ("b", schema()), "c", filtered);
    let view = |(name, plan): (&str, Plan)| {
        let (name, emit) = (name.to_string(), Emit::Changes);
        ViewPlan { name, plan, emit, key: None, retain: None }
    };
    let views = VIEWS.into_iter().zip([first, second, third]).map(view).collect();
    Dataflow { views, ..Dataflow::default() }
}

/// The sections of a run's joins: of which join, label, key, rows.
type Kept = Vec<(usize, String, usize, RecordBatch)>;

#[derive(Default)]
struct Said {
    /// By epoch and line how often it comes.
    lines: BTreeMap<(u64, String), i64>,
    kept: Kept,
    /// How many rows the joins hold at the end, and the indexes.
    rows: [u64; 2],
}

fn batch_of(changes: &[Change]) -> Batch {
    let keys: ArrayRef = Arc::new(changes.iter().map(|((key, _), _)| *key).collect::<Int64Array>());
    let values: ArrayRef = Arc::new(changes.iter().map(|((_, value), _)| Some(*value)).collect::<Int64Array>());
    let rows = RecordBatch::try_new(schema(), vec![keys, values]).unwrap();
    Batch::changes(rows, changes.iter().map(|(_, diff)| *diff).collect::<Vec<i64>>().into())
}

fn hear(said: &Mutex<Said>, view: &str, epoch: u64, batch: &Batch) {
    let options = FormatOptions::default().with_null("NULL");
    let columns: Vec<_> = batch.rows.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
    let mut said = said.lock().unwrap();
    for row in 0..batch.num_rows() {
        let line: Vec<String> = columns.iter().map(|column| column.value(row).to_string()).collect();
        *said.lines.entry((epoch, format!("{view}: {}", line.join("|")))).or_default() += batch.diff(row);
    }
}

/// Runs `epochs`, which begin with number `first`, going on from `kept`.
fn run(filtered: bool, shared: bool, workers: usize, (first, epochs): (u64, &[Changes]), kept: &Kept) -> Said {
    let (epochs, kept) = (epochs.to_vec(), kept.clone());
    let said = Arc::new(Mutex::new(Said::default()));
    let told = said.clone();
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let id = WorkerId { index: worker.index(), peers: worker.peers() };
        let (ear, probe, dataflow) = (Rc::new(Ear::default()), Probe::new(), dataflow(filtered));
        let mut inputs: Vec<InputHandle<u64, NoopBuilder<Rows>>> =
            NAMES.iter().map(|_| InputHandle::new_with_builder()).collect();
        let mut watermarks: InputHandle<u64, CapacityContainerBuilder<Vec<WatermarkUpdate>>> = InputHandle::new();
        worker.dataflow::<u64, _, _>(|scope| {
            let given = NAMES.into_iter().zip(&mut inputs);
            let given = given.map(|(name, input)| (name.to_string(), Rendered::changes(scope.input_from(input))));
            let mut renderer = Renderer {
                scope,
                peers: id.peers,
                tick_ns: 1,
                sources: BTreeMap::new(),
                source_ids: BTreeMap::new(),
                views: given.collect(),
                watermarks: scope.input_from(&mut watermarks),
                observer: ear.clone(),
                questions: BTreeMap::new(),
                holds: Default::default(),
                sharing: if shared {
                    Sharing::of(SharedSides::of(&dataflow, &BTreeSet::new()))
                } else {
                    Sharing::default()
                },
                built: Default::default(),
            };
            for view in &dataflow.views {
                let rendered =
                    renderer.render(&view.name, &view.plan, Demand { changes: true, finals: false }).unwrap();
                let (name, told) = (view.name.clone(), told.clone());
                let listen = move |event: Result<(&u64, &Rows), &[u64]>| {
                    if let Ok((epoch, rows)) = event {
                        hear(&told, &name, *epoch, rows.batch().unwrap());
                    }
                };
                rendered.changes.clone().unwrap().inspect_container(listen).probe_with(&probe);
                renderer.views.insert(view.name.clone(), rendered);
            }
        });
        for (at, operator) in ear.built.borrow().iter().enumerate() {
            let own = kept.iter().filter(|(of, ..)| *of == at).map(|(_, label, keys, rows)| {
                let rows = owned(rows, &(0..*keys).collect::<Vec<_>>(), id).unwrap();
                Restored { label: label.clone(), rows }
            });
            let own: Vec<Restored> = own.collect();
            if kept.iter().any(|(of, ..)| *of == at) {
                operator.borrow_mut().restore(Watermark::MIN, own).unwrap();
            }
        }
        for (epoch, changes) in (first..).zip(&epochs) {
            // The relations take turns in being late, by several epochs.
            for (at, rows) in changes.iter().enumerate() {
                inputs[at].advance_to(epoch);
                let own: Vec<Change> = rows.iter().skip(id.index).step_by(id.peers).cloned().collect();
                for part in own.chunks(2) {
                    inputs[at].send_batch(&mut Rows::unbounded(batch_of(part)));
                }
                for _ in 0..(epoch as usize + at) % 3 {
                    worker.step();
                }
            }
            for (at, input) in inputs.iter_mut().enumerate() {
                if epoch % 4 == 3 || at != (epoch as usize / 4) % 3 {
                    input.advance_to(epoch + 1);
                    for _ in 0..at {
                        worker.step();
                    }
                }
            }
            watermarks.advance_to(epoch + 1);
        }
        let end = first + epochs.len() as u64;
        inputs.iter_mut().for_each(|input| input.advance_to(end));
        watermarks.advance_to(end);
        while probe.less_than(&end) {
            worker.step_or_park(None);
        }
        assert!(ear.dead.lock().unwrap().is_empty());
        let mut said = told.lock().unwrap();
        for (at, operator) in ear.built.borrow().iter().enumerate() {
            for section in operator.borrow_mut().snapshot().unwrap().expect("all epochs are over") {
                said.kept.push((at, section.label, section.keys, (section.rows)().unwrap()));
            }
        }
        for (name, meter) in ear.meters.borrow().iter() {
            said.rows[usize::from(name == "Index")] += meter.state_rows.load(Ordering::Relaxed);
        }
    });
    drop(guards.unwrap());
    let mut said = std::mem::take(&mut *said.lock().unwrap());
    said.lines.retain(|_, copies| *copies != 0);
    said
}

/// Epochs of changes, of which a retraction takes back what is there.
fn epochs() -> impl Strategy<Value = Vec<Changes>> {
    let row = (prop::option::weighted(0.9, 0i64..4), 0i64..4);
    let change = (row, any::<prop::sample::Index>(), prop::bool::weighted(0.4));
    let side = || prop::collection::vec(change.clone(), 0..5);
    prop::collection::vec([side(), side(), side()], 1..14).prop_map(|epochs| {
        let mut there: [Vec<(Option<i64>, i64)>; 3] = Default::default();
        let epoch = |sides: [Vec<_>; 3]| {
            let mut at = 0..;
            sides.map(|side| taking_back(&mut there[at.next().unwrap()], side))
        };
        epochs.into_iter().map(epoch).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn joins_that_share_a_side_say_what_they_say_alone(
        epochs in epochs(), filtered in any::<bool>(), workers in 1usize..4, cut in 0usize..14, company in 0usize..3,
    ) {
        let cut = cut.min(epochs.len());
        let (before, after) = epochs.split_at(cut);
        let alone = run(filtered, false, workers, (0, before), &Kept::new());
        let together = run(filtered, true, workers, (0, before), &Kept::new());
        prop_assert_eq!(&together.lines, &alone.lines);
        // The rows of `b` are held once, and not three times.
        prop_assert_eq!(together.rows[0] + 3 * together.rows[1], alone.rows[0]);
        let forgotten = |kept: &Kept| -> Kept {
            // In one case the last join is one that begins with nothing.
            kept.iter().filter(|(of, ..)| company < 2 || *of != 2).cloned().collect()
        };
        // A retraction of what a join has never seen would be a fault of its input.
        let after = if company < 2 { after.to_vec() } else { only_coming(after) };
        let expected = run(filtered, false, 1, (cut as u64, &after), &forgotten(&alone.kept));
        let shared = run(filtered, true, 1 + cut % 3, (cut as u64, &after), &forgotten(&together.kept));
        prop_assert_eq!(&shared.lines, &expected.lines);
        let other = if company == 1 { &together } else { &alone };
        let again = run(filtered, company != 1, 2, (cut as u64, &after), &forgotten(&other.kept));
        prop_assert_eq!(&again.lines, &expected.lines);
    }
}

fn only_coming(epochs: &[Changes]) -> Vec<Changes> {
    let come = |side: &Vec<Change>| side.iter().filter(|(_, diff)| *diff > 0).cloned().collect();
    epochs.iter().map(|epoch| epoch.each_ref().map(come)).collect()
}

#[test]
fn what_is_taken_back_of_a_shared_side_gives_its_memory_back() {
    let come: Vec<Change> = (0..6_000).map(|n| ((Some(n % 500), n), 1)).collect();
    let go: Vec<Change> = come.iter().map(|(row, _)| (*row, -1)).collect();
    let a: Vec<Change> = (0..4).map(|n| ((Some(n), n), 1)).collect();
    let epochs = [[a, come.clone(), Vec::new()], [Vec::new(), go, Vec::new()]];
    let full = run(false, true, 1, (0, &epochs[..1]), &Kept::new());
    assert_eq!(full.rows[1], 6_000);
    let empty = run(false, true, 1, (0, &epochs), &Kept::new());
    assert_eq!(empty.rows[1], 0);
}
