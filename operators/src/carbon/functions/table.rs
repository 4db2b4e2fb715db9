//! The table of functions. Their documentation is the pages of `docs/operators/carbon/`, which a test holds against this.

use super::Compute::{Checked, Number as Plain, Slots, Whether, Whole, Word};
use super::Kind::{Number, Span, Text, Time};
use super::{Row, Scalar, cut};
use crate::carbon::attribution::{IdlePolicy, Node};
use crate::carbon::counter::{Limits, Step, delta};
use crate::carbon::embodied::{self, Asset};
use crate::carbon::estimate::{self, Curve};
use crate::carbon::intensity::{self, G_PER_KWH_MAX};
use crate::carbon::llm::{self, Answer, Model, Served};
use crate::carbon::overlap::{Meters, mirrored};
use crate::carbon::{budget, matching, power, sci, slots, uncertainty, units};

/// All of them, by subject.
pub(super) const SCALARS: &[Scalar] = &[
    // Units.
    scalar("joules", &[("value", Number), ("unit", Text)], 0, Checked(|row| in_unit(row, units::joules, "energy"))),
    scalar("watts", &[("value", Number), ("unit", Text)], 0, Checked(|row| in_unit(row, units::watts, "power"))),
    scalar("grams_per_kwh", &[("value", Number), ("unit", Text)], 0, Checked(grams_per_kwh)),
    scalar("kwh", &[("joules", Number)], 0, Plain(|row| Some(units::kwh(row.number(0)?)))),
    // Meters.
    scalar("counter_delta", COUNTER, 2, Plain(|row| counter(row)?.1)),
    scalar("counter_step", COUNTER, 2, Word(|row| Some(counter(row)?.0.name()))),
    scalar("plausible_watts", &[("watts", Number), ("most", Number)], 0, Plain(plausible_watts)),
    scalar("held_seconds", &[("since", Time), ("until", Time), ("hold", Span)], 0, Plain(held_seconds)),
    scalar(
        "held_joules",
        &[("watts", Number), ("since", Time), ("until", Time), ("hold", Span)],
        0,
        Plain(held_joules),
    ),
    scalar("trapezoid_joules", TRAPEZOID, 0, Plain(trapezoid_joules)),
    scalar("without_overlap", METERS, 0, Plain(without_overlap)),
    scalar("mirrored", &[("a", Number), ("b", Number), ("range", Number)], 0, Whether(is_mirrored)),
    // Estimates.
    scalar("utilisation_watts", &[("percent", Number), ("least", Number), ("most", Number)], 0, Plain(utilisation)),
    scalar("tdp_watts", &[("percent", Number), ("tdp", Number)], 0, Plain(tdp_watts)),
    scalar("curve_watts", CURVE, 0, Plain(curve_watts)),
    scalar("memory_kwh", &[("gb_hours", Number)], 0, Plain(|row| Some(estimate::memory_kwh(amount(row, 0)?)))),
    scalar("storage_kwh", &[("tb_hours", Number), ("medium", Text)], 0, Checked(storage_kwh)),
    scalar("network_kwh", &[("gb", Number)], 0, Plain(|row| Some(estimate::network_kwh(amount(row, 0)?)))),
    // Carbon.
    scalar("time_slots", &[("since", Time), ("until", Time), ("size", Span)], 0, Slots(time_slots)),
    scalar("intensity_rank", &[("kind", Text)], 0, Whole(intensity_rank)),
    scalar("intensity_between", BETWEEN, 0, Plain(intensity_between)),
    scalar("carbon_grams", &[("kwh", Number), ("g_per_kwh", Number), ("pue", Number)], 1, Checked(carbon_grams)),
    scalar("combined_error", &[("a", Number), ("b", Number)], 0, Plain(combined_error)),
    scalar("product_low", PRODUCT, 0, Plain(|row| Some(corners(row)?.0))),
    scalar("product_high", PRODUCT, 0, Plain(|row| Some(corners(row)?.1))),
    scalar("matched_kwh", &[("consumed_kwh", Number), ("certified_kwh", Number)], 0, Plain(matched_kwh)),
    scalar("market_grams", MARKET, 0, Plain(market_grams)),
    scalar("embodied_grams", EMBODIED, 0, Plain(embodied_grams)),
    scalar("embodied_accrued", ACCRUED, 0, Plain(embodied_accrued)),
    scalar("server_embodied_kg", SERVER, 0, Plain(server_embodied_kg)),
    scalar("workload_energy", WORKLOAD, 0, Checked(workload_energy)),
    scalar(
        "sci",
        &[("kwh", Number), ("g_per_kwh", Number), ("embodied_g", Number), ("units", Number)],
        0,
        Plain(sci_of),
    ),
    scalar("budget_pace", PACE, 0, Plain(budget_pace)),
    scalar("budget_forecast", FORECAST, 0, Plain(budget_forecast)),
    // Language models.
    scalar("llm_energy_wh", LLM, 1, Plain(|row| middle(row, |answer| answer.kwh * 1e3))),
    scalar("llm_energy_wh_low", LLM, 1, Plain(|row| Some(of(row, &known(row)?.low)?.kwh * 1e3))),
    scalar("llm_energy_wh_high", LLM, 1, Plain(|row| Some(of(row, &known(row)?.high)?.kwh * 1e3))),
    scalar("llm_embodied_grams", LLM, 1, Plain(|row| middle(row, |answer| answer.embodied_kg * 1e3))),
    scalar("llm_energy_wh_by_size", BY_SIZE, 1, Checked(by_size)),
];

