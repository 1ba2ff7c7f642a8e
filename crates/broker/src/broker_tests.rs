//! Every spoken request in every version gets an answer over a real connection.

use crate::wire::{SPOKEN, sample};
use crate::{Broker, BrokerOptions};
use kafka_protocol::messages::ApiKey;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

async fn ask(stream: &mut TcpStream, key: ApiKey, version: i16) -> std::io::Result<Vec<u8>> {
    let mut content = (key as i16).to_be_bytes().to_vec();
    content.extend(version.to_be_bytes());
    content.extend([0, 0, 0, 42]);
    if key.request_header_version(version) >= 1 {
        content.extend([0xff, 0xff]);
    }
    if key.request_header_version(version) >= 2 {
        content.push(0);
    }
    let mut body = sample(key, version);
    if key == ApiKey::Produce {
        // acks=1 behind the transactional id "t": acks=0 would have no answer.
        body[if version >= 9 { 3 } else { 4 }] = 1;
    }
    content.extend(body);
    stream.write_i32(content.len() as i32).await?;
    stream.write_all(&content).await?;
    let length = stream.read_i32().await?;
    let mut answer = vec![0; length as usize];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

#[tokio::test]
async fn every_version_of_every_request_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(BrokerOptions {
        listen: ([127, 0, 0, 1], 0).into(),
        data_dir: dir.path().to_owned(),
        ..BrokerOptions::default()
    })
    .unwrap();
    let address = broker.local_addr();
    let stop = CancellationToken::new();
    let running = tokio::spawn(broker.run(stop.clone()));
    for api in SPOKEN {
        for version in api.from..=api.to {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let asked = tokio::time::timeout(Duration::from_secs(10), ask(&mut stream, api.key, version));
            let answer = asked.await.unwrap_or_else(|_| panic!("{:?} {version}: no answer", api.key));
            let answer = answer.unwrap_or_else(|error| panic!("{:?} {version}: {error}", api.key));
            assert_eq!(answer[..4], [0, 0, 0, 42], "{:?} {version}", api.key);
        }
    }
    stop.cancel();
    running.await.unwrap().unwrap();
}
