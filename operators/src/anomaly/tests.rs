//! Detectors as values: what they say of series whose events are known, that nothing upsets them, and that they go on from
//! a checkpoint as if nothing had happened.

mod worked;

use super::*;
use proptest::prelude::*;

const MINUTE: i64 = 60_000_000_000;
const DAY: i64 = 1_440 * MINUTE;

/// Noise between -1 and 1, the same every time.
pub(super) fn noise(at: u64) -> f64 {
    (random::mixed(at) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

fn settings(method: Method) -> DetectSettings {
    // Shares are percent here, since most values of these tests are.
    let (lower_bound, upper_bound) = match method {
        Method::Beta => (0.0, 100.0),
        _ => (f64::NEG_INFINITY, f64::INFINITY),
    };
    DetectSettings { method, lower_bound, upper_bound, ..DetectSettings::default() }
}

fn judge(settings: &DetectSettings, values: impl IntoIterator<Item = Option<f64>>) -> Vec<Verdict> {
    let mut detector = Detector::new(settings);
    let rows = values.into_iter().enumerate();
    rows.map(|(row, value)| detector.observe(settings, row as i64 * MINUTE, value)).collect()
}

fn steady(rows: u64, level: f64) -> impl Iterator<Item = Option<f64>> {
    (0..rows).map(move |row| Some(level + noise(row)))
}

fn alarms(verdicts: &[Verdict]) -> Vec<usize> {
    (0..verdicts.len()).filter(|row| verdicts[*row].is_anomaly).collect()
}

#[test]
fn every_method_finds_what_it_is_for_and_nothing_in_noise() {
    for (name, method) in Method::ALL {
        let mut values: Vec<Option<f64>> = match method {
            // Two days and more, so that the season is known.
            Method::Seasonal => (0..4_000).map(|row| Some(50.0 + noise(row))).collect(),
            _ => steady(1_000, 50.0).collect(),
        };
        let at = values.len() - 100;
        let found = match method {
            Method::PageHinkley | Method::RelativeEntropy | Method::Bocpd => {
                values[at..].iter_mut().for_each(|value| *value = value.map(|x| x + 3.0));
                at..at + 100
            }
            _ => {
                values[at] = Some(90.0);
                at..at + 2
            }
        };
        let verdicts = judge(&settings(*method), values);
        if *method == Method::HalfSpaceTrees {
            // Weak where there is one dimension: it ranks the spike high, and does not set it apart.
            let higher = verdicts.iter().filter(|verdict| verdict.score > verdicts[at].score).count();
            assert!(higher <= 20, "{higher} rows are more surprising: {:?}", verdicts[at]);
            continue;
        }
        let alarms = alarms(&verdicts);
        let before = alarms.iter().filter(|row| **row < at).count();
        assert!(before <= 1, "{name}: {alarms:?}");
        assert!(alarms.iter().any(|row| found.contains(row)), "{name}: {alarms:?}");
        let (row, _) = alarms.iter().map(|row| (*row, verdicts[*row].score)).find(|(row, _)| *row >= at).unwrap();
        assert!(verdicts[row].score > 0.4 && verdicts[row].reason.is_some(), "{name}: {:?}", verdicts[row]);
    }
}

#[test]
fn a_spike_is_explained_by_its_band() {
    let mut values: Vec<_> = steady(200, 10.0).collect();
    values[150] = Some(2.0);
    let verdicts = judge(&settings(Method::Ewma), values);
    assert_eq!(alarms(&verdicts), [150]);
    let verdict = &verdicts[150];
    assert_eq!(verdict.reason, Some(Reason::BelowBand));
    let (lower, expected) = (verdict.lower.unwrap(), verdict.expected.unwrap());
    assert!(lower > 2.0 && lower < expected && (expected - 10.0).abs() < 0.5, "{verdict:?}");
}

#[test]
fn a_level_that_stays_is_the_level_and_the_reason_says_from_where() {
    let values = steady(200, 10.0).chain(steady(200, 30.0));
    let verdicts = judge(&settings(Method::Auto), values);
    let alarms = alarms(&verdicts);
    assert!(alarms.contains(&200), "{alarms:?}");
    assert!(alarms.iter().all(|row| (200..240).contains(row)), "{alarms:?}");
    let shift = verdicts.iter().find_map(|verdict| match verdict.reason {
        Some(Reason::LevelShift { from, to }) => Some((from, to)),
        _ => None,
    });
    let (from, to) = shift.unwrap();
    assert!((from - 10.0).abs() < 1.0 && (to - 30.0).abs() < 1.0, "from {from} to {to}");
    assert!((verdicts[399].expected.unwrap() - 30.0).abs() < 2.0);
}

#[test]
fn an_incident_is_not_learnt_while_it_lasts() {
    let mut values: Vec<_> = steady(300, 10.0).collect();
    values[200..220].fill(Some(40.0));
    let verdicts = judge(&settings(Method::Ewma), values);
    assert_eq!(alarms(&verdicts), (200..220).collect::<Vec<_>>());
    assert!((verdicts[221].expected.unwrap() - 10.0).abs() < 0.5);
}

#[test]
fn a_value_at_the_wrong_time_of_day_is_one() {
    let season = DetectSettings { season_ns: DAY, ..settings(Method::Auto) };
    let day = |row: u64| 100.0 + 50.0 * (std::f64::consts::TAU * row as f64 / 1_440.0).sin() + noise(row);
    let mut values: Vec<_> = (0..6 * 1_440).map(|row| Some(day(row))).collect();
    let at = 5 * 1_440 + 360;
    // What is usual at midnight, at the height of the day.
    values[at] = Some(100.0);
    let verdicts = judge(&season, values);
    assert!(verdicts[at].score > 0.3, "{:?}", verdicts[at]);
    assert!((verdicts[at].expected.unwrap() - 150.0).abs() < 5.0, "{:?}", verdicts[at]);
    let higher = verdicts[4_000..].iter().filter(|verdict| verdict.score >= verdicts[at].score).count();
    assert!(higher <= 3, "{higher} rows are as surprising");
}

/// Many by day and few by night, and what is added to them.
fn by_day(row: u64, minutes: u64, added: impl Fn(u64) -> f64) -> Option<f64> {
    let open = (8 * 60..20 * 60).contains(&(row * minutes % 1_440));
    Some(if open { 1_000.0 } else { 100.0 } + 5.0 * noise(row) + added(row))
}

fn judged_every(minutes: i64, settings: &DetectSettings, values: impl Iterator<Item = Option<f64>>) -> Vec<Verdict> {
    let mut detector = Detector::new(settings);
    values.enumerate().map(|(row, value)| detector.observe(settings, row as i64 * minutes * MINUTE, value)).collect()
}

#[test]
fn a_day_that_jumps_is_learnt_in_two_days_and_what_is_at_the_wrong_time_is_told_then() {
    let season = DetectSettings { season_ns: DAY, ..settings(Method::Auto) };
    for minutes in [1, 5] {
        let rows = |days: u64| days * 1_440 / minutes;
        // On the tenth day it is as few as by night for twenty minutes at noon; on the eleventh somewhat more by night.
        let (noon, night) = (rows(9) + rows(1) / 2, rows(10) + rows(1) / 8);
        let added = |row: u64| match row {
            row if (noon..noon + 20 / minutes).contains(&row) => -900.0,
            row if (night..night + 20 / minutes).contains(&row) => 400.0,
            _ => 0.0,
        };
        let values = (0..rows(12)).map(|row| by_day(row, minutes, added));
        let verdicts = judged_every(minutes as i64, &season, values);
        let alarms = alarms(&verdicts);
        let events = [noon, night].map(|at| at as usize..(at + rows(1) / 24) as usize);
        let known = rows(2) as usize;
        let astray: Vec<_> =
            alarms.iter().filter(|row| **row >= known && !events.iter().any(|event| event.contains(row))).collect();
        assert!(astray.len() <= 5, "every {minutes} minutes: {astray:?}");
        for event in events {
            assert!(
                alarms.contains(&event.start),
                "every {minutes} minutes, at {}: {:?}",
                event.start,
                verdicts[event.start]
            );
        }
        assert_eq!(verdicts[noon as usize].reason, Some(Reason::SeasonalMismatch));
    }
}

#[test]
fn a_series_that_goes_to_and_fro_without_a_season_is_calm_before_long() {
    let values = (0..10 * 288).map(|row| by_day(row, 5, |_| 0.0));
    let verdicts = judged_every(5, &settings(Method::Auto), values);
    // Up, down, up again: after that both levels are usual.
    let late: Vec<_> = alarms(&verdicts).into_iter().filter(|row| *row >= 2 * 288).collect();
    assert_eq!(late, [] as [usize; 0]);
}

#[test]
fn a_season_that_has_moved_is_learnt_anew() {
    let season = DetectSettings { season_ns: DAY, ..settings(Method::Auto) };
    // From the seventh day on all of it is an hour earlier.
    let values = (0..14 * 288).map(|row| by_day(if row < 6 * 288 { row } else { row + 12 }, 5, |_| 0.0));
    let verdicts = judged_every(5, &season, values);
    let days =
        |days: std::ops::Range<usize>| alarms(&verdicts).iter().filter(|row| days.contains(&(**row / 288))).count();
    assert!(days(6..7) > 0, "nobody was told");
    assert_eq!((days(2..6), days(9..14)), (0, 0));
}

#[test]
fn an_outage_is_no_part_of_the_season() {
    let season = DetectSettings { season_ns: DAY, ..settings(Method::Auto) };
    let outage = |row: u64| (5 * 288 + 144..5 * 288 + 168).contains(&row);
    let values = (0..8 * 288).map(|row| by_day(row, 5, |row| if outage(row) { -900.0 } else { 0.0 }));
    let verdicts = judged_every(5, &season, values);
    let alarms = alarms(&verdicts);
    assert!(alarms.contains(&(5 * 288 + 144)));
    // The day after is as usual, and is judged so.
    assert!(alarms.iter().all(|row| !(6 * 288..7 * 288).contains(row)), "{alarms:?}");
    assert!((verdicts[6 * 288 + 150].expected.unwrap() - 1_000.0).abs() < 150.0, "{:?}", verdicts[6 * 288 + 150]);
}

#[test]
fn values_that_are_ordinary_one_by_one_stand_out_together() {
    for method in [Method::RandomCutForest, Method::HalfSpaceTrees] {
        let several = DetectSettings { values: vec!["cpu".into(), "requests".into()], ..settings(method) };
        let mut detector = Detector::new(&several);
        let mut verdicts = Vec::new();
        for row in 0..1_500u64 {
            let load = 50.0 + 40.0 * noise(row);
            let requests = match row {
                // Busy without anything to do.
                1_200 => 12.0,
                1_400 => 900.0,
                _ => load + noise(row + 9_000),
            };
            let (cpu, at) = (if row == 1_200 { 88.0 } else { load }, Moment::from(row as i64 * MINUTE));
            verdicts.push(detector.observe_in(&several, at, Some(cpu), &[requests], None));
        }
        let higher = |row: usize| verdicts.iter().filter(|verdict| verdict.score > verdicts[row].score).count();
        // Half-space trees rank it high and do not set it apart.
        assert!(higher(1_200) <= 30 && higher(1_400) <= 10, "{method}: {} and {}", higher(1_200), higher(1_400));
        let other = Detector::decode(&several, &detector.encode()).unwrap();
        assert_eq!(other.encode(), detector.encode());
        if method == Method::RandomCutForest {
            let verdict = &verdicts[1_400];
            let reason = verdict.reason.unwrap().with(&several.values);
            assert!(verdict.is_anomaly && reason.starts_with("ISOLATED by requests "), "{reason}: {verdict:?}");
        }
    }
}

#[test]
fn learning_is_told_and_silent() {
    let mut values: Vec<_> = steady(100, 10.0).collect();
    values[20] = Some(1e6);
    let verdicts = judge(&settings(Method::Auto), values);
    assert!(verdicts[..30].iter().all(|verdict| verdict.learning && !verdict.is_anomaly && verdict.score == 0.0));
    assert!(verdicts[30..].iter().all(|verdict| !verdict.learning));
    assert_eq!(verdicts[0].expected, None);
}

#[test]
fn what_is_no_number_is_named_and_not_learnt() {
    let values = [None, Some(f64::NAN), Some(f64::INFINITY), Some(f64::NEG_INFINITY)];
    let plain: Vec<_> = steady(200, 10.0).collect();
    for (_, method) in Method::ALL {
        let mut with: Vec<_> = plain.clone();
        for (at, value) in values.iter().enumerate() {
            with.insert(100 + at, *value);
        }
        let settings = settings(*method);
        let mut detector = Detector::new(&settings);
        // The same times, so that nothing but the rows themselves could make a difference.
        let times = (0..).map(|row: i64| if row < 100 { row } else { (row - 4).max(100) } * MINUTE);
        let verdicts: Vec<_> = with.iter().zip(times).map(|(x, at)| detector.observe(&settings, at, *x)).collect();
        assert_eq!(verdicts[100].reason, Some(Reason::Missing));
        assert!(verdicts[101..104].iter().all(|verdict| verdict.reason == Some(Reason::NotFinite)));
        assert!(verdicts[100..104].iter().all(|verdict| verdict.score == 0.0 && !verdict.is_anomaly));
        let without = judge(&settings, plain.clone());
        assert_eq!(verdicts[104..], without[100..], "{method}");
    }
}

#[test]
fn rows_at_irregular_times_are_judged_by_the_clock() {
    let season = DetectSettings { season_ns: DAY, ..settings(Method::Auto) };
    let usual = |minute: u64| 100.0 + 50.0 * (std::f64::consts::TAU * minute as f64 / 1_440.0).sin() + noise(minute);
    let (mut detector, mut alarms, mut judged, mut near) = (Detector::new(&season), 0, 0, 0);
    for minute in 0..8 * 1_440 {
        // Two rows of three are missing, in no order, and for half of the fifth day nothing comes at all.
        if !random::mixed(minute).is_multiple_of(3) || (4 * 1_440..4 * 1_440 + 720).contains(&minute) {
            continue;
        }
        let verdict = detector.observe(&season, minute as i64 * MINUTE, Some(usual(minute)));
        alarms += u32::from(verdict.is_anomaly);
        if minute >= 5 * 1_440 {
            judged += 1;
            near += u32::from((verdict.expected.unwrap_or_default() - usual(minute)).abs() < 15.0);
        }
    }
    // By the number of rows instead of by the clock most would be off by as much as the day moves, up to a hundred.
    assert!(f64::from(near) > 0.97 * f64::from(judged), "{near} of {judged}");
    // One a day is tolerated, as a mean: by chance it may be some more.
    assert!(alarms <= 12, "{alarms}");
}

#[test]
fn a_constant_series_is_calm_until_it_moves() {
    for (name, method) in Method::ALL {
        let mut values = vec![Some(7.0); 3_000];
        assert_eq!(alarms(&judge(&settings(*method), values.clone())), [] as [usize; 0], "{name}");
        values[2_950] = Some(9.0);
        // Nine where seven are usual is no event for counts; the others look at several rows.
        let calm = [Method::PageHinkley, Method::Seasonal, Method::RelativeEntropy, Method::Bocpd, Method::Poisson];
        if !calm.contains(method) {
            assert!(alarms(&judge(&settings(*method), values)).contains(&2_950), "{name}");
        }
    }
}

#[test]
fn a_series_that_stands_still_where_it_used_to_move_is_told() {
    let values = steady(400, 10.0).chain(std::iter::repeat_n(Some(10.3), 100)).chain(steady(100, 10.0));
    let still = DetectSettings { min_effect: 5.0, direction: Direction::Above, ..settings(Method::Auto) };
    let verdicts = judge(&still, values);
    assert_eq!(alarms(&verdicts), [430]);
    assert_eq!(verdicts[430].reason, Some(Reason::Flatline));
}

#[test]
fn sensitivity_is_a_number_of_alarms_a_day() {
    let count = |sensitivity: f64| {
        let settings = DetectSettings { sensitivity, ..settings(Method::Ewma) };
        // A heavy tail: a product of noises.
        let values = (0..30 * 1_440).map(|row| Some(noise(row) * noise(row + 100_000) * noise(row + 200_000)));
        alarms(&judge(&settings, values)).len() as f64 / 30.0
    };
    let (few, some) = (count(0.1), count(3.0));
    assert!(few <= 1.0 && few <= some && (0.2..=9.0).contains(&some), "{few} and {some} a day");
}

#[test]
fn direction_effect_bounds_and_debounce_hold() {
    let mut values: Vec<_> = steady(300, 10.0).collect();
    values[200] = Some(0.0);
    values[250..253].fill(Some(25.0));
    let of = |change: &dyn Fn(&mut DetectSettings)| {
        let mut settings = settings(Method::Auto);
        change(&mut settings);
        judge(&settings, values.clone())
    };
    assert_eq!(alarms(&of(&|_| ())), [200, 250, 251, 252]);
    assert_eq!(alarms(&of(&|s| s.direction = Direction::Above)), [250, 251, 252]);
    assert_eq!(alarms(&of(&|s| s.direction = Direction::Below)), [200]);
    assert_eq!(alarms(&of(&|s| s.min_effect = 12.0)), [250, 251, 252]);
    assert_eq!(alarms(&of(&|s| s.min_effect_ratio = 1.2)), [250, 251, 252]);
    assert_eq!(alarms(&of(&|s| s.debounce = 3)), [252]);
    let cut = of(&|s| (s.lower_bound, s.upper_bound) = (9.5, 10.5));
    assert!(cut[100..].iter().all(|v| v.lower >= Some(9.5) && v.upper <= Some(10.5)), "{:?}", cut[150]);
    assert!(of(&|s| s.warm_up = 280)[..280].iter().all(|verdict| verdict.learning));
}

#[test]
fn counts_are_judged_as_counts() {
    // One in ten minutes, and now and then two at a time.
    let usual = |row: u64| f64::from(u8::from(noise(row) > 0.8)) + f64::from(u8::from(noise(row + 7_000) > 0.95));
    for method in [Method::Poisson, Method::Auto] {
        let mut values: Vec<_> = (0..3_000).map(|row| Some(usual(row))).collect();
        values[2_500] = Some(6.0);
        let verdicts = judge(&settings(method), values);
        let alarms = alarms(&verdicts);
        assert!(alarms.contains(&2_500) && alarms.len() <= 3, "{method}: {alarms:?}");
        assert_eq!(verdicts[2_499].lower, Some(0.0), "{method}");
    }
}

#[test]
fn shares_are_judged_near_their_end() {
    // 99.9 % with some noise: 99.99 % is not far off, and 98 % is.
    let usual = |row: u64| 0.999 + 0.0008 * noise(row);
    let mut values: Vec<_> = (0..1_000).map(|row| Some(usual(row))).collect();
    (values[800], values[900]) = (Some(0.9999), Some(0.98));
    let of_one = DetectSettings { method: Method::Beta, ..DetectSettings::default() };
    let verdicts = judge(&of_one, values);
    assert_eq!(alarms(&verdicts), [900]);
    assert!(verdicts[900].upper <= Some(1.0), "{:?}", verdicts[900]);
}

#[test]
fn a_rate_that_has_changed_for_good_is_learnt_anew() {
    let rate = |row: u64| if row < 2_000 { 40.0 } else { 46.0 };
    let values = (0..2_400).map(|row| Some((rate(row) + 6.0 * noise(row)).round()));
    let verdicts = judge(&settings(Method::Poisson), values);
    assert!((verdicts[2_399].expected.unwrap() - 46.0).abs() < 1.0, "{:?}", verdicts[2_399]);
}

#[test]
fn nothing_is_judged_or_learnt_at_an_excluded_time() {
    let excluded = vec![(200 * MINUTE, 250 * MINUTE)];
    let mut values: Vec<_> = steady(400, 10.0).collect();
    values[200..250].fill(Some(90.0));
    let verdicts = judge(&DetectSettings { excluded, ..settings(Method::Auto) }, values);
    assert_eq!(alarms(&verdicts), [] as [usize; 0]);
    assert!(verdicts[200..250].iter().all(|verdict| verdict.reason == Some(Reason::Excluded) && verdict.score == 0.0));
    assert!((verdicts[399].expected.unwrap() - 10.0).abs() < 0.5);
}

#[test]
fn an_anomaly_says_that_something_was_deployed_shortly_before() {
    let settings = settings(Method::Auto);
    let mut detector = Detector::new(&settings);
    let mut after = Vec::new();
    for row in 0..600u64 {
        detector.deploy(if row < 300 { 7 } else { 8 });
        let value = 10.0 + noise(row) + if row == 100 || row == 320 || row == 500 { 40.0 } else { 0.0 };
        let verdict = detector.observe(&settings, row as i64 * MINUTE, Some(value));
        if verdict.is_anomaly {
            after.push((row, verdict.after_deploy));
        }
    }
    assert_eq!(after, [(100, false), (320, true), (500, false)]);
}

#[test]
fn a_series_that_begins_takes_after_its_group() {
    let settings = settings(Method::Auto);
    let (mut group, mut old) = (Group::default(), Detector::new(&settings));
    for row in 0..500u64 {
        let at = Moment::from(row as i64 * MINUTE);
        old.observe_in(&settings, at, Some(10.0 + noise(row)), &[], Some(&mut group));
    }
    let mut new = Detector::of_group(&settings, &group);
    let first = new.observe_in(&settings, Moment::from(500 * MINUTE), Some(10.5), &[], Some(&mut group));
    assert!(first.learning && !first.is_anomaly && (first.expected.unwrap() - 10.0).abs() < 0.3, "{first:?}");
    let second = new.observe_in(&settings, Moment::from(501 * MINUTE), Some(80.0), &[], Some(&mut group));
    assert!(second.learning && second.is_anomaly && second.reason == Some(Reason::NewExtreme), "{second:?}");
    // The same without a group is silence.
    let mut alone = Detector::new(&settings);
    alone.observe(&settings, 500 * MINUTE, Some(10.5));
    assert!(!alone.observe(&settings, 501 * MINUTE, Some(80.0)).is_anomaly);
    assert!((Group::decode(&group.encode()).unwrap().prior().mean - 10.0).abs() < 0.3);
}

#[test]
fn series_are_small() {
    let bytes = |settings: DetectSettings| {
        let mut detector = Detector::new(&settings);
        for row in 0..5_000 {
            detector.observe(&settings, row * MINUTE, Some(noise(row as u64)));
        }
        (detector.bytes(), detector.encode().len())
    };
    for method in [Method::Auto, Method::Ewma, Method::PageHinkley, Method::NewExtreme, Method::RateOfChange] {
        let (held, written) = bytes(settings(method));
        assert!(held <= 256 && written <= 256, "{method}: {held} bytes, {written} in a checkpoint");
    }
    for method in [Method::Auto, Method::HoltWinters, Method::Seasonal] {
        let (held, written) = bytes(DetectSettings { season_ns: DAY, ..settings(method) });
        assert!(held <= 3_072 && written <= 3_072, "{method}: {held} bytes, {written} in a checkpoint");
    }
}

fn value() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        20 => (-1e3..1e3).prop_map(Some),
        5 => Just(Some(0.0)),
        2 => Just(None),
        2 => prop::num::f64::ANY.prop_map(Some),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn nothing_upsets_it_and_a_restart_changes_nothing(
        values in prop::collection::vec((value(), 0i64..3), 1..300),
        cut in any::<prop::sample::Index>(),
        season in prop::sample::select(vec![0, 10 * MINUTE]),
    ) {
        for (name, method) in Method::ALL {
            let settings = DetectSettings { season_ns: season, ..settings(*method) };
            let (mut one, mut at) = (Detector::new(&settings), 0);
            let mut other = one.clone();
            // The trees take long, and know all that they can know after so many rows.
            let most = if matches!(method, Method::HalfSpaceTrees | Method::RandomCutForest) { 100 } else { 300 };
            let values = &values[..values.len().min(most)];
            for (row, (value, step)) in values.iter().enumerate() {
                at += step * MINUTE;
                if row == cut.index(values.len()) {
                    other = Detector::decode(&settings, &other.encode()).unwrap();
                }
                let verdict = one.observe(&settings, at, *value);
                prop_assert_eq!(&verdict, &other.observe(&settings, at, *value), "{} at {}", name, row);
                prop_assert!((0.0..=1.0).contains(&verdict.score), "{}: {:?}", name, verdict);
                prop_assert!(verdict.expected.is_none_or(f64::is_finite), "{}: {:?}", name, verdict);
                prop_assert!(verdict.lower.zip(verdict.upper).is_none_or(|(l, u)| l <= u), "{}: {:?}", name, verdict);
            }
            let bytes = one.encode();
            prop_assert!(Detector::decode(&settings, &bytes[..bytes.len() - 1]).is_none());
        }
    }
}
