# syntax=docker/dockerfile:1
# The platform as an image. From the checkout:
#
#   docker build --tag affluent .
#   docker run --rm affluent config check
#   docker build --target airflow --tag affluent-airflow .      # Airflow with the binary and the DAGs
#
# Whoever runs it mounts a configuration at /etc/affluent/affluent.toml and a volume at /var/lib/affluent; the root may be read-only
# where /tmp is writable.

FROM rust:1.95-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends cmake libssl-dev pkg-config zlib1g-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --locked --release --package affluent --bin affluent \
    && install -D --strip target/release/affluent /out/affluent

FROM apache/airflow:3.3.2 AS airflow
COPY --from=build /out/affluent /usr/local/bin/affluent
COPY deploy/airflow/dags /opt/airflow/dags
COPY deploy/airflow/plugins /opt/airflow/plugins

FROM debian:bookworm-slim AS affluent
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libssl3 zlib1g \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 10001 affluent \
    && useradd --system --uid 10001 --gid affluent --home-dir /var/lib/affluent --shell /usr/sbin/nologin affluent \
    && install -d -o affluent -g affluent -m 0750 /var/lib/affluent \
    && install -d /etc/affluent \
    && printf 'data_dir = "/var/lib/affluent"\n' > /etc/affluent/affluent.toml
COPY --from=build /out/affluent /usr/local/bin/affluent
ENV AFFLUENT_CONFIG=/etc/affluent/affluent.toml
USER 10001:10001
WORKDIR /var/lib/affluent
VOLUME /var/lib/affluent
EXPOSE 8080 5433
STOPSIGNAL SIGTERM
# Every role is ready; asked of [http], which each process has that plays the role `api`.
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s --retries=3 CMD ["affluent", "status", "--format", "json"]
ENTRYPOINT ["affluent"]
CMD ["up"]
