//! One table, compared store by store.

use super::compare::{Comparison, Rows};
use super::digest::{Measures, TableShape};
use super::kafka::{self, KafkaRows, TopicReader, Watermarks};
use super::keyless::Bag;
use super::lake::{self, LakeRows};
use super::mirrors::{Mirrored, Mirrors};
use super::report::{Difference, Kind, Reconciled, Report, Store};
use super::source::{SourceRows, Visible};
use crate::erase::Erased;
use crate::platform::Platform;
use affluent_bus::Admin;
use affluent_bus::codec::ChangeDecoder;
use affluent_lake::Lake;

/// Where the copies are.
pub(super) struct Stores<'a> {
    pub(super) platform: &'a Platform,
    pub(super) admin: &'a Admin,
    pub(super) mirrors: &'a Mirrors,
    /// Absent where the raw zone is plain files, which are not compared.
    pub(super) lake: Option<&'a Lake>,
    pub(super) visible: &'a Visible,
    pub(super) erased: &'a Erased,
}

impl Stores<'_> {
    /// Compares one table in all stores; `marks` are offsets that both sinks have passed.
    pub(super) async fn compare(
        &self,
        shape: &TableShape,
        source: SourceRows,
        marks: &Watermarks,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let measures = shape.measures();
        let registry = self.platform.registry().clone();
        let mut reader = TopicReader::new(self.platform.bus(), ChangeDecoder::new(Some(registry)), shape);
        let mut kafka = KafkaRows::new();
        kafka.read(&mut reader, marks, self.visible, self.erased).await?;
        let (records, undecodable, erased) = (kafka.records, kafka.undecodable, kafka.erased);
        let in_lake = match self.lake {
            Some(lake) => Some(match lake::raw_table(lake, &shape.topic).await? {
                Some(table) => lake::read(&table, shape, &measures, marks, &kafka.later_offsets).await?,
                None => LakeRows::default(),
            }),
            None => None,
        };
        // The mirror is read before the rest of the topic, so whatever it holds is in what was read.
        let mut documents = Vec::new();
        self.mirrors.read(shape, &measures, |document| documents.push(document)).await?;
        let ends = kafka::watermarks(self.admin, &shape.topic).await?;
        let start = |partition: &i32| marks.get(partition).map_or(0, |&(_, end)| end);
        let rest = ends.iter().map(|(&partition, &(_, end))| (partition, (start(&partition), end))).collect();
        kafka.read(&mut reader, &rest, self.visible, self.erased).await?;

        let mut all = Table { shape, measures: &measures, report };
        all.repeats(&kafka);
        all.lake_records(in_lake.as_ref(), records - undecodable, erased);
        if undecodable > 0 {
            let topic = &shape.topic;
            all.report.notes.push(format!("{topic}: {undecodable} records are no change events"));
        }
        match source {
            SourceRows::Keyed(rows) => all.keyed(rows, kafka, in_lake, documents, marks),
            SourceRows::Keyless(bag) => all.keyless(&bag, &kafka, in_lake.as_ref(), &documents),
        }
        Ok(())
    }
}

struct Table<'a> {
    shape: &'a TableShape,
    measures: &'a Measures,
    report: &'a mut Report,
}

impl Table<'_> {
    fn keyed(
        &mut self,
        source: Rows,
        kafka: KafkaRows,
        in_lake: Option<LakeRows>,
        documents: Vec<Mirrored>,
        marks: &Watermarks,
    ) {
        let partial = marks.values().any(|&(first, _)| first > 0);
        let (shape, measures) = (self.shape, self.measures);
        let mut comparison = Comparison { shape, measures, report: self.report };
        let (states, _) = kafka.fold.finish(measures);
        let expected = comparison.kafka(source, &states, partial);
        comparison.mirrors(&expected, &states, &kafka.later, documents);
        if let Some(rows) = in_lake {
            comparison.lake(&expected, &rows.fold.finish(measures).0);
        }
        if partial {
            let table = &shape.table;
            self.report.notes.push(format!(
                "{table}: the topic no longer holds its beginning, so old rows are not compared there"
            ));
        }
    }

    fn keyless(
        &mut self,
        source: &Bag,
        kafka: &KafkaRows,
        in_lake: Option<&LakeRows>,
        documents: &[Mirrored],
    ) {
        let (shape, measures) = (self.shape, self.measures);
        self.bag(Store::Postgresql, source, source);
        self.bag(Store::Kafka, source, &kafka.keyless.finish(shape, measures));
        if kafka.later.is_truncated() {
            let table = &shape.table;
            self.report
                .notes
                .push(format!("{table} was truncated after the barrier: its mirror is not compared"));
        } else {
            let mut mirror = Bag::default();
            let known = documents.iter().filter(|document| !kafka.later.has(document.version));
            known.for_each(|document| mirror.change(shape, measures, &document.row, 1));
            self.bag(Store::Mirrors, source, &mirror);
        }
        if let Some(rows) = in_lake {
            self.bag(Store::Lake, source, &rows.keyless.finish(shape, measures));
        }
    }

    fn bag(&mut self, store: Store, expected: &Bag, found: &Bag) {
        let (missing, extra) = expected.difference(found);
        for (count, kind) in [(missing, Kind::Missing), (extra, Kind::Extra)] {
            self.differ(store, "row without a key", kind, count);
        }
        let rows = u64::try_from(found.rows).unwrap_or_default();
        let table = self.shape.table.to_string();
        let equal = missing == 0 && extra == 0;
        self.report.reconciliation.push(Reconciled::new(table, store, rows, &found.sums, equal));
    }

    /// Changes that Kafka has more than once.
    fn repeats(&mut self, kafka: &KafkaRows) {
        for repeats in kafka.repeats() {
            for key in &repeats.examples {
                let key = self.shape.describe(key);
                self.differ(Store::Kafka, &key, Kind::Duplicate, 1);
            }
            let unnamed = repeats.changes - repeats.examples.len() as u64;
            self.differ(Store::Kafka, "change", Kind::Duplicate, unnamed);
            if repeats.snapshot_rows > 0 {
                let (table, count) = (&self.shape.table, repeats.snapshot_rows);
                self.report.notes.push(format!(
                    "{table}: {count} rows of the first reading are in Kafka twice (a chunk was read again)"
                ));
            }
        }
    }

    /// Every change of the topic is in the raw table once, but for those of customers who were erased.
    fn lake_records(&mut self, in_lake: Option<&LakeRows>, changes: u64, erased: u64) {
        if let Some(rows) = in_lake {
            for record in &rows.duplicates {
                self.differ(Store::Lake, record, Kind::Duplicate, 1);
            }
            let missing = changes.saturating_sub(rows.records).saturating_sub(erased);
            self.differ(Store::Lake, "record of the topic", Kind::Missing, missing);
        }
        if erased > 0 {
            let topic = &self.shape.topic;
            self.report
                .notes
                .push(format!("{topic}: {erased} records are of customers who were erased elsewhere"));
        }
    }

    fn differ(&mut self, store: Store, what: &str, kind: Kind, count: u64) {
        let table = self.shape.table.to_string();
        let key = if count == 1 { what.to_owned() } else { format!("{count} times {what}") };
        self.report.add_all(Difference { table, store, key, kind }, count);
    }
}
