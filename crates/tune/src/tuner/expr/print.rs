//! Prints expressions in the spec's syntax and in Python's.

use super::{Function, Kind, Node, Op, Scope, Value, eval};

/// In the syntax that [`super::Expr::parse`] reads.
pub(super) fn ours(node: &Node) -> String {
    let same = |name: &str| name.to_owned();
    let printer = Printer {
        python: None,
        name: &same,
    };
    printer.text(node)
}

/// See [`super::Expr::to_python`].
pub(super) fn python(node: &Node, name: &dyn Fn(&str) -> String, sample: &Scope) -> String {
    let python = Some(sample);
    Printer { python, name }.text(node)
}

struct Printer<'a> {
    /// A sample value of each name, for Python's division.
    python: Option<&'a Scope>,
    name: &'a dyn Fn(&str) -> String,
}

impl Printer<'_> {
    fn text(&self, node: &Node) -> String {
        let python = self.python.is_some();
        match &node.kind {
            Kind::Value(Value::Bool(true)) if python => "True".into(),
            Kind::Value(Value::Bool(false)) if python => "False".into(),
            Kind::Value(value) => value.to_string(),
            Kind::Name(name) => (self.name)(name),
            Kind::Negate(a) => format!("-{}", self.part(a)),
            Kind::Not(a) if python => format!("not {}", self.part(a)),
            Kind::Not(a) => format!("!{}", self.part(a)),
            Kind::Binary(op, a, b) => {
                let sign = self.sign(*op, node, a, b);
                format!("{} {sign} {}", self.part(a), self.part(b))
            }
            Kind::Call(function, arguments) => self.call(*function, arguments),
        }
    }

    /// In brackets, unless it is a single value, name or call.
    fn part(&self, node: &Node) -> String {
        let text = self.text(node);
        match &node.kind {
            Kind::Value(Value::Int(0..) | Value::Bool(_)) | Kind::Name(_) => text,
            Kind::Call(Function::Min | Function::Max | Function::Abs, _) => text,
            Kind::Call(..) if self.python.is_none() => text,
            _ => format!("({text})"),
        }
    }

    fn sign(&self, op: Op, node: &Node, a: &Node, b: &Node) -> &'static str {
        let float = |node: &Node, scope: &Scope| matches!(eval(node, scope), Ok(Value::Float(_)));
        match (op, self.python) {
            (Op::Or, None) => "||",
            (Op::Or, Some(_)) => "or",
            (Op::And, None) => "&&",
            (Op::And, Some(_)) => "and",
            // `/` of integers is exact in Python and rounds down here.
            (Op::Divide, Some(sample)) => {
                let floats = [node, a, b].iter().any(|node| float(node, sample));
                if floats { "/" } else { "//" }
            }
            (Op::Divide, None) => "/",
            (Op::Equal, _) => "==",
            (Op::NotEqual, _) => "!=",
            (Op::Less, _) => "<",
            (Op::LessEqual, _) => "<=",
            (Op::Greater, _) => ">",
            (Op::GreaterEqual, _) => ">=",
            (Op::Add, _) => "+",
            (Op::Subtract, _) => "-",
            (Op::Multiply, _) => "*",
            (Op::FloorDivide, _) => "//",
            (Op::Remainder, _) => "%",
            (Op::Power, _) => "**",
        }
    }

    fn call(&self, function: Function, arguments: &[Node]) -> String {
        let name = match (function, self.python) {
            (Function::CeilDiv | Function::RoundUp, Some(_)) => {
                let parts: Vec<String> = arguments.iter().map(|a| self.part(a)).collect();
                // Python rounds down.
                let parts_of = format!("-(-{} // {})", parts[0], parts[1]);
                return match function {
                    Function::CeilDiv => parts_of,
                    _ => format!("{parts_of} * {}", parts[1]),
                };
            }
            (Function::Min, _) => "min",
            (Function::Max, _) => "max",
            (Function::CeilDiv, None) => "ceil_div",
            (Function::RoundUp, None) => "round_up",
            (Function::Abs, _) => "abs",
        };
        let all: Vec<String> = arguments.iter().map(|a| self.text(a)).collect();
        format!("{name}({})", all.join(", "))
    }
}
