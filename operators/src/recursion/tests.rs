//! Recursions in a real dataflow, against a model that begins anew in every epoch.

use super::*;
use crate::filter::FilterSpec;
use crate::join::NullKeys;
use crate::observer::tests::Ear;
use crate::operator::DeadRow;
use crate::project::ProjectSpec;
use crate::render::{Demand, Rendered, Renderer};
use crate::rows::Rows;
use crate::state::{Restored, owned};
use crate::watermark::WatermarkUpdate;
use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use datafusion_expr::Operator as Comparison;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::expressions::{Column, binary, lit};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use thalweg_schemas::batch::Batch;
use thalweg_schemas::epoch::{Watermark, WorkerId};
use timely::container::{CapacityContainerBuilder, NoopBuilder};
use timely::dataflow::InputHandle;
use timely::dataflow::operators::probe::Handle as Probe;
use timely::dataflow::operators::{Input, InspectCore, Probe as _};

/// A row: numbers, one a column.
type Row = Vec<i64>;
/// Rows, each with how often it is there.
type Bag = BTreeMap<Row, i64>;
/// What an epoch changes: roots, and edges from a node to another.
type Changes = [Vec<(Row, i64)>; 2];

/// What is tried: `roots UNION [ALL] SELECT e.dst [, t.depth + 1] FROM t JOIN edges e ON e.src = t.node WHERE ..`.
#[derive(Clone, Debug)]
struct Case {
    distinct: bool,
    /// Whether rows have a depth.
    depth: bool,
    /// Whether the recursion is the left side of its join.
    left: bool,
    kind: JoinKind,
    /// Whether only edges to larger nodes, or from depths below three, are followed: a condition over both sides.
    filter: bool,
    /// Whether a second branch follows edges backwards.
    backwards: bool,
    iterations_max: u32,
    retracts: bool,
}

fn schema(names: &[&str]) -> SchemaRef {
    Arc::new(Schema::new(names.iter().map(|name| Field::new(*name, DataType::Int64, true)).collect::<Vec<_>>()))
}

fn column(schema: &SchemaRef, at: usize) -> Arc<dyn PhysicalExpr> {
    Arc::new(Column::new(schema.field(at).name(), at))
}

fn node_schema(case: &Case) -> SchemaRef {
    schema(if case.depth { &["node", "depth"] } else { &["node"] })
}

fn view(name: &str, schema: SchemaRef) -> Box<Plan> {
    Box::new(Plan::View { name: name.to_string(), schema })
}

/// The edges with the node from which they are followed first.
fn edges(backwards: bool) -> Box<Plan> {
    let natural = schema(&["src", "dst"]);
    if !backwards {
        return view("edges", natural);
    }
    let exprs = vec![column(&natural, 1), column(&natural, 0)];
    let spec = ProjectSpec { input: view("edges", natural), exprs, schema: schema(&["src", "dst"]) };
    Box::new(Plan::Project(spec))
}

