//! `trellis devices`

use serde_json::json;
use trellis_guidance::{Error, Result};
use trellis_tensor::Gpu;

use crate::{next, print};

pub(crate) fn print(wanted: Option<&str>, as_json: bool) -> Result<()> {
    let mut adapters = Gpu::list();
    let found = adapters.iter().map(|a| a.name.clone()).collect();
    adapters.retain(|a| wanted.is_none_or(|part| a.matches(part)));
    if adapters.is_empty() {
        let wanted = wanted.map(str::to_string);
        return Err(Error::Tensor(trellis_tensor::Error::NoAdapter { wanted, found }));
    }
    if !as_json {
        print::line(format_args!(
            "{:<44} {:<14} {:<8} {:>12} {:>9}  driver",
            "adapter", "kind", "backend", "binding MiB", "subgroup"
        ))?;
    }
    let first = adapters[0].name.clone();
    for a in adapters {
        let (low, high) = a.subgroup;
        if as_json {
            let (name, kind, backend, driver) = (a.name, a.kind, a.backend, a.driver);
            let line = json!({"name": name, "kind": kind, "backend": backend, "driver": driver,
                "max_binding": a.max_binding, "subgroup": [low, high]});
            print::line(line)?;
        } else {
            let subgroup = if low == high { low.to_string() } else { format!("{low}-{high}") };
            let binding = a.max_binding >> 20;
            let row =
                format!("{:<44} {:<14} {:<8} {binding:>12} {subgroup:>9}  {}", a.name, a.kind, a.backend, a.driver);
            print::line(row)?;
        }
    }
    if as_json { Ok(()) } else { next::after_devices(&first) }
}
