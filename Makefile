# kura's two commands for a newcomer are `make demo` and `make test`. Both install what they need on a
# machine that has Go, git and apt.

GO      ?= go
BIN     := bin/kura
CACHE   := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)
# Tools are built once for each set of versions, outside of the checkout.
TOOLDIR := $(CACHE)/kura-tools

STATICCHECK := v0.7.0
GOFUMPT     := v0.10.0
VERSITYGW   := v1.8.0
MINIO       := v0.0.0-20260212201848-7aac2a2c5b7c

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)

# Packages whose tests are run with the race detector: those that share memory between goroutines.
RACE := ./backends ./backends/lease ./backends/limit ./backends/local ./backends/probe ./backends/retry ./backends/s3 ./backends/sftp ./chunk ./internal/durable ./internal/budget ./index/local ./repo ./repo/log ./repo/gc ./repo/check ./repo/repair ./transfer ./backup ./restore ./remote/... ./internal/sshrun ./source/device/... ./source/files ./source/mysql ./source/redis ./source/stream ./ui

.PHONY: build demo test test-all test-lvm check-style unit race soak fuzz tools lint-tools servers apt bench bench-peers clean

build:
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN) ./cmd/kura

demo: build
	@bash demo/demo.sh $(BIN)

# Everything that a change must pass. Stores are tested with real servers: versitygw, and sshd.
export KURA_TEST_VERSITYGW = $(TOOLDIR)/versitygw-$(VERSITYGW)
test: apt lint-tools $(TOOLDIR)/versitygw-$(VERSITYGW) check-style unit race

# What .ci/run calls: the same with MinIO, too, and a minute of writers that are killed at random.
test-all: export KURA_TEST_MINIO = $(TOOLDIR)/minio-$(MINIO)
test-all: $(TOOLDIR)/minio-$(MINIO) test soak

# Real logical volumes, in a virtual machine. What that consists of is downloaded from Debian, once for each version of the script
# that does it, and not installed.
VM := $(TOOLDIR)/vm-$(shell sha256sum internal/testvm/fetch.sh | cut -c1-12)
test-lvm: APT := qemu-system-x86
test-lvm: APTFLAGS := --no-install-recommends
test-lvm: apt $(VM)
	KURA_TEST_VM=$(VM) $(GO) test ./internal/testvm ./internal/lvmtest -p 1 -count 1 -v -timeout 4h

$(VM):
	bash internal/testvm/fetch.sh $@

SOAKTIME ?= 60s
soak:
	$(GO) test ./internal/soak -count 1 -timeout 0 -v -soak.time $(SOAKTIME)

check-style:
	@out=$$($(TOOLDIR)/gofumpt-$(GOFUMPT) -l $$(git ls-files -co --exclude-standard '*.go')); \
	if [ -n "$$out" ]; then echo "gofumpt would change:"; echo "$$out"; exit 1; fi
	$(GO) vet ./...
	$(TOOLDIR)/staticcheck-$(STATICCHECK) ./...

# Packages side by side: one more than there are processors, since some of them wait for servers and disks.
P := $(shell expr $$(nproc) + 1)
# Tests make and drop large buffers all the time. With this, free memory goes back only when the system asks for it, which saves
# page faults, and with them (three tests of the collector, with the race detector) 11.8 -> 10.0 s of CPU.
TESTENV := GODEBUG=madvdontneed=0
# What tests draw at random follows from the code: the same is tested in the same way, other code in another.
# KURA_TEST_SEED= draws anew in each test.
export KURA_TEST_SEED ?= $(shell printf %d 0x$$(git ls-files -s '*.go' 2>/dev/null | git hash-object --stdin | cut -c1-15))
# What vet says of the tests check-style has looked at.
unit:
	$(TESTENV) $(GO) test -vet=off -p $(P) -timeout 20m ./...

# Of the packages that only keep pools for all, the tests that use these from many goroutines.
race:
	$(TESTENV) $(GO) test -vet=off -p $(P) -race -short -timeout 20m $(RACE)
	$(TESTENV) $(GO) test -vet=off -p $(P) -race -short -timeout 20m -run 'ManyGoroutines|Concurrent' ./seal ./pack/parity ./internal/zst

# Each fuzz target for FUZZTIME, and what came of it; the committed seeds are part of `make unit`.
FUZZTIME ?= 30s
fuzz:
	@log=$$(mktemp); trap 'rm -f "$$log"' EXIT; \
	for dir in $$(git grep -l --untracked '^func Fuzz' -- '*_test.go' | xargs -n1 dirname | sort -u); do \
		for f in $$($(GO) test ./$$dir -list '^Fuzz' | grep '^Fuzz'); do \
			$(GO) test ./$$dir -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) >"$$log" 2>&1 || { cat "$$log"; exit 1; }; \
			echo "$$dir $$f: $$(sed -n 's/.*\(execs: [0-9]*\).*\(new interesting: .*\)/\1, \2/p' "$$log" | tail -n 1)"; \
		done; \
	done

# Pinned linters and servers, built once into a cached folder.
tools: lint-tools servers

lint-tools: $(TOOLDIR)/staticcheck-$(STATICCHECK) $(TOOLDIR)/gofumpt-$(GOFUMPT)
servers: $(TOOLDIR)/versitygw-$(VERSITYGW) $(TOOLDIR)/minio-$(MINIO)

define install-tool
	@mkdir -p $(TOOLDIR)/tmp
	GOBIN=$(TOOLDIR)/tmp $(GO) install $(1)
	@mv $(TOOLDIR)/tmp/$(2) $@
endef

$(TOOLDIR)/staticcheck-$(STATICCHECK):
	$(call install-tool,honnef.co/go/tools/cmd/staticcheck@$(STATICCHECK),staticcheck)
$(TOOLDIR)/gofumpt-$(GOFUMPT):
	$(call install-tool,mvdan.cc/gofumpt@$(GOFUMPT),gofumpt)
$(TOOLDIR)/versitygw-$(VERSITYGW):
	$(call install-tool,github.com/versity/versitygw/cmd/versitygw@$(VERSITYGW),versitygw)
$(TOOLDIR)/minio-$(MINIO):
	$(call install-tool,github.com/minio/minio@$(MINIO),minio)

# Debian packages that tests use. Skipped where they are installed already.
# The race detector needs a C compiler. Of MariaDB only the programs are installed. redis-server and postgresql come with
# services, which Debian starts where there is an init system; tests use servers of their own, and leave those alone.
APT := openssh-server rsync attr acl libcap2-bin e2fsprogs xfsprogs btrfs-progs gcc libc6-dev \
	mariadb-server-core mariadb-client mariadb-backup redis-server postgresql
apt:
	@missing=$$(for p in $(APT); do dpkg -s $$p >/dev/null 2>&1 || echo $$p; done); \
	if [ -n "$$missing" ]; then \
		sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
		$$sudo apt-get update -qq && $$sudo apt-get install -y -qq $(APTFLAGS) $$missing; fi

bench: build
	$(GO) run ./bench -kura $(BIN) $(BENCHFLAGS)

# The same with the peers that Debian has.
bench-peers: APT += restic borgbackup
bench-peers: apt bench

clean:
	rm -rf bin
