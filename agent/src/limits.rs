//! Every bound that only the agent knows, with the reason for the number (L7).
//!
//! What both ends must agree on is in [`shared::limits`]; these bounds refer to it.

use std::{ops::RangeInclusive, time::Duration};

use shared::limits::{
    BLOCK_RECORD_BYTES_MAX, FIELD_BYTES_MAX, LEDGER_INTERVAL_BYTES_MAX, RECORD_BYTES_MAX,
    SIGMA_CORRELATION_ENTRIES_MAX, SIGMA_CORRELATION_GROUPS_MAX,
};

/// Bytes asked for in one read of a file: the longest record, its newline, and a page, so that a
/// longer line is known to be one. Larger reads gained nothing; smaller ones pay for their system
/// calls.
pub const READ_BYTES: usize = RECORD_BYTES_MAX + (4 << 10);

/// Most lines handed out by one read, so that a file of two-byte lines does not need a list of
/// 130,000 spans.
pub const READ_LINES_MAX: usize = 8192;

/// Bytes at a file's start that its identity is made of: detectors write a time with microseconds
/// there, so no two files of one detector begin alike.
pub const HEAD_BYTES: usize = 256;

/// How long a file that cannot be opened or read is left alone before the next try.
pub const OPEN_RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// How much sooner UDP is tried than TCP: three times the handshake over a bad line. Longer is only waiting where UDP
/// is blocked; shorter makes a slow line a blocked one.
pub const UDP_HEAD_START: Duration = Duration::from_secs(3);

/// How long an agent that is connected over TCP waits before it tries UDP again, at first: a firewall that was mended
/// is not to be noticed hours later.
pub const UDP_RETRY_MIN: Duration = Duration::from_secs(10);

/// The same after many tries: where UDP is blocked for good, some dozen packets an hour are lost.
pub const UDP_RETRY_MAX: Duration = Duration::from_secs(600);

/// How long a connection over UDP must be good before the one over TCP is left: firewalls that look at the first
/// packets let a handshake begin.
pub const UDP_PROOF: Duration = Duration::from_secs(2);

/// After how many connections over UDP in a row that fell silent TCP is tried first: one may be a coordinator that was
/// switched off.
pub const UDP_SILENCES_MAX: u32 = 2;

/// A connection over UDP that lasted this long has shown that UDP can be relied on: some times the silence after which
/// one is given up.
pub const UDP_LASTING: Duration = Duration::from_secs(600);

/// How long an address that failed is tried last: longer than a dial of another takes, over both ways.
pub const ADDRESS_REST: Duration = Duration::from_secs(60);

/// Most datagrams that came through a tunnel over TCP and wait to be taken: 128 KiB.
pub const TUNNEL_QUEUE: usize = 32;

/// Bytes that the system may keep of a tunnel that are not sent yet, so that an urgent packet waits behind little.
pub const TUNNEL_UNSENT_BYTES: u32 = 64 << 10;

/// After how long the next certificate is asked for again: often enough in the third of a life that is left, and no
/// load where thousands of agents are refused.
pub const RENEW_RETRY_INTERVAL: Duration = Duration::from_secs(600);

/// Most folder entries looked at in search of a rotated file. A year of daily files of ten
/// detectors fits.
pub const ROTATED_ENTRIES_MAX: usize = 8192;

/// Most bytes of a compressed file that are unpacked to come to the place from where it was not read: some ten seconds,
/// in which no other source is read. What is behind a later place counts as lost.
pub const UNPACKED_SKIP_BYTES_MAX: u64 = 2 << 30;

/// Most bytes of the head of a request by HTTP: what a sender's name, token and habits take.
pub const HTTP_HEAD_BYTES_MAX: usize = 8 << 10;

/// Most bytes of the body of a request: some hundreds of alerts at once.
pub const HTTP_BODY_BYTES_MAX: usize = 1 << 20;

/// Most records of a request.
pub const HTTP_RECORDS_MAX: usize = 8192;

