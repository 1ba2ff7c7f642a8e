//! The header of a record batch (magic 2), the only part of a batch that the broker looks into on
//! the hot path. The base offset and the leader epoch lie outside the checksum and are the only
//! bytes the broker ever changes.

/// Bytes of the fixed header, up to and with the number of records.
pub(crate) const HEADER_BYTES: usize = 61;
/// Bytes before the part that the length field counts.
const PREFIX_BYTES: usize = 12;
/// Where the checksummed part begins.
const CHECKED_FROM: usize = 21;

const ATTRIBUTE_CODEC: i16 = 0b111;
const ATTRIBUTE_TRANSACTIONAL: i16 = 1 << 4;
const ATTRIBUTE_CONTROL: i16 = 1 << 5;

/// A parsed batch header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    pub base_offset: i64,
    /// Bytes of the whole batch, header included.
    pub size: usize,
    pub crc: u32,
    pub attributes: i16,
    pub last_offset_delta: i32,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub record_count: i32,
}

/// Why bytes are not a batch that may be stored or served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BatchError {
    #[error("fewer bytes than the batch says it has")]
    Short,
    #[error("batch length is out of range")]
    Length,
    #[error("magic is not 2")]
    Magic,
    #[error("checksum does not match")]
    Checksum,
    #[error("record count and offsets do not agree")]
    Count,
    #[error("transactional and control batches are not supported")]
    Transactional,
}

impl BatchHeader {
    /// Reads the header at the start of `bytes`; looks at no byte past it.
    ///
    /// # Errors
    /// When there is no whole header, or it cannot be one of magic 2.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        let Some((head, _)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Err(BatchError::Short);
        };
        if head[16] != 2 {
            return Err(BatchError::Magic);
        }
        let length = i32::from_be_bytes(array(head, 8));
        let size = usize::try_from(length).map_err(|_| BatchError::Length)? + PREFIX_BYTES;
        if size < HEADER_BYTES {
            return Err(BatchError::Length);
        }
        Ok(Self {
            base_offset: i64::from_be_bytes(array(head, 0)),
            size,
            crc: u32::from_be_bytes(array(head, 17)),
            attributes: i16::from_be_bytes(array(head, 21)),
            last_offset_delta: i32::from_be_bytes(array(head, 23)),
            base_timestamp: i64::from_be_bytes(array(head, 27)),
            max_timestamp: i64::from_be_bytes(array(head, 35)),
            producer_id: i64::from_be_bytes(array(head, 43)),
            producer_epoch: i16::from_be_bytes(array(head, 51)),
            base_sequence: i32::from_be_bytes(array(head, 53)),
            record_count: i32::from_be_bytes(array(head, 57)),
        })
    }

    /// The header of the whole batch at the start of `bytes`, its checksum verified.
    ///
    /// # Errors
    /// When the batch is cut short or damaged.
    pub(crate) fn verify(bytes: &[u8]) -> Result<Self, BatchError> {
        let header = Self::parse(bytes)?;
        let Some(batch) = bytes.get(..header.size) else { return Err(BatchError::Short) };
        if header.last_offset_delta < 0 || header.record_count < 0 {
            return Err(BatchError::Count);
        }
        if crc32c::crc32c(&batch[CHECKED_FROM..]) != header.crc {
            return Err(BatchError::Checksum);
        }
        Ok(header)
    }

    /// As [`Self::verify`], and what a producer must keep to besides.
    ///
    /// # Errors
    /// When the batch may not be stored.
    pub(crate) fn accept(bytes: &[u8]) -> Result<Self, BatchError> {
        let header = Self::verify(bytes)?;
        if header.attributes & (ATTRIBUTE_CONTROL | ATTRIBUTE_TRANSACTIONAL) != 0 {
            return Err(BatchError::Transactional);
        }
        if header.record_count <= 0 || header.last_offset_delta != header.record_count - 1 {
            return Err(BatchError::Count);
        }
        Ok(header)
    }

    pub(crate) fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta))
    }

    pub(crate) fn next_offset(&self) -> i64 {
        self.last_offset().saturating_add(1)
    }

    /// Sequence number of the last record, which wraps to 0 after `i32::MAX`.
    pub(crate) fn last_sequence(&self) -> i32 {
        sequence_after(self.base_sequence, self.last_offset_delta)
    }

    /// 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
    pub(crate) fn codec(&self) -> i16 {
        self.attributes & ATTRIBUTE_CODEC
    }

    pub(crate) fn is_idempotent(&self) -> bool {
        self.producer_id >= 0
    }
}

/// The header bytes of `batch` with the offset and leader epoch that the broker assigns.
pub(crate) fn patched_head(batch: &[u8], base_offset: i64, leader_epoch: i32) -> Option<[u8; HEADER_BYTES]> {
    let mut head = *batch.first_chunk::<HEADER_BYTES>()?;
    head[0..8].copy_from_slice(&base_offset.to_be_bytes());
    head[12..16].copy_from_slice(&leader_epoch.to_be_bytes());
    Some(head)
}

