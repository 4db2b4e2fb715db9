//! Sums of floating-point numbers that are exact, so that a number that is taken back leaves nothing behind and the order
//! of the numbers does not matter.
//!
//! A number is an integer times a power of two: it is added to an integer that is wide enough for all of them, in digits
//! of 32 bits that overlap until they are carried (R. Neal, "Fast exact summation using small and large
//! superaccumulators", 2015). Only the digits between the least and the greatest that were touched are kept.

/// The exponent of the lowest bit of the lowest digit: that of the least number there is.
const LOWEST_EXPONENT: i32 = -1_074;
const DIGIT_BITS: i32 = 32;
const DIGIT: i64 = 1 << DIGIT_BITS;
/// So many numbers can be added before the digits must be carried: each adds less than 2^32 to a digit of 63 bits.
const ADDITIONS_MAX: u32 = 1 << 30;

/// A sum of numbers, each of which can be taken back. Many sums are of one number, and need no digits.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum ExactSum {
    #[default]
    Nothing,
    One(f64),
    Many(Box<Digits>),
}

impl ExactSum {
    /// Adds `number`, `times` times; below zero takes it back.
    #[inline]
    pub fn add(&mut self, number: f64, times: i64) {
        match self {
            _ if number == 0.0 => {}
            ExactSum::Nothing if times == 1 && number.is_finite() => *self = ExactSum::One(number),
            ExactSum::One(own) if times == -1 && *own == number => *self = ExactSum::Nothing,
            ExactSum::Many(digits) => digits.add(number, times),
            _ => {
                let mut digits = self.digits();
                digits.add(number, times);
                *self = ExactSum::Many(Box::new(digits));
            }
        }
    }

    fn digits(&self) -> Digits {
        let mut digits = Digits::default();
        match self {
            ExactSum::Nothing => {}
            ExactSum::One(number) => digits.add(*number, 1),
            ExactSum::Many(digits) => return digits.as_ref().clone(),
        }
        digits
    }

    /// The sum, rounded once.
    pub fn value(&self) -> f64 {
        match self {
            ExactSum::Nothing => 0.0,
            ExactSum::One(number) => *number,
            ExactSum::Many(digits) => digits.value(),
        }
    }

    /// As bytes, for a checkpoint.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.digits().to_bytes()
    }

    /// From such bytes; `None` if they are none.
    pub fn from_bytes(bytes: &[u8]) -> Option<ExactSum> {
        let digits = Digits::from_bytes(bytes)?;
        Some(if digits == Digits::default() { ExactSum::Nothing } else { ExactSum::Many(Box::new(digits)) })
    }

    /// Bytes beside its own.
    pub fn size(&self) -> usize {
        match self {
            ExactSum::Many(digits) => size_of::<Digits>() + digits.digits.capacity() * size_of::<i64>(),
            _ => 0,
        }
    }
}

/// The integer, in digits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Digits {
    /// The place of the first of `digits`.
    first: i32,
    digits: Vec<i64>,
    additions: u32,
    /// How many of the numbers were no numbers, or were infinite.
    nan: i64,
    infinite: i64,
    negative_infinite: i64,
}

impl Digits {
    fn add(&mut self, number: f64, times: i64) {
        if number.is_nan() {
            self.nan += times;
        } else if number == f64::INFINITY {
            self.infinite += times;
        } else if number == f64::NEG_INFINITY {
            self.negative_infinite += times;
        } else if number != 0.0 {
            let one = if times < 0 { -number } else { number };
            (0..times.unsigned_abs()).for_each(|_| self.add_finite(one));
        }
    }

    fn add_finite(&mut self, number: f64) {
        let bits = number.to_bits();
        let exponent = ((bits >> 52) & 0x7ff) as i32;
        let fraction = (bits & ((1 << 52) - 1)) as i128;
        // Numbers without a leading one have the exponent of the least that have it.
        let (mantissa, exponent) = if exponent == 0 { (fraction, 1) } else { (fraction | 1 << 52, exponent) };
        let place = exponent - 1;
        let (digit, shift) = (place / DIGIT_BITS, place % DIGIT_BITS);
        let mut rest = mantissa << shift;
        self.make_room(digit, digit + 2);
        let sign = if number < 0.0 { -1 } else { 1 };
        for at in digit..digit + 3 {
            self.digits[(at - self.first) as usize] += sign * (rest % i128::from(DIGIT)) as i64;
            rest >>= DIGIT_BITS;
        }
        self.additions += 1;
        if self.additions == ADDITIONS_MAX {
            self.carry();
        }
    }

