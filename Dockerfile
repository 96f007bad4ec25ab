# Builds the service offline-capable (the SQL is checked against .sqlx) and runs it as nobody special.
#   docker build -t bursar .
#   docker run -p 8402:8402 -e BURSAR_BIND=0.0.0.0:8402 -e DATABASE_URL=… bursar
# In the image there is no managed Postgres: name a database.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
# Dependencies first, so that a change of the sources does not build them again.
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src tests/it tests/bench \
 && echo 'fn main() {}' > src/main.rs && touch src/lib.rs \
 && touch tests/it/main.rs tests/bench/checkout.rs \
 && cargo build --release --locked \
 && rm -r src
COPY .sqlx .sqlx
COPY migrations migrations
COPY llms.txt ./
COPY src src
# Cargo goes by modification times: the real sources must be younger than the stand-ins.
RUN touch src/main.rs src/lib.rs && cargo build --release --locked

FROM debian:bookworm-slim
# The root certificates are for the facilitator and for a chain node.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10402 --no-create-home --shell /usr/sbin/nologin bursar
COPY --from=build /src/target/release/bursar /usr/local/bin/bursar
USER bursar
EXPOSE 8402
ENTRYPOINT ["bursar"]
CMD ["serve"]
