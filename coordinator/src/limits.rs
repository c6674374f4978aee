//! Bounds of the coordinator, with the reason for each number (L7). Those of the protocol are in [`shared::limits`].

use std::time::Duration;

use shared::{ids::Lane, limits::SILENCE_TIMEOUT};

/// How far apart in event time two alerts of one host may lie and still be one case. An hour is the gap at which
/// grouping by host and rule was found to show every kind of attack while it is still going on.
pub const CASE_GAP: Duration = Duration::from_secs(60 * 60);

/// How long a case may stretch in event time. A host that alerts all day would otherwise never begin a new case.
pub const CASE_SPAN_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Most different findings that a case names. Further ones are counted together; their alerts stay in the case.
pub const FINDINGS_MAX: usize = 64;

/// Of how many findings beyond those a case knows that it has them, and asks nobody again. Eight bytes each; with them
/// it knows 256, more rules than a detector raises about one host in a day.
pub const OTHERS_MAX: usize = 192;

/// Most cases that are remembered by host for joining, the newest by event time. A backlog of a month is 31.
pub const HOST_CASES_MAX: usize = 32;

/// Most hosts that are remembered of those that use one identity: a person decides between two, and an image that was
/// copied to a hundred is told by eight as well.
pub const CLAIMING_HOSTS_MAX: usize = 8;
/// How long whoever has a session may take to show that it lives when another host greets with its identity, besides
/// what packets take to it and back. A living agent answers in a millisecond; for a dead one its next process waits.
pub const PROBE_TIMEOUT: Duration = Duration::from_millis(500);
/// Most processes that are remembered to have been replaced, over all agents: one that comes back was not dead. Of as
/// many agents as connect at once after an hour without a coordinator.
pub const REPLACED_MAX: usize = 4_096;
/// How long a conflict that was decided stays when none of the other hosts is heard of, where it does not end by the
/// next certificate of the one that keeps the identity.
pub const CONFLICT_QUIET: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Most notes on a case, and the longest text that a person may attach, in bytes.
pub const NOTES_MAX: usize = 256;
/// Longest note or reason, in bytes: a page of text.
pub const TEXT_BYTES_MAX: usize = 4096;

/// Lease where none is asked for: long enough to judge a case, short enough that a closed laptop costs little.
pub const LEASE_DEFAULT: Duration = Duration::from_secs(15 * 60);
/// Longest lease that can be asked for. Longer work renews.
pub const LEASE_MAX: Duration = Duration::from_secs(60 * 60);
/// Shortest lease that can be asked for.
pub const LEASE_MIN: Duration = Duration::from_secs(30);

/// How often a claim is tried again when the view was a moment behind the store.
pub const CLAIM_TRIES_MAX: usize = 16;

/// Most commands of one priority that wait for the writer. Each holds at most one block, so this bounds waiting bytes,
/// too.
pub const WRITER_QUEUE_MAX: usize = 256;
/// Most commands that share one sync, and most bytes. 4 MiB is a few milliseconds of disk, so nobody waits long.
pub const GROUP_COMMANDS_MAX: usize = 128;
/// Most bytes that share one sync.
pub const GROUP_BYTES_MAX: usize = 4 << 20;

/// Most bytes of blocks that agents sent and that are not stored yet, over all sessions: seconds of what the writer
/// stores, and no machine that runs a coordinator lacks them. Beyond it streams are not read, and agents wait.
pub const IN_FLIGHT_BYTES_MAX: usize = 256 << 20;

/// Most bytes of rows that stay decoded beside the writer, about: some 14,000 cases with a few findings, which is
/// more than are added to within an hour.
pub const KEPT_BYTES_MAX: usize = 16 << 20;

/// Most items on a page, and how many where none is asked for.
pub const PAGE_ITEMS_MAX: usize = 500;
/// Items on a page where none is asked for.
pub const PAGE_ITEMS_DEFAULT: usize = 50;

