//! What an agent knows of its host.
//!
//! A context travels when it changes, not with each alert. Its version is a digest of its content, so an alert can
//! say under which one it was raised, and a restart that changes nothing sends nothing new.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    limits::{CONTEXT_ITEMS_MAX, CONTEXT_TEXT_BYTES_MAX},
    wire::codec,
};

/// Version of a host's context: the first eight bytes of the SHA-256 of its encoding. Zero means "none yet".
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct ContextVersion(pub u64);

/// A host as its agent sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostContext {
    /// The host's own name, as the operating system gives it.
    pub hostname: String,
    /// Further names: the fully qualified one and aliases; sorted.
    pub names: Vec<String>,
    /// Name and version of the operating system, for people.
    pub os: String,
    /// Version of the kernel.
    pub kernel: String,
    /// Processor architecture, such as `x86_64`.
    pub arch: String,
    /// Network interfaces, sorted by name.
    pub interfaces: Vec<Interface>,
    /// Version of the agent's program.
    pub agent_version: String,
}

/// One network interface of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name, such as `eth0`.
    pub name: String,
    /// Its hardware address in lower-case hex with colons; empty where it has none.
    pub mac: String,
    /// Its addresses with the prefix of their network; sorted.
    pub addresses: Vec<InterfaceAddress>,
}

/// An address and the network that it stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InterfaceAddress {
    /// The address.
    pub ip: IpAddr,
    /// Length of its network's prefix in bits: 0-32 for IPv4, 0-128 for IPv6.
    pub prefix_len: u8,
}

impl HostContext {
    /// Returns the version: equal contexts have equal versions on every host and in every run.
    ///
    /// # Panics
    /// Never on a context within its bounds; see [`Self::bounded`].
    #[must_use]
    pub fn version(&self) -> ContextVersion {
        let bytes = codec::encode(self).expect("a bounded context can be encoded");
        let digest = Sha256::digest(&bytes);
        let head = digest.first_chunk::<8>().expect("SHA-256 has 32 bytes");
        ContextVersion(u64::from_be_bytes(*head).max(1))
    }

    /// Returns this context sorted and cut to its bounds, so that it has one encoding and fits its frame.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        let texts = [&mut self.hostname, &mut self.os, &mut self.kernel, &mut self.arch];
        texts.into_iter().chain([&mut self.agent_version]).for_each(cut);
        self.names.iter_mut().for_each(cut);
        self.names.sort();
        self.names.dedup();
        self.names.truncate(CONTEXT_ITEMS_MAX);
        self.interfaces.sort_by(|a, b| a.name.cmp(&b.name));
        let mut room = CONTEXT_ITEMS_MAX;
        for interface in &mut self.interfaces {
            cut(&mut interface.name);
            cut(&mut interface.mac);
            interface.addresses.sort();
            interface.addresses.dedup();
            interface.addresses.truncate(room);
            room -= interface.addresses.len();
        }
        self.interfaces.truncate(CONTEXT_ITEMS_MAX);
        self
    }

    /// Returns whether every list and text is within its bound; a peer's context that is not is refused.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        let short = |text: &String| text.len() <= CONTEXT_TEXT_BYTES_MAX;
        let addresses: usize = self.interfaces.iter().map(|i| i.addresses.len()).sum();
        [&self.hostname, &self.os, &self.kernel, &self.arch, &self.agent_version]
            .into_iter()
            .all(short)
            && self.names.iter().all(short)
            && self.interfaces.iter().all(|i| short(&i.name) && short(&i.mac))
            && self.names.len() <= CONTEXT_ITEMS_MAX
            && self.interfaces.len() <= CONTEXT_ITEMS_MAX
            && addresses <= CONTEXT_ITEMS_MAX
    }
}

/// Cuts `text` to its bound at a character's border.
fn cut(text: &mut String) {
    text.truncate(text.floor_char_boundary(CONTEXT_TEXT_BYTES_MAX));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> HostContext {
        let address =
            |ip: &str, prefix_len| InterfaceAddress { ip: ip.parse().unwrap(), prefix_len };
        HostContext {
            hostname: "srv1".into(),
            names: vec!["srv1.acme.example".into(), "srv1".into()],
            interfaces: vec![Interface {
                name: "eth0".into(),
                mac: "02:00:00:00:00:01".into(),
                addresses: vec![address("10.0.0.2", 24), address("10.0.0.1", 24)],
            }],
            ..HostContext::default()
        }
    }

    #[test]
    fn the_version_depends_on_content_and_not_on_the_order_it_was_found_in() {
        let mut shuffled = host();
        shuffled.names.reverse();
        shuffled.interfaces[0].addresses.reverse();
        assert_eq!(host().bounded().version(), shuffled.bounded().version());
        let mut other = host();
        other.interfaces[0].addresses[0].prefix_len = 16;
        assert_ne!(host().bounded().version(), other.bounded().version());
    }

    #[test]
    fn a_host_with_too_much_of_everything_is_cut_to_its_bounds() {
        let mut large = host();
        large.hostname = "ä".repeat(1_000);
        large.names = (0..1_000).map(|n| format!("name{n}")).collect();
        large.interfaces = (0..1_000).map(|_| host().interfaces[0].clone()).collect();
        assert!(!large.is_bounded());
        assert!(large.bounded().is_bounded());
    }
}
