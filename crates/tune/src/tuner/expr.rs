//! Expressions of a spec: sizes, constraints and launch geometry in terms of parameters and problem sizes.
//!
//! Integers (64 bits, checked), floats and truth values; `+ - * / // % **`, comparisons, `&& || !` (also
//! spelled `and or not`), parentheses, `min`, `max`, `ceil_div`, `round_up`, `abs`. `/` and `//` of integers
//! round down; where a float takes part, `/` is exact division.

mod parse;
mod print;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

/// The value of a parameter, a size or an expression.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(untagged, expecting = "a value is a number or a truth value")]
pub enum Value {
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Bool(value) => write!(f, "{value}"),
            Value::Int(value) => write!(f, "{value}"),
            // With a decimal point, or it would be read as an integer.
            Value::Float(value) => write!(f, "{value:?}"),
        }
    }
}

/// The names that an expression may use.
pub type Scope = BTreeMap<String, Value>;

/// A parsed expression.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Raw")]
pub struct Expr {
    text: String,
    root: Node,
}

/// An expression in a file: a string, or a bare number or truth value.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "an expression is a string, a number or a truth value"
)]
enum Raw {
    Value(Value),
    Text(String),
}

impl TryFrom<Raw> for Expr {
    type Error = ExprError;

    fn try_from(raw: Raw) -> Result<Expr, ExprError> {
        match raw {
            Raw::Value(value) => Ok(Expr {
                text: value.to_string(),
                root: Node {
                    at: 0,
                    kind: Kind::Value(value),
                },
            }),
            Raw::Text(text) => Expr::parse(&text),
        }
    }
}

/// What is wrong with an expression, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExprError {
    text: String,
    at: usize,
    message: String,
}

impl fmt::Display for ExprError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let column = self.text[..self.at].chars().count() + 1;
        let (text, message) = (&self.text, &self.message);
        write!(f, "expression \"{text}\", column {column}: {message}")
    }
}

impl std::error::Error for ExprError {}

#[derive(Debug, Clone)]
struct Node {
    /// The byte where the expression starts, or the byte of its operator.
    at: usize,
    kind: Kind,
}

#[derive(Debug, Clone)]
enum Kind {
    Value(Value),
    Name(String),
    Negate(Box<Node>),
    Not(Box<Node>),
    Binary(Op, Box<Node>, Box<Node>),
    Call(Function, Vec<Node>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    FloorDivide,
    Remainder,
    Power,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    Min,
    Max,
    CeilDiv,
    RoundUp,
    Abs,
}

impl Expr {
    /// Parses `text`.
    ///
    /// # Errors
    /// The column of the first mistake, and what is expected there.
    pub fn parse(text: &str) -> Result<Expr, ExprError> {
        let root = parse::parse(text, false).map_err(|e| wrong(text, e))?;
        let text = text.to_owned();
        Ok(Expr { text, root })
    }

    /// Parses Python's syntax: comparisons may chain, and `in` tests a list.
    ///
    /// # Errors
    /// As [`Expr::parse`].
    pub fn from_python(text: &str) -> Result<Expr, ExprError> {
        let root = parse::parse(text, true).map_err(|e| wrong(text, e))?;
        // The text is kept only if it means the same here: `b == t < 3` is read in both ways.
        let printed = print::ours(&root);
        if parse::parse(text, false).is_ok_and(|node| print::ours(&node) == printed) {
            let text = text.to_owned();
            return Ok(Expr { text, root });
        }
        if printed.len() > PRINTED {
            let message = format!("without Python's short forms it is longer than {PRINTED} bytes");
            return Err(wrong(text, (0, message)));
        }
        Expr::parse(&printed)
    }

    /// The expression in Python's syntax. `name` gives the text for a name. `sample` has a value for each name, which
    /// shows whether a quotient is one of floats.
    pub fn to_python(&self, name: &dyn Fn(&str) -> String, sample: &Scope) -> String {
        print::python(&self.root, name, sample)
    }

    /// The text it was parsed from.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its value.
    ///
    /// # Errors
    /// An unknown name, a division by zero, an overflow, or a value of the wrong kind, with its column.
    pub fn eval(&self, scope: &Scope) -> Result<Value, ExprError> {
        eval(&self.root, scope).map_err(|e| wrong(&self.text, e))
    }

