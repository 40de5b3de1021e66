//! Keys that differ between the cells of a sweep, with their values, in Hydra's syntax.

use std::collections::HashMap;

use toml::{Table, Value};
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

/// One combination of values, or one repetition of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Name of the combination, by what differs: `training.optimizer-sgd__training.weight_decay-0.1`.
    pub name: String,
    /// The keys and values that it sets, as for `--set`.
    pub set: Vec<String>,
    /// Number of the repetition, from 1 on, which is its only seed and that of its data; `None` where it has the seeds of the file.
    pub replicate: Option<u64>,
}

impl Cell {
    /// Name of its run folder within that of the sweep.
    pub fn folder(&self) -> String {
        match (self.replicate, self.name.as_str()) {
            (None, name) => name.to_string(),
            (Some(number), "") => format!("replicate-{number}"),
            (Some(number), name) => format!("{name}__replicate-{number}"),
        }
    }

    /// Keys to set in the configuration: those of the combination, and the seed of a repetition's data.
    pub fn all_set(&self) -> Vec<String> {
        let split = self.replicate.map(|number| format!("{DATA_SEED}={number}"));
        self.set.iter().cloned().chain(split).collect()
    }
}

/// The key of `[sweep]` that is no axis.
pub(super) const REPLICATES: &str = "replicates";

/// The key that a repetition sets: seed of the drawing and the split.
const DATA_SEED: &str = "data.seed";

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
        Self::new(text, key, values)
    }

    /// A key with its values; `text` stands for both in errors.
    fn new(text: &str, key: &str, values: Vec<String>) -> Result<Self> {
        let hint = "write key=a,b, key=choice(a,b) or key=range(start,stop,step)";
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
        if values.is_empty() || values.iter().any(String::is_empty) {
            return refused(text, "has an empty value", hint);
        }
        // 1e-3 and 0.001 are one value.
        let same = |a: &String, b: &String| a == b || a.parse::<f64>().is_ok_and(|a| b.parse() == Ok(a));
        if let Some(twice) = (1..values.len()).find(|&i| values[..i].iter().any(|other| same(other, &values[i]))) {
            return refused(text, format!("has {} twice", values[twice]), "give each value once");
        }
        Ok(Self { key, values })
    }

    /// The axes of the table `[sweep]`, and its `replicates`, if it has them. The other keys are those of the file, each with a text in the
    /// syntax of [`Axis::parse`] or a list of values.
    ///
    /// # Errors
    /// As [`Axis::parse`]; [`Error::Config`] for `replicates` that are no number above 0.
    pub fn of_table(sweep: &Table) -> Result<(Vec<Self>, Option<u32>)> {
        let (mut axes, mut replicates) = (Vec::new(), None);
        for (key, value) in sweep {
            if key != REPLICATES {
                collect(key, value, &mut axes)?;
                continue;
            }
            let count = value.as_integer().and_then(|count| u32::try_from(count).ok()).filter(|&count| count > 0);
            if count.is_none() {
                return refused("sweep.replicates", "is no number of repetitions", "write replicates = 10");
            }
            replicates = count;
        }
        Ok((axes, replicates))
    }
}

/// Adds the axes of a key of `[sweep]`, or of the keys below it.
fn collect(key: &str, value: &Value, axes: &mut Vec<Axis>) -> Result<()> {
    match value {
        Value::Table(below) => {
            below.iter().try_for_each(|(name, value)| collect(&format!("{key}.{name}"), value, axes))?
        }
        Value::Array(values) => {
            axes.push(Axis::new(key, key, values.iter().map(written).collect())?);
        }
        Value::String(values) => axes.push(Axis::parse(&format!("{key}={values}"))?),
        single => axes.push(Axis::new(key, key, vec![single.to_string()])?),
    }
    Ok(())
}

