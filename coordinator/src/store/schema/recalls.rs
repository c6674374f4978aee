//! Keys of recalls.

use shared::{
    ids::{AgentId, TenantId},
    recall::RecallId,
};

use super::{Cut, Key, range_of};

/// A recall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecallKey(pub RecallId);

impl Key for RecallKey {
    const FAMILY: u8 = 0x14;
    const NAME: &'static str = "recall";
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.0.as_bytes());
    }
    fn read(fields: &mut Cut<'_>) -> Option<Self> {
        fields.take().map(RecallId::from_bytes).map(Self)
    }
}

/// A tenant's recalls by when they were asked for, which leads their ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TenantRecallKey {
    /// Whose.
    pub tenant: TenantId,
    /// Which.
    pub recall: RecallId,
}

impl Key for TenantRecallKey {
    const FAMILY: u8 = 0x15;
    const NAME: &'static str = "recall of a tenant";
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.tenant.as_bytes());
        out.extend_from_slice(self.recall.as_bytes());
    }
    fn read(fields: &mut Cut<'_>) -> Option<Self> {
        Some(Self { tenant: fields.tenant()?, recall: RecallId::from_bytes(fields.take()?) })
    }
}

/// What an agent answered to a recall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecallAgentKey {
    /// To which.
    pub recall: RecallId,
    /// Which agent.
    pub agent: AgentId,
}

impl Key for RecallAgentKey {
    const FAMILY: u8 = 0x16;
    const NAME: &'static str = "answer to a recall";
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.recall.as_bytes());
        out.extend_from_slice(self.agent.as_bytes());
    }
    fn read(fields: &mut Cut<'_>) -> Option<Self> {
        let recall = RecallId::from_bytes(fields.take()?);
        Some(Self { recall, agent: AgentId::from_bytes(fields.take()?) })
    }
}

/// A recalled block, in the space of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecalledKey {
    /// Whose.
    pub tenant: TenantId,
    /// Of which recall.
    pub recall: RecallId,
    /// From which agent.
    pub agent: AgentId,
    /// Its number in the agent's answer, from 1.
    pub number: u32,
}

impl RecalledKey {
    /// Returns the range of the blocks of an agent's answer.
    #[must_use]
    pub fn range(tenant: TenantId, recall: RecallId, agent: AgentId) -> (Vec<u8>, Vec<u8>) {
        let key = Self { tenant, recall, agent, number: 0 }.encode();
        range_of::<Self>(&key[1..key.len() - 4])
    }
}

impl Key for RecalledKey {
    const FAMILY: u8 = 0x02;
    const NAME: &'static str = "recalled block";
    fn write(&self, out: &mut Vec<u8>) {
        TenantRecallKey { tenant: self.tenant, recall: self.recall }.write(out);
        out.extend_from_slice(self.agent.as_bytes());
        out.extend_from_slice(&self.number.to_be_bytes());
    }
    fn read(fields: &mut Cut<'_>) -> Option<Self> {
        let TenantRecallKey { tenant, recall } = TenantRecallKey::read(fields)?;
        let agent = AgentId::from_bytes(fields.take()?);
        Some(Self { tenant, recall, agent, number: u32::from_be_bytes(fields.take()?) })
    }
}
