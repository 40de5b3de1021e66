//! The operations by family, one file each. Adding one: a file here, a kernel in the same family of `shaders/`, a line in the list below.

pub(crate) mod alignment;
pub(crate) mod attention;
pub(crate) mod bench;
pub(crate) mod conv;
pub(crate) mod elementwise;
pub(crate) mod gemm;
pub(crate) mod input;
pub(crate) mod loss;
pub(crate) mod measures;
pub(crate) mod movement;
pub(crate) mod norm;
pub(crate) mod recurrent;
pub(crate) mod update;

/// An op of this crate, for the generic test.
#[derive(Clone, Copy, Debug)]
pub struct ListedOp {
    /// Family of the op: a folder of `ops/` and of `shaders/`.
    pub family: &'static str,
    /// Name of its type.
    pub name: &'static str,
    /// Generator of random cases.
    pub sample: fn(&mut trellis_rng::Rng) -> crate::graph::op::TestCase,
}

macro_rules! ops {
    ($($family:ident :: $module:ident :: { $($op:ident),+ $(,)? }),* $(,)?) => {
        $($(pub use $family::$module::$op;)+)*

        /// Every op of this crate.
        pub fn registry() -> Vec<ListedOp> {
            vec![$($(ListedOp {
                family: stringify!($family),
                name: stringify!($op),
                sample: <$op as crate::graph::op::Op>::sample,
            }),+),*]
        }
    };
}

ops! {
    elementwise::unary::{Unary, UnaryGrad},
    elementwise::binary::{Binary},
    elementwise::cast::{Cast},
    elementwise::dropout::{Dropout},
    movement::reduce::{Reduce},
    movement::view::{Permute, Expand, Slice, Pad},
    movement::concat::{Concat, Pack},
    movement::detach::{Detach},
    movement::gather::{Gather, GatherGrad, GatherLabels, GatherImages},
    gemm::matmul::{MatMul},
    conv::conv2d::{Conv2d},
    conv::conv2d_grad::{Conv2dInputGrad, Conv2dWeightGrad},
    conv::grouped::{GroupedConv2d},
    conv::grouped_grad::{GroupedConv2dInputGrad, GroupedConv2dWeightGrad},
    conv::pool::{Pool, PoolGrad},
    norm::layer_norm::{LayerNorm, LayerNormGrad, LayerNormSums},
    norm::batch_stats::{BatchStats, RunningStatistics},
    norm::batch_norm::{BatchNorm},
    norm::batch_norm_grad::{BatchNormSums, BatchNormGrad},
    attention::attention::{Attention},
    attention::attention_grad::{AttentionGrad},
    recurrent::recurrence::{Recurrence},
    recurrent::recurrence_grad::{RecurrenceGrad},
    loss::softmax::{Softmax, SoftmaxGrad},
    loss::cross_entropy::{CrossEntropy, CrossEntropyGrad},
    loss::masked_mean::{MaskedMean, MaskedMeanGrad},
    loss::top_k::{TopK},
    loss::confusion::{Confusion},
    loss::sequence_score::{SequenceScore},
    alignment::center::{Center},
    alignment::center_layers::{CenterLayers},
    alignment::gram::{Gram},
    alignment::gram_grad::{GramGrad},
    alignment::cka_gram_grad::{CkaGramGrad},
    alignment::layer_grams::{LayerGrams, LayerGramsGrad},
    alignment::center_gram::{CenterGram},
    alignment::cka::{CkaStats, CkaValue, CkaGrad},
    alignment::cka_features::{CkaFeaturesStats, CkaFeaturesValue, CkaFeaturesGrad},
    measures::rbf::{MedianDistance, RbfKernel, RbfKernelGrad},
    measures::l2_normalize::{L2Normalize, L2NormalizeGrad},
    measures::ridge_inverse::{RidgeInverse},
    measures::cholesky_inverse::{CholeskyInverse, InverseOf},
    input::sampler::{RingBatch, SampleBatch, SequentialBatch},
    input::sequences::{SequenceTokens, SequenceLabels},
    input::augment::{Augment},
    input::crop::{Crop},
    update::schedule::{ScheduleValue},
    update::end_step::{Advance, EndStep},
    update::loss_scale::{LossScaleValue, LossScaleStep},
    update::optimizer::{AdamStep, SgdStep},
    bench::fma_chain::{FmaChain},
}

pub use crate::graph::facts::Centering;
pub use alignment::cka::Similarity;
pub use alignment::gram::GramOf;
pub use attention::attention::MAX_HEAD;
pub use attention::mask::{Keys, PairDropout};
pub use conv::pool::Pooling;
pub use elementwise::binary::BinaryFunction;
pub use elementwise::cast::Stored;
pub use elementwise::unary::UnaryFunction;
pub use input::sequences::{SequenceTask, Sequences};
pub use loss::cross_entropy::IGNORE;
pub use movement::reduce::Reduction;
pub use norm::batch_norm::Statistics;
