//! The shapes of services' answers, read into publications.
//!
//! A period without a value is no publication: it is missing, not zero. An answer that is not of its service's shape is
//! refused as a whole, with what is wrong.

use arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use serde_json::Value;

/// Nanoseconds of an hour.
const HOUR_NS: i64 = 3_600_000_000_000;

/// Whose answers they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Electricity Maps v3: `carbon-intensity/latest`, `/history`, `/past-range`, `/forecast`.
    ElectricityMaps,
    /// WattTime v3: `historical`, `forecast`, `forecast/historical`.
    WattTime,
    /// The Carbon Intensity API of Great Britain: `/intensity/..`, `/regional/..`.
    GreatBritain,
}

/// What a service says of a zone and a period.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Publication {
    pub zone: String,
    pub valid_from: i64,
    pub valid_to: i64,
    pub value: f64,
    pub unit: &'static str,
    pub kind: &'static str,
    pub signal: &'static str,
    pub lifecycle: &'static str,
    pub version: Option<String>,
    /// When it was published, if the service says so.
    pub published_at: Option<i64>,
}

impl Shape {
    pub fn named(name: &str) -> Option<Shape> {
        match name {
            "electricity_maps" => Some(Shape::ElectricityMaps),
            "watttime" => Some(Shape::WattTime),
            "uk" => Some(Shape::GreatBritain),
            _ => None,
        }
    }

    /// What the column `source` says.
    pub fn source(self) -> &'static str {
        match self {
            Shape::ElectricityMaps => "Electricity Maps",
            Shape::WattTime => "WattTime",
            Shape::GreatBritain => "NESO Carbon Intensity API",
        }
    }

    /// The publications of an answer.
    pub fn read(self, body: &str) -> Result<Vec<Publication>, String> {
        let answer: Value = serde_json::from_str(body).map_err(|error| format!("the answer is not JSON: {error}"))?;
        match self {
            Shape::ElectricityMaps => electricity_maps(&answer),
            Shape::WattTime => watttime(&answer),
            Shape::GreatBritain => great_britain(&answer),
        }
    }
}

fn electricity_maps(answer: &Value) -> Result<Vec<Publication>, String> {
    let zone = text(answer, "zone")?;
    let listed = |key: &str| answer[key].as_array().map(|records| records.iter().collect());
    let (records, forecast) = match (listed("forecast"), listed("history").or_else(|| listed("data"))) {
        (Some(records), _) => (records, true),
        (_, Some(records)) => (records, false),
        _ => (vec![answer], false),
    };
    let mut publications = Vec::new();
    for record in records {
        let of = |key: &str| if record[key].is_null() { &answer[key] } else { &record[key] };
        let Some(value) = number(record, "carbonIntensity")? else { continue };
        let valid_from = time(&text(record, "datetime")?)?;
        let length = match of("temporalGranularity").as_str() {
            None | Some("hourly") => HOUR_NS,
            Some("15_minutes") => HOUR_NS / 4,
            Some("5_minutes") => HOUR_NS / 12,
            Some(other) => return Err(format!("\"temporalGranularity\" is \"{other}\", whose length is not known")),
        };
        publications.push(Publication {
            zone: zone.clone(),
            valid_from,
            valid_to: valid_from.saturating_add(length),
            value,
            unit: "gCO2eq/kWh",
            kind: match of("isEstimated").as_bool() {
                _ if forecast => "forecast",
                Some(true) => "estimated",
                _ => "actual",
            },
            signal: "average",
            lifecycle: if of("emissionFactorType") == "direct" { "direct" } else { "lifecycle" },
            version: of("estimationMethod").as_str().map(str::to_string),
            published_at: of("updatedAt").as_str().map(time).transpose()?,
        });
    }
    Ok(publications)
}