/// Most bodies that are in memory at once; further requests are put off. 8 MiB together.
pub const HTTP_BODIES_MAX: usize = 8;

/// After how long a sender that is put off is to try again.
pub const HTTP_RETRY_SECONDS: u32 = 2;

/// Bytes of a token: too many to be guessed, and no more than a header holds.
pub const HTTP_TOKEN_BYTES: RangeInclusive<usize> = 16..=512;

/// Longest cursor of the system's journal, in bytes: they have some 130.
pub const CURSOR_BYTES_MAX: usize = 512;

/// How long an exchange with a coordinator may take in which this host becomes an agent: the coordinator may have to
/// ask a signer elsewhere, and gives up first.
pub const JOIN_TIMEOUT: Duration = Duration::from_secs(60);

/// How many folders below the file's own are searched for a rotated file: Wazuh keeps `alerts.json`
/// of the day before under `<year>/<month>/`.
pub const ROTATED_DEPTH_MAX: usize = 2;

/// Most files of which it is remembered that they were read and bear one time: more than are rotated within a second,
/// which is how coarse the oldest file systems' times are.
pub const TWINS_MAX: usize = 256;

/// How often a folder is listed anew in search of a rotated file, because files were renamed
/// meanwhile. A rotation renames for some microseconds; whoever renames all the time is looked at
/// again after [`OPEN_RETRY_INTERVAL`].
pub const ROTATED_LISTINGS_MAX: usize = 8;

/// Most files whose places the sources with patterns remember together; what matches beyond a
/// source's share is not read and counted. 50,000 containers' logs fit, and the spool's largest
/// description holds them.
pub const PATTERN_FILES_MAX: usize = 65_536;

/// Bytes of memory that a remembered place takes: where it is found, and as it is stored.
pub const PLACE_MEMORY_BYTES: usize = 220;

/// Bytes that a session of TLS keeps in buffers: a record of its protocol each way, and its state.
pub const TLS_SESSION_BYTES: usize = 48 << 10;

/// Most files that the sources with patterns have open together. A process may have 1,024 open as a
/// rule; what else the agent opens takes a few dozen.
pub const PATTERN_OPEN_MAX: usize = 256;

/// Most paths that wait for their turn to be opened; while they are so many, no more are looked for.
pub const PATTERN_WAITING_MAX: usize = 512;

/// How many folder entries are looked at, or files opened, before the next source has its turn: a
/// few milliseconds' work.
pub const PATTERN_STEP: usize = 512;

/// Most folders within one another in which files of a pattern are looked for.
pub const PATTERN_DEPTH_MAX: usize = 64;

/// How often the folders of a pattern are looked through, where they are small.
pub const PATTERN_INTERVAL: Duration = Duration::from_secs(1);

/// How many paths are looked at in a second at most, but for the first time: a hundredth of a processor's time.
pub const PATTERN_PATHS_PER_SECOND: u32 = 5_000;

/// For how many files of a pattern that are found anew in one pass it is looked whether others were rotated away from
/// their paths before: each is a listing of the folder.
pub const PATTERN_SEARCHES_MAX: u32 = 16;

/// How long a file of a pattern stays open with nothing to read.
pub const FILE_IDLE_AFTER: Duration = Duration::from_secs(30);

/// After how long a file that is at no path of its pattern is forgotten: a day, so that a disk that
/// is away for the night, or a rotation that makes the new file late, costs nothing.
pub const FILE_FORGET_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// After how long a file that was read to its end, and to which no path of the pattern leads, is
/// forgotten: what rotates it may take its time to put it where the pattern finds it.
pub const LEFT_FORGET_AFTER: Duration = Duration::from_secs(60 * 60);

/// Most bytes of places that change before they are stored: what one commit writes of them.
pub const PLACES_BYTES_MAX: usize = 1 << 20;

/// Most event logs of Windows that a source remembers: Windows itself has some four hundred.
pub const EVENT_LOGS_MAX: usize = 512;