/// A value as `--set` takes it: a word without its quotation marks, if it is not another value then.
fn written(value: &Value) -> String {
    match value {
        Value::String(word)
            if word.chars().all(|c| c.is_ascii_alphabetic() || c == '_') && word.parse::<Value>().is_err() =>
        {
            word.clone()
        }
        other => other.to_string(),
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
    let count = ((stop - start) / step - 1e-9).ceil() as usize;
    if !(1..=MOST_CELLS).contains(&count) {
        return refused(text, format!("has a range of {count} numbers"), "give it one at least, and fewer than 10,000");
    }
    let decimals = parts.iter().map(|part| digits(part)).max().unwrap_or(0);
    Ok((0..count).map(|i| format!("{:.decimals$}", start + step * i as f64)).collect())
}

/// Every combination of the values, the last key changing fastest; each `replicates` times, if that is not 0.
///
/// # Errors
/// [`Error::Config`] if there is neither an axis nor a repetition, a key is given twice, cells are too many, or two have one name.
pub fn cells(axes: &[Axis], replicates: u32) -> Result<Vec<Cell>> {
    let hint =
        "name the keys that differ, -m training.optimizer=sgd,adam or in a table [sweep], or give --replicates 10";
    if axes.is_empty() && replicates == 0 {
        return refused("-m", "is missing", hint);
    }
    if replicates > 0 && axes.iter().any(|axis| axis.key == DATA_SEED) {
        return refused(DATA_SEED, "is set by each repetition", "leave it out, or --replicates");
    }
    if let Some(twice) = (1..axes.len()).find(|&i| axes[..i].iter().any(|axis| axis.key == axes[i].key)) {
        return refused(&axes[twice].key, "is given twice", "give all values of a key at once");
    }
    let repeated = replicates.max(1) as usize;
    let count = axes.iter().try_fold(1usize, |count, axis| count.checked_mul(axis.values.len()));
    let Some(count) = count.filter(|&count| count.saturating_mul(repeated) <= MOST_CELLS) else {
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
        Cell { name: name.join("__"), set, replicate: None }
    };
    let all: Vec<Cell> = (0..count).map(cell).collect();
    let mut named: HashMap<&str, &Cell> = HashMap::new();
    for cell in &all {
        if let Some(other) = named.insert(&cell.name, cell) {
            let problem = format!("{:?} and {:?} would have the folder {}", other.set, cell.set, cell.name);
            return refused("-m", problem, "give values that differ in letters, digits, `.` or `_`");
        }
    }
    if replicates == 0 {
        return Ok(all);
    }
    let repetitions =
        |cell: Cell| (1..=u64::from(replicates)).map(move |number| Cell { replicate: Some(number), ..cell.clone() });
    Ok(all.into_iter().flat_map(repetitions).collect())
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
        let all = cells(&axes, 0).expect("four");
        let names: Vec<&str> = all.iter().map(|cell| cell.name.as_str()).collect();
        let of = |optimizer, decay| format!("training.optimizer-{optimizer}__training.weight_decay-{decay}");
        assert_eq!(names, [of("sgd", "0"), of("sgd", "1e-3"), of("adam", "0"), of("adam", "1e-3")]);
        assert_eq!(all[1].set, ["training.optimizer=sgd", "training.weight_decay=1e-3"]);
        let signs = [Axis::parse("a=-1,1").expect("two")];
        assert_eq!(cells(&signs, 0).expect("two")[0].name, "a-m1");
        let alike = [Axis::parse("a=[1],(1)").expect("two")];
        assert!(cells(&alike, 0).expect_err("one name").to_string().contains("would have the folder a-1"));
        assert!(cells(&[], 0).is_err());
        let twice = ["a=1", "a=2"].map(|text| Axis::parse(text).expect(text));
        assert!(cells(&twice, 0).expect_err("twice").to_string().contains("given twice"));
    }

    #[test]
    fn a_table_of_the_file_has_axes() {
        let text = "training = { optimizer = \"sgd,adam\", weight_decay = [0, 0.1] }\nguide.channels = [[4, 8], [16]]\ntarget.depth = 3\n";
        let (axes, replicates) =
            Axis::of_table(&format!("replicates = 4\n{text}").parse().expect("TOML")).expect("axes");
        assert_eq!((axes.len(), replicates), (4, Some(4)));
        let of = |key: &str| axes.iter().find(|axis| axis.key == key).expect(key).values.clone();
        assert_eq!(of("training.optimizer"), ["sgd", "adam"]);
        assert_eq!(of("training.weight_decay"), ["0", "0.1"]);
        assert_eq!(of("guide.channels"), ["[4, 8]", "[16]"]);
        assert_eq!(of("target.depth"), ["3"]);
        let words = Axis::of_table(&"a = [\"sgd\", \"true\"]".parse().expect("TOML")).expect("one").0;
        assert_eq!(words[0].values, ["sgd", "\"true\""]);
        for (text, problem) in [
            ("a = []", "an empty value"),
            ("a = [1, 1]", "1 twice"),
            ("a = \"range(x)\"", "range"),
            ("replicates = 0", "no number of rep"),
        ] {
            let error = Axis::of_table(&text.parse().expect("TOML")).expect_err(text).to_string();
            assert!(error.contains(problem), "{error}");
        }
    }

    #[test]
    fn repetitions_have_a_seed_and_data_of_their_own() {
        let axes = [Axis::parse("a=x,y").expect("two")];
        let all = cells(&axes, 2).expect("four");
        let folders: Vec<String> = all.iter().map(Cell::folder).collect();
        assert_eq!(folders, ["a-x__replicate-1", "a-x__replicate-2", "a-y__replicate-1", "a-y__replicate-2"]);
        assert_eq!(all[3].all_set(), ["a=y", "data.seed=2"]);
        let alone = cells(&[], 3).expect("three");
        assert_eq!((alone.len(), alone[2].folder().as_str()), (3, "replicate-3"));
        let seeds = [Axis::parse("data.seed=1,2").expect("two")];
        assert!(cells(&seeds, 2).expect_err("both").to_string().contains("set by each repetition"));
    }
}
