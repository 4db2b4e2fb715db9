//! Aggregates of numbers with their states beside each other: what is known of a group lies in one place.
//!
//! An accumulator has an array for each number that it keeps. With a million groups a row then waits for memory as often as
//! there are arrays; here it waits once. What comes out is what DataFusion's accumulators of the same states give.

use super::Aggregate;
use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, PrimitiveArray, UInt64Array};
use arrow::datatypes::{ArrowPrimitiveType, DataType, Float64Type, Int64Type, UInt64Type};
use std::sync::Arc;
use thalweg_schemas::error::Result;

/// An aggregate whose states can lie here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Count,
    /// Of `DOUBLE`, as all that follow.
    Sum,
    Avg,
    Min,
    Max,
}

/// So many rows are taken into all their cells together, so that each group is still at hand for the next column.
const ROWS_AT_ONCE: usize = 256;

/// What is in a cell of a sum or an extreme before anything came: a NaN that no computation yields, and that is not kept.
const NOTHING: u64 = u64::MAX;

impl Kind {
    /// The kind of `aggregate`, if its states can lie here.
    pub fn of(aggregate: &Aggregate) -> Result<Option<Kind>> {
        if aggregate.is_special() {
            return Ok(None);
        }
        let states = aggregate.state_fields()?;
        let states: Vec<&DataType> = states.iter().map(|field| field.data_type()).collect();
        Ok(match (aggregate.function.fun().name(), states.as_slice(), aggregate.function.field().data_type()) {
            ("count", [DataType::Int64], DataType::Int64) => Some(Kind::Count),
            ("sum", [DataType::Float64], DataType::Float64) => Some(Kind::Sum),
            ("avg", [DataType::UInt64, DataType::Float64], DataType::Float64) => Some(Kind::Avg),
            ("min", [DataType::Float64], DataType::Float64) => Some(Kind::Min),
            ("max", [DataType::Float64], DataType::Float64) => Some(Kind::Max),
            _ => None,
        })
    }

    /// The cells of a group that nothing has come for.
    fn nothing(self) -> &'static [u64] {
        match self {
            Kind::Count => &[0],
            // How many, and their sum.
            Kind::Avg => &[0, 0],
            Kind::Sum | Kind::Min | Kind::Max => &[NOTHING],
        }
    }
}

/// The states of groups, numbered from zero.
pub(super) struct Beside {
    kinds: Vec<Kind>,
    /// The cells of a group that nothing has come for.
    nothing: Vec<u64>,
    /// The cells of all groups, one group after the other.
    cells: Vec<u64>,
}

impl Beside {
    pub fn new(kinds: Vec<Kind>) -> Beside {
        let nothing = kinds.iter().flat_map(|kind| kind.nothing()).copied().collect();
        Beside { kinds, nothing, cells: Vec::new() }
    }

    /// Merges the state columns of all kinds, whose rows belong to `groups`; there are `total` groups now.
    pub fn merge(&mut self, states: &[&ArrayRef], groups: &[usize], total: usize) {
        if self.kinds.is_empty() {
            return;
        }
        self.cells.reserve(total * self.nothing.len() - self.cells.len());
        while self.cells.len() < total * self.nothing.len() {
            self.cells.extend_from_slice(&self.nothing);
        }
        for first in (0..groups.len()).step_by(ROWS_AT_ONCE) {
            let groups = &groups[first..groups.len().min(first + ROWS_AT_ONCE)];
            let (mut at, mut states) = (0, states.iter());
            for kind in &self.kinds {
                let mut next = || states.next().expect("each kind has its state columns");
                let mut cells = Cells { cells: &mut self.cells, width: self.nothing.len(), at };
                match kind {
                    Kind::Count => {
                        let add = |cell: &mut u64, count: i64| *cell = cell.wrapping_add(count as u64);
                        cells.each::<Int64Type>(next(), first, groups, add);
                    }
                    Kind::Avg => {
                        let add = |cell: &mut u64, count: u64| *cell += count;
                        cells.each::<UInt64Type>(next(), first, groups, add);
                        cells.at += 1;
                        let add = |cell: &mut u64, sum: f64| *cell = (f64::from_bits(*cell) + sum).to_bits();
                        cells.each::<Float64Type>(next(), first, groups, add);
                    }
                    Kind::Sum => cells.each::<Float64Type>(next(), first, groups, |cell, value| {
                        fold(cell, 0.0, |sum| sum + value);
                    }),
                    // As DataFusion has it: what cannot be compared takes the place of what was there.
                    Kind::Min => cells.each::<Float64Type>(next(), first, groups, |cell, value| {
                        fold(cell, f64::MAX, |least| if value >= least { least } else { value });
                    }),
                    Kind::Max => cells.each::<Float64Type>(next(), first, groups, |cell, value| {
                        fold(cell, f64::MIN, |greatest| if value <= greatest { greatest } else { value });
                    }),
                }
                at += kind.nothing().len();
            }
        }
    }

