//! Labelled and unlabelled text tables: TSV, CSV and JSON Lines.
//!
//! The format follows the file's extension: `.tsv` and `.txt` are tab separated, `.csv` is comma separated,
//! `.jsonl` and `.json` hold one JSON object a line. Cells are quoted as Python's `csv` module and pandas have it. In a
//! tab separated file a lone quotation mark at the start of a cell is an ordinary character, and said to be.
//! A byte order mark, any line ends and blank lines are accepted (blank lines are skipped, in every format).

mod delimited;
mod encoding;
mod labels;
mod match_labels;
mod problem;
mod rows;
#[cfg(test)]
mod tests;

use std::path::Path;

use anyhow::{Result, bail, ensure};

pub use match_labels::match_labels;
pub use problem::ProblemType;

/// The columns of a table that are read; others may be there and are ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Columns<'a> {
    /// The text.
    pub text: &'a str,
    /// A second text, for tasks on pairs.
    pub text_pair: Option<&'a str>,
    /// The label.
    pub label: Option<&'a str>,
}

/// How labels are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LabelOptions<'a> {
    /// What the labels mean. Not given, the table decides: lists are several labels, decimal numbers
    /// (`3.5`, `1.0`) are values, all others are classes.
    pub problem_type: Option<ProblemType>,
    /// The labels that there are, in their order: those of the training data. Others are refused.
    pub known: Option<&'a [String]>,
    /// The labels of the model that is trained on. They give the order where the table's are the same by name.
    pub preferred: &'a [String],
    /// Whether those of `preferred` that the table lacks stay labels: the model has a head for them.
    pub keep_unseen: bool,
    /// The delimiter between several labels in a cell; not used with JSON, which has lists. Empty means `,`.
    pub delimiter: &'a str,
}

/// What each text is labelled with.
#[derive(Debug, Clone, PartialEq)]
pub enum Labels {
    /// One class each, an index into the label names.
    Classes(Vec<u32>),
    /// Any number of classes each, in rising order.
    Sets(Vec<Vec<u32>>),
    /// A number each.
    Values(Vec<f64>),
}

impl Labels {
    /// The meaning of the labels.
    pub fn problem_type(&self) -> ProblemType {
        match self {
            Labels::Classes(_) => ProblemType::SingleLabel,
            Labels::Sets(_) => ProblemType::MultiLabel,
            Labels::Values(_) => ProblemType::Regression,
        }
    }

    /// Those of the rows `which`.
    pub fn pick(&self, which: &[usize]) -> Labels {
        fn of<T: Clone>(all: &[T], which: &[usize]) -> Vec<T> {
            which.iter().map(|i| all[*i].clone()).collect()
        }
        match self {
            Labels::Classes(all) => Labels::Classes(of(all, which)),
            Labels::Sets(all) => Labels::Sets(of(all, which)),
            Labels::Values(all) => Labels::Values(of(all, which)),
        }
    }
}

/// Texts, or pairs of texts, with their labels. All lists are equally long, in file order.
#[derive(Debug, Clone, PartialEq)]
pub struct TextDataset {
    /// The texts in the file, not trimmed; a text may be empty.
    pub texts: Vec<String>,
    /// The second text of each pair, if there are pairs.
    pub pairs: Option<Vec<String>>,
    /// What each is labelled with.
    pub labels: Labels,
    /// Name of each class; its position is the class's index. Values have one, `LABEL_0`, as in `transformers`.
    pub label_names: Vec<String>,
    /// What a user should know of how the table was read.
    pub notes: Vec<String>,
}

impl TextDataset {
    /// Number of examples.
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// True when there is no example.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// The rows `which`, in that order.
    pub fn pick(&self, which: &[usize]) -> TextDataset {
        let of = |texts: &Vec<String>| which.iter().map(|i| texts[*i].clone()).collect();
        TextDataset {
            texts: of(&self.texts),
            pairs: self.pairs.as_ref().map(of),
            labels: self.labels.pick(which),
            label_names: self.label_names.clone(),
            notes: self.notes.clone(),
        }
    }

    /// Number of examples of each class, in the order of `label_names`; nothing for values.
    pub fn class_counts(&self) -> Vec<usize> {
        let labels: Vec<u32> = match &self.labels {
            Labels::Classes(all) => all.clone(),
            Labels::Sets(all) => all.concat(),
            Labels::Values(_) => return Vec::new(),
        };
        let mut counts = vec![0; self.label_names.len()];
        for label in labels {
            if let Some(count) = counts.get_mut(label as usize) {
                *count += 1;
            }
        }
        counts
    }

