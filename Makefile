# The targets that people use are listed by `make help`: every target with a `## ` comment appears there.

K8S_VERSION ?= v1.36.3
FUZZTIME    ?= 60s
FUZZKEEP    ?= 0

GOLANGCI_LINT_VERSION := v2.15.0

# The version of binary, image and chart is what the file VERSION says (a test holds the chart to it). A binary that is not
# built from the release's tag says so; a release is `git tag v$(cat VERSION)`.
RELEASE := $(shell cat VERSION)
VERSION := $(RELEASE)$(shell hack/version-suffix.sh v$(RELEASE))
LDFLAGS := -s -w -X github.com/shorthop/shorthop/internal/buildinfo.Version=$(VERSION)
# Nothing of the machine, the folder or the time gets into a binary: see verify-build.
GO_BUILD := CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "$(LDFLAGS)"

# Tools are built once per version: another version is another folder.
GOLANGCI_LINT := $(CURDIR)/.cache/tools/golangci-lint-$(GOLANGCI_LINT_VERSION)/golangci-lint

# Used in recipes only, so that `make help` does not run it.
CONTROL_PLANE := K8S_VERSION=$(K8S_VERSION) hack/control-plane.sh
WITH_ASSETS   := KUBEBUILDER_ASSETS="$$($(CONTROL_PLANE) --print-dir)"

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

##@ Try it

# A binary instead of `go run`, which does not pass signals on and makes every exit code 1.
.PHONY: run
run: build control-plane ## Start a control plane, the webhook and sample pods, show before and after, and keep running
	@go build -o bin/demo ./test/demo
	@$(WITH_ASSETS) exec bin/demo --keep

.PHONY: demo
demo: build control-plane ## The same, and exit
	@go build -o bin/demo ./test/demo
	@$(WITH_ASSETS) exec bin/demo

##@ Check it

.PHONY: test
test: build control-plane ## Run all tests that need no root, the integration tests at a real kube-apiserver included
	@echo "Unit and integration tests; kube-apiserver $(K8S_VERSION) from $$($(CONTROL_PLANE) --print-dir)"
	$(WITH_ASSETS) go test -timeout 20m ./...
	$(WITH_ASSETS) CGO_ENABLED=0 go -C test/soak test -trimpath -timeout 20m ./...

.PHONY: test-race
test-race: build control-plane ## Run the same tests with the race detector (needs a C compiler)
	$(WITH_ASSETS) CGO_ENABLED=1 go test -race -timeout 40m ./...

# The models of pkg/resolver are held to the real things: kubelet's own code, the real resolvers, real pods.
NODE    := K8S_VERSION=$(K8S_VERSION) hack/node.sh
RUN_E2E := eval "$$($(NODE) --print-env; hack/tools.sh --print-env)"; export E2E_K8S_BIN E2E_COREDNS HELM PROMTOOL; cd test/e2e && go test -tags e2e -count=1 -timeout 60m -v

.PHONY: node
node: ## Build and install what a real node needs (root for missing packages)
	@$(NODE)
	@hack/tools.sh

.PHONY: e2e
e2e: build $(if $(E2E_EXISTING),,node image) ## Run the tests in real pods on a real node (root, Linux)
	@$(MAKE) --no-print-directory $(if $(E2E_EXISTING),e2e-pods,-j2 e2e-pods e2e-log)

# Advice from logs waits ten minutes for a log to get long, on a node of its own, and so beside all others. The second package
# is tested on its own, since go test shows what several print only at their end.
.PHONY: e2e-pods e2e-log
e2e-pods:
	@$(RUN_E2E) -skip '^(TestAdviseInACluster|TestAdviceInForce)$$' . && go test -tags e2e -count=1 ./results
e2e-log:
	@$(RUN_E2E) -run '^TestAdviseInACluster$$' . -logs logs-advise

.PHONY: e2e-advice
e2e-advice: build node image ## Follow the advisor on the real node from helm upgrade to a value that is raised: a quarter of an hour, which e2e leaves out
	@$(RUN_E2E) -run '^TestAdviceInForce$$' .

.PHONY: e2e-results
e2e-results: build node image ## The same, and write the figures to docs/results
	@$(RUN_E2E) -skip '^TestAdviceInForce$$' . -write-results

