//! What the demo shows: a table that is drawn anew on a terminal, and a line now and then anywhere else.

use crate::progress::grouped;
use crate::session::Session;
use arrow::array::AsArray;
use arrow::datatypes::Float64Type;
use arrow::record_batch::RecordBatch;
use crossterm::style::Print;
use crossterm::{cursor, execute, queue, terminal};
use futures::TryStreamExt;
use std::io::{IsTerminal, Write};
use std::time::Duration;
use thalweg_engine::status::Status;

const CORES: &str = "SELECT c.core, c.avg_percent, c.max_percent, m.avg_percent
    FROM core_load c LEFT JOIN core_load_minute m
      ON m.core = c.core AND m.window_start = (SELECT min(window_start) FROM core_load_minute WHERE window_end >
        (SELECT max(window_start) FROM core_load))
    WHERE c.window_start = (SELECT max(window_start) FROM core_load) ORDER BY lpad(c.core, 4, ' ')";
const PROCESSES: &str = "SELECT process || ' (' || pid || ')', avg_percent, max_percent
    FROM process_load WHERE window_start = (SELECT max(window_start) FROM process_load)
    ORDER BY avg_percent DESC LIMIT 8";
const POWER: &str = "SELECT meter, watts, grams_per_hour, g_per_kwh FROM carbon ORDER BY window_start DESC LIMIT 1";
/// The next 24 hours by the sample forecast, from the hour that it is.
const BEST_HOUR: &str = "SELECT to_char(best['start'], '%H:%M'), best['g_per_kwh'], best['saving_percent'] FROM (
    SELECT best_window(slot, slot + INTERVAL '1 hour', g_per_kwh, INTERVAL '1 hour') AS best FROM (
      SELECT g_per_kwh, to_timestamp_seconds(3600 * (this_hour + (hour - this_hour % 24 + 24) % 24)) AS slot
      FROM sample_forecast, (SELECT CAST(date_part('epoch', now()) AS BIGINT) / 3600 AS this_hour)))";
const MEMORY: &str = "SELECT used_mb, total_mb FROM memory ORDER BY window_start DESC LIMIT 1";
/// What is usual for the processors, and whether it is known by now.
const USUAL: &str = "SELECT CASE WHEN learning THEN 'learning' ELSE 'known' END, lower, upper, score FROM cpu_judged
    ORDER BY ts DESC LIMIT 1";
/// What was not usual, oldest first, each with its number.
const UNUSUAL: &str = "SELECT to_char(ts, '%H:%M:%S') || ' UTC: ' || reason || ', cpu ' || round(percent) || '% where ' || round(lower) ||
      '% to ' || round(upper) || '% is usual', CAST(row_number() OVER (ORDER BY ts) AS DOUBLE) AS number
    FROM cpu_judged WHERE is_anomaly ORDER BY number";
/// Memory in ten minutes.
const AHEAD: &str =
    "SELECT 'memory', forecast, lower, upper FROM memory_ahead WHERE forecast IS NOT NULL ORDER BY ts DESC LIMIT 1";
/// What the alert said last, each with the number of what it said.
const SAID: &str = "SELECT to_char(event_time, '%H:%M:%S') || ' UTC ' || kind || ': ' ||
      regexp_replace(annotations, '^\\{\"summary\":\"(.*)\"\\}$', '\\1'),
      CAST(row_number() OVER (ORDER BY event_time, incident_id, seq) AS DOUBLE) AS number
    FROM thalweg.alert_events WHERE kind IN ('firing', 'resolved') ORDER BY number";

/// Between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(2);
/// More cores than these stand side by side.
const CORES_IN_A_COLUMN: usize = 8;
/// How wide a core is beside others.
const CORE_WIDTH: usize = 26;

/// What stands around the numbers.
pub struct Introduction {
    /// What this is.
    pub title: String,
    /// Where it can be asked.
    pub addresses: String,
    /// What to ask, in lines.
    pub query: &'static str,
}

/// The screen of the demo.
pub struct Screen {
    introduction: Introduction,
    is_terminal: bool,
    last_line: Option<Duration>,
    /// How much of what the alert said stands in lines.
    told: usize,
    /// How much of what was not usual does.
    unusual: usize,
}

