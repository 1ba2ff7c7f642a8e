//! How a table is cut into chunks: ranges of pages of its leaves.

use super::Job;
use crate::cdc::CdcError;
use crate::cdc::checkpoint::{Leaf, SnapshotEntry};
use tokio_postgres::Client;

/// Rows of a page where the table was never analysed.
const ROWS_PER_PAGE: f64 = 60.0;

/// The leaves of a table: itself, or its partitions. Foreign partitions have no pages and are left out.
pub(super) async fn leaves(client: &Client, oid: u32, chunk_rows: u64) -> Result<Vec<Leaf>, CdcError> {
    let sql = "SELECT c.oid, pg_relation_filenode(c.oid), \
               (pg_relation_size(c.oid) / current_setting('block_size')::bigint)::bigint, \
               c.reltuples::float8, c.relpages::float8 FROM pg_class c WHERE c.relkind = 'r' \
               AND (c.oid = $1 OR c.oid IN (SELECT relid FROM pg_partition_tree($1::oid::regclass) WHERE isleaf)) \
               ORDER BY c.oid";
    let rows = client.query(sql, &[&oid]).await.map_err(|e| CdcError::sql("plan the snapshot", &e))?;
    let leaf = |row: &tokio_postgres::Row| {
        let (tuples, pages): (f64, f64) = (row.get(3), row.get(4));
        let density = if tuples > 0.0 && pages > 0.0 { (tuples / pages).max(1.0) } else { ROWS_PER_PAGE };
        Leaf {
            oid: row.get(0),
            filenode: row.get::<_, Option<u32>>(1).unwrap_or_default(),
            pages: u32::try_from(row.get::<_, i64>(2)).unwrap_or(u32::MAX),
            pages_per_chunk: pages_per_chunk(chunk_rows, density),
        }
    };
    Ok(rows.iter().map(leaf).collect())
}

fn pages_per_chunk(chunk_rows: u64, rows_per_page: f64) -> u32 {
    let pages = (chunk_rows as f64 / rows_per_page).ceil();
    if pages >= f64::from(u32::MAX) { u32::MAX } else { (pages as u32).max(1) }
}

/// The chunks that are not finished, begun ones first.
pub(super) fn jobs(oid: u32, snapshot: &SnapshotEntry) -> Vec<Job> {
    let mut jobs = Vec::new();
    let mut chunk = 0;
    for leaf in &snapshot.leaves {
        let count = leaf.chunks();
        for i in 0..count {
            if !snapshot.is_done(chunk) {
                let from = |i: u64| u32::try_from(i * u64::from(leaf.pages_per_chunk)).unwrap_or(u32::MAX);
                jobs.push(Job {
                    oid,
                    generation: snapshot.generation,
                    chunk,
                    leaf: leaf.oid,
                    filenode: leaf.filenode,
                    from_page: from(i),
                    to_page: (i + 1 < count).then(|| from(i + 1)),
                    snapshot: None,
                });
            }
            chunk += 1;
        }
    }
    jobs.sort_by_key(|job| (!snapshot.begun.contains_key(&job.chunk), job.chunk));
    jobs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cdc::begin::due_snapshot;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn chunks_cover_every_page_of_every_leaf_once(
            leaves in prop::collection::vec((0_u32..500, 1_u32..60), 1..4), finished in prop::collection::vec(0_u64..20, 0..10),
        ) {
            let mut snapshot = due_snapshot(None, 1, false);
            let leaf = |(oid, &(pages, pages_per_chunk)): (u32, &(u32, u32))| Leaf { oid, filenode: 1, pages, pages_per_chunk };
            snapshot.leaves = (1..).zip(&leaves).map(leaf).collect();
            let all = jobs(7, &snapshot);
            prop_assert_eq!(all.len() as u64, snapshot.chunks());
            for leaf in &snapshot.leaves {
                let mut at = 0;
                let own: Vec<_> = all.iter().filter(|job| job.leaf == leaf.oid).collect();
                for job in &own {
                    prop_assert_eq!(job.from_page, at);
                    at = job.to_page.unwrap_or(u32::MAX);
                }
                prop_assert_eq!(at, u32::MAX);
            }
            for &chunk in &finished {
                snapshot.finish(chunk);
            }
            let rest = jobs(7, &snapshot);
            prop_assert!(rest.iter().all(|job| !finished.contains(&job.chunk)));
            prop_assert_eq!(rest.len(), all.iter().filter(|job| !finished.contains(&job.chunk)).count());
        }
    }

    #[test]
    fn begun_chunks_come_first() {
        let mut snapshot = due_snapshot(None, 1, false);
        snapshot.leaves = vec![Leaf { oid: 1, filenode: 1, pages: 30, pages_per_chunk: 10 }];
        snapshot.begun.insert(2, vec![0]);
        let order: Vec<u64> = jobs(1, &snapshot).iter().map(|job| job.chunk).collect();
        assert_eq!(order, [2, 0, 1]);
    }
}
