//! Windows over event time, and the slices that they are cut into.

use std::fmt;

/// A family of windows. All lengths in nanoseconds; windows are aligned to 1970-01-01T00:00:00Z plus `offset_ns`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// Windows of one size, one after the other.
    Tumble {
        /// Length of a window, above 0.
        size_ns: i64,
        /// Shift of all windows.
        offset_ns: i64,
    },
    /// Windows of one size that begin every `slide_ns`.
    Hop {
        /// Distance between the beginnings of windows, above 0 and at most `size_ns`.
        slide_ns: i64,
        /// Length of a window.
        size_ns: i64,
        /// Shift of all windows.
        offset_ns: i64,
    },
    /// Windows that begin together every `size_ns` and each last `step_ns` longer than the one before.
    Cumulate {
        /// Length of the first window, above 0, and by how much each of the next is longer.
        step_ns: i64,
        /// Length of the last window, a multiple of `step_ns`.
        size_ns: i64,
        /// Shift of all windows.
        offset_ns: i64,
    },
}

impl Window {
    /// The length of its windows; of those that grow, the last and longest.
    pub fn size_ns(&self) -> i64 {
        match *self {
            Window::Tumble { size_ns, .. } | Window::Hop { size_ns, .. } | Window::Cumulate { size_ns, .. } => size_ns,
        }
    }

    /// The distance between the ends of its windows.
    fn step_ns(&self) -> i64 {
        match *self {
            Window::Tumble { size_ns, .. } => size_ns,
            Window::Hop { slide_ns, .. } => slide_ns,
            Window::Cumulate { step_ns, .. } => step_ns,
        }
    }

    /// The shift of all windows.
    pub fn offset_ns(&self) -> i64 {
        match *self {
            Window::Tumble { offset_ns, .. } | Window::Hop { offset_ns, .. } | Window::Cumulate { offset_ns, .. } => {
                offset_ns
            }
        }
    }

    /// Whether a window is named by its start alone, as it is by its end.
    pub fn start_names_window(&self) -> bool {
        !matches!(self, Window::Cumulate { .. })
    }

    /// The length of its slices: the longest such that every window is made of whole slices.
    pub fn slice_ns(&self) -> i64 {
        gcd(self.size_ns(), self.step_ns())
    }

    /// Whether each window is one slice.
    pub fn is_one_slice(&self) -> bool {
        self.slice_ns() == self.size_ns()
    }

    /// The start of the slice that `time_ns` falls into.
    pub fn slice_of(&self, time_ns: i64) -> i64 {
        self.aligned(time_ns, self.slice_ns())
    }

    /// The start of the window that ends at `end_ns`.
    pub fn start_of(&self, end_ns: i64) -> i64 {
        match *self {
            Window::Tumble { size_ns, .. } | Window::Hop { size_ns, .. } => end_ns.saturating_sub(size_ns),
            Window::Cumulate { size_ns, .. } => self.aligned(end_ns.saturating_sub(1), size_ns),
        }
    }

    /// The end of the last window that holds the slice which begins at `slice_ns`.
    pub fn last_end_of(&self, slice_ns: i64) -> i64 {
        let start = match *self {
            Window::Tumble { .. } | Window::Hop { .. } => self.aligned(slice_ns, self.step_ns()),
            Window::Cumulate { size_ns, .. } => self.aligned(slice_ns, size_ns),
        };
        start.saturating_add(self.size_ns())
    }

    /// The ends of all windows that hold the slice which begins at `slice_ns`, earliest first. No two windows of a
    /// family end together.
    pub fn windows_of(&self, slice_ns: i64) -> impl Iterator<Item = i64> + use<> {
        let (last, step) = (self.last_end_of(slice_ns), self.step_ns());
        // Windows that end at last, last - step, ... as long as the end lies behind the slice's start.
        let earlier = (last.saturating_sub(slice_ns) - 1).max(0).div_euclid(step);
        (0..=earlier).rev().map(move |k| last.saturating_sub(k.saturating_mul(step)))
    }

    /// The last of the times that lie whole `distance`s from the offset and are not after `time_ns`.
    fn aligned(&self, time_ns: i64, distance: i64) -> i64 {
        time_ns.saturating_sub(time_ns.saturating_sub(self.offset_ns()).rem_euclid(distance))
    }
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Window::Tumble { size_ns, .. } => write!(f, "TUMBLE(size {})", Nanos(*size_ns))?,
            Window::Hop { slide_ns, size_ns, .. } => {
                write!(f, "HOP(slide {}, size {})", Nanos(*slide_ns), Nanos(*size_ns))?
            }
            Window::Cumulate { step_ns, size_ns, .. } => {
                write!(f, "CUMULATE(step {}, size {})", Nanos(*step_ns), Nanos(*size_ns))?
            }
        }
        match self.offset_ns() {
            0 => Ok(()),
            offset => write!(f, " + {}", Nanos(offset)),
        }
    }
}

/// A length of time as people write it: `10s`, `250ms`, `1h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nanos(pub i64);

impl fmt::Display for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(i64, &str); 7] = [
            (86_400_000_000_000, "d"),
            (3_600_000_000_000, "h"),
            (60_000_000_000, "m"),
            (1_000_000_000, "s"),
            (1_000_000, "ms"),
            (1_000, "us"),
            (1, "ns"),
        ];
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let (unit, name) = UNITS.iter().find(|(unit, _)| self.0 % unit == 0).unwrap_or(&UNITS[6]);
        write!(f, "{}{name}", self.0 / unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_row_is_in_exactly_the_windows_that_cover_it(
            time in -10_000i64..10_000, slide in 1i64..50, factor in 1i64..6, extra in 0i64..50, offset in 0i64..50,
        ) {
            let size = slide * factor + extra % slide;
            let window = Window::Hop { slide_ns: slide, size_ns: size, offset_ns: offset };
            let slice = window.slice_of(time);
            prop_assert!(slice <= time && time < slice + window.slice_ns());
            let ends: Vec<i64> = window.windows_of(slice).collect();
            prop_assert_eq!(ends.last().copied(), Some(window.last_end_of(slice)));
            let starts: Vec<i64> = ends.iter().map(|end| window.start_of(*end)).collect();
            let expected: Vec<i64> = (time - size - slide..=time)
                .filter(|s| (s - offset).rem_euclid(slide) == 0 && *s <= time && time < s + size)
                .collect();
            prop_assert_eq!(starts, expected);
        }

        #[test]
        fn a_row_is_in_all_that_grow_over_it(time in -10_000i64..10_000, step in 1i64..50, steps in 1i64..8, offset in 0i64..50) {
            let window = Window::Cumulate { step_ns: step, size_ns: step * steps, offset_ns: offset };
            let begin = time - (time - offset).rem_euclid(step * steps);
            let expected: Vec<(i64, i64)> =
                (1..=steps).map(|k| (begin, begin + k * step)).filter(|(_, end)| time < *end).collect();
            let ends = window.windows_of(window.slice_of(time));
            prop_assert_eq!(ends.map(|end| (window.start_of(end), end)).collect::<Vec<_>>(), expected);
        }
    }
}
