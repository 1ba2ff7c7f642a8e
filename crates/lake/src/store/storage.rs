//! Iceberg's files as objects of a bucket.
//!
//! A small file is one request. A large one goes up in parts of one size, a few at once, and is there when the last request of it says so;
//! what fails before that is taken back. What a process that dies has sent of it is seen by nobody, and a rule of the bucket removes it
//! (`AbortIncompleteMultipartUpload`).

use super::{Store, StoreError};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use iceberg::io::{
    FileMetadata, FileRead, FileWrite, InputFile, OutputFile, Storage, StorageConfig, StorageFactory,
};
use iceberg::{Error, ErrorKind, Result};
use object_store::path::Path as Key;
use object_store::{MultipartUpload, ObjectStoreExt, PutPayload, PutPayloadMut};
use serde::{Serialize, Serializer};
use std::ops::Range;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

/// Parts of a file that are on their way at once; so many times `part_bytes` it holds in memory.
const PARTS_AT_ONCE: usize = 4;
/// Objects that are deleted by one request at the most; S3's own bound.
const DELETED_AT_ONCE: usize = 1_000;

/// The name under which Iceberg's crate would look for what was serialised.
const NAME: &str = "affluent";

/// The files of a bucket.
#[derive(Debug, Clone)]
pub(super) struct ObjectStorage(Store);

impl ObjectStorage {
    pub(super) fn new(store: Store) -> Self {
        ObjectStorage(store)
    }

    /// The key of a location, and how an error about it is told.
    fn at<'a>(&self, location: &'a str) -> Result<(Key, impl Fn(object_store::Error) -> Error + use<'a>)> {
        let key = self.0.key(location).map_err(failed)?;
        Ok((key, move |error| failed(StoreError::of(location, &error))))
    }
}

fn failed(error: StoreError) -> Error {
    Error::new(ErrorKind::Unexpected, "files in the object store").with_source(error)
}

impl Serialize for ObjectStorage {
    /// Connections and keys stay in their process.
    fn serialize<S: Serializer>(&self, _: S) -> std::result::Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("a connection to an object store does not travel"))
    }
}

// What `typetag::serde` would add to the two traits is written out: its attribute would want the storage to come back from bytes.
#[async_trait]
impl Storage for ObjectStorage {
    async fn exists(&self, path: &str) -> Result<bool> {
        let (key, told) = self.at(path)?;
        match self.0.objects.head(&key).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(told(error)),
        }
    }

    async fn metadata(&self, path: &str) -> Result<FileMetadata> {
        let (key, told) = self.at(path)?;
        Ok(FileMetadata { size: self.0.objects.head(&key).await.map_err(told)?.size })
    }

    async fn read(&self, path: &str) -> Result<Bytes> {
        let (key, told) = self.at(path)?;
        let found = self.0.objects.get(&key).await.map_err(&told)?;
        found.bytes().await.map_err(told)
    }

    async fn reader(&self, path: &str) -> Result<Box<dyn FileRead>> {
        let (key, _) = self.at(path)?;
        Ok(Box::new(ObjectRead { store: self.0.clone(), location: path.to_owned(), key }))
    }

    async fn write(&self, path: &str, bs: Bytes) -> Result<()> {
        let mut writer = self.writer(path).await?;
        writer.write(bs).await?;
        writer.close().await
    }

    async fn writer(&self, path: &str) -> Result<Box<dyn FileWrite>> {
        let (key, _) = self.at(path)?;
        Ok(Box::new(ObjectWrite {
            store: self.0.clone(),
            location: path.to_owned(),
            key,
            unsent: PutPayloadMut::new(),
            parts: None,
            is_closed: false,
            runtime: Handle::current(),
        }))
    }

    async fn delete(&self, path: &str) -> Result<()> {
        let (key, told) = self.at(path)?;
        self.0.delete(vec![key]).await.map_err(told)
    }

    async fn delete_prefix(&self, path: &str) -> Result<()> {
        let (key, told) = self.at(path)?;
        let mut found = self.0.objects.list(Some(&key)).chunks(DELETED_AT_ONCE);
        while let Some(objects) = found.next().await {
            let keys = objects.into_iter().map(|object| Ok(object?.location));
            let keys = keys.collect::<object_store::Result<Vec<_>>>().map_err(&told)?;
            self.0.delete(keys).await.map_err(&told)?;
        }
        Ok(())
    }

    async fn delete_stream(&self, paths: BoxStream<'static, String>) -> Result<()> {
        let mut paths = paths.chunks(DELETED_AT_ONCE);
        while let Some(paths) = paths.next().await {
            let Some(first) = paths.first() else { continue };
            let keys = paths.iter().map(|path| self.0.key(path)).collect::<std::result::Result<Vec<_>, _>>();
            let deleted = self.0.delete(keys.map_err(failed)?).await;
            deleted.map_err(|error| failed(StoreError::of(first, &error)))?;
        }
        Ok(())
    }

    fn new_input(&self, path: &str) -> Result<InputFile> {
        Ok(InputFile::new(Arc::new(self.clone()), path.to_owned()))
    }

    fn new_output(&self, path: &str) -> Result<OutputFile> {
        Ok(OutputFile::new(Arc::new(self.clone()), path.to_owned()))
    }

    fn typetag_name(&self) -> &'static str {
        NAME
    }

    fn typetag_deserialize(&self) {}
}

