# Two commands matter: `make demo` shows it (`make demo-live` until Ctrl-C), `make test` checks it. They install what they need.

CARGO ?= cargo
PREFIX ?= /usr/local
# Not in /proc: the account that runs this may be root without sudo, or the other way round.
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

.PHONY: demo demo-live test check format lint test-default test-minimal test-tui docs test-32bit
.PHONY: build install musl static static-test dist deb deb-test image bench bench-compare bench-growth
.PHONY: api clients real-model hold soak fuzz tools rust

# `make build PGO=1`, and so with static, deb, dist, image and bench, builds twice: the second time with a profile of what the
# first binary did under the benchmark's load. A fifth less CPU time for a chat, and a smaller file, for some ten minutes.
PGO ?=
PROFILED = $(if $(PGO),tests/dist/pgo.sh $(1))

build: rust
	$(call PROFILED,release/gambi) $(CARGO) build --release

demo: build
	target/release/gambi demo --once --format text

# The hub, two participants and the dashboard stay up until Ctrl-C. `make demo-live DEMO_PORT=4000` where 3000 is taken.
DEMO_PORT ?= 3000
demo-live: build
	@target/release/gambi demo --port $(DEMO_PORT) --format text

# What `make test` checks, one part after the other. It says how long each took.
PARTS := format lint test-default test-minimal test-tui docs
test: rust tools
	@took=; for part in $(PARTS); do \
		start=$$(date +%s); \
		$(MAKE) --no-print-directory $$part || exit 1; \
		took="$$took$$(printf '%6d s  %s' $$(($$(date +%s) - start)) $$part)\n"; \
	done; printf "\n$$took"

check: format lint

format: rust
	$(CARGO) fmt --check

lint: rust
	$(CARGO) clippy --all-targets -- -D warnings
	$(CARGO) clippy --all-targets --no-default-features -- -D warnings
	$(CARGO) clippy --all-targets --all-features -- -D warnings

test-default: rust
	$(CARGO) test

test-minimal: rust
	$(CARGO) test --no-default-features --lib --bins

test-tui: rust
	$(CARGO) test --features tui --bins --test tui

docs: rust
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps

# Needs nothing but a kernel: musl where Rust's target for it can be had, else the C library of this machine, linked in.
# `make static TARGET=aarch64-unknown-linux-musl` builds for another machine, as far as its target and C compiler are here.
TARGET ?= $(shell tests/dist/build.sh --target)
STATIC = target/static/$(TARGET)/release/gambi
static: musl
	CARGO_TARGET_DIR=target/static $(call PROFILED,$(TARGET)/release/gambi) tests/dist/build.sh $(TARGET)
	@ls -l $(STATIC)

# What TARGET is depends on these, so it and STATIC are expanded only after this.
musl: rust
	@command -v musl-gcc >/dev/null || { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq musl-tools; } || true
	@test "$(origin TARGET)" != file || ! command -v rustup >/dev/null || rustup --quiet target add $$(uname -m)-unknown-linux-musl || true

static-test: static
	tests/dist/static.sh $(STATIC)

# Sizes and counters of 32 bits: all tests once more, as a machine of that kind takes them.
test-32bit: rust tools
	@command -v i686-linux-gnu-gcc >/dev/null || { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq gcc-i686-linux-gnu; }
	rustup target add i686-unknown-linux-musl
	CC_i686_unknown_linux_musl=i686-linux-gnu-gcc CARGO_TARGET_I686_UNKNOWN_LINUX_MUSL_LINKER=i686-linux-gnu-gcc \
		CARGO_TARGET_DIR=target/i686 CI= $(CARGO) test --target i686-unknown-linux-musl

# Binary, man page, completions, service files and README, the same bytes each time for the same binary.
dist: static
	@$(STATIC) --version >/dev/null 2>&1 || $(MAKE) build
	tests/dist/pack.sh $(STATIC) $(TARGET) target/dist $$($(STATIC) --version >/dev/null 2>&1 && echo $(STATIC) || echo target/release/gambi)

