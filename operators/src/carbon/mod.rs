//! Carbon accounting: the arithmetic from meter readings to grams, as pure functions, and the SQL functions that offer it.
//!
//! One rule runs through all of it: what is missing is never zero, and a zero is never missing. A function that lacks an
//! input answers `None` (NULL in SQL); an intensity of 0 g/kWh is a value like any other. Energy is in joules where it is
//! metered and in kWh where it is accounted for, carbon in grams of CO2 equivalent, intensity in g/kWh; names say so.
//! Nothing here keeps state: what needs the reading before is handed it (`lag`), what needs an intensity is joined to it.

pub mod attribution;
mod best_region;
mod best_window;
pub mod budget;
pub mod counter;
pub mod embodied;
pub mod estimate;
mod functions;
pub mod intensity;
pub mod llm;
pub mod matching;
mod outermost;
pub mod overlap;
pub mod power;
pub mod schedule;
pub mod sci;
pub mod slots;
pub mod uncertainty;
pub mod units;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod invariants;

pub use functions::functions;