const fn scalar(
    name: &'static str,
    arguments: &'static [(&'static str, super::Kind)],
    optional: usize,
    compute: super::Compute,
) -> Scalar {
    Scalar { name, arguments, optional, compute }
}

type Arguments = &'static [(&'static str, super::Kind)];

const COUNTER: Arguments = &[("before", Number), ("now", Number), ("range", Number), ("most", Number)];
const TRAPEZOID: Arguments = &[("first", Number), ("second", Number), ("since", Time), ("until", Time), ("hold", Span)];
const METERS: Arguments = &[
    ("host", Number),
    ("psys", Number),
    ("package", Number),
    ("core", Number),
    ("uncore", Number),
    ("dram", Number),
    ("gpu", Number),
];
const CURVE: Arguments = &[("percent", Number), ("a", Number), ("b", Number), ("c", Number), ("d", Number)];
const BETWEEN: Arguments =
    &[("at", Time), ("before_at", Time), ("before", Number), ("after_at", Time), ("after", Number)];
const PRODUCT: Arguments = &[("a", Number), ("a_error", Number), ("b", Number), ("b_error", Number)];
const MARKET: Arguments =
    &[("consumed_kwh", Number), ("certified_kwh", Number), ("certificate_g", Number), ("residual_g", Number)];
const EMBODIED: Arguments = &[("total_kg", Number), ("lifespan", Span), ("reserved", Span), ("share", Number)];
const ACCRUED: Arguments = &[
    ("total_kg", Number),
    ("lifespan", Span),
    ("share", Number),
    ("provisioned_at", Time),
    ("retired_at", Time),
    ("since", Time),
    ("until", Time),
];
const SERVER: Arguments =
    &[("vcpus", Number), ("memory_gb", Number), ("ssds", Number), ("hdds", Number), ("gpus", Number)];
const WORKLOAD: Arguments = &[
    ("policy", Text),
    ("active", Number),
    ("idle", Number),
    ("usage", Number),
    ("node_usage", Number),
    ("request", Number),
    ("node_requested", Number),
    ("capacity", Number),
    ("workloads", Number),
];
const PACE: Arguments = &[("used", Number), ("budget", Number), ("since", Time), ("until", Time), ("now", Time)];
const FORECAST: Arguments = &[("used", Number), ("since", Time), ("until", Time), ("now", Time)];
const LLM: Arguments = &[("model", Text), ("tokens_out", Number), ("seconds", Number)];
const BY_SIZE: Arguments = &[
    ("active_billions", Number),
    ("total_billions", Number),
    ("tokens_out", Number),
    ("pue", Number),
    ("seconds", Number),
];

fn in_unit(row: &Row, convert: fn(f64, &str) -> Option<f64>, what: &str) -> Result<Option<f64>, String> {
    let (Some(value), Some(unit)) = (row.number(0), row.text(1)) else { return Ok(None) };
    convert(value, unit).map(Some).ok_or_else(|| format!("\"{unit}\" is not a unit of {what} that is known"))
}

