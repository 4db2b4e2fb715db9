//! From alert events to notifications that arrive: grouping, silences and inhibition, the forms that receivers know, and an
//! outbox that remembers what is to be delivered before it is tried.
#![deny(missing_docs)]

pub mod alert;
pub mod calendar;
pub mod config;
mod desk;
mod email;
mod gate;
pub mod inhibition;
pub mod machine;
pub mod matchers;
pub mod notification;
pub mod notifications;
pub mod notifier;
pub mod outbox;
pub mod payload;
mod pulse;
pub mod shared;
pub mod silence;
pub mod speaker;
pub mod statements;
pub mod time;
