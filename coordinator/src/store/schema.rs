//! # Key space, schema version 3
//!
//! Integers are big-endian, so byte order is numeric order. Every field has a fixed width; `‖`
//! joins fields. The first
//! byte of a key in `Rows` is its family. A block's place is `received_ms ‖ agent ‖ epoch ‖ lane ‖ seq`.
//!
//! | key struct | family | key | value | written by | removed by |
//! | --- | --- | --- | --- | --- | --- |
//! | `MetaKey` | 0x01 | name | by name | journal, start | never |
//! | `TenantKey` | 0x02 | tenant | `Tenant` | first contact | never |
//! | `AgentKey` | 0x03 | tenant ‖ agent | `Agent` | session | never |
//! | `CursorKey` | 0x04 | tenant ‖ agent ‖ epoch ‖ lane | `Cursor` | commit block | never |
//! | `ContextKey` | 0x05 | tenant ‖ agent ‖ received_ms | `KnownContext` | context | never |
//! | `CaseKey` | 0x06 | case | `Case` | fold, triage | retention |
//! | `TenantCaseKey` | 0x07 | tenant ‖ opened_ms ‖ case | empty | fold | retention |
//! | `HostKey` | 0x08 | tenant ‖ digest of host | `HostCases` | fold | retention |
//! | `CaseBlockKey` | 0x09 | case ‖ block's place | positions | fold | retention |
//! | `EntityKey` | 0x0a | tenant ‖ day ‖ kind ‖ digest ‖ block's place | empty | commit block | retention |
//! | `JournalKey` | 0x0b | number | hash ‖ entry | every command | never |
//! | `TokenKey` | 0x0c | SHA-256 of the token | `Token` | token commands | signing in, long after their end |
//! | `IdempotencyKey` | 0x0d | SHA-256 of (token, key) | `Remembered` | api | retention |
//! | `GapKey` | 0x0e | tenant ‖ agent ‖ epoch ‖ lane ‖ first | `GapRecord` | gap | never |
//! | `LedgerHeadKey` | 0x0f | tenant ‖ agent ‖ epoch | `Chain` | ledger | never |
//! | `LedgerKey` | 0x10 | tenant ‖ ended_ms ‖ agent ‖ epoch ‖ number | `Interval` | ledger | retention |
//! | `LedgerGapKey` | 0x11 | tenant ‖ ended_ms ‖ agent ‖ epoch ‖ number ‖ place | its record | ledger | retention |
//! | `RecallKey` | 0x14 | recall | `RecallRecord` | recall | retention |
//! | `TenantRecallKey` | 0x15 | tenant ‖ recall | empty | recall | retention |
//! | `RecallAgentKey` | 0x16 | recall ‖ agent | `RecallAnswer` | recall, answers | retention |
//! | `JoinTokenKey` | 0x17 | SHA-256 of the secret | `JoinToken` | join commands | join commands |
//! | `JoinedKey` | 0x18 | token's digest ‖ SHA-256 of the host's key | `JoinedHost` | join | join commands |
//! | `RevokedKey` | 0x19 | tenant ‖ agent | `Revocation` | revoke | never |
//! | `CertificateKey` | 0x1a | tenant ‖ agent | `KnownCertificate` | greet | greet |
//! | `ConflictKey` | 0x1b | tenant ‖ agent | `Conflict` | greet | renewal, heartbeat |
//! | `SpoolNoticeKey` | 0x1e | tenant ‖ agent | `SpoolNotice` | greet | greet |
//! | `KnownKey` | 0x1c | case | `Known` | fold | retention |
//! | `FindingKey` | 0x1d | case ‖ number | `Finding` | fold | retention |
//! | `PolicyKey` | 0x1f | tenant ‖ version | `PolicyRecord` | push | push, beyond the newest |
//! | `RolloutKey` | 0x20 | tenant | `Rollout` | push, advance, halt | never |
//! | `AgentPolicyKey` | 0x21 | tenant ‖ agent | `AgentPolicy` | offer, answer | never |
//! | `TrustKey` | 0x22 | nothing | `TrustRecord` | push of a trust bundle | never |
//! | `AgentTrustKey` | 0x23 | tenant ‖ agent | `AgentTrust` | greet, answer, refusal | never |
//! | `IssuedKey` | 0x24 | tenant ‖ agent | `IssuedCertificates` | join, renewal | never |
//! | `RecalledKey` | Blocks 0x02 | tenant ‖ recall ‖ agent ‖ number | block's bytes | answers | retention |
//! | `BlockKey` | Blocks | tenant ‖ block's place | block's bytes | commit block | retention |
//!
//! What is modified together is not needed to sit together: one commit covers all.

