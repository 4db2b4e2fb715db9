//! The Software Carbon Intensity of ISO/IEC 21031:2024: `SCI = (E * I + M) per R`.

/// Grams per functional unit: energy `kwh` at a location-based intensity, embodied grams, and the number of units. `None`
/// where there were no units: a rate of nothing is no rate, and certainly not the total.
pub fn sci(kwh: f64, g_per_kwh: f64, embodied_g: f64, units: f64) -> Option<f64> {
    (units > 0.0).then(|| (kwh * g_per_kwh + embodied_g) / units)
}
