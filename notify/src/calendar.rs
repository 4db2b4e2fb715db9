//! Times that come again and again, such as the nights or a maintenance every first Sunday: Alertmanager's `time_intervals`,
//! with its fields and meaning. What is not said is any.

use chrono::{DateTime, Datelike, NaiveDate, TimeZone, Timelike};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;
use thalweg_schemas::error::{Error, Result};
use thalweg_schemas::options::Options;

const WEEKDAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
/// A day has so many minutes.
const DAY_MINUTES: u32 = 24 * 60;

/// A calendar: the moments for which everything that it says holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calendar {
    /// From and until which minute of the day; the last does not belong to it.
    times: Vec<(u32, u32)>,
    /// Days of the week, Sunday is 0.
    weekdays: Vec<RangeInclusive<i32>>,
    /// Days of the month; -1 is the last.
    days_of_month: Vec<RangeInclusive<i32>>,
    /// Months, January is 1.
    months: Vec<RangeInclusive<i32>>,
    years: Vec<RangeInclusive<i32>>,
    /// The time zone by its name of the IANA database; empty: UTC.
    location: String,
}

impl Calendar {
    /// What the options of `CREATE CALENDAR` say.
    pub fn of(options: &Options) -> Result<Calendar> {
        let get = |name: &str| options.get(name).unwrap_or_default();
        let weekday = |text: &str| named(text, &WEEKDAYS, 0);
        let month = |text: &str| text.parse().ok().filter(|n| (1..=12).contains(n)).or_else(|| named(text, &MONTHS, 1));
        let day = |text: &str| text.parse::<i32>().ok().filter(|day| *day != 0 && (-31..=31).contains(day));
        let calendar = Calendar {
            times: list(get("times")).map(times).collect::<Result<_>>()?,
            weekdays: ranges(get("weekdays"), weekday, "days of the week", "monday:friday, sunday")?,
            days_of_month: ranges(get("days_of_month"), day, "days of a month", "1:7, -1")?,
            months: ranges(get("months"), month, "months", "january:march, 12")?,
            years: ranges(get("years"), |text| text.parse().ok(), "years", "2026:2028")?,
            location: get("location").trim().to_string(),
        };
        if !calendar.location.is_empty() && calendar.location.parse::<Tz>().is_err() {
            return Err(Error::user(format!("'{}' is not a time zone", calendar.location))
                .with_hint("Name one of the IANA database, such as 'Europe/Berlin'."));
        }
        if calendar == (Calendar { location: calendar.location.clone(), ..Calendar::default() }) {
            return Err(Error::user("a calendar without any times is always")
                .with_hint("Say times, weekdays, days_of_month, months or years."));
        }
        Ok(calendar)
    }

    /// Whether a moment, in nanoseconds since 1970, is one of its times.
    pub fn contains(&self, ns: i64) -> bool {
        let zone: Tz = self.location.parse().unwrap_or(Tz::UTC);
        let local = zone.from_utc_datetime(&DateTime::from_timestamp_nanos(ns).naive_utc());
        let minute = local.hour() * 60 + local.minute();
        let (month, day, last) = (local.month() as i32, local.day() as i32, days_of_month(local.year(), local.month()));
        let on_day = |range: &RangeInclusive<i32>| {
            let day_of = |written: i32| if written < 0 { last + 1 + written } else { written };
            (day_of(*range.start())..=day_of(*range.end())).contains(&day)
        };
        let any =
            |ranges: &[RangeInclusive<i32>], value: i32| ranges.is_empty() || ranges.iter().any(|r| r.contains(&value));
        (self.times.is_empty() || self.times.iter().any(|(from, until)| (*from..*until).contains(&minute)))
            && any(&self.weekdays, local.weekday().num_days_from_sunday() as i32)
            && (self.days_of_month.is_empty() || self.days_of_month.iter().any(on_day))
            && any(&self.months, month)
            && any(&self.years, local.year())
    }
}

fn days_of_month(year: i32, month: u32) -> i32 {
    let next =
        if month == 12 { NaiveDate::from_ymd_opt(year + 1, 1, 1) } else { NaiveDate::from_ymd_opt(year, month + 1, 1) };
    next.and_then(|next| next.pred_opt()).map_or(31, |last| last.day() as i32)
}

/// The number of a name, which may be cut off after three letters.
fn named(text: &str, names: &[&str], first: i32) -> Option<i32> {
    let text = text.to_lowercase();
    let at = names.iter().position(|name| text == *name || text.len() == 3 && name.starts_with(&text))?;
    i32::try_from(at).ok().map(|at| at + first)
}

