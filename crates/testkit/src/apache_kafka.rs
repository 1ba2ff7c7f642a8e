//! An Apache Kafka of its own for a test (KRaft, one node), from the jars that `interop/kafka.sh jars` has fetched.
//! It can be killed and started again on its port, with its data.

use crate::free_ports;
use crate::java::{Java, Running};
use anyhow::Context as _;
use std::collections::BTreeMap;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const JARS: &str = "AFFLUENT_TEST_KAFKA_JARS";
const SECURITY: &str = "AFFLUENT_TEST_KAFKA_SECURITY";
const CLUSTER: &str = "AAAAAAAAAAAAAAAAAAAAAQ";
const USER: &str = "affluent";
const PASSWORD: &str = "affluent-secret";
const HEAP_MB: u32 = 512;
const START_LIMIT: Duration = Duration::from_secs(120);
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// How clients are let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// Everybody is.
    Plain,
    /// With SCRAM-SHA-512, over TLS with a certificate of an authority of its own.
    SaslTls,
}

/// A broker. Dropping it kills it and removes its data.
#[derive(Debug)]
pub struct ApacheKafka {
    java: Java,
    security: Security,
    port: u16,
    running: Mutex<Option<Running>>,
    /// Removed last.
    directory: tempfile::TempDir,
}

