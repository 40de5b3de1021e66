//! Keys that differ between the cells of a sweep, with their values, in Hydra's syntax.

use std::collections::HashMap;

use trellis_data::Place;
use trellis_guidance::{Error, Result};

/// A key with the values that it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Axis {
    /// The dotted key, `training.weight_decay`.
    pub key: String,
    /// Its values as they stand in a configuration, in order.
    pub values: Vec<String>,
}

/// One combination of values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Name of its run folder, by what differs: `training.optimizer-sgd__training.weight_decay-0.1`.
    pub name: String,
    /// The keys and values that it sets, as for `--set`.
    pub set: Vec<String>,
}

/// Greatest number of cells of a sweep.
const MOST_CELLS: usize = 10_000;

fn refused<T>(text: &str, problem: impl Into<String>, hint: &str) -> Result<T> {
    Err(Error::config(Place::setting("sweep"), text, problem, hint))
}

impl Axis {
    /// Reads `key=a,b,c`, `key=choice(a,b)`, `key=range(stop)`, `key=range(start,stop)` or `key=range(start,stop,step)`, whose
    /// stop is left out. Commas in brackets, braces and quotes belong to a value.
    ///
    /// ```
    /// use trellis_lab::sweep::Axis;
    /// assert_eq!(Axis::parse("training.steps=range(10,40,10)")?.values, ["10", "20", "30"]);
    /// assert_eq!(Axis::parse("guide.channels=[4,8],[16]")?.values, ["[4,8]", "[16]"]);
    /// # Ok::<(), trellis_guidance::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Config`] for text of another form, a value that is missing or given twice, and a range without numbers.
    pub fn parse(text: &str) -> Result<Self> {
        let hint = "write key=a,b, key=choice(a,b) or key=range(start,stop,step)";
        let Some((key, values)) = text.split_once('=').map(|(key, values)| (key.trim(), values.trim())) else {
            return refused(text, "has no `=`", hint);
        };
        let of_function = |name: &str| values.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')');
        let values = match (of_function("range"), of_function("choice")) {
            (Some(range), _) => numbers(text, range)?,
            (None, Some(choices)) => split(text, choices)?,
            (None, None) => split(text, values)?,
        };
        let key = key.to_string();
        if key.is_empty() {
            return refused(text, "has no key", hint);
        }
        match key.as_str() {
            "seeds" => {
                return refused(text, "is no setting of a combination", "give `--seeds 1,2,3`, for all combinations");
            }
            "name" => {
                return refused(
                    text,
                    "is given by the combination",
                    "choose the folder of all by `--set name=…` or `--out`",
                );
            }
            _ => {}
        }
        if values.iter().any(String::is_empty) {
            return refused(text, "has an empty value", hint);
        }
        // 1e-3 and 0.001 are one value.
        let same = |a: &String, b: &String| a == b || a.parse::<f64>().is_ok_and(|a| b.parse() == Ok(a));
        if let Some(twice) = (1..values.len()).find(|&i| values[..i].iter().any(|other| same(other, &values[i]))) {
            return refused(text, format!("has {} twice", values[twice]), "give each value once");
        }
        Ok(Self { key, values })
    }
}

/// Values between commas that are outside of brackets, braces and quotes.
fn split(text: &str, values: &str) -> Result<Vec<String>> {
    let (mut depth, mut quote, mut parts) = (0i32, None, vec![String::new()]);
    for c in values.chars() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '[' | '{' | '(') => depth += 1,
            (None, ']' | '}' | ')') => depth -= 1,
            (None, ',') if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            (None, _) => {}
        }
        parts.last_mut().expect("one at least").push(c);
    }
    if depth != 0 || quote.is_some() {
        return refused(text, "has a bracket or a quote that is not closed", "close it; quote the whole in a shell");
    }
    Ok(parts.into_iter().map(|part| part.trim().to_string()).collect())
}

/// Digits behind the point of a number: 3 of `1e-3`, 2 of `2.5e-1`.
fn digits(number: &str) -> usize {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let behind = mantissa.split_once('.').map_or(0, |(_, digits)| digits.len()) as i64;
    (behind - exponent.parse::<i64>().unwrap_or(0)).clamp(0, 30) as usize
}

/// The numbers of `range(…)`, each with as many digits behind the point as start and step have.
fn numbers(text: &str, range: &str) -> Result<Vec<String>> {
    let parts = split(text, range)?;
    let parsed: Option<Vec<f64>> = parts.iter().map(|part| part.parse().ok().filter(|n: &f64| n.is_finite())).collect();
    let (start, stop, step) = match parsed.as_deref() {
        Some(&[stop]) => (0.0, stop, 1.0),
        Some(&[start, stop]) => (start, stop, 1.0),
        Some(&[start, stop, step]) if step != 0.0 => (start, stop, step),
        _ => {
            return refused(
                text,
                "has no range(stop), range(start,stop) or range(start,stop,step) of numbers",
                "write range(0,10,2)",
            );
        }
    };
    // Rounding must not add the stop itself.
    let count = ((stop - start) / step - 1e-9).ceil().max(0.0);
    if count < 1.0 || count > MOST_CELLS as f64 {
        return refused(text, format!("has a range of {count} numbers"), "give it one at least, and fewer than 10,000");
    }
    let decimals = parts.iter().map(|part| digits(part)).max().unwrap_or(0);
    Ok((0..count as usize).map(|i| format!("{:.decimals$}", start + step * i as f64)).collect())
}

