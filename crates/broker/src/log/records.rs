//! Looks inside a batch: needed only for compaction and for offsets by time, never on the hot path.
//!
//! Invariant: decompression never yields more than [`RECORDS_LIMIT_BYTES`], whatever a batch claims.

use super::batch::{BatchHeader, HEADER_BYTES};
use std::io::{self, Read};

/// Most bytes that one decompressed batch may have.
pub(super) const RECORDS_LIMIT_BYTES: u64 = 256 << 20;

/// One record of a decompressed batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record<'a> {
    /// With its length, as it stands in the batch.
    pub(super) raw: &'a [u8],
    pub(super) offset_delta: i64,
    pub(super) timestamp_delta: i64,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value_is_null: bool,
}

/// The records of a batch, decompressed.
pub(super) fn decompress(batch: &[u8], header: &BatchHeader) -> io::Result<Vec<u8>> {
    let body = batch.get(HEADER_BYTES..header.size).ok_or(io::ErrorKind::UnexpectedEof)?;
    let mut records = Vec::new();
    let whole = match header.codec() {
        0 => return Ok(body.to_vec()),
        1 => bounded(flate2::read::MultiGzDecoder::new(body), &mut records),
        2 => unsnap(body, &mut records),
        3 => bounded(lz4::Decoder::new(body)?, &mut records),
        4 => bounded(zstd::Decoder::with_buffer(body)?, &mut records),
        _ => Err(io::ErrorKind::InvalidData.into()),
    };
    whole.map(|()| records)
}

/// The records again, as compressed as they were before.
pub(super) fn compress(records: Vec<u8>, codec: i16) -> io::Result<Vec<u8>> {
    use std::io::Write;
    match codec {
        1 => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(&records)?;
            encoder.finish()
        }
        2 => resnap(&records),
        3 => {
            let mut encoder =
                lz4::EncoderBuilder::new().block_mode(lz4::BlockMode::Independent).build(Vec::new())?;
            encoder.write_all(&records)?;
            let (compressed, ended) = encoder.finish();
            ended.map(|()| compressed)
        }
        4 => zstd::encode_all(records.as_slice(), 0),
        _ => Ok(records),
    }
}

fn bounded(reader: impl Read, records: &mut Vec<u8>) -> io::Result<()> {
    reader.take(RECORDS_LIMIT_BYTES + 1).read_to_end(records)?;
    if records.len() as u64 > RECORDS_LIMIT_BYTES { Err(io::ErrorKind::InvalidData.into()) } else { Ok(()) }
}

/// The framing of snappy-java, which Java clients write; librdkafka writes a bare block.
const SNAPPY_JAVA: &[u8; 16] = b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01";
const SNAPPY_JAVA_BLOCK: usize = 32 << 10;

fn unsnap(body: &[u8], records: &mut Vec<u8>) -> io::Result<()> {
    let mut block_into = |block: &[u8]| -> io::Result<()> {
        let length = snap::raw::decompress_len(block)?;
        if (records.len() + length) as u64 > RECORDS_LIMIT_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        records.extend(snap::raw::Decoder::new().decompress_vec(block)?);
        Ok(())
    };
    let Some(mut rest) = body.strip_prefix(&SNAPPY_JAVA[..]) else { return block_into(body) };
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*length) as usize;
        let (block, after) = after.split_at_checked(length).ok_or(io::ErrorKind::UnexpectedEof)?;
        block_into(block)?;
        rest = after;
    }
    Ok(())
}

fn resnap(records: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = SNAPPY_JAVA.to_vec();
    for block in records.chunks(SNAPPY_JAVA_BLOCK) {
        let compressed = snap::raw::Encoder::new().compress_vec(block)?;
        out.extend_from_slice(&(compressed.len() as u32).to_be_bytes());
        out.extend_from_slice(&compressed);
    }
    Ok(out)
}

/// Every record in `records`; the last item is `None` when the bytes are not whole records.
pub(super) fn iterate(records: &[u8]) -> impl Iterator<Item = Option<Record<'_>>> {
    let mut rest = records;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let parsed = split_record(rest);
        rest = parsed.map_or(&[], |(_, after)| after);
        Some(parsed.map(|(record, _)| record))
    })
}

fn split_record(bytes: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let (length, after_length) = take_varint(bytes)?;
    let (body, after) = after_length.split_at_checked(usize::try_from(length).ok()?)?;
    let raw = &bytes[..bytes.len() - after.len()];
    let (_attributes, body) = body.split_first()?;
    let (timestamp_delta, body) = take_varint(body)?;
    let (offset_delta, body) = take_varint(body)?;
    let (key_length, mut body) = take_varint(body)?;
    let key = match usize::try_from(key_length) {
        Ok(length) => {
            let (key, rest) = body.split_at_checked(length)?;
            body = rest;
            Some(key)
        }
        Err(_) => None,
    };
    let (value_length, _) = take_varint(body)?;
    Some((Record { raw, offset_delta, timestamp_delta, key, value_is_null: value_length < 0 }, after))
}

/// Offset and timestamp of the first record at or after `timestamp`, none before offset `from`.
pub(super) fn first_at(batch: &[u8], header: &BatchHeader, timestamp: i64, from: i64) -> Option<(i64, i64)> {
    let records = decompress(batch, header).ok()?;
    iterate(&records).map_while(|record| record).find_map(|record| {
        let at = (header.base_offset + record.offset_delta, header.base_timestamp + record.timestamp_delta);
        (at.1 >= timestamp && at.0 >= from).then_some(at)
    })
}

fn take_varint(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let mut value = 0u64;
    for (n, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * n).min(63);
        if byte & 0x80 == 0 {
            let signed = (value >> 1) as i64 ^ -((value & 1) as i64);
            return Some((signed, &bytes[n + 1..]));
        }
    }
    None
}

#[cfg(test)]
pub(crate) fn put_varint(bytes: &mut Vec<u8>, value: i64) {
    let mut zigzag = ((value << 1) ^ (value >> 63)) as u64;
    while zigzag >= 0x80 {
        bytes.push(zigzag as u8 | 0x80);
        zigzag >>= 7;
    }
    bytes.push(zigzag as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn varints_round_trip(value in any::<i64>()) {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            prop_assert_eq!(take_varint(&bytes), Some((value, &[][..])));
        }

        #[test]
        fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(iterate(&bytes).count() <= 301);
        }

        #[test]
        fn every_codec_round_trips(records in prop::collection::vec(any::<u8>(), 0..100_000), codec in 0i16..5) {
            let packed = compress(records.clone(), codec).unwrap();
            let batch = super::super::batch::rebuilt(&super::super::batch::tests::raw_batch(b"", 1, 1, (-1, -1, -1)), &packed, 1, codec).unwrap();
            let header = BatchHeader::verify(&batch).unwrap();
            prop_assert_eq!(decompress(&batch, &header).unwrap(), records);
        }
    }
}
