//! `best_window(slot_start, slot_end, g_per_kwh, duration)`: over a forecast, when a job emits least. A struct of `start`,
//! its mean intensity, that of beginning with the forecast, and the saving in percent.
//!
//! The accumulator keeps the slots of its group, which a forecast has a few hundred of. Where the forecast gives one slot
//! twice, the later row would win by chance, so the larger value does.

use super::schedule::{Window, best_window};
use super::slots::Slot;
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Field, FieldRef, Fields, Float64Type, IntervalUnit, TimeUnit, TimestampNanosecondType,
};
use datafusion_common::{Result, ScalarValue, exec_err, plan_err};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::utils::format_state_name;
use datafusion_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The function.
pub(super) fn function() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::from(BestWindow { signature: Signature::user_defined(Volatility::Immutable) }))
}

const NAME: &str = "best_window";
const TIME: DataType = DataType::Timestamp(TimeUnit::Nanosecond, None);
/// Bytes of a slot in the state of an accumulator: start, end, intensity.
const SLOT_BYTES: usize = 24;

#[derive(Debug, PartialEq, Eq, Hash)]
struct BestWindow {
    signature: Signature,
}

fn fields() -> Fields {
    let number = |name: &str| Field::new(name, DataType::Float64, true);
    Fields::from(vec![
        Field::new("start", TIME, true),
        number("g_per_kwh"),
        number("now_g_per_kwh"),
        number("saving_percent"),
    ])
}

impl AggregateUDFImpl for BestWindow {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        match given {
            [DataType::Timestamp(..), DataType::Timestamp(..), g, DataType::Interval(_)] if g.is_numeric() => {
                Ok(vec![TIME, TIME, DataType::Float64, DataType::Interval(IntervalUnit::MonthDayNano)])
            }
            _ => plan_err!(
                "{NAME}(slot_start, slot_end, g_per_kwh, duration) takes two timestamps, a number and an INTERVAL"
            ),
        }
    }

    fn return_type(&self, _given: &[DataType]) -> Result<DataType> {
        Ok(DataType::Struct(fields()))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let field =
            |name: &str, data_type: DataType| Arc::new(Field::new(format_state_name(args.name, name), data_type, true));
        Ok(vec![field("slots", DataType::Binary), field("duration", DataType::Int64)])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct {
            return plan_err!("{NAME} takes no DISTINCT");
        }
        Ok(Box::new(Forecast::default()))
    }
}

/// The slots of a group by their starts, with their ends and intensities, and the length of the job.
#[derive(Debug, Default)]
struct Forecast {
    slots: BTreeMap<i64, (i64, f64)>,
    duration: Option<i64>,
}

impl Forecast {
    fn add(&mut self, start: i64, end: i64, g_per_kwh: f64) {
        let slot = self.slots.entry(start).or_insert((end, g_per_kwh));
        if g_per_kwh > slot.1 {
            *slot = (end, g_per_kwh);
        }
    }

    fn last(&mut self, duration: i64) -> Result<()> {
        match self.duration {
            Some(known) if known != duration => exec_err!("{NAME}: the duration of a group's job is one"),
            _ => {
                self.duration = Some(duration);
                Ok(())
            }
        }
    }

    fn best(&self) -> Option<Window> {
        let slots =
            self.slots.iter().map(|(start, (end, g_per_kwh))| Slot { start: *start, end: *end, g_per_kwh: *g_per_kwh });
        let slots: Vec<Slot> = slots.filter(|slot| slot.end > slot.start).collect();
        best_window(&slots, self.duration?, slots.first()?.start, i64::MAX)
    }
}

impl Accumulator for Forecast {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [starts, ends, intensities, durations] = values else { return exec_err!("{NAME} has four arguments") };
        let (starts, ends) =
            (starts.as_primitive::<TimestampNanosecondType>(), ends.as_primitive::<TimestampNanosecondType>());
        let intensities = intensities.as_primitive::<Float64Type>();
        for row in 0..starts.len() {
            if let ScalarValue::IntervalMonthDayNano(Some(duration)) = ScalarValue::try_from_array(durations, row)? {
                if duration.months != 0 {
                    return exec_err!("{NAME}: a month has no length of its own: write days");
                }
                self.last(i64::from(duration.days) * 86_400_000_000_000 + duration.nanoseconds)?;
            }
            if starts.is_valid(row) && ends.is_valid(row) && intensities.is_valid(row) {
                self.add(starts.value(row), ends.value(row), intensities.value(row));
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [slots, durations] = states else { return exec_err!("{NAME} has two states") };
        for bytes in slots.as_binary::<i32>().iter().flatten() {
            for slot in bytes.chunks_exact(SLOT_BYTES) {
                let part = |at: usize| slot[at..at + 8].try_into().unwrap_or([0; 8]);
                self.add(i64::from_le_bytes(part(0)), i64::from_le_bytes(part(8)), f64::from_le_bytes(part(16)));
            }
        }
        for duration in durations.as_primitive::<arrow::datatypes::Int64Type>().iter().flatten() {
            self.last(duration)?;
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let mut bytes = Vec::with_capacity(self.slots.len() * SLOT_BYTES);
        for (start, (end, g_per_kwh)) in &self.slots {
            bytes.extend(start.to_le_bytes());
            bytes.extend(end.to_le_bytes());
            bytes.extend(g_per_kwh.to_le_bytes());
        }
        Ok(vec![ScalarValue::Binary(Some(bytes)), ScalarValue::Int64(self.duration)])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let best = self.best();
        let values = [
            ScalarValue::TimestampNanosecond(best.map(|window| window.start), None),
            ScalarValue::Float64(best.map(|window| window.g_per_kwh)),
            ScalarValue::Float64(best.and_then(|window| window.now_g_per_kwh)),
            ScalarValue::Float64(best.and_then(|window| window.saving()).map(|saving| saving * 100.0)),
        ];
        let columns = values.iter().map(|value| value.to_array()).collect::<Result<Vec<_>>>()?;
        Ok(ScalarValue::Struct(Arc::new(arrow::array::StructArray::try_new(fields(), columns, None)?)))
    }

    fn size(&self) -> usize {
        size_of::<Forecast>() + self.slots.len() * 3 * SLOT_BYTES
    }
}
