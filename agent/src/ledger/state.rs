//! The ledger as the spool keeps it.
//!
//! ```text
//! state: version u8 | bincode of Stored         in each commit that changes it: a few dozen bytes a source
//! page:  an interval without its number         once, when it closes, under "/ledger/" and its place in hex
//! ```

use serde::{Deserialize, Serialize};
use shared::{
    ledger::{Hash, Interval, IntervalError, SourceSums},
    time::Timestamp,
    wire::codec,
};
use thiserror::Error;

use super::{Newest, Open, Page};

/// Version of the state's bytes.
const VERSION: u8 = 1;

/// What the names of closed intervals begin with. No source's name begins with a slash.
pub const PAGE_PREFIX: &str = "/ledger/";

/// Why what the spool holds is no ledger of this version.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RestoreError {
    /// The state is of another version.
    #[error("ledger of version {0}, known is {VERSION}")]
    Version(u8),
    /// The state does not decode.
    #[error("ledger cannot be read: {0}")]
    State(#[from] codec::CodecError),
    /// A closed interval does not decode.
    #[error("ledger's {name} cannot be read: {error}")]
    Page {
        /// Its name.
        name: String,
        /// What is wrong with it.
        error: IntervalError,
    },
}

/// What a commit stores of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stored {
    pub(super) head: (u64, Hash),
    pub(super) next_page: u64,
    from: Timestamp,
    /// When the commit was made.
    until: Timestamp,
    pub(super) newest: Newest,
    rules_version: u64,
    restarts: u32,
    unaccounted: bool,
    sums: Vec<SourceSums>,
}

impl Stored {
    pub(super) fn of(
        open: &Open,
        head: (u64, Hash),
        next_page: u64,
        newest: Newest,
        rules_version: u64,
        until: Timestamp,
    ) -> Self {
        let &Open { from, restarts, unaccounted, .. } = open;
        let sums = open.sums.clone();
        Self { head, next_page, from, until, newest, rules_version, restarts, unaccounted, sums }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend(codec::encode(self).expect("the ledger is plain data"));
        bytes
    }

    /// Reads a state; none where there is nothing.
    pub(super) fn decode(bytes: &[u8]) -> Result<Option<Self>, RestoreError> {
        match bytes.split_first() {
            None => Ok(None),
            Some((&VERSION, fields)) => Ok(Some(codec::decode(fields)?)),
            Some((version, _)) => Err(RestoreError::Version(*version)),
        }
    }

    /// Returns the interval that was counted up to the commit.
    pub(super) fn into_interval(self) -> Interval {
        let mut sources = self.sums;
        sources.sort_by(|a, b| a.source.cmp(&b.source));
        Interval {
            number: 1,
            previous: Hash::default(),
            from: self.from,
            until: self.until.max(self.from),
            restarts: self.restarts,
            paused_ms: 0,
            unaccounted: self.unaccounted,
            policy: self.rules_version,
            blocks: self.newest,
            sources,
        }
    }
}

pub(super) fn page_name(id: u64) -> String {
    format!("{PAGE_PREFIX}{id:016x}")
}

pub(super) fn decode_page(name: &str, bytes: &[u8]) -> Result<Page, RestoreError> {
    let wrong = |error| RestoreError::Page { name: name.to_owned(), error };
    let id = name.strip_prefix(PAGE_PREFIX).and_then(|id| u64::from_str_radix(id, 16).ok());
    let id = id.ok_or_else(|| wrong(IntervalError::Invalid("its name has no place")))?;
    let interval = Interval::decode(bytes).map_err(wrong)?;
    Ok(Page { id, interval, bytes: bytes.len() })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use shared::{
        ids::{Lane, Seq},
        ledger::{DropReason, LossReason},
    };

    use super::*;

    fn stored() -> Stored {
        let mut sums = SourceSums::of("eve");
        sums.read = 1_000;
        sums.sent = [1, 200, 3];
        sums.malformed = [0, 4, 0];
        sums.dropped = BTreeMap::from([(DropReason::SocketBuffer, 5), (DropReason::Bound, 6)]);
        sums.losses = BTreeMap::from([(LossReason::Cut, 7)]);
        let mut newest: Newest = [None; Lane::COUNT];
        newest[1] = Seq::new(77);
        let times = (Timestamp::from_ms(1_793_606_400_000), Timestamp::from_ms(1_793_606_401_000));
        Stored {
            head: (9, Hash([8; 32])),
            next_page: 12,
            from: times.0,
            until: times.1,
            newest,
            rules_version: 3,
            restarts: 2,
            unaccounted: true,
            sums: vec![sums],
        }
    }

    #[test]
    fn what_this_version_wrote_is_read_from_its_bytes_and_is_written_so_now() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/ledger_state_v1.bin");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, stored().encode()).unwrap();
        }
        let golden = std::fs::read(path).unwrap();
        assert_eq!(Stored::decode(&golden).unwrap(), Some(stored()));
        assert_eq!(stored().encode(), golden, "another form is another version");
    }

    #[test]
    fn a_state_of_a_later_version_is_refused_and_none_is_none() {
        assert_eq!(Stored::decode(&[VERSION + 1, 0]), Err(RestoreError::Version(VERSION + 1)));
        assert_eq!(Stored::decode(&[]), Ok(None));
        assert!(matches!(Stored::decode(&[VERSION, 1]), Err(RestoreError::State(_))));
    }
}
