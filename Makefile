# Targets that write and targets that check never mix: `test` and `lint` leave the tree as it is, and
# `verify` alone runs the generators, to prove that they change nothing.

SHELL = /usr/bin/env bash -o pipefail
.SHELLFLAGS = -ec
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

IMAGE ?= grantry/grantry:dev
FUZZTIME ?= 20000x
PLATFORM ?= linux/amd64
# The commit that images say they were built from, with -dirty if there was more; their tag is the version.
REVISION ?= $(or $(shell git rev-parse HEAD 2>/dev/null),unknown)$(if $(shell git status --porcelain 2>/dev/null),-dirty)

# Every tool is pinned in hack/tools: see CONTRIBUTING.md.
TOOL := go tool -modfile=hack/tools/go.mod
HELM := go tool -modfile=hack/tools/helm/go.mod helm
LINT := bin/golangci-lint

# What the generators write, and nothing else does.
GENERATED := api/v1alpha1/zz_generated.deepcopy.go charts/grantry/files config/crd/bases config/rbac/role.yaml docs/reference

# The packages that know no client and no clock: hack/import-rules.yaml keeps them so.
PURE := $(patsubst %,./%/...,$(wildcard internal/permission internal/effective internal/delegation internal/attestation internal/batchjob internal/schedule))

# An API server to test against. It takes minutes to build the first time, so nothing builds it but
# the recipes that need it; one that is there already is taken from KUBEBUILDER_ASSETS.
API_SERVER = KUBEBUILDER_ASSETS="$${KUBEBUILDER_ASSETS:-$$(go run -C hack/devcluster . assets)}"; export KUBEBUILDER_ASSETS;

##@ Help

.PHONY: help
help: ## Show this list.
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z0-9.-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

##@ Develop (these write)

.PHONY: generate
generate: ## Write the deep copies of the API types.
	$(TOOL) controller-gen object:headerFile=hack/boilerplate.go.txt paths=./api/...

.PHONY: manifests
manifests: ## Write the CRDs, the ClusterRole, and the chart's copies of config.
	$(TOOL) controller-gen crd:allowDangerousTypes=true,generateEmbeddedObjectMeta=true paths=./api/... \
		output:crd:dir=config/crd/bases
	$(TOOL) controller-gen rbac:roleName=grantry paths=./... output:rbac:dir=config/rbac
	hack/update-chart.sh

.PHONY: docs-ref
docs-ref: ## Write docs/reference from the API types.
	hack/update-docs-ref.sh

.PHONY: fmt
fmt: $(LINT) ## Format the Go code, imports included.
	$(LINT) fmt ./...

.PHONY: tidy
tidy: ## Tidy every module.
	for mod in $$(git ls-files --cached --others --exclude-standard --deduplicate '*.mod'); do \
		go -C "$$(dirname "$$mod")" mod tidy -modfile="$$(basename "$$mod")"; done

.PHONY: lint-fix
lint-fix: $(LINT) ## Lint, format and correct what can be corrected.
	$(LINT) run --fix ./...

##@ Check (these read)

.PHONY: test
test: ## Run every test but the whole-system ones, against a real API server.
	$(API_SERVER) go test -timeout=30m $$(go list ./... | grep -v '/internal/effective$$')
	go test ./internal/effective # by itself: it compares two speeds
	go test -C hack/devcluster ./...
	go test -C hack/image ./...
	go test -C hack/sbom ./...

.PHONY: test-unit
test-unit: ## Run the tests of the pure packages: seconds, and no API server.
	go test $(PURE)

# Where goroutines share something. The detector makes everything several times slower: RACE=./... is for a quiet hour.
RACE ?= $(patsubst %,./internal/%/...,authorizer decisionlog freshness joblookup metrics policystore replicas tracing webhook)

.PHONY: test-race
test-race: ## Run the tests of the packages RACE with the race detector.
	$(API_SERVER) CGO_ENABLED=1 go test -race -timeout=30m $(RACE)

.PHONY: test-fuzz
test-fuzz: ## Run each fuzz test of the module for FUZZTIME: tries (20000x) or a time (30s).
	hack/fuzz.sh $(FUZZTIME)

.PHONY: bench-pure
bench-pure: ## Measure the pure packages.
	go test -run '^$$' -bench . -benchmem $(PURE)

