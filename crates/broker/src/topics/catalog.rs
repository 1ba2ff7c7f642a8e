//! The catalogue: one JSON file replaced as a whole, and the open logs.
//!
//! Invariant: a topic that was acknowledged as created is in the file, with its directory; one that
//! was acknowledged as deleted is not. Directories of neither kind are removed at the next start.

use super::config::{self, ConfigError, Overrides};
use crate::error::Error;
use crate::log::PartitionLog;
use crate::options::BrokerOptions;
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

/// The longest topic name of Kafka.
const NAME_BYTES: usize = 249;

/// A topic with its open partitions.
#[derive(Debug)]
pub(crate) struct Topic {
    pub name: String,
    pub id: Uuid,
    overrides: RwLock<Overrides>,
    partitions: RwLock<Vec<Arc<PartitionLog>>>,
}

impl Topic {
    pub(crate) fn partition(&self, index: i32) -> Option<Arc<PartitionLog>> {
        self.partitions.read().get(usize::try_from(index).ok()?).cloned()
    }

    pub(crate) fn partitions(&self) -> Vec<Arc<PartitionLog>> {
        self.partitions.read().clone()
    }

    pub(crate) fn partition_count(&self) -> usize {
        self.partitions.read().len()
    }

    pub(crate) fn overrides(&self) -> Overrides {
        self.overrides.read().clone()
    }
}

/// Why the catalogue was not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CatalogError {
    #[error("topic names have 1 to 249 letters, digits, dots, dashes and underscores")]
    Name,
    #[error("topic exists already")]
    Exists,
    #[error("no such topic")]
    Unknown,
    #[error("{0}")]
    Partitions(String),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("storage: {0}")]
    Storage(#[from] io::Error),
}

#[derive(Serialize, Deserialize)]
struct StoredTopic {
    id: Uuid,
    partitions: usize,
    #[serde(default)]
    configs: Overrides,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    cluster_id: Uuid,
    topics: BTreeMap<String, StoredTopic>,
}

#[derive(Default)]
struct Topics {
    by_name: BTreeMap<String, Arc<Topic>>,
    by_id: HashMap<Uuid, Arc<Topic>>,
}

/// All topics.
pub(crate) struct Catalog {
    options: Arc<BrokerOptions>,
    file: PathBuf,
    dir: PathBuf,
    cluster_id: Uuid,
    topics: RwLock<Topics>,
    /// Held while the catalogue is changed; readers are not kept waiting by it.
    changing: Mutex<()>,
}

impl Catalog {
    /// Opens every partition of every topic.
    ///
    /// # Errors
    /// When the catalogue or a partition cannot be read.
    pub(crate) fn open(options: Arc<BrokerOptions>) -> Result<Self, Error> {
        let file = options.data_dir.join("catalog.json");
        let dir = options.data_dir.join("topics");
        std::fs::create_dir_all(&dir).map_err(Error::storage("create", &dir))?;
        let stored = load(&file)?;
        let known: HashSet<String> = stored.topics.values().map(|t| t.id.to_string()).collect();
        for entry in std::fs::read_dir(&dir).map_err(Error::storage("list", &dir))? {
            let path = entry.map_err(Error::storage("list", &dir))?.path();
            if !path.file_name().and_then(|n| n.to_str()).is_some_and(|name| known.contains(name)) {
                std::fs::remove_dir_all(&path).map_err(Error::storage("remove", &path))?;
            }
        }
        let mut topics = Topics::default();
        for (name, stored) in stored.topics {
            let config = config::log_config(&stored.configs, &options);
            let at = dir.join(stored.id.to_string());
            let mut partitions = Vec::with_capacity(stored.partitions);
            for n in 0..stored.partitions {
                let at = at.join(n.to_string());
                let log =
                    PartitionLog::open(&at, options.flush, config).map_err(Error::storage("open", &at))?;
                partitions.push(Arc::new(log));
            }
            topics.insert(Topic {
                name,
                id: stored.id,
                overrides: RwLock::new(stored.configs),
                partitions: RwLock::new(partitions),
            });
        }
        let catalog = Self {
            options,
            file,
            dir,
            cluster_id: stored.cluster_id,
            topics: RwLock::new(topics),
            changing: Mutex::new(()),
        };
        catalog.save(&catalog.snapshot()).map_err(Error::storage("write", &catalog.file))?;
        Ok(catalog)
    }

    pub(crate) fn cluster_id(&self) -> String {
        self.cluster_id.simple().to_string()
    }

