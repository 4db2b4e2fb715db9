//! `approx_percentile_cont` and `approx_median` by DDSketch, under DataFusion's names and with its signatures.
//!
//! DataFusion's own keep a t-digest for each group, sorted anew with every batch, and have no grouped form. These add a
//! value in a few nanoseconds, merge by adding, and answer within 1 % of the true value whatever the distribution.

use super::alone::{Alone, Asked};
use super::sketch::Sketch;
use arrow::array::{Array, ArrayRef, AsArray, BinaryBuilder, BooleanArray, Float64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Schema};
use datafusion_common::{Result, ScalarValue, exec_err, not_impl_err, plan_err};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::utils::format_state_name;
use datafusion_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, EmitTo, GroupsAccumulator, Signature,
};
use datafusion_functions_aggregate::approx_median::ApproxMedian;
use datafusion_functions_aggregate::approx_percentile_cont::ApproxPercentileCont;
use std::sync::Arc;

/// The percentiles, to be registered over DataFusion's of the same names.
pub(super) fn functions() -> Vec<Arc<AggregateUDF>> {
    let cont =
        Percentile { name: "approx_percentile_cont", signature: ApproxPercentileCont::new().signature().clone() };
    let median = Percentile { name: "approx_median", signature: ApproxMedian::new().signature().clone() };
    vec![Arc::new(AggregateUDF::from(cont)), Arc::new(AggregateUDF::from(median))]
}

/// `approx_percentile_cont(value, share [, centroids])`, which knows `WITHIN GROUP (ORDER BY value)` too, or
/// `approx_median(value)`. The number of centroids is accepted and has no meaning here.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Percentile {
    name: &'static str,
    signature: Signature,
}

impl AggregateUDFImpl for Percentile {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        match arg_types.first() {
            Some(value) if value.is_numeric() || value.is_null() => Ok(value.clone()),
            _ => plan_err!("{} takes a number", self.name),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(format_state_name(args.name, "sketch"), DataType::Binary, false))])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Alone(Sketches::new(self.name, &args)?)))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Sketches::new(self.name, &args)?))
    }

    fn supports_within_group_clause(&self) -> bool {
        self.name == "approx_percentile_cont"
    }
}

/// A sketch a group.
struct Sketches {
    share: f64,
    data_type: DataType,
    groups: Vec<Sketch>,
}

impl Sketches {
    fn new(name: &str, args: &AccumulatorArgs) -> Result<Sketches> {
        if args.is_distinct {
            return not_impl_err!("{name}(DISTINCT ..)");
        }
        let mut share = match args.exprs.get(1) {
            Some(expr) => literal(name, expr)?,
            None => 0.5,
        };
        if !(0.0..=1.0).contains(&share) {
            return plan_err!("the share of {name} lies between 0 and 1, not at {share}");
        }
        if args.order_bys.first().is_some_and(|order| order.options.descending) {
            share = 1.0 - share;
        }
        Ok(Sketches { share, data_type: args.return_field.data_type().clone(), groups: Vec::new() })
    }

    fn take(&mut self, emit_to: EmitTo) -> Vec<Sketch> {
        emit_to.take_needed(&mut self.groups)
    }

    fn answer(&self, sketches: &[Sketch]) -> Result<ArrayRef> {
        let values: Float64Array = sketches.iter().map(|sketch| sketch.quantile(self.share)).collect();
        Ok(cast(&values, &self.data_type)?)
    }
}

/// The share, which must be known before the first row.
fn literal(name: &str, expr: &Arc<dyn datafusion_physical_expr::PhysicalExpr>) -> Result<f64> {
    let nothing = RecordBatch::new_empty(Arc::new(Schema::empty()));
    match expr.evaluate(&nothing).and_then(|value| match value {
        ColumnarValue::Scalar(scalar) => scalar.cast_to(&DataType::Float64),
        ColumnarValue::Array(_) => plan_err!("not a literal"),
    }) {
        Ok(ScalarValue::Float64(Some(share))) => Ok(share),
        _ => plan_err!("the share of {name} must be a literal between 0 and 1"),
    }
}