/// Most blocks that one search decodes for a page; the cursor goes on behind them.
pub const SEARCH_BLOCKS_MAX: usize = 256;

/// Most bytes of records on one page of alerts: a page of ordinary alerts of 1 kB holds all its records.
pub const PAGE_RECORD_BYTES_MAX: usize = 4 << 20;

/// Most days of the entity index that one search looks into for a page; each costs two short scans.
pub const SEARCH_DAYS_MAX: usize = 366;

/// Most gaps of an agent that are counted for a list. More than this says "a lot", and the gaps have their own list.
pub const GAPS_COUNTED_MAX: usize = 1_000;

/// Rows of ledgers that are read at once: a tenant of ten agents has as many in an hour.
pub const LEDGER_ROWS_READ: usize = 600;
/// Rows of ledgers that are looked at for one page, where another agent's are passed over: a tenth of a second's work.
pub const LEDGER_ROWS_LOOKED: usize = 24_000;

/// Most intervals that one page of a ledger sums up; the cursor goes on behind them. A day of one agent, about 10 ms.
pub const LEDGER_INTERVALS_MAX: usize = 1_500;

/// Most contexts of a host that are looked through for the one that an alert names. A host changes a few times a day.
pub const CONTEXTS_READ_MAX: usize = 256;

/// Most journal entries that the tail reads at once.
pub const TAIL_ENTRIES_MAX: usize = 512;

/// Most cases that are read at once while the view is built: a page is less than a megabyte.
pub const VIEW_SCAN_ROWS_MAX: usize = 1_000;

/// Most cases that are rewritten with one sync when a store is brought to this version: a full one of an earlier
/// version had some 15 kB, and 64 findings.
pub const UPGRADE_CASES_MAX: usize = 64;

/// How often leases are looked at. A case that comes back a second late costs nobody their SLA.
pub const EXPIRE_INTERVAL: Duration = Duration::from_secs(1);
/// Most leases that are ended at once, so that the writer is not held up; the rest a second later.
pub const EXPIRE_CASES_MAX: usize = 256;

/// How often old data is looked for. At 200,000 alerts/s of 120 bytes a minute brings 1.4 GB.
pub const RETENTION_INTERVAL: Duration = Duration::from_secs(60);
/// How far the wall's clock may run ahead of the monotonic one between two looks before it has jumped: setting it by
/// seconds is daily business, a suspended machine wakes within the hour more often than not.
pub const CLOCK_JUMP_MAX: Duration = Duration::from_secs(60 * 60);
/// How long a clock that jumped forward is not believed where that would delete: warnings are read within a day.
pub const CLOCK_JUMP_GRACE: Duration = Duration::from_secs(24 * 60 * 60);
/// Grain of retention by age: each cut is a journal entry and a tombstone, and nobody minds an hour.
pub const RETENTION_STEP: Duration = Duration::from_secs(60 * 60);
/// Smallest cut of retention by bytes, so that it comes to an end.
pub const RETENTION_STEP_MIN: Duration = Duration::from_secs(1);
/// Most cuts by bytes in one run: each at least halves what is too much where blocks came evenly.
pub const RETENTION_PASSES_MAX: usize = 16;
/// Most rows that retention reads at once. An answer has at most 64 KiB and mostly two.
pub const RETENTION_ROWS_MAX: usize = 500;

/// Largest body of a request to the API, in bytes. The largest that people send is a note.
pub const REQUEST_BYTES_MAX: usize = 64 << 10;

