// A number as a function of the training step: learning rates, guidance weights. `Schedule` of crates/tensor/src/train/schedule.rs.
struct Schedule { kind: u32, base: f32, floor: f32, factor: f32, warmup: f32, total: f32 }

fn schedule_value(c: Schedule, step: f32) -> f32 {
    switch c.kind {
        case 1u: { // cosine with linear warm-up
            let progress = clamp((step - c.warmup) / max(c.total - c.warmup, 1.0), 0.0, 1.0);
            let falling = c.floor + (c.base - c.floor) * 0.5 * (1.0 + cos(3.14159265 * progress));
            return select(falling, c.base * (step + 1.0) / c.warmup, step < c.warmup);
        }
        case 2u: { // a drop every `total` steps
            let drops = floor((step + 0.5) / c.total); // half a step: a quotient may be rounded either way
            return select(c.base * pow(c.factor, drops), c.base, drops == 0.0); // pow(0, 0) is undefined
        }
        case 3u: { // straight line to `floor` at `total`
            return c.floor + (c.base - c.floor) * max(1.0 - step / c.total, 0.0);
        }
        default: { return c.base; }
    }
}