use shared::{
    ids::{AgentId, Epoch, Lane, Seq, StreamId, TenantId},
    time::Timestamp,
};
use thiserror::Error;

mod policies;
mod recalls;
mod trust;

pub use self::{
    policies::{PolicyKey, RolloutKey},
    recalls::{RecallAgentKey, RecallKey, RecalledKey, TenantRecallKey},
    trust::TrustKey,
};

use crate::triage::{
    case::CaseId,
    entity::{EntityKind, EntityRef},
};

/// Version of the key space. A store says its own under [`MetaKey::SCHEMA`]: [`crate::store::upgrade`] rewrites one of
/// an earlier version, and refuses one of a later. Version 1, which no store says, had a case's findings in its row.
/// With version 2 no token says who signed in for it or when it was used, and a program of that version reads none that
/// does: so it is kept off such a store before it has changed anything.
pub const SCHEMA_VERSION: u32 = 3;

/// Bytes that are no key of the family that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{len} bytes are no {family} key")]
pub struct KeyError {
    /// The family.
    pub family: &'static str,
    /// How many bytes there were.
    pub len: usize,
}

/// A key of a family.
pub trait Key: Sized {
    /// First byte in `Rows`.
    const FAMILY: u8;
    /// Name of the family, for errors.
    const NAME: &'static str;
    /// Appends the fields behind the family byte.
    fn write(&self, out: &mut Vec<u8>);
    /// Reads the fields behind the family byte.
    fn read(fields: &mut Cut<'_>) -> Option<Self>;

    /// Returns the whole key.
    fn encode(&self) -> Vec<u8> {
        let mut key = Vec::with_capacity(96);
        key.push(Self::FAMILY);
        self.write(&mut key);
        key
    }

    /// Reads a whole key.
    ///
    /// # Errors
    /// The bytes are no key of this family.
    fn decode(key: &[u8]) -> Result<Self, KeyError> {
        let error = KeyError { family: Self::NAME, len: key.len() };
        let (family, fields) = key.split_first().ok_or(error)?;
        let mut cut = Cut(fields);
        let decoded = (*family == Self::FAMILY).then(|| Self::read(&mut cut)).flatten();
        decoded.filter(|_| cut.0.is_empty()).ok_or(error)
    }
}

/// What is left of a key's fields.
#[derive(Debug)]
pub struct Cut<'a>(&'a [u8]);

impl Cut<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    fn tenant(&mut self) -> Option<TenantId> {
        TenantId::from_bytes(&self.take()?)
    }

    fn stream(&mut self) -> Option<StreamId> {
        let agent = AgentId::from_bytes(self.take()?);
        let epoch = Epoch(self.u64()?);
        let lane = Lane::from_index(usize::from(self.take::<1>()?[0]))?;
        Some(StreamId { agent, epoch, lane })
    }

    fn place(&mut self) -> Option<BlockPlace> {
        let received_at = Timestamp::from_ms(self.u64()?);
        Some(BlockPlace { received_at, stream: self.stream()?, seq: Seq::new(self.u64()?)? })
    }
}

fn write_stream(out: &mut Vec<u8>, stream: StreamId) {
    out.extend_from_slice(stream.agent.as_bytes());
    out.extend_from_slice(&stream.epoch.0.to_be_bytes());
    out.push(stream.lane as u8);
}