    /// Refuses training data from which nothing can be learnt: fewer than two classes with examples, a class
    /// of its own for every row, no label at all. Questions thousands of classes, or one for every other row, unless
    /// the user `asked` for classes in so many words.
    ///
    /// # Errors
    /// Names `path`, what is there and the fix.
    pub fn check_for_training(
        &self,
        path: impl AsRef<Path>,
        label_column: &str,
        asked: bool,
    ) -> Result<()> {
        let path = path.as_ref().display();
        let counts = self.class_counts();
        let present: Vec<&String> = self
            .label_names
            .iter()
            .zip(&counts)
            .filter(|&(_, &count)| count > 0)
            .map(|(name, _)| name)
            .collect();
        match (&self.labels, present.as_slice()) {
            (Labels::Values(_), _) => Ok(()),
            (Labels::Sets(_), []) => bail!(
                "{path}: no row has a label in column `{label_column}`; training needs at least one"
            ),
            (Labels::Sets(_), _) => Ok(()),
            (Labels::Classes(_), []) => {
                bail!("{path}: no examples; training needs at least two classes")
            }
            (Labels::Classes(_), [only]) => bail!(
                "{path}: only one class, every one of the {} rows is labelled `{only}`; training needs at least two \
                 classes: check the label column and how the file was filtered",
                self.len()
            ),
            (Labels::Classes(_), classes) => {
                // A handful of rows may well have a class each.
                ensure!(
                    classes.len() < self.len() || self.len() <= 20,
                    "{path}: {} classes, one row each; is `{label_column}` the label column? Numbers are learnt as \
                     such with problem_type regression",
                    classes.len()
                );
                let many =
                    classes.len() >= 1000 || (self.len() > 100 && classes.len() > self.len() / 2);
                ensure!(
                    asked || !many,
                    "{path}: {} classes in {} rows; is `{label_column}` the label column? If it is, say so with \
                     problem_type single_label_classification; numbers are learnt as such with problem_type regression",
                    classes.len(),
                    self.len()
                );
                Ok(())
            }
        }
    }
}

/// Reads a table of texts and labels.
///
/// Without known labels the classes are those found in the file: sorted as numbers where every label is an
/// integer, else by their characters. Space around a label is dropped. JSON labels may be strings, numbers,
/// booleans or lists of these.
///
/// # Errors
/// One line naming the file, the line where there is one, and the fix: file missing, unreadable or empty, unknown
/// extension, no data rows, a column that does not exist, a row with too few or too many columns, an unclosed
/// quotation mark, text that is not UTF-8, invalid JSON, an empty label, a label that is not among the known ones,
/// a number in two spellings among classes, a value that is not a number.
pub fn read_table(
    path: impl AsRef<Path>,
    columns: &Columns,
    options: &LabelOptions,
) -> Result<TextDataset> {
    let path = path.as_ref();
    let rows::Rows { rows, notes } = rows::read_rows(path, columns)?;
    let place = labels::Place {
        path,
        column: columns.label.unwrap_or_default(),
    };
    let (labels, label_names) = labels::read_labels(&place, &rows, options)?;
    let pairs = columns.text_pair.is_some();
    let mut texts = Vec::with_capacity(rows.len());
    let mut seconds = Vec::new();
    for row in rows {
        texts.push(row.text);
        seconds.extend(row.text_pair);
    }
    Ok(TextDataset {
        texts,
        pairs: pairs.then_some(seconds),
        labels,
        label_names,
        notes,
    })
}

/// The texts of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Texts {
    /// The texts in the file, not trimmed.
    pub texts: Vec<String>,
    /// The second text of each pair, if pairs were requested.
    pub pairs: Option<Vec<String>>,
    /// What a user should know of how the table was read.
    pub notes: Vec<String>,
}

/// Reads only the texts of a table, as for prediction.
///
/// # Errors
/// As [`read_table`], labels aside.
pub fn read_texts(
    path: impl AsRef<Path>,
    text_column: &str,
    text_pair_column: Option<&str>,
) -> Result<Texts> {
    let columns = Columns {
        text: text_column,
        text_pair: text_pair_column,
        label: None,
    };
    let rows::Rows { rows, notes } = rows::read_rows(path.as_ref(), &columns)?;
    let (texts, pairs): (Vec<String>, Vec<Option<String>>) = rows
        .into_iter()
        .map(|row| (row.text, row.text_pair))
        .unzip();
    Ok(Texts {
        texts,
        pairs: pairs.into_iter().collect(),
        notes,
    })
}
