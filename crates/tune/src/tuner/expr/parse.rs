//! The parser of expressions: tokens with their places, then precedence climbing.

use super::{Function, Kind, Node, Op, Value};

/// What is wrong, and the byte where.
type Parsed<T> = Result<T, (usize, String)>;

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Value(Value),
    Name(String),
    /// An operator, a bracket or a comma.
    Sign(&'static str),
    End,
}

/// Longer signs first, so that `<=` is not read as `<`.
const SIGNS: [&str; 20] = [
    "&&", "||", "==", "!=", "<=", ">=", "//", "**", "<", ">", "+", "-", "*", "/", "%", "!", "(",
    ")", ",", "=",
];

fn tokens(text: &str) -> Parsed<Vec<(usize, Token)>> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let start = at;
        if byte.is_ascii_whitespace() {
            at += 1;
            continue;
        }
        if byte.is_ascii_digit() {
            while bytes.get(at).is_some_and(|b| b.is_ascii_digit()) {
                at += 1;
            }
            let mut real = false;
            if bytes.get(at) == Some(&b'.') {
                real = true;
                at += 1;
                while bytes.get(at).is_some_and(|b| b.is_ascii_digit()) {
                    at += 1;
                }
            }
            if matches!(bytes.get(at), Some(b'e' | b'E')) {
                real = true;
                at += 1;
                if matches!(bytes.get(at), Some(b'+' | b'-')) {
                    at += 1;
                }
                while bytes.get(at).is_some_and(|b| b.is_ascii_digit()) {
                    at += 1;
                }
            }
            let word = &text[start..at];
            let value = match real {
                true => word.parse().ok().map(Value::Float),
                false => word.parse().ok().map(Value::Int),
            };
            let value = value.ok_or_else(|| (start, format!("{word} is no number of 64 bits")))?;
            found.push((start, Token::Value(value)));
            continue;
        }
        if byte.is_ascii_alphabetic() || byte == b'_' {
            while bytes
                .get(at)
                .is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_')
            {
                at += 1;
            }
            found.push((start, word(&text[start..at])));
            continue;
        }
        let sign = SIGNS.iter().find(|sign| text[at..].starts_with(**sign));
        match sign {
            Some(&"=") => return Err((start, "one = stands for nothing here; write ==".into())),
            Some(sign) => {
                at += sign.len();
                found.push((start, Token::Sign(sign)));
            }
            None => {
                let odd = text[at..].chars().next().unwrap_or(' ');
                return Err((start, format!("`{odd}` has no meaning here")));
            }
        }
    }
    found.push((text.len(), Token::End));
    Ok(found)
}

/// Python spells some signs as words.
fn word(word: &str) -> Token {
    match word {
        "true" | "True" => Token::Value(Value::Bool(true)),
        "false" | "False" => Token::Value(Value::Bool(false)),
        "and" => Token::Sign("&&"),
        "or" => Token::Sign("||"),
        "not" => Token::Sign("not"),
        name => Token::Name(name.to_owned()),
    }
}

pub(super) fn parse(text: &str) -> Parsed<Node> {
    let mut parser = Parser {
        tokens: tokens(text)?,
        at: 0,
        depth: 0,
    };
    let root = parser.binary(0)?;
    match parser.take() {
        (_, Token::End) => Ok(root),
        (at, _) => Err((at, "an operator or the end is expected".into())),
    }
}

/// Nested brackets and signs at most: an expression of a hostile file must not end the process.
const DEPTH: usize = 100;

struct Parser {
    tokens: Vec<(usize, Token)>,
    at: usize,
    depth: usize,
}

/// How tightly an operator binds; `None` for what is no operator.
fn operator(token: &Token) -> Option<(u8, Op)> {
    let Token::Sign(sign) = token else {
        return None;
    };
    Some(match *sign {
        "||" => (1, Op::Or),
        "&&" => (2, Op::And),
        "==" => (3, Op::Equal),
        "!=" => (3, Op::NotEqual),
        "<" => (4, Op::Less),
        "<=" => (4, Op::LessEqual),
        ">" => (4, Op::Greater),
        ">=" => (4, Op::GreaterEqual),
        "+" => (5, Op::Add),
        "-" => (5, Op::Subtract),
        "*" => (6, Op::Multiply),
        "/" => (6, Op::Divide),
        "//" => (6, Op::FloorDivide),
        "%" => (6, Op::Remainder),
        "**" => (8, Op::Power),
        _ => return None,
    })
}

