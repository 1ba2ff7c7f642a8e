//! History of files into the raw zone, and on to the warehouse.

use crate::lake_options;
use affluent_lake::Lake;
use affluent_lake::sql::{Engine, EngineOptions, Pins, Renderer, TextFormat};
use affluent_warehouse::batch::{Batch, BatchOptions, RawToDwh, TASKS, Unfenced};
use affluent_warehouse::import::{FileKind, Import, ImportError, Imported, Label, Mapping};
use std::path::{Path, PathBuf};

struct Shop {
    lake: Lake,
    batch: Batch,
    dir: tempfile::TempDir,
}

impl Shop {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let lake = Lake::open(lake_options(&dir.path().join("lake"))).await.unwrap();
        let batch = Batch::new(lake.clone(), BatchOptions::default()).unwrap();
        Shop { lake, batch, dir }
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    async fn import(&self, file: &Path, mapping: &Mapping) -> Result<Imported, ImportError> {
        let kind = FileKind::of(file).unwrap();
        let import =
            Import { file: file.to_owned(), kind, mapping: mapping.clone(), source: "oltp".to_owned() };
        import.run(&self.lake, self.batch.models(), |_| {}).await
    }

    async fn run(&self) {
        let work = RawToDwh::increments(self.batch.clone());
        for task in TASKS {
            work.task(task, 1, &Unfenced).await.unwrap_or_else(|error| panic!("{task}: {error}"));
        }
    }

    async fn rows(&self, text: &str) -> Vec<String> {
        let engine = Engine::new(self.lake.clone(), EngineOptions::default()).unwrap();
        let session = engine.session(Pins::default()).await.unwrap();
        let mut rows = session.sql(text).await.unwrap_or_else(|error| panic!("{text}: {error}"));
        let mut renderer = Renderer::new(TextFormat::Csv, rows.schema());
        let mut csv = String::new();
        while let Some(batch) = rows.next_batch().await {
            csv += &renderer.batch(&batch.unwrap()).unwrap();
        }
        csv += &renderer.finish().unwrap();
        csv.lines().skip(1).map(str::to_owned).collect()
    }
}

const PAYMENTS: &str = "\
transaction_id,occurred_at,customer_id,terminal_id,amount_minor,fraud
1,2018-04-01T00:00:31Z,7,90,1234,0
2,2018-04-01T00:02:10Z,8,91,50,1
3,2018-04-02 10:00:00,7,90,12.5,0
4,2018-04-02T11:00:00Z,7,90
5,2018-04-03T12:00:00Z,,92,999,1
";

