# What a person types. `make demo` and `make test` install what they need, then do their job.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

export VENV := $(or $(AFFLUENT_VENV),$(CURDIR)/.venv)
export AFFLUENT_TEST_PYTHON ?= $(VENV)/bin/python
TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
AFFLUENT := $(TARGET)/debug/affluent

.PHONY: help
help: ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

.PHONY: setup-demo
setup-demo:
	@deploy/setup.sh demo

.PHONY: setup
setup: ## Install everything that building, the demo and the tests need
	@deploy/setup.sh test

.PHONY: build
build: setup-demo ## Build the binary
	cargo build --locked --workspace --bin affluent

.PHONY: demo
demo: build ## Run the whole platform on embedded defaults for a minute, under load, and prove it
	$(AFFLUENT) demo --seconds 60 --report report.json

.PHONY: test
test: setup ## Pass every test: units, real services, kill -9
	ulimit -n 8192 && cargo test --locked --workspace

.PHONY: check
check: setup-demo ## Format, lints, dependency licences, import rule
	@if cargo fmt --version >/dev/null 2>&1; then cargo fmt --all --check; \
	  else echo 'check: rustfmt is missing, formatting not checked (rustup component add rustfmt)'; fi
	@if cargo clippy --version >/dev/null 2>&1; then cargo clippy --locked --workspace --all-targets -- -D warnings; \
	  else echo 'check: clippy is missing, lints not checked (rustup component add clippy)'; fi
	@if cargo deny --version >/dev/null 2>&1; then cargo deny --offline check bans licenses sources; \
	  else echo 'check: cargo-deny is missing, licences not checked (cargo install cargo-deny)'; fi
	cargo test --locked --workspace --test imports

.PHONY: bench
bench: build ## Run every benchmark of docs/performance.md
	@for name in broker cdc clickstream logs warehouse features score bi; do $(AFFLUENT) bench $$name; done

.PHONY: screenshots
screenshots: setup ## Take the pictures of the console anew, into docs/images
	ulimit -n 8192 && AFFLUENT_TEST_PICTURES=$(CURDIR)/docs/images cargo test --locked --package affluent --test it every_page_of_a_demo -- --nocapture

.PHONY: soak
soak: setup ## Five minutes of faults at random (AFFLUENT_SOAK_SECONDS=1800: half an hour; AFFLUENT_SOAK_SEED repeats a run), then a table
	ulimit -n 8192 && AFFLUENT_SOAK_SECONDS=$${AFFLUENT_SOAK_SECONDS:-300} cargo test --locked --package affluent --test it chaos:: -- --nocapture

.PHONY: kills
kills: setup ## 200 rounds of kill -9 of the streaming roles, at random moments and at failpoints, instead of the 20 of `make test`
	ulimit -n 8192 && AFFLUENT_SOAK_ROUNDS=200 cargo test --locked --workspace --test it nothing_is_lost_or_doubled -- --nocapture

.PHONY: interop
interop: setup build ## Run the tests on Apache Kafka, Kafka Connect, Debezium, Apicurio, Spark, an Iceberg REST catalog, an S3 server, PostgreSQL 14, 16 and 17, FerretDB, MLflow, JDBC, Superset, Airflow and OpenTelemetry's collector
	ulimit -n 8192 && crates/testkit/interop/kafka.sh run crates/testkit/interop/iceberg.sh run crates/testkit/interop/otelcol.sh run \
	  cargo test --locked --workspace --exclude affluent --test it --test rest
	# The whole platform, each installation on an Apache Kafka of its own; then once with passwords and TLS.
	ulimit -n 8192 && crates/testkit/interop/kafka.sh jars cargo test --locked -p affluent --test it -- \
	  kill::nothing_is_lost_or_doubled chaos:: outages:: foreign_schema:: events:: evolution:: score_kill:: score_rest:: features_kill:: telemetry::
	ulimit -n 8192 && AFFLUENT_TEST_KAFKA_SECURITY=sasl_tls crates/testkit/interop/kafka.sh jars \
	  cargo test --locked -p affluent --test it -- nothing_is_lost_or_doubled_by_kills_at_random_moments events:: score_rest::
	# Programs of Java on our broker; Debezium and Connect's sinks beside our own parts, on our broker and on Apache Kafka.
	ulimit -n 8192 && crates/testkit/interop/connect.sh run crates/testkit/interop/apicurio.sh run \
	  cargo test --locked --workspace --exclude affluent --test java --test connect --test registry
	ulimit -n 8192 && crates/testkit/interop/kafka.sh run crates/testkit/interop/connect.sh run crates/testkit/interop/apicurio.sh run \
	  crates/testkit/interop/iceberg.sh run crates/testkit/interop/ferretdb.sh run \
	  cargo test --locked --workspace --exclude affluent --test connect
	crates/testkit/interop/iceberg.sh run crates/testkit/interop/spark.sh run \
	  cargo test --locked --workspace --exclude affluent --test spark
	# Tables in a bucket, through a network that fails.
	ulimit -n 8192 && crates/testkit/interop/s3.sh run cargo test --locked -p affluent-lake --test it s3::
	crates/testkit/interop/postgres.sh all cargo test --locked --workspace --exclude affluent --test it cdc::
	crates/testkit/interop/ferretdb.sh run cargo test --locked --workspace --exclude affluent --test mongodb
	# Several sinks of documents and several scorers need a store that takes several processes.
	ulimit -n 8192 && crates/testkit/interop/ferretdb.sh run cargo test --locked -p affluent --test it scale_out::
	crates/testkit/interop/mlflow.sh run cargo test --locked --workspace --exclude affluent --test mlflow
	crates/testkit/interop/pgjdbc.sh run crates/testkit/interop/superset.sh run \
	  cargo test --locked --workspace --exclude affluent --test tools
	deploy/airflow/check.sh $(AFFLUENT)