/// Longest path of an event log, in bytes. Most sources of event logs: one pattern names as many folders as one likes.
/// All their places together are a part of what a spool may hold of places.
pub const EVENT_LOG_PATH_BYTES_MAX: usize = 256;
/// See [`EVENT_LOG_PATH_BYTES_MAX`].
pub const EVENT_LOG_SOURCES_MAX: usize = 4;

const _: () = assert!(
    EVENT_LOG_SOURCES_MAX * EVENT_LOGS_MAX * (EVENT_LOG_PATH_BYTES_MAX + 32) <= 1 << 20,
    "places of event logs take a megabyte"
);

/// Largest event log, in bytes: what Windows lets one be.
pub const EVENT_LOG_BYTES_MAX: u64 = 4 << 30;

/// Most memory of the child that reads an event log, address space included: it takes a chunk of 64 KiB at a time. With
/// the agent's own it stays within what the service may take.
pub const EVENTS_MEMORY_MAX: u64 = 112 << 20;

/// Most bytes of places that stay stored of sources which are no longer configured: thousands of files. With the
/// places of all files of patterns, and the ledger, they fit what a spool may hold of them.
pub const STALE_PLACES_BYTES_MAX: usize = 1 << 20;

/// Most finished blocks that wait in memory for their commit. One sync carries them all: at eight
/// blocks of 60 kB it writes 0.5 MB, where the write begins to cost as much as the sync itself.
pub const READY_BLOCKS_MAX: usize = 8;

/// Most bytes of records, before compression, in finished blocks that wait for their commit.
pub const READY_RECORD_BYTES_MAX: usize = 4 << 20;

/// Most bytes of records and fields, before compression, in finished and open blocks that one commit makes durable.
/// With the largest record beside them they fit a commit of the spool even where nothing shrinks.
pub const READY_BYTES_MAX: usize = 6 << 20;

/// How old an alert gets in an open block before it is committed although the block is not full.
pub const BLOCK_AGE_MAX: Duration = Duration::from_millis(50);

/// How old a held alert gets before it is flushed although its block is not full. Nobody waits for
/// it, so its blocks may get larger than those that are sent; every commit flushes it anyway.
pub const HELD_AGE_MAX: Duration = Duration::from_secs(1);

/// How long a held ring that took nothing is left alone; what it should hold is sent meanwhile.
pub const HELD_RETRY_WAIT: Duration = Duration::from_secs(1);

/// Most rules that a held ring knows, those of which only tombstones are left included. A policy may
/// have more: what further ones would hold is sent.
pub const HELD_RULES_MAX: usize = 128;

/// Most chunks of a held ring: twice as many as fill it, as a restart may begin a new one. With all
/// rules in all chunks they take 1 MiB; of a dozen rules, 100 kB.
pub const HELD_CHUNKS_MAX: usize = 256;

/// Most bytes of what a held ring knows of its chunks, about: all rules in all of them, once decoded and once as it is
/// committed.
pub const HELD_STATE_BYTES_MAX: usize = 3 << 20;

/// Most tombstones of one rule; when there are more, the two oldest become one.
pub const HELD_TOMBSTONES_MAX: usize = 16;

/// From how long ago on the newest tombstone of a rule is not added to any more when a ring takes nothing: what could
/// not be kept within ten minutes is told as one.
pub const TOMBSTONE_SHARED_MAX: Duration = Duration::from_secs(600);

/// How long a rule of which nothing is held any more is remembered for its tombstones, at least.
pub const TOMBSTONE_AGE_MAX: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// Most alternative paths in a field map, over all its fields.
pub const FIELD_MAP_PATHS_MAX: usize = 128;

/// Most lines from which is guessed what wrote a file: a detector's other events come between its
/// alerts, and a hundred of them name it.
pub const GUESSED_LINES_MAX: usize = 100;

/// Most different values that `normalise` keeps of one attribute or place to show the most frequent:
/// enough for a detector's rules; of a time or a port, some.
pub const SHOWN_VALUES_MAX: usize = 1_000;

