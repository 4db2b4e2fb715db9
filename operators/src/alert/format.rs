//! How a template shows a value: the functions of Prometheus' templates, with the same results.
//!
//! Source: `template/template.go` of Prometheus 2.53, and what `fmt` of Go makes of `%.4g`.

use arrow::array::TimestampMillisecondArray;
use arrow::util::display::array_value_to_string;
use std::fmt;

/// One step between a value and the text that stands for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// `1.235M`, `120m`: four digits, and a prefix of the SI.
    Humanize,
    /// `1Mi`: the same by powers of 1024.
    Humanize1024,
    /// Seconds as `2d 3h 4m 5s`, or `123.5ms`.
    HumanizeDuration,
    /// A share as `12.35%`.
    HumanizePercentage,
    /// Seconds since 1970 as `2015-02-23 23:42:43 +0000 UTC`.
    HumanizeTimestamp,
    /// In capitals.
    ToUpper,
    /// In small letters.
    ToLower,
    /// Each word with a capital at its beginning.
    Title,
    /// A number between two texts.
    Printf {
        /// What stands before it.
        before: String,
        /// How it is written.
        verb: Verb,
        /// How many digits it has: behind the point, or in all.
        digits: Option<usize>,
        /// What stands behind it.
        after: String,
    },
}

/// A verb of Go's `fmt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// `%f`: without an exponent.
    Fixed,
    /// `%e`: with one.
    Exponent,
    /// `%g`: with one where it is long.
    General,
    /// `%s`, `%v`: as it is.
    Plain,
}

/// What formats there are, for people.
pub const FORMATS: &str = "humanize, humanize1024, humanizeDuration, humanizePercentage, humanizeTimestamp, toUpper, toLower, title, printf \"%.2f\"";

/// The most digits that are asked for.
const DIGITS_MAX: usize = 50;

const LARGE: [&str; 8] = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
const LARGE_1024: [&str; 8] = ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"];
const SMALL: [&str; 8] = ["m", "u", "n", "p", "f", "a", "z", "y"];

impl Format {
    /// What `text` names: `humanize`, `printf "%.1f%%"`; `None` if there is no such format.
    pub fn parse(text: &str) -> Option<Format> {
        Some(match text {
            "humanize" => Format::Humanize,
            "humanize1024" => Format::Humanize1024,
            "humanizeDuration" => Format::HumanizeDuration,
            "humanizePercentage" => Format::HumanizePercentage,
            "humanizeTimestamp" => Format::HumanizeTimestamp,
            "toUpper" => Format::ToUpper,
            "toLower" => Format::ToLower,
            "title" => Format::Title,
            _ => {
                let quoted = text.strip_prefix("printf")?.trim();
                let unquoted = |quote: char| quoted.strip_prefix(quote)?.strip_suffix(quote);
                return printf(unquoted('"').or_else(|| unquoted('`'))?);
            }
        })
    }

    /// What is shown of `text`. What should be a number and is none is shown as it is.
    pub fn apply(&self, text: &str) -> String {
        let number = text.parse::<f64>();
        match (self, number) {
            (Format::ToUpper, _) => text.to_uppercase(),
            (Format::ToLower, _) => text.to_lowercase(),
            (Format::Title, _) => title(text),
            (Format::Printf { before, verb: Verb::Plain, after, .. }, _) => format!("{before}{text}{after}"),
            (_, Err(_)) => text.to_string(),
            (Format::Humanize, Ok(number)) => humanize(number),
            (Format::Humanize1024, Ok(number)) if number.abs() <= 1.0 || !number.is_finite() => general(number, 4),
            (Format::Humanize1024, Ok(number)) => {
                scaled(number, |n| (n.abs() >= 1_024.0).then_some(n / 1_024.0), LARGE_1024)
            }
            (Format::HumanizeDuration, Ok(number)) => duration(number),
            (Format::HumanizePercentage, Ok(number)) => format!("{}%", general(number * 100.0, 4)),
            (Format::HumanizeTimestamp, Ok(seconds)) => timestamp(seconds).unwrap_or_else(|| general(seconds, 4)),
            (Format::Printf { before, verb, digits, after }, Ok(number)) => {
                let number = match verb {
                    _ if !number.is_finite() => general(number, 4),
                    Verb::Fixed => format!("{number:.*}", digits.unwrap_or(6)),
                    Verb::Exponent => exponent(&format!("{number:.*e}", digits.unwrap_or(6))),
                    Verb::General => digits.map_or_else(|| shortest(number), |digits| general(number, digits)),
                    Verb::Plain => text.to_string(),
                };
                format!("{before}{number}{after}")
            }
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Humanize => "humanize",
            Format::Humanize1024 => "humanize1024",
            Format::HumanizeDuration => "humanizeDuration",
            Format::HumanizePercentage => "humanizePercentage",
            Format::HumanizeTimestamp => "humanizeTimestamp",
            Format::ToUpper => "toUpper",
            Format::ToLower => "toLower",
            Format::Title => "title",
            Format::Printf { before, verb, digits, after } => {
                let verb = match verb {
                    Verb::Fixed => 'f',
                    Verb::Exponent => 'e',
                    Verb::General => 'g',
                    Verb::Plain => 's',
                };
                let digits = digits.map(|digits| format!(".{digits}")).unwrap_or_default();
                let [before, after] = [before, after].map(|text| text.replace('%', "%%"));
                return write!(f, "printf \"{before}%{digits}{verb}{after}\"");
            }
        })
    }
}

