//! `best_region(region, pue, slot_start, slot_end, g_per_kwh, duration)`: over the forecasts of several regions, where and when a job
//! emits least: by the mean intensity of its window times the PUE of the region's building. A struct of `region`,
//! `start`, the grams per kWh that the job itself uses, that of beginning at once in the same region, and the saving in
//! percent.
//!
//! The accumulator keeps a forecast for each region. Where a region is given two values of PUE, the greater counts.

use super::best_window::{Forecast, TIME, span_of};
use super::schedule::best_region;
use super::slots::Slot;
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Field, FieldRef, Fields, Float64Type, Int64Type, IntervalUnit, TimestampNanosecondType,
};
use datafusion_common::{Result, ScalarValue, exec_err, plan_err};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::utils::format_state_name;
use datafusion_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The function.
pub(super) fn function() -> Arc<AggregateUDF> {
    Arc::new(AggregateUDF::from(BestRegion { signature: Signature::user_defined(Volatility::Immutable) }))
}

const NAME: &str = "best_region";

#[derive(Debug, PartialEq, Eq, Hash)]
struct BestRegion {
    signature: Signature,
}

fn fields() -> Fields {
    let number = |name: &str| Field::new(name, DataType::Float64, true);
    Fields::from(vec![
        Field::new("region", DataType::Utf8, true),
        Field::new("start", TIME, true),
        number("g_per_kwh"),
        number("now_g_per_kwh"),
        number("saving_percent"),
    ])
}

impl AggregateUDFImpl for BestRegion {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        match given {
            [
                DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View,
                pue,
                DataType::Timestamp(..),
                DataType::Timestamp(..),
                g,
                DataType::Interval(_),
            ] if pue.is_numeric() && g.is_numeric() => {
                let span = DataType::Interval(IntervalUnit::MonthDayNano);
                Ok(vec![DataType::Utf8, DataType::Float64, TIME, TIME, DataType::Float64, span])
            }
            _ => plan_err!(
                "{NAME}(region, pue, slot_start, slot_end, g_per_kwh, duration) takes a text, a number, two timestamps, a \
                 number and an INTERVAL"
            ),
        }
    }

    fn return_type(&self, _given: &[DataType]) -> Result<DataType> {
        Ok(DataType::Struct(fields()))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let field =
            |name: &str, data_type: DataType| Arc::new(Field::new(format_state_name(args.name, name), data_type, true));
        let texts = DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)));
        let numbers = DataType::List(Arc::new(Field::new_list_field(DataType::Float64, true)));
        let bytes = DataType::List(Arc::new(Field::new_list_field(DataType::Binary, true)));
        Ok(vec![
            field("regions", texts),
            field("pues", numbers),
            field("slots", bytes),
            field("duration", DataType::Int64),
        ])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct {
            return plan_err!("{NAME} takes no DISTINCT");
        }
        Ok(Box::new(Regions::default()))
    }
}

/// A forecast, and the PUE of the building, of each region.
#[derive(Debug, Default)]
struct Regions {
    regions: BTreeMap<String, (f64, Forecast)>,
    duration: Option<i64>,
}

impl Regions {
    fn last(&mut self, duration: i64) -> Result<()> {
        match self.duration.replace(duration) {
            Some(known) if known != duration => exec_err!("{NAME}: the duration of a group's job is one"),
            _ => Ok(()),
        }
    }

    fn region(&mut self, name: &str, pue: f64) -> &mut Forecast {
        let (known, forecast) = self.regions.entry(name.to_string()).or_insert_with(|| (pue, Forecast::default()));
        *known = known.max(pue);
        forecast
    }
}