impl Screen {
    /// Takes the terminal over, if there is one; otherwise the introduction is printed once.
    pub fn new(introduction: Introduction) -> Screen {
        let is_terminal = std::io::stdout().is_terminal();
        let screen = Screen { introduction, is_terminal, last_line: None, told: 0, unusual: 0 };
        if is_terminal {
            // A terminal that cannot do this shows the frames one below the other.
            let _shown = execute!(std::io::stdout(), terminal::EnterAlternateScreen, cursor::Hide);
        } else {
            println!("{}", screen.introduction.text());
        }
        screen
    }

    /// Draws the state of things.
    pub async fn draw(&mut self, session: &Session, status: &Status, elapsed: Duration) {
        if self.is_terminal {
            let (width, height) = terminal::size().map_or((80, 24), |(w, h)| (usize::from(w), usize::from(h)));
            let readings = Readings::take(session, status, elapsed).await;
            let lines = frame(&self.introduction, &readings, width, height);
            let mut out = std::io::stdout().lock();
            // Each line is overwritten where it stands and its rest cleared: nothing flickers.
            let mut shown = queue!(out, cursor::MoveTo(0, 0));
            for (at, line) in lines.iter().enumerate() {
                shown = shown
                    .and_then(|()| queue!(out, cursor::MoveTo(0, at as u16), Print(line)))
                    .and_then(|()| queue!(out, terminal::Clear(terminal::ClearType::UntilNewLine)));
            }
            let shown = shown.and_then(|()| queue!(out, terminal::Clear(terminal::ClearType::FromCursorDown)));
            let _shown = shown.and_then(|()| out.flush());
        } else if self.last_line.is_none_or(|last| elapsed >= last + LINE_EVERY) {
            let readings = Readings::take(session, status, elapsed).await;
            for said in readings.said.iter().skip(self.told) {
                println!("{:4} s  alert {}", elapsed.as_secs(), said.name);
            }
            self.told = self.told.max(readings.said.len());
            for unusual in readings.unusual.iter().skip(self.unusual) {
                println!("{:4} s  anomaly {}", elapsed.as_secs(), unusual.name);
            }
            self.unusual = self.unusual.max(readings.unusual.len());
            if let Some(line) = readings.line() {
                println!("{:4} s  {line}", elapsed.as_secs());
                self.last_line = Some(elapsed);
            }
        }
    }

    /// Gives the terminal back.
    pub fn leave(&self) {
        if self.is_terminal {
            let _shown = execute!(std::io::stdout(), terminal::LeaveAlternateScreen, cursor::Show);
        }
    }
}

impl Introduction {
    fn text(&self) -> String {
        format!("{}\n{}\n{INVITATION}\n{}\n", self.title, self.addresses, self.query)
    }
}

/// Above the query.
const INVITATION: &str = "Now beside the Parquet history, to paste into psql or the console:";

/// What there is to show.
#[derive(Default)]
struct Readings {
    cores: Vec<Row>,
    /// Used and total megabytes.
    memory: Option<(f64, f64)>,
    processes: Vec<Row>,
    /// The meter; watts, grams an hour, grams a kilowatt-hour.
    power: Option<Row>,
    /// When the grid is cleanest in the next day, its intensity then, and what waiting saves.
    best_hour: Option<Row>,
    /// Whether it is known what is usual for the processors; from which share to which, and the latest score.
    usual: Option<Row>,
    /// What was not usual, oldest first.
    unusual: Vec<Row>,
    /// Megabytes in ten minutes, and the interval that they are likely to lie in.
    ahead: Option<Row>,
    /// What the alert said, oldest first.
    said: Vec<Row>,
    summary: String,
}

impl Readings {
    async fn take(session: &Session, status: &Status, elapsed: Duration) -> Readings {
        let taken: u64 = status.sources.iter().map(|source| source.rows_in).sum();
        let kept: u64 = status.sinks.iter().map(|sink| sink.rows).sum();
        let (taken, kept) = (grouped(taken), grouped(kept));
        Readings {
            cores: rows(session, CORES).await,
            memory: memory(session).await,
            processes: rows(session, PROCESSES).await,
            power: rows(session, POWER).await.into_iter().next(),
            best_hour: rows(session, BEST_HOUR).await.into_iter().next(),
            usual: rows(session, USUAL).await.into_iter().next(),
            unusual: rows(session, UNUSUAL).await,
            ahead: rows(session, AHEAD).await.into_iter().next(),
            said: rows(session, SAID).await,
            summary: format!("{taken} readings in {} s, {kept} rows of history", elapsed.as_secs()),
        }
    }

