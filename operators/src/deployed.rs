//! What a run is made of, as its state remembers it, so that another program can be compared with it.
//!
//! The state is found by names and is good only for what computed it. So each object is kept with a fingerprint of what
//! it computes, that of everything it reads included: two objects of one name and fingerprint can take over from each
//! other, and nobody else can.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// What a run is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployed {
    /// The paths of the pipeline, as whoever started it named them.
    pub paths: Vec<String>,
    /// The statements, file by file; variables are not put in, so no secret shows. Those that came while it ran have no
    /// file.
    pub texts: Vec<Text>,
    /// The statements of the pipeline's files that were dropped while it ran, by what they declare. They stay dropped for
    /// as long as they say the same.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dropped: BTreeMap<String, String>,
    /// The sources, views and sinks, by the names under which the run knows them.
    pub objects: BTreeMap<String, Object>,
}

/// A text of statements.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    /// Its file.
    pub file: String,
    /// What it says.
    pub text: String,
}

/// A source, view or sink of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// What it is.
    pub kind: ObjectKind,
    /// The name of its declaration. It is another than the object's own for a second reading of a source, and for what
    /// is computed a second time from that.
    pub declared: String,
    /// Of what it computes, and from what.
    pub fingerprint: String,
    /// A source's or a sink's connector.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub connector: String,
    /// Of where and how a sink writes, which is no part of what it computes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub settings: String,
    /// What it reads under another name than its statement says: the declared name and the object's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reads: BTreeMap<String, String>,
}

impl Object {
    /// The object that it reads where its statement says `declared`.
    pub fn reads_as<'a>(&'a self, declared: &'a str) -> &'a str {
        self.reads.get(declared).map_or(declared, String::as_str)
    }
}

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectKind {
    /// A source.
    Source,
    /// A materialized view.
    View,
    /// A sink.
    Sink,
}

/// Other names for what one statement declares, which goes on under them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renaming {
    /// The new name of each old one: a table has a source of its rows beside it.
    pub names: BTreeMap<String, String>,
    /// The fingerprints of all objects under the new names, by their declarations: names of what is read are part of them.
    pub fingerprints: BTreeMap<String, String>,
}

impl Renaming {
    /// What `name` is called. A further reading of what has another name, `orders#2`, has it too.
    pub fn of<'a>(&self, name: &'a str) -> Cow<'a, str> {
        if let Some(new) = self.names.get(name) {
            return Cow::Owned(new.clone());
        }
        let of_instance = name.rsplit_once('#').and_then(|(declared, number)| {
            number.parse::<u64>().ok()?;
            Some(format!("{}#{number}", self.names.get(declared)?))
        });
        of_instance.map_or(Cow::Borrowed(name), Cow::Owned)
    }

    /// The same map under the new names.
    pub fn keys<T>(&self, map: BTreeMap<String, T>) -> BTreeMap<String, T> {
        map.into_iter().map(|(name, value)| (self.of(&name).into_owned(), value)).collect()
    }

    /// The objects under the new name.
    pub fn objects(&self, objects: BTreeMap<String, Object>) -> BTreeMap<String, Object> {
        let renamed = |object: Object| {
            let declared = self.of(&object.declared).to_string();
            let fingerprint = self.fingerprints.get(&declared).cloned().unwrap_or(object.fingerprint);
            let reads = object.reads.into_iter().map(|(said, read)| (said, self.of(&read).to_string())).collect();
            Object { declared, fingerprint, reads: self.keys(reads), ..object }
        };
        self.keys(objects).into_iter().map(|(name, object)| (name, renamed(object))).collect()
    }

    /// The state under the new name.
    pub fn standing(&self, there: Standing) -> Standing {
        let objects = self.objects(there.deployed.objects);
        Standing {
            deployed: Deployed { objects, ..there.deployed },
            sources: self.keys(there.sources),
            view_rows: self.keys(there.view_rows),
            ..there
        }
    }
}

/// A run's state as it lies there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// What it is the state of.
    pub deployed: Deployed,
    /// The epoch of the newest checkpoint.
    pub epoch: u64,
    /// When that was taken, in nanoseconds since 1970.
    pub time_ns: i64,
    /// How far the sources had been read, by their names.
    pub sources: BTreeMap<String, StandingSource>,
    /// How many rows the views had, by their names.
    pub view_rows: BTreeMap<String, u64>,
}

/// A source as a checkpoint knows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StandingSource {
    /// Whether anything was read of it.
    pub begun: bool,
    /// How many records were read.
    pub rows_in: u64,
    /// Whether it gives the same records for the same offsets again.
    pub replayable: bool,
}
