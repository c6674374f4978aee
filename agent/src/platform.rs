//! What only the operating system knows of this process: processor time and resident memory.
//!
//! Where a system does not say it, or is not known here, there is no value, and nothing is guessed.

use std::time::Duration;

/// Returns the processor time that this process has used, all threads together.
#[must_use]
pub fn cpu_time() -> Option<Duration> {
    #[cfg(unix)]
    {
        use rustix::time::{ClockId, clock_gettime};
        let used = clock_gettime(ClockId::ProcessCPUTime);
        let (seconds, nanos) =
            (u64::try_from(used.tv_sec).ok()?, u32::try_from(used.tv_nsec).ok()?);
        Some(Duration::new(seconds, nanos))
    }
    #[cfg(not(unix))]
    {
        None
    }
}

/// Returns the bytes of this process that are in memory.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    #[cfg(target_os = "linux")]
    {
        let text = std::fs::read_to_string("/proc/self/statm").ok()?;
        let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
        Some(pages * rustix::param::page_size() as u64)
    }
    #[cfg(not(target_os = "linux"))]
    {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_used_time_and_memory() {
        let before = cpu_time().unwrap();
        let held = vec![1_u8; 16 << 20];
        let sum: u64 = held.iter().map(|byte| u64::from(*byte)).sum();
        assert_eq!(sum, 16 << 20);
        assert!(cpu_time().unwrap() > before);
        assert!(resident_bytes().unwrap() > 16 << 20);
    }
}
