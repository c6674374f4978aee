//! Every bound of the protocol and its data, with the reason for the number (L7).
//!
//! The relations between bounds are asserted at compile time at the end of this file. Bounds that only one end
//! knows are in that end's own `limits`; they refer to these.

use std::time::Duration;

/// Longest record, in bytes: what one line of a detector may hold. Suricata's longest EVE lines with payload and
/// packet are about 100 kB; longer lines are cut off, counted and reported.
pub const RECORD_BYTES_MAX: usize = 256 << 10;

/// Most alerts in one block. 512 alerts of 1 kB compress to about 60 kB, where zstd has seen enough to compress
/// well and one append and sync still takes well under a millisecond.
pub const BLOCK_ALERTS_MAX: usize = 512;

/// Most bytes of records in one block before compression, so that a reader knows what to set aside.
pub const BLOCK_RECORD_BYTES_MAX: usize = 1 << 20;

/// Most bytes of the part read out of the records, before compression. A field is cut at
/// [`FIELD_BYTES_MAX`], and real alerts need 100-300 bytes each before compression.
pub const BLOCK_FIELD_BYTES_MAX: usize = 1 << 20;

/// Largest block as spooled, sent and stored, in bytes: both parts incompressible, zstd's own overhead
/// (1/256 and 64 bytes each, see `ZSTD_COMPRESSBOUND`), and the header.
pub const BLOCK_BYTES_MAX: usize = (2 << 20) + (2 << 13) + 256;

/// Longest text taken out of a record into a field, in bytes. Longer ones are cut at a character's border; the
/// record itself keeps them whole.
pub const FIELD_BYTES_MAX: usize = 1024;

/// Most ATT&CK techniques taken from one alert. Rules name one or two; Sigma's most generous name nine.
pub const TECHNIQUES_MAX: usize = 16;

/// Largest frame's body, in bytes, read before anything is allocated.
pub const FRAME_BYTES_MAX: usize = BLOCK_BYTES_MAX + 64;

/// Largest body of a frame on the control stream, in bytes: the largest there is a host's context.
pub const CONTROL_FRAME_BYTES_MAX: usize = 64 << 10;

/// Most interfaces, addresses or names in a host's context. A container host with hundreds of veth pairs is cut
/// here and says so.
pub const CONTEXT_ITEMS_MAX: usize = 256;

/// Largest encoding of a host's context, in bytes; what makes it larger is cut.
pub const CONTEXT_BYTES_MAX: usize = CONTROL_FRAME_BYTES_MAX - 64;

/// Longest text in a host's context, in bytes: a DNS name has at most 253.
pub const CONTEXT_TEXT_BYTES_MAX: usize = 256;

/// Longest interval of the ledger as it is encoded, in bytes. A source's sums take some 30 bytes and each rule that
/// counted a name and a number: an agent whose interval gets this long closes it before its minute is over.
pub const LEDGER_INTERVAL_BYTES_MAX: usize = 16 << 10;

/// Most sources in one interval: twice what an agent may be configured with, for those that were just removed.
pub const LEDGER_SOURCES_MAX: usize = 64;

/// Most intervals in one frame. A day offline is a handful of frames, and a coordinator stores one in a millisecond.
pub const LEDGER_FRAME_INTERVALS_MAX: usize = 16;

/// Most bytes of intervals in one frame, beside its first.
pub const LEDGER_FRAME_BYTES_MAX: usize = 24 << 10;

/// Most blocks in flight on one lane. With 60 kB blocks this covers 100 ms at 10,000 alerts/ms.
pub const WINDOW_BLOCKS_MAX: u32 = 64;

/// Most bytes in flight on one lane: what a coordinator holds in memory for one lane of one agent.
pub const WINDOW_BYTES_MAX: usize = 8 << 20;

/// How often an agent says that it lives, and the longest silence in which its lag can grow unseen.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(15);

/// How long a coordinator waits for the next frame before it closes: three heartbeats may be lost.
pub const SILENCE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a peer may take from connecting to its first frame, and the other to answer.
pub const GREETING_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an agent waits for the next ack of a lane with blocks in flight before it dials anew.
pub const ACK_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a coordinator may take to make a block durable before it gives up on the connection.
pub const COMMIT_TIMEOUT: Duration = Duration::from_secs(20);

/// Shortest and longest wait before an agent dials again.
pub const BACKOFF_MIN: Duration = Duration::from_millis(250);
/// Longest wait before an agent dials again: half of the 60 s in which all are back after a restart.
pub const BACKOFF_MAX: Duration = Duration::from_secs(30);

/// Longest id of a policy's rule, in bytes: Sigma's are UUIDs of 36, and people's own are words.
pub const RULE_ID_BYTES_MAX: usize = 128;

