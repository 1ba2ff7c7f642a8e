//! Change data capture: PostgreSQL's logical replication stream to change events on the bus.