    fn mean_load(&self) -> Option<f64> {
        let loads: Vec<f64> = self.cores.iter().filter_map(|row| row.number(0)).collect();
        (!loads.is_empty()).then(|| loads.iter().sum::<f64>() / loads.len() as f64)
    }

    /// Watts by their meter, and grams an hour.
    fn power_line(&self) -> Option<String> {
        let power = self.power.as_ref()?;
        let (watts, grams, g_per_kwh) = (power.number(0)?, power.number(1)?, power.number(2)?);
        Some(format!("{watts:.1} W ({}), {grams:.2} g CO2e/h at {g_per_kwh:.0} g/kWh", power.name))
    }

    /// When to do what can wait.
    fn best_hour_line(&self) -> Option<String> {
        let best = self.best_hour.as_ref()?;
        let (g_per_kwh, saving) = (best.number(0)?, best.number(1)?);
        Some(format!("cleanest hour: {} UTC, {g_per_kwh:.0} g/kWh, {saving:.0}% below now", best.name))
    }

    /// What is usual for the processors.
    fn usual_line(&self) -> Option<String> {
        let usual = self.usual.as_ref()?;
        if usual.name == "learning" {
            return Some("learning what is usual".to_string());
        }
        Some(format!("{:.0}% to {:.0}% is usual, score {:.2}", usual.number(0)?, usual.number(1)?, usual.number(2)?))
    }

    /// Memory in ten minutes.
    fn ahead_line(&self) -> Option<String> {
        let ahead = self.ahead.as_ref()?;
        let (forecast, lower, upper) = (ahead.number(0)?, ahead.number(1)?, ahead.number(2)?);
        Some(format!("{forecast:.0} MB in 10 minutes ({lower:.0} to {upper:.0})"))
    }

    /// Everything in a line.
    fn line(&self) -> Option<String> {
        let mut line = format!("cpu {:5.1}% on {} cores", self.mean_load()?, self.cores.len());
        line.extend(self.usual_line().map(|usual| format!(" ({usual})")));
        if let Some((used, total)) = self.memory {
            line.push_str(&format!(", memory {used:.0} of {total:.0} MB"));
        }
        line.extend(self.ahead_line().map(|ahead| format!(", {ahead}")));
        if let Some(power) = self.power_line() {
            line.push_str(&format!(", {power}"));
        }
        line.extend(self.best_hour_line().map(|best| format!(", {best}")));
        if let Some(busiest) = self.processes.first() {
            line.push_str(&format!(", busiest {} {}", busiest.name, percent(busiest.number(0))));
        }
        Some(line)
    }
}

/// The lines of the screen: as many as it has at most, none wider than it is.
fn frame(introduction: &Introduction, readings: &Readings, width: usize, height: usize) -> Vec<String> {
    let mut lines = vec![introduction.title.clone(), introduction.addresses.clone(), String::new()];
    cores(readings, width, &mut lines);
    if let Some((used, total)) = readings.memory {
        let share = used / total * 100.0;
        let length = bar_length(width);
        lines.push(format!(
            "{:<8} {} {:>6} {used:>7.0} of {total:.0} MB",
            "memory",
            bar(Some(share), length),
            percent(Some(share))
        ));
    }
    lines.extend(readings.power_line().map(|line| format!("{:<8} {line}", "power")));
    lines.extend(readings.best_hour_line().map(|line| format!("{:<8} {line} (sample forecast)", "carbon")));
    lines.extend(readings.said.last().map(|said| format!("{:<8} {}", "alert", said.name)));
    let mut end = vec![String::new(), readings.summary.clone(), INVITATION.to_string()];
    end.extend(introduction.query.lines().map(str::to_string));
    // What there is room for besides: what is usual, or the last that was not; then memory ahead.
    let usual = readings.usual_line().map(|usual| match readings.unusual.last() {
        Some(unusual) => format!("{:<8} {}", "anomaly", unusual.name),
        None => format!("{:<8} cpu {usual}", "usual"),
    });
    let ahead = readings.ahead_line().map(|ahead| format!("{:<8} {ahead}", "memory"));
    for line in usual.into_iter().chain(ahead) {
        if lines.len() + end.len() < height {
            lines.push(line);
        }
    }
    // Processes take what room is left; without any for them there is no query either.
    let room = height.saturating_sub(lines.len() + end.len() + 2);
    if room > 0 && !readings.processes.is_empty() {
        let name_width = width.saturating_sub(30).clamp(20, 60);
        lines.push(String::new());
        lines.push(format!("{:<name_width$} {:>8} {:>8}", "process", "now", "max"));
        for row in readings.processes.iter().take(room) {
            let name: String = row.name.chars().take(name_width).collect();
            let (now, max) = (percent(row.number(0)), percent(row.number(1)));
            lines.push(format!("{name:<name_width$} {now:>8} {max:>8}"));
        }
    }
    lines.append(&mut end);
    lines.truncate(height);
    lines.into_iter().map(|line| line.chars().take(width).collect()).collect()
}

