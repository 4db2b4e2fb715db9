//! The command line: what can be written, and the manual page of each command.
//!
//! Everything here is text as the user gave it; [`crate::config`] turns it into checked values.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// SQL views over streams, kept up to date: files and telemetry in; live views and Parquet out.
#[derive(Parser, Debug)]
#[command(
    name = "thalweg",
    version,
    max_term_width = 100,
    after_help = "Examples:\n  thalweg demo\n  thalweg run pipelines/orders.sql\n  thalweg sql 'SELECT * FROM orders_per_minute'\n\nExit codes: 0 done, 1 a mistake in what was given, 2 a fault.",
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run pipelines until they end or are stopped
    ///
    /// Starts the sources, keeps the views up to date, feeds the sinks, and answers SQL over the PostgreSQL protocol
    /// and HTTP. A pipeline whose sources all end by themselves ('mode' = 'bounded', the default for files) closes its
    /// windows, commits its sinks and exits with 0. Ctrl-C and SIGTERM stop the sources, finish what was taken in, and
    /// exit with 0.
    #[command(
        after_help = "Examples:\n  thalweg run pipeline.sql\n  thalweg run pipelines/ --workers 4 --data /var/lib/thalweg\n  thalweg run backfill.sql --pg off --http off\n\nEvery option is also an environment variable THALWEG_<NAME> and a key in thalweg.toml;\nthe command line wins over the environment, the environment over the file."
    )]
    Run(RunArgs),

    /// Check pipelines and report every error at once
    ///
    /// Parses, binds and plans without running anything. Each error names file, line and column, shows the line, and
    /// says what to do. Exits with 1 if there is any.
    #[command(after_help = "Example:\n  thalweg check pipelines/")]
    Check(CheckArgs),

    /// Show what run would do to the state that is there
    ///
    /// Compares the pipelines with what the state in the data folder was computed from, and prints for each source, view
    /// and sink whether it is new, goes on from its state, or is rebuilt, why and from where. Changes nothing.
    #[command(after_help = "Examples:\n  thalweg plan pipeline.sql\n  thalweg plan pipelines/ --data /var/lib/thalweg")]
    Plan(PlanArgs),

    /// Show the dataflow of each view
    ///
    /// Prints the operators of a view with their keys, whether each stream is append-only or a changelog, and what
    /// bounds its state.
    #[command(after_help = "Examples:\n  thalweg explain pipeline.sql\n  thalweg explain pipeline.sql service_latency")]
    Explain(ExplainArgs),

    /// Query a running engine
    ///
    /// With a query: prints its result. Without one: a prompt (or, when the input is no terminal, the query is read
    /// from it).
    #[command(
        after_help = "Examples:\n  thalweg sql\n  thalweg sql 'SELECT * FROM service_latency LIMIT 5'\n  thalweg sql --format csv 'SELECT * FROM service_latency' > latency.csv\n  echo 'SHOW VIEWS' | thalweg sql --http 127.0.0.1:8433\n  thalweg sql --format markdown < pipelines/library/carbon/report.txt > report.md"
    )]
    Sql(SqlArgs),

    /// Run the .test.sql files beside the pipelines, in virtual time
    ///
    /// Each test feeds rows to the sources by hand, moves the clock, and compares what views answer. Exits with 1 if
    /// any differs. With --backtest an alert is run over the Parquet history of what it reads, beside what it said then.
    #[command(
        after_help = "Examples:\n  thalweg test pipelines/\n  thalweg test pipelines/ --backtest slow_service --from 2026-01-01 --to 2026-01-08"
    )]
    Test(TestArgs),

    /// Turn rules from elsewhere into statements
    ///
    /// Translates Prometheus' alerting and recording rules, those whose PromQL can be said in SQL, and prints them as a
    /// pipeline. The others are listed on stderr, each with its place and the reason.
    #[command(
        after_help = "Examples:\n  thalweg import prometheus rules.yml --out rules.sql\n  thalweg import prometheus rules/*.yml --from samples --columns time=at,labels=tags --labels job,instance,cluster\n\nWhat is translated, and into what: docs/prometheus.md."
    )]
    Import(ImportArgs),

    /// Watch this machine: its own telemetry, live, nothing to set up
    ///
    /// Reads CPU, memory and processes of this machine, shows windows over them as they change, keeps their history in
    /// Parquet under the data folder, and answers SQL over both.
    #[command(after_help = "Examples:\n  thalweg demo\n  thalweg demo --for 30s")]
    Demo(DemoArgs),
}

