//! The state of a detector as bytes, and back: one description of the fields serves both ways, so that they cannot
//! disagree. Little endian, no padding, lengths before lists; floating-point numbers keep all of their bits.

/// Writes fields, or fills them.
pub(super) enum Codec<'a> {
    /// Appends what it is shown.
    Write(&'a mut Vec<u8>),
    /// Fills what it is shown from these bytes; the flag says that there were too few or that one made no sense.
    Read(&'a [u8], bool),
}

/// State that can be written and read back.
pub(super) trait Coded {
    /// Shows every field to `codec`, in a fixed order.
    fn fields(&mut self, codec: &mut Codec<'_>);
}

impl Codec<'_> {
    fn raw<const N: usize>(&mut self, value: [u8; N]) -> [u8; N] {
        match self {
            Codec::Write(out) => {
                out.extend_from_slice(&value);
                value
            }
            Codec::Read(bytes, damaged) => match bytes.split_first_chunk::<N>() {
                Some((first, rest)) => {
                    *bytes = rest;
                    *first
                }
                None => {
                    *damaged = true;
                    value
                }
            },
        }
    }

    pub fn f64(&mut self, value: &mut f64) {
        *value = f64::from_le_bytes(self.raw(value.to_le_bytes()));
    }

    /// A number that lies in memory with half of the bits.
    pub fn f64_of(&mut self, value: &mut f32) {
        let mut wide = f64::from(*value);
        self.f64(&mut wide);
        *value = wide as f32;
    }

    pub fn f32(&mut self, value: &mut f32) {
        *value = f32::from_le_bytes(self.raw(value.to_le_bytes()));
    }

    pub fn u8(&mut self, value: &mut u8) {
        *value = self.raw([*value])[0];
    }

    pub fn u16(&mut self, value: &mut u16) {
        *value = u16::from_le_bytes(self.raw(value.to_le_bytes()));
    }

    pub fn u32(&mut self, value: &mut u32) {
        *value = u32::from_le_bytes(self.raw(value.to_le_bytes()));
    }

    pub fn u64(&mut self, value: &mut u64) {
        *value = u64::from_le_bytes(self.raw(value.to_le_bytes()));
    }

    pub fn i64(&mut self, value: &mut i64) {
        *value = i64::from_le_bytes(self.raw(value.to_le_bytes()));
    }

    pub fn bool(&mut self, value: &mut bool) {
        *value = self.raw([u8::from(*value)])[0] != 0;
    }

    /// A list of at most `max` items.
    pub fn list<T: Clone + Default>(
        &mut self,
        list: &mut Vec<T>,
        max: usize,
        mut each: impl FnMut(&mut Codec<'_>, &mut T),
    ) {
        let mut length = list.len() as u32;
        self.u32(&mut length);
        if let Codec::Read(_, damaged) = self {
            if *damaged || length as usize > max {
                *damaged = true;
                return;
            }
            list.clear();
            list.resize(length as usize, T::default());
        }
        list.iter_mut().for_each(|item| each(self, item));
    }
}

/// The state as bytes.
pub(super) fn encode(state: &(impl Coded + Clone)) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Writing shows the fields and changes none; reading needs them to be mutable.
    state.clone().fields(&mut Codec::Write(&mut bytes));
    bytes
}

/// `fresh` filled from all of `bytes`; `None` where they are not the bytes of such a state.
pub(super) fn decode<T: Coded>(mut fresh: T, bytes: &[u8]) -> Option<T> {
    let mut codec = Codec::Read(bytes, false);
    fresh.fields(&mut codec);
    matches!(codec, Codec::Read([], false)).then_some(fresh)
}
