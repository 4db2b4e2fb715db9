//! What was decided for one object, and how it is told.

use std::fmt;
use thalweg_operators::deployed::ObjectKind;

/// What becomes of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What it is.
    pub kind: ObjectKind,
    /// Its name.
    pub name: String,
    /// What is done.
    pub action: Action,
    /// Whether rows are lost that cannot be computed again; whoever runs this has to allow it by the object's name.
    pub loses: bool,
}

/// What is done with an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It was not there before.
    New(Vec<Begin>),
    /// It goes on from its state.
    Reuse {
        /// How many rows it has, or has taken in.
        rows: u64,
    },
    /// Its state goes, and it is built anew.
    Rebuild {
        /// What has changed.
        why: Why,
        /// From where it is built.
        from: Vec<Begin>,
        /// How many rows it had.
        rows: u64,
    },
    /// A sink goes on with what comes; what it wrote stays as it is.
    GoOn(Why),
    /// It is no longer declared.
    Drop {
        /// How many rows it had.
        rows: u64,
    },
    /// It cannot be built.
    Refuse {
        /// The source whose past it would need.
        source: String,
    },
    /// It is a second reading of a source, or computed from one.
    Again {
        /// Of which object it is the second.
        of: String,
    },
}

/// Why an object cannot go on from its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its own statement says something else.
    Definition,
    /// Something that it reads does.
    Reads(String),
    /// It is read from its beginning because nobody goes on from where it was.
    NobodyGoesOn,
    /// Where or how a sink writes, or what an alert says of its incidents.
    Settings,
}

/// From where an object is built.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Begin {
    /// A source's beginning, of which so many records had been read.
    Beginning(String, u64),
    /// The rows of a view as they are.
    Rows(String, u64),
    /// What comes from now on of something whose past is gone.
    Now(String),
}

impl fmt::Display for Begin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Begin::Beginning(source, 0) => write!(f, "the beginning of {source}"),
            Begin::Beginning(source, rows) => write!(f, "the beginning of {source} ({} so far)", Rows(*rows)),
            Begin::Rows(view, rows) => write!(f, "the rows of {view} ({})", Rows(*rows)),
            Begin::Now(name) => write!(f, "what comes of {name} from now on (its past cannot be read again)"),
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Definition => f.write_str("its statement changed"),
            Why::Reads(name) => write!(f, "{name} changed"),
            Why::NobodyGoesOn => f.write_str("no unchanged view reads it"),
            Why::Settings => f.write_str("its options changed"),
        }
    }
}

impl Action {
    /// One word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Action::New(_) | Action::Again { .. } => "new",
            Action::Reuse { .. } => "reuse",
            Action::Rebuild { .. } => "rebuild",
            Action::GoOn(_) => "change",
            Action::Drop { .. } => "drop",
            Action::Refuse { .. } => "refuse",
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ObjectKind::Source => "source",
            ObjectKind::View => "view",
            ObjectKind::Sink => "sink",
        };
        write!(f, "{kind:6} {:24} {:8}", self.name, self.action.word())?;
        match (self.kind, &self.action) {
            (_, Action::New(from)) => list(f, "from ", from)?,
            (ObjectKind::Source, Action::Reuse { rows }) => write!(f, "goes on after {}", Rows(*rows))?,
            (ObjectKind::View, Action::Reuse { rows }) => write!(f, "{}", Rows(*rows))?,
            (ObjectKind::Sink, Action::Reuse { .. }) => f.write_str("goes on")?,
            (_, Action::Rebuild { why, from, .. }) => {
                write!(f, "{why}")?;
                list(f, "; from ", from)?;
            }
            (ObjectKind::View, Action::GoOn(_)) => f.write_str("its texts changed; it says them from now on")?,
            (_, Action::GoOn(why)) => write!(f, "{why}; it writes what comes from now on")?,
            (ObjectKind::View, Action::Drop { rows }) => write!(f, "{} go", Rows(*rows))?,
            (_, Action::Drop { .. }) => f.write_str("no longer declared")?,
            (_, Action::Refuse { source }) => write!(f, "it would need what came of {source} before")?,
            (ObjectKind::Source, Action::Again { of }) => write!(f, "a second reading of {of}, from its beginning")?,
            (_, Action::Again { of }) => write!(f, "{of}, computed a second time from there")?,
        }
        if self.loses {
            write!(f, "; this cannot be undone: --allow-state-loss {}", self.name)?;
        }
        Ok(())
    }
}

fn list(f: &mut fmt::Formatter<'_>, before: &str, from: &[Begin]) -> fmt::Result {
    for (i, begin) in from.iter().enumerate() {
        let joint = match i {
            0 => before,
            _ if i + 1 == from.len() => " and ",
            _ => ", ",
        };
        write!(f, "{joint}{begin}")?;
    }
    Ok(())
}

/// `1 row`, `1,204 rows`.
struct Rows(u64);

impl fmt::Display for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (i, digit) in digits.chars().enumerate() {
            if i > 0 && (digits.len() - i).is_multiple_of(3) {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        f.write_str(if self.0 == 1 { " row" } else { " rows" })
    }
}