/// Most requests to the API that are worked on at once, those that wait for a case included: every analyst of a large
/// service may wait, and their command lines ask besides. Each holds at most one body and one page.
pub const API_REQUESTS_MAX: usize = 512;
/// Most connections to the API at once; each costs about 60 kB with TLS.
pub const API_CONNECTIONS_MAX: usize = 1024;
/// Most requests that one HTTP/2 connection may have open: a dashboard's, not a flood's.
pub const API_STREAMS_MAX: u32 = 32;
/// How long a request may take before it is given up; more than the longest wait for a case.
pub const API_REQUEST_TIMEOUT: Duration = Duration::from_secs(45);
/// How long a client may take to send the head of a request, and how long a connection may idle before it.
pub const API_HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest that a request waits for a case: shorter than the idle timeouts of common proxies.
pub const QUEUE_WAIT_MAX: Duration = Duration::from_secs(30);
/// How long a claim waits for the view to catch up before it looks again.
pub const VIEW_WAIT_MAX: Duration = Duration::from_millis(200);

/// Most cases that are looked at for one page; the cursor goes on behind them. About 20 ms of reading.
pub const CASES_LOOKED_MAX: usize = 2_000;
/// Most cases that are looked at to find those whose id begins with some letters. Four letters are 20 bits, so a
/// million cases share them one and a bit each.
pub const CASE_MATCHES_MAX: usize = 256;
/// Shortest beginning of a case's id that names a case.
pub const CASE_LETTERS_MIN: usize = 4;

/// Longest `Idempotency-Key`, in bytes: a UUID is 36.
pub const IDEMPOTENCY_KEY_MAX: usize = 128;
/// Longest that an idempotency key is remembered.
pub const IDEMPOTENCY_RETENTION: Duration = Duration::from_secs(24 * 60 * 60);

/// How long agents are asked for a recall: a weekend and the day after it, in which a laptop comes back.
pub const RECALL_LIFE: Duration = Duration::from_secs(72 * 60 * 60);
/// Most recalls of one tenant within that time: each is looked at when one of its agents connects.
pub const RECALLS_MAX: usize = 256;
/// Most agents that one recall asks: their rows are made in one write.
pub const RECALL_AGENTS_MAX: usize = 1_000;
/// How often an agent may begin one answer: a connection that breaks each time shall not be a loop. With the pauses
/// between them they last for a day and a third: what breaks at night is tried again by day.
pub const RECALL_ATTEMPTS_MAX: u32 = 16;
/// How many of them follow on each other at once: a restart of either end breaks one.
pub const RECALL_ATTEMPTS_QUICK: u32 = 4;
/// Pause after the last quick one, which doubles with each that breaks off, too.
pub const RECALL_PAUSE_MIN: Duration = Duration::from_secs(60);
/// Longest pause: three of them pass before an answer is given up.
pub const RECALL_PAUSE_MAX: Duration = Duration::from_secs(8 * 60 * 60);
/// How long nothing may come of an agent's last attempt before it is given up: its connection is known to be gone by
/// then, and no block of an answer takes as long to be stored.
pub const RECALL_SILENCE_MAX: Duration = Duration::from_secs(2 * 60);
/// Most blocks that are decoded for one page of recalled records.
pub const RECALLED_BLOCKS_MAX: usize = 64;

/// Most versions of a tenant's policy that are kept: a year of changes every second week, 1.3 MiB at most. Besides them
/// stays the one that is meant for all who do not get the newest yet, however old it is.
pub const POLICY_VERSIONS_MAX: usize = 32;
/// Most policies that are on their way to agents and not answered, over all sessions: each holds 40 KiB at most, so
/// that a roll-out to all takes 10 MiB and not one copy an agent.
pub const POLICY_OFFERS_MAX: usize = 256;

/// Most certificates of an agent whose serial numbers are kept: the one that it greeted with last, the one by which it
/// asks for the next, and two that were issued since and may not have arrived.
pub const ISSUED_CERTIFICATES_MAX: usize = 4;
/// How many agents are asked in a second to renew because the authority was replaced: a signature, two commits and two
/// handshakes each, a tenth of a processor; ten thousand agents have renewed within nine minutes.
pub const REISSUES_PER_SECOND: u32 = 20;
/// How long a session waits before it asks its agent once more: agents try as often by themselves.
pub const REISSUE_RETRY: Duration = Duration::from_secs(10 * 60);
/// How long the refusal of a forged certificate is the last that the journal has of its agent: whoever has stolen an
/// intermediate can make as many as it likes.
pub const FORGED_NOTE_INTERVAL: Duration = Duration::from_secs(60 * 60);
/// Most agents that the progress of a new authority is counted over: as many as may be connected.
pub const AUTHORITY_AGENTS_MAX: usize = CONNECTIONS_MAX;