/// Where a tenant's block is kept: its name, led by when it was received, so that retention drops whole ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockPlace {
    /// When the coordinator had it.
    pub received_at: Timestamp,
    /// Which stream it belongs to.
    pub stream: StreamId,
    /// Its number there.
    pub seq: Seq,
}

impl BlockPlace {
    /// Width in a key, in bytes.
    pub const LEN: usize = 8 + 16 + 8 + 1 + 8;

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.received_at.as_ms().to_be_bytes());
        write_stream(out, self.stream);
        out.extend_from_slice(&self.seq.as_u64().to_be_bytes());
    }
}

/// A single value of the store, by name: `schema` or `journal`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetaKey(pub [u8; 8]);

impl MetaKey {
    /// Version of the key space.
    pub const SCHEMA: Self = Self(*b"schema  ");
    /// Head of the journal.
    pub const JOURNAL: Self = Self(*b"journal ");
}

impl Key for MetaKey {
    const FAMILY: u8 = 0x01;
    const NAME: &'static str = "meta";
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }
    fn read(fields: &mut Cut<'_>) -> Option<Self> {
        fields.take().map(Self)
    }
}

/// A tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TenantKey(pub TenantId);

impl Key for TenantKey {
    const FAMILY: u8 = 0x02;
    const NAME: &'static str = "tenant";
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.0.as_bytes());
    }
    fn read(fields: &mut Cut<'_>) -> Option<Self> {
        fields.tenant().map(Self)
    }
}

/// An agent of a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AgentKey {
    /// Whose.
    pub tenant: TenantId,
    /// Which.
    pub agent: AgentId,
}

impl Key for AgentKey {
    const FAMILY: u8 = 0x03;
    const NAME: &'static str = "agent";
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.tenant.as_bytes());
        out.extend_from_slice(self.agent.as_bytes());
    }
    fn read(fields: &mut Cut<'_>) -> Option<Self> {
        Some(Self { tenant: fields.tenant()?, agent: AgentId::from_bytes(fields.take()?) })
    }
}

/// Up to where a stream is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CursorKey {
    /// Whose.
    pub tenant: TenantId,
    /// Which stream.
    pub stream: StreamId,
}

impl Key for CursorKey {
    const FAMILY: u8 = 0x04;
    const NAME: &'static str = "cursor";
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.tenant.as_bytes());
        write_stream(out, self.stream);
    }
    fn read(fields: &mut Cut<'_>) -> Option<Self> {
        Some(Self { tenant: fields.tenant()?, stream: fields.stream()? })
    }
}

/// A host's context as it was received at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContextKey {
    /// Whose.
    pub tenant: TenantId,
    /// From which agent.
    pub agent: AgentId,
    /// When.
    pub received_at: Timestamp,
}

impl Key for ContextKey {
    const FAMILY: u8 = 0x05;
    const NAME: &'static str = "context";
    fn write(&self, out: &mut Vec<u8>) {
        AgentKey { tenant: self.tenant, agent: self.agent }.write(out);
        out.extend_from_slice(&self.received_at.as_ms().to_be_bytes());
    }
    fn read(fields: &mut Cut<'_>) -> Option<Self> {
        let AgentKey { tenant, agent } = AgentKey::read(fields)?;
        Some(Self { tenant, agent, received_at: Timestamp::from_ms(fields.u64()?) })
    }
}

/// A case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CaseKey(pub CaseId);

impl Key for CaseKey {
    const FAMILY: u8 = 0x06;
    const NAME: &'static str = "case";
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.as_u64().to_be_bytes());
    }
    fn read(fields: &mut Cut<'_>) -> Option<Self> {
        fields.u64().map(CaseId::from_u64).map(Self)
    }
}

/// Which findings a case has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KnownKey(pub CaseId);

impl Key for KnownKey {
    const FAMILY: u8 = 0x1c;
    const NAME: &'static str = "known findings";
    fn write(&self, out: &mut Vec<u8>) {
        CaseKey(self.0).write(out);
    }
    fn read(fields: &mut Cut<'_>) -> Option<Self> {
        CaseKey::read(fields).map(|CaseKey(case)| Self(case))
    }
}

