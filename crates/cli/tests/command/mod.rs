//! The command, as tests run it.

use std::process::{Command, Output};

pub(crate) fn trellis(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_trellis")).args(arguments).output().expect("the binary runs")
}

/// Output of a command that must succeed.
pub(crate) fn prints(arguments: &[&str]) -> String {
    let output = trellis(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}