.PHONY: test-kubelet
test-kubelet: ## Compare the resolv.conf model with kubelet's own code over 20,000 settings
	cd test/kubeletdns && CGO_ENABLED=0 go test -trimpath -count=1 -v ./...

.PHONY: test-report
test-report: ## Open the page of advise -o html in a headless Chromium (installed with apt-get if missing, root)
	@test/report/chromium.sh
	cd test/report && CGO_ENABLED=0 go test -trimpath -count=1 -timeout 20m -v ./...

.PHONY: test-resolvers
test-resolvers: ## Compare the query models with the real glibc, musl and Go over 2,000 cases each (Linux, gcc, musl-gcc)
	go test -tags e2e ./test/resolver -count=1 -cases 2000 -timeout 60m -v

.PHONY: test-clients
test-clients: ## Look up with C, Go, Python, Node, Java, Perl, Ruby, PHP, c-ares and Netty (installed with apt-get if missing, root), and write docs/results/clients.md
	@hack/client-packages.sh
	go test -tags e2e ./test/resolver -run RealClients -count=1 -timeout 30m -v -clients -write-results

LARGE_IMAGES ?= 40

.PHONY: test-images
test-images: ## Judge images with the real musl, BusyBox and Net::DNS of Debian's packages, and LARGE_IMAGES of 50 MB (default 40)
	@packages="$$(hack/image-packages.sh)" && IMAGE_PACKAGES="$$packages" go test -tags e2e ./test/images -count=1 -timeout 20m -v -large $(LARGE_IMAGES)

ADVISE_WORKLOADS ?= 10000
ADVISE_WORLDS    ?= 300

.PHONY: test-advisor
test-advisor: node ## Rebuild lookups of the real glibc, musl and Go from a real CoreDNS's log, advise, apply, look up again; 10,000 simulated workloads, and the damaged logs of ADVISE_WORLDS worlds (default 300)
	@eval "$$($(NODE) --print-env)"; export E2E_COREDNS; go test -tags e2e ./test/advisor -run FoundAgain -count=1 -timeout 20m -v -workloads 60 -lookups 200
	go test ./pkg/advisor -run NoRecommendation -count=1 -timeout 30m -v -workloads $(ADVISE_WORKLOADS)
	go test ./pkg/advisor -run DamagedLogs -count=1 -timeout 60m -v -worlds $(ADVISE_WORLDS)

ADVICE_CLUSTERS ?= 5

.PHONY: test-advice
test-advice: ## Let ADVICE_CLUSTERS simulated clusters (default 5) run for 60 days under advice made of their own logs, and change images and commands under it
	go test ./pkg/advisor -run 'AdviceInForceOverDays|WhatChangesUnderAdvice' -count=1 -timeout 60m -v -advice-clusters $(ADVICE_CLUSTERS)

# The chart is tried on the oldest and on the newest Kubernetes that it supports.
OLDEST_K8S_VERSION ?= v1.32.13
OLDEST_CONTROL_PLANE := KUBEBUILDER_ASSETS= K8S_VERSION=$(OLDEST_K8S_VERSION) hack/control-plane.sh

.PHONY: tools
tools: ## Build helm 4 and 3, helm-unittest, promtool and node_exporter, once
	@hack/tools.sh

.PHONY: oldest-control-plane
oldest-control-plane: # Build that of OLDEST_K8S_VERSION, once
	@$(OLDEST_CONTROL_PLANE)

.PHONY: test-chart
test-chart: build tools control-plane oldest-control-plane ## Test the Helm chart with the real helm, promtool and API servers of the oldest and the newest version
	@$(NODE) --controllers
	@eval "$$($(NODE) --print-env; hack/tools.sh --print-env)"; export HELM HELM3 HELM_UNITTEST PROMTOOL NODE_EXPORTER CRDS E2E_K8S_BIN E2E_COREDNS; \
	OLDEST_ASSETS="$$($(OLDEST_CONTROL_PLANE) --print-dir)" NEWEST_ASSETS="$$($(CONTROL_PLANE) --print-dir)" \
		go test -tags chart -count=1 -timeout 40m -v ./test/chart

# Both print pods created, mutated and missed; the certificates and servers change as often as fits into ROTATION_TIME.
ROTATION_TIME ?= 60s

