//! Training, validation and test files from the movie-review snippets of Hutto and Gilbert
//! (VADER, ICWSM 2014).

use std::fs;
use std::path::{Path, PathBuf};

/// File of the archive: one snippet a line, `id <tab> mean human rating <tab> text`.
pub const SOURCE: &str = "movieReviewSnippets_GroundTruth.txt";

/// The three parts, each a TSV text with the header `text <tab> label`.
#[derive(Debug, PartialEq)]
pub struct Parts {
    pub train: String,
    pub validation: String,
    pub test: String,
}

/// The paths of the three parts.
pub struct Files {
    pub train: PathBuf,
    pub validation: PathBuf,
    pub test: PathBuf,
}

/// Sorts the snippets: `positive` where the rating is above 0, `negative` below, dropped at 0;
/// ids that end in 0 are the test part, in 1 the validation part. The file's order is kept.
pub fn split(text: &str) -> Result<Parts, String> {
    let header = || String::from("text\tlabel\n");
    let mut parts = Parts {
        train: header(),
        validation: header(),
        test: header(),
    };
    for (index, line) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
    {
        let fault = |what: &str| Err(format!("line {}: {what}: `{line}`", index + 1));
        let mut fields = line.splitn(3, '\t');
        let (Some(id), Some(rating), Some(snippet)) = (fields.next(), fields.next(), fields.next())
        else {
            return fault("expected id, rating and text between tabs");
        };
        let Ok(id) = id.parse::<u64>() else {
            return fault("the id is no whole number");
        };
        let Ok(rating) = rating.parse::<f64>() else {
            return fault("the rating is no number");
        };
        if snippet.contains('\t') {
            return fault("a tab inside the text");
        }
        let label = if rating > 0.0 {
            "positive"
        } else if rating < 0.0 {
            "negative"
        } else {
            continue;
        };
        let part = match id % 10 {
            0 => &mut parts.test,
            1 => &mut parts.validation,
            _ => &mut parts.train,
        };
        for piece in [snippet, "\t", label, "\n"] {
            part.push_str(piece);
        }
    }
    Ok(parts)
}

/// Reads `folder`'s snippets and writes the three parts beside them, each under a temporary name
/// first, so that a file that exists is whole.
pub fn prepare(folder: &Path) -> Result<Files, String> {
    let source = folder.join(SOURCE);
    let bytes = fs::read(&source).map_err(|e| format!("cannot read {}: {e}", source.display()))?;
    let text =
        String::from_utf8(bytes).map_err(|e| format!("{} is not UTF-8: {e}", source.display()))?;
    let parts = split(&text).map_err(|e| format!("{}: {e}", source.display()))?;
    let write = |name: &str, content: &str| -> Result<PathBuf, String> {
        let target = folder.join(name);
        let draft = folder.join(format!("{name}.{}", std::process::id()));
        fs::write(&draft, content)
            .and_then(|()| fs::rename(&draft, &target))
            .map_err(|e| format!("cannot write {}: {e}", target.display()))?;
        Ok(target)
    };
    let rows = |part: &str| part.lines().count() - 1;
    println!(
        "data: {} rows to train, {} to validate, {} to test",
        rows(&parts.train),
        rows(&parts.validation),
        rows(&parts.test)
    );
    Ok(Files {
        train: write("train.tsv", &parts.train)?,
        validation: write("validation.tsv", &parts.validation)?,
        test: write("test.tsv", &parts.test)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_decides_the_part_of_a_row() {
        let text = "1\t2.26\tA \"fine\" film\r\n2\t-0.6\ttepid\r\n10\t0.05\tcafé ok\r\n\r\n\
                    11\t0\tneither\r\n20\t-0.0\tneither too\r\n12\t-1e-3\tlast\r\n21\t3\tvalid";
        let parts = split(text).unwrap();
        assert_eq!(
            parts.train,
            "text\tlabel\ntepid\tnegative\nlast\tnegative\n"
        );
        assert_eq!(
            parts.validation,
            "text\tlabel\nA \"fine\" film\tpositive\nvalid\tpositive\n"
        );
        assert_eq!(parts.test, "text\tlabel\ncafé ok\tpositive\n");
    }

    #[test]
    fn faults_name_their_line() {
        for (text, part) in [
            ("1\t1\tok\n2\t1", "line 2: expected id, rating and text"),
            ("x\t1\ttext", "line 1: the id is no whole number"),
            ("1\thigh\ttext", "line 1: the rating is no number"),
            ("1\t1\ta\tb", "line 1: a tab inside"),
        ] {
            let message = split(text).unwrap_err();
            assert!(message.starts_with(part), "{message}");
        }
    }

    #[test]
    fn files_are_written_completely_and_replaced() {
        let folder = std::env::temp_dir().join(format!("xtask-dataset-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        assert!(prepare(&folder).err().unwrap().contains(SOURCE));
        fs::write(folder.join(SOURCE), b"1\t1\tcaf\xe9").unwrap();
        assert!(prepare(&folder).err().unwrap().contains("not UTF-8"));
        fs::write(folder.join(SOURCE), "1\t1\tgood\n10\t-1\tbad\n").unwrap();
        for _ in 0..2 {
            let files = prepare(&folder).unwrap();
            assert_eq!(fs::read_to_string(files.train).unwrap(), "text\tlabel\n");
            assert_eq!(
                fs::read_to_string(files.validation).unwrap(),
                "text\tlabel\ngood\tpositive\n"
            );
            assert_eq!(
                fs::read_to_string(files.test).unwrap(),
                "text\tlabel\nbad\tnegative\n"
            );
        }
        assert_eq!(
            fs::read_dir(&folder).unwrap().count(),
            4,
            "no drafts are left"
        );
        fs::remove_dir_all(&folder).unwrap();
    }
}
