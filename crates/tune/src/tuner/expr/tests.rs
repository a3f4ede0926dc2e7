use super::*;

fn value(text: &str) -> Value {
    let scope = Scope::from([
        ("M".to_owned(), Value::Int(33)),
        ("TILE".to_owned(), Value::Int(8)),
        ("FAST".to_owned(), Value::Bool(true)),
        ("scale".to_owned(), Value::Float(0.5)),
    ]);
    Expr::parse(text).unwrap().eval(&scope).unwrap()
}

fn fails(text: &str) -> String {
    let scope = Scope::from([("M".to_owned(), Value::Int(33))]);
    match Expr::parse(text) {
        Ok(expr) => expr.eval(&scope).unwrap_err().to_string(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn arithmetic_and_precedence() {
    for (text, expected) in [
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("10 - 4 - 3", 3),
        ("2 ** 3 ** 2", 512),
        ("-2 ** 2", -4),
        ("2 * -3", -6),
        ("7 / 2", 3),
        ("-7 / 2", -4),
        ("7 // -2", -4),
        ("-7 // -2", 3),
        ("-7 % 4", 1),
        ("7 % -4", -1),
        ("ceil_div(M, TILE)", 5),
        ("round_up(M, TILE)", 40),
        ("round_up(0, TILE)", 0),
        ("min(M, TILE, 3)", 3),
        ("max(M, TILE)", 33),
        ("abs(TILE - M)", 25),
        ("M * (M > TILE)", 33),
        ("FAST + 1", 2),
    ] {
        assert_eq!(value(text), Value::Int(expected), "{text}");
    }
    for (text, expected) in [
        ("1 / 4.0", 0.25),
        ("scale * M", 16.5),
        ("1e-3", 0.001),
        ("2.5 // 1", 2.0),
    ] {
        assert_eq!(value(text), Value::Float(expected), "{text}");
    }
}

#[test]
fn truth_values_in_both_spellings() {
    for (text, expected) in [
        ("M % TILE == 0", false),
        ("M > 8 && TILE <= 8", true),
        ("M > 8 and not TILE > 8", true),
        ("M < 8 || TILE != 8", false),
        ("M < 8 or FAST", true),
        ("!FAST", false),
        ("(M > 8) == (TILE > 4)", true),
        ("1 + 1 == 2 && 3 * 2 >= 6", true),
        ("M < 8 && 1 / 0 > 1", false),
    ] {
        assert_eq!(value(text), Value::Bool(expected), "{text}");
    }
}

#[test]
fn mistakes_give_their_column() {
    for (text, column, message) in [
        ("M *", 4, "a number, a name or `(`"),
        ("(M + 1", 7, "`)` is expected"),
        ("M 2", 3, "an operator or the end"),
        ("M = 2", 3, "write =="),
        ("1 < M < 9", 7, "do not chain"),
        ("M + §", 5, "`§`"),
        ("N + 1", 1, "unknown name `N`"),
        ("1 + M / 0", 7, "division by zero"),
        ("M % (1 - 1)", 3, "division by zero"),
        ("4 * log(M)", 5, "unknown function `log`"),
        ("ceil_div(M)", 1, "takes 2 arguments, 1 are given"),
        ("9223372036854775807 + M", 21, "beyond 64 bits"),
        ("99999999999999999999", 1, "no number of 64 bits"),
        ("", 1, "a number, a name or `(`"),
    ] {
        let error = fails(text);
        assert!(
            error.contains(&format!("column {column}:")),
            "{text}: {error}"
        );
        assert!(error.contains(message), "{text}: {error}");
    }
    assert!(fails(&"(".repeat(500)).contains("nested too deeply"));
    assert!(fails(&"-".repeat(500)).contains("nested too deeply"));
    for long in ["1+", "1**"] {
        assert!(fails(&format!("{}1", long.repeat(400_000))).contains("words and signs"));
    }
    assert!(fails(&format!("{}1", "1**".repeat(400))).contains("nested too deeply"));
    assert_eq!(value(&format!("{}1", "1+".repeat(499))), Value::Int(500));
}

#[test]
fn counts_are_whole_and_not_negative() {
    let scope = Scope::new();
    let count = |text: &str| Expr::parse(text).unwrap().count(&scope);
    assert_eq!(count("3 * 4"), Ok(12));
    assert!(count("-1").unwrap_err().to_string().contains("it is -1"));
    assert!(count("1.5").unwrap_err().to_string().contains("it is 1.5"));
    assert!(
        count("1 == 1")
            .unwrap_err()
            .to_string()
            .contains("it is true")
    );
}

#[test]
fn unknown_names_are_found_before_anything_runs() {
    let known = BTreeSet::from(["M".to_owned(), "N".to_owned()]);
    let check = |text: &str| Expr::parse(text).unwrap().check_names(&known);
    assert_eq!(check("min(M, N) * 2"), Ok(()));
    let error = check("M + max(1, K)").unwrap_err().to_string();
    assert!(
        error.contains("column 12: unknown name `K`; known: M, N"),
        "{error}"
    );
}

#[test]
fn pythons_expressions_mean_the_same_here() {
    let scope = |m: i64| Scope::from([("M".into(), Value::Int(m)), ("N".into(), Value::Int(3))]);
    for (text, inside, outside) in [
        ("32 <= M * N <= 99", [11, 33], [10, 34]),
        ("M in [16, 32] and N == 3", [16, 32], [17, 33]),
        ("M not in (16, 2 * 16) and 0 < M", [17, 33], [16, 32]),
        ("1 < M < 9 != N", [2, 8], [1, 9]),
        ("not M > 4 or M == 9", [4, 9], [5, 10]),
        // Both languages read these, in two ways.
        ("M == N < 4", [3, 3], [2, 1]),
        ("M != N > 2", [1, 4], [3, 3]),
        ("N == M >= N", [3, 3], [0, 4]),
        ("0 < M == N", [3, 3], [1, 4]),
        ("M == 3 != N + 1", [3, 3], [1, 4]),
    ] {
        let expr = Expr::from_python(text).unwrap();
        // The printed text is in the spec's own syntax.
        let again = Expr::parse(expr.text()).unwrap();
        for (numbers, expected) in [(inside, true), (outside, false)] {
            for m in numbers {
                assert_eq!(expr.truth(&scope(m)), Ok(expected), "{text} at {m}");
                assert_eq!(
                    again.truth(&scope(m)),
                    Ok(expected),
                    "{} at {m}",
                    expr.text()
                );
            }
        }
    }
    let long = format!(
        "{} in [{}]",
        vec!["M"; 200].join(" + "),
        vec!["1"; 100].join(", ")
    );
    let error = Expr::from_python(&long).unwrap_err().to_string();
    assert!(error.contains("longer than 16384 bytes"), "{error}");
    for text in ["(1 < M < 2) < 3 < 4 in [1]", "M in 4", "1 < (2 < M) < 3"] {
        assert!(Expr::from_python(text).is_err(), "{text}");
    }
    assert!(Expr::parse("M in [4]").is_err());
}

#[test]
fn python_reads_what_is_printed_for_it() {
    let sample = Scope::from([("M".into(), Value::Int(3)), ("s".into(), Value::Float(0.5))]);
    let name = |name: &str| {
        if name == "M" {
            "ProblemSize[0]".into()
        } else {
            name.to_owned()
        }
    };
    for (text, python) in [
        ("ceil_div(M, T) * 2", "(-(-ProblemSize[0] // T)) * 2"),
        ("M / 4 > 1 && !F", "((ProblemSize[0] // 4) > 1) and (not F)"),
        ("M / s", "ProblemSize[0] / s"),
        (
            "round_up(M, 4) - min(M, 2) == 0 || true",
            "(((-(-ProblemSize[0] // 4) * 4) - min(ProblemSize[0], 2)) == 0) or True",
        ),
    ] {
        let expr = Expr::parse(text).unwrap();
        assert_eq!(expr.to_python(&name, &sample), python);
    }
}

#[test]
fn a_number_in_a_file_keeps_its_kind() {
    let read = |text: &str| toml::from_str::<BTreeMap<String, Expr>>(text).unwrap();
    let all = read("a = 1.0\nb = 3\nc = \"1 + 1\"\nd = 1e300");
    let value = |name: &str| all[name].eval(&Scope::new()).unwrap();
    assert_eq!(value("a"), Value::Float(1.0));
    assert_eq!(all["a"].text(), "1.0");
    assert_eq!(value("b"), Value::Int(3));
    assert_eq!(value("c"), Value::Int(2));
    assert_eq!(value("d"), Value::Float(1e300));
}
