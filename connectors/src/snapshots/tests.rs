//! Readings one after the other, and what is handed over of them.

use super::*;
use crate::tests::options;
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray};
use arrow::datatypes::{DataType, Int64Type};
use proptest::prelude::*;
use std::collections::{BTreeMap, VecDeque};
use thalweg_schemas::options::Options;

/// A table that is in turn what the list says.
struct Scripted(Mutex<VecDeque<Result<Payload>>>);

impl Fetch for Scripted {
    fn place(&self) -> String {
        "nowhere".to_string()
    }

    fn fetch(&self, take: &mut dyn FnMut(Option<&[u8]>, Payload) -> Result<()>) -> Result<()> {
        let next = self.0.lock().unwrap().pop_front();
        take(None, next.unwrap_or_else(|| Err(Error::outside("the script is over")))?)
    }
}

fn table(readings: Vec<Result<Payload>>, given: &[(&str, &str)]) -> Arc<Table> {
    let fields = vec![Field::new("k", DataType::Utf8, false), Field::new("v", DataType::Int64, true)];
    let request = SourceRequest {
        name: "t".into(),
        options: options(&[CACHE, REFRESH, SIZE_MAX], given),
        format: None,
        format_options: Options::default(),
        wanted: vec![true; 2],
        key: vec![0],
        fields: Arc::new(Schema::new(fields)),
        metadata: Vec::new(),
    };
    let fetch = Scripted(Mutex::new(readings.into()));
    Arc::new(Table {
        name: request.name.clone(),
        partition: Partition { index: 0, name: "nowhere".into() },
        format: Some("json".to_string()),
        decoding: DecodeRequest::new(request.fields.clone()),
        key: vec!["k".to_string()],
        refresh: Duration::from_secs(60),
        size_max: request.options.size("size_max").unwrap(),
        fetch: Box::new(fetch),
        refreshes: Mutex::default(),
    })
}

fn json(lines: &[&str]) -> Result<Payload> {
    Ok(Payload::Bytes(lines.iter().map(|line| format!("{line}\n")).collect::<String>().into_bytes()))
}

/// What a reading hands over, line by line.
fn said(news: &News) -> Vec<String> {
    let Some((rows, diffs)) = &news.changes else { return Vec::new() };
    let (keys, values) = (rows.column(0).as_string::<i32>(), rows.column(1).as_primitive::<Int64Type>());
    let value = |row: usize| values.is_valid(row).then(|| values.value(row));
    let key = |row: usize| keys.is_valid(row).then(|| keys.value(row));
    (0..rows.num_rows())
        .map(|row| match diffs.value(row) {
            0 => "all go".to_string(),
            1 => format!("+ {:?} {:?}", key(row).unwrap(), value(row)),
            _ => format!("- {:?} {:?}", key(row).unwrap(), value(row)),
        })
        .collect()
}

