//! Market-based accounting by the hour: certificates count for the hour and the zone in which their energy was made, as the
//! revision of the GHG Protocol's Scope 2 guidance asks. Beside the location-based figure, never added to it.

/// Consumption that certificates of the same hour and zone cover.
pub fn matched_kwh(consumed_kwh: f64, certified_kwh: f64) -> f64 {
    consumed_kwh.min(certified_kwh).max(0.0)
}

/// Market-based grams of an hour: what is matched at the certificates' own factor (0 for wind and sun), the rest at that of
/// the residual mix.
pub fn market_grams(consumed_kwh: f64, certified_kwh: f64, certificate_g: f64, residual_g: f64) -> f64 {
    let matched = matched_kwh(consumed_kwh, certified_kwh);
    matched * certificate_g + (consumed_kwh - matched) * residual_g
}