/// Text with one verb in it, in which `%%` is a percent sign.
fn printf(text: &str) -> Option<Format> {
    let (mut parts, mut found) = ([String::new(), String::new()], None);
    let mut rest = text;
    while let Some((plain, behind)) = rest.split_once('%') {
        let part = &mut parts[usize::from(found.is_some())];
        part.push_str(plain);
        if let Some(behind) = behind.strip_prefix('%') {
            part.push('%');
            rest = behind;
            continue;
        }
        let at = behind.find(|c: char| c.is_ascii_alphabetic())?;
        let (flags, behind) = behind.split_at(at);
        let digits = match flags.strip_prefix('.') {
            Some("") => Some(0),
            Some(digits) => Some(digits.parse().ok().filter(|digits| *digits <= DIGITS_MAX)?),
            None if flags.is_empty() => None,
            None => return None,
        };
        let verb = match behind.chars().next()? {
            'f' | 'F' => Verb::Fixed,
            'e' => Verb::Exponent,
            'g' => Verb::General,
            's' | 'v' if digits.is_none() => Verb::Plain,
            _ => return None,
        };
        if found.replace((verb, digits)).is_some() {
            return None;
        }
        rest = &behind[1..];
    }
    parts[usize::from(found.is_some())].push_str(rest);
    let ((verb, digits), [before, after]) = (found?, parts);
    Some(Format::Printf { before, verb, digits, after })
}

fn humanize(number: f64) -> String {
    match number.abs() {
        0.0 => general(number, 4),
        size if !size.is_finite() => general(number, 4),
        size if size >= 1.0 => scaled(number, |n| (n.abs() >= 1_000.0).then_some(n / 1_000.0), LARGE),
        _ => scaled(number, |n| (n.abs() < 1.0).then_some(n * 1_000.0), SMALL),
    }
}

/// The number brought `nearer` to 1 for as long as it is too far, with the prefix that says how often.
fn scaled(number: f64, nearer: impl Fn(f64) -> Option<f64>, prefixes: [&str; 8]) -> String {
    let (mut number, mut prefix) = (number, "");
    for next in prefixes {
        let Some(scaled) = nearer(number) else { break };
        (number, prefix) = (scaled, next);
    }
    format!("{}{prefix}", general(number, 4))
}

fn duration(seconds: f64) -> String {
    if !seconds.is_finite() {
        return general(seconds, 4);
    }
    if seconds.abs() < 1.0 {
        return format!("{}s", humanize(seconds));
    }
    let (sign, seconds) = (if seconds < 0.0 { "-" } else { "" }, seconds.abs());
    let whole = seconds as u64;
    let (s, m, h, d) = (whole % 60, whole / 60 % 60, whole / 3_600 % 24, whole / 86_400);
    match (d, h, m) {
        (0, 0, 0) => format!("{sign}{}s", general(seconds, 4)),
        (0, 0, _) => format!("{sign}{m}m {s}s"),
        (0, ..) => format!("{sign}{h}h {m}m {s}s"),
        _ => format!("{sign}{d}d {h}h {m}m {s}s"),
    }
}

/// As Go writes a time, to the millisecond; `None`: it is none.
fn timestamp(seconds: f64) -> Option<String> {
    let millis = (seconds * 1_000.0).is_finite().then_some((seconds * 1_000.0) as i64)?;
    let time = array_value_to_string(&TimestampMillisecondArray::from(vec![millis]), 0).ok()?.replace('T', " ");
    let time = if time.contains('.') { time.trim_end_matches('0') } else { &time };
    Some(format!("{time} +0000 UTC"))
}

/// `%.{digits}g`: so many digits without zeros at their end, with an exponent if it is below -4 or not below the digits.
fn general(number: f64, digits: usize) -> String {
    if let Some(word) = no_number(number) {
        return word.to_string();
    }
    let digits = digits.max(1);
    written(number, &format!("{number:.*e}", digits - 1), digits)
}

/// `%g`: as few digits as tell the number from its neighbours.
fn shortest(number: f64) -> String {
    no_number(number).map_or_else(|| written(number, &format!("{number:e}"), 6), str::to_string)
}

fn no_number(number: f64) -> Option<&'static str> {
    match number {
        number if number.is_nan() => Some("NaN"),
        f64::INFINITY => Some("+Inf"),
        f64::NEG_INFINITY => Some("-Inf"),
        _ => None,
    }
}

