//! The frames of `signalbox/1`, and how they become bytes.
//!
//! # Format
//! ```text
//! frame:   len u32 LE (of what follows) | kind u8 | payload
//! payload: bincode of the frame's fields; a Block's is  seq u64 LE | block (see crate::block)
//! ```
//! A length is checked against the stream's limit before anything is set aside. Unknown kinds and bytes left over are
//! errors: a peer that speaks a later version says so in its ALPN and in `Hello`.
//!
//! # Streams
//! The agent opens all: one bidirectional control stream, whose first frame is `Hello`, and one bidirectional stream
//! a lane when it first has a block for it, whose first frame is `LaneOpen`; and for each recall that it is asked for
//! one unidirectional stream, whose first frame is `RecallOpen` and whose last is `RecallEnd`.
//!
//! # Versions
//! Version 2 adds the ledger, recalls and the second form of a host's context. Each side says the highest version that
//! it speaks, and nothing above the lower one is sent: an agent of version 1 is served, and a coordinator of version 1
//! gets no ledger, and contexts in their first form. Version 3 adds renewals, version 4 what tells two hosts with one
//! identity apart, and a spool that was set back, version 5 signed policies and trust bundles.
//!
//! Kinds 29-31 are kept for what is signed.

pub mod codec;

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    context::{ContextVersion, HostContext},
    ids::{BootId, Epoch, Lane, Seq},
    ledger::Interval,
    limits::{
        CONTEXT_TEXT_BYTES_MAX, CONTROL_FRAME_BYTES_MAX, FRAME_BYTES_MAX,
        LEDGER_FRAME_INTERVALS_MAX, SIGNING_REQUEST_BYTES_MAX,
    },
    policy::{PolicyAck, PolicyOffer},
    recall::{Recall, RecallEnd, RecallId},
    renewal::RenewReply,
    time::Timestamp,
    trust::{TrustAck, TrustOffer},
};

/// Protocol's name in TLS (ALPN).
pub const ALPN: &[u8] = b"signalbox/1";

/// Version of the frames within `signalbox/1`; the coordinator answers with the lower of both sides'.
pub const WIRE_VERSION: u16 = 5;

/// Code with which a coordinator closes the connection of an agent that was revoked: it is to say so plainly, to keep
/// what it has, and to go on asking at leisure.
pub const CLOSE_REVOKED: u32 = 4;

/// Code with which a coordinator closes the connection of whoever shows a certificate from before the agent's latest:
/// somebody else uses its identity, or an old copy of it was put in its place.
pub const CLOSE_SUPERSEDED: u32 = 5;

/// Code with which a coordinator closes the connection of an agent whose certificate is good for nothing any more but
/// to be renewed over [`ALPN_RENEW`](crate::renewal::ALPN_RENEW), whatever the agent's clock says: it has ended by the
/// coordinator's clock, or whoever issued it is distrusted there.
pub const CLOSE_ENDED: u32 = 6;

/// Code with which a coordinator closes the connection of an agent whose identity another host uses, too, until a
/// person has decided whose it is.
pub const CLOSE_QUARANTINED: u32 = 7;

/// First version with [`Frame::Ledger`] and [`Frame::LedgerAck`].
pub const LEDGER_VERSION: u16 = 2;

/// First version with contexts of the second form.
pub const CONTEXT_VERSION: u16 = 2;
/// First version with [`Frame::Recall`] and the frames of its answer.
pub const RECALL_VERSION: u16 = 2;
/// First version with [`Frame::Renew`] and [`Frame::Renewed`].
pub const RENEW_VERSION: u16 = 3;
/// First version with [`Frame::Probe`], [`Frame::Alive`], [`Frame::Quarantined`], [`Frame::RenewNow`],
/// [`Frame::Checks`] and [`Frame::SetBack`].
pub const CLAIM_VERSION: u16 = 4;
/// First version with [`Frame::Policy`], [`Frame::PolicyAck`], [`Frame::Trust`] and [`Frame::TrustAck`].
pub const POLICY_VERSION: u16 = 5;

/// Bytes of a frame's length.
pub const LEN_BYTES: usize = 4;

/// What an agent's spool holds of one lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneHead {
    /// The oldest block kept; the one to be made next where none is kept.
    pub first: Seq,
    /// The newest block that is durable on the agent; absent before the first.
    pub last: Option<Seq>,
}