.PHONY: test-schedule
test-schedule: ## Kill the operator at random moments for ten minutes (SCHEDULE_MINUTES) while 50 schedules fire every minute.
	$(API_SERVER) SCHEDULE_MINUTES=$${SCHEDULE_MINUTES:-10} go test -tags e2e -count=1 -v -timeout=60m -run '^TestKilledScheduler$$' ./test/e2e/

.PHONY: test-alerts
test-alerts: ## Play the alerts of config/monitoring with Prometheus' own engine.
	go vet -C test/alerts ./...
	go test -C test/alerts -count=1 ./... # what it reads is outside of its module, and no reason for Go to run it again

.PHONY: bench-test
bench-test: ## Compare the answers of the engines that the benchmarks compare the speed of.
	go vet -C bench ./...
	go test -C bench ./...

.PHONY: cover
cover: ## Run the tests and hold each package to its floor of coverage.
	$(API_SERVER) hack/cover.sh

.PHONY: lint
lint: $(LINT) ## Lint the Go code, gosec included.
	$(LINT) run ./...

.PHONY: lint-api
lint-api: $(LINT) ## Lint the API types against the Kubernetes conventions.
	$(LINT) run --config=.golangci-kal.yml ./api/...

# The generators run first and alone; the checks after them only read. The linter takes both processors by itself.
VERIFY := vulncheck verify-tidy verify-fmt verify-vet verify-imports verify-docs verify-project verify-samples verify-chart verify-crd-compat

.PHONY: verify
verify: verify-gen ## Prove that nothing the repository claims is out of date.
	@$(MAKE) --keep-going lint lint-api
	@$(MAKE) --jobs=2 --output-sync=target --keep-going $(VERIFY)

.PHONY: verify-gen
verify-gen: ## Prove that the generated files are current.
	hack/verify-gen.sh $(GENERATED)

.PHONY: verify-tidy
verify-tidy: ## Prove that every module is tidy.
	hack/verify-tidy.sh

.PHONY: verify-fmt
verify-fmt: ## Prove that the Go code is formatted.
	hack/verify-fmt.sh

.PHONY: verify-vet
verify-vet: ## Prove that go vet finds nothing, whole-system tests included.
	go vet -tags e2e ./...

.PHONY: verify-imports
verify-imports: ## Prove that packages import only what hack/import-rules.yaml lets them.
	go run ./hack/verify imports

.PHONY: verify-docs
verify-docs: ## Prove that the documents name only what exists, and all that exists.
	go run ./hack/verify docs

.PHONY: verify-project
verify-project: ## Prove that PROJECT tells the truth.
	go run ./hack/verify project

.PHONY: verify-crd-compat
verify-crd-compat: ## Prove that the CRDs accept what those of the last release did.
	go run ./hack/verify crd-compat

.PHONY: verify-samples
verify-samples: ## Prove that the API server takes config/samples and refuses hack/invalid-samples.
	$(API_SERVER) go test ./test/samples/...

.PHONY: verify-chart
verify-chart: ## Prove that the chart is sound, and installs what config/default does.
	$(HELM) lint --strict --quiet charts/grantry
	$(API_SERVER) go test ./test/chart/...

.PHONY: verify-image
verify-image: ## Prove that two builds of the image have one digest, and that the Dockerfile says the same.
	go test -C hack/image ./...

# No module holds the database, so a machine that reaches the module proxy alone is warned, and goes on.
.PHONY: vulncheck
vulncheck: ## Look for known vulnerabilities in what is called: VULNDB=file:///DIR for a copy of vuln.go.dev, VULNCHECK=require to need one.
	go run ./hack/vulncheck

##@ Cluster (these need a real API server)

.PHONY: envtest-assets
envtest-assets: ## Build the API server and print where it is.
	@$(API_SERVER) echo "$$KUBEBUILDER_ASSETS"

.PHONY: test-envtest
test-envtest: ## Run the controllers' tests.
	$(API_SERVER) go test ./controllers/...

.PHONY: test-cel
test-cel: ## Try each CEL rule of the CRDs.
	$(API_SERVER) go test ./test/cel/...

.PHONY: test-e2e
test-e2e: ## Run the whole-system tests.
	$(API_SERVER) go test -tags e2e -count=1 -v -timeout=60m -p=1 ./test/e2e/...
	$(API_SERVER) go test -tags e2e -count=1 -timeout=30m -v -run '^TestRealPods$$' ./test/authorization

