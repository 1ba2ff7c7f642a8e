//! Lists the files of `models/`, `seeds/`, `imports/` and `questions/`, which are compiled into the binary, as Rust: names and texts.

#![allow(clippy::print_stdout, reason = "cargo reads the output of build scripts")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let mut list = String::new();
    let lists = [
        ("pub(crate) const MODELS", "models", "sql"),
        ("pub(crate) const SEEDS", "seeds", "csv"),
        ("pub(crate) const IMPORTS", "imports", "toml"),
        (
            "/// Questions to begin with: file name and query; what it asks is its opening comment.\npub const QUESTIONS",
            "questions",
            "sql",
        ),
    ];
    for (constant, folder, ending) in lists {
        println!("cargo::rerun-if-changed={folder}");
        let mut found = Vec::new();
        walk(&root.join(folder), ending, &mut found)?;
        found.sort();
        let _ = writeln!(list, "{constant}: &[(&str, &str)] = &[");
        for path in found {
            let name = path.strip_prefix(root.join(folder)).map_err(io::Error::other)?.to_string_lossy();
            let place = format!("/{folder}/{name}");
            // Where the crate lies is asked when it is compiled: a target directory serves several checkouts.
            let text = format!("include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), {place:?}))");
            let _ = writeln!(list, "    ({name:?}, {text}),");
        }
        let _ = writeln!(list, "];");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    fs::write(out.join("builtin.rs"), list)
}

/// The files below `folder` that end so; a folder that is not there has none.
fn walk(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) -> io::Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            walk(&path, ending, found)?;
        } else if path.extension().is_some_and(|extension| extension == ending) {
            found.push(path);
        }
    }
    Ok(())
}