fn branch(case: &Case, backwards: bool) -> Plan {
    let (nodes, edges_schema) = (node_schema(case), schema(&["src", "dst"]));
    let recursive = Box::new(Plan::Recursive { name: "t".to_string(), schema: nodes.clone() });
    let (width, two) = (nodes.fields().len(), edges_schema.fields().len());
    let (left, right) = if case.left { (recursive, edges(backwards)) } else { (edges(backwards), recursive) };
    let fields: Vec<_> = left.schema().fields().iter().chain(right.schema().fields()).cloned().collect();
    let joined: SchemaRef = Arc::new(Schema::new(fields));
    let (node, dst, depth) = if case.left { (0, width + 1, 1) } else { (two, 1, two + 1) };
    let filter = case.filter.then(|| {
        let (a, b) = if case.depth { (depth, dst) } else { (node, dst) };
        binary(column(&joined, a), Comparison::NotEq, column(&joined, b), &joined).unwrap()
    });
    let spec = JoinSpec {
        left,
        right,
        left_retracts: case.left || case.retracts,
        right_retracts: !case.left || case.retracts,
        kind: case.kind,
        keys: 1,
        nulls: NullKeys::MatchNothing,
        filter,
        within: None,
        state_ttl_ns: None,
        horizons: [None, None],
        schema: match case.kind {
            JoinKind::Inner | JoinKind::Left | JoinKind::Right => joined.clone(),
            _ => nodes.clone(),
        },
    };
    let kept = spec.schema.clone();
    let deeper = |at: usize| binary(column(&kept, at), Comparison::Plus, lit(1i64), &kept).unwrap();
    // Where only the recursion's own rows are kept, a node is followed by the next larger one.
    let next = match case.kind {
        JoinKind::Inner | JoinKind::Left | JoinKind::Right => column(&kept, dst),
        _ => deeper(0),
    };
    let mut exprs = vec![next];
    exprs.extend(case.depth.then(|| deeper(depth)));
    let plan = Plan::Project(ProjectSpec { input: Box::new(Plan::Join(Box::new(spec))), exprs, schema: nodes.clone() });
    let below = binary(column(&nodes, 0), Comparison::Lt, lit(9i64), &nodes).unwrap();
    let keep = binary(
        Arc::new(datafusion_physical_expr::expressions::IsNullExpr::new(column(&nodes, 0))),
        Comparison::Or,
        below,
        &nodes,
    );
    Plan::Filter(FilterSpec { input: Box::new(plan), predicate: keep.unwrap() })
}

fn spec(case: &Case) -> RecursionSpec {
    let step = match case.backwards {
        true => Plan::Union { inputs: vec![branch(case, false), branch(case, true)] },
        false => branch(case, false),
    };
    assert!(refused(&step).is_none());
    RecursionSpec {
        name: "t".to_string(),
        base: view("roots", node_schema(case)),
        retracts: case.retracts || !step_appends(&step),
        step: Box::new(step),
        distinct: case.distinct,
        iterations_max: case.iterations_max,
        schema: node_schema(case),
    }
}

/// NULL in rows of the model.
const NULL: i64 = i64::MIN;

/// What one iteration makes of `rows`.
fn made(case: &Case, rows: &Bag, edges: &Bag) -> Bag {
    let mut made = Bag::new();
    for (row, copies) in rows {
        for backwards in [false, true].into_iter().take(1 + usize::from(case.backwards)) {
            let from = |edge: &Row| if backwards { (edge[1], edge[0]) } else { (edge[0], edge[1]) };
            let passes = |dst: i64| !case.filter || *row.last().unwrap() != dst;
            let partners: Vec<(i64, i64)> = edges
                .iter()
                .map(|(edge, n)| (from(edge), *n))
                .filter(|((src, dst), _)| *src == row[0] && passes(*dst))
                .map(|((_, dst), n)| (dst, n))
                .collect();
            let followed: Vec<(i64, i64)> = match case.kind {
                JoinKind::Inner => partners,
                JoinKind::Semi if partners.is_empty() => Vec::new(),
                JoinKind::Anti if !partners.is_empty() => Vec::new(),
                JoinKind::Semi | JoinKind::Anti => vec![(if row[0] == NULL { NULL } else { row[0] + 1 }, 1)],
                _ if partners.is_empty() => vec![(NULL, 1)],
                _ => partners,
            };
            for (dst, n) in followed.into_iter().filter(|(dst, _)| *dst == NULL || *dst < 9) {
                let next = if case.depth { vec![dst, row[1] + 1] } else { vec![dst] };
                *made.entry(next).or_default() += copies * n;
            }
        }
    }
    made
}