.PHONY: test-rotation
test-rotation: control-plane ## Renew certificates and restart servers while pods are created, ROTATION_TIME each (default 60s)
	$(WITH_ASSETS) go test ./test/rotation -count=1 -timeout 30m -v -duration $(ROTATION_TIME)

.PHONY: test-certmanager
test-certmanager: tools control-plane ## The same with the real cert-manager's controllers and the chart's objects
	@eval "$$(hack/tools.sh --print-env)"; export HELM; $(WITH_ASSETS) CGO_ENABLED=0 \
		go -C test/certmanager test -trimpath -count=1 -timeout 30m -v . -duration $(ROTATION_TIME)

GENERATED_PODS ?= 100000

.PHONY: test-generated
test-generated: control-plane ## Create GENERATED_PODS pods (default 100,000) with every field that the API has, with us and without us, and compare
	$(WITH_ASSETS) go test ./test/generated -count=1 -timeout 3h -v -seed 0 -pods $(GENERATED_PODS)

# The newest is the version of the libraries in go.mod: no server of an earlier one knows all fields that they have.
SKEW_K8S_VERSIONS ?= $(OLDEST_K8S_VERSION) v1.34.4 $(K8S_VERSION) v1.37.1
SKEW_PODS         ?= 1000

.PHONY: test-skew
test-skew: ## Create SKEW_PODS such pods (default 1,000) at API servers of each of SKEW_K8S_VERSIONS, from the oldest to the newest
	@set -e; for version in $(SKEW_K8S_VERSIONS); do \
		echo "== kube-apiserver $$version"; \
		KUBEBUILDER_ASSETS= K8S_VERSION=$$version hack/control-plane.sh; \
		KUBEBUILDER_ASSETS="$$(KUBEBUILDER_ASSETS= K8S_VERSION=$$version hack/control-plane.sh --print-dir)" \
			go test ./test/generated -run AtAPIServer -count=1 -timeout 1h -v -pods $(SKEW_PODS); \
	done

