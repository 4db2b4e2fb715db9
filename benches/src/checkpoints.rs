//! What a checkpoint writes: it should grow with what has changed since the one before, and not with the state.

use crate::keyed::Keyed;
use crate::serving::Outcome;
use std::path::Path;

/// Which parts of all keys are changed between two checkpoints.
const SHARES: [f64; 6] = [0.0, 0.0001, 0.001, 0.01, 0.1, 1.0];

/// Measures with states of a hundredth and a tenth of `keys` keys, and of all, and prints a table.
pub fn measure(binary: &Path, keys: u64, workers: usize) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    println!("| keys | state MB | keys changed | checkpoints | MB written | of the state | bytes a changed key |");
    println!("|--:|--:|--:|--:|--:|--:|--:|");
    for keys in [keys / 100, keys / 10, keys] {
        let mut keyed = Keyed::new(keys.max(100))?;
        let serving = keyed.start(binary, workers, &["--checkpoint-interval", "1s"])?;
        runtime.block_on(async {
            let client = serving.connect().await?;
            keyed.all_kept(&client).await?;
            let mut changes: Vec<u64> = SHARES.iter().map(|share| (keys as f64 * share).round() as u64).collect();
            changes.dedup();
            for changed in changes {
                keyed.change(changed)?;
                let written = keyed.all_kept(&client).await?;
                let (bytes, state) = (written.bytes as f64, written.state_bytes as f64);
                println!(
                    "| {keys} | {:.1} | {changed} | {} | {:.3} | {:.1} % | {} |",
                    state / 1e6,
                    written.checkpoints,
                    bytes / 1e6,
                    100.0 * bytes / state,
                    if changed == 0 { String::new() } else { format!("{:.0}", bytes / changed as f64) }
                );
            }
            Outcome::Ok(())
        })?;
    }
    Ok(())
}