/// The rows of the recursion, and those that one iteration more would add.
fn model(case: &Case, roots: &Bag, edges: &Bag) -> (Bag, Bag) {
    let clamped = |rows: &Bag| rows.iter().map(|(row, n)| (row.clone(), (*n).min(COPIES_MAX))).collect::<Bag>();
    let mut all = Bag::new();
    let mut made_now = roots.clone();
    for iteration in 0..=case.iterations_max + 1 {
        if case.distinct {
            made_now.retain(|row, _| !all.contains_key(row));
            made_now.values_mut().for_each(|n| *n = 1);
        }
        let now = clamped(&made_now);
        if iteration > case.iterations_max {
            return (all, now);
        }
        now.iter().for_each(|(row, n)| *all.entry(row.clone()).or_default() += n);
        made_now = made(case, &now, edges);
    }
    unreachable!("the last iteration returns")
}

/// The sections of a worker's operators: which operator, which label, which key, which rows.
type Kept = Vec<(usize, String, usize, RecordBatch)>;

/// What a run said in each of its epochs, what was dead, and what a checkpoint at its end keeps.
#[derive(Default)]
struct Said {
    epochs: Vec<Bag>,
    dead: Vec<DeadRow>,
    kept: Kept,
    /// How many rows its operators were handed in all, and how many they held in the end.
    rows_in: u64,
    rows_held: u64,
}

fn batch_of(rows: &[(Row, i64)], schema: &SchemaRef, retracts: bool) -> Batch {
    let columns = (0..schema.fields().len()).map(|at| {
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|(row, _)| row[at]))) as arrow::array::ArrayRef
    });
    let batch = RecordBatch::try_new(schema.clone(), columns.collect()).unwrap();
    match retracts {
        true => Batch::changes(batch, Int64Array::from_iter_values(rows.iter().map(|(_, diff)| *diff))),
        false => Batch::append(batch),
    }
}

fn add(bag: &mut Bag, batch: &Batch) {
    for row in 0..batch.num_rows() {
        let value = |column: &arrow::array::ArrayRef| {
            use arrow::array::Array;
            let column = column.as_primitive::<Int64Type>();
            if column.is_null(row) { NULL } else { column.value(row) }
        };
        let key: Row = batch.rows.columns().iter().map(value).collect();
        *bag.entry(key).or_default() += batch.diff(row);
    }
    bag.retain(|_, copies| *copies != 0);
}

