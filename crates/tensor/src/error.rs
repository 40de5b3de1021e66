//! Errors of the engine: each says what failed, where, and what to do about it.

use std::fmt;

/// Result of an engine call.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Failure of an engine call, with its place and advice.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// No adapter matches.
    NoAdapter {
        /// The name asked for, if any.
        wanted: Option<String>,
        /// Names of the adapters that exist.
        found: Vec<String>,
    },
    /// An environment variable holds an invalid value.
    Environment {
        /// Name of the variable.
        variable: &'static str,
        /// Value of the variable.
        value: String,
    },
    /// A table of `trellis tune` is damaged, or cannot be read.
    Tuning {
        /// The file.
        path: std::path::PathBuf,
        /// Line of the table; 0 for the whole file.
        line: usize,
        /// Description of the problem.
        problem: String,
    },
    /// The adapter refused to open a device.
    Device {
        /// Adapter name.
        adapter: String,
        /// The driver's message.
        message: String,
    },
    /// wgpu or the driver rejected an operation.
    Gpu {
        /// The operation.
        label: String,
        /// wgpu's message.
        message: String,
    },
    /// The device is gone (unplugged, reset, driver crash).
    DeviceLost {
        /// The driver's message.
        message: String,
    },
    /// An allocation would exceed the byte budget.
    OutOfBudget {
        /// Name of the allocation.
        label: String,
        /// Bytes asked for.
        needed: u64,
        /// Bytes already in use.
        used: u64,
        /// The budget in bytes.
        budget: u64,
    },
    /// One tensor is larger than the adapter can bind.
    BindingTooLarge {
        /// The tensor.
        label: String,
        /// Bytes it needs.
        needed: u64,
        /// The adapter's limit in bytes.
        limit: u64,
    },
    /// An op was recorded with inputs that break its shape rule.
    Shape {
        /// The op.
        op: &'static str,
        /// The layer being recorded ("" outside any layer).
        layer: String,
        /// The inputs, and the rule that they break.
        problem: String,
    },
    /// A gradient was requested through an op that has none.
    NotDifferentiable {
        /// The op.
        op: &'static str,
        /// Layer of the op.
        layer: String,
    },
    /// A backward rule returned gradients that do not fit the inputs of its op.
    Gradient {
        /// The op.
        op: &'static str,
        /// Layer of the op.
        layer: String,
        /// The returned and the expected gradients.
        problem: String,
    },
    /// A check of an op found a difference, see [`check_op`](crate::check_op).
    Check {
        /// The op.
        op: &'static str,
        /// Number of the random case.
        case: u64,
        /// The quantity that differs, and the difference.
        problem: String,
    },
    /// The text of a kernel cannot be expanded.
    Kernel {
        /// The file, `relu.wgsl`.
        file: String,
        /// Line, counted from 1; 0 for the text after the imports.
        line: usize,
        /// Description of the problem.
        problem: String,
    },
    /// A plan that is exported needs more than WebGPU promises on every adapter.
    NotPortable {
        /// The kernel, or the buffer.
        kernel: String,
        /// The limit or feature, and the need.
        problem: String,
    },
    /// A setting of an exported plan is not found in it as it is.
    Setting {
        /// The setting.
        setting: String,
        /// Description of the problem.
        problem: String,
    },
    /// Data of the wrong size was written to or expected from a tensor.
    Size {
        /// The tensor.
        tensor: String,
        /// Elements it holds.
        expected: usize,
        /// Elements given.
        given: usize,
    },
    /// One plan would advance a step twice.
    AdvancedTwice {
        /// The step state.
        state: String,
    },
    /// Metrics of a step are recorded, but no update and no [`StepState::advance`](crate::StepState::advance) ends the step.
    NotAdvanced {
        /// The step state.
        state: String,
    },
    /// A variable was read that the plan was not told to keep.
    NotKept {
        /// The variable.
        var: String,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NoAdapter { wanted, found } => {
                match wanted {
                    Some(name) => write!(f, "no GPU adapter matches \"{name}\"")?,
                    None => write!(f, "no GPU adapter found")?,
                }
                if found.is_empty() {
                    write!(
                        f,
                        "; install a Vulkan driver (`make setup` installs a software one on Debian and Ubuntu: \
                         mesa-vulkan-drivers)"
                    )
                } else {
                    write!(f, "; found: {}. Set TRELLIS_ADAPTER or --adapter to part of a name", found.join(", "))
                }
            }
            Error::Environment { variable, value } => {
                write!(f, "{variable} is {value:?}; set it to a number above 0, or unset it")
            }
            Error::Tuning { path, line, problem } => {
                write!(f, "{}:{line}: {problem}; run `trellis tune` again, or delete the file", path.display())
            }
            Error::Device { adapter, message } => write!(
                f,
                "{adapter} would not open a device: {message}. Choose another adapter with --adapter (`trellis devices`)"
            ),
            Error::Gpu { label, message } => write!(f, "the GPU rejected {label}: {message}"),
            Error::DeviceLost { message } => {
                write!(f, "the GPU device was lost ({message}); resume from the last checkpoint")
            }
            Error::OutOfBudget { label, needed, used, budget } => write!(
                f,
                "{label} needs {}, but {} of the {} budget are in use; use a smaller model or batch, or raise \
                 TRELLIS_MEMORY_MB",
                mebibytes(*needed),
                mebibytes(*used),
                mebibytes(*budget)
            ),
            Error::BindingTooLarge { label, needed, limit } => write!(
                f,
                "{label} is {}, but this adapter binds at most {} at once; use a smaller layer or another adapter",
                mebibytes(*needed),
                mebibytes(*limit)
            ),
            Error::Shape { op, layer, problem } => {
                write!(f, "{op}")?;
                if !layer.is_empty() {
                    write!(f, " in {layer}")?;
                }
                write!(f, ": {problem}")
            }
            Error::NotDifferentiable { op, layer } => {
                write!(f, "{op} in {layer} has no gradient; take its input out of the loss or stop the gradient there")
            }
            Error::Gradient { op, layer, problem } => {
                write!(f, "the backward rule of {op}")?;
                if !layer.is_empty() {
                    write!(f, " in {layer}")?;
                }
                write!(f, " {problem}; correct `Op::backward` of {op}")
            }
            Error::Check { op, case, problem } => write!(f, "{op}, random case {case}: {problem}"),
            Error::Kernel { file, line: 0, problem } => write!(f, "{file}: {problem}"),
            Error::Kernel { file, line, problem } => write!(f, "{file}, line {line}: {problem}"),
            Error::NotPortable { kernel, problem } => write!(
                f,
                "{kernel} does not run on every WebGPU adapter: {problem}; record the plan on a GPU opened with \
                 `GpuOptions {{ portable: true, .. }}`, or make its sizes smaller"
            ),
            Error::Setting { setting, problem } => write!(f, "setting `{setting}` of an exported plan: {problem}"),
            Error::Size { tensor, expected, given } => {
                write!(f, "{tensor} holds {expected} elements, {given} were given")
            }
            Error::AdvancedTwice { state } => {
                write!(f, "the step of {state} is advanced already; leave out `advance` beside an update of parameters")
            }
            Error::NotAdvanced { state } => write!(
                f,
                "metrics are recorded of a step of {state} that never ends; update parameters with it, or call its `advance`"
            ),
            Error::NotKept { var } => write!(f, "{var} is not kept by this plan; name it in Plan::new(.., keep)"),
        }
    }
}

impl std::error::Error for Error {}

fn mebibytes(bytes: u64) -> String {
    if bytes < 1 << 20 {
        format!("{:.1} KiB", bytes as f64 / 1024.0)
    } else {
        format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
    }
}
