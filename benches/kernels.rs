//! `cargo bench`: the workloads of `trellis bench` under criterion, which compares with the run before.

use std::time::Duration;

use criterion::Criterion;
use trellis_lab::workload::workloads;
use trellis_tensor::Gpu;

fn main() {
    let gpu = Gpu::new().expect("benches need an adapter; `make setup` installs a software one");
    println!("{}", gpu.name());
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    for workload in workloads() {
        // Compiled on first use: a filter leaves the others uncompiled.
        let mut prepared = None;
        criterion.bench_function(workload.name, |bencher| {
            let plan = &prepared.get_or_insert_with(|| workload.prepare(&gpu).expect("fits")).plan;
            bencher.iter(|| plan.run(1).and_then(|()| gpu.wait()).expect("the device works"));
        });
    }
    criterion.final_summary();
}
