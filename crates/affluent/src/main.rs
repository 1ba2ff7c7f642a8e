//! The binary: reads the command line and hands over to the command. Nothing else lives here.

mod bench;
mod cli;
mod config;
mod http;
mod output;

use clap::Parser;
use cli::{Cli, Command};
use std::process::ExitCode;

fn main() -> ExitCode {
    affluent_telemetry::arm_failpoints();
    let cli = Cli::parse();
    let format = cli.format;
    match run(cli) {
        Ok(exit) => exit.into(),
        Err(error) => output::fail(&error, format),
    }
}

/// What can fail without waiting fails here, before the runtime starts.
fn run(cli: Cli) -> anyhow::Result<output::Exit> {
    let file = cli.config.as_deref();
    match cli.command {
        Command::Config(args) => config::run(&args, file, cli.format),
        Command::Bench(args) => runtime()?.block_on(bench::run(args, cli.format)),
    }
}

/// One worker thread a core.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().thread_name("affluent");
    Ok(builder.build()?)
}