    /// The state columns of each kind, one row a group.
    pub fn states(&self) -> impl Iterator<Item = Vec<ArrayRef>> {
        self.columns(|beside, kind, at| match kind {
            Kind::Avg => {
                let counts = beside.cells_at(at).map(|count| (count > 0).then_some(count));
                let sums = beside.cells_at(at).zip(beside.cells_at(at + 1));
                let sums = sums.map(|(count, sum)| (count > 0).then_some(f64::from_bits(sum)));
                let (counts, sums) = (UInt64Array::from_iter(counts), Float64Array::from_iter(sums));
                vec![Arc::new(counts) as ArrayRef, Arc::new(sums)]
            }
            _ => vec![beside.column(kind, at)],
        })
    }

    /// The results of each kind, one row a group.
    pub fn results(&self) -> impl Iterator<Item = ArrayRef> {
        self.columns(|beside, kind, at| beside.column(kind, at))
    }

    pub fn size(&self) -> usize {
        self.cells.capacity() * size_of::<u64>()
    }

    fn columns<T>(&self, of: impl Fn(&Beside, Kind, usize) -> T) -> impl Iterator<Item = T> {
        let mut at = 0;
        self.kinds.iter().map(move |kind| {
            let column = of(self, *kind, at);
            at += kind.nothing().len();
            column
        })
    }

    fn column(&self, kind: Kind, at: usize) -> ArrayRef {
        match kind {
            Kind::Count => Arc::new(Int64Array::from_iter_values(self.cells_at(at).map(|count| count as i64))),
            Kind::Avg => {
                let means = self.cells_at(at).zip(self.cells_at(at + 1));
                let means = means.map(|(count, sum)| (count > 0).then(|| f64::from_bits(sum) / count as f64));
                Arc::new(Float64Array::from_iter(means))
            }
            Kind::Sum | Kind::Min | Kind::Max => {
                let values = self.cells_at(at).map(|cell| (cell != NOTHING).then(|| f64::from_bits(cell)));
                Arc::new(Float64Array::from_iter(values))
            }
        }
    }

    /// The cells at `at` of all groups.
    fn cells_at(&self, at: usize) -> impl Iterator<Item = u64> {
        self.cells.chunks_exact(self.nothing.len()).map(move |group| group[at])
    }
}

/// Puts what `with` makes of the number in the cell in its place; of `first` where nothing came before.
#[inline]
fn fold(cell: &mut u64, first: f64, with: impl Fn(f64) -> f64) {
    let before = if *cell == NOTHING { first } else { f64::from_bits(*cell) };
    let bits = with(before).to_bits();
    *cell = if bits == NOTHING { f64::NAN.to_bits() } else { bits };
}

/// One cell of each group.
struct Cells<'a> {
    cells: &'a mut [u64],
    width: usize,
    at: usize,
}

