//! What an alert is about: the hosts, addresses, users, files and rules by which alerts are found and joined.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use shared::{
    alert::{Alert, Field},
    block::Fields,
};

/// Kind of an entity. The numbers stand in keys: append, never change (L10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum EntityKind {
    /// A host's name.
    Host = 1,
    /// An IP address.
    Ip = 2,
    /// A user's name.
    User = 3,
    /// A file's hash.
    Hash = 4,
    /// A rule's id in its product.
    Rule = 5,
    /// A domain name.
    Domain = 6,
}

impl EntityKind {
    /// All kinds.
    pub const ALL: [Self; 6] =
        [Self::Host, Self::Ip, Self::User, Self::Hash, Self::Rule, Self::Domain];

    /// Returns the kind of entity that `field` holds, if it is one that alerts are found by.
    #[must_use]
    pub const fn of_field(field: Field) -> Option<Self> {
        match field {
            Field::DeviceHostname | Field::SrcHostname | Field::DstHostname => Some(Self::Host),
            Field::DeviceIp | Field::SrcIp | Field::DstIp => Some(Self::Ip),
            Field::User | Field::TargetUser => Some(Self::User),
            Field::FileHash | Field::FurtherHashes => Some(Self::Hash),
            Field::RuleUid => Some(Self::Rule),
            Field::Domain | Field::UrlHost | Field::TlsName => Some(Self::Domain),
            Field::LogName
            | Field::Product
            | Field::Title
            | Field::Category
            | Field::Techniques
            | Field::Protocol
            | Field::Process
            | Field::FilePath
            | Field::Url
            | Field::CommandLine
            | Field::ParentProcess
            | Field::RegistryKey
            | Field::Container
            | Field::PolicyRule
            | Field::Attribution
            | Field::RuleName
            | Field::Tactics
            | Field::ProcessId
            | Field::ParentProcessId
            | Field::UserDomain
            | Field::UserUid
            | Field::TargetUserDomain
            | Field::TargetUserUid => None,
        }
    }

    /// Returns the kind's name in the API and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Ip => "ip",
            Self::User => "user",
            Self::Hash => "hash",
            Self::Rule => "rule",
            Self::Domain => "domain",
        }
    }

    /// Returns the kind with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// An entity as it stands in a key: its kind and the digest of its name, which has no bound of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntityRef {
    /// Its kind.
    pub kind: EntityKind,
    /// First 16 bytes of the SHA-256 of its name in lower case; of an address in its one spelling.
    pub digest: [u8; 16],
}

impl EntityRef {
    /// Returns the reference of the entity `name`. Names differ by case in logs and not in the world, and addresses by
    /// how they are spelt.
    #[must_use]
    pub fn new(kind: EntityKind, name: &str) -> Self {
        let name = name.trim().to_lowercase();
        let address = Some(&name).filter(|name| kind == EntityKind::Ip && name.contains(':'));
        let address = address.and_then(|name| name.parse::<IpAddr>().ok());
        let name = address.map_or(name, |address| address.to_canonical().to_string());
        Self { kind, digest: digest([name.as_bytes()]) }
    }

    /// Returns the entities that a field's text names: of hashes there may be several.
    pub fn named_by(kind: EntityKind, text: &str) -> impl Iterator<Item = Self> {
        let is_list = kind == EntityKind::Hash;
        let names = text.split(move |char| is_list && char == ',');
        names.map(move |name| Self::new(kind, name))
    }

    /// Returns whether `alert` names this entity.
    #[must_use]
    pub fn is_in(&self, alert: &Alert<'_>) -> bool {
        let named = |text| Self::named_by(self.kind, text).any(|entity| entity == *self);
        Field::ALL.into_iter().any(|field| {
            EntityKind::of_field(field) == Some(self.kind) && alert.text(field).is_some_and(named)
        })
    }
}

/// Returns the first 16 bytes of the SHA-256 over `parts`, each preceded by its length.
#[must_use]
pub fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 16] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    *hash.finalize().first_chunk().expect("SHA-256 has 32 bytes")
}

/// Returns every entity that alerts of a block name, each once, in byte order.
#[must_use]
pub fn of_block(fields: &Fields<'_>) -> Vec<EntityRef> {
    let texts = fields.texts();
    let mut seen = vec![0_u8; texts.len() + 1]; // a bit a kind
    let mut found = Vec::new();
    for field in Field::ALL {
        let Some(kind) = EntityKind::of_field(field) else { continue };
        for position in 0..fields.len() {
            let number = fields.number(position, field) as usize;
            let bit = 1 << kind as u8;
            if number != 0 && seen[number] & bit == 0 {
                seen[number] |= bit;
                found.extend(EntityRef::named_by(kind, texts[number - 1]));
            }
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// Returns the field whose text names the host that the alert at `position` is about.
///
/// A host-based product says so. Of a connection it is the end that belongs to the customer, the target where both
/// do: private addresses (RFC 1918, RFC 4193) and link-local ones are taken to be the customer's.
#[must_use]
pub fn subject(fields: &Fields<'_>, position: usize, inside: &mut InsideCache) -> Option<Field> {
    let named = |field: &Field| fields.number(position, *field) != 0;
    let mut is_inside = |field: &Field| {
        let number = fields.number(position, *field);
        number != 0 && inside.lookup(number, fields)
    };
    [Field::DeviceHostname, Field::DeviceIp]
        .into_iter()
        .find(named)
        .or_else(|| [Field::DstIp, Field::SrcIp].into_iter().find(|field| is_inside(field)))
        .or_else(|| [Field::DstIp, Field::SrcIp].into_iter().find(named))
}

/// Remembers for the texts of one block whether they are addresses inside a customer's network.
#[derive(Debug, Default)]
pub struct InsideCache(Vec<Option<bool>>);

impl InsideCache {
    fn lookup(&mut self, number: u32, fields: &Fields<'_>) -> bool {
        self.0.resize(fields.texts().len() + 1, None);
        let slot = &mut self.0[number as usize];
        *slot.get_or_insert_with(|| is_inside(fields.texts()[number as usize - 1]))
    }
}

/// Returns whether `address` is one that only exists inside a network.
fn is_inside(address: &str) -> bool {
    match address.parse() {
        Ok(IpAddr::V4(ip)) => ip.is_private() || ip.is_link_local(),
        Ok(IpAddr::V6(ip)) => ip.is_unique_local() || ip.is_unicast_link_local(),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use shared::block::{Block, BlockBuilder};

    use super::*;

    fn block(alerts: &[&[(Field, &'static str)]]) -> Block {
        let mut builder = BlockBuilder::new();
        for texts in alerts {
            let mut alert = Alert::default();
            texts.iter().for_each(|(field, text)| alert.set(*field, *text));
            builder.push(&alert, b"record").unwrap();
        }
        Block::parse(builder.finish(1)).unwrap()
    }

    #[test]
    fn the_subject_is_the_customers_end_of_a_connection() {
        type Texts = &'static [(Field, &'static str)];
        let cases: [(Texts, Option<&str>); 7] = [
            (&[(Field::DeviceHostname, "srv1"), (Field::DstIp, "10.0.0.1")], Some("srv1")),
            (&[(Field::SrcIp, "203.0.113.9"), (Field::DstIp, "10.0.0.1")], Some("10.0.0.1")),
            (&[(Field::SrcIp, "10.0.0.2"), (Field::DstIp, "203.0.113.9")], Some("10.0.0.2")),
            (&[(Field::SrcIp, "10.0.0.2"), (Field::DstIp, "10.0.0.1")], Some("10.0.0.1")),
            (&[(Field::SrcIp, "fd00::2"), (Field::DstIp, "2001:db8::1")], Some("fd00::2")),
            (&[(Field::SrcIp, "198.51.100.1")], Some("198.51.100.1")),
            (&[(Field::Title, "nothing but a title")], None),
        ];
        for (texts, expected) in cases {
            let block = block(&[texts]);
            let raw = block.decompress_fields().unwrap();
            let fields = raw.decode().unwrap();
            let field = subject(&fields, 0, &mut InsideCache::default());
            assert_eq!(field.and_then(|field| fields.text(0, field)), expected);
        }
    }

    #[test]
    fn an_address_is_one_entity_however_it_is_spelt() {
        let entity = |name| EntityRef::new(EntityKind::Ip, name);
        for name in ["2001:DB8::5", "2001:0db8:0000:0000:0000:0000:0000:0005"] {
            assert_eq!(entity(name), entity("2001:db8::5"), "{name}");
        }
        assert_eq!(entity("::ffff:10.0.0.5"), entity("10.0.0.5"));
        assert_ne!(entity("10.0.0.5:80"), entity("10.0.0.5"));
        let host = EntityRef::new(EntityKind::Host, "::ffff:10.0.0.5");
        assert_ne!(host, EntityRef::new(EntityKind::Host, "10.0.0.5"), "a name is not an address");
    }

    #[test]
    fn a_file_is_found_by_each_of_its_hashes() {
        let block = block(&[&[(Field::FileHash, "CAFE"), (Field::FurtherHashes, "c0,c1")]]);
        let raw = block.decompress_fields().unwrap();
        let fields = raw.decode().unwrap();
        let found = of_block(&fields);
        for hash in ["cafe", "c0", "C1"] {
            let entity = EntityRef::new(EntityKind::Hash, hash);
            assert!(found.contains(&entity) && entity.is_in(&fields.alert(0)), "{hash}");
        }
        assert_eq!(found.len(), 3);
    }

    #[test]
    fn entities_of_a_block_are_named_once_and_found_again_in_any_case() {
        let block = block(&[
            &[(Field::SrcIp, "10.0.0.1"), (Field::DstIp, "10.0.0.2"), (Field::User, "Alice")],
            &[(Field::SrcIp, "10.0.0.2"), (Field::User, "alice"), (Field::Title, "no entity")],
        ]);
        let raw = block.decompress_fields().unwrap();
        let fields = raw.decode().unwrap();
        let found = of_block(&fields);
        assert_eq!(found.len(), 3);
        let alice = EntityRef::new(EntityKind::User, " ALICE ");
        assert!(
            found.contains(&alice)
                && alice.is_in(&fields.alert(0))
                && alice.is_in(&fields.alert(1))
        );
        assert!(!EntityRef::new(EntityKind::Host, "alice").is_in(&fields.alert(0)));
    }
}
