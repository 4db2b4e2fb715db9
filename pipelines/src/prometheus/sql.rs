//! Pieces of SQL text: names, literals, lengths of time, indentation.

use datafusion::sql::sqlparser::keywords::ALL_KEYWORDS;

/// A name as it must be written to mean itself.
pub(super) fn quoted(name: &str) -> String {
    let mut letters = name.chars();
    let plain = letters.next().is_some_and(|first| first.is_ascii_lowercase() || first == '_')
        && letters.all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_');
    let upper = name.to_uppercase();
    match plain && ALL_KEYWORDS.binary_search(&upper.as_str()).is_err() {
        true => name.to_string(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

/// A text in single quotes.
pub(super) fn text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A double: never a whole number of SQL, whose division would cut off.
pub(super) fn number(value: f64) -> String {
    if value.is_finite() {
        return format!("{value:?}");
    }
    let name = if value.is_nan() { "NaN" } else { "Infinity" };
    let literal = format!("CAST('{name}' AS DOUBLE)");
    if value < 0.0 { format!("-{literal}") } else { literal }
}

/// A length of time in the largest unit that says it with a whole number.
pub(super) fn interval(ms: i64) -> String {
    const UNITS: [(i64, &str); 4] = [(86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1_000, "second")];
    let whole = UNITS.iter().find(|(size, _)| ms >= *size && ms % size == 0);
    let (count, unit) = whole.map_or((ms, "millisecond"), |(size, unit)| (ms / size, *unit));
    format!("INTERVAL '{count} {unit}{}'", if count == 1 { "" } else { "s" })
}

/// Each line two spaces further in.
pub(super) fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_literals_mean_themselves() {
        assert_eq!(
            [quoted("job"), quoted("group"), quoted("job:up:sum"), quoted("HighRate")],
            ["job", "\"group\"", "\"job:up:sum\"", "\"HighRate\""]
        );
        assert_eq!(text("it's"), "'it''s'");
        assert_eq!(
            [number(5.0), number(1e-7), number(f64::NEG_INFINITY)],
            ["5.0", "1e-7", "-CAST('Infinity' AS DOUBLE)"]
        );
        assert_eq!(
            [interval(90_000), interval(3_600_000), interval(250)],
            ["INTERVAL '90 seconds'", "INTERVAL '1 hour'", "INTERVAL '250 milliseconds'"]
        );
    }
}
