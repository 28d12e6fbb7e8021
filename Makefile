# Everyday commands. Each installs what it needs first. `make` alone lists them.

.PHONY: help demo test check lint docs charts image pods
help:
	@sed -n 's/^\([a-z]*\):.*## /make \1\t/p' Makefile

demo: ## install what building needs, build, and show records of made-up traffic
	@scripts/demo

test: ## install what the tests need, and run all of them
	scripts/setup test
	cargo test --locked

check: ## run everything that CI runs (scripts/ci, one after the other)
	.ci/run

lint: ## check format and lints
	scripts/ci/lint

charts: ## render, validate and test the chart and the examples
	scripts/setup charts
	scripts/charts

image: ## build and check the container image (as root)
	scripts/setup pods
	scripts/image

pods: image ## run the image in pods, with podman and runc (as root)
	scripts/pods/runc
	scripts/pods/podman
	scripts/pods/mesh

docs: ## build the documentation of the code, and check links
	scripts/ci/docs