/// Options that every engine-running command takes.
#[derive(Args, Clone, Debug, Default)]
pub struct EngineOptions {
    /// Folder for state and history, or 'off' to keep none [default: ./thalweg-data]
    #[arg(long, env = "THALWEG_DATA", value_name = "DIR")]
    pub data: Option<String>,

    /// Worker threads [default: one for each core]
    #[arg(long, env = "THALWEG_WORKERS", value_name = "N")]
    pub workers: Option<String>,

    /// Address for the PostgreSQL protocol, or 'off'; port 0 takes any free one [default: 127.0.0.1:5433]
    #[arg(long, env = "THALWEG_PG", value_name = "ADDR")]
    pub pg: Option<String>,

    /// Address for HTTP, or 'off'; port 0 takes any free one [default: 127.0.0.1:8433]
    #[arg(long, env = "THALWEG_HTTP", value_name = "ADDR")]
    pub http: Option<String>,

    /// Length of an epoch: how often results become visible [default: 50ms]
    #[arg(long, env = "THALWEG_EPOCH", value_name = "TIME")]
    pub epoch: Option<String>,

    /// How long after one checkpoint of the state the next is begun [default: 10s]
    #[arg(long, env = "THALWEG_CHECKPOINT_INTERVAL", value_name = "TIME")]
    pub checkpoint_interval: Option<String>,

    /// Where checkpoints go instead: s3://bucket/prefix, reached as the AWS_* variables say [default: into DATA]
    #[arg(long, env = "THALWEG_CHECKPOINTS", value_name = "URL")]
    pub checkpoints: Option<String>,

    /// How long the changes of views are kept for AS OF and for subscriptions that go on [default: 1m]
    #[arg(long, env = "THALWEG_RETENTION", value_name = "TIME")]
    pub retention: Option<String>,
    /// How many bytes of dead letters are kept; beyond that the oldest go [default: 1GB]
    #[arg(long, env = "THALWEG_DEAD_LETTERS_MAX", value_name = "SIZE")]
    pub dead_letters_max: Option<String>,

    /// How much memory the process may take; beyond it the sources are held back [default: three quarters of the
    /// machine's, or of its control group's]
    #[arg(long, env = "THALWEG_MEMORY", value_name = "SIZE")]
    pub memory: Option<String>,

    /// How logs on stderr look: text or json [default: text]
    #[arg(long, env = "THALWEG_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<String>,

    /// File with defaults for these options [default: thalweg.toml, if there is one]
    #[arg(long, env = "THALWEG_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// `thalweg run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// A .sql file, or a folder of them
    #[arg(required = true, value_name = "PIPELINE")]
    pub pipelines: Vec<PathBuf>,

    /// Allow that a changed pipeline loses the rows of this view; may be given again
    #[arg(long, value_name = "NAME")]
    pub allow_state_loss: Vec<String>,

    /// How the engine runs.
    #[command(flatten)]
    pub options: EngineOptions,
}

/// `thalweg plan`.
#[derive(Args, Debug)]
pub struct PlanArgs {
    /// A .sql file, or a folder of them
    #[arg(required = true, value_name = "PIPELINE")]
    pub pipelines: Vec<PathBuf>,

    /// Folder for state and history [default: ./thalweg-data]
    #[arg(long, env = "THALWEG_DATA", value_name = "DIR")]
    pub data: Option<String>,

    /// Where checkpoints are instead: s3://bucket/prefix, reached as the AWS_* variables say [default: in DATA]
    #[arg(long, env = "THALWEG_CHECKPOINTS", value_name = "URL")]
    pub checkpoints: Option<String>,

    /// File with defaults for these options [default: thalweg.toml, if there is one]
    #[arg(long, env = "THALWEG_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// `thalweg check`.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// A .sql file, or a folder of them
    #[arg(required = true, value_name = "PIPELINE")]
    pub pipelines: Vec<PathBuf>,
}

/// `thalweg explain`.
#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// A .sql file, or a folder of them
    #[arg(value_name = "PIPELINE")]
    pub pipeline: PathBuf,

    /// One view; all of them otherwise
    #[arg(value_name = "VIEW")]
    pub view: Option<String>,
}

/// `thalweg sql`.
#[derive(Args, Debug)]
pub struct SqlArgs {
    /// The query; a prompt without it
    #[arg(value_name = "QUERY")]
    pub query: Option<String>,