impl LaneHead {
    /// A lane of a new spool.
    pub const EMPTY: Self = Self { first: Seq::FIRST, last: None };
}

/// Counters of an agent since its process started, and the state of its spool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentStats {
    /// Records read from all sources.
    pub records_read: u64,
    /// Bytes read from all sources.
    pub bytes_read: u64,
    /// Records that could not be parsed; they are sent as alerts that say so.
    pub malformed: u64,
    /// Records that were cut because they were longer than the limit.
    pub over_long: u64,
    /// How often a full spool or disk made the sources wait.
    pub spool_full: u64,
    /// Bytes that the spool holds on disk.
    pub spool_bytes: u64,
    /// When the oldest alert was read that is not acked yet.
    pub oldest_unacked: Option<Timestamp>,
}

/// Why blocks of a lane will never come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// The agent's disk gave back other bytes than were written.
    Damaged,
    /// The agent no longer has them, and the coordinator does not have them either.
    Missing,
    /// The agent stopped in the middle of a write: the numbers are not used again, and nothing is
    /// known to be lost.
    Skipped,
}

impl GapReason {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Damaged, Self::Missing, Self::Skipped];

    /// Returns its name in documents, which is its serde name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Damaged => "damaged",
            Self::Missing => "missing",
            Self::Skipped => "skipped",
        }
    }
}

/// Why a peer ends the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GoodbyeReason {
    /// It shuts down after finishing what it accepted.
    Shutdown,
    /// The connection has reached its greatest age; dial again at once.
    MaxAge,
    /// The same agent has connected anew; this connection is the old one.
    Replaced,
    /// A person has decided which of two hosts keeps their identity; dial again.
    Resolved,
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Agent's first frame.
    Hello(Hello),
    /// Coordinator's first frame.
    Welcome(Welcome),
    /// The agent lives; sent on the control stream.
    Heartbeat(Heartbeat),
    /// The agent's host as it is now.
    Context(Box<HostContext>),
    /// The sender of this frame will send no more.
    Goodbye(GoodbyeReason),
    /// First frame of a lane's stream.
    LaneOpen(Lane),
    /// One block, on its lane's stream.
    Block {
        /// Its number.
        seq: Seq,
        /// Its bytes; see [`crate::block`].
        block: Bytes,
    },
    /// Blocks that will never come, in place of them on their lane's stream.
    Gap(Gap),
    /// All of this lane up to here is durable (L1).
    Ack {
        /// The newest number that is durable together with all before it.
        up_to: Seq,
    },
    /// Intervals of the agent's ledger, in order; on the control stream.
    Ledger(Vec<Interval>),
    /// All intervals up to here are durable (L1).
    LedgerAck {
        /// Number of the newest.
        up_to: u64,
    },
    /// The agent is asked for what a rule held back; on the control stream.
    Recall(Box<Recall>),
    /// First frame of an answer's stream.
    RecallOpen {
        /// What it answers.
        id: RecallId,
    },
    /// Records that were asked for, as one block.
    RecallBlock {
        /// Its bytes; see [`crate::block`].
        block: Bytes,
    },
    /// Last frame of an answer's stream.
    RecallEnd(Box<RecallEnd>),
    /// The agent asks for its next certificate; on the control stream.
    Renew {
        /// Signing request for a fresh key (PKCS #10, DER). Names in it count for nothing.
        signing_request: Vec<u8>,
    },
    /// What it is answered; on the control stream.
    Renewed(Box<RenewReply>),
    /// The agent is to show that it lives; on the control stream.
    Probe,
    /// It does.
    Alive,
    /// In place of `Welcome`: another host uses this agent's identity, and nothing is taken from this one until a
    /// person has decided. It says which host it is, and stays.
    Quarantined(Quarantined),
    /// The agent is to ask for its next certificate now, so that nobody else's copy of the present one is worth
    /// anything; on the control stream.
    RenewNow,
    /// Before `Welcome`: the checksum of the newest durable block, by lane, where it is known.
    Checks([Option<u32>; Lane::COUNT]),
    /// The agent's spool is an older copy: what it holds under a number is not what the coordinator has.
    SetBack(SetBack),
    /// A signed policy is offered to the agent; on the control stream.
    Policy(Box<PolicyOffer>),
    /// How it stands with a version of the policy at the agent; on the control stream.
    PolicyAck(Box<PolicyAck>),
    /// A trust bundle is offered to the agent; on the control stream.
    Trust(Box<TrustOffer>),
    /// How it stands with a trust bundle at the agent; on the control stream.
    TrustAck(Box<TrustAck>),
}