/// Runs `epochs` with some workers, going on from `kept`.
fn run(case: &Case, workers: usize, epochs: &[Changes], kept: Kept) -> Said {
    let (case, epochs) = (case.clone(), epochs.to_vec());
    let said = Arc::new(Mutex::new(Said { epochs: vec![Bag::new(); epochs.len()], ..Said::default() }));
    let (told, dead) = (said.clone(), Arc::new(Mutex::new(Vec::new())));
    let died = dead.clone();
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        let id = WorkerId { index: worker.index(), peers: worker.peers() };
        let ear = Rc::new(Ear { dead: died.clone(), ..Ear::default() });
        let mut inputs: Vec<InputHandle<u64, NoopBuilder<Rows>>> =
            vec![InputHandle::new_with_builder(), InputHandle::new_with_builder()];
        let mut watermarks: InputHandle<u64, CapacityContainerBuilder<Vec<WatermarkUpdate>>> = InputHandle::new();
        let (probe, heard) = (Probe::new(), told.clone());
        let spec = spec(&case);
        let retracts = spec.retracts;
        worker.dataflow::<u64, _, _>(|scope| {
            let names = ["roots", "edges"].into_iter().zip(&mut inputs);
            let given = names.map(|(name, input)| {
                let rows = scope.input_from(input);
                (name.to_string(), if case.retracts { Rendered::changes(rows) } else { Rendered::append(rows) })
            });
            let renderer = Renderer {
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
                sharing: Default::default(),
                built: Default::default(),
            };
            let plan = Plan::Recursion(Box::new(spec.clone()));
            let changes =
                renderer.render("v", &plan, Demand { changes: true, finals: false }).unwrap().changes.unwrap();
            let hear = move |event: Result<(&u64, &Rows), &[u64]>| {
                if let Ok((epoch, rows)) = event {
                    let batch = rows.batch().unwrap();
                    assert!(retracts || batch.diffs.is_none());
                    add(&mut heard.lock().unwrap().epochs[*epoch as usize], batch);
                }
            };
            changes.inspect_container(hear).probe_with(&probe);
        });
        for (at, operator) in ear.built.borrow().iter().enumerate() {
            let own = kept.iter().filter(|(of, ..)| *of == at).map(|(_, label, keys, rows)| {
                let rows = owned(rows, &(0..*keys).collect::<Vec<_>>(), id).unwrap();
                Restored { label: label.clone(), rows }
            });
            operator.borrow_mut().restore(Watermark::MIN, own.collect()).unwrap();
        }
        for (epoch, changes) in (0u64..).zip(&epochs) {
            for (side, rows) in changes.iter().enumerate() {
                let schema = if side == 0 { node_schema(&case) } else { schema(&["src", "dst"]) };
                let own: Vec<_> = rows.iter().skip(id.index).step_by(id.peers).cloned().collect();
                for part in own.chunks(3) {
                    inputs[side].send_batch(&mut Rows::unbounded(batch_of(part, &schema, case.retracts)));
                }
            }
            inputs.iter_mut().for_each(|input| input.advance_to(epoch + 1));
            watermarks.advance_to(epoch + 1);
            // Every other epoch begins while the one before is still going on.
            while epoch % 2 == 1 && probe.less_than(&(epoch + 1)) {
                worker.step_or_park(None);
            }
        }
        while probe.less_than(&(epochs.len() as u64)) {
            worker.step_or_park(None);
        }
        for (_, meter) in ear.meters.borrow().iter() {
            told.lock().unwrap().rows_in += meter.rows_in.load(Ordering::Relaxed);
            told.lock().unwrap().rows_held += meter.state_rows.load(Ordering::Relaxed);
        }
        for (at, operator) in ear.built.borrow().iter().enumerate() {
            for section in operator.borrow_mut().snapshot().unwrap().expect("no epoch is going on") {
                let rows = (section.rows)().unwrap();
                told.lock().unwrap().kept.push((at, section.label, section.keys, rows));
            }
        }
    });
    guards.unwrap().join().into_iter().for_each(|worker| worker.unwrap());
    let mut said = std::mem::take(&mut *said.lock().unwrap());
    said.dead = std::mem::take(&mut *dead.lock().unwrap());
    said
}

/// Every epoch equals the model, with one number of workers for the first half and another for the rest.
fn check(case: &Case, epochs: &[Changes], workers: [usize; 2]) {
    let (first, rest) = epochs.split_at(epochs.len() / 2);
    let mut before = run(case, workers[0], first, Vec::new());
    let after = run(case, workers[1], rest, std::mem::take(&mut before.kept));
    let mut sides: [Bag; 2] = Default::default();
    let mut heard = Bag::new();
    for (epoch, (changes, said)) in epochs.iter().zip(before.epochs.into_iter().chain(after.epochs)).enumerate() {
        for (side, rows) in changes.iter().enumerate() {
            rows.iter().for_each(|(row, diff)| *sides[side].entry(row.clone()).or_default() += diff);
            sides[side].retain(|_, copies| *copies != 0);
        }
        for (row, diff) in said {
            assert!(case.retracts || diff > 0 || case.kind != JoinKind::Inner);
            *heard.entry(row).or_default() += diff;
        }
        heard.retain(|_, copies| *copies != 0);
        let (expected, _) = model(case, &sides[0], &sides[1]);
        assert_eq!(heard, expected, "as of epoch {epoch}");
    }
}

