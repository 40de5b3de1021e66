//! Dispatches and barriers of whole steps: no more than they were.

use trellis_lab::workload::workloads;
use trellis_tensor::{Gpu, Plan};

use crate::gpu_with_gpu_kernels;

fn plan(gpu: &Gpu, name: &str) -> Plan {
    let workload = workloads().into_iter().find(|workload| workload.name == name).expect("a workload");
    workload.prepare(gpu).expect("fits").plan
}

#[test]
fn steps_have_no_more_dispatches_and_barriers_than_they_need() {
    // A chain from input to update: 9 products, the loss's gradient, 9 products back, two packs, norm, update, end.
    for (name, dispatches, barriers) in [("mlp_step_b128", 44, 23), ("mlp_guided_step_b128", 57, 25)] {
        let plan = plan(&gpu_with_gpu_kernels(), name);
        let counts = (plan.launches().len(), plan.barriers());
        assert!(counts.0 <= dispatches && counts.1 <= barriers, "{name}: {counts:?}\n{plan}");
    }
}

#[test]
fn submissions_grow_from_one_step_to_so_many_dispatches() {
    let plan = plan(&gpu_with_gpu_kernels(), "cka_fwdbwd_n256_p512_q512");
    let most = 256 / plan.launches().len();
    assert!(most > 8, "{most}");
    let steps: Vec<usize> = plan.submissions(100).collect();
    assert_eq!(steps[..4], [1, 2, 4, 8]);
    assert!(steps.iter().all(|&steps| steps <= most), "{steps:?}");
    assert_eq!(steps.iter().sum::<usize>(), 100);
    assert_eq!(plan.submissions(0).count(), 0);
}