# Another Kubernetes is built first, which CI has no time for: so it is not part of .ci/run.
.PHONY: test-oldest
test-oldest: ## Run the tests that need an API server, and those of pods, on the oldest Kubernetes that Grantry supports.
	go -C hack/devcluster/kubernetes mod tidy -modfile=oldest.mod -diff
	export GRANTRY_KUBERNETES=oldest; unset KUBEBUILDER_ASSETS; $(API_SERVER) \
		CI=true go test -count=1 -timeout=60m -p=1 ./controllers/... ./test/...; \
		CI=true go test -tags e2e -count=1 -timeout=60m -p=1 ./test/e2e/pods; \
		CI=true go test -tags e2e -count=1 -timeout=60m -run '^TestRealPods$$' ./test/authorization

.PHONY: e2e-oldest
e2e-oldest: ## Run make e2e on it.
	unset KUBEBUILDER_ASSETS; GRANTRY_KUBERNETES=oldest $(MAKE) e2e

.PHONY: test-kueue
test-kueue: ## Run Grantry beside Kueue's own manager, which takes minutes to build the first time.
	$(API_SERVER) go test -tags e2e -count=1 -v -timeout=60m ./test/kueue

.PHONY: test-flux
test-flux: ## Apply the example of docs/gitops.md with Flux' kustomize-controller, which takes minutes to build the first time.
	go -C hack/flux mod tidy -diff # verify-tidy leaves it out
	$(API_SERVER) go test -tags e2e -count=1 -v -timeout=30m ./test/flux

# What .ci/run gives: auto skips where this machine can't have a real node, and says so.
NODES ?= real

.PHONY: e2e
e2e: ## Install the chart in a real cluster, tell the story, upgrade, roll back, uninstall.
	$(API_SERVER) NODES=$(NODES) go test -tags e2e -count=1 -v -timeout=20m -skip '^TestStrict$$' ./test/install/...

.PHONY: e2e-strict
e2e-strict: ## Install the chart in mode strict in a real cluster. By hand, and not in CI.
	$(API_SERVER) NODES=$(NODES) go test -tags e2e -count=1 -v -timeout=20m -run '^TestStrict$$' ./test/install

.PHONY: test-outage
test-outage: ## Ask what people ask while the authorization webhook fails; print each answer.
	$(API_SERVER) go test -tags e2e -count=1 -v -run '^TestOutage$$' ./test/e2e/authorization

.PHONY: chaos
chaos: ## Break a whole cluster in many ways while runs are launched: CHAOS=short, ROUNDS=3, FAULT=etcd (a regexp), GRANTS=2000.
	$(API_SERVER) CHAOS=$(CHAOS) ROUNDS=$(ROUNDS) FAULT='$(FAULT)' go test -tags e2e -count=1 -v -timeout=90m ./test/chaos

.PHONY: chaos-write
chaos-write: ## Do so three times, and write docs/chaos.md.
	$(API_SERVER) CHAOS=$(CHAOS) ROUNDS=$(or $(ROUNDS),3) CHAOS_REPORT=$(CURDIR)/docs/chaos.md go test -tags e2e -count=1 -v -timeout=120m ./test/chaos

# Half an hour, and longer the first time, when Prometheus is built: so it is not part of .ci/run.
.PHONY: drill
drill: ## Inject the faults that alerts are for, and find each by the runbook: ALERT=a regexp. Needs root, and a real node.
	go -C hack/prometheus mod tidy -diff # verify-tidy leaves it out
	$(API_SERVER) ALERT='$(ALERT)' go test -tags e2e -count=1 -v -timeout=120m ./test/drill

.PHONY: drill-write
drill-write: ## Do so with all of them, and write docs/operations/drill.md.
	$(API_SERVER) DRILL_REPORT=$(CURDIR)/docs/operations/drill.md go test -tags e2e -count=1 -v -timeout=120m ./test/drill

.PHONY: measure-revocation
measure-revocation: ## Measure how long a revoked permission goes on to work.
	$(API_SERVER) go test -tags e2e -count=1 -v -run '^TestRevocation$$' ./test/e2e/authorization

.PHONY: test-devcluster
test-devcluster: ## Start a cluster, kill it, look for what is left; switch another one's mode.
	go test -C hack/devcluster -tags cluster -count=1 -timeout=30m -run Integration -v .

