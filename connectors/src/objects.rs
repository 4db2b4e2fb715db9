//! Object stores (S3, and what speaks its protocol) for callers that are not asynchronous: files by their names below a
//! prefix, written whole.
//!
//! Where a store is and who asks is said by the variables that AWS's own tools know (`AWS_ACCESS_KEY_ID`, `AWS_REGION`,
//! `AWS_ENDPOINT_URL`, ..). A request that fails is tried again for some seconds here, and by the caller for as long as
//! it takes.

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use object_store::{
    BackoffConfig, ClientOptions, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutPayload, RetryConfig,
    WriteMultipart,
};
use std::fs::File;
use std::future::Future;
use std::io::{self, Write};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::{Duration, SystemTime};
use thalweg_schemas::error::{Error, Result};
use tokio::runtime::Runtime;

/// What is larger than two of these is written in parts of this size.
const PART_BYTES: usize = 8 << 20;
/// How many parts are on their way at once.
const PARALLEL: usize = 8;

/// For how long a request is tried before the caller hears of it. Short: a stop waits for the last try.
const RETRY: RetryConfig = RetryConfig {
    backoff: BackoffConfig { init_backoff: Duration::from_millis(100), max_backoff: Duration::from_secs(2), base: 2. },
    max_retries: 5,
    retry_timeout: Duration::from_secs(8),
};

/// Whether `path` names a place in an object store, or tries to: it begins with a scheme.
pub fn is_url(path: &str) -> bool {
    path.contains("://")
}

/// The bucket of `s3://bucket/prefix`, as its URL and its store, and the prefix.
pub fn bucket(url: &str) -> Result<(String, Arc<dyn ObjectStore>, Path)> {
    let mistake = |what: String| Error::user(what).with_hint("Name a folder, or a place such as s3://bucket/prefix.");
    let rest = url
        .strip_prefix("s3://")
        .ok_or_else(|| mistake(format!("'{url}' is in no object store that is known here")))?;
    let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if name.is_empty() {
        return Err(mistake(format!("'{url}' names no bucket")));
    }
    let prefix = Path::parse(prefix).map_err(|error| mistake(format!("'{url}': {error}")))?;
    let options = ClientOptions::new().with_connect_timeout(Duration::from_secs(3));
    // What the environment says goes on top: `AWS_ALLOW_HTTP` is one of the client's options.
    let mut builder = AmazonS3Builder::new().with_client_options(options).with_retry(RETRY);
    for (key, value) in std::env::vars().filter(|(key, _)| key.starts_with("AWS_")) {
        if let Ok(key) = key.to_ascii_lowercase().parse() {
            builder = builder.with_config(key, value);
        }
    }
    let store = builder.with_bucket_name(name).build();
    let store = store.map_err(|error| mistake(format!("bucket '{name}' cannot be used: {error}")))?;
    Ok((format!("s3://{name}"), Arc::new(store), prefix))
}

/// The files below a prefix.
#[derive(Clone, Debug)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    /// The prefix as people write it.
    url: String,
}

impl Objects {
    /// The files below `url`, such as `s3://bucket/prefix`. Nothing is asked of the store yet.
    pub fn open(url: &str) -> Result<Objects> {
        let (bucket, store, prefix) = bucket(url)?;
        let url = if prefix.as_ref().is_empty() { bucket } else { format!("{bucket}/{prefix}") };
        Ok(Objects { store, prefix, url })
    }

    /// The files of `store` itself.
    #[cfg(test)]
    pub fn of(store: Arc<dyn ObjectStore>) -> Objects {
        Objects { store, prefix: Path::default(), url: "store:".to_string() }
    }

    /// Those below `name`.
    pub fn below(&self, name: &str) -> io::Result<Objects> {
        Ok(Objects { store: self.store.clone(), prefix: self.path(name)?, url: self.describe(name) })
    }

    fn path(&self, name: &str) -> io::Result<Path> {
        let whole = format!("{}/{name}", self.prefix);
        Path::parse(whole.trim_matches('/')).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
    }

    /// The names of all files, at any depth, sorted.
    pub fn list(&self) -> io::Result<Vec<String>> {
        let (store, prefix) = (self.store.clone(), self.prefix.clone());
        let found = wait(async move { store.list(Some(&prefix)).try_collect::<Vec<_>>().await })?;
        Ok(self.names(found.iter().map(|file| &file.location)))
    }

    /// The names of the files that are in no folder, sorted.
    pub fn list_top(&self) -> io::Result<Vec<String>> {
        let (store, prefix) = (self.store.clone(), self.prefix.clone());
        let found = wait(async move { store.list_with_delimiter(Some(&prefix)).await })?;
        Ok(self.names(found.objects.iter().map(|file| &file.location)))
    }

    /// The names of the folders that hold anything, at the top, sorted.
    pub fn folders(&self) -> io::Result<Vec<String>> {
        let (store, prefix) = (self.store.clone(), self.prefix.clone());
        let found = wait(async move { store.list_with_delimiter(Some(&prefix)).await })?;
        Ok(self.names(found.common_prefixes.iter()))
    }

