//! What stands below the options in the help: examples that teach.

use crate::failure::EXIT_CODES;

const PROGRAM: &str = "\
A shift:
  signalbox login --coordinator https://signalbox.example --root root.pem
  signalbox next                       the queue gives you the most urgent case
  signalbox show 7k3m --record         look closer; a unique beginning names a case
  signalbox search 10.20.0.17          what else is known of this address
  signalbox verdict 7k3m benign-expected --reason 'backup job, agreed in CHG-4711'
  signalbox logout

Settings come from the options, then from the environment (SIGNALBOX_COORDINATOR, SIGNALBOX_ROOT,
SIGNALBOX_TOKEN, SIGNALBOX_TOKEN_FILE), then from the file that `signalbox login` writes. A stored
token goes to the coordinator that is stored with it, and to no other.";

/// Returns what stands below the program's own help.
pub(super) fn program() -> String {
    format!("{PROGRAM}\n\n{EXIT_CODES}")
}

pub(super) const LOGIN: &str = "\
Where the coordinator knows a provider of identities you sign in there, in a browser on this machine
or another: open the address that is printed, sign in, and compare the code that the browser shows
with the one here. You are signed in for some hours, which `signalbox whoami` tells.

For programs, and before there is a provider, a token is read from --token-file, SIGNALBOX_TOKEN or
SIGNALBOX_TOKEN_FILE, or with --with-token from standard input, where a terminal does not show it.
Where the coordinator knows no provider you are asked for a token.

Nothing is stored unless the coordinator knows the token. The file is readable by you alone.

Examples:
  signalbox login --coordinator https://signalbox.example --root root.pem
  signalbox login --no-browser
  signalbox login --token-file admin.token
  signalbox login --with-token";

pub(super) const LOGOUT: &str = "\
The coordinator takes it from nobody any more, here or elsewhere. Whoever has another token of
yours keeps it: `signalbox token list` shows an admin all of them.

Example:
  signalbox logout";

pub(super) const COMPLETIONS: &str = "\
Examples:
  signalbox completions bash > ~/.local/share/bash-completion/completions/signalbox
  signalbox completions zsh > ~/.zfunc/_signalbox
  signalbox completions fish > ~/.config/fish/completions/signalbox.fish";

pub(super) const NEXT: &str = "\
Ends with 3 if no case waits. The number of the claim is remembered, so that verdict, release and
renew need not name it.

Examples:
  signalbox next
  signalbox next --wait 30s --lease 30m
  signalbox next --json | jq -r .case.id";

pub(super) const SHOW: &str = "\
With --json it prints the case; with --alerts or --record, too, an object of `case` and `alerts`.

Examples:
  signalbox show 7k3m
  signalbox show 7k3m --alerts 50 --record";

pub(super) const VERDICT: &str = "\
Examples:
  signalbox verdict 7k3m malicious --reason 'beacon to 198.51.100.7, host isolated'
  signalbox verdict 7k3m benign-false-positive --reason 'rule matches any IPv6 ping'";

pub(super) const RELEASE: &str = "\
Example:
  signalbox release 7k3m --reason 'needs somebody who knows their VPN'";

pub(super) const RENEW: &str = "\
Example:
  signalbox renew 7k3m --lease 45m";

pub(super) const CLAIM: &str = "\
Example:
  signalbox claim 7k3m";

pub(super) const CASES: &str = "\
Examples:
  signalbox cases --state open --severity high
  signalbox cases --tenant acme --since 7d --all --json";

pub(super) const SEARCH: &str = "\
KIND is one of host, ip, user, hash, rule, domain. Without it an IP address is an ip; 32, 40 or 64
hex digits are a hash; everything else is a host.

Examples:
  signalbox search 10.20.0.17 --from 24h
  signalbox search user:j.doe --tenant acme
  signalbox search domain:example.net --record";

