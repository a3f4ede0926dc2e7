//! WGSL cut into words and signs.

/// A word or sign, and the byte where it starts.
#[derive(Clone, Copy)]
pub(super) struct Token<'a> {
    pub at: usize,
    pub text: &'a str,
}

/// Words, numbers and single signs, without comments and white space.
pub(super) fn tokenize(text: &str) -> Vec<Token<'_>> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        if text[at..].starts_with("//") {
            at += text[at..].find('\n').unwrap_or(text.len() - at);
        } else if text[at..].starts_with("/*") {
            at = comment_end(bytes, at);
        } else if bytes[at].is_ascii_alphanumeric() || bytes[at] == b'_' || !bytes[at].is_ascii() {
            while at < bytes.len()
                && (bytes[at].is_ascii_alphanumeric() || bytes[at] == b'_' || !bytes[at].is_ascii())
            {
                at += 1;
            }
            found.push(Token {
                at: start,
                text: &text[start..at],
            });
        } else {
            at += 1;
            if !bytes[start].is_ascii_whitespace() {
                found.push(Token {
                    at: start,
                    text: &text[start..at],
                });
            }
        }
    }
    found
}

/// Block comments nest.
fn comment_end(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0;
    while at + 1 < bytes.len() {
        match &bytes[at..at + 2] {
            b"/*" => depth += 1,
            b"*/" => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
        if depth == 0 {
            return at;
        }
    }
    bytes.len()
}
