//! Several linear layers in few kernels: layers of one input side by side, and two with GELU between.

use super::gemm::{Epilogue, gemm};
use super::{NeededGradients, check_layer, layer_gradients, residual_rows};
use crate::autograd::{Saved, record_with};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::tensor::Tensor;

impl Tensor {
    /// Linear layers of one input (…, in) in one kernel: their outputs side by side, (…, out of all), of
    /// the input's type; weights are of one float type, biases of one.
    /// `biases` is empty or has one for each of `weights` (out, in). Weights that [`Tensor::pack`] put side
    /// by side are read where they are, others are copied together first.
    pub fn linear_stacked(&self, weights: &[&Tensor], biases: &[&Tensor]) -> Result<Tensor> {
        let op = "linear_stacked";
        if weights.is_empty() || !(biases.is_empty() || biases.len() == weights.len()) {
            return Err(Error::op(
                op,
                format!(
                    "{} weights and {} biases were given; give a bias for each weight, or none",
                    weights.len(),
                    biases.len()
                ),
            ));
        }
        for (i, weight) in weights.iter().enumerate() {
            check_layer(op, self, weight, biases.get(i).copied())?;
        }
        let x = self.rows()?;
        let sizes: Vec<usize> = weights.iter().map(|w| w.shape()[0]).collect();
        let outputs = sizes.iter().sum();
        let inputs: Vec<&Tensor> = [&x].into_iter().chain(weights.iter().copied()).collect();
        let inputs = [inputs, biases.to_vec()].concat();
        let of_weight = weights[0].dtype();
        let of_bias = biases.first().map(|b| b.dtype());
        let forward = |ctx: &mut Saved| {
            let w = together(weights)?;
            let b = match biases {
                [] => None,
                some => Some(together(some)?),
            };
            let epilogue = Epilogue {
                bias: b.as_ref(),
                ..Epilogue::default()
            };
            let y = gemm(op, &x, &w.transpose(0, 1)?, &epilogue, None)?.y;
            let w = ctx.needs(0).then(|| ctx.save(&w));
            let of_weights = (1..=weights.len()).any(|i| ctx.needs(i));
            let a = of_weights.then(|| ctx.save(&x));
            Ok((y, [w, a]))
        };
        let y = record_with(op, &inputs, forward, move |[w, a], ctx, dy| {
            let needs = ctx.all_needs();
            let mut parts = vec![None; needs.len()];
            if let Some(w) = *w {
                parts[0] = Some(gemm(op, dy, ctx.saved(w)?, &Epilogue::default(), None)?.y);
            }
            let a = a.map(|a| ctx.saved(a)).transpose()?;
            let of_weights = &needs[1..=sizes.len()];
            let of_biases = &needs[1 + sizes.len()..];
            let all = of_weights.iter().all(|need| *need);
            let needed = |weight: bool, bias: bool| NeededGradients {
                weight: weight.then_some(of_weight),
                bias: of_bias.filter(|_| bias),
                scale: 1.0,
            };
            let whole = match all {
                true => layer_gradients(dy, a, needed(true, of_biases.contains(&true)), None)?,
                false => (None, None),
            };
            let mut start = 0;
            for (i, size) in sizes.iter().enumerate() {
                let bias = of_biases.get(i).copied().unwrap_or(false);
                let narrow =
                    |t: &Option<Tensor>| t.as_ref().map(|t| t.narrow(0, start, *size)).transpose();
                let (dw, db) = match all {
                    true => (narrow(&whole.0)?, narrow(&whole.1)?),
                    false => {
                        let dy = dy.narrow(1, start, *size)?;
                        layer_gradients(&dy, a, needed(of_weights[i], bias), None)?
                    }
                };
                parts[1 + i] = dw.filter(|_| of_weights[i]);
                if bias {
                    parts[1 + sizes.len() + i] = db;
                }
                start += size;
            }
            Ok(parts)
        })?;
        y.reshape(&self.with_last(outputs))
    }