/// Most agents of a tenant that a roll-out looks at: as many as may be connected.
pub const ROLLOUT_AGENTS_MAX: usize = CONNECTIONS_MAX;
/// Within what time an agent was heard of that a stage is chosen among: who has been away for longer than that answers
/// nothing while the stage is watched.
pub const ROLLOUT_SEEN_WITHIN: Duration = Duration::from_secs(24 * 60 * 60);
/// How often roll-outs are looked at: a heartbeat, after which an agent's silence begins to show.
pub const ROLLOUT_LOOK_INTERVAL: Duration = Duration::from_secs(15);
/// How long a stage is watched: a day has the nightly jobs and the office's hours.
pub const ROLLOUT_WATCH: Duration = Duration::from_secs(24 * 60 * 60);
/// How far back ledgers are compared with: a day, as long as a stage is watched. For tenants of more than sixteen
/// agents [`LEDGER_ROWS_LOOKED`] ends it before that.
pub const ROLLOUT_BASELINE: Duration = Duration::from_secs(24 * 60 * 60);
/// Fewest records on either side before shares are compared: of 200, two more are one in a hundred.
pub const ROLLOUT_RECORDS_MIN: u64 = 200;
/// By how much the share of records that cannot be parsed may rise, in thousandths. No rule has a say in that, so a
/// rise beyond chance comes from something else that changed with it, and a person should look.
pub const ROLLOUT_MALFORMED_RISE: u16 = 20;
/// By how much the share of what is held back or folded may rise, in thousandths. A policy is meant to hold more; one
/// that hides a further quarter of all records was hardly meant to, and if it was, a person says so.
pub const ROLLOUT_HELD_RISE: u16 = 250;
/// By how much the share of dropped records may rise, in thousandths: rules that take too long slow the sources.
pub const ROLLOUT_DROPPED_RISE: u16 = 10;
/// By how much the share of what is lost besides may rise, in thousandths of the records: lines that are cut, files
/// that are gone before they are read, because the sources are slow.
pub const ROLLOUT_LOST_RISE: u16 = 10;
/// How much more often an agent is started again, or stops without having counted what it sent, before it counts as one
/// that crashes: an update and whoever works on the host are two.
pub const ROLLOUT_RESTARTS_RISE: u64 = 3;
/// Most agents that may crash, in thousandths of those in which it is in force: hosts that are unwell were so before.
pub const ROLLOUT_CRASHING_MAX: u16 = 50;
/// Most agents of which a share may rise beyond its bound, in thousandths of those with enough records: rules are
/// written for hosts that are noisy, and change those; one that empties a fifth of them was hardly meant to.
pub const ROLLOUT_BEYOND_MAX: u16 = 200;
/// Most agents that may refuse, in thousandths of those of the stage that answered: a few have no place to hold, or old
/// keys.
pub const ROLLOUT_REFUSED_MAX: u16 = 50;
/// Most agents that may fall silent soon after they took it, in thousandths: laptops are closed at any time.
pub const ROLLOUT_SILENT_MAX: u16 = 100;
/// How long nothing may come of an agent before it counts as silent: its session has ended by then.
pub const ROLLOUT_SILENT_AFTER: Duration = Duration::from_secs(3 * 60);
/// How soon after it took the policy an agent's silence counts: what breaks by it breaks with its first records.
pub const ROLLOUT_SILENT_WITHIN: Duration = Duration::from_secs(10 * 60);

