# The names of everything one can do here; `make help` lists them.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help test demo crash ledger-check simulate bench fuzz api-check edge-check sigma-check identity-check attack deb deb-check fmt lint doc deny deps

export ROCKSDB_STATIC = 1
export CARGO_TERM_PROGRESS_WHEN = $(if $(CI),never,auto)

# Put before a command that builds: RocksDB is compiled once for the machine, not once for each clone or profile.
with_rocksdb = ROCKSDB_LIB_DIR=$${ROCKSDB_LIB_DIR:-$$(coordinator/rocksdb.sh)} && export ROCKSDB_LIB_DIR &&

# $(call step,name,command): says the name, runs the command, and says which step it was that failed.
step = @printf '\n== %s\n' '$(1)'; { $(2); } || { echo "make $@: '$(1)' failed" >&2; exit 1; }

fmt_check = cargo fmt --all --check
clippy = $(with_rocksdb) cargo clippy --workspace --all-targets --locked -- -D warnings
rustdoc = $(with_rocksdb) RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --locked
# Without the advisories, which change from day to day: `make deny` asks for them.
deny_offline = if cargo deny --version >/dev/null 2>&1; then cargo deny --locked check bans licenses sources; \
	else echo "skipped: cargo-deny is not installed (cargo install cargo-deny --locked)"; fi

help: ## list what one can do
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: deps ## run everything on this machine and look at it (EVE=, WAZUH= for own files, KEEP=1 to go on with the last one)
	$(call step,build,$(with_rocksdb) cargo build --workspace --bins --locked)
	@exec "$${CARGO_TARGET_DIR:-target}/debug/demo"

test: deps ## run all checks and tests
	$(call step,format,$(fmt_check))
	$(call step,clippy,$(clippy))
	$(call step,docs,$(rustdoc))
	$(call step,dependencies,$(deny_offline))
	$(call step,tests,$(with_rocksdb) cargo test --workspace --locked)
	@printf '\nall checks and tests passed\n'

simulate: deps ## run the simulation over SEEDS seeds (default 10000)
	$(call step,simulation,$(with_rocksdb) SEEDS=$${SEEDS:-10000} \
		cargo test --workspace --test simulation --locked -- --nocapture)

bench: deps ## measure; writes target/reports/bench.json (ONLY="file idle" measures only these)
	$(call step,build the agent,cargo build --profile agent --locked -p agent --bin signalbox-agent)
	$(call step,build,$(with_rocksdb) cargo build --release --locked -p coordinator -p tests \
		--bin signalbox-coordinator --bin bench)
	$(call step,measure,"$${CARGO_TARGET_DIR:-target}/release/bench" $(ONLY))

crash: deps ## kill agents and coordinator at random moments RUNS times (default 100)
	$(call step,crash,$(with_rocksdb) RUNS=$${RUNS:-100} cargo test --workspace --test system --locked crash -- --nocapture)

ledger-check: deps ## trouble agents for MINUTES minutes (default 30): do their ledgers close, and their recalls bring all or a tombstone?
	$(call step,ledger,$(with_rocksdb) LEDGER_SECONDS=$$(( 60 * $${MINUTES:-30} )) \
		cargo test --workspace --test system --locked ledger:: -- --nocapture)

# The agent needs no RocksDB.
deb: ## build the agent's Debian package into target/debian (needs cargo-deb)
	@cargo deb --version >/dev/null 2>&1 || { echo "cargo-deb is missing: cargo install cargo-deb --locked" >&2; exit 1; }
	$(call step,build,cargo build --profile agent --locked -p agent --bin signalbox-agent --example man)
	$(call step,manual and completions,agent/packaging/generate.sh "$${CARGO_TARGET_DIR:-target}/agent")
	$(call step,package,cargo deb -p agent --no-build --profile agent)

deb-check: ## install, run, remove and purge that package in a Debian of its own, with and without systemd (needs root, debootstrap, systemd-container)
	$(call step,build,$(with_rocksdb) cargo build --locked -p coordinator -p certs --bins)
	@agent/packaging/check.sh target/debian/signalbox-agent_*.deb "$${CARGO_TARGET_DIR:-target}/debug"

fmt: ## format the sources
	cargo fmt --all

lint: deps ## check the format, and run clippy
	$(call step,format,$(fmt_check))
	$(call step,clippy,$(clippy))

doc: deps ## build the documentation into target/doc
	$(call step,docs,$(rustdoc))

deny: ## check dependencies' licences, sources and advisories (needs cargo-deny)
	cargo deny --locked check

fuzz: ## fuzz each target for MINUTES minutes (default 10)
	@MINUTES=$(or $(MINUTES),10) tests/fuzz/run.sh

api-check: deps ## ask a running coordinator everything that its OpenAPI document allows (needs python3)
	$(call step,build,$(with_rocksdb) cargo build --workspace --bins --locked)
	@tests/api-check.sh

edge-check: deps ## read real detectors' records where they are at hand; writes target/reports/edge.json
	$(call step,build,$(with_rocksdb) cargo build --locked -p tests --bin edge_check)
	$(call step,edge,"$${CARGO_TARGET_DIR:-target}/debug/edge_check")

sigma-check: deps ## try all public Sigma rules where they are at hand; writes target/reports/sigma.json
	$(call step,build,$(with_rocksdb) cargo build --locked -p tests --bin sigma_check)
	$(call step,sigma,"$${CARGO_TARGET_DIR:-target}/debug/sigma_check")

identity-check: deps ## a thousand agents renew, are copied, set back, moved and revoked; writes target/reports/identity.json
	$(call step,build,$(with_rocksdb) cargo build --locked -p tests --bin identity_check)
	$(call step,identity,$(with_rocksdb) "$${CARGO_TARGET_DIR:-target}/debug/identity_check")

attack: deps ## try to get what nobody may get; writes target/reports/attack.json (ONLY="api joins" tries only these)
	$(call step,build,$(with_rocksdb) cargo build --locked -p tests --bin attack)
	$(call step,attack,$(with_rocksdb) "$${CARGO_TARGET_DIR:-target}/debug/attack" $(ONLY))

deps: ## install what a build needs, and compile RocksDB once for this machine
	@tests/install.sh
	@$(with_rocksdb) true