    /// The feed-forward network of a transformer with the exact GELU: two linear layers (weight (out, in),
    /// bias (out)) over the last dimension of `self`. Forward in two kernels; backward in four, GELU's
    /// derivative within one of them. A `residual` of the output's shape is added in the second, and gives the
    /// result its type.
    pub fn feed_forward(
        &self,
        first: [&Tensor; 2],
        second: [&Tensor; 2],
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        let op = "feed_forward";
        check_layer(op, self, first[0], Some(first[1]))?;
        if second[0].rank() != 2 || second[0].shape()[1] != first[0].shape()[0] {
            return Err(Error::op(
                op,
                format!(
                    "weights {:?} and {:?} do not follow each other: they are (hidden, in) and (out, hidden)",
                    first[0].shape(),
                    second[0].shape()
                ),
            ));
        }
        let x = self.rows()?;
        if second[1].shape() != &second[0].shape()[..1] {
            return Err(Error::op(
                op,
                format!(
                    "the bias {:?} does not fit the weight {:?}: weight is (out, hidden), bias (out)",
                    second[1].shape(),
                    second[0].shape()
                ),
            ));
        }
        let shape = self.with_last(second[0].shape()[0]);
        let residual = residual
            .map(|residual| residual_rows(op, residual, &shape))
            .transpose()?;
        let mut inputs = vec![&x, first[0], first[1], second[0], second[1]];
        let types: Vec<DType> = inputs.iter().map(|t| t.dtype()).collect();
        inputs.extend(&residual);
        let forward = |ctx: &mut Saved| {
            let inner = Epilogue {
                bias: Some(first[1]),
                gelu: true,
                ..Epilogue::default()
            };
            let made = gemm(op, &x, &first[0].transpose(0, 1)?, &inner, None)?;
            let outer = Epilogue {
                bias: Some(second[1]),
                residual: residual.as_ref(),
                dtype: residual.as_ref().map(Tensor::dtype),
                ..Epilogue::default()
            };
            let y = gemm(op, &made.y, &second[0].transpose(0, 1)?, &outer, None)?.y;
            let below = ctx.needs(0) || ctx.needs(1) || ctx.needs(2);
            let saved = FeedForwardSaved {
                x: ctx.needs(1).then(|| ctx.save(&x)),
                first: ctx.needs(0).then(|| ctx.save(first[0])),
                second: below.then(|| ctx.save(second[0])),
                pre: made.pre.filter(|_| below).map(|pre| ctx.save(&pre)),
                hidden: ctx.needs(3).then(|| ctx.save(&made.y)),
            };
            Ok((y, saved))
        };
        let y = record_with(op, &inputs, forward, move |saved, ctx, dy| {
            let needs = ctx.all_needs();
            let read = |i: Option<usize>| i.map(|i| ctx.saved(i)).transpose();
            let mut parts = vec![None; needs.len()];
            if needs.get(5) == Some(&true) {
                parts[5] = Some(dy.clone());
            }
            let needed = |i: usize| NeededGradients {
                weight: needs[i].then_some(types[i]),
                bias: needs[i + 1].then_some(types[i + 1]),
                scale: 1.0,
            };
            (parts[3], parts[4]) = layer_gradients(dy, read(saved.hidden)?, needed(3), None)?;
            let Some(w2) = read(saved.second)? else {
                return Ok(parts);
            };
            let through = Epilogue {
                gelu_input: read(saved.pre)?,
                ..Epilogue::of(types[0])
            };
            let dpre = gemm(op, dy, w2, &through, None)?.y;
            if let Some(w1) = read(saved.first)? {
                parts[0] = Some(gemm(op, &dpre, w1, &Epilogue::default(), None)?.y);
            }
            (parts[1], parts[2]) = layer_gradients(&dpre, read(saved.x)?, needed(1), None)?;
            Ok(parts)
        })?;
        y.reshape(&shape)
    }
}

/// The numbers of what a feed-forward network saves: as far as a gradient that is needed reads it.
struct FeedForwardSaved {
    x: Option<usize>,
    first: Option<usize>,
    second: Option<usize>,
    /// The input of GELU.
    pre: Option<usize>,
    hidden: Option<usize>,
}

/// `tensors` along their first dimension, outside the graph: a view where their memory allows, else a copy.
fn together(tensors: &[&Tensor]) -> Result<Tensor> {
    if let Some(view) = Tensor::side_by_side(tensors)? {
        return Ok(view);
    }
    Tensor::concat(tensors, 0)
}
