//! Keys of policies.

use shared::ids::TenantId;

use super::{Cut, Key};

/// A version of a tenant's policy, signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PolicyKey {
    /// Whose.
    pub tenant: TenantId,
    /// Number of the version.
    pub version: u64,
}

impl Key for PolicyKey {
    const FAMILY: u8 = 0x1f;
    const NAME: &'static str = "policy";
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.tenant.as_bytes());
        out.extend_from_slice(&self.version.to_be_bytes());
    }
    fn read(fields: &mut Cut<'_>) -> Option<Self> {
        Some(Self { tenant: fields.tenant()?, version: fields.u64()? })
    }
}

/// How far a tenant's newest policy is rolled out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RolloutKey(pub TenantId);

impl Key for RolloutKey {
    const FAMILY: u8 = 0x20;
    const NAME: &'static str = "roll-out";
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.0.as_bytes());
    }
    fn read(fields: &mut Cut<'_>) -> Option<Self> {
        fields.tenant().map(Self)
    }
}
