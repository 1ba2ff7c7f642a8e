//! Real services for tests, benches and the demo: PostgreSQL, broker, simulated payments, oracles.
