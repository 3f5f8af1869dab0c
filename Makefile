# One command for each thing one does with gyre; each sets up what it needs and says what it does.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help setup demo test walks vectors-long fuzz chaos chaos-tests chaos-containers load sim sim-planted sim-million sim-matrix check bench ci

# The Node that the project pins comes before the machine's own.
export PATH := $(CURDIR)/node_modules/.bin:$(PATH)

# Where the setup found nats-server and SoftHSM2, for the commands that follow it.
found := . .cache/setup/env

help: ## list the targets
	@echo "gyre: make <target>"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' Makefile | awk -F'|' '{ printf "%-17s %s\n", $$1, $$2 }'

setup: ## install npm packages, find or fetch nats-server and SoftHSM2 (quick when they are here)
	@echo "setup: npm packages, nats-server, SoftHSM2"
	@sh infra/setup/all.sh

demo: setup ## users of seven services while keys are turned, a rotation fails, an anomaly is healed; verify the audit
	@echo "demo: a mesh of real processes on this machine, a minute or two"
	@$(found) && exec node --disable-warning=ExperimentalWarning test/demo/demo.ts

test: setup ## run the tests (all but the long runs, test/**/*.long.test.ts)
	@echo "test: $$(node --version), $$($(found) && $$GYRE_NATS_SERVER --version)"
	@$(found) && exec vitest run

walks: setup ## take the long walks on live meshes (test/e2e, long runs)
	@echo "walks: some minutes"
	@$(found) && exec vitest run --config vitest.long.config.ts test/e2e

vectors-long: setup ## check the test vectors that take minutes (ML-DSA-87 over 10,000 keys, SLH-DSA)
	@echo "vectors-long: some minutes, ten on a busy machine"
	@exec vitest run --config vitest.long.config.ts test/vectors

fuzz: setup ## throw made-up input at every decoder, 5 s for each property (GYRE_FUZZ_SECONDS)
	@echo "fuzz: some minutes; what fails names its seed and path"
	@$(found) && GYRE_FUZZ_SECONDS=$${GYRE_FUZZ_SECONDS:-5} exec vitest run --project 'parts*' test/fuzz

chaos: setup ## break a mesh on three servers for 15 minutes (GYRE_CHAOS_MINUTES, GYRE_CHAOS_SEED)
	@echo "chaos: processes killed, networks parted, stores damaged; then everything is checked"
	@$(found) && exec node --disable-warning=ExperimentalWarning test/chaos/cluster/main.ts

chaos-tests: setup ## kill each process of a mesh once, and a minute of the cluster (test/chaos, long runs)
	@echo "chaos-tests: about three minutes"
	@$(found) && exec vitest run --config vitest.long.config.ts test/chaos

chaos-containers: setup ## the same cluster in containers, briefly, where an engine runs (GYRE_NATS_IMAGE)
	@echo "chaos-containers: two minutes"
	@$(found) && exec node --disable-warning=ExperimentalWarning test/chaos/cluster/containers-main.ts

load: setup ## 50 rotations under a load on all layers, processes killed at random (GYRE_LOAD_SEED, _SECONDS, _ROTATIONS)
	@echo "load: a quarter of an hour or more; GYRE_LOAD_ROTATIONS=3 is a short one"
	@$(found) && exec node --disable-warning=ExperimentalWarning test/load/main.ts

# TRACE=0 and TRACE=no are as none.
traced = $(filter-out 0 no,$(TRACE))

sim: setup ## run 10,000 simulated meshes, each from its seed (SEED=4 for one, TRACE=1 to see it)
	@$(if $(SEED),,$(if $(traced),echo "sim: TRACE=1 is for one seed: make sim SEED=4 TRACE=1" >&2; exit 2))
	@echo "sim: $(if $(SEED),one seed,about ten minutes on two processors; what fails names its seed)"
	@exec node --disable-warning=ExperimentalWarning test/sim/main.ts \
	  $(if $(SEED),'--seed=$(SEED)' $(if $(traced),--trace),--seeds 1..10000)

sim-planted: setup ## show that the simulator finds mistakes that were put into the code on purpose
	@echo "sim-planted: some minutes on two processors"
	@exec node --disable-warning=ExperimentalWarning test/sim/planted/planted.ts

sim-million: setup ## run a million seeds; goes on where the last call ended (GYRE_SIM_MINUTES)
	@echo "sim-million: more than a day on two processors, or as long as GYRE_SIM_MINUTES says"
	@exec node --disable-warning=ExperimentalWarning test/sim/million.ts \
	  $(if $(GYRE_SIM_MINUTES),'--minutes=$(GYRE_SIM_MINUTES)')

sim-matrix: setup ## let every process of a simulated mesh die at each of its writes and sends, one at a time
	@echo "sim-matrix: half an hour on two processors that do other work too"
	@exec node test/sim/matrix.ts

check: setup ## check format, lint, types and the rules of the house
	@echo "check: format (prettier)"
	@prettier --check --log-level warn .
	@echo "check: lint (oxlint, type-aware)"
	@oxlint --type-aware --deny-warnings .
	@echo "check: types (tsc)"
	@tsc --noEmit
	@echo "check: the rules of the house (test/tidy)"
	@vitest run test/tidy

bench: setup ## measure sealing, signing and whole rotations on this machine
	@echo "bench: this takes a few minutes and wants the machine to itself"
	@$(found) && exec node bench/run.ts

ci: check test ## check and test
