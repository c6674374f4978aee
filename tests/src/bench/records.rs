//! Suricata's alerts as a busy network makes them: about 1 kB each, always the same for one seed.
//!
//! Alerts come in runs, as one rule fires again and again between two ends; few rules and few hosts make most of them.
//! A block of 512 names about 25 of the customer's hosts.

use std::{fmt::Write as _, time::Duration};

use shared::time::Timestamp;

/// The customer's hosts: a site with a few networks.
const HOSTS: u64 = 400;
/// Addresses outside that are met.
const OUTSIDE: u64 = 5_000;
/// Rules that fire at all.
const RULES: u64 = 600;
/// Longest run of one rule between two ends.
const RUN_MAX: u64 = 40;
/// Time between two alerts.
const STEP_US: u64 = 20;

const FAMILIES: [&str; 8] = [
    "ET MALWARE Win32/Agent Variant Beacon",
    "ET SCAN Suspicious inbound to service port",
    "ET POLICY Outdated client observed",
    "ET HUNTING Suspicious POST to dotted quad",
    "ET INFO Observed DNS over HTTPS domain",
    "GPL ATTACK_RESPONSE directory listing",
    "ET WEB_SERVER Possible SQL injection attempt",
    "ET EXPLOIT Possible deserialisation attempt",
];
const CATEGORIES: [&str; 4] = [
    "A Network Trojan was detected",
    "Attempted Information Leak",
    "Potential Corporate Privacy Violation",
    "Web Application Attack",
];
const TECHNIQUES: [&str; 6] = ["T1071", "T1046", "T1105", "T1190", "T1059", "T1048"];
const AGENTS: [&str; 4] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
     Chrome/120.0.0.0 Safari/537.36",
    "curl/8.5.0",
    "python-requests/2.31.0",
    "Mozilla/5.0 (X11; Linux x86_64; rv:121.0) Gecko/20100101 Firefox/121.0",
];
const PORTS: [u16; 8] = [443, 80, 445, 22, 3389, 53, 8080, 25];

/// Splitmix64: small, fast, and the same everywhere.
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(super) const fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Returns a number below `bound`, small ones far more often: an eighth of the numbers make half of the draws.
    const fn skewed(&mut self, bound: u64) -> u64 {
        const ONE: u128 = 1 << 20;
        let draw = (self.next() & 0xf_ffff) as u128;
        #[expect(clippy::cast_possible_truncation, reason = "the product is below `bound`")]
        let number = (draw * draw * draw * bound as u128 / (ONE * ONE * ONE)) as u64;
        number
    }
}

/// What the alerts of one run have in common.
struct Run {
    left: u64,
    rule: u64,
    host: u64,
    outside: u64,
    is_inbound: bool,
}

/// Makes alerts.
pub(super) struct Records {
    random: Random,
    clock_us: u64,
    run: Run,
    severities: &'static [u8],
}

/// Suricata's severities as they come in a network; 1 is high, which goes into the urgent lane.
pub(super) const ALL_SEVERITIES: &[u8] =
    &[1, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 4, 4];
/// Low only: nothing but the everyday lane.
pub(super) const LOW: &[u8] = &[3];

impl Records {
    /// Returns a maker of alerts from `start` on.
    pub(super) const fn new(seed: u64, start: Timestamp, severities: &'static [u8]) -> Self {
        let run = Run { left: 0, rule: 0, host: 0, outside: 0, is_inbound: false };
        Self { random: Random::new(seed), clock_us: start.as_ms() * 1_000, run, severities }
    }

    /// Appends the next alert to `out`, with the newline.
    pub(super) fn append(&mut self, out: &mut String) {
        let random = &mut self.random;
        if self.run.left == 0 {
            self.run = Run {
                left: 1 + random.skewed(RUN_MAX),
                rule: random.skewed(RULES),
                host: random.skewed(HOSTS),
                outside: random.below(OUTSIDE),
                is_inbound: random.below(3) == 0,
            };
        }
        self.run.left -= 1;
        self.clock_us += STEP_US;
        let run = &self.run;
        let inside = format!("10.20.{}.{}", run.host / 100, 1 + run.host % 100);
        let outside =
            format!("203.{}.{}.{}", run.outside % 7, run.outside / 250, run.outside % 250);
        let (src, dst) = if run.is_inbound { (outside, inside) } else { (inside, outside) };
        let src_port = 32_768 + random.below(28_000);
        let dst_port = PORTS[place(run.rule, PORTS.len())];
        // Which severity a rule has does not change from alert to alert.
        let severity = self.severities[place(run.rule * 7 + 3, self.severities.len())];
        let alert = Alert { src, src_port, dst, dst_port, severity, at: time(self.clock_us) };
        alert.write(out, run.rule, random);
    }

    /// Appends an alert of `severity` about a host that no other alert is about.
    pub(super) fn append_probe(&mut self, out: &mut String, severity: u8, number: u64) {
        self.clock_us += STEP_US;
        let src = format!("10.9.{}.{}", number / 250, 1 + number % 250);
        let dst = "198.51.100.7".to_owned();
        let alert =
            Alert { src, src_port: 40_000, dst, dst_port: 443, severity, at: time(self.clock_us) };
        alert.write(out, 1, &mut self.random);
    }