/// A finding that a case names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FindingKey {
    /// The case.
    pub case: CaseId,
    /// Its number there, in order of appearance, from 0.
    pub number: u16,
}

impl Key for FindingKey {
    const FAMILY: u8 = 0x1d;
    const NAME: &'static str = "finding";
    fn write(&self, out: &mut Vec<u8>) {
        CaseKey(self.case).write(out);
        out.extend_from_slice(&self.number.to_be_bytes());
    }
    fn read(fields: &mut Cut<'_>) -> Option<Self> {
        let CaseKey(case) = CaseKey::read(fields)?;
        Some(Self { case, number: u16::from_be_bytes(fields.take()?) })
    }
}

/// A tenant's cases by when they were opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TenantCaseKey {
    /// Whose.
    pub tenant: TenantId,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// Which.
    pub case: CaseId,
}

impl Key for TenantCaseKey {
    const FAMILY: u8 = 0x07;
    const NAME: &'static str = "case of a tenant";
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.tenant.as_bytes());
        out.extend_from_slice(&self.opened_at.as_ms().to_be_bytes());
        out.extend_from_slice(&self.case.as_u64().to_be_bytes());
    }
    fn read(fields: &mut Cut<'_>) -> Option<Self> {
        let (tenant, opened_at) = (fields.tenant()?, Timestamp::from_ms(fields.u64()?));
        Some(Self { tenant, opened_at, case: CaseId::from_u64(fields.u64()?) })
    }
}

/// The newest cases of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostKey {
    /// Whose.
    pub tenant: TenantId,
    /// Digest of its name in lower case.
    pub host: [u8; 16],
}

impl Key for HostKey {
    const FAMILY: u8 = 0x08;
    const NAME: &'static str = "host";
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.tenant.as_bytes());
        out.extend_from_slice(&self.host);
    }
    fn read(fields: &mut Cut<'_>) -> Option<Self> {
        Some(Self { tenant: fields.tenant()?, host: fields.take()? })
    }
}

/// Which alerts of a block belong to a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CaseBlockKey {
    /// The case.
    pub case: CaseId,
    /// The block.
    pub place: BlockPlace,
}

impl Key for CaseBlockKey {
    const FAMILY: u8 = 0x09;
    const NAME: &'static str = "block of a case";
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.case.as_u64().to_be_bytes());
        self.place.write(out);
    }
    fn read(fields: &mut Cut<'_>) -> Option<Self> {
        Some(Self { case: CaseId::from_u64(fields.u64()?), place: fields.place()? })
    }
}

/// A block that names an entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntityKey {
    /// Whose.
    pub tenant: TenantId,
    /// Day of receipt, in days since the Unix epoch: retention drops whole days.
    pub day: u32,
    /// The entity.
    pub entity: EntityRef,
    /// The block.
    pub place: BlockPlace,
}

impl EntityKey {
    /// Milliseconds of a day.
    pub const DAY_MS: u64 = 86_400_000;

    /// Returns the day of `at`.
    #[must_use]
    pub fn day_of(at: Timestamp) -> u32 {
        u32::try_from(at.as_ms() / Self::DAY_MS).unwrap_or(u32::MAX)
    }
}

impl Key for EntityKey {
    const FAMILY: u8 = 0x0a;
    const NAME: &'static str = "entity";
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.tenant.as_bytes());
        out.extend_from_slice(&self.day.to_be_bytes());
        out.push(self.entity.kind as u8);
        out.extend_from_slice(&self.entity.digest);
        self.place.write(out);
    }
    fn read(fields: &mut Cut<'_>) -> Option<Self> {
        let (tenant, day) = (fields.tenant()?, u32::from_be_bytes(fields.take()?));
        let [kind] = fields.take()?;
        let kind = EntityKind::ALL.into_iter().find(|known| *known as u8 == kind)?;
        let entity = EntityRef { kind, digest: fields.take()? };
        Some(Self { tenant, day, entity, place: fields.place()? })
    }
}

/// An entry of the journal, by number from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct JournalKey(pub u64);

