//! Files that are damaged: an error that names the file, or a value that the file may well mean. Never a panic, and no great memory.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use trellis_rng::Rng;

use super::damage::Damage;
use super::inputs::{self, Input};

/// Cases of `cargo test`; TRELLIS_DAMAGED gives another number, and counts memory and panics too.
const FEW: usize = 300;

/// Largest memory and time that reading one of these small files may take.
const MOST_MEMORY: usize = 256 << 20;
const MOST_TIME: Duration = Duration::from_secs(5);

/// Outcomes of one kind of file under one kind of damage.
#[derive(Clone, Copy, Default)]
struct Counts {
    refused: usize,
    /// Read as if nothing had happened to it: the damage is where it does not matter.
    same: usize,
    /// Read as something else that it may mean.
    other: usize,
}

#[test]
fn damaged_files_are_refused_by_name_or_read_as_what_they_may_mean() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<usize>().expect("a number"));
    let (cases, seed) = (number("TRELLIS_DAMAGED"), number("TRELLIS_DAMAGED_SEED").unwrap_or(1));
    // Other tests run beside this one, if it is not run alone.
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    if cases.is_some() {
        std::panic::set_hook(Box::new(|info| {
            PANICS.fetch_add(1, Ordering::Relaxed);
            println!("panic: {info}");
        }));
    }
    let place = tempfile::tempdir().expect("writable");
    let inputs = inputs::all(&place);
    let others: Vec<Vec<u8>> =
        inputs.iter().map(|input| input.bytes.clone()).chain([b"<html>".to_vec(), Vec::new()]).collect();
    let whole: Vec<Vec<u8>> =
        inputs.iter().map(|input| (input.read)(&input.path).expect("whole").expect("right")).collect();
    let mut table: BTreeMap<(&str, Damage), Counts> = BTreeMap::new();
    let mut most: BTreeMap<&str, (usize, Duration)> = BTreeMap::new();
    let mut faults = Vec::new();
    for case in 0..cases.unwrap_or(FEW) {
        let mut rng = Rng::new(seed as u64, case as u64);
        let (which, damage) = (case % inputs.len(), Damage::ALL[case / inputs.len() % Damage::ALL.len()]);
        let (input, before) = (&inputs[which], memory());
        let (bytes, resealed) = damaged(input, damage, &others, &mut rng);
        fs::write(&input.path, &bytes).expect("writable");
        let start = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| (input.read)(&input.path)));
        let time = start.elapsed();
        let taken = if cases.is_some() { memory().peak.saturating_sub(before.now) } else { 0 };
        let counts = table.entry((input.format, damage)).or_default();
        let name = input.path.file_name().and_then(|name| name.to_str()).expect("ours");
        let fault = match &outcome {
            Err(_) => Some("panics".to_string()),
            Ok(Err(error)) if !error.to_string().contains(name) => Some(format!("is not named: {error}")),
            Ok(Err(_)) => {
                counts.refused += 1;
                None
            }
            Ok(Ok(Err(problem))) => Some(problem.clone()),
            Ok(Ok(Ok(value))) if *value == whole[which] => {
                counts.same += 1;
                None
            }
            Ok(Ok(Ok(_))) => {
                counts.other += 1;
                // Another file of the kind is right as it is.
                let knows = damage != Damage::Another && !resealed && input.sealed;
                let cut = damage == Damage::Cut && input.tells_length && !resealed;
                (knows || cut).then(|| "is read as something else".to_string())
            }
        };
        let slow = (time > MOST_TIME).then(|| format!("takes {time:.1?}"));
        let large = (taken > MOST_MEMORY).then(|| format!("takes {} MiB", taken >> 20));
        for fault in [fault, slow, large].into_iter().flatten() {
            faults.push(format!("case {case} of seed {seed}: {name}, {damage:?}, resealed {resealed}, {fault}"));
            if cases.is_some() {
                fs::write(std::env::temp_dir().join(format!("damaged-{case}-{name}")), &bytes).expect("writable");
            }
        }
        let entry = most.entry(input.format).or_default();
        *entry = (entry.0.max(taken), entry.1.max(time));
        fs::write(&input.path, &input.bytes).expect("writable");
    }
    if cases.is_some() {
        print(&table, &most);
        println!("panics, caught ones too: {}", PANICS.load(Ordering::Relaxed));
    }
    let refused: usize = table.values().map(|counts| counts.refused).sum();
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    assert!(refused > cases.unwrap_or(FEW) / 3, "{refused} refused");
}

/// The file with damage, and whether its lengths and checksums were made right again.
fn damaged(input: &Input, damage: Damage, others: &[Vec<u8>], rng: &mut Rng) -> (Vec<u8>, bool) {
    let mut bytes = input.bytes.clone();
    // Numbers of a safetensors file stand in its text, too.
    let text = input.text || (input.format == "safetensors" && rng.below(2) == 0);
    damage.apply(&mut bytes, text, others, rng);
    match input.reseal.filter(|_| rng.below(2) == 0) {
        Some(reseal) => {
            reseal(&mut bytes);
            (bytes, true)
        }
        None => (bytes, false),
    }
}

/// Memory of this process, in bytes.
struct Memory {
    now: usize,
    peak: usize,
}

/// Memory now and at most since the last call; 0 where the system does not tell.
fn memory() -> Memory {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<usize>().ok()
    };
    drop(fs::write("/proc/self/clear_refs", "5"));
    Memory { now: field("VmRSS:").unwrap_or(0) << 10, peak: field("VmHWM:").unwrap_or(0) << 10 }
}

fn print(table: &BTreeMap<(&str, Damage), Counts>, most: &BTreeMap<&str, (usize, Duration)>) {
    println!("refused / read as before / read as something else");
    let heads: Vec<String> = Damage::ALL.iter().map(|damage| format!("{damage:?}").to_lowercase()).collect();
    println!("| file | {} | memory | time |", heads.join(" | "));
    println!("|---|{}---|---|", "---|".repeat(heads.len()));
    for (format, (memory, time)) in most {
        let cell = |damage: &Damage| {
            let Counts { refused, same, other } = table.get(&(*format, *damage)).copied().unwrap_or_default();
            format!("{refused} / {same} / {other}")
        };
        let cells: Vec<String> = Damage::ALL.iter().map(cell).collect();
        println!("| {format} | {} | {} MiB | {} ms |", cells.join(" | "), memory.div_ceil(1 << 20), time.as_millis());
    }
}
