//! What several places hold is there once: an alert that its incident, its messages and the log know, and the words that
//! many alerts have in common.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, LazyLock};

/// Something that is held in several places. In JSON it is written out in each.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shared<T>(Arc<T>);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Shared<T> {
        Shared(self.0.clone())
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> From<T> for Shared<T> {
    fn from(value: T) -> Shared<T> {
        Shared(Arc::new(value))
    }
}

impl<T: Clone> Shared<T> {
    /// The value, to be changed: of its own where others hold it too.
    pub fn make_mut(&mut self) -> &mut T {
        Arc::make_mut(&mut self.0)
    }
}

impl<T: Serialize> Serialize for Shared<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_ref().serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Shared<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Shared<T>, D::Error> {
        T::deserialize(deserializer).map(Shared::from)
    }
}

/// A text that is held in several places, by a pointer of one word: an incident is of a dozen such.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Word(Arc<Box<str>>);

impl Deref for Word {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Default for Word {
    fn default() -> Word {
        static NONE: LazyLock<Word> = LazyLock::new(|| Word::from(""));
        NONE.clone()
    }
}

impl From<&str> for Word {
    fn from(text: &str) -> Word {
        Word(Arc::new(text.into()))
    }
}

impl Borrow<str> for Word {
    fn borrow(&self) -> &str {
        self
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl Serialize for Word {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Word, D::Error> {
        String::deserialize(deserializer).map(|text| Word(Arc::new(text.into())))
    }
}

/// The words that are known, so that each is held once.
#[derive(Default)]
pub(crate) struct Words(BTreeSet<Word>);

impl Words {
    /// Puts the word that is known in the place of one that says the same.
    pub fn share(&mut self, word: &mut Word) {
        match self.0.get(&**word) {
            Some(known) => *word = known.clone(),
            None => drop(self.0.insert(word.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_held_once() {
        let mut words = Words::default();
        let [mut a, mut b] = [Word::from("critical"), Word::from("critical")];
        words.share(&mut a);
        words.share(&mut b);
        assert!(Arc::ptr_eq(&a.0, &b.0));
        assert_eq!(serde_json::to_string(&a).unwrap(), r#""critical""#);
        assert_eq!(serde_json::from_str::<Word>(r#""critical""#).unwrap(), a);
    }

    #[test]
    fn who_changes_it_has_one_of_its_own() {
        let a = Shared::from(vec![1]);
        let mut b = a.clone();
        b.make_mut().push(2);
        assert_eq!((&*a, &*b), (&vec![1], &vec![1, 2]));
        assert_eq!(serde_json::from_str::<Shared<Vec<i32>>>("[1]").unwrap(), a);
    }
}
