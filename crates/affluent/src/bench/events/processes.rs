//! The same way with each role in a process of its own, so that the kernel counts what each costs.

use super::{POLL, Stream, generated, until};
use crate::bench::process::{Usage, free_port, usage};
use crate::bench::{Context, Report};
use crate::config::Config;
use crate::platform::Platform;
use crate::verify::events;
use anyhow::{Context as _, bail};
use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};

/// The roles on the way of an event, by process; the collector brings the HTTP interface along.
pub(super) const PROCESSES: &[&[&str]] =
    &[&["broker", "registry"], &["collect"], &["sink-events", "api"], &["sink-lake"], &["stage"]];
const COLLECTOR: usize = 1;
/// The process whose metrics tell what the document store has.
const DOCUMENTS: usize = 2;
/// Processes have this long to start.
const START: Duration = Duration::from_secs(30);

/// Everything but the generator, each in its process; killed when dropped.
struct Processes {
    children: Vec<Child>,
    http: Vec<u16>,
    client: reqwest::Client,
}

/// Sends the stream through processes of one role each.
///
/// # Errors
/// Where one does not start, or events do not arrive.
pub(super) async fn run(context: &Context, stream: &Stream) -> anyhow::Result<Report> {
    let directory = tempfile::tempdir().context("temporary directory")?;
    let [broker, registry] = [free_port()?, free_port()?];
    let settings = format!(
        "data_dir = {:?}\n[broker]\nlisten = \"127.0.0.1:{broker}\"\n[registry_server]\nlisten = \
         \"127.0.0.1:{registry}\"\n",
        directory.path().join("data")
    );
    let file = directory.path().join("affluent.toml");
    fs::write(&file, &settings).context("write the configuration")?;
    let processes = Processes::start(&file)?;
    processes.ready().await?;
    let http = format!("{settings}[http]\nlisten = \"127.0.0.1:{}\"\n", processes.http[COLLECTOR]);
    let config = Config::load_with(Some(Path::new("/dev/null")), &http, "the benchmark")?;
    let platform = Arc::new(Platform::new(config)?);

    let before = processes.usage()?;
    let total = stream.total(context);
    let begun = Instant::now();
    generated(&platform, stream, total).await?;
    let sent = begun.elapsed().as_secs_f64();
    let collection = stream.kind.collection();
    until(|| processes.in_documents(stream.name), total).await?;
    let in_documents = begun.elapsed().as_secs_f64();
    let lake = platform.lake().await?;
    let in_lake_rows = until(|| events::rows_in_lake(&lake, collection), total).await?;
    let after = processes.usage()?;
    drop(processes);
    let stored = platform.documents().await?.count(collection).await?;
    let distinct = events::in_lake(&lake, collection).await?.into_iter().collect::<HashSet<_>>().len() as u64;

    let mut report = Report::new(stream.name);
    let rate = total as f64 / in_documents;
    report.at_least(&format!("{}.rate", stream.name), stream.rate as f64 * 0.98, rate, "events/s");
    report.loss(
        stream.name,
        total,
        stored.min(distinct),
        stored.saturating_sub(total) + in_lake_rows.saturating_sub(distinct),
    );
    report.note(format!("{total} events: all acknowledged after {sent:.1} s ({:.0}/s)", total as f64 / sent));
    for ((roles, before), after) in PROCESSES.iter().zip(&before).zip(&after) {
        let seconds = after.processor_seconds - before.processor_seconds;
        report.note(format!(
            "process {}: {seconds:.1} s of processor time, {:.1} µs an event; {:.0} MB at the most",
            roles.join(" and "),
            seconds / total as f64 * 1e6,
            after.resident_max as f64 / 1e6
        ));
    }
    Ok(report)
}

impl Processes {
    fn start(config: &Path) -> anyhow::Result<Self> {
        let mut processes =
            Processes { children: Vec::new(), http: Vec::new(), client: reqwest::Client::new() };
        let program = std::env::current_exe().context("the program's own file")?;
        for roles in PROCESSES {
            let port = free_port()?;
            let child = Command::new(&program)
                .arg("--config")
                .arg(config)
                .arg("run")
                .args(*roles)
                .env("AFFLUENT__HTTP__LISTEN", format!("127.0.0.1:{port}"))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .kill_on_drop(true)
                .spawn()
                .with_context(|| format!("start {}", roles.join(" ")))?;
            processes.children.push(child);
            processes.http.push(port);
        }
        Ok(processes)
    }

    /// Waits until those that answer HTTP say that they are ready.
    async fn ready(&self) -> anyhow::Result<()> {
        let begun = Instant::now();
        for index in [COLLECTOR, DOCUMENTS] {
            let url = format!("http://127.0.0.1:{}/readyz", self.http[index]);
            while !self.client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
                if begun.elapsed() > START {
                    bail!("{} is not ready after {START:?}", PROCESSES[index].join(" "));
                }
                tokio::time::sleep(POLL).await;
            }
        }
        Ok(())
    }

    /// Documents inserted so far, by the metrics of the process that inserts them.
    async fn in_documents(&self, pipeline: &str) -> anyhow::Result<u64> {
        let url = format!("http://127.0.0.1:{}/metrics", self.http[DOCUMENTS]);
        let text = self.client.get(&url).send().await?.text().await?;
        let label = |key: &str, value: &str| format!("{key}=\"{value}\"");
        let wanted = [label("pipeline", pipeline), label("stage", "documents"), label("outcome", "ok")];
        let lines = text.lines().filter(|line| line.starts_with("affluent_records_total{"));
        let mut lines = lines.filter(|line| wanted.iter().all(|label| line.contains(label.as_str())));
        let count = lines.next().and_then(|line| line.rsplit(' ').next()).map_or("0", |count| count);
        count.parse().with_context(|| format!("count of documents {count:?}"))
    }

    fn usage(&self) -> anyhow::Result<Vec<Usage>> {
        let of = |child: &Child| usage(child.id().context("a process has ended")?);
        self.children.iter().map(of).collect()
    }
}