/// Fields of [`Frame::Hello`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Highest version of the frames that the agent speaks.
    pub version: u16,
    /// Of its spool.
    pub epoch: Epoch,
    /// Of its process.
    pub boot: BootId,
    /// What its spool holds, by lane.
    pub heads: [LaneHead; Lane::COUNT],
    /// Version of its program, for people.
    pub agent_version: String,
    /// Version of its host's context.
    pub context: ContextVersion,
}

/// Fields of [`Frame::Welcome`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Version of the frames that both sides use from here on.
    pub version: u16,
    /// The newest durable block, by lane.
    pub committed: [Option<Seq>; Lane::COUNT],
    /// Most blocks in flight on one lane.
    pub window_blocks: u32,
    /// Most bytes in flight on one lane; one block may always be in flight.
    pub window_bytes: u32,
    /// Not used, and zero: an agent says which policy it has, and is offered another by [`Frame::Policy`].
    pub policy: u64,
    /// The newest context that the coordinator has of this agent's host; zero where it has none.
    pub context: ContextVersion,
}

/// Fields of [`Frame::Heartbeat`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The agent's wall clock, so that a wrong one is seen.
    pub sent_at: Timestamp,
    /// The newest durable block on the agent, by lane.
    pub last: [Option<Seq>; Lane::COUNT],
    /// Counters.
    pub stats: AgentStats,
}

/// Fields of [`Frame::Quarantined`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// Version of the frames that both sides use from here on.
    pub version: u16,
    /// Since when two hosts use the identity.
    pub since: Timestamp,
}

/// Fields of [`Frame::SetBack`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetBack {
    /// On which lane.
    pub lane: Lane,
    /// The coordinator's newest block.
    pub committed: Seq,
    /// This spool's newest.
    pub last: Option<Seq>,
}

/// Fields of [`Frame::Gap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The first that will not come.
    pub first: Seq,
    /// The last that will not come; not before `first`.
    pub last: Seq,
    /// Why.
    pub reason: GapReason,
}

/// Name of a frame's kind, for errors and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FrameKind {
    /// [`Frame::Hello`]
    Hello = 1,
    /// [`Frame::Welcome`]
    Welcome = 2,
    /// [`Frame::Heartbeat`]
    Heartbeat = 3,
    /// [`Frame::Context`] in its first form
    Context = 4,
    /// [`Frame::Goodbye`]
    Goodbye = 5,
    /// [`Frame::LaneOpen`]
    LaneOpen = 6,
    /// [`Frame::Block`]
    Block = 7,
    /// [`Frame::Gap`]
    Gap = 8,
    /// [`Frame::Ack`]
    Ack = 9,
    /// [`Frame::Ledger`]
    Ledger = 16,
    /// [`Frame::LedgerAck`]
    LedgerAck = 17,
    /// [`Frame::Recall`]
    Recall = 18,
    /// [`Frame::RecallOpen`]
    RecallOpen = 19,
    /// [`Frame::RecallBlock`]
    RecallBlock = 20,
    /// [`Frame::RecallEnd`]
    RecallEnd = 21,
    /// [`Frame::Renew`]
    Renew = 22,
    /// [`Frame::Renewed`]
    Renewed = 23,
    /// [`Frame::Context`] in its second form
    HostContext = 24,
    /// [`Frame::Policy`]
    Policy = 25,
    /// [`Frame::PolicyAck`]
    PolicyAck = 26,
    /// [`Frame::Trust`]
    Trust = 27,
    /// [`Frame::TrustAck`]
    TrustAck = 28,
    /// [`Frame::Probe`]
    Probe = 32,
    /// [`Frame::Alive`]
    Alive = 33,
    /// [`Frame::Quarantined`]
    Quarantined = 34,
    /// [`Frame::RenewNow`]
    RenewNow = 35,
    /// [`Frame::Checks`]
    Checks = 36,
    /// [`Frame::SetBack`]
    SetBack = 37,
}

