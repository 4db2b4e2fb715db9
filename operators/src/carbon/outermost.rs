//! `outermost_sum(meter, parent, amount)`: over meters inside meters, what the outermost ones measured.
//!
//! The accumulator keeps the meters of its group, which a machine has a few dozen of.

use super::overlap::Hierarchy;
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use datafusion_common::{Result, ScalarValue, exec_err, plan_err};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::utils::format_state_name;
use datafusion_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};
use std::sync::Arc;

/// The function.
pub(super) fn function() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::from(OutermostSum { signature: Signature::user_defined(Volatility::Immutable) }))
}

const NAME: &str = "outermost_sum";

#[derive(Debug, PartialEq, Eq, Hash)]
struct OutermostSum {
    signature: Signature,
}

impl AggregateUDFImpl for OutermostSum {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let text = |given: &DataType| {
            given.is_null() || matches!(given, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
        };
        match given {
            [meter, parent, amount] if text(meter) && text(parent) && (amount.is_null() || amount.is_numeric()) => {
                Ok(vec![DataType::Utf8, DataType::Utf8, DataType::Float64])
            }
            _ => plan_err!("{NAME}(meter, parent, amount) takes two texts and a number"),
        }
    }

    fn return_type(&self, _given: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let list = |name: &str, item: DataType| {
            let list = DataType::List(Arc::new(Field::new_list_field(item, true)));
            Arc::new(Field::new(format_state_name(args.name, name), list, true))
        };
        Ok(vec![list("meters", DataType::Utf8), list("parents", DataType::Utf8), list("amounts", DataType::Float64)])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct {
            return plan_err!("{NAME} takes no DISTINCT");
        }
        Ok(Box::new(Meters(Hierarchy::default())))
    }
}

#[derive(Debug)]
struct Meters(Hierarchy);

impl Meters {
    fn add(&mut self, meters: &ArrayRef, parents: &ArrayRef, amounts: &ArrayRef) {
        let (meters, parents) = (meters.as_string::<i32>(), parents.as_string::<i32>());
        let rows = meters.iter().zip(parents).zip(amounts.as_primitive::<Float64Type>());
        for ((meter, parent), amount) in rows {
            if let Some(meter) = meter {
                self.0.add(meter, parent, amount);
            }
        }
    }
}

impl Accumulator for Meters {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [meters, parents, amounts] = values else { return exec_err!("{NAME} has three arguments") };
        self.add(meters, parents, amounts);
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [meters, parents, amounts] = states else { return exec_err!("{NAME} has three states") };
        let (meters, parents, amounts) = (meters.as_list::<i32>(), parents.as_list::<i32>(), amounts.as_list::<i32>());
        for row in (0..meters.len()).filter(|row| meters.is_valid(*row)) {
            self.add(&meters.value(row), &parents.value(row), &amounts.value(row));
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let list = |values: Vec<ScalarValue>, item: DataType| {
            ScalarValue::List(ScalarValue::new_list_nullable(&values, &item))
        };
        let (mut meters, mut parents, mut amounts) = (Vec::new(), Vec::new(), Vec::new());
        for (meter, parent, amount) in self.0.meters() {
            meters.push(ScalarValue::from(meter));
            parents.push(ScalarValue::Utf8(parent.map(str::to_string)));
            amounts.push(ScalarValue::Float64(amount));
        }
        Ok(vec![list(meters, DataType::Utf8), list(parents, DataType::Utf8), list(amounts, DataType::Float64)])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64(self.0.without_overlap()))
    }

    fn size(&self) -> usize {
        size_of::<Meters>() + self.0.size()
    }
}