impl ApacheKafka {
    /// A broker of its own where `AFFLUENT_TEST_KAFKA_JARS` names the jars; with
    /// `AFFLUENT_TEST_KAFKA_SECURITY=sasl_tls` one that asks for a password and speaks TLS.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    pub fn asked_for() -> Option<Self> {
        let java = Java::named_by(JARS)?;
        let security = match std::env::var(SECURITY).as_deref() {
            Ok("sasl_tls") => Security::SaslTls,
            Ok("") | Err(_) => Security::Plain,
            Ok(other) => panic!("{SECURITY}={other}: sasl_tls is known"),
        };
        let started = ApacheKafka::start(java, security);
        Some(started.unwrap_or_else(|error| panic!("start Apache Kafka for the tests: {error:#}")))
    }

    /// Makes a broker and starts it; returns once it serves (some seconds).
    ///
    /// # Errors
    /// What keeps it from starting, with the end of its log.
    pub fn start(java: Java, security: Security) -> anyhow::Result<Self> {
        let directory = tempfile::Builder::new().prefix("affluent-kafka_").tempdir()?;
        let [port, controller] = free_ports();
        let kafka = ApacheKafka { java, security, port, running: Mutex::default(), directory };
        let mut settings = kafka.settings(controller);
        if security == Security::SaslTls {
            certificates(kafka.directory.path())?;
            settings += &kafka.secure_settings();
        }
        std::fs::write(kafka.file("server.properties"), settings)?;
        let mut format = kafka.java.program("kafka.tools.StorageTool", HEAP_MB);
        format.args(["format", "--cluster-id", CLUSTER, "--config"]).arg(kafka.file("server.properties"));
        if security == Security::SaslTls {
            format.args(["--add-scram", &format!("SCRAM-SHA-512=[name={USER},password={PASSWORD}]")]);
        }
        let formatted = format.output().context("format the storage by setpriv and java")?;
        anyhow::ensure!(
            formatted.status.success(),
            "format the storage: {}{}",
            String::from_utf8_lossy(&formatted.stdout),
            String::from_utf8_lossy(&formatted.stderr)
        );
        kafka.start_again()?;
        Ok(kafka)
    }

    /// `host:port` for clients.
    #[must_use]
    pub fn bootstrap_servers(&self) -> String {
        format!("{}:{}", self.host(), self.port)
    }

    /// What clients of librdkafka have to be told beside the address.
    #[must_use]
    pub fn client_properties(&self) -> BTreeMap<String, String> {
        match self.security {
            Security::Plain => BTreeMap::new(),
            Security::SaslTls => [
                ("security.protocol", "SASL_SSL".to_owned()),
                ("sasl.mechanisms", "SCRAM-SHA-512".to_owned()),
                ("sasl.username", USER.to_owned()),
                ("sasl.password", PASSWORD.to_owned()),
                ("ssl.ca.location", self.file("ca.pem").display().to_string()),
                // It listens on 127.0.0.1 alone, and `localhost` may be ::1 too.
                ("broker.address.family", "v4".to_owned()),
            ]
            .map(|(key, value)| (key.to_owned(), value))
            .into(),
        }
    }

    /// `kill -9`.
    pub fn kill(&self) {
        drop(self.locked().take());
    }

    /// Stops it in order; data and port stay.
    ///
    /// # Errors
    /// Where it does not stop.
    pub fn stop(&self) -> anyhow::Result<()> {
        let running = self.locked().take();
        running.map_or(Ok(()), |running| running.stop(STOP_LIMIT))
    }

    /// Starts it where it does not run, on the port it had; returns once it serves.
    ///
    /// # Errors
    /// What keeps it from starting, with the end of its log.
    pub fn start_again(&self) -> anyhow::Result<()> {
        let mut running = self.locked();
        if running.is_none() {
            let mut command = self.java.program("kafka.Kafka", HEAP_MB);
            command.arg(self.file("server.properties"));
            let mut started = Running::start(&mut command, &self.file("log"))?;
            // It opens its port when it is ready to serve.
            let port = self.port;
            let serves = || TcpStream::connect(("127.0.0.1", port)).is_ok();
            started.until("Apache Kafka starts", START_LIMIT, serves)?;
            *running = Some(started);
        }
        Ok(())
    }

    fn locked(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What a certificate can be for.
    fn host(&self) -> &'static str {
        match self.security {
            Security::Plain => "127.0.0.1",
            Security::SaslTls => "localhost",
        }
    }

    fn settings(&self, controller: u16) -> String {
        let protocol = match self.security {
            Security::Plain => "PLAINTEXT",
            Security::SaslTls => "SASL_SSL",
        };
        format!(
            "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=CLIENTS://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=CLIENTS://{address}
controller.listener.names=CONTROLLER
inter.broker.listener.name=CLIENTS
listener.security.protocol.map=CLIENTS:{protocol},CONTROLLER:PLAINTEXT
log.dirs={data}
num.partitions=4
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=100
",
            port = self.port,
            address = self.bootstrap_servers(),
            data = self.file("data").display(),
        )
    }

    fn secure_settings(&self) -> String {
        let login = "org.apache.kafka.common.security.scram.ScramLoginModule";
        format!(
            "sasl.enabled.mechanisms=SCRAM-SHA-512
sasl.mechanism.inter.broker.protocol=SCRAM-SHA-512
listener.name.clients.scram-sha-512.sasl.jaas.config={login} required username=\"{USER}\" password=\"{PASSWORD}\";
ssl.keystore.type=PEM
ssl.keystore.location={keys}
ssl.truststore.type=PEM
ssl.truststore.location={trusted}
",
            keys = self.file("server.pem").display(),
            trusted = self.file("ca.pem").display(),
        )
    }
}

/// An authority (`ca.pem`), and key and certificate by it for `localhost` in one file (`server.pem`).
fn certificates(directory: &Path) -> anyhow::Result<()> {
    let openssl = |arguments: &str| -> anyhow::Result<()> {
        let ran = Command::new("openssl").args(arguments.split(' ')).current_dir(directory).output();
        let ran = ran.context("run openssl")?;
        let said = String::from_utf8_lossy(&ran.stderr);
        anyhow::ensure!(ran.status.success(), "openssl {arguments}: {said}");
        Ok(())
    };
    openssl("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.pem")?;
    openssl("req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server.key -out server.csr")?;
    std::fs::write(directory.join("san"), "subjectAltName=DNS:localhost,IP:127.0.0.1")?;
    openssl(
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile san -out server.crt",
    )?;
    let key = std::fs::read_to_string(directory.join("server.key"))?;
    let certificate = std::fs::read_to_string(directory.join("server.crt"))?;
    std::fs::write(directory.join("server.pem"), key + &certificate)?;
    Ok(())
}
