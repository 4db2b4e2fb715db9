//! The one error type that crosses crates: who must act, what happened, where, and what to do.

use std::fmt;
use std::sync::Arc;

/// Who must act. A kind more only if somebody would act differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// What the user wrote: SQL, options, the command line.
    User,
    /// What the user sent: a row that cannot be decoded or cast.
    Data,
    /// The outside world, and trying again may help (disk full, connection refused).
    Retry,
    /// The outside world, and trying again will not help (permission denied, no such bucket).
    Outside,
    /// A fault of ours.
    Bug,
}

/// A place in a text that the user wrote. Lines and columns count from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The file, as the user named it; empty for a statement that came over the wire.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: u64,
    /// Column in characters, from 1.
    pub column: u64,
    /// How many characters the faulty text has, at least 1.
    pub width: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.file.is_empty() {
            write!(f, "{}:{}", self.line, self.column)
        } else {
            write!(f, "{}:{}:{}", self.file, self.line, self.column)
        }
    }
}

/// An error as PostgreSQL's users know it: a short message, then what is known in detail, then what to do.
///
/// `Display` prints the message alone; `detail` and `hint` are for the caller to lay out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Who must act.
    pub kind: ErrorKind,
    /// One line, no full stop, names the object and its kind, quotes what the user wrote.
    pub message: String,
    /// What else is known, one sentence.
    pub detail: Option<String>,
    /// What to do, one sentence.
    pub hint: Option<String>,
    /// Where in the user's text.
    pub position: Option<Position>,
}

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error { kind, message: message.into(), detail: None, hint: None, position: None }
    }

    /// What the user wrote must change.
    pub fn user(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::User, message)
    }

    /// A row is at fault.
    pub fn data(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Data, message)
    }

    /// The outside world is at fault and may recover.
    pub fn retry(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Retry, message)
    }

    /// The outside world is at fault and will not recover by itself.
    pub fn outside(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Outside, message)
    }

    /// We are at fault.
    pub fn bug(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Bug, message)
    }

    /// Adds what else is known.
    pub fn with_detail(mut self, detail: impl Into<String>) -> Error {
        self.detail = Some(detail.into());
        self
    }

    /// Adds what to do.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Error {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the place in the user's text, unless one is known already.
    pub fn at(mut self, position: Position) -> Error {
        self.position.get_or_insert(position);
        self
    }

    /// What an I/O error on `what` (a path, an address) means: a full disk or an interrupted call may pass.
    pub fn io(what: impl fmt::Display, error: &std::io::Error) -> Error {
        use std::io::ErrorKind as Io;
        let message = format!("{what}: {error}");
        match error.kind() {
            Io::StorageFull | Io::QuotaExceeded => Error::retry(message)
                .with_hint("Free some space; writing is tried again by itself and nothing is lost."),
            Io::PermissionDenied => {
                Error::outside(message).with_hint("Give the user that runs thalweg permission to it.")
            }
            Io::NotFound | Io::IsADirectory | Io::NotADirectory | Io::InvalidInput => Error::outside(message),
            _ => Error::retry(message),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<arrow::error::ArrowError> for Error {
    fn from(error: arrow::error::ArrowError) -> Error {
        Error::bug(error.to_string())
    }
}
