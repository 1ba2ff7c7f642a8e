//! `affluent erase`: takes customers out of the document store, the lake and the warehouse, with an account of it, and searches where any
//! still are.
//!
//! The platform is stopped meanwhile, and the person is deleted at the source before. Then: documents go; tables of the lake are changed by copy on write
//! (`plan`); the warehouse is computed anew from them; the history of every table ends, so that older states are gone from the disk. Each step
//! finds what is left to do, so a command that was killed is repeated. Invariant: facts of money stay, to the last digit.

mod audit;
mod documents;
mod lake;
mod person;
mod plan;
mod search;

use crate::cli::Format;
use crate::config::Config;
use crate::output::{self, Exit};
use crate::platform::Platform;
use crate::roles;
use affluent_documents::DocumentStore;
use affluent_lake::{Lake, LakeFormat};
use anyhow::{Context as _, bail};
use audit::Erasure;
use lake::Meaning;
use person::Person;
use search::{Found, Wanted};
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Somebody who does not answer in this time does not run.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// What is told after each command: nobody looked there.
const NOT_SEARCHED: [&str; 6] = [
    "topics, and the letters among them: gone with their retention, or by compaction",
    "state of streamed features below [features.stream] directory: gone when its windows have passed",
    "samples of messages in logs_error_groups, and texts of log lines that name a person without a field for it",
    "models: they keep no rows, but thresholds come of them; training sets are searched, not changed",
    "a PostgreSQL that bi.publish copies to: replaced with the next version",
    "backups",
];

const EXAMPLES: &str = "\
Examples:
  affluent erase --customer 42 --asked-by 'request 2026-117'    the platform is stopped, the customer deleted at the source
  affluent erase --ids requests.txt --asked-by 'monthly run'    several, one a line
  affluent erase --check --customer 42                          where is anything of this customer?
  affluent erase --check --customer 42 --value ada@example.org  and of this text, wherever it stands

Exit codes: 0 done, or nothing found; 1 failed, or something is found.";

/// Options of `affluent erase`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Id of a customer; may be given several times
    #[arg(long = "customer", value_name = "ID")]
    customers: Vec<String>,
    /// File with more ids, one a line
    #[arg(long, value_name = "FILE")]
    ids: Option<PathBuf>,
    /// Who asked, or by which request: kept in ops.erasures
    #[arg(long, value_name = "TEXT")]
    asked_by: Option<String>,
    /// Change nothing: search every document and every data file
    #[arg(long)]
    check: bool,
    /// Search for this text, too; may be given several times
    #[arg(long = "value", value_name = "TEXT", requires = "check")]
    values: Vec<String>,
}

/// Rows or documents that were removed or changed in one store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Removed {
    store: String,
    rows: u64,
}

/// Where things are.
struct Stores {
    config: Config,
    documents: Arc<dyn DocumentStore>,
    lake: Lake,
    meaning: Meaning,
}

/// Runs `affluent erase`.
///
/// # Errors
/// A platform that runs, a customer who is still at the source, a store that cannot be opened.
pub(crate) async fn run(args: Args, mut config: Config, format: Format) -> anyhow::Result<Exit> {
    roles::provide_protect_key(&mut config)?;
    let Some(key) = config.cdc.protect_key.clone() else {
        return Err(output::usage(
            "cdc.protect_key is missing: the account of erasures needs a secret".to_owned(),
        ));
    };
    let persons = persons(&args, &key)?;
    let stores = Box::pin(open(config)).await?;
    if args.check {
        return check(&stores, &persons, &args.values, format).await;
    }
    let Some(asked_by) = args.asked_by.filter(|text| !text.trim().is_empty()) else {
        return Err(output::usage(
            "--asked-by is missing: who asked for it is kept in ops.erasures".to_owned(),
        ));
    };
    erase(&stores, &persons, &asked_by, format).await
}

fn persons(args: &Args, key: &str) -> anyhow::Result<Vec<Person>> {
    let mut ids = args.customers.clone();
    if let Some(file) = &args.ids {
        let text = std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        ids.extend(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned));
    }
    if ids.is_empty() {
        return Err(output::usage("whom? give --customer ID or --ids FILE".to_owned()));
    }
    ids.iter().map(|id| Person::new(id, key)).collect()
}

/// Opens the stores of an installation that does not run.
async fn open(config: Config) -> anyhow::Result<Stores> {
    if config.lake.format == LakeFormat::Json {
        return Err(output::usage("lake.format is json: erasure is of Iceberg tables".to_owned()));
    }
    if config.lake.is_remote() {
        // Else `--check` would say that nothing is left where it has not looked.
        return Err(output::usage(
            "lake.warehouse is in an object store: whether a person is gone can only be searched in files of this machine".to_owned(),
        ));
    }
    let client = config.http.client()?.timeout(PROBE_TIMEOUT).build()?;
    let url = config.http.url();
    if client.get(format!("{url}/healthz")).send().await.is_ok() {
        bail!("the platform runs at {url}: stop it, so that nothing is written that was just erased");
    }
    let meaning = Meaning::of(&config)?;
    let lake = Lake::open_existing(config.lake.clone()).await.context("open the lake")?;
    let platform = Platform::new(config.clone())?;
    let documents = platform.documents().await.context("stop the process that holds the document store")?;
    Ok(Stores { config, documents, lake, meaning })
}