fn case() -> impl Strategy<Value = Case> {
    let flags = any::<(bool, bool, bool, bool, bool)>();
    let kind = prop_oneof![3 => Just(JoinKind::Inner), 1 => Just(JoinKind::Left), 1 => Just(JoinKind::Semi), 1 => Just(JoinKind::Anti)];
    (flags, kind, any::<bool>(), 1u32..9).prop_map(
        |((distinct, depth, left, filter, backwards), kind, retracts, limit)| {
            let left = left || kind != JoinKind::Inner;
            Case { distinct, depth, left, kind, filter, backwards, iterations_max: limit, retracts }
        },
    )
}

/// A change as it is drawn: whether of an edge, from where to where, which row goes if one does, and whether one does.
type Drawn = (bool, (i64, i64), prop::sample::Index, bool);

/// Epochs in which roots and edges come, and go where rows are taken back: a few nodes, so that there are circles.
fn epochs() -> impl Strategy<Value = Vec<Vec<Drawn>>> {
    let nodes = (0i64..6, 0i64..6);
    let change = (prop::bool::weighted(0.75), nodes, any::<prop::sample::Index>(), prop::bool::weighted(0.45));
    prop::collection::vec(prop::collection::vec(change, 0..8), 2..9)
}

fn changes_of(case: &Case, epochs: Vec<Vec<Drawn>>) -> Vec<Changes> {
    let mut there: [Vec<Row>; 2] = Default::default();
    let epoch = |changes: Vec<Drawn>| {
        let mut epoch: Changes = Default::default();
        for (edge, (from, to), index, retract) in changes {
            let side = usize::from(edge);
            if case.retracts && retract && !there[side].is_empty() {
                let at = index.index(there[side].len());
                epoch[side].push((there[side].swap_remove(at), -1));
            } else {
                let row = match (edge, case.depth) {
                    (true, _) => vec![from, to],
                    (false, true) => vec![from, 0],
                    (false, false) => vec![from],
                };
                there[side].push(row.clone());
                epoch[side].push((row, 1));
            }
        }
        epoch
    };
    epochs.into_iter().map(epoch).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_epoch_equals_a_recomputation(case in case(), epochs in epochs(), first in 1usize..4, then in 1usize..4) {
        check(&case, &changes_of(&case, epochs), [first, then]);
    }
}

fn reach(distinct: bool, depth: bool) -> Case {
    Case {
        distinct,
        depth,
        left: true,
        kind: JoinKind::Inner,
        filter: false,
        backwards: false,
        iterations_max: 1_000,
        retracts: true,
    }
}

fn edge(from: i64, to: i64, diff: i64) -> (Row, i64) {
    (vec![from, to], diff)
}

#[test]
fn rows_that_only_keep_each_other_alive_go() {
    let ring = [edge(0, 1, 1), edge(1, 2, 1), edge(2, 3, 1), edge(3, 1, 1)];
    let epochs = [
        [vec![(vec![0], 1)], ring.to_vec()],
        // The circle 1, 2, 3 is cut off.
        [Vec::new(), vec![edge(0, 1, -1)]],
        // And reached again at another place, which makes other iterations of it.
        [Vec::new(), vec![edge(0, 3, 1)]],
        [vec![(vec![0], -1)], Vec::new()],
    ];
    let said = run(&reach(true, false), 2, &epochs, Vec::new());
    let bag = |rows: &[(i64, i64)]| rows.iter().map(|(node, n)| (vec![*node], *n)).collect::<Bag>();
    assert_eq!(said.epochs[0], bag(&[(0, 1), (1, 1), (2, 1), (3, 1)]));
    assert_eq!(said.epochs[1], bag(&[(1, -1), (2, -1), (3, -1)]));
    assert_eq!(said.epochs[2], bag(&[(1, 1), (2, 1), (3, 1)]));
    assert_eq!(said.epochs[3], bag(&[(0, -1), (1, -1), (2, -1), (3, -1)]));
    assert!(said.dead.is_empty());
}

