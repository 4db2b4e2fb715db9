//! `sum` of integers and decimals, under DataFusion's name and with its types: NULL where the total does not fit.
//!
//! DataFusion's own wraps around, which shows a wrong number as if it were right. A total that fails could not be told
//! from one that does not while it is in parts on several workers, so the parts are kept in the next wider decimal, which
//! no stream fills, and only the result is fitted into its type.

use arrow::array::{ArrayRef, AsArray, BooleanArray, Decimal128Array};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION, DataType, Decimal128Type, Field, FieldRef, Int64Type,
};
use datafusion_common::{Result, ScalarValue};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::utils::AggregateOrderSensitivity;
use datafusion_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF, SetMonotonicity, Signature,
};
use datafusion_functions_aggregate::sum::Sum;
use std::sync::Arc;

/// The function, to be registered over DataFusion's of the same name.
pub(super) fn function() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::from(FittingSum { inner: Sum::new() }))
}

/// `sum(value)`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct FittingSum {
    inner: Sum,
}

/// The type in which totals of type `result` are kept, where they could outgrow their own.
fn wider(result: &DataType) -> Option<DataType> {
    match result {
        DataType::Int64 | DataType::UInt64 => Some(DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0)),
        // A narrower one has ten digits more than what it adds.
        DataType::Decimal128(DECIMAL128_MAX_PRECISION, scale) => {
            Some(DataType::Decimal256(DECIMAL256_MAX_PRECISION, *scale))
        }
        _ => None,
    }
}

/// What DataFusion's `sum` is told, and what its results are fitted into; `None` where they always fit.
fn widened<'a>(args: AccumulatorArgs<'a>) -> (AccumulatorArgs<'a>, Option<Fit>) {
    let result = args.return_field.data_type().clone();
    match wider(&result) {
        Some(wide) => {
            let return_field = Arc::new(Field::new(args.return_field.name(), wide.clone(), true));
            (AccumulatorArgs { return_field, ..args }, Some(Fit { wide, result }))
        }
        None => (args, None),
    }
}

impl AggregateUDFImpl for FittingSum {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arg_types)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let return_field = match wider(args.return_type()) {
            Some(wide) => Arc::new(Field::new(args.return_field.name(), wide, true)),
            None => args.return_field.clone(),
        };
        self.inner.state_fields(StateFieldsArgs { return_field, ..args })
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let (args, fit) = widened(args);
        fitted(self.inner.accumulator(args)?, fit)
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        // Sliding sums of distinct values are known for integers only.
        let (args, fit) = if args.is_distinct { (args, None) } else { widened(args) };
        fitted(self.inner.create_sliding_accumulator(args)?, fit)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        let (args, fit) = widened(args);
        let inner = self.inner.create_groups_accumulator(args)?;
        Ok(match fit {
            Some(fit) => Box::new(FittedGroups { inner, fit }),
            None => inner,
        })
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.inner.set_monotonicity(data_type)
    }
}

fn fitted(inner: Box<dyn Accumulator>, fit: Option<Fit>) -> Result<Box<dyn Accumulator>> {
    Ok(match fit {
        Some(fit) => Box::new(Fitted { inner, fit }),
        None => inner,
    })
}

/// The type of the totals, and that of the results.
#[derive(Debug)]
struct Fit {
    wide: DataType,
    result: DataType,
}

impl Fit {
    fn widen(&self, values: &[ArrayRef]) -> Result<ArrayRef> {
        Ok(match (values[0].data_type(), &self.wide) {
            (DataType::Int64, DataType::Decimal128(precision, scale)) => {
                let wide: Decimal128Array =
                    values[0].as_primitive::<Int64Type>().unary::<_, Decimal128Type>(i128::from);
                Arc::new(wide.with_precision_and_scale(*precision, *scale)?)
            }
            _ => cast(&values[0], &self.wide)?,
        })
    }

    /// The totals in the type of the result; NULL where they do not fit.
    fn narrow(&self, totals: &ArrayRef) -> Result<ArrayRef> {
        Ok(cast_with_options(totals, &self.result, &CastOptions { safe: true, ..CastOptions::default() })?)
    }
}

#[derive(Debug)]
struct Fitted {
    inner: Box<dyn Accumulator>,
    fit: Fit,
}

impl Accumulator for Fitted {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.update_batch(&[self.fit.widen(values)?])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let total = self.inner.evaluate()?.to_array()?;
        ScalarValue::try_from_array(&self.fit.narrow(&total)?, 0)
    }

    fn size(&self) -> usize {
        self.inner.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.inner.merge_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.retract_batch(&[self.fit.widen(values)?])
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }
}

struct FittedGroups {
    inner: Box<dyn GroupsAccumulator>,
    fit: Fit,
}

impl GroupsAccumulator for FittedGroups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        self.inner.update_batch(&[self.fit.widen(values)?], group_indices, opt_filter, total_num_groups)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let totals = self.inner.evaluate(emit_to)?;
        self.fit.narrow(&totals)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.inner.state(emit_to)
    }

    fn merge_batch(&mut self, states: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> Result<()> {
        self.inner.merge_batch(states, group_indices, total_num_groups)
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        self.inner.convert_to_state(&[self.fit.widen(values)?], opt_filter)
    }

    fn size(&self) -> usize {
        self.inner.size()
    }
}
