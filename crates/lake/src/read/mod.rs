//! Reading: scans and look-ups, which files can hold what is sought, one data file in the columns of a newer schema, from disk or from a bucket (`source`).

pub(crate) mod choose;
pub(crate) mod data_file;
pub(crate) mod live;
pub(crate) mod lookup;
pub(crate) mod members;
pub(crate) mod parquet_file;
pub(crate) mod scan;
pub(crate) mod sought;
pub(crate) mod source;