/// Why bytes are not a frame.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// A length over the stream's limit, or zero.
    #[error("frame of {len} bytes, at most {max} are allowed here")]
    Length {
        /// The claimed length.
        len: usize,
        /// The stream's limit.
        max: usize,
    },
    /// A kind that this version does not know.
    #[error("frame of unknown kind {0}")]
    UnknownKind(u8),
    /// Fields that do not decode.
    #[error("malformed {kind:?} frame: {error}")]
    Payload {
        /// Which kind.
        kind: FrameKind,
        /// What is wrong with it.
        error: codec::CodecError,
    },
    /// Fields that break a rule of their own.
    #[error("invalid {kind:?} frame: {rule}")]
    Invalid {
        /// Which kind.
        kind: FrameKind,
        /// The rule.
        rule: &'static str,
    },
}

/// An encoded frame: what goes first, and a block's bytes, which are not copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Length, kind and fields.
    pub head: Bytes,
    /// A block's bytes; empty for other frames.
    pub tail: Bytes,
}

/// Checks the length of a frame that comes next on a stream, before anything is set aside for it.
///
/// # Errors
/// Fails on a length that is zero or over `max`.
pub fn checked_len(bytes: [u8; LEN_BYTES], max: usize) -> Result<usize, DecodeError> {
    let len = u32::from_le_bytes(bytes) as usize;
    if len == 0 || len > max { Err(DecodeError::Length { len, max }) } else { Ok(len) }
}

impl Frame {
    /// Returns the frame's kind.
    #[must_use]
    pub fn kind(&self) -> FrameKind {
        match self {
            Self::Hello(_) => FrameKind::Hello,
            Self::Welcome(_) => FrameKind::Welcome,
            Self::Heartbeat(_) => FrameKind::Heartbeat,
            Self::Context(context) if context.is_of_first_form() => FrameKind::Context,
            Self::Context(_) => FrameKind::HostContext,
            Self::Goodbye(_) => FrameKind::Goodbye,
            Self::LaneOpen(_) => FrameKind::LaneOpen,
            Self::Block { .. } => FrameKind::Block,
            Self::Gap(_) => FrameKind::Gap,
            Self::Ack { .. } => FrameKind::Ack,
            Self::Ledger(_) => FrameKind::Ledger,
            Self::LedgerAck { .. } => FrameKind::LedgerAck,
            Self::Recall(_) => FrameKind::Recall,
            Self::RecallOpen { .. } => FrameKind::RecallOpen,
            Self::RecallBlock { .. } => FrameKind::RecallBlock,
            Self::RecallEnd(_) => FrameKind::RecallEnd,
            Self::Renew { .. } => FrameKind::Renew,
            Self::Renewed(_) => FrameKind::Renewed,
            Self::Probe => FrameKind::Probe,
            Self::Alive => FrameKind::Alive,
            Self::Quarantined(_) => FrameKind::Quarantined,
            Self::RenewNow => FrameKind::RenewNow,
            Self::Checks(_) => FrameKind::Checks,
            Self::SetBack(_) => FrameKind::SetBack,
            Self::Policy(_) => FrameKind::Policy,
            Self::PolicyAck(_) => FrameKind::PolicyAck,
            Self::Trust(_) => FrameKind::Trust,
            Self::TrustAck(_) => FrameKind::TrustAck,
        }
    }