/// How much there was of something: less than nothing is no reading.
fn amount(row: &Row, argument: usize) -> Option<f64> {
    row.number(argument).filter(|amount| *amount >= 0.0)
}

fn grams_per_kwh(row: &Row) -> Result<Option<f64>, String> {
    in_unit(row, units::grams_per_kwh, "intensity")?.map(possible).transpose()
}

/// The intensity, or what is wrong with it.
fn possible(g_per_kwh: f64) -> Result<f64, String> {
    let wrong = || format!("{g_per_kwh} g/kWh is no intensity of a grid (0 to {G_PER_KWH_MAX}): is its unit right?");
    intensity::plausible(g_per_kwh).ok_or_else(wrong)
}

fn counter(row: &Row) -> Option<(Step, Option<f64>)> {
    Some(delta(row.number(0), row.number(1)?, Limits { range: row.number(2), most: row.number(3) }))
}

fn plausible_watts(row: &Row) -> Option<f64> {
    power::plausible_watts(row.number(0)?, row.number(1)?)
}

fn held_seconds(row: &Row) -> Option<f64> {
    power::held_seconds(row.time(0)?, row.time(1)?, row.span(2)?)
}

fn held_joules(row: &Row) -> Option<f64> {
    Some(power::held(row.number(0)?, row.time(1)?, row.time(2)?, row.span(3)?)?.joules)
}

fn trapezoid_joules(row: &Row) -> Option<f64> {
    Some(power::trapezoid(row.number(0)?, row.number(1)?, row.time(2)?, row.time(3)?, row.span(4)?)?.joules)
}

fn without_overlap(row: &Row) -> Option<f64> {
    let meters = Meters {
        host: row.number(0),
        psys: row.number(1),
        package: row.number(2),
        core: row.number(3),
        uncore: row.number(4),
        dram: row.number(5),
        gpu: row.number(6),
    };
    meters.without_overlap()
}

fn is_mirrored(row: &Row) -> Option<bool> {
    Some(mirrored(row.number(0)?, row.number(1)?, row.number(2)?))
}

fn utilisation(row: &Row) -> Option<f64> {
    Some(estimate::utilisation_watts(row.number(0)?, row.number(1)?, row.number(2)?))
}

fn tdp_watts(row: &Row) -> Option<f64> {
    Some(estimate::tdp_watts(row.number(0)?, row.number(1)?))
}

fn curve_watts(row: &Row) -> Option<f64> {
    let curve = Curve { a: row.number(1)?, b: row.number(2)?, c: row.number(3)?, d: row.number(4)? };
    Some(curve.watts(row.number(0)?))
}

fn storage_kwh(row: &Row) -> Result<Option<f64>, String> {
    let (Some(tb_hours), Some(medium)) = (amount(row, 0), row.text(1)) else { return Ok(None) };
    let wrong = || format!("\"{medium}\" is no medium of storage: it is 'ssd' or 'hdd'");
    estimate::storage_kwh(tb_hours, medium).map(Some).ok_or_else(wrong)
}

fn time_slots(row: &Row, parts: &mut Vec<super::Part>) -> Result<bool, String> {
    let (Some(since), Some(until)) = (row.time(0), row.time(1)) else { return Ok(false) };
    cut(parts, since, until, row.span(2).unwrap_or(0))
}

fn intensity_rank(row: &Row) -> Result<Option<i64>, String> {
    let Some(kind) = row.text(0) else { return Ok(None) };
    let known = || intensity::Kind::names().collect::<Vec<_>>().join(", ");
    let wrong = || format!("\"{kind}\" is no kind of intensity: they are {}", known());
    intensity::Kind::named(kind).map(|kind| Some(kind.rank())).ok_or_else(wrong)
}

fn intensity_between(row: &Row) -> Option<f64> {
    slots::between(row.time(0)?, (row.time(1)?, row.number(2)?), (row.time(3)?, row.number(4)?))
}

fn carbon_grams(row: &Row) -> Result<Option<f64>, String> {
    let pue = if row.has(2) { row.number(2) } else { Some(1.0) };
    let (Some(kwh), Some(g_per_kwh), Some(pue)) = (row.number(0), row.number(1), pue) else { return Ok(None) };
    possible_pue(pue)?;
    Ok(Some(intensity::grams(kwh, possible(g_per_kwh)?, pue)))
}