impl Parser {
    fn peek(&self) -> &Token {
        self.tokens
            .get(self.at)
            .map_or(&Token::End, |(_, token)| token)
    }

    fn take(&mut self) -> (usize, Token) {
        let last = self.tokens.len() - 1;
        let taken = self.tokens[self.at.min(last)].clone();
        self.at += 1;
        taken
    }

    fn sign(&mut self, sign: &'static str) -> Parsed<()> {
        match self.take() {
            (_, Token::Sign(found)) if found == sign => Ok(()),
            (at, _) => Err((at, format!("`{sign}` is expected"))),
        }
    }

    /// Operators that bind at least as tightly as `least`; equal ones group to the left, `**` to the right.
    fn binary(&mut self, least: u8) -> Parsed<Node> {
        let mut left = self.unary()?;
        let mut compared = false;
        while let Some((tight, op)) = operator(self.peek()).filter(|(tight, _)| *tight >= least) {
            let (at, _) = self.take();
            // `a < b < c` means something else to everyone.
            if compared && comparison(op) {
                return Err((at, "comparisons do not chain; join them with &&".into()));
            }
            compared = comparison(op);
            let right = match op {
                Op::Power => self.binary(tight)?,
                _ => self.binary(tight + 1)?,
            };
            left = Node {
                at,
                kind: Kind::Binary(op, Box::new(left), Box::new(right)),
            };
        }
        Ok(left)
    }

    fn unary(&mut self) -> Parsed<Node> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err((
                self.tokens[self.at.min(self.tokens.len() - 1)].0,
                "nested too deeply".into(),
            ));
        }
        let node = self.operand();
        self.depth -= 1;
        node
    }

    fn operand(&mut self) -> Parsed<Node> {
        let (at, token) = self.take();
        let kind = match token {
            Token::Value(value) => Kind::Value(value),
            // Binds as a product does: -a ** b is -(a ** b).
            Token::Sign("-") => Kind::Negate(Box::new(self.binary(7)?)),
            Token::Sign("!") => Kind::Not(Box::new(self.binary(7)?)),
            // Python's word binds less tightly than comparisons.
            Token::Sign("not") => Kind::Not(Box::new(self.binary(3)?)),
            Token::Sign("(") => {
                let inner = self.binary(0)?;
                self.sign(")")?;
                return Ok(inner);
            }
            Token::Name(name) if *self.peek() == Token::Sign("(") => self.call(at, &name)?,
            Token::Name(name) => Kind::Name(name),
            Token::Sign(_) | Token::End => {
                return Err((at, "a number, a name or `(` is expected".into()));
            }
        };
        Ok(Node { at, kind })
    }

    fn call(&mut self, at: usize, name: &str) -> Parsed<Kind> {
        let (function, least, most) = match name {
            "min" => (Function::Min, 1, usize::MAX),
            "max" => (Function::Max, 1, usize::MAX),
            "ceil_div" => (Function::CeilDiv, 2, 2),
            "round_up" => (Function::RoundUp, 2, 2),
            "abs" => (Function::Abs, 1, 1),
            _ => {
                let known = "min, max, ceil_div, round_up, abs";
                return Err((at, format!("unknown function `{name}`; known: {known}")));
            }
        };
        self.sign("(")?;
        let mut arguments = Vec::new();
        if *self.peek() != Token::Sign(")") {
            arguments.push(self.binary(0)?);
            while *self.peek() == Token::Sign(",") {
                self.take();
                arguments.push(self.binary(0)?);
            }
        }
        self.sign(")")?;
        if arguments.len() < least || arguments.len() > most {
            let given = arguments.len();
            return Err((
                at,
                format!("`{name}` takes {least} arguments, {given} are given"),
            ));
        }
        Ok(Kind::Call(function, arguments))
    }
}

fn comparison(op: Op) -> bool {
    matches!(
        op,
        Op::Equal | Op::NotEqual | Op::Less | Op::LessEqual | Op::Greater | Op::GreaterEqual
    )
}