#[test]
fn a_reading_brings_what_changed_since_the_one_before() {
    let readings = vec![
        json(&[r#"{"k":"a","v":1}"#, r#"{"k":"b","v":2}"#]),
        json(&[r#"{"k":"b","v":2}"#, r#"{"k":"a","v":1}"#]),
        Err(Error::outside("it is away")),
        json(&[r#"{"k":"a","v":7}"#, r#"{"k":"c"}"#]),
        json(&[]),
    ];
    let (table, mut before) = (table(readings, &[]), None);
    let mut read = || table.read(&mut before);
    assert_eq!(said(&read().unwrap()), ["all go", "+ \"a\" Some(1)", "+ \"b\" Some(2)"]);
    assert_eq!(said(&read().unwrap()), [""; 0]);
    let error = read().err().unwrap();
    assert_eq!(error.message, "table \"t\" was not read from nowhere: it is away");
    assert_eq!(error.kind, thalweg_schemas::error::ErrorKind::Retry);
    assert_eq!(said(&read().unwrap()), ["+ \"a\" Some(7)", "+ \"c\" None", "- \"b\" None"]);
    assert_eq!(said(&read().unwrap()), ["- \"a\" None", "- \"c\" None"]);
    let refreshes = *table.refreshes.lock().unwrap();
    assert_eq!((refreshes.done, refreshes.failed, refreshes.rows), (4, 1, 0));
}

#[test]
fn records_that_are_no_rows_are_told_once_and_the_others_count() {
    let lines = [r#"{"k":"a","v":1}"#, r#"{"k":"b","v":"many"}"#, r#"{"k":"a","v":3}"#];
    let (table, mut before) = (table(vec![json(&lines), json(&lines), json(&lines[..2])], &[]), None);
    let mut read = || table.read(&mut before).unwrap();
    let first = read();
    assert_eq!(said(&first), ["all go", "+ \"a\" Some(3)"]);
    assert!(first.faults[0].starts_with("column \"v\""), "{:?}", first.faults);
    assert_eq!(first.faults[1], "1 rows have the primary key of another one, the last of which counts");
    assert!(read().faults.is_empty());
    assert_eq!(said(&read()), ["+ \"a\" Some(1)"]);
}

#[test]
fn rows_of_other_types_come_anew_and_those_that_do_not_fit_do_not() {
    let rows = |name: &str, values: ArrayRef| {
        let keys: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
        Ok(Payload::Rows(RecordBatch::try_from_iter([("other", values.clone()), (name, keys), ("v", values)]).unwrap()))
    };
    let text: ArrayRef = Arc::new(StringArray::from(vec!["1"]));
    let list: ArrayRef =
        Arc::new(arrow::array::ListArray::new_null(Arc::new(Field::new("item", DataType::Binary, true)), 1));
    let readings = vec![
        rows("k", Arc::new(Int64Array::from(vec![1]))),
        rows("k", text.clone()),
        rows("k", list),
        rows("key", text),
    ];
    let (table, mut before) = (table(readings, &[]), None);
    let mut read = || table.read(&mut before);
    assert_eq!(said(&read().unwrap()), ["all go", "+ \"a\" Some(1)"]);
    assert_eq!(read().unwrap().changes.unwrap().1, Int64Array::from(vec![0, 1]));
    let message = |news: Result<News>| news.err().unwrap().message;
    assert!(message(read()).contains("column \"v\" has type List"));
    assert!(message(read()).ends_with("there is no column \"k\", which is part of the primary key"));
}

#[test]
fn a_table_that_is_too_large_is_not_taken() {
    let (table, mut before) = (table(vec![json(&[r#"{"k":"a","v":1}"#])], &[("size_max", "8")]), None);
    let error = table.read(&mut before).err().unwrap();
    assert!(error.message.ends_with("its rows take more than 8 bytes"), "{}", error.message);
    assert!(error.hint.unwrap().contains("size_max"));
}

#[test]
fn pauses_after_failures_grow_and_end() {
    let seconds = |failed| pause_after(failed).as_secs_f64();
    assert_eq!([seconds(1), seconds(2), seconds(7), seconds(u32::MAX)], [0.5, 1.0, 30.0, 30.0]);
}

proptest! {
    #[test]
    fn what_is_handed_over_adds_up_to_the_last_reading(
        readings in prop::collection::vec(prop::collection::btree_map(0u8..6, 0i64..3, 0..6), 1..8),
    ) {
        let lines = |rows: &BTreeMap<u8, i64>| {
            let lines: Vec<String> = rows.iter().map(|(k, v)| format!("{{\"k\":\"{k}\",\"v\":{v}}}")).collect();
            json(&lines.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let (table, mut before) = (table(readings.iter().map(lines).collect(), &[]), None);
        let mut held = BTreeMap::from([("of an earlier run".to_string(), 0)]);
        for rows in readings {
            if let Some((batch, diffs)) = table.read(&mut before).unwrap().changes {
                let (keys, values) = (batch.column(0).as_string::<i32>(), batch.column(1).as_primitive::<Int64Type>());
                for row in 0..batch.num_rows() {
                    match diffs.value(row) {
                        0 => held.clear(),
                        1 => drop(held.insert(keys.value(row).to_string(), values.value(row))),
                        _ => drop(held.remove(keys.value(row))),
                    }
                }
            }
            let expected: BTreeMap<String, i64> = rows.iter().map(|(k, v)| (k.to_string(), *v)).collect();
            prop_assert_eq!(&held, &expected);
        }
    }
}
