//! What the demo shows: a table that is drawn anew on a terminal, and a line now and then anywhere else.

use crate::progress::grouped;
use crate::session::Session;
use arrow::array::AsArray;
use arrow::datatypes::Float64Type;
use arrow::record_batch::RecordBatch;
use crossterm::{cursor, execute, terminal};
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
const MEMORY: &str = "SELECT used_mb, total_mb FROM memory ORDER BY window_start DESC LIMIT 1";

/// How wide a bar is.
const BAR: usize = 30;
/// Between two lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(2);

/// The screen of the demo.
pub struct Screen {
    introduction: String,
    is_terminal: bool,
    last_line: Option<Duration>,
}

impl Screen {
    /// Takes the terminal over, if there is one; otherwise the introduction is printed once.
    pub fn new(introduction: String) -> Screen {
        let is_terminal = std::io::stdout().is_terminal();
        if is_terminal {
            // A terminal that cannot do this shows the frames one below the other.
            let _shown = execute!(std::io::stdout(), terminal::EnterAlternateScreen, cursor::Hide);
        } else {
            println!("{introduction}");
        }
        Screen { introduction, is_terminal, last_line: None }
    }

    /// Draws the state of things.
    pub async fn draw(&mut self, session: &Session, status: &Status, elapsed: Duration) {
        if self.is_terminal {
            let frame = self.frame(session, status, elapsed).await;
            let mut out = std::io::stdout().lock();
            let cleared = execute!(out, cursor::MoveTo(0, 0), terminal::Clear(terminal::ClearType::FromCursorDown));
            // Raw line ends: the terminal is not in raw mode, and takes \n as it is.
            let _shown = cleared.and_then(|()| out.write_all(frame.as_bytes())).and_then(|()| out.flush());
        } else if self.last_line.is_none_or(|last| elapsed >= last + LINE_EVERY)
            && let Some(line) = line(session).await
        {
            println!("{:4} s  {line}", elapsed.as_secs());
            self.last_line = Some(elapsed);
        }
    }

    /// Gives the terminal back.
    pub fn leave(&self) {
        if self.is_terminal {
            let _shown = execute!(std::io::stdout(), terminal::LeaveAlternateScreen, cursor::Show);
            println!("{}", self.introduction);
        }
    }

    async fn frame(&self, session: &Session, status: &Status, elapsed: Duration) -> String {
        let mut frame = format!("{}\n\n", self.introduction);
        frame.push_str("core        now                                     max    minute\n");
        for row in rows(session, CORES).await {
            frame.push_str(&format!(
                "{:<6} {} {:>6} {:>7} {:>8}\n",
                row.name,
                bar(row.numbers.first().copied().flatten()),
                percent(row.numbers.first()),
                percent(row.numbers.get(1)),
                percent(row.numbers.get(2))
            ));
        }
        if let Some((used, total)) = memory(session).await {
            let share = used / total * 100.0;
            frame.push_str(&format!("\nmemory {} {share:>5.1}%  {used:.0} of {total:.0} MB\n", bar(Some(share))));
        }
        frame.push_str("\nprocess                             now     max\n");
        for row in rows(session, PROCESSES).await {
            let name: String = row.name.chars().take(30).collect();
            frame.push_str(&format!(
                "{name:<30} {:>8} {:>7}\n",
                percent(row.numbers.first()),
                percent(row.numbers.get(1))
            ));
        }
        let taken: u64 = status.sources.iter().map(|source| source.rows_in).sum();
        let kept: u64 = status.sinks.iter().map(|sink| sink.rows).sum();
        let (taken, kept) = (grouped(taken), grouped(kept));
        frame.push_str(&format!("\n{taken} readings in {} s, {kept} rows of history\n", elapsed.as_secs()));
        frame
    }
}

/// A name and its numbers.
struct Row {
    name: String,
    numbers: Vec<Option<f64>>,
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

async fn memory(session: &Session) -> Option<(f64, f64)> {
    let batches = ask(session, MEMORY).await;
    let batch = batches.first().filter(|batch| batch.num_rows() > 0)?;
    let number = |column: usize| batch.column(column).as_primitive_opt::<Float64Type>()?.iter().next()?;
    Some((number(0)?, number(1)?))
}

/// Everything in a line.
async fn line(session: &Session) -> Option<String> {
    let cores = rows(session, CORES).await;
    let loads: Vec<f64> = cores.iter().filter_map(|row| row.numbers.first().copied().flatten()).collect();
    if loads.is_empty() {
        return None;
    }
    let mean = loads.iter().sum::<f64>() / loads.len() as f64;
    let mut line = format!("cpu {mean:5.1}% on {} cores", loads.len());
    if let Some((used, total)) = memory(session).await {
        line.push_str(&format!(", memory {used:.0} of {total:.0} MB"));
    }
    if let Some(busiest) = rows(session, PROCESSES).await.first() {
        line.push_str(&format!(", busiest {} {}", busiest.name, percent(busiest.numbers.first())));
    }
    Some(line)
}

async fn ask(session: &Session, query: &str) -> Vec<RecordBatch> {
    let answer = async {
        let prepared = session.prepare(query).await.ok()?;
        let answer = session.execute(&prepared, vec![]).await.ok()?;
        answer.rows.try_collect().await.ok()
    };
    answer.await.unwrap_or_default()
}

fn percent(value: Option<&Option<f64>>) -> String {
    value.copied().flatten().map_or("-".to_string(), |value| format!("{value:.1}%"))
}

fn bar(share: Option<f64>) -> String {
    let full = (share.unwrap_or_default().clamp(0.0, 100.0) / 100.0 * BAR as f64).round() as usize;
    format!("{}{}", "█".repeat(full), "░".repeat(BAR - full))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_share() {
        assert_eq!(bar(Some(50.0)).matches('█').count(), BAR / 2);
        assert_eq!(bar(Some(250.0)).matches('█').count(), BAR);
        assert_eq!(bar(None).chars().count(), BAR);
    }
}