/// What stands between commas.
pub(crate) fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// `a:b, c`, both ends of a range belonging to it.
fn ranges(
    text: &str,
    read: impl Fn(&str) -> Option<i32>,
    what: &str,
    example: &str,
) -> Result<Vec<RangeInclusive<i32>>> {
    let range = |part: &str| {
        let (from, until) = part.split_once(':').unwrap_or((part, part));
        let (from, until) = (read(from.trim())?, read(until.trim())?);
        // One end may be counted from the end of a month: which comes first is known in the month.
        (from <= until || until < 0).then_some(from..=until)
    };
    let wrong =
        |part: &str| Error::user(format!("'{part}' are not {what}")).with_hint(format!("Write them as '{example}'."));
    list(text).map(|part| range(part).ok_or_else(|| wrong(part))).collect()
}

/// `09:00-17:30`
fn times(text: &str) -> Result<(u32, u32)> {
    let minute = |text: &str| {
        let (hour, minute) = text.trim().split_once(':')?;
        let (hour, minute): (u32, u32) = (hour.parse().ok()?, minute.parse().ok()?);
        Some(hour * 60 + minute).filter(|all| *all <= DAY_MINUTES && minute < 60)
    };
    let read = text.split_once('-').and_then(|(from, until)| Some((minute(from)?, minute(until)?)));
    match read {
        Some((from, until)) if from < until => Ok((from, until)),
        Some(_) => Err(Error::user(format!("'{text}' ends before it begins"))
            .with_hint("Over midnight write two: '22:00-24:00, 00:00-06:00'.")),
        None => Err(Error::user(format!("'{text}' are not times of a day")).with_hint("Write them as '09:00-17:30'.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statements::SPEC;
    use crate::time::parse;
    use thalweg_schemas::notification::NotificationKind;
    use thalweg_schemas::options::GivenOption;

    fn calendar(given: &[(&str, &str)]) -> Result<Calendar> {
        let given: Vec<GivenOption> = given
            .iter()
            .map(|(name, value)| GivenOption { name: name.to_string(), value: value.to_string(), position: None })
            .collect();
        let specs = (SPEC.options)(NotificationKind::Calendar, "");
        Calendar::of(&Options::check(&specs, &given, "it").map_err(|mut errors| errors.remove(0))?)
    }

    fn holds(given: &[(&str, &str)], at: &str) -> bool {
        calendar(given).unwrap().contains(parse(at).unwrap())
    }

    #[test]
    fn times_of_a_day_end_before_their_end() {
        let nights = [("times", "22:00-24:00, 00:00-06:00")];
        for (at, expected) in
            [("21:59:59", false), ("22:00:00", true), ("23:59:59", true), ("05:59", true), ("06:00", false)]
        {
            assert_eq!(holds(&nights, &format!("2026-11-26 {at}")), expected, "{at}");
        }
    }

    #[test]
    fn a_time_zone_has_its_summer() {
        let office = [("times", "09:00-17:00"), ("weekdays", "monday:friday"), ("location", "Europe/Berlin")];
        // 2026-11-26 is a Thursday.
        assert!(holds(&office, "2026-11-26T08:00:00Z") && !holds(&office, "2026-11-26T07:59:00Z"));
        assert!(holds(&office, "2026-07-23T07:00:00Z") && !holds(&office, "2026-07-23T15:00:00Z"));
        assert!(!holds(&office, "2026-11-28T10:00:00Z"), "Saturday");
        let sunday = [("weekdays", "sun"), ("location", "Pacific/Auckland")];
        assert!(holds(&sunday, "2026-11-28T12:00:00Z"), "it is Sunday there");
    }

    #[test]
    fn days_of_a_month_are_counted_from_both_ends() {
        let last = [("days_of_month", "-1")];
        assert!(holds(&last, "2028-02-29") && !holds(&last, "2028-02-28") && holds(&last, "2026-02-28"));
        let from = [("days_of_month", "25:-3"), ("months", "november:december"), ("years", "2026")];
        assert!(holds(&from, "2026-11-25") && holds(&from, "2026-11-28") && !holds(&from, "2026-11-29"));
        assert!(!holds(&from, "2026-10-26") && !holds(&from, "2027-11-26"));
        assert!(!holds(&[("days_of_month", "31")], "2026-11-30"), "a month without it");
    }

    #[test]
    fn what_is_no_calendar_is_told() {
        let told = |given: &[(&str, &str)]| calendar(given).unwrap_err().message;
        assert_eq!(told(&[]), "a calendar without any times is always");
        assert_eq!(told(&[("location", "UTC")]), "a calendar without any times is always");
        assert_eq!(told(&[("times", "22:00-06:00")]), "'22:00-06:00' ends before it begins");
        assert_eq!(told(&[("times", "9-17")]), "'9-17' are not times of a day");
        assert_eq!(told(&[("weekdays", "someday")]), "'someday' are not days of the week");
        assert_eq!(told(&[("months", "0")]), "'0' are not months");
        assert_eq!(told(&[("days_of_month", "7:1")]), "'7:1' are not days of a month");
        assert_eq!(told(&[("years", "x")]), "'x' are not years");
        assert_eq!(told(&[("years", "2026"), ("location", "Mars")]), "'Mars' is not a time zone");
    }
}
