//! Environment variables of Mesa: a runtime folder, without which it prints a false alarm, and its number of threads.

use std::ffi::OsStr;
use std::path::PathBuf;

use crate::device::options::user_cache;

/// Variable that names the folder of a user's sockets.
const VARIABLE: &str = "XDG_RUNTIME_DIR";

/// Variable that sets the threads of a device of Mesa's software Vulkan, beside the one that submits.
const THREADS: &str = "LP_NUM_THREADS";

/// Lets each device of Mesa's software Vulkan run on the thread that submits to it, if the environment does not say otherwise.
/// Small dispatches then cost less, and several devices share the cores out among them. Nothing is set while other threads run.
pub(crate) fn one_thread_a_device() {
    if std::env::var_os(THREADS).is_none() && is_the_only_thread() {
        set(THREADS, "0");
    }
}

/// Names a folder where Mesa may look for a Wayland display, if the environment names none.
///
/// Mesa's layer that chooses a device looks for a display each time adapters are listed. Without an absolute
/// `XDG_RUNTIME_DIR` it prints `error: XDG_RUNTIME_DIR is invalid or not set`, though a device needs no display. Containers
/// and batch jobs have no such variable. The folder is `trellis` in the user's cache folder, where no other user can create a
/// socket. Nothing is set while other threads run, since they may be reading the environment.
pub(crate) fn name_runtime_folder() {
    let absolute = |path: &PathBuf| path.is_absolute();
    if std::env::var_os(VARIABLE).map(PathBuf::from).filter(absolute).is_none() && is_the_only_thread() {
        let folder = user_cache().filter(absolute).unwrap_or_else(std::env::temp_dir);
        set(VARIABLE, folder);
    }
}

#[allow(unsafe_code, reason = "Mesa has no other switches that keep the order of adapters, or set its threads")]
fn set(variable: &str, value: impl AsRef<OsStr>) {
    // SAFETY: no other thread is there to read or write the environment; each caller has looked.
    unsafe { std::env::set_var(variable, value) }
}

/// True if this process has one thread. Linux lists the threads of a process; without the list the answer is false.
fn is_the_only_thread() -> bool {
    std::fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_thread_keeps_the_environment_as_it_is() {
        let (end, ended) = std::sync::mpsc::channel::<()>();
        std::thread::scope(|scope| {
            scope.spawn(move || ended.recv());
            assert!(!is_the_only_thread());
            let before = std::env::var_os(VARIABLE);
            name_runtime_folder();
            assert_eq!(std::env::var_os(VARIABLE), before);
            drop(end);
        });
    }
}
