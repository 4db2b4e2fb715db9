//! How much memory a run may take when it is not told: three quarters of what there is for it.

use std::path::{Path, PathBuf};

/// Three quarters of the machine's memory, or of what its control groups leave to the process, whichever is less; `None`
/// where the system tells of neither.
pub fn default_bytes() -> Option<u64> {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = limit_files(&groups).into_iter().filter_map(|file| limit(&std::fs::read_to_string(file).ok()?));
    limits.chain(machine).min().map(|bytes| bytes / 4 * 3)
}

/// `MemTotal` of `/proc/meminfo`.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes << 10)
}

/// Where limits of the process's control groups and those above them may stand, in both versions of the system.
fn limit_files(groups: &str) -> Vec<PathBuf> {
    let mut files = vec![PathBuf::from("/sys/fs/cgroup/memory/memory.limit_in_bytes")];
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (root, name) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|c| c == "memory") => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        let groups = Path::new(path).ancestors().map(|group| group.strip_prefix("/").unwrap_or(group));
        files.extend(groups.map(|group| Path::new(root).join(group).join(name)));
    }
    files
}

/// A limit as it stands in such a file; `None` for none.
fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_of_all_limits_counts() {
        assert_eq!(total("MemTotal:       24684304 kB\nMemFree: 1 kB\n"), Some(24_684_304 << 10));
        assert_eq!((limit("max\n"), limit("536870912\n")), (None, Some(512 << 20)));
        let files: Vec<String> =
            limit_files("0::/pod/app\n4:cpu,memory:/a\n").into_iter().map(|file| file.display().to_string()).collect();
        for expected in [
            "/sys/fs/cgroup/pod/app/memory.max",
            "/sys/fs/cgroup/pod/memory.max",
            "/sys/fs/cgroup/memory/a/memory.limit_in_bytes",
        ] {
            assert!(files.iter().any(|file| file == expected), "{expected} in {files:?}");
        }
        assert!(default_bytes().is_none_or(|bytes| bytes > 0));
    }
}
