//! Units of energy, power and intensity, by the names that telemetry gives them. A unit is never guessed from a metric's
//! name: one that is not known here is no number.

/// A kilowatt-hour in joules, exactly.
pub const JOULES_PER_KWH: f64 = 3_600_000.0;
/// An avoirdupois pound in kilograms, exactly (international yard and pound agreement, 1959).
pub const KG_PER_LB: f64 = 0.453_592_37;

/// Kilowatt-hours from joules.
pub fn kwh(joules: f64) -> f64 {
    joules / JOULES_PER_KWH
}

/// Joules of an amount of energy in `unit`: `J`, `kJ`, `MJ`, `GJ`, `mJ`, `uJ`, `Wh`, `kWh`, `MWh`, `GWh` or `W.s`, and how
/// OpenTelemetry (`kW.h`, as in UCUM) and Prometheus write them out.
pub fn joules(value: f64, unit: &str) -> Option<f64> {
    Some(match unit {
        "J" | "joule" | "joules" | "W.s" | "W*s" | "W·s" | "Ws" => value,
        "kJ" => value * 1e3,
        "MJ" => value * 1e6,
        "GJ" => value * 1e9,
        "mJ" | "millijoules" => value / 1e3,
        // The micro sign and the Greek letter look alike.
        "uJ" | "µJ" | "μJ" | "microjoules" => value / 1e6,
        "Wh" | "W.h" => value * 3_600.0,
        "kWh" | "kW.h" => value * JOULES_PER_KWH,
        "MWh" | "MW.h" => value * (JOULES_PER_KWH * 1e3),
        "GWh" | "GW.h" => value * (JOULES_PER_KWH * 1e6),
        _ => return None,
    })
}

/// Watts of a power in `unit`: `W` (or `J/s`), `kW`, `MW`, `GW`, `mW` or `uW`.
pub fn watts(value: f64, unit: &str) -> Option<f64> {
    Some(match unit {
        "W" | "watt" | "watts" | "J/s" => value,
        "kW" => value * 1e3,
        "MW" => value * 1e6,
        "GW" => value * 1e9,
        "mW" | "milliwatts" => value / 1e3,
        "uW" | "µW" | "μW" | "microwatts" => value / 1e6,
        _ => return None,
    })
}

/// Grams per kilowatt-hour of an intensity in `unit`: `g/kWh`, `kg/kWh` (EcoLogits, Boavizta), `t/kWh` (Cloud Carbon
/// Footprint), `kg/MWh`, `t/MWh` (AEMO), `g/MJ` or `lbs/MWh` (WattTime, eGRID). `CO2`, `CO2e` and `CO2eq` may stand in the name, also
/// with a subscript.
pub fn grams_per_kwh(value: f64, unit: &str) -> Option<f64> {
    // As WattTime writes it.
    if unit == "lbs_co2_per_mwh" {
        return Some(value * KG_PER_LB);
    }
    let bare = unit.replace(['_', ' '], "").replace('₂', "2");
    let bare = bare.replace("CO2eq", "").replace("CO2e", "").replace("CO2", "");
    Some(match bare.as_str() {
        "g/kWh" | "kg/MWh" => value,
        "kg/kWh" | "t/MWh" => value * 1e3,
        "t/kWh" => value * 1e6,
        "g/MJ" | "kg/GJ" => value * 3.6,
        "lbs/MWh" | "lb/MWh" => value * KG_PER_LB,
        _ => return None,
    })
}
