# The commands of every day; each installs what it needs first. `make` alone lists them.

.PHONY: help demo test check lint docs charts image pods
help:
	@sed -n 's/^\([a-z]*\):.*## /make \1\t/p' Makefile

demo: ## install what building needs, build, and show records of made-up traffic
	@scripts/demo

test: ## install what the tests need, and run all of them
	scripts/setup test
	cargo test --locked

check: ## what CI runs: setup, format, lints, docs, tests
	.ci/run

lint: ## format and lints only
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings

charts: ## chart and examples: rendered, validated, looked at
	scripts/setup charts
	scripts/charts

image: ## the container image, built and looked at (as root)
	scripts/setup pods
	scripts/image

pods: image ## the image in pods, by podman and runc (as root)
	scripts/pods/runc
	scripts/pods/podman
	scripts/pods/mesh

docs: ## the documentation of the code, without warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps
