//! Sections of the configuration. Each key is declared once: type, default, range, need and documentation.

pub(super) mod arm;
pub(super) mod arm_check;
#[cfg(test)]
mod arm_tests;
mod data;
pub(super) mod guidance;
pub(super) mod guide;
pub(super) mod keys;
pub(super) mod network;
pub(super) mod network_keys;
pub(super) mod training;

pub use arm::ArmConfig;
pub use data::{DataConfig, DataSet, TextLevel};
pub use guidance::{GuidanceConfig, MapName, MetricName};
pub use guide::{ArmGuide, GuideConfig};
pub use network::{NetworkConfig, TargetConfig};
pub use training::{CropName, OptimizerName, PrecisionName, RateSchedule, TrainingConfig};