/// Life of the token that is made at the first start: time to make everybody's own.
pub const ADMIN_TOKEN_LIFE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Longest life of a bearer token.
pub const TOKEN_LIFE_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Most tokens that are listed: those of an MSSP's programs, and two a day of each analyst's for a quarter.
pub const TOKENS_MAX: usize = 10_000;
/// How long a token is kept that is worth nothing any more: as long as people ask whose it was. Where there are
/// [`TOKENS_MAX`], all that are worth nothing go.
pub const TOKEN_RETENTION: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// Most tokens whose last use is remembered between two writes, at 64 bytes each: as many as there are.
pub const TOKENS_NOTED_MAX: usize = TOKENS_MAX;
/// How often last uses of tokens are written: whoever asks wants to know the day.
pub const USES_INTERVAL: Duration = Duration::from_secs(60);
/// Most last uses that are written at once, so that the writer is not held up.
pub const USES_MAX: usize = 256;

/// Longest life of a token that somebody signed in for: a shift. Who is put out of a group is out after it.
pub const SIGN_IN_TOKEN_LIFE_MAX: Duration = Duration::from_secs(12 * 60 * 60);
/// Life of such a token where none is configured: a shift with its hand-over.
pub const SIGN_IN_TOKEN_LIFE_DEFAULT: Duration = Duration::from_secs(10 * 60 * 60);
/// Most such tokens of one person that are good at once: more terminals than anybody works at, and few enough that
/// nobody fills the list of tokens alone. With one more the oldest is revoked.
pub const SIGN_IN_TOKENS_OF_PERSON_MAX: usize = 16;
/// How long somebody may take to sign in: to look for a second factor, and not to come back from lunch.
pub const SIGN_IN_LIFE: Duration = Duration::from_secs(10 * 60);
/// Most that sign in at once, at about 2 kB each, so 8 MB. Anybody can begin, so this is far more than the analysts of
/// a large service at the change of shifts; where it is not enough, whoever has only begun gives way.
pub const SIGN_INS_MAX: usize = 4096;
/// Most of them from one address, or 64 bits of IPv6: an office's that come to work together, and few enough that it
/// takes hundreds of addresses to take all places.
pub const SIGN_INS_OF_SITE_MAX: usize = 16;
/// Most of them from 48 bits of IPv6, which is what one customer of a provider's has: a few offices'.
pub const SIGN_INS_OF_NETWORK_MAX: usize = 4 * SIGN_INS_OF_SITE_MAX;
/// How often whoever waits for somebody to sign in is to ask.
pub const SIGN_IN_POLL_INTERVAL: Duration = Duration::from_secs(2);
/// How many refused sign-ins of each kind are told to the journal within [`SIGN_IN_REFUSALS_WINDOW`]; the others are
/// counted. Whoever has an account at the provider can be refused as often as they like.
pub const SIGN_IN_REFUSALS_NOTED_MAX: u32 = 60;
/// For how long that counts.
pub const SIGN_IN_REFUSALS_WINDOW: Duration = Duration::from_secs(60 * 60);
/// Most groups that are mapped to roles: each is a line that a person reads.
pub const SIGN_IN_GROUPS_MAX: usize = 256;

/// Most requests to the provider at once. Each holds a thread that reads of the store use as well.
pub const PROVIDER_CALLS_MAX: usize = 4;
/// How long a call waits for a place among those.
pub const PROVIDER_WAIT_MAX: Duration = Duration::from_secs(4);
/// How long the provider may take for one answer.
pub const PROVIDER_TIMEOUT: Duration = Duration::from_secs(8);
/// How long it may take for all answers that one step of a sign-in needs, up to six: what it says of itself with its
/// keys, the ID token, both again where a key was missing, and what it says of the person besides.
pub const PROVIDER_CALL_MAX: Duration = Duration::from_secs(30);
/// Longest answer of the provider that is read, in bytes: claims of somebody in a thousand groups have 50 kB.
pub const PROVIDER_BYTES_MAX: u64 = 512 << 10;
/// How long what the provider says of itself is believed. Keys are asked for anew as soon as one is missing.
pub const PROVIDER_FACTS_LIFE: Duration = Duration::from_secs(10 * 60);
/// How far the provider's clock may be off.
pub const PROVIDER_CLOCK_SKEW: Duration = Duration::from_secs(60);

