//! What the host is made of, and which installation it is.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};
use shared::context::Hardware;

/// Words of firmware by which a virtual machine is known, and what it is called.
const MAKERS: &[(&str, &str)] = &[
    ("vmware", "vmware"),
    ("virtualbox", "virtualbox"),
    ("innotek", "virtualbox"),
    ("kvm", "kvm"),
    ("qemu", "qemu"),
    ("amazon ec2", "amazon"),
    ("google compute engine", "google"),
    ("xen", "xen"),
    ("virtual machine", "hyper-v"),
    ("parallels", "parallels"),
    ("bhyve", "bhyve"),
    ("openstack", "openstack"),
];
/// Files that stand only in containers.
const IN_CONTAINERS: [&str; 3] = ["run/systemd/container", ".dockerenv", "run/.containerenv"];
/// Goes before what is digested, so that the digest is of no use elsewhere.
const ID_DOMAIN: &[u8] = b"signalbox machine id 1\0";
/// Bytes of the digest that are told: as many as the id itself has.
const ID_BYTES: usize = 16;

/// Returns a digest of the system's id of its installation, in hex. The id itself is a secret by its own manual: other
/// programs' keys are derived from it.
pub(super) fn id(machine_id: &str) -> String {
    let machine_id = machine_id.trim();
    if machine_id.is_empty() {
        return String::new();
    }
    let digest = Sha256::new().chain_update(ID_DOMAIN).chain_update(machine_id).finalize();
    digest.iter().take(ID_BYTES).fold(String::new(), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _written = write!(hex, "{byte:02x}").is_ok();
        hex
    })
}

/// Gathers the hardware from the texts of files, by their paths below the root.
pub(super) fn hardware(text: &dyn Fn(&str) -> String, has: &dyn Fn(&str) -> bool) -> Hardware {
    let vendor = text("sys/class/dmi/id/sys_vendor").trim().to_owned();
    let model = text("sys/class/dmi/id/product_name").trim().to_owned();
    let cpuinfo = text("proc/cpuinfo");
    let of_cpu = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim())
    };
    let is_container = IN_CONTAINERS.iter().any(|path| has(path));
    let virtualization = virtualization(is_container, &vendor, &model, of_cpu("flags"));
    Hardware {
        processor: of_cpu("model name").unwrap_or_default().to_owned(),
        processors: count(&text("sys/devices/system/cpu/online")),
        memory_bytes: memory_bytes(&text("proc/meminfo")),
        virtualization,
        vendor,
        model,
    }
}

fn virtualization(is_container: bool, vendor: &str, model: &str, flags: Option<&str>) -> String {
    let firmware = format!("{vendor} {model}").to_ascii_lowercase();
    let maker = MAKERS.iter().find(|(word, _)| firmware.contains(word)).map(|(_, name)| *name);
    let is_guest = flags.map(|flags| flags.split_whitespace().any(|flag| flag == "hypervisor"));
    match (is_container, maker, is_guest) {
        (true, ..) => "container",
        (false, Some(maker), _) => maker,
        (false, None, Some(true)) => "virtual machine",
        (false, None, Some(false)) => "none",
        (false, None, None) => "", // this processor does not say
    }
    .to_owned()
}

/// Returns how many processors a list such as `0-3,8` names.
fn count(list: &str) -> u32 {
    let part = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
        last.checked_sub(first)?.checked_add(1)
    };
    list.trim().split(',').filter_map(part).fold(0, u32::saturating_add)
}

fn memory_bytes(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default().saturating_mul(1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_installation_is_told_from_others_without_telling_its_id() {
        let [one, other] = ["0123456789abcdef0123456789abcdef\n", "f".repeat(32).as_str()].map(id);
        assert_eq!(one.len(), 32);
        assert!(one != other && !one.contains("0123456789abcdef"));
        assert_eq!(id("0123456789abcdef0123456789abcdef"), one);
        assert_eq!(id("\n"), "");
    }

    #[test]
    fn hardware_is_read_from_what_the_kernel_shows() {
        let text = |path: &str| {
            match path {
                "sys/class/dmi/id/sys_vendor" => "QEMU\n",
                "sys/class/dmi/id/product_name" => "Standard PC (Q35 + ICH9, 2009)\n",
                "proc/cpuinfo" => {
                    "processor\t: 0\nmodel name\t: A CPU\nflags\t\t: fpu hypervisor\n"
                }
                "sys/devices/system/cpu/online" => "0-3,8\n",
                "proc/meminfo" => "MemTotal:        8000000 kB\nMemFree: 1 kB\n",
                _ => "",
            }
            .to_owned()
        };
        let wanted = Hardware {
            vendor: "QEMU".into(),
            model: "Standard PC (Q35 + ICH9, 2009)".into(),
            processor: "A CPU".into(),
            processors: 5,
            memory_bytes: 8_000_000 << 10,
            virtualization: "qemu".into(),
        };
        assert_eq!(hardware(&text, &|_| false), wanted);
        let nothing = hardware(&|_| String::new(), &|_| false);
        assert_eq!(nothing, Hardware::default());
    }

    #[test]
    fn a_host_is_virtual_real_or_does_not_say() {
        let of = |is_container, model, flags| virtualization(is_container, "", model, flags);
        assert_eq!(of(true, "KVM", Some("hypervisor")), "container");
        assert_eq!(of(false, "VMware7,1", None), "vmware");
        assert_eq!(of(false, "X", Some("fpu hypervisor")), "virtual machine");
        assert_eq!(of(false, "ThinkPad", Some("fpu vme")), "none");
        assert_eq!(of(false, "", None), "");
        assert_eq!(count("0\n"), 1);
        assert_eq!(count("3-1,x"), 0);
    }
}
