//! All choices of parameters that the constraints allow.

use anyhow::{Result, bail};

use super::expr::{Scope, Value};
use super::spec::{Spec, show};

/// The largest number of combinations.
const MOST: u64 = 1_000_000;
/// The largest number of combinations times the length of what is evaluated for each: some ten seconds.
const WORK: u64 = 1 << 30;

/// A choice: the index of a value for each parameter, in the order of their names.
pub type Choice = Vec<u16>;

/// The parameters and the allowed choices.
#[derive(Debug, Clone)]
pub struct Space {
    /// Names and values.
    pub parameters: Vec<(String, Vec<Value>)>,
    /// Allowed choices, in order.
    pub choices: Vec<Choice>,
    /// How many choices the constraints forbid.
    pub forbidden: u64,
    /// The index of the default in `choices`.
    pub default: usize,
}

impl Space {
    /// Goes through all combinations for the problem `sizes`.
    ///
    /// # Errors
    /// More than a million of them, a mistake in a constraint, none allowed, a forbidden default.
    pub fn new(spec: &Spec, sizes: &Scope) -> Result<Space> {
        let parameters: Vec<(String, Vec<Value>)> = spec
            .parameters
            .iter()
            .map(|(n, v)| (n.clone(), v.clone()))
            .collect();
        let total = parameters
            .iter()
            .try_fold(1u64, |n, (_, values)| n.checked_mul(values.len() as u64))
            .filter(|n| *n <= MOST);
        let Some(total) = total else {
            bail!("more than {MOST} combinations of parameters; leave out some values");
        };
        let of_constraints: usize = spec.constraints.iter().map(|c| c.text().len()).sum();
        let each = (of_constraints + 8 * parameters.len()) as u64;
        if total.saturating_mul(each) > WORK {
            bail!(
                "{total} combinations of {} parameters under {} constraints are too many to go through; leave out some values",
                parameters.len(),
                spec.constraints.len()
            );
        }
        let mut space = Space {
            parameters,
            choices: Vec::new(),
            forbidden: 0,
            default: 0,
        };
        let mut choice: Choice = vec![0; space.parameters.len()];
        let mut scope = spec.facts.clone();
        scope.extend(sizes.iter().map(|(n, v)| (n.clone(), *v)));
        scope.extend(space.scope(&choice));
        for _ in 0..total {
            for ((name, values), at) in space.parameters.iter().zip(&choice) {
                if let Some(value) = scope.get_mut(name) {
                    *value = values[usize::from(*at)];
                }
            }
            if spec.allowed_in(&scope)? {
                space.choices.push(choice.clone());
            } else {
                space.forbidden += 1;
            }
            space.advance(&mut choice);
        }
        let default = spec.default_at(sizes)?;
        if space.choices.is_empty() {
            bail!(
                "the constraints forbid every choice of parameters on this adapter at {}",
                show(sizes)
            );
        }
        let Some(at) = space.locate(&default) else {
            let shown = show(&default);
            bail!(
                "the constraints forbid the default ({shown}); put allowed values first or into [default]"
            );
        };
        space.default = at;
        Ok(space)
    }

    /// Counts up; the last parameter changes fastest.
    fn advance(&self, choice: &mut Choice) {
        for (slot, (_, values)) in choice.iter_mut().zip(&self.parameters).rev() {
            *slot += 1;
            if usize::from(*slot) < values.len() {
                return;
            }
            *slot = 0;
        }
    }

    /// The index of a choice, if it is allowed.
    pub fn find(&self, choice: &Choice) -> Option<usize> {
        // The choices were made in sorted order.
        self.choices.binary_search(choice).ok()
    }

    /// The values of a choice by name.
    pub fn scope(&self, choice: &[u16]) -> Scope {
        let pairs = self.parameters.iter().zip(choice);
        pairs
            .filter_map(|((name, values), at)| Some((name.clone(), *values.get(usize::from(*at))?)))
            .collect()
    }

    /// The values of the allowed choice with index `at`.
    pub fn values(&self, at: usize) -> Scope {
        self.choices
            .get(at)
            .map(|c| self.scope(c))
            .unwrap_or_default()
    }

    /// The allowed choices that differ from `at` in one parameter.
    pub fn neighbours(&self, at: usize) -> Vec<usize> {
        let mut found = Vec::new();
        let mut choice = self.choices[at].clone();
        for i in 0..choice.len() {
            let kept = choice[i];
            for value in 0..self.parameters[i].1.len() as u16 {
                if value != kept {
                    choice[i] = value;
                    found.extend(self.find(&choice));
                }
            }
            choice[i] = kept;
        }
        found
    }

