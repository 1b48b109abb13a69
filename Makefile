# Two commands matter: `make demo` shows it, `make test` checks it. Both install what they need.

CARGO ?= cargo

.PHONY: test check build

build:
	$(CARGO) build --release

check:
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings

test: check
	$(CARGO) test
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps
