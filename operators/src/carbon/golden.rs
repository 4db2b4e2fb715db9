//! Results known from elsewhere: worked examples of the standards and tools that the formulas come from, to 1e-9.

use super::attribution::{IdlePolicy, Node};
use super::counter::{Limits, Step, delta};
use super::estimate::{Curve, compute_kwh, memory_kwh, network_kwh, storage_kwh, utilisation_watts};
use super::intensity::{Kind, Published, grams, in_force};
use super::llm::{self, Served};
use super::overlap::{Hierarchy, Meters, mirrored};
use super::power::{held, plausible_watts, trapezoid};
use super::schedule::{best_region, best_window};
use super::slots::{self, Slot};
use super::{budget, embodied, matching, sci, uncertainty, units};

fn close(value: f64, expected: f64) {
    let error = (value - expected).abs() / expected.abs().max(f64::MIN_POSITIVE);
    assert!(error <= 1e-9, "{value} is not {expected}");
}

const SECOND: i64 = 1_000_000_000;
const HOUR: i64 = 3_600 * SECOND;

/// Cloud Carbon Footprint, a VM of four vCPUs for a day in us-east-1.
#[test]
fn a_machine_in_a_cloud_for_a_day() {
    const PUE: f64 = 1.135;
    let watts = utilisation_watts(35.0, 0.74, 3.5);
    close(watts, 1.706);
    let compute = compute_kwh(watts, 4.0 * 24.0) * PUE;
    close(compute, 0.18588576);
    close(grams(compute_kwh(watts, 96.0), 379.069, PUE), 70.46352915744);
    let memory = memory_kwh(16.0 * 24.0) * PUE;
    close(memory, 0.17084928);
    let storage = storage_kwh(0.1 * 24.0, "ssd").unwrap() * PUE * 2.0;
    close(storage, 0.0065376);
    let network = network_kwh(5.0) * PUE;
    close(network, 0.005675);
    let total = compute + memory + storage + network;
    close(total, 0.36894764);
    close(grams(total, 379.069, 1.0), 139.85661294716);
    assert_eq!(storage_kwh(1.0, "tape"), None);
    assert_eq!(storage_kwh(1.0, "HDD"), storage_kwh(1.0, "hdd"));
}

/// SCI specification: a server of 1,000 kg and four years, for an hour.
#[test]
fn embodied_carbon_of_an_hour() {
    close(embodied::grams(1_000.0, 35_040.0 * 3_600.0, 3_600.0, 1.0).unwrap(), 28.538812785388128);
    assert_eq!(embodied::grams(1_000.0, 0.0, 3_600.0, 1.0), None);
    assert_eq!(embodied::grams(1_000.0, 3_600.0, -1.0, 1.0), None);
    assert_eq!(embodied::grams(1_000.0, 3_600.0, 60.0, -1.0), None);
    // Used for twice its life, it has been paid for once.
    close(embodied::grams(1_000.0, 3_600.0, 7_200.0, 0.25).unwrap(), 250_000.0);
    close(embodied::server_kg(1.0, 16.0, 0.0, 0.0, 0.0), 1_000.0);
    close(embodied::server_kg(8.0, 400.0, 1.0, 1.0, 2.0), 1_000.0 + 700.0 + 533.0 + 450.0);
}

#[test]
fn a_counter_that_wraps_is_told_from_one_that_was_reset() {
    let rapl = Limits { range: Some(262_143_328_850.0), most: None };
    assert_eq!(delta(None, 262_143_000_000.0, rapl), (Step::First, None));
    assert_eq!(delta(Some(262_143_000_000.0), 1_500_000.0, rapl), (Step::Wrapped, Some(1_828_850.0)));
    assert_eq!(delta(Some(1_500_000.0), 401_500_000.0, rapl), (Step::Counted, Some(400_000_000.0)));
    let joules = (1_828_850.0 + 400_000_000.0) / 1e6;
    close(joules, 401.82885);
    close(units::kwh(joules), 0.000111619125);
    // Without a range a drop says nothing.
    assert_eq!(delta(Some(262_143_000_000.0), 1_500_000.0, Limits::default()), (Step::Reset, None));
    // Far from its end a drop is a reboot.
    assert_eq!(delta(Some(5_000_000.0), 1_000.0, rapl), (Step::Reset, None));
    // More than the machine can draw in the time is neither.
    let bounded = Limits { most: Some(1_000_000.0), ..rapl };
    assert_eq!(delta(Some(262_143_000_000.0), 1_500_000.0, bounded), (Step::Reset, None));
    assert_eq!(delta(Some(0.0), 2_000_000.0, bounded), (Step::Reset, None));
    assert_eq!(delta(Some(1.0), f64::NAN, rapl), (Step::Invalid, None));
    assert_eq!(delta(Some(1.0), -1.0, rapl), (Step::Invalid, None));
    assert_eq!(delta(Some(7.0), 7.0, rapl), (Step::Counted, Some(0.0)));
}

fn three_hours(eleven: f64) -> Vec<Slot> {
    let slot = |hour: i64, g_per_kwh: f64| Slot { start: hour * HOUR, end: (hour + 1) * HOUR, g_per_kwh };
    vec![slot(10, 300.0), slot(11, eleven), slot(12, 100.0)]
}

/// 1 kW from 10:20 to 12:05.
const FROM: i64 = 10 * HOUR + 20 * 60 * SECOND;
const TO: i64 = 12 * HOUR + 5 * 60 * SECOND;

#[test]
fn energy_is_split_at_the_hours_and_then_multiplied() {
    let (grams, covered) = slots::grams(1.75, FROM, TO, &three_hours(200.0)).unwrap();
    close(grams, 408.3333333333333);
    close(covered, 1.0);
    close(grams / 1.75, 233.33333333333331);
    let knots = [(10 * HOUR, 300.0), (11 * HOUR, 200.0), (12 * HOUR, 100.0), (13 * HOUR, 100.0)];
    close(slots::grams_linear(1.75, FROM, TO, &knots).unwrap(), 313.8888888888888);
    assert_eq!(slots::grams_linear(1.75, FROM, TO, &knots[1..]), None);
    // What no intensity covers is not counted as clean: the share says so.
    let (partial, covered) = slots::grams(1.75, FROM, TO, &three_hours(200.0)[..1]).unwrap();
    close(partial, 200.0);
    close(covered, 40.0 / 105.0);
    assert_eq!(slots::grams(1.75, FROM, TO, &[]), None);
}

#[test]
fn a_revised_hour_revises_by_the_difference() {
    let published = |published_at, kind, g_per_kwh| Published { published_at, kind, g_per_kwh };
    let first = published(1, Kind::Estimated, 200.0);
    let revised = published(2, Kind::Estimated, 260.0);
    let late_forecast = published(3, Kind::Forecast, 999.0);
    assert_eq!(in_force(&[first]), Some((first, 0)));
    assert_eq!(in_force(&[late_forecast, revised, first]), Some((revised, 1)));
    let (before, _) = slots::grams(1.75, FROM, TO, &three_hours(200.0)).unwrap();
    let (after, _) = slots::grams(1.75, FROM, TO, &three_hours(260.0)).unwrap();
    close(after, 468.3333333333333);
    close(after - before, 60.0);
    assert_eq!(in_force(&[]), None);
}

/// Kepler's worked example.
#[test]
fn a_node_is_shared_by_use_and_its_idle_energy_by_policy() {
    let (active, idle) = Node::split(60.0, 1.0 / 3.0).unwrap();
    close(active, 20.0);
    close(idle, 40.0);
    let node = Node { active, idle, usage: 1_000.0, requested: 2.0, capacity: 4.0, workloads: 2.0 };
    for (usage, watts) in [(100.0, 2.0), (80.0, 1.6), (70.0, 1.4), (60.0, 1.2), (200.0, 4.0)] {
        close(node.share(IdlePolicy::NodeOnly, usage, 0.0), watts);
    }
    let pods = [(150.0, 0.5), (350.0, 1.5)];
    for (policy, a, b) in [
        (IdlePolicy::NodeOnly, 3.0, 7.0),
        (IdlePolicy::ByUsage, 9.0, 21.0),
        (IdlePolicy::ByRequest, 8.0, 22.0),
        (IdlePolicy::Equal, 23.0, 27.0),
    ] {
        close(node.share(policy, pods[0].0, pods[0].1), a);
        close(node.share(policy, pods[1].0, pods[1].1), b);
        close(a + b + node.unallocated(policy, &pods), 60.0);
    }
    // Nothing ran: nobody is charged for it.
    let resting = Node { active: 0.0, usage: 0.0, ..node };
    close(resting.unallocated(IdlePolicy::ByUsage, &[(0.0, 1.0)]), 40.0);
    assert_eq!(Node::split(60.0, 1.5), None);
}

#[test]
fn a_gauge_is_held_or_joined_but_not_for_ever() {
    let readings = [(0, 100.0), (10, 300.0), (20, 300.0), (40, 100.0)];
    let total = |hold_s: i64, joined: bool| {
        let parts = readings.windows(2).map(|pair| {
            let ((t0, w0), (t1, w1)) = (pair[0], pair[1]);
            let (since, until) = (t0 * SECOND, t1 * SECOND);
            let part = if joined {
                trapezoid(w0, w1, since, until, hold_s * SECOND)
            } else {
                held(w0, since, until, hold_s * SECOND)
            };
            part.unwrap()
        });
        parts.fold((0.0, 0.0), |sum, part| (sum.0 + part.joules, sum.1 + part.covered_s))
    };
    close(total(3_600, false).0, 10_000.0);
    close(total(3_600, true).0, 9_000.0);
    let (joules, covered_s) = total(15, false);
    close(joules, 8_500.0);
    close(covered_s / 40.0, 0.875);
    let dcgm = delta(Some(4_990_123_000.0), 5_000_123_000.0, Limits::default()).1.unwrap();
    close(units::joules(dcgm, "mJ").unwrap(), 10_000.0);
    assert_eq!(held(f64::NAN, 0, SECOND, SECOND), None);
    assert_eq!(held(1.0, SECOND, 0, SECOND), None);
    assert_eq!(plausible_watts(4_294_967.295, 1e9), None);
    assert_eq!(plausible_watts(500.0, 400.0), None);
    assert_eq!(plausible_watts(0.0, 400.0), Some(0.0));
}

#[test]
fn carbon_of_a_functional_unit() {
    close(sci::sci(120.0, 350.0, 500.0, 100_000.0).unwrap(), 0.425);
    close(grams(120.0, 350.0, 1.0), 42_000.0);
    assert_eq!(sci::sci(120.0, 350.0, 500.0, 0.0), None);
}

/// EcoLogits 0.11.3, a dense model of 70 billion parameters and 400 tokens.
#[test]
fn an_answer_of_a_language_model() {
    let served = Served { active: 70.0, total: 70.0, tokens_per_second: None, first_token_s: None, pue: 1.2 };
    let answer = served.answer(400.0, None);
    close(answer.gpu_kwh, 3.2155301424991554e-05);
    close(answer.seconds, 34.77316809390155);
    close(answer.gpus, 4.0);
    close(answer.server_kwh, 9.05551252445353e-05);
    close(answer.kwh, 0.0002630115971334018);
    close(grams(answer.kwh, 500.0, 1.0) / 1e3, 0.0001315057985667009);
    close(answer.embodied_kg, 2.2638781311133825e-05);
    // A shorter measured time counts, a longer one was spent waiting.
    close(served.answer(400.0, Some(10.0)).seconds, 10.0);
    close(served.answer(400.0, Some(100.0)).seconds, 34.77316809390155);
}

/// What the package itself answers for 400 tokens, as far as it was written down.
#[test]
fn models_answer_in_their_published_ranges() {
    for (name, low, high, digits) in [
        ("gpt-4o-mini", 0.0260, 0.0315, 4),
        ("openai/gpt-5", 0.591, 0.854, 3),
        ("claude-sonnet-4-5-20250929", 0.579, 0.971, 3),
        ("mistral-large-latest", 1.151, 1.151, 3),
    ] {
        let model = llm::model(name).unwrap();
        let wh = |served: &Served| format!("{:.digits$}", served.answer(400.0, None).kwh * 1e3);
        assert_eq!(
            (wh(&model.low), wh(&model.high)),
            (format!("{low:.digits$}"), format!("{high:.digits$}")),
            "{name}"
        );
    }
    assert_eq!(llm::model("a-model-of-tomorrow"), None);
    assert_eq!(llm::readable(), 175);
}

const FORECAST: [f64; 24] = [
    210.0, 205.0, 190.0, 170.0, 150.0, 120.0, 90.0, 80.0, 85.0, 110.0, 140.0, 180.0, 220.0, 260.0, 280.0, 270.0, 250.0,
    230.0, 200.0, 190.0, 185.0, 195.0, 205.0, 210.0,
];

fn day() -> Vec<Slot> {
    let slot = |(hour, g): (i64, &f64)| Slot { start: hour * HOUR, end: (hour + 1) * HOUR, g_per_kwh: *g };
    (0..).zip(&FORECAST).map(slot).collect()
}

#[test]
fn the_best_three_hours_of_a_day() {
    let best = best_window(&day(), 3 * HOUR, 0, i64::MAX).unwrap();
    assert_eq!(best.start, 6 * HOUR);
    close(best.g_per_kwh, 85.0);
    close(best.now_g_per_kwh.unwrap(), 201.66666666666666);
    close(best.saving().unwrap(), 1.0 - 85.0 / (605.0 / 3.0));
    assert_eq!(format!("{:.3}", best.saving().unwrap() * 100.0), "57.851");
    // It has to be done by six.
    assert_eq!(best_window(&day(), 3 * HOUR, 0, 6 * HOUR).unwrap().start, 3 * HOUR);
    assert_eq!(best_window(&day(), 25 * HOUR, 0, i64::MAX), None);
    // Half an hour fits at the end of the best hour too: the first place counts.
    assert_eq!(best_window(&day(), HOUR / 2, 0, i64::MAX).unwrap().start, 7 * HOUR);
    // No window reaches over a hole.
    let mut holed = day();
    holed.remove(7);
    assert_eq!(best_window(&holed, 3 * HOUR, 0, i64::MAX).unwrap().start, 8 * HOUR);
    // Of windows that are as good the first, however their sums are rounded.
    for g_per_kwh in [0.1, 33.3, 411.7] {
        let flat: Vec<Slot> = (0..96).map(|at| Slot { start: at * HOUR, end: (at + 1) * HOUR, g_per_kwh }).collect();
        assert_eq!(best_window(&flat, 3 * HOUR, 0, i64::MAX).unwrap().start, 0, "{g_per_kwh}");
        assert_eq!(best_region(&[("a", &flat, 1.1), ("b", &flat, 1.1)], HOUR, 0, i64::MAX).unwrap().0, "a");
    }
    let (clean, dirty) = (day(), day());
    let (region, _) = best_region(&[("hot", &dirty, 1.4), ("cool", &clean, 1.1)], 3 * HOUR, 0, i64::MAX).unwrap();
    assert_eq!(region, "cool");
}

#[test]
fn a_budget_that_is_used_too_fast() {
    const DAY: i64 = 24 * HOUR;
    let elapsed = budget::elapsed(0, 30 * DAY, 10 * DAY).unwrap();
    close(budget::pace(200.0, 500.0, elapsed).unwrap(), 1.2);
    close(budget::forecast(200.0, elapsed).unwrap(), 600.0);
    assert_eq!(budget::pace(200.0, 500.0, 0.0), None);
    assert_eq!(budget::elapsed(DAY, DAY, DAY), None);
}

#[test]
fn errors_of_a_product() {
    close(uncertainty::combined(0.10, 0.08) * 100.0, 12.806248474865697);
    let (low, high) = uncertainty::corners(10.0, 0.10, 300.0, 0.08);
    close(low, 2484.0);
    close(high, 3564.0);
    let part = uncertainty::Uncertain { value: 10.0, half_width: 3.0 };
    close(uncertainty::sum_of_one_source(&[part; 4]).half_width, 12.0);
    close(uncertainty::sum_of_sources(&[part; 4]).half_width, 6.0);
}

/// eGRID 2023, Alabama and California.
#[test]
fn pounds_become_grams() {
    close(units::grams_per_kwh(713.976, "lbs/MWh").unwrap(), 323.85406596312004);
    close(units::grams_per_kwh(394.769, "lbs_co2_per_mwh").unwrap(), 179.06420631253002);
    close(units::grams_per_kwh(0.5, "kg/kWh").unwrap(), 500.0);
    close(units::grams_per_kwh(0.000379069, "t/kWh").unwrap(), 379.069);
    close(units::grams_per_kwh(0.5, "tCO2/MWh").unwrap(), 500.0);
    close(units::grams_per_kwh(241.0, "gCO₂eq/kWh").unwrap(), 241.0);
    close(units::joules(5.0, "\u{3bc}J").unwrap(), units::joules(5.0, "\u{b5}J").unwrap());
    assert_eq!(units::grams_per_kwh(1.0, "g"), None);
    close(units::joules(1.0, "kWh").unwrap(), 3.6e6);
    close(units::joules(1.0, "kW.h").unwrap(), 3.6e6);
    close(units::joules(2.0, "GWh").unwrap(), units::joules(7.2e3, "GJ").unwrap());
    close(units::joules(7.0, "W*s").unwrap(), 7.0);
    close(units::watts(2_500.0, "mW").unwrap(), 2.5);
    close(units::watts(2.0, "J/s").unwrap() * 1e9, units::watts(2.0, "GW").unwrap());
    close(units::grams_per_kwh(100.0, "gCO2/MJ").unwrap(), 360.0);
}

#[test]
fn a_factor_of_zero_is_a_factor() {
    assert_eq!(grams(5.0, 0.0, 1.2), 0.0);
    assert_eq!(super::intensity::plausible(0.0), Some(0.0));
    assert_eq!(super::intensity::plausible(2_805.0), None);
    assert_eq!(super::intensity::plausible(f64::NAN), None);
}

