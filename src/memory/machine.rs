//! The memory of the machine and of this process, as Linux counts it.

/// The memory limit of this machine or of the process's control group, on Linux.
#[must_use]
pub fn machine_bytes() -> Option<u64> {
    let total = kilobytes("/proc/meminfo", "MemTotal:")?;
    // For cgroup versions 2 and 1. Without a limit, the file holds no number, or one larger than any machine's memory.
    let groups = [
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ];
    let limits = groups.iter().filter_map(|path| {
        let text = std::fs::read_to_string(path).ok()?;
        text.trim().parse().ok()
    });
    limits.chain([total]).min()
}

/// The resident memory of this process.
pub(super) fn process_bytes() -> Option<u64> {
    kilobytes("/proc/self/status", "VmRSS:")
}

/// The bytes in a line of a Linux status file, which counts in kilobytes.
fn kilobytes(path: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = value.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kilobytes << 10)
}
