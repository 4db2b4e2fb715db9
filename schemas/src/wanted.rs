//! How much of a column's values anybody looks at. What nobody does is checked when it is decoded, and not kept.

use std::collections::BTreeMap;

/// How much of a column's values is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    /// Nothing.
    #[default]
    Nothing,
    /// Of a record, whether it is NULL, and these of its fields. Of any other value all of it.
    Fields(BTreeMap<String, Wanted>),
    /// All of it.
    Whole,
}

impl Wanted {
    /// Only `inner` of the field that `path` leads to, through records.
    pub fn at<'a>(path: impl DoubleEndedIterator<Item = &'a str>, inner: Wanted) -> Wanted {
        path.rev().fold(inner, |inner, name| Wanted::Fields([(name.to_string(), inner)].into()))
    }

    /// Whether anything is.
    pub fn any(&self) -> bool {
        *self != Wanted::Nothing
    }

    /// How much of the record's field `name` is.
    pub fn field(&self, name: &str) -> &Wanted {
        match self {
            Wanted::Fields(fields) => fields.get(name).unwrap_or(&Wanted::Nothing),
            all_or_nothing => all_or_nothing,
        }
    }

    /// Wants what `other` does as well.
    pub fn add(&mut self, other: Wanted) {
        match (&mut *self, other) {
            (Wanted::Whole, _) | (_, Wanted::Nothing) => {}
            (Wanted::Fields(fields), Wanted::Fields(more)) => {
                for (name, wanted) in more {
                    fields.entry(name).or_default().add(wanted);
                }
            }
            (_, other) => *self = other,
        }
    }

    /// How an explanation names what is wanted of column `name`: the fields of records by their paths.
    pub fn named(&self, name: &str) -> Vec<String> {
        match self {
            Wanted::Nothing => Vec::new(),
            Wanted::Fields(fields) if !fields.is_empty() => {
                fields.iter().flat_map(|(field, wanted)| wanted.named(&format!("{name}.{field}"))).collect()
            }
            Wanted::Fields(_) | Wanted::Whole => vec![name.to_string()],
        }
    }
}

impl From<bool> for Wanted {
    fn from(wanted: bool) -> Wanted {
        if wanted { Wanted::Whole } else { Wanted::Nothing }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str) -> Wanted {
        Wanted::at(path.split('.'), Wanted::Whole)
    }

    #[test]
    fn wishes_add_up() {
        let mut wanted = Wanted::Nothing;
        assert!(!wanted.any());
        wanted.add(at("a.b"));
        wanted.add(at("c"));
        wanted.add(Wanted::Nothing);
        assert_eq!(wanted.named("bid"), ["bid.a.b", "bid.c"]);
        assert_eq!(wanted.field("c"), &Wanted::Whole);
        assert_eq!(wanted.field("d"), &Wanted::Nothing);
        assert_eq!(wanted.field("a").field("b"), &Wanted::Whole);
        wanted.add(at("a"));
        wanted.add(at("a.e"));
        assert_eq!(wanted.named("bid"), ["bid.a", "bid.c"]);
        wanted.add(Wanted::Whole);
        wanted.add(at("a"));
        assert_eq!(wanted, Wanted::Whole);
        assert_eq!(wanted.field("d"), &Wanted::Whole);
    }

    #[test]
    fn whether_a_record_is_there_can_be_all_that_is_wanted() {
        let mut wanted = Wanted::Fields(BTreeMap::new());
        assert!(wanted.any());
        assert_eq!(wanted.named("bid"), ["bid"]);
        wanted.add(at("a"));
        assert_eq!(wanted.named("bid"), ["bid.a"]);
    }
}
