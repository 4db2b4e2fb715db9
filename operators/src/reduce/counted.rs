//! Values in order, each with how often it is there. Of most groups there is one value: it needs no tree.

use std::collections::BTreeMap;

/// The values of one group, as bytes that sort as they do.
#[derive(Clone, Debug, Default)]
pub(super) enum Counted {
    #[default]
    Nothing,
    One(Box<[u8]>, i64),
    Many(BTreeMap<Box<[u8]>, i64>),
}

impl Counted {
    /// `value` is there `diff` times more than before.
    pub fn change(&mut self, value: &[u8], diff: i64) {
        match self {
            _ if diff == 0 => {}
            Counted::Nothing => *self = Counted::One(value.into(), diff),
            Counted::One(own, times) if **own == *value => {
                *times += diff;
                if *times == 0 {
                    *self = Counted::Nothing;
                }
            }
            Counted::One(own, times) => {
                *self = Counted::Many(BTreeMap::from([(std::mem::take(own), *times), (value.into(), diff)]));
            }
            Counted::Many(values) => {
                match values.get_mut(value) {
                    Some(times) => {
                        *times += diff;
                        if *times == 0 {
                            values.remove(value);
                        }
                    }
                    None => drop(values.insert(value.into(), diff)),
                }
                if values.len() == 1
                    && let Some((value, times)) = values.pop_first()
                {
                    *self = Counted::One(value, times);
                }
            }
        }
    }

    /// The first value.
    pub fn first(&self) -> Option<&[u8]> {
        self.iter().next().map(|(value, _)| value)
    }

    /// How many different values there are.
    pub fn len(&self) -> usize {
        match self {
            Counted::Nothing => 0,
            Counted::One(..) => 1,
            Counted::Many(values) => values.len(),
        }
    }

    /// The values in order, each with how often it is there.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], i64)> {
        let (one, many) = match self {
            Counted::Nothing => (None, None),
            Counted::One(value, times) => (Some((value.as_ref(), *times)), None),
            Counted::Many(values) => (None, Some(values)),
        };
        one.into_iter().chain(many.into_iter().flatten().map(|(value, times)| (value.as_ref(), *times)))
    }

    /// Bytes beside its own, estimated from the first value.
    pub fn size(&self) -> usize {
        let first = self.first().map_or(0, <[u8]>::len);
        match self {
            Counted::Many(values) => values.len() * (first + 48),
            _ => first,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_a_map_of_counts(changes in prop::collection::vec((0u8..4, -2i64..3), 0..60)) {
            let (mut counted, mut model) = (Counted::default(), BTreeMap::<u8, i64>::new());
            for (value, diff) in changes {
                counted.change(&[value], diff);
                *model.entry(value).or_default() += diff;
                model.retain(|_, times| *times != 0);
                let found: Vec<(u8, i64)> = counted.iter().map(|(value, times)| (value[0], times)).collect();
                prop_assert_eq!(found, model.clone().into_iter().collect::<Vec<_>>());
                prop_assert_eq!(counted.len(), model.len());
                prop_assert_eq!(counted.first().map(|value| value[0]), model.keys().next().copied());
            }
        }
    }
}
