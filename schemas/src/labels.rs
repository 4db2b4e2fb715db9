//! Labels: names and values, in the order of names, in one piece of memory.
//!
//! An engine holds the labels of every alert that fires, and they are a few short texts each: as a tree of texts such a set
//! takes 600 bytes, here 60. They are read far more often than made, and never changed: a change makes others.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

/// Names and values, each name once.
///
/// The text is one netstring after the other: the length of a name in bytes, `:`, the name, and the same of its value.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Labels(Box<str>);

impl Labels {
    /// No labels.
    pub fn new() -> Labels {
        Labels::default()
    }

    /// The names and values, in the order of names.
    pub fn iter(&self) -> Iter<'_> {
        Iter(&self.0)
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find_map(|(known, value)| (known == name).then_some(value))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// These, with `value` under `name`, whatever was there.
    #[must_use]
    pub fn with(&self, name: &str, value: &str) -> Labels {
        self.iter().chain([(name, value)]).collect()
    }
}

/// The names and values of [`Labels`].
#[derive(Clone, Debug)]
pub struct Iter<'a>(&'a str);

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<(&'a str, &'a str)> {
        let (name, rest) = first(self.0)?;
        let (value, rest) = first(rest)?;
        self.0 = rest;
        Some((name, value))
    }
}

/// The first text of a row of netstrings, and the others.
fn first(text: &str) -> Option<(&str, &str)> {
    let (length, rest) = text.split_once(':')?;
    rest.split_at_checked(length.parse().ok()?)
}

impl<'a> IntoIterator for &'a Labels {
    type Item = (&'a str, &'a str);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// Of several values of a name the last one counts.
impl<N: AsRef<str> + Ord, V: AsRef<str>> FromIterator<(N, V)> for Labels {
    fn from_iter<T: IntoIterator<Item = (N, V)>>(pairs: T) -> Labels {
        let sorted: BTreeMap<N, V> = pairs.into_iter().collect();
        let mut text = String::new();
        for part in sorted.iter().flat_map(|(name, value)| [name.as_ref(), value.as_ref()]) {
            text.push_str(&part.len().to_string());
            text.push(':');
            text.push_str(part);
        }
        Labels(text.into())
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Labels) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Labels {
    fn cmp(&self, other: &Labels) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

/// As Alertmanager writes them: `{alertname="A", region="eu"}`.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: Vec<String> = self.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        write!(f, "{{{}}}", pairs.join(", "))
    }
}

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self)
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Labels, D::Error> {
        Ok(BTreeMap::<String, String>::deserialize(deserializer)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn labels_are_shown_and_changed() {
        let labels = Labels::from_iter([("region", "eu"), ("alertname", "\"A\""), ("region", "us")]);
        assert_eq!(labels.to_string(), r#"{alertname="\"A\"", region="us"}"#);
        assert_eq!((labels.get("region"), labels.get("reg"), labels.len()), (Some("us"), None, 2));
        let other = labels.with("zone", "").with("region", "ü");
        assert_eq!(other.iter().collect::<Vec<_>>(), [("alertname", "\"A\""), ("region", "ü"), ("zone", "")]);
        assert!(Labels::new().is_empty() && !other.is_empty());
        assert_eq!(format!("{:?}", Labels::new().with("a", "b")), r#"{"a": "b"}"#);
    }

    proptest! {
        #[test]
        fn they_are_what_a_map_is(
            a in prop::collection::btree_map("[a-c:0-9ü]{0,3}", ".{0,3}", 0..4),
            b in prop::collection::btree_map("[a-c:0-9ü]{0,3}", ".{0,3}", 0..4),
            name in "[a-c]{0,2}",
        ) {
            let labels = |map: &BTreeMap<String, String>| map.iter().collect::<Labels>();
            prop_assert_eq!(labels(&a).cmp(&labels(&b)), a.cmp(&b));
            prop_assert_eq!(labels(&a) == labels(&b), a == b);
            let own = labels(&a);
            prop_assert_eq!(own.get(&name), a.get(&name).map(String::as_str));
            let json = serde_json::to_string(&a).unwrap();
            prop_assert_eq!(&serde_json::to_string(&labels(&a)).unwrap(), &json);
            prop_assert_eq!(serde_json::from_str::<Labels>(&json).unwrap(), labels(&a));
        }
    }
}
