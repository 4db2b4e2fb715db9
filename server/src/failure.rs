//! How a command ends badly: what is printed, and the exit code.

use std::process::ExitCode;
use thalweg_schemas::error::{Error, ErrorKind};

/// The exit code for what the user can mend.
pub const USERS_MISTAKE: u8 = 1;
/// The exit code for everything else.
pub const FAULT: u8 = 2;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub enum Failure {
    /// One error, to be printed.
    Error(Box<Error>),
    /// The user's mistakes, laid out already.
    Mistakes(String),
    /// Everything has been said already.
    Told(u8),
}

/// The outcome of a command.
pub type Outcome<T = ()> = Result<T, Failure>;

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Error(Box::new(error))
    }
}

impl Failure {
    /// Prints it to stderr.
    pub fn report(self) -> ExitCode {
        match self {
            Failure::Error(error) => {
                eprintln!("{}", one_error(&error));
                ExitCode::from(exit_code(error.kind))
            }
            Failure::Mistakes(text) => {
                eprint!("{text}");
                ExitCode::from(USERS_MISTAKE)
            }
            Failure::Told(code) => ExitCode::from(code),
        }
    }
}

fn exit_code(kind: ErrorKind) -> u8 {
    match kind {
        ErrorKind::User | ErrorKind::Data => USERS_MISTAKE,
        ErrorKind::Retry | ErrorKind::Outside | ErrorKind::Bug => FAULT,
    }
}

/// An error in a few lines: message, detail, hint.
pub fn one_error(error: &Error) -> String {
    let mut text = match &error.position {
        Some(position) => format!("error: {position}: {error}"),
        None => format!("error: {error}"),
    };
    if let Some(detail) = &error.detail {
        text.push_str(&format!("\n  detail: {detail}"));
    }
    if let Some(hint) = &error.hint {
        text.push_str(&format!("\n  hint: {hint}"));
    }
    text
}
