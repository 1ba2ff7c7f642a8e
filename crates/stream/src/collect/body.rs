//! A request's body: read within time, decompressed within limits, counted against one budget.
//!
//! Decompression goes along with reading and stops at the limit, so that a small body which would
//! become a large one costs no more than the limit. Invariant: the bytes held by all requests together
//! never pass the budget.

use super::refusal::Refusal;
use affluent_telemetry::metrics_list;
use axum::body::{Body, BodyDataStream};
use axum::http::{HeaderMap, header};
use flate2::write::MultiGzDecoder;
use futures::StreamExt;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use zstd::stream::raw::{DParameter, Decoder as Zstd, InBuffer, Operation, OutBuffer};

/// Largest window of zstd: 8 MiB, which all levels up to 19 keep to.
const ZSTD_WINDOW_LOG: u32 = 23;
/// Output of one step of decompression.
const STEP_BYTES: usize = 64 << 10;

/// How much of a refused body is read, and for how long, so that its sender gets to the answer.
const DISCARD_BYTES: usize = 16 << 20;
const DISCARD_LIMIT: Duration = Duration::from_secs(2);

/// Bytes that all requests may hold together.
#[derive(Debug)]
pub(crate) struct Budget {
    held: AtomicUsize,
    max: usize,
}

impl Budget {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Budget { held: AtomicUsize::new(0), max })
    }

    fn hold(&self, bytes: usize) -> Result<(), Refusal> {
        let more = |held: usize| held.checked_add(bytes).filter(|&held| held <= self.max);
        let held = self
            .held
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, more)
            .map_err(|_| Refusal::Overload)?;
        metrics_list::collect_inflight_bytes(held + bytes);
        Ok(())
    }

    #[cfg(test)]
    fn held(&self) -> usize {
        self.held.load(Ordering::Acquire)
    }
}

/// Bounds of one body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimits {
    pub(crate) body_bytes_max: usize,
    pub(crate) decoded_bytes_max: usize,
    pub(crate) timeout: Duration,
}

/// A decompressed body; its share of the budget goes with it.
#[derive(Debug)]
pub(crate) struct Decoded {
    bytes: Vec<u8>,
    max: usize,
    held: usize,
    budget: Arc<Budget>,
    /// Why no more was taken; beside the plain error of the decompressor.
    refusal: Option<Refusal>,
}