.PHONY: bench
bench: ## Measure against other engines, through an API server, and schedules: ONLY=decision, webhook or cluster, ARGS=flags.
	$(API_SERVER) go run -C bench . $(ONLY) $(ARGS)
	$(if $(ONLY),,$(MAKE) bench-schedule)

.PHONY: bench-write
bench-write: ## Measure, and write docs/benchmarks.md.
	$(API_SERVER) go run -C bench . $(ONLY) --write ../docs/benchmarks.md $(ARGS)

.PHONY: bench-launch
bench-launch: ## Measure how many runs are launched in a second.
	$(API_SERVER) go test -tags e2e -count=1 -v -run '^TestLaunchRate$$' ./test/e2e/...

.PHONY: bench-schedule
bench-schedule: ## Measure 10,000 Jobs with schedules: idle, in an ordinary minute, and 1,000 due in one.
	$(API_SERVER) SCHEDULED_JOBS=$${SCHEDULED_JOBS:-10000} go test -tags e2e -count=1 -v -timeout=40m -run '^TestScheduleScale$$' ./test/e2e/...

.PHONY: bench-size
bench-size: ## Measure the start and the memory of the operator with 100,000 Grants (GRANTS), 20,000 ACLs and 10,000 Jobs.
	$(API_SERVER) GRANTS=$${GRANTS:-100000} go test -tags e2e -count=1 -v -timeout=60m -run '^TestSize$$' ./test/e2e/

.PHONY: bench-admission
bench-admission: ## Measure what admission adds to the creation of a Job, and of a Grant among 100,000 (GRANTS).
	$(API_SERVER) go test -tags e2e -count=1 -v -timeout=40m -run '^(TestCreateLatency|TestGrantLatency)$$' ./test/admission/...

.PHONY: demo
demo: ## Show the story of the README on a cluster of this machine.
	$(API_SERVER) go run ./hack/demo

##@ Build

# Two builds of one commit are one file, byte for byte.
.PHONY: build
build: ## Build bin/grantry.
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags=-buildid= -o bin/grantry .

.PHONY: sbom
sbom: build ## Write dist/grantry.cdx.json: of what the program is made, in CycloneDX.
	mkdir -p dist
	go run -C hack/sbom . $(CURDIR)/bin/grantry >dist/grantry.cdx.json

.PHONY: image
image: ## Write dist/image.tar: the container image IMAGE, in the form of docker save. Needs no Docker.
	go run -C hack/image . --tag=$(IMAGE) --revision=$(REVISION) --platform=$(PLATFORM) --output=$(CURDIR)/dist/image.tar

.PHONY: image-docker
image-docker: ## Build the same image with Docker.
	SOURCE_DATE_EPOCH=0 docker build --platform=$(PLATFORM) --tag=$(IMAGE) \
		--build-arg=VERSION=$(or $(word 2,$(subst :, ,$(notdir $(IMAGE)))),latest) --build-arg=REVISION=$(REVISION) .

.PHONY: install.yaml
install.yaml: ## Write dist/install.yaml: all that a cluster needs.
	mkdir -p dist
	$(API_SERVER) "$$KUBEBUILDER_ASSETS/kubectl" kustomize config/default >dist/install.yaml

.PHONY: chart
chart: manifests ## Write dist/grantry-VERSION.tgz: the Helm chart.
	$(HELM) package --destination dist charts/grantry

##@ Run (on the cluster that kubectl talks to)

.PHONY: run
run: ## Run the manager on this machine.
	go run . manager --leader-elect=false --metrics-secure=false --metrics-bind-address=127.0.0.1:8080

.PHONY: install
install: ## Install the CRDs.
	kubectl apply --server-side -k config/crd

.PHONY: uninstall
uninstall: ## Remove the CRDs, and with them every ACL, Grant, Group, Job and JobRun.
	kubectl delete --ignore-not-found -k config/crd

.PHONY: deploy
deploy: ## Install everything.
	kubectl apply --server-side -k config/default

.PHONY: undeploy
undeploy: ## Remove everything.
	kubectl delete --ignore-not-found -k config/default

# Built by Go's own cache: a second build takes a moment.
.PHONY: $(LINT)
$(LINT):
	@go -C hack/tools/golangci build -trimpath -buildvcs=false -o ../../../$(LINT) .