# A Debian package of the release binary with the terminal monitor, the same bytes each time for the same binary:
# target/deb/gambi_VERSION_ARCH.deb.
# `make deb DEB_BIN=file` packs another binary: a static one of another machine, say.
DEB := target/deb
DEB_BIN ?= $(DEB)/build/release/gambi
deb: rust
	test "$(DEB_BIN)" != $(DEB)/build/release/gambi || CARGO_TARGET_DIR=$(DEB)/build $(call PROFILED,release/gambi) $(CARGO) build --release --features tui
	tests/dist/pack_deb.sh $(DEB_BIN) $(DEB) $$($(DEB_BIN) --version >/dev/null 2>&1 || echo target/release/gambi)

# Installs, upgrades, removes and purges the package in a minimal Debian, fetched for it. Root.
deb-test: deb
	@missing=; for tool in debootstrap lintian; do \
		PATH="$$PATH:/usr/sbin:/sbin" command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	test -z "$$missing" || { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq $$missing; }
	lintian --suppress-tags bogus-mail-host,bogus-mail-host-in-debian-changelog $(DEB)/*_$$(dpkg --print-architecture).deb
	$(SUDO) tests/dist/deb.sh $(DEB)/*_$$(dpkg --print-architecture).deb $(DEB)

# The static binary as an OCI image, which docker and podman load: target/image/gambi.tar. Looked at with what is here.
image: static
	@mkdir -p target/image
	tests/dist/pack_image.py $(STATIC) target/image/gambi.tar
	$(SUDO) tests/dist/image.sh target/image/gambi.tar target/image

install: build
	install -D -m 755 target/release/gambi $(DESTDIR)$(PREFIX)/bin/gambi

# How fast and how small it is, beside the same calls straight to the provider (tests/bench/README.md). Some minutes.
BENCH := $(CARGO) test --quiet --profile load --test bench --
bench: build
	$(BENCH) run target/release/gambi target/bench.json

# How cost grows with participants, watchers, rooms and requests in line, in instructions. Needs valgrind.
bench-growth: rust
	$(CARGO) build --profile load --bin gambi
	tests/bench/growth.py target/load/gambi

# What has changed since another run, whose target/bench.json was kept.
bench-compare: rust
	@test -n "$(BASE)" || { echo "make bench-compare BASE=file: the target/bench.json of an earlier run"; exit 2; }
	$(BENCH) compare $(BASE) target/bench.json

# Clients that others wrote, from PyPI and npm, against a room. Too large to be fetched for every `make test`.
CLIENTS := target/clients
clients: build tools
	@command -v npm >/dev/null || { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq nodejs npm; }
	test -x $(CLIENTS)/venv/bin/python || python3 -m venv $(CLIENTS)/venv
	$(CLIENTS)/venv/bin/python -m pip install --quiet openai anthropic litellm ollama llm llm-ollama
	mkdir -p $(CLIENTS)/node
	npm install --silent --prefix $(CLIENTS)/node openai ai @ai-sdk/openai-compatible @ai-sdk/open-responses ollama
	LITELLM_LOCAL_MODEL_COST_MAP=True tests/clients/run.sh target/release/gambi $(CLIENTS)/venv/bin/python $(CLIENTS)/node

# llama.cpp's server, built from PyPI (which takes minutes), with a tiny random model of our own making.
real-model: build tools
	@command -v g++ >/dev/null || { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq g++; }
	test -x $(CLIENTS)/llama/bin/python || python3 -m venv $(CLIENTS)/llama
	$(CLIENTS)/llama/bin/python -m pip install --quiet "llama-cpp-python[server]" gguf openai
	tests/clients/real_model.sh target/release/gambi $(CLIENTS)/llama/bin/python

# Under load, faults and attack, at full scale: tests/hold/README.md says what each part does. Root, for network namespaces.
hold: build tools
	@missing=; \
	for tool in slowhttptest jq; do command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	test -z "$$missing" || { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq $$missing; }
	ulimit -n 20000 && GAMBI_HOLD=full $(CARGO) test --release --test hold -- --nocapture --test-threads=1
	ulimit -n 20000 && tests/hold/slow.sh target/release/gambi 20
	ulimit -n 20000 && tests/hold/slow.sh target/release/gambi 20 tls
	$(SUDO) tests/hold/network.sh target/release/gambi

# A mixed load for long; fails if memory, threads or descriptors grow.
SOAK_MINUTES ?= 60
soak: rust
	SOAK_MINUTES=$(SOAK_MINUTES) $(CARGO) test --release --test hold soak -- --nocapture

# Hubs driven by their own description, with many more examples than `make test` takes, and others each time.
API_EXAMPLES ?= 100
api: rust tools
	CI=true API_EXAMPLES=$(API_EXAMPLES) $(CARGO) test --test openapi

# The property tests with many more cases than `make test` takes, and then each target of tests/fuzz for FUZZ_SECONDS.
PROPTEST_CASES ?= 100000
FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?= $(basename $(notdir $(wildcard tests/fuzz/targets/*.rs)))
FUZZ := $(CURDIR)/target/fuzz
# Instruments on a stable compiler, too.
FUZZ_CARGO := RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=$(FUZZ)/build PATH="$(FUZZ)/tools/bin:$$PATH" $(CARGO)
fuzz: rust
	PROPTEST_CASES=$(PROPTEST_CASES) $(CARGO) test --release --lib --bins properties
	@PATH="$(FUZZ)/tools/bin:$$PATH" command -v cargo-fuzz >/dev/null || $(CARGO) install --quiet --root $(FUZZ)/tools cargo-fuzz || true
	@PATH="$(FUZZ)/tools/bin:$$PATH" command -v cargo-fuzz >/dev/null || { \
		echo "cargo-fuzz could not be installed: only the property tests have run"; exit 0; }; \
	for target in $(FUZZ_TARGETS); do \
		echo "fuzz $$target"; mkdir -p $(FUZZ)/corpus/$$target $(FUZZ)/artifacts/$$target; \
		$(FUZZ_CARGO) fuzz run --fuzz-dir tests/fuzz --sanitizer none $$target $(FUZZ)/corpus/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -max_len=65536 -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 \
			-artifact_prefix=$(FUZZ)/artifacts/$$target/ >$(FUZZ)/$$target.log 2>&1 || { tail -40 $(FUZZ)/$$target.log; exit 1; }; \
		grep 'number_of_executed_units' $(FUZZ)/$$target.log; \
	done

# A compiler, where there is none: Debian's rustup fetches the stable one.
rust:
	@command -v $(CARGO) >/dev/null || { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq rustup gcc && rustup default stable; }

UNPACKED := $(CURDIR)/target/tools
# What the tests need beyond Rust. Without them those tests say that they were skipped.
tools:
	@missing=; \
	command -v curl >/dev/null || missing="$$missing curl"; \
	python3 -c 'import venv, ensurepip' 2>/dev/null || missing="$$missing python3 python3-venv"; \
	for tool in avahi-daemon:avahi-daemon avahi-browse:avahi-utils dbus-daemon:dbus ip:iproute2 faketime:faketime \
		systemd-analyze:systemd shellcheck:shellcheck file:file chromium:chromium firefox-esr:firefox-esr node:nodejs npm:npm tmux:tmux \
		jq:jq zsh:zsh fish:fish; do \
		PATH="$$PATH:/usr/sbin:/sbin" command -v "$${tool%:*}" >/dev/null || missing="$$missing $${tool#*:}"; \
	done; \
	test -z "$$missing" || { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq $$missing; } || \
	echo "could not install:$$missing"
	@# Proxies are unpacked, not installed, so that no service of theirs starts. Their libraries are installed.
	@for proxy in caddy nginx haproxy; do \
		PATH="$$PATH:/usr/sbin:$(UNPACKED)/usr/bin:$(UNPACKED)/usr/sbin" command -v $$proxy >/dev/null && continue; \
		mkdir -p $(UNPACKED) && cd $(UNPACKED) && \
		{ apt-get download -qq $$proxy || { $(SUDO) apt-get update -qq && apt-get download -qq $$proxy; }; } && \
		dpkg -x $${proxy}_*.deb . && rm -f $${proxy}_*.deb && \
		$(SUDO) apt-get install -y -qq $$(apt-cache depends $$proxy | sed -n 's/^ *Depends: \(lib[^ ]*\)$$/\1/p') \
		>/dev/null || echo "could not fetch: $$proxy"; \
	done
	@test -d target/dashboard/node_modules/axe-core || \
	npm install --silent --no-fund --no-audit --prefix target/dashboard playwright-core@1 axe-core@4 || \
	echo "could not install: playwright-core and axe-core"
