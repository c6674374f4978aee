//! The embedded engine: one RocksDB database in one folder.
//!
//! Rows live in RocksDB's default column family, blocks in one of their own whose values stand in
//! blob files: a compaction then moves 60-byte keys and not 60 kB values. One write-ahead log
//! covers both, so a commit is atomic across them; each commit syncs it (L1).
//!
//! # Memory
//! Write buffers of at most 96 MiB, a cache of 64 MiB for everything read (index and filter blocks
//! too), and the changes of the commit at hand, twice.
//!
//! # Faults
//! - A torn end of the log is cut when the database is opened ([`RocksEngine::cut_at_open`] says
//!   so). Damage before the end is not: opening fails, because commits that were answered for would
//!   be lost.
//! - After a commit whose outcome is unknown the engine takes no commit until it is opened again.
//!   What it reads meanwhile is the state without that commit.
//! - While the disk is full every commit is refused, deletes too. Once there is room, as much again
//!   as the log takes, RocksDB takes commits again by itself within seconds.

use std::{
    fmt, fs, io,
    ops::Range,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use bytes::Bytes;
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB,
    DBCompressionType, DBRecoveryMode, DEFAULT_COLUMN_FAMILY_NAME, ErrorKind, LogLevel, Options,
    ReadOptions, WriteBatch, WriteOptions, properties,
};
use thiserror::Error;

use super::{
    Change, Changes, CommitError, Direction, Engine, ReadError, Refusal, Row, Space,
    wal::{self, Verdict},
};

/// Column family of the blocks. The rows have the default one.
const BLOCKS: &str = "blocks";

const MIB: usize = 1 << 20;

/// One write buffer of the rows, in bytes. 16 MiB: a flush every 2 s at 90 000 puts/s of 90 bytes.
const ROWS_BUFFER_BYTES: usize = 16 * MIB;
/// One write buffer of the blocks, in bytes. 32 MiB: a flush makes a blob file, and smaller ones
/// would be too many (a terabyte makes 32 000).
const BLOCKS_BUFFER_BYTES: usize = 32 * MIB;
/// Write buffers a space. 2: one is filled while the other is written out.
const BUFFERS_MAX: i32 = 2;
/// Cache of what is read, both spaces together, in bytes. 64 MiB: index and filter of 10 million
/// rows, and what is hot.
const CACHE_BYTES: usize = 64 * MIB;
/// Unit in which rows are read, in bytes. 8 KiB: half the index of the default 4 KiB, still one
/// disk read.
const ROWS_READ_BYTES: usize = 8 << 10;
/// Unit in which index and filter are read, in bytes. 8 KiB, as rows. In one piece a filter grows
/// with its table file to some MiB, more than a part of the cache may hold (a 64th), and then every
/// lookup reads all of it.
const META_READ_BYTES: usize = 8 << 10;
/// Bits a key in the rows' bloom filters. 10: one lookup of an absent key in 100 reads the disk in
/// vain.
const BLOOM_BITS: f64 = 10.0;
/// Smallest value kept in a blob file, in bytes. 4 KiB: below it the reference costs more than it
/// saves.
const BLOB_BYTES_MIN: u64 = 4 << 10;
/// Size at which a blob file ends, in bytes. 256 MiB: what blob collection joins stays small enough
/// to rewrite at once.
const BLOB_FILE_BYTES: u64 = 256 << 20;
/// Share of the oldest blob files from which compaction moves what is still live. A quarter: young
/// files still empty by themselves.
const BLOB_COLLECT_AGE: f64 = 0.25;
/// Share of garbage in those files that starts a compaction by itself. Half: disk use stays under
/// twice the data.
const BLOB_COLLECT_GARBAGE: f64 = 0.5;
/// Most bytes of write-ahead log before the write buffers that keep it are flushed. 256 MiB:
/// replayed in a few seconds.
const LOG_BYTES_MAX: u64 = 256 << 20;
/// Most table and blob files kept open. 512: half of the usual limit of 1,024 descriptors a
/// process.
const OPEN_FILES_MAX: i32 = 512;
/// Background threads. 2: one flushes while one compacts, on a machine of two cores.
const BACKGROUND_THREADS: i32 = 2;
/// Bytes written to a table or blob file between two hints to write them back. 1 MiB: no burst of
/// write-back that a commit's sync would wait for.
const WRITE_BACK_BYTES: u64 = 1 << 20;
/// RocksDB's own message files: how many are kept, and how large one gets, in bytes.
const MESSAGE_FILES_MAX: usize = 4;
const MESSAGE_FILE_BYTES_MAX: usize = 4 * MIB;
/// Size at which the list of files is rewritten, in bytes. 16 MiB: it is read whole at each start.
const MANIFEST_BYTES_MAX: usize = 16 * MIB;
/// Bytes that one change takes in a batch beside its key and value, at most: kind, column family,
/// two lengths.
const CHANGE_HEAD_BYTES: usize = 1 + 5 + 5 + 5;
/// Bytes at the head of a batch.
const BATCH_HEAD_BYTES: usize = 12;
/// Rows for which a scan reserves room before it has seen any. 256: a usual page.
const SCAN_RESERVE_MAX: usize = 256;

