//! What `DETECT_ANOMALIES` adds to a row.

use super::{Point, Watched};
use crate::anomaly::{DetectSettings, Detector, Group, Verdict};
use arrow::array::{ArrayRef, BooleanArray, Float64Array, StringArray};
use arrow::datatypes::{DataType, Field};
use std::sync::Arc;
use thalweg_schemas::error::Result;

/// The columns that are added.
pub fn added() -> Vec<Field> {
    vec![
        Field::new("expected", DataType::Float64, true),
        Field::new("lower", DataType::Float64, true),
        Field::new("upper", DataType::Float64, true),
        Field::new("score", DataType::Float64, false),
        Field::new("is_anomaly", DataType::Boolean, false),
        Field::new("reason", DataType::Utf8, true),
        Field::new("learning", DataType::Boolean, false),
    ]
}

impl Watched for Detector {
    type Settings = DetectSettings;
    type Said = Verdict;

    fn new(settings: &DetectSettings, group: Option<&Group>) -> Detector {
        match group {
            Some(group) => Detector::of_group(settings, group),
            None => Detector::new(settings),
        }
    }

    fn observe(&mut self, settings: &DetectSettings, point: Point<'_>, group: Option<&mut Group>) -> Verdict {
        if let Some(version) = point.version {
            self.deploy(version);
        }
        self.observe_in(settings, point.at, point.value, point.others, group)
    }

    fn ttl_ns(settings: &DetectSettings) -> i64 {
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

    fn decode(settings: &DetectSettings, bytes: &[u8]) -> Option<Detector> {
        Detector::decode(settings, bytes)
    }

    fn columns(settings: &DetectSettings, said: &[Verdict], _time: &DataType) -> Result<Vec<ArrayRef>> {
        let number =
            |of: fn(&Verdict) -> Option<f64>| Arc::new(said.iter().map(of).collect::<Float64Array>()) as ArrayRef;
        let reasons = said.iter().map(|verdict| {
            let after = if verdict.after_deploy { " AFTER_DEPLOY" } else { "" };
            verdict.reason.map(|reason| reason.with(&settings.values) + after)
        });
        Ok(vec![
            number(|verdict| verdict.expected),
            number(|verdict| verdict.lower),
            number(|verdict| verdict.upper),
            number(|verdict| Some(verdict.score)),
            Arc::new(said.iter().map(|verdict| Some(verdict.is_anomaly)).collect::<BooleanArray>()),
            Arc::new(reasons.collect::<StringArray>()),
            Arc::new(said.iter().map(|verdict| Some(verdict.learning)).collect::<BooleanArray>()),
        ])
    }
}