pub(super) const AGENTS: &str = "\
Examples:
  signalbox agents --tenant acme
  signalbox agents show 018f3f0e-8d2c-7c55-8a11-0d9b7d0f2a01";

pub(super) const AGENTS_SHOW: &str = "\
With --json it prints an object of `agent`, `contexts` and `gaps`.";

pub(super) const AGENTS_REVOKE: &str = "\
The host keeps what it has not sent and says that it was revoked. To let it in again, make a join
token and have it join: it becomes another agent. Revoke the join token, too, if whoever has the
host may know it.

Examples:
  signalbox agent revoke 018f3f0e-8d2c-7c55-8a11-0d9b7d0f2a01 --reason 'laptop stolen'";

pub(super) const AGENTS_RESOLVE: &str = "\
Two hosts use one identity after an image with an agent in it was copied, or a backup was put on
another host. The first goes on being served; the other is in quarantine, keeps all and says so.
`agents show` shows them side by side. The one that keeps the identity is served within half a
minute and renews its certificate; the others' are worth nothing then, and they have to join anew.

Examples:
  signalbox agents show 018f3f0e-8d2c-7c55-8a11-0d9b7d0f2a01
  signalbox agents resolve 018f3f0e-8d2c-7c55-8a11-0d9b7d0f2a01 --keep 5be1f0c2a9d34e70 -r copied";

pub(super) const LEDGER: &str = "\
For each source: read = sent + malformed + held + folded + skipped + dropped. A gap is a stretch of
which something of that is not known; agents tell when they were stopped, what the system dropped
and what they had to cut. With --json it prints an object of `coverage` and `gaps`; a source may
stand in several items, which add up.

Examples:
  signalbox ledger acme
  signalbox ledger acme --since 2026-01-02 --until 2026-01-03
  signalbox ledger acme --agent 018f3f0e-8d2c-7c55-8a11-0d9b7d0f2a01 --since 7d --json";

pub(super) const RECALL: &str = "\
Agents that are not connected answer when they are back, within three days. What an agent has no
more is told as a tombstone: how many records were evicted, from when, and when. With --json it
prints the recall that was asked for; with an id or --follow an object of `details` and `records`.

Examples:
  signalbox recall --tenant acme --rule dns-noise --since 24h --follow
  signalbox recall --tenant acme --rule dns-noise --since 2026-01-02 --until 2026-01-03
  signalbox recall 00000199c82cc0000707070707070707 --all --json";

pub(super) const RECALLS: &str = "\
Example:
  signalbox recalls --tenant acme";

pub(super) const POLICY_PUSH: &str = "\
The key is made with `certs policy-key` and told to the coordinator and the agents; keep it off the
coordinator. Look at what a policy does before you sign it: signalbox-agent try-policy.

Examples:
  signalbox policy push acme acme.yml --key policy.key --passphrase-file ~/.policy-passphrase
  signalbox policy push acme acme.yml --key policy.key --stage 10 --expires 30d
  signalbox policy push acme acme-8.signed
      what `policy sign` wrote on the machine where the key is";

pub(super) const POLICY_SIGN: &str = "\
Examples:
  signalbox policy list acme --limit 1
  signalbox policy sign acme acme.yml --key policy.key --version 8 --out acme-8.signed";

pub(super) const POLICY_STATUS: &str = "\
A roll-out stops by itself when agents refuse the version, fall silent or crash, or when more of
their records are held, malformed, dropped or lost than before; `next` says what can be done. With
--json it prints an object of `rollout` and `agents`.

Examples:
  signalbox policy status acme
  signalbox policy advance acme
  signalbox policy halt acme --reason 'more is held than we agreed on'";

pub(super) const POLICY_ROLLBACK: &str = "\
Agents never go back to a lower version, so this is a new one with the old content.

Examples:
  signalbox policy rollback acme --key policy.key
  signalbox policy rollback acme --to 6 --key policy.key --stage 10
  signalbox policy rollback acme --key new.key --trust old.pub
      what the key before this one signed, signed anew by this one";

