//! Default values of keys, used if the file does not set them.

use std::collections::BTreeMap;

use super::{
    Config, CropName, DataConfig, DataSet, GuidanceConfig, GuideConfig, MetricName, OptimizerName, PrecisionName,
    RateSchedule, TargetConfig, TextLevel, TrainingConfig,
};
use crate::record::names::ARMS;
use trellis_guidance::network::CapturePoint;
use trellis_guidance::trainer::Batches;

impl Default for Config {
    fn default() -> Self {
        Self {
            name: "experiment".to_string(),
            seeds: vec![1, 2, 3],
            arms: ARMS.map(str::to_string).to_vec(),
            data: DataConfig::default(),
            target: TargetConfig::default(),
            guide: GuideConfig::default(),
            guidance: GuidanceConfig::default(),
            training: TrainingConfig::default(),
            arm: BTreeMap::new(),
            check_gradients: false,
        }
    }
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            set: DataSet::Glyphs,
            size: 16,
            train: None,
            validation: None,
            test: None,
            classes: None,
            resize: None,
            skip_broken: false,
            stream: None,
            lengths: None,
            symbols: 10,
            context: 64,
            level: TextLevel::Characters,
            tokenizer: None,
            seed: 0,
        }
    }
}

impl Default for GuidanceConfig {
    fn default() -> Self {
        Self {
            metric: MetricName::Cka,
            bandwidth: 1.0,
            lambda: 0.1,
            weight: 1.0,
            taps: CapturePoint::BeforeNorm,
            first_steps: None,
            decay_steps: 0,
            pairs: Vec::new(),
        }
    }
}

impl Default for TrainingConfig {
    fn default() -> Self {
        Self {
            steps: 300,
            epochs: None,
            batch: None,
            batches: Batches::Random,
            precision: PrecisionName::F32,
            recompute: 0,
            optimizer: OptimizerName::Adam,
            learning_rate: 1e-3,
            schedule: RateSchedule::Constant,
            warmup: 0,
            decay_every: 100,
            decay: 0.1,
            momentum: 0.9,
            weight_decay: 0.0,
            clip_norm: 0.0,
            label_smoothing: 0.0,
            shift: 0,
            crop: CropName::Center,
            crop_scale: [0.08, 1.0],
            flip: false,
            eval_every: 50,
            eval_every_epochs: None,
        }
    }
}
