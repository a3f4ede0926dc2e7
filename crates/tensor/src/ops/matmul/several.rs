//! Several linear layers in few kernels: layers of one input side by side, and two with GELU between.

use super::gemm::{Epilogue, gemm};
use super::{Wanted, check_layer, layer_gradients, residual_rows};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::tape::{no_grad, record};
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
        let sizes: Vec<usize> = weights.iter().map(|w| w.shape()[0]).collect();
        let outputs = w.shape()[0];
        let inputs: Vec<&Tensor> = [&x].into_iter().chain(weights.iter().copied()).collect();
        let inputs = [inputs, biases.to_vec()].concat();
        let a = x.detach();
        let of_bias = b.as_ref().map(Tensor::dtype);
        let y = record(op, y, &inputs, move |dy, needs| {
            let mut parts = vec![None; needs.len()];
            if needs[0] {
                parts[0] = Some(gemm(op, dy, &w, &Epilogue::default(), None)?.y);
            }
            let of_weights = &needs[1..=sizes.len()];
            let of_biases = &needs[1 + sizes.len()..];
            let all = of_weights.iter().all(|need| *need);
            let wanted = |weight: bool, bias: bool| Wanted {
                weight: weight.then_some(w.dtype()),
                bias: of_bias.filter(|_| bias),
                scale: 1.0,
            };
            let whole = match all {
                true => layer_gradients(dy, &a, wanted(true, of_biases.contains(&true)), None)?,
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
                        layer_gradients(&dy, &a, wanted(of_weights[i], bias), None)?
                    }
                };
                parts[1 + i] = dw.filter(|_| of_weights[i]);
                if bias {
                    parts[1 + sizes.len() + i] = db;
                }
                start += size;
            }
            Ok(parts)
        });
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
        let inner = Epilogue {
            bias: Some(first[1]),
            gelu: true,
            ..Epilogue::default()
        };
        let made = gemm(op, &x, &first[0].detach().transpose(0, 1)?, &inner, None)?;
        let (hidden, pre) = (made.y, made.pre);
        check_layer(op, &hidden, second[0], Some(second[1]))?;
        let shape = self.with_last(second[0].shape()[0]);
        let residual = residual
            .map(|residual| residual_rows(op, residual, &shape))
            .transpose()?;
        let outer = Epilogue {
            bias: Some(second[1]),
            residual: residual.as_ref(),
            dtype: residual.as_ref().map(Tensor::dtype),
            ..Epilogue::default()
        };
        let y = gemm(
            op,
            &hidden,
            &second[0].detach().transpose(0, 1)?,
            &outer,
            None,
        )?
        .y;
        let (a, w1, w2) = (x.detach(), first[0].detach(), second[0].detach());
        let mut inputs = vec![&x, first[0], first[1], second[0], second[1]];
        let types: Vec<DType> = inputs.iter().map(|t| t.dtype()).collect();
        inputs.extend(&residual);
        let y = record(op, y, &inputs, move |dy, needs| {
            let mut parts = vec![None; needs.len()];
            if needs.get(5) == Some(&true) {
                parts[5] = Some(dy.clone());
            }
            let wanted = |i: usize| Wanted {
                weight: needs[i].then_some(types[i]),
                bias: needs[i + 1].then_some(types[i + 1]),
                scale: 1.0,
            };
            (parts[3], parts[4]) = layer_gradients(dy, &hidden, wanted(3), None)?;
            if !(needs[0] || needs[1] || needs[2]) {
                return Ok(parts);
            }
            let through = Epilogue {
                gelu_input: pre.as_ref(),
                ..Epilogue::of(types[0])
            };
            let dpre = gemm(op, dy, &w2, &through, None)?.y;
            if needs[0] {
                parts[0] = Some(gemm(op, &dpre, &w1, &Epilogue::default(), None)?.y);
            }
            (parts[1], parts[2]) = layer_gradients(&dpre, &a, wanted(1), None)?;
            Ok(parts)
        });
        y.reshape(&shape)
    }
}

/// `tensors` along their first dimension, outside the graph: a view where their memory allows, else a copy.
fn together(tensors: &[&Tensor]) -> Result<Tensor> {
    if let Some(view) = Tensor::side_by_side(tensors)? {
        return Ok(view);
    }
    let plain: Vec<Tensor> = tensors.iter().map(|t| t.detach()).collect();
    no_grad(|| Tensor::concat(&plain.iter().collect::<Vec<_>>(), 0))
}
