//! Energy counters (RAPL, as Linux shows them under `/sys/class/powercap`): microjoules, counted up and around.

use std::path::{Path, PathBuf};

/// Where Linux shows them.
pub(super) const POWERCAP: &str = "/sys/class/powercap";

/// One counter: a processor package, its cores, its memory.
pub(super) struct Counter {
    /// `package-0`, `package-0/core`.
    pub label: String,
    path: PathBuf,
    /// It begins at 0 again after this.
    max: u64,
    last: u64,
}

/// The counters that can be read. Most systems let only root read them, since what a processor uses tells something of
/// what it computes.
pub(super) fn counters(folder: &Path) -> Vec<Counter> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut zones: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("intel-rapl:")))
        .collect();
    zones.sort();
    zones.iter().filter_map(|zone| Counter::open(folder, zone)).collect()
}

impl Counter {
    fn open(folder: &Path, zone: &Path) -> Option<Counter> {
        let name = std::fs::read_to_string(zone.join("name")).ok()?.trim().to_string();
        // `intel-rapl:0:1` is a part of `intel-rapl:0`.
        let zone_name = zone.file_name()?.to_string_lossy().into_owned();
        let (parent, _) = zone_name.rsplit_once(':')?;
        let label = match std::fs::read_to_string(folder.join(parent).join("name")) {
            Ok(parent) => format!("{}/{name}", parent.trim()),
            Err(_) => name,
        };
        let path = zone.join("energy_uj");
        let last = number(&path)?;
        let max = number(&zone.join("max_energy_range_uj")).unwrap_or(u64::MAX);
        Some(Counter { label, path, max, last })
    }

    /// Microjoules since it was read last.
    pub(super) fn used(&mut self) -> Option<u64> {
        let now = number(&self.path)?;
        let used = if now >= self.last { now - self.last } else { self.max.saturating_sub(self.last) + now };
        self.last = now;
        Some(used)
    }
}

fn number(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(folder: &Path, zone: &str, name: &str, energy: &str) {
        let zone = folder.join(zone);
        std::fs::create_dir_all(&zone).unwrap();
        std::fs::write(zone.join("name"), format!("{name}\n")).unwrap();
        std::fs::write(zone.join("energy_uj"), energy).unwrap();
        std::fs::write(zone.join("max_energy_range_uj"), "1000\n").unwrap();
    }

    #[test]
    fn counters_are_named_by_their_place_and_wrap_around() {
        let folder = tempfile::tempdir().unwrap();
        zone(folder.path(), "intel-rapl:0", "package-0", "900\n");
        zone(folder.path(), "intel-rapl:0:0", "core", "10\n");
        zone(folder.path(), "intel-rapl:0:1", "broken", "no number");
        std::fs::create_dir(folder.path().join("other")).unwrap();
        let mut counters = counters(folder.path());
        assert_eq!(counters.iter().map(|c| c.label.as_str()).collect::<Vec<_>>(), ["package-0", "package-0/core"]);
        zone(folder.path(), "intel-rapl:0", "package-0", "50\n");
        zone(folder.path(), "intel-rapl:0:0", "core", "15\n");
        assert_eq!(counters.iter_mut().map(Counter::used).collect::<Vec<_>>(), [Some(150), Some(5)]);
        std::fs::remove_dir_all(folder.path().join("intel-rapl:0")).unwrap();
        assert_eq!(counters[0].used(), None);
    }

    #[test]
    fn a_machine_without_counters_has_none() {
        assert!(counters(Path::new("/no/such/folder")).is_empty());
    }
}
