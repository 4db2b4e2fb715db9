//! DDSketch: quantiles of any number of values in bounded memory, with a bound on the *relative* error, mergeable.
//!
//! C. Masson, J. E. Rim, H. K. Lee: "DDSketch: a fast and fully-mergeable quantile sketch with relative-error
//! guarantees", PVLDB 12(12), 2019. A value `x > 0` falls into the bin `ceil(log_γ x)` with `γ = (1+α)/(1-α)`; the bin's
//! middle differs from `x` by at most `α·x`. Two sketches are merged by adding their bins, so the order and the grouping
//! of merges do not matter.

/// The bound on the relative error of a quantile.
pub const RELATIVE_ERROR: f64 = 0.01;

/// `ln γ` for [`RELATIVE_ERROR`].
const LN_GAMMA: f64 = 0.020_000_666_706_669_35;
/// Bins a store keeps; with more the lowest are collapsed into one. 2,048 bins span a factor of 6·10^17.
const BINS_MAX: usize = 2_048;
/// Values closer to 0 than this are 0.
const ZERO: f64 = 1e-300;

/// A sketch of some values. NaN is not a value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sketch {
    count: u64,
    zeros: u64,
    min: f64,
    max: f64,
    positive: Bins,
    negative: Bins,
}

/// Counts of neighbouring bins.
#[derive(Clone, Debug, Default, PartialEq)]
struct Bins {
    /// The bin that `counts[0]` belongs to.
    first: i32,
    counts: Vec<u64>,
}

impl Sketch {
    /// Whether it has seen no value.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Takes in one value; NaN is left out.
    #[inline]
    pub fn add(&mut self, value: f64) {
        if value.is_nan() {
            return;
        }
        if value > ZERO {
            self.positive.add(bin_of(value), 1);
        } else if value < -ZERO {
            self.negative.add(bin_of(-value), 1);
        } else {
            self.zeros += 1;
        }
        self.bound(value, value, 1);
    }

    fn bound(&mut self, min: f64, max: f64, count: u64) {
        if self.count == 0 {
            (self.min, self.max) = (min, max);
        } else {
            (self.min, self.max) = (self.min.min(min), self.max.max(max));
        }
        self.count += count;
    }

    /// The value below which a share `q` (0 to 1) of all values lies, within [`RELATIVE_ERROR`]; `None` without values.
    /// The smallest and the largest value are exact.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        if self.count == 0 {
            return None;
        }
        // The rank of the value asked for, counted from 0, as the paper's q-quantile.
        let rank = (q.clamp(0.0, 1.0) * (self.count - 1) as f64) as u64;
        if rank == 0 {
            return Some(self.min);
        }
        if rank == self.count - 1 {
            return Some(self.max);
        }
        let mut below = 0;
        for (bin, count) in self.negative.iter().rev() {
            below += count;
            if below > rank {
                return Some((-middle_of(bin)).clamp(self.min, self.max));
            }
        }
        below += self.zeros;
        if below > rank {
            return Some(0.0);
        }
        for (bin, count) in self.positive.iter() {
            below += count;
            if below > rank {
                return Some(middle_of(bin).clamp(self.min, self.max));
            }
        }
        Some(self.max)
    }

    /// Bytes it takes beyond its own size.
    pub fn heap_size(&self) -> usize {
        (self.positive.counts.capacity() + self.negative.counts.capacity()) * size_of::<u64>()
    }

    /// Appends its portable form to `bytes`; an empty sketch has none.
    ///
    /// ```text
    /// count zeros (varints) | min max (f64, little-endian) | positive bins | negative bins
    /// bins: number (varint) | first bin (zigzag varint, if any) | counts (varints)
    /// ```
    pub fn write(&self, bytes: &mut Vec<u8>) {
        if self.count == 0 {
            return;
        }
        write_varint(bytes, self.count);
        write_varint(bytes, self.zeros);
        bytes.extend(self.min.to_le_bytes());
        bytes.extend(self.max.to_le_bytes());
        for bins in [&self.positive, &self.negative] {
            write_varint(bytes, bins.counts.len() as u64);
            if !bins.counts.is_empty() {
                write_varint(bytes, u64::from(((bins.first << 1) ^ (bins.first >> 31)) as u32));
                bins.counts.iter().for_each(|count| write_varint(bytes, *count));
            }
        }
    }

    /// Merges a sketch in its portable form into this one; `None` if the bytes are none.
    pub fn merge(&mut self, mut bytes: &[u8]) -> Option<()> {
        if bytes.is_empty() {
            return Some(());
        }
        let count = read_varint(&mut bytes)?;
        self.zeros += read_varint(&mut bytes)?;
        let min = read_f64(&mut bytes)?;
        let max = read_f64(&mut bytes)?;
        self.positive.merge(&mut bytes)?;
        self.negative.merge(&mut bytes)?;
        self.bound(min, max, count);
        Some(())
    }
}