/// Why a database could not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process, or another engine of this one, has it open.
    #[error("{} is in use by another process", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// The folder does not hold what was written to it, or not a store of this version.
    #[error("the store in {} is damaged: {detail}; {hint}", path.display())]
    Corrupt {
        /// The folder.
        path: PathBuf,
        /// What is wrong, with the file.
        detail: String,
        /// What the operator can do.
        hint: &'static str,
    },
    /// The folder or a file in it cannot be read, made or written.
    #[error("cannot open the store in {}: {detail}", path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// What the system says, with the file.
        detail: String,
    },
}

const RESTORE_HINT: &str = "keep a copy of the folder, then restore it from a backup";
const MISSING_HINT: &str = "put the missing file back or restore the folder from a backup";
const VERSION_HINT: &str = "open it with the version of the coordinator that wrote it last";

/// Opens the database in a folder, with a way to take up its log.
type Opener = fn(&Path, DBRecoveryMode) -> Result<DB, rocksdb::Error>;

/// A store in RocksDB. One process at a time has it open.
pub struct RocksEngine {
    db: DB,
    path: PathBuf,
    cut_at_open: Option<String>,
    /// Why no commit is taken any more.
    stopped: OnceLock<String>,
}

impl fmt::Debug for RocksEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RocksEngine").field("path", &self.path).finish_non_exhaustive()
    }
}