/// A whole batch with other records: the header of `original`, `records` (compressed as `codec`
/// says) and a new checksum. Offsets, timestamps and producer stay, as compaction needs it.
pub(crate) fn rebuilt(original: &[u8], records: &[u8], record_count: i32, codec: i16) -> Option<Vec<u8>> {
    let header = BatchHeader::parse(original).ok()?;
    let mut batch = Vec::with_capacity(HEADER_BYTES + records.len());
    batch.extend_from_slice(original.get(..HEADER_BYTES)?);
    batch.extend_from_slice(records);
    let length = i32::try_from(batch.len() - PREFIX_BYTES).ok()?;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    let attributes = (header.attributes & !ATTRIBUTE_CODEC) | (codec & ATTRIBUTE_CODEC);
    batch[21..23].copy_from_slice(&attributes.to_be_bytes());
    batch[57..61].copy_from_slice(&record_count.to_be_bytes());
    let crc = crc32c::crc32c(&batch[CHECKED_FROM..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    Some(batch)
}

/// `sequence` advanced by `count` with Kafka's wrap-around.
pub(crate) fn sequence_after(sequence: i32, count: i32) -> i32 {
    let sum = i64::from(sequence) + i64::from(count);
    if sum > i64::from(i32::MAX) { (sum - i64::from(i32::MAX) - 1) as i32 } else { sum as i32 }
}

fn array<const N: usize>(bytes: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Key and value of one record.
    type Pair<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

    /// An uncompressed batch of records with the given keys and values, timestamps from `timestamp` on.
    pub(crate) fn batch_of(records: &[Pair<'_>], timestamp: i64) -> Vec<u8> {
        let mut body = Vec::new();
        for (delta, (key, value)) in records.iter().enumerate() {
            let mut record = vec![0u8];
            crate::log::records::put_varint(&mut record, delta as i64);
            crate::log::records::put_varint(&mut record, delta as i64);
            for part in [key, value] {
                match part {
                    None => crate::log::records::put_varint(&mut record, -1),
                    Some(part) => {
                        crate::log::records::put_varint(&mut record, part.len() as i64);
                        record.extend_from_slice(part);
                    }
                }
            }
            crate::log::records::put_varint(&mut record, 0);
            crate::log::records::put_varint(&mut body, record.len() as i64);
            body.extend_from_slice(&record);
        }
        let count = records.len() as i32;
        raw_batch(&body, count, timestamp, (-1, -1, -1))
    }

    /// A batch around `body`, of the producer (id, epoch, first sequence).
    pub(crate) fn raw_batch(body: &[u8], count: i32, timestamp: i64, producer: (i64, i16, i32)) -> Vec<u8> {
        let mut batch = vec![0u8; HEADER_BYTES];
        batch[16] = 2;
        batch[23..27].copy_from_slice(&(count - 1).to_be_bytes());
        batch[27..35].copy_from_slice(&timestamp.to_be_bytes());
        batch[35..43].copy_from_slice(&(timestamp + i64::from(count) - 1).to_be_bytes());
        batch[43..51].copy_from_slice(&producer.0.to_be_bytes());
        batch[51..53].copy_from_slice(&producer.1.to_be_bytes());
        batch[53..57].copy_from_slice(&producer.2.to_be_bytes());
        rebuilt(
            &{
                batch[8..12].copy_from_slice(&49i32.to_be_bytes());
                batch
            },
            body,
            count,
            0,
        )
        .unwrap()
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = BatchHeader::accept(&bytes);
        }

        #[test]
        fn a_batch_is_accepted_and_one_flipped_bit_after_the_epoch_is_not(
            body in prop::collection::vec(any::<u8>(), 0..100), count in 1..50i32, flip in 0usize..1000,
        ) {
            let batch = raw_batch(&body, count, 1000, (7, 1, 5));
            let header = BatchHeader::accept(&batch).unwrap();
            prop_assert_eq!(header.size, batch.len());
            prop_assert_eq!(header.last_sequence(), 5 + count - 1);
            let bit = 16 * 8 + flip % ((batch.len() - 16) * 8);
            let mut damaged = batch.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(BatchHeader::accept(&damaged).is_err());
        }

        #[test]
        fn offset_and_epoch_lie_outside_the_checksum(offset in 0..i64::MAX / 2, epoch in 0..i32::MAX) {
            let mut batch = raw_batch(b"x", 1, 1000, (-1, -1, -1));
            let head = patched_head(&batch, offset, epoch).unwrap();
            batch[..HEADER_BYTES].copy_from_slice(&head);
            prop_assert_eq!(BatchHeader::accept(&batch).unwrap().base_offset, offset);
        }
    }

    #[test]
    fn sequences_wrap() {
        assert_eq!(sequence_after(i32::MAX, 1), 0);
        assert_eq!(sequence_after(i32::MAX - 1, 1), i32::MAX);
        assert_eq!(sequence_after(5, 3), 8);
    }
}