impl Decoded {
    fn new(max: usize, budget: Arc<Budget>) -> Self {
        Decoded { bytes: Vec::new(), max, held: 0, budget, refusal: None }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn push(&mut self, chunk: &[u8]) -> Result<(), Refusal> {
        let length = self.bytes.len() + chunk.len();
        if length > self.max {
            return Err(Refusal::DecodedTooLarge(self.max));
        }
        if length > self.held {
            // As vectors grow, so that what is held is what is allocated.
            let capacity = length.max(self.held * 2).min(self.max);
            self.budget.hold(capacity - self.held)?;
            self.held = capacity;
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        self.bytes.extend_from_slice(chunk);
        Ok(())
    }
}

impl Write for Decoded {
    fn write(&mut self, chunk: &[u8]) -> io::Result<usize> {
        self.push(chunk).map_err(|refusal| {
            self.refusal = Some(refusal);
            io::Error::other("limit")
        })?;
        Ok(chunk.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Decoded {
    fn drop(&mut self) {
        let held = self.budget.held.fetch_sub(self.held, Ordering::AcqRel);
        metrics_list::collect_inflight_bytes(held - self.held);
    }
}

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

impl Encoding {
    /// # Errors
    /// [`Refusal::UnsupportedEncoding`].
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let mut names = headers.get_all(header::CONTENT_ENCODING).iter();
        let (first, second) = (names.next(), names.next());
        let name = first.map_or(Some(""), |value| value.to_str().ok());
        match (name.map(|name| name.trim().to_ascii_lowercase()).as_deref(), second) {
            (Some("" | "identity"), None) => Ok(Encoding::Identity),
            (Some("gzip" | "x-gzip"), None) => Ok(Encoding::Gzip),
            (Some("zstd"), None) => Ok(Encoding::Zstd),
            _ => Err(Refusal::UnsupportedEncoding),
        }
    }
}

/// Reads and decompresses a body.
///
/// # Errors
/// The limits, the budget, the time, or what is wrong with the body.
pub(crate) async fn read(
    headers: &HeaderMap,
    body: Body,
    limits: BodyLimits,
    budget: &Arc<Budget>,
) -> Result<Decoded, Refusal> {
    let mut chunks = body.into_data_stream();
    let reading = fill(headers, &mut chunks, limits, budget);
    match tokio::time::timeout(limits.timeout, reading).await {
        Ok(Err(refusal)) => {
            discard(&mut chunks).await;
            Err(refusal)
        }
        Ok(read) => read,
        Err(_) => Err(Refusal::Slow),
    }
}

async fn fill(
    headers: &HeaderMap,
    chunks: &mut BodyDataStream,
    limits: BodyLimits,
    budget: &Arc<Budget>,
) -> Result<Decoded, Refusal> {
    let encoding = Encoding::of(headers)?;
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: usize| length > limits.body_bytes_max) {
        return Err(Refusal::BodyTooLarge(limits.body_bytes_max));
    }
    let mut decoder = Decoder::new(encoding, Decoded::new(limits.decoded_bytes_max, Arc::clone(budget)))?;
    let mut length = 0;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Refusal::CutOff)?;
        length += chunk.len();
        if length > limits.body_bytes_max {
            return Err(Refusal::BodyTooLarge(limits.body_bytes_max));
        }
        decoder.push(&chunk)?;
    }
    decoder.finish()
}

/// Reads on without keeping anything: a client that still writes when the connection is closed never
/// sees the answer. Bounded, for nobody is owed more than that.
pub(crate) async fn discard(chunks: &mut BodyDataStream) {
    let reading = async {
        let mut length = 0;
        while let Some(Ok(chunk)) = chunks.next().await {
            length += chunk.len();
            if length > DISCARD_BYTES {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(DISCARD_LIMIT, reading).await;
}

/// Takes a body chunk by chunk.
#[expect(clippy::large_enum_variant, reason = "one a request, never moved; a box would cost more")]
enum Decoder {
    Identity(Decoded),
    Gzip { decoder: MultiGzDecoder<Decoded>, any: bool },
    Zstd { decoder: Zstd<'static>, decoded: Decoded, step: Vec<u8>, complete: bool },
}

impl Decoder {
    fn new(encoding: Encoding, decoded: Decoded) -> Result<Self, Refusal> {
        Ok(match encoding {
            Encoding::Identity => Decoder::Identity(decoded),
            Encoding::Gzip => Decoder::Gzip { decoder: MultiGzDecoder::new(decoded), any: false },
            Encoding::Zstd => {
                let mut decoder = Zstd::new().map_err(|_| Refusal::Overload)?;
                decoder
                    .set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG))
                    .map_err(|_| Refusal::UnsupportedEncoding)?;
                Decoder::Zstd { decoder, decoded, step: vec![0; STEP_BYTES], complete: true }
            }
        })
    }

    fn push(&mut self, chunk: &[u8]) -> Result<(), Refusal> {
        match self {
            Decoder::Identity(decoded) => decoded.push(chunk),
            Decoder::Gzip { decoder, any } => {
                *any |= !chunk.is_empty();
                let written = decoder.write_all(chunk);
                written.map_err(|_| decoder.get_mut().refusal.take().unwrap_or(Refusal::BrokenEncoding))
            }
            Decoder::Zstd { decoder, decoded, step, complete } => {
                let mut input = InBuffer::around(chunk);
                while input.pos() < chunk.len() || !*complete {
                    let before = input.pos();
                    let mut output = OutBuffer::around(step.as_mut_slice());
                    let hint = decoder.run(&mut input, &mut output).map_err(|_| Refusal::BrokenEncoding)?;
                    let produced = output.pos();
                    decoded.push(&step[..produced])?;
                    *complete = hint == 0;
                    if input.pos() == before && produced == 0 {
                        break;
                    }
                }
                Ok(())
            }
        }
    }

    fn finish(self) -> Result<Decoded, Refusal> {
        match self {
            Decoder::Identity(decoded) => Ok(decoded),
            Decoder::Gzip { mut decoder, any } => {
                let ended = decoder.try_finish();
                if !any || ended.is_err() {
                    return Err(decoder.get_mut().refusal.take().unwrap_or(Refusal::BrokenEncoding));
                }
                decoder.finish().map_err(|_| Refusal::BrokenEncoding)
            }
            Decoder::Zstd { decoded, complete, .. } => {
                if complete {
                    Ok(decoded)
                } else {
                    Err(Refusal::BrokenEncoding)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    const LIMITS: BodyLimits =
        BodyLimits { body_bytes_max: 100_000, decoded_bytes_max: 1 << 20, timeout: Duration::from_secs(5) };

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    async fn read_as(encoding: &str, body: &[u8], budget: &Arc<Budget>) -> Result<Vec<u8>, Refusal> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_str(encoding).unwrap());
        let chunks: Vec<Result<Vec<u8>, io::Error>> = body.chunks(997).map(|c| Ok(c.to_vec())).collect();
        let body = Body::from_stream(futures::stream::iter(chunks));
        read(&headers, body, LIMITS, budget).await.map(|decoded| decoded.bytes().to_vec())
    }

    #[tokio::test]
    async fn bodies_are_decompressed_and_the_budget_returns() {
        let budget = Budget::new(2 << 20);
        let text: Vec<u8> = (0..200_000u32).map(|i| (i % 251) as u8).collect();
        let (gz, zs) = (gzip(&text), zstd::encode_all(&text[..], 3).unwrap());
        let twice = [gz.clone(), gz.clone()].concat();
        for (encoding, body, expected) in [
            ("identity", text[..90_000].to_vec(), text[..90_000].to_vec()),
            ("gzip", gz.clone(), text.clone()),
            ("GZIP", twice, text.repeat(2)),
            ("zstd", zs.clone(), text.clone()),
            ("zstd", [zs.clone(), zs.clone()].concat(), text.repeat(2)),
            ("zstd", Vec::new(), Vec::new()),
        ] {
            let decoded = read_as(encoding, &body, &budget).await.unwrap();
            assert!(decoded == expected, "{encoding}");
        }
        let bomb = vec![0; 64 << 20];
        for (encoding, body, expected) in [
            ("gzip", gzip(&bomb), Refusal::DecodedTooLarge(1 << 20)),
            ("zstd", zstd::encode_all(&bomb[..], 3).unwrap(), Refusal::DecodedTooLarge(1 << 20)),
            ("gzip", gz[..gz.len() - 3].to_vec(), Refusal::BrokenEncoding),
            ("zstd", zs[..zs.len() - 3].to_vec(), Refusal::BrokenEncoding),
            ("gzip", text[..500].to_vec(), Refusal::BrokenEncoding),
            ("zstd", text[..500].to_vec(), Refusal::BrokenEncoding),
            ("gzip", Vec::new(), Refusal::BrokenEncoding),
            ("br", Vec::new(), Refusal::UnsupportedEncoding),
            ("gzip, gzip", Vec::new(), Refusal::UnsupportedEncoding),
            ("identity", text.clone(), Refusal::BodyTooLarge(100_000)),
        ] {
            assert_eq!(read_as(encoding, &body, &budget).await.unwrap_err(), expected, "{encoding}");
        }
        assert_eq!(budget.held(), 0);
        let small = Budget::new(100_000);
        assert_eq!(read_as("gzip", &gz, &small).await, Err(Refusal::Overload));
        assert_eq!(small.held(), 0);
    }

    #[tokio::test]
    async fn a_slow_client_is_not_waited_for() {
        let budget = Budget::new(1 << 20);
        let first = futures::stream::iter([Ok::<_, io::Error>(vec![b'{'; 10])]);
        let body = Body::from_stream(first.chain(futures::stream::pending()));
        let limits = BodyLimits { timeout: Duration::from_millis(20), ..LIMITS };
        assert_eq!(read(&HeaderMap::new(), body, limits, &budget).await.unwrap_err(), Refusal::Slow);
        assert_eq!(budget.held(), 0);
    }
}
