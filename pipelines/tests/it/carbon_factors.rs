//! The tables of factors: each row says where it is from, and each region lies in the country of its zone.

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::compute::{cast, concat_batches};
use arrow::csv::ReaderBuilder;
use arrow::csv::reader::Format;
use arrow::datatypes::DataType;
use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn tables() -> Vec<PathBuf> {
    let folder = Path::new("library/carbon/factors");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn read(path: &Path) -> RecordBatch {
    let format = Format::default().with_header(true);
    let (schema, _) = format.infer_schema(File::open(path).unwrap(), None).unwrap();
    let schema = Arc::new(schema);
    let reader = ReaderBuilder::new(schema.clone()).with_format(format).build(File::open(path).unwrap()).unwrap();
    let batches: Vec<RecordBatch> =
        reader.map(|batch| batch.unwrap_or_else(|error| panic!("{path:?}: {error}"))).collect();
    concat_batches(&schema, &batches).unwrap()
}

fn column(rows: &RecordBatch, name: &str) -> StringArray {
    let column = rows.column_by_name(name).unwrap_or_else(|| panic!("column {name} is missing"));
    cast(column, &DataType::Utf8).unwrap().as_string::<i32>().clone()
}

fn values(rows: &StringArray) -> impl Iterator<Item = &str> {
    rows.iter().map(|value| value.unwrap_or(""))
}

#[test]
fn every_factor_has_a_version_a_source_a_licence_and_a_date() {
    let tables = tables();
    assert!(tables.len() >= 5, "{tables:?}");
    for path in tables {
        let rows = read(&path);
        let date = if rows.column_by_name("taken").is_some() { "taken" } else { "reviewed_at" };
        for name in ["factor_set", "source", "licence", date] {
            let column = column(&rows, name);
            assert!(values(&column).all(|value| !value.is_empty()), "{path:?} has a row without {name}");
        }
    }
}

#[test]
fn every_region_is_mapped_to_a_zone_of_its_own_country() {
    let rows = read(Path::new("library/carbon/factors/regions.csv"));
    let [provider_of, region_of, country_of, zone_of] =
        ["provider", "region", "country", "zone"].map(|name| column(&rows, name));
    let mut seen = BTreeSet::new();
    for row in 0..rows.num_rows() {
        let at = (provider_of.value(row), region_of.value(row));
        // A zone begins with the ISO 3166 code of its country.
        let of_zone = zone_of.value(row).split('-').next().unwrap();
        assert_eq!(of_zone, country_of.value(row), "{at:?} is mapped to {}", zone_of.value(row));
        assert!(of_zone.len() == 2 && of_zone.bytes().all(|byte| byte.is_ascii_uppercase()), "{at:?}");
        assert!(seen.insert(at), "{at:?} is there twice");
    }
    // Those that a widely copied table puts into another country or state.
    for (provider, region, zone) in
        [("azure", "northeurope", "IE"), ("azure", "westus", "US-CAL-CISO"), ("gcp", "me-central1", "QA")]
    {
        let row =
            (0..rows.num_rows()).find(|row| (provider_of.value(*row), region_of.value(*row)) == (provider, region));
        assert_eq!(zone_of.value(row.unwrap()), zone);
    }
}

#[test]
fn factors_are_such_as_can_be() {
    let number = |rows: &RecordBatch, name: &str| -> Vec<f64> {
        let column = cast(rows.column_by_name(name).unwrap(), &DataType::Float64).unwrap();
        assert_eq!(column.null_count(), 0, "{name}");
        column.as_primitive::<arrow::datatypes::Float64Type>().values().to_vec()
    };
    let folder = Path::new("library/carbon/factors");
    let intensities = number(&read(&folder.join("intensity_annual.csv")), "g_per_kwh");
    assert!(intensities.iter().all(|g| (0.0..=1_500.0).contains(g)));
    assert!(number(&read(&folder.join("regions.csv")), "pue").iter().all(|pue| (1.0..2.0).contains(pue)));
    for (table, low, high) in
        [("cpu_watts.csv", "min_watts_per_vcpu", "max_watts_per_vcpu"), ("gpu_watts.csv", "min_watts", "max_watts")]
    {
        let rows = read(&folder.join(table));
        assert!(number(&rows, low).iter().zip(number(&rows, high)).all(|(low, high)| 0.0 < *low && *low < high));
    }
}
