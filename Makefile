# Two commands matter: `make demo` shows it, `make test` checks it. Both install what they need.

CARGO ?= cargo
PREFIX ?= /usr/local
# Not in /proc: the account that runs this may be root without sudo, or the other way round.
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)

.PHONY: demo test check build install clients real-model tools rust

build: rust
	$(CARGO) build --release

demo: build
	target/release/gambi demo --once --format text

test: check tools
	$(CARGO) test
	$(CARGO) test --no-default-features --lib --bins
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps

check: rust
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	$(CARGO) clippy --all-targets --no-default-features -- -D warnings

install: build
	install -D -m 755 target/release/gambi $(DESTDIR)$(PREFIX)/bin/gambi

# Clients that others wrote, from PyPI and npm, against a room. Too large to be fetched for every `make test`.
CLIENTS := target/clients
clients: build tools
	@command -v npm >/dev/null || { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq nodejs npm; }
	test -x $(CLIENTS)/venv/bin/python || python3 -m venv $(CLIENTS)/venv
	$(CLIENTS)/venv/bin/python -m pip install --quiet openai anthropic litellm
	mkdir -p $(CLIENTS)/node
	npm install --silent --prefix $(CLIENTS)/node openai ai @ai-sdk/openai-compatible @ai-sdk/open-responses
	LITELLM_LOCAL_MODEL_COST_MAP=True tests/clients/run.sh target/release/gambi $(CLIENTS)/venv/bin/python $(CLIENTS)/node

# llama.cpp's server, built from PyPI (which takes minutes), with a tiny random model of our own making.
real-model: build tools
	@command -v g++ >/dev/null || { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq g++; }
	test -x $(CLIENTS)/llama/bin/python || python3 -m venv $(CLIENTS)/llama
	$(CLIENTS)/llama/bin/python -m pip install --quiet "llama-cpp-python[server]" gguf openai
	tests/clients/real_model.sh target/release/gambi $(CLIENTS)/llama/bin/python

# A compiler, where there is none: Debian's rustup fetches the stable one.
rust:
	@command -v $(CARGO) >/dev/null || { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq rustup gcc && rustup default stable; }

# What the tests need beyond Rust. Without them those tests say that they were skipped.
tools:
	@missing=; \
	command -v curl >/dev/null || missing="$$missing curl"; \
	python3 -c 'import venv, ensurepip' 2>/dev/null || missing="$$missing python3 python3-venv"; \
	for tool in avahi-daemon:avahi-daemon avahi-browse:avahi-utils dbus-daemon:dbus ip:iproute2; do \
		PATH="$$PATH:/usr/sbin:/sbin" command -v "$${tool%:*}" >/dev/null || missing="$$missing $${tool#*:}"; \
	done; \
	test -z "$$missing" || { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq $$missing; } || \
	echo "could not install:$$missing"
