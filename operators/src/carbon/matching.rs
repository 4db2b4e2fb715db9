//! Market-based accounting by the hour: certificates count for the hour and the zone in which their energy was made, as the
//! revision of the GHG Protocol's Scope 2 guidance asks. Beside the location-based figure, never added to it.

/// Consumption that certificates of the same hour and zone cover.
pub fn matched_kwh(consumed_kwh: f64, certified_kwh: f64) -> f64 {
    consumed_kwh.min(certified_kwh).max(0.0)
}

/// Market-based grams of an hour: what is matched at the certificates' own factor (0 for wind and sun), the rest at that of
/// the residual mix. Only a factor that counts has to be known: that of certificates where there are any, that of the mix
/// where they do not cover the hour.
pub fn market_grams(
    consumed_kwh: f64,
    certified_kwh: f64,
    certificate_g: Option<f64>,
    residual_g: Option<f64>,
) -> Option<f64> {
    let matched = matched_kwh(consumed_kwh, certified_kwh);
    let of = |kwh: f64, factor: Option<f64>| if kwh == 0.0 { Some(0.0) } else { Some(kwh * factor?) };
    Some(of(matched, certificate_g)? + of(consumed_kwh - matched, residual_g)?)
}