    fn make_room(&mut self, least: i32, greatest: i32) {
        if self.digits.is_empty() {
            self.first = least;
        }
        if least < self.first {
            let missing = (self.first - least) as usize;
            self.digits.splice(0..0, std::iter::repeat_n(0, missing));
            self.first = least;
        }
        let length = (greatest - self.first + 1) as usize;
        if length > self.digits.len() {
            self.digits.resize(length, 0);
        }
    }

    /// Brings all digits but the last into `0..2^32`, and drops those at the ends that say nothing.
    fn carry(&mut self) {
        self.additions = 0;
        let (mut carried, last) = (0, self.digits.len().saturating_sub(1));
        for (at, digit) in self.digits.iter_mut().enumerate() {
            let sum = *digit + carried;
            if at == last && sum.abs() < DIGIT {
                (*digit, carried) = (sum, 0);
            } else {
                (*digit, carried) = (sum.rem_euclid(DIGIT), sum.div_euclid(DIGIT));
            }
        }
        if carried != 0 {
            self.digits.push(carried);
        }
        // The last digit has the sign: where it says nothing else, the one before takes it over.
        while let [.., before, last @ (0 | -1)] = self.digits.as_mut_slice() {
            *before += *last * DIGIT;
            self.digits.pop();
        }
        if self.digits == [0] {
            self.digits.clear();
        }
        let zeros = self.digits.iter().take_while(|digit| **digit == 0).count();
        self.digits.drain(..zeros);
        self.first += zeros as i32;
        if self.digits.is_empty() {
            self.first = 0;
        }
    }

    fn value(&self) -> f64 {
        match (self.nan > 0, self.infinite > 0, self.negative_infinite > 0) {
            (true, ..) | (_, true, true) => return f64::NAN,
            (_, true, _) => return f64::INFINITY,
            (_, _, true) => return f64::NEG_INFINITY,
            _ => {}
        }
        let mut sum = self.clone();
        sum.carry();
        let negative = sum.digits.last().is_some_and(|digit| *digit < 0);
        if negative {
            sum.digits.iter_mut().for_each(|digit| *digit = -*digit);
            sum.carry();
        }
        let magnitude = sum.magnitude();
        if negative { -magnitude } else { magnitude }
    }