impl StorageFactory for ObjectStorage {
    fn build(&self, _: &StorageConfig) -> Result<Arc<dyn Storage>> {
        Ok(Arc::new(self.clone()))
    }

    fn typetag_name(&self) -> &'static str {
        NAME
    }

    fn typetag_deserialize(&self) {}
}

struct ObjectRead {
    store: Store,
    location: String,
    key: Key,
}

#[async_trait]
impl FileRead for ObjectRead {
    async fn read(&self, range: Range<u64>) -> Result<Bytes> {
        let read = self.store.objects.get_range(&self.key, range).await;
        read.map_err(|error| failed(StoreError::of(&self.location, &error)))
    }
}

/// A file on its way up. Dropped before it is closed, it leaves nothing behind.
struct ObjectWrite {
    store: Store,
    location: String,
    key: Key,
    /// Less than a part.
    unsent: PutPayloadMut,
    /// Of a file that is larger than one.
    parts: Option<Parts>,
    is_closed: bool,
    /// Where it is taken back, if it is dropped.
    runtime: Handle,
}

impl ObjectWrite {
    fn told(&self, error: &object_store::Error) -> Error {
        failed(StoreError::of(&self.location, error))
    }

    /// Sends what there is as a part.
    async fn send_part(&mut self) -> object_store::Result<()> {
        let part = std::mem::take(&mut self.unsent).freeze();
        let parts = match self.parts.take() {
            Some(parts) => self.parts.insert(parts),
            None => {
                let upload = self.store.objects.put_multipart(&self.key).await?;
                self.parts.insert(Parts { upload, sending: JoinSet::new() })
            }
        };
        parts.send(part).await
    }

    /// Sends the rest; then it is there.
    async fn finish(&mut self) -> object_store::Result<()> {
        if self.parts.is_none() {
            let whole = std::mem::take(&mut self.unsent).freeze();
            return self.store.objects.put(&self.key, whole).await.map(drop);
        }
        if !self.unsent.is_empty() {
            self.send_part().await?;
        }
        if let Some(parts) = &mut self.parts {
            parts.complete().await?;
        }
        self.parts = None;
        Ok(())
    }
}

#[async_trait]
impl FileWrite for ObjectWrite {
    async fn write(&mut self, mut bs: Bytes) -> Result<()> {
        if self.is_closed {
            return Err(Error::new(ErrorKind::DataInvalid, format!("{} is closed", self.location)));
        }
        // One that fills a part exactly waits: it may be the whole file.
        while self.unsent.content_length() + bs.len() > self.store.part_bytes {
            let room = self.store.part_bytes - self.unsent.content_length();
            self.unsent.push(bs.split_to(room));
            self.send_part().await.map_err(|error| self.told(&error))?;
        }
        if !bs.is_empty() {
            self.unsent.push(bs);
        }
        Ok(())
    }

    async fn close(&mut self) -> Result<()> {
        if self.is_closed {
            return Err(Error::new(ErrorKind::DataInvalid, format!("{} is closed", self.location)));
        }
        self.is_closed = true;
        let finished = self.finish().await;
        if finished.is_err()
            && let Some(parts) = self.parts.take()
        {
            parts.abort(&self.location).await;
        }
        finished.map_err(|error| self.told(&error))
    }
}

