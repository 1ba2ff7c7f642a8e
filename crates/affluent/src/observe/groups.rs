//! The lag of every consumer group of the cluster, also of other people's, where `telemetry.groups` says so.
//!
//! Groups of which this process is a member are left to their consume loops, which know better. What is looked at is bounded.

use super::options::Groups;
use super::ticks;
use crate::config::Config;
use crate::platform::Platform;
use affluent_bus::TopicPartition;
use affluent_model::time::now_micros;
use affluent_telemetry::lag::Ends;
use affluent_telemetry::metrics_list;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Looks again and again, until it is dropped.
pub(super) async fn run(platform: &Platform, roles: &[&'static str]) {
    let options = &platform.config().telemetry;
    match options.groups {
        Groups::Own => return,
        Groups::All => {}
    }
    let own = own_groups(platform.config(), roles);
    let mut watch = Watch::default();
    let mut tick = ticks(Duration::from_secs(options.groups_interval_s));
    loop {
        tick.tick().await;
        if let Err(error) = watch.look(platform, &own).await {
            tracing::warn!(%error, "groups of the cluster not looked at");
        }
    }
}

/// The groups of the roles that this process plays; of a process of its own, by the beginning of its name.
fn own_groups(config: &Config, roles: &[&'static str]) -> Vec<String> {
    let groups = [
        ("sink-documents", config.sink_documents.group.clone()),
        ("sink-events", config.sink_events.group.clone()),
        ("sink-lake", config.sink_lake.group.clone()),
        ("features", config.features.consume.group.clone()),
        ("score", config.score.consume.group.clone()),
    ];
    groups.into_iter().filter(|(role, _)| roles.contains(role)).map(|(_, group)| group).collect()
}

fn is_own(group: &str, own: &[String]) -> bool {
    own.iter().any(|own| {
        group.strip_prefix(own.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    })
}

#[derive(Default)]
struct Watch {
    ends: BTreeMap<TopicPartition, Ends>,
    /// What was told at the last look.
    told: BTreeSet<(String, TopicPartition)>,
}

impl Watch {
    async fn look(&mut self, platform: &Platform, own: &[String]) -> anyhow::Result<()> {
        let admin = platform.admin().await?;
        let topics = admin.topics().await?;
        let partitions: Vec<TopicPartition> = topics
            .iter()
            .filter(|(topic, _)| !topic.starts_with("__"))
            .flat_map(|(topic, count)| {
                (0..*count).map(move |number| TopicPartition::new(topic.as_str(), number))
            })
            .collect();
        let mut groups = admin.groups().await?;
        groups.retain(|group| !is_own(group, own));
        groups.sort_unstable();
        let (mut places, mut left_out) = (Vec::new(), 0);
        for group in groups {
            let committed = match admin.committed(&group, &partitions).await {
                Ok(committed) => committed,
                Err(error) if error.is_passing() => return Err(error.into()),
                // A group that this process may not see keeps it from no other.
                Err(error) => {
                    tracing::debug!(group, %error, "group not looked at");
                    continue;
                }
            };
            for (partition, next) in committed {
                if places.len() < platform.config().telemetry.groups_partitions_max {
                    places.push((group.clone(), partition, next));
                } else {
                    left_out += 1;
                }
            }
        }
        let read: BTreeSet<TopicPartition> =
            places.iter().map(|(_, partition, _)| partition.clone()).collect();
        self.ends.retain(|partition, _| read.contains(partition));
        let mut bounds = BTreeMap::new();
        for partition in read {
            let (begin, end) = match admin.watermarks(&partition).await {
                Ok(found) => found,
                Err(error) if error.is_passing() => return Err(error.into()),
                Err(error) => {
                    tracing::debug!(%partition, %error, "partition not looked at");
                    continue;
                }
            };
            self.ends.entry(partition.clone()).or_default().look(now_micros(), end);
            bounds.insert(partition, (begin, end));
        }
        self.tell(places, &bounds);
        metrics_list::lag_partitions_left_out(left_out);
        Ok(())
    }

    fn tell(
        &mut self,
        places: Vec<(String, TopicPartition, i64)>,
        bounds: &BTreeMap<TopicPartition, (i64, i64)>,
    ) {
        let now_us = now_micros();
        let mut told = BTreeSet::new();
        for (group, partition, next) in places {
            let Some(&(begin, end)) = bounds.get(&partition) else { continue };
            // What its topic no longer keeps, a group does not wait for.
            let next = next.max(begin);
            let records = (end - next).max(0);
            let seconds = self.ends.get(&partition).map_or(0.0, |ends| ends.age_s(next, now_us));
            metrics_list::consumer_lag(&group, &partition.topic, partition.partition, records, seconds);
            told.insert((group, partition));
        }
        // A group that is gone is behind nothing.
        for (group, partition) in self.told.difference(&told) {
            metrics_list::consumer_lag(group, &partition.topic, partition.partition, 0, 0.0);
        }
        self.told = told;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_this_process_are_left_to_it() {
        let config = Config::builtin().unwrap();
        let own = own_groups(&config, &["sink-lake", "score"]);
        assert_eq!(own, [config.sink_lake.group.clone(), config.score.consume.group.clone()]);
        for (group, expected) in [
            (config.sink_lake.group.clone(), true),
            (format!("{}-7f3a", config.score.consume.group), true),
            (config.sink_documents.group.clone(), false),
            (format!("{}s", config.sink_lake.group), false),
            ("their-reports".to_owned(), false),
        ] {
            assert_eq!(is_own(&group, &own), expected, "{group}");
        }
    }
}
