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
pub(super) const TIME: DataType = DataType::Timestamp(TimeUnit::Nanosecond, None);
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
        Ok(Box::new(Job::default()))
    }
}

/// The length of a job in row `row`, in nanoseconds.
pub(super) fn span_of(function: &str, durations: &ArrayRef, row: usize) -> Result<Option<i64>> {
    match ScalarValue::try_from_array(durations, row)? {
        ScalarValue::IntervalMonthDayNano(Some(span)) if span.months != 0 => {
            exec_err!("{function}: a month has no length of its own: write days")
        }
        ScalarValue::IntervalMonthDayNano(Some(span)) => {
            Ok(Some(i64::from(span.days) * 86_400_000_000_000 + span.nanoseconds))
        }
        _ => Ok(None),
    }
}

/// The slots of a forecast by their starts, with their ends and intensities.
#[derive(Debug, Default)]
pub(super) struct Forecast(BTreeMap<i64, (i64, f64)>);

impl Forecast {
    pub fn add(&mut self, start: i64, end: i64, g_per_kwh: f64) {
        if !g_per_kwh.is_finite() {
            return;
        }
        let slot = self.0.entry(start).or_insert((end, g_per_kwh));
        if g_per_kwh > slot.1 {
            *slot = (end, g_per_kwh);
        }
    }

    /// In order of time.
    pub fn slots(&self) -> Vec<Slot> {
        let slot = |(start, (end, g)): (&i64, &(i64, f64))| Slot { start: *start, end: *end, g_per_kwh: *g };
        self.0.iter().map(slot).filter(|slot| slot.end > slot.start).collect()
    }

    /// As bytes, for [`merge`](Self::merge).
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() * SLOT_BYTES);
        for (start, (end, g_per_kwh)) in &self.0 {
            bytes.extend(start.to_le_bytes());
            bytes.extend(end.to_le_bytes());
            bytes.extend(g_per_kwh.to_le_bytes());
        }
        bytes
    }

    pub fn merge(&mut self, bytes: &[u8]) {
        for slot in bytes.chunks_exact(SLOT_BYTES) {
            let part = |at: usize| slot[at..at + 8].try_into().unwrap_or([0; 8]);
            self.add(i64::from_le_bytes(part(0)), i64::from_le_bytes(part(8)), f64::from_le_bytes(part(16)));
        }
    }

    pub fn size(&self) -> usize {
        size_of::<Forecast>() + self.0.len() * 3 * SLOT_BYTES
    }
}

/// A forecast, and the length of the job.
#[derive(Debug, Default)]
struct Job {
    forecast: Forecast,
    duration: Option<i64>,
}

impl Job {
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
        let slots = self.forecast.slots();
        best_window(&slots, self.duration?, slots.first()?.start, i64::MAX)
    }
}

impl Accumulator for Job {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [starts, ends, intensities, durations] = values else { return exec_err!("{NAME} has four arguments") };
        let (starts, ends) =
            (starts.as_primitive::<TimestampNanosecondType>(), ends.as_primitive::<TimestampNanosecondType>());
        let intensities = intensities.as_primitive::<Float64Type>();
        for row in 0..starts.len() {
            if let Some(duration) = span_of(NAME, durations, row)? {
                self.last(duration)?;
            }
            if starts.is_valid(row) && ends.is_valid(row) && intensities.is_valid(row) {
                self.forecast.add(starts.value(row), ends.value(row), intensities.value(row));
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [slots, durations] = states else { return exec_err!("{NAME} has two states") };
        slots.as_binary::<i32>().iter().flatten().for_each(|bytes| self.forecast.merge(bytes));
        for duration in durations.as_primitive::<arrow::datatypes::Int64Type>().iter().flatten() {
            self.last(duration)?;
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Binary(Some(self.forecast.bytes())), ScalarValue::Int64(self.duration)])
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
        size_of::<Job>() + self.forecast.size()
    }
}
