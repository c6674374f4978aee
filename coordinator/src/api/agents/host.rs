//! A host's context as the API shows it.

use shared::{
    context::{self, InterfaceAddress},
    time::Timestamp,
};

use crate::api::types::{Hardware, HostContext, Interface, Listener, LoggedIn, Route, Time};

/// Returns a context as the API shows it: what is empty where it may be absent is null.
pub(super) fn shown(context: context::HostContext) -> HostContext {
    let interfaces = context.interfaces.into_iter().map(|interface| Interface {
        name: interface.name,
        mac: said(interface.mac),
        addresses: interface.addresses.iter().map(network).collect(),
    });
    let routes = context.routes.into_iter().map(|route| Route {
        network: network(&route.network),
        gateway: route.gateway.map(|ip| ip.to_string()),
        interface: route.interface,
    });
    let listeners = context.listeners.into_iter().map(|listener| Listener {
        transport: listener.transport.as_str().to_owned(),
        ip: listener.ip.to_string(),
        port: listener.port,
        user: listener.user,
        process: said(listener.process),
        pid: (listener.pid != 0).then_some(listener.pid),
    });
    let users = context.users.into_iter().map(|user| LoggedIn {
        user: user.user,
        terminal: said(user.terminal),
        from: said(user.from),
        since: user.since.map(Time),
    });
    let context::Hardware { vendor, model, processor, processors, memory_bytes, virtualization } =
        context.hardware;
    HostContext {
        hostname: context.hostname,
        names: context.names,
        os: context.os,
        kernel: context.kernel,
        arch: context.arch,
        agent_version: context.agent_version,
        interfaces: interfaces.collect(),
        fqdn: context.fqdn,
        netbios_name: context.netbios_name,
        domain: context.domain,
        search_domains: context.search_domains,
        dns_servers: context.dns_servers.iter().map(ToString::to_string).collect(),
        routes: routes.collect(),
        boot_id: context.boot_id,
        machine_id: context.machine_id,
        hardware: Hardware { vendor, model, processor, processors, memory_bytes, virtualization },
        listeners: listeners.collect(),
        is_cut: context.is_cut,
        users: users.collect(),
        looked_at: (context.looked_at != Timestamp::ZERO).then_some(Time(context.looked_at)),
    }
}

fn said(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

fn network(address: &InterfaceAddress) -> String {
    format!("{}/{}", address.ip, address.prefix_len)
}
