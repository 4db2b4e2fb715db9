//! Labelled series from a folder, in two forms: that of the Numenta Anomaly Benchmark (`timestamp,value` beside a
//! `combined_windows.json`) and that of microsoft/cloud-monitoring-dataset (`TimeStamp,Value,Label`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// One series.
#[derive(Clone, Debug)]
pub struct Labelled {
    /// The last folder and the file.
    pub name: String,
    /// Nanoseconds since 1970.
    pub times: Vec<i64>,
    /// `None` is a row without a value.
    pub values: Vec<Option<f64>>,
    /// The first and the last row of each event.
    pub events: Vec<(usize, usize)>,
    /// Rows that are not judged: 15 %, at most 750.
    pub probation: usize,
}

impl Labelled {
    /// The events that begin where rows are judged.
    pub fn judged(&self) -> impl Iterator<Item = (usize, usize)> {
        self.events.iter().copied().filter(|(first, _)| *first >= self.probation)
    }
}

/// All series below `folder`, by name.
pub fn load(folder: &Path) -> Result<Vec<Labelled>, String> {
    let windows = windows(folder)?;
    let mut files = Vec::new();
    walk(folder, &mut files)?;
    files.sort();
    files.iter().map(|file| read(file, windows.as_ref())).collect()
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), String> {
    let entries = std::fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    for entry in entries.filter_map(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            walk(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "csv") {
            files.push(path);
        }
    }
    Ok(())
}

/// The windows of NAB by file, in nanoseconds; `None` where the folder is of the other form.
type Windows = BTreeMap<String, Vec<(i64, i64)>>;

fn windows(folder: &Path) -> Result<Option<Windows>, String> {
    let path = folder.join("combined_windows.json");
    if !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let parsed: BTreeMap<String, Vec<(String, String)>> =
        serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
    let time = |text: &str| nanos(text).ok_or_else(|| format!("{}: \"{text}\" is no time", path.display()));
    let pairs = |pairs: Vec<(String, String)>| {
        pairs.iter().map(|(from, to)| Ok((time(from)?, time(to)?))).collect::<Result<Vec<_>, String>>()
    };
    parsed.into_iter().map(|(name, list)| Ok((name, pairs(list)?))).collect::<Result<_, String>>().map(Some)
}

fn read(path: &Path, windows: Option<&Windows>) -> Result<Labelled, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut names = path.components().rev().filter_map(|part| part.as_os_str().to_str());
    let (file, folder) = (names.next().unwrap_or_default(), names.next().unwrap_or_default());
    let name = format!("{folder}/{file}");
    let (mut times, mut values, mut labels) = (Vec::new(), Vec::new(), Vec::new());
    for (number, line) in text.lines().enumerate().skip(1) {
        let mut fields = line.split(',').map(|field| field.trim().trim_matches('"'));
        let time = fields.next().and_then(nanos);
        times.push(time.ok_or_else(|| format!("{}:{}: \"{line}\" has no time", path.display(), number + 1))?);
        values.push(fields.next().and_then(|value| value.parse::<f64>().ok()));
        labels.push(fields.next() == Some("1"));
    }
    let events = match windows {
        Some(windows) => {
            let of_file = windows.get(&name).cloned().unwrap_or_default();
            of_file.iter().filter_map(|(from, to)| rows_within(&times, *from, *to)).collect()
        }
        None => runs(&labels),
    };
    let probation = (15 * times.len() / 100).min(750);
    Ok(Labelled { name, times, values, events, probation })
}

fn rows_within(times: &[i64], from: i64, to: i64) -> Option<(usize, usize)> {
    let first = times.iter().position(|time| (from..=to).contains(time))?;
    let last = times.iter().rposition(|time| (from..=to).contains(time))?;
    Some((first, last))
}

fn runs(labels: &[bool]) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (row, _) in labels.iter().enumerate().filter(|(_, label)| **label) {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == row => *last = row,
            _ => runs.push((row, row)),
        }
    }
    runs
}

/// `2015-07-10 14:24:00` or `2018-04-25T00:00:00Z`, with or without a fraction, in nanoseconds since 1970.
fn nanos(text: &str) -> Option<i64> {
    let (date, time) = text.trim_end_matches('Z').split_once([' ', 'T'])?;
    let mut date = date.split('-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let mut time = time.split(':');
    let (hour, minute) = (time.next()?.parse::<i64>().ok()?, time.next()?.parse::<i64>().ok()?);
    let seconds = time.next().unwrap_or("0").parse::<f64>().ok()?;
    // Days since 1970 of the proleptic Gregorian calendar, with years that begin in March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days =
        365 * y + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) + (153 * m + 2) / 5 + day - 1 - 719_468;
    let whole = ((days * 24 + hour) * 60 + minute) * 60;
    Some(whole * 1_000_000_000 + (seconds * 1e9) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_both_forms() {
        assert_eq!(nanos("1970-01-01 00:00:00"), Some(0));
        assert_eq!(nanos("2018-04-25T00:01:00Z"), Some(1_524_614_460_000_000_000));
        assert_eq!(nanos("2014-02-19 10:50:00.000000"), Some(1_392_807_000_000_000_000));
        assert_eq!(nanos("yesterday"), None);
    }

    #[test]
    fn labels_become_events() {
        assert_eq!(runs(&[false, true, true, false, true]), [(1, 2), (4, 4)]);
    }
}
