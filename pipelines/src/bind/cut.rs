//! The arguments of window functions by their meaning: how a relation is cut.

use super::{Scope, query};
use crate::parse::Words;
use crate::parse::partition::{END_WHEN, PARTITION_BY, START_WHEN};
use datafusion::sql::sqlparser::ast::{Expr, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectNamePart};
use thalweg_operators::window::Window;
use thalweg_schemas::error::{Error, Result};

/// The window functions, as a hint.
pub(super) const KNOWN: &str = "There are TUMBLE(t, time, size), HOP(t, time, slide, size), CUMULATE(t, time, step, size) and \
                                SESSION(t, time, gap [, PARTITION BY k ..] [START WHEN ..] [END WHEN ..]).";

/// How a relation is cut.
#[derive(Clone, Debug)]
pub(crate) enum Cut<Column> {
    /// Into windows that are the same for all rows.
    Windows(Window),
    /// Into runs of rows that are no further apart than a gap.
    Sessions {
        /// Its length in nanoseconds.
        gap_ns: i64,
        /// The columns whose values each have sessions of their own.
        by: Vec<Column>,
        /// What says whether a row begins a session, where only such rows do.
        start: Option<Column>,
        /// What says whether a row is the last of its session.
        end: Option<Column>,
    },
}

/// Which window function is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Tumble,
    Hop,
    Cumulate,
    Session,
}

impl Kind {
    /// The function of this name, in capitals.
    pub(super) fn of(word: &str) -> Option<Kind> {
        Some(match word {
            "TUMBLE" => Kind::Tumble,
            "HOP" => Kind::Hop,
            "CUMULATE" => Kind::Cumulate,
            "SESSION" => Kind::Session,
            _ => return None,
        })
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Kind::Tumble => "TUMBLE",
            Kind::Hop => "HOP",
            Kind::Cumulate => "CUMULATE",
            Kind::Session => "SESSION",
        }
    }

    /// What Flink calls the arguments, in their order. The last one may be left out.
    pub(super) fn names(self) -> &'static [&'static str] {
        match self {
            Kind::Tumble => &["DATA", "TIMECOL", "SIZE", "OFFSET"],
            Kind::Hop => &["DATA", "TIMECOL", "SLIDE", "SIZE", "OFFSET"],
            Kind::Cumulate => &["DATA", "TIMECOL", "STEP", "SIZE", "OFFSET"],
            Kind::Session => &["DATA", "TIMECOL", "GAP", "OFFSET"],
        }
    }

    /// What is wrong with `given` arguments, where their number is.
    fn wrong_number(self, given: usize) -> Error {
        let (name, numbers, hint) = match self {
            Kind::Tumble => ("TUMBLE", "3 or 4 arguments", "Write TUMBLE(t, time, INTERVAL '10 seconds' [, offset])."),
            Kind::Hop => (
                "HOP",
                "4 or 5 arguments",
                "Write HOP(t, time, INTERVAL '1 second', INTERVAL '1 minute' [, offset]): slide, then size.",
            ),
            Kind::Cumulate => (
                "CUMULATE",
                "4 or 5 arguments",
                "Write CUMULATE(t, time, INTERVAL '1 hour', INTERVAL '1 day' [, offset]): step, then size.",
            ),
            Kind::Session => (
                "SESSION",
                "3 or 4 arguments, PARTITION BY, START WHEN and END WHEN",
                "Write SESSION(t, time, INTERVAL '5 minutes' [, offset] [, PARTITION BY k ..] [START WHEN ..] [END WHEN ..]).",
            ),
        };
        Error::user(format!("{name} takes {numbers}, not {given}")).with_hint(hint)
    }
}

/// The arguments of a call.
pub(super) struct Arguments<'a> {
    kind: Kind,
    /// What is cut.
    pub input: &'a Expr,
    /// The event time.
    pub time: &'a Expr,
    /// The slide of HOP, the step of CUMULATE.
    step: Option<&'a Expr>,
    /// The size, the gap of SESSION.
    size: &'a Expr,
    offset: Option<&'a Expr>,
    /// The columns behind PARTITION BY.
    by: Vec<&'a Expr>,
    /// What is behind START WHEN, and behind END WHEN.
    start: Option<&'a Expr>,
    end: Option<&'a Expr>,
}

