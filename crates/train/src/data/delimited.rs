//! Records of comma or tab separated text, as Python's `csv.reader` and pandas read them.
//!
//! A quotation mark that opens a cell quotes it up to the mark that closes it; there a doubled mark is one mark, and
//! separators and line ends are text. A mark anywhere else is an ordinary character. `\n`, `\r\n` and a lone `\r`
//! end a record. Blank lines are skipped.
//!
//! One thing differs. In tab separated prose a lone mark often opens a cell, and read by the book it would swallow
//! the rows up to the next mark, wherever that is. Such a mark is read as an ordinary character, and counted.

use anyhow::{Result, bail};

/// A row and the line where it begins, from 1.
#[derive(Debug, PartialEq)]
pub struct Record {
    pub line: usize,
    pub cells: Vec<String>,
    /// Whether a carriage return alone ends it.
    pub lone_return: bool,
}

/// What was read.
#[derive(Debug, Default)]
pub struct Records {
    pub records: Vec<Record>,
    /// Lines of marks that open a cell, quote nothing, and are read as ordinary characters.
    pub lone_quotes: Vec<usize>,
    /// Rows that end with a carriage return alone.
    pub lone_returns: usize,
}

/// Reads `text`. Errors: a quotation mark in a comma separated file is never closed; in a tab separated one, quotation
/// marks have two meanings.
pub fn read(text: &str, delimiter: u8) -> Result<Records> {
    let mut reader = Reader {
        text,
        delimiter,
        at: 0,
        line: 1,
        columns: None,
        out: Records::default(),
    };
    while reader.at < text.len() {
        reader.record()?;
    }
    Ok(reader.out)
}

struct Reader<'a> {
    text: &'a str,
    delimiter: u8,
    at: usize,
    line: usize,
    /// Cells of the header.
    columns: Option<usize>,
    out: Records,
}

/// How a cell that a mark opens goes on.
enum Quoted {
    /// Index behind the closing mark.
    Closed(usize),
    /// The mark is an ordinary character.
    Lone,
}

impl Reader<'_> {
    /// Reads up to and over the end of a record.
    fn record(&mut self) -> Result<()> {
        let line = self.line;
        let blank = line_end(self.text, self.at) > 0;
        let mut cells = Vec::new();
        let lone_return;
        loop {
            let cell = self.cell()?;
            cells.push(cell);
            match self.text.as_bytes().get(self.at) {
                Some(byte) if *byte == self.delimiter => self.at += 1,
                end => {
                    lone_return = end == Some(&b'\r') && !self.text[self.at..].starts_with("\r\n");
                    self.out.lone_returns += usize::from(lone_return);
                    self.at += self.line_end();
                    break;
                }
            }
        }
        if !blank {
            self.columns.get_or_insert(cells.len());
            self.out.records.push(Record {
                line,
                cells,
                lone_return,
            });
        }
        Ok(())
    }

    /// The length of the line end here, which is counted.
    fn line_end(&mut self) -> usize {
        let length = line_end(self.text, self.at);
        self.line += usize::from(length > 0);
        length
    }

    /// Reads a cell and stops at the delimiter or line end behind it.
    fn cell(&mut self) -> Result<String> {
        let mut cell = String::new();
        if self.text[self.at..].starts_with('"') {
            match self.quoted()? {
                Quoted::Lone => self.out.lone_quotes.push(self.line),
                Quoted::Closed(end) => {
                    let inside = &self.text[self.at + 1..end - 1];
                    self.line += lines_in(inside);
                    cell = inside.replace("\"\"", "\"");
                    self.at = end;
                }
            }
        }
        let rest = &self.text.as_bytes()[self.at..];
        let stop = |b: &u8| *b == self.delimiter || matches!(b, b'\n' | b'\r');
        let length = rest.iter().position(stop).unwrap_or(rest.len());
        cell.push_str(&self.text[self.at..self.at + length]);
        self.at += length;
        Ok(cell)
    }

    /// Where the cell ends whose opening mark is here.
    fn quoted(&self) -> Result<Quoted> {
        let bytes = self.text.as_bytes();
        let mut end = self.at + 1;
        let close = loop {
            match bytes[end..].iter().position(|b| *b == b'"') {
                None => break None,
                Some(at) if bytes.get(end + at + 1) == Some(&b'"') => end += at + 2,
                Some(at) => break Some(end + at + 1),
            }
        };
        let tabs = self.delimiter == b'\t';
        let Some(close) = close else {
            if tabs {
                return Ok(Quoted::Lone);
            }
            bail!(
                "line {}: a quotation mark opened in this row is never closed; close it, or write a mark inside a \
                 cell twice",
                self.line
            );
        };
        let inside = &self.text[self.at + 1..close - 1];
        if !tabs || lines_in(inside) == 0 {
            return Ok(Quoted::Closed(close));
        }
        // Several lines of a tab separated file. A program that quotes cells puts a delimiter or a line end behind
        // the closing mark.
        let closes = match bytes.get(close) {
            None => true,
            Some(byte) => *byte == self.delimiter || matches!(byte, b'\n' | b'\r'),
        };
        if !closes {
            return Ok(Quoted::Lone);
        }
        // Rows in themselves, each with as many cells as the header has?
        let begin = self.text[..self.at]
            .rfind(['\n', '\r'])
            .map_or(0, |at| at + 1);
        let rest = &self.text[close..];
        let stop = close + rest.find(['\n', '\r']).unwrap_or(rest.len());
        let lines = self.text[begin..stop]
            .split(['\n', '\r'])
            .filter(|line| !line.is_empty());
        let tabs_in = |line: &str| line.bytes().filter(|b| *b == b'\t').count() + 1;
        let mut counts = lines.map(tabs_in);
        if self
            .columns
            .is_some_and(|columns| counts.all(|count| count == columns))
        {
            bail!(
                "line {}: the quotation mark that opens a cell here is closed {} lines further down, and every line \
                 between is a row as well; quote cells with a line break only, and write a mark that is text as \"\"\" \
                 at the start of a cell",
                self.line,
                lines_in(inside)
            );
        }
        Ok(Quoted::Closed(close))
    }
}