impl Key for JournalKey {
    const FAMILY: u8 = 0x0b;
    const NAME: &'static str = "journal";
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.to_be_bytes());
    }
    fn read(fields: &mut Cut<'_>) -> Option<Self> {
        fields.u64().map(Self)
    }
}

/// A bearer token, by its digest: the token itself is kept nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TokenKey(pub [u8; 32]);

impl Key for TokenKey {
    const FAMILY: u8 = 0x0c;
    const NAME: &'static str = "token";
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }
    fn read(fields: &mut Cut<'_>) -> Option<Self> {
        fields.take().map(Self)
    }
}

/// A token by which hosts become agents, by its secret's digest: the secret itself is kept nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct JoinTokenKey(pub [u8; 32]);

impl Key for JoinTokenKey {
    const FAMILY: u8 = 0x17;
    const NAME: &'static str = "join token";
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }
    fn read(fields: &mut Cut<'_>) -> Option<Self> {
        fields.take().map(Self)
    }
}

/// A host that joined: a second request with the same token and key is the first one again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct JoinedKey {
    /// By which token.
    pub token: JoinTokenKey,
    /// Digest of its public key.
    pub key: [u8; 32],
}

impl Key for JoinedKey {
    const FAMILY: u8 = 0x18;
    const NAME: &'static str = "joined host";
    fn write(&self, out: &mut Vec<u8>) {
        self.token.write(out);
        out.extend_from_slice(&self.key);
    }
    fn read(fields: &mut Cut<'_>) -> Option<Self> {
        Some(Self { token: JoinTokenKey::read(fields)?, key: fields.take()? })
    }
}

/// A write that was answered already, by the digest of who sent it and its `Idempotency-Key`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IdempotencyKey(pub [u8; 32]);

impl Key for IdempotencyKey {
    const FAMILY: u8 = 0x0d;
    const NAME: &'static str = "idempotency";
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }
    fn read(fields: &mut Cut<'_>) -> Option<Self> {
        fields.take().map(Self)
    }
}

/// Blocks of a stream that will never come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GapKey {
    /// Whose.
    pub tenant: TenantId,
    /// Which stream.
    pub stream: StreamId,
    /// The first that is missing.
    pub first: Seq,
}

impl Key for GapKey {
    const FAMILY: u8 = 0x0e;
    const NAME: &'static str = "gap";
    fn write(&self, out: &mut Vec<u8>) {
        CursorKey { tenant: self.tenant, stream: self.stream }.write(out);
        out.extend_from_slice(&self.first.as_u64().to_be_bytes());
    }
    fn read(fields: &mut Cut<'_>) -> Option<Self> {
        let CursorKey { tenant, stream } = CursorKey::read(fields)?;
        Some(Self { tenant, stream, first: Seq::new(fields.u64()?)? })
    }
}

/// Where the ledger of an agent's spool stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LedgerHeadKey {
    /// Whose.
    pub tenant: TenantId,
    /// Which agent's.
    pub agent: AgentId,
    /// Of which of its spools.
    pub epoch: Epoch,
}

impl Key for LedgerHeadKey {
    const FAMILY: u8 = 0x0f;
    const NAME: &'static str = "head of a ledger";
    fn write(&self, out: &mut Vec<u8>) {
        AgentKey { tenant: self.tenant, agent: self.agent }.write(out);
        out.extend_from_slice(&self.epoch.0.to_be_bytes());
    }
    fn read(fields: &mut Cut<'_>) -> Option<Self> {
        let AgentKey { tenant, agent } = AgentKey::read(fields)?;
        Some(Self { tenant, agent, epoch: Epoch(fields.u64()?) })
    }
}

/// An interval of an agent's ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LedgerKey {
    /// Whose.
    pub tenant: TenantId,
    /// When it ended, by the agent's clock as far as that can be believed.
    pub at: Timestamp,
    /// Which agent's.
    pub agent: AgentId,
    /// Of which of its spools.
    pub epoch: Epoch,
    /// Its number there.
    pub number: u64,
}

