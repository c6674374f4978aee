//! Typed access to the key space: which value stands under which key, for reading from an engine or
//! from what one group
//! of commands has staged.

use std::{any::Any, ops::Range, sync::Arc};

use bytes::Bytes;
use shared::ledger::Interval;
use thiserror::Error;

use crate::{
    store::{
        engine::{Direction, Engine, Found, ReadError, Space, Staged, Stored},
        schema::{
            AgentKey, AgentPolicyKey, AgentTrustKey, BlockKey, CaseBlockKey, CaseKey,
            CertificateKey, ConflictKey, ContextKey, CursorKey, FindingKey, GapKey, HostKey,
            IdempotencyKey, IssuedKey, JoinTokenKey, JoinedKey, Key, KeyError, KnownKey,
            LedgerGapKey, LedgerHeadKey, LedgerKey, MetaKey, PolicyKey, RecallAgentKey, RecallKey,
            RevokedKey, RolloutKey, SpoolNoticeKey, TenantKey, TokenKey, TrustKey,
        },
        values::{
            Agent, AgentPolicy, AgentTrust, Conflict, Cursor, GapRecord, IssuedCertificates,
            JoinToken, JoinedHost, JournalHead, KnownCertificate, KnownContext, LedgerGapRecord,
            PolicyRecord, Positions, RecallAnswer, RecallRecord, Remembered, Revocation, Rollout,
            SpoolNotice, Tenant, Token, TrustRecord, Value, ValueError,
        },
    },
    triage::{
        case::Case,
        evidence::{Evidence, Finding, Known},
        fold::HostCases,
        ledger::Chain,
    },
};

/// A key that says what stands under it.
pub trait Table: Key {
    /// What stands under it.
    type Value: Value;
    /// Whether it is read and written again by group after group: then it stays decoded, and is encoded once a group.
    const IS_KEPT: bool;
}

macro_rules! tables {
    ($is_kept:literal: $($key:ty => $value:ty),* $(,)?) => {
        $(impl Table for $key { type Value = $value; const IS_KEPT: bool = $is_kept; })*
    };
}

tables! {
    true: MetaKey => JournalHead, CursorKey => Cursor, HostKey => HostCases,
    CaseKey => Case, KnownKey => Known, FindingKey => Finding,
}
tables! {
    false: TenantKey => Tenant, AgentKey => Agent, ContextKey => KnownContext,
    CaseBlockKey => Positions, TokenKey => Token, IdempotencyKey => Remembered, GapKey => GapRecord,
    LedgerHeadKey => Chain, LedgerKey => Interval, LedgerGapKey => LedgerGapRecord,
    JoinTokenKey => JoinToken, JoinedKey => JoinedHost,
    RecallKey => RecallRecord, RecallAgentKey => RecallAnswer, RevokedKey => Revocation,
    CertificateKey => KnownCertificate, ConflictKey => Conflict, SpoolNoticeKey => SpoolNotice,
    PolicyKey => PolicyRecord, RolloutKey => Rollout, AgentPolicyKey => AgentPolicy,
    TrustKey => TrustRecord, AgentTrustKey => AgentTrust, IssuedKey => IssuedCertificates,
}

impl<V: Value> Stored for V {
    fn to_bytes(&self) -> Bytes {
        self.encode().into()
    }

    fn weight(&self) -> usize {
        Value::weight(self)
    }
}

/// Why something cannot be read from the store.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LoadError {
    /// The engine could not read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A value is not what its key promises.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// A key is not what its family promises.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// Rows of one table in the order of their keys.
pub type Rows<K> = Vec<(K, <K as Table>::Value)>;

