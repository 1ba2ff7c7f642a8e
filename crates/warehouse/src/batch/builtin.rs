//! The files of `models/` and `seeds/`, as the build script lists them.

include!(concat!(env!("OUT_DIR"), "/builtin.rs"));
