use trellis_tensor::*;
fn main() {
    let gpu = Gpu::with(&GpuOptions { checked_shaders: false, ..Default::default() }).unwrap();
    for (m, n, k) in [(512, 512, 512), (256, 256, 256), (1024, 1024, 1024), (128, 512, 512), (128, 512, 784), (128,10,512)] {
        for layout in [Layout::NN, Layout::NT, Layout::TN] {
            let a = Tensor::zeros(&gpu, "a", TensorType::f32(if layout == Layout::TN { [k, m] } else { [m, k] })).unwrap();
            let b = Tensor::zeros(&gpu, "b", TensorType::f32(if layout == Layout::NT { [n, k] } else { [k, n] })).unwrap();
            let g = Graph::new();
            let y = g.leaf(&a).matmul(g.leaf(&b), layout).unwrap();
            let plan = Plan::new(&gpu, &g, &[y]).unwrap();
            let t = std::time::Instant::now();
            plan.run(1).unwrap(); gpu.wait().unwrap();
            let first = t.elapsed();
            let mut best = f64::MAX;
            for _ in 0..7 {
                let t = std::time::Instant::now();
                plan.run(2).unwrap(); gpu.wait().unwrap();
                best = best.min(t.elapsed().as_secs_f64() / 2.0);
            }
            println!("{m}x{n}x{k} {layout:?}: {:.2} ms {:.1} GF/s first {first:?} {}", best * 1e3, 2.0 * (m * n * k) as f64 / best / 1e9, plan.launches().next().unwrap().kernel);
        }
    }
}