    /// The index of the choice with these values.
    pub fn locate(&self, values: &Scope) -> Option<usize> {
        let choice: Option<Choice> = self
            .parameters
            .iter()
            .map(|(name, all)| {
                all.iter()
                    .position(|v| Some(v) == values.get(name))
                    .map(|at| at as u16)
            })
            .collect();
        self.find(&choice?)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A spec with the given parts; the rest is the same for all tests.
    pub fn spec(parameters: &str, constraints: &str, default: &str) -> Spec {
        let text = format!(
            "workgroups = [1]\nconstraints = [{constraints}]\ncheck = [{{ N = 1 }}]\ntime = [{{ N = 2 }}]\n\
             [parameters]\n{parameters}\n[default]\n{default}\n\
             [[buffers]]\nname = \"y\"\ndtype = \"f32\"\nsize = \"N\"\noutput = true\n\
             [reference]\nbuiltin = \"copy\"\n"
        );
        Spec::parse("s", &text).unwrap()
    }

    #[test]
    fn constraints_remove_choices() {
        let spec = spec(
            "A = [1, 2, 4]\nB = [8, 16]\nC = [false, true]",
            "\"A * B <= 32\", \"!C || A == 1\"",
            "",
        );
        let space = Space::new(&spec, &spec.time[0]).unwrap();
        // A*B: 8 16 / 16 32 / 32 (64): five; C only with A == 1: two more.
        assert_eq!(space.choices.len(), 7);
        assert_eq!(space.forbidden, 5);
        assert_eq!(show(&space.values(space.default)), "A=1 B=8 C=false");
        for at in 0..space.choices.len() {
            assert_eq!(space.locate(&space.values(at)), Some(at));
        }
        let near = space.neighbours(space.default);
        let shown: Vec<String> = near.iter().map(|at| show(&space.values(*at))).collect();
        assert_eq!(
            shown,
            [
                "A=2 B=8 C=false",
                "A=4 B=8 C=false",
                "A=1 B=16 C=false",
                "A=1 B=8 C=true"
            ]
        );
    }

    #[test]
    fn constraints_may_use_sizes_and_facts_of_the_adapter() {
        let mut spec = spec(
            "A = [1, 2, 4]",
            "\"A == 1 || A == N && subgroup_size == 8\"",
            "",
        );
        let allowed = |spec: &Spec| Space::new(spec, &spec.time[0]).unwrap().choices.len();
        assert_eq!(allowed(&spec), 1);
        spec.facts.insert("subgroup_size".into(), Value::Int(8));
        assert_eq!(allowed(&spec), 2);
        let values = Scope::from([("A".into(), Value::Int(2))]);
        assert_eq!(spec.allows(&values, &spec.time[0]), Ok(true));
        assert_eq!(spec.allows(&values, &spec.check[0]), Ok(false));
    }

    #[test]
    fn the_spec_may_name_a_default() {
        let spec = spec("A = [1, 2, 4]", "\"A > 1\"", "A = 4");
        let space = Space::new(&spec, &spec.time[0]).unwrap();
        assert_eq!(show(&space.values(space.default)), "A=4");
        let mut spec = self::spec("A = [1, 2, 4]", "", "A = \"N * (1 + software)\"");
        spec.facts.insert("software".into(), Value::Bool(true));
        let space = Space::new(&spec, &spec.time[0]).unwrap();
        assert_eq!(show(&space.values(space.default)), "A=4");
    }

    #[test]
    fn impossible_spaces_are_refused() {
        let fails = |p: &str, c: &str| {
            let spec = spec(p, c, "");
            Space::new(&spec, &spec.time[0]).unwrap_err().to_string()
        };
        assert!(fails("A = [1, 2]", "\"A > 2\"").contains("forbid every choice"));
        assert!(fails("A = [1, 2]", "\"A > 1\"").contains("forbid the default (A=1)"));
        assert!(fails("A = [1, 0]", "\"8 % A == 0\"").contains("division by zero"));
        let many: String = (0..23).map(|i| format!("P{i} = [0, 1]\n")).collect();
        assert!(fails(&many, "").contains("leave out some values"));
        let many: String = (0..19).map(|i| format!("P{i} = [0, 1]\n")).collect();
        let long = format!("\"{} >= 0\"", vec!["P0"; 400].join(" + "));
        assert!(fails(&many, &long).contains("too many to go through"));
    }
}