/// Most places that `normalise` names of what nothing reads. EVE has some 250.
pub const SHOWN_PLACES_MAX: usize = 1_000;

/// Most records in which `normalise` looks for what nothing reads, which takes far longer than
/// reading them.
pub const SHOWN_RECORDS_MAX: u64 = 20_000;

/// Most bytes of a file's beginning in which header lines are looked for. Zeek's widest logs have
/// headers of 2 kB.
pub const HEADER_BYTES_MAX: usize = 64 << 10;

/// Most connections of one source that messages come over. 64: a site's devices; each holds at most
/// one message that is not whole, together 17 MiB at worst and some 10 kB each as a rule.
pub const CONNECTIONS_MAX: usize = 64;

/// How long a connection may leave a message unfinished before it is taken as it is and the
/// connection closed. A minute: no sender pauses within a message for so long, and what it holds is
/// memory.
pub const UNFINISHED_MAX: Duration = Duration::from_secs(60);

/// Most bytes of a datagram: what UDP's length can say.
pub const DATAGRAM_BYTES_MAX: usize = 65_535;

/// Most keys that are being folded. 4,096: a site's hosts times the few rules that fire again and
/// again; with their texts about 1 MiB. A further key's alerts are let through.
pub const FOLD_KEYS_MAX: usize = 4096;

/// Most bytes of folded keys and of the alerts that are kept to be handed out with their counts. With
/// what a flood takes besides, the agent stays well below its 32 MiB.
pub const FOLD_BYTES_MAX: usize = 4 << 20;

/// How long the like of an alert that was let through are folded, unless the rule says.
pub const FOLD_PERIOD_DEFAULT: Duration = Duration::from_secs(60 * 60);

/// Shortest time that a rule may fold for: what is shorter folds next to nothing, and every end of a
/// period is a look at all keys.
pub const FOLD_PERIOD_MIN: Duration = Duration::from_secs(10);

/// Longest time that a rule may fold for: nothing goes unseen for more than a day (L8).
pub const FOLD_PERIOD_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// How often keys of which nothing came are looked for while there is no room: the look is at all of
/// them.
pub const FOLD_TIDY_INTERVAL: Duration = Duration::from_secs(1);

/// Most fields that a rule may fold by. 8: more than tell any two alerts apart.
pub const FOLD_PARTS_MAX: usize = 8;

/// Largest policy in bytes: a thousand rules with their descriptions.
pub const POLICY_BYTES_MAX: usize = 2 << 20;

/// Most rules of a policy. What a customer has agreed to is some tens; every rule is a row of the
/// status, which is written once a second.
pub const POLICY_RULES_MAX: usize = 1024;

/// Longest id, name or owner in a policy, in bytes: the rule's id stands in every alert that it
/// decided about.
pub const POLICY_TEXT_BYTES_MAX: usize = 128;

/// Most bytes of the title of a policy's rule: those of Sigma's specification, in two-byte letters. With as many rules
/// as may be they fit the status file.
pub const POLICY_TITLE_BYTES_MAX: usize = 512;

/// How far ahead a rule's end may lie: what suppresses is looked at again at least once a year (L8).
pub const POLICY_EXPIRY_MAX: Duration = Duration::from_secs(400 * 24 * 60 * 60);

/// Most memory of a policy in force: what it folds, what its correlations remember (both bounds are the
/// matcher's), and twice its rules, while one takes the place of another. Rules take some 4 kB each with
/// what matches them; expressions can take more.
pub const POLICY_MEMORY_BYTES_MAX: usize = FOLD_BYTES_MAX
    + SIGMA_CORRELATION_GROUPS_MAX * 200
    + SIGMA_CORRELATION_ENTRIES_MAX * 24
    + 2 * (4 << 20);

/// How far an alert's time may lie ahead of the agent's clock for a correlation: as much as the clocks of hosts that
/// keep time differ. What lies further ahead counts as that.
pub const CORRELATION_AHEAD_MAX: Duration = Duration::from_secs(60);