/// How many different secrets that are not good may come from an address before it is locked out: more than one
/// mistypes, and the same one counts once.
pub const LOCKOUT_FAILURES_MAX: u32 = 10;
/// Within how long.
pub const LOCKOUT_WINDOW: Duration = Duration::from_secs(5 * 60);
/// For how long an address is locked out. Long for who guesses, short for who sits beside them.
pub const LOCKOUT_LENGTH: Duration = Duration::from_secs(5 * 60);
/// How long ago a token may have been used last and is still good for an address that is locked out: over lunch.
pub const LOCKOUT_KNOWN: Duration = Duration::from_secs(2 * 60 * 60);
/// Most addresses whose failures are remembered, at under 200 bytes each.
pub const LOCKOUT_SITES_MAX: usize = 10_000;
/// How often addresses are forgotten at most where there are as many: all are looked at, which takes a millisecond.
pub const LOCKOUT_SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// How many lockouts of all addresses are told to the journal within [`LOCKOUT_WINDOW`]; the others are counted.
pub const LOCKOUTS_NOTED_MAX: u32 = 100;

/// Longest life of a join token: images are built for some months.
pub const JOIN_TOKEN_LIFE_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);
/// Most hosts that one join token lets in: those of an image.
pub const JOIN_USES_MAX: u32 = 100_000;
/// Most join tokens that are kept: one each working hour of a year.
pub const JOIN_TOKENS_MAX: usize = 10_000;
/// How long a join token is kept that lets nobody in any more: as long as people ask what became of it.
pub const JOIN_TOKEN_RETENTION: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// How long a host may take to join: a slow line carries some kilobytes, and a signer elsewhere takes its 15 s.
pub const JOIN_TIMEOUT: Duration = Duration::from_secs(45);
/// Most hosts that join at once: each may hold a signer elsewhere, and who finds no place tries again.
pub const JOINS_MAX: usize = 64;
/// Most of them from one address: a quarter, so that no site takes all places.
pub const JOINS_OF_SITE_MAX: usize = 16;
/// How long a host may take from the end of the handshake to the end of its request, which is some hundred bytes.
pub const JOIN_REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a host that has joined is answered again for the same token and key: its answers were lost.
pub const JOIN_ANSWERS_MAX: u32 = 5;
/// For how long it is: after that its certificate is renewed otherwise, or it joins anew.
pub const JOIN_ANSWERS_WINDOW: Duration = Duration::from_secs(60 * 60);
/// How many agents of one tenant may renew a certificate that has ended within [`RENEWALS_WINDOW`]: more than come
/// back from a holiday together, fewer than somebody who stole an archive of keys would like.
pub const LATE_RENEWALS_MAX: u32 = 500;
/// Most agents of distrusted issuers that renew at once: as many as hosts that join, which may not keep these out.
pub const REISSUES_MAX: usize = 64;
/// How often one agent may ask for its next certificate within [`RENEWALS_WINDOW`]: one that gets none asks every ten
/// minutes.
pub const RENEWALS_OF_AGENT_MAX: u32 = 8;
/// How long a refusal of an earlier certificate is the last that the journal has of its agent: whoever shows old ones
/// by turns does not fill it.
pub const SUPERSEDED_NOTE_INTERVAL: Duration = Duration::from_secs(60 * 60);
/// For how long renewals are counted.
pub const RENEWALS_WINDOW: Duration = Duration::from_secs(60 * 60);
/// Most certificates that are signed for hosts at once: a signer elsewhere is a process each.
pub const SIGNINGS_MAX: usize = 4;
/// How often a secret that no token has may come from an address before such ones are not looked at: more than one
/// mistypes, fewer than guess.
pub const JOIN_REFUSALS_MAX: u32 = 10;
/// For how long that counts.
pub const JOIN_REFUSALS_WINDOW: Duration = Duration::from_secs(10 * 60);
/// How many refusals of all addresses are told to the journal in that time; the others are counted.
pub const JOIN_REFUSALS_NOTED_MAX: u32 = 600;
/// Most addresses whose refusals are remembered, at 40 bytes each.
pub const JOIN_SITES_MAX: usize = 10_000;

