//! What the agent may take of its host: budgets that its bounds must fit into.
//!
//! Nothing is allotted here: each part has its own bound, and the budgets are held against what these come to, so that
//! a budget which cannot be kept is refused at once and not broken later.

use toml::Spanned;

use super::{
    ConfigError, Input, Limits, SourceConfig, check::Check, raw::RawLimits, show_bytes,
    units::parse_percent,
};
use crate::{
    limits::{
        CONNECTIONS_MAX, HELD_STATE_BYTES_MAX, HTTP_BODIES_MAX, HTTP_BODY_BYTES_MAX,
        HTTP_HEAD_BYTES_MAX, MEMORY_BASE_BYTES, MEMORY_BYTES_DEFAULT, PATTERN_FILES_MAX,
        PLACE_MEMORY_BYTES, POLICY_MEMORY_BYTES_MAX, READ_BYTES, READY_RECORD_BYTES_MAX,
        TLS_SESSION_BYTES,
    },
    pace::CpuShare,
};
use shared::{
    ids::Lane,
    limits::{BLOCK_FIELD_BYTES_MAX, BLOCK_RECORD_BYTES_MAX, RECORD_BYTES_MAX, WINDOW_BYTES_MAX},
};

impl Check<'_> {
    /// Reads the budget of the disk, if there is one.
    pub(super) fn disk(&self, raw: &RawLimits) -> Result<Option<u64>, ConfigError> {
        raw.disk.as_ref().map(|raw| self.bytes("limits.disk", raw)).transpose()
    }

    /// Reads all budgets, and refuses those that are less than what has to fit into them; `stored` is the sum of the
    /// bounds of all that is stored.
    pub(super) fn limits(
        &self,
        raw: &RawLimits,
        stored: u64,
        has_held: bool,
        sources: &[SourceConfig],
        has_policy: bool,
    ) -> Result<Limits, ConfigError> {
        let disk_bytes_max = match (&raw.disk, self.disk(raw)?) {
            (Some(raw), Some(bytes)) if bytes < stored => {
                return Err(self.too_small("limits.disk", raw, stored, "what is stored"));
            }
            (_, disk) => disk.unwrap_or(stored),
        };
        let of_policy = if has_policy { POLICY_MEMORY_BYTES_MAX as u64 } else { 0 };
        let least = memory_at_most(sources, has_held) + of_policy;
        let memory_bytes_max = match &raw.memory {
            None => MEMORY_BYTES_DEFAULT.max(least),
            Some(raw) => {
                let bytes = self.bytes("limits.memory", raw)?;
                if bytes < least {
                    let what = "the program, the buffers of these sources and a policy";
                    return Err(self.too_small("limits.memory", raw, least, what));
                }
                bytes
            }
        };
        let cpu = raw.cpu.as_ref().map(|raw| self.cpu(raw)).transpose()?;
        Ok(Limits { memory_bytes_max, disk_bytes_max, cpu })
    }

    fn cpu(&self, raw: &Spanned<String>) -> Result<CpuShare, ConfigError> {
        let key = "limits.cpu";
        let percent =
            parse_percent(raw.get_ref()).map_err(|message| self.error(key, raw.span(), message))?;
        CpuShare::of_percent(percent).ok_or_else(|| {
            let (min, max) = (CpuShare::PERCENT_MIN, CpuShare::PERCENT_MAX);
            let message = format!("{} is not between {min}% and {max}%", raw.get_ref());
            self.error(key, raw.span(), message)
        })
    }

    fn too_small(&self, key: &str, raw: &Spanned<String>, least: u64, what: &str) -> ConfigError {
        let message = format!(
            "{} is less than {}, which {what} can come to",
            raw.get_ref(),
            show_bytes(least)
        );
        self.error(key, raw.span(), message)
    }
}

/// Returns the bytes that the program and all buffers can come to with these sources.
fn memory_at_most(sources: &[SourceConfig], has_held: bool) -> u64 {
    // What is read; an open block a lane; finished blocks; what is sent and not acked.
    let open_blocks = Lane::COUNT * (BLOCK_RECORD_BYTES_MAX + BLOCK_FIELD_BYTES_MAX);
    // Of the two rings: an open block each, the one that a recall fills and the one that it looks into; what they know.
    let block = BLOCK_RECORD_BYTES_MAX + BLOCK_FIELD_BYTES_MAX;
    let held = if has_held { 4 * block + 2 * HELD_STATE_BYTES_MAX } else { 0 };
    let pipeline = READ_BYTES + held + open_blocks + READY_RECORD_BYTES_MAX + WINDOW_BYTES_MAX;
    let of_source = |source: &SourceConfig| match source.input {
        Input::Tcp(_) => CONNECTIONS_MAX * RECORD_BYTES_MAX,
        Input::Tls { .. } => CONNECTIONS_MAX * (RECORD_BYTES_MAX + TLS_SESSION_BYTES),
        // One body at a time is there twice: packed and unpacked.
        Input::Http { .. } => {
            (HTTP_BODIES_MAX + 1) * HTTP_BODY_BYTES_MAX + CONNECTIONS_MAX * HTTP_HEAD_BYTES_MAX
        }
        // The child that reads event logs has a bound of its own, beside this process's.
        Input::Stdin | Input::Journal { .. } | Input::Evtx { .. } => READ_BYTES,
        Input::Udp(_) | Input::File { .. } | Input::Files { .. } => 0,
    };
    let of_sources: usize = sources.iter().map(of_source).sum();
    // All sources with patterns share one bound.
    let is_pattern = |source: &SourceConfig| matches!(source.input, Input::Files { .. });
    let places =
        if sources.iter().any(is_pattern) { PATTERN_FILES_MAX * PLACE_MEMORY_BYTES } else { 0 };
    MEMORY_BASE_BYTES + (pipeline + of_sources + places) as u64
}