impl Drop for ObjectWrite {
    fn drop(&mut self) {
        if let Some(parts) = self.parts.take() {
            let location = std::mem::take(&mut self.location);
            self.runtime.spawn(async move { parts.abort(&location).await });
        }
    }
}

/// The parts of a large file.
struct Parts {
    upload: Box<dyn MultipartUpload>,
    sending: JoinSet<object_store::Result<()>>,
}

impl Parts {
    /// Begins to send a part, once there is room for it.
    async fn send(&mut self, part: PutPayload) -> object_store::Result<()> {
        while self.sending.len() >= PARTS_AT_ONCE {
            self.sent().await?;
        }
        self.sending.spawn(self.upload.put_part(part));
        Ok(())
    }

    /// Waits for one of the parts that are on their way.
    async fn sent(&mut self) -> object_store::Result<()> {
        match self.sending.join_next().await {
            Some(sent) => sent?,
            None => Ok(()),
        }
    }

    async fn complete(&mut self) -> object_store::Result<()> {
        while !self.sending.is_empty() {
            self.sent().await?;
        }
        self.upload.complete().await.map(drop)
    }

    /// Takes back what was sent.
    async fn abort(mut self, location: &str) {
        self.sending.shutdown().await;
        if let Err(error) = self.upload.abort().await {
            // Where it was complete after all, there is nothing to take back; else the bucket's rule removes it.
            tracing::debug!(location, %error, "parts of a file not taken back");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::ObjectStore;
    use object_store::memory::InMemory;

    const PART: usize = 10;

    fn storage() -> (ObjectStorage, Arc<InMemory>) {
        let objects = Arc::new(InMemory::new());
        (ObjectStorage::new(Store::over("b", Arc::clone(&objects) as _, PART)), objects)
    }

    async fn count(objects: &InMemory) -> usize {
        objects.list(None).count().await
    }

    #[tokio::test]
    async fn files_come_back_as_they_were_written_whatever_their_size() {
        let (storage, _) = storage();
        for size in [0, 1, PART - 1, PART, PART + 1, 2 * PART, 10 * PART + 3] {
            for step in [1, 3, PART, 25] {
                let bytes: Vec<u8> = (0..size).map(|n| u8::try_from(n % 251).unwrap()).collect();
                let location = format!("s3://b/t/{size}-{step}");
                let mut writer = storage.writer(&location).await.unwrap();
                for piece in bytes.chunks(step) {
                    writer.write(Bytes::copy_from_slice(piece)).await.unwrap();
                }
                assert!(!storage.exists(&location).await.unwrap(), "not before it is closed");
                writer.close().await.unwrap();
                assert_eq!(storage.read(&location).await.unwrap(), bytes, "{size} {step}");
                assert_eq!(storage.metadata(&location).await.unwrap().size, size as u64);
                if size > 2 {
                    let part = storage.reader(&location).await.unwrap().read(1..3).await.unwrap();
                    assert_eq!(part, bytes[1..3]);
                }
                writer.close().await.unwrap_err();
            }
        }
    }

    #[tokio::test]
    async fn what_is_not_closed_is_not_there() {
        let (storage, objects) = storage();
        for size in [1, 10 * PART] {
            let mut writer = storage.writer("s3://b/t/x").await.unwrap();
            writer.write(Bytes::from(vec![7; size])).await.unwrap();
            drop(writer);
            assert_eq!(count(&objects).await, 0);
        }
    }

    #[tokio::test]
    async fn objects_are_deleted_by_name_and_by_what_they_are_below() {
        let (storage, objects) = storage();
        for name in ["t/a", "t/b/c", "t2/d"] {
            storage.write(&format!("s3://b/{name}"), Bytes::from_static(b"x")).await.unwrap();
        }
        storage.delete("s3://b/t2/d").await.unwrap();
        storage.delete("s3://b/t2/d").await.unwrap();
        assert_eq!(count(&objects).await, 2);
        storage.delete_prefix("s3://b/t").await.unwrap();
        assert_eq!(count(&objects).await, 0);
        let error = storage.read("s3://b/t/a").await.unwrap_err();
        let ours = StoreError::among_causes(&error).unwrap();
        assert_eq!(ours.problem(), super::super::StoreProblem::NoObject);
        storage.write("s3://elsewhere/t", Bytes::new()).await.unwrap_err();
    }

    #[test]
    fn a_storage_does_not_travel() {
        assert!(serde_json::to_string(&storage().0).is_err());
    }
}