fn cores(readings: &Readings, width: usize, lines: &mut Vec<String>) {
    if readings.cores.is_empty() {
        lines.push("The first readings come within a second or two.".to_string());
    } else if readings.cores.len() <= CORES_IN_A_COLUMN {
        let length = bar_length(width);
        let space = " ".repeat(length);
        lines.push(format!("{:<8} {space} {:>6} {:>8} {:>8}", "core", "now", "max", "minute"));
        for row in &readings.cores {
            lines.push(format!(
                "{:<8} {} {:>6} {:>8} {:>8}",
                row.name,
                bar(row.number(0), length),
                percent(row.number(0)),
                percent(row.number(1)),
                percent(row.number(2))
            ));
        }
    } else {
        let across = (width / CORE_WIDTH).max(1);
        lines.push(format!("{} cores, {} busy", readings.cores.len(), percent(readings.mean_load())));
        // Read downwards, as a list would be.
        let down = readings.cores.len().div_ceil(across);
        for at in 0..down {
            let cells = readings.cores.iter().skip(at).step_by(down).map(|row| {
                let cell = format!("{:>4} {} {:>6}", row.name, bar(row.number(0), 10), percent(row.number(0)));
                format!("{cell:<CORE_WIDTH$}")
            });
            lines.push(cells.collect::<String>().trim_end().to_string());
        }
    }
}

/// Bars grow with the terminal.
fn bar_length(width: usize) -> usize {
    width.saturating_sub(40).clamp(10, 60)
}

/// A name and its numbers.
struct Row {
    name: String,
    numbers: Vec<Option<f64>>,
}

impl Row {
    fn number(&self, at: usize) -> Option<f64> {
        self.numbers.get(at).copied().flatten()
    }
}

/// The rows of a query: a text, then numbers. What cannot be read now is tried again with the next frame.
async fn rows(session: &Session, query: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for batch in ask(session, query).await {
        let numbers: Vec<_> = batch.columns()[1..].iter().filter_map(|c| c.as_primitive_opt::<Float64Type>()).collect();
        let Ok(names) = arrow::compute::cast(batch.column(0), &arrow::datatypes::DataType::Utf8) else { continue };
        for (at, name) in names.as_string::<i32>().iter().enumerate() {
            let values = numbers.iter().map(|column| column.iter().nth(at).flatten()).collect();
            rows.push(Row { name: name.unwrap_or_default().to_string(), numbers: values });
        }
    }
    rows
}

/// Whether the alert fires for a process.
pub async fn fires(session: &Session, pid: u32) -> bool {
    let query = format!(
        "SELECT key FROM thalweg.alerts WHERE alert = 'busy_process' AND state = 'firing' AND key LIKE '%\"pid\":{pid}%'"
    );
    !rows(session, &query).await.is_empty()
}

async fn memory(session: &Session) -> Option<(f64, f64)> {
    let batches = ask(session, MEMORY).await;
    let batch = batches.first().filter(|batch| batch.num_rows() > 0)?;
    let number = |column: usize| batch.column(column).as_primitive_opt::<Float64Type>()?.iter().next()?;
    Some((number(0)?, number(1)?))
}

async fn ask(session: &Session, query: &str) -> Vec<RecordBatch> {
    let answer = async {
        let prepared = session.prepare(query).await.ok()?;
        let answer = session.execute(&prepared, vec![]).await.ok()?;
        answer.rows.try_collect().await.ok()
    };
    answer.await.unwrap_or_default()
}