pub(super) const AUTHORITY_SHOW: &str = "\
While an authority is replaced, wait until all agents that still exist trust the newest bundle
before you go on: `agents --behind` names the others. With --json it prints what the API says.

Examples:
  signalbox authority show";

pub(super) const AUTHORITY_PUSH: &str = "\
The bundle is signed by a key of policies, which is on no coordinator. Each names all roots that are
to be believed and all stolen intermediates: one that leaves out what the bundle before it or the
coordinator's [authority] distrusted names is refused, unless that is meant.

Examples:
  signalbox authority push 1.trust
      what `certs trust-bundle` wrote; then `signalbox authority show` says how many trust it
  signalbox authority push --trust-again 4.trust
      the stolen intermediate has ended by its own date, and need not be named any more";

pub(super) const AUTHORITY_AGENTS: &str = "\
Examples:
  signalbox authority agents --behind
  signalbox authority agents --other
      who has a bundle that this coordinator does not know: it was put back from an old copy
  signalbox authority agents --all --json";

pub(super) const WATCH: &str = "\
A break is bridged: nothing that happened meanwhile is left out. With --json, each entry is one
line.

Examples:
  signalbox watch
  signalbox watch --kind verdict_given --kind case_claimed
  signalbox watch --after 1200 --json";

pub(super) const TOKEN_CREATE: &str = "\
Examples:
  signalbox token create ana --role analyst --out ana.token
  signalbox token create portal --role customer --tenant acme --days 30 --out portal.token
  signalbox token create --tenant acme
      a join token for one host, good for a day: signalbox-agent join TOKEN
  signalbox token create --tenant acme --uses 200 --expires 30d
      one for an image from which 200 hosts are made";

pub(super) const TENANT_SET: &str = "\
Examples:
  signalbox tenant set acme --display-name 'ACME Ltd.' --sla high=60 --sla critical=15m
  signalbox tenant set acme --sla low=3d --if-revision 4";

pub(super) const JOURNAL: &str = "\
Without --after it shows the newest entries.

Examples:
  signalbox journal --case 7k3m2a9c0d1e
  signalbox journal --after 0 --all --json";

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::Cli;

    /// Splits a line as a shell does that knows single quotes only.
    fn words(line: &str) -> Vec<String> {
        let mut words = Vec::new();
        for (place, part) in line.split('\'').enumerate() {
            if place % 2 == 1 {
                words.push(part.to_owned());
            } else {
                words.extend(part.split_whitespace().map(str::to_owned));
            }
        }
        words
    }

    #[test]
    fn every_example_is_understood() {
        let pages = [
            PROGRAM,
            LOGIN,
            LOGOUT,
            COMPLETIONS,
            NEXT,
            SHOW,
            VERDICT,
            RELEASE,
            RENEW,
            CLAIM,
            CASES,
            SEARCH,
            AGENTS,
            AGENTS_SHOW,
            AGENTS_REVOKE,
            AGENTS_RESOLVE,
            LEDGER,
            RECALL,
            RECALLS,
            POLICY_PUSH,
            POLICY_SIGN,
            POLICY_STATUS,
            POLICY_ROLLBACK,
            AUTHORITY_SHOW,
            AUTHORITY_PUSH,
            AUTHORITY_AGENTS,
            WATCH,
            TOKEN_CREATE,
            TENANT_SET,
            JOURNAL,
        ];
        let lines = pages.iter().flat_map(|page| page.lines());
        let examples: Vec<_> = lines.filter(|line| line.starts_with("  signalbox ")).collect();
        assert!(examples.len() > 25, "{}", examples.len());
        for example in examples {
            // What follows is for the shell or for the reader.
            let command = example.split(['|', '>']).next().unwrap().trim();
            let command = command.split("    ").next().unwrap();
            let parsed = Cli::try_parse_from(words(command));
            assert!(parsed.is_ok(), "{example}: {parsed:?}");
        }
    }
}
