//! The shape of the source: headers, sizes, names.

use super::{files, relative};

#[test]
fn every_source_file_says_what_it_is_for() {
    let faults: Vec<String> = files(&[".rs"])
        .iter()
        .filter(|path| !std::fs::read_to_string(path).unwrap().starts_with("//!"))
        .map(|path| relative(path))
        .collect();
    assert!(faults.is_empty(), "these files do not begin with a `//!` header: {faults:#?}");
}

#[test]
fn files_stay_about_one_thing() {
    const LINES_MAX: usize = 700;
    let mut faults = Vec::new();
    for path in files(&[".rs"]) {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = relative(&path);
        if name.contains("/tests/") || name.ends_with("tests.rs") {
            continue;
        }
        let lines = text.lines().take_while(|line| *line != "#[cfg(test)]").count();
        if lines > LINES_MAX {
            faults.push(format!("{name}: {lines} lines without tests"));
        }
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        if ["utils", "util", "common", "helpers", "helper", "manager", "misc"].contains(&stem.as_str()) {
            faults.push(format!("{name}: a name under which anything may hide"));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn nothing_is_left_half_done() {
    // Put together here so that this file does not find itself.
    let words = [
        ["to", "do!("].concat(),
        ["unimple", "mented!("].concat(),
        ["#[ign", "ore"].concat(),
        ["thread::", "sleep"].concat(),
    ];
    let mut faults = Vec::new();
    for path in files(&[".rs"]) {
        let text = std::fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            if words.iter().any(|word| line.contains(word.as_str())) {
                faults.push(format!("{}:{}: {}", relative(&path), number + 1, line.trim()));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}