fn percent(value: Option<f64>) -> String {
    value.map_or("-".to_string(), |value| format!("{value:.1}%"))
}

fn bar(share: Option<f64>, length: usize) -> String {
    let full = (share.unwrap_or_default().clamp(0.0, 100.0) / 100.0 * length as f64).round() as usize;
    format!("{}{}", "█".repeat(full), "░".repeat(length - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_share() {
        assert_eq!(bar(Some(50.0), 30).matches('█').count(), 15);
        assert_eq!(bar(Some(250.0), 30).matches('█').count(), 30);
        assert_eq!(bar(None, 30).chars().count(), 30);
    }

    fn introduction() -> Introduction {
        let query = "SELECT 1\nFROM core_load;";
        Introduction { title: "Thalweg".into(), addresses: "psql -h 127.0.0.1".into(), query }
    }

    fn readings(cores: usize) -> Readings {
        let row = |n: usize| Row { name: n.to_string(), numbers: vec![Some(50.0), Some(100.0), None] };
        Readings {
            cores: (0..cores).map(row).collect(),
            memory: Some((1_024.0, 4_096.0)),
            processes: (0..20).map(row).collect(),
            power: Some(Row { name: "RAPL".into(), numbers: vec![Some(12.0), Some(3.0), Some(250.0)] }),
            best_hour: Some(Row { name: "07:00".into(), numbers: vec![Some(80.0), Some(62.0)] }),
            usual: Some(Row { name: "known".into(), numbers: vec![Some(3.0), Some(21.0), Some(0.04)] }),
            unusual: Vec::new(),
            ahead: Some(Row { name: "memory".into(), numbers: vec![Some(1_100.0), Some(1_000.0), Some(1_200.0)] }),
            said: vec![
                Row { name: "07:00:05 UTC firing: thalweg (7) takes 98% of a core".into(), numbers: vec![Some(1.0)] },
                Row { name: "07:00:09 UTC resolved: thalweg (7) takes 3% of a core".into(), numbers: vec![Some(2.0)] },
            ],
            summary: "7 readings".to_string(),
        }
    }

    #[test]
    fn a_frame_fits_its_terminal_and_ends_with_the_query() {
        for cores in [0, 1, 2, 8, 9, 64] {
            for (width, height) in [(80, 24), (160, 50), (40, 10), (1, 1)] {
                let lines = frame(&introduction(), &readings(cores), width, height);
                assert!(lines.len() <= height, "{cores} cores, {width} by {height}");
                assert!(lines.iter().all(|line| line.chars().count() <= width), "{cores} cores, {width} by {height}");
                if (width, height) == (80, 24) && cores <= 9 || height == 50 {
                    assert_eq!(lines.last().map(String::as_str), Some("FROM core_load;"), "{cores} cores");
                }
            }
        }
    }

    #[test]
    fn power_says_how_it_is_known() {
        let lines = frame(&introduction(), &readings(2), 80, 24);
        let has = |line: &str| assert!(lines.iter().any(|shown| shown == line), "{line}: {lines:?}");
        has("power    12.0 W (RAPL), 3.00 g CO2e/h at 250 g/kWh");
        has("carbon   cleanest hour: 07:00 UTC, 80 g/kWh, 62% below now (sample forecast)");
        has("alert    07:00:09 UTC resolved: thalweg (7) takes 3% of a core");
        has("usual    cpu 3% to 21% is usual, score 0.04");
        has("memory   1100 MB in 10 minutes (1000 to 1200)");
        let learning = Row { name: "learning".into(), numbers: vec![None; 3] };
        let learning = Readings { usual: Some(learning), ..readings(2) };
        assert!(learning.line().unwrap().contains("(learning what is usual)"), "{:?}", learning.line());
        let unknown = Readings { power: Some(Row { name: "RAPL".into(), numbers: vec![None; 3] }), ..readings(2) };
        assert_eq!(unknown.power_line(), None);
    }

    #[test]
    fn many_cores_stand_side_by_side() {
        let lines = frame(&introduction(), &readings(64), 160, 50);
        let line = lines.iter().find(|line| line.starts_with("   0 ")).expect("the first core is shown");
        assert!(line.contains("  11 "), "{line}");
    }
}
