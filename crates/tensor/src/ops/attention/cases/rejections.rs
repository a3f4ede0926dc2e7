//! The rows of the op matrix that attention refuses.

use crate::cases::{Case, Input};
use crate::dtype::DType;
use crate::ops::attention::{Attention, OP, attention_packed, scaled_dot_product_attention};
use crate::random::Generator;
use crate::tensor::Tensor;

pub(super) fn rejections(out: &mut Vec<Case>) {
    let float = |s: &[usize]| Input::new(s, DType::F32);
    let good = || float(&[1, 2, 3, 4]);
    let extra = |input| vec![good(), good(), good(), input];
    let call = |x: &[Tensor], options: &Attention| {
        scaled_dot_product_attention(&x[0], &x[1], &x[2], options)
    };
    for (inputs, text) in [
        (vec![good(), float(&[1, 2, 3, 5]), good()], "do not fit"),
        (
            vec![float(&[1, 3, 3, 4]), good(), good()],
            "Hk a divisor of H",
        ),
        (
            vec![good(), Input::new(&[1, 2, 3, 4], DType::F16), good()],
            "one float type",
        ),
    ] {
        out.push(Case::rejects(
            OP,
            inputs,
            move |x| call(x, &Attention::default()),
            text,
        ));
    }
    let mask = extra(Input::new(&[2, 3], DType::U32).index(2));
    out.push(Case::rejects(
        OP,
        mask,
        move |x| {
            let mask = Some(&x[3]);
            call(
                x,
                &Attention {
                    mask,
                    ..Attention::default()
                },
            )
        },
        "the mask is u32 [1, 3]",
    ));
    out.push(Case::rejects(
        OP,
        extra(float(&[2, 4])),
        move |x| {
            let bias = Some(&x[3]);
            call(
                x,
                &Attention {
                    bias,
                    ..Attention::default()
                },
            )
        },
        "broadcasts to [1, 2, 3, 3]",
    ));
    out.push(Case::rejects(
        OP,
        vec![good(), good(), good()],
        move |x| {
            let generator = Generator::new(x[0].device(), 1)?;
            let dropout = Some((1.0, &generator));
            call(
                x,
                &Attention {
                    dropout,
                    ..Attention::default()
                },
            )
        },
        "below 1",
    ));
    out.push(Case::rejects(
        "attention_packed",
        vec![float(&[2, 3, 2, 4, 8])],
        |x| attention_packed(&x[0], &Attention::default()),
        "(B, T, 3, H, D)",
    ));
}
