# CyberDevStudio: the front door. `make run` opens the studio, `make test` proves it; everything they need they install.
CC := $(or $(CDS_CC),gcc)
BUILD := build
UI := apps/studio-ui
UI_SOURCES = $(shell find $(UI)/src $(UI)/index.html $(UI)/public $(UI)/*.ts $(UI)/package-lock.json themes -type f 2>/dev/null)

.PHONY: run build native ui test check fmt bench bench-sandbox fuzz coverage clean setup micro storm-micro
.DEFAULT_GOAL := build

setup:
	@tools/setup run

# Kernel, image and programs of microVMs; `make run` and `make test` make them too.
micro:
	@tools/setup_micro

build: setup native ui

native:
	@[ -e $(BUILD)/build.ninja ] || cmake -S . -B $(BUILD) -G Ninja -DCMAKE_C_COMPILER=$(CC) >$(BUILD).log 2>&1 || { cat $(BUILD).log; exit 1; }
	@ninja -C $(BUILD) --quiet

ui: $(BUILD)/share/ui/index.html
$(BUILD)/share/ui/index.html: $(UI_SOURCES)
	@echo "  ... building the page"
	@cd $(UI) && CDS_UI_OUT=$(CURDIR)/$(BUILD)/share/ui npm run --silent build
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

# Ratios of the sandbox's engines against the bare command, measured in one interleaved run each.
bench-sandbox: setup native
	@flock $(BUILD) $(BUILD)/bench/sandbox
	@flock $(BUILD) $(BUILD)/bench/micro

# 10,000 machines from one template: no random value may come twice. Hours under emulation; a night's work.
storm-micro: setup native
	@CDS_STORM=$(or $(CDS_STORM),10000) CDS_BUILD=$(BUILD) node --test tests/sandbox/micro-storm.test.mjs

FUZZ_SECONDS ?= 60
fuzz:
	@tools/setup test
	@tools/fuzz $(FUZZ_SECONDS)

clean:
	rm -rf $(BUILD) build-*