/// Most agents connected at once; each costs about 45 kB.
pub const CONNECTIONS_MAX: usize = 20_000;
/// Most handshakes at once; each costs 0.6 ms of processor time, so a burst waits at most a second.
pub const HANDSHAKES_MAX: usize = 512;
/// Control frames of one session that wait for the store: a greeting, a context, a heartbeat, two frames of the ledger,
/// one part of an answer to a recall, a policy to be offered and an answer to one, and one more.
pub const CONTROL_PENDING_MAX: usize = 9;
/// How long an agent may take to take a frame of ours; they are tens of bytes and fit the first window.
pub const FRAME_WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// For how long an address may have knocked ahead of its rate: by default a thousand agents behind it dial at once.
pub const KNOCK_BURST: Duration = Duration::from_secs(10);
/// For how much longer than a connection may last a token proves its agent's address: until an agent that was told to
/// dial anew has done so, or whose network was away for a while.
pub const ADDRESS_TOKEN_MARGIN: Duration = Duration::from_secs(60 * 60);
/// Most used tokens that are remembered of one lifetime, at some 40 bytes each, and as many of the one before: three
/// for each agent.
pub const ADDRESS_TOKENS_MAX: usize = 65_536;
/// Most addresses whose knocks are remembered, at about 60 bytes each.
pub const SITES_MAX: usize = 16_384;
/// How often those that knocked no more are forgotten while the table is full: looking at all takes 0.1 ms.
pub const SWEEP_PAUSE: Duration = Duration::from_secs(1);
/// How much more than its quota allows a tenant or an agent may send at once, as the time that it then has no more:
/// what a detector writes within a few seconds is not to wait.
pub const QUOTA_BURST: Duration = Duration::from_secs(4);
/// What a frame of the control stream counts: 20 a second, and 80 at once. An agent has a heartbeat, an interval of its
/// ledger and now and then its host's context to say, some frames a minute.
pub const CONTROL_FRAME_COST: Duration = Duration::from_millis(50);
/// Most datagrams that wait to be written to one agent over TCP, 128 KiB: acks and a welcome are tens of bytes each.
pub const TUNNEL_QUEUE: usize = 32;
/// Most datagrams that came over TCP and were not looked at yet, 4 MiB for all agents together.
pub const TUNNEL_COME_MAX: usize = 1024;
/// How long a listener rests when the system gives no connection, such as for want of file descriptors.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a handshake may take before it is given up.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Greatest age of a connection; up to a tenth less is drawn, so that not all are dialled anew at once.
pub const CONNECTION_AGE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Most journal entries that one page of the journal looks at; with a filter it may be short and still go on.
pub const JOURNAL_LOOKED_MAX: usize = 8_192;

