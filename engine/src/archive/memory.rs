//! A storage in memory: where a run that keeps no state has its archives.

use crate::durability::storage::{Log, Storage};
use crate::ledger::lock;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use thalweg_schemas::error::{Error, Result};

type Blobs = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

/// Blobs that go with the process.
#[derive(Default)]
pub(crate) struct MemoryFolder(Blobs);

impl Storage for MemoryFolder {
    fn list(&self) -> Result<Vec<String>> {
        Ok(lock(&self.0).keys().cloned().collect())
    }

    fn read(&self, name: &str) -> Result<Vec<u8>> {
        lock(&self.0).get(name).cloned().ok_or_else(|| Error::outside(format!("{name} is gone")))
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        lock(&self.0).insert(name.to_string(), bytes.to_vec());
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<()> {
        lock(&self.0).remove(name);
        Ok(())
    }

    fn create_log(&self, name: &str) -> Result<Box<dyn Log>> {
        self.write(name, b"")?;
        Ok(Box::new(MemoryLog { blobs: self.0.clone(), name: name.to_string() }))
    }

    fn cut_log(&self, name: &str, length: u64) -> Result<()> {
        if let Some(bytes) = lock(&self.0).get_mut(name) {
            bytes.truncate(length as usize);
        }
        Ok(())
    }

    fn describe(&self, name: &str) -> String {
        format!("{name} in memory")
    }
}

struct MemoryLog {
    blobs: Blobs,
    name: String,
}

impl Log for MemoryLog {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        lock(&self.blobs).entry(self.name.clone()).or_default().extend_from_slice(bytes);
        Ok(())
    }
}
