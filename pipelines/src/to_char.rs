//! `to_char` as DataFusion has it, which reads the format anew for each value: where the format is one for all rows, times
//! that follow each other and that it does not tell apart are written once.
//!
//! Events come about in the order of their times, so that a day or a minute is written once for thousands of rows.

use arrow::array::{Array, ArrayRef, AsArray, UInt32Array};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Int64Type, TimeUnit};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions::datetime;
use datafusion::logical_expr::{ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature};
use std::ops::Range;
use std::sync::Arc;

/// The function, to be registered in place of DataFusion's.
pub(crate) fn function() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(ToChar { of_each: datetime::to_char() }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ToChar {
    of_each: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for ToChar {
    fn name(&self) -> &str {
        self.of_each.name()
    }

    fn aliases(&self) -> &[String] {
        self.of_each.aliases()
    }

    fn signature(&self) -> &Signature {
        self.of_each.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.of_each.return_type(arguments)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.of_each.documentation()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let runs = match args.args.as_slice() {
            [ColumnarValue::Array(times), ColumnarValue::Scalar(ScalarValue::Utf8(Some(format)))] => {
                runs(times, format)?
            }
            _ => None,
        };
        let Some((runs, firsts)) = runs else { return self.of_each.invoke_with_args(args) };
        let ([_, format], rows) = (args.args.as_slice(), firsts.len()) else {
            return self.of_each.invoke_with_args(args);
        };
        let few =
            ScalarFunctionArgs { args: vec![ColumnarValue::Array(firsts), format.clone()], number_rows: rows, ..args };
        let texts = self.of_each.invoke_with_args(few)?.into_array(rows)?;
        Ok(ColumnarValue::Array(take(&texts, &runs, None)?))
    }
}

/// The run that each time is in, and the first time of each; `None` where that would not save anything.
fn runs(times: &ArrayRef, format: &str) -> Result<Option<(UInt32Array, ArrayRef)>> {
    let DataType::Timestamp(unit, None) = times.data_type() else { return Ok(None) };
    let Some(seconds) = told_apart_s(format) else { return Ok(None) };
    let length = seconds * ticks_a_second(unit);
    let ticks = cast(times, &DataType::Int64)?;
    let ticks = ticks.as_primitive::<Int64Type>();
    let (mut runs, mut firsts) = (Vec::with_capacity(ticks.len()), Vec::new());
    // Of NULL, no range.
    let mut current: Option<Option<Range<i64>>> = None;
    for (row, tick) in (0u32..).zip(ticks) {
        let goes_on = match (&current, tick) {
            (Some(Some(range)), Some(tick)) => range.contains(&tick),
            (Some(None), None) => true,
            _ => false,
        };
        if !goes_on {
            current = Some(tick.map(|tick| {
                let begin = tick.div_euclid(length).saturating_mul(length);
                begin..begin.saturating_add(length)
            }));
            firsts.push(row);
            if firsts.len() > ticks.len() / 2 {
                return Ok(None);
            }
        }
        runs.push(firsts.len() as u32 - 1);
    }
    let firsts = take(times, &UInt32Array::from(firsts), None)?;
    Ok(Some((UInt32Array::from(runs), firsts)))
}

fn ticks_a_second(unit: &TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

/// The shortest stretch that a format of chrono's tells from the next, in seconds; `None` where that is not known of one of
/// its parts.
fn told_apart_s(format: &str) -> Option<i64> {
    let (mut letters, mut shortest) = (format.chars(), 86_400);
    while let Some(letter) = letters.next() {
        if letter != '%' {
            continue;
        }
        let part = match letters.next()? {
            // How numbers are filled up.
            '-' | '_' | '0' => letters.next()?,
            part => part,
        };
        let seconds = match part {
            'Y' | 'y' | 'C' | 'm' | 'b' | 'B' | 'h' | 'd' | 'e' | 'a' | 'A' | 'u' | 'w' | 'j' | 'G' | 'V' | 'D'
            | 'F' => 86_400,
            'H' | 'k' | 'I' | 'l' | 'p' | 'P' => 3_600,
            'M' | 'R' => 60,
            'S' | 'T' => 1,
            '%' => 86_400,
            _ => return None,
        };
        shortest = shortest.min(seconds);
    }
    Some(shortest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, StringArray};
    use arrow::datatypes::Field;
    use datafusion::common::config::ConfigOptions;
    use proptest::prelude::*;

    fn of(function: &ScalarUDF, times: &ArrayRef, format: &str) -> Option<StringArray> {
        let format = ScalarValue::Utf8(Some(format.to_string()));
        let fields = [times.data_type().clone(), DataType::Utf8].map(|of| Arc::new(Field::new("", of, true)));
        let args = ScalarFunctionArgs {
            args: vec![ColumnarValue::Array(times.clone()), ColumnarValue::Scalar(format)],
            arg_fields: fields.to_vec(),
            number_rows: times.len(),
            return_field: Arc::new(Field::new("", DataType::Utf8, true)),
            config_options: Arc::new(ConfigOptions::default()),
        };
        let texts = function.invoke_with_args(args).ok()?.into_array(times.len()).unwrap();
        Some(texts.as_string::<i32>().clone())
    }

    proptest! {
        #[test]
        fn texts_are_those_of_datafusion(
            steps in prop::collection::vec(prop::option::weighted(0.9, -3_000i64..40_000), 0..60),
            begin in -3_000_000_000i64..3_000_000_000,
            format in prop_oneof![
                Just("%Y-%m-%d"), Just("%H:%M"), Just("%d.%m.%y %-H %p"), Just("week %V of %G, %T 100%%"), Just("%j %l"),
                Just("none"), Just(""), Just("%S%.3f"), Just("%Q"), Just("%A %e %B %R"), Just("%s"),
            ],
            unit in prop_oneof![Just(TimeUnit::Second), Just(TimeUnit::Millisecond), Just(TimeUnit::Nanosecond)],
        ) {
            let mut at = begin;
            let ticks: Int64Array = steps.iter().map(|step| {
                at += (*step)?;
                Some(at * ticks_a_second(&unit) + ticks_a_second(&unit) / 3)
            }).collect();
            let times = cast(&ticks, &DataType::Timestamp(unit, None)).unwrap();
            prop_assert_eq!(of(&function(), &times, format), of(&datetime::to_char(), &times, format));
        }
    }

    #[test]
    fn a_day_is_written_once() {
        let hour = |hour: i64| hour * 3_600_000_000_000;
        let ticks = Int64Array::from_iter_values((0..48).map(hour));
        let times = cast(&ticks, &DataType::Timestamp(TimeUnit::Nanosecond, None)).unwrap();
        let (runs, firsts) = runs(&times, "%Y-%m-%d").unwrap().unwrap();
        assert_eq!((runs.len(), firsts.len()), (48, 2));
        assert!(super::runs(&times, "%Y-%m-%d %H").unwrap().is_none());
    }
}
