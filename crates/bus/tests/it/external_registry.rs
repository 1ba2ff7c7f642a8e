//! A registry of somebody else's: behind TLS with a certificate of its own, and a password.

use crate::{Registry, bus_at};
use affluent_bus::registry::{RegistryClient, RegistryError, RegistryOptions};
use affluent_testkit::broker::Broker;
use std::path::Path;
use std::process::{Command, Stdio};
use tokio::io::{AsyncBufReadExt as _, BufReader};

const SCHEMA: &str = r#"{"type":"record","name":"R","fields":[]}"#;

/// Forwards to the registry named first what comes over TLS with the right password, as the proxies
/// before registries do. Prints its port.
const PROXY: &str = r#"
import base64, http.server, ssl, sys, urllib.error, urllib.request
target, expected = sys.argv[1], "Basic " + base64.b64encode(b"writer:s3cret-word").decode()
class Proxy(http.server.BaseHTTPRequestHandler):
    def forward(self):
        if self.headers.get("Authorization") != expected:
            return self.answer(401, b'{"error_code":401,"message":"Unauthorized"}')
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or None
        request = urllib.request.Request(target + self.path, body, method=self.command)
        request.add_header("Content-Type", self.headers.get("Content-Type") or "application/json")
        try:
            with urllib.request.urlopen(request) as response:
                self.answer(response.status, response.read())
        except urllib.error.HTTPError as error:
            self.answer(error.code, error.read())
    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_GET = do_POST = do_PUT = forward
    def log_message(self, *args):
        pass
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("server.pem", "server.key")
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
"#;

fn openssl(directory: &Path, arguments: &str) {
    let output = Command::new("openssl").args(arguments.split(' ')).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The certificate of an authority (`ca.pem`) and one by it for `localhost` (`server.pem`).
fn certificates(directory: &Path) {
    openssl(
        directory,
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.pem",
    );
    openssl(directory, "req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server.key -out server.csr");
    std::fs::write(directory.join("san"), "subjectAltName=DNS:localhost").unwrap();
    openssl(
        directory,
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile san -out server.pem",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_behind_tls_and_a_password_is_used_and_nothing_less_is_enough() {
    let broker = Broker::start().unwrap();
    let registry = Registry::start(&bus_at(broker.bootstrap_servers())).await;
    let directory = tempfile::tempdir().unwrap();
    certificates(directory.path());
    let python = std::env::var("AFFLUENT_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let mut proxy = tokio::process::Command::new(&python)
        .args(["-c", PROXY, &registry.url()])
        .current_dir(directory.path())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut port = String::new();
    BufReader::new(proxy.stdout.take().unwrap()).read_line(&mut port).await.unwrap();
    let good = RegistryOptions {
        url: Some(format!("https://localhost:{}", port.trim())),
        user: Some("writer".to_owned()),
        password: Some("s3cret-word".to_owned()),
        ca_file: Some(directory.path().join("ca.pem")),
    };
    let client = RegistryClient::new(good.clone()).unwrap();
    assert_eq!(client.register("outside", SCHEMA).await.unwrap(), 1);
    assert_eq!(*client.schema(1).await.unwrap(), *SCHEMA);
    assert_eq!(registry.client().subjects().await.unwrap(), ["outside"]);

    for password in [Some("wrong".to_owned()), None] {
        let options = RegistryOptions { password, ..good.clone() };
        let refused = RegistryClient::new(options).unwrap().subjects().await.unwrap_err();
        assert!(matches!(refused, RegistryError::Refused { status: 401, .. }), "{refused}");
        assert!(!refused.to_string().contains("wrong"), "{refused}");
    }
    let stranger = RegistryOptions { ca_file: None, ..good.clone() };
    let refused = RegistryClient::new(stranger).unwrap().subjects().await.unwrap_err();
    assert!(matches!(refused, RegistryError::Unreachable(_)), "a certificate of nobody known: {refused}");
    let absent = RegistryOptions { ca_file: Some(directory.path().join("absent.pem")), ..good };
    let refused = RegistryClient::new(absent).unwrap_err();
    assert!(refused.to_string().contains("absent.pem"), "{refused}");
    registry.stop().await;
}