# `make test` draws the same pods every time, so that a commit is not refused for what an earlier one did; here they are others
# every time. go test runs one fuzzer of one package at a time, so they are listed first. FUZZKEEP inputs of each that it found
# interesting are copied to testdata/fuzz: every `go test` runs those from then on.
.PHONY: fuzz
fuzz: ## Run the property tests on other pods than `make test` does, then every fuzzer in turn for FUZZTIME (default 60s), and keep FUZZKEEP of the inputs it found (default 0)
	go test ./pkg/mutate -count=1 -seed 0
	@set -e; for package in $$(go list ./...); do \
		for fuzzer in $$(go test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			echo "== $$package $$fuzzer ($(FUZZTIME))"; \
			go test -run '^$$' -fuzz "^$$fuzzer\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$package; \
			hack/keep-corpus.sh $$package $$fuzzer $(FUZZKEEP); \
		done; \
	done

.PHONY: licenses
licenses: ## Write THIRD_PARTY_LICENSES.md, and fail on a licence that is not permissive
	@hack/licenses.sh

.PHONY: vulncheck
vulncheck: ## Look for known vulnerabilities that the code reaches (needs the database at vuln.go.dev; says so without it)
	@hack/vulncheck.sh

# What is compared takes turns, for about BENCH_TIME per figure; all of it takes about ten minutes by default.
# `bin/bench --only querylogs` afterwards is only how advise reads a long log, `--only prefix` only what a prefix among the
# excluded namespaces costs.
BENCH_TIME ?= 8s

.PHONY: bench
bench: build control-plane ## Measure reviews, pod creation, memory, decisions and query logs against alternatives, and write docs/results/bench.md
	@CGO_ENABLED=0 go build -trimpath -o bin/bench ./test/bench
	@$(WITH_ASSETS) bin/bench --time $(BENCH_TIME)
	@$(MAKE) --no-print-directory bench-savings

.PHONY: bench-savings
bench-savings: ## Count the queries that strategies of resolver options save in five mixes, and what they break, and write docs/results/savings.md
	@CGO_ENABLED=0 go -C test/e2e run ./savings ../../docs/results
	@sed -n '/^## Queries saved/,/^## Targets/p' docs/results/savings.md

# OTHER is another build of the webhook, of an earlier commit for example; the two take turns, so that the ratios hold on a
# machine that is busy with something else too.
.PHONY: bench-against
bench-against: build control-plane ## Compare bin/webhook with another build of it, OTHER: CPU per review, memory, added latency
	@test -n "$(OTHER)" || { echo "bench-against: say OTHER=FILE, another build of bin/webhook" >&2; exit 2; }
	@CGO_ENABLED=0 go build -trimpath -o bin/bench ./test/bench
	@$(WITH_ASSETS) bin/bench --time $(BENCH_TIME) --against $(OTHER)

# Three runs and one with pods, of SOAK_PHASE_TIME each, and the soak; then the generated pods.
SOAK_TIME       ?= 30m
SOAK_PHASE_TIME ?= 5m

.PHONY: soak
soak: build control-plane ## Send reviews and create pods while everything changes and breaks, SOAK_TIME (default 30m) of it mixed faults, and write docs/results/soak.md
	@CGO_ENABLED=0 go -C test/soak build -trimpath -o ../../bin/soak .
	@$(WITH_ASSETS) bin/soak --time $(SOAK_TIME) --phase $(SOAK_PHASE_TIME) --results docs/results/soak.md
	@$(MAKE) --no-print-directory test-generated

.PHONY: lint
lint: $(GOLANGCI_LINT) ## Check formatting, run go vet and golangci-lint
	@unformatted=$$(git ls-files --cached --others --exclude-standard '*.go' | xargs -r gofmt -l); \
	if [ -n "$$unformatted" ]; then echo "gofmt would change:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	$(GOLANGCI_LINT) run --allow-parallel-runners ./...
	cd test/e2e && $(GOLANGCI_LINT) run --allow-parallel-runners ./...
	cd test/kubeletdns && CGO_ENABLED=0 $(GOLANGCI_LINT) run --allow-parallel-runners ./...
	cd test/certmanager && $(GOLANGCI_LINT) run --allow-parallel-runners ./...
	cd test/report && $(GOLANGCI_LINT) run --allow-parallel-runners ./...
	cd test/soak && CGO_ENABLED=0 $(GOLANGCI_LINT) run --allow-parallel-runners ./...
	cd hack/sbom && go test ./... && $(GOLANGCI_LINT) run --allow-parallel-runners ./...

##@ Build it

.PHONY: build
build: ## Build bin/webhook and bin/kubectl-shorthop
	$(GO_BUILD) -o bin/webhook ./cmd/webhook
	$(GO_BUILD) -o bin/kubectl-shorthop ./cmd/kubectl-shorthop

.PHONY: image
image: build ## Package bin/webhook and bin/kubectl-shorthop as an image, in bin/webhook.tar (docker-archive; needs buildah)
	@hack/image.sh $(RELEASE)

.PHONY: sbom
sbom: build ## Write the bill of materials of both binaries to bin/*.cdx.json (CycloneDX)
	@cd hack/sbom && for name in webhook kubectl-shorthop; do \
		CGO_ENABLED=0 go run . ../../bin/$$name $(VERSION) >../../bin/$$name.cdx.json; echo bin/$$name.cdx.json; done

.PHONY: chart
chart: tools ## Package the Helm chart, in bin/shorthop-VERSION.tgz
	@eval "$$(hack/tools.sh --print-env)"; "$$HELM" package charts/shorthop --destination bin

.PHONY: version
version: ## Print the version that a build here gets
	@echo $(VERSION)

.PHONY: verify-build
verify-build: build ## Build again in another folder with an empty build cache, and compare
	@hack/verify-build.sh $(VERSION)

.PHONY: control-plane
control-plane: ## Build etcd and kube-apiserver K8S_VERSION (default v1.36.3), once
	@$(CONTROL_PLANE)

.PHONY: assets-dir
assets-dir: ## Print the folder that holds etcd and kube-apiserver (use with make -s)
	@$(CONTROL_PLANE) --print-dir

.PHONY: clean
clean: ## Remove what was built; the Go caches stay
	rm -rf bin .cache

##@ Help

.PHONY: help
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} \
		/^##@ / {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z0-9-]+:.*## / {printf "  %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(GOLANGCI_LINT):
	GOBIN=$(@D) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)
