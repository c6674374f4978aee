//! The first form of a host's context, as version 1 of the wire and of the store has it.

use serde::{Deserialize, Serialize};

use super::{HostContext, Interface};

/// The fields in their order. Nothing is ever added here (L10).
#[derive(Serialize, Deserialize)]
pub(super) struct FirstForm {
    hostname: String,
    names: Vec<String>,
    os: String,
    kernel: String,
    arch: String,
    interfaces: Vec<Interface>,
    agent_version: String,
}

impl FirstForm {
    /// Returns the first form of a context, if it says all of it.
    pub(super) fn of(context: &HostContext) -> Option<Self> {
        let first = Self::cut(context);
        (HostContext::from(Self::cut(context)) == *context).then_some(first)
    }

    /// Returns what the first form can say of a context.
    pub(super) fn cut(context: &HostContext) -> Self {
        Self {
            hostname: context.hostname.clone(),
            names: context.names.clone(),
            os: context.os.clone(),
            kernel: context.kernel.clone(),
            arch: context.arch.clone(),
            interfaces: context.interfaces.clone(),
            agent_version: context.agent_version.clone(),
        }
    }
}

impl From<FirstForm> for HostContext {
    fn from(first: FirstForm) -> Self {
        Self {
            hostname: first.hostname,
            names: first.names,
            os: first.os,
            kernel: first.kernel,
            arch: first.arch,
            interfaces: first.interfaces,
            agent_version: first.agent_version,
            ..Self::default()
        }
    }
}
