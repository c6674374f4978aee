//! The tables of the house: who may import whom, what may be named where, what stands at the top.
//!
//! To allow something new, change the table here, and say why in the commit.

/// Longest line of code, in characters.
pub(crate) const CODE_COLUMNS_MAX: usize = 100;
/// Longest line that begins with a comment; prose reads well somewhat wider than code.
pub(crate) const COMMENT_COLUMNS_MAX: usize = 120;
/// Longest file, without its test module.
pub(crate) const FILE_LINES_MAX: usize = 800;
/// Longest function, from `fn` to its closing brace.
pub(crate) const FUNCTION_LINES_MAX: usize = 70;

/// Functions that may be longer, each with the reason: path, name, reason.
pub(crate) const LONG_FUNCTIONS: &[(&str, &str, &str)] = &[(
    "coordinator/src/bin/signalbox/render/journal.rs",
    "what",
    "a sentence for each kind of event",
)];

/// What a module may import from its own crate and from the workspace's other crates, besides
/// `shared` and the crate's
/// own `limits`, which all may.
pub(crate) enum May {
    Import(&'static [&'static str]),
    ImportAll,
}

/// One row for each module at the top of a crate. `lib`, `main` and `bin` are `lib.rs`, `main.rs` and `bin/*`.
pub(crate) type ImportTable = &'static [(&'static str, May)];

pub(crate) const AGENT: ImportTable = &[
    ("app", May::ImportAll),
    // Only for the default path, which the help names.
    ("args", May::Import(&["config"])),
    // Reads what the kernel says of sockets and processes.
    ("attribution", May::Import(&["proc"])),
    ("blocks", May::Import(&[])),
    // The drivers' one way to the clocks.
    ("clock", May::Import(&[])),
    // Only for value types: a checked configuration is made of what the pure modules take.
    (
        "config",
        May::Import(&[
            "attribution",
            "blocks",
            "filter",
            "fold",
            "ledger",
            "normalise",
            "pace",
            "source",
            "spool",
        ]),
    ),
    // What listens, and whose it is.
    ("context", May::Import(&["proc"])),
    // What came signed, as a file.
    ("envelope", May::Import(&["platform"])),
    // Bytes of a file as lines; who asks for them hands them over as they come.
    ("evtx", May::Import(&[])),
    // A rule that folds has the terms of its fold.
    ("filter", May::Import(&["fold"])),
    ("fold", May::Import(&[])),
    // A ring is a spool of its own.
    ("held", May::Import(&["spool"])),
    ("ledger", May::Import(&[])),
    ("lib", May::ImportAll),
    ("limits", May::Import(&[])),
    // `signalbox-agent status` reads the file that a running agent writes; it needs the hour and nothing of the app.
    // `signalbox-agent join` says how the host is called.
    (
        "main",
        May::Import(&[
            "app", "args", "clock", "config", "context", "evtx", "platform", "service", "status",
        ]),
    ),
    ("normalise", May::Import(&[])),
    ("pace", May::Import(&[])),
    // What only the operating system knows of this process; files opened without waiting.
    ("platform", May::Import(&[])),
    // Reads files that the kernel makes; waits for nothing and reads no clock.
    ("proc", May::Import(&["platform"])),
    // Writes the files of a service; knows nothing of a running agent.
    ("service", May::Import(&[])),
    // A policy's rules are what the filter takes, and its durations are written as the configuration's.
    ("policy", May::Import(&["config", "filter", "fold"])),
    // Puts the pure parts together for the app and the benchmark; `normalise` for values that no alert has, which its
    // readers find in a record.
    ("prefilter", May::Import(&["filter", "fold", "normalise", "policy"])),
    ("source", May::Import(&["evtx", "platform"])),
    ("spool", May::Import(&[])),
    // The state that `run` shows to `status`, and the hour at which it was written; `attribution` for its counters.
    ("status", May::Import(&["attribution", "clock", "config"])),
    // `status` for whom the agent believes, as it shows it.
    ("tls", May::Import(&["certs", "config", "envelope", "platform", "status"])),
    // `config` for its checked values, `status` for the state that it shows.
    ("uplink", May::Import(&["certs", "clock", "config", "held", "spool", "status", "tls"])),
];

