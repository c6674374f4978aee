//! What an agent knows of its host.
//!
//! A context travels when it changes, not with each alert. Its version is a digest of its content, so an alert can
//! say under which one it was raised, and a restart that changes nothing sends nothing new.
//!
//! # What makes a version
//! Everything that says what the host *is*: names, networks, system, hardware, and what listens on it. What says what
//! goes on just now does not: who is logged in, the numbers of processes, when it was looked at. That part travels with
//! each context all the same, and is as old as the context was said last: agents say the same context again at least
//! once a day, so that nobody takes an old one for what is.
//!
//! # Forms
//! The first form ends with the agent's version. A context that says no more than that is encoded, and its version
//! made, as the first form had it, so contexts of older agents keep their bytes and their versions (L10).

mod first;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use self::first::FirstForm;
use crate::{
    limits::{CONTEXT_BYTES_MAX, CONTEXT_ITEMS_MAX, CONTEXT_TEXT_BYTES_MAX},
    time::Timestamp,
    wire::codec::{self, CodecError},
};

/// Version of a host's context: the first eight bytes of the SHA-256 of its encoding. Zero means "none yet".
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct ContextVersion(pub u64);

/// A host as its agent sees it. Its encoding is the second form's; append, never reorder (L10).
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
    /// Its name with its domain, where one is known.
    pub fqdn: String,
    /// Its name as Windows' older protocols write it: at most 15 letters, in capitals.
    pub netbios_name: String,
    /// The domain that it belongs to, where one is known.
    pub domain: String,
    /// Domains that are tried for names without one, in their order.
    pub search_domains: Vec<String>,
    /// Name servers, in their order.
    pub dns_servers: Vec<IpAddr>,
    /// Where packets go; sorted.
    pub routes: Vec<Route>,
    /// Another one each time the host starts.
    pub boot_id: String,
    /// Stays with the installation: a digest of the system's own id, which is not to be told.
    pub machine_id: String,
    /// What it is made of.
    pub hardware: Hardware,
    /// What takes connections and datagrams on it; sorted.
    pub listeners: Vec<Listener>,
    /// Whether there was more than fits, and has been left out.
    pub is_cut: bool,
    /// Who is logged in; not part of the version.
    pub users: Vec<LoggedIn>,
    /// When the agent looked; not part of the version.
    pub looked_at: Timestamp,
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

/// One entry of a host's routing table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Route {
    /// The network that it is for; one of length zero is for everything else.
    pub network: InterfaceAddress,
    /// The next router; absent for a network that the host is on.
    pub gateway: Option<IpAddr>,
    /// Name of the interface that it goes through.
    pub interface: String,
}

/// What a host is made of; empty and zero where that is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hardware {
    /// Its maker, as the firmware says.
    pub vendor: String,
    /// Its model, as the firmware says.
    pub model: String,
    /// Name of its processors.
    pub processor: String,
    /// How many of them the system uses.
    pub processors: u32,
    /// Its memory, in bytes.
    pub memory_bytes: u64,
    /// `none` on bare metal, else what it runs in, such as `container`, `kvm` or `vmware`.
    pub virtualization: String,
}

/// How a listener is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// By connections.
    Tcp,
    /// By datagrams.
    Udp,
}

impl Transport {
    /// Returns the name in tables and the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// Something that takes connections or datagrams.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Listener {
    /// How it is reached.
    pub transport: Transport,
    /// At which of the host's addresses; zeros for all.
    pub ip: IpAddr,
    /// At which port.
    pub port: u16,
    /// Name of the user who opened it.
    pub user: String,
    /// Name of the process that holds it; empty where the agent may not see it.
    pub process: String,
    /// Number of that process, zero where it is not known; not part of the version.
    pub pid: u32,
}

/// Somebody who is logged in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LoggedIn {
    /// Name of the user.
    pub user: String,
    /// Name of the terminal; empty where there is none.
    pub terminal: String,
    /// Name or address of the host that they come from; empty for the host itself.
    pub from: String,
    /// Since when.
    pub since: Option<Timestamp>,
}

impl HostContext {
    /// Returns the version: equal contexts have equal versions on every host and in every run.
    ///
    /// # Panics
    /// Never on a context within its bounds; see [`Self::bounded`].
    #[must_use]
    pub fn version(&self) -> ContextVersion {
        let lasting = self.lasting();
        let bytes = match FirstForm::of(&lasting) {
            Some(first) => codec::encode(&first),
            None => codec::encode(&lasting),
        };
        let digest = Sha256::digest(bytes.expect("a bounded context can be encoded"));
        let head = digest.first_chunk::<8>().expect("SHA-256 has 32 bytes");
        ContextVersion(u64::from_be_bytes(*head).max(1))
    }

