//! Bounds of the command line, with the reason for each number (L7).

use std::time::Duration;

/// How long to wait for a connection and its handshake. A coordinator that needs longer is as good as away.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request may take from its first to its last byte, besides what it asks the coordinator to wait.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the live feed may be silent. The coordinator writes every 15 s; three of those lost is a dead connection.
pub(crate) const FEED_SILENCE_TIMEOUT: Duration = Duration::from_secs(45);

/// How often a request is sent before its failure is told. Writes carry a key: none is done twice.
pub(crate) const TRIES_MAX: u32 = 3;
/// Shortest wait before a request is sent again.
pub(crate) const RETRY_WAIT_MIN: Duration = Duration::from_millis(200);
/// Longest wait before a request is sent again; a person is watching.
pub(crate) const RETRY_WAIT_MAX: Duration = Duration::from_secs(5);
/// Shortest wait before the live feed is asked for again.
pub(crate) const FEED_WAIT_MIN: Duration = Duration::from_millis(250);
/// Longest wait before the live feed is asked for again, so that it is back soon after a long break.
pub(crate) const FEED_WAIT_MAX: Duration = Duration::from_secs(30);

/// How often a recall that is followed is looked at.
pub(crate) const RECALL_LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Shortest wait before it is asked whether somebody has signed in, whatever the coordinator says.
pub(crate) const SIGN_IN_POLL_MIN: Duration = Duration::from_secs(1);
/// Longest such wait; a person is watching.
pub(crate) const SIGN_IN_POLL_MAX: Duration = Duration::from_secs(10);
/// How often whoever waits for somebody to sign in is told that it still does.
pub(crate) const SIGN_IN_WORD_INTERVAL: Duration = Duration::from_secs(30);

/// Largest answer that is read, in bytes: a page of 200 alerts with the longest records that there may be.
pub(crate) const RESPONSE_BYTES_MAX: u64 = 64 << 20;
/// Longest line of the live feed, in bytes. An entry that names a block's 512 cases has about 10 kB.
pub(crate) const FEED_LINE_BYTES_MAX: usize = 1 << 20;

/// Most items that the coordinator puts on one page.
pub(crate) const PAGE_ITEMS_MAX: usize = 500;
/// Most items that one command prints, with `--all`, too. Beyond that a program should follow the pages by itself.
pub(crate) const LIST_ITEMS_MAX: usize = 10_000;
/// Most pages that one command asks for. A search's page may be empty and still not the last.
pub(crate) const LIST_PAGES_MAX: usize = 256;

/// Most claims that are remembered. Nobody works on so many cases within the longest lease.
pub(crate) const CLAIMS_MAX: usize = 256;
/// Largest file of settings, claims, a token or a certificate, in bytes.
pub(crate) const FILE_BYTES_MAX: u64 = 1 << 20;

/// How far a version that a coordinator names as the newest may lie above one that is known here: each change is one,
/// and who signs a number that is too high can sign nothing for those agents any more.
pub(crate) const VERSIONS_AHEAD_MAX: u64 = 1_000_000;

/// Columns of a table where no terminal says how wide it is.
pub(crate) const COLUMNS_DEFAULT: usize = 120;
/// Fewest columns that a table is laid out for.
pub(crate) const COLUMNS_MIN: usize = 40;

const _: () = assert!(
    FEED_SILENCE_TIMEOUT.as_secs() > 2 * 15,
    "one lost sign of life does not break the feed"
);