/// A number whose digits are those of `scientific`, with an exponent if that is below -4 or not below `most`.
fn written(number: f64, scientific: &str, most: usize) -> String {
    let (mantissa, power) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let power: i32 = power.parse().unwrap_or(0);
    let mantissa = if mantissa.contains('.') { mantissa.trim_end_matches('0').trim_end_matches('.') } else { mantissa };
    if power < -4 || power >= most as i32 {
        return exponent(&format!("{mantissa}e{power}"));
    }
    let digits = mantissa.chars().filter(char::is_ascii_digit).count() as i32;
    format!("{number:.*}", (digits - 1 - power).max(0) as usize)
}

/// `1.2e4` as C and Go write it: `1.2e+04`.
fn exponent(scientific: &str) -> String {
    let (mantissa, power) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let power: i32 = power.parse().unwrap_or(0);
    format!("{mantissa}e{}{:02}", if power < 0 { '-' } else { '+' }, power.abs())
}

fn title(text: &str) -> String {
    let mut before = ' ';
    let capital = |c: char| -> String {
        let before = std::mem::replace(&mut before, c);
        if !(before.is_alphanumeric() || before == '_') { c.to_uppercase().collect() } else { c.to_string() }
    };
    text.chars().map(capital).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(format: &str, text: &str) -> String {
        Format::parse(format).unwrap().apply(text)
    }

    /// The cases of `template_test.go` of Prometheus, and what `fmt.Sprintf` says.
    #[test]
    fn they_are_those_of_prometheus() {
        for (format, value, text) in [
            ("humanize", "0", "0"),
            ("humanize", "1", "1"),
            ("humanize", "1234567", "1.235M"),
            ("humanize", "0.12", "120m"),
            ("humanize", "-999.96", "-1000"),
            ("humanize", "1e30", "1e+06Y"),
            ("humanize", "inf", "+Inf"),
            ("humanize1024", "0", "0"),
            ("humanize1024", "1", "1"),
            ("humanize1024", "1048576", "1Mi"),
            ("humanize1024", "0.12", "0.12"),
            ("humanizeDuration", "0", "0s"),
            ("humanizeDuration", "1", "1s"),
            ("humanizeDuration", "60", "1m 0s"),
            ("humanizeDuration", "3600", "1h 0m 0s"),
            ("humanizeDuration", "90000", "1d 1h 0m 0s"),
            ("humanizeDuration", "-183845", "-2d 3h 4m 5s"),
            ("humanizeDuration", "899.99", "14m 59s"),
            ("humanizeDuration", "0.1", "100ms"),
            ("humanizeDuration", "0.0001", "100us"),
            ("humanizeDuration", "0.12345", "123.5ms"),
            ("humanizeDuration", "60.1", "1m 0s"),
            ("humanizeDuration", "1.2345", "1.234s"),
            ("humanizeDuration", "12.345", "12.35s"),
            ("humanizePercentage", "-0.22222", "-22.22%"),
            ("humanizePercentage", "0", "0%"),
            ("humanizePercentage", "0.1234567", "12.35%"),
            ("humanizePercentage", "1.23456", "123.5%"),
            ("humanizeTimestamp", "1424735000", "2015-02-23 23:43:20 +0000 UTC"),
            ("humanizeTimestamp", "1435065584.128", "2015-06-23 13:19:44.128 +0000 UTC"),
            ("humanizeTimestamp", "0", "1970-01-01 00:00:00 +0000 UTC"),
            ("humanizeTimestamp", "inf", "+Inf"),
            ("printf \"%.2f\"", "17.59259259259259", "17.59"),
            ("printf \"%f\"", "2", "2.000000"),
            ("printf \"at %.0f%% of it\"", "12.5", "at 12% of it"),
            ("printf `%.3e`", "12345", "1.234e+04"),
            ("printf \"%.4g\"", "0.00001234", "1.234e-05"),
            ("printf \"%.4g\"", "1234567", "1.235e+06"),
            ("printf \"%.4g\"", "9999.9", "1e+04"),
            ("printf \"%g\"", "100000", "100000"),
            ("printf \"%g\"", "1234567", "1.234567e+06"),
            ("printf \"<%s>\"", "api", "<api>"),
            ("printf \"%.1f\"", "NaN", "NaN"),
            ("toUpper", "api", "API"),
            ("toLower", "API", "api"),
            ("title", "disk of host-1 is_full", "Disk Of Host-1 Is_full"),
            ("humanize", "api", "api"),
        ] {
            assert_eq!(shown(format, value), text, "{value} by {format}");
        }
    }

    #[test]
    fn what_is_no_format_is_refused_and_the_others_are_shown_as_they_are_written() {
        for text in ["humanise", "printf", "printf \"%d\"", "printf \"%f%f\"", "printf \"%5.2f\"", "printf \"x\"", ""] {
            assert_eq!(Format::parse(text), None, "{text}");
        }
        for text in ["humanize", "humanize1024", "humanizeDuration", "title", "printf \"%.2f%%\"", "printf \"%g\""] {
            assert_eq!(Format::parse(text).unwrap().to_string(), text);
        }
        assert!(FORMATS.split(", ").all(|format| Format::parse(format).is_some()));
    }
}