impl Bins {
    fn iter(&self) -> impl DoubleEndedIterator<Item = (i32, u64)> + '_ {
        self.counts.iter().enumerate().map(|(i, count)| (self.first + i as i32, *count))
    }

    #[inline]
    fn add(&mut self, bin: i32, count: u64) {
        let index = i64::from(bin) - i64::from(self.first);
        match usize::try_from(index) {
            Ok(index) if index < self.counts.len() => self.counts[index] += count,
            _ => self.add_outside(bin, count),
        }
    }

    /// Makes room for a bin that has none, collapsing the lowest where there are too many.
    fn add_outside(&mut self, bin: i32, count: u64) {
        if self.counts.is_empty() {
            self.first = bin;
            self.counts.push(count);
            return;
        }
        let last = self.first + self.counts.len() as i32 - 1;
        if bin > last {
            let lowest = bin - (BINS_MAX as i32 - 1);
            if lowest > self.first {
                let gone = ((lowest - self.first) as usize).min(self.counts.len());
                let collapsed: u64 = self.counts.drain(..gone).sum();
                self.first = lowest;
                match self.counts.first_mut() {
                    Some(first) => *first += collapsed,
                    None => self.counts.push(collapsed),
                }
            }
            self.counts.resize((bin - self.first) as usize + 1, 0);
        } else {
            let lowest = (last - (BINS_MAX as i32 - 1)).min(self.first);
            let first = bin.max(lowest);
            let more = (self.first - first) as usize;
            self.counts.splice(0..0, std::iter::repeat_n(0, more));
            self.first = first;
        }
        let index = (bin.max(self.first) - self.first) as usize;
        self.counts[index] += count;
    }

    fn merge(&mut self, bytes: &mut &[u8]) -> Option<()> {
        let len = usize::try_from(read_varint(bytes)?).ok()?;
        if len == 0 {
            return Some(());
        }
        let zigzag = u32::try_from(read_varint(bytes)?).ok()?;
        let first = (zigzag >> 1) as i32 ^ -((zigzag & 1) as i32);
        if len > BINS_MAX {
            return None;
        }
        // The highest first, so that the range is known before the lower bins come.
        let last = first.checked_add(len as i32 - 1)?;
        self.add(last, 0);
        for i in 0..len as i32 {
            let count = read_varint(bytes)?;
            if count > 0 {
                self.add(first + i, count);
            }
        }
        Some(())
    }
}

#[inline]
fn bin_of(value: f64) -> i32 {
    // Infinity falls into the highest bin there is.
    (value.min(f64::MAX).ln() / LN_GAMMA).ceil() as i32
}

fn middle_of(bin: i32) -> f64 {
    // γ^bin · 2 / (γ + 1): equally far, relatively, from both ends of the bin.
    (f64::from(bin) * LN_GAMMA).exp() * (1.0 - RELATIVE_ERROR)
}

fn write_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn read_f64(bytes: &mut &[u8]) -> Option<f64> {
    let (value, rest) = bytes.split_first_chunk::<8>()?;
    *bytes = rest;
    Some(f64::from_le_bytes(*value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sketch(values: &[f64]) -> Sketch {
        let mut sketch = Sketch::default();
        values.iter().for_each(|v| sketch.add(*v));
        sketch
    }

    fn written(sketch: &Sketch) -> Vec<u8> {
        let mut bytes = Vec::new();
        sketch.write(&mut bytes);
        bytes
    }

    #[test]
    fn the_constant_is_what_the_paper_says() {
        let gamma: f64 = (1.0 + RELATIVE_ERROR) / (1.0 - RELATIVE_ERROR);
        assert!((LN_GAMMA - gamma.ln()).abs() < 1e-15, "{}", gamma.ln());
        assert!((middle_of(7) / (2.0 * gamma.powi(7) / (gamma + 1.0)) - 1.0).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn quantiles_are_within_the_bound(
            mut values in proptest::collection::vec(prop_oneof![-1e6f64..1e6, Just(0.0), 1e-6f64..1e-3], 1..300),
            q in 0.0f64..=1.0,
        ) {
            let found = sketch(&values).quantile(q).unwrap();
            values.sort_by(f64::total_cmp);
            let exact = values[(q * (values.len() - 1) as f64) as usize];
            prop_assert!((found - exact).abs() <= exact.abs() * RELATIVE_ERROR * 1.000_001 + 1e-300, "{found} {exact}");
        }

        #[test]
        fn merging_is_the_same_as_adding_everything_to_one(
            parts in proptest::collection::vec(proptest::collection::vec(-1e9f64..1e9, 0..40), 0..6),
        ) {
            let whole = sketch(&parts.concat());
            let mut merged = Sketch::default();
            for part in &parts {
                merged.merge(&written(&sketch(part))).unwrap();
            }
            for q in [0.0, 0.01, 0.5, 0.9, 0.99, 1.0] {
                prop_assert_eq!(merged.quantile(q), whole.quantile(q));
            }
            let mut copy = Sketch::default();
            copy.merge(&written(&merged)).unwrap();
            prop_assert_eq!(written(&copy), written(&merged));
        }

        #[test]
        fn bytes_that_are_no_sketch_are_refused_and_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Sketch::default().merge(&bytes);
        }
    }

    #[test]
    fn a_wide_range_collapses_the_lowest_values_only() {
        let mut values: Vec<f64> = (0..10_000).map(|i| 10f64.powf(f64::from(i) / 100.0 - 50.0)).collect();
        let found = sketch(&values);
        values.reverse();
        for sketch in [found, sketch(&values)] {
            assert!(sketch.positive.counts.len() <= BINS_MAX);
            let exact = 10f64.powf(9_899.0 / 100.0 - 50.0);
            let p99 = sketch.quantile(0.99).unwrap();
            assert!((p99 / exact - 1.0).abs() < 0.02, "{p99} {exact}");
        }
    }

    #[test]
    fn odd_values_are_harmless() {
        let odd = sketch(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, f64::MIN_POSITIVE, 5e-324]);
        assert_eq!(odd.count, 6);
        assert_eq!(odd.quantile(0.0), Some(f64::NEG_INFINITY));
        assert_eq!(odd.quantile(1.0), Some(f64::INFINITY));
        assert_eq!(odd.quantile(0.5), Some(0.0));
        assert_eq!(sketch(&[f64::NAN]).quantile(0.5), None);
    }
}