pub(crate) const COORDINATOR: ImportTable = &[
    // `certs` for what the roots of a trust bundle say.
    (
        "api",
        May::Import(&[
            "bell", "certs", "clock", "command", "counters", "rate", "store", "triage", "uses",
            "view",
        ]),
    ),
    ("app", May::ImportAll),
    // Only for the default path, which the help names.
    ("args", May::Import(&["config"])),
    // The handle by which the API tells the ingest that there is something to ask agents for.
    ("bell", May::Import(&[])),
    // `signalbox` signs policies, with a key that no coordinator has.
    ("bin", May::Import(&["api", "app", "args", "certs", "config"])),
    ("command", May::Import(&["store", "triage"])),
    // Only for what a trust domain may be, and for the roles.
    ("config", May::Import(&["certs", "store"])),
    // The drivers' one way to the wall clock.
    ("clock", May::Import(&[])),
    // Plain numbers that every driver raises and the metrics listener shows.
    ("counters", May::Import(&[])),
    // `certs` for the signing requests of hosts that join, `config` for its checked values.
    (
        "ingest",
        May::Import(&[
            "bell", "certs", "clock", "command", "config", "counters", "rate", "store", "tls",
        ]),
    ),
    ("lib", May::ImportAll),
    ("limits", May::Import(&[])),
    ("main", May::Import(&["app", "args", "clock", "config"])),
    // Pure: how often something came from where.
    ("rate", May::Import(&[])),
    ("store", May::Import(&["triage"])),
    ("tls", May::Import(&["certs", "config"])),
    ("triage", May::Import(&[])),
    ("upkeep", May::Import(&["clock", "command", "counters", "store", "triage", "uses", "view"])),
    // When tokens were used, which the API notes and the upkeep writes down; `store` for their keys.
    ("uses", May::Import(&["store"])),
    // The handle of the queue view, which the API reads and the upkeep fills.
    ("view", May::Import(&["triage"])),
];

/// Which of the workspace's crates each may depend on outside its tests.
pub(crate) const CRATES: &[(&str, &[&str])] = &[
    ("agent", &["certs", "shared"]),
    ("certs", &["shared"]),
    ("coordinator", &["certs", "shared"]),
    ("shared", &[]),
    ("tests", &["agent", "certs", "coordinator", "shared"]),
];

/// What may be named only in certain files.
pub(crate) struct OnlyHere {
    /// Paths: `a::b` is any path that begins so, `*::a` any with an `a` in it, `a*` any name that begins with `a`.
    pub(crate) names: &'static [&'static str],
    /// Lists of beginnings of file paths; `*/` first stands for any crate.
    pub(crate) here: &'static [&'static [&'static str]],
    /// Whether test code may name it anywhere.
    pub(crate) free_in_tests: bool,
    pub(crate) instead: &'static str,
}

/// Where bytes, time and chance come in; everything else is pure.
const DRIVERS: &[&str] = &[
    "*/src/app",
    "*/src/bin/",
    "*/src/main.rs",
    "agent/src/clock",
    "agent/src/source",
    "agent/src/uplink",
    "coordinator/src/api",
    // Tells that something may be asked; reads no clock.
    "coordinator/src/bell",
    "coordinator/src/clock",
    "coordinator/src/ingest",
    "coordinator/src/store/writer",
    // Draws connection ids.
    "coordinator/src/tls/ids",
    "coordinator/src/upkeep",
    // Tells up to where the queue view is true; reads no clock.
    "coordinator/src/view",
];

