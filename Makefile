# What there is to do: make help

CONFIGURATION ?= release
STORE ?= directory
DATA ?=
DIRECTORY ?= /var/tmp/perssd-demo
PERSSD_BENCH_SIZE ?= 2GiB
PERSSD_BENCH_ROUNDS ?= 3
# --block-sizes measures sizes of blocks instead.
BENCH_OPTIONS ?=
# examples/terrain/run --help lists them.
TERRAIN_OPTIONS ?=
# SwiftPM starts as many compilers as there are cores; on a small machine less is more.
JOBS ?= $(shell nproc)

SWIFT_BUILD = swift build --jobs $(JOBS)
PRODUCTS = $(shell swift build --configuration $(CONFIGURATION) --show-bin-path)
# Root needs no sudo, which a container may lack.
SUDO = $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.DEFAULT_GOAL := help
.PHONY: help build demo test test-nvme test-volume-groups lint generate bench bench-nvme bench-snapshots image-root image-oci test-image-root terrain clean dependencies-build dependencies-demo dependencies-test \
	dependencies-image dependencies-bench dependencies-terrain

help: ## Show this
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20
	@echo
	@echo 'make demo STORE=s3 DATA=/some/tree   stages out to SeaweedFS, and copies that tree'

build: dependencies-build ## Build perssd, perssd-controller and perssd-node
	$(SWIFT_BUILD) --configuration $(CONFIGURATION)
	@echo "built in $(PRODUCTS)"

demo: dependencies-demo ## Move a volume between two nodes of this machine
	$(SWIFT_BUILD) --configuration $(CONFIGURATION)
	$(SUDO) "$(PRODUCTS)/perssd" demo --store $(STORE) --directory "$(DIRECTORY)" $(if $(DATA),--data "$(DATA)") \
		$(if $(filter s3,$(STORE)),--weed "$(CURDIR)/.venv/bin/weed")

test: dependencies-test ## Run every test (as root: it mounts file systems)
	scripts/run-tests.sh

test-nvme: dependencies-test ## Run the tests in virtual machines with NVMe drives (as root), a part of test
	$(SWIFT_BUILD) --configuration release
	PERSSD_BIN="$$(swift build --configuration release --show-bin-path)" scripts/test-virtual-nodes.sh

test-volume-groups: dependencies-test ## Try pools of logical volumes in full in a virtual machine: 3 minutes, no part of test
	$(SWIFT_BUILD) --configuration release --product pool-conformance
	PERSSD_BIN="$$(swift build --configuration release --show-bin-path)" .venv/bin/python -m pytest -q \
		Tests/VirtualNodes/conformance_of_volume_groups.py

terrain: dependencies-terrain ## Compute terrain parameters on volumes, and in other ways (as root: examples/terrain)
	$(SWIFT_BUILD) --configuration $(CONFIGURATION)
	$(SUDO) env PERSSD_BIN="$(PRODUCTS)" examples/terrain/run $(TERRAIN_OPTIONS)

bench: dependencies-bench ## Measure PerSSD beside zstd, rclone and restic (as root: docs/benchmarks.md)
	$(SWIFT_BUILD) --configuration release --product perssd-bench
	$(SUDO) env PERSSD_BENCH_SIZE=$(PERSSD_BENCH_SIZE) PERSSD_BENCH_ROUNDS=$(PERSSD_BENCH_ROUNDS) \
		/usr/bin/python3 Benchmarks/run.py \
		"$$(swift build --configuration release --show-bin-path)/perssd-bench" .venv/bin/weed $(BENCH_OPTIONS)

bench-nvme: ## Measure fio through a published volume in a virtual machine (as root: docs/benchmarks.md)
	scripts/install-dependencies.sh bench-nvme
	swift build --jobs $(JOBS)
	.venv/bin/python -m pytest -q -s Tests/VirtualNodes/speed_of_published_volumes.py

bench-snapshots: dependencies-test ## Measure lists of 10,000 volumes and snapshots, and deltas (as root: docs/benchmarks.md)
	swift build --jobs $(JOBS)
	.venv/bin/python -m pytest -q -s Tests/BlackBox/speed_of_snapshots.py

image-root: dependencies-image ## Make the image's root file system without a container engine (as root: deploy/image)
	JOBS=$(JOBS) scripts/make-image-root.sh

image-oci: image-root ## The same, and an OCI archive of it, for ctr images import
	/usr/bin/python3 scripts/make-image-oci.py .build/image/perssd-root.tar .build/image/perssd-oci.tar

test-image-root: dependencies-test image-root ## The same, and move volumes between plugins that run in it (as root)
	.venv/bin/python -m pytest -q Tests/Deploy/processes_in_image_root.py

lint: ## Check the format of all Swift code
	swift format lint --strict --recursive Package.swift Sources Tests

generate: dependencies-test ## Write the code that comes from proto/csi.proto anew
	scripts/generate-protocol.sh

clean: ## Remove what was built
	swift package clean
	rm -rf .build

dependencies-build:
	scripts/install-dependencies.sh build

dependencies-demo:
	scripts/install-dependencies.sh $(if $(filter s3,$(STORE)),demo-s3,build)

dependencies-test:
	scripts/install-dependencies.sh test

dependencies-image:
	scripts/install-dependencies.sh image

dependencies-bench:
	scripts/install-dependencies.sh bench

dependencies-terrain:
	scripts/install-dependencies.sh terrain