/// The length of the line end at `at`: 0 where there is none.
fn line_end(text: &str, at: usize) -> usize {
    let rest = &text[at..];
    match rest.as_bytes().first() {
        Some(b'\r') if rest.starts_with("\r\n") => 2,
        Some(b'\n' | b'\r') => 1,
        _ => 0,
    }
}

/// Line ends in `text`.
fn lines_in(text: &str) -> usize {
    let bytes = text.as_bytes();
    let feeds = bytes.iter().filter(|b| **b == b'\n').count();
    let lone = (0..bytes.len()).filter(|&i| bytes[i] == b'\r' && bytes.get(i + 1) != Some(&b'\n'));
    feeds + lone.count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(text: &str, delimiter: u8) -> Vec<Vec<String>> {
        let read = read(text, delimiter).unwrap();
        read.records
            .into_iter()
            .map(|record| record.cells)
            .collect()
    }

    /// What `list(csv.reader(io.StringIO(text, newline=""), delimiter=…))` of Python gives, blank rows left out.
    #[test]
    fn reads_as_csv_reader_does() {
        for (text, rows) in [
            ("a,b\n1,2\n", vec![vec!["a", "b"], vec!["1", "2"]]),
            ("a,b\r\n\r\n1,2", vec![vec!["a", "b"], vec!["1", "2"]]),
            ("a,b\r1,2\r", vec![vec!["a", "b"], vec!["1", "2"]]),
            ("\"a,b\",c\n", vec![vec!["a,b", "c"]]),
            ("\"a\"\"b\",\"\"\n", vec![vec!["a\"b", ""]]),
            ("\"a\nb\r\nc\",d\n", vec![vec!["a\nb\r\nc", "d"]]),
            ("a \"b\" c, \"d\"\n", vec![vec!["a \"b\" c", " \"d\""]]),
            ("\"a\"b\"c,d\n", vec![vec!["ab\"c", "d"]]),
            ("\"a\"\"\",b", vec![vec!["a\"", "b"]]),
            ("a,\n,b\n", vec![vec!["a", ""], vec!["", "b"]]),
            ("\"\"\n", vec![vec![""]]),
            ("x\n\"\"", vec![vec!["x"], vec![""]]),
            (
                "\u{e4}\u{2028}\u{85},\u{1c}\n",
                vec![vec!["\u{e4}\u{2028}\u{85}", "\u{1c}"]],
            ),
            ("", vec![]),
            ("\n\r\n\r", vec![]),
            ("a,", vec![vec!["a", ""]]),
        ] {
            assert_eq!(cells(text, b','), rows, "{text:?}");
            let tabs = text.replace(',', "\t");
            let rows: Vec<Vec<String>> = rows
                .iter()
                .map(|row| row.iter().map(|cell| cell.replace(',', "\t")).collect())
                .collect();
            assert_eq!(cells(&tabs, b'\t'), rows, "{tabs:?}");
        }
    }

    #[test]
    fn a_row_has_the_line_where_it_begins() {
        let text = "a,b\n\n\"1\r\n2\",x\r\ny,z\r\rw,v";
        let lines: Vec<usize> = read(text, b',')
            .unwrap()
            .records
            .iter()
            .map(|r| r.line)
            .collect();
        assert_eq!(lines, [1, 3, 5, 7]);
        assert_eq!(read(text, b',').unwrap().lone_returns, 2);
    }

    #[test]
    fn an_open_mark_swallows_no_rows() {
        let line = read("a,b\nx,\"open\ny,z\n", b',').unwrap_err().to_string();
        assert!(
            line.contains("line 2") && line.contains("never closed"),
            "{line}"
        );
        // Never closed, or closed in the middle of another row's text: an ordinary character.
        for text in [
            "text\tlabel\n\"open\t1\nb\t0\n",
            "text\tlabel\n\"open\t1\nb \"c\" d\t0\n",
        ] {
            let read = read(text, b'\t').unwrap();
            assert_eq!(read.records.len(), 3, "{text}");
            assert_eq!(read.records[1].cells, ["\"open", "1"]);
            assert_eq!(read.lone_quotes, [2]);
        }
        // Two rows, or one with a line break?
        let line = read("text\tlabel\n\"good\t1\nbad\"\t0\n", b'\t')
            .unwrap_err()
            .to_string();
        assert!(
            line.contains("line 2") && line.contains("quotation mark"),
            "{line}"
        );
    }
}
