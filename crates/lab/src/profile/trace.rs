//! The timeline of a step in the format that Perfetto (ui.perfetto.dev) and chrome://tracing open.

use serde_json::json;

use super::{Phase, Profile};

/// A row for each phase; dispatches follow each other without gaps, as their median times are.
pub(super) fn trace(profile: &Profile) -> String {
    let name = |thread: usize, name: &str| json!({"ph": "M", "name": "thread_name", "pid": 1, "tid": thread, "args": {"name": name}});
    let mut events = vec![json!({"ph": "M", "name": "process_name", "pid": 1, "args": {"name": profile.adapter}})];
    events.extend(Phase::ALL.iter().zip(1..).map(|(phase, thread)| name(thread, phase.name())));
    let mut start = 0.0;
    for launch in &profile.launches {
        let thread = 1 + Phase::ALL.iter().position(|phase| *phase == launch.phase).unwrap_or(0);
        let rate = |amount: u64| amount as f64 / launch.ms.max(1e-9) / 1e6;
        events.push(json!({"ph": "X", "name": launch.op, "cat": launch.phase.name(), "pid": 1, "tid": thread,
            "ts": 1e3 * start, "dur": 1e3 * launch.ms,
            "args": {"layer": launch.layer, "kernel": launch.kernel, "groups": launch.groups, "bound": launch.bound,
                "GFLOP/s": rate(launch.flops), "GB/s": rate(launch.bytes)}}));
        start += launch.ms;
    }
    json!({"traceEvents": events, "displayTimeUnit": "ms"}).to_string()
}

#[cfg(test)]
mod tests {
    use crate::profile::tests::profile;

    #[test]
    fn events_follow_each_other() {
        let trace: serde_json::Value = serde_json::from_str(&profile().trace()).expect("JSON");
        let events = trace["traceEvents"].as_array().expect("events");
        let slices: Vec<_> = events.iter().filter(|event| event["ph"] == "X").collect();
        assert_eq!(slices.len(), 5);
        assert_eq!((slices[1]["ts"].as_f64(), slices[1]["dur"].as_f64()), (Some(500.0), Some(2000.0)));
        assert_eq!(slices[4]["args"]["GFLOP/s"], 50.0);
    }
}
