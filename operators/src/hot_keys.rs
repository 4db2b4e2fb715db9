//! Which keys the most rows of an operator are of, for whoever looks at why one worker is busier than the others.
//!
//! Space-Saving (Metwally, Agrawal, El Abbadi: "Efficient Computation of Frequent and Top-k Elements in Data Streams",
//! 2005) over a sample: of a batch a few rows are looked at, each standing for as many as it was picked from. So a batch
//! costs the same whatever its length. It is an estimate for meters and decides nothing.

use crate::exchange::hash_rows;
use arrow::array::{ArrayRef, UInt64Array};
use arrow::compute::take;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use std::fmt::Write;

/// So many keys are counted. A key of more than one row in so many is always among them.
const COUNTERS: usize = 32;
/// So many rows of a batch are looked at.
const SAMPLE: usize = 32;
/// So many keys are told.
const SHOWN: usize = 3;

/// Counters of the most frequent keys.
#[derive(Clone, Debug, Default)]
pub struct HotKeys {
    counters: Vec<Counter>,
    /// All rows that there were.
    rows: u64,
}

#[derive(Clone, Debug)]
struct Counter {
    hash: u64,
    key: String,
    rows: u64,
    /// By how much `rows` may be too many: what the key that was counted here before had.
    error: u64,
}

impl HotKeys {
    /// Takes in rows with these key columns. A key that cannot be hashed or shown is not counted.
    pub(crate) fn notice(&mut self, columns: &[ArrayRef], rows: usize) {
        if rows == 0 || columns.is_empty() {
            return;
        }
        let stride = rows.div_ceil(SAMPLE);
        // Another place in each batch: rows may come in an order that repeats.
        let first = (self.rows % stride as u64) as usize;
        self.rows += rows as u64;
        let picked = UInt64Array::from_iter_values((first..rows).step_by(stride).map(|row| row as u64));
        let Ok(columns) = columns.iter().map(|column| take(column, &picked, None)).collect::<Result<Vec<_>, _>>()
        else {
            return;
        };
        let Ok(hashes) = hash_rows(&columns, picked.len()) else { return };
        for (row, hash) in hashes.into_iter().enumerate() {
            self.count(hash, stride as u64, || shown(&columns, row));
        }
    }

    fn count(&mut self, hash: u64, rows: u64, key: impl FnOnce() -> Option<String>) {
        if let Some(counter) = self.counters.iter_mut().find(|counter| counter.hash == hash) {
            counter.rows += rows;
            return;
        }
        let Some(key) = key() else { return };
        if self.counters.len() < COUNTERS {
            self.counters.push(Counter { hash, key, rows, error: 0 });
        } else if let Some(least) = self.counters.iter_mut().min_by_key(|counter| counter.rows) {
            *least = Counter { hash, key, rows: least.rows + rows, error: least.rows };
        }
    }

    /// The keys of the most rows, each with its share of all, as far as that is known to be 1 % or more: `api 62 %, web
    /// 11 %`. `None` where there are none such.
    pub fn hottest(&self) -> Option<String> {
        let mut sure: Vec<(u64, &str)> =
            self.counters.iter().map(|counter| (counter.rows - counter.error, counter.key.as_str())).collect();
        sure.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
        let mut text = String::new();
        for (rows, key) in sure.into_iter().take(SHOWN) {
            let percent = (rows * 100 + self.rows / 2).checked_div(self.rows).unwrap_or(0).min(100);
            if percent > 0 {
                // Writing to a string does not fail.
                let _ = write!(text, "{}{key} {percent} %", if text.is_empty() { "" } else { ", " });
            }
        }
        (!text.is_empty()).then_some(text)
    }
}

/// The key of a row: its value, or the values of its columns in parentheses.
fn shown(columns: &[ArrayRef], row: usize) -> Option<String> {
    let options = FormatOptions::default().with_null("NULL");
    let value = |column: &ArrayRef| Some(ArrayFormatter::try_new(column, &options).ok()?.value(row).to_string());
    let values = columns.iter().map(value).collect::<Option<Vec<_>>>()?;
    Some(match values.as_slice() {
        [one] => one.clone(),
        several => format!("({})", several.join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, StringArray};
    use std::sync::Arc;

    #[test]
    fn keys_of_many_rows_are_found_among_many_others() {
        let mut keys = HotKeys::default();
        assert_eq!(keys.hottest(), None);
        for batch in 0..200i64 {
            // Half of the rows are of one key, a fifth of another, the others all of their own.
            let key = |row: i64| match (row * 7 + batch) % 10 {
                0..5 => "hot".to_string(),
                5 | 6 => "warm".to_string(),
                _ => format!("{batch}-{row}"),
            };
            let column: ArrayRef = Arc::new(StringArray::from_iter_values((0..1_000).map(key)));
            keys.notice(&[column], 1_000);
        }
        let found = keys.hottest().unwrap();
        let shares: Vec<(&str, u64)> = found
            .split(", ")
            .map(|one| one.split_once(' ').unwrap())
            .map(|(key, share)| (key, share.trim_end_matches(" %").parse().unwrap()))
            .collect();
        assert_eq!((shares[0].0, shares[1].0, shares.len()), ("hot", "warm", 2), "{found}");
        assert!((45..=55).contains(&shares[0].1) && (15..=25).contains(&shares[1].1), "{found}");
    }

    #[test]
    fn few_rows_are_counted_one_by_one() {
        let mut keys = HotKeys::default();
        let names: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), Some("a"), None, Some("a")]));
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 1, 2, 1]));
        keys.notice(&[names, numbers], 4);
        assert_eq!(keys.hottest().as_deref(), Some("(a, 1) 75 %, (NULL, 2) 25 %"));
    }

    #[test]
    fn where_all_keys_are_of_few_rows_none_is_told() {
        let mut keys = HotKeys::default();
        for batch in 0..100i64 {
            let column: ArrayRef = Arc::new(Int64Array::from_iter_values(batch * 100..(batch + 1) * 100));
            keys.notice(&[column], 100);
        }
        assert_eq!(keys.hottest(), None);
    }
}