#[test]
fn the_curve_of_a_processor() {
    let platinum = Curve { a: 171.1813, b: 0.0354, c: 36.8953, d: -10.1336 };
    for (load, watts) in [(0.0, 35.578776), (10.0, 76.633750), (50.0, 182.216063), (100.0, 260.020096)] {
        assert!((platinum.watts(load) - watts).abs() < 1e-5, "{} at {load}", platinum.watts(load));
    }
    assert!(Curve { b: -1.0, ..platinum }.watts(50.0).is_nan());
    for (load, share) in [(0.0, 0.12), (5.0, 0.22), (10.0, 0.32), (50.0, 0.75), (100.0, 1.02)] {
        close(super::estimate::tdp_watts(load, 100.0), share * 100.0);
    }
}

#[test]
fn meters_inside_meters_are_counted_once() {
    let all = Meters { package: Some(50.0), core: Some(30.0), uncore: Some(5.0), dram: Some(7.0), ..Meters::default() };
    assert_eq!(all.without_overlap(), Some(57.0));
    assert_eq!(Meters { psys: Some(70.0), ..all }.without_overlap(), Some(70.0));
    assert_eq!(Meters { psys: Some(70.0), gpu: Some(100.0), ..all }.without_overlap(), Some(170.0));
    assert_eq!(Meters { host: Some(200.0), gpu: Some(100.0), ..all }.without_overlap(), Some(200.0));
    assert_eq!(Meters { package: None, ..all }.without_overlap(), Some(42.0));
    assert_eq!(Meters::default().without_overlap(), None);
    assert!(mirrored(1e9, 1e9 + 1e5, 65_536e6));
    assert!(!mirrored(1e9, 2e9, 65_536e6));
}

/// A hierarchy of meters, given in this order and in the other.
fn hierarchy(meters: &[(&str, Option<&str>, Option<f64>)]) -> Hierarchy {
    let (mut one, mut other) = (Hierarchy::default(), Hierarchy::default());
    meters.iter().for_each(|(meter, parent, amount)| one.add(meter, *parent, *amount));
    meters.iter().rev().for_each(|(meter, parent, amount)| other.add(meter, *parent, *amount));
    assert_eq!(one, other);
    one
}

#[test]
fn of_a_tree_of_meters_the_outermost_count() {
    let node = [
        ("host", None, Some(200.0)),
        ("package-0", Some("host"), None),
        ("core-0", Some("package-0"), Some(30.0)),
        ("gpu-0", Some("shelf"), Some(100.0)),
    ];
    // The package has no meter and is looked through; the shelf is nobody that is known.
    assert_eq!(hierarchy(&node).without_overlap(), Some(300.0));
    // While the host is silent its parts are all that is known.
    assert_eq!(hierarchy(&[&node[1..], &[("host", None, None)]].concat()).without_overlap(), Some(130.0));
    assert_eq!(hierarchy(&[("host", None, None), ("a", None, Some(f64::NAN))]).without_overlap(), None);
    assert_eq!(hierarchy(&[("host", None, Some(0.0)), ("a", Some("host"), Some(5.0))]).without_overlap(), Some(0.0));
    // A meter that is said twice measured both.
    assert_eq!(hierarchy(&[("a", None, Some(1.0)), ("a", None, Some(2.0))]).without_overlap(), Some(3.0));
}

#[test]
fn meters_inside_each_other_in_a_circle_are_one() {
    let circle = [
        ("b", Some("c"), Some(2.0)),
        ("c", Some("a"), Some(4.0)),
        ("a", Some("b"), Some(1.0)),
        ("d", Some("c"), Some(8.0)),
        ("e", Some("e"), Some(16.0)),
    ];
    assert_eq!(hierarchy(&circle).without_overlap(), Some(17.0));
}

#[test]
fn certificates_count_for_their_hour() {
    close(matching::matched_kwh(10.0, 4.0), 4.0);
    close(matching::market_grams(10.0, 4.0, Some(0.0), Some(400.0)).unwrap(), 2_400.0);
    // More than was used covers no other hour, and needs no mix.
    assert_eq!(matching::market_grams(10.0, 40.0, Some(0.0), Some(400.0)), Some(0.0));
    assert_eq!(matching::market_grams(10.0, 40.0, Some(12.0), None), Some(120.0));
    // Without certificates all of it is of the residual mix.
    assert_eq!(matching::market_grams(10.0, 0.0, None, Some(400.0)), Some(4_000.0));
    assert_eq!(matching::market_grams(10.0, 4.0, None, Some(400.0)), None);
    assert_eq!(matching::market_grams(10.0, 4.0, Some(0.0), None), None);
    assert_eq!(matching::market_grams(0.0, 4.0, None, None), Some(0.0));
}
