//! Ten kernels with a hole. `cargo run -p exercises` lists them, `-- 3` checks the third; README.md gives the order.

mod alignment;
mod check;
mod exercise;
mod map;
mod products;
mod sums;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::process::ExitCode;

use check::{Outcome, check, open};
use exercise::{Exercise, KERNELS};

/// The exercises, in order.
const EXERCISES: [Exercise; 10] = [
    sums::SUM,
    sums::ROW_SUM,
    sums::CENTER,
    products::TILED,
    products::GRAM,
    alignment::HSIC,
    alignment::CKA,
    alignment::CKA_GRADIENT,
    sums::SOFTMAX,
    products::GUIDED_STEP,
];

const USAGE: &str = "\
cargo run --release --bin exercises              the list, with what is solved
cargo run --release --bin exercises -- 3         check exercise 3
cargo run --release --bin exercises -- 3 --map   the map from invocations to data
cargo run --release --bin exercises -- 3 --hint  a hint; --hint 2 and --hint 3 say more";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        [] => list(),
        [number] => pick(number).and_then(|(number, exercise)| solve(number, exercise)),
        [number, "--map"] => pick(number).map(|(_, exercise)| show_map(exercise)),
        [number, "--hint"] => pick(number).and_then(|(_, exercise)| hint(exercise, "1")),
        [number, "--hint", which] => pick(number).and_then(|(_, exercise)| hint(exercise, which)),
        _ => Err(USAGE.to_string()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}

/// The exercise that a word names.
fn pick(word: &str) -> Result<(usize, &'static Exercise), String> {
    let number = word.parse::<usize>().ok().filter(|number| (1..=EXERCISES.len()).contains(number));
    let number =
        number.ok_or(format!("`{word}` is no exercise: give a number from 1 to {}\n\n{USAGE}", EXERCISES.len()))?;
    Ok((number, &EXERCISES[number - 1]))
}

/// Text of a kernel. It lives as long as the program.
fn read(path: &Path) -> Result<&'static str, String> {
    let text = std::fs::read_to_string(path);
    text.map(|text| &*text.leak())
        .map_err(|error| format!("{}: {error}; `git checkout` brings it back", path.display()))
}

fn list() -> Result<bool, String> {
    let gpu = open().map_err(|error| error.to_string())?;
    let mut next = None;
    for (number, exercise) in (1..).zip(&EXERCISES) {
        let solved = matches!(check(&gpu, exercise, read(&exercise.path(number, KERNELS))?), Outcome::Right(_));
        println!("{} {number:>2}  {:<13} {}", if solved { "✓" } else { "·" }, exercise.name, exercise.title);
        if !solved {
            next.get_or_insert((number, exercise));
        }
    }
    match next {
        None => {
            println!("\nAll are solved. The engine's own kernels lie in shaders/; examples/own_op.rs makes one an op.")
        }
        Some((number, exercise)) => {
            println!("\nNext: fill the hole in {}", exercise.path(number, KERNELS).display());
            println!("Then: cargo run --release --bin exercises -- {number}");
        }
    }
    Ok(true)
}

fn solve(number: usize, exercise: &Exercise) -> Result<bool, String> {
    let path = exercise.path(number, KERNELS);
    let source = read(&path)?;
    let gpu = open().map_err(|error| error.to_string())?;
    println!("{number}. {}: {}\n{}\n", exercise.name, exercise.title, path.display());
    match check(&gpu, exercise, source) {
        Outcome::Right(cases) => {
            println!("Right in all {cases} cases.");
            if number < EXERCISES.len() {
                println!("Next: cargo run --release --bin exercises -- {}", number + 1);
            }
            return Ok(true);
        }
        Outcome::Wrong(difference) => println!("{difference}"),
        Outcome::Refused(message) => println!("The kernel does not compile or run:\n{message}\n"),
    }
    println!(
        "cargo run --release --bin exercises -- {number} --hint   for a hint\ncargo run --release --bin exercises -- {number} --map    for who does what"
    );
    Ok(false)
}

fn show_map(exercise: &Exercise) -> bool {
    // The smallest case, and the largest: of more workgroups than one, as a rule.
    let cases = (exercise.cases)();
    for case in cases.first().into_iter().chain(cases.last()) {
        println!("{}\n{}", case.about, map::draw_map(exercise, case));
    }
    true
}

/// Prints the hints up to number `which`.
fn hint(exercise: &Exercise, which: &str) -> Result<bool, String> {
    let count = exercise.hints.len();
    let which = which.parse::<usize>().ok().filter(|which| (1..=count).contains(which));
    let which = which.ok_or(format!("there are hints 1 to {count}"))?;
    for (number, hint) in (1..).zip(exercise.hints).take(which) {
        println!("{number}. {hint}");
    }
    Ok(true)
}
