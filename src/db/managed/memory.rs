//! How much memory Postgres keeps pages in.

use std::fs;

const MIB: u64 = 1024 * 1024;
/// Where a container's limit stands, under cgroups v2 and v1. Without one there is `max` or a number
/// that no machine has.
const LIMITS: [&str; 2] =
    ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];

/// `shared_buffers` in MiB. Pages in use have to fit for a ledger of millions of transfers to be as quick
/// as a small one; what is not used is not taken.
pub(super) fn shared_buffers() -> u64 {
    let total = fs::read_to_string("/proc/meminfo").ok().and_then(|text| mem_total(&text));
    let limits =
        LIMITS.iter().filter_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok());
    quarter(total.into_iter().chain(limits).min())
}

/// A quarter of the memory, as the PostgreSQL manual advises (section 20.4.1), within bounds.
fn quarter(memory: Option<u64>) -> u64 {
    memory.map_or(512, |bytes| (bytes / 4 / MIB).clamp(128, 2048))
}

/// The memory of the machine in bytes (`man 5 proc_meminfo`).
fn mem_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::{MIB, mem_total, quarter};

    #[test]
    fn a_quarter_of_the_memory_within_bounds() {
        let gib = 1024 * MIB;
        let all = [None, Some(256 * MIB), Some(2 * gib), Some(4 * gib), Some(64 * gib)];
        assert_eq!(all.map(quarter), [512, 128, 512, 1024, 2048]);
    }

    #[test]
    fn the_memory_of_the_machine_is_read() {
        let text = "MemTotal:       24684092 kB\nMemFree:        22000000 kB\n";
        assert_eq!(mem_total(text), Some(24_684_092 * 1024));
        assert_eq!(mem_total("MemFree: 1 kB\n"), None);
    }
}
