# CyberDevStudio: the front door. `make run` opens the studio, `make test` proves it; everything they need they install.
CC := $(or $(CDS_CC),gcc)
BUILD := build
UI := apps/studio-ui
UI_SOURCES = $(shell find $(UI)/src $(UI)/build-tools $(UI)/index.html $(UI)/public $(UI)/*.ts $(UI)/package-lock.json themes -type f 2>/dev/null)
STEP := tools/step $(BUILD).log

.PHONY: run build native ui test check fmt bench bench-llm bench-ledger bench-sandbox abuse-storm storm-micro storm-llm storm-ledger night guards guards-llm micro fuzz wasmer coverage coverage-sandbox clean setup
.DEFAULT_GOAL := build
# Set-up comes before the build and the build before the start, also with -j; Ninja uses all cores by itself.
.NOTPARALLEL:

setup:
	@tools/setup run

# Kernel, image and programs of microVMs; `make run` and `make test` make them too.
micro:
	@tools/setup_micro

build: setup native ui

native:
	@: >$(BUILD).log
	@[ -e $(BUILD)/build.ninja ] || $(STEP) "configuring the programs" cmake -S . -B $(BUILD) -G Ninja -DCMAKE_C_COMPILER=$(CC)
	@$(STEP) "building the programs" ninja -C $(BUILD)

ui: $(BUILD)/share/ui/index.html
$(BUILD)/share/ui/index.html: $(UI_SOURCES)
	@cd $(UI) && CDS_UI_OUT=$(CURDIR)/$(BUILD)/share/ui $(CURDIR)/tools/step $(CURDIR)/$(BUILD).log "building the page" npm run --silent build
	@touch $@

run: build
	@exec $(BUILD)/bin/cyberdevstudio up

test:
	@tools/setup test
	@$(MAKE) --no-print-directory native ui
	@tools/run_tests

# What CI runs and a laptop too: formatting, layers, generated files, both compilers, analysis, types.
check:
	@tools/setup test
	@$(MAKE) --no-print-directory native ui
	@tools/check

fmt:
	@clang-format-14 -i $$(git ls-files '*.c' '*.h' '*.cpp')

bench:
	@tools/setup test
	@$(MAKE) --no-print-directory native ui
	@tools/bench

# The long rows of the escape list: a million races, five hundred dead brokers, a thousand jobs at once. For the night.
abuse-storm: native
	@for mode in root unprivileged userns userns-single; do $(BUILD)/abuse/cds-abuse --mode $$mode --storm || exit 1; done

# 10,000 machines from one template: no random value may come twice. Hours under emulation; a night's work.
storm-micro: setup native
	@CDS_STORM=$(or $(CDS_STORM),10000) CDS_BUILD=$(BUILD) node --test tests/sandbox/micro-storm.test.mjs

# kill -9 of model processes, the model server and its clients at 200 random moments; CDS_SEED=n plays one run again.
storm-llm: setup native ui
	@CDS_KILLS=$(or $(CDS_KILLS),200) CDS_BUILD=$(BUILD) node --test --test-reporter=spec tests/service/llm_storm.test.mjs

# kill -9 of gateway, model server, model process and database at 200 random moments under load, then `ledger verify`; CDS_SEED=n as above.
storm-ledger: setup native ui
	@CDS_KILLS=$(or $(CDS_KILLS),200) CDS_BUILD=$(BUILD) node --test --test-reporter=spec tests/service/ledger_storm.test.mjs

# Takes each guard of the model server away once: its test must fail.
guards-llm: setup native ui
	@tools/llm_guards

# The same for every list of guards; the sandbox's is the last, since it is the longest.
guards: setup native ui
	@failed=0; for tool in $(filter-out tools/abuse_guards,$(wildcard tools/*_guards)) tools/abuse_guards; do echo $$tool; $$tool || failed=1; done; exit $$failed

# What is too long for each change: every fuzzer for ten minutes, live tests against programs under sanitizers, the long rows of the escape list, the storms, the guards.
night:
	@tools/setup test
	@$(MAKE) --no-print-directory fuzz FUZZ_SECONDS=$(or $(NIGHT_FUZZ_SECONDS),600)
	@tools/check live
	@$(MAKE) --no-print-directory abuse-storm storm-llm storm-ledger guards

# The engine for WebAssembly: built once, see tools/setup_wasmer.
wasmer:
	@tools/setup_wasmer required

# Ratios of the sandbox's engines against the bare command, measured in one interleaved run each; see docs/performance.md.
bench-sandbox:
	@tools/setup test
	@$(MAKE) --no-print-directory native
	@CDS_BUILD=$(BUILD) node tools/bench_gates.mjs

# What the ledger costs, as ratios to pgbench in the same run, and its gates; see docs/performance.md.
bench-ledger: setup native
	@CDS_BUILD=$(BUILD) tools/bench_ledger

# The model scheduler's figures: its switches off, the bare library loop and node-llama-cpp of the same run; see docs/performance.md.
bench-llm:
	@tools/setup test
	@$(MAKE) --no-print-directory native ui
	@# Not "npm ci": it wants the packages of all other platforms in the lock too, and no registry has to carry those.
	@cd bench/node && npm install --no-save --ignore-scripts --omit=optional --silent
	@node tools/bench_llm.mjs

FUZZ_SECONDS ?= 60
fuzz:
	@tools/setup test
	@tools/fuzz $(FUZZ_SECONDS)

# Which lines the unit tests reach: a summary here, each line in build-coverage/coverage/index.html.
coverage:
	@tools/setup test
	@tools/coverage unit

# Which lines of the sandbox all of its tests reach; below 85 % it fails.
coverage-sandbox:
	@tools/setup test
	@tools/coverage sandbox

clean:
	rm -rf $(BUILD) $(BUILD).log build-*
