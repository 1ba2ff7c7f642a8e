//! Stands before the real catalog and loses what a network loses: requests, answers, both in doubt.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What becomes of one commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing goes wrong.
    None,
    /// The server never gets it; the connection is cut.
    RequestLost,
    /// The server does it; the connection is cut before the answer.
    AnswerLost,
    /// The server does it, and something between says 503.
    StoredButUnavailable,
    /// Something between says 502 at once.
    NotStoredAndUnavailable,
    /// The server gets it twice; the second answer is returned.
    Doubled,
    /// The server gets it only after the client was told 504, a little later.
    Late,
    /// The token counts no more.
    Unauthorized,
    /// Too many requests.
    Busy,
}

#[derive(Debug, Default)]
struct State {
    faults: VecDeque<Fault>,
    /// Tokens that came with commits.
    tokens: Vec<String>,
    commits: usize,
}

/// A proxy on a port of its own, as long as the runtime lives.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
}

struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    /// A commit is a POST to a table.
    fn is_commit(&self) -> bool {
        self.method == "POST" && self.path.contains("/tables/")
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

impl Proxy {
    pub(crate) async fn start(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let proxy = Proxy { url, state: Arc::default() };
        let (serving, server) = (proxy.clone(), server.to_owned());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (proxy, server) = (serving.clone(), server.clone());
                tokio::spawn(async move { proxy.serve(client, &server).await });
            }
        });
        proxy
    }

    /// The next commits go wrong like this, one each.
    pub(crate) fn plan(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state.lock().unwrap().faults.extend(faults);
    }

    /// Whether every planned fault has happened.
    pub(crate) fn is_over(&self) -> bool {
        self.state.lock().unwrap().faults.is_empty()
    }

    pub(crate) fn commits(&self) -> usize {
        self.state.lock().unwrap().commits
    }

    pub(crate) fn tokens(&self) -> Vec<String> {
        self.state.lock().unwrap().tokens.clone()
    }

    async fn serve(&self, mut client: TcpStream, server: &str) {
        let Some(request) = read(&mut client).await else { return };
        let mut fault = Fault::None;
        if request.is_commit() {
            let mut state = self.state.lock().unwrap();
            state.commits += 1;
            fault = state.faults.pop_front().unwrap_or(Fault::None);
            state.tokens.extend(request.header("authorization").map(str::to_owned));
        }
        let answer = match fault {
            Fault::None => forward(server, &request).await,
            Fault::RequestLost => return,
            Fault::AnswerLost => {
                forward(server, &request).await;
                return;
            }
            Fault::StoredButUnavailable => {
                forward(server, &request).await;
                (503, b"unavailable".to_vec())
            }
            Fault::NotStoredAndUnavailable => (502, b"bad gateway".to_vec()),
            Fault::Doubled => {
                forward(server, &request).await;
                forward(server, &request).await
            }
            Fault::Late => {
                let server = server.to_owned();
                tokio::spawn(async move {
                    tokio::time::sleep(std::time::Duration::from_millis(120)).await;
                    forward(&server, &request).await;
                });
                (504, b"gateway timeout".to_vec())
            }
            Fault::Unauthorized => (401, br#"{"error": {"message": "expired"}}"#.to_vec()),
            Fault::Busy => (429, Vec::new()),
        };
        let (status, body) = answer;
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        let _ = client.write_all(&[head.as_bytes(), &body].concat()).await;
        let _ = client.shutdown().await;
    }
}

async fn forward(server: &str, request: &Request) -> (u16, Vec<u8>) {
    let method = reqwest::Method::from_bytes(request.method.as_bytes()).unwrap();
    let mut forwarded = reqwest::Client::new().request(method, format!("{server}{}", request.path));
    for (name, value) in &request.headers {
        if ["content-type", "authorization"].contains(&name.to_ascii_lowercase().as_str()) {
            forwarded = forwarded.header(name, value);
        }
    }
    let answer = forwarded.body(request.body.clone()).send().await.unwrap();
    (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
}

/// One request of HTTP/1.1 with a length, as our client sends them.
async fn read(client: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if client.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap();
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let mut request = Request { method, path, headers, body: bytes[head_end..].to_vec() };
    let length: usize = request.header("content-length").map_or(0, |text| text.parse().unwrap());
    while request.body.len() < length {
        if client.read_buf(&mut request.body).await.ok()? == 0 {
            return None;
        }
    }
    Some(request)
}
