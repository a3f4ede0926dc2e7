//! The gradients that a walk over the graph has found so far, summed by tensor.

use std::collections::{BTreeMap, HashMap};

use crate::error::Result;
use crate::tensor::Tensor;

/// What a backward rule gives for one input.
pub(super) enum Flow {
    /// The gradient of all its elements.
    Whole(Tensor),
    /// The gradient of some of its elements; that of the others is zero.
    Part(Place, Tensor),
}

/// The elements of a tensor that a narrowed view holds: those of dimension `dim` from `start` on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub dim: usize,
    pub start: usize,
}

/// The sums by the id of their tensor.
#[derive(Default)]
pub(super) struct Sums(HashMap<u64, Sum>);

struct Sum {
    value: Tensor,
    /// The walk itself made the value, and nobody else reads its memory: it may be written in place.
    own: bool,
    /// Where parts were written, as long as nothing else was added: elements elsewhere are still zero.
    written: Option<Written>,
}

impl Sums {
    /// Takes the gradient of the tensor with this id out.
    pub fn remove(&mut self, id: u64) -> Option<Tensor> {
        self.0.remove(&id).map(|sum| sum.value)
    }

    /// Adds what flows to `input`.
    pub fn add(&mut self, input: &Tensor, flow: Flow) -> Result<()> {
        let earlier = self.0.remove(&input.id());
        let sum = match flow {
            Flow::Whole(gradient) => Sum::whole(earlier, gradient)?,
            Flow::Part(place, gradient) => Sum::part(earlier, input, place, &gradient)?,
        };
        self.0.insert(input.id(), sum);
        Ok(())
    }

    /// All of them.
    pub fn into_gradients(self) -> HashMap<u64, Tensor> {
        let values = self.0.into_iter().map(|(id, sum)| (id, sum.value));
        values.collect()
    }
}

impl Sum {
    fn whole(earlier: Option<Sum>, gradient: Tensor) -> Result<Sum> {
        let (value, own) = match earlier {
            Some(earlier) => (earlier.value.add(&gradient)?, true),
            None => (gradient, false),
        };
        Ok(Sum {
            value,
            own,
            written: None,
        })
    }

    /// The part is written into the sum in place, so that T views of one tensor take T small launches and one tensor
    /// of its size, not T of them.
    fn part(earlier: Option<Sum>, input: &Tensor, place: Place, gradient: &Tensor) -> Result<Sum> {
        let mut sum = match earlier {
            Some(sum) if sum.own => sum,
            Some(sum) => {
                let value = Tensor::empty(input.device(), input.shape(), input.dtype())?;
                sum.value.copy_into(&value)?;
                Sum {
                    value,
                    own: true,
                    written: None,
                }
            }
            None => Sum {
                value: Tensor::zeros(input.device(), input.shape(), input.dtype())?,
                own: true,
                written: Some(Written::new(place.dim)),
            },
        };
        let length = gradient.shape()[place.dim];
        let target = sum.value.narrow(place.dim as isize, place.start, length)?;
        let still_zero = match &mut sum.written {
            Some(written) => written.take(place, length),
            None => false,
        };
        if still_zero {
            gradient.copy_into(&target)?;
        } else {
            sum.written = None;
            target.add(gradient)?.copy_into(&target)?;
        }
        Ok(sum)
    }
}

/// Ranges of one dimension that do not overlap: the end of each by its start.
struct Written {
    dim: usize,
    ends: BTreeMap<usize, usize>,
}

impl Written {
    fn new(dim: usize) -> Self {
        Self {
            dim,
            ends: BTreeMap::new(),
        }
    }

    /// Notes a range, if it is of this dimension and overlaps none that is there.
    fn take(&mut self, place: Place, length: usize) -> bool {
        let (start, end) = (place.start, place.start + length);
        let before = self.ends.range(..end).next_back();
        let free = place.dim == self.dim && before.is_none_or(|(_, before)| *before <= start);
        if free && length > 0 {
            self.ends.insert(start, end);
        }
        free
    }
}
