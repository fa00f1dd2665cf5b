# The stock bazaar: all programs in one image. docs/containers.md says how to run it.
#
#   docker build --tag bazaar .
#
# It needs no feature of BuildKit, so older engines build it too.

# The toolchain that rust-toolchain.toml pins; a test compares both.
FROM rust:1.95.0-slim-bookworm AS dependencies
WORKDIR /build
# Line tables are for profilers, which the image does not have: half the size without them.
ENV CARGO_PROFILE_RELEASE_DEBUG=false CARGO_PROFILE_RELEASE_STRIP=debuginfo
# rust-toolchain.toml stays outside: rustup would fetch rustfmt and clippy for it.
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
COPY catalog/Cargo.toml catalog/
COPY client/Cargo.toml client/
COPY client/bazaar/Cargo.toml client/bazaar/
COPY client/cluster/Cargo.toml client/cluster/
COPY client/eval/Cargo.toml client/eval/
COPY common/Cargo.toml common/
COPY frontend/Cargo.toml frontend/
COPY order/Cargo.toml order/
COPY tests/Cargo.toml tests/
COPY tests/explore/Cargo.toml tests/explore/
COPY tests/stories/Cargo.toml tests/stories/
# The dependencies alone, with empty sources in place of ours: a change of code does not build them
# again, a change of a Cargo.toml does. The empty tests stay, because the real ones do not come.
RUN set -e; \
    for crate in $(find . -mindepth 2 -name Cargo.toml -exec dirname {} ';'); do \
      mkdir -p "$crate/src" "$crate/benches"; \
      touch "$crate/src/lib.rs"; \
      name='/^\[\[bench\]\]/,/^$/s/^name = "\(.*\)"/\1/p'; \
      for bench in $(sed -n "$name" "$crate/Cargo.toml"); do \
        echo 'fn main() {}' > "$crate/benches/$bench.rs"; \
      done; \
    done; \
    for program in catalog client client/bazaar client/eval frontend order; do \
      echo 'fn main() {}' > "$program/src/main.rs"; \
    done; \
    cargo build --release --locked --workspace --bins --exclude tests; \
    find . -name '*.rs' -not -path './target/*' -not -path './tests/*' -delete

FROM dependencies AS build
COPY . .
# Cargo goes by times, and files keep theirs on the way here: without 'touch' older ones would pass
# for the empty sources that were built before.
RUN set -e; \
    find . -name '*.rs' -not -path './target/*' -exec touch {} +; \
    cargo build --release --locked --workspace --bins --exclude tests; \
    mkdir /programs; \
    for program in bazaar catalog client eval frontend order; do \
      cp "target/release/$program" /programs/; \
    done

FROM debian:bookworm-slim AS bazaar
# Numbers, so that an orchestrator sees that it is not root.
RUN groupadd --gid 10001 bazaar \
    && useradd --uid 10001 --gid bazaar --no-create-home --home-dir /data \
      --shell /usr/sbin/nologin bazaar \
    && install --directory --owner=bazaar --group=bazaar --mode=700 /data
COPY --from=build /programs/ /usr/local/bin/
USER 10001:10001
WORKDIR /data
VOLUME /data
# The public API. 7000, 7100 and 7201 to 7203 are internal: no client calls them.
EXPOSE 8080
STOPSIGNAL SIGTERM
# The command says which service it is: catalog, order or frontend. No entry point and no shell
# stand between engine and service. The service is process 1: it handles SIGTERM itself, and as it
# starts no process, it has no zombies to reap.
CMD ["bazaar", "--help"]
