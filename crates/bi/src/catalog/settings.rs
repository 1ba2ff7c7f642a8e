//! Settings that clients ask for and set: names and defaults of `SHOW`, `SET` and `pg_settings`.

use crate::session::Who;

/// Names and defaults.
pub(crate) const SETTINGS: &[(&str, &str)] = &[
    ("server_version", "15.0"),
    ("server_version_num", "150000"),
    ("server_encoding", "UTF8"),
    ("client_encoding", "UTF8"),
    ("application_name", ""),
    ("DateStyle", "ISO, MDY"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("integer_datetimes", "on"),
    ("standard_conforming_strings", "on"),
    ("is_superuser", "off"),
    ("session_authorization", "affluent"),
    ("in_hot_standby", "off"),
    ("search_path", "public, dwh"),
    ("extra_float_digits", "1"),
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("idle_session_timeout", "0"),
    ("client_min_messages", "notice"),
    ("transaction_isolation", "repeatable read"),
    ("default_transaction_isolation", "repeatable read"),
    ("transaction_read_only", "on"),
    ("default_transaction_read_only", "on"),
    ("transaction_deferrable", "off"),
    ("default_transaction_deferrable", "off"),
    ("bytea_output", "hex"),
    ("row_security", "on"),
    ("synchronous_commit", "on"),
    ("work_mem", "4MB"),
    ("maintenance_work_mem", "64MB"),
    ("jit", "off"),
    ("geqo", "on"),
    ("enable_seqscan", "on"),
    ("enable_nestloop", "on"),
    ("enable_hashjoin", "on"),
    ("enable_mergejoin", "on"),
    ("max_parallel_workers_per_gather", "0"),
    ("lc_collate", "C.UTF-8"),
    ("lc_ctype", "C.UTF-8"),
    ("lc_messages", "C"),
    ("lc_monetary", "C"),
    ("lc_numeric", "C"),
    ("lc_time", "C"),
    ("block_size", "8192"),
    ("segment_size", "1GB"),
    ("max_connections", "1000"),
    ("max_identifier_length", "63"),
    ("max_index_keys", "32"),
    ("wal_level", "replica"),
    ("default_table_access_method", "heap"),
    ("default_tablespace", ""),
    ("xmloption", "content"),
    ("escape_string_warning", "on"),
    ("backslash_quote", "safe_encoding"),
    ("quote_all_identifiers", "off"),
    ("synchronize_seqscans", "on"),
    ("check_function_bodies", "on"),
    ("cursor_tuple_fraction", "0.1"),
    ("ssl", "off"),
];

/// Schemas in which names without one are looked up, of the setting.
pub(crate) fn search_path(who: &Who) -> Vec<String> {
    let setting = who.setting("search_path").unwrap_or_default();
    let name = |part: &str| {
        let part = part.trim();
        let quoted = part.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        quoted.map_or_else(|| part.to_lowercase(), |inner| inner.replace("\"\"", "\""))
    };
    setting.split(',').map(name).filter(|name| !name.is_empty() && name != "$user").collect()
}