#[test]
fn what_does_not_end_ends_at_the_limit_and_is_told() {
    let case = Case { iterations_max: 50, ..reach(false, false) };
    let circle = [[vec![(vec![7], 1)], vec![edge(7, 8, 1), edge(8, 7, 1)]], [Vec::new(), vec![edge(8, 7, -1)]]];
    let said = run(&case, 2, &circle, Vec::new());
    // Iterations 0 to 50 are 51 rows.
    assert_eq!(said.epochs[0], Bag::from([(vec![7], 26), (vec![8], 25)]));
    assert_eq!(said.dead.len(), 1);
    assert_eq!(said.dead[0].row, r#"{"node":8}"#);
    assert!(said.dead[0].reason.contains("within 50 iterations (recursion_limit)"), "{}", said.dead[0].reason);
    assert_eq!(said.epochs[1], Bag::from([(vec![7], -25), (vec![8], -24)]));
    // A depth makes each round of the circle another row, with UNION as well.
    let said = run(
        &Case { iterations_max: 50, ..reach(true, true) },
        1,
        &[[vec![(vec![7, 0], 1)], circle[0][1].clone()]],
        Vec::new(),
    );
    assert_eq!((said.epochs[0].len(), said.dead.len()), (51, 1));
    // What goes on for exactly as long as it may is not told.
    let chain = (0..8).map(|at| edge(at, at + 1, 1)).collect();
    let said = run(&Case { iterations_max: 8, ..case }, 1, &[[vec![(vec![0], 1)], chain]], Vec::new());
    assert_eq!(said.epochs[0].len(), 9);
    assert!(said.dead.is_empty());
}

#[test]
fn rows_that_double_in_each_iteration_are_counted_to_a_limit() {
    let case = Case { iterations_max: 100, ..reach(false, false) };
    // Both nodes lead to both: after n iterations there are two to the n rows.
    let double = vec![edge(1, 1, 1), edge(1, 2, 1), edge(2, 1, 1), edge(2, 2, 1)];
    let said = run(&case, 2, &[[vec![(vec![1], 1)], double]], Vec::new());
    let (expected, _) = model(
        &case,
        &Bag::from([(vec![1], 1)]),
        &[(1, 1), (1, 2), (2, 1), (2, 2)].map(|(a, b)| (vec![a, b], 1)).into(),
    );
    assert_eq!(said.epochs[0], expected);
    assert!(said.dead.iter().any(|row| row.reason.contains("more than 1000 times")));
}

#[test]
fn a_change_costs_by_what_it_changes_and_what_goes_gives_its_memory_back() {
    let node = |chain: i64, at: i64| -(chain * 10 + at);
    let chain = |chain: i64| (0..5).map(move |at| edge(node(chain, at), node(chain, at + 1), 1));
    let roots: Vec<(Row, i64)> = (0..1_000).map(|chain| (vec![node(chain, 0)], 1)).collect();
    let chains: Vec<(Row, i64)> = (0..1_000).flat_map(chain).collect();
    let cut = [Vec::new(), vec![edge(node(500, 2), node(500, 3), -1)]];
    let whole = [roots.clone(), chains.clone()];
    let before = run(&reach(true, false), 1, std::slice::from_ref(&whole), Vec::new());
    let after = run(&reach(true, false), 1, &[whole.clone(), cut], Vec::new());
    assert_eq!(before.epochs[0].len(), 6_000);
    let gone = (3..=5).map(|at| (vec![node(500, at)], -1)).collect::<Bag>();
    assert_eq!(after.epochs[1], gone);
    // Three rows go through four operators, and the edge.
    assert!(after.rows_in - before.rows_in < 20, "{} rows", after.rows_in - before.rows_in);
    // Each row once as found and once in the join, and the edges.
    assert_eq!(before.rows_held, 6_000 + 6_000 + 5_000);
    let taken_back = whole.clone().map(|rows| rows.into_iter().map(|(row, _)| (row, -1)).collect());
    assert_eq!(run(&reach(true, false), 2, &[whole, taken_back], Vec::new()).rows_held, 0);
}