/// Most bytes of a file with the keys that policies may be signed by: eight keys of sixty bytes, and whatever people
/// write between them.
pub const POLICY_KEYS_BYTES_MAX: u64 = 64 << 10;

/// How often a signed policy that is stored and could not be put in force is tried again: a clock that was wrong at the
/// start is set within minutes, and reading two hundred rules takes some ten milliseconds.
pub const POLICY_RETRY_INTERVAL: Duration = Duration::from_secs(60);

/// How often in a row the agent may end soon after it put a signed policy in force, before it goes on without it: once
/// is chance, and twice may be whoever works on the host.
pub const POLICY_TRIALS_MAX: u8 = 3;
/// How long the agent runs under a policy until that is one under which it lasts: the first records have come, and each
/// of its rules' periods of a minute has ended several times.
pub const POLICY_TRIED_AFTER: Duration = Duration::from_secs(5 * 60);

/// How often the policy's file is looked at for a change.
pub const POLICY_LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// Bytes that the program takes beside its buffers: code, TLS, the runtime, what the allocator keeps. Some 8 MiB are
/// measured when it is idle, some more after a flood.
pub const MEMORY_BASE_BYTES: u64 = 16 << 20;

/// Most memory unless the configuration says otherwise, or the sources need more. A flood of a file takes half of it.
pub const MEMORY_BYTES_DEFAULT: u64 = 64 << 20;

/// Processor time that may be used at once by an agent that was idle, whatever its share: half a second reads
/// some 100,000 alerts, more than a detector writes in one burst.
pub const PACE_BURST: Duration = Duration::from_millis(500);

/// Most processor time that the agent is made to pay back. The uplink is not slowed, so sending a backlog can cost more
/// than the share for long; the sources are then still read, a little every few seconds. 200 ms is what a hundred reads
/// cost, and at the smallest share four seconds of waiting, which is also what an urgent alert then waits at worst.
pub const PACE_DEBT_MAX: Duration = Duration::from_millis(200);

/// How many of the oldest intervals of the ledger may be on their way to the coordinator. They are never merged; at the
/// longest they are 512 KiB.
pub const LEDGER_WINDOW: usize = 32;

/// Most closed intervals of the ledger that wait for their ack: eight hours in minutes, or, as they are merged into
/// hours, three weeks.
pub const LEDGER_WAITING_MAX: usize = 512;

/// Most bytes that closed intervals of the ledger wait in. Each segment of the spool begins with all of them, and they
/// are read at each start.
pub const LEDGER_WAITING_BYTES_MAX: usize = 1 << 20;

/// Longest interval that is made of shorter ones while others can be merged.
pub const LEDGER_MERGED_MAX: Duration = Duration::from_secs(60 * 60);

const _: () = assert!(
    LEDGER_WAITING_BYTES_MAX >= 2 * LEDGER_WINDOW * LEDGER_INTERVAL_BYTES_MAX,
    "there is something to merge behind the window"
);
const _: () = assert!(LEDGER_WAITING_MAX > 2 * LEDGER_WINDOW, "minutes stay minutes for a while");

/// Most bytes read of a file that the system makes or keeps about itself. `/proc/stat` of a host with
/// some hundred processors, which is the longest of them, has 100 kB.
pub const PROC_FILE_BYTES_MAX: usize = 256 << 10;

/// Most bytes of a row in the kernel's tables of sockets, which have about 150; a longer one is no
/// row.
pub const SOCKET_LINE_BYTES_MAX: usize = 512;

/// Most sockets of which is remembered who holds them: 24 bytes each, 200 kB with the table's room.
pub const OWNERS_MAX: usize = 4096;

/// How many of the newest processes are looked into first where a walk over all goes on from before.
pub const NEW_PROCESSES: usize = 16;

/// Most ancestors told of a process: the shell, the session and the service that began it.
pub const ANCESTORS_MAX: usize = 4;

