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
fn mistakes_have_their_column() {
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
    assert!(fails(&"(".repeat(5000)).contains("nested too deeply"));
    assert!(fails(&"-".repeat(5000)).contains("nested too deeply"));
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