    pub(crate) fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.topics.read().by_name.get(name).cloned()
    }

    pub(crate) fn topic_by_id(&self, id: Uuid) -> Option<Arc<Topic>> {
        self.topics.read().by_id.get(&id).cloned()
    }

    /// Every topic, by name.
    pub(crate) fn topics(&self) -> Vec<Arc<Topic>> {
        self.topics.read().by_name.values().cloned().collect()
    }

    /// What [`Self::create`] would refuse.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub(crate) fn check_new(
        &self,
        name: &str,
        partitions: usize,
        overrides: &Overrides,
    ) -> Result<(), CatalogError> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if name.is_empty()
            || name.len() > NAME_BYTES
            || matches!(name, "." | "..")
            || !name.bytes().all(legal)
        {
            return Err(CatalogError::Name);
        }
        if self.topic(name).is_some() {
            return Err(CatalogError::Exists);
        }
        config::check(overrides)?;
        self.check_room(partitions)
    }

    fn check_room(&self, more: usize) -> Result<(), CatalogError> {
        let most = self.options.max_partitions;
        let used: usize = self.topics().iter().map(|t| t.partition_count()).sum();
        if more == 0 || used + more > most {
            let text = format!("{more} more partitions asked for, {used} of at most {most} exist");
            return Err(CatalogError::Partitions(text));
        }
        Ok(())
    }

    /// Creates a topic. Blocks on the disk.
    ///
    /// # Errors
    /// When the name, number or configuration is refused, or nothing can be written.
    pub(crate) fn create(
        &self,
        name: &str,
        partitions: usize,
        overrides: Overrides,
    ) -> Result<Arc<Topic>, CatalogError> {
        let _changing = self.changing.lock();
        self.check_new(name, partitions, &overrides)?;
        let id = Uuid::new_v4();
        let dir = self.dir.join(id.to_string());
        let config = config::log_config(&overrides, &self.options);
        let created = (0..partitions)
            .map(|n| PartitionLog::open(&dir.join(n.to_string()), self.options.flush, config).map(Arc::new))
            .collect::<io::Result<Vec<_>>>()
            .and_then(|logs| {
                let topic = StoredTopic { id, partitions, configs: overrides.clone() };
                let mut stored = self.snapshot();
                stored.topics.insert(name.to_owned(), topic);
                self.save(&stored).map(|()| logs)
            });
        match created {
            Ok(logs) => {
                let topic = Topic {
                    name: name.to_owned(),
                    id,
                    overrides: RwLock::new(overrides),
                    partitions: RwLock::new(logs),
                };
                tracing::info!(topic = name, partitions, "topic created");
                Ok(self.topics.write().insert(topic))
            }
            Err(error) => {
                let _ = std::fs::remove_dir_all(&dir);
                Err(error.into())
            }
        }
    }

    /// Deletes a topic and its records. Blocks on the disk.
    ///
    /// # Errors
    /// When it does not exist or the catalogue cannot be written.
    pub(crate) fn delete(&self, name: &str) -> Result<Arc<Topic>, CatalogError> {
        let _changing = self.changing.lock();
        let topic = self.topic(name).ok_or(CatalogError::Unknown)?;
        let mut stored = self.snapshot();
        stored.topics.remove(name);
        self.save(&stored)?;
        let mut topics = self.topics.write();
        topics.by_name.remove(name);
        topics.by_id.remove(&topic.id);
        drop(topics);
        let dir = self.dir.join(topic.id.to_string());
        if let Err(error) = std::fs::remove_dir_all(&dir) {
            tracing::warn!(dir = %dir.display(), %error, "records of a deleted topic stay until the next start");
        }
        tracing::info!(topic = name, "topic deleted");
        Ok(topic)
    }

    /// Grows a topic to `count` partitions. Blocks on the disk.
    ///
    /// # Errors
    /// When it would not grow, would grow too much, or nothing can be written.
    pub(crate) fn grow(&self, name: &str, count: usize, validate_only: bool) -> Result<(), CatalogError> {
        let _changing = self.changing.lock();
        let topic = self.topic(name).ok_or(CatalogError::Unknown)?;
        let present = topic.partition_count();
        if count <= present {
            let text = format!("the topic has {present} partitions already, {count} is not more");
            return Err(CatalogError::Partitions(text));
        }
        self.check_room(count - present)?;
        if validate_only {
            return Ok(());
        }
        let config = config::log_config(&topic.overrides(), &self.options);
        let dir = self.dir.join(topic.id.to_string());
        let added = (present..count)
            .map(|n| PartitionLog::open(&dir.join(n.to_string()), self.options.flush, config).map(Arc::new))
            .collect::<io::Result<Vec<_>>>()?;
        let mut stored = self.snapshot();
        if let Some(entry) = stored.topics.get_mut(name) {
            entry.partitions = count;
        }
        self.save(&stored)?;
        topic.partitions.write().extend(added);
        Ok(())
    }

    /// Replaces the overrides of a topic. Blocks on the disk.
    ///
    /// # Errors
    /// When a key or value is refused or the catalogue cannot be written.
    pub(crate) fn configure(
        &self,
        name: &str,
        overrides: Overrides,
        validate_only: bool,
    ) -> Result<(), CatalogError> {
        let _changing = self.changing.lock();
        let topic = self.topic(name).ok_or(CatalogError::Unknown)?;
        config::check(&overrides)?;
        if validate_only {
            return Ok(());
        }
        let mut stored = self.snapshot();
        if let Some(entry) = stored.topics.get_mut(name) {
            entry.configs = overrides.clone();
        }
        self.save(&stored)?;
        let config = config::log_config(&overrides, &self.options);
        *topic.overrides.write() = overrides;
        topic.partitions().iter().for_each(|log| log.set_config(config));
        Ok(())
    }

    fn snapshot(&self) -> Stored {
        let topics = self.topics.read();
        let stored = |topic: &Arc<Topic>| StoredTopic {
            id: topic.id,
            partitions: topic.partition_count(),
            configs: topic.overrides(),
        };
        Stored {
            cluster_id: self.cluster_id,
            topics: topics.by_name.iter().map(|(name, topic)| (name.clone(), stored(topic))).collect(),
        }
    }

    fn save(&self, stored: &Stored) -> io::Result<()> {
        crate::journal::replace_file(&self.file, &serde_json::to_vec_pretty(stored)?)
    }
}

impl Topics {
    fn insert(&mut self, topic: Topic) -> Arc<Topic> {
        let topic = Arc::new(topic);
        self.by_id.insert(topic.id, Arc::clone(&topic));
        self.by_name.insert(topic.name.clone(), Arc::clone(&topic));
        topic
    }
}

fn load(file: &Path) -> Result<Stored, Error> {
    match std::fs::read(file) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map_err(|e| Error::Corrupt { path: file.to_owned(), reason: e.to_string() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok(Stored { cluster_id: Uuid::new_v4(), topics: BTreeMap::new() })
        }
        Err(error) => Err(Error::storage("read", file)(error)),
    }
}