async fn erase(stores: &Stores, persons: &[Person], asked_by: &str, format: Format) -> anyhow::Result<Exit> {
    let collections = collections(&stores.lake).await?;
    for person in persons {
        at_source(stores, &collections, person).await?;
    }
    let (mut erasures, mut all) = (Vec::new(), Vec::new());
    for person in persons {
        let erasure = Erasure::begin(&stores.lake, person, asked_by).await?;
        let payments = lake::payments(&stores.lake, person).await?;
        // First what names payments by the person's id, which is gone after the tables are changed; those are found by the surrogate, too.
        let documents = documents::erase(stores.documents.as_ref(), person, &payments).await?;
        erasure.removed(&stores.lake, &documents).await?;
        let tables = lake::edit(&stores.lake, &stores.meaning, person, &payments).await?;
        erasure.removed(&stores.lake, &tables).await?;
        erasures.push(erasure);
        all.extend(documents.into_iter().chain(tables));
    }
    Box::pin(lake::rebuild(&stores.config, &stores.lake)).await?;
    let (snapshots, files) = lake::forget(&stores.lake).await?;
    for erasure in &erasures {
        erasure.done(&stores.lake).await?;
    }
    match format {
        Format::Json => output::print_json(&json!({
            "persons": persons.len(), "removed": all, "snapshots_dropped": snapshots, "files_deleted": files,
            "not_searched": NOT_SEARCHED,
        }))?,
        Format::Text => {
            let rows = all.iter().map(|removed| vec![removed.store.clone(), removed.rows.to_string()]);
            let mut text = output::table(&["store", "rows"], rows);
            text += &format!("\n{snapshots} older states dropped, {files} files deleted\n{}", not_searched());
            output::print(&text);
        }
    }
    Ok(Exit::Done)
}

/// Mirrors are what the source has: a customer who is in one would come back.
async fn at_source(stores: &Stores, collections: &[String], person: &Person) -> anyhow::Result<()> {
    let none = BTreeSet::new();
    for mirror in collections.iter().filter(|collection| collection.starts_with("mirrors.")) {
        let mut count = 0;
        documents::each(stores.documents.as_ref(), mirror, |document| {
            count += u64::from(documents::is_about(mirror, document, person, &none));
        })
        .await?;
        if count > 0 {
            bail!(
                "{mirror} has {count} documents of customer {}: delete at the source first (docs/erasure.md), let it arrive, stop the platform and \
                 repeat the command",
                person.id
            );
        }
    }
    Ok(())
}

async fn check(
    stores: &Stores,
    persons: &[Person],
    values: &[String],
    format: Format,
) -> anyhow::Result<Exit> {
    let collections = collections(&stores.lake).await?;
    // Paths that are compared are of one form.
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let (data, warehouse) = (real(&stores.config.data_dir), real(&stores.config.lake.warehouse));
    let mut found: Vec<(String, Found)> = Vec::new();
    for person in persons {
        let payments = lake::payments(&stores.lake, person).await?;
        let wanted = Wanted { person, payments: &payments, values };
        let documents = search::in_documents(stores.documents.as_ref(), &collections, &wanted).await?;
        let roots = [data.clone(), warehouse.clone()];
        let files = search::in_files(&roots, &warehouse, &stores.meaning, &wanted)?;
        found.extend(documents.into_iter().chain(files).map(|found| (person.id.clone(), found)));
    }
    match format {
        Format::Json => {
            let rows: Vec<_> =
                found.iter().map(|(id, found)| json!({"customer": id, "found": found})).collect();
            output::print_json(&json!({"found": rows, "not_searched": NOT_SEARCHED}))?;
        }
        Format::Text => {
            let rows = found.iter().map(|(id, found)| {
                vec![id.clone(), found.store.clone(), found.rows.to_string(), found.files.to_string()]
            });
            let mut text = if found.is_empty() {
                "nothing found\n".to_owned()
            } else {
                output::table(&["customer", "store", "rows", "files"], rows)
            };
            text += &not_searched();
            output::print(&text);
        }
    }
    Ok(if found.is_empty() { Exit::Done } else { Exit::Failed })
}

fn not_searched() -> String {
    format!("\nnot looked into:\n{}", NOT_SEARCHED.map(|place| format!("- {place}\n")).concat())
}

/// Collections that may know a customer: mirrors are of the same tables as the raw zone.
async fn collections(lake: &Lake) -> anyhow::Result<Vec<String>> {
    let tables = lake.tables().await.context("list the tables of the lake")?;
    let raw = tables.into_iter().filter(|(zone, _)| zone == "raw").map(|(_, name)| name).collect();
    Ok(documents::collections(&raw))
}