fn watttime(answer: &Value) -> Result<Vec<Publication>, String> {
    let meta = &answer["meta"];
    let zone = text(meta, "region")?;
    let signal = match text(meta, "signal_type")?.as_str() {
        "co2_moer" => "marginal",
        "co2_aoer" => "average",
        other => return Err(format!("\"signal_type\" is \"{other}\", which is no intensity of carbon")),
    };
    let unit = text(meta, "units")?;
    if unit != "lbs_co2_per_mwh" {
        return Err(format!("\"units\" is \"{unit}\", not lbs_co2_per_mwh"));
    }
    let period_s = meta["data_point_period_seconds"].as_i64().filter(|seconds| *seconds > 0).unwrap_or(300);
    let generated_at = meta["generated_at"].as_str().map(time).transpose()?;
    let mut publications = Vec::new();
    let mut publish = |record: &Value, generated_at: Option<i64>| -> Result<(), String> {
        let Some(value) = number(record, "value")? else { return Ok(()) };
        let valid_from = time(&text(record, "point_time")?)?;
        publications.push(Publication {
            zone: zone.clone(),
            valid_from,
            valid_to: valid_from.saturating_add(period_s.saturating_mul(1_000_000_000)),
            value,
            unit: "lbs/MWh",
            kind: if generated_at.is_some() { "forecast" } else { "actual" },
            signal,
            lifecycle: "direct",
            version: meta["model"]["date"].as_str().map(str::to_string),
            published_at: generated_at,
        });
        Ok(())
    };
    for record in list(answer)? {
        match &record["forecast"] {
            // One of several forecasts, each of its own time.
            Value::Array(forecast) => {
                let generated_at = time(&text(record, "generated_at")?)?;
                forecast.iter().try_for_each(|record| publish(record, Some(generated_at)))?;
            }
            _ => publish(record, generated_at)?,
        }
    }
    Ok(publications)
}

fn great_britain(answer: &Value) -> Result<Vec<Publication>, String> {
    let records = match &answer["data"] {
        // All periods of one region.
        region @ Value::Object(_) => std::slice::from_ref(region),
        _ => list(answer)?,
    };
    let mut publications = Vec::new();
    for record in records {
        match (&record["regions"], &record["data"]) {
            (Value::Array(regions), _) => {
                for region in regions {
                    half_hour(&mut publications, region_of(region)?, record, &region["intensity"])?;
                }
            }
            (_, Value::Array(periods)) => {
                for period in periods {
                    half_hour(&mut publications, region_of(record)?, period, &period["intensity"])?;
                }
            }
            _ => half_hour(&mut publications, "GB".to_string(), record, &record["intensity"])?,
        }
    }
    Ok(publications)
}

/// The zone of a region of Great Britain: `GB-13` is that of number 13.
fn region_of(record: &Value) -> Result<String, String> {
    let number = record["regionid"].as_u64().ok_or("a region of the answer has no number \"regionid\"")?;
    Ok(format!("GB-{number}"))
}

fn half_hour(into: &mut Vec<Publication>, zone: String, period: &Value, intensity: &Value) -> Result<(), String> {
    let (valid_from, valid_to) = (time(&text(period, "from")?)?, time(&text(period, "to")?)?);
    for kind in ["forecast", "actual"] {
        let Some(value) = number(intensity, kind)? else { continue };
        into.push(Publication {
            zone: zone.clone(),
            valid_from,
            valid_to,
            value,
            unit: "gCO2eq/kWh",
            kind,
            signal: "average",
            lifecycle: "direct",
            version: None,
            published_at: None,
        });
    }
    Ok(())
}

fn list(answer: &Value) -> Result<&[Value], String> {
    answer["data"].as_array().map(Vec::as_slice).ok_or_else(|| "the answer has no list \"data\"".to_string())
}

fn text(value: &Value, key: &str) -> Result<String, String> {
    value[key].as_str().map(str::to_string).ok_or_else(|| format!("the answer has no text \"{key}\""))
}

/// A number, or none where the service does not know it (yet).
fn number(value: &Value, key: &str) -> Result<Option<f64>, String> {
    match &value[key] {
        Value::Null => Ok(None),
        Value::Number(number) => Ok(number.as_f64()),
        other => Err(format!("\"{key}\" is {other}, not a number")),
    }
}

/// An instant in UTC; seconds may be left out, as Great Britain does.
fn time(text: &str) -> Result<i64, String> {
    let whole = match text.strip_suffix('Z') {
        Some(minutes) if minutes.len() == "2026-01-01T00:00".len() => format!("{minutes}:00Z"),
        _ => text.to_string(),
    };
    string_to_timestamp_nanos(&whole).map_err(|_| format!("\"{text}\" is not an instant"))
}