    /// Its value as a truth value; a number is true where it is not 0.
    pub fn truth(&self, scope: &Scope) -> Result<bool, ExprError> {
        Ok(truth(self.eval(scope)?))
    }

    /// Its value as a count.
    ///
    /// # Errors
    /// As [`Expr::eval`], and a value that is negative or not an integer.
    pub fn count(&self, scope: &Scope) -> Result<u64, ExprError> {
        let value = self.eval(scope)?;
        match value {
            Value::Int(n) if n >= 0 => Ok(n as u64),
            _ => {
                let message = format!("it is {value}, a whole number from 0 on is needed");
                Err(wrong(&self.text, (0, message)))
            }
        }
    }

    /// The names that it uses, with their places.
    pub fn names(&self) -> Vec<(usize, &str)> {
        let mut found = Vec::new();
        let mut open = vec![&self.root];
        while let Some(node) = open.pop() {
            match &node.kind {
                Kind::Value(_) => {}
                Kind::Name(name) => found.push((node.at, name.as_str())),
                Kind::Negate(a) | Kind::Not(a) => open.push(a),
                Kind::Binary(_, a, b) => open.extend([&**a, &**b]),
                Kind::Call(_, arguments) => open.extend(arguments),
            }
        }
        found
    }

    /// An error if the expression uses a name that is not in `known`.
    pub fn check_names(&self, known: &BTreeSet<String>) -> Result<(), ExprError> {
        let all = self.names();
        let Some((at, name)) = all.iter().find(|(_, name)| !known.contains(*name)) else {
            return Ok(());
        };
        let names: Vec<&str> = known.iter().map(String::as_str).collect();
        let message = format!("unknown name `{name}`; known: {}", names.join(", "));
        Err(wrong(&self.text, (*at, message)))
    }
}

/// An error at a byte of `text`.
fn wrong(text: &str, (at, message): (usize, String)) -> ExprError {
    ExprError {
        text: text.to_owned(),
        at,
        message,
    }
}

type Eval<T> = Result<T, (usize, String)>;

fn truth(value: Value) -> bool {
    match value {
        Value::Bool(value) => value,
        Value::Int(value) => value != 0,
        Value::Float(value) => value != 0.0,
    }
}

fn eval(node: &Node, scope: &Scope) -> Eval<Value> {
    let wrong = |message: String| (node.at, message);
    match &node.kind {
        Kind::Value(value) => Ok(*value),
        Kind::Name(name) => scope
            .get(name)
            .copied()
            .ok_or_else(|| wrong(format!("unknown name `{name}`"))),
        Kind::Not(a) => Ok(Value::Bool(!truth(eval(a, scope)?))),
        Kind::Negate(a) => match eval(a, scope)? {
            Value::Int(a) => a
                .checked_neg()
                .map(Value::Int)
                .ok_or_else(|| wrong(OVERFLOW.into())),
            Value::Float(a) => Ok(Value::Float(-a)),
            Value::Bool(_) => Err(wrong("a truth value has no negative; write !".into())),
        },
        Kind::Binary(Op::And, a, b) => Ok(Value::Bool(
            truth(eval(a, scope)?) && truth(eval(b, scope)?),
        )),
        Kind::Binary(Op::Or, a, b) => Ok(Value::Bool(
            truth(eval(a, scope)?) || truth(eval(b, scope)?),
        )),
        Kind::Binary(op, a, b) => binary(*op, eval(a, scope)?, eval(b, scope)?).map_err(wrong),
        Kind::Call(function, arguments) => {
            let values: Vec<Value> = arguments
                .iter()
                .map(|a| eval(a, scope))
                .collect::<Eval<_>>()?;
            call(*function, &values).map_err(wrong)
        }
    }
}

/// Bytes of an expression that is written out in the spec's syntax, at most.
const PRINTED: usize = 1 << 14;
const OVERFLOW: &str = "the value is beyond 64 bits";

fn float(value: Value) -> f64 {
    match value {
        Value::Bool(value) => f64::from(u8::from(value)),
        Value::Int(value) => value as f64,
        Value::Float(value) => value,
    }
}

/// A truth value counts as 0 or 1 in sums, as in Python.
fn int(value: Value) -> Option<i64> {
    match value {
        Value::Bool(value) => Some(i64::from(value)),
        Value::Int(value) => Some(value),
        Value::Float(_) => None,
    }
}

fn binary(op: Op, a: Value, b: Value) -> Result<Value, String> {
    if let (Some(a), Some(b)) = (int(a), int(b)) {
        return integers(op, a, b);
    }
    let (a, b) = (float(a), float(b));
    Ok(match op {
        Op::Equal => Value::Bool(a == b),
        Op::NotEqual => Value::Bool(a != b),
        Op::Less => Value::Bool(a < b),
        Op::LessEqual => Value::Bool(a <= b),
        Op::Greater => Value::Bool(a > b),
        Op::GreaterEqual => Value::Bool(a >= b),
        Op::Add => Value::Float(a + b),
        Op::Subtract => Value::Float(a - b),
        Op::Multiply => Value::Float(a * b),
        Op::Divide => Value::Float(a / b),
        Op::FloorDivide => Value::Float((a / b).floor()),
        Op::Remainder => Value::Float(a - b * (a / b).floor()),
        Op::Power => Value::Float(a.powf(b)),
        Op::And | Op::Or => return Err("and, or take truth values".into()),
    })
}

fn integers(op: Op, a: i64, b: i64) -> Result<Value, String> {
    let floor_div = |a: i64, b: i64| {
        a.checked_div_euclid(b)
            .map(|q| q - i64::from(b < 0 && a.rem_euclid(b) != 0))
    };
    let result = match op {
        Op::Equal => return Ok(Value::Bool(a == b)),
        Op::NotEqual => return Ok(Value::Bool(a != b)),
        Op::Less => return Ok(Value::Bool(a < b)),
        Op::LessEqual => return Ok(Value::Bool(a <= b)),
        Op::Greater => return Ok(Value::Bool(a > b)),
        Op::GreaterEqual => return Ok(Value::Bool(a >= b)),
        Op::Divide | Op::FloorDivide | Op::Remainder if b == 0 => {
            return Err("division by zero".into());
        }
        Op::Add => a.checked_add(b),
        Op::Subtract => a.checked_sub(b),
        Op::Multiply => a.checked_mul(b),
        Op::Divide | Op::FloorDivide => floor_div(a, b),
        Op::Remainder => floor_div(a, b).and_then(|q| a.checked_sub(q.checked_mul(b)?)),
        Op::Power => u32::try_from(b).ok().and_then(|b| a.checked_pow(b)),
        Op::And | Op::Or => return Err("and, or take truth values".into()),
    };
    result.map(Value::Int).ok_or_else(|| OVERFLOW.to_owned())
}

fn call(function: Function, values: &[Value]) -> Result<Value, String> {
    let fold = |keep: fn(f64, f64) -> bool| {
        let mut best = values[0];
        for value in &values[1..] {
            if keep(float(*value), float(best)) {
                best = *value;
            }
        }
        best
    };
    match function {
        Function::Min => Ok(fold(|new, best| new < best)),
        Function::Max => Ok(fold(|new, best| new > best)),
        Function::Abs => match values[0] {
            Value::Float(value) => Ok(Value::Float(value.abs())),
            other => int(other)
                .and_then(i64::checked_abs)
                .map(Value::Int)
                .ok_or_else(|| OVERFLOW.to_owned()),
        },
        Function::CeilDiv | Function::RoundUp => {
            let (Some(a), Some(b)) = (int(values[0]), int(values[1])) else {
                return Err("whole numbers are needed".into());
            };
            if b <= 0 || a < 0 {
                return Err(format!("{a} cannot be divided into parts of {b}"));
            }
            let parts = a / b + i64::from(a % b != 0);
            match function {
                Function::CeilDiv => Ok(Value::Int(parts)),
                _ => parts
                    .checked_mul(b)
                    .map(Value::Int)
                    .ok_or_else(|| OVERFLOW.to_owned()),
            }
        }
    }
}

#[cfg(test)]
mod tests;
