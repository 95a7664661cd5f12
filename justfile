# Lists the recipes.
default:
    @just --list

# Runs the tests of the whole workspace; installs redis-server and the clients they ask with when they are missing.
test *ARGS:
    .ci/packages redis-server curl openssl nghttp h2load sslscan python3 python3-venv chromium chromedriver
    cargo test --workspace --locked --profile quick {{ ARGS }}

# Formats the code.
fmt:
    cargo fmt --all

# Runs clippy with warnings denied.
lint:
    cargo clippy --workspace --all-targets --locked -- -D warnings

# Serves two sample backends on loopback, without Redis or a config.
demo:
    cargo run --release --locked -- demo

# Compares cjs-proxy with nginx and HAProxy under load; see docs/BENCHMARKS.md.
bench *ARGS: bench-tools release
    benches/run.py {{ ARGS }}

# Counts the instructions of one request's pure path, and fails where they have grown by more than a twentieth.
instructions *ARGS:
    .ci/packages valgrind python3
    cargo build --release --locked --package proxy-core --example pure_path
    benches/instructions.py {{ ARGS }}

# Times a warm look-up of a route, and fails where one allocates. NAME: only those whose name holds it.
bench-look-up *NAME:
    .ci/packages redis-server
    cargo bench --locked --package redis-router --bench look_up -- {{ NAME }}

# Measures memory: under load, over large bodies, for idle connections and cached routes.
bench-memory *ARGS: bench-tools release
    benches/memory.py {{ ARGS }}

# Mixed traffic for MINUTES while cores are replaced: memory, descriptors and threads must stay flat.
soak MINUTES="20" *ARGS:
    .ci/packages redis-server
    cargo build --profile quick --locked --package cjs-proxy
    benches/soak.py {{ MINUTES }} {{ ARGS }}

# Runs one check of benches/acceptance, by the name of its file; docs/BENCHMARKS.md says what each shows.
acceptance NAME *ARGS: release
    .ci/packages wrk redis-server openssl
    benches/acceptance/{{ NAME }}.py {{ ARGS }}

# Runs one fuzz target for a bounded time; installs cargo-fuzz when it is missing.
fuzz TARGET SECONDS:
    #!/usr/bin/env bash
    set -euo pipefail
    command -v cargo-fuzz >/dev/null || cargo install cargo-fuzz --locked
    for folder in crates/*/fuzz; do
        [ -f "$folder/fuzz_targets/{{ TARGET }}.rs" ] || continue
        cd "$folder/.."
        RUSTC_BOOTSTRAP=1 exec cargo fuzz run {{ TARGET }} -- -max_total_time={{ SECONDS }}
    done
    echo "no fuzz target {{ TARGET }} in crates/*/fuzz" >&2
    exit 1

# Checks licences, bans and sources of all crates by .cargo/deny.toml; installs cargo-deny when it is missing.
deny:
    command -v cargo-deny >/dev/null || cargo install cargo-deny --locked
    cargo deny --offline check licenses bans sources

# Makes the Debian package, in target/debian; installs cargo-deb when it is missing.
deb *ARGS: packaging
    command -v cargo-deb >/dev/null || cargo install cargo-deb --locked
    cargo deb --no-build --package cjs-proxy {{ ARGS }}

# Takes the Debian package through its life, in a Debian of its own that systemd boots; as root.
deb-life *ARGS: packaging
    .ci/packages debootstrap systemd-nspawn
    just deb --output target/debian/package.deb
    just deb --output target/debian/newer.deb --deb-version 1:9-1
    benches/acceptance/package.py {{ ARGS }} target/debian/package.deb target/debian/newer.deb

# Makes the man page and the completions of shells, in target/packaging.
packaging: release
    mkdir -p target/packaging
    target/release/cjs-proxy generate man > target/packaging/cjs-proxy.1
    target/release/cjs-proxy generate bash > target/packaging/cjs-proxy.bash
    target/release/cjs-proxy generate zsh > target/packaging/_cjs-proxy
    target/release/cjs-proxy generate fish > target/packaging/cjs-proxy.fish

[private]
bench-tools:
    .ci/packages nginx libnginx-mod-http-lua haproxy wrk h2load openssl redis-server
    cargo build --release --locked --package proxy-core --example relay --example websocket

[private]
release:
    cargo build --release --locked --package cjs-proxy
