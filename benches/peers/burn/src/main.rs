//! Times the workloads of `trellis bench` in Burn (wgpu, with fusion and autotuning) and prints the same JSON.
//!
//!     cargo run --release --locked -- [--filter RE] [--seconds S]
//!
//! Burn takes the most powerful adapter; `CUBECL_WGPU_DEFAULT_DEVICE=Cpu` names the software one.

mod exact;
mod workload;

use std::error::Error;
use std::process::ExitCode;
use std::time::Instant;

use burn::tensor::Device;
use regex_lite::Regex;
use serde_json::json;
use workload::{Prepared, WORKLOADS};

fn main() -> ExitCode {
    match bench() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Burn: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bench() -> Result<(), Box<dyn Error>> {
    let (filter, seconds) = arguments()?;
    let (device, setup) = Device::wgpu_options().init_with_setup()?;
    device.seed(0);
    let adapter = format!("Burn {}, wgpu on {:?}, {}", version(), setup.backend, setup.adapter.get_info().name);
    for (name, prepare) in WORKLOADS {
        if !filter.is_match(name) {
            continue;
        }
        let began = Instant::now();
        let mut prepared = prepare(&device);
        warm_up(&device, &mut prepared)?;
        eprintln!("Burn: {name}: {:.1} s to compile and autotune its kernels", began.elapsed().as_secs_f64());
        let (began, mut times) = (Instant::now(), Vec::new());
        while times.len() < 5 || (began.elapsed().as_secs_f64() < seconds && times.len() < 1000) {
            times.push(time(&device, &mut prepared)?);
        }
        times.sort_by(f64::total_cmp);
        let (reps, median) = (times.len(), times[times.len() / 2]);
        let p90 = times[(9 * reps / 10).min(reps - 1)];
        let gflops = prepared.flops as f64 / median / 1e6;
        let line = json!({"name": name, "median_ms": median, "min_ms": times[0], "p90_ms": p90, "reps": reps,
            "gflops": gflops, "adapter": adapter});
        println!("{line}");
    }
    Ok(())
}

fn arguments() -> Result<(Regex, f64), Box<dyn Error>> {
    let (mut filter, mut seconds) = (String::new(), 1.0);
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        match (name.as_str(), arguments.next()) {
            ("--filter", Some(value)) => filter = value,
            ("--seconds", Some(value)) => {
                seconds = value.parse().map_err(|error| format!("--seconds {value}: {error}"))?
            }
            _ => return Err("give [--filter RE] [--seconds S]".into()),
        }
    }
    Ok((Regex::new(&filter)?, seconds))
}

/// Milliseconds of one repetition.
fn time(device: &Device, prepared: &mut Prepared) -> Result<f64, Box<dyn Error>> {
    let began = Instant::now();
    let results = (prepared.run)();
    device.sync()?;
    let time = 1e3 * began.elapsed().as_secs_f64();
    drop(results);
    Ok(time)
}

/// Burn compiles, tunes and learns what to fuse during the first runs, not only in the first. It is over when five runs in a row
/// take about the same time.
fn warm_up(device: &Device, prepared: &mut Prepared) -> Result<(), Box<dyn Error>> {
    let mut times = Vec::new();
    while times.len() < 50 {
        times.push(time(device, prepared)?);
        let last = &times[times.len().saturating_sub(5)..];
        let longest = last.iter().fold(0.0, |most: f64, time| most.max(*time));
        if last.len() == 5 && last.iter().all(|time| longest < 1.5 * time) {
            break;
        }
    }
    Ok(())
}

/// Of Burn, as this program was built.
fn version() -> &'static str {
    let (_, burn) = include_str!("../Cargo.lock").split_once("name = \"burn\"\nversion = \"").unwrap_or_default();
    burn.split('"').next().unwrap_or_default()
}