impl RocksEngine {
    /// Opens the store in the folder `path`, and makes both if they do not exist.
    ///
    /// # Errors
    /// See [`OpenError`]. Nothing in the folder has been lost or changed by an attempt that failed.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, OpenError> {
        Self::open_by(path.into(), |path, recovery| {
            DB::open_cf_descriptors(&database_options(recovery), path, families())
        })
    }

    /// Opens the store in the folder `path`, which must be there, to read it and change nothing: what stands in the
    /// log alone is read from there, and commits are refused.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_to_read(path: impl Into<PathBuf>) -> Result<Self, OpenError> {
        Self::open_by(path.into(), |path, recovery| {
            let mut options = database_options(recovery);
            options.create_if_missing(false);
            DB::open_cf_descriptors_read_only(&options, path, families(), false)
        })
    }

    fn open_by(path: PathBuf, open: Opener) -> Result<Self, OpenError> {
        check_whole(&path)?;
        let (db, cut_at_open) = match open(&path, DBRecoveryMode::TolerateCorruptedTailRecords) {
            Ok(db) => (db, None),
            Err(error) if error.kind() == ErrorKind::Corruption => open_cut(&path, open, error)?,
            Err(error) => return Err(open_error(&path, &error)),
        };
        Ok(Self { db, path, cut_at_open, stopped: OnceLock::new() })
    }

    /// Returns where the log was cut when the store was opened, if its last record was not whole.
    #[must_use]
    pub fn cut_at_open(&self) -> Option<&str> {
        self.cut_at_open.as_deref()
    }

    fn family(&self, space: Space) -> &ColumnFamily {
        let name = match space {
            Space::Rows => DEFAULT_COLUMN_FAMILY_NAME,
            Space::Blocks => BLOCKS,
        };
        self.db.cf_handle(name).expect("the database was opened with this column family")
    }

    /// Returns a number that RocksDB keeps about `space`.
    fn number(&self, space: Space, property: &str) -> u64 {
        // A property that does not exist is our mistake and reads as 0; the tests see it.
        self.db.property_int_value_cf(self.family(space), property).ok().flatten().unwrap_or(0)
    }

    fn batch(&self, changes: &Changes) -> WriteBatch {
        let heads = BATCH_HEAD_BYTES + changes.len() * CHANGE_HEAD_BYTES;
        let mut batch = WriteBatch::with_capacity_bytes(heads + changes.bytes());
        let (rows, blocks) = (self.family(Space::Rows), self.family(Space::Blocks));
        let family = |space| match space {
            Space::Rows => rows,
            Space::Blocks => blocks,
        };
        for change in changes {
            match change {
                Change::Put { space, key, value } => batch.put_cf(family(*space), key, value),
                Change::Delete { space, key } => batch.delete_cf(family(*space), key),
                Change::DeleteRange { space, from, to } => {
                    batch.delete_range_cf(family(*space), from, to);
                }
            }
        }
        batch
    }
}