impl Key for LedgerKey {
    const FAMILY: u8 = 0x10;
    const NAME: &'static str = "interval of a ledger";
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.tenant.as_bytes());
        out.extend_from_slice(&self.at.as_ms().to_be_bytes());
        out.extend_from_slice(self.agent.as_bytes());
        out.extend_from_slice(&self.epoch.0.to_be_bytes());
        out.extend_from_slice(&self.number.to_be_bytes());
    }
    fn read(fields: &mut Cut<'_>) -> Option<Self> {
        let (tenant, at) = (fields.tenant()?, Timestamp::from_ms(fields.u64()?));
        let (agent, epoch) = (AgentId::from_bytes(fields.take()?), Epoch(fields.u64()?));
        Some(Self { tenant, at, agent, epoch, number: fields.u64()? })
    }
}

/// A gap that an interval of an agent's ledger shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LedgerGapKey {
    /// Whose.
    pub tenant: TenantId,
    /// When the interval ended, as in its own key.
    pub at: Timestamp,
    /// Which agent's.
    pub agent: AgentId,
    /// Of which of its spools.
    pub epoch: Epoch,
    /// The interval's number there.
    pub number: u64,
    /// Which of its gaps.
    pub place: u16,
}

impl Key for LedgerGapKey {
    const FAMILY: u8 = 0x11;
    const NAME: &'static str = "gap of a ledger";
    fn write(&self, out: &mut Vec<u8>) {
        let Self { tenant, at, agent, epoch, number, place } = *self;
        LedgerKey { tenant, at, agent, epoch, number }.write(out);
        out.extend_from_slice(&place.to_be_bytes());
    }
    fn read(fields: &mut Cut<'_>) -> Option<Self> {
        let LedgerKey { tenant, at, agent, epoch, number } = LedgerKey::read(fields)?;
        let place = u16::from_be_bytes(fields.take()?);
        Some(Self { tenant, at, agent, epoch, number, place })
    }
}

/// Declares families of one row an agent.
macro_rules! rows_of_agents {
    ($($(#[$doc:meta])* $key:ident = $family:literal, $name:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $key(pub AgentKey);

        impl Key for $key {
            const FAMILY: u8 = $family;
            const NAME: &'static str = $name;
            fn write(&self, out: &mut Vec<u8>) {
                self.0.write(out);
            }
            fn read(fields: &mut Cut<'_>) -> Option<Self> {
                AgentKey::read(fields).map(Self)
            }
        }
    )*};
}

rows_of_agents! {
    /// An agent whose identity was revoked.
    RevokedKey = 0x19, "revocation";
    /// An agent's latest certificate.
    CertificateKey = 0x1a, "certificate";
    /// Several hosts with one agent's identity.
    ConflictKey = 0x1b, "conflict of an identity";
    /// Something about an agent's spool.
    SpoolNoticeKey = 0x1e, "notice of a spool";
    /// Where the policy stands at an agent.
    AgentPolicyKey = 0x21, "policy of an agent";
    /// How an agent stands to the authorities.
    AgentTrustKey = 0x23, "trust of an agent";
    /// The certificates that were issued to an agent.
    IssuedKey = 0x24, "issued certificates";
}

/// A block, in the space of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlockKey {
    /// Whose.
    pub tenant: TenantId,
    /// Where.
    pub place: BlockPlace,
}

impl Key for BlockKey {
    const FAMILY: u8 = 0x01;
    const NAME: &'static str = "block";
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.tenant.as_bytes());
        self.place.write(out);
    }
    fn read(fields: &mut Cut<'_>) -> Option<Self> {
        Some(Self { tenant: fields.tenant()?, place: fields.place()? })
    }
}

/// Returns the range of all keys of a family that begin with `prefix`, which stands behind the family byte.
#[must_use]
pub fn range_of<K: Key>(prefix: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut from = vec![K::FAMILY];
    from.extend_from_slice(prefix);
    let mut to = from.clone();
    while let Some(last) = to.pop() {
        if last < u8::MAX {
            to.push(last + 1);
            break;
        }
    }
    (from, to)
}

#[cfg(test)]
mod tests;
