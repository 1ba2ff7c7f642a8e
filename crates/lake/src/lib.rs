//! Iceberg tables: append with offsets, compaction, expiry, scans.