impl<'a> Arguments<'a> {
    pub(super) fn of(kind: Kind, given: &[&'a Expr]) -> Result<Arguments<'a>> {
        let by: Vec<_> = given.iter().filter_map(|expr| clause(expr, PARTITION_BY)).flatten().collect();
        let (start, end) = (condition(given, START_WHEN)?, condition(given, END_WHEN)?);
        if !by.is_empty() && kind != Kind::Session {
            return Err(Error::user("PARTITION BY belongs to SESSION")
                .with_hint("Windows of a fixed length are the same for all rows: group by the column as well."));
        }
        let arguments: Vec<&Expr> = given.iter().copied().filter(|expr| !is_clause(expr)).collect();
        let (fixed, offset) = match (kind, arguments.as_slice()) {
            (Kind::Tumble | Kind::Session, [fixed @ .., offset]) if fixed.len() == 3 => (fixed, Some(*offset)),
            (Kind::Hop | Kind::Cumulate, [fixed @ .., offset]) if fixed.len() == 4 => (fixed, Some(*offset)),
            (_, fixed) => (fixed, None),
        };
        match (kind, fixed) {
            (Kind::Tumble | Kind::Session, [input, time, size]) => {
                Ok(Arguments { kind, input, time, step: None, size, offset, by, start, end })
            }
            (Kind::Hop | Kind::Cumulate, [input, time, step, size]) => {
                Ok(Arguments { kind, input, time, step: Some(step), size, offset, by, start, end })
            }
            _ => Err(kind.wrong_number(arguments.len())),
        }
    }

    pub(super) fn cut(&self, words: &Words) -> Result<Cut<Expr>> {
        let scope = &Scope::default();
        let length = |expr: &Expr| {
            let ns = query::interval_ns(expr, scope, words)?;
            if ns > 0 { Ok(ns) } else { Err(Error::user(format!("window length {expr} is not above zero"))) }
        };
        let size_ns = length(self.size)?;
        let offset_ns = self.offset.map_or(Ok(0), |expr| query::interval_ns(expr, scope, words))?;
        let step_ns = self.step.map_or(Ok(size_ns), length)?;
        Ok(Cut::Windows(match self.kind {
            // A session begins with its first row: there is nothing that an offset could move.
            Kind::Session => {
                let by = self.by.iter().map(|expr| (*expr).clone()).collect();
                let (start, end) = (self.start.cloned(), self.end.cloned());
                return Ok(Cut::Sessions { gap_ns: size_ns, by, start, end });
            }
            Kind::Tumble => Window::Tumble { size_ns, offset_ns },
            Kind::Hop if step_ns > size_ns => {
                return Err(Error::user("the slide of HOP is longer than its windows")
                    .with_detail("Rows in between would be in no window.")
                    .with_hint("The order is HOP(t, time, slide, size)."));
            }
            Kind::Hop => Window::Hop { slide_ns: step_ns, size_ns, offset_ns },
            Kind::Cumulate if size_ns % step_ns != 0 => {
                return Err(Error::user("the size of CUMULATE is not a multiple of its step")
                    .with_detail("Each window is one step longer than the one before, and the last has the size.")
                    .with_hint("The order is CUMULATE(t, time, step, size)."));
            }
            Kind::Cumulate => Window::Cumulate { step_ns, size_ns, offset_ns },
        }))
    }
}

/// Whether an argument stands for a clause of sessions.
pub(super) fn is_clause(expr: &Expr) -> bool {
    [PARTITION_BY, START_WHEN, END_WHEN].iter().any(|name| clause(expr, name).is_some())
}

/// The condition that stands behind `name`, if one does.
fn condition<'a>(given: &[&'a Expr], name: &str) -> Result<Option<&'a Expr>> {
    let mut all = given.iter().filter_map(|expr| clause(expr, name)).flatten();
    match (all.next(), all.next()) {
        (one, None) => Ok(one),
        _ => Err(Error::user(format!("{name} stands twice")).with_hint("Join the conditions with OR.")),
    }
}

/// What an argument has in it that stands for the clause `name`.
fn clause<'a>(expr: &'a Expr, clause: &str) -> Option<Vec<&'a Expr>> {
    let Expr::Function(function) = expr else { return None };
    let [ObjectNamePart::Identifier(name)] = function.name.0.as_slice() else { return None };
    let FunctionArguments::List(list) = &function.args else { return None };
    let column = |argument| match argument {
        &FunctionArg::Unnamed(FunctionArgExpr::Expr(ref expr)) => Some(expr),
        _ => None,
    };
    (name.value == clause && name.quote_style.is_some()).then(|| list.args.iter().filter_map(column).collect())
}