impl Accumulator for Regions {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [regions, pues, starts, ends, intensities, durations] = values else {
            return exec_err!("{NAME} has six arguments");
        };
        let (regions, pues) = (regions.as_string::<i32>(), pues.as_primitive::<Float64Type>());
        let (starts, ends) =
            (starts.as_primitive::<TimestampNanosecondType>(), ends.as_primitive::<TimestampNanosecondType>());
        let intensities = intensities.as_primitive::<Float64Type>();
        for row in 0..regions.len() {
            if let Some(duration) = span_of(NAME, durations, row)? {
                self.last(duration)?;
            }
            if values[..5].iter().all(|column| column.is_valid(row)) {
                if pues.value(row) < 1.0 {
                    return exec_err!("{NAME}: a PUE of {} would make energy: it is at least 1", pues.value(row));
                }
                let forecast = self.region(regions.value(row), pues.value(row));
                forecast.add(starts.value(row), ends.value(row), intensities.value(row));
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [regions, pues, slots, durations] = states else { return exec_err!("{NAME} has four states") };
        let (regions, pues, slots) = (regions.as_list::<i32>(), pues.as_list::<i32>(), slots.as_list::<i32>());
        for row in (0..regions.len()).filter(|row| regions.is_valid(*row)) {
            let (names, factors, parts) = (regions.value(row), pues.value(row), slots.value(row));
            let (names, factors) = (names.as_string::<i32>(), factors.as_primitive::<Float64Type>());
            let parts = parts.as_binary::<i32>();
            for at in 0..names.len() {
                self.region(names.value(at), factors.value(at)).merge(parts.value(at));
            }
        }
        for duration in durations.as_primitive::<Int64Type>().iter().flatten() {
            self.last(duration)?;
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let list = |values: Vec<ScalarValue>, item: DataType| {
            ScalarValue::List(ScalarValue::new_list_nullable(&values, &item))
        };
        let names = self.regions.keys().map(|name| ScalarValue::from(name.as_str())).collect();
        let pues = self.regions.values().map(|(pue, _)| ScalarValue::from(*pue)).collect();
        let slots = self.regions.values().map(|(_, forecast)| ScalarValue::Binary(Some(forecast.bytes()))).collect();
        Ok(vec![
            list(names, DataType::Utf8),
            list(pues, DataType::Float64),
            list(slots, DataType::Binary),
            ScalarValue::Int64(self.duration),
        ])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let slots: Vec<(&str, Vec<Slot>, f64)> =
            self.regions.iter().map(|(name, (pue, forecast))| (name.as_str(), forecast.slots(), *pue)).collect();
        let now = slots.iter().filter_map(|(_, slots, _)| slots.first()).map(|slot| slot.start).min();
        let regions: Vec<(&str, &[Slot], f64)> =
            slots.iter().map(|(name, slots, pue)| (*name, slots.as_slice(), *pue)).collect();
        let best = self.duration.zip(now).and_then(|(duration, now)| best_region(&regions, duration, now, i64::MAX));
        let pue = best.and_then(|(name, _)| self.regions.get(name)).map_or(1.0, |(pue, _)| *pue);
        let window = best.map(|(_, window)| window);
        let values = [
            ScalarValue::Utf8(best.map(|(name, _)| name.to_string())),
            ScalarValue::TimestampNanosecond(window.map(|window| window.start), None),
            ScalarValue::Float64(window.map(|window| window.g_per_kwh * pue)),
            ScalarValue::Float64(window.and_then(|window| window.now_g_per_kwh).map(|g_per_kwh| g_per_kwh * pue)),
            ScalarValue::Float64(window.and_then(|window| window.saving()).map(|saving| saving * 100.0)),
        ];
        let columns = values.iter().map(|value| value.to_array()).collect::<Result<Vec<_>>>()?;
        Ok(ScalarValue::Struct(Arc::new(arrow::array::StructArray::try_new(fields(), columns, None)?)))
    }

    fn size(&self) -> usize {
        let of = |(name, (_, forecast)): (&String, &(f64, Forecast))| name.capacity() + forecast.size();
        size_of::<Regions>() + self.regions.iter().map(of).sum::<usize>()
    }
}
