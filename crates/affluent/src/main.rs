//! The binary: reads the command line and hands over to the command. Nothing else lives here.

mod alerts;
mod batch;
mod bench;
mod card_payments;
mod champion;
mod cli;
mod config;
mod dead_letters;
mod demo;
mod erase;
mod features;
mod http;
mod import;
mod metrics;
mod models;
mod observe;
mod output;
mod platform;
mod promises;
mod publication;
mod roles;
mod scoring;
mod sql;
mod status;
mod train;
mod verify;
mod whole_file;

use clap::Parser;
use cli::{Cli, Command, Format, Output};
use config::Config;
use output::Exit;
use std::path::Path;
use std::process::ExitCode;

/// The roles allocate on one thread and free on another, which the system's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    affluent_telemetry::arm_failpoints();
    let cli = Cli::parse();
    let format = match cli.format {
        Output::Text | Output::Csv => Format::Text,
        Output::Json => Format::Json,
    };
    match run(cli, format) {
        Ok(exit) => exit.into(),
        Err(error) => output::fail(&error, format),
    }
}

/// What can fail without waiting fails in here before the runtime starts.
fn run(cli: Cli, format: Format) -> anyhow::Result<Exit> {
    let file = cli.config.as_deref();
    if cli.format == Output::Csv && !matches!(cli.command, Command::Sql(_)) {
        return Err(output::usage("csv is a form of `affluent sql` only: use text or json".to_owned()));
    }
    match cli.command {
        Command::Up(args) => roles::up(&args, configured(file)?),
        Command::Run(args) => roles::run(&args, configured(file)?),
        Command::Status(args) => runtime()?.block_on(status::run(args, &configured(file)?, format)),
        Command::Demo(args) => demo::run(&args, file, format),
        Command::Verify(args) => runtime()?.block_on(verify::run(args, configured(file)?, format)),
        Command::Config(args) => config::run(&args, file, format),
        Command::DeadLetters(args) => runtime()?.block_on(dead_letters::run(args, configured(file)?, format)),
        Command::Erase(args) => runtime()?.block_on(erase::run(args, configured(file)?, format)),
        Command::Sql(args) => runtime()?.block_on(sql::run(args, &configured(file)?, cli.format)),
        Command::Batch(args) => runtime()?.block_on(batch::run(args, &configured(file)?, format)),
        Command::Features(args) => runtime()?.block_on(features::run(args, &configured(file)?, format)),
        Command::Import(args) => runtime()?.block_on(import::run(args, &configured(file)?, format)),
        Command::Train(args) => runtime()?.block_on(train::run(args, configured(file)?, format)),
        Command::Models(args) => runtime()?.block_on(models::run(args, &configured(file)?, format)),
        Command::Metrics(args) => metrics::run(&args, format),
        Command::Bench(args) => runtime()?.block_on(bench::run(args, format)),
    }
}

/// The configuration in force; logging starts as it says.
fn configured(file: Option<&Path>) -> anyhow::Result<Config> {
    let config = Config::load(file)?;
    affluent_telemetry::logs::init(&config.log.filter, config.log.format, config.telemetry.own_logs);
    Ok(config)
}

/// One worker thread a core.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().thread_name("affluent");
    Ok(builder.build()?)
}
