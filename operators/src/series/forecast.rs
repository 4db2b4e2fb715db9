//! What `FORECAST` adds to a row.

use super::{Point, Watched};
use crate::anomaly::{Forecast, ForecastSettings, Forecaster, Group};
use crate::event_time::optional_timestamps;
use arrow::array::{ArrayRef, Float64Array};
use arrow::datatypes::{DataType, Field};
use std::sync::Arc;
use thalweg_schemas::error::Result;

/// The columns that are added to rows whose event time is of type `time`; the last two where a threshold is given.
pub fn added(settings: &ForecastSettings, time: &DataType) -> Vec<Field> {
    let mut added: Vec<Field> =
        ["forecast", "lower", "upper"].map(|name| Field::new(name, DataType::Float64, true)).into();
    if settings.threshold.is_some() {
        added.extend(["breach_at", "breach_earliest"].map(|name| Field::new(name, time.clone(), true)));
    }
    added
}

impl Watched for Forecaster {
    type Settings = ForecastSettings;
    type Said = Forecast;

    fn new(settings: &ForecastSettings, _group: Option<&Group>) -> Forecaster {
        Forecaster::new(settings)
    }

    fn observe(&mut self, settings: &ForecastSettings, point: Point<'_>, _group: Option<&mut Group>) -> Forecast {
        self.observe(settings, point.at, point.value)
    }

    fn ttl_ns(settings: &ForecastSettings) -> i64 {
        settings.ttl_ns
    }

    fn last_ns(&self) -> i64 {
        self.last_ns()
    }

    fn bytes(&self) -> usize {
        self.bytes()
    }

    fn encode(&self) -> Vec<u8> {
        self.encode()
    }

    fn decode(settings: &ForecastSettings, bytes: &[u8]) -> Option<Forecaster> {
        Forecaster::decode(settings, bytes)
    }

    fn columns(settings: &ForecastSettings, said: &[Forecast], time: &DataType) -> Result<Vec<ArrayRef>> {
        let number =
            |of: fn(&Forecast) -> Option<f64>| Arc::new(said.iter().map(of).collect::<Float64Array>()) as ArrayRef;
        let mut columns = vec![number(|said| said.forecast), number(|said| said.lower), number(|said| said.upper)];
        if settings.threshold.is_some() {
            columns.push(optional_timestamps(said.iter().map(|said| said.breach_ns).collect(), time)?);
            columns.push(optional_timestamps(said.iter().map(|said| said.breach_earliest_ns).collect(), time)?);
        }
        Ok(columns)
    }
}