/// Something to read from: an engine, or an engine with what is staged over it.
pub trait Source {
    /// Reads values by key, in the order of the keys.
    ///
    /// # Errors
    /// Fails as [`Engine::read`] does.
    fn read_raw(&self, space: Space, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, ReadError>;

    /// Reads rows by range.
    ///
    /// # Errors
    /// Fails as [`Engine::scan`] does.
    fn scan_raw(
        &self,
        space: Space,
        range: Range<&[u8]>,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, ReadError>;

    /// Reads one value.
    ///
    /// # Errors
    /// Fails as the engine does, or on a value that cannot be decoded.
    fn load<K: Table>(&self, key: &K) -> Result<Option<K::Value>, LoadError> {
        Ok(self.load_many(std::slice::from_ref(key))?.pop().flatten())
    }

    /// Reads values in bulk, in the order of the keys.
    ///
    /// # Errors
    /// Fails as the engine does, or on a value that cannot be decoded.
    fn load_many<K: Table>(&self, keys: &[K]) -> Result<Vec<Option<K::Value>>, LoadError> {
        let keys: Vec<Vec<u8>> = keys.iter().map(Key::encode).collect();
        let refs: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let values = self.read_raw(Space::Rows, &refs)?;
        let decode = |bytes: Option<Bytes>| bytes.map(|b| K::Value::decode(&b)).transpose();
        Ok(values.into_iter().map(decode).collect::<Result<_, _>>()?)
    }

    /// Reads at most `limit` rows whose keys lie in `range`.
    ///
    /// # Errors
    /// Fails as the engine does, or on a row that cannot be decoded.
    fn load_range<K: Table>(
        &self,
        range: Range<&[u8]>,
        direction: Direction,
        limit: usize,
    ) -> Result<Rows<K>, LoadError> {
        let rows = self.scan_raw(Space::Rows, range, direction, limit)?;
        rows.into_iter()
            .map(|(key, value)| Ok((K::decode(&key)?, K::Value::decode(&value)?)))
            .collect()
    }

    /// Reads at most `limit` keys of a family without values.
    ///
    /// # Errors
    /// Fails as the engine does, or on a key that cannot be decoded.
    fn load_keys<K: Key>(
        &self,
        range: Range<&[u8]>,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<K>, LoadError> {
        let rows = self.scan_raw(Space::Rows, range, direction, limit)?;
        rows.into_iter().map(|(key, _)| Ok(K::decode(&key)?)).collect()
    }

    /// Reads one block's bytes.
    ///
    /// # Errors
    /// Fails as the engine does.
    fn load_block(&self, key: &BlockKey) -> Result<Option<Bytes>, LoadError> {
        Ok(self.read_raw(Space::Blocks, &[&key.encode()])?.pop().flatten())
    }
}

impl Source for dyn Engine + '_ {
    fn read_raw(&self, space: Space, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, ReadError> {
        self.read(space, keys)
    }

    fn scan_raw(
        &self,
        space: Space,
        range: Range<&[u8]>,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        self.scan(space, range, direction, limit)
    }
}

impl Source for Staged<'_> {
    fn read_raw(&self, space: Space, keys: &[&[u8]]) -> Result<Vec<Option<Bytes>>, ReadError> {
        self.read(space, keys)
    }

    fn scan_raw(
        &self,
        space: Space,
        range: Range<&[u8]>,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        self.scan(space, range, direction, limit)
    }

    fn load_many<K: Table>(&self, keys: &[K]) -> Result<Vec<Option<K::Value>>, LoadError> {
        let keys: Vec<Vec<u8>> = keys.iter().map(Key::encode).collect();
        let mut values: Vec<Option<K::Value>> = Vec::new();
        values.resize_with(keys.len(), || None);
        let mut asked: Vec<(usize, &[u8])> = Vec::new();
        for (at, key) in keys.iter().enumerate() {
            values[at] = match self.find(Space::Rows, key) {
                Found::Value(value) => match (value as &dyn Any).downcast_ref::<K::Value>() {
                    Some(value) => Some(value.clone()),
                    None => Some(K::Value::decode(&value.to_bytes())?),
                },
                Found::Bytes(bytes) => Some(K::Value::decode(bytes)?),
                Found::Nothing => None,
                Found::Unknown => {
                    asked.push((at, key));
                    None
                }
            };
        }
        if !asked.is_empty() {
            let refs: Vec<&[u8]> = asked.iter().map(|(_, key)| *key).collect();
            for ((at, _), bytes) in asked.iter().zip(self.read_below(Space::Rows, &refs)?) {
                values[*at] = bytes.map(|bytes| K::Value::decode(&bytes)).transpose()?;
            }
        }
        Ok(values)
    }
}

/// Stages `value` under `key`.
pub fn put<K: Table>(staged: &mut Staged<'_>, key: &K, value: K::Value) {
    if K::IS_KEPT {
        staged.put_value(&key.encode(), Arc::new(value));
    } else {
        staged.put(Space::Rows, &key.encode(), value.encode());
    }
}

/// Stages the rows of a case: its own, those findings that are with it, and what it knows where that changed.
pub fn put_evidence(staged: &mut Staged<'_>, evidence: Evidence) {
    let Evidence { case, known, knows_more, findings } = evidence;
    for (number, finding) in findings {
        put(staged, &FindingKey { case: case.id, number }, finding);
    }
    if knows_more {
        put(staged, &KnownKey(case.id), known);
    }
    put(staged, &CaseKey(case.id), case);
}

/// Stages a key without a value.
pub fn put_key<K: Key>(staged: &mut Staged<'_>, key: &K) {
    staged.put(Space::Rows, &key.encode(), Bytes::new());
}

/// Stages the deletion of `key`.
pub fn delete<K: Key>(staged: &mut Staged<'_>, key: &K) {
    staged.delete(Space::Rows, &key.encode());
}
