.DEFAULT_GOAL := help
PYTHON := .venv/bin/python
PYTEST := $(PYTHON) -m pytest
CACHE = $(shell python3 -c 'from tools.cache import cache; print(cache())')
COMPILE := CUSTOM_COMPILE_COMMAND="make lock" .local/lock/bin/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: up
up: tools ## Bring everything up on this machine, or mend it, and prove that it works
	@mkdir -p -m 700 .local
	@flock --nonblock .local/up.lock true || echo "another make up is at work here: waiting for it"
	@flock --close .local/up.lock $(MAKE) --no-print-directory bring-up

.PHONY: bring-up
bring-up:
	tools/pulumi stack select --create local
	tools/pulumi up --stack local --yes --skip-preview
	$(PYTHON) -m proof

.PHONY: status
status: ## Queues, rates, consumers, dead letters, alerts that fire
	@.venv/bin/oncall status || [ $$? -eq 1 ] # 1: it works, and something needs a person

.PHONY: down
down: ## End every process; what was written stays
	tools/pulumi destroy --stack local --yes --skip-preview

.PHONY: clean
clean: ## End every process and delete what was written here
	@if [ -d .local/state/.pulumi ]; then $(MAKE) down; fi
	rm -rf .local

.PHONY: check
check: ## Format, lint, types and the tests without servers, in about a minute
	@python3 -m tools venv
	@$(MAKE) --no-print-directory lint
	$(PYTEST) -q -m "not servers"

.PHONY: lint
lint:
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy --cache-dir $(CACHE)/mypy

.PHONY: test
test: ## Format, lint, types, the campaign in its small form and all tests, with real servers
	@python3 -m tools --all
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory chaos SEED=7 SCALE=0.02
	$(PYTEST) --numprocesses 7 --dist loadfile --no-loadscope-reorder

.PHONY: test-cluster
test-cluster: ## 20,000 events through stack dev on a real node: rolled, scaled, drained, killed; as root, about 7 minutes
	@python3 -m tools --cluster
	$(PYTHON) -m tests.cluster

.PHONY: chaos
chaos: ## Disturb everything and count what is lost or doubled; SEED=7, SCALE=0.02 for a small one, ONLY=1,5
	@python3 -m tools --all
	timeout --foreground 4h $(PYTHON) -m tests.chaos $(if $(SEED),--seed $(SEED)) $(if $(SCALE),--scale $(SCALE)) $(if $(ONLY),--only $(ONLY))

.PHONY: defences
defences: ## Take out each defence of docs/reliability.md in a copy and see its test fail, up to 17 minutes
	@python3 -m tools --all
	$(PYTHON) -m tests.defences

.PHONY: generate
generate: ## Write rules.yaml, the renders of every stack and the generated tables of the pages anew
	$(PYTHON) -m alerts
	$(PYTHON) -m infra.render --golden
	$(PYTHON) -m tests.defences --write

.PHONY: render
render: ## Print every Kubernetes object of a stack, without a cluster: STACK=prod, into a folder: INTO=...
	@python3 -m tools venv >&2
	@$(PYTHON) -m infra.render $(STACK) $(if $(INTO),--into $(INTO))

.PHONY: bench
bench: tools ## Compare our worker with a raw pika loop; QUICK=1 for a minute's worth
	$(PYTHON) -m bench $(if $(QUICK),--events 4000 --rounds 3)

.PHONY: tools
tools: ## Obtain the real parts: broker, stores, Prometheus, Pulumi
	@python3 -m tools

.PHONY: image
image: ## Build the consumers' image of consumers/Dockerfile without an engine: .local/image.tar
	@python3 -m tools image-base image-dependencies
	@mkdir -p -m 700 .local
	@python3 -m tools.image .local/image.tar --metadata-file .local/image.json

.PHONY: image-digest
image-digest: ## Write the digest of the last build into a stack: STACK=dev
	@python3 -m tools.digest "$(STACK)"

.PHONY: sbom
sbom: ## Build the image and write what it holds as CycloneDX JSON: .local/sbom.json
	@python3 -m tools venv image-base image-dependencies
	@mkdir -p -m 700 .local
	@$(PYTHON) -m tools.sbom .local/image.tar > .local/sbom.json
	@echo .local/sbom.json

.PHONY: lock
lock: ## Pin the dependencies again, after a change of *.in, tools/npm/package.json or tools/go/*/go.mod
	python3 -m venv .local/lock
	.local/lock/bin/pip install --quiet pip-tools
	$(COMPILE) --output-file requirements.txt requirements.in consumers/requirements.in
	$(COMPILE) --output-file consumers/requirements.txt --constraint requirements.txt consumers/requirements.in
	$(COMPILE) --output-file tools/wheels.txt tools/wheels.in
	cd tools/npm && npm install --package-lock-only --omit-lockfile-registry-resolved --ignore-scripts
	for module in tools/go/*/; do go mod tidy -C $$module; done