    /// Sets the time of the next alerts.
    pub(super) const fn set_time(&mut self, now: Timestamp) {
        self.clock_us = now.as_ms() * 1_000;
    }
}

struct Alert {
    src: String,
    src_port: u64,
    dst: String,
    dst_port: u16,
    severity: u8,
    at: String,
}

impl Alert {
    fn write(&self, out: &mut String, rule: u64, random: &mut Random) {
        let Self { src, src_port, dst, dst_port, severity, at } = self;
        let (family, category) = (FAMILIES[place(rule, 8)], CATEGORIES[place(rule / 3, 4)]);
        let (technique, agent) = (TECHNIQUES[place(rule / 5, 6)], AGENTS[place(rule / 2, 4)]);
        let (flow, community, url) = (random.next() >> 13, random.next(), random.below(1 << 24));
        let (bytes_up, bytes_down) = (200 + random.below(5_000), 300 + random.below(90_000));
        let written = writeln!(
            out,
            "{{\"timestamp\":\"{at}\",\"flow_id\":{flow},\"in_iface\":\"eth1\",\
             \"event_type\":\"alert\",\"src_ip\":\"{src}\",\"src_port\":{src_port},\
             \"dest_ip\":\"{dst}\",\"dest_port\":{dst_port},\"proto\":\"TCP\",\
             \"pkt_src\":\"wire/pcap\",\"community_id\":\"1:{community:016x}\",\"tx_id\":0,\
             \"alert\":{{\"action\":\"allowed\",\"gid\":1,\"signature_id\":{uid},\"rev\":{rev},\
             \"signature\":\"{family} M{rule}\",\"category\":\"{category}\",\
             \"severity\":{severity},\"metadata\":{{\
             \"affected_product\":[\"Windows_XP_Vista_7_8_10_Server_32_64_Bit\"],\
             \"attack_target\":[\"Client_Endpoint\"],\"created_at\":[\"2024_03_12\"],\
             \"deployment\":[\"Perimeter\"],\"mitre_technique_id\":[\"{technique}\"],\
             \"signature_severity\":[\"Major\"],\"updated_at\":[\"2025_11_02\"]}}}},\
             \"http\":{{\"hostname\":\"cdn{domain}.example.net\",\
             \"url\":\"/v1/{url:06x}/status.js\",\
             \"http_user_agent\":\"{agent}\",\"http_method\":\"GET\",\"protocol\":\"HTTP/1.1\",\
             \"status\":200,\"length\":{bytes_down}}},\"app_proto\":\"http\",\
             \"direction\":\"to_server\",\"flow\":{{\"pkts_toserver\":{pkts},\
             \"pkts_toclient\":{pkts},\
             \"bytes_toserver\":{bytes_up},\"bytes_toclient\":{bytes_down},\"start\":\"{at}\",\
             \"src_ip\":\"{src}\",\"dest_ip\":\"{dst}\",\"src_port\":{src_port},\
             \"dest_port\":{dst_port}}}}}",
            uid = 2_020_000 + rule,
            rev = 1 + rule % 9,
            domain = rule % 97,
            pkts = 3 + bytes_up / 900,
        );
        written.expect("a text takes all that is written to it");
    }
}

fn place(number: u64, len: usize) -> usize {
    usize::try_from(number).unwrap_or_default() % len
}

/// Returns the time as Suricata writes it.
fn time(us: u64) -> String {
    let text = Timestamp::from_ms(us / 1_000).to_string();
    format!("{}{:03}+0000", &text[..text.len() - 1], us % 1_000)
}

/// Returns the present.
pub(super) fn now() -> Timestamp {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or(Duration::ZERO);
    Timestamp::ZERO.saturating_add(since)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn alerts_are_about_a_kilobyte_and_the_same_for_one_seed() {
        let make = |seed| {
            let mut text = String::new();
            let mut records = Records::new(seed, Timestamp::from_ms(1_700_000_000_000), LOW);
            (0..2_000).for_each(|_| records.append(&mut text));
            text
        };
        let text = make(1);
        assert!((950..1_250).contains(&(text.len() / 2_000)), "{}", text.len() / 2_000);
        assert!(make(1) == text && make(2) != text);
        let first: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(first["timestamp"], "2023-11-14T22:13:20.000020+0000");
    }

    #[test]
    fn a_block_of_alerts_names_some_tens_of_hosts() {
        let mut records = Records::new(5, Timestamp::ZERO, ALL_SEVERITIES);
        let mut text = String::new();
        (0..512).for_each(|_| records.append(&mut text));
        let hosts: BTreeSet<&str> = text
            .split('"')
            .filter(|part| part.starts_with("10.20.") && part.bytes().all(|b| b != b','))
            .collect();
        assert!((10..50).contains(&hosts.len()), "{}", hosts.len());
    }
}