    /// How results are printed
    #[arg(long, value_enum, default_value_t = OutputFormat::Table)]
    pub format: OutputFormat,

    /// The engine's HTTP address [default: 127.0.0.1:8433]
    #[arg(long, env = "THALWEG_HTTP", value_name = "ADDR")]
    pub http: Option<String>,
}

/// How `thalweg sql` prints rows.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputFormat {
    /// Columns for people
    Table,
    /// One JSON object a row, one row a line
    Json,
    /// Comma-separated, with a header
    Csv,
    /// An Arrow IPC stream
    Arrow,
    /// A document: the comments before a query as they are, and its rows as a table of Markdown
    Markdown,
}

/// `thalweg test`.
#[derive(Args, Debug)]
pub struct TestArgs {
    /// A .sql file, or a folder of them
    #[arg(required = true, value_name = "PIPELINE")]
    pub pipelines: Vec<PathBuf>,

    /// Worker threads [default: 2]
    #[arg(long, env = "THALWEG_WORKERS", value_name = "N")]
    pub workers: Option<String>,

    /// Run this alert over the history of what it reads instead, and show when it would have fired
    #[arg(long, value_name = "ALERT")]
    pub backtest: Option<String>,

    /// Show what fired from this time on
    #[arg(long, value_name = "TIME", requires = "backtest")]
    pub from: Option<String>,

    /// Read and show nothing from this time on
    #[arg(long, value_name = "TIME", requires = "backtest")]
    pub to: Option<String>,
}

/// `thalweg import`.
#[derive(Args, Debug)]
pub struct ImportArgs {
    /// Whose rules they are
    #[command(subcommand)]
    pub from: ImportFrom,
}

/// Whose rules can be translated.
#[derive(Subcommand, Debug)]
pub enum ImportFrom {
    /// Prometheus' rule files
    #[command(
        after_help = "Examples:\n  thalweg import prometheus rules.yml\n  thalweg import prometheus rules.yml --source \"connector = 'kafka', brokers = 'localhost:9092', topic = 'metrics'\""
    )]
    Prometheus(PrometheusArgs),
}

/// `thalweg import prometheus`.
#[derive(Args, Debug)]
pub struct PrometheusArgs {
    /// Files of rules
    #[arg(required = true, value_name = "RULES")]
    pub rules: Vec<PathBuf>,

    /// Write the statements to this file [default: stdout]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,

    /// A relation of samples that is there; without it a source "metrics" is declared
    #[arg(long, value_name = "RELATION")]
    pub from: Option<String>,

    /// The columns of that relation, where they are called otherwise; 'labels=' where no column holds all labels
    #[arg(
        long,
        value_name = "WHAT=COLUMN",
        value_delimiter = ',',
        default_value = "time=ts,name=name,labels=labels,value=value"
    )]
    pub columns: Vec<String>,

    /// The options of the declared source
    #[arg(
        long,
        value_name = "OPTIONS",
        default_value = "connector = 'http', listen = '127.0.0.1:9201', path = '/metrics'",
        conflicts_with = "from"
    )]
    pub source: String,

    /// Labels that tell series apart, besides those that a rule names
    #[arg(long, value_name = "LABEL", value_delimiter = ',', default_value = "job,instance")]
    pub labels: Vec<String>,

    /// How often groups are evaluated that do not say it
    #[arg(long, value_name = "TIME", default_value = "1m")]
    pub interval: String,

    /// For how long a sample stands for its series
    #[arg(long, value_name = "TIME", default_value = "5m")]
    pub lookback: String,

    /// The notifier that all alerts go to
    #[arg(long, value_name = "NOTIFIER")]
    pub notify: Option<String>,
}

/// `thalweg demo`.
#[derive(Args, Debug)]
pub struct DemoArgs {
    /// Stop by itself after this long, such as 30s
    #[arg(long = "for", value_name = "TIME")]
    pub duration: Option<String>,

    /// How the engine runs.
    #[command(flatten)]
    pub options: EngineOptions,
}

#[cfg(test)]
mod tests {
    use super::Cli;
    use clap::CommandFactory;

    #[test]
    fn every_command_has_an_example() {
        let mut command = Cli::command();
        command.clone().debug_assert();
        for sub in command.get_subcommands_mut() {
            let help = sub.render_long_help().to_string();
            assert!(help.contains("Example"), "no example in the help of {}", sub.get_name());
        }
    }
}
