//! The worked examples of `docs/operators/detection/`: a page for each method, and its numbers are those of the detector.
//!
//! A block `worked` has the method, perhaps `season: N rows`, rows that are judged and not shown (`before: 3 x 1 2`: these
//! two, three times), and a table. Rows are a minute apart. `UPDATE=1` writes what is said of each value.

use super::*;
use std::path::PathBuf;

const HEADER: &str = "value | expected | lower | upper | score | is_anomaly | reason";

fn page_of(method: &str) -> PathBuf {
    PathBuf::from(format!("../docs/operators/detection/{method}.md"))
}

/// The block with its table as the detector has it.
fn worked(block: &str) -> String {
    let (head, table) = block.split_once(&format!("{HEADER}\n")).unwrap();
    let mut lines = head.lines();
    let mut settings =
        DetectSettings { method: Method::of(lines.next().unwrap()).unwrap(), warm_up: 5, ..DetectSettings::default() };
    let mut before = Vec::new();
    for line in lines {
        if let Some(rows) = line.strip_prefix("season: ") {
            settings.season_ns = rows.strip_suffix(" rows").unwrap().parse::<i64>().unwrap() * MINUTE;
        } else {
            let (times, values) = line.strip_prefix("before: ").unwrap().split_once(" x ").unwrap();
            let values: Vec<f64> = values.split(' ').map(|value| value.parse().unwrap()).collect();
            (0..times.parse().unwrap()).for_each(|_| before.extend(&values));
        }
    }
    let mut detector = Detector::new(&settings);
    let mut at = 0;
    let mut observe = |value: f64| {
        at += MINUTE;
        detector.observe(&settings, at - MINUTE, Some(value))
    };
    before.into_iter().for_each(|value| {
        observe(value);
    });
    let number = |x: Option<f64>| x.map_or("NULL".to_string(), |x| format!("{x:.2}"));
    let row = |line: &str| {
        let value = line.split('|').next().unwrap().trim();
        let v = observe(value.parse().unwrap());
        let reason = v.reason.map_or("NULL".to_string(), |reason| reason.to_string());
        let score = format!("{:.3}", v.score);
        [value.into(), number(v.expected), number(v.lower), number(v.upper), score, v.is_anomaly.to_string(), reason]
    };
    let rows: Vec<[String; 7]> = table.lines().map(row).collect();
    let names = HEADER.split(" | ").map(str::to_string).collect::<Vec<_>>();
    let widths: Vec<usize> =
        (0..7).map(|column| rows.iter().map(|row| row[column].len()).max().unwrap().max(names[column].len())).collect();
    let shown = |row: &[String]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join(" | ").trim_end().to_string() + "\n"
    };
    head.to_string() + HEADER + "\n" + &rows.iter().map(|row| shown(row)).collect::<String>()
}

#[test]
fn the_worked_example_of_each_method_is_right() {
    for (name, _) in Method::ALL {
        let path = page_of(name);
        let page = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (start, rest) = page.split_once("```worked\n").unwrap_or_else(|| panic!("{name} has no worked example"));
        let (block, end) = rest.split_once("```").unwrap();
        assert_eq!(block.lines().next(), Some(*name), "the worked example is of another method");
        let said = worked(block);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, format!("{start}```worked\n{said}```{end}")).unwrap();
        } else {
            assert_eq!(block, said, "{}", path.display());
        }
    }
}

#[test]
fn every_page_is_of_a_method_and_every_method_is_listed() {
    let listed = std::fs::read_to_string("../docs/operators/detect-anomalies.md").unwrap();
    for entry in std::fs::read_dir("../docs/operators/detection").unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(Method::of(name.trim_end_matches(".md")).is_some(), "{name} is a page of no method");
        assert!(listed.contains(&format!("(detection/{name})")), "{name} is not among the methods of DETECT_ANOMALIES");
    }
}
