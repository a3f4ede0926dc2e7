//! What an expression holds, in all invocations of a workgroup at once.

/// The memory that a pointer points into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Root {
    #[default]
    None,
    /// A variable of the function at this depth of the call stack.
    Local {
        frame: usize,
        variable: usize,
    },
    /// Global variables, by their index in the module.
    Private(usize),
    Shared(usize),
    Buffer(usize),
}

/// Words of 32 bits: `slots` of them an invocation, slot after slot. An `f16` is kept as the `f32` of the same
/// value, a `bool` as 0 or 1, a pointer as an offset from its root: in slots, or in bytes of a buffer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Value {
    pub words: Vec<u32>,
    /// 1 where all invocations hold the same.
    pub lanes: usize,
    pub root: Root,
}

impl Value {
    /// The same words in all invocations.
    pub fn uniform(words: Vec<u32>) -> Self {
        Value {
            words,
            lanes: 1,
            root: Root::None,
        }
    }

    pub fn zeros(slots: usize, lanes: usize) -> Self {
        Value {
            words: vec![0; slots * lanes],
            lanes,
            root: Root::None,
        }
    }

    pub fn from_fn(slots: usize, lanes: usize, mut f: impl FnMut(usize, usize) -> u32) -> Self {
        let mut words = Vec::with_capacity(slots * lanes);
        for slot in 0..slots {
            words.extend((0..lanes).map(|lane| f(slot, lane)));
        }
        Value {
            words,
            lanes,
            root: Root::None,
        }
    }

    pub fn at_root(mut self, root: Root) -> Self {
        self.root = root;
        self
    }

    pub fn slots(&self) -> usize {
        self.words.len() / self.lanes.max(1)
    }

    pub fn at(&self, slot: usize, lane: usize) -> u32 {
        self.words[slot * self.lanes + if self.lanes == 1 { 0 } else { lane }]
    }

    /// Some of its slots, in a new order.
    pub fn pick(&self, slots: impl Iterator<Item = usize>) -> Value {
        let mut words = Vec::new();
        for slot in slots {
            words.extend_from_slice(self.row(slot));
        }
        Value {
            words,
            lanes: self.lanes,
            root: Root::None,
        }
    }

    /// A slot in all invocations; the only slot of a scalar whatever the number, so that scalars meet vectors.
    fn row(&self, slot: usize) -> &[u32] {
        let slot = if self.words.len() == self.lanes {
            0
        } else {
            slot
        };
        &self.words[slot * self.lanes..(slot + 1) * self.lanes]
    }

    pub fn map(&self, f: impl Fn(u32) -> u32) -> Value {
        Value {
            words: self.words.iter().map(|word| f(*word)).collect(),
            lanes: self.lanes,
            root: Root::None,
        }
    }

    pub fn zip(&self, other: &Value, f: impl Fn(u32, u32) -> u32) -> Value {
        let slots = self.slots().max(other.slots());
        let lanes = self.lanes.max(other.lanes);
        let mut words = Vec::with_capacity(slots * lanes);
        for slot in 0..slots {
            let (a, b) = (self.row(slot), other.row(slot));
            match (a, b) {
                ([a], b) => words.extend(b.iter().map(|b| f(*a, *b))),
                (a, [b]) => words.extend(a.iter().map(|a| f(*a, *b))),
                (a, b) => words.extend(a.iter().zip(b).map(|(a, b)| f(*a, *b))),
            }
        }
        Value {
            words,
            lanes,
            root: Root::None,
        }
    }

    pub fn zip3(&self, b: &Value, c: &Value, f: impl Fn(u32, u32, u32) -> u32) -> Value {
        let slots = self.slots().max(b.slots()).max(c.slots());
        let lanes = self.lanes.max(b.lanes).max(c.lanes);
        let word = |row: &[u32], lane: usize| row[if row.len() == 1 { 0 } else { lane }];
        let mut words = Vec::with_capacity(slots * lanes);
        for slot in 0..slots {
            let (x, y, z) = (self.row(slot), b.row(slot), c.row(slot));
            words.extend((0..lanes).map(|lane| f(word(x, lane), word(y, lane), word(z, lane))));
        }
        Value {
            words,
            lanes,
            root: Root::None,
        }
    }

    /// Values one behind the other: the components of a vector, an array or a struct.
    pub fn join<'a>(parts: impl Iterator<Item = &'a Value> + Clone) -> Value {
        let lanes = parts.clone().map(|part| part.lanes).max().unwrap_or(1);
        let mut words = Vec::new();
        for part in parts {
            if part.lanes == lanes {
                words.extend_from_slice(&part.words);
            } else {
                for word in &part.words {
                    words.extend(std::iter::repeat_n(*word, lanes));
                }
            }
        }
        Value {
            words,
            lanes,
            root: Root::None,
        }
    }

    /// The same value with words for each of `lanes` invocations.
    pub fn spread(&self, lanes: usize) -> Value {
        if self.lanes == lanes {
            return self.clone();
        }
        Value::from_fn(self.slots(), lanes, |slot, lane| self.at(slot, lane)).at_root(self.root)
    }
}
