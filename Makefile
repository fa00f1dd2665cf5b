# The stock bazaar. 'make' alone lists what there is.

SHELL := /bin/sh
.DEFAULT_GOAL := help

# The folder of cargo's builds. Variables (CARGO_TARGET_DIR, CARGO_BUILD_TARGET_DIR) and files of
# configuration may name one, so cargo is asked. Its name may hold blanks: it is quoted everywhere.
METADATA := cargo metadata --format-version 1 --no-deps 2>/dev/null
TARGET := $(shell $(METADATA) | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
STRANGE := $(findstring ",$(TARGET))$(findstring $$,$(TARGET))$(findstring `,$(TARGET))
ifneq (,$(STRANGE)$(findstring \,$(TARGET)))
  $(error cargo builds in $(TARGET): name a folder without quotes, dollar signs and backslashes \
    in CARGO_TARGET_DIR)
endif
TARGET := $(if $(subst $(CURDIR)/target,,$(TARGET)),$(TARGET),target)
RELEASE := $(TARGET)/release
# State of 'make run-all': database files, logs, process ids.
RUN := run

# Settings of 'make client'.
P ?= 0.6
N ?= 200
C ?= 1
SEED ?=
URL ?=

.PHONY: help tools build run-all kill restart status client backup restore clean-run \
  test eval eval-quick demo model check deny faults soak fuzz bench scale \
  compose-up compose-down compose-kill compose-restart test-hosts soak-hosts \
  ec2-up ec2-deploy ec2-eval ec2-logs ec2-down test-ec2

help: ## this list
	@echo 'The stock bazaar. Its goals:'
	@awk -F ' ## ' '/^[a-z0-9-]+:.* ## / { \
	  split($$1, goal, ":"); printf "  make %-15s %s\n", goal[1], $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo 'kill and restart take ID=1, 2, 3, catalog or frontend; the compose goals the same.'
	@echo 'run-all takes CATALOGS=2, where CATALOG_DB names a PostgreSQL: docs/high-availability.md.'
	@echo 'bench takes ROUNDS=, SECONDS= (of each load), ORDERS= (in the long log), KILLS=,'
	@echo '  ONLY= (parts), BEFORE= (folder of another build), BENCH_DIR= (on a disk), MICRO=1.'
	@echo 'client takes P= (probability of a trade), N= (lookups), C= (clients at once), SEED=, URL=.'
	@echo 'eval takes SEED=, and for a bazaar elsewhere URL=, INTERNAL=, FRONTEND=, KILL=, RESTART=,'
	@echo '  PAUSE=, RESUME=, VERIFY=, DUMP=: docs/evaluation.md.'
	@echo 'The ec2 goals take EC2_TYPE=, EC2_REGION= and others: docs/ec2/README.md.'

# Says what to install, before cargo or a build script fails with something harder to read.
tools:
	@if ! command -v cargo >/dev/null 2>&1; then \
	  echo "cargo, Rust's build tool, is missing. Install it (Debian, Ubuntu):" >&2; \
	  echo "  sudo apt install curl" >&2; \
	  echo "  curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh" >&2; \
	  echo "then open a new terminal, so that it is found." >&2; exit 1; fi
	@if ! command -v cc >/dev/null 2>&1; then \
	  echo "a C compiler (cc) is missing; SQLite is built with it. Install it (Debian, Ubuntu):" >&2; \
	  echo "  sudo apt install build-essential" >&2; exit 1; fi

# One command for all goals: with other packages cargo would choose other features, and build all
# again.
BUILD := cargo build --release --workspace --bins --exclude tests

build: tools ## builds everything, optimised
	$(BUILD)
	@built=$$($(BUILD) --quiet --message-format=json | \
	  sed -n 's/.*"executable":"\([^"]*\/bazaar\)".*/\1/p' | tail -n 1); \
	if ! [ "$$built" -ef "$(RELEASE)/bazaar" ]; then \
	  echo "cargo built $$built, and these goals use $(RELEASE)/bazaar:" >&2; \
	  echo "a target (build.target, CARGO_BUILD_TARGET) is configured;" >&2; \
	  echo "unset it for this project, or start the programs from there" >&2; exit 1; fi

run-all: build ## starts catalog, three replicas and front-end; Ctrl-C stops them
	@exec "$(RELEASE)/bazaar" run --dir "$(RUN)" $(if $(CATALOGS),--catalogs $(CATALOGS))

kill: ## kills a service of run-all: make kill ID=3
	@$(call need,ID,$@ ID=3)
	@$(call need_binary,bazaar)
	@"$(RELEASE)/bazaar" kill --dir "$(RUN)" $(ID)

restart: ## brings a service of run-all back: make restart ID=3
	@$(call need,ID,$@ ID=3)
	@$(call need_binary,bazaar)
	@"$(RELEASE)/bazaar" restart --dir "$(RUN)" $(ID)

status: ## shows services, roles, numbers and cache, every second: Ctrl-C ends it
	@$(call need_binary,bazaar)
	@"$(RELEASE)/bazaar" status --watch --dir "$(RUN)"

client: build ## trades at a running bazaar and checks every order: make client P=0.6 N=200
	@"$(RELEASE)/client" --probability $(P) --iterations $(N) --clients $(C) \
	  $(if $(SEED),--seed $(SEED)) $(if $(URL),--url $(URL))

backup: ## a verified backup of run-all's files, while it trades: make backup TO=folder
	@$(call need,TO,$@ TO=backups/monday)
	@$(call need_binary,bazaar)
	@$(RELEASE)/bazaar backup '$(TO)' --dir $(RUN)

restore: ## puts a backup in the place of run-all's files: make restore FROM=folder REPLACE=1
	@$(call need,FROM,$@ FROM=backups/monday)
	@$(call need_binary,bazaar)
	@$(RELEASE)/bazaar restore '$(FROM)' --dir $(RUN) $(if $(REPLACE),--replace)

clean-run: ## removes the state of run-all: the next run starts afresh
	@if [ -e "$(RUN)/bazaar.lock" ] && command -v flock >/dev/null && \
	  ! flock --nonblock "$(RUN)/bazaar.lock" true; then \
	  echo "a bazaar runs in $(RUN): stop it first (Ctrl-C where it runs)" >&2; exit 1; fi
	rm -rf "$(RUN)"

# The binaries first: the system tests start them.
test: tools ## all tests
	cargo build --workspace --bins
	cargo test --workspace --no-fail-fast
	@echo 'the heart of the system tests again, with the edge behind the internal listeners:'
	BAZAAR_INTERNAL_SERVER=edge \
	  cargo test --workspace --test internal --test trading --test failover
	@! command -v python3 >/dev/null 2>&1 || \
	  python3 -B -m unittest discover --start-directory tests/bench

# A bazaar elsewhere, and the commands that 'make eval' may run there: see docs/evaluation.md. They
# go through the environment, which needs no quotes; a dollar sign in them is written twice.
eval eval-quick: export EVAL_URL = $(URL)
eval eval-quick: export EVAL_INTERNAL = $(INTERNAL)
eval eval-quick: export EVAL_FRONTEND = $(FRONTEND)
eval eval-quick: export EVAL_KILL = $(KILL)
eval eval-quick: export EVAL_RESTART = $(RESTART)
eval eval-quick: export EVAL_PAUSE = $(PAUSE)
eval eval-quick: export EVAL_RESUME = $(RESUME)
eval eval-quick: export EVAL_VERIFY = $(VERIFY)
eval eval-quick: export EVAL_DUMP = $(DUMP)
# The bazaar's files: on many systems /tmp lies in memory, where an fsync costs nothing.
eval eval-quick demo: export TMPDIR ?= /var/tmp

eval: build ## measures all and writes docs/evaluation.md, 6 minutes: make eval URL=http://host:8080
	@"$(RELEASE)/eval" measure $(if $(SEED),--seed $(SEED))
	@"$(RELEASE)/eval" draw

eval-quick: build ## the same briefly, into build/: to see that it works
	@"$(RELEASE)/eval" measure --quick --folder build/evaluation $(if $(SEED),--seed $(SEED))
	@"$(RELEASE)/eval" draw --folder build/evaluation --document build/evaluation.md

demo: build ## half a minute: clients trade, the leader is killed, and nothing is lost
	@"$(RELEASE)/bazaar" demo

# The search of 'make test', a minute long, with more orders, faults and time. Needs about 2 GB of
# memory.
model: tools ## explores the model deeper, and prints how much was explored: minutes
	cargo test --release -p tests --test model_orders --test model_cache --test model_catalogs -- \
	  --include-ignored --nocapture

check: tools ## formatting, lints, documentation and dependencies, warnings as errors
	@! git grep -nE '^(<<<<<<<|>>>>>>>) ' # left behind by a merge
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --quiet
	@tests/deny.sh

deny: tools ## dependencies: licences, bans, sources, known holes (cargo-deny, deny.toml)
	@BAZAAR_DENY_REQUIRED=1 tests/deny.sh

# Binaries with crash points, in a folder of their own: those that users run have none.
FAULTS := $(TARGET)/faults/debug/faults
BUILD_FAULTS := cargo build --quiet --workspace --bins --features common/crash-points \
  --target-dir "$(TARGET)/faults"

# The server behind the internal listeners.
INTERNAL_SERVER := $(if $(SERVER),BAZAAR_INTERNAL_SERVER=$(SERVER))

# The catalogs' store: postgres, or a file where it is left out.
STORE_OPTION := $(if $(STORE),--store $(STORE))

faults: tools ## all fault scenarios: make faults SEED=7 ONLY=name SERVER=edge STORE=postgres
	@$(BUILD_FAULTS)
	@$(INTERNAL_SERVER) "$(FAULTS)" $(STORE_OPTION) $(if $(SEED),--seed $(SEED)) $(ONLY)

MINUTES ?= 20
soak: tools ## random faults until the time is up: make soak MINUTES=20 SEED=7 STORE=postgres
	@$(BUILD_FAULTS)
	@$(INTERNAL_SERVER) "$(FAULTS)" $(STORE_OPTION) --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

# Names, seeds and what they need: docs/tests.md.
HOSTS := cargo test --workspace --test hosts -- --include-ignored --nocapture
test-hosts: tools ## containers as hosts, killed and cut off from each other: make test-hosts SEED=7
	cargo build --workspace --bins
	@$(if $(SEED),BAZAAR_SEED=$(SEED)) $(HOSTS) scenarios

soak-hosts: tools ## random faults between hosts: make soak-hosts MINUTES=20 SEED=7
	cargo build --workspace --bins
	@BAZAAR_HOSTS_MINUTES=$(MINUTES) $(if $(SEED),BAZAAR_SEED=$(SEED)) $(HOSTS) soak

# Nightly Rust, which instruments the code, and cargo-fuzz: neither is needed for anything else.
fuzz: SECONDS ?= 60
fuzz: tools ## fuzzes the public listener's connection for a minute: make fuzz SECONDS=600
	@if ! cargo +nightly --version >/dev/null 2>&1; then \
	  echo "a nightly Rust is missing; fuzzing needs it. Install it:" >&2; \
	  echo "  rustup toolchain install nightly" >&2; exit 1; fi
	@if ! command -v cargo-fuzz >/dev/null 2>&1; then \
	  echo "cargo-fuzz is missing. Install it:" >&2; \
	  echo "  cargo install cargo-fuzz" >&2; exit 1; fi
	mkdir -p common/fuzz/corpus/connection
	cd common && cargo +nightly fuzz run connection fuzz/corpus/connection fuzz/seeds/connection -- \
	  -max_total_time=$(SECONDS) -max_len=20000

# The bazaar in containers: docs/containers.md.
compose_service = $(if $(filter 1 2 3,$(ID)),order$(ID),$(ID))

compose-up: ## builds the image and starts the bazaar in containers: docs/containers.md
	@HA='$(HA)' docs/containers/up.sh

compose-down: ## stops and removes the containers; with VOLUMES=1 also all that they stored
	@docs/containers/compose.sh down $(if $(VOLUMES),--volumes)

compose-kill: ## kills a service of compose-up: make compose-kill ID=3
	@$(call need,ID,$@ ID=3)
	@docs/containers/compose.sh kill -s KILL $(compose_service)

compose-restart: ## brings a service of compose-up back: make compose-restart ID=3
	@$(call need,ID,$@ ID=3)
	@docs/containers/compose.sh restart $(compose_service)

# Settings and walkthrough: docs/ec2. Variables of make reach the scripts:
# make ec2-up EC2_TYPE=t3a.large
EC2 := docs/ec2

ec2-up: ## makes a machine on EC2, which costs money until ec2-down: docs/ec2/README.md
	@$(EC2)/up.sh

ec2-deploy: ## installs and starts the bazaar there, and waits until it is open
	@if [ '$(EC2_BUILD)' != there ]; then $(MAKE) --no-print-directory build; fi
	@BINARIES="$(RELEASE)" $(EC2)/deploy.sh

ec2-eval: ## measures the bazaar there from here, and kills replicas over ssh: crash experiments
	@QUICK='$(QUICK)' $(EC2)/eval.sh

ec2-logs: ## the ends of the journals there: make ec2-logs LINES=50 SERVICE=order@3
	@LINES='$(LINES)' SERVICE='$(SERVICE)' $(EC2)/logs.sh

ec2-down: ## removes all that ec2-up made, and checks
	@$(EC2)/down.sh

test-ec2: tools ## tests the EC2 scripts without AWS: some minutes
	cargo build --workspace --bins
	@BINARIES="$(TARGET)/debug" VENV=build/ec2-venv $(EC2)/test/run.sh

# Compares with what is installed of etcd, PostgreSQL and nginx; the results go to docs/bench.
ROUNDS ?= 3
KILLS ?= 20
ORDERS ?= 200000
BENCH_DIR ?= /var/tmp
bench: SECONDS ?= 3
bench: build ## measures beside etcd, PostgreSQL and nginx, 8 minutes: make bench ONLY=orders
	@if ! command -v python3 >/dev/null 2>&1; then \
	  echo "python3 is missing; the bench is written in it. Install it (Debian, Ubuntu):" >&2; \
	  echo "  sudo apt install python3" >&2; exit 1; fi
	$(if $(MICRO),cargo bench -p common -p catalog -p frontend --bench '*')
	@exec python3 -B tests/bench/bench.py --binaries "$(RELEASE)" --rounds $(ROUNDS) \
	  --seconds $(SECONDS) --orders $(ORDERS) --kills $(KILLS) \
	  --dir $(BENCH_DIR) $(if $(BEFORE),--before $(BEFORE)) $(if $(ONLY),--only $(ONLY))

# Orders in the longest log that 'make scale' makes.
LONGEST ?= 10000000
scale: build ## measures how costs grow, 20 minutes: make scale ONLY=stocks
	@exec python3 -B tests/bench/scale.py --binaries "$(RELEASE)" --orders $(LONGEST) \
	  --dir $(BENCH_DIR) $(if $(ONLY),--only $(ONLY))

need = if [ -z "$($(1))" ]; then echo "say which: make $(2)" >&2; exit 2; fi
need_binary = if [ ! -x "$(RELEASE)/$(1)" ]; then \
  echo "nothing was built yet: start a bazaar with 'make run-all' first" >&2; exit 1; fi