    /// The names of all files with their lengths in bytes, sorted by name.
    pub fn list_with_lengths(&self) -> io::Result<Vec<(String, u64)>> {
        let (store, prefix) = (self.store.clone(), self.prefix.clone());
        let mut found = wait(async move { store.list(Some(&prefix)).try_collect::<Vec<_>>().await })?;
        found.sort_by(|a, b| a.location.cmp(&b.location));
        Ok(self
            .names(found.iter().map(|file| &file.location))
            .into_iter()
            .zip(found.iter().map(|file| file.size))
            .collect())
    }

    /// The names of all files with their lengths in bytes, and when they were written.
    pub fn list_with_times(&self) -> io::Result<Vec<(String, u64, SystemTime)>> {
        let (store, prefix) = (self.store.clone(), self.prefix.clone());
        let found = wait(async move { store.list(Some(&prefix)).try_collect::<Vec<_>>().await })?;
        let named = |file: &ObjectMeta| {
            let name = self.names(std::iter::once(&file.location)).pop()?;
            Some((name, file.size, SystemTime::from(file.last_modified)))
        };
        Ok(found.iter().filter_map(named).collect())
    }

    /// The length of a file in bytes; `None` if there is none of this name.
    pub fn length(&self, name: &str) -> io::Result<Option<u64>> {
        let (store, path) = (self.store.clone(), self.path(name)?);
        wait(async move {
            match store.head(&path).await {
                Ok(file) => Ok(Some(file.size)),
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        })
    }

    /// Begins to fetch a file into one of this machine that has no name and goes when it is closed.
    pub fn fetch(&self, name: &str) -> io::Result<Fetch> {
        let (store, path) = (self.store.clone(), self.path(name)?);
        let answered = ask(async move {
            let mut bytes = store.get(&path).await.map_err(meaning)?.into_stream();
            let mut file = tempfile::tempfile()?;
            while let Some(bytes) = bytes.try_next().await.map_err(meaning)? {
                file.write_all(&bytes)?;
            }
            Ok(file)
        })?;
        Ok(Fetch { answered })
    }

    fn names<'a>(&self, paths: impl Iterator<Item = &'a Path>) -> Vec<String> {
        let below = |path: &'a Path| path.as_ref().strip_prefix(self.prefix.as_ref());
        let mut names: Vec<String> = paths.filter_map(below).map(|name| name.trim_matches('/').to_string()).collect();
        names.sort();
        names
    }

    /// The bytes of a file.
    pub fn read(&self, name: &str) -> io::Result<Bytes> {
        let (store, path) = (self.store.clone(), self.path(name)?);
        wait(async move { store.get(&path).await?.bytes().await })
    }

    /// Writes a file: it is there whole with these bytes, or as it was before.
    pub fn write(&self, name: &str, bytes: Bytes) -> io::Result<()> {
        let (store, path) = (self.store.clone(), self.path(name)?);
        wait(async move {
            if bytes.len() <= 2 * PART_BYTES {
                return store.put(&path, PutPayload::from(bytes)).await.map(drop);
            }
            let mut upload = WriteMultipart::new_with_chunk_size(store.put_multipart(&path).await?, PART_BYTES);
            for at in (0..bytes.len()).step_by(PART_BYTES) {
                if let Err(error) = upload.wait_for_capacity(PARALLEL).await {
                    // The parts cost room until they are given up; the error is what matters.
                    drop(upload.abort().await);
                    return Err(error);
                }
                upload.put(bytes.slice(at..bytes.len().min(at + PART_BYTES)));
            }
            upload.finish().await.map(drop)
        })
    }

    /// Writes a small file unless there is one of this name: then false. Of several who try, one gets true.
    pub fn create(&self, name: &str, bytes: Bytes) -> io::Result<bool> {
        let (store, path) = (self.store.clone(), self.path(name)?);
        wait(async move {
            match store.put_opts(&path, PutPayload::from(bytes.clone()), PutMode::Create.into()).await {
                Ok(_) => Ok(true),
                Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
                // A store without conditions (`AWS_CONDITIONAL_PUT=disabled`): the next best.
                Err(object_store::Error::NotImplemented { .. }) => match store.head(&path).await {
                    Ok(_) => Ok(false),
                    Err(object_store::Error::NotFound { .. }) => store.put(&path, bytes.into()).await.map(|_| true),
                    Err(error) => Err(error),
                },
                Err(error) => Err(error),
            }
        })
    }

    /// Copies a file within the store, over another if there is one.
    pub fn copy(&self, from: &str, to: &str) -> io::Result<()> {
        let (store, from, to) = (self.store.clone(), self.path(from)?, self.path(to)?);
        wait(async move { store.copy(&from, &to).await })
    }

