//! Runs the broker alone, for trying it with any Kafka client:
//! `cargo run -p affluent-broker --example serve -- 127.0.0.1:9092 /tmp/broker [options as JSON]`.

use affluent_broker::{Broker, BrokerOptions};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let filter = tracing_subscriber::EnvFilter::from_default_env();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let mut args = std::env::args().skip(1);
    let (Some(listen), Some(data_dir)) = (args.next(), args.next()) else {
        return Err("usage: serve ADDRESS DATA_DIR [OPTIONS_JSON]".into());
    };
    let mut options: BrokerOptions = serde_json::from_str(args.next().as_deref().unwrap_or("{}"))?;
    options.listen = listen.parse()?;
    options.data_dir = data_dir.into();
    let broker = Broker::open(options)?;
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    tokio::spawn(async move {
        let _ = tokio::signal::ctrl_c().await;
        stopping.cancel();
    });
    broker.run(stop).await?;
    Ok(())
}