    /// The value of carried digits, none of them below zero.
    fn magnitude(&self) -> f64 {
        // Four digits hold more bits than a result has; what lies below them decides only whether there is anything.
        let from = self.digits.len().saturating_sub(4);
        let mut mantissa = self.digits[from..].iter().rev().fold(0u128, |m, digit| m << DIGIT_BITS | *digit as u128);
        mantissa |= u128::from(self.digits[..from].iter().any(|digit| *digit != 0));
        let exponent = (self.first + from as i32) * DIGIT_BITS + LOWEST_EXPONENT;
        scaled(mantissa, exponent)
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut sum = self.clone();
        sum.carry();
        let numbers = [sum.nan, sum.infinite, sum.negative_infinite, i64::from(sum.first)];
        numbers.into_iter().chain(sum.digits).flat_map(i64::to_le_bytes).collect()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Digits> {
        let numbers = bytes.chunks(8).map(|chunk| Some(i64::from_le_bytes(chunk.try_into().ok()?)));
        let numbers: Vec<i64> = numbers.collect::<Option<_>>()?;
        let [nan, infinite, negative_infinite, first, digits @ ..] = numbers.as_slice() else { return None };
        let (first, digits) = (i32::try_from(*first).ok()?, digits.to_vec());
        let (nan, infinite, negative_infinite) = (*nan, *infinite, *negative_infinite);
        Some(Digits { first, digits, additions: 0, nan, infinite, negative_infinite })
    }
}

/// `mantissa * 2^exponent`, rounded once to the nearest, ties to even.
fn scaled(mantissa: u128, exponent: i32) -> f64 {
    if mantissa == 0 {
        return 0.0;
    }
    let bits = 128 - mantissa.leading_zeros() as i32;
    // The lowest bit that the result has: 53 below its highest, and never below the least number.
    let lowest = (bits + exponent - 53).max(LOWEST_EXPONENT);
    let dropped = lowest - exponent;
    let (kept, lowest) = match dropped {
        ..=0 => (mantissa, exponent),
        1..=127 => {
            let (kept, rest, half) = (mantissa >> dropped, mantissa & ((1 << dropped) - 1), 1 << (dropped - 1));
            (kept + u128::from(rest > half || rest == half && kept & 1 == 1), lowest)
        }
        _ => (0, lowest),
    };
    // Exact in two steps, since 2^lowest alone may be too small for a power.
    (kept as f64) * 2f64.powi(lowest / 2) * 2f64.powi(lowest - lowest / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_taken_back_leaves_nothing() {
        let mut sum = ExactSum::default();
        for number in [1e16, 1.0, -3.5, 1e-300, f64::INFINITY, f64::NAN, f64::MAX, f64::MAX] {
            sum.add(number, 1);
        }
        for number in [1e16, f64::NAN, f64::MAX, f64::INFINITY, 1e-300, f64::MAX] {
            sum.add(number, -1);
        }
        assert_eq!(sum.value(), -2.5);
        sum.add(1.0, -1);
        sum.add(-3.5, -1);
        assert_eq!(sum.value(), 0.0);
        let mut digits = sum.digits();
        digits.carry();
        assert_eq!(digits, Digits::default());
    }

    #[test]
    fn the_ends_of_the_range_are_right() {
        for numbers in [
            vec![f64::MIN_POSITIVE, -5e-324],
            vec![5e-324, 5e-324, 5e-324],
            vec![f64::MAX, -f64::MAX, 2.0],
            vec![f64::MAX, 1e-300],
            vec![-f64::MAX, f64::MIN_POSITIVE],
            vec![9_007_199_254_740_992.0, 1.0, 1e-30],
        ] {
            let mut sum = ExactSum::default();
            numbers.iter().for_each(|number| sum.add(*number, 1));
            let expected = match numbers.as_slice() {
                [f64::MAX, minus, two] if *minus == -f64::MAX => *two,
                // A tie, but for what lies far below.
                [a, ..] if *a == 9_007_199_254_740_992.0 => 9_007_199_254_740_994.0,
                others => others.iter().sum(),
            };
            assert_eq!(sum.value(), expected, "{numbers:?}");
            assert_eq!(ExactSum::from_bytes(&sum.to_bytes()).unwrap().value(), expected);
        }
        let mut sum = ExactSum::default();
        (0..4).for_each(|_| sum.add(f64::MAX, 1));
        assert_eq!(sum.value(), f64::INFINITY);
        assert_eq!(ExactSum::from_bytes(&[1, 2, 3]), None);
    }

    proptest! {
        #[test]
        fn it_is_the_sum_of_integers(numbers in prop::collection::vec(-(1i64 << 53)..1 << 53, 0..200), exponent in -60i32..60) {
            let mut sum = ExactSum::default();
            let scale = 2f64.powi(exponent);
            numbers.iter().for_each(|number| sum.add(*number as f64 * scale, 1));
            let total: i128 = numbers.iter().map(|number| i128::from(*number)).sum();
            prop_assert_eq!(sum.value(), total as f64 * scale);
            let mut left = numbers.clone();
            while let Some(number) = left.pop() {
                sum.add(number as f64 * scale, -1);
                let total: i128 = left.iter().map(|number| i128::from(*number)).sum();
                prop_assert_eq!(sum.value(), total as f64 * scale);
                prop_assert_eq!(ExactSum::from_bytes(&sum.to_bytes()).unwrap().value(), sum.value());
            }
        }
    }
}
