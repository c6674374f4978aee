//! What an agent knew of its host, in the JSON of the API.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Time;

/// A network interface of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its hardware address; null where it has none.
    #[schema(required)]
    pub mac: Option<String>,
    /// Its addresses with their prefixes, such as `10.0.0.1/24`.
    pub addresses: Vec<String>,
}

/// A route of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Route {
    /// The network that it is for, such as `10.0.0.0/24`; `0.0.0.0/0` and `::/0` are for everything else.
    pub network: String,
    /// The next router; null for a network that the host is on.
    #[schema(required)]
    pub gateway: Option<String>,
    /// The interface that it goes through.
    pub interface: String,
}

/// What a host is made of; empty and zero where that is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Hardware {
    /// Its maker.
    pub vendor: String,
    /// Its model.
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

/// Something on a host that takes connections or datagrams.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Listener {
    /// `tcp` or `udp`.
    pub transport: String,
    /// At which of the host's addresses; zeros for all.
    pub ip: String,
    /// At which port.
    pub port: u16,
    /// The user who opened it.
    pub user: String,
    /// The process that holds it; null where the agent may not see it.
    #[schema(required)]
    pub process: Option<String>,
    /// Number of that process, as of when the host was looked at.
    #[schema(required)]
    pub pid: Option<u32>,
}

/// Somebody who was logged in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LoggedIn {
    /// The user.
    pub user: String,
    /// The terminal; null where there is none.
    #[schema(required)]
    pub terminal: Option<String>,
    /// The host that they came from; null for the host itself.
    #[schema(required)]
    pub from: Option<String>,
    /// Since when.
    #[schema(required)]
    pub since: Option<Time>,
}

/// What an agent knew of its host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostContext {
    /// The host's name.
    pub hostname: String,
    /// Further names.
    pub names: Vec<String>,
    /// Operating system with its version.
    pub os: String,
    /// Kernel with its version.
    pub kernel: String,
    /// Processor architecture.
    pub arch: String,
    /// Version of the agent's program.
    pub agent_version: String,
    /// Network interfaces.
    pub interfaces: Vec<Interface>,
    /// The host's name with its domain; empty where none is known.
    pub fqdn: String,
    /// Its name as Windows' older protocols write it.
    pub netbios_name: String,
    /// The domain that it belongs to; empty where none is known.
    pub domain: String,
    /// Domains that are tried for names without one.
    pub search_domains: Vec<String>,
    /// Name servers.
    pub dns_servers: Vec<String>,
    /// Where packets go.
    pub routes: Vec<Route>,
    /// Another one each time the host starts.
    pub boot_id: String,
    /// Stays with the installation: a digest of the system's own id.
    pub machine_id: String,
    /// What it is made of.
    pub hardware: Hardware,
    /// What takes connections and datagrams.
    pub listeners: Vec<Listener>,
    /// Whether there was more than fits, and has been left out.
    pub is_cut: bool,
    /// Who was logged in when the host was looked at.
    pub users: Vec<LoggedIn>,
    /// When the agent looked, by its own clock; null for agents that do not say. `users` and the numbers of processes
    /// are as of then.
    #[schema(required)]
    pub looked_at: Option<Time>,
}

/// A version of a host's context.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Context {
    /// Which version, in hex: alerts name it.
    pub version: String,
    /// When it was received: since then it has held.
    pub received_at: Time,
    /// When the agent said last that it still does; null where it has not yet.
    #[schema(required)]
    pub confirmed_at: Option<Time>,
    /// The context.
    pub context: HostContext,
}