    /// Encodes the frame with its length.
    ///
    /// # Panics
    /// If the frame is over its limit, which the makers of blocks, contexts and intervals rule out.
    #[must_use]
    pub fn encode(&self) -> Encoded {
        let fields = match self {
            Self::Hello(hello) => codec::encode(hello),
            Self::Welcome(welcome) => codec::encode(welcome),
            Self::Heartbeat(heartbeat) => codec::encode(heartbeat),
            Self::Context(context) => context.encode(),
            Self::Goodbye(reason) => codec::encode(reason),
            Self::LaneOpen(lane) => codec::encode(lane),
            Self::Block { seq, .. } => Ok(seq.as_u64().to_le_bytes().to_vec()),
            Self::Gap(gap) => codec::encode(gap),
            Self::Ack { up_to } => codec::encode(up_to),
            Self::Ledger(intervals) => codec::encode(intervals),
            Self::LedgerAck { up_to } => codec::encode(up_to),
            Self::Recall(recall) => codec::encode(recall),
            Self::RecallOpen { id } => codec::encode(id),
            Self::RecallBlock { .. } | Self::Probe | Self::Alive | Self::RenewNow => Ok(Vec::new()),
            Self::RecallEnd(end) => codec::encode(end),
            Self::Renew { signing_request } => codec::encode(signing_request),
            Self::Renewed(reply) => codec::encode(reply),
            Self::Quarantined(quarantined) => codec::encode(quarantined),
            Self::Checks(checks) => codec::encode(checks),
            Self::SetBack(set_back) => codec::encode(set_back),
            Self::Policy(offer) => codec::encode(offer),
            Self::PolicyAck(ack) => codec::encode(ack),
            Self::Trust(offer) => codec::encode(offer),
            Self::TrustAck(ack) => codec::encode(ack),
        }
        .expect("frames are plain data");
        let tail = if let Self::Block { block, .. } | Self::RecallBlock { block } = self {
            block.clone()
        } else {
            Bytes::new()
        };
        let len = 1 + fields.len() + tail.len();
        let max = if tail.is_empty() { CONTROL_FRAME_BYTES_MAX } else { FRAME_BYTES_MAX };
        assert!(len <= max, "{:?} frame of {len} bytes is over {max}", self.kind());
        let mut head = BytesMut::with_capacity(LEN_BYTES + 1 + fields.len());
        head.put_u32_le(u32::try_from(len).expect("frames are bounded"));
        head.put_u8(self.kind() as u8);
        head.put_slice(&fields);
        Encoded { head: head.freeze(), tail }
    }

    /// Decodes exactly one frame from `body`: its kind and payload, without the length.
    ///
    /// # Errors
    /// Says what is wrong. Never panics, whatever the input.
    pub fn decode(mut body: Bytes) -> Result<Self, DecodeError> {
        if body.is_empty() || body.len() > FRAME_BYTES_MAX {
            return Err(DecodeError::Length { len: body.len(), max: FRAME_BYTES_MAX });
        }
        let kind = body.split_to(1)[0];
        match kind {
            1 => {
                let hello: Hello = fields(FrameKind::Hello, &body)?;
                let short = hello.agent_version.len() <= CONTEXT_TEXT_BYTES_MAX;
                valid(FrameKind::Hello, short, "a version text over its limit")?;
                let heads = hello.heads.iter().all(|head| head.first <= next_of(head.last));
                valid(FrameKind::Hello, heads, "a first block behind the last")?;
                Ok(Self::Hello(hello))
            }
            2 => Ok(Self::Welcome(fields(FrameKind::Welcome, &body)?)),
            3 => Ok(Self::Heartbeat(fields(FrameKind::Heartbeat, &body)?)),
            4 => context(FrameKind::Context, HostContext::decode_first(&body)),
            24 => context(FrameKind::HostContext, codec::decode(&body)),
            5 => Ok(Self::Goodbye(fields(FrameKind::Goodbye, &body)?)),
            6 => Ok(Self::LaneOpen(fields(FrameKind::LaneOpen, &body)?)),
            7 => {
                let seq =
                    body.first_chunk::<8>().and_then(|seq| Seq::new(u64::from_le_bytes(*seq)));
                let seq = seq.ok_or(DecodeError::Invalid {
                    kind: FrameKind::Block,
                    rule: "no block number",
                })?;
                Ok(Self::Block { seq, block: body.split_off(8) })
            }
            8 => {
                let gap: Gap = fields(FrameKind::Gap, &body)?;
                valid(FrameKind::Gap, gap.first <= gap.last, "ends before it begins")?;
                Ok(Self::Gap(gap))
            }
            9 => Ok(Self::Ack { up_to: fields(FrameKind::Ack, &body)? }),
            16 => Ok(Self::Ledger(ledger(&body)?)),
            17 => Ok(Self::LedgerAck { up_to: fields(FrameKind::LedgerAck, &body)? }),
            18 => {
                let recall: Box<Recall> = fields(FrameKind::Recall, &body)?;
                let is_rule = Recall::is_rule(&recall.rule);
                valid(FrameKind::Recall, is_rule, "a rule's id that is empty or over its limit")?;
                Ok(Self::Recall(recall))
            }
            19 => Ok(Self::RecallOpen { id: fields(FrameKind::RecallOpen, &body)? }),
            20 => Ok(Self::RecallBlock { block: body }),
            21 => Ok(Self::RecallEnd(fields(FrameKind::RecallEnd, &body)?)),
            22 => {
                let signing_request: Vec<u8> = fields(FrameKind::Renew, &body)?;
                let len = signing_request.len();
                let is_bounded = (1..=SIGNING_REQUEST_BYTES_MAX).contains(&len);
                valid(FrameKind::Renew, is_bounded, "a signing request that is empty or too long")?;
                Ok(Self::Renew { signing_request })
            }
            23 => {
                let reply: Box<RenewReply> = fields(FrameKind::Renewed, &body)?;
                valid(FrameKind::Renewed, reply.is_bounded(), "a chain that is empty or too long")?;
                Ok(Self::Renewed(reply))
            }
            kind => later(kind, &body),
        }
    }
}

