//! Opens a partition's directory after a clean stop or a crash.
//!
//! Invariant: what is kept is a prefix of what was appended, of whole batches with valid checksums;
//! everything that was flushed is in it. A closed segment with a sealed index was flushed and is
//! trusted; every other one is read through.

use super::batch::BatchHeader;
use super::index::SparseIndex;
use super::segment::Segment;
use crate::producers::Producers;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Holds the first readable offset after `DeleteRecords`.
const START_FILE: &str = "log-start";

/// What was found.
pub(super) struct Recovered {
    pub(super) segments: Vec<Arc<Segment>>,
    pub(super) producers: Producers,
    pub(super) start: i64,
}

/// Opens `dir`, creating it when absent.
pub(super) fn open(dir: &Path) -> io::Result<Recovered> {
    std::fs::create_dir_all(dir)?;
    let stored_start = read_start(dir)?;
    let bases = list(dir)?;
    let mut segments: Vec<Arc<Segment>> = Vec::with_capacity(bases.len().max(1));
    let mut torn = false;
    for (n, base) in bases.iter().enumerate() {
        let path = Segment::path_in(dir, *base);
        let swallowed = segments.last().is_some_and(|s| s.next_offset() > *base);
        if torn || swallowed {
            tracing::warn!(segment = %path.display(), torn, swallowed, "segment removed");
            remove_with_siblings(&path)?;
            continue;
        }
        let is_last = n + 1 == bases.len();
        let (segment, cut) = open_segment(path, *base, is_last)?;
        torn = cut;
        segments.push(Arc::new(segment));
    }
    if segments.is_empty() {
        segments.push(Arc::new(Segment::create(dir, stored_start)?));
    }
    let start = stored_start.max(segments[0].base());
    let producers = producers_of(dir, &segments)?;
    Ok(Recovered { segments, producers, start })
}

/// Throws away everything from offset `keep` on and returns the producers' state at `keep`.
pub(super) fn cut(dir: &Path, segments: &mut Vec<Arc<Segment>>, keep: i64) -> io::Result<Producers> {
    while segments.len() > 1 && segments[segments.len() - 1].base() >= keep {
        if let Some(segment) = segments.pop() {
            segment.remove()?;
        }
    }
    let active = &segments[segments.len() - 1];
    let mut size = 0;
    let mut index = SparseIndex::default();
    active.walk(0, |position, header| {
        let stays = header.base_offset < keep;
        if stays {
            index.push(header.base_offset, position, header.max_timestamp);
            size = position + header.size as u64;
        }
        stays
    })?;
    active.cut_file(size)?;
    active.reset(size, keep.max(active.base()), index);
    active.sync()?;
    producers_of(dir, segments)
}

/// Writes the producers' state as it is before offset `base`. Not flushed: a snapshot that a crash
/// has damaged is not read, and the one before it is used.
pub(super) fn save_producers(dir: &Path, base: i64, producers: &Producers) -> io::Result<()> {
    let path = Segment::path_in(dir, base).with_extension("producers");
    let scratch = path.with_extension("tmp");
    std::fs::write(&scratch, serde_json::to_vec(producers)?)?;
    std::fs::rename(&scratch, &path)
}

/// Remembers `start` beyond the life of the process.
pub(super) fn save_start(dir: &Path, start: i64) -> io::Result<()> {
    crate::journal::replace_file(&dir.join(START_FILE), start.to_string().as_bytes())
}

fn read_start(dir: &Path) -> io::Result<i64> {
    match std::fs::read_to_string(dir.join(START_FILE)) {
        Ok(text) => text.trim().parse().map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

/// Base offsets of the segments in order; removes what an interrupted rewrite left.
fn list(dir: &Path) -> io::Result<Vec<i64>> {
    let mut bases = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        match path.extension().and_then(|e| e.to_str()) {
            Some("log") => {
                let base: Option<i64> =
                    path.file_stem().and_then(|s| s.to_str()).and_then(|s| s.parse().ok());
                bases.extend(base);
            }
            Some("tmp" | "cleaned") => std::fs::remove_file(&path)?,
            _ => {}
        }
    }
    bases.sort_unstable();
    Ok(bases)
}

/// Opens one segment; true when a torn tail had to be cut off.
fn open_segment(path: PathBuf, base: i64, is_last: bool) -> io::Result<(Segment, bool)> {
    let file = OpenOptions::new().read(true).write(true).open(&path)?;
    let file_bytes = file.metadata()?.len();
    if !is_last
        && let Some(sealed) = SparseIndex::unseal(&path.with_extension("index"))
        && sealed.log_bytes == file_bytes
    {
        return Ok((Segment::over(path, base, file, file_bytes, sealed.next_offset, sealed.index), false));
    }
    let (size, next_offset, index) = verify(&file, base, file_bytes)?;
    let torn = size < file_bytes;
    if torn {
        tracing::warn!(segment = %path.display(), kept = size, cut = file_bytes - size, next_offset, "torn tail cut off");
        file.set_len(size)?;
    }
    file.sync_data()?;
    let segment = Segment::over(path, base, file, size, next_offset, index);
    if !is_last && !torn {
        segment.seal()?;
    }
    Ok((segment, torn))
}

/// Reads batches until the end or the first that is not whole: bytes kept, next offset, index.
fn verify(file: &File, base: i64, file_bytes: u64) -> io::Result<(u64, i64, SparseIndex)> {
    use std::os::unix::fs::FileExt;
    let mut index = SparseIndex::default();
    let (mut position, mut next_offset) = (0u64, base);
    let mut buffer: Vec<u8> = Vec::new();
    let mut buffer_at = 0u64;
    const WINDOW: u64 = 4 << 20;
    while position < file_bytes {
        let within = (position - buffer_at) as usize;
        let known = buffer.get(within..).unwrap_or_default();
        let needed = BatchHeader::parse(known).map_or(super::batch::HEADER_BYTES, |h| h.size) as u64;
        if known.len() < needed as usize {
            if position + needed > file_bytes {
                break;
            }
            buffer.resize((file_bytes - position).min(WINDOW.max(needed)) as usize, 0);
            file.read_exact_at(&mut buffer, position)?;
            buffer_at = position;
            continue;
        }
        let Ok(header) = BatchHeader::verify(known) else { break };
        if header.base_offset < next_offset {
            break;
        }
        index.push(header.base_offset, position, header.max_timestamp);
        next_offset = header.next_offset();
        position += header.size as u64;
    }
    Ok((position, next_offset, index))
}

/// The producers' state at the end of `segments`, from the newest snapshot and the headers after it.
fn producers_of(dir: &Path, segments: &[Arc<Segment>]) -> io::Result<Producers> {
    let snapshot = |segment: &Arc<Segment>| -> Option<Producers> {
        let path = Segment::path_in(dir, segment.base()).with_extension("producers");
        serde_json::from_slice(&std::fs::read(path).ok()?).ok()
    };
    let newest = segments.iter().enumerate().rev().find_map(|(n, s)| Some((n, snapshot(s)?)));
    let (from, mut producers) = newest.unwrap_or_default();
    let now_ms = crate::broker::now_ms();
    for segment in &segments[from..] {
        segment.walk(0, |_, header| {
            producers.note(header, header.base_offset, now_ms);
            true
        })?;
    }
    Ok(producers)
}

fn remove_with_siblings(path: &Path) -> io::Result<()> {
    for sibling in [path.with_extension("index"), path.with_extension("producers"), path.to_owned()] {
        match std::fs::remove_file(&sibling) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
