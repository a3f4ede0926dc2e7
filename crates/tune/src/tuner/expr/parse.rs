//! The parser of expressions: tokens with their positions, then precedence climbing.

use super::{Function, Kind, Node, Op, Value};

/// The byte where a mistake starts, and what is wrong.
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
const SIGNS: [&str; 22] = [
    "&&", "||", "==", "!=", "<=", ">=", "//", "**", "<", ">", "+", "-", "*", "/", "%", "!", "(",
    ")", "[", "]", ",", "=",
];

/// The largest number of words and signs in an expression, because recursive functions walk its tree.
const LENGTH: usize = 1000;

fn tokens(text: &str, python: bool) -> Parsed<Vec<(usize, Token)>> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let start = at;
        if found.len() > LENGTH {
            return Err((start, format!("longer than {LENGTH} words and signs")));
        }
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
            found.push((start, word(&text[start..at], python)));
            continue;
        }
        let sign = SIGNS.iter().find(|sign| text[at..].starts_with(**sign));
        match sign {
            Some(&"=") => return Err((start, "a single = is not an operator; write ==".into())),
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
fn word(word: &str, python: bool) -> Token {
    match word {
        "in" if python => Token::Sign("in"),
        "true" | "True" => Token::Value(Value::Bool(true)),
        "false" | "False" => Token::Value(Value::Bool(false)),
        "and" => Token::Sign("&&"),
        "or" => Token::Sign("||"),
        "not" => Token::Sign("not"),
        name => Token::Name(name.to_owned()),
    }
}

/// With `python`, comparisons may chain and `in` tests a list. Both are rewritten: the tree has neither.
pub(super) fn parse(text: &str, python: bool) -> Parsed<Node> {
    let mut parser = Parser {
        tokens: tokens(text, python)?,
        at: 0,
        depth: 0,
        python,
    };
    let root = parser.binary(0)?;
    match parser.take() {
        (_, Token::End) => Ok(root),
        (at, _) => Err((at, "an operator or the end is expected".into())),
    }
}

/// The deepest nesting of brackets and signs, so that a hostile file cannot overflow the stack.
const DEPTH: usize = 100;

struct Parser {
    tokens: Vec<(usize, Token)>,
    at: usize,
    depth: usize,
    python: bool,
}

/// The precedence of all comparisons in Python.
const COMPARED: u8 = 4;

/// The precedence of an operator; `None` if `sign` is not one.
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
        let mut left = self.deeper(Parser::operand)?;
        // The right side of a comparison.
        let mut compared: Option<Node> = None;
        loop {
            if self.python && least <= COMPARED && self.membership() {
                left = self.contained(left)?;
                continue;
            }
            let Some((tight, op)) = self.operator().filter(|(tight, _)| *tight >= least) else {
                return Ok(left);
            };
            let (at, _) = self.take();
            let middle = compared.take().filter(|_| comparison(op));
            // Languages disagree on the meaning of `a < b < c`.
            if middle.as_ref().is_some_and(|m| !self.python || compares(m)) {
                return Err((at, "comparisons do not chain; join them with &&".into()));
            }
            let right = match op {
                Op::Power => self.deeper(|parser| parser.binary(tight))?,
                _ => self.binary(tight + 1)?,
            };
            compared = comparison(op).then(|| right.clone());
            left = match middle {
                None => node(at, op, left, right),
                Some(middle) => node(at, Op::And, left, node(at, op, middle, right)),
            };
        }
    }

    /// The next operator and its precedence.
    fn operator(&self) -> Option<(u8, Op)> {
        let (tight, op) = operator(self.peek())?;
        match self.python && comparison(op) {
            true => Some((COMPARED, op)),
            false => Some((tight, op)),
        }
    }

    /// Whether `in` or `not in` comes next.
    fn membership(&self) -> bool {
        let next = self.tokens.get(self.at + 1).map(|(_, token)| token);
        match self.peek() {
            Token::Sign("in") => true,
            Token::Sign("not") => next == Some(&Token::Sign("in")),
            _ => false,
        }
    }

    /// `left in [a, b]` is `left == a || left == b`.
    fn contained(&mut self, left: Node) -> Parsed<Node> {
        let (at, sign) = self.take();
        let not = sign == Token::Sign("not");
        if not {
            self.take();
        }
        let closing = match self.take() {
            (_, Token::Sign("[")) => "]",
            (_, Token::Sign("(")) => ")",
            (at, _) => return Err((at, "a list in [ ] is expected".into())),
        };
        if compares(&left) {
            return Err((at, "the left side of `in` must be a number".into()));
        }
        let equal = |item: Node| node(at, Op::Equal, left.clone(), item);
        let mut any = equal(self.deeper(|parser| parser.binary(0))?);
        while *self.peek() == Token::Sign(",") {
            self.take();
            let item = self.deeper(|parser| parser.binary(0))?;
            any = node(at, Op::Or, any, equal(item));
        }
        self.sign(closing)?;
        let kind = Kind::Not(Box::new(any.clone()));
        Ok(if not { Node { at, kind } } else { any })
    }

    fn deeper(&mut self, parse: impl FnOnce(&mut Parser) -> Parsed<Node>) -> Parsed<Node> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err((
                self.tokens[self.at.min(self.tokens.len() - 1)].0,
                "nested too deeply".into(),
            ));
        }
        let node = parse(self);
        self.depth -= 1;
        node
    }

    fn operand(&mut self) -> Parsed<Node> {
        let (at, token) = self.take();
        let kind = match token {
            Token::Value(value) => Kind::Value(value),
            // Has the precedence of a product: -a ** b is -(a ** b).
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

fn node(at: usize, op: Op, left: Node, right: Node) -> Node {
    let kind = Kind::Binary(op, Box::new(left), Box::new(right));
    Node { at, kind }
}

/// Whether the tree holds a comparison. Such a tree is not repeated, or a short text could give a huge tree.
fn compares(node: &Node) -> bool {
    match &node.kind {
        Kind::Value(_) | Kind::Name(_) => false,
        Kind::Negate(a) | Kind::Not(a) => compares(a),
        Kind::Binary(op, a, b) => comparison(*op) || compares(a) || compares(b),
        Kind::Call(_, arguments) => arguments.iter().any(compares),
    }
}

fn comparison(op: Op) -> bool {
    matches!(
        op,
        Op::Equal | Op::NotEqual | Op::Less | Op::LessEqual | Op::Greater | Op::GreaterEqual
    )
}
