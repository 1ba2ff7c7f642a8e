//! The files of `models/`, `seeds/`, `imports/` and `questions/`, as the build script lists them: name and text.

include!(concat!(env!("OUT_DIR"), "/builtin.rs"));
