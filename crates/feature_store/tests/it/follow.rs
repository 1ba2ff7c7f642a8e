//! Invariant: who follows the stream takes each inserted row once it is applied, and again where it had not noted it; and who asks the state for a row
//! before it happens gets the row that it has when it does.

use crate::rig::{NOON, Payment, Rig, SECOND, open, schema, until};
use affluent_bus::{Admin, TopicPartition};
use affluent_feature_store::event::topic::Changes;
use affluent_feature_store::event::{Fit, Mapped, Mapping};
use affluent_feature_store::stream::{Followed, Follower, LiveRow, LiveState};
use affluent_stream::sinks::SinkError;
use affluent_testkit::unique;
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Rows by where they stood.
pub(crate) type Taken = Arc<Mutex<BTreeMap<(TopicPartition, i64), Option<LiveRow>>>>;

/// Keeps what it takes, and how far that is, as if it were durable.
pub(crate) struct Keeper {
    pub(crate) topic: String,
    pub(crate) taken: Taken,
    pub(crate) next: Arc<Mutex<BTreeMap<TopicPartition, i64>>>,
    /// Notes how far it is.
    pub(crate) notes: bool,
}

#[async_trait]
impl Follower for Keeper {
    fn source(&self) -> &str {
        "payments"
    }

    async fn begin(&mut self, _: &Admin) -> Result<(), SinkError> {
        Ok(())
    }

    fn next(&self, partition: &TopicPartition) -> Option<i64> {
        let next = self.next.lock().unwrap().get(partition).copied().unwrap_or(0);
        (*partition.topic == *self.topic).then_some(next)
    }

    fn take(&mut self, followed: Followed) {
        assert!(followed.is_whole);
        self.taken.lock().unwrap().insert((followed.partition, followed.offset), followed.row);
    }

    async fn settle(&mut self, read: &BTreeMap<TopicPartition, i64>) -> Result<(), SinkError> {
        if self.notes {
            self.next.lock().unwrap().extend(read.clone());
        }
        Ok(())
    }
}

fn payments(from: i64, count: i64) -> Vec<Payment> {
    let payment = |id: i64| Payment { id, customer: id % 3, terminal: id % 4, second: id * 30, delay: 1 };
    (from..from + count).map(payment).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inserted_rows_are_followed_from_where_they_were_noted() {
    // One partition: what is read before what is the same each time.
    let mut rig = Rig::new(1).await;
    let (group, directory) = (unique("group"), tempfile::tempdir().unwrap());
    let store = open(directory.path()).await;
    let live = LiveState::new(&rig.streamed);
    let taken = Taken::default();
    let next: Arc<Mutex<BTreeMap<TopicPartition, i64>>> = Arc::default();
    let topic = rig.topic.clone();
    let keeper = |notes: bool| Keeper {
        topic: topic.clone(),
        taken: Arc::clone(&taken),
        next: Arc::clone(&next),
        notes,
    };
    let (noting, forgetting) = (keeper(true), keeper(false));
    let running = rig.start_followed(&group, &store, directory.path(), live.clone(), Box::new(noting));
    for payment in payments(1, 60) {
        rig.send(&payment).await;
    }
    // Two hours late: not applied, but followed.
    rig.send(&Payment { id: 1_000, customer: 1, terminal: 1, second: 0, delay: 7_200 }).await;
    rig.caught_up(&group).await;
    until("all is noted", async || next.lock().unwrap().values().sum::<i64>() == 61).await;
    let first = std::mem::take(&mut *taken.lock().unwrap());
    assert_eq!(first.len(), 61);
    assert_eq!(first.values().filter(|row| row.is_none()).count(), 1);
    until("the state is stored", async || directory.path().join("state/state").exists()).await;
    running.kill().await;

    // It has noted nothing of what comes now: all of that comes again.
    let running = rig.start_followed(&group, &store, directory.path(), live.clone(), Box::new(forgetting));
    for payment in payments(61, 40) {
        rig.send(&payment).await;
    }
    rig.caught_up(&group).await;
    until("the new ones are taken", async || taken.lock().unwrap().len() >= 40).await;
    running.kill().await;
    let second = std::mem::take(&mut *taken.lock().unwrap());
    assert_eq!(second.len(), 40);
    let running = rig.start_followed(&group, &store, directory.path(), live.clone(), Box::new(keeper(true)));
    until("they come again", async || second.keys().all(|place| taken.lock().unwrap().contains_key(place)))
        .await;
    let again = taken.lock().unwrap().clone();
    for (place, row) in &second {
        assert!(same(row.as_ref(), again[place].as_ref().unwrap()), "{place:?}");
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_is_asked_for_is_the_one_that_comes() {
    let mut rig = Rig::new(2).await;
    let (group, directory) = (unique("group"), tempfile::tempdir().unwrap());
    let store = open(directory.path()).await;
    let live = LiveState::new(&rig.streamed);
    let taken = Taken::default();
    let keeper =
        Keeper { topic: rig.topic.clone(), taken: Arc::clone(&taken), next: Arc::default(), notes: true };
    let mapping =
        Mapping::new(&rig.streamed.definitions, &rig.streamed.plan, "payments", &rig.streamed.references)
            .unwrap();
    let source = mapping.source();
    assert_eq!(live.row(source, &Mapped::default()), None, "nothing is known before partitions are assigned");
    let running = rig.start_followed(&group, &store, directory.path(), live.clone(), Box::new(keeper));
    rig.caught_up(&group).await;
    until("the state is current", async || live.is_current()).await;
    for payment in payments(1, 50) {
        let (mut cells, mut mapped) = (Vec::new(), Mapped::default());
        let change = payment.change(&schema());
        Changes::default().row(&mapping, &change, &mut cells);
        assert_eq!(mapping.event(&cells, &mut mapped), Ok(Fit::Event));
        let asked = live.row(source, &mapped).unwrap();
        assert_eq!(asked.values.len(), live.features(source).len());
        let known = taken.lock().unwrap().clone();
        rig.send(&payment).await;
        until("it comes", async || taken.lock().unwrap().len() > known.len()).await;
        let now = taken.lock().unwrap().clone();
        let (_, found) = now.iter().find(|(place, _)| !known.contains_key(*place)).unwrap();
        assert!(same(found.as_ref(), &asked), "{payment:?}: {found:?}, not {asked:?}");
        let newest = live.newest(source, &mapped);
        let expected = Some(NOON + payment.second * SECOND);
        assert!(newest.iter().all(|(_, at)| *at == expected), "{newest:?}");
    }
    running.stop().await;
}

/// The same bits: what is no value is equal to itself.
pub(crate) fn same(row: Option<&LiveRow>, other: &LiveRow) -> bool {
    let bits = |row: &LiveRow| row.values.iter().map(|value| value.to_bits()).collect::<Vec<u64>>();
    row.is_some_and(|row| bits(row) == bits(other) && row.is_exact == other.is_exact)
}
