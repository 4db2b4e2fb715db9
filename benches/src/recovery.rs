//! After `kill -9`: how long until the view shows the first row that came after it, with all that it held before; and how
//! much memory that takes beside the memory before.

use crate::keyed::{Keyed, MARKED, number};
use crate::schedule::Schedule;
use crate::serving::Outcome;
use std::path::Path;
use std::time::Duration;

/// Kills a run that holds `keys` keys `rounds` times, each time with `burst` rows in the epoch log that no checkpoint has.
pub fn measure(binary: &Path, keys: u64, burst: u64, rounds: u64, workers: usize) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut keyed = Keyed::new(keys)?;
    let mut serving = keyed.start(binary, workers, &[])?;
    println!("{keys} keys, {burst} rows in the log, {workers} workers");
    println!(
        "| state MB | to its address, s | to the first new row, s | to all rows, s | MB before | peak MB | ratio |"
    );
    println!("|--:|--:|--:|--:|--:|--:|--:|");
    for _ in 0..rounds {
        let state = runtime.block_on(async {
            let client = serving.connect().await?;
            keyed.all_kept(&client).await?;
            keyed.change(burst)?;
            keyed.all_seen(&client).await?;
            number(&client, "SELECT (operators + views)::BIGINT FROM thalweg.memory").await
        })?;
        let before = serving.resident_memory()?;
        let killed = Schedule::from_now(Duration::ZERO);
        drop(serving);
        let marks = keyed.mark()?;
        serving = keyed.start(binary, workers, &[])?;
        let address = killed.since(0);
        let (first, all) = runtime.block_on(async {
            let client = serving.connect().await?;
            let marked = format!("SELECT coalesce(max(n), 0)::BIGINT FROM by_key WHERE k = {MARKED}");
            while number(&client, &marked).await? != marks {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let first = killed.since(0);
            keyed.all_seen(&client).await?;
            Outcome::Ok((first, killed.since(0)))
        })?;
        let peak = serving.peak_memory()?;
        println!(
            "| {:.1} | {:.3} | {:.3} | {:.3} | {:.0} | {:.0} | {:.2} |",
            state as f64 / 1e6,
            address.as_secs_f64(),
            first.as_secs_f64(),
            all.as_secs_f64(),
            before as f64 / 1e6,
            peak as f64 / 1e6,
            peak as f64 / before as f64
        );
    }
    Ok(())
}
