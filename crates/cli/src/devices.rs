//! `trellis devices`

use serde_json::json;
use trellis_guidance::{Error, Result};
use trellis_tensor::Gpu;

pub(crate) fn print(as_json: bool) -> Result<()> {
    let adapters = Gpu::list();
    if adapters.is_empty() {
        return Err(Error::Tensor(trellis_tensor::Error::NoAdapter { wanted: None, found: Vec::new() }));
    }
    if !as_json {
        println!("{:<44} {:<14} {:<8} {:>12} {:>9}  driver", "adapter", "kind", "backend", "binding MiB", "subgroup");
    }
    for a in adapters {
        let (low, high) = a.subgroup;
        if as_json {
            let (name, kind, backend, driver) = (a.name, a.kind, a.backend, a.driver);
            let line = json!({"name": name, "kind": kind, "backend": backend, "driver": driver,
                "max_binding": a.max_binding, "subgroup": [low, high]});
            println!("{line}");
        } else {
            let subgroup = if low == high { low.to_string() } else { format!("{low}-{high}") };
            let binding = a.max_binding >> 20;
            println!("{:<44} {:<14} {:<8} {binding:>12} {subgroup:>9}  {}", a.name, a.kind, a.backend, a.driver);
        }
    }
    Ok(())
}