impl Engine for RocksEngine {
    fn read(&self, space: Space, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, ReadError> {
        let family = self.family(space);
        if let [key] = keys {
            let value = self.db.get_pinned_cf(family, key).map_err(|e| read_error(space, &e))?;
            return Ok(vec![value.map(|value| Bytes::copy_from_slice(&value))]);
        }
        let values = self.db.batched_multi_get_cf(family, keys.iter().copied(), false);
        values
            .into_iter()
            .map(|value| match value {
                Ok(value) => Ok(value.map(|value| Bytes::copy_from_slice(&value))),
                Err(error) => Err(read_error(space, &error)),
            })
            .collect()
    }

    fn scan(
        &self,
        space: Space,
        range: Range<&[u8]>,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Row>, ReadError> {
        if limit == 0 || range.start >= range.end {
            return Ok(Vec::new());
        }
        let mut options = ReadOptions::default();
        options.set_iterate_range(range);
        let mut iterator = self.db.raw_iterator_cf_opt(self.family(space), options);
        match direction {
            Direction::Forward => iterator.seek_to_first(),
            Direction::Backward => iterator.seek_to_last(),
        }
        let mut rows = Vec::with_capacity(limit.min(SCAN_RESERVE_MAX));
        while let Some((key, value)) = iterator.item() {
            rows.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
            if rows.len() == limit {
                return Ok(rows);
            }
            match direction {
                Direction::Forward => iterator.next(),
                Direction::Backward => iterator.prev(),
            }
        }
        iterator.status().map_err(|error| read_error(space, &error))?;
        Ok(rows)
    }

    fn commit(&self, changes: Changes) -> Result<(), CommitError> {
        if changes.is_empty() {
            return Ok(());
        }
        if let Some(detail) = self.stopped.get() {
            return Err(CommitError::Refused(Refusal::Stopped { detail: detail.clone() }));
        }
        let batch = self.batch(&changes);
        drop(changes);
        let mut options = WriteOptions::default();
        options.set_sync(true); // L1
        self.db.write_opt(batch, &options).map_err(|error| {
            let error = commit_error(&error.kind(), error.to_string());
            if let CommitError::Unknown { detail } = &error {
                let detail = format!("the outcome of an earlier commit is unknown: {detail}");
                self.stopped.get_or_init(|| detail);
            }
            error
        })
    }

    fn approximate_bytes(&self, space: Space) -> u64 {
        // The first counts what lives in blob files too.
        self.number(space, properties::ESTIMATE_LIVE_DATA_SIZE.as_str())
            + self.number(space, properties::CUR_SIZE_ALL_MEM_TABLES.as_str())
    }

    fn reclaim(&self, space: Space, range: Range<&[u8]>) {
        self.db.compact_range_cf(self.family(space), Some(range.start), Some(range.end));
    }
}

fn families() -> [ColumnFamilyDescriptor; 2] {
    let cache = Cache::new_lru_cache(CACHE_BYTES);
    [
        ColumnFamilyDescriptor::new(DEFAULT_COLUMN_FAMILY_NAME, rows_options(&cache)),
        ColumnFamilyDescriptor::new(BLOCKS, blocks_options(&cache)),
    ]
}

/// Opens a database that RocksDB calls corrupt, if all that is wrong is a torn end of the log.
fn open_cut(
    path: &Path,
    open: Opener,
    error: rocksdb::Error,
) -> Result<(DB, Option<String>), OpenError> {
    let io = |error: io::Error| OpenError::Io { path: path.into(), detail: error.to_string() };
    match wal::check(path).map_err(io)? {
        Verdict::TornEnd { path: log, offset } => {
            let db = open(path, DBRecoveryMode::PointInTime)
                .map_err(|error| open_error(path, &error))?;
            Ok((db, Some(format!("{} at byte {offset}", log.display()))))
        }
        Verdict::Damaged { path: log, offset } => {
            let log = log.display();
            let detail = format!("{log} is damaged at byte {offset}, with sound records after it");
            Err(OpenError::Corrupt { path: path.into(), detail, hint: RESTORE_HINT })
        }
        Verdict::Sound => Err(open_error(path, &error)),
    }
}

fn database_options(recovery: DBRecoveryMode) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true); // the first start makes the store
    options.create_missing_column_families(true); // likewise
    options.set_paranoid_checks(true); // damage is an error, never a shorter answer
    options.set_wal_recovery_mode(recovery); // see `wal`
    options.set_max_total_wal_size(LOG_BYTES_MAX); // bounds the time that a start takes
    options.set_max_open_files(OPEN_FILES_MAX); // bounds descriptors and the memory of open tables
    options.increase_parallelism(BACKGROUND_THREADS); // flushes do not wait for compactions
    options.set_bytes_per_sync(WRITE_BACK_BYTES); // spreads write-back
    options.set_allow_concurrent_memtable_write(false); // one writer: no locks between writers
    options.set_avoid_unnecessary_blocking_io(true); // a scan's thread does not delete files
    options.set_max_manifest_file_size(MANIFEST_BYTES_MAX); // bounds what a start reads
    options.set_log_level(LogLevel::Warn); // RocksDB's messages: only what is wrong
    options.set_keep_log_file_num(MESSAGE_FILES_MAX); // a bound on them (L7)
    options.set_max_log_file_size(MESSAGE_FILE_BYTES_MAX); // likewise
    options.set_stats_dump_period_sec(0); // nobody reads them
    options.set_stats_persist_period_sec(0); // likewise, and they take memory
    options
}

fn rows_options(cache: &Cache) -> Options {
    let mut table = table_options(cache);
    table.set_block_size(ROWS_READ_BYTES);
    table.set_bloom_filter(BLOOM_BITS, false); // most rows looked up first do not exist
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_compression_type(DBCompressionType::Lz4); // rows repeat their prefixes
    options.set_write_buffer_size(ROWS_BUFFER_BYTES);
    options.set_max_write_buffer_number(BUFFERS_MAX);
    options
}

