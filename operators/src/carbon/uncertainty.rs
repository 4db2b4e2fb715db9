//! Uncertainty, carried along as half-widths: independent relative errors of a product combine in quadrature; errors of one
//! source do not average out, so sums of its results add them up.

/// A value and how wrong it may be, on either side, in its own unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Uncertain {
    /// The value.
    pub value: f64,
    /// Half the width of its range.
    pub half_width: f64,
}

/// The relative error of a product of values with the relative errors `a` and `b`, independent of each other.
pub fn combined(a: f64, b: f64) -> f64 {
    (a * a + b * b).sqrt()
}

/// The least and the greatest product of two values anywhere in their ranges (relative half-widths).
pub fn corners(a: f64, a_error: f64, b: f64, b_error: f64) -> (f64, f64) {
    let ends = |value: f64, error: f64| [value * (1.0 - error), value * (1.0 + error)];
    let products = ends(a, a_error).map(|x| ends(b, b_error).map(|y| x * y));
    let products = products.as_flattened();
    (products.iter().copied().fold(f64::INFINITY, f64::min), products.iter().copied().fold(f64::NEG_INFINITY, f64::max))
}

/// The sum of results of one source and one set of coefficients: their errors are the same error, so half-widths add.
pub fn sum_of_one_source(parts: &[Uncertain]) -> Uncertain {
    Uncertain { value: parts.iter().map(|p| p.value).sum(), half_width: parts.iter().map(|p| p.half_width).sum() }
}

/// The sum of results of sources that know nothing of each other: half-widths combine in quadrature.
pub fn sum_of_sources(parts: &[Uncertain]) -> Uncertain {
    let squares: f64 = parts.iter().map(|p| p.half_width * p.half_width).sum();
    Uncertain { value: parts.iter().map(|p| p.value).sum(), half_width: squares.sqrt() }
}
