//! The demo's models: a history of card payments is imported into an installation of its own beside the demo's, features are computed of it, models of
//! fraud, churn and customer value are trained, judged and promoted, and the fraud model is watched over a week like any other and one with other amounts.
//!
//! Each step is the command that anybody would call, run by this binary on a configuration of its own, so that what is measured is what users have, and the
//! tables that the demo compares row by row stay as they are.

use super::live::Live;
use affluent_testkit::card_history::{CardHistory, csv};
use anyhow::{Context as _, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// All steps together may take so long.
const ALL: Duration = Duration::from_secs(300);
const DAY_S: i64 = 86_400;
/// The last week of the history has other amounts.
const DAYS: u32 = 287;
const WEEK: u32 = 7;
const SHIFT: f64 = 3.0;
const MODELS: [&str; 3] = ["fraud", "churn", "score"];

/// Small models, so that the demo stays short; learned from rows before which the windows of features are full.
const SETTINGS: &str = "\
[log]
filter = 'warn'
[learning.rows]
fraud_label_delay_s = 604_800
every_s = 1_209_600
train_max_s = 7_776_000
[learning.drift]
rows_min = 200
";

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Learned {
    /// How much more the average precision of the fraud model is than that of the logistic regression, on rows that neither has learned from.
    pub(super) lift: Option<f64>,
    /// Whether the week with other amounts was an alarm, and the one like any other was none.
    pub(super) detected: bool,
    pub(super) seconds: f64,
    /// What became of each step.
    pub(super) notes: Vec<String>,
}

/// Plays all of it in `directory`; a step that fails, or the end of the time, ends it, and is told in the notes.
pub(super) async fn play(directory: &Path, seed: u64, live: &Live) -> Learned {
    let (mut learned, begun) = (Learned::default(), Instant::now());
    let ended = tokio::time::timeout(ALL, steps(directory, seed, live, &mut learned)).await;
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => learned.notes.push(format!("models: {error:#}")),
        Err(_) => learned.notes.push(format!("models: not done in {ALL:?}")),
    }
    learned.seconds = begun.elapsed().as_secs_f64();
    learned
}

async fn steps(directory: &Path, seed: u64, live: &Live, learned: &mut Learned) -> anyhow::Result<()> {
    let today = affluent_model::time::now_micros().div_euclid(1_000_000 * DAY_S);
    let begin_s = (today - i64::from(DAYS)) * DAY_S;
    let shifted_from = DAYS - WEEK;
    let history = CardHistory {
        customers: 320,
        terminals: 900,
        pace: 0.3,
        days: DAYS,
        begin_s,
        shifted_from,
        shift: SHIFT,
        seed,
    };
    let payments = history.payments();
    let shift_s = begin_s + i64::from(shifted_from) * DAY_S;
    let (usual, shifted) = payments.split_at(payments.partition_point(|payment| payment.at_s < shift_s));
    let beside = Beside::new(directory)?;

    live.say(&format!(
        "models: imports a history of {} card payments, and computes its warehouse",
        usual.len()
    ));
    beside.import(&csv(usual)).await?;
    live.say("models: computes features of the past");
    beside.call(&["features", "backfill", "customers", "--every", "30d"]).await?;
    for model in MODELS {
        live.say(&format!("models: trains {model}, judges and promotes it"));
        let trained = beside.call(&["train", model]).await?;
        if model == "fraud" {
            let precision = |value: &Value| value["average_precision"].as_f64();
            let (ours, base) = (precision(&trained.answer), precision(&trained.answer["baseline"]));
            learned.lift = ours.zip(base).map(|(ours, base)| ours - base);
        }
        learned.notes.push(beside.promote(model, &trained.answer).await?);
    }
    live.say("models: watches the fraud model over a week like any other, and over one with other amounts");
    let as_usual = beside.drift(shift_s).await?;
    beside.import(&csv(shifted)).await?;
    let other = beside.drift(begin_s + i64::from(DAYS) * DAY_S).await?;
    learned.detected = as_usual != "alarm" && other == "alarm";
    learned.notes.push(format!(
        "drift of fraud: {as_usual} in a usual week, {other} once amounts are {SHIFT} times as much"
    ));
    Ok(())
}