impl Cells<'_> {
    /// Gives `take` each value from row `first` on that is there, with the cell of its group.
    #[inline]
    fn each<T: ArrowPrimitiveType>(
        &mut self,
        column: &ArrayRef,
        first: usize,
        groups: &[usize],
        take: impl Fn(&mut u64, T::Native),
    ) {
        let column: &PrimitiveArray<T> = column.as_primitive();
        let values = &column.values()[first..first + groups.len()];
        if column.null_count() == 0 {
            for (group, value) in groups.iter().zip(values) {
                take(&mut self.cells[group * self.width + self.at], *value);
            }
            return;
        }
        for (row, (group, value)) in (first..).zip(groups.iter().zip(values)) {
            if column.is_valid(row) {
                take(&mut self.cells[group * self.width + self.at], *value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::{Field, Schema};
    use datafusion_expr::EmitTo;
    use datafusion_functions_aggregate::all_default_aggregate_functions;
    use datafusion_physical_expr::aggregate::AggregateExprBuilder;
    use datafusion_physical_expr::expressions::col;
    use proptest::prelude::*;

    const NAMES: [&str; 5] = ["count", "sum", "avg", "min", "max"];

    fn aggregate(name: &str) -> Aggregate {
        let function = all_default_aggregate_functions().into_iter().find(|function| function.name() == name).unwrap();
        let schema = Arc::new(Schema::new(vec![Field::new("x", DataType::Float64, true)]));
        let built = AggregateExprBuilder::new(function, vec![col("x", &schema).unwrap()]).schema(schema).alias("a");
        Aggregate { function: Arc::new(built.build().unwrap()), filter: None }
    }

    fn value() -> impl Strategy<Value = Option<f64>> {
        prop_oneof![
            2 => Just(None),
            8 => (-1e3..1e3).prop_map(Some),
            1 => prop::sample::select(vec![f64::NAN, f64::from_bits(NOTHING), f64::INFINITY, f64::NEG_INFINITY, -0.0])
                .prop_map(Some),
        ]
    }

    proptest! {
        #[test]
        fn it_is_what_accumulators_are(
            parts in proptest::collection::vec(proptest::collection::vec((value(), 0usize..40), 1..600), 1..4),
        ) {
            let aggregates: Vec<Aggregate> = NAMES.iter().map(|name| aggregate(name)).collect();
            let kinds = aggregates.iter().map(|aggregate| Kind::of(aggregate).unwrap().unwrap()).collect();
            let mut beside = Beside::new(kinds);
            let mut expected: Vec<_> = aggregates.iter().map(|aggregate| aggregate.accumulator().unwrap()).collect();
            let mut total = 0;
            for rows in &parts {
                // Each row is a partial state of its own; groups come in no order, and each below the total has come.
                let values: ArrayRef = Arc::new(Float64Array::from_iter(rows.iter().map(|(value, _)| *value)));
                let mut groups = Vec::new();
                for (_, group) in rows {
                    groups.push(*group.min(&total));
                    total = total.max(groups[groups.len() - 1] + 1);
                }
                let each: Vec<usize> = (0..rows.len()).collect();
                let mut states = Vec::new();
                for (aggregate, expected) in aggregates.iter().zip(&mut expected) {
                    let mut accumulator = aggregate.accumulator().unwrap();
                    accumulator.update_batch(std::slice::from_ref(&values), &each, None, rows.len()).unwrap();
                    let own = accumulator.state(EmitTo::All).unwrap();
                    expected.merge_batch(&own, &groups, total).unwrap();
                    states.extend(own);
                }
                beside.merge(&states.iter().collect::<Vec<_>>(), &groups, total);
            }
            let bits = |column: &ArrayRef| -> Vec<Option<u64>> {
                match column.data_type() {
                    DataType::Float64 => {
                        // Which NaN it is says nothing.
                        let bits = |x: f64| if x.is_nan() { f64::NAN.to_bits() } else { x.to_bits() };
                        column.as_primitive::<Float64Type>().iter().map(|x| x.map(bits)).collect()
                    }
                    DataType::UInt64 => column.as_primitive::<UInt64Type>().iter().collect(),
                    _ => column.as_primitive::<Int64Type>().iter().map(|x| x.map(|x| x as u64)).collect(),
                }
            };
            let (states, results): (Vec<_>, Vec<_>) = (beside.states().collect(), beside.results().collect());
            for (at, expected) in expected.iter_mut().enumerate() {
                let mut again = aggregates[at].accumulator().unwrap();
                let state = expected.state(EmitTo::All).unwrap();
                prop_assert_eq!(states[at].iter().map(bits).collect::<Vec<_>>(), state.iter().map(bits).collect::<Vec<_>>());
                again.merge_batch(&state, &(0..total).collect::<Vec<_>>(), total).unwrap();
                prop_assert_eq!(bits(&results[at]), bits(&again.evaluate(EmitTo::All).unwrap()), "{}", NAMES[at]);
            }
        }
    }
}
