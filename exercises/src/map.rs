//! Text pictures: the map from invocations to data, and the elements that are wrong.

use crate::exercise::{Case, Exercise, Values};

/// Rows and columns of a picture.
const ROWS: usize = 10;
const COLUMNS: usize = 16;

/// The map of an exercise on one of its cases: a letter for the workgroup, a number for the invocation within it.
pub(crate) fn draw_map(exercise: &Exercise, case: &Case) -> String {
    let map = &exercise.map;
    let tensors = case.inputs.iter().chain([&case.output]);
    let Some(tensor) = tensors.into_iter().find(|tensor| tensor.name == map.of) else { return String::new() };
    let cell = |row: usize, column: usize| name((map.owner)(tensor.shape, [row, column]));
    let [rows, columns] = tensor.shape;
    let head = format!(
        "The invocation that {} each element of {} ({rows} x {columns}); A0 is invocation 0 of the first workgroup:\n",
        map.verb, map.of
    );
    head + &grid(tensor, cell) + &beyond(tensor, cell)
}

/// Owners of elements that the picture leaves out: around the 64th, where a workgroup ends, and the last.
fn beyond(of: &Values, cell: impl Fn(usize, usize) -> String) -> String {
    let [rows, columns] = of.shape;
    let far = |count: usize, shown: usize| {
        let mut places: Vec<usize> = [63, 64, count - 1].into_iter().filter(|at| (shown..count).contains(at)).collect();
        places.dedup();
        places
    };
    let of_columns =
        far(columns, COLUMNS).into_iter().map(|column| format!("   column {column}: {}\n", cell(0, column)));
    let of_rows = far(rows, ROWS).into_iter().map(|row| format!("   row {row}: {}\n", cell(row, 0)));
    of_columns.chain(of_rows).collect()
}

/// The output of a case, with `x` for what is wrong.
pub(crate) fn draw_wrong(output: &Values, wrong: &[bool]) -> String {
    let cell = |row: usize, column: usize| if wrong[row * output.shape[1] + column] { "x" } else { "·" }.to_string();
    format!("{}: · is right, x is wrong\n", output.name) + &grid(output, cell)
}

/// Name of an invocation of a workgroup: `B12`.
pub(crate) fn name([group, invocation]: [usize; 2]) -> String {
    match u8::try_from(group).ok().filter(|group| *group < 26) {
        Some(group) => format!("{}{invocation}", char::from(b'A' + group)),
        None => format!("#{group}:{invocation}"),
    }
}

fn grid(of: &Values, cell: impl Fn(usize, usize) -> String) -> String {
    let [rows, columns] = of.shape;
    let width = (0..rows.min(ROWS)).flat_map(|row| (0..columns.min(COLUMNS)).map(move |column| (row, column)));
    let width = width.map(|(row, column)| cell(row, column).chars().count()).max().unwrap_or(1);
    let mut text = String::new();
    for row in 0..rows.min(ROWS) {
        let cells = (0..columns.min(COLUMNS)).map(|column| format!(" {:>width$}", cell(row, column)));
        let more = if columns > COLUMNS { " …" } else { "" };
        text += &format!("   {}{more}\n", cells.collect::<String>());
    }
    if rows > ROWS {
        text += "    …\n";
    }
    text
}