/// The installation beside the demo's.
struct Beside {
    binary: PathBuf,
    directory: PathBuf,
    config: PathBuf,
}

/// What a command said.
struct Said {
    code: Option<i32>,
    answer: Value,
}

impl Beside {
    fn new(directory: &Path) -> anyhow::Result<Self> {
        let directory = directory.join("learning");
        std::fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
        let mut settings = format!("data_dir = {:?}\n{SETTINGS}", directory.join("data"));
        for model in MODELS {
            // So few frauds take more trees to show than how many customers leave.
            let (budget, boosters) = if model == "fraud" { (0.9, 4) } else { (0.3, 2) };
            settings += &format!(
                "[learning.{model}]\nfolds = 2\ndraws = 100\n[learning.{model}.boost]\nbudget = {budget}\nmax_bin = 255\nboosters = {boosters}\n"
            );
        }
        let config = directory.join("affluent.toml");
        std::fs::write(&config, settings).with_context(|| format!("write {}", config.display()))?;
        Ok(Beside { binary: std::env::current_exe().context("find this binary")?, directory, config })
    }

    /// A file of payments into the lake, and on into the warehouse.
    async fn import(&self, text: &str) -> anyhow::Result<()> {
        let file = self.directory.join("payments.csv");
        std::fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
        self.call(&["import", "transactions", "--from", &file.display().to_string()]).await?;
        self.call(&["batch", "run", "raw-to-dwh"]).await?;
        Ok(())
    }

    /// Lets the version serve that was just trained; on so short a history it may fail a gate, which is told then.
    async fn promote(&self, model: &str, trained: &Value) -> anyhow::Result<String> {
        let version = trained["version"].as_u64().with_context(|| format!("train {model}: no version"))?;
        let gates = trained["gates"].as_array().into_iter().flatten();
        let failed: Vec<&str> =
            gates.filter(|gate| gate["passed"] == false).filter_map(|gate| gate["name"].as_str()).collect();
        let number = version.to_string();
        let mut arguments = vec!["models", "promote", model, &number];
        if !failed.is_empty() {
            arguments.push("--force");
        }
        let said = self.call(&arguments).await?;
        if said.code != Some(0) {
            bail!("promote {model} version {version}: it ended with {:?}", said.code);
        }
        Ok(match failed.as_slice() {
            [] => format!("{model} version {version} passed every gate and serves"),
            failed => format!("{model} version {version} failed {}, and serves by force", failed.join(", ")),
        })
    }

    /// How the fraud model stands in the week that ends then.
    async fn drift(&self, until_s: i64) -> anyhow::Result<String> {
        let until = affluent_model::time::format_micros(until_s * 1_000_000, true);
        let said = self.call(&["models", "drift", "fraud", "--look", "--until", &until]).await?;
        let level = said.answer["found"]["level"].as_str().context("models drift: nothing was found")?;
        Ok(level.to_owned())
    }

    /// Calls this binary. Exit codes of a clear no (1, with an answer) and of nothing to do (99) are answers, too.
    async fn call(&self, arguments: &[&str]) -> anyhow::Result<Said> {
        let mut command = tokio::process::Command::new(&self.binary);
        for (name, _) in std::env::vars_os() {
            // Settings of the demo are not those of the installation beside it.
            if name.to_string_lossy().starts_with("AFFLUENT_") {
                command.env_remove(name);
            }
        }
        command.arg("--config").arg(&self.config).args(["--format", "json"]).args(arguments);
        command.current_dir(&self.directory).env_remove("FAILPOINTS").stdin(Stdio::null()).kill_on_drop(true);
        let shown = || format!("affluent {}", arguments.join(" "));
        let output = command.output().await.with_context(shown)?;
        let (code, answer) = (output.status.code(), serde_json::from_slice(&output.stdout).ok());
        match (code, answer) {
            (Some(0 | 1 | 99), Some(answer)) => Ok(Said { code, answer }),
            (Some(0 | 99), None) => Ok(Said { code, answer: Value::Null }),
            (code, _) => {
                let error = String::from_utf8_lossy(&output.stderr);
                bail!("{}: ended with {code:?}: {}", shown(), error.trim())
            }
        }
    }
}