/// Longest name of a process, in bytes. The kernel keeps 15 bytes for programs, 63 for its own.
pub const PROCESS_NAME_BYTES_MAX: usize = 64;

/// Longest path of a program, in bytes; of a longer one the end is kept.
pub const PROCESS_PATH_BYTES_MAX: usize = 192;

/// Most users whose names are known. A host's own file has some fifty; directories are not asked.
pub const USERS_MAX: usize = 1024;

/// Longest name of a user, in bytes: what `useradd` allows.
pub const USER_NAME_BYTES_MAX: usize = 32;

/// Longest time that one look-up of a connection's process takes: the sources wait for it. To walk
/// through 300 processes with 1,400 open files takes about half of that on a small, busy virtual
/// machine; where there are more, a walk is spread over several look-ups.
pub const LOOKUP_TIME_MAX: Duration = Duration::from_millis(20);

/// Longest time that all look-ups of a second take together: a twentieth of the pipeline's time.
pub const LOOKUPS_TIME_MAX: Duration = Duration::from_millis(50);

/// How old an alert may be for its connection to be looked up. Half a minute: detectors write within
/// seconds, and later another process may have the same ports.
pub const ATTRIBUTION_AGE_MAX: Duration = Duration::from_secs(30);

/// How long the answer about a connection is given again without another look.
pub const ANSWER_AGE_MAX: Duration = Duration::from_secs(10);

/// How long the answer that a connection's process is not known is given again.
pub const REFUSAL_AGE_MAX: Duration = Duration::from_secs(1);

/// Most answers kept: some 600 bytes each, 300 kB in all.
pub const ANSWERS_MAX: usize = 512;

/// Longest text about one end of a connection, in bytes: both fit the field.
pub const ATTRIBUTION_END_BYTES_MAX: usize = FIELD_BYTES_MAX / 2 - 16;

/// Longest time that one look at the host takes to find the processes that listen: it holds up the
/// uplink's thread once a minute. What it did not get to is found by the next look.
pub const OWNERS_TIME_MAX: Duration = Duration::from_millis(20);

/// How often the same context is said again at least: twice a day, so that no day passes without.
pub const CONTEXT_AGAIN_INTERVAL: Duration = Duration::from_secs(12 * 60 * 60);

/// How soon a context is said again because somebody has logged in or out.
pub const CONTEXT_USERS_INTERVAL: Duration = Duration::from_secs(15 * 60);

/// Most changes of the host's context that are said within [`CONTEXT_CHANGES_INTERVAL`]. Eight: a
/// host that starts, or is set up by a person, has a few in a row; one on which something comes and
/// goes each minute makes some 190 versions a day at most.
pub const CONTEXT_CHANGES_MAX: usize = 8;

/// Within what time changes of the context are counted.
pub const CONTEXT_CHANGES_INTERVAL: Duration = Duration::from_secs(60 * 60);

const _: () = assert!(LOOKUP_TIME_MAX.as_millis() <= LOOKUPS_TIME_MAX.as_millis(), "one may run");
const _: () = assert!(REFUSAL_AGE_MAX.as_millis() <= ANSWER_AGE_MAX.as_millis(), "a no is rasher");
const _: () = assert!(READ_BYTES > RECORD_BYTES_MAX + 1, "an over-long line is known as one");
const _: () = assert!(READ_LINES_MAX > 0 && READ_BYTES <= u32::MAX as usize, "spans are 32 bits");
const _: () = assert!(READY_RECORD_BYTES_MAX >= BLOCK_RECORD_BYTES_MAX, "a full block may wait");
const _: () = assert!(HELD_RULES_MAX < u16::MAX as usize, "a rule's number fits 16 bits");
const _: () = assert!(FIELD_MAP_PATHS_MAX < u8::MAX as usize, "a path's rank fits 8 bits");
const _: () = assert!(FOLD_BYTES_MAX >= 8 * RECORD_BYTES_MAX, "the longest records can be folded");
