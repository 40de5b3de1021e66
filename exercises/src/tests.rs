//! Solutions are right, holes are holes, and the checker says what differs.

use trellis_tensor::Gpu;

use crate::check::{Outcome, check, open};
use crate::exercise::{Exercise, KERNELS};
use crate::map::draw_map;
use crate::{EXERCISES, read};

const SOLUTIONS: &str = "solutions";

fn outcome(gpu: &Gpu, number: usize, exercise: &Exercise, folder: &str) -> Outcome {
    check(gpu, exercise, read(&exercise.path(number, folder)).expect("it is there"))
}

#[test]
fn solutions_are_right() {
    let gpu = open().expect("an adapter");
    for (number, exercise) in (1..).zip(&EXERCISES) {
        match outcome(&gpu, number, exercise, SOLUTIONS) {
            Outcome::Right(cases) => assert!(cases >= 3, "{}: {cases} cases", exercise.name),
            Outcome::Wrong(message) | Outcome::Refused(message) => panic!("{}: {message}", exercise.name),
        }
    }
}

/// Whoever solves one sees this test fail: put the hole back before you commit.
#[test]
fn kernels_with_a_hole_compile_and_are_wrong() {
    let gpu = open().expect("an adapter");
    for (number, exercise) in (1..).zip(&EXERCISES) {
        match outcome(&gpu, number, exercise, KERNELS) {
            Outcome::Wrong(message) => assert!(message.contains("expected") && message.contains('x'), "{message}"),
            Outcome::Right(_) => {
                panic!("{} is solved: put the hole back (exercises/solutions keeps it)", exercise.name)
            }
            Outcome::Refused(message) => panic!("{}: {message}", exercise.name),
        }
    }
}

/// A text without what is between `// HOLE:` and `// END`.
fn around_holes(text: &str) -> String {
    let (mut inside, mut kept) = (false, String::new());
    for line in text.lines() {
        let word = line.trim_start();
        inside &= !word.starts_with("// END");
        if !inside || word.starts_with("// HOLE:") {
            kept += line;
            kept.push('\n');
        }
        inside |= word.starts_with("// HOLE:");
    }
    kept
}

#[test]
fn solutions_differ_from_kernels_in_their_holes_only() {
    for (number, exercise) in (1..).zip(&EXERCISES) {
        let [hole, solution] = [KERNELS, SOLUTIONS].map(|folder| read(&exercise.path(number, folder)).expect("there"));
        assert_eq!(around_holes(hole), around_holes(solution), "{}", exercise.name);
        assert!(around_holes(solution) != solution, "{} has no hole", exercise.name);
        for part in ["// in ", "// out ", "// launch ", "// map ", "// memory ", "// cost ", "// numeric "] {
            assert!(hole.contains(part), "{}: its header lacks \"{part}\"", exercise.name);
        }
    }
}

#[test]
fn what_differs_is_told() {
    let gpu = open().expect("an adapter");
    let center = &EXERCISES[2];
    let solution = read(&center.path(3, SOLUTIONS)).expect("there");
    // The last example is forgotten.
    let forgets = solution.replacen("y[i * dims.features", "if (i + 1u < dims.examples) { y[i * dims.features", 1);
    let forgets = forgets.replacen("- mean;", "- mean; }", 1).leak();
    let Outcome::Wrong(message) = check(&gpu, center, forgets) else { panic!("it is wrong") };
    assert!(message.contains("6 of 24 elements are wrong. The first is y[3, 0]: expected"), "{message}");
    assert!(message.contains("Invocation A0 writes it"), "{message}");
    assert!(message.contains("    · · · · · ·\n    x x x x x x\n"), "{message}");
    let Outcome::Refused(message) = check(&gpu, center, solution.replacen("- mean", "- meen", 1).leak()) else {
        panic!("it does not compile")
    };
    assert!(message.contains("meen"), "{message}");
}

#[test]
fn maps_name_every_invocation() {
    for exercise in &EXERCISES {
        let text = draw_map(exercise, &(exercise.cases)()[0]);
        assert!(text.contains("A0"), "{}: {text}", exercise.name);
    }
    let text = draw_map(&EXERCISES[3], &(EXERCISES[3].cases)()[2]);
    assert!(text.lines().nth(1).is_some_and(|row| row.trim_start().starts_with("A0") && row.ends_with("B4")), "{text}");
    // The picture stops before the second workgroup; words go on.
    let text = draw_map(&EXERCISES[2], (EXERCISES[2].cases)().last().expect("cases"));
    assert!(text.contains("   column 63: A63\n   column 64: B0\n"), "{text}");
}