/// The crate `tests` stands above all others, so these do not bind it.
pub(crate) const ONLY_HERE: &[OnlyHere] = &[
    OnlyHere {
        names: &["rocksdb"],
        here: &[&["coordinator/src/store/engine/"]],
        free_in_tests: false,
        instead: "go through the engine trait",
    },
    OnlyHere {
        names: &["axum", "hyper_util", "tower", "utoipa", "utoipa_axum", "*::StatusCode"],
        here: &[&["coordinator/src/api"]],
        free_in_tests: false,
        instead: "return a domain error, and let the API translate it",
    },
    OnlyHere {
        names: &["quinn"],
        // The coordinator's `tls` builds the configuration; it carries no byte. The app's tests are the agent's end.
        here: &[
            &["agent/src/uplink", "coordinator/src/ingest", "coordinator/src/tls"],
            &["coordinator/src/app/tests/"],
        ],
        free_in_tests: false,
        instead: "let the uplink or the ingest carry it",
    },
    OnlyHere {
        names: &[
            "rcgen",
            "*::ClientConfig::builder*",
            "*::ServerConfig::builder*",
            "*::PemObject",
            "*::from_pem*",
        ],
        here: &[&["*/src/tls", "certs/src/"]],
        free_in_tests: true,
        instead: "let tls.rs load and build it, and pass the finished configuration",
    },
    OnlyHere {
        names: &["toml", "clap", "std::env"],
        // The example makes manual pages of the command line; cargo tells a build script everything so.
        here: &[
            &["*/src/args", "*/src/bin/", "*/src/config", "*/src/main.rs"],
            &["agent/build.rs", "agent/examples/man.rs"],
        ],
        free_in_tests: true,
        instead: "take a checked value as an argument",
    },
    OnlyHere {
        names: &["tokio", "tokio_util", "tokio_rustls", "*::Instant::now", "*::SystemTime::now"],
        here: &[DRIVERS],
        free_in_tests: true,
        instead: "take `now` or the bytes as an argument; only drivers carry time and bytes",
    },
    OnlyHere {
        names: &["rand"],
        here: &[DRIVERS, &["certs/src/"]],
        free_in_tests: true,
        instead: "take the random value as an argument",
    },
    OnlyHere {
        names: &["anyhow"],
        here: &[&["*/src/app", "*/src/bin/", "*/src/main.rs"]],
        free_in_tests: true,
        instead: "use this operation's own error enum",
    },
];

/// What may be named nowhere: paths as in [`OnlyHere`], and what to do instead.
pub(crate) const NOWHERE: &[(&str, &str)] = &[
    ("*::unbounded_channel", "use a bounded channel (L7)"),
    ("std::env::set_var", "pass the value; the environment is read by other threads"),
    ("env::set_var", "pass the value; the environment is read by other threads"),
];

/// What only test code may name: paths as in [`OnlyHere`], and what to do instead.
pub(crate) const ONLY_IN_TESTS: &[(&str, &str)] = &[
    ("tokio::spawn", "spawn on the app's task set, so that shutdown can wait for it"),
    ("tokio::task::spawn", "spawn on the app's task set, so that shutdown can wait for it"),
    ("task::spawn", "spawn on the app's task set, so that shutdown can wait for it"),
];

/// All that `shared` may depend on: no runtime, no sockets, no files, no clock, no randomness.
pub(crate) const SHARED_DEPENDENCIES: &[&str] = &[
    "aho-corasick",
    "base64",
    "bincode",
    "bytes",
    "crc32c",
    "memchr",
    "regex",
    // Only for the check of a policy's signature, which both ends do; it draws nothing.
    "ring",
    "saphyr-parser",
    "serde",
    // Both ends say alerts as OCSF, which is JSON.
    "serde_json",
    "sha2",
    "thiserror",
    "uuid",
    "zstd",
];

/// All that stands at the top of the workspace, besides what `.gitignore` names.
pub(crate) const TOP_LEVEL: &[&str] = &[
    ".ci",
    ".gitignore",
    "ARCHITECTURE.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "Makefile",
    "README.md",
    "agent",
    "certs",
    "clippy.toml",
    "coordinator",
    "deny.toml",
    "rustfmt.toml",
    "shared",
    "tests",
];
