//! `+ - * /` and unary minus on tensors, references, results of other operators, and numbers. An operator can fail as its
//! method can, so it gives a `Result`, which other operators with a tensor take as it is: `(&a * &b + &c)?`.

use std::borrow::Borrow;
use std::ops::{Add, Div, Mul, Neg, Sub};

use crate::error::Result;
use crate::tensor::Tensor;

/// Operators of a tensor, or the result of an operator, with another; and of a tensor with a number.
macro_rules! operators {
    ($trait:ident, $method:ident, $scalar:expr, $of_scalar:expr) => {
        impl<T: Borrow<Tensor>> $trait<T> for Tensor {
            type Output = Result<Tensor>;
            fn $method(self, other: T) -> Result<Tensor> {
                Tensor::$method(&self, other.borrow())
            }
        }
        impl<T: Borrow<Tensor>> $trait<T> for &Tensor {
            type Output = Result<Tensor>;
            fn $method(self, other: T) -> Result<Tensor> {
                Tensor::$method(self, other.borrow())
            }
        }
        impl<T: Borrow<Tensor>> $trait<Result<T>> for Tensor {
            type Output = Result<Tensor>;
            fn $method(self, other: Result<T>) -> Result<Tensor> {
                Tensor::$method(&self, other?.borrow())
            }
        }
        impl<T: Borrow<Tensor>> $trait<Result<T>> for &Tensor {
            type Output = Result<Tensor>;
            fn $method(self, other: Result<T>) -> Result<Tensor> {
                Tensor::$method(self, other?.borrow())
            }
        }
        impl<T: Borrow<Tensor>> $trait<Tensor> for Result<T> {
            type Output = Result<Tensor>;
            fn $method(self, other: Tensor) -> Result<Tensor> {
                Tensor::$method(self?.borrow(), &other)
            }
        }
        impl<T: Borrow<Tensor>> $trait<&Tensor> for Result<T> {
            type Output = Result<Tensor>;
            fn $method(self, other: &Tensor) -> Result<Tensor> {
                Tensor::$method(self?.borrow(), other)
            }
        }
        impl $trait<f32> for Tensor {
            type Output = Result<Tensor>;
            fn $method(self, number: f32) -> Result<Tensor> {
                $scalar(&self, number)
            }
        }
        impl $trait<f32> for &Tensor {
            type Output = Result<Tensor>;
            fn $method(self, number: f32) -> Result<Tensor> {
                $scalar(self, number)
            }
        }
        impl $trait<Tensor> for f32 {
            type Output = Result<Tensor>;
            fn $method(self, tensor: Tensor) -> Result<Tensor> {
                $of_scalar(self, &tensor)
            }
        }
        impl $trait<&Tensor> for f32 {
            type Output = Result<Tensor>;
            fn $method(self, tensor: &Tensor) -> Result<Tensor> {
                $of_scalar(self, tensor)
            }
        }
    };
}

operators!(
    Add,
    add,
    |x: &Tensor, n: f32| x.add_scalar(n),
    |n: f32, x: &Tensor| x.add_scalar(n)
);
operators!(
    Sub,
    sub,
    |x: &Tensor, n: f32| x.add_scalar(-n),
    |n: f32, x: &Tensor| x.affine(-1.0, n)
);
operators!(
    Mul,
    mul,
    |x: &Tensor, n: f32| x.mul_scalar(n),
    |n: f32, x: &Tensor| x.mul_scalar(n)
);
operators!(
    Div,
    div,
    |x: &Tensor, n: f32| x.div(&number(n, x)?),
    |n: f32, x: &Tensor| number(n, x)?.div(x)
);

/// A number as a tensor of shape `[]` that goes with `x`.
fn number(value: f32, x: &Tensor) -> Result<Tensor> {
    Tensor::full(x.device(), &[], value, x.dtype())
}

impl Neg for Tensor {
    type Output = Result<Tensor>;
    fn neg(self) -> Result<Tensor> {
        Tensor::neg(&self)
    }
}

impl Neg for &Tensor {
    type Output = Result<Tensor>;
    fn neg(self) -> Result<Tensor> {
        Tensor::neg(self)
    }
}

#[cfg(test)]
mod tests {
    use wgrad_runtime::{Device, DeviceOptions};

    use super::*;

    #[test]
    fn operators_take_tensors_results_and_numbers() -> Result<()> {
        let device = Device::open(DeviceOptions::default())?;
        let a = Tensor::from_slice(&device, &[1f32, 2.0, 4.0], &[3])?;
        let b = Tensor::from_slice(&device, &[2f32, 4.0, 8.0], &[3])?;
        for (found, expected) in [
            (&a + &b, [3.0, 6.0, 12.0]),
            (&a - b.clone(), [-1.0, -2.0, -4.0]),
            (a.clone() * &b, [2.0, 8.0, 32.0]),
            (&b / &a, [2.0, 2.0, 2.0]),
            (&a * &b + &a, [3.0, 10.0, 36.0]),
            (&a + &a * &b, [3.0, 10.0, 36.0]),
            (&a * 3.0, [3.0, 6.0, 12.0]),
            (1.0 - &a, [0.0, -1.0, -3.0]),
            (8.0 / &a, [8.0, 4.0, 2.0]),
            (&a / 4.0, [0.25, 0.5, 1.0]),
            (-&a, [-1.0, -2.0, -4.0]),
        ] {
            assert_eq!(found?.to_vec::<f32>()?, expected);
        }
        let wrong = Tensor::from_slice(&device, &[1f32, 2.0], &[2])?;
        let text = (&a + &wrong * &a).unwrap_err().to_string();
        assert!(text.starts_with("mul: shapes [2] and [3]"), "{text}");
        Ok(())
    }
}