    /// Returns whether the first form can say all of it.
    #[must_use]
    pub fn is_of_first_form(&self) -> bool {
        FirstForm::of(self).is_some()
    }

    /// Returns what the first form can say of it, for a peer that knows no other.
    #[must_use]
    pub fn in_first_form(&self) -> Self {
        FirstForm::cut(self).into()
    }

    /// Encodes it in the first form where that can say all of it, else in the second.
    ///
    /// # Errors
    /// As [`codec::encode`].
    pub fn encode(&self) -> Result<Vec<u8>, CodecError> {
        FirstForm::of(self).map_or_else(|| codec::encode(self), |first| codec::encode(&first))
    }

    /// Decodes the first form.
    ///
    /// # Errors
    /// As [`codec::decode`].
    pub fn decode_first(bytes: &[u8]) -> Result<Self, CodecError> {
        codec::decode::<FirstForm>(bytes).map(Into::into)
    }

    /// Returns this context without what does not make its version.
    fn lasting(&self) -> Self {
        let mut lasting = Self { users: Vec::new(), looked_at: Timestamp::ZERO, ..self.clone() };
        lasting.listeners.iter_mut().for_each(|listener| listener.pid = 0);
        lasting
    }

    /// Returns this context sorted and cut to its bounds, so that it has one encoding and fits its frame.
    ///
    /// # Panics
    /// Never: texts and lists can be encoded.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.texts().for_each(cut);
        self.names.sort();
        self.names.dedup();
        self.interfaces.sort_by(|a, b| a.name.cmp(&b.name));
        for interface in &mut self.interfaces {
            interface.addresses.sort();
            interface.addresses.dedup();
        }
        self.routes.sort();
        self.routes.dedup();
        self.listeners.sort();
        self.listeners.dedup_by(|a, b| (a.transport, a.ip, a.port) == (b.transport, b.ip, b.port));
        self.users.sort();
        let mut items_max = CONTEXT_ITEMS_MAX;
        loop {
            self.cut_lists(items_max);
            let len = codec::encode(&self).expect("texts and lists can be encoded").len();
            if len <= CONTEXT_BYTES_MAX {
                return self;
            }
            items_max /= 2; // texts alone are far within the bound
        }
    }

    /// Cuts every list to `max` items, and the addresses of all interfaces together; notes that it did.
    fn cut_lists(&mut self, max: usize) {
        let mut room = max;
        for interface in &mut self.interfaces {
            self.is_cut |= interface.addresses.len() > room;
            interface.addresses.truncate(room);
            room -= interface.addresses.len();
        }
        self.is_cut |= self.list_lens().iter().any(|len| *len > max);
        self.names.truncate(max);
        self.interfaces.truncate(max);
        self.search_domains.truncate(max);
        self.dns_servers.truncate(max);
        self.routes.truncate(max);
        self.listeners.truncate(max);
        self.users.truncate(max);
    }

    fn list_lens(&self) -> [usize; 7] {
        [
            self.names.len(),
            self.interfaces.len(),
            self.search_domains.len(),
            self.dns_servers.len(),
            self.routes.len(),
            self.listeners.len(),
            self.users.len(),
        ]
    }

    fn texts(&mut self) -> impl Iterator<Item = &mut String> {
        let Hardware { vendor, model, processor, virtualization, .. } = &mut self.hardware;
        [
            &mut self.hostname,
            &mut self.os,
            &mut self.kernel,
            &mut self.arch,
            &mut self.agent_version,
            &mut self.fqdn,
            &mut self.netbios_name,
            &mut self.domain,
            &mut self.boot_id,
            &mut self.machine_id,
            vendor,
            model,
            processor,
            virtualization,
        ]
        .into_iter()
        .chain(&mut self.names)
        .chain(&mut self.search_domains)
        .chain(self.interfaces.iter_mut().flat_map(|it| [&mut it.name, &mut it.mac]))
        .chain(self.routes.iter_mut().map(|route| &mut route.interface))
        .chain(self.listeners.iter_mut().flat_map(|it| [&mut it.user, &mut it.process]))
        .chain(self.users.iter_mut().flat_map(|it| [&mut it.user, &mut it.terminal, &mut it.from]))
    }

    /// Returns whether every list and text is within its bound; a peer's context that is not is refused.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        let addresses: usize = self.interfaces.iter().map(|i| i.addresses.len()).sum();
        let is_short = self.list_lens().iter().all(|len| *len <= CONTEXT_ITEMS_MAX);
        is_short
            && addresses <= CONTEXT_ITEMS_MAX
            && self.clone().texts().all(|text| text.len() <= CONTEXT_TEXT_BYTES_MAX)
    }
}

/// Cuts `text` to its bound at a character's border.
fn cut(text: &mut String) {
    text.truncate(text.floor_char_boundary(CONTEXT_TEXT_BYTES_MAX));
}

#[cfg(test)]
mod tests;
