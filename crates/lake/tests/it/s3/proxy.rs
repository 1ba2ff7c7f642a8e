//! Stands before the object store and does what a network and a busy or a strict server do. Requests reach the server as they were signed.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How much later the server gets what is [`Fault::Late`].
const LATE: Duration = Duration::from_millis(300);

/// What becomes of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The server never gets it; the connection is cut.
    RequestLost,
    /// The server does it; the connection is cut before the answer.
    AnswerLost,
    /// The answer is cut off in its middle.
    AnswerTorn,
    /// The server has no time for it.
    Unavailable,
    /// The server does it, and something between says 503.
    DoneButUnavailable,
    /// The server gets it only after the client was told 504.
    Late,
    /// The server refuses it, with this code.
    Refused(&'static str),
}

/// Requests that go wrong: those whose method and path hold all of these texts.
#[derive(Debug)]
struct Plan {
    texts: &'static [&'static str],
    fault: Fault,
    left: usize,
}

#[derive(Debug, Default)]
struct State {
    plan: Option<Plan>,
    /// Method and path of every request.
    seen: Vec<String>,
}

/// A proxy on a port of its own, as long as the runtime lives.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    pub(crate) url: String,
    server: SocketAddr,
    state: Arc<Mutex<State>>,
}

/// A request as it came, but for the end of its connection.
struct Request {
    /// Method and path.
    line: String,
    bytes: Vec<u8>,
}

impl Proxy {
    pub(crate) async fn start(server: &str) -> Self {
        let server = server.strip_prefix("http://").unwrap().parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let proxy = Proxy { url, server, state: Arc::default() };
        let serving = proxy.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let proxy = serving.clone();
                tokio::spawn(async move { proxy.serve(client).await });
            }
        });
        proxy
    }

    /// The next `times` requests of this kind go wrong like this.
    pub(crate) fn plan(&self, times: usize, fault: Fault, texts: &'static [&'static str]) {
        self.state.lock().unwrap().plan = Some(Plan { texts, fault, left: times });
    }

    /// Nothing goes wrong any more; how many of the planned faults have happened not.
    pub(crate) fn clear(&self) -> usize {
        self.state.lock().unwrap().plan.take().map_or(0, |plan| plan.left)
    }

    /// Requests of this kind so far.
    pub(crate) fn count(&self, texts: &[&str]) -> usize {
        let state = self.state.lock().unwrap();
        state.seen.iter().filter(|line| texts.iter().all(|text| line.contains(text))).count()
    }

    fn fault(&self, request: &Request) -> Option<Fault> {
        let mut state = self.state.lock().unwrap();
        state.seen.push(request.line.clone());
        let plan = state.plan.as_mut()?;
        let is_meant = plan.left > 0 && plan.texts.iter().all(|text| request.line.contains(text));
        plan.left -= usize::from(is_meant);
        is_meant.then_some(plan.fault)
    }

    async fn serve(&self, mut client: TcpStream) {
        let Some(request) = read(&mut client).await else { return };
        let answer = match self.fault(&request) {
            None => forward(self.server, &request).await,
            Some(Fault::RequestLost) => return,
            Some(Fault::AnswerLost) => {
                forward(self.server, &request).await;
                return;
            }
            Some(Fault::AnswerTorn) => {
                let mut answer = forward(self.server, &request).await;
                answer.truncate(answer.len() - 1);
                answer
            }
            Some(Fault::Unavailable) => refusal(503, "SlowDown"),
            Some(Fault::DoneButUnavailable) => {
                forward(self.server, &request).await;
                refusal(503, "ServiceUnavailable")
            }
            Some(Fault::Late) => {
                let server = self.server;
                tokio::spawn(async move {
                    tokio::time::sleep(LATE).await;
                    forward(server, &request).await;
                });
                refusal(504, "GatewayTimeout")
            }
            Some(Fault::Refused(code)) => refusal(403, code),
        };
        let _ = client.write_all(&answer).await;
        let _ = client.shutdown().await;
    }
}

fn refusal(status: u16, code: &str) -> Vec<u8> {
    let body =
        format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>So it is.</Message></Error>");
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/xml\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    (head + &body).into_bytes()
}

async fn forward(server: SocketAddr, request: &Request) -> Vec<u8> {
    let mut server = TcpStream::connect(server).await.unwrap();
    server.write_all(&request.bytes).await.unwrap();
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await.unwrap();
    answer
}

/// One request of HTTP/1.1 with a length, as the lake sends them.
async fn read(client: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if client.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let header = |line: &str, name: &str| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    };
    let length = head.lines().find_map(|line| header(line, "content-length"));
    let length: usize = length.map_or(0, |text| text.parse().unwrap());
    while bytes.len() < end + length {
        if client.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
    let mut lines = head.trim_end().lines();
    let first = lines.next()?;
    let line = first.strip_suffix(" HTTP/1.1").unwrap().to_owned();
    let mut whole = format!("{first}\r\n");
    for line in lines.filter(|line| header(line, "connection").is_none()) {
        whole += &format!("{line}\r\n");
    }
    whole += "connection: close\r\n\r\n";
    let mut whole = whole.into_bytes();
    whole.extend(&bytes[end..end + length]);
    Some(Request { line, bytes: whole })
}