fn shipped() -> Mapping {
    Mapping::shipped().unwrap().remove(0).1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_in_the_warehouse_once_with_its_labels() {
    let shop = Shop::new().await;
    let file = shop.file("payments.csv", PAYMENTS);
    let first = shop.import(&file, &shipped()).await.unwrap();
    let expected = Imported { number: 1, rows: 5, added: 5, labels: 2, quarantined: 2 };
    assert_eq!(first, expected);
    let again = shop.import(&file, &shipped()).await.unwrap();
    assert_eq!(again, Imported { added: 0, labels: 0, quarantined: 0, ..expected });
    let quarantined =
        "select \"partition\", \"offset\", stage, reason, error from ops.quarantine order by \"offset\"";
    assert_eq!(
        shop.rows(quarantined).await,
        [
            "-1,2,import,value_out_of_range,amount: a text is no whole number of minor units",
            "-1,3,import,undecodable,\"4 cells, but there are 6 columns\"",
        ]
    );
    shop.run().await;
    let payments = "select transaction_id, customer_id, merchant_id, terminal_id, amount, amount_reporting, currency, status, created_at \
                    from curated.transactions order by transaction_id";
    assert_eq!(
        shop.rows(payments).await,
        [
            "1,7,90,90,12.3400,12.3400,EUR,captured,2018-04-01T00:00:31Z",
            "2,8,91,91,0.5000,0.5000,EUR,captured,2018-04-01T00:02:10Z",
            "5,,92,92,9.9900,9.9900,EUR,captured,2018-04-03T12:00:00Z",
        ]
    );
    let fraud =
        "select transaction_id, is_fraud, label_at, label_source from dwh.fact_fraud order by transaction_id";
    assert_eq!(
        shop.rows(fraud).await,
        ["2,true,2018-04-08T00:02:10Z,fraud_reason", "5,true,2018-04-10T12:00:00Z,fraud_reason"]
    );
    assert_eq!(shop.rows("select * from ops.rejected").await, [""; 0]);

    // Another mapping of the same file is another import: its rows are newer.
    let mut dollars = shipped();
    dollars.set("currency=USD").unwrap();
    dollars.label = None;
    let other = shop.import(&file, &dollars).await.unwrap();
    assert_eq!((other.number, other.added, other.labels), (2, 3, 0));
    shop.run().await;
    let currencies = "select distinct currency from curated.payments";
    assert_eq!(shop.rows(currencies).await, ["USD"]);
    let imports = "select number, \"table\", file from ops.imports order by number";
    assert_eq!(shop.rows(imports).await, ["1,transactions,payments.csv", "2,transactions,payments.csv"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_tables_and_forms_and_what_does_not_go_together() {
    let shop = Shop::new().await;
    let refunds = shop.file(
        "refunds.ndjson",
        "{\"id\": \"r1\", \"of\": 1, \"amount\": 0.50, \"currency\": \"EUR\", \"status\": \"paid\", \"at\": \"2018-05-01T00:00:00Z\"}\n\
         {\"id\": \"r2\", \"of\": 1, \"amount\": \"0.25\", \"currency\": \"EUR\", \"status\": \"paid\", \"at\": \"2018-05-01T00:00:00Z\"}\n\
         no json\n",
    );
    let mut mapping = Mapping { table: "refunds".to_owned(), ..Mapping::default() };
    for map in ["transaction_id=of", "created_at=at"] {
        mapping.map(map).unwrap();
    }
    mapping.set("reason=late").unwrap();
    let done = shop.import(&refunds, &mapping).await.unwrap();
    assert_eq!((done.added, done.quarantined), (2, 1), "{done:?}");
    let raw = "select id, transaction_id, amount, _op, _lsn, _kafka_topic, _kafka_partition, _kafka_offset from raw.refunds order by id";
    assert_eq!(
        shop.rows(raw).await,
        ["r1,1,0.5000,c,1,oltp.public.refunds,-1,0", "r2,1,0.2500,c,1,oltp.public.refunds,-1,1",]
    );
    let file = shop.file("payments.csv", PAYMENTS);
    let refused = async |table: &str, change: &dyn Fn(&mut Mapping)| {
        let mut mapping = Mapping { table: table.to_owned(), ..Mapping::default() };
        change(&mut mapping);
        let error = shop.import(&file, &mapping).await.unwrap_err();
        assert!(error.is_usage(), "{error}");
        error.to_string()
    };
    let label = |column: &str| Some(Label { column: column.to_owned(), delay_days: 1 });
    for (table, change, said) in [
        ("transactions", &(|_: &mut Mapping| {}) as &dyn Fn(&mut Mapping), "--map id="),
        ("payments", &|_| {}, "there is no table payments; there are customers, disputes"),
        ("transactions", &|mapping| mapping.map("id=number").unwrap(), "the file has only transaction_id"),
        ("transactions", &|mapping| mapping.map("ids=transaction_id").unwrap(), "no column ids"),
        (
            "refunds",
            &|mapping| (mapping.map("id=transaction_id").unwrap(), mapping.label = label("fraud")).1,
            "refunds are none",
        ),
    ] {
        let error = refused(table, change).await;
        assert!(error.contains(said), "{table}: {error}");
    }
}