fn possible_pue(pue: f64) -> Result<(), String> {
    let wrong = || format!("a PUE of {pue} would make energy: it is at least 1");
    if pue >= 1.0 { Ok(()) } else { Err(wrong()) }
}

fn combined_error(row: &Row) -> Option<f64> {
    Some(uncertainty::combined(row.number(0)?, row.number(1)?))
}

fn corners(row: &Row) -> Option<(f64, f64)> {
    Some(uncertainty::corners(row.number(0)?, row.number(1)?, row.number(2)?, row.number(3)?))
}

fn matched_kwh(row: &Row) -> Option<f64> {
    Some(matching::matched_kwh(row.number(0)?, row.number(1)?))
}

fn market_grams(row: &Row) -> Option<f64> {
    matching::market_grams(row.number(0)?, row.number(1)?, row.number(2), row.number(3))
}

fn embodied_grams(row: &Row) -> Option<f64> {
    let seconds = |argument: usize| Some(row.span(argument)? as f64 / 1e9);
    embodied::grams(row.number(0)?, seconds(1)?, seconds(2)?, row.number(3)?)
}

fn embodied_accrued(row: &Row) -> Option<f64> {
    let asset = Asset {
        total_kg: row.number(0)?,
        lifespan_ns: row.span(1)?,
        share: row.number(2)?,
        provisioned_at: row.time(3)?,
        retired_at: row.time(4),
    };
    asset.accrued(row.time(5)?, row.time(6)?)
}

fn server_embodied_kg(row: &Row) -> Option<f64> {
    Some(embodied::server_kg(row.number(0)?, row.number(1)?, row.number(2)?, row.number(3)?, row.number(4)?))
}

fn workload_energy(row: &Row) -> Result<Option<f64>, String> {
    let Some(policy) = row.text(0) else { return Ok(None) };
    let Some(policy) = IdlePolicy::named(policy) else {
        return Err(format!("\"{policy}\" is no policy for idle energy: node_only, by_usage, by_request, equal"));
    };
    let share = || {
        let node = Node {
            active: row.number(1)?,
            idle: row.number(2)?,
            usage: row.number(4)?,
            requested: row.number(6)?,
            capacity: row.number(7)?,
            workloads: row.number(8)?,
        };
        Some(node.share(policy, row.number(3)?, row.number(5)?))
    };
    Ok(share())
}

fn sci_of(row: &Row) -> Option<f64> {
    sci::sci(row.number(0)?, row.number(1)?, row.number(2)?, row.number(3)?)
}

fn budget_pace(row: &Row) -> Option<f64> {
    budget::pace(row.number(0)?, row.number(1)?, budget::elapsed(row.time(2)?, row.time(3)?, row.time(4)?)?)
}

fn budget_forecast(row: &Row) -> Option<f64> {
    budget::forecast(row.number(0)?, budget::elapsed(row.time(1)?, row.time(2)?, row.time(3)?)?)
}

fn known(row: &Row) -> Option<&'static Model> {
    llm::model(row.text(0)?)
}

/// An answer of the row's tokens and seconds, which may not have been measured.
fn of(row: &Row, served: &Served) -> Option<Answer> {
    Some(served.answer(amount(row, 1)?, amount(row, 2)))
}

/// Halfway between the least and the most.
fn middle(row: &Row, amount: fn(&Answer) -> f64) -> Option<f64> {
    let model = known(row)?;
    Some((amount(&of(row, &model.low)?) + amount(&of(row, &model.high)?)) / 2.0)
}

fn by_size(row: &Row) -> Result<Option<f64>, String> {
    let (Some(active), Some(total), Some(pue)) = (row.number(0), row.number(1), row.number(3)) else { return Ok(None) };
    if !(active > 0.0 && total >= active) {
        return Err(format!("a model has parameters, of which no more than all are active: not {active} of {total}"));
    }
    possible_pue(pue)?;
    let served = Served { active, total, tokens_per_second: None, first_token_s: None, pue };
    Ok(amount(row, 2).map(|tokens| served.answer(tokens, amount(row, 4)).kwh * 1e3))
}