    /// Removes a file; it need not be there.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        let (store, path) = (self.store.clone(), self.path(name)?);
        wait(async move {
            match store.delete(&path).await {
                Err(object_store::Error::NotFound { .. }) => Ok(()),
                removed => removed,
            }
        })
    }

    /// Where a file is, for people.
    pub fn describe(&self, name: &str) -> String {
        format!("{}/{name}", self.url).trim_end_matches('/').to_string()
    }
}

/// A file on its way here.
pub struct Fetch {
    answered: mpsc::Receiver<io::Result<File>>,
}

impl Fetch {
    /// The file, once; `None` while it is on its way.
    pub fn poll(&mut self) -> Option<io::Result<File>> {
        match self.answered.try_recv() {
            Ok(answer) => Some(answer),
            Err(mpsc::TryRecvError::Empty) => None,
            Err(mpsc::TryRecvError::Disconnected) => Some(Err(gone())),
        }
    }
}

/// Waits for an answer of a store.
fn wait<T: Send + 'static>(asked: impl Future<Output = object_store::Result<T>> + Send + 'static) -> io::Result<T> {
    ask(async move { asked.await.map_err(meaning) })?.recv().unwrap_or_else(|_| Err(gone()))
}

fn gone() -> io::Error {
    io::Error::other("a request to the object store ended in a panic")
}

/// Asks a store. Connections live on threads of their own, so that any thread may wait for the answer.
fn ask<T: Send + 'static>(
    asked: impl Future<Output = io::Result<T>> + Send + 'static,
) -> io::Result<mpsc::Receiver<io::Result<T>>> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = match RUNTIME.get() {
        Some(runtime) => runtime,
        None => {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            let made = builder.worker_threads(2).thread_name("object stores").enable_all().build()?;
            RUNTIME.get_or_init(|| made)
        }
    };
    let (answer, answered) = mpsc::sync_channel(1);
    runtime.spawn(async move { drop(answer.send(asked.await)) });
    Ok(answered)
}

/// What an error of a store means to the caller.
fn meaning(error: object_store::Error) -> io::Error {
    use object_store::Error as Store;
    let kind = match &error {
        Store::NotFound { .. } => io::ErrorKind::NotFound,
        Store::PermissionDenied { .. } | Store::Unauthenticated { .. } => io::ErrorKind::PermissionDenied,
        Store::InvalidPath { .. } => io::ErrorKind::InvalidInput,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::memory::InMemory;

    #[test]
    fn files_are_known_by_their_names_below_the_prefix() {
        let all = Objects::of(Arc::new(InMemory::new()));
        let some = all.below("a b/region=e%2Fu").unwrap();
        some.write("x.parquet", Bytes::from_static(b"x")).unwrap();
        some.write("deep/y", Bytes::from_static(b"y")).unwrap();
        all.write("a b/region=e%2Fus", Bytes::from_static(b"not below")).unwrap();
        assert_eq!(some.list().unwrap(), ["deep/y", "x.parquet"]);
        assert_eq!(some.list_top().unwrap(), ["x.parquet"]);
        assert_eq!(all.read("a b/region=e%2Fu/deep/y").unwrap(), "y");
        assert_eq!(some.folders().unwrap(), ["deep"]);
        assert_eq!(some.read("none").unwrap_err().kind(), io::ErrorKind::NotFound);
        some.copy("deep/y", "z").unwrap();
        some.remove("deep/y").unwrap();
        some.remove("deep/y").unwrap();
        assert_eq!(some.list().unwrap(), ["x.parquet", "z"]);
        assert_eq!(some.describe("z"), "store:/a b/region=e%2Fu/z");
    }

    #[test]
    fn one_of_several_creates_a_file() {
        let place = Objects::of(Arc::new(InMemory::new()));
        assert!(place.create("one", Bytes::from_static(b"1")).unwrap());
        assert!(!place.create("one", Bytes::from_static(b"2")).unwrap());
        assert_eq!(place.read("one").unwrap(), "1");
    }

    #[test]
    fn a_large_file_is_written_in_parts() {
        let place = Objects::of(Arc::new(InMemory::new()));
        let bytes = Bytes::from((0..2 * PART_BYTES + 5).map(|n| (n * n % 251) as u8).collect::<Vec<_>>());
        place.write("large", bytes.clone()).unwrap();
        assert_eq!(place.read("large").unwrap(), bytes);
    }

    #[test]
    fn other_places_are_refused() {
        let mistake = |url: &str| Objects::open(url).unwrap_err().message;
        assert_eq!(mistake("gs://bucket/x"), "'gs://bucket/x' is in no object store that is known here");
        assert_eq!(mistake("s3:///x"), "'s3:///x' names no bucket");
        assert!(mistake("s3://bucket/a//b").starts_with("'s3://bucket/a//b': "));
        assert_eq!(Objects::open("s3://bucket").unwrap().describe("x"), "s3://bucket/x");
        assert_eq!(Objects::open("s3://bucket/a/b/").unwrap().describe("x"), "s3://bucket/a/b/x");
    }
}
