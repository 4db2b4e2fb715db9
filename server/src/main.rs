//! Entry point: reads the command line, runs the command, turns its outcome into an exit code.

use clap::Parser;
use clap::error::ErrorKind;
use std::process::ExitCode;
use thalweg_server::cli::{Cli, Command};
use thalweg_server::{commands, failure};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are printed the same way as mistakes, and are none.
            let code = match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
                _ => ExitCode::from(failure::USERS_MISTAKE),
            };
            return if error.print().is_ok() { code } else { ExitCode::from(failure::FAULT) };
        }
    };
    let outcome = match cli.command {
        Command::Run(args) => commands::run::run(&args),
        Command::Check(args) => commands::check::check(&args),
        Command::Plan(args) => commands::plan::plan(&args),
        Command::Explain(args) => commands::explain::explain(&args),
        Command::Sql(args) => commands::sql::sql(&args),
        Command::Test(args) => commands::test::test(&args),
        Command::Import(args) => commands::import::import(&args),
        Command::Demo(args) => commands::demo::demo(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