fn blocks_options(cache: &Cache) -> Options {
    let mut options = Options::default();
    options.set_block_based_table_factory(&table_options(cache));
    options.set_compression_type(DBCompressionType::None); // the tables hold keys and references
    options.set_write_buffer_size(BLOCKS_BUFFER_BYTES);
    options.set_max_write_buffer_number(BUFFERS_MAX);
    options.set_enable_blob_files(true); // values apart from keys
    options.set_min_blob_size(BLOB_BYTES_MIN);
    options.set_blob_file_size(BLOB_FILE_BYTES);
    options.set_blob_compression_type(DBCompressionType::None); // blocks come compressed
    options.set_enable_blob_gc(true); // room of deleted blocks comes back
    options.set_blob_gc_age_cutoff(BLOB_COLLECT_AGE);
    options.set_blob_gc_force_threshold(BLOB_COLLECT_GARBAGE);
    options
}

fn table_options(cache: &Cache) -> BlockBasedOptions {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache); // one bound for both spaces
    table.set_cache_index_and_filter_blocks(true); // they count towards it
    table.set_pin_l0_filter_and_index_blocks_in_cache(true); // every lookup needs these
    table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch); // in pieces, see their unit
    table.set_partition_filters(true); // likewise
    table.set_metadata_block_size(META_READ_BYTES);
    table.set_pin_top_level_index_and_filter(true); // small, and it says which piece
    table
}

/// Refuses a folder that holds parts of a database without its head: RocksDB would begin a new one
/// over them.
fn check_whole(path: &Path) -> Result<(), OpenError> {
    let io = |error: io::Error| OpenError::Io { path: path.into(), detail: error.to_string() };
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io(error)),
    };
    if path.join("CURRENT").exists() {
        return Ok(());
    }
    for entry in entries {
        let name = entry.map_err(io)?.file_name();
        let extension = Path::new(&name).extension().and_then(|extension| extension.to_str());
        if matches!(extension, Some("sst" | "blob")) {
            let detail = format!("the file CURRENT is missing beside {}", name.display());
            return Err(OpenError::Corrupt { path: path.into(), detail, hint: MISSING_HINT });
        }
    }
    Ok(())
}

fn open_error(path: &Path, error: &rocksdb::Error) -> OpenError {
    let detail = error.to_string();
    let path = path.to_path_buf();
    let locked = detail.contains("While lock file") || detail.contains("lock hold by");
    match error.kind() {
        ErrorKind::IOError if locked => OpenError::Locked { path },
        ErrorKind::IOError if detail.contains("No such file") => {
            OpenError::Corrupt { path, detail, hint: MISSING_HINT }
        }
        ErrorKind::Corruption => OpenError::Corrupt { path, detail, hint: RESTORE_HINT },
        ErrorKind::InvalidArgument | ErrorKind::NotSupported => {
            OpenError::Corrupt { path, detail, hint: VERSION_HINT }
        }
        _ => OpenError::Io { path, detail },
    }
}

fn read_error(space: Space, error: &rocksdb::Error) -> ReadError {
    let detail = error.to_string();
    match error.kind() {
        ErrorKind::Corruption => ReadError::Corrupt { space, detail },
        _ => ReadError::Unavailable { space, detail },
    }
}

/// Sorts a failed write. What is not known to have left the log without the record is unknown: a
/// failed sync may have written it all the same.
fn commit_error(kind: &ErrorKind, detail: String) -> CommitError {
    match kind {
        // The append came to no end, so the record is not whole in the log and is never replayed.
        ErrorKind::IOError
            if detail.contains("No space left on device") && detail.contains("While appending") =>
        {
            CommitError::Refused(Refusal::DiskFull { detail })
        }
        ErrorKind::InvalidArgument | ErrorKind::NotSupported | ErrorKind::Busy => {
            CommitError::Refused(Refusal::Rejected { detail })
        }
        ErrorKind::ShutdownInProgress | ErrorKind::ColumnFamilyDropped => {
            CommitError::Refused(Refusal::Stopped { detail })
        }
        _ => CommitError::Unknown { detail },
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a real engine goes on after real time")]
mod full_disk;
#[cfg(test)]
mod tests;