/// Most bytes of blocks that one recall may ask one agent for: half a million records of 1 kB.
pub const RECALL_BYTES_MAX: u64 = 64 << 20;

/// Most addresses of coordinators in a join token: a handful of coordinators serve one agent, and all are tried before
/// it waits.
pub const JOIN_ADDRESSES_MAX: usize = 8;
/// Longest of them, in bytes: a DNS name of 253 and a port.
pub const JOIN_ADDRESS_BYTES_MAX: usize = 260;
/// Largest frame of a join, in bytes: a chain of three certificates has 3,000, a signing request 300.
pub const JOIN_FRAME_BYTES_MAX: usize = 16 << 10;

/// Longest signing request, in bytes: one for an RSA key of 4,096 bits has 1,600, ours have 300.
pub const SIGNING_REQUEST_BYTES_MAX: usize = 4 << 10;
/// Most certificates of a chain: a leaf, its issuer, and two that cross-sign where authorities are replaced.
pub const CHAIN_CERTIFICATES_MAX: usize = 4;
/// Most bytes of them.
pub const CHAIN_BYTES_MAX: usize = 16 << 10;

/// Largest signed policy, in bytes, packed: with it a frame of the control stream and, in base64, a request to the API
/// stay within their 64 KiB. Rules pack to a fifth, so it holds some two hundred.
pub const POLICY_ENVELOPE_BYTES_MAX: usize = 40 << 10;
/// Longest text of a signed policy, in bytes, unpacked: what is set aside for it, whatever its frame claims.
pub const POLICY_SOURCE_BYTES_MAX: usize = 512 << 10;
/// Most keys that policies may be signed by: those of four people, before and after a change.
pub const POLICY_KEYS_MAX: usize = 8;
/// Longest life of a signed policy: a year and a month's grace, so that what suppresses is looked at each year (L8).
pub const POLICY_LIFE_MAX: Duration = Duration::from_secs(400 * 24 * 60 * 60);
/// Most roots of a trust bundle: the present one and the next, for two authorities that are merged.
pub const TRUST_ROOTS_MAX: usize = 4;
/// Longest certificate of a root, in bytes: one with an RSA key of 8,192 bits has 2,600, ours have 500.
pub const TRUST_ROOT_BYTES_MAX: usize = 4 << 10;
/// Most stolen intermediates that a trust bundle names: each stays named until it ends, two years as they are made.
pub const TRUST_DISTRUSTED_MAX: usize = 16;
/// Largest signed trust bundle, in bytes: the longest roots, all that is distrusted, and a name.
pub const TRUST_ENVELOPE_BYTES_MAX: usize = 18 << 10;
/// Longest text that an agent says about a policy or a trust bundle that it refuses, in bytes: a line, a rule's id, and
/// what is wrong.
pub const POLICY_DETAIL_BYTES_MAX: usize = 512;

/// How far an event's time may lie ahead of its arrival before it is not believed.
pub const FUTURE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Longest source of Sigma rules, in bytes: all 3,780 public rules together have 8 MiB.
pub const SIGMA_SOURCE_BYTES_MAX: usize = 16 << 20;

/// Most documents in one source of Sigma rules, and most rules in a set: five times the public rules.
pub const SIGMA_DOCUMENTS_MAX: usize = 20_000;
/// Most rules in a set: five times the public rules.
pub const SIGMA_RULES_MAX: usize = 20_000;

/// Most nodes of one Sigma rule as YAML, copies by aliases counted. The largest public rule has 4,000.
pub const SIGMA_DOCUMENT_NODES_MAX: usize = 50_000;

/// Deepest nesting of one Sigma rule as YAML. Rules need five levels; what reads them goes down by recursion.
pub const SIGMA_YAML_DEPTH_MAX: usize = 64;

/// Longest condition of a Sigma rule, in bytes. The longest public one has 500.
pub const SIGMA_CONDITION_BYTES_MAX: usize = 16 << 10;

/// Deepest nesting of a condition. People write four levels.
pub const SIGMA_CONDITION_DEPTH_MAX: usize = 64;

/// Longest text that a Sigma rule asks for, in bytes. Longer texts are scripts, which nobody finds again whole.
pub const SIGMA_TEXT_BYTES_MAX: usize = 8 << 10;

/// Most values that one Sigma rule asks for, once modifiers and its condition have multiplied them. The largest public
/// rules list 2,000 hashes; seven dashes under `windash` make 78,125.
pub const SIGMA_RULE_VALUES_MAX: usize = 100_000;

/// Most memory of one compiled regular expression, in bytes. `\w{1,64}` in Unicode takes more than one MiB, and a
/// public rule has it; all others stay below that.
pub const SIGMA_REGEX_BYTES_MAX: usize = 4 << 20;

/// Most memory in which one regular expression may keep what it learnt while matching, in bytes. Two hundred of them
/// at work stay below an agent's footprint; where it is short, matching is slower.
pub const SIGMA_REGEX_CACHE_BYTES_MAX: usize = 128 << 10;

/// Most rules that one correlation refers to. Public ones name five.
pub const SIGMA_CORRELATION_RULES_MAX: usize = 64;

/// Highest count that a correlation may ask for: that many events of a group are remembered, at 24 bytes each.
pub const SIGMA_CORRELATION_COUNT_MAX: usize = 10_000;

/// Most groups that all correlations remember: 200 bytes each, 2 MB together.
pub const SIGMA_CORRELATION_GROUPS_MAX: usize = 10_000;

/// Most events that all correlations remember, at 24 bytes each: 2.4 MB together.
pub const SIGMA_CORRELATION_ENTRIES_MAX: usize = 100_000;

/// Most events that an ordered correlation remembers of one group and rule. The newest are those that can still be part
/// of a sequence; older ones matter only for events that come late.
pub const SIGMA_CORRELATION_STEPS_MAX: usize = 16;

const _: () =
    assert!(RECORD_BYTES_MAX <= BLOCK_RECORD_BYTES_MAX, "a block holds its longest record");
const _: () = assert!(
    BLOCK_BYTES_MAX >= BLOCK_RECORD_BYTES_MAX + BLOCK_FIELD_BYTES_MAX + (1 << 13) + 256,
    "a block of incompressible parts fits"
);
const _: () = assert!(FRAME_BYTES_MAX >= BLOCK_BYTES_MAX + 16, "a full block fits one frame");
const _: () = assert!(CONTROL_FRAME_BYTES_MAX <= FRAME_BYTES_MAX, "control frames are frames");
const _: () = assert!(
    LEDGER_INTERVAL_BYTES_MAX + LEDGER_FRAME_BYTES_MAX + 64 <= CONTROL_FRAME_BYTES_MAX,
    "the longest interval and what may go with it fit one frame"
);
const _: () =
    assert!(WINDOW_BYTES_MAX >= 2 * BLOCK_BYTES_MAX, "a lane can have two blocks in flight");
const _: () = assert!(BLOCK_ALERTS_MAX <= u16::MAX as usize, "a position in a block fits 16 bits");
const _: () =
    assert!(HEARTBEAT_INTERVAL.as_millis() * 3 < SILENCE_TIMEOUT.as_millis(), "beats may be lost");
const _: () =
    assert!(COMMIT_TIMEOUT.as_millis() < ACK_TIMEOUT.as_millis(), "the coordinator gives up first");
const _: () = assert!(RULE_ID_BYTES_MAX <= FIELD_BYTES_MAX, "a rule's id is a field of an alert");
const _: () =
    assert!(RECALL_BYTES_MAX >= BLOCK_BYTES_MAX as u64, "an answer holds the largest block");
const _: () = assert!(
    JOIN_ADDRESSES_MAX * JOIN_ADDRESS_BYTES_MAX * 2 <= JOIN_FRAME_BYTES_MAX,
    "the longest token fits its bound"
);
const _: () = assert!(
    CHAIN_BYTES_MAX + SIGNING_REQUEST_BYTES_MAX < CONTROL_FRAME_BYTES_MAX,
    "a renewal fits control frames"
);
const _: () = assert!(
    TRUST_ROOTS_MAX * (TRUST_ROOT_BYTES_MAX + 8) + TRUST_DISTRUSTED_MAX * 32 + 512
        <= TRUST_ENVELOPE_BYTES_MAX
        && TRUST_ENVELOPE_BYTES_MAX + 64 <= CONTROL_FRAME_BYTES_MAX,
    "the largest trust bundle fits its envelope, and that a frame"
);
const _: () = assert!(
    POLICY_ENVELOPE_BYTES_MAX + 64 <= CONTROL_FRAME_BYTES_MAX
        && POLICY_ENVELOPE_BYTES_MAX < POLICY_SOURCE_BYTES_MAX,
    "a signed policy fits a control frame"
);
const _: () = assert!(BACKOFF_MIN.as_millis() < BACKOFF_MAX.as_millis(), "waiting grows");
const _: () = assert!(
    SIGMA_TEXT_BYTES_MAX <= SIGMA_SOURCE_BYTES_MAX && SIGMA_RULES_MAX <= SIGMA_DOCUMENTS_MAX,
    "what is in a source is bounded by it"
);
const _: () = assert!(
    SIGMA_CORRELATION_COUNT_MAX < SIGMA_CORRELATION_ENTRIES_MAX
        && SIGMA_CORRELATION_RULES_MAX * SIGMA_CORRELATION_STEPS_MAX
            < SIGMA_CORRELATION_ENTRIES_MAX,
    "one group fits into what all may remember"
);