/// Every combination of the values, the last key changing fastest.
///
/// # Errors
/// [`Error::Config`] if there is no axis, a key is given twice, cells are too many, or two have one name.
pub fn cells(axes: &[Axis]) -> Result<Vec<Cell>> {
    let hint = "name the keys that differ: -m training.optimizer=sgd,adam";
    if axes.is_empty() {
        return refused("-m", "is missing", hint);
    }
    if let Some(twice) = (1..axes.len()).find(|&i| axes[..i].iter().any(|axis| axis.key == axes[i].key)) {
        return refused(&axes[twice].key, "is given twice", "give all values of a key at once");
    }
    let count = axes.iter().try_fold(1usize, |count, axis| count.checked_mul(axis.values.len()));
    let Some(count) = count.filter(|&count| count <= MOST_CELLS) else {
        return refused("-m", format!("makes more than {MOST_CELLS} combinations"), "give fewer values");
    };
    let cell = |number: usize| {
        let mut rest = number;
        let mut chosen: Vec<(&Axis, &str)> = Vec::new();
        for axis in axes.iter().rev() {
            chosen.push((axis, &axis.values[rest % axis.values.len()]));
            rest /= axis.values.len();
        }
        chosen.reverse();
        let name: Vec<String> =
            chosen.iter().map(|(axis, value)| format!("{}-{}", plain(&axis.key), plain(value))).collect();
        let set = chosen.iter().map(|(axis, value)| format!("{}={value}", axis.key)).collect();
        Cell { name: name.join("__"), set }
    };
    let all: Vec<Cell> = (0..count).map(cell).collect();
    let mut named: HashMap<&str, &Cell> = HashMap::new();
    for cell in &all {
        if let Some(other) = named.insert(&cell.name, cell) {
            let problem = format!("{:?} and {:?} would have the folder {}", other.set, cell.set, cell.name);
            return refused("-m", problem, "give values that differ in letters, digits, `.` or `_`");
        }
    }
    Ok(all)
}

/// Letters, digits, `.` and `_` of a value; what lies between them becomes `-`.
fn plain(text: &str) -> String {
    let kept = |c: char| c.is_ascii_alphanumeric() || "._".contains(c);
    let words: Vec<&str> = text.split(|c| !kept(c)).filter(|word| !word.is_empty()).collect();
    // The sign of a number counts.
    let minus = if text.starts_with('-') { "m" } else { "" };
    format!("{minus}{}", words.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str) -> Vec<String> {
        Axis::parse(text).expect(text).values
    }

    #[test]
    fn values_are_lists_choices_and_ranges() {
        assert_eq!(values("a.b= x, y"), ["x", "y"]);
        assert_eq!(values("a=choice(x,y)"), ["x", "y"]);
        assert_eq!(values("a=range(3)"), ["0", "1", "2"]);
        assert_eq!(values("a=range(1,3)"), ["1", "2"]);
        assert_eq!(values("a=range(0.1,0.5,0.1)"), ["0.1", "0.2", "0.3", "0.4"]);
        assert_eq!(values("a=range(3,0,-1)"), ["3", "2", "1"]);
        assert_eq!(values("a=range(1e-3,3e-3,1e-3)"), ["0.001", "0.002"]);
        assert_eq!(values("a=range(0,4,15e-1)"), ["0.0", "1.5", "3.0"]);
        assert_eq!(values("a=range(0,3e1,1e1)"), ["0", "10", "20"]);
        assert_eq!(values("a={ b = 1, c = 2 },{ b = 3 }"), ["{ b = 1, c = 2 }", "{ b = 3 }"]);
        assert_eq!(values("a=\"x,y\",z"), ["\"x,y\"", "z"]);
        for (text, problem) in [
            ("a", "no `=`"),
            ("=x", "no key"),
            ("a=x,,y", "an empty value"),
            ("a=", "an empty value"),
            ("a=1e-3,0.001", "0.001 twice"),
            ("a=range(1,3", "not closed"),
            ("a=[1,2", "not closed"),
            ("a=\"x,y", "not closed"),
            ("seeds=[1],[2]", "`--seeds 1,2,3`"),
            ("name=x,y", "`--set name=…`"),
            ("a=x,x", "x twice"),
            ("a=range(x)", "no range(stop)"),
            ("a=range(1,2,0)", "no range(stop)"),
            ("a=range(3,3)", "range of 0"),
        ] {
            let error = Axis::parse(text).expect_err(text).to_string();
            assert!(error.contains(problem), "{error}");
        }
    }

    #[test]
    fn cells_are_all_combinations_by_name() {
        let axes =
            ["training.optimizer=sgd,adam", "training.weight_decay=0,1e-3"].map(|text| Axis::parse(text).expect(text));
        let all = cells(&axes).expect("four");
        let names: Vec<&str> = all.iter().map(|cell| cell.name.as_str()).collect();
        let of = |optimizer, decay| format!("training.optimizer-{optimizer}__training.weight_decay-{decay}");
        assert_eq!(names, [of("sgd", "0"), of("sgd", "1e-3"), of("adam", "0"), of("adam", "1e-3")]);
        assert_eq!(all[1].set, ["training.optimizer=sgd", "training.weight_decay=1e-3"]);
        let signs = [Axis::parse("a=-1,1").expect("two")];
        assert_eq!(cells(&signs).expect("two")[0].name, "a-m1");
        let alike = [Axis::parse("a=[1],(1)").expect("two")];
        assert!(cells(&alike).expect_err("one name").to_string().contains("would have the folder a-1"));
        assert!(cells(&[]).is_err());
        let twice = ["a=1", "a=2"].map(|text| Axis::parse(text).expect(text));
        assert!(cells(&twice).expect_err("twice").to_string().contains("given twice"));
    }
}