fn numbers(values: &ArrayRef) -> Result<ArrayRef> {
    Ok(if values.data_type() == &DataType::Float64 { values.clone() } else { cast(values, &DataType::Float64)? })
}

impl GroupsAccumulator for Sketches {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.groups.resize_with(total_num_groups, Sketch::default);
        let numbers = numbers(&values[0])?;
        let numbers = numbers.as_primitive::<Float64Type>();
        if numbers.null_count() == 0 && opt_filter.is_none() {
            for (group, value) in group_indices.iter().zip(numbers.values()) {
                self.groups[*group].add(*value);
            }
            return Ok(());
        }
        for (row, (group, value)) in group_indices.iter().zip(numbers).enumerate() {
            let passes = opt_filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
            if let (true, Some(value)) = (passes, value) {
                self.groups[*group].add(value);
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let sketches = self.take(emit_to);
        self.answer(&sketches)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let sketches = self.take(emit_to);
        let mut states = BinaryBuilder::with_capacity(sketches.len(), sketches.len() * 64);
        let mut bytes = Vec::new();
        for sketch in &sketches {
            bytes.clear();
            sketch.write(&mut bytes);
            states.append_value(&bytes);
        }
        Ok(vec![Arc::new(states.finish())])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        self.groups.resize_with(total_num_groups, Sketch::default);
        for (group, state) in group_indices.iter().zip(values[0].as_binary::<i32>()) {
            if self.groups[*group].merge(state.unwrap_or_default()).is_none() {
                return exec_err!("the state of a percentile is damaged");
            }
        }
        Ok(())
    }

    fn size(&self) -> usize {
        self.groups.capacity() * size_of::<Sketch>() + self.groups.iter().map(Sketch::heap_size).sum::<usize>()
    }

    fn convert_to_state(&self, _values: &[ArrayRef], _filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        not_impl_err!("percentiles are combined before their state is taken")
    }
}

impl Asked for Sketches {
    fn show(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "percentile({})", self.share)
    }

    fn answer_of_first(&mut self) -> Result<ScalarValue> {
        self.groups.resize_with(1, Sketch::default);
        ScalarValue::try_from_array(&self.answer(&self.groups)?, 0)
    }

    fn state_of_first(&mut self) -> Vec<u8> {
        self.groups.resize_with(1, Sketch::default);
        let mut bytes = Vec::new();
        self.groups[0].write(&mut bytes);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion_physical_expr::aggregate::AggregateExprBuilder;
    use datafusion_physical_expr::expressions::{col, lit};

    fn percentile(share: f64, filter: Option<&BooleanArray>) -> Vec<Option<f64>> {
        let schema = Arc::new(Schema::new(vec![Field::new("v", DataType::Float64, true)]));
        let function = functions().remove(0);
        let expr = AggregateExprBuilder::new(function, vec![col("v", &schema).unwrap(), lit(share)])
            .schema(schema)
            .alias("p")
            .build()
            .unwrap();
        let values: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.0), Some(100.0), None, Some(3.0), Some(50.0)]));
        let mut first = expr.create_groups_accumulator().unwrap();
        first.update_batch(&[values], &[0, 1, 0, 0, 1], filter, 3).unwrap();
        let state = first.state(EmitTo::All).unwrap();
        let mut second = expr.create_groups_accumulator().unwrap();
        second.merge_batch(&state, &[0, 1, 2], 3).unwrap();
        second.evaluate(EmitTo::All).unwrap().as_primitive::<Float64Type>().iter().collect()
    }

    #[test]
    fn groups_are_kept_apart_and_survive_their_state() {
        assert_eq!(percentile(1.0, None), [Some(3.0), Some(100.0), None]);
        assert_eq!(percentile(0.0, None), [Some(1.0), Some(50.0), None]);
        let filter = BooleanArray::from(vec![Some(true), Some(false), Some(true), None, Some(true)]);
        assert_eq!(percentile(1.0, Some(&filter)), [Some(1.0), Some(50.0), None]);
    }
}