/// Most streams that an agent may open at once: the control stream and one a lane.
pub const STREAMS_MAX: u32 = 1 + Lane::COUNT as u32;
/// Most bytes of one lane that wait unread in QUIC. Nothing is set aside for them: an idle lane holds none. 1 MiB is
/// 16 blocks of 60 kB, and over 100 ms of round trip carries 10 MiB/s, about 90,000 alerts/s; on loopback the window
/// opens anew long before it is used up.
pub const LANE_RECEIVE_BYTES_MAX: u32 = 1 << 20;
/// Most streams that an agent may open at once to answer a recall.
pub const ANSWERS_MAX: u32 = 1;
/// Most bytes of one connection that wait unread: every stream's share, so that a lane that waits for the writer never
/// takes the window of another.
pub const CONNECTION_RECEIVE_BYTES_MAX: u32 = (STREAMS_MAX + ANSWERS_MAX) * LANE_RECEIVE_BYTES_MAX;
/// Most bytes of one connection that were written and not acked by QUIC: acks and a welcome are tens of bytes each.
pub const CONNECTION_SEND_BYTES_MAX: u64 = 64 << 10;
/// Most bytes that are buffered for a handshake that was not looked at yet: a client's first flight is a few packets.
pub const HANDSHAKE_BYTES_MAX: u64 = 64 << 10;
/// How long QUIC waits for any packet. The session notices silence first, and says so; this is for a peer that is
/// gone and takes no word any more.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// Most clients of the live feed at once.
pub const FEED_CLIENTS_MAX: usize = 256;
/// How often a quiet feed says that it lives, and its client's token is looked at again. Proxies give up after a
/// minute of silence.
pub const FEED_KEEP_ALIVE: Duration = Duration::from_secs(15);
/// How long a client of the feed shall wait before it connects anew.
pub const FEED_RETRY: Duration = Duration::from_secs(1);

/// Most connections to the metrics listener: a few scrapers and probes.
pub const METRICS_CONNECTIONS_MAX: usize = 32;
/// How long a readiness probe or a scrape may take. Probes are asked every few seconds.
pub const METRICS_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a shutdown may take before it is cut short.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

const _: () = assert!(
    ROLLOUT_SILENT_AFTER.as_secs() > SILENCE_TIMEOUT.as_secs()
        && ROLLOUT_SILENT_AFTER.as_secs() < ROLLOUT_SILENT_WITHIN.as_secs(),
    "an agent's session has ended before it counts as silent"
);
const _: () = assert!(
    shared::limits::POLICY_ENVELOPE_BYTES_MAX / 3 * 4 + 1_024 < REQUEST_BYTES_MAX,
    "a signed policy in base64 fits a request"
);
const _: () = assert!(
    IDLE_TIMEOUT.as_secs() > SILENCE_TIMEOUT.as_secs(),
    "the session notices silence first"
);
const _: () =
    assert!(LEASE_MIN.as_secs() < LEASE_DEFAULT.as_secs(), "the default can be asked for");
const _: () =
    assert!(LEASE_DEFAULT.as_secs() <= LEASE_MAX.as_secs(), "the default can be asked for");
const _: () =
    assert!(CASE_GAP.as_secs() < CASE_SPAN_MAX.as_secs(), "a case holds more than one gap");
const _: () =
    assert!(GROUP_BYTES_MAX >= shared::limits::BLOCK_BYTES_MAX, "a group holds the largest block");
const _: () = assert!(PAGE_ITEMS_DEFAULT <= PAGE_ITEMS_MAX, "the default can be asked for");
const _: () = assert!(
    PAGE_RECORD_BYTES_MAX >= shared::limits::RECORD_BYTES_MAX,
    "a page holds the longest record"
);
const _: () = assert!(
    QUEUE_WAIT_MAX.as_secs() < API_REQUEST_TIMEOUT.as_secs(),
    "a request that waits for a case is answered, not given up"
);
const _: () = assert!(
    PROVIDER_WAIT_MAX.as_secs() + PROVIDER_CALL_MAX.as_secs() < API_REQUEST_TIMEOUT.as_secs(),
    "a sign-in that the provider is slow about is answered, not given up"
);
const _: () = assert!(
    SIGN_IN_TOKEN_LIFE_DEFAULT.as_secs() <= SIGN_IN_TOKEN_LIFE_MAX.as_secs(),
    "the default can be asked for"
);
const _: () = assert!(PAGE_ITEMS_MAX <= CASES_LOOKED_MAX, "a page can be full");
const _: () = assert!(TAIL_ENTRIES_MAX <= JOURNAL_LOOKED_MAX, "a page looks at one read");
