//! Keys of trust.

use super::{Cut, Key};

/// The newest trust bundle, signed: there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TrustKey;

impl Key for TrustKey {
    const FAMILY: u8 = 0x22;
    const NAME: &'static str = "trust bundle";
    fn write(&self, _out: &mut Vec<u8>) {}
    fn read(_fields: &mut Cut<'_>) -> Option<Self> {
        Some(Self)
    }
}
