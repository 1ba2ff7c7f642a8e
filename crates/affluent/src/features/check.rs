//! `affluent features check`: definitions that can be read and computed, and whose meanings are the recorded ones.

use super::refused;
use crate::cli::Format;
use crate::output::{self, Exit};
use affluent_features::definition::Versions;
use affluent_features::{Definitions, Plan};
use anyhow::Context as _;
use serde_json::json;
use std::path::{Path, PathBuf};

/// The record of names, versions and digests in a directory of definitions.
const RECORD: &str = "versions.lock";

/// Options of `affluent features check`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct CheckArgs {
    /// Directory of definitions [default: that of `[features] definitions`, else the shipped ones alone]
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Write versions.lock in the directory afterwards: the meanings that later checks compare with
    #[arg(long)]
    record: bool,
}

/// What was checked.
#[derive(Debug, PartialEq, Eq)]
struct Checked {
    /// The directory, or that they are the shipped ones.
    place: String,
    features: usize,
    /// Of these, from files of the directory.
    own: usize,
    sources: usize,
    /// Meanings are compared with the record.
    compared: bool,
    recorded: bool,
}

/// Checks, and says what was found.
///
/// # Errors
/// The first thing that is wrong: its file and what would be right.
pub(super) fn run(args: &CheckArgs, configured: Option<&Path>, format: Format) -> anyhow::Result<Exit> {
    let checked = checked(args.directory.as_deref().or(configured), args.record)?;
    match format {
        Format::Json => output::print_json(&json!({
            "ok": true, "directory": checked.place, "features": checked.features, "own": checked.own,
            "sources": checked.sources, "compared": checked.compared, "recorded": checked.recorded,
        }))?,
        Format::Text => output::print(&text(&checked)),
    }
    Ok(Exit::Done)
}

fn checked(directory: Option<&Path>, record: bool) -> anyhow::Result<Checked> {
    let definitions = Definitions::load(directory).map_err(refused)?;
    Plan::new(&definitions).map_err(refused)?;
    let Some(directory) = directory else {
        if record {
            return Err(output::usage("--record needs a directory of definitions".to_owned()));
        }
        Versions::shipped().and_then(|versions| versions.check(&definitions)).map_err(refused)?;
        let (features, sources) = (definitions.features.len(), definitions.sources.len());
        let place = "the shipped definitions".to_owned();
        return Ok(Checked { place, features, own: 0, sources, compared: true, recorded: false });
    };
    let path = directory.join(RECORD);
    let shown = path.display().to_string();
    let compared = path.is_file();
    if compared {
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {shown}"))?;
        let versions = Versions::parse(&shown, &text).map_err(refused)?;
        versions.check(&definitions).map_err(|error| output::usage(format!("{shown}: {error}")))?;
    }
    if record {
        let text = Versions::of(&definitions).to_text();
        std::fs::write(&path, text).with_context(|| format!("write {shown}"))?;
    }
    Ok(Checked {
        place: directory.display().to_string(),
        features: definitions.features.len(),
        own: definitions.features.iter().filter(|f| Path::new(&f.file).starts_with(directory)).count(),
        sources: definitions.sources.len(),
        compared,
        recorded: record,
    })
}

fn text(checked: &Checked) -> String {
    let Checked { place, features, own, sources, compared, recorded } = checked;
    let of_them = if *own > 0 { format!(", {own} of them from its files") } else { String::new() };
    let meanings = match (compared, recorded) {
        (true, true) => format!("; meanings as recorded, {RECORD} brought up to date"),
        (true, false) => "; meanings as recorded".to_owned(),
        (false, true) => format!("; {RECORD} written"),
        (false, false) => {
            format!("; no {RECORD}, so that a changed meaning is not noticed (--record writes it)")
        }
    };
    format!("ok: {place}: {features} features over {sources} sources{of_them}{meanings}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIEW: &str = "entity = 'customer'\nsource = 'transactions'\nowner = 'me'\nfreshness = '1h'\ndescription = 'd'\n\
                        [[features]]\nname = 'my_payments'\nversion = 1\ndescription = 'd'\naggregate = 'count'\n\
                        windows = ['1h', '7d']\n";

    #[test]
    fn a_recorded_meaning_does_not_change_under_its_version() {
        let folder = tempfile::tempdir().unwrap();
        let write = |text: &str| std::fs::write(folder.path().join("mine.toml"), text).unwrap();
        let check = |record: bool| checked(Some(folder.path()), record).map_err(|error| error.to_string());
        write(VIEW);
        let first = check(false).unwrap();
        assert_eq!((first.own, first.compared), (2, false));
        assert!(text(&first).contains("2 of them from its files; no versions.lock"), "{}", text(&first));
        assert!(check(true).unwrap().recorded);
        assert!(check(false).unwrap().compared);
        let changed = VIEW.replace("windows", "filter = \"status = 'paid'\"\nwindows");
        write(&changed);
        let error = check(true).unwrap_err();
        assert!(error.contains("versions.lock") && error.contains("give it version 2"), "{error}");
        write(&changed.replace("version = 1", "version = 2"));
        assert!(check(true).unwrap().compared);
        write(&VIEW.replace("'count'", "'cuont'"));
        let error = check(false).unwrap_err();
        assert!(error.contains("mine.toml") && error.contains("did you mean count?"), "{error}");
    }

    /// The files of the documentation: each follows a line that ends with its path.
    fn documented() -> Vec<(String, String)> {
        let parts: Vec<&str> = include_str!("../../../../docs/features.md").split("```").collect();
        let file = |pair: &[&str]| {
            let path = pair[0].trim_end().strip_suffix('`')?.rsplit_once("`my-features/")?.1;
            Some((path.to_owned(), pair[1].strip_prefix("toml\n")?.to_owned()))
        };
        parts.windows(2).filter_map(file).collect()
    }

    #[test]
    fn the_definitions_of_the_documentation_are_sound_and_stream() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("sources")).unwrap();
        let files = documented();
        assert_eq!(files.len(), 3, "{files:?}");
        for (path, text) in files {
            std::fs::write(folder.path().join(path), text).unwrap();
        }
        let found = checked(Some(folder.path()), false).unwrap();
        assert_eq!(found.own, 6);
        let definitions = Definitions::load(Some(folder.path())).unwrap();
        let references = crate::features::references(&crate::config::Config::builtin().unwrap()).unwrap();
        let streamed = affluent_feature_store::stream::Streamed::new(&definitions, references).unwrap();
        for name in
            ["customer_declined_velocity", "customer_logins_failed_1d", "customer_login_device_is_new"]
        {
            assert!(streamed.definitions.feature(name).is_some(), "{name}");
        }
    }

    #[test]
    fn without_a_directory_the_shipped_ones_are_checked() {
        let shipped = checked(None, false).unwrap();
        assert_eq!(shipped.own, 0);
        assert!(text(&shipped).starts_with("ok: the shipped definitions: "), "{}", text(&shipped));
        checked(None, true).unwrap_err();
    }
}