/// Decodes the frames of versions 4 and 5.
fn later(kind: u8, body: &[u8]) -> Result<Frame, DecodeError> {
    match kind {
        32 => fields(FrameKind::Probe, body).map(|()| Frame::Probe),
        33 => fields(FrameKind::Alive, body).map(|()| Frame::Alive),
        34 => Ok(Frame::Quarantined(fields(FrameKind::Quarantined, body)?)),
        35 => fields(FrameKind::RenewNow, body).map(|()| Frame::RenewNow),
        36 => Ok(Frame::Checks(fields(FrameKind::Checks, body)?)),
        37 => Ok(Frame::SetBack(fields(FrameKind::SetBack, body)?)),
        25 => {
            let offer: Box<PolicyOffer> = fields(FrameKind::Policy, body)?;
            valid(FrameKind::Policy, offer.is_bounded(), "a policy that is empty or too long")?;
            Ok(Frame::Policy(offer))
        }
        26 => {
            let ack: Box<PolicyAck> = fields(FrameKind::PolicyAck, body)?;
            valid(FrameKind::PolicyAck, ack.is_bounded(), "a text over its limit")?;
            Ok(Frame::PolicyAck(ack))
        }
        27 => {
            let offer: Box<TrustOffer> = fields(FrameKind::Trust, body)?;
            valid(FrameKind::Trust, offer.is_bounded(), "a bundle that is empty or too long")?;
            Ok(Frame::Trust(offer))
        }
        28 => {
            let ack: Box<TrustAck> = fields(FrameKind::TrustAck, body)?;
            valid(FrameKind::TrustAck, ack.is_bounded(), "a text over its limit")?;
            Ok(Frame::TrustAck(ack))
        }
        unknown => Err(DecodeError::UnknownKind(unknown)),
    }
}

/// Returns a frame with a context that was read, if it is within its bounds.
fn context(
    kind: FrameKind,
    context: Result<HostContext, codec::CodecError>,
) -> Result<Frame, DecodeError> {
    let context = context.map_err(|error| DecodeError::Payload { kind, error })?;
    valid(kind, context.is_bounded(), "a text or list over its limit")?;
    Ok(Frame::Context(Box::new(context)))
}

/// Reads the intervals of a frame, each within its bounds, and numbered one after the other.
fn ledger(body: &[u8]) -> Result<Vec<Interval>, DecodeError> {
    let kind = FrameKind::Ledger;
    valid(kind, body.len() < CONTROL_FRAME_BYTES_MAX, "longer than a control frame")?;
    let intervals: Vec<Interval> = fields(kind, body)?;
    let count = (1..=LEDGER_FRAME_INTERVALS_MAX).contains(&intervals.len());
    valid(kind, count, "no intervals, or too many")?;
    valid(kind, intervals.iter().all(|interval| interval.check().is_ok()), "an invalid interval")?;
    let follows = |pair: &[Interval]| pair[0].number.checked_add(1) == Some(pair[1].number);
    valid(kind, intervals.windows(2).all(follows), "numbers that do not follow each other")?;
    Ok(intervals)
}

/// Returns the number after `last`, without a panic on numbers from outside.
fn next_of(last: Option<Seq>) -> Seq {
    last.map_or(Seq::FIRST, |last| last.next().unwrap_or(last))
}

fn fields<'de, T: Deserialize<'de>>(kind: FrameKind, body: &'de [u8]) -> Result<T, DecodeError> {
    codec::decode(body).map_err(|error| DecodeError::Payload { kind, error })
}

fn valid(kind: FrameKind, holds: bool, rule: &'static str) -> Result<(), DecodeError> {
    if holds { Ok(()) } else { Err(DecodeError::Invalid { kind, rule }) }
}

#[cfg(test)]
mod tests;
